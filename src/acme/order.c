#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/order.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "tlsup/b64.h"
#include "tlsup/clock.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

enum { MAX_CHALLENGES_READ = 64, MAX_ISSUERS = 10, LABEL_MAX_BYTES = 63 };

static const char *const status_names[] = {
    [ACME_UNKNOWN] = "unknown",
    [ACME_PENDING] = "pending",
    [ACME_PROCESSING] = "processing",
    [ACME_READY] = "ready",
    [ACME_VALID] = "valid",
    [ACME_INVALID] = "invalid",
    [ACME_DEACTIVATED] = "deactivated",
    [ACME_EXPIRED] = "expired",
    [ACME_REVOKED] = "revoked",
};

static const char *const type_names[] = {
    [CHALLENGE_UNKNOWN] = "unknown",
    [CHALLENGE_HTTP_01] = "http-01",
    [CHALLENGE_TLS_ALPN_01] = "tls-alpn-01",
    [CHALLENGE_DNS_01] = "dns-01",
    [CHALLENGE_DNS_ACCOUNT_01] = "dns-account-01",
    [CHALLENGE_DNS_PERSIST_01] = "dns-persist-01",
};
_Static_assert(COUNT_OF(type_names) == CHALLENGE_TYPES, "every type has a name");

/* What a type can prove beside plain DNS names, which all can. */
static const struct {
    bool wildcards, addresses;
} abilities[CHALLENGE_TYPES] = {
    [CHALLENGE_HTTP_01] = {.addresses = true},        [CHALLENGE_TLS_ALPN_01] = {.addresses = true},
    [CHALLENGE_DNS_01] = {.wildcards = true},         [CHALLENGE_DNS_ACCOUNT_01] = {.wildcards = true},
    [CHALLENGE_DNS_PERSIST_01] = {.wildcards = true},
};

const char *acme_status_name(enum acme_status status)
{
    return (size_t)status < COUNT_OF(status_names) ? status_names[status] : status_names[ACME_UNKNOWN];
}

const char *challenge_type_name(enum challenge_type type)
{
    return (size_t)type < COUNT_OF(type_names) ? type_names[type] : type_names[CHALLENGE_UNKNOWN];
}

bool challenge_type_fits(enum challenge_type type, const char *name)
{
    if (type == CHALLENGE_UNKNOWN || (size_t)type >= COUNT_OF(abilities))
        return false;
    return (abilities[type].wildcards || !name_is_wildcard(name)) &&
           (abilities[type].addresses || !name_is_ip(name));
}

/* The index of a whole word in a table whose first row is "unknown". */
static size_t word_index(const char *word, const char *const *table, size_t n)
{
    for (size_t i = 1; word != NULL && i < n; i++)
        if (strcmp(word, table[i]) == 0)
            return i;
    return 0;
}

static enum acme_status status_of(const json_t *object)
{
    return (enum acme_status)word_index(acme_json_string(object, "status"), status_names,
                                        COUNT_OF(status_names));
}

static bool error_of(const json_t *object, struct problem *out)
{
    const json_t *error = json_object_get(object, "error");
    if (!json_is_object(error))
        return false;
    AUTO_FREE char *text = json_dumps(error, 0);
    if (text == NULL)
        return false;
    problem_parse_json(text, out);
    return true;
}

static void lower_case(char *text)
{
    for (char *c = text; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
}

/* A name as we write it: an IPv6 address has many texts, and a CA may choose another one. */
static void canonical(const char *value, char *out, size_t size)
{
    struct err ignored = ERR_INIT;
    char address[NAME_MAX_BYTES];
    bool is_address = strchr(value, ':') != NULL && name_normalize(value, address, &ignored);
    snprintf(out, size, "%s", is_address ? address : value);
    lower_case(out);
}

static void add_identifier(struct acme_order *out, const char *value)
{
    char name[256];
    canonical(value, name, sizeof name);
    if (!strlist_has(&out->names, name)) /* twice the same must not stand for one that is missing */
        strlist_add(&out->names, name);
}

void acme_order_clear(struct acme_order *order)
{
    strlist_clear(&order->names);
    strlist_clear(&order->authorizations);
    *order = (struct acme_order){0};
}

static bool parse_identifiers(const json_t *object, struct acme_order *out, struct err *err)
{
    const json_t *identifiers = json_object_get(object, "identifiers");
    for (size_t i = 0; i < json_array_size(identifiers); i++) {
        const char *value = acme_json_string(acme_json_at(identifiers, i), "value");
        if (value == NULL || strlen(value) > 255 || i >= ORDER_MAX_AUTHORIZATIONS)
            return err_set(err, ERR_PROTOCOL, NEXT_RETRY_LATER, NULL,
                           "the order's list of identifiers is malformed");
        add_identifier(out, value);
    }
    return true;
}

static bool parse_authorizations(const json_t *object, struct acme_order *out, struct err *err)
{
    const json_t *urls = json_object_get(object, "authorizations");
    if (json_array_size(urls) > ORDER_MAX_AUTHORIZATIONS)
        return err_set(err, ERR_PROTOCOL, NEXT_RETRY_LATER, NULL, "the order has more than %d authorizations",
                       ORDER_MAX_AUTHORIZATIONS);
    for (size_t i = 0; i < json_array_size(urls); i++) {
        const char *url = json_string_value(acme_json_at(urls, i));
        if (url == NULL || !url_valid(url))
            return err_set(err, ERR_PROTOCOL, NEXT_RETRY_LATER, NULL,
                           "an authorization of the order is not an https URL");
        strlist_add(&out->authorizations, url);
    }
    return true;
}

bool acme_order_parse(const char *json, size_t len, struct acme_order *out, struct err *err)
{
    acme_order_clear(out);
    AUTO_JSON *object = acme_json(json, len, "the order", err);
    if (object == NULL)
        return false;
    out->status = status_of(object);
    if (out->status == ACME_UNKNOWN)
        return err_set(err, ERR_PROTOCOL, NEXT_RETRY_LATER, NULL, "the order has no known status");
    const char *expires = acme_json_string(object, "expires");
    if (expires == NULL || !clock_parse_rfc3339(expires, &out->expires_s))
        out->expires_s = 0;
    (void)acme_json_url(object, "finalize", out->finalize, sizeof out->finalize);
    (void)acme_json_url(object, "certificate", out->certificate, sizeof out->certificate);
    out->has_error = error_of(object, &out->error);
    return parse_identifiers(object, out, err) && parse_authorizations(object, out, err);
}

static void add_offered(struct acme_authorization *out, const char *type)
{
    size_t len = strlen(out->offered);
    snprintf(out->offered + len, sizeof out->offered - len, "%s%s", len > 0 ? ", " : "", type);
    printable(out->offered);
}

bool acme_issuer_name(const char *text, char out[ISSUER_NAME_BYTES])
{
    size_t len = strlen(text), label = 0;
    if (len == 0 || len >= ISSUER_NAME_BYTES)
        return false;
    for (size_t i = 0; i <= len; i++) {
        char c = text[i];
        bool end = c == '.' || c == '\0';
        if (end && (label == 0 || label > LABEL_MAX_BYTES || text[i - 1] == '-'))
            return false;
        if (!end && !isalnum((unsigned char)c) && (c != '-' || label == 0))
            return false;
        label = end ? 0 : label + 1;
    }
    memcpy(out, text, len + 1);
    lower_case(out);
    return true;
}

bool acme_issuer_value(const char *text, size_t size)
{
    for (const char *c = text; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~' || *c == ';')
            return false;
    return strlen(text) < size;
}

/* All of them must be in order, as one that is not may be a try to smuggle something into a record. */
static bool parse_issuers(const json_t *array, char *out, size_t size)
{
    char name[ISSUER_NAME_BYTES];
    size_t n = json_array_size(array), len = 0;
    if (n < 1 || n > MAX_ISSUERS)
        return false;
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(acme_json_at(array, i));
        if (text == NULL || !acme_issuer_name(text, name))
            return false;
        if (len + strlen(name) + 2 <= size) /* any one of them will do */
            len += (size_t)snprintf(out + len, size - len, "%s%s", len > 0 ? " " : "", name);
    }
    return true;
}

static void parse_persist(const json_t *object, struct acme_challenge *out)
{
    const json_t *first = json_object_get(object, "issuer-domain-names");
    const json_t *second = json_object_get(object, "issuerDomainNames");
    const char *account = acme_json_string(object, "accounturi");
    int draft = json_is_array(first) ? 1 : 2;
    if (!parse_issuers(draft == 1 ? first : second, out->issuers, sizeof out->issuers)) {
        out->issuers[0] = '\0';
        return;
    }
    out->draft = draft;
    if (draft == 1 && account != NULL && url_valid(account) &&
        acme_issuer_value(account, sizeof out->account_uri))
        snprintf(out->account_uri, sizeof out->account_uri, "%s", account);
}

static void parse_challenge(const json_t *object, struct acme_authorization *out)
{
    const char *type = acme_json_string(object, "type");
    const char *token = acme_json_string(object, "token");
    struct acme_challenge challenge = {0};
    if (type == NULL)
        return;
    add_offered(out, type);
    challenge.type = (enum challenge_type)word_index(type, type_names, COUNT_OF(type_names));
    if (!out->has_error && error_of(object, &out->error)) {
        out->has_error = true;
        out->error_type = challenge.type;
    }
    if (challenge.type == CHALLENGE_UNKNOWN || out->n_challenges == AUTHORIZATION_MAX_CHALLENGES ||
        !acme_json_url(object, "url", challenge.url, sizeof challenge.url))
        return;
    challenge.status = status_of(object);
    /* the token becomes part of paths and answers: nothing but its alphabet may come further than here */
    if (token != NULL && b64url_valid(token, TOKEN_MAX_BYTES - 1))
        snprintf(challenge.token, sizeof challenge.token, "%s", token);
    if (challenge.type == CHALLENGE_DNS_PERSIST_01)
        parse_persist(object, &challenge);
    out->challenges[out->n_challenges++] = challenge;
}

bool acme_authorization_parse(const char *json, size_t len, struct acme_authorization *out, struct err *err)
{
    memset(out, 0, sizeof *out);
    AUTO_JSON *object = acme_json(json, len, "the authorization", err);
    if (object == NULL)
        return false;
    const char *value = acme_json_string(json_object_get(object, "identifier"), "value");
    out->status = status_of(object);
    if (out->status == ACME_UNKNOWN || value == NULL)
        return err_set(err, ERR_PROTOCOL, NEXT_RETRY_LATER, NULL,
                       "the authorization has no known status or no identifier");
    canonical(value, out->identifier, sizeof out->identifier);
    printable(out->identifier);
    out->wildcard = json_is_true(json_object_get(object, "wildcard"));
    const json_t *challenges = json_object_get(object, "challenges");
    for (size_t i = 0; i < json_array_size(challenges) && i < MAX_CHALLENGES_READ; i++)
        parse_challenge(acme_json_at(challenges, i), out);
    return true;
}
