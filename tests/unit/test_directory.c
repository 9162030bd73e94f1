/*
 * test_directory.c - the first thing a CA says of itself, and the first that can be something else
 * altogether.
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
#include "tlsup/directory.h"

#define URL "https://ca.test:14000/dir"
#define CA "https://ca.test:14000/"
#define REQUIRED "\"newNonce\":\"" CA "nonce\",\"newAccount\":\"" CA "account\",\"newOrder\":\"" CA "order\""

static bool parse(const char *json, struct directory *out, struct err *err)
{
    return directory_parse(URL, json, strlen(json), out, err);
}

static void test_full(void **state)
{
    (void)state;
    struct directory directory = {0};
    struct err err = ERR_INIT;
    assert_true(parse("{" REQUIRED ",\"revokeCert\":\"" CA "revoke\",\"keyChange\":\"" CA
                      "rollover\",\"renewalInfo\":\"" CA "ari\","
                      "\"newAuthz\":\"" CA
                      "authz\",\"Xk7_random\":\"https://community.test/t/adding-random-entries\","
                      "\"meta\":{\"termsOfService\":\"https://ca.test/tos\",\"website\":\"https://ca.test\","
                      "\"caaIdentities\":[\"ca.test\",5,\"ca2.test\"],\"externalAccountRequired\":true,"
                      "\"profiles\":{\"classic\":\"text\",\"shortlived\":\"text\"},"
                      "\"issuerDomainNames\":[\"CA.test\",\"ca2.test\"],\"accountHashPrefix\":\"acct:\"}}",
                      &directory, &err));
    assert_string_equal(directory.new_nonce, CA "nonce");
    assert_string_equal(directory.new_account, CA "account");
    assert_string_equal(directory.new_order, CA "order");
    assert_string_equal(directory.revoke_cert, CA "revoke");
    assert_string_equal(directory.key_change, CA "rollover");
    assert_string_equal(directory.renewal_info, CA "ari");
    assert_string_equal(directory.terms, "https://ca.test/tos");
    assert_string_equal(directory.website, "https://ca.test");
    assert_true(directory.external_account_required);
    assert_int_equal(directory.caa_identities.n, 2);
    assert_int_equal(directory.profiles.n, 2);
    assert_true(strlist_has(&directory.profiles, "shortlived"));
    assert_int_equal(directory.issuer_names.n, 2);
    assert_string_equal(directory.issuer_names.v[0], "ca.test");
    assert_string_equal(directory.account_hash_prefix, "acct:");
    directory_clear(&directory);
    assert_string_equal(directory.new_nonce, "");
}

static void test_bare(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{" REQUIRED "}",
        "\r\n {" REQUIRED ",\"meta\":null}\n",
        "{" REQUIRED ",\"meta\":[],\"keyChange\":null,\"renewalInfo\":7}",
        "{" REQUIRED ",\"meta\":{\"termsOfService\":5,\"website\":\"javascript:x\",\"caaIdentities\":\"x\","
        "\"externalAccountRequired\":\"yes\",\"profiles\":[1]}}",
        "{" REQUIRED ",\"meta\":{\"issuerDomainNames\":\"ca.test\",\"accountHashPrefix\":7}}",
        "{" REQUIRED ",\"unknown\":{\"deep\":[[[[[1]]]]]}}",
    };
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        struct directory directory = {0};
        struct err err = ERR_INIT;
        if (!parse(bodies[i], &directory, &err))
            fail_msg("%s: %s", bodies[i], err.text);
        assert_string_equal(directory.new_order, CA "order");
        assert_string_equal(directory.renewal_info, "");
        assert_string_equal(directory.key_change, "");
        assert_string_equal(directory.website, "");
        assert_string_equal(directory.terms, "");
        assert_false(directory.external_account_required);
        directory_clear(&directory);
    }
}

static void test_terms_are_shown_safely(void **state)
{
    (void)state;
    struct directory directory = {0};
    struct err err = ERR_INIT;
    assert_true(parse("{" REQUIRED
                      ",\"meta\":{\"termsOfService\":\"data:text/plain,Do%20what%20thou%20wilt\"}}",
                      &directory, &err));
    assert_string_equal(directory.terms, "data:text/plain,Do%20what%20thou%20wilt");
    assert_true(parse("{" REQUIRED ",\"meta\":{\"termsOfService\":\"\\u001b[2Jclear\"}}", &directory, &err));
    assert_string_equal(directory.terms, "?[2Jclear");
    /* parsed again into the same: nothing of before stays */
    assert_true(parse("{" REQUIRED "}", &directory, &err));
    assert_string_equal(directory.terms, "");
    directory_clear(&directory);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *json, *text; /* in the error */
    } rows[] = {
        {"", "(empty)"},
        {"<!DOCTYPE html>\n<html>Welcome</html>", "<!DOCTYPE html> <html>Welcome"},
        {"null", "null"},
        {"[]", "[]"},
        {"{}", "newNonce"},
        {"{" REQUIRED, "begins"},
        {"{" REQUIRED "} x", "begins"},
        {"{" REQUIRED ",\"newNonce\":\"" CA "twice\"}", "begins"},
        {"{\"newNonce\":\"" CA "n\",\"newAccount\":\"" CA "a\"}", "newOrder"},
        {"{\"newNonce\":\"" CA "n\",\"newAccount\":5,\"newOrder\":\"" CA "o\"}", "newAccount"},
        {"{\"newNonce\":\"http://ca.test:14000/n\",\"newAccount\":\"" CA "a\",\"newOrder\":\"" CA "o\"}",
         "newNonce"},
        {"{\"newNonce\":\"https://evil.test/n\",\"newAccount\":\"" CA "a\",\"newOrder\":\"" CA "o\"}",
         "evil.test"},
        {"{\"newNonce\":\"https://ca.test/n\",\"newAccount\":\"" CA "a\",\"newOrder\":\"" CA "o\"}",
         "newNonce"},
        {"{\"newNonce\":\"/n\",\"newAccount\":\"" CA "a\",\"newOrder\":\"" CA "o\"}", "newNonce"},
        {"{\"newNonce\":\"\",\"newAccount\":\"" CA "a\",\"newOrder\":\"" CA "o\"}", "newNonce"},
        {"{" REQUIRED ",\"keyChange\":\"https://evil.test/k\"}", "keyChange"},
        {"{" REQUIRED ",\"revokeCert\":\"" CA "a b\"}", "revokeCert"},
        {"{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}", "nested"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct directory directory = {0};
        struct err err = ERR_INIT;
        assert_false(parse(rows[i].json, &directory, &err));
        if (err.code != ERR_PROTOCOL || strstr(err.text, rows[i].text) == NULL ||
            strstr(err.advice, "--server") == NULL || strcmp(err.subject, URL) != 0)
            fail_msg("row %zu: %s: %s; %s", i, err.subject, err.text, err.advice);
        directory_clear(&directory);
    }
}

static void test_oversized(void **state)
{
    (void)state;
    struct directory directory = {0};
    struct err err = ERR_INIT;
    AUTO_BUF json = BUF_INIT;
    buf_adds(&json, "{" REQUIRED ",\"meta\":{\"termsOfService\":\"");
    for (int i = 0; i < URL_MAX_BYTES; i++)
        buf_adds(&json, "t");
    buf_adds(&json, "\",\"caaIdentities\":[\"x\"");
    for (int i = 0; i < 1000; i++)
        buf_addf(&json, ",\"ca%d.test\"", i);
    buf_adds(&json, "],\"accountHashPrefix\":\"");
    for (size_t i = 0; i < sizeof directory.account_hash_prefix; i++)
        buf_adds(&json, "h");
    buf_adds(&json, "\",\"issuerDomainNames\":[\"x\"");
    for (int i = 0; i < 1000; i++)
        buf_addf(&json, ",\"ca%d.test\"", i);
    buf_adds(&json, "],\"profiles\":{\"p\":\"\"");
    for (int i = 0; i < 1000; i++)
        buf_addf(&json, ",\"p%d\":\"\"", i);
    buf_adds(&json, "}}}");
    assert_true(parse(buf_str(&json), &directory, &err));
    assert_string_equal(directory.terms, "");
    assert_in_range(directory.caa_identities.n, 1, 32);
    assert_in_range(directory.profiles.n, 1, 64);
    assert_in_range(directory.issuer_names.n, 1, 10);
    assert_string_equal(directory.account_hash_prefix, "");
    directory_clear(&directory);
}

/* They become parts of DNS records, of lines, and of what a person reads. */
static void test_words_are_checked(void **state)
{
    (void)state;
    struct directory directory = {0};
    struct err err = ERR_INIT;
    assert_true(
        parse("{" REQUIRED
              ",\"meta\":{\"issuerDomainNames\":[\"ca.test; policy=wildcard\",\"a b\",\"\",7,\"ok.test\","
              "\"OK.test\",\"x\\n\"],\"caaIdentities\":[\"ca.test;x\",\"\\u001b[1m\",\"Good.test\"],"
              "\"profiles\":{\"with "
              "space\":\"\",\"line\\nbreak\":\"\",\"\":\"\",\"good\":\"\",\"b\\u00e4d\":\"\"}}}",
              &directory, &err));
    assert_int_equal(directory.issuer_names.n, 1);
    assert_string_equal(directory.issuer_names.v[0], "ok.test");
    assert_int_equal(directory.caa_identities.n, 1);
    assert_string_equal(directory.caa_identities.v[0], "good.test");
    assert_int_equal(directory.profiles.n, 1);
    assert_string_equal(directory.profiles.v[0], "good");
    static const char *const prefixes[] = {"a b", "a;b", "a\\nb", "b\\u00fccher"};
    for (size_t i = 0; i < COUNT_OF(prefixes); i++) {
        AUTO_BUF json = BUF_INIT;
        buf_addf(&json, "{" REQUIRED ",\"meta\":{\"accountHashPrefix\":\"%s\"}}", prefixes[i]);
        assert_true(parse(buf_str(&json), &directory, &err));
        assert_string_equal(directory.account_hash_prefix, "");
        assert_int_equal(directory.issuer_names.n, 0);
    }
    directory_clear(&directory);
}

/* Deep, but not in truth: brackets in strings do not count, and closing ones do not buy more. */
static void test_depth_is_counted_right(void **state)
{
    (void)state;
    struct directory directory = {0};
    struct err err = ERR_INIT;
    assert_true(parse("{" REQUIRED ",\"x\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[[[[[[[[[[\\\\\"}",
                      &directory, &err));
    AUTO_BUF json = BUF_INIT;
    for (int i = 0; i < 100000; i++)
        buf_adds(&json, "]");
    for (int i = 0; i < 100000; i++)
        buf_adds(&json, "[");
    assert_false(directory_parse(URL, json.data, json.len, &directory, &err));
    directory_clear(&directory);
}

int main(void)
{
#define CASE(name, function)                                                                                 \
    {                                                                                                        \
        name, function, NULL, NULL, NULL                                                                     \
    }
    const struct CMUnitTest tests[] = {
        CASE("case 1: unknown keys; case 12: external account required", test_full),
        CASE("case 1: absent optional ones", test_bare),
        cmocka_unit_test(test_terms_are_shown_safely),
        CASE("case 2: HTML instead of a directory, and others that are none", test_refused),
        CASE("case 3: oversized", test_oversized),
        CASE("case 3: deep", test_depth_is_counted_right),
        cmocka_unit_test(test_words_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
