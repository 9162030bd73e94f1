/*
 * test_hooks.c - programs of the user's: which run, what they are told, how their failures read.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tlsup/fs.h"
#include "tlsup/hooks.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

/* Below a directory that is root's alone: /tmp belongs to everybody, and its mark for that (sticky) is
 * enough. */
static char root[] = "/tmp/tlsup-hooks-XXXXXX";
static char *dir, *program, *out;
static struct err err;

static void write_program(const char *path, const char *body, mode_t mode)
{
    AUTO_FREE char *text = mem_fmt("#!/bin/sh\n%s\n", body);
    assert_true(fs_write(path, text, strlen(text), 0600, &err));
    assert_int_equal(chmod(path, mode), 0);
}

static int make_root(void **state)
{
    (void)state;
    if (mkdtemp(root) == NULL)
        return -1;
    log_set_level(LOG_LEVEL_ERROR);
    dir = mem_fmt("%s/hooks/deploy", root);
    program = mem_fmt("%s/program", root);
    out = mem_fmt("%s/out", root);
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    free(dir);
    free(program);
    free(out);
    err_clear(&err);
    return fs_remove_tree(root, &err) ? 0 : -1;
}

static int fresh(void **state)
{
    (void)state;
    err_clear(&err);
    return fs_remove_tree(dir, &err) && fs_mkdirs(dir, 0755, &err) ? 0 : -1;
}

static void add(const char *name, mode_t mode)
{
    AUTO_FREE char *path = fs_join(dir, name);
    write_program(path, "exit 0", mode);
}

static void a_missing_directory_is_empty(void **state)
{
    AUTO_STRLIST programs = STRLIST_INIT;
    (void)state;
    assert_true(hooks_list(root, HOOK_PRE, &programs, &err));
    assert_int_equal(programs.n, 0);
    assert_string_equal(hook_when_name(HOOK_PRE), "pre");
    assert_string_equal(hook_when_name(HOOK_DEPLOY), "deploy");
    assert_string_equal(hook_when_name(HOOK_POST), "post");
}

static void they_are_sorted_by_byte_and_left_overs_are_left(void **state)
{
    static const char *const run[] = {"10", "2", "B", "a", "a.sh", "rpm"};
    static const char *const left[] = {"a~",           ".a",       "a.bak",     "a.swp",       "a.dpkg-dist",
                                       "a.dpkg-new.x", "a.rpmnew", "a.rpmorig", "na\xc3\xafve"};
    AUTO_STRLIST programs = STRLIST_INIT;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(run); i++)
        add(run[i], 0755);
    for (size_t i = 0; i < COUNT_OF(left); i++)
        add(left[i], 0755);
    add("not-executable", 0644);
    AUTO_FREE char *below = fs_join(dir, "directory");
    assert_int_equal(mkdir(below, 0755), 0);
    AUTO_FREE char *dangling = fs_join(dir, "dangling");
    assert_int_equal(symlink("/nonexistent", dangling), 0);
    assert_true(hooks_list(root, HOOK_DEPLOY, &programs, &err));
    assert_int_equal(programs.n, COUNT_OF(run));
    for (size_t i = 0; i < COUNT_OF(run); i++) {
        AUTO_FREE char *path = fs_join(dir, run[i]);
        assert_string_equal(programs.v[i], path);
    }
}

static void a_directory_of_others_is_refused(void **state)
{
    AUTO_STRLIST programs = STRLIST_INIT;
    (void)state;
    if (geteuid() != 0)
        skip();
    add("a", 0755);
    static const mode_t modes[] = {0775, 0757, 01777};
    for (size_t i = 0; i < COUNT_OF(modes); i++) {
        err_clear(&err);
        assert_int_equal(chmod(dir, modes[i]), 0);
        assert_false(hooks_list(root, HOOK_DEPLOY, &programs, &err));
        assert_int_equal(err.code, ERR_PERMISSION);
        assert_non_null(strstr(err.advice, "chmod go-w"));
    }
    err_clear(&err);
    assert_true(chmod(dir, 0755) == 0 && chown(dir, 65534, 65534) == 0);
    assert_false(hooks_list(root, HOOK_DEPLOY, &programs, &err));
    assert_int_equal(programs.n, 0);
}

static bool run_it(enum hook_when when, const char *user, int timeout_s)
{
    struct strlist names = STRLIST_INIT;
    strlist_add(&names, "example.org");
    strlist_add(&names, "www.example.org");
    struct hook_deploy deploy = {.cert_name = "mail",
                                 .live_dir = "/nonexistent/live/mail",
                                 .ca_url = "https://ca.example/dir",
                                 .names = &names,
                                 .version = 7,
                                 .not_after_s = 1795000000};
    struct strlist none = STRLIST_INIT;
    struct hook_post post = {&names, &none, &none, &names};
    struct hook_run run = {when, program, user, timeout_s, &deploy, &post};
    err_clear(&err);
    bool ok = hooks_run(&run, &err);
    strlist_clear(&names);
    return ok;
}

static void assert_said(const char *what)
{
    AUTO_BUF text = BUF_INIT;
    assert_true(fs_read(out, 65536, &text, &err));
    if (strstr(buf_str(&text), what) == NULL)
        fail_msg("'%s' is not in: %s", what, buf_str(&text));
}

static void each_is_told_its_own(void **state)
{
    (void)state;
    AUTO_FREE char *body = mem_fmt("env >%s; cat >>%s", out, out);
    setenv("SECRET", "of the caller", 1);
    write_program(program, body, 0755);
    assert_true(run_it(HOOK_DEPLOY, NULL, 10));
    assert_said("RENEWED_LINEAGE=/nonexistent/live/mail\n");
    assert_said("RENEWED_DOMAINS=example.org www.example.org\n");
    assert_said("TLSUP_VERSION=7\n");
    assert_said("TLSUP_NOT_AFTER=2026-11-18T11:06:40Z\n");
    AUTO_BUF text = BUF_INIT;
    assert_true(fs_read(out, 65536, &text, &err));
    assert_null(strstr(buf_str(&text), "SECRET"));
    assert_null(strstr(buf_str(&text), "PRIVKEY")); /* there is none */
    assert_null(strstr(buf_str(&text), "FAILED"));
    assert_true(run_it(HOOK_POST, NULL, 10));
    assert_said("FAILED_DOMAINS=\n");
    assert_said("TLSUP_FAILED=example.org www.example.org\n");
    unsetenv("SECRET");
}

static void more_names_than_a_variable_holds(void **state)
{
    struct strlist names = STRLIST_INIT, none = STRLIST_INIT;
    (void)state;
    for (int i = 0; i < 10000; i++) {
        AUTO_FREE char *name = mem_fmt("a-rather-long-name-of-a-host-%d.example.org", i);
        strlist_add(&names, name);
    }
    AUTO_FREE char *body = mem_fmt("echo \"${#RENEWED_DOMAINS} ${RENEWED_DOMAINS##* }\" >%s", out);
    write_program(program, body, 0755);
    struct hook_post post = {&names, &none, &names, &none};
    struct hook_run run = {HOOK_POST, program, NULL, 10, NULL, &post};
    log_set_level(LOG_LEVEL_ERROR);
    assert_true(hooks_run(&run, &err));
    assert_said(".example.org\n"); /* a whole one is the last */
    strlist_clear(&names);
}

static const struct {
    const char *body, *expected;
} failures[] = {
    {"exit 3", "failed with status 3"},
    {"echo first; echo; echo last; exit 1", "failed with status 1:\n| first\n| last"},
    {"echo oops >&2; exit 1", "oops"},
    {"kill -TERM $$", "was ended by signal 15"},
    {"sleep 60", "did not end within 1 seconds"},
    {"i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done; exit 1", "line 92\n| line 93"},
    {"printf '\\033[31mred'; exit 1", "?[31mred"},
    {"echo '-----BEGIN PRIVATE KEY-----'; echo c2VjcmV0c2VjcmV0; echo '-----END PRIVATE KEY-----'; exit 1",
     "failed with status 1"},
};

static void failures_are_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(failures); i++) {
        write_program(program, failures[i].body, 0755);
        assert_false(run_it(HOOK_DEPLOY, NULL, 1));
        assert_int_equal(err.code, ERR_HOOK);
        assert_int_equal(err.next, NEXT_RETRY_LATER);
        assert_string_equal(err.subject, program);
        if (strstr(err.text, failures[i].expected) == NULL)
            fail_msg("'%s' does not contain '%s'", err.text, failures[i].expected);
        assert_null(strstr(err.text, "c2VjcmV0"));
        assert_null(strstr(err.text, "line 91"));
    }
}

static void what_cannot_be_run(void **state)
{
    (void)state;
    write_program(program, "exit 0", 0644);
    assert_false(run_it(HOOK_PRE, NULL, 1));
    assert_int_equal(err.code, ERR_PERMISSION);
    assert_non_null(strstr(err.advice, "chmod +x"));
    assert_true(fs_write(program, "#!/no/such/interpreter\n", 23, 0755, &err));
    assert_false(run_it(HOOK_PRE, NULL, 1));
    assert_int_equal(unlink(program), 0);
    assert_false(run_it(HOOK_PRE, NULL, 1));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    write_program(program, "exit 0", 0755);
    assert_false(run_it(HOOK_PRE, "no-such-user-here", 1));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "no-such-user-here"));
}

static void as_somebody_else(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    AUTO_FREE char *body = mem_fmt(
        "[ \"$(id -un)\" = nobody ] && [ \"$USER\" = nobody ] && ! echo x 2>/dev/null >%s/mine", root);
    assert_int_equal(chmod(root, 0755), 0);
    write_program(program, body, 0755);
    assert_true(run_it(HOOK_DEPLOY, "nobody", 10));
    assert_int_equal(chown(program, 65534, 65534), 0); /* his own */
    assert_true(run_it(HOOK_DEPLOY, "nobody", 10));
    assert_false(run_it(HOOK_DEPLOY, NULL, 10)); /* but not root's */
    assert_int_equal(err.code, ERR_PERMISSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_missing_directory_is_empty, fresh),
        cmocka_unit_test_setup(they_are_sorted_by_byte_and_left_overs_are_left, fresh),
        cmocka_unit_test_setup(a_directory_of_others_is_refused, fresh),
        cmocka_unit_test_setup(each_is_told_its_own, fresh),
        cmocka_unit_test_setup(more_names_than_a_variable_holds, fresh),
        cmocka_unit_test_setup(failures_are_told, fresh),
        cmocka_unit_test_setup(what_cannot_be_run, fresh),
        cmocka_unit_test_setup(as_somebody_else, fresh),
    };
    return cmocka_run_group_tests_name("hooks", tests, make_root, remove_root);
}
