/*
 * pkcs12.h - keys and certificates in binary forms: PKCS#12 (RFC 7292), PKCS#8, DER.
 *
 * All of these work on keys in memory; a token's key cannot be written (ERR_CRYPTO).
 */
#ifndef TLSUP_PKCS12_H
#define TLSUP_PKCS12_H

#include "tlsup/cert.h"

struct pkcs12_options {
    const char *password;      /* UTF-8; "" = an empty one */
    const char *friendly_name; /* of key and leaf; NULL = none */
    bool legacy;               /* 3DES and SHA-1, for programs that know no more */
};

/* Key, leaf and the rest of the chain, in that order; key and certificates are encrypted by PBES2 (AES-256-CBC, PBKDF2 with HMAC-SHA-256), the whole has a MAC with SHA-256. Appends; `out` must be secret. */
MUST_CHECK bool pkcs12_encode(const struct key *key, const struct cert_chain *chain, const struct pkcs12_options *options,
                              struct buf *out, struct err *err);
/* Does this file say what pkcs12_encode() would put into it? Two files that say the same are never the same bytes. Anything unreadable is a no. */
bool pkcs12_says(const void *data, size_t len, const struct key *key, const struct cert_chain *chain,
                 const struct pkcs12_options *options);

/* PKCS#8 DER, unencrypted. Appends; `out` must be secret. */
MUST_CHECK bool pkcs8_encode(const struct key *key, struct buf *out, struct err *err);
/* The certificate at this place of the chain (0 = the leaf) as DER; appends. *there is false past the last one. */
MUST_CHECK bool cert_der_at(const struct cert_chain *chain, size_t index, struct buf *out, bool *there, struct err *err);

#endif
