/*
 * test_probe.c - probes against real servers on loopback: good ones, odd ones, silent ones and hostile ones.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tlsup/cert.h"
#include "tlsup/mem.h"
#include "tlsup/probe.h"

#define NAME "example.org"
#define PATIENT_MS 20000 /* for what must succeed, on a busy machine too */
#define SHORT_MS 150     /* for what must run out */

/* -- servers, one connection at a time, in a thread ----------------------------------------------------- */

/* What a server says and hears, in turn. */
struct line {
    bool heard;
    const char *text;
    size_t len;
};
#define SAYS(literal)                                                                                        \
    {                                                                                                        \
        false, literal, sizeof(literal) - 1                                                                  \
    }
#define HEARS(literal)                                                                                       \
    {                                                                                                        \
        true, literal, sizeof(literal) - 1                                                                   \
    }

struct server {
    int listener;
    int port;
    pthread_t thread;
    void (*serve)(struct server *server, int fd);
    const char *answer;
    SSL_CTX *tls;
    const struct line *lines;
    size_t heard;       /* lines that came as they should */
    char request[4096]; /* what the probe sent, after server_stop() */
    char sni[256];
};

static void write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        data += n;
        len -= (size_t)n;
    }
}

/* Until the probe closes, so that our own close is not what it sees. */
static void drain(int fd)
{
    char bytes[4096];
    while (recv(fd, bytes, sizeof(bytes), 0) > 0)
        ;
}

static void read_request(struct server *server, int fd)
{
    size_t len = 0;
    while (len < sizeof(server->request) - 1 && strstr(server->request, "\r\n\r\n") == NULL) {
        ssize_t n = recv(fd, server->request + len, sizeof(server->request) - 1 - len, 0);
        if (n <= 0)
            return;
        len += (size_t)n;
    }
}

static void answer_and_close(struct server *server, int fd)
{
    read_request(server, fd);
    write_all(fd, server->answer, strlen(server->answer));
}

static void answer_and_wait(struct server *server, int fd)
{
    answer_and_close(server, fd);
    drain(fd);
}

/* In the smallest pieces there are. */
static void answer_byte_by_byte(struct server *server, int fd)
{
    read_request(server, fd);
    for (const char *c = server->answer; *c != '\0'; c++)
        write_all(fd, c, 1);
}

/* To a client that speaks first in another language. */
static void say_at_once(struct server *server, int fd)
{
    write_all(fd, server->answer, strlen(server->answer));
    shutdown(fd, SHUT_WR);
    drain(fd);
}

static void say_nothing(struct server *server, int fd)
{
    (void)server;
    drain(fd);
}

static void close_at_once(struct server *server, int fd)
{
    (void)server;
    (void)fd;
}

static void reset_at_once(struct server *server, int fd)
{
    struct linger linger = {1, 0};
    (void)server;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static void repeat_without_end(struct server *server, int fd)
{
    size_t len = strlen(server->answer);
    while (send(fd, server->answer, len, MSG_NOSIGNAL) > 0)
        ;
}

static void begin_then_repeat_headers(struct server *server, int fd)
{
    (void)server;
    static const char begin[] = "HTTP/1.1 200 OK\r\n", more[] = "X-More: and more\r\n";
    write_all(fd, begin, sizeof(begin) - 1);
    while (send(fd, more, sizeof(more) - 1, MSG_NOSIGNAL) > 0)
        ;
}

static void serve_tls(struct server *server, int fd)
{
    SSL *ssl = SSL_new(server->tls);
    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1) {
        const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
        snprintf(server->sni, sizeof(server->sni), "%s", sni == NULL ? "" : sni);
        int n = SSL_read(ssl, server->request, sizeof(server->request) - 1);
        if (n > 0 && server->answer != NULL)
            (void)SSL_write(ssl, server->answer, (int)strlen(server->answer));
        (void)SSL_shutdown(ssl);
    }
    SSL_free(ssl);
    shutdown(fd, SHUT_WR);
    drain(fd);
}

/* Behind a load balancer: a line of the PROXY protocol, or nothing. */
static bool proxy_line(const struct server *server, int fd)
{
    char line[128] = "", wanted[128];
    size_t len = 0;
    snprintf(wanted, sizeof(wanted), "PROXY TCP4 127.0.0.1 127.0.0.1 50000 %d\r\n", server->port);
    while (len < strlen(wanted) && strncmp(line, wanted, len) == 0 && recv(fd, line + len, 1, 0) == 1)
        len++;
    return strcmp(line, wanted) == 0;
}

static void answer_through_proxy(struct server *server, int fd)
{
    if (proxy_line(server, fd))
        answer_and_close(server, fd);
}

static void serve_tls_through_proxy(struct server *server, int fd)
{
    if (proxy_line(server, fd))
        serve_tls(server, fd);
}

static void *run(void *arg)
{
    struct server *server = arg;
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL); /* here alone: the probe's thread must live without */
    for (int fd; (fd = accept(server->listener, NULL, NULL)) >= 0; close(fd))
        server->serve(server, fd);
    return NULL;
}

/* A port of the system's choice; nobody listens yet. */
static bool server_bind(struct server *server, int family)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_storage bound;
    socklen_t size = sizeof(bound);
    server->listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server->listener < 0)
        return false;
    if (bind(server->listener, family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
             family == AF_INET ? sizeof(v4) : sizeof(v6)) != 0) {
        close(server->listener);
        return false;
    }
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&bound, &size), 0);
    server->port = ntohs(family == AF_INET ? ((struct sockaddr_in *)&bound)->sin_port
                                           : ((struct sockaddr_in6 *)&bound)->sin6_port);
    return true;
}

static bool server_listen(struct server *server, int family)
{
    return server_bind(server, family) && listen(server->listener, 0) == 0;
}

static void server_start(struct server *server)
{
    assert_true(server_listen(server, AF_INET));
    assert_int_equal(pthread_create(&server->thread, NULL, run, server), 0);
}

static void server_stop(struct server *server)
{
    shutdown(server->listener, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->listener);
    SSL_CTX_free(server->tls);
    server->tls = NULL;
}

/* -- a certificate of the moment ------------------------------------------------------------------------ */

static X509 *new_certificate(EVP_PKEY *key)
{
    X509 *cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -7200);
    X509_gmtime_adj(X509_getm_notAfter(cert), -3600); /* expired: the probe does not judge */
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)"nobody", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    return cert;
}

/* A server context with a fresh certificate, whose fingerprint is written to `sha256`. */
static SSL_CTX *new_tls(char sha256[65])
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = new_certificate(key);
    unsigned char *der = NULL;
    int len = i2d_X509(cert, &der);
    cert_sha256(der, (size_t)len, sha256);
    OPENSSL_free(der);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
    return ctx;
}

/* One more, of the other kind. */
static void add_rsa(SSL_CTX *ctx, char sha256[65])
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    X509 *cert = new_certificate(key);
    unsigned char *der = NULL;
    int len = i2d_X509(cert, &der);
    cert_sha256(der, (size_t)len, sha256);
    OPENSSL_free(der);
    assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                       unsigned in_len, void *arg)
{
    const char *wanted = arg;
    (void)ssl;
    return SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, (const unsigned char *)wanted,
                                 (unsigned)strlen(wanted), in, in_len) == OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int refuse_name(SSL *ssl, int *alert, void *arg)
{
    (void)ssl;
    (void)arg;
    *alert = SSL_AD_UNRECOGNIZED_NAME;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void says(const struct err *err, enum err_code code, const char *part)
{
    if (err->code != code || strstr(err->text, part) == NULL)
        fail_msg("%s: \"%s\" instead of %s: \"%s\"", err_code_name(err->code), err->text, err_code_name(code),
                 part);
}

/* -- TLS ------------------------------------------------------------------------------------------------ */

static void tls_tells_what_is_served(void **state)
{
    (void)state;
    static const struct {
        int max_version;
        const char *alpn, *version, *chosen;
    } cases[] = {
        {0, "\2h2\10http/1.1", "TLSv1.3", "h2"},
        {TLS1_2_VERSION, "\10http/1.1", "TLSv1.2", "http/1.1"},
        {TLS1_2_VERSION, NULL, "TLSv1.2", ""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char sha256[65];
        struct server server = {.serve = serve_tls, .tls = new_tls(sha256)};
        SSL_CTX_set_max_proto_version(server.tls, cases[i].max_version);
        if (cases[i].alpn != NULL)
            SSL_CTX_set_alpn_select_cb(server.tls, choose_alpn, (void *)(uintptr_t)cases[i].alpn);
        server_start(&server);
        struct probe_tls out = {0};
        struct err err = ERR_INIT;
        bool ok = probe_tls("127.0.0.1", server.port, NAME, PATIENT_MS, &out, &err);
        server_stop(&server);
        if (!ok)
            fail_msg("%s", err.text);
        assert_string_equal(out.sha256, sha256);
        assert_string_equal(out.version, cases[i].version);
        assert_string_equal(out.alpn, cases[i].chosen);
        assert_string_equal(server.sni, NAME);
    }
}

static void no_sni_for_addresses(void **state)
{
    (void)state;
    static const char *const names[] = {"192.0.2.1", "2001:db8::1", "", NULL};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char sha256[65];
        struct server server = {.serve = serve_tls, .tls = new_tls(sha256), .sni = "unset"};
        server_start(&server);
        struct probe_tls out;
        struct err err = ERR_INIT;
        bool ok = probe_tls("127.0.0.1", server.port, names[i], PATIENT_MS, &out, &err);
        server_stop(&server);
        assert_true(ok);
        assert_string_equal(server.sni, "");
    }
}

/* Of two certificates each kind of visitor sees its own, also where the server would rather show the other.
 */
static void each_kind_sees_its_certificate(void **state)
{
    (void)state;
    static const struct {
        int version;
        const char *ciphers; /* in the server's order */
    } cases[] = {{TLS1_3_VERSION, "DEFAULT"},
                 {TLS1_2_VERSION, "ECDHE+aECDSA:ECDHE+aRSA:kRSA"},
                 {TLS1_2_VERSION, "kRSA:ECDHE+aRSA:ECDHE+aECDSA"}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (enum probe_kind kind = PROBE_ANY; kind <= PROBE_ECDSA; kind++) {
            char ecdsa[65], rsa[65];
            struct server server = {.serve = serve_tls, .tls = new_tls(ecdsa)};
            add_rsa(server.tls, rsa);
            SSL_CTX_set_max_proto_version(server.tls, cases[i].version);
            SSL_CTX_set_options(server.tls, SSL_OP_CIPHER_SERVER_PREFERENCE);
            assert_int_equal(SSL_CTX_set_cipher_list(server.tls, cases[i].ciphers), 1);
            server_start(&server);
            struct probe_tls out = {0};
            struct err err = ERR_INIT;
            bool ok = probe_tls_kind("127.0.0.1", server.port, NAME, kind, PATIENT_MS, &out, &err);
            server_stop(&server);
            if (!ok)
                fail_msg("%s", err.text);
            if (kind == PROBE_ANY)
                assert_true(strcmp(out.sha256, rsa) == 0 || strcmp(out.sha256, ecdsa) == 0);
            else
                assert_string_equal(out.sha256, kind == PROBE_RSA ? rsa : ecdsa);
        }
    }
}

/* A server that has one kind alone has nothing for the visitors of the other. */
static void the_other_kind_is_refused(void **state)
{
    (void)state;
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < COUNT_OF(versions); i++) {
        char sha256[65];
        struct server server = {.serve = serve_tls, .tls = new_tls(sha256)};
        SSL_CTX_set_max_proto_version(server.tls, versions[i]);
        server_start(&server);
        struct probe_tls out;
        struct err err = ERR_INIT;
        bool ok = probe_tls_kind("127.0.0.1", server.port, NAME, PROBE_RSA, PATIENT_MS, &out, &err);
        server_stop(&server);
        assert_false(ok);
        says(&err, ERR_TLS, "handshake_failure (40)");
    }
}

/* A server that wants a certificate of the visitor still shows its own. */
static void client_certificate_wanted(void **state)
{
    (void)state;
    char sha256[65];
    struct server server = {.serve = serve_tls, .tls = new_tls(sha256)};
    SSL_CTX_set_verify(server.tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    server_start(&server);
    struct probe_tls out;
    struct err err = ERR_INIT;
    bool ok = probe_tls("127.0.0.1", server.port, NAME, PATIENT_MS, &out, &err);
    server_stop(&server);
    assert_true(ok);
    assert_string_equal(out.sha256, sha256);
}

static void alerts_are_named(void **state)
{
    (void)state;
    enum kind { OLD_TLS, WRONG_NAME, NO_CERTIFICATE };
    static const struct {
        enum kind kind;
        const char *alert, *advice;
    } cases[] = {
        {OLD_TLS, "alert protocol_version", "TLS 1.2"},
        {WRONG_NAME, "alert unrecognized_name", "No site"},
        {NO_CERTIFICATE, "alert handshake_failure", "certificate"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char sha256[65];
        struct server server = {.serve = serve_tls, .tls = new_tls(sha256)};
        if (cases[i].kind == OLD_TLS) {
            SSL_CTX_set_security_level(server.tls, 0);
            SSL_CTX_set_min_proto_version(server.tls, TLS1_VERSION);
            SSL_CTX_set_max_proto_version(server.tls, TLS1_1_VERSION);
        } else if (cases[i].kind == WRONG_NAME) {
            SSL_CTX_set_tlsext_servername_callback(server.tls, refuse_name);
        } else {
            SSL_CTX_free(server.tls);
            server.tls = SSL_CTX_new(TLS_server_method());
        }
        server_start(&server);
        struct probe_tls out;
        struct err err = ERR_INIT;
        bool ok = probe_tls("127.0.0.1", server.port, NAME, PATIENT_MS, &out, &err);
        server_stop(&server);
        assert_false(ok);
        says(&err, ERR_TLS, cases[i].alert);
        assert_non_null(strstr(err.advice, cases[i].advice));
        assert_string_equal(err.subject, NAME);
    }
}

static void what_is_not_tls_is_named(void **state)
{
    (void)state;
    static const struct {
        void (*serve)(struct server *server, int fd);
        const char *answer;
        enum err_code code;
        const char *text;
    } cases[] = {
        {say_at_once, "HTTP/1.1 400 Bad Request\r\n\r\n", ERR_TLS, "looks like plain HTTP"},
        {say_at_once, "<html>no</html>", ERR_TLS, "looks like plain HTTP"},
        {say_at_once, "SSH-2.0-OpenSSH_9.2\r\n", ERR_TLS, "begins with \"SSH-2.0-OpenSSH_9.2\""},
        {say_at_once, "\xff\xfe\x01garbage", ERR_TLS, "is not TLS"},
        {say_at_once, "\x1b[2Jx", ERR_TLS, "is not TLS"}, /* no escape reaches the terminal */
        {say_at_once, "\x16\x03\x03", ERR_TLS, "in the middle of the TLS handshake"},
        {say_at_once, "\x16\x03\x03\xff\xff garbage", ERR_TLS, "TLS handshake"},
        {say_at_once, "\x15\x03\x03\x01", ERR_TLS, "in the middle of the TLS handshake"},
        {close_at_once, "", ERR_TLS, "closed the connection instead"},
        {reset_at_once, "", ERR_TLS, "closed the connection instead"},
        {repeat_without_end, "abcdefgh", ERR_TLS,
         "begins with \"abcdefgh"}, /* how much of it comes at once is chance */
        {repeat_without_end, "\x16\x03\x03", ERR_TLS, "TLS handshake"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct server server = {.serve = cases[i].serve, .answer = cases[i].answer};
        server_start(&server);
        struct probe_tls out;
        struct err err = ERR_INIT;
        bool ok = probe_tls("127.0.0.1", server.port, NAME, PATIENT_MS, &out, &err);
        server_stop(&server);
        assert_false(ok);
        says(&err, cases[i].code, cases[i].text);
        assert_null(strchr(err.text, '\x1b'));
    }
}

static void silence_runs_out(void **state)
{
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        struct server server = {.serve = say_nothing};
        server_start(&server);
        struct probe_tls out;
        struct probe_http http;
        struct err err = ERR_INIT;
        bool ok = tls ? probe_tls("127.0.0.1", server.port, NAME, SHORT_MS, &out, &err)
                      : probe_http("127.0.0.1", server.port, false, NAME, "/", SHORT_MS, &http, &err);
        server_stop(&server);
        assert_false(ok);
        says(&err, ERR_TIMEOUT, "said nothing");
    }
}

/* On a busy machine even the beginning takes its time: then once more, with more patience. */
static void answer_that_stops_in_the_middle(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    for (int timeout_ms = SHORT_MS; timeout_ms < PATIENT_MS; timeout_ms *= 4) {
        struct server server = {.serve = answer_and_wait,
                                .answer = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"};
        struct probe_http http;
        server_start(&server);
        err_clear(&err);
        bool ok = probe_http("127.0.0.1", server.port, false, NAME, "/", timeout_ms, &http, &err);
        server_stop(&server);
        assert_false(ok);
        if (strstr(err.text, "said nothing") == NULL)
            break;
    }
    says(&err, ERR_TIMEOUT, "did not finish");
}

/* -- connecting ----------------------------------------------------------------------------------------- */

static void refused_port(void **state)
{
    (void)state;
    struct server server = {0};
    assert_true(server_bind(&server, AF_INET)); /* ours, so that nobody else listens there either */
    struct probe_tls out;
    struct err err = ERR_INIT;
    bool ok = probe_tls("127.0.0.1", server.port, NAME, PATIENT_MS, &out, &err);
    close(server.listener);
    assert_false(ok);
    AUTO_FREE char *text = mem_fmt("port %d on 127.0.0.1 refuses connections", server.port);
    says(&err, ERR_NETWORK, text);
    assert_string_not_equal(err.advice, "");
}

/* Its queue is full, and nobody accepts. */
static void connection_never_accepted(void **state)
{
    (void)state;
    struct server server = {0};
    assert_true(server_listen(&server, AF_INET));
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)server.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int waiting[4];
    for (size_t i = 0; i < COUNT_OF(waiting); i++) {
        waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(waiting[i], (struct sockaddr *)&to, sizeof(to));
    }
    struct pollfd last = {.fd = waiting[COUNT_OF(waiting) - 1], .events = POLLOUT};
    bool full = poll(&last, 1, 50) == 0;
    struct probe_tls out;
    struct err err = ERR_INIT;
    bool ok = full && probe_tls("127.0.0.1", server.port, NAME, SHORT_MS, &out, &err);
    for (size_t i = 0; i < COUNT_OF(waiting); i++)
        close(waiting[i]);
    close(server.listener);
    if (!full)
        skip();
    assert_false(ok);
    says(&err, ERR_TIMEOUT, "did not accept a connection");
}

static void addresses_that_are_none(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        int port;
    } cases[] = {{"localhost", 80},    {"", 80}, {"1.2.3.4.5", 80}, {"127.0.0.1", 0},
                 {"127.0.0.1", 65536}, {"[", 80}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct probe_tls out;
        struct err err = ERR_INIT;
        assert_false(probe_tls(cases[i].address, cases[i].port, NAME, SHORT_MS, &out, &err));
        says(&err, ERR_INTERNAL, "not an address");
    }
}

static void v6_with_brackets_in_host(void **state)
{
    (void)state;
    static const struct {
        const char *address, *name, *host;
    } cases[] = {{"::1", "2001:db8::1", "[2001:db8::1]"}, {"[::1]", NAME, NAME}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct server server = {.serve = answer_and_close, .answer = "HTTP/1.1 204 No Content\r\n\r\n"};
        if (!server_listen(&server, AF_INET6))
            skip();
        assert_int_equal(pthread_create(&server.thread, NULL, run, &server), 0);
        struct probe_http out;
        struct err err = ERR_INIT;
        bool ok =
            probe_http(cases[i].address, server.port, false, cases[i].name, "/", PATIENT_MS, &out, &err);
        server_stop(&server);
        assert_true(ok);
        AUTO_FREE char *host = mem_fmt("\r\nHost: %s:%d\r\n", cases[i].host, server.port);
        assert_non_null(strstr(server.request, host));
        assert_true(strncmp(server.request, "GET / HTTP/1.1\r\n", 16) == 0);
        assert_non_null(strstr(server.request, "Connection: close\r\n"));
    }
}

/* -- HTTP ----------------------------------------------------------------------------------------------- */

static void http_answers(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        int status;
        const char *location, *body;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more", 200, "", "hello"},
        {"HTTP/1.1 200 OK\r\ncontent-length:\t5 \r\n\r\nhello", 200, "", "hello"},
        {"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, "", "until the end"},
        {"HTTP/1.1 200\r\n\r\nno reason", 200, "", "no reason"},
        {"HTTP/1.1 200 OK\n\nbare newlines", 200, "", "bare newlines"},
        {"HTTP/1.1 301 Moved\r\nLocation: https://example.org/\r\nContent-Length: 0\r\n\r\n", 301,
         "https://example.org/", ""},
        {"HTTP/1.1 302 Found\r\nLOCATION:/x \r\nLocation: /second\r\n\r\n", 302, "/x", ""},
        {"HTTP/1.1 302 Found\r\nLocation: /\x1b[2J\r\n\r\n", 302, "/?[2J", ""},
        {"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc", 204, "", ""},
        {"HTTP/1.1 304 Not Modified\r\n\r\nabc", 304, "", ""},
        {"HTTP/1.1 103 Early Hints\r\nLocation: /no\r\nContent-Length: 9\r\n\r\nHTTP/1.1 404 Not "
         "Found\r\n\r\nnone",
         404, "", "none"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
         200, "", "hello world"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\ntransfer-encoding: gzip, "
         "Chunked\r\n\r\n2\r\nab\r\nA\r\n0123456789\r\n"
         "0\r\n",
         200, "", "ab0123456789"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", 200, "", "hel"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nbroke off", 200, "", "broke off"},
        {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nodd", 200, "", "odd"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nodd", 200, "", "odd"},
        {"HTTP/1.1 599 Odd\r\n\r\n", 599, "", ""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (int slow = 0; slow < 2; slow++) {
            struct server server = {.serve = slow ? answer_byte_by_byte : answer_and_close,
                                    .answer = cases[i].answer};
            server_start(&server);
            struct probe_http out;
            struct err err = ERR_INIT;
            bool ok = probe_http("127.0.0.1", server.port, false, NAME, "/a/b?c", PATIENT_MS, &out, &err);
            server_stop(&server);
            if (!ok)
                fail_msg("%s: %s", cases[i].answer, err.text);
            assert_int_equal(out.status, cases[i].status);
            assert_string_equal(out.location, cases[i].location);
            assert_string_equal(out.body, cases[i].body);
            assert_int_equal(out.body_len, strlen(cases[i].body));
            assert_true(strncmp(server.request, "GET /a/b?c HTTP/1.1\r\n", 21) == 0);
        }
    }
}

static void http_answers_that_are_none(void **state)
{
    (void)state;
    static const struct {
        void (*serve)(struct server *server, int fd);
        const char *answer;
        enum err_code code;
        const char *text;
    } cases[] = {
        {close_at_once, "", ERR_NETWORK, "closed the connection without an answer"},
        {reset_at_once, "", ERR_NETWORK, "closed the connection without an answer"},
        {answer_and_close, "", ERR_NETWORK, "closed the connection without an answer"},
        {answer_and_close, "hello\n", ERR_PROTOCOL, "is not HTTP"},
        {answer_and_close, "hello", ERR_PROTOCOL, "is not HTTP"},
        {answer_and_close, "HTTP/1.1 2000 no\r\n\r\n", ERR_PROTOCOL, "is not HTTP"},
        {answer_and_close, "HTTP/1.1 099 no\r\n\r\n", ERR_PROTOCOL, "is not HTTP"},
        {answer_and_close, "HTTP/1.1", ERR_PROTOCOL, "is not HTTP"},
        {answer_and_close, "ICY 200 OK\r\n\r\n", ERR_PROTOCOL, "is not HTTP"},
        {answer_and_close, "\x15\x03\x03\x01\x02\x02\x28", ERR_PROTOCOL, "looks like TLS"},
        {answer_and_close, "HTTP/1.1 200 OK\r\nContent-Le", ERR_PROTOCOL, "in the middle of its headers"},
        {answer_and_close, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", ERR_PROTOCOL,
         "chunked"},
        {answer_and_close, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n", ERR_PROTOCOL,
         "chunked"},
        {answer_and_close, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\n",
         ERR_PROTOCOL, "chunked"},
        {repeat_without_end, "no newline ", ERR_PROTOCOL, "too long"},
        {begin_then_repeat_headers, "", ERR_PROTOCOL, "without end"},
        {repeat_without_end, "HTTP/1.1 103 Early Hints\r\n\r\n", ERR_PROTOCOL, "without end"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct server server = {.serve = cases[i].serve, .answer = cases[i].answer};
        server_start(&server);
        struct probe_http out;
        struct err err = ERR_INIT;
        bool ok = probe_http("127.0.0.1", server.port, false, NAME, "/", PATIENT_MS, &out, &err);
        server_stop(&server);
        assert_false(ok);
        says(&err, cases[i].code, cases[i].text);
    }
}

/* A port that expects the PROXY protocol closes on anything else. */
static void ports_behind_a_load_balancer(void **state)
{
    (void)state;
    char sha256[65];
    struct server server = {.serve = answer_through_proxy, .answer = "HTTP/1.1 204 No\r\n\r\n"};
    struct probe_http out;
    struct probe_tls tls;
    struct err err = ERR_INIT;
    server_start(&server);
    assert_true(probe_http("127.0.0.1", server.port, false, NAME, "/", PATIENT_MS, &out, &err));
    server_stop(&server);
    assert_int_equal(out.status, 204);
    server = (struct server){.serve = serve_tls_through_proxy, .tls = new_tls(sha256)};
    server_start(&server);
    assert_true(probe_tls("127.0.0.1", server.port, NAME, PATIENT_MS, &tls, &err));
    server_stop(&server);
    assert_string_equal(tls.sha256, sha256);
}

/* A server that closes by its own choice, and takes the line for a bad request. */
static void a_server_that_closes_is_no_load_balancers(void **state)
{
    (void)state;
    struct server server = {.serve = answer_through_proxy, .answer = "HTTP/1.1 400 Bad Request\r\n\r\n"};
    struct probe_http out;
    struct err err = ERR_INIT;
    server_start(&server);
    assert_false(probe_http("127.0.0.1", server.port, false, NAME, "/", PATIENT_MS, &out, &err));
    server_stop(&server);
    says(&err, ERR_NETWORK, "closed the connection without an answer");
}

static void endless_body_is_cut(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        const char *begin;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nHTTP"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n", "HTTP/1.1 200 OK\r\nTransfer"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct server server = {.serve = repeat_without_end, .answer = cases[i].answer};
        server_start(&server);
        struct probe_http out;
        struct err err = ERR_INIT;
        bool ok = probe_http("127.0.0.1", server.port, false, NAME, "/", PATIENT_MS, &out, &err);
        server_stop(&server);
        assert_true(ok);
        assert_int_equal(out.body_len, sizeof(out.body) - 1);
        assert_int_equal(strlen(out.body), out.body_len);
        assert_true(strncmp(out.body, cases[i].begin, strlen(cases[i].begin)) == 0);
    }
}

static void http_inside_tls(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        char sha256[65];
        struct server server = {
            .serve = serve_tls,
            .tls = new_tls(sha256),
            .answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"};
        SSL_CTX_set_max_proto_version(server.tls, version);
        SSL_CTX_set_alpn_select_cb(server.tls, choose_alpn, (void *)(uintptr_t) "\2h2\10http/1.1");
        server_start(&server);
        struct probe_http out;
        struct err err = ERR_INIT;
        bool ok = probe_http("127.0.0.1", server.port, true, NAME, "/", PATIENT_MS, &out, &err);
        server_stop(&server);
        if (!ok)
            fail_msg("%s", err.text);
        assert_int_equal(out.status, 200);
        assert_string_equal(out.body, "abc");
        assert_string_equal(server.sni, NAME);
    }
}

static void http_inside_tls_refused(void **state)
{
    (void)state;
    char sha256[65];
    struct server server = {.serve = serve_tls, .tls = new_tls(sha256), .answer = NULL};
    server_start(&server);
    struct probe_http out;
    struct err err = ERR_INIT;
    bool ok = probe_http("127.0.0.1", server.port, true, NAME, "/", PATIENT_MS, &out, &err);
    server_stop(&server);
    assert_false(ok);
    says(&err, ERR_NETWORK, "without an answer");
    server = (struct server){.serve = serve_tls, .tls = new_tls(sha256), .answer = "x"};
    SSL_CTX_set_verify(server.tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    server_start(&server);
    err_clear(&err);
    ok = probe_http("127.0.0.1", server.port, true, NAME, "/", PATIENT_MS, &out, &err);
    server_stop(&server);
    assert_false(ok);
    says(&err, ERR_TLS, "certificate_required");
}

static void nothing_is_smuggled_into_the_request(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{NAME "\r\nX: y", "/"}, {"", "/"},          {NAME, "/a\r\nX: y"},
                                           {NAME, "/a b"},         {NAME, "relative"}, {NAME, ""}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct server server = {.serve = answer_and_close, .answer = ""};
        server_start(&server);
        struct probe_http out;
        struct err err = ERR_INIT;
        bool ok =
            probe_http("127.0.0.1", server.port, false, cases[i][0], cases[i][1], PATIENT_MS, &out, &err);
        server_stop(&server);
        assert_false(ok);
        assert_int_equal(err.code, ERR_INTERNAL);
        assert_string_equal(server.request, "");
    }
}

/* -- other services ------------------------------------------------------------------------------------- */

#define LINES 10

static bool hear(const struct line *line, int fd)
{
    char bytes[512];
    size_t len = 0;
    while (len < line->len && len < sizeof(bytes)) {
        ssize_t n = recv(fd, bytes + len, line->len - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
    }
    return memcmp(bytes, line->text, len) == 0;
}

static bool talk(struct server *server, int fd)
{
    for (const struct line *line = server->lines; line->text != NULL; line++) {
        if (!line->heard)
            write_all(fd, line->text, line->len);
        else if (hear(line, fd))
            server->heard++;
        else
            return false;
    }
    return true;
}

static void talk_then_tls(struct server *server, int fd)
{
    if (talk(server, fd))
        serve_tls(server, fd);
}

static void talk_then_wait(struct server *server, int fd)
{
    if (talk(server, fd))
        drain(fd);
}

static void talk_then_close(struct server *server, int fd)
{
    if (talk(server, fd)) {
        shutdown(fd, SHUT_WR);
        drain(fd);
    }
}

/* The last line for ever. */
static void talk_without_end(struct server *server, int fd)
{
    const struct line *line = server->lines;
    while (line[1].text != NULL) {
        if (line->heard ? !hear(line, fd) : false)
            return;
        if (!line->heard)
            write_all(fd, line->text, line->len);
        line++;
    }
    while (send(fd, line->text, line->len, MSG_NOSIGNAL) > 0)
        ;
}

#define XMPP_HEADER(kind)                                                                                    \
    "<?xml version='1.0'?><stream:stream xmlns='jabber:" kind                                                \
    "' xmlns:stream='http://etherx.jabber.org/streams' to='example.org' version='1.0'>"
#define XMPP_STREAM                                                                                          \
    "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' id='1' "            \
    "version='1.0'>"
#define XMPP_STARTTLS "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
#define XMPP_OFFER                                                                                           \
    "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"              \
    "</stream:features>"
#define LDAP_REQUEST                                                                                         \
    "\x30\x1d\x02\x01\x01\x77\x18\x80\x16"                                                                   \
    "1.3.6.1.4.1.1466.20037"
#define POSTGRES_REQUEST "\0\0\0\x08\x04\xd2\x16\x2f"
#define MYSQL_GREETING(flags)                                                                                \
    "\x4a\0\0\0\x0a"                                                                                         \
    "8.0.36\0"                                                                                               \
    "\x01\0\0\0"                                                                                             \
    "saltsalt\0" flags "\xff\x02\0\xff\xdf\x15"                                                              \
    "\0\0\0\0\0\0\0\0\0\0"                                                                                   \
    "saltsaltsalt\0"                                                                                         \
    "caching_sha2_password\0"
#define MYSQL_REQUEST "\x20\0\0\x01\0\x8a\0\0\0\0\0\x01\x21\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define SMTP_UNTIL_EHLO SAYS("220 mail ESMTP\r\n"), HEARS("EHLO localhost\r\n")

static void services_begin_tls(void **state)
{
    (void)state;
    static const struct {
        enum starttls protocol;
        struct line lines[LINES];
    } cases[] = {
        {STARTTLS_NONE, {{0}}},
        {STARTTLS_SMTP,
         {SMTP_UNTIL_EHLO, SAYS("250-mail\r\n250-SIZE 1\r\n250-StartTLS\r\n250 HELP\r\n"),
          HEARS("STARTTLS\r\n"), SAYS("220 2.0.0 go\r\n")}},
        {STARTTLS_SMTP,
         {SAYS("220-first\r\n220-second\r\n220 \r\n"), HEARS("EHLO localhost\r\n"), SAYS("250 STARTTLS\n"),
          HEARS("STARTTLS\r\n"), SAYS("220\r\n")}},
        {STARTTLS_IMAP,
         {SAYS("* OK [CAPABILITY IMAP4rev1] ready\r\n"), HEARS("a1 STARTTLS\r\n"),
          SAYS("* CAPABILITY x\r\na1 OK begin\r\n")}},
        {STARTTLS_POP3, {SAYS("+OK <1@x>\r\n"), HEARS("STLS\r\n"), SAYS("+OK\r\n")}},
        {STARTTLS_SIEVE,
         {SAYS("\"IMPLEMENTATION\" \"x\"\r\n\"STARTTLS\"\r\nOK \"ready\"\r\n"), HEARS("STARTTLS\r\n"),
          SAYS("OK \"begin\"\r\n")}},
        {STARTTLS_LDAP,
         {HEARS(LDAP_REQUEST), SAYS("\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00")}},
        {STARTTLS_LDAP, /* as Active Directory writes lengths */
         {HEARS(LDAP_REQUEST),
          SAYS("\x30\x84\0\0\0\x10\x02\x01\x01\x78\x84\0\0\0\x07\x0a\x01\0\x04\0\x04\0")}},
        {STARTTLS_LDAP,
         {HEARS(LDAP_REQUEST), SAYS("\x30\x81\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00")}},
        {STARTTLS_POSTGRES, {HEARS(POSTGRES_REQUEST), SAYS("S")}},
        {STARTTLS_MYSQL, {SAYS(MYSQL_GREETING("\xff\xff")), HEARS(MYSQL_REQUEST)}},
        {STARTTLS_XMPP,
         {HEARS(XMPP_HEADER("client")), SAYS(XMPP_STREAM XMPP_OFFER), HEARS(XMPP_STARTTLS),
          SAYS("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")}},
        {STARTTLS_XMPP_SERVER,
         {HEARS(XMPP_HEADER("server")), SAYS(XMPP_STREAM), SAYS(XMPP_OFFER), HEARS(XMPP_STARTTLS),
          SAYS("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'"), SAYS("/>")}},
        {STARTTLS_FTP,
         {SAYS("220-Welcome\r\n 220 not yet\r\n220 now\r\n"), HEARS("AUTH TLS\r\n"), SAYS("234 go\r\n")}},
        {STARTTLS_NNTP, {SAYS("201 read only\r\n"), HEARS("STARTTLS\r\n"), SAYS("382 go\r\n")}},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char sha256[65];
        struct server server = {.serve = talk_then_tls, .tls = new_tls(sha256), .lines = cases[i].lines};
        SSL_CTX_set_alpn_select_cb(server.tls, choose_alpn, (void *)(uintptr_t) "\7unknown");
        server_start(&server);
        struct probe_tls out = {0};
        struct err err = ERR_INIT;
        bool ok = probe_starttls("127.0.0.1", server.port, NAME, cases[i].protocol, PROBE_ANY, PATIENT_MS,
                                 &out, &err);
        server_stop(&server);
        if (!ok)
            fail_msg("%zu, %s: %s", i, starttls_name(cases[i].protocol), err.text);
        assert_string_equal(out.sha256, sha256);
        assert_string_equal(out.alpn, "");
        assert_string_equal(server.sni, NAME);
    }
}

static void services_that_refuse(void **state)
{
    (void)state;
    static const struct {
        enum starttls protocol;
        void (*serve)(struct server *server, int fd);
        enum err_code code;
        const char *text;
        struct line lines[LINES];
    } cases[] = {
        /* in words */
        {STARTTLS_SMTP, talk_then_wait, ERR_TLS, "it says \"554 go away\"", {SAYS("554 go away\r\n")}},
        {STARTTLS_SMTP, talk_then_wait, ERR_TLS, "502 what?", {SMTP_UNTIL_EHLO, SAYS("502 what?\r\n")}},
        {STARTTLS_SMTP,
         talk_then_wait,
         ERR_TLS,
         "does not offer TLS",
         {SMTP_UNTIL_EHLO, SAYS("250-mail\r\n250-XSTARTTLS\r\n250 STARTTLSX\r\n")}},
        {STARTTLS_SMTP,
         talk_then_wait,
         ERR_TLS,
         "454 TLS not available due to local problem",
         {SMTP_UNTIL_EHLO, SAYS("250 STARTTLS\r\n"), HEARS("STARTTLS\r\n"),
          SAYS("454 TLS not available due to local problem\r\n")}},
        {STARTTLS_IMAP,
         talk_then_wait,
         ERR_TLS,
         "a1 BAD TLS is off",
         {SAYS("* OK\r\n"), HEARS("a1 STARTTLS\r\n"), SAYS("a1 BAD TLS is off\r\n")}},
        {STARTTLS_IMAP, talk_then_wait, ERR_TLS, "* BYE too many", {SAYS("* BYE too many\r\n")}},
        {STARTTLS_POP3,
         talk_then_wait,
         ERR_TLS,
         "-ERR no",
         {SAYS("+OK\r\n"), HEARS("STLS\r\n"), SAYS("-ERR no\r\n")}},
        {STARTTLS_SIEVE, talk_then_wait, ERR_TLS, "does not offer", {SAYS("\"SIEVE\" \"x\"\r\nOK\r\n")}},
        {STARTTLS_LDAP,
         talk_then_wait,
         ERR_TLS,
         "result 52, no certificate",
         {HEARS(LDAP_REQUEST), SAYS("\x30\x1a\x02\x01\x01\x78\x15\x0a\x01\x34\x04\x00\x04\x0e"
                                    "no certificate")}},
        {STARTTLS_POSTGRES,
         talk_then_wait,
         ERR_TLS,
         "does not offer TLS",
         {HEARS(POSTGRES_REQUEST), SAYS("N")}},
        {STARTTLS_MYSQL, talk_then_wait, ERR_TLS, "does not offer TLS", {SAYS(MYSQL_GREETING("\xff\xf7"))}},
        {STARTTLS_MYSQL,
         talk_then_wait,
         ERR_TLS,
         "#08004Too many connections",
         {SAYS("\x1d\0\0\0\xff\x10\x04#08004Too many connections")}},
        {STARTTLS_XMPP,
         talk_then_wait,
         ERR_TLS,
         "does not offer TLS",
         {HEARS(XMPP_HEADER("client")), SAYS(XMPP_STREAM "<stream:features/>")}},
        {STARTTLS_XMPP,
         talk_then_wait,
         ERR_TLS,
         "host-unknown",
         {HEARS(XMPP_HEADER("client")),
          SAYS(XMPP_STREAM "<stream:error><host-unknown xmlns='x'/></stream:error></stream:stream>")}},
        {STARTTLS_XMPP,
         talk_then_wait,
         ERR_TLS,
         "<failure",
         {HEARS(XMPP_HEADER("client")), SAYS(XMPP_STREAM XMPP_OFFER), HEARS(XMPP_STARTTLS),
          SAYS("<failure xmlns='x'/></stream:stream>")}},
        {STARTTLS_FTP,
         talk_then_wait,
         ERR_TLS,
         "530 log in first",
         {SAYS("220 x\r\n"), HEARS("AUTH TLS\r\n"), SAYS("530 log in first\r\n")}},
        {STARTTLS_NNTP,
         talk_then_wait,
         ERR_TLS,
         "580 no",
         {SAYS("200 x\r\n"), HEARS("STARTTLS\r\n"), SAYS("580 no\r\n")}},
        /* escapes and NULs of a server reach no terminal */
        {STARTTLS_SMTP, talk_then_wait, ERR_TLS, "554 ?[2J?x", {SAYS("554 \x1b[2J\x07x\r\n")}},
        {STARTTLS_POP3, talk_then_wait, ERR_PROTOCOL, "is not POP3", {SAYS("\0\0\0\r\n")}},
        /* another service */
        {STARTTLS_SMTP,
         talk_then_wait,
         ERR_PROTOCOL,
         "is not SMTP: it says \"SSH-2.0-x\"",
         {SAYS("SSH-2.0-x\r\n")}},
        {STARTTLS_IMAP, talk_then_wait, ERR_PROTOCOL, "is not IMAP", {SAYS("220 mail ESMTP\r\n")}},
        {STARTTLS_NNTP, talk_then_wait, ERR_PROTOCOL, "is not NNTP", {SAYS("hello\r\n")}},
        {STARTTLS_SIEVE, talk_then_wait, ERR_PROTOCOL, "is not ManageSieve", {SAYS("220 hello\r\n")}},
        {STARTTLS_LDAP,
         talk_then_wait,
         ERR_PROTOCOL,
         "is not LDAP",
         {HEARS(LDAP_REQUEST), SAYS("HTTP/1.1 400\r\n")}},
        {STARTTLS_LDAP,
         talk_then_wait,
         ERR_PROTOCOL,
         "is not LDAP",
         {HEARS(LDAP_REQUEST), SAYS("\x30\x84\xff\xff\xff\xff")}},
        {STARTTLS_LDAP,
         talk_then_wait,
         ERR_PROTOCOL,
         "is not LDAP",
         {HEARS(LDAP_REQUEST), SAYS("\x30\x03\x02\x7f\x01")}},
        {STARTTLS_POSTGRES,
         talk_then_wait,
         ERR_PROTOCOL,
         "is not PostgreSQL",
         {HEARS(POSTGRES_REQUEST), SAYS("E\0\0\0\x08x")}},
        {STARTTLS_MYSQL,
         talk_then_wait,
         ERR_PROTOCOL,
         "is not MySQL",
         {SAYS("220 hello, this is another one\r\n")}},
        {STARTTLS_MYSQL,
         talk_then_wait,
         ERR_PROTOCOL,
         "is not MySQL",
         {SAYS("\x03\0\0\0\x0a"
               "88")}},
        {STARTTLS_MYSQL,
         talk_then_wait,
         ERR_PROTOCOL,
         "is not MySQL",
         {SAYS("\x03\0\0\0\x0a"
               "8\0")}},
        {STARTTLS_XMPP,
         talk_then_wait,
         ERR_PROTOCOL,
         "is not XMPP",
         {HEARS(XMPP_HEADER("client")), SAYS("hello <b>")}},
        {STARTTLS_XMPP,
         talk_then_wait,
         ERR_PROTOCOL,
         "is not XMPP",
         {HEARS(XMPP_HEADER("client")), SAYS(XMPP_STREAM "\0")}},
        {STARTTLS_LDAP,
         talk_then_wait,
         ERR_PROTOCOL,
         "TLS from the first byte",
         {HEARS(LDAP_REQUEST), SAYS("\x15\x03\x03\0\x02\x02\x32")}},
        /* it goes away, or never comes to an end */
        {STARTTLS_SMTP, talk_then_close, ERR_NETWORK, "closed the connection before TLS", {SAYS("220 x")}},
        {STARTTLS_IMAP, talk_then_close, ERR_NETWORK, "closed", {SAYS("* OK\r\n"), HEARS("a1 STARTTLS\r\n")}},
        {STARTTLS_POSTGRES, talk_then_close, ERR_NETWORK, "closed", {HEARS(POSTGRES_REQUEST)}},
        {STARTTLS_MYSQL,
         talk_then_close,
         ERR_NETWORK,
         "closed",
         {SAYS("\x4a\0\0\0\x0a"
               "8")}},
        {STARTTLS_XMPP,
         talk_then_close,
         ERR_NETWORK,
         "closed",
         {HEARS(XMPP_HEADER("client")), SAYS("<?xml")}},
        {STARTTLS_SMTP, talk_without_end, ERR_PROTOCOL, "talks without end", {SAYS("220-and more\r\n")}},
        {STARTTLS_SMTP, talk_without_end, ERR_PROTOCOL, "is not SMTP", {SAYS("220 no end of the line ")}},
        {STARTTLS_IMAP,
         talk_without_end,
         ERR_PROTOCOL,
         "talks without end",
         {SAYS("* OK\r\n"), HEARS("a1 STARTTLS\r\n"), SAYS("* more\r\n")}},
        {STARTTLS_SIEVE, talk_without_end, ERR_PROTOCOL, "talks without end", {SAYS("\"MORE\"\r\n")}},
        {STARTTLS_FTP,
         talk_without_end,
         ERR_PROTOCOL,
         "talks without end",
         {SAYS("220-x\r\n"), SAYS("more\r\n")}},
        {STARTTLS_XMPP,
         talk_without_end,
         ERR_PROTOCOL,
         "talks without end",
         {HEARS(XMPP_HEADER("client")), SAYS("<more>")}},
        /* bytes that somebody could have put there */
        {STARTTLS_SMTP,
         talk_then_wait,
         ERR_TLS,
         "sent 8 bytes behind its answer",
         {SMTP_UNTIL_EHLO, SAYS("250 STARTTLS\r\n"), HEARS("STARTTLS\r\n"), SAYS("220 go\r\n250 ok\r\n")}},
        {STARTTLS_IMAP,
         talk_then_wait,
         ERR_TLS,
         "behind its answer",
         {SAYS("* OK\r\n"), HEARS("a1 STARTTLS\r\n"), SAYS("a1 OK\r\n* OK injected\r\n")}},
        {STARTTLS_POSTGRES,
         talk_then_wait,
         ERR_TLS,
         "behind its answer",
         {HEARS(POSTGRES_REQUEST), SAYS("Sx")}},
        {STARTTLS_LDAP,
         talk_then_wait,
         ERR_TLS,
         "behind its answer",
         {HEARS(LDAP_REQUEST), SAYS("\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00\x30\x00")}},
        {STARTTLS_MYSQL,
         talk_then_wait,
         ERR_TLS,
         "behind its answer",
         {SAYS(MYSQL_GREETING("\xff\xff") "x")}},
        {STARTTLS_XMPP,
         talk_then_wait,
         ERR_TLS,
         "behind its answer",
         {HEARS(XMPP_HEADER("client")), SAYS(XMPP_STREAM XMPP_OFFER), HEARS(XMPP_STARTTLS),
          SAYS("<proceed xmlns='x'/><message/>")}},
        /* TLS that does not come about */
        {STARTTLS_POP3,
         talk_then_close,
         ERR_TLS,
         "closed the connection instead of a TLS handshake",
         {SAYS("+OK\r\n"), HEARS("STLS\r\n"), SAYS("+OK\r\n")}},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct server server = {.serve = cases[i].serve, .lines = cases[i].lines};
        server_start(&server);
        struct probe_tls out;
        struct err err = ERR_INIT;
        bool ok = probe_starttls("127.0.0.1", server.port, NAME, cases[i].protocol, PROBE_ANY, PATIENT_MS,
                                 &out, &err);
        server_stop(&server);
        if (ok || err.code != cases[i].code || strstr(err.text, cases[i].text) == NULL)
            fail_msg("%zu, %s: %s: \"%s\"", i, starttls_name(cases[i].protocol), err_code_name(err.code),
                     err.text);
        for (const char *c = err.text; *c != '\0'; c++)
            assert_true(*c >= ' ');
    }
}

static void silent_services(void **state)
{
    (void)state;
    static const struct {
        enum starttls protocol;
        const char *advice;
        struct line lines[LINES];
    } cases[] = {
        {STARTTLS_SMTP, "HOST:PORT/tls", {{0}}}, {STARTTLS_MYSQL, "HOST:PORT/tls", {{0}}},
        {STARTTLS_NONE, "stuck service", {{0}}}, {STARTTLS_POSTGRES, "stuck service", {{0}}},
        {STARTTLS_LDAP, "stuck service", {{0}}}, {STARTTLS_XMPP, "stuck service", {{0}}},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct server server = {.serve = talk_then_wait, .lines = cases[i].lines};
        server_start(&server);
        struct probe_tls out;
        struct err err = ERR_INIT;
        bool ok = probe_starttls("127.0.0.1", server.port, NAME, cases[i].protocol, PROBE_ANY, SHORT_MS, &out,
                                 &err);
        server_stop(&server);
        assert_false(ok);
        says(&err, ERR_TIMEOUT, "said nothing");
        if (strstr(err.advice, cases[i].advice) == NULL)
            fail_msg("%zu: %s", i, err.advice);
    }
}

static void nothing_is_smuggled_into_xmpp(void **state)
{
    (void)state;
    struct server server = {.serve = say_nothing};
    server_start(&server);
    struct probe_tls out;
    struct err err = ERR_INIT;
    bool ok =
        probe_starttls("127.0.0.1", server.port, "x' to='y", STARTTLS_XMPP, PROBE_ANY, SHORT_MS, &out, &err);
    server_stop(&server);
    assert_false(ok);
    assert_int_equal(err.code, ERR_INTERNAL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(tls_tells_what_is_served),
        cmocka_unit_test(no_sni_for_addresses),
        cmocka_unit_test(each_kind_sees_its_certificate),
        cmocka_unit_test(the_other_kind_is_refused),
        cmocka_unit_test(client_certificate_wanted),
        cmocka_unit_test(alerts_are_named),
        cmocka_unit_test(what_is_not_tls_is_named),
        cmocka_unit_test(silence_runs_out),
        cmocka_unit_test(answer_that_stops_in_the_middle),
        cmocka_unit_test(refused_port),
        cmocka_unit_test(connection_never_accepted),
        cmocka_unit_test(addresses_that_are_none),
        cmocka_unit_test(v6_with_brackets_in_host),
        cmocka_unit_test(http_answers),
        cmocka_unit_test(http_answers_that_are_none),
        cmocka_unit_test(ports_behind_a_load_balancer),
        cmocka_unit_test(a_server_that_closes_is_no_load_balancers),
        cmocka_unit_test(endless_body_is_cut),
        cmocka_unit_test(http_inside_tls),
        cmocka_unit_test(http_inside_tls_refused),
        cmocka_unit_test(nothing_is_smuggled_into_the_request),
        cmocka_unit_test(services_begin_tls),
        cmocka_unit_test(services_that_refuse),
        cmocka_unit_test(silent_services),
        cmocka_unit_test(nothing_is_smuggled_into_xmpp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
