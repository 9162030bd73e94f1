/*
 * test_log.c - lines that can be trusted: whole, printable, without secrets; and a log that never stands in
 * the way.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tlsup/buf.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

static char dir[64], path[96];
static int kept_stderr;

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/test_log.XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/log", dir);
    AUTO_FREE char *shown = mem_fmt("%s/stderr", dir);
    kept_stderr = dup(STDERR_FILENO);
    int fd = open(shown, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    close(fd);
    log_set_level(LOG_LEVEL_WARN);
    clock_freeze(1795000000, 0);
    log_set_command("renew");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    log_close();
    clock_thaw();
    dup2(kept_stderr, STDERR_FILENO);
    close(kept_stderr);
    AUTO_FREE char *command = mem_fmt("rm -rf %s", dir);
    return system(command);
}

static char *text_of(const char *name)
{
    AUTO_FREE char *file = mem_fmt("%s/%s", dir, name);
    char *text = mem_alloc(1 << 20);
    FILE *in = fopen(file, "r");
    if (in != NULL) {
        size_t n = fread(text, 1, (1 << 20) - 1, in);
        text[n] = '\0';
        fclose(in);
    }
    return text;
}

static void expect(const char *name, const char *wanted)
{
    AUTO_FREE char *text = text_of(name);
    assert_string_equal(text, wanted);
}

static void open_log(enum log_level level)
{
    struct err err = ERR_INIT;
    if (!log_open_file(path, level, &err))
        fail_msg("%s", err.text);
}

static void test_levels(void **state)
{
    (void)state;
    open_log(LOG_LEVEL_INFO);
    log_info("one");
    log_debug("two");
    log_warn("three");
    log_note(LOG_LEVEL_ERROR, "four");
    log_note(LOG_LEVEL_DEBUG, "five");
    expect("stderr", "warning: three\n");
    AUTO_FREE char *wanted =
        mem_fmt("2026-11-18T13:46:40Z info renew[%ld] one\n2026-11-18T13:46:40Z warning renew[%ld] three\n"
                "2026-11-18T13:46:40Z error renew[%ld] four\n",
                (long)getpid(), (long)getpid(), (long)getpid());
    char when[CLOCK_TEXT_BYTES];
    assert_string_equal(clock_format_utc(1795000000, when), "2026-11-18T11:06:40Z");
    for (char *at = wanted; (at = strstr(at, "13:46:40")) != NULL; at++)
        memcpy(at, "11:06:40", 8);
    expect("log", wanted);
    assert_true(log_wanted(LOG_LEVEL_INFO));
    assert_false(log_wanted(LOG_LEVEL_DEBUG));
    assert_false(log_enabled(LOG_LEVEL_INFO));
}

static void test_one_event_is_one_line(void **state)
{
    (void)state;
    open_log(LOG_LEVEL_INFO);
    log_about("example.org");
    log_info("a\nb\x1b[31mc\r\n2026-11-18T11:06:40Z error renew[1] forged");
    log_about(NULL);
    AUTO_FREE char *text = text_of("log");
    assert_int_equal(strchr(text, '\n') - text, strlen(text) - 1);
    assert_non_null(strstr(text, "] [example.org] a|b?[31mc?|2026"));
}

static void test_a_long_line_is_whole(void **state)
{
    (void)state;
    AUTO_FREE char *lots = mem_alloc(20001);
    memset(lots, 'x', 20000);
    open_log(LOG_LEVEL_INFO);
    log_info("%s end", lots);
    AUTO_FREE char *text = text_of("log");
    assert_true(strlen(text) > 20000 && strcmp(text + strlen(text) - 5, " end\n") == 0);
    AUTO_FREE char *huge = mem_alloc(300001);
    memset(huge, 'y', 300000);
    log_info("%s", huge);
    AUTO_FREE char *more = text_of("log");
    assert_true(strlen(more) < 100000 && more[strlen(more) - 1] == '\n');
}

static void test_appended_and_private(void **state)
{
    (void)state;
    struct stat st;
    open_log(LOG_LEVEL_INFO);
    log_info("first");
    log_close();
    open_log(LOG_LEVEL_INFO);
    log_info("second");
    AUTO_FREE char *text = text_of("log");
    assert_true(strstr(text, "first") < strstr(text, "second"));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_true((fcntl(log_descriptor(), F_GETFD) & FD_CLOEXEC) != 0);
    log_close();
    assert_int_equal(log_descriptor(), -1);
    log_info("nowhere");
}

static void test_children_write_too(void **state)
{
    (void)state;
    open_log(LOG_LEVEL_INFO);
    pid_t pid = fork();
    if (pid == 0) {
        log_info("from the child");
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    AUTO_FREE char *text = text_of("log");
    AUTO_FREE char *wanted = mem_fmt("renew[%ld] from the child", (long)pid);
    assert_non_null(strstr(text, wanted));
}

static void refused(enum err_code code, const char *says)
{
    struct err err = ERR_INIT;
    assert_false(log_open_file(path, LOG_LEVEL_INFO, &err));
    assert_int_equal(err.code, code);
    assert_non_null(strstr(err.text, says));
    assert_int_equal(log_descriptor(), -1);
}

static void test_what_is_no_log(void **state)
{
    (void)state;
    AUTO_FREE char *target = mem_fmt("%s/target", dir);
    assert_int_equal(symlink(target, path), 0);
    refused(ERR_PERMISSION, "symbolic link");
    assert_true(access(target, F_OK) != 0);
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    refused(ERR_IO, path);
    rmdir(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    struct err err = ERR_INIT;
    assert_false(log_open_file(path, LOG_LEVEL_INFO, &err)); /* and does not wait for a reader */
    unlink(path);
    strcat(path, "/nowhere");
    refused(ERR_NOT_FOUND, path);
}

static void test_writable_by_others(void **state)
{
    (void)state;
    open_log(LOG_LEVEL_INFO);
    log_close();
    assert_int_equal(chmod(path, 0666), 0);
    refused(ERR_PERMISSION, "everybody");
}

/* A file that may not grow: as a disk that is full. */
static void test_full(void **state)
{
    (void)state;
    struct rlimit before, limit;
    open_log(LOG_LEVEL_INFO);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    limit = before;
    limit.rlim_cur = 10;
    /* standard error of this test is a file, too: it goes back to where it was */
    int file = dup(STDERR_FILENO), ends[2];
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int i = 0; i < 5; i++)
        log_info("a line that does not fit");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    dup2(file, STDERR_FILENO);
    close(file);
    close(ends[1]);
    char said[1000] = "";
    ssize_t n = read(ends[0], said, sizeof said - 1);
    assert_true(n > 0);
    close(ends[0]);
    assert_non_null(strstr(said, "cannot be written"));
    assert_null(strstr(strstr(said, "cannot be written") + 1, "cannot be written")); /* once */
    log_info("room again");
    AUTO_FREE char *text = text_of("log");
    assert_non_null(strstr(text, "room again"));
}

/* -- secrets -------------------------------------------------------------------------------------------- */

static void masked(const char *text, const char *wanted)
{
    AUTO_BUF out = BUF_INIT;
    log_redact(text, &out);
    assert_string_equal(buf_str(&out), wanted);
}

static void test_secrets(void **state)
{
    (void)state;
    log_secret("hunter2");
    log_secret("hunter2andmore");
    log_secret("hunter2");
    log_secret("abc");
    log_secret("");
    log_secret(NULL);
    masked("hunter2 xhunter2x hunter2andmore", "[not shown] x[not shown]x [not shown]");
    masked("abc hunter", "abc hunter");
    log_secret_words("Bearer 0123456789abcdef", " \t");
    log_secret_words(NULL, " ");
    log_secret_words("/webhooks/t1", "/");
    masked("webhooks t1 /webhooks/t1", "webhooks t1 [not shown]");
    masked("Bearer 0123456789abcdef", "[not shown]");
    masked("a Bearer of 0123456789abcdef", "a Bearer of [not shown]");
    open_log(LOG_LEVEL_DEBUG);
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("password %s.", "hunter2");
    log_note(LOG_LEVEL_ERROR, "%s", "hunter2");
    AUTO_FREE char *shown = text_of("stderr"), *text = text_of("log");
    assert_non_null(strstr(shown, "password [not shown]."));
    assert_null(strstr(shown, "hunter2"));
    assert_null(strstr(text, "hunter2"));
}

#define KEY(label) "-----BEGIN " label "-----\nMIGHAgEAMBMGByqG\n-----END " label "-----"

static void test_private_keys(void **state)
{
    (void)state;
    masked("a " KEY("PRIVATE KEY") " b", "a -----BEGIN PRIVATE KEY----- [not shown] b");
    masked(KEY("RSA PRIVATE KEY") KEY("EC PRIVATE KEY"),
           "-----BEGIN RSA PRIVATE KEY----- [not shown]-----BEGIN EC PRIVATE KEY----- [not shown]");
    masked(KEY("ENCRYPTED PRIVATE KEY"), "-----BEGIN ENCRYPTED PRIVATE KEY----- [not shown]");
    masked("cut: -----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqG",
           "cut: -----BEGIN PRIVATE KEY----- [not shown]");
    masked("-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIV", "-----BEGIN PRIVATE KEY----- [not shown]");
    masked(KEY("CERTIFICATE"), KEY("CERTIFICATE"));
    masked(KEY("PUBLIC KEY"), KEY("PUBLIC KEY"));
    masked("-----BEGIN", "-----BEGIN");
    masked("-----BEGIN PRIVATE KEY", "-----BEGIN PRIVATE KEY");
    masked("", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_levels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_event_is_one_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_long_line_is_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_appended_and_private, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_children_write_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_log, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_writable_by_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_secrets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_private_keys, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
