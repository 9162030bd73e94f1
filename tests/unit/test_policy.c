/*
 * test_policy.c - how long we wait, and when we stop: nobody is locked out by impatience, nobody waits for
 * ever.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tlsup/compat.h"
#include "tlsup/policy.h"

#define DAY INT64_C(86400)

static void test_decide(void **state)
{
    (void)state;
    static const struct {
        enum policy_failure failure;
        int attempt;
        int64_t retry_after_s, left_ms;
        bool retry;
        int64_t wait_ms;
    } rows[] = {
        /* another nonce, at once, often, but not for ever; Retry-After has no say in it */
        {POLICY_BAD_NONCE, 1, -1, 240000, true, 0},
        {POLICY_BAD_NONCE, 19, -1, 240000, true, 0},
        {POLICY_BAD_NONCE, 20, -1, 240000, false, 0},
        {POLICY_BAD_NONCE, 3, 3600, 240000, true, 0},
        /* doubling */
        {POLICY_CUT, 1, -1, 240000, true, 500},
        {POLICY_CUT, 2, -1, 240000, true, 1000},
        {POLICY_CUT, 3, -1, 240000, true, 2000},
        {POLICY_CUT, 4, -1, 240000, false, 0},
        {POLICY_SERVER, 1, -1, 240000, true, 1000},
        {POLICY_SERVER, 3, -1, 240000, true, 4000},
        {POLICY_SERVER, 4, -1, 240000, false, 0},
        /* what the CA asks for, when it is short, and never less than our own */
        {POLICY_SLOW_DOWN, 1, 0, 240000, true, 2000},
        {POLICY_SLOW_DOWN, 1, 5, 240000, true, 5000},
        {POLICY_SLOW_DOWN, 1, 60, 240000, true, 60000},
        {POLICY_SLOW_DOWN, 1, 61, 240000, false, 0},
        {POLICY_SLOW_DOWN, 1, 86400, INT64_MAX, false, 0},
        {POLICY_SLOW_DOWN, 1, INT64_MAX, INT64_MAX, false, 0},
        {POLICY_SERVER, 2, 10, 240000, true, 10000},
        /* a CA that says when is asked again for as long as there is time */
        {POLICY_SLOW_DOWN, 4, 1, 240000, true, 16000},
        {POLICY_SLOW_DOWN, 5, 60, 240000, true, 60000},
        {POLICY_SLOW_DOWN, 100, 1, 240000, true, 30000},
        {POLICY_SLOW_DOWN, 100, 45, 240000, true, 45000},
        {POLICY_SLOW_DOWN, 100, 45, 44999, false, 0},
        {POLICY_SLOW_DOWN, 100, 61, 240000, false, 0},
        {POLICY_SLOW_DOWN, INT_MAX, 0, 240000, true, 30000},
        {POLICY_SLOW_DOWN, INT_MIN, -1, 240000, true, 2000},
        /* a wait that would pass the deadline is not begun */
        {POLICY_SLOW_DOWN, 1, 30, 30000, true, 30000},
        {POLICY_SLOW_DOWN, 1, 30, 29999, false, 0},
        {POLICY_CUT, 1, -1, 0, false, 0},
        {POLICY_CUT, 1, -1, -5, false, 0},
        {POLICY_CUT, 1, -1, INT64_MIN, false, 0},
        {POLICY_BAD_NONCE, 1, -1, -1, false, 0},
        /* nothing helps */
        {POLICY_FINAL, 1, -1, 240000, false, 0},
        {POLICY_FINAL, 1, 5, 240000, false, 0},
        /* senseless counts */
        {POLICY_CUT, 0, -1, 240000, true, 500},
        {POLICY_CUT, -7, -1, 240000, true, 500},
        {POLICY_CUT, INT_MIN, -1, 240000, true, 500},
        {POLICY_CUT, INT_MAX, -1, 240000, false, 0},
        {POLICY_BAD_NONCE, INT_MAX, -1, 240000, false, 0},
        {POLICY_CUT, 1, INT64_MIN, 240000, true, 500},
        {(enum policy_failure)77, 1, -1, 240000, false, 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct policy_verdict got =
            policy_decide(rows[i].failure, rows[i].attempt, rows[i].retry_after_s, rows[i].left_ms);
        if (got.retry != rows[i].retry || got.wait_ms != rows[i].wait_ms)
            fail_msg("row %zu: retry %d after %lld ms", i, got.retry, (long long)got.wait_ms);
    }
}

/* All attempts of one request until policy says stop; how many, and when the last began. */
static int attempts_until_stop(enum policy_failure failure, int64_t retry_after_s, int64_t deadline_ms,
                               int64_t *at_ms)
{
    int attempt = 1;
    for (*at_ms = 0; attempt < 10000; attempt++) {
        struct policy_verdict verdict = policy_decide(failure, attempt, retry_after_s, deadline_ms - *at_ms);
        if (!verdict.retry)
            break;
        *at_ms += verdict.wait_ms;
        assert_true(*at_ms <= deadline_ms);
    }
    return attempt;
}

static void test_bad_nonces_end(void **state)
{
    (void)state;
    int64_t at_ms;
    assert_true(policy_decide(POLICY_BAD_NONCE, 3, -1, 240000).retry);
    assert_in_range(attempts_until_stop(POLICY_BAD_NONCE, -1, 240000, &at_ms), 4, 50);
    assert_int_equal(at_ms, 0);
}

static void test_slowed_not_failed(void **state)
{
    (void)state;
    int64_t at_ms;
    assert_true(attempts_until_stop(POLICY_SLOW_DOWN, 1, 240000, &at_ms) > 8);
    assert_true(at_ms > 200000); /* the time is used */
    assert_true(attempts_until_stop(POLICY_SLOW_DOWN, 50, 240000, &at_ms) == 5);
    assert_true(attempts_until_stop(POLICY_SLOW_DOWN, 7200, 240000, &at_ms) == 1);
    assert_int_equal(at_ms, 0);
    /* nothing said: a few attempts, as with any trouble of a server */
    assert_true(attempts_until_stop(POLICY_SERVER, -1, 240000, &at_ms) == 4);
}

static void test_poll(void **state)
{
    (void)state;
    static const struct {
        int attempt;
        int64_t retry_after_s;
        bool fetched;
        int64_t wait_ms;
    } rows[] = {
        {0, -1, false, 100},          {0, -1, true, 40},
        {0, 30, false, 100},          {0, 30, true, 40},
        {1, -1, false, 500},          {1, -1, true, 500},
        {2, -1, false, 1000},         {5, -1, false, 5000},
        {6, -1, false, 5000},         {INT_MAX, -1, false, 5000},
        {INT_MIN, -1, false, 100},    {1, 0, false, 1000},
        {1, 1, false, 1000},          {1, 3, true, 3000},
        {1, 60, false, 60000},        {1, 86400, false, 60000},
        {9, INT64_MAX, false, 60000}, {9, INT64_MIN, false, 5000},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (policy_poll_ms(rows[i].attempt, rows[i].retry_after_s, rows[i].fetched) != rows[i].wait_ms)
            fail_msg("row %zu: %lld ms", i,
                     (long long)policy_poll_ms(rows[i].attempt, rows[i].retry_after_s, rows[i].fetched));
}

static void test_backoff(void **state)
{
    (void)state;
    assert_int_equal(policy_backoff_s(1, -1, 0), 60);
    assert_int_equal(policy_backoff_s(2, -1, 0), 600);
    assert_int_equal(policy_backoff_s(3, -1, 0), 6000);
    assert_int_equal(policy_backoff_s(4, -1, 0), DAY);
    assert_int_equal(policy_backoff_s(5, -1, 0), DAY);
    assert_int_equal(policy_backoff_s(INT_MAX, -1, 0), DAY);
    assert_int_equal(policy_backoff_s(0, -1, 0), 60);
    assert_int_equal(policy_backoff_s(INT_MIN, -1, 0), 60);
    assert_int_equal(policy_backoff_s(1, 7200, 0), 7200);
    assert_int_equal(policy_backoff_s(4, 7200, 0), DAY);
    assert_int_equal(policy_backoff_s(1, INT64_MIN, 0), 60);
    assert_int_equal(policy_backoff_s(1, 7 * DAY, 0), 7 * DAY);
    assert_int_equal(policy_backoff_s(1, INT64_MAX, 0), 7 * DAY); /* nobody waits for ever because a CA says so */
}

/* The fourth failure never comes sooner after the third than the third after the second, however the dice
 * fall. */
/* What lives for six days cannot wait for one of them. */
static void test_backoff_of_what_expires_soon(void **state)
{
    static const struct {
        int failures;
        int64_t retry_after_s, left_s, wait_s;
    } rows[] = {
        {1, -1, 3 * DAY, 60},
        {3, -1, 3 * DAY, 6000},
        {4, -1, 3 * DAY, 3 * DAY / 10},
        {4, -1, 30 * DAY, DAY},
        {4, -1, INT64_MAX, DAY},
        {9, -1, 3600, 3600},
        {9, -1, 0, 3600},
        {3, -1, 0, 3600},
        {2, -1, 0, 600},
        {9, -1, -DAY, DAY / 10},
        {9, -1, -30 * DAY, DAY},
        {9, -1, INT64_MIN, DAY},
        {9, 2 * DAY, 3600, 2 * DAY}, /* a CA's limit is not lifted by haste */
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(
            policy_renewal_backoff_s(rows[i].failures, rows[i].retry_after_s, rows[i].left_s, 0),
            rows[i].wait_s);
    assert_in_range(policy_renewal_backoff_s(4, -1, 3 * DAY, UINT32_MAX), 3 * DAY / 10, 33 * DAY / 100);
}

static void test_backoff_never_shrinks(void **state)
{
    (void)state;
    static const uint32_t dice[] = {0, 1, 5, 6, 7, 12345, 0x7FFFFFFF, 0xFFFFFFFE, UINT32_MAX};
    int64_t longest_before_s = 0;
    for (int failures = 1; failures <= 4; failures++) {
        int64_t longest_s = 0;
        for (size_t i = 0; i < COUNT_OF(dice); i++) {
            int64_t wait_s = policy_backoff_s(failures, -1, dice[i]);
            int64_t base_s = policy_backoff_s(failures, -1, 0);
            assert_true(wait_s >= base_s && wait_s <= base_s + base_s / 10);
            assert_true(wait_s >= longest_before_s);
            longest_s = wait_s > longest_s ? wait_s : longest_s;
        }
        longest_before_s = longest_s;
    }
}

static void test_renewal(void **state)
{
    (void)state;
    static const struct {
        int64_t not_before_s, not_after_s, at_s;
    } rows[] = {
        {1000 * DAY, 1090 * DAY, 1060 * DAY},          /* 90 days: a third left */
        {1000 * DAY, 1045 * DAY, 1030 * DAY},          /* 45 days */
        {1000 * DAY, 1010 * DAY, 1010 * DAY - 288000}, /* ten days are not short */
        {1000 * DAY, 1006 * DAY, 1003 * DAY},          /* 6 days: half */
        {1000 * DAY, 1000 * DAY + 160 * 3600, 1000 * DAY + 80 * 3600},
        {1000 * DAY, 1000 * DAY + 1, 1000 * DAY + 1},
        {1000 * DAY, 1000 * DAY, 1000 * DAY}, /* no life at all */
        {1000 * DAY, 900 * DAY, 900 * DAY},   /* less than none */
        {0, 0, 0},
        {INT64_MIN, INT64_MAX, INT64_MAX},
        {INT64_MAX, INT64_MIN, INT64_MIN},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (policy_renewal_at_s(rows[i].not_before_s, rows[i].not_after_s) != rows[i].at_s)
            fail_msg("row %zu", i);
    }
}

static void test_renewal_jitter(void **state)
{
    (void)state;
    const int64_t life_s = 90 * 86400;
    assert_int_equal(policy_renewal_jitter_s(0, life_s, 0), 0);
    bool spread = false;
    for (uint32_t seed = 1; seed != 0 && seed < 4000000000u; seed += 123456789) {
        int64_t jitter_s = policy_renewal_jitter_s(0, life_s, seed);
        assert_in_range(jitter_s, 0, life_s / 100);
        spread |= jitter_s > life_s / 200;
    }
    assert_true(spread);
    assert_int_equal(policy_renewal_jitter_s(0, 50, 7), 0); /* lives too short to be spread */
    assert_int_equal(policy_renewal_jitter_s(10, 10, 7), 0);
    assert_int_equal(policy_renewal_jitter_s(10, 5, 7), 0);
    assert_int_equal(policy_renewal_jitter_s(INT64_MIN, INT64_MAX, 7), 0);
    assert_in_range(policy_renewal_jitter_s(0, INT64_MAX, UINT32_MAX), 0, UINT32_MAX);
}

int main(void)
{
#define CASE(name, function)                                                                                 \
    {                                                                                                        \
        name, function, NULL, NULL, NULL                                                                     \
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_renewal_jitter),
        cmocka_unit_test(test_decide),
        CASE("cases 4, 5 and 7: badNonce three times, for ever, and a proxy that repeats one",
             test_bad_nonces_end),
        CASE("case 27: 429 and 503 with Retry-After", test_slowed_not_failed),
        CASE("case 19: Retry-After 0, negative, 86400 in polls", test_poll),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_backoff_of_what_expires_soon),
        cmocka_unit_test(test_backoff_never_shrinks),
        CASE("case 28: due without ARI; an expired certificate", test_renewal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
