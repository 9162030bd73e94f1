/* Private keys as JSON: how other ACME clients keep their account keys (RFC 7517, RFC 7518 section 6). */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

#include "key_internal.h"
#include "tlsup/b64.h"

#define NUMBER_MAX_BYTES 1024 /* of a member; RSA 4096 has 512 and a leading 0 */

static bool jwk_error(const char *subject, struct err *err, const char *what, const char *member)
{
    ERR_clear_error();
    err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, subject, "%s%s%s%s", what, member ? " \"" : "",
            member ? member : "", member ? "\"" : "");
    return err_advise(
        err, "give a private key as PEM, or as a whole private JWK of type EC (P-256, P-384) or RSA");
}

/* Jansson frees the text of a value without wiping it. */
static void wipe_json(json_t **jwk)
{
    const char *name;
    json_t *value;

    json_object_foreach(*jwk, name, value)
    {
        if (json_is_string(value))
            OPENSSL_cleanse((char *)(uintptr_t)json_string_value(value), json_string_length(value));
    }
    json_decref(*jwk);
}

static void number_free_ptr(BIGNUM **number)
{
    BN_clear_free(*number);
}
#define AUTO_NUMBER CLEANUP(number_free_ptr) BIGNUM

/* A member of the JWK as a number; some writers pad its base64url. NULL when it is not there, or is none. */
static BIGNUM *number_of(const json_t *jwk, const char *member)
{
    AUTO_BUF bytes = BUF_SECRET;
    const json_t *value = json_object_get(jwk, member);
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);

    while (len > 0 && text[len - 1] == '=')
        len--;
    bytes.limit = NUMBER_MAX_BYTES;
    if (len == 0 || !b64url_decode(text, len, &bytes))
        return NULL;
    BIGNUM *number = BN_bin2bn((const unsigned char *)bytes.data, (int)bytes.len, BN_secure_new());
    if (number)
        BN_set_flags(number, BN_FLG_CONSTTIME);
    return number;
}

static EVP_PKEY *pkey_from(const char *type, OSSL_PARAM_BLD *build)
{
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);

    if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_KEYPAIR, params) != 1)
        pkey = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return pkey;
}

/* Append a public coordinate to a point, in full width. */
static bool add_coordinate(const json_t *jwk, const char *member, int width, struct buf *point)
{
    unsigned char bytes[48];
    AUTO_NUMBER *number = number_of(jwk, member);

    if (!number || BN_bn2binpad(number, bytes, width) != width)
        return false;
    buf_add(point, bytes, (size_t)width);
    return true;
}

static bool ec_from(const json_t *jwk, const char *subject, EVP_PKEY **pkey, struct err *err)
{
    const char *curve = json_string_value(json_object_get(jwk, "crv"));
    int width = curve && strcmp(curve, "P-256") == 0 ? 32 : curve && strcmp(curve, "P-384") == 0 ? 48 : 0;
    AUTO_BUF point = BUF_INIT;
    AUTO_NUMBER *d = number_of(jwk, "d");

    if (width == 0)
        return jwk_error(subject, err, "the JWK is not of a curve that CAs take; see its member", "crv");
    if (!d)
        return jwk_error(subject, err, "the JWK has no private key in it: there is no usable member", "d");
    buf_addc(&point, POINT_CONVERSION_UNCOMPRESSED);
    if (!add_coordinate(jwk, "x", width, &point))
        return jwk_error(subject, err, "the JWK has no usable member", "x");
    if (!add_coordinate(jwk, "y", width, &point))
        return jwk_error(subject, err, "the JWK has no usable member", "y");
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    if (build && OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, curve, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point.data, point.len) == 1 &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, d) == 1)
        *pkey = pkey_from("EC", build);
    OSSL_PARAM_BLD_free(build);
    return *pkey ? true : jwk_error(subject, err, "the numbers of the JWK are not a key of its curve", NULL);
}

enum rsa_number {
    RSA_NUMBER_N,
    RSA_NUMBER_E,
    RSA_NUMBER_D,
    RSA_NUMBER_P,
    RSA_NUMBER_Q,
    RSA_NUMBER_DP,
    RSA_NUMBER_DQ,
    RSA_NUMBER_QI,
    RSA_NUMBERS
};

static const struct {
    const char *member;
    const char *param;
} rsa_numbers[RSA_NUMBERS] = {
    [RSA_NUMBER_N] = {"n", OSSL_PKEY_PARAM_RSA_N},
    [RSA_NUMBER_E] = {"e", OSSL_PKEY_PARAM_RSA_E},
    [RSA_NUMBER_D] = {"d", OSSL_PKEY_PARAM_RSA_D},
    [RSA_NUMBER_P] = {"p", OSSL_PKEY_PARAM_RSA_FACTOR1},
    [RSA_NUMBER_Q] = {"q", OSSL_PKEY_PARAM_RSA_FACTOR2},
    [RSA_NUMBER_DP] = {"dp", OSSL_PKEY_PARAM_RSA_EXPONENT1},
    [RSA_NUMBER_DQ] = {"dq", OSSL_PKEY_PARAM_RSA_EXPONENT2},
    [RSA_NUMBER_QI] = {"qi", OSSL_PKEY_PARAM_RSA_COEFFICIENT1},
};

/* out = d mod (prime - 1) */
static bool exponent_for(BIGNUM *out, const BIGNUM *d, const BIGNUM *prime, BN_CTX *ctx)
{
    AUTO_NUMBER *less = BN_dup(prime);
    return less && BN_sub_word(less, 1) == 1 && !BN_is_zero(less) && BN_mod(out, d, less, ctx) == 1;
}

/* The three last numbers follow from the others: what the JWK says of them, or does not, cannot be wrong
 * then. */
static bool derive(BIGNUM *number[RSA_NUMBERS])
{
    BN_CTX *ctx = BN_CTX_secure_new();
    bool ok = ctx && exponent_for(number[RSA_NUMBER_DP], number[RSA_NUMBER_D], number[RSA_NUMBER_P], ctx) &&
              exponent_for(number[RSA_NUMBER_DQ], number[RSA_NUMBER_D], number[RSA_NUMBER_Q], ctx) &&
              BN_mod_inverse(number[RSA_NUMBER_QI], number[RSA_NUMBER_Q], number[RSA_NUMBER_P], ctx) != NULL;
    BN_CTX_free(ctx);
    return ok;
}

static bool rsa_read(const json_t *jwk, const char *subject, BIGNUM *number[RSA_NUMBERS], struct err *err)
{
    for (size_t i = 0; i < RSA_NUMBERS; i++) {
        number[i] = i <= RSA_NUMBER_Q ? number_of(jwk, rsa_numbers[i].member) : BN_secure_new();
        if (number[i])
            continue;
        return jwk_error(subject, err,
                         i == RSA_NUMBER_D ? "the JWK has no private key in it: there is no usable member"
                                           : "the JWK has no usable member",
                         rsa_numbers[i].member);
    }
    return derive(number)
               ? true
               : jwk_error(subject, err, "the numbers of the JWK are not those of an RSA key", NULL);
}

static bool rsa_from(const json_t *jwk, const char *subject, EVP_PKEY **pkey, struct err *err)
{
    BIGNUM *number[RSA_NUMBERS] = {0};
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();

    bool ok = build && rsa_read(jwk, subject, number, err);
    for (size_t i = 0; ok && i < RSA_NUMBERS; i++)
        ok = OSSL_PARAM_BLD_push_BN(build, rsa_numbers[i].param, number[i]) == 1;
    if (ok)
        *pkey = pkey_from("RSA", build);
    OSSL_PARAM_BLD_free(build);
    for (size_t i = 0; i < RSA_NUMBERS; i++)
        BN_clear_free(number[i]);
    if (*pkey || err_isset(err))
        return *pkey != NULL;
    return jwk_error(subject, err, "the numbers of the JWK are not those of an RSA key", NULL);
}

bool key_from_jwk(const char *json, size_t len, const char *subject, struct key **out, struct err *err)
{
    EVP_PKEY *pkey = NULL;

    if (!json || len == 0)
        return jwk_error(subject, err, "the private key file is empty", NULL);
    if (len > KEY_FILE_MAX_BYTES)
        return jwk_error(subject, err, "it is too long for a private key", NULL);
    key_seen();
    CLEANUP(wipe_json) json_t *jwk = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
    const char *type = json_string_value(json_object_get(jwk, "kty"));
    if (!json_is_object(jwk))
        return jwk_error(subject, err, "it is not a JSON object, or one that is damaged or cut off", NULL);
    if (!type)
        return jwk_error(subject, err, "it is JSON, but no JWK: there is no member", "kty");
    if (strcmp(type, "EC") != 0 && strcmp(type, "RSA") != 0)
        return jwk_error(subject, err, "a JWK of this type is not accepted by CAs; see its member", "kty");
    bool ok =
        strcmp(type, "EC") == 0 ? ec_from(jwk, subject, &pkey, err) : rsa_from(jwk, subject, &pkey, err);
    return ok && key_adopt(pkey, subject, out, err);
}
