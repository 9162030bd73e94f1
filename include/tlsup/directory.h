/*
 * directory.h - a CA's directory (RFC 8555 section 7.1.1).
 */
#ifndef TLSUP_DIRECTORY_H
#define TLSUP_DIRECTORY_H

#include "tlsup/buf.h"
#include "tlsup/err.h"
#include "tlsup/url.h"

#define DIRECTORY_CACHE_S (12 * 3600)

struct directory {
    char new_nonce[URL_MAX_BYTES];
    char new_account[URL_MAX_BYTES];
    char new_order[URL_MAX_BYTES];
    char revoke_cert[URL_MAX_BYTES];  /* optional members are "" */
    char key_change[URL_MAX_BYTES];
    char renewal_info[URL_MAX_BYTES]; /* RFC 9773 */
    char terms[URL_MAX_BYTES];        /* meta.termsOfService; may be a data: URL */
    char website[URL_MAX_BYTES];
    bool external_account_required;
    struct strlist caa_identities;    /* lower-cased; what is no domain name is left out */
    struct strlist profiles;          /* names only, of printable ASCII without spaces; others are left out */
    struct strlist issuer_names;      /* meta.issuerDomainNames (dns-persist-01, draft 2), lower-cased, at most 10 */
    char account_hash_prefix[256];    /* meta.accountHashPrefix (the same), "" = none */
};

/* Parse one. Unknown members are ignored; newNonce, newAccount and newOrder must be there and be https URLs of `url`'s origin;
 * anything else -> ERR_PROTOCOL saying what the answer looked like. `out` is cleared first. */
MUST_CHECK bool directory_parse(const char *url, const char *json, size_t len, struct directory *out, struct err *err);
void directory_clear(struct directory *directory);

#endif
