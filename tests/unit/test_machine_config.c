/*
 * test_machine_config.c - what tlsup.conf says of the machine: every key, what it takes and what it refuses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tlsup/config.h"
#include "tlsup/machine_config.h"
#include "tlsup/mem.h"

static struct machine_config config;

static int set_up(void **state)
{
    (void)state;
    machine_config_init(&config);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    machine_config_clear(&config);
    return 0;
}

static void take(const char *key, const char *value)
{
    struct err err = ERR_INIT;
    if (!machine_config_set(&config, key, value, &err))
        fail_msg("%s = %s: %s", key, value, err.text);
}

static void refuse(const char *key, const char *value)
{
    struct err err = ERR_INIT;
    if (machine_config_set(&config, key, value, &err))
        fail_msg("%s = %s was taken", key, value);
    assert_int_equal(err.code, ERR_CONFIG);
    assert_true(err.text[0] != '\0');
}

static void test_defaults(void **state)
{
    (void)state;
    assert_int_equal(config.notify_on, NOTIFY_FAILURE);
    assert_int_equal(config.notify_mail.n, 0);
    assert_true(config.notify_syslog);
    assert_null(config.log);
    assert_int_equal(config.log_level, LOG_LEVEL_INFO);
    assert_null(config.heartbeat);
}

static void test_keys(void **state)
{
    (void)state;
    size_t n = 0;
    for (const char *key; (key = machine_config_key_at(n)) != NULL; n++)
        assert_true(machine_config_has(key));
    assert_int_equal(n, 14);
    assert_false(machine_config_has("notify"));
    assert_false(machine_config_has(""));
    refuse("notify", "x");
}

static void test_words(void **state)
{
    (void)state;
    take("notify-on", "all");
    assert_int_equal(config.notify_on, NOTIFY_ALL);
    take("notify-on", "never");
    take("notify-syslog", "no");
    assert_false(config.notify_syslog);
    take("log-level", "warning");
    assert_int_equal(config.log_level, LOG_LEVEL_WARN);
    refuse("notify-on", "none");
    refuse("notify-on", "All");
    refuse("notify-on", "");
    refuse("notify-syslog", "true");
    refuse("log-level", "warn");
}

static void test_log(void **state)
{
    (void)state;
    take("log", "journal");
    assert_string_equal(config.log, "syslog");
    take("log", "/var/log/tlsup.log");
    assert_string_equal(config.log, "/var/log/tlsup.log");
    take("log", "none");
    assert_null(config.log);
    refuse("log", "stderr");
    refuse("log", "");
    AUTO_FREE char *path = mem_alloc(5000);
    memset(path, '/', 4999);
    refuse("log", path);
}

static void test_addresses(void **state)
{
    (void)state;
    take("notify-mail", "admin@example.org,root  admin@example.org\tb.c+d@xn--bcher-kva.example");
    assert_int_equal(config.notify_mail.n, 3);
    assert_string_equal(config.notify_mail.v[1], "root");
    take("notify-mail", "none");
    assert_int_equal(config.notify_mail.n, 0);
    static const char *const bad[] = {"a@",     "@b",           "a@b@c",
                                      "-f@x",   "a@-b",         "Admin <a@b>",
                                      "a\"b@c", "a@b\nBcc:c@d", "b\303\274cher@example.org",
                                      "a;b",    "a@b%c"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        refuse("notify-mail", bad[i]);
    take("notify-from", "tlsup@example.org");
    refuse("notify-from", "root");
    refuse("notify-from", "a@b c@d");
}

static void test_web_addresses(void **state)
{
    (void)state;
    static const char *const good[] = {"https://example.org/x?y=z", "https://[2001:db8::1]:8443/",
                                       "http://localhost/x",        "http://127.0.0.1:8080/",
                                       "http://127.1.2.3/",         "http://[::1]:80/x"};
    static const char *const bad[] = {"http://example.org/",
                                      "http://127.0.0.1.example.org/",
                                      "http://localhost.example.org/",
                                      "http://[::2]/",
                                      "http://1270.0.0.1/",
                                      "https://user:pass@example.org/",
                                      "https://",
                                      "example.org",
                                      "file:///etc/passwd",
                                      "https://example.org/#x",
                                      "https://example.org/ x",
                                      "http://user@localhost/",
                                      "http://localhost@example.org/",
                                      "HTTPS://example.org/",
                                      "http://localhost",
                                      ""};
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        take("notify-webhook", good[i]);
        take("heartbeat", good[i]);
        assert_int_equal(machine_config_loopback(good[i]), i >= 2);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        if (strcmp(bad[i], "http://localhost") == 0 || strncmp(bad[i], "HTTPS", 5) == 0)
            continue;
        refuse("notify-webhook", bad[i]);
        refuse("heartbeat", bad[i]);
    }
    take("notify-webhook", "none");
    assert_null(config.notify_webhook);
}

/* A token in an address must not be shown by an error about it. */
static void test_errors_keep_tokens(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_false(
        machine_config_set(&config, "notify-webhook", "http://hooks.example.org/services/T0KEN", &err));
    assert_null(strstr(err.text, "T0KEN"));
    assert_non_null(strstr(err.advice, "https://"));
    err_clear(&err);
    assert_false(machine_config_set(&config, "notify-smtp", "smtp://user:passw0rd@mail.example.org", &err));
    assert_null(strstr(err.text, "passw0rd"));
    assert_non_null(strstr(err.advice, "notify-smtp-login"));
}

static void test_mail_servers(void **state)
{
    (void)state;
    static const char *const good[] = {
        "smtp://mail.example.org", "smtp://mail.example.org:587", "smtps://mail.example.org:465",
        "smtp://localhost",        "smtp://[::1]:2525",           "smtps://127.0.0.1"};
    static const char *const bad[] = {"mail.example.org",
                                      "smtps://mail.example.org/",
                                      "smtp://",
                                      "smtp:///x",
                                      "smtp://mail.example.org/helo",
                                      "smtp://a@b",
                                      "smtp://a b",
                                      "smtp://mail.example.org:587?x",
                                      "imap://mail.example.org",
                                      "smtp://mail.example.org:x"};
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        take("notify-smtp", good[i]);
        if (machine_config_loopback(good[i]) != (i >= 3))
            fail_msg("%s", good[i]);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        refuse("notify-smtp", bad[i]);
}

static void test_paths_and_programs(void **state)
{
    (void)state;
    static const char *const paths[] = {"notify-smtp-login", "notify-webhook-headers", "metrics-file"};
    static const char *const programs[] = {"notify-command", "notify-sendmail"};
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        take(paths[i], "/etc/tlsup/a file");
        take(paths[i], "none");
        refuse(paths[i], "relative");
    }
    for (size_t i = 0; i < COUNT_OF(programs); i++) {
        take(programs[i], "/usr/bin/x");
        refuse(programs[i], "/usr/bin/mail -s x");
        refuse(programs[i], "mail");
    }
    assert_null(config.metrics_file);
    assert_string_equal(config.notify_command, "/usr/bin/x");
}

/* As a file has them: with its line, once, and in tlsup.conf alone. */
static void read_text(const char *text, bool is_cert, const char *says)
{
    struct cert_config cert;
    struct err err = ERR_INIT;
    cert_config_init(&cert);
    bool ok = config_read_text(text, strlen(text), "/etc/tlsup/x.conf", is_cert, &cert, &err);
    if (ok != (says == NULL) || (says != NULL && strstr(err.text, says) == NULL))
        fail_msg("%s: %s", text, err.text);
    cert_config_clear(&cert);
}

static void test_in_files(void **state)
{
    (void)state;
    read_text("notify-mail = root\nemail = a@example.org\nlog = journal\n", false, NULL);
    read_text("# x\nnotify-on = maybe\n", false, "x.conf:2: notify-on");
    read_text("log = journal\nlog = none\n", false, "second time");
    read_text("names = example.org\nnotify-mail = root\n", true, "tlsup.conf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_defaults, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_log, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_addresses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_web_addresses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_errors_keep_tokens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mail_servers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_paths_and_programs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_in_files, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
