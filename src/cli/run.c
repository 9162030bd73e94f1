#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "output.h"
#include "timer.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"
#include "tlsup/policy.h"
#include "tlsup/port.h"
#include "tlsup/responder.h"
#include "tlsup/sandbox.h"
#include "tlsup/spawn.h"

enum { HTTP_PORT = 80, KEPT_VERSIONS = 5, HOOK_TIMEOUT_MS = 5 * 60 * 1000 };

/* -- opening and closing ------------------------------------------------------------------------------------
 */

bool run_open(const struct request *request, struct run *run, struct err *err)
{
    AUTO_STRLIST messages = STRLIST_INIT;
    *run = (struct run)RUN_INIT;
    run->request = request;
    signals_install();
    sandbox_keep_secrets();
    if (!store_open(request->config_dir, request->state_dir, STORE_WRITE, &run->store, err))
        return false;
    bool ok = role_start_prober(err) && deploy_recover(run->store, &messages, err);
    for (size_t i = 0; i < messages.n; i++)
        output_warning("%s", messages.v[i]);
    if (!ok)
        run_close(run);
    return ok;
}

void run_close(struct run *run)
{
    for (size_t i = 0; i < COUNT_OF(run->deploys); i++)
        deploy_close(run->deploys[i]);
    for (size_t i = 0; i < run->n_keepers; i++) {
        keeper_close(run->keepers[i]);
        free(run->keeper_urls[i]);
    }
    free(run->keepers);
    free(run->keeper_urls);
    role_stop(&run->responder);
    role_stop_prober();
    store_close(run->store);
    *run = (struct run)RUN_INIT;
}

void task_clear(struct task *task)
{
    job_clear(&task->job);
    cert_config_clear(&task->config);
    *task = (struct task){0};
}

bool run_one(const struct request *request, run_work_fn *work, struct err *err)
{
    struct run run;
    struct task task = {0};
    if (!run_open(request, &run, err))
        return false;
    bool ok = work(&run, &task, err);
    if (!ok)
        output_failed(); /* nothing where no step is running */
    run_close(&run);
    task_clear(&task);
    return ok;
}

/* -- configuration ------------------------------------------------------------------------------------------
 */

static void replace(char **field, const char *value)
{
    if (value == NULL)
        return;
    free(*field);
    *field = mem_dup(value);
}

/* A path of the command line, as it will be read by a later run from another directory. */
static bool replace_path(char **field, const char *path, struct err *err)
{
    if (path == NULL)
        return true;
    char *absolute = realpath(path, NULL);
    if (absolute == NULL)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, path, "%s cannot be found", path);
    free(*field);
    *field = absolute;
    return true;
}

static bool overlay(const struct request *request, struct cert_config *config, struct err *err)
{
    if (request->names.n > 0)
        strlist_copy(&config->names, &request->names);
    replace(&config->server, request->server);
    replace(&config->email, request->email);
    if (request->has_key_type)
        config->key_type = request->key_type;
    if (request->has_challenge)
        config->challenge = request->challenge;
    if (request->redirect != CHOICE_UNSET)
        config->redirect = request->redirect == CHOICE_YES;
    config->agree_tos |= request->agree_tos;
    return replace_path(&config->ca_bundle, request->ca_bundle, err) &&
           replace_path(&config->webroot, request->webroot, err) &&
           replace_path(&config->deploy_hook, request->deploy_hook, err);
}

bool run_config(struct run *run, const char *cert_name, struct task *task, struct err *err)
{
    struct err missing = ERR_INIT;
    task->existed = store_cert_config(run->store, cert_name, &task->config, &missing);
    if (!task->existed) {
        if (missing.code != ERR_NOT_FOUND) {
            *err = missing;
            return false;
        }
        if (!store_defaults(run->store, &task->config, err))
            return false;
        replace(&task->config.name, cert_name);
    }
    if (!overlay(run->request, &task->config, err))
        return false;
    if (task->config.server == NULL)
        task->config.server = mem_dup(CONFIG_DEFAULT_CA);
    if (task->config.challenge == CHALLENGE_VIA_WEBROOT && task->config.webroot == NULL)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, cert_name,
                       "the challenge goes through a web root, but none is given (-w DIR)");
    return true;
}

bool run_save_config(struct run *run, const struct task *task, struct err *err)
{
    struct cert_config stored = {0};
    struct err ignored = ERR_INIT;
    bool same = task->existed && store_cert_config(run->store, task->config.name, &stored, &ignored) &&
                cert_config_same(&stored, &task->config);
    cert_config_clear(&stored);
    return same || store_cert_config_save(run->store, &task->config, err);
}

/* -- what the person is told --------------------------------------------------------------------------------
 */

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

static void on_deploy(void *ctx, const char *text)
{
    (void)ctx;
    if (text != NULL)
        output_detail("%s", text);
    output_tick();
}

static bool on_agree(void *ctx, const char *terms_url)
{
    (void)ctx;
    AUTO_FREE char *question = mem_fmt("Do you agree to the terms of service at %s?", terms_url);
    return output_ask(question, false);
}

/* -- web servers, responder, CAs ----------------------------------------------------------------------------
 */

bool run_deploy(struct run *run, enum web_kind kind, struct deploy **out, struct err *err)
{
    if (run->deploys[kind] == NULL &&
        !deploy_open(run->store, kind, on_deploy, NULL, &run->deploys[kind], err))
        return false;
    *out = run->deploys[kind];
    return true;
}

static bool start_responder(struct run *run, struct err *err)
{
    int listeners[2];
    size_t n = 0;
    if (run->responder.pid > 0)
        return true;
    return responder_listen(HTTP_PORT, listeners, &n, err) &&
           role_start_responder(listeners, n, &run->responder, err);
}

/* The CA's keeper; the CA bundle is part of what makes it another one. */
static struct keeper *find_keeper(const struct run *run, const char *identity)
{
    for (size_t i = 0; i < run->n_keepers; i++)
        if (strcmp(run->keeper_urls[i], identity) == 0)
            return run->keepers[i];
    return NULL;
}

static char *keeper_identity(const struct cert_config *config)
{
    return mem_fmt("%s %s", config->server, config->ca_bundle != NULL ? config->ca_bundle : "");
}

static bool open_keeper(struct run *run, const struct cert_config *config, struct err *err)
{
    AUTO_FREE char *identity = keeper_identity(config);
    struct keeper_options options = {.ca_url = config->server,
                                     .ca_bundle = config->ca_bundle,
                                     .responder = run->responder.pid > 0 ? &run->responder : NULL,
                                     .progress = on_progress,
                                     .tick = on_tick,
                                     .agree = run->request->non_interactive ? NULL : on_agree};
    struct keeper *keeper;
    if (find_keeper(run, identity) != NULL)
        return true;
    if (!keeper_open(run->store, &options, &keeper, err))
        return false;
    run->keepers = mem_resize(run->keepers, run->n_keepers + 1, sizeof *run->keepers);
    run->keeper_urls = mem_resize(run->keeper_urls, run->n_keepers + 1, sizeof *run->keeper_urls);
    run->keepers[run->n_keepers] = keeper;
    run->keeper_urls[run->n_keepers++] = mem_dup(identity);
    return true;
}

/* How the challenge of one task is answered; before any key is read. */
static bool choose_answer(struct run *run, struct task *task, struct err *err)
{
    struct err no_server = ERR_INIT;
    struct job *job = &task->job;
    job->token_dir = NULL;
    job->use_responder = false;
    switch (task->config.challenge) {
    case CHALLENGE_VIA_STANDALONE:
        job->use_responder = true;
        return start_responder(run, err);
    case CHALLENGE_VIA_WEBROOT:
        job->token_dir = task->config.webroot;
        job->token_dir_is_root = true;
        return true;
    case CHALLENGE_VIA_WEB_SERVER:
        break;
    }
    enum web_kind kind = task->config.install != WEB_NONE ? task->config.install : run->request->web;
    char holder[PORT_HOLDER_BYTES];
    if (kind == WEB_NONE && task->deploy == NULL && !port_holder(HTTP_PORT, holder, NULL)) {
        job->use_responder = true; /* port 80 is free: which web servers might be installed does not matter */
        return start_responder(run, err);
    }
    if (task->deploy == NULL && !run_deploy(run, kind, &task->deploy, &no_server)) {
        /* a certificate alone can be had without a web server */
        if (no_server.code != ERR_NOT_FOUND || kind != WEB_NONE) {
            *err = no_server;
            return false;
        }
    }
    if (task->deploy != NULL && deploy_listens_on_80(task->deploy))
        return true;
    task->deploy = task->config.install != WEB_NONE ? task->deploy : NULL;
    job->use_responder = true;
    return start_responder(run, err);
}

/* -- obtaining ----------------------------------------------------------------------------------------------
 */

static bool wanted(const struct task *task)
{
    return task->needs_order && !err_isset(&task->err);
}

/* All forks of the run happen here. */
static void prepare(struct run *run, struct task *tasks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (wanted(&tasks[i]))
            (void)choose_answer(run, &tasks[i], &tasks[i].err);
    for (size_t i = 0; i < n; i++)
        if (wanted(&tasks[i]))
            (void)open_keeper(run, &tasks[i].config, &tasks[i].err);
}

static bool present_through_web_server(struct keeper *keeper, struct task *task, bool keep, struct err *err)
{
    char thumbprint[KEY_THUMBPRINT_BYTES];
    bool through_it = task->config.challenge == CHALLENGE_VIA_WEB_SERVER && !task->job.use_responder;
    if (!through_it)
        return true;
    return keeper_thumbprint(keeper, thumbprint, err) &&
           deploy_challenge(task->deploy, task->config.name, &task->config.names, thumbprint,
                            &task->job.token_dir, err) &&
           (!keep || deploy_keep(task->deploy, err));
}

/* The tasks of one CA, all orders at the same time. */
static bool obtain_from(struct keeper *keeper, struct task **group, size_t n, bool keep, struct err *err)
{
    struct err account = ERR_INIT;
    struct job *jobs = mem_array(n, sizeof *jobs);
    struct task **jobs_of = mem_array(n, sizeof *jobs_of);
    size_t n_jobs = 0;
    bool ok = true;
    for (size_t i = 0; i < n; i++)
        if (present_through_web_server(keeper, group[i], keep, &group[i]->err))
            jobs_of[n_jobs++] = group[i];
    if (n_jobs > 0 && !keeper_account(keeper, jobs_of[0]->config.email, jobs_of[0]->config.agree_tos, false,
                                      NULL, &account)) {
        for (size_t i = 0; i < n_jobs; i++)
            jobs_of[i]->err = account;
        ok = account.code != ERR_INTERRUPTED;
        n_jobs = 0;
    }
    for (size_t i = 0; i < n_jobs; i++) {
        jobs[i] = jobs_of[i]->job;
        jobs[i].config = &jobs_of[i]->config;
        jobs[i].force = jobs_of[i]->force;
    }
    if (n_jobs > 0)
        ok = keeper_obtain(keeper, jobs, n_jobs, err);
    for (size_t i = 0; i < n_jobs; i++) {
        jobs_of[i]->job = jobs[i];
        jobs_of[i]->version = jobs[i].version;
        jobs_of[i]->err = jobs[i].err;
    }
    free(jobs);
    free(jobs_of);
    return ok;
}

bool run_obtain(struct run *run, struct task *tasks, size_t n, bool keep_challenges, struct err *err)
{
    bool ok = true;
    prepare(run, tasks, n);
    for (size_t k = 0; ok && k < run->n_keepers; k++) {
        struct task **group = mem_array(n > 0 ? n : 1, sizeof *group);
        size_t n_group = 0;
        for (size_t i = 0; i < n; i++) {
            AUTO_FREE char *identity = keeper_identity(&tasks[i].config);
            if (wanted(&tasks[i]) && find_keeper(run, identity) == run->keepers[k])
                group[n_group++] = &tasks[i];
        }
        ok = n_group == 0 || obtain_from(run->keepers[k], group, n_group, keep_challenges, err);
        free(group);
    }
    role_stop(&run->responder); /* up only while needed */
    return ok && !signals_interrupted(err);
}

static bool info_of_version(struct run *run, const char *cert_name, int version, struct cert_info *info)
{
    AUTO_CHAIN *chain = NULL;
    struct err ignored = ERR_INIT;
    return store_version_chain(run->store, cert_name, version, &chain, &ignored) &&
           cert_chain_info(chain, info, &ignored);
}

int run_usable_version(struct run *run, const struct cert_config *config, const struct cert_state *state)
{
    struct cert_info info = CERT_INFO_INIT;
    struct err ignored = ERR_INIT;
    int live = 0, usable = 0;
    if (!store_live_version(run->store, config->name, &live, &ignored))
        live = 0;
    int candidate = state->version > live ? state->version : live;
    if (candidate > 0 && info_of_version(run, config->name, candidate, &info) &&
        strlist_same_set(&info.names, &config->names) &&
        strcmp(info.key_type, key_type_name(config->key_type)) == 0 &&
        !policy_renewal_due(info.not_before_s, info.not_after_s, clock_now_s()) &&
        (state->issued_by[0] == '\0' || strcmp(state->issued_by, config->server) == 0))
        usable = candidate;
    cert_info_clear(&info);
    return usable;
}

const char *run_validity(struct run *run, const char *cert_name, int version, char out[128])
{
    struct cert_info info = CERT_INFO_INIT;
    char span[CLOCK_TEXT_BYTES], date[CLOCK_TEXT_BYTES];
    snprintf(out, 128, "unknown");
    if (info_of_version(run, cert_name, version, &info)) {
        clock_format_utc(info.not_after_s, date);
        date[10] = '\0'; /* the day is enough */
        snprintf(out, 128, "valid until %s (%s)", date,
                 clock_format_span(info.not_after_s - clock_now_s(), span));
    }
    cert_info_clear(&info);
    return out;
}

/* -- installing ---------------------------------------------------------------------------------------------
 */

/* certbot's variables, so that hooks written for it work unchanged. */
static bool run_hook(struct run *run, const struct cert_config *config, struct err *err)
{
    AUTO_FREE char *live = store_live_path(run->store, config->name);
    AUTO_FREE char *names = strlist_join(&config->names, " ");
    AUTO_FREE char *lineage_env = mem_fmt("RENEWED_LINEAGE=%s", live);
    AUTO_FREE char *domains_env = mem_fmt("RENEWED_DOMAINS=%s", names);
    const char *const argv[] = {config->deploy_hook, NULL};
    const char *const env[] = {lineage_env, domains_env, NULL};
    struct spawn_options options = {.timeout_ms = HOOK_TIMEOUT_MS, .env = env};
    struct spawn_result result;
    if (config->deploy_hook == NULL)
        return true;
    output_detail("running %s", config->deploy_hook);
    if (!spawn_run(argv, &options, &result, err))
        return err_context(err, "the deploy hook");
    bool ok = result.status == 0 && !result.timed_out;
    if (!ok) {
        err_set(err, ERR_HOOK, NEXT_FIX_CONFIG, config->deploy_hook, "the deploy hook %s%s%s",
                result.timed_out ? "did not end within five minutes" : "failed",
                result.output.len > 0 ? ": " : "", buf_str(&result.output));
        (void)err_advise(err,
                         "the certificate itself is in place; mend the hook and run `tlsup renew --force %s`",
                         config->name);
    }
    spawn_result_clear(&result);
    return ok;
}

static bool switch_live(struct run *run, struct task *task, struct cert_state *state, struct err *err)
{
    if (!store_live_switch(run->store, task->config.name, task->version, err))
        return false;
    state->version = task->version;
    state->step = DEPLOY_ISSUED;
    return store_state_save(run->store, task->config.name, state, err);
}

bool run_install(struct run *run, struct task *task, struct err *err)
{
    struct cert_state state = CERT_STATE_INIT;
    const struct cert_config *config = &task->config;
    int before = 0;
    bool ok = store_state_load(run->store, config->name, &state, err) &&
              store_live_version(run->store, config->name, &before, err);
    if (ok && config->install ==
                  WEB_NONE) /* the standing answer to challenges stays, so that renewals need no edit */
        ok = switch_live(run, task, &state, err) && (task->deploy == NULL || deploy_keep(task->deploy, err));
    else if (ok)
        ok = (task->deploy != NULL || run_deploy(run, config->install, &task->deploy, err)) &&
             deploy_certificate(task->deploy, config->name, &config->names, task->version, config->redirect,
                                &state, err);
    if (ok && before != task->version)
        ok = run_hook(run, config, err);
    cert_state_clear(&state);
    struct err ignored = ERR_INIT;
    if (ok && !store_version_prune(run->store, config->name, KEPT_VERSIONS, &ignored))
        log_warn("old versions could not be removed: %s", ignored.text);
    return ok;
}

/* -- keeping account of failures ----------------------------------------------------------------------------
 */

void run_record_failure(struct run *run, const char *cert_name, const struct err *why)
{
    struct cert_state state = CERT_STATE_INIT;
    struct err err = ERR_INIT;
    uint32_t random = 0;
    (void)!getrandom(&random, sizeof random, 0); /* 0 is as good as any other jitter */
    if (store_state_load(run->store, cert_name, &state, &err)) {
        state.failures++;
        state.failed_s = clock_now_s();
        state.next_try_s = state.failed_s + policy_backoff_s(state.failures, why->wait_s, random);
        state.last_error = *why;
        (void)!store_state_save(run->store, cert_name, &state, &err);
    }
    if (err_isset(&err))
        log_warn("the failure could not be noted: %s", err.text);
    cert_state_clear(&state);
}

void run_record_success(struct run *run, const char *cert_name)
{
    struct cert_state state = CERT_STATE_INIT;
    struct err err = ERR_INIT;
    if (store_state_load(run->store, cert_name, &state, &err) &&
        (state.failures > 0 || err_isset(&state.last_error))) {
        state.failures = 0;
        state.failed_s = state.next_try_s = 0;
        err_clear(&state.last_error);
        (void)!store_state_save(run->store, cert_name, &state, &err);
    }
    if (err_isset(&err))
        log_warn("the success could not be noted: %s", err.text);
    cert_state_clear(&state);
}

void run_ensure_timer(struct run *run)
{
    struct timer timer;
    bool changed = false;
    struct err err = ERR_INIT;
    if (run->request->no_timer)
        return;
    if (!timer_ensure(run->request->config_dir, run->request->state_dir, &timer, &changed, &err)) {
        output_warning("nothing renews this certificate yet: %s%s%s", err.text,
                       err.advice[0] != '\0' ? "\n" : "", err.advice);
        return;
    }
    output_line("  renewal      %s%s%s%s", timer.where, changed ? ", switched on now" : "",
                timer.next[0] != '\0' ? ", next run " : "", timer.next);
}
