#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/policy.h"

#include <limits.h>

#include "tlsup/compat.h"

enum {
    MINUTE_S = 60,
    HOUR_S = 3600,
    DAY_S = 86400,
    WEEK_S = 7 * DAY_S,
    SHORT_LIFE_S = 10 * DAY_S,
    SIT_OUT_S = 60,
    LONGEST_OWN_WAIT_MS = 30 * 1000
};

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* One row a kind of failure: how often, and the first wait, which doubles. */
static const struct {
    int attempts;
    int64_t first_wait_ms;
} rows[] = {
    /* a CA that refuses half of all nonces still lets all but one request in a million through */
    [POLICY_BAD_NONCE] = {20, 0},
    [POLICY_CUT] = {4, 500},
    [POLICY_SERVER] = {4, 1000},
    /* a CA that asks for patience is not one that fails: the deadline alone ends it */
    [POLICY_SLOW_DOWN] = {INT_MAX, 2000},
    [POLICY_FINAL] = {0, 0},
};

static int64_t own_wait_ms(enum policy_failure failure, int attempt)
{
    int doublings = (int)clamp(attempt - INT64_C(1), 0, 10);
    return clamp(rows[failure].first_wait_ms << doublings, 0, LONGEST_OWN_WAIT_MS);
}

struct policy_verdict policy_decide(enum policy_failure failure, int attempt, int64_t retry_after_s,
                                    int64_t left_ms)
{
    static const struct policy_verdict stop = {false, 0};
    if ((unsigned)failure >= COUNT_OF(rows))
        return stop;
    bool for_ever = rows[failure].attempts == INT_MAX;
    if (attempt >= rows[failure].attempts && !for_ever)
        return stop;
    int64_t wait_ms = own_wait_ms(failure, attempt);
    if (failure != POLICY_BAD_NONCE && retry_after_s >= 0) {
        if (retry_after_s > SIT_OUT_S) /* a person, or the next run, waits better than we do */
            return stop;
        wait_ms = retry_after_s * 1000 > wait_ms ? retry_after_s * 1000 : wait_ms;
    }
    if (wait_ms > left_ms)
        return stop;
    return (struct policy_verdict){true, wait_ms};
}

int64_t policy_poll_ms(int attempt, int64_t retry_after_s, bool fetched)
{
    static const int64_t own_ms[] = {500, 1000, 2000, 3000, 5000};
    if (attempt <= 0)
        return fetched ? 40 : 100;
    if (retry_after_s >= 0)
        return clamp(retry_after_s, 1, 60) * 1000;
    size_t step = (size_t)attempt - 1;
    return own_ms[step < COUNT_OF(own_ms) ? step : COUNT_OF(own_ms) - 1];
}

static int64_t backoff_s(int failures, int64_t longest_s, int64_t retry_after_s, uint32_t random)
{
    static const int64_t steps_s[] = {1 * MINUTE_S, 10 * MINUTE_S, 100 * MINUTE_S, DAY_S};
    size_t step = failures <= 1 ? 0 : (size_t)failures - 1;
    int64_t wait_s = clamp(steps_s[step < COUNT_OF(steps_s) ? step : COUNT_OF(steps_s) - 1], 0, longest_s);
    wait_s += (int64_t)(random % (uint32_t)(wait_s / 10 + 1));
    return clamp(retry_after_s, wait_s, wait_s > WEEK_S ? wait_s : WEEK_S);
}

int64_t policy_backoff_s(int failures, int64_t retry_after_s, uint32_t random)
{
    return backoff_s(failures, DAY_S, retry_after_s, random);
}

int64_t policy_renewal_backoff_s(int failures, int64_t retry_after_s, int64_t left_s, uint32_t random)
{
    int64_t away_s = left_s < 0 ? -clamp(left_s, -INT64_MAX, 0) : left_s;
    return backoff_s(failures, clamp(away_s / 10, HOUR_S, DAY_S), retry_after_s, random);
}

int64_t policy_renewal_at_s(int64_t not_before_s, int64_t not_after_s)
{
    int64_t life_s;
    /* dates that make no sense: what has expired is due in any case */
    if (not_after_s <= not_before_s || __builtin_sub_overflow(not_after_s, not_before_s, &life_s))
        return not_after_s;
    return not_after_s - (life_s < SHORT_LIFE_S ? life_s / 2 : life_s / 3);
}

int64_t policy_renewal_jitter_s(int64_t not_before_s, int64_t not_after_s, uint32_t seed)
{
    int64_t life_s;
    if (not_after_s <= not_before_s || __builtin_sub_overflow(not_after_s, not_before_s, &life_s))
        return 0;
    return (int64_t)(seed % (uint32_t)(clamp(life_s / 100, 0, UINT32_MAX - 1) + 1));
}
