#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/roles.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <resolv.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef HAVE_SYS_PRCTL_H
#include <sys/prctl.h>
#endif

#include "tlsup/clock.h"
#include "tlsup/key.h"
#include "tlsup/resolver.h"
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
static bool fork_role(const char *title, struct role *out, struct err *err)
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
    if (pid == 0) {
        ignore_terminal_signals();
#ifdef HAVE_SYS_PRCTL_H
        (void)prctl(PR_SET_NAME, title, 0, 0, 0); /* for ps and top */
#else
        (void)title;
#endif
    }
    return true;
}

bool role_start_courier(const struct http_options *options, struct role *out, struct err *err)
{
    struct role role;
    if (!fork_role("tlsup-courier", &role, err))
        return false;
    if (role.pid == 0)
        courier_main(role.fd, options);
    *out = role;
    return true;
}

bool role_start_responder(const struct responder_sockets *sockets, struct role *out, struct err *err)
{
    struct role role;
    bool ok = fork_role("tlsup-responder", &role, err);
    if (ok && role.pid == 0)
        responder_main(role.fd, sockets);
    for (size_t i = 0; i < sockets->n_http; i++)
        close(sockets->http[i]);
    for (size_t i = 0; i < sockets->n_tls; i++)
        close(sockets->tls[i]);
    if (ok)
        *out = role;
    return ok;
}

bool role_start_resolver(struct role *out, struct err *err)
{
    struct role role;
    if (!fork_role("tlsup-resolver", &role, err))
        return false;
    if (role.pid == 0)
        resolver_main(role.fd);
    *out = role;
    return true;
}

bool role_start_notifier(const struct notifier_options *options, struct role *out, struct err *err)
{
    struct role role;
    if (!fork_role("tlsup-notifier", &role, err))
        return false;
    if (role.pid == 0)
        notifier_main(role.fd, options);
    *out = role;
    return true;
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

/* -- the prober ----------------------------------------------------------------------------------------- */

/* Question and answer cross the socket as they are: flat, of one size each, between two processes of one
 * program. */
enum probe_what { PROBE_PAGE, PROBE_HANDSHAKE, PROBE_SERVICE, PROBE_RESOLVE, PROBE_LOOKUP };

struct probe_question {
    enum probe_what what;
    enum probe_kind kind;   /* of a handshake */
    enum starttls protocol; /* of a handshake with another service */
    bool tls;               /* of a page */
    int port;
    int timeout_ms;
    char address[64];
    char name[256];
    char path[512];
};

struct probe_answer {
    bool ok;
    struct err err;
    union {
        struct probe_tls tls;
        struct probe_http http;
        struct {
            unsigned n;
            char v[ROLE_ADDRESSES_MAX][INET6_ADDRSTRLEN];
        } addresses;
    } result;
};

static struct role prober = ROLE_INIT;

static void add_address(const struct addrinfo *info, struct probe_answer *answer)
{
    char text[INET6_ADDRSTRLEN];
    const void *bytes =
        info->ai_family == AF_INET
            ? (const void *)&((const struct sockaddr_in *)(const void *)info->ai_addr)->sin_addr
            : (const void *)&((const struct sockaddr_in6 *)(const void *)info->ai_addr)->sin6_addr;
    if (answer->result.addresses.n >= ROLE_ADDRESSES_MAX ||
        inet_ntop(info->ai_family, bytes, text, sizeof text) == NULL)
        return;
    for (unsigned i = 0; i < answer->result.addresses.n; i++)
        if (strcmp(answer->result.addresses.v[i], text) == 0)
            return;
    memcpy(answer->result.addresses.v[answer->result.addresses.n++], text, sizeof text);
}

/* Is that all there is to know: no such name, or no address for it? */
static bool is_nothing(int code)
{
    static const int nothing[] = {
        EAI_NONAME,
#ifdef EAI_NODATA
        EAI_NODATA,
#endif
#ifdef EAI_ADDRFAMILY
        EAI_ADDRFAMILY,
#endif
    };
    for (size_t i = 0; i < COUNT_OF(nothing); i++)
        if (code == nothing[i])
            return true;
    return false;
}

static void resolve(const char *name, struct probe_answer *answer)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL;
#if defined(RES_DNSRCH) && defined(RES_DEFNAMES)
    if (res_init() == 0) /* a name is not to be completed by the domain of this machine */
        _res.options &= ~(unsigned long)(RES_DNSRCH | RES_DEFNAMES);
#endif
    int code = getaddrinfo(name, NULL, &hints, &found);
    answer->ok = code == 0 || is_nothing(code);
    if (!answer->ok) {
        err_set(&answer->err, ERR_NETWORK, NEXT_RETRY_LATER, name, "%s cannot be looked up: %s", name,
                code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code));
        err_advise(&answer->err,
                   "see whether this machine can resolve names: /etc/resolv.conf, and its way to "
                   "the name servers there");
        return;
    }
    static const int families[] = {AF_INET, AF_INET6};
    for (size_t i = 0; i < COUNT_OF(families); i++)
        for (const struct addrinfo *info = found; info != NULL; info = info->ai_next)
            if (info->ai_family == families[i])
                add_address(info, answer);
    if (found != NULL)
        freeaddrinfo(found);
}

/* The system's resolver waits as long as it likes: in a process of its own, which is ended when the time is
 * up. Several run beside each other. */
struct lookup {
    pid_t pid; /* 0 = none */
    int fd;
    int timeout_ms;
    int64_t deadline_ms;
    char name[256];
};

static bool lookup_begin(const struct probe_question *q, struct lookup *out, struct err *err)
{
    int pair[2] = {-1, -1};
    pid_t pid = -1;
    struct probe_answer answer;
    *out = (struct lookup){.timeout_ms = q->timeout_ms, .deadline_ms = clock_mono_ms() + q->timeout_ms};
    snprintf(out->name, sizeof out->name, "%.*s", (int)sizeof out->name - 1, q->name);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0 || (pid = fork()) < 0) {
        err_errno(err, errno, q->name, "cannot start a process to look names up");
        if (pair[0] >= 0) {
            close(pair[0]);
            close(pair[1]);
        }
        return false;
    }
    if (pid == 0) {
        close(pair[0]);
        alarm((unsigned)q->timeout_ms / 1000 + 1); /* should the prober be gone by then */
        memset(&answer, 0, sizeof answer);
        resolve(q->name, &answer);
        _exit(send(pair[1], &answer, sizeof answer, MSG_NOSIGNAL) < 0);
    }
    close(pair[1]);
    out->pid = pid;
    out->fd = pair[0];
    return true;
}

static void lookup_end(struct lookup *lookup, struct probe_answer *answer)
{
    int64_t left_ms = lookup->deadline_ms - clock_mono_ms();
    struct pollfd pfd = {.fd = lookup->fd, .events = POLLIN};
    int ready = poll(&pfd, 1, left_ms > 0 ? (int)left_ms : 0);
    if (ready > 0 && recv(lookup->fd, answer, sizeof *answer, 0) != (ssize_t)sizeof *answer) {
        memset(answer, 0, sizeof *answer);
        err_set(&answer->err, ERR_NETWORK, NEXT_RETRY_LATER, lookup->name,
                "%s cannot be looked up: the system's resolver failed", lookup->name);
    } else if (ready <= 0) {
        err_set(&answer->err, ERR_TIMEOUT, NEXT_RETRY_LATER, lookup->name,
                "%s could not be looked up within %d seconds: the name servers of this machine do not answer",
                lookup->name, lookup->timeout_ms / 1000);
        err_advise(&answer->err, "see /etc/resolv.conf, and whether the name servers there can be reached");
    }
    close(lookup->fd);
    kill(lookup->pid, SIGKILL);
    while (waitpid(lookup->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    lookup->pid = 0;
}

/* Those that have been begun, in the prober. */
static struct lookup lookups[ROLE_LOOKUPS_MAX];

static struct lookup *lookup_at(int index)
{
    return index >= 0 && index < ROLE_LOOKUPS_MAX ? &lookups[index] : NULL;
}

/* Answered when it is asked for: PROBE_RESOLVE with the same number. */
static void begin(const struct probe_question *q)
{
    struct lookup *lookup = lookup_at(q->port);
    struct err ignored = ERR_INIT; /* tried once more when the answer is wanted */
    if (lookup != NULL && lookup->pid == 0 && !lookup_begin(q, lookup, &ignored))
        lookup->pid = 0;
}

static void resolve_in_time(const struct probe_question *q, struct probe_answer *answer)
{
    struct lookup *lookup = lookup_at(q->port), now = {0};
    bool begun = lookup != NULL && lookup->pid > 0 && strcmp(lookup->name, q->name) == 0;
    if (!begun && !lookup_begin(q, &now, &answer->err))
        return;
    lookup_end(begun ? lookup : &now, answer);
}

static void ask(const struct probe_question *q, struct probe_answer *answer)
{
    if (q->what == PROBE_RESOLVE)
        resolve_in_time(q, answer);
    else if (q->what == PROBE_HANDSHAKE)
        answer->ok = probe_tls_kind(q->address, q->port, q->name, q->kind, q->timeout_ms, &answer->result.tls,
                                    &answer->err);
    else if (q->what == PROBE_SERVICE)
        answer->ok = probe_starttls(q->address, q->port, q->name, q->protocol, q->kind, q->timeout_ms,
                                    &answer->result.tls, &answer->err);
    else
        answer->ok = probe_http(q->address, q->port, q->tls, q->name, q->path, q->timeout_ms,
                                &answer->result.http, &answer->err);
}

static NORETURN void prober_main(int fd)
{
    struct err err = ERR_INIT;
    struct probe_question question;
    struct probe_answer answer;
    if (!sandbox_enter(SANDBOX_PROBER_USER, &fd, 1, &err))
        _exit(1);
    for (;;) {
        ssize_t n = recv(fd, &question, sizeof question, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n != (ssize_t)sizeof question)
            _exit(0); /* the keeper has ended, and so do we */
        if (question.what == PROBE_LOOKUP) {
            begin(&question);
            continue;
        }
        memset(&answer, 0, sizeof answer);
        ask(&question, &answer);
        if (send(fd, &answer, sizeof answer, MSG_NOSIGNAL) != (ssize_t)sizeof answer)
            _exit(0);
    }
}

bool role_start_prober(struct err *err)
{
    if (prober.pid > 0)
        return true;
    struct role role;
    if (!fork_role("tlsup-prober", &role, err))
        return false;
    if (role.pid == 0)
        prober_main(role.fd);
    prober = role;
    return true;
}

void role_stop_prober(void)
{
    role_stop(&prober);
}

/* What a child wrote into fixed arrays must end within them. */
static void terminate(struct probe_answer *answer, enum probe_what what)
{
    struct err *err = &answer->err;
    err->type[sizeof err->type - 1] = err->subject[sizeof err->subject - 1] = '\0';
    err->text[sizeof err->text - 1] = err->advice[sizeof err->advice - 1] = '\0';
    printable(err->text);
    if (what == PROBE_RESOLVE) {
        if (answer->result.addresses.n > ROLE_ADDRESSES_MAX)
            answer->result.addresses.n = ROLE_ADDRESSES_MAX;
        for (unsigned i = 0; i < answer->result.addresses.n; i++)
            answer->result.addresses.v[i][INET6_ADDRSTRLEN - 1] = '\0';
    } else if (what == PROBE_HANDSHAKE || what == PROBE_SERVICE) {
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

/* Wait for the answer; the prober has deadlines of its own, ours is for one that died or lies. */
static bool hear(struct probe_answer *answer, int timeout_ms)
{
    int64_t deadline_ms = clock_mono_ms() + timeout_ms + PROBE_GRACE_MS;
    for (int64_t left_ms; (left_ms = deadline_ms - clock_mono_ms()) > 0;) {
        struct pollfd pfd = {.fd = prober.fd, .events = POLLIN};
        if (poll(&pfd, 1, (int)left_ms) > 0)
            return recv(prober.fd, answer, sizeof *answer, MSG_DONTWAIT) == (ssize_t)sizeof *answer;
    }
    return false;
}

static bool probe(const struct probe_question *question, struct probe_answer *answer, struct err *err)
{
    memset(answer, 0, sizeof *answer);
    if (prober.fd < 0)
        return err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, question->name,
                       "the process that looks at the web server is not running");
    if (send(prober.fd, question, sizeof *question, MSG_NOSIGNAL) != (ssize_t)sizeof *question ||
        !hear(answer, question->timeout_ms)) {
        role_stop(&prober); /* what it may still say belongs to no question */
        return err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, question->name,
                       "the process that looks at the web server died");
    }
    terminate(answer, question->what);
    if (!answer->ok && !err_isset(&answer->err))
        return err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, question->name,
                       "the process that looks at the web server failed");
    if (!answer->ok)
        *err = answer->err;
    return answer->ok;
}

static bool make_question(const char *address, int port, const char *name, const char *path, int timeout_ms,
                          struct probe_question *out, struct err *err)
{
    memset(out, 0, sizeof *out); /* padding too: nothing of our memory crosses by accident */
    out->port = port;
    out->timeout_ms = timeout_ms;
    if ((size_t)snprintf(out->address, sizeof out->address, "%s", address) >= sizeof out->address ||
        (size_t)snprintf(out->name, sizeof out->name, "%s", name) >= sizeof out->name ||
        (size_t)snprintf(out->path, sizeof out->path, "%s", path) >= sizeof out->path)
        return err_set(err, ERR_INTERNAL, NEXT_LOCAL_FAULT, name, "a question to the web server is too long");
    return true;
}

bool role_probe_tls(const char *address, int port, const char *name, enum probe_kind kind, int timeout_ms,
                    struct probe_tls *out, struct err *err)
{
    struct probe_question question;
    struct probe_answer answer;
    if (!make_question(address, port, name, "", timeout_ms, &question, err))
        return false;
    question.what = PROBE_HANDSHAKE;
    question.kind = kind;
    if (!probe(&question, &answer, err))
        return false;
    *out = answer.result.tls;
    return true;
}

bool role_probe_starttls(const char *address, int port, const char *name, enum starttls protocol,
                         enum probe_kind kind, int timeout_ms, struct probe_tls *out, struct err *err)
{
    struct probe_question question;
    struct probe_answer answer;
    if (!make_question(address, port, name, "", timeout_ms, &question, err))
        return false;
    question.what = PROBE_SERVICE;
    question.kind = kind;
    question.protocol = protocol;
    if (!probe(&question, &answer, err))
        return false;
    *out = answer.result.tls;
    return true;
}

bool role_probe_http(const char *address, int port, bool tls, const char *name, const char *path,
                     int timeout_ms, struct probe_http *out, struct err *err)
{
    struct probe_question question;
    struct probe_answer answer;
    if (!make_question(address, port, name, path, timeout_ms, &question, err))
        return false;
    question.tls = tls;
    if (!probe(&question, &answer, err))
        return false;
    *out = answer.result.http;
    return true;
}

/* Only what is an address in its usual form is taken. */
static bool take_address(const char *text, struct strlist *to)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    char usual[INET6_ADDRSTRLEN];
    int family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
    if (inet_pton(family, text, bytes) != 1 || inet_ntop(family, bytes, usual, sizeof usual) == NULL ||
        strcmp(usual, text) != 0)
        return false;
    if (!strlist_has(to, usual))
        strlist_add(to, usual);
    return true;
}

/* `index`: the number that it was begun under. */
static bool resolve_numbered(const char *name, int index, int timeout_ms, struct strlist *addresses,
                             struct err *err)
{
    struct probe_question question;
    struct probe_answer answer;
    if (!make_question("", index, name, "", timeout_ms, &question, err))
        return false;
    question.what = PROBE_RESOLVE;
    if (!probe(&question, &answer, err))
        return false;
    for (unsigned i = 0; i < answer.result.addresses.n; i++)
        if (!take_address(answer.result.addresses.v[i], addresses))
            return err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, name,
                           "the process that looks names up gave something that is no address");
    return true;
}

bool role_probe_resolve(const char *name, int timeout_ms, struct strlist *addresses, struct err *err)
{
    return resolve_numbered(name, -1, timeout_ms, addresses, err);
}

/* What cannot be begun is told when its answer is asked for. */
static void begin_lookup(const char *name, int index, int timeout_ms)
{
    struct probe_question question;
    struct err ignored = ERR_INIT;
    if (prober.fd < 0 || !make_question("", index, name, "", timeout_ms, &question, &ignored))
        return;
    question.what = PROBE_LOOKUP;
    (void)!send(prober.fd, &question, sizeof question, MSG_NOSIGNAL);
}

void role_probe_resolve_all(struct role_lookup *v, size_t n, int timeout_ms)
{
    size_t n_now = n < ROLE_LOOKUPS_MAX ? n : ROLE_LOOKUPS_MAX;
    for (size_t i = 0; i < n_now; i++)
        begin_lookup(v[i].name, (int)i, timeout_ms);
    for (size_t i = 0; i < n_now; i++)
        v[i].ok = resolve_numbered(v[i].name, (int)i, timeout_ms, &v[i].addresses, &v[i].err);
    size_t silent = 0;
    for (size_t i = 0; i < n_now; i++)
        silent += !v[i].ok && v[i].err.code == ERR_TIMEOUT;
    if (n > n_now && silent < n_now)
        role_probe_resolve_all(v + n_now, n - n_now, timeout_ms);
    for (size_t i = n_now; silent == n_now && i < n; i++)
        v[i].err = v[0].err; /* name servers that say nothing are not asked for the rest */
}
