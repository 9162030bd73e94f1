/*
 * report.h - renew, issue, enable with --json: what came of the run, as one document on standard output at its end (tlsup-json(7)).
 *
 * Nothing here does anything before report_begin(), which is called for --json alone.
 */
#ifndef TLSUP_CLI_REPORT_H
#define TLSUP_CLI_REPORT_H

#include "run.h"
#include "tlsup/hooks.h"

enum report_result {
    REPORT_CURRENT,  /* nothing was to be done */
    REPORT_WAITING,  /* it failed before, and is tried again later */
    REPORT_ISSUED,   /* got for the first time */
    REPORT_RENEWED,
    REPORT_DEPLOYED, /* what was left to be done for the version that is here is done */
    REPORT_FAILED,
    REPORT_REHEARSED, /* --dry-run: it would have been got */
    REPORT_RESULTS
};

/* From now on standard output is the document's alone. */
void report_begin(enum command command);
bool report_wanted(void);
/* What came of a certificate; of one that was told before, the better result stays and the error counts. `why` NULL or not set = nothing failed. */
void report_certificate(struct run *run, const char *cert_name, enum report_result result, const struct err *why);
/* `why` as above; a hook that `waits` was not run, since its next try is later. */
void report_hook(enum hook_when when, const char *program, bool waits, const struct err *why);
/* Print it, with the error that ends the run where `ok` is false. */
void report_end(bool ok, const struct err *err);

#endif
