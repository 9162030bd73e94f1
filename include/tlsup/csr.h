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

#endif
