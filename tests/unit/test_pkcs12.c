/*
 * test_pkcs12.c - binary forms, read back by OpenSSL's own reader.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>

#include "tlsup/compat.h"
#include "tlsup/pkcs12.h"

struct bed {
    struct key *key;
    struct cert_chain *chain;
    X509 *certs[3];
};

static X509 *sign(EVP_PKEY *key, const char *name, X509 *issuer, EVP_PKEY *issuer_key)
{
    X509 *cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)name,
                               -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(issuer != NULL ? issuer : cert));
    assert_true(X509_sign(cert, issuer_key, EVP_sha256()) > 0);
    return cert;
}

/* A leaf of `type` below two more. */
static void bed_make(struct bed *bed, enum key_type type, int n)
{
    struct err err = ERR_INIT;
    EVP_PKEY *root = EVP_EC_gen("P-256"), *middle = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem;
    assert_true(key_generate(type, &bed->key, &err));
    bed->certs[2] = sign(root, "root", NULL, root);
    bed->certs[1] = sign(middle, "middle", bed->certs[2], root);
    bed->certs[0] = sign(key_pkey(bed->key), "leaf", bed->certs[1], middle);
    for (int i = 0; i < n; i++)
        assert_true(PEM_write_bio_X509(bio, bed->certs[i]) == 1);
    long len = BIO_get_mem_data(bio, &pem);
    assert_true(cert_chain_parse(pem, (size_t)len, "test", &bed->chain, &err));
    BIO_free(bio);
    EVP_PKEY_free(root);
    EVP_PKEY_free(middle);
}

static void bed_clear(struct bed *bed)
{
    key_free(bed->key);
    cert_chain_free(bed->chain);
    for (size_t i = 0; i < COUNT_OF(bed->certs); i++)
        X509_free(bed->certs[i]);
    *bed = (struct bed){0};
}
#define AUTO_BED CLEANUP(bed_clear) struct bed

static PKCS12 *parse(const struct buf *der)
{
    const unsigned char *at = (const unsigned char *)der->data;
    PKCS12 *p12 = d2i_PKCS12(NULL, &at, (long)der->len);
    assert_non_null(p12);
    return p12;
}

static void expect_content(const struct buf *der, const struct bed *bed, int n,
                           const struct pkcs12_options *options)
{
    EVP_PKEY *pkey = NULL;
    X509 *leaf = NULL;
    STACK_OF(X509) *rest = NULL;
    PKCS12 *p12 = parse(der);
    assert_int_equal(PKCS12_verify_mac(p12, "wrong", -1), 0);
    assert_int_equal(PKCS12_parse(p12, options->password, &pkey, &leaf, &rest), 1);
    assert_int_equal(EVP_PKEY_eq(pkey, key_pkey(bed->key)), 1);
    assert_int_equal(X509_cmp(leaf, bed->certs[0]), 0);
    assert_int_equal(rest == NULL ? 0 : sk_X509_num(rest), n - 1);
    for (int i = 1; i < n; i++)
        assert_int_equal(X509_cmp(sk_X509_value(rest, i - 1), bed->certs[i]), 0);
    const char *name = (const char *)X509_alias_get0(leaf, NULL);
    if (options->friendly_name == NULL)
        assert_null(name);
    else
        assert_string_equal(name, options->friendly_name);
    EVP_PKEY_free(pkey);
    X509_free(leaf);
    sk_X509_pop_free(rest, X509_free);
    PKCS12_free(p12);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const enum key_type types[] = {KEY_ECDSA_P256, KEY_ECDSA_P384, KEY_RSA_2048};
    static const struct pkcs12_options options[] = {
        {"secret", "example.org", false},
        {"", NULL, false},
        {"p\xc3\xa4ssw\xc3\xb6rt",
         "b\xc3\xbc"
         "cher",
         true},
    };
    for (size_t t = 0; t < COUNT_OF(types); t++) {
        int n = 3 - (int)t;
        AUTO_BED bed = {0};
        bed_make(&bed, types[t], n);
        for (size_t o = 0; o < COUNT_OF(options); o++) {
            AUTO_BUF der = BUF_SECRET;
            struct err err = ERR_INIT;
            assert_true(pkcs12_encode(bed.key, bed.chain, &options[o], &der, &err));
            expect_content(&der, &bed, n, &options[o]);
            assert_true(pkcs12_says(der.data, der.len, bed.key, bed.chain, &options[o]));
        }
    }
}

/* Does the DER have this object in it? */
static bool has_object(const struct buf *der, int nid)
{
    const ASN1_OBJECT *object = OBJ_nid2obj(nid);
    return memmem(der->data, der->len, OBJ_get0_data(object), OBJ_length(object)) != NULL;
}

static void test_algorithms(void **state)
{
    (void)state;
    AUTO_BED bed = {0};
    AUTO_BUF modern = BUF_SECRET, legacy = BUF_SECRET;
    struct err err = ERR_INIT;
    bed_make(&bed, KEY_ECDSA_P256, 2);
    assert_true(pkcs12_encode(bed.key, bed.chain, &(struct pkcs12_options){"x", NULL, false}, &modern, &err));
    assert_true(pkcs12_encode(bed.key, bed.chain, &(struct pkcs12_options){"x", NULL, true}, &legacy, &err));
    assert_true(has_object(&modern, NID_aes_256_cbc) && has_object(&modern, NID_hmacWithSHA256) &&
                has_object(&modern, NID_sha256));
    assert_false(has_object(&modern, NID_pbe_WithSHA1And3_Key_TripleDES_CBC) ||
                 has_object(&modern, NID_sha1));
    assert_true(has_object(&legacy, NID_pbe_WithSHA1And3_Key_TripleDES_CBC) && has_object(&legacy, NID_sha1));
    assert_false(has_object(&legacy, NID_aes_256_cbc));
}

/* Whatever differs: it has to be written anew. */
static void test_says(void **state)
{
    (void)state;
    AUTO_BED bed = {0}, other = {0};
    AUTO_BUF der = BUF_SECRET, cut = BUF_SECRET, longer = BUF_SECRET;
    struct err err = ERR_INIT;
    struct pkcs12_options options = {"secret", "name", false};
    bed_make(&bed, KEY_ECDSA_P256, 2);
    bed_make(&other, KEY_ECDSA_P256, 2);
    assert_true(pkcs12_encode(bed.key, bed.chain, &options, &der, &err));
    assert_true(pkcs12_says(der.data, der.len, bed.key, bed.chain, &options));
    assert_false(pkcs12_says(der.data, der.len, other.key, bed.chain, &options));
    assert_false(pkcs12_says(der.data, der.len, bed.key, other.chain, &options));
    assert_false(
        pkcs12_says(der.data, der.len, bed.key, bed.chain, &(struct pkcs12_options){"other", "name", false}));
    assert_false(
        pkcs12_says(der.data, der.len, bed.key, bed.chain, &(struct pkcs12_options){"secret", "x", false}));
    assert_false(
        pkcs12_says(der.data, der.len, bed.key, bed.chain, &(struct pkcs12_options){"secret", NULL, false}));
    assert_false(
        pkcs12_says(der.data, der.len, bed.key, bed.chain, &(struct pkcs12_options){"secret", "name", true}));
    buf_add(&cut, der.data, der.len - 1);
    assert_false(pkcs12_says(cut.data, cut.len, bed.key, bed.chain, &options));
    buf_add(&longer, der.data, der.len);
    buf_addc(&longer, '\0');
    assert_false(pkcs12_says(longer.data, longer.len, bed.key, bed.chain, &options));
    assert_false(pkcs12_says("", 0, bed.key, bed.chain, &options));
    assert_false(pkcs12_says("-----BEGIN", 10, bed.key, bed.chain, &options));
    for (size_t i = 0; i < der.len;
         i += 7) { /* damaged anywhere: read as something else, never crashed upon */
        der.data[i] ^= 0x41;
        (void)pkcs12_says(der.data, der.len < 400 ? der.len : 400, bed.key, bed.chain, &options);
        der.data[i] ^= 0x41;
    }
    assert_true(pkcs12_says(der.data, der.len, bed.key, bed.chain, &options));
}

static void test_der(void **state)
{
    (void)state;
    AUTO_BED bed = {0};
    AUTO_BUF key = BUF_SECRET;
    struct err err = ERR_INIT;
    bed_make(&bed, KEY_RSA_2048, 3);
    assert_true(pkcs8_encode(bed.key, &key, &err));
    const unsigned char *at = (const unsigned char *)key.data;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)key.len);
    assert_non_null(info);
    EVP_PKEY *pkey = EVP_PKCS82PKEY(info);
    assert_int_equal(EVP_PKEY_eq(pkey, key_pkey(bed.key)), 1);
    EVP_PKEY_free(pkey);
    PKCS8_PRIV_KEY_INFO_free(info);
    for (size_t i = 0; i < 5; i++) {
        AUTO_BUF der = BUF_INIT;
        bool there;
        assert_true(cert_der_at(bed.chain, i, &der, &there, &err));
        assert_int_equal(there, i < 3);
        if (!there)
            continue;
        at = (const unsigned char *)der.data;
        X509 *cert = d2i_X509(NULL, &at, (long)der.len);
        assert_int_equal(X509_cmp(cert, bed.certs[i]), 0);
        X509_free(cert);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_algorithms),
        cmocka_unit_test(test_says),
        cmocka_unit_test(test_der),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
