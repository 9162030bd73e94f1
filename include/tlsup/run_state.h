/*
 * run_state.h - what a run of `renew` leaves for the next one that is about no single certificate: STATE/run.json, 0600.
 */
#ifndef TLSUP_RUN_STATE_H
#define TLSUP_RUN_STATE_H

#include <stdint.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"

/* A post hook (or a pre hook) that failed, and what it is to be told when it is tried again. */
struct hook_debt {
    char *program;
    char *user;      /* NULL = ours */
    int timeout_s;
    bool post;       /* pre hooks are not tried again by themselves: the next renewal runs them; they are here as failures */
    struct strlist renewed_names, failed_names, renewed, failed;
    int failures;
    int64_t failed_s, next_try_s;
    struct err last_error;
};

struct run_state {
    int64_t began_s, ended_s; /* the last run of `renew` */
    int64_t good_s;           /* the last one in which nothing failed */
    bool mendable;            /* what failed in the last one stands in the certificates' states, or is a debt: when none of them fails any more it is over */
    int64_t heartbeat_s;      /* the last one that was told */
    struct hook_debt *debts;
    size_t n_debts;
    struct strlist told;      /* troubles of the machine that were told ("hook /etc/...", "heartbeat"): each once until it is over */
};
#define RUN_STATE_INIT {0}

void hook_debt_clear(struct hook_debt *debt);
void run_state_clear(struct run_state *state);
void run_state_encode(const struct run_state *state, struct buf *out);
MUST_CHECK bool run_state_decode(const char *json, size_t len, const char *subject, struct run_state *out, struct err *err); /* as state_decode() */

#endif
