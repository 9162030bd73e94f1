/*
 * enable: get, install, switch on 443, prove, keep renewed.  issue: get only.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "around.h"
#include "check.h"
#include "commands.h"
#include "deployments.h"
#include "dry_run.h"
#include "enable.h"
#include "output.h"
#include "plan.h"
#include "report.h"
#include "run.h"
#include "tlsup/clock.h"
#include "tlsup/csr.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

enum { MAX_CSR_BYTES = 64 * 1024 };

/* After the first name in the request. */
static bool name_by_csr(const char *path, char out[256], struct err *err)
{
    AUTO_BUF data = BUF_INIT, der = BUF_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    char spki[KEY_SPKI_BYTES];
    if (!fs_read(path, MAX_CSR_BYTES, &data, err) ||
        !csr_read(data.data, data.len, path, &der, &names, spki, err))
        return false;
    config_cert_name_for(names.v[0], out);
    return true;
}

static bool name_certificate(const struct request *request, char out[256], struct err *err)
{
    if (request->cert_name != NULL) {
        if (!config_cert_name_valid(request->cert_name))
            return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, request->cert_name,
                           "a certificate's name is made of letters, digits, '.', '_', '@' and '-'");
        snprintf(out, 256, "%s", request->cert_name);
    } else if (request->names.n > 0) {
        config_cert_name_for(request->names.v[0], out);
    } else if (request->csr != NULL) {
        return name_by_csr(request->csr, out, err);
    } else {
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, NULL,
                       "which name shall it be for?  tlsup %s example.org", command_name(request->command));
    }
    return true;
}

static void show_names(const struct strlist *names)
{
    for (size_t i = 0; i < names->n; i++) {
        char shown[2 * NAME_MAX_BYTES + 4];
        output_line("  %-12s %s", i == 0 ? "names" : "", name_display(names->v[i], shown));
    }
}

/* A change of names is a new certificate in the old one's place: said, so that nobody loses a name unawares.
 */
static void say_name_changes(struct run *run, const struct task *task)
{
    struct cert_config stored = {0};
    struct err ignored = ERR_INIT;
    if (task->existed && store_cert_config(run->store, task->config.name, &stored, &ignored)) {
        for (size_t i = 0; i < stored.names.n; i++)
            if (!strlist_has(&task->config.names, stored.names.v[i]))
                output_warning("%s will no longer be in the certificate %s", stored.names.v[i],
                               task->config.name);
    }
    cert_config_clear(&stored);
}

bool enable_decide(struct run *run, struct task *task, struct err *err)
{
    struct cert_state state = CERT_STATE_INIT;
    if (!store_state_load(run->store, task->config.name, &state, err))
        return false;
    task->force = run->request->force_renewal;
    int live = 0;
    struct err ignored = ERR_INIT;
    task->renewal = store_live_version(run->store, task->config.name, &live, &ignored) && live > 0;
    task->version = task->force ? 0 : run_usable_version(run, &task->config, &state);
    task->needs_order = task->version == 0;
    task->for_missing =
        task->needs_order && !task->force && run_only_names_missing(run, &task->config, &state);
    cert_state_clear(&state);
    return true;
}

/* "example.org", "example.org and 2 more". */
static char *describe_names(const struct strlist *names)
{
    char shown[2 * NAME_MAX_BYTES + 4];
    name_display(names->v[0], shown);
    return names->n == 1 ? mem_dup(shown) : mem_fmt("%s and %zu more", shown, names->n - 1);
}

static bool obtain(struct run *run, struct task *task, struct err *err)
{
    char ca[256], validity[128];
    AUTO_FREE char *names = describe_names(&task->config.names);
    if (!task->needs_order) {
        output_step("Looking at the certificate that is here");
        output_done("The certificate that is here will do: %s",
                    run_validity(run, task->config.name, task->version, validity));
        return true;
    }
    around_before(run, task, 1);
    output_step("Getting a certificate for %s from %s", names, config_ca_name(task->config.server, ca));
    if (!run_obtain(run, task, 1, false, err) || err_isset(&task->err)) {
        if (!err_isset(err))
            *err = task->err;
        return false;
    }
    if (!task->needs_order &&
        task->version == 0) { /* the missing names are missing still: what is here stays */
        if (!store_live_version(run->store, task->config.name, &task->version, err))
            return false;
        output_done("The certificate that is here stays: %s",
                    run_validity(run, task->config.name, task->version, validity));
        return true;
    }
    if (task->ca > 0) /* another one than was said above */
        config_ca_name(task->config.fallbacks.v[task->ca - 1], ca);
    output_done("Certificate for %s from %s", names, ca);
    return true;
}

static bool install(struct run *run, struct task *task, struct err *err)
{
    bool web = task->config.install != WEB_NONE;
    if (web)
        output_step("Switching on https in %s", web_kind_name(task->config.install));
    else
        output_step("Putting the certificate in place");
    if (!run_install(run, task, err))
        return false;
    if (web)
        output_done("https is on in %s, proven: %s", web_kind_name(task->config.install),
                    deploy_proof(task->deploy));
    else
        output_done("The certificate is in place");
    return true;
}

static void show_missing(struct run *run, const struct task *task)
{
    struct cert_state state = CERT_STATE_INIT;
    struct err ignored = ERR_INIT;
    char span[CLOCK_TEXT_BYTES];
    if (store_state_load(run->store, task->config.name, &state, &ignored) && state.missing.n > 0) {
        AUTO_FREE char *names = strlist_join(&state.missing, " ");
        output_line("  missing      %s (tried again in %s)", names,
                    clock_format_span(state.missing_try_s - clock_now_s(), span));
    }
    cert_state_clear(&state);
}

static void show_deployments(struct run *run, const struct task *task)
{
    struct cert_state state = CERT_STATE_INIT;
    struct err ignored = ERR_INIT;
    if (!store_state_load(run->store, task->config.name, &state, &ignored))
        return;
    for (size_t i = 0; i < state.n_deployments; i++) {
        const struct deployment *one = &state.deployments[i];
        output_line("  %-12s %s%s", deployment_kind_name(one->kind), one->what,
                    one->version == one->wanted ? ": done" : ": NOT DONE");
    }
    cert_state_clear(&state);
}

static void report(struct run *run, const struct task *task)
{
    char validity[128];
    AUTO_FREE char *live = store_live_path(run->store, task->config.name);
    bool web = task->config.install != WEB_NONE;
    output_line("%s%s%s", web ? "https://" : "", web ? task->config.names.v[0] : task->config.name,
                web ? " is on" : " is here");
    show_names(&task->config.names);
    output_line("  certificate  %s", run_validity(run, task->config.name, task->version, validity));
    bool has_key_file = task->config.key == NULL && task->config.csr == NULL;
    output_line("  files        %s/fullchain.pem%s", live, has_key_file ? " and privkey.pem" : "");
    if (task->config.dual)
        output_line("               %s/fullchain-%s.pem and privkey-%s.pem", live,
                    strncmp(key_type_name(task->config.second_key_type), "rsa", 3) == 0 ? "rsa" : "ecdsa",
                    strncmp(key_type_name(task->config.second_key_type), "rsa", 3) == 0 ? "rsa" : "ecdsa");
    show_missing(run, task);
    show_deployments(run, task);
    run_ensure_timer(run);
}

/* The certificate would be had, but not be renewed: said before it is asked for. */
bool enable_can_save(struct run *run, struct err *err)
{
    AUTO_FREE char *dir = fs_join(store_config_dir(run->store), "certs.d");
    return !fs_exists(dir) || faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) == 0 ||
           err_errno(err, errno, dir, "the certificate's configuration cannot be written to %s", dir);
}

static bool find_server(struct run *run, struct task *task, struct err *err)
{
    enum web_kind kind = run->request->web != WEB_NONE ? run->request->web : task->config.install;
    output_step("Looking at the web server");
    if (!enable_find_server(run, kind, &task->config, task->config.names.v[0], &task->deploy, err))
        return false;
    if (task->deploy == NULL)
        return true;
    const struct web *web = deploy_web(task->deploy);
    task->config.install = web->kind;
    output_done("Found %s %s%s", web_kind_name(web->kind), web->version,
                web->master_pid > 0 ? "" : ", which is not running");
    return true;
}

static bool check_key(const struct task *task, struct err *err)
{
    if (task->config.key == NULL)
        return true;
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, task->config.name,
            "its key is on a token, and web servers want a key file");
    return err_advise(err, "get it with `tlsup issue`, and point the web server at the token yourself");
}

/* What had to be done around it, a pre hook that stops a web server for one, is over whatever has come of it.
 */
static bool get_and_install(struct run *run, struct task *task, struct err *err)
{
    int before = 0;
    struct err ignored = ERR_INIT;
    if (!store_live_version(run->store, task->config.name, &before, &ignored))
        before = 0;
    bool ok = obtain(run, task, err) && run_save_config(run, task, err) && install(run, task, err);
    if (!ok)
        output_failed();
    if (ok && before != task->version)
        around_renewed(run, &task->config);
    else if (!ok)
        around_failed(run, task->config.name, &task->config);
    around_after_order(run);
    if (ok)
        report_certificate(run, task->config.name,
                           before == task->version ? REPORT_CURRENT
                           : before > 0            ? REPORT_RENEWED
                                                   : REPORT_ISSUED,
                           &task->undone);
    else
        report_certificate(run, task->config.name, REPORT_FAILED, err);
    return ok;
}

/* It is all there; but something that was to be done besides has failed. */
static bool without_troubles(struct run *run, const struct task *task, struct err *err)
{
    bool told = false;
    const struct err *hook = around_trouble(run, &told);
    if (!run_deployed(task, err))
        return false;
    if (hook == NULL || told)
        return true;
    err_set(err, hook->code, hook->next, NULL, "the certificate is in place, but a hook failed");
    return false;
}

/* Would it work? Whatever is in the way is told at once, before anybody is asked. */
static bool look_first(struct run *run, struct task *task, struct err *err)
{
    struct err no_place = ERR_INIT;
    bool has_place = run->request->plan || task->deploy == NULL || task->config.install == WEB_NONE ||
                     !task->needs_order || deploy_has_place(task->deploy, &task->config, &no_place);
    if (run->request->command == COMMAND_ENABLE)
        return check_before(run, task, 1, has_place ? NULL : &no_place, err);
    if (!has_place)
        *err = no_place;
    return has_place;
}

static bool work(struct run *run, struct task *task, struct err *err)
{
    char cert_name[256];
    bool enables = run->request->command == COMMAND_ENABLE, plans = run->request->plan;
    if (!name_certificate(run->request, cert_name, err) || !run_config(run, cert_name, task, err) ||
        (enables && !check_key(task, err)) || !enable_can_save(run, err))
        return false;
    if (run->request->dry_run)
        return dry_run_tasks(run, task, 1, err);
    if (enables && !find_server(run, task, err))
        return false;
    if (enables && task->deploy == NULL)
        return true; /* a plan that ends here */
    say_name_changes(run, task);
    if (!enable_decide(run, task, err) || !look_first(run, task, err))
        return false;
    if (plans)
        return plan_certificate(run, task, err);
    if (!get_and_install(run, task, err))
        return false;
    run_record_success(run, cert_name);
    report(run, task);
    return without_troubles(run, task, err);
}

static bool one(const struct request *request, struct err *err)
{
    if (request->json)
        report_begin(request->command);
    bool ok = run_one(request, work, err);
    report_end(ok, err);
    return ok;
}

static bool sites(const struct request *request, struct err *err)
{
    if (request->json && !request->plan)
        report_begin(request->command);
    bool ok = enable_sites(request, err);
    report_end(ok, err);
    return ok;
}

bool cmd_enable(const struct request *request, struct err *err)
{
    bool nameless = request->names.n == 0 && request->cert_name == NULL && request->csr == NULL;
    if (nameless)
        return sites(request, err);
    return request->plan ? plan_one(request, work, err) : one(request, err);
}

bool cmd_issue(const struct request *request, struct err *err)
{
    if (request->from != NULL)
        return cmd_issue_from(request, err);
    return one(request, err);
}
