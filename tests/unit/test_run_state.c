/*
 * test_run_state.c - what a run of renew leaves for the next one, whatever happened to the file in between.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tlsup/mem.h"
#include "tlsup/run_state.h"

static void fill(struct run_state *state)
{
    *state = (struct run_state){
        .began_s = 1795000001, .ended_s = 1795000002, .good_s = 1795000003, .heartbeat_s = 1795000004};
    state->debts = mem_array(2, sizeof *state->debts);
    state->n_debts = 2;
    state->mendable = true;
    struct hook_debt *post = &state->debts[0];
    *post = (struct hook_debt){.program = mem_dup("/etc/tlsup/hooks/post/a b"),
                               .user = mem_dup("mail"),
                               .timeout_s = 7,
                               .post = true,
                               .failures = 2,
                               .failed_s = 1795000005,
                               .next_try_s = 1795000006};
    strlist_add(&post->renewed_names, "example.org");
    strlist_add(&post->failed_names, "example.net");
    strlist_add(&post->failed_names, "*.example.net");
    strlist_add(&post->renewed, "one");
    strlist_add(&post->failed, "two");
    err_set(&post->last_error, ERR_HOOK, NEXT_RETRY_LATER, "x", "it failed");
    state->debts[1].program = mem_dup("/usr/local/sbin/before");
    strlist_add(&state->told, "hook /etc/tlsup/hooks/post/a b");
    strlist_add(&state->told, "heartbeat");
}

static void all_of_it_comes_back(void **unused)
{
    struct run_state before, after = RUN_STATE_INIT;
    struct err err = ERR_INIT;
    AUTO_BUF json = BUF_INIT, again = BUF_INIT;
    (void)unused;
    fill(&before);
    run_state_encode(&before, &json);
    assert_true(run_state_decode(json.data, json.len, "F", &after, &err));
    assert_true(after.began_s == before.began_s && after.ended_s == before.ended_s &&
                after.good_s == before.good_s && after.heartbeat_s == before.heartbeat_s && after.mendable);
    assert_int_equal(after.n_debts, 2);
    assert_true(after.debts[0].post && !after.debts[1].post);
    assert_string_equal(after.debts[0].user, "mail");
    assert_null(after.debts[1].user);
    assert_string_equal(after.debts[0].failed_names.v[1], "*.example.net");
    run_state_encode(&after, &again);
    assert_string_equal(json.data, again.data);
    run_state_clear(&before);
    run_state_clear(&after);
    assert_int_equal(after.n_debts, 0);
}

static void nothing_is_nothing(void **unused)
{
    struct run_state empty = RUN_STATE_INIT, after = {.began_s = 1};
    struct err err = ERR_INIT;
    AUTO_BUF json = BUF_INIT;
    (void)unused;
    run_state_encode(&empty, &json);
    assert_true(run_state_decode(json.data, json.len, "F", &after, &err));
    assert_memory_equal(&after, &empty, sizeof after);
    assert_true(run_state_decode("{\"later\": [], \"hooks\": null}", 28, "F", &after, &err));
}

static const struct {
    const char *json, *expected;
} refused[] = {
    {"", "F:1:"},
    {"[]", "F: 'document' is not an object"},
    {"{\"began_s\": -1}", "F: 'began_s' is not a whole number"},
    {"{\"hooks\": {}}", "F: 'hooks' is not a list"},
    {"{\"hooks\": [1]}", "F: 'hooks' is not a list of objects"},
    {"{\"hooks\": [{\"when\": \"post\"}]}", "F: 'hooks.program' is not the path of a program"},
    {"{\"hooks\": [{\"program\": \"rm\", \"when\": \"post\"}]}", "F: 'hooks.program' is not the path"},
    {"{\"hooks\": [{\"program\": \"/a\"}]}", "F: 'hooks.when' is not pre or post"},
    {"{\"hooks\": [{\"program\": \"/a\", \"when\": \"later\"}]}", "F: 'hooks.when' is not pre or post"},
    {"{\"hooks\": [{\"program\": \"/a\\u0007\", \"when\": \"pre\"}]}", "F: 'hooks.program' is not a line"},
    {"{\"hooks\": [{\"program\": \"/a\", \"when\": \"pre\", \"failed\": [\"a b\"]}]}",
     "F: 'hooks.failed' is not a list of names"},
    {"{\"told\": [\"a\\nb\"]}", "F: 'told' is not a list of lines"},
};

static void damage_is_told_with_its_place(void **unused)
{
    struct run_state state;
    (void)unused;
    fill(&state);
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        struct err err = ERR_INIT;
        assert_false(run_state_decode(refused[i].json, strlen(refused[i].json), "F", &state, &err));
        assert_int_equal(err.code, ERR_CONFIG);
        if (strstr(err.text, refused[i].expected) == NULL)
            fail_msg("'%s' does not contain '%s'", err.text, refused[i].expected);
    }
    assert_int_equal(state.n_debts, 2); /* untouched by all of that */
    run_state_clear(&state);
}

static void every_truncation_is_refused(void **unused)
{
    struct run_state before, after = RUN_STATE_INIT;
    AUTO_BUF json = BUF_INIT;
    (void)unused;
    fill(&before);
    run_state_encode(&before, &json);
    for (size_t len = 0; len + 2 < json.len; len++) {
        struct err err = ERR_INIT;
        AUTO_FREE char *exact = mem_ndup(json.data, len);
        assert_false(run_state_decode(exact, len, "F", &after, &err));
    }
    run_state_clear(&before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_it_comes_back),
        cmocka_unit_test(nothing_is_nothing),
        cmocka_unit_test(damage_is_told_with_its_place),
        cmocka_unit_test(every_truncation_is_refused),
    };
    return cmocka_run_group_tests_name("run_state", tests, NULL, NULL);
}
