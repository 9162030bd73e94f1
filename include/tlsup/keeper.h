/*
 * keeper.h - the keeper's side of issuance: it signs, presents challenges, stores; the courier does the talking.
 *
 * Order of use: keeper_open() for every CA and account of the run (forks; no key may be in memory yet) -> keeper_account() -> keeper_obtain() and others -> keeper_close().
 * A keeper that is never used asks its CA nothing.
 */
#ifndef TLSUP_KEEPER_H
#define TLSUP_KEEPER_H

#include "tlsup/ari.h"
#include "tlsup/resolver.h"
#include "tlsup/roles.h"
#include "tlsup/store.h"

struct keeper; /* heap */

/* One of the one or two certificates of an entry. The keeper's own. */
struct job_part {
    enum key_type key_type;
    struct key *key;                  /* NULL with a CSR of the user's */
    struct buf csr;                   /* DER, of the user's CSR */
    char spki[KEY_SPKI_BYTES];        /* its public key */
    char replaces[128];               /* ARI id of the certificate that this one replaces, "" */
    bool replaced;                    /* the CA took it so */
    struct cert_chain **chains;       /* as they come: the CA's default first */
    size_t n_chains;
    struct cert_chain *chain;         /* the one chosen; not NULL when this part is done */
};

/* One certificate entry to obtain. */
struct job {
    const struct cert_config *config; /* borrowed: name, names, key types, and all the rest */
    struct strlist names;             /* those to be ordered; empty = all of config->names */
    struct cert_state state;          /* loaded by keeper_obtain(), saved as things happen; clear it with job_clear() */
    enum challenge_type types[CHALLENGE_TYPES]; /* that can be answered here, the preferred first */
    size_t n_types;
    enum config_challenge way[CHALLENGE_TYPES]; /* how, by type */
    const char *token_dir;            /* way "web server": write answers as files here; NULL = it makes them up by itself */
    bool use_responder;               /* way "web server": our own responder stands in for it */
    bool force;                       /* not to be resumed from an old order */
    bool renewal;                     /* of a certificate that is here: ARI's `replaces`, and CAs' exemptions */
    bool renamed;                     /* but of other names */
    int64_t not_before_s, not_after_s; /* asked of the CA; 0 = not */
    /* results */
    int version;                      /* the new version, 0 = failed */
    struct err err;
    struct strlist failed_names;      /* because of which it failed, where the CA said so */
    /* the keeper's own */
    struct job_part parts[STORE_PARTS];
    size_t n_parts;
    int64_t persist_until_s;
    unsigned caa_forbids;             /* 1 << type: CAA of one of the names does not let it be proven so */
    bool persist_seen;                /* a dns-persist-01 record was looked at */
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
    const char *account;       /* NULL = the default one */
    const char *ca_bundle;     /* path, NULL = the system's roots */
    const char *proxy;         /* as in http_options, so for the next three */
    int ip_version;
    const char *interface;
    int timeout_s;
    struct role *responder;    /* borrowed, NULL = none; shared by all keepers of a run */
    struct resolver *resolver; /* likewise */
    keeper_progress_fn *progress;
    keeper_tick_fn *tick;
    keeper_agree_fn *agree;    /* NULL = nobody to ask */
    void *ctx;
};

MUST_CHECK bool keeper_open(struct store *store, const struct keeper_options *options, struct keeper **out, struct err *err);
void keeper_close(struct keeper *keeper); /* NULL is fine */
/* The thumbprint of the account key, which is made when there is none. Needs no network. */
MUST_CHECK bool keeper_thumbprint(struct keeper *keeper, char out[KEY_THUMBPRINT_BYTES], struct err *err);

/* -- the account (keeper_account.c) -- */

struct account_request {
    const char *email;         /* NULL = none, or as it is */
    bool agree_tos;
    bool again;                /* a known account URL is not believed */
    const char *eab_kid, *eab_hmac_key, *eab_alg; /* external account binding; NULL = none given */
};
/* See to it that the account exists at the CA: registered here before with the same key, or registered now. Terms of service
 * must have been agreed to (`agree_tos`, or the callback); else ERR_CONFIG naming their URL and --agree-tos. Where the CA wants an external account: as given, or as it was registered with before, or, where
 * the CA gives credentials for an e-mail address, fetched. A key change that was cut is brought to its end first. */
MUST_CHECK bool keeper_account(struct keeper *keeper, const struct account_request *request, struct account_record *out,
                               struct err *err);
/* Take a key over whose account exists at the CA. ERR_ACME accountDoesNotExist when it has none; then nothing is changed here. */
MUST_CHECK bool keeper_account_import(struct keeper *keeper, const struct key *key, struct account_record *out,
                                      struct err *err);
/* `email` NULL: stays; "": none. */
MUST_CHECK bool keeper_account_update(struct keeper *keeper, const char *email, bool agree_tos, struct account_record *out,
                                      struct err *err);
MUST_CHECK bool keeper_account_deactivate(struct keeper *keeper, struct err *err);
/* From the present key to the one saved with store_account_next_save(). After an answer that did not come both are tried. The record has the new thumbprint then.
 * On failure *refused tells whether the CA has said no, and does not know the new key: then nothing hangs on it there. */
MUST_CHECK bool keeper_account_change_key(struct keeper *keeper, struct account_record *out, bool *refused, struct err *err);
/* Revoke a certificate by the account, or by its own key. That it is revoked already is success too (*already). `reason` -1 = not said. */
MUST_CHECK bool keeper_revoke(struct keeper *keeper, const struct buf *cert_der, int reason, const struct key *by_key, bool *already,
                              struct err *err);

/* -- orders (keeper_order.c) -- */

/* Obtain all of them, at the same time. Each ends with `version` or `err`; one failure does not touch the others. False only when nothing could
 * be tried, or on interruption; jobs not over by then have `err` set too. A CA that has lost the account is registered with once more. */
MUST_CHECK bool keeper_obtain(struct keeper *keeper, struct job *jobs, size_t n, struct err *err);

/* One question after renewal information. */
struct ari_query {
    const char *cert_id;
    bool ok;
    struct ari_window window;
    int64_t retry_after_s;   /* -1 = none */
    bool temporary;          /* not ok: for a while only */
    struct err err;
    bool over;               /* the keeper's own */
};
/* Ask all at once; each ends by itself, or when the time is up. Needs no account and no key. False only on interruption, or when the CA cannot be used at all. */
MUST_CHECK bool keeper_renewal_info(struct keeper *keeper, struct ari_query *queries, size_t n, int timeout_ms,
                                    struct err *err);

#endif
