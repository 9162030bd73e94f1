/*
 * payload.h - the payloads of signed requests. The keeper makes each of them itself, from what the command is about: a courier gone wrong
 * can choose when to ask, never what is signed.
 */
#ifndef TLSUP_PROCESS_PAYLOAD_H
#define TLSUP_PROCESS_PAYLOAD_H

#include "tlsup/buf.h"

/* All append compact JSON. */
void payload_new_account(const char *email, bool agree_tos, struct buf *out); /* RFC 8555 section 7.3; email may be NULL or "" */
void payload_find_account(struct buf *out);                                   /* section 7.3.1 */
void payload_new_order(const struct strlist *names, struct buf *out);         /* section 7.4; dns or ip by the look of the name */
void payload_finalize(const struct buf *csr_der, struct buf *out);            /* section 7.4 */

#endif
