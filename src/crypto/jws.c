#include "tlsup/jws.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "tlsup/b64.h"

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

    buf_adds(out, "{\"protected\":\"");
    buf_add(out, input.data, protected_len);
    buf_adds(out, "\",\"payload\":\"");
    buf_adds(out, input.data + protected_len + 1);
    buf_adds(out, "\",\"signature\":\"");
    b64url_encode(signature.data, signature.len, out);
    buf_adds(out, "\"}");
    return true;
}

bool jws_key_authorization(const struct key *key, const char *token, struct buf *out, struct err *err)
{
    char thumbprint[KEY_THUMBPRINT_BYTES];

    if (!b64url_valid(token, SIZE_MAX))
        return err_set(err, ERR_INTERNAL, NEXT_NONE, token,
                       "a challenge token that is not base64url was not refused earlier");
    if (!key_thumbprint(key, thumbprint, err))
        return false;
    buf_addf(out, "%s.%s", token, thumbprint);
    return true;
}
