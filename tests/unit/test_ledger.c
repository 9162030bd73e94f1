/*
 * test_ledger.c - what was asked of a CA, and the rate limits that are seen before they are hit.
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

#include "tlsup/clock.h"
#include "tlsup/ledger.h"
#include "tlsup/mem.h"

enum { NOW_S = 1795356309 /* 2026-11-22T14:05:09Z */, MINUTE_S = 60, HOUR_S = 3600, DAY_S = 86400 };

static const struct ca *le(void)
{
    return ca_by_name("letsencrypt");
}

static void note(struct ledger *ledger, enum ledger_event event, const char *names, int64_t at_s)
{
    AUTO_STRLIST list = STRLIST_INIT;
    strlist_split(&list, names, " ");
    ledger_note(ledger, event, &list, LEDGER_COUNTS, at_s);
}

static void note_exempt(struct ledger *ledger, enum ledger_event event, const char *names,
                        enum ledger_exempt exempt, int64_t at_s)
{
    AUTO_STRLIST list = STRLIST_INIT;
    strlist_split(&list, names, " ");
    ledger_note(ledger, event, &list, exempt, at_s);
}

/* The warnings, joined by newlines; the caller frees. */
static char *check(const struct ledger *ledger, const struct ca *ca, const char *names, bool renewal,
                   int64_t now_s, bool *passed)
{
    AUTO_STRLIST list = STRLIST_INIT;
    AUTO_STRLIST warnings = STRLIST_INIT;
    strlist_split(&list, names, " ");
    *passed = ledger_check(ledger, ca, &list, renewal, now_s, &warnings);
    return strlist_join(&warnings, "\n");
}

#define PASSED true
#define FITS false

static void expect_at(const struct ledger *ledger, const char *names, bool renewal, int64_t now_s,
                      bool passed, const char *text, const char *file, int line)
{
    bool got;
    AUTO_FREE char *warnings = check(ledger, le(), names, renewal, now_s, &got);
    if (got != passed || strcmp(warnings, text) != 0) {
        print_message("%d \"%s\"\n", got, warnings);
        _fail(file, line);
    }
}
#define EXPECT(ledger, names, renewal, now_s, passed, text)                                                  \
    expect_at(ledger, names, renewal, now_s, passed, text, __FILE__, __LINE__)

static void test_the_sixth_of_the_same_names(void **state)
{
    (void)state;
    struct ledger ledger = LEDGER_INIT;
    EXPECT(&ledger, "a.test b.test", false, NOW_S, FITS, "");
    for (int i = 0; i < 4; i++)
        note(&ledger, LEDGER_CERTIFICATE, i % 2 ? "a.test b.test" : "b.test a.test", NOW_S);
    EXPECT(
        &ledger, "b.test a.test", false, NOW_S, FITS,
        "letsencrypt allows 5 certificates for exactly these names in 7 days, and this would be the last of "
        "them: there is room again in 33 hours (2026-11-23T23:41:09Z)");
    note(&ledger, LEDGER_CERTIFICATE, "a.test b.test", NOW_S);
    static const char used[] =
        "letsencrypt allows 5 certificates for exactly these names in 7 days, and 5 are used: "
        "there is room again in %s (2026-11-23T23:41:09Z)";
    AUTO_FREE char *at_once = mem_fmt(used, "33 hours");
    EXPECT(&ledger, "a.test b.test", false, NOW_S, PASSED, at_once);
    EXPECT(&ledger, "a.test b.test", true, NOW_S, PASSED, at_once); /* renewals are counted here */
    AUTO_FREE char *later = mem_fmt(used, "36 minutes");
    EXPECT(&ledger, "a.test b.test", false, NOW_S + 33 * HOUR_S, PASSED, later);
    /* to the second */
    AUTO_FREE char *nearly = mem_fmt(used, "1 second");
    EXPECT(&ledger, "a.test b.test", false, NOW_S + 7 * DAY_S / 5 - 1, PASSED, nearly);
    bool passed;
    free(check(&ledger, le(), "a.test b.test", false, NOW_S + 7 * DAY_S / 5, &passed));
    assert_false(passed);
    EXPECT(&ledger, "a.test b.test", false, NOW_S + 7 * DAY_S, FITS, "");
    EXPECT(&ledger, "a.test b.test c.test", false, NOW_S, FITS, "");
    EXPECT(&ledger, "a.test", false, NOW_S, FITS, "");
    ledger_clear(&ledger);
}

static void test_room_comes_back_gradually(void **state)
{
    (void)state;
    struct ledger ledger = LEDGER_INIT;
    /* one each 34 hours for ever is within the limit, though there are never fewer than five in 7 days */
    for (int i = 0; i < 5; i++)
        note(&ledger, LEDGER_CERTIFICATE, "a.test", NOW_S - 7 * DAY_S);
    for (int i = 1; i <= 4; i++) {
        int64_t at_s = NOW_S - 7 * DAY_S + i * 34 * HOUR_S;
        bool passed;
        free(check(&ledger, le(), "a.test", false, at_s, &passed));
        assert_false(passed);
        note(&ledger, LEDGER_CERTIFICATE, "a.test", at_s);
        free(check(&ledger, le(), "a.test", false, at_s, &passed));
        assert_true(passed);
    }
    ledger_clear(&ledger);
}

static void test_the_fiftieth_of_a_domain(void **state)
{
    (void)state;
    struct ledger ledger = LEDGER_INIT;
    char names[64];
    for (int i = 0; i < 49; i++) {
        snprintf(names, sizeof names, "h%d.example.co.uk www.h%d.example.co.uk", i, i);
        note(&ledger, LEDGER_CERTIFICATE, names, NOW_S);
    }
    EXPECT(&ledger, "x.example.co.uk", false, NOW_S, FITS,
           "letsencrypt allows 50 certificates for names of example.co.uk in 7 days, and this would be the "
           "last of "
           "them: there is room again in 3 hours (2026-11-22T17:26:45Z)");
    note(&ledger, LEDGER_CERTIFICATE, "y.example.co.uk z.example.co.uk other.test", NOW_S);
    EXPECT(&ledger, "x.example.co.uk other.test", false, NOW_S, PASSED,
           "letsencrypt allows 50 certificates for names of example.co.uk in 7 days, and 50 are used: there "
           "is room "
           "again in 3 hours (2026-11-22T17:26:45Z)");
    EXPECT(&ledger, "*.example.co.uk", true, NOW_S, FITS, ""); /* a renewal */
    EXPECT(&ledger, "x.example2.co.uk", false, NOW_S, FITS, "");
    EXPECT(&ledger, "x.example.co.uk", false, NOW_S + 202 * MINUTE_S, FITS,
           "letsencrypt allows 50 certificates for names of example.co.uk in 7 days, and this would be the "
           "last of "
           "them: there is room again in 3 hours (2026-11-22T20:48:21Z)");
    ledger_clear(&ledger);
}

static void test_networks_count_as_domains(void **state)
{
    (void)state;
    struct ledger ledger = LEDGER_INIT;
    char name[64];
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "2001:db8::%x", i + 1);
        note(&ledger, LEDGER_CERTIFICATE, name, NOW_S);
    }
    bool passed;
    AUTO_FREE char *text = check(&ledger, le(), "2001:db8::ffff", false, NOW_S, &passed);
    assert_true(passed);
    assert_non_null(strstr(text, "of 2001:db8::/64 in"));
    free(check(&ledger, le(), "2001:db8:0:1::1 192.0.2.1", false, NOW_S, &passed));
    assert_false(passed);
    ledger_clear(&ledger);
}

static void test_orders(void **state)
{
    (void)state;
    struct ledger ledger = LEDGER_INIT;
    for (int i = 0; i < 300; i++)
        note(&ledger, LEDGER_ORDER, "a.test", NOW_S - HOUR_S);
    EXPECT(&ledger, "x.example", false, NOW_S - HOUR_S, PASSED,
           "letsencrypt allows 300 new orders of one account in 3 hours, and 300 are used: there is room "
           "again in 36 "
           "seconds (2026-11-22T13:05:45Z)");
    EXPECT(&ledger, "x.example", true, NOW_S - HOUR_S, FITS, "");
    EXPECT(&ledger, "x.example", false, NOW_S, FITS, "");
    for (int i = 0; i < 99; i++) /* of the 300, 100 have come back in an hour */
        note(&ledger, LEDGER_ORDER, "a.test", NOW_S);
    EXPECT(&ledger, "x.example", false, NOW_S, FITS,
           "letsencrypt allows 300 new orders of one account in 3 hours, and this would be the last of them: "
           "there is "
           "room again in 36 seconds (2026-11-22T14:05:45Z)");
    ledger_clear(&ledger);
}

static void test_failures(void **state)
{
    (void)state;
    struct ledger ledger = LEDGER_INIT;
    for (int i = 0; i < 4; i++)
        note(&ledger, LEDGER_FAILURE, "www.a.test b.a.test", NOW_S);
    EXPECT(&ledger, "www.a.test", true, NOW_S, FITS,
           "letsencrypt allows 5 failed validations of www.a.test in an hour, and one more failure would use "
           "the last "
           "of them: there is room again in 12 minutes (2026-11-22T14:17:09Z)");
    note(&ledger, LEDGER_FAILURE, "www.a.test", NOW_S);
    EXPECT(&ledger, "c.a.test www.a.test a.test", false, NOW_S, PASSED,
           "letsencrypt allows 5 failed validations of www.a.test in an hour, and 5 are used: there is room "
           "again in 12 "
           "minutes (2026-11-22T14:17:09Z)");
    EXPECT(&ledger, "a.test", false, NOW_S, FITS, ""); /* a name alone is meant, not its domain */
    EXPECT(&ledger, "www.a.test", false, NOW_S + HOUR_S, FITS, "");
    ledger_clear(&ledger);
}

static void test_what_is_exempt(void **state)
{
    (void)state;
    struct ledger ledger = LEDGER_INIT;
    for (int i = 0; i < 400; i++) {
        note_exempt(&ledger, LEDGER_ORDER, "a.test", LEDGER_EXEMPT, NOW_S);
        note_exempt(&ledger, LEDGER_CERTIFICATE, "a.test", LEDGER_EXEMPT, NOW_S);
    }
    EXPECT(&ledger, "a.test", false, NOW_S, FITS, "");
    for (int i = 0; i < 400; i++) {
        note_exempt(&ledger, LEDGER_ORDER, "b.test", LEDGER_RENEWAL, NOW_S);
        note_exempt(&ledger, LEDGER_CERTIFICATE, "b.test", LEDGER_RENEWAL, NOW_S);
    }
    EXPECT(&ledger, "x.b.test", false, NOW_S, FITS, "");
    bool passed;
    free(check(&ledger, le(), "b.test", true, NOW_S, &passed));
    assert_true(passed);
    ledger_clear(&ledger);
}

/* Sixty orders of one domain are sent before the first certificate comes. */
static void test_orders_under_way_count(void **state)
{
    (void)state;
    struct ledger ledger = LEDGER_INIT;
    char name[64];
    bool passed;
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "h%d.a.test", i);
        free(check(&ledger, le(), name, false, NOW_S, &passed));
        assert_false(passed);
        note(&ledger, LEDGER_ORDER, name, NOW_S);
    }
    free(check(&ledger, le(), "h50.a.test", false, NOW_S, &passed));
    assert_true(passed);
    for (int i = 0; i < 50; i++) { /* they come: still fifty, not a hundred */
        snprintf(name, sizeof name, "h%d.a.test", i);
        note(&ledger, LEDGER_CERTIFICATE, name, NOW_S + 30);
    }
    AUTO_FREE char *text = check(&ledger, le(), "h50.a.test", false, NOW_S + 30, &passed);
    assert_true(passed);
    assert_non_null(strstr(text, "and 50 are used"));
    ledger_clear(&ledger);
    for (int i = 0; i < 50; i++)
        note(&ledger, LEDGER_ORDER, "a.test", NOW_S); /* and these never came */
    free(check(&ledger, le(), "b.a.test", false, NOW_S + 16 * MINUTE_S, &passed));
    assert_false(passed);
    ledger_clear(&ledger);
}

/* More than the limit was let pass: this account has a higher one, and must not be warned of for weeks. */
static void test_more_than_allowed_was_allowed(void **state)
{
    (void)state;
    struct ledger ledger = LEDGER_INIT;
    bool passed;
    for (int i = 0; i < 100; i++)
        note(&ledger, LEDGER_CERTIFICATE, "a.test", NOW_S);
    free(check(&ledger, le(), "a.test", false, NOW_S + 34 * HOUR_S, &passed));
    assert_false(passed);
    ledger_clear(&ledger);
}

static void test_other_cas(void **state)
{
    (void)state;
    struct ledger ledger = LEDGER_INIT;
    bool passed;
    const struct ca small = {.name = "", .same_set = 2, .per_domain = -3};
    for (int i = 0; i < 100; i++) {
        note(&ledger, LEDGER_ORDER, "a.test", NOW_S);
        note(&ledger, LEDGER_CERTIFICATE, "a.test", NOW_S);
        note(&ledger, LEDGER_FAILURE, "a.test", NOW_S);
    }
    AUTO_FREE char *unknown =
        check(&ledger, ca_by_url("https://ca.test/dir"), "a.test", false, NOW_S, &passed);
    assert_false(passed);
    assert_string_equal(unknown, "");
    AUTO_FREE char *staging =
        check(&ledger, ca_by_name("letsencrypt-staging"), "a.test", false, NOW_S, &passed);
    assert_false(passed);
    assert_string_equal(staging, "");
    AUTO_FREE char *text = check(&ledger, &small, "a.test", false, NOW_S, &passed);
    assert_true(passed);
    assert_memory_equal(text, "this CA allows 2 certificates", 29);
    ledger_clear(&ledger);
}

/* -- clocks that jump -- */

static void test_the_clock_was_ahead(void **state)
{
    (void)state;
    struct ledger ledger = LEDGER_INIT;
    bool passed;
    for (int i = 0; i < 5; i++)
        note(&ledger, LEDGER_CERTIFICATE, "a.test", NOW_S + 4 * 365 * DAY_S); /* years: it was wrong */
    free(check(&ledger, le(), "a.test", false, NOW_S, &passed));
    assert_false(passed);
    for (int i = 0; i < 5; i++)
        note(&ledger, LEDGER_CERTIFICATE, "b.test",
             NOW_S + 2 * HOUR_S); /* a zone's worth: they count as of now */
    AUTO_FREE char *text = check(&ledger, le(), "b.test", false, NOW_S, &passed);
    assert_true(passed);
    assert_non_null(strstr(text, "in 33 hours"));
    AUTO_BUF json = BUF_INIT;
    ledger_encode(&ledger, NOW_S, &json);
    assert_null(strstr(buf_str(&json), "a.test"));
    assert_non_null(strstr(buf_str(&json), "b.test"));
    ledger_clear(&ledger);
}

static void test_entries_out_of_order(void **state)
{
    (void)state;
    static const int offsets_h[] = {-30, 0, -100, -2, -1, -50, -7 * 24};
    struct ledger ledger = LEDGER_INIT;
    for (size_t i = 0; i < COUNT_OF(offsets_h); i++)
        note(&ledger, LEDGER_CERTIFICATE, "a.test", NOW_S + offsets_h[i] * HOUR_S);
    for (size_t i = 1; i < ledger.n; i++)
        assert_true(ledger.v[i - 1].at_s <= ledger.v[i].at_s);
    ledger_clear(&ledger);
}

static void test_no_instant_breaks_it(void **state)
{
    (void)state;
    static const int64_t instants[] = {0, 1, -1, NOW_S, INT64_C(253402300799), INT32_MAX, -DAY_S};
    for (size_t i = 0; i < COUNT_OF(instants); i++)
        for (size_t k = 0; k < COUNT_OF(instants); k++) {
            struct ledger ledger = LEDGER_INIT;
            struct err err = ERR_INIT;
            AUTO_BUF json = BUF_INIT;
            bool passed;
            note(&ledger, LEDGER_CERTIFICATE, "a.test", instants[i]);
            free(check(&ledger, le(), "a.test", false, instants[k], &passed));
            assert_false(passed);
            ledger_encode(&ledger, instants[k], &json);
            assert_true(ledger_decode(json.data, json.len, "ledger", &ledger, &err));
            int64_t ahead_s = instants[i] - instants[k];
            assert_int_equal(ledger.n,
                             instants[i] >= 0 && ahead_s <= LEDGER_AHEAD_S && -ahead_s <= LEDGER_KEEP_S);
            ledger_clear(&ledger);
        }
}

/* -- JSON -- */

static void test_written_and_read_again(void **state)
{
    (void)state;
    struct ledger ledger = LEDGER_INIT, again = LEDGER_INIT;
    struct err err = ERR_INIT;
    AUTO_BUF first = BUF_INIT;
    AUTO_BUF second = BUF_INIT;
    note(&ledger, LEDGER_CERTIFICATE, "old.test", NOW_S - LEDGER_KEEP_S - 1);
    note(&ledger, LEDGER_CERTIFICATE, "kept.test", NOW_S - LEDGER_KEEP_S);
    note(&ledger, LEDGER_ORDER, "www.a.test *.a.test 192.0.2.1 2001:db8::1", NOW_S);
    note_exempt(&ledger, LEDGER_CERTIFICATE, "www.a.test a.test", LEDGER_EXEMPT, NOW_S);
    note_exempt(&ledger, LEDGER_CERTIFICATE, "b.test", LEDGER_RENEWAL, NOW_S);
    note(&ledger, LEDGER_FAILURE, "www.a.test b.a.test www.a.test", NOW_S);
    ledger_encode(&ledger, NOW_S, &first);
    assert_true(ledger_decode(first.data, first.len, "ledger", &again, &err));
    assert_int_equal(again.n, 5);
    assert_string_equal(again.v[0].domains.v[0], "kept.test");
    assert_int_equal(again.v[1].event, LEDGER_ORDER);
    assert_int_equal(again.v[1].at_s, NOW_S);
    assert_int_equal(again.v[1].domains.n, 3); /* a.test once */
    assert_true(strlist_has(&again.v[1].domains, "2001:db8::/64"));
    assert_int_equal(again.v[2].exempt, LEDGER_EXEMPT);
    assert_string_equal(again.v[2].set, ledger.v[3].set);
    assert_int_equal(again.v[3].exempt, LEDGER_RENEWAL);
    assert_int_equal(again.v[4].domains.n, 2);
    assert_true(strlist_has(&again.v[4].domains, "www.a.test"));
    ledger_encode(&again, NOW_S, &second);
    assert_string_equal(buf_str(&second), buf_str(&first));
    ledger_clear(&ledger);
    ledger_clear(&again);
}

static void test_the_set_is_of_names(void **state)
{
    (void)state;
    struct ledger ledger = LEDGER_INIT;
    note(&ledger, LEDGER_ORDER, "a.test b.test", NOW_S);
    note(&ledger, LEDGER_ORDER, "b.test a.test b.test", NOW_S);
    note(&ledger, LEDGER_ORDER, "a.test", NOW_S);
    note(&ledger, LEDGER_ORDER, "a.testb.test", NOW_S);
    assert_string_equal(ledger.v[0].set, ledger.v[1].set);
    assert_string_not_equal(ledger.v[0].set, ledger.v[2].set);
    assert_string_not_equal(ledger.v[0].set, ledger.v[3].set);
    assert_int_equal(strlen(ledger.v[0].set), 32);
    ledger_clear(&ledger);
}

#define SET "0123456789abcdef0123456789abcdef"
#define ENTRY(event, at, set, domains)                                                                       \
    "{\"version\":1,\"entries\":[{\"event\":" event ",\"at\":" at ",\"set\":" set ",\"domains\":" domains    \
    "}]}"
#define GOOD_EVENT "\"order\""
#define GOOD_SET "\"" SET "\""

static void test_broken_texts(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        " ",
        "\n",
        "null",
        "1",
        "[]",
        "{}",
        "{",
        "{\"version\":1}",
        "{\"version\":2,\"entries\":[]}",
        "{\"version\":\"1\",\"entries\":[]}",
        "{\"version\":1,\"entries\":{}}",
        "{\"version\":1,\"entries\":null}",
        "{\"version\":1,\"entries\":[]",
        "{\"version\":1,\"entries\":[]}x",
        "{\"version\":1,\"entries\":[],\"entries\":[]}",
        "{\"version\":1,\"entries\":[1]}",
        "{\"version\":1,\"entries\":[{}]}",
        ENTRY("\"orders\"", "1", GOOD_SET, "[]"),
        ENTRY("0", "1", GOOD_SET, "[]"),
        ENTRY(GOOD_EVENT, "-1", GOOD_SET, "[]"),
        ENTRY(GOOD_EVENT, "1.5", GOOD_SET, "[]"),
        ENTRY(GOOD_EVENT, "\"1\"", GOOD_SET, "[]"),
        ENTRY(GOOD_EVENT, "253402300800", GOOD_SET, "[]"),
        ENTRY(GOOD_EVENT, "99999999999999999999999999", GOOD_SET, "[]"),
        ENTRY(GOOD_EVENT, "1", "\"\"", "[]"),
        ENTRY(GOOD_EVENT, "1", "\"" SET "0\"", "[]"),
        ENTRY(GOOD_EVENT, "1", "\"0123456789ABCDEF0123456789abcdef\"", "[]"),
        ENTRY(GOOD_EVENT, "1", "\"" SET "x\"", "[]"),
        ENTRY(GOOD_EVENT, "1", "null", "[]"),
        ENTRY(GOOD_EVENT, "1", GOOD_SET, "{}"),
        ENTRY(GOOD_EVENT, "1", GOOD_SET, "\"a.test\""),
        ENTRY(GOOD_EVENT, "1", GOOD_SET, "[1]"),
        ENTRY(GOOD_EVENT, "1", GOOD_SET, "[\"\"]"),
        ENTRY(GOOD_EVENT, "1", GOOD_SET, "[\"a b\"]"),
        ENTRY(GOOD_EVENT, "1", GOOD_SET, "[\"\\u001b[2J\"]"),
        ENTRY(GOOD_EVENT, "1", GOOD_SET, "[\"b\xC3\xBC.test\"]"),
        ENTRY(GOOD_EVENT, "1", GOOD_SET ",\"exempt\":true", "[]"),
        ENTRY(GOOD_EVENT, "1", GOOD_SET ",\"exempt\":\"maybe\"", "[]"),
        "\xFF\xFE{\"version\":1,\"entries\":[]}",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct ledger ledger = LEDGER_INIT;
        struct err err = ERR_INIT;
        note(&ledger, LEDGER_ORDER, "a.test", NOW_S); /* what was there is gone */
        if (ledger_decode(texts[i], strlen(texts[i]), "state/ca.json", &ledger, &err))
            fail_msg("taken: %s", texts[i]);
        assert_int_equal(err.code, ERR_CONFIG);
        assert_string_equal(err.subject, "state/ca.json");
        assert_memory_equal(err.text, "state/ca.json: ", 15);
        assert_true(err.advice[0] != '\0');
        assert_int_equal(ledger.n, 0);
        note(&ledger, LEDGER_ORDER, "a.test", NOW_S); /* and one may go on */
        assert_int_equal(ledger.n, 1);
        ledger_clear(&ledger);
    }
}

static void test_broken_at_every_byte(void **state)
{
    (void)state;
    struct ledger ledger = LEDGER_INIT, again = LEDGER_INIT;
    AUTO_BUF json = BUF_INIT;
    note(&ledger, LEDGER_FAILURE, "a.test b.test", NOW_S);
    note_exempt(&ledger, LEDGER_CERTIFICATE, "a.test", LEDGER_EXEMPT, NOW_S);
    ledger_encode(&ledger, NOW_S, &json);
    for (size_t len = 0; len + 1 < json.len; len++) {
        struct err err = ERR_INIT;
        AUTO_FREE char *part = mem_ndup(json.data, len);
        assert_false(ledger_decode(part, len, "ledger", &again, &err));
        AUTO_FREE char *other = mem_ndup(json.data, json.len);
        other[len] ^= 0x15;
        if (ledger_decode(other, json.len, "ledger", &again, &err)) {
            bool passed;
            free(check(&again, le(), "a.test", false, NOW_S, &passed));
        }
    }
    ledger_clear(&ledger);
    ledger_clear(&again);
}

static void test_unknown_members_are_let_be(void **state)
{
    (void)state;
    static const char text[] =
        "{\"made-by\":\"x\",\"version\":1,\"entries\":[{\"note\":[{}],\"event\":\"failure\",\"at\":0,\"set\":"
        "\"" SET "\",\"domains\":[\"b.test\",\"a.test\",\"b.test\"]}]}";
    struct ledger ledger = LEDGER_INIT;
    struct err err = ERR_INIT;
    assert_true(ledger_decode(text, sizeof text - 1, "ledger", &ledger, &err));
    assert_int_equal(ledger.n, 1);
    assert_int_equal(ledger.v[0].domains.n, 2);
    ledger_clear(&ledger);
}

static void test_names_that_are_none_do_not_spoil_it(void **state)
{
    (void)state;
    struct ledger ledger = LEDGER_INIT;
    struct err err = ERR_INIT;
    AUTO_BUF json = BUF_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    strlist_add(&names, "");
    strlist_add(&names, "b\xFF.test");
    strlist_add(&names, "a b");
    strlist_add(&names, "good.test");
    for (int i = 0; i < 3; i++)
        ledger_note(&ledger, (enum ledger_event)i, &names, LEDGER_COUNTS, NOW_S);
    ledger_note(&ledger, LEDGER_ORDER, &(struct strlist)STRLIST_INIT, LEDGER_COUNTS, NOW_S);
    ledger_encode(&ledger, NOW_S, &json);
    assert_true(ledger_decode(json.data, json.len, "ledger", &ledger, &err));
    assert_int_equal(ledger.n, 4);
    ledger_clear(&ledger);
}

/* -- much -- */

static void test_twenty_thousand(void **state)
{
    (void)state;
    struct ledger ledger = LEDGER_INIT;
    struct err err = ERR_INIT;
    AUTO_BUF json = BUF_INIT;
    AUTO_STRLIST hundred = STRLIST_INIT;
    char names[64];
    bool passed;
    for (int i = 0; i < 3 * LEDGER_MAX_ENTRIES; i++) {
        snprintf(names, sizeof names, "www.d%d.test d%d.test", i, i);
        note(&ledger, (enum ledger_event)(i % 3), names, NOW_S - DAY_S + i);
        assert_in_range(ledger.n, 1, LEDGER_MAX_ENTRIES);
    }
    assert_true(ledger.n >= LEDGER_MAX_ENTRIES * 9 / 10);
    assert_int_equal(ledger.v[ledger.n - 1].at_s,
                     NOW_S - DAY_S + 3 * LEDGER_MAX_ENTRIES - 1); /* the oldest went */
    ledger_encode(&ledger, NOW_S, &json);
    size_t n = ledger.n;
    assert_true(ledger_decode(json.data, json.len, "ledger", &ledger, &err));
    assert_int_equal(ledger.n, n);
    for (int i = 0; i < 100; i++) {
        snprintf(names, sizeof names, "h%d.d%d.test", i, i);
        strlist_add(&hundred, names);
    }
    AUTO_FREE char *joined = strlist_join(&hundred, " ");
    for (int i = 0; i < 50; i++) {
        free(check(&ledger, le(), joined, false, NOW_S, &passed));
        assert_false(passed);
    }
    ledger_clear(&ledger);
}

/* Twenty thousand of a hundred domains each, and all of one moment: what is read is bounded as well. */
static void test_a_text_with_too_many(void **state)
{
    (void)state;
    struct ledger ledger = LEDGER_INIT;
    struct err err = ERR_INIT;
    AUTO_BUF json = BUF_INIT;
    buf_adds(&json, "{\"version\":1,\"entries\":[");
    for (int i = 0; i < LEDGER_MAX_ENTRIES + 500; i++)
        buf_addf(&json, "%s{\"event\":\"order\",\"at\":%d,\"set\":\"" SET "\",\"domains\":[\"d%d.test\"]}",
                 i > 0 ? "," : "", LEDGER_MAX_ENTRIES + 500 - i, i);
    buf_adds(&json, "]}");
    assert_true(ledger_decode(json.data, json.len, "ledger", &ledger, &err));
    assert_int_equal(ledger.n, LEDGER_MAX_ENTRIES);
    assert_int_equal(ledger.v[0].at_s, 501);
    assert_string_equal(ledger.v[ledger.n - 1].domains.v[0], "d0.test");
    ledger_clear(&ledger);
    buf_reset(&json);
    buf_adds(&json, "{\"version\":1,\"entries\":[{\"event\":\"order\",\"at\":1,\"set\":\"" SET
                    "\",\"domains\":[\"a\"");
    for (int i = 0; i < 1000; i++)
        buf_adds(&json, ",\"a\"");
    buf_adds(&json, "]}]}");
    assert_false(ledger_decode(json.data, json.len, "ledger", &ledger, &err));
    buf_reset(&json);
    for (int i = 0; i < 1000000; i++)
        buf_addc(&json, '[');
    assert_false(ledger_decode(json.data, json.len, "ledger", &ledger, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_sixth_of_the_same_names),
        cmocka_unit_test(test_room_comes_back_gradually),
        cmocka_unit_test(test_the_fiftieth_of_a_domain),
        cmocka_unit_test(test_networks_count_as_domains),
        cmocka_unit_test(test_orders),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_what_is_exempt),
        cmocka_unit_test(test_orders_under_way_count),
        cmocka_unit_test(test_more_than_allowed_was_allowed),
        cmocka_unit_test(test_other_cas),
        cmocka_unit_test(test_the_clock_was_ahead),
        cmocka_unit_test(test_entries_out_of_order),
        cmocka_unit_test(test_no_instant_breaks_it),
        cmocka_unit_test(test_written_and_read_again),
        cmocka_unit_test(test_the_set_is_of_names),
        cmocka_unit_test(test_broken_texts),
        cmocka_unit_test(test_broken_at_every_byte),
        cmocka_unit_test(test_unknown_members_are_let_be),
        cmocka_unit_test(test_names_that_are_none_do_not_spoil_it),
        cmocka_unit_test(test_twenty_thousand),
        cmocka_unit_test(test_a_text_with_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
