/*
 * payload.h - the payloads of signed requests (RFC 8555 section 7, RFC 9773), as JSON text. All append.
 */
#ifndef TLSUP_PAYLOAD_H
#define TLSUP_PAYLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "tlsup/buf.h"

/* `email` NULL or "": no contact. `binding`: the value of externalAccountBinding (jws_external_account()),
 * NULL = none. */
void payload_new_account(const char *email, bool agree_tos, const char *binding, struct buf *out);
void payload_find_account(struct buf *out); /* {"onlyReturnExisting":true} */
/* `email` NULL: the contact stays; "": it is taken away. */
void payload_update_account(const char *email, bool agree_tos, struct buf *out);
void payload_deactivate(struct buf *out);

struct payload_order {
    const struct strlist *names;       /* DNS names and IP addresses */
    const char *profile;               /* NULL = not said; so for the rest */
    const char *replaces;              /* ARI id */
    int64_t not_before_s, not_after_s; /* 0 */
};
void payload_new_order(const struct payload_order *order, struct buf *out);
void payload_finalize(const struct buf *csr_der, struct buf *out);
void payload_revoke(const struct buf *cert_der, int reason,
                    struct buf *out); /* reason -1 = not said (RFC 5280 section 5.3.1) */

#endif
