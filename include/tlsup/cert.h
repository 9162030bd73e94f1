/*
 * cert.h - certificate chains: parse what a CA sent, check it, describe it.
 */
#ifndef TLSUP_CERT_H
#define TLSUP_CERT_H

#include <stdint.h>

#include "tlsup/key.h"

struct cert_chain; /* heap; cert_chain_free(); leaf first */

/* What a person and the scheduler want to know of a leaf. Plain data; cert_info_clear() frees the names. */
struct cert_info {
    /* From subjectAltName: dNSName in lower case, iPAddress as text. Entries of other kinds, and contents
     * that no name can have, are left out (cert_chain_check() refuses them). */
    struct strlist names;
    int64_t not_before_s; /* seconds since 1970 */
    int64_t not_after_s;
    char serial[48];           /* lower-case hex of the DER content octets, a leading 00 kept */
    char issuer[128];          /* issuer CN, else O, else "" (made printable) */
    char key_type[32];         /* "ecdsa-p256", "rsa-2048", … */
    char sha256[65];           /* lower-case hex of the leaf's DER */
    char spki[KEY_SPKI_BYTES]; /* key_spki_sha256() of its key; of its SubjectPublicKeyInfo as it stands */
    char ari_id[128];          /* RFC 9773 4.1: b64url(AKI) "." b64url(serial), "" when there is no AKI */
};
#define CERT_INFO_INIT {0}

/* Parse 1..10 PEM certificates, 256 KiB in all; preamble, CRLF, blank lines and a missing last newline are
 * tolerated; private keys, blocks of other kinds, NULs and garbage inside a block are not (ERR_CRYPTO with
 * the line). `subject` names the source in errors, those of cert_chain_check() too. */
MUST_CHECK bool cert_chain_parse(const char *pem, size_t len, const char *subject, struct cert_chain **out,
                                 struct err *err);
void cert_chain_free(struct cert_chain *chain);
void cert_chain_free_ptr(struct cert_chain **chain);
#define AUTO_CHAIN CLEANUP(cert_chain_free_ptr) struct cert_chain

/* All that must hold before a chain is stored: the leaf's key is `key`'s; its names are exactly `names`
 * (letter case and the way an IP address is written do not matter); it is not a CA; each certificate is
 * signed by the next; and of the leaf's dates, notBefore <= now + 1 h (clock skew), notAfter > now, notAfter
 * > notBefore. Whether anybody trusts the chain is not asked. ERR_MISMATCH with the reason. `key` or `names`
 * may be NULL to skip that check. */
MUST_CHECK bool cert_chain_check(const struct cert_chain *chain, const struct key *key,
                                 const struct strlist *names, int64_t now_s, struct err *err);
MUST_CHECK bool cert_chain_info(const struct cert_chain *chain, struct cert_info *info,
                                struct err *err); /* clears `info` first */
void cert_info_clear(struct cert_info *info);
/* The issuer names of the whole chain, leaf first: the CN, else the O, else "", of each certificate's issuer
 * (made printable). The last is the root that the chain leads to. Appends. */
MUST_CHECK bool cert_chain_issuers(const struct cert_chain *chain, struct strlist *out, struct err *err);
/* The leaf's DER. Appends. */
MUST_CHECK bool cert_chain_leaf_der(const struct cert_chain *chain, struct buf *out, struct err *err);
/* Re-encoded PEM, one final newline each. Any of the outputs may be NULL; all append. */
MUST_CHECK bool cert_chain_pem(const struct cert_chain *chain, struct buf *cert, struct buf *rest,
                               struct buf *full, struct err *err);
/* SHA-256 of a DER certificate as lower-case hex. */
void cert_sha256(const void *der, size_t len, char out[65]);

#endif
