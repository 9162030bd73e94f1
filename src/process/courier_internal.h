/*
 * courier_internal.h - what the files of the courier share.
 */
#ifndef TLSUP_COURIER_INTERNAL_H
#define TLSUP_COURIER_INTERNAL_H

#include "tlsup/ca.h"
#include "tlsup/directory.h"
#include "tlsup/messages.h"
#include "tlsup/policy.h"
#include "tlsup/session.h"

enum {
    MAX_IN_FLIGHT =
        100,            /* calls being signed or sent, as many as servers of HTTP/2 take at once by default */
    WINDOW_GROWTH = 16, /* answers that widen a narrowed window by one */
    MAX_NONCE_FETCHES = MAX_IN_FLIGHT, /* where the CA has published no bound of its own */
    MANY_BAD_NONCES = 3,
    CALL_DEADLINE_MS = 4 * 60 * 1000,
    ARI_ATTEMPTS = 2,
    ARI_IN_FLIGHT = 32,
    ARI_AGAIN_MS = 1000,
    ARI_PATIENCE_S = 20,
};

enum call_state { CALL_WAITING, CALL_SIGNING, CALL_SENT };

struct order_run;

struct call {
    struct call *next;
    struct courier *courier;
    struct order_run *order; /* NULL: the keeper's own, which knows it as `asked_as` */
    uint32_t id;
    uint32_t asked_as;
    int index;
    enum jws_kind kind;
    enum call_state state;
    int failed[POLICY_FINAL + 1]; /* attempts by kind of failure */
    int64_t due_ms;               /* WAITING: not before */
    int64_t deadline_ms;
    char url[URL_MAX_BYTES];
};

struct timer {
    bool set;
    int64_t due_ms;
};

struct order_run {
    struct order_run *next;
    struct msg *held; /* PRESENTs that wait until all authorizations are read: whoever answers them is told
                         how many there are */
    size_t n_held;
    struct courier *courier;
    uint32_t id;
    struct flow flow;
    struct timer order_timer;
    struct timer *timers; /* one an authorization */
    size_t n_timers;
    enum flow_state told;
};

/* What is to be done once the directory is known. */
struct waiting_message {
    struct waiting_message *next;
    struct msg msg;
};

/* So many in a second, and so many at once after a rest: as the CA wants it. 0 a second = no bound. */
struct pace {
    int per_s, burst;
    double room;
    int64_t at_ms;
};

/* A question after renewal information: unsigned, so that it needs no nonce, but in the same bounds as all
 * others. */
struct ari_query {
    struct ari_query *next; /* waiting */
    struct courier *courier;
    uint32_t id;
    int attempts;
    int64_t due_ms;
    char url[URL_MAX_BYTES];
};

struct courier {
    int fd;
    const struct ca *ca;
    struct pace requests, new_nonces;
    size_t window;    /* calls in flight at most, now */
    size_t answers;   /* good ones since it was last widened */
    int64_t pause_ms; /* nothing is sent before: the CA has asked us to slow down */
    struct outbox outbox;
    struct http *http;
    struct session session;
    struct directory directory;
    char directory_url[URL_MAX_BYTES];
    bool directory_known;
    bool clock_told; /* how this machine's clock differs from the CA's */
    int directory_attempts;
    int64_t directory_due_ms; /* 0 = no fetch is to be begun */
    int nonce_fetches, nonce_attempts;
    int64_t nonce_due_ms;
    struct call *calls;
    struct ari_query *ari_waiting;
    size_t ari_in_flight;
    struct order_run *orders;
    struct waiting_message *waiting;
    uint32_t last_id;
};

static inline int64_t courier_sooner(int64_t a_ms, int64_t b_ms)
{
    return a_ms < b_ms ? a_ms : b_ms;
}

/* courier.c: to the keeper */
NORETURN void courier_leave(struct courier *courier, int status);
void courier_tell(struct courier *courier, const struct msg *msg); /* queued: never waits */
void courier_tell_failed(struct courier *courier, uint32_t id, const struct err *err);
void courier_tell_clock(struct courier *courier, const struct http_response *response); /* may be NULL */

/* courier_calls.c */
void courier_pace_init(struct pace *pace, int per_s, int burst);
bool courier_pace_take(struct pace *pace);
int64_t courier_pace_wait_ms(const struct pace *pace); /* until there is room for one */
/* `order` NULL: the keeper's own call. */
struct call *courier_call_new(struct courier *courier, struct order_run *order, enum jws_kind kind, int index,
                              const char *url);
void courier_call_refused(struct courier *courier, uint32_t asked_as, const char *location,
                          const struct err *err);
bool courier_same_origin(const struct courier *courier, const char *url);
void courier_fetch_nonces(struct courier *courier, size_t needed);
void courier_move_calls(struct courier *courier); /* give nonces to the calls whose time has come */
void courier_signed(struct courier *courier, const struct msg *msg); /* MSG_SIGNED, MSG_REFUSED */

/* courier_orders.c */
struct order_run *courier_order_find(struct courier *courier, uint32_t id);
void courier_step(struct order_run *run, const struct flow_event *event);
void courier_fire_timers(struct courier *courier);
int64_t courier_orders_due_ms(const struct courier *courier, int64_t due_ms);
void courier_begin_order(struct courier *courier, const struct msg *msg);
void courier_presented(struct courier *courier, const struct msg *msg);
void courier_cancel(struct courier *courier, const struct msg *msg);

/* courier_asks.c */
void courier_begin_ari(struct courier *courier, const struct msg *msg);
void courier_move_ari(struct courier *courier);
int64_t courier_ari_due_ms(const struct courier *courier, int64_t due_ms);
void courier_fetch_credentials(struct courier *courier, const struct msg *msg);

#endif
