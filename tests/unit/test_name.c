/*
 * test_name.c - what a person types becomes exactly the name that goes into an order, or a refusal that tells
 * why.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tlsup/mem.h"
#include "tlsup/name.h"

#define L63 "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabc"
#define L61 "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghija"
#define NAME253 L63 "." L63 "." L63 "." L61
#define L59 "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghi"

static const struct {
    const char *typed, *name;
} accepted[] = {
    {"example.org", "example.org"},
    {"EXAMPLE.Org", "example.org"},
    {"example.org.", "example.org"},
    {"www.example.org", "www.example.org"},
    {"a.b.c.d.e.f.example.co.uk", "a.b.c.d.e.f.example.co.uk"},
    {"*.example.org", "*.example.org"},
    {"*.EXAMPLE.org.", "*.example.org"},
    {"1and1.com", "1and1.com"},
    {"123.example.org", "123.example.org"},
    {"0x7f.example.org", "0x7f.example.org"},
    {"1.2.3.4.example.org", "1.2.3.4.example.org"},
    {"a-b.example.org", "a-b.example.org"},
    {"r3---sn-h5q7.example.com", "r3---sn-h5q7.example.com"},
    {"x.test", "x.test"},
    {"www.example", "www.example"},
    {"mylocal.org", "mylocal.org"},
    {"notlocalhost.com", "notlocalhost.com"},
    {"local.example.org", "local.example.org"},
    {"thome.arpa", "thome.arpa"},
    {L63 ".org", L63 ".org"},
    {NAME253, NAME253},
    {NAME253 ".", NAME253},
    {"xn--bcher-kva.example", "xn--bcher-kva.example"},
    {"XN--BCHER-KVA.example", "xn--bcher-kva.example"},
    {"*.xn--bcher-kva.example", "*.xn--bcher-kva.example"},
    {"www.xn--p1ai", "www.xn--p1ai"},
    {"192.0.2.1", "192.0.2.1"},
    {"0.0.0.0", "0.0.0.0"},
    {"255.255.255.255", "255.255.255.255"},
    {"127.0.0.1", "127.0.0.1"},
    {"::1", "::1"},
    {"::", "::"},
    {"[::1]", "::1"},
    {"2001:DB8::1", "2001:db8::1"},
    {"[2001:db8::1]", "2001:db8::1"},
    {"2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"},
    {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
    {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
    {"1:0:0:0:0:0:0:0", "1::"},
    {"2001:db8:0:0:0:1:0:0", "2001:db8::1:0:0"},
    {"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
    {"::FFFF:c000:201", "::ffff:192.0.2.1"},
    {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
    {"::192.0.2.1", "::c000:201"},
    {"::0.0.0.5", "::5"},
    {"::1.0.0.0", "::100:0"},
#ifdef HAVE_LIBIDN2
    {"bücher.example", "xn--bcher-kva.example"},
    {"BÜCHER.example", "xn--bcher-kva.example"},
    {"bu\xCC\x88"
     "cher.example",
     "xn--bcher-kva.example"},
    {"*.bücher.example", "*.xn--bcher-kva.example"},
    {"faß.de", "xn--fa-hia.de"},
    {"xn--fa-hia.de", "xn--fa-hia.de"},
    {"例え。jp", "xn--r8jz45g.jp"},
    {"例え.jp.", "xn--r8jz45g.jp"},
    {"пример.рф", "xn--e1afmkfd.xn--p1ai"},
    {"ＥＸＡＭＰＬＥ.org", "example.org"},
    {"مثال.إختبار", "xn--mgbh0fb.xn--kgbechtv"},
#endif
};

/* `reason` is part of the text, `advice` part of the advice (NULL: none is looked for). */
static const struct {
    const char *typed, *reason, *advice;
} refused[] = {
    {"", "empty", NULL},
    {".", "empty label", NULL},
    {"..", "empty label", NULL},
    {"example..org", "empty label", NULL},
    {".example.org", "empty label", NULL},
    {"example.org..", "empty label", NULL},
    {"*.", "empty label", NULL},
    {"*..example.org", "empty label", NULL},
    {"org", "single label", "domain"},
    {"myserver", "single label", "domain"},
    {"*.org", "single label", NULL},
    {"*", "'*'", "*.example.org"},
    {"*.*.example.org", "'*'", "*.example.org"},
    {"www.*.example.org", "'*'", "*.example.org"},
    {"w*.example.org", "'*'", "*.example.org"},
    {"*example.org", "'*'", "*.example.org"},
    {"ex ample.org", "space", NULL},
    {" example.org", "space", NULL},
    {"example.org ", "space", NULL},
    {"exa\tmple.org", "control character (0x09)", NULL},
    {"example.org\n", "control character (0x0a)", NULL},
    {"exa\x7Fmple.org", "control character (0x7f)", NULL},
    {"\x1B[31mexample.org", "control character (0x1b)", NULL},
    {"my_host.example.org", "'_'", NULL},
    {"_acme-challenge.example.org", "'_'", NULL},
    {"exam!ple.org", "'!'", NULL},
    {"a,b.org", "','", NULL},
    {"a'b.org", "'''", NULL},
    {"$(reboot).org", "'$'", NULL},
    {"%s%n.org", "'%'", NULL},
    {"-a.example.org", "hyphen", NULL},
    {"a-.example.org", "hyphen", NULL},
    {"-.org", "hyphen", NULL},
    {L63 "x.org", "64 characters, and 63", NULL},
    {"x" NAME253, "63 is the limit", NULL},
    {"*." NAME253, "255 characters, and 253", NULL},
    {"ab." L63 "." L63 "." L63 "." L59, "254 characters, and 253", NULL},
    {"https://example.org/", "URL", "give the name alone: example.org"},
    {"HTTPS://Example.ORG", "URL", "give the name alone: example.org"},
    {"http://user:pass@example.org:8080/x?y#z", "URL", "give the name alone: example.org"},
    {"https://[2001:db8::1]:443/", "URL", "give the name alone: 2001:db8::1"},
    {"https://", "URL", NULL},
    {"://[", "URL", NULL},
    {"example.org/", "path", "give the name alone: example.org"},
    {"example.org/a/b", "path", "give the name alone: example.org"},
    {"example.org?x", "path", "give the name alone: example.org"},
    {"example.org\\x", "path", "give the name alone: example.org"},
    {"[/x", "path", NULL},
    {"[/]", "path", NULL},
    {"../../etc/passwd", "path", NULL},
    {"10.0.0.0/8", "path", "give the name alone: 10.0.0.0"},
    {"example.org:443", "port", "give the name alone: example.org"},
    {"example.org:", "port", "give the name alone: example.org"},
    {"192.0.2.1:80", "port", "give the name alone: 192.0.2.1"},
    {"[::1]:80", "port", "give the name alone: ::1"},
    {"me@example.org", "e-mail", "give the name alone: example.org"},
    {"mailto:me@example.org", "e-mail", "give the name alone: example.org"},
    {"me@", "e-mail", NULL},
    {"@", "e-mail", NULL},
    {"[@[@]", "e-mail", NULL},
    {"localhost", ".localhost", "domain"},
    {"LOCALHOST.", ".localhost", "domain"},
    {"app.localhost", ".localhost", "domain"},
    {"printer.local", ".local,", "domain"},
    {"*.office.local", ".local,", "domain"},
    {"abcdef.onion", ".onion", "domain"},
    {"db.internal", ".internal", "domain"},
    {"nas.home.arpa", ".home.arpa", "domain"},
    {"1.2.3", "IPv4", "four decimal numbers"},
    {"127.1", "IPv4", "four decimal numbers"},
    {"2130706433", "IPv4", "four decimal numbers"},
    {"0x7f.1", "IPv4", "four decimal numbers"},
    {"0x7f000001", "IPv4", "four decimal numbers"},
    {"127.0.0.0x1", "IPv4", "four decimal numbers"},
    {"010.1.1.1", "IPv4", "four decimal numbers"},
    {"192.0.2.01", "IPv4", "four decimal numbers"},
    {"256.1.1.1", "IPv4", "four decimal numbers"},
    {"1.2.3.4.5", "IPv4", "four decimal numbers"},
    {"1.2.3.4.", "IPv4", "four decimal numbers"},
    {"*.192.0.2.1", "IPv4", "four decimal numbers"},
    {"[192.0.2.1]", "IPv6", NULL},
    {"fe80::1%eth0", "zone", "global"},
    {"[fe80::1%25eth0]", "zone", "global"},
    {"1:2:3", "IPv6", NULL},
    {"1::2::3", "IPv6", NULL},
    {"1:2:3:4:5:6:7:8:9", "IPv6", NULL},
    {":::", "IPv6", NULL},
    {"12345::1", "IPv6", NULL},
    {"::g", "IPv6", NULL},
    {"::ffff:1.2.3", "IPv6", NULL},
    {"*.::1", "IPv6", NULL},
    {"[]", "IPv6", NULL},
    {"[", "bracket", NULL},
    {"[::1", "bracket", NULL},
    {"[::1]x", "bracket", NULL},
    {"\xFF.example.org", "UTF-8", "xn--"},
    {"b\xFC"
     "cher.example",
     "UTF-8", "xn--"},
    {"\xC0\xAE.example.org", "UTF-8", "xn--"},
    {"\xED\xA0\x80.example.org", "UTF-8", "xn--"},
    {"\xF4\x90\x80\x80.example.org", "UTF-8", "xn--"},
    {"example.\xE4\xBE", "UTF-8", "xn--"},
    {"xn--.example.org", "hyphen", NULL},
#ifdef HAVE_LIBIDN2
    {"xn--abc-.example.org", "hyphen", NULL},
    {"xn--a.example.org", "internationalised label", NULL},
    {"xn--zzzz999.example.org", "internationalised label", NULL},
    {"*.xn--zzzz999.example.org", "internationalised label", NULL},
    {"xn--bcher-kva-.example.org", "hyphen", NULL},
    {"xn--iñvalid.example.org", "internationalised name", NULL},
    {"１２７.0.0.1", "IPv4", "four decimal numbers"},
    {"evil／path.example.org", "'/'", NULL},
    {"a＿ü.example.org", "", NULL},
    {"a\xE2\x80\xAE"
     "b.example.org",
     "internationalised name", NULL},
    {"-ü.example.org", "internationalised name", NULL},
    {"bü cher.example.org", "", NULL},
    {"ünïcode", "single label", NULL},
    {"bücher.local", ".local", NULL},
    {"例え。", "single label", NULL},
    {"ü..example.org", "empty label", NULL},
    {"üüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüü.org",
     "too long", NULL},
#else
    {"bücher.example", "libidn2", "xn--"},
#endif
};

static void test_accepted(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(accepted); i++) {
        struct err err = ERR_INIT;
        char name[NAME_MAX_BYTES] = "", again[NAME_MAX_BYTES] = "";
        if (!name_normalize(accepted[i].typed, name, &err))
            fail_msg("%s was refused: %s", accepted[i].typed, err.text);
        assert_string_equal(name, accepted[i].name);
        assert_true(name_normalize(name, again, &err));
        assert_string_equal(again, name);
    }
}

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        struct err err = ERR_INIT;
        char name[NAME_MAX_BYTES] = "untouched";
        if (name_normalize(refused[i].typed, name, &err))
            fail_msg("'%s' was accepted as %s", refused[i].typed, name);
        assert_int_equal(err.code, ERR_NAME);
        assert_int_equal(err.next, NEXT_FIX_CONFIG);
        if (strstr(err.text, refused[i].reason) == NULL)
            fail_msg("'%s': no '%s' in: %s", refused[i].typed, refused[i].reason, err.text);
        if (refused[i].advice != NULL && strstr(err.advice, refused[i].advice) == NULL)
            fail_msg("'%s': no '%s' in the advice: %s", refused[i].typed, refused[i].advice, err.advice);
        assert_string_equal(name, "untouched");
    }
}

static void test_null_is_refused(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char name[NAME_MAX_BYTES];
    assert_false(name_normalize(NULL, name, &err));
    assert_int_equal(err.code, ERR_NAME);
}

static void test_long_input_gives_a_short_error(void **state)
{
    (void)state;
    AUTO_BUF typed = BUF_INIT;
    char name[NAME_MAX_BYTES];
    for (size_t i = 0; i < 100000; i++)
        buf_adds(&typed, i % 2 == 0 ? "ü" : ".");
    for (size_t skip = 0; skip < 4; skip++) {
        struct err err = ERR_INIT;
        assert_false(name_normalize(buf_str(&typed) + skip, name, &err));
        assert_int_equal(err.code, ERR_NAME);
        assert_true(strlen(err.text) < 300);
        assert_non_null(strstr(err.text, "…'"));
    }
}

/* A byte string that is no UTF-8 must not reach a terminal or a JSON document through the error. */
static void test_error_is_clean_text(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char name[NAME_MAX_BYTES];
    assert_false(name_normalize("b\xFC"
                                "ch\x1B[2J.example",
                                name, &err));
    assert_null(strchr(err.text, '\xFC'));
    assert_null(strchr(err.text, '\x1B'));
    assert_null(strchr(err.subject, '\xFC'));
    assert_non_null(strstr(err.text, "b?ch?[2J.example"));
}

static void test_list_drops_duplicates_in_order(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_STRLIST typed = STRLIST_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    strlist_add(&names, "old");
    strlist_split(&typed,
                  "www.example.org EXAMPLE.org. WWW.example.org example.org [::1] 0:0::1 *.example.org", " ");
    assert_true(name_normalize_list(&typed, &names, &err));
    AUTO_FREE char *joined = strlist_join(&names, " ");
    assert_string_equal(joined, "www.example.org example.org ::1 *.example.org");
    assert_true(name_normalize_list(&names, &names, &err));
    AUTO_FREE char *again = strlist_join(&names, " ");
    assert_string_equal(again, joined);
}

static void test_list_with_a_bad_name_changes_nothing(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_STRLIST typed = STRLIST_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    strlist_add(&names, "kept");
    strlist_split(&typed, "example.org bad_name.org www.example.org", " ");
    assert_false(name_normalize_list(&typed, &names, &err));
    assert_string_equal(err.subject, "bad_name.org");
    assert_int_equal(names.n, 1);
    assert_string_equal(names.v[0], "kept");
}

static void test_display(void **state)
{
    (void)state;
    static const struct {
        const char *ascii, *shown;
    } rows[] = {
        {"example.org", "example.org"},
        {"*.example.org", "*.example.org"},
        {"2001:db8::1", "2001:db8::1"},
        {"xn--zzzz999.org", "xn--zzzz999.org"},
        {"xn--abc-.org", "xn--abc-.org"},
        {"", ""},
        {"bad\x1Bname", "bad?name"},
#ifdef HAVE_LIBIDN2
        {"xn--bcher-kva.example", "xn--bcher-kva.example (bücher.example)"},
        {"*.xn--bcher-kva.example", "*.xn--bcher-kva.example (*.bücher.example)"},
        {"xn--r8jz45g.jp", "xn--r8jz45g.jp (例え.jp)"},
        {"xn--bcher-kva.xn--zzzz999", "xn--bcher-kva.xn--zzzz999"},
#else
        {"xn--bcher-kva.example", "xn--bcher-kva.example"},
#endif
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char out[2 * NAME_MAX_BYTES + 4];
        assert_string_equal(name_display(rows[i].ascii, out), rows[i].shown);
    }
}

/* Hostile: U-labels can be four times as long as their A-labels. */
static void test_display_never_overflows(void **state)
{
    (void)state;
    AUTO_BUF ascii = BUF_INIT;
    char out[2 * NAME_MAX_BYTES + 4];
#ifdef HAVE_LIBIDN2
    AUTO_BUF typed = BUF_INIT;
    struct err err = ERR_INIT;
    char name[NAME_MAX_BYTES];
    for (size_t label = 0; label < 4; label++) {
        for (size_t i = 0; i < 50; i++)
            buf_adds(&typed, "\xF0\xA0\x80\x80"); /* an ideograph of four bytes */
        buf_addc(&typed, '.');
    }
    buf_adds(&typed, "org");
    assert_true(name_normalize(buf_str(&typed), name, &err));
    assert_string_equal(name_display(name, out), name);
#endif
    for (size_t i = 0; i < 5000; i++)
        buf_adds(&ascii, "xn--bcher-kva.");
    assert_true(strlen(name_display(buf_str(&ascii), out)) < sizeof out);
}

static void test_is_ip_and_wildcard(void **state)
{
    (void)state;
    assert_true(name_is_ip("192.0.2.1"));
    assert_true(name_is_ip("2001:db8::1"));
    assert_true(name_is_ip("::ffff:192.0.2.1"));
    assert_false(name_is_ip("example.org"));
    assert_false(name_is_ip("1.2.3"));
    assert_false(name_is_ip("[::1]"));
    assert_false(name_is_ip("*.192.0.2.1"));
    assert_false(name_is_ip(""));
    assert_true(name_is_wildcard("*.example.org"));
    assert_false(name_is_wildcard("*"));
    assert_false(name_is_wildcard("example.org"));
    assert_false(name_is_wildcard("a.*.example.org"));
    assert_false(name_is_wildcard(""));
}

static void test_matches(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool covers;
    } rows[] = {
        {"example.org", "example.org", true},
        {"Example.ORG", "example.org", true},
        {"example.org", "www.example.org", false},
        {"*.example.org", "www.example.org", true},
        {"*.EXAMPLE.org", "www.example.ORG", true},
        {"*.example.org", "*.example.org", true},
        {"*.example.org", "example.org", false},
        {"*.example.org", "a.b.example.org", false},
        {"*.example.org", ".example.org", false},
        {"*.example.org", "www.example.org.evil.org", false},
        {"*.example.org", "wwwexample.org", false},
        {"www.example.org", "*.example.org", false},
        {"*.example.org", "*.www.example.org", false},
        {"*.www.example.org", "*.example.org", false},
        {"w*.example.org", "www.example.org", false},
        {"*", "example.org", false},
        {"*", "org", false},
        {"*.", "org.", false},
        {"", "", false},
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.2", false},
        {"*.0.2.1", "192.0.2.1", false},
        {"2001:db8::1", "2001:DB8:0::1", true},
        {"2001:db8::1", "2001:db8::2", false},
        {"::c000:201", "192.0.2.1", false},
        {"example.org", "192.0.2.1", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (name_matches(rows[i].pattern, rows[i].name) != rows[i].covers)
            fail_msg("%s against %s", rows[i].pattern, rows[i].name);
}

static void test_registered_domain(void **state)
{
    (void)state;
    static const struct {
        const char *name, *domain;
    } rows[] = {
        {"example.org", "example.org"},
        {"www.example.org", "example.org"},
        {"*.example.org", "example.org"},
        {"a.b.c.example.org", "example.org"},
        {"example.co.uk", "example.co.uk"},
        {"a.b.example.co.uk", "example.co.uk"},
        {"*.shop.example.com.au", "example.com.au"},
        {"co.uk", "co.uk"},
        {"org", "org"},
        {"x.test", "x.test"},
        {"a.x.test", "x.test"},
        {"www.xn--bcher-kva.example", "xn--bcher-kva.example"},
        {"192.0.2.1", "192.0.2.1"},
        {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
        {"2001:db8::1", "2001:db8::/64"},
        {"2001:db8:0:0:ffff::", "2001:db8::/64"},
        {"::1", "::/64"},
        {"0:0:0:5:1::", "0:0:0:5::/64"},
#ifdef HAVE_LIBPSL
        {"a.b.github.io", "b.github.io"},
        {"github.io", "github.io"},
        {"*.github.io", "github.io"},
        {"a.b.kobe.jp", "a.b.kobe.jp"},
        {"x.city.kobe.jp", "city.kobe.jp"},
        {"www.www.ck", "www.ck"},
        {"a.foo.xn--55qx5d.cn", "foo.xn--55qx5d.cn"},
#endif
        {NAME253, L63 "." L61},
    };
    static const char *const none[] = {"",
                                       "*.",
                                       ".",
                                       ".org",
                                       "org.",
                                       "b\xC3\xBC"
                                       "cher.example",
                                       "x" NAME253};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char domain[NAME_MAX_BYTES] = "";
        assert_true(name_registered_domain(rows[i].name, domain));
        assert_string_equal(domain, rows[i].domain);
    }
    for (size_t i = 0; i < COUNT_OF(none); i++) {
        char domain[NAME_MAX_BYTES] = "untouched";
        assert_false(name_registered_domain(none[i], domain));
        assert_string_equal(domain, "untouched");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_null_is_refused),
        cmocka_unit_test(test_long_input_gives_a_short_error),
        cmocka_unit_test(test_error_is_clean_text),
        cmocka_unit_test(test_list_drops_duplicates_in_order),
        cmocka_unit_test(test_list_with_a_bad_name_changes_nothing),
        cmocka_unit_test(test_display),
        cmocka_unit_test(test_display_never_overflows),
        cmocka_unit_test(test_is_ip_and_wildcard),
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_registered_domain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
