/*
 * test_http.c - the HTTPS client against a real server of all kinds of bad manners, on a loopback port in a
 * child process.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cmocka.h>

#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/http.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

enum { NOW_S = 1795356309 /* Sun, 22 Nov 2026 14:05:09 GMT */, MIB = 1 << 20 };

struct server {
    pid_t pid;
    int port;
    struct buf pem; /* its self-signed certificate */
};

static struct server good, misnamed, expired, early, no_tls, good6 /* at ::1, the same port as `good` */;

/* -- certificates --------------------------------------------------------------------------------------- */

static void add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static X509 *make_certificate(EVP_PKEY *key, const char *names, long from_s, long until_s)
{
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), (long)getpid());
    X509_gmtime_adj(X509_getm_notBefore(cert), from_s);
    X509_gmtime_adj(X509_getm_notAfter(cert), until_s);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)names, -1, -1, 0);
    X509_set_issuer_name(cert, name);
    X509_set_pubkey(cert, key);
    add_extension(cert, NID_subject_alt_name, names);
    add_extension(cert, NID_basic_constraints, "critical,CA:TRUE");
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    return cert;
}

static void to_pem(X509 *cert, struct buf *out)
{
    char *data;
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(bio, cert), 1);
    long len = BIO_get_mem_data(bio, &data); /* which sets data: not among the arguments of one call */
    buf_add(out, data, (size_t)len);
    BIO_free(bio);
}

/* -- the server ----------------------------------------------------------------------------------------- */

static void send_all(SSL *ssl, const void *data, size_t len)
{
    if (len > 0 && SSL_write(ssl, data, (int)len) <= 0)
        _exit(0); /* the client has had enough */
}

static void sends(SSL *ssl, const char *text)
{
    send_all(ssl, text, strlen(text));
}

static void send_filler(SSL *ssl, size_t len)
{
    static char block[16384];
    memset(block, 'f', sizeof block);
    for (; len > 0; len -= len < sizeof block ? len : sizeof block)
        send_all(ssl, block, len < sizeof block ? len : sizeof block);
}

static void send_headers(SSL *ssl, int count, size_t each)
{
    AUTO_BUF line = BUF_INIT;
    sends(ssl, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n");
    for (int i = 0; i < count; i++) {
        buf_reset(&line);
        buf_addf(&line, "X-Filler-%d: ", i);
        while (line.len < each)
            buf_addc(&line, 'f');
        buf_adds(&line, "\r\n");
        send_all(ssl, line.data, line.len);
    }
    sends(ssl, "\r\n{}");
}

/* One whole request; false at the end of the connection. */
static bool read_request(SSL *ssl, struct buf *request)
{
    char block[4096];
    for (;;) {
        const char *end = strstr(buf_str(request), "\r\n\r\n");
        const char *length = strstr(buf_str(request), "Content-Length: ");
        if (end != NULL) {
            size_t body = length != NULL && length < end ? strtoul(length + 16, NULL, 10) : 0;
            if (request->len >= (size_t)(end + 4 - request->data) + body)
                return true;
        }
        int n = SSL_read(ssl, block, sizeof block);
        if (n <= 0)
            return false;
        buf_add(request, block, (size_t)n);
    }
}

struct answer {
    const char *path;
    const char *text; /* as it is on the wire */
    bool cut;         /* then the connection ends, without a word of TLS */
};

static const struct answer answers[] = {
    {"/ok",
     "HTTP/1.1 200 OK\r\nContent-Type: Application/JSON; charset=utf-8\r\nReplay-Nonce: "
     "abc-_123\r\nSet-Cookie: a=b; Path=/\r\n"
     "Location: https://ca.test/acct/1\r\nLink: <https://ca.test/dir>;rel=\"index\"\r\nLink: "
     "<https://ca.test/alt/1>;rel=\"alternate\"\r\n"
     "Link: <https://ca.test/alt/2>; rel=alternate\r\nRetry-After: 3\r\nContent-Length: 2\r\n\r\n{}",
     false},
    {"/lower",
     "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nreplay-nonce: low\r\nretry-after: 9\r\ncontent-length: "
     "0\r\n\r\n",
     false},
    {"/early",
     "HTTP/1.1 100 Continue\r\nReplay-Nonce: early\r\nRetry-After: 77\r\nLink: "
     "<https://ca.test/e>;rel=\"alternate\"\r\n\r\n"
     "HTTP/1.1 103 Early Hints\r\nContent-Type: text/plain\r\nLink: "
     "<https://ca.test/h>;rel=\"alternate\"\r\n\r\n"
     "HTTP/1.1 201 Created\r\nLocation: https://ca.test/o/1\r\nContent-Length: 5\r\n\r\nlater",
     false},
    {"/problem",
     "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/problem+json\r\nRetry-After: "
     "120\r\nContent-Length: 22\r\n\r\n"
     "{\"detail\":\"slow down\"}",
     false},
    {"/redirect", "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n", false},
    {"/redirect-away",
     "HTTP/1.1 307 Temporary Redirect\r\nLocation: https://evil.test/\r\nContent-Length: 0\r\n\r\n", false},
    {"/chunked",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", false},
    {"/trailer",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: "
     "1\r\n\r\n",
     false},
    {"/nobody", "HTTP/1.1 204 No Content\r\nReplay-Nonce: none-of-the-body\r\n\r\n", false},
    {"/head", "HTTP/1.1 200 OK\r\nReplay-Nonce: headed\r\nContent-Length: 5000\r\n\r\n", false},
    {"/cut-body", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this", true},
    {"/cut-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\nonly this", true},
    {"/cut-open", "HTTP/1.1 200 OK\r\n\r\nperhaps not all", true},
    {"/cut-header", "HTTP/1.1 200 OK\r\nContent-Le", true},
    {"/cut-at-once", "", true},
    {"/mail", "220 mail.test ESMTP ready\r\n", true},
    {"/garbage", "\x15\x03\x01 what?\r\n\r\n", true},
    {"/lying", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx", true},
};

static void answer_path(SSL *ssl, const char *path, const struct buf *request)
{
    AUTO_BUF out = BUF_INIT;
    for (size_t i = 0; i < COUNT_OF(answers); i++)
        if (strcmp(answers[i].path, path) == 0) {
            sends(ssl, answers[i].text);
            if (answers[i].cut)
                _exit(0);
            return;
        }
    if (strcmp(path, "/echo") == 0) {
        buf_addf(&out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", request->len);
        buf_add(&out, request->data, request->len);
        send_all(ssl, out.data, out.len);
    } else if (strcmp(path, "/echo-head") == 0) {
        size_t head = (size_t)(strstr(request->data, "\r\n\r\n") + 4 - request->data);
        buf_addf(&out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", head);
        buf_add(&out, request->data, head);
        send_all(ssl, out.data, out.len);
    } else if (strcmp(path, "/peer") == 0) {
        char peer[INET6_ADDRSTRLEN] = "";
        struct sockaddr_storage address;
        socklen_t len = sizeof address;
        const void *bytes;
        if (getpeername(SSL_get_fd(ssl), (struct sockaddr *)&address, &len) == 0) {
            bytes = address.ss_family == AF_INET6
                        ? (const void *)&((struct sockaddr_in6 *)&address)->sin6_addr
                        : (const void *)&((struct sockaddr_in *)&address)->sin_addr;
            inet_ntop(address.ss_family, bytes, peer, sizeof peer);
        }
        buf_addf(&out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(peer), peer);
        send_all(ssl, out.data, out.len);
    } else if (strcmp(path, "/exact") == 0 || strcmp(path, "/large") == 0) {
        size_t len = MIB + (size_t)(path[1] == 'l');
        buf_addf(&out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len);
        send_all(ssl, out.data, out.len);
        send_filler(ssl, len);
    } else if (strcmp(path, "/endless") == 0) {
        sends(ssl, "HTTP/1.1 200 OK\r\n\r\n");
        for (;;)
            send_filler(ssl, MIB);
    } else if (strcmp(path, "/headers-fine") == 0) {
        send_headers(ssl, 90, 100);
    } else if (strcmp(path, "/headers-many") == 0) {
        send_headers(ssl, 200, 20);
    } else if (strcmp(path, "/headers-large") == 0) {
        send_headers(ssl, 10, 9000);
    } else if (strcmp(path, "/silent") == 0) {
        pause();
    } else {
        sends(ssl, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    }
}

static void serve_connection(SSL *ssl)
{
    char path[64];
    for (;;) {
        AUTO_BUF request = BUF_INIT;
        if (!read_request(ssl, &request))
            break;
        snprintf(path, sizeof path, "%.*s", (int)strcspn(strchr(buf_str(&request), '/'), " "),
                 strchr(buf_str(&request), '/'));
        answer_path(ssl, path, &request);
    }
}

static void serve(int listener, SSL_CTX *ctx)
{
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0 || fork() != 0) {
            close(fd);
            continue;
        }
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(listener);
        if (ctx == NULL) { /* no TLS at all */
            if (write(fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28) < 0)
                _exit(1);
            _exit(0);
        }
        SSL *ssl = SSL_new(ctx);
        SSL_set_fd(ssl, fd);
        if (SSL_accept(ssl) == 1)
            serve_connection(ssl);
        _exit(0);
    }
}

static int listen_on_loopback(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 && listen(fd, 20) == 0 &&
                getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    *port = ntohs(address.sin_port);
    return fd;
}

/* The same port at ::1; -1 where there is no IPv6. */
static int listen_on_loopback6(int port)
{
    struct sockaddr_in6 address = {
        .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT, .sin6_port = htons((uint16_t)port)};
    int yes = 1, fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes) == 0 &&
        bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 20) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static void serve_at(struct server *server, int listener, const char *names, long from_s, long until_s)
{
    SSL_CTX *ctx = NULL;
    if (names != NULL) {
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509 *cert = make_certificate(key, names, from_s, until_s);
        to_pem(cert, &server->pem);
        ctx = SSL_CTX_new(TLS_server_method());
        assert_true(SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1);
        X509_free(cert);
        EVP_PKEY_free(key);
    }
    server->pid = fork();
    assert_true(server->pid >= 0);
    if (server->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(listener, ctx);
    }
    SSL_CTX_free(ctx);
    close(listener);
}

static void server_stop(struct server *server)
{
    if (server->pid > 0) { /* 0 would be all of our own group */
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
    }
    buf_clear(&server->pem);
}

static void server_start(struct server *server, const char *names, long from_s, long until_s)
{
    serve_at(server, listen_on_loopback(&server->port), names, from_s, until_s);
}

/* As root, a network of our own with nothing in it but loopback; else the machine's loopback must do. */
static void leave_network(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    if (unshare(CLONE_NEWNET) != 0)
        return;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0);
    close(fd);
}

static int start_servers(void **state)
{
    static const char *const proxies[] = {"https_proxy", "HTTPS_PROXY", "all_proxy",
                                          "ALL_PROXY",   "no_proxy",    "NO_PROXY"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(proxies); i++)
        unsetenv(proxies[i]);
    leave_network();
    server_start(&good, "IP:127.0.0.1,DNS:localhost", -3600, 86400);
    server_start(&misnamed, "DNS:other.test", -3600, 86400);
    server_start(&expired, "IP:127.0.0.1", -86400, -3600);
    server_start(&early, "IP:127.0.0.1", 3600, 86400);
    server_start(&no_tls, NULL, 0, 0);
    int listener6 = listen_on_loopback6(good.port);
    if (listener6 >= 0)
        serve_at(&good6, listener6, "DNS:localhost", -3600, 86400);
    return 0;
}

static pid_t program; /* a real proxy */

static void stop_program(void)
{
    if (program <= 0)
        return;
    kill(-program, SIGKILL); /* its helpers as well */
    waitpid(program, NULL, 0);
    program = 0;
}

static int stop_servers(void **state)
{
    (void)state;
    stop_program();
    server_stop(&good);
    server_stop(&misnamed);
    server_stop(&expired);
    server_stop(&early);
    server_stop(&no_tls);
    server_stop(&good6);
    return 0;
}

/* -- the client ----------------------------------------------------------------------------------------- */

/* What `done` was given, kept. */
struct outcome {
    int calls;
    bool answered;
    struct http_response response; /* body and lists are copies */
    struct err err;
};

static void keep(void *ctx, const struct http_response *response, const struct err *err)
{
    struct outcome *outcome = ctx;
    outcome->calls++;
    assert_true((response != NULL) != (err != NULL));
    outcome->answered = response != NULL;
    if (err != NULL) {
        outcome->err = *err;
        assert_true(err_isset(err));
        return;
    }
    outcome->response = *response;
    outcome->response.body = (struct buf)BUF_INIT;
    outcome->response.alternates = (struct strlist)STRLIST_INIT;
    buf_add(&outcome->response.body, response->body.data, response->body.len);
    strlist_copy(&outcome->response.alternates, &response->alternates);
}

static void outcome_clear(struct outcome *outcome)
{
    http_response_clear(&outcome->response);
    *outcome = (struct outcome){0};
}

static struct http_options options_for(const struct server *trusted)
{
    struct http_options options = {.user_agent = "tlsup-test/1 (x)"};
    if (trusted != NULL) {
        options.ca_pem = buf_str(&trusted->pem);
        options.ca_pem_len = trusted->pem.len;
        options.ca_name = "/the/bundle.pem";
    }
    return options;
}

static struct http *client_with(struct http_options options)
{
    struct http *http = NULL;
    struct err err = ERR_INIT;
    if (!http_new(&options, &http, &err))
        fail_msg("%s", err.text);
    return http;
}

static struct http *client(const struct server *trusted)
{
    return client_with(options_for(trusted));
}

static const char *url_of(const struct server *server, const char *path)
{
    static char url[256];
    snprintf(url, sizeof url, "https://127.0.0.1:%d%s", server->port, path);
    return url;
}

static void wait_for(struct http *http, const int *calls, int wanted)
{
    for (int i = 0; i < 6000 && *calls < wanted; i++)
        assert_false(http_wait(http, -1, 100));
    assert_int_equal(*calls, wanted);
}

/* One request by a client of its own. The caller clears the outcome. */
static void fetch_with(struct http_options options, enum http_method method, const char *url,
                       struct outcome *outcome)
{
    struct http *http = client_with(options);
    *outcome = (struct outcome){0};
    http_start(http, method, url, "{}", 2, keep, outcome);
    wait_for(http, &outcome->calls, 1);
    http_free(http);
    assert_int_equal(outcome->calls, 1);
}

static void fetch(const struct server *server, const struct server *trusted, enum http_method method,
                  const char *path, struct outcome *outcome)
{
    fetch_with(options_for(trusted), method, url_of(server, path), outcome);
}

static void test_answer(void **state)
{
    (void)state;
    struct outcome got;
    fetch(&good, &good, HTTP_GET, "/ok", &got);
    assert_true(got.answered);
    assert_int_equal(got.response.status, 200);
    assert_string_equal(buf_str(&got.response.body), "{}");
    assert_string_equal(got.response.content_type, "application/json");
    assert_string_equal(got.response.nonce, "abc-_123");
    assert_string_equal(got.response.location, "https://ca.test/acct/1");
    assert_int_equal(got.response.retry_after_s, 3);
    assert_int_equal(got.response.alternates.n, 2);
    assert_string_equal(got.response.alternates.v[1], "https://ca.test/alt/2");
    outcome_clear(&got);
    fetch(&good, &good, HTTP_GET, "/lower", &got);
    assert_string_equal(got.response.nonce, "low");
    assert_string_equal(got.response.content_type, "text/html");
    assert_int_equal(got.response.retry_after_s, 9);
    outcome_clear(&got);
}

static void test_interim_answers_are_forgotten(void **state)
{
    (void)state;
    struct outcome got;
    fetch(&good, &good, HTTP_GET, "/early", &got);
    assert_true(got.answered);
    assert_int_equal(got.response.status, 201);
    assert_string_equal(got.response.nonce, "");
    assert_string_equal(got.response.content_type, "");
    assert_int_equal(got.response.retry_after_s, -1);
    assert_int_equal(got.response.alternates.n, 0);
    assert_string_equal(got.response.location, "https://ca.test/o/1");
    assert_string_equal(buf_str(&got.response.body), "later");
    outcome_clear(&got);
}

static void test_forms_of_answers(void **state)
{
    (void)state;
    static const struct {
        enum http_method method;
        const char *path;
        int status;
        const char *body, *nonce;
    } rows[] = {
        {HTTP_GET, "/problem", 429, "{\"detail\":\"slow down\"}", ""},
        {HTTP_POST, "/problem", 429, "{\"detail\":\"slow down\"}", ""},
        {HTTP_GET, "/chunked", 200, "hello world", ""},
        {HTTP_GET, "/trailer", 200, "hello", ""},
        {HTTP_GET, "/nobody", 204, "", "none-of-the-body"},
        {HTTP_HEAD, "/head", 200, "", "headed"},
        {HTTP_GET, "/no-such-path", 404, "", ""},
        {HTTP_GET, "/redirect", 302, "", ""}, /* a redirect is an answer, not a way */
        {HTTP_POST, "/redirect-away", 307, "", ""},
        {HTTP_GET, "/headers-fine", 200, "{}", ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct outcome got;
        fetch(&good, &good, rows[i].method, rows[i].path, &got);
        if (!got.answered || got.response.status != rows[i].status ||
            strcmp(buf_str(&got.response.body), rows[i].body) != 0 ||
            strcmp(got.response.nonce, rows[i].nonce) != 0)
            fail_msg("%s: %d \"%s\" %s", rows[i].path, got.response.status, buf_str(&got.response.body),
                     got.err.text);
        outcome_clear(&got);
    }
}

static void test_request_to_the_byte(void **state)
{
    (void)state;
    struct outcome got;
    char host[64];
    fetch(&good, &good, HTTP_POST, "/echo", &got);
    const char *text = buf_str(&got.response.body);
    assert_memory_equal(text, "POST /echo HTTP/1.1\r\n", 21);
    snprintf(host, sizeof host, "\r\nHost: 127.0.0.1:%d\r\n", good.port);
    assert_non_null(strstr(text, host));
    assert_non_null(strstr(text, "\r\nContent-Type: application/jose+json\r\n"));
    assert_non_null(strstr(text, "\r\nContent-Length: 2\r\n"));
    assert_non_null(strstr(text, "\r\nUser-Agent: tlsup-test/1 (x)\r\n"));
    assert_non_null(strstr(text, "\r\n\r\n{}"));
    assert_null(strcasestr(text, "expect:"));
    assert_null(strcasestr(text, "nonce"));
    assert_null(strcasestr(text, "transfer-encoding"));
    outcome_clear(&got);
    fetch(&good, &good, HTTP_GET, "/echo", &got);
    text = buf_str(&got.response.body);
    assert_memory_equal(text, "GET /echo HTTP/1.1\r\n", 20);
    assert_non_null(strstr(text, "\r\nUser-Agent: tlsup-test/1 (x)\r\n"));
    assert_null(strcasestr(text, "content-type"));
    outcome_clear(&got);
}

static void test_large_post(void **state)
{
    (void)state;
    struct outcome got = {0};
    struct http *http = client(&good);
    AUTO_FREE char *body = mem_alloc(200001);
    memset(body, 'p', 200000);
    http_start(http, HTTP_POST, url_of(&good, "/echo"), body, 200000, keep, &got);
    memset(body, 'q', 200000); /* it was copied */
    wait_for(http, &got.calls, 1);
    assert_true(got.answered);
    assert_null(strcasestr(buf_str(&got.response.body), "expect:"));
    const char *sent = strstr(buf_str(&got.response.body), "\r\n\r\n") + 4;
    assert_int_equal(strspn(sent, "p"), 200000);
    outcome_clear(&got);
    AUTO_FREE char *huge = mem_alloc(2 * MIB); /* curl would ask first whether it may send that */
    http_start(http, HTTP_POST, url_of(&good, "/echo-head"), huge, 2 * MIB, keep, &got);
    wait_for(http, &got.calls, 1);
    assert_non_null(strstr(buf_str(&got.response.body), "\r\nContent-Length: 2097152\r\n"));
    assert_null(strcasestr(buf_str(&got.response.body), "expect:"));
    outcome_clear(&got);
    http_start(http, HTTP_POST, url_of(&good, "/echo"), NULL, 0, keep, &got);
    wait_for(http, &got.calls, 1);
    assert_non_null(strstr(buf_str(&got.response.body), "\r\nContent-Length: 0\r\n"));
    outcome_clear(&got);
    http_free(http);
}

static void test_no_cookies(void **state)
{
    (void)state;
    struct outcome got = {0};
    struct http *http = client(&good);
    http_start(http, HTTP_GET, url_of(&good, "/ok"), NULL, 0, keep, &got);
    wait_for(http, &got.calls, 1);
    outcome_clear(&got);
    http_start(http, HTTP_GET, url_of(&good, "/echo"), NULL, 0, keep, &got);
    wait_for(http, &got.calls, 1);
    assert_null(strcasestr(buf_str(&got.response.body), "cookie"));
    outcome_clear(&got);
    struct http_stats stats;
    http_stats_get(http, &stats);
    assert_int_equal(stats.requests, 2);
    assert_int_equal(stats.connections, 1);
    http_free(http);
}

static void test_broken_answers(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        enum err_code code;
        const char *text;
    } rows[] = {
        {"/cut-body", ERR_NETWORK, "connection to the CA broke"},
        {"/cut-chunk", ERR_NETWORK, "connection to the CA broke"},
        {"/cut-header", ERR_NETWORK, "connection to the CA broke"},
        {"/cut-at-once", ERR_NETWORK, "connection to the CA broke"},
        {"/mail", ERR_PROTOCOL, "no web server"},
        {"/garbage", ERR_PROTOCOL, "no web server"},
        {"/large", ERR_PROTOCOL, "larger than"},
        {"/endless", ERR_PROTOCOL, "larger than"},
        {"/headers-many", ERR_PROTOCOL, "larger than"},
        {"/headers-large", ERR_PROTOCOL, "larger than"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct outcome got;
        fetch(&good, &good, HTTP_GET, rows[i].path, &got);
        if (got.answered || got.err.code != rows[i].code || strstr(got.err.text, rows[i].text) == NULL ||
            strcmp(got.err.subject, url_of(&good, rows[i].path)) != 0)
            fail_msg("%s: %d %s: %s: %s", rows[i].path, got.answered, err_code_name(got.err.code),
                     got.err.subject, got.err.text);
        outcome_clear(&got);
    }
    struct outcome got;
    fetch(&good, &good, HTTP_GET, "/lying", &got); /* taken or refused, but not for minus five bytes */
    assert_true(!got.answered || got.response.body.len <= 1);
    outcome_clear(&got);
    fetch(&good, &good, HTTP_GET, "/cut-open",
          &got); /* without a length, the end cannot be told from a cut */
    assert_true(!got.answered || strcmp(buf_str(&got.response.body), "perhaps not all") == 0);
    outcome_clear(&got);
    fetch(&good, &good, HTTP_GET, "/exact", &got);
    assert_true(got.answered);
    assert_int_equal(got.response.body.len, MIB);
    outcome_clear(&got);
}

static void expect_distrust(const struct server *server, const struct server *trusted, const char *advice)
{
    struct outcome got;
    fetch(server, trusted, HTTP_GET, "/ok", &got);
    assert_false(got.answered);
    assert_int_equal(got.err.code, ERR_TLS);
    assert_int_equal(got.err.next, NEXT_FIX_CONFIG);
    assert_non_null(strstr(got.err.text, "not trusted"));
    assert_non_null(strstr(got.err.advice, "clock"));
    assert_non_null(strstr(got.err.advice, advice));
    outcome_clear(&got);
}

static void test_trust(void **state)
{
    (void)state;
    /* the system knows nothing of it; another root, another name */
    expect_distrust(&good, NULL, "the package ca-certificates installed");
    expect_distrust(&good, NULL, "--ca-bundle");
    expect_distrust(&good, &misnamed, "/the/bundle.pem (--ca-bundle)");
    expect_distrust(&misnamed, &misnamed, "/the/bundle.pem");
    /* out of its time: with what this machine takes for the time */
    time_t now = time(NULL);
    char year[8];
    strftime(year, sizeof year, "%Y-", gmtime(&now));
    expect_distrust(&expired, &expired, year);
    expect_distrust(&expired, &expired, "has expired");
    expect_distrust(&early, &early, "is not valid yet");
}

static void test_bad_bundles(void **state)
{
    (void)state;
    static const char *const bundles[] = {
        "",
        "no certificates here\n",
        "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n",
    };
    for (size_t i = 0; i < COUNT_OF(bundles); i++) {
        struct server other = {.port = good.port};
        struct outcome got;
        buf_adds(&other.pem, bundles[i]);
        fetch(&good, &other, HTTP_GET, "/ok", &got);
        assert_false(got.answered);
        assert_true(got.err.code == ERR_CONFIG || got.err.code == ERR_TLS);
        assert_int_equal(got.err.next, NEXT_FIX_CONFIG);
        assert_non_null(strstr(got.err.advice, "/the/bundle.pem"));
        outcome_clear(&got);
        buf_clear(&other.pem);
    }
}

static void expect_failure(const char *url, enum err_code code, enum err_next next, const char *text)
{
    struct http *http = client(&good);
    struct outcome got = {0};
    http_start(http, HTTP_GET, url, NULL, 0, keep, &got);
    wait_for(http, &got.calls, 1);
    if (got.answered || got.err.code != code || got.err.next != next || strstr(got.err.text, text) == NULL ||
        got.err.advice[0] == '\0')
        fail_msg("%s: %s %s; %s", url, err_code_name(got.err.code), got.err.text, got.err.advice);
    outcome_clear(&got);
    http_free(http);
}

static void test_wrong_addresses(void **state)
{
    (void)state;
    char url[128];
    int port, listener = listen_on_loopback(&port);
    close(listener); /* nobody is there now */
    snprintf(url, sizeof url, "https://127.0.0.1:%d/", port);
    expect_failure(url, ERR_NETWORK, NEXT_RETRY_LATER, "cannot connect");
    snprintf(url, sizeof url, "http://127.0.0.1:%d/ok", good.port);
    expect_failure(url, ERR_CONFIG, NEXT_FIX_CONFIG, "only https");
    expect_failure("file:///etc/passwd", ERR_CONFIG, NEXT_FIX_CONFIG, "only https");
    expect_failure("ftp://127.0.0.1/", ERR_CONFIG, NEXT_FIX_CONFIG, "only https");
    expect_failure(url_of(&no_tls, "/ok"), ERR_TLS, NEXT_RETRY_LATER, "handshake");
}

/* -- many at once --------------------------------------------------------------------------------------- */

struct crowd {
    struct http *http;
    int done, follow;
};

static void count(void *ctx, const struct http_response *response, const struct err *err)
{
    struct crowd *crowd = ctx;
    if (response == NULL)
        fail_msg("%s", err->text);
    crowd->done++;
    if (crowd->follow > 0) { /* a request out of an answer */
        crowd->follow--;
        http_start(crowd->http, HTTP_POST, url_of(&good, "/echo"), "next", 4, count, crowd);
    }
}

static void test_many_at_once(void **state)
{
    (void)state;
    struct crowd crowd = {.http = client(&good), .follow = 20};
    struct http_stats stats;
    for (int i = 0; i < 30; i++)
        http_start(crowd.http, i % 2 ? HTTP_GET : HTTP_HEAD, url_of(&good, "/ok"), NULL, 0, count, &crowd);
    wait_for(crowd.http, &crowd.done, 50);
    http_stats_get(crowd.http, &stats);
    assert_int_equal(stats.requests, 50);
    assert_in_range(stats.connections, 1, 4); /* a CA counts connections */
    assert_int_equal(stats.bytes_out, 20 * 4);
    http_free(crowd.http);
}

static void must_not_be_called(void *ctx, const struct http_response *response, const struct err *err)
{
    (void)ctx;
    (void)response;
    (void)err;
    fail_msg("the client was freed, and calls all the same");
}

static void test_freed_with_requests_under_way(void **state)
{
    (void)state;
    struct http *http = client(&good);
    for (int i = 0; i < 6; i++)
        http_start(http, HTTP_GET, url_of(&good, "/silent"), NULL, 0, must_not_be_called, NULL);
    for (int i = 0; i < 5; i++)
        (void)http_wait(http, -1, 20);
    http_free(http);
    http = client(&good);
    http_start(http, HTTP_GET, url_of(&good, "/ok"), NULL, 0, must_not_be_called, NULL);
    http_free(http); /* not even begun */
    http_free(NULL);
}

static void test_wait_sees_the_other_descriptor(void **state)
{
    (void)state;
    int ends[2];
    struct http *http = client(&good);
    assert_int_equal(pipe(ends), 0);
    assert_false(http_wait(http, ends[0], 0));
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_true(http_wait(http, ends[0], 60000));
    close(ends[1]);
    char c;
    assert_int_equal(read(ends[0], &c, 1), 1);
    assert_true(http_wait(http, ends[0], 60000)); /* its end is news, too */
    close(ends[0]);
    http_free(http);
}

/* -- proxies -------------------------------------------------------------------------------------------- */

/* A small proxy of any kind in a child process, which may be told to misbehave. */
struct proxy {
    enum proxy_kind { SPEAKS_HTTP, SPEAKS_SOCKS } kind;
    bool tls;            /* to its clients */
    const char *user;    /* "user:password" to be given, decoded; NULL = lets all in */
    const char *answer;  /* HTTP: to CONNECT, instead of leading on */
    const char *welcome; /* HTTP: header lines beside 200 */
    int reply;           /* SOCKS: to the request; 0 = leads on */
    struct server server;
    struct seen { /* shared with the child */
        int connections, address_type;
        char target[300], user[300];
    } * seen;
};

static void pump(SSL *ssl, int client, int upstream)
{
    char block[16384];
    for (;;) {
        struct pollfd fds[2] = {{client, POLLIN, 0}, {upstream, POLLIN, 0}};
        bool pending = ssl != NULL && SSL_pending(ssl) > 0;
        if (poll(fds, 2, pending ? 0 : -1) < 0)
            return;
        if (pending || fds[0].revents != 0) {
            ssize_t n = ssl != NULL ? SSL_read(ssl, block, sizeof block) : read(client, block, sizeof block);
            if (n <= 0 || write(upstream, block, (size_t)n) != n)
                return;
        }
        if (fds[1].revents != 0) {
            ssize_t n = read(upstream, block, sizeof block);
            if (n <= 0 ||
                (ssl != NULL ? SSL_write(ssl, block, (int)n) : write(client, block, (size_t)n)) != n)
                return;
        }
    }
}

/* Whatever the name is: nobody is here but loopback. */
static int connect_to(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        _exit(0);
    return fd;
}

static void proxy_say(SSL *ssl, int fd, const char *text)
{
    size_t len = strlen(text);
    if (ssl != NULL)
        send_all(ssl, text, len);
    else if (write(fd, text, len) != (ssize_t)len)
        _exit(0);
}

static void proxy_http(struct proxy *proxy, SSL *ssl, int fd)
{
    char head[8192] = "", line[4096];
    for (size_t len = 0; strstr(head, "\r\n\r\n") == NULL; head[len] = '\0') {
        ssize_t n = ssl != NULL ? SSL_read(ssl, head + len, 1) : read(fd, head + len, 1);
        if (n != 1 || ++len + 1 >= sizeof head)
            _exit(0);
    }
    if (sscanf(head, "CONNECT %299[^ ] HTTP/1.1", proxy->seen->target) != 1)
        _exit(0);
    const char *authorization = strstr(head, "\r\nProxy-Authorization: Basic ");
    char encoded[300] = "", decoded[300] = "";
    if (authorization != NULL && sscanf(authorization + 29, "%299s", encoded) == 1) {
        int len = EVP_DecodeBlock((unsigned char *)decoded, (unsigned char *)encoded, (int)strlen(encoded));
        for (size_t i = strlen(encoded); len > 0 && i > 0 && encoded[i - 1] == '='; i--)
            len--;
        decoded[len > 0 ? len : 0] = '\0';
        snprintf(proxy->seen->user, sizeof proxy->seen->user, "%s", decoded);
    }
    if (proxy->answer != NULL && strcmp(proxy->answer, "(silence)") == 0)
        pause();
    if (proxy->answer != NULL) {
        proxy_say(ssl, fd, proxy->answer);
        _exit(0);
    }
    if (proxy->user != NULL && strcmp(decoded, proxy->user) != 0) {
        proxy_say(ssl, fd,
                  "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic "
                  "realm=\"x\"\r\nContent-Length: 4\r\n\r\nwho?");
        _exit(0);
    }
    int upstream = connect_to(atoi(strrchr(proxy->seen->target, ':') + 1));
    snprintf(line, sizeof line, "HTTP/1.1 200 Connection established\r\n%s\r\n",
             proxy->welcome != NULL ? proxy->welcome : "");
    proxy_say(ssl, fd, line);
    pump(ssl, fd, upstream);
}

static void read_exactly(int fd, void *out, size_t len)
{
    for (size_t got = 0; got < len;) {
        ssize_t n = read(fd, (char *)out + got, len - got);
        if (n <= 0)
            _exit(0);
        got += (size_t)n;
    }
}

static void write_bytes(int fd, const void *data, size_t len)
{
    if (write(fd, data, len) != (ssize_t)len)
        _exit(0);
}

/* RFC 1928 and RFC 1929. */
static void proxy_socks(struct proxy *proxy, int fd)
{
    unsigned char head[4], methods[256], len, port[2];
    char user[256] = "", password[256] = "", host[256] = "";
    read_exactly(fd, head, 2);
    read_exactly(fd, methods, head[1]);
    bool can = memchr(methods, proxy->user != NULL ? 2 : 0, head[1]) != NULL;
    write_bytes(fd, can ? proxy->user != NULL ? "\5\2" : "\5\0" : "\5\377", 2);
    if (!can)
        _exit(0);
    if (proxy->user != NULL) {
        read_exactly(fd, head, 1);
        read_exactly(fd, &len, 1);
        read_exactly(fd, user, len);
        read_exactly(fd, &len, 1);
        read_exactly(fd, password, len);
        snprintf(proxy->seen->user, sizeof proxy->seen->user, "%s:%.40s", user, password);
        bool right = strcmp(proxy->seen->user, proxy->user) == 0;
        write_bytes(fd, right ? "\1\0" : "\1\1", 2);
        if (!right)
            _exit(0);
    }
    read_exactly(fd, head, 4);
    proxy->seen->address_type = head[3];
    len = head[3] == 1 ? 4 : 16;
    if (head[3] == 3)
        read_exactly(fd, &len, 1);
    read_exactly(fd, host, len);
    read_exactly(fd, port, 2);
    snprintf(proxy->seen->target, sizeof proxy->seen->target, "%s:%d", head[3] == 3 ? host : "(address)",
             port[0] << 8 | port[1]);
    const unsigned char reply[10] = {5, (unsigned char)proxy->reply, 0, 1, 127, 0, 0, 1, port[0], port[1]};
    int upstream = proxy->reply == 0 ? connect_to(port[0] << 8 | port[1]) : -1;
    write_bytes(fd, reply, sizeof reply);
    if (proxy->reply == 0)
        pump(NULL, fd, upstream);
}

static void proxy_serve(struct proxy *proxy, int listener, SSL_CTX *ctx)
{
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        proxy->seen->connections++;
        if (fd < 0 || fork() != 0) {
            close(fd);
            continue;
        }
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(listener);
        SSL *ssl = ctx != NULL ? SSL_new(ctx) : NULL;
        if (ssl != NULL && (SSL_set_fd(ssl, fd) != 1 || SSL_accept(ssl) != 1))
            _exit(0);
        if (proxy->kind == SPEAKS_HTTP)
            proxy_http(proxy, ssl, fd);
        else
            proxy_socks(proxy, fd);
        _exit(0);
    }
}

static void proxy_start(struct proxy *proxy)
{
    int listener = listen_on_loopback(&proxy->server.port);
    SSL_CTX *ctx = NULL;
    proxy->seen = mmap(NULL, sizeof *proxy->seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(proxy->seen != MAP_FAILED);
    if (proxy->tls) {
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509 *cert = make_certificate(key, "IP:127.0.0.1", -3600, 86400);
        to_pem(cert, &proxy->server.pem);
        ctx = SSL_CTX_new(TLS_server_method());
        assert_true(SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1);
        X509_free(cert);
        EVP_PKEY_free(key);
    }
    proxy->server.pid = fork();
    assert_true(proxy->server.pid >= 0);
    if (proxy->server.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        proxy_serve(proxy, listener, ctx);
    }
    SSL_CTX_free(ctx);
    close(listener);
}

static void proxy_stop(struct proxy *proxy)
{
    server_stop(&proxy->server);
    munmap(proxy->seen, sizeof *proxy->seen);
}

/* "SCHEME://USER@127.0.0.1:PORT"; lives until the next call. */
static const char *proxy_url(const struct proxy *proxy, const char *scheme, const char *user)
{
    static char url[600];
    snprintf(url, sizeof url, "%s://%s%s127.0.0.1:%d", scheme, user, user[0] != '\0' ? "@" : "",
             proxy->server.port);
    return url;
}

static struct http_options through(const char *proxy)
{
    struct http_options options = options_for(&good);
    options.proxy = proxy;
    return options;
}

static void expect_ok(struct http_options options)
{
    struct outcome got;
    fetch_with(options, HTTP_GET, url_of(&good, "/ok"), &got);
    if (!got.answered || got.response.status != 200 || strcmp(got.response.nonce, "abc-_123") != 0)
        fail_msg("%s: %s", options.proxy, got.err.text);
    outcome_clear(&got);
}

static void expect_no_secret(const struct err *err)
{
    static const char *const secrets[] = {"Geheim", "geheim", "hans", "%40"};
    for (size_t i = 0; i < COUNT_OF(secrets); i++)
        if (strstr(err->text, secrets[i]) != NULL || strstr(err->subject, secrets[i]) != NULL ||
            strstr(err->advice, secrets[i]) != NULL)
            fail_msg("%s; %s; %s", err->subject, err->text, err->advice);
}

/* `text` follows the proxy's name. */
static void expect_proxy_error(struct http_options options, const char *shown, enum err_code code,
                               enum err_next next, const char *text)
{
    struct outcome got;
    AUTO_FREE char *wanted = mem_fmt("the proxy %s %s", shown, text);
    fetch_with(options, HTTP_GET, url_of(&good, "/ok"), &got);
    if (got.answered || got.err.code != code || got.err.next != next ||
        strncmp(got.err.text, wanted, strlen(wanted)) != 0 || strstr(got.err.advice, "named by ") == NULL)
        fail_msg("%s, wanted %s: %s %s; %s", options.proxy, wanted, err_code_name(got.err.code), got.err.text,
                 got.err.advice);
    expect_no_secret(&got.err);
    outcome_clear(&got);
}

static void test_http_proxy(void **state)
{
    (void)state;
    struct proxy proxy = {.kind = SPEAKS_HTTP};
    char target[64], bare[64];
    proxy_start(&proxy);
    expect_ok(through(proxy_url(&proxy, "http", "")));
    snprintf(target, sizeof target, "127.0.0.1:%d", good.port);
    assert_string_equal(proxy.seen->target, target);
    assert_string_equal(proxy.seen->user, "");
    assert_int_equal(proxy.seen->connections, 1);
    snprintf(bare, sizeof bare, "127.0.0.1:%d", proxy.server.port); /* without a scheme */
    expect_ok(through(bare));
    assert_int_equal(proxy.seen->connections, 2);
    expect_ok(through("")); /* none */
    assert_int_equal(proxy.seen->connections, 2);
    proxy_stop(&proxy);
}

static void test_connections_through_a_proxy(void **state)
{
    (void)state;
    static const struct {
        enum proxy_kind kind;
        const char *scheme;
    } rows[] = {{SPEAKS_HTTP, "http"}, {SPEAKS_SOCKS, "socks5h"}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct proxy proxy = {.kind = rows[i].kind};
        struct http_stats stats;
        proxy_start(&proxy);
        struct crowd crowd = {.http = client_with(through(proxy_url(&proxy, rows[i].scheme, ""))),
                              .follow = 20};
        for (int k = 0; k < 30; k++)
            http_start(crowd.http, HTTP_GET, url_of(&good, "/ok"), NULL, 0, count, &crowd);
        wait_for(crowd.http, &crowd.done, 50);
        http_stats_get(crowd.http, &stats);
        assert_int_equal(stats.requests, 50);
        assert_in_range(stats.connections, 1, 4);
        assert_int_equal(stats.connections, proxy.seen->connections);
        http_free(crowd.http);
        proxy_stop(&proxy);
    }
}

static void test_proxy_with_password(void **state)
{
    (void)state;
    struct proxy proxy = {.kind = SPEAKS_HTTP, .user = "h@ns:Geh:/eim%"};
    AUTO_FREE char *shown = NULL;
    proxy_start(&proxy);
    shown = mem_fmt("http://127.0.0.1:%d", proxy.server.port);
    expect_ok(through(proxy_url(&proxy, "http", "h%40ns:Geh%3a%2Feim%25")));
    assert_string_equal(proxy.seen->user, "h@ns:Geh:/eim%");
    static const char *const users[] = {"", "hans", "hans:", "hans:Geheim", "h%40ns:Geheim"};
    for (size_t i = 0; i < COUNT_OF(users); i++)
        expect_proxy_error(through(proxy_url(&proxy, "http", users[i])), shown, ERR_NETWORK, NEXT_FIX_CONFIG,
                           "does not let this program in without the right user and password: ");
    proxy_stop(&proxy);
}

static void test_what_an_http_proxy_may_say(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        enum err_code code;
        enum err_next next;
        const char *text;
    } rows[] = {
        {"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", ERR_NETWORK, NEXT_FIX_CONFIG, "refuses to"},
        {"HTTP/1.1 405 Method Not Allowed\r\n\r\n", ERR_NETWORK, NEXT_FIX_CONFIG, "refuses to"},
        {"HTTP/1.1 302 Found\r\nLocation: http://login.test/\r\n\r\n", ERR_NETWORK, NEXT_FIX_CONFIG,
         "refuses"},
        {"HTTP/1.1 502 Bad Gateway\r\nReplay-Nonce: x\r\n\r\n", ERR_NETWORK, NEXT_RETRY_LATER,
         "cannot connect"},
        {"HTTP/1.0 503 Service Unavailable\r\n\r\n<html>", ERR_NETWORK, NEXT_RETRY_LATER,
         "cannot connect to the CA"},
        {"", ERR_NETWORK, NEXT_RETRY_LATER, "broke the connection off"},
        {"HTTP/1.1 2", ERR_NETWORK, NEXT_RETRY_LATER, "broke the connection off"},
        {"220 mail.test ESMTP\r\n", ERR_NETWORK, NEXT_RETRY_LATER, "broke the connection off"},
        {"\005\000", ERR_NETWORK, NEXT_RETRY_LATER, "broke the connection off"},
        {"(silence)", ERR_TIMEOUT, NEXT_RETRY_LATER, "does not make the connection to the CA in time"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct proxy proxy = {.kind = SPEAKS_HTTP, .answer = rows[i].answer};
        proxy_start(&proxy);
        AUTO_FREE char *shown = mem_fmt("http://127.0.0.1:%d", proxy.server.port);
        struct http_options options = through(proxy_url(&proxy, "http", "hans:Geheim"));
        options.timeout_s = rows[i].code == ERR_TIMEOUT ? 1 : 0;
        expect_proxy_error(options, shown, rows[i].code, rows[i].next, rows[i].text);
        proxy_stop(&proxy);
    }
}

/* What the proxy says of its own is not taken for the CA's. */
static void test_headers_of_the_proxy(void **state)
{
    (void)state;
    AUTO_BUF welcome = BUF_INIT;
    struct outcome got;
    buf_adds(&welcome, "Replay-Nonce: stale\r\nRetry-After: 77\r\nLocation: https://evil.test/\r\n");
    for (int i = 0; i < 150; i++) /* nor do they count as header lines of the CA */
        buf_adds(&welcome, "X: y\r\n");
    struct proxy proxy = {.kind = SPEAKS_HTTP, .welcome = buf_str(&welcome)};
    proxy_start(&proxy);
    fetch_with(through(proxy_url(&proxy, "http", "")), HTTP_GET, url_of(&good, "/chunked"), &got);
    assert_true(got.answered);
    assert_string_equal(got.response.nonce, "");
    assert_string_equal(got.response.location, "");
    assert_int_equal(got.response.retry_after_s, -1);
    outcome_clear(&got);
    proxy_stop(&proxy);
}

/* What the CA does wrong behind a proxy is not the proxy's fault. */
static void test_the_ca_fails_behind_a_proxy(void **state)
{
    (void)state;
    static const struct {
        const struct server *server;
        const char *path;
        enum err_code code;
        const char *text;
    } rows[] = {
        {&good, "/cut-body", ERR_NETWORK, "the connection to the CA broke"},
        {&good, "/cut-at-once", ERR_NETWORK, "the connection to the CA broke"},
        {&good, "/mail", ERR_PROTOCOL, "what answers there is no web server"},
        {&good, "/large", ERR_PROTOCOL, "the CA's answer is larger"},
        {&good, "/silent", ERR_TIMEOUT, "the CA does not answer in time"},
        {&misnamed, "/ok", ERR_TLS, "the CA's own HTTPS certificate is not trusted"},
        {&no_tls, "/ok", ERR_TLS, "the TLS handshake with the CA failed"},
    };
    for (enum proxy_kind kind = SPEAKS_HTTP; kind <= SPEAKS_SOCKS; kind++) {
        struct proxy proxy = {.kind = kind};
        proxy_start(&proxy);
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
            struct outcome got;
            struct http_options options =
                through(proxy_url(&proxy, kind == SPEAKS_HTTP ? "http" : "socks5", "hans:Geheim"));
            options.timeout_s = rows[i].code == ERR_TIMEOUT ? 1 : 0;
            fetch_with(options, HTTP_GET, url_of(rows[i].server, rows[i].path), &got);
            if (got.answered || got.err.code != rows[i].code || strstr(got.err.text, rows[i].text) == NULL)
                fail_msg("%s: %s %s", rows[i].path, err_code_name(got.err.code), got.err.text);
            outcome_clear(&got);
        }
        proxy_stop(&proxy);
    }
}

static void test_no_proxy_there(void **state)
{
    (void)state;
    char url[128], shown[64];
    int port, listener = listen_on_loopback(&port);
    close(listener);
    static const char *const schemes[] = {"http", "https", "socks5", "socks5h"};
    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        snprintf(url, sizeof url, "%s://hans:Geheim@127.0.0.1:%d", schemes[i], port);
        snprintf(shown, sizeof shown, "%s://127.0.0.1:%d", schemes[i], port);
        expect_proxy_error(through(url), shown, ERR_NETWORK, NEXT_RETRY_LATER, "cannot be connected to: ");
        snprintf(url, sizeof url, "%s://hans:Geheim@no-such-host.invalid:%d", schemes[i], port);
        snprintf(shown, sizeof shown, "%s://no-such-host.invalid:%d", schemes[i], port);
        expect_proxy_error(through(url), shown, ERR_NETWORK, NEXT_FIX_CONFIG,
                           "has an address that cannot be read or resolved: ");
    }
}

static void test_https_proxy(void **state)
{
    (void)state;
    struct proxy proxy = {.kind = SPEAKS_HTTP, .tls = true, .user = "hans:Geheim"};
    proxy_start(&proxy);
    AUTO_FREE char *shown = mem_fmt("https://127.0.0.1:%d", proxy.server.port);
    AUTO_FREE char *plain = mem_fmt("http://127.0.0.1:%d", proxy.server.port);
    struct server both = {.port = good.port};
    buf_adds(&both.pem, buf_str(&good.pem));
    buf_adds(&both.pem, buf_str(&proxy.server.pem));
    struct http_options options = options_for(&both);
    options.proxy = proxy_url(&proxy, "https", "hans:Geheim");
    expect_ok(options);
    assert_string_equal(proxy.seen->user, "hans:Geheim");
    options.proxy = proxy_url(&proxy, "https", "hans:geheim");
    expect_proxy_error(options, shown, ERR_NETWORK, NEXT_FIX_CONFIG, "does not let this program in");
    expect_proxy_error(through(proxy_url(&proxy, "https", "hans:Geheim")), shown, ERR_TLS, NEXT_FIX_CONFIG,
                       "cannot be spoken to by TLS, or has a certificate that is not trusted: ");
    expect_proxy_error(through(proxy_url(&proxy, "http", "hans:Geheim")), plain, ERR_NETWORK,
                       NEXT_RETRY_LATER, "broke the connection off");
    proxy_stop(&proxy);
    buf_clear(&both.pem);
    struct proxy other = {.kind = SPEAKS_HTTP}; /* which speaks no TLS */
    proxy_start(&other);
    AUTO_FREE char *no_tls_there = mem_fmt("https://127.0.0.1:%d", other.server.port);
    options = through(proxy_url(&other, "https", ""));
    options.timeout_s = 2;
    struct outcome got;
    fetch_with(options, HTTP_GET, url_of(&good, "/ok"), &got);
    assert_false(got.answered);
    assert_non_null(strstr(got.err.text, no_tls_there));
    outcome_clear(&got);
    proxy_stop(&other);
}

static void test_socks_proxy(void **state)
{
    (void)state;
    struct proxy proxy = {.kind = SPEAKS_SOCKS};
    char url[64];
    struct outcome got;
    proxy_start(&proxy);
    snprintf(url, sizeof url, "https://localhost:%d/ok", good.port);
    fetch_with(through(proxy_url(&proxy, "socks5h", "")), HTTP_GET, url, &got);
    assert_true(got.answered);
    assert_memory_equal(proxy.seen->target, "localhost:", 10); /* the proxy resolves the name */
    outcome_clear(&got);
    struct http_options options = through(proxy_url(&proxy, "socks5", ""));
    options.ip_version = 4;
    fetch_with(options, HTTP_GET, url, &got);
    assert_true(got.answered);
    assert_int_equal(proxy.seen->address_type, 1); /* we do */
    outcome_clear(&got);
    AUTO_FREE char *shown = mem_fmt("socks5://127.0.0.1:%d", proxy.server.port);
    fetch_with(through(proxy_url(&proxy, "socks5", "")), HTTP_GET, "https://no-such-host.invalid/", &got);
    assert_non_null(strstr(got.err.text, shown));
    assert_non_null(strstr(got.err.text, "its host name cannot be resolved here"));
    assert_non_null(strstr(got.err.advice, "socks5h://"));
    outcome_clear(&got);
    expect_ok(through(proxy_url(&proxy, "SOCKS5H", "hans:Geheim"))); /* offered, and not wanted */
    proxy_stop(&proxy);
}

static void test_socks_proxy_with_password(void **state)
{
    (void)state;
    struct proxy proxy = {.kind = SPEAKS_SOCKS, .user = "h@ns:Geh:/eim%"};
    char longest[400] = "hans:";
    proxy_start(&proxy);
    AUTO_FREE char *shown = mem_fmt("socks5h://127.0.0.1:%d", proxy.server.port);
    expect_ok(through(proxy_url(&proxy, "socks5h", "h%40ns:Geh%3a%2Feim%25")));
    static const char *const users[] = {"", "hans:Geheim", "h%40ns:"};
    for (size_t i = 0; i < COUNT_OF(users); i++)
        expect_proxy_error(through(proxy_url(&proxy, "socks5h", users[i])), shown, ERR_NETWORK,
                           NEXT_FIX_CONFIG,
                           "does not let this program in without the right user and password: ");
    memset(longest + 5, 'G', 300); /* more than the protocol can carry */
    expect_proxy_error(through(proxy_url(&proxy, "socks5h", longest)), shown, ERR_NETWORK, NEXT_FIX_CONFIG,
                       "does not let this program in without the right user and password: ");
    proxy_stop(&proxy);
}

static void test_what_a_socks_proxy_may_say(void **state)
{
    (void)state;
    static const struct {
        int reply;
        enum err_next next;
        const char *text;
    } rows[] = {
        {1, NEXT_RETRY_LATER, "cannot connect to the CA"},
        {2, NEXT_FIX_CONFIG, "refuses to connect to the CA"},
        {3, NEXT_RETRY_LATER, "cannot connect to the CA"},
        {4, NEXT_RETRY_LATER, "cannot connect to the CA"},
        {5, NEXT_RETRY_LATER, "cannot connect to the CA"},
        {99, NEXT_RETRY_LATER, "broke the connection off"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct proxy proxy = {.kind = SPEAKS_SOCKS, .reply = rows[i].reply};
        proxy_start(&proxy);
        AUTO_FREE char *shown = mem_fmt("socks5h://127.0.0.1:%d", proxy.server.port);
        expect_proxy_error(through(proxy_url(&proxy, "socks5h", "hans:Geheim")), shown, ERR_NETWORK,
                           rows[i].next, rows[i].text);
        proxy_stop(&proxy);
    }
    struct proxy web = {.kind = SPEAKS_HTTP,
                        .answer = "HTTP/1.1 400 Bad Request\r\n\r\n"}; /* another protocol */
    proxy_start(&web);
    AUTO_FREE char *shown = mem_fmt("socks5://127.0.0.1:%d", web.server.port);
    struct http_options options = through(proxy_url(&web, "socks5", ""));
    options.timeout_s = 1;
    struct outcome got;
    fetch_with(options, HTTP_GET, url_of(&good, "/ok"), &got);
    assert_false(got.answered);
    assert_non_null(strstr(got.err.text, shown));
    outcome_clear(&got);
    proxy_stop(&web);
}

static void test_proxy_of_the_environment(void **state)
{
    (void)state;
    struct proxy proxy = {.kind = SPEAKS_HTTP, .user = "hans:Geheim"};
    proxy_start(&proxy);
    AUTO_FREE char *shown = mem_fmt("http://127.0.0.1:%d", proxy.server.port);
    setenv("https_proxy", proxy_url(&proxy, "http", "hans:Geheim"), 1);
    expect_ok(options_for(&good));
    assert_int_equal(proxy.seen->connections, 1);
    expect_ok(through("")); /* none, whatever the environment says */
    assert_int_equal(proxy.seen->connections, 1);
    setenv("no_proxy", "example.org, 127.0.0.1", 1);
    expect_ok(options_for(&good));
    assert_int_equal(proxy.seen->connections, 1);
    expect_ok(through(proxy_url(&proxy, "http", "hans:Geheim"))); /* said expressly */
    assert_int_equal(proxy.seen->connections, 2);
    unsetenv("no_proxy");
    setenv("https_proxy", proxy_url(&proxy, "http", "hans:falsch"), 1);
    struct outcome got;
    fetch_with(options_for(&good), HTTP_GET, url_of(&good, "/ok"), &got);
    assert_false(got.answered);
    assert_int_equal(got.err.next, NEXT_FIX_CONFIG);
    assert_non_null(strstr(got.err.text, shown));
    assert_non_null(strstr(got.err.advice, "the environment variable https_proxy"));
    expect_no_secret(&got.err);
    outcome_clear(&got);
    unsetenv("https_proxy");
    setenv("ALL_PROXY", "http://hans:Geheim@no-such-host.invalid:1", 1);
    fetch_with(options_for(&good), HTTP_GET, url_of(&good, "/ok"), &got);
    assert_non_null(strstr(got.err.text, "the proxy http://no-such-host.invalid:1 has an address"));
    assert_non_null(strstr(got.err.advice, "ALL_PROXY"));
    expect_no_secret(&got.err);
    outcome_clear(&got);
    unsetenv("ALL_PROXY");
    proxy_stop(&proxy);
}

/* curl quotes a proxy that it cannot read, password and all. */
static void test_unreadable_proxies_of_the_environment(void **state)
{
    (void)state;
    static const char *const proxies[] = {
        "http://hans:Geheim@127.0.0.1:99999999",
        "http://hans:Geheim@[::1:3128",
        "telepathy://hans:Geheim@127.0.0.1:1",
        "hans:Geheim@127.0.0.1:x",
        "http://hans:Geheim@ 127.0.0.1:1",
        "http://hans:Geheim%zz@127.0.0.1:1",
        "http://hans:Geheim@",
        "://hans:Geheim@127.0.0.1",
    };
    for (size_t i = 0; i < COUNT_OF(proxies); i++) {
        struct outcome got;
        setenv("https_proxy", proxies[i], 1);
        fetch_with(options_for(&good), HTTP_GET, url_of(&good, "/ok"), &got);
        unsetenv("https_proxy");
        assert_false(got.answered);
        expect_no_secret(&got.err);
        outcome_clear(&got);
    }
}

static void test_proxy_check(void **state)
{
    (void)state;
    static const char *const fine[] = {
        "",
        "proxy.example.org:3128",
        "http://proxy:8080",
        "http://proxy:8080/",
        "HTTPS://proxy.example.org:443",
        "socks5://127.0.0.1:1080",
        "socks5h://user:password@proxy.example.org:1080",
        "http://us%40er:p%3Ass%2F%25@proxy.example.org:65535",
        "http://user@proxy:1",
        "http://:password@proxy:1",
        "http://u:a:b!$&'()*+,;=-._~@proxy:1",
        "http://[2001:db8::1]:3128",
        "http://[fe80::1%25eth0]:3128",
        "http://my_proxy:3128",
    };
    static const struct {
        const char *proxy, *text, *shown;
    } bad[] = {
        {"proxy.example.org", "has no port", "proxy.example.org"},
        {"http://proxy.example.org", "has no port", "http://proxy.example.org"},
        {"http://hans:Geheim@proxy", "has no port", "http://proxy"},
        {"http://proxy:", "has no port", "http://proxy"},
        {"http://proxy:0", "port that is no number", "http://proxy"},
        {"http://proxy:65536", "port that is no number", "http://proxy"},
        {"http://proxy:99999999999999999999", "port that is no number", "http://proxy"},
        {"http://proxy:-1", "port that is no number", "http://proxy"},
        {"http://proxy:80a", "port that is no number", "http://proxy"},
        {"nobody:Geheim", "port that is no number", "nobody"},
        {"http://:3128", "no host name", "http://:3128"},
        {"http://", "no host name", "http://"},
        {"http://hans:Geheim@", "no host name", "http://"},
        {"http://hans:Geheim@:1", "no host name", "http://:1"},
        {"http://[::1:3128", "no host name", "http://[::1:3128"},
        {"http://[]:3128", "no host name", "http://[]:3128"},
        {"http://[::1]x:3128", "no host name", "http://[::1]x:3128"},
        {"http://a,b:3128", "no host name", "http://a,b:3128"},
        {"socks4://proxy:1080", "of a kind", "socks4://proxy:1080"},
        {"socks5x://hans:Geheim@proxy:1080", "of a kind", "socks5x://proxy:1080"},
        {"ftp://proxy:21", "of a kind", "ftp://proxy:21"},
        {"http://proxy:3128/path", "has a path", "http://proxy:3128"},
        {"http://proxy:3128?x=Geheim", "has a path", "http://proxy:3128"},
        {"http://hans:Geh@eim@proxy:3128", "percent-encoded", "http://proxy:3128"},
        {"http://hans:Geh/eim@proxy:3128", "percent-encoded", "http://proxy:3128"},
        {"http://hans:Geh#eim@proxy:3128", "percent-encoded", "http://proxy:3128"},
        {"http://hans:Geh?eim@proxy:3128", "percent-encoded", "http://proxy:3128"},
        {"http://hans:Geh%@proxy:3128", "percent-encoded", "http://proxy:3128"},
        {"http://hans:Geh%zz@proxy:3128", "percent-encoded", "http://proxy:3128"},
        {"http://hans:Geh%00eim@proxy:3128", "percent-encoded", "http://proxy:3128"},
        {"http://hans:Geheim%4@proxy:3128", "percent-encoded", "http://proxy:3128"},
        {"hans:Geheim://x@proxy:3128", "percent-encoded", "proxy:3128"},
        {"http://hans:Geh eim@proxy:3128", "space", "http://proxy:3128"},
        {" http://proxy:3128", "space", NULL},
        {"http://proxy:3128\n", "space", NULL},
        {"http://pr\xC3\xB6xy:3128", "ASCII", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(fine); i++) {
        struct err err = ERR_INIT;
        if (!http_proxy_check(fine[i], &err))
            fail_msg("%s: %s", fine[i], err.text);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct err err = ERR_INIT;
        struct http *http = NULL;
        AUTO_BUF shown = BUF_INIT;
        if (http_proxy_check(bad[i].proxy, &err))
            fail_msg("%s was taken", bad[i].proxy);
        assert_int_equal(err.code, ERR_CONFIG);
        assert_int_equal(err.next, NEXT_FIX_CONFIG);
        if (strstr(err.text, bad[i].text) == NULL)
            fail_msg("%s: %s", bad[i].proxy, err.text);
        assert_non_null(strstr(err.advice, "--proxy"));
        assert_null(strstr(err.text, "Geh"));
        assert_null(strstr(err.text, "hans"));
        http_proxy_redact(bad[i].proxy, &shown);
        if (bad[i].shown != NULL)
            assert_string_equal(buf_str(&shown), bad[i].shown);
        err = (struct err)ERR_INIT;
        struct http_options options = through(bad[i].proxy);
        assert_false(http_new(&options, &http, &err));
        assert_int_equal(err.code, ERR_CONFIG);
        assert_null(http);
    }
}

static void test_proxy_redact(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", ""},
        {"proxy:3128", "proxy:3128"},
        {"http://proxy:3128", "http://proxy:3128"},
        {"http://hans:Geheim@proxy:3128/", "http://proxy:3128"},
        {"hans:Geheim@proxy:3128", "proxy:3128"},
        {"socks5h://hans@[::1]:1080", "socks5h://[::1]:1080"},
        {"http://hans:Ge@he@im@proxy:3128", "http://proxy:3128"},
        {"http://hans:Ge/he#im?@proxy:3128", "http://proxy:3128"},
        {"http://hans:a://b@proxy:3128", "http://proxy:3128"},
        {"http://@", "http://"},
        {"@", ""},
        {"://", ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_BUF out = BUF_INIT;
        buf_adds(&out, "proxy=");
        http_proxy_redact(rows[i][0], &out);
        assert_string_equal(buf_str(&out) + 6, rows[i][1]);
    }
}

/* -- real proxies --------------------------------------------------------------------------------------- */

static void write_file(const char *dir, const char *name, const char *text, mode_t mode)
{
    AUTO_FREE char *path = fs_join(dir, name);
    struct err err = ERR_INIT;
    assert_true(fs_write(path, text, strlen(text), mode, &err));
}

/* The program in the background; true once it listens, false when it does not within a while. */
static bool start_program(const char *const argv[], int port)
{
    stop_program(); /* of a test that has failed */
    program = fork();
    assert_true(program >= 0);
    if (program == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int null = open("/dev/null", O_RDWR);
        setpgid(0, 0);
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        execv(argv[0], (char *const *)argv);
        _exit(127);
    }
    for (int i = 0; i < 200; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                      .sin_port = htons((uint16_t)port)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool there = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
        close(fd);
        if (there)
            return true;
        if (waitpid(program, NULL, WNOHANG) == program) {
            program = 0;
            return false;
        }
        usleep(50000);
    }
    stop_program();
    return false;
}

static int free_port(void)
{
    int port, listener = listen_on_loopback(&port);
    close(listener);
    return port;
}

static void remove_dir(const char *dir)
{
    struct err err = ERR_INIT;
    assert_true(fs_remove_tree(dir, &err));
}

static void test_squid(void **state)
{
    (void)state;
    static const char squid[] = "/usr/sbin/squid", helper[] = "/usr/lib/squid/basic_ncsa_auth";
    char dir[] = "/tmp/tlsup-squid-XXXXXX", url[128], shown[64];
    if (access(squid, X_OK) != 0 || access(helper, X_OK) != 0 || geteuid() != 0) {
        print_message("squid is not here, or this is not root: not tried\n");
        skip();
    }
    int port = free_port();
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0); /* squid gives up root */
    AUTO_FREE char *conf = mem_fmt("http_port 127.0.0.1:%d\n"
                                   "pid_filename none\ncache_log /dev/null\naccess_log none\ncache deny all\n"
                                   "coredump_dir %s\nshutdown_lifetime 0 seconds\npinger_enable off\n"
                                   "netdb_filename none\nvisible_hostname proxy.test\n"
                                   "auth_param basic program %s %s/users\nauth_param basic children 1\n"
                                   "acl known proxy_auth REQUIRED\nacl allowed port %d\n"
                                   "http_access deny !known\nhttp_access allow CONNECT allowed\n"
                                   "http_access deny all\n",
                                   port, dir, helper, dir, good.port);
    write_file(dir, "squid.conf", conf, 0644);
    write_file(dir, "users", "hans:{SHA}x\nh@ns:$1$tlsup$zphNdMsmbBnLMxr6KF5zc1\n", 0644);
    AUTO_FREE char *path = fs_join(dir, "squid.conf");
    const char *const argv[] = {squid, "-N", "-f", path, NULL};
    if (!start_program(argv, port)) {
        remove_dir(dir);
        print_message("squid does not start here: not tried\n");
        skip();
    }
    snprintf(url, sizeof url, "http://h%%40ns:Geh%%3a%%2Feim%%25@127.0.0.1:%d", port);
    snprintf(shown, sizeof shown, "http://127.0.0.1:%d", port);
    expect_ok(through(url));
    struct crowd crowd = {.http = client_with(through(url)), .follow = 10};
    for (int i = 0; i < 10; i++)
        http_start(crowd.http, HTTP_GET, url_of(&good, "/ok"), NULL, 0, count, &crowd);
    wait_for(crowd.http, &crowd.done, 20);
    struct http_stats stats;
    http_stats_get(crowd.http, &stats);
    assert_in_range(stats.connections, 1, 4);
    http_free(crowd.http);
    struct outcome got;
    fetch_with(through(url), HTTP_GET, url_of(&misnamed, "/ok"), &got); /* another port: squid says 403 */
    assert_non_null(strstr(got.err.text, "refuses to connect to the CA"));
    expect_no_secret(&got.err);
    outcome_clear(&got);
    snprintf(url, sizeof url, "http://h%%40ns:Geheim@127.0.0.1:%d", port);
    expect_proxy_error(through(url), shown, ERR_NETWORK, NEXT_FIX_CONFIG, "does not let this program in");
    snprintf(url, sizeof url, "http://127.0.0.1:%d", port);
    expect_proxy_error(through(url), shown, ERR_NETWORK, NEXT_FIX_CONFIG, "does not let this program in");
    stop_program();
    remove_dir(dir);
}

static void test_danted(void **state)
{
    (void)state;
    static const char danted[] = "/usr/sbin/danted";
    char dir[] = "/tmp/tlsup-danted-XXXXXX", url[128], shown[64];
    if (access(danted, X_OK) != 0 || geteuid() != 0) {
        print_message("danted is not here, or this is not root: not tried\n");
        skip();
    }
    static const char *const methods[] = {"none", "username"};
    for (size_t i = 0; i < COUNT_OF(methods); i++) {
        int port = free_port();
        snprintf(dir, sizeof dir, "/tmp/tlsup-danted-XXXXXX");
        assert_non_null(mkdtemp(dir));
        AUTO_FREE char *conf =
            mem_fmt("logoutput: /dev/null\ninternal: 127.0.0.1 port = %d\nexternal: 127.0.0.1\n"
                    "clientmethod: none\nsocksmethod: %s\nuser.privileged: root\n"
                    "user.unprivileged: nobody\n"
                    "client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }\n"
                    "socks pass { from: 127.0.0.0/8 to: 0.0.0.0/0 port = %d }\n",
                    port, methods[i], good.port);
        write_file(dir, "danted.conf", conf, 0644);
        AUTO_FREE char *path = fs_join(dir, "danted.conf"), *pidfile = fs_join(dir, "pid");
        const char *const argv[] = {danted, "-N", "1", "-f", path, "-p", pidfile, NULL};
        if (!start_program(argv, port)) {
            remove_dir(dir);
            print_message("danted does not start here: not tried\n");
            skip();
        }
        snprintf(shown, sizeof shown, "socks5h://127.0.0.1:%d", port);
        snprintf(url, sizeof url, "socks5h://%s127.0.0.1:%d", i == 0 ? "" : "hans:Geheim@", port);
        if (i == 0) {
            expect_ok(through(url));
            snprintf(url, sizeof url, "socks5://127.0.0.1:%d", port);
            expect_ok(through(url));
            struct outcome got;
            fetch_with(through(url), HTTP_GET, url_of(&misnamed, "/ok"), &got); /* another port */
            assert_non_null(strstr(got.err.text, "refuses to connect to the CA"));
            outcome_clear(&got);
        } else { /* it asks the system's users, of whom none is called so */
            expect_proxy_error(through(url), shown, ERR_NETWORK, NEXT_FIX_CONFIG,
                               "does not let this program in");
            snprintf(url, sizeof url, "socks5h://127.0.0.1:%d", port);
            expect_proxy_error(through(url), shown, ERR_NETWORK, NEXT_FIX_CONFIG,
                               "does not let this program in");
        }
        stop_program();
        remove_dir(dir);
    }
}

/* -- the way -------------------------------------------------------------------------------------------- */

static void expect_peer(struct http_options options, const char *host, const char *peer)
{
    struct outcome got;
    char url[128];
    snprintf(url, sizeof url, "https://%s:%d/peer", host, good.port);
    fetch_with(options, HTTP_GET, url, &got);
    if (!got.answered || strcmp(buf_str(&got.response.body), peer) != 0)
        fail_msg("%s: \"%s\" %s", url, buf_str(&got.response.body), got.err.text);
    outcome_clear(&got);
}

static void test_source_address(void **state)
{
    (void)state;
    struct http_options options = options_for(&good);
    expect_peer(options, "127.0.0.1", "127.0.0.1");
    options.interface = "";
    expect_peer(options, "127.0.0.1", "127.0.0.1");
    options.interface = "127.0.0.77";
    expect_peer(options, "127.0.0.1", "127.0.0.77");
    options.interface = "lo";
    expect_peer(options, "127.0.0.1", "127.0.0.1");
    static const char *const bad[] = {"203.0.113.9", "no-such-if0", "2001:db8::1", "\x1B[2J"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct outcome got;
        options.interface = bad[i];
        fetch_with(options, HTTP_GET, url_of(&good, "/ok"), &got);
        assert_false(got.answered);
        if (strstr(got.err.advice, "--interface") == NULL)
            fail_msg("%s: %s; %s", bad[i], got.err.text, got.err.advice);
        assert_null(strchr(got.err.text, '\x1B'));
        outcome_clear(&got);
    }
}

static void test_ip_versions(void **state)
{
    (void)state;
    struct outcome got;
    char url[64];
    struct http_options v4 = options_for(&good), v6 = options_for(&good6);
    v4.ip_version = 4;
    v6.ip_version = 6;
    expect_peer(v4, "localhost", "127.0.0.1");
    if (good6.pid > 0)
        expect_peer(v6, "localhost", "::1");
    v4.ip_version = 5; /* there is none: either */
    expect_peer(v4, "127.0.0.1", "127.0.0.1");
    /* a CA without such an address */
    static const struct {
        int version;
        const char *host, *option;
    } rows[] = {{6, "127.0.0.1", "--ipv6"}, {4, "[::1]", "--ipv4"}, {6, "localhost:1", "--ipv6"}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        v4.ip_version = rows[i].version;
        snprintf(url, sizeof url, "https://%s/", rows[i].host);
        fetch_with(v4, HTTP_GET, url, &got);
        assert_false(got.answered);
        if (strstr(got.err.advice, rows[i].option) == NULL)
            fail_msg("%s: %s; %s", url, got.err.text, got.err.advice);
        outcome_clear(&got);
    }
}

static void test_timeout(void **state)
{
    (void)state;
    static const int timeouts_s[] = {0, -1, 1, 1000, INT32_MAX};
    for (size_t i = 0; i < COUNT_OF(timeouts_s); i++) {
        struct http_options options = options_for(&good);
        options.timeout_s = timeouts_s[i];
        expect_ok(options);
    }
    struct outcome got;
    struct http_options options = options_for(&good);
    options.timeout_s = 1;
    fetch_with(options, HTTP_POST, url_of(&good, "/silent"), &got);
    assert_false(got.answered);
    assert_int_equal(got.err.code, ERR_TIMEOUT);
    assert_int_equal(got.err.next, NEXT_RETRY_LATER);
    assert_non_null(strstr(got.err.advice, "--timeout"));
    outcome_clear(&got);
}

static void test_form(void **state)
{
    (void)state;
    struct outcome got = {0};
    struct http *http = client(&good);
    http_start(http, HTTP_POST_FORM, url_of(&good, "/echo"), "email=a%40b.test", 16, keep, &got);
    wait_for(http, &got.calls, 1);
    const char *text = buf_str(&got.response.body);
    assert_memory_equal(text, "POST /echo HTTP/1.1\r\n", 21);
    assert_non_null(strstr(text, "\r\nContent-Type: application/x-www-form-urlencoded\r\n"));
    assert_null(strstr(text, "jose"));
    assert_non_null(strstr(text, "\r\nContent-Length: 16\r\n"));
    assert_non_null(strstr(text, "\r\nUser-Agent: tlsup-test/1 (x)\r\n"));
    assert_non_null(strstr(text, "\r\n\r\nemail=a%40b.test"));
    assert_null(strcasestr(text, "expect:"));
    outcome_clear(&got);
    http_free(http);
}

/* With --debug everything is logged; but no password of a proxy, and no credentials that a form is answered
 * with. */
static void test_log_has_no_secrets(void **state)
{
    (void)state;
    static char text[65536];
    struct proxy proxy = {.kind = SPEAKS_HTTP, .user = "hans:Geheim"};
    struct outcome got;
    proxy_start(&proxy);
    FILE *file = tmpfile();
    int old = dup(STDERR_FILENO);
    assert_true(file != NULL && old >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    log_set_level(LOG_LEVEL_DEBUG);
    for (int i = 0; i < 4; i++) {
        fetch_with(through(proxy_url(&proxy, "http", i % 2 ? "hans:Geheim" : "hans:geheim")),
                   i < 2 ? HTTP_POST : HTTP_POST_FORM, url_of(&good, i < 2 ? "/ok" : "/problem"), &got);
        outcome_clear(&got);
    }
    log_set_level(LOG_LEVEL_WARN);
    dup2(old, STDERR_FILENO);
    close(old);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    proxy_stop(&proxy);
    assert_non_null(strstr(text, "/ok: 200"));
    assert_non_null(strstr(text, "/problem: 429"));
    assert_null(strstr(text, "slow down")); /* the answer to the form */
    assert_null(strstr(text, "hans"));
    assert_null(strcasestr(text, "geheim"));
}

/* -- header lines --------------------------------------------------------------------------------------- */

static void line(struct http_response *response, const char *text)
{
    http_header_line(response, text, strlen(text));
}

static void test_retry_after(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        int64_t wait_s;
    } rows[] = {
        {"0", 0},
        {"120", 120},
        {"  7  ", 7},
        {"007", 7},
        {"86400", 86400},
        {"86401", 86400},
        {"99999999999999999999999999", 86400},
        {"-1", -1},
        {"+5", -1},
        {"1.5", -1},
        {"5s", -1},
        {"5 6", -1},
        {"0x10", -1},
        {"", -1},
        {"soon", -1},
        {"Sun, 22 Nov 2026 14:06:09 GMT", 60},
        {"Sun, 22 Nov 2026 14:05:09 GMT", 0},
        {"Sun, 22 Nov 2026 14:05:08 GMT", 0},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Fri, 31 Dec 9999 23:59:59 GMT", 86400},
        {"Sun, 22 Nov 2026 14:06:09", -1},
        {"2026-11-22T14:06:09Z", -1},
    };
    clock_freeze(NOW_S, 0);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct http_response response = {.retry_after_s = -1};
        AUTO_FREE char *text = mem_fmt("rEtRy-AfTeR:%s\r\n", rows[i].value);
        line(&response, text);
        if (response.retry_after_s != rows[i].wait_s)
            fail_msg("\"%s\": %lld", rows[i].value, (long long)response.retry_after_s);
        http_response_clear(&response);
    }
    clock_thaw();
}

/* What the clock of this machine is compared with. */
static void test_date(void **state)
{
    (void)state;
    static const struct {
        const char *lines[3];
        bool dated, stored;
        int64_t ahead_s;
    } rows[] = {
        {{"date:Sun, 22 Nov 2026 14:05:09 GMT"}, true, false, 0},
        {{"Date: Sun, 22 Nov 2026 14:00:09 GMT\r\n"}, true, false, 300},
        {{"Date: Mon, 23 Nov 2026 14:05:09 GMT"}, true, false, -86400},
        {{"Date: Sun, 22 Nov 2026 14:00:09 GMT", "Age: 300"}, true, true, 300},
        {{"Age: 00x", "Date: Sun, 22 Nov 2026 14:00:09 GMT"}, true, true, 300},
        {{"Age: 0", "Date: Sun, 22 Nov 2026 14:00:09 GMT"}, true, false, 300},
        {{"Date: Sun Nov 22 14:00:09 2026"}, false, false, 0},
        {{"Date: Sunday, 22-Nov-26 14:00:09 GMT"}, false, false, 0},
        {{"Date: now"}, false, false, 0},
        {{"Date:"}, false, false, 0},
        {{"Dated: Sun, 22 Nov 2026 14:00:09 GMT"}, false, false, 0},
        {{"Date: Sun, 22 Nov 2026 14:00:09 GMT", "Date: gone"}, false, false, 0},
    };
    clock_freeze(NOW_S, 0);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct http_response response = {.retry_after_s = -1};
        for (size_t k = 0; rows[i].lines[k] != NULL; k++)
            line(&response, rows[i].lines[k]);
        if (response.dated != rows[i].dated || response.stored != rows[i].stored ||
            response.ahead_s != rows[i].ahead_s)
            fail_msg("%s: %d %d %lld", rows[i].lines[0], response.dated, response.stored,
                     (long long)response.ahead_s);
        http_response_clear(&response);
    }
    clock_thaw();
}

static void test_links(void **state)
{
    (void)state;
    static const struct {
        const char *value, *alternates, *terms;
    } rows[] = {
        {"<https://ca.test/1>;rel=\"alternate\"", "https://ca.test/1", ""},
        {"<https://ca.test/1>; REL=Alternate", "https://ca.test/1", ""},
        {"<https://ca.test/1>;title=\"x\" ; rel=\"alternate\";type=y", "https://ca.test/1", ""},
        {"<https://ca.test/1>;title=\"a, <b>; c\";rel=\"alternate\"", "https://ca.test/1", ""},
        {"<https://ca.test/1>;rel=alternate,<https://ca.test/2>;rel=\"alternate\" , "
         "<https://ca.test/3>;rel=up",
         "https://ca.test/1 https://ca.test/2", ""},
        {"<https://ca.test/a,b>;rel=\"alternate\"", "https://ca.test/a,b", ""},
        {"<https://ca.test/tos>;rel=\"terms-of-service\"", "", "https://ca.test/tos"},
        {"<https://ca.test/tos>;rel=\"terms-of-service\", <https://ca.test/1>;rel=\"alternate\"",
         "https://ca.test/1", "https://ca.test/tos"},
        {"<https://ca.test/1>;rel=\"alternates\"", "", ""},
        {"<https://ca.test/1>;rel=\"alt\"", "", ""},
        {"<https://ca.test/1>;xrel=\"alternate\"", "", ""},
        {"<https://ca.test/1>", "", ""},
        {"<http://ca.test/1>;rel=\"alternate\"", "", ""},
        {"</relative>;rel=\"alternate\"", "", ""},
        {"<>;rel=\"alternate\"", "", ""},
        {"<https://ca.test/1;rel=\"alternate\"", "", ""},
        {"https://ca.test/1;rel=\"alternate\"", "", ""},
        {"<https://ca.test/1>;rel", "", ""},
        {"<https://ca.test/1>;rel=", "", ""},
        {"<https://ca.test/1>;rel=\"", "", ""},
        {"<https://ca.test/1>;", "", ""},
        {"<https://ca.test/1>;\"unbalanced, <https://ca.test/2>;rel=alternate", "https://ca.test/1", ""},
        {"", "", ""},
        {"<", "", ""},
        {",,,", "", ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct http_response response = {.retry_after_s = -1};
        AUTO_FREE char *text = mem_fmt("Link: %s", rows[i].value);
        line(&response, text);
        AUTO_FREE char *alternates = strlist_join(&response.alternates, " ");
        if (strcmp(alternates, rows[i].alternates) != 0 || strcmp(response.terms, rows[i].terms) != 0)
            fail_msg("%s: \"%s\" \"%s\"", rows[i].value, alternates, response.terms);
        http_response_clear(&response);
    }
    struct http_response response = {.retry_after_s = -1};
    for (int i = 0; i < 1000; i++)
        line(&response, "Link: <https://ca.test/1>;rel=\"alternate\"");
    assert_in_range(response.alternates.n, 1, 16);
    http_response_clear(&response);
}

static void test_other_headers(void **state)
{
    (void)state;
    struct http_response response = {.retry_after_s = -1};
    AUTO_BUF much = BUF_INIT;
    line(&response, "Replay-Nonce:first");
    line(&response, "Replay-Nonce: second \t ");
    assert_string_equal(response.nonce, "second");
    line(&response, "Location: https://ca.test/1");
    line(&response, "Content-Type: TEXT/Plain ; charset=x");
    assert_string_equal(response.content_type, "text/plain");
    /* what is no header changes nothing */
    line(&response, "");
    line(&response, "\r\n");
    line(&response, ":");
    line(&response, "Replay-Nonce");
    line(&response, "Replay-Nonces: x");
    line(&response, "X: Replay-Nonce: x");
    http_header_line(&response, "Replay-Nonce: a\0b", 17);
    assert_string_equal(response.nonce, "second");
    assert_string_equal(response.location, "https://ca.test/1");
    /* a part of a nonce, or of an address, would be another one */
    buf_adds(&much, "Replay-Nonce: ");
    for (int i = 0; i < 600; i++)
        buf_addc(&much, 'n');
    line(&response, buf_str(&much));
    assert_string_equal(response.nonce, "");
    buf_reset(&much);
    buf_adds(&much, "Location: https://ca.test/");
    for (int i = 0; i < URL_MAX_BYTES; i++)
        buf_addc(&much, 'l');
    line(&response, buf_str(&much));
    assert_string_equal(response.location, "");
    line(&response, "Location: /relative");
    assert_string_equal(response.location, "");
    buf_reset(&much);
    buf_adds(&much, "Content-Type: ");
    for (int i = 0; i < 1000; i++)
        buf_addc(&much, 't');
    line(&response, buf_str(&much)); /* only must not overflow */
    assert_true(strlen(response.content_type) < sizeof response.content_type);
    http_response_clear(&response);
    assert_int_equal(response.retry_after_s, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_interim_answers_are_forgotten),
        cmocka_unit_test(test_forms_of_answers),
        cmocka_unit_test(test_request_to_the_byte),
        cmocka_unit_test(test_large_post),
        cmocka_unit_test(test_no_cookies),
        cmocka_unit_test(test_broken_answers),
        cmocka_unit_test(test_trust),
        cmocka_unit_test(test_bad_bundles),
        cmocka_unit_test(test_wrong_addresses),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_freed_with_requests_under_way),
        cmocka_unit_test(test_wait_sees_the_other_descriptor),
        cmocka_unit_test(test_http_proxy),
        cmocka_unit_test(test_connections_through_a_proxy),
        cmocka_unit_test(test_proxy_with_password),
        cmocka_unit_test(test_what_an_http_proxy_may_say),
        cmocka_unit_test(test_headers_of_the_proxy),
        cmocka_unit_test(test_the_ca_fails_behind_a_proxy),
        cmocka_unit_test(test_no_proxy_there),
        cmocka_unit_test(test_https_proxy),
        cmocka_unit_test(test_socks_proxy),
        cmocka_unit_test(test_socks_proxy_with_password),
        cmocka_unit_test(test_what_a_socks_proxy_may_say),
        cmocka_unit_test(test_proxy_of_the_environment),
        cmocka_unit_test(test_unreadable_proxies_of_the_environment),
        cmocka_unit_test(test_proxy_check),
        cmocka_unit_test(test_proxy_redact),
        cmocka_unit_test(test_squid),
        cmocka_unit_test(test_danted),
        cmocka_unit_test(test_source_address),
        cmocka_unit_test(test_ip_versions),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_log_has_no_secrets),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_date),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_other_headers),
    };
    return cmocka_run_group_tests(tests, start_servers, stop_servers);
}
