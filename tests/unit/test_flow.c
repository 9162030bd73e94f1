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
    int ends; /* FINISHED and GAVE_UP */
};

static void run_begin(struct run *run, const char *names, const char *resume, enum challenge_type challenge)
{
    AUTO_STRLIST list = STRLIST_INIT;
    *run = (struct run){.now_ms = 1000, .retry_after_s = -1};
    strlist_split(&list, names, " ");
    flow_init(&run->flow, &list, CA "dir", CA "new-order", resume, challenge);
    run->orders = resume != NULL && resume[0] != '\0';
}

static void run_end(struct run *run)
{
    flow_clear(&run->flow);
    buf_clear(&run->shown);
    strlist_clear(&run->presented);
}

/* -- actions as words ---------------------------------------------------------------------------------------
 */

static void book_present(struct run *run, const struct flow_action *action)
{
    AUTO_FREE char *entry = mem_fmt("%s %s", action->name, action->token);
    assert_true(action->token[0] != '\0');
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
        break;
    case FLOW_PRESENT:
        buf_addf(out, "present %s %s", action->name, action->token);
        book_present(run, action);
        break;
    case FLOW_CLEANUP:
        buf_addf(out, "clean %s", action->name);
        book_cleanup(run, action);
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

/* -- what a CA says -----------------------------------------------------------------------------------------
 */

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
        buf_addf(out, "%s{\"type\":\"dns\",\"value\":\"%s\"}", i > 0 ? "," : "", name);
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
                                                 "noauthz", "badauthz", "yonder"};
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
    buf_adds(out, "}");
}

static void challenge_body(const struct run *run, int index, const char *kind, struct buf *out)
{
    const char *status = strcmp(kind, "begun") == 0     ? "processing"
                         : strcmp(kind, "invalid") == 0 ? "invalid"
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
    buf_adds(out, "}");
}

static void authorization_body(const struct run *run, int index, const char *kind, struct buf *out)
{
    static const char *const flawed_pending[] = {"upper",   "foreign", "dnsonly", "null",
                                                 "hostile", "begun",   "none"};
    size_t n = run->flow.names.n;
    const char *name = n > 0 ? run->flow.names.v[(size_t)index % n] : "a.test";
    bool wildcard = strncmp(name, "*.", 2) == 0;
    char status[32];
    if (strcmp(kind, "junk") == 0) {
        buf_adds(out, "[]");
        return;
    }
    snprintf(status, sizeof status, "%.*s", (int)strcspn(kind, "-"), kind);
    for (size_t i = 0; i < COUNT_OF(flawed_pending); i++)
        if (strcmp(kind, flawed_pending[i]) == 0)
            snprintf(status, sizeof status, "pending");
    AUTO_FREE char *identifier =
        mem_dup(strcmp(kind, "foreign") == 0 ? "foreign.test" : name + (wildcard ? 2 : 0));
    for (char *c = identifier; strcmp(kind, "upper") == 0 && *c != '\0'; c++)
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : *c;
    buf_addf(out, "{\"status\":\"%s\",\"identifier\":{\"type\":\"dns\",\"value\":\"%s\"}%s,\"challenges\":[",
             status, identifier, wildcard ? ",\"wildcard\":true" : "");
    buf_addf(out, "{\"type\":\"dns-01\",\"url\":\"" CA "d/%d\",\"status\":\"pending\",\"token\":\"dns\"}",
             index);
    buf_adds(out, ",{\"type\":\"moon-99\",\"url\":\"" CA "m\"}");
    if (strcmp(kind, "dnsonly") != 0 && strcmp(kind, "invalid-") != 0 && strcmp(kind, "none") != 0)
        challenge_body(run, index, kind, out);
    buf_adds(out, "]}");
}

/* -- events as words ----------------------------------------------------------------------------------------
 */

static enum jws_kind awaited_kind(const struct run *run)
{
    if (run->flow.state == FLOW_ORDERING && !run->flow.resumed)
        return JWS_NEW_ORDER;
    return run->flow.state == FLOW_FINALIZING ? JWS_FINALIZE : JWS_READ;
}

static void respond(struct run *run, enum jws_kind kind, int index, const struct buf *body,
                    const char *location)
{
    struct http_response response = {.status = 200, .body = *body, .retry_after_s = run->retry_after_s};
    struct flow_event event = {.type = FLOW_RESPONSE, .request = kind, .index = index, .response = &response};
    snprintf(response.location, sizeof response.location, "%s", location);
    strlist_add(&response.alternates, CA "alternate");
    step(run, &event);
    strlist_clear(&response.alternates);
    run->retry_after_s = -1;
}

static void order_response(struct run *run, const char *kind)
{
    AUTO_BUF body = BUF_INIT;
    char location[64] = "";
    enum jws_kind request = awaited_kind(run);
    if (request == JWS_NEW_ORDER) {
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

static void failure(struct run *run, enum flow_event_type type, enum jws_kind kind, int index,
                    const char *what)
{
    static const struct {
        const char *word;
        struct err err;
    } failures[] = {
        {"404", {.code = ERR_ACME, .next = NEXT_REFUSED, .text = "no such order", .type = "malformed"}},
        {"500",
         {.code = ERR_ACME, .next = NEXT_RETRY_LATER, .text = "the CA hiccups", .type = "serverInternal"}},
        {"429",
         {.code = ERR_ACME,
          .next = NEXT_RETRY_LATER,
          .wait_s = 3600,
          .text = "too many",
          .type = "rateLimited"}},
        {"notready",
         {.code = ERR_ACME, .next = NEXT_RETRY_NOW, .text = "not ready", .type = "orderNotReady"}},
        {"badcsr", {.code = ERR_ACME, .next = NEXT_REFUSED, .text = "bad CSR", .type = "badCSR"}},
        {"cut", {.code = ERR_NETWORK, .next = NEXT_RETRY_LATER, .text = "the line is cut"}},
        {"disk", {.code = ERR_NO_SPACE, .next = NEXT_LOCAL_FAULT, .text = "the disk is full"}},
    };
    for (size_t i = 0; i < COUNT_OF(failures); i++)
        if (strcmp(failures[i].word, what) == 0) {
            struct flow_event event = {
                .type = type, .request = kind, .index = index, .err = &failures[i].err};
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
        struct buf pem = {.data = (char[]){"-----BEGIN CERTIFICATE-----"}, .len = 27};
        respond(run, JWS_READ, FLOW_ORDER_INDEX, &pem, "");
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

/* -- the table ----------------------------------------------------------------------------------------------
 */

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
     "remember none, gave up"},
    /* authorizations */
    {"a.test", "", ORDERED, "auth0=pending", FLOW_AUTHORIZING, "present a.test tok1-0"},
    {"a.test", "", ORDERED, "auth0=upper", FLOW_AUTHORIZING, "present a.test tok1-0"},
    {"*.a.test", "", ORDERED, "auth0=pending", FLOW_AUTHORIZING, "present *.a.test tok1-0"},
    {"a.test", "", ORDERED, "auth0=valid", FLOW_FINALIZING, "finalize f1"},
    {"a.test", "", ORDERED, "auth0=foreign", FLOW_FAILED, "gave up"},
    {"a.test", "", ORDERED, "auth0=junk", FLOW_FAILED, "gave up"},
    {"a.test", "", ORDERED, "auth0=dnsonly", FLOW_FAILED, "remember none, gave up"},
    {"a.test", "", ORDERED, "auth0=null", FLOW_FAILED, "remember none, gave up"},
    {"a.test", "", ORDERED, "auth0=hostile", FLOW_FAILED, "remember none, gave up"},
    {"a.test", "", ORDERED, "auth0=invalid", FLOW_FAILED, "remember none, gave up"},
    {"a.test", "", ORDERED, "unread0=cut", FLOW_FAILED, "gave up"},
    {"a.test b.test", "", ORDERED, "auth0=valid", FLOW_AUTHORIZING, ""},
    {"a.test b.test", "", ORDERED "auth0=valid", "auth1=valid", FLOW_FINALIZING, "finalize f1"},
    {"a.test b.test", "", ORDERED "auth1=valid auth0=pending", "presented0", FLOW_CHALLENGING,
     "challenge c1/0"},
    {"a.test b.test", "", ORDERED "auth1=pending auth0=pending", "presented0", FLOW_AUTHORIZING, ""},
    {"a.test b.test", "", TWO_PRESENTING "presented0", "presented1", FLOW_CHALLENGING,
     "challenge c1/0, challenge c1/1"},
    {"a.test b.test", "", TWO_PRESENTING "presented0", "unpresented1=disk", FLOW_FAILED,
     "clean b.test, clean a.test, gave up"},
    {"a.test b.test", "", TWO_PRESENTING "unpresented0=disk", "presented1", FLOW_FAILED,
     "clean b.test, gave up"},
    {"a.test b.test", "", ORDERED "auth0=foreign", "auth1=pending", FLOW_FAILED, ""},
    {"a.test b.test", "", ORDERED "auth0=pending", "auth1=foreign", FLOW_FAILED, "clean a.test, gave up"},
    {"a.test b.test", "", ORDERED "auth0=pending presented0", "auth1=hostile", FLOW_FAILED,
     "remember none, clean a.test, gave up"},
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
    {"a.test", "", ONE_ASKED, "auth0=invalid", FLOW_FAILED, "clean a.test, remember none, gave up"},
    {"a.test", "", ONE_ASKED, "auth0=invalid-", FLOW_FAILED, "clean a.test, remember none, gave up"},
    {"a.test", "", ONE_ASKED, "auth0=foreign", FLOW_FAILED, "clean a.test, gave up"},
    {"a.test", "", ONE_ASKED, "unread0=cut", FLOW_FAILED, "clean a.test, gave up"},
    {"a.test", "", ONE_POLLING "sleep=301", "timer0", FLOW_FAILED, "clean a.test, gave up"},
    {"a.test", "", ONE_TRIGGERING, "untriggered0=404", FLOW_CHALLENGING, "timer0 0"},
    {"a.test", "", ONE_TRIGGERING "untriggered0=404 timer0", "auth0=valid", FLOW_FINALIZING,
     "clean a.test, finalize f1"},
    {"a.test", "", ONE_TRIGGERING "untriggered0=404 timer0", "auth0=pending", FLOW_CHALLENGING,
     "timer0 1000"},
    {"a.test", "", ONE_TRIGGERING "untriggered0=404 timer0 auth0=pending timer0 auth0=pending timer0",
     "auth0=pending", FLOW_FAILED, "clean a.test, remember none, gave up"},
    {"a.test", "", ONE_TRIGGERING "untriggered0=404 timer0 auth0=begun timer0 auth0=begun timer0",
     "auth0=begun", FLOW_CHALLENGING, "timer0 3000"},
    {"a.test", "", ONE_TRIGGERING, "untriggered0=cut", FLOW_FAILED, "clean a.test, gave up"},
    {"a.test b.test", "", TWO_ASKED, "auth0=valid", FLOW_CHALLENGING, "clean a.test"},
    {"a.test b.test", "", TWO_ASKED "auth0=valid", "auth1=valid", FLOW_FINALIZING,
     "clean b.test, finalize f1"},
    {"a.test b.test", "", TWO_ASKED, "auth0=invalid", FLOW_CHALLENGING, "clean a.test"},
    {"a.test b.test", "", TWO_ASKED "auth0=invalid", "auth1=valid", FLOW_FAILED,
     "clean b.test, remember none, gave up"},
    {"a.test b.test", "", TWO_ASKED "auth0=invalid", "auth0=valid", FLOW_CHALLENGING, ""},
    /* authorizations of the past: one fresh order, and not another */
    {"a.test", "", ORDERED, "auth0=deactivated", FLOW_ORDERING, "remember none, new order new-order"},
    {"a.test", "", ORDERED, "auth0=expired", FLOW_ORDERING, "remember none, new order new-order"},
    {"a.test", "", ORDERED, "auth0=revoked", FLOW_ORDERING, "remember none, new order new-order"},
    {"a.test", "", ORDERED "auth0=expired order=pending", "auth0=expired", FLOW_FAILED, "gave up"},
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
    {"a.test b.test", "", ORDERED "auth0=expired", "auth1=invalid", FLOW_FAILED, "remember none, gave up"},
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

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct run run;
        run_begin(&run, rows[i].names, rows[i].resume, CHALLENGE_HTTP_01);
        run_words(&run, rows[i].before);
        run_word(&run, rows[i].event);
        if (run.flow.state != rows[i].state || strcmp(buf_str(&run.shown), rows[i].actions) != 0)
            fail_msg("row %zu, \"%s\" then \"%s\": %s, \"%s\"; wanted %s, \"%s\"", i, rows[i].before,
                     rows[i].event, flow_state_name(run.flow.state), buf_str(&run.shown),
                     flow_state_name(rows[i].state), rows[i].actions);
        run_end(&run);
    }
}

/* Whatever the state, a stop ends it at once and leaves nothing behind; run_word() looks at the books. */
static void test_abort_after_each_prefix(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct run run;
        run_begin(&run, rows[i].names, rows[i].resume, CHALLENGE_HTTP_01);
        run_words(&run, rows[i].before);
        run_word(&run, rows[i].event);
        bool over = run.flow.state == FLOW_DONE || run.flow.state == FLOW_FAILED;
        run_word(&run, "abort");
        assert_true(run.flow.state == FLOW_FAILED || run.flow.state == FLOW_DONE);
        assert_true(over ? run.n_actions == 0 : strstr(buf_str(&run.shown), "gave up") != NULL);
        assert_int_equal(run.presents, run.cleanups);
        assert_null(strstr(buf_str(&run.shown), "remember"));
        run_end(&run);
    }
}

/* -- what a person reads ------------------------------------------------------------------------------------
 */

static void test_error_names_all_that_failed(void **state)
{
    (void)state;
    struct run run;
    run_begin(&run, "a.test b.test c.test", "", CHALLENGE_HTTP_01);
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
    run_begin(&run, names, "", CHALLENGE_HTTP_01);
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
    expect_error("a.test", "start order=junk", ERR_PROTOCOL, NEXT_RETRY_LATER, "", "502 Bad gateway");
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
    run_begin(&run, "a.test b.test c.test", "", CHALLENGE_HTTP_01);
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
    run_begin(&run, "a.test", NULL, CHALLENGE_HTTP_01);
    run_words(&run, DOWNLOADING "pem");
    assert_string_equal(buf_str(&run.flow.pem), "-----BEGIN CERTIFICATE-----");
    assert_int_equal(run.flow.alternates.n, 1);
    assert_string_equal(run.flow.alternates.v[0], CA "alternate");
    run_words(&run, "pem order=valid error=404 timer abort auth0=valid fetched0 presented0");
    assert_int_equal(run.flow.state, FLOW_DONE);
    assert_string_equal(buf_str(&run.flow.pem), "-----BEGIN CERTIFICATE-----");
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
    run_begin(&run, "a.test", "", CHALLENGE_HTTP_01);
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
        run_begin(&run, "a.test", "", CHALLENGE_HTTP_01);
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

static void test_other_challenge_types(void **state)
{
    (void)state;
    struct run run;
    run_begin(&run, "*.a.test", "", CHALLENGE_DNS_01);
    run_words(&run, ORDERED "auth0=pending");
    assert_string_equal(buf_str(&run.shown), "present *.a.test dns");
    run_words(&run, "presented0");
    assert_string_equal(buf_str(&run.shown), "challenge d/0");
    run_end(&run);
    run_begin(&run, "a.test", "", CHALLENGE_TLS_ALPN_01);
    run_words(&run, ORDERED "auth0=pending");
    assert_int_equal(run.flow.state, FLOW_FAILED);
    assert_non_null(strstr(run.flow.err.text, "tls-alpn-01"));
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

/* -- anything in any order ----------------------------------------------------------------------------------
 */

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
    run_begin(&run, "a.test b.test *.c.test", next_random(&seed) % 3 == 0 ? CA "o1" : "", CHALLENGE_HTTP_01);
    run_word(&run, "start");
    for (int i = 0; i < 150; i++) {
        random_word(&seed, word);
        run_word(&run, word);
        assert_in_range(run.n_actions, 0, 2 * 3 + 4);
        assert_in_range(run.flow.restarts, 0, 1);
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_abort_after_each_prefix),
        cmocka_unit_test(test_error_names_all_that_failed),
        cmocka_unit_test(test_errors_say_what_and_why),
        cmocka_unit_test(test_no_trigger_when_one_name_cannot_be_provisioned),
        cmocka_unit_test(test_certificate_is_given_whole),
        cmocka_unit_test(test_late_events_change_nothing),
        cmocka_unit_test(test_patience_has_an_end),
        cmocka_unit_test(test_other_challenge_types),
        cmocka_unit_test(test_names_of_states_and_requests),
        cmocka_unit_test(test_random_sequences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
