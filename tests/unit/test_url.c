/*
 * test_url.c - what may stand where the CA sends a URL, and whose it is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tlsup/compat.h"
#include "tlsup/url.h"

static void test_valid(void **state)
{
    (void)state;
    static const char *const good[] = {
        "https://ca.test",
        "https://ca.test/",
        "https://ca.test:14000/dir",
        "HTTPS://CA.TEST/x",
        "https://ca.test/a?b=c&d=%20",
        "https://127.0.0.1:1/",
        "https://[::1]/",
        "https://[2001:DB8::1]:443/x",
        "https://ca.test:65535",
        "https://a_b.test/",
        "https://ca.test/@x:y[]",
        "https://ca.test?x=/y",
        "https://localhost/dir",
    };
    static const char *const bad[] = {
        "",
        "/relative",
        "ca.test/dir",
        "http://ca.test/",
        "ftp://ca.test/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https:/ca.test/",
        "https//ca.test/",
        "https://",
        "https:///dir",
        "https://?x",
        "https://:443/",
        "https://user@ca.test/",
        "https://user:password@ca.test/",
        "https://ca.test:443@evil.test/",
        "https://[::1]@evil.test/",
        "https://[::1]evil.test/",
        "https://[::1",
        "https://[]/",
        "https://::1/",
        "https://[::1%25eth0]/",
        "https://ca.test:/",
        "https://ca.test:0/",
        "https://ca.test:65536/",
        "https://ca.test:99999999999999999999/",
        "https://ca.test:-1/",
        "https://ca.test:80x/",
        "https://ca.test:1:2/",
        "https://ca.test/a b",
        "https://ca.test/a\tb",
        "https://ca.test/a\r\nX-Injected: 1",
        "https://ca.test/a\nb",
        "https://ca.test/\x7f",
        "https://ca.test/\x1b[2J",
        "https://ca.test/b\xc3\xbc",
        "https://b\xc3\xbc.test/",
        "https://ca.test/#fragment",
        "https://ca.test/\"quoted\"",
        "https://ca.test\\@evil.test/",
        "https://ca.test/<script>",
        "https://ca.test/{x}",
        "https://ca.test/`x`",
        "https://ca.test/|x",
        "https://ca test/",
        "https://ca.test,evil.test/",
        "https://ca%2etest/",
        " https://ca.test/",
        "https://ca.test/ ",
    };
    for (size_t i = 0; i < COUNT_OF(good); i++)
        if (!url_valid(good[i]))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (url_valid(bad[i]))
            fail_msg("let through: %s", bad[i]);
}

static void test_length(void **state)
{
    (void)state;
    char url[URL_MAX_BYTES + 8];
    memset(url, 'x', sizeof url);
    memcpy(url, "https://ca.test/", 16);
    url[URL_MAX_BYTES - 1] = '\0';
    assert_true(url_valid(url));
    url[URL_MAX_BYTES - 1] = 'x';
    url[URL_MAX_BYTES] = '\0';
    assert_false(url_valid(url));
}

static void test_origin(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool same;
    } rows[] = {
        {"https://ca.test/dir", "https://ca.test/acme/order/1", true},
        {"https://ca.test/dir", "https://CA.Test/x", true},
        {"https://ca.test/dir", "HTTPS://ca.test", true},
        {"https://ca.test/", "https://ca.test:443/", true},
        {"https://ca.test:0443/", "https://ca.test/", true},
        {"https://ca.test?a", "https://ca.test/", true},
        {"https://[::1]:14000/dir", "https://[::1]:14000/o", true},
        {"https://ca.test/", "https://ca.test:14000/", false},
        {"https://ca.test/", "https://ca.test.evil.test/", false},
        {"https://ca.test/", "https://evil.test/ca.test/", false},
        {"https://ca.test/", "https://aca.test/", false},
        {"https://ca.test/", "https://ca.tes/", false},
        {"https://ca.test/", "https://ca.test@evil.test/", false},
        {"https://ca.test/", "http://ca.test/", false},
        {"https://ca.test/", "", false},
        {"", "", false},
        {"/", "/", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (url_same_origin(rows[i].a, rows[i].b) != rows[i].same ||
            url_same_origin(rows[i].b, rows[i].a) != rows[i].same)
            fail_msg("%s and %s", rows[i].a, rows[i].b);
}

static void test_authority(void **state)
{
    (void)state;
    char out[64] = "untouched";
    assert_false(url_authority("http://ca.test/", out, sizeof out));
    assert_false(url_authority("https://x@ca.test/", out, sizeof out));
    assert_string_equal(out, "untouched");
    assert_true(url_authority("https://CA.Test:14000/dir?x", out, sizeof out));
    assert_string_equal(out, "ca.test:14000");
    assert_true(url_authority("https://[2001:DB8::1]:1", out, sizeof out));
    assert_string_equal(out, "[2001:db8::1]:1");
    assert_true(url_authority("https://ca.test", out, 8));
    assert_string_equal(out, "ca.test");
    assert_false(url_authority("https://ca.test", out, 7));
    assert_false(url_authority("https://ca.test", out, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_origin),
        cmocka_unit_test(test_authority),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
