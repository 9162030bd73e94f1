/*
 * test_dns_record.c - the records that prove names: the vectors of the RFCs and drafts, and every way in
 * which people write them wrongly.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tlsup/dns_record.h"
#include "tlsup/mem.h"

static struct err err;

static int setup(void **state)
{
    (void)state;
    err_clear(&err);
    return 0;
}

/* -- names and values ------------------------------------------------------------------------------------ */

#define EXAMPLE_ACCOUNT "https://example.com/acme/acct/ExampleAccount"

static void test_record_names(void **state)
{
    (void)state;
    static const struct {
        enum challenge_type type;
        const char *name, *account, *record;
    } rows[] = {
        {CHALLENGE_DNS_01, "example.org", NULL, "_acme-challenge.example.org"},
        {CHALLENGE_DNS_01, "*.example.org", NULL, "_acme-challenge.example.org"},
        {CHALLENGE_DNS_01, "a.b.example.org", EXAMPLE_ACCOUNT, "_acme-challenge.a.b.example.org"},
        {CHALLENGE_DNS_ACCOUNT_01, "example.com", EXAMPLE_ACCOUNT,
         "_ujmmovf2vn55tgye._acme-challenge.example.com"},
        {CHALLENGE_DNS_ACCOUNT_01, "*.example.com", EXAMPLE_ACCOUNT,
         "_ujmmovf2vn55tgye._acme-challenge.example.com"},
        {CHALLENGE_DNS_PERSIST_01, "*.example.org", NULL, "_validation-persist.example.org"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char out[DNS_NAME_BYTES];
        assert_true(dns_record_name(rows[i].type, rows[i].name, rows[i].account, out, &err));
        assert_string_equal(out, rows[i].record);
    }
}

/* "a.aaa.…": labels of 50, `len` octets in all. */
static char *long_name(size_t len)
{
    char *name = mem_alloc(len + 1);
    for (size_t i = 0; i < len; i++)
        name[i] = i % 50 == 1 ? '.' : 'a';
    return name;
}

static void test_record_names_that_cannot_be(void **state)
{
    (void)state;
    char out[DNS_NAME_BYTES] = "untouched";
    AUTO_FREE char *longest = long_name(253 - strlen("_acme-challenge."));
    AUTO_FREE char *longer = long_name(254 - strlen("_acme-challenge."));
    AUTO_FREE char *wildcard = mem_fmt("*.%s", longest);
    assert_true(dns_record_name(CHALLENGE_DNS_01, longest, NULL, out, &err));
    assert_int_equal(strlen(out), 253);
    assert_true(dns_record_name(CHALLENGE_DNS_01, wildcard, NULL, out, &err));
    snprintf(out, sizeof out, "untouched");
    assert_false(dns_record_name(CHALLENGE_DNS_01, longer, NULL, out, &err));
    assert_int_equal(err.code, ERR_NAME);
    err_clear(&err);
    assert_false(dns_record_name(CHALLENGE_DNS_ACCOUNT_01, longest, EXAMPLE_ACCOUNT, out, &err));
    assert_int_equal(err.code, ERR_NAME);
    static const char *const addresses[] = {"192.0.2.1", "2001:db8::1"};
    for (size_t i = 0; i < COUNT_OF(addresses); i++) {
        err_clear(&err);
        assert_false(dns_record_name(CHALLENGE_DNS_01, addresses[i], NULL, out, &err));
        assert_int_equal(err.code, ERR_NAME);
    }
    err_clear(&err);
    assert_false(dns_record_name(CHALLENGE_HTTP_01, "example.org", NULL, out, &err));
    err_clear(&err);
    assert_false(dns_record_name(CHALLENGE_DNS_ACCOUNT_01, "example.org", NULL, out, &err));
    assert_string_equal(out, "untouched");
}

static void test_record_value(void **state)
{
    (void)state;
    char out[DNS_VALUE_BYTES];
    dns_record_value(
        "abc", out); /* FIPS 180-2: ba7816bf 8f01cfea 414140de 5dae2223 b00361a3 96177a9c b410ff61 f20015ad */
    assert_string_equal(out, "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
}

/* -- dns-persist-01 ------------------------------------------------------------------------------------- */

#define THUMBPRINT "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
#define ACCOUNT "https://ca.example/acct/123"
#define ISSUER_ACCOUNT "ca.example; accounturi=" ACCOUNT

static void test_persist_uri(void **state)
{
    (void)state;
    AUTO_BUF out = BUF_INIT;
    dns_persist_uri("https://ca.example/", "example.com", THUMBPRINT, ACCOUNT, &out);
    assert_string_equal(buf_str(&out),
                        "https://ca.example/sha-256/5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw");
    buf_reset(&out);
    dns_persist_uri("x:", "*", THUMBPRINT, ACCOUNT, &out);
    assert_string_equal(buf_str(&out), "x:sha-256/NpDnSwUthQK8zCgFdefYxAdAVPnygMLbs9US6oO-5ug");
}

static const struct dns_persist plain = {
    .draft = 1, .issuers = "ca.example other.example", .account_uri = ACCOUNT};
static const struct dns_persist wild = {
    .draft = 1, .issuers = "ca.example other.example", .account_uri = ACCOUNT, .wildcard = true};

static void test_persist_text(void **state)
{
    (void)state;
    AUTO_BUF out = BUF_INIT;
    dns_persist_text(&plain, 0, &out);
    assert_string_equal(buf_str(&out), ISSUER_ACCOUNT);
    buf_reset(&out);
    dns_persist_text(&wild, 1767225600, &out);
    assert_string_equal(buf_str(&out), ISSUER_ACCOUNT "; policy=wildcard; persistUntil=1767225600");
}

enum { NOW_S = 1700000000 };

static bool check_values(const struct dns_persist *want, int64_t *until_s, size_t n,
                         const char *const *values)
{
    AUTO_STRLIST list = STRLIST_INIT;
    for (size_t i = 0; i < n; i++)
        strlist_add(&list, values[i]);
    err_clear(&err);
    return dns_persist_check(want, &list, NOW_S, until_s, &err);
}

static bool check_one(const struct dns_persist *want, const char *value, int64_t *until_s)
{
    return check_values(want, until_s, 1, &value);
}

static void test_persist_what_we_write_does(void **state)
{
    (void)state;
    static const int64_t untils[] = {0, NOW_S + 1, NOW_S + 86400};
    for (size_t i = 0; i < COUNT_OF(untils); i++) {
        AUTO_BUF text = BUF_INIT;
        int64_t until_s = -1;
        dns_persist_text(&wild, untils[i], &text);
        assert_true(check_one(&wild, buf_str(&text), &until_s));
        assert_int_equal(until_s, untils[i]);
        assert_true(check_one(&plain, buf_str(&text), &until_s)); /* the policy does not hurt */
    }
}

static void test_persist_ways_of_writing(void **state)
{
    (void)state;
    static const char *const good[] = {
        "ca.example;accounturi=" ACCOUNT,
        " \tca.example ;\t accounturi \t= " ACCOUNT " ",
        "CA.Example; AccountURI=" ACCOUNT "; POLICY=WildCard",
        "other.example; policy=wildcard; accounturi=" ACCOUNT,
        ISSUER_ACCOUNT "; policy=something-new",
        ISSUER_ACCOUNT "; unknown-tag=whatever; x=",
        ISSUER_ACCOUNT "; PersistUntil=1700000001",
    };
    int64_t until_s;
    for (size_t i = 0; i < COUNT_OF(good); i++)
        if (!check_one(&plain, good[i], &until_s))
            fail_msg("%s: %s", good[i], err.text);
}

static void test_persist_what_does_not_do(void **state)
{
    (void)state;
    static const struct {
        const struct dns_persist *want;
        const char *value, *said;
    } rows[] = {
        {&plain, "", "another CA"},
        {&plain, ";", "another CA"},
        {&plain, "v=spf1 -all", "domain name of a CA"},
        {&plain, "ca.example.; accounturi=" ACCOUNT, "domain name of a CA"},
        {&plain, "-ca.example; accounturi=" ACCOUNT, "domain name of a CA"},
        {&plain, "ca..example; accounturi=" ACCOUNT, "domain name of a CA"},
        {&plain, "\"ca.example; accounturi=" ACCOUNT "\"", "quotation mark"},
        {&plain, "evil.example; accounturi=" ACCOUNT, "another CA"},
        {&plain, "ca.example.evil; accounturi=" ACCOUNT, "another CA"},
        {&plain, "xca.example; accounturi=" ACCOUNT, "another CA"},
        {&plain, "ca.example other.example; accounturi=" ACCOUNT, "domain name of a CA"},
        {&plain, "ca.example", "no accounturi"},
        {&plain, "ca.example;", "no accounturi"},
        {&plain, ISSUER_ACCOUNT ";", "a ';' too many"},
        {&plain, ISSUER_ACCOUNT "; ; policy=wildcard", "a ';' too many"},
        {&plain, "ca.example;; accounturi=" ACCOUNT, "a ';' too many"},
        {&plain, "ca.example; accounturi", "no '='"},
        {&plain, "ca.example; " ACCOUNT, "no '='"},
        {&plain, "ca.example; =" ACCOUNT, "name of a parameter"},
        {&plain, "ca.example; account_uri=" ACCOUNT, "name of a parameter"},
        {&plain, "ca.example; -accounturi=" ACCOUNT, "name of a parameter"},
        {&plain, ISSUER_ACCOUNT " policy=wildcard", "a blank"},
        {&plain, ISSUER_ACCOUNT "; note=caf\xc3\xa9", "a blank"},
        {&plain,
         ISSUER_ACCOUNT "; note=a\x01"
                        "b",
         "a blank"},
        {&plain, ISSUER_ACCOUNT "; accounturi=" ACCOUNT, "twice"},
        {&plain, ISSUER_ACCOUNT "; AccountUri=https://ca.example/acct/5", "twice"},
        {&plain, ISSUER_ACCOUNT "; x=1; X=2", "twice"},
        {&plain, "ca.example; accounturi=", "not that of this account"},
        {&plain, "ca.example; accounturi=" ACCOUNT "4", "not that of this account"},
        {&plain, "ca.example; accounturi=https://ca.example/acct/12", "not that of this account"},
        {&plain, "ca.example; accounturi=HTTPS://ca.example/acct/123", "not that of this account"},
        {&plain, ISSUER_ACCOUNT "; persistUntil=1699999999", "good until 2023-11-14T22:13:19Z"},
        {&plain, ISSUER_ACCOUNT "; persistUntil=1700000000", "good until"},
        {&plain, ISSUER_ACCOUNT "; persistUntil=", "no number"},
        {&plain, ISSUER_ACCOUNT "; persistUntil=0", "no number"},
        {&plain, ISSUER_ACCOUNT "; persistUntil=-1", "no number"},
        {&plain, ISSUER_ACCOUNT "; persistUntil=1e12", "no number"},
        {&plain, ISSUER_ACCOUNT "; persistUntil=99999999999999999999", "no number"},
        {&plain, ISSUER_ACCOUNT "; persistUntil=2027-01-01", "no number"},
        {&wild, ISSUER_ACCOUNT, "no policy=wildcard"},
        {&wild, ISSUER_ACCOUNT "; policy=wildcards", "no policy=wildcard"},
        {&wild, ISSUER_ACCOUNT "; policy=", "no policy=wildcard"},
        {&plain,
         "ca.example;a=1;b=1;c=1;d=1;e=1;f=1;g=1;h=1;i=1;j=1;k=1;l=1;m=1;n=1;o=1;p=1;accounturi=" ACCOUNT,
         "more parameters"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int64_t until_s = 77;
        if (check_one(rows[i].want, rows[i].value, &until_s) || strstr(err.text, rows[i].said) == NULL)
            fail_msg("%s: %s", rows[i].value, err.text);
        assert_int_equal(err.code, ERR_CONFIG);
        assert_int_equal(until_s, 77);
        assert_non_null(strstr(err.advice, ISSUER_ACCOUNT));
    }
}

static void test_persist_several_records(void **state)
{
    (void)state;
    int64_t until_s;
    static const char *const mixed[] = {
        "v=spf1 -all", ISSUER_ACCOUNT "; persistUntil=1700000500", "evil.example; accounturi=" ACCOUNT,
        ISSUER_ACCOUNT "; persistUntil=1700000900", ISSUER_ACCOUNT "; persistUntil=1"};
    assert_true(check_values(&plain, &until_s, COUNT_OF(mixed), mixed));
    assert_int_equal(until_s, 1700000900);
    static const char *const for_ever[] = {ISSUER_ACCOUNT "; persistUntil=1700000500", ISSUER_ACCOUNT,
                                           ISSUER_ACCOUNT "; persistUntil=1700000900"};
    assert_true(check_values(&plain, &until_s, COUNT_OF(for_ever), for_ever));
    assert_int_equal(until_s, 0);
    /* of several that do not do, the one that needs least is told */
    static const char *const near[] = {"evil.example; accounturi=" ACCOUNT, ISSUER_ACCOUNT,
                                       "ca.example; accounturi=https://ca.example/acct/9", "v=spf1"};
    assert_false(check_values(&wild, &until_s, COUNT_OF(near), near));
    assert_non_null(strstr(err.text, "no policy=wildcard"));
    assert_non_null(strstr(err.advice, "policy=wildcard"));
    assert_false(check_values(&plain, &until_s, 0, NULL));
    assert_non_null(strstr(err.text, "no such record"));
}

static void test_persist_second_draft(void **state)
{
    (void)state;
    AUTO_BUF own = BUF_INIT, any = BUF_INIT, text = BUF_INIT;
    int64_t until_s;
    dns_persist_uri("https://ca.example/", "example.com", THUMBPRINT, ACCOUNT, &own);
    dns_persist_uri("https://ca.example/", "*", THUMBPRINT, ACCOUNT, &any);
    struct dns_persist want = {
        .draft = 2, .issuers = "ca.example", .account_uri = buf_str(&own), .any_uri = buf_str(&any)};
    dns_persist_text(&want, 0, &text);
    assert_string_equal(buf_str(&text),
                        "ca.example; "
                        "accounturi=https://ca.example/sha-256/5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw");
    assert_true(check_one(&want, buf_str(&text), &until_s));
    buf_reset(&text);
    buf_addf(&text, "ca.example; accounturi=%s", buf_str(&any));
    assert_true(check_one(&want, buf_str(&text), &until_s));
    want.any_uri = NULL;
    assert_false(check_one(&want, buf_str(&text), &until_s));
    assert_false(check_one(&want, ISSUER_ACCOUNT, &until_s));
}

/* What a stranger can put into a zone: it neither overruns anything nor reaches the terminal. */
static void test_persist_hostile_records(void **state)
{
    (void)state;
    int64_t until_s;
    AUTO_BUF big = BUF_INIT;
    buf_adds(&big, ISSUER_ACCOUNT);
    for (int i = 0; i < 20000; i++)
        buf_adds(&big, "; a=b");
    assert_false(check_one(&plain, buf_str(&big), &until_s));
    buf_reset(&big);
    for (int i = 0; i < 100000; i++)
        buf_addc(&big, 'x');
    assert_false(check_one(&plain, buf_str(&big), &until_s));
    assert_false(check_one(&plain, "ca.example; a=\x1b[2J", &until_s));
    assert_null(strchr(err.text, '\x1b'));
}

/* -- CAA ------------------------------------------------------------------------------------------------ */

static struct strlist letsencrypt;

static bool allows(const struct dns_caa *records, size_t n, const char *name, const char *account,
                   enum challenge_type method)
{
    err_clear(&err);
    return dns_caa_allows(records, n, name, &letsencrypt, account, method, &err);
}

static void test_caa_one_record(void **state)
{
    (void)state;
    static const struct {
        const char *value, *refused; /* NULL = allowed */
    } rows[] = {
        {"letsencrypt.org", NULL},
        {" letsencrypt.org ", NULL},
        {"LetsEncrypt.ORG", NULL},
        {"letsencrypt.org;", NULL},
        {"letsencrypt.org; ", NULL},
        {"le-ca.example", NULL}, /* another name of the same CA */
        {"letsencrypt.org; unknown=1; policy=ev", NULL},
        {"letsencrypt.org; accounturi=https://ca.test/acct/1", NULL},
        {"letsencrypt.org; validationmethods=dns-01", NULL},
        {"letsencrypt.org; validationmethods=http-01,dns-01,ca-own", NULL},
        {"letsencrypt.org;validationmethods=dns-01;accounturi=https://ca.test/acct/1", NULL},
        {"letsencrypt.org; ACCOUNTURI=https://ca.test/acct/1", NULL},
        {";", "nobody"},
        {"", "nobody"},
        {" ; ", "nobody"},
        {";accounturi=https://ca.test/acct/1", "nobody"},
        {"digicert.com", "another CA"},
        {"letsencrypt.org.evil.example", "another CA"},
        {"letsencrypt.org x", "domain name of a CA"},
        {"\"letsencrypt.org\"", "quotation mark"},
        {"%%%%%", "domain name of a CA"},
        {"letsencrypt.org; accounturi", "no '='"},
        {"letsencrypt.org; a=b;", "too many"},
        {"letsencrypt.org; accounturi=https://ca.test/acct/2", "another account"},
        {"letsencrypt.org; accounturi=", "another account"},
        {"letsencrypt.org; accounturi=https://ca.test/acct/1; accounturi=https://ca.test/acct/1", "twice"},
        {"letsencrypt.org; validationmethods=http-01", "method dns-01"},
        {"letsencrypt.org; validationmethods=", "method dns-01"},
        {"letsencrypt.org; validationmethods=dns-011,dns", "method dns-01"},
        {"letsencrypt.org; validationmethods=dns-01; validationmethods=dns-01", "twice"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct dns_caa record = {0, "issue", ""};
        snprintf(record.value, sizeof record.value, "%s", rows[i].value);
        bool ok = allows(&record, 1, "www.example.org", "https://ca.test/acct/1", CHALLENGE_DNS_01);
        if (ok != (rows[i].refused == NULL))
            fail_msg("%s: %s", rows[i].value, err.text);
        if (ok)
            continue;
        assert_int_equal(err.code, ERR_CONFIG);
        if (strstr(err.text, rows[i].refused) == NULL || strstr(err.text, rows[i].value) == NULL ||
            strstr(err.advice, "www.example.org. CAA 0 issue \"letsencrypt.org\"") == NULL)
            fail_msg("%s: %s (%s)", rows[i].value, err.text, err.advice);
    }
}

static void test_caa_sets(void **state)
{
    (void)state;
    static const struct {
        const char *what, *name;
        bool allowed;
        struct dns_caa records[3];
        size_t n;
    } rows[] = {
        {"nothing said", "example.org", true, {{0}}, 0},
        {"only a report address", "example.org", true, {{0, "iodef", "mailto:x@example.org"}}, 1},
        {"one of two",
         "example.org",
         true,
         {{0, "issue", "digicert.com"}, {0, "issue", "letsencrypt.org"}},
         2},
        {"nobody and one", "example.org", true, {{0, "issue", ";"}, {0, "issue", "letsencrypt.org"}}, 2},
        {"none of two", "example.org", false, {{0, "issue", "digicert.com"}, {0, "issue", "sectigo.com"}}, 2},
        {"tag in capitals", "example.org", false, {{0, "ISSUE", "digicert.com"}}, 1},
        {"critical and known",
         "example.org",
         true,
         {{128, "issue", "letsencrypt.org"}, {128, "iodef", "x"}},
         2},
        {"critical and unknown",
         "example.org",
         false,
         {{0, "issue", "letsencrypt.org"}, {128, "tbs", "x"}},
         2},
        {"critical among bits",
         "example.org",
         false,
         {{0, "issue", "letsencrypt.org"}, {255, "tbs", "x"}},
         2},
        {"unknown, not critical", "example.org", true, {{0, "issue", "letsencrypt.org"}, {1, "tbs", "x"}}, 2},
        {"wildcard by issue", "*.example.org", true, {{0, "issue", "letsencrypt.org"}}, 1},
        {"wildcard by issue, no", "*.example.org", false, {{0, "issue", "digicert.com"}}, 1},
        {"wildcard by issuewild",
         "*.example.org",
         true,
         {{0, "issue", ";"}, {0, "issuewild", "letsencrypt.org"}},
         2},
        {"wildcard forbidden",
         "*.example.org",
         false,
         {{0, "issue", "letsencrypt.org"}, {0, "issuewild", ";"}},
         2},
        {"issuewild is not for others",
         "example.org",
         true,
         {{0, "issue", "letsencrypt.org"}, {0, "issuewild", ";"}},
         2},
        {"issuewild alone", "example.org", true, {{0, "issuewild", ";"}}, 1},
        {"issuewild alone, wildcard", "*.example.org", false, {{0, "IssueWild", ";"}}, 1},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (allows(rows[i].records, rows[i].n, rows[i].name, NULL, CHALLENGE_HTTP_01) != rows[i].allowed)
            fail_msg("%s: %s", rows[i].what, err.text);
    assert_non_null(strstr(err.advice, "example.org. CAA 0 IssueWild"));
}

/* Before there is an account, or a method, what is said about them is no obstacle. */
static void test_caa_what_is_not_known_yet(void **state)
{
    (void)state;
    const struct dns_caa bound = {0, "issue",
                                  "letsencrypt.org; accounturi=https://ca.test/9; validationmethods=http-01"};
    assert_true(allows(&bound, 1, "example.org", NULL, CHALLENGE_UNKNOWN));
    assert_true(allows(&bound, 1, "example.org", "", CHALLENGE_HTTP_01));
    assert_false(allows(&bound, 1, "example.org", "https://ca.test/1", CHALLENGE_HTTP_01));
    assert_false(allows(&bound, 1, "example.org", NULL, CHALLENGE_DNS_01));
    const struct strlist nobody = STRLIST_INIT;
    const struct dns_caa other = {0, "issue", "digicert.com; accounturi=x"}, closed = {0, "issue", ";"},
                         odd = {128, "tbs", "x"}, broken = {0, "issue", "???"};
    assert_true(dns_caa_allows(&other, 1, "example.org", &nobody, "y", CHALLENGE_DNS_01, &err));
    assert_false(dns_caa_allows(&closed, 1, "example.org", &nobody, "y", CHALLENGE_DNS_01, &err));
    err_clear(&err);
    assert_false(dns_caa_allows(&broken, 1, "example.org", &nobody, "y", CHALLENGE_DNS_01, &err));
    err_clear(&err);
    assert_false(dns_caa_allows(&odd, 1, "example.org", &nobody, "y", CHALLENGE_DNS_01, &err));
}

/* Of several in the way, the one that is nearest to allowing is named. */
static void test_caa_tells_the_nearest(void **state)
{
    (void)state;
    const struct dns_caa records[] = {{0, "issue", "digicert.com"},
                                      {0, "issue", "letsencrypt.org; validationmethods=http-01"},
                                      {0, "issue", "letsencrypt.org; accounturi=https://ca.test/9"}};
    assert_false(allows(records, COUNT_OF(records), "example.org", "https://ca.test/1", CHALLENGE_DNS_01));
    assert_non_null(strstr(err.text, "validationmethods=http-01"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        TEST(test_record_names),
        TEST(test_record_names_that_cannot_be),
        TEST(test_record_value),
        TEST(test_persist_uri),
        TEST(test_persist_text),
        TEST(test_persist_what_we_write_does),
        TEST(test_persist_ways_of_writing),
        TEST(test_persist_what_does_not_do),
        TEST(test_persist_several_records),
        TEST(test_persist_second_draft),
        TEST(test_persist_hostile_records),
        TEST(test_caa_one_record),
        TEST(test_caa_sets),
        TEST(test_caa_what_is_not_known_yet),
        TEST(test_caa_tells_the_nearest),
    };
    strlist_add(&letsencrypt, "letsencrypt.org");
    strlist_add(&letsencrypt, "le-ca.example");
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    strlist_clear(&letsencrypt);
    return failed;
}
