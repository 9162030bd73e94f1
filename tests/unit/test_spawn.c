/*
 * test_spawn.c - other people's programs: whatever they do, we neither hang, nor leak, nor misjudge how they
 * ended.
 *
 * The programs are scripts of /bin/sh; only this test gives it strings, spawn itself knows no shell.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

/* Far longer than anything here takes: reaching it means a hang. */
enum { LONG_MS = 60000, SHORT_MS = 300, BUSY_MS = 3000 /* a busy machine takes its time to print 64 KiB */ };

static char root[] = "/tmp/tlsup-spawn-XXXXXX";
static struct err err;
static struct spawn_result result;

static int setup(void **state)
{
    (void)state;
    err_clear(&err);
    result = (struct spawn_result){0};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    spawn_result_clear(&result);
    return 0;
}

static bool shell_with(const char *script, const struct spawn_options *options)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    spawn_result_clear(&result);
    return spawn_run(argv, options, &result, &err);
}

static void shell(const char *script)
{
    const struct spawn_options options = {.timeout_ms = LONG_MS};
    if (!shell_with(script, &options))
        fail_msg("%s", err.text);
    assert_false(result.timed_out);
}

/* Does the process end, or is it gone? The kernel may take a moment. */
static bool ends_soon(pid_t pid)
{
    for (int i = 0; i < 1000; i++) {
        AUTO_FREE char *path = mem_fmt("/proc/%ld/stat", (long)pid);
        AUTO_BUF stat = BUF_INIT;
        struct err gone = ERR_INIT;
        if (!fs_read(path, 4096, &stat, &gone) || strstr(buf_str(&stat), ") Z ") != NULL)
            return true;
        usleep(10000);
    }
    return false;
}

static void test_status(void **state)
{
    (void)state;
    static const int statuses[] = {0, 1, 2, 77, 126, 127, 255};
    char script[32];
    for (size_t i = 0; i < COUNT_OF(statuses); i++) {
        snprintf(script, sizeof script, "exit %d", statuses[i]);
        shell(script);
        assert_int_equal(result.status, statuses[i]);
    }
    shell("kill -9 $$");
    assert_int_equal(result.status, 128 + SIGKILL);
    shell("kill -15 $$");
    assert_int_equal(result.status, 128 + SIGTERM);
    shell("kill -13 $$");
    assert_int_equal(result.status, 128 + SIGPIPE);
}

static void test_output(void **state)
{
    (void)state;
    shell("echo out; echo err >&2; printf end");
    assert_string_equal(buf_str(&result.output), "out\nerr\nend");
    shell(":");
    assert_string_equal(buf_str(&result.output), "");
    shell("printf 'a\\000b\\033[2Jc\\r\\n\\377\\233'");
    assert_string_equal(buf_str(&result.output), "a?b?[2Jc?\n\xff?");
    assert_int_equal(result.output.len, strlen(result.output.data));
}

/* A program that runs as somebody else could type into the terminal of ours. */
static void test_session(void **state)
{
    (void)state;
    shell("read -r pid comm what parent group session tty rest < /proc/$$/stat; "
          "echo $((session == $$)) $((group == $$)) $tty");
    assert_string_equal(buf_str(&result.output), "1 1 0\n");
}

/* More than is kept, and more than a pipe holds: the program still runs to its end. */
static void test_output_without_end(void **state)
{
    (void)state;
    shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 7");
    assert_int_equal(result.status, 7);
    assert_int_equal(result.output.len, 65536);
    assert_memory_equal(result.output.data, "line 0\nline 1\n", 14);
    shell("exec >&- 2>&-; exit 5"); /* silent from the start */
    assert_int_equal(result.status, 5);
}

static void test_environment(void **state)
{
    (void)state;
    static const char *const extra[] = {"TLSUP_NAME=a.test b.test", "EMPTY=", NULL};
    const struct spawn_options options = {.env = extra};
    assert_int_equal(setenv("LD_LIBRARY_PATH", "/tmp/evil", 1), 0);
    assert_int_equal(setenv("BASH_ENV", "/tmp/evil", 1), 0);
    assert_int_equal(setenv("PATH", "/tmp/evil", 1), 0);
    const char *const argv[] = {"env", NULL};
    assert_true(spawn_run(argv, &options, &result, &err));
    assert_string_equal(buf_str(&result.output),
                        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
                        "LANG=C.UTF-8\nHOME=/\nTLSUP_NAME=a.test b.test\nEMPTY=\n");
    static const char *const own[] = {"HOME=/root", "PATHS=1", "PATH=/opt/bin", NULL};
    const struct spawn_options replacing = {.env = own};
    spawn_result_clear(&result);
    assert_true(spawn_run(argv, &replacing, &result, &err)); /* found in the clean PATH all the same */
    assert_string_equal(buf_str(&result.output), "LANG=C.UTF-8\nHOME=/root\nPATHS=1\nPATH=/opt/bin\n");
    unsetenv("LD_LIBRARY_PATH");
    unsetenv("BASH_ENV");
    setenv("PATH", "/usr/bin:/bin", 1);
}

static void test_arguments_are_not_a_shell_line(void **state)
{
    (void)state;
    const char *const argv[] = {"printf", "[%s]", "$(id) `id`; x", "", "*", "a'b\"c", NULL};
    assert_true(spawn_run(argv, NULL, &result, &err));
    assert_string_equal(buf_str(&result.output), "[$(id) `id`; x][][*][a'b\"c]");
}

static void test_descriptors_and_signals(void **state)
{
    (void)state;
    int secret = open("/dev/null", O_RDONLY); /* without O_CLOEXEC, as of a careless library */
    assert_true(secret > 2 && dup2(secret, 200) == 200);
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    sigset_t blocked, was;
    assert_int_equal(sigaction(SIGPIPE, &ignore, &before), 0);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &was);
    shell("for fd in /proc/$$/fd/*; do readlink $fd; done | grep -v pipe: | sort -u; kill -15 $$; echo "
          "blocked");
    assert_string_equal(buf_str(&result.output), "/dev/null\n");
    assert_int_equal(result.status, 128 + SIGTERM);
    const char *const list[] = {"ls", "/proc/self/fd", NULL};
    spawn_result_clear(&result);
    assert_true(spawn_run(list, NULL, &result, &err));
    assert_string_equal(buf_str(&result.output), "0\n1\n2\n3\n"); /* 3 is the directory itself */
    shell("cat; kill -13 $$; echo ignored");                      /* cat ends at once: nothing to read */
    assert_string_equal(buf_str(&result.output), "");
    sigprocmask(SIG_SETMASK, &was, NULL);
    sigaction(SIGPIPE, &before, NULL);
    close(200);
    close(secret);
}

static void test_directory(void **state)
{
    (void)state;
    shell("pwd");
    assert_string_equal(buf_str(&result.output), "/\n");
    const struct spawn_options options = {.dir = "/usr/bin"};
    assert_true(shell_with("pwd", &options));
    assert_string_equal(buf_str(&result.output), "/usr/bin\n");
    const struct spawn_options nowhere = {.dir = "/nowhere/at/all"};
    assert_false(shell_with("pwd", &nowhere));
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

static void write_script(const char *path, const char *text, mode_t mode)
{
    assert_true(fs_write(path, text, strlen(text), mode, &err));
}

static void test_what_cannot_be_run(void **state)
{
    (void)state;
    AUTO_FREE char *plain = fs_join(root, "plain");
    AUTO_FREE char *orphan = fs_join(root, "orphan");
    AUTO_FREE char *binary = fs_join(root, "binary");
    write_script(plain, "#!/bin/sh\n", 0644);
    write_script(orphan, "#!/no/such/interpreter\n", 0755);
    write_script(binary,
                 "\x7f"
                 "ELF nonsense",
                 0755);
    const struct {
        const char *program;
        enum err_code code;
    } rows[] = {
        {"tlsup-no-such-program", ERR_NOT_FOUND},
        {"/no/such/program", ERR_NOT_FOUND},
        {plain, ERR_PERMISSION},
        {root, ERR_PERMISSION},
        {orphan, ERR_NOT_FOUND},
        {binary, ERR_IO},
        {"", ERR_NOT_FOUND},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *const argv[] = {rows[i].program, NULL};
        err_clear(&err);
        if (spawn_run(argv, NULL, &result, &err) || err.code != rows[i].code ||
            strstr(err.text, rows[i].program) == NULL)
            fail_msg("%s: %s %s", rows[i].program, err_code_name(err.code), err.text);
        assert_string_equal(buf_str(&result.output), "");
    }
    err_clear(&err);
    const char *const argv[] = {plain, NULL};
    assert_false(spawn_run(argv, NULL, &result, &err));
    assert_non_null(strstr(err.advice, "chmod +x"));
}

static void test_find(void **state)
{
    (void)state;
    AUTO_FREE char *script = fs_join(root, "tlsup-test-program");
    write_script(script, "#!/bin/sh\necho \"$0\"\n", 0755);
    assert_true(spawn_find("sh"));
    assert_true(spawn_find("/bin/sh"));
    assert_true(spawn_find(script));
    assert_false(spawn_find("tlsup-test-program"));
    assert_false(spawn_find("tlsup-no-such-program"));
    assert_false(spawn_find("/usr/bin"));
    assert_false(spawn_find("/usr/bin/"));
    assert_false(spawn_find("/dev/null"));
    assert_false(spawn_find(""));
    const char *const argv[] = {script, NULL};
    assert_true(spawn_run(argv, NULL, &result, &err));
    assert_non_null(strstr(buf_str(&result.output), "tlsup-test-program"));
}

/* -- time ----------------------------------------------------------------------------------------------- */

static void test_timeout_kills_the_family(void **state)
{
    (void)state;
    AUTO_FREE char *pids = fs_join(root, "pids");
    AUTO_FREE char *script = mem_fmt("trap '' TERM HUP INT; (trap '' TERM; echo $$ >>%s; sleep 300) & "
                                     "sh -c 'echo $$ >>%s; sleep 300' & echo $! >>%s; echo begun; wait",
                                     pids, pids, pids);
    const struct spawn_options options = {.timeout_ms = SHORT_MS};
    assert_true(shell_with(script, &options));
    assert_true(result.timed_out);
    assert_int_equal(result.status, 128 + SIGKILL);
    assert_string_equal(buf_str(&result.output), "begun\n");
    AUTO_BUF text = BUF_INIT;
    AUTO_STRLIST list = STRLIST_INIT;
    assert_true(fs_read(pids, 1000, &text, &err));
    strlist_split(&list, buf_str(&text), "\n");
    assert_true(list.n >= 2);
    for (size_t i = 0; i < list.n; i++)
        assert_true(ends_soon((pid_t)strtol(list.v[i], NULL, 10)));
}

static void test_timeout_without_output(void **state)
{
    (void)state;
    const struct spawn_options options = {.timeout_ms = SHORT_MS},
                               inherited = {.timeout_ms = SHORT_MS, .inherit_output = true};
    assert_true(shell_with("exec >&- 2>&-; sleep 300", &options)); /* the pipe is closed long before */
    assert_true(result.timed_out);
    assert_true(shell_with("exec sleep 300", &inherited));
    assert_true(result.timed_out);
    assert_int_equal(result.status, 128 + SIGKILL);
    const struct spawn_options busy = {.timeout_ms = BUSY_MS};
    assert_true(shell_with(
        "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done", &busy));
    assert_true(result.timed_out);
    assert_int_equal(result.output.len, 65536);
}

/* A web server's control program leaves a daemon behind, which holds the pipe and is none of our business. */
static void test_daemon_is_left_alone(void **state)
{
    (void)state;
    AUTO_FREE char *path = fs_join(root, "daemon");
    AUTO_FREE char *script = mem_fmt("echo starting; (sleep 300 & echo $! >%s) ; echo started; exit 3", path);
    AUTO_BUF text = BUF_INIT;
    const struct spawn_options options = {.timeout_ms = LONG_MS};
    int64_t before_ms = clock_mono_ms();
    assert_true(shell_with(script, &options));
    assert_true(clock_mono_ms() - before_ms < LONG_MS / 2);
    assert_false(result.timed_out);
    assert_int_equal(result.status, 3);
    assert_string_equal(buf_str(&result.output), "starting\nstarted\n");
    assert_true(fs_read(path, 100, &text, &err));
    pid_t daemon = (pid_t)strtol(buf_str(&text), NULL, 10);
    assert_true(daemon > 1);
    assert_int_equal(kill(daemon, 0), 0);
    assert_int_equal(kill(daemon, SIGKILL), 0);
}

/* A daemon that even goes on printing into the pipe. */
static void test_noisy_daemon(void **state)
{
    (void)state;
    AUTO_FREE char *path = fs_join(root, "noisy");
    AUTO_FREE char *script = mem_fmt("echo first; setsid sh -c 'echo $$ >%s; exec yes' & "
                                     "while [ ! -s %s ]; do sleep 0.01; done; exit 6",
                                     path, path);
    AUTO_BUF text = BUF_INIT;
    const struct spawn_options options = {.timeout_ms = LONG_MS};
    int64_t before_ms = clock_mono_ms();
    assert_true(shell_with(script, &options));
    assert_true(clock_mono_ms() - before_ms < LONG_MS / 2);
    assert_false(result.timed_out);
    assert_int_equal(result.status, 6);
    assert_memory_equal(buf_str(&result.output), "first\n", 6);
    assert_true(fs_read(path, 100, &text, &err));
    kill((pid_t)strtol(buf_str(&text), NULL, 10), SIGKILL); /* or the closed pipe has ended it */
}

/* -- without waiting ------------------------------------------------------------------------------------ */

static struct spawn *started(const char *script, int64_t timeout_ms)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    const struct spawn_options options = {.timeout_ms = timeout_ms, .inherit_output = true};
    struct spawn *spawn = NULL;
    if (!spawn_start(argv, &options, &spawn, &err))
        fail_msg("%s", err.text);
    return spawn;
}

/* As a loop with other work does it: sleep on the descriptor alone, then step. */
static void follow(struct spawn *spawn, struct spawn_result *out)
{
    for (int i = 0; i < 100000; i++) {
        struct pollfd wake = {.fd = spawn_fd(spawn), .events = POLLIN};
        int n = poll(&wake, 1, wake.fd >= 0 ? LONG_MS : 20);
        if (wake.fd >= 0)
            assert_int_equal(n, 1);
        if (spawn_step(spawn, out))
            return;
    }
    fail_msg("no end");
}

static void test_steps(void **state)
{
    (void)state;
    struct spawn *spawn = started("echo one; sleep 0.1; echo two >&2; exit 9", LONG_MS);
    follow(spawn, &result);
    assert_int_equal(result.status, 9);
    assert_false(result.timed_out);
    assert_string_equal(buf_str(&result.output), "one\ntwo\n");
}

static void test_a_step_never_blocks(void **state)
{
    (void)state;
    struct spawn *spawn = started("echo here; exec sleep 300", LONG_MS);
    int64_t before_ms = clock_mono_ms();
    for (int i = 0; i < 50; i++)
        assert_false(spawn_step(spawn, &result));
    assert_true(clock_mono_ms() - before_ms < LONG_MS / 2);
    spawn_kill(spawn);
    spawn_kill(NULL);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void test_many_at_once(void **state)
{
    (void)state;
    enum { MANY = 12 };
    struct spawn *spawns[MANY];
    struct spawn_result results[MANY] = {0};
    size_t left = MANY;
    for (int i = 0; i < MANY; i++) {
        AUTO_FREE char *script = mem_fmt("echo %d; exit %d", i, i + 20);
        spawns[i] = started(script, LONG_MS);
    }
    while (left > 0) {
        for (int i = 0; i < MANY; i++)
            if (spawns[i] != NULL && spawn_step(spawns[i], &results[i])) {
                spawns[i] = NULL;
                left--;
            }
        usleep(5000);
    }
    for (int i = 0; i < MANY; i++) {
        AUTO_FREE char *said = mem_fmt("%d\n", i);
        assert_int_equal(results[i].status, i + 20);
        assert_string_equal(buf_str(&results[i].output), said);
        spawn_result_clear(&results[i]);
    }
}

/* What tells a caller that sleeps on the descriptor: the deadline, an end behind a closed or a held pipe. */
static void test_the_descriptor_wakes(void **state)
{
    (void)state;
    follow(started("echo begun; exec sleep 300", SHORT_MS), &result);
    assert_true(result.timed_out);
    assert_int_equal(result.status, 128 + SIGKILL);
    assert_string_equal(buf_str(&result.output), "begun\n");
    spawn_result_clear(&result);

    follow(started("exec >&- 2>&-; sleep 0.2; exit 4", LONG_MS), &result);
    assert_int_equal(result.status, 4);
    spawn_result_clear(&result);

    AUTO_FREE char *path = fs_join(root, "holder");
    AUTO_FREE char *script = mem_fmt("echo up; (sleep 300 & echo $! >%s); exit 5", path);
    AUTO_BUF text = BUF_INIT;
    follow(started(script, LONG_MS), &result);
    assert_int_equal(result.status, 5);
    assert_string_equal(buf_str(&result.output), "up\n");
    assert_true(fs_read(path, 100, &text, &err));
    assert_int_equal(kill((pid_t)strtol(buf_str(&text), NULL, 10), SIGKILL), 0);
    spawn_result_clear(&result);

    follow(started("exec yes", BUSY_MS), &result);
    assert_true(result.timed_out);
    assert_int_equal(result.output.len, 65536);
}

static void test_kill_takes_the_family(void **state)
{
    (void)state;
    AUTO_FREE char *path = fs_join(root, "family");
    AUTO_FREE char *script = mem_fmt("trap '' TERM; sleep 300 & echo $$ $! >%s; echo ready; wait", path);
    AUTO_BUF text = BUF_INIT;
    AUTO_STRLIST pids = STRLIST_INIT;
    struct spawn *spawn = started(script, LONG_MS);
    for (int i = 0; i < 1000 && text.len == 0; i++) {
        struct err none = ERR_INIT;
        usleep(5000);
        if (!fs_read(path, 100, &text, &none))
            buf_reset(&text);
    }
    spawn_kill(spawn);
    strlist_split(&pids, buf_str(&text), " \n");
    assert_int_equal(pids.n, 2);
    for (size_t i = 0; i < pids.n; i++)
        assert_true(ends_soon((pid_t)strtol(pids.v[i], NULL, 10)));
}

static void test_what_cannot_be_started(void **state)
{
    (void)state;
    const char *const argv[] = {"/no/such/program", NULL};
    struct spawn *spawn = NULL;
    assert_false(spawn_start(argv, NULL, &spawn, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_null(spawn);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

/* Somebody in the process reaps every child: that is no success of the program. */
static void test_reaped_by_somebody_else(void **state)
{
    (void)state;
    struct spawn *spawn = started("exit 0", LONG_MS);
    assert_true(waitpid(-1, NULL, 0) > 0);
    assert_true(spawn_step(spawn, &result));
    assert_int_not_equal(result.status, 0);
}

/* -- what we were started with -------------------------------------------------------------------------- */

/* Started by something that ignores SIGCHLD: a failing program must not look as if it had succeeded. */
static void test_inherited_sigchld(void **state)
{
    (void)state;
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    assert_int_equal(sigaction(SIGCHLD, &ignore, &before), 0);
    shell("echo no; exit 9");
    assert_int_equal(result.status, 9);
    assert_string_equal(buf_str(&result.output), "no\n");
    sigaction(SIGCHLD, &before, NULL);
}

/* A signal that a handler catches (a child's end, a terminal's new size) is no end of the wait. */
static void do_nothing(int sig)
{
    (void)sig;
}

static void test_interrupted_calls(void **state)
{
    (void)state;
    struct sigaction handler = {.sa_handler = do_nothing}, before;
    assert_int_equal(sigaction(SIGUSR1, &handler, &before), 0);
    AUTO_FREE char *script =
        mem_fmt("i=0; while [ $i -lt 50 ]; do kill -USR1 %ld; i=$((i+1)); echo $i; done; sleep 0.2; exit 4",
                (long)getpid());
    shell(script);
    assert_int_equal(result.status, 4);
    assert_non_null(strstr(buf_str(&result.output), "\n50\n"));
    sigaction(SIGUSR1, &before, NULL);
}

static void test_nothing_is_left(void **state)
{
    (void)state;
    int before = dup(0), after;
    close(before);
    for (int i = 0; i < 20; i++)
        shell("echo x");
    spawn_kill(started("echo x; sleep 300", LONG_MS));
    const char *const argv[] = {"/no/such/program", NULL};
    spawn_result_clear(&result);
    assert_false(spawn_run(argv, NULL, &result, &err));
    after = dup(0);
    close(after);
    assert_int_equal(before, after);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child, no zombie */
    assert_int_equal(errno, ECHILD);
}

static void test_input(void **state)
{
    AUTO_BUF big = BUF_INIT;
    (void)state;
    for (int i = 0; i < 100000; i++)
        buf_addf(&big, "line %d\n", i);
    struct spawn_options options = {.timeout_ms = LONG_MS, .input = buf_str(&big), .input_len = big.len};
    assert_true(shell_with("wc -c", &options));
    assert_non_null(strstr(buf_str(&result.output), "1088890"));
    assert_true(shell_with("exit 7", &options)); /* nobody waits for a reader */
    assert_int_equal(result.status, 7);
    options = (struct spawn_options){.timeout_ms = LONG_MS, .input = "", .input_len = 0};
    assert_true(shell_with("wc -c", &options));
    assert_string_equal(buf_str(&result.output), "0\n");
}

static void test_user(void **state)
{
    struct spawn_options options = {.timeout_ms = LONG_MS, .user = "nobody"};
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_true(
        shell_with("id -un; id -G; echo $USER $LOGNAME $HOME; setpriv --clear-groups true 2>/dev/null && "
                   "echo can",
                   &options));
    assert_int_equal(strncmp(buf_str(&result.output), "nobody\n65534\nnobody nobody /", 28), 0);
    assert_null(strstr(buf_str(&result.output), "can"));
    options.env = (const char *const[]){"HOME=/elsewhere", NULL};
    assert_true(shell_with("echo $HOME", &options));
    assert_string_equal(buf_str(&result.output), "/elsewhere\n");
    options.user = "no-such-user-here";
    assert_false(shell_with("true", &options));
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

static void test_last_lines(void **state)
{
    char out[16];
    (void)state;
    struct spawn_result one = {0};
    static const struct {
        const char *text, *expected;
        size_t most;
    } cases[] = {{"", "", 3},
                 {"\n\n \n", "", 3},
                 {"a\nb\nc\n", "b\nc", 2},
                 {"a\n\nb", "a\nb", 9},
                 {"0123456789abcdefghij", "56789abcdefghij", 9},
                 {"0123456789\nabcdefghij", "abcdefghij", 9},
                 {"x", "", 0}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        buf_reset(&one.output);
        buf_adds(&one.output, cases[i].text);
        assert_string_equal(spawn_last_lines(&one, cases[i].most, out, sizeof out), cases[i].expected);
    }
    spawn_result_clear(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_status, setup, teardown),
        cmocka_unit_test_setup_teardown(test_output, setup, teardown),
        cmocka_unit_test_setup_teardown(test_session, setup, teardown),
        cmocka_unit_test_setup_teardown(test_output_without_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_environment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_arguments_are_not_a_shell_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_descriptors_and_signals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_run, setup, teardown),
        cmocka_unit_test_setup_teardown(test_find, setup, teardown),
        cmocka_unit_test_setup_teardown(test_timeout_kills_the_family, setup, teardown),
        cmocka_unit_test_setup_teardown(test_timeout_without_output, setup, teardown),
        cmocka_unit_test_setup_teardown(test_daemon_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_noisy_daemon, setup, teardown),
        cmocka_unit_test_setup_teardown(test_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_step_never_blocks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_descriptor_wakes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kill_takes_the_family, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_started, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reaped_by_somebody_else, setup, teardown),
        cmocka_unit_test_setup_teardown(test_inherited_sigchld, setup, teardown),
        cmocka_unit_test_setup_teardown(test_interrupted_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_input, setup, teardown),
        cmocka_unit_test_setup_teardown(test_user, setup, teardown),
        cmocka_unit_test_setup_teardown(test_last_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_is_left, setup, teardown),
    };
    struct err ignored = ERR_INIT;
    if (mkdtemp(root) == NULL)
        return 99;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return fs_remove_tree(root, &ignored) ? failed : 99;
}
