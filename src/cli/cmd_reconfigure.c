/*
 * reconfigure: change what a certificate is configured with. Rehearsed first; then, where the certificate
 * that is held does not fit any more, a new one is got and put in its place. Whatever fails, all stays as it
 * was.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "around.h"
#include "commands.h"
#include "dry_run.h"
#include "output.h"
#include "run.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"
#include "usage.h"

/* -- what is to be changed ------------------------------------------------------------------------------ */

static bool another_server(const struct cert_config *stored, enum web_kind wanted, struct err *err)
{
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, stored->name,
            "it is installed in %s, and cannot change over to %s in one step", web_kind_name(stored->install),
            web_kind_name(wanted));
    return err_advise(err, "tlsup undo %s; then tlsup install %s --%s", stored->name, stored->name,
                      web_kind_name(wanted));
}

/* The configuration as it is, and as it shall be. */
static bool configure(struct run *run, struct task *task, struct cert_config *stored, struct err *err)
{
    const char *name = run->request->arguments.v[0];
    enum web_kind web = run->request->web;
    if (!store_cert_config(run->store, name, stored, err) || !run_config(run, name, task, err))
        return false;
    if (web != WEB_NONE && stored->install != WEB_NONE && web != stored->install)
        return another_server(stored, web, err);
    if (web != WEB_NONE)
        task->config.install = web;
    return true;
}

/* Only what no order depends on? */
static bool is_for_here_alone(const struct cert_config *stored, const struct cert_config *wanted)
{
    struct cert_config same = {0};
    cert_config_copy(&same, stored);
    same.install = wanted->install;
    same.redirect = wanted->redirect;
    same.hsts_s = wanted->hsts_s;
    same.tls_profile = wanted->tls_profile;
    same.deploy_timeout_s = wanted->deploy_timeout_s;
    same.keep = wanted->keep;
    same.partial = wanted->partial;
    free(same.hook_user);
    same.hook_user = wanted->hook_user != NULL ? mem_dup(wanted->hook_user) : NULL;
    strlist_copy(&same.pre_hooks, &wanted->pre_hooks);
    strlist_copy(&same.deploy_hooks, &wanted->deploy_hooks);
    strlist_copy(&same.post_hooks, &wanted->post_hooks);
    strlist_copy(&same.verify, &wanted->verify);
    bool yes = cert_config_same(&same, wanted);
    cert_config_clear(&same);
    return yes;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* What the certificate itself does not show, but would be otherwise in a new one. */
static bool wants_another(const struct cert_config *stored, const struct cert_config *wanted)
{
    return !same_text(stored->profile, wanted->profile) ||
           !same_text(stored->preferred_chain, wanted->preferred_chain) ||
           !same_text(stored->account, wanted->account) || stored->valid_for_s != wanted->valid_for_s ||
           stored->dual != wanted->dual;
}

/* -- what is told --------------------------------------------------------------------------------------- */

static bool has_line(const char *text, const char *line, size_t len)
{
    for (const char *at = text; *at != '\0'; at += strcspn(at, "\n"), at += *at == '\n')
        if (strcspn(at, "\n") == len && strncmp(at, line, len) == 0)
            return true;
    return false;
}

static void tell_lines(const char *sign, const struct buf *text, const struct buf *other)
{
    for (const char *at = buf_str(text); *at != '\0'; at += strcspn(at, "\n"), at += *at == '\n') {
        size_t len = strcspn(at, "\n");
        if (len > 0 && *at != '#' && !has_line(buf_str(other), at, len))
            output_line("  %s %.*s", sign, (int)len, at);
    }
}

static void tell_changes(struct run *run, const struct cert_config *stored, const struct cert_config *wanted)
{
    struct cert_config defaults = {0};
    struct err ignored = ERR_INIT;
    AUTO_BUF before = BUF_INIT, after = BUF_INIT;
    if (!store_defaults(run->store, &defaults, &ignored))
        return;
    config_write_text(stored, &defaults, &before);
    config_write_text(wanted, &defaults, &after);
    tell_lines("-", &before, &after);
    tell_lines("+", &after, &before);
    cert_config_clear(&defaults);
}

static void say_removed(const struct cert_config *stored, const struct cert_config *wanted)
{
    char shown[2 * NAME_MAX_BYTES + 4];
    for (size_t i = 0; i < stored->names.n; i++)
        if (!strlist_has(&wanted->names, stored->names.v[i]))
            output_warning("%s will no longer be in the certificate %s",
                           name_display(stored->names.v[i], shown), stored->name);
}

/* Visitors of a name that was taken out would be shown a certificate that is not for it. */
static void say_still_served(struct run *run, const struct task *task, const struct cert_config *stored)
{
    const struct cert_config *config = &task->config;
    for (size_t i = 0; task->deploy != NULL && i < stored->names.n; i++) {
        const char *name = stored->names.v[i];
        if (strlist_has(&config->names, name))
            continue;
        /* that one would be changed back */
        bool taken = strcmp(name, config->name) == 0;
        const struct site *site =
            sites_owner(deploy_web(task->deploy), deploy_sites(task->deploy), name, 443, true);
        if (site != NULL && usage_by_site(run->store, config->name, site))
            output_warning(
                "%s is still served with the certificate %s, which is not for it: %s:%zu\nGive it one "
                "of its own (tlsup enable %s%s%s%s), or take it out of that site.",
                name, config->name, site->file, site->line, name, taken ? " --cert-name " : "",
                taken ? name : "", taken ? "-2" : "");
    }
}

static void say_what_can_be(const char *name)
{
    output_line("Nothing is changed: %s is configured like that already.", name);
    output_text(
        "What can be changed: the names (-d, all of them), the CA (--server, --account), the key "
        "(--key-type, "
        "--key, --reuse-key), the profile (--preferred-profile), the challenge (--challenge, -w, "
        "--challenge-hook, --dns-update-server), the web server (--redirect, --hsts, --tls-profile), hooks "
        "(--deploy-hook), and more: tlsup reconfigure --help");
}

/* -- the look before, and the rehearsal ----------------------------------------------------------------- */

struct look {
    bool changed, needs_test;
    char ca[256];
    bool has_staging;
};

static bool look(const struct request *request, struct look *out, struct err *err)
{
    struct run run = RUN_INIT;
    struct task task = {0};
    struct cert_config stored = {0};
    run.request = request;
    if (!store_open(request->config_dir, request->state_dir, STORE_READ, &run.store, err))
        return false;
    bool ok = configure(&run, &task, &stored, err);
    if (ok) {
        out->changed = !cert_config_same(&stored, &task.config);
        out->needs_test = out->changed && !is_for_here_alone(&stored, &task.config);
        out->has_staging = dry_run_staging(&task.config) != NULL;
        config_ca_name(task.config.server, out->ca);
    }
    if (ok && out->changed)
        tell_changes(&run, &stored, &task.config);
    cert_config_clear(&stored);
    task_clear(&task);
    store_close(run.store);
    return ok;
}

static bool rehearse(struct run *run, struct task *task, struct err *err)
{
    struct cert_config stored = {0};
    bool ok = configure(run, task, &stored, err) && dry_run_tasks(run, task, 1, err);
    cert_config_clear(&stored);
    return ok;
}

static bool test(const struct request *request, const struct look *seen, struct err *err)
{
    struct request rehearsal = *request; /* borrows */
    rehearsal.dry_run = true;
    if (!seen->needs_test || request->no_test)
        return true;
    if (!seen->has_staging) {
        output_warning("%s has no server for rehearsals that is known: the change is not tried out first",
                       seen->ca);
        return true;
    }
    if (dry_run_apart(&rehearsal, rehearse, err))
        return true;
    (void)err_context(err, "nothing was changed");
    size_t len = strlen(err->advice);
    snprintf(err->advice + len, sizeof err->advice - len, "%s(--no-test changes it without a rehearsal)",
             len > 0 ? "; " : "");
    return false;
}

/* -- the change ----------------------------------------------------------------------------------------- */

/* How it was, for when it does not work out. */
struct before {
    struct buf config;
    struct cert_state state;
    int live;
};

static bool before_read(struct run *run, const char *name, struct before *out, struct err *err)
{
    *out = (struct before){.live = 0};
    return store_cert_config_text(run->store, name, &out->config, err) &&
           store_state_load(run->store, name, &out->state, err) &&
           store_live_version(run->store, name, &out->live, err);
}

static void before_clear(struct before *before)
{
    buf_clear(&before->config);
    cert_state_clear(&before->state);
}

/* The CA's own record of what replaces what is not for us to take back. */
static void put_state_back(struct run *run, const char *name, struct before *before, struct err *err)
{
    struct cert_state now = CERT_STATE_INIT;
    if (store_state_load(run->store, name, &now, err)) {
        memcpy(before->state.replaced_id, now.replaced_id, sizeof now.replaced_id);
        (void)!store_state_save(run->store, name, &before->state, err);
    }
    cert_state_clear(&now);
}

static void put_back(struct run *run, const struct task *task, struct before *before)
{
    const char *name = task->config.name;
    struct err err = ERR_INIT;
    int live = 0;
    if (!store_cert_config_put_back(run->store, name, &before->config, &err))
        log_error("the configuration of %s could not be put back: %s", name, err.text);
    err_clear(&err);
    if (store_live_version(run->store, name, &live, &err) && live != before->live)
        return; /* it is in place: only what comes after that has failed */
    put_state_back(run, name, before, &err);
    if (task->needs_order && task->version > 0 && !err_isset(&err) &&
        store_version_drop(run->store, name, task->version, &err))
        return;
    if (err_isset(&err))
        log_warn("%s", err.text);
}

static bool decide(struct run *run, struct task *task, const struct cert_config *stored,
                   const struct before *before, struct err *err)
{
    task->renewal = before->live > 0;
    task->version =
        wants_another(stored, &task->config) ? 0 : run_usable_version(run, &task->config, &before->state);
    if (task->version == 0 && is_for_here_alone(stored, &task->config))
        task->version = before->live; /* though it be due: a CA that is down must not keep a hook from being
                                         put right */
    task->needs_order = task->version == 0;
    task->force = task->needs_order;
    if (task->config.install == WEB_NONE)
        return true;
    output_step("Looking at the web server");
    return run_deploy(run, task->config.install, &task->config, &task->deploy, err) &&
           deploy_has_place(task->deploy, &task->config, err);
}

static bool obtain(struct run *run, struct task *task, struct err *err)
{
    char ca[256];
    if (!task->needs_order)
        return true;
    output_step("Getting a certificate for %s from %s", task->config.name,
                config_ca_name(task->config.server, ca));
    around_before(run, task, 1);
    if (run_obtain(run, task, 1, false, err) && !err_isset(&task->err)) {
        output_done(NULL);
        return true;
    }
    if (!err_isset(err))
        *err = task->err;
    (void)err_context(err, "nothing was changed");
    return false;
}

static bool put_in_place(struct run *run, struct task *task, struct before *before, struct err *err)
{
    output_step("Putting it in place");
    if (run_save_config(run, task, err) && run_install(run, task, err))
        return true;
    put_back(run, task, before);
    (void)err_context(err, "the configuration is as it was before");
    return false;
}

static bool change(struct run *run, struct task *task, const struct cert_config *stored,
                   struct before *before, struct err *err)
{
    char validity[128];
    const char *name = task->config.name;
    say_removed(stored, &task->config);
    if (!before_read(run, name, before, err) || !decide(run, task, stored, before, err) ||
        !obtain(run, task, err) || !put_in_place(run, task, before, err))
        return false;
    if (task->needs_order)
        run_record_success(run, name);
    output_done("%s is changed", name);
    output_line("  certificate  %s%s", run_validity(run, name, task->version, validity),
                task->needs_order ? ", new" : ", the same as before");
    say_still_served(run, task, stored);
    return run_deployed(task, err);
}

static bool work(struct run *run, struct task *task, struct err *err)
{
    struct cert_config stored = {0};
    struct before before = {.live = 0};
    if (!configure(run, task, &stored, err)) {
        cert_config_clear(&stored);
        return false;
    }
    bool ok = change(run, task, &stored, &before, err);
    if (ok && task->needs_order)
        around_renewed(run, &task->config);
    else if (task->needs_order)
        around_failed(run, task->config.name, &stored);
    around_after_order(run);
    before_clear(&before);
    cert_config_clear(&stored);
    return ok;
}

bool cmd_reconfigure(const struct request *request, struct err *err)
{
    struct look seen = {0};
    if (!look(request, &seen, err))
        return false;
    if (!seen.changed) {
        say_what_can_be(request->arguments.v[0]);
        return true;
    }
    if (request->dry_run)
        return run_one(request, rehearse, err);
    return test(request, &seen, err) && run_one(request, work, err);
}
