#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "batch.h"

#include <stdio.h>
#include <string.h>

#include "output.h"

void batch_failed(struct run *run, const char *cert_name, const struct err *why, struct tally *tally)
{
    struct err shown = *why;
    tally->failed++;
    if (strcmp(shown.subject, cert_name) != 0 && shown.subject[0] != '\0')
        (void)err_context(&shown, "%.200s", why->subject);
    snprintf(shown.subject, sizeof shown.subject, "%s", cert_name);
    run_record_failure(run, cert_name, &shown);
    output_error(&shown);
    /* what needs a person outweighs what only needs time */
    if (!err_isset(&tally->worst) ||
        (tally->worst.next == NEXT_RETRY_LATER && shown.next != NEXT_RETRY_LATER))
        tally->worst = shown;
}

void batch_finish(struct run *run, struct task *task, struct tally *tally)
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
        batch_failed(run, name, &err, tally);
    else
        tally->waiting++; /* names that were missing still are */
}

bool batch_summarise(const struct tally *tally, const char *done, struct err *err)
{
    if (tally->renewed + tally->failed == 0 && tally->waiting == 0)
        output_line("Nothing is due: %zu certificate%s up to date.", tally->current,
                    tally->current == 1 ? " is" : "s are");
    else
        output_line("%zu %s, %zu failed, %zu up to date, %zu to be tried again later.", tally->renewed, done,
                    tally->failed, tally->current, tally->waiting);
    if (tally->failed == 0)
        return true;
    *err = tally->worst;
    err->advice[0] = '\0'; /* each failure has been shown with its own */
    snprintf(err->text, sizeof err->text, "%zu of %zu certificates failed", tally->failed,
             tally->failed + tally->renewed);
    err->subject[0] = '\0';
    return false;
}
