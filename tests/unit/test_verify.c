/*
 * test_verify.c - where people want a certificate to be seen, as they write it.
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

#include "tlsup/compat.h"
#include "tlsup/verify.h"

static void test_accepted(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        bool is_address;
        int port;
        enum starttls protocol;
    } rows[] = {
        {"mail.example.org:465", "mail.example.org", false, 465, STARTTLS_NONE},
        {"mail.example.org:25", "mail.example.org", false, 25, STARTTLS_SMTP},
        {"mail.example.org:587", "mail.example.org", false, 587, STARTTLS_SMTP},
        {"mail.example.org:143", "mail.example.org", false, 143, STARTTLS_IMAP},
        {"mail.example.org:110", "mail.example.org", false, 110, STARTTLS_POP3},
        {"mail.example.org:4190", "mail.example.org", false, 4190, STARTTLS_SIEVE},
        {"ldap.example.org:389", "ldap.example.org", false, 389, STARTTLS_LDAP},
        {"db.example.org:5432", "db.example.org", false, 5432, STARTTLS_POSTGRES},
        {"db.example.org:3306", "db.example.org", false, 3306, STARTTLS_MYSQL},
        {"example.org:5222", "example.org", false, 5222, STARTTLS_XMPP},
        {"example.org:5269", "example.org", false, 5269, STARTTLS_XMPP_SERVER},
        {"example.org:21", "example.org", false, 21, STARTTLS_FTP},
        {"example.org:119", "example.org", false, 119, STARTTLS_NNTP},
        {"example.org:25/tls", "example.org", false, 25, STARTTLS_NONE},
        {"example.org:2525/smtp", "example.org", false, 2525, STARTTLS_SMTP},
        {"example.org:9999/xmpp-server", "example.org", false, 9999, STARTTLS_XMPP_SERVER},
        {"Mail.Example.ORG.:1", "mail.example.org", false, 1, STARTTLS_NONE},
        {"b\xc3\xbc"
         "cher.example:65535",
         "xn--bcher-kva.example", false, 65535, STARTTLS_NONE},
        {"localhost:8443", "localhost", false, 8443, STARTTLS_NONE},
        {"DB_1.internal:8443", "db_1.internal", false, 8443, STARTTLS_NONE},
        {"192.0.2.1:636", "192.0.2.1", true, 636, STARTTLS_NONE},
        {"[2001:DB8:0::1]:465", "2001:db8::1", true, 465, STARTTLS_NONE},
        {"[::1]:143/imap", "::1", true, 143, STARTTLS_IMAP},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct verify_target target;
        struct err err = ERR_INIT;
        if (!verify_target_parse(rows[i].text, &target, &err))
            fail_msg("%s: %s", rows[i].text, err.text);
        assert_string_equal(target.host, rows[i].host);
        assert_int_equal(target.is_address, rows[i].is_address);
        assert_int_equal(target.port, rows[i].port);
        assert_int_equal(target.protocol, rows[i].protocol);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        ":",
        ":25",
        "example.org",
        "example.org:",
        "example.org:0",
        "example.org:65536",
        "example.org:123456789012",
        "example.org:-1",
        "example.org:+1",
        "example.org:25x",
        "example.org:smtp",
        "example.org:25/",
        "example.org:25/SMTP",
        "example.org:25/smtp/x",
        "example.org:25/gopher",
        "https://example.org:443",
        "2001:db8::1:465",
        "[2001:db8::1]",
        "[2001:db8::1]x:1",
        "[example.org]:1",
        "[192.0.2.1]:1",
        "[]:1",
        "[:1",
        "*.example.org:443",
        "exa mple.org:443",
        "-x.internal:1",
        "x..internal:1",
        ".internal:1",
        "1.2.3:1",
        "256.1.1.1:1",
        "example.org\n:1",
        "user@example.org:25",
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct verify_target target;
        struct err err = ERR_INIT;
        memset(&target, 0x55, sizeof target);
        struct verify_target before = target;
        if (verify_target_parse(rows[i], &target, &err))
            fail_msg("'%s' was accepted", rows[i]);
        assert_int_equal(err.code, ERR_CONFIG);
        assert_int_equal(err.next, NEXT_FIX_CONFIG);
        assert_non_null(strstr(err.advice, "HOST:PORT"));
        assert_memory_equal(&target, &before, sizeof target);
    }
}

static void test_long_ones(void **state)
{
    (void)state;
    char text[2000];
    struct verify_target target;
    struct err err = ERR_INIT;
    memset(text, 'a', sizeof text);
    strcpy(text + sizeof text - 4, ":25");
    assert_false(verify_target_parse(text, &target, &err));
    err_clear(&err);
    memset(text, 0, sizeof text);
    for (size_t i = 0; i < 300; i++)
        text[i] = i % 2 == 0 ? 'a' : '.';
    strcpy(text + 301, "");
    strcpy(text + 299, "a:25");
    assert_false(verify_target_parse(text, &target, &err));
}

static void test_names_of_protocols(void **state)
{
    (void)state;
    assert_string_equal(starttls_name(STARTTLS_NONE), "tls");
    for (size_t i = 0; i < STARTTLS_COUNT; i++) {
        char text[64];
        struct verify_target target;
        struct err err = ERR_INIT;
        snprintf(text, sizeof text, "example.org:7/%s", starttls_name((enum starttls)i));
        assert_true(verify_target_parse(text, &target, &err));
        assert_int_equal(target.protocol, i);
    }
    assert_string_equal(starttls_name(STARTTLS_COUNT), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_long_ones),
        cmocka_unit_test(test_names_of_protocols),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
