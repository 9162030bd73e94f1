/*
 * test_responder.c - a CA gets its answer, whoever else is at the door.
 *
 * Everything goes over real sockets on loopback. The responder and its clients share this thread, so each
 * loop moves both; loops are bounded by real time, deadlines of the responder are driven by the frozen clock.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tlsup/clock.h"
#include "tlsup/mem.h"
#include "tlsup/responder.h"

#define EXIT_SKIP 77
#define TOKEN "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
#define KEY_AUTHORIZATION TOKEN ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
#define PATH "/.well-known/acme-challenge/"
#define GET_TOKEN "GET " PATH TOKEN " HTTP/1.1\r\nHost: example.org\r\n\r\n"
#define BOUND_MS 20000 /* of real time: a loop that lasts longer has failed */
#define FROZEN_S 784111777
#define FROZEN_MS 1000000

/* -- the stage ------------------------------------------------------------------------------------------- */

struct stage {
    struct responder *responder;
    int port, port6; /* port6 is 0 without IPv6 */
    int served;
    char token[256], peer[64];
};

static int64_t real_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void count_served(void *ctx, const char *token, const char *peer)
{
    struct stage *stage = ctx;
    stage->served++;
    snprintf(stage->token, sizeof stage->token, "%s", token);
    snprintf(stage->peer, sizeof stage->peer, "%s", peer);
}

/* A blocking listener (the responder makes it non-blocking); IPv6 ones take IPv4 too. */
static int loopback_listener(int family, int *port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
    struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
    socklen_t len = family == AF_INET ? sizeof v4 : sizeof v6;
    int off = 0, fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, address, len) != 0 || listen(fd, 512) != 0 || getsockname(fd, address, &len) != 0) {
        close(fd);
        return -1;
    }
    *port = ntohs(family == AF_INET ? v4.sin_port : v6.sin6_port);
    return fd;
}

static int setup(void **state)
{
    struct stage *stage = mem_alloc(sizeof *stage);
    int listeners[2];
    size_t n = 0;
    clock_freeze(FROZEN_S, FROZEN_MS);
    listeners[n++] = loopback_listener(AF_INET, &stage->port);
    if (listeners[0] < 0)
        return -1;
    listeners[n] = loopback_listener(AF_INET6, &stage->port6);
    if (listeners[n] >= 0)
        n++;
    stage->responder = responder_new(listeners, n, count_served, stage);
    *state = stage;
    return responder_add(stage->responder, TOKEN, KEY_AUTHORIZATION) ? 0 : -1;
}

static int teardown(void **state)
{
    struct stage *stage = *state;
    responder_free(stage->responder);
    free(stage);
    clock_thaw();
    return 0;
}

/* One round of the owner's loop; waits a moment of real time at most. */
static void pump(struct stage *stage)
{
    struct pollfd fds[RESPONDER_MAX_POLLFDS];
    size_t n = responder_pollfds(stage->responder, fds, COUNT_OF(fds));
    assert_true(poll(fds, n, 1) >= 0);
    responder_handle(stage->responder, fds, n);
}

static size_t connections(const struct stage *stage)
{
    struct pollfd fds[RESPONDER_MAX_POLLFDS];
    size_t n = responder_pollfds(stage->responder, fds, COUNT_OF(fds)), listeners = 0;
    for (size_t i = 0; i < n; i++) {
        int listens = 0;
        socklen_t len = sizeof listens;
        assert_int_equal(getsockopt(fds[i].fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len), 0);
        listeners += listens ? 1 : 0;
    }
    return n - listeners;
}

static void wait_for_connections(struct stage *stage, size_t n)
{
    int64_t end = real_ms() + BOUND_MS;
    while (connections(stage) != n) {
        assert_true(real_ms() < end);
        pump(stage);
    }
}

/* -- clients --------------------------------------------------------------------------------------------- */

struct client {
    int fd;
    struct buf in;
    bool ended; /* the orderly end of the answer */
    bool reset;
};

static struct client client_connect(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct client client = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    assert_true(client.fd >= 0);
    int rc = connect(client.fd, (struct sockaddr *)&address, sizeof address);
    assert_true(rc == 0 || errno == EINPROGRESS);
    return client;
}

static void client_close(struct client *client)
{
    close(client->fd);
    buf_clear(&client->in);
}

/* Close with a reset instead of an orderly end. */
static void client_abort(struct client *client)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    client_close(client);
}

/* Send what the socket takes; how much that was. */
static size_t client_send(struct client *client, const void *data, size_t len)
{
    ssize_t n = send(client->fd, data, len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        client->reset = true;
    return n > 0 ? (size_t)n : 0;
}

static void client_read(struct client *client)
{
    char block[65536];
    for (ssize_t n;
         !client->ended && !client->reset && (n = recv(client->fd, block, sizeof block, 0)) != -1;) {
        if (n == 0)
            client->ended = true;
        buf_add(&client->in, block, (size_t)n);
    }
    if (!client->ended && !client->reset && errno != EAGAIN)
        client->reset = true;
}

static void send_all(struct stage *stage, struct client *client, const void *data, size_t len)
{
    int64_t end = real_ms() + BOUND_MS;
    for (size_t sent = 0; sent < len && !client->reset;) {
        assert_true(real_ms() < end);
        sent += client_send(client, (const char *)data + sent, len - sent);
        pump(stage);
    }
}

static void read_to_the_end(struct stage *stage, struct client *client)
{
    int64_t end = real_ms() + BOUND_MS;
    while (!client->ended && !client->reset) {
        assert_true(real_ms() < end);
        pump(stage);
        client_read(client);
    }
}

/* Send a request, take the answer to its end; the caller clears it. */
static void exchange_bytes(struct stage *stage, const void *request, size_t len, struct buf *answer)
{
    struct client client = client_connect(stage->port);
    send_all(stage, &client, request, len);
    read_to_the_end(stage, &client);
    assert_false(client.reset);
    buf_add(answer, client.in.data, client.in.len);
    client_close(&client);
}

static void exchange(struct stage *stage, const char *request, struct buf *answer)
{
    exchange_bytes(stage, request, strlen(request), answer);
}

static int status_of(const struct buf *answer)
{
    int status = 0;
    return sscanf(buf_str(answer), "HTTP/1.1 %d ", &status) == 1 ? status : 0;
}

static const char *body_of(const struct buf *answer)
{
    const char *end = strstr(buf_str(answer), "\r\n\r\n");
    return end != NULL ? end + 4 : "(no head)";
}

static void expect_status(struct stage *stage, const char *request, int status)
{
    AUTO_BUF answer = BUF_INIT;
    exchange(stage, request, &answer);
    if (status_of(&answer) != status)
        fail_msg("%d wanted for [%.200s], got [%.100s]", status, request, buf_str(&answer));
}

static void expect_served(struct stage *stage, struct client *client, const char *body)
{
    read_to_the_end(stage, client);
    assert_false(client->reset);
    assert_int_equal(status_of(&client->in), 200);
    assert_string_equal(body_of(&client->in), body);
}

/* -- answers --------------------------------------------------------------------------------------------- */

static void test_get(void **state)
{
    struct stage *stage = *state;
    AUTO_BUF answer = BUF_INIT;
    exchange(stage, GET_TOKEN, &answer);
    AUTO_FREE char *wanted = mem_fmt("HTTP/1.1 200 OK\r\n"
                                     "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                                     "Content-Type: application/octet-stream\r\n"
                                     "Content-Length: %zu\r\n"
                                     "Cache-Control: no-store\r\n"
                                     "Connection: close\r\n\r\n"
                                     "%s",
                                     strlen(KEY_AUTHORIZATION), KEY_AUTHORIZATION);
    assert_string_equal(buf_str(&answer), wanted);
    assert_int_equal(stage->served, 1);
    assert_string_equal(stage->token, TOKEN);
    assert_string_equal(stage->peer, "127.0.0.1");
    wait_for_connections(stage, 0);
    assert_int_equal(responder_timeout_ms(stage->responder), -1);
}

static void test_head_has_the_same_fields_and_no_body(void **state)
{
    struct stage *stage = *state;
    AUTO_BUF head = BUF_INIT;
    AUTO_BUF get = BUF_INIT;
    exchange(stage, "HEAD " PATH TOKEN " HTTP/1.1\r\n\r\n", &head);
    assert_int_equal(stage->served, 0); /* the key authorization did not go out */
    exchange(stage, GET_TOKEN, &get);
    assert_string_equal(body_of(&head), "");
    assert_memory_equal(head.data, get.data, head.len);
    AUTO_BUF missing = BUF_INIT;
    exchange(stage, "HEAD /x HTTP/1.1\r\n\r\n", &missing);
    assert_int_equal(status_of(&missing), 404);
    assert_string_equal(body_of(&missing), "");
}

static void test_other_methods(void **state)
{
    struct stage *stage = *state;
    static const char *const methods[] = {"POST", "OPTIONS", "PUT",   "DELETE", "CONNECT",
                                          "get",  "GETX",    "HEADS", "G",      "AVERYLONGMETHODNAME"};
    for (size_t i = 0; i < COUNT_OF(methods); i++) {
        AUTO_BUF answer = BUF_INIT;
        AUTO_FREE char *request =
            mem_fmt("%s " PATH TOKEN " HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", methods[i]);
        exchange(stage, request, &answer);
        assert_int_equal(status_of(&answer), 405);
        assert_non_null(strstr(buf_str(&answer), "\r\nAllow: GET, HEAD\r\n"));
    }
    expect_status(stage, "OPTIONS * HTTP/1.1\r\n\r\n", 405);
    assert_int_equal(stage->served, 0);
}

static const struct {
    const char *target;
    int status;
} targets[] = {
    {PATH TOKEN, 200},
    {PATH TOKEN "?", 200},
    {PATH TOKEN "?x=/../y", 200},
    {"http://example.org" PATH TOKEN, 200},
    {"HTTP://example.org:80" PATH TOKEN "?q", 200},
    {"https://[2001:db8::1]" PATH TOKEN, 200},
    {PATH "unknown", 404},
    {PATH, 404},
    {PATH "?" TOKEN, 404},
    {PATH TOKEN "/", 404},
    {PATH TOKEN "x", 404},
    {PATH TOKEN "#x", 404},
    {PATH TOKEN ";x", 404},
    {PATH TOKEN "%20", 404},
    {PATH "%65vaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA", 404},
    {PATH "../../etc/passwd", 404},
    {PATH "..%2f..%2fetc/passwd", 404},
    {PATH "./" TOKEN, 404},
    {PATH "/" TOKEN, 404},
    {"/" PATH TOKEN, 404},
    {"/x/.." PATH TOKEN, 404},
    {"/.well-known/ACME-challenge/" TOKEN, 404},
    {"/.well-known%2facme-challenge/" TOKEN, 404},
    {"/.well-known/acme-challenge" TOKEN, 404},
    {"/.well-known/acme-challenge", 404},
    {"/", 404},
    {"/favicon.ico", 404},
    {"*", 404},
    {"example.org:443", 404},
    {"http://", 404},
    {"http://example.org", 404},
    {"http://example.org?" PATH TOKEN, 404},
    {"ftp://example.org" PATH TOKEN, 404},
    {"http:" PATH TOKEN, 404},
    {TOKEN, 404},
};

static void test_targets(void **state)
{
    struct stage *stage = *state;
    for (size_t i = 0; i < COUNT_OF(targets); i++) {
        AUTO_FREE char *request = mem_fmt("GET %s HTTP/1.1\r\n\r\n", targets[i].target);
        expect_status(stage, request, targets[i].status);
    }
    char long_token[RESPONDER_TOKEN_MAX + 2];
    memset(long_token, 'a', sizeof long_token - 1);
    long_token[sizeof long_token - 1] = '\0';
    AUTO_FREE char *too_long = mem_fmt("GET " PATH "%s HTTP/1.1\r\n\r\n", long_token);
    expect_status(stage, too_long, 404);
    assert_true(responder_add(stage->responder, long_token + 1, "x"));
    AUTO_FREE char *longest = mem_fmt("GET " PATH "%s HTTP/1.1\r\n\r\n", long_token + 1);
    expect_status(stage, longest, 200);
}

static const char *const good_heads[] = {
    "GET " PATH TOKEN " HTTP/1.0\r\n\r\n",
    "GET " PATH TOKEN " HTTP/1.1\r\n\r\n",
    "GET " PATH TOKEN " HTTP/1.1\n\n",
    "GET " PATH TOKEN " HTTP/1.1\nHost: a\r\nX: y\n\r\n",
    "\r\n\n\r\nGET " PATH TOKEN " HTTP/1.1\r\n\r\n",
    "GET " PATH TOKEN " HTTP/1.1\r\nHost: evil.example\r\nHost: [::1]:80\r\nHost:\r\n\r\n",
    "GET " PATH TOKEN " HTTP/1.1\r\nX:\ty \xFF\x80\t\r\n\r\n",
    "GET " PATH TOKEN
    " HTTP/1.1\r\nUser-Agent: Mozilla/5.0 (compatible; validation server)\r\nAccept: */*\r\n"
    "Accept-Encoding: gzip\r\nConnection: close\r\n\r\n",
};

/* Refused at the first byte that shows it, so that no connection waits for an end that never comes. */
static const char *const bad_heads[] = {
    " GET / HTTP/1.1\r\n\r\n",
    "GET  / HTTP/1.1\r\n\r\n",
    "GET /  HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1 \r\n\r\n",
    "GET /\r\n",
    "GET\r\n",
    "GET /\tHTTP/1.1\r\n\r\n",
    "GET / HTTP/2.0\r\n",
    "GET / HTTP/1.x\r\n",
    "GET / HTTP/1\r\n",
    "GET / HTTP/1.11",
    "GET / http/1.1\r\n",
    "GET / HTTPS/1.1",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "GET / HTTP/1.1\rX",
    "GET / HTTP/1.1\r\n X: folded first\r\n\r\n",
    "GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
    "GET / HTTP/1.1\r\nA : b\r\n\r\n",
    "GET / HTTP/1.1\r\n: b\r\n\r\n",
    "GET / HTTP/1.1\r\nno-colon\r\n\r\n",
    "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
    "GET / HTTP/1.1\r\nA: \x01\r\n\r\n",
    "GET / HTTP/1.1\r\nA: \x7F\r\n\r\n",
    "GET / HTTP/1.1\r\n\rX",
    "GET /\xC3\xBC HTTP/1.1\r\n\r\n",
    "GET /\x1B HTTP/1.1\r\n\r\n",
    "G\xCBT / HTTP/1.1\r\n\r\n",
    "\rGET / HTTP/1.1\r\n\r\n",
    "\x16\x03\x01\x02",
    "<html>",
    "{\"a\": 1}",
    "(:;",
};

static void test_good_heads(void **state)
{
    for (size_t i = 0; i < COUNT_OF(good_heads); i++)
        expect_status(*state, good_heads[i], 200);
}

static void test_bad_heads(void **state)
{
    for (size_t i = 0; i < COUNT_OF(bad_heads); i++)
        expect_status(*state, bad_heads[i], 400);
}

static void test_nul_bytes(void **state)
{
    struct stage *stage = *state;
    static const struct {
        const char *bytes;
        size_t len;
    } rows[] = {
        {"\0", 1},
        {"GET\0/ HTTP/1.1\r\n\r\n", 18},
        {"GET " PATH TOKEN "\0 HTTP/1.1\r\n\r\n", sizeof "GET " PATH TOKEN "\0 HTTP/1.1\r\n\r\n" - 1},
        {"GET " PATH TOKEN " HTTP/1.1\0\r\n\r\n", sizeof "GET " PATH TOKEN " HTTP/1.1\0\r\n\r\n" - 1},
        {"GET " PATH TOKEN " HTTP/1.1\r\nA\0B: c\r\n\r\n",
         sizeof "GET " PATH TOKEN " HTTP/1.1\r\nA\0B: c\r\n\r\n" - 1},
        {"GET " PATH TOKEN " HTTP/1.1\r\nA: b\0\r\n\r\n",
         sizeof "GET " PATH TOKEN " HTTP/1.1\r\nA: b\0\r\n\r\n" - 1},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_BUF answer = BUF_INIT;
        exchange_bytes(stage, rows[i].bytes, rows[i].len, &answer);
        assert_int_equal(status_of(&answer), 400);
    }
    assert_int_equal(stage->served, 0);
}

/* The verdict does not depend on how the network cut the bytes. */
static void test_parser_in_any_pieces(void **state)
{
    (void)state;
    struct responder_head *head = mem_alloc(sizeof *head);
    for (size_t i = 0; i < COUNT_OF(good_heads) + COUNT_OF(bad_heads); i++) {
        bool good = i < COUNT_OF(good_heads);
        const char *text = good ? good_heads[i] : bad_heads[i - COUNT_OF(good_heads)];
        for (size_t piece = 1; piece <= strlen(text); piece++) {
            enum responder_verdict verdict = RESPONDER_MORE;
            memset(head, 0, sizeof *head);
            for (size_t at = 0; at < strlen(text) && verdict == RESPONDER_MORE; at += piece) {
                size_t left = strlen(text) - at;
                verdict = responder_head_feed(head, text + at, left < piece ? left : piece);
            }
            assert_int_equal(verdict, good ? RESPONDER_OK : RESPONDER_MALFORMED);
            if (good)
                assert_string_equal(head->token, TOKEN);
        }
    }
    free(head);
}

static void test_head_size_limit(void **state)
{
    struct stage *stage = *state;
    for (size_t size = RESPONDER_HEAD_MAX_BYTES - 1; size <= RESPONDER_HEAD_MAX_BYTES + 1; size++) {
        AUTO_BUF request = BUF_INIT;
        buf_adds(&request, "GET " PATH TOKEN " HTTP/1.1\r\nX: ");
        while (request.len < size - 4)
            buf_addc(&request, 'x');
        buf_adds(&request, "\r\n\r\n");
        assert_int_equal(request.len, size);
        expect_status(stage, buf_str(&request), size <= RESPONDER_HEAD_MAX_BYTES ? 200 : 431);
    }
}

/* Far more than is read: the answer must come through all the same, not a reset. */
static void test_huge_heads(void **state)
{
    static const char *const starts[] = {"GET /", "GET " PATH TOKEN " HTTP/1.1\r\nX: ", "X", "\r\n"};
    for (size_t i = 0; i < COUNT_OF(starts); i++) {
        AUTO_BUF request = BUF_INIT;
        AUTO_BUF answer = BUF_INIT;
        buf_adds(&request, starts[i]);
        while (request.len < 100000)
            buf_addc(&request, starts[i][0] == '\r' ? '\n' : 'x');
        exchange_bytes(*state, request.data, request.len, &answer);
        assert_int_equal(status_of(&answer), 431);
    }
}

static void test_pipelined_junk(void **state)
{
    struct stage *stage = *state;
    AUTO_BUF request = BUF_INIT;
    AUTO_BUF answer = BUF_INIT;
    buf_adds(&request, GET_TOKEN);
    for (int i = 0; i < 1000; i++)
        buf_adds(&request, GET_TOKEN);
    exchange_bytes(stage, request.data, request.len, &answer);
    assert_int_equal(status_of(&answer), 200);
    assert_string_equal(body_of(&answer), KEY_AUTHORIZATION);
    assert_int_equal(stage->served, 1);
}

static void test_binary_garbage(void **state)
{
    struct stage *stage = *state;
    unsigned seed = 12345;
    for (int round = 0; round < 200; round++) {
        unsigned char bytes[600];
        struct client client = client_connect(stage->port);
        for (size_t i = 0; i < sizeof bytes; i++) {
            seed = seed * 1103515245 + 12345;
            bytes[i] = (unsigned char)(seed >> 16);
        }
        send_all(stage, &client, bytes, sizeof bytes);
        assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
        read_to_the_end(stage, &client);
        assert_true(client.in.len == 0 || status_of(&client.in) == 400);
        client_close(&client);
    }
    expect_status(stage, GET_TOKEN, 200);
    assert_int_equal(stage->served, 1);
}

static void test_dates(void **state)
{
    struct stage *stage = *state;
    static const int64_t times[] = {0,          951782399,  951782400,  951868800,  1709164799, 1709251199,
                                    1709251200, 1735689599, 1735689600, 4107542400, 4107542399, 253402300799};
    for (size_t i = 0; i < COUNT_OF(times); i++) {
        AUTO_BUF answer = BUF_INIT;
        char wanted[64];
        struct tm tm;
        time_t when = (time_t)times[i];
        assert_non_null(gmtime_r(&when, &tm));
        strftime(wanted, sizeof wanted, "\r\nDate: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
        clock_freeze(times[i], FROZEN_MS);
        exchange(stage, GET_TOKEN, &answer);
        assert_non_null(strstr(buf_str(&answer), wanted));
    }
}

/* -- slow and rude clients ------------------------------------------------------------------------------- */

static void test_one_byte_at_a_time(void **state)
{
    struct stage *stage = *state;
    struct client client = client_connect(stage->port);
    for (const char *c = GET_TOKEN; *c != '\0'; c++) {
        assert_int_equal(stage->served, 0);
        send_all(stage, &client, c, 1);
    }
    expect_served(stage, &client, KEY_AUTHORIZATION);
    assert_int_equal(stage->served, 1);
    client_close(&client);
}

static void test_client_that_never_sends(void **state)
{
    struct stage *stage = *state;
    struct client client = client_connect(stage->port);
    wait_for_connections(stage, 1);
    assert_int_equal(responder_timeout_ms(stage->responder), 10000);
    clock_freeze(FROZEN_S, FROZEN_MS + 9999);
    assert_int_equal(responder_timeout_ms(stage->responder), 1);
    pump(stage);
    assert_int_equal(connections(stage), 1);
    clock_freeze(FROZEN_S, FROZEN_MS + 10000);
    assert_int_equal(responder_timeout_ms(stage->responder), 0);
    read_to_the_end(stage, &client);
    assert_int_equal(client.in.len, 0);
    assert_int_equal(connections(stage), 0);
    assert_int_equal(responder_timeout_ms(stage->responder), -1);
    client_close(&client);
}

static void test_slowloris(void **state)
{
    struct stage *stage = *state;
    struct client client = client_connect(stage->port);
    send_all(stage, &client, "GET / HTTP/1.1\r\n", 16);
    wait_for_connections(stage, 1);
    for (int second = 1; second < 10; second++) {
        clock_freeze(FROZEN_S, FROZEN_MS + second * 1000);
        send_all(stage, &client, "X: y\r\n", 6);
        pump(stage);
        assert_int_equal(connections(stage), 1);
    }
    clock_freeze(FROZEN_S, FROZEN_MS + 10000);
    wait_for_connections(stage, 0);
    client_close(&client);
}

#define BIG_BYTES ((size_t)16 << 20) /* more than any socket buffer takes */

static char *big_text(char fill)
{
    char *text = mem_alloc(BIG_BYTES + 1);
    memset(text, fill, BIG_BYTES);
    return text;
}

static void test_client_that_never_reads(void **state)
{
    struct stage *stage = *state;
    AUTO_FREE char *big = big_text('b');
    assert_true(responder_add(stage->responder, TOKEN, big));
    struct client client = client_connect(stage->port);
    send_all(stage, &client, GET_TOKEN, strlen(GET_TOKEN));
    for (int i = 0; i < 50; i++)
        pump(stage);
    assert_int_equal(connections(stage), 1);
    assert_int_equal(stage->served, 0);
    expect_status(stage, "GET /x HTTP/1.1\r\n\r\n", 404); /* others are not held up */
    clock_freeze(FROZEN_S, FROZEN_MS + 10000);
    wait_for_connections(stage, 0);
    assert_int_equal(stage->served, 0);
    client_close(&client);
}

static void test_slow_reader_gets_it_whole(void **state)
{
    struct stage *stage = *state;
    AUTO_FREE char *big = big_text('b');
    AUTO_FREE char *other = big_text('c');
    assert_true(responder_add(stage->responder, TOKEN, big));
    struct client client = client_connect(stage->port);
    send_all(stage, &client, GET_TOKEN, strlen(GET_TOKEN));
    wait_for_connections(stage, 1);
    assert_int_equal(stage->served, 0);
    /* what is being written stays as it was */
    assert_true(responder_add(stage->responder, TOKEN, other));
    responder_remove(stage->responder, TOKEN);
    expect_served(stage, &client, big);
    assert_int_equal(stage->served, 1);
    client_close(&client);
}

static void test_reset_while_reading_and_writing(void **state)
{
    struct stage *stage = *state;
    AUTO_FREE char *big = big_text('b');
    assert_true(responder_add(stage->responder, TOKEN, big));
    struct client early = client_connect(stage->port);
    client_abort(&early); /* before accept */
    pump(stage);
    struct client reading = client_connect(stage->port);
    send_all(stage, &reading, "GET ", 4);
    wait_for_connections(stage, 1);
    client_abort(&reading);
    wait_for_connections(stage, 0);
    struct client writing = client_connect(stage->port);
    send_all(stage, &writing, GET_TOKEN, strlen(GET_TOKEN));
    wait_for_connections(stage, 1);
    client_abort(&writing);
    wait_for_connections(stage, 0);
    assert_int_equal(stage->served, 0);
    assert_true(responder_add(stage->responder, TOKEN, "small"));
    expect_status(stage, GET_TOKEN, 200);
}

/* Writing to a connection that is gone both ways raises SIGPIPE where it is not asked not to. */
static void test_no_sigpipe(void **state)
{
    struct stage *stage = *state;
    struct client client = client_connect(stage->port);
    assert_int_equal(client_send(&client, GET_TOKEN, strlen(GET_TOKEN)), strlen(GET_TOKEN));
    assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
    client_abort(&client);
    for (int i = 0; i < 10; i++)
        pump(stage);
    assert_int_equal(connections(stage), 0);
    expect_status(stage, GET_TOKEN, 200);
}

static void test_half_closed_client(void **state)
{
    struct stage *stage = *state;
    struct client whole = client_connect(stage->port);
    send_all(stage, &whole, GET_TOKEN, strlen(GET_TOKEN));
    assert_int_equal(shutdown(whole.fd, SHUT_WR), 0);
    expect_served(stage, &whole, KEY_AUTHORIZATION);
    client_close(&whole);
    struct client cut = client_connect(stage->port);
    send_all(stage, &cut, GET_TOKEN, strlen(GET_TOKEN) - 1);
    assert_int_equal(shutdown(cut.fd, SHUT_WR), 0);
    read_to_the_end(stage, &cut);
    assert_int_equal(cut.in.len, 0);
    client_close(&cut);
    wait_for_connections(stage, 0);
}

/* After the answer the client has two seconds and a bounded number of bytes to close. */
static void test_lingering_is_bounded(void **state)
{
    struct stage *stage = *state;
    AUTO_FREE char *junk = big_text('j');
    struct client silent = client_connect(stage->port);
    send_all(stage, &silent, GET_TOKEN, strlen(GET_TOKEN));
    expect_served(stage, &silent, KEY_AUTHORIZATION);
    assert_int_equal(connections(stage), 1);
    assert_int_equal(responder_timeout_ms(stage->responder), 2000);
    clock_freeze(FROZEN_S, FROZEN_MS + 2000);
    wait_for_connections(stage, 0);
    client_close(&silent);
    struct client chatty = client_connect(stage->port);
    send_all(stage, &chatty, GET_TOKEN, strlen(GET_TOKEN));
    send_all(stage, &chatty, junk, BIG_BYTES); /* ends when the responder has had enough */
    wait_for_connections(stage, 0);
    assert_true(chatty.reset);
    client_close(&chatty);
}

/* -- crowds ---------------------------------------------------------------------------------------------- */

static void test_two_hundred_at_once(void **state)
{
    struct stage *stage = *state;
    struct client clients[200];
    for (size_t i = 0; i < COUNT_OF(clients); i++)
        clients[i] = client_connect(stage->port);
    for (size_t i = 0; i < COUNT_OF(clients); i++)
        assert_int_equal(client_send(&clients[i], GET_TOKEN, strlen(GET_TOKEN)), strlen(GET_TOKEN));
    for (size_t i = 0; i < COUNT_OF(clients); i++) {
        expect_served(stage, &clients[i], KEY_AUTHORIZATION);
        assert_true(connections(stage) <= 64);
    }
    assert_int_equal(stage->served, COUNT_OF(clients));
    for (size_t i = 0; i < COUNT_OF(clients); i++)
        client_close(&clients[i]);
    wait_for_connections(stage, 0);
}

static void test_the_oldest_idle_is_dropped(void **state)
{
    struct stage *stage = *state;
    struct client clients[70];
    for (size_t i = 0; i < COUNT_OF(clients); i++) {
        clients[i] = client_connect(stage->port);
        wait_for_connections(stage, i < 64 ? i + 1 : 64);
        for (int k = 0; k < 3; k++)
            pump(stage);
    }
    for (size_t i = 0; i < COUNT_OF(clients); i++) {
        client_read(&clients[i]);
        assert_int_equal(clients[i].ended || clients[i].reset, i < COUNT_OF(clients) - 64);
    }
    /* those that were kept are served */
    for (size_t i = 6; i < COUNT_OF(clients); i += 9) {
        send_all(stage, &clients[i], GET_TOKEN, strlen(GET_TOKEN));
        expect_served(stage, &clients[i], KEY_AUTHORIZATION);
    }
    for (size_t i = 0; i < COUNT_OF(clients); i++)
        client_close(&clients[i]);
    wait_for_connections(stage, 0);
}

/* A request that is here already is answered before its connection is given up. */
static void test_a_request_is_not_dropped_for_a_newcomer(void **state)
{
    struct stage *stage = *state;
    struct client first = client_connect(stage->port), others[100];
    wait_for_connections(stage, 1);
    for (size_t i = 0; i < COUNT_OF(others); i++)
        others[i] = client_connect(stage->port);
    struct pollfd fds[RESPONDER_MAX_POLLFDS];
    size_t n = responder_pollfds(stage->responder, fds, COUNT_OF(fds));
    assert_true(poll(fds, n, 1000) > 0);
    /* arrives after poll(2) has looked */
    assert_int_equal(client_send(&first, GET_TOKEN, strlen(GET_TOKEN)), strlen(GET_TOKEN));
    responder_handle(stage->responder, fds, n);
    expect_served(stage, &first, KEY_AUTHORIZATION);
    client_close(&first);
    for (size_t i = 0; i < COUNT_OF(others); i++)
        client_close(&others[i]);
}

/* Idle connections on every place do not keep the CA out, and a reader in progress is the last to go. */
static void test_full_of_idle_connections(void **state)
{
    struct stage *stage = *state;
    AUTO_FREE char *big = big_text('b');
    struct client idle[80];
    assert_true(responder_add(stage->responder, "big", big));
    struct client reader = client_connect(stage->port);
    static const char request[] = "GET " PATH "big HTTP/1.1\r\n\r\n";
    send_all(stage, &reader, request, strlen(request));
    for (size_t i = 0; i < COUNT_OF(idle); i++) {
        idle[i] = client_connect(stage->port);
        pump(stage);
    }
    expect_status(stage, GET_TOKEN, 200);
    expect_served(stage, &reader, big);
    client_close(&reader);
    for (size_t i = 0; i < COUNT_OF(idle); i++)
        client_close(&idle[i]);
    wait_for_connections(stage, 0);
}

static bool listener_is_polled(const struct stage *stage)
{
    struct pollfd fds[RESPONDER_MAX_POLLFDS];
    return responder_pollfds(stage->responder, fds, COUNT_OF(fds)) > connections(stage);
}

/* The descriptor table is full: the waiting client keeps the listener readable, which must not become a busy
 * loop. */
static void test_no_free_descriptors(void **state)
{
    struct stage *stage = *state;
    struct rlimit before, none;
    struct client first = client_connect(stage->port);
    wait_for_connections(stage, 1);
    struct client second = client_connect(stage->port);
    int highest = dup(second.fd);
    assert_true(highest >= 0);
    close(highest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)highest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    pump(stage);
    bool polled_when_full = listener_is_polled(stage);
    int timeout_when_full = responder_timeout_ms(stage->responder);
    /* a moment later it tries again, in vain */
    clock_freeze(FROZEN_S, FROZEN_MS + 100);
    bool polled_after_pause = listener_is_polled(stage);
    int timeout_after_pause = responder_timeout_ms(stage->responder);
    pump(stage);
    bool polled_when_still_full = listener_is_polled(stage);
    /* a connection of ours ends: its place is used at once */
    client_send(&first, GET_TOKEN, strlen(GET_TOKEN));
    read_to_the_end(stage, &first);
    client_close(&first);
    for (int i = 0; i < 20; i++)
        pump(stage);
    client_send(&second, GET_TOKEN, strlen(GET_TOKEN));
    read_to_the_end(stage, &second);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_false(polled_when_full);
    assert_int_equal(timeout_when_full, 100);
    assert_true(polled_after_pause);
    assert_int_equal(timeout_after_pause, 0);
    assert_false(polled_when_still_full);
    assert_int_equal(status_of(&second.in), 200);
    client_close(&second);
}

static void test_broken_listener(void **state)
{
    struct stage *stage = *state;
    int not_listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    int listeners[3] = {not_listening, ends[0], loopback_listener(AF_INET, &stage->port)};
    responder_free(stage->responder);
    stage->responder = responder_new(listeners, COUNT_OF(listeners), count_served, stage);
    struct pollfd fds[RESPONDER_MAX_POLLFDS];
    assert_int_equal(responder_pollfds(stage->responder, fds, COUNT_OF(fds)), 3);
    pump(stage);
    assert_int_equal(responder_pollfds(stage->responder, fds, COUNT_OF(fds)), 1);
    assert_true(responder_add(stage->responder, TOKEN, KEY_AUTHORIZATION));
    expect_status(stage, GET_TOKEN, 200);
    close(ends[1]);
}

static void test_too_many_listeners(void **state)
{
    (void)state;
    int fds[6], port;
    struct pollfd polled[RESPONDER_MAX_POLLFDS];
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        fds[i] = loopback_listener(AF_INET, &port);
    struct responder *responder = responder_new(fds, COUNT_OF(fds), NULL, NULL);
    assert_int_equal(responder_pollfds(responder, polled, COUNT_OF(polled)), RESPONDER_MAX_LISTENERS);
    assert_int_equal(responder_pollfds(responder, polled, 3), 3);
    assert_int_equal(responder_pollfds(responder, polled, 0), 0);
    assert_int_equal(fcntl(fds[4], F_GETFD), -1);
    responder_free(responder);
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        assert_int_equal(fcntl(fds[i], F_GETFD), -1);
    responder_free(NULL);
}

/* -- tokens ---------------------------------------------------------------------------------------------- */

static void expect_body(struct stage *stage, const char *token, const char *body)
{
    AUTO_BUF answer = BUF_INIT;
    AUTO_FREE char *request = mem_fmt("GET " PATH "%s HTTP/1.1\r\n\r\n", token);
    exchange(stage, request, &answer);
    assert_int_equal(status_of(&answer), body != NULL ? 200 : 404);
    if (body != NULL)
        assert_string_equal(body_of(&answer), body);
}

static void test_tokens_change_while_serving(void **state)
{
    struct stage *stage = *state;
    struct client replaced = client_connect(stage->port), removed = client_connect(stage->port);
    send_all(stage, &replaced, GET_TOKEN, 20);
    send_all(stage, &removed, GET_TOKEN, 20);
    wait_for_connections(stage, 2);
    assert_true(responder_add(stage->responder, TOKEN, "new"));
    send_all(stage, &replaced, &GET_TOKEN[20], strlen(GET_TOKEN) - 20);
    expect_served(stage, &replaced, "new");
    responder_remove(stage->responder, TOKEN);
    responder_remove(stage->responder, TOKEN);
    send_all(stage, &removed, &GET_TOKEN[20], strlen(GET_TOKEN) - 20);
    read_to_the_end(stage, &removed);
    assert_int_equal(status_of(&removed.in), 404);
    client_close(&replaced);
    client_close(&removed);
}

static void test_bad_tokens(void **state)
{
    struct stage *stage = *state;
    char too_long[RESPONDER_TOKEN_MAX + 2];
    memset(too_long, 'a', sizeof too_long - 1);
    too_long[sizeof too_long - 1] = '\0';
    const char *const tokens[] = {"", "a/b", "../x", "a.b", "a b", "a=", "ä", "a\n", too_long, NULL};
    for (size_t i = 0; i < COUNT_OF(tokens); i++) {
        assert_false(responder_add(stage->responder, tokens[i], "x"));
        responder_remove(stage->responder, tokens[i]);
    }
    assert_false(responder_add(stage->responder, "a", NULL));
    assert_true(responder_add(stage->responder, "empty", ""));
    expect_body(stage, "empty", "");
}

static void test_thousands_of_tokens(void **state)
{
    struct stage *stage = *state;
    char token[32], text[32];
    responder_remove(stage->responder, TOKEN);
    for (unsigned i = 0; i < 4096; i++) {
        snprintf(token, sizeof token, "t%u", i * 2654435761U);
        snprintf(text, sizeof text, "text-%u", i);
        assert_true(responder_add(stage->responder, token, text));
    }
    assert_false(responder_add(stage->responder, "one-more", "x"));
    assert_true(responder_add(stage->responder, token, "replaced")); /* a known one still can be */
    expect_body(stage, token, "replaced");
    for (unsigned i = 0; i < 4096; i += 2) {
        snprintf(token, sizeof token, "t%u", i * 2654435761U);
        responder_remove(stage->responder, token);
    }
    for (unsigned i = 0; i < 4095; i += 131) {
        snprintf(token, sizeof token, "t%u", i * 2654435761U);
        snprintf(text, sizeof text, "text-%u", i);
        expect_body(stage, token, i % 2 == 1 ? text : NULL);
    }
    assert_true(responder_add(stage->responder, "one-more", "x"));
    expect_body(stage, "one-more", "x");
}

static void change_tokens(void *ctx, const char *token, const char *peer)
{
    struct stage *stage = ctx;
    count_served(ctx, token, peer);
    responder_remove(stage->responder, token);
    assert_true(responder_add(stage->responder, "next", "y"));
}

static void test_callback_may_change_tokens(void **state)
{
    struct stage *stage = *state;
    responder_free(stage->responder);
    int fd = loopback_listener(AF_INET, &stage->port);
    stage->responder = responder_new(&fd, 1, change_tokens, stage);
    assert_true(responder_add(stage->responder, TOKEN, KEY_AUTHORIZATION));
    expect_body(stage, TOKEN, KEY_AUTHORIZATION);
    assert_string_equal(stage->token, TOKEN);
    expect_body(stage, TOKEN, NULL);
    expect_body(stage, "next", "y");
    assert_int_equal(stage->served, 2);
}

/* -- addresses ------------------------------------------------------------------------------------------- */

static void test_ipv6_and_mapped_peers(void **state)
{
    struct stage *stage = *state;
    if (stage->port6 == 0)
        skip();
    int port = stage->port;
    stage->port = stage->port6; /* IPv4 client on the IPv6 socket */
    expect_status(stage, GET_TOKEN, 200);
    stage->port = port;
    assert_string_equal(stage->peer, "127.0.0.1");
    struct sockaddr_in6 address = {.sin6_family = AF_INET6,
                                   .sin6_port = htons((uint16_t)stage->port6),
                                   .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct client client = {.fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (connect(client.fd, (struct sockaddr *)&address, sizeof address) == 0) {
        assert_int_equal(fcntl(client.fd, F_SETFL, O_NONBLOCK), 0);
        send_all(stage, &client, GET_TOKEN, strlen(GET_TOKEN));
        expect_served(stage, &client, KEY_AUTHORIZATION);
        assert_string_equal(stage->peer, "::1");
    }
    client_close(&client);
}

static void test_handle_survives_odd_arrays(void **state)
{
    struct stage *stage = *state;
    responder_handle(stage->responder, NULL, 0);
    struct pollfd odd[] = {{.fd = -1, .revents = POLLIN}, {.fd = 9999, .revents = POLLNVAL}};
    responder_handle(stage->responder, odd, COUNT_OF(odd));
    /* readable says the array, but nobody is there */
    struct pollfd fds[RESPONDER_MAX_POLLFDS];
    size_t n = responder_pollfds(stage->responder, fds, COUNT_OF(fds));
    for (size_t i = 0; i < n; i++)
        fds[i].revents = POLLIN;
    responder_handle(stage->responder, fds, n);
    expect_status(stage, GET_TOKEN, 200);
}

static void test_free_with_open_connections(void **state)
{
    struct stage *stage = *state;
    struct client reading = client_connect(stage->port);
    wait_for_connections(stage, 1);
    AUTO_FREE char *big = big_text('b');
    assert_true(responder_add(stage->responder, TOKEN, big));
    struct client writing = client_connect(stage->port);
    send_all(stage, &writing, GET_TOKEN, strlen(GET_TOKEN));
    wait_for_connections(stage, 2);
    responder_free(stage->responder);
    stage->responder = NULL;
    client_close(&reading);
    client_close(&writing);
}

/* -- listening ------------------------------------------------------------------------------------------- */

static void test_listen(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int fds[2];
    size_t n = 0;
    assert_true(responder_listen(0, fds, &n, &err));
    assert_true(n == 1 || n == 2);
    for (size_t i = 0; i < n; i++) {
        int on = 0;
        socklen_t len = sizeof on;
        assert_int_equal(getsockopt(fds[i], SOL_SOCKET, SO_ACCEPTCONN, &on, &len), 0);
        assert_int_equal(on, 1);
        assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
        assert_true(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
        close(fds[i]);
    }
}

static void test_listen_on_impossible_ports(void **state)
{
    (void)state;
    static const int ports[] = {-1, 65536, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < COUNT_OF(ports); i++) {
        struct err err = ERR_INIT;
        int fds[2] = {-7, -7};
        size_t n = 99;
        assert_false(responder_listen(ports[i], fds, &n, &err));
        assert_int_equal(err.code, ERR_USAGE);
        assert_int_equal(n, 99);
        assert_int_equal(fds[0], -7);
    }
}

static void test_listen_on_a_taken_port(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int port, fds[2];
    size_t n;
    int holder = loopback_listener(AF_INET6, &port); /* both families */
    if (holder < 0)
        skip();
    assert_int_equal(prctl(PR_SET_NAME, "webby"), 0);
    assert_false(responder_listen(port, fds, &n, &err));
    AUTO_FREE char *wanted = mem_fmt("port %d is taken by webby (pid %ld)", port, (long)getpid());
    assert_int_equal(err.code, ERR_PORT);
    assert_string_equal(err.text, wanted);
    assert_true(strlen(err.advice) > 0);
    close(holder);
    err_clear(&err);
    assert_true(responder_listen(port, fds, &n, &err)); /* at once, TIME_WAIT or not */
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

/* In a network of its own, where well-known ports are free. */
static int listen_on_well_known_ports(void)
{
    static const struct {
        int port;
        const char *advice[3];
    } rows[] = {
        {80, {"web root", "--webroot", "stop"}},
        {443, {"tls-alpn-01", "http-01", "dns-01"}},
        {8080, {"stop that program", "challenge", ""}},
    };
    if (unshare(CLONE_NEWNET) != 0 || prctl(PR_SET_NAME, "webby") != 0)
        return EXIT_SKIP;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err err = ERR_INIT;
        int holders[2], fds[2];
        size_t n, n_again;
        if (!responder_listen(rows[i].port, holders, &n, &err))
            return EXIT_SKIP;
        AUTO_FREE char *text = mem_fmt("port %d is taken by webby (pid %ld)", rows[i].port, (long)getpid());
        if (responder_listen(rows[i].port, fds, &n_again, &err) || err.code != ERR_PORT ||
            strcmp(err.text, text) != 0)
            return 1;
        for (size_t k = 0; k < COUNT_OF(rows[i].advice); k++)
            if (strstr(err.advice, rows[i].advice[k]) == NULL)
                return 2;
        if (rows[i].port != 80 && strstr(err.advice, "let it serve") != NULL)
            return 3; /* a web server cannot answer there */
    }
    return 0;
}

static void test_advice_fits_the_port(void **state)
{
    (void)state;
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(listen_on_well_known_ports());
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP)
        skip();
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_listen_beside_a_holder_of_one_family(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int port, fds[2] = {-1, -1};
    size_t n = 0;
    int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), holder = loopback_listener(AF_INET, &port);
    assert_true(holder >= 0);
    if (probe < 0)
        skip();
    close(probe);
    /* the CA may ask over IPv4, and the other program would answer: half of the port is none of it */
    assert_false(responder_listen(port, fds, &n, &err));
    assert_int_equal(err.code, ERR_PORT);
    assert_int_equal(fds[0], -1);
    assert_int_equal(n, 0);
    int again = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    assert_int_equal(setsockopt(again, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on), 0);
    assert_int_equal(bind(again, (struct sockaddr *)&address, sizeof address),
                     0); /* nothing was left bound */
    close(again);
    close(holder);
}

/* The connections of the run before are in TIME_WAIT on our side, since we close first. */
static void test_listen_again_after_serving(void **state)
{
    struct stage *stage = *state;
    struct err err = ERR_INIT;
    int fds[2], again[2];
    size_t n, n_again;
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    assert_true(responder_listen(0, fds, &n, &err));
    assert_int_equal(getsockname(fds[n - 1], (struct sockaddr *)&address, &len), 0);
    assert_int_equal(address.sin_family, AF_INET);
    responder_free(stage->responder);
    stage->responder = responder_new(fds, n, count_served, stage);
    assert_true(responder_add(stage->responder, TOKEN, KEY_AUTHORIZATION));
    stage->port = ntohs(address.sin_port);
    expect_status(stage, GET_TOKEN, 200);
    wait_for_connections(stage, 0);
    responder_free(stage->responder);
    stage->responder = NULL;
    assert_true(responder_listen(stage->port, again, &n_again, &err));
    for (size_t i = 0; i < n_again; i++)
        close(again[i]);
    assert_int_equal(n_again, n);
}

/* As nobody, in a network of its own, where low ports are not free to all. */
static int listen_without_the_right(void)
{
    struct err err = ERR_INIT;
    int fds[2];
    size_t n;
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0 || setgid(65534) != 0 || setuid(65534) != 0)
        return EXIT_SKIP;
    static const int ports[] = {80, 443};
    for (size_t i = 0; i < COUNT_OF(ports); i++) {
        err_clear(&err);
        if (responder_listen(ports[i], fds, &n, &err))
            return 1;
        if (err.code != ERR_PERMISSION || strstr(err.advice, "sudo") == NULL)
            return 2;
    }
    return 0;
}

static void test_listen_without_the_right(void **state)
{
    (void)state;
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(listen_without_the_right());
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP)
        skip();
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_get),
        EACH(test_head_has_the_same_fields_and_no_body),
        EACH(test_other_methods),
        EACH(test_targets),
        EACH(test_good_heads),
        EACH(test_bad_heads),
        EACH(test_nul_bytes),
        cmocka_unit_test(test_parser_in_any_pieces),
        EACH(test_head_size_limit),
        EACH(test_huge_heads),
        EACH(test_pipelined_junk),
        EACH(test_binary_garbage),
        EACH(test_dates),
        EACH(test_one_byte_at_a_time),
        EACH(test_client_that_never_sends),
        EACH(test_slowloris),
        EACH(test_client_that_never_reads),
        EACH(test_slow_reader_gets_it_whole),
        EACH(test_reset_while_reading_and_writing),
        EACH(test_no_sigpipe),
        EACH(test_half_closed_client),
        EACH(test_lingering_is_bounded),
        EACH(test_two_hundred_at_once),
        EACH(test_the_oldest_idle_is_dropped),
        EACH(test_a_request_is_not_dropped_for_a_newcomer),
        EACH(test_full_of_idle_connections),
        EACH(test_no_free_descriptors),
        EACH(test_broken_listener),
        cmocka_unit_test(test_too_many_listeners),
        EACH(test_tokens_change_while_serving),
        EACH(test_bad_tokens),
        EACH(test_thousands_of_tokens),
        EACH(test_callback_may_change_tokens),
        EACH(test_ipv6_and_mapped_peers),
        EACH(test_handle_survives_odd_arrays),
        EACH(test_free_with_open_connections),
        cmocka_unit_test(test_listen),
        cmocka_unit_test(test_listen_on_impossible_ports),
        cmocka_unit_test(test_listen_on_a_taken_port),
        cmocka_unit_test(test_advice_fits_the_port),
        cmocka_unit_test(test_listen_beside_a_holder_of_one_family),
        EACH(test_listen_again_after_serving),
        cmocka_unit_test(test_listen_without_the_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
