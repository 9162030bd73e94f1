/*
 * The courier's orders: one struct flow each; its actions carried out, its timers fired.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "courier_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

static void carry_out(struct order_run *run, struct flow_actions *actions);

void courier_step(struct order_run *run, const struct flow_event *event)
{
    struct flow_actions actions = {0};
    struct flow_event timed = *event;
    timed.now_ms = clock_mono_ms();
    flow_step(&run->flow, &timed, &actions);
    carry_out(run, &actions);
    flow_actions_clear(&actions);
}

struct order_run *courier_order_find(struct courier *courier, uint32_t id)
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
        courier_tell(run->courier, &msg);
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
        courier_tell(run->courier, &run->held[i]);
    run->n_held = 0;
}

static void carry_out_one(struct order_run *run, const struct flow_action *action)
{
    struct courier *courier = run->courier;
    struct msg msg = {.id = run->id, .number = action->index};
    switch (action->type) {
    case FLOW_REQUEST:
        courier_call_new(courier, run, action->request, action->index, action->url);
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
            courier_tell(courier, &msg);
        break;
    case FLOW_NAME_FAILED:
        msg.type = MSG_NAME_FAILED;
        msg.err = action->err;
        snprintf(msg.name, sizeof msg.name, "%s", action->name);
        courier_tell(courier, &msg);
        break;
    case FLOW_SET_TIMER:
        *timer_of(run, action->index) = (struct timer){true, clock_mono_ms() + action->wait_ms};
        break;
    case FLOW_ORDER_URL:
        msg.type = MSG_ORDER_URL;
        snprintf(msg.url, sizeof msg.url, "%s", action->url);
        courier_tell(courier, &msg);
        break;
    case FLOW_FINISHED:
        tell_certificate(run);
        break;
    case FLOW_GAVE_UP:
        courier_tell_failed(courier, run->id, &run->flow.err);
        break;
    }
}

/* -v: what the CA is asked, and what it says. */
static void say(const struct order_run *run, const struct flow_action *action)
{
    const char *name = run->flow.names.n > 0 ? run->flow.names.v[0] : "";
    if (action->type == FLOW_ORDER_URL && action->url[0] != '\0')
        log_info("%s: the CA has taken the order: %s", name, action->url);
    else if (action->type == FLOW_PRESENT)
        log_info("%s: the CA wants proof that it is ours, and will look for it by %s", action->name,
                 challenge_type_name(action->challenge));
    else if (action->type == FLOW_CLEANUP)
        log_info("%s: the CA has looked: %s", action->name[0] != '\0' ? action->name : name,
                 action->failed ? "no proof" : "proven");
    else if (action->type == FLOW_FINISHED)
        log_info("%s: the certificate is here", name);
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
    log_info("%s: %s", run->flow.names.n > 0 ? run->flow.names.v[0] : "", words[state]);
    msg.id = run->id;
    msg.number = state;
    snprintf(msg.text, sizeof msg.text, "%s", words[state]);
    courier_tell(run->courier, &msg);
}

static void carry_out(struct order_run *run, struct flow_actions *actions)
{
    for (size_t i = 0; i < actions->n; i++) {
        say(run, &actions->v[i]);
        carry_out_one(run, &actions->v[i]);
    }
    tell_held(run);
    tell_progress(run);
}

static void fire_timer(struct order_run *run, struct timer *timer, int index, int64_t now_ms)
{
    struct flow_event event = {.type = FLOW_TIMER, .index = index};
    if (!timer->set || timer->due_ms > now_ms)
        return;
    timer->set = false;
    courier_step(run, &event);
}

void courier_fire_timers(struct courier *courier)
{
    int64_t now_ms = clock_mono_ms();
    for (struct order_run *run = courier->orders; run != NULL; run = run->next) {
        fire_timer(run, &run->order_timer, FLOW_ORDER_INDEX, now_ms);
        for (size_t i = 0; i < run->n_timers; i++)
            fire_timer(run, &run->timers[i], (int)i, now_ms);
    }
}

void courier_begin_order(struct courier *courier, const struct msg *msg)
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
    courier_step(run, &start);
    /* its authorizations are all read at once: the nonces come while it is made */
    if (courier->session.n < names.n)
        courier_fetch_nonces(courier, names.n - courier->session.n);
}

void courier_presented(struct courier *courier, const struct msg *msg)
{
    struct order_run *run = courier_order_find(courier, msg->id);
    struct flow_event event = {.type = msg->type == MSG_PRESENTED ? FLOW_PRESENTED : FLOW_NOT_PRESENTED,
                               .index = (int)msg->number,
                               .err = &msg->err};
    if (run != NULL && msg->number >= 0 && msg->number < ORDER_MAX_AUTHORIZATIONS)
        courier_step(run, &event);
}

void courier_cancel(struct courier *courier, const struct msg *msg)
{
    struct order_run *run = courier_order_find(courier, msg->id);
    struct flow_event event = {.type = FLOW_ABORT, .err = &msg->err};
    if (run != NULL)
        courier_step(run, &event);
}

int64_t courier_orders_due_ms(const struct courier *courier, int64_t due_ms)
{
    for (const struct order_run *run = courier->orders; run != NULL; run = run->next) {
        if (run->order_timer.set)
            due_ms = courier_sooner(due_ms, run->order_timer.due_ms);
        for (size_t i = 0; i < run->n_timers; i++)
            if (run->timers[i].set)
                due_ms = courier_sooner(due_ms, run->timers[i].due_ms);
    }
    return due_ms;
}
