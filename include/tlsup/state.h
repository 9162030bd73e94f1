/*
 * state.h - what we write about one certificate as things happen: state/NAME.json.
 *
 * Unknown members are ignored, missing ones are zero: older and newer versions can share a state directory.
 */
#ifndef TLSUP_STATE_H
#define TLSUP_STATE_H

#include <stdint.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"

/* How far the live version has come. A step that failed is tried again by the next run. */
enum deploy_step { DEPLOY_NONE, DEPLOY_ISSUED, DEPLOY_INSTALLED, DEPLOY_RELOADED, DEPLOY_VERIFIED };

struct cert_state {
    /* the order in flight, "" = none */
    char order_url[512];
    char order_ca[512];        /* the directory URL it belongs to */
    struct strlist order_names;
    int64_t order_created_s;
    /* the live certificate */
    int version;               /* the version that `step` speaks of; 0 = none */
    enum deploy_step step;
    int64_t issued_s;
    int64_t verified_s;
    char issued_by[512];       /* the directory URL that issued it */
    /* failures since the last success */
    int failures;
    int64_t failed_s;
    int64_t next_try_s;        /* not before; 0 = any time */
    struct err last_error;     /* code ERR_NONE = none */
};
#define CERT_STATE_INIT {0}

void cert_state_clear(struct cert_state *state);
const char *deploy_step_name(enum deploy_step step); /* "none", "issued", "installed", "reloaded", "verified" */
/* JSON text. state_decode() clears `out` first; malformed JSON -> ERR_CONFIG with line and column; `subject` names the file. */
void state_encode(const struct cert_state *state, struct buf *out);
MUST_CHECK bool state_decode(const char *json, size_t len, const char *subject, struct cert_state *out, struct err *err);

#endif
