/*
 * test_problem.c - whatever a CA says when it says no, a person reads what happened, to which name, and what
 * to do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tlsup/buf.h"
#include "tlsup/compat.h"
#include "tlsup/problem.h"

#define URN "urn:ietf:params:acme:error:"

static void parse(int status, const char *body, struct problem *out)
{
    memset(out, 0xA5, sizeof *out); /* nothing of before may shine through */
    problem_parse(status, body, strlen(body), out);
}

static void test_a_problem_document(void **state)
{
    (void)state;
    struct problem problem;
    parse(403,
          "{\"type\":\"" URN
          "userActionRequired\",\"title\":\"T\",\"detail\":\"Terms have changed\",\"status\":418,"
          "\"instance\":\"https://ca.test/tos\",\"identifier\":{\"type\":\"dns\",\"value\":\"a.test\"}}",
          &problem);
    assert_string_equal(problem.type, "userActionRequired");
    assert_string_equal(problem.detail, "Terms have changed");
    assert_string_equal(problem.instance, "https://ca.test/tos");
    assert_string_equal(problem.identifier, "a.test");
    assert_int_equal(problem.status, 403); /* of the answer, not of the text */
    assert_int_equal(problem.n_sub, 0);
}

static void test_odd_forms(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *body, *type, *detail;
        int wanted_status;
    } rows[] = {
        {502,
         "<html><head><title>502 Bad "
         "Gateway</title></head>\r\n<body>\r\n<center>nginx</center></body></html>",
         "", "502 Bad Gateway nginx", 502},
        {503, "upstream  connect\n error", "", "upstream connect error", 503},
        {500, "", "", "", 500},
        {500, "null", "", "null", 500},
        {500, "[1,2]", "", "[1,2]", 500},
        {400, "{}", "", "", 400},
        {400, "{\"detail\":5,\"title\":\"Only a title\",\"type\":{}}", "", "Only a title", 400},
        {0, "{\"status\":429,\"type\":\"" URN "rateLimited\"}", "rateLimited", "", 429},
        {0, "{\"status\":\"429\"}", "", "", 0},
        {0, "{\"status\":99}", "", "", 0},
        {0, "{\"status\":600}", "", "", 0},
        {0, "{\"status\":-9223372036854775808}", "", "", 0},
        {400, "{\"type\":\"about:blank\",\"detail\":\"d\"}", "", "d", 400},
        {400, "{\"type\":\"https://ca.test/errors/odd\",\"detail\":\"d\"}", "https://ca.test/errors/odd", "d",
         400},
        {400, "{\"type\":\"" URN "\",\"detail\":\"d\"}", "", "d", 400},
        {400, "{\"detail\":\"\\u001b[31mred\\u0007\"}", "", "?[31mred?", 400},
        {400, "\x1b]0;title\x07text", "", "]0;title text", 400},
        {400, "{\"detail\":\"a\\u0000b\"}", "", "{\"detail\":\"a\\u0000b\"}",
         400}, /* no JSON to us, shown as it is */
        {400, "{\"detail\":\"one\",\"detail\":\"two\"}", "", "{\"detail\":\"one\",\"detail\":\"two\"}", 400},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct problem problem;
        parse(rows[i].status, rows[i].body, &problem);
        if (strcmp(problem.type, rows[i].type) != 0 || strcmp(problem.detail, rows[i].detail) != 0 ||
            problem.status != rows[i].wanted_status)
            fail_msg("row %zu: \"%s\" \"%s\" %d", i, problem.type, problem.detail, problem.status);
    }
}

static void test_oversized(void **state)
{
    (void)state;
    struct problem problem;
    AUTO_BUF body = BUF_INIT;
    buf_adds(&body, "{\"type\":\"");
    for (int i = 0; i < 1000; i++)
        buf_adds(&body, "x");
    buf_adds(&body, "\",\"detail\":\"");
    for (int i = 0; i < 100000; i++)
        buf_adds(&body, "\\u00fc");
    buf_adds(&body, "\",\"subproblems\":[7,null,\"x\"");
    for (int i = 0; i < 1000; i++)
        buf_addf(&body, ",{\"detail\":\"sub %d\"}", i);
    buf_adds(&body, "]}");
    parse(400, buf_str(&body), &problem);
    assert_int_equal(strlen(problem.type), sizeof problem.type - 1);
    assert_int_equal(strlen(problem.detail), sizeof problem.detail - 1);
    assert_int_equal(problem.n_sub, PROBLEM_MAX_SUBPROBLEMS);
    assert_string_equal(problem.sub[3].detail, "sub 0");
    struct err err = ERR_INIT;
    assert_false(problem_to_err(&problem, "a.test", -1, &err));
    assert_int_equal(err.code, ERR_ACME);
}

static void test_deep_nesting(void **state)
{
    (void)state;
    struct problem problem;
    AUTO_BUF body = BUF_INIT;
    for (int i = 0; i < 200000; i++)
        buf_adds(&body, "[");
    problem_parse(500, buf_str(&body), body.len, &problem);
    assert_int_equal(problem.status, 500);
    assert_int_equal(strspn(problem.detail, "["), strlen(problem.detail));
    problem_parse(500, "{\"a\":1}trailing\0bytes", 21, &problem);
    assert_int_equal(problem.status, 500);
}

static void test_every_subproblem_is_told(void **state)
{
    (void)state;
    struct problem problem;
    struct err err = ERR_INIT;
    parse(400,
          "{\"type\":\"" URN "compound\",\"detail\":\"Errors for 2 names\",\"subproblems\":["
          "{\"type\":\"" URN
          "dns\",\"detail\":\"NXDOMAIN\",\"identifier\":{\"type\":\"dns\",\"value\":\"a.test\"}},"
          "{\"type\":\"" URN "caa\",\"identifier\":{\"type\":\"dns\",\"value\":\"b.test\"}},"
          "{\"detail\":\"no name, no type\"},{}]}",
          &problem);
    assert_int_equal(problem.n_sub, 4);
    assert_false(problem_to_err(&problem, "order", -1, &err));
    assert_string_equal(err.text, "Errors for 2 names (compound)\na.test: NXDOMAIN (dns)\nb.test: caa\nno "
                                  "name, no type\nno reason given");
    assert_string_equal(err.type, "compound");
    assert_string_equal(err.subject, "order");
    assert_int_equal(err.next, NEXT_REFUSED);
    assert_non_null(strstr(err.advice, "A or AAAA record")); /* of the first that is known */
}

static void test_what_next(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *type, *detail;
        int64_t retry_after_s;
        enum err_next next;
        int64_t wait_s;
        const char *advice; /* in it */
    } rows[] = {
        {429, "rateLimited", "too many certificates", 7200, NEXT_RETRY_LATER, 7200, "rate limit"},
        {429, "rateLimited", "too many certificates", -1, NEXT_RETRY_LATER, 0, "rate limit"},
        {429, "rateLimited", "paused; visit https://ca.test/unpause?t=1", -1, NEXT_REFUSED, 0,
         "visit the address"},
        {429, "rateLimited", "paused; visit https://ca.test/unpause?t=1", 60, NEXT_RETRY_LATER, 60,
         "rate limit"},
        {500, "serverInternal", "oops", -1, NEXT_RETRY_LATER, 0, "later"},
        {500, "serverInternal", "oops", 0, NEXT_RETRY_LATER, 0, "later"},
        {503, "", "busy", 30, NEXT_RETRY_LATER, 30, ""},
        {429, "", "slow down", 30, NEXT_RETRY_LATER, 30, ""},
        {404, "", "nothing here", 30, NEXT_REFUSED, 0, ""},
        {400, "malformed", "bad", 30, NEXT_REFUSED, 0, ""},
        {403, "https://ca.test/odd", "odd", -1, NEXT_REFUSED, 0, ""},
        {403, "caa", "forbidden", -1, NEXT_REFUSED, 0, "CAA record"},
        {400, "connection", "timeout", -1, NEXT_REFUSED, 0, "port 80"},
        {403, "unauthorized", "404", -1, NEXT_REFUSED, 0, "something other than tlsup"},
        {400, "rejectedIdentifier", "blocked", -1, NEXT_REFUSED, 0, "spelling"},
        {400, "badNonce", "stale", -1, NEXT_RETRY_NOW, 0, ""},
        {400, "accountDoesNotExist", "who?", -1, NEXT_RETRY_NOW, 0, "account register"},
        {403, "orderNotReady", "wait", -1, NEXT_RETRY_NOW, 0, ""},
        {400, "alreadyRevoked", "it is", -1, NEXT_NONE, 0, "revoked"},
        {403, "externalAccountRequired", "EAB", -1, NEXT_REFUSED, 0, "external account"},
        {400, "invalidProfile", "no such", -1, NEXT_REFUSED, 0, "profile"},
        {409, "alreadyReplaced", "it is", -1, NEXT_REFUSED, 0, ""},
        {403, "userActionRequired", "new terms", -1, NEXT_REFUSED, 0, "account update --agree-tos"},
        {403, "userActionRequired", "new terms", 60, NEXT_REFUSED, 0, "open the address"},
        {400, "badRevocationReason", "no", -1, NEXT_REFUSED, 0, "--reason"},
        {0, "", "of an order, without a status", -1, NEXT_REFUSED, 0, ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct problem problem = {.status = rows[i].status};
        struct err err = ERR_INIT;
        snprintf(problem.type, sizeof problem.type, "%s", rows[i].type);
        snprintf(problem.detail, sizeof problem.detail, "%s", rows[i].detail);
        assert_false(problem_to_err(&problem, "a.test", rows[i].retry_after_s, &err));
        if (err.code != ERR_ACME || err.next != rows[i].next || err.wait_s != rows[i].wait_s ||
            strstr(err.advice, rows[i].advice) == NULL || strstr(err.text, rows[i].detail) == NULL ||
            strcmp(err.type, rows[i].type) != 0 || strcmp(err.subject, "a.test") != 0)
            fail_msg("row %zu: next %d, wait %lld, \"%s\", \"%s\"", i, err.next, (long long)err.wait_s,
                     err.text, err.advice);
    }
}

static void test_something_is_always_shown(void **state)
{
    (void)state;
    struct problem problem;
    struct err err = ERR_INIT;
    parse(503, "", &problem);
    assert_false(problem_to_err(&problem, NULL, -1, &err));
    assert_string_equal(err.text, "no reason given (HTTP status 503)");
    assert_string_equal(err.subject, "");
    err_clear(&err);
    problem_parse_json("not JSON at all", &problem);
    assert_false(problem_to_err(&problem, "a.test", -1, &err));
    assert_string_equal(err.text, "no reason given");
    err_clear(&err);
    problem_parse_json("{\"type\":\"" URN
                       "caa\",\"instance\":\"https://ca.test/1\",\"identifier\":{\"value\":\"b.test\"}}",
                       &problem);
    assert_false(problem_to_err(&problem, "a.test", -1, &err));
    assert_string_equal(err.text, "caa\nsee https://ca.test/1");
    assert_string_equal(err.subject, "b.test"); /* the CA knows better which */
}

/* However long the rest is, the address that a person must visit is shown. */
static void test_addresses_survive(void **state)
{
    (void)state;
    struct problem problem;
    struct err err = ERR_INIT;
    AUTO_BUF body = BUF_INIT;
    buf_adds(&body, "{\"type\":\"" URN "userActionRequired\",\"instance\":\"https://ca.test/agree?");
    for (int i = 0; i < 900; i++)
        buf_adds(&body, "i");
    buf_adds(&body, "END\",\"detail\":\"");
    for (int i = 0; i < 5000; i++)
        buf_adds(&body, "d");
    buf_adds(&body, "\",\"subproblems\":[{\"detail\":\"one\"},{\"detail\":\"two\"}]}");
    parse(403, buf_str(&body), &problem);
    snprintf(problem.terms, sizeof problem.terms, "https://ca.test/terms/v2");
    assert_false(problem_to_err(&problem, "a.test", -1, &err));
    assert_non_null(strstr(err.text, "iiEND\nthe terms of service are at https://ca.test/terms/v2"));
    assert_non_null(strstr(err.text, "and 2 more"));
    assert_int_equal(err.next, NEXT_REFUSED);
    /* the same address is given once */
    err_clear(&err);
    parse(403, "{\"type\":\"" URN "userActionRequired\",\"instance\":\"https://ca.test/t\"}", &problem);
    snprintf(problem.terms, sizeof problem.terms, "https://ca.test/t");
    assert_false(problem_to_err(&problem, "a.test", -1, &err));
    assert_string_equal(err.text, "userActionRequired\nsee https://ca.test/t");
    /* an address at the end of a text */
    err_clear(&err);
    buf_reset(&body);
    buf_adds(&body,
             "{\"type\":\"" URN "rateLimited\",\"detail\":\"paused, visit https://ca.test/unpause?jwt=");
    for (int i = 0; i < 1000; i++)
        buf_adds(&body, "j");
    buf_adds(&body, "END\"}");
    parse(429, buf_str(&body), &problem);
    assert_false(problem_to_err(&problem, "a.test", -1, &err));
    assert_non_null(strstr(err.text, "jjEND"));
}

static void test_many_subproblems(void **state)
{
    (void)state;
    struct problem problem;
    struct err err = ERR_INIT;
    AUTO_BUF body = BUF_INIT;
    buf_adds(&body, "{\"type\":\"" URN "rejectedIdentifier\",\"detail\":\"many\",\"subproblems\":[");
    for (int i = 0; i < 100; i++)
        buf_addf(&body,
                 "%s{\"type\":\"" URN "caa\",\"detail\":\"blocked\",\"identifier\":{\"value\":\"n%d.test\"}}",
                 i > 0 ? "," : "", i);
    buf_adds(&body, "]}");
    parse(400, buf_str(&body), &problem);
    assert_int_equal(problem.n_sub, 100); /* a certificate's worth of names */
    assert_false(problem_to_err(&problem, "order", -1, &err));
    const char *last = strrchr(err.text, '\n');
    assert_non_null(last);
    assert_int_equal(strncmp(last, "\nand ", 5), 0);
    err_clear(&err);
    assert_false(problem_sub_to_err(&problem, 99, "n99.test", &err));
    assert_string_equal(err.text, "blocked (caa)");
    assert_string_equal(err.type, "caa");
    assert_string_equal(err.subject, "n99.test");
    assert_int_equal(err.next, NEXT_REFUSED);
    assert_non_null(strstr(err.advice, "CAA record"));
    err_clear(&err);
    problem = (struct problem){.n_sub = 1};
    assert_false(problem_sub_to_err(&problem, 0, "a.test", &err));
    assert_string_equal(err.text, "no reason given");
    assert_int_equal(err.next, NEXT_REFUSED);
}

static void test_what_kind_of_failure(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *type, *detail, *instance;
        int64_t retry_after_s;
        bool paused;
        enum policy_failure failure;
    } rows[] = {
        {400, "badNonce", "", "", -1, false, POLICY_BAD_NONCE},
        {429, "badNonce", "", "", 5, false, POLICY_BAD_NONCE},
        {429, "rateLimited", "slow down", "", 5, false, POLICY_SLOW_DOWN},
        {429, "rateLimited", "slow down", "", 0, false, POLICY_SLOW_DOWN},
        {503, "", "busy", "", 5, false, POLICY_SLOW_DOWN},
        {503, "rateLimited", "busy", "", 5, false, POLICY_SLOW_DOWN},
        /* nobody says for how long */
        {429, "rateLimited", "too many", "", -1, false, POLICY_FINAL},
        {429, "", "", "", -1, false, POLICY_SERVER},
        {503, "", "", "", -1, false, POLICY_SERVER},
        {503, "rateLimited", "", "", -1, false, POLICY_SERVER},
        /* paused */
        {429, "rateLimited", "visit https://ca.test/sfe/v1/unpause?jwt=1", "", -1, true, POLICY_FINAL},
        {429, "rateLimited", "paused", "https://ca.test/sfe/v1/unpause?jwt=1", -1, true, POLICY_FINAL},
        {429, "rateLimited", "visit https://ca.test/sfe/v1/unpause?jwt=1", "", 30, false, POLICY_SLOW_DOWN},
        {500, "serverInternal", "", "", -1, false, POLICY_SERVER},
        {502, "", "<html>", "", -1, false, POLICY_SERVER},
        {500, "", "", "", 10, false, POLICY_SERVER},
        {403, "userActionRequired", "", "", -1, false, POLICY_FINAL},
        {400, "malformed", "unpause", "", -1, false, POLICY_FINAL},
        {404, "", "", "", 5, false, POLICY_FINAL},
        {0, "", "", "", -1, false, POLICY_FINAL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct problem problem = {.status = rows[i].status};
        snprintf(problem.type, sizeof problem.type, "%s", rows[i].type);
        snprintf(problem.detail, sizeof problem.detail, "%s", rows[i].detail);
        snprintf(problem.instance, sizeof problem.instance, "%s", rows[i].instance);
        if (problem_paused(&problem, rows[i].retry_after_s) != rows[i].paused ||
            problem_failure(&problem, rows[i].retry_after_s) != rows[i].failure)
            fail_msg("row %zu: %d", i, (int)problem_failure(&problem, rows[i].retry_after_s));
    }
}

/* What a CA says of an account that is gone, or that it wants to know more of, leads to the account. */
static void test_account_problems(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *body, *advice;
        enum err_next next;
    } rows[] = {
        {403,
         "{\"type\":\"" URN
         "unauthorized\",\"detail\":\"Account is not valid, has status \\\"deactivated\\\"\"}",
         "does not let this account", NEXT_REFUSED},
        {400, "{\"type\":\"" URN "externalAccountRequired\",\"detail\":\"EAB\"}", "external account",
         NEXT_REFUSED},
        {400, "{\"type\":\"" URN "accountDoesNotExist\",\"detail\":\"who?\"}", "account register",
         NEXT_RETRY_NOW},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct problem problem;
        struct err err = ERR_INIT;
        parse(rows[i].status, rows[i].body, &problem);
        assert_false(problem_to_err(&problem, "https://ca.test/new-order", -1, &err));
        if (err.next != rows[i].next || strstr(err.advice, rows[i].advice) == NULL)
            fail_msg("row %zu: \"%s\"", i, err.advice);
    }
}

static void test_first_failure_wins(void **state)
{
    (void)state;
    struct problem problem = {.status = 500};
    struct err err = ERR_INIT;
    (void)err_set(&err, ERR_IO, NEXT_LOCAL_FAULT, "disk", "the first");
    assert_false(problem_to_err(&problem, "a.test", 60, &err));
    assert_string_equal(err.text, "the first");
    assert_int_equal(err.wait_s, 0);
    assert_string_equal(err.advice, "");
}

int main(void)
{
#define CASE(name, function)                                                                                 \
    {                                                                                                        \
        name, function, NULL, NULL, NULL                                                                     \
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_problem_document),
        cmocka_unit_test(test_odd_forms),
        CASE("case 3: an oversized problem", test_oversized),
        CASE("case 3: a deep problem", test_deep_nesting),
        CASE("case 20: every subproblem is told", test_every_subproblem_is_told),
        CASE("cases 10, 11 and 12: accounts deactivated, unknown, without credentials",
             test_account_problems),
        CASE("case 27: 429 and 503, with and without Retry-After, and a paused 429",
             test_what_kind_of_failure),
        cmocka_unit_test(test_addresses_survive),
        cmocka_unit_test(test_many_subproblems),
        cmocka_unit_test(test_what_next),
        cmocka_unit_test(test_something_is_always_shown),
        cmocka_unit_test(test_first_failure_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
