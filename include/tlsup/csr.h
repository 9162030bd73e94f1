/*
 * csr.h - certificate signing requests (RFC 2986, RFC 8555 section 7.4).
 */
#ifndef TLSUP_CSR_H
#define TLSUP_CSR_H

#include "tlsup/key.h"

/* Append the DER of a PKCS#10 request: empty subject, all names in subjectAltName (dNSName, or iPAddress for
 * IP text), SHA-256 (SHA-384 with P-384). Names are normalised already (name.h). */
MUST_CHECK bool csr_make(const struct key *key, const struct strlist *names, struct buf *der,
                         struct err *err);

/* A certificate for these names that their key signs itself, for a web server's test that no visitor sees the result of. Valid from a day ago until a day from now. Appends PEM. */
MUST_CHECK bool csr_self_sign(const struct key *key, const struct strlist *names, struct buf *pem, struct err *err);

/* A request made elsewhere (PEM, with anything around it, or DER): its signature is checked, its names
 * (subjectAltName, then the CN where it is a DNS name or an IP address) are normalised into `names` without
 * duplicates, the DER appended to `der`, the SHA-256 of its public key into `spki`. A key of a type that CAs
 * refuse, no name, other kinds of names, a signature that is wrong or not of SHA-2, a second request in the
 * same text -> ERR_CONFIG. `subject` is the path for errors. */
MUST_CHECK bool csr_read(const char *data, size_t len, const char *subject, struct buf *der,
                         struct strlist *names, char spki[KEY_SPKI_BYTES], struct err *err);

#endif
