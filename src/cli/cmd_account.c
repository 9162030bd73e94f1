/*
 * account register, account show.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "commands.h"
#include "output.h"
#include "run.h"
#include "tlsup/clock.h"
#include "tlsup/mem.h"
#include "tlsup/sandbox.h"

static void on_tick(void *ctx)
{
    (void)ctx;
    output_tick();
}

static bool on_agree(void *ctx, const char *terms_url)
{
    (void)ctx;
    AUTO_FREE char *question = mem_fmt("Do you agree to the terms of service at %s?", terms_url);
    return output_ask(question, false);
}

/* Which CA: the command line, else tlsup.conf, else Let's Encrypt. */
static bool settings(struct store *store, const struct request *request, struct cert_config *config,
                     struct err *err)
{
    if (!store_defaults(store, config, err))
        return false;
    if (request->server != NULL || config->server == NULL) {
        free(config->server);
        config->server = mem_dup(request->server != NULL ? request->server : CONFIG_DEFAULT_CA);
    }
    if (request->ca_bundle != NULL) {
        free(config->ca_bundle);
        config->ca_bundle = mem_dup(request->ca_bundle);
    }
    if (request->email != NULL) {
        free(config->email);
        config->email = mem_dup(request->email);
    }
    config->agree_tos |= request->agree_tos;
    return true;
}

static void show_record(const char *ca_url, const struct account_record *account)
{
    char name[256], date[CLOCK_TEXT_BYTES];
    output_line("%s", config_ca_name(ca_url, name));
    output_line("  directory    %s", ca_url);
    output_line("  account      %s", account->url);
    output_line("  e-mail       %s", account->email[0] != '\0' ? account->email : "none");
    output_line("  key          %s (thumbprint)", account->thumbprint);
    output_line("  registered   %s", clock_format_utc(account->created_s, date));
}

static bool register_it(struct store *store, const struct request *request, struct cert_config *config,
                        struct err *err)
{
    char name[256];
    struct keeper *keeper = NULL;
    struct account_record account = {0};
    struct keeper_options options = {.ca_url = config->server,
                                     .ca_bundle = config->ca_bundle,
                                     .tick = on_tick,
                                     .agree = request->non_interactive ? NULL : on_agree};
    output_step("Registering with %s", config_ca_name(config->server, name));
    bool ok = keeper_open(store, &options, &keeper, err) &&
              keeper_account(keeper, config->email, config->agree_tos, true, &account, err);
    keeper_close(keeper);
    if (!ok) {
        output_failed();
        return false;
    }
    output_done("Registered with %s", name);
    show_record(config->server, &account);
    return true;
}

bool cmd_account_register(const struct request *request, struct err *err)
{
    struct store *store = NULL;
    struct cert_config config = {0};
    signals_install();
    sandbox_keep_secrets();
    bool ok = store_open(request->config_dir, request->state_dir, STORE_WRITE, &store, err) &&
              settings(store, request, &config, err) && register_it(store, request, &config, err);
    cert_config_clear(&config);
    store_close(store);
    return ok;
}

static void show_json(const char *ca_url, const struct account_record *account)
{
    char date[CLOCK_TEXT_BYTES];
    json_t *json =
        json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s}", "version", 1, "server", ca_url, "account",
                  account->url, "email", account->email, "terms_of_service", account->tos, "key_thumbprint",
                  account->thumbprint, "registered", clock_format_utc(account->created_s, date));
    AUTO_FREE char *text = json_dumps(json, JSON_INDENT(2));
    json_decref(json);
    printf("%s\n", text != NULL ? text : "{}");
}

bool cmd_account_show(const struct request *request, struct err *err)
{
    struct store *store = NULL;
    struct cert_config config = {0};
    struct account_record account = {0};
    bool ok = store_open(request->config_dir, request->state_dir, STORE_READ, &store, err) &&
              settings(store, request, &config, err) &&
              store_account_load(store, config.server, &account, err);
    if (ok && account.url[0] == '\0') {
        ok = err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, config.server, "there is no account at this CA");
        (void)err_advise(
            err, "`tlsup account register` makes one; `tlsup enable` and `tlsup issue` do so by themselves");
    } else if (ok && request->json) {
        show_json(config.server, &account);
    } else if (ok) {
        show_record(config.server, &account);
    }
    cert_config_clear(&config);
    store_close(store);
    return ok;
}
