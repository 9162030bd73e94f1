/*
 * account register, show, list, update, change-key, deactivate, import.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "run.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

enum { MAX_KEY_FILE_BYTES = 64 * 1024 };

static void replace(char **field, const char *value)
{
    if (value == NULL)
        return;
    free(*field);
    *field = mem_dup(value);
}

/* Which CA, which account: the command line, else tlsup.conf, else Let's Encrypt. */
static bool settings(struct store *store, const struct request *request, struct cert_config *config,
                     struct err *err)
{
    if (!store_defaults(store, config, err))
        return false;
    replace(&config->server, request->server);
    replace(&config->account, request->account);
    replace(&config->ca_bundle, request->ca_bundle);
    replace(&config->email, request->email);
    config->agree_tos |= request->agree_tos;
    run_overlay_connection(request, config);
    return true;
}

/* -- showing -------------------------------------------------------------------------------------------- */

static void show_record(const char *ca_url, const char *account_name, const struct account_record *account)
{
    char name[256], date[CLOCK_TEXT_BYTES];
    output_line("%s%s%s", config_ca_name(ca_url, name), account_name != NULL ? ", account " : "",
                account_name != NULL ? account_name : "");
    output_line("  directory    %s", ca_url);
    output_line("  account      %s", account->url);
    if (account->status[0] != '\0' && strcmp(account->status, "valid") != 0)
        output_line("  status       %s", account->status);
    output_line("  e-mail       %s", account->email[0] != '\0' ? account->email : "none");
    if (account->eab_kid[0] != '\0')
        output_line("  bound to     %s (external account)", account->eab_kid);
    output_line("  key          %s (thumbprint)", account->thumbprint);
    output_line("  registered   %s", clock_format_utc(account->created_s, date));
}

static json_t *record_json(const char *ca_url, const char *account_name, const struct account_record *account)
{
    char date[CLOCK_TEXT_BYTES];
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "server", ca_url, "name",
                     account_name != NULL ? account_name : "default", "account", account->url, "status",
                     account->status[0] != '\0' ? account->status : "valid", "email", account->email,
                     "terms_of_service", account->tos, "external_account", account->eab_kid, "key_thumbprint",
                     account->thumbprint, "registered", clock_format_utc(account->created_s, date));
}

/* Takes the object over. */
static void print_json(json_t *json)
{
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
              store_account_load(store, config.server, config.account, &account, err);
    if (ok && account.url[0] == '\0') {
        ok = err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, config.server, "there is no account at this CA");
        (void)err_advise(
            err, "`tlsup account register` makes one; `tlsup enable` and `tlsup issue` do so by themselves");
    } else if (ok && request->json) {
        json_t *json = record_json(config.server, config.account, &account);
        json_object_set_new(json, "version", json_integer(1));
        json_object_set_new(json, "command", json_string("account show"));
        print_json(json);
    } else if (ok) {
        show_record(config.server, config.account, &account);
    }
    cert_config_clear(&config);
    store_close(store);
    return ok;
}

bool cmd_account_list(const struct request *request, struct err *err)
{
    struct store *store = NULL;
    struct store_account *accounts = NULL;
    size_t n = 0;
    bool ok = store_open(request->config_dir, request->state_dir, STORE_READ, &store, err) &&
              store_accounts(store, &accounts, &n, err);
    json_t *list = json_array();
    for (size_t i = 0; ok && i < n; i++) {
        const char *name = accounts[i].account[0] != '\0' ? accounts[i].account : NULL;
        if (request->json)
            json_array_append_new(list, record_json(accounts[i].ca_url, name, &accounts[i].record));
        else
            show_record(accounts[i].ca_url, name, &accounts[i].record);
    }
    if (ok && request->json)
        print_json(json_pack("{s:i, s:s, s:O}", "version", 1, "command", "account list", "accounts", list));
    else if (ok && n == 0)
        output_line("There are no accounts yet. `tlsup enable` and `tlsup issue` make one by themselves.");
    json_decref(list);
    store_accounts_free(accounts);
    store_close(store);
    return ok;
}

/* -- changing ------------------------------------------------------------------------------------------- */

/* Everything but showing: the store is written, and the CA is asked. */
struct work {
    const struct request *request;
    struct run run;
    struct cert_config config;
    struct keeper *keeper;
    char ca[256];
};

typedef bool work_fn(struct work *work, struct err *err);

static bool with_store(const struct request *request, work_fn *fn, struct err *err)
{
    struct work work = {.request = request};
    if (!run_open(request, &work.run, err))
        return false;
    bool ok = settings(work.run.store, request, &work.config, err);
    if (ok) {
        config_ca_name(work.config.server, work.ca);
        ok = fn(&work, err);
    }
    if (!ok)
        output_failed();
    cert_config_clear(&work.config);
    run_close(&work.run);
    return ok;
}

static bool open_keeper(struct work *work, struct err *err)
{
    return run_keeper(&work->run, &work->config, 0, &work->keeper, err);
}

static bool register_it(struct work *work, struct err *err)
{
    const struct request *request = work->request;
    struct account_record account = {0};
    struct account_request wanted = {.email = work->config.email,
                                     .agree_tos = work->config.agree_tos,
                                     .again = true,
                                     .eab_kid = request->eab_kid,
                                     .eab_hmac_key = request->eab_hmac_key,
                                     .eab_alg = request->eab_alg};
    output_step("Registering with %s", work->ca);
    if (!open_keeper(work, err) || !keeper_account(work->keeper, &wanted, &account, err))
        return false;
    output_done("Registered with %s", work->ca);
    show_record(work->config.server, work->config.account, &account);
    return true;
}

bool cmd_account_register(const struct request *request, struct err *err)
{
    return with_store(request, register_it, err);
}

static bool update_it(struct work *work, struct err *err)
{
    struct account_record account = {0};
    const char *email = work->request->email;
    if (email == NULL && !work->request->agree_tos) {
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, NULL, "nothing is said to be changed");
        return err_advise(
            err, "give -m ADDRESS for another e-mail address, or --agree-tos for changed terms of service");
    }
    output_step("Changing the account at %s", work->ca);
    if (!open_keeper(work, err) ||
        !keeper_account_update(work->keeper, email, work->request->agree_tos, &account, err))
        return false;
    output_done("Changed the account at %s", work->ca);
    show_record(work->config.server, work->config.account, &account);
    return true;
}

bool cmd_account_update(const struct request *request, struct err *err)
{
    return with_store(request, update_it, err);
}

static bool deactivate_it(struct work *work, struct err *err)
{
    AUTO_FREE char *question =
        mem_fmt("Deactivate the account at %s? Its certificates stay valid, but it can never be used again.",
                work->ca);
    if (!work->request->non_interactive && !output_ask(question, false))
        return err_set(err, ERR_USAGE, NEXT_NONE, work->config.server, "not deactivated");
    output_step("Deactivating the account at %s", work->ca);
    if (!open_keeper(work, err) || !keeper_account_deactivate(work->keeper, err))
        return false;
    output_done("The account at %s is deactivated", work->ca);
    output_line("`tlsup account register` makes another one, with a key of its own.");
    return true;
}

bool cmd_account_deactivate(const struct request *request, struct err *err)
{
    return with_store(request, deactivate_it, err);
}

/* -- an account key from elsewhere ---------------------------------------------------------------------- */

static bool load_key(const char *from, struct key **out, struct err *err)
{
    AUTO_BUF text = BUF_SECRET;
    if (key_is_uri(from))
        return key_open_uri(from, out, err);
    return fs_read(from, MAX_KEY_FILE_BYTES, &text, err) &&
           key_from_text(text.data, text.len, from, out, err);
}

static bool import_it(struct work *work, struct err *err)
{
    AUTO_KEY *key = NULL;
    struct account_record account = {0};
    const char *from = work->request->arguments.v[0];
    output_step("Looking for the account of this key at %s", work->ca);
    if (!open_keeper(work, err) || !load_key(from, &key, err) ||
        !keeper_account_import(work->keeper, key, &account, err))
        return false;
    output_done("Found the account of this key at %s", work->ca);
    show_record(work->config.server, work->config.account, &account);
    return true;
}

bool cmd_account_import(const struct request *request, struct err *err)
{
    return with_store(request, import_it, err);
}

/* -- another key for the account ------------------------------------------------------------------------ */

/* One key may serve several CAs: then all of them must learn the new one, before the old one goes. */
struct affected {
    struct store_account *accounts;
    struct cert_config *configs;
    struct keeper **keepers;
    size_t n;
};

static bool is_affected(const struct work *work, const struct store_account *account)
{
    const struct cert_config *config = &work->config;
    bool shared = store_account_key_shared(work->run.store, config->server, config->account);
    const char *name = account->account[0] != '\0' ? account->account : NULL;
    if (account->record.url[0] == '\0' || strcmp(account->record.status, "deactivated") == 0)
        return false;
    if (shared)
        return store_account_key_shared(work->run.store, account->ca_url, name);
    return strcmp(account->ca_url, config->server) == 0 &&
           strcmp(account->account, config->account != NULL ? config->account : "") == 0;
}

static bool find_affected(struct work *work, struct affected *out, struct err *err)
{
    size_t n = 0;
    if (!store_accounts(work->run.store, &out->accounts, &n, err))
        return false;
    out->configs = mem_array(n + 1, sizeof *out->configs);
    out->keepers = mem_array(n + 1, sizeof *out->keepers);
    for (size_t i = 0; i < n; i++) {
        if (!is_affected(work, &out->accounts[i]))
            continue;
        struct cert_config *config = &out->configs[out->n];
        cert_config_copy(config, &work->config);
        replace(&config->server, out->accounts[i].ca_url);
        free(config->account);
        config->account = out->accounts[i].account[0] != '\0' ? mem_dup(out->accounts[i].account) : NULL;
        if (!run_keeper(&work->run, config, 0, &out->keepers[out->n++], err))
            return false;
    }
    if (out->n > 0)
        return true;
    err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, work->config.server, "there is no account at this CA");
    return err_advise(err, "`tlsup account list` shows which there are");
}

static void affected_clear(struct affected *affected)
{
    for (size_t i = 0; i < affected->n; i++)
        cert_config_clear(&affected->configs[i]);
    free(affected->configs);
    free(affected->keepers);
    store_accounts_free(affected->accounts);
}

/* The new key: one that an earlier, cut run has left, or a fresh one; on disk before any CA hears of it. */
static bool prepare_next_key(struct work *work, struct err *err)
{
    AUTO_KEY *next = NULL;
    struct err none = ERR_INIT;
    const struct cert_config *config = &work->config;
    enum key_type type = work->request->has_key_type ? work->request->key_type : KEY_ECDSA_P256;
    if (store_account_next_load(work->run.store, config->server, config->account, &next, &none)) {
        output_detail("going on with a change that was cut");
        return true;
    }
    if (none.code != ERR_NOT_FOUND) {
        *err = none;
        return false;
    }
    return key_generate(type, &next, err) &&
           store_account_next_save(work->run.store, config->server, config->account, next, err);
}

/* The web servers answer challenges by the thumbprint of the key: they must learn the new one. What fails
 * here is put right by the next renewal, which looks again. */
static void teach_web_servers(struct work *work, const char *thumbprint)
{
    AUTO_STRLIST names = STRLIST_INIT;
    struct err err = ERR_INIT;
    if (!store_cert_names(work->run.store, &names, &err)) {
        output_warning("%s", err.text);
        return;
    }
    for (size_t i = 0; i < names.n; i++) {
        struct cert_config config = {0};
        struct deploy *deploy = NULL;
        const char *token_dir = NULL;
        err_clear(&err);
        if (store_cert_config(work->run.store, names.v[i], &config, &err) && config.install != WEB_NONE &&
            cert_config_has_challenge(&config, CHALLENGE_VIA_WEB_SERVER) &&
            (!run_deploy(&work->run, config.install, &config, &deploy, &err) ||
             (deploy_listens_on_80(deploy) &&
              (!deploy_challenge(deploy, config.name, &config.names, thumbprint, &token_dir, &err) ||
               !deploy_keep(deploy, &err)))))
            output_warning(
                "%s: the web server still answers challenges for the old key: %s\nThe next renewal tries "
                "again.",
                names.v[i], err.text);
        cert_config_clear(&config);
    }
}

/* Does any account hang on the new key already? In doubt yes. */
static bool next_key_is_in_use(struct work *work)
{
    AUTO_KEY *next = NULL;
    char thumbprint[KEY_THUMBPRINT_BYTES];
    struct store_account *accounts = NULL;
    size_t n = 0;
    struct err ignored = ERR_INIT;
    const struct cert_config *config = &work->config;
    if (!store_account_next_load(work->run.store, config->server, config->account, &next, &ignored) ||
        !key_thumbprint(next, thumbprint, &ignored) ||
        !store_accounts(work->run.store, &accounts, &n, &ignored))
        return true;
    bool in_use = false;
    for (size_t i = 0; i < n; i++)
        in_use |= strcmp(accounts[i].record.thumbprint, thumbprint) == 0;
    store_accounts_free(accounts);
    return in_use;
}

/* The CA has said no: without an account that hangs on it, the new key is only in the way of later runs. */
static bool change_refused(struct work *work, struct err *err)
{
    struct err ignored = ERR_INIT;
    err->advice[0] = '\0';
    if (next_key_is_in_use(work) ||
        !store_account_next_drop(work->run.store, work->config.server, work->config.account, &ignored))
        return err_advise(
            err, "another CA has taken the new key: both are kept, and each CA is spoken to with the "
                 "one it knows; run `tlsup account change-key` again later");
    return err_advise(
        err, "the account keeps the key that it has; `tlsup account change-key` tries another new one");
}

static bool change_all(struct work *work, const struct affected *affected, struct err *err)
{
    struct account_record account = {0};
    char ca[256];
    for (size_t i = 0; i < affected->n; i++) {
        output_step("Changing the account key at %s", config_ca_name(affected->configs[i].server, ca));
        bool refused = false;
        if (!keeper_account_change_key(affected->keepers[i], &account, &refused, err)) {
            if (refused)
                return change_refused(work, err);
            err->advice[0] = '\0'; /* what to do next is our affair, whatever failed below */
            return err_advise(err, "both keys are kept, and each CA is spoken to with the one it knows; run "
                                   "`tlsup account change-key` again to finish it");
        }
        output_done("Changed the account key at %s", ca);
    }
    if (!store_account_next_commit(work->run.store, work->config.server, work->config.account, err))
        return false;
    teach_web_servers(work, account.thumbprint);
    output_line("  key          %s (thumbprint)", account.thumbprint);
    return true;
}

static bool change_key(struct work *work, struct err *err)
{
    struct affected affected = {0};
    bool ok = find_affected(work, &affected, err) && prepare_next_key(work, err) &&
              change_all(work, &affected, err);
    affected_clear(&affected);
    return ok;
}

bool cmd_account_change_key(const struct request *request, struct err *err)
{
    return with_store(request, change_key, err);
}
