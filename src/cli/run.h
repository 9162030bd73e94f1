/*
 * run.h - one run of a writing command: the open store, the web servers, the CAs; and the way of certificates through them.
 *
 *   run_open -> (tasks are filled) -> run_obtain -> run_install -> run_close
 *
 * All child processes are started in run_obtain() before the first private key is read.
 */
#ifndef TLSUP_CLI_RUN_H
#define TLSUP_CLI_RUN_H

#include "request.h"
#include "tlsup/deploy.h"
#include "tlsup/keeper.h"

struct run {
    const struct request *request;
    struct store *store;
    struct role responder;
    struct deploy *deploys[3];   /* by wanted web_kind; [WEB_NONE] = whichever there is */
    struct keeper **keepers;
    char **keeper_urls;
    size_t n_keepers;
};
#define RUN_INIT {.responder = ROLE_INIT}

/* What is done for one certificate. */
struct task {
    struct cert_config config;
    bool existed;                /* it has a configuration already */
    struct job job;
    bool needs_order;
    bool force;
    int version;                 /* to be installed; 0 = none */
    struct deploy *deploy;       /* borrowed: the web server that answers challenges or gets the certificate */
    struct err err;
};
void task_clear(struct task *task);

/* Open the store for writing, and bring to an end what a killed run has left. */
MUST_CHECK bool run_open(const struct request *request, struct run *run, struct err *err);
void run_close(struct run *run);

/* The whole frame of a command about one certificate: open, `work`, and whatever comes of it, close. */
typedef bool run_work_fn(struct run *run, struct task *task, struct err *err);
MUST_CHECK bool run_one(const struct request *request, run_work_fn *work, struct err *err);

/* The configuration of a certificate: defaults, its file where there is one, the command line on top. */
MUST_CHECK bool run_config(struct run *run, const char *cert_name, struct task *task, struct err *err);
/* The web server of a kind, opened once. Borrowed. */
MUST_CHECK bool run_deploy(struct run *run, enum web_kind kind, struct deploy **out, struct err *err);
/* Is there a stored version that can be used as it is: right names and key type, not due for renewal? 0 = none. */
int run_usable_version(struct run *run, const struct cert_config *config, const struct cert_state *state);

/* Get certificates for all tasks with needs_order, each ending with `version` or `err`. `keep_challenges`: what is changed in web servers for the
 * challenge stays even when the order fails (renewals). False only when nothing could be done at all. */
MUST_CHECK bool run_obtain(struct run *run, struct task *tasks, size_t n, bool keep_challenges, struct err *err);
/* Make task->version the live one, in the web server where config.install says so; then the deploy hook. */
MUST_CHECK bool run_install(struct run *run, struct task *task, struct err *err);
/* Failures since the last success, and when to try again, into the state. */
void run_record_failure(struct run *run, const char *cert_name, const struct err *why);
void run_record_success(struct run *run, const char *cert_name);
/* Save the configuration when it differs from what is stored. */
MUST_CHECK bool run_save_config(struct run *run, const struct task *task, struct err *err);
/* See to it that renewal is called by something, and print which. */
void run_ensure_timer(struct run *run);
/* "valid until 2027-02-20 (in 89 days)" of a stored version, for reports. Returns `out`. */
const char *run_validity(struct run *run, const char *cert_name, int version, char out[128]);

#endif
