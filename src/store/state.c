#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/state.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/mem.h"
#include "tlsup/name.h"

#define STATE_NAMES_MAX 10000
#define STATE_NUMBER_MAX                                                                                     \
    INT64_C(253402300799) /* the last second of the year 9999: sums of two cannot overflow */

static const char *const step_words[] = {
    [DEPLOY_NONE] = "none",         [DEPLOY_ISSUED] = "issued",     [DEPLOY_INSTALLED] = "installed",
    [DEPLOY_RELOADED] = "reloaded", [DEPLOY_VERIFIED] = "verified",
};

/* The first has kept its word from when it was the only one. */
static const char *const order_keys[] = {"order", "second_order"};

static const char *const next_words[] = {
    [NEXT_NONE] = "none",
    [NEXT_RETRY_NOW] = "retry-now",
    [NEXT_RETRY_LATER] = "retry-later",
    [NEXT_FIX_CONFIG] = "fix-config",
    [NEXT_REFUSED] = "refused",
    [NEXT_LOCAL_FAULT] = "local-fault",
};

const char *deploy_step_name(enum deploy_step step)
{
    return (size_t)step < COUNT_OF(step_words) ? step_words[step] : "none";
}

void cert_state_clear(struct cert_state *state)
{
    for (size_t i = 0; i < COUNT_OF(state->orders); i++)
        strlist_clear(&state->orders[i].names);
    strlist_clear(&state->missing);
    strlist_clear(&state->places);
    memset(state, 0, sizeof *state);
}

/* -- writing ------------------------------------------------------------------------------------------ */

static void auto_json(json_t **json)
{
    json_decref(*json);
}
#define AUTO_JSON CLEANUP(auto_json) json_t

static json_t *new_object(void)
{
    json_t *object = json_object();
    if (object == NULL)
        mem_exhausted();
    return object;
}

/* JSON text is UTF-8. A fixed array may have cut the last character in two, and a peer may have sent any
 * bytes: drop the cut character, and mask what is still not UTF-8. */
static json_t *new_text(const char *text)
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

static void put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0)
        mem_exhausted();
}

static void put_text(json_t *object, const char *key, const char *text)
{
    if (text[0] != '\0')
        put(object, key, new_text(text));
}

/* Text that is used rather than shown (URLs, addresses, names): visible ASCII. */
static bool is_token(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~')
            return false;
    return true;
}

static bool is_line(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return false;
    return text[0] != '\0';
}

static bool is_name(const char *text)
{
    return text[0] != '\0' && strlen(text) < NAME_MAX_BYTES && is_token(text);
}

/* What the reader would refuse is not written: a run must never lock out the next one. */
static void put_token(json_t *object, const char *key, const char *token)
{
    if (is_token(token))
        put_text(object, key, token);
}

static void put_int(json_t *object, const char *key, int64_t number)
{
    if (number > 0)
        put(object, key, json_integer(number < STATE_NUMBER_MAX ? number : STATE_NUMBER_MAX));
}

static void put_list(json_t *object, const char *key, const struct strlist *names,
                     bool (*is_right)(const char *))
{
    json_t *array = json_array();
    if (array == NULL)
        mem_exhausted();
    for (size_t i = 0; i < names->n && i < STATE_NAMES_MAX; i++)
        if (is_right(names->v[i]) && json_array_append_new(array, new_text(names->v[i])) != 0)
            mem_exhausted();
    put(object, key, array);
}

static void put_names(json_t *object, const char *key, const struct strlist *names)
{
    put_list(object, key, names, is_name);
}

static json_t *order_to_json(const struct order_state *state)
{
    json_t *order = new_object();
    put_token(order, "url", state->url);
    put_token(order, "ca", state->ca);
    put_token(order, "account", state->account);
    put_names(order, "names", &state->names);
    put_int(order, "created_s", state->created_s);
    return order;
}

static json_t *live_to_json(const struct cert_state *state)
{
    json_t *live = new_object();
    put_int(live, "version", state->version);
    put(live, "step", new_text(deploy_step_name(state->step)));
    put_int(live, "issued_s", state->issued_s);
    put_int(live, "verified_s", state->verified_s);
    if (state->places.n > 0)
        put_list(live, "places", &state->places, is_line);
    put_token(live, "ca", state->issued_by);
    put_token(live, "account", state->issued_account);
    put_token(live, "replaced_id", state->replaced_id);
    if (state->revoked)
        put(live, "revoked", json_true());
    put_int(live, "persist_until_s", state->persist_until_s);
    return live;
}

static json_t *partial_to_json(const struct cert_state *state)
{
    json_t *partial = new_object();
    put_names(partial, "missing", &state->missing);
    put_int(partial, "try_s", state->missing_try_s);
    put_int(partial, "failures", state->missing_failures);
    return partial;
}

static json_t *ari_to_json(const struct ari_state *state)
{
    json_t *ari = new_object();
    put_token(ari, "cert_id", state->cert_id);
    put_token(ari, "ca", state->ca);
    put_int(ari, "start_s", state->start_s);
    put_int(ari, "end_s", state->end_s);
    put_int(ari, "chosen_s", state->chosen_s);
    put_int(ari, "next_check_s", state->next_check_s);
    put_int(ari, "failures", state->failures);
    put_token(ari, "explanation_url", state->explanation_url);
    return ari;
}

/* A part that says nothing is left out. */
static void put_part(json_t *root, const char *key, json_t *part)
{
    if (json_object_size(part) > 0)
        put(root, key, part);
    else
        json_decref(part);
}

static json_t *error_to_json(const struct err *err)
{
    json_t *error = new_object();
    put(error, "code", new_text(err_code_name(err->code)));
    put(error, "next", new_text((size_t)err->next < COUNT_OF(next_words) ? next_words[err->next] : "none"));
    put_int(error, "wait_s", err->wait_s);
    put_text(error, "type", err->type);
    put_text(error, "subject", err->subject);
    put_text(error, "text", err->text);
    put_text(error, "advice", err->advice);
    return error;
}

static json_t *failures_to_json(const struct cert_state *state)
{
    json_t *failures = new_object();
    put_int(failures, "count", state->failures);
    put_int(failures, "last_s", state->failed_s);
    put_int(failures, "next_try_s", state->next_try_s);
    if (err_isset(&state->last_error))
        put(failures, "error", error_to_json(&state->last_error));
    return failures;
}

static void print(const json_t *json, struct buf *out)
{
    char *text = json_dumps(json, JSON_INDENT(2));
    if (text == NULL)
        mem_exhausted();
    buf_adds(out, text);
    buf_addc(out, '\n');
    free(text);
}

void state_encode(const struct cert_state *state, struct buf *out)
{
    AUTO_JSON *root = new_object();
    for (size_t i = 0; i < COUNT_OF(order_keys); i++)
        if (state->orders[i].url[0] != '\0' || state->orders[i].names.n > 0)
            put(root, order_keys[i], order_to_json(&state->orders[i]));
    put(root, "live", live_to_json(state));
    if (state->missing.n > 0 || state->missing_try_s > 0 || state->missing_failures > 0)
        put(root, "partial", partial_to_json(state));
    put_part(root, "ari", ari_to_json(&state->ari));
    put(root, "failures", failures_to_json(state));
    print(root, out);
}

void account_encode(const struct account_record *record, struct buf *out)
{
    AUTO_JSON *root = new_object();
    put_token(root, "server", record->server);
    put_token(root, "url", record->url);
    put_token(root, "status", record->status);
    put_token(root, "email", record->email);
    put_token(root, "tos", record->tos);
    put_int(root, "created_s", record->created_s);
    put_token(root, "thumbprint", record->thumbprint);
    put_token(root, "eab_kid", record->eab_kid);
    put_token(root, "eab_hmac_key", record->eab_hmac_key);
    put_token(root, "eab_alg", record->eab_alg);
    print(root, out);
}

/* -- reading ------------------------------------------------------------------------------------------ */

/* Where in the document we are, for messages: "failures.error" of "state/example.org.json". */
struct place {
    const char *subject;
    const char *path;
    struct err *err;
};

static bool wrong(const struct place *at, const char *key, const char *expected)
{
    err_set(at->err, ERR_CONFIG, NEXT_LOCAL_FAULT, at->subject, "%s: '%s%s%s' is not %s", at->subject,
            at->path, at->path[0] != '\0' ? "." : "", key, expected);
    return err_advise(at->err,
                      "the file was changed or damaged: restore it from a backup, or move it away to "
                      "start afresh");
}

/* The member, or NULL when it is missing or null, which means the same. */
static json_t *member(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static bool get_object(const struct place *at, const json_t *object, const char *key, const json_t **out)
{
    *out = member(object, key);
    return *out == NULL || json_is_object(*out) || wrong(at, key, "an object");
}

static bool get_int(const struct place *at, const json_t *object, const char *key, int64_t max, int64_t *out)
{
    const json_t *value = member(object, key);
    if (value == NULL)
        return true;
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > max)
        return wrong(at, key, "a whole number in its range");
    *out = json_integer_value(value);
    return true;
}

static bool get_count(const struct place *at, const json_t *object, const char *key, int *out)
{
    int64_t number = *out;
    if (!get_int(at, object, key, INT_MAX, &number))
        return false;
    *out = (int)number;
    return true;
}

/* Text for people: too long is cut. */
static bool get_text(const struct place *at, const json_t *object, const char *key, char *out, size_t size)
{
    const json_t *value = member(object, key);
    if (value == NULL)
        return true;
    if (!json_is_string(value))
        return wrong(at, key, "a string");
    snprintf(out, size, "%s", json_string_value(value));
    printable(out);
    return true;
}

/* Nothing that is used is ever cut: it fits, or it is refused. */
static bool get_token(const struct place *at, const json_t *object, const char *key, char *out, size_t size)
{
    const json_t *value = member(object, key);
    if (value == NULL)
        return true;
    const char *text = json_string_value(value);
    if (text == NULL)
        return wrong(at, key, "a string");
    if (strlen(text) >= size)
        return wrong(at, key, "of a length that can be used");
    if (!is_token(text))
        return wrong(at, key, "visible ASCII text");
    snprintf(out, size, "%s", text);
    return true;
}

/* The index of a word, `unknown` for one of a newer version. */
static bool get_word(const struct place *at, const json_t *object, const char *key, const char *const *words,
                     size_t count, unsigned unknown, unsigned *out)
{
    const json_t *value = member(object, key);
    if (value == NULL)
        return true;
    if (!json_is_string(value))
        return wrong(at, key, "a string");
    *out = unknown;
    for (unsigned i = 0; i < count; i++)
        if (strcmp(words[i], json_string_value(value)) == 0)
            *out = i;
    return true;
}

static bool get_error_code(const struct place *at, const json_t *object, enum err_code *out)
{
    const json_t *value = member(object, "code");
    if (value == NULL)
        return true;
    if (!json_is_string(value))
        return wrong(at, "code", "a string");
    *out = ERR_INTERNAL;
    for (unsigned code = ERR_NONE; code < ERR_INTERNAL; code++)
        if (strcmp(err_code_name((enum err_code)code), json_string_value(value)) == 0)
            *out = (enum err_code)code;
    return true;
}

static bool get_bool(const struct place *at, const json_t *object, const char *key, bool *out)
{
    const json_t *value = member(object, key);
    if (value == NULL)
        return true;
    if (!json_is_boolean(value))
        return wrong(at, key, "true or false");
    *out = json_is_true(value);
    return true;
}

static bool get_list(const struct place *at, const json_t *object, const char *key,
                     bool (*is_right)(const char *), const char *what, struct strlist *out)
{
    const json_t *names = member(object, key);
    if (names == NULL)
        return true;
    if (!json_is_array(names) || json_array_size(names) > STATE_NAMES_MAX)
        return wrong(at, key, what);
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (name == NULL || !is_right(name))
            return wrong(at, key, what);
        strlist_add(out, name);
    }
    return true;
}

static bool get_names(const struct place *at, const json_t *object, const char *key, struct strlist *out)
{
    return get_list(at, object, key, is_name, "a list of names", out);
}

static bool read_order(const struct place *root_at, const json_t *root, const char *key,
                       struct order_state *out)
{
    const json_t *order;
    struct place at = {root_at->subject, key, root_at->err};
    return get_object(root_at, root, key, &order) &&
           get_token(&at, order, "url", out->url, sizeof out->url) &&
           get_token(&at, order, "ca", out->ca, sizeof out->ca) &&
           get_token(&at, order, "account", out->account, sizeof out->account) &&
           get_names(&at, order, "names", &out->names) &&
           get_int(&at, order, "created_s", STATE_NUMBER_MAX, &out->created_s);
}

static bool read_orders(const struct place *root_at, const json_t *root, struct cert_state *out)
{
    for (size_t i = 0; i < COUNT_OF(order_keys); i++)
        if (!read_order(root_at, root, order_keys[i], &out->orders[i]))
            return false;
    return true;
}

static bool read_live(const struct place *root_at, const json_t *root, struct cert_state *out)
{
    const json_t *live;
    unsigned step = DEPLOY_NONE;
    struct place at = {root_at->subject, "live", root_at->err};
    /* a step that we do not know lies beyond those that we know how to do: begin again after the first */
    bool ok = get_object(root_at, root, "live", &live) && get_count(&at, live, "version", &out->version) &&
              get_word(&at, live, "step", step_words, COUNT_OF(step_words), DEPLOY_ISSUED, &step) &&
              get_int(&at, live, "issued_s", STATE_NUMBER_MAX, &out->issued_s) &&
              get_int(&at, live, "verified_s", STATE_NUMBER_MAX, &out->verified_s) &&
              get_list(&at, live, "places", is_line, "a list of places", &out->places) &&
              get_token(&at, live, "ca", out->issued_by, sizeof out->issued_by) &&
              get_token(&at, live, "account", out->issued_account, sizeof out->issued_account) &&
              get_token(&at, live, "replaced_id", out->replaced_id, sizeof out->replaced_id) &&
              get_bool(&at, live, "revoked", &out->revoked) &&
              get_int(&at, live, "persist_until_s", STATE_NUMBER_MAX, &out->persist_until_s);
    out->step = (enum deploy_step)step;
    return ok;
}

static bool read_partial(const struct place *root_at, const json_t *root, struct cert_state *out)
{
    const json_t *partial;
    struct place at = {root_at->subject, "partial", root_at->err};
    return get_object(root_at, root, "partial", &partial) &&
           get_names(&at, partial, "missing", &out->missing) &&
           get_int(&at, partial, "try_s", STATE_NUMBER_MAX, &out->missing_try_s) &&
           get_count(&at, partial, "failures", &out->missing_failures);
}

static bool read_ari(const struct place *root_at, const json_t *root, struct ari_state *out)
{
    const json_t *ari;
    struct place at = {root_at->subject, "ari", root_at->err};
    return get_object(root_at, root, "ari", &ari) &&
           get_token(&at, ari, "cert_id", out->cert_id, sizeof out->cert_id) &&
           get_token(&at, ari, "ca", out->ca, sizeof out->ca) &&
           get_int(&at, ari, "start_s", STATE_NUMBER_MAX, &out->start_s) &&
           get_int(&at, ari, "end_s", STATE_NUMBER_MAX, &out->end_s) &&
           get_int(&at, ari, "chosen_s", STATE_NUMBER_MAX, &out->chosen_s) &&
           get_int(&at, ari, "next_check_s", STATE_NUMBER_MAX, &out->next_check_s) &&
           get_count(&at, ari, "failures", &out->failures) &&
           get_token(&at, ari, "explanation_url", out->explanation_url, sizeof out->explanation_url);
}

static bool read_error(const struct place *parent_at, const json_t *failures, struct err *out)
{
    const json_t *error;
    unsigned next = NEXT_NONE;
    struct place at = {parent_at->subject, "failures.error", parent_at->err};
    bool ok = get_object(parent_at, failures, "error", &error) && get_error_code(&at, error, &out->code) &&
              get_word(&at, error, "next", next_words, COUNT_OF(next_words), NEXT_NONE, &next) &&
              get_int(&at, error, "wait_s", STATE_NUMBER_MAX, &out->wait_s) &&
              get_text(&at, error, "type", out->type, sizeof out->type) &&
              get_text(&at, error, "subject", out->subject, sizeof out->subject) &&
              get_text(&at, error, "text", out->text, sizeof out->text) &&
              get_text(&at, error, "advice", out->advice, sizeof out->advice);
    out->next = (enum err_next)next;
    return ok;
}

static bool read_failures(const struct place *root_at, const json_t *root, struct cert_state *out)
{
    const json_t *failures;
    struct place at = {root_at->subject, "failures", root_at->err};
    return get_object(root_at, root, "failures", &failures) &&
           get_count(&at, failures, "count", &out->failures) &&
           get_int(&at, failures, "last_s", STATE_NUMBER_MAX, &out->failed_s) &&
           get_int(&at, failures, "next_try_s", STATE_NUMBER_MAX, &out->next_try_s) &&
           read_error(&at, failures, &out->last_error);
}

static json_t *parse(const char *json, size_t len, const char *subject, struct err *err)
{
    json_error_t why;
    json_t *root = json_loadb(len > 0 ? json : "", len, JSON_REJECT_DUPLICATES, &why);
    if (root == NULL) {
        err_set(err, ERR_CONFIG, NEXT_LOCAL_FAULT, subject, "%s:%d:%d: malformed JSON: %s", subject, why.line,
                why.column, why.text);
        err_advise(err, "the file was changed or damaged: restore it from a backup, or move it away to start "
                        "afresh");
    } else if (!json_is_object(root)) {
        struct place at = {subject, "", err};
        wrong(&at, "document", "an object");
        json_decref(root);
        root = NULL;
    }
    return root;
}

bool state_decode(const char *json, size_t len, const char *subject, struct cert_state *out, struct err *err)
{
    AUTO_JSON *root = parse(json, len, subject, err);
    struct cert_state state = CERT_STATE_INIT;
    struct place at = {subject, "", err};
    if (root == NULL)
        return false;
    if (!read_orders(&at, root, &state) || !read_live(&at, root, &state) ||
        !read_partial(&at, root, &state) || !read_ari(&at, root, &state.ari) ||
        !read_failures(&at, root, &state)) {
        cert_state_clear(&state);
        return false;
    }
    cert_state_clear(out);
    *out = state;
    return true;
}

bool account_decode(const char *json, size_t len, const char *subject, struct account_record *out,
                    struct err *err)
{
    AUTO_JSON *root = parse(json, len, subject, err);
    struct account_record record = {0};
    struct place at = {subject, "", err};
    if (root == NULL)
        return false;
    if (!get_token(&at, root, "url", record.url, sizeof record.url) ||
        !get_token(&at, root, "email", record.email, sizeof record.email) ||
        !get_token(&at, root, "tos", record.tos, sizeof record.tos) ||
        !get_int(&at, root, "created_s", STATE_NUMBER_MAX, &record.created_s) ||
        !get_token(&at, root, "thumbprint", record.thumbprint, sizeof record.thumbprint) ||
        !get_token(&at, root, "server", record.server, sizeof record.server) ||
        !get_token(&at, root, "status", record.status, sizeof record.status) ||
        !get_token(&at, root, "eab_kid", record.eab_kid, sizeof record.eab_kid) ||
        !get_token(&at, root, "eab_hmac_key", record.eab_hmac_key, sizeof record.eab_hmac_key) ||
        !get_token(&at, root, "eab_alg", record.eab_alg, sizeof record.eab_alg))
        return false;
    *out = record;
    return true;
}
