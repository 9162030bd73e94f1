/*
 * test_ari.c - renewal information (RFC 9773): what a CA suggests, and what is made of it.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tlsup/ari.h"
#include "tlsup/buf.h"
#include "tlsup/mem.h"

enum { NOW_S = 1795356309 /* 2026-11-22T14:05:09Z */, HOUR_S = 3600, DAY_S = 86400 };

#define ID "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE" /* RFC 9773 section 4.1 */

static void test_url(void **state)
{
    (void)state;
    char out[URL_MAX_BYTES] = "untouched";
    assert_true(ari_url("https://ca.test/renewal-info", ID, out));
    assert_string_equal(out, "https://ca.test/renewal-info/" ID);
    assert_true(ari_url("https://ca.test/renewal-info/", ID, out));
    assert_string_equal(out, "https://ca.test/renewal-info/" ID);
    assert_true(ari_url("https://ca.test", ID, out));
    assert_string_equal(out, "https://ca.test/" ID);
}

static void test_url_that_cannot_be(void **state)
{
    (void)state;
    AUTO_BUF base = BUF_INIT;
    char out[URL_MAX_BYTES] = "untouched";
    static const char *const bad[][2] = {
        {"https://ca.test/r", ""},      {"", ID},
        {"http://ca.test/r", ID},       {"https://ca.test/r", "../../x"},
        {"https://ca.test/r", "a b"},   {"https://ca.test/r", "a?b"},
        {"https://ca.test/r", ID "\n"}, {"javascript:alert(1)", ID},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (ari_url(bad[i][0], bad[i][1], out))
            fail_msg("%s + %s gave %s", bad[i][0], bad[i][1], out);
    buf_adds(&base, "https://ca.test/");
    while (base.len + sizeof "/" ID - 1 < URL_MAX_BYTES)
        buf_addc(&base, 'r');
    assert_false(ari_url(buf_str(&base), ID, out)); /* by one */
    assert_string_equal(out, "untouched");
    base.data[base.len - 1] = '\0';
    assert_true(ari_url(buf_str(&base), ID, out));
    assert_int_equal(strlen(out), URL_MAX_BYTES - 1);
}

static bool parse(const char *json, struct ari_window *out, struct err *err)
{
    *err = (struct err)ERR_INIT;
    return ari_parse(json, strlen(json), out, err);
}

static void test_windows(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        int64_t start_s, end_s;
        const char *explanation;
    } rows[] = {
        {"{\"suggestedWindow\":{\"start\":\"2026-11-22T14:05:09Z\",\"end\":\"2026-11-24T14:05:09Z\"}}", NOW_S,
         NOW_S + 2 * DAY_S, ""},
        {"{\"suggestedWindow\":{\"start\":\"2025-01-02T04:00:00Z\",\"end\":\"2025-01-03T04:00:00Z\"},"
         "\"explanationURL\":\"https://acme.example.com/docs/ari\"}",
         1735790400, 1735876800, "https://acme.example.com/docs/ari"},
        {" \r\n{\"more\":[1],\"suggestedWindow\":{\"x\":{},\"start\":\"2026-11-22T14:05:09.123456789Z\","
         "\"end\":\"2026-11-22T16:05:09.5+01:00\"},\"explanationURL\":null}\n",
         NOW_S, NOW_S + HOUR_S, ""},
        {"{\"suggestedWindow\":{\"start\":\"1970-01-01T00:00:00Z\",\"end\":\"9999-12-31T23:59:59Z\"},"
         "\"explanationURL\":\"javascript:alert(1)\"}",
         0, INT64_C(253402300799), ""},
        {"{\"suggestedWindow\":{\"start\":\"2026-11-22T14:05:09Z\",\"end\":\"2026-11-22T14:05:10Z\"},"
         "\"explanationURL\":\"http://ca.test/plain\"}",
         NOW_S, NOW_S + 1, ""},
        {"{\"suggestedWindow\":{\"start\":\"2026-11-22T14:05:09Z\",\"end\":\"2026-11-22T14:05:10Z\"},"
         "\"explanationURL\":[\"https://ca.test/\"]}",
         NOW_S, NOW_S + 1, ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct ari_window window;
        struct err err;
        if (!parse(rows[i].json, &window, &err))
            fail_msg("%s: %s", rows[i].json, err.text);
        assert_int_equal(window.start_s, rows[i].start_s);
        assert_int_equal(window.end_s, rows[i].end_s);
        assert_string_equal(window.explanation_url, rows[i].explanation);
    }
}

/* Case 28 of the thirty: nothing that a CA says instead of a window becomes one. */
static void test_case_28_bad_objects(void **state)
{
    (void)state;
    static const struct {
        const char *json, *text;
    } rows[] = {
        {"", "not a JSON object"},
        {"null", "not a JSON object"},
        {"[]", "not a JSON object"},
        {"<html>not here</html>", "<html>not here"},
        {"{}", "no start"},
        {"{\"suggestedWindow\":null}", "no start"},
        {"{\"suggestedWindow\":[]}", "no start"},
        {"{\"suggestedWindow\":\"2026-11-22T14:05:09Z\"}", "no start"},
        {"{\"suggestedWindow\":{}}", "no start"},
        {"{\"suggestedWindow\":{\"start\":\"2026-11-22T14:05:09Z\"}}", "no end"},
        {"{\"suggestedWindow\":{\"end\":\"2026-11-22T14:05:09Z\"}}", "no start"},
        {"{\"suggestedWindow\":{\"start\":1795356309,\"end\":1795356310}}", "no start"},
        {"{\"suggestedWindow\":{\"start\":\"soon\",\"end\":\"later\"}}", "no date: soon"},
        {"{\"suggestedWindow\":{\"start\":\"\",\"end\":\"\"}}", "no date"},
        {"{\"suggestedWindow\":{\"start\":\"2026-11-22T14:05:09Z\",\"end\":\"2026-02-30T00:00:00Z\"}}",
         "no date: 2026-02-30"},
        {"{\"suggestedWindow\":{\"start\":\"2026-11-22T14:05:09\",\"end\":\"2026-11-23T14:05:09\"}}",
         "no date"},
        {"{\"suggestedWindow\":{\"start\":\"99999-01-01T00:00:00Z\",\"end\":\"2026-11-23T14:05:09Z\"}}",
         "no date"},
        {"{\"suggestedWindow\":{\"start\":\"-001-01-01T00:00:00Z\",\"end\":\"2026-11-23T14:05:09Z\"}}",
         "no date"},
        {"{\"suggestedWindow\":{\"start\":\"2026-11-23T14:05:09Z\",\"end\":\"2026-11-22T14:05:09Z\"}}",
         "before it begins"},
        {"{\"suggestedWindow\":{\"start\":\"2026-11-22T14:05:09Z\",\"end\":\"2026-11-22T14:05:09Z\"}}",
         "before it begins"},
        {"{\"suggestedWindow\":{\"start\":\"2026-11-22T14:05:09Z\",\"end\":\"2026-11-22T15:05:09+01:00\"}}",
         "before it begins"},
        {"{\"suggestedWindow\":{\"start\":\"2026-11-22T14:05:09Z\",\"end\":\"2026-11-24T14:05:09Z\"}",
         "not a JSON object"},
        {"{\"suggestedWindow\":{\"start\":\"2026-11-22T14:05:09Z\",\"end\":\"2026-11-24T14:05:09Z\"}} more",
         "not a JSON object"},
        {"{\"suggestedWindow\":{\"start\":\"\\u001b[2Jx\",\"end\":\"\"}}", "no date: ?[2Jx"},
        {"{\"suggestedWindow\":{\"start\":\"2026-11-22T14:05:09Z\\u0000\",\"end\":\"\"}}",
         "not a JSON object"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct ari_window window = {.start_s = 7};
        struct err err;
        if (parse(rows[i].json, &window, &err))
            fail_msg("taken: %s", rows[i].json);
        assert_int_equal(err.code, ERR_PROTOCOL);
        if (strstr(err.text, rows[i].text) == NULL)
            fail_msg("%s: %s", rows[i].json, err.text);
        assert_int_equal(window.start_s, 7);
    }
}

static void test_deep_and_large_objects(void **state)
{
    (void)state;
    AUTO_BUF deep = BUF_INIT;
    AUTO_BUF large = BUF_INIT;
    struct ari_window window;
    struct err err;
    buf_adds(&deep, "{\"suggestedWindow\":");
    for (int i = 0; i < 200000; i++)
        buf_addc(&deep, '[');
    assert_false(parse(buf_str(&deep), &window, &err));
    assert_non_null(strstr(err.text, "levels deep"));
    buf_adds(&large, "{\"suggestedWindow\":{\"start\":\"");
    for (int i = 0; i < 900000; i++)
        buf_addc(&large, '9');
    buf_adds(&large, "\",\"end\":\"\"}}");
    assert_false(parse(buf_str(&large), &window, &err));
    assert_true(strlen(err.text) < 300);
}

static void test_choice_is_uniform_and_within(void **state)
{
    (void)state;
    const struct ari_window window = {.start_s = NOW_S, .end_s = NOW_S + 10};
    int seen[10] = {0};
    for (uint64_t random = 0; random < 1000; random++) {
        int64_t chosen = ari_choose(&window, NULL, 0, random);
        assert_in_range(chosen, NOW_S, NOW_S + 9);
        seen[chosen - NOW_S]++;
    }
    for (size_t i = 0; i < COUNT_OF(seen); i++)
        assert_int_equal(seen[i], 100);
    assert_in_range(ari_choose(&window, NULL, 0, UINT64_MAX), NOW_S, NOW_S + 9);
    const struct ari_window all = {.start_s = 0, .end_s = INT64_C(253402300799)};
    assert_in_range(ari_choose(&all, NULL, 0, UINT64_MAX), 1, all.end_s);
    assert_int_equal(ari_choose(&all, NULL, 0, 0), 1); /* 0 would say that nothing was chosen */
}

static void test_choice_is_kept_while_the_window_is(void **state)
{
    (void)state;
    const struct ari_window window = {.start_s = NOW_S, .end_s = NOW_S + DAY_S};
    struct ari_window other = window;
    snprintf(other.explanation_url, sizeof other.explanation_url, "https://ca.test/why");
    assert_int_equal(ari_choose(&window, &other, NOW_S + 5, 77), NOW_S + 5);
    assert_int_equal(ari_choose(&window, &other, 0, 77), NOW_S + 77); /* none was chosen */
    assert_int_equal(ari_choose(&window, NULL, NOW_S + 5, 77), NOW_S + 77);
    assert_int_equal(ari_choose(&window, &other, NOW_S - 1, 77), NOW_S + 77); /* not one of this window */
    assert_int_equal(ari_choose(&window, &other, NOW_S + DAY_S + 1, 77), NOW_S + 77);
    other.end_s++; /* moved */
    assert_int_equal(ari_choose(&window, &other, NOW_S + 5, 77), NOW_S + 77);
    other = window;
    other.start_s--;
    assert_int_equal(ari_choose(&window, &other, NOW_S + 5, 77), NOW_S + 77);
    const struct ari_window none = {.start_s = NOW_S, .end_s = NOW_S};
    assert_int_equal(ari_choose(&none, NULL, 0, 77), NOW_S);
}

static void test_when_to_ask_again(void **state)
{
    (void)state;
    static const int64_t rows[][2] = {
        {-1, 6 * HOUR_S}, {INT64_MIN, 6 * HOUR_S},  {0, 60},        {59, 60},           {60, 60},
        {61, 61},         {6 * HOUR_S, 6 * HOUR_S}, {DAY_S, DAY_S}, {DAY_S + 1, DAY_S}, {INT64_MAX, DAY_S},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(ari_next_check_s(NOW_S, rows[i][0]), NOW_S + rows[i][1]);
}

static void test_after_failures(void **state)
{
    (void)state;
    static const struct {
        int failures;
        int64_t wait_s;
    } rows[] = {{-1, 60},         {0, 60},          {1, 60},
                {2, 120},         {3, 240},         {9, 15360},
                {10, 6 * HOUR_S}, {11, 6 * HOUR_S}, {INT32_MAX, 6 * HOUR_S}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(ari_retry_s(NOW_S, true, rows[i].failures), NOW_S + rows[i].wait_s);
        assert_int_equal(ari_retry_s(NOW_S, false, rows[i].failures), NOW_S + 6 * HOUR_S);
    }
}

static void test_due(void **state)
{
    (void)state;
    assert_true(ari_due_at_s(NOW_S - DAY_S, 0) <= NOW_S); /* a past window: revoked, or an incident */
    assert_int_equal(ari_due_at_s(NOW_S, 0), NOW_S);
    assert_int_equal(ari_due_at_s(NOW_S, 7200), NOW_S - 7200); /* the next look would come too late */
    assert_true(ari_due_at_s(0, 7200) == INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_url),
        cmocka_unit_test(test_url_that_cannot_be),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_case_28_bad_objects),
        cmocka_unit_test(test_deep_and_large_objects),
        cmocka_unit_test(test_choice_is_uniform_and_within),
        cmocka_unit_test(test_choice_is_kept_while_the_window_is),
        cmocka_unit_test(test_when_to_ask_again),
        cmocka_unit_test(test_after_failures),
        cmocka_unit_test(test_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
