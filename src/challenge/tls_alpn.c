#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/tls_alpn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "listeners.h"
#include "tlsup/b64.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

#define MAX_CONNECTIONS 64
#define MAX_CHALLENGES 4096
#define HANDSHAKE_TIMEOUT_MS 10000
#define HANDSHAKE_MAX_BYTES 32768
#define LINGER_TIMEOUT_MS 2000
#define LINGER_MAX_BYTES 262144
#define BLOCK_BYTES 4096
#define READS_PER_CALL 16
#define TOKEN_MAX 128
#define DNS_NAME_MAX 253
#define DNS_LABEL_MAX 63
#define SNI_BYTES (DNS_NAME_MAX + 1)
#define DIGEST_BYTES 32
#define SERIAL_BYTES 16
#define VALID_BEFORE_DAYS 1 /* clocks differ */
#define VALID_AFTER_DAYS 7
#define ACME_IDENTIFIER_OID "1.3.6.1.5.5.7.1.31" /* RFC 8737 section 6.1 */

static const char acme_tls_1[] = "acme-tls/1";
static const char log_name[] = "tls-alpn-01";

_Static_assert(MAX_CONNECTIONS + TLS_ALPN_MAX_LISTENERS == TLS_ALPN_MAX_POLLFDS, "pollfds hold all");
_Static_assert(TLS_ALPN_MAX_LISTENERS == LISTENERS_MAX, "no listener is lost");

struct challenge {
    char *sni; /* how it is asked for */
    char *token;
    X509 *cert;
};

enum connection_state {
    CONN_UNUSED,
    CONN_LINGERING, /* all is sent: until the peer closes */
    CONN_CLOSING,   /* the last bytes are going out */
    CONN_HANDSHAKE,
};

struct connection {
    enum connection_state state;
    int fd;
    uint64_t serial; /* order of arrival */
    int64_t deadline_ms;
    SSL *ssl;
    bool complete; /* the handshake */
    size_t received_bytes;
    size_t drained_bytes;
    char token[TOKEN_MAX + 1]; /* of the certificate that was offered, or "" */
    char peer[LISTENERS_PEER_BYTES];
};

struct tls_alpn {
    struct listeners listeners;
    struct connection connections[MAX_CONNECTIONS];
    uint64_t serial;
    struct challenge *challenges; /* sorted by sni */
    size_t n_challenges;
    OSSL_LIB_CTX *library;
    OSSL_PROVIDER *provider;
    EVP_PKEY *key;
    SSL_CTX *tls;
    tls_alpn_served_fn *served;
    void *ctx;
};

static const char *openssl_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason != NULL ? reason : "no reason given";
}

static bool openssl_failed(struct err *err, const char *subject, const char *what)
{
    err_set(err, ERR_CRYPTO, NEXT_LOCAL_FAULT, subject, "OpenSSL cannot %s for tls-alpn-01: %s", what,
            openssl_reason());
    ERR_clear_error();
    return err_advise(err,
                      "see that OpenSSL and its configuration file (openssl version -d) are in order, or "
                      "prove the name by http-01 or dns-01");
}

/* -- names ----------------------------------------------------------------------------------------------- */

/* What a name is on the wire: in SNI, and in the certificate's subjectAltName. */
struct wire_name {
    char sni[SNI_BYTES];
    unsigned char address[16];
    size_t address_len; /* 0 for a DNS name */
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Lower case, without the final dot; false when it cannot be a name that we know. */
static bool fold_name(const char *name, char out[SNI_BYTES])
{
    size_t len = strlen(name);
    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len == 0 || len > DNS_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        out[i] = lower(name[i]);
    out[len] = '\0';
    return true;
}

static bool is_dns_name(const char *name)
{
    size_t label_len = 0;
    for (const char *c = name; *c != '\0'; c++) {
        if (*c == '.' ? label_len == 0 : strchr("abcdefghijklmnopqrstuvwxyz0123456789-_", *c) == NULL)
            return false;
        label_len = *c == '.' ? 0 : label_len + 1;
        if (label_len > DNS_LABEL_MAX)
            return false;
    }
    return label_len > 0;
}

/* RFC 8738 section 6: an address is asked for by the name of its PTR record. */
static void reverse_name(const unsigned char *address, size_t len, char out[SNI_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    if (len == 4) {
        snprintf(out, SNI_BYTES, "%u.%u.%u.%u.in-addr.arpa", address[3], address[2], address[1], address[0]);
        return;
    }
    for (size_t i = len; i-- > 0;) {
        *out++ = digits[address[i] & 0x0F];
        *out++ = '.';
        *out++ = digits[address[i] >> 4];
        *out++ = '.';
    }
    memcpy(out, "ip6.arpa", sizeof "ip6.arpa");
}

static bool parse_name(const char *name, struct wire_name *wire)
{
    static const struct {
        int family;
        size_t len;
    } forms[] = {{AF_INET, 4}, {AF_INET6, 16}};
    for (size_t i = 0; i < COUNT_OF(forms); i++)
        if (inet_pton(forms[i].family, name, wire->address) == 1) {
            wire->address_len = forms[i].len;
            reverse_name(wire->address, wire->address_len, wire->sni);
            return true;
        }
    wire->address_len = 0;
    return fold_name(name, wire->sni) && is_dns_name(wire->sni);
}

/* -- certificates (RFC 8737 section 3) ------------------------------------------------------------------- */

static bool add_extension(X509 *cert, const char *oid, bool critical, const unsigned char *der, size_t len)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *extension = NULL;
    bool ok = object != NULL && value != NULL && ASN1_OCTET_STRING_set(value, der, (int)len) == 1 &&
              (extension = X509_EXTENSION_create_by_OBJ(NULL, object, critical, value)) != NULL &&
              X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(object);
    return ok;
}

static bool add_digest(X509 *cert, const unsigned char digest[DIGEST_BYTES])
{
    unsigned char der[2 + DIGEST_BYTES] = {V_ASN1_OCTET_STRING, DIGEST_BYTES};
    memcpy(der + 2, digest, DIGEST_BYTES);
    return add_extension(cert, ACME_IDENTIFIER_OID, true, der, sizeof der);
}

static bool add_san(X509 *cert, const struct wire_name *name)
{
    bool dns = name->address_len == 0;
    const void *bytes = dns ? (const void *)name->sni : name->address;
    size_t len = dns ? strlen(name->sni) : name->address_len;
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *entry = GENERAL_NAME_new();
    ASN1_STRING *value = ASN1_STRING_type_new(dns ? V_ASN1_IA5STRING : V_ASN1_OCTET_STRING);
    bool ok = names != NULL && entry != NULL && value != NULL && ASN1_STRING_set(value, bytes, (int)len) == 1;
    if (ok) {
        GENERAL_NAME_set0_value(entry, dns ? GEN_DNS : GEN_IPADD, value);
        value = NULL;
        ok = sk_GENERAL_NAME_push(names, entry) > 0;
    }
    if (ok) {
        entry = NULL;
        ok = X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
    }
    ASN1_STRING_free(value);
    GENERAL_NAME_free(entry);
    GENERAL_NAMES_free(names);
    return ok;
}

static bool set_serial(X509 *cert, OSSL_LIB_CTX *library)
{
    unsigned char bytes[SERIAL_BYTES];
    if (RAND_bytes_ex(library, bytes, sizeof bytes, 0) != 1)
        return false;
    bytes[0] = (unsigned char)((bytes[0] & 0x3F) | 0x40); /* positive, and of one length */
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool ok = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;
    BN_free(number);
    return ok;
}

static bool set_dates(X509 *cert)
{
    time_t now = (time_t)clock_now_s();
    return ASN1_TIME_adj(X509_getm_notBefore(cert), now, -VALID_BEFORE_DAYS, 0) != NULL &&
           ASN1_TIME_adj(X509_getm_notAfter(cert), now, VALID_AFTER_DAYS, 0) != NULL;
}

static bool set_subject(X509 *cert)
{
    static const unsigned char common_name[] = "ACME tls-alpn-01 challenge";
    X509_NAME *name = X509_get_subject_name(cert);
    return X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_ASC, common_name, -1, -1, 0) == 1 &&
           X509_set_issuer_name(cert, name) == 1;
}

/* NULL when OpenSSL fails. */
static X509 *make_certificate(const struct tls_alpn *alpn, const struct wire_name *name,
                              const unsigned char digest[DIGEST_BYTES])
{
    X509 *cert = X509_new_ex(alpn->library, NULL);
    if (cert != NULL && X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert, alpn->library) &&
        set_subject(cert) && set_dates(cert) && X509_set_pubkey(cert, alpn->key) == 1 &&
        add_san(cert, name) && add_digest(cert, digest) && X509_sign(cert, alpn->key, EVP_sha256()) > 0)
        return cert;
    X509_free(cert);
    return NULL;
}

/* -- challenges ------------------------------------------------------------------------------------------ */

/* Where `sni` is, or where it belongs. */
static size_t find_sni(const struct tls_alpn *alpn, const char *sni, bool *found)
{
    size_t low = 0, high = alpn->n_challenges;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(alpn->challenges[middle].sni, sni);
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

static void clear_challenge(struct challenge *challenge)
{
    free(challenge->sni);
    free(challenge->token);
    X509_free(challenge->cert);
}

static void remove_at(struct tls_alpn *alpn, size_t at)
{
    clear_challenge(&alpn->challenges[at]);
    alpn->n_challenges--;
    memmove(alpn->challenges + at, alpn->challenges + at + 1,
            (alpn->n_challenges - at) * sizeof *alpn->challenges);
}

/* n_challenges when there is none. */
static size_t find_token(const struct tls_alpn *alpn, const char *token)
{
    size_t at = 0;
    while (at < alpn->n_challenges && strcmp(alpn->challenges[at].token, token) != 0)
        at++;
    return at;
}

void tls_alpn_remove(struct tls_alpn *alpn, const char *token)
{
    size_t at = token != NULL ? find_token(alpn, token) : alpn->n_challenges;
    if (at < alpn->n_challenges)
        remove_at(alpn, at);
}

static bool has_room(const struct tls_alpn *alpn, const char *sni, const char *token, struct err *err)
{
    bool known;
    (void)find_sni(alpn, sni, &known);
    if (known || alpn->n_challenges < MAX_CHALLENGES || find_token(alpn, token) < alpn->n_challenges)
        return true;
    err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, sni, "no more than %d names can be validated at once",
            MAX_CHALLENGES);
    return err_advise(err, "ask for fewer certificates in one run");
}

static void insert(struct tls_alpn *alpn, const char *sni, const char *token, X509 *cert)
{
    bool found;
    tls_alpn_remove(alpn, token);
    size_t at = find_sni(alpn, sni, &found);
    if (found)
        remove_at(alpn, at);
    alpn->challenges = mem_resize(alpn->challenges, alpn->n_challenges + 1, sizeof *alpn->challenges);
    memmove(alpn->challenges + at + 1, alpn->challenges + at,
            (alpn->n_challenges - at) * sizeof *alpn->challenges);
    alpn->challenges[at] = (struct challenge){.sni = mem_dup(sni), .token = mem_dup(token), .cert = cert};
    alpn->n_challenges++;
}

bool tls_alpn_add(struct tls_alpn *alpn, const char *name, const char *token,
                  const unsigned char digest[DIGEST_BYTES], struct err *err)
{
    struct wire_name wire;
    if (!b64url_valid(token, TOKEN_MAX))
        return err_set(err, ERR_PROTOCOL, NEXT_REFUSED, name, "the token of the challenge is not base64url");
    if (name[0] == '*') {
        err_set(err, ERR_NAME, NEXT_FIX_CONFIG, name, "tls-alpn-01 cannot prove a wildcard name");
        return err_advise(err, "prove it by a DNS record (dns-01)");
    }
    if (!parse_name(name, &wire))
        return err_set(err, ERR_NAME, NEXT_FIX_CONFIG, name,
                       "neither a DNS name nor an IP address that tls-alpn-01 could prove");
    if (!has_room(alpn, wire.sni, token, err))
        return false;
    ERR_clear_error();
    X509 *cert = make_certificate(alpn, &wire, digest);
    if (cert == NULL)
        return openssl_failed(err, name, "make a certificate");
    insert(alpn, wire.sni, token, cert);
    return true;
}

/* -- the TLS server -------------------------------------------------------------------------------------- */

/* Is acme-tls/1 in a protocol name list (RFC 7301 section 3.1)? */
static bool offers_acme_tls(const unsigned char *list, size_t len)
{
    size_t wanted = strlen(acme_tls_1);
    for (size_t at = 0; at < len && list[at] < len - at; at += 1 + (size_t)list[at])
        if (list[at] == wanted && memcmp(list + at + 1, acme_tls_1, wanted) == 0)
            return true;
    return false;
}

/* Before any name is looked at: whoever is not a validation server learns nothing here. A malformed extension
 * is left for OpenSSL to refuse. */
static int on_client_hello(SSL *ssl, int *alert, void *arg)
{
    const unsigned char *extension;
    size_t len;
    (void)arg;
    bool there = SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation,
                                           &extension, &len) == 1;
    if (there && (len < 2 || offers_acme_tls(extension + 2, len - 2)))
        return SSL_CLIENT_HELLO_SUCCESS;
    *alert = SSL_AD_NO_APPLICATION_PROTOCOL;
    return SSL_CLIENT_HELLO_ERROR;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *list,
                   unsigned int len, void *arg)
{
    (void)ssl;
    (void)arg;
    if (!offers_acme_tls(list, len))
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = (const unsigned char *)acme_tls_1;
    *out_len = (unsigned char)strlen(acme_tls_1);
    return SSL_TLSEXT_ERR_OK;
}

/* Called once a ClientHello, whether there is a name in it or not. */
static int on_server_name(SSL *ssl, int *alert, void *arg)
{
    struct tls_alpn *alpn = arg;
    struct connection *conn = SSL_get_app_data(ssl);
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    char sni[SNI_BYTES];
    bool found = false;
    size_t at = name != NULL && fold_name(name, sni) ? find_sni(alpn, sni, &found) : 0;
    log_debug("%s: %s asks for %.253s%s", log_name, conn->peer, name != NULL ? name : "no name",
              found ? "" : ", which is not being validated");
    *alert = SSL_AD_UNRECOGNIZED_NAME;
    if (!found)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *alert = SSL_AD_INTERNAL_ERROR;
    if (SSL_use_certificate(ssl, alpn->challenges[at].cert) != 1 || SSL_use_PrivateKey(ssl, alpn->key) != 1)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    snprintf(conn->token, sizeof conn->token, "%s", alpn->challenges[at].token);
    return SSL_TLSEXT_ERR_OK;
}

static bool set_groups(SSL_CTX *tls)
{
    /* not every build has the first */
    return SSL_CTX_set1_groups_list(tls, "X25519:P-256:P-384") == 1 ||
           SSL_CTX_set1_groups_list(tls, "P-256:P-384") == 1;
}

/* All that a system-wide configuration may have set for every TLS context is set again. */
static bool set_parameters(SSL_CTX *tls)
{
    static const uint64_t options = SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                    SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_ENABLE_MIDDLEBOX_COMPAT;
    SSL_CTX_clear_options(tls, SSL_CTX_get_options(tls));
    SSL_CTX_set_options(tls, options);
    SSL_CTX_set_security_level(tls, 1);
    SSL_CTX_set_verify(tls, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);
    return SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(tls, TLS1_3_VERSION) == 1 && SSL_CTX_set_num_tickets(tls, 0) == 1 &&
           SSL_CTX_set_max_early_data(tls, 0) == 1 && SSL_CTX_set_block_padding(tls, 0) == 1 &&
           SSL_CTX_set_cipher_list(tls, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
                                        "ECDHE-ECDSA-CHACHA20-POLY1305") == 1 &&
           SSL_CTX_set_ciphersuites(tls, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                         "TLS_CHACHA20_POLY1305_SHA256") == 1 &&
           SSL_CTX_set1_sigalgs_list(tls, "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512") == 1 && set_groups(tls);
}

static bool make_server(struct tls_alpn *alpn, struct err *err)
{
    alpn->tls = SSL_CTX_new_ex(alpn->library, NULL, TLS_server_method());
    if (alpn->tls == NULL || !set_parameters(alpn->tls))
        return openssl_failed(err, "", "be a TLS server");
    ERR_clear_error();
    SSL_CTX_set_client_hello_cb(alpn->tls, on_client_hello, NULL);
    SSL_CTX_set_tlsext_servername_callback(alpn->tls, on_server_name);
    SSL_CTX_set_tlsext_servername_arg(alpn->tls, alpn);
    SSL_CTX_set_alpn_select_cb(alpn->tls, on_alpn, NULL);
    return true;
}

static bool make_key(struct tls_alpn *alpn, struct err *err)
{
    (void)OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    alpn->library = OSSL_LIB_CTX_new();
    alpn->provider = alpn->library != NULL ? OSSL_PROVIDER_load(alpn->library, "default") : NULL;
    if (alpn->provider == NULL)
        return openssl_failed(err, "", "load its default provider");
    alpn->key = EVP_PKEY_Q_keygen(alpn->library, NULL, "EC", "P-256");
    return alpn->key != NULL || openssl_failed(err, "", "make a key");
}

/* The first certificate is what reads the time zone and seeds the random generator: now, while files can be
 * read. */
static bool make_first_certificate(const struct tls_alpn *alpn, struct err *err)
{
    static const struct wire_name nobody = {.sni = "nobody.invalid"};
    static const unsigned char nothing[DIGEST_BYTES];
    X509 *cert = make_certificate(alpn, &nobody, nothing);
    X509_free(cert);
    return cert != NULL || openssl_failed(err, "", "make a certificate");
}

/* -- connections ----------------------------------------------------------------------------------------- */

static void close_connection(struct tls_alpn *alpn, struct connection *conn)
{
    close(conn->fd);
    SSL_free(conn->ssl);
    memset(conn, 0, sizeof *conn);
    listeners_resume(&alpn->listeners);
}

/* recv(2): more than 0 as there; 0 nothing there now; -1 the connection has ended. */
static ssize_t receive(int fd, void *block, size_t size)
{
    ssize_t n;
    do {
        n = recv(fd, block, size, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n > 0)
        return n;
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : -1;
}

/* Closing with unread input would send a reset, which can overtake the alert or the last flight: say that we
 * are done, then read until the peer is done too, within bounds. */
static void linger(struct tls_alpn *alpn, struct connection *conn)
{
    char block[BLOCK_BYTES];
    for (int i = 0; i < READS_PER_CALL; i++) {
        ssize_t n = receive(conn->fd, block, sizeof block);
        if (n == 0)
            return;
        if (n > 0)
            conn->drained_bytes += (size_t)n;
        if (n < 0 || conn->drained_bytes > LINGER_MAX_BYTES) {
            close_connection(alpn, conn);
            return;
        }
    }
}

enum flush_result { FLUSHED, FLUSH_WAITS, FLUSH_BROKEN };

/* What TLS has to say goes through memory, since OpenSSL's own socket writes would raise SIGPIPE. */
static enum flush_result flush(struct connection *conn)
{
    char scratch[BLOCK_BYTES];
    BIO *out = SSL_get_wbio(conn->ssl);
    const char *data = NULL;
    for (long len; (len = BIO_get_mem_data(out, &data)) > 0;) {
        size_t piece = (size_t)len < sizeof scratch ? (size_t)len : sizeof scratch;
        ssize_t n = send(conn->fd, data, piece, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? FLUSH_WAITS : FLUSH_BROKEN;
        (void)BIO_read(out, scratch, (int)n);
    }
    return FLUSHED;
}

static void begin_lingering(struct tls_alpn *alpn, struct connection *conn)
{
    conn->state = CONN_LINGERING;
    conn->deadline_ms = clock_mono_ms() + LINGER_TIMEOUT_MS;
    if (shutdown(conn->fd, SHUT_WR) != 0)
        close_connection(alpn, conn);
    else
        linger(alpn, conn);
}

static void finish(struct tls_alpn *alpn, struct connection *conn)
{
    enum flush_result result = flush(conn);
    if (result == FLUSHED)
        begin_lingering(alpn, conn);
    else if (result == FLUSH_BROKEN)
        close_connection(alpn, conn);
}

/* TLS 1.3 is complete when the client has said its last word, TLS 1.2 when it has been sent ours. */
static void finish_handshake(struct tls_alpn *alpn, struct connection *conn)
{
    char token[TOKEN_MAX + 1], peer[LISTENERS_PEER_BYTES];
    enum flush_result result = flush(conn);
    if (result == FLUSH_WAITS)
        return;
    bool served = result == FLUSHED || SSL_version(conn->ssl) >= TLS1_3_VERSION;
    memcpy(token, conn->token, sizeof token);
    memcpy(peer, conn->peer, sizeof peer);
    conn->state = CONN_CLOSING;
    (void)SSL_shutdown(conn->ssl); /* writes close_notify, reads nothing */
    finish(alpn, conn);
    if (served && alpn->served != NULL)
        alpn->served(alpn->ctx, token, peer);
}

static void refuse(struct tls_alpn *alpn, struct connection *conn)
{
    log_debug("%s: no handshake with %s: %s", log_name, conn->peer, openssl_reason());
    conn->state = CONN_CLOSING;
    finish(alpn, conn);
}

/* Let TLS look at what has come. */
static void step_handshake(struct tls_alpn *alpn, struct connection *conn)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(conn->ssl);
    conn->complete = rc == 1;
    if (conn->complete)
        finish_handshake(alpn, conn);
    else if (SSL_get_error(conn->ssl, rc) != SSL_ERROR_WANT_READ ||
             conn->received_bytes > HANDSHAKE_MAX_BYTES)
        refuse(alpn, conn);
    else if (flush(conn) == FLUSH_BROKEN)
        close_connection(alpn, conn);
    ERR_clear_error();
}

static void read_handshake(struct tls_alpn *alpn, struct connection *conn)
{
    char block[BLOCK_BYTES];
    while (conn->state == CONN_HANDSHAKE && !conn->complete) {
        ssize_t n = receive(conn->fd, block, sizeof block);
        if (n == 0)
            return;
        if (n < 0 || BIO_write(SSL_get_rbio(conn->ssl), block, (int)n) != (int)n) {
            close_connection(alpn, conn);
            return;
        }
        conn->received_bytes += (size_t)n;
        step_handshake(alpn, conn);
    }
}

static void advance_handshake(struct tls_alpn *alpn, struct connection *conn)
{
    if (conn->complete)
        finish_handshake(alpn, conn);
    else if (flush(conn) == FLUSH_BROKEN)
        close_connection(alpn, conn);
    else
        read_handshake(alpn, conn);
}

static void advance(struct tls_alpn *alpn, struct connection *conn)
{
    switch (conn->state) {
    case CONN_HANDSHAKE:
        advance_handshake(alpn, conn);
        break;
    case CONN_CLOSING:
        finish(alpn, conn);
        break;
    case CONN_LINGERING:
        linger(alpn, conn);
        break;
    case CONN_UNUSED:
        break;
    }
}

static void expire(struct tls_alpn *alpn)
{
    int64_t now = clock_mono_ms();
    for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
        struct connection *conn = &alpn->connections[i];
        if (conn->state != CONN_UNUSED && now >= conn->deadline_ms)
            close_connection(alpn, conn);
    }
}

/* -- accepting ------------------------------------------------------------------------------------------- */

/* Those that have been answered go first, then the oldest: whether it was offered a certificate does not
 * count, or anybody could keep all places by asking for one and then falling silent. */
static struct connection *find_victim(struct tls_alpn *alpn)
{
    struct connection *victim = &alpn->connections[0];
    for (size_t i = 1; i < MAX_CONNECTIONS; i++) {
        struct connection *conn = &alpn->connections[i];
        if (conn->state < victim->state || (conn->state == victim->state && conn->serial < victim->serial))
            victim = conn;
    }
    return victim;
}

static struct connection *take_slot(struct tls_alpn *alpn)
{
    struct connection *slot = find_victim(alpn);
    if (slot->state == CONN_HANDSHAKE)
        advance(alpn, slot); /* its last flight may have come in the meantime */
    if (slot->state != CONN_UNUSED) {
        slot = find_victim(alpn);
        if (slot->state != CONN_UNUSED)
            close_connection(alpn, slot);
    }
    return slot;
}

static SSL *new_session(SSL_CTX *tls, struct connection *conn)
{
    SSL *ssl = SSL_new(tls);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    if (ssl == NULL || in == NULL || out == NULL) {
        SSL_free(ssl);
        BIO_free(in);
        BIO_free(out);
        return NULL;
    }
    SSL_set_bio(ssl, in, out);
    SSL_set_accept_state(ssl);
    SSL_set_app_data(ssl, conn);
    return ssl;
}

static void open_connection(void *ctx, int fd, const char *peer)
{
    struct tls_alpn *alpn = ctx;
    struct connection *conn = take_slot(alpn);
    SSL *ssl = new_session(alpn->tls, conn);
    if (ssl == NULL) {
        log_error("%s: %s", log_name, openssl_reason());
        ERR_clear_error();
        close(fd);
        return;
    }
    conn->state = CONN_HANDSHAKE;
    conn->fd = fd;
    conn->ssl = ssl;
    conn->serial = ++alpn->serial;
    conn->deadline_ms = clock_mono_ms() + HANDSHAKE_TIMEOUT_MS;
    snprintf(conn->peer, sizeof conn->peer, "%s", peer);
    read_handshake(alpn, conn);
}

/* -- the interface --------------------------------------------------------------------------------------- */

bool tls_alpn_new(const int *listeners, size_t n, tls_alpn_served_fn *served, void *ctx,
                  struct tls_alpn **out, struct err *err)
{
    struct tls_alpn *alpn = mem_alloc(sizeof *alpn);
    listeners_init(&alpn->listeners, log_name, listeners, n);
    alpn->served = served;
    alpn->ctx = ctx;
    ERR_clear_error();
    if (!make_key(alpn, err) || !make_server(alpn, err) || !make_first_certificate(alpn, err)) {
        tls_alpn_free(alpn);
        return false;
    }
    *out = alpn;
    return true;
}

void tls_alpn_free(struct tls_alpn *alpn)
{
    if (alpn == NULL)
        return;
    listeners_clear(&alpn->listeners);
    for (size_t i = 0; i < MAX_CONNECTIONS; i++)
        if (alpn->connections[i].state != CONN_UNUSED)
            close_connection(alpn, &alpn->connections[i]);
    for (size_t i = 0; i < alpn->n_challenges; i++)
        clear_challenge(&alpn->challenges[i]);
    free(alpn->challenges);
    SSL_CTX_free(alpn->tls);
    EVP_PKEY_free(alpn->key);
    if (alpn->provider != NULL)
        (void)OSSL_PROVIDER_unload(alpn->provider);
    OSSL_LIB_CTX_free(alpn->library);
    free(alpn);
}

static short events_of(const struct connection *conn)
{
    bool sending = conn->state != CONN_LINGERING && BIO_ctrl_pending(SSL_get_wbio(conn->ssl)) > 0;
    bool reading = conn->state != CONN_CLOSING && !conn->complete;
    if (conn->state == CONN_LINGERING)
        return POLLIN;
    return (short)((sending ? POLLOUT : 0) | (reading ? POLLIN : 0));
}

size_t tls_alpn_pollfds(const struct tls_alpn *alpn, struct pollfd *fds, size_t max)
{
    size_t n = listeners_pollfds(&alpn->listeners, fds, max);
    for (size_t i = 0; i < MAX_CONNECTIONS && n < max; i++) {
        const struct connection *conn = &alpn->connections[i];
        if (conn->state != CONN_UNUSED)
            fds[n++] = (struct pollfd){.fd = conn->fd, .events = events_of(conn)};
    }
    return n;
}

/* Connections before listeners: a handshake that is nearly done is finished before its place can go to
 * another, and a descriptor number is not used again while the array still speaks of its former owner. */
void tls_alpn_handle(struct tls_alpn *alpn, const struct pollfd *fds, size_t n)
{
    for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
        struct connection *conn = &alpn->connections[i];
        if (conn->state != CONN_UNUSED && polled_ready(fds, n, conn->fd))
            advance(alpn, conn);
    }
    expire(alpn);
    listeners_accept(&alpn->listeners, fds, n, open_connection, alpn);
}

int tls_alpn_timeout_ms(const struct tls_alpn *alpn)
{
    int64_t next = listeners_deadline_ms(&alpn->listeners);
    for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
        const struct connection *conn = &alpn->connections[i];
        if (conn->state != CONN_UNUSED && conn->deadline_ms < next)
            next = conn->deadline_ms;
    }
    return deadline_timeout_ms(next);
}
