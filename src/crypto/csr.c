#include "tlsup/csr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include <openssl/asn1.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "tlsup/name.h"

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

static bool set_names(X509_REQ *request, const struct strlist *list)
{
    CLEANUP(names_free_ptr) GENERAL_NAMES *names = GENERAL_NAMES_new();
    CLEANUP(extensions_free_ptr) STACK_OF(X509_EXTENSION) *extensions = NULL;

    for (size_t i = 0; i < list->n; i++)
        if (!names || !add_san(names, list->v[i]))
            return false;
    return X509V3_add1_i2d(&extensions, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1 &&
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

bool csr_make(const struct key *key, const struct strlist *names, struct buf *der, struct err *err)
{
    const EVP_MD *digest = key_type_of(key) == KEY_ECDSA_P384 ? EVP_sha384() : EVP_sha256();
    CLEANUP(request_free_ptr) X509_REQ *request = NULL;
    unsigned char *encoded = NULL;

    if (!check_names(names, err))
        return false;
    request = X509_REQ_new();
    bool ok = request && X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 &&
              X509_REQ_set_pubkey(request, key_pkey(key)) == 1 && set_names(request, names) &&
              X509_REQ_sign(request, key_pkey(key), digest) > 0;
    int len = ok ? i2d_X509_REQ(request, &encoded) : 0;
    if (len <= 0)
        return key_openssl_error(err, names->v[0], "cannot make the certificate request");
    buf_add(der, encoded, (size_t)len);
    OPENSSL_free(encoded);
    return true;
}
