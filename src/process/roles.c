#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/roles.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tlsup/clock.h"
#include "tlsup/key.h"
#include "tlsup/sandbox.h"

enum { STOP_GRACE_MS = 2000, PROBE_GRACE_MS = 5000 };

/* A terminal's Ctrl-C reaches the whole process group: the keeper alone decides what follows from it. */
static void ignore_terminal_signals(void)
{
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGTERM, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
}

/* Fork with a socket pair; true in both processes, `out->pid` 0 in the child, whose end is in `out->fd`. */
static bool fork_role(struct role *out, struct err *err)
{
    int pair[2];
    if (key_count() > 0)
        return err_set(err, ERR_INTERNAL, NEXT_LOCAL_FAULT, NULL,
                       "a child process would inherit private keys");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return err_errno(err, errno, NULL, "cannot make a socket pair");
    pid_t pid = fork();
    if (pid < 0) {
        int saved = errno;
        close(pair[0]);
        close(pair[1]);
        return err_errno(err, saved, NULL, "cannot start a process");
    }
    close(pair[pid == 0 ? 0 : 1]);
    *out = (struct role){.pid = pid, .fd = pair[pid == 0 ? 1 : 0]};
    if (pid == 0)
        ignore_terminal_signals();
    return true;
}

bool role_start_courier(const struct http_options *options, struct role *out, struct err *err)
{
    struct role role;
    if (!fork_role(&role, err))
        return false;
    if (role.pid == 0)
        courier_main(role.fd, options);
    *out = role;
    return true;
}

bool role_start_responder(const int *listeners, size_t n, struct role *out, struct err *err)
{
    struct role role;
    bool ok = fork_role(&role, err);
    if (ok && role.pid == 0)
        responder_main(role.fd, listeners, n);
    for (size_t i = 0; i < n; i++)
        close(listeners[i]);
    if (ok)
        *out = role;
    return ok;
}

/* Wait for a child until the deadline, then end it. */
static void reap(pid_t pid, int grace_ms)
{
    int status;
    useconds_t pause_us = 200;
    int64_t deadline_ms = clock_mono_ms() + grace_ms;
    for (;;) {
        pid_t done = waitpid(pid, &status, WNOHANG);
        if (done == pid || (done < 0 && errno != EINTR))
            return;
        if (clock_mono_ms() >= deadline_ms) {
            kill(pid, SIGKILL);
            while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
            return;
        }
        usleep(pause_us);
        pause_us = pause_us < 10000 ? pause_us * 2 : pause_us;
    }
}

void role_stop(struct role *role)
{
    if (role->fd >= 0)
        close(role->fd);
    if (role->pid > 0)
        reap(role->pid, STOP_GRACE_MS);
    *role = (struct role)ROLE_INIT;
}

/* -- the prober ---------------------------------------------------------------------------------------------
 */

/* The answer as it crosses the pipe: flat, of one size. */
struct probe_answer {
    bool ok;
    struct err err;
    union {
        struct probe_tls tls;
        struct probe_http http;
    } result;
};

struct probe_question {
    bool handshake;
    const char *address;
    int port;
    bool tls;
    const char *name;
    const char *path;
    int timeout_ms;
};

static void ask(const struct probe_question *question, struct probe_answer *answer)
{
    const struct probe_question *q = question;
    if (q->handshake)
        answer->ok =
            probe_tls(q->address, q->port, q->name, q->timeout_ms, &answer->result.tls, &answer->err);
    else
        answer->ok = probe_http(q->address, q->port, q->tls, q->name, q->path, q->timeout_ms,
                                &answer->result.http, &answer->err);
}

static NORETURN void prober_main(int fd, const struct probe_question *question)
{
    struct probe_answer answer;
    memset(&answer, 0, sizeof answer); /* padding too: nothing of our memory crosses by accident */
    ignore_terminal_signals();
    if (sandbox_enter(SANDBOX_COURIER_USER, &fd, 1, &answer.err))
        ask(question, &answer);
    ssize_t ignored = write(fd, &answer, sizeof answer);
    (void)ignored;
    _exit(0);
}

/* What a child wrote into fixed arrays must end within them. */
static void terminate(struct probe_answer *answer, bool handshake)
{
    struct err *err = &answer->err;
    err->type[sizeof err->type - 1] = err->subject[sizeof err->subject - 1] = '\0';
    err->text[sizeof err->text - 1] = err->advice[sizeof err->advice - 1] = '\0';
    printable(err->text);
    if (handshake) {
        struct probe_tls *tls = &answer->result.tls;
        tls->sha256[sizeof tls->sha256 - 1] = tls->version[sizeof tls->version - 1] =
            tls->alpn[sizeof tls->alpn - 1] = '\0';
    } else {
        struct probe_http *http = &answer->result.http;
        http->location[sizeof http->location - 1] = http->body[sizeof http->body - 1] = '\0';
        if (http->body_len >= sizeof http->body)
            http->body_len = sizeof http->body - 1;
    }
}

static bool probe(const struct probe_question *question, struct probe_answer *answer, struct err *err)
{
    int fds[2];
    size_t got = 0;
    ssize_t n;
    memset(answer, 0, sizeof *answer);
    if (pipe2(fds, O_CLOEXEC) != 0)
        return err_errno(err, errno, NULL, "cannot make a pipe");
    pid_t pid = fork();
    if (pid == 0)
        prober_main(fds[1], question);
    int saved = errno;
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        return err_errno(err, saved, NULL, "cannot start a process");
    }
    /* the child has deadlines of its own, and its end closes the pipe */
    while (got < sizeof *answer &&
           ((n = read(fds[0], (char *)answer + got, sizeof *answer - got)) > 0 || (n < 0 && errno == EINTR)))
        got += n > 0 ? (size_t)n : 0;
    close(fds[0]);
    reap(pid, PROBE_GRACE_MS);
    if (got != sizeof *answer)
        return err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, question->name,
                       "the process that looks at the web server died");
    terminate(answer, question->handshake);
    if (!answer->ok && !err_isset(&answer->err))
        return err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, question->name,
                       "the process that looks at the web server failed");
    if (!answer->ok)
        *err = answer->err;
    return answer->ok;
}

bool role_probe_tls(const char *address, int port, const char *name, int timeout_ms, struct probe_tls *out,
                    struct err *err)
{
    struct probe_question question = {
        .handshake = true, .address = address, .port = port, .name = name, .timeout_ms = timeout_ms};
    struct probe_answer answer;
    if (!probe(&question, &answer, err))
        return false;
    *out = answer.result.tls;
    return true;
}

bool role_probe_http(const char *address, int port, bool tls, const char *name, const char *path,
                     int timeout_ms, struct probe_http *out, struct err *err)
{
    struct probe_question question = {
        .address = address, .port = port, .tls = tls, .name = name, .path = path, .timeout_ms = timeout_ms};
    struct probe_answer answer;
    if (!probe(&question, &answer, err))
        return false;
    *out = answer.result.http;
    return true;
}
