#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#ifdef __linux__
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#endif
#include <sys/wait.h>
#include <unistd.h>

#include "tlsup/clock.h"
#include "tlsup/mem.h"

enum {
    OUTPUT_LIMIT_BYTES = 65536,
    TAKE_AT_ONCE_BYTES = 2 << 20, /* more than a pipe holds */
    DEFAULT_TIMEOUT_MS = 60000
};

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

/* Does one of these give the variable of `entry` ("NAME=value") another value? */
static bool overridden(const char *entry, const char *const *extra)
{
    size_t len = strcspn(entry, "=") + 1;
    for (size_t i = 0; extra != NULL && extra[i] != NULL; i++)
        if (strncmp(extra[i], entry, len) == 0)
            return true;
    return false;
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

/* A child that cannot be asked after (somebody else has reaped it) has not succeeded. */
enum { STATUS_UNKNOWN = 255 };

struct spawn {
    pid_t pid;
    int out_fd;   /* the child's output; -1 when there is none any more */
    int exit_fd;  /* readable when the child has ended (pidfd), or -1 */
    int timer_fd; /* readable at the deadline, or -1 */
    int wake_fd;  /* all of them in one, or -1 where the system cannot do that */
    int64_t deadline_ms;
    bool timed_out;
    bool raw;
    size_t limit;
    struct buf output;
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* -- as whom -------------------------------------------------------------------------------------------- */

enum { GROUPS_MAX = 65536 };

struct who {
    bool other; /* than ourselves */
    uid_t uid;
    gid_t gid;
    gid_t *groups;
    int n_groups;
    char *env[4]; /* HOME, USER, LOGNAME, NULL */
};

static void who_clear(struct who *who)
{
    free(who->groups);
    for (size_t i = 0; i < COUNT_OF(who->env); i++)
        free(who->env[i]);
    *who = (struct who){0};
}

static bool no_such_user(const char *user, int errnum, struct err *err)
{
    if (errnum != 0 && errnum != ENOENT && errnum != ESRCH)
        return err_errno(err, errnum, user, "cannot look up the user %s", user);
    err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, user, "there is no user %s", user);
    return err_advise(err, "`getent passwd` lists the users of this machine");
}

/* getgrouplist() does not say how many there are before it is asked for too few. */
static void find_groups(const char *user, struct who *who)
{
    who->n_groups = 32;
    for (int room = 0; room < GROUPS_MAX;) {
        room = who->n_groups > room ? who->n_groups : room * 2;
        who->n_groups = room;
        who->groups = mem_resize(who->groups, (size_t)room, sizeof *who->groups);
        if (getgrouplist(user, who->gid, who->groups, &who->n_groups) >= 0)
            return;
    }
    who->groups[0] = who->gid;
    who->n_groups = 1;
}

static bool who_find(const char *user, struct who *who, struct err *err)
{
    errno = 0;
    const struct passwd *entry = user != NULL ? getpwnam(user) : NULL;
    if (user == NULL)
        return true;
    if (entry == NULL)
        return no_such_user(user, errno, err);
    if (geteuid() != 0 && entry->pw_uid != geteuid()) {
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, user, "only root can run a program as %s", user);
        return err_advise(err, "run tlsup as root, or leave the user out");
    }
    who->other = geteuid() == 0;
    who->uid = entry->pw_uid;
    who->gid = entry->pw_gid;
    who->env[0] = mem_fmt("HOME=%s", entry->pw_dir);
    who->env[1] = mem_fmt("USER=%s", entry->pw_name);
    who->env[2] = mem_fmt("LOGNAME=%s", entry->pw_name);
    find_groups(user, who);
    return true;
}

static const char **make_env(const char *const *extra, const struct who *who)
{
    size_t n = 0, n_extra = 0;
    while (extra != NULL && extra[n_extra] != NULL)
        n_extra++;
    const char **env = mem_array(n_extra + COUNT_OF(who->env) + COUNT_OF(clean_env) + 1, sizeof *env);
    bool other = who->env[0] != NULL;
    for (size_t i = 0; i < COUNT_OF(clean_env); i++)
        if (!overridden(clean_env[i], extra) &&
            !(other && overridden(clean_env[i], (const char *const *)who->env)))
            env[n++] = clean_env[i];
    for (size_t i = 0; other && who->env[i] != NULL; i++)
        if (!overridden(who->env[i], extra))
            env[n++] = who->env[i];
    for (size_t i = 0; i < n_extra; i++)
        env[n++] = extra[i];
    return env;
}

/* What a program reads on standard input, in a file that has no name: however much it is, nobody has to feed
 * it. -1 with errno. */
static int open_input(const struct spawn_options *opt)
{
    if (opt->input == NULL)
        return -1;
    FILE *file = tmpfile();
    if (file == NULL)
        return -1;
    bool ok = fwrite(opt->input, 1, opt->input_len, file) == opt->input_len && fflush(file) == 0;
    int fd = ok ? fcntl(fileno(file), F_DUPFD_CLOEXEC, 3) : -1;
    int saved = errno;
    fclose(file);
    if (fd >= 0 && lseek(fd, 0, SEEK_SET) != 0) {
        saved = errno;
        close(fd);
        fd = -1;
    }
    errno = saved;
    return fd;
}

/* In the child, between fork and exec: only async-signal-safe calls. Reports errno through `status_fd`. */
static NORETURN void run_child(const char *path, const char *const *argv, const char *const *env,
                               const struct spawn_options *opt, const struct who *who, int in_fd, int out_fd,
                               int status_fd)
{
    sigset_t none;
    struct sigaction defaults = {.sa_handler = SIG_DFL};
    setsid(); /* with a terminal of root's at hand, whoever it runs as could type into it */
    for (int sig = 1; sig < NSIG; sig++)
        sigaction(sig, &defaults, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null_fd = open("/dev/null", O_RDWR);
    int ok = null_fd >= 0 && dup2(in_fd >= 0 ? in_fd : null_fd, STDIN_FILENO) >= 0;
    if (ok && out_fd >= 0)
        ok = dup2(out_fd, STDOUT_FILENO) >= 0 && dup2(opt->raw_output ? null_fd : out_fd, STDERR_FILENO) >= 0;
    if (ok && who->other) /* in this order: the last takes the right to the others away */
        ok = setgroups((size_t)who->n_groups, who->groups) == 0 && setgid(who->gid) == 0 &&
             setuid(who->uid) == 0;
    ok = ok && chdir(opt->dir != NULL ? opt->dir : "/") == 0;
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
    close_fd(&pair[0]);
    close_fd(&pair[1]);
}

/* Started with SIGCHLD ignored, which exec passes on, we would never learn how a child has ended. */
static void forget_inherited_sigchld(void)
{
    struct sigaction now;
    if (sigaction(SIGCHLD, NULL, &now) == 0 && now.sa_handler == SIG_IGN)
        signal(SIGCHLD, SIG_DFL);
}

static bool cannot_run(const char *path, const char *user, int errnum, struct err *err)
{
    if (errnum == EACCES && user != NULL) {
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path, "cannot run %s as %s: %s", path, user,
                strerror(errnum));
        return err_advise(err,
                          "may that user read and execute it, and pass through all directories above it?");
    }
    if (errnum != EACCES)
        return err_errno(err, errnum, path, "cannot run %s", path);
    err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path, "cannot run %s: %s", path, strerror(errnum));
    return err_advise(err, "is it a program, and may it be executed (chmod +x)?");
}

static pid_t start_child(const char *path, const char *const *argv, const char *const *env,
                         const struct spawn_options *opt, const struct who *who, int in, int out[2],
                         int status[2])
{
    pid_t pid = fork();
    if (pid == 0)
        run_child(path, argv, env, opt, who, in, out[1], status[1]);
    int saved = errno;
    close_fd(&status[1]);
    close_fd(&out[1]);
    errno = saved;
    return pid;
}

/* The errno of a failed exec; 0 when the program runs, which closes its end of the pipe. */
static int exec_errno(int status_fd)
{
    int child_errno = 0;
    ssize_t n;
    do
        n = read(status_fd, &child_errno, sizeof child_errno);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof child_errno ? child_errno : 0;
}

static int reap(pid_t pid)
{
    int status = 0;
    pid_t done;
    do
        done = waitpid(pid, &status, 0);
    while (done < 0 && errno == EINTR);
    if (done != pid)
        return STATUS_UNKNOWN;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#ifdef __linux__
static int open_exit_fd(pid_t pid)
{
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by itself */
#else
    (void)pid;
    return -1;
#endif
}

static int open_timer_fd(int64_t wait_ms)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(wait_ms / 1000), .tv_nsec = (long)(wait_ms % 1000) * 1000000 + 1}};
    if (fd >= 0 && timerfd_settime(fd, 0, &when, NULL) != 0)
        close_fd(&fd);
    return fd;
}

static bool watch(int wake_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(wake_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* One descriptor for output, end and deadline; without it the caller has to ask now and then. */
static void open_wake_fd(struct spawn *spawn)
{
    spawn->exit_fd = open_exit_fd(spawn->pid);
    if (spawn->exit_fd < 0)
        return;
    spawn->timer_fd = open_timer_fd(spawn->deadline_ms - clock_mono_ms());
    if (spawn->timer_fd < 0)
        return;
    spawn->wake_fd = epoll_create1(EPOLL_CLOEXEC);
    if (spawn->wake_fd < 0)
        return;
    if (!watch(spawn->wake_fd, spawn->exit_fd) || !watch(spawn->wake_fd, spawn->timer_fd) ||
        (spawn->out_fd >= 0 && !watch(spawn->wake_fd, spawn->out_fd)))
        close_fd(&spawn->wake_fd);
}
#else
static void open_wake_fd(struct spawn *spawn)
{
    (void)spawn;
}
#endif

static void spawn_free(struct spawn *spawn)
{
    close_fd(&spawn->wake_fd);
    close_fd(&spawn->out_fd);
    close_fd(&spawn->exit_fd);
    close_fd(&spawn->timer_fd);
    buf_clear(&spawn->output);
    free(spawn);
}

static struct spawn *spawn_new(pid_t pid, int out_fd, int64_t deadline_ms)
{
    struct spawn *spawn = mem_alloc(sizeof *spawn);
    *spawn = (struct spawn){.pid = pid,
                            .out_fd = out_fd,
                            .exit_fd = -1,
                            .timer_fd = -1,
                            .wake_fd = -1,
                            .deadline_ms = deadline_ms};
    if (out_fd >= 0)
        fcntl(out_fd, F_SETFL, O_NONBLOCK);
    open_wake_fd(spawn);
    return spawn;
}

static bool launch(const char *path, const char *const *argv, const struct spawn_options *opt,
                   const struct who *who, int in, bool capture, struct spawn **made, struct err *err)
{
    int64_t deadline_ms = clock_mono_ms() + (opt->timeout_ms > 0 ? opt->timeout_ms : DEFAULT_TIMEOUT_MS);
    int out[2] = {-1, -1}, status[2] = {-1, -1};
    if (pipe2(status, O_CLOEXEC) != 0 || (capture && pipe2(out, O_CLOEXEC) != 0)) {
        int saved = errno;
        close_pair(status);
        return err_errno(err, saved, path, "cannot make a pipe for %s", path);
    }
    AUTO_FREE const char **env = make_env(opt->env, who);
    pid_t pid = start_child(path, argv, env, opt, who, in, out, status);
    int fork_errno = errno;
    int child_errno = pid < 0 ? 0 : exec_errno(status[0]);
    close_pair(status);
    if (pid > 0 && child_errno == 0) {
        *made = spawn_new(pid, out[0], deadline_ms);
        (*made)->raw = opt->raw_output;
        (*made)->limit = opt->output_limit > 0 ? opt->output_limit : OUTPUT_LIMIT_BYTES;
        return true;
    }
    close_pair(out);
    if (pid < 0)
        return err_errno(err, fork_errno, path, "cannot start %s", path);
    reap(pid);
    return cannot_run(path, opt->user, child_errno, err);
}

static bool start(const char *const *argv, const struct spawn_options *options, bool capture,
                  struct spawn **made, struct err *err)
{
    static const struct spawn_options defaults = {0};
    const struct spawn_options *opt = options != NULL ? options : &defaults;
    struct who who = {0};
    AUTO_FREE char *path = resolve(argv[0]);
    forget_inherited_sigchld();
    if (path == NULL)
        return err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, argv[0], "there is no program %s in %s", argv[0],
                       clean_env[0] + strlen("PATH="));
    if (!who_find(opt->user, &who, err))
        return false;
    int in = open_input(opt);
    bool ok = in < 0 && opt->input != NULL
                  ? err_errno(err, errno, path, "cannot keep the input of %s in a temporary file", path)
                  : launch(path, argv, opt, &who, in, capture, made, err);
    close_fd(&in);
    who_clear(&who);
    return ok;
}

bool spawn_start(const char *const *argv, const struct spawn_options *options, struct spawn **out,
                 struct err *err)
{
    return start(argv, options, true, out, err);
}

int spawn_fd(const struct spawn *spawn)
{
    return spawn->wake_fd;
}

/* Has the child ended? It stays to be reaped. */
static bool ended(pid_t pid)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0)
        return errno != EINTR;
    return info.si_pid == pid;
}

/* Take what is there. Bounded, since others than the child may write without end; what a child that has ended
 * left in the pipe is always less. What goes beyond the limit is read and dropped. */
static void collect(struct spawn *spawn)
{
    char block[4096];
    for (size_t taken = 0; spawn->out_fd >= 0 && taken < TAKE_AT_ONCE_BYTES;) {
        ssize_t n = read(spawn->out_fd, block, sizeof block);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            close_fd(&spawn->out_fd);
            return;
        }
        size_t room = spawn->limit - spawn->output.len;
        buf_add(&spawn->output, block, (size_t)n < room ? (size_t)n : room);
        taken += (size_t)n;
    }
}

static void kill_family(pid_t pid)
{
    kill(-pid, SIGKILL);
    kill(pid, SIGKILL);
}

static void finish(struct spawn *spawn, struct spawn_result *result)
{
    if (!spawn->raw)
        clean_output(&spawn->output);
    *result = (struct spawn_result){
        .status = reap(spawn->pid), .timed_out = spawn->timed_out, .output = spawn->output};
    spawn->output = (struct buf){0};
    spawn_free(spawn);
}

bool spawn_step(struct spawn *spawn, struct spawn_result *result)
{
    /* Asked before the last look at the pipe, so that nothing of what it said is lost. A daemon that it left
     * behind may hold the pipe for ever, and is none of our business. */
    bool over = ended(spawn->pid);
    collect(spawn);
    if (over) {
        finish(spawn, result);
        return true;
    }
    if (!spawn->timed_out && clock_mono_ms() >= spawn->deadline_ms) {
        spawn->timed_out = true;
        close_fd(&spawn->timer_fd); /* told its only news */
        kill_family(spawn->pid);
    }
    return false;
}

void spawn_kill(struct spawn *spawn)
{
    if (spawn == NULL)
        return;
    kill_family(spawn->pid);
    reap(spawn->pid);
    spawn_free(spawn);
}

/* Sleep until there may be something to do. */
static void rest(const struct spawn *spawn, int *pause_ms)
{
    int64_t left_ms = spawn->deadline_ms - clock_mono_ms();
    struct pollfd wake = {.fd = spawn->wake_fd, .events = POLLIN};
    int most_ms = left_ms > 1000 || left_ms < 0 ? 1000 : (int)left_ms + 1;
    if (wake.fd < 0) {
        wake.fd = spawn->out_fd;
        most_ms = most_ms < *pause_ms ? most_ms : *pause_ms;
        *pause_ms = *pause_ms < 20 ? *pause_ms * 2 : *pause_ms;
    }
    poll(&wake, 1, most_ms);
}

bool spawn_run(const char *const *argv, const struct spawn_options *options, struct spawn_result *result,
               struct err *err)
{
    struct spawn *spawn;
    int pause_ms = 1;
    *result = (struct spawn_result){0};
    if (!start(argv, options, options == NULL || !options->inherit_output, &spawn, err))
        return false;
    while (!spawn_step(spawn, result))
        rest(spawn, &pause_ms);
    return true;
}

void spawn_result_clear(struct spawn_result *result)
{
    buf_clear(&result->output);
}

/* -- who could change it --------------------------------------------------------------------------------- */

/* Root's programs are root's; those of a user may be his as well. */
struct trust {
    const char *as; /* "root" */
    uid_t uid;
};

static bool may_own(const struct trust *trust, uid_t owner)
{
    return owner == 0 || owner == trust->uid;
}

/* Whoever may write a directory on the way to it can put another program in its place. */
static bool check_directory(const char *dir, const struct stat *st, const struct trust *trust,
                            const char *path, struct err *err)
{
    if (may_own(trust, st->st_uid) && ((st->st_mode & S_IWOTH) == 0 || (st->st_mode & S_ISVTX) != 0))
        return true;
    err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path,
            "it would run as %s, but others may put something else in its place: they may write %s",
            trust->as, dir);
    return err_advise(err, "move it to a directory that is root's alone, such as /etc/tlsup/hooks");
}

/* So can whoever owns a link on the way: it may lead elsewhere by the time that it is followed. *target gets
 * where it leads. */
static bool check_link(const char *link, const struct stat *st, const struct trust *trust, const char *path,
                       char target[PATH_MAX], struct err *err)
{
    ssize_t len = readlink(link, target, PATH_MAX - 1);
    if (len <= 0)
        return err_errno(err, errno, link, "cannot follow the link");
    target[len] = '\0';
    if (may_own(trust, st->st_uid))
        return true;
    err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path,
            "it would run as %s, but others may put something else in its place: they own the link %s",
            trust->as, link);
    return err_advise(err, "name the file itself, not by that link");
}

/* Each step from `way` on, as the kernel takes it; `path` is what is told. */
static bool check_steps(const char *way, const struct trust *trust, const char *path, int links,
                        struct err *err)
{
    enum { LINKS_MAX = 40 };
    AUTO_FREE char *done = mem_dup("");
    for (const char *rest = way + strspn(way, "/"); *rest != '\0'; rest += strspn(rest, "/")) {
        size_t len = strcspn(rest, "/");
        AUTO_FREE char *at = mem_fmt("%s/%.*s", done, (int)len, rest);
        char target[PATH_MAX];
        struct stat st;
        rest += len;
        if (lstat(at, &st) != 0)
            return err_errno(err, errno, at, "cannot look at the way to the program");
        if (S_ISLNK(st.st_mode)) {
            if (!check_link(at, &st, trust, path, target, err))
                return false;
            AUTO_FREE char *on =
                mem_fmt("%s%s%s%s", target[0] == '/' ? "" : done, target[0] == '/' ? "" : "/", target, rest);
            return links < LINKS_MAX ? check_steps(on, trust, path, links + 1, err)
                                     : err_errno(err, ELOOP, path, "cannot find the program");
        }
        if (S_ISDIR(st.st_mode) && !check_directory(at, &st, trust, path, err))
            return false;
        char *before = done;
        done = mem_dup(at);
        free(before);
    }
    return true;
}

static bool check_way(const char *path, const struct trust *trust, struct err *err)
{
    AUTO_FREE char *real = path[0] == '/' ? NULL : realpath(path, NULL);
    if (path[0] != '/' && real == NULL)
        return err_errno(err, errno, path, "cannot find the program");
    return check_steps(real != NULL ? real : path, trust, path, 0, err);
}

bool spawn_check_program_for(const char *path, bool readable, const char *user, struct err *err)
{
    struct stat st;
    struct trust trust = {user != NULL ? user : "root", 0};
    if (stat(path, &st) != 0)
        return err_errno(err, errno, path, "cannot find the program");
    if (!S_ISREG(st.st_mode) || access(path, readable ? R_OK : X_OK) != 0) {
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path, "it is not an executable file");
        return err_advise(err, "make it one: chmod +x %s", path);
    }
    if (geteuid() != 0)
        return true;
    const struct passwd *entry = user != NULL ? getpwnam(user) : NULL;
    if (user != NULL && entry == NULL)
        return no_such_user(user, 0, err);
    if (entry != NULL)
        trust.uid = entry->pw_uid;
    if (!may_own(&trust, st.st_uid)) {
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path,
                "it would run as %s, but belongs to somebody else (uid %ld), who may change it", trust.as,
                (long)st.st_uid);
        return err_advise(err, "chown root %s", path);
    }
    if ((st.st_mode & (S_IWOTH | S_IWGRP)) != 0) {
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path, "it would run as %s, but others may write it",
                trust.as);
        return err_advise(err, "chmod go-w %s", path);
    }
    return check_way(path, &trust, err);
}

bool spawn_check_program(const char *path, bool readable, struct err *err)
{
    return spawn_check_program_for(path, readable, NULL, err);
}

/* -- what it said ---------------------------------------------------------------------------------------- */

static bool is_blank(const char *line, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (line[i] != ' ' && line[i] != '\t')
            return false;
    return true;
}

const char *spawn_last_lines(const struct spawn_result *result, size_t most, char *out, size_t size)
{
    const char *text = buf_str(&result->output), *end = text + strlen(text);
    char *at = out + size - 1; /* filled from its end */
    *at = '\0';
    for (size_t lines = 0; end > text && lines < most;) {
        const char *begin = end;
        while (begin > text && begin[-1] != '\n')
            begin--;
        size_t len = (size_t)(end - begin), room = (size_t)(at - out);
        if (!is_blank(begin, len)) {
            if (len + 1 > room && lines > 0)
                break;
            if (len > room) { /* the end of a line that is too long says more than its beginning */
                begin += len - room;
                len = room;
            }
            if (lines++ > 0)
                *--at = '\n';
            at -= len;
            memcpy(at, begin, len);
        }
        end = begin > text && begin[-1] == '\n' ? begin - 1 : text;
    }
    memmove(out, at, strlen(at) + 1);
    return out;
}
