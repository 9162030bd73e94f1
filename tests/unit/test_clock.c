/*
 * test_clock.c - dates as CAs write them, spans as people read them.
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
#include <time.h>

#include <cmocka.h>

#include "tlsup/clock.h"
#include "tlsup/compat.h"

static void test_rfc3339(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t when_s;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-22T14:05:09Z", 1795356309},
        {"2026-11-22t14:05:09z", 1795356309},
        {"2026-11-22 14:05:09Z", 1795356309},
        {"2026-11-22T14:05:09.123456789Z", 1795356309},
        {"2026-11-22T15:35:09+01:30", 1795356309},
        {"2026-11-22T06:05:09-08:00", 1795356309},
        {"2026-11-22T14:05:09-00:00", 1795356309},
        {"2026-11-23T13:04:09.9+22:59", 1795356309},
        {"2024-02-29T00:00:00Z", 1709164800},
        {"2000-02-29T23:59:59Z", 951868799},
        {"2024-12-31T23:59:60Z", 1735689600}, /* a leap second */
        {"2038-01-19T03:14:08Z", INT64_C(2147483648)},
        {"2106-02-07T06:28:16Z", INT64_C(4294967296)},
        {"9999-12-31T23:59:59Z", INT64_C(253402300799)},
        {"1970-01-01T00:00:00+01:00", -3600},
    };
    static const char *const bad[] = {
        "",
        "now",
        "2026",
        "2026-11-22",
        "2026-11-22T14:05:09",
        "2026-11-22T14:05Z",
        "2026-11-22T14:05:9Z",
        "26-11-22T14:05:09Z",
        "02026-11-22T14:05:09Z",
        "+2026-11-22T14:05:09Z",
        "-2026-11-22T14:05:09Z",
        "2026-00-22T14:05:09Z",
        "2026-13-22T14:05:09Z",
        "2026-11-00T14:05:09Z",
        "2026-11-31T14:05:09Z",
        "2026-04-31T14:05:09Z",
        "2026-02-29T14:05:09Z",
        "1900-02-29T14:05:09Z",
        "2100-02-29T14:05:09Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T14:60:09Z",
        "2026-11-22T14:05:61Z",
        "2026-11-22T14:05:09.Z",
        "2026-11-22T14:05:09,5Z",
        "2026-11-22T14:05:09+0100",
        "2026-11-22T14:05:09+01",
        "2026-11-22T14:05:09+24:00",
        "2026-11-22T14:05:09+01:60",
        "2026-11-22T14:05:09+1:00",
        "2026-11-22T14:05:09Z ",
        " 2026-11-22T14:05:09Z",
        "2026-11-22T14:05:09ZZ",
        "2026-11-22T14:05:09+",
        "2026-11-22X14:05:09Z",
        "2026/11/22T14:05:09Z",
        "1969-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "2026-1a-22T14:05:09Z",
    };
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        int64_t when_s = -77;
        if (!clock_parse_rfc3339(good[i].text, &when_s) || when_s != good[i].when_s)
            fail_msg("%s: %lld", good[i].text, (long long)when_s);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        int64_t when_s = -77;
        if (clock_parse_rfc3339(bad[i], &when_s) || when_s != -77)
            fail_msg("%s", bad[i]);
    }
}

static void test_http_date(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t when_s;
    } good[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},           {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Sun, 22 Nov 2026 14:05:09 GMT", 1795356309},          {"Thu, 29 Feb 2024 00:00:00 GMT", 1709164800},
        {"Tue, 19 Jan 2038 03:14:08 GMT", INT64_C(2147483648)},
    };
    static const char *const bad[] = {
        "",
        "120",
        "soon",
        "Sunday, 06-Nov-94 08:49:37 GMT", /* forms that no server may make any more */
        "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +00",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 06 anF 1994 08:49:37 GMT",
        "Sun, 31 Apr 2026 08:49:37 GMT",
        "Sat, 29 Feb 2025 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun,  6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1969 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 08:49:37GMT ",
        "Sun. 06 Nov 1994 08:49:37 GMT",
        "Son, 06 Nov 1994 08:49:37 GMT",
        "sun, 06 Nov 1994 08:49:37 GMT",
        "unM, 06 Nov 1994 08:49:37 GMT",
    };
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        int64_t when_s = -77;
        if (!clock_parse_http_date(good[i].text, &when_s) || when_s != good[i].when_s)
            fail_msg("%s: %lld", good[i].text, (long long)when_s);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        int64_t when_s = -77;
        if (clock_parse_http_date(bad[i], &when_s) || when_s != -77)
            fail_msg("%s", bad[i]);
    }
}

/* Every day of four hundred years there and back. */
static void test_format_and_back(void **state)
{
    (void)state;
    char text[CLOCK_TEXT_BYTES];
    for (int64_t day = 0; day < 146097; day++) {
        int64_t when_s = day * 86400 + day % 86400, again_s;
        assert_true(clock_parse_rfc3339(clock_format_utc(when_s, text), &again_s));
        assert_int_equal(again_s, when_s);
    }
    assert_string_equal(clock_format_utc(1795356309, text), "2026-11-22T14:05:09Z");
    assert_string_equal(clock_format_utc(0, text), "1970-01-01T00:00:00Z");
    assert_string_equal(clock_format_utc(-1, text), "1969-12-31T23:59:59Z");
    assert_string_equal(clock_format_utc(INT64_MAX, text), "(no time)");
    assert_string_equal(clock_format_utc(INT64_MIN, text), "(no time)");
    assert_true(strlen(clock_format_utc(INT64_C(67767976233532799), text)) < CLOCK_TEXT_BYTES);
}

static void test_span(void **state)
{
    (void)state;
    static const struct {
        int64_t span_s;
        const char *text;
    } rows[] = {
        {0, "now"},
        {1, "1 second"},
        {2, "2 seconds"},
        {59, "59 seconds"},
        {60, "1 minute"},
        {61, "61 seconds"},
        {90, "90 seconds"},
        {119, "119 seconds"},
        {120, "2 minutes"},
        {3600, "1 hour"},
        {5400, "90 minutes"},
        {7199, "119 minutes"},
        {7200, "2 hours"},
        {86400, "1 day"},
        {93600, "26 hours"},
        {172799, "47 hours"},
        {172800, "2 days"},
        {90 * 86400, "90 days"},
        {-120, "2 minutes"},
        {-1, "1 second"},
        {INT64_MAX, "106751991167300 days"},
        {INT64_MIN, "106751991167300 days"},
    };
    char text[CLOCK_TEXT_BYTES];
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_string_equal(clock_format_span(rows[i].span_s, text), rows[i].text);
}

static void test_freeze(void **state)
{
    (void)state;
    clock_freeze(1795356309, 77);
    assert_int_equal(clock_now_s(), 1795356309);
    assert_int_equal(clock_mono_ms(), 77);
    clock_thaw();
    assert_true(clock_now_s() != 1795356309 || clock_mono_ms() != 77);
    int64_t before_ms = clock_mono_ms();
    assert_true(clock_mono_ms() >= before_ms);
}

/* A test may move the wall clock of a whole run, in test builds and nowhere else; deadlines stay real. */
static void test_offset(void **state)
{
    (void)state;
    int64_t moved_s = clock_now_s() - (int64_t)time(NULL);
#ifdef TEST_HOOKS
    assert_in_range(moved_s, 1000000 - 5, 1000000 + 5);
#else
    assert_in_range(moved_s + 5, 0, 10);
#endif
    int64_t before_ms = clock_mono_ms();
    assert_true(clock_mono_ms() - before_ms < 100000);
}

int main(void)
{
    setenv("TLSUP_TEST_CLOCK_OFFSET", "1000000", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc3339),         cmocka_unit_test(test_http_date),
        cmocka_unit_test(test_format_and_back), cmocka_unit_test(test_span),
        cmocka_unit_test(test_freeze),          cmocka_unit_test(test_offset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
