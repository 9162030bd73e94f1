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
    payload_new_account("me@example.org", true, NULL, &out);
    assert_string_equal(buf_str(&out),
                        "{\"termsOfServiceAgreed\":true,\"contact\":[\"mailto:me@example.org\"]}");
    buf_reset(&out);
    payload_new_account(NULL, true, NULL, &out);
    assert_string_equal(buf_str(&out), "{\"termsOfServiceAgreed\":true}");
    buf_reset(&out);
    payload_new_account("", false, NULL, &out); /* no empty lists: a strict CA refuses them */
    assert_string_equal(buf_str(&out), "{}");
    buf_reset(&out);
    payload_new_account("a\"b@example.org", false, NULL, &out);
    assert_string_equal(buf_str(&out), "{\"contact\":[\"mailto:a\\\"b@example.org\"]}");
    buf_reset(&out);
    payload_find_account(&out);
    assert_string_equal(buf_str(&out), "{\"onlyReturnExisting\":true}");
}

static void test_external_account(void **state)
{
    (void)state;
    AUTO_BUF out = BUF_INIT;
    payload_new_account("me@example.org", true, "{\"protected\":\"a\",\"payload\":\"b\",\"signature\":\"c\"}",
                        &out);
    assert_string_equal(
        buf_str(&out),
        "{\"termsOfServiceAgreed\":true,\"contact\":[\"mailto:me@example.org\"],"
        "\"externalAccountBinding\":{\"protected\":\"a\",\"payload\":\"b\",\"signature\":\"c\"}}");
}

static void test_account_changes(void **state)
{
    (void)state;
    AUTO_BUF out = BUF_INIT;
    payload_update_account("new@example.org", false, &out);
    assert_string_equal(buf_str(&out), "{\"contact\":[\"mailto:new@example.org\"]}");
    buf_reset(&out);
    payload_update_account("", false, &out); /* no contact any more */
    assert_string_equal(buf_str(&out), "{\"contact\":[]}");
    buf_reset(&out);
    payload_update_account(NULL, true, &out); /* the contact as it is */
    assert_string_equal(buf_str(&out), "{\"termsOfServiceAgreed\":true}");
    buf_reset(&out);
    payload_deactivate(&out);
    assert_string_equal(buf_str(&out), "{\"status\":\"deactivated\"}");
}

static void test_new_order(void **state)
{
    (void)state;
    AUTO_STRLIST names = STRLIST_INIT;
    AUTO_BUF out = BUF_INIT;
    struct payload_order order = {.names = &names};
    payload_new_order(&order, &out);
    assert_string_equal(buf_str(&out), "{\"identifiers\":[]}");
    buf_reset(&out);
    strlist_split(&names, "example.org *.example.org 192.0.2.1 2001:db8::1 1.example.org", " ");
    payload_new_order(&order, &out);
    assert_string_equal(buf_str(&out), "{\"identifiers\":[{\"type\":\"dns\",\"value\":\"example.org\"},"
                                       "{\"type\":\"dns\",\"value\":\"*.example.org\"},"
                                       "{\"type\":\"ip\",\"value\":\"192.0.2.1\"},"
                                       "{\"type\":\"ip\",\"value\":\"2001:db8::1\"},"
                                       "{\"type\":\"dns\",\"value\":\"1.example.org\"}]}");
}

static void test_order_extras(void **state)
{
    (void)state;
    AUTO_STRLIST names = STRLIST_INIT;
    AUTO_BUF out = BUF_INIT;
    strlist_add(&names, "a.example");
    struct payload_order order = {.names = &names,
                                  .profile = "shortlived",
                                  .replaces = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE",
                                  .not_before_s = 1767225600,
                                  .not_after_s = 1767225600 + 86400};
    payload_new_order(&order, &out);
    assert_string_equal(buf_str(&out), "{\"identifiers\":[{\"type\":\"dns\",\"value\":\"a.example\"}],"
                                       "\"profile\":\"shortlived\","
                                       "\"replaces\":\"aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE\","
                                       "\"notBefore\":\"2026-01-01T00:00:00Z\","
                                       "\"notAfter\":\"2026-01-02T00:00:00Z\"}");
}

static void test_revoke(void **state)
{
    (void)state;
    AUTO_BUF der = BUF_INIT, out = BUF_INIT;
    buf_add(&der, "\xff\xef\x00\xfe", 4);
    payload_revoke(&der, -1, &out);
    assert_string_equal(buf_str(&out), "{\"certificate\":\"_-8A_g\"}");
    buf_reset(&out);
    payload_revoke(&der, 0, &out); /* "unspecified" is a reason too */
    assert_string_equal(buf_str(&out), "{\"certificate\":\"_-8A_g\",\"reason\":0}");
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
    payload_new_account(NULL, false, NULL, &out);
    assert_string_equal(buf_str(&out), "{\"onlyReturnExisting\":true}{}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_account),     cmocka_unit_test(test_external_account),
        cmocka_unit_test(test_account_changes), cmocka_unit_test(test_new_order),
        cmocka_unit_test(test_order_extras),    cmocka_unit_test(test_revoke),
        cmocka_unit_test(test_finalize),        cmocka_unit_test(test_appends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
