/*
 * renew: whatever is due gets a new certificate; whatever got stuck on its way into a web server goes on.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "run.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

struct tally {
    size_t renewed, failed, waiting, current;
    struct err worst; /* of the failures, the one that decides the exit status */
};

static bool asked_for(const struct request *request, const char *name)
{
    return request->arguments.n == 0 || strlist_has(&request->arguments, name);
}

/* Every certificate named must exist. */
static bool check_arguments(const struct request *request, const struct strlist *known, struct err *err)
{
    for (size_t i = 0; i < request->arguments.n; i++)
        if (!strlist_has(known, request->arguments.v[i])) {
            err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, request->arguments.v[i],
                    "there is no certificate of this name");
            return err_advise(err, "`tlsup status` lists what there is");
        }
    return true;
}

/* What does this certificate need? Sets needs_order or version; neither when it is fine. */
static bool decide(struct run *run, struct task *task, struct tally *tally, struct err *err)
{
    struct cert_state state = CERT_STATE_INIT;
    char span[CLOCK_TEXT_BYTES];
    int live = 0;
    const char *name = task->config.name;
    if (!store_state_load(run->store, name, &state, err) ||
        !store_live_version(run->store, name, &live, err)) {
        cert_state_clear(&state);
        return false;
    }
    bool by_hand = run->request->arguments.n > 0 || run->request->force_renewal;
    int64_t wait_s = state.next_try_s - clock_now_s();
    task->force = run->request->force_renewal;
    int usable = task->force ? 0 : run_usable_version(run, &task->config, &state);
    bool stuck =
        usable > 0 && (usable != live || (task->config.install != WEB_NONE && state.step < DEPLOY_VERIFIED));
    if (usable > 0 && !stuck) {
        tally->current++;
        log_info("%s is not due", name);
    } else if (wait_s > 0 && !by_hand) {
        tally->waiting++;
        log_info("%s failed before, and is tried again in %s", name, clock_format_span(wait_s, span));
    } else {
        task->needs_order = usable == 0;
        task->version = usable;
    }
    cert_state_clear(&state);
    return true;
}

static void note_failure(struct run *run, const char *name, const struct err *why, struct tally *tally)
{
    struct err shown = *why;
    tally->failed++;
    if (strcmp(shown.subject, name) != 0 && shown.subject[0] != '\0')
        (void)err_context(&shown, "%.200s", why->subject);
    snprintf(shown.subject, sizeof shown.subject, "%s", name);
    run_record_failure(run, name, &shown);
    output_error(&shown);
    /* what needs a person outweighs what only needs time */
    if (!err_isset(&tally->worst) ||
        (tally->worst.next == NEXT_RETRY_LATER && shown.next != NEXT_RETRY_LATER))
        tally->worst = shown;
}

static void finish_task(struct run *run, struct task *task, struct tally *tally)
{
    char validity[128];
    const char *name = task->config.name;
    struct err err = task->err;
    if (!err_isset(&err) && task->version > 0) {
        output_step("Putting %s in place", name);
        if (run_install(run, task, &err)) {
            run_record_success(run, name);
            tally->renewed++;
            output_done("%s: %s", name, run_validity(run, name, task->version, validity));
            return;
        }
        output_failed();
    }
    if (err_isset(&err))
        note_failure(run, name, &err, tally);
}

static size_t collect(struct run *run, const struct strlist *names, struct task *tasks, struct tally *tally)
{
    size_t n = 0;
    for (size_t i = 0; i < names->n; i++) {
        struct task *task = &tasks[n];
        struct err err = ERR_INIT;
        *task = (struct task){0};
        if (!asked_for(run->request, names->v[i]))
            continue;
        if (!run_config(run, names->v[i], task, &err) || !decide(run, task, tally, &err))
            note_failure(run, names->v[i], &err, tally);
        else if (task->needs_order || task->version > 0) {
            n++;
            continue;
        }
        task_clear(task);
    }
    return n;
}

static void summarise(const struct tally *tally)
{
    if (tally->renewed + tally->failed == 0 && tally->waiting == 0)
        output_line("Nothing is due: %zu certificate%s up to date.", tally->current,
                    tally->current == 1 ? " is" : "s are");
    else
        output_line("%zu renewed, %zu failed, %zu up to date, %zu to be tried again later.", tally->renewed,
                    tally->failed, tally->current, tally->waiting);
}

static bool work(struct run *run, struct err *err)
{
    AUTO_STRLIST names = STRLIST_INIT;
    struct tally tally = {0};
    if (!store_cert_names(run->store, &names, err) || !check_arguments(run->request, &names, err))
        return false;
    struct task *tasks = mem_array(names.n + 1, sizeof *tasks);
    size_t n = collect(run, &names, tasks, &tally), due = 0;
    for (size_t i = 0; i < n; i++)
        due += tasks[i].needs_order;
    bool ok = true;
    if (due > 0) {
        output_step("Renewing %zu certificate%s", due, due == 1 ? "" : "s");
        ok = run_obtain(run, tasks, n, true, err);
        if (ok)
            output_done("Asked for %zu certificate%s", due, due == 1 ? "" : "s");
        else
            output_failed();
    }
    for (size_t i = 0; ok && i < n; i++)
        finish_task(run, &tasks[i], &tally);
    for (size_t i = 0; i < n; i++)
        task_clear(&tasks[i]);
    free(tasks);
    if (!ok)
        return false;
    summarise(&tally);
    if (tally.failed == 0)
        return true;
    *err = tally.worst;
    err->advice[0] = '\0'; /* each failure has been shown with its own */
    snprintf(err->text, sizeof err->text, "%zu of %zu renewals failed", tally.failed,
             tally.failed + tally.renewed);
    err->subject[0] = '\0';
    return false;
}

bool cmd_renew(const struct request *request, struct err *err)
{
    struct run run;
    if (!run_open(request, &run, err))
        return false;
    bool ok = work(&run, err);
    run_close(&run);
    return ok;
}
