/*
 * keeper.h - the keeper's side of issuance: it signs, presents challenges, stores; the courier does the talking.
 *
 * Order of use: keeper_open() for every CA of the run (forks; no key may be in memory yet) -> keeper_account() -> keeper_obtain() -> keeper_close().
 */
#ifndef TLSUP_KEEPER_H
#define TLSUP_KEEPER_H

#include "tlsup/roles.h"
#include "tlsup/store.h"

struct keeper; /* heap */

/* One certificate to obtain. */
struct job {
    const struct cert_config *config; /* borrowed: name, names, key type, challenge */
    struct cert_state state;          /* loaded by keeper_obtain(), saved as things happen; clear it with job_clear() */
    const char *token_dir;            /* write http-01 answers as files here (web root, or the directory that the web server serves); NULL = not by files */
    bool token_dir_is_root;           /* token_dir is a web root: below it /.well-known/acme-challenge/ */
    bool use_responder;               /* answer by our own responder */
    bool force;                       /* not to be resumed from an old order */
    /* results */
    int version;                      /* the new version, 0 = failed */
    struct err err;
    /* the keeper's own */
    struct key *key;
    struct strlist tokens;            /* presented and not yet cleaned up */
    bool over;
};
void job_clear(struct job *job);

/* What the person is told while waiting; `job` is NULL for what concerns all. */
typedef void keeper_progress_fn(void *ctx, const struct job *job, const char *text);
/* Called often while waiting. */
typedef void keeper_tick_fn(void *ctx);
/* "Do you agree to the terms at URL?": true = yes. */
typedef bool keeper_agree_fn(void *ctx, const char *terms_url);

struct keeper_options {
    const char *ca_url;
    const char *ca_bundle;   /* path, NULL = the system's roots */
    struct role *responder;  /* borrowed, NULL = none; shared by all keepers of a run */
    keeper_progress_fn *progress;
    keeper_tick_fn *tick;
    keeper_agree_fn *agree;  /* NULL = nobody to ask */
    void *ctx;
};

MUST_CHECK bool keeper_open(struct store *store, const struct keeper_options *options, struct keeper **out, struct err *err);
void keeper_close(struct keeper *keeper); /* NULL is fine */
/* The thumbprint of the account key, which is made when there is none. Needs no network. */
MUST_CHECK bool keeper_thumbprint(struct keeper *keeper, char out[KEY_THUMBPRINT_BYTES], struct err *err);
/* See to it that the account exists at the CA: registered here before with the same key, or registered now. `email` may be NULL. Terms of service
 * must have been agreed to (`agree_tos`, or the callback); else ERR_CONFIG naming their URL and --agree-tos. With `again` a known account URL is not believed. */
MUST_CHECK bool keeper_account(struct keeper *keeper, const char *email, bool agree_tos, bool again, struct account_record *out,
                               struct err *err);
/* Obtain all of them, at the same time. Each ends with `version` or `err`; one failure does not touch the others. False only when nothing could
 * be tried, or on interruption; jobs not over by then have `err` set too. A CA that has lost the account is registered with once more. */
MUST_CHECK bool keeper_obtain(struct keeper *keeper, struct job *jobs, size_t n, struct err *err);

#endif
