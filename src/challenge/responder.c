#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/responder.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listeners.h"
#include "tlsup/b64.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/port.h"

#define MAX_CONNECTIONS 64
#define MAX_TOKENS 4096
#define HEAD_TIMEOUT_MS 10000
#define ANSWER_TIMEOUT_MS 10000
#define LINGER_TIMEOUT_MS 2000
#define LINGER_MAX_BYTES 262144
#define READ_BYTES 2048
#define READS_PER_CALL 16

static const char challenge_prefix[] = "/.well-known/acme-challenge/";

_Static_assert(MAX_CONNECTIONS + RESPONDER_MAX_LISTENERS == RESPONDER_MAX_POLLFDS, "pollfds hold all");
_Static_assert(RESPONDER_MAX_LISTENERS == LISTENERS_MAX, "no listener is lost");

/* -- the request head ------------------------------------------------------------------------------------ */

enum head_state {
    HEAD_START, /* empty lines before the request line */
    HEAD_START_CR,
    HEAD_METHOD,
    HEAD_TARGET,
    HEAD_VERSION,
    HEAD_VERSION_CR,
    HEAD_FIELD_START,
    HEAD_FIELD_NAME,
    HEAD_FIELD_VALUE,
    HEAD_FIELD_CR,
    HEAD_END_CR,
    HEAD_COMPLETE,
    HEAD_BAD,
};

/* tchar of RFC 9110 section 5.6.2 */
static bool is_token_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_field_char(unsigned char c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7F);
}

/* Keep what fits, and count the rest. */
static void collect(struct responder_head *head, char *word, size_t size, unsigned char c)
{
    if (head->word_len < size)
        word[head->word_len] = (char)c;
    head->word_len++;
}

static enum head_state begin_word(struct responder_head *head, enum head_state next)
{
    head->word_len = 0;
    return next;
}

static enum head_state step_start(struct responder_head *head, unsigned char c)
{
    if (c == '\n')
        return HEAD_START;
    if (c == '\r')
        return HEAD_START_CR;
    if (!is_token_char(c))
        return HEAD_BAD;
    collect(head, head->method, sizeof head->method, c);
    return HEAD_METHOD;
}

static enum head_state step_method(struct responder_head *head, unsigned char c)
{
    if (c == ' ') {
        if (head->word_len < sizeof head->method)
            head->method[head->word_len] = '\0';
        else
            head->method[0] = '\0'; /* longer than those we know */
        head->is_head = strcmp(head->method, "HEAD") == 0;
        return begin_word(head, HEAD_TARGET);
    }
    if (!is_token_char(c))
        return HEAD_BAD;
    collect(head, head->method, sizeof head->method, c);
    return HEAD_METHOD;
}

static enum head_state step_target(struct responder_head *head, unsigned char c)
{
    if (c == ' ') {
        if (head->word_len == 0)
            return HEAD_BAD;
        /* the limit on the whole head is the size of `target`, and a method came before */
        head->target[head->word_len] = '\0';
        return begin_word(head, HEAD_VERSION);
    }
    if (c <= 0x20 || c >= 0x7F)
        return HEAD_BAD;
    collect(head, head->target, sizeof head->target, c);
    return HEAD_TARGET;
}

static bool good_version(const struct responder_head *head)
{
    return head->word_len == sizeof head->version && memcmp(head->version, "HTTP/1.", 7) == 0 &&
           head->version[7] >= '0' && head->version[7] <= '9';
}

static enum head_state step_version(struct responder_head *head, unsigned char c)
{
    if (c == '\n' || c == '\r') {
        if (!good_version(head))
            return HEAD_BAD;
        return c == '\n' ? HEAD_FIELD_START : HEAD_VERSION_CR;
    }
    if (head->word_len == sizeof head->version)
        return HEAD_BAD;
    collect(head, head->version, sizeof head->version, c);
    return HEAD_VERSION;
}

static enum head_state step_field_start(unsigned char c)
{
    if (c == '\n')
        return HEAD_COMPLETE;
    if (c == '\r')
        return HEAD_END_CR;
    return is_token_char(c) ? HEAD_FIELD_NAME : HEAD_BAD;
}

static enum head_state step_field(enum head_state state, unsigned char c)
{
    if (state == HEAD_FIELD_NAME) {
        if (c == ':')
            return HEAD_FIELD_VALUE;
        return is_token_char(c) ? HEAD_FIELD_NAME : HEAD_BAD;
    }
    if (c == '\n')
        return HEAD_FIELD_START;
    if (c == '\r')
        return HEAD_FIELD_CR;
    return is_field_char(c) ? HEAD_FIELD_VALUE : HEAD_BAD;
}

static enum head_state head_step(struct responder_head *head, unsigned char c)
{
    switch ((enum head_state)head->state) {
    case HEAD_START:
        return step_start(head, c);
    case HEAD_START_CR:
        return c == '\n' ? HEAD_START : HEAD_BAD;
    case HEAD_METHOD:
        return step_method(head, c);
    case HEAD_TARGET:
        return step_target(head, c);
    case HEAD_VERSION:
        return step_version(head, c);
    case HEAD_VERSION_CR:
    case HEAD_FIELD_CR:
        return c == '\n' ? HEAD_FIELD_START : HEAD_BAD;
    case HEAD_FIELD_START:
        return step_field_start(c);
    case HEAD_FIELD_NAME:
    case HEAD_FIELD_VALUE:
        return step_field((enum head_state)head->state, c);
    case HEAD_END_CR:
        return c == '\n' ? HEAD_COMPLETE : HEAD_BAD;
    case HEAD_COMPLETE:
    case HEAD_BAD:
        break;
    }
    return (enum head_state)head->state;
}

/* The path of an absolute-form target ("http://example.org/x" has "/x"), of an origin-form one itself, else
 * NULL. */
static const char *target_path(const char *target)
{
    static const char *const schemes[] = {"http://", "https://"};
    if (target[0] == '/')
        return target;
    for (size_t i = 0; i < COUNT_OF(schemes); i++)
        if (strncasecmp(target, schemes[i], strlen(schemes[i])) == 0)
            return strpbrk(target + strlen(schemes[i]), "/?");
    return NULL;
}

/* Nothing is decoded or normalised: a token's alphabet has no '%', '/' or '.', so no other path can mean one.
 */
static bool target_token(const char *target, char token[RESPONDER_TOKEN_MAX + 1])
{
    const char *path = target_path(target);
    size_t prefix_len = strlen(challenge_prefix);
    if (path == NULL || strncmp(path, challenge_prefix, prefix_len) != 0)
        return false;
    size_t len = strcspn(path + prefix_len, "?");
    if (len > RESPONDER_TOKEN_MAX)
        return false;
    memcpy(token, path + prefix_len, len);
    token[len] = '\0';
    return b64url_valid(token, RESPONDER_TOKEN_MAX);
}

static enum responder_verdict head_verdict(struct responder_head *head)
{
    if (!head->is_head && strcmp(head->method, "GET") != 0)
        return RESPONDER_METHOD;
    return target_token(head->target, head->token) ? RESPONDER_OK : RESPONDER_NOT_FOUND;
}

enum responder_verdict responder_head_feed(struct responder_head *head, const void *data, size_t len)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < len; i++) {
        if (head->seen_bytes == RESPONDER_HEAD_MAX_BYTES)
            return RESPONDER_TOO_LARGE;
        head->seen_bytes++;
        head->state = (int)head_step(head, bytes[i]);
        if (head->state == HEAD_BAD)
            return RESPONDER_MALFORMED;
        if (head->state == HEAD_COMPLETE)
            return head_verdict(head);
    }
    return RESPONDER_MORE;
}

/* -- tokens ---------------------------------------------------------------------------------------------- */

struct answer {
    char *token;
    char *key_authorization;
};

enum connection_state { CONN_UNUSED, CONN_DRAINING, CONN_READING, CONN_WRITING };

struct connection {
    enum connection_state state;
    int fd;
    uint64_t serial; /* order of arrival */
    int64_t deadline_ms;
    struct responder_head head;
    bool serves; /* the answer is a key authorization */
    struct buf out;
    size_t sent;
    size_t drained_bytes;
    char peer[LISTENERS_PEER_BYTES];
};

struct responder {
    struct listeners listeners;
    struct connection connections[MAX_CONNECTIONS];
    uint64_t serial;
    struct answer *answers; /* sorted by token */
    size_t n_answers;
    responder_served_fn *served;
    void *ctx;
};

/* Where `token` is, or where it belongs. */
static size_t find_token(const struct responder *responder, const char *token, bool *found)
{
    size_t low = 0, high = responder->n_answers;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(responder->answers[middle].token, token);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool responder_add(struct responder *responder, const char *token, const char *key_authorization)
{
    bool found;
    if (token == NULL || key_authorization == NULL || !b64url_valid(token, RESPONDER_TOKEN_MAX))
        return false;
    size_t at = find_token(responder, token, &found);
    if (found) {
        char *old = responder->answers[at].key_authorization;
        responder->answers[at].key_authorization = mem_dup(key_authorization);
        free(old);
        return true;
    }
    if (responder->n_answers == MAX_TOKENS)
        return false;
    responder->answers = mem_resize(responder->answers, responder->n_answers + 1, sizeof *responder->answers);
    memmove(responder->answers + at + 1, responder->answers + at,
            (responder->n_answers - at) * sizeof *responder->answers);
    responder->answers[at].token = mem_dup(token);
    responder->answers[at].key_authorization = mem_dup(key_authorization);
    responder->n_answers++;
    return true;
}

void responder_remove(struct responder *responder, const char *token)
{
    bool found;
    if (token == NULL)
        return;
    size_t at = find_token(responder, token, &found);
    if (!found)
        return;
    free(responder->answers[at].token);
    free(responder->answers[at].key_authorization);
    responder->n_answers--;
    memmove(responder->answers + at, responder->answers + at + 1,
            (responder->n_answers - at) * sizeof *responder->answers);
}

/* -- answers --------------------------------------------------------------------------------------------- */

/* IMF-fixdate (RFC 9110 section 5.6.7). Computed here, since libc's gmtime_r() opens the time zone file,
 * which the process that we run in may not. Eras of 400 years beginning on 1 March keep the leap day last. */
static void add_date(struct buf *out)
{
    static const char days[][4] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    static const char months[][4] = {"Mar", "Apr", "May", "Jun", "Jul", "Aug",
                                     "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"};
    int64_t now = clock_now_s();
    if (now < 0)
        return;
    int64_t day = now / 86400, second = now % 86400;
    int64_t era_day = (day + 719468) % 146097, era = (day + 719468) / 146097;
    int64_t era_year = (era_day - era_day / 1460 + era_day / 36524 - era_day / 146096) / 365;
    int64_t year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
    int64_t month = (5 * year_day + 2) / 153; /* 0 is March */
    int64_t month_day = year_day - (153 * month + 2) / 5 + 1;
    int64_t year = era * 400 + era_year + (month >= 10 ? 1 : 0);
    buf_addf(out, "Date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n", days[day % 7], (int)month_day,
             months[month], (int)year, (int)(second / 3600), (int)(second / 60 % 60), (int)(second % 60));
}

static void build_answer(struct connection *conn, enum responder_verdict verdict, const char *body)
{
    static const struct {
        enum responder_verdict verdict;
        const char *reason, *fields;
    } rows[] = {
        {RESPONDER_OK, "OK", "Content-Type: application/octet-stream\r\n"},
        {RESPONDER_MALFORMED, "Bad Request", "Content-Type: text/plain\r\n"},
        {RESPONDER_NOT_FOUND, "Not Found", "Content-Type: text/plain\r\n"},
        {RESPONDER_METHOD, "Method Not Allowed", "Content-Type: text/plain\r\nAllow: GET, HEAD\r\n"},
        {RESPONDER_TOO_LARGE, "Request Header Fields Too Large", "Content-Type: text/plain\r\n"},
    };
    size_t row = 0;
    while (row + 1 < COUNT_OF(rows) && rows[row].verdict != verdict)
        row++;
    AUTO_FREE char *text = body != NULL ? mem_dup(body) : mem_fmt("%s\n", rows[row].reason);
    buf_addf(&conn->out, "HTTP/1.1 %d %s\r\n", (int)rows[row].verdict, rows[row].reason);
    add_date(&conn->out);
    /* a cache in front must not keep the "not found" of a token that comes later */
    buf_addf(&conn->out, "%sContent-Length: %zu\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
             rows[row].fields, strlen(text));
    if (!conn->head.is_head)
        buf_adds(&conn->out, text);
}

/* -- connections ----------------------------------------------------------------------------------------- */

static void close_connection(struct responder *responder, struct connection *conn)
{
    close(conn->fd);
    buf_clear(&conn->out);
    memset(conn, 0, sizeof *conn);
    listeners_resume(&responder->listeners);
}

/* Closing with unread input would send a reset, which can overtake the answer: say that we are done, then
 * read until the peer is done too, within bounds (RFC 9112 section 9.6). */
static void drain(struct responder *responder, struct connection *conn)
{
    char block[READ_BYTES];
    for (int i = 0; i < READS_PER_CALL; i++) {
        ssize_t n = recv(conn->fd, block, sizeof block, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n > 0)
            conn->drained_bytes += (size_t)n;
        if (n <= 0 || conn->drained_bytes > LINGER_MAX_BYTES) {
            close_connection(responder, conn);
            return;
        }
    }
}

static void finish_answer(struct responder *responder, struct connection *conn)
{
    char token[RESPONDER_TOKEN_MAX + 1], peer[LISTENERS_PEER_BYTES];
    bool serves = conn->serves && !conn->head.is_head;
    memcpy(token, conn->head.token, sizeof token);
    memcpy(peer, conn->peer, sizeof peer);
    buf_clear(&conn->out);
    conn->state = CONN_DRAINING;
    conn->deadline_ms = clock_mono_ms() + LINGER_TIMEOUT_MS;
    if (shutdown(conn->fd, SHUT_WR) != 0)
        close_connection(responder, conn);
    else
        drain(responder, conn);
    if (serves && responder->served != NULL)
        responder->served(responder->ctx, token, peer);
}

static void write_some(struct responder *responder, struct connection *conn)
{
    while (conn->sent < conn->out.len) {
        ssize_t n = send(conn->fd, conn->out.data + conn->sent, conn->out.len - conn->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n < 0) {
            close_connection(responder, conn);
            return;
        }
        conn->sent += (size_t)n;
    }
    finish_answer(responder, conn);
}

static void begin_answer(struct responder *responder, struct connection *conn, enum responder_verdict verdict)
{
    const char *body = NULL;
    if (verdict == RESPONDER_OK) {
        size_t at = find_token(responder, conn->head.token, &conn->serves);
        if (conn->serves)
            body = responder->answers[at].key_authorization;
        else
            verdict = RESPONDER_NOT_FOUND;
    }
    bool complete = conn->head.state == HEAD_COMPLETE; /* else the words may have no end yet */
    log_debug("responder: %s %.200s from %s: %d", complete ? conn->head.method : "bad request",
              complete ? conn->head.target : "", conn->peer, (int)verdict);
    build_answer(conn, verdict, body);
    conn->state = CONN_WRITING;
    conn->deadline_ms = clock_mono_ms() + ANSWER_TIMEOUT_MS;
    write_some(responder, conn);
}

static void read_some(struct responder *responder, struct connection *conn)
{
    char block[READ_BYTES];
    for (;;) {
        ssize_t n = recv(conn->fd, block, sizeof block, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0) {
            close_connection(responder, conn);
            return;
        }
        enum responder_verdict verdict = responder_head_feed(&conn->head, block, (size_t)n);
        if (verdict != RESPONDER_MORE) {
            begin_answer(responder, conn, verdict);
            return;
        }
    }
}

static void advance(struct responder *responder, struct connection *conn)
{
    switch (conn->state) {
    case CONN_READING:
        read_some(responder, conn);
        break;
    case CONN_WRITING:
        write_some(responder, conn);
        break;
    case CONN_DRAINING:
        drain(responder, conn);
        break;
    case CONN_UNUSED:
        break;
    }
}

static void expire(struct responder *responder)
{
    int64_t now = clock_mono_ms();
    for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
        struct connection *conn = &responder->connections[i];
        if (conn->state != CONN_UNUSED && now >= conn->deadline_ms)
            close_connection(responder, conn);
    }
}

/* -- accepting ------------------------------------------------------------------------------------------- */

/* Those that have their answer go first, then those that have not asked, last those that are reading it. */
static struct connection *find_victim(struct responder *responder)
{
    struct connection *victim = &responder->connections[0];
    for (size_t i = 1; i < MAX_CONNECTIONS; i++) {
        struct connection *conn = &responder->connections[i];
        if (conn->state < victim->state || (conn->state == victim->state && conn->serial < victim->serial))
            victim = conn;
    }
    return victim;
}

static struct connection *take_slot(struct responder *responder)
{
    struct connection *slot = find_victim(responder);
    if (slot->state == CONN_READING)
        read_some(responder, slot); /* its request may have come in the meantime */
    if (slot->state != CONN_UNUSED) {
        slot = find_victim(responder);
        if (slot->state != CONN_UNUSED)
            close_connection(responder, slot);
    }
    return slot;
}

static void open_connection(void *ctx, int fd, const char *peer)
{
    struct responder *responder = ctx;
    struct connection *conn = take_slot(responder);
    conn->state = CONN_READING;
    conn->fd = fd;
    conn->serial = ++responder->serial;
    conn->deadline_ms = clock_mono_ms() + HEAD_TIMEOUT_MS;
    snprintf(conn->peer, sizeof conn->peer, "%s", peer);
    read_some(responder, conn);
}

/* -- the interface --------------------------------------------------------------------------------------- */

struct responder *responder_new(const int *listeners, size_t n, responder_served_fn *served, void *ctx)
{
    struct responder *responder = mem_alloc(sizeof *responder);
    listeners_init(&responder->listeners, "responder", listeners, n);
    responder->served = served;
    responder->ctx = ctx;
    return responder;
}

void responder_free(struct responder *responder)
{
    if (responder == NULL)
        return;
    listeners_clear(&responder->listeners);
    for (size_t i = 0; i < MAX_CONNECTIONS; i++)
        if (responder->connections[i].state != CONN_UNUSED)
            close_connection(responder, &responder->connections[i]);
    for (size_t i = 0; i < responder->n_answers; i++) {
        free(responder->answers[i].token);
        free(responder->answers[i].key_authorization);
    }
    free(responder->answers);
    free(responder);
}

size_t responder_pollfds(const struct responder *responder, struct pollfd *fds, size_t max)
{
    size_t n = listeners_pollfds(&responder->listeners, fds, max);
    for (size_t i = 0; i < MAX_CONNECTIONS && n < max; i++) {
        const struct connection *conn = &responder->connections[i];
        if (conn->state != CONN_UNUSED)
            fds[n++] =
                (struct pollfd){.fd = conn->fd, .events = conn->state == CONN_WRITING ? POLLOUT : POLLIN};
    }
    return n;
}

/* Connections before listeners: a request that is here is answered before its place can go to another, and a
 * descriptor number is not used again while the array still speaks of its former owner. */
void responder_handle(struct responder *responder, const struct pollfd *fds, size_t n)
{
    for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
        struct connection *conn = &responder->connections[i];
        if (conn->state != CONN_UNUSED && polled_ready(fds, n, conn->fd))
            advance(responder, conn);
    }
    expire(responder);
    listeners_accept(&responder->listeners, fds, n, open_connection, responder);
}

int responder_timeout_ms(const struct responder *responder)
{
    int64_t next = listeners_deadline_ms(&responder->listeners);
    for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
        const struct connection *conn = &responder->connections[i];
        if (conn->state != CONN_UNUSED && conn->deadline_ms < next)
            next = conn->deadline_ms;
    }
    return deadline_timeout_ms(next);
}

/* -- listening ------------------------------------------------------------------------------------------- */

static const int families[] = {AF_INET6, AF_INET};

/* A CA comes for a hundred names at once, from several places: whoever has not asked yet waits in the kernel,
 * where it takes no place from those who have. */
static void defer_accept(int fd)
{
#ifdef TCP_DEFER_ACCEPT
    int wait_s = HEAD_TIMEOUT_MS / 1000;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &wait_s, sizeof wait_s);
#else
    (void)fd;
#endif
}

/* A listening socket, or -1 with errno. */
static int listen_on(int family, int port)
{
    const struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    const struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    const struct sockaddr *address =
        family == AF_INET6 ? (const struct sockaddr *)&v6 : (const struct sockaddr *)&v4;
    socklen_t len = family == AF_INET6 ? sizeof v6 : sizeof v4;
    int on = 1, fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        (family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0) &&
        bind(fd, address, len) == 0 && listen(fd, SOMAXCONN) == 0) {
        defer_accept(fd);
        return fd;
    }
    int errnum = errno;
    close(fd);
    errno = errnum;
    return -1;
}

/* This machine does not have the family at all, which is no failure while the other one is there. */
static bool is_missing_family(int errnum)
{
    return errnum == EAFNOSUPPORT || errnum == EPROTONOSUPPORT || errnum == EADDRNOTAVAIL;
}

static const char *describe_holder(int port, char out[PORT_HOLDER_BYTES])
{
    if (!port_holder(port, out, NULL))
        snprintf(out, PORT_HOLDER_BYTES, "another process");
    return out;
}

/* What a person can do about a port that is taken, by what it is needed for. */
static const char *advise_taken(int port)
{
    static const struct {
        int port;
        const char *advice;
    } rows[] = {
        {80, "stop that program while the challenge is answered, or let it serve the challenge: give its web "
             "root "
             "with --webroot"},
        {443,
         "tls-alpn-01 is answered on port 443 and needs it free: stop that program while the challenge is "
         "answered, or prove the name in another way: by http-01 on port 80, which a web server can answer "
         "(--webroot), or by a DNS record (dns-01)"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (rows[i].port == port)
            return rows[i].advice;
    return "stop that program while the challenge is answered";
}

static bool listen_failed(int port, int errnum, struct err *err)
{
    char holder[PORT_HOLDER_BYTES], subject[32];
    snprintf(subject, sizeof subject, "port %d", port);
    if (errnum == EADDRINUSE) {
        err_set(err, ERR_PORT, NEXT_FIX_CONFIG, subject, "%s is taken by %s", subject,
                describe_holder(port, holder));
        return err_advise(err, "%s", advise_taken(port));
    }
    if (errnum == EACCES || errnum == EPERM) {
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, subject, "no permission to listen on %s", subject);
        return err_advise(err, "%s",
                          geteuid() == 0
                              ? "a security policy of this system (SELinux, AppArmor, a container) forbids "
                                "it: allow it there"
                              : "run it as root (sudo), or give it the capability CAP_NET_BIND_SERVICE");
    }
    if (is_missing_family(errnum))
        return err_set(err, ERR_NETWORK, NEXT_LOCAL_FAULT, subject,
                       "cannot listen on %s: this machine has neither IPv6 nor IPv4", subject);
    return err_errno(err, errnum, subject, "cannot listen on %s", subject);
}

/* Only a family that this machine lacks may be missing: the CA asks over IPv6 and IPv4 as it likes, and
 * whoever held the other one would answer in our place. */
bool responder_listen(int port, int fds[2], size_t *n, struct err *err)
{
    int listening[COUNT_OF(families)], missing = 0;
    size_t found = 0;
    if (port < 0 || port > UINT16_MAX)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", "%d is not a port number", port);
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        int fd = listen_on(families[i], port);
        if (fd >= 0) {
            listening[found++] = fd;
        } else if (is_missing_family(errno)) {
            missing = errno;
        } else {
            int failure = errno;
            while (found > 0)
                close(listening[--found]);
            return listen_failed(port, failure, err);
        }
    }
    if (found == 0)
        return listen_failed(port, missing, err);
    memcpy(fds, listening, found * sizeof *fds);
    *n = found;
    return true;
}
