#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "dry_run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "output.h"
#include "report.h"
#include "tlsup/ca.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

/* What is known of one beside its task. */
struct rehearsed {
    char *real_ca; /* where the certificate would come from */
    struct deploy_rehearsal web;
};

static void rehearsed_clear(struct rehearsed *rehearsed)
{
    free(rehearsed->real_ca);
    deploy_rehearsal_clear(&rehearsed->web);
}

/* -- with which CA -------------------------------------------------------------------------------------- */

const char *dry_run_staging(const struct cert_config *config)
{
    const char *staging = ca_by_url(config->server)->staging;
    return staging[0] != '\0' ? staging : NULL;
}

/* A server that stands on the command line is the one to rehearse with, unless it is what shall be changed.
 */
static bool is_given(const struct request *request)
{
    return request->server != NULL && request->command != COMMAND_RECONFIGURE;
}

static bool no_staging(const struct run *run, const struct cert_config *config, struct err *err)
{
    char ca[256];
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, config->name,
            "no server for rehearsals is known of %s, so nothing was asked of it",
            config_ca_name(config->server, ca));
    if (run->request->command == COMMAND_RENEW)
        return err_advise(err,
                          "with a server of your choice: tlsup issue NAME... --cert-name %s --dry-run "
                          "--server URL; or rehearse the others alone: tlsup renew --dry-run CERT...",
                          config->name);
    return err_advise(err,
                      "say which server to rehearse with: --server URL; it is used as it is, so that one "
                      "for real certificates counts the order, too");
}

static bool choose_ca(struct run *run, struct task *task, struct rehearsed *rehearsed, struct err *err)
{
    struct cert_config *config = &task->config;
    const char *server = is_given(run->request) ? config->server : dry_run_staging(config);
    if (server == NULL)
        return no_staging(run, config, err);
    if (!store_rehearsal_account(run->rehearsal, run->store, config->server, server, config->account, err))
        return false;
    rehearsed->real_ca = config->server;
    config->server = mem_dup(server);
    strlist_clear(&config->fallbacks);
    return true;
}

/* -- before the CA is asked ----------------------------------------------------------------------------- */

static bool none_installed(const struct err *why, struct err *err)
{
    *err = *why;
    err->advice[0] = '\0';
    return err_advise(err,
                      "a web server that has to be installed first cannot be rehearsed with: --plan tells "
                      "how it would be done");
}

static bool look_at_server(struct run *run, struct task *task, struct rehearsed *rehearsed, struct err *err)
{
    struct err why = ERR_INIT;
    bool enables = run->request->command == COMMAND_ENABLE;
    enum web_kind kind = run->request->web != WEB_NONE ? run->request->web : task->config.install;
    if (!enables && kind == WEB_NONE)
        return true;
    if (!run_deploy(run, kind, &task->config, &task->deploy, &why)) {
        if (why.code == ERR_NOT_FOUND)
            return none_installed(&why, err);
        *err = why;
        return false;
    }
    task->config.install = deploy_web(task->deploy)->kind;
    return deploy_rehearse(task->deploy, &task->config, &rehearsed->web, err);
}

static void prepare(struct run *run, struct task *task, struct rehearsed *rehearsed)
{
    if (err_isset(&task->err))
        return;
    task->needs_order = task->force = true;
    task->renewal = task->for_missing = false;
    task->version = 0;
    if (!choose_ca(run, task, rehearsed, &task->err) || !look_at_server(run, task, rehearsed, &task->err))
        task->needs_order = false;
}

/* -- what is told --------------------------------------------------------------------------------------- */

static char *describe_challenge(const struct task *task)
{
    const struct job *job = &task->job;
    const char *type = challenge_type_name(job->types[0]);
    enum config_challenge via = job->way[job->types[0]];
    if (via == CHALLENGE_VIA_WEB_SERVER && !job->use_responder && task->deploy != NULL)
        return mem_fmt("%s, answered by %s", type, web_kind_name(deploy_web(task->deploy)->kind));
    return mem_fmt("%s, by way of %s", type, config_challenge_name(via));
}

static void tell_list(const char *label, const struct strlist *list)
{
    for (size_t i = 0; i < list->n; i++)
        output_line("  %-12s %s", i == 0 ? label : "", list->v[i]);
}

static void tell_names(const struct strlist *names)
{
    char shown[2 * NAME_MAX_BYTES + 4];
    for (size_t i = 0; i < names->n; i++)
        output_line("  %-12s %s", i == 0 ? "names" : "", name_display(names->v[i], shown));
}

static void tell_web(const struct task *task, const struct rehearsed *rehearsed)
{
    if (task->config.install == WEB_NONE || task->deploy == NULL)
        return;
    output_line("  %-12s it into %s", "would install", web_kind_name(task->config.install));
    tell_list("at", &rehearsed->web.places);
    if (rehearsed->web.tested)
        output_line("  %-12s by %s itself, with the new lines", "tested",
                    web_kind_name(task->config.install));
    if (rehearsed->web.untested != NULL)
        output_line("  %-12s by %s itself, with the new lines: %s", "not tested",
                    web_kind_name(task->config.install), rehearsed->web.untested);
}

static void tell_good(const struct task *task, const struct rehearsed *rehearsed)
{
    char real[256], used[256];
    const struct cert_config *config = &task->config;
    AUTO_FREE char *challenge = describe_challenge(task);
    config_ca_name(rehearsed->real_ca, real);
    config_ca_name(config->server, used);
    output_line("%s: would have got a certificate from %s", config->name, real);
    tell_names(&config->names);
    output_line("  %-12s %s%s%s", "key",
                config->csr != NULL ? "of the request" : key_type_name(config->key_type),
                config->dual ? " and " : "", config->dual ? key_type_name(config->second_key_type) : "");
    output_line("  %-12s %s", "challenge", challenge);
    output_line("  %-12s %s", "tried with", used);
    tell_web(task, rehearsed);
    tell_list("not run", &config->deploy_hooks);
}

static void tell_failure(const struct task *task, struct err *worst, size_t n)
{
    struct err shown = task->err;
    if (!err_isset(worst) || (worst->next == NEXT_RETRY_LATER && shown.next != NEXT_RETRY_LATER))
        *worst = shown;
    if (n == 1) /* main prints it */
        return;
    if (shown.subject[0] != '\0' && strcmp(shown.subject, task->config.name) != 0)
        (void)err_context(&shown, "%.200s", task->err.subject);
    snprintf(shown.subject, sizeof shown.subject, "%s", task->config.name);
    output_error(&shown);
}

static bool summarise(size_t n, size_t failed, const struct err *worst, struct err *err)
{
    if (n > failed)
        output_text("Nothing of it was kept: this was a rehearsal. Hooks were not run.");
    if (failed == 0)
        return true;
    *err = *worst;
    if (n == 1)
        return err_context(err, "the rehearsal");
    err->advice[0] = err->subject[0] = '\0';
    snprintf(err->text, sizeof err->text, "%zu of %zu rehearsals failed; nothing was changed", failed, n);
    return false;
}

static bool report(struct run *run, const struct task *tasks, const struct rehearsed *rehearsed, size_t n,
                   struct err *err)
{
    struct err worst = ERR_INIT;
    size_t failed = 0;
    for (size_t i = 0; i < n; i++) {
        bool good = !err_isset(&tasks[i].err) && tasks[i].version > 0;
        report_certificate(run, tasks[i].config.name, good ? REPORT_REHEARSED : REPORT_FAILED, &tasks[i].err);
        if (good) {
            tell_good(&tasks[i], &rehearsed[i]);
            continue;
        }
        tell_failure(&tasks[i], &worst, n);
        failed++;
    }
    return summarise(n, failed, &worst, err);
}

/* -- the rehearsal -------------------------------------------------------------------------------------- */

bool dry_run_tasks(struct run *run, struct task *tasks, size_t n, struct err *err)
{
    struct rehearsed *rehearsed = mem_array(n + 1, sizeof *rehearsed);
    char ca[256];
    bool ok = true;
    size_t due = 0, first = 0;
    output_step("Looking at what there is");
    for (size_t i = n; i-- > 0;) {
        prepare(run, &tasks[i], &rehearsed[i]);
        due += tasks[i].needs_order;
        first = tasks[i].needs_order ? i : first;
    }
    if (due > 0) {
        output_step("Rehearsing %zu order%s with %s", due, due == 1 ? "" : "s",
                    config_ca_name(tasks[first].config.server, ca));
        ok = run_obtain(run, tasks, n, false, err);
        if (ok)
            output_done(NULL);
    }
    if (!ok || due == 0)
        output_failed();
    ok = ok && report(run, tasks, rehearsed, n, err);
    for (size_t i = 0; i < n; i++)
        rehearsed_clear(&rehearsed[i]);
    free(rehearsed);
    return ok;
}

static bool check_names(const struct strlist *asked, const struct strlist *known, struct err *err)
{
    for (size_t i = 0; i < asked->n; i++)
        if (!strlist_has(known, asked->v[i])) {
            err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, asked->v[i], "there is no certificate of this name");
            return err_advise(err, "`tlsup status` lists what there is");
        }
    return true;
}

static bool renew_all(struct run *run, const struct strlist *names, struct err *err)
{
    struct task *tasks = mem_array(names->n + 1, sizeof *tasks);
    bool ok = true;
    for (size_t i = 0; i < names->n; i++) {
        if (run_config(run, names->v[i], &tasks[i], &tasks[i].err))
            continue;
        free(tasks[i].config.name);
        tasks[i].config.name = mem_dup(names->v[i]);
    }
    if (names->n == 0)
        output_line("There is no certificate whose renewal could be rehearsed.");
    else
        ok = dry_run_tasks(run, tasks, names->n, err);
    for (size_t i = 0; i < names->n; i++)
        task_clear(&tasks[i]);
    free(tasks);
    return ok;
}

bool dry_run_renew(const struct request *request, struct err *err)
{
    AUTO_STRLIST known = STRLIST_INIT;
    struct run run;
    if (!run_open(request, &run, err))
        return false;
    bool ok = store_cert_names(run.store, &known, err) && check_names(&request->arguments, &known, err) &&
              renew_all(&run, request->arguments.n > 0 ? &request->arguments : &known, err);
    if (!ok)
        output_failed();
    run_close(&run);
    return ok;
}

/* -- in a process of its own ---------------------------------------------------------------------------- */

static void run_child(const struct request *request, run_work_fn *work, int fd)
{
    struct err err = ERR_INIT;
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    bool ok = run_one(request, work, &err);
    fflush(stdout);
    fflush(stderr);
    bool told = ok || write(fd, &err, sizeof err) == (ssize_t)sizeof err;
    _exit(ok && told ? 0 : 1);
}

static bool read_err(int fd, struct err *err)
{
    size_t got = 0;
    while (got < sizeof *err) {
        ssize_t n = read(fd, (char *)err + got, sizeof *err - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    return got == sizeof *err;
}

static bool wait_for_child(pid_t pid, int fd, struct err *err)
{
    struct err told = ERR_INIT;
    int status = 0;
    bool has_told = read_err(fd, &told);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (!has_told)
        return err_set(err, ERR_CHILD, NEXT_RETRY_NOW, NULL,
                       "the rehearsal came to no end; nothing was changed");
    *err = told;
    return false;
}

bool dry_run_apart(const struct request *request, run_work_fn *work, struct err *err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return err_errno(err, errno, NULL, "cannot begin the rehearsal");
    fflush(stdout);
    fflush(stderr);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        run_child(request, work, fds[1]);
    }
    int failed = errno;
    close(fds[1]);
    /* Ctrl-C reaches the child as well, which has something to put back before it says so */
    void (*former)(int) = signal(SIGINT, SIG_IGN);
    bool ok = pid > 0 ? wait_for_child(pid, fds[0], err)
                      : err_errno(err, failed, NULL, "cannot begin the rehearsal");
    signal(SIGINT, former);
    close(fds[0]);
    return ok;
}
