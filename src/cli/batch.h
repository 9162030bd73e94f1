/*
 * batch.h - many certificates in one run (renew, issue --from): what each came to, and the sum of it.
 */
#ifndef TLSUP_CLI_BATCH_H
#define TLSUP_CLI_BATCH_H

#include "run.h"

struct tally {
    size_t renewed, failed, waiting, current;
    struct err worst; /* of the failures, the one that decides the exit status */
};

/* Told to the person, written into its state, counted. */
void batch_failed(struct run *run, const char *cert_name, const struct err *why, struct tally *tally);
/* After run_obtain(): put the new version in place, or tell why there is none. */
void batch_finish(struct run *run, struct task *task, struct tally *tally);
/* The last words; false with the worst failure in `err` when there was one. `done` is what was done:
 * "renewed". */
MUST_CHECK bool batch_summarise(const struct tally *tally, const char *done, struct err *err);

#endif
