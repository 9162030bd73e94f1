/*
 * test_state.c - what one run writes down the next one reads, whatever happened to the file in between.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tlsup/mem.h"
#include "tlsup/state.h"

static void fill(struct cert_state *state)
{
    *state = (struct cert_state)CERT_STATE_INIT;
    strcpy(state->orders[0].url, "https://ca.example.org/order/1");
    strcpy(state->orders[0].ca, "https://ca.example.org/directory");
    strlist_add(&state->orders[0].names, "example.org");
    strlist_add(&state->orders[0].names, "*.example.org");
    state->orders[0].created_s = 1795000000;
    state->version = 12;
    state->step = DEPLOY_RELOADED;
    state->issued_s = 1795000001;
    state->verified_s = 1795000002;
    strlist_add(&state->places, "/etc/nginx/sites-enabled/my site:12");
    strcpy(state->issued_by, "https://ca.example.org/directory");
    strcpy(state->orders[0].account, "https://ca.example.org/acct/1");
    strcpy(state->orders[1].url, "https://ca.example.org/order/2");
    strcpy(state->orders[1].ca, "https://ca.example.org/directory");
    strlist_add(&state->orders[1].names, "www.example.org");
    state->orders[1].created_s = 1795000005;
    strcpy(state->issued_account, "https://ca.example.org/acct/1");
    strcpy(state->replaced_id, "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
    state->revoked = true;
    strlist_add(&state->missing, "dead.example.org");
    state->missing_try_s = 1795000006;
    state->missing_failures = 2;
    state->persist_until_s = 1795000007;
    state->ari = (struct ari_state){.cert_id = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE",
                                    .ca = "https://ca.example.org/directory",
                                    .start_s = 1795000008,
                                    .end_s = 1795000009,
                                    .chosen_s = 1795000010,
                                    .next_check_s = 1795000011,
                                    .failures = 4,
                                    .explanation_url = "https://ca.example.org/why"};
    state->failures = 3;
    state->failed_s = 1795000003;
    state->next_try_s = 1795000004;
    err_set(&state->last_error, ERR_ACME, NEXT_RETRY_LATER, "example.org", "line one\nline \"two\": %s",
            "bücher");
    err_advise(&state->last_error, "wait");
    state->last_error.wait_s = 3600;
    strcpy(state->last_error.type, "rateLimited");
    state->deployments = mem_array(2, sizeof *state->deployments);
    state->n_deployments = 2;
    state->deployments[0] = (struct deployment){.kind = DEPLOYMENT_EXPORT,
                                                .what = mem_dup("combined /etc/h\xc3\xa4/x.pem mode=0640"),
                                                .wanted = 12,
                                                .version = 12,
                                                .done_s = 1795000012};
    state->deployments[1] = (struct deployment){.kind = DEPLOYMENT_HOOK,
                                                .what = mem_dup("/etc/tlsup/hooks/deploy/mail"),
                                                .wanted = 12,
                                                .version = 11,
                                                .done_s = 1795000013,
                                                .failures = 2,
                                                .failed_s = 1795000014,
                                                .next_try_s = 1795000015};
    err_set(&state->deployments[1].last_error, ERR_HOOK, NEXT_RETRY_LATER, "/etc/tlsup/hooks/deploy/mail",
            "it failed");
    state->told = ALARM_URGENT;
    state->told_s = 1795000016;
}

static void decode_ok(const char *json, size_t len, struct cert_state *out)
{
    struct err err = ERR_INIT;
    *out = (struct cert_state)CERT_STATE_INIT;
    if (!state_decode(json, len, "F", out, &err))
        fail_msg("%s", err.text);
}

static void all_of_it_comes_back(void **unused)
{
    struct cert_state before, after;
    AUTO_BUF json = BUF_INIT;
    (void)unused;
    fill(&before);
    state_encode(&before, &json);
    decode_ok(json.data, json.len, &after);
    assert_string_equal(after.orders[0].url, before.orders[0].url);
    assert_string_equal(after.orders[0].ca, before.orders[0].ca);
    assert_int_equal(after.orders[0].names.n, 2);
    assert_string_equal(after.orders[0].names.v[1], "*.example.org");
    assert_int_equal(after.orders[0].created_s, before.orders[0].created_s);
    assert_string_equal(after.orders[0].account, before.orders[0].account);
    assert_string_equal(after.orders[1].url, "https://ca.example.org/order/2");
    assert_string_equal(after.orders[1].ca, before.orders[1].ca);
    assert_string_equal(after.orders[1].account, "");
    assert_int_equal(after.orders[1].names.n, 1);
    assert_string_equal(after.orders[1].names.v[0], "www.example.org");
    assert_int_equal(after.orders[1].created_s, 1795000005);
    assert_string_equal(after.issued_account, before.issued_account);
    assert_string_equal(after.replaced_id, before.replaced_id);
    assert_true(after.revoked);
    assert_int_equal(after.missing.n, 1);
    assert_string_equal(after.missing.v[0], "dead.example.org");
    assert_int_equal(after.missing_try_s, 1795000006);
    assert_int_equal(after.missing_failures, 2);
    assert_int_equal(after.persist_until_s, 1795000007);
    assert_memory_equal(&after.ari, &before.ari, sizeof after.ari);
    assert_int_equal(after.version, 12);
    assert_int_equal(after.step, DEPLOY_RELOADED);
    assert_int_equal(after.issued_s, before.issued_s);
    assert_int_equal(after.verified_s, before.verified_s);
    assert_int_equal(after.places.n, 1);
    assert_string_equal(after.places.v[0], "/etc/nginx/sites-enabled/my site:12");
    assert_string_equal(after.issued_by, before.issued_by);
    assert_int_equal(after.failures, 3);
    assert_int_equal(after.failed_s, before.failed_s);
    assert_int_equal(after.next_try_s, before.next_try_s);
    assert_memory_equal(&after.last_error, &before.last_error, sizeof after.last_error);
    assert_int_equal(after.n_deployments, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct deployment *a = &after.deployments[i], *b = &before.deployments[i];
        assert_string_equal(a->what, b->what);
        assert_true(a->kind == b->kind && a->wanted == b->wanted && a->version == b->version &&
                    a->done_s == b->done_s && a->failures == b->failures && a->failed_s == b->failed_s &&
                    a->next_try_s == b->next_try_s);
        assert_memory_equal(&a->last_error, &b->last_error, sizeof a->last_error);
    }
    assert_int_equal(after.told, ALARM_URGENT);
    assert_int_equal(after.told_s, 1795000016);
    cert_state_clear(&before);
    cert_state_clear(&after);
}

/* As versions before ARI, accounts and second orders wrote it. */
static void a_file_of_an_older_version_is_understood(void **unused)
{
    static const char json[] =
        "{\"order\": {\"url\": \"https://ca.example.org/order/1\", \"ca\": "
        "\"https://ca.example.org/directory\","
        "\"names\": [\"example.org\", \"www.example.org\"], \"created_s\": 1795000000},"
        "\"live\": {\"version\": 3, \"step\": \"verified\", \"issued_s\": 1795000001, \"verified_s\": "
        "1795000002,"
        "\"ca\": \"https://ca.example.org/directory\"},"
        "\"failures\": {\"count\": 1, \"last_s\": 1795000003}}";
    struct cert_state after;
    (void)unused;
    decode_ok(json, sizeof json - 1, &after);
    assert_string_equal(after.orders[0].url, "https://ca.example.org/order/1");
    assert_string_equal(after.orders[0].ca, "https://ca.example.org/directory");
    assert_int_equal(after.orders[0].names.n, 2);
    assert_int_equal(after.orders[0].created_s, 1795000000);
    assert_string_equal(after.orders[1].url, "");
    assert_int_equal(after.version, 3);
    assert_int_equal(after.failures, 1);
    assert_string_equal(after.ari.cert_id, "");
    assert_false(after.revoked);
    cert_state_clear(&after);
}

/* What an older version would read of ours: the first order under the words that it knows. */
static void an_older_version_finds_its_words(void **unused)
{
    struct cert_state state;
    AUTO_BUF json = BUF_INIT;
    (void)unused;
    fill(&state);
    state_encode(&state, &json);
    assert_non_null(strstr(json.data, "\"order\": {\n    \"url\": \"https://ca.example.org/order/1\""));
    cert_state_clear(&state);
}

static void every_step_and_error_code_comes_back(void **unused)
{
    (void)unused;
    for (int code = ERR_NONE; code <= ERR_INTERNAL; code++)
        for (int step = DEPLOY_NONE; step <= DEPLOY_VERIFIED; step++) {
            struct cert_state before = CERT_STATE_INIT, after;
            AUTO_BUF json = BUF_INIT;
            before.step = (enum deploy_step)step;
            before.last_error.code = (enum err_code)code;
            before.last_error.next =
                code != ERR_NONE ? (enum err_next)(code % (NEXT_LOCAL_FAULT + 1)) : NEXT_NONE;
            state_encode(&before, &json);
            decode_ok(json.data, json.len, &after);
            assert_int_equal(after.step, step);
            assert_int_equal(after.last_error.code, code);
            assert_int_equal(after.last_error.next, before.last_error.next);
        }
    assert_string_equal(deploy_step_name(DEPLOY_NONE), "none");
    assert_string_equal(deploy_step_name(DEPLOY_ISSUED), "issued");
    assert_string_equal(deploy_step_name(DEPLOY_INSTALLED), "installed");
    assert_string_equal(deploy_step_name(DEPLOY_RELOADED), "reloaded");
    assert_string_equal(deploy_step_name(DEPLOY_VERIFIED), "verified");
    assert_string_equal(deploy_step_name((enum deploy_step)99), "none");
}

static void an_empty_state_is_zero(void **unused)
{
    struct cert_state empty = CERT_STATE_INIT, after;
    AUTO_BUF json = BUF_INIT;
    (void)unused;
    state_encode(&empty, &json);
    decode_ok(json.data, json.len, &after);
    assert_memory_equal(&after, &empty, sizeof after);
    decode_ok("{}", 2, &after);
    assert_memory_equal(&after, &empty, sizeof after);
}

static void unknown_members_and_nulls_are_let_be(void **unused)
{
    static const char json[] =
        "{\"later\": [1, {\"x\": null}], \"order\": null, \"live\": {\"version\": 7, \"step\": \"mirrored\","
        "\"issued_s\": null, \"new\": true}, \"failures\": {\"error\": {\"code\": \"gravity\","
        "\"next\": \"pray\", \"text\": \"down\"}}}";
    struct cert_state after;
    (void)unused;
    decode_ok(json, sizeof json - 1, &after);
    assert_int_equal(after.version, 7);
    assert_int_equal(after.step, DEPLOY_ISSUED); /* what we do not know, we do again */
    assert_int_equal(after.last_error.code, ERR_INTERNAL);
    assert_string_equal(after.last_error.text, "down");
    assert_string_equal(after.orders[0].url, "");
}

static const struct {
    const char *json, *expected;
} refused[] = {
    {"", "F:1:"},
    {"{", "F:1:1: malformed JSON"},
    {"{\n  \"live\": {,\n}}", "F:2:12: malformed JSON"},
    {"{} trailing", "malformed JSON"},
    {"{\"a\": 1, \"a\": 2}", "malformed JSON"},
    {"{\"a\": \"\xff\"}", "malformed JSON"},
    {"{\"a\": 99999999999999999999}", "malformed JSON"},
    {"[]", "F: 'document' is not an object"},
    {"null", "malformed JSON"},
    {"{\"live\": []}", "F: 'live' is not an object"},
    {"{\"live\": {\"version\": \"1\"}}", "F: 'live.version' is not a whole number"},
    {"{\"live\": {\"version\": 1.0}}", "F: 'live.version' is not a whole number"},
    {"{\"live\": {\"version\": -1}}", "F: 'live.version' is not a whole number"},
    {"{\"live\": {\"version\": 2147483648}}", "F: 'live.version' is not a whole number"},
    {"{\"live\": {\"step\": 3}}", "F: 'live.step' is not a string"},
    {"{\"live\": {\"issued_s\": 9223372036854775807}}", "F: 'live.issued_s' is not a whole number"},
    {"{\"order\": {\"url\": 1}}", "F: 'order.url' is not a string"},
    {"{\"order\": {\"url\": \"https://h/\\u001b[31m\"}}", "F: 'order.url' is not visible ASCII text"},
    {"{\"order\": {\"url\": \"https://h/ x\"}}", "F: 'order.url' is not visible ASCII text"},
    {"{\"order\": {\"url\": \"a\\u0000b\"}}", "malformed JSON"},
    {"{\"order\": {\"names\": \"example.org\"}}", "F: 'order.names' is not a list of names"},
    {"{\"order\": {\"names\": [1]}}", "F: 'order.names' is not a list of names"},
    {"{\"order\": {\"names\": [\"\"]}}", "F: 'order.names' is not a list of names"},
    {"{\"order\": {\"names\": [\"a b\"]}}", "F: 'order.names' is not a list of names"},
    {"{\"failures\": 1}", "F: 'failures' is not an object"},
    {"{\"second_order\": 1}", "F: 'second_order' is not an object"},
    {"{\"second_order\": {\"names\": [\"\"]}}", "F: 'second_order.names' is not a list of names"},
    {"{\"order\": {\"account\": \"a b\"}}", "F: 'order.account' is not visible ASCII text"},
    {"{\"live\": {\"revoked\": 1}}", "F: 'live.revoked' is not true or false"},
    {"{\"live\": {\"persist_until_s\": -1}}", "F: 'live.persist_until_s' is not a whole number"},
    {"{\"partial\": []}", "F: 'partial' is not an object"},
    {"{\"partial\": {\"missing\": {}}}", "F: 'partial.missing' is not a list of names"},
    {"{\"ari\": \"x\"}", "F: 'ari' is not an object"},
    {"{\"ari\": {\"end_s\": 1.5}}", "F: 'ari.end_s' is not a whole number"},
    {"{\"ari\": {\"explanation_url\": \"javascript:\\u0007\"}}", "F: 'ari.explanation_url' is not visible"},
    {"{\"deployments\": {}}", "F: 'deployments' is not a list"},
    {"{\"deployments\": [1]}", "F: 'deployments' is not a list of objects"},
    {"{\"deployments\": [{\"kind\": \"hook\", \"what\": \"/a\"}, {\"kind\": 1}]}",
     "F: 'deployments.kind' is not a string"},
    {"{\"deployments\": [{\"kind\": \"hook\", \"what\": \"/a\\nb\"}]}",
     "F: 'deployments.what' is not a line"},
    {"{\"deployments\": [{\"wanted\": -1}]}", "F: 'deployments.wanted' is not a whole number"},
    {"{\"deployments\": [{\"failures\": {\"error\": {\"code\": 1}}}]}",
     "F: 'deployments.failures.error.code' is not a string"},
    {"{\"told\": []}", "F: 'told' is not an object"},
    {"{\"told\": {\"at_s\": \"x\"}}", "F: 'told.at_s' is not a whole number"},
    {"{\"failures\": {\"error\": []}}", "F: 'failures.error' is not an object"},
    {"{\"failures\": {\"error\": {\"code\": 1}}}", "F: 'failures.error.code' is not a string"},
    {"{\"failures\": {\"error\": {\"text\": {}}}}", "F: 'failures.error.text' is not a string"},
};

static void damage_is_told_with_its_place(void **unused)
{
    struct cert_state state;
    (void)unused;
    fill(&state);
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        struct err err = ERR_INIT;
        assert_false(state_decode(refused[i].json, strlen(refused[i].json), "F", &state, &err));
        assert_int_equal(err.code, ERR_CONFIG);
        assert_string_equal(err.subject, "F");
        assert_true(err.advice[0] != '\0');
        if (strstr(err.text, refused[i].expected) == NULL)
            fail_msg("'%s' does not contain '%s'", err.text, refused[i].expected);
    }
    assert_int_equal(state.version, 12); /* untouched by all of that */
    assert_int_equal(state.orders[0].names.n, 2);
    cert_state_clear(&state);
}

static void every_truncation_is_refused(void **unused)
{
    struct cert_state before, after = CERT_STATE_INIT;
    AUTO_BUF json = BUF_INIT;
    (void)unused;
    fill(&before);
    state_encode(&before, &json);
    for (size_t len = 0; len + 2 < json.len; len++) {
        struct err err = ERR_INIT;
        AUTO_FREE char *exact = mem_ndup(json.data, len);
        assert_false(state_decode(exact, len, "F", &after, &err));
    }
    cert_state_clear(&before);
}

static void what_is_too_long_to_use_is_refused(void **unused)
{
    struct cert_state after = CERT_STATE_INIT;
    struct err err = ERR_INIT;
    char url[513];
    (void)unused;
    memset(url, 'a', sizeof url);
    url[512] = '\0';
    AUTO_FREE char *json = mem_fmt("{\"order\": {\"url\": \"%s\"}}", url);
    assert_false(state_decode(json, strlen(json), "F", &after, &err));
    assert_non_null(strstr(err.text, "'order.url' is not of a length"));
    url[511] = '\0';
    AUTO_FREE char *fits = mem_fmt("{\"order\": {\"url\": \"%s\"}}", url);
    decode_ok(fits, strlen(fits), &after);
    assert_string_equal(after.orders[0].url, url);
}

static void hostile_text_is_shown_harmlessly(void **unused)
{
    static const char json[] =
        "{\"failures\": {\"error\": {\"code\": \"acme\", \"text\": \"\\u001b]0;x\\u0007\", \"type\": "
        "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}}}";
    struct cert_state after;
    (void)unused;
    decode_ok(json, sizeof json - 1, &after);
    assert_string_equal(after.last_error.text, "?]0;x?");
    assert_int_equal(strlen(after.last_error.type), sizeof after.last_error.type - 1);
}

/* A run must never write what the next one cannot read. */
static void whatever_is_in_memory_can_be_read_again(void **unused)
{
    struct cert_state before = CERT_STATE_INIT, after;
    AUTO_BUF json = BUF_INIT;
    (void)unused;
    strcpy(before.orders[0].url, "https://h/ with a space");
    strcpy(before.orders[0].ca, "\xff\xfe");
    strlist_add(&before.orders[0].names, "example.org");
    before.orders[0].created_s = INT64_MIN;
    before.issued_s = INT64_MAX;
    before.version = INT_MAX;
    before.failures = -1;
    before.step = (enum deploy_step)77;
    before.last_error.code = (enum err_code)99;
    before.last_error.next = (enum err_next)99;
    before.last_error.wait_s = -5;
    strcpy(before.last_error.text, "cut in a character \xe2\x82");
    strcpy(before.last_error.subject, "\xff latin \xe4 text");
    state_encode(&before, &json);
    decode_ok(json.data, json.len, &after);
    assert_string_equal(after.last_error.text, "cut in a character ");
    assert_string_equal(after.last_error.subject, "? latin ? text");
    assert_string_equal(after.orders[0].url, "");
    assert_int_equal(after.last_error.code, ERR_INTERNAL);
    assert_int_equal(after.version, INT_MAX);
    assert_true(after.issued_s > 0);
    cert_state_clear(&before);
    cert_state_clear(&after);
}

static void odd_names_do_not_lock_the_state(void **unused)
{
    struct cert_state before = CERT_STATE_INIT, after;
    AUTO_BUF json = BUF_INIT;
    (void)unused;
    strlist_add(&before.orders[0].names, "b\xc3\xbc"
                                         "cher.example");
    strlist_add(&before.orders[0].names, "");
    strlist_add(&before.orders[0].names, "example.org");
    state_encode(&before, &json);
    decode_ok(json.data, json.len, &after);
    assert_int_equal(after.orders[0].names.n, 1);
    assert_string_equal(after.orders[0].names.v[0], "example.org");
    cert_state_clear(&before);
    cert_state_clear(&after);
}

static void accounts_come_back(void **unused)
{
    struct account_record before = {.url = "https://ca.example.org/acct/1",
                                    .email = "admin@example.org",
                                    .tos = "https://ca.example.org/tos",
                                    .created_s = 1795000000,
                                    .thumbprint = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                    .server = "https://ca.example.org/directory",
                                    .status = "valid",
                                    .eab_kid = "kid-1",
                                    .eab_hmac_key =
                                        "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W",
                                    .eab_alg = "HS384"};
    struct account_record after;
    struct err err = ERR_INIT;
    AUTO_BUF json = BUF_INIT;
    (void)unused;
    account_encode(&before, &json);
    memset(&after, 0x55, sizeof after);
    assert_true(account_decode(json.data, json.len, "F", &after, &err));
    assert_memory_equal(&after, &before, sizeof after);
    assert_true(account_decode("{\"later\": 1}", 12, "F", &after, &err));
    assert_string_equal(after.url, "");
    assert_int_equal(after.created_s, 0);
    static const char *const bad[] = {"",
                                      "[]",
                                      "{\"url\": 1}",
                                      "{\"url\": \"a b\"}",
                                      "{\"created_s\": -1}",
                                      "{\"status\": \"a status that is too long\"}",
                                      "{\"eab_kid\": []}",
                                      "{\"thumbprint\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        err_clear(&err);
        assert_false(account_decode(bad[i], strlen(bad[i]), "F", &after, &err));
        assert_int_equal(err.code, ERR_CONFIG);
    }
}

/* What only a newer version knows how to do is its own affair. */
static void deployments_of_an_unknown_kind_are_left_out(void **unused)
{
    static const char json[] =
        "{\"deployments\": [{\"kind\": \"mirror\", \"what\": \"x\", \"wanted\": 2}, {\"kind\": \"verify\"},"
        "{\"kind\": \"verify\", \"what\": \"mail:25\", \"wanted\": 2}], \"told\": {\"alarm\": \"doomed\"}}";
    struct cert_state after;
    (void)unused;
    decode_ok(json, sizeof json - 1, &after);
    assert_int_equal(after.n_deployments, 1);
    assert_int_equal(after.deployments[0].kind, DEPLOYMENT_VERIFY);
    assert_string_equal(after.deployments[0].what, "mail:25");
    assert_int_equal(after.told, ALARM_FAILING);
    cert_state_clear(&after);
}

static void too_many_deployments_are_refused(void **unused)
{
    struct cert_state after = CERT_STATE_INIT;
    struct err err = ERR_INIT;
    AUTO_BUF json = BUF_INIT;
    (void)unused;
    buf_adds(&json, "{\"deployments\": [{}");
    for (int i = 0; i < 1000; i++)
        buf_adds(&json, ",{}");
    buf_adds(&json, "]}");
    assert_false(state_decode(json.data, json.len, "F", &after, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_it_comes_back),
        cmocka_unit_test(a_file_of_an_older_version_is_understood),
        cmocka_unit_test(an_older_version_finds_its_words),
        cmocka_unit_test(every_step_and_error_code_comes_back),
        cmocka_unit_test(an_empty_state_is_zero),
        cmocka_unit_test(unknown_members_and_nulls_are_let_be),
        cmocka_unit_test(damage_is_told_with_its_place),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(what_is_too_long_to_use_is_refused),
        cmocka_unit_test(hostile_text_is_shown_harmlessly),
        cmocka_unit_test(whatever_is_in_memory_can_be_read_again),
        cmocka_unit_test(odd_names_do_not_lock_the_state),
        cmocka_unit_test(accounts_come_back),
        cmocka_unit_test(deployments_of_an_unknown_kind_are_left_out),
        cmocka_unit_test(too_many_deployments_are_refused),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
