/*
 * test_notice.c - messages to people: of one certificate or of a fleet, in bounds, and as mail that any
 * server takes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "../../src/cli/notice.h"
#include "tlsup/clock.h"
#include "tlsup/mem.h"

enum { NOW_S = 1795000000, DAY_S = 86400 };

static struct notice notice;

static int set_up(void **state)
{
    (void)state;
    clock_freeze(NOW_S, 0);
    notice_init(&notice);
    snprintf(notice.host, sizeof notice.host, "web1");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    notice_clear(&notice);
    clock_thaw();
    return 0;
}

static struct notice_cert *add(const char *name, enum alarm before, enum alarm now, int64_t left_s)
{
    struct notice_cert *cert = notice_add_cert(&notice, name);
    strlist_add(&cert->names, name);
    cert->before = before;
    cert->now = now;
    cert->not_before_s = NOW_S - 60 * DAY_S;
    cert->not_after_s = NOW_S + left_s;
    return cert;
}

static void fail_with(struct notice_cert *cert, const char *text)
{
    struct err err = ERR_INIT;
    err_set(&err, ERR_ACME, NEXT_RETRY_LATER, cert->name, "%s", text);
    (void)err_advise(&err, "wait a little");
    notice_add_trouble(cert, "the renewal", &err, NOW_S + 600);
}

static void subject_is(const char *wanted)
{
    AUTO_BUF subject = BUF_INIT;
    notice_subject(&notice, &subject);
    assert_string_equal(buf_str(&subject), wanted);
}

static void test_subjects(void **state)
{
    (void)state;
    add("b.example.org", ALARM_NONE, ALARM_NONE, 80 * DAY_S)->renewed = true;
    assert_int_equal(notice_event(&notice), NOTICE_SUCCESS);
    subject_is("tlsup on web1: b.example.org was renewed");
    add("c.example.org", ALARM_FAILING, ALARM_NONE, 80 * DAY_S);
    assert_int_equal(notice_event(&notice), NOTICE_RECOVERY);
    subject_is("tlsup on web1: c.example.org is well again");
    fail_with(add("a.example.org", ALARM_NONE, ALARM_URGENT, 2 * DAY_S), "no");
    assert_int_equal(notice_event(&notice), NOTICE_FAILURE);
    subject_is("tlsup on web1: URGENT: renewal of a.example.org failed (valid until 2026-11-20)");
    add("d.example.org", ALARM_URGENT, ALARM_EXPIRED, -DAY_S);
    subject_is("tlsup on web1: 2 certificates need attention, 1 HAS EXPIRED");
}

static void test_machine(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    err_set(&err, ERR_HOOK, NEXT_FIX_CONFIG, "/x", "/x failed");
    notice_add_machine(&notice, "hook /x", &err);
    subject_is("tlsup on web1: hook /x failed");
    notice_clear(&notice);
    set_up(NULL);
    notice_add_machine(&notice, "hook /x", NULL);
    assert_int_equal(notice_event(&notice), NOTICE_RECOVERY);
    subject_is("tlsup on web1: hook /x is well again");
}

/* First what and how long there is time, then why, what to do, what happens by itself. */
static void test_order(void **state)
{
    (void)state;
    static const char *const in_order[] = {"example.org: the renewal failed.",
                                           "good until 2026-12-18 11:06 UTC (30 days more)",
                                           "Why: the CA says no",
                                           "What to do: wait a little",
                                           "(in 10 minutes)",
                                           "Well again:"};
    AUTO_BUF text = BUF_INIT;
    add("well.example.org", ALARM_FAILING, ALARM_NONE, 80 * DAY_S);
    fail_with(add("example.org", ALARM_NONE, ALARM_FAILING, 30 * DAY_S), "the CA says no");
    notice_text(&notice, &text);
    for (char *c = text.data; *c != '\0'; c++)
        if (*c == '\n' && c[1] == ' ')
            *c = ' ';
    const char *at = buf_str(&text);
    for (size_t i = 0; i < COUNT_OF(in_order); i++) {
        at = strstr(at, in_order[i]);
        if (at == NULL)
            fail_msg("%s is not there, or not in its place:\n%s", in_order[i], buf_str(&text));
    }
}

/* Ten thousand at once, each with a long story. */
static void test_fleet(void **state)
{
    (void)state;
    char story[1400], name[64];
    memset(story, 's', sizeof story - 1);
    story[sizeof story - 1] = '\0';
    for (int i = 0; i < 10000; i++) {
        snprintf(name, sizeof name, "n%d.example.org", i);
        fail_with(add(name, ALARM_NONE, ALARM_FAILING, 30 * DAY_S), story);
    }
    AUTO_BUF text = BUF_INIT, json = BUF_INIT;
    notice_text(&notice, &text);
    assert_true(text.len <= NOTICE_TEXT_BYTES);
    assert_non_null(strstr(buf_str(&text), "n0.example.org"));
    assert_non_null(strstr(buf_str(&text), " more: `tlsup status` lists them."));
    notice_json(&notice, &json);
    json_error_t error;
    json_t *root = json_loadb(json.data, json.len, 0, &error);
    assert_non_null(root);
    size_t told = json_array_size(json_object_get(root, "certificates"));
    assert_true(told >= 100 && told <= 500);
    assert_int_equal(json_integer_value(json_object_get(root, "certificates_left_out")),
                     10000 - (json_int_t)told);
    json_decref(root);
    assert_true(json.len < 1024 * 1024); /* what the notifier takes */
    subject_is("tlsup on web1: 10000 certificates need attention");
}

/* What others wrote: bytes that are no UTF-8, line ends, lines that end a mail, keys. */
static void test_hostile_words(void **state)
{
    (void)state;
    struct strlist to = STRLIST_INIT;
    AUTO_BUF mail = BUF_INIT, json = BUF_INIT;
    char lots[1300];
    memset(lots, 'y', sizeof lots - 1);
    lots[sizeof lots - 1] = '\0';
    struct notice_cert *cert = add("example.org", ALARM_NONE, ALARM_FAILING, DAY_S);
    AUTO_FREE char *text = mem_fmt("\xff\xfe b\xc3\xbc\n.\nBcc: x@y\n-----BEGIN PRIVATE "
                                   "KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n%s",
                                   lots);
    fail_with(cert, text);
    strlist_add(&to, "a@example.org");
    strlist_add(&to, "b@example.org");
    notice_mail(&notice, "t@example.org", &to, &mail);
    const char *body = strstr(buf_str(&mail), "\n\n");
    assert_non_null(body);
    const char *bcc = strstr(buf_str(&mail), "Bcc:");
    assert_true(bcc == NULL || bcc > body);
    for (const char *line = buf_str(&mail); *line != '\0'; line += strcspn(line, "\n") + 1) {
        assert_true(strcspn(line, "\n") <= 998);
        if (line[strcspn(line, "\n")] == '\0')
            break;
    }
    for (size_t i = 0; i < mail.len; i++)
        assert_true((unsigned char)mail.data[i] < 0x80);
    assert_null(strstr(buf_str(&mail), "c2VjcmV0"));
    notice_json(&notice, &json);
    json_error_t error;
    json_t *root = json_loadb(json.data, json.len, 0, &error);
    assert_non_null(root);
    json_decref(root);
    assert_null(strstr(buf_str(&json), "c2VjcmV0"));
    strlist_clear(&to);
}

/* A name that is no ASCII: an encoded subject. */
static void test_encoded_subject(void **state)
{
    (void)state;
    struct strlist to = STRLIST_INIT;
    struct err err = ERR_INIT;
    AUTO_BUF mail = BUF_INIT;
    err_set(&err, ERR_HOOK, NEXT_FIX_CONFIG, NULL, "no");
    notice_add_machine(&notice,
                       "hook /etc/tlsup/hooks/post/b\xc3\xbc"
                       "cher-und-noch-viel-mehr-text-der-lang-ist",
                       &err);
    strlist_add(&to, "root");
    notice_mail(&notice, "t@example.org", &to, &mail);
    const char *subject = strstr(buf_str(&mail), "\nSubject: =?UTF-8?B?");
    assert_non_null(subject);
    assert_non_null(strstr(subject, "?=\n =?UTF-8?B?"));
    strlist_clear(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_subjects, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_machine, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fleet, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hostile_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_encoded_subject, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
