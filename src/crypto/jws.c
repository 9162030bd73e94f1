#include "tlsup/jws.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "tlsup/b64.h"

#define HMAC_KEY_MIN_BYTES 16
#define HMAC_KEY_TEXT_MAX 4096

static void free_dump(char **text)
{
    free(*text);
}

/* json_object_set_new() takes a NULL value (text that is not UTF-8, no memory) as a failure, so nothing is
 * checked twice. */
static bool add_text(json_t *object, const char *member, const char *text)
{
    return json_object_set_new(object, member, json_string(text)) == 0;
}

/* Append the protected header: members sorted, no white space. */
static bool add_protected(const struct key *key, const struct jws_header *header, struct buf *out,
                          struct err *err)
{
    AUTO_BUF jwk = BUF_INIT;
    json_auto_t *object = json_object();

    bool ok = add_text(object, "alg", key_jws_alg(key)) && add_text(object, "url", header->url) &&
              (!header->nonce || add_text(object, "nonce", header->nonce));
    if (header->kid) {
        ok = ok && add_text(object, "kid", header->kid);
    } else {
        if (!key_jwk(key, &jwk, err))
            return false;
        ok = ok && json_object_set_new(object, "jwk", json_loadb(jwk.data, jwk.len, 0, NULL)) == 0;
    }
    CLEANUP(free_dump) char *text = ok ? json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    if (!text)
        return err_set(err, ERR_PROTOCOL, NEXT_REFUSED, header->url,
                       "the URL, the nonce or the account URL is not UTF-8 text and cannot be signed");
    b64url_encode(text, strlen(text), out);
    return true;
}

/* `input` is what was signed: PROTECTED.PAYLOAD. */
static void add_flattened(const struct buf *input, size_t protected_len, const struct buf *signature,
                          struct buf *out)
{
    buf_adds(out, "{\"protected\":\"");
    buf_add(out, input->data, protected_len);
    buf_adds(out, "\",\"payload\":\"");
    buf_adds(out, input->data + protected_len + 1);
    buf_adds(out, "\",\"signature\":\"");
    b64url_encode(signature->data, signature->len, out);
    buf_adds(out, "\"}");
}

bool jws_sign(const struct key *key, const struct jws_header *header, const char *payload, size_t len,
              struct buf *out, struct err *err)
{
    AUTO_BUF input = BUF_INIT;
    AUTO_BUF signature = BUF_INIT;

    if (!header->url || header->url[0] == '\0')
        return err_set(err, ERR_INTERNAL, NEXT_NONE, NULL, "a request without a URL was to be signed");
    if (!add_protected(key, header, &input, err))
        return false;
    size_t protected_len = input.len;
    buf_addc(&input, '.');
    b64url_encode(payload, len, &input);
    if (!key_sign(key, input.data, input.len, &signature, err))
        return err_context(err, "signing a request to %s", header->url);

    add_flattened(&input, protected_len, &signature, out);
    return true;
}

/* -- external account binding ------------------------------------------------------------------ */

/* Base64 of either alphabet, padded or not, with any white space. False when it is neither. */
static bool decode_lenient(const char *text, size_t len, struct buf *out)
{
    AUTO_BUF plain = BUF_SECRET;

    for (size_t i = 0; i < len; i++)
        if (!isspace((unsigned char)text[i]))
            buf_addc(&plain, text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]);
    for (int padding = 0; padding < 2 && plain.len > 0 && plain.data[plain.len - 1] == '='; padding++)
        plain.data[--plain.len] = '\0';
    return plain.len > 0 && b64url_decode(plain.data, plain.len, out);
}

static bool is_hex(const struct buf *bytes)
{
    for (size_t i = 0; i < bytes->len; i++)
        if (!isxdigit((unsigned char)bytes->data[i]))
            return false;
    return true;
}

/* Some CAs hand out base64 of base64. Random bytes are not base64 by chance (16 of them: once in 2^32); a
 * secret of hexadecimal digits, which some programs make, would be, and is meant as it stands. */
static bool decode_hmac_key(const char *text, struct buf *out)
{
    AUTO_BUF inner = BUF_SECRET;

    if (strlen(text) > HMAC_KEY_TEXT_MAX || !decode_lenient(text, strlen(text), out))
        return false;
    if (is_hex(out) || !decode_lenient(out->data, out->len, &inner) || inner.len < HMAC_KEY_MIN_BYTES)
        return true;
    buf_reset(out);
    buf_add(out, inner.data, inner.len);
    return true;
}

static bool hmac_key_error(struct err *err, const char *what)
{
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, "the key of the external account", "%s", what);
    return err_advise(err, "copy it again, whole, from where the CA shows it (--eab-hmac-key)");
}

static const EVP_MD *hmac_digest(const char *alg)
{
    static const struct {
        const char *alg;
        const EVP_MD *(*digest)(void);
    } algs[] = {{"HS256", EVP_sha256}, {"HS384", EVP_sha384}, {"HS512", EVP_sha512}};

    for (size_t i = 0; i < COUNT_OF(algs); i++)
        if (strcmp(alg, algs[i].alg) == 0)
            return algs[i].digest();
    return NULL;
}

static bool add_binding_header(const char *alg, const char *kid, const char *url, struct buf *out,
                               struct err *err)
{
    json_auto_t *object = json_object();
    bool ok = add_text(object, "alg", alg) && add_text(object, "kid", kid) && add_text(object, "url", url);
    CLEANUP(free_dump) char *text = ok ? json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

    if (!text)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, NULL,
                       "the key identifier of the external account is not UTF-8 text");
    b64url_encode(text, strlen(text), out);
    return true;
}

bool jws_external_account(const struct key *account_key, const char *url, const char *kid,
                          const char *hmac_key, const char *alg, struct buf *out, struct err *err)
{
    AUTO_BUF secret = BUF_SECRET;
    AUTO_BUF input = BUF_INIT;
    AUTO_BUF jwk = BUF_INIT;
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_len = 0;
    const EVP_MD *digest = hmac_digest(alg ? alg : "HS256");

    if (!digest)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, alg,
                       "an external account cannot be bound with this algorithm; use HS256, HS384 or HS512");
    if (!kid || *kid == '\0')
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, NULL,
                       "the external account has a key, and no key identifier (--eab-kid)");
    if (!hmac_key || !decode_hmac_key(hmac_key, &secret))
        return hmac_key_error(err, "it is not base64, or not all of it");
    if (secret.len < HMAC_KEY_MIN_BYTES)
        return hmac_key_error(err, "it is too short: what it encodes has less than 16 bytes");
    if (!add_binding_header(alg ? alg : "HS256", kid, url, &input, err) || !key_jwk(account_key, &jwk, err))
        return false;
    size_t protected_len = input.len;
    buf_addc(&input, '.');
    b64url_encode(jwk.data, jwk.len, &input);
    if (!HMAC(digest, secret.data, (int)secret.len, (const unsigned char *)input.data, input.len, mac,
              &mac_len))
        return key_openssl_error(err, NULL, "cannot bind the external account");
    const struct buf signature = {.data = (char *)mac, .len = mac_len};
    add_flattened(&input, protected_len, &signature, out);
    return true;
}

/* -- other --------------------------------------------------------------------------------------- */

bool jws_key_change(const struct key *new_key, const struct key *old_key, const char *url,
                    const char *account_url, struct buf *out, struct err *err)
{
    const struct jws_header header = {.url = url};
    AUTO_BUF jwk = BUF_INIT;
    json_auto_t *object = json_object();

    if (!key_jwk(old_key, &jwk, err))
        return false;
    bool ok = add_text(object, "account", account_url) &&
              json_object_set_new(object, "oldKey", json_loadb(jwk.data, jwk.len, 0, NULL)) == 0;
    CLEANUP(free_dump) char *payload = ok ? json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    if (!payload)
        return err_set(err, ERR_PROTOCOL, NEXT_REFUSED, account_url,
                       "the account URL is not UTF-8 text and cannot be signed");
    return jws_sign(new_key, &header, payload, strlen(payload), out, err);
}
