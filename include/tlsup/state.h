/*
 * state.h - what we write as things happen: about one certificate (state/NAME.json), about our account at a CA (account.json).
 *
 * Unknown members are ignored, missing ones are zero: older and newer versions can share a state directory.
 */
#ifndef TLSUP_STATE_H
#define TLSUP_STATE_H

#include <stdint.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"
#include "tlsup/key.h"

/* How far the live version has come. A step that failed is tried again by the next run. */
enum deploy_step { DEPLOY_NONE, DEPLOY_ISSUED, DEPLOY_INSTALLED, DEPLOY_RELOADED, DEPLOY_VERIFIED };

/* What else than the web server gets each version: a deploy hook, a standing export, a look whether it is served. */
enum deployment_kind { DEPLOYMENT_HOOK, DEPLOYMENT_EXPORT, DEPLOYMENT_VERIFY, DEPLOYMENT_KINDS };
struct deployment {
    enum deployment_kind kind;
    char *what;      /* the program's path, the export as it is configured, the target */
    int wanted;      /* the version that it is to be done for */
    int version;     /* the one that it was last done for; == wanted: nothing to do. 0 = none */
    int64_t done_s;
    int failures;    /* since it was last done */
    int64_t failed_s, next_try_s;
    struct err last_error;
};
const char *deployment_kind_name(enum deployment_kind kind); /* "hook", "export", "verify" */

/* How bad it is for a certificate, as notifications tell it: each change of it once. */
enum alarm {
    ALARM_NONE,
    ALARM_FAILING, /* something failed: renewal, web server, hook, export */
    ALARM_URGENT,  /* and less than a tenth of its life is left */
    ALARM_EXPIRED,
};
const char *alarm_name(enum alarm alarm); /* "none", "failing", "urgent", "expired" */

/* An order in flight, `url` "" = none. */
struct order_state {
    char url[512];
    char ca[512];              /* the directory URL it belongs to */
    char account[512];         /* the account's URL */
    struct strlist names;
    int64_t created_s;
};

/* What the CA says of when to renew (RFC 9773). */
struct ari_state {
    char cert_id[128];         /* of the certificate that this is about; "" = nothing known */
    char ca[512];
    int64_t start_s, end_s;    /* the window; 0 = none */
    int64_t chosen_s;          /* the instant within it */
    int64_t next_check_s;
    int failures;              /* look-ups that failed in a row */
    char explanation_url[512];
};

struct cert_state {
    struct order_state orders[2]; /* [1]: that of the second key of a dual certificate */
    /* the live certificate */
    int version;               /* the version that `step` speaks of; 0 = none */
    enum deploy_step step;
    int64_t issued_s;
    int64_t verified_s;
    struct strlist places;     /* "FILE:LINE" of the web server's sites that it was proven in; for people */
    char issued_by[512];       /* the directory URL that issued it */
    char issued_account[512];  /* and the account */
    char replaced_id[128];     /* ARI id of a certificate whose `replaces` has been used */
    bool revoked;              /* the live one is, by us */
    struct strlist missing;    /* names wanted that the live certificate lacks (partial) */
    int64_t missing_try_s;     /* when they are tried again */
    int missing_failures;
    int64_t persist_until_s;   /* the earliest persistUntil among its dns-persist-01 records, 0 = none known */
    struct ari_state ari;
    /* failures since the last success */
    int failures;
    int64_t failed_s;
    int64_t next_try_s;        /* not before; 0 = any time */
    struct err last_error;     /* code ERR_NONE = none */
    struct deployment *deployments;
    size_t n_deployments;
    enum alarm told;           /* what was last told about it */
    int64_t told_s;
};
#define CERT_STATE_INIT {0}

void cert_state_clear(struct cert_state *state);
const char *deploy_step_name(enum deploy_step step); /* "none", "issued", "installed", "reloaded", "verified" */
/* JSON text. state_decode() replaces `out`, on success only; malformed JSON -> ERR_CONFIG with line and column, a member of the wrong kind or
 * size -> ERR_CONFIG naming it; `subject` names the file. An error word of a newer version reads as ERR_INTERNAL. */
void state_encode(const struct cert_state *state, struct buf *out); /* without what hooks have printed (quote.h): everybody may read it */
/* What is left out there, as JSON text for root alone; nothing where no hook has printed anything. Appends. */
void state_encode_output(const struct cert_state *state, struct buf *out);
/* Put it back where the texts are those that it was taken from; what is damaged, or of an older state, is ignored. */
void state_add_output(const char *json, size_t len, struct cert_state *state);
MUST_CHECK bool state_decode(const char *json, size_t len, const char *subject, struct cert_state *out, struct err *err);

struct account_record {
    char server[512];     /* the directory URL */
    char url[512];        /* the account URL (kid), "" = not registered */
    char status[16];      /* "valid", "deactivated" */
    char eab_kid[256];    /* external account binding that it was registered with: for registering again */
    char eab_hmac_key[512];
    char eab_alg[8];
    char email[256];      /* contact last sent, "" = none */
    char tos[512];        /* terms of service URL agreed to */
    int64_t created_s;
    char thumbprint[KEY_THUMBPRINT_BYTES];   /* of the key that it was registered with */
};
void account_encode(const struct account_record *record, struct buf *out);
MUST_CHECK bool account_decode(const char *json, size_t len, const char *subject, struct account_record *out, struct err *err);

#endif
