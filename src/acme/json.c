#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "json.h"

#include <stdio.h>
#include <string.h>

#include "tlsup/url.h"

enum { MAX_DEPTH = 24, SHOWN_BYTES = 160 };

/* Jansson recurses for each level: look at the depth before it does. */
static bool too_deep(const char *text, size_t len)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        if (in_string) {
            if (text[i] == '\\')
                i++;
            else if (text[i] == '"')
                in_string = false;
        } else if (text[i] == '"') {
            in_string = true;
        } else if (text[i] == '{' || text[i] == '[') {
            if (++depth > MAX_DEPTH)
                return true;
        } else if (text[i] == '}' || text[i] == ']') {
            depth--;
        }
    }
    return false;
}

/* The beginning of a text on one line, to show a person what came instead of JSON. */
static void excerpt(const char *text, size_t len, char out[SHOWN_BYTES])
{
    size_t n = 0;
    for (size_t i = 0; i < len && n + 1 < SHOWN_BYTES; i++) {
        unsigned char c = (unsigned char)text[i];
        bool space = c <= ' ';
        if (!space || (n > 0 && out[n - 1] != ' '))
            out[n++] = space ? ' ' : (char)c;
    }
    out[n] = '\0';
}

json_t *acme_json(const char *text, size_t len, const char *what, struct err *err)
{
    char shown[SHOWN_BYTES];
    json_error_t where;
    if (too_deep(text, len)) {
        err_set(err, ERR_PROTOCOL, NEXT_RETRY_LATER, NULL, "%s is nested more than %d levels deep", what,
                MAX_DEPTH);
        return NULL;
    }
    json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
    if (json_is_object(json))
        return json;
    json_decref(json);
    excerpt(text, len, shown);
    err_set(err, ERR_PROTOCOL, NEXT_RETRY_LATER, NULL, "%s is not a JSON object; it begins: %s", what,
            shown[0] != '\0' ? shown : "(empty)");
    return NULL;
}

const char *acme_json_string(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

bool acme_json_url(const json_t *object, const char *key, char *out, size_t size)
{
    const char *url = acme_json_string(object, key);
    bool ok = url != NULL && url_valid(url) && strlen(url) < size;
    snprintf(out, size, "%s", ok ? url : "");
    return ok;
}
