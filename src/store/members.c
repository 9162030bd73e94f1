#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "members.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/mem.h"
#include "tlsup/name.h"

static const char *const next_words[] = {
    [NEXT_NONE] = "none",
    [NEXT_RETRY_NOW] = "retry-now",
    [NEXT_RETRY_LATER] = "retry-later",
    [NEXT_FIX_CONFIG] = "fix-config",
    [NEXT_REFUSED] = "refused",
    [NEXT_LOCAL_FAULT] = "local-fault",
};

/* -- writing ------------------------------------------------------------------------------------------ */

void member_drop(json_t **json)
{
    json_decref(*json);
}

json_t *member_new_object(void)
{
    json_t *object = json_object();
    if (object == NULL)
        mem_exhausted();
    return object;
}

/* JSON text is UTF-8. A fixed array may have cut the last character in two, and a peer may have sent any
 * bytes: drop the cut character, and mask what is still not UTF-8. */
json_t *member_new_text(const char *text)
{
    size_t len = strlen(text);
    json_t *json = NULL;
    for (size_t cut = 0; json == NULL && cut <= 3 && cut <= len; cut++)
        json = json_stringn(text, len - cut);
    if (json == NULL) {
        AUTO_FREE char *ascii = mem_dup(text);
        for (char *c = ascii; *c != '\0'; c++)
            if ((unsigned char)*c >= 0x80)
                *c = '?';
        json = json_string(ascii);
    }
    if (json == NULL)
        mem_exhausted();
    return json;
}

void member_put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0)
        mem_exhausted();
}

void member_put_text(json_t *object, const char *key, const char *text)
{
    if (text[0] != '\0')
        member_put(object, key, member_new_text(text));
}

/* Text that is used rather than shown (URLs, addresses, names): visible ASCII. */
bool member_is_token(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~')
            return false;
    return true;
}

bool member_is_line(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return false;
    return text[0] != '\0';
}

bool member_is_name(const char *text)
{
    return text[0] != '\0' && strlen(text) < NAME_MAX_BYTES && member_is_token(text);
}

/* What the reader would refuse is not written: a run must never lock out the next one. */
void member_put_token(json_t *object, const char *key, const char *token)
{
    if (member_is_token(token))
        member_put_text(object, key, token);
}

void member_put_int(json_t *object, const char *key, int64_t number)
{
    if (number > 0)
        member_put(object, key, json_integer(number < MEMBER_NUMBER_MAX ? number : MEMBER_NUMBER_MAX));
}

void member_put_list(json_t *object, const char *key, const struct strlist *names,
                     bool (*is_right)(const char *))
{
    json_t *array = json_array();
    if (array == NULL)
        mem_exhausted();
    for (size_t i = 0; i < names->n && i < MEMBER_NAMES_MAX; i++)
        if (is_right(names->v[i]) && json_array_append_new(array, member_new_text(names->v[i])) != 0)
            mem_exhausted();
    member_put(object, key, array);
}

void member_put_names(json_t *object, const char *key, const struct strlist *names)
{
    member_put_list(object, key, names, member_is_name);
}

/* A part that says nothing is left out. */
void member_put_part(json_t *root, const char *key, json_t *part)
{
    if (json_object_size(part) > 0)
        member_put(root, key, part);
    else
        json_decref(part);
}

json_t *member_new_error(const struct err *err)
{
    json_t *error = member_new_object();
    member_put(error, "code", member_new_text(err_code_name(err->code)));
    member_put(error, "next",
               member_new_text((size_t)err->next < COUNT_OF(next_words) ? next_words[err->next] : "none"));
    member_put_int(error, "wait_s", err->wait_s);
    member_put_text(error, "type", err->type);
    member_put_text(error, "subject", err->subject);
    member_put_text(error, "text", err->text);
    member_put_text(error, "advice", err->advice);
    return error;
}

void member_print(const json_t *json, struct buf *out)
{
    char *text = json_dumps(json, JSON_INDENT(2));
    if (text == NULL)
        mem_exhausted();
    buf_adds(out, text);
    buf_addc(out, '\n');
    free(text);
}

/* -- reading ------------------------------------------------------------------------------------------ */

bool member_wrong(const struct members_at *at, const char *key, const char *expected)
{
    err_set(at->err, ERR_CONFIG, NEXT_LOCAL_FAULT, at->subject, "%s: '%s%s%s' is not %s", at->subject,
            at->path, at->path[0] != '\0' ? "." : "", key, expected);
    return err_advise(at->err,
                      "the file was changed or damaged: restore it from a backup, or move it away to "
                      "start afresh");
}

json_t *member_of(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

bool member_get_object(const struct members_at *at, const json_t *object, const char *key, const json_t **out)
{
    *out = member_of(object, key);
    return *out == NULL || json_is_object(*out) || member_wrong(at, key, "an object");
}

bool member_get_int(const struct members_at *at, const json_t *object, const char *key, int64_t max,
                    int64_t *out)
{
    const json_t *value = member_of(object, key);
    if (value == NULL)
        return true;
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > max)
        return member_wrong(at, key, "a whole number in its range");
    *out = json_integer_value(value);
    return true;
}

bool member_get_count(const struct members_at *at, const json_t *object, const char *key, int *out)
{
    int64_t number = *out;
    if (!member_get_int(at, object, key, INT_MAX, &number))
        return false;
    *out = (int)number;
    return true;
}

bool member_get_text(const struct members_at *at, const json_t *object, const char *key, char *out,
                     size_t size)
{
    const json_t *value = member_of(object, key);
    if (value == NULL)
        return true;
    if (!json_is_string(value))
        return member_wrong(at, key, "a string");
    snprintf(out, size, "%s", json_string_value(value));
    printable(out);
    return true;
}

bool member_get_token(const struct members_at *at, const json_t *object, const char *key, char *out,
                      size_t size)
{
    const json_t *value = member_of(object, key);
    if (value == NULL)
        return true;
    const char *text = json_string_value(value);
    if (text == NULL)
        return member_wrong(at, key, "a string");
    if (strlen(text) >= size)
        return member_wrong(at, key, "of a length that can be used");
    if (!member_is_token(text))
        return member_wrong(at, key, "visible ASCII text");
    snprintf(out, size, "%s", text);
    return true;
}

bool member_get_line(const struct members_at *at, const json_t *object, const char *key, char **out)
{
    const json_t *value = member_of(object, key);
    const char *text = json_string_value(value);
    if (value == NULL)
        return true;
    if (text == NULL || !member_is_line(text))
        return member_wrong(at, key, "a line of text");
    free(*out);
    *out = mem_dup(text);
    return true;
}

bool member_get_word(const struct members_at *at, const json_t *object, const char *key,
                     const char *const *words, size_t count, unsigned unknown, unsigned *out)
{
    const json_t *value = member_of(object, key);
    if (value == NULL)
        return true;
    if (!json_is_string(value))
        return member_wrong(at, key, "a string");
    *out = unknown;
    for (unsigned i = 0; i < count; i++)
        if (strcmp(words[i], json_string_value(value)) == 0)
            *out = i;
    return true;
}

static bool get_error_code(const struct members_at *at, const json_t *object, enum err_code *out)
{
    const json_t *value = member_of(object, "code");
    if (value == NULL)
        return true;
    if (!json_is_string(value))
        return member_wrong(at, "code", "a string");
    *out = ERR_INTERNAL;
    for (unsigned code = ERR_NONE; code < ERR_INTERNAL; code++)
        if (strcmp(err_code_name((enum err_code)code), json_string_value(value)) == 0)
            *out = (enum err_code)code;
    return true;
}

bool member_get_bool(const struct members_at *at, const json_t *object, const char *key, bool *out)
{
    const json_t *value = member_of(object, key);
    if (value == NULL)
        return true;
    if (!json_is_boolean(value))
        return member_wrong(at, key, "true or false");
    *out = json_is_true(value);
    return true;
}

bool member_get_list(const struct members_at *at, const json_t *object, const char *key,
                     bool (*is_right)(const char *), const char *what, struct strlist *out)
{
    const json_t *names = member_of(object, key);
    if (names == NULL)
        return true;
    if (!json_is_array(names) || json_array_size(names) > MEMBER_NAMES_MAX)
        return member_wrong(at, key, what);
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (name == NULL || !is_right(name))
            return member_wrong(at, key, what);
        strlist_add(out, name);
    }
    return true;
}

bool member_get_names(const struct members_at *at, const json_t *object, const char *key, struct strlist *out)
{
    return member_get_list(at, object, key, member_is_name, "a list of names", out);
}

bool member_get_objects(const struct members_at *at, const json_t *object, const char *key, size_t most,
                        const json_t **out, size_t *n)
{
    const json_t *list = member_of(object, key);
    size_t count = json_array_size(list);
    if (list != NULL && (!json_is_array(list) || count > most))
        return member_wrong(at, key, "a list of its size");
    for (size_t i = 0; i < count; i++)
        if (!json_is_object(json_array_get(list, i)))
            return member_wrong(at, key, "a list of objects");
    *out = list;
    *n = count;
    return true;
}

bool member_get_error(const struct members_at *parent_at, const json_t *failures, struct err *out)
{
    const json_t *error;
    unsigned next = NEXT_NONE;
    AUTO_FREE char *path = mem_fmt("%s.error", parent_at->path);
    struct members_at at = {parent_at->subject, path, parent_at->err};
    bool ok = member_get_object(parent_at, failures, "error", &error) &&
              get_error_code(&at, error, &out->code) &&
              member_get_word(&at, error, "next", next_words, COUNT_OF(next_words), NEXT_NONE, &next) &&
              member_get_int(&at, error, "wait_s", MEMBER_NUMBER_MAX, &out->wait_s) &&
              member_get_text(&at, error, "type", out->type, sizeof out->type) &&
              member_get_text(&at, error, "subject", out->subject, sizeof out->subject) &&
              member_get_text(&at, error, "text", out->text, sizeof out->text) &&
              member_get_text(&at, error, "advice", out->advice, sizeof out->advice);
    out->next = (enum err_next)next;
    return ok;
}

json_t *members_parse(const char *json, size_t len, const char *subject, struct err *err)
{
    json_error_t why;
    json_t *root = json_loadb(len > 0 ? json : "", len, JSON_REJECT_DUPLICATES, &why);
    if (root == NULL) {
        err_set(err, ERR_CONFIG, NEXT_LOCAL_FAULT, subject, "%s:%d:%d: malformed JSON: %s", subject, why.line,
                why.column, why.text);
        err_advise(err, "the file was changed or damaged: restore it from a backup, or move it away to start "
                        "afresh");
    } else if (!json_is_object(root)) {
        struct members_at at = {subject, "", err};
        member_wrong(&at, "document", "an object");
        json_decref(root);
        root = NULL;
    }
    return root;
}
