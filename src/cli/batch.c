#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "batch.h"

#include <stdio.h>
#include <string.h>

#include "around.h"
#include "deployments.h"
#include "notices.h"
#include "output.h"
#include "report.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

#define READING_STATE "reading the state of "

/* -- what is told of one -------------------------------------------------------------------------------- */

/* The certificate is what it is about; the thing that failed stays in the text. */
static struct err about(const char *cert_name, const struct err *why)
{
    struct err shown = *why;
    if (shown.subject[0] != '\0' && strcmp(shown.subject, cert_name) != 0 &&
        strstr(shown.text, shown.subject) == NULL)
        (void)err_context(&shown, "%.200s", why->subject);
    snprintf(shown.subject, sizeof shown.subject, "%s", cert_name);
    return shown;
}

/* What needs a person outweighs what only needs time. */
static void weigh(struct err *worst, const struct err *why)
{
    if (!err_isset(worst) || (worst->next == NEXT_RETRY_LATER && why->next != NEXT_RETRY_LATER))
        *worst = *why;
}

static bool can_read_state(struct run *run, const char *cert_name)
{
    struct cert_state state = CERT_STATE_INIT;
    struct err ignored = ERR_INIT;
    bool ok = store_state_load(run->store, cert_name, &state, &ignored);
    cert_state_clear(&state);
    return ok;
}

/* Where its state cannot be read, nor can what was told of it be noted there: a trouble of the machine, or
 * each run would tell it again. */
static void notify(struct run *run, const char *cert_name, const struct err *shown)
{
    AUTO_FREE char *reading = mem_fmt(READING_STATE "%s", cert_name);
    if (can_read_state(run, cert_name))
        notices_failed(run->notices, cert_name, shown);
    else
        notices_machine(run->notices, reading, shown);
}

void batch_tell_readable(struct run *run)
{
    struct run_state last = RUN_STATE_INIT;
    struct err ignored = ERR_INIT;
    size_t len = strlen(READING_STATE);
    if (run->notices == NULL || !store_run_state_load(run->store, &last, &ignored))
        return;
    for (size_t i = 0; i < last.told.n; i++)
        if (strncmp(last.told.v[i], READING_STATE, len) == 0 && can_read_state(run, last.told.v[i] + len))
            notices_machine(run->notices, last.told.v[i], NULL);
    run_state_clear(&last);
}

static void tell(struct run *run, const char *cert_name, const struct err *shown, struct tally *tally)
{
    output_error(shown);
    weigh(&tally->worst, shown);
    if (run->notices != NULL)
        notify(run, cert_name, shown);
}

void batch_failed(struct run *run, const char *cert_name, const struct err *why, struct tally *tally)
{
    struct err shown = about(cert_name, why);
    tally->failed++;
    if (why->code != ERR_INTERRUPTED) /* the next run goes on where this one was stopped, at once */
        run_record_failure(run, cert_name, &shown);
    tell(run, cert_name, &shown, tally);
    around_failed(run, cert_name, NULL);
    report_certificate(run, cert_name, REPORT_FAILED, &shown);
}

void batch_waiting(struct run *run, const char *cert_name, bool failed_before, const struct err *unfinished,
                   int64_t next_s, struct tally *tally)
{
    tally->waiting++;
    tally->failing += failed_before || unfinished != NULL;
    tally->unfinished += unfinished != NULL;
    if (unfinished != NULL) {
        struct err left = *unfinished;
        snprintf(left.subject, sizeof left.subject, "%s", cert_name);
        left.wait_s = next_s - clock_now_s();
        weigh(&tally->left, &left);
    }
    if (run->notices != NULL)
        notices_looked(run->notices, cert_name);
    report_certificate(run, cert_name, REPORT_WAITING, unfinished);
}

void batch_current(struct run *run, const char *cert_name, struct tally *tally)
{
    tally->current++;
    if (run->notices != NULL)
        notices_looked(run->notices, cert_name);
    report_certificate(run, cert_name, REPORT_CURRENT, NULL);
}

/* -- deployments ---------------------------------------------------------------------------------------- */

static void undone(struct run *run, const struct task *task, const struct err *why, struct tally *tally)
{
    const char *name = task->config.name;
    struct err shown = about(name, why);
    tally->undone++;
    (void)err_advise(&shown,
                     "the certificate itself is in place; this is tried again by itself, and at once with "
                     "`tlsup renew %s`",
                     name);
    tell(run, name, &shown, tally);
    report_certificate(run, name, REPORT_FAILED, &shown);
}

/* What an earlier run has left, alone. */
static void redeploy(struct run *run, struct task *task, struct tally *tally)
{
    struct cert_state state = CERT_STATE_INIT;
    struct err why = ERR_INIT, ignored = ERR_INIT;
    const char *name = task->config.name;
    bool by_hand = run->request->arguments.n > 0 || run->request->force_renewal;
    output_step("Deploying %s", name);
    bool ok = deployments_carry_out(run, &task->config, by_hand, &why);
    bool left = store_state_load(run->store, name, &state, &ignored) && deployments_wanted(&state);
    if (!ok) {
        output_failed();
        undone(run, task, &why, tally);
    } else if (left) {
        output_done("%s: some of it is to be tried again later", name);
        batch_waiting(run, name, true, deployments_trouble(&state), deployments_next_s(&state), tally);
    } else {
        output_done("%s is deployed everywhere", name);
        tally->deployed++;
        if (run->notices != NULL)
            notices_looked(run->notices, name);
        report_certificate(run, name, REPORT_DEPLOYED, NULL);
    }
    cert_state_clear(&state);
}

/* -- one certificate ------------------------------------------------------------------------------------ */

static void in_place(struct run *run, struct task *task, struct tally *tally)
{
    char validity[128];
    const char *name = task->config.name;
    run_record_success(run, name);
    tally->renewed++;
    output_done("%s: %s", name, run_validity(run, name, task->version, validity));
    around_renewed(run, &task->config);
    if (run->notices != NULL)
        notices_renewed(run->notices, name);
    report_certificate(run, name, task->renewal ? REPORT_RENEWED : REPORT_ISSUED, NULL);
    if (err_isset(&task->undone))
        undone(run, task, &task->undone, tally);
}

static void finish(struct run *run, struct task *task, struct tally *tally)
{
    const char *name = task->config.name;
    struct err err = task->err;
    if (!err_isset(&err) && task->version > 0) {
        output_step("Putting %s in place", name);
        if (run_install(run, task, &err)) {
            in_place(run, task, tally);
            return;
        }
        output_failed();
    }
    if (err_isset(&err))
        batch_failed(run, name, &err, tally);
    else if (!task->redeploy)
        batch_waiting(run, name, false, NULL, 0, tally); /* names that were missing still are */
    if (task->redeploy)
        redeploy(run, task, tally);
}

void batch_finish(struct run *run, struct task *task, struct tally *tally)
{
    log_about(task->config.name);
    finish(run, task, tally);
    log_about(NULL);
}

/* -- the sum -------------------------------------------------------------------------------------------- */

static void say_sum(const struct tally *tally, const char *done)
{
    const struct {
        size_t n;
        bool always;
        const char *words;
    } parts[] = {
        {tally->renewed, false, done},
        {tally->failed, tally->renewed > 0, "failed"},
        {tally->current, false, "up to date"},
        {tally->waiting, false, "to be tried again later"},
        {tally->deployed, false, "now deployed everywhere"},
        {tally->undone, false, "not deployed everywhere yet"},
    };
    AUTO_BUF out = BUF_INIT;
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        if (parts[i].n > 0 || parts[i].always)
            buf_addf(&out, "%s%zu %s", out.len > 0 ? ", " : "", parts[i].n, parts[i].words);
    if (tally->renewed + tally->failed + tally->waiting + tally->deployed + tally->undone == 0)
        output_line("Nothing is due: %zu certificate%s up to date.", tally->current,
                    tally->current == 1 ? " is" : "s are");
    else
        output_line("%s.", buf_str(&out));
}

/* Each failure has been shown, with what to do about it. */
static bool fails_with(struct err *err, const struct err *why, const char *text)
{
    *err = *why;
    err->advice[0] = err->subject[0] = err->type[0] = '\0';
    snprintf(err->text, sizeof err->text, "%s", text);
    return false;
}

static bool sum_of_failures(const struct tally *tally, struct err *err)
{
    AUTO_BUF out = BUF_INIT;
    if (tally->failed > 0)
        buf_addf(&out, "%zu of %zu certificates failed", tally->failed, tally->failed + tally->renewed);
    if (tally->undone > 0)
        buf_addf(&out, "%s%zu certificate%s not deployed everywhere yet", out.len > 0 ? "; " : "",
                 tally->undone, tally->undone == 1 ? " is" : "s are");
    return fails_with(err, &tally->worst, buf_str(&out));
}

static bool sum_of_left(const struct tally *tally, struct err *err)
{
    char span[CLOCK_TEXT_BYTES];
    *err = tally->left;
    err->advice[0] = '\0';
    if (tally->unfinished > 1)
        (void)err_context(err, "%zu certificates are not in place everywhere yet, one of them %.200s",
                          tally->unfinished, tally->left.subject);
    else
        (void)err_context(err, "%.200s is not in place everywhere yet", tally->left.subject);
    clock_format_span(err->wait_s, span);
    err->wait_s = 0;
    return err_advise(err, "it is tried again by itself in %s; `tlsup renew %.200s` tries at once", span,
                      tally->left.subject);
}

bool batch_summarise(const struct run *run, const struct tally *tally, const char *done, struct err *err)
{
    bool told = false;
    const struct err *hook = around_trouble(run, &told);
    say_sum(tally, done);
    if (tally->failed + tally->undone > 0)
        return sum_of_failures(tally, err);
    if (hook != NULL && !told)
        return fails_with(err, hook, "a hook failed");
    if (tally->unfinished == 0 && hook == NULL)
        return true;
    output_told_before();
    return tally->unfinished > 0 ? sum_of_left(tally, err)
                                 : fails_with(err, hook, "a hook that failed before is tried again later");
}
