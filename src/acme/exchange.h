/*
 * exchange.h - what --debug shows of an exchange with the CA: the JSON, without what is secret or says nothing. Internal to acme/.
 */
#ifndef TLSUP_ACME_EXCHANGE_H
#define TLSUP_ACME_EXCHANGE_H

#include "tlsup/buf.h"

/* A signed request (a flattened JWS): its protected header with the nonce cut short, and its payload; no signature, no external account binding. What is no JWS is not shown. Appends. */
void exchange_request(const char *jws, size_t len, struct buf *out);
/* An answer's body: JSON in one line, without an external account binding; other text as it came, of certificates the size alone. Appends. */
void exchange_answer(const char *content_type, const char *body, size_t len, struct buf *out);
/* The first letters of a nonce, "" of none. Appends. */
void exchange_nonce(const char *nonce, struct buf *out);

#endif
