/*
 * test_flow.c - RFC 8555 sections 7.1.6 and 7.4 as a table: each row brings a flow into a state by a script
 * of events, then gives it one more event and looks at the state and the actions that follow.
 *
 * Events and actions are written as words; run_word() and show_action() say what they mean. Every script also
 * holds the books of challenges: what was presented is cleaned up exactly once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tlsup/flow.h"
#include "tlsup/mem.h"

#define CA "https://ca.test/"

struct run {
    struct flow flow;
    struct buf shown; /* the actions of the last word */
    size_t n_actions; /* of the last word */
    int orders;       /* how many were made: the number in the URLs of the present one */
    int64_t now_ms;
    int64_t retry_after_s;    /* of the next response */
    struct strlist presented; /* "name token", each once while it can be fetched */
    int cleanups, presents, triggers;
    int failed_cleanups; /* of those, of what did not convince */
    int new_orders;
    int ends;                    /* FINISHED and GAVE_UP */
    struct strlist links;        /* the alternates of every answer */
    struct strlist failed_names; /* NAME_FAILED so far */
    struct err last_failed;      /* of the last of them */
    struct flow_persist persist; /* of the last PRESENT */
};

/* Options: "replaces", "profile", "chains", and challenge types in order of preference; http-01 when there is
 * none. */
static void set_option(struct flow_options *options, const char *word)
{
    options->has_replaces |= strcmp(word, "replaces") == 0;
    options->may_drop_profile |= strcmp(word, "profile") == 0;
    options->all_chains |= strcmp(word, "chains") == 0;
    for (int type = CHALLENGE_HTTP_01; type < CHALLENGE_TYPES; type++)
        if (strcmp(word, challenge_type_name((enum challenge_type)type)) == 0)
            options->challenges[options->n_challenges++] = (enum challenge_type)type;
}

static void run_begin(struct run *run, const char *names, const char *resume, const char *options)
{
    AUTO_STRLIST list = STRLIST_INIT, words = STRLIST_INIT;
    struct flow_options all = {
        .names = &list, .directory_url = CA "dir", .new_order_url = CA "new-order", .resume_url = resume};
    *run = (struct run){.now_ms = 1000, .retry_after_s = -1};
    strlist_split(&list, names, " ");
    strlist_split(&words, options != NULL ? options : "", " ");
    for (size_t i = 0; i < words.n; i++)
        set_option(&all, words.v[i]);
    if (all.n_challenges == 0)
        all.challenges[all.n_challenges++] = CHALLENGE_HTTP_01;
    strlist_add(&run->links, CA "alternate");
    flow_init(&run->flow, &all);
    run->orders = resume != NULL && resume[0] != '\0';
}

static void run_end(struct run *run)
{
    flow_clear(&run->flow);
    buf_clear(&run->shown);
    strlist_clear(&run->presented);
    strlist_clear(&run->links);
    strlist_clear(&run->failed_names);
}

/* -- actions as words ----------------------------------------------------------------------------------- */

static void book_present(struct run *run, const struct flow_action *action)
{
    AUTO_FREE char *entry = mem_fmt("%s %s", action->name, action->token);
    assert_true((action->token[0] != '\0') != (action->persist.draft != 0)); /* what it takes to answer */
    assert_true(challenge_type_fits(action->challenge, action->name));
    run->persist = action->persist;
    strlist_add(&run->presented, entry);
    run->presents++;
}

static void book_cleanup(struct run *run, const struct flow_action *action)
{
    AUTO_FREE char *entry = mem_fmt("%s %s", action->name, action->token);
    struct strlist left = STRLIST_INIT;
    bool found = false;
    for (size_t i = 0; i < run->presented.n; i++) {
        bool this_one = !found && strcmp(run->presented.v[i], entry) == 0;
        found |= this_one;
        if (!this_one)
            strlist_add(&left, run->presented.v[i]);
    }
    if (!found)
        fail_msg("cleaned up what was not presented: %s", entry);
    strlist_clear(&run->presented);
    run->presented = left;
    run->cleanups++;
    run->failed_cleanups += action->failed;
}

/* Only names of ours, each once, and each with a reason. */
static void book_failed(struct run *run, const struct flow_action *action)
{
    assert_true(strlist_has(&run->flow.names, action->name));
    assert_false(strlist_has(&run->failed_names, action->name));
    assert_true(err_isset(&action->err) && action->err.text[0] != '\0');
    strlist_add(&run->failed_names, action->name);
    run->last_failed = action->err;
}

static const char *path_of(const char *url)
{
    return strncmp(url, CA, strlen(CA)) == 0 ? url + strlen(CA) : url[0] != '\0' ? url : "none";
}

static void show_action(struct run *run, const struct flow_action *action)
{
    struct buf *out = &run->shown;
    buf_adds(out, out->len > 0 ? ", " : "");
    switch (action->type) {
    case FLOW_REQUEST:
        buf_addf(out, "%s %s", jws_kind_name(action->request), path_of(action->url));
        run->triggers += action->request == JWS_RESPOND;
        run->new_orders += strcmp(action->url, CA "new-order") == 0;
        break;
    case FLOW_PRESENT:
        buf_addf(out, "present %s %s", action->name, action->token);
        book_present(run, action);
        break;
    case FLOW_CLEANUP:
        buf_addf(out, "clean %s", action->name);
        book_cleanup(run, action);
        break;
    case FLOW_NAME_FAILED:
        buf_addf(out, "failed %s", action->name);
        book_failed(run, action);
        break;
    case FLOW_SET_TIMER:
        if (action->index == FLOW_ORDER_INDEX)
            buf_addf(out, "timer %lld", (long long)action->wait_ms);
        else
            buf_addf(out, "timer%d %lld", action->index, (long long)action->wait_ms);
        break;
    case FLOW_ORDER_URL:
        buf_addf(out, "remember %s", path_of(action->url));
        break;
    case FLOW_FINISHED:
        buf_adds(out, "finished");
        run->ends++;
        break;
    case FLOW_GAVE_UP:
        buf_adds(out, "gave up");
        run->ends++;
        break;
    }
}

static void step(struct run *run, struct flow_event *event)
{
    struct flow_actions actions = {0};
    event->now_ms = run->now_ms;
    flow_step(&run->flow, event, &actions);
    buf_reset(&run->shown);
    run->n_actions = actions.n;
    for (size_t i = 0; i < actions.n; i++)
        show_action(run, &actions.v[i]);
    flow_actions_clear(&actions);
    if (run->flow.state == FLOW_DONE || run->flow.state == FLOW_FAILED) {
        assert_int_equal(run->presented.n, 0);
        assert_int_equal(run->ends, 1);
    } else {
        assert_int_equal(run->ends, 0);
    }
}

/* -- what a CA says ------------------------------------------------------------------------------------- */

#define LONG_ADDRESS "2001:DB8:0:0:0:0:0:1"

static void add_identifiers(struct buf *out, const struct run *run, const char *kind)
{
    const struct strlist *names = &run->flow.names;
    size_t n = names->n;
    if (strcmp(kind, "noids") == 0)
        return;
    buf_adds(out, ",\"identifiers\":[");
    for (size_t i = 0; i < n - (strcmp(kind, "missing") == 0); i++) {
        AUTO_FREE char *name = mem_dup(names->v[strcmp(kind, "twice") == 0 ? 0 : n - 1 - i]); /* reordered */
        for (char *c = name; strcmp(kind, "upper") == 0 && *c != '\0'; c++)
            *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : *c;
        bool longer = strcmp(kind, "long") == 0 && strchr(name, ':') != NULL;
        buf_addf(out, "%s{\"type\":\"dns\",\"value\":\"%s\"}", i > 0 ? "," : "",
                 longer ? LONG_ADDRESS : name);
    }
    if (strcmp(kind, "extra") == 0)
        buf_adds(out, ",{\"type\":\"dns\",\"value\":\"extra.test\"}");
    buf_adds(out, "]");
}

/* A kind is a status, perhaps with a flaw. */
static void order_body(const struct run *run, const char *kind, struct buf *out)
{
    static const char *const flawed_pending[] = {"upper",   "extra",    "missing", "twice",
                                                 "noids",   "nowhere",  "foreign", "nofinalize",
                                                 "noauthz", "badauthz", "yonder",  "long"};
    char status[32];
    snprintf(status, sizeof status, "%.*s", (int)strcspn(kind, "-"), kind);
    if (strcmp(kind, "junk") == 0) {
        buf_adds(out, "<html>502 Bad gateway</html>");
        return;
    }
    for (size_t i = 0; i < COUNT_OF(flawed_pending); i++)
        if (strcmp(kind, flawed_pending[i]) == 0)
            snprintf(status, sizeof status, "pending");
    buf_addf(out, "{\"status\":\"%s\",\"random\":{\"x\":[1,null]},\"expires\":\"2026-11-29T12:00:00Z\"",
             status);
    add_identifiers(out, run, kind);
    buf_adds(out, ",\"authorizations\":[");
    for (size_t i = 0; i < run->flow.names.n && strcmp(kind, "noauthz") != 0; i++)
        buf_addf(out, "%s\"%sa%d/%zu\"", i > 0 ? "," : "",
                 strcmp(kind, "badauthz") == 0 ? "http://ca.test/" : CA, run->orders, i);
    buf_adds(out, "]");
    if (strcmp(kind, "nofinalize") != 0)
        buf_addf(out, ",\"finalize\":\"%sf%d\"", strcmp(kind, "foreign") == 0 ? "https://evil.test/" : CA,
                 run->orders);
    if (strcmp(kind, "valid") == 0)
        buf_addf(out, ",\"certificate\":\"" CA "cert%d\"", run->orders);
    if (strcmp(kind, "invalid") == 0)
        buf_adds(out,
                 ",\"error\":{\"type\":\"urn:ietf:params:acme:error:caa\",\"detail\":\"CAA forbids it\"}");
    if (strcmp(kind, "invalid-bare") == 0)
        buf_addf(out,
                 ",\"error\":{\"type\":\"urn:ietf:params:acme:error:caa\",\"identifier\":{\"type\":\"dns\","
                 "\"value\":\"%s\"}}",
                 run->flow.names.v[0] + 2);
    if (strcmp(kind, "invalid-profile") == 0)
        buf_adds(
            out,
            ",\"error\":{\"type\":\"urn:ietf:params:acme:error:invalidProfile\",\"detail\":\"no such\"}");
    if (strcmp(kind, "invalid-subs") ==
        0) /* of the first name, in capitals, twice; and of one that is not ours */
        buf_addf(out,
                 ",\"error\":{\"type\":\"urn:ietf:params:acme:error:compound\",\"detail\":\"several\","
                 "\"subproblems\":[{\"type\":\"urn:ietf:params:acme:error:caa\",\"detail\":\"first\","
                 "\"identifier\":{"
                 "\"value\":\"%c%s\"}},{\"detail\":\"again\",\"identifier\":{\"value\":\"%s\"}},{\"detail\":"
                 "\"whose?\",\"identifier\":{\"value\":\"foreign.test\"}}]}",
                 run->flow.names.v[0][0] - 32, run->flow.names.v[0] + 1, run->flow.names.v[0]);
    buf_adds(out, "}");
}

static void challenge_body(const struct run *run, int index, const char *kind, struct buf *out)
{
    const char *status = strcmp(kind, "begun") == 0                                    ? "processing"
                         : strcmp(kind, "partly") == 0 || strcmp(kind, "invalid") == 0 ? "invalid"
                                                                                       : "pending";
    buf_addf(out, ",{\"type\":\"http-01\",\"url\":\"" CA "c%d/%d\",\"status\":\"%s\",\"token\":", run->orders,
             index, status);
    if (strcmp(kind, "null") == 0)
        buf_adds(out, "null");
    else if (strcmp(kind, "hostile") == 0)
        buf_adds(out, "\"../../x\"");
    else
        buf_addf(out, "\"tok%d-%d\"", run->orders, index);
    if (strcmp(kind, "invalid") == 0)
        buf_addf(out,
                 ",\"error\":{\"type\":\"urn:ietf:params:acme:error:connection\",\"detail\":\"timeout for "
                 "%d\",\"status\":400}",
                 index);
    if (strcmp(kind, "invalid-subs") == 0)
        buf_adds(out,
                 ",\"error\":{\"type\":\"urn:ietf:params:acme:error:connection\",\"detail\":\"tried twice\","
                 "\"identifier\":{\"value\":\"b.test\"},\"subproblems\":["
                 "{\"type\":\"urn:ietf:params:acme:error:connection\",\"detail\":\"no answer on port 80\","
                 "\"identifier\":{\"value\":\"b.test\"}},"
                 "{\"type\":\"urn:ietf:params:acme:error:connection\",\"detail\":\"no answer over IPv6\","
                 "\"identifier\":{\"value\":\"b.test\"}}]}");
    buf_adds(out, "}");
}

/* The challenges of other types. */
static void other_challenges(const struct run *run, int index, const char *kind, struct buf *out)
{
    buf_addf(out,
             "{\"type\":\"dns-01\",\"url\":\"" CA "d%d/%d\",\"status\":\"pending\",\"token\":\"dns%d-%d\"}",
             run->orders, index, run->orders, index);
    buf_adds(out, ",{\"type\":\"moon-99\",\"url\":\"" CA "m\"},{\"type\":\"sun-01\",\"token\":null}");
    if (strcmp(kind, "all") == 0)
        buf_addf(out,
                 ",{\"type\":\"tls-alpn-01\",\"url\":\"" CA "t%d/%d\",\"token\":\"alpn%d-%d\"}"
                 ",{\"type\":\"dns-account-01\",\"url\":\"" CA "x%d/%d\",\"token\":\"acc%d-%d\"}",
                 run->orders, index, run->orders, index, run->orders, index, run->orders, index);
    if (strcmp(kind, "all") == 0 || strcmp(kind, "persist") == 0)
        buf_addf(out,
                 ",{\"type\":\"dns-persist-01\",\"url\":\"" CA "p%d/%d\",\"status\":\"pending\","
                 "\"issuer-domain-names\":[\"CA.test\",\"ca2.test\"],\"accounturi\":\"" CA "acct/1\"}",
                 run->orders, index);
    if (strcmp(kind, "alpninvalid") == 0 || strcmp(kind, "dnsinvalid") == 0)
        buf_addf(out,
                 ",{\"type\":\"%s\",\"url\":\"" CA "e\",\"status\":\"invalid\",\"error\":{\"type\":"
                 "\"urn:ietf:params:acme:error:connection\",\"detail\":\"no answer\"}}",
                 kind[0] == 'a' ? "tls-alpn-01" : "dns-01");
    if (strcmp(kind, "persist2") == 0)
        buf_addf(out,
                 ",{\"type\":\"dns-persist-01\",\"url\":\"" CA "p%d/%d\",\"status\":\"pending\","
                 "\"issuerDomainNames\":[\"ca.test\"]}",
                 run->orders, index);
    if (strcmp(kind, "persistbad") == 0)
        buf_addf(out,
                 ",{\"type\":\"dns-persist-01\",\"url\":\"" CA "p%d/%d\",\"status\":\"pending\","
                 "\"issuer-domain-names\":[\"ca.test; policy=wildcard\"]}",
                 run->orders, index);
}

static void authorization_body(const struct run *run, int index, const char *kind, struct buf *out)
{
    static const char *const flawed_pending[] = {"upper",      "foreign", "dnsonly", "null",    "hostile",
                                                 "begun",      "none",    "all",     "persist", "persist2",
                                                 "persistbad", "long",    "partly"};
    size_t n = run->flow.names.n;
    const char *name = n > 0 ? run->flow.names.v[(size_t)index % n] : "a.test";
    bool wildcard = strncmp(name, "*.", 2) == 0;
    char status[32];
    if (strcmp(kind, "junk") == 0) {
        buf_adds(out, "[]");
        return;
    }
    snprintf(status, sizeof status, "%.*s", (int)strcspn(kind, "-"), kind);
    if (strstr(kind, "invalid") != NULL)
        snprintf(status, sizeof status, "invalid");
    for (size_t i = 0; i < COUNT_OF(flawed_pending); i++)
        if (strcmp(kind, flawed_pending[i]) == 0)
            snprintf(status, sizeof status, "pending");
    AUTO_FREE char *identifier = mem_dup(strcmp(kind, "foreign") == 0 ? "foreign.test"
                                         : strcmp(kind, "long") == 0  ? LONG_ADDRESS
                                                                      : name + (wildcard ? 2 : 0));
    for (char *c = identifier; strcmp(kind, "upper") == 0 && *c != '\0'; c++)
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : *c;
    buf_addf(out, "{\"status\":\"%s\",\"identifier\":{\"type\":\"dns\",\"value\":\"%s\"}%s,\"challenges\":[",
             status, identifier, wildcard ? ",\"wildcard\":true" : "");
    other_challenges(run, index, kind, out);
    if (strcmp(kind, "dnsonly") != 0 && strcmp(kind, "invalid-") != 0 && strcmp(kind, "none") != 0)
        challenge_body(run, index, kind, out);
    buf_adds(out, "]}");
}

/* -- events as words ------------------------------------------------------------------------------------ */

static enum jws_kind awaited_kind(const struct run *run)
{
    if (run->flow.state == FLOW_ORDERING && !run->flow.resumed)
        return run->flow.order_kind;
    return run->flow.state == FLOW_FINALIZING ? JWS_FINALIZE : JWS_READ;
}

static void respond(struct run *run, enum jws_kind kind, int index, const struct buf *body,
                    const char *location)
{
    struct http_response response = {.status = 200, .body = *body, .retry_after_s = run->retry_after_s};
    struct flow_event event = {.type = FLOW_RESPONSE, .request = kind, .index = index, .response = &response};
    snprintf(response.location, sizeof response.location, "%s", location);
    response.alternates = run->links; /* lent */
    step(run, &event);
    run->retry_after_s = -1;
}

static void order_response(struct run *run, const char *kind)
{
    AUTO_BUF body = BUF_INIT;
    char location[64] = "";
    enum jws_kind request = awaited_kind(run);
    if (run->flow.state == FLOW_ORDERING && !run->flow.resumed) {
        run->orders++;
        if (strcmp(kind, "nowhere") != 0)
            snprintf(location, sizeof location, "%so%d",
                     strcmp(kind, "yonder") == 0 ? "https://evil.test/" : CA, run->orders);
    }
    order_body(run, kind, &body);
    respond(run, request, FLOW_ORDER_INDEX, &body, location);
}

static void authorization_response(struct run *run, int index, const char *kind)
{
    AUTO_BUF body = BUF_INIT;
    authorization_body(run, index, kind, &body);
    respond(run, JWS_READ, index, &body, "");
}

/* How a request, or a provision, fails. With a status, the CA said so in a problem document. */
static const struct {
    const char *word;
    struct err err;
    int status;
} failures[] = {
    {"404", {.code = ERR_ACME, .next = NEXT_REFUSED, .text = "no such order", .type = "malformed"}, 404},
    {"500",
     {.code = ERR_ACME, .next = NEXT_RETRY_LATER, .text = "the CA hiccups", .type = "serverInternal"},
     500},
    {"503", {.code = ERR_ACME, .next = NEXT_RETRY_LATER, .text = "overloaded"}, 503},
    {"401", {.code = ERR_ACME, .next = NEXT_REFUSED, .text = "who knows why"}, 401},
    {"429",
     {.code = ERR_ACME, .next = NEXT_RETRY_LATER, .wait_s = 3600, .text = "too many", .type = "rateLimited"},
     429},
    {"paused",
     {.code = ERR_ACME,
      .next = NEXT_REFUSED,
      .text = "paused, visit https://ca.test/unpause?jwt=1",
      .type = "rateLimited"},
     429},
    {"limited", /* because of one name of them */
     {.code = ERR_ACME,
      .next = NEXT_RETRY_LATER,
      .wait_s = 720,
      .text = "too many failed authorizations for \"b.test\"",
      .type = "rateLimited"},
     429},
    {"quota",
     {.code = ERR_ACME, .next = NEXT_RETRY_LATER, .wait_s = 60, .text = "too much", .type = "rateLimited"},
     403},
    {"terms",
     {.code = ERR_ACME, .next = NEXT_REFUSED, .text = "new terms", .type = "userActionRequired"},
     403},
    {"account",
     {.code = ERR_ACME, .next = NEXT_RETRY_NOW, .text = "who?", .type = "accountDoesNotExist"},
     400},
    {"denied", {.code = ERR_ACME, .next = NEXT_REFUSED, .text = "not allowed", .type = "unauthorized"}, 403},
    {"replaced",
     {.code = ERR_ACME, .next = NEXT_REFUSED, .text = "already replaced", .type = "alreadyReplaced"},
     409},
    {"conflict", {.code = ERR_ACME, .next = NEXT_REFUSED, .text = "conflict", .type = "conflict"}, 409},
    {"profile",
     {.code = ERR_ACME, .next = NEXT_REFUSED, .text = "no profile", .type = "invalidProfile"},
     400},
    {"caa", {.code = ERR_ACME, .next = NEXT_REFUSED, .text = "CAA forbids it", .type = "caa"}, 403},
    {"rejected", /* with subproblems: see fill_problem() */
     {.code = ERR_ACME, .next = NEXT_REFUSED, .text = "several", .type = "rejectedIdentifier"},
     400},
    {"one",
     {.code = ERR_ACME,
      .next = NEXT_REFUSED,
      .text = "Cannot issue for \"b.test\": blocked",
      .type = "rejectedIdentifier"},
     400},
    {"notready",
     {.code = ERR_ACME, .next = NEXT_RETRY_NOW, .text = "not ready", .type = "orderNotReady"},
     403},
    {"badcsr", {.code = ERR_ACME, .next = NEXT_REFUSED, .text = "bad CSR", .type = "badCSR"}, 400},
    {"cut", {.code = ERR_NETWORK, .next = NEXT_RETRY_LATER, .text = "the line is cut"}, 0},
    {"disk",
     {.code = ERR_NO_SPACE, .next = NEXT_LOCAL_FAULT, .text = "the disk is full", .advice = "make room"},
     0},
    {"hook", {.code = ERR_HOOK, .next = NEXT_FIX_CONFIG, .text = "the hook failed"}, 0},
};

static void fill_problem(const struct run *run, size_t which, struct problem *out)
{
    const struct err *err = &failures[which].err;
    *out = (struct problem){.status = failures[which].status};
    if (strcmp(failures[which].word, "quota") == 0) {
        snprintf(out->sub[0].type, sizeof out->sub[0].type, "rateLimited");
        snprintf(out->sub[0].identifier, sizeof out->sub[0].identifier, "a.test");
        out->n_sub = 1;
    }
    snprintf(out->type, sizeof out->type, "%.63s", err->type);
    snprintf(out->detail, sizeof out->detail, "%.600s", err->text);
    if (strcmp(failures[which].word, "rejected") != 0)
        return;
    const char *const identifiers[] = {run->flow.names.v[0],
                                       "foreign.test",
                                       "",
                                       "\033[1m",
                                       run->flow.names.v[0],
                                       run->flow.names.v[run->flow.names.n - 1]};
    for (size_t i = 0; i < COUNT_OF(identifiers); i++) {
        snprintf(out->sub[out->n_sub].identifier, sizeof out->sub[0].identifier, "%s", identifiers[i]);
        snprintf(out->sub[out->n_sub].detail, sizeof out->sub[0].detail, "blocked %zu", i);
        snprintf(out->sub[out->n_sub++].type, sizeof out->sub[0].type, "rejectedIdentifier");
    }
}

static void failure(struct run *run, enum flow_event_type type, enum jws_kind kind, int index,
                    const char *what)
{
    static struct problem problem;
    for (size_t i = 0; i < COUNT_OF(failures); i++)
        if (strcmp(failures[i].word, what) == 0) {
            struct flow_event event = {
                .type = type, .request = kind, .index = index, .err = &failures[i].err};
            fill_problem(run, i, &problem);
            event.problem = type == FLOW_ERROR && failures[i].status != 0 ? &problem : NULL;
            step(run, &event);
            return;
        }
    fail_msg("no failure is called %s", what);
}

/* The number at the end of "auth12", and what follows "="; index -1 when there is no number. */
static bool split_word(const char *word, char head[32], int *index, char value[32])
{
    size_t len = strcspn(word, "-0123456789=");
    if (len >= 32)
        return false;
    memcpy(head, word, len);
    head[len] = '\0';
    char *end = (char *)(uintptr_t)(word + len);
    *index = word[len] != '=' && word[len] != '\0' ? (int)strtol(word + len, &end, 10) : FLOW_ORDER_INDEX;
    snprintf(value, 32, "%s", *end == '=' ? end + 1 : "");
    return *end == '=' || *end == '\0';
}

static void run_word(struct run *run, const char *word)
{
    char head[32], value[32], token[32];
    int index = FLOW_ORDER_INDEX;
    const struct buf empty = BUF_INIT;
    struct flow_event event = {0};
    assert_true(split_word(word, head, &index, value));
    event.index = index;
    if (strcmp(head, "start") == 0) {
        step(run, &event);
    } else if (strcmp(head, "order") == 0) {
        order_response(run, value);
    } else if (strcmp(head, "auth") == 0) {
        authorization_response(run, index, value);
    } else if (strcmp(head, "presented") == 0) {
        event.type = FLOW_PRESENTED;
        step(run, &event);
    } else if (strcmp(head, "unpresented") == 0) {
        failure(run, FLOW_NOT_PRESENTED, 0, index, value);
    } else if (strcmp(head, "triggered") == 0) {
        respond(run, JWS_RESPOND, index, &empty, "");
    } else if (strcmp(head, "untriggered") == 0) {
        failure(run, FLOW_ERROR, JWS_RESPOND, index, value);
    } else if (strcmp(head, "unread") == 0) {
        failure(run, FLOW_ERROR, JWS_READ, index, value);
    } else if (strcmp(head, "error") == 0) {
        failure(run, FLOW_ERROR, awaited_kind(run), FLOW_ORDER_INDEX, value);
    } else if (strcmp(head, "stray") == 0) { /* an answer to what nobody asked just now */
        respond(run, run->flow.state == FLOW_ORDERING ? JWS_FINALIZE : JWS_NEW_ORDER, FLOW_ORDER_INDEX,
                &empty, CA "o9");
    } else if (strcmp(head, "fetched") == 0) {
        snprintf(token, sizeof token, "tok%d-%d", run->orders, index);
        event = (struct flow_event){.type = FLOW_FETCHED, .token = token};
        step(run, &event);
    } else if (strcmp(head, "timer") == 0) {
        event.type = FLOW_TIMER;
        step(run, &event);
    } else if (strcmp(head, "pem") == 0) {
        AUTO_BUF pem = BUF_INIT;
        buf_addf(&pem, "-----BEGIN CERTIFICATE-----%s", value);
        respond(run, JWS_READ, FLOW_ORDER_INDEX, &pem, "");
    } else if (strcmp(head, "notpem") == 0) {
        AUTO_BUF page = BUF_INIT;
        buf_adds(&page, "<html>sorry</html>");
        respond(run, JWS_READ, FLOW_ORDER_INDEX, &page, "");
    } else if (strcmp(head, "abort") == 0) {
        failure(run, FLOW_ABORT, 0, 0, "cut");
    } else if (strcmp(head, "retryafter") == 0) {
        run->retry_after_s = strtoll(value, NULL, 10);
    } else if (strcmp(head, "sleep") == 0) {
        run->now_ms += strtoll(value, NULL, 10) * 1000;
    } else {
        fail_msg("no event is called %s", word);
    }
}

static void run_words(struct run *run, const char *words)
{
    AUTO_STRLIST list = STRLIST_INIT;
    strlist_split(&list, words, " ");
    for (size_t i = 0; i < list.n; i++)
        run_word(run, list.v[i]);
}

/* -- the table ------------------------------------------------------------------------------------------ */

/* Ways into states, for names "a.test" alone and "a.test b.test". */
#define ORDERED "start order=pending "
#define ONE_PRESENTING ORDERED "auth0=pending "
#define ONE_TRIGGERING ONE_PRESENTING "presented0 "
#define ONE_POLLING ONE_TRIGGERING "triggered0 "
#define ONE_ASKED ONE_POLLING "timer0 "
#define ONE_FINALIZING ONE_ASKED "auth0=valid "
#define PROCESSING ONE_FINALIZING "order=processing "
#define DOWNLOADING ONE_FINALIZING "order=valid "
#define TWO_PRESENTING ORDERED "auth0=pending auth1=pending "
#define TWO_TRIGGERING TWO_PRESENTING "presented0 presented1 "
#define TWO_ASKED TWO_TRIGGERING "triggered0 triggered1 timer0 timer1 "
#define POLLED(status) "timer order=" status " "

struct row {
    const char *names, *resume, *before, *event;
    enum flow_state state;
    const char *actions;
};

static const struct row rows[] = {
    /* the order, new */
    {"a.test", "", "", "start", FLOW_ORDERING, "new order new-order"},
    {"a.test", "", "start", "order=pending", FLOW_AUTHORIZING, "remember o1, read a1/0"},
    {"a.test b.test", "", "start", "order=pending", FLOW_AUTHORIZING, "remember o1, read a1/0, read a1/1"},
    {"a.test", "", "start", "order=ready", FLOW_FINALIZING, "remember o1, finalize f1"},
    {"a.test", "", "start", "order=processing", FLOW_PROCESSING, "remember o1, timer 100"},
    {"a.test", "", "start", "order=valid", FLOW_DOWNLOADING, "remember o1, read cert1"},
    {"a.test", "", "start", "order=invalid", FLOW_FAILED, "remember o1, remember none, gave up"},
    {"a.test", "", "start", "order=invalid-", FLOW_FAILED, "remember o1, remember none, gave up"},
    {"a.test", "", "start", "order=expired", FLOW_FAILED, "remember o1, remember none, gave up"},
    {"a.test", "", "start", "order=val", FLOW_FAILED, "gave up"},
    {"a.test", "", "start", "order=junk", FLOW_FAILED, "gave up"},
    {"a.test b.test", "", "start", "order=upper", FLOW_AUTHORIZING, "remember o1, read a1/0, read a1/1"},
    {"a.test b.test", "", "start", "order=noids", FLOW_AUTHORIZING, "remember o1, read a1/0, read a1/1"},
    {"a.test b.test", "", "start", "order=extra", FLOW_FAILED, "gave up"},
    {"a.test b.test", "", "start", "order=missing", FLOW_FAILED, "gave up"},
    {"a.test b.test", "", "start", "order=twice", FLOW_FAILED, "gave up"},
    {"a.test", "", "start", "order=nowhere", FLOW_FAILED, "gave up"},
    {"a.test", "", "start", "order=yonder", FLOW_FAILED, "gave up"},
    {"a.test", "", "start", "order=foreign", FLOW_FAILED, "gave up"},
    {"a.test", "", "start", "order=nofinalize", FLOW_FAILED, "gave up"},
    {"a.test", "", "start", "order=noauthz", FLOW_FAILED, "remember o1, gave up"},
    {"a.test", "", "start", "order=badauthz", FLOW_FAILED, "gave up"},
    {"a.test", "", "start", "error=429", FLOW_FAILED, "gave up"},
    {"a.test", "", "start", "error=404", FLOW_FAILED, "gave up"},
    {"a.test", "", "start", "stray", FLOW_ORDERING, ""},
    /* the order, resumed */
    {"a.test", CA "o1", "", "start", FLOW_ORDERING, "read o1"},
    {"a.test", CA "o1", "start", "order=pending", FLOW_AUTHORIZING, "read a1/0"},
    {"a.test", CA "o1", "start", "order=ready", FLOW_FINALIZING, "finalize f1"},
    {"a.test", CA "o1", "start", "order=processing", FLOW_PROCESSING, "timer 100"},
    {"a.test", CA "o1", "start", "order=valid", FLOW_DOWNLOADING, "read cert1"},
    {"a.test", CA "o1", "start", "order=invalid", FLOW_ORDERING, "remember none, new order new-order"},
    {"a.test", CA "o1", "start order=invalid", "order=invalid", FLOW_FAILED,
     "remember o2, remember none, gave up"},
    {"a.test", CA "o1", "start", "error=404", FLOW_ORDERING, "remember none, new order new-order"},
    {"a.test", CA "o1", "start error=404", "error=404", FLOW_FAILED, "gave up"},
    {"a.test", CA "o1", "start", "error=500", FLOW_FAILED, "gave up"},
    {"a.test", CA "o1", "start", "error=429", FLOW_FAILED, "gave up"},
    {"a.test", CA "o1", "start", "error=cut", FLOW_FAILED, "gave up"},
    {"a.test", CA "o1", "start order=valid", "error=404", FLOW_FAILED, "remember none, gave up"},
    {"a.test", CA "o1", "start order=valid", "error=cut", FLOW_FAILED, "gave up"},
    {"a.test", CA "o1", "start order=processing timer", "order=invalid", FLOW_ORDERING,
     "remember none, new order new-order"},
    /* of an order that an earlier run began: what that one missed is not this one's failure, but only once */
    {"a.test", CA "o1", "start order=pending", "auth0=invalid", FLOW_ORDERING,
     "remember none, new order new-order"},
    {"a.test", CA "o1", "start order=pending auth0=pending presented0 triggered0 timer0", "auth0=invalid",
     FLOW_ORDERING, "clean a.test, remember none, new order new-order"},
    {"a.test", CA "o1", "start order=pending auth0=invalid order=pending", "auth0=invalid", FLOW_FAILED,
     "failed a.test, remember none, gave up"},
    /* authorizations */
    {"a.test", "", ORDERED, "auth0=pending", FLOW_AUTHORIZING, "present a.test tok1-0"},
    {"a.test", "", ORDERED, "auth0=upper", FLOW_AUTHORIZING, "present a.test tok1-0"},
    {"a.test", "", ORDERED, "auth0=valid", FLOW_FINALIZING, "finalize f1"},
    {"a.test", "", ORDERED, "auth0=foreign", FLOW_FAILED, "gave up"},
    {"a.test", "", ORDERED, "auth0=junk", FLOW_FAILED, "gave up"},
    {"a.test", "", ORDERED, "auth0=dnsonly", FLOW_FAILED, "failed a.test, remember none, gave up"},
    {"a.test", "", ORDERED, "auth0=null", FLOW_FAILED, "failed a.test, remember none, gave up"},
    {"a.test", "", ORDERED, "auth0=hostile", FLOW_FAILED, "failed a.test, remember none, gave up"},
    {"a.test", "", ORDERED, "auth0=invalid", FLOW_FAILED, "failed a.test, remember none, gave up"},
    {"a.test", "", ORDERED, "unread0=cut", FLOW_FAILED, "gave up"},
    {"a.test b.test", "", ORDERED, "auth0=valid", FLOW_AUTHORIZING, ""},
    {"a.test b.test", "", ORDERED "auth0=valid", "auth1=valid", FLOW_FINALIZING, "finalize f1"},
    {"a.test b.test", "", ORDERED "auth1=valid auth0=pending", "presented0", FLOW_CHALLENGING,
     "challenge c1/0"},
    {"a.test b.test", "", ORDERED "auth1=pending auth0=pending", "presented0", FLOW_AUTHORIZING, ""},
    {"a.test b.test", "", TWO_PRESENTING "presented0", "presented1", FLOW_CHALLENGING,
     "challenge c1/0, challenge c1/1"},
    {"a.test b.test", "", TWO_PRESENTING "presented0", "unpresented1=disk", FLOW_FAILED,
     "clean b.test, failed b.test, clean a.test, gave up"},
    {"a.test b.test", "", TWO_PRESENTING "unpresented0=disk", "presented1", FLOW_FAILED,
     "failed a.test, clean b.test, gave up"},
    {"a.test b.test", "", ORDERED "auth0=foreign", "auth1=pending", FLOW_FAILED, ""},
    {"a.test b.test", "", ORDERED "auth0=pending", "auth1=foreign", FLOW_FAILED, "clean a.test, gave up"},
    {"a.test b.test", "", ORDERED "auth0=pending presented0", "auth1=hostile", FLOW_FAILED,
     "failed b.test, remember none, clean a.test, gave up"},
    /* challenges */
    {"a.test", "", ONE_TRIGGERING, "triggered0", FLOW_CHALLENGING, "timer0 100"},
    {"a.test", "", ONE_TRIGGERING "fetched0", "triggered0", FLOW_CHALLENGING, "timer0 40"},
    {"a.test", "", ONE_POLLING, "fetched0", FLOW_CHALLENGING, "timer0 40"},
    {"a.test", "", ONE_POLLING "fetched0", "fetched0", FLOW_CHALLENGING, ""},
    {"a.test", "", ONE_ASKED, "fetched0", FLOW_CHALLENGING, ""},
    {"a.test", "", ONE_ASKED "auth0=begun", "fetched0", FLOW_CHALLENGING, ""},
    {"a.test", "", ONE_POLLING, "fetched7", FLOW_CHALLENGING, ""},
    {"a.test", "", ONE_POLLING, "timer0", FLOW_CHALLENGING, "read a1/0"},
    {"a.test", "", ONE_ASKED, "timer0", FLOW_CHALLENGING, ""},
    {"a.test", "", ONE_ASKED, "auth0=pending", FLOW_CHALLENGING, "timer0 500"},
    {"a.test", "", ONE_ASKED, "auth0=processing", FLOW_CHALLENGING, "timer0 500"},
    {"a.test", "", ONE_ASKED "auth0=pending timer0", "auth0=pending", FLOW_CHALLENGING, "timer0 1000"},
    {"a.test", "", ONE_ASKED "retryafter=7", "auth0=pending", FLOW_CHALLENGING, "timer0 7000"},
    {"a.test", "", ONE_ASKED "retryafter=0", "auth0=pending", FLOW_CHALLENGING, "timer0 1000"},
    {"a.test", "", ONE_ASKED "retryafter=86400", "auth0=pending", FLOW_CHALLENGING, "timer0 60000"},
    {"a.test", "", ONE_TRIGGERING "retryafter=30", "triggered0", FLOW_CHALLENGING, "timer0 100"},
    {"a.test", "", ONE_ASKED, "auth0=valid", FLOW_FINALIZING, "clean a.test, finalize f1"},
    {"a.test", "", ONE_ASKED, "auth0=invalid", FLOW_FAILED,
     "clean a.test, failed a.test, remember none, gave up"},
    {"a.test", "", ONE_ASKED, "auth0=invalid-", FLOW_FAILED,
     "clean a.test, failed a.test, remember none, gave up"},
    {"a.test", "", ONE_ASKED, "auth0=foreign", FLOW_FAILED, "clean a.test, gave up"},
    {"a.test", "", ONE_ASKED, "unread0=cut", FLOW_FAILED, "clean a.test, gave up"},
    {"a.test", "", ONE_POLLING "sleep=301", "timer0", FLOW_FAILED, "clean a.test, failed a.test, gave up"},
    {"a.test", "", ONE_TRIGGERING, "untriggered0=404", FLOW_CHALLENGING, "timer0 0"},
    {"a.test", "", ONE_TRIGGERING "untriggered0=404 timer0", "auth0=valid", FLOW_FINALIZING,
     "clean a.test, finalize f1"},
    {"a.test", "", ONE_TRIGGERING "untriggered0=404 timer0", "auth0=pending", FLOW_CHALLENGING,
     "timer0 1000"},
    {"a.test", "", ONE_TRIGGERING "untriggered0=404 timer0 auth0=pending timer0 auth0=pending timer0",
     "auth0=pending", FLOW_FAILED, "clean a.test, failed a.test, remember none, gave up"},
    {"a.test", "", ONE_TRIGGERING "untriggered0=404 timer0 auth0=begun timer0 auth0=begun timer0",
     "auth0=begun", FLOW_CHALLENGING, "timer0 3000"},
    {"a.test", "", ONE_TRIGGERING, "untriggered0=cut", FLOW_FAILED, "clean a.test, gave up"},
    {"a.test b.test", "", TWO_ASKED, "auth0=valid", FLOW_CHALLENGING, "clean a.test"},
    {"a.test b.test", "", TWO_ASKED "auth0=valid", "auth1=valid", FLOW_FINALIZING,
     "clean b.test, finalize f1"},
    {"a.test b.test", "", TWO_ASKED, "auth0=invalid", FLOW_CHALLENGING, "clean a.test"},
    {"a.test b.test", "", TWO_ASKED "auth0=invalid", "auth1=valid", FLOW_FAILED,
     "clean b.test, failed a.test, remember none, gave up"},
    {"a.test b.test", "", TWO_ASKED "auth0=invalid", "auth0=valid", FLOW_CHALLENGING, ""},
    /* authorizations of the past: one fresh order, and not another */
    {"a.test", "", ORDERED, "auth0=deactivated", FLOW_ORDERING, "remember none, new order new-order"},
    {"a.test", "", ORDERED, "auth0=expired", FLOW_ORDERING, "remember none, new order new-order"},
    {"a.test", "", ORDERED, "auth0=revoked", FLOW_ORDERING, "remember none, new order new-order"},
    {"a.test", "", ORDERED "auth0=expired order=pending", "auth0=expired", FLOW_FAILED,
     "failed a.test, gave up"},
    {"a.test", "", ORDERED "auth0=expired order=pending", "auth0=pending", FLOW_AUTHORIZING,
     "present a.test tok2-0"},
    {"a.test", "", ONE_ASKED, "auth0=expired", FLOW_ORDERING,
     "clean a.test, remember none, new order new-order"},
    /* no answer of the old order may come to the new one: all are awaited first */
    {"a.test b.test", "", ORDERED, "auth0=expired", FLOW_AUTHORIZING, ""},
    {"a.test b.test", "", ORDERED "auth0=expired", "auth1=pending", FLOW_AUTHORIZING,
     "present b.test tok1-1"},
    {"a.test b.test", "", ORDERED "auth0=expired auth1=pending", "presented1", FLOW_ORDERING,
     "clean b.test, remember none, new order new-order"},
    {"a.test b.test", "", ORDERED "auth0=expired", "auth1=valid", FLOW_ORDERING,
     "remember none, new order new-order"},
    {"a.test b.test", "", ORDERED "auth0=expired", "auth1=invalid", FLOW_FAILED,
     "failed b.test, remember none, gave up"},
    /* finalize */
    {"a.test", "", ONE_FINALIZING, "order=processing", FLOW_PROCESSING, "timer 100"},
    {"a.test", "", ONE_FINALIZING, "order=valid", FLOW_DOWNLOADING, "read cert1"},
    {"a.test", "", ONE_FINALIZING, "order=valid-", FLOW_PROCESSING, "timer 100"},
    {"a.test", "", ONE_FINALIZING, "order=ready", FLOW_PROCESSING, "timer 100"},
    {"a.test", "", ONE_FINALIZING, "order=pending", FLOW_PROCESSING, "timer 100"},
    {"a.test", "", ONE_FINALIZING, "order=invalid", FLOW_FAILED, "remember none, gave up"},
    {"a.test", "", ONE_FINALIZING, "order=extra", FLOW_FAILED, "gave up"},
    {"a.test", "", ONE_FINALIZING, "order=junk", FLOW_FAILED, "gave up"},
    {"a.test", "", ONE_FINALIZING, "error=notready", FLOW_PROCESSING, "timer 100"},
    {"a.test", "", ONE_FINALIZING, "error=badcsr", FLOW_FAILED, "remember none, gave up"},
    {"a.test", "", ONE_FINALIZING, "error=429", FLOW_FAILED, "gave up"},
    {"a.test", "", ONE_FINALIZING, "error=cut", FLOW_FAILED, "gave up"},
    {"a.test", "", ONE_FINALIZING, "stray", FLOW_FINALIZING, ""},
    {"a.test", "", ONE_FINALIZING, "auth0=invalid", FLOW_FINALIZING, ""},
    /* the CA works */
    {"a.test", "", PROCESSING, "timer", FLOW_PROCESSING, "read o1"},
    {"a.test", "", PROCESSING "timer", "timer", FLOW_PROCESSING, ""},
    {"a.test", "", PROCESSING, "order=valid", FLOW_PROCESSING, ""},
    {"a.test", "", PROCESSING "timer", "order=processing", FLOW_PROCESSING, "timer 500"},
    {"a.test", "", PROCESSING "timer retryafter=20", "order=processing", FLOW_PROCESSING, "timer 20000"},
    {"a.test", "", PROCESSING "timer", "order=valid", FLOW_DOWNLOADING, "read cert1"},
    {"a.test", "", PROCESSING "timer", "order=invalid", FLOW_FAILED, "remember none, gave up"},
    {"a.test", "", PROCESSING "timer", "error=404", FLOW_FAILED, "gave up"},
    {"a.test", "", PROCESSING "sleep=301", "timer", FLOW_FAILED, "gave up"},
    {"a.test", "", PROCESSING, "timer0", FLOW_PROCESSING, ""},
    {"a.test", "", PROCESSING, "presented0", FLOW_PROCESSING, ""},
    {"a.test", "", ONE_FINALIZING "error=notready timer", "order=ready", FLOW_PROCESSING, "timer 500"},
    /* ready after finalize: polled, then finalized once more */
    {"a.test", "", ONE_FINALIZING "order=ready " POLLED("ready") "timer", "order=ready", FLOW_PROCESSING,
     "timer 1000"},
    {"a.test", "", ONE_FINALIZING "order=ready " POLLED("ready") POLLED("ready") "timer", "order=ready",
     FLOW_FINALIZING, "finalize f1"},
    {"a.test", "",
     ONE_FINALIZING "order=ready " POLLED("ready") POLLED("ready")
         POLLED("ready") "order=ready " POLLED("ready") POLLED("ready") "timer",
     "order=ready", FLOW_FAILED, "gave up"},
    /* valid, but where is the certificate? The patience for that does not run out while the CA works. */
    {"a.test", "",
     PROCESSING POLLED("processing") POLLED("processing") POLLED("processing") POLLED("processing")
         POLLED("processing") "timer",
     "order=valid-", FLOW_PROCESSING, "timer 5000"},
    {"a.test", "",
     ONE_FINALIZING "order=valid- " POLLED("valid-") POLLED("valid-") POLLED("valid-")
         POLLED("valid-") "timer",
     "order=valid-", FLOW_FAILED, "gave up"},
    {"a.test", "", ONE_FINALIZING "order=valid- timer", "order=valid", FLOW_DOWNLOADING, "read cert1"},
    /* download */
    {"a.test", "", DOWNLOADING, "pem", FLOW_DONE, "finished"},
    {"a.test", "", DOWNLOADING, "stray", FLOW_DOWNLOADING, ""},
    {"a.test", "", DOWNLOADING, "timer", FLOW_DOWNLOADING, ""},
    {"a.test", "", DOWNLOADING, "error=cut", FLOW_FAILED, "gave up"},
    {"a.test", "", DOWNLOADING, "error=404", FLOW_FAILED, "gave up"},
    /* stop */
    {"a.test", "", "", "abort", FLOW_FAILED, "gave up"},
    {"a.test", "", "start", "abort", FLOW_FAILED, "gave up"},
    {"a.test b.test", "", ORDERED "auth0=pending", "abort", FLOW_FAILED, "clean a.test, gave up"},
    {"a.test b.test", "", TWO_TRIGGERING, "abort", FLOW_FAILED, "clean a.test, clean b.test, gave up"},
    {"a.test b.test", "", TWO_ASKED "auth0=valid", "abort", FLOW_FAILED, "clean b.test, gave up"},
    {"a.test", "", PROCESSING, "abort", FLOW_FAILED, "gave up"},
    {"a.test", "", DOWNLOADING, "abort", FLOW_FAILED, "gave up"},
    {"a.test", "", "abort", "start", FLOW_FAILED, ""},
    /* what does not fit */
    {"a.test", "", "start", "start", FLOW_ORDERING, ""},
    {"a.test", "", "", "order=pending", FLOW_NEW, ""},
    {"a.test", "", "", "timer", FLOW_NEW, ""},
    {"a.test", "", ORDERED, "auth5=valid", FLOW_AUTHORIZING, ""},
    {"a.test", "", ORDERED, "auth-2=valid", FLOW_AUTHORIZING, ""},
    {"a.test", "", ORDERED, "presented0", FLOW_AUTHORIZING, ""},
    {"a.test", "", ORDERED, "triggered0", FLOW_AUTHORIZING, ""},
    {"a.test", "", ORDERED, "timer0", FLOW_AUTHORIZING, ""},
    {"a.test", "", ORDERED, "order=valid", FLOW_AUTHORIZING, ""},
    {"a.test", "", ORDERED, "error=404", FLOW_AUTHORIZING, ""},
    {"a.test", "", ONE_POLLING, "presented0", FLOW_CHALLENGING, ""},
    {"a.test", "", ONE_POLLING, "unpresented0=disk", FLOW_CHALLENGING, ""},
    {"a.test", "", ONE_POLLING, "triggered0", FLOW_CHALLENGING, ""},
    {"a.test", "", ONE_POLLING, "timer99999", FLOW_CHALLENGING, ""},
    {"a.test", "", ONE_POLLING, "presented-5", FLOW_CHALLENGING, ""},
};

/* The same with other options than http-01 alone (set_option()). */
static const struct {
    const char *options;
    struct row row;
} option_rows[] = {
    /* newOrder, simpler and simpler */
    {"replaces profile",
     {"a.test", "", "start", "error=replaced", FLOW_ORDERING, "new order without replaces new-order"}},
    {"replaces",
     {"a.test", "", "start", "error=conflict", FLOW_ORDERING, "new order without replaces new-order"}},
    {"replaces", {"a.test", "", "start", "error=401", FLOW_ORDERING, "new order without replaces new-order"}},
    {"replaces", {"a.test", "", "start", "error=404", FLOW_ORDERING, "new order without replaces new-order"}},
    {"replaces",
     {"a.test", "", "start", "error=denied", FLOW_ORDERING, "new order without replaces new-order"}},
    {"replaces", {"a.test", "", "start", "error=500", FLOW_ORDERING, "new order without replaces new-order"}},
    {"replaces", {"a.test", "", "start error=500", "error=500", FLOW_FAILED, "gave up"}},
    {"replaces", {"a.test", "", "start error=replaced", "error=replaced", FLOW_FAILED, "gave up"}},
    {"replaces",
     {"a.test", "", "start error=replaced", "order=pending", FLOW_AUTHORIZING, "remember o1, read a1/0"}},
    {"replaces", {"a.test", "", "start error=replaced", "stray", FLOW_ORDERING, ""}},
    {"replaces", {"a.test", "", "start", "error=profile", FLOW_FAILED, "gave up"}},
    {"replaces profile",
     {"a.test", "", "start", "error=profile", FLOW_ORDERING, "plain new order new-order"}},
    {"profile", {"a.test", "", "start", "error=profile", FLOW_ORDERING, "plain new order new-order"}},
    {"profile", {"a.test", "", "start", "error=404", FLOW_ORDERING, "plain new order new-order"}},
    {"profile", {"a.test", "", "start", "error=denied", FLOW_ORDERING, "plain new order new-order"}},
    {"profile", {"a.test", "", "start", "error=rejected", FLOW_ORDERING, "plain new order new-order"}},
    {"profile", {"a.test", "", "start", "error=replaced", FLOW_FAILED, "gave up"}},
    {"profile", {"a.test", "", "start error=profile", "error=profile", FLOW_FAILED, "gave up"}},
    {"profile",
     {"a.test", "", "start error=profile", "error=rejected", FLOW_FAILED, "failed a.test, gave up"}},
    {"replaces profile",
     {"a.test", "", "start error=404", "error=404", FLOW_ORDERING, "plain new order new-order"}},
    {"replaces profile", {"a.test", "", "start error=404 error=404", "error=404", FLOW_FAILED, "gave up"}},
    {"replaces profile",
     {"a.test", "", "start error=404 error=404", "order=ready", FLOW_FINALIZING, "remember o1, finalize f1"}},
    /* not when something else is the cause */
    {"replaces profile", {"a.test", "", "start", "error=429", FLOW_FAILED, "gave up"}},
    {"replaces profile", {"a.test", "", "start", "error=paused", FLOW_FAILED, "gave up"}},
    {"replaces profile", {"a.test", "", "start", "error=terms", FLOW_FAILED, "gave up"}},
    {"replaces profile", {"a.test", "", "start", "error=account", FLOW_FAILED, "gave up"}},
    {"replaces profile", {"a.test", "", "start", "error=503", FLOW_FAILED, "gave up"}},
    {"replaces profile", {"a.test", "", "start", "error=cut", FLOW_FAILED, "gave up"}},
    {"replaces", {"a.test", "", "start", "error=rejected", FLOW_FAILED, "failed a.test, gave up"}},
    {"replaces profile", {"a.test", "", "start", "error=caa", FLOW_FAILED, "gave up"}},
    /* an order that a restart replaces is asked for in the same form */
    {"replaces",
     {"a.test", "", ORDERED, "auth0=expired", FLOW_ORDERING, "remember none, new order new-order"}},
    {"replaces",
     {"a.test", "", "start error=replaced order=pending", "auth0=expired", FLOW_ORDERING,
      "remember none, new order without replaces new-order"}},
    {"replaces profile",
     {"a.test", CA "o1", "start", "error=404", FLOW_ORDERING, "remember none, new order new-order"}},
    {"replaces profile",
     {"a.test", CA "o1", "start error=404", "error=replaced", FLOW_ORDERING,
      "new order without replaces new-order"}},
    /* a profile that vanished meanwhile */
    {"profile",
     {"a.test", "", ONE_FINALIZING, "error=profile", FLOW_ORDERING,
      "remember none, plain new order new-order"}},
    {"replaces profile",
     {"a.test", "", ONE_FINALIZING, "error=profile", FLOW_ORDERING,
      "remember none, plain new order new-order"}},
    {"profile",
     {"a.test", "", ONE_FINALIZING, "order=invalid-profile", FLOW_ORDERING,
      "remember none, plain new order new-order"}},
    {"profile",
     {"a.test", "", PROCESSING "timer", "order=invalid-profile", FLOW_ORDERING,
      "remember none, plain new order new-order"}},
    {"profile",
     {"a.test", CA "o1", "start order=ready", "error=profile", FLOW_ORDERING,
      "remember none, plain new order new-order"}},
    {"profile",
     {"a.test", "", ONE_FINALIZING "error=profile order=ready", "error=profile", FLOW_FAILED,
      "remember none, gave up"}},
    {"", {"a.test", "", ONE_FINALIZING, "error=profile", FLOW_FAILED, "remember none, gave up"}},
    /* names to blame */
    {"",
     {"a.test b.test c.test", "", "start", "error=rejected", FLOW_FAILED,
      "failed a.test, failed c.test, gave up"}},
    {"", {"a.test b.test c.test", "", "start", "error=one", FLOW_FAILED, "failed b.test, gave up"}},
    {"", {"a.test b.test", "", "start", "error=limited", FLOW_FAILED, "failed b.test, gave up"}},
    {"", {"a.test *.b.test", "", "start", "error=one", FLOW_FAILED, "gave up"}},
    {"",
     {"a.test b.test", "", "start order=ready", "error=rejected", FLOW_FAILED,
      "failed a.test, failed b.test, remember none, gave up"}},
    {"",
     {"a.test b.test", "", "start order=ready", "order=invalid-subs", FLOW_FAILED,
      "failed a.test, remember none, gave up"}},
    {"",
     {"a.test b.test", "", "start", "order=invalid-subs", FLOW_FAILED,
      "remember o1, failed a.test, remember none, gave up"}},
    {"",
     {"a.test b.test", CA "o1", "start", "error=rejected", FLOW_ORDERING,
      "remember none, new order new-order"}},
    {"", {"a.test", CA "o1", "start", "error=terms", FLOW_FAILED, "gave up"}},
    {"", {"a.test", CA "o1", "start", "error=paused", FLOW_FAILED, "gave up"}},
    {"", {"a.test", CA "o1", "start", "error=account", FLOW_FAILED, "gave up"}},
    /* the first type that can work here */
    {"dns-01", {"a.test", "", ORDERED, "auth0=pending", FLOW_AUTHORIZING, "present a.test dns1-0"}},
    {"dns-01", {"*.a.test", "", ORDERED "auth0=pending", "presented0", FLOW_CHALLENGING, "challenge d1/0"}},
    {"tls-alpn-01", {"a.test", "", ORDERED, "auth0=all", FLOW_AUTHORIZING, "present a.test alpn1-0"}},
    {"dns-account-01 http-01",
     {"a.test", "", ORDERED, "auth0=all", FLOW_AUTHORIZING, "present a.test acc1-0"}},
    {"tls-alpn-01 dns-01 http-01",
     {"a.test", "", ORDERED, "auth0=pending", FLOW_AUTHORIZING, "present a.test dns1-0"}},
    {"http-01 dns-01", {"*.a.test", "", ORDERED, "auth0=all", FLOW_AUTHORIZING, "present *.a.test dns1-0"}},
    {"dns-01 tls-alpn-01",
     {"192.0.2.7", "", ORDERED, "auth0=all", FLOW_AUTHORIZING, "present 192.0.2.7 alpn1-0"}},
    {"http-01 tls-alpn-01", {"*.a.test", "", ORDERED, "auth0=all", FLOW_FAILED, "failed *.a.test, gave up"}},
    {"dns-01", {"192.0.2.7", "", ORDERED, "auth0=all", FLOW_FAILED, "failed 192.0.2.7, gave up"}},
    {"tls-alpn-01",
     {"a.test", "", ORDERED, "auth0=pending", FLOW_FAILED, "failed a.test, remember none, gave up"}},
    {"http-01 dns-01", {"a.test", "", ORDERED, "auth0=hostile", FLOW_AUTHORIZING, "present a.test dns1-0"}},
    {"dns-persist-01", {"a.test", "", ORDERED, "auth0=persist", FLOW_AUTHORIZING, "present a.test "}},
    {"dns-persist-01",
     {"*.a.test", "", ORDERED "auth0=persist2", "presented0", FLOW_CHALLENGING, "challenge p1/0"}},
    {"dns-persist-01",
     {"a.test", "", ORDERED, "auth0=persistbad", FLOW_FAILED, "failed a.test, remember none, gave up"}},
    {"dns-persist-01 dns-01",
     {"a.test", "", ORDERED, "auth0=persistbad", FLOW_AUTHORIZING, "present a.test dns1-0"}},
    {"http-01 dns-01", {"a.test", "", ORDERED, "auth0=partly", FLOW_AUTHORIZING, "present a.test dns1-0"}},
    /* and the next when it cannot be provisioned */
    {"http-01 dns-01",
     {"a.test", "", ONE_PRESENTING, "unpresented0=disk", FLOW_AUTHORIZING,
      "clean a.test, present a.test dns1-0"}},
    {"http-01 dns-01",
     {"a.test", "", ONE_PRESENTING "unpresented0=disk", "presented0", FLOW_CHALLENGING, "challenge d1/0"}},
    {"http-01 dns-01",
     {"a.test", "", ONE_PRESENTING "unpresented0=disk presented0 triggered0 timer0", "auth0=valid",
      FLOW_FINALIZING, "clean a.test, finalize f1"}},
    {"http-01 dns-01",
     {"a.test", "", ONE_PRESENTING "unpresented0=disk presented0 triggered0 timer0", "auth0=pending",
      FLOW_CHALLENGING, "timer0 500"}},
    {"http-01 dns-01",
     {"a.test", "", ONE_PRESENTING "unpresented0=disk", "unpresented0=hook", FLOW_FAILED,
      "clean a.test, failed a.test, gave up"}},
    {"http-01 dns-01",
     {"a.test b.test", "", TWO_PRESENTING "presented0", "unpresented1=disk", FLOW_AUTHORIZING,
      "clean b.test, present b.test dns1-1"}},
    {"http-01 dns-01",
     {"a.test b.test", "", TWO_PRESENTING "presented0 unpresented1=disk", "presented1", FLOW_CHALLENGING,
      "challenge c1/0, challenge d1/1"}},
    {"http-01 dns-01",
     {"a.test b.test", "", TWO_PRESENTING "presented0 unpresented1=disk", "unpresented1=disk", FLOW_FAILED,
      "clean b.test, failed b.test, clean a.test, gave up"}},
    /* a look at the former token is not one at the present */
    {"http-01 dns-01",
     {"a.test", "", ONE_PRESENTING "unpresented0=disk presented0 triggered0", "fetched0", FLOW_CHALLENGING,
      ""}},
    /* more chains */
    {"chains", {"a.test", "", DOWNLOADING, "pem", FLOW_DOWNLOADING, "read alternate"}},
    {"chains", {"a.test", "", DOWNLOADING "pem", "pem=2", FLOW_DONE, "finished"}},
    {"chains", {"a.test", "", DOWNLOADING "pem", "notpem", FLOW_DONE, "finished"}},
    {"chains", {"a.test", "", DOWNLOADING "pem", "error=404", FLOW_DONE, "finished"}},
    {"chains", {"a.test", "", DOWNLOADING "pem", "error=cut", FLOW_DONE, "finished"}},
    {"chains", {"a.test", "", DOWNLOADING, "error=cut", FLOW_FAILED, "gave up"}},
    {"chains", {"a.test", "", DOWNLOADING "pem", "stray", FLOW_DOWNLOADING, ""}},
};

static bool row_holds(const struct row *row, const char *options)
{
    struct run run;
    run_begin(&run, row->names, row->resume, options);
    run_words(&run, row->before);
    run_word(&run, row->event);
    bool holds = run.flow.state == row->state && strcmp(buf_str(&run.shown), row->actions) == 0;
    if (!holds)
        print_error("\"%s\" then \"%s\": %s, \"%s\"; wanted %s, \"%s\"\n", row->before, row->event,
                    flow_state_name(run.flow.state), buf_str(&run.shown), flow_state_name(row->state),
                    row->actions);
    run_end(&run);
    return holds;
}

static void test_table(void **state)
{
    (void)state;
    size_t wrong = 0;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        wrong += !row_holds(&rows[i], NULL);
    for (size_t i = 0; i < COUNT_OF(option_rows); i++)
        wrong += !row_holds(&option_rows[i].row, option_rows[i].options);
    assert_int_equal(wrong, 0);
}

/* Whatever the state, a stop ends it at once and leaves nothing behind; run_word() looks at the books. */
static void abort_after(const struct row *row, const char *options)
{
    struct run run;
    run_begin(&run, row->names, row->resume, options);
    run_words(&run, row->before);
    run_word(&run, row->event);
    bool over = run.flow.state == FLOW_DONE || run.flow.state == FLOW_FAILED;
    run_word(&run, "abort");
    assert_true(run.flow.state == FLOW_FAILED || run.flow.state == FLOW_DONE);
    assert_true(over ? run.n_actions == 0 : strstr(buf_str(&run.shown), "gave up") != NULL);
    assert_int_equal(run.presents, run.cleanups);
    assert_null(strstr(buf_str(&run.shown), "remember"));
    assert_null(strstr(buf_str(&run.shown), "failed"));
    run_end(&run);
}

static void test_abort_after_each_prefix(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        abort_after(&rows[i], NULL);
    for (size_t i = 0; i < COUNT_OF(option_rows); i++)
        abort_after(&option_rows[i].row, option_rows[i].options);
}

/* -- what a person reads -------------------------------------------------------------------------------- */

static void test_error_names_all_that_failed(void **state)
{
    (void)state;
    struct run run;
    run_begin(&run, "a.test b.test c.test", "", NULL);
    run_words(&run, ORDERED "auth0=pending auth1=pending auth2=pending presented0 presented1 presented2 "
                            "triggered0 triggered1 triggered2");
    run_words(&run, "timer0 timer1 timer2 auth0=invalid auth1=valid auth2=invalid");
    assert_int_equal(run.flow.state, FLOW_FAILED);
    assert_int_equal(run.flow.err.code, ERR_ACME);
    assert_int_equal(run.flow.err.next, NEXT_REFUSED);
    assert_string_equal(run.flow.err.type, "connection");
    assert_non_null(strstr(run.flow.err.text, "2 of 3"));
    assert_non_null(strstr(run.flow.err.text, "a.test: timeout for 0"));
    assert_non_null(strstr(run.flow.err.text, "c.test: timeout for 2"));
    assert_null(strstr(run.flow.err.text, "b.test"));
    assert_non_null(strstr(run.flow.err.advice, "port 80"));
    run_end(&run);
}

static void expect_error(const char *names, const char *words, enum err_code code, enum err_next next,
                         const char *subject, const char *text)
{
    struct run run;
    run_begin(&run, names, "", NULL);
    run_words(&run, words);
    assert_int_equal(run.flow.state, FLOW_FAILED);
    assert_int_equal(run.flow.err.code, code);
    assert_int_equal(run.flow.err.next, next);
    assert_string_equal(run.flow.err.subject, subject);
    if (strstr(run.flow.err.text, text) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", text, run.flow.err.text);
    run_end(&run);
}

static void test_errors_say_what_and_why(void **state)
{
    (void)state;
    expect_error("a.test", "start order=extra", ERR_PROTOCOL, NEXT_REFUSED, "a.test", "extra.test");
    expect_error("a.test", "start order=nowhere", ERR_PROTOCOL, NEXT_RETRY_LATER, "a.test", "Location");
    expect_error("a.test", "start order=junk", ERR_PROTOCOL, NEXT_RETRY_LATER, "a.test", "502 Bad gateway");
    expect_error("a.test", "start order=invalid", ERR_ACME, NEXT_REFUSED, "a.test", "CAA forbids it");
    expect_error("a.test", "start order=invalid-", ERR_ACME, NEXT_REFUSED, "a.test", "no reason");
    expect_error("a.test", ORDERED "auth0=dnsonly", ERR_PROTOCOL, NEXT_REFUSED, "a.test",
                 "only: dns-01, moon-99");
    expect_error("a.test", ORDERED "auth0=foreign", ERR_PROTOCOL, NEXT_REFUSED, "foreign.test",
                 "not ordered");
    expect_error("a.test b.test", ORDERED "unread0=cut unread1=cut", ERR_NETWORK, NEXT_RETRY_LATER, "a.test",
                 "a1/1: the line is cut");
    expect_error("a.test", ONE_PRESENTING "unpresented0=disk", ERR_NO_SPACE, NEXT_LOCAL_FAULT, "",
                 "the disk is full");
    expect_error("a.test", ONE_ASKED "auth0=invalid", ERR_ACME, NEXT_REFUSED, "a.test", "timeout for 0");
    expect_error("a.test", ONE_POLLING "sleep=400 timer0", ERR_TIMEOUT, NEXT_RETRY_LATER, "a.test",
                 "not finished checking");
    expect_error("a.test",
                 ONE_TRIGGERING
                 "untriggered0=404 timer0 auth0=pending timer0 auth0=pending timer0 auth0=pending",
                 ERR_ACME, NEXT_REFUSED, "", "no such order");
    expect_error("a.test", PROCESSING "sleep=400 timer", ERR_TIMEOUT, NEXT_RETRY_LATER, "a.test",
                 "still working");
    expect_error("a.test", ONE_FINALIZING "error=429", ERR_ACME, NEXT_RETRY_LATER, "", "too many");
    expect_error("a.test", ORDERED "auth0=expired order=pending auth0=expired", ERR_PROTOCOL,
                 NEXT_RETRY_LATER, "a.test", "expired");
}

static void test_no_trigger_when_one_name_cannot_be_provisioned(void **state)
{
    (void)state;
    struct run run;
    run_begin(&run, "a.test b.test c.test", "", NULL);
    run_words(&run, ORDERED "auth0=pending auth1=pending auth2=pending unpresented1=disk presented0");
    assert_int_equal(run.flow.state, FLOW_AUTHORIZING);
    run_words(&run, "presented2");
    assert_int_equal(run.flow.state, FLOW_FAILED);
    assert_int_equal(run.triggers, 0);
    assert_int_equal(run.cleanups, 3);
    run_end(&run);
}

static void test_certificate_is_given_whole(void **state)
{
    (void)state;
    struct run run;
    run_begin(&run, "a.test", NULL, NULL);
    run_words(&run, DOWNLOADING "pem");
    assert_int_equal(run.flow.n_chains, 1);
    assert_string_equal(buf_str(&run.flow.chains[0]), "-----BEGIN CERTIFICATE-----");
    run_words(&run, "pem order=valid error=404 timer abort auth0=valid fetched0 presented0");
    assert_int_equal(run.flow.state, FLOW_DONE);
    assert_string_equal(buf_str(&run.flow.chains[0]), "-----BEGIN CERTIFICATE-----");
    run_end(&run);
}

static void test_late_events_change_nothing(void **state)
{
    (void)state;
    static const char *const late[] = {"start",       "order=valid",
                                       "auth0=valid", "auth0=pending",
                                       "presented0",  "unpresented0=cut",
                                       "triggered0",  "untriggered0=404",
                                       "unread0=cut", "error=404",
                                       "fetched0",    "timer",
                                       "timer0",      "pem",
                                       "abort"};
    struct run run;
    run_begin(&run, "a.test", "", NULL);
    run_words(&run, ONE_ASKED "auth0=invalid");
    for (size_t i = 0; i < COUNT_OF(late); i++) {
        run_word(&run, late[i]);
        assert_int_equal(run.n_actions, 0);
        assert_int_equal(run.flow.state, FLOW_FAILED);
        assert_int_equal(run.flow.err.code, ERR_ACME);
    }
    run_end(&run);
}

/* A CA that stays in one status for ever does not keep us for ever. */
static void test_patience_has_an_end(void **state)
{
    (void)state;
    static const char *const for_ever[] = {"order=ready", "order=processing", "order=valid-", "order=pending",
                                           "error=notready"};
    for (size_t i = 0; i < COUNT_OF(for_ever); i++) {
        struct run run;
        int steps = 0;
        run_begin(&run, "a.test", "", NULL);
        run_words(&run, ONE_FINALIZING);
        for (; run.flow.state != FLOW_FAILED && steps < 200; steps++) {
            run_word(&run, run.flow.state == FLOW_FINALIZING ? for_ever[i]
                           : run.flow.asking                 ? (i == 4 ? "order=ready" : for_ever[i])
                                                             : "timer");
            run.now_ms += 5000;
        }
        assert_int_equal(run.flow.state, FLOW_FAILED);
        assert_in_range(run.now_ms, 1000, 1000 + 2 * FLOW_PROCESSING_DEADLINE_MS + 20000);
        assert_int_equal(run.flow.err.next, NEXT_RETRY_LATER);
        run_end(&run);
    }
}

/* -- the cases that a client must survive, by number ---------------------------------------------------- */

static void expect_words(const char *names, const char *resume, const char *options, const char *words,
                         enum flow_state state, const char *shown)
{
    struct run run;
    run_begin(&run, names, resume, options);
    run_words(&run, words);
    if (run.flow.state != state || strcmp(buf_str(&run.shown), shown) != 0)
        fail_msg("%s: %s, \"%s\"; wanted %s, \"%s\"", words, flow_state_name(run.flow.state),
                 buf_str(&run.shown), flow_state_name(state), shown);
    run_end(&run);
}

/* An order remembered is one that the next run may go on with, with another account perhaps. */
static void test_account_lost_in_mid_flow(void **state)
{
    (void)state;
    static const struct {
        const char *words, *shown;
    } rows_of[] = {
        {"start error=account", "gave up"},
        {ORDERED "unread0=account", "gave up"},
        {ONE_ASKED "unread0=account", "clean a.test, gave up"},
        {ONE_FINALIZING "error=account", "gave up"},
        {PROCESSING "timer error=account", "gave up"},
        {DOWNLOADING "error=account", "gave up"},
    };
    for (size_t i = 0; i < COUNT_OF(rows_of); i++) {
        struct run run;
        run_begin(&run, "a.test", "", "replaces profile");
        run_words(&run, rows_of[i].words);
        assert_string_equal(buf_str(&run.shown), rows_of[i].shown);
        assert_string_equal(run.flow.err.type,
                            "accountDoesNotExist"); /* by which the account is made again */
        assert_int_equal(run.flow.err.next, NEXT_RETRY_NOW);
        assert_int_equal(run.failed_names.n, 0);
        run_end(&run);
    }
    /* with the new account, the old order is gone */
    expect_words("a.test", CA "o1", "", "start error=404", FLOW_ORDERING,
                 "remember none, new order new-order");
}

static void test_order_born_ready(void **state)
{
    (void)state;
    expect_words("a.test b.test", "", "", "start order=ready", FLOW_FINALIZING, "remember o1, finalize f1");
    expect_words("a.test b.test", "", "", "start order=ready order=valid pem", FLOW_DONE, "finished");
    /* the authorizations are there already, but the order does not know */
    expect_words("a.test b.test", "", "", ORDERED "auth0=valid auth1=valid", FLOW_FINALIZING, "finalize f1");
}

static void test_reordered_and_added_names(void **state)
{
    (void)state;
    struct run run;
    expect_words("a.test b.test c.test", "", "", "start order=upper", FLOW_AUTHORIZING,
                 "remember o1, read a1/0, read a1/1, read a1/2");
    static const char *const wrong[] = {"extra", "missing", "twice"};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        AUTO_FREE char *words = mem_fmt("start order=%s", wrong[i]);
        run_begin(&run, "a.test b.test", "", "replaces profile");
        run_words(&run, words);
        assert_int_equal(run.flow.state, FLOW_FAILED);
        assert_int_equal(run.new_orders, 1);
        assert_non_null(strstr(run.flow.err.text, "other names than were asked for"));
        run_end(&run);
    }
    /* an order that changes later is no better */
    expect_words("a.test b.test", "", "", "start order=ready order=extra", FLOW_FAILED, "gave up");
}

static void test_base_and_wildcard(void **state)
{
    (void)state;
    struct run run;
    run_begin(&run, "a.test *.a.test", "", "dns-01");
    run_words(&run, ORDERED "auth0=pending");
    assert_string_equal(buf_str(&run.shown), "present a.test dns1-0");
    run_words(&run, "auth1=pending");
    assert_string_equal(buf_str(&run.shown), "present *.a.test dns1-1");
    assert_int_equal(run.presented.n, 2); /* both values are there at the same time */
    run_words(&run, "presented1 presented0");
    assert_string_equal(buf_str(&run.shown), "challenge d1/0, challenge d1/1");
    run_words(&run, "triggered0 triggered1 timer0 timer1 auth1=valid");
    assert_string_equal(buf_str(&run.shown), "clean *.a.test"); /* and the other stays */
    assert_int_equal(run.presented.n, 1);
    run_words(&run, "auth0=valid");
    assert_string_equal(buf_str(&run.shown), "clean a.test, finalize f1");
    run_end(&run);
}

static void test_unknown_challenges(void **state)
{
    (void)state;
    expect_words("a.test", "", "", ORDERED "auth0=pending", FLOW_AUTHORIZING, "present a.test tok1-0");
    expect_words("a.test", "", "http-01 dns-01", ORDERED "auth0=null", FLOW_AUTHORIZING,
                 "present a.test dns1-0");
    expect_error("a.test", ORDERED "auth0=null", ERR_PROTOCOL, NEXT_REFUSED, "a.test", "token");
    expect_error("a.test", ORDERED "auth0=none", ERR_PROTOCOL, NEXT_REFUSED, "a.test",
                 "only: dns-01, moon-99, sun-01");
}

static void test_hostile_token(void **state)
{
    (void)state;
    struct run run;
    run_begin(&run, "a.test", "", NULL);
    run_words(&run, ORDERED "auth0=hostile");
    assert_int_equal(run.flow.state, FLOW_FAILED);
    assert_int_equal(run.presents, 0);
    assert_null(strstr(run.flow.err.text, ".."));
    run_end(&run);
}

static void test_retry_after_in_polls(void **state)
{
    (void)state;
    static const struct {
        const char *said, *timer;
    } rows_of[] = {{"0", "1000"},      {"1", "1000"}, {"59", "59000"}, {"60", "60000"},
                   {"86400", "60000"}, {"-1", "500"}, {"-9999", "500"}};
    for (size_t i = 0; i < COUNT_OF(rows_of); i++) {
        AUTO_FREE char *authorization = mem_fmt(ONE_ASKED "retryafter=%s auth0=pending", rows_of[i].said);
        AUTO_FREE char *authorization_shown = mem_fmt("timer0 %s", rows_of[i].timer);
        expect_words("a.test", "", "", authorization, FLOW_CHALLENGING, authorization_shown);
        AUTO_FREE char *order = mem_fmt(PROCESSING "timer retryafter=%s order=processing", rows_of[i].said);
        AUTO_FREE char *order_shown = mem_fmt("timer %s", rows_of[i].timer);
        expect_words("a.test", "", "", order, FLOW_PROCESSING, order_shown);
    }
}

static void test_one_invalid_authorization(void **state)
{
    (void)state;
    struct run run;
    run_begin(&run, "a.test b.test c.test", "", NULL);
    run_words(&run,
              ORDERED "auth0=pending auth1=pending auth2=valid presented0 presented1 triggered0 triggered1 "
                      "timer0 timer1 auth0=valid auth1=invalid-subs");
    assert_string_equal(buf_str(&run.shown), "clean b.test, failed b.test, remember none, gave up");
    assert_string_equal(run.last_failed.type, "connection");
    assert_non_null(strstr(run.last_failed.text, "b.test: no answer on port 80 (connection)"));
    assert_non_null(strstr(run.last_failed.text, "b.test: no answer over IPv6 (connection)"));
    assert_string_equal(run.last_failed.text, run.flow.err.text);
    assert_string_equal(run.flow.err.subject, "b.test");
    run_end(&run);
}

static void test_finalize_without_location(void **state)
{
    (void)state;
    struct run run; /* order_response() sends a Location with newOrder alone */
    run_begin(&run, "a.test", "", NULL);
    run_words(&run, PROCESSING "timer");
    assert_string_equal(buf_str(&run.shown), "read o1"); /* the order, and not the finalize URL */
    run_words(&run, "order=valid pem");
    assert_int_equal(run.flow.state, FLOW_DONE);
    run_end(&run);
}

static void test_ready_after_finalize(void **state)
{
    (void)state;
    expect_words("a.test", "", "", ONE_FINALIZING "order=ready", FLOW_PROCESSING, "timer 100");
    expect_words("a.test", "", "", ONE_FINALIZING "error=notready", FLOW_PROCESSING, "timer 100");
    expect_words("a.test", "", "",
                 ONE_FINALIZING "error=notready " POLLED("ready") POLLED("ready") POLLED("ready"),
                 FLOW_FINALIZING, "finalize f1");
    expect_words("a.test", "", "",
                 ONE_FINALIZING "order=ready " POLLED("ready") POLLED("ready")
                     POLLED("ready") "order=valid pem",
                 FLOW_DONE, "finished");
    expect_words("a.test", "", "",
                 ONE_FINALIZING "error=notready " POLLED("processing") POLLED("valid") "pem", FLOW_DONE,
                 "finished");
}

static void test_processing_for_ever(void **state)
{
    (void)state;
    struct run run;
    int polls = 0;
    run_begin(&run, "a.test", "", NULL);
    run_words(&run, PROCESSING);
    for (; run.flow.state == FLOW_PROCESSING && polls < 1000; polls++) {
        run.now_ms += 5000;
        run_words(&run, run.flow.asking ? "order=processing" : "timer");
    }
    assert_string_equal(buf_str(&run.shown), "gave up"); /* without forgetting the order */
    assert_int_equal(run.flow.err.next, NEXT_RETRY_LATER);
    assert_in_range(polls, 10, 200);
    run_end(&run);
    /* the next run takes it up, and never finalizes a second time */
    expect_words("a.test", CA "o1", "", "start order=processing", FLOW_PROCESSING, "timer 100");
    expect_words("a.test", CA "o1", "", "start order=processing timer order=valid pem", FLOW_DONE,
                 "finished");
}

static void test_valid_without_certificate(void **state)
{
    (void)state;
    expect_words("a.test", "", "", ONE_FINALIZING "order=valid-", FLOW_PROCESSING, "timer 100");
    expect_words("a.test", "", "", ONE_FINALIZING "order=valid- timer order=valid pem", FLOW_DONE,
                 "finished");
    expect_error("a.test",
                 ONE_FINALIZING "order=valid- " POLLED("valid-") POLLED("valid-") POLLED("valid-")
                     POLLED("valid-") POLLED("valid-"),
                 ERR_PROTOCOL, NEXT_RETRY_LATER, "a.test", "no certificate URL");
}

static void test_alternates(void **state)
{
    (void)state;
    static const char *const links[] = {
        CA "cert1", /* the default itself: a loop */
        CA "cert1/1",
        CA "cert1/1",             /* twice */
        "http://ca.test/cert1/2", /* in the clear */
        "https://evil.test/cert1/3",
        "https://ca.test:444/cert1/3",
        "",
        "/cert1/4",
        CA "cert1/5",
    };
    struct run run;
    run_begin(&run, "a.test", "", "chains");
    strlist_clear(&run.links);
    for (size_t i = 0; i < COUNT_OF(links); i++)
        strlist_add(&run.links, links[i]);
    run_words(&run, DOWNLOADING "pem");
    assert_string_equal(buf_str(&run.shown), "read cert1/1");
    run_words(&run, "pem=1"); /* whose Links lead back are not followed */
    assert_string_equal(buf_str(&run.shown), "read cert1/5");
    run_words(&run, "pem=5");
    assert_string_equal(buf_str(&run.shown), "finished");
    assert_int_equal(run.flow.n_chains, 3);
    assert_string_equal(buf_str(&run.flow.chains[0]), "-----BEGIN CERTIFICATE-----");
    assert_string_equal(buf_str(&run.flow.chains[1]), "-----BEGIN CERTIFICATE-----1");
    assert_string_equal(buf_str(&run.flow.chains[2]), "-----BEGIN CERTIFICATE-----5");
    run_end(&run);
    /* many of them, some of which fail */
    run_begin(&run, "a.test", "", "chains");
    for (int i = 0; i < 30; i++) {
        AUTO_FREE char *link = mem_fmt(CA "more%d", i);
        strlist_add(&run.links, link);
    }
    run_words(&run, DOWNLOADING "pem error=404 notpem");
    for (int i = 2; i < 8; i++) {
        assert_int_equal(run.flow.state, FLOW_DOWNLOADING);
        run_words(&run, "pem");
    }
    assert_int_equal(run.flow.state, FLOW_DONE);
    assert_int_equal(run.flow.n_chains, 7);
    run_end(&run);
}

static void test_limits_end_it(void **state)
{
    (void)state;
    static const char *const words[] = {"429", "paused", "limited", "quota", "503"};
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        struct run run;
        AUTO_FREE char *at_order = mem_fmt("start error=%s", words[i]);
        run_begin(&run, "a.test", "", "replaces profile");
        run_words(&run, at_order);
        assert_int_equal(run.flow.state, FLOW_FAILED);
        assert_int_equal(run.new_orders, 1); /* asking in another form would use up more */
        assert_int_equal(run.flow.err.next,
                         strcmp(words[i], "paused") == 0 ? NEXT_REFUSED : NEXT_RETRY_LATER);
        run_end(&run);
    }
    expect_error("a.test", "start error=paused", ERR_ACME, NEXT_REFUSED, "", "unpause?jwt=1");
    expect_error("a.test", "start error=terms", ERR_ACME, NEXT_REFUSED, "", "new terms");
}

static void test_replaces_refused(void **state)
{
    (void)state;
    static const char *const words[] = {"replaced", "conflict", "401", "404", "500", "denied"};
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        AUTO_FREE char *once = mem_fmt("start error=%s", words[i]);
        AUTO_FREE char *then = mem_fmt("start error=%s order=pending", words[i]);
        expect_words("a.test", "", "replaces", once, FLOW_ORDERING, "new order without replaces new-order");
        expect_words("a.test", "", "replaces", then, FLOW_AUTHORIZING, "remember o1, read a1/0");
        expect_words("a.test", "", "", once, FLOW_FAILED, "gave up"); /* there was none */
    }
}

static void test_profile_vanished(void **state)
{
    (void)state;
    struct run run;
    run_begin(&run, "a.test", "", "profile");
    run_words(&run, ONE_FINALIZING "error=profile");
    assert_string_equal(buf_str(&run.shown), "remember none, plain new order new-order");
    run_words(&run, "order=ready order=valid pem");
    assert_int_equal(run.flow.state, FLOW_DONE);
    assert_int_equal(run.new_orders, 2);
    run_end(&run);
    /* one that is required is not dropped */
    expect_words("a.test", "", "", "start error=profile", FLOW_FAILED, "gave up");
    expect_words("a.test", "", "replaces", ONE_FINALIZING "error=profile", FLOW_FAILED,
                 "remember none, gave up");
}

static void test_ipv6_identifier(void **state)
{
    (void)state;
    struct run run;
    run_begin(&run, "2001:db8::1 192.0.2.7", "", "dns-01 http-01");
    run_words(&run, "start order=long");
    assert_int_equal(run.flow.state, FLOW_AUTHORIZING); /* the CA writes it as 2001:DB8:0:0:0:0:0:1 */
    run_words(&run, "auth0=long auth1=pending");
    assert_string_equal(buf_str(&run.shown), "present 192.0.2.7 tok1-1");
    assert_true(strlist_has(&run.presented, "2001:db8::1 tok1-0"));
    run_words(&run, "abort");
    run_end(&run);
}

static void test_crash_before_download(void **state)
{
    (void)state;
    expect_words("a.test", CA "o1", "", "start order=valid", FLOW_DOWNLOADING, "read cert1");
    expect_words("a.test", CA "o1", "chains", "start order=valid pem pem=2", FLOW_DONE, "finished");
    expect_words("a.test", CA "o1", "", "start order=ready", FLOW_FINALIZING, "finalize f1");
    /* a line that is cut loses nothing; a certificate that is gone is ordered anew by the next run */
    expect_words("a.test", CA "o1", "", "start order=valid error=cut", FLOW_FAILED, "gave up");
    expect_words("a.test", CA "o1", "", "start order=valid error=404", FLOW_FAILED, "remember none, gave up");
}

/* -- challenges ----------------------------------------------------------------------------------------- */

static void test_all_ways_that_failed_are_told(void **state)
{
    (void)state;
    struct run run;
    run_begin(&run, "a.test", "", "http-01 tls-alpn-01 dns-01");
    run_words(&run, ORDERED "auth0=all unpresented0=disk unpresented0=hook unpresented0=cut");
    assert_int_equal(run.flow.state, FLOW_FAILED);
    assert_string_equal(run.flow.err.text, "no challenge that the CA offers could be prepared\n"
                                           "http-01: the disk is full\n"
                                           "tls-alpn-01: the hook failed\n"
                                           "dns-01: the line is cut");
    assert_int_equal(run.flow.err.code, ERR_NO_SPACE); /* of what was preferred */
    assert_int_equal(run.flow.err.next, NEXT_LOCAL_FAULT);
    assert_string_equal(run.flow.err.advice, "make room");
    assert_string_equal(run.flow.err.subject, "a.test");
    assert_int_equal(run.presents, 3);
    assert_int_equal(run.failed_cleanups, 3);
    assert_int_equal(run.triggers, 0);
    run_end(&run);
}

static void test_cleanup_knows_what_convinced(void **state)
{
    (void)state;
    struct run run;
    run_begin(&run, "a.test b.test", "", NULL);
    run_words(&run, TWO_ASKED "auth0=valid auth1=invalid");
    assert_int_equal(run.cleanups, 2);
    assert_int_equal(run.failed_cleanups, 1);
    run_end(&run);
    run_begin(&run, "a.test b.test", "", NULL);
    run_words(&run, TWO_TRIGGERING "abort");
    assert_int_equal(run.failed_cleanups, 2);
    run_end(&run);
}

static void test_persist(void **state)
{
    (void)state;
    struct run run;
    run_begin(&run, "*.a.test", "", "dns-persist-01");
    run_words(&run, ORDERED "auth0=persist");
    assert_int_equal(run.persist.draft, 1);
    assert_string_equal(run.persist.issuers, "ca.test ca2.test");
    assert_string_equal(run.persist.account_uri, CA "acct/1");
    run_words(&run, "presented0");
    assert_string_equal(buf_str(&run.shown), "challenge p1/0");
    run_words(&run, "triggered0 fetched0 timer0 auth0=valid");
    assert_string_equal(buf_str(&run.shown), "clean *.a.test, finalize f1");
    assert_int_equal(run.failed_cleanups, 0);
    run_end(&run);
    run_begin(&run, "a.test", "", "dns-persist-01");
    run_words(&run, ORDERED "auth0=persist2");
    assert_int_equal(run.persist.draft, 2);
    assert_string_equal(run.persist.issuers, "ca.test");
    assert_string_equal(run.persist.account_uri, "");
    run_words(&run, "abort");
    run_end(&run);
}

/* What does not reach the CA, or comes from its trouble, is not the name's fault. */
static void test_who_is_to_blame(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        bool blamed;
    } rows_of[] = {
        {ORDERED "unread0=cut", false},
        {ONE_ASKED "unread0=500", false},
        {ONE_TRIGGERING "untriggered0=cut", false},
        {ONE_TRIGGERING "untriggered0=terms timer0 auth0=pending timer0 auth0=pending timer0 auth0=pending",
         false},
        {ONE_TRIGGERING "untriggered0=denied timer0 auth0=pending timer0 auth0=pending timer0 auth0=pending",
         true},
        {ONE_TRIGGERING "untriggered0=429 timer0 auth0=invalid", true},
        {ONE_PRESENTING "unpresented0=hook", true},
        {ONE_PRESENTING "unpresented0=cut", true}, /* to the name's DNS server, say */
        {ONE_ASKED "auth0=invalid", true},
        {ONE_POLLING "sleep=400 timer0", true},
        {ORDERED "auth0=foreign", false},
        {ORDERED "auth0=junk", false},
        {ONE_ASKED "abort", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows_of); i++) {
        struct run run;
        run_begin(&run, "a.test", "", NULL);
        run_words(&run, rows_of[i].words);
        assert_int_equal(run.flow.state, FLOW_FAILED);
        if ((run.failed_names.n > 0) != rows_of[i].blamed)
            fail_msg("%s: %s", rows_of[i].words, buf_str(&run.shown));
        run_end(&run);
    }
}

static void test_refused_names_have_reasons(void **state)
{
    (void)state;
    struct run run;
    run_begin(&run, "a.test b.test c.test", "", NULL);
    run_words(&run, "start error=rejected");
    assert_int_equal(run.failed_names.n, 2);
    assert_string_equal(run.last_failed.text, "blocked 5 (rejectedIdentifier)");
    assert_string_equal(run.last_failed.subject, "c.test");
    assert_int_equal(run.last_failed.next, NEXT_REFUSED);
    run_end(&run);
    run_begin(&run, "a.test b.test", "", NULL);
    run_words(&run, "start error=limited");
    assert_string_equal(run.last_failed.subject, "b.test");
    assert_int_equal(run.last_failed.next, NEXT_RETRY_LATER);
    assert_int_equal(run.last_failed.wait_s, 720);
    run_end(&run);
    run_begin(&run, "a.test b.test", "", NULL);
    run_words(&run, "start error=quota");
    assert_string_equal(run.last_failed.subject, "a.test");
    assert_int_equal(run.last_failed.wait_s, 60);
    run_end(&run);
    /* CAs speak of a wildcard by its base */
    run_begin(&run, "*.a.test b.test", "", NULL);
    run_words(&run, "start order=invalid-bare");
    assert_string_equal(buf_str(&run.shown), "remember o1, failed *.a.test, remember none, gave up");
    assert_string_equal(run.last_failed.type, "caa");
    run_end(&run);
}

/* `words` from the start, or an answer to the CA's look at the challenge of that type. */
static void expect_advice(const char *type, const char *words, const char *advice)
{
    struct run run;
    bool whole = strncmp(words, "start", 5) == 0;
    AUTO_FREE char *all =
        mem_fmt("%s%s", whole ? "" : ORDERED "auth0=all presented0 triggered0 timer0 ", words);
    run_begin(&run, "a.test", "", type);
    run_words(&run, all);
    assert_int_equal(run.flow.state, FLOW_FAILED);
    if (strstr(run.flow.err.advice, advice) == NULL || (advice[0] == '\0' && run.flow.err.advice[0] != '\0'))
        fail_msg("%s: \"%s\" is not in \"%s\"", type, advice, run.flow.err.advice);
    run_end(&run);
}

static void test_advice_goes_by_the_challenge(void **state)
{
    (void)state;
    expect_advice("http-01", "auth0=invalid", "open port 80");
    expect_advice("tls-alpn-01", "auth0=alpninvalid", "open port 443");
    expect_advice("dns-01", "auth0=dnsinvalid", "TXT record");
    expect_advice("http-01", ORDERED "auth0=dnsonly", "--challenge");
    expect_advice("http-01", "auth0=invalid-", "");
}

static void test_many_failures_are_listed_whole(void **state)
{
    (void)state;
    struct run run;
    AUTO_BUF names = BUF_INIT, words = BUF_INIT;
    for (int i = 0; i < 100; i++)
        buf_addf(&names, " n%d.a-rather-long-name-that-fills-the-text.test", i);
    buf_adds(&words, ORDERED);
    for (int i = 0; i < 100; i++)
        buf_addf(&words, " auth%d=dnsonly", i);
    run_begin(&run, buf_str(&names), "", NULL);
    run_words(&run, buf_str(&words));
    assert_int_equal(run.failed_names.n, 100);
    const char *last = strrchr(run.flow.err.text, '\n');
    assert_non_null(last);
    assert_int_equal(strncmp(last, "\nand ", 5), 0);
    assert_non_null(strstr(run.flow.err.text, "100 of 100 names"));
    run_end(&run);
}

static void test_names_of_states_and_requests(void **state)
{
    (void)state;
    for (int i = FLOW_NEW; i <= FLOW_FAILED; i++)
        assert_string_not_equal(flow_state_name((enum flow_state)i), "unknown");
    for (int i = 0; i < JWS_KINDS; i++)
        assert_string_not_equal(jws_kind_name((enum jws_kind)i), "unknown");
    assert_string_equal(flow_state_name((enum flow_state)99), "unknown");
    assert_string_equal(jws_kind_name(JWS_KINDS), "unknown");
    assert_string_equal(jws_kind_name((enum jws_kind) - 1), "unknown");
}

/* -- anything in any order ------------------------------------------------------------------------------ */

static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* Mostly what a CA could say next, sometimes nonsense. */
static void random_word(uint32_t *seed, char out[64])
{
    static const char *const words[] = {
        "start",
        "order=pending",
        "order=ready",
        "order=valid",
        "order=processing",
        "order=valid-",
        "order=invalid",
        "order=upper",
        "order=junk",
        "order=extra",
        "auth%d=pending",
        "auth%d=pending",
        "auth%d=valid",
        "auth%d=valid",
        "auth%d=invalid",
        "auth%d=expired",
        "auth%d=begun",
        "auth%d=hostile",
        "auth%d=foreign",
        "presented%d",
        "presented%d",
        "presented%d",
        "unpresented%d=disk",
        "unpresented%d=hook",
        "auth%d=all",
        "auth%d=persist",
        "notpem",
        "error=profile",
        "error=replaced",
        "error=rejected",
        "order=invalid-subs",
        "triggered%d",
        "triggered%d",
        "timer%d",
        "timer%d",
        "timer",
        "timer",
        "fetched%d",
        "untriggered%d=404",
        "unread%d=cut",
        "error=notready",
        "error=404",
        "error=500",
        "stray",
        "pem",
        "sleep=100",
        "retryafter=9999",
        "retryafter=3",
    };
    static const int indices[] = {0, 0, 1, 1, 2, 2, 0, 1, 2, 3, 200, -1, -9, 2147483647};
    uint32_t r = next_random(seed);
    const char *word = words[r % COUNT_OF(words)];
    /* the words that end it are made rare, so that sequences become long */
    bool harsh = strstr(word, "junk") || strstr(word, "extra") || strstr(word, "foreign") ||
                 strstr(word, "hostile") || strstr(word, "cut") || strstr(word, "invalid") ||
                 strstr(word, "404") || strstr(word, "500") || strstr(word, "disk") || strstr(word, "sleep");
    if (harsh && next_random(seed) % 6 != 0)
        word = "timer%d";
    if (strcmp(word, "unpresented%d=hook") == 0 && next_random(seed) % 3 != 0)
        word = "presented%d";
    int index = indices[next_random(seed) % COUNT_OF(indices)];
    const char *place = strstr(word, "%d");
    if (place == NULL)
        snprintf(out, 64, "%s", word);
    else
        snprintf(out, 64, "%.*s%d%s", (int)(place - word), word, index, place + 2);
}

static void random_sequence(uint32_t seed, unsigned reached[FLOW_FAILED + 1])
{
    struct run run;
    char word[64];
    static const char *const options[] = {
        "http-01 dns-01", "dns-01 http-01 replaces", "dns-persist-01 dns-01 profile",
        "tls-alpn-01 dns-account-01 dns-01 http-01 replaces profile chains", "dns-01 chains"};
    run_begin(&run, "a.test b.test *.c.test", next_random(&seed) % 3 == 0 ? CA "o1" : "",
              options[next_random(&seed) % COUNT_OF(options)]);
    run_word(&run, "start");
    for (int i = 0; i < 150; i++) {
        random_word(&seed, word);
        run_word(&run, word);
        assert_in_range(run.n_actions, 0, 3 * 3 + 4);
        assert_in_range(run.flow.restarts, 0, 1);
        assert_in_range(run.new_orders, 0, 4); /* one, in three forms, and one fresh one */
        assert_in_range(run.flow.finalizes, 0, 2);
        reached[run.flow.state]++;
    }
    run_word(&run, "abort");
    assert_int_equal(run.presents, run.cleanups);
    assert_int_equal(run.presented.n, 0);
    assert_int_equal(run.ends, 1);
    run_end(&run);
}

static void test_random_sequences(void **state)
{
    (void)state;
    unsigned reached[FLOW_FAILED + 1] = {0};
    for (uint32_t seed = 1; seed <= 3000; seed++)
        random_sequence(seed * 2654435761u, reached);
    for (int i = FLOW_ORDERING; i <= FLOW_FAILED; i++) /* else the sequences prove little */
        assert_true(reached[i] > 0);
}

int main(void)
{
#define CASE(name, function)                                                                                 \
    {                                                                                                        \
        name, function, NULL, NULL, NULL                                                                     \
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_abort_after_each_prefix),
        cmocka_unit_test(test_error_names_all_that_failed),
        cmocka_unit_test(test_errors_say_what_and_why),
        cmocka_unit_test(test_no_trigger_when_one_name_cannot_be_provisioned),
        cmocka_unit_test(test_certificate_is_given_whole),
        cmocka_unit_test(test_late_events_change_nothing),
        cmocka_unit_test(test_patience_has_an_end),
        CASE("case 11: accountDoesNotExist in mid-flow", test_account_lost_in_mid_flow),
        CASE("case 14: an order born ready", test_order_born_ready),
        CASE("case 15: reordered identifiers, added names", test_reordered_and_added_names),
        CASE("case 16: base and wildcard, two TXT values side by side", test_base_and_wildcard),
        CASE("case 17: unknown challenge types, null tokens", test_unknown_challenges),
        CASE("case 18: token ../../x", test_hostile_token),
        CASE("case 19: Retry-After 0, negative, 86400", test_retry_after_in_polls),
        CASE("case 20: one invalid authorization with subproblems", test_one_invalid_authorization),
        CASE("case 21: finalize without Location", test_finalize_without_location),
        CASE("case 22: ready or orderNotReady after finalize", test_ready_after_finalize),
        CASE("case 23: processing for ever", test_processing_for_ever),
        CASE("case 24: valid without a certificate URL", test_valid_without_certificate),
        CASE("case 26: several alternate Links, a loop, an http URL", test_alternates),
        CASE("case 27: 429 and 503, a paused 429", test_limits_end_it),
        CASE("case 29: replaces refused", test_replaces_refused),
        CASE("case 29: a vanished profile", test_profile_vanished),
        CASE("case 30: an IPv6 identifier", test_ipv6_identifier),
        CASE("case 30: a crash between finalize and download", test_crash_before_download),
        cmocka_unit_test(test_all_ways_that_failed_are_told),
        cmocka_unit_test(test_cleanup_knows_what_convinced),
        cmocka_unit_test(test_persist),
        cmocka_unit_test(test_who_is_to_blame),
        cmocka_unit_test(test_refused_names_have_reasons),
        cmocka_unit_test(test_advice_goes_by_the_challenge),
        cmocka_unit_test(test_many_failures_are_listed_whole),
        cmocka_unit_test(test_names_of_states_and_requests),
        cmocka_unit_test(test_random_sequences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
