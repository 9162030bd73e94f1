/*
 * batch.h - many certificates in one run (renew, issue --from): what each came to, and the sum of it.
 */
#ifndef TLSUP_CLI_BATCH_H
#define TLSUP_CLI_BATCH_H

#include "run.h"

struct tally {
    size_t renewed, failed, waiting, current;
    size_t deployed;   /* a deployment that had failed before, or was left undone, is done */
    size_t undone;     /* in place, but a deployment failed in this run */
    size_t unfinished; /* of those waiting: got, but not in place or not deployed everywhere */
    size_t failing;    /* of those waiting: they failed before */
    bool halted;       /* the run as a whole could not do its work: no certificate's state tells of that */
    struct err worst;  /* of the failures of this run, the one that decides the exit status */
    struct err left;   /* of those unfinished */
};

/* Told to the person, written into its state, counted. */
void batch_failed(struct run *run, const char *cert_name, const struct err *why, struct tally *tally);
/* It needs something, but is not due to be tried again. `unfinished` NULL = an order; else why it is not done, and when it
 * is tried again. */
void batch_waiting(struct run *run, const char *cert_name, bool failed_before, const struct err *unfinished,
                   int64_t next_s, struct tally *tally);
void batch_current(struct run *run, const char *cert_name, struct tally *tally);
/* After run_obtain(): put the new version in place, or tell why there is none; carry out what task->redeploy says is left. */
void batch_finish(struct run *run, struct task *task, struct tally *tally);
/* Certificates whose state could not be read in an earlier run, and can be now: to be told. */
void batch_tell_readable(struct run *run);
/* The last words, pre and post hooks included; false with the worst failure in `err` when there was one. `done` is what was done:
 * "renewed". */
MUST_CHECK bool batch_summarise(const struct run *run, const struct tally *tally, const char *done, struct err *err);

#endif
