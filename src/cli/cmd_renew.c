/*
 * renew: whatever is due gets a new certificate; whatever got stuck on its way into a web server goes on.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "commands.h"
#include "output.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

/* The certificates of a run that something is to be done for: a few of many. */
struct tasks {
    struct task *v;
    size_t n;
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
static void decide_by(struct run *run, struct task *task, const struct cert_state *state, int live,
                      struct tally *tally)
{
    char span[CLOCK_TEXT_BYTES];
    const char *name = task->config.name;
    bool by_hand = run->request->arguments.n > 0 || run->request->force_renewal;
    int64_t wait_s = state->next_try_s - clock_now_s();
    task->force = run->request->force_renewal;
    task->renewal = live > 0;
    int usable = task->force ? 0 : run_usable_version(run, &task->config, state);
    bool stuck =
        usable > 0 && (usable != live || (task->config.install != WEB_NONE && state->step < DEPLOY_VERIFIED));
    if (usable > 0 && !stuck) {
        tally->current++;
        log_info("%s is not due", name);
    } else if (wait_s > 0 && !by_hand) {
        tally->waiting++;
        log_info("%s failed before, and is tried again in %s", name, clock_format_span(wait_s, span));
    } else {
        task->needs_order = usable == 0;
        task->version = usable;
        task->for_missing =
            task->needs_order && !task->force && run_only_names_missing(run, &task->config, state);
    }
}

static bool decide(struct run *run, struct task *task, struct tally *tally, struct err *err)
{
    struct cert_state state = CERT_STATE_INIT;
    int live = 0;
    const char *name = task->config.name;
    bool ok =
        store_state_load(run->store, name, &state, err) && store_live_version(run->store, name, &live, err);
    if (ok)
        decide_by(run, task, &state, live, tally);
    cert_state_clear(&state);
    return ok;
}

static void keep(struct tasks *tasks, const struct task *task)
{
    tasks->v = mem_resize(tasks->v, tasks->n + 1, sizeof *tasks->v);
    tasks->v[tasks->n++] = *task;
}

/* Those that need something, by what is known now: the CA may be asked first about some. */
static void collect(struct run *run, const struct strlist *names, struct tasks *tasks, struct tasks *to_ask,
                    struct tally *tally)
{
    for (size_t i = 0; i < names->n; i++) {
        struct task task = {0};
        struct err err = ERR_INIT;
        if (!asked_for(run->request, names->v[i]))
            continue;
        bool ok = run_config(run, names->v[i], &task, &err);
        if (ok && !run->request->force_renewal && run_renewal_info_due(run, &task.config)) {
            keep(to_ask, &task);
            continue;
        }
        if (!ok || !decide(run, &task, tally, &err))
            batch_failed(run, names->v[i], &err, tally);
        else if (task.needs_order || task.version > 0) {
            keep(tasks, &task);
            continue;
        }
        task_clear(&task);
    }
}

static void ask_and_decide(struct run *run, struct tasks *tasks, struct tasks *to_ask, struct tally *tally)
{
    run_renewal_info(run, to_ask->v, to_ask->n);
    for (size_t i = 0; i < to_ask->n; i++) {
        struct task *task = &to_ask->v[i];
        struct err err = ERR_INIT;
        if (!decide(run, task, tally, &err))
            batch_failed(run, task->config.name, &err, tally);
        else if (task->needs_order || task->version > 0) {
            keep(tasks, task);
            continue;
        }
        task_clear(task);
    }
    free(to_ask->v);
}

static bool carry_out(struct run *run, struct tasks *tasks, struct tally *tally, struct err *err)
{
    size_t due = 0;
    for (size_t i = 0; i < tasks->n; i++)
        due += tasks->v[i].needs_order;
    if (due > 0) {
        output_step("Renewing %zu certificate%s", due, due == 1 ? "" : "s");
        if (!run_obtain(run, tasks->v, tasks->n, true, err)) {
            output_failed();
            return false;
        }
        output_done("Asked for %zu certificate%s", due, due == 1 ? "" : "s");
    }
    for (size_t i = 0; i < tasks->n; i++)
        batch_finish(run, &tasks->v[i], tally);
    return true;
}

static bool work(struct run *run, struct err *err)
{
    AUTO_STRLIST names = STRLIST_INIT;
    struct tally tally = {0};
    struct tasks tasks = {0}, to_ask = {0};
    if (!store_cert_names(run->store, &names, err) || !check_arguments(run->request, &names, err))
        return false;
    collect(run, &names, &tasks, &to_ask, &tally);
    ask_and_decide(run, &tasks, &to_ask, &tally);
    bool ok = !signals_interrupted(err) && carry_out(run, &tasks, &tally, err);
    for (size_t i = 0; i < tasks.n; i++)
        task_clear(&tasks.v[i]);
    free(tasks.v);
    return ok && batch_summarise(&tally, "renewed", err);
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
