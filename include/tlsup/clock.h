/*
 * clock.h - time, injectable.
 *
 * clock_now_s() is wall time in seconds since 1970 (for certificates, schedules, state files),
 * clock_mono_ms() is a monotonic count of milliseconds (for deadlines). Tests set both.
 */
#ifndef TLSUP_CLOCK_H
#define TLSUP_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int64_t clock_now_s(void);
int64_t clock_mono_ms(void);
/* Tests: freeze both clocks at these values; clock_thaw() returns to real time. */
void clock_freeze(int64_t now_s, int64_t mono_ms);
void clock_thaw(void);

/* RFC 3339 in UTC, "2026-11-22T14:05:09Z". Returns `out`. */
#define CLOCK_TEXT_BYTES 32
const char *clock_format_utc(int64_t when_s, char out[CLOCK_TEXT_BYTES]);
/* RFC 3339 with Z or a numeric offset, fractions ignored; false when it is not one or out of range. */
bool clock_parse_rfc3339(const char *text, int64_t *when_s);
/* An HTTP date in the IMF-fixdate form, "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, 5.6.7). */
bool clock_parse_http_date(const char *text, int64_t *when_s);
/* "3 days", "26 hours", "90 seconds", "now": whole units, from two of a unit on, for people; the sign is dropped. Returns `out`. */
const char *clock_format_span(int64_t span_s, char out[CLOCK_TEXT_BYTES]);

#endif
