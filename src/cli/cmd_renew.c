/*
 * renew: whatever is due gets a new certificate; whatever got stuck on its way into a web server goes on.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "around.h"
#include "batch.h"
#include "commands.h"
#include "deployments.h"
#include "dry_run.h"
#include "due.h"
#include "looks.h"
#include "notices.h"
#include "output.h"
#include "report.h"
#include "status.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/roles.h"

#define WHOLE_RUN                                                                                            \
    "tlsup renew" /* as a trouble of the machine: what was to be told is not about one certificate */

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

/* By hand nothing waits for its next try. */
static bool by_hand(const struct run *run)
{
    return run->request->arguments.n > 0 || run->request->force_renewal;
}

/* What keeps a certificate that is here from being in place everywhere; NULL = nothing that has been tried.
 */
static const struct err *why_unfinished(const struct cert_state *state, bool stuck)
{
    static const struct err unknown = {
        .code = ERR_INTERRUPTED, .next = NEXT_RETRY_LATER, .text = "a run was ended before it was done"};
    const struct err *why = stuck ? &state->last_error : deployments_trouble(state);
    return why != NULL && err_isset(why) ? why : &unknown;
}

/* What does this certificate need? Sets needs_order, version or redeploy; none of them when it is fine. */
static void decide_by(struct run *run, struct task *task, const struct cert_state *state, int live,
                      struct tally *tally)
{
    char span[CLOCK_TEXT_BYTES];
    const char *name = task->config.name;
    int64_t now_s = clock_now_s(), wait_s = state->next_try_s - now_s;
    task->force = run->request->force_renewal;
    task->renewal = live > 0;
    int usable = task->force ? 0 : run_usable_version(run, &task->config, state);
    bool stuck =
        usable > 0 && (usable != live || (task->config.install != WEB_NONE && state->step < DEPLOY_VERIFIED));
    bool undeployed = live > 0 && !stuck && deployments_wanted(state);
    task->redeploy = undeployed && (by_hand(run) || deployments_next_s(state) <= now_s);
    if (usable > 0 && !stuck) {
        if (!undeployed) {
            /* nothing is owed any more: it was forced, or what could not be read has been mended */
            if (state->failures > 0 || err_isset(&state->last_error))
                run_record_success(run, name);
            batch_current(run, name, tally);
            log_info("%s is not due", name);
        } else if (!task->redeploy) {
            batch_waiting(run, name, true, why_unfinished(state, false), deployments_next_s(state), tally);
            log_info("%s is not deployed everywhere; that is tried again in %s", name,
                     clock_format_span(deployments_next_s(state) - now_s, span));
        }
    } else if (wait_s > 0 && !by_hand(run)) {
        bool unfinished = stuck || (undeployed && !task->redeploy);
        batch_waiting(run, name, true, unfinished ? why_unfinished(state, stuck) : NULL, state->next_try_s,
                      tally);
        log_info("%s failed before, and is tried again in %s", name, clock_format_span(wait_s, span));
    } else {
        task->needs_order = usable == 0;
        task->version = usable;
        task->for_missing =
            task->needs_order && !task->force && run_only_names_missing(run, &task->config, state);
    }
}

static bool has_work(const struct task *task)
{
    return task->needs_order || task->version > 0 || task->redeploy;
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

/* What is asked for by hand, or to be told of, is looked at in any case. */
static struct due *open_due(struct run *run)
{
    const struct request *request = run->request;
    bool whole = by_hand(run) || request->dry_run || request->json;
    return whole ? NULL : due_open(run->store);
}

/* Nothing is to be done for it: until when? What fails is looked at by every run; whether it is served as it
 * should be is looked at now and then. */
static void note(struct run *run, struct due *due, struct looks *looks, const struct cert_config *config)
{
    struct cert_state state = CERT_STATE_INIT;
    struct err ignored = ERR_INIT;
    bool well = store_state_load(run->store, config->name, &state, &ignored) && state.failures == 0 &&
                !deployments_wanted(&state);
    if (well && looks_due(config, &state) && !run->request->dry_run) {
        int64_t verified_s = state.verified_s;
        state.verified_s = clock_now_s(); /* when else than for that */
        looks_add(looks, config->name, verified_s, run_next_look_s(run, config, &state));
    } else if (well && due != NULL) {
        due_note(due, config->name, run_next_look_s(run, config, &state));
    }
    cert_state_clear(&state);
}

/* Those that need something, by what is known now: the CA may be asked first about some. */
static void collect(struct run *run, struct due *due, struct looks *looks, const struct strlist *names,
                    struct tasks *tasks, struct tasks *to_ask, struct tally *tally)
{
    for (size_t i = 0; i < names->n; i++) {
        struct task task = {0};
        struct err err = ERR_INIT;
        if (!asked_for(run->request, names->v[i]))
            continue;
        if (due != NULL && due_later(due, names->v[i])) {
            tally->current++;
            continue;
        }
        bool ok = run_config(run, names->v[i], &task, &err);
        if (ok && !run->request->force_renewal && run_renewal_info_at_s(run, &task.config) <= clock_now_s()) {
            keep(to_ask, &task);
            continue;
        }
        if (!ok || !decide(run, &task, tally, &err))
            batch_failed(run, names->v[i], &err, tally);
        else if (has_work(&task)) {
            keep(tasks, &task);
            continue;
        } else
            note(run, due, looks, &task.config);
        task_clear(&task);
    }
}

static void ask_and_decide(struct run *run, struct due *due, struct looks *looks, struct tasks *tasks,
                           struct tasks *to_ask, struct tally *tally)
{
    run_renewal_info(run, to_ask->v, to_ask->n);
    for (size_t i = 0; i < to_ask->n; i++) {
        struct task *task = &to_ask->v[i];
        struct err err = ERR_INIT;
        if (!decide(run, task, tally, &err))
            batch_failed(run, task->config.name, &err, tally);
        else if (has_work(task)) {
            keep(tasks, task);
            continue;
        } else
            note(run, due, looks, &task->config);
        task_clear(task);
    }
    free(to_ask->v);
}

static bool order(struct run *run, struct tasks *tasks, struct err *err)
{
    size_t due = 0;
    for (size_t i = 0; i < tasks->n; i++)
        due += tasks->v[i].needs_order;
    if (due == 0)
        return true;
    around_before(run, tasks->v, tasks->n);
    output_step("Renewing %zu certificate%s", due, due == 1 ? "" : "s");
    if (!run_obtain(run, tasks->v, tasks->n, true, err)) {
        output_failed();
        return false;
    }
    output_done("Asked for %zu certificate%s", due, due == 1 ? "" : "s");
    return true;
}

static bool carry_out(struct run *run, struct tasks *tasks, struct tally *tally, struct err *err)
{
    if (signals_interrupted(err) || (tasks->n > 0 && !role_start_prober(err)) || !order(run, tasks, err))
        return false;
    for (size_t i = 0; i < tasks->n; i++)
        batch_finish(run, &tasks->v[i], tally);
    return true;
}

/* What kept the run as a whole from its work is nobody's failure, and would be told by none. */
static void tell_of_run(struct run *run, const struct tasks *tasks, bool ok, const struct err *why)
{
    if (run->notices == NULL || (!ok && why->code == ERR_INTERRUPTED))
        return;
    notices_machine(run->notices, WHOLE_RUN, ok ? NULL : why);
    for (size_t i = 0; !ok && i < tasks->n; i++)
        notices_looked(run->notices, tasks->v[i].config.name);
}

static bool work(struct run *run, struct tally *tally, struct err *err)
{
    AUTO_STRLIST names = STRLIST_INIT;
    struct tasks tasks = {0}, to_ask = {0};
    struct looks looks = LOOKS_INIT;
    tally->halted = !store_cert_names(run->store, &names, err);
    if (tally->halted) {
        tell_of_run(run, &tasks, false, err);
        return false;
    }
    if (!check_arguments(run->request, &names, err))
        return false;
    struct due *due = open_due(run);
    collect(run, due, &looks, &names, &tasks, &to_ask, tally);
    ask_and_decide(run, due, &looks, &tasks, &to_ask, tally);
    looks_take(run, &looks, due, tally);
    looks_clear(&looks);
    if (due != NULL)
        due_save(due);
    due_close(due);
    bool ok = carry_out(run, &tasks, tally, err);
    tally->halted = !ok;
    tell_of_run(run, &tasks, ok, err);
    around_after(run, by_hand(run));
    for (size_t i = 0; i < tasks.n; i++)
        task_clear(&tasks.v[i]);
    free(tasks.v);
    return ok && batch_summarise(run, tally, "renewed", err);
}

/* -- what a run leaves ---------------------------------------------------------------------------------- */

/* The one that watches must not keep what it watches from being done; that it cannot is a failure of the run.
 */
static bool open_notices(struct run *run, struct err *err)
{
    return run->request->dry_run || notices_open(run, &run->notices, err) ||
           (err_advise(err, "mend that; certificates are renewed all the same"),
            err_context(err, "nobody is notified of what this run does"));
}

/* A directory of hooks that cannot be trusted, unlike a hook that failed, leaves no debt. */
static bool is_mendable(struct run *run, const struct tally *tally, const struct run_state *state)
{
    bool told = false;
    return !tally->halted && tally->worst.code != ERR_INTERRUPTED &&
           (around_trouble(run, &told) == NULL || state->n_debts > 0);
}

static void write_down(struct run *run, int64_t began_s, const struct tally *tally, bool configured,
                       bool good)
{
    struct run_state state = RUN_STATE_INIT;
    struct err why = ERR_INIT;
    if (!store_run_state_load(run->store, &state, &why)) {
        log_warn("%s; it is made anew", why.text);
        err_clear(&why);
    }
    state.began_s = began_s;
    state.ended_s = clock_now_s();
    if (good)
        state.good_s = state.ended_s;
    state.mendable = !good && configured && is_mendable(run, tally, &state);
    if (!store_run_state_save(run->store, &state, &why))
        log_warn("the end of this run could not be written down: %s", why.text);
    run_state_clear(&state);
}

static void write_metrics(struct run *run)
{
    struct machine_config config;
    struct err why = ERR_INIT;
    if (!store_machine_config(run->store, &config, &why)) {
        output_warning("no metrics are written: %s", why.text);
        return;
    }
    if (config.metrics_file != NULL && !status_write_metrics(run->store, config.metrics_file, &why))
        output_warning("the metrics could not be written: %s%s%s", why.text,
                       why.advice[0] != '\0' ? "\n" : "", why.advice);
    machine_config_clear(&config);
}

/* A run that was asked for some certificates alone says nothing of the others. `configured`: tlsup.conf can
 * be read, as to the machine. */
static void end(struct run *run, int64_t began_s, const struct tally *tally, bool configured, bool good)
{
    bool all = run->request->arguments.n == 0;
    if (run->request->dry_run)
        return;
    if (all)
        write_down(run, began_s, tally, configured, good);
    batch_tell_readable(run);
    if (run->notices != NULL)
        notices_send(run->notices, good && all);
    notices_close(run->notices);
    run->notices = NULL;
    if (configured)
        write_metrics(run);
}

/* A run that could not even begin, for what an earlier one has left cannot be brought to its end: told like
 * any other failure, where there is a store to note that in. */
static void tell_that_none_began(const struct request *request, const struct err *why)
{
    struct run run;
    struct err ignored = ERR_INIT;
    if (why->code == ERR_LOCKED || why->code == ERR_INTERRUPTED || !run_open_store(request, &run, &ignored))
        return;
    if (notices_open(&run, &run.notices, &ignored)) {
        notices_machine(run.notices, WHOLE_RUN, why);
        notices_send(run.notices, false);
        notices_close(run.notices);
    }
    run_close(&run);
}

bool cmd_renew(const struct request *request, struct err *err)
{
    struct run run;
    struct tally tally = {0};
    int64_t began_s = clock_now_s();
    if (request->json)
        report_begin(request->command);
    if (request->dry_run) {
        bool rehearsed = dry_run_renew(request, err);
        report_end(rehearsed, err);
        return rehearsed;
    }
    struct err unwatched = ERR_INIT;
    bool ok = run_open(request, &run, err);
    if (ok) {
        bool watched = open_notices(&run, &unwatched);
        ok = work(&run, &tally, err);
        end(&run, began_s, &tally, watched, ok && watched && tally.failing == 0);
        run_close(&run);
        if (!ok && !watched)
            output_error(&unwatched);
        else if (!watched)
            *err = unwatched;
        ok = ok && watched;
    } else {
        tell_that_none_began(request, err);
    }
    report_end(ok, err);
    return ok;
}
