#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/mem.h"
#include "tlsup/policy.h"

enum {
    MAX_RESTARTS = 1,    /* orders given up for a fresh one */
    MAX_FINALIZES = 2,   /* an order that stays ready is finalized once more */
    READY_POLLS = 3,     /* polls of a ready order before that */
    MAX_VALID_POLLS = 5, /* a valid order without a certificate URL */
    REFUSED_POLLS = 4,   /* a challenge that the CA refused to begin may be under way all the same */
};

static const char *const kind_names[JWS_KINDS] = {
    [JWS_NEW_ACCOUNT] = "new account",
    [JWS_FIND_ACCOUNT] = "account look-up",
    [JWS_READ] = "read",
    [JWS_NEW_ORDER] = "new order",
    [JWS_RESPOND] = "challenge",
    [JWS_FINALIZE] = "finalize",
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

void flow_init(struct flow *flow, const struct strlist *names, const char *directory_url,
               const char *new_order_url, const char *resume_url, enum challenge_type challenge)
{
    *flow = (struct flow){.challenge = challenge, .retry_after_s = -1};
    strlist_copy(&flow->names, names);
    snprintf(flow->directory_url, sizeof flow->directory_url, "%s", directory_url);
    snprintf(flow->new_order_url, sizeof flow->new_order_url, "%s", new_order_url);
    snprintf(flow->order_url, sizeof flow->order_url, "%s", resume_url != NULL ? resume_url : "");
}

static void drop_authorizations(struct flow *flow)
{
    free(flow->authorizations);
    flow->authorizations = NULL;
    flow->n_authorizations = 0;
}

void flow_clear(struct flow *flow)
{
    strlist_clear(&flow->names);
    strlist_clear(&flow->alternates);
    buf_clear(&flow->pem);
    drop_authorizations(flow);
    *flow = (struct flow){0};
}

/* -- actions ----------------------------------------------------------------------------------------------
 */

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

static void clean_up(struct flow *flow, int index, struct flow_actions *actions)
{
    struct flow_authorization *auth = &flow->authorizations[index];
    if (!auth->presented)
        return;
    auth->presented = false;
    struct flow_action *action = add(actions, FLOW_CLEANUP, index);
    snprintf(action->name, sizeof action->name, "%s", auth->name);
    snprintf(action->token, sizeof action->token, "%s", auth->token);
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

/* -- the order --------------------------------------------------------------------------------------------
 */

static void start_order(struct flow *flow, struct flow_actions *actions)
{
    flow->state = FLOW_ORDERING;
    flow->resumed = flow->order_url[0] != '\0';
    if (flow->resumed)
        request(actions, JWS_READ, FLOW_ORDER_INDEX, flow->order_url);
    else
        request(actions, JWS_NEW_ORDER, FLOW_ORDER_INDEX, flow->new_order_url);
}

/* Give the order up for a fresh one; false when that has been done already. */
static bool restart(struct flow *flow, struct flow_actions *actions)
{
    if (flow->restarts >= MAX_RESTARTS)
        return false;
    flow->restarts++;
    clean_up_all(flow, actions);
    drop_authorizations(flow);
    flow->order_url[0] = flow->finalize_url[0] = '\0';
    flow->finalizes = flow->polls = flow->empty_polls = 0;
    remember_order(actions, "");
    start_order(flow, actions);
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
    request(actions, JWS_READ, FLOW_ORDER_INDEX, url);
}

static void order_invalid(struct flow *flow, const struct acme_order *order, struct flow_actions *actions)
{
    struct err err = ERR_INIT;
    struct problem none = {.detail = "the CA has declared the order invalid and gives no reason"};
    if (flow->resumed && restart(flow, actions))
        return;
    (void)problem_to_err(order->has_error ? &order->error : &none, first_name(flow), -1, &err);
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

static void order_received(struct flow *flow, const struct flow_event *event, struct flow_actions *actions)
{
    struct err err = ERR_INIT;
    struct acme_order order = {0};
    bool fresh = event->request == JWS_NEW_ORDER;
    flow->retry_after_s = event->response->retry_after_s;
    flow->asking = false;
    if (!acme_order_parse(buf_str(&event->response->body), event->response->body.len, &order, &err) ||
        !order_acceptable(flow, &order, &err)) {
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

static void downloaded(struct flow *flow, const struct flow_event *event, struct flow_actions *actions)
{
    buf_reset(&flow->pem);
    buf_add(&flow->pem, event->response->body.data, event->response->body.len);
    strlist_copy(&flow->alternates, &event->response->alternates);
    clean_up_all(flow, actions);
    flow->state = FLOW_DONE;
    add(actions, FLOW_FINISHED, FLOW_ORDER_INDEX);
}

/* -- authorizations ---------------------------------------------------------------------------------------
 */

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

/* One error for all names that failed, the first of them in front. No request of theirs is under way here. */
static void authorizations_failed(struct flow *flow, struct flow_actions *actions)
{
    struct err err = ERR_INIT;
    AUTO_BUF text = BUF_INIT;
    size_t failed = count(flow, AUTH_FAILED);
    bool order_dead = false;
    if (all_failures_stale(flow) && restart(flow, actions))
        return;
    for (size_t i = 0; i < flow->n_authorizations; i++) {
        const struct flow_authorization *auth = &flow->authorizations[i];
        if (auth->state != AUTH_FAILED)
            continue;
        if (!err_isset(&err))
            err = auth->failure;
        order_dead |= auth->failure.next == NEXT_REFUSED;
        if (failed > 1)
            buf_addf(&text, "%s%s: %s", text.len > 0 ? "\n" : "",
                     auth->name[0] != '\0' ? auth->name : auth->url, auth->failure.text);
    }
    if (failed > 1) {
        snprintf(err.text, sizeof err.text, "%zu of %zu names could not be proven\n%.1200s", failed,
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
        request(actions, JWS_RESPOND, (int)i, auth->challenge_url);
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

static const struct acme_challenge *choose(const struct flow *flow, const struct acme_authorization *auth)
{
    for (size_t i = 0; i < auth->n_challenges; i++)
        if (auth->challenges[i].type == flow->challenge && auth->challenges[i].token[0] != '\0')
            return &auth->challenges[i];
    return NULL;
}

static void present(struct flow *flow, int index, const struct acme_authorization *parsed, int64_t now_ms,
                    struct flow_actions *actions)
{
    struct flow_authorization *auth = &flow->authorizations[index];
    const struct acme_challenge *challenge = choose(flow, parsed);
    struct err err = ERR_INIT;
    if (challenge == NULL) {
        (void)err_set(&err, ERR_PROTOCOL, NEXT_REFUSED, auth->name,
                      "the CA does not offer %s for it, only: %s", challenge_type_name(flow->challenge),
                      parsed->offered[0] != '\0' ? parsed->offered : "nothing");
        fail_authorization(flow, index, &err, now_ms, actions);
        return;
    }
    auth->state = AUTH_PRESENTING;
    auth->presented = true; /* even a failed attempt is cleaned up */
    snprintf(auth->token, sizeof auth->token, "%s", challenge->token);
    snprintf(auth->challenge_url, sizeof auth->challenge_url, "%s", challenge->url);
    struct flow_action *action = add(actions, FLOW_PRESENT, index);
    action->challenge = challenge->type;
    snprintf(action->name, sizeof action->name, "%s", auth->name);
    snprintf(action->token, sizeof action->token, "%s", auth->token);
}

static void poll_authorization(struct flow *flow, int index, bool fetched, struct flow_actions *actions)
{
    struct flow_authorization *auth = &flow->authorizations[index];
    set_timer(actions, index, policy_poll_ms(auth->polls, auth->retry_after_s, fetched));
}

static void authorization_invalid(struct flow *flow, int index, const struct acme_authorization *parsed,
                                  int64_t now_ms, struct flow_actions *actions)
{
    struct err err = ERR_INIT;
    struct problem problem = {.detail = "the CA could not prove that it is yours, and gives no reason"};
    for (size_t i = 0; i < parsed->n_challenges; i++)
        if (parsed->challenges[i].has_error)
            problem = parsed->challenges[i].error;
    (void)problem_to_err(&problem, flow->authorizations[index].name, -1, &err);
    err.next = err.next == NEXT_NONE ? NEXT_REFUSED : err.next;
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
static bool never_triggered(const struct flow *flow, const struct flow_authorization *auth,
                            const struct acme_authorization *parsed)
{
    const struct acme_challenge *challenge = choose(flow, parsed);
    return err_isset(&auth->failure) && auth->polls >= REFUSED_POLLS && challenge != NULL &&
           challenge->status == ACME_PENDING;
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
            present(flow, event->index, &parsed, event->now_ms, actions);
        else if (never_triggered(flow, auth, &parsed))
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

/* -- events -----------------------------------------------------------------------------------------------
 */

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
        return request == (flow->resumed ? JWS_READ : JWS_NEW_ORDER);
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
        auth->polls = 1;
        set_timer(actions, event->index, 0);
        return;
    }
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
    bool acme = event->err->code == ERR_ACME, refused = acme && event->err->next == NEXT_REFUSED;
    /* not when the CA has but trouble of its own: the order is still good then */
    if (flow->state == FLOW_ORDERING && flow->resumed && refused && restart(flow, actions))
        return;
    if (flow->state == FLOW_FINALIZING && acme && strcmp(event->err->type, "orderNotReady") == 0) {
        flow->retry_after_s = -1;
        poll_order(flow, event->now_ms, actions);
        return;
    }
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
        fail_authorization(flow, event->index, event->err, event->now_ms, actions);
        return;
    }
    flow->authorizations[event->index].state = AUTH_PRESENTED;
    advance(flow, event->now_ms, actions);
}

static void on_fetched(struct flow *flow, const char *token, struct flow_actions *actions)
{
    for (size_t i = 0; i < flow->n_authorizations; i++) {
        struct flow_authorization *auth = &flow->authorizations[i];
        if (auth->token[0] == '\0' || strcmp(auth->token, token) != 0)
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
