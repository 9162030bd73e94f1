#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/clock.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tlsup/compat.h"

#ifdef TEST_HOOKS
#include <stdlib.h>

/* Wall time of a test: so many seconds are added, in all processes of a run. */
static int64_t offset_s(void)
{
    static int64_t offset;
    static bool known;
    const char *text = known ? NULL : getenv("TLSUP_TEST_CLOCK_OFFSET");
    if (text != NULL)
        offset = strtoll(text, NULL, 10);
    known = true;
    return offset;
}
#else
static int64_t offset_s(void)
{
    return 0;
}
#endif

static bool frozen;
static int64_t frozen_now_s, frozen_mono_ms;

int64_t clock_now_s(void)
{
    return frozen ? frozen_now_s : (int64_t)time(NULL) + offset_s();
}

int64_t clock_mono_ms(void)
{
    struct timespec now;
    if (frozen)
        return frozen_mono_ms;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void clock_freeze(int64_t now_s, int64_t mono_ms)
{
    frozen = true;
    frozen_now_s = now_s;
    frozen_mono_ms = mono_ms;
}

void clock_thaw(void)
{
    frozen = false;
}

/* Days since 1970-01-01 of a proleptic Gregorian date; our own, since timegm() is not everywhere and libc's
 * strptime() differs by system. The year begins in March, so that the leap day is its last. */
static int64_t days_from_civil(int64_t year, int64_t month, int64_t day)
{
    if (month <= 2)
        year--;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

static bool compose(int year, int month, int day, int hour, int minute, int second, int64_t *when_s)
{
    if (year < 1970 || year > 9999 || month < 1 || month > 12 || day < 1 ||
        day > days_in_month(year, month) || hour > 23 || minute > 59 || second > 60)
        return false;
    *when_s = days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    return true;
}

/* Exactly `count` digits; advances the text. */
static bool digits(const char **text, int count, int *value)
{
    *value = 0;
    for (int i = 0; i < count; i++, (*text)++) {
        if (!isdigit((unsigned char)**text))
            return false;
        *value = *value * 10 + (**text - '0');
    }
    return true;
}

static bool literal(const char **text, char c)
{
    if (**text != c)
        return false;
    (*text)++;
    return true;
}

static bool utc_offset(const char **text, int64_t *offset_s)
{
    int hours, minutes;
    *offset_s = 0;
    if (**text == 'Z' || **text == 'z') {
        (*text)++;
        return true;
    }
    int sign = **text == '-' ? -1 : 1;
    if (**text != '+' && **text != '-')
        return false;
    (*text)++;
    if (!digits(text, 2, &hours) || !literal(text, ':') || !digits(text, 2, &minutes) || hours > 23 ||
        minutes > 59)
        return false;
    *offset_s = sign * (hours * 3600 + minutes * 60);
    return true;
}

bool clock_parse_rfc3339(const char *text, int64_t *when_s)
{
    int year, month, day, hour, minute, second;
    int64_t offset_s, local_s;
    if (!digits(&text, 4, &year) || !literal(&text, '-') || !digits(&text, 2, &month) ||
        !literal(&text, '-') || !digits(&text, 2, &day) || (*text != 'T' && *text != 't' && *text != ' '))
        return false;
    text++;
    if (!digits(&text, 2, &hour) || !literal(&text, ':') || !digits(&text, 2, &minute) ||
        !literal(&text, ':') || !digits(&text, 2, &second))
        return false;
    if (*text == '.') {
        text++;
        if (!isdigit((unsigned char)*text))
            return false;
        while (isdigit((unsigned char)*text))
            text++;
    }
    if (!utc_offset(&text, &offset_s) || *text != '\0' ||
        !compose(year, month, day, hour, minute, second, &local_s))
        return false;
    *when_s = local_s - offset_s;
    return true;
}

bool clock_parse_http_date(const char *text, int64_t *when_s)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec", days[] = "MonTueWedThuFriSatSun";
    int day, year, hour, minute, second;
    if (strlen(text) != 29 || text[3] != ',' || text[4] != ' ')
        return false;
    bool named = false;
    for (int i = 0; i < 7; i++)
        named |= strncmp(text, days + 3 * i, 3) == 0;
    text += 5;
    if (!named || !digits(&text, 2, &day) || !literal(&text, ' '))
        return false;
    int month = 0;
    for (int i = 0; i < 12; i++)
        if (strncmp(text, months + 3 * i, 3) == 0)
            month = i + 1;
    text += 3;
    return month > 0 && literal(&text, ' ') && digits(&text, 4, &year) && literal(&text, ' ') &&
           digits(&text, 2, &hour) && literal(&text, ':') && digits(&text, 2, &minute) &&
           literal(&text, ':') && digits(&text, 2, &second) && strcmp(text, " GMT") == 0 &&
           compose(year, month, day, hour, minute, second, when_s);
}

const char *clock_format_utc(int64_t when_s, char out[CLOCK_TEXT_BYTES])
{
    struct tm tm;
    time_t when = (time_t)when_s;
    if (gmtime_r(&when, &tm) == NULL || strftime(out, CLOCK_TEXT_BYTES, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        snprintf(out, CLOCK_TEXT_BYTES, "(no time)");
    return out;
}

const char *clock_format_span(int64_t span_s, char out[CLOCK_TEXT_BYTES])
{
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}};
    if (span_s < 0)
        span_s = span_s > INT64_MIN ? -span_s : INT64_MAX;
    snprintf(out, CLOCK_TEXT_BYTES, "now");
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        /* "90 minutes" says more than "1 hour": a unit is used from two of it on, seconds from one */
        int64_t count = span_s / units[i].seconds;
        if (count >= 2 || (count == 1 && (span_s % units[i].seconds == 0 || units[i].seconds == 1))) {
            snprintf(out, CLOCK_TEXT_BYTES, "%lld %s%s", (long long)count, units[i].name,
                     count == 1 ? "" : "s");
            break;
        }
    }
    return out;
}
