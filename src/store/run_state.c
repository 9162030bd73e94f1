#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/run_state.h"

#include <stdlib.h>
#include <string.h>

#include "members.h"
#include "tlsup/mem.h"

enum { DEBTS_MAX = 1000 };

void hook_debt_clear(struct hook_debt *debt)
{
    free(debt->program);
    free(debt->user);
    strlist_clear(&debt->renewed_names);
    strlist_clear(&debt->failed_names);
    strlist_clear(&debt->renewed);
    strlist_clear(&debt->failed);
    *debt = (struct hook_debt){0};
}

void run_state_clear(struct run_state *state)
{
    for (size_t i = 0; i < state->n_debts; i++)
        hook_debt_clear(&state->debts[i]);
    free(state->debts);
    strlist_clear(&state->told);
    memset(state, 0, sizeof *state);
}

/* -- writing ------------------------------------------------------------------------------------------ */

static void put_list(json_t *object, const char *key, const struct strlist *list,
                     bool (*is_right)(const char *))
{
    if (list->n > 0)
        member_put_list(object, key, list, is_right);
}

static json_t *debt_to_json(const struct hook_debt *debt)
{
    json_t *out = member_new_object();
    member_put_text(out, "program", debt->program);
    if (debt->user != NULL)
        member_put_text(out, "user", debt->user);
    member_put_text(out, "when", debt->post ? "post" : "pre");
    member_put_int(out, "timeout_s", debt->timeout_s);
    put_list(out, "renewed_names", &debt->renewed_names, member_is_name);
    put_list(out, "failed_names", &debt->failed_names, member_is_name);
    put_list(out, "renewed", &debt->renewed, member_is_name);
    put_list(out, "failed", &debt->failed, member_is_name);
    member_put_int(out, "failures", debt->failures);
    member_put_int(out, "failed_s", debt->failed_s);
    member_put_int(out, "next_try_s", debt->next_try_s);
    if (err_isset(&debt->last_error))
        member_put(out, "error", member_new_error(&debt->last_error));
    return out;
}

static void put_debts(json_t *root, const struct run_state *state)
{
    json_t *list = json_array();
    if (list == NULL)
        mem_exhausted();
    for (size_t i = 0; i < state->n_debts && i < DEBTS_MAX; i++)
        if (member_is_line(state->debts[i].program) &&
            json_array_append_new(list, debt_to_json(&state->debts[i])) != 0)
            mem_exhausted();
    member_put(root, "hooks", list);
}

void run_state_encode(const struct run_state *state, struct buf *out)
{
    AUTO_JSON *root = member_new_object();
    member_put_int(root, "began_s", state->began_s);
    member_put_int(root, "ended_s", state->ended_s);
    member_put_int(root, "good_s", state->good_s);
    if (state->mendable)
        member_put(root, "mendable", json_true());
    member_put_int(root, "heartbeat_s", state->heartbeat_s);
    if (state->n_debts > 0)
        put_debts(root, state);
    put_list(root, "told", &state->told, member_is_line);
    member_print(root, out);
}

/* -- reading ------------------------------------------------------------------------------------------ */

static bool read_debt(const struct members_at *at, const json_t *json, struct hook_debt *out)
{
    static const char *const whens[] = {"pre", "post"};
    unsigned when = COUNT_OF(whens);
    bool ok = member_get_line(at, json, "program", &out->program) &&
              member_get_line(at, json, "user", &out->user) &&
              member_get_word(at, json, "when", whens, COUNT_OF(whens), COUNT_OF(whens), &when) &&
              member_get_count(at, json, "timeout_s", &out->timeout_s) &&
              member_get_names(at, json, "renewed_names", &out->renewed_names) &&
              member_get_names(at, json, "failed_names", &out->failed_names) &&
              member_get_names(at, json, "renewed", &out->renewed) &&
              member_get_names(at, json, "failed", &out->failed) &&
              member_get_count(at, json, "failures", &out->failures) &&
              member_get_int(at, json, "failed_s", MEMBER_NUMBER_MAX, &out->failed_s) &&
              member_get_int(at, json, "next_try_s", MEMBER_NUMBER_MAX, &out->next_try_s) &&
              member_get_error(at, json, &out->last_error);
    if (ok && (out->program == NULL || out->program[0] != '/'))
        ok = member_wrong(at, "program", "the path of a program");
    if (ok && when == COUNT_OF(whens))
        ok = member_wrong(at, "when", "pre or post");
    out->post = when == 1;
    return ok;
}

static bool read_debts(const struct members_at *root_at, const json_t *root, struct run_state *state)
{
    const json_t *list = NULL;
    size_t n = 0;
    struct members_at at = {root_at->subject, "hooks", root_at->err};
    if (!member_get_objects(root_at, root, "hooks", DEBTS_MAX, &list, &n))
        return false;
    state->debts = n > 0 ? mem_array(n, sizeof *state->debts) : NULL;
    for (size_t i = 0; i < n; i++) {
        state->n_debts++; /* cleared with the others when it cannot be read */
        if (!read_debt(&at, json_array_get(list, i), &state->debts[i]))
            return false;
    }
    return true;
}

bool run_state_decode(const char *json, size_t len, const char *subject, struct run_state *out,
                      struct err *err)
{
    AUTO_JSON *root = members_parse(json, len, subject, err);
    struct run_state state = RUN_STATE_INIT;
    struct members_at at = {subject, "", err};
    if (root == NULL)
        return false;
    if (!member_get_int(&at, root, "began_s", MEMBER_NUMBER_MAX, &state.began_s) ||
        !member_get_int(&at, root, "ended_s", MEMBER_NUMBER_MAX, &state.ended_s) ||
        !member_get_int(&at, root, "good_s", MEMBER_NUMBER_MAX, &state.good_s) ||
        !member_get_bool(&at, root, "mendable", &state.mendable) ||
        !member_get_int(&at, root, "heartbeat_s", MEMBER_NUMBER_MAX, &state.heartbeat_s) ||
        !read_debts(&at, root, &state) ||
        !member_get_list(&at, root, "told", member_is_line, "a list of lines", &state.told)) {
        run_state_clear(&state);
        return false;
    }
    run_state_clear(out);
    *out = state;
    return true;
}
