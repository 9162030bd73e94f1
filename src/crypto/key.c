#include "tlsup/key.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "key_internal.h"
#include "tlsup/b64.h"
#include "tlsup/mem.h"

#define RSA_MAX_BYTES (4096 / 8)

static const struct key_kind {
    const char *name;
    const char *jws_alg;
    const char *digest;
    const char *curve; /* the JWK "crv", NULL for RSA */
    const char *group; /* the curve as OpenSSL calls it */
    int bits;
    int coordinate_bytes;
} kinds[] = {
    [KEY_ECDSA_P256] = {"ecdsa-p256", "ES256", "SHA256", "P-256", "prime256v1", 256, 32},
    [KEY_ECDSA_P384] = {"ecdsa-p384", "ES384", "SHA384", "P-384", "secp384r1", 384, 48},
    [KEY_RSA_2048] = {"rsa-2048", "RS256", "SHA256", NULL, NULL, 2048, 0},
    [KEY_RSA_3072] = {"rsa-3072", "RS256", "SHA256", NULL, NULL, 3072, 0},
    [KEY_RSA_4096] = {"rsa-4096", "RS256", "SHA256", NULL, NULL, 4096, 0},
};

static const struct {
    const char *text;
    enum key_type type;
} other_names[] = {
    {"ecdsa", KEY_ECDSA_P256}, {"ec256", KEY_ECDSA_P256},     {"ec-256", KEY_ECDSA_P256},
    {"p256", KEY_ECDSA_P256},  {"p-256", KEY_ECDSA_P256},     {"secp256r1", KEY_ECDSA_P256},
    {"ec384", KEY_ECDSA_P384}, {"ec-384", KEY_ECDSA_P384},    {"p384", KEY_ECDSA_P384},
    {"p-384", KEY_ECDSA_P384}, {"secp384r1", KEY_ECDSA_P384}, {"rsa", KEY_RSA_2048},
    {"2048", KEY_RSA_2048},    {"3072", KEY_RSA_3072},        {"4096", KEY_RSA_4096},
};

static size_t keys_seen;

void key_pkey_free_ptr(EVP_PKEY **pkey)
{
    EVP_PKEY_free(*pkey);
}

bool key_openssl_error(struct err *err, const char *subject, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return err_set(err, ERR_CRYPTO, NEXT_LOCAL_FAULT, subject, "%s: %s", what,
                   reason ? reason : "OpenSSL gives no reason");
}

/* -- types ------------------------------------------------------------------------------------- */

const char *key_type_name(enum key_type type)
{
    return kinds[type].name;
}

bool key_type_parse(const char *text, enum key_type *type, struct err *err)
{
    for (size_t i = 0; text && i < COUNT_OF(kinds); i++)
        if (strcasecmp(text, kinds[i].name) == 0) {
            *type = (enum key_type)i;
            return true;
        }
    for (size_t i = 0; text && i < COUNT_OF(other_names); i++)
        if (strcasecmp(text, other_names[i].text) == 0) {
            *type = other_names[i].type;
            return true;
        }
    return err_set(
        err, ERR_CONFIG, NEXT_FIX_CONFIG, text,
        "there is no key type of this name; use ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 or rsa-4096");
}

/* The kind of an OpenSSL key, or NULL when it is none of the five. */
static const struct key_kind *kind_of(const EVP_PKEY *pkey)
{
    char group[64] = "";
    bool rsa = EVP_PKEY_is_a(pkey, "RSA") == 1;

    if (!rsa &&
        (EVP_PKEY_is_a(pkey, "EC") != 1 || EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL) != 1))
        return NULL;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        const struct key_kind *kind = &kinds[i];
        if (rsa ? !kind->curve && kind->bits == EVP_PKEY_get_bits(pkey)
                : kind->curve && (strcmp(group, kind->group) == 0 || strcmp(group, kind->curve) == 0))
            return kind;
    }
    return NULL;
}

/* Takes over `pkey`. */
static struct key *key_new(EVP_PKEY *pkey, enum key_type type)
{
    struct key *key = mem_alloc(sizeof *key);
    *key = (struct key){.pkey = pkey, .type = type};
    return key;
}

void key_free(struct key *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pkey); /* OpenSSL wipes the private numbers */
    EVP_PKEY_free(key->public_key);
    if (key->uri)
        OPENSSL_cleanse(key->uri, strlen(key->uri)); /* it may have a PIN in it */
    free(key->uri);
    free(key);
}

void key_free_ptr(struct key **key)
{
    key_free(*key);
}

enum key_type key_type_of(const struct key *key)
{
    return key->type;
}

const char *key_jws_alg(const struct key *key)
{
    return kinds[key->type].jws_alg;
}

size_t key_count(void)
{
    return keys_seen;
}

void key_seen(void)
{
    keys_seen++;
}

void *key_pkey(const struct key *key)
{
    return key->pkey;
}

EVP_PKEY *key_public(const struct key *key)
{
    return key->public_key ? key->public_key : key->pkey;
}

const char *key_uri(const struct key *key)
{
    return key->uri;
}

bool key_generate(enum key_type type, struct key **out, struct err *err)
{
    const struct key_kind *kind = &kinds[type];

    key_seen();
    EVP_PKEY *pkey = kind->curve ? EVP_EC_gen(kind->curve) : EVP_RSA_gen((unsigned)kind->bits);
    if (!pkey)
        return key_openssl_error(err, kind->name, "cannot generate a private key");
    *out = key_new(pkey, type);
    return true;
}

/* -- PEM --------------------------------------------------------------------------------------- */

/* DER of a private key as it was in a file; wiped. */
struct der {
    unsigned char *data;
    long len;
};

static void der_clear(struct der *der)
{
    OPENSSL_secure_clear_free(der->data, der->len > 0 ? (size_t)der->len : 0);
}

/* OpenSSL asks for a password: note it, and give none. */
static int refuse_password(char *buffer, int size, int writing, void *asked)
{
    (void)buffer, (void)size, (void)writing;
    *(bool *)asked = true;
    return -1;
}

static bool encrypted_error(const char *subject, struct err *err)
{
    ERR_clear_error();
    err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, subject,
            "the private key is encrypted, and a program that runs unattended cannot ask for its passphrase");
    return err_advise(err, "store the key without a passphrase: openssl pkey -in OLD -out NEW, mode 0600");
}

static bool unreadable_error(const char *pem, size_t len, const char *subject, struct err *err)
{
    static const char openssh[] = "-----BEGIN OPENSSH PRIVATE KEY";
    static const char begin[] = "-----BEGIN ";
    const char *what = "there is no private key in it that can be read";

    ERR_clear_error();
    if (memmem(pem, len, openssh, strlen(openssh)))
        what = "it is an SSH key, which cannot be used for a certificate";
    else if (!memmem(pem, len, begin, strlen(begin)))
        what = "it is not a PEM file (there is no \"-----BEGIN\" line)";
    err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, subject, "%s", what);
    return err_advise(err,
                      "give a private key in PEM (PKCS#8, PKCS#1 or SEC1); \"openssl pkey\" converts to it");
}

/* Find the first private key block and decode its base64. */
static bool pem_to_der(const char *pem, size_t len, const char *subject, struct der *der, struct err *err)
{
    char *label = NULL;
    bool asked = false;

    if (!pem || len == 0)
        return err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, subject, "the private key file is empty");
    if (len > KEY_FILE_MAX_BYTES)
        return err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, subject, "%zu bytes are too many for a private key",
                       len);
    BIO *bio = BIO_new_mem_buf(pem, (int)len);
    bool found = bio && PEM_bytes_read_bio_secmem(&der->data, &der->len, &label, PEM_STRING_EVP_PKEY, bio,
                                                  refuse_password, &asked) == 1;
    bool encrypted = asked || (found && strcmp(label, PEM_STRING_PKCS8) == 0);
    BIO_free(bio);
    OPENSSL_secure_free(label);
    if (encrypted)
        return encrypted_error(subject, err);
    return found ? true : unreadable_error(pem, len, subject, err);
}

/* A file may carry the curve as explicit numbers, or a compressed point. Once OpenSSL has recognised the
 * curve, requests must name it and give the whole point, as CAs take nothing else. */
static bool plain_encoding(EVP_PKEY *pkey)
{
    return EVP_PKEY_set_utf8_string_param(pkey, OSSL_PKEY_PARAM_EC_ENCODING, OSSL_PKEY_EC_ENCODING_GROUP) ==
               1 &&
           EVP_PKEY_set_utf8_string_param(pkey, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                          OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_UNCOMPRESSED) == 1;
}

static bool exponent_is_usual(const EVP_PKEY *pkey)
{
    BIGNUM *exponent = NULL;
    bool usual = EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1 &&
                 BN_is_word(exponent, RSA_F4) == 1;
    BN_free(exponent);
    return usual;
}

static bool is_consistent(EVP_PKEY *pkey)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    bool consistent = ctx && EVP_PKEY_pairwise_check(ctx) == 1;
    EVP_PKEY_CTX_free(ctx);
    return consistent;
}

const char *key_public_defect(const EVP_PKEY *pkey, enum key_type *type)
{
    const struct key_kind *kind = kind_of(pkey);

    if (!kind)
        return "a key of this type or size is not accepted by CAs; use ECDSA P-256 or P-384, or RSA 2048, "
               "3072 or 4096";
    if (!kind->curve && !exponent_is_usual(pkey))
        return "the public exponent of the RSA key is not 65537, and CAs accept no other";
    if (type)
        *type = (enum key_type)(kind - kinds);
    return NULL;
}

/* What is wrong with a private key that OpenSSL could read; NULL when nothing is. */
static const char *defect(EVP_PKEY *pkey, enum key_type *type)
{
    const char *wrong = key_public_defect(pkey, type);

    if (wrong)
        return wrong;
    if (!is_consistent(pkey))
        return "the private key is damaged: its public and private parts do not belong together";
    if (kinds[*type].curve && !plain_encoding(pkey))
        return "the curve of the ECDSA key cannot be written by its name";
    return NULL;
}

bool key_adopt(EVP_PKEY *pkey, const char *subject, struct key **out, struct err *err)
{
    enum key_type type;
    const char *wrong = defect(pkey, &type);

    ERR_clear_error();
    if (!wrong) {
        *out = key_new(pkey, type);
        return true;
    }
    EVP_PKEY_free(pkey);
    err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, subject, "%s", wrong);
    return err_advise(err, "use another private key, or let a new one be made");
}

bool key_from_pem(const char *pem, size_t len, const char *subject, struct key **out, struct err *err)
{
    CLEANUP(der_clear) struct der der = {0};

    if (!pem_to_der(pem, len, subject, &der, err))
        return false;
    key_seen();
    const unsigned char *at = der.data;
    EVP_PKEY *pkey = d2i_AutoPrivateKey_ex(NULL, &at, der.len, NULL, NULL);
    return pkey ? key_adopt(pkey, subject, out, err) : unreadable_error(pem, len, subject, err);
}

bool key_from_text(const char *text, size_t len, const char *subject, struct key **out, struct err *err)
{
    static const char utf8_mark[] = "\xEF\xBB\xBF"; /* some editors begin a text with it */
    size_t at = text && len >= 3 && memcmp(text, utf8_mark, 3) == 0 ? 3 : 0;

    while (text && at < len && isspace((unsigned char)text[at]))
        at++;
    if (!text || at == len)
        return key_from_pem(NULL, 0, subject, out, err);
    return (text[at] == '{' ? key_from_jwk : key_from_pem)(text + at, len - at, subject, out, err);
}

bool key_to_pem(const struct key *key, struct buf *out, struct err *err)
{
    char *text = NULL;

    if (!out->secret)
        return err_set(err, ERR_INTERNAL, NEXT_NONE, NULL,
                       "a private key was to be written to a buffer that is not wiped");
    if (key->uri)
        return err_set(err, ERR_CRYPTO, NEXT_REFUSED, NULL,
                       "the private key is on a token, which does not give it away");
    BIO *bio = BIO_new(BIO_s_secmem());
    bool written = bio && PEM_write_bio_PKCS8PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL) == 1;
    long len = written ? BIO_get_mem_data(bio, &text) : 0;
    if (len > 0)
        buf_add(out, text, (size_t)len);
    BIO_free(bio); /* wipes */
    return len > 0 ? true : key_openssl_error(err, NULL, "cannot encode the private key");
}

/* -- JWK --------------------------------------------------------------------------------------- */

/* Append ,"NAME":"BASE64URL" for a public number, left-padded to `width` bytes (0 = as short as it is). */
static bool add_number(const EVP_PKEY *pkey, const char *param, const char *member, int width,
                       struct buf *jwk)
{
    BIGNUM *number = NULL;
    unsigned char bytes[RSA_MAX_BYTES * 2];

    if (EVP_PKEY_get_bn_param(pkey, param, &number) != 1)
        return false;
    int len = width > 0 ? width : BN_num_bytes(number);
    bool fits = len > 0 && len <= (int)sizeof bytes && BN_bn2binpad(number, bytes, len) == len;
    BN_free(number);
    if (!fits)
        return false;
    buf_addf(jwk, "\"%s\":\"", member);
    b64url_encode(bytes, (size_t)len, jwk);
    buf_addc(jwk, '"');
    return true;
}

static bool ec_jwk(const EVP_PKEY *pkey, const struct key_kind *kind, struct buf *jwk)
{
    buf_addf(jwk, "{\"crv\":\"%s\",\"kty\":\"EC\",", kind->curve);
    if (!add_number(pkey, OSSL_PKEY_PARAM_EC_PUB_X, "x", kind->coordinate_bytes, jwk))
        return false;
    buf_addc(jwk, ',');
    return add_number(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, "y", kind->coordinate_bytes, jwk);
}

static bool rsa_jwk(const EVP_PKEY *pkey, struct buf *jwk)
{
    buf_addc(jwk, '{');
    if (!add_number(pkey, OSSL_PKEY_PARAM_RSA_E, "e", 0, jwk))
        return false;
    buf_adds(jwk, ",\"kty\":\"RSA\",");
    return add_number(pkey, OSSL_PKEY_PARAM_RSA_N, "n", 0, jwk);
}

bool key_public_jwk(const void *pkey, struct buf *out, struct err *err)
{
    AUTO_BUF jwk = BUF_INIT;
    const struct key_kind *kind = kind_of(pkey);

    if (!kind || !(kind->curve ? ec_jwk(pkey, kind, &jwk) : rsa_jwk(pkey, &jwk)))
        return key_openssl_error(err, NULL, "cannot write the public key as a JWK");
    buf_addc(&jwk, '}');
    buf_add(out, jwk.data, jwk.len);
    return true;
}

bool key_jwk(const struct key *key, struct buf *out, struct err *err)
{
    return key_public_jwk(key_public(key), out, err);
}

bool key_thumbprint(const struct key *key, char out[KEY_THUMBPRINT_BYTES], struct err *err)
{
    AUTO_BUF jwk = BUF_INIT;
    AUTO_BUF text = BUF_INIT;
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned hash_len = 0;

    if (!key_jwk(key, &jwk, err))
        return false;
    if (EVP_Digest(jwk.data, jwk.len, hash, &hash_len, EVP_sha256(), NULL) != 1)
        return key_openssl_error(err, NULL, "cannot compute the thumbprint of the account key");
    b64url_encode(hash, hash_len, &text);
    memcpy(out, text.data, KEY_THUMBPRINT_BYTES);
    return true;
}

void key_sha256_hex(const void *data, size_t len, char out[65])
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned hash_len = 0;

    /* An empty result could pass for another empty result; and but for memory, hashing does not fail. */
    if (EVP_Digest(data, len, hash, &hash_len, EVP_sha256(), NULL) != 1)
        mem_exhausted();
    for (size_t i = 0; i < hash_len; i++)
        snprintf(out + 2 * i, 3, "%02x", hash[i]);
}

bool key_spki_sha256(const struct key *key, char out[KEY_SPKI_BYTES], struct err *err)
{
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key_public(key), &der);

    if (len <= 0)
        return key_openssl_error(err, NULL, "cannot encode the public key");
    key_sha256_hex(der, (size_t)len, out);
    OPENSSL_free(der);
    return true;
}

/* -- signing ----------------------------------------------------------------------------------- */

/* OpenSSL gives the two numbers of an ECDSA signature in DER; JWS wants them side by side, each as wide as
 * the curve. */
static bool add_raw_ecdsa(const unsigned char *der, size_t len, int width, struct buf *out)
{
    unsigned char raw[2 * 48];
    const unsigned char *at = der;
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, (long)len);

    bool ok = signature && BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, width) == width &&
              BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + width, width) == width;
    ECDSA_SIG_free(signature);
    if (ok)
        buf_add(out, raw, (size_t)width * 2);
    return ok;
}

/* A signature as OpenSSL gives it. `*signature_len` comes in as the room that there is. */
static bool sign_plain(const struct key *key, const void *data, size_t len, unsigned char *signature,
                       size_t *signature_len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx &&
              EVP_DigestSignInit_ex(ctx, NULL, kinds[key->type].digest, key->libctx, key->propq, key->pkey,
                                    NULL) == 1 &&
              EVP_DigestSign(ctx, signature, signature_len, data, len) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

bool key_sign(const struct key *key, const void *data, size_t len, struct buf *out, struct err *err)
{
    const struct key_kind *kind = &kinds[key->type];
    unsigned char signature[RSA_MAX_BYTES];
    size_t signature_len = sizeof signature;

    bool ok = sign_plain(key, data, len, signature, &signature_len);
    if (ok && kind->curve)
        ok = add_raw_ecdsa(signature, signature_len, kind->coordinate_bytes, out);
    else if (ok)
        buf_add(out, signature, signature_len);
    return ok ? true : key_openssl_error(err, NULL, "cannot sign");
}

/* -- tokens ------------------------------------------------------------------------------------ */

bool key_is_uri(const char *text)
{
    static const char *const schemes[] = {"pkcs11:", "handle:", "tpm2:"};

    for (size_t i = 0; text && i < COUNT_OF(schemes); i++)
        if (strncasecmp(text, schemes[i], strlen(schemes[i])) == 0)
            return true;
    return false;
}

/* The public half of a token's key as an object that needs no token. */
static EVP_PKEY *public_half(EVP_PKEY *pkey)
{
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(pkey, &der);
    const unsigned char *at = der;
    EVP_PKEY *half = len > 0 ? d2i_PUBKEY(NULL, &at, len) : NULL;

    OPENSSL_free(der);
    return half;
}

/* A token may hold halves that do not belong together, or a key that must not sign: let it sign. */
static bool signs_rightly(const struct key *key)
{
    static const unsigned char data[] = "does this key sign?";
    unsigned char signature[RSA_MAX_BYTES];
    size_t len = sizeof signature;

    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok =
        ctx && sign_plain(key, data, sizeof data, signature, &len) &&
        EVP_DigestVerifyInit_ex(ctx, NULL, kinds[key->type].digest, NULL, NULL, key->public_key, NULL) == 1 &&
        EVP_DigestVerify(ctx, signature, len, data, sizeof data) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

static bool check_token_key(struct key *key, const char *shown, struct err *err)
{
    key->public_key = public_half(key->pkey);
    if (!key->public_key) {
        key_openssl_error(err, shown, "the token does not give the public key");
        return err_advise(err,
                          "the token needs the public key object beside the private one, with the same id");
    }
    const char *wrong = key_public_defect(key->public_key, &key->type);
    ERR_clear_error();
    if (wrong) {
        err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, shown, "%s", wrong);
        return err_advise(err, "make another key on the token, and name it in the URI");
    }
    if (signs_rightly(key))
        return true;
    key_openssl_error(err, shown, "the key on the token makes no signature that its public key verifies");
    return err_advise(
        err, "see whether the key may sign, and whether its private and public objects belong together");
}

bool key_open_uri(const char *uri, struct key **out, struct err *err)
{
    struct token_key opened = {0};

    key_seen();
    if (!token_open(uri, &opened, err))
        return false;
    struct key *key = mem_alloc(sizeof *key);
    *key = (struct key){
        .pkey = opened.pkey, .libctx = opened.libctx, .propq = opened.propq, .uri = mem_dup(uri)};
    bool ok = check_token_key(key, opened.shown, err);
    free(opened.shown);
    if (ok)
        *out = key;
    else
        key_free(key);
    return ok;
}
