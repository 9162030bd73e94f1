/* What a person sees: on a terminal, in a file, when things go well and when they do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/cli/output.h"
#include "tlsup/clock.h"
#include "tlsup/compat.h"
#include "tlsup/log.h"

#define NOW_S INT64_C(1790000000)

/* How a scene is looked at. */
struct view {
    unsigned short columns; /* of the terminal on standard error and input; 0 = standard error is a pipe */
    const char *locale, *term, *no_color, *typed;
    bool quiet;
};

static const struct view piped = {.locale = "C", .term = "xterm"};
static const struct view terminal = {.columns = 60, .locale = "C.UTF-8", .term = "xterm", .no_color = "1"};

static void play(const struct view *view, void (*scene)(void), int err_fd, int out_fd)
{
    dup2(err_fd, STDERR_FILENO);
    dup2(out_fd, STDOUT_FILENO);
    if (view->columns > 0)
        dup2(err_fd, STDIN_FILENO);
    setenv("LC_ALL", view->locale, 1);
    setenv("TERM", view->term, 1);
    setenv("NO_COLOR", view->no_color != NULL ? view->no_color : "", 1);
    clock_freeze(NOW_S, 100000);
    log_set_level(LOG_LEVEL_WARN);
    output_init(view->quiet);
    scene();
    fflush(stdout);
    _exit(0);
}

static void drain(int fd, struct buf *out)
{
    char block[4096];
    ssize_t n;
    while ((n = read(fd, block, sizeof block)) > 0)
        buf_add(out, block, (size_t)n);
}

/* Play a scene in a process of its own: what went to standard error, and to standard output. */
static void watch(const struct view *view, void (*scene)(void), struct buf *err, struct buf *out)
{
    int to_err[2], to_out[2], status;
    assert_int_equal(pipe(to_out), 0);
    if (view->columns == 0) {
        assert_int_equal(pipe(to_err), 0);
    } else {
        struct winsize size = {.ws_row = 24, .ws_col = view->columns};
        to_err[0] = posix_openpt(O_RDWR | O_NOCTTY);
        assert_true(to_err[0] >= 0 && grantpt(to_err[0]) == 0 && unlockpt(to_err[0]) == 0);
        to_err[1] = open(ptsname(to_err[0]), O_RDWR | O_NOCTTY);
        assert_true(to_err[1] >= 0 && ioctl(to_err[1], TIOCSWINSZ, &size) == 0);
    }
    pid_t pid = fork();
    if (pid == 0)
        play(view, scene, to_err[1], to_out[1]);
    assert_true(pid > 0);
    if (view->typed != NULL)
        assert_int_equal(write(to_err[0], view->typed, strlen(view->typed)), (ssize_t)strlen(view->typed));
    close(to_err[1]);
    close(to_out[1]);
    drain(to_err[0], err);
    if (out != NULL)
        drain(to_out[0], out);
    close(to_err[0]);
    close(to_out[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A terminal in small: what stays on the screen of carriage returns, erasures and colours. */
static void render(const struct buf *raw, struct buf *screen)
{
    AUTO_BUF line = BUF_INIT;
    size_t at = 0;
    for (size_t i = 0; i < raw->len; i++) {
        const char *c = raw->data + i;
        if (strncmp(c, "\033[K", 3) == 0) {
            line.len = at < line.len ? at : line.len;
            i += 2;
        } else if (*c == '\033') {
            i += strcspn(c, "m");
        } else if (*c == '\r') {
            at = 0;
        } else if (*c == '\n') {
            buf_add(screen, buf_str(&line), line.len);
            buf_addc(screen, '\n');
            buf_reset(&line);
            at = 0;
        } else if (at < line.len) {
            line.data[at++] = *c;
        } else {
            buf_addc(&line, *c);
            at++;
        }
    }
    buf_add(screen, buf_str(&line), line.len);
}

static void assert_sees(const struct view *view, void (*scene)(void), const char *expected)
{
    AUTO_BUF raw = BUF_INIT, screen = BUF_INIT;
    watch(view, scene, &raw, NULL);
    render(&raw, &screen);
    assert_string_equal(buf_str(&screen), expected);
}

/* -- steps ------------------------------------------------------------------------------------------- */

static void scene_steps(void)
{
    output_step("Looking at nginx");
    output_done(NULL);
    output_step("Asking for a certificate");
    for (int i = 1; i <= 50; i++) {
        clock_freeze(NOW_S, 100000 + 100 * i);
        output_detail("waiting for the CA to check example.org");
        output_tick();
    }
    output_done("Got a certificate for %s", "example.org");
    output_step("Reloading nginx");
    output_failed();
}

static void test_piped_steps_are_one_line_each(void **state)
{
    (void)state;
    AUTO_BUF raw = BUF_INIT;
    watch(&piped, scene_steps, &raw, NULL);
    assert_string_equal(buf_str(&raw),
                        "Looking at nginx\nAsking for a certificate\nGot a certificate for example.org\n"
                        "Reloading nginx\n");
}

static void test_terminal_keeps_only_results(void **state)
{
    (void)state;
    assert_sees(&terminal, scene_steps,
                "✓ Looking at nginx\n✓ Got a certificate for example.org · 5 s\n✗ Reloading nginx\n");
}

static void test_ascii_where_utf8_is_not_shown(void **state)
{
    (void)state;
    struct view view = terminal;
    view.locale = "C";
    assert_sees(&view, scene_steps,
                "+ Looking at nginx\n+ Got a certificate for example.org - 5 s\nx Reloading nginx\n");
}

static void test_locale_that_is_not_installed_still_tells(void **state)
{
    (void)state;
    struct view view = terminal;
    view.locale = "xx_YY.UTF-8";
    assert_sees(&view, scene_steps,
                "✓ Looking at nginx\n✓ Got a certificate for example.org · 5 s\n✗ Reloading nginx\n");
}

static void test_dumb_terminal_gets_plain_lines(void **state)
{
    (void)state;
    AUTO_BUF raw = BUF_INIT;
    struct view view = terminal;
    view.term = "dumb";
    watch(&view, scene_steps, &raw, NULL);
    assert_null(strchr(buf_str(&raw), '\033'));
    assert_non_null(strstr(buf_str(&raw), "Asking for a certificate\r\nGot a certificate"));
}

static void scene_spinning(void)
{
    output_step("Asking a certificate authority whose name is longer than the line");
    clock_freeze(NOW_S, 103500);
    output_detail("and a detail that is long as well, so that it has to be cut somewhere");
    output_tick();
}

static void test_spinner_stays_on_one_line(void **state)
{
    (void)state;
    AUTO_BUF raw = BUF_INIT, screen = BUF_INIT;
    watch(&terminal, scene_spinning, &raw, NULL);
    render(&raw, &screen);
    assert_null(strchr(buf_str(&screen), '\n'));
    output_init(true);
    setenv("LC_ALL", "C.UTF-8", 1);
    output_init(true);
    assert_true(output_width(buf_str(&screen)) < 60);
    assert_non_null(strstr(buf_str(&screen), "… · 3 s"));
}

static void scene_log_between(void)
{
    output_step("Asking for a certificate");
    log_warn("the clock is wrong");
    clock_freeze(NOW_S, 100200);
    output_tick();
    output_warning("look at this");
    output_step("Next");
    output_done(NULL);
}

static void test_other_lines_do_not_tear_the_spinner(void **state)
{
    (void)state;
    assert_sees(
        &terminal, scene_log_between,
        "warning: the clock is wrong\ntlsup: warning: look at this\n✓ Asking for a certificate\n✓ Next\n");
}

static void test_colours_only_where_wanted(void **state)
{
    (void)state;
    AUTO_BUF coloured = BUF_INIT, plain = BUF_INIT;
    struct view view = terminal;
    watch(&view, scene_steps, &plain, NULL);
    assert_null(strstr(buf_str(&plain), "\033[32m"));
    view.no_color = "";
    watch(&view, scene_steps, &coloured, NULL);
    assert_non_null(strstr(buf_str(&coloured), "\033[32m✓"));
}

static void scene_style(void)
{
    printf("%sred", output_style(STYLE_BAD));
}

/* What is asked for by CLICOLOR_FORCE, and what NO_COLOR forbids all the same. */
static void test_colours_by_force(void **state)
{
    static const struct {
        const char *force, *no_color, *seen;
    } rows[] = {{"1", "", "\033[31mred"}, {"1", "1", "red"}, {"0", "", "red"}, {"", "", "red"}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_BUF err = BUF_INIT, out = BUF_INIT;
        struct view view = piped;
        view.no_color = rows[i].no_color;
        setenv("CLICOLOR_FORCE", rows[i].force, 1);
        watch(&view, scene_style, &err, &out);
        assert_string_equal(buf_str(&out), rows[i].seen);
    }
    unsetenv("CLICOLOR_FORCE");
}

/* -- errors ------------------------------------------------------------------------------------------ */

static void scene_error(void)
{
    struct err err = ERR_INIT;
    output_step("Asking for a certificate");
    err_set(&err, ERR_ACME, NEXT_RETRY_LATER, "example.org",
            "the CA could not fetch the file that proves the control of the name\n    GET /x: connection "
            "refused");
    err.wait_s = 7200;
    err_advise(&err, "open port 80 in the firewall");
    output_warning("not shown with -q");
    output_line("nor this");
    output_error(&err);
}

static void test_error_tells_what_where_and_what_next(void **state)
{
    (void)state;
    assert_sees(&terminal, scene_error,
                "tlsup: warning: not shown with -q\n"
                "✗ Asking for a certificate\n"
                "tlsup: example.org: the CA could not fetch the file that\n"
                "       proves the control of the name\n"
                "    GET /x: connection refused\n"
                "  → open port 80 in the firewall\n"
                "  → try again in 2 hours, after 2026-09-21 16:13 UTC\n");
}

static void test_quiet_shows_errors_only(void **state)
{
    (void)state;
    AUTO_BUF err = BUF_INIT, out = BUF_INIT;
    struct view view = piped;
    view.quiet = true;
    watch(&view, scene_error, &err, &out);
    assert_string_equal(buf_str(&out), "");
    assert_string_equal(buf_str(&err),
                        "tlsup: example.org: the CA could not fetch the file that proves the control of the "
                        "name\n    GET /x: connection refused\n  -> open port 80 in the firewall\n"
                        "  -> try again in 2 hours, after 2026-09-21 16:13 UTC\n");
}

static void scene_error_names_its_subject(void)
{
    struct err err = ERR_INIT;
    err_errno(&err, ENOENT, "/etc/x", "cannot open %s", "/etc/x");
    output_error(&err);
}

static void test_subject_is_not_told_twice(void **state)
{
    (void)state;
    assert_sees(&piped, scene_error_names_its_subject,
                "tlsup: cannot open /etc/x: No such file or directory\n");
}

static void scene_hostile(void)
{
    output_step("%s", "Asking \033]0;owned\a the CA");
    output_done("%s", "got \033[2J it");
}

static void test_escape_sequences_of_others_are_taken_out(void **state)
{
    (void)state;
    assert_sees(&piped, scene_hostile, "Asking ?]0;owned? the CA\ngot ?[2J it\n");
}

static void scene_lines(void)
{
    output_step("Working");
    output_line("result %d", 1);
    output_done(NULL);
}

static void test_results_go_to_standard_output(void **state)
{
    (void)state;
    AUTO_BUF err = BUF_INIT, out = BUF_INIT;
    watch(&piped, scene_lines, &err, &out);
    assert_string_equal(buf_str(&out), "result 1\n");
    assert_string_equal(buf_str(&err), "Working\n");
}

/* -- questions --------------------------------------------------------------------------------------- */

static void scene_questions(void)
{
    bool agreed = output_ask("Agree?", false);
    bool goes_on = output_ask("Go on?", true);
    output_line("%s %s", agreed ? "yes" : "no", goes_on ? "yes" : "no");
}

static void assert_answers(const char *typed, const char *expected)
{
    AUTO_BUF err = BUF_INIT, out = BUF_INIT;
    struct view view = terminal;
    view.typed = typed;
    watch(&view, scene_questions, &err, &out);
    assert_string_equal(buf_str(&out), expected);
}

static void test_answers(void **state)
{
    (void)state;
    assert_answers("\n\n", "no yes\n"); /* what is offered */
    assert_answers("y\nN\n", "yes no\n");
    assert_answers("Yes\nno\n", "yes no\n");
    assert_answers("perhaps\ny\nn\n", "yes no\n"); /* asked again */
    assert_answers("\004\004", "no no\n");         /* Ctrl-D is no consent */
}

static void test_nobody_to_ask(void **state)
{
    (void)state;
    AUTO_BUF err = BUF_INIT, out = BUF_INIT;
    watch(&piped, scene_questions, &err, &out);
    assert_string_equal(buf_str(&out), "no yes\n");
    assert_string_equal(buf_str(&err), "");
}

/* -- measuring --------------------------------------------------------------------------------------- */

static void test_widths(void **state)
{
    (void)state;
    setenv("LC_ALL", "C.UTF-8", 1);
    output_init(true);
    assert_int_equal(output_width(""), 0);
    assert_int_equal(output_width("bücher"), 6);
    assert_int_equal(output_width("日本"), 4);
    assert_int_equal(output_width("\xff\xfe"), 2);
    AUTO_BUF cut = BUF_INIT;
    output_cut(&cut, "日本語", 5);
    assert_string_equal(buf_str(&cut), "日本…");
    buf_reset(&cut);
    output_cut(&cut, "abc", 3);
    assert_string_equal(buf_str(&cut), "abc");
    buf_reset(&cut);
    output_cut(&cut, "abc", 0);
    assert_string_equal(buf_str(&cut), "");
}

static void test_wrapping(void **state)
{
    (void)state;
    AUTO_BUF out = BUF_INIT;
    output_wrap(&out, "one two  three\n\n  kept as it is, however long\nlast", 4, 2, 9);
    assert_string_equal(buf_str(&out), "one\n  two\n  three\n\n  kept as it is, however long\n  last");
    buf_reset(&out);
    output_wrap(&out, "https://acme.example.org/a/long/url is whole", 0, 0, 10);
    assert_string_equal(buf_str(&out), "https://acme.example.org/a/long/url\nis whole");
    buf_reset(&out);
    output_wrap(&out, "", 0, 0, 10);
    assert_string_equal(buf_str(&out), "");
}

static void scene_full_device(void)
{
    int fd = open("/dev/full", O_WRONLY);
    if (fd >= 0)
        dup2(fd, STDERR_FILENO);
    scene_steps();
    scene_error();
}

static void test_nobody_reads(void **state)
{
    (void)state;
    AUTO_BUF raw = BUF_INIT;
    watch(&piped, scene_full_device, &raw, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_piped_steps_are_one_line_each),
        cmocka_unit_test(test_terminal_keeps_only_results),
        cmocka_unit_test(test_ascii_where_utf8_is_not_shown),
        cmocka_unit_test(test_locale_that_is_not_installed_still_tells),
        cmocka_unit_test(test_dumb_terminal_gets_plain_lines),
        cmocka_unit_test(test_spinner_stays_on_one_line),
        cmocka_unit_test(test_other_lines_do_not_tear_the_spinner),
        cmocka_unit_test(test_colours_only_where_wanted),
        cmocka_unit_test(test_colours_by_force),
        cmocka_unit_test(test_quiet_shows_errors_only),
        cmocka_unit_test(test_error_tells_what_where_and_what_next),
        cmocka_unit_test(test_subject_is_not_told_twice),
        cmocka_unit_test(test_escape_sequences_of_others_are_taken_out),
        cmocka_unit_test(test_results_go_to_standard_output),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_nobody_to_ask),
        cmocka_unit_test(test_widths),
        cmocka_unit_test(test_wrapping),
        cmocka_unit_test(test_nobody_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
