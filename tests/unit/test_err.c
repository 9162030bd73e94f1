/*
 * test_err.c - errors and the log: the first failure wins, nothing a peer sends commands the terminal,
 * nothing overflows.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tlsup/err.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/quote.h"

static void test_first_failure_wins(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_false(err_isset(&err));
    assert_false(err_set(&err, ERR_IO, NEXT_LOCAL_FAULT, "/x", "first %d", 1));
    assert_false(err_set(&err, ERR_NAME, NEXT_FIX_CONFIG, "/y", "second"));
    assert_false(err_errno(&err, ENOSPC, "/z", "third"));
    assert_int_equal(err.code, ERR_IO);
    assert_string_equal(err.text, "first 1");
    assert_string_equal(err.subject, "/x");
    assert_string_equal(err.advice, "");
    assert_false(err_advise(&err, "advice %s", "one"));
    assert_false(err_advise(&err, "advice two"));
    assert_string_equal(err.advice, "advice one");
    assert_false(err_context(&err, "inner"));
    assert_false(err_context(&err, "outer %d", 2));
    assert_string_equal(err.text, "outer 2: inner: first 1");
    err_clear(&err);
    assert_false(err_isset(&err));
    assert_string_equal(err.text, "");
    assert_false(err_context(&err, "about nothing"));
    assert_string_equal(err.text, "");
}

static void test_quotes(void **state)
{
    static const struct {
        const char *before, *output, *after, *text, *dropped;
    } rows[] = {
        {"it failed:", "one", "", "it failed:\n| one", "it failed"},
        {"it failed:", "one\n\n| two\n\n", "", "it failed:\n| one\n| \n| | two", "it failed"},
        {"a: it failed:", "one\ntwo", "\nb: refused", "a: it failed:\n| one\n| two\nb: refused",
         "a: it failed\nb: refused"},
        {"it failed", "", "", "it failed", "it failed"},
        {"two\nlines:", "", "", "two\nlines:", "two\nlines:"},
        {"", "one", "", "\n| one", ""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_BUF text = BUF_INIT, dropped = BUF_INIT;
        buf_adds(&text, rows[i].before);
        quote_add(rows[i].output, &text);
        buf_adds(&text, rows[i].after);
        assert_string_equal(buf_str(&text), rows[i].text);
        assert_int_equal(quote_is_in(buf_str(&text)), rows[i].output[0] != '\0');
        quote_drop(buf_str(&text), &dropped);
        assert_string_equal(buf_str(&dropped), rows[i].dropped);
    }
}

static void test_errno(void **state)
{
    (void)state;
    static const struct {
        int errnum;
        enum err_code code;
        bool advice;
    } rows[] = {
        {EACCES, ERR_PERMISSION, true}, {EPERM, ERR_PERMISSION, true}, {EROFS, ERR_PERMISSION, true},
        {ENOSPC, ERR_NO_SPACE, true},   {EDQUOT, ERR_NO_SPACE, true},  {ENOENT, ERR_NOT_FOUND, false},
        {EADDRINUSE, ERR_PORT, false},  {EIO, ERR_IO, false},          {0, ERR_IO, false},
        {9999, ERR_IO, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err err = ERR_INIT;
        assert_false(err_errno(&err, rows[i].errnum, "/the/path", "cannot write %s", "/the/path"));
        assert_int_equal(err.code, rows[i].code);
        assert_int_equal(err.next, NEXT_LOCAL_FAULT);
        assert_int_equal(err.advice[0] != '\0', rows[i].advice);
        assert_memory_equal(err.text, "cannot write /the/path: ", 24);
        assert_string_equal(err.text + 24, strerror(rows[i].errnum));
    }
}

static void test_over_long(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_FREE char *much = mem_alloc(200001);
    memset(much, 'm', 200000);
    (void)err_errno(&err, ENOSPC, much, "%s", much);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_int_equal(strlen(err.subject), sizeof err.subject - 1);
    (void)err_context(&err, "the context");
    assert_memory_equal(err.text, "the context: mmm", 16);
    (void)err_context(&err, "%s", much);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    err_clear(&err);
    (void)err_advise(&err, "%s", much);
    assert_int_equal(strlen(err.advice), sizeof err.advice - 1);
}

static void test_exit_status(void **state)
{
    (void)state;
    static const struct {
        enum err_code code;
        enum err_next next;
        int status;
    } rows[] = {
        {ERR_NONE, NEXT_NONE, 0},           {ERR_USAGE, NEXT_FIX_CONFIG, 2},
        {ERR_CONFIG, NEXT_FIX_CONFIG, 2},   {ERR_NAME, NEXT_REFUSED, 2},
        {ERR_LOCKED, NEXT_RETRY_LATER, 5},  {ERR_ACME, NEXT_REFUSED, 3},
        {ERR_ACME, NEXT_RETRY_LATER, 4},    {ERR_IO, NEXT_LOCAL_FAULT, 1},
        {ERR_NETWORK, NEXT_RETRY_LATER, 4}, {ERR_INTERRUPTED, NEXT_RETRY_NOW, 1},
        {ERR_INTERNAL, NEXT_NONE, 1},       {ERR_TLS, NEXT_FIX_CONFIG, 1},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err err = {.code = rows[i].code, .next = rows[i].next};
        assert_int_equal(err_exit_status(&err), rows[i].status);
    }
}

static void test_code_names(void **state)
{
    (void)state;
    for (int code = ERR_NONE; code <= ERR_INTERNAL; code++) {
        const char *name = err_code_name((enum err_code)code);
        assert_non_null(name);
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz-"), strlen(name));
        for (int other = ERR_NONE; other < code; other++)
            assert_string_not_equal(name, err_code_name((enum err_code)other));
    }
    assert_string_equal(err_code_name((enum err_code)999), "internal");
    assert_string_equal(err_code_name((enum err_code) - 1), "internal");
}

static void test_printable(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
    } rows[] = {
        {"", ""},
        {"plain\ttext\n", "plain\ttext\n"},
        {"\x1b[2J\x1b]0;own\x07", "?[2J?]0;own?"},
        {"a\rb\x08\x7f\x01", "a?b???"},
        {"b\xc3\xbc"
         "cher \xe2\x82\xac \xf0\x9f\x94\x92",
         "b\xc3\xbc"
         "cher \xe2\x82\xac \xf0\x9f\x94\x92"},
        {"\xc2\x9b"
         "31m",
         "??31m"}, /* CSI as UTF-8 */
        {"\x9b"
         "31m",
         "?31m"}, /* CSI as one byte */
        {"\xc2\xa0\xc2\x80", "\xc2\xa0??"},
        {"\xe2\x82\x9b", "\xe2\x82\x9b"},     /* the same byte within a character */
        {"\xe2\x9b", "\xe2?"},                /* a character cut short */
        {"\xc0\x9b", "\xc0?"},                /* over-long */
        {"\xe9t\xe9 \xff", "\xe9t\xe9 \xff"}, /* Latin-1 commands nothing */
        {"\xc2", "\xc2"},
        {"\xf0\x9f\x94", "\xf0??"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_FREE char *text = mem_dup(rows[i].from); /* to the byte: reading past the end shows */
        printable(text);
        if (strcmp(text, rows[i].to) != 0)
            fail_msg("row %zu: %s", i, text);
    }
}

static void test_errors_are_printable(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    (void)err_set(&err, ERR_ACME, NEXT_REFUSED, "a\x1b[m", "b\x1b[m");
    (void)err_context(&err, "c\x1b[m");
    (void)err_advise(&err, "d\x1b[m");
    assert_string_equal(err.subject, "a?[m");
    assert_string_equal(err.text, "c?[m: b?[m");
    assert_string_equal(err.advice, "d?[m");
    err_clear(&err);
    (void)err_set(&err, ERR_IO, NEXT_NONE, NULL, "no subject");
    assert_string_equal(err.subject, "");
}

/* -- the log -------------------------------------------------------------------------------------------- */

static int before_calls;

static void before(void)
{
    before_calls++;
}

/* What `log` writes to standard error. */
static char *captured(void (*log)(void))
{
    char path[] = "/tmp/tlsup-log-XXXXXX";
    int file = mkstemp(path), saved = dup(STDERR_FILENO);
    assert_true(file >= 0 && saved >= 0 && unlink(path) == 0);
    assert_true(dup2(file, STDERR_FILENO) >= 0);
    log();
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    off_t len = lseek(file, 0, SEEK_END);
    char *text = mem_alloc((size_t)len + 1);
    assert_int_equal(pread(file, text, (size_t)len, 0), len);
    close(file);
    return text;
}

static void log_some(void)
{
    log_error("e %d", 1);
    log_warn("w");
    log_info("i");
    log_debug("d\x1b[m\x9b");
}

static void log_much(void)
{
    AUTO_FREE char *much = mem_alloc(200001);
    memset(much, 'm', 200000);
    log_error("%s", much);
}

static void test_log(void **state)
{
    (void)state;
    static const struct {
        enum log_level level;
        const char *text;
    } rows[] = {
        {LOG_LEVEL_ERROR, "error: e 1\n"},
        {LOG_LEVEL_WARN, "error: e 1\nwarning: w\n"},
        {LOG_LEVEL_INFO, "error: e 1\nwarning: w\ni\n"},
        {LOG_LEVEL_DEBUG, "error: e 1\nwarning: w\ni\ndebug: d?[m?\n"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        log_set_level(rows[i].level);
        assert_true(log_enabled(rows[i].level));
        assert_int_equal(log_enabled(LOG_LEVEL_DEBUG), rows[i].level == LOG_LEVEL_DEBUG);
        AUTO_FREE char *text = captured(log_some);
        assert_string_equal(text, rows[i].text);
    }
    log_set_level(LOG_LEVEL_WARN);
    before_calls = 0;
    log_set_before_line(before);
    AUTO_FREE char *some = captured(log_some);
    log_set_before_line(NULL);
    assert_int_equal(before_calls, 2);
    assert_string_equal(some, "error: e 1\nwarning: w\n");
    AUTO_FREE char *much = captured(log_much);
    assert_true(strlen(much) > 1000 && strlen(much) < 70000);
    assert_int_equal(much[strlen(much) - 1], '\n');
}

static void test_last_line_break_goes(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    err_set(&err, ERR_WEBSERVER, NEXT_FIX_CONFIG, NULL, "nginx says:\n%s", "line 1\nline 2\n\n");
    assert_string_equal(err.text, "nginx says:\nline 1\nline 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_last_line_break_goes),
        cmocka_unit_test(test_first_failure_wins),
        cmocka_unit_test(test_quotes),
        cmocka_unit_test(test_errno),
        cmocka_unit_test(test_over_long),
        cmocka_unit_test(test_exit_status),
        cmocka_unit_test(test_code_names),
        cmocka_unit_test(test_printable),
        cmocka_unit_test(test_errors_are_printable),
        cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
