/*
 * probe.c - ask the web server as a visitor would: one TLS handshake, or one plain HTTP request.
 *
 * The socket is moved by this file alone and OpenSSL works on memory: so every wait has the one deadline, no
 * SIGPIPE can come, and the first bytes of an answer that is no TLS are there to say what it is instead.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "probe_internal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tlsup/buf.h"
#include "tlsup/cert.h"
#include "tlsup/clock.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

/* More than this, whatever it is, is not the answer to our question. */
#define RECEIVED_LIMIT ((size_t)1 << 20)
#define HEAD_LIMIT ((size_t)32 << 10)
#define CHUNK_LINE_LIMIT ((size_t)1024)
#define HTTP_BAD_REQUEST 400
#define PROXIED_MS 3000

/* One way to ask. The second is as a load balancer in front would: with a line of the PROXY protocol (version
 * 1) first, for ports that expect one and close on everything else. */
enum way { WAY_PLAIN, WAY_PROXIED };

/* Never blocks: a peer that does not read gets no farewell. */
static void conn_close(struct conn *conn)
{
    if (conn->ssl != NULL && SSL_is_init_finished(conn->ssl)) {
        char bytes[256];
        (void)SSL_shutdown(conn->ssl);
        int n = BIO_read(SSL_get_wbio(conn->ssl), bytes, sizeof(bytes));
        if (n > 0)
            (void)!send(conn->fd, bytes, (size_t)n, MSG_NOSIGNAL);
    }
    SSL_free(conn->ssl);
    SSL_CTX_free(conn->ctx);
    if (conn->fd >= 0)
        close(conn->fd);
    ERR_clear_error();
}

/* -- the socket ----------------------------------------------------------------------------------------- */

static const char *server_of(const struct conn *conn)
{
    return conn->service ? "service" : "web server";
}

static bool timed_out(const struct conn *conn, const char *silence, struct err *err)
{
    err_set(err, ERR_TIMEOUT, NEXT_LOCAL_FAULT, conn->name, "%s %s within %d ms", conn->where, silence,
            conn->timeout_ms);
    if (conn->waits_for_tls && conn->received == 0)
        return err_advise(
            err, "If it speaks TLS from the first byte, write HOST:PORT/tls; else see whether a firewall, or "
                 "a service that is stuck, holds it up.");
    return err_advise(err, "See whether a firewall, or a stuck %s, holds it up.", server_of(conn));
}

static bool conn_wait(const struct conn *conn, short events, const char *silence, struct err *err)
{
    for (;;) {
        struct pollfd pfd = {.fd = conn->fd, .events = events};
        int64_t left = conn->deadline_ms - clock_mono_ms();
        int n = left <= 0 ? 0 : poll(&pfd, 1, (int)left);
        if (n > 0)
            return true;
        if (n == 0)
            return timed_out(conn, silence, err);
        if (errno != EINTR)
            return err_errno(err, errno, conn->name, "cannot wait for %s", conn->where);
    }
}

static bool connect_error(const struct conn *conn, int errnum, struct err *err)
{
    if (errnum == ECONNREFUSED) {
        err_set(err, ERR_NETWORK, NEXT_LOCAL_FAULT, conn->name, "%s refuses connections", conn->where);
        return err_advise(err, "See that the %s runs and listens there.", server_of(conn));
    }
    return err_set(err, ERR_NETWORK, NEXT_LOCAL_FAULT, conn->name, "%s cannot be reached: %s", conn->where,
                   strerror(errnum));
}

static bool connect_to(struct conn *conn, const struct addrinfo *to, struct err *err)
{
    conn->fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        return connect_error(conn, errno, err);
    if (connect(conn->fd, to->ai_addr, to->ai_addrlen) == 0)
        return true;
    if (errno != EINPROGRESS && errno != EINTR)
        return connect_error(conn, errno, err);
    if (!conn_wait(conn, POLLOUT, "did not accept a connection", err))
        return false;
    int errnum = 0;
    socklen_t size = sizeof(errnum);
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &errnum, &size) != 0)
        errnum = errno;
    /* a reset that comes as early as this: it did connect, and reading tells that it was closed */
    return errnum == 0 || errnum == ECONNRESET || connect_error(conn, errnum, err);
}

/* "[::1]" and "::1" are both fine. */
static void bare_address(const char *address, char out[64])
{
    size_t len = strlen(address);
    bool brackets = len > 2 && address[0] == '[' && address[len - 1] == ']';
    snprintf(out, 64, "%.*s", (int)(brackets ? len - 2 : len), address + (brackets ? 1 : 0));
}

static bool conn_open(struct conn *conn, const char *address, int port, const char *name, int timeout_ms,
                      bool service, struct err *err)
{
    char host[64], digits[16];
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *to = NULL;
    bare_address(address, host);
    snprintf(digits, sizeof(digits), "%d", port);
    *conn = (struct conn){
        .fd = -1,
        .name = name == NULL ? "" : name,
        .timeout_ms = timeout_ms,
        .service = service,
        .deadline_ms = clock_mono_ms() + timeout_ms,
    };
    snprintf(conn->where, sizeof(conn->where),
             strchr(host, ':') == NULL ? "port %d on %s" : "port %d on [%s]", port, host);
    if (port < 1 || port > 65535 || getaddrinfo(host, digits, &hints, &to) != 0)
        return err_set(err, ERR_INTERNAL, NEXT_NONE, conn->name, "%s is not an address", conn->where);
    bool ok = connect_to(conn, to, err);
    freeaddrinfo(to);
    return ok;
}

bool conn_send(struct conn *conn, const char *data, size_t len, struct err *err)
{
    while (len > 0) {
        ssize_t n = send(conn->fd, data, len, MSG_NOSIGNAL);
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            if (!conn_wait(conn, POLLOUT, "did not read what was sent", err))
                return false;
        } else if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) {
            return true; /* what it said before it closed is still to be read */
        } else if (n < 0 && errno != EINTR) {
            return err_errno(err, errno, conn->name, "cannot send to %s", conn->where);
        }
    }
    return true;
}

static bool send_proxy_line(struct conn *conn, const char *address, int port, struct err *err)
{
    char line[160], host[64];
    bare_address(address, host);
    int len = snprintf(line, sizeof(line), "PROXY %s %s %s 50000 %d\r\n", strchr(host, ':') ? "TCP6" : "TCP4",
                       host, host, port);
    return conn_send(conn, line, (size_t)len, err);
}

static bool conn_open_by(enum way way, struct conn *conn, const char *address, int port, const char *name,
                         int timeout_ms, bool service, struct err *err)
{
    return conn_open(conn, address, port, name, timeout_ms, service, err) &&
           (way == WAY_PLAIN || send_proxy_line(conn, address, port, err));
}

/* It has shown that it is there and quick: no long second wait. */
static int proxied_ms(int timeout_ms)
{
    return timeout_ms < PROXIED_MS ? timeout_ms : PROXIED_MS;
}

/* It closed at once: perhaps it waited for a line of the PROXY protocol. */
static bool was_shut_out(const struct conn *conn)
{
    return conn->fd >= 0 && conn->ended && conn->n_first == 0 && !conn->talked;
}

bool conn_recv(struct conn *conn, char *data, size_t size, size_t *n, struct err *err)
{
    *n = 0;
    while (!conn->ended) {
        ssize_t got = recv(conn->fd, data, size, 0);
        if (got > 0) {
            *n = (size_t)got;
            for (ssize_t i = 0; i < got && conn->n_first < FIRST_BYTES; i++)
                conn->first[conn->n_first++] = (unsigned char)data[i];
            conn->received += (size_t)got;
            return conn->received <= RECEIVED_LIMIT ||
                   err_set(err, ERR_PROTOCOL, NEXT_LOCAL_FAULT, conn->name, "%s sends data without end",
                           conn->where);
        }
        if (got == 0 || errno == ECONNRESET) {
            conn->ended = true;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (!conn_wait(conn, POLLIN,
                           conn->received == 0 ? "accepted the connection and said nothing"
                                               : "began to answer, and did not finish",
                           err))
                return false;
        } else if (errno != EINTR) {
            return err_errno(err, errno, conn->name, "cannot receive from %s", conn->where);
        }
    }
    return true;
}

/* -- TLS ------------------------------------------------------------------------------------------------ */

/* The alerts that people meet: what they mean for them, and the names that OpenSSL does not know. */
static const struct {
    int alert;
    const char *name; /* NULL: OpenSSL's */
    const char *advice;
} alerts[] = {
    {SSL3_AD_HANDSHAKE_FAILURE, NULL,
     "The server has no certificate for this name or port, or no cipher in common: see its certificate and "
     "cipher "
     "settings."},
    {TLS1_AD_PROTOCOL_VERSION, NULL, "The server has neither TLS 1.2 nor TLS 1.3 switched on."},
    {TLS1_AD_UNRECOGNIZED_NAME, NULL, "No site of that server is set up for this name on this port."},
    {TLS13_AD_CERTIFICATE_REQUIRED, "certificate_required",
     "The site lets in visitors with a certificate only."},
};

static bool alert_error(const struct conn *conn, int alert, struct err *err)
{
    char name[64];
    const char *advice = conn->service ? "See the service's log." : "See the web server's error log.";
    snprintf(name, sizeof(name), "%s", SSL_alert_desc_string_long(alert));
    for (size_t i = 0; i < COUNT_OF(alerts); i++) {
        if (alerts[i].alert != alert)
            continue;
        advice = alerts[i].advice;
        if (alerts[i].name != NULL)
            snprintf(name, sizeof(name), "%s", alerts[i].name);
    }
    for (char *c = name; *c != '\0'; c++)
        if (*c == ' ')
            *c = '_'; /* as the RFCs spell them */
    err_set(err, ERR_TLS, NEXT_LOCAL_FAULT, conn->name,
            "%s: the server answered the handshake with alert %s (%d)", conn->where, name, alert);
    return err_advise(err, "%s", advice);
}

static bool begins_with(const struct conn *conn, const char *text)
{
    size_t len = strlen(text);
    return conn->n_first >= len && memcmp(conn->first, text, len) == 0;
}

static bool not_tls_error(const struct conn *conn, struct err *err)
{
    char shown[FIRST_BYTES + 1];
    size_t n = 0;
    if (begins_with(conn, "HTTP/") || begins_with(conn, "<")) {
        err_set(err, ERR_TLS, NEXT_LOCAL_FAULT, conn->name,
                "the answer of %s is not TLS: it looks like plain HTTP", conn->where);
        return err_advise(
            err, "The site listens on that port without TLS (nginx: \"ssl\" is missing on its listen "
                 "line; Apache: \"SSLEngine on\").");
    }
    for (; n < conn->n_first && isprint(conn->first[n]); n++)
        shown[n] = (char)conn->first[n];
    shown[n] = '\0';
    if (n < 3)
        return err_set(err, ERR_TLS, NEXT_LOCAL_FAULT, conn->name, "the answer of %s is not TLS",
                       conn->where);
    return err_set(err, ERR_TLS, NEXT_LOCAL_FAULT, conn->name,
                   "the answer of %s is not TLS: it begins with \"%s\"", conn->where, shown);
}

/* Why the handshake did not come about. */
static bool handshake_error(const struct conn *conn, struct err *err)
{
    unsigned long code = ERR_peek_last_error();
    int reason = ERR_GET_REASON(code);
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason >= SSL_AD_REASON_OFFSET &&
        reason < SSL_AD_REASON_OFFSET + 256)
        return alert_error(conn, reason - SSL_AD_REASON_OFFSET, err);
    if (conn->n_first == 0)
        return err_set(err, ERR_TLS, NEXT_LOCAL_FAULT, conn->name,
                       "%s closed the connection instead of a TLS handshake", conn->where);
    if (conn->first[0] < SSL3_RT_CHANGE_CIPHER_SPEC || conn->first[0] > SSL3_RT_APPLICATION_DATA ||
        (conn->n_first > 1 && conn->first[1] != SSL3_VERSION_MAJOR))
        return not_tls_error(conn, err);
    const char *text = ERR_reason_error_string(code);
    if (conn->ended && (code == 0 || text == NULL))
        return err_set(err, ERR_TLS, NEXT_LOCAL_FAULT, conn->name,
                       "%s closed the connection in the middle of the TLS handshake", conn->where);
    return err_set(err, ERR_TLS, NEXT_LOCAL_FAULT, conn->name, "the TLS handshake with %s failed: %s",
                   conn->where, text == NULL ? "no reason given" : text);
}

/* What a visitor says who knows one kind alone: signatures (of TLS 1.3, and of 1.2), and cipher suites of TLS
 * 1.2, where a server may take an RSA key without any signature. */
static const struct {
    const char *signatures, *ciphers;
} kinds[] = {
    [PROBE_RSA] = {"RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512", "aRSA"},
    [PROBE_ECDSA] = {"ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512", "aECDSA"},
};

static bool tls_limit(struct conn *conn, enum probe_kind kind, struct err *err)
{
    return kind == PROBE_ANY ||
           (SSL_set1_sigalgs_list(conn->ssl, kinds[kind].signatures) == 1 &&
            SSL_set_cipher_list(conn->ssl, kinds[kind].ciphers) == 1) ||
           err_set(err, ERR_CRYPTO, NEXT_LOCAL_FAULT, conn->name, "OpenSSL cannot ask with %s signatures",
                   kind == PROBE_RSA ? "RSA" : "ECDSA");
}

/* What the protocols within are called: what a web browser offers, what we speak, nothing. */
enum alpn { ALPN_BROWSER, ALPN_HTTP_1, ALPN_NONE };

static bool tls_offer(SSL *ssl, enum alpn alpn)
{
    static const unsigned char both[] = "\x02h2\x08http/1.1", one[] = "\x08http/1.1";
    if (alpn == ALPN_NONE)
        return true;
    return alpn == ALPN_HTTP_1 ? SSL_set_alpn_protos(ssl, one, sizeof(one) - 1) == 0
                               : SSL_set_alpn_protos(ssl, both, sizeof(both) - 1) == 0;
}

static bool tls_new(struct conn *conn, enum alpn alpn, struct err *err)
{
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    conn->ctx = SSL_CTX_new(TLS_client_method());
    conn->ssl = conn->ctx == NULL ? NULL : SSL_new(conn->ctx);
    if (in == NULL || out == NULL || conn->ssl == NULL) {
        BIO_free(in);
        BIO_free(out);
        return err_set(err, ERR_CRYPTO, NEXT_LOCAL_FAULT, conn->name, "OpenSSL has no TLS client to offer");
    }
    SSL_set_bio(conn->ssl, in, out);
    SSL_set_connect_state(conn->ssl);
    /* The question is which certificate is served, not whether it is good: that is the caller's to judge. */
    SSL_set_verify(conn->ssl, SSL_VERIFY_NONE, NULL);
    SSL_set_security_level(conn->ssl, 0);
    bool ok = SSL_set_min_proto_version(conn->ssl, TLS1_2_VERSION) == 1 && tls_offer(conn->ssl, alpn);
    if (ok && conn->name[0] != '\0' && !name_is_ip(conn->name))
        ok = SSL_set_tlsext_host_name(conn->ssl, conn->name) == 1;
    return ok ||
           err_set(err, ERR_CRYPTO, NEXT_LOCAL_FAULT, conn->name, "OpenSSL cannot ask for %s", conn->name);
}

static bool tls_flush(struct conn *conn, struct err *err)
{
    char bytes[4096];
    int n;
    while ((n = BIO_read(SSL_get_wbio(conn->ssl), bytes, sizeof(bytes))) > 0)
        if (!conn_send(conn, bytes, (size_t)n, err))
            return false;
    return true;
}

/* *more is false when the peer closed. */
static bool tls_feed(struct conn *conn, bool *more, struct err *err)
{
    char bytes[16384];
    size_t n;
    if (!conn_recv(conn, bytes, sizeof(bytes), &n, err))
        return false;
    *more = n > 0;
    return n == 0 || BIO_write(SSL_get_rbio(conn->ssl), bytes, (int)n) == (int)n ||
           err_set(err, ERR_CRYPTO, NEXT_LOCAL_FAULT, conn->name, "OpenSSL takes no more data");
}

static bool tls_handshake(struct conn *conn, struct err *err)
{
    for (bool more = true; more;) {
        ERR_clear_error();
        int rc = SSL_do_handshake(conn->ssl);
        int why = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(conn->ssl, rc);
        unsigned long code = ERR_peek_last_error();
        if (!tls_flush(conn, err))
            return false;
        if (rc == 1)
            return true;
        if (why != SSL_ERROR_WANT_READ)
            return code != 0 ? handshake_error(conn, err)
                             : err_set(err, ERR_TLS, NEXT_LOCAL_FAULT, conn->name,
                                       "the TLS handshake with %s failed", conn->where);
        if (!tls_feed(conn, &more, err))
            return false;
    }
    return handshake_error(conn, err);
}

static bool tls_describe(const struct conn *conn, struct probe_tls *out, struct err *err)
{
    struct probe_tls result = {0};
    const unsigned char *alpn = NULL;
    unsigned int alpn_len = 0;
    unsigned char *der = NULL;
    X509 *leaf = SSL_get1_peer_certificate(conn->ssl);
    int len = leaf == NULL ? -1 : i2d_X509(leaf, &der);
    X509_free(leaf);
    if (len <= 0)
        return err_set(err, ERR_TLS, NEXT_LOCAL_FAULT, conn->name, "%s served no certificate", conn->where);
    cert_sha256(der, (size_t)len, result.sha256);
    OPENSSL_free(der);
    SSL_get0_alpn_selected(conn->ssl, &alpn, &alpn_len);
    if (alpn_len > 0 && alpn_len < sizeof(result.alpn))
        memcpy(result.alpn, alpn, alpn_len);
    printable(result.alpn);
    snprintf(result.version, sizeof(result.version), "%s", SSL_get_version(conn->ssl));
    *out = result;
    return true;
}

struct tls_question {
    const char *address, *name;
    int port, timeout_ms;
    enum probe_kind kind;
    enum starttls protocol;
    bool service; /* else the web server */
};

static bool tls_by(enum way way, const struct tls_question *ask, struct probe_tls *out, bool *shut_out,
                   struct err *err)
{
    CLEANUP(conn_close) struct conn conn;
    int timeout_ms = way == WAY_PROXIED ? proxied_ms(ask->timeout_ms) : ask->timeout_ms;
    bool ok = conn_open_by(way, &conn, ask->address, ask->port, ask->name, timeout_ms, ask->service, err) &&
              starttls_talk(&conn, ask->protocol, err) &&
              tls_new(&conn, ask->service ? ALPN_NONE : ALPN_BROWSER, err) &&
              tls_limit(&conn, ask->kind, err) && tls_handshake(&conn, err) && tls_describe(&conn, out, err);
    *shut_out = !ok && was_shut_out(&conn);
    return ok;
}

static bool tls_either_way(const struct tls_question *ask, struct probe_tls *out, struct err *err)
{
    struct err first = ERR_INIT, second = ERR_INIT;
    bool shut_out;
    if (tls_by(WAY_PLAIN, ask, out, &shut_out, &first) ||
        (shut_out && tls_by(WAY_PROXIED, ask, out, &shut_out, &second)))
        return true;
    *err = first;
    return false;
}

bool probe_tls_kind(const char *address, int port, const char *name, enum probe_kind kind, int timeout_ms,
                    struct probe_tls *out, struct err *err)
{
    struct tls_question ask = {
        .address = address, .port = port, .name = name, .kind = kind, .timeout_ms = timeout_ms};
    return tls_either_way(&ask, out, err);
}

bool probe_starttls(const char *address, int port, const char *name, enum starttls protocol,
                    enum probe_kind kind, int timeout_ms, struct probe_tls *out, struct err *err)
{
    struct tls_question ask = {.address = address,
                               .port = port,
                               .name = name,
                               .kind = kind,
                               .protocol = protocol,
                               .service = true,
                               .timeout_ms = timeout_ms};
    return tls_either_way(&ask, out, err);
}

bool probe_tls(const char *address, int port, const char *name, int timeout_ms, struct probe_tls *out,
               struct err *err)
{
    return probe_tls_kind(address, port, name, PROBE_ANY, timeout_ms, out, err);
}

/* -- HTTP ----------------------------------------------------------------------------------------------- */

/* The answer's bytes, in order; `at` is how far they are consumed. */
struct reader {
    struct conn *conn;
    struct buf data;
    size_t at;
    bool ended;
};

static void reader_clear(struct reader *reader)
{
    buf_clear(&reader->data);
}

static bool tls_read_more(struct reader *reader, struct err *err)
{
    struct conn *conn = reader->conn;
    char bytes[4096];
    for (bool more = true; more;) {
        ERR_clear_error();
        int n = SSL_read(conn->ssl, bytes, sizeof(bytes));
        int why = n > 0 ? SSL_ERROR_NONE : SSL_get_error(conn->ssl, n);
        if (!tls_flush(conn, err))
            return false;
        if (n > 0) {
            buf_add(&reader->data, bytes, (size_t)n);
            return true;
        }
        if (why == SSL_ERROR_ZERO_RETURN)
            break;
        if (why != SSL_ERROR_WANT_READ)
            return handshake_error(conn, err); /* with TLS 1.3 a refusal comes as late as here */
        if (!tls_feed(conn, &more, err))
            return false;
    }
    reader->ended = true;
    return true;
}

/* At least one byte more, or `ended`. */
static bool read_more(struct reader *reader, struct err *err)
{
    if (reader->ended)
        return true;
    if (reader->conn->ssl != NULL)
        return tls_read_more(reader, err);
    char bytes[4096];
    size_t n;
    if (!conn_recv(reader->conn, bytes, sizeof(bytes), &n, err))
        return false;
    buf_add(&reader->data, bytes, n);
    reader->ended = n == 0;
    return true;
}

/* The next line without its line end, borrowed until the next read. NULL text at the end of the data. */
static bool read_line(struct reader *reader, size_t limit, const char **line, struct err *err)
{
    size_t scanned = reader->at;
    for (;;) {
        char *start = reader->data.data;
        char *newline =
            scanned < reader->data.len ? memchr(start + scanned, '\n', reader->data.len - scanned) : NULL;
        if (newline != NULL && (size_t)(newline - (start + reader->at)) <= limit) {
            *line = start + reader->at;
            reader->at = (size_t)(newline - start) + 1;
            *newline = '\0';
            if (newline > *line && newline[-1] == '\r')
                newline[-1] = '\0';
            return true;
        }
        scanned = reader->data.len;
        if (newline != NULL || scanned - reader->at > limit)
            return err_set(err, ERR_PROTOCOL, NEXT_LOCAL_FAULT, reader->conn->name,
                           "%s answers with a header that is too long", reader->conn->where);
        if (reader->ended) {
            *line = NULL;
            return true;
        }
        if (!read_more(reader, err))
            return false;
    }
}

static bool not_http_error(const struct reader *reader, struct err *err)
{
    const struct conn *conn = reader->conn;
    if (reader->data.len == 0)
        return err_set(err, ERR_NETWORK, NEXT_LOCAL_FAULT, conn->name,
                       "%s closed the connection without an answer", conn->where);
    if (conn->ssl == NULL && conn->n_first > 1 && conn->first[0] >= SSL3_RT_CHANGE_CIPHER_SPEC &&
        conn->first[0] <= SSL3_RT_APPLICATION_DATA && conn->first[1] == SSL3_VERSION_MAJOR)
        return err_set(err, ERR_PROTOCOL, NEXT_LOCAL_FAULT, conn->name,
                       "the answer of %s is not plain HTTP: it looks like TLS", conn->where);
    return err_set(err, ERR_PROTOCOL, NEXT_LOCAL_FAULT, conn->name, "the answer of %s is not HTTP",
                   conn->where);
}

/* "HTTP/1.1 200 OK"; the reason may be missing. */
static bool parse_status(const char *line, int *status)
{
    static const char form[] = "HTTP/d.d ddd";
    for (size_t i = 0; i < sizeof(form) - 1; i++)
        if (form[i] == 'd' ? !isdigit((unsigned char)line[i]) : line[i] != form[i])
            return false;
    if (line[sizeof(form) - 1] != '\0' && line[sizeof(form) - 1] != ' ')
        return false;
    *status = atoi(line + 9);
    return *status >= 100 && *status <= 599;
}

enum framing { FRAMED_BY_CLOSE, FRAMED_BY_LENGTH, FRAMED_BY_CHUNKS };

struct head {
    enum framing framing;
    size_t length;
};

/* The value, when `line` is the header `name`. */
static const char *header_value(const char *line, const char *name)
{
    size_t len = strlen(name);
    if (strncasecmp(line, name, len) != 0 || line[len] != ':')
        return NULL;
    line += len + 1;
    return line + strspn(line, " \t");
}

static void read_length(const char *value, struct head *head)
{
    char *end;
    errno = 0;
    unsigned long long length = strtoull(value, &end, 10);
    if (head->framing != FRAMED_BY_CLOSE || !isdigit((unsigned char)*value) || errno != 0)
        return;
    if (end[strspn(end, " \t")] != '\0')
        return;
    head->framing = FRAMED_BY_LENGTH;
    head->length = (size_t)length;
}

static void read_header(const char *line, struct head *head, struct probe_http *out)
{
    const char *value;
    if ((value = header_value(line, "Location")) != NULL && out->location[0] == '\0') {
        snprintf(out->location, sizeof(out->location), "%s", value);
        for (size_t n = strlen(out->location); n > 0 && strchr(" \t", out->location[n - 1]) != NULL;)
            out->location[--n] = '\0';
        printable(out->location);
    } else if ((value = header_value(line, "Content-Length")) != NULL) {
        read_length(value, head);
    } else if ((value = header_value(line, "Transfer-Encoding")) != NULL &&
               strcasestr(value, "chunked") != NULL) {
        head->framing = FRAMED_BY_CHUNKS; /* over any length, RFC 9112 6.3 */
    }
}

/* Interim answers (103 Early Hints) are skipped. */
static bool read_head(struct reader *reader, struct head *head, struct probe_http *out, struct err *err)
{
    const char *line;
    do {
        *head = (struct head){0};
        if (!read_line(reader, HEAD_LIMIT, &line, err))
            return false;
        if (line == NULL || !parse_status(line, &out->status))
            return not_http_error(reader, err);
        out->location[0] = '\0';
        for (;;) {
            if (reader->at > HEAD_LIMIT)
                return err_set(err, ERR_PROTOCOL, NEXT_LOCAL_FAULT, reader->conn->name,
                               "%s answers with headers without end", reader->conn->where);
            if (!read_line(reader, HEAD_LIMIT, &line, err))
                return false;
            if (line == NULL)
                return err_set(err, ERR_PROTOCOL, NEXT_LOCAL_FAULT, reader->conn->name,
                               "%s broke off in the middle of its headers", reader->conn->where);
            if (*line == '\0')
                break;
            read_header(line, head, out);
        }
    } while (out->status < 200);
    return true;
}

/* Up to `len` bytes into the body, as long as it has room; less when the data ends. */
static bool read_body_bytes(struct reader *reader, size_t len, struct probe_http *out, struct err *err)
{
    while (len > 0 && out->body_len < sizeof(out->body) - 1) {
        size_t n = reader->data.len - reader->at;
        size_t room = sizeof(out->body) - 1 - out->body_len;
        n = n < len ? n : len;
        n = n < room ? n : room;
        if (n > 0) {
            memcpy(out->body + out->body_len, reader->data.data + reader->at, n);
            out->body_len += n;
            reader->at += n;
            len -= n;
        } else if (reader->ended) {
            return true;
        } else if (!read_more(reader, err)) {
            return false;
        }
    }
    return true;
}

static bool parse_chunk_size(const char *line, size_t *size)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(line, &end, 16);
    if (!isxdigit((unsigned char)*line) || errno != 0 || (*end != '\0' && strchr("; \t", *end) == NULL))
        return false;
    *size = (size_t)value;
    return true;
}

static bool read_chunks(struct reader *reader, struct probe_http *out, struct err *err)
{
    const char *line;
    while (out->body_len < sizeof(out->body) - 1) {
        size_t size;
        if (!read_line(reader, CHUNK_LINE_LIMIT, &line, err))
            return false;
        if (line == NULL)
            return true; /* it broke off */
        if (!parse_chunk_size(line, &size))
            return err_set(err, ERR_PROTOCOL, NEXT_LOCAL_FAULT, reader->conn->name,
                           "%s answers with a broken chunked body", reader->conn->where);
        if (size == 0)
            return true;
        if (!read_body_bytes(reader, size, out, err))
            return false;
        if (out->body_len < sizeof(out->body) - 1 && !read_line(reader, CHUNK_LINE_LIMIT, &line, err))
            return false;
        if (out->body_len < sizeof(out->body) - 1 && line != NULL && *line != '\0')
            return err_set(err, ERR_PROTOCOL, NEXT_LOCAL_FAULT, reader->conn->name,
                           "%s answers with a broken chunked body", reader->conn->where);
    }
    return true;
}

static bool read_answer(struct reader *reader, struct probe_http *out, struct err *err)
{
    struct head head;
    if (!read_head(reader, &head, out, err))
        return false;
    if (out->status == 204 || out->status == 304)
        return true;
    if (head.framing == FRAMED_BY_CHUNKS)
        return read_chunks(reader, out, err);
    return read_body_bytes(reader, head.framing == FRAMED_BY_LENGTH ? head.length : SIZE_MAX, out, err);
}

static bool is_field_text(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++)
        if (*c <= ' ' || *c == 0x7f)
            return false;
    return *text != '\0';
}

static bool send_request(struct conn *conn, int port, const char *path, struct err *err)
{
    AUTO_BUF request = BUF_INIT;
    if (!is_field_text(conn->name) || !is_field_text(path) || path[0] != '/')
        return err_set(err, ERR_INTERNAL, NEXT_NONE, conn->name, "not a name and a path to ask for");
    bool v6 = strchr(conn->name, ':') != NULL && conn->name[0] != '[';
    buf_addf(&request, v6 ? "GET %s HTTP/1.1\r\nHost: [%s]" : "GET %s HTTP/1.1\r\nHost: %s", path,
             conn->name);
    if (port != (conn->ssl != NULL ? 443 : 80))
        buf_addf(&request, ":%d", port);
    buf_adds(&request, "\r\nUser-Agent: tlsup\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    if (conn->ssl == NULL)
        return conn_send(conn, request.data, request.len, err);
    ERR_clear_error();
    if (SSL_write(conn->ssl, request.data, (int)request.len) != (int)request.len)
        return handshake_error(conn, err);
    return tls_flush(conn, err);
}

struct http_question {
    const char *address, *name, *path;
    int port, timeout_ms;
    bool tls;
};

static bool http_by(enum way way, const struct http_question *ask, struct probe_http *out, bool *shut_out,
                    struct err *err)
{
    CLEANUP(conn_close) struct conn conn;
    CLEANUP(reader_clear) struct reader reader = {.conn = &conn};
    bool ok = conn_open_by(way, &conn, ask->address, ask->port, ask->name, ask->timeout_ms, false, err) &&
              (!ask->tls || (tls_new(&conn, ALPN_HTTP_1, err) && tls_handshake(&conn, err))) &&
              send_request(&conn, ask->port, ask->path, err) && read_answer(&reader, out, err);
    *shut_out = !ok && was_shut_out(&conn);
    return ok;
}

bool probe_http(const char *address, int port, bool tls, const char *name, const char *path, int timeout_ms,
                struct probe_http *out, struct err *err)
{
    struct http_question ask = {address, name, path, port, timeout_ms, tls};
    struct probe_http result = {0};
    struct err first = ERR_INIT, second = ERR_INIT;
    bool shut_out;
    bool ok = http_by(WAY_PLAIN, &ask, &result, &shut_out, &first);
    if (!ok && shut_out) {
        result = (struct probe_http){0};
        ask.timeout_ms = proxied_ms(timeout_ms);
        /* a server that closes by its own choice takes that line for a bad request */
        ok = http_by(WAY_PROXIED, &ask, &result, &shut_out, &second) && result.status != HTTP_BAD_REQUEST;
    }
    if (ok)
        *out = result;
    else
        *err = first;
    return ok;
}
