/*
 * test_http.c - the HTTPS client against a real server of all kinds of bad manners, on a loopback port in a
 * child process.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cmocka.h>

#include "tlsup/clock.h"
#include "tlsup/http.h"
#include "tlsup/mem.h"

enum { NOW_S = 1795356309 /* Sun, 22 Nov 2026 14:05:09 GMT */, MIB = 1 << 20 };

struct server {
    pid_t pid;
    int port;
    struct buf pem; /* its self-signed certificate */
};

static struct server good, misnamed, expired, no_tls;

/* -- certificates
 * -------------------------------------------------------------------------------------------- */

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
    buf_add(out, data, (size_t)BIO_get_mem_data(bio, &data));
    BIO_free(bio);
}

/* -- the server
 * ---------------------------------------------------------------------------------------------- */

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

static void server_start(struct server *server, const char *names, long from_s, long until_s)
{
    int listener = listen_on_loopback(&server->port);
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
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
    buf_clear(&server->pem);
}

static int start_servers(void **state)
{
    static const char *const proxies[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(proxies); i++)
        unsetenv(proxies[i]);
    server_start(&good, "IP:127.0.0.1,DNS:localhost", -3600, 86400);
    server_start(&misnamed, "DNS:other.test", -3600, 86400);
    server_start(&expired, "IP:127.0.0.1", -86400, -3600);
    server_start(&no_tls, NULL, 0, 0);
    return 0;
}

static int stop_servers(void **state)
{
    (void)state;
    server_stop(&good);
    server_stop(&misnamed);
    server_stop(&expired);
    server_stop(&no_tls);
    return 0;
}

/* -- the client
 * ---------------------------------------------------------------------------------------------- */

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

static struct http *client(const struct server *trusted)
{
    struct http *http = NULL;
    struct err err = ERR_INIT;
    struct http_options options = {.user_agent = "tlsup-test/1 (x)"};
    if (trusted != NULL) {
        options.ca_pem = buf_str(&trusted->pem);
        options.ca_pem_len = trusted->pem.len;
        options.ca_name = "/the/bundle.pem";
    }
    assert_true(http_new(&options, &http, &err));
    return http;
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
static void fetch(const struct server *server, const struct server *trusted, enum http_method method,
                  const char *path, struct outcome *outcome)
{
    struct http *http = client(trusted);
    *outcome = (struct outcome){0};
    http_start(http, method, url_of(server, path), "{}", 2, keep, outcome);
    wait_for(http, &outcome->calls, 1);
    http_free(http);
    assert_int_equal(outcome->calls, 1);
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
    assert_non_null(strstr(got.err.advice, "--ca-bundle"));
    assert_non_null(strstr(got.err.advice, "clock"));
    assert_non_null(strstr(got.err.advice, advice));
    outcome_clear(&got);
}

static void test_trust(void **state)
{
    (void)state;
    expect_distrust(&good, NULL, "ca-certificates");          /* the system knows nothing of it */
    expect_distrust(&good, &misnamed, "/the/bundle.pem");     /* another root */
    expect_distrust(&misnamed, &misnamed, "/the/bundle.pem"); /* another name */
    expect_distrust(&expired, &expired, "/the/bundle.pem");
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

/* -- many at once
 * -------------------------------------------------------------------------------------------- */

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

/* -- header lines
 * -------------------------------------------------------------------------------------------- */

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
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_other_headers),
    };
    return cmocka_run_group_tests(tests, start_servers, stop_servers);
}
