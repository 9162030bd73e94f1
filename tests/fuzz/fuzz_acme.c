/*
 * fuzz_acme.c - any bytes as what a CA sends; the first byte says as what: a directory, an order, an
 * authorization, a problem, header lines. Nothing that comes out may be unsafe to use: URLs are https, tokens
 * are base64url, texts have no terminal escapes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/b64.h"
#include "tlsup/directory.h"
#include "tlsup/flow.h"
#include "tlsup/order.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

static void check_text(const char *text, size_t size)
{
    CHECK(memchr(text, '\0', size) != NULL);
    for (const char *c = text; *c != '\0'; c++)
        CHECK((unsigned char)*c >= 0x20 || *c == '\n' || *c == '\t');
}

static void check_url(const char *url)
{
    CHECK(url[0] == '\0' || url_valid(url));
}

static void check_err(const struct err *err)
{
    CHECK(err_isset(err));
    CHECK(err->text[0] != '\0');
    check_text(err->text, sizeof err->text);
    check_text(err->subject, sizeof err->subject);
    check_text(err->advice, sizeof err->advice);
}

static void check_problem(const struct problem *problem)
{
    struct err err = ERR_INIT;
    CHECK(problem->n_sub <= PROBLEM_MAX_SUBPROBLEMS);
    check_text(problem->type, sizeof problem->type);
    check_text(problem->detail, sizeof problem->detail);
    CHECK(!problem_to_err(problem, "subject", 60, &err));
    CHECK(err.code == ERR_ACME);
    check_err(&err);
    CHECK(problem_failure(problem, -1) <= POLICY_FINAL);
    for (size_t i = 0; i < problem->n_sub; i++) {
        err_clear(&err);
        CHECK(!problem_sub_to_err(problem, i, "subject", &err));
        check_err(&err);
    }
}

static void check_issuers(const struct strlist *names)
{
    char name[ISSUER_NAME_BYTES];
    for (size_t i = 0; i < names->n; i++)
        CHECK(acme_issuer_name(names->v[i], name) && strcmp(name, names->v[i]) == 0);
}

static void check_persist(int draft, const char *issuers, const char *account_uri)
{
    struct strlist names = {0};
    strlist_split(&names, issuers, " ");
    check_issuers(&names);
    CHECK(draft == 0 ? names.n == 0 : (draft == 1 || draft == 2) && names.n >= 1 && names.n <= 10);
    CHECK(account_uri[0] == '\0' || (url_valid(account_uri) && strchr(account_uri, ';') == NULL));
    strlist_clear(&names);
}

static void as_directory(const char *text, size_t len)
{
    static const char base[] = "https://ca.test/dir";
    struct directory directory = {0};
    struct err err = ERR_INIT;
    if (directory_parse(base, text, len, &directory, &err)) {
        CHECK(url_same_origin(directory.new_nonce, base) && url_same_origin(directory.new_account, base) &&
              url_same_origin(directory.new_order, base));
        check_url(directory.revoke_cert);
        check_url(directory.key_change);
        check_url(directory.renewal_info);
        check_url(directory.website);
        check_text(directory.terms, sizeof directory.terms);
        CHECK(acme_issuer_value(directory.account_hash_prefix, sizeof directory.account_hash_prefix));
        check_issuers(&directory.issuer_names);
        check_issuers(&directory.caa_identities);
        for (size_t i = 0; i < directory.profiles.n; i++)
            CHECK(strpbrk(directory.profiles.v[i], " \n\t\033") == NULL);
    } else {
        check_err(&err);
    }
    directory_clear(&directory);
}

static void as_order(const char *text, size_t len)
{
    struct acme_order order = {0};
    struct err err = ERR_INIT;
    if (acme_order_parse(text, len, &order, &err)) {
        CHECK(order.status != ACME_UNKNOWN);
        CHECK(order.authorizations.n <= ORDER_MAX_AUTHORIZATIONS &&
              order.names.n <= ORDER_MAX_AUTHORIZATIONS);
        check_url(order.finalize);
        check_url(order.certificate);
        for (size_t i = 0; i < order.authorizations.n; i++)
            CHECK(url_valid(order.authorizations.v[i]));
        if (order.has_error)
            check_problem(&order.error);
    } else {
        check_err(&err);
    }
    acme_order_clear(&order);
}

static void as_authorization(const char *text, size_t len)
{
    static struct acme_authorization authorization;
    struct err err = ERR_INIT;
    if (!acme_authorization_parse(text, len, &authorization, &err)) {
        check_err(&err);
        return;
    }
    CHECK(authorization.status != ACME_UNKNOWN && authorization.n_challenges <= AUTHORIZATION_MAX_CHALLENGES);
    check_text(authorization.identifier, sizeof authorization.identifier);
    check_text(authorization.offered, sizeof authorization.offered);
    for (size_t i = 0; i < authorization.n_challenges; i++) {
        const struct acme_challenge *challenge = &authorization.challenges[i];
        CHECK(challenge->type != CHALLENGE_UNKNOWN && url_valid(challenge->url));
        CHECK(challenge->token[0] == '\0' || b64url_valid(challenge->token, TOKEN_MAX_BYTES - 1));
        check_persist(challenge->draft, challenge->issuers, challenge->account_uri);
    }
    if (authorization.has_error)
        check_problem(&authorization.error);
}

static void as_problem(const char *text, size_t len)
{
    static struct problem problem;
    problem_parse(len > 0 ? 400 + (text[0] & 0x7F) : 0, text, len, &problem);
    check_problem(&problem);
}

static void as_headers(const char *text, size_t len)
{
    struct http_response response = {.retry_after_s = -1};
    for (size_t at = 0; at < len;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t line = end != NULL ? (size_t)(end - (text + at)) : len - at;
        http_header_line(&response, text + at, line);
        at += line + 1;
    }
    CHECK(response.retry_after_s >= -1 && response.retry_after_s <= 86400);
    check_url(response.location);
    check_url(response.terms);
    for (size_t i = 0; i < response.alternates.n; i++)
        CHECK(url_valid(response.alternates.v[i]));
    CHECK(memchr(response.nonce, '\0', sizeof response.nonce) != NULL);
    CHECK(memchr(response.content_type, '\0', sizeof response.content_type) != NULL);
    http_response_clear(&response);
}

struct books {
    size_t presented, cleaned, failed, ends;
};

/* Take a step and look at what it wants done. */
static void step(struct flow *flow, const struct flow_event *event, struct books *books)
{
    struct flow_actions actions = {0};
    flow_step(flow, event, &actions);
    for (size_t i = 0; i < actions.n; i++) {
        const struct flow_action *action = &actions.v[i];
        books->presented += action->type == FLOW_PRESENT;
        books->cleaned += action->type == FLOW_CLEANUP;
        books->ends += action->type == FLOW_FINISHED || action->type == FLOW_GAVE_UP;
        books->failed += action->type == FLOW_NAME_FAILED;
        if (action->type == FLOW_REQUEST)
            CHECK(url_valid(action->url) && action->request < JWS_KINDS);
        if (action->type == FLOW_NAME_FAILED) {
            CHECK(strlist_has(&flow->names, action->name));
            check_err(&action->err);
        }
        if (action->type == FLOW_PRESENT) {
            CHECK(strlist_has(&flow->names, action->name));
            CHECK(challenge_type_fits(action->challenge, action->name));
            CHECK(action->token[0] == '\0' || b64url_valid(action->token, TOKEN_MAX_BYTES - 1));
            check_persist(action->persist.draft, action->persist.issuers, action->persist.account_uri);
        }
    }
    CHECK(books->cleaned <= books->presented && books->failed <= flow->names.n && books->ends <= 1);
    flow_actions_clear(&actions);
}

/* The same bytes as the answer, good or bad, to whatever a flow waits for; it may do anything but crash, or
 * forget a challenge. */
static void as_answers(const char *text, size_t len)
{
    static const enum jws_kind kinds[] = {
        JWS_NEW_ORDER, JWS_READ, JWS_RESPOND, JWS_FINALIZE, JWS_NEW_ORDER_NO_REPLACES, JWS_NEW_ORDER_PLAIN};
    static struct problem problem;
    struct strlist names = {0};
    struct flow flow;
    struct books books = {0};
    struct http_response response = {.retry_after_s = -1};
    struct err stop = {.code = ERR_INTERRUPTED}, refusal = ERR_INIT;
    strlist_add(&names, "a.test");
    strlist_add(&names, "*.a.test");
    struct flow_options options = {
        .names = &names,
        .directory_url = "https://ca.test/dir",
        .new_order_url = "https://ca.test/new",
        .challenges = {CHALLENGE_HTTP_01, CHALLENGE_DNS_PERSIST_01, CHALLENGE_DNS_01},
        .n_challenges = 3,
        .has_replaces = true,
        .may_drop_profile = true,
        .all_chains = true};
    flow_init(&flow, &options);
    problem_parse(len > 0 ? 400 + (text[0] & 0x7F) : 0, text, len, &problem);
    (void)problem_to_err(&problem, "https://ca.test/new", -1, &refusal);
    step(&flow, &(struct flow_event){.type = FLOW_START}, &books);
    memcpy(response.location, "https://ca.test/o", 18);
    buf_add(&response.body, text, len);
    strlist_add(&response.alternates, "https://ca.test/alternate");
    for (int i = 0; i < 48; i++) {
        bool bad = (len > 1 ? (unsigned char)text[1] >> (i % 8) : 0) & 1;
        struct flow_event event = {.type = i % 3 != 2 ? (bad ? FLOW_ERROR : FLOW_RESPONSE)
                                           : bad      ? FLOW_NOT_PRESENTED
                                                      : FLOW_PRESENTED,
                                   .request = kinds[(i / 3) % 6],
                                   .index = i % 2 ? i / 2 % 2 : FLOW_ORDER_INDEX,
                                   .response = &response,
                                   .err = &refusal,
                                   .problem = &problem,
                                   .now_ms = i * 1000};
        step(&flow, &event, &books);
    }
    step(&flow, &(struct flow_event){.type = FLOW_ABORT, .err = &stop}, &books);
    CHECK(books.presented == books.cleaned && books.ends == 1);
    CHECK(flow.state == FLOW_DONE || flow.state == FLOW_FAILED);
    flow_clear(&flow);
    buf_clear(&response.body);
    strlist_clear(&response.alternates);
    strlist_clear(&names);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const forms[])(const char *, size_t) = {as_directory, as_order,   as_authorization,
                                                          as_problem,   as_headers, as_answers};
    if (size > 0)
        forms[data[0] % (sizeof forms / sizeof forms[0])]((const char *)data + 1, size - 1);
    return 0;
}
