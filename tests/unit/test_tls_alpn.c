/*
 * test_tls_alpn.c - a validation server gets the challenge's certificate, whoever else is at the door.
 *
 * Real TLS clients over real sockets on loopback. The responder and its clients share this thread, so each
 * loop moves both; loops are bounded by real time, deadlines of the responder are driven by the frozen clock.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "tlsup/buf.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/tls_alpn.h"

#define EXIT_SKIP 77
#define NAME "example.org"
#define TOKEN "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
#define ACME                                                                                                 \
    "\x0a"                                                                                                   \
    "acme-tls/1"
#define BOUND_MS 20000 /* of real time: a loop that lasts longer has failed */
#define FROZEN_S 1790000000
#define FROZEN_MS 1000000

/* SHA-256 of the key authorization of RFC 8555's example token and key. */
static const unsigned char digest[32] = {0x94, 0x23, 0x3b, 0x71, 0x9c, 0x90, 0x5d, 0xc5, 0x47, 0x2b, 0x69,
                                         0xe7, 0x5b, 0x78, 0xe3, 0x02, 0x13, 0x53, 0xdc, 0x5b, 0xe6, 0xd7,
                                         0xc5, 0x0d, 0xfa, 0x45, 0x99, 0x66, 0x49, 0xca, 0xa1, 0x83};
static const unsigned char other_digest[32] = {1, 2, 3};

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

/* -- the stage ------------------------------------------------------------------------------------------- */

struct stage {
    struct tls_alpn *alpn;
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

static void ok_(bool result, const struct err *err, int line)
{
    if (!result)
        fail_msg("line %d: %s (%s)", line, err->text, err->advice);
}
#define ok(result) ok_((result), &err, __LINE__)

static void add(struct stage *stage, const char *name, const char *token, const unsigned char *sha256)
{
    struct err err = ERR_INIT;
    ok(tls_alpn_add(stage->alpn, name, token, sha256, &err));
}

static int setup(void **state)
{
    struct stage *stage = mem_alloc(sizeof *stage);
    struct err err = ERR_INIT;
    int listeners[2];
    size_t n = 0;
    clock_freeze(FROZEN_S, FROZEN_MS);
    (void)signal(SIGPIPE, SIG_DFL); /* the responder must not raise it */
    listeners[n++] = loopback_listener(AF_INET, &stage->port);
    if (listeners[0] < 0)
        return -1;
    listeners[n] = loopback_listener(AF_INET6, &stage->port6);
    if (listeners[n] >= 0)
        n++;
    if (!tls_alpn_new(listeners, n, count_served, stage, &stage->alpn, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    *state = stage;
    return tls_alpn_add(stage->alpn, NAME, TOKEN, digest, &err) ? 0 : -1;
}

static int teardown(void **state)
{
    struct stage *stage = *state;
    tls_alpn_free(stage->alpn);
    free(stage);
    clock_thaw();
    return 0;
}

/* One round of the owner's loop; waits a moment of real time at most. */
static void pump(struct stage *stage)
{
    struct pollfd fds[TLS_ALPN_MAX_POLLFDS];
    size_t n = tls_alpn_pollfds(stage->alpn, fds, COUNT_OF(fds));
    assert_true(poll(fds, n, 1) >= 0);
    tls_alpn_handle(stage->alpn, fds, n);
}

static size_t connections(const struct stage *stage)
{
    struct pollfd fds[TLS_ALPN_MAX_POLLFDS];
    size_t n = tls_alpn_pollfds(stage->alpn, fds, COUNT_OF(fds)), listeners = 0;
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

static void pump_times(struct stage *stage, int times)
{
    while (times-- > 0)
        pump(stage);
}

/* -- clients --------------------------------------------------------------------------------------------- */

struct client {
    int fd;
    SSL_CTX *tls;
    SSL *ssl;
    int alert; /* that came, -1 for none */
    bool done, failed;
    bool ended, reset; /* of the socket, as far as client_read_raw() has seen */
    struct buf in;
};

/* The clients' own: what the machine's configuration says of TLS is not for them either. */
static OSSL_LIB_CTX *client_library(void)
{
    static OSSL_LIB_CTX *library;
    if (library == NULL) {
        library = OSSL_LIB_CTX_new();
        assert_non_null(library);
        assert_non_null(OSSL_PROVIDER_load(library, "default"));
    }
    return library;
}

static int connect_to(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    int rc = connect(fd, (struct sockaddr *)&address, sizeof address);
    assert_true(rc == 0 || errno == EINPROGRESS);
    return fd;
}

static void on_info(const SSL *ssl, int where, int value)
{
    struct client *client = SSL_get_app_data(ssl);
    if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT && client->alert < 0)
        client->alert = value & 0xFF;
}

/* `version` 0 for any. Nothing is sent yet. */
static void client_init(struct client *client, int fd, const char *sni, int version)
{
    *client = (struct client){.fd = fd, .alert = -1};
    client->tls = SSL_CTX_new_ex(client_library(), NULL, TLS_client_method());
    assert_non_null(client->tls);
    SSL_CTX_clear_options(client->tls, SSL_CTX_get_options(client->tls));
    SSL_CTX_set_security_level(client->tls, 0);
    SSL_CTX_set_verify(client->tls, SSL_VERIFY_NONE, NULL);
    assert_int_equal(SSL_CTX_set_min_proto_version(client->tls, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(client->tls, version), 1);
    assert_int_equal(SSL_CTX_set_cipher_list(client->tls, "ALL"), 1);
    assert_int_equal(SSL_CTX_set1_groups_list(client->tls, "X25519:P-256:P-384:P-521:X448"), 1);
    assert_int_equal(
        SSL_CTX_set1_sigalgs_list(client->tls, "RSA-PSS+SHA256:RSA+SHA256:ECDSA+SHA384:ECDSA+SHA256"), 1);
    client->ssl = SSL_new(client->tls);
    assert_non_null(client->ssl);
    SSL_set_app_data(client->ssl, client);
    SSL_set_info_callback(client->ssl, on_info);
    SSL_set_connect_state(client->ssl);
    if (fd >= 0)
        assert_int_equal(SSL_set_fd(client->ssl, fd), 1);
    if (sni != NULL)
        assert_int_equal(SSL_set_tlsext_host_name(client->ssl, sni), 1);
    assert_int_equal(SSL_set_alpn_protos(client->ssl, (const unsigned char *)ACME, strlen(ACME)), 0);
}

static void client_offer(struct client *client, const char *list)
{
    assert_int_equal(SSL_set_alpn_protos(client->ssl, (const unsigned char *)list, (unsigned)strlen(list)),
                     0);
}

static void client_close(struct client *client)
{
    SSL_free(client->ssl);
    SSL_CTX_free(client->tls);
    buf_clear(&client->in);
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
}

/* Close with a reset instead of an orderly end. */
static void client_abort(struct client *client)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    client_close(client);
}

/* Move the client's side; true when the handshake is over, one way or the other. */
static bool client_step(struct client *client)
{
    if (client->done || client->failed)
        return true;
    ERR_clear_error();
    int rc = SSL_do_handshake(client->ssl);
    int why = SSL_get_error(client->ssl, rc);
    client->done = rc == 1;
    client->failed = rc != 1 && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE;
    return client->done || client->failed;
}

static void shake(struct stage *stage, struct client *client)
{
    int64_t end = real_ms() + BOUND_MS;
    while (!client_step(client)) {
        assert_true(real_ms() < end);
        pump(stage);
    }
}

/* Take the end of a connection whose handshake is done: close_notify and an orderly end, no byte of anything
 * else. */
static void expect_orderly_end(struct stage *stage, struct client *client)
{
    int64_t end = real_ms() + BOUND_MS;
    char block[64];
    int rc, why;
    while ((rc = SSL_read(client->ssl, block, sizeof block)) <= 0 &&
           (why = SSL_get_error(client->ssl, rc)) == SSL_ERROR_WANT_READ) {
        assert_true(real_ms() < end);
        pump(stage);
    }
    assert_true(rc <= 0);
    assert_int_equal(why, SSL_ERROR_ZERO_RETURN);
    ssize_t n;
    while ((n = recv(client->fd, block, sizeof block, 0)) != 0) {
        assert_true(n < 0 && errno == EAGAIN);
        assert_true(real_ms() < end);
        pump(stage);
    }
}

/* A whole validation by the book; the certificate is the caller's. */
static X509 *validate_version(struct stage *stage, const char *sni, int version)
{
    struct client client;
    const unsigned char *alpn = NULL;
    unsigned alpn_len = 0;
    int before = stage->served;
    client_init(&client, connect_to(stage->port), sni, version);
    shake(stage, &client);
    if (!client.done)
        fail_msg("no handshake for %s: alert %d, %s", sni, client.alert,
                 ERR_reason_error_string(ERR_peek_last_error()));
    SSL_get0_alpn_selected(client.ssl, &alpn, &alpn_len);
    assert_int_equal(alpn_len, strlen(ACME) - 1);
    assert_memory_equal(alpn, &ACME[1], alpn_len);
    assert_true(version == 0 || SSL_version(client.ssl) == version);
    expect_orderly_end(stage, &client);
    assert_int_equal(SSL_session_reused(client.ssl), 0);
    assert_int_equal(SSL_SESSION_has_ticket(SSL_get0_session(client.ssl)), 0);
    assert_null(SSL_get_current_compression(client.ssl));
    X509 *cert = SSL_get1_peer_certificate(client.ssl);
    assert_non_null(cert);
    client_close(&client);
    wait_for_connections(stage, 0);
    assert_int_equal(stage->served, before + 1);
    return cert;
}

static X509 *validate(struct stage *stage, const char *sni)
{
    return validate_version(stage, sni, 0);
}

static void expect_alert(struct stage *stage, struct client *client, int alert)
{
    int before = stage->served;
    shake(stage, client);
    assert_false(client->done);
    assert_int_equal(client->alert, alert);
    client_close(client);
    wait_for_connections(stage, 0);
    assert_int_equal(stage->served, before);
}

/* -- certificates ---------------------------------------------------------------------------------------- */

static X509_EXTENSION *find_extension(X509 *cert, const char *wanted)
{
    char oid[64];
    for (int i = 0; i < X509_get_ext_count(cert); i++) {
        X509_EXTENSION *extension = X509_get_ext(cert, i);
        OBJ_obj2txt(oid, sizeof oid, X509_EXTENSION_get_object(extension), 1);
        if (strcmp(oid, wanted) == 0)
            return extension;
    }
    fail_msg("no extension %s", wanted);
    return NULL;
}

static void expect_extension(X509 *cert, const char *oid, bool critical, const void *der, size_t len)
{
    X509_EXTENSION *extension = find_extension(cert, oid);
    const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(extension);
    assert_int_equal(X509_EXTENSION_get_critical(extension) > 0, critical);
    assert_int_equal(ASN1_STRING_length(value), len);
    assert_memory_equal(ASN1_STRING_get0_data(value), der, len);
}

static void expect_digest(X509 *cert, const unsigned char *sha256)
{
    unsigned char der[34] = {0x04, 0x20};
    memcpy(der + 2, sha256, 32);
    expect_extension(cert, "1.3.6.1.5.5.7.1.31", true, der, sizeof der);
}

static void expect_san(X509 *cert, unsigned char tag, const void *bytes, size_t len)
{
    AUTO_BUF der = BUF_INIT;
    assert_true(len < 126);
    buf_addc(&der, 0x30);
    buf_addc(&der, (char)(len + 2));
    buf_addc(&der, (char)tag);
    buf_addc(&der, (char)len);
    buf_add(&der, bytes, len);
    expect_extension(cert, "2.5.29.17", false, der.data, der.len);
}

#define SAN_DNS 0x82
#define SAN_IP 0x87

static void expect_self_signed(X509 *cert)
{
    time_t now = FROZEN_S;
    assert_int_equal(X509_get_version(cert), X509_VERSION_3);
    assert_int_equal(X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)), 0);
    assert_true(X509_NAME_entry_count(X509_get_subject_name(cert)) > 0);
    assert_int_equal(X509_verify(cert, X509_get0_pubkey(cert)), 1);
    assert_int_equal(X509_get_ext_count(cert), 2);
    assert_int_equal(X509_cmp_time(X509_get0_notBefore(cert), &now), -1);
    assert_int_equal(X509_cmp_time(X509_get0_notAfter(cert), &now), 1);
    assert_true(ASN1_STRING_length(X509_get0_serialNumber(cert)) >= 8);
    assert_int_equal(EVP_PKEY_get_bits(X509_get0_pubkey(cert)), 256);
}

static void test_a_dns_name(void **state)
{
    struct stage *stage = *state;
    for (size_t i = 0; i < COUNT_OF(versions); i++) {
        X509 *cert = validate_version(stage, NAME, versions[i]);
        expect_self_signed(cert);
        expect_san(cert, SAN_DNS, NAME, strlen(NAME));
        expect_digest(cert, digest);
        X509_free(cert);
        assert_string_equal(stage->token, TOKEN);
        assert_string_equal(stage->peer, "127.0.0.1");
        stage->token[0] = stage->peer[0] = '\0';
    }
    assert_int_equal(tls_alpn_timeout_ms(stage->alpn), -1);
}

static const struct {
    const char *name, *sni;
    unsigned char bytes[16];
    size_t len;
} addresses[] = {
    {"192.0.2.1", "1.2.0.192.in-addr.arpa", {192, 0, 2, 1}, 4},
    {"255.254.253.252", "252.253.254.255.in-addr.arpa", {255, 254, 253, 252}, 4},
    {"2001:db8::1",
     "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
     {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
     16},
    {"2001:db8:85a3:8d3:1319:8a2e:370:7348",
     "8.4.3.7.0.7.3.0.e.2.a.8.9.1.3.1.3.d.8.0.3.a.5.8.8.b.d.0.1.0.0.2.ip6.arpa",
     {0x20, 0x01, 0x0d, 0xb8, 0x85, 0xa3, 0x08, 0xd3, 0x13, 0x19, 0x8a, 0x2e, 0x03, 0x70, 0x73, 0x48},
     16},
    {"::ffff:192.0.2.1",
     "1.0.2.0.0.0.0.c.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
     {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1},
     16},
};

static void test_ip_addresses(void **state)
{
    struct stage *stage = *state;
    for (size_t i = 0; i < COUNT_OF(addresses); i++) {
        AUTO_FREE char *token = mem_fmt("address-%zu", i);
        add(stage, addresses[i].name, token, other_digest);
    }
    for (size_t i = 0; i < COUNT_OF(addresses); i++) {
        AUTO_FREE char *with_dot = mem_fmt("%s.", addresses[i].sni);
        AUTO_FREE char *token = mem_fmt("address-%zu", i);
        const char *const asked[] = {addresses[i].sni, with_dot};
        for (size_t k = 0; k < COUNT_OF(asked); k++) {
            X509 *cert = validate(stage, asked[k]);
            expect_self_signed(cert);
            expect_san(cert, SAN_IP, addresses[i].bytes, addresses[i].len);
            expect_digest(cert, other_digest);
            assert_string_equal(stage->token, token);
            X509_free(cert);
        }
    }
    /* the address itself is no server name */
    struct client client;
    client_init(&client, connect_to(stage->port), "192.0.2.1", 0);
    expect_alert(stage, &client, SSL_AD_UNRECOGNIZED_NAME);
}

static void test_letter_case_and_final_dot(void **state)
{
    struct stage *stage = *state;
    static const char *const asked[] = {"EXAMPLE.ORG", "Example.Org.", "example.org."};
    for (size_t i = 0; i < COUNT_OF(asked); i++) {
        X509 *cert = validate(stage, asked[i]);
        expect_san(cert, SAN_DNS, NAME, strlen(NAME));
        X509_free(cert);
    }
    add(stage, "Mixed.Case.Example", "mixed", digest);
    X509 *cert = validate(stage, "mixed.case.example");
    expect_san(cert, SAN_DNS, "mixed.case.example", strlen("mixed.case.example"));
    X509_free(cert);
    add(stage, "2001:DB8::A", "upper", digest);
    cert = validate(stage, "A.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.IP6.ARPA");
    X509_free(cert);
}

static char *long_name(size_t len)
{
    AUTO_BUF name = BUF_INIT;
    while (name.len < len)
        buf_addc(&name, name.len % 62 == 61 && name.len + 1 < len ? '.' : 'a');
    return buf_take(&name);
}

static void test_the_longest_name(void **state)
{
    struct stage *stage = *state;
    AUTO_FREE char *name = long_name(253);
    add(stage, name, "long", digest);
    X509 *cert = validate(stage, name);
    assert_int_equal(X509_check_host(cert, name, 0, 0, NULL), 1);
    X509_free(cert);
}

/* -- who is refused -------------------------------------------------------------------------------------- */

static void test_unknown_names(void **state)
{
    struct stage *stage = *state;
    AUTO_FREE char *longest = long_name(255);
    const char *const names[] = {
        "example.com",  "www.example.org", "org", ".example.org", "example.org..", "example.orgx",
        "xexample.org", "*.org",           ".",   "..",           longest,         NULL};
    for (size_t v = 0; v < COUNT_OF(versions); v++)
        for (size_t i = 0; i < COUNT_OF(names); i++) {
            struct client client;
            client_init(&client, connect_to(stage->port), names[i], versions[v]);
            expect_alert(stage, &client, SSL_AD_UNRECOGNIZED_NAME);
        }
}

static void test_other_protocols(void **state)
{
    struct stage *stage = *state;
    static const char *const lists[] = {"",
                                        "\x02h2",
                                        "\x02h2\x08http/1.1",
                                        "\x09"
                                        "acme-tls/",
                                        "\x0c"
                                        "acme-tls/1.1",
                                        "\x0a"
                                        "ACME-TLS/1",
                                        "\x0a"
                                        "acme-tls/2",
                                        "\x0b"
                                        "xacme-tls/1"};
    for (size_t v = 0; v < COUNT_OF(versions); v++)
        for (size_t i = 0; i < COUNT_OF(lists); i++) {
            struct client client;
            client_init(&client, connect_to(stage->port), i % 2 == 0 ? NAME : "unknown.example", versions[v]);
            client_offer(&client, lists[i]);
            expect_alert(stage, &client, SSL_AD_NO_APPLICATION_PROTOCOL);
        }
    /* one of several is an offer as well */
    struct client client;
    client_init(&client, connect_to(stage->port), NAME, 0);
    client_offer(&client, "\x02h2" ACME);
    shake(stage, &client);
    assert_true(client.done);
    client_close(&client);
}

static void test_old_versions(void **state)
{
    struct stage *stage = *state;
    static const int old[] = {TLS1_VERSION, TLS1_1_VERSION};
    for (size_t i = 0; i < COUNT_OF(old); i++) {
        struct client client;
        client_init(&client, connect_to(stage->port), NAME, old[i]);
        assert_int_equal(SSL_set_cipher_list(client.ssl, "ALL:@SECLEVEL=0"), 1);
        client_step(&client);
        assert_false(client.failed); /* it did send a ClientHello */
        expect_alert(stage, &client, SSL_AD_PROTOCOL_VERSION);
    }
}

static void test_nothing_in_common(void **state)
{
    struct stage *stage = *state;
    struct client client;
    client_init(&client, connect_to(stage->port), NAME, TLS1_2_VERSION);
    assert_int_equal(SSL_set_cipher_list(client.ssl, "AES128-SHA"), 1);
    expect_alert(stage, &client, SSL_AD_HANDSHAKE_FAILURE);
    client_init(&client, connect_to(stage->port), NAME, TLS1_3_VERSION);
    assert_int_equal(SSL_set1_sigalgs_list(client.ssl, "RSA-PSS+SHA256"), 1);
    expect_alert(stage, &client, SSL_AD_HANDSHAKE_FAILURE);
    X509_free(validate(stage, NAME));
}

/* -- other ways through the handshake -------------------------------------------------------------------- */

static void test_another_key_share_is_asked_for(void **state)
{
    struct stage *stage = *state;
    struct client client;
    client_init(&client, connect_to(stage->port), NAME, TLS1_3_VERSION);
    assert_int_equal(SSL_set1_groups_list(client.ssl, "X448:P-256"), 1);
    shake(stage, &client);
    assert_true(client.done);
    expect_orderly_end(stage, &client);
    assert_int_equal(stage->served, 1);
    client_close(&client);
}

static void test_no_resumption(void **state)
{
    struct stage *stage = *state;
    for (size_t i = 0; i < COUNT_OF(versions); i++) {
        struct client first, second;
        client_init(&first, connect_to(stage->port), NAME, versions[i]);
        shake(stage, &first);
        assert_true(first.done);
        expect_orderly_end(stage, &first);
        SSL_SESSION *session = SSL_get1_session(first.ssl);
        client_init(&second, connect_to(stage->port), NAME, versions[i]);
        (void)SSL_set_session(second.ssl, session);
        shake(stage, &second);
        assert_true(second.done);
        expect_orderly_end(stage, &second);
        assert_int_equal(SSL_session_reused(second.ssl), 0);
        SSL_SESSION_free(session);
        client_close(&first);
        client_close(&second);
    }
    assert_int_equal(stage->served, 4);
}

/* An attempt goes nowhere, and does no harm: nobody reads it. */
static void test_no_renegotiation(void **state)
{
    struct stage *stage = *state;
    struct client client;
    client_init(&client, connect_to(stage->port), NAME, TLS1_2_VERSION);
    (void)signal(SIGPIPE, SIG_IGN);
    shake(stage, &client);
    assert_true(client.done);
    assert_int_equal(SSL_renegotiate(client.ssl), 1);
    client.done = false;
    shake(stage, &client);
    assert_true(client.failed);
    client_close(&client);
    wait_for_connections(stage, 0);
    assert_int_equal(stage->served, 1);
}

/* -- raw bytes ------------------------------------------------------------------------------------------- */

/* A whole ClientHello that would be answered. */
static void make_hello(struct buf *hello, int version)
{
    struct client client;
    char *data = NULL;
    client_init(&client, -1, NAME, version);
    SSL_set_bio(client.ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    assert_false(client_step(&client));
    long len = BIO_get_mem_data(SSL_get_wbio(client.ssl), &data);
    assert_true(len > 100);
    buf_add(hello, data, (size_t)len);
    client_close(&client);
}

static struct client raw_client(const struct stage *stage)
{
    return (struct client){.fd = connect_to(stage->port)};
}

static size_t client_send(struct client *client, const void *data, size_t len)
{
    ssize_t n = send(client->fd, data, len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        client->reset = true;
    return n > 0 ? (size_t)n : 0;
}

static void client_read_raw(struct client *client)
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
        client_read_raw(client);
    }
}

/* Until the responder has answered with something. */
static void read_a_flight(struct stage *stage, struct client *client)
{
    int64_t end = real_ms() + BOUND_MS;
    while (client->in.len == 0 && !client->reset) {
        assert_true(real_ms() < end);
        pump(stage);
        client_read_raw(client);
    }
    assert_int_equal(client->in.data[0], 0x16);
}

static void test_garbage(void **state)
{
    struct stage *stage = *state;
    unsigned seed = 12345;
    for (int round = 0; round < 200; round++) {
        unsigned char bytes[600];
        struct client client = raw_client(stage);
        for (size_t i = 0; i < sizeof bytes; i++) {
            seed = seed * 1103515245 + 12345;
            bytes[i] = (unsigned char)(seed >> 16);
        }
        if (round % 2 == 0) /* looks like a handshake record */
            memcpy(bytes, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
        send_all(stage, &client, bytes, sizeof bytes);
        assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
        read_to_the_end(stage, &client);
        assert_true(client.in.len == 0 || client.in.data[0] == 0x15); /* an alert at most */
        client_close(&client);
    }
    wait_for_connections(stage, 0);
    assert_int_equal(stage->served, 0);
    X509_free(validate(stage, NAME));
}

static void test_other_languages(void **state)
{
    struct stage *stage = *state;
    static const char *const texts[] = {"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
                                        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                                        "SSH-2.0-OpenSSH_9.2\r\n",
                                        "CONNECT example.org:443 HTTP/1.1\r\n\r\n",
                                        "PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n",
                                        "\x80\x2e\x01\x03\x01",
                                        "EHLO example.org\r\n"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct client client = raw_client(stage);
        send_all(stage, &client, texts[i], strlen(texts[i]));
        assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
        read_to_the_end(stage, &client);
        assert_false(client.reset);
        client_close(&client);
    }
    X509_free(validate(stage, NAME));
}

/* Every byte of a good ClientHello, wrong once. */
static void test_damaged_hellos(void **state)
{
    struct stage *stage = *state;
    for (size_t v = 0; v < COUNT_OF(versions); v++) {
        AUTO_BUF hello = BUF_INIT;
        make_hello(&hello, versions[v]);
        for (size_t i = 0; i < hello.len; i++) {
            struct client client = raw_client(stage);
            hello.data[i] = (char)(hello.data[i] ^ 0x41);
            send_all(stage, &client, hello.data, hello.len);
            hello.data[i] = (char)(hello.data[i] ^ 0x41);
            assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
            read_to_the_end(stage, &client);
            client_close(&client);
        }
    }
    wait_for_connections(stage, 0);
    assert_int_equal(stage->served, 0);
    X509_free(validate(stage, NAME));
}

static void test_half_hellos(void **state)
{
    struct stage *stage = *state;
    AUTO_BUF hello = BUF_INIT;
    make_hello(&hello, 0);
    for (size_t len = 0; len <= hello.len; len += 7) {
        struct client ends = raw_client(stage), aborts = raw_client(stage);
        send_all(stage, &ends, hello.data, len);
        send_all(stage, &aborts, hello.data, len);
        assert_int_equal(shutdown(ends.fd, SHUT_WR), 0);
        read_to_the_end(stage, &ends);
        client_abort(&aborts);
        client_close(&ends);
    }
    wait_for_connections(stage, 0);
    assert_int_equal(stage->served, 0);
}

/* The client that goes away at each step, after its hello was answered. */
static void test_half_handshakes(void **state)
{
    struct stage *stage = *state;
    for (size_t v = 0; v < COUNT_OF(versions); v++)
        for (int how = 0; how < 3; how++) {
            AUTO_BUF hello = BUF_INIT;
            struct client client = raw_client(stage);
            make_hello(&hello, versions[v]);
            send_all(stage, &client, hello.data, hello.len);
            read_a_flight(stage, &client);
            assert_int_equal(connections(stage), 1);
            if (how == 0)
                client_abort(&client);
            else if (how == 1)
                client_close(&client);
            else
                send_all(stage, &client, "\x15\x03\x03\x00\x02\x02\x28", 7); /* a fatal alert */
            if (how == 2)
                read_to_the_end(stage, &client);
            if (how == 2)
                client_close(&client);
            wait_for_connections(stage, 0);
        }
    assert_int_equal(stage->served, 0);
}

static void test_one_byte_at_a_time(void **state)
{
    struct stage *stage = *state;
    for (size_t v = 0; v < COUNT_OF(versions); v++) {
        struct client client;
        int64_t end = real_ms() + BOUND_MS;
        client_init(&client, -1, NAME, versions[v]);
        client.fd = connect_to(stage->port);
        BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
        SSL_set_bio(client.ssl, in, out);
        while (!client_step(&client) || BIO_ctrl_pending(out) > 0) {
            char c;
            assert_true(real_ms() < end);
            assert_false(client.failed);
            for (int i = 0; i < 50 && BIO_read(out, &c, 1) == 1; i++)
                send_all(stage, &client, &c, 1);
            if (recv(client.fd, &c, 1, 0) == 1)
                assert_int_equal(BIO_write(in, &c, 1), 1);
            else
                pump(stage);
        }
        pump_times(stage, 3);
        assert_int_equal(stage->served, v + 1);
        client_close(&client);
    }
}

/* More than any ClientHello needs, in a form that TLS allows: the limit is ours. */
static void test_huge_hello(void **state)
{
    struct stage *stage = *state;
    AUTO_FREE char *fragment = mem_alloc(5 + 16384);
    struct client client = raw_client(stage);
    memcpy(fragment, "\x16\x03\x01\x40\x00", 5);
    memcpy(fragment + 5, "\x01\x01\xff\xf0\x03\x03", 6);
    send_all(stage, &client, fragment, 5 + 16384);
    memset(fragment + 5, 0, 6);
    for (int i = 0; i < 3 && !client.reset; i++)
        send_all(stage, &client, fragment, 5 + 16384);
    read_to_the_end(stage, &client);
    client_close(&client);
    wait_for_connections(stage, 0);
    X509_free(validate(stage, NAME));
}

/* Endless small records that mean nothing. */
static void test_endless_records(void **state)
{
    struct stage *stage = *state;
    static const char warning[] = "\x15\x03\x01\x00\x02\x01\x5a"; /* user_canceled */
    struct client client = raw_client(stage);
    for (int i = 0; i < 10000 && !client.reset && !client.ended; i++) {
        client_send(&client, warning, sizeof warning - 1);
        if (i % 100 == 0)
            pump(stage);
        client_read_raw(&client);
    }
    client_close(&client);
    wait_for_connections(stage, 0);
    X509_free(validate(stage, NAME));
}

/* -- slow and rude clients ------------------------------------------------------------------------------- */

static void test_client_that_never_sends(void **state)
{
    struct stage *stage = *state;
    struct client client = raw_client(stage);
    wait_for_connections(stage, 1);
    assert_int_equal(tls_alpn_timeout_ms(stage->alpn), 10000);
    clock_freeze(FROZEN_S, FROZEN_MS + 9999);
    assert_int_equal(tls_alpn_timeout_ms(stage->alpn), 1);
    pump(stage);
    assert_int_equal(connections(stage), 1);
    clock_freeze(FROZEN_S, FROZEN_MS + 10000);
    assert_int_equal(tls_alpn_timeout_ms(stage->alpn), 0);
    read_to_the_end(stage, &client);
    assert_int_equal(client.in.len, 0);
    assert_int_equal(connections(stage), 0);
    assert_int_equal(tls_alpn_timeout_ms(stage->alpn), -1);
    client_close(&client);
}

/* Progress does not buy time. */
static void test_slow_handshake(void **state)
{
    struct stage *stage = *state;
    AUTO_BUF hello = BUF_INIT;
    make_hello(&hello, TLS1_3_VERSION);
    struct client client = raw_client(stage);
    send_all(stage, &client, hello.data, 5);
    wait_for_connections(stage, 1);
    for (size_t second = 1; second < 9; second++) {
        clock_freeze(FROZEN_S, FROZEN_MS + (int64_t)second * 1000);
        send_all(stage, &client, hello.data + 4 + second, 1);
        assert_int_equal(connections(stage), 1);
    }
    send_all(stage, &client, hello.data + 13, hello.len - 13);
    read_a_flight(stage, &client);
    clock_freeze(FROZEN_S, FROZEN_MS + 9999);
    pump_times(stage, 3);
    assert_int_equal(connections(stage), 1);
    clock_freeze(FROZEN_S, FROZEN_MS + 10000);
    wait_for_connections(stage, 0);
    assert_int_equal(stage->served, 0);
    client_close(&client);
}

static void test_slow_but_in_time(void **state)
{
    struct stage *stage = *state;
    struct client client;
    client_init(&client, connect_to(stage->port), NAME, TLS1_3_VERSION);
    client_step(&client);
    wait_for_connections(stage, 1);
    pump_times(stage, 5);
    clock_freeze(FROZEN_S, FROZEN_MS + 9999);
    shake(stage, &client);
    assert_true(client.done);
    expect_orderly_end(stage, &client);
    assert_int_equal(stage->served, 1);
    client_close(&client);
}

static void test_lingering_is_bounded(void **state)
{
    struct stage *stage = *state;
    for (size_t v = 0; v < COUNT_OF(versions); v++) {
        struct client silent, chatty;
        clock_freeze(FROZEN_S, FROZEN_MS);
        client_init(&silent, connect_to(stage->port), NAME, versions[v]);
        shake(stage, &silent);
        expect_orderly_end(stage, &silent);
        assert_int_equal(connections(stage), 1);
        assert_int_equal(tls_alpn_timeout_ms(stage->alpn), 2000);
        clock_freeze(FROZEN_S, FROZEN_MS + 2000);
        wait_for_connections(stage, 0);
        client_close(&silent);
        AUTO_FREE char *junk = mem_alloc((size_t)16 << 20);
        client_init(&chatty, connect_to(stage->port), NAME, versions[v]);
        shake(stage, &chatty);
        send_all(stage, &chatty, junk, (size_t)16 << 20); /* ends when the responder has had enough */
        wait_for_connections(stage, 0);
        assert_true(chatty.reset);
        client_close(&chatty);
    }
}

/* What is sent with the last flight and after it changes nothing. */
static void test_data_after_the_handshake(void **state)
{
    struct stage *stage = *state;
    for (size_t v = 0; v < COUNT_OF(versions); v++) {
        struct client client;
        char data[20000] = "GET / HTTP/1.1\r\n\r\n";
        client_init(&client, connect_to(stage->port), NAME, versions[v]);
        shake(stage, &client);
        assert_true(client.done);
        (void)signal(SIGPIPE, SIG_IGN);
        (void)SSL_write(client.ssl, data, sizeof data);
        expect_orderly_end(stage, &client);
        assert_int_equal(stage->served, v + 1);
        client_close(&client);
    }
}

static void test_reset_and_sigpipe(void **state)
{
    struct stage *stage = *state;
    AUTO_BUF hello = BUF_INIT;
    make_hello(&hello, 0);
    struct client early = raw_client(stage);
    client_abort(&early); /* before accept */
    pump(stage);
    /* the whole hello is there, and nobody to answer to */
    for (int i = 0; i < 10; i++) {
        struct client client = raw_client(stage);
        assert_int_equal(client_send(&client, hello.data, hello.len), hello.len);
        if (i % 2 == 0)
            assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
        client_abort(&client);
        pump_times(stage, 3);
    }
    wait_for_connections(stage, 0);
    assert_int_equal(stage->served, 0);
    X509_free(validate(stage, NAME));
}

/* A validation server that is content hangs up at once, rudely even: it has been served all the same. */
static void test_client_that_hangs_up_at_once(void **state)
{
    struct stage *stage = *state;
    for (size_t v = 0; v < COUNT_OF(versions); v++) {
        struct client client;
        int64_t end = real_ms() + BOUND_MS;
        client_init(&client, connect_to(stage->port), NAME, versions[v]);
        shake(stage, &client);
        assert_true(client.done);
        client_close(&client);
        while (stage->served < (int)v + 1) {
            assert_true(real_ms() < end);
            pump(stage);
        }
        wait_for_connections(stage, 0);
    }
}

/* -- crowds ---------------------------------------------------------------------------------------------- */

static void test_two_hundred_at_once(void **state)
{
    struct stage *stage = *state;
    struct client clients[200];
    int64_t end = real_ms() + BOUND_MS;
    size_t done = 0;
    (void)signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < COUNT_OF(clients); i++)
        client_init(&clients[i], connect_to(stage->port), NAME, versions[i % 2]);
    /* as validation servers do, those that lost their place come again */
    while (done < COUNT_OF(clients)) {
        assert_true(real_ms() < end);
        done = 0;
        for (size_t i = 0; i < COUNT_OF(clients); i++) {
            done += client_step(&clients[i]) && clients[i].done ? 1 : 0;
            if (!clients[i].failed)
                continue;
            client_close(&clients[i]);
            client_init(&clients[i], connect_to(stage->port), NAME, versions[i % 2]);
        }
        pump(stage);
        assert_true(connections(stage) <= 64);
    }
    for (size_t i = 0; i < COUNT_OF(clients); i++)
        client_close(&clients[i]);
    wait_for_connections(stage, 0);
    /* a TLS 1.3 client that lost its place with all in hand to be content is not counted */
    assert_true(stage->served >= (int)COUNT_OF(clients) / 2);
}

static void test_the_oldest_is_dropped(void **state)
{
    struct stage *stage = *state;
    struct client clients[70];
    for (size_t i = 0; i < COUNT_OF(clients); i++) {
        clients[i] = raw_client(stage);
        wait_for_connections(stage, i < 64 ? i + 1 : 64);
        pump_times(stage, 3);
    }
    for (size_t i = 0; i < COUNT_OF(clients); i++) {
        client_read_raw(&clients[i]);
        assert_int_equal(clients[i].ended || clients[i].reset, i < COUNT_OF(clients) - 64);
        client_close(&clients[i]);
    }
    wait_for_connections(stage, 0);
}

/* Those that ask for a certificate and then fall silent on every place do not keep the CA out. */
static void test_full_of_half_handshakes(void **state)
{
    struct stage *stage = *state;
    struct client idle[80];
    AUTO_BUF hello = BUF_INIT;
    make_hello(&hello, TLS1_3_VERSION);
    for (size_t i = 0; i < COUNT_OF(idle); i++) {
        idle[i] = raw_client(stage);
        send_all(stage, &idle[i], hello.data, i % 2 == 0 ? hello.len : 11);
    }
    wait_for_connections(stage, 64);
    struct client client;
    client_init(&client, connect_to(stage->port), NAME, TLS1_3_VERSION);
    client_step(&client);
    pump_times(stage, 3);
    /* more of them come before the client goes on */
    for (size_t i = 0; i < 60; i++) {
        client_close(&idle[i]);
        idle[i] = raw_client(stage);
        send_all(stage, &idle[i], hello.data, hello.len);
    }
    shake(stage, &client);
    assert_true(client.done);
    pump_times(stage, 3);
    assert_int_equal(stage->served, 1);
    client_close(&client);
    for (size_t i = 0; i < COUNT_OF(idle); i++)
        client_close(&idle[i]);
    wait_for_connections(stage, 0);
}

/* A last flight that is here already counts before its connection is given up. */
static void test_a_last_flight_is_not_dropped_for_a_newcomer(void **state)
{
    struct stage *stage = *state;
    struct client first, others[100];
    struct pollfd fds[TLS_ALPN_MAX_POLLFDS];
    client_init(&first, connect_to(stage->port), NAME, TLS1_3_VERSION);
    client_step(&first);
    wait_for_connections(stage, 1);
    pump_times(stage, 5);
    for (size_t i = 0; i < COUNT_OF(others); i++)
        others[i] = raw_client(stage);
    size_t n = tls_alpn_pollfds(stage->alpn, fds, COUNT_OF(fds));
    assert_true(poll(fds, n, 1000) > 0);
    assert_true(client_step(&first)); /* arrives after poll(2) has looked */
    assert_true(first.done);
    tls_alpn_handle(stage->alpn, fds, n);
    assert_int_equal(stage->served, 1);
    client_close(&first);
    for (size_t i = 0; i < COUNT_OF(others); i++)
        client_close(&others[i]);
}

static bool listener_is_polled(const struct stage *stage)
{
    struct pollfd fds[TLS_ALPN_MAX_POLLFDS];
    return tls_alpn_pollfds(stage->alpn, fds, COUNT_OF(fds)) > connections(stage);
}

/* The descriptor table is full: the waiting client keeps the listener readable, which must not become a busy
 * loop. */
static void test_no_free_descriptors(void **state)
{
    struct stage *stage = *state;
    struct rlimit before, none;
    struct client first, second;
    client_init(&first, connect_to(stage->port), NAME, 0);
    wait_for_connections(stage, 1);
    client_init(&second, connect_to(stage->port), NAME, 0);
    int highest = dup(second.fd);
    assert_true(highest >= 0);
    close(highest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)highest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    pump(stage);
    bool polled_when_full = listener_is_polled(stage);
    int timeout_when_full = tls_alpn_timeout_ms(stage->alpn);
    clock_freeze(FROZEN_S, FROZEN_MS + 100);
    bool polled_after_pause = listener_is_polled(stage);
    pump(stage);
    bool polled_when_still_full = listener_is_polled(stage);
    /* a connection of ours ends: its place is used at once */
    shake(stage, &first);
    client_close(&first);
    shake(stage, &second);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_false(polled_when_full);
    assert_int_equal(timeout_when_full, 100);
    assert_true(polled_after_pause);
    assert_false(polled_when_still_full);
    assert_true(second.done);
    client_close(&second);
}

static void test_broken_and_superfluous_listeners(void **state)
{
    struct stage *stage = *state;
    struct err err = ERR_INIT;
    int fds[6], port;
    struct pollfd polled[TLS_ALPN_MAX_POLLFDS];
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* does not listen */
    for (size_t i = 1; i < COUNT_OF(fds); i++)
        fds[i] = loopback_listener(AF_INET, i == 1 ? &stage->port : &port);
    tls_alpn_free(stage->alpn);
    stage->alpn = NULL;
    ok(tls_alpn_new(fds, COUNT_OF(fds), count_served, stage, &stage->alpn, &err));
    assert_int_equal(fcntl(fds[4], F_GETFD), -1);
    assert_int_equal(fcntl(fds[5], F_GETFD), -1);
    assert_int_equal(tls_alpn_pollfds(stage->alpn, polled, COUNT_OF(polled)), TLS_ALPN_MAX_LISTENERS);
    assert_int_equal(tls_alpn_pollfds(stage->alpn, polled, 3), 3);
    assert_int_equal(tls_alpn_pollfds(stage->alpn, polled, 0), 0);
    pump(stage);
    assert_int_equal(tls_alpn_pollfds(stage->alpn, polled, COUNT_OF(polled)), TLS_ALPN_MAX_LISTENERS - 1);
    add(stage, NAME, TOKEN, digest);
    X509_free(validate(stage, NAME));
    tls_alpn_free(stage->alpn);
    stage->alpn = NULL;
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        assert_int_equal(fcntl(fds[i], F_GETFD), -1);
    tls_alpn_free(NULL);
}

/* -- tokens ---------------------------------------------------------------------------------------------- */

static void expect_name_has(struct stage *stage, const char *name, const char *token,
                            const unsigned char *sha256)
{
    X509 *cert = validate(stage, name);
    expect_digest(cert, sha256);
    assert_string_equal(stage->token, token);
    X509_free(cert);
}

static void expect_unknown(struct stage *stage, const char *name)
{
    struct client client;
    client_init(&client, connect_to(stage->port), name, 0);
    expect_alert(stage, &client, SSL_AD_UNRECOGNIZED_NAME);
}

static void test_replacing(void **state)
{
    struct stage *stage = *state;
    add(stage, NAME, TOKEN, other_digest); /* the same of both */
    expect_name_has(stage, NAME, TOKEN, other_digest);
    add(stage, NAME, "second", digest); /* another token for the name */
    expect_name_has(stage, NAME, "second", digest);
    tls_alpn_remove(stage->alpn, TOKEN); /* the first one is forgotten already */
    expect_name_has(stage, NAME, "second", digest);
    add(stage, "example.net", "second", other_digest); /* another name for the token */
    expect_name_has(stage, "example.net", "second", other_digest);
    expect_unknown(stage, NAME);
    add(stage, "192.0.2.1", "address", digest);
    add(stage, "example.com", "third", digest);
    add(stage, "example.com", "second", digest); /* two of them at once */
    expect_name_has(stage, "example.com", "second", digest);
    expect_unknown(stage, "example.net");
    tls_alpn_remove(stage->alpn, "third");
    tls_alpn_remove(stage->alpn, "never-there");
    tls_alpn_remove(stage->alpn, NULL);
    expect_name_has(stage, "example.com", "second", digest);
    expect_name_has(stage, "1.2.0.192.in-addr.arpa", "address", digest);
    tls_alpn_remove(stage->alpn, "second");
    tls_alpn_remove(stage->alpn, "second");
    expect_unknown(stage, "example.com");
}

/* Token and certificate change while a client is half-way: what it was offered stays with it. */
static void test_changes_in_the_middle(void **state)
{
    struct stage *stage = *state;
    for (size_t v = 0; v < COUNT_OF(versions); v++) {
        struct client offered, removed, before;
        X509 *cert;
        add(stage, NAME, TOKEN, digest);
        client_init(&offered, connect_to(stage->port), NAME, versions[v]);
        client_init(&removed, connect_to(stage->port), NAME, versions[v]);
        client_step(&offered);
        client_step(&removed);
        wait_for_connections(stage, 2);
        pump_times(stage, 5);
        client_init(&before, connect_to(stage->port), NAME, versions[v]); /* has not asked yet */
        wait_for_connections(stage, 3);
        add(stage, NAME, "new", other_digest);
        shake(stage, &offered);
        assert_true(offered.done);
        expect_orderly_end(stage, &offered);
        assert_string_equal(stage->token, TOKEN);
        cert = SSL_get1_peer_certificate(offered.ssl);
        expect_digest(cert, digest);
        X509_free(cert);
        shake(stage, &before);
        assert_true(before.done);
        expect_orderly_end(stage, &before);
        assert_string_equal(stage->token, "new");
        cert = SSL_get1_peer_certificate(before.ssl);
        expect_digest(cert, other_digest);
        X509_free(cert);
        tls_alpn_remove(stage->alpn, "new");
        shake(stage, &removed);
        assert_true(removed.done);
        expect_orderly_end(stage, &removed);
        assert_string_equal(stage->token, TOKEN);
        client_close(&offered);
        client_close(&removed);
        client_close(&before);
        wait_for_connections(stage, 0);
    }
    expect_unknown(stage, NAME);
}

static void test_bad_tokens_and_names(void **state)
{
    struct stage *stage = *state;
    char long_token[130], long_label[70];
    memset(long_token, 'a', 129);
    long_token[129] = '\0';
    memset(long_label, 'a', 64);
    memcpy(long_label + 64, ".org", 5);
    AUTO_FREE char *name_254 = long_name(254);
    const char *const tokens[] = {"", "a/b", "../x", "a.b", "a b", "a=", "ä", "a\n", long_token, NULL};
    const char *const names[] = {"",
                                 ".",
                                 "..",
                                 "a..b",
                                 ".a",
                                 "a b",
                                 "a/b",
                                 "b\xc3\xbc"
                                 "cher.example",
                                 "a\n.org",
                                 "a:b",
                                 "[::1]",
                                 "1.2.3.4/24",
                                 "fe80::1%eth0",
                                 long_label,
                                 name_254};
    for (size_t i = 0; i < COUNT_OF(tokens); i++) {
        struct err err = ERR_INIT;
        assert_false(tls_alpn_add(stage->alpn, NAME, tokens[i], other_digest, &err));
        assert_int_equal(err.code, ERR_PROTOCOL);
        assert_string_equal(err.subject, NAME);
    }
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct err err = ERR_INIT;
        assert_false(tls_alpn_add(stage->alpn, names[i], TOKEN, other_digest, &err));
        assert_int_equal(err.code, ERR_NAME);
    }
    struct err err = ERR_INIT;
    assert_false(tls_alpn_add(stage->alpn, "*.example.org", TOKEN, other_digest, &err));
    assert_int_equal(err.code, ERR_NAME);
    assert_non_null(strstr(err.text, "wildcard"));
    assert_non_null(strstr(err.advice, "dns-01"));
    expect_name_has(stage, NAME, TOKEN, digest); /* nothing was changed by any */
    add(stage, "one", long_token + 1, digest);
    expect_name_has(stage, "one", long_token + 1, digest);
}

static void test_thousands_of_names(void **state)
{
    struct stage *stage = *state;
    struct err err = ERR_INIT;
    char name[64], token[64];
    tls_alpn_remove(stage->alpn, TOKEN);
    for (unsigned i = 0; i < 4096; i++) {
        unsigned char sha256[32] = {(unsigned char)i, (unsigned char)(i >> 8)};
        snprintf(name, sizeof name, "n%u.example.org", i * 2654435761U);
        snprintf(token, sizeof token, "t%u", i);
        add(stage, name, token, sha256);
    }
    assert_false(tls_alpn_add(stage->alpn, "one-more.example.org", "one-more", digest, &err));
    assert_int_equal(err.code, ERR_USAGE);
    assert_true(strlen(err.advice) > 0);
    add(stage, name, "other-token", digest); /* what is known still can be replaced */
    add(stage, "one-more.example.org", "t0", digest);
    for (unsigned i = 1; i < 4095; i += 2) {
        snprintf(token, sizeof token, "t%u", i);
        tls_alpn_remove(stage->alpn, token);
    }
    for (unsigned i = 1; i < 4095; i += 131) {
        unsigned char sha256[32] = {(unsigned char)i, (unsigned char)(i >> 8)};
        snprintf(name, sizeof name, "n%u.example.org", i * 2654435761U);
        snprintf(token, sizeof token, "t%u", i);
        if (i % 2 == 0)
            expect_name_has(stage, name, token, sha256);
        else
            expect_unknown(stage, name);
    }
    expect_name_has(stage, "one-more.example.org", "t0", digest);
}

static void change_tokens(void *ctx, const char *token, const char *peer)
{
    struct stage *stage = ctx;
    count_served(ctx, token, peer);
    tls_alpn_remove(stage->alpn, token);
    add(stage, "next.example.org", "next", other_digest);
}

static void test_callback_may_change_tokens(void **state)
{
    struct stage *stage = *state;
    struct err err = ERR_INIT;
    tls_alpn_free(stage->alpn);
    stage->alpn = NULL;
    int fd = loopback_listener(AF_INET, &stage->port);
    ok(tls_alpn_new(&fd, 1, change_tokens, stage, &stage->alpn, &err));
    add(stage, NAME, TOKEN, digest);
    expect_name_has(stage, NAME, TOKEN, digest);
    expect_unknown(stage, NAME);
    expect_name_has(stage, "next.example.org", "next", other_digest);
}

static void test_without_a_callback(void **state)
{
    struct stage *stage = *state;
    struct err err = ERR_INIT;
    struct client client;
    tls_alpn_free(stage->alpn);
    stage->alpn = NULL;
    int fd = loopback_listener(AF_INET, &stage->port);
    ok(tls_alpn_new(&fd, 1, NULL, NULL, &stage->alpn, &err));
    add(stage, NAME, TOKEN, digest);
    client_init(&client, connect_to(stage->port), NAME, 0);
    shake(stage, &client);
    assert_true(client.done);
    expect_orderly_end(stage, &client);
    client_close(&client);
}

/* -- addresses, arrays, ends ----------------------------------------------------------------------------- */

static void test_ipv6_and_mapped_peers(void **state)
{
    struct stage *stage = *state;
    if (stage->port6 == 0)
        skip();
    int port = stage->port;
    stage->port = stage->port6; /* IPv4 client on the IPv6 socket */
    X509_free(validate(stage, NAME));
    stage->port = port;
    assert_string_equal(stage->peer, "127.0.0.1");
    struct sockaddr_in6 address = {.sin6_family = AF_INET6,
                                   .sin6_port = htons((uint16_t)stage->port6),
                                   .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct client client;
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return;
    }
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    client_init(&client, fd, NAME, 0);
    shake(stage, &client);
    expect_orderly_end(stage, &client);
    assert_string_equal(stage->peer, "::1");
    client_close(&client);
}

static void test_handle_survives_odd_arrays(void **state)
{
    struct stage *stage = *state;
    tls_alpn_handle(stage->alpn, NULL, 0);
    struct pollfd odd[] = {{.fd = -1, .revents = POLLIN}, {.fd = 9999, .revents = POLLNVAL}};
    tls_alpn_handle(stage->alpn, odd, COUNT_OF(odd));
    struct client client = raw_client(stage);
    wait_for_connections(stage, 1);
    /* readable and writable says the array, but nobody is there */
    struct pollfd fds[TLS_ALPN_MAX_POLLFDS];
    size_t n = tls_alpn_pollfds(stage->alpn, fds, COUNT_OF(fds));
    for (size_t i = 0; i < n; i++)
        fds[i].revents = POLLIN | POLLOUT;
    tls_alpn_handle(stage->alpn, fds, n);
    assert_int_equal(connections(stage), 1);
    client_close(&client);
    X509_free(validate(stage, NAME));
}

static void test_free_with_open_connections(void **state)
{
    struct stage *stage = *state;
    struct client idle = raw_client(stage), half, done;
    client_init(&half, connect_to(stage->port), NAME, 0);
    client_step(&half);
    client_init(&done, connect_to(stage->port), NAME, 0);
    shake(stage, &done);
    wait_for_connections(stage, 3);
    tls_alpn_free(stage->alpn);
    stage->alpn = NULL;
    client_close(&idle);
    client_close(&half);
    client_close(&done);
}

/* -- inside a sandbox ------------------------------------------------------------------------------------ */

#define ALLOW(number)                                                                                        \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* Only what the header names, and what an allocator and poll(2) need. */
static bool enter_sandbox(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(SYS_accept4),
        ALLOW(SYS_recvfrom),
        ALLOW(SYS_sendto),
        ALLOW(SYS_shutdown),
        ALLOW(SYS_close),
        ALLOW(SYS_clock_gettime),
        ALLOW(SYS_write),
        ALLOW(SYS_getrandom),
        ALLOW(SYS_getpid),
        ALLOW(SYS_brk),
        ALLOW(SYS_mmap),
        ALLOW(SYS_munmap),
        ALLOW(SYS_mremap),
        ALLOW(SYS_madvise),
        ALLOW(SYS_ppoll),
#ifdef SYS_poll
        ALLOW(SYS_poll),
#endif
        ALLOW(SYS_exit_group),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {.len = COUNT_OF(filter), .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* Serves until two have been served and one address was added; never returns. */
static NORETURN void serve_in_a_sandbox(struct stage *stage, int listener)
{
    struct err err = ERR_INIT;
    struct pollfd fds[TLS_ALPN_MAX_POLLFDS];
    int64_t end = real_ms() + BOUND_MS;
    if (!tls_alpn_new(&listener, 1, count_served, stage, &stage->alpn, &err))
        _exit(2);
    log_set_level(LOG_LEVEL_DEBUG);
    if (freopen("/dev/null", "w", stderr) == NULL || !enter_sandbox())
        _exit(EXIT_SKIP);
    if (!tls_alpn_add(stage->alpn, NAME, TOKEN, digest, &err) ||
        !tls_alpn_add(stage->alpn, "2001:db8::1", "address", digest, &err))
        _exit(3);
    while (stage->served < 2 && real_ms() < end) {
        size_t n = tls_alpn_pollfds(stage->alpn, fds, COUNT_OF(fds));
        (void)poll(fds, n, 10);
        tls_alpn_handle(stage->alpn, fds, n);
    }
    (void)syscall(SYS_exit_group, stage->served == 2 ? 0 : 4); /* not what a sanitizer makes of _exit() */
    abort();
}

static void step_to_the_end(struct client *client)
{
    int64_t end = real_ms() + BOUND_MS;
    while (!client_step(client)) {
        struct pollfd fd = {.fd = client->fd, .events = POLLIN};
        assert_true(real_ms() < end);
        assert_true(poll(&fd, 1, 10) >= 0);
    }
}

/* The first test: nothing that the library reads only once has been read for it by another. */
static void test_in_a_sandbox(void **state)
{
    struct stage stage = {0};
    int port, status = 0, listener = loopback_listener(AF_INET, &port);
    struct client client;
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    pid_t child = fork();
    if (child == 0)
        serve_in_a_sandbox(&stage, listener);
    close(listener);
    client_init(&client, connect_to(port), "unknown.example", 0);
    step_to_the_end(&client);
    client_close(&client);
    client_init(&client, connect_to(port), NAME, 0);
    client_offer(&client, "\x02h2");
    step_to_the_end(&client);
    client_close(&client);
    client = (struct client){.fd = connect_to(port)};
    (void)client_send(&client, "GET / HTTP/1.1\r\n\r\n", 18);
    client_close(&client);
    for (size_t i = 0; i < COUNT_OF(versions); i++) {
        client_init(&client, connect_to(port), NAME, versions[i]);
        step_to_the_end(&client);
        client_close(&client);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP)
        skip();
    if (WIFSIGNALED(status))
        fail_msg("ended by signal %d", WTERMSIG(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* -- whatever the machine's openssl.cnf says ------------------------------------------------------------- */

#define UNDER_CONFIGURATION "--under-configuration"
#define LOADED_BEFORE "--loaded-before"

/* Policies that would forbid all we do, were they obeyed; and files that are no configuration. */
static const char *const configurations[] = {
    "openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\nsystem_default = tls\n[tls]\nMinProtocol = TLSv1.3\n"
    "CipherString = ECDHE-RSA-AES256-GCM-SHA384:@SECLEVEL=5\nCiphersuites = TLS_AES_256_GCM_SHA384\nGroups = "
    "P-521\n"
    "SignatureAlgorithms = RSA-PSS+SHA512\nVerifyMode = Require\nOptions = "
    "-SessionTicket,NoResumptionOnRenegotiation\n",
    "openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\nsystem_default = tls\n[tls]\nMaxProtocol = TLSv1.1\n"
    "CipherString = NULL-SHA\nProtocol = -TLSv1.2,-TLSv1.3\nOptions = UnsafeLegacyRenegotiation\n",
    "openssl_conf = init\n[init]\nalg_section = algs\nproviders = provs\n[algs]\ndefault_properties = "
    "fips=yes\n"
    "[provs]\nnone = none\n[none]\nactivate = 0\n",
    "openssl_conf = init\n[init]\nproviders = provs\nrandom = rand\n[provs]\nmissing = missing\n[missing]\n"
    "module = /nonexistent/module.so\nactivate = 1\n[rand]\nrandom = NO-SUCH-DRBG\n",
    "[[[ this is no = configuration\n\\\x01\x02 file",
    "openssl_conf = nowhere\n",
    "config_diagnostics = 1\nopenssl_conf = init\n[init]\nssl_conf = ssl\nproviders = nowhere\n[ssl]\n"
    "system_default = tls\n[tls]\nNoSuchCommand = 1\n",
    "",
};

static bool passes_under(char *path, char *const argv[])
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        (void)setenv("OPENSSL_CONF", path, 1);
        (void)alarm(60);
        if (freopen("/dev/null", "w", stdout) == NULL || freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        execv("/proc/self/exe", argv);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void test_openssl_configurations(void **state)
{
    (void)state;
    char dir[] = "/tmp/test_tls_alpn.XXXXXX";
    char program[] = "test_tls_alpn", under[] = UNDER_CONFIGURATION, before[] = LOADED_BEFORE;
    assert_non_null(mkdtemp(dir));
    AUTO_FREE char *path = mem_fmt("%s/openssl.cnf", dir);
    for (size_t i = 0; i < COUNT_OF(configurations); i++) {
        write_file(path, configurations[i]);
        if (!passes_under(path, (char *[]){program, under, NULL}))
            fail_msg("configuration %zu, read by nobody before", i);
        if (!passes_under(path, (char *[]){program, under, before, NULL}))
            fail_msg("configuration %zu, read before", i);
    }
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0); /* whoever reads it waits for ever: nobody does */
    assert_true(passes_under(path, (char *[]){program, under, NULL}));
    unlink(path);
    rmdir(dir);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

static int run_under_configuration(bool loaded_before)
{
    const struct CMUnitTest tests[] = {
        EACH(test_a_dns_name),      EACH(test_ip_addresses),     EACH(test_another_key_share_is_asked_for),
        EACH(test_other_protocols), EACH(test_no_resumption),    EACH(test_unknown_names),
        EACH(test_old_versions),    EACH(test_no_renegotiation),
    };
    if (loaded_before)
        (void)OPENSSL_init_ssl(OPENSSL_INIT_LOAD_CONFIG, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_a_sandbox),
        EACH(test_a_dns_name),
        EACH(test_ip_addresses),
        EACH(test_letter_case_and_final_dot),
        EACH(test_the_longest_name),
        EACH(test_unknown_names),
        EACH(test_other_protocols),
        EACH(test_old_versions),
        EACH(test_nothing_in_common),
        EACH(test_another_key_share_is_asked_for),
        EACH(test_no_resumption),
        EACH(test_no_renegotiation),
        EACH(test_garbage),
        EACH(test_other_languages),
        EACH(test_damaged_hellos),
        EACH(test_half_hellos),
        EACH(test_half_handshakes),
        EACH(test_one_byte_at_a_time),
        EACH(test_huge_hello),
        EACH(test_endless_records),
        EACH(test_client_that_never_sends),
        EACH(test_slow_handshake),
        EACH(test_slow_but_in_time),
        EACH(test_lingering_is_bounded),
        EACH(test_data_after_the_handshake),
        EACH(test_reset_and_sigpipe),
        EACH(test_client_that_hangs_up_at_once),
        EACH(test_two_hundred_at_once),
        EACH(test_the_oldest_is_dropped),
        EACH(test_full_of_half_handshakes),
        EACH(test_a_last_flight_is_not_dropped_for_a_newcomer),
        EACH(test_no_free_descriptors),
        EACH(test_broken_and_superfluous_listeners),
        EACH(test_replacing),
        EACH(test_changes_in_the_middle),
        EACH(test_bad_tokens_and_names),
        EACH(test_thousands_of_names),
        EACH(test_callback_may_change_tokens),
        EACH(test_without_a_callback),
        EACH(test_ipv6_and_mapped_peers),
        EACH(test_handle_survives_odd_arrays),
        EACH(test_free_with_open_connections),
        cmocka_unit_test(test_openssl_configurations),
    };
    if (argc > 1 && strcmp(argv[1], UNDER_CONFIGURATION) == 0)
        return run_under_configuration(argc > 2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
