/*
 * dry_run.h - --dry-run: everything against the CA's staging server, and nothing of it stays.
 *
 * Orders are made and challenges answered for real; accounts, keys and certificates go into a store of their own that is removed at the end. What is put into the web server for the challenge is a transaction that
 * is rolled back; what 443 would need is staged, put to the server's own test in a copy (deploy_rehearse()) and dropped, so that no visitor ever sees a certificate of staging. Hooks are not run, nobody is notified.
 */
#ifndef TLSUP_CLI_DRY_RUN_H
#define TLSUP_CLI_DRY_RUN_H

#include "run.h"

/* In a run that was opened with request->dry_run. Tells what would have come of each; false with the worst failure. */
MUST_CHECK bool dry_run_tasks(struct run *run, struct task *tasks, size_t n, struct err *err);
/* Those that are named, or all. */
MUST_CHECK bool dry_run_renew(const struct request *request, struct err *err);
/* The directory URL that a configuration is rehearsed with, NULL = none is known. Static. */
const char *dry_run_staging(const struct cert_config *config);
/* A whole run in a process of its own: this one has read no key then. */
MUST_CHECK bool dry_run_apart(const struct request *request, run_work_fn *work, struct err *err);

#endif
