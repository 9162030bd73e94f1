/*
 * flow.h - one certificate order as a pure step function: (state, event) -> actions.
 *
 * No I/O, no clock, no keys: the courier carries out the actions and reports back as events. So each row of RFC 8555 section 7.1.6 and 7.4
 * is a unit test.
 *
 *   NEW -> ORDERING -> AUTHORIZING -> CHALLENGING -> FINALIZING -> PROCESSING -> DOWNLOADING -> DONE
 *                                                                                            \-> FAILED (from anywhere)
 */
#ifndef TLSUP_FLOW_H
#define TLSUP_FLOW_H

#include "tlsup/http.h"
#include "tlsup/order.h"

/* What a signed request is for. The keeper builds the payload from this alone; the courier never chooses one. */
enum jws_kind {
    JWS_NEW_ACCOUNT,      /* section 7.3, signed with jwk */
    JWS_FIND_ACCOUNT,     /* section 7.3.1, onlyReturnExisting */
    JWS_READ,             /* POST-as-GET, section 6.3 */
    JWS_NEW_ORDER,        /* section 7.4, with `replaces` (RFC 9773) and `profile` where the keeper has them */
    JWS_NEW_ORDER_NO_REPLACES, /* the same without `replaces` */
    JWS_NEW_ORDER_PLAIN,  /* with neither */
    JWS_RESPOND,          /* {}, section 7.5.1 */
    JWS_FINALIZE,         /* section 7.4, the CSR */
    JWS_UPDATE_ACCOUNT,   /* section 7.3.2, contact and terms */
    JWS_DEACTIVATE,       /* section 7.3.6 */
    JWS_KEY_CHANGE,       /* section 7.3.5 */
    JWS_REVOKE,           /* section 7.6, by an account */
    JWS_REVOKE_BY_KEY,    /* the same, signed by the certificate's own key */
    JWS_KINDS,            /* how many */
};
const char *jws_kind_name(enum jws_kind kind); /* for people: "new order" */

enum flow_state {
    FLOW_NEW,
    FLOW_ORDERING,      /* newOrder, or reading a known order, is under way */
    FLOW_AUTHORIZING,   /* authorizations are being read */
    FLOW_CHALLENGING,   /* challenges are provisioned, triggered, polled */
    FLOW_FINALIZING,    /* finalize is under way */
    FLOW_PROCESSING,    /* the CA works; the order is polled */
    FLOW_DOWNLOADING,
    FLOW_DONE,
    FLOW_FAILED,
};
const char *flow_state_name(enum flow_state state);

/* The index of an action or event: an authorization's, or the order itself. */
#define FLOW_ORDER_INDEX (-1)
#define FLOW_NAME_BYTES 264 /* "*." and an identifier */

enum flow_event_type {
    FLOW_START,         /* begin: newOrder, or the order at `resume_url` */
    FLOW_RESPONSE,      /* a request succeeded (2xx) */
    FLOW_ERROR,         /* a request failed for good; `err` says why */
    FLOW_PRESENTED,     /* the challenge of authorization `index` can be fetched now */
    FLOW_NOT_PRESENTED, /* it could not be provisioned; `err` */
    FLOW_FETCHED,       /* our responder has served `token` */
    FLOW_TIMER,         /* the timer of `index` went off */
    FLOW_ABORT,         /* stop: clean up */
};

struct flow_event {
    enum flow_event_type type;
    enum jws_kind request;                /* RESPONSE, ERROR */
    int index;                            /* RESPONSE, ERROR, PRESENTED, NOT_PRESENTED, TIMER */
    const struct http_response *response; /* RESPONSE */
    const struct err *err;                /* ERROR, NOT_PRESENTED, ABORT */
    const struct problem *problem;        /* ERROR: what the CA sent, NULL where it sent none */
    const char *token;                    /* FETCHED */
    int64_t now_ms;                       /* a monotonic clock: for deadlines */
};

enum flow_action_type {
    FLOW_REQUEST,   /* sign `request` for `url` and send it */
    FLOW_PRESENT,   /* make the answer to the challenge of `name` findable: `challenge`, `token`, for dns-persist-01 `persist` */
    FLOW_CLEANUP,   /* take it away again; `failed`: it did not convince the CA, or was never tried */
    FLOW_NAME_FAILED, /* `name` (one of those ordered) is among those because of which the order is given up, `err` says why; each once, before GAVE_UP */
    FLOW_SET_TIMER, /* FLOW_TIMER for `index` after `wait_ms`; replaces an earlier one of the same index */
    FLOW_ORDER_URL, /* remember `url`: the order in flight; "" = there is none any more */
    FLOW_FINISHED,  /* `chains` are there */
    FLOW_GAVE_UP,   /* `err` is why */
};

/* What dns-persist-01 says of the record that it wants (order.h). */
struct flow_persist {
    int draft;
    char issuers[1024];
    char account_uri[512];
};

struct flow_action {
    enum flow_action_type type;
    enum jws_kind request;
    int index;
    int64_t wait_ms;
    enum challenge_type challenge;
    char url[URL_MAX_BYTES];
    char name[FLOW_NAME_BYTES];
    char token[TOKEN_MAX_BYTES];
    bool failed;
    struct flow_persist persist;
    struct err err;
};

enum flow_authorization_state {
    AUTH_READING,      /* being read for the first time */
    AUTH_PRESENTING,
    AUTH_PRESENTED,    /* waits until all are */
    AUTH_TRIGGERING,   /* {} is on its way */
    AUTH_POLLING,
    AUTH_VALID,
    AUTH_FAILED,
};

struct flow_authorization {
    enum flow_authorization_state state;
    char url[URL_MAX_BYTES];
    char name[FLOW_NAME_BYTES];
    struct acme_challenge *offers; /* those that can be answered here, in our order of preference */
    size_t n_offers, offer; /* the present one; a failed provision goes on to the next */
    struct buf tried;       /* what has come of the offers before it, a line each */
    bool presented;         /* a CLEANUP is owed */
    bool asking;            /* a poll is under way */
    bool fetched;           /* our responder has served its token */
    bool refused;           /* the CA would not begin to check, says `failure` */
    bool blameless;         /* FAILED, but for the sake of the line or the account, not of the name */
    bool stale;             /* FAILED, but a fresh order may do: deactivated, expired, revoked, or refused in an earlier run */
    int polls;
    int64_t retry_after_s;
    struct err failure;
};

struct flow {
    enum flow_state state;
    struct strlist names;             /* what is ordered, normalised */
    char directory_url[URL_MAX_BYTES];
    char new_order_url[URL_MAX_BYTES];
    char order_url[URL_MAX_BYTES];    /* also the one to resume; "" = new */
    char finalize_url[URL_MAX_BYTES];
    char certificate_url[URL_MAX_BYTES];
    enum challenge_type challenges[CHALLENGE_TYPES]; /* the types that can be answered here, in order of preference */
    size_t n_challenges;
    enum jws_kind order_kind;         /* the form of newOrder that is tried now */
    bool has_replaces, may_drop_profile, all_chains;
    bool resumed;
    int restarts;                     /* orders abandoned for a fresh one */
    int finalizes;
    int polls;                        /* of the order since finalize */
    int empty_polls;                  /* that found it valid, but without a certificate URL */
    bool asking;                      /* a poll of the order is under way */
    int64_t retry_after_s;
    int64_t deadline_ms;              /* of the present phase */
    struct flow_authorization *authorizations;
    size_t n_authorizations;
    struct buf *chains;               /* DONE: PEM as it was sent, the CA's default first */
    size_t n_chains;
    struct strlist alternates;        /* still to be downloaded */
    struct err err;                   /* FAILED */
};

/* How long a phase may take, whatever the CA says. Past it the order stays as it is, and a later run resumes it. */
#define FLOW_CHALLENGE_DEADLINE_MS (5 * 60 * 1000)
#define FLOW_PROCESSING_DEADLINE_MS (5 * 60 * 1000)

struct flow_options {
    const struct strlist *names;
    const char *directory_url;
    const char *new_order_url;
    const char *resume_url;            /* "" or NULL: a new order */
    enum challenge_type challenges[CHALLENGE_TYPES];
    size_t n_challenges;
    bool has_replaces;                 /* JWS_NEW_ORDER carries it: a refusal that is not about names, rate limits or the account is tried once more without */
    bool may_drop_profile;             /* it carries a profile that is only preferred: invalidProfile (at newOrder or at finalize), and what older CAs say instead, is tried once more without */
    bool all_chains;                   /* download the alternates too (at most 8; https, the CA's origin, none twice; one that fails is left out) */
};
void flow_init(struct flow *flow, const struct flow_options *options);
void flow_clear(struct flow *flow);

/* The actions of one step, in the order in which they are to be carried out. */
struct flow_actions {
    struct flow_action *v;
    size_t n;
};
void flow_actions_clear(struct flow_actions *actions);
/* Take one step. Events that do not fit the state (a late answer, a timer of a finished authorization) change nothing. Appends to `actions`. */
void flow_step(struct flow *flow, const struct flow_event *event, struct flow_actions *actions);

#endif
