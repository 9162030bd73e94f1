#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tlsup/clock.h"
#include "tlsup/mem.h"

enum { OUTPUT_LIMIT_BYTES = 65536, DEFAULT_TIMEOUT_MS = 60000 };

static const char *const path_dirs[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                        "/usr/bin",        "/sbin",          "/bin"};
static const char *const clean_env[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                        "LANG=C.UTF-8", "HOME=/"};

/* A directory may be "executed" too, as far as access() can say. */
static bool is_program(const char *path)
{
    struct stat st;
    return access(path, X_OK) == 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* The full path of a program, NULL when there is none; the caller frees. */
static char *resolve(const char *program)
{
    if (strchr(program, '/') != NULL)
        return mem_dup(program);
    for (size_t i = 0; i < COUNT_OF(path_dirs); i++) {
        char *path = mem_fmt("%s/%s", path_dirs[i], program);
        if (is_program(path))
            return path;
        free(path);
    }
    return NULL;
}

bool spawn_find(const char *program)
{
    AUTO_FREE char *path = resolve(program);
    return path != NULL && is_program(path);
}

static const char **make_env(const char *const *extra)
{
    size_t n = 0;
    while (extra != NULL && extra[n] != NULL)
        n++;
    const char **env = mem_array(n + COUNT_OF(clean_env) + 1, sizeof *env);
    memcpy(env, clean_env, sizeof clean_env);
    if (n > 0)
        memcpy(env + COUNT_OF(clean_env), extra, n * sizeof *env);
    return env;
}

static void close_from(int lowest)
{
#ifdef HAVE_CLOSE_RANGE
    if (close_range((unsigned)lowest, ~0u, 0) == 0)
        return;
#endif
    long most = sysconf(_SC_OPEN_MAX);
    for (int fd = lowest; fd < (most > 0 && most < 65536 ? (int)most : 65536); fd++)
        close(fd);
}

/* In the child, between fork and exec: only async-signal-safe calls. Reports errno through `status_fd`. */
static NORETURN void run_child(const char *path, const char *const *argv, const char *const *env,
                               const char *dir, int out_fd, int status_fd)
{
    sigset_t none;
    struct sigaction defaults = {.sa_handler = SIG_DFL};
    setpgid(0, 0);
    for (int sig = 1; sig < NSIG; sig++)
        sigaction(sig, &defaults, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null_fd = open("/dev/null", O_RDWR);
    int ok = null_fd >= 0 && dup2(null_fd, STDIN_FILENO) >= 0 && chdir(dir) == 0;
    if (ok && out_fd >= 0)
        ok = dup2(out_fd, STDOUT_FILENO) >= 0 && dup2(out_fd, STDERR_FILENO) >= 0;
    if (ok && dup2(status_fd, 3) >= 0) {
        fcntl(3, F_SETFD, FD_CLOEXEC);
        status_fd = 3;
        close_from(4);
        execve(path, (char *const *)argv, (char *const *)env);
    }
    int saved = errno;
    ssize_t ignored = write(status_fd, &saved, sizeof saved);
    (void)ignored;
    _exit(127);
}

/* Has the child ended? It stays to be reaped. */
static bool ended(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

/* Read the output until all writers are gone or the deadline passes; false on the deadline. A daemon that the
 * child left behind may hold the pipe for ever: once the child has ended, silence is enough. */
static bool collect(int fd, pid_t pid, int64_t deadline_ms, struct buf *output)
{
    for (;;) {
        char block[4096];
        int64_t left_ms = deadline_ms - clock_mono_ms();
        struct pollfd pfd = {.fd = fd, .events = POLLIN};
        if (left_ms <= 0)
            return false;
        bool was_over = ended(pid);
        if (poll(&pfd, 1, was_over ? 0 : left_ms > 50 ? 50 : (int)left_ms) <= 0) {
            if (was_over)
                return true;
            continue;
        }
        ssize_t n = read(fd, block, sizeof block);
        if (n == 0 || (n < 0 && errno != EINTR))
            return true;
        size_t room = OUTPUT_LIMIT_BYTES - output->len;
        if (n > 0)
            buf_add(output, block,
                    (size_t)n < room ? (size_t)n : room); /* what is beyond is read and dropped */
    }
}

/* Wait for the end; kills the process group at the deadline. */
static int reap(pid_t pid, int64_t deadline_ms, bool *timed_out)
{
    int status = 0, pause_us = 500;
    for (;;) {
        pid_t done = waitpid(pid, &status, *timed_out ? 0 : WNOHANG);
        if (done == pid || (done < 0 && errno != EINTR))
            break;
        if (!*timed_out && clock_mono_ms() >= deadline_ms) {
            *timed_out = true;
            kill(-pid, SIGKILL);
            kill(pid, SIGKILL);
        }
        if (!*timed_out) {
            usleep((useconds_t)pause_us);
            pause_us = pause_us < 20000 ? pause_us * 2 : pause_us;
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Text without NUL bytes and control characters. */
static void clean_output(struct buf *output)
{
    for (size_t i = 0; i < output->len; i++)
        if (output->data[i] == '\0')
            output->data[i] = '?';
    if (output->data != NULL)
        printable(output->data);
}

static void close_pair(int pair[2])
{
    for (int i = 0; i < 2; i++)
        if (pair[i] >= 0)
            close(pair[i]);
}

/* Started with SIGCHLD ignored, which exec passes on, we would never learn how a child has ended. */
static void forget_inherited_sigchld(void)
{
    struct sigaction now;
    if (sigaction(SIGCHLD, NULL, &now) == 0 && now.sa_handler == SIG_IGN)
        signal(SIGCHLD, SIG_DFL);
}

static bool cannot_run(const char *path, int errnum, struct err *err)
{
    if (errnum != EACCES)
        return err_errno(err, errnum, path, "cannot run %s", path);
    err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path, "cannot run %s: %s", path, strerror(errnum));
    return err_advise(err, "is it a program, and may it be executed (chmod +x)?");
}

bool spawn_run(const char *const *argv, const struct spawn_options *options, struct spawn_result *result,
               struct err *err)
{
    static const struct spawn_options defaults = {0};
    const struct spawn_options *opt = options != NULL ? options : &defaults;
    int64_t deadline_ms = clock_mono_ms() + (opt->timeout_ms > 0 ? opt->timeout_ms : DEFAULT_TIMEOUT_MS);
    int out[2] = {-1, -1}, status[2] = {-1, -1}, child_errno = 0;
    AUTO_FREE char *path = resolve(argv[0]);
    *result = (struct spawn_result){0};
    forget_inherited_sigchld();
    if (path == NULL)
        return err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, argv[0], "there is no program %s in %s", argv[0],
                       clean_env[0] + strlen("PATH="));
    if (pipe2(status, O_CLOEXEC) != 0 || (!opt->inherit_output && pipe2(out, O_CLOEXEC) != 0)) {
        int saved = errno;
        close_pair(status);
        return err_errno(err, saved, path, "cannot make a pipe for %s", path);
    }
    AUTO_FREE const char **env = make_env(opt->env);
    pid_t pid = fork();
    if (pid == 0)
        run_child(path, argv, env, opt->dir != NULL ? opt->dir : "/", out[1], status[1]);
    int fork_errno = errno;
    close(status[1]);
    status[1] = -1;
    if (out[1] >= 0)
        close(out[1]);
    out[1] = -1;
    if (pid < 0) {
        close_pair(status);
        close_pair(out);
        return err_errno(err, fork_errno, path, "cannot start %s", path);
    }
    ssize_t n;
    do
        n = read(status[0], &child_errno, sizeof child_errno); /* EOF as soon as exec has succeeded */
    while (n < 0 && errno == EINTR);
    if (!opt->inherit_output && n == 0 && !collect(out[0], pid, deadline_ms, &result->output))
        result->timed_out = true;
    if (result->timed_out)
        kill(-pid, SIGKILL);
    result->status = reap(pid, deadline_ms, &result->timed_out);
    close_pair(status);
    close_pair(out);
    clean_output(&result->output);
    if (n > 0) {
        spawn_result_clear(result);
        return cannot_run(path, child_errno, err);
    }
    return true;
}

void spawn_result_clear(struct spawn_result *result)
{
    buf_clear(&result->output);
}
