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
/* The value of newAccount's "externalAccountBinding" (RFC 8555 section 7.3.4): a flattened JWS over
 * `account_key`'s public JWK, with alg, kid and url, no nonce. `hmac_key` is what the CA gave: base64url or
 * standard base64, padded or not, white space anywhere, or that wrapped in base64 once more (told by the
 * decoded text being base64 of 16 bytes or more itself; text of hexadecimal digits alone is taken as the
 * secret). `alg` is "HS256" (NULL = that), "HS384" or "HS512". No kid, another alg, a key that is not base64
 * or under 16 bytes
 * -> ERR_CONFIG, without the key. */
MUST_CHECK bool jws_external_account(const struct key *account_key, const char *url, const char *kid,
                                     const char *hmac_key, const char *alg, struct buf *out, struct err *err);
/* The inner JWS of keyChange (section 7.3.5): signed by `new_key` with its jwk, over {"account":...,
 * "oldKey":...}, no nonce. It is the payload of the outer one. */
MUST_CHECK bool jws_key_change(const struct key *new_key, const struct key *old_key, const char *url,
                               const char *account_url, struct buf *out, struct err *err);

#endif
