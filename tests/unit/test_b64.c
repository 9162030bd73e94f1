#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tlsup/b64.h"
#include "tlsup/mem.h"

/* RFC 4648 section 10 without the padding, and bytes whose text needs both special characters. */
static const struct {
    const char *bytes;
    size_t len;
    const char *text;
} pairs[] = {
    {"", 0, ""},
    {"f", 1, "Zg"},
    {"fo", 2, "Zm8"},
    {"foo", 3, "Zm9v"},
    {"foob", 4, "Zm9vYg"},
    {"fooba", 5, "Zm9vYmE"},
    {"foobar", 6, "Zm9vYmFy"},
    {"\xff\xef\xbe", 3, "_---"},
    {"\xfb\xff", 2, "-_8"},
    {"\0\0\0", 3, "AAAA"},
    {"\0", 1, "AA"},
    {"\0\x87\x65\x43\x21", 5, "AIdlQyE"},
};

static void encodes_known_pairs(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        AUTO_BUF out = BUF_INIT;
        b64url_encode(pairs[i].bytes, pairs[i].len, &out);
        assert_string_equal(buf_str(&out), pairs[i].text);
    }
}

static void decodes_known_pairs(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        AUTO_BUF out = BUF_INIT;
        assert_true(b64url_decode(pairs[i].text, strlen(pairs[i].text), &out));
        assert_int_equal(out.len, pairs[i].len);
        assert_memory_equal(buf_str(&out), pairs[i].bytes, pairs[i].len);
    }
}

static void appends_to_what_is_there(void **state)
{
    (void)state;
    AUTO_BUF out = BUF_INIT;
    buf_adds(&out, "x.");
    b64url_encode("foo", 3, &out);
    assert_true(b64url_decode("Zg", 2, &out));
    assert_string_equal(buf_str(&out), "x.Zm9vf");
}

static void refuses_what_is_not_canonical(void **state)
{
    static const char *const bad[] = {
        "A",                      /* no bytes give one character */
        "AAAAA",                  /* nor five */
        "Zg==",                   /* padding */
        "Zm8=",     "=",    "Zh", /* bits left over */
        "Zm9",      "Zm+v", "Zm/v", "Zm 9v", "Zm9v\n", "\nZm9v", "Zm9v.Zm9v", "Zm\xc3\xb6",
        "\x80\x80", "@@@@", "[[[[", "``",    "{{",     "//",     "::",
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        AUTO_BUF out = BUF_INIT;
        buf_adds(&out, "kept");
        if (b64url_decode(bad[i], strlen(bad[i]), &out))
            fail_msg("accepted: %s", bad[i]);
        assert_string_equal(buf_str(&out), "kept"); /* nothing of a refused text */
    }
}

static void length_counts_not_the_nul(void **state)
{
    (void)state;
    AUTO_BUF out = BUF_INIT;
    assert_false(b64url_decode("Zm9v\0Zm9", 8, &out));
    assert_true(b64url_decode("Zm9vYmFy", 4, &out)); /* a slice: no byte beyond it is read */
    assert_string_equal(buf_str(&out), "foo");
    assert_true(b64url_decode(NULL, 0, &out));
    assert_int_equal(out.len, 3);
}

static void overflow_is_a_failure(void **state)
{
    (void)state;
    AUTO_BUF out = {.limit = 2};
    assert_false(b64url_decode("Zm9v", 4, &out));
    assert_true(out.overflow);
}

static void every_byte_string_comes_back(void **state)
{
    unsigned char bytes[300];
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 151 + i / 7);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        AUTO_BUF text = BUF_INIT;
        AUTO_BUF back = BUF_INIT;
        b64url_encode(bytes, len, &text);
        assert_int_equal(text.len, (len * 4 + 2) / 3);
        assert_true(b64url_decode(text.data, text.len, &back));
        assert_int_equal(back.len, len);
        assert_memory_equal(buf_str(&back), bytes, len);
        assert_true(len == 0 || b64url_valid(text.data, text.len));
    }
}

static void decodes_exactly_one_text_per_byte_string(void **state)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    int accepted = 0;
    (void)state;
    for (size_t a = 0; a < 64; a++)
        for (size_t b = 0; b < 64; b++) {
            AUTO_BUF out = BUF_INIT;
            accepted += b64url_decode((char[]){alphabet[a], alphabet[b]}, 2, &out);
        }
    assert_int_equal(accepted, 256);
}

static void tokens(void **state)
{
    (void)state;
    assert_true(b64url_valid("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA", 43));
    assert_true(b64url_valid("A", 1));
    assert_true(b64url_valid("_-", 128));
    assert_false(b64url_valid(NULL, 128));
    assert_false(b64url_valid("", 128));
    assert_false(b64url_valid("abc", 2));
    assert_false(b64url_valid("../../etc/passwd", 128));
    assert_false(b64url_valid("a/b", 128));
    assert_false(b64url_valid("a.b", 128));
    assert_false(b64url_valid("ab\n", 128));
    assert_false(b64url_valid("ab ", 128));
    assert_false(b64url_valid("a%2e", 128));
    assert_false(b64url_valid("YWJj=", 128));
    assert_false(b64url_valid("caf\xc3\xa9", 128));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodes_known_pairs),
        cmocka_unit_test(decodes_known_pairs),
        cmocka_unit_test(appends_to_what_is_there),
        cmocka_unit_test(refuses_what_is_not_canonical),
        cmocka_unit_test(length_counts_not_the_nul),
        cmocka_unit_test(overflow_is_a_failure),
        cmocka_unit_test(every_byte_string_comes_back),
        cmocka_unit_test(decodes_exactly_one_text_per_byte_string),
        cmocka_unit_test(tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
