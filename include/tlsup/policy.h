/*
 * policy.h - how long to wait, and when to stop. Pure: no clock, no randomness of its own.
 */
#ifndef TLSUP_POLICY_H
#define TLSUP_POLICY_H

#include <stdbool.h>
#include <stdint.h>

/* Kinds of failure of one request. */
enum policy_failure {
    POLICY_BAD_NONCE,     /* urn:ietf:params:acme:error:badNonce: sign again, at once */
    POLICY_CUT,           /* the connection failed or broke */
    POLICY_SERVER,        /* 5xx, or an answer that is none; 429 and 503 that do not say how long */
    POLICY_SLOW_DOWN,     /* 429 or 503 with Retry-After: as often as the deadline lets, while it is short enough (60 s) to sit out */
    POLICY_FINAL,         /* everything else: asking again cannot help */
};

struct policy_verdict {
    bool retry;
    int64_t wait_ms;
};

/* `attempt` counts from 1 (the one that failed). `retry_after_s` is -1 when the server gave none. `left_ms` is what remains until the caller's deadline:
 * a wait that would pass it is not begun. */
struct policy_verdict policy_decide(enum policy_failure failure, int attempt, int64_t retry_after_s, int64_t left_ms);

/* Milliseconds to the next poll of an authorization or order (RFC 8555 section 7.5.1). `attempt` counts the polls made since it began to be pending;
 * `retry_after_s` is from the last answer. The first poll comes early, since most CAs are done by then; later ones obey Retry-After
 * within [1 s, 60 s] or grow from 0.5 s to 5 s by themselves. `fetched`: our own responder has just served the CA. */
int64_t policy_poll_ms(int attempt, int64_t retry_after_s, bool fetched);

/* Seconds until a failed certificate is tried again: 1, 10, 100 minutes, then daily, plus up to a tenth of it by `random` (RFC-less
 * advice of Let's Encrypt). At least `retry_after_s` when that is given, up to a week. */
int64_t policy_backoff_s(int failures, int64_t retry_after_s, uint32_t random);
/* The same for a certificate that expires in `left_s`: never longer than a tenth of that, but for an hour. A day's wait would be too long for what lives for days, or is about to
 * expire. Negative, it has expired so long ago: daily again after ten days, when nobody cares. */
int64_t policy_renewal_backoff_s(int failures, int64_t retry_after_s, int64_t left_s, uint32_t random);

/* The instant from which a certificate is due for renewal: a third of its life left, or half when it lives for less than ten days. */
int64_t policy_renewal_at_s(int64_t not_before_s, int64_t not_after_s);

/* So many seconds before that instant it is: up to a hundredth of the life, by the certificate's own `seed`, so that what was issued together is not renewed together. */
int64_t policy_renewal_jitter_s(int64_t not_before_s, int64_t not_after_s, uint32_t seed);

#endif
