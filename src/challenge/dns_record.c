#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/dns_record.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "tlsup/b64.h"
#include "tlsup/clock.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

enum {
    SHA256_BYTES = 32,
    NAME_MAX_OCTETS = 253,
    ACCOUNT_LABEL_BYTES = 10, /* of the hash: 16 characters of base32 */
    MAX_PARAMETERS = 16,
    CAA_CRITICAL = 0x80,
};

static void sha256(const void *data, size_t len, unsigned char out[SHA256_BYTES])
{
    if (EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL) != 1)
        mem_exhausted();
}

static const char *without_wildcard(const char *name)
{
    return strncmp(name, "*.", 2) == 0 ? name + 2 : name;
}

/* -- names and values ------------------------------------------------------------------------------------ */

static void account_label(const char *account_url, char out[ACCOUNT_LABEL_BYTES * 8 / 5 + 1])
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
    unsigned char hash[SHA256_BYTES];
    size_t n = 0;
    sha256(account_url, strlen(account_url), hash);
    for (size_t bit = 0; bit < ACCOUNT_LABEL_BYTES * 8; bit += 5) {
        unsigned pair = (unsigned)hash[bit / 8] << 8 | hash[bit / 8 + 1];
        out[n++] = alphabet[pair >> (11 - bit % 8) & 31];
    }
    out[n] = '\0';
}

bool dns_record_name(enum challenge_type type, const char *name, const char *account_url,
                     char out[DNS_NAME_BYTES], struct err *err)
{
    const char *domain = without_wildcard(name);
    char label[ACCOUNT_LABEL_BYTES * 8 / 5 + 1];
    AUTO_FREE char *record = NULL;
    if (name_is_ip(domain))
        return err_set(err, ERR_NAME, NEXT_FIX_CONFIG, name, "%s is an address: no DNS record can prove it",
                       name);
    if (type == CHALLENGE_DNS_01)
        record = mem_fmt("_acme-challenge.%s", domain);
    else if (type == CHALLENGE_DNS_PERSIST_01)
        record = mem_fmt("_validation-persist.%s", domain);
    else if (type == CHALLENGE_DNS_ACCOUNT_01 && account_url != NULL && account_url[0] != '\0') {
        account_label(account_url, label);
        record = mem_fmt("_%s._acme-challenge.%s", label, domain);
    } else
        return err_set(err, ERR_INTERNAL, NEXT_NONE, name, "no DNS record belongs to this challenge of %s",
                       name);
    if (strlen(record) > NAME_MAX_OCTETS) {
        err_set(err, ERR_NAME, NEXT_FIX_CONFIG, name,
                "the DNS record that proves %s would have a name of %zu octets; %d are possible", name,
                strlen(record), NAME_MAX_OCTETS);
        return err_advise(err, "prove this name by http-01 or tls-alpn-01");
    }
    snprintf(out, DNS_NAME_BYTES, "%s", record);
    return true;
}

void dns_record_value(const char *key_authorization, char out[DNS_VALUE_BYTES])
{
    unsigned char hash[SHA256_BYTES];
    AUTO_BUF text = BUF_INIT;
    sha256(key_authorization, strlen(key_authorization), hash);
    b64url_encode(hash, sizeof hash, &text);
    snprintf(out, DNS_VALUE_BYTES, "%s", buf_str(&text));
}

/* -- the issue-value of RFC 8659, section 4.2 ----------------------------------------------------------- */

struct span {
    const char *at;
    size_t len;
};

struct parameter {
    struct span tag, value;
};

struct issue_value {
    struct span issuer; /* may be empty */
    struct parameter parameters[MAX_PARAMETERS];
    size_t n;
    const char *fault; /* what is wrong with it, NULL = nothing */
};

static bool span_is(struct span span, const char *text) /* in any case */
{
    return strlen(text) == span.len && strncasecmp(span.at, text, span.len) == 0;
}

static bool span_equals(struct span span, const char *text)
{
    return strlen(text) == span.len && memcmp(span.at, text, span.len) == 0;
}

static struct span trimmed(const char *from, const char *to)
{
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
        to--;
    return (struct span){from, (size_t)(to - from)};
}

static bool alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Letters, digits, and hyphens between them: a tag, and each label of a domain name. */
static bool is_label(struct span span)
{
    if (span.len == 0 || !alphanumeric(span.at[0]) || !alphanumeric(span.at[span.len - 1]))
        return false;
    for (size_t i = 0; i < span.len; i++)
        if (!alphanumeric(span.at[i]) && span.at[i] != '-')
            return false;
    return true;
}

static bool is_domain(struct span span)
{
    const char *end = span.at + span.len;
    for (const char *from = span.at;; from++) {
        const char *dot = memchr(from, '.', (size_t)(end - from));
        const char *to = dot != NULL ? dot : end;
        if (!is_label((struct span){from, (size_t)(to - from)}))
            return false;
        if (dot == NULL)
            return true;
        from = dot;
    }
}

/* Visible characters: no white space, no control, nothing above ASCII (';' is gone already). */
static bool is_value(struct span span)
{
    for (size_t i = 0; i < span.len; i++)
        if (span.at[i] < 0x21 || span.at[i] > 0x7E)
            return false;
    return true;
}

static const char *add_parameter(struct issue_value *out, struct span text)
{
    const char *equals = memchr(text.at, '=', text.len);
    if (text.len == 0)
        return "it has an empty parameter (a ';' too many)";
    if (equals == NULL)
        return "a parameter has no '='";
    struct parameter parameter = {.tag = trimmed(text.at, equals),
                                  .value = trimmed(equals + 1, text.at + text.len)};
    if (!is_label(parameter.tag))
        return "the name of a parameter is not made of letters, digits and hyphens";
    if (!is_value(parameter.value))
        return "the value of a parameter has a blank or another character that cannot be in it";
    if (out->n == MAX_PARAMETERS)
        return "it has more parameters than any use is known for";
    out->parameters[out->n++] = parameter;
    return NULL;
}

static void parse_issue_value(const char *text, struct issue_value *out)
{
    const char *semicolon = strchr(text, ';');
    *out = (struct issue_value){.issuer = trimmed(text, semicolon != NULL ? semicolon : strchr(text, '\0'))};
    if (out->issuer.len > 0 && out->issuer.at[0] == '"')
        out->fault = "it begins with a quotation mark: those of a zone file are no part of the value";
    else if (out->issuer.len > 0 && !is_domain(out->issuer))
        out->fault = "it does not begin with the domain name of a CA";
    if (out->fault != NULL || semicolon == NULL || trimmed(semicolon + 1, strchr(text, '\0')).len == 0)
        return;
    for (const char *from = semicolon + 1; from != NULL && out->fault == NULL;) {
        const char *next = strchr(from, ';');
        out->fault = add_parameter(out, trimmed(from, next != NULL ? next : strchr(from, '\0')));
        from = next != NULL ? next + 1 : NULL;
    }
}

/* How often the parameter is there; the first one's value. */
static size_t find_parameter(const struct issue_value *value, const char *tag, struct span *found)
{
    size_t n = 0;
    for (size_t i = 0; i < value->n; i++)
        if (span_is(value->parameters[i].tag, tag) && n++ == 0)
            *found = value->parameters[i].value;
    return n;
}

static bool issuer_is_one_of(const struct issue_value *value, const struct strlist *names)
{
    for (size_t i = 0; i < names->n; i++)
        if (span_is(value->issuer, names->v[i]))
            return true;
    return false;
}

/* What keeps a record from doing; the larger, the nearer it comes. */
enum distance { OTHER_CA, MALFORMED, OTHER_ACCOUNT, OTHER_METHOD, NO_WILDCARD, LAPSED, FITS };

struct finding {
    enum distance distance;
    bool set;
    char text[512];
};

static void PRINTF_LIKE(3, 4) note(struct finding *nearest, enum distance distance, const char *fmt, ...)
{
    va_list args;
    if (nearest->set && nearest->distance >= distance)
        return;
    nearest->set = true;
    nearest->distance = distance;
    va_start(args, fmt);
    vsnprintf(nearest->text, sizeof nearest->text, fmt, args);
    va_end(args);
}

/* -- dns-persist-01 ------------------------------------------------------------------------------------- */

void dns_persist_uri(const char *prefix, const char *domain, const char *thumbprint, const char *account_url,
                     struct buf *out)
{
    unsigned char hash[SHA256_BYTES];
    AUTO_BUF input = BUF_INIT;
    buf_addc(&input, (char)strlen(domain));
    buf_addf(&input, "%s%s%s", domain, thumbprint, account_url);
    sha256(input.data, input.len, hash);
    buf_addf(out, "%ssha-256/", prefix);
    b64url_encode(hash, sizeof hash, out);
}

void dns_persist_text(const struct dns_persist *want, int64_t until_s, struct buf *out)
{
    buf_add(out, want->issuers, strcspn(want->issuers, " "));
    buf_addf(out, "; accounturi=%s", want->account_uri);
    if (want->wildcard)
        buf_adds(out, "; policy=wildcard");
    if (until_s != 0)
        buf_addf(out, "; persistUntil=%lld", (long long)until_s);
}

static bool has_twins(const struct issue_value *value)
{
    for (size_t i = 0; i < value->n; i++) {
        struct span tag = value->parameters[i].tag;
        for (size_t k = i + 1; k < value->n; k++)
            if (value->parameters[k].tag.len == tag.len &&
                strncasecmp(value->parameters[k].tag.at, tag.at, tag.len) == 0)
                return true;
    }
    return false;
}

/* Seconds since 1970, digits alone; 0 is no time that anybody means. */
static bool parse_until(struct span text, int64_t *out)
{
    int64_t value = 0;
    if (text.len == 0 || text.len > 15)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        value = value * 10 + (text.at[i] - '0');
    }
    *out = value;
    return value > 0;
}

static bool account_fits(const struct dns_persist *want, struct span uri)
{
    return span_equals(uri, want->account_uri) || (want->any_uri != NULL && span_equals(uri, want->any_uri));
}

static void judge_persist(const struct dns_persist *want, const struct strlist *issuers, const char *text,
                          int64_t now_s, struct finding *nearest, int64_t *until_s)
{
    struct issue_value value;
    struct span uri = {"", 0}, policy = {"", 0}, until = {"", 0};
    char date[CLOCK_TEXT_BYTES];
    *until_s = 0;
    parse_issue_value(text, &value);
    if (!issuer_is_one_of(&value, issuers)) {
        note(nearest, OTHER_CA, "\"%s\": %s", text,
             value.fault != NULL ? value.fault : "it is of another CA");
        return;
    }
    find_parameter(&value, "policy", &policy);
    if (value.fault != NULL || has_twins(&value))
        note(nearest, MALFORMED, "\"%s\": %s", text,
             value.fault != NULL ? value.fault : "it has a parameter twice");
    else if (find_parameter(&value, "persistUntil", &until) > 0 && !parse_until(until, until_s))
        note(nearest, MALFORMED, "\"%s\": persistUntil is no number of seconds since 1970", text);
    else if (find_parameter(&value, "accounturi", &uri) == 0)
        note(nearest, OTHER_ACCOUNT, "\"%s\": it has no accounturi", text);
    else if (!account_fits(want, uri))
        note(nearest, OTHER_ACCOUNT, "\"%s\": its accounturi is not that of this account", text);
    else if (want->wildcard && !span_is(policy, "wildcard"))
        note(nearest, NO_WILDCARD, "\"%s\": it has no policy=wildcard", text);
    else if (*until_s != 0 && *until_s <= now_s)
        note(nearest, LAPSED, "\"%s\": it was good until %s", text, clock_format_utc(*until_s, date));
    else
        note(nearest, FITS, "it does");
}

bool dns_persist_check(const struct dns_persist *want, const struct strlist *values, int64_t now_s,
                       int64_t *until_s, struct err *err)
{
    AUTO_STRLIST issuers = STRLIST_INIT;
    AUTO_BUF record = BUF_INIT;
    struct finding nearest = {0};
    int64_t furthest_s = -1; /* 0 = for ever */
    strlist_split(&issuers, want->issuers, " ");
    for (size_t i = 0; i < values->n; i++) {
        struct finding one = {0};
        int64_t one_s;
        judge_persist(want, &issuers, values->v[i], now_s, &one, &one_s);
        note(&nearest, one.distance, "%s", one.text);
        if (one.distance == FITS && furthest_s != 0)
            furthest_s = one_s == 0 || one_s > furthest_s ? one_s : furthest_s;
    }
    if (furthest_s >= 0) {
        *until_s = furthest_s;
        return true;
    }
    dns_persist_text(want, 0, &record);
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, NULL, "%s%s",
            nearest.set ? "the record does not do: " : "there is no such record", nearest.text);
    return err_advise(err, "make this TXT record: %s", buf_str(&record));
}

/* -- CAA ------------------------------------------------------------------------------------------------ */

static bool caa_tag_is(const struct dns_caa *record, const char *tag)
{
    return strcasecmp(record->tag, tag) == 0;
}

/* Properties that a CA knows, so that "critical" is no obstacle. */
static bool caa_tag_is_known(const struct dns_caa *record)
{
    static const char *const known[] = {"issue",    "issuewild",    "iodef",       "issuemail",
                                        "issuevmc", "contactemail", "contactphone"};
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (caa_tag_is(record, known[i]))
            return true;
    return false;
}

static bool method_is_listed(struct span list, const char *method)
{
    const char *end = list.at + list.len;
    for (const char *from = list.at; from <= end;) {
        const char *comma = memchr(from, ',', (size_t)(end - from));
        const char *to = comma != NULL ? comma : end;
        if (span_equals((struct span){from, (size_t)(to - from)}, method))
            return true;
        from = to + 1;
    }
    return false;
}

struct caa_question {
    const struct strlist *identities;
    const char *account_url;
    enum challenge_type method;
};

static void judge_caa(const struct caa_question *q, const struct dns_caa *record, struct finding *nearest)
{
    struct issue_value value;
    struct span uri = {"", 0}, methods = {"", 0};
    const bool account_known = q->account_url != NULL && q->account_url[0] != '\0';
    parse_issue_value(record->value, &value);
    size_t n_uris = find_parameter(&value, "accounturi", &uri);
    size_t n_methods = find_parameter(&value, "validationmethods", &methods);
    /* RFC 8659, section 4.2: what cannot be read, and what names nobody, lets nobody issue */
    if (value.fault != NULL)
        note(nearest, MALFORMED, "%s", value.fault);
    else if (value.issuer.len == 0)
        note(nearest, OTHER_CA, "it lets nobody issue");
    else if (q->identities->n == 0)
        note(nearest, FITS, "it does");
    else if (!issuer_is_one_of(&value, q->identities))
        note(nearest, OTHER_CA, "it lets another CA issue");
    else if (n_uris > 1 || n_methods > 1)
        note(nearest, MALFORMED, "it has %s twice", n_uris > 1 ? "accounturi" : "validationmethods");
    else if (n_uris == 1 && account_known && !span_equals(uri, q->account_url))
        note(nearest, OTHER_ACCOUNT, "it is for another account (accounturi)");
    else if (n_methods == 1 && q->method != CHALLENGE_UNKNOWN &&
             !method_is_listed(methods, challenge_type_name(q->method)))
        note(nearest, OTHER_METHOD, "it does not allow the method %s (validationmethods)",
             challenge_type_name(q->method));
    else
        note(nearest, FITS, "it does");
}

static bool refuse_caa(const struct caa_question *q, const struct dns_caa *record, const char *name,
                       const char *why, struct err *err)
{
    const char *domain = without_wildcard(name);
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, name, "the CAA record %d %s \"%s\" of %s stands in the way: %s",
            record->flags, record->tag, record->value, domain, why);
    if (q->identities->n == 0)
        return err_advise(err, "change or remove that record, or add one that names the CA");
    return err_advise(err,
                      "let this CA issue: %s. CAA 0 %s \"%s\" (or at the domain above that has the records)",
                      domain, record->tag, q->identities->v[0]);
}

bool dns_caa_allows(const struct dns_caa *records, size_t n, const char *name,
                    const struct strlist *identities, const char *account_url, enum challenge_type method,
                    struct err *err)
{
    const struct caa_question q = {identities, account_url, method};
    const struct dns_caa *culprit = NULL;
    struct finding nearest = {0};
    const char *tag = "issue";
    for (size_t i = 0; i < n; i++) {
        if ((records[i].flags & CAA_CRITICAL) != 0 && !caa_tag_is_known(&records[i])) {
            err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, name,
                    "the CAA record %d %s \"%s\" of %s forbids every certificate: it is marked critical, and "
                    "its kind is not known",
                    records[i].flags, records[i].tag, records[i].value, without_wildcard(name));
            return err_advise(err, "remove that record, or write its flags as 0");
        }
        if (name_is_wildcard(name) && caa_tag_is(&records[i], "issuewild"))
            tag = "issuewild";
    }
    for (size_t i = 0; i < n; i++) {
        struct finding one = {0};
        if (!caa_tag_is(&records[i], tag))
            continue;
        judge_caa(&q, &records[i], &one);
        if (one.distance == FITS)
            return true;
        if (culprit == NULL || one.distance > nearest.distance) {
            culprit = &records[i];
            nearest = one;
        }
    }
    return culprit == NULL || refuse_caa(&q, culprit, name, nearest.text, err);
}
