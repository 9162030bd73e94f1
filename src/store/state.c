#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "members.h"
#include "tlsup/mem.h"
#include "tlsup/quote.h"

enum { DEPLOYMENTS_MAX = 1000 };

static const char *const step_words[] = {
    [DEPLOY_NONE] = "none",         [DEPLOY_ISSUED] = "issued",     [DEPLOY_INSTALLED] = "installed",
    [DEPLOY_RELOADED] = "reloaded", [DEPLOY_VERIFIED] = "verified",
};

static const char *const kind_words[] = {
    [DEPLOYMENT_HOOK] = "hook",
    [DEPLOYMENT_EXPORT] = "export",
    [DEPLOYMENT_VERIFY] = "verify",
};

static const char *const alarm_words[] = {
    [ALARM_NONE] = "none",
    [ALARM_FAILING] = "failing",
    [ALARM_URGENT] = "urgent",
    [ALARM_EXPIRED] = "expired",
};

/* The first has kept its word from when it was the only one. */
static const char *const order_keys[] = {"order", "second_order"};

const char *deploy_step_name(enum deploy_step step)
{
    return (size_t)step < COUNT_OF(step_words) ? step_words[step] : "none";
}

const char *deployment_kind_name(enum deployment_kind kind)
{
    return (size_t)kind < COUNT_OF(kind_words) ? kind_words[kind] : "";
}

const char *alarm_name(enum alarm alarm)
{
    return (size_t)alarm < COUNT_OF(alarm_words) ? alarm_words[alarm] : "none";
}

void cert_state_clear(struct cert_state *state)
{
    for (size_t i = 0; i < state->n_deployments; i++)
        free(state->deployments[i].what);
    free(state->deployments);
    for (size_t i = 0; i < COUNT_OF(state->orders); i++)
        strlist_clear(&state->orders[i].names);
    strlist_clear(&state->missing);
    strlist_clear(&state->places);
    memset(state, 0, sizeof *state);
}

/* -- writing ------------------------------------------------------------------------------------------ */

static json_t *order_to_json(const struct order_state *state)
{
    json_t *order = member_new_object();
    member_put_token(order, "url", state->url);
    member_put_token(order, "ca", state->ca);
    member_put_token(order, "account", state->account);
    member_put_names(order, "names", &state->names);
    member_put_int(order, "created_s", state->created_s);
    return order;
}

static json_t *live_to_json(const struct cert_state *state)
{
    json_t *live = member_new_object();
    member_put_int(live, "version", state->version);
    member_put(live, "step", member_new_text(deploy_step_name(state->step)));
    member_put_int(live, "issued_s", state->issued_s);
    member_put_int(live, "verified_s", state->verified_s);
    if (state->places.n > 0)
        member_put_list(live, "places", &state->places, member_is_line);
    member_put_token(live, "ca", state->issued_by);
    member_put_token(live, "account", state->issued_account);
    member_put_token(live, "replaced_id", state->replaced_id);
    if (state->revoked)
        member_put(live, "revoked", json_true());
    member_put_int(live, "persist_until_s", state->persist_until_s);
    return live;
}

static json_t *partial_to_json(const struct cert_state *state)
{
    json_t *partial = member_new_object();
    member_put_names(partial, "missing", &state->missing);
    member_put_int(partial, "try_s", state->missing_try_s);
    member_put_int(partial, "failures", state->missing_failures);
    return partial;
}

static json_t *ari_to_json(const struct ari_state *state)
{
    json_t *ari = member_new_object();
    member_put_token(ari, "cert_id", state->cert_id);
    member_put_token(ari, "ca", state->ca);
    member_put_int(ari, "start_s", state->start_s);
    member_put_int(ari, "end_s", state->end_s);
    member_put_int(ari, "chosen_s", state->chosen_s);
    member_put_int(ari, "next_check_s", state->next_check_s);
    member_put_int(ari, "failures", state->failures);
    member_put_token(ari, "explanation_url", state->explanation_url);
    return ari;
}

/* What a hook has printed may hold a secret. */
static struct err for_everybody(const struct err *err)
{
    struct err shown = *err;
    AUTO_BUF text = BUF_INIT;
    quote_drop(err->text, &text);
    snprintf(shown.text, sizeof shown.text, "%s", buf_str(&text));
    return shown;
}

static json_t *failures_to_json(int count, int64_t failed_s, int64_t next_try_s, const struct err *last)
{
    const struct err shown = for_everybody(last);
    json_t *failures = member_new_object();
    member_put_int(failures, "count", count);
    member_put_int(failures, "last_s", failed_s);
    member_put_int(failures, "next_try_s", next_try_s);
    if (err_isset(&shown))
        member_put(failures, "error", member_new_error(&shown));
    return failures;
}

static json_t *deployment_to_json(const struct deployment *one)
{
    json_t *out = member_new_object();
    member_put_text(out, "kind", deployment_kind_name(one->kind));
    member_put_text(out, "what", one->what);
    member_put_int(out, "wanted", one->wanted);
    member_put_int(out, "version", one->version);
    member_put_int(out, "done_s", one->done_s);
    member_put_part(out, "failures",
                    failures_to_json(one->failures, one->failed_s, one->next_try_s, &one->last_error));
    return out;
}

static void put_deployments(json_t *root, const struct cert_state *state)
{
    json_t *list = json_array();
    if (list == NULL)
        mem_exhausted();
    for (size_t i = 0; i < state->n_deployments && i < DEPLOYMENTS_MAX; i++)
        if (member_is_line(state->deployments[i].what) &&
            json_array_append_new(list, deployment_to_json(&state->deployments[i])) != 0)
            mem_exhausted();
    member_put(root, "deployments", list);
}

static json_t *told_to_json(const struct cert_state *state)
{
    json_t *told = member_new_object();
    if (state->told != ALARM_NONE)
        member_put_text(told, "alarm", alarm_name(state->told));
    member_put_int(told, "at_s", state->told_s);
    return told;
}

void state_encode(const struct cert_state *state, struct buf *out)
{
    AUTO_JSON *root = member_new_object();
    for (size_t i = 0; i < COUNT_OF(order_keys); i++)
        if (state->orders[i].url[0] != '\0' || state->orders[i].names.n > 0)
            member_put(root, order_keys[i], order_to_json(&state->orders[i]));
    member_put(root, "live", live_to_json(state));
    if (state->missing.n > 0 || state->missing_try_s > 0 || state->missing_failures > 0)
        member_put(root, "partial", partial_to_json(state));
    member_put_part(root, "ari", ari_to_json(&state->ari));
    member_put(root, "failures",
               failures_to_json(state->failures, state->failed_s, state->next_try_s, &state->last_error));
    if (state->n_deployments > 0)
        put_deployments(root, state);
    member_put_part(root, "told", told_to_json(state));
    member_print(root, out);
}

/* Under the text that everybody gets. */
static void put_output(json_t *list, const struct err *err)
{
    const struct err shown = for_everybody(err);
    if (!quote_is_in(err->text))
        return;
    json_t *one = member_new_object();
    member_put_text(one, "of", shown.text);
    member_put_text(one, "text", err->text);
    if (json_array_append_new(list, one) != 0)
        mem_exhausted();
}

void state_encode_output(const struct cert_state *state, struct buf *out)
{
    AUTO_JSON *root = member_new_object();
    json_t *list = json_array();
    if (list == NULL)
        mem_exhausted();
    member_put(root, "texts", list);
    put_output(list, &state->last_error);
    for (size_t i = 0; i < state->n_deployments; i++)
        put_output(list, &state->deployments[i].last_error);
    if (json_array_size(list) > 0)
        member_print(root, out);
}

void account_encode(const struct account_record *record, struct buf *out)
{
    AUTO_JSON *root = member_new_object();
    member_put_token(root, "server", record->server);
    member_put_token(root, "url", record->url);
    member_put_token(root, "status", record->status);
    member_put_token(root, "email", record->email);
    member_put_token(root, "tos", record->tos);
    member_put_int(root, "created_s", record->created_s);
    member_put_token(root, "thumbprint", record->thumbprint);
    member_put_token(root, "eab_kid", record->eab_kid);
    member_put_token(root, "eab_hmac_key", record->eab_hmac_key);
    member_put_token(root, "eab_alg", record->eab_alg);
    member_print(root, out);
}

/* -- reading ------------------------------------------------------------------------------------------ */

static bool read_order(const struct members_at *root_at, const json_t *root, const char *key,
                       struct order_state *out)
{
    const json_t *order;
    struct members_at at = {root_at->subject, key, root_at->err};
    return member_get_object(root_at, root, key, &order) &&
           member_get_token(&at, order, "url", out->url, sizeof out->url) &&
           member_get_token(&at, order, "ca", out->ca, sizeof out->ca) &&
           member_get_token(&at, order, "account", out->account, sizeof out->account) &&
           member_get_names(&at, order, "names", &out->names) &&
           member_get_int(&at, order, "created_s", MEMBER_NUMBER_MAX, &out->created_s);
}

static bool read_orders(const struct members_at *root_at, const json_t *root, struct cert_state *out)
{
    for (size_t i = 0; i < COUNT_OF(order_keys); i++)
        if (!read_order(root_at, root, order_keys[i], &out->orders[i]))
            return false;
    return true;
}

static bool read_live(const struct members_at *root_at, const json_t *root, struct cert_state *out)
{
    const json_t *live;
    unsigned step = DEPLOY_NONE;
    struct members_at at = {root_at->subject, "live", root_at->err};
    /* a step that we do not know lies beyond those that we know how to do: begin again after the first */
    bool ok = member_get_object(root_at, root, "live", &live) &&
              member_get_count(&at, live, "version", &out->version) &&
              member_get_word(&at, live, "step", step_words, COUNT_OF(step_words), DEPLOY_ISSUED, &step) &&
              member_get_int(&at, live, "issued_s", MEMBER_NUMBER_MAX, &out->issued_s) &&
              member_get_int(&at, live, "verified_s", MEMBER_NUMBER_MAX, &out->verified_s) &&
              member_get_list(&at, live, "places", member_is_line, "a list of places", &out->places) &&
              member_get_token(&at, live, "ca", out->issued_by, sizeof out->issued_by) &&
              member_get_token(&at, live, "account", out->issued_account, sizeof out->issued_account) &&
              member_get_token(&at, live, "replaced_id", out->replaced_id, sizeof out->replaced_id) &&
              member_get_bool(&at, live, "revoked", &out->revoked) &&
              member_get_int(&at, live, "persist_until_s", MEMBER_NUMBER_MAX, &out->persist_until_s);
    out->step = (enum deploy_step)step;
    return ok;
}

static bool read_partial(const struct members_at *root_at, const json_t *root, struct cert_state *out)
{
    const json_t *partial;
    struct members_at at = {root_at->subject, "partial", root_at->err};
    return member_get_object(root_at, root, "partial", &partial) &&
           member_get_names(&at, partial, "missing", &out->missing) &&
           member_get_int(&at, partial, "try_s", MEMBER_NUMBER_MAX, &out->missing_try_s) &&
           member_get_count(&at, partial, "failures", &out->missing_failures);
}

static bool read_ari(const struct members_at *root_at, const json_t *root, struct ari_state *out)
{
    const json_t *ari;
    struct members_at at = {root_at->subject, "ari", root_at->err};
    return member_get_object(root_at, root, "ari", &ari) &&
           member_get_token(&at, ari, "cert_id", out->cert_id, sizeof out->cert_id) &&
           member_get_token(&at, ari, "ca", out->ca, sizeof out->ca) &&
           member_get_int(&at, ari, "start_s", MEMBER_NUMBER_MAX, &out->start_s) &&
           member_get_int(&at, ari, "end_s", MEMBER_NUMBER_MAX, &out->end_s) &&
           member_get_int(&at, ari, "chosen_s", MEMBER_NUMBER_MAX, &out->chosen_s) &&
           member_get_int(&at, ari, "next_check_s", MEMBER_NUMBER_MAX, &out->next_check_s) &&
           member_get_count(&at, ari, "failures", &out->failures) &&
           member_get_token(&at, ari, "explanation_url", out->explanation_url, sizeof out->explanation_url);
}

static bool read_failures(const struct members_at *parent_at, const json_t *parent, int *count,
                          int64_t *failed_s, int64_t *next_try_s, struct err *last)
{
    const json_t *failures;
    AUTO_FREE char *path = mem_fmt("%s%sfailures", parent_at->path, parent_at->path[0] != '\0' ? "." : "");
    struct members_at at = {parent_at->subject, path, parent_at->err};
    return member_get_object(parent_at, parent, "failures", &failures) &&
           member_get_count(&at, failures, "count", count) &&
           member_get_int(&at, failures, "last_s", MEMBER_NUMBER_MAX, failed_s) &&
           member_get_int(&at, failures, "next_try_s", MEMBER_NUMBER_MAX, next_try_s) &&
           member_get_error(&at, failures, last);
}

static bool read_deployment(const struct members_at *at, const json_t *json, struct deployment *out,
                            unsigned *kind)
{
    return member_get_word(at, json, "kind", kind_words, COUNT_OF(kind_words), DEPLOYMENT_KINDS, kind) &&
           member_get_line(at, json, "what", &out->what) &&
           member_get_count(at, json, "wanted", &out->wanted) &&
           member_get_count(at, json, "version", &out->version) &&
           member_get_int(at, json, "done_s", MEMBER_NUMBER_MAX, &out->done_s) &&
           read_failures(at, json, &out->failures, &out->failed_s, &out->next_try_s, &out->last_error);
}

/* One of a kind that a newer version knows is none of ours. */
static bool read_deployments(const struct members_at *root_at, const json_t *root, struct cert_state *state)
{
    const json_t *list = NULL;
    size_t n = 0;
    struct members_at at = {root_at->subject, "deployments", root_at->err};
    if (!member_get_objects(root_at, root, "deployments", DEPLOYMENTS_MAX, &list, &n))
        return false;
    state->deployments = n > 0 ? mem_array(n, sizeof *state->deployments) : NULL;
    for (size_t i = 0; i < n; i++) {
        struct deployment one = {0};
        unsigned kind = DEPLOYMENT_KINDS;
        bool ok = read_deployment(&at, json_array_get(list, i), &one, &kind);
        if (ok && kind < DEPLOYMENT_KINDS && one.what != NULL) {
            one.kind = (enum deployment_kind)kind;
            state->deployments[state->n_deployments++] = one;
            continue;
        }
        free(one.what);
        if (!ok)
            return false;
    }
    return true;
}

/* An alarm that we do not know was told, whatever it was: it is not told again as another one before it
 * changes. */
static bool read_told(const struct members_at *root_at, const json_t *root, struct cert_state *out)
{
    const json_t *told;
    unsigned alarm = ALARM_NONE;
    struct members_at at = {root_at->subject, "told", root_at->err};
    bool ok =
        member_get_object(root_at, root, "told", &told) &&
        member_get_word(&at, told, "alarm", alarm_words, COUNT_OF(alarm_words), ALARM_FAILING, &alarm) &&
        member_get_int(&at, told, "at_s", MEMBER_NUMBER_MAX, &out->told_s);
    out->told = (enum alarm)alarm;
    return ok;
}

bool state_decode(const char *json, size_t len, const char *subject, struct cert_state *out, struct err *err)
{
    AUTO_JSON *root = members_parse(json, len, subject, err);
    struct cert_state state = CERT_STATE_INIT;
    struct members_at at = {subject, "", err};
    if (root == NULL)
        return false;
    if (!read_orders(&at, root, &state) || !read_live(&at, root, &state) ||
        !read_partial(&at, root, &state) || !read_ari(&at, root, &state.ari) ||
        !read_failures(&at, root, &state.failures, &state.failed_s, &state.next_try_s, &state.last_error) ||
        !read_deployments(&at, root, &state) || !read_told(&at, root, &state)) {
        cert_state_clear(&state);
        return false;
    }
    cert_state_clear(out);
    *out = state;
    return true;
}

static void take_output(const json_t *list, struct err *err)
{
    for (size_t i = 0; i < json_array_size(list) && err->text[0] != '\0'; i++) {
        const json_t *one = json_array_get(list, i);
        const char *of = json_string_value(json_object_get(one, "of"));
        const char *text = json_string_value(json_object_get(one, "text"));
        if (of == NULL || text == NULL || strcmp(of, err->text) != 0)
            continue;
        snprintf(err->text, sizeof err->text, "%s", text);
        printable(err->text);
        return;
    }
}

void state_add_output(const char *json, size_t len, struct cert_state *state)
{
    struct err ignored = ERR_INIT;
    AUTO_JSON *root = members_parse(json, len, "", &ignored);
    const json_t *list = json_object_get(root, "texts");
    take_output(list, &state->last_error);
    for (size_t i = 0; i < state->n_deployments; i++)
        take_output(list, &state->deployments[i].last_error);
}

bool account_decode(const char *json, size_t len, const char *subject, struct account_record *out,
                    struct err *err)
{
    AUTO_JSON *root = members_parse(json, len, subject, err);
    struct account_record record = {0};
    struct members_at at = {subject, "", err};
    if (root == NULL)
        return false;
    if (!member_get_token(&at, root, "url", record.url, sizeof record.url) ||
        !member_get_token(&at, root, "email", record.email, sizeof record.email) ||
        !member_get_token(&at, root, "tos", record.tos, sizeof record.tos) ||
        !member_get_int(&at, root, "created_s", MEMBER_NUMBER_MAX, &record.created_s) ||
        !member_get_token(&at, root, "thumbprint", record.thumbprint, sizeof record.thumbprint) ||
        !member_get_token(&at, root, "server", record.server, sizeof record.server) ||
        !member_get_token(&at, root, "status", record.status, sizeof record.status) ||
        !member_get_token(&at, root, "eab_kid", record.eab_kid, sizeof record.eab_kid) ||
        !member_get_token(&at, root, "eab_hmac_key", record.eab_hmac_key, sizeof record.eab_hmac_key) ||
        !member_get_token(&at, root, "eab_alg", record.eab_alg, sizeof record.eab_alg))
        return false;
    *out = record;
    return true;
}
