#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "deployments.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "output.h"
#include "tlsup/clock.h"
#include "tlsup/export.h"
#include "tlsup/hooks.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/policy.h"
#include "tlsup/roles.h"
#include "tlsup/verify.h"
#include "tlsup/watch.h"

enum {
    RELOAD_MS = 10 * 1000, /* a service may take so long to serve what it was told of */
    ASK_MS = 5000,
    FIRST_PAUSE_MS = 50,
    LONGEST_PAUSE_MS = 1000,
};

/* -- what is wanted ------------------------------------------------------------------------------------- */

struct list {
    struct deployment *v;
    size_t n;
};

static bool is_the_same(const struct deployment *one, enum deployment_kind kind, const char *what)
{
    return one->kind == kind && strcmp(one->what, what) == 0;
}

static bool is_done(const struct deployment *one)
{
    return one->version == one->wanted;
}

/* A new version begins afresh: what the last one met may be over. */
static void want_one(struct list *list, struct list *old, enum deployment_kind kind, const char *what,
                     int version)
{
    struct deployment one = {.kind = kind};
    for (size_t i = 0; i < list->n; i++)
        if (is_the_same(&list->v[i], kind, what))
            return;
    for (size_t i = 0; i < old->n; i++)
        if (old->v[i].what != NULL && is_the_same(&old->v[i], kind, what)) {
            one = old->v[i];
            old->v[i].what = NULL;
            break;
        }
    if (one.what == NULL)
        one.what = mem_dup(what);
    if (one.wanted != version)
        one.next_try_s = 0;
    one.wanted = version;
    if (one.version == version) { /* done, whatever it was wanted for in between */
        one.failures = 0;
        one.failed_s = one.next_try_s = 0;
        err_clear(&one.last_error);
    }
    list->v = mem_resize(list->v, list->n + 1, sizeof *list->v);
    list->v[list->n++] = one;
}

static void want_all(struct list *list, struct list *old, enum deployment_kind kind,
                     const struct strlist *whats, int version)
{
    for (size_t i = 0; i < whats->n; i++)
        want_one(list, old, kind, whats->v[i], version);
}

static bool lies_in(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    return strncmp(path, dir, len) == 0 && path[len] == '/';
}

/* A directory that cannot be trusted must not keep a certificate from being installed, nor be forgotten; nor
 * which of its programs have been run for this version. */
static void list_directory(struct run *run, int version, const struct list *old, struct strlist *programs)
{
    struct err untold = ERR_INIT; /* until it is carried out */
    if (hooks_list(store_config_dir(run->store), HOOK_DEPLOY, programs, &untold))
        return;
    AUTO_FREE char *dir = hooks_directory(store_config_dir(run->store), HOOK_DEPLOY);
    strlist_clear(programs);
    strlist_add(programs, dir);
    for (size_t i = 0; i < old->n; i++)
        if (old->v[i].kind == DEPLOYMENT_HOOK && old->v[i].version == version && lies_in(old->v[i].what, dir))
            strlist_add(programs, old->v[i].what);
}

void deployments_want(struct run *run, const struct cert_config *config, int version,
                      struct cert_state *state)
{
    AUTO_STRLIST programs = STRLIST_INIT;
    struct list list = {0}, old = {state->deployments, state->n_deployments};
    list_directory(run, version, &old, &programs);
    want_all(&list, &old, DEPLOYMENT_EXPORT, &config->exports, version);
    want_all(&list, &old, DEPLOYMENT_HOOK, &programs, version);
    want_all(&list, &old, DEPLOYMENT_HOOK, &config->deploy_hooks, version);
    want_all(&list, &old, DEPLOYMENT_VERIFY, &config->verify, version);
    for (size_t i = 0; i < old.n; i++)
        free(old.v[i].what);
    free(old.v);
    state->deployments = list.v;
    state->n_deployments = list.n;
}

/* -- what is left --------------------------------------------------------------------------------------- */

/* Looks come after what makes the services show the certificate. */
static bool is_before_looks(const struct deployment *one)
{
    return one->kind != DEPLOYMENT_VERIFY;
}

static bool only_looks_left(const struct cert_state *state)
{
    for (size_t i = 0; i < state->n_deployments; i++)
        if (is_before_looks(&state->deployments[i]) && !is_done(&state->deployments[i]))
            return false;
    return true;
}

bool deployments_wanted(const struct cert_state *state)
{
    for (size_t i = 0; i < state->n_deployments; i++)
        if (!is_done(&state->deployments[i]))
            return true;
    return false;
}

int64_t deployments_next_s(const struct cert_state *state)
{
    int64_t next_s = INT64_MAX;
    bool looks = only_looks_left(state);
    for (size_t i = 0; i < state->n_deployments; i++) {
        const struct deployment *one = &state->deployments[i];
        if (!is_done(one) && (looks || is_before_looks(one)) && one->next_try_s < next_s)
            next_s = one->next_try_s;
    }
    return next_s;
}

const struct err *deployments_trouble(const struct cert_state *state)
{
    for (size_t i = 0; i < state->n_deployments; i++)
        if (!is_done(&state->deployments[i]) && err_isset(&state->deployments[i].last_error))
            return &state->deployments[i].last_error;
    return NULL;
}

/* -- carrying out one ----------------------------------------------------------------------------------- */

/* All that they are done for. */
struct subject {
    struct run *run;
    const struct cert_config *config;
    int version;
    const char *issued_by;
    int64_t patience_ms; /* looks wait until then (monotonic); 0 = none has been taken yet */
};

typedef bool carry_out_fn(struct subject *subject, const char *what, struct err *err);

/* It is an entry because its programs could not be listed: why not, as it is now. */
static bool cannot_list(struct subject *subject, const char *dir, struct err *err)
{
    AUTO_STRLIST programs = STRLIST_INIT;
    if (!hooks_list(store_config_dir(subject->run->store), HOOK_DEPLOY, &programs, err))
        return false;
    return err_set(err, ERR_HOOK, NEXT_RETRY_LATER, dir,
                   "%s could not be read a moment ago; the next run tries its hooks", dir);
}

static bool run_program(struct subject *subject, const char *program, struct err *err)
{
    const struct cert_config *config = subject->config;
    AUTO_FREE char *live = store_live_path(subject->run->store, config->name);
    AUTO_FREE char *directory = hooks_directory(store_config_dir(subject->run->store), HOOK_DEPLOY);
    struct cert_info info = CERT_INFO_INIT;
    if (strcmp(program, directory) == 0)
        return cannot_list(subject, directory, err);
    bool known = run_version_info(subject->run, config->name, subject->version, 0, &info);
    struct hook_deploy deploy = {.cert_name = config->name,
                                 .live_dir = live,
                                 .ca_url = subject->issued_by,
                                 .names = known ? &info.names : &config->names,
                                 .version = subject->version,
                                 .not_after_s = info.not_after_s};
    struct hook_run hook = {.when = HOOK_DEPLOY,
                            .program = program,
                            .user = config->hook_user,
                            .timeout_s = config->deploy_timeout_s,
                            .deploy = &deploy};
    bool ok = hooks_run(&hook, err);
    cert_info_clear(&info);
    return ok;
}

/* Of two certificates both. */
static bool write_copies(struct subject *subject, const char *what, struct err *err)
{
    const struct cert_config *config = subject->config;
    struct export_spec spec;
    if (!export_spec_parse(what, &spec, err))
        return false;
    bool ok = true;
    for (int part = 0; ok && part < (config->dual ? STORE_PARTS : 1); part++) {
        AUTO_CHAIN *chain = NULL;
        struct err none = ERR_INIT;
        if (part > 0 &&
            !store_version_chain(subject->run->store, config->name, subject->version, part, &chain, &none))
            break;
        ok = export_write(subject->run->store, config->name, subject->version, part, &spec, err);
    }
    export_spec_clear(&spec);
    return ok;
}

/* An address shows nothing by which a server could choose: it is asked for the certificate's own name. */
static const char *name_to_ask_for(const struct verify_target *target, const struct cert_config *config)
{
    for (size_t i = 0; target->is_address && i < config->names.n; i++)
        if (strchr(config->names.v[i], '*') == NULL)
            return config->names.v[i];
    return target->host;
}

static bool is_served(struct subject *subject, const struct verify_target *target, const char *what,
                      const char *address, struct err *err)
{
    struct probe_tls seen;
    const char *name = name_to_ask_for(target, subject->config);
    AUTO_FREE char *where =
        strcmp(address, target->host) == 0 ? mem_dup(what) : mem_fmt("%s on %s", what, address);
    if (!role_probe_starttls(address, target->port, name, target->protocol, PROBE_ANY, ASK_MS, &seen, err))
        return err_context(err, "%s cannot be seen to serve the certificate", where);
    return watch_leaf(subject->run->store, subject->config->name, subject->version, where, seen.sha256, err);
}

/* A service that was just told to reload is given the time. */
static bool see_address(struct subject *subject, const struct verify_target *target, const char *what,
                        const char *address, struct err *err)
{
    int pause_ms = FIRST_PAUSE_MS;
    struct err why = ERR_INIT;
    while (!is_served(subject, target, what, address, &why)) {
        if (signals_interrupted(err))
            return false;
        if (why.code == ERR_CHILD || clock_mono_ms() >= subject->patience_ms) {
            *err = why;
            return err_advise(err,
                              "see whether the service has been told to read the new certificate: a deploy "
                              "hook can do it, and its own log says what came of it");
        }
        err_clear(&why);
        output_tick();
        usleep((useconds_t)pause_ms * 1000);
        pause_ms = pause_ms * 2 < LONGEST_PAUSE_MS ? pause_ms * 2 : LONGEST_PAUSE_MS;
    }
    return true;
}

static bool look(struct subject *subject, const char *what, struct err *err)
{
    struct verify_target target;
    AUTO_STRLIST addresses = STRLIST_INIT;
    if (!verify_target_parse(what, &target, err))
        return false;
    if (subject->patience_ms == 0)
        subject->patience_ms = clock_mono_ms() + RELOAD_MS;
    if (target.is_address)
        strlist_add(&addresses, target.host);
    else if (!role_probe_resolve(target.host, ASK_MS, &addresses, err))
        return err_context(err, "%s", what);
    if (addresses.n == 0) {
        err_set(err, ERR_NETWORK, NEXT_FIX_CONFIG, what, "%s cannot be looked at: %s has no address", what,
                target.host);
        return err_advise(err, "see its DNS record, or take it out of `verify`");
    }
    for (size_t i = 0; i < addresses.n; i++)
        if (!see_address(subject, &target, what, addresses.v[i], err))
            return false;
    return true;
}

static bool carry_out_one(struct subject *subject, const struct deployment *one, struct err *err)
{
    static const struct {
        carry_out_fn *carry_out;
        const char *said;
    } kinds[] = {
        [DEPLOYMENT_HOOK] = {run_program, "running"},
        [DEPLOYMENT_EXPORT] = {write_copies, "writing"},
        [DEPLOYMENT_VERIFY] = {look, "looking at"},
    };
    output_detail("%s: %s %s", subject->config->name, kinds[one->kind].said, one->what);
    if (!kinds[one->kind].carry_out(subject, one->what, err)) {
        snprintf(err->subject, sizeof err->subject, "%s", one->what);
        return false;
    }
    log_info("%s: %s %s: done for version %d", subject->config->name, deployment_kind_name(one->kind),
             one->what, one->wanted);
    return true;
}

/* -- carrying them out ---------------------------------------------------------------------------------- */

/* How long what is still in use in its place is good for. */
static int64_t left_s(const struct subject *subject, const struct deployment *one)
{
    struct cert_info info = CERT_INFO_INIT;
    int64_t left = INT64_MAX;
    if (one->version > 0 && run_version_info(subject->run, subject->config->name, one->version, 0, &info))
        left = info.not_after_s - clock_now_s();
    cert_info_clear(&info);
    return left;
}

static void note_failure(const struct subject *subject, struct deployment *one, const struct err *why)
{
    uint32_t random = 0;
    (void)!getrandom(&random, sizeof random, 0); /* 0 is as good as any other jitter */
    one->failures++;
    one->failed_s = clock_now_s();
    one->next_try_s =
        one->failed_s + policy_renewal_backoff_s(one->failures, why->wait_s, left_s(subject, one), random);
    one->last_error = *why;
}

static void note_success(struct deployment *one)
{
    if (one->version != one->wanted)
        one->done_s = clock_now_s();
    one->version = one->wanted;
    one->failures = 0;
    one->failed_s = one->next_try_s = 0;
    err_clear(&one->last_error);
}

static bool try_one(struct subject *subject, struct cert_state *state, size_t i, struct err *err)
{
    struct err why = ERR_INIT;
    bool ok = carry_out_one(subject, &state->deployments[i], &why);
    if (why.code == ERR_INTERRUPTED) { /* it is not its failure */
        *err = why;
        return false;
    }
    if (ok)
        note_success(&state->deployments[i]);
    else
        note_failure(subject, &state->deployments[i], &why);
    if (!ok)
        *err = why;
    struct err unsaved = ERR_INIT;
    if (!store_state_save(subject->run->store, subject->config->name, state, &unsaved)) {
        if (ok)
            *err = unsaved;
        return false;
    }
    return ok;
}

static bool is_its_turn(const struct cert_state *state, const struct deployment *one, bool by_hand)
{
    return !is_done(one) && (is_before_looks(one) || only_looks_left(state)) &&
           (by_hand || one->next_try_s <= clock_now_s());
}

static bool carry_out_all(struct subject *subject, struct cert_state *state, bool by_hand, struct err *err)
{
    bool ok = true;
    for (size_t i = 0; i < state->n_deployments; i++) {
        struct err why = ERR_INIT;
        if (!is_its_turn(state, &state->deployments[i], by_hand))
            continue;
        bool interrupted = signals_interrupted(&why);
        if (!interrupted && try_one(subject, state, i, &why))
            continue;
        if (ok)
            *err = why;
        ok = false;
        if (why.code == ERR_INTERRUPTED)
            break;
    }
    return ok;
}

bool deployments_carry_out(struct run *run, const struct cert_config *config, bool by_hand, struct err *err)
{
    struct cert_state state = CERT_STATE_INIT;
    struct subject subject = {.run = run, .config = config};
    bool ok = store_state_load(run->store, config->name, &state, err) &&
              store_live_version(run->store, config->name, &subject.version, err);
    if (ok && subject.version > 0 && deployments_wanted(&state)) {
        subject.issued_by = state.issued_by[0] != '\0' ? state.issued_by : config->server;
        /* for what is live, whoever made it so; and as it is configured now */
        deployments_want(run, config, subject.version, &state);
        ok = store_state_save(run->store, config->name, &state, err) &&
             carry_out_all(&subject, &state, by_hand, err);
    }
    cert_state_clear(&state);
    return ok;
}
