/*
 * The courier's calls: signed requests. A call goes  WAITING (for a nonce) -> SIGNING (at the keeper) -> SENT
 * -> done, or back to WAITING after a pause; in the pace that the CA bears.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "courier_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/policy.h"

/* -- the pace ------------------------------------------------------------------------------------------- */

void courier_pace_init(struct pace *pace, int per_s, int burst)
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

bool courier_pace_take(struct pace *pace)
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
int64_t courier_pace_wait_ms(const struct pace *pace)
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

/* -- calls ---------------------------------------------------------------------------------------------- */

struct call *courier_call_new(struct courier *courier, struct order_run *order, enum jws_kind kind, int index,
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

bool courier_same_origin(const struct courier *courier, const char *url)
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
    if (courier_same_origin(courier, response->location))
        snprintf(msg.url, sizeof msg.url, "%s", response->location);
    snprintf(msg.text, sizeof msg.text, "%.60s", status != NULL ? status : "");
    json_decref(body);
    courier_tell(courier, &msg);
}

void courier_call_refused(struct courier *courier, uint32_t asked_as, const char *location,
                          const struct err *err)
{
    struct msg msg = {.type = MSG_CALL_FAILED, .id = asked_as, .err = *err};
    if (location != NULL && courier_same_origin(courier, location))
        snprintf(msg.url, sizeof msg.url, "%s", location);
    courier_tell(courier, &msg);
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
        courier_step(order, &event);
    else if (err == NULL)
        call_granted(courier, asked_as, response);
    else
        courier_call_refused(courier, asked_as, response != NULL ? response->location : NULL, err);
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
    courier_tell(call->courier, &msg);
}

/* -- nonces --------------------------------------------------------------------------------------------- */

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
    courier_tell_clock(courier, response);
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

void courier_fetch_nonces(struct courier *courier, size_t needed)
{
    if (clock_mono_ms() < courier->nonce_due_ms)
        return;
    while ((size_t)courier->nonce_fetches < needed && courier->nonce_fetches < MAX_NONCE_FETCHES &&
           courier_pace_take(&courier->new_nonces)) {
        courier->nonce_fetches++;
        http_start(courier->http, HTTP_HEAD, courier->directory.new_nonce, NULL, 0, on_nonce, courier);
    }
}

/* Give nonces to the calls whose time has come; fetch more where they do not suffice. */
void courier_move_calls(struct courier *courier)
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
        else if (!courier_pace_take(&courier->requests))
            break;
        else if (session_take(&courier->session, nonce))
            call_ask_signature(call, nonce);
    }
    if (needed > 0)
        courier_fetch_nonces(courier, needed);
}

void courier_signed(struct courier *courier, const struct msg *msg)
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
