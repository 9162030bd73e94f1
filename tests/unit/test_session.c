/*
 * test_session.c - nonces: each used once, the newest first, nothing kept that is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tlsup/session.h"

static void test_newest_first_each_once(void **state)
{
    (void)state;
    struct session session = {0};
    char nonce[SESSION_NONCE_BYTES];
    assert_false(session_take(&session, nonce));
    session_put(&session, "one");
    session_put(&session, "two");
    session_put(&session, "one"); /* a proxy that repeats itself */
    assert_true(session_take(&session, nonce));
    assert_string_equal(nonce, "two");
    assert_true(session_take(&session, nonce));
    assert_string_equal(nonce, "one");
    assert_false(session_take(&session, nonce));
}

static void test_what_is_no_nonce_is_dropped(void **state)
{
    (void)state;
    static struct session session;
    char nonce[SESSION_NONCE_BYTES], text[SESSION_NONCE_BYTES + 1];
    static const char *const bad[] = {"", "a b", "a+b", "a/b", "a=", "a\"b", "a\r\nb", "\xc3\xbc"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        session_put(&session, bad[i]);
    memset(text, 'A', sizeof text);
    text[SESSION_NONCE_BYTES] = '\0';
    session_put(&session, text);
    assert_false(session_take(&session, nonce));
    text[SESSION_NONCE_BYTES - 1] = '\0'; /* the longest */
    session_put(&session, text);
    assert_true(session_take(&session, nonce));
    assert_string_equal(nonce, text);
    session_put(&session, "-_");
    assert_true(session_take(&session, nonce));
    assert_string_equal(nonce, "-_");
}

static void test_the_oldest_goes(void **state)
{
    (void)state;
    static struct session session;
    char nonce[SESSION_NONCE_BYTES], want[32];
    for (int i = 0; i < SESSION_MAX_NONCES + 10; i++) {
        snprintf(want, sizeof want, "nonce%d", i);
        session_put(&session, want);
    }
    for (int i = SESSION_MAX_NONCES + 9; i >= 10; i--) {
        snprintf(want, sizeof want, "nonce%d", i);
        assert_true(session_take(&session, nonce));
        assert_string_equal(nonce, want);
    }
    assert_false(session_take(&session, nonce));
}

static void test_drop_all(void **state)
{
    (void)state;
    static struct session session;
    char nonce[SESSION_NONCE_BYTES];
    session_put(&session, "one");
    session_drop_all(&session);
    assert_false(session_take(&session, nonce));
    session_put(&session, "one");
    assert_true(session_take(&session, nonce));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_newest_first_each_once),
        cmocka_unit_test(test_what_is_no_nonce_is_dropped),
        cmocka_unit_test(test_the_oldest_goes),
        cmocka_unit_test(test_drop_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
