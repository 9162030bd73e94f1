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
    MAX_IN_FLIGHT = 32, /* calls being signed or sent */
    MAX_NONCE_FETCHES = 10,
    MANY_BAD_NONCES = 3,
    CALL_DEADLINE_MS = 4 * 60 * 1000,
    IDLE_WAIT_MS = 1000,
};

enum call_state { CALL_WAITING, CALL_SIGNING, CALL_SENT };

struct order_run;

struct call {
    struct call *next;
    struct courier *courier;
    struct order_run *order; /* NULL: about the account */
    uint32_t id;
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

struct courier {
    int fd;
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

static void call_new(struct courier *courier, struct order_run *order, enum jws_kind kind, int index,
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

static void account_answered(struct courier *courier, const struct http_response *response)
{
    struct msg msg = MSG_INIT(MSG_ACCOUNT_IS);
    struct err err = ERR_INIT;
    if (!url_same_origin(response->location, courier->directory_url)) {
        (void)err_set(&err, ERR_PROTOCOL, NEXT_RETRY_LATER, courier->directory_url,
                      "the CA did not say where the account is (no Location)");
        tell_failed(courier, 0, &err);
        return;
    }
    snprintf(msg.url, sizeof msg.url, "%s", response->location);
    snprintf(msg.text, sizeof msg.text, "%s", "valid");
    msg.number = response->status == 201;
    tell(courier, &msg);
}

/* The call is over: to the flow, or to the keeper. */
static void call_done(struct call *call, const struct http_response *response, const struct err *err)
{
    struct courier *courier = call->courier;
    struct order_run *order = call->order;
    struct flow_event event = {.type = response != NULL ? FLOW_RESPONSE : FLOW_ERROR,
                               .request = call->kind,
                               .index = call->index,
                               .response = response,
                               .err = err};
    call_end(call);
    if (order != NULL)
        step(order, &event);
    else if (response != NULL)
        account_answered(courier, response);
    else
        tell_failed(courier, 0, err);
}

static enum policy_failure classify(const struct http_response *response, const struct problem *problem)
{
    if (strcmp(problem->type, "badNonce") == 0)
        return POLICY_BAD_NONCE;
    if ((response->status == 429 || response->status == 503) && response->retry_after_s >= 0)
        return POLICY_SLOW_DOWN;
    return response->status >= 500 ? POLICY_SERVER : POLICY_FINAL;
}

/* The answer was an error, or there was none: once more, by policy, or the end of the call. */
static void call_failed(struct call *call, enum policy_failure failure, int64_t retry_after_s,
                        struct err *err)
{
    int64_t now_ms = clock_mono_ms();
    struct policy_verdict verdict =
        policy_decide(failure, ++call->failed[failure], retry_after_s, call->deadline_ms - now_ms);
    if (failure == POLICY_BAD_NONCE && call->failed[failure] > MANY_BAD_NONCES)
        session_drop_all(&call->courier->session); /* by now what else we hold is as suspect */
    if (verdict.retry) {
        log_info("the CA's answer to %s: %s; trying again", jws_kind_name(call->kind), err->text);
        call->state = CALL_WAITING;
        call->due_ms = now_ms + verdict.wait_ms;
        return;
    }
    if (err->code == ERR_ACME)
        (void)err_context(err, "the CA refused the request (%s)", jws_kind_name(call->kind));
    /* a person knows the name, and not the URL that the request for it went to */
    if (call->order != NULL && url_valid(err->subject)) {
        log_info("%s: %s", err->subject, err->text);
        snprintf(err->subject, sizeof err->subject, "%s", call->order->flow.names.v[0]);
    }
    call_done(call, NULL, err);
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
        call_failed(call, failure, -1, &err);
        return;
    }
    session_put(&call->courier->session, response->nonce);
    if (response->status >= 200 && response->status <= 299) {
        call_done(call, response, NULL);
        return;
    }
    if (response->status >= 300 && response->status <= 399) {
        (void)err_set(&err, ERR_PROTOCOL, NEXT_RETRY_LATER, call->url,
                      "the CA redirects a signed request elsewhere, which cannot be followed");
        call_failed(call, POLICY_FINAL, -1, &err);
        return;
    }
    problem_parse(response->status, buf_str(&response->body), response->body.len, &problem);
    (void)problem_to_err(&problem, call->url, response->retry_after_s, &err);
    call_failed(call, classify(response, &problem), response->retry_after_s, &err);
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
        call_done(call, NULL, err);
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
    while ((size_t)courier->nonce_fetches < needed && courier->nonce_fetches < MAX_NONCE_FETCHES) {
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
    for (struct call *call = courier->calls; call != NULL; call = call->next)
        in_flight += call->state != CALL_WAITING;
    for (struct call *call = courier->calls; call != NULL; call = call->next) {
        if (call->state != CALL_WAITING || call->due_ms > now_ms || in_flight >= MAX_IN_FLIGHT)
            continue;
        in_flight++;
        if (session_take(&courier->session, nonce))
            call_ask_signature(call, nonce);
        else
            needed++;
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
    struct msg msg = MSG_INIT(MSG_CERTIFICATE);
    msg.id = run->id;
    msg.body = run->flow.pem; /* lent for the call */
    tell(run->courier, &msg);
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
        msg.number2 = action->challenge;
        snprintf(msg.name, sizeof msg.name, "%s", action->name);
        snprintf(msg.token, sizeof msg.token, "%s", action->token);
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

static void directory_ready(struct courier *courier, const struct buf *fetched)
{
    struct msg msg = MSG_INIT(MSG_DIRECTORY);
    courier->directory_known = true;
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
    run->courier = courier;
    run->id = msg->id;
    flow_init(&run->flow, &names, courier->directory_url, courier->directory.new_order, msg->url,
              (enum challenge_type)msg->number);
    run->next = courier->orders;
    courier->orders = run;
    step(run, &start);
}

static void signed_or_refused(struct courier *courier, const struct msg *msg)
{
    struct call *call = call_find(courier, msg->id, CALL_SIGNING);
    if (call == NULL)
        return;
    if (msg->type == MSG_REFUSED) {
        call_done(call, NULL, &msg->err);
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

static void handle(struct courier *courier, const struct msg *msg)
{
    if ((msg->type == MSG_ACCOUNT || msg->type == MSG_ORDER) && !courier->directory_known) {
        wait_for_directory(courier, msg);
        return;
    }
    switch (msg->type) {
    case MSG_CA:
        set_ca(courier, msg);
        break;
    case MSG_ACCOUNT:
        if (msg->number == JWS_NEW_ACCOUNT || msg->number == JWS_FIND_ACCOUNT)
            call_new(courier, NULL, (enum jws_kind)msg->number, FLOW_ORDER_INDEX,
                     courier->directory.new_account);
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
        if (!outbox_flush(&courier->outbox, fd))
            leave(courier, 0);
        if (http_wait(courier->http, fd, next_wait_ms(courier)))
            receive(courier);
    }
}
