#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/mem.h"
#include "tlsup/name.h"
#include "tlsup/policy.h"

enum {
    MAX_ALTERNATES = 8,      /* chains beside the default one */
    MAX_LISTED_BYTES = 1200, /* of an error's text that goes through many names */
    MAX_RESTARTS = 1,        /* orders given up for a fresh one */
    MAX_FINALIZES = 2,       /* an order that stays ready is finalized once more */
    READY_POLLS = 3,         /* polls of a ready order before that */
    MAX_VALID_POLLS = 5,     /* a valid order without a certificate URL */
    REFUSED_POLLS = 4,       /* a challenge that the CA refused to begin may be under way all the same */
};

static const char *const kind_names[JWS_KINDS] = {
    [JWS_NEW_ACCOUNT] = "new account",
    [JWS_FIND_ACCOUNT] = "account look-up",
    [JWS_READ] = "read",
    [JWS_NEW_ORDER] = "new order",
    [JWS_NEW_ORDER_NO_REPLACES] = "new order without replaces",
    [JWS_NEW_ORDER_PLAIN] = "plain new order",
    [JWS_RESPOND] = "challenge",
    [JWS_FINALIZE] = "finalize",
    [JWS_UPDATE_ACCOUNT] = "account update",
    [JWS_DEACTIVATE] = "account deactivation",
    [JWS_KEY_CHANGE] = "key change",
    [JWS_REVOKE] = "revocation",
    [JWS_REVOKE_BY_KEY] = "revocation by the certificate's key",
};

const char *jws_kind_name(enum jws_kind kind)
{
    return (unsigned)kind < JWS_KINDS ? kind_names[kind] : "unknown";
}

const char *flow_state_name(enum flow_state state)
{
    static const char *const names[] = {"new",         "ordering",   "authorizing",
                                        "challenging", "finalizing", "processing",
                                        "downloading", "done",       "failed"};
    return (size_t)state < COUNT_OF(names) ? names[state] : "unknown";
}

void flow_init(struct flow *flow, const struct flow_options *options)
{
    const char *resume_url = options->resume_url;
    *flow = (struct flow){.retry_after_s = -1,
                          .order_kind = JWS_NEW_ORDER,
                          .has_replaces = options->has_replaces,
                          .may_drop_profile = options->may_drop_profile,
                          .all_chains = options->all_chains,
                          .n_challenges = options->n_challenges};
    if (flow->n_challenges > COUNT_OF(flow->challenges))
        flow->n_challenges = COUNT_OF(flow->challenges);
    memcpy(flow->challenges, options->challenges, sizeof flow->challenges);
    strlist_copy(&flow->names, options->names);
    snprintf(flow->directory_url, sizeof flow->directory_url, "%s", options->directory_url);
    snprintf(flow->new_order_url, sizeof flow->new_order_url, "%s", options->new_order_url);
    snprintf(flow->order_url, sizeof flow->order_url, "%s", resume_url != NULL ? resume_url : "");
}

static void drop_authorizations(struct flow *flow)
{
    for (size_t i = 0; i < flow->n_authorizations; i++) {
        free(flow->authorizations[i].offers);
        buf_clear(&flow->authorizations[i].tried);
    }
    free(flow->authorizations);
    flow->authorizations = NULL;
    flow->n_authorizations = 0;
}

void flow_clear(struct flow *flow)
{
    strlist_clear(&flow->names);
    strlist_clear(&flow->alternates);
    for (size_t i = 0; i < flow->n_chains; i++)
        buf_clear(&flow->chains[i]);
    free(flow->chains);
    drop_authorizations(flow);
    *flow = (struct flow){0};
}

/* -- actions -------------------------------------------------------------------------------------------- */

void flow_actions_clear(struct flow_actions *actions)
{
    free(actions->v);
    *actions = (struct flow_actions){0};
}

static struct flow_action *add(struct flow_actions *actions, enum flow_action_type type, int index)
{
    actions->v = mem_resize(actions->v, actions->n + 1, sizeof *actions->v);
    struct flow_action *action = &actions->v[actions->n++];
    *action = (struct flow_action){.type = type, .index = index};
    return action;
}

static void request(struct flow_actions *actions, enum jws_kind kind, int index, const char *url)
{
    struct flow_action *action = add(actions, FLOW_REQUEST, index);
    action->request = kind;
    snprintf(action->url, sizeof action->url, "%s", url);
}

static void set_timer(struct flow_actions *actions, int index, int64_t wait_ms)
{
    add(actions, FLOW_SET_TIMER, index)->wait_ms = wait_ms;
}

static void remember_order(struct flow_actions *actions, const char *url)
{
    struct flow_action *action = add(actions, FLOW_ORDER_URL, FLOW_ORDER_INDEX);
    snprintf(action->url, sizeof action->url, "%s", url);
}

/* PRESENT or CLEANUP of the present offer. */
static struct flow_action *about_offer(const struct flow *flow, int index, enum flow_action_type type,
                                       struct flow_actions *actions)
{
    const struct flow_authorization *auth = &flow->authorizations[index];
    const struct acme_challenge *offer = &auth->offers[auth->offer];
    struct flow_action *action = add(actions, type, index);
    action->challenge = offer->type;
    snprintf(action->name, sizeof action->name, "%s", auth->name);
    snprintf(action->token, sizeof action->token, "%s", offer->token);
    action->persist.draft = offer->draft;
    snprintf(action->persist.issuers, sizeof action->persist.issuers, "%s", offer->issuers);
    snprintf(action->persist.account_uri, sizeof action->persist.account_uri, "%s", offer->account_uri);
    return action;
}

static void present(struct flow *flow, int index, struct flow_actions *actions)
{
    flow->authorizations[index].state = AUTH_PRESENTING;
    flow->authorizations[index].presented = true; /* even a failed attempt is cleaned up */
    about_offer(flow, index, FLOW_PRESENT, actions);
}

static void clean_up(struct flow *flow, int index, struct flow_actions *actions)
{
    struct flow_authorization *auth = &flow->authorizations[index];
    if (!auth->presented)
        return;
    auth->presented = false;
    about_offer(flow, index, FLOW_CLEANUP, actions)->failed = auth->state != AUTH_VALID;
}

static void clean_up_all(struct flow *flow, struct flow_actions *actions)
{
    for (size_t i = 0; i < flow->n_authorizations; i++)
        clean_up(flow, (int)i, actions);
}

static void give_up(struct flow *flow, const struct err *err, struct flow_actions *actions)
{
    clean_up_all(flow, actions);
    flow->state = FLOW_FAILED;
    flow->err = *err;
    add(actions, FLOW_GAVE_UP, FLOW_ORDER_INDEX);
}

/* The order cannot come to anything any more: the next run begins a new one. */
static void give_up_order(struct flow *flow, const struct err *err, struct flow_actions *actions)
{
    remember_order(actions, "");
    give_up(flow, err, actions);
}

static const char *first_name(const struct flow *flow)
{
    return flow->names.n > 0 ? flow->names.v[0] : "";
}

static void give_up_text(struct flow *flow, enum err_code code, enum err_next next, const char *text,
                         const char *advice, struct flow_actions *actions)
{
    struct err err = ERR_INIT;
    (void)err_set(&err, code, next, first_name(flow), "%s", text);
    if (advice != NULL)
        (void)err_advise(&err, "%s", advice);
    give_up(flow, &err, actions);
}

/* -- refusals ------------------------------------------------------------------------------------------- */

static void name_failed(struct flow_actions *actions, const char *name, const struct err *err)
{
    struct flow_action *action = add(actions, FLOW_NAME_FAILED, FLOW_ORDER_INDEX);
    snprintf(action->name, sizeof action->name, "%s", name);
    action->err = *err;
}

/* The name of ours that a CA means by an identifier, NULL when it is none of them. A wildcard may go by its
 * bare name. */
static const char *ordered_name(const struct flow *flow, const char *identifier)
{
    struct err ignored = ERR_INIT;
    char name[NAME_MAX_BYTES], wildcard[NAME_MAX_BYTES + 2];
    if (!name_normalize(identifier, name, &ignored))
        return NULL;
    snprintf(wildcard, sizeof wildcard, "*.%s", name);
    for (size_t i = 0; i < flow->names.n; i++)
        if (strcmp(flow->names.v[i], name) == 0)
            return flow->names.v[i];
    for (size_t i = 0; i < flow->names.n; i++)
        if (strcmp(flow->names.v[i], wildcard) == 0)
            return flow->names.v[i];
    return NULL;
}

/* Some CAs, with but one name to complain about, have it only in the text, in quotes. */
static bool quoted_in(const struct problem *problem, const char *name)
{
    static const char *const types[] = {
        "caa", "dns", "malformed", "rateLimited", "rejectedIdentifier", "unsupportedIdentifier"};
    AUTO_FREE char *quoted = mem_fmt("\"%s\"", name);
    for (size_t i = 0; i < COUNT_OF(types); i++)
        if (strcmp(problem->type, types[i]) == 0)
            return strstr(problem->detail, quoted) != NULL;
    return false;
}

/* The names of the subproblems. */
static size_t names_of_subproblems(const struct flow *flow, const struct problem *problem,
                                   const struct err *whole, struct flow_actions *actions)
{
    AUTO_STRLIST told = STRLIST_INIT;
    for (size_t i = 0; i < problem->n_sub; i++) {
        const char *name = ordered_name(flow, problem->sub[i].identifier);
        struct err err = ERR_INIT;
        if (name == NULL || strlist_has(&told, name))
            continue;
        (void)problem_sub_to_err(problem, i, name, &err);
        err.wait_s = err.next == NEXT_RETRY_LATER ? whole->wait_s : 0;
        name_failed(actions, name, &err);
        strlist_add(&told, name);
    }
    return told.n;
}

/* Tell which names the CA has refused: those of the subproblems, else the one that the problem is about. */
static void names_of_problem(const struct flow *flow, const struct problem *problem, const struct err *whole,
                             struct flow_actions *actions)
{
    if (names_of_subproblems(flow, problem, whole, actions) > 0)
        return;
    const char *identifier = ordered_name(flow, problem->identifier);
    for (size_t i = 0; i < flow->names.n; i++) {
        const char *name = flow->names.v[i];
        struct err err = *whole;
        if (identifier != NULL ? strcmp(name, identifier) != 0 : !quoted_in(problem, name))
            continue;
        snprintf(err.subject, sizeof err.subject, "%.255s", name);
        name_failed(actions, name, &err);
    }
}

/* What may do after a refusal. */
enum remedy { WITHOUT_REPLACES = 1, WITHOUT_PROFILE = 2, FRESH_ORDER = 4, ANYTHING = 7 };

/* A row for each type of problem that rules something out; of the others anything may be the cause. */
static const struct {
    const char *type;
    unsigned remedies;
} refusals[] = {
    {"accountDoesNotExist", 0},
    {"alreadyReplaced", WITHOUT_REPLACES},
    {"badNonce", 0},
    {"badPublicKey", 0},
    {"badSignatureAlgorithm", 0},
    {"caa", FRESH_ORDER},
    {"compound", FRESH_ORDER},
    {"conflict", WITHOUT_REPLACES},
    {"connection", FRESH_ORDER},
    {"dns", FRESH_ORDER},
    {"externalAccountRequired", 0},
    {"invalidProfile", WITHOUT_PROFILE},
    {"rateLimited", 0},
    {"rejectedIdentifier", WITHOUT_PROFILE | FRESH_ORDER},
    {"serverInternal", WITHOUT_REPLACES},
    {"unsupportedIdentifier", WITHOUT_PROFILE | FRESH_ORDER},
    {"userActionRequired", 0},
};

static unsigned remedies_of(const struct flow_event *event)
{
    const char *type = event->problem != NULL ? event->problem->type : event->err->type;
    int status = event->problem != NULL ? event->problem->status : 0;
    if (event->err->code != ERR_ACME || status == 429 || status > 500) /* busy, or down */
        return 0;
    for (size_t i = 0; i < COUNT_OF(refusals); i++)
        if (strcmp(type, refusals[i].type) == 0)
            return refusals[i].remedies;
    return ANYTHING;
}

/* -- the order ------------------------------------------------------------------------------------------ */

static void start_order(struct flow *flow, struct flow_actions *actions)
{
    flow->state = FLOW_ORDERING;
    flow->resumed = flow->order_url[0] != '\0';
    if (flow->resumed)
        request(actions, JWS_READ, FLOW_ORDER_INDEX, flow->order_url);
    else
        request(actions, flow->order_kind, FLOW_ORDER_INDEX, flow->new_order_url);
}

/* The next simpler form of newOrder, when that may help and has not been tried. */
static bool simplify_order(struct flow *flow, unsigned remedies)
{
    if (flow->order_kind == JWS_NEW_ORDER && flow->has_replaces && (remedies & WITHOUT_REPLACES) != 0)
        flow->order_kind = JWS_NEW_ORDER_NO_REPLACES;
    else if (flow->order_kind != JWS_NEW_ORDER_PLAIN && flow->may_drop_profile &&
             (remedies & WITHOUT_PROFILE) != 0)
        flow->order_kind = JWS_NEW_ORDER_PLAIN;
    else
        return false;
    return true;
}

static void begin_again(struct flow *flow, struct flow_actions *actions)
{
    clean_up_all(flow, actions);
    drop_authorizations(flow);
    flow->order_url[0] = flow->finalize_url[0] = '\0';
    flow->finalizes = flow->polls = flow->empty_polls = 0;
    remember_order(actions, "");
    start_order(flow, actions);
}

/* Give the order up for a fresh one; false when that has been done already. */
static bool restart(struct flow *flow, struct flow_actions *actions)
{
    if (flow->restarts >= MAX_RESTARTS)
        return false;
    flow->restarts++;
    begin_again(flow, actions);
    return true;
}

/* The CA has dropped the order's profile since it took the order: give it up for one without. */
static bool profile_vanished(struct flow *flow, const struct problem *problem, struct flow_actions *actions)
{
    if (problem == NULL || strcmp(problem->type, "invalidProfile") != 0 ||
        !simplify_order(flow, WITHOUT_PROFILE))
        return false;
    begin_again(flow, actions);
    return true;
}

static void finalize(struct flow *flow, struct flow_actions *actions)
{
    flow->state = FLOW_FINALIZING;
    flow->finalizes++;
    flow->polls = 0;
    request(actions, JWS_FINALIZE, FLOW_ORDER_INDEX, flow->finalize_url);
}

static void poll_order(struct flow *flow, int64_t now_ms, struct flow_actions *actions)
{
    if (flow->state != FLOW_PROCESSING)
        flow->deadline_ms = now_ms + FLOW_PROCESSING_DEADLINE_MS;
    flow->state = FLOW_PROCESSING;
    set_timer(actions, FLOW_ORDER_INDEX, policy_poll_ms(flow->polls++, flow->retry_after_s, false));
}

static void ask_order(struct flow *flow, struct flow_actions *actions)
{
    flow->asking = true;
    request(actions, JWS_READ, FLOW_ORDER_INDEX, flow->order_url);
}

static void download(struct flow *flow, const char *url, struct flow_actions *actions)
{
    flow->state = FLOW_DOWNLOADING;
    snprintf(flow->certificate_url, sizeof flow->certificate_url, "%s", url);
    request(actions, JWS_READ, FLOW_ORDER_INDEX, url);
}

static void order_invalid(struct flow *flow, const struct acme_order *order, struct flow_actions *actions)
{
    struct err err = ERR_INIT;
    struct problem none = {.detail = "the CA has declared the order invalid and gives no reason"};
    if (order->has_error && profile_vanished(flow, &order->error, actions))
        return;
    if (flow->resumed && restart(flow, actions))
        return;
    (void)problem_to_err(order->has_error ? &order->error : &none, first_name(flow), -1, &err);
    if (order->has_error)
        names_of_problem(flow, &order->error, &err, actions);
    give_up_order(flow, &err, actions);
}

static void begin_authorizations(struct flow *flow, const struct acme_order *order,
                                 struct flow_actions *actions)
{
    drop_authorizations(flow);
    flow->state = FLOW_AUTHORIZING;
    flow->n_authorizations = order->authorizations.n;
    flow->authorizations = mem_array(flow->n_authorizations, sizeof *flow->authorizations);
    for (size_t i = 0; i < flow->n_authorizations; i++) {
        struct flow_authorization *auth = &flow->authorizations[i];
        auth->retry_after_s = -1;
        snprintf(auth->url, sizeof auth->url, "%s", order->authorizations.v[i]);
        request(actions, JWS_READ, (int)i, auth->url);
    }
}

/* What to do with an order, by its status. The same wherever it came from: newOrder, a read, finalize. */
static void order_status(struct flow *flow, const struct acme_order *order, int64_t now_ms,
                         struct flow_actions *actions)
{
    bool after_finalize = flow->finalizes > 0;
    switch (order->status) {
    case ACME_PENDING:
        if (after_finalize) /* orderNotReady: the CA has not seen its own validations yet */
            poll_order(flow, now_ms, actions);
        else if (order->authorizations.n == 0)
            give_up_text(flow, ERR_PROTOCOL, NEXT_RETRY_LATER,
                         "the CA's order is pending, but has no authorizations", NULL, actions);
        else
            begin_authorizations(flow, order, actions);
        break;
    case ACME_READY:
        if (after_finalize && flow->polls < READY_POLLS)
            poll_order(flow, now_ms, actions);
        else if (flow->finalizes < MAX_FINALIZES)
            finalize(flow, actions);
        else
            give_up_text(flow, ERR_PROTOCOL, NEXT_RETRY_LATER,
                         "the CA's order stays \"ready\" after it was finalized twice",
                         "run the same command again later: it goes on with the same order", actions);
        break;
    case ACME_PROCESSING:
        poll_order(flow, now_ms, actions);
        break;
    case ACME_VALID:
        if (order->certificate[0] != '\0')
            download(flow, order->certificate, actions);
        else if (flow->empty_polls++ < MAX_VALID_POLLS)
            poll_order(flow, now_ms, actions);
        else
            give_up_text(flow, ERR_PROTOCOL, NEXT_RETRY_LATER,
                         "the CA's order is valid, but has no certificate URL",
                         "run the same command again later: it goes on with the same order", actions);
        break;
    default:
        order_invalid(flow, order, actions);
        break;
    }
}

static bool order_acceptable(const struct flow *flow, const struct acme_order *order, struct err *err)
{
    if (order->names.n > 0 && !strlist_same_set(&order->names, &flow->names)) {
        AUTO_FREE char *theirs = strlist_join(&order->names, " ");
        return err_set(err, ERR_PROTOCOL, NEXT_REFUSED, first_name(flow),
                       "the CA made an order for other names than were asked for: %.600s", theirs);
    }
    if (!url_same_origin(order->finalize, flow->directory_url) && order->status != ACME_INVALID &&
        order->status != ACME_VALID)
        return err_set(err, ERR_PROTOCOL, NEXT_REFUSED, first_name(flow),
                       "the order's finalize URL, \"%.300s\", is not at the CA's own address",
                       order->finalize);
    return true;
}

/* What could not be read at all says nothing of whom it was about. */
static void about(const char *name, struct err *err)
{
    if (err->subject[0] == '\0')
        snprintf(err->subject, sizeof err->subject, "%.255s", name);
}

static void order_received(struct flow *flow, const struct flow_event *event, struct flow_actions *actions)
{
    struct err err = ERR_INIT;
    struct acme_order order = {0};
    bool fresh = flow->state == FLOW_ORDERING && !flow->resumed;
    flow->retry_after_s = event->response->retry_after_s;
    flow->asking = false;
    if (!acme_order_parse(buf_str(&event->response->body), event->response->body.len, &order, &err) ||
        !order_acceptable(flow, &order, &err)) {
        about(first_name(flow), &err);
        give_up(flow, &err, actions);
    } else if (fresh && !url_same_origin(event->response->location, flow->directory_url)) {
        give_up_text(flow, ERR_PROTOCOL, NEXT_RETRY_LATER,
                     "the CA made an order but did not say where it is (no Location)", NULL, actions);
    } else {
        if (fresh) {
            snprintf(flow->order_url, sizeof flow->order_url, "%s", event->response->location);
            remember_order(actions, flow->order_url);
        }
        if (order.finalize[0] != '\0')
            snprintf(flow->finalize_url, sizeof flow->finalize_url, "%s", order.finalize);
        order_status(flow, &order, event->now_ms, actions);
    }
    acme_order_clear(&order);
}

/* The alternates that are worth asking for: at the CA's own address, none of them twice. */
static void choose_alternates(struct flow *flow, const struct strlist *links)
{
    for (size_t i = 0; i < links->n && flow->alternates.n < MAX_ALTERNATES; i++)
        if (url_same_origin(links->v[i], flow->directory_url) &&
            strcmp(links->v[i], flow->certificate_url) != 0 && !strlist_has(&flow->alternates, links->v[i]))
            strlist_add(&flow->alternates, links->v[i]);
}

static void next_chain(struct flow *flow, struct flow_actions *actions)
{
    struct strlist *left = &flow->alternates;
    if (left->n == 0) {
        clean_up_all(flow, actions);
        flow->state = FLOW_DONE;
        add(actions, FLOW_FINISHED, FLOW_ORDER_INDEX);
        return;
    }
    request(actions, JWS_READ, FLOW_ORDER_INDEX, left->v[0]);
    free(left->v[0]);
    memmove(left->v, left->v + 1, --left->n * sizeof *left->v);
}

static void downloaded(struct flow *flow, const struct flow_event *event, struct flow_actions *actions)
{
    const struct buf *body = &event->response->body;
    bool first = flow->n_chains == 0;
    /* the default is taken as it is, to be judged by who can tell a person about it */
    if (first || strstr(buf_str(body), "-----BEGIN CERTIFICATE-----") != NULL) {
        flow->chains = mem_resize(flow->chains, flow->n_chains + 1, sizeof *flow->chains);
        struct buf *chain = &flow->chains[flow->n_chains++];
        *chain = (struct buf)BUF_INIT;
        buf_add(chain, body->data, body->len);
    }
    if (first && flow->all_chains)
        choose_alternates(flow, &event->response->alternates);
    next_chain(flow, actions);
}

/* -- authorizations ------------------------------------------------------------------------------------- */

static bool auth_over(const struct flow_authorization *auth)
{
    return auth->state == AUTH_VALID || auth->state == AUTH_FAILED;
}

static size_t count(const struct flow *flow, enum flow_authorization_state state)
{
    size_t n = 0;
    for (size_t i = 0; i < flow->n_authorizations; i++)
        n += flow->authorizations[i].state == state;
    return n;
}

/* Deactivated, expired, revoked: they belong to a past that the order has not noticed. A fresh order may
 * help, unless something else is wrong as well. */
static bool all_failures_stale(const struct flow *flow)
{
    for (size_t i = 0; i < flow->n_authorizations; i++)
        if (flow->authorizations[i].state == AUTH_FAILED && !flow->authorizations[i].stale)
            return false;
    return true;
}

/* "name: why" for each, as many as there is room for. */
static void list_failures(const struct flow *flow, struct buf *text)
{
    size_t left = count(flow, AUTH_FAILED);
    for (size_t i = 0; i < flow->n_authorizations; i++) {
        const struct flow_authorization *auth = &flow->authorizations[i];
        if (auth->state != AUTH_FAILED)
            continue;
        AUTO_FREE char *line =
            mem_fmt("\n%s: %s", auth->name[0] != '\0' ? auth->name : auth->url, auth->failure.text);
        if (text->len + strlen(line) > MAX_LISTED_BYTES && text->len > 0) {
            buf_addf(text, "\nand %zu more", left);
            return;
        }
        buf_adds(text, line);
        left--;
    }
}

/* One error for all names that failed, the first of them in front. No request of theirs is under way here. */
static void authorizations_failed(struct flow *flow, struct flow_actions *actions)
{
    struct err err = ERR_INIT;
    size_t failed = count(flow, AUTH_FAILED);
    AUTO_STRLIST told = STRLIST_INIT;
    bool order_dead = false, all_stale = all_failures_stale(flow);
    if (all_stale && restart(flow, actions))
        return;
    for (size_t i = 0; i < flow->n_authorizations; i++) {
        const struct flow_authorization *auth = &flow->authorizations[i];
        if (auth->state != AUTH_FAILED)
            continue;
        if (!err_isset(&err))
            err = auth->failure;
        order_dead |= auth->failure.next == NEXT_REFUSED;
        if (auth->blameless || auth->name[0] == '\0' || strlist_has(&told, auth->name) ||
            (auth->stale && !all_stale)) /* a fresh order may do for that one */
            continue;
        name_failed(actions, auth->name, &auth->failure);
        strlist_add(&told, auth->name);
    }
    if (failed > 1) {
        AUTO_BUF text = BUF_INIT;
        list_failures(flow, &text);
        snprintf(err.text, sizeof err.text, "%zu of %zu names could not be proven%s", failed,
                 flow->n_authorizations, buf_str(&text));
        snprintf(err.subject, sizeof err.subject, "%s", first_name(flow));
    }
    if (order_dead)
        give_up_order(flow, &err, actions);
    else
        give_up(flow, &err, actions);
}

static void trigger_all(struct flow *flow, int64_t now_ms, struct flow_actions *actions)
{
    flow->deadline_ms = now_ms + FLOW_CHALLENGE_DEADLINE_MS;
    for (size_t i = 0; i < flow->n_authorizations; i++) {
        struct flow_authorization *auth = &flow->authorizations[i];
        if (auth->state != AUTH_PRESENTED)
            continue;
        auth->state = AUTH_TRIGGERING;
        request(actions, JWS_RESPOND, (int)i, auth->offers[auth->offer].url);
    }
}

/* After any change of an authorization: is it time for the next act of all of them together? */
static void advance(struct flow *flow, int64_t now_ms, struct flow_actions *actions)
{
    if (count(flow, AUTH_READING) + count(flow, AUTH_PRESENTING) > 0)
        return;
    flow->state = FLOW_CHALLENGING;
    size_t over = count(flow, AUTH_VALID) + count(flow, AUTH_FAILED);
    /* a name that cannot be provisioned fails the order before any validation is asked for: a CA counts
     * failed ones */
    if (count(flow, AUTH_FAILED) > 0 && over + count(flow, AUTH_PRESENTED) == flow->n_authorizations)
        authorizations_failed(flow, actions);
    else if (count(flow, AUTH_PRESENTED) > 0)
        trigger_all(flow, now_ms, actions);
    else if (over == flow->n_authorizations)
        finalize(flow, actions);
}

static void fail_authorization(struct flow *flow, int index, const struct err *err, int64_t now_ms,
                               struct flow_actions *actions)
{
    flow->authorizations[index].state = AUTH_FAILED;
    flow->authorizations[index].failure = *err;
    clean_up(flow, index, actions);
    advance(flow, now_ms, actions);
}

/* -- which challenge ------------------------------------------------------------------------------------ */

static bool answerable(const struct acme_challenge *challenge)
{
    if (challenge->status == ACME_INVALID)
        return false;
    return challenge->type == CHALLENGE_DNS_PERSIST_01 ? challenge->draft != 0 : challenge->token[0] != '\0';
}

/* Keep what can be answered here, the type that we prefer first. */
static void collect_offers(const struct flow *flow, const struct acme_authorization *parsed,
                           struct flow_authorization *auth)
{
    bool taken[CHALLENGE_TYPES] = {false};
    auth->offers = mem_array(parsed->n_challenges, sizeof *auth->offers);
    for (size_t i = 0; i < flow->n_challenges; i++) {
        enum challenge_type type = flow->challenges[i];
        if (!challenge_type_fits(type, auth->name) || taken[type])
            continue;
        taken[type] = true;
        for (size_t k = 0; k < parsed->n_challenges; k++)
            if (parsed->challenges[k].type == type && answerable(&parsed->challenges[k]))
                auth->offers[auth->n_offers++] = parsed->challenges[k];
    }
}

/* The types that are set up here and fit the name (or do not): "http-01 or dns-01". */
static void list_types(const struct flow *flow, const char *name, bool fitting, struct buf *out)
{
    for (size_t i = 0; i < flow->n_challenges; i++)
        if (challenge_type_fits(flow->challenges[i], name) == fitting)
            buf_addf(out, "%s%s", out->len > 0 ? " or " : "", challenge_type_name(flow->challenges[i]));
}

static bool offered(const struct flow *flow, const struct acme_authorization *parsed, const char *name)
{
    for (size_t i = 0; i < parsed->n_challenges; i++)
        for (size_t k = 0; k < flow->n_challenges; k++)
            if (parsed->challenges[i].type == flow->challenges[k] &&
                challenge_type_fits(flow->challenges[k], name))
                return true;
    return false;
}

static void no_offer(const struct flow *flow, const struct acme_authorization *parsed, const char *name,
                     struct err *err)
{
    AUTO_BUF ours = BUF_INIT, others = BUF_INIT;
    const char *offers = parsed->offered[0] != '\0' ? parsed->offered : "nothing";
    list_types(flow, name, true, &ours);
    list_types(flow, name, false, &others);
    if (ours.len == 0) {
        (void)err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, name, "%s cannot be proven by %s",
                      name_is_ip(name)         ? "an IP address"
                      : name_is_wildcard(name) ? "a wildcard name"
                                               : "it",
                      others.len > 0 ? buf_str(&others) : "nothing");
        (void)err_advise(err, "choose a way that can prove it with --challenge; the CA offers: %s", offers);
    } else if (offered(flow, parsed, name)) {
        (void)err_set(
            err, ERR_PROTOCOL, NEXT_REFUSED, name,
            "the CA offers %s for it, but without what it takes to answer (a token, or the names of "
            "issuers)",
            buf_str(&ours));
    } else {
        (void)err_set(err, ERR_PROTOCOL, NEXT_REFUSED, name, "the CA does not offer %s for it, only: %s",
                      buf_str(&ours), offers);
        (void)err_advise(err, "choose another way to prove it with --challenge");
    }
}

static void begin_authorization(struct flow *flow, int index, const struct acme_authorization *parsed,
                                int64_t now_ms, struct flow_actions *actions)
{
    struct flow_authorization *auth = &flow->authorizations[index];
    struct err err = ERR_INIT;
    collect_offers(flow, parsed, auth);
    if (auth->n_offers > 0) {
        present(flow, index, actions);
        return;
    }
    no_offer(flow, parsed, auth->name, &err);
    fail_authorization(flow, index, &err, now_ms, actions);
}

/* What was tried, and what came of each; for the rest, the preferred one leads. */
static void none_left(const struct flow_authorization *auth, struct err *err)
{
    const struct err first = auth->failure;
    err_clear(err);
    (void)err_set(err, first.code, first.next, auth->name,
                  "no challenge that the CA offers could be prepared%s", buf_str(&auth->tried));
    err->wait_s = first.wait_s;
    if (first.advice[0] != '\0')
        (void)err_advise(err, "%s", first.advice);
}

/* The present offer could not be provisioned: on to the next, if there is one. */
static void not_presented(struct flow *flow, int index, const struct err *err, int64_t now_ms,
                          struct flow_actions *actions)
{
    struct flow_authorization *auth = &flow->authorizations[index];
    struct err failure = *err;
    clean_up(flow, index, actions);
    buf_addf(&auth->tried, "\n%s: %s", challenge_type_name(auth->offers[auth->offer].type), err->text);
    if (auth->offer == 0)
        auth->failure = *err;
    if (auth->offer + 1 < auth->n_offers) {
        auth->offer++;
        present(flow, index, actions);
        return;
    }
    if (auth->n_offers > 1)
        none_left(auth, &failure);
    fail_authorization(flow, index, &failure, now_ms, actions);
}

/* -- reading them --------------------------------------------------------------------------------------- */

static void poll_authorization(struct flow *flow, int index, bool fetched, struct flow_actions *actions)
{
    struct flow_authorization *auth = &flow->authorizations[index];
    set_timer(actions, index, policy_poll_ms(auth->polls, auth->retry_after_s, fetched));
}

/* What a problem means for the challenges that problem.c does not speak of. */
static const struct {
    enum challenge_type challenge;
    const char *types, *advice;
} advices[] = {
    {CHALLENGE_TLS_ALPN_01, "connection",
     "the CA could not reach this server: open port 443 in every firewall and router on the way, and check "
     "that the name's A and AAAA records are this server's addresses"},
    {CHALLENGE_TLS_ALPN_01, "unauthorized incorrectResponse tls",
     "something other than tlsup answered on port 443: check that the name's A and AAAA records point to "
     "this "
     "server, and that nothing that ends TLS stands before it"},
    {CHALLENGE_DNS_01, "unauthorized incorrectResponse dns connection",
     "the CA did not find the right TXT record: check that all servers of the zone show it, to questions "
     "from "
     "everywhere, and that no CNAME leads elsewhere"},
    {CHALLENGE_DNS_ACCOUNT_01, "unauthorized incorrectResponse dns connection",
     "the CA did not find the right TXT record: check that all servers of the zone show it, to questions "
     "from "
     "everywhere, and that no CNAME leads elsewhere"},
    {CHALLENGE_DNS_PERSIST_01, "unauthorized incorrectResponse dns connection",
     "the CA found no TXT record at _validation-persist of the name that lets this account have a "
     "certificate "
     "from it: compare it with the one that is asked for"},
};

static void advise_by_challenge(enum challenge_type challenge, struct err *err)
{
    for (size_t i = 0; i < COUNT_OF(advices); i++) {
        AUTO_STRLIST types = STRLIST_INIT;
        strlist_split(&types, advices[i].types, " ");
        if (advices[i].challenge == challenge && strlist_has(&types, err->type))
            snprintf(err->advice, sizeof err->advice, "%s", advices[i].advice);
    }
}

static void authorization_invalid(struct flow *flow, int index, const struct acme_authorization *parsed,
                                  int64_t now_ms, struct flow_actions *actions)
{
    struct err err = ERR_INIT;
    struct problem none = {.detail = "the CA could not prove that it is yours, and gives no reason"};
    (void)problem_to_err(parsed->has_error ? &parsed->error : &none, flow->authorizations[index].name, -1,
                         &err);
    advise_by_challenge(parsed->has_error ? parsed->error_type : CHALLENGE_UNKNOWN, &err);
    err.next = err.next == NEXT_NONE ? NEXT_REFUSED : err.next;
    flow->authorizations[index].blameless = false;
    /* of an order that an earlier run had begun, this may be the answer to that run, which was not there any
     * more when the CA came */
    flow->authorizations[index].stale = flow->resumed;
    fail_authorization(flow, index, &err, now_ms, actions);
}

static void authorization_stale(struct flow *flow, int index, const struct acme_authorization *parsed,
                                int64_t now_ms, struct flow_actions *actions)
{
    struct err err = ERR_INIT;
    flow->authorizations[index].stale = true;
    flow->authorizations[index].blameless = false;
    (void)err_set(&err, ERR_PROTOCOL, NEXT_RETRY_LATER, flow->authorizations[index].name,
                  "its authorization is %s", acme_status_name(parsed->status));
    fail_authorization(flow, index, &err, now_ms, actions);
}

/* It must be for a name of the order, and stay for the same one: clean-ups go by it. */
static bool name_it(const struct flow *flow, const struct acme_authorization *parsed,
                    struct flow_authorization *auth, struct err *err)
{
    char name[FLOW_NAME_BYTES];
    snprintf(name, sizeof name, "%s%s", parsed->wildcard ? "*." : "", parsed->identifier);
    if (!strlist_has(&flow->names, name) || (auth->name[0] != '\0' && strcmp(auth->name, name) != 0))
        return err_set(err, ERR_PROTOCOL, NEXT_REFUSED, name,
                       "the CA wants proof for a name that was not ordered");
    snprintf(auth->name, sizeof auth->name, "%s", name);
    return true;
}

/* The CA refused to begin, and still has not begun: it never will. */
static bool never_triggered(const struct flow_authorization *auth, const struct acme_authorization *parsed)
{
    if (!auth->refused || auth->polls < REFUSED_POLLS)
        return false;
    for (size_t i = 0; i < parsed->n_challenges; i++)
        if (parsed->challenges[i].type == auth->offers[auth->offer].type)
            return parsed->challenges[i].status == ACME_PENDING;
    return false;
}

static void authorization_received(struct flow *flow, const struct flow_event *event,
                                   struct flow_actions *actions)
{
    struct flow_authorization *auth = &flow->authorizations[event->index];
    struct acme_authorization parsed;
    struct err err = ERR_INIT;
    auth->asking = false;
    auth->retry_after_s = event->response->retry_after_s;
    if (auth_over(auth))
        return;
    if (!acme_authorization_parse(buf_str(&event->response->body), event->response->body.len, &parsed,
                                  &err) ||
        !name_it(flow, &parsed, auth, &err)) {
        about(auth->name[0] != '\0' ? auth->name : first_name(flow), &err);
        give_up(flow, &err, actions);
        return;
    }
    switch (parsed.status) {
    case ACME_VALID:
        auth->state = AUTH_VALID;
        clean_up(flow, event->index, actions);
        advance(flow, event->now_ms, actions);
        break;
    case ACME_PENDING:
    case ACME_PROCESSING:
        if (auth->state == AUTH_READING)
            begin_authorization(flow, event->index, &parsed, event->now_ms, actions);
        else if (never_triggered(auth, &parsed))
            fail_authorization(flow, event->index, &auth->failure, event->now_ms, actions);
        else
            poll_authorization(flow, event->index, false, actions);
        break;
    case ACME_INVALID:
        authorization_invalid(flow, event->index, &parsed, event->now_ms, actions);
        break;
    default:
        authorization_stale(flow, event->index, &parsed, event->now_ms, actions);
        break;
    }
}

/* -- events --------------------------------------------------------------------------------------------- */

static bool about_authorization(const struct flow *flow, const struct flow_event *event)
{
    return event->index >= 0 && (size_t)event->index < flow->n_authorizations &&
           (flow->state == FLOW_AUTHORIZING || flow->state == FLOW_CHALLENGING);
}

/* Is this the request about the order that is under way now? */
static bool awaited(const struct flow *flow, enum jws_kind request)
{
    switch (flow->state) {
    case FLOW_ORDERING:
        return request == (flow->resumed ? JWS_READ : flow->order_kind);
    case FLOW_FINALIZING:
        return request == JWS_FINALIZE;
    case FLOW_PROCESSING:
        return request == JWS_READ && flow->asking;
    case FLOW_DOWNLOADING:
        return request == JWS_READ;
    default:
        return false;
    }
}

static void on_response(struct flow *flow, const struct flow_event *event, struct flow_actions *actions)
{
    if (about_authorization(flow, event)) {
        struct flow_authorization *auth = &flow->authorizations[event->index];
        if (event->request == JWS_READ) {
            authorization_received(flow, event, actions);
        } else if (event->request == JWS_RESPOND && auth->state == AUTH_TRIGGERING) {
            auth->state = AUTH_POLLING;
            auth->retry_after_s = event->response->retry_after_s;
            poll_authorization(flow, event->index, auth->fetched, actions);
        }
        return;
    }
    if (event->index != FLOW_ORDER_INDEX)
        return;
    if (!awaited(flow, event->request))
        return;
    if (flow->state == FLOW_DOWNLOADING)
        downloaded(flow, event, actions);
    else
        order_received(flow, event, actions);
}

static void on_authorization_error(struct flow *flow, const struct flow_event *event,
                                   struct flow_actions *actions)
{
    struct flow_authorization *auth = &flow->authorizations[event->index];
    auth->asking = false;
    if (auth_over(auth))
        return;
    if (event->request == JWS_RESPOND && auth->state == AUTH_TRIGGERING && event->err->code == ERR_ACME) {
        /* refused to start: most often since it is over already (RFC 8555 section 7.5.1); the authorization
         * tells */
        auth->state = AUTH_POLLING;
        auth->failure = *event->err;
        auth->refused = true;
        auth->blameless = remedies_of(event) == 0;
        auth->polls = 1;
        set_timer(actions, event->index, 0);
        return;
    }
    auth->blameless = true;
    fail_authorization(flow, event->index, event->err, event->now_ms, actions);
}

static void on_error(struct flow *flow, const struct flow_event *event, struct flow_actions *actions)
{
    if (about_authorization(flow, event)) {
        on_authorization_error(flow, event, actions);
        return;
    }
    if (event->index != FLOW_ORDER_INDEX || !awaited(flow, event->request))
        return;
    if (flow->state == FLOW_DOWNLOADING && flow->n_chains > 0) {
        next_chain(flow, actions);
        return;
    }
    bool acme = event->err->code == ERR_ACME, refused = acme && event->err->next == NEXT_REFUSED;
    unsigned remedies = remedies_of(event);
    if (flow->state == FLOW_ORDERING && flow->resumed) {
        /* not when the CA has but trouble of its own, or with the account: the order is still good then */
        if (!refused || (remedies & FRESH_ORDER) == 0 || !restart(flow, actions))
            give_up(flow, event->err, actions);
        return;
    }
    if (flow->state == FLOW_ORDERING && simplify_order(flow, remedies)) {
        start_order(flow, actions);
        return;
    }
    if (flow->state == FLOW_FINALIZING && acme && strcmp(event->err->type, "orderNotReady") == 0) {
        flow->retry_after_s = -1;
        poll_order(flow, event->now_ms, actions);
        return;
    }
    if (flow->state == FLOW_FINALIZING && profile_vanished(flow, event->problem, actions))
        return;
    if (event->problem != NULL && (flow->state == FLOW_ORDERING || flow->state == FLOW_FINALIZING))
        names_of_problem(flow, event->problem, event->err, actions);
    /* a certificate that two runs could not fetch is lost */
    if (refused && (flow->state == FLOW_FINALIZING || (flow->state == FLOW_DOWNLOADING && flow->resumed)))
        give_up_order(flow, event->err, actions);
    else
        give_up(flow, event->err, actions);
}

static void on_presented(struct flow *flow, const struct flow_event *event, struct flow_actions *actions)
{
    if (!about_authorization(flow, event) || flow->authorizations[event->index].state != AUTH_PRESENTING)
        return;
    if (event->type == FLOW_NOT_PRESENTED) {
        not_presented(flow, event->index, event->err, event->now_ms, actions);
        return;
    }
    flow->authorizations[event->index].state = AUTH_PRESENTED;
    advance(flow, event->now_ms, actions);
}

static void on_fetched(struct flow *flow, const char *token, struct flow_actions *actions)
{
    for (size_t i = 0; i < flow->n_authorizations; i++) {
        struct flow_authorization *auth = &flow->authorizations[i];
        if (auth->n_offers == 0 || token[0] == '\0' || strcmp(auth->offers[auth->offer].token, token) != 0)
            continue;
        /* only the first time: a CA looks from several places, and each would put the poll off */
        if (auth->state == AUTH_POLLING && auth->polls == 0 && !auth->asking && !auth->fetched)
            poll_authorization(flow, (int)i, true, actions);
        auth->fetched = true;
    }
}

static void on_timer(struct flow *flow, const struct flow_event *event, struct flow_actions *actions)
{
    if (event->index == FLOW_ORDER_INDEX && flow->state == FLOW_PROCESSING) {
        if (flow->asking)
            return;
        if (event->now_ms >= flow->deadline_ms)
            give_up_text(flow, ERR_TIMEOUT, NEXT_RETRY_LATER, "the CA is still working on the certificate",
                         "run the same command again later: it goes on with the same order", actions);
        else
            ask_order(flow, actions);
        return;
    }
    if (!about_authorization(flow, event))
        return;
    struct flow_authorization *auth = &flow->authorizations[event->index];
    if (auth->state != AUTH_POLLING || auth->asking)
        return;
    if (event->now_ms >= flow->deadline_ms) {
        struct err err = ERR_INIT;
        (void)err_set(&err, ERR_TIMEOUT, NEXT_RETRY_LATER, auth->name, "the CA has not finished checking it");
        (void)err_advise(&err, "run the same command again later: it goes on with the same order");
        fail_authorization(flow, event->index, &err, event->now_ms, actions);
        return;
    }
    auth->asking = true;
    auth->polls++;
    request(actions, JWS_READ, event->index, auth->url);
}

void flow_step(struct flow *flow, const struct flow_event *event, struct flow_actions *actions)
{
    if (flow->state == FLOW_DONE || flow->state == FLOW_FAILED)
        return;
    switch (event->type) {
    case FLOW_START:
        if (flow->state == FLOW_NEW)
            start_order(flow, actions);
        break;
    case FLOW_RESPONSE:
        on_response(flow, event, actions);
        break;
    case FLOW_ERROR:
        on_error(flow, event, actions);
        break;
    case FLOW_PRESENTED:
    case FLOW_NOT_PRESENTED:
        on_presented(flow, event, actions);
        break;
    case FLOW_FETCHED:
        on_fetched(flow, event->token, actions);
        break;
    case FLOW_TIMER:
        on_timer(flow, event, actions);
        break;
    case FLOW_ABORT:
        give_up(flow, event->err, actions);
        break;
    }
}
