/*
 * b64.h - base64url without padding (RFC 4648 section 5, RFC 7515 section 2).
 */
#ifndef TLSUP_B64_H
#define TLSUP_B64_H

#include <stdbool.h>
#include <stddef.h>

#include "tlsup/buf.h"

void b64url_encode(const void *data, size_t len, struct buf *out); /* appends */
/* Appends the decoded bytes. Strict: only the alphabet, no padding, no bits left over; false otherwise. */
MUST_CHECK bool b64url_decode(const char *text, size_t len, struct buf *out);
/* Is it 1..max characters of the base64url alphabet? (Tokens, nonces: checked before any use, RFC 8555 8.3.)
 */
bool b64url_valid(const char *text, size_t max);

#endif
