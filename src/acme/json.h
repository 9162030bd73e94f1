/*
 * json.h - reading JSON from a CA: bounded depth, strict types. Internal to acme/.
 */
#ifndef TLSUP_ACME_JSON_H
#define TLSUP_ACME_JSON_H

#include <jansson.h>

#include "tlsup/err.h"

/* Parse an object; NULL with `err` (ERR_PROTOCOL) that shows how the answer began. The caller decrefs. */
json_t *acme_json(const char *text, size_t len, const char *what, struct err *err);
/* A string member, borrowed; NULL when it is missing or something else. */
const char *acme_json_string(const json_t *object, const char *key);
/* Copy a member that is a valid https URL; false (and "") when it is missing or not one. */
bool acme_json_url(const json_t *object, const char *key, char *out, size_t size);

static inline void acme_json_free(json_t **json)
{
    json_decref(*json);
}
#define AUTO_JSON CLEANUP(acme_json_free) json_t

/* Member iteration by index. */
static inline const json_t *acme_json_at(const json_t *array, size_t index)
{
    return json_array_get(array, index);
}

#endif
