/*
 * run.h - one run of a writing command: the open store, the web servers, the CAs; and the way of certificates
 * through them.
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

/* A web server that is open, by how it was asked for. */
struct run_deploy {
    char *key;
    struct deploy *deploy;
};

struct run {
    const struct request *request;
    struct store *store;
    struct store *rehearsal; /* --dry-run: what comes of orders goes there, and is gone at the end; NULL = none */
    struct strlist renamed;  /* a renaming of a killed run that run_open() has brought to its end: both names */
    struct role responder;
    struct responder_sockets sockets; /* listening, until the responder takes them over */
    struct resolver *resolver;
    struct run_deploy *deploys;
    size_t n_deploys;
    struct keeper **keepers;
    char **keeper_identities;
    size_t n_keepers;
    /* the version that was last looked at: a decision asks several times, and a version never changes */
    struct {
        char *cert_name;
        int version, part;
        struct cert_info info;
    } last_info;
    struct around *around;   /* pre and post hooks (around.h); NULL = nothing of them yet */
    struct notices *notices; /* borrowed; NULL but in `renew` */
};
#define RUN_INIT                                                                                             \
    {                                                                                                        \
        .responder = ROLE_INIT                                                                               \
    }

/* What is done for one certificate. */
struct task {
    struct cert_config config;
    bool existed; /* it has a configuration already */
    struct job job;
    bool needs_order;
    bool force;
    bool renewal;     /* there is a live certificate that the new one takes the place of */
    bool renamed;     /* of other names */
    bool for_missing; /* the live one is fine but for names that are missing: if these fail again, nothing is
                         lost */
    size_t ca;        /* which of the CAs is tried: 0 = config.server, then the fallbacks */
    int version;      /* to be installed; 0 = none */
    bool redeploy;    /* something is left to be deployed for the version that is live */
    struct deploy *deploy; /* borrowed: the web server that answers challenges or gets the certificate */
    struct err err;
    struct err undone; /* of run_install(): it is in place, but a deployment has failed */
};
void task_clear(struct task *task);

/* Open the store for writing, and bring to an end what a killed run has left. */
MUST_CHECK bool run_open(const struct request *request, struct run *run, struct err *err);
/* The store alone, where run_open() fails: to tell of that. */
MUST_CHECK bool run_open_store(const struct request *request, struct run *run, struct err *err);
void run_close(struct run *run);

/* The whole frame of a command about one certificate: open, `work`, and whatever comes of it, close. */
typedef bool run_work_fn(struct run *run, struct task *task, struct err *err);
MUST_CHECK bool run_one(const struct request *request, run_work_fn *work, struct err *err);

/* The configuration of a certificate: defaults, its file where there is one, the command line on top. */
MUST_CHECK bool run_config(struct run *run, const char *cert_name, struct task *task, struct err *err);
/* The same for names that do not stand on the command line. */
MUST_CHECK bool run_config_for(struct run *run, const char *cert_name, const struct strlist *names,
                               struct task *task, struct err *err);
/* The web server of a kind, opened once. Borrowed. */
MUST_CHECK bool run_deploy(struct run *run, enum web_kind kind, const struct cert_config *config, struct deploy **out,
                           struct err *err);
/* --proxy and so on. */
void run_overlay_connection(const struct request *request, struct cert_config *config);
bool run_version_info(struct run *run, const char *cert_name, int version, int part, struct cert_info *info);
/* When it is to be renewed, where the CA does not say. */
int64_t run_renewal_at_s(const struct cert_info *info);
/* From when on a run renews it: by the CA's word where there is one for this certificate, else by its life; INT64_MIN = at
 * once. */
int64_t run_due_at_s(const struct cert_info *info, const struct cert_state *state);
/* A certificate that a run found nothing to do for: when that may change by time alone. INT64_MIN = it cannot be told. */
int64_t run_next_look_s(struct run *run, const struct cert_config *config, const struct cert_state *state);
/* Is there a stored version that can be used as it is: right names and key type, not due for renewal? 0 =
 * none. */
int run_usable_version(struct run *run, const struct cert_config *config, const struct cert_state *state);
/* There would be, if the names that are known to be missing were left out of account. */
bool run_only_names_missing(struct run *run, const struct cert_config *config,
                            const struct cert_state *state);

/* -- obtain.c: the network of a run -- */

/* The keeper of one CA and account, as the configuration has it (`ca`: which of its CAs). Opened on first
 * use: no key may have been read by then. */
MUST_CHECK bool run_keeper(struct run *run, const struct cert_config *config, size_t ca, struct keeper **out,
                           struct err *err);
void run_close_network(struct run *run);
/* Ask the CAs that have it when each live certificate should be renewed, where it is time to ask; the answers
 * go into their state. Before the first key is read. */
void run_renewal_info(struct run *run, struct task *tasks, size_t n);
/* When it is time to ask about this one's live certificate; INT64_MAX = never. */
int64_t run_renewal_info_at_s(struct run *run, const struct cert_config *config);

/* How the challenges of a certificate can be answered here, into task->job: the web server is looked at, ports are taken.
 * Before any key is read. */
MUST_CHECK bool run_choose_ways(struct run *run, struct task *task, struct err *err);
/* Get certificates for all tasks with needs_order, each ending with `version` or `err`, at the first CA of
 * its list that will. `keep_challenges`: what is changed in web servers for the challenge stays even when the
 * order fails (renewals). False only when nothing could be done at all. */
MUST_CHECK bool run_obtain(struct run *run, struct task *tasks, size_t n, bool keep_challenges,
                           struct err *err);
/* Make task->version the live one, in the web server where config.install says so; then what else is to be done for it
 * (deployments.h), by hand: without regard to pauses. A deployment that fails undoes nothing and is tried again by `renew`: true, with the
 * first failure in task->undone, which the command returns at its end (run_deployed()). */
MUST_CHECK bool run_install(struct run *run, struct task *task, struct err *err);
/* After all else has been said and done: false with task->undone, where that is set. */
MUST_CHECK bool run_deployed(const struct task *task, struct err *err);
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
