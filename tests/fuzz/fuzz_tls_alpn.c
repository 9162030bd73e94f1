/*
 * fuzz_tls_alpn.c - any bytes as a client's first flight: the connection ends, nothing but TLS comes back,
 * nobody has been served.
 *
 * The first byte chooses what the rest is: raw bytes; the body of a handshake record; changes to a
 * ClientHello that would be answered, as triples of position (two bytes) and value; that ClientHello, and the
 * rest after it. The second byte chooses the size of the pieces.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include "tlsup/buf.h"
#include "tlsup/clock.h"
#include "tlsup/tls_alpn.h"

#define NAME "example.org"
#define RECORDS_MAX 16384

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tls_alpn *alpn;
static struct sockaddr_un address;
static socklen_t address_len = sizeof address;
static struct buf hellos[2]; /* of TLS 1.2 and of TLS 1.3 */

static void require(int holds)
{
    if (!holds)
        abort();
}

/* No random flight of a client can complete a handshake. */
static void on_served(void *ctx, const char *token, const char *peer)
{
    (void)ctx;
    (void)token;
    (void)peer;
    abort();
}

static void make_hello(struct buf *hello, int version)
{
    char *flight = NULL;
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(tls);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    require(SSL_set_min_proto_version(ssl, version) == 1 && SSL_set_max_proto_version(ssl, version) == 1);
    require(SSL_set_tlsext_host_name(ssl, NAME) == 1);
    require(SSL_set_alpn_protos(ssl,
                                (const unsigned char *)"\x0a"
                                                       "acme-tls/1",
                                11) == 0);
    (void)SSL_connect(ssl);
    long len = BIO_get_mem_data(SSL_get_wbio(ssl), &flight);
    require(len > 0);
    buf_add(hello, flight, (size_t)len);
    SSL_free(ssl);
    SSL_CTX_free(tls);
}

static void start(void)
{
    static const unsigned char digest[32];
    struct err err = ERR_INIT;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    address.sun_family = AF_UNIX;
    require(bind(fd, (struct sockaddr *)&address, sizeof address.sun_family) == 0); /* the kernel names it */
    require(listen(fd, 16) == 0 && getsockname(fd, (struct sockaddr *)&address, &address_len) == 0);
    clock_freeze(1790000000, 1000);
    require(tls_alpn_new(&fd, 1, on_served, NULL, &alpn, &err));
    require(tls_alpn_add(alpn, NAME, "token", digest, &err));
    require(tls_alpn_add(alpn, "2001:db8::1", "address", digest, &err));
    make_hello(&hellos[0], TLS1_2_VERSION);
    make_hello(&hellos[1], TLS1_3_VERSION);
}

enum form { FORM_RAW, FORM_HANDSHAKE, FORM_CHANGED, FORM_FOLLOWED, FORMS };

/* What the client sends. */
static void compose(uint8_t choice, const uint8_t *data, size_t size, struct buf *flight)
{
    const struct buf *hello = &hellos[choice / FORMS % 2];
    switch ((enum form)(choice % FORMS)) {
    case FORM_HANDSHAKE: {
        size_t len = size < RECORDS_MAX ? size : RECORDS_MAX;
        const uint8_t head[5] = {0x16, 3, 1, (uint8_t)(len >> 8), (uint8_t)len};
        buf_add(flight, head, sizeof head);
        break;
    }
    case FORM_CHANGED:
        buf_add(flight, hello->data, hello->len);
        for (; size >= 3; data += 3, size -= 3)
            flight->data[((size_t)data[0] << 8 | data[1]) % flight->len] ^= (char)data[2];
        return;
    case FORM_FOLLOWED:
        buf_add(flight, hello->data, hello->len);
        break;
    case FORM_RAW:
    case FORMS:
        break;
    }
    buf_add(flight, data, size);
}

/* One round of the owner's loop; how many connections there are after it. */
static size_t turn(void)
{
    struct pollfd fds[TLS_ALPN_MAX_POLLFDS];
    size_t n = tls_alpn_pollfds(alpn, fds, TLS_ALPN_MAX_POLLFDS);
    require(poll(fds, n, 0) >= 0);
    tls_alpn_handle(alpn, fds, n);
    return tls_alpn_pollfds(alpn, fds, TLS_ALPN_MAX_POLLFDS) - 1;
}

static void send_in_pieces(int fd, const struct buf *flight, size_t piece)
{
    for (size_t at = 0; at < flight->len; at += piece) {
        size_t left = flight->len - at;
        if (send(fd, flight->data + at, left < piece ? left : piece, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            return;
        (void)turn();
    }
}

/* All that came is whole TLS records, of types that there are. (The version in an alert may be the client's
 * own.) */
static void check_answer(int fd)
{
    uint8_t answer[65536];
    size_t len = 0, at = 0;
    for (ssize_t n; (n = recv(fd, answer + len, sizeof answer - len, MSG_DONTWAIT)) > 0;)
        len += (size_t)n;
    while (at < len) {
        require(len - at >= 5 && answer[at] >= 0x14 && answer[at] <= 0x17);
        at += 5 + ((size_t)answer[at + 3] << 8 | answer[at + 4]);
    }
    require(at == len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_BUF flight = BUF_INIT;
    if (alpn == NULL)
        start();
    if (size < 2)
        return 0;
    compose(data[0], data + 2, size - 2, &flight);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    require(connect(fd, (struct sockaddr *)&address, address_len) == 0);
    require(turn() == 1);
    send_in_pieces(fd, &flight, ((size_t)data[1] + 1) * 4);
    (void)shutdown(fd, SHUT_WR);
    for (int i = 0; turn() > 0; i++)
        require(i < 1000);
    require(tls_alpn_timeout_ms(alpn) == -1);
    check_answer(fd);
    close(fd);
    return 0;
}
