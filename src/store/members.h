/*
 * members.h - members of the JSON objects that the store writes and reads again. Internal to store/.
 *
 * What is written can always be read again; what is read may have been changed by anybody.
 */
#ifndef TLSUP_STORE_MEMBERS_H
#define TLSUP_STORE_MEMBERS_H

#include <jansson.h>
#include <stdint.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"

#define MEMBER_NAMES_MAX 10000
#define MEMBER_NUMBER_MAX                                                                                    \
    INT64_C(253402300799) /* the last second of the year 9999: sums of two cannot overflow */

void member_drop(json_t **json);
#define AUTO_JSON CLEANUP(member_drop) json_t

/* -- writing: empty texts and numbers that are not above zero are left out -- */
json_t *member_new_object(void);
json_t *member_new_text(const char *text); /* what is no UTF-8 is masked */
json_t *member_new_error(const struct err *err);
void member_put(json_t *object, const char *key, json_t *value);     /* takes the value over */
void member_put_part(json_t *object, const char *key, json_t *part); /* an empty object is left out */
void member_put_text(json_t *object, const char *key, const char *text);
void member_put_token(json_t *object, const char *key, const char *token); /* only what is one */
void member_put_int(json_t *object, const char *key, int64_t number);
void member_put_list(json_t *object, const char *key, const struct strlist *list,
                     bool (*is_right)(const char *));
void member_put_names(json_t *object, const char *key, const struct strlist *names);
void member_print(const json_t *json, struct buf *out); /* appends */

bool member_is_token(const char *text); /* visible ASCII */
bool member_is_line(const char *text);  /* no control characters */
bool member_is_name(const char *text);

/* -- reading: a member that is missing or null leaves `out` as it is; one of the wrong kind or size is
 * ERR_CONFIG -- */

/* Where in the document we are, for messages: "failures.error" of "state/example.org.json". */
struct members_at {
    const char *subject;
    const char *path;
    struct err *err;
};

/* An object; NULL with ERR_CONFIG. The caller decrefs. */
json_t *members_parse(const char *json, size_t len, const char *subject, struct err *err);
bool member_wrong(const struct members_at *at, const char *key, const char *expected);
json_t *member_of(const json_t *object, const char *key); /* NULL when it is missing, or null */
MUST_CHECK bool member_get_object(const struct members_at *at, const json_t *object, const char *key,
                                  const json_t **out);
MUST_CHECK bool member_get_int(const struct members_at *at, const json_t *object, const char *key,
                               int64_t max, int64_t *out);
MUST_CHECK bool member_get_count(const struct members_at *at, const json_t *object, const char *key,
                                 int *out);
MUST_CHECK bool member_get_bool(const struct members_at *at, const json_t *object, const char *key,
                                bool *out);
/* Text for people: too long is cut. */
MUST_CHECK bool member_get_text(const struct members_at *at, const json_t *object, const char *key, char *out,
                                size_t size);
/* Nothing that is used is ever cut: it fits, or it is refused. */
MUST_CHECK bool member_get_token(const struct members_at *at, const json_t *object, const char *key,
                                 char *out, size_t size);
/* A line of any length, on the heap; the caller frees. */
MUST_CHECK bool member_get_line(const struct members_at *at, const json_t *object, const char *key,
                                char **out);
/* The index of a word, `unknown` for one of a newer version. */
MUST_CHECK bool member_get_word(const struct members_at *at, const json_t *object, const char *key,
                                const char *const *words, size_t count, unsigned unknown, unsigned *out);
MUST_CHECK bool member_get_list(const struct members_at *at, const json_t *object, const char *key,
                                bool (*is_right)(const char *), const char *what, struct strlist *out);
MUST_CHECK bool member_get_names(const struct members_at *at, const json_t *object, const char *key,
                                 struct strlist *out);
/* Member "error". */
MUST_CHECK bool member_get_error(const struct members_at *at, const json_t *object, struct err *out);
/* A list of objects, at most `most`; NULL = none. */
MUST_CHECK bool member_get_objects(const struct members_at *at, const json_t *object, const char *key,
                                   size_t most, const json_t **out, size_t *n);

#endif
