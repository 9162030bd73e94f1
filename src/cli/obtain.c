/*
 * The network of a run: which processes are needed, which CA is asked for what, and what is done when one
 * cannot or will not.
 *
 * All children are forked before the first key is read: prepare() looks at every task, for every CA that may
 * come into play.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "output.h"
#include "run.h"
#include "tlsup/clock.h"
#include "tlsup/front.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/policy.h"
#include "tlsup/port.h"
#include "tlsup/responder.h"

enum {
    HTTP_PORT = 80,
    HTTPS_PORT = 443,
    MAX_ROUNDS = 12, /* CAs and partial attempts together: an end in any case */
    PATIENCE_S = 86400,
    ARI_TIMEOUT_MS = 30 * 1000,
    ARI_AFTER_ISSUE_MS = 5 * 1000, /* a certificate waits to be installed */
};

/* -- what the person is told ---------------------------------------------------------------------------- */

static void on_progress(void *ctx, const struct job *job, const char *text)
{
    (void)ctx;
    if (job != NULL)
        output_detail("%s: %s", job->config->name, text);
    else
        output_detail("%s", text);
}

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

/* -- processes ------------------------------------------------------------------------------------------ */

static const char *server_of(const struct cert_config *config, size_t ca)
{
    return ca == 0 ? config->server : config->fallbacks.v[ca - 1];
}

static size_t n_servers(const struct cert_config *config)
{
    return 1 + config->fallbacks.n;
}

/* Two certificates share a keeper when all of this is the same. */
static char *keeper_identity(const struct cert_config *config, size_t ca)
{
#define OR_DASH(text) ((text) != NULL ? (text) : "-")
    return mem_fmt("%s %s %s %s %d %s %d", server_of(config, ca), OR_DASH(config->account),
                   OR_DASH(config->ca_bundle), OR_DASH(config->proxy), config->ip_version,
                   OR_DASH(config->interface), config->timeout_s);
#undef OR_DASH
}

static struct keeper *find_keeper(const struct run *run, const char *identity)
{
    for (size_t i = 0; i < run->n_keepers; i++)
        if (strcmp(run->keeper_identities[i], identity) == 0)
            return run->keepers[i];
    return NULL;
}

bool run_keeper(struct run *run, const struct cert_config *config, size_t ca, struct keeper **out,
                struct err *err)
{
    AUTO_FREE char *identity = keeper_identity(config, ca);
    struct keeper_options options = {.ca_url = server_of(config, ca),
                                     .account = config->account,
                                     .ca_bundle = config->ca_bundle,
                                     .proxy = config->proxy,
                                     .ip_version = config->ip_version,
                                     .interface = config->interface,
                                     .timeout_s = config->timeout_s,
                                     .responder = &run->responder,
                                     .progress = on_progress,
                                     .tick = on_tick,
                                     .agree = run->request->non_interactive ? NULL : on_agree};
    *out = find_keeper(run, identity);
    if (*out != NULL)
        return true;
    if (dns_available() && run->resolver == NULL && !resolver_start(&run->resolver, err))
        return false;
    options.resolver = run->resolver;
    if (!keeper_open(run->rehearsal != NULL ? run->rehearsal : run->store, &options, out, err))
        return false;
    run->keepers = mem_resize(run->keepers, run->n_keepers + 1, sizeof *run->keepers);
    run->keeper_identities =
        mem_resize(run->keeper_identities, run->n_keepers + 1, sizeof *run->keeper_identities);
    run->keepers[run->n_keepers] = *out;
    run->keeper_identities[run->n_keepers++] = mem_dup(identity);
    return true;
}

static void close_sockets(struct run *run)
{
    for (size_t i = 0; i < run->sockets.n_http; i++)
        close(run->sockets.http[i]);
    for (size_t i = 0; i < run->sockets.n_tls; i++)
        close(run->sockets.tls[i]);
    run->sockets = (struct responder_sockets){0};
}

void run_close_network(struct run *run)
{
    for (size_t i = 0; i < run->n_keepers; i++) {
        keeper_close(run->keepers[i]);
        free(run->keeper_identities[i]);
    }
    free(run->keepers);
    free(run->keeper_identities);
    run->keepers = NULL;
    run->keeper_identities = NULL;
    run->n_keepers = 0;
    close_sockets(run);
    role_stop(&run->responder);
    resolver_stop(run->resolver);
    run->resolver = NULL;
}

/* What holds the port may be known, and with it a way that works. */
static bool listen_on(int port, int *sockets, size_t *n, struct err *err)
{
    struct front holder;
    if (*n > 0 || responder_listen(port, sockets, n, err))
        return true;
    if (err->code == ERR_PORT && front_at(port, &holder) && holder.program != NULL && !holder.program->web)
        snprintf(err->advice, sizeof err->advice, "%s", front_advice(&holder));
    return false;
}

static bool need_http(struct run *run, struct err *err)
{
    return listen_on(HTTP_PORT, run->sockets.http, &run->sockets.n_http, err);
}

static bool need_tls(struct run *run, struct err *err)
{
    return listen_on(HTTPS_PORT, run->sockets.tls, &run->sockets.n_tls, err);
}

/* -- how challenges can be answered here ---------------------------------------------------------------- */

/* By the running web server; by our own responder where nothing listens on port 80. */
static bool use_web_server(struct run *run, struct task *task, struct err *err)
{
    struct err no_server = ERR_INIT;
    struct job *job = &task->job;
    enum web_kind kind = task->config.install != WEB_NONE ? task->config.install : run->request->web;
    char holder[PORT_HOLDER_BYTES];
    job->use_responder = true;
    if (kind == WEB_NONE && task->deploy == NULL && !port_holder(HTTP_PORT, holder, NULL))
        return need_http(run,
                         err); /* port 80 is free: which web servers might be installed does not matter */
    if (task->deploy == NULL && !run_deploy(run, kind, &task->config, &task->deploy, &no_server)) {
        /* a certificate alone can be had without a web server */
        if (no_server.code != ERR_NOT_FOUND || kind != WEB_NONE) {
            *err = no_server;
            return false;
        }
    }
    job->use_responder = task->deploy == NULL || !deploy_listens_on_80(task->deploy);
    if (!job->use_responder)
        return true;
    task->deploy = task->config.install != WEB_NONE ? task->deploy : NULL;
    return need_http(run, err);
}

static bool way_works(struct run *run, struct task *task, enum config_challenge via, struct err *err)
{
    switch (via) {
    case CHALLENGE_VIA_WEB_SERVER:
        return use_web_server(run, task, err);
    case CHALLENGE_VIA_STANDALONE:
        return need_http(run, err);
    case CHALLENGE_VIA_TLS_ALPN:
        return need_tls(run, err);
    case CHALLENGE_VIA_DNS:
    case CHALLENGE_VIA_DNS_ACCOUNT:
    case CHALLENGE_VIA_DNS_PERSIST:
        if (dns_available())
            return true;
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, task->config.name,
                "this tlsup was built without libldns, and cannot look at the domain name system");
        return err_advise(err, "use a build that has it, or another challenge (--challenge)");
    default:
        return true;
    }
}

/* Every name must be provable by one of them. */
static bool ways_suffice(const struct task *task, const struct err *why_not, struct err *err)
{
    const struct job *job = &task->job;
    for (size_t i = 0; i < task->config.names.n; i++) {
        bool provable = false;
        for (size_t t = 0; t < job->n_types; t++)
            provable |= challenge_type_fits(job->types[t], task->config.names.v[i]);
        if (provable)
            continue;
        if (err_isset(why_not))
            *err = *why_not;
        else
            err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, task->config.names.v[i],
                    "none of the chosen ways to answer challenges can prove it");
        return false;
    }
    return true;
}

/* What cannot work here is left out in favour of the next; if nothing is left the first reason is told. */
bool run_choose_ways(struct run *run, struct task *task, struct err *err)
{
    const struct cert_config *config = &task->config;
    struct job *job = &task->job;
    struct err first = ERR_INIT;
    job->token_dir = NULL;
    job->use_responder = false;
    job->n_types = 0;
    for (size_t i = 0; i < config->n_challenges; i++) {
        enum config_challenge via = config->challenges[i];
        enum challenge_type type = config_challenge_type(via);
        struct err why = ERR_INIT;
        bool have = false;
        for (size_t t = 0; t < job->n_types; t++)
            have |= job->types[t] == type;
        if (have)
            continue;
        if (way_works(run, task, via, &why)) {
            job->way[type] = via;
            job->types[job->n_types++] = type;
            continue;
        }
        if (config->n_challenges > 1)
            log_warn("%s: the challenge cannot be answered by way of %s: %s", config->name,
                     config_challenge_name(via), why.text);
        if (!err_isset(&first))
            first = why;
    }
    return ways_suffice(task, &first, err);
}

static bool wanted(const struct task *task)
{
    return task->needs_order && task->version == 0 && !err_isset(&task->err);
}

static void look_at_names(struct run *run, struct task *task)
{
    struct cert_info info = CERT_INFO_INIT;
    struct err ignored = ERR_INIT;
    int live = 0;
    task->renamed = store_live_version(run->store, task->config.name, &live, &ignored) && live > 0 &&
                    run_version_info(run, task->config.name, live, 0, &info) &&
                    !strlist_same_set(&info.names, &task->config.names);
    cert_info_clear(&info);
}

static bool prepare(struct run *run, struct task *tasks, size_t n, struct err *err)
{
    struct keeper *ignored;
    for (size_t i = 0; i < n; i++)
        if (wanted(&tasks[i]))
            look_at_names(run, &tasks[i]);
    for (size_t i = 0; i < n; i++)
        if (wanted(&tasks[i]) && !run_choose_ways(run, &tasks[i], &tasks[i].err))
            log_debug("%s: no way to answer challenges", tasks[i].config.name);
    for (size_t i = 0; i < n; i++)
        for (size_t ca = 0; ca < n_servers(&tasks[i].config); ca++)
            if (wanted(&tasks[i]) && !run_keeper(run, &tasks[i].config, ca, &ignored, &tasks[i].err))
                break;
    if (run->responder.pid > 0 || run->sockets.n_http + run->sockets.n_tls == 0)
        return true;
    bool ok = role_start_responder(&run->sockets, &run->responder, err); /* closes the sockets here */
    run->sockets = (struct responder_sockets){0};
    return ok;
}

/* -- one round: each task at the CA whose turn it is ---------------------------------------------------- */

static bool present_through_web_server(struct keeper *keeper, struct task *task, bool keep, struct err *err)
{
    char thumbprint[KEY_THUMBPRINT_BYTES];
    bool through_it = false;
    for (size_t i = 0; i < task->job.n_types; i++)
        through_it |= task->job.types[i] == CHALLENGE_HTTP_01 &&
                      task->job.way[CHALLENGE_HTTP_01] == CHALLENGE_VIA_WEB_SERVER &&
                      !task->job.use_responder;
    if (!through_it)
        return true;
    return keeper_thumbprint(keeper, thumbprint, err) &&
           deploy_challenge(task->deploy, task->config.name, &task->config.names, thumbprint,
                            &task->job.token_dir, err) &&
           (!keep || deploy_keep(task->deploy, err));
}

/* Where the web server cannot be made to answer, and other ways are left, it is but one way less. */
static bool do_without_http(struct task *task, const struct err *why)
{
    struct job *job = &task->job;
    size_t kept = 0;
    struct err ignored = ERR_INIT;
    for (size_t i = 0; i < job->n_types; i++)
        if (job->types[i] != CHALLENGE_HTTP_01)
            job->types[kept++] = job->types[i];
    job->n_types = kept;
    if (kept == 0 || !ways_suffice(task, why, &ignored))
        return false;
    log_warn("%s: the web server cannot answer for it: %s", task->config.name, why->text);
    return true;
}

static struct account_request account_request_of(const struct run *run, const struct task *task)
{
    const struct request *request = run->request;
    struct account_request wanted_account = {.email = task->config.email,
                                             .agree_tos = task->config.agree_tos};
    if (task->ca == 0) { /* credentials of the command line are for the CA of the command line */
        wanted_account.eab_kid = request->eab_kid;
        wanted_account.eab_hmac_key = request->eab_hmac_key;
        wanted_account.eab_alg = request->eab_alg;
    }
    return wanted_account;
}

static void job_from_task(const struct run *run, struct task *task, struct job *job)
{
    *job = task->job;
    job->config = &task->config;
    job->force = task->force;
    job->renewal = task->renewal;
    job->renamed = task->renamed;
    job->not_before_s = run->request->not_before_s;
    job->not_after_s = run->request->not_after_s;
    err_clear(&job->err);
}

/* The tasks of one keeper, all orders at the same time. */
static bool obtain_from(struct run *run, struct keeper *keeper, struct task **group, size_t n, bool keep,
                        struct err *err)
{
    struct err account = ERR_INIT;
    struct job *jobs = mem_array(n, sizeof *jobs);
    struct task **jobs_of = mem_array(n, sizeof *jobs_of);
    size_t n_jobs = 0;
    bool ok = true;
    for (size_t i = 0; i < n; i++) {
        struct err why = ERR_INIT;
        if (present_through_web_server(keeper, group[i], keep, &why) ||
            (why.code != ERR_INTERRUPTED && do_without_http(group[i], &why)))
            jobs_of[n_jobs++] = group[i];
        else
            group[i]->err = why;
    }
    struct account_request wanted_account = {0};
    if (n_jobs > 0)
        wanted_account = account_request_of(run, jobs_of[0]);
    if (n_jobs > 0 && !keeper_account(keeper, &wanted_account, NULL, &account)) {
        for (size_t i = 0; i < n_jobs; i++)
            jobs_of[i]->err = account;
        ok = account.code != ERR_INTERRUPTED;
        n_jobs = 0;
    }
    for (size_t i = 0; i < n_jobs; i++)
        job_from_task(run, jobs_of[i], &jobs[i]);
    if (n_jobs > 0)
        ok = keeper_obtain(keeper, jobs, n_jobs, err);
    for (size_t i = 0; i < n_jobs; i++) {
        jobs_of[i]->job = jobs[i];
        jobs_of[i]->version = jobs[i].version;
        jobs_of[i]->err = jobs[i].err;
    }
    if (!ok && !err_isset(err))
        *err = account;
    free(jobs);
    free(jobs_of);
    return ok;
}

static bool one_round(struct run *run, struct task *tasks, size_t n, bool keep, struct err *err)
{
    bool ok = true;
    struct task **group = mem_array(n + 1, sizeof *group);
    for (size_t k = 0; ok && k < run->n_keepers; k++) {
        size_t n_group = 0;
        for (size_t i = 0; i < n; i++) {
            AUTO_FREE char *identity =
                wanted(&tasks[i]) ? keeper_identity(&tasks[i].config, tasks[i].ca) : NULL;
            if (identity != NULL && strcmp(identity, run->keeper_identities[k]) == 0)
                group[n_group++] = &tasks[i];
        }
        struct err failed = ERR_INIT;
        ok = n_group == 0 || obtain_from(run, run->keepers[k], group, n_group, keep, &failed);
        if (!ok && failed.code != ERR_INTERRUPTED) {
            /* this CA, or the process that speaks to it, cannot be used at all; the others can */
            for (size_t i = 0; i < n_group; i++)
                if (!err_isset(&group[i]->err) && group[i]->version == 0)
                    group[i]->err = failed;
            ok = true;
        }
        if (!ok)
            *err = failed;
    }
    free(group);
    return ok;
}

/* -- after a failure: another CA, or fewer names -------------------------------------------------------- */

/* A CA that still works on an order of today is given the time: the next run fetches what it has issued. */
static bool is_at_work(const struct task *task)
{
    const struct order_state *order = &task->job.state.orders[0];
    return order->url[0] != '\0' && clock_now_s() - order->created_s < PATIENCE_S;
}

/* What lies with the name or with this machine another CA would find just the same. */
static bool another_ca_may_do(const struct task *task)
{
    static const char *const of_the_name[] = {"connection", "dns", "incorrectResponse", "tls",
                                              "unauthorized"};
    const struct err *err = &task->err;
    if (task->ca + 1 >= n_servers(&task->config))
        return false;
    switch (err->code) {
    case ERR_TIMEOUT:
        return !is_at_work(task);
    case ERR_NETWORK:
    case ERR_TLS:
    case ERR_PROTOCOL:
        return true;
    case ERR_CONFIG: /* its terms, its credentials; CAA */
        return strcmp(err->subject, server_of(&task->config, task->ca)) == 0 || strcmp(err->type, "caa") == 0;
    case ERR_ACME:
        for (size_t i = 0; i < COUNT_OF(of_the_name); i++)
            if (task->job.failed_names.n > 0 && strcmp(err->type, of_the_name[i]) == 0)
                return false;
        return true;
    default:
        return false;
    }
}

static void begin_again(struct task *task)
{
    struct job *job = &task->job;
    job_clear(job);
    strlist_clear(&job->names);
    job->n_parts = 0;
    job->persist_until_s = 0;
    err_clear(&task->err);
}

static void try_next_ca(struct task *task)
{
    char here[256], there[256];
    config_ca_name(server_of(&task->config, task->ca), here);
    config_ca_name(server_of(&task->config, task->ca + 1), there);
    output_warning("%s: %s cannot be used: %s\nNow %s is tried.", task->config.name, here, task->err.text,
                   there);
    task->ca++;
    begin_again(task);
}

/* The rest can be had without the names that failed. */
static bool try_fewer_names(struct task *task)
{
    AUTO_STRLIST left = STRLIST_INIT, failed = STRLIST_INIT;
    struct job *job = &task->job;
    if (!task->config.partial || task->for_missing || job->failed_names.n == 0)
        return false;
    for (size_t i = 0; i < job->names.n; i++)
        if (!strlist_has(&job->failed_names, job->names.v[i]))
            strlist_add(&left, job->names.v[i]);
    if (left.n == 0 || left.n == job->names.n)
        return false;
    strlist_copy(&failed, &job->failed_names);
    AUTO_FREE char *words = strlist_join(&failed, " ");
    output_warning("%s: going on without %s, to be tried again later\n%s", task->config.name, words,
                   task->err.text);
    begin_again(task);
    strlist_copy(&job->names, &left);
    return true;
}

/* The names that were missing still fail: what is here is as good as before. */
static bool keep_what_is_there(struct run *run, struct task *task)
{
    struct cert_state state = CERT_STATE_INIT;
    struct err ignored = ERR_INIT;
    if (!task->for_missing || task->err.code == ERR_INTERRUPTED)
        return false;
    if (store_state_load(run->store, task->config.name, &state, &ignored)) {
        state.missing_failures++;
        state.missing_try_s =
            clock_now_s() + policy_backoff_s(state.missing_failures + 2, task->err.wait_s, 0);
        if (!store_state_save(run->store, task->config.name, &state, &ignored))
            log_warn("%s", ignored.text);
    }
    cert_state_clear(&state);
    output_warning("%s: still without the names that were missing: %s", task->config.name, task->err.text);
    err_clear(&task->err);
    task->needs_order = false;
    return true;
}

bool run_obtain(struct run *run, struct task *tasks, size_t n, bool keep_challenges, struct err *err)
{
    bool ok = prepare(run, tasks, n, err), again = ok;
    for (int round = 0; ok && again && round < MAX_ROUNDS; round++) {
        again = false;
        ok = one_round(run, tasks, n, keep_challenges, err) && !signals_interrupted(err);
        for (size_t i = 0; ok && i < n; i++) {
            struct task *task = &tasks[i];
            if (!task->needs_order || task->version > 0 || !err_isset(&task->err))
                continue;
            bool last =
                round + 1 ==
                MAX_ROUNDS; /* what began anew now would end without a certificate and without an error */
            if (!last && another_ca_may_do(task)) {
                try_next_ca(task);
                again = true;
            } else if (!last && try_fewer_names(task)) {
                again = true;
            } else {
                (void)keep_what_is_there(run, task);
            }
        }
    }
    role_stop(&run->responder); /* up only while needed */
    ok = ok && !signals_interrupted(err);
    if (ok && run->rehearsal == NULL)
        run_renewal_info(run, tasks, n);
    return ok;
}

/* -- renewal information (RFC 9773) --------------------------------------------------------------------- */

struct ari_subject {
    struct task *task;
    struct cert_state state;
    struct cert_info info;
};

/* The certificate that counts: the one just issued, else the live one. */
static bool ari_subject_init(struct run *run, struct task *task, struct ari_subject *out)
{
    struct err ignored = ERR_INIT;
    int version = task->version;
    const char *name = task->config.name;
    *out = (struct ari_subject){.task = task};
    if (version == 0 && !store_live_version(run->store, name, &version, &ignored))
        version = 0;
    return version > 0 && store_state_load(run->store, name, &out->state, &ignored) &&
           run_version_info(run, name, version, 0, &out->info) && out->info.ari_id[0] != '\0' &&
           out->state.issued_by[0] != '\0' && out->info.not_after_s > clock_now_s();
}

static void ari_subject_clear(struct ari_subject *subject)
{
    cert_state_clear(&subject->state);
    cert_info_clear(&subject->info);
}

static void learn(struct ari_subject *subject, const struct ari_query *query)
{
    struct ari_state *ari = &subject->state.ari;
    int64_t now_s = clock_now_s();
    uint64_t random = 0;
    bool known = strcmp(ari->cert_id, query->cert_id) == 0;
    struct ari_window before = {.start_s = known ? ari->start_s : 0, .end_s = known ? ari->end_s : 0};
    (void)!getrandom(&random, sizeof random, 0); /* 0 is a choice like any other */
    if (!known)
        *ari = (struct ari_state){0};
    snprintf(ari->cert_id, sizeof ari->cert_id, "%s", query->cert_id);
    snprintf(ari->ca, sizeof ari->ca, "%s", subject->state.issued_by);
    if (!query->ok) {
        ari->failures++;
        ari->next_check_s = ari_retry_s(now_s, query->temporary, ari->failures);
        if (!query->temporary) /* the schedule of our own, meanwhile */
            ari->chosen_s = ari->start_s = ari->end_s = 0;
        log_info("%s: no renewal information: %s", subject->task->config.name, query->err.text);
        return;
    }
    ari->chosen_s = ari_choose(&query->window, &before, known ? ari->chosen_s : 0, random);
    ari->start_s = query->window.start_s;
    ari->end_s = query->window.end_s;
    ari->failures = 0;
    ari->next_check_s = ari_next_check_s(now_s, query->retry_after_s);
    bool news = query->window.explanation_url[0] != '\0' &&
                strcmp(ari->explanation_url, query->window.explanation_url) != 0;
    snprintf(ari->explanation_url, sizeof ari->explanation_url, "%.*s", (int)sizeof ari->explanation_url - 1,
             query->window.explanation_url);
    if (news)
        output_warning("%s: the CA wants it renewed by a time of its own, and says why: %s",
                       subject->task->config.name, ari->explanation_url);
}

/* Nothing is known about a new one yet. */
static int64_t ari_ask_at_s(const struct ari_subject *subject)
{
    const struct ari_state *ari = &subject->state.ari;
    return strcmp(ari->cert_id, subject->info.ari_id) != 0 ? INT64_MIN : ari->next_check_s;
}

static bool ari_is_to_be_asked(const struct ari_subject *subject)
{
    return ari_ask_at_s(subject) <= clock_now_s();
}

/* Which of the task's CAs has issued it; false when none of them. */
static bool issuer_index(const struct ari_subject *subject, size_t *ca)
{
    for (*ca = 0; *ca < n_servers(&subject->task->config); (*ca)++)
        if (strcmp(server_of(&subject->task->config, *ca), subject->state.issued_by) == 0)
            return true;
    return false;
}

int64_t run_renewal_info_at_s(struct run *run, const struct cert_config *config)
{
    struct task task = {.config = *config}; /* borrowed */
    struct ari_subject subject;
    size_t ca;
    bool asked = ari_subject_init(run, &task, &subject) && issuer_index(&subject, &ca);
    int64_t at_s = asked ? ari_ask_at_s(&subject) : INT64_MAX;
    ari_subject_clear(&subject);
    return at_s;
}

static void ask_one_ca(struct run *run, struct keeper *keeper, struct ari_subject **group, size_t n,
                       int timeout_ms)
{
    struct ari_query *queries = mem_array(n, sizeof *queries);
    struct err err = ERR_INIT;
    for (size_t i = 0; i < n; i++)
        queries[i] = (struct ari_query){.cert_id = group[i]->info.ari_id, .retry_after_s = -1};
    bool ok = keeper_renewal_info(keeper, queries, n, timeout_ms, &err);
    for (size_t i = 0; i < n && err.code != ERR_INTERRUPTED; i++) {
        struct err ignored = ERR_INIT;
        if (!ok) {
            queries[i].ok = false;
            queries[i].temporary = true;
            queries[i].err = err;
        }
        learn(group[i], &queries[i]);
        if (!store_state_save(run->store, group[i]->task->config.name, &group[i]->state, &ignored))
            log_warn("%s", ignored.text);
    }
    free(queries);
}

void run_renewal_info(struct run *run, struct task *tasks, size_t n)
{
    struct ari_subject *subjects = mem_array(n + 1, sizeof *subjects);
    struct keeper **keepers = mem_array(n + 1, sizeof *keepers);
    struct ari_subject **group = mem_array(n + 1, sizeof *group);
    bool after_issue = false;
    for (size_t i = 0; i < n; i++) {
        struct err ignored = ERR_INIT;
        size_t ca;
        bool asked = !err_isset(&tasks[i].err) && ari_subject_init(run, &tasks[i], &subjects[i]) &&
                     ari_is_to_be_asked(&subjects[i]) && issuer_index(&subjects[i], &ca);
        after_issue |= asked && tasks[i].version > 0;
        if (asked && !run_keeper(run, &tasks[i].config, ca, &keepers[i], &ignored))
            keepers[i] = NULL;
    }
    for (size_t k = 0; k < run->n_keepers; k++) {
        size_t n_group = 0;
        for (size_t i = 0; i < n; i++)
            if (keepers[i] == run->keepers[k])
                group[n_group++] = &subjects[i];
        if (n_group > 0)
            ask_one_ca(run, run->keepers[k], group, n_group,
                       after_issue ? ARI_AFTER_ISSUE_MS : ARI_TIMEOUT_MS);
    }
    for (size_t i = 0; i < n; i++)
        ari_subject_clear(&subjects[i]);
    free(subjects);
    free(keepers);
    free(group);
}
