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
    assert_int_equal(authorization.n_challenges, 3);
    assert_int_equal(authorization.challenges[0].type, CHALLENGE_DNS_01);
    assert_string_equal(authorization.challenges[0].token, "abc-_1");
    assert_int_equal(authorization.challenges[1].status, ACME_INVALID);
    assert_true(authorization.challenges[1].has_error);
    assert_string_equal(authorization.challenges[1].error.detail, "d");
    assert_int_equal(authorization.challenges[2].status, ACME_UNKNOWN);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_order),      cmocka_unit_test(test_status_is_a_whole_word),
        cmocka_unit_test(test_refused_orders),  cmocka_unit_test(test_tolerated_orders),
        cmocka_unit_test(test_bounds),          cmocka_unit_test(test_authorization),
        cmocka_unit_test(test_tokens),          cmocka_unit_test(test_refused_authorizations),
        cmocka_unit_test(test_many_challenges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
