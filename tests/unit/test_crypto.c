#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "tlsup/b64.h"
#include "tlsup/cert.h"
#include "tlsup/csr.h"
#include "tlsup/jws.h"
#include "tlsup/mem.h"

#define NOW_S INT64_C(1800000000) /* 2027-01-15 */
#define DAY_S 86400

/* One key of each algorithm, and a second P-256 one; made once, RSA being slow. */
static struct key *p256, *p384, *rsa, *other;

/* -- helpers ----------------------------------------------------------------------------------- */

static struct key *new_key(enum key_type type)
{
    struct err err = ERR_INIT;
    struct key *key = NULL;
    if (!key_generate(type, &key, &err))
        fail_msg("%s", err.text);
    return key;
}

static int make_keys(void **state)
{
    (void)state;
    p256 = new_key(KEY_ECDSA_P256);
    p384 = new_key(KEY_ECDSA_P384);
    rsa = new_key(KEY_RSA_2048);
    other = new_key(KEY_ECDSA_P256);
    return 0;
}

static int free_keys(void **state)
{
    (void)state;
    key_free(p256);
    key_free(p384);
    key_free(rsa);
    key_free(other);
    return 0;
}

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" does not say \"%s\"", text, part);
}

static void assert_hasnt(const char *text, const char *part)
{
    if (strstr(text, part))
        fail_msg("\"%s\" says \"%s\"", text, part);
}

static void take_bio(BIO *bio, struct buf *out)
{
    char *text;
    long len = BIO_get_mem_data(bio, &text);
    assert_true(len > 0);
    buf_add(out, text, (size_t)len);
    BIO_free(bio);
}

static BIGNUM *number_from(const char *b64url)
{
    AUTO_BUF bytes = BUF_INIT;
    assert_true(b64url_decode(b64url, strlen(b64url), &bytes));
    return BN_bin2bn((unsigned char *)bytes.data, (int)bytes.len, NULL);
}

struct member {
    const char *param;
    const char *b64url;
};

/* An EVP_PKEY from numbers in base64url, as the RFCs print them. */
static EVP_PKEY *pkey_from(const char *type, const char *group, int selection, const struct member *members,
                           size_t n)
{
    BIGNUM *numbers[8];
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    if (group)
        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, group, 0);
    for (size_t i = 0; i < n; i++) {
        numbers[i] = number_from(members[i].b64url);
        OSSL_PARAM_BLD_push_BN(build, members[i].param, numbers[i]);
    }
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &pkey, selection, params), 1);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    for (size_t i = 0; i < n; i++)
        BN_free(numbers[i]);
    return pkey;
}

static void pkey_pem(EVP_PKEY *pkey, struct buf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL), 1);
    take_bio(bio, out);
}

static struct key *read_key(const struct buf *pem)
{
    struct err err = ERR_INIT;
    struct key *key = NULL;
    if (!key_from_pem(pem->data, pem->len, "key.pem", &key, &err))
        fail_msg("%s", err.text);
    assert_false(err_isset(&err));
    return key;
}

/* The key must be refused, with `part` in the message and advice on what to do. */
static void assert_key_refused(const char *pem, size_t len, const char *part)
{
    struct err err = ERR_INIT;
    struct key *key = NULL;
    if (key_from_pem(pem, len, "/etc/x/key.pem", &key, &err))
        fail_msg("accepted; expected: %s", part);
    assert_null(key);
    assert_int_equal(err.code, ERR_CRYPTO);
    assert_string_equal(err.subject, "/etc/x/key.pem");
    assert_has(err.text, part);
    assert_int_equal(ERR_peek_error(), 0);
}

static void assert_pkey_refused(EVP_PKEY *pkey, const char *part)
{
    AUTO_BUF pem = BUF_SECRET;
    assert_non_null(pkey);
    pkey_pem(pkey, &pem);
    EVP_PKEY_free(pkey);
    assert_key_refused(pem.data, pem.len, part);
}

/* Verify a JWS signature with OpenSSL, independently of key.c. */
static bool verify(EVP_PKEY *pkey, const char *digest, size_t width, const void *data, size_t len,
                   const void *raw, size_t raw_len)
{
    unsigned char *der = NULL;
    const unsigned char *signature = raw;
    int signature_len = (int)raw_len;
    if (width > 0) {
        if (raw_len != 2 * width)
            return false;
        ECDSA_SIG *pair = ECDSA_SIG_new();
        ECDSA_SIG_set0(pair, BN_bin2bn(signature, (int)width, NULL),
                       BN_bin2bn(signature + width, (int)width, NULL));
        signature_len = i2d_ECDSA_SIG(pair, &der);
        signature = der;
        ECDSA_SIG_free(pair);
    }
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = EVP_DigestVerifyInit_ex(ctx, NULL, digest, NULL, NULL, pkey, NULL) == 1 &&
                EVP_DigestVerify(ctx, signature, (size_t)signature_len, data, len) == 1;
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    ERR_clear_error();
    return good;
}

static bool verify_with(const struct key *key, const void *data, size_t len, const void *raw, size_t raw_len)
{
    enum key_type type = key_type_of(key);
    return verify(key_pkey(key), type == KEY_ECDSA_P384 ? "SHA384" : "SHA256",
                  type == KEY_ECDSA_P384   ? 48
                  : type == KEY_ECDSA_P256 ? 32
                                           : 0,
                  data, len, raw, raw_len);
}

/* -- keys -------------------------------------------------------------------------------------- */

static void key_type_words(void **state)
{
    static const struct {
        const char *text;
        enum key_type type;
    } words[] = {{"ecdsa-p256", KEY_ECDSA_P256}, {"ec256", KEY_ECDSA_P256},     {"ec-256", KEY_ECDSA_P256},
                 {"p256", KEY_ECDSA_P256},       {"secp256r1", KEY_ECDSA_P256}, {"ecdsa", KEY_ECDSA_P256},
                 {"ecdsa-p384", KEY_ECDSA_P384}, {"ec384", KEY_ECDSA_P384},     {"ec-384", KEY_ECDSA_P384},
                 {"p384", KEY_ECDSA_P384},       {"secp384r1", KEY_ECDSA_P384}, {"rsa", KEY_RSA_2048},
                 {"2048", KEY_RSA_2048},         {"3072", KEY_RSA_3072},        {"4096", KEY_RSA_4096},
                 {"rsa-2048", KEY_RSA_2048},     {"rsa-3072", KEY_RSA_3072},    {"rsa-4096", KEY_RSA_4096},
                 {"RSA-4096", KEY_RSA_4096},     {"Ecdsa-P384", KEY_ECDSA_P384}};
    static const char *const unknown[] = {"",   "rsa-1024",   "ed25519",   "rsa-",
                                          "rs", "ecdsa-p521", "rsa-20480", " rsa"};
    enum key_type type;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        struct err err = ERR_INIT;
        assert_true(key_type_parse(words[i].text, &type, &err));
        assert_int_equal(type, words[i].type);
        assert_true(key_type_parse(key_type_name(type), &type, &err));
        assert_int_equal(type, words[i].type);
    }
    for (size_t i = 0; i < COUNT_OF(unknown); i++) {
        struct err err = ERR_INIT;
        assert_false(key_type_parse(unknown[i], &type, &err));
        assert_int_equal(err.code, ERR_CONFIG);
        assert_string_equal(err.subject, unknown[i]);
        assert_has(err.text, "ecdsa-p256");
        assert_has(err.text, "rsa-4096");
    }
}

static void generated_keys_are_of_their_type(void **state)
{
    (void)state;
    size_t before = key_count();
    AUTO_KEY *rsa3072 = new_key(KEY_RSA_3072);
    assert_int_equal(key_count(), before + 1);
    assert_int_equal(EVP_PKEY_get_bits(key_pkey(rsa3072)), 3072);
    assert_int_equal(key_type_of(rsa3072), KEY_RSA_3072);
    assert_int_equal(key_type_of(p384), KEY_ECDSA_P384);
    assert_int_equal(EVP_PKEY_get_bits(key_pkey(p384)), 384);
    assert_int_equal(EVP_PKEY_get_bits(key_pkey(rsa)), 2048);
    assert_string_equal(key_jws_alg(p256), "ES256");
    assert_string_equal(key_jws_alg(p384), "ES384");
    assert_string_equal(key_jws_alg(rsa3072), "RS256");
    BIGNUM *exponent = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(key_pkey(rsa), OSSL_PKEY_PARAM_RSA_E, &exponent), 1);
    assert_true(BN_is_word(exponent, 65537));
    BN_free(exponent);
    assert_int_not_equal(EVP_PKEY_eq(key_pkey(p256), key_pkey(other)), 1);
    key_free(NULL);
}

static void pem_comes_back_in_every_form(void **state)
{
    (void)state;
    struct key *keys[] = {p256, p384, rsa};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        AUTO_BUF pkcs8 = BUF_SECRET;
        AUTO_BUF traditional = BUF_SECRET; /* SEC1 or PKCS#1 */
        struct err err = ERR_INIT;
        assert_true(key_to_pem(keys[i], &pkcs8, &err));
        assert_has(pkcs8.data, "-----BEGIN PRIVATE KEY-----\n");
        assert_has(pkcs8.data, "-----END PRIVATE KEY-----\n");
        AUTO_KEY *first = read_key(&pkcs8);
        BIO *bio = BIO_new(BIO_s_mem());
        assert_int_equal(
            PEM_write_bio_PrivateKey_traditional(bio, key_pkey(keys[i]), NULL, NULL, 0, NULL, NULL), 1);
        take_bio(bio, &traditional);
        assert_has(traditional.data, i == 2 ? "RSA PRIVATE KEY" : "EC PRIVATE KEY");
        AUTO_KEY *second = read_key(&traditional);
        assert_int_equal(EVP_PKEY_eq(key_pkey(first), key_pkey(keys[i])), 1);
        assert_int_equal(EVP_PKEY_eq(key_pkey(second), key_pkey(keys[i])), 1);
        assert_int_equal(key_type_of(second), key_type_of(keys[i]));
    }
}

static void reading_counts_as_holding_a_key(void **state)
{
    (void)state;
    AUTO_BUF pem = BUF_SECRET;
    struct err err = ERR_INIT;
    assert_true(key_to_pem(p256, &pem, &err));
    size_t before = key_count();
    AUTO_KEY *key = read_key(&pem);
    assert_true(key_count() > before);
    before = key_count();
    key_free(key);
    key = NULL;
    assert_int_equal(key_count(), before);
}

static void text_and_crlf_around_a_key_are_fine(void **state)
{
    (void)state;
    AUTO_BUF pem = BUF_SECRET;
    AUTO_BUF dressed = BUF_SECRET;
    struct err err = ERR_INIT;
    assert_true(key_to_pem(p256, &pem, &err));
    buf_adds(&dressed,
             "Bag Attributes\r\n    friendlyName: x\r\n-----BEGIN EC PARAMETERS-----\r\nBggqhkjOPQMBBw==\r\n"
             "-----END EC PARAMETERS-----\r\n");
    for (size_t i = 0; i + 1 < pem.len; i++) { /* no last newline either */
        if (pem.data[i] == '\n')
            buf_addc(&dressed, '\r');
        buf_addc(&dressed, pem.data[i]);
    }
    AUTO_KEY *key = read_key(&dressed);
    assert_int_equal(EVP_PKEY_eq(key_pkey(key), key_pkey(p256)), 1);
}

static void a_key_goes_only_into_a_wiped_buffer(void **state)
{
    (void)state;
    AUTO_BUF plain = BUF_INIT;
    struct err err = ERR_INIT;
    assert_false(key_to_pem(p256, &plain, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    assert_int_equal(plain.len, 0);
}

static void encrypted_keys_are_refused_without_asking(void **state)
{
    (void)state;
    for (int traditional = 0; traditional <= 1; traditional++) {
        AUTO_BUF pem = BUF_SECRET;
        struct err err = ERR_INIT;
        struct key *key = NULL;
        BIO *bio = BIO_new(BIO_s_mem());
        char password[] = "secret";
        int done = traditional
                       ? PEM_write_bio_PrivateKey_traditional(bio, key_pkey(p256), EVP_aes_128_cbc(),
                                                              (unsigned char *)password, 6, NULL, NULL)
                       : PEM_write_bio_PKCS8PrivateKey(bio, key_pkey(p256), EVP_aes_128_cbc(), password, 6,
                                                       NULL, NULL);
        assert_int_equal(done, 1);
        take_bio(bio, &pem);
        assert_key_refused(pem.data, pem.len, "encrypted");
        assert_false(key_from_pem(pem.data, pem.len, "k", &key, &err));
        assert_has(err.advice, "openssl pkey");
        assert_int_equal(err.next, NEXT_FIX_CONFIG);
    }
}

static void broken_key_files(void **state)
{
    AUTO_BUF pem = BUF_SECRET;
    AUTO_BUF public = BUF_INIT;
    AUTO_BUF big = BUF_INIT;
    struct err err = ERR_INIT;
    (void)state;
    assert_true(key_to_pem(p256, &pem, &err));
    assert_key_refused(NULL, 0, "empty");
    assert_key_refused("", 0, "empty");
    assert_key_refused("hello\n", 6, "not a PEM file");
    assert_key_refused("\0\0\0\0", 4, "not a PEM file");
    static const char ssh[] =
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
    assert_key_refused(ssh, strlen(ssh), "SSH key");
    static const char empty[] = "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n";
    assert_key_refused(empty, strlen(empty), "no private key");
    static const char junk[] = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_key_refused(junk, strlen(junk), "no private key");
    for (size_t len = 1; len + 2 < pem.len; len += 7) {
        struct err cut = ERR_INIT;
        struct key *key = NULL;
        assert_false(key_from_pem(pem.data, len, "cut", &key, &cut));
        assert_int_equal(cut.code, ERR_CRYPTO);
    }
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PUBKEY(bio, key_pkey(p256)), 1);
    take_bio(bio, &public);
    assert_key_refused(public.data, public.len, "no private key");
    for (int i = 0; i < 70 * 1024; i++)
        buf_addc(&big, 'x');
    buf_add(&big, pem.data, pem.len);
    assert_key_refused(big.data, big.len, "too many");
}

static EVP_PKEY *rsa_with(unsigned bits, unsigned exponent)
{
    EVP_PKEY *pkey = NULL;
    BIGNUM *e = BN_new();
    BN_set_word(e, exponent);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY_keygen_init(ctx);
    EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)bits);
    EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, e);
    EVP_PKEY_generate(ctx, &pkey);
    EVP_PKEY_CTX_free(ctx);
    BN_free(e);
    return pkey;
}

static void keys_that_no_ca_takes(void **state)
{
    (void)state;
    assert_pkey_refused(rsa_with(1024, 65537), "type or size");
    assert_pkey_refused(rsa_with(2056, 65537), "type or size");
    assert_pkey_refused(rsa_with(2048, 3), "65537");
    assert_pkey_refused(EVP_EC_gen("P-521"), "type or size");
    assert_pkey_refused(EVP_EC_gen("secp256k1"), "type or size");
    assert_pkey_refused(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), "type or size");
}

static void a_key_whose_halves_differ_is_damaged(void **state)
{
    unsigned char point[65];
    size_t point_len = 0;
    BIGNUM *secret = NULL;
    EVP_PKEY *mixed = NULL;
    (void)state;
    assert_int_equal(EVP_PKEY_get_octet_string_param(key_pkey(other), OSSL_PKEY_PARAM_PUB_KEY, point,
                                                     sizeof point, &point_len),
                     1);
    assert_int_equal(EVP_PKEY_get_bn_param(key_pkey(p256), OSSL_PKEY_PARAM_PRIV_KEY, &secret), 1);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0);
    OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, point_len);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, secret);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY_fromdata_init(ctx);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &mixed, EVP_PKEY_KEYPAIR, params), 1);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    BN_clear_free(secret);
    assert_pkey_refused(mixed, "damaged");
}

/* Some tools write the curve as numbers, or the point compressed: the key is good, and what we make of it
 * must be what CAs take. */
static void unusual_ec_encodings_are_straightened(void **state)
{
    static const char *const settings[][2] = {
        {OSSL_PKEY_PARAM_EC_ENCODING, OSSL_PKEY_EC_ENCODING_EXPLICIT},
        {OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_COMPRESSED}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        AUTO_BUF pem = BUF_SECRET;
        unsigned char *was = NULL, *is = NULL;
        EVP_PKEY *odd = EVP_PKEY_dup(key_pkey(p256));
        assert_int_equal(EVP_PKEY_set_utf8_string_param(odd, settings[i][0], settings[i][1]), 1);
        pkey_pem(odd, &pem);
        AUTO_KEY *key = read_key(&pem);
        int was_len = i2d_PUBKEY(key_pkey(p256), &was);
        int odd_len = i2d_PUBKEY(odd, NULL);
        assert_int_not_equal(odd_len, was_len);
        assert_int_equal(i2d_PUBKEY(key_pkey(key), &is), was_len);
        assert_memory_equal(is, was, (size_t)was_len);
        OPENSSL_free(was);
        OPENSSL_free(is);
        EVP_PKEY_free(odd);
    }
}

/* -- private JWK ------------------------------------------------------------------------------- */

/* Append "MEMBER":"BASE64URL" of a number of a key. */
static void add_jwk_number(const struct key *key, const char *param, const char *member, struct buf *out)
{
    BIGNUM *number = NULL;
    unsigned char bytes[512];
    assert_int_equal(EVP_PKEY_get_bn_param(key_pkey(key), param, &number), 1);
    int len = BN_bn2bin(number, bytes);
    buf_addf(out, "%s\"%s\":\"", out->len > 1 ? "," : "", member);
    b64url_encode(bytes, (size_t)len, out);
    buf_addc(out, '"');
    BN_clear_free(number);
}

static const struct {
    const char *param, *member;
} rsa_members[] = {{OSSL_PKEY_PARAM_RSA_N, "n"},          {OSSL_PKEY_PARAM_RSA_E, "e"},
                   {OSSL_PKEY_PARAM_RSA_D, "d"},          {OSSL_PKEY_PARAM_RSA_FACTOR1, "p"},
                   {OSSL_PKEY_PARAM_RSA_FACTOR2, "q"},    {OSSL_PKEY_PARAM_RSA_EXPONENT1, "dp"},
                   {OSSL_PKEY_PARAM_RSA_EXPONENT2, "dq"}, {OSSL_PKEY_PARAM_RSA_COEFFICIENT1, "qi"}};

/* The private JWK of an RSA key with its first `count` numbers. */
static void rsa_private_jwk(const struct key *key, size_t count, struct buf *out)
{
    buf_addc(out, '{');
    for (size_t i = 0; i < count; i++)
        add_jwk_number(key, rsa_members[i].param, rsa_members[i].member, out);
    buf_adds(out, ",\"kty\":\"RSA\"}");
}

static void ec_private_jwk(const struct key *key, const char *curve, struct buf *out)
{
    buf_addc(out, '{');
    add_jwk_number(key, OSSL_PKEY_PARAM_PRIV_KEY, "d", out);
    add_jwk_number(key, OSSL_PKEY_PARAM_EC_PUB_X, "x", out);
    add_jwk_number(key, OSSL_PKEY_PARAM_EC_PUB_Y, "y", out);
    buf_addf(out, ",\"kty\":\"EC\",\"crv\":\"%s\",\"use\":\"sig\",\"key_ops\":[\"sign\"]}", curve);
}

static struct key *read_text(const struct buf *text)
{
    struct err err = ERR_INIT;
    struct key *key = NULL;
    if (!key_from_text(text->data, text->len, "key", &key, &err))
        fail_msg("%s", err.text);
    return key;
}

static void assert_same_key(const struct key *a, const struct key *b)
{
    AUTO_BUF first = BUF_SECRET;
    AUTO_BUF second = BUF_SECRET;
    struct err err = ERR_INIT;
    assert_true(key_to_pem(a, &first, &err) && key_to_pem(b, &second, &err));
    assert_string_equal(first.data, second.data);
}

static void assert_jwk_refused(const char *json, const char *part)
{
    struct err err = ERR_INIT;
    struct key *key = NULL;
    if (key_from_jwk(json, strlen(json), "jwk", &key, &err))
        fail_msg("accepted: %s", json);
    assert_null(key);
    assert_int_equal(err.code, ERR_CRYPTO);
    assert_string_equal(err.subject, "jwk");
    assert_has(err.text, part);
    assert_true(err.advice[0] != '\0');
    assert_int_equal(ERR_peek_error(), 0);
}

/* RFC 7517 A.2: the thumbprint of what was read is that of the public half. */
static void jwk_of_the_rfc(void **state)
{
    static const char jwk[] =
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\","
        "\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\","
        "\"d\":\"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE\",\"use\":\"enc\",\"kid\":\"1\"}";
    AUTO_BUF public = BUF_INIT;
    struct err err = ERR_INIT;
    (void)state;
    struct buf text = {.data = (char *)(uintptr_t)jwk, .len = strlen(jwk)};
    AUTO_KEY *key = read_text(&text);
    assert_int_equal(key_type_of(key), KEY_ECDSA_P256);
    assert_true(key_jwk(key, &public, &err));
    assert_string_equal(
        public.data,
        "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\","
        "\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\"}");
}

static void jwk_of_every_key_type(void **state)
{
    (void)state;
    AUTO_BUF first = BUF_SECRET;
    AUTO_BUF second = BUF_SECRET;
    ec_private_jwk(p256, "P-256", &first);
    ec_private_jwk(p384, "P-384", &second);
    AUTO_KEY *a = read_text(&first);
    AUTO_KEY *b = read_text(&second);
    assert_same_key(a, p256);
    assert_same_key(b, p384);
    for (size_t count = 5; count <= COUNT_OF(rsa_members); count += 3) { /* the last three may be missing */
        AUTO_BUF text = BUF_SECRET;
        rsa_private_jwk(rsa, count, &text);
        AUTO_KEY *key = read_text(&text);
        assert_same_key(key, rsa);
    }
}

static void jwk_with_things_around_it(void **state)
{
    (void)state;
    AUTO_BUF jwk = BUF_SECRET;
    AUTO_BUF dressed = BUF_SECRET;
    ec_private_jwk(p256, "P-256", &jwk);
    buf_adds(&dressed, "\xEF\xBB\xBF \r\n\t");
    buf_add(&dressed, jwk.data, jwk.len);
    buf_adds(&dressed, "\n\n");
    AUTO_KEY *key = read_text(&dressed);
    assert_same_key(key, p256);
    AUTO_BUF padded = BUF_SECRET; /* as some write it */
    const char *x = strstr(jwk.data, "\",\"x\"");
    buf_add(&padded, jwk.data, (size_t)(x - jwk.data));
    buf_addc(&padded, '=');
    buf_adds(&padded, x);
    AUTO_KEY *again = read_text(&padded);
    assert_same_key(again, p256);
}

static void text_is_told_apart(void **state)
{
    (void)state;
    AUTO_BUF pem = BUF_SECRET;
    AUTO_BUF spaced = BUF_SECRET;
    struct err err = ERR_INIT;
    struct key *none = NULL;
    assert_true(key_to_pem(p256, &pem, &err));
    AUTO_KEY *key = read_text(&pem);
    assert_same_key(key, p256);
    buf_adds(&spaced, "\xEF\xBB\xBF\n  ");
    buf_add(&spaced, pem.data, pem.len);
    AUTO_KEY *second = read_text(&spaced);
    assert_same_key(second, p256);
    assert_false(key_from_text(NULL, 0, "k", &none, &err));
    err_clear(&err);
    assert_false(key_from_text(" \n ", 3, "k", &none, &err));
    err_clear(&err);
    assert_false(key_from_text("\0{", 2, "k", &none, &err));
    assert_has(err.text, "not a PEM file");
}

static void jwks_that_are_no_private_key(void **state)
{
    AUTO_BUF ec = BUF_SECRET;
    AUTO_BUF wrong = BUF_SECRET;
    AUTO_BUF public = BUF_INIT;
    AUTO_BUF big = BUF_INIT;
    struct err err = ERR_INIT;
    (void)state;
    ec_private_jwk(p256, "P-256", &ec);
    ec_private_jwk(p256, "P-384", &wrong);
    assert_true(key_jwk(p256, &public, &err));
    assert_jwk_refused(public.data, "no private key in it");
    assert_jwk_refused(wrong.data, "not a key of its curve");
    assert_jwk_refused("", "empty");
    assert_jwk_refused("{", "damaged or cut off");
    assert_jwk_refused("[]", "not a JSON object");
    assert_jwk_refused("{}", "\"kty\"");
    assert_jwk_refused("{\"kty\":7}", "\"kty\"");
    assert_jwk_refused("{\"keys\":[]}", "no JWK");
    assert_jwk_refused("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"d\":\"AA\",\"x\":\"AA\"}", "type");
    assert_jwk_refused("{\"kty\":\"oct\",\"k\":\"AAAA\"}", "type");
    assert_jwk_refused("{\"kty\":\"EC\",\"crv\":\"P-521\",\"d\":\"AA\"}", "curve");
    assert_jwk_refused("{\"kty\":\"EC\",\"crv\":\"P-256\",\"d\":\"AQ\"}", "\"x\"");
    assert_jwk_refused("{\"kty\":\"EC\",\"crv\":\"P-256\",\"d\":\"A*\",\"x\":\"AQ\",\"y\":\"AQ\"}", "\"d\"");
    assert_jwk_refused("{\"kty\":\"EC\",\"crv\":\"P-256\",\"d\":\"AQ\",\"x\":\"AQ\",\"y\":\"AQ\"}",
                       "not a key");
    assert_jwk_refused("{\"kty\":\"EC\",\"kty\":\"RSA\"}", "damaged");
    assert_jwk_refused("{\"kty\":\"RSA\",\"n\":\"AQ\",\"e\":\"AQAB\"}", "no private key in it");
    assert_jwk_refused("{\"kty\":\"RSA\",\"n\":\"AQ\",\"e\":\"AQAB\",\"d\":\"AQ\"}", "\"p\"");
    assert_jwk_refused("{\"kty\":\"RSA\",\"n\":\"AQ\",\"e\":\"AQAB\",\"d\":\"AQ\",\"p\":\"AA\",\"q\":\"AA\"}",
                       "RSA");
    assert_jwk_refused("{\"kty\":\"RSA\",\"n\":\"AQ\",\"e\":\"AQAB\",\"d\":\"AQ\",\"p\":\"AQ\",\"q\":\"AQ\"}",
                       "RSA");
    for (size_t len = 1; len < ec.len; len += 5) {
        AUTO_FREE char *cut = mem_ndup(ec.data, len);
        assert_jwk_refused(cut, "cut off");
    }
    buf_adds(&big, "{\"kty\":\"RSA\",\"n\":\"");
    for (int i = 0; i < 60000; i++)
        buf_addc(&big, 'A');
    buf_adds(&big, "\"}");
    assert_jwk_refused(big.data, "\"n\"");
    for (int i = 0; i < 10000; i++)
        buf_addc(&big, ' ');
    assert_jwk_refused(big.data, "too long");
}

static void jwks_that_lie(void **state)
{
    (void)state;
    AUTO_BUF text = BUF_SECRET;
    AUTO_BUF mixed = BUF_SECRET;
    AUTO_KEY *second = new_key(KEY_RSA_2048);
    buf_addc(&text, '{'); /* the private number of another key */
    add_jwk_number(p256, OSSL_PKEY_PARAM_PRIV_KEY, "d", &text);
    add_jwk_number(other, OSSL_PKEY_PARAM_EC_PUB_X, "x", &text);
    add_jwk_number(other, OSSL_PKEY_PARAM_EC_PUB_Y, "y", &text);
    buf_adds(&text, ",\"kty\":\"EC\",\"crv\":\"P-256\"}");
    assert_jwk_refused(text.data, "damaged");
    buf_addc(&mixed, '{');
    for (size_t i = 0; i < 5; i++)
        add_jwk_number(i == 0 ? second : rsa, rsa_members[i].param, rsa_members[i].member, &mixed);
    buf_adds(&mixed, ",\"kty\":\"RSA\"}");
    assert_jwk_refused(mixed.data, "damaged");
}

static void spki_hash_of_a_key(void **state)
{
    (void)state;
    struct key *keys[] = {p256, p384, rsa};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        unsigned char *der = NULL;
        char expected[65], is[KEY_SPKI_BYTES];
        struct err err = ERR_INIT;
        int len = i2d_PUBKEY(key_pkey(keys[i]), &der);
        cert_sha256(der, (size_t)len, expected);
        OPENSSL_free(der);
        assert_true(key_spki_sha256(keys[i], is, &err));
        assert_string_equal(is, expected);
        assert_null(key_uri(keys[i]));
    }
}

/* -- JWK and signatures ------------------------------------------------------------------------ */

/* RFC 7638 section 3.1 */
static void thumbprint_of_the_rfc(void **state)
{
    static const char n[] = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1"
                            "L6tSoc_BJECPebWKRXjBZCiF"
                            "V4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_"
                            "FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9"
                            "c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-"
                            "bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1"
                            "jF44-csFCur-kEgU8awapJzKnqDKgw";
    const struct member members[] = {{OSSL_PKEY_PARAM_RSA_N, n}, {OSSL_PKEY_PARAM_RSA_E, "AQAB"}};
    unsigned char hash[32];
    AUTO_BUF jwk = BUF_INIT;
    AUTO_BUF expected = BUF_INIT;
    AUTO_BUF thumbprint = BUF_INIT;
    struct err err = ERR_INIT;
    (void)state;
    EVP_PKEY *public = pkey_from("RSA", NULL, EVP_PKEY_PUBLIC_KEY, members, COUNT_OF(members));
    assert_true(key_public_jwk(public, &jwk, &err));
    buf_addf(&expected, "{\"e\":\"AQAB\",\"kty\":\"RSA\",\"n\":\"%s\"}", n);
    assert_string_equal(jwk.data, expected.data);
    EVP_Digest(jwk.data, jwk.len, hash, NULL, EVP_sha256(), NULL);
    b64url_encode(hash, sizeof hash, &thumbprint);
    assert_string_equal(thumbprint.data, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    EVP_PKEY_free(public);
}

/* The private keys of RFC 7515, appendices A.2 and A.3, through PEM as a user would give them. */
static struct key *rfc7515_rsa(void)
{
    static const struct member members[] = {
        {OSSL_PKEY_PARAM_RSA_N, "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-"
                                "4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZ"
                                "S-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-"
                                "bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2"
                                "R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-"
                                "DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcD"
                                "TW9gb54h4FRWyuXpoQ"},
        {OSSL_PKEY_PARAM_RSA_E, "AQAB"},
        {OSSL_PKEY_PARAM_RSA_D, "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_"
                                "GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_G"
                                "O-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_"
                                "V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQl"
                                "BjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_"
                                "jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0"
                                "QU91p1DhOVRuOopznQ"},
        {OSSL_PKEY_PARAM_RSA_FACTOR1,
         "4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_"
         "Py5PJdTJNPY8cQn7ouZ2"
         "KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc"},
        {OSSL_PKEY_PARAM_RSA_FACTOR2,
         "uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_"
         "YwD66t62wDmpe_"
         "HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc"},
        {OSSL_PKEY_PARAM_RSA_EXPONENT1,
         "BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-"
         "FOKnu1R6HsJeDCjn12Sk3vm"
         "AktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0"},
        {OSSL_PKEY_PARAM_RSA_EXPONENT2,
         "h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-"
         "NKJnwgjMd2w9c"
         "jz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU"},
        {OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
         "IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_"
         "QJQ3ydy5cY7YIBi87w93IKLEdfnb"
         "JtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3U"}};
    AUTO_BUF pem = BUF_SECRET;
    EVP_PKEY *pkey = pkey_from("RSA", NULL, EVP_PKEY_KEYPAIR, members, COUNT_OF(members));
    pkey_pem(pkey, &pem);
    EVP_PKEY_free(pkey);
    return read_key(&pem);
}

#define RFC7515_X "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define RFC7515_Y "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
#define RFC7515_PAYLOAD                                                                                      \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

static struct key *rfc7515_ec(void)
{
    AUTO_BUF pem = BUF_SECRET;
    AUTO_BUF point = BUF_INIT;
    EVP_PKEY *pkey = NULL;
    BIGNUM *d = number_from("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI");
    buf_addc(&point, 4);
    assert_true(b64url_decode(RFC7515_X, strlen(RFC7515_X), &point) &&
                b64url_decode(RFC7515_Y, strlen(RFC7515_Y), &point));
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0);
    OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point.data, point.len);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, d);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY_fromdata_init(ctx);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_KEYPAIR, params), 1);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    BN_free(d);
    pkey_pem(pkey, &pem);
    EVP_PKEY_free(pkey);
    return read_key(&pem);
}

/* RFC 7515 A.2: PKCS#1 v1.5 is deterministic, so the signature must be the RFC's, byte for byte. */
static void rs256_of_the_rfc(void **state)
{
    static const char input[] = "eyJhbGciOiJSUzI1NiJ9." RFC7515_PAYLOAD;
    AUTO_BUF raw = BUF_INIT;
    AUTO_BUF text = BUF_INIT;
    struct err err = ERR_INIT;
    (void)state;
    AUTO_KEY *key = rfc7515_rsa();
    assert_true(key_sign(key, input, strlen(input), &raw, &err));
    b64url_encode(raw.data, raw.len, &text);
    assert_string_equal(
        text.data,
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"
        "O8W2Fp5jujGbds9uJdbF9CU"
        "Ar7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_"
        "eSN9383LcOLn6_d"
        "O--xi12jzDwusC-"
        "eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0ig"
        "cN_IoypGlUPQGe77Rw");
}

/* RFC 7515 A.3: first that our verifier takes the RFC's signature, then that it takes ours. */
static void es256_of_the_rfc(void **state)
{
    static const char input[] = "eyJhbGciOiJFUzI1NiJ9." RFC7515_PAYLOAD;
    static const char theirs[] =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    AUTO_BUF raw = BUF_INIT;
    AUTO_BUF jwk = BUF_INIT;
    struct err err = ERR_INIT;
    (void)state;
    AUTO_KEY *key = rfc7515_ec();
    assert_true(key_jwk(key, &jwk, &err));
    assert_string_equal(jwk.data,
                        "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"" RFC7515_X "\",\"y\":\"" RFC7515_Y "\"}");
    assert_true(b64url_decode(theirs, strlen(theirs), &raw));
    assert_true(verify_with(key, input, strlen(input), raw.data, raw.len));
    raw.data[40] ^= 1;
    assert_false(verify_with(key, input, strlen(input), raw.data, raw.len));
    buf_reset(&raw);
    assert_true(key_sign(key, input, strlen(input), &raw, &err));
    assert_true(verify_with(key, input, strlen(input), raw.data, raw.len));
}

/* One ECDSA number in 128 begins with a zero byte: the width must not change. */
static void ecdsa_signatures_keep_their_width(void **state)
{
    (void)state;
    struct key *keys[] = {p256, p384};
    for (size_t k = 0; k < COUNT_OF(keys); k++) {
        size_t width = k == 0 ? 64 : 96, padded = 0;
        for (int i = 0; i < 400; i++) {
            AUTO_BUF raw = BUF_INIT;
            struct err err = ERR_INIT;
            assert_true(key_sign(keys[k], &i, sizeof i, &raw, &err));
            assert_int_equal(raw.len, width);
            assert_true(verify_with(keys[k], &i, sizeof i, raw.data, raw.len));
            padded += raw.data[0] == 0 || raw.data[width / 2] == 0;
        }
        if (padded == 0)
            print_message("no signature needed padding this time\n");
    }
}

static void jwk_coordinates_keep_their_width(void **state)
{
    (void)state;
    bool padded = false;
    for (int i = 0; i < 4000 && !padded; i++) {
        AUTO_BUF jwk = BUF_INIT;
        BIGNUM *x = NULL, *y = NULL;
        struct err err = ERR_INIT;
        AUTO_KEY *key = new_key(KEY_ECDSA_P256);
        EVP_PKEY_get_bn_param(key_pkey(key), OSSL_PKEY_PARAM_EC_PUB_X, &x);
        EVP_PKEY_get_bn_param(key_pkey(key), OSSL_PKEY_PARAM_EC_PUB_Y, &y);
        padded = BN_num_bytes(x) < 32 || BN_num_bytes(y) < 32;
        BN_free(x);
        BN_free(y);
        assert_true(key_jwk(key, &jwk, &err));
        assert_int_equal(jwk.len,
                         strlen("{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"\",\"y\":\"\"}") + 2 * 43);
    }
    assert_true(padded);
}

static void thumbprint_is_the_hash_of_the_jwk(void **state)
{
    (void)state;
    struct key *keys[] = {p256, p384, rsa};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        AUTO_BUF jwk = BUF_INIT;
        AUTO_BUF expected = BUF_INIT;
        unsigned char hash[32];
        char thumbprint[KEY_THUMBPRINT_BYTES];
        struct err err = ERR_INIT;
        assert_true(key_jwk(keys[i], &jwk, &err));
        assert_true(key_thumbprint(keys[i], thumbprint, &err));
        EVP_Digest(jwk.data, jwk.len, hash, NULL, EVP_sha256(), NULL);
        b64url_encode(hash, sizeof hash, &expected);
        assert_string_equal(thumbprint, expected.data);
        assert_true(b64url_valid(thumbprint, 43));
    }
}

/* -- JWS --------------------------------------------------------------------------------------- */

/* Parse what jws_sign() wrote as a CA would: three members, a good signature. Returns the protected header.
 */
static json_t *open_jws(const struct key *key, const struct buf *jws, struct buf *payload)
{
    AUTO_BUF header = BUF_INIT;
    AUTO_BUF signature = BUF_INIT;
    AUTO_BUF input = BUF_INIT;
    json_auto_t *root = json_loadb(jws->data, jws->len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    assert_int_equal(json_object_size(root), 3);
    const char *p = json_string_value(json_object_get(root, "protected"));
    const char *d = json_string_value(json_object_get(root, "payload"));
    const char *s = json_string_value(json_object_get(root, "signature"));
    assert_true(p && d && s);
    assert_true(b64url_decode(p, strlen(p), &header));
    assert_true(b64url_decode(d, strlen(d), payload));
    assert_true(b64url_decode(s, strlen(s), &signature));
    buf_addf(&input, "%s.%s", p, d);
    assert_true(verify_with(key, input.data, input.len, signature.data, signature.len));
    json_t *object = json_loadb(header.data, header.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(object);
    return object;
}

static void assert_member(const json_t *object, const char *member, const char *value)
{
    const char *is = json_string_value(json_object_get(object, member));
    assert_non_null(is);
    assert_string_equal(is, value);
}

static void jws_of_every_key_type(void **state)
{
    (void)state;
    struct key *keys[] = {p256, p384, rsa};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        const struct jws_header header = {
            .url = "https://ca.example/acme/new-order", .nonce = "aN-o_nce", .kid = "https://ca.example/a/1"};
        AUTO_BUF jws = BUF_INIT;
        AUTO_BUF payload = BUF_INIT;
        struct err err = ERR_INIT;
        assert_true(jws_sign(keys[i], &header, "{\"a\":1}", 7, &jws, &err));
        json_auto_t *protected = open_jws(keys[i], &jws, &payload);
        assert_int_equal(json_object_size(protected), 4);
        assert_member(protected, "alg", key_jws_alg(keys[i]));
        assert_member(protected, "url", header.url);
        assert_member(protected, "nonce", header.nonce);
        assert_member(protected, "kid", header.kid);
        assert_string_equal(payload.data, "{\"a\":1}");
    }
}

static void jws_with_the_public_key_in_it(void **state)
{
    (void)state;
    struct key *keys[] = {p256, p384, rsa};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        const struct jws_header header = {.url = "https://ca.example/acme/new-account", .nonce = "n"};
        AUTO_BUF jws = BUF_INIT;
        AUTO_BUF payload = BUF_INIT;
        AUTO_BUF jwk = BUF_INIT;
        struct err err = ERR_INIT;
        assert_true(jws_sign(keys[i], &header, "{}", 2, &jws, &err));
        json_auto_t *protected = open_jws(keys[i], &jws, &payload);
        assert_int_equal(json_object_size(protected), 4);
        assert_true(key_jwk(keys[i], &jwk, &err));
        json_auto_t *expected = json_loads(jwk.data, 0, NULL);
        assert_true(json_equal(json_object_get(protected, "jwk"), expected));
        assert_null(json_object_get(json_object_get(protected, "jwk"), "d"));
    }
}

static void inner_jws_has_no_nonce(void **state)
{
    (void)state;
    const struct jws_header header = {.url = "https://ca.example/acme/key-change"};
    AUTO_BUF jws = BUF_INIT;
    AUTO_BUF payload = BUF_INIT;
    struct err err = ERR_INIT;
    assert_true(jws_sign(p256, &header, "{}", 2, &jws, &err));
    json_auto_t *protected = open_jws(p256, &jws, &payload);
    assert_int_equal(json_object_size(protected), 3);
    assert_null(json_object_get(protected, "nonce"));
}

static void post_as_get_has_an_empty_payload(void **state)
{
    (void)state;
    const struct jws_header header = {
        .url = "https://ca.example/acme/order/1", .nonce = "n", .kid = "https://ca.example/a/1"};
    AUTO_BUF jws = BUF_INIT;
    AUTO_BUF payload = BUF_INIT;
    struct err err = ERR_INIT;
    buf_adds(&jws, "before");
    assert_true(jws_sign(p256, &header, NULL, 0, &jws, &err));
    assert_memory_equal(jws.data, "before{", 7);
    assert_has(jws.data, "\"payload\":\"\"");
    struct buf body = {.data = jws.data + 6, .len = jws.len - 6};
    json_auto_t *protected = open_jws(p256, &body, &payload);
    assert_int_equal(payload.len, 0);
    assert_non_null(protected);
}

/* What a CA chose (URLs, nonces) must not be able to write into the header. */
static void hostile_text_stays_inside_its_member(void **state)
{
    (void)state;
    const struct jws_header header = {.url = "https://ca.example/\",\"kid\":\"x\\\n\x01/\xc3\xa9",
                                      .nonce = "a\"},{\"alg\":\"none",
                                      .kid = "k\\\"\x7f"};
    AUTO_BUF jws = BUF_INIT;
    AUTO_BUF payload = BUF_INIT;
    struct err err = ERR_INIT;
    assert_true(jws_sign(p256, &header, "{}", 2, &jws, &err));
    json_auto_t *protected = open_jws(p256, &jws, &payload);
    assert_int_equal(json_object_size(protected), 4);
    assert_member(protected, "alg", "ES256");
    assert_member(protected, "url", header.url);
    assert_member(protected, "nonce", header.nonce);
    assert_member(protected, "kid", header.kid);
}

static void headers_that_cannot_be_signed(void **state)
{
    const struct jws_header headers[] = {
        {.url = "https://ca.example/\xff", .nonce = "n"},
        {.url = "https://ca.example/", .nonce = "\xc3"},
        {.url = "https://ca.example/", .nonce = "n", .kid = "\xed\xa0\x80"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(headers); i++) {
        AUTO_BUF jws = BUF_INIT;
        struct err err = ERR_INIT;
        assert_false(jws_sign(p256, &headers[i], "{}", 2, &jws, &err));
        assert_int_equal(err.code, ERR_PROTOCOL);
        assert_int_equal(jws.len, 0);
    }
    const char *const urls[] = {NULL, ""};
    for (size_t i = 0; i < COUNT_OF(urls); i++) {
        AUTO_BUF jws = BUF_INIT;
        struct err err = ERR_INIT;
        assert_false(jws_sign(p256, &(struct jws_header){.url = urls[i]}, "{}", 2, &jws, &err));
        assert_int_equal(err.code, ERR_INTERNAL);
    }
}

static void canonical_header_bytes(void **state)
{
    (void)state;
    const struct jws_header header = {.url = "https://u/x", .nonce = "n", .kid = "https://k"};
    AUTO_BUF jws = BUF_INIT;
    AUTO_BUF expected = BUF_INIT;
    static const char text[] =
        "{\"alg\":\"ES256\",\"kid\":\"https://k\",\"nonce\":\"n\",\"url\":\"https://u/x\"}";
    struct err err = ERR_INIT;
    assert_true(jws_sign(p256, &header, "{}", 2, &jws, &err));
    buf_adds(&expected, "{\"protected\":\"");
    b64url_encode(text, strlen(text), &expected);
    buf_adds(&expected, "\",\"payload\":\"e30\",\"signature\":\"");
    assert_memory_equal(jws.data, expected.data, expected.len);
}

/* -- external accounts, key rollover ------------------------------------------------------------- */

#define BINDING_URL "https://ca.example/acme/new-account"

/* As a CA would: exactly the members of RFC 8555 7.3.4, a good MAC under `secret`, and as payload the very
 * bytes of the account key's JWK. */
static void check_binding(const struct key *account, const struct buf *jws, const char *alg,
                          const void *secret, size_t secret_len)
{
    const EVP_MD *digest = strcmp(alg, "HS512") == 0   ? EVP_sha512()
                           : strcmp(alg, "HS384") == 0 ? EVP_sha384()
                                                       : EVP_sha256();
    AUTO_BUF header = BUF_INIT;
    AUTO_BUF payload = BUF_INIT;
    AUTO_BUF mac = BUF_INIT;
    AUTO_BUF input = BUF_INIT;
    AUTO_BUF jwk = BUF_INIT;
    unsigned char expected[EVP_MAX_MD_SIZE];
    unsigned expected_len = 0;
    struct err err = ERR_INIT;
    json_auto_t *root = json_loadb(jws->data, jws->len, JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(json_object_size(root), 3);
    const char *p = json_string_value(json_object_get(root, "protected"));
    const char *d = json_string_value(json_object_get(root, "payload"));
    const char *s = json_string_value(json_object_get(root, "signature"));
    assert_true(p && d && s);
    assert_true(b64url_decode(p, strlen(p), &header) && b64url_decode(d, strlen(d), &payload) &&
                b64url_decode(s, strlen(s), &mac));
    buf_addf(&input, "%s.%s", p, d);
    HMAC(digest, secret, (int)secret_len, (unsigned char *)input.data, input.len, expected, &expected_len);
    assert_int_equal(mac.len, expected_len);
    assert_memory_equal(mac.data, expected, expected_len);
    json_auto_t *object = json_loadb(header.data, header.len, JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(json_object_size(object), 3);
    assert_member(object, "alg", alg);
    assert_member(object, "kid", "kid-1");
    assert_member(object, "url", BINDING_URL);
    assert_true(key_jwk(account, &jwk, &err));
    assert_string_equal(payload.data, jwk.data);
}

/* CAs compare the key in the binding with that of the outer request: the same bytes must be in both. */
static void assert_outer_has_same_jwk(const struct key *account)
{
    const struct jws_header header = {.url = BINDING_URL, .nonce = "n"};
    AUTO_BUF jws = BUF_INIT;
    AUTO_BUF text = BUF_INIT;
    AUTO_BUF member = BUF_INIT;
    struct err err = ERR_INIT;
    assert_true(jws_sign(account, &header, "{}", 2, &jws, &err));
    json_auto_t *root = json_loadb(jws.data, jws.len, 0, NULL);
    const char *p = json_string_value(json_object_get(root, "protected"));
    assert_true(b64url_decode(p, strlen(p), &text));
    buf_adds(&member, "\"jwk\":");
    assert_true(key_jwk(account, &member, &err));
    assert_has(text.data, member.data);
}

static void bindings_of_every_algorithm(void **state)
{
    static const char secret[] =
        "\xfb\xff\xfe 32 bytes of a MAC key, or so"; /* "-" and "_" are in its base64url */
    static const char *const algs[] = {NULL, "HS256", "HS384", "HS512"};
    struct key *keys[] = {p256, p384, rsa};
    AUTO_BUF text = BUF_INIT;
    (void)state;
    b64url_encode(secret, strlen(secret), &text);
    assert_non_null(strchr(text.data, '-'));
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        for (size_t a = 0; a < COUNT_OF(algs); a++) {
            AUTO_BUF jws = BUF_INIT;
            struct err err = ERR_INIT;
            if (!jws_external_account(keys[i], BINDING_URL, "kid-1", text.data, algs[a], &jws, &err))
                fail_msg("%s", err.text);
            check_binding(keys[i], &jws, algs[a] ? algs[a] : "HS256", secret, strlen(secret));
            assert_outer_has_same_jwk(keys[i]);
        }
}

static void mac_keys_as_people_paste_them(void **state)
{
    static const char raw[] =
        "\xfb\xff\xfe\xfd\xfc\xfb\xfa\xf9\x80\x01\x02\x03\x04\x05\x06\x07\x08"; /* 17 bytes */
    static const char hex[] = "00112233445566778899aabbccddeeff";
    static const char words[] = "a passphrase, with spaces";
    static const struct {
        const char *text;
        const char *secret;
        size_t len;
    } rows[] = {
        {"-__-_fz7-vmAAQIDBAUGBwg", raw, 17},
        {"-__-_fz7-vmAAQIDBAUGBwg=", raw, 17},
        {"+//+/fz7+vmAAQIDBAUGBwg=", raw, 17},
        {"+//+/fz7+vmAAQIDBAUGBwg", raw, 17},
        {"  -__-_fz7-vm\n AAQIDBAUGBwg\r\n", raw, 17},
        /* base64 of the first, the second, the third of these */
        {"LV9fLV9mejctdm1BQVFJREJBVUdCd2c", raw, 17},
        {"LV9fLV9mejctdm1BQVFJREJBVUdCd2c9", raw, 17},
        {"Ky8vKy9mejcrdm1BQVFJREJBVUdCd2c9Cg==", raw, 17},
        /* hexadecimal digits are a secret of their own, though they are base64 as well */
        {"MDAxMTIyMzM0NDU1NjY3Nzg4OTlhYWJiY2NkZGVlZmY", hex, 32},
        {"YSBwYXNzcGhyYXNlLCB3aXRoIHNwYWNlcw", words, 25},
        {"c2l4dGVlbi1ieXRlLWtleQ", "sixteen-byte-key", 16}, /* base64 too, of less than a key */
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_BUF jws = BUF_INIT;
        struct err err = ERR_INIT;
        if (!jws_external_account(p256, BINDING_URL, "kid-1", rows[i].text, NULL, &jws, &err))
            fail_msg("%s: %s", rows[i].text, err.text);
        check_binding(p256, &jws, "HS256", rows[i].secret, rows[i].len);
    }
}

static void bindings_that_cannot_be(void **state)
{
    static const char good[] = "AAECAwQFBgcICQoLDA0ODw";
    AUTO_FREE char *big = mem_alloc(5001);
    memset(big, 'A', 5000);
    const struct {
        const char *kid, *key, *alg, *part;
    } rows[] = {
        {"k", "", NULL, "not base64"},
        {"k", NULL, NULL, "not base64"},
        {"k", " \n", NULL, "not base64"},
        {"k", "====", NULL, "not base64"},
        {"k", "not base64!", NULL, "not base64"},
        {"k", "AAECAwQFBgcICQoLDA0ODw===", NULL, "not base64"},
        {"k", "AAECAwQFBgcICQoLDA0OD", NULL, "not base64"}, /* cut off in the middle of a byte */
        {"k", "AAECAwQFBgcICQoLDA0O", NULL, "too short"},   /* 15 bytes */
        {"k", big, NULL, "not base64"},
        {"k", good, "HS1", "HS256"},
        {"k", good, "", "HS256"},
        {"k", good, "none", "HS256"},
        {"k", good, "hs256", "HS256"},
        {"", good, NULL, "--eab-kid"},
        {NULL, good, NULL, "--eab-kid"},
        {"\xff", good, NULL, "UTF-8"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_BUF jws = BUF_INIT;
        struct err err = ERR_INIT;
        if (jws_external_account(p256, BINDING_URL, rows[i].kid, rows[i].key, rows[i].alg, &jws, &err))
            fail_msg("accepted: %s", rows[i].key);
        assert_int_equal(err.code, ERR_CONFIG);
        assert_has(err.text, rows[i].part);
        assert_int_equal(jws.len, 0);
        if (rows[i].key && strlen(rows[i].key) > 10) { /* a secret stays one */
            assert_hasnt(err.text, rows[i].key);
            assert_hasnt(err.subject, rows[i].key);
        }
    }
    AUTO_BUF jws = BUF_INIT;
    struct err err = ERR_INIT;
    assert_true(jws_external_account(p256, BINDING_URL, "k", good, NULL, &jws, &err)); /* 16 bytes do */
}

/* RFC 8555 7.3.5: inner JWS by the new key with its jwk, the same url, no nonce; payload account and oldKey.
 */
static void key_change_of_every_pair(void **state)
{
    (void)state;
    static const char url[] = "https://ca.example/key-change", account[] = "https://ca.example/acct/1\"x";
    struct key *pairs[][2] = {{p256, rsa}, {rsa, p256}, {p384, p256}, {other, p256}};
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        struct key *fresh = pairs[i][0], *old = pairs[i][1];
        AUTO_BUF jws = BUF_INIT;
        AUTO_BUF payload = BUF_INIT;
        AUTO_BUF jwk = BUF_INIT;
        AUTO_BUF old_jwk = BUF_INIT;
        struct err err = ERR_INIT;
        assert_true(jws_key_change(fresh, old, url, account, &jws, &err));
        json_auto_t *protected = open_jws(fresh, &jws, &payload);
        assert_int_equal(json_object_size(protected), 3);
        assert_member(protected, "alg", key_jws_alg(fresh));
        assert_member(protected, "url", url);
        assert_true(key_jwk(fresh, &jwk, &err) && key_jwk(old, &old_jwk, &err));
        json_auto_t *expected = json_loads(jwk.data, 0, NULL);
        assert_true(json_equal(json_object_get(protected, "jwk"), expected));
        json_auto_t *body = json_loadb(payload.data, payload.len, JSON_REJECT_DUPLICATES, NULL);
        assert_int_equal(json_object_size(body), 2);
        assert_member(body, "account", account);
        json_auto_t *old_expected = json_loads(old_jwk.data, 0, NULL);
        assert_true(json_equal(json_object_get(body, "oldKey"), old_expected));
    }
    AUTO_BUF jws = BUF_INIT;
    struct err err = ERR_INIT;
    assert_false(jws_key_change(p256, rsa, url, "\xff", &jws, &err));
    assert_int_equal(err.code, ERR_PROTOCOL);
    err_clear(&err);
    assert_false(jws_key_change(p256, rsa, "", account, &jws, &err));
    assert_int_equal(jws.len, 0);
}

/* -- requests ---------------------------------------------------------------------------------- */

static struct strlist list_of(const char *words)
{
    struct strlist list = STRLIST_INIT;
    strlist_split(&list, words, " ");
    return list;
}

static X509_REQ *read_csr(const struct key *key, const struct strlist *names)
{
    AUTO_BUF der = BUF_INIT;
    struct err err = ERR_INIT;
    if (!csr_make(key, names, &der, &err))
        fail_msg("%s", err.text);
    const unsigned char *at = (unsigned char *)der.data;
    X509_REQ *request = d2i_X509_REQ(NULL, &at, (long)der.len);
    assert_non_null(request);
    assert_ptr_equal(at, (unsigned char *)der.data + der.len);
    return request;
}

static void csr_of_every_key_type(void **state)
{
    (void)state;
    struct key *keys[] = {p256, p384, rsa};
    const int signatures[] = {NID_ecdsa_with_SHA256, NID_ecdsa_with_SHA384, NID_sha256WithRSAEncryption};
    AUTO_STRLIST names = list_of("example.org *.example.org xn--bcher-kva.example 192.0.2.7 2001:db8::1");
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        X509_REQ *request = read_csr(keys[i], &names);
        assert_int_equal(X509_REQ_verify(request, key_pkey(keys[i])), 1);
        assert_int_equal(X509_REQ_get_signature_nid(request), signatures[i]);
        assert_int_equal(X509_REQ_get_version(request), X509_REQ_VERSION_1);
        assert_int_equal(X509_NAME_entry_count(X509_REQ_get_subject_name(request)), 0);
        STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
        assert_int_equal(sk_X509_EXTENSION_num(extensions), 1);
        GENERAL_NAMES *san = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);
        assert_int_equal(sk_GENERAL_NAME_num(san), 5);
        for (int n = 0; n < 5; n++) {
            int kind;
            const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(san, n), &kind);
            assert_int_equal(kind, n < 3 ? GEN_DNS : GEN_IPADD);
            if (n < 3) {
                assert_int_equal(ASN1_STRING_length(value), strlen(names.v[n]));
                assert_memory_equal(ASN1_STRING_get0_data(value), names.v[n], strlen(names.v[n]));
            }
        }
        const ASN1_STRING *v4 = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(san, 3), NULL);
        const ASN1_STRING *v6 = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(san, 4), NULL);
        assert_int_equal(ASN1_STRING_length(v4), 4);
        assert_memory_equal(ASN1_STRING_get0_data(v4), "\xc0\0\2\7", 4);
        assert_int_equal(ASN1_STRING_length(v6), 16);
        assert_memory_equal(ASN1_STRING_get0_data(v6), "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
        GENERAL_NAMES_free(san);
        sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
        X509_REQ_free(request);
    }
}

static void self_signed_with_every_key_type(void **state)
{
    struct key *const keys[] = {p256, p384, rsa};
    char *list[] = {"example.org", "*.example.org", "192.0.2.1", "2001:db8::1"};
    const struct strlist names = {list, COUNT_OF(list)};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        struct err err = ERR_INIT;
        AUTO_CHAIN *chain = NULL;
        AUTO_BUF pem = BUF_INIT;
        if (!csr_self_sign(keys[i], &names, &pem, &err) ||
            !cert_chain_parse(buf_str(&pem), pem.len, "self-signed", &chain, &err) ||
            !cert_chain_check(chain, keys[i], &names, (int64_t)time(NULL), &err))
            fail_msg("%s", err.text);
    }
}

static void csr_with_a_hundred_names(void **state)
{
    (void)state;
    AUTO_STRLIST names = STRLIST_INIT;
    for (int i = 0; i < 100; i++) {
        AUTO_FREE char *name = mem_fmt("host%d.example.org", i);
        strlist_add(&names, name);
    }
    X509_REQ *request = read_csr(p256, &names);
    STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
    GENERAL_NAMES *san = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);
    assert_int_equal(sk_GENERAL_NAME_num(san), 100);
    GENERAL_NAMES_free(san);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_REQ_free(request);
}

static void names_that_no_request_may_carry(void **state)
{
    AUTO_FREE char *overlong = mem_alloc(300);
    memset(overlong, 'a', 299);
    const char *const bad[] = {"",
                               "exa mple.org",
                               "b\xc3\xbc"
                               "cher.example",
                               "https://example.org/",
                               "exa:mple.org",
                               "example.org\n",
                               "[2001:db8::1]",
                               "Example.org",
                               overlong};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        AUTO_STRLIST names = list_of("example.org");
        AUTO_BUF der = BUF_INIT;
        struct err err = ERR_INIT;
        strlist_add(&names, bad[i]);
        if (csr_make(p256, &names, &der, &err))
            fail_msg("accepted: %s", bad[i]);
        assert_int_equal(err.code, ERR_NAME);
        assert_int_equal(der.len, 0);
    }
    AUTO_STRLIST none = STRLIST_INIT;
    AUTO_BUF der = BUF_INIT;
    struct err err = ERR_INIT;
    assert_false(csr_make(p256, &none, &der, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
}

/* -- requests of others -------------------------------------------------------------------------- */

struct alt_name {
    int kind; /* GEN_... */
    const char *bytes;
    size_t len;
};
#define DNS(text)                                                                                            \
    {                                                                                                        \
        GEN_DNS, text, sizeof text - 1                                                                       \
    }
#define IP(bytes)                                                                                            \
    {                                                                                                        \
        GEN_IPADD, bytes, sizeof bytes - 1                                                                   \
    }

static GENERAL_NAME *alt_name(const struct alt_name *name);

/* A request as other programs write them. */
struct request {
    const char *cn;
    const struct alt_name *names;
    size_t count;
    EVP_PKEY *pkey;       /* NULL = p256 */
    EVP_PKEY *signed_by;  /* NULL = pkey */
    const EVP_MD *digest; /* NULL = SHA-256 */
    bool damage, second_san, bad_extensions;
};

static void write_request(const struct request *spec, struct buf *der)
{
    X509_REQ *request = X509_REQ_new();
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    STACK_OF(X509_EXTENSION) *extensions = NULL;
    EVP_PKEY *pkey = spec->pkey ? spec->pkey : key_pkey(p256);
    unsigned char *bytes = NULL;
    if (spec->cn)
        X509_NAME_add_entry_by_NID(X509_REQ_get_subject_name(request), NID_commonName, V_ASN1_UTF8STRING,
                                   (const unsigned char *)spec->cn, -1, -1, 0);
    for (size_t i = 0; i < spec->count; i++)
        sk_GENERAL_NAME_push(names, alt_name(&spec->names[i]));
    for (int i = 0; i <= (spec->second_san ? 1 : 0) && spec->count > 0; i++)
        X509V3_add1_i2d(&extensions, NID_subject_alt_name, names, 0, X509V3_ADD_APPEND);
    if (extensions)
        X509_REQ_add_extensions(request, extensions);
    if (spec->bad_extensions)
        X509_REQ_add1_attr_by_NID(request, NID_ext_req, V_ASN1_OCTET_STRING, (const unsigned char *)"junk",
                                  4);
    X509_REQ_set_pubkey(request, pkey);
    assert_true(X509_REQ_sign(request, spec->signed_by ? spec->signed_by : pkey,
                              spec->digest ? spec->digest : EVP_sha256()) > 0);
    int len = i2d_X509_REQ(request, &bytes);
    if (spec->damage)
        bytes[len - 3] ^= 1;
    buf_add(der, bytes, (size_t)len);
    OPENSSL_free(bytes);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    GENERAL_NAMES_free(names);
    X509_REQ_free(request);
}

static void request_pem(const struct buf *der, const char *label, struct buf *pem)
{
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio(bio, label, "", (unsigned char *)der->data, (long)der->len);
    take_bio(bio, pem);
}

static void assert_request(const struct buf *data, const struct buf *expected, const char *names)
{
    AUTO_BUF der = BUF_INIT;
    AUTO_STRLIST list = STRLIST_INIT;
    char spki[KEY_SPKI_BYTES], of_key[KEY_SPKI_BYTES];
    struct err err = ERR_INIT;
    if (!csr_read(data->data, data->len, "my.csr", &der, &list, spki, &err))
        fail_msg("%s", err.text);
    AUTO_FREE char *all = strlist_join(&list, " ");
    assert_string_equal(all, names);
    assert_int_equal(der.len, expected->len);
    assert_memory_equal(der.data, expected->data, der.len);
    assert_true(key_spki_sha256(p256, of_key, &err));
    assert_string_equal(spki, of_key);
    assert_int_equal(ERR_peek_error(), 0);
}

static void assert_request_refused(const char *data, size_t len, const char *part)
{
    AUTO_BUF der = BUF_INIT;
    AUTO_STRLIST list = STRLIST_INIT;
    char spki[KEY_SPKI_BYTES] = "untouched";
    struct err err = ERR_INIT;
    if (csr_read(data, len, "my.csr", &der, &list, spki, &err))
        fail_msg("accepted; expected: %s", part);
    assert_int_equal(err.code, ERR_CONFIG);
    assert_string_equal(err.subject, "my.csr");
    assert_has(err.text, part);
    assert_true(der.len == 0 && list.n == 0);
    assert_string_equal(spki, "untouched");
    assert_int_equal(ERR_peek_error(), 0);
}

static void assert_spec_refused(const struct request *spec, const char *part)
{
    AUTO_BUF der = BUF_INIT;
    write_request(spec, &der);
    assert_request_refused(der.data, der.len, part);
}

static const struct alt_name usual_names[] = {DNS("WWW.Example.org"),
                                              DNS("example.org"),
                                              DNS("*.example.org"),
                                              IP("\xc0\0\2\7"),
                                              IP("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"),
                                              DNS("example.org")};
#define USUAL .names = usual_names, .count = COUNT_OF(usual_names)
#define USUAL_TEXT "www.example.org example.org *.example.org 192.0.2.7 2001:db8::1"

static void requests_of_others_are_read(void **state)
{
    AUTO_BUF der = BUF_INIT;
    AUTO_BUF pem = BUF_INIT;
    AUTO_BUF old_label = BUF_INIT;
    AUTO_BUF dressed = BUF_SECRET;
    struct err err = ERR_INIT;
    (void)state;
    write_request(&(struct request){.cn = "Example.org", USUAL}, &der);
    assert_request(&der, &der, USUAL_TEXT);
    request_pem(&der, "CERTIFICATE REQUEST", &pem);
    assert_request(&pem, &der, USUAL_TEXT);
    request_pem(&der, "NEW CERTIFICATE REQUEST", &old_label);
    assert_request(&old_label, &der, USUAL_TEXT);
    buf_adds(&dressed, "Certificate Request:\r\n    Data: ...\r\n");
    assert_true(key_to_pem(p256, &dressed, &err));
    for (size_t i = 0; i + 1 < pem.len; i++) {
        if (pem.data[i] == '\n')
            buf_addc(&dressed, '\r');
        buf_addc(&dressed, pem.data[i]);
    }
    assert_request(&dressed, &der, USUAL_TEXT);
}

static void names_of_a_request(void **state)
{
    static const struct alt_name one[] = {DNS("example.org")};
    static const struct {
        const char *cn, *names;
        size_t count;
    } rows[] = {
        {"example.net", "example.net", 0},
        {"192.0.2.7", "192.0.2.7", 0},
        {"example.net", "example.org example.net", 1},
        {"EXAMPLE.org", "example.org", 1},
        {"My web server", "example.org", 1},
        {"server", "example.org", 1},
        {"b\xc3\xbc"
         "cher.example",
         "example.org", 1},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_BUF der = BUF_INIT;
        write_request(&(struct request){.cn = rows[i].cn, .names = one, .count = rows[i].count}, &der);
        assert_request(&der, &der, rows[i].names);
    }
}

static void ours_are_read_too(void **state)
{
    (void)state;
    AUTO_STRLIST names = list_of("example.org *.example.org 192.0.2.7 2001:db8::1");
    AUTO_BUF der = BUF_INIT;
    struct err err = ERR_INIT;
    assert_true(csr_make(p256, &names, &der, &err));
    assert_request(&der, &der, "example.org *.example.org 192.0.2.7 2001:db8::1");
}

static void names_that_make_a_request_useless(void **state)
{
    static const struct {
        struct alt_name name;
        const char *part;
    } rows[] = {
        {{GEN_EMAIL, "a@example.org", 13}, "another kind"},
        {{GEN_URI, "https://example.org", 19}, "another kind"},
        {{GEN_OTHERNAME, "x", 1}, "another kind"},
        {{GEN_DIRNAME, "x", 1}, "another kind"},
        {DNS("example.org\0.evil.example"), "is none"},
        {DNS(""), "is none"},
        {DNS("exa mple.org"), "is none"},
        {DNS("b\xfc"
             "cher.example"),
         "is none"},
        {DNS("localhost"), "localhost"},
        {DNS("exa/mple.org"), "exa/mple.org"},
        {DNS("192.0.2.7"), "as a DNS name"},
        {IP("\1\2\3"), "3 bytes"},
        {IP(""), "0 bytes"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct alt_name both[] = {DNS("example.org"), rows[i].name};
        assert_spec_refused(&(struct request){.names = both, .count = 2}, rows[i].part);
    }
    assert_spec_refused(&(struct request){.cn = NULL}, "no name");
    assert_spec_refused(&(struct request){.cn = "My web server"}, "no name");
    assert_spec_refused(&(struct request){USUAL, .second_san = true}, "cannot be read");
    assert_spec_refused(&(struct request){.cn = "example.org", .bad_extensions = true}, "cannot be read");
}

static void requests_that_are_signed_badly(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = {rsa_with(1024, 65537), rsa_with(2048, 3), EVP_EC_gen("P-521")};
    const char *const parts[] = {"type or size", "65537", "type or size"};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        assert_spec_refused(&(struct request){USUAL, .pkey = keys[i]}, parts[i]);
        EVP_PKEY_free(keys[i]);
    }
    assert_spec_refused(&(struct request){USUAL, .digest = EVP_sha1()}, "SHA1");
    assert_spec_refused(&(struct request){USUAL, .pkey = key_pkey(rsa), .digest = EVP_md5()}, "MD5");
    assert_spec_refused(&(struct request){USUAL, .damage = true}, "signature");
    assert_spec_refused(&(struct request){USUAL, .signed_by = key_pkey(other)}, "signature");
}

static void broken_request_files(void **state)
{
    AUTO_BUF der = BUF_INIT;
    AUTO_BUF pem = BUF_INIT;
    AUTO_BUF two = BUF_INIT;
    AUTO_BUF big = BUF_INIT;
    AUTO_BUF locked = BUF_INIT;
    AUTO_BUF key = BUF_SECRET;
    struct err err = ERR_INIT;
    (void)state;
    write_request(&(struct request){USUAL}, &der);
    request_pem(&der, "CERTIFICATE REQUEST", &pem);
    assert_request_refused(NULL, 0, "empty");
    assert_request_refused("", 0, "empty");
    assert_request_refused("hello", 5, "no certificate request");
    assert_request_refused("\0\0\0\0", 4, "no certificate request");
    for (size_t len = 1; len < der.len; len += 3)
        assert_request_refused(der.data, len, "no certificate request");
    for (size_t len = 1; len + 2 < pem.len; len += 11)
        assert_request_refused(pem.data, len, "no certificate request");
    buf_add(&two, pem.data, pem.len);
    buf_add(&two, pem.data, pem.len);
    assert_request_refused(two.data, two.len, "more than one");
    assert_true(key_to_pem(p256, &key, &err));
    assert_request_refused(key.data, key.len, "no certificate request");
    buf_add(&big, der.data, der.len);
    buf_addc(&big, 'x');
    assert_request_refused(big.data, big.len, "no certificate request");
    for (int i = 0; i < 130 * 1024; i++)
        buf_addc(&big, 'x');
    assert_request_refused(big.data, big.len, "too many");
    buf_adds(&locked, "-----BEGIN CERTIFICATE REQUEST-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,"
                      "00112233445566778899AABBCCDDEEFF\n\n");
    buf_adds(&locked, strchr(pem.data, '\n') + 1);
    assert_request_refused(locked.data, locked.len, "no certificate request"); /* and nobody is asked */
    ERR_clear_error();
}

/* Each byte of a request may be wrong. */
static void no_changed_request_passes(void **state)
{
    AUTO_BUF der = BUF_INIT;
    (void)state;
    write_request(&(struct request){.cn = "example.org", USUAL}, &der);
    for (size_t i = 0; i < der.len; i++) {
        AUTO_BUF copy = BUF_INIT;
        AUTO_BUF out = BUF_INIT;
        AUTO_STRLIST names = STRLIST_INIT;
        char spki[KEY_SPKI_BYTES];
        struct err err = ERR_INIT;
        buf_add(&copy, der.data, der.len);
        copy.data[i] = (char)(copy.data[i] ^ (1 << i % 8));
        if (csr_read(copy.data, copy.len, "r", &out, &names, spki, &err))
            fail_msg("byte %zu", i);
        ERR_clear_error();
    }
}

/* -- a small CA -------------------------------------------------------------------------------- */

struct spec {
    const char *cn, *o;
    const struct key *key; /* of the subject; NULL = p256 */
    X509 *issuer;          /* NULL = self-signed */
    const struct key *issuer_key;
    const struct alt_name *names;
    size_t name_count;
    int64_t from_s, to_s; /* relative to NOW_S; both 0 = yesterday to 89 days ahead */
    const char *serial;   /* hex; NULL = 01 */
    const char *aki;      /* hex */
    const char *raw_san;  /* the extension's bytes as they are */
    bool ca, second_san;
};

static void add_ext(X509 *cert, int nid, const void *der, int len, bool critical)
{
    ASN1_OCTET_STRING *octets = ASN1_OCTET_STRING_new();
    ASN1_OCTET_STRING_set(octets, der, len);
    X509_EXTENSION *ext = X509_EXTENSION_create_by_NID(NULL, nid, critical, octets);
    assert_int_equal(X509_add_ext(cert, ext, -1), 1);
    X509_EXTENSION_free(ext);
    ASN1_OCTET_STRING_free(octets);
}

static GENERAL_NAME *alt_name(const struct alt_name *name)
{
    GENERAL_NAME *entry = GENERAL_NAME_new();
    if (name->kind == GEN_OTHERNAME) {
        ASN1_TYPE *value = ASN1_TYPE_new();
        ASN1_STRING *text = ASN1_STRING_type_new(V_ASN1_UTF8STRING);
        ASN1_STRING_set(text, name->bytes, (int)name->len);
        ASN1_TYPE_set(value, V_ASN1_UTF8STRING, text);
        GENERAL_NAME_set0_othername(entry, OBJ_txt2obj("1.3.6.1.4.1.311.20.2.3", 1), value);
    } else if (name->kind == GEN_RID) {
        GENERAL_NAME_set0_value(entry, GEN_RID, OBJ_txt2obj("1.2.3.4", 1));
    } else if (name->kind == GEN_DIRNAME) {
        X509_NAME *directory = X509_NAME_new();
        X509_NAME_add_entry_by_txt(directory, "CN", MBSTRING_UTF8, (const unsigned char *)name->bytes,
                                   (int)name->len, -1, 0);
        GENERAL_NAME_set0_value(entry, GEN_DIRNAME, directory);
    } else {
        ASN1_STRING *text =
            ASN1_STRING_type_new(name->kind == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
        ASN1_STRING_set(text, name->bytes, (int)name->len);
        GENERAL_NAME_set0_value(entry, name->kind, text);
    }
    return entry;
}

static void set_san(X509 *cert, const struct spec *spec)
{
    if (spec->raw_san) {
        add_ext(cert, NID_subject_alt_name, spec->raw_san, (int)strlen(spec->raw_san), false);
        return;
    }
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    for (size_t i = 0; i < spec->name_count; i++)
        sk_GENERAL_NAME_push(names, alt_name(&spec->names[i]));
    unsigned char *der = NULL;
    int len = i2d_GENERAL_NAMES(names, &der);
    for (int i = 0; i <= (spec->second_san ? 1 : 0) && spec->name_count > 0; i++)
        add_ext(cert, NID_subject_alt_name, der, len, false);
    OPENSSL_free(der);
    GENERAL_NAMES_free(names);
}

static void set_aki(X509 *cert, const char *hex)
{
    long len = 0;
    unsigned char *der = NULL;
    AUTHORITY_KEYID *id = AUTHORITY_KEYID_new();
    unsigned char *bytes = OPENSSL_hexstr2buf(hex, &len);
    id->keyid = ASN1_OCTET_STRING_new();
    ASN1_OCTET_STRING_set(id->keyid, bytes, (int)len);
    int der_len = i2d_AUTHORITY_KEYID(id, &der);
    add_ext(cert, NID_authority_key_identifier, der, der_len, false);
    OPENSSL_free(der);
    OPENSSL_free(bytes);
    AUTHORITY_KEYID_free(id);
}

static void set_serial(X509 *cert, const char *hex)
{
    BIGNUM *number = NULL;
    BN_hex2bn(&number, hex);
    ASN1_INTEGER *serial = BN_to_ASN1_INTEGER(number, NULL);
    X509_set_serialNumber(cert, serial);
    ASN1_INTEGER_free(serial);
    BN_free(number);
}

static void set_times(X509 *cert, const struct spec *spec)
{
    bool usual = spec->from_s == 0 && spec->to_s == 0;
    ASN1_TIME *from = ASN1_TIME_set(NULL, (time_t)(NOW_S + (usual ? -DAY_S : spec->from_s)));
    ASN1_TIME *to = ASN1_TIME_set(NULL, (time_t)(NOW_S + (usual ? 89 * DAY_S : spec->to_s)));
    X509_set1_notBefore(cert, from);
    X509_set1_notAfter(cert, to);
    ASN1_TIME_free(from);
    ASN1_TIME_free(to);
}

static X509 *make_cert(const struct spec *spec)
{
    static const unsigned char is_ca[] = {0x30, 3, 1, 1, 0xff}, is_no_ca[] = {0x30, 0};
    const struct key *key = spec->key ? spec->key : p256;
    X509 *cert = X509_new();
    X509_NAME *subject = X509_NAME_new();
    if (spec->cn)
        X509_NAME_add_entry_by_NID(subject, NID_commonName, V_ASN1_UTF8STRING,
                                   (const unsigned char *)spec->cn, -1, -1, 0);
    if (spec->o)
        X509_NAME_add_entry_by_NID(subject, NID_organizationName, V_ASN1_UTF8STRING,
                                   (const unsigned char *)spec->o, -1, -1, 0);
    X509_set_version(cert, X509_VERSION_3);
    set_serial(cert, spec->serial ? spec->serial : "01");
    X509_set_subject_name(cert, subject);
    X509_set_issuer_name(cert, spec->issuer ? X509_get_subject_name(spec->issuer) : subject);
    X509_NAME_free(subject);
    set_times(cert, spec);
    X509_set_pubkey(cert, key_pkey(key));
    add_ext(cert, NID_basic_constraints, spec->ca ? is_ca : is_no_ca, spec->ca ? 5 : 2, true);
    set_san(cert, spec);
    if (spec->aki)
        set_aki(cert, spec->aki);
    assert_true(X509_sign(cert, key_pkey(spec->issuer ? spec->issuer_key : key), EVP_sha256()) > 0);
    return cert;
}

static void add_pem(struct buf *pem, X509 *cert)
{
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, cert);
    take_bio(bio, pem);
}

static struct cert_chain *parse(const struct buf *pem)
{
    struct err err = ERR_INIT;
    struct cert_chain *chain = NULL;
    if (!cert_chain_parse(pem->data, pem->len, "the CA's answer", &chain, &err))
        fail_msg("%s", err.text);
    return chain;
}

/* One certificate on its own, already a chain; `spec` describes it. */
static struct cert_chain *single(const struct spec *spec)
{
    AUTO_BUF pem = BUF_INIT;
    X509 *cert = make_cert(spec);
    add_pem(&pem, cert);
    X509_free(cert);
    return parse(&pem);
}

static void assert_unparsable(const char *pem, size_t len, const char *part)
{
    struct err err = ERR_INIT;
    struct cert_chain *chain = NULL;
    if (cert_chain_parse(pem, len, "the CA's answer", &chain, &err))
        fail_msg("accepted; expected: %s", part);
    assert_null(chain);
    assert_int_equal(err.code, ERR_CRYPTO);
    assert_string_equal(err.subject, "the CA's answer");
    assert_has(err.text, part);
    assert_int_equal(ERR_peek_error(), 0);
}

/* `part` NULL: the check must pass. */
static void assert_check(const struct cert_chain *chain, const struct key *key, const char *names,
                         int64_t now_s, const char *part)
{
    struct err err = ERR_INIT;
    AUTO_STRLIST list = list_of(names ? names : "");
    bool ok = cert_chain_check(chain, key, names ? &list : NULL, now_s, &err);
    if (ok != !part)
        fail_msg("%s; expected: %s", ok ? "accepted" : err.text, part ? part : "to be accepted");
    if (!part)
        return;
    assert_int_equal(err.code, ERR_MISMATCH);
    assert_string_equal(err.subject, "the CA's answer");
    assert_has(err.text, part);
}

static const struct alt_name two_names[] = {DNS("example.org"), DNS("www.example.org")};
#define TWO_NAMES "example.org www.example.org"
#define SPEC_TWO .names = two_names, .name_count = 2

/* leaf (p256) <- intermediate (p384) <- root (rsa) */
static struct {
    X509 *root, *mid, *leaf;
    struct buf pem; /* leaf and intermediate */
} ca;

static int make_ca(void **state)
{
    (void)state;
    ca.root = make_cert(&(struct spec){.cn = "Root", .key = rsa, .ca = true});
    ca.mid = make_cert(
        &(struct spec){.cn = "Intermediate", .key = p384, .issuer = ca.root, .issuer_key = rsa, .ca = true});
    ca.leaf = make_cert(&(struct spec){SPEC_TWO, .issuer = ca.mid, .issuer_key = p384});
    add_pem(&ca.pem, ca.leaf);
    add_pem(&ca.pem, ca.mid);
    return 0;
}

static int free_ca(void **state)
{
    (void)state;
    X509_free(ca.root);
    X509_free(ca.mid);
    X509_free(ca.leaf);
    buf_clear(&ca.pem);
    return 0;
}

/* -- parsing ----------------------------------------------------------------------------------- */

static void chain_is_parsed_and_written_again(void **state)
{
    AUTO_BUF cert = BUF_INIT;
    AUTO_BUF rest = BUF_INIT;
    AUTO_BUF full = BUF_INIT;
    AUTO_BUF one = BUF_INIT;
    AUTO_BUF other_cert = BUF_INIT;
    struct err err = ERR_INIT;
    (void)state;
    AUTO_CHAIN *chain = parse(&ca.pem);
    add_pem(&one, ca.leaf);
    add_pem(&other_cert, ca.mid);
    assert_true(cert_chain_pem(chain, &cert, &rest, &full, &err));
    assert_string_equal(cert.data, one.data);
    assert_string_equal(rest.data, other_cert.data);
    assert_string_equal(full.data, ca.pem.data);
    assert_true(cert_chain_pem(chain, NULL, NULL, &full, &err));
    assert_int_equal(full.len, 2 * ca.pem.len);
    assert_true(cert_chain_pem(chain, NULL, NULL, NULL, &err));
    AUTO_CHAIN *alone = parse(&one);
    buf_reset(&rest);
    assert_true(cert_chain_pem(alone, NULL, &rest, NULL, &err));
    assert_int_equal(rest.len, 0);
    cert_chain_free(NULL);
}

/* What real CAs, editors and tools do to a PEM text. */
static void untidy_pem_is_read(void **state)
{
    enum { PREAMBLE, CRLF, BLANKS, NO_END, SPACES, BOM, KINDS };
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        AUTO_BUF text = BUF_INIT;
        AUTO_BUF full = BUF_INIT;
        struct err err = ERR_INIT;
        if (kind == PREAMBLE)
            buf_adds(&text, "Certificate:\n    Data: \xe9\n subject=CN = example.org\n---\nissuer=CA\n\n");
        if (kind == BOM)
            buf_adds(&text, "\xef\xbb\xbf");
        for (size_t i = 0; i < ca.pem.len; i++) {
            const char *before = kind == CRLF ? "\r" : kind == BLANKS ? "\n\n" : kind == SPACES ? " \t" : "";
            if (ca.pem.data[i] == '\n')
                buf_adds(&text, before);
            if (kind != NO_END || i + 1 < ca.pem.len)
                buf_addc(&text, ca.pem.data[i]);
        }
        AUTO_CHAIN *chain = parse(&text);
        assert_true(cert_chain_pem(chain, NULL, NULL, &full, &err));
        assert_string_equal(full.data, ca.pem.data); /* tidy again */
    }
}

static void chains_may_have_ten_certificates(void **state)
{
    AUTO_BUF pem = BUF_INIT;
    (void)state;
    for (int i = 0; i < 10; i++)
        add_pem(&pem, ca.root);
    AUTO_CHAIN *chain = parse(&pem);
    assert_non_null(chain);
    add_pem(&pem, ca.root);
    assert_unparsable(pem.data, pem.len, "more than 10");
}

static void add_changed(struct buf *out, const char *from, const char *to)
{
    const char *at = strstr(ca.pem.data, from);
    assert_non_null(at);
    buf_add(out, ca.pem.data, (size_t)(at - ca.pem.data));
    buf_adds(out, to);
    buf_adds(out, at + strlen(from));
}

static void broken_pem_is_refused(void **state)
{
    (void)state;
    assert_unparsable(NULL, 0, "empty");
    assert_unparsable("", 0, "empty");
    assert_unparsable("\n", 1, "no certificate");
    assert_unparsable("<html>busy</html>", 17, "no certificate");
    assert_unparsable("\xef\xbb\xbf", 3, "no certificate");
    static const char empty[] = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    assert_unparsable(empty, strlen(empty), "line 2");
    static const char junk[] = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    assert_unparsable(junk, strlen(junk), "not a certificate");

    const struct {
        const char *from, *to, *part;
    } changes[] = {
        {"-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----", "no end"},
        {"-----END CERTIFICATE-----\n-----BEGIN", "-----END CERTIFICATE----------BEGIN", "no end"},
        {"-----BEGIN CERTIFICATE-----\nMII", "-----BEGIN CERTIFICATE-----\nMI", "base64"},
        {"-----BEGIN CERTIFICATE-----\nMII", "-----BEGIN CERTIFICATE-----\nMI!", "base64"},
        {"-----BEGIN CERTIFICATE-----\nMII", "-----BEGIN CERTIFICATE-----\nMI=", "base64"},
        {"-----BEGIN CERTIFICATE-----\nMII", "-----BEGIN CERTIFICATE-----\nAAAAMII", "not a certificate"},
        {"-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE----", "not the beginning"},
        {"-----BEGIN CERTIFICATE-----", "x-----BEGIN CERTIFICATE-----", "not the beginning"},
        {"-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----", "not the beginning"},
        {"-----BEGIN CERTIFICATE-----", "-----BEGIN TRUSTED CERTIFICATE-----", "not the beginning"},
        {"-----BEGIN CERTIFICATE-----", "-----BEGIN X509 CRL-----", "not the beginning"},
        {"\n-----END CERTIFICATE-----", "\nAAAA\n-----END CERTIFICATE-----",
         ""}, /* bytes after the certificate */
    };
    for (size_t i = 0; i < COUNT_OF(changes); i++) {
        AUTO_BUF pem = BUF_INIT;
        add_changed(&pem, changes[i].from, changes[i].to);
        assert_unparsable(pem.data, pem.len, changes[i].part);
    }
}

/* Cut anywhere, the text is refused, or it is the whole first certificate alone. */
static void every_truncation_is_noticed(void **state)
{
    AUTO_BUF one = BUF_INIT;
    (void)state;
    add_pem(&one, ca.leaf);
    for (size_t len = 0; len < ca.pem.len - 1; len++) {
        AUTO_FREE char *cut = mem_ndup(ca.pem.data, len); /* a copy, so that reading beyond it is seen */
        struct err err = ERR_INIT;
        AUTO_CHAIN *chain = NULL;
        bool ok = cert_chain_parse(cut, len, "cut", &chain, &err);
        bool whole = len >= one.len - 1 && len <= one.len + strlen("-----BEGIN") - 1;
        if (ok != whole)
            fail_msg("cut at %zu of %zu: %s", len, ca.pem.len, ok ? "accepted" : err.text);
    }
}

static void nul_is_refused_wherever_it_is(void **state)
{
    (void)state;
    for (size_t at = 0; at < ca.pem.len; at += 37) {
        AUTO_BUF pem = BUF_INIT;
        buf_add(&pem, ca.pem.data, ca.pem.len);
        pem.data[at] = '\0';
        assert_unparsable(pem.data, pem.len, "NUL");
    }
    AUTO_BUF pem = BUF_INIT;
    buf_add(&pem, ca.pem.data, ca.pem.len + 1); /* at the very end, too */
    assert_unparsable(pem.data, pem.len, "NUL");
}

static void oversized_pem_is_refused(void **state)
{
    AUTO_BUF pem = BUF_INIT;
    (void)state;
    buf_add(&pem, ca.pem.data, ca.pem.len);
    while (pem.len <= 256 * 1024)
        buf_adds(&pem, "text\n");
    assert_unparsable(pem.data, pem.len, "too many");
}

static void private_keys_do_not_belong_in_a_chain(void **state)
{
    (void)state;
    for (int before = 0; before <= 1; before++) {
        AUTO_BUF pem = BUF_SECRET;
        struct err err = ERR_INIT;
        if (!before)
            buf_add(&pem, ca.pem.data, ca.pem.len);
        assert_true(key_to_pem(p256, &pem, &err));
        if (before)
            buf_add(&pem, ca.pem.data, ca.pem.len);
        assert_unparsable(pem.data, pem.len, "private key");
    }
    static const char *const labels[] = {"RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY",
                                         "OPENSSH PRIVATE KEY"};
    for (size_t i = 0; i < COUNT_OF(labels); i++) {
        AUTO_BUF pem = BUF_INIT;
        buf_add(&pem, ca.pem.data, ca.pem.len);
        buf_addf(&pem, "-----BEGIN %s-----\nAAAA\n-----END %s-----\n", labels[i], labels[i]);
        assert_unparsable(pem.data, pem.len, "private key");
    }
}

static void overlong_serial_is_refused(void **state)
{
    AUTO_BUF pem = BUF_INIT;
    (void)state;
    X509 *cert =
        make_cert(&(struct spec){SPEC_TWO, .serial = "80112233445566778899AABBCCDDEEFF00112233445566"});
    add_pem(&pem, cert);
    X509_free(cert);
    assert_unparsable(pem.data, pem.len, "serial");
}

/* -- checking ---------------------------------------------------------------------------------- */

static void good_chains_pass(void **state)
{
    AUTO_BUF all = BUF_INIT;
    (void)state;
    AUTO_CHAIN *chain = parse(&ca.pem);
    assert_check(chain, p256, TWO_NAMES, NOW_S, NULL);
    assert_check(chain, p256, "www.example.org example.org", NOW_S, NULL);
    assert_check(chain, NULL, TWO_NAMES, NOW_S, NULL);
    assert_check(chain, p256, NULL, NOW_S, NULL);
    buf_add(&all, ca.pem.data, ca.pem.len);
    add_pem(&all, ca.root);
    AUTO_CHAIN *with_root = parse(&all);
    assert_check(with_root, p256, TWO_NAMES, NOW_S, NULL);
    AUTO_CHAIN *alone = single(&(struct spec){SPEC_TWO});
    assert_check(alone, p256, TWO_NAMES, NOW_S, NULL);
}

static void keys_of_every_type_match_their_certificate(void **state)
{
    (void)state;
    struct key *keys[] = {p256, p384, rsa};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        AUTO_CHAIN *chain = single(&(struct spec){SPEC_TWO, .key = keys[i]});
        for (size_t k = 0; k < COUNT_OF(keys); k++)
            assert_check(chain, keys[k], TWO_NAMES, NOW_S, i == k ? NULL : "private key");
        assert_check(chain, other, TWO_NAMES, NOW_S, "private key");
    }
}

static void names_must_be_exactly_those_ordered(void **state)
{
    (void)state;
    AUTO_CHAIN *chain = parse(&ca.pem);
    assert_check(chain, p256, "example.org", NOW_S, "not ordered: www.example.org");
    assert_check(chain, p256, TWO_NAMES " mail.example.org", NOW_S,
                 "lacks a name that was ordered: mail.example.org");
    assert_check(chain, p256, "example.org www.example.net", NOW_S, "www.example.net");
    assert_check(chain, p256, "example.org example.org", NOW_S, "www.example.org");
    assert_check(chain, p256, "*.example.org example.org", NOW_S, "*.example.org");
    assert_check(chain, p256, "", NOW_S, "no names");
    AUTO_CHAIN *wild =
        single(&(struct spec){.names = (struct alt_name[]){DNS("*.example.org")}, .name_count = 1});
    assert_check(wild, p256, "*.example.org", NOW_S, NULL);
    assert_check(wild, p256, "www.example.org", NOW_S, "www.example.org");
    AUTO_CHAIN *nameless = single(&(struct spec){.cn = "example.org"});
    assert_check(nameless, p256, "example.org", NOW_S, "lacks");
}

static void letter_case_does_not_matter(void **state)
{
    (void)state;
    AUTO_CHAIN *chain = single(&(struct spec){
        .names = (struct alt_name[]){DNS("Example.ORG"), DNS("www.EXAMPLE.org")}, .name_count = 2});
    assert_check(chain, p256, TWO_NAMES, NOW_S, NULL);
    assert_check(chain, p256, "EXAMPLE.org WWW.example.org", NOW_S, NULL);
}

static void addresses_are_compared_as_addresses(void **state)
{
    static const struct alt_name addresses[] = {IP("\xc0\0\2\7"),
                                                IP("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1")};
    (void)state;
    AUTO_CHAIN *chain = single(&(struct spec){.names = addresses, .name_count = 2});
    assert_check(chain, p256, "192.0.2.7 2001:db8::1", NOW_S, NULL);
    assert_check(chain, p256, "2001:0DB8:0:0::0001 192.0.2.7", NOW_S, NULL);
    assert_check(chain, p256, "192.0.2.8 2001:db8::1", NOW_S, "192.0.2.8");
    assert_check(chain, p256, "192.0.2.7", NOW_S, "2001:db8::1");
    /* an address written as a dNSName is not an address */
    AUTO_CHAIN *fake =
        single(&(struct spec){.names = (struct alt_name[]){DNS("192.0.2.7")}, .name_count = 1});
    assert_check(fake, p256, "192.0.2.7", NOW_S, "lacks");
    AUTO_CHAIN *fake6 =
        single(&(struct spec){.names = (struct alt_name[]){DNS("2001:db8::1")}, .name_count = 1});
    assert_check(fake6, p256, "2001:db8::1", NOW_S, "lacks");
}

static char overlong_name[301]; /* filled by main() */

static void odd_names_neither_crash_nor_match(void **state)
{
    static const struct alt_name odd[] = {
        {GEN_OTHERNAME, "example.org", 11},
        {GEN_URI, "https://example.org/", 20},
        {GEN_EMAIL, "root@example.org", 16},
        {GEN_DIRNAME, "example.org", 11},
        {GEN_RID, "", 0},
        {GEN_DNS, overlong_name, 300},
        {GEN_DNS, overlong_name, 254},
        {GEN_DNS, "", 0},
        {GEN_DNS, "example.org\0.evil.test", 22},
        {GEN_DNS, "example.org\0", 12},
        {GEN_DNS, "\0", 1},
        {GEN_DNS, "example.org\n", 12},
        {GEN_DNS,
         "b\xc3\xbc"
         "cher.example",
         13},
        {GEN_DNS, "exam ple.org", 12},
        {GEN_IPADD, "", 0},
        {GEN_IPADD, "\xc0\0\2", 3},
        {GEN_IPADD, "\xc0\0\2\7\xff\xff\xff\0", 8},
        {GEN_IPADD, "12345678901234567", 17},
        {GEN_IPADD, "12345678901234567890123456789012", 32},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(odd); i++) {
        struct cert_info info = CERT_INFO_INIT;
        struct err err = ERR_INIT;
        /* beside the right names: one too many */
        AUTO_CHAIN *beside = single(&(struct spec){
            .names = (struct alt_name[]){two_names[0], odd[i], two_names[1]}, .name_count = 3});
        assert_check(beside, p256, TWO_NAMES, NOW_S, "of a kind that was not ordered");
        assert_true(cert_chain_info(beside, &info, &err));
        assert_int_equal(info.names.n, 2);
        assert_string_equal(info.names.v[1], "www.example.org");
        cert_info_clear(&info);
        /* in the place of a right name: that one is missing */
        AUTO_CHAIN *instead =
            single(&(struct spec){.names = (struct alt_name[]){odd[i], two_names[1]}, .name_count = 2});
        assert_check(instead, p256, TWO_NAMES, NOW_S, "lacks a name that was ordered: example.org");
    }
}

static void a_name_of_253_octets_is_a_name(void **state)
{
    (void)state;
    AUTO_FREE char *name = mem_ndup(overlong_name, 253);
    AUTO_CHAIN *chain =
        single(&(struct spec){.names = (struct alt_name[]){{GEN_DNS, name, 253}}, .name_count = 1});
    assert_check(chain, p256, name, NOW_S, NULL);
}

static void unreadable_names_are_refused(void **state)
{
    static const char *const raw[] = {"garbage", "\x30\x05\x82\x7f\x61\x62\x63", "\x04\x01x"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(raw); i++) {
        struct cert_info info = CERT_INFO_INIT;
        struct err err = ERR_INIT;
        AUTO_CHAIN *chain = single(&(struct spec){.raw_san = raw[i]});
        assert_check(chain, p256, TWO_NAMES, NOW_S, "cannot be read");
        assert_false(cert_chain_info(chain, &info, &err));
        assert_int_equal(info.names.n, 0);
        assert_has(err.text, "cannot be read");
    }
    AUTO_CHAIN *twice = single(&(struct spec){SPEC_TWO, .second_san = true});
    assert_check(twice, p256, TWO_NAMES, NOW_S, "cannot be read");
}

static void too_many_names_make_a_short_message(void **state)
{
    struct alt_name names[200];
    char texts[200][32];
    struct err err = ERR_INIT;
    AUTO_STRLIST wanted = list_of(TWO_NAMES);
    (void)state;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        snprintf(texts[i], sizeof texts[i], "n%zu.example.net", i);
        names[i] = (struct alt_name){GEN_DNS, texts[i], strlen(texts[i])};
    }
    AUTO_CHAIN *chain = single(&(struct spec){.names = names, .name_count = COUNT_OF(names)});
    assert_false(cert_chain_check(chain, p256, &wanted, NOW_S, &err));
    assert_has(err.text, "n4.example.net and 195 more");
    assert_has(err.text, "example.org, www.example.org;");
    assert_hasnt(err.text, "n5.example.net");
}

static void dates_are_checked(void **state)
{
    const int64_t end_s = NOW_S + 89 * DAY_S, begin_s = NOW_S - DAY_S;
    (void)state;
    AUTO_CHAIN *chain = parse(&ca.pem);
    assert_check(chain, p256, TWO_NAMES, end_s - 1, NULL);
    assert_check(chain, p256, TWO_NAMES, end_s, "expired");
    assert_check(chain, p256, TWO_NAMES, end_s + 1000 * (int64_t)DAY_S, "expired");
    assert_check(chain, p256, TWO_NAMES, begin_s, NULL);
    assert_check(chain, p256, TWO_NAMES, begin_s - 3600, NULL); /* our clock may be an hour late */
    assert_check(chain, p256, TWO_NAMES, begin_s - 3601, "not valid before 2027-01-14");
    AUTO_CHAIN *backwards = single(&(struct spec){SPEC_TWO, .from_s = 2 * DAY_S, .to_s = DAY_S});
    assert_check(backwards, p256, TWO_NAMES, NOW_S, "before it begins");
    AUTO_CHAIN *instant = single(&(struct spec){SPEC_TWO, .from_s = DAY_S, .to_s = DAY_S});
    assert_check(instant, p256, TWO_NAMES, NOW_S, "before it begins");
    AUTO_CHAIN *century = single(&(struct spec){SPEC_TWO, .from_s = -DAY_S, .to_s = INT64_C(36500) * DAY_S});
    assert_check(century, p256, TWO_NAMES, NOW_S, NULL);
    struct err err = ERR_INIT;
    assert_false(cert_chain_check(chain, p256, NULL, end_s, &err));
    assert_has(err.advice, "clock");
}

static void a_ca_is_not_a_server(void **state)
{
    (void)state;
    AUTO_CHAIN *chain = single(&(struct spec){SPEC_TWO, .ca = true});
    assert_check(chain, p256, TWO_NAMES, NOW_S, "a CA's");
    assert_check(chain, NULL, NULL, NOW_S, "a CA's");
}

static void links_are_checked(void **state)
{
    X509 *namesake = make_cert(
        &(struct spec){.cn = "Intermediate", .key = other, .issuer = ca.root, .issuer_key = rsa, .ca = true});
    X509 *forged = make_cert(&(struct spec){SPEC_TWO, .issuer = ca.mid, .issuer_key = other});
    X509 *stranger = make_cert(&(struct spec){.cn = "Another CA", .key = p384, .ca = true});
    X509 *renamed = make_cert(&(struct spec){SPEC_TWO, .issuer = stranger, .issuer_key = p384});
    X509 *const chains[][4] = {
        {ca.leaf, ca.root},         /* one left out */
        {ca.leaf, ca.mid, ca.leaf}, /* going down again */
        {ca.leaf, ca.root, ca.mid}, /* reordered */
        {ca.leaf, ca.mid, ca.mid},  /* repeated */
        {ca.leaf, namesake},        /* the right name, another key */
        {forged, ca.mid},           /* the right name, signed by another key */
        {renamed, ca.mid},          /* the right key, another name */
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(chains); i++) {
        AUTO_BUF pem = BUF_INIT;
        for (size_t n = 0; n < 4 && chains[i][n]; n++)
            add_pem(&pem, chains[i][n]);
        AUTO_CHAIN *chain = parse(&pem);
        assert_check(chain, p256, TWO_NAMES, NOW_S, "is not signed by the next one");
    }
    AUTO_BUF pem = BUF_INIT;
    add_pem(&pem, ca.mid);
    add_pem(&pem, ca.leaf);
    AUTO_CHAIN *upside_down = parse(&pem);
    assert_check(upside_down, p256, TWO_NAMES, NOW_S, "first certificate is a CA's");
    X509_free(namesake);
    X509_free(forged);
    X509_free(stranger);
    X509_free(renamed);
}

/* A single flipped bit of the leaf must not go through. */
static void a_changed_leaf_is_not_signed(void **state)
{
    unsigned char *der = NULL;
    (void)state;
    int len = i2d_X509(ca.leaf, &der);
    int parsed = 0;
    for (int i = 0; i < len; i++) {
        der[i] ^= 1;
        const unsigned char *at = der;
        X509 *changed = d2i_X509(NULL, &at, len);
        if (changed && at == der + len) {
            AUTO_BUF pem = BUF_INIT;
            struct err err = ERR_INIT;
            add_pem(&pem, changed);
            add_pem(&pem, ca.mid);
            AUTO_CHAIN *chain = NULL;
            if (cert_chain_parse(pem.data, pem.len, "x", &chain, &err)) {
                AUTO_STRLIST names = list_of(TWO_NAMES);
                parsed++;
                if (cert_chain_check(chain, p256, &names, NOW_S, &err))
                    fail_msg("byte %d of the leaf can be changed", i);
            }
        }
        X509_free(changed);
        der[i] ^= 1;
    }
    OPENSSL_free(der);
    ERR_clear_error();
    assert_true(parsed > 100);
}

/* -- describing -------------------------------------------------------------------------------- */

static void info_of_a_leaf(void **state)
{
    static const struct alt_name names[] = {DNS("Example.ORG"), DNS("*.example.org"), IP("\xc0\0\2\7"),
                                            IP("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1")};
    struct cert_info info = CERT_INFO_INIT;
    unsigned char hash[32], *der = NULL;
    char hex[65];
    struct err err = ERR_INIT;
    AUTO_BUF pem = BUF_INIT;
    (void)state;
    X509 *cert = make_cert(&(struct spec){
        .names = names, .name_count = 4, .issuer = ca.mid, .issuer_key = p384, .serial = "7F01"});
    add_pem(&pem, cert);
    AUTO_CHAIN *chain = parse(&pem);
    for (int i = 0; i < 2; i++) /* twice: it clears what was there */
        assert_true(cert_chain_info(chain, &info, &err));
    AUTO_FREE char *all = strlist_join(&info.names, " ");
    assert_string_equal(all, "example.org *.example.org 192.0.2.7 2001:db8::1");
    assert_true(info.not_before_s == NOW_S - DAY_S);
    assert_true(info.not_after_s == NOW_S + 89 * DAY_S);
    assert_string_equal(info.serial, "7f01");
    assert_string_equal(info.issuer, "Intermediate");
    assert_string_equal(info.key_type, "ecdsa-p256");
    assert_string_equal(info.ari_id, "");
    X509_digest(cert, EVP_sha256(), hash, NULL);
    for (size_t i = 0; i < sizeof hash; i++)
        snprintf(hex + 2 * i, 3, "%02x", hash[i]);
    assert_string_equal(info.sha256, hex);
    int len = i2d_X509(cert, &der);
    cert_sha256(der, (size_t)len, hex);
    assert_string_equal(info.sha256, hex);
    OPENSSL_free(der);
    X509_free(cert);
    cert_info_clear(&info);
    assert_int_equal(info.names.n, 0);
}

static void hash_of_known_bytes(void **state)
{
    char hex[65];
    (void)state;
    cert_sha256("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* RFC 9773 section 4.1, and what may go wrong with its two halves. */
static void ari_ids(void **state)
{
    static const char aki[] = "69885B6B87464041E1B37B847BA0AE2CDE01C8D4";
    static const char aki_of_120[] =
        "00000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "00000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "00000000000000000000000000000000000000000000000000000000000000000000000000000000";
    static const struct {
        const char *aki, *serial, *serial_hex, *id;
    } rows[] = {
        {aki, "0087654321", "0087654321", "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"},
        {aki, "87654321", "0087654321", "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"},
        {aki, "01", "01", "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AQ"},
        {aki, "00", "00", "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AA"},
        {aki, "-01", "ff", "aYhba4dGQEHhs3uEe6CuLN4ByNQ._w"}, /* negative, which some CAs did */
        {aki, "FF112233445566778899AABBCCDDEEFF00112233", "00ff112233445566778899aabbccddeeff00112233",
         "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AP8RIjNEVWZ3iJmqu8zd7v8AESIz"},
        {NULL, "01", "01", ""},
        {"", "01", "01", ""},
        {aki_of_120, "01", "01", ""}, /* longer than any CA's: none rather than half of one */
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct cert_info info = CERT_INFO_INIT;
        struct err err = ERR_INIT;
        AUTO_CHAIN *chain = single(&(struct spec){SPEC_TWO, .aki = rows[i].aki, .serial = rows[i].serial});
        assert_true(cert_chain_info(chain, &info, &err));
        assert_string_equal(info.serial, rows[i].serial_hex);
        assert_string_equal(info.ari_id, rows[i].id);
        cert_info_clear(&info);
    }
}

static void longest_serial_fits(void **state)
{
    struct cert_info info = CERT_INFO_INIT;
    struct err err = ERR_INIT;
    (void)state;
    AUTO_CHAIN *chain =
        single(&(struct spec){SPEC_TWO, .serial = "80112233445566778899AABBCCDDEEFF001122334455"});
    assert_true(cert_chain_info(chain, &info, &err));
    assert_string_equal(info.serial, "0080112233445566778899aabbccddeeff001122334455");
    cert_info_clear(&info);
}

static void issuers_as_people_see_them(void **state)
{
    char wide[301];
    for (size_t i = 0; i + 1 < sizeof wide; i += 2)
        memcpy(wide + i, "\xc3\xa9", 3);
    const struct {
        const char *cn, *o, *shown;
    } rows[] = {
        {"R11", "Let's Encrypt", "R11"},
        {NULL, "Let's Encrypt", "Let's Encrypt"},
        {NULL, NULL, ""},
        {"\033[31mred\033[0m\n\tx", NULL, "?[31mred?[0m??x"},
        {"B\xc3\xbc"
         "cher",
         NULL,
         "B\xc3\xbc"
         "cher"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct cert_info info = CERT_INFO_INIT;
        struct err err = ERR_INIT;
        AUTO_CHAIN *chain = single(&(struct spec){SPEC_TWO, .cn = rows[i].cn, .o = rows[i].o});
        assert_true(cert_chain_info(chain, &info, &err));
        assert_string_equal(info.issuer, rows[i].shown);
        cert_info_clear(&info);
    }
    struct cert_info info = CERT_INFO_INIT;
    struct err err = ERR_INIT;
    AUTO_CHAIN *chain = single(&(struct spec){SPEC_TWO, .cn = wide});
    assert_true(cert_chain_info(chain, &info, &err));
    assert_int_equal(strlen(info.issuer), 126); /* 127 would cut a letter in two */
    assert_memory_equal(info.issuer, wide, 126);
    cert_info_clear(&info);
}

static void key_types_as_people_see_them(void **state)
{
    (void)state;
    const struct {
        struct key *key;
        const char *words;
    } rows[] = {{p256, "ecdsa-p256"}, {p384, "ecdsa-p384"}, {rsa, "rsa-2048"}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct cert_info info = CERT_INFO_INIT;
        struct err err = ERR_INIT;
        AUTO_CHAIN *chain = single(&(struct spec){SPEC_TWO, .key = rows[i].key});
        assert_true(cert_chain_info(chain, &info, &err));
        assert_string_equal(info.key_type, rows[i].words);
        cert_info_clear(&info);
    }
    const struct {
        EVP_PKEY *pkey;
        const char *words;
    } foreign[] = {{EVP_EC_gen("P-521"), "ecdsa-p521"},
                   {EVP_EC_gen("secp256k1"), "ecdsa-secp256k1"},
                   {EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), "ed25519"},
                   {rsa_with(1024, 3), "rsa-1024"}};
    for (size_t i = 0; i < COUNT_OF(foreign); i++) {
        struct cert_info info = CERT_INFO_INIT;
        struct err err = ERR_INIT;
        AUTO_BUF pem = BUF_INIT;
        X509 *cert = make_cert(&(struct spec){SPEC_TWO, .issuer = ca.mid, .issuer_key = p384});
        X509_set_pubkey(cert, foreign[i].pkey);
        X509_sign(cert, key_pkey(p384), EVP_sha256());
        add_pem(&pem, cert);
        X509_free(cert);
        EVP_PKEY_free(foreign[i].pkey);
        AUTO_CHAIN *chain = parse(&pem);
        assert_true(cert_chain_info(chain, &info, &err));
        assert_string_equal(info.key_type, foreign[i].words);
        assert_check(chain, p256, TWO_NAMES, NOW_S, "private key");
        cert_info_clear(&info);
    }
}

/* A point that is not on its curve is no key, whatever the certificate calls it. */
static void a_damaged_key_has_no_type(void **state)
{
    (void)state;
    for (size_t bit = 0; bit < 8; bit++) {
        struct cert_info info = CERT_INFO_INIT;
        struct err err = ERR_INIT;
        AUTO_BUF pem = BUF_INIT;
        unsigned char *der = NULL;
        int len = i2d_X509(ca.leaf, &der);
        const ASN1_BIT_STRING *point = X509_get0_pubkey_bitstr(ca.leaf);
        unsigned char *inside = memmem(der, (size_t)len, ASN1_STRING_get0_data(point), 65);
        assert_non_null(inside);
        inside[64] ^= (unsigned char)(1u << bit);
        const unsigned char *at = der;
        X509 *damaged = d2i_X509(NULL, &at, len);
        assert_non_null(damaged);
        add_pem(&pem, damaged);
        AUTO_CHAIN *chain = parse(&pem);
        assert_true(cert_chain_info(chain, &info, &err));
        assert_string_equal(info.key_type, "unknown");
        assert_check(chain, p256, TWO_NAMES, NOW_S, "private key");
        cert_info_clear(&info);
        X509_free(damaged);
        OPENSSL_free(der);
    }
}

/* What --preferred-chain looks at, and what revocation sends. */
static void issuers_of_a_chain(void **state)
{
    (void)state;
    AUTO_BUF pem = BUF_INIT;
    AUTO_STRLIST issuers = list_of("before");
    AUTO_BUF der = BUF_INIT;
    struct err err = ERR_INIT;
    unsigned char *expected = NULL;
    X509 *leaf = make_cert(&(struct spec){SPEC_TWO, .issuer = ca.mid, .issuer_key = p384});
    add_pem(&pem, leaf);
    add_pem(&pem, ca.mid);
    AUTO_CHAIN *chain = parse(&pem);
    assert_true(cert_chain_issuers(chain, &issuers, &err));
    AUTO_FREE char *all = strlist_join(&issuers, "|");
    assert_string_equal(all, "before|Intermediate|Root");
    assert_true(cert_chain_leaf_der(chain, &der, &err));
    int len = i2d_X509(leaf, &expected);
    assert_int_equal(der.len, len);
    assert_memory_equal(der.data, expected, der.len);
    OPENSSL_free(expected);
    X509_free(leaf);
    AUTO_CHAIN *nameless = single(&(struct spec){SPEC_TWO, .cn = NULL, .o = NULL});
    AUTO_STRLIST none = STRLIST_INIT;
    assert_true(cert_chain_issuers(nameless, &none, &err));
    assert_int_equal(none.n, 1);
    assert_string_equal(none.v[0], "");
}

static void spki_of_a_leaf_is_that_of_its_key(void **state)
{
    (void)state;
    struct key *keys[] = {p256, p384, rsa};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        struct cert_info info = CERT_INFO_INIT;
        struct err err = ERR_INIT;
        char spki[KEY_SPKI_BYTES];
        AUTO_CHAIN *chain = single(&(struct spec){SPEC_TWO, .key = keys[i]});
        assert_true(cert_chain_info(chain, &info, &err));
        assert_true(key_spki_sha256(keys[i], spki, &err));
        assert_string_equal(info.spki, spki);
        cert_info_clear(&info);
        assert_string_equal(info.spki, "");
    }
}

int main(void)
{
    for (size_t i = 0; i < 300; i++)
        overlong_name[i] = i % 50 == 49 ? '.' : 'a';
    const struct CMUnitTest keys[] = {
        cmocka_unit_test(key_type_words),
        cmocka_unit_test(generated_keys_are_of_their_type),
        cmocka_unit_test(pem_comes_back_in_every_form),
        cmocka_unit_test(reading_counts_as_holding_a_key),
        cmocka_unit_test(text_and_crlf_around_a_key_are_fine),
        cmocka_unit_test(a_key_goes_only_into_a_wiped_buffer),
        cmocka_unit_test(encrypted_keys_are_refused_without_asking),
        cmocka_unit_test(broken_key_files),
        cmocka_unit_test(keys_that_no_ca_takes),
        cmocka_unit_test(a_key_whose_halves_differ_is_damaged),
        cmocka_unit_test(unusual_ec_encodings_are_straightened),
        cmocka_unit_test(jwk_of_the_rfc),
        cmocka_unit_test(jwk_of_every_key_type),
        cmocka_unit_test(jwk_with_things_around_it),
        cmocka_unit_test(text_is_told_apart),
        cmocka_unit_test(jwks_that_are_no_private_key),
        cmocka_unit_test(jwks_that_lie),
        cmocka_unit_test(spki_hash_of_a_key),
        cmocka_unit_test(thumbprint_of_the_rfc),
        cmocka_unit_test(rs256_of_the_rfc),
        cmocka_unit_test(es256_of_the_rfc),
        cmocka_unit_test(ecdsa_signatures_keep_their_width),
        cmocka_unit_test(jwk_coordinates_keep_their_width),
        cmocka_unit_test(thumbprint_is_the_hash_of_the_jwk),
        cmocka_unit_test(jws_of_every_key_type),
        cmocka_unit_test(jws_with_the_public_key_in_it),
        cmocka_unit_test(inner_jws_has_no_nonce),
        cmocka_unit_test(post_as_get_has_an_empty_payload),
        cmocka_unit_test(hostile_text_stays_inside_its_member),
        cmocka_unit_test(headers_that_cannot_be_signed),
        cmocka_unit_test(canonical_header_bytes),
        cmocka_unit_test(bindings_of_every_algorithm),
        cmocka_unit_test(mac_keys_as_people_paste_them),
        cmocka_unit_test(bindings_that_cannot_be),
        cmocka_unit_test(key_change_of_every_pair),
        cmocka_unit_test(csr_of_every_key_type),
        cmocka_unit_test(self_signed_with_every_key_type),
        cmocka_unit_test(csr_with_a_hundred_names),
        cmocka_unit_test(names_that_no_request_may_carry),
        cmocka_unit_test(requests_of_others_are_read),
        cmocka_unit_test(names_of_a_request),
        cmocka_unit_test(ours_are_read_too),
        cmocka_unit_test(names_that_make_a_request_useless),
        cmocka_unit_test(requests_that_are_signed_badly),
        cmocka_unit_test(broken_request_files),
        cmocka_unit_test(no_changed_request_passes),
    };
    const struct CMUnitTest certs[] = {
        cmocka_unit_test(chain_is_parsed_and_written_again),
        cmocka_unit_test(untidy_pem_is_read),
        cmocka_unit_test(chains_may_have_ten_certificates),
        cmocka_unit_test(broken_pem_is_refused),
        cmocka_unit_test(every_truncation_is_noticed),
        cmocka_unit_test(nul_is_refused_wherever_it_is),
        cmocka_unit_test(oversized_pem_is_refused),
        cmocka_unit_test(private_keys_do_not_belong_in_a_chain),
        cmocka_unit_test(overlong_serial_is_refused),
        cmocka_unit_test(good_chains_pass),
        cmocka_unit_test(keys_of_every_type_match_their_certificate),
        cmocka_unit_test(names_must_be_exactly_those_ordered),
        cmocka_unit_test(letter_case_does_not_matter),
        cmocka_unit_test(addresses_are_compared_as_addresses),
        cmocka_unit_test(odd_names_neither_crash_nor_match),
        cmocka_unit_test(a_name_of_253_octets_is_a_name),
        cmocka_unit_test(unreadable_names_are_refused),
        cmocka_unit_test(too_many_names_make_a_short_message),
        cmocka_unit_test(dates_are_checked),
        cmocka_unit_test(a_ca_is_not_a_server),
        cmocka_unit_test(links_are_checked),
        cmocka_unit_test(a_changed_leaf_is_not_signed),
        cmocka_unit_test(info_of_a_leaf),
        cmocka_unit_test(hash_of_known_bytes),
        cmocka_unit_test(ari_ids),
        cmocka_unit_test(longest_serial_fits),
        cmocka_unit_test(issuers_as_people_see_them),
        cmocka_unit_test(key_types_as_people_see_them),
        cmocka_unit_test(a_damaged_key_has_no_type),
        cmocka_unit_test(issuers_of_a_chain),
        cmocka_unit_test(spki_of_a_leaf_is_that_of_its_key),
    };
    make_keys(NULL);
    int failed = cmocka_run_group_tests_name("keys, JWS, requests", keys, NULL, NULL);
    failed += cmocka_run_group_tests_name("certificates", certs, make_ca, free_ca);
    free_keys(NULL);
    return failed;
}
