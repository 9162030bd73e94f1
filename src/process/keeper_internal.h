/*
 * keeper_internal.h - what the files of the keeper share.
 */
#ifndef TLSUP_KEEPER_INTERNAL_H
#define TLSUP_KEEPER_INTERNAL_H

#include "present.h"
#include "tlsup/keeper.h"
#include "tlsup/messages.h"

/* What the running command lets the courier have signed: a bit for each jws_kind. */
#define GRANT(kind) (1u << (kind))

/* The one call that is under way: about the account, or a revocation. */
struct keeper_call {
    uint32_t id; /* 0 = none */
    bool over, granted;
    int status;              /* HTTP */
    char url[URL_MAX_BYTES]; /* Location */
    char text[64];           /* the "status" in the answer */
    struct err err;
    /* what the payloads are made from */
    const char *email;
    bool agree_tos;
    const char *eab_kid, *eab_hmac_key, *eab_alg;
    const struct key
        *other_key; /* the new one of a key change; the certificate's; the one to be looked for */
    const struct buf *cert_der;
    int reason;
};

struct keeper {
    struct store *store;
    struct keeper_options options;
    char *ca_url, *account_name;
    struct http_options http;
    struct buf ca_pem;
    struct role courier;
    bool introduced;
    struct key *account_key;
    char thumbprint[KEY_THUMBPRINT_BYTES];
    struct account_record account;
    unsigned grants;
    /* what the courier has told of the CA */
    bool directory_known;
    char terms[URL_MAX_BYTES];
    bool external_account_required;
    struct strlist profiles, caa;
    char hash_prefix[256];
    bool has_renewal_info;
    /* credentials fetched for an e-mail address */
    bool credentials_known;
    char eab_kid[256], eab_hmac_key[TOKEN_MAX_BYTES];
    uint32_t last_call;
    struct keeper_call call;
    struct ari_query *queries;
    size_t n_queries;
    /* the orders under way: id = first_order_id + index of the job * STORE_PARTS + part */
    uint32_t first_order_id, next_order_id;
    struct job *jobs;
    size_t n_jobs;
    struct presenter *presenter; /* NULL but during keeper_obtain() */
    struct ledger ledger;        /* of this CA, during keeper_obtain() */
    int64_t ledger_saved_ms;
    int64_t queries_deadline_ms;
    bool account_lost; /* the CA says that it does not exist */
    struct err ca_err; /* the CA as a whole cannot be used */
};

typedef bool keeper_until_fn(const struct keeper *keeper);

/* keeper.c */
MUST_CHECK bool keeper_begin(struct keeper *keeper,
                             struct err *err); /* introduces the courier to its CA, once */
MUST_CHECK bool keeper_directory(struct keeper *keeper, struct err *err); /* until the directory is known */
MUST_CHECK bool keeper_load_key(struct keeper *keeper, struct err *err);
void keeper_say(const struct keeper *keeper, const struct job *job, const char *text);
/* Serve the children until `until` holds, the CA as a whole fails, a signal comes, or there is too long a
 * silence. */
MUST_CHECK bool keeper_serve(struct keeper *keeper, keeper_until_fn *until, struct err *err);
/* One call and its answer. False: `err`, and keeper->call has the rest. */
MUST_CHECK bool keeper_call(struct keeper *keeper, enum jws_kind kind, const char *url, struct err *err);

/* keeper_order.c: of messages about orders, and payloads that need a job */
struct job *keeper_job(struct keeper *keeper, int64_t order_id, size_t *part);
MUST_CHECK bool keeper_order_payload(struct keeper *keeper, enum jws_kind kind, struct job *job, size_t part,
                                     struct buf *out, struct err *err);
void keeper_on_order_url(struct keeper *keeper, const struct msg *msg);
MUST_CHECK bool keeper_on_present(struct keeper *keeper, const struct msg *msg, struct err *err);
void keeper_on_cleanup(struct keeper *keeper, const struct msg *msg);
void keeper_on_certificate(struct keeper *keeper, const struct msg *msg);
void keeper_on_name_failed(struct keeper *keeper, const struct msg *msg);
void keeper_on_failed(struct keeper *keeper, const struct msg *msg);

#endif
