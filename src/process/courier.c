/*
 * The courier: carries out the actions of the flows over HTTPS, and asks the keeper to sign. It holds no keys
 * and opens no files but the roots it trusts; what it learns it only reports.
 *
 * A signed request ("call") goes  WAITING (for a nonce) -> SIGNING (at the keeper) -> SENT -> done, or back
 * to WAITING after a pause.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "tlsup/ari.h"
#include "tlsup/b64.h"
#include "tlsup/ca.h"
#include "tlsup/clock.h"
#include "tlsup/directory.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/messages.h"
#include "tlsup/policy.h"
#include "tlsup/roles.h"
#include "tlsup/sandbox.h"
#include "tlsup/session.h"

enum {
    MAX_IN_FLIGHT =
        100,            /* calls being signed or sent, as many as servers of HTTP/2 take at once by default */
    WINDOW_GROWTH = 16, /* answers that widen a narrowed window by one */
    MAX_NONCE_FETCHES = MAX_IN_FLIGHT, /* where the CA has published no bound of its own */
    MANY_BAD_NONCES = 3,
    CALL_DEADLINE_MS = 4 * 60 * 1000,
    IDLE_WAIT_MS = 1000,
    ARI_ATTEMPTS = 2,
    ARI_IN_FLIGHT = 32,
    ARI_AGAIN_MS = 1000,
    ARI_PATIENCE_S = 20,
};

enum call_state { CALL_WAITING, CALL_SIGNING, CALL_SENT };

struct order_run;

struct call {
    struct call *next;
    struct courier *courier;
    struct order_run *order; /* NULL: the keeper's own, which knows it as `asked_as` */
    uint32_t id;
    uint32_t asked_as;
    int index;
    enum jws_kind kind;
    enum call_state state;
    int failed[POLICY_FINAL + 1]; /* attempts by kind of failure */
    int64_t due_ms;               /* WAITING: not before */
    int64_t deadline_ms;
    char url[URL_MAX_BYTES];
};

struct timer {
    bool set;
    int64_t due_ms;
};

struct order_run {
    struct order_run *next;
    struct msg *held; /* PRESENTs that wait until all authorizations are read: whoever answers them is told
                         how many there are */
    size_t n_held;
    struct courier *courier;
    uint32_t id;
    struct flow flow;
    struct timer order_timer;
    struct timer *timers; /* one an authorization */
    size_t n_timers;
    enum flow_state told;
};

/* What is to be done once the directory is known. */
struct waiting_message {
    struct waiting_message *next;
    struct msg msg;
};

/* So many in a second, and so many at once after a rest: as the CA wants it. 0 a second = no bound. */
struct pace {
    int per_s, burst;
    double room;
    int64_t at_ms;
};

/* A question after renewal information: unsigned, so that it needs no nonce, but in the same bounds as all
 * others. */
struct ari_query {
    struct ari_query *next; /* waiting */
    struct courier *courier;
    uint32_t id;
    int attempts;
    int64_t due_ms;
    char url[URL_MAX_BYTES];
};

struct courier {
    int fd;
    const struct ca *ca;
    struct pace requests, new_nonces;
    size_t window;    /* calls in flight at most, now */
    size_t answers;   /* good ones since it was last widened */
    int64_t pause_ms; /* nothing is sent before: the CA has asked us to slow down */
    struct outbox outbox;
    struct http *http;
    struct session session;
    struct directory directory;
    char directory_url[URL_MAX_BYTES];
    bool directory_known;
    int directory_attempts;
    int64_t directory_due_ms; /* 0 = no fetch is to be begun */
    int nonce_fetches, nonce_attempts;
    int64_t nonce_due_ms;
    struct call *calls;
    struct ari_query *ari_waiting;
    size_t ari_in_flight;
    struct order_run *orders;
    struct waiting_message *waiting;
    uint32_t last_id;
};

static NORETURN void leave(struct courier *courier, int status)
{
    if (courier->http != NULL) {
        struct http_stats stats;
        http_stats_get(courier->http, &stats);
        log_info("the CA was asked %lld times over %lld connection%s", (long long)stats.requests,
                 (long long)stats.connections, stats.connections == 1 ? "" : "s");
    }
    _exit(status);
}

/* -- to the keeper ------------------------------------------------------------------------------------------
 */

static void tell(struct courier *courier, const struct msg *msg)
{
    struct err err = ERR_INIT;
    if (outbox_add(&courier->outbox, msg, &err))
        return;
    /* too large for a frame: the keeper gets the reason instead */
    struct msg failed = MSG_INIT(MSG_FAILED);
    failed.id = msg->id;
    failed.err = err;
    err_clear(&err);
    if (!outbox_add(&courier->outbox, &failed, &err))
        leave(courier, 1);
}

static void tell_failed(struct courier *courier, uint32_t id, const struct err *err)
{
    struct msg msg = MSG_INIT(MSG_FAILED);
    msg.id = id;
    msg.err = *err;
    tell(courier, &msg);
}

/* -- the pace -----------------------------------------------------------------------------------------------
 */

static void pace_init(struct pace *pace, int per_s, int burst)
{
    *pace = (struct pace){.per_s = per_s, .burst = burst > 0 ? burst : per_s, .at_ms = clock_mono_ms()};
    pace->room = pace->burst;
}

static void pace_refill(struct pace *pace, int64_t now_ms)
{
    pace->room += (double)(now_ms - pace->at_ms) * pace->per_s / 1000.0;
    pace->at_ms = now_ms;
    if (pace->room > pace->burst)
        pace->room = pace->burst;
}

static bool pace_take(struct pace *pace)
{
    if (pace->per_s <= 0)
        return true;
    pace_refill(pace, clock_mono_ms());
    if (pace->room < 1.0)
        return false;
    pace->room -= 1.0;
    return true;
}

/* Milliseconds until there is room for one. */
static int64_t pace_wait_ms(const struct pace *pace)
{
    return pace->per_s <= 0 || pace->room >= 1.0 ? 0
                                                 : (int64_t)((1.0 - pace->room) * 1000.0 / pace->per_s) + 1;
}

/* "Slow down" concerns us as a whole, not the one request that was told so. */
static void slow_down(struct courier *courier, int64_t wait_ms)
{
    int64_t until_ms = clock_mono_ms() + wait_ms;
    courier->window = courier->window > 1 ? courier->window / 2 : 1;
    courier->answers = 0;
    if (until_ms > courier->pause_ms)
        courier->pause_ms = until_ms;
    log_info("the CA asks us to slow down: a pause of %lld ms, then %zu requests at once", (long long)wait_ms,
             courier->window);
}

static void went_well(struct courier *courier)
{
    if (courier->window < MAX_IN_FLIGHT && ++courier->answers >= WINDOW_GROWTH) {
        courier->answers = 0;
        courier->window++;
    }
}

/* -- calls --------------------------------------------------------------------------------------------------
 */

static void carry_out(struct order_run *run, struct flow_actions *actions);

static void step(struct order_run *run, const struct flow_event *event)
{
    struct flow_actions actions = {0};
    struct flow_event timed = *event;
    timed.now_ms = clock_mono_ms();
    flow_step(&run->flow, &timed, &actions);
    carry_out(run, &actions);
    flow_actions_clear(&actions);
}

static struct call *call_new(struct courier *courier, struct order_run *order, enum jws_kind kind, int index,
                             const char *url)
{
    struct call *call = mem_alloc(sizeof *call), **last = &courier->calls;
    *call = (struct call){.courier = courier, .order = order, .kind = kind, .index = index};
    call->id = ++courier->last_id;
    call->deadline_ms = clock_mono_ms() + CALL_DEADLINE_MS;
    snprintf(call->url, sizeof call->url, "%s", url);
    while (*last != NULL) /* first come, first served */
        last = &(*last)->next;
    *last = call;
    return call;
}

static void call_end(struct call *call)
{
    struct call **link = &call->courier->calls;
    while (*link != call)
        link = &(*link)->next;
    *link = call->next;
    free(call);
}

static struct call *call_find(struct courier *courier, uint32_t id, enum call_state state)
{
    for (struct call *call = courier->calls; call != NULL; call = call->next)
        if (call->id == id && call->state == state)
            return call;
    return NULL;
}

static bool same_origin(const struct courier *courier, const char *url)
{
    return url[0] != '\0' && url_same_origin(url, courier->directory_url);
}

/* The keeper's own call was granted. */
static void call_granted(struct courier *courier, uint32_t asked_as, const struct http_response *response)
{
    struct msg msg = {.type = MSG_CALLED, .id = asked_as, .number = response->status};
    json_error_t ignored;
    json_t *body = json_loadb(buf_str(&response->body), response->body.len, JSON_REJECT_DUPLICATES, &ignored);
    const char *status = json_string_value(json_object_get(body, "status"));
    if (same_origin(courier, response->location))
        snprintf(msg.url, sizeof msg.url, "%s", response->location);
    snprintf(msg.text, sizeof msg.text, "%.60s", status != NULL ? status : "");
    json_decref(body);
    tell(courier, &msg);
}

static void call_refused(struct courier *courier, uint32_t asked_as, const char *location,
                         const struct err *err)
{
    struct msg msg = {.type = MSG_CALL_FAILED, .id = asked_as, .err = *err};
    if (location != NULL && same_origin(courier, location))
        snprintf(msg.url, sizeof msg.url, "%s", location);
    tell(courier, &msg);
}

/* The call is over: to the flow, or to the keeper. `err` or not decides; an error may have come with an
 * answer. */
static void call_done(struct call *call, const struct http_response *response, const struct problem *problem,
                      const struct err *err)
{
    struct courier *courier = call->courier;
    struct order_run *order = call->order;
    uint32_t asked_as = call->asked_as;
    struct flow_event event = {.type = err == NULL ? FLOW_RESPONSE : FLOW_ERROR,
                               .request = call->kind,
                               .index = call->index,
                               .response = err == NULL ? response : NULL,
                               .problem = problem,
                               .err = err};
    call_end(call);
    if (order != NULL)
        step(order, &event);
    else if (err == NULL)
        call_granted(courier, asked_as, response);
    else
        call_refused(courier, asked_as, response != NULL ? response->location : NULL, err);
}

/* The answer was an error, or there was none: once more, by policy, or the end of the call. */
static void call_failed(struct call *call, enum policy_failure failure, const struct http_response *response,
                        const struct problem *problem, struct err *err)
{
    int64_t retry_after_s = response != NULL ? response->retry_after_s : -1;
    int64_t now_ms = clock_mono_ms();
    struct policy_verdict verdict =
        policy_decide(failure, ++call->failed[failure], retry_after_s, call->deadline_ms - now_ms);
    if (failure == POLICY_BAD_NONCE && call->failed[failure] > MANY_BAD_NONCES)
        session_drop_all(&call->courier->session); /* by now what else we hold is as suspect */
    if (verdict.retry) {
        log_info("the CA's answer to %s: %s; trying again", jws_kind_name(call->kind), err->text);
        call->state = CALL_WAITING;
        call->due_ms = now_ms + verdict.wait_ms;
        if (failure == POLICY_SLOW_DOWN)
            slow_down(call->courier, verdict.wait_ms);
        return;
    }
    if (err->code == ERR_ACME)
        (void)err_context(err, "the CA refused the request (%s)", jws_kind_name(call->kind));
    /* a person knows the name, and not the URL that the request for it went to */
    if (call->order != NULL && url_valid(err->subject)) {
        log_info("%s: %s", err->subject, err->text);
        snprintf(err->subject, sizeof err->subject, "%s", call->order->flow.names.v[0]);
    }
    call_done(call, response, problem, err);
}

static void on_answer(void *ctx, const struct http_response *response, const struct err *transport)
{
    struct call *call = ctx;
    struct err err = ERR_INIT;
    struct problem problem;
    if (response == NULL) {
        err = *transport;
        /* what is wrong with the trust or the address stays wrong */
        enum policy_failure failure =
            err.next == NEXT_FIX_CONFIG || err.code == ERR_PROTOCOL ? POLICY_FINAL : POLICY_CUT;
        call_failed(call, failure, NULL, NULL, &err);
        return;
    }
    session_put(&call->courier->session, response->nonce);
    if (response->status >= 200 && response->status <= 299) {
        went_well(call->courier);
        call_done(call, response, NULL, NULL);
        return;
    }
    if (response->status >= 300 && response->status <= 399) {
        (void)err_set(&err, ERR_PROTOCOL, NEXT_RETRY_LATER, call->url,
                      "the CA redirects a signed request elsewhere, which cannot be followed");
        call_failed(call, POLICY_FINAL, NULL, NULL, &err);
        return;
    }
    problem_parse(response->status, buf_str(&response->body), response->body.len, &problem);
    snprintf(problem.terms, sizeof problem.terms, "%s", response->terms);
    (void)problem_to_err(&problem, call->url, response->retry_after_s, &err);
    call_failed(call, problem_failure(&problem, response->retry_after_s), response, &problem, &err);
}

static void call_ask_signature(struct call *call, const char *nonce)
{
    struct msg msg = MSG_INIT(MSG_SIGN);
    call->state = CALL_SIGNING;
    msg.id = call->id;
    msg.number = call->kind;
    msg.number2 = call->order != NULL ? call->order->id : 0;
    snprintf(msg.url, sizeof msg.url, "%s", call->url);
    snprintf(msg.nonce, sizeof msg.nonce, "%s", nonce);
    tell(call->courier, &msg);
}

/* -- nonces -------------------------------------------------------------------------------------------------
 */

static void fail_all_waiting(struct courier *courier, const struct err *err)
{
    for (struct call *call = courier->calls, *next; call != NULL; call = next) {
        next = call->next;
        if (call->state != CALL_WAITING)
            continue;
        call_done(call, NULL, NULL, err);
        next = courier->calls; /* call_done() may have changed the list: begin again */
    }
}

static void on_nonce(void *ctx, const struct http_response *response, const struct err *transport)
{
    struct courier *courier = ctx;
    struct err err = ERR_INIT;
    size_t had = courier->session.n;
    courier->nonce_fetches--;
    if (response != NULL)
        session_put(&courier->session, response->nonce);
    if (courier->session.n > had) {
        courier->nonce_attempts = 0;
        return;
    }
    if (clock_mono_ms() < courier->nonce_due_ms)
        return; /* many are under way at once, and fail at once with their connection: that is one failure */
    if (transport != NULL)
        err = *transport;
    else
        (void)err_set(&err, ERR_PROTOCOL, NEXT_RETRY_LATER, courier->directory.new_nonce,
                      "the CA gives no nonce (HTTP status %d without Replay-Nonce)", response->status);
    bool final = err.next == NEXT_FIX_CONFIG;
    struct policy_verdict verdict =
        policy_decide(final ? POLICY_FINAL : POLICY_SERVER, ++courier->nonce_attempts,
                      response != NULL ? response->retry_after_s : -1, CALL_DEADLINE_MS);
    if (verdict.retry)
        courier->nonce_due_ms = clock_mono_ms() + verdict.wait_ms;
    else
        fail_all_waiting(courier, &err);
}

static void fetch_nonces(struct courier *courier, size_t needed)
{
    if (clock_mono_ms() < courier->nonce_due_ms)
        return;
    while ((size_t)courier->nonce_fetches < needed && courier->nonce_fetches < MAX_NONCE_FETCHES &&
           pace_take(&courier->new_nonces)) {
        courier->nonce_fetches++;
        http_start(courier->http, HTTP_HEAD, courier->directory.new_nonce, NULL, 0, on_nonce, courier);
    }
}

/* Give nonces to the calls whose time has come; fetch more where they do not suffice. */
static void move_calls(struct courier *courier)
{
    char nonce[SESSION_NONCE_BYTES];
    size_t in_flight = 0, needed = 0;
    int64_t now_ms = clock_mono_ms();
    if (courier->pause_ms > now_ms)
        return;
    for (struct call *call = courier->calls; call != NULL; call = call->next)
        in_flight += call->state != CALL_WAITING;
    for (struct call *call = courier->calls; call != NULL; call = call->next) {
        if (call->state != CALL_WAITING || call->due_ms > now_ms || in_flight >= courier->window)
            continue;
        in_flight++;
        if (courier->session.n == 0)
            needed++;
        else if (!pace_take(&courier->requests))
            break;
        else if (session_take(&courier->session, nonce))
            call_ask_signature(call, nonce);
    }
    if (needed > 0)
        fetch_nonces(courier, needed);
}

/* -- orders -------------------------------------------------------------------------------------------------
 */

static struct order_run *order_find(struct courier *courier, uint32_t id)
{
    for (struct order_run *run = courier->orders; run != NULL; run = run->next)
        if (run->id == id)
            return run;
    return NULL;
}

static struct timer *timer_of(struct order_run *run, int index)
{
    if (index == FLOW_ORDER_INDEX)
        return &run->order_timer;
    if ((size_t)index >= run->n_timers) {
        run->timers = mem_resize(run->timers, (size_t)index + 1, sizeof *run->timers);
        for (; run->n_timers <= (size_t)index; run->n_timers++)
            run->timers[run->n_timers] = (struct timer){0};
    }
    return &run->timers[index];
}

static void tell_certificate(struct order_run *run)
{
    struct msg msg = {.type = MSG_CERTIFICATE, .id = run->id, .number2 = (int64_t)run->flow.n_chains};
    for (size_t i = 0; i < run->flow.n_chains; i++) {
        msg.number = (int64_t)i;
        msg.body = run->flow.chains[i]; /* lent for the call */
        tell(run->courier, &msg);
    }
}

static bool still_reading(const struct order_run *run)
{
    for (size_t i = 0; i < run->flow.n_authorizations; i++)
        if (run->flow.authorizations[i].state == AUTH_READING)
            return true;
    return false;
}

static void hold(struct order_run *run, const struct msg *present)
{
    run->held = mem_resize(run->held, run->n_held + 1, sizeof *run->held);
    run->held[run->n_held++] = *present;
}

/* Not told yet, and already over: nobody need know. */
static bool drop_held(struct order_run *run, int index)
{
    for (size_t i = 0; i < run->n_held; i++)
        if (run->held[i].number == index) {
            run->held[i] = run->held[--run->n_held];
            return true;
        }
    return false;
}

static void tell_held(struct order_run *run)
{
    if (run->n_held == 0 || still_reading(run))
        return;
    for (size_t i = 0; i < run->n_held; i++)
        tell(run->courier, &run->held[i]);
    run->n_held = 0;
}

static void carry_out_one(struct order_run *run, const struct flow_action *action)
{
    struct courier *courier = run->courier;
    struct msg msg = {.id = run->id, .number = action->index};
    switch (action->type) {
    case FLOW_REQUEST:
        call_new(courier, run, action->request, action->index, action->url);
        break;
    case FLOW_PRESENT:
    case FLOW_CLEANUP:
        msg.type = action->type == FLOW_PRESENT ? MSG_PRESENT : MSG_CLEANUP;
        msg.number2 = action->type == FLOW_PRESENT ? (int64_t)action->challenge : action->failed;
        snprintf(msg.name, sizeof msg.name, "%s", action->name);
        snprintf(msg.token, sizeof msg.token, "%s", action->token);
        if (action->challenge == CHALLENGE_DNS_PERSIST_01)
            snprintf(msg.text, sizeof msg.text, "%d\n%s\n%s", action->persist.draft, action->persist.issuers,
                     action->persist.account_uri);
        if (action->type == FLOW_PRESENT)
            hold(run, &msg);
        else if (!drop_held(run, action->index))
            tell(courier, &msg);
        break;
    case FLOW_NAME_FAILED:
        msg.type = MSG_NAME_FAILED;
        msg.err = action->err;
        snprintf(msg.name, sizeof msg.name, "%s", action->name);
        tell(courier, &msg);
        break;
    case FLOW_SET_TIMER:
        *timer_of(run, action->index) = (struct timer){true, clock_mono_ms() + action->wait_ms};
        break;
    case FLOW_ORDER_URL:
        msg.type = MSG_ORDER_URL;
        snprintf(msg.url, sizeof msg.url, "%s", action->url);
        tell(courier, &msg);
        break;
    case FLOW_FINISHED:
        tell_certificate(run);
        break;
    case FLOW_GAVE_UP:
        tell_failed(courier, run->id, &run->flow.err);
        break;
    }
}

/* Plain words for what takes time. */
static void tell_progress(struct order_run *run)
{
    static const char *const words[] = {
        [FLOW_ORDERING] = "ordering",
        [FLOW_AUTHORIZING] = "reading what the CA wants proven",
        [FLOW_CHALLENGING] = "waiting for the CA to check",
        [FLOW_FINALIZING] = "sending the certificate request",
        [FLOW_PROCESSING] = "waiting for the CA to issue",
        [FLOW_DOWNLOADING] = "downloading",
    };
    struct msg msg = MSG_INIT(MSG_PROGRESS);
    enum flow_state state = run->flow.state;
    if (state == run->told || (size_t)state >= COUNT_OF(words) || words[state] == NULL)
        return;
    run->told = state;
    msg.id = run->id;
    msg.number = state;
    snprintf(msg.text, sizeof msg.text, "%s", words[state]);
    tell(run->courier, &msg);
}

static void carry_out(struct order_run *run, struct flow_actions *actions)
{
    for (size_t i = 0; i < actions->n; i++)
        carry_out_one(run, &actions->v[i]);
    tell_held(run);
    tell_progress(run);
}

static void fire_timer(struct order_run *run, struct timer *timer, int index, int64_t now_ms)
{
    struct flow_event event = {.type = FLOW_TIMER, .index = index};
    if (!timer->set || timer->due_ms > now_ms)
        return;
    timer->set = false;
    step(run, &event);
}

static void fire_timers(struct courier *courier)
{
    int64_t now_ms = clock_mono_ms();
    for (struct order_run *run = courier->orders; run != NULL; run = run->next) {
        fire_timer(run, &run->order_timer, FLOW_ORDER_INDEX, now_ms);
        for (size_t i = 0; i < run->n_timers; i++)
            fire_timer(run, &run->timers[i], (int)i, now_ms);
    }
}

static int64_t sooner(int64_t a_ms, int64_t b_ms)
{
    return a_ms < b_ms ? a_ms : b_ms;
}

/* Milliseconds until something is due by itself. */
static int next_wait_ms(const struct courier *courier)
{
    int64_t now_ms = clock_mono_ms(), due_ms = now_ms + IDLE_WAIT_MS;
    if (courier->outbox.n > 0)
        return 5;
    for (const struct call *call = courier->calls; call != NULL; call = call->next)
        if (call->state == CALL_WAITING && call->due_ms > now_ms)
            due_ms = sooner(due_ms, call->due_ms);
    if (courier->nonce_due_ms > now_ms)
        due_ms = sooner(due_ms, courier->nonce_due_ms);
    for (const struct ari_query *query = courier->ari_waiting; query != NULL; query = query->next)
        if (courier->ari_in_flight < ARI_IN_FLIGHT && query->due_ms > now_ms)
            due_ms = sooner(due_ms, query->due_ms);
    if (courier->pause_ms > now_ms)
        due_ms = sooner(due_ms, courier->pause_ms);
    if (pace_wait_ms(&courier->requests) > 0)
        due_ms = sooner(due_ms, now_ms + pace_wait_ms(&courier->requests));
    if (pace_wait_ms(&courier->new_nonces) > 0)
        due_ms = sooner(due_ms, now_ms + pace_wait_ms(&courier->new_nonces));
    if (courier->directory_due_ms > 0)
        due_ms = sooner(due_ms, courier->directory_due_ms);
    for (const struct order_run *run = courier->orders; run != NULL; run = run->next) {
        if (run->order_timer.set)
            due_ms = sooner(due_ms, run->order_timer.due_ms);
        for (size_t i = 0; i < run->n_timers; i++)
            if (run->timers[i].set)
                due_ms = sooner(due_ms, run->timers[i].due_ms);
    }
    return due_ms > now_ms ? (int)(due_ms - now_ms) : 0;
}

/* -- the directory ------------------------------------------------------------------------------------------
 */

static void handle(struct courier *courier, const struct msg *msg);

static void add_words(struct buf *out, const char *word, const struct strlist *values)
{
    for (size_t i = 0; i < values->n; i++) {
        printable(values->v[i]);
        if (strchr(values->v[i], '\n') == NULL)
            buf_addf(out, "%s %s\n", word, values->v[i]);
    }
}

static void tell_what_it_has(struct courier *courier)
{
    struct msg msg = MSG_INIT(MSG_CA_HAS);
    struct directory *directory = &courier->directory;
    add_words(&msg.body, "profile", &directory->profiles);
    add_words(&msg.body, "caa", &directory->caa_identities);
    add_words(&msg.body, "issuer", &directory->issuer_names);
    const struct {
        const char *word, *value;
    } rows[] = {{"hash-prefix", directory->account_hash_prefix},
                {"website", directory->website},
                {"key-change", directory->key_change},
                {"revoke", directory->revoke_cert},
                {"renewal-info", directory->renewal_info}};
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (rows[i].value[0] != '\0' && strpbrk(rows[i].value, "\r\n") == NULL)
            buf_addf(&msg.body, "%s %s\n", rows[i].word, rows[i].value);
    tell(courier, &msg);
    msg_clear(&msg);
}

static void directory_ready(struct courier *courier, const struct buf *fetched)
{
    struct msg msg = MSG_INIT(MSG_DIRECTORY);
    courier->directory_known = true;
    tell_what_it_has(courier);
    if (fetched != NULL && fetched->len < MSG_MAX_BYTES / 2)
        buf_add(&msg.body, fetched->data, fetched->len);
    snprintf(msg.url, sizeof msg.url, "%s", courier->directory.new_account);
    snprintf(msg.text, sizeof msg.text, "%.*s", (int)sizeof msg.text - 1, courier->directory.terms);
    msg.number = courier->directory.external_account_required;
    tell(courier, &msg);
    msg_clear(&msg);
    fetch_nonces(courier, 1); /* while the keeper makes up its mind */
    while (courier->waiting != NULL) {
        struct waiting_message *first = courier->waiting;
        courier->waiting = first->next;
        handle(courier, &first->msg);
        msg_clear(&first->msg);
        free(first);
    }
}

static void directory_failed(struct courier *courier, bool final, int64_t retry_after_s, struct err *err)
{
    struct policy_verdict verdict = policy_decide(
        final ? POLICY_FINAL : POLICY_SERVER, courier->directory_attempts, retry_after_s, CALL_DEADLINE_MS);
    if (verdict.retry) {
        courier->directory_due_ms = clock_mono_ms() + verdict.wait_ms + 1;
        return;
    }
    (void)err_context(err, "the CA cannot be used");
    tell_failed(courier, 0, err);
}

static void on_directory(void *ctx, const struct http_response *response, const struct err *transport)
{
    struct courier *courier = ctx;
    struct err err = ERR_INIT;
    struct problem problem;
    if (response == NULL) {
        err = *transport;
        directory_failed(courier, err.next == NEXT_FIX_CONFIG || err.code == ERR_PROTOCOL, -1, &err);
    } else if (response->status != 200) {
        problem_parse(response->status, buf_str(&response->body), response->body.len, &problem);
        (void)problem_to_err(&problem, courier->directory_url, response->retry_after_s, &err);
        (void)err_advise(&err, "check the address of the CA (--server)");
        directory_failed(courier, response->status < 500 && response->status != 429, response->retry_after_s,
                         &err);
    } else if (!directory_parse(courier->directory_url, buf_str(&response->body), response->body.len,
                                &courier->directory, &err)) {
        directory_failed(courier, true, -1, &err);
    } else {
        session_put(&courier->session, response->nonce);
        directory_ready(courier, &response->body);
    }
}

static void fetch_directory(struct courier *courier)
{
    courier->directory_due_ms = 0;
    courier->directory_attempts++;
    http_start(courier->http, HTTP_GET, courier->directory_url, NULL, 0, on_directory, courier);
}

static void set_ca(struct courier *courier, const struct msg *msg)
{
    struct err ignored = ERR_INIT;
    if (courier->directory_url[0] != '\0')
        return;
    snprintf(courier->directory_url, sizeof courier->directory_url, "%s", msg->url);
    courier->ca = ca_by_url(courier->directory_url);
    pace_init(&courier->requests, courier->ca->requests_s, courier->ca->requests_s);
    pace_init(&courier->new_nonces, courier->ca->new_nonces_s, courier->ca->new_nonces_burst);
    if (msg->body.len > 0 && directory_parse(courier->directory_url, buf_str(&msg->body), msg->body.len,
                                             &courier->directory, &ignored))
        directory_ready(courier, NULL);
    else
        fetch_directory(courier);
}

/* -- from the keeper ----------------------------------------------------------------------------------------
 */

static void begin_order(struct courier *courier, const struct msg *msg)
{
    AUTO_STRLIST names = STRLIST_INIT;
    struct order_run *run = mem_alloc(sizeof *run);
    struct flow_event start = {.type = FLOW_START};
    strlist_split(&names, buf_str(&msg->body), "\n");
    struct flow_options options = {.names = &names,
                                   .directory_url = courier->directory_url,
                                   .new_order_url = courier->directory.new_order,
                                   .resume_url = msg->url,
                                   .has_replaces = (msg->number2 & ORDER_HAS_REPLACES) != 0,
                                   .may_drop_profile = (msg->number2 & ORDER_MAY_DROP_PROFILE) != 0,
                                   .all_chains = (msg->number2 & ORDER_ALL_CHAINS) != 0};
    for (int64_t types = msg->number; types != 0 && options.n_challenges < CHALLENGE_TYPES; types >>= 4)
        if ((types & 15) < CHALLENGE_TYPES)
            options.challenges[options.n_challenges++] = (enum challenge_type)(types & 15);
    run->courier = courier;
    run->id = msg->id;
    flow_init(&run->flow, &options);
    run->next = courier->orders;
    courier->orders = run;
    step(run, &start);
    /* its authorizations are all read at once: the nonces come while it is made */
    if (courier->session.n < names.n)
        fetch_nonces(courier, names.n - courier->session.n);
}

static void signed_or_refused(struct courier *courier, const struct msg *msg)
{
    struct call *call = call_find(courier, msg->id, CALL_SIGNING);
    if (call == NULL)
        return;
    if (msg->type == MSG_REFUSED) {
        call_done(call, NULL, NULL, &msg->err);
        return;
    }
    call->state = CALL_SENT;
    http_start(courier->http, HTTP_POST, call->url, buf_str(&msg->body), msg->body.len, on_answer, call);
}

static void presented(struct courier *courier, const struct msg *msg)
{
    struct order_run *run = order_find(courier, msg->id);
    struct flow_event event = {.type = msg->type == MSG_PRESENTED ? FLOW_PRESENTED : FLOW_NOT_PRESENTED,
                               .index = (int)msg->number,
                               .err = &msg->err};
    if (run != NULL && msg->number >= 0 && msg->number < ORDER_MAX_AUTHORIZATIONS)
        step(run, &event);
}

static void cancel(struct courier *courier, const struct msg *msg)
{
    struct order_run *run = order_find(courier, msg->id);
    struct flow_event event = {.type = FLOW_ABORT, .err = &msg->err};
    if (run != NULL)
        step(run, &event);
}

static void wait_for_directory(struct courier *courier, const struct msg *msg)
{
    struct waiting_message *waiting = mem_alloc(sizeof *waiting), **last = &courier->waiting;
    waiting->msg = *msg;
    waiting->msg.body = (struct buf)BUF_INIT;
    buf_add(&waiting->msg.body, msg->body.data, msg->body.len);
    while (*last != NULL)
        last = &(*last)->next;
    *last = waiting;
}

/* -- the keeper's own calls
 * -----------------------------------------------------------------------------------
 */

static void begin_call(struct courier *courier, const struct msg *msg)
{
    const struct directory *directory = &courier->directory;
    const char *url = NULL;
    struct err err = ERR_INIT;
    switch (msg->number) {
    case JWS_NEW_ACCOUNT:
    case JWS_FIND_ACCOUNT:
        url = directory->new_account;
        break;
    case JWS_READ:
    case JWS_UPDATE_ACCOUNT:
    case JWS_DEACTIVATE:
        url = msg->url;
        break;
    case JWS_KEY_CHANGE:
        url = directory->key_change;
        break;
    case JWS_REVOKE:
    case JWS_REVOKE_BY_KEY:
        url = directory->revoke_cert;
        break;
    default:
        break;
    }
    if (url == NULL || url[0] == '\0') {
        (void)err_set(&err, ERR_ACME, NEXT_REFUSED, courier->directory_url, "this CA does not offer it (%s)",
                      msg->number >= 0 && msg->number < JWS_KINDS ? jws_kind_name((enum jws_kind)msg->number)
                                                                  : "unknown");
        call_refused(courier, msg->id, NULL, &err);
        return;
    }
    call_new(courier, NULL, (enum jws_kind)msg->number, FLOW_ORDER_INDEX, url)->asked_as = msg->id;
}

/* -- renewal information: unauthenticated, RFC 9773
 * -------------------------------------------------------------
 */

static void ari_failed(struct ari_query *query, bool temporary, const struct err *err)
{
    struct msg msg = {.type = MSG_ARI_FAILED, .id = query->id, .number = temporary, .err = *err};
    tell(query->courier, &msg);
    free(query);
}

/* Behind those that wait already. */
static void ari_queue(struct ari_query *query, int64_t wait_ms)
{
    struct ari_query **last = &query->courier->ari_waiting;
    query->due_ms = clock_mono_ms() + wait_ms;
    query->next = NULL;
    while (*last != NULL)
        last = &(*last)->next;
    *last = query;
}

static void on_ari(void *ctx, const struct http_response *response, const struct err *transport)
{
    struct ari_query *query = ctx;
    struct ari_window window;
    struct problem problem;
    struct err err = ERR_INIT;
    bool temporary = response == NULL ? transport->next == NEXT_RETRY_LATER : response->status >= 500;
    query->courier->ari_in_flight--;
    if (temporary && ++query->attempts < ARI_ATTEMPTS) {
        ari_queue(query,
                  response != NULL && response->retry_after_s >= 0 && response->retry_after_s < ARI_PATIENCE_S
                      ? response->retry_after_s * 1000
                      : ARI_AGAIN_MS);
        return;
    }
    if (response == NULL) {
        ari_failed(query, temporary, transport);
        return;
    }
    if (response->status != 200) {
        problem_parse(response->status, buf_str(&response->body), response->body.len, &problem);
        (void)problem_to_err(&problem, query->url, response->retry_after_s, &err);
        ari_failed(query, temporary || response->status == 429, &err);
        return;
    }
    if (!ari_parse(buf_str(&response->body), response->body.len, &window, &err)) {
        ari_failed(query, false, &err);
        return;
    }
    struct msg msg = {.type = MSG_ARI_IS, .id = query->id, .number = window.start_s, .number2 = window.end_s};
    snprintf(msg.url, sizeof msg.url, "%s", window.explanation_url);
    snprintf(msg.text, sizeof msg.text, "%lld", (long long)response->retry_after_s);
    tell(query->courier, &msg);
    free(query);
}

static void move_ari(struct courier *courier)
{
    int64_t now_ms = clock_mono_ms();
    for (struct ari_query **link = &courier->ari_waiting; *link != NULL;) {
        struct ari_query *query = *link;
        if (courier->pause_ms > now_ms || courier->ari_in_flight >= ARI_IN_FLIGHT)
            return;
        if (query->due_ms > now_ms) {
            link = &query->next;
            continue;
        }
        if (!pace_take(&courier->requests))
            return;
        *link = query->next;
        courier->ari_in_flight++;
        http_start(courier->http, HTTP_GET, query->url, NULL, 0, on_ari, query);
    }
}

static void begin_ari(struct courier *courier, const struct msg *msg)
{
    struct ari_query *query = mem_alloc(sizeof *query);
    struct err err = ERR_INIT;
    *query = (struct ari_query){.courier = courier, .id = msg->id};
    if (courier->directory.renewal_info[0] != '\0' &&
        ari_url(courier->directory.renewal_info, msg->text, query->url)) {
        ari_queue(query, 0);
        return;
    }
    (void)err_set(&err, ERR_ACME, NEXT_REFUSED, courier->directory_url,
                  "this CA gives no renewal information");
    ari_failed(query, false, &err);
}

/* -- credentials for external account binding, for an e-mail address
 * ---------------------------------------------
 */

static void form_encode(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                     c == '.' || c == '_';
        buf_addf(out, plain ? "%c" : "%%%02X", c);
    }
}

static void on_credentials(void *ctx, const struct http_response *response, const struct err *transport)
{
    struct courier *courier = ctx;
    struct err err = ERR_INIT;
    struct msg msg = MSG_INIT(MSG_EAB_IS);
    json_error_t ignored;
    if (response == NULL) {
        tell_failed(courier, 0, transport);
        return;
    }
    json_t *body = json_loadb(buf_str(&response->body), response->body.len, JSON_REJECT_DUPLICATES, &ignored);
    const char *kid = json_string_value(json_object_get(body, "eab_kid"));
    const char *key = json_string_value(json_object_get(body, "eab_hmac_key"));
    if (response->status == 200 && kid != NULL && key != NULL && strlen(kid) < 256 &&
        b64url_valid(key, 128)) {
        snprintf(msg.text, sizeof msg.text, "%s", kid);
        snprintf(msg.token, sizeof msg.token, "%s", key);
        tell(courier, &msg);
    } else {
        const char *why = json_string_value(json_object_get(json_object_get(body, "error"), "type"));
        (void)err_set(&err, ERR_ACME, NEXT_FIX_CONFIG, courier->directory_url,
                      "the CA gave no credentials for this e-mail address: %.200s (HTTP status %d)",
                      why != NULL ? why : "no reason said", response->status);
        (void)err_advise(&err, "get them on its web site, and give them with --eab-kid and --eab-hmac-key");
        tell_failed(courier, 0, &err);
    }
    json_decref(body);
}

static void fetch_credentials(struct courier *courier, const struct msg *msg)
{
    AUTO_BUF form = BUF_INIT;
    buf_adds(&form, "email=");
    form_encode(&form, msg->text);
    http_start(courier->http, HTTP_POST_FORM, msg->url, buf_str(&form), form.len, on_credentials, courier);
}

static bool needs_directory(enum msg_type type)
{
    return type == MSG_CALL || type == MSG_ORDER || type == MSG_ARI || type == MSG_EAB_FETCH;
}

static void handle(struct courier *courier, const struct msg *msg)
{
    if (needs_directory(msg->type) && !courier->directory_known) {
        wait_for_directory(courier, msg);
        return;
    }
    switch (msg->type) {
    case MSG_CA:
        set_ca(courier, msg);
        break;
    case MSG_CALL:
        begin_call(courier, msg);
        break;
    case MSG_ARI:
        begin_ari(courier, msg);
        break;
    case MSG_EAB_FETCH:
        fetch_credentials(courier, msg);
        break;
    case MSG_ORDER:
        begin_order(courier, msg);
        break;
    case MSG_SIGNED:
    case MSG_REFUSED:
        signed_or_refused(courier, msg);
        break;
    case MSG_PRESENTED:
    case MSG_NOT_PRESENTED:
        presented(courier, msg);
        break;
    case MSG_CANCEL:
        cancel(courier, msg);
        break;
    case MSG_FETCHED:
        for (struct order_run *run = courier->orders; run != NULL; run = run->next) {
            struct flow_event event = {.type = FLOW_FETCHED, .token = msg->token};
            step(run, &event);
        }
        break;
    default:
        break;
    }
}

static void receive(struct courier *courier)
{
    for (;;) {
        struct msg msg = {0};
        struct err err = ERR_INIT;
        int got = msg_receive(courier->fd, MSG_FROM_KEEPER, &msg, &err);
        if (got < 0)
            leave(courier, 0); /* the keeper has ended, and so do we */
        if (got == 0)
            return;
        handle(courier, &msg);
        msg_clear(&msg);
    }
}

void courier_main(int fd, const struct http_options *options)
{
    struct courier *courier = mem_alloc(sizeof *courier);
    struct err err = ERR_INIT;
    courier->fd = fd;
    courier->ca = ca_by_url("");
    courier->window = MAX_IN_FLIGHT;
    if (!sandbox_enter(SANDBOX_COURIER_USER, &fd, 1, &err) || !http_new(options, &courier->http, &err)) {
        struct msg failed = MSG_INIT(MSG_FAILED);
        failed.err = err;
        err_clear(&err);
        _exit(msg_send(fd, &failed, &err) ? 0 : 1);
    }
    for (;;) {
        if (courier->directory_due_ms > 0 && clock_mono_ms() >= courier->directory_due_ms)
            fetch_directory(courier);
        fire_timers(courier);
        move_calls(courier);
        move_ari(courier);
        if (!outbox_flush(&courier->outbox, fd))
            leave(courier, 0);
        if (http_wait(courier->http, fd, next_wait_ms(courier)))
            receive(courier);
    }
}
