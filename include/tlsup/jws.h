/*
 * jws.h - flattened JSON JWS as ACME wants it (RFC 8555 section 6.2, RFC 7515 section 7.2.2).
 */
#ifndef TLSUP_JWS_H
#define TLSUP_JWS_H

#include "tlsup/key.h"

struct jws_header {
    const char *url;   /* required: byte-equal to the requested URL */
    const char *nonce; /* NULL leaves it out (inner JWS) */
    const char *kid;   /* the account URL; NULL puts the public key there instead ("jwk") */
};

/* Append {"protected":…,"payload":…,"signature":…} and nothing else. An empty payload (len 0) is POST-as-GET.
 */
MUST_CHECK bool jws_sign(const struct key *key, const struct jws_header *header, const char *payload,
                         size_t len, struct buf *out, struct err *err);
/* Append token || '.' || thumbprint (RFC 8555 section 8.1). The token must already have passed
 * b64url_valid(). */
MUST_CHECK bool jws_key_authorization(const struct key *key, const char *token, struct buf *out,
                                      struct err *err);

#endif
