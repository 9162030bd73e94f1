#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "around.h"
#include "deployments.h"
#include "notices.h"
#include "output.h"
#include "timer.h"
#include "tlsup/clock.h"
#include "tlsup/csr.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"
#include "tlsup/policy.h"
#include "tlsup/sandbox.h"
#include "tlsup/spawn.h"

enum {
    MAX_CSR_BYTES = 64 * 1024,
    DAY_S = 86400,
    NEXT_RUN_S = 2 * 3600 /* the timer's, at its latest */
};

/* -- opening and closing -------------------------------------------------------------------------------- */

bool run_open_store(const struct request *request, struct run *run, struct err *err)
{
    *run = (struct run)RUN_INIT;
    run->request = request;
    signals_install();
    sandbox_keep_secrets();
    return store_open(request->config_dir, request->state_dir, STORE_WRITE, &run->store, err);
}

bool run_open(const struct request *request, struct run *run, struct err *err)
{
    AUTO_STRLIST messages = STRLIST_INIT;
    if (!run_open_store(request, run, err))
        return false;
    /* renew starts it when there is something to look at: most of its runs have nothing to do */
    bool ok = ((request->command == COMMAND_RENEW && !request->dry_run) || role_start_prober(err)) &&
              deploy_recover(run->store, &messages, err) &&
              store_rename_finish(run->store, &run->renamed, err) &&
              (request->dry_run ? store_rehearsal_open(run->store, &run->rehearsal, err)
                                : store_rehearsal_remove(NULL, run->store, err));
    for (size_t i = 0; i < messages.n; i++)
        output_warning("%s", messages.v[i]);
    if (!ok)
        run_close(run);
    return ok;
}

static void close_rehearsal(struct run *run)
{
    struct err err = ERR_INIT;
    if (run->store == NULL || !run->request->dry_run)
        return;
    if (!store_rehearsal_remove(run->rehearsal, run->store, &err))
        log_warn("what the rehearsal has left goes with the next run: %s", err.text);
    store_forget_layout(run->store);
}

static void forget_info(struct run *run)
{
    free(run->last_info.cert_name);
    run->last_info.cert_name = NULL;
    cert_info_clear(&run->last_info.info);
}

void run_close(struct run *run)
{
    for (size_t i = 0; i < run->n_deploys; i++) {
        bool shared = false;
        for (size_t k = 0; k < i; k++)
            shared |= run->deploys[k].deploy == run->deploys[i].deploy;
        if (!shared)
            deploy_close(run->deploys[i].deploy);
        free(run->deploys[i].key);
    }
    free(run->deploys);
    around_close(run);
    run_close_network(run);
    forget_info(run);
    role_stop_prober();
    close_rehearsal(run);
    store_close(run->store);
    strlist_clear(&run->renamed);
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

/* -- configuration -------------------------------------------------------------------------------------- */

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

static void choose(bool *field, enum choice choice)
{
    if (choice != CHOICE_UNSET)
        *field = choice == CHOICE_YES;
}

static void overlay_server(const struct request *request, struct cert_config *config)
{
    if (request->server == NULL)
        return;
    replace(&config->server, request->server);
    strlist_copy(&config->fallbacks, &request->fallbacks);
}

static void overlay_key(const struct request *request, struct cert_config *config)
{
    if (request->has_key_type) {
        config->key_type = request->key_type;
        config->dual = request->dual;
        config->second_key_type = request->second_key_type;
    }
    replace(&config->key, request->key);
    choose(&config->reuse_key, request->reuse_key);
}

static void overlay_order(const struct request *request, struct cert_config *config)
{
    replace(&config->profile, request->profile);
    choose(&config->profile_required, request->profile_required);
    replace(&config->preferred_chain, request->preferred_chain);
    if (request->valid_for_s != 0)
        config->valid_for_s = request->valid_for_s;
    choose(&config->partial, request->partial);
}

/* A way that was not asked for, but whose tool was given: --dns-update-server alone means dns. */
static void overlay_challenge(const struct request *request, struct cert_config *config)
{
    bool dns_tool = request->challenge_hook != NULL || request->dns_update_server != NULL;
    if (request->has_challenge) {
        memcpy(config->challenges, request->challenges, sizeof config->challenges);
        config->n_challenges = request->n_challenges;
    } else if (dns_tool && !cert_config_has_challenge(config, CHALLENGE_VIA_DNS) &&
               !cert_config_has_challenge(config, CHALLENGE_VIA_HTTP_HOOK) &&
               !cert_config_has_challenge(config, CHALLENGE_VIA_DNS_ACCOUNT) &&
               !cert_config_has_challenge(config, CHALLENGE_VIA_DNS_PERSIST)) {
        config->challenges[0] = CHALLENGE_VIA_DNS;
        config->n_challenges = 1;
    }
    if (request->has_hook_contract)
        config->hook_contract = request->hook_contract;
    if (request->hook_timeout_s != 0)
        config->hook_timeout_s = request->hook_timeout_s;
    replace(&config->dns_update_server, request->dns_update_server);
    replace(&config->dns_update_zone, request->dns_update_zone);
    if (request->dns_servers.n > 0)
        strlist_copy(&config->dns_servers, &request->dns_servers);
    if (request->dns_timeout_s != 0)
        config->dns_timeout_s = request->dns_timeout_s;
    choose(&config->dns_check, request->dns_check);
}

void run_overlay_connection(const struct request *request, struct cert_config *config)
{
    replace(&config->proxy, request->proxy);
    if (request->ip_version != 0)
        config->ip_version = request->ip_version;
    replace(&config->interface, request->interface);
    if (request->timeout_s != 0)
        config->timeout_s = request->timeout_s;
}

static void overlay_web(const struct request *request, struct cert_config *config)
{
    choose(&config->redirect, request->redirect);
    if (request->hsts != CHOICE_UNSET)
        config->hsts_s = request->hsts == CHOICE_NO ? 0
                         : request->hsts_s > 0      ? request->hsts_s
                         : config->hsts_s > 0       ? config->hsts_s
                                                    : CONFIG_HSTS_S;
    if (request->has_tls_profile)
        config->tls_profile = request->tls_profile;
}

/* Programs are looked at now, not at a renewal months from now; one that is configured must not keep a
 * renewal from being had. */
static bool overlay_programs(const struct strlist *given, struct strlist *list, struct err *err)
{
    if (given->n == 0)
        return true;
    strlist_copy(list, given);
    for (size_t i = 0; i < list->n; i++)
        if (!spawn_check_program(list->v[i], false, err))
            return false;
    return true;
}

static bool overlay_hooks(const struct request *request, struct cert_config *config, struct err *err)
{
    replace(&config->hook_user, request->hook_user);
    if (request->deploy_timeout_s != 0)
        config->deploy_timeout_s = request->deploy_timeout_s;
    if (request->keep != 0)
        config->keep = request->keep;
    if (request->verify.n > 0)
        strlist_copy(&config->verify, &request->verify);
    return overlay_programs(&request->pre_hooks, &config->pre_hooks, err) &&
           overlay_programs(&request->deploy_hooks, &config->deploy_hooks, err) &&
           overlay_programs(&request->post_hooks, &config->post_hooks, err);
}

static bool overlay(const struct request *request, struct cert_config *config, struct err *err)
{
    overlay_server(request, config);
    replace(&config->account, request->account);
    replace(&config->email, request->email);
    overlay_key(request, config);
    overlay_order(request, config);
    overlay_challenge(request, config);
    run_overlay_connection(request, config);
    overlay_web(request, config);
    config->agree_tos |= request->agree_tos;
    return replace_path(&config->ca_bundle, request->ca_bundle, err) &&
           replace_path(&config->webroot, request->webroot, err) &&
           replace_path(&config->csr, request->csr, err) &&
           replace_path(&config->challenge_hook, request->challenge_hook, err) &&
           replace_path(&config->cleanup_hook, request->cleanup_hook, err) &&
           replace_path(&config->hook_env, request->hook_env, err) &&
           replace_path(&config->dns_update_key, request->dns_update_key, err) &&
           replace_path(&config->nginx_conf, request->nginx_conf, err) &&
           replace_path(&config->nginx_bin, request->nginx_bin, err) &&
           replace_path(&config->apache_conf, request->apache_conf, err) &&
           replace_path(&config->apache_ctl, request->apache_ctl, err) && overlay_hooks(request, config, err);
}

/* With a request of the user's the names are those in it. */
static bool take_names_of_csr(struct cert_config *config, bool given_now, struct err *err)
{
    AUTO_BUF data = BUF_INIT, der = BUF_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    char spki[KEY_SPKI_BYTES];
    if (config->csr == NULL || (config->names.n > 0 && !given_now))
        return true;
    if (!fs_read(config->csr, MAX_CSR_BYTES, &data, err) ||
        !csr_read(data.data, data.len, config->csr, &der, &names, spki, err))
        return false;
    strlist_copy(&config->names, &names);
    return true;
}

bool run_config_for(struct run *run, const char *cert_name, const struct strlist *names, struct task *task,
                    struct err *err)
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
    if (names->n > 0)
        strlist_copy(&task->config.names, names);
    if (task->config.server == NULL)
        task->config.server = mem_dup(CONFIG_DEFAULT_CA);
    return take_names_of_csr(&task->config, run->request->csr != NULL, err) &&
           cert_config_check(&task->config, err);
}

bool run_config(struct run *run, const char *cert_name, struct task *task, struct err *err)
{
    return run_config_for(run, cert_name, &run->request->names, task, err);
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

/* -- what the person is told ---------------------------------------------------------------------------- */

static void on_deploy(void *ctx, const char *text)
{
    (void)ctx;
    if (text != NULL)
        output_detail("%s", text);
    output_tick();
}

/* -- web servers ---------------------------------------------------------------------------------------- */

static bool is_same_server(const struct web *a, const struct web *b)
{
    return a->kind == b->kind && strcmp(a->bin, b->bin) == 0 && strcmp(a->conf, b->conf) == 0 &&
           strcmp(a->prefix, b->prefix) == 0;
}

/* One server may be asked for by several words ("any", "nginx", its path): two readings of its files would each miss what the
 * other writes. */
static struct deploy *share(struct run *run, struct deploy *opened)
{
    for (size_t i = 0; i < run->n_deploys; i++)
        if (is_same_server(deploy_web(run->deploys[i].deploy), deploy_web(opened))) {
            deploy_close(opened);
            return run->deploys[i].deploy;
        }
    return opened;
}

/* By how it is asked for. */
bool run_deploy(struct run *run, enum web_kind kind, const struct cert_config *config, struct deploy **out,
                struct err *err)
{
    struct web_hints hints = {.nginx_bin = config->nginx_bin,
                              .nginx_conf = config->nginx_conf,
                              .apache_ctl = config->apache_ctl,
                              .apache_conf = config->apache_conf};
    AUTO_FREE char *key =
        mem_fmt("%d %s %s %s %s", (int)kind, hints.nginx_bin ? hints.nginx_bin : "",
                hints.nginx_conf ? hints.nginx_conf : "", hints.apache_ctl ? hints.apache_ctl : "",
                hints.apache_conf ? hints.apache_conf : "");
    for (size_t i = 0; i < run->n_deploys; i++)
        if (strcmp(run->deploys[i].key, key) == 0) {
            *out = run->deploys[i].deploy;
            return true;
        }
    if (!deploy_open(run->store, kind, &hints, on_deploy, NULL, out, err))
        return false;
    *out = share(run, *out);
    run->deploys = mem_resize(run->deploys, run->n_deploys + 1, sizeof *run->deploys);
    run->deploys[run->n_deploys++] = (struct run_deploy){mem_dup(key), *out};
    return true;
}

static void copy_info(struct cert_info *to, const struct cert_info *from)
{
    cert_info_clear(to);
    *to = *from;
    to->names = (struct strlist)STRLIST_INIT;
    strlist_copy(&to->names, &from->names);
}

bool run_version_info(struct run *run, const char *cert_name, int version, int part, struct cert_info *info)
{
    AUTO_CHAIN *chain = NULL;
    struct err ignored = ERR_INIT;
    bool known = run->last_info.cert_name != NULL && run->last_info.version == version &&
                 run->last_info.part == part && strcmp(run->last_info.cert_name, cert_name) == 0;
    if (!known) {
        forget_info(run);
        if (!store_version_chain(run->store, cert_name, version, part, &chain, &ignored) ||
            !cert_chain_info(chain, &run->last_info.info, &ignored))
            return false;
        run->last_info.cert_name = mem_dup(cert_name);
        run->last_info.version = version;
        run->last_info.part = part;
    }
    copy_info(info, &run->last_info.info);
    return true;
}

/* Nobody may look again before then; what lives for hours alone is looked at more often than the timer by
 * itself would. */
static int64_t next_run_s(const struct cert_info *info)
{
    int64_t tenth_s = (info->not_after_s - info->not_before_s) / 10;
    return tenth_s < NEXT_RUN_S ? tenth_s : NEXT_RUN_S;
}

int64_t run_renewal_at_s(const struct cert_info *info)
{
    char digits[9];
    snprintf(digits, sizeof digits, "%.8s", info->sha256);
    return policy_renewal_at_s(info->not_before_s, info->not_after_s) -
           policy_renewal_jitter_s(info->not_before_s, info->not_after_s,
                                   (uint32_t)strtoul(digits, NULL, 16));
}

static int64_t latest(int64_t x, int64_t y)
{
    return x > y ? x : y;
}

int64_t run_due_at_s(const struct cert_info *info, const struct cert_state *state)
{
    int64_t tenth_s = (info->not_after_s - info->not_before_s) / 10;
    /* a window that reaches to the very end, or beyond it, is no reason to wait until then */
    int64_t last_s = info->not_after_s - tenth_s;
    if (state->revoked)
        return INT64_MIN;
    if (state->ari.chosen_s == 0 || info->ari_id[0] == '\0' || strcmp(state->ari.cert_id, info->ari_id) != 0)
        return run_renewal_at_s(info);
    int64_t at_s =
        ari_due_at_s(state->ari.chosen_s < last_s ? state->ari.chosen_s : last_s, next_run_s(info));
    /* and a CA that wants each new one back at once does not get one each hour */
    return state->version > 1 ? latest(at_s, info->not_before_s + (tenth_s < DAY_S ? tenth_s : DAY_S)) : at_s;
}

static bool is_due(const struct cert_info *info, const struct cert_state *state)
{
    return clock_now_s() >= run_due_at_s(info, state);
}

/* All names are in it, but for those that are known to be missing and not to be tried again yet. */
static bool has_names(const struct cert_info *info, const struct cert_config *config,
                      const struct cert_state *state)
{
    AUTO_STRLIST all = STRLIST_INIT;
    if (strlist_same_set(&info->names, &config->names))
        return true;
    if (!config->partial || state->missing.n == 0 || clock_now_s() >= state->missing_try_s)
        return false;
    strlist_copy(&all, &info->names);
    for (size_t i = 0; i < state->missing.n; i++)
        if (!strlist_has(&all, state->missing.v[i]))
            strlist_add(&all, state->missing.v[i]);
    return strlist_same_set(&all, &config->names);
}

/* The key of the user's request, which may be another one since. */
static bool is_of_csr(const struct cert_info *info, const char *path)
{
    AUTO_BUF data = BUF_INIT, der = BUF_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    struct err ignored = ERR_INIT;
    char spki[KEY_SPKI_BYTES];
    return fs_read(path, MAX_CSR_BYTES, &data, &ignored) &&
           csr_read(data.data, data.len, path, &der, &names, spki, &ignored) && strcmp(spki, info->spki) == 0;
}

/* Is the version's key where it is configured to be: here, on that token, or with whoever made that request?
 * No key is read for this: children are still to be forked. */
static bool right_key(struct run *run, int version, const struct cert_info *info,
                      const struct cert_config *config, enum key_type type)
{
    AUTO_FREE char *dir = store_version_path(run->store, config->name, version);
    AUTO_FREE char *key_path = fs_join(dir, "privkey.pem");
    AUTO_FREE char *uri_path = fs_join(dir, "privkey.uri");
    AUTO_BUF uri = BUF_SECRET;
    struct err ignored = ERR_INIT;
    if (config->csr != NULL)
        return is_of_csr(info, config->csr);
    if (config->key != NULL)
        return fs_read(uri_path, MAX_CSR_BYTES, &uri, &ignored) &&
               strncmp(buf_str(&uri), config->key, strlen(config->key)) == 0;
    return fs_exists(key_path) && strcmp(info->key_type, key_type_name(type)) == 0;
}

static bool right_ca(const struct cert_state *state, const struct cert_config *config)
{
    return state->issued_by[0] == '\0' || strcmp(state->issued_by, config->server) == 0 ||
           strlist_has(&config->fallbacks, state->issued_by);
}

int run_usable_version(struct run *run, const struct cert_config *config, const struct cert_state *state)
{
    struct cert_info info = CERT_INFO_INIT;
    struct err ignored = ERR_INIT;
    int live = 0, usable = 0;
    if (!store_live_version(run->store, config->name, &live, &ignored))
        live = 0;
    bool newer = state->version > live && !store_version_revoked(run->store, config->name, state->version);
    int candidate = newer ? state->version : live;
    if (candidate > 0 && run_version_info(run, config->name, candidate, 0, &info) &&
        has_names(&info, config, state) && right_key(run, candidate, &info, config, config->key_type) &&
        !is_due(&info, state) && right_ca(state, config))
        usable = candidate;
    if (usable > 0 && config->dual)
        usable = run_version_info(run, config->name, candidate, 1, &info) &&
                         right_key(run, candidate, &info, config, config->second_key_type) &&
                         !is_due(&info, state)
                     ? candidate
                     : 0;
    cert_info_clear(&info);
    return usable;
}

static void sooner(int64_t *at_s, int64_t when_s)
{
    if (when_s < *at_s)
        *at_s = when_s;
}

int64_t run_next_look_s(struct run *run, const struct cert_config *config, const struct cert_state *state)
{
    struct cert_info info = CERT_INFO_INIT;
    struct err ignored = ERR_INIT;
    int live;
    /* what fails, each run tells of; a request of the user's is a file that may be another one at any time */
    if (state->failures > 0 || deployments_wanted(state) || config->csr != NULL ||
        !store_live_version(run->store, config->name, &live, &ignored))
        return INT64_MIN;
    int64_t at_s = run_renewal_info_at_s(run, config);
    for (int part = 0; part < (config->dual ? 2 : 1); part++) {
        bool known = run_version_info(run, config->name, live, part, &info);
        sooner(&at_s, known ? run_due_at_s(&info, state) : INT64_MIN);
        sooner(&at_s, known ? notices_next_s(state, &info, clock_now_s()) : INT64_MIN);
    }
    cert_info_clear(&info);
    if (state->missing.n > 0)
        sooner(&at_s, state->missing_try_s);
    if (config->install != WEB_NONE) /* is it still what is served? */
        sooner(&at_s, state->verified_s + DAY_S);
    return at_s;
}

bool run_only_names_missing(struct run *run, const struct cert_config *config, const struct cert_state *state)
{
    struct cert_state patient = *state; /* borrows the lists */
    patient.missing_try_s = INT64_MAX;
    return config->partial && state->missing.n > 0 && run_usable_version(run, config, &patient) > 0;
}

const char *run_validity(struct run *run, const char *cert_name, int version, char out[128])
{
    struct cert_info info = CERT_INFO_INIT;
    char span[CLOCK_TEXT_BYTES], date[CLOCK_TEXT_BYTES];
    snprintf(out, 128, "unknown");
    if (run_version_info(run, cert_name, version, 0, &info)) {
        clock_format_utc(info.not_after_s, date);
        date[10] = '\0'; /* the day is enough */
        snprintf(out, 128, "valid until %s (%s)", date,
                 clock_format_span(info.not_after_s - clock_now_s(), span));
    }
    cert_info_clear(&info);
    return out;
}

/* -- installing ----------------------------------------------------------------------------------------- */

/* Written down before the switch, with all that is to follow it: a run that is killed in between has lost
 * nothing, for the next one finds a version that is not live yet, or deployments that are not done. */
static bool announce(struct run *run, const struct task *task, struct cert_state *state, struct err *err)
{
    if (!run->request->dry_run)
        deployments_want(run, &task->config, task->version, state);
    state->version = task->version;
    state->step = DEPLOY_ISSUED;
    return store_state_save(run->store, task->config.name, state, err);
}

static bool switch_over(struct run *run, struct task *task, struct cert_state *state, struct err *err)
{
    const struct cert_config *config = &task->config;
    if (config->install ==
        WEB_NONE) /* the standing answer to challenges stays, so that renewals need no edit */
        return store_live_switch(run->store, config->name, task->version, err) &&
               (task->deploy == NULL || deploy_keep(task->deploy, err));
    return deploy_certificate(task->deploy, config, task->version, state, err);
}

bool run_install(struct run *run, struct task *task, struct err *err)
{
    struct cert_state state = CERT_STATE_INIT;
    const struct cert_config *config = &task->config;
    bool opened = config->install == WEB_NONE || task->deploy != NULL ||
                  run_deploy(run, config->install, config, &task->deploy, err);
    bool ok = opened && store_state_load(run->store, config->name, &state, err) &&
              announce(run, task, &state, err) && switch_over(run, task, &state, err);
    cert_state_clear(&state);
    if (!ok)
        return false;
    struct err ignored = ERR_INIT;
    if (!run->request->dry_run && !deployments_carry_out(run, config, true, &task->undone))
        log_info("%s is in place, but not deployed everywhere", config->name);
    if (!store_version_prune(run->store, config->name, config->keep, &ignored))
        log_warn("old versions could not be removed: %s", ignored.text);
    return true;
}

bool run_deployed(const struct task *task, struct err *err)
{
    if (!err_isset(&task->undone))
        return true;
    *err = task->undone;
    return err_advise(err,
                      "the certificate itself is in place; `tlsup renew` tries this again by itself, and at "
                      "once with `tlsup renew %s`",
                      task->config.name);
}

/* -- keeping account of failures ------------------------------------------------------------------------ */

/* Until the live certificate expires; INT64_MAX when there is none. */
static int64_t left_s(struct run *run, const char *cert_name)
{
    struct cert_info info = CERT_INFO_INIT;
    struct err ignored = ERR_INIT;
    int live = 0;
    bool has = store_live_version(run->store, cert_name, &live, &ignored) && live > 0 &&
               run_version_info(run, cert_name, live, 0, &info);
    int64_t left = has ? info.not_after_s - clock_now_s() : INT64_MAX;
    cert_info_clear(&info);
    return left;
}

void run_record_failure(struct run *run, const char *cert_name, const struct err *why)
{
    struct cert_state state = CERT_STATE_INIT;
    struct err err = ERR_INIT;
    uint32_t random = 0;
    (void)!getrandom(&random, sizeof random, 0); /* 0 is as good as any other jitter */
    if (store_state_load(run->store, cert_name, &state, &err)) {
        state.failures++;
        state.failed_s = clock_now_s();
        state.next_try_s = state.failed_s + policy_renewal_backoff_s(state.failures, why->wait_s,
                                                                     left_s(run, cert_name), random);
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
