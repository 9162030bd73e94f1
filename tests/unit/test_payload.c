/*
 * test_payload.c - what is signed, to the byte: a CA is strict about each of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/process/payload.h"

static void test_new_account(void **state)
{
    (void)state;
    AUTO_BUF out = BUF_INIT;
    payload_new_account("me@example.org", true, &out);
    assert_string_equal(buf_str(&out),
                        "{\"termsOfServiceAgreed\":true,\"contact\":[\"mailto:me@example.org\"]}");
    buf_reset(&out);
    payload_new_account(NULL, true, &out);
    assert_string_equal(buf_str(&out), "{\"termsOfServiceAgreed\":true}");
    buf_reset(&out);
    payload_new_account("", false, &out); /* no empty lists: a strict CA refuses them */
    assert_string_equal(buf_str(&out), "{}");
    buf_reset(&out);
    payload_new_account("a\"b@example.org", false, &out);
    assert_string_equal(buf_str(&out), "{\"contact\":[\"mailto:a\\\"b@example.org\"]}");
    buf_reset(&out);
    payload_find_account(&out);
    assert_string_equal(buf_str(&out), "{\"onlyReturnExisting\":true}");
}

static void test_new_order(void **state)
{
    (void)state;
    AUTO_STRLIST names = STRLIST_INIT;
    AUTO_BUF out = BUF_INIT;
    payload_new_order(&names, &out);
    assert_string_equal(buf_str(&out), "{\"identifiers\":[]}");
    buf_reset(&out);
    strlist_split(&names, "example.org *.example.org 192.0.2.1 2001:db8::1 1.example.org", " ");
    payload_new_order(&names, &out);
    assert_string_equal(buf_str(&out), "{\"identifiers\":[{\"type\":\"dns\",\"value\":\"example.org\"},"
                                       "{\"type\":\"dns\",\"value\":\"*.example.org\"},"
                                       "{\"type\":\"ip\",\"value\":\"192.0.2.1\"},"
                                       "{\"type\":\"ip\",\"value\":\"2001:db8::1\"},"
                                       "{\"type\":\"dns\",\"value\":\"1.example.org\"}]}");
}

static void test_finalize(void **state)
{
    (void)state;
    AUTO_BUF csr = BUF_INIT;
    AUTO_BUF out = BUF_INIT;
    buf_add(&csr, "\xff\xef\x00\xfe", 4);
    payload_finalize(&csr, &out);
    assert_string_equal(buf_str(&out), "{\"csr\":\"_-8A_g\"}");
}

/* Several may stand in one buffer. */
static void test_appends(void **state)
{
    (void)state;
    AUTO_BUF out = BUF_INIT;
    payload_find_account(&out);
    payload_new_account(NULL, false, &out);
    assert_string_equal(buf_str(&out), "{\"onlyReturnExisting\":true}{}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_account),
        cmocka_unit_test(test_new_order),
        cmocka_unit_test(test_finalize),
        cmocka_unit_test(test_appends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
