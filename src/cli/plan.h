/*
 * plan.h - --plan: what a command would do, told in order, with nothing done.
 *
 * Standard output is a unified diff of every file, as it is, and comments: each other line begins with '#', and patch(1) passes over them (patch -d / -p1). Links are lines of the form
 * "+PATH -> TARGET". With -q the diff stands alone. What a command refuses, it refuses here as well, in the same words.
 */
#ifndef TLSUP_CLI_PLAN_H
#define TLSUP_CLI_PLAN_H

#include "run.h"
#include "tlsup/package.h"

/* As run_one() and run_open(), on a store that is only read, and need not be there. No lock is taken; what a killed run has left stays. */
MUST_CHECK bool plan_one(const struct request *request, run_work_fn *work, struct err *err);
MUST_CHECK bool plan_open(const struct request *request, struct run *run, struct err *err);

/* A certificate, got where task->needs_order, else task->version, into task->deploy. */
MUST_CHECK bool plan_certificate(struct run *run, struct task *task, struct err *err);
MUST_CHECK bool plan_undo(struct run *run, struct task *task, struct err *err);
/* The web server would be installed first: what comes after that cannot be told. */
void plan_package(const struct package *package);
/* The last words. */
void plan_end(void);

#endif
