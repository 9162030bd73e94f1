#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "exchange.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "tlsup/b64.h"

enum { NONCE_SHOWN = 6, TEXT_MAX_BYTES = 3000 };
#define NOT_SHOWN "(not shown)"

void exchange_nonce(const char *nonce, struct buf *out)
{
    if (nonce[0] != '\0')
        buf_addf(out, "%.*s...", NONCE_SHOWN, nonce);
}

static void replace(json_t *object, const char *key, const char *by)
{
    if (json_object_get(object, key) != NULL)
        (void)json_object_set_new(object, key, json_string(by));
}

static void add_json(const json_t *json, struct buf *out)
{
    char *text = json_dumps(json, JSON_PRESERVE_ORDER | JSON_ENCODE_ANY);
    if (text != NULL)
        buf_adds(out, text);
    free(text);
}

static json_t *decoded(const char *b64)
{
    AUTO_BUF text = BUF_INIT;
    json_error_t ignored;
    if (b64 == NULL || !b64url_decode(b64, strlen(b64), &text) || text.len == 0)
        return NULL;
    return json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &ignored);
}

static void add_protected(json_t *header, struct buf *out)
{
    AUTO_BUF nonce = BUF_INIT;
    const char *whole = json_string_value(json_object_get(header, "nonce"));
    if (whole != NULL) {
        exchange_nonce(whole, &nonce);
        replace(header, "nonce", buf_str(&nonce));
    }
    add_json(header, out);
}

void exchange_request(const char *jws, size_t len, struct buf *out)
{
    json_error_t ignored;
    AUTO_JSON *root = json_loadb(jws, len, JSON_REJECT_DUPLICATES, &ignored);
    AUTO_JSON *header = root != NULL ? decoded(acme_json_string(root, "protected")) : NULL;
    if (header == NULL) {
        buf_adds(out, NOT_SHOWN);
        return;
    }
    buf_adds(out, "protected: ");
    add_protected(header, out);
    buf_adds(out, "\npayload: ");
    AUTO_JSON *payload = decoded(acme_json_string(root, "payload"));
    if (payload == NULL) {
        buf_adds(out, "(empty: a read)");
        return;
    }
    replace(payload, "externalAccountBinding", NOT_SHOWN);
    add_json(payload, out);
}

static bool is_json(const char *content_type)
{
    size_t len = strlen(content_type);
    return len >= 4 && strcmp(content_type + len - 4, "json") == 0;
}

void exchange_answer(const char *content_type, const char *body, size_t len, struct buf *out)
{
    json_error_t ignored;
    AUTO_JSON *root = is_json(content_type) ? json_loadb(body, len, JSON_DECODE_ANY, &ignored) : NULL;
    if (root != NULL) {
        replace(root, "externalAccountBinding", NOT_SHOWN);
        add_json(root, out);
    } else if (strstr(content_type, "pem") != NULL || strlen(body) > TEXT_MAX_BYTES) {
        buf_addf(out, "(%zu bytes)", len);
    } else {
        buf_adds(out, body);
    }
}
