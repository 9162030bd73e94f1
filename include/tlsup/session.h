/*
 * session.h - nonces of one CA (RFC 8555 section 6.5): the only place that knows them.
 */
#ifndef TLSUP_SESSION_H
#define TLSUP_SESSION_H

#include <stdbool.h>
#include <stddef.h>

#define SESSION_NONCE_BYTES 512
#define SESSION_MAX_NONCES 128

struct session {
    size_t n;
    char nonce[SESSION_MAX_NONCES][SESSION_NONCE_BYTES];
};

/* Keep a nonce from a response; what is not base64url is dropped, of too many the oldest goes. A nonce already held is not kept twice (a proxy that repeats itself). */
void session_put(struct session *session, const char *nonce);
/* Take the newest (CAs expire old ones); false when there is none. */
bool session_take(struct session *session, char out[SESSION_NONCE_BYTES]);
/* After badNonce: what we hold is as suspect as what was refused. */
void session_drop_all(struct session *session);

#endif
