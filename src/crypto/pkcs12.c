#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/pkcs12.h"

#include <limits.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>

#include "key_internal.h"

/* As many rounds as Java's keytool makes: a guess at the password costs that much, and so does each start of
 * a service. */
enum { ROUNDS = 10000 };

static void certs_free_ptr(STACK_OF(X509) * *certs)
{
    sk_X509_pop_free(*certs, X509_free);
}

static void p12_free_ptr(PKCS12 **p12)
{
    PKCS12_free(*p12);
}

static void x509_free_ptr(X509 **cert)
{
    X509_free(*cert);
}

static void bio_free_ptr(BIO **bio)
{
    BIO_free(*bio);
}

#define AUTO_CERTS CLEANUP(certs_free_ptr) STACK_OF(X509)
#define AUTO_P12 CLEANUP(p12_free_ptr) PKCS12
#define AUTO_X509 CLEANUP(x509_free_ptr) X509
#define AUTO_BIO CLEANUP(bio_free_ptr) BIO

/* -- certificates ------------------------------------------------------------------------------------- */

static STACK_OF(X509) * read_certs(const struct buf *pem)
{
    AUTO_BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len);
    STACK_OF(X509) *certs = sk_X509_new_null();
    for (X509 *cert;
         bio != NULL && certs != NULL && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL;)
        if (sk_X509_push(certs, cert) == 0)
            X509_free(cert);
    ERR_clear_error(); /* the end of the text is an error to OpenSSL */
    return certs;
}

/* The leaf, and the others in their order. */
static bool take_chain(const struct cert_chain *chain, X509 **leaf, STACK_OF(X509) * *rest, struct err *err)
{
    AUTO_BUF pem = BUF_INIT;
    if (!cert_chain_pem(chain, NULL, NULL, &pem, err))
        return false;
    STACK_OF(X509) *certs = read_certs(&pem);
    if (certs == NULL || sk_X509_num(certs) < 1) {
        sk_X509_pop_free(certs, X509_free);
        return key_openssl_error(err, NULL, "cannot read the certificates back");
    }
    *leaf = sk_X509_shift(certs);
    *rest = certs;
    return true;
}

/* Appends what an i2d function has made, and wipes it. */
static bool add_der(unsigned char *der, int len, struct buf *out)
{
    if (len > 0)
        buf_add(out, der, (size_t)len);
    OPENSSL_clear_free(der, len > 0 ? (size_t)len : 0);
    return len > 0;
}

bool cert_der_at(const struct cert_chain *chain, size_t index, struct buf *out, bool *there, struct err *err)
{
    AUTO_X509 *leaf = NULL;
    AUTO_CERTS *rest = NULL;
    unsigned char *der = NULL;
    if (!take_chain(chain, &leaf, &rest, err))
        return false;
    *there = index <= (size_t)sk_X509_num(rest);
    if (!*there)
        return true;
    int len = i2d_X509(index == 0 ? leaf : sk_X509_value(rest, (int)index - 1), &der);
    return add_der(der, len, out) || key_openssl_error(err, NULL, "cannot encode the certificate");
}

/* -- keys --------------------------------------------------------------------------------------------- */

static bool has_private_half(const struct key *key, struct err *err)
{
    return key_uri(key) == NULL || err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, NULL,
                                           "the private key never leaves its token, so it cannot be written");
}

bool pkcs8_encode(const struct key *key, struct buf *out, struct err *err)
{
    unsigned char *der = NULL;
    if (!has_private_half(key, err))
        return false;
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key->pkey);
    int len = info == NULL ? -1 : i2d_PKCS8_PRIV_KEY_INFO(info, &der);
    PKCS8_PRIV_KEY_INFO_free(info);
    return add_der(der, len, out) || key_openssl_error(err, NULL, "cannot encode the private key");
}

/* -- PKCS#12 ------------------------------------------------------------------------------------------ */

static PKCS12 *make(const struct key *key, X509 *leaf, STACK_OF(X509) * rest,
                    const struct pkcs12_options *options)
{
    int cipher = options->legacy ? NID_pbe_WithSHA1And3_Key_TripleDES_CBC : NID_aes_256_cbc;
    PKCS12 *p12 = PKCS12_create(options->password, options->friendly_name, key->pkey, leaf, rest, cipher,
                                cipher, ROUNDS, -1, 0);
    if (p12 != NULL && PKCS12_set_mac(p12, options->password, -1, NULL, 0, ROUNDS,
                                      options->legacy ? EVP_sha1() : EVP_sha256()) != 1) {
        PKCS12_free(p12);
        p12 = NULL;
    }
    return p12;
}

bool pkcs12_encode(const struct key *key, const struct cert_chain *chain,
                   const struct pkcs12_options *options, struct buf *out, struct err *err)
{
    AUTO_X509 *leaf = NULL;
    AUTO_CERTS *rest = NULL;
    unsigned char *der = NULL;
    if (!has_private_half(key, err) || !take_chain(chain, &leaf, &rest, err))
        return false;
    AUTO_P12 *p12 = make(key, leaf, rest, options);
    int len = p12 == NULL ? -1 : i2d_PKCS12(p12, &der);
    return add_der(der, len, out) || key_openssl_error(err, NULL, "cannot make a PKCS#12 file");
}

static bool same_certs(const STACK_OF(X509) * a, const STACK_OF(X509) * b)
{
    int n = a == NULL ? 0 : sk_X509_num(a);
    if (n != (b == NULL ? 0 : sk_X509_num(b)))
        return false;
    for (int i = 0; i < n; i++)
        if (X509_cmp(sk_X509_value(a, i), sk_X509_value(b, i)) != 0)
            return false;
    return true;
}

static bool same_name(X509 *leaf, const char *wanted)
{
    int len = 0;
    const unsigned char *name = X509_alias_get0(leaf, &len);
    if (wanted == NULL || name == NULL)
        return wanted == NULL && name == NULL;
    return (size_t)len == strlen(wanted) && memcmp(name, wanted, (size_t)len) == 0;
}

static bool same_digest(const PKCS12 *p12, bool legacy)
{
    const X509_ALGOR *algorithm = NULL;
    const ASN1_OBJECT *object = NULL;
    PKCS12_get0_mac(NULL, &algorithm, NULL, NULL, p12);
    if (algorithm == NULL)
        return false;
    X509_ALGOR_get0(&object, NULL, NULL, algorithm);
    return OBJ_obj2nid(object) == (legacy ? NID_sha1 : NID_sha256);
}

static bool says(PKCS12 *p12, const struct key *key, X509 *leaf, STACK_OF(X509) * rest,
                 const struct pkcs12_options *options)
{
    AUTO_PKEY *pkey = NULL;
    AUTO_X509 *cert = NULL;
    AUTO_CERTS *others = NULL;
    return same_digest(p12, options->legacy) &&
           PKCS12_parse(p12, options->password, &pkey, &cert, &others) == 1 && pkey != NULL && cert != NULL &&
           EVP_PKEY_eq(pkey, key->pkey) == 1 && X509_cmp(cert, leaf) == 0 &&
           same_name(cert, options->friendly_name) && same_certs(others, rest);
}

bool pkcs12_says(const void *data, size_t len, const struct key *key, const struct cert_chain *chain,
                 const struct pkcs12_options *options)
{
    AUTO_X509 *leaf = NULL;
    AUTO_CERTS *rest = NULL;
    struct err ignored = ERR_INIT;
    const unsigned char *at = data;
    if (len > LONG_MAX || key_uri(key) != NULL || !take_chain(chain, &leaf, &rest, &ignored))
        return false;
    AUTO_P12 *p12 = d2i_PKCS12(NULL, &at, (long)len);
    bool same = p12 != NULL && at == (const unsigned char *)data + len && says(p12, key, leaf, rest, options);
    ERR_clear_error();
    return same;
}
