#include "tlsup/csr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "key_internal.h"
#include "tlsup/clock.h"
#include "tlsup/name.h"

#define REQUEST_MAX_BYTES (128 * 1024)

static void request_free_ptr(X509_REQ **request)
{
    X509_REQ_free(*request);
}

static void names_free_ptr(GENERAL_NAMES **names)
{
    GENERAL_NAMES_free(*names);
}

static void extensions_free_ptr(STACK_OF(X509_EXTENSION) * *extensions)
{
    sk_X509_EXTENSION_pop_free(*extensions, X509_EXTENSION_free);
}

/* What the order says is what the request must say: nothing is mended here, and nothing odd gets through. */
static bool is_plain_name(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.*");
    return len > 0 && len < NAME_MAX_BYTES && name[len] == '\0';
}

/* An IP address in network order: its length, or 0 when the name is none. */
static int ip_bytes(const char *name, unsigned char ip[sizeof(struct in6_addr)])
{
    if (inet_pton(AF_INET, name, ip) == 1)
        return sizeof(struct in_addr);
    return inet_pton(AF_INET6, name, ip) == 1 ? sizeof(struct in6_addr) : 0;
}

/* The value of one subjectAltName entry, and its kind. NULL when OpenSSL fails. */
static ASN1_STRING *san_value(const char *name, int *kind)
{
    unsigned char ip[sizeof(struct in6_addr)];
    int ip_len = ip_bytes(name, ip);
    ASN1_STRING *value = ASN1_STRING_type_new(ip_len > 0 ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);

    *kind = ip_len > 0 ? GEN_IPADD : GEN_DNS;
    if (value &&
        ASN1_STRING_set(value, ip_len > 0 ? (const void *)ip : name, ip_len > 0 ? ip_len : -1) != 1) {
        ASN1_STRING_free(value);
        value = NULL;
    }
    return value;
}

static bool add_san(GENERAL_NAMES *names, const char *name)
{
    int kind;
    ASN1_STRING *value = san_value(name, &kind);
    GENERAL_NAME *entry = GENERAL_NAME_new();

    if (!value || !entry) {
        ASN1_STRING_free(value);
        GENERAL_NAME_free(entry);
        return false;
    }
    GENERAL_NAME_set0_value(entry, kind, value);
    if (sk_GENERAL_NAME_push(names, entry) > 0)
        return true;
    GENERAL_NAME_free(entry);
    return false;
}

/* All of them; NULL when OpenSSL fails. */
static GENERAL_NAMES *make_names(const struct strlist *list)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();

    for (size_t i = 0; i < list->n; i++)
        if (!names || !add_san(names, list->v[i])) {
            GENERAL_NAMES_free(names);
            return NULL;
        }
    return names;
}

static bool set_names(X509_REQ *request, const struct strlist *list)
{
    CLEANUP(names_free_ptr) GENERAL_NAMES *names = make_names(list);
    CLEANUP(extensions_free_ptr) STACK_OF(X509_EXTENSION) *extensions = NULL;

    return names && X509V3_add1_i2d(&extensions, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1 &&
           X509_REQ_add_extensions(request, extensions) == 1;
}

static bool check_names(const struct strlist *names, struct err *err)
{
    unsigned char ip[sizeof(struct in6_addr)];

    if (names->n == 0)
        return err_set(err, ERR_INTERNAL, NEXT_NONE, NULL,
                       "a certificate request without names was asked for");
    for (size_t i = 0; i < names->n; i++)
        if (!is_plain_name(names->v[i]) && ip_bytes(names->v[i], ip) == 0)
            return err_set(err, ERR_NAME, NEXT_FIX_CONFIG, names->v[i],
                           "this cannot be a name in a certificate");
    return true;
}

/* -- making ------------------------------------------------------------------------------------- */

bool csr_make(const struct key *key, const struct strlist *names, struct buf *der, struct err *err)
{
    const EVP_MD *digest = key_type_of(key) == KEY_ECDSA_P384 ? EVP_sha384() : EVP_sha256();
    CLEANUP(request_free_ptr) X509_REQ *request = NULL;
    unsigned char *encoded = NULL;

    if (!check_names(names, err))
        return false;
    request = X509_REQ_new_ex(key->libctx, key->propq);
    bool ok = request && X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 &&
              X509_REQ_set_pubkey(request, key_public(key)) == 1 && set_names(request, names) &&
              X509_REQ_sign(request, key->pkey, digest) > 0;
    int len = ok ? i2d_X509_REQ(request, &encoded) : 0;
    if (len <= 0)
        return key_openssl_error(err, names->v[0], "cannot make the certificate request");
    buf_add(der, encoded, (size_t)len);
    OPENSSL_free(encoded);
    return true;
}

static void cert_free_ptr(X509 **cert)
{
    X509_free(*cert);
}

/* A day to either side of now. */
static bool set_dates(X509 *cert)
{
    time_t now = (time_t)clock_now_s();

    return ASN1_TIME_adj(X509_getm_notBefore(cert), now, -1, 0) != NULL &&
           ASN1_TIME_adj(X509_getm_notAfter(cert), now, 1, 0) != NULL;
}

static bool fill_cert(X509 *cert, const struct key *key, const struct strlist *list)
{
    CLEANUP(names_free_ptr) GENERAL_NAMES *names = make_names(list);
    X509_NAME *subject = X509_get_subject_name(cert);
    const unsigned char *title = (const unsigned char *)"rehearsal";

    return names && X509_set_version(cert, X509_VERSION_3) == 1 &&
           ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) == 1 && set_dates(cert) &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, title, -1, -1, 0) == 1 &&
           X509_set_issuer_name(cert, subject) == 1 && X509_set_pubkey(cert, key_public(key)) == 1 &&
           X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
}

bool csr_self_sign(const struct key *key, const struct strlist *names, struct buf *pem, struct err *err)
{
    const EVP_MD *digest = key_type_of(key) == KEY_ECDSA_P384 ? EVP_sha384() : EVP_sha256();
    CLEANUP(cert_free_ptr) X509 *cert = NULL;
    char *text = NULL;

    if (!check_names(names, err))
        return false;
    cert = X509_new_ex(key->libctx, key->propq);
    BIO *out = BIO_new(BIO_s_mem());
    bool ok = cert && out && fill_cert(cert, key, names) && X509_sign(cert, key->pkey, digest) > 0 &&
              PEM_write_bio_X509(out, cert) == 1;
    long len = ok ? BIO_get_mem_data(out, &text) : 0;
    if (len > 0)
        buf_add(pem, text, (size_t)len);
    BIO_free(out);
    return len > 0 || key_openssl_error(err, names->v[0], "cannot make a certificate for the rehearsal");
}

/* -- reading ------------------------------------------------------------------------------------ */

static bool unusable(struct err *err, const char *subject, const char *fmt, ...) PRINTF_LIKE(3, 4);
static bool unusable(struct err *err, const char *subject, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    ERR_clear_error();
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, subject, "%s", text);
    return err_advise(
        err, "make a PKCS#10 request with the names in subjectAltName, signed with SHA-256: openssl req "
             "-new -key KEY -subj / -addext subjectAltName=DNS:NAME");
}

/* A block of PEM that wants a password is not asked about. */
static int no_password(char *buffer, int size, int writing, void *data)
{
    (void)buffer, (void)size, (void)writing, (void)data;
    return -1;
}

static X509_REQ *from_der(const char *data, size_t len)
{
    const unsigned char *at = (const unsigned char *)data;
    X509_REQ *request = d2i_X509_REQ(NULL, &at, (long)len);

    if (request && at != (const unsigned char *)data + len) {
        X509_REQ_free(request);
        request = NULL;
    }
    return request;
}

/* The one request among whatever else is in the text; `*more` when there is a second. */
static X509_REQ *from_pem(const char *data, size_t len, bool *more)
{
    BIO *bio = BIO_new_mem_buf(data, (int)len);
    X509_REQ *request = bio ? PEM_read_bio_X509_REQ(bio, NULL, no_password, NULL) : NULL;
    X509_REQ *second = request ? PEM_read_bio_X509_REQ(bio, NULL, no_password, NULL) : NULL;

    *more = second != NULL;
    X509_REQ_free(second);
    BIO_free(bio);
    return request;
}

static bool parse(const char *data, size_t len, const char *subject, X509_REQ **request, struct err *err)
{
    bool more = false;

    if (!data || len == 0)
        return unusable(err, subject, "there is no certificate request: the file is empty");
    if (len > REQUEST_MAX_BYTES)
        return unusable(err, subject, "%zu bytes are too many for a certificate request", len);
    *request = from_der(data, len);
    if (!*request)
        *request = from_pem(data, len, &more);
    if (!*request)
        return unusable(err, subject, "there is no certificate request in it that can be read");
    return more ? unusable(err, subject, "there is more than one certificate request in it") : true;
}

static bool check_signature(X509_REQ *request, const char *subject, struct err *err)
{
    static const int accepted[] = {NID_sha256WithRSAEncryption, NID_sha384WithRSAEncryption,
                                   NID_sha512WithRSAEncryption, NID_ecdsa_with_SHA256,
                                   NID_ecdsa_with_SHA384,       NID_ecdsa_with_SHA512};
    EVP_PKEY *pkey = X509_REQ_get0_pubkey(request);
    const char *wrong = pkey ? key_public_defect(pkey, NULL) : "its public key cannot be read";
    int algorithm = X509_REQ_get_signature_nid(request);
    bool known = false;

    if (wrong)
        return unusable(err, subject, "the certificate request cannot be used: %s", wrong);
    for (size_t i = 0; i < COUNT_OF(accepted); i++)
        known = known || algorithm == accepted[i];
    if (!known)
        return unusable(err, subject, "the certificate request is signed with %s, which CAs refuse",
                        algorithm == NID_undef ? "an unknown algorithm" : OBJ_nid2sn(algorithm));
    if (X509_REQ_verify(request, pkey) != 1)
        return unusable(err, subject,
                        "the signature of the certificate request is wrong: it was changed, or is damaged");
    return true;
}

/* Text with a NUL, or beyond ASCII where that has no place, is no name. */
static bool plain_text(const unsigned char *data, int len, char out[NAME_MAX_BYTES])
{
    if (len <= 0 || len >= NAME_MAX_BYTES)
        return false;
    for (int i = 0; i < len; i++)
        if (data[i] <= ' ' || data[i] >= 0x7f)
            return false;
    memcpy(out, data, (size_t)len);
    out[len] = '\0';
    return true;
}

static void add_name(struct strlist *names, const char *name)
{
    if (!strlist_has(names, name))
        strlist_add(names, name);
}

static bool take_dns(const ASN1_STRING *value, const char *subject, struct strlist *names, struct err *err)
{
    char text[NAME_MAX_BYTES], name[NAME_MAX_BYTES];
    struct err why = ERR_INIT;

    if (!plain_text(ASN1_STRING_get0_data(value), ASN1_STRING_length(value), text))
        return unusable(err, subject, "the certificate request has a DNS name that is none");
    if (!name_normalize(text, name, &why))
        return unusable(err, subject, "the certificate request has the name \"%s\": %s", text, why.text);
    if (name_is_ip(name))
        return unusable(err, subject, "the certificate request has the address %s as a DNS name", text);
    add_name(names, name);
    return true;
}

static bool take_ip(const ASN1_STRING *value, const char *subject, struct strlist *names, struct err *err)
{
    char text[INET6_ADDRSTRLEN], name[NAME_MAX_BYTES];
    struct err why = ERR_INIT;
    int len = ASN1_STRING_length(value);
    int family = len == sizeof(struct in_addr) ? AF_INET : len == sizeof(struct in6_addr) ? AF_INET6 : -1;

    if (family < 0 || !inet_ntop(family, ASN1_STRING_get0_data(value), text, sizeof text))
        return unusable(err, subject, "the certificate request has an IP address of %d bytes", len);
    if (!name_normalize(text, name, &why))
        return unusable(err, subject, "the certificate request has the address %s: %s", text, why.text);
    add_name(names, name);
    return true;
}

static bool take_entry(const GENERAL_NAME *entry, const char *subject, struct strlist *names, struct err *err)
{
    int kind;
    const ASN1_STRING *value = GENERAL_NAME_get0_value(entry, &kind);

    if (kind == GEN_DNS && value)
        return take_dns(value, subject, names, err);
    if (kind == GEN_IPADD && value)
        return take_ip(value, subject, names, err);
    return unusable(err, subject,
                    "the certificate request has a name of another kind than DNS name and IP address "
                    "(e-mail, URI, ...), for which CAs do not issue by ACME");
}

static bool take_san(X509_REQ *request, const char *subject, struct strlist *names, struct err *err)
{
    CLEANUP(extensions_free_ptr) STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
    int critical = -1;
    CLEANUP(names_free_ptr)
    GENERAL_NAMES *san = X509V3_get_d2i(extensions, NID_subject_alt_name, &critical, NULL);

    if (!extensions && X509_REQ_get_attr_by_NID(request, NID_ext_req, -1) >= 0)
        return unusable(err, subject, "the extensions of the certificate request cannot be read");
    if (!san && critical != -1)
        return unusable(err, subject, "the subjectAltName of the certificate request cannot be read");
    for (int i = 0; i < sk_GENERAL_NAME_num(san); i++)
        if (!take_entry(sk_GENERAL_NAME_value(san, i), subject, names, err))
            return false;
    return true;
}

/* Many a CN is a name, and many another says what the machine is called: those are not for the CA. */
static void take_common_names(X509_REQ *request, struct strlist *names)
{
    const X509_NAME *subject = X509_REQ_get_subject_name(request);

    for (int at = -1; (at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0;) {
        char text[NAME_MAX_BYTES], name[NAME_MAX_BYTES];
        struct err why = ERR_INIT;
        unsigned char *utf8 = NULL;
        int len = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
        if (len > 0 && plain_text(utf8, len, text) && name_normalize(text, name, &why))
            add_name(names, name);
        OPENSSL_free(utf8);
    }
}

static bool hash_key(X509_REQ *request, char spki[KEY_SPKI_BYTES])
{
    unsigned char *der = NULL;
    int len = i2d_X509_PUBKEY(X509_REQ_get_X509_PUBKEY(request), &der);

    if (len > 0)
        key_sha256_hex(der, (size_t)len, spki);
    OPENSSL_free(der);
    return len > 0;
}

bool csr_read(const char *data, size_t len, const char *subject, struct buf *der, struct strlist *names,
              char spki[KEY_SPKI_BYTES], struct err *err)
{
    CLEANUP(request_free_ptr) X509_REQ *request = NULL;
    AUTO_STRLIST found = STRLIST_INIT;
    char hash[KEY_SPKI_BYTES];
    unsigned char *encoded = NULL;

    if (!parse(data, len, subject, &request, err) || !check_signature(request, subject, err) ||
        !take_san(request, subject, &found, err))
        return false;
    take_common_names(request, &found);
    if (found.n == 0)
        return unusable(err, subject, "there is no name in the certificate request");
    int encoded_len = hash_key(request, hash) ? i2d_X509_REQ(request, &encoded) : 0;
    if (encoded_len <= 0)
        return key_openssl_error(err, subject, "cannot encode the certificate request");
    buf_add(der, encoded, (size_t)encoded_len);
    OPENSSL_free(encoded);
    for (size_t i = 0; i < found.n; i++)
        add_name(names, found.v[i]);
    memcpy(spki, hash, sizeof hash);
    ERR_clear_error();
    return true;
}
