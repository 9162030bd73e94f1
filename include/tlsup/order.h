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

enum challenge_type { CHALLENGE_UNKNOWN, CHALLENGE_HTTP_01, CHALLENGE_TLS_ALPN_01, CHALLENGE_DNS_01 };
const char *challenge_type_name(enum challenge_type type);

#define ORDER_MAX_AUTHORIZATIONS 200
#define AUTHORIZATION_MAX_CHALLENGES 16
#define TOKEN_MAX_BYTES 129

struct acme_order {
    enum acme_status status;
    int64_t expires_s;                /* 0 = not said */
    struct strlist names;             /* identifiers as the CA wrote them, lower-cased; type dns and ip */
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
    bool has_error;
    struct problem error;
};

struct acme_authorization {
    enum acme_status status;
    char identifier[256];
    bool wildcard;
    size_t n_challenges;              /* those of a known type with a valid URL */
    struct acme_challenge challenges[AUTHORIZATION_MAX_CHALLENGES];
    char offered[256];                /* the type words of all challenges offered, for messages */
};

/* ERR_PROTOCOL with what was wrong when it is not such an object. Outputs are cleared first. */
MUST_CHECK bool acme_order_parse(const char *json, size_t len, struct acme_order *out, struct err *err);
void acme_order_clear(struct acme_order *order);
MUST_CHECK bool acme_authorization_parse(const char *json, size_t len, struct acme_authorization *out, struct err *err);

#endif
