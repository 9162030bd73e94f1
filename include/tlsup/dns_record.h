/*
 * dns_record.h - the TXT records that prove names, and CAA: pure text, no network.
 */
#ifndef TLSUP_DNS_RECORD_H
#define TLSUP_DNS_RECORD_H

#include <stdint.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"
#include "tlsup/order.h"

#define DNS_NAME_BYTES 264

/* Where the record of a challenge belongs: "_acme-challenge.example.org" (dns-01), "_ujmmovf2vn55tgye._acme-challenge.example.org" (dns-account-01, from the account's URL),
 * "_validation-persist.example.org"; "*." is left out. ERR_NAME when it would be over 253 octets, or the name is an address. */
MUST_CHECK bool dns_record_name(enum challenge_type type, const char *name, const char *account_url, char out[DNS_NAME_BYTES],
                                struct err *err);
/* base64url(SHA-256(key authorization)): the value for dns-01 and dns-account-01 (and what tls-alpn-01 hooks want). */
#define DNS_VALUE_BYTES 44
void dns_record_value(const char *key_authorization, char out[DNS_VALUE_BYTES]);

/* -- dns-persist-01 -- */

struct dns_persist {
    int draft;                /* 1 or 2 */
    const char *issuers;      /* acceptable issuer names, separated by spaces */
    const char *account_uri;  /* draft 1: as the challenge gave it, else the account's URL; draft 2: made by dns_persist_uri() */
    const char *any_uri;      /* draft 2: the one for domain "*", also accepted; NULL otherwise */
    bool wildcard;            /* the name to be proven is one */
};
/* Draft 2: `<prefix>sha-256/` + base64url(SHA-256(one octet of domain length || domain || thumbprint, the 43 characters || account URL)). `domain` may be "*". Appends. */
void dns_persist_uri(const char *prefix, const char *domain, const char *thumbprint, const char *account_url, struct buf *out);
/* The record to be made: `issuer; accounturi=...[; policy=wildcard][; persistUntil=...]`. until_s 0 = none. Appends. */
void dns_persist_text(const struct dns_persist *want, int64_t until_s, struct buf *out);
/* Does one of these TXT values do at `now_s`? RFC 8659 issue-value syntax; tags and policy in any case, the account's URI exact, no tag twice, unknown tags ignored. On
 * success *until_s is the furthest persistUntil among those that do (0 = for ever). Otherwise ERR_CONFIG says, for the value that comes nearest, what is wrong with it. */
MUST_CHECK bool dns_persist_check(const struct dns_persist *want, const struct strlist *values, int64_t now_s, int64_t *until_s,
                                  struct err *err);

/* -- CAA (RFC 8659, RFC 8657) -- */

struct dns_caa {
    int flags;
    char tag[16];
    char value[512];
};
/* May this CA issue? `records` is the relevant set (n 0 = everybody may). A wildcard goes by issuewild where there is one. `identities` of the CA; empty = not
 * known, then only "nobody may" is found out. account_url NULL or "", or method CHALLENGE_UNKNOWN: not known yet, not judged. accounturi and validationmethods are obeyed; a critical property that is unknown forbids. ERR_CONFIG
 * says which record stands in the way, and what it would have to be. */
MUST_CHECK bool dns_caa_allows(const struct dns_caa *records, size_t n, const char *name, const struct strlist *identities,
                               const char *account_url, enum challenge_type method, struct err *err);

#endif
