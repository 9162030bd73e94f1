#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "looks.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "output.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/roles.h"
#include "tlsup/watch.h"

enum {
    DAY_S = 86400,
    HOUR_S = 3600,
    LOOKS_MAX = 50,      /* in one run: each is a write */
    SILENT_MAX = 500,    /* that nobody answered for */
    TIME_MS = 20 * 1000, /* for all of them */
};

bool looks_due(const struct cert_config *config, const struct cert_state *state)
{
    return config->install != WEB_NONE && state->step == DEPLOY_VERIFIED && state->failures == 0 &&
           clock_now_s() >= state->verified_s + DAY_S;
}

void looks_add(struct looks *looks, const char *cert_name, int64_t verified_s, int64_t next_s)
{
    looks->v = mem_resize(looks->v, looks->n + 1, sizeof *looks->v);
    looks->v[looks->n++] = (struct look){mem_dup(cert_name), verified_s, next_s};
}

void looks_clear(struct looks *looks)
{
    for (size_t i = 0; i < looks->n; i++)
        free(looks->v[i].name);
    free(looks->v);
    *looks = (struct looks)LOOKS_INIT;
}

/* -- the web servers ------------------------------------------------------------------------------------ */

/* Each is read once. One that cannot be is left alone in this run: what is wrong with it shows when it is
 * next used. */
struct server {
    char *key;
    struct watch *watch; /* NULL = it cannot be looked at */
};
struct servers {
    struct server *v;
    size_t n;
};

static struct watch *server_of(struct run *run, const struct cert_config *config, struct servers *servers)
{
    struct web_hints hints = {.nginx_bin = config->nginx_bin,
                              .nginx_conf = config->nginx_conf,
                              .apache_ctl = config->apache_ctl,
                              .apache_conf = config->apache_conf};
    AUTO_FREE char *key =
        mem_fmt("%d %s %s %s %s", (int)config->install, hints.nginx_bin ? hints.nginx_bin : "",
                hints.nginx_conf ? hints.nginx_conf : "", hints.apache_ctl ? hints.apache_ctl : "",
                hints.apache_conf ? hints.apache_conf : "");
    struct err why = ERR_INIT;
    struct watch *watch = NULL;
    for (size_t i = 0; i < servers->n; i++)
        if (strcmp(servers->v[i].key, key) == 0)
            return servers->v[i].watch;
    if (!watch_open(run->store, config->install, &hints, &watch, &why))
        log_info("%s cannot be looked at: %s", web_kind_name(config->install), why.text);
    servers->v = mem_resize(servers->v, servers->n + 1, sizeof *servers->v);
    servers->v[servers->n++] = (struct server){mem_dup(key), watch};
    return watch;
}

static void servers_clear(struct servers *servers)
{
    for (size_t i = 0; i < servers->n; i++) {
        free(servers->v[i].key);
        watch_close(servers->v[i].watch);
    }
    free(servers->v);
}

/* -- one look ------------------------------------------------------------------------------------------- */

static void note_seen(struct run *run, const char *name, bool as_it_should_be, struct err *err)
{
    struct cert_state state = CERT_STATE_INIT;
    if (store_state_load(run->store, name, &state, err)) {
        if (as_it_should_be)
            state.verified_s = clock_now_s();
        else
            state.step = DEPLOY_INSTALLED;
        (void)!store_state_save(run->store, name, &state, err);
    }
    cert_state_clear(&state);
}

/* False when it serves something else. `*seen`: somebody has answered. */
static bool look_at(struct run *run, const char *name, struct servers *servers, bool *seen, struct err *err)
{
    struct cert_config config = {0};
    struct err unsaid = ERR_INIT;
    int live = 0;
    bool ok = true;
    *seen = false;
    if (store_cert_config(run->store, name, &config, &unsaid) &&
        store_live_version(run->store, name, &live, &unsaid) && live > 0) {
        struct watch *watch = server_of(run, &config, servers);
        ok = watch == NULL || watch_look(watch, &config, live, seen, err);
    }
    cert_config_clear(&config);
    return ok;
}

static void take(struct run *run, const struct look *look, struct servers *servers, bool *seen,
                 struct tally *tally)
{
    struct err why = ERR_INIT, unsaved = ERR_INIT;
    bool ok = look_at(run, look->name, servers, seen, &why);
    if (why.code == ERR_INTERRUPTED)
        return;
    if (ok && !*seen)
        log_info("%s: nobody answers on its addresses: not looked at", look->name);
    if (!ok || *seen)
        note_seen(run, look->name, ok, &unsaved);
    if (err_isset(&unsaved))
        log_warn("%s: what is served could not be noted: %s", look->name, unsaved.text);
    if (!ok)
        batch_failed(run, look->name, &why, tally);
}

/* -- all of them ---------------------------------------------------------------------------------------- */

static int by_age(const void *a, const void *b)
{
    const struct look *first = a, *second = b;
    return (first->verified_s > second->verified_s) - (first->verified_s < second->verified_s);
}

/* Spread over a day, so that not every run has to read all of them. */
static int64_t later_s(void)
{
    uint32_t random = 0;
    (void)!getrandom(&random, sizeof random, 0);
    return clock_now_s() + HOUR_S / 2 + random % DAY_S;
}

static void note_due(struct due *due, const struct look *look, int64_t at_s)
{
    if (due != NULL)
        due_note(due, look->name, at_s < look->next_s ? at_s : look->next_s);
}

void looks_take(struct run *run, struct looks *looks, struct due *due, struct tally *tally)
{
    struct servers servers = {0};
    struct err why = ERR_INIT;
    size_t looked = 0, silent = 0;
    int64_t deadline_ms = clock_mono_ms() + TIME_MS;
    if (looks->n == 0)
        return;
    if (!role_start_prober(&why)) {
        output_warning("what is served cannot be looked at: %s", why.text);
        return;
    }
    qsort(looks->v, looks->n, sizeof *looks->v, by_age);
    output_step("Looking at what is served");
    for (size_t i = 0; i < looks->n && !signals_interrupted(&why); i++) {
        bool seen = false;
        size_t failed = tally->failed;
        if (looked >= LOOKS_MAX || silent >= SILENT_MAX || clock_mono_ms() >= deadline_ms) {
            note_due(due, &looks->v[i], later_s());
            continue;
        }
        output_detail("%s", looks->v[i].name);
        take(run, &looks->v[i], &servers, &seen, tally);
        looked += seen;
        silent += !seen;
        if (tally->failed == failed)
            note_due(due, &looks->v[i], seen ? clock_now_s() + DAY_S : later_s());
    }
    output_done("Looked at what is served: %zu certificate%s", looked, looked == 1 ? "" : "s");
    servers_clear(&servers);
}
