/*
 * order.h - the JSON objects of RFC 8555 section 7.1 as plain structs.
 */
#ifndef TLSUP_ORDER_H
#define TLSUP_ORDER_H

#include <stdint.h>

#include "tlsup/problem.h"
#include "tlsup/url.h"
#include "tlsup/buf.h"

/* Statuses of orders, authorizations and challenges in one enum: each object uses its own subset (section 7.1.6). Parsed by whole-string match. */
enum acme_status {
    ACME_UNKNOWN,
    ACME_PENDING,
    ACME_PROCESSING,
    ACME_READY,
    ACME_VALID,
    ACME_INVALID,
    ACME_DEACTIVATED,
    ACME_EXPIRED,
    ACME_REVOKED,
};
const char *acme_status_name(enum acme_status status);

enum challenge_type {
    CHALLENGE_UNKNOWN,
    CHALLENGE_HTTP_01,        /* RFC 8555 section 8.3 */
    CHALLENGE_TLS_ALPN_01,    /* RFC 8737 */
    CHALLENGE_DNS_01,         /* RFC 8555 section 8.4 */
    CHALLENGE_DNS_ACCOUNT_01, /* draft-ietf-acme-dns-account-label */
    CHALLENGE_DNS_PERSIST_01, /* draft-ietf-acme-dns-persist */
    CHALLENGE_TYPES,
};
const char *challenge_type_name(enum challenge_type type);
/* Can a challenge of this type prove such a name? Wildcards: DNS alone. IP addresses: no DNS. */
bool challenge_type_fits(enum challenge_type type, const char *name);

/* An issuer's domain name (RFC 8659 section 4.2) in lower case into `out`; false when it is not one. */
#define ISSUER_NAME_BYTES 254
bool acme_issuer_name(const char *text, char out[ISSUER_NAME_BYTES]);
/* May this be the value of a parameter in a TXT record of that syntax (no spaces, no ";", printable ASCII), and shorter than `size`? */
bool acme_issuer_value(const char *text, size_t size);

#define ORDER_MAX_AUTHORIZATIONS 200
#define AUTHORIZATION_MAX_CHALLENGES 16
#define TOKEN_MAX_BYTES 129

struct acme_order {
    enum acme_status status;
    int64_t expires_s;                /* 0 = not said */
    struct strlist names;             /* identifiers, lower-cased, IPv6 addresses in RFC 5952 text, each once */
    struct strlist authorizations;    /* URLs, all valid */
    char finalize[URL_MAX_BYTES];
    char certificate[URL_MAX_BYTES];  /* "" until valid */
    bool has_error;
    struct problem error;
};

struct acme_challenge {
    enum challenge_type type;
    enum acme_status status;
    char url[URL_MAX_BYTES];
    char token[TOKEN_MAX_BYTES];      /* base64url, checked; "" when absent or not acceptable */
    /* dns-persist-01, whose two drafts differ: `draft` 1 has "issuer-domain-names" (and "accounturi"), 2 has "issuerDomainNames"; 0 = not such a challenge, or one whose
     * names are not in order: it cannot be answered */
    int draft;
    char issuers[1024];     /* domain names, separated by spaces, 1 to 10; checked, lower-cased */
    char account_uri[512];  /* "" when not said */
};

struct acme_authorization {
    enum acme_status status;
    char identifier[256];             /* as in acme_order */
    bool wildcard;
    size_t n_challenges;              /* those of a known type with a valid URL */
    struct acme_challenge challenges[AUTHORIZATION_MAX_CHALLENGES];
    char offered[256];                /* the type words of all challenges offered, for messages */
    bool has_error;                   /* of the first challenge that has one */
    enum challenge_type error_type;
    struct problem error;
};

/* ERR_PROTOCOL with what was wrong when it is not such an object. Outputs are cleared first. */
MUST_CHECK bool acme_order_parse(const char *json, size_t len, struct acme_order *out, struct err *err);
void acme_order_clear(struct acme_order *order);
MUST_CHECK bool acme_authorization_parse(const char *json, size_t len, struct acme_authorization *out, struct err *err);

#endif
