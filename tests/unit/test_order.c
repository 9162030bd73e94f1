/*
 * test_order.c - orders and authorizations as plain structs: whole words, checked tokens, bounded lists.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tlsup/compat.h"
#include "tlsup/order.h"

#define CA "https://ca.test/"

static bool order(const char *json, struct acme_order *out, struct err *err)
{
    return acme_order_parse(json, strlen(json), out, err);
}

static struct acme_authorization authorization; /* too large for a stack frame of each test */

static bool authorize(const char *json, struct err *err)
{
    memset(&authorization, 0xA5, sizeof authorization);
    return acme_authorization_parse(json, strlen(json), &authorization, err);
}

static void test_full_order(void **state)
{
    (void)state;
    struct acme_order parsed = {0};
    struct err err = ERR_INIT;
    assert_true(order("{\"status\":\"valid\",\"expires\":\"2026-11-29T12:00:00.5+01:00\",\"notBefore\":\"x\","
                      "\"identifiers\":["
                      "{\"type\":\"dns\",\"value\":\"B.Test\"},{\"type\":\"dns\",\"value\":\"*.a.test\"},{"
                      "\"type\":\"ip\",\"value\":\"2001:DB8::1\"}],"
                      "\"authorizations\":[\"" CA "1\",\"" CA "2\"],\"finalize\":\"" CA
                      "f\",\"certificate\":\"" CA "c\"}",
                      &parsed, &err));
    assert_int_equal(parsed.status, ACME_VALID);
    assert_int_equal(parsed.expires_s, 1795950000);
    assert_int_equal(parsed.names.n, 3);
    assert_string_equal(parsed.names.v[0], "b.test");
    assert_string_equal(parsed.names.v[1], "*.a.test");
    assert_string_equal(parsed.names.v[2], "2001:db8::1");
    assert_int_equal(parsed.authorizations.n, 2);
    assert_string_equal(parsed.finalize, CA "f");
    assert_string_equal(parsed.certificate, CA "c");
    assert_false(parsed.has_error);
    /* again into the same */
    assert_true(order(
        "{\"status\":\"invalid\",\"error\":{\"type\":\"urn:ietf:params:acme:error:dns\",\"detail\":\"d\"}}",
        &parsed, &err));
    assert_int_equal(parsed.names.n, 0);
    assert_int_equal(parsed.expires_s, 0);
    assert_string_equal(parsed.certificate, "");
    assert_true(parsed.has_error);
    assert_string_equal(parsed.error.type, "dns");
    acme_order_clear(&parsed);
}

static void test_status_is_a_whole_word(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        enum acme_status status;
    } rows[] = {
        {"pending", ACME_PENDING}, {"processing", ACME_PROCESSING}, {"ready", ACME_READY},
        {"valid", ACME_VALID},     {"invalid", ACME_INVALID},       {"deactivated", ACME_DEACTIVATED},
        {"expired", ACME_EXPIRED}, {"revoked", ACME_REVOKED},       {"val", ACME_UNKNOWN},
        {"", ACME_UNKNOWN},        {"valid ", ACME_UNKNOWN},        {"Valid", ACME_UNKNOWN},
        {"validx", ACME_UNKNOWN},  {"unknown", ACME_UNKNOWN},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char json[128];
        struct acme_order parsed = {0};
        struct err err = ERR_INIT;
        snprintf(json, sizeof json, "{\"status\":\"%s\"}", rows[i].word);
        bool known = rows[i].status != ACME_UNKNOWN;
        if (order(json, &parsed, &err) != known || parsed.status != rows[i].status ||
            (!known && err.code != ERR_PROTOCOL))
            fail_msg("%s", rows[i].word);
        if (known)
            assert_string_equal(acme_status_name(rows[i].status), rows[i].word);
        acme_order_clear(&parsed);
    }
    assert_string_equal(acme_status_name((enum acme_status)99), "unknown");
    assert_string_equal(challenge_type_name(CHALLENGE_TLS_ALPN_01), "tls-alpn-01");
    assert_string_equal(challenge_type_name((enum challenge_type) - 1), "unknown");
}

static void test_refused_orders(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "\"pending\"",
        "{}",
        "{\"status\":5}",
        "{\"status\":null}",
        "{\"status\":\"pending\",\"identifiers\":[{\"type\":\"dns\"}]}",
        "{\"status\":\"pending\",\"identifiers\":[{\"type\":\"dns\",\"value\":7}]}",
        "{\"status\":\"pending\",\"identifiers\":[null]}",
        "{\"status\":\"pending\",\"identifiers\":[\"a.test\"]}",
        "{\"status\":\"pending\",\"authorizations\":[5]}",
        "{\"status\":\"pending\",\"authorizations\":[\"\"]}",
        "{\"status\":\"pending\",\"authorizations\":[\"http://ca.test/1\"]}",
        "{\"status\":\"pending\",\"authorizations\":[\"https://ca.test/1\\u0000\"]}",
        "{\"status\":\"pending\",\"authorizations\":[\"https://ca.test/1\\r\\nHost: x\"]}",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct acme_order parsed = {0};
        struct err err = ERR_INIT;
        if (order(bad[i], &parsed, &err) || err.code != ERR_PROTOCOL || err.text[0] == '\0')
            fail_msg("%s", bad[i]);
        acme_order_clear(&parsed);
    }
}

static void test_tolerated_orders(void **state)
{
    (void)state;
    struct acme_order parsed = {0};
    struct err err = ERR_INIT;
    assert_true(order("{\"status\":\"pending\",\"expires\":\"tomorrow\",\"identifiers\":{},"
                      "\"authorizations\":\"x\",\"finalize\":\"http://x/\","
                      "\"certificate\":7,\"error\":\"text\"}",
                      &parsed, &err));
    assert_int_equal(parsed.expires_s, 0);
    assert_int_equal(parsed.names.n, 0);
    assert_int_equal(parsed.authorizations.n, 0);
    assert_string_equal(parsed.finalize, "");
    assert_string_equal(parsed.certificate, "");
    assert_false(parsed.has_error);
    /* the same name twice counts once: else it could stand for a missing one */
    assert_true(
        order("{\"status\":\"pending\",\"identifiers\":[{\"value\":\"a.test\"},{\"value\":\"A.test\"}]}",
              &parsed, &err));
    assert_int_equal(parsed.names.n, 1);
    acme_order_clear(&parsed);
}

static void add_many(struct buf *json, const char *what, int n)
{
    buf_addf(json, "{\"status\":\"pending\",\"%s\":[", what);
    for (int i = 0; i < n; i++)
        if (strcmp(what, "identifiers") == 0)
            buf_addf(json, "%s{\"type\":\"dns\",\"value\":\"n%d.test\"}", i > 0 ? "," : "", i);
        else
            buf_addf(json, "%s\"" CA "%d\"", i > 0 ? "," : "", i);
    buf_adds(json, "]}");
}

static void test_bounds(void **state)
{
    (void)state;
    static const char *const lists[] = {"identifiers", "authorizations"};
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        for (int extra = 0; extra <= 1; extra++) {
            AUTO_BUF json = BUF_INIT;
            struct acme_order parsed = {0};
            struct err err = ERR_INIT;
            add_many(&json, lists[i], ORDER_MAX_AUTHORIZATIONS + extra);
            assert_int_equal(order(buf_str(&json), &parsed, &err), extra == 0);
            acme_order_clear(&parsed);
        }
    AUTO_BUF json = BUF_INIT;
    struct acme_order parsed = {0};
    struct err err = ERR_INIT;
    buf_adds(&json, "{\"status\":\"pending\",\"identifiers\":[{\"value\":\"");
    for (int i = 0; i < 256; i++)
        buf_adds(&json, "x");
    buf_adds(&json, "\"}]}");
    assert_false(order(buf_str(&json), &parsed, &err));
    acme_order_clear(&parsed);
}

static void test_authorization(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_true(
        authorize("{\"status\":\"pending\",\"wildcard\":true,\"identifier\":{\"type\":\"dns\",\"value\":"
                  "\"Example.Test\"},\"challenges\":["
                  "{\"type\":\"dns-01\",\"url\":\"" CA "d\",\"status\":\"pending\",\"token\":\"abc-_1\"},"
                  "{\"type\":\"dns-persist-01\",\"url\":\"" CA "p\",\"issuer-domain-names\":[\"ca.test\"]},"
                  "{\"type\":\"http-01\",\"url\":\"" CA
                  "h\",\"status\":\"invalid\",\"token\":\"t\",\"error\":{\"detail\":\"d\"}},"
                  "{\"type\":\"tls-alpn-01\",\"url\":\"" CA "t\",\"token\":\"x\"},{\"type\":5},{},null,7]}",
                  &err));
    assert_int_equal(authorization.status, ACME_PENDING);
    assert_string_equal(authorization.identifier, "example.test"); /* as in orders */
    assert_true(authorization.wildcard);
    assert_int_equal(authorization.n_challenges, 4);
    assert_int_equal(authorization.challenges[0].type, CHALLENGE_DNS_01);
    assert_string_equal(authorization.challenges[0].token, "abc-_1");
    assert_int_equal(authorization.challenges[0].draft, 0);
    assert_int_equal(authorization.challenges[1].type, CHALLENGE_DNS_PERSIST_01);
    assert_string_equal(authorization.challenges[1].issuers, "ca.test");
    assert_int_equal(authorization.challenges[2].status, ACME_INVALID);
    assert_true(authorization.has_error);
    assert_int_equal(authorization.error_type, CHALLENGE_HTTP_01);
    assert_string_equal(authorization.error.detail, "d");
    assert_int_equal(authorization.challenges[3].status, ACME_UNKNOWN);
    assert_string_equal(authorization.offered, "dns-01, dns-persist-01, http-01, tls-alpn-01");
}

static void test_tokens(void **state)
{
    (void)state;
    char longest[TOKEN_MAX_BYTES + 1];
    memset(longest, 'A', sizeof longest);
    longest[TOKEN_MAX_BYTES] = '\0';
    const struct {
        const char *token; /* as JSON text */
        const char *kept;
    } rows[] = {
        {"\"evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA\"", "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"},
        {"null", ""},
        {"5", ""},
        {"\"\"", ""},
        {"\"../../x\"", ""},
        {"\"a/b\"", ""},
        {"\".\"", ""},
        {"\"..\"", ""},
        {"\"a b\"", ""},
        {"\"a\\nb\"", ""},
        {"\"a%2fb\"", ""},
        {"\"$(id)\"", ""},
        {"\"a+b\"", ""},
        {"\"a=\"", ""},
        {"\"\\u00fc\"", ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_BUF json = BUF_INIT;
        struct err err = ERR_INIT;
        buf_addf(&json,
                 "{\"status\":\"pending\",\"identifier\":{\"value\":\"a.test\"},\"challenges\":[{\"type\":"
                 "\"http-01\",\"url\":\"" CA "h\",\"token\":%s}]}",
                 rows[i].token);
        assert_true(authorize(buf_str(&json), &err));
        assert_int_equal(authorization.n_challenges, 1);
        assert_string_equal(authorization.challenges[0].token, rows[i].kept);
    }
    for (int cut = 0; cut <= 1; cut++) { /* one too long, then the longest */
        AUTO_BUF json = BUF_INIT;
        struct err err = ERR_INIT;
        buf_addf(&json,
                 "{\"status\":\"pending\",\"identifier\":{\"value\":\"a.test\"},\"challenges\":[{\"type\":"
                 "\"http-01\",\"url\":\"" CA "h\",\"token\":\"%s\"}]}",
                 longest + cut);
        assert_true(authorize(buf_str(&json), &err));
        assert_string_equal(authorization.challenges[0].token, cut ? longest + cut : "");
    }
}

static void test_refused_authorizations(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"status\":\"pending\"}",
        "{\"status\":\"pending\",\"identifier\":\"a.test\"}",
        "{\"status\":\"pending\",\"identifier\":{\"type\":\"dns\"}}",
        "{\"status\":\"pending\",\"identifier\":{\"value\":null}}",
        "{\"status\":\"pend\",\"identifier\":{\"value\":\"a.test\"}}",
        "{\"identifier\":{\"value\":\"a.test\"}}",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct err err = ERR_INIT;
        if (authorize(bad[i], &err) || err.code != ERR_PROTOCOL)
            fail_msg("%s", bad[i]);
    }
}

static void test_many_challenges(void **state)
{
    (void)state;
    AUTO_BUF json = BUF_INIT;
    struct err err = ERR_INIT;
    buf_adds(&json, "{\"status\":\"valid\",\"identifier\":{\"value\":\"\\u001b[1ma.test\"},\"challenges\":[{"
                    "\"type\":\"http-01\",\"url\":\"http://x/\"}");
    for (int i = 0; i < 1000; i++)
        buf_addf(&json, ",{\"type\":\"http-01\",\"url\":\"" CA "%d\"},{\"type\":\"odd\\u0007%d\"}", i, i);
    buf_adds(&json, "]}");
    assert_true(authorize(buf_str(&json), &err));
    assert_int_equal(authorization.n_challenges, AUTHORIZATION_MAX_CHALLENGES);
    assert_string_equal(authorization.challenges[0].url, CA "0"); /* a plain http address is not asked */
    assert_string_equal(authorization.identifier, "?[1ma.test");
    assert_null(strchr(authorization.offered, '\a'));
    assert_true(strlen(authorization.offered) < sizeof authorization.offered);
}

/* The one challenge of an authorization with these members. */
static const struct acme_challenge *challenge_with(const char *members)
{
    AUTO_BUF json = BUF_INIT;
    struct err err = ERR_INIT;
    buf_addf(&json,
             "{\"status\":\"pending\",\"identifier\":{\"value\":\"a.test\"},\"challenges\":[{\"url\":\"" CA
             "1\",%s}]}",
             members);
    assert_true(authorize(buf_str(&json), &err));
    assert_int_equal(authorization.n_challenges, 1);
    return &authorization.challenges[0];
}

#define PERSIST "\"type\":\"dns-persist-01\","

static void test_persist_drafts(void **state)
{
    (void)state;
    static const struct {
        const char *members;
        int draft;
        const char *issuers, *account_uri;
    } rows[] = {
        {PERSIST "\"issuer-domain-names\":[\"ca.test\"],\"accounturi\":\"" CA "acct/1\"", 1, "ca.test",
         CA "acct/1"},
        {PERSIST "\"issuer-domain-names\":[\"CA.Test\",\"b-2.test\"]", 1, "ca.test b-2.test", ""},
        {PERSIST "\"issuerDomainNames\":[\"ca.test\"]", 2, "ca.test", ""},
        {PERSIST "\"issuerDomainNames\":[\"ca.test\"],\"token\":\"abc\"", 2, "ca.test", ""},
        /* the second draft has no such member */
        {PERSIST "\"issuerDomainNames\":[\"ca.test\"],\"accounturi\":\"" CA "acct/1\"", 2, "ca.test", ""},
        {PERSIST "\"issuer-domain-names\":null,\"issuerDomainNames\":[\"ca.test\"]", 2, "ca.test", ""},
        {PERSIST "\"issuer-domain-names\":[\"single\"]", 1, "single", ""},
        {PERSIST "\"issuer-domain-names\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\"]", 1,
         "1 2 3 4 5 6 7 8 9 10", ""},
        {PERSIST
         "\"issuer-domain-names\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\",\"11\"]",
         0, "", ""},
        /* nothing that would change a record's meaning */
        {PERSIST "\"issuer-domain-names\":[\"ca.test; policy=wildcard\"]", 0, "", ""},
        {PERSIST "\"issuer-domain-names\":[\"ca.test\",\"evil test\"]", 0, "", ""},
        {PERSIST "\"issuer-domain-names\":[\"ca.test\\n\"]", 0, "", ""},
        {PERSIST "\"issuer-domain-names\":[\"ca.test\\\"\"]", 0, "", ""},
        {PERSIST "\"issuer-domain-names\":[\"ca.test.\"]", 0, "", ""},
        {PERSIST "\"issuer-domain-names\":[\".ca.test\"]", 0, "", ""},
        {PERSIST "\"issuer-domain-names\":[\"ca..test\"]", 0, "", ""},
        {PERSIST "\"issuer-domain-names\":[\"-ca.test\"]", 0, "", ""},
        {PERSIST "\"issuer-domain-names\":[\"ca-.test\"]", 0, "", ""},
        {PERSIST "\"issuer-domain-names\":[\"*.test\"]", 0, "", ""},
        {PERSIST "\"issuer-domain-names\":[\"c_a.test\"]", 0, "", ""},
        {PERSIST "\"issuer-domain-names\":[\"b\\u00fccher.test\"]", 0, "", ""},
        {PERSIST "\"issuer-domain-names\":[\"\"]", 0, "", ""},
        {PERSIST "\"issuer-domain-names\":[\"ca.test\",7]", 0, "", ""},
        {PERSIST "\"issuer-domain-names\":[]", 0, "", ""},
        {PERSIST "\"issuer-domain-names\":\"ca.test\"", 0, "", ""},
        {PERSIST "\"issuer-domain-names\":{\"ca.test\":1}", 0, "", ""},
        {PERSIST "\"token\":\"abc\"", 0, "", ""},
        {PERSIST "\"issuer-domain-names\":[\"ca.test\"],\"accounturi\":\"" CA "1;policy=wildcard\"", 1,
         "ca.test", ""},
        {PERSIST "\"issuer-domain-names\":[\"ca.test\"],\"accounturi\":\"mine\"", 1, "ca.test", ""},
        {PERSIST "\"issuer-domain-names\":[\"ca.test\"],\"accounturi\":5", 1, "ca.test", ""},
        /* not of this type */
        {"\"type\":\"dns-01\",\"token\":\"abc\",\"issuer-domain-names\":[\"ca.test\"]", 0, "", ""},
        {"\"type\":\"dns-account-01\",\"token\":\"abc\"", 0, "", ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct acme_challenge *got = challenge_with(rows[i].members);
        if (got->draft != rows[i].draft || strcmp(got->issuers, rows[i].issuers) != 0 ||
            strcmp(got->account_uri, rows[i].account_uri) != 0)
            fail_msg("%s: %d, \"%s\", \"%s\"", rows[i].members, got->draft, got->issuers, got->account_uri);
    }
}

/* Ten names of the longest kind are more than there is room for; those that fit will do. */
static void test_long_issuers(void **state)
{
    (void)state;
    AUTO_BUF name = BUF_INIT, members = BUF_INIT;
    char out[ISSUER_NAME_BYTES];
    for (int i = 0; i < 4; i++)
        buf_addf(&name, "%s%061d", i > 0 ? "." : "", i);
    assert_int_equal(name.len, 247);
    buf_adds(&members, PERSIST "\"issuerDomainNames\":[");
    for (int i = 0; i < 10; i++)
        buf_addf(&members, "%s\"%s.x%d\"", i > 0 ? "," : "", buf_str(&name), i);
    buf_adds(&members, "]");
    const struct acme_challenge *got = challenge_with(buf_str(&members));
    AUTO_STRLIST issuers = STRLIST_INIT;
    strlist_split(&issuers, got->issuers, " ");
    assert_int_equal(got->draft, 2);
    assert_int_equal(issuers.n, 4);
    for (size_t i = 0; i < issuers.n; i++)
        assert_int_equal(strlen(issuers.v[i]), 250);
    buf_adds(&name, ".abcde");
    assert_true(acme_issuer_name(buf_str(&name), out)); /* 253 */
    buf_adds(&name, "f");
    assert_false(acme_issuer_name(buf_str(&name), out));
    assert_false(
        acme_issuer_name("0123456789012345678901234567890123456789012345678901234567890123.test", out));
    assert_true(
        acme_issuer_name("012345678901234567890123456789012345678901234567890123456789012.test", out));
    assert_true(acme_issuer_value("abc", 4));
    assert_false(acme_issuer_value("abc", 3));
    assert_true(acme_issuer_value("", 1));
}

static void test_which_type_fits(void **state)
{
    (void)state;
    static const struct {
        enum challenge_type type;
        bool plain, wildcard, address;
    } rows[] = {
        {CHALLENGE_UNKNOWN, false, false, false},      {CHALLENGE_HTTP_01, true, false, true},
        {CHALLENGE_TLS_ALPN_01, true, false, true},    {CHALLENGE_DNS_01, true, true, false},
        {CHALLENGE_DNS_ACCOUNT_01, true, true, false}, {CHALLENGE_DNS_PERSIST_01, true, true, false},
        {CHALLENGE_TYPES, false, false, false},        {(enum challenge_type) - 1, false, false, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(challenge_type_fits(rows[i].type, "a.test"), rows[i].plain);
        assert_int_equal(challenge_type_fits(rows[i].type, "*.a.test"), rows[i].wildcard);
        assert_int_equal(challenge_type_fits(rows[i].type, "192.0.2.7"), rows[i].address);
        assert_int_equal(challenge_type_fits(rows[i].type, "2001:db8::1"), rows[i].address);
    }
    assert_string_equal(challenge_type_name(CHALLENGE_DNS_ACCOUNT_01), "dns-account-01");
    assert_string_equal(challenge_type_name(CHALLENGE_DNS_PERSIST_01), "dns-persist-01");
    assert_string_equal(challenge_type_name(CHALLENGE_TYPES), "unknown");
}

static void test_deep_and_large_orders(void **state)
{
    (void)state;
    AUTO_BUF deep = BUF_INIT, large = BUF_INIT;
    struct acme_order parsed = {0};
    struct err err = ERR_INIT;
    buf_adds(&deep, "{\"status\":\"pending\",\"x\":");
    for (int i = 0; i < 100000; i++)
        buf_adds(&deep, "[");
    assert_false(order(buf_str(&deep), &parsed, &err));
    assert_non_null(strstr(err.text, "nested"));
    err_clear(&err);
    assert_false(acme_authorization_parse(deep.data, deep.len, &authorization, &err));
    err_clear(&err);
    buf_adds(&large, "{\"status\":\"pending\",\"finalize\":\"" CA "f\",\"x\":\"");
    for (int i = 0; i < 1000000; i++)
        buf_adds(&large, "y");
    buf_adds(&large, "\"}");
    assert_true(order(buf_str(&large), &parsed, &err));
    assert_string_equal(parsed.finalize, CA "f");
    acme_order_clear(&parsed);
}

static void test_order_without_certificate(void **state)
{
    (void)state;
    static const char *const rest[] = {"", ",\"certificate\":null", ",\"certificate\":\"\"",
                                       ",\"certificate\":\"http://ca.test/c\"", ",\"certificate\":[]"};
    for (size_t i = 0; i < COUNT_OF(rest); i++) {
        AUTO_BUF json = BUF_INIT;
        struct acme_order parsed = {0};
        struct err err = ERR_INIT;
        buf_addf(&json, "{\"status\":\"valid\"%s}", rest[i]);
        assert_true(order(buf_str(&json), &parsed, &err));
        assert_int_equal(parsed.status, ACME_VALID);
        assert_string_equal(parsed.certificate, "");
        acme_order_clear(&parsed);
    }
}

static void test_error_with_subproblems(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_true(authorize(
        "{\"status\":\"invalid\",\"identifier\":{\"value\":\"a.test\"},\"challenges\":["
        "{\"type\":\"http-01\",\"url\":\"" CA "1\",\"status\":\"pending\"},"
        "{\"type\":\"dns-01\",\"status\":\"invalid\",\"error\":{\"type\":\"urn:ietf:params:acme:error:dns\","
        "\"subproblems\":[{\"detail\":\"SERVFAIL\",\"identifier\":{\"value\":\"a.test\"}}]}},"
        "{\"type\":\"tls-alpn-01\",\"url\":\"" CA "2\",\"error\":{\"detail\":\"a later one\"}}]}",
        &err));
    assert_true(authorization.has_error); /* though the challenge itself has no URL to be asked at */
    assert_int_equal(authorization.error_type, CHALLENGE_DNS_01);
    assert_string_equal(authorization.error.type, "dns");
    assert_int_equal(authorization.error.n_sub, 1);
    assert_string_equal(authorization.error.sub[0].identifier, "a.test");
}

/* A CA may write an address in any of its texts. */
static void test_ipv6_in_one_text(void **state)
{
    (void)state;
    static const char *const texts[] = {"2001:db8::1", "2001:DB8::1",
                                        "2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8:0:0:0:0:0:1",
                                        "2001:db8::0:1"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        AUTO_BUF json = BUF_INIT, authz = BUF_INIT;
        struct acme_order parsed = {0};
        struct err err = ERR_INIT;
        buf_addf(
            &json,
            "{\"status\":\"pending\",\"identifiers\":[{\"type\":\"ip\",\"value\":\"%s\"},{\"type\":\"ip\","
            "\"value\":\"2001:db8::1\"}]}",
            texts[i]);
        assert_true(order(buf_str(&json), &parsed, &err));
        assert_int_equal(parsed.names.n, 1);
        assert_string_equal(parsed.names.v[0], "2001:db8::1");
        acme_order_clear(&parsed);
        buf_addf(&authz, "{\"status\":\"pending\",\"identifier\":{\"type\":\"ip\",\"value\":\"%s\"}}",
                 texts[i]);
        assert_true(authorize(buf_str(&authz), &err));
        assert_string_equal(authorization.identifier, "2001:db8::1");
    }
}

int main(void)
{
#define CASE(name, function)                                                                                 \
    {                                                                                                        \
        name, function, NULL, NULL, NULL                                                                     \
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_order),
        cmocka_unit_test(test_status_is_a_whole_word),
        cmocka_unit_test(test_refused_orders),
        cmocka_unit_test(test_tolerated_orders),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_authorization),
        CASE("case 18: token ../../x and others that are none", test_tokens),
        cmocka_unit_test(test_refused_authorizations),
        CASE("case 17: many challenges, of unknown types", test_many_challenges),
        cmocka_unit_test(test_persist_drafts),
        cmocka_unit_test(test_long_issuers),
        cmocka_unit_test(test_which_type_fits),
        CASE("case 3: deep or oversized orders", test_deep_and_large_orders),
        CASE("case 20: an error with subproblems", test_error_with_subproblems),
        CASE("case 24: valid without a certificate URL", test_order_without_certificate),
        CASE("case 30: an IPv6 identifier in any text", test_ipv6_in_one_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
