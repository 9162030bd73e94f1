/*
 * restore: go back to a former version of a certificate; without one, list those that are kept.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "run.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

enum { SERIAL_COLUMN = 61, SERIAL_LEAST = 8 };

/* What is known of one version; with two certificates, of the first. */
struct version {
    int number;
    bool live, revoked, expired;
    struct cert_info info;
    struct err problem; /* why it cannot be read */
};
struct versions {
    struct version *v;
    size_t n;
};

static void versions_clear(struct versions *versions)
{
    for (size_t i = 0; i < versions->n; i++)
        cert_info_clear(&versions->v[i].info);
    free(versions->v);
    *versions = (struct versions){0};
}

static void read_version(struct store *store, const char *name, int live, const struct cert_state *state,
                         struct version *out)
{
    AUTO_CHAIN *chain = NULL;
    struct err ignored = ERR_INIT;
    bool compromised = false;
    out->live = out->number == live;
    if (!store_version_chain(store, name, out->number, 0, &chain, &out->problem) ||
        !cert_chain_info(chain, &out->info, &out->problem))
        return;
    out->expired = out->info.not_after_s <= clock_now_s();
    out->revoked = store_version_revoked(store, name, out->number) || (out->live && state->revoked) ||
                   (store_key_compromised(store, out->info.spki, &compromised, &ignored) && compromised);
}

static bool read_versions(struct store *store, const char *name, struct versions *out, struct err *err)
{
    struct cert_state state = CERT_STATE_INIT;
    AUTO_FREE int *numbers = NULL;
    size_t n = 0;
    int live = 0;
    if (!store_state_load(store, name, &state, err) || !store_live_version(store, name, &live, err) ||
        !store_versions(store, name, &numbers, &n, err)) {
        cert_state_clear(&state);
        return false;
    }
    out->v = mem_array(n + 1, sizeof *out->v);
    for (out->n = 0; out->n < n; out->n++) {
        out->v[out->n].number = numbers[out->n];
        read_version(store, name, live, &state, &out->v[out->n]);
    }
    cert_state_clear(&state);
    return true;
}

/* -- the list ------------------------------------------------------------------------------------------- */

static const char *word_of(const struct version *version)
{
    return err_isset(&version->problem) ? "damaged"
           : version->revoked           ? "revoked"
           : version->expired           ? "expired"
           : version->live              ? "live"
                                        : "";
}

static void print_row(const struct version *version)
{
    char issued[CLOCK_TEXT_BYTES] = "-", until[CLOCK_TEXT_BYTES] = "-";
    const struct cert_info *info = &version->info;
    if (!err_isset(&version->problem)) {
        clock_format_utc(info->not_before_s, issued);
        clock_format_utc(info->not_after_s, until);
        issued[10] = until[10] = '\0';
    }
    const char *word = word_of(version);
    bool bad = word[0] != '\0' && !(version->live && strcmp(word, "live") == 0);
    enum output_style style = bad ? STYLE_BAD : version->live ? STYLE_GOOD : STYLE_PLAIN;
    AUTO_FREE char *state = mem_fmt("%s%s", version->live && bad ? "live, " : "", word);
    AUTO_BUF serial = BUF_INIT;
    size_t columns = output_columns();
    output_cut(&serial, info->serial[0] != '\0' ? info->serial : "-",
               columns > SERIAL_COLUMN + SERIAL_LEAST ? columns - SERIAL_COLUMN : SIZE_MAX);
    output_line("%7d  %-10s  %-10s  %-11s  %s%-13s%s  %s", version->number, issued, until,
                info->key_type[0] != '\0' ? info->key_type : "-",
                style != STYLE_PLAIN ? output_style(style) : "", state,
                style != STYLE_PLAIN ? output_style(STYLE_PLAIN) : "", buf_str(&serial));
}

static void print_table(const char *name, const struct versions *versions)
{
    if (versions->n == 0) {
        output_line("No version of %s is held yet.", name);
        return;
    }
    output_line("VERSION  ISSUED      UNTIL       KEY          STATE          SERIAL");
    for (size_t i = versions->n; i-- > 0;)
        print_row(&versions->v[i]);
    if (versions->n > 1)
        output_line("To go back to one of them: tlsup restore %s VERSION", name);
}

static json_t *json_time(int64_t when_s)
{
    char text[CLOCK_TEXT_BYTES];
    return when_s == 0 ? json_null() : json_string(clock_format_utc(when_s, text));
}

static json_t *json_version(const struct version *version)
{
    const struct cert_info *info = &version->info;
    json_t *out = json_pack("{s:i, s:b, s:o, s:o, s:s, s:s, s:s, s:s, s:b, s:b}", "number", version->number,
                            "live", version->live, "not_before", json_time(info->not_before_s), "not_after",
                            json_time(info->not_after_s), "serial", info->serial, "sha256", info->sha256,
                            "issuer", info->issuer, "key_type", info->key_type, "expired", version->expired,
                            "revoked", version->revoked);
    json_object_set_new(out, "problem",
                        err_isset(&version->problem) ? json_string(version->problem.text) : json_null());
    return out;
}

static void print_json(const char *name, const struct versions *versions)
{
    json_t *array = json_array();
    for (size_t i = 0; i < versions->n; i++)
        json_array_append_new(array, json_version(&versions->v[i]));
    json_t *out = json_pack("{s:i, s:s, s:s, s:o}", "version", 1, "command", "restore", "certificate", name,
                            "versions", array);
    json_dumpf(out, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(out);
}

static bool list(const struct request *request, struct err *err)
{
    struct store *store;
    struct cert_config config = {0};
    struct versions versions = {0};
    const char *name = request->arguments.v[0];
    if (!store_open(request->config_dir, request->state_dir, STORE_READ, &store, err))
        return false;
    bool ok = store_cert_config(store, name, &config, err) && read_versions(store, name, &versions, err);
    if (ok && request->json)
        print_json(name, &versions);
    else if (ok)
        print_table(name, &versions);
    versions_clear(&versions);
    cert_config_clear(&config);
    store_close(store);
    return ok;
}

/* -- going back ----------------------------------------------------------------------------------------- */

static bool refuse(struct err *err, const char *name, int number, const char *why)
{
    err_set(err, ERR_MISMATCH, NEXT_FIX_CONFIG, name, "version %d of %s %s", number, name, why);
    return err_advise(err, "tlsup restore %s lists the others; tlsup renew --force-renewal %s gets a new one",
                      name, name);
}

/* A renewal would take its place at once if its names were others than those that are wanted. */
static bool check_names(const struct version *version, const struct cert_config *config, struct err *err)
{
    AUTO_FREE char *has = strlist_join(&version->info.names, ",");
    if (strlist_same_set(&version->info.names, &config->names))
        return true;
    err_set(err, ERR_MISMATCH, NEXT_FIX_CONFIG, config->name,
            "version %d of %s is for other names than it is configured for (%.600s)", version->number,
            config->name, has);
    return err_advise(err, "if they are to be its names again: tlsup reconfigure %s -d %.300s", config->name,
                      has);
}

/* Both of a dual version: a key beside a certificate that is not its own would end the web server. */
static bool check_key(struct run *run, const char *name, int number, int part, struct err *err)
{
    AUTO_CHAIN *chain = NULL;
    AUTO_KEY *key = NULL;
    struct err none = ERR_INIT;
    if (!store_version_chain(run->store, name, number, part, &chain, &none)) {
        if (part > 0 && none.code == ERR_NOT_FOUND)
            return true;
        *err = none;
        return false;
    }
    if (!store_version_key(run->store, name, number, part, &key, &none) && none.code != ERR_NOT_FOUND) {
        *err = none;
        return false;
    }
    return cert_chain_check(chain, key, NULL, clock_now_s(), err);
}

static bool find(const struct versions *versions, const char *name, int number, const struct version **out,
                 struct err *err)
{
    for (size_t i = 0; i < versions->n; i++) {
        *out = &versions->v[i];
        if ((*out)->number == number && err_isset(&(*out)->problem))
            *err = (*out)->problem;
        if ((*out)->number == number)
            return !err_isset(err);
    }
    err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, name, "there is no version %d of %s", number, name);
    return err_advise(err, "tlsup restore %s lists those that are kept", name);
}

static bool check(struct run *run, const struct version *version, const struct cert_config *config,
                  struct err *err)
{
    if (version->expired)
        return refuse(err, config->name, version->number, "has expired: no visitor would take it");
    if (version->revoked)
        return refuse(err, config->name, version->number, "is revoked");
    if (!check_names(version, config, err))
        return false;
    for (int part = 0; part < STORE_PARTS; part++)
        if (!check_key(run, config->name, version->number, part, err))
            return err_context(err, "version %d of %s cannot be used", version->number, config->name);
    return true;
}

/* What the state says of the former live version is not true of this one. */
static void set_right(struct run *run, const struct version *version, const char *name)
{
    struct cert_state state = CERT_STATE_INIT;
    struct err err = ERR_INIT;
    bool ok = store_state_load(run->store, name, &state, &err);
    state.revoked = false;
    state.issued_s = version->info.not_before_s;
    strlist_clear(&state.missing);
    state.missing_try_s = 0;
    if (!ok || !store_state_save(run->store, name, &state, &err))
        log_warn("%s", err.text);
    cert_state_clear(&state);
}

static void say_renewal(struct run *run, const struct task *task, const struct cert_info *info)
{
    struct cert_state state = CERT_STATE_INIT;
    struct err ignored = ERR_INIT;
    char when[CLOCK_TEXT_BYTES], span[CLOCK_TEXT_BYTES];
    int64_t due_s = run_renewal_at_s(info), now_s = clock_now_s();
    bool lasts = store_state_load(run->store, task->config.name, &state, &ignored) &&
                 run_usable_version(run, &task->config, &state) == task->version;
    if (!lasts)
        output_warning(
            "%s: the next `tlsup renew` gets another certificate in its place: this one is due for "
            "renewal, or its key or its CA are not those that are configured",
            task->config.name);
    else
        output_line("  renewal      %.10s (%s), or when the CA says", clock_format_utc(due_s, when),
                    clock_format_span(due_s - now_s, span));
    cert_state_clear(&state);
}

static bool put_in_place(struct run *run, struct task *task, const struct version *version, struct err *err)
{
    char validity[128];
    const char *name = task->config.name;
    task->version = version->number;
    output_step("Putting version %d of %s in place", version->number, name);
    if (!run_install(run, task, err))
        return false;
    set_right(run, version, name);
    run_record_success(run, name);
    if (task->config.install != WEB_NONE)
        output_done("Version %d of %s is served by %s, proven: %s", version->number, name,
                    web_kind_name(task->config.install), deploy_proof(task->deploy));
    else
        output_done("Version %d of %s is in place", version->number, name);
    output_line("  certificate  %s", run_validity(run, name, version->number, validity));
    say_renewal(run, task, &version->info);
    return run_deployed(task, err);
}

static bool work(struct run *run, struct task *task, struct err *err)
{
    const char *name = run->request->arguments.v[0];
    int number = atoi(run->request->arguments.v[1]);
    struct versions versions = {0};
    const struct version *version = NULL;
    if (!store_cert_config(run->store, name, &task->config, err))
        return false;
    task->existed = true;
    /* the web server's children come before the first key */
    bool ok = read_versions(run->store, name, &versions, err) &&
              find(&versions, name, number, &version, err) && check(run, version, &task->config, err);
    if (ok && version->live)
        output_line("Version %d of %s is the one that is in place.", number, name);
    else
        ok = ok && put_in_place(run, task, version, err);
    versions_clear(&versions);
    return ok;
}

bool cmd_restore(const struct request *request, struct err *err)
{
    if (request->arguments.n == 1)
        return list(request, err);
    return run_one(request, work, err);
}
