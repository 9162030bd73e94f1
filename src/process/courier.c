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
#include "courier_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/policy.h"
#include "tlsup/roles.h"
#include "tlsup/sandbox.h"

enum { IDLE_WAIT_MS = 1000 };

NORETURN void courier_leave(struct courier *courier, int status)
{
    if (courier->http != NULL) {
        struct http_stats stats;
        http_stats_get(courier->http, &stats);
        log_info("the CA was asked %lld times over %lld connection%s", (long long)stats.requests,
                 (long long)stats.connections, stats.connections == 1 ? "" : "s");
    }
    _exit(status);
}

/* -- to the keeper -------------------------------------------------------------------------------------- */

void courier_tell(struct courier *courier, const struct msg *msg)
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
        courier_leave(courier, 1);
}

void courier_tell_failed(struct courier *courier, uint32_t id, const struct err *err)
{
    struct msg msg = MSG_INIT(MSG_FAILED);
    msg.id = id;
    msg.err = *err;
    courier_tell(courier, &msg);
}

void courier_tell_clock(struct courier *courier, const struct http_response *response)
{
    struct msg msg = MSG_INIT(MSG_CLOCK);
    if (courier->clock_told || response == NULL || !response->dated || response->stored)
        return;
    courier->clock_told = true;
    msg.number = response->ahead_s;
    courier_tell(courier, &msg);
}

/* -- the directory -------------------------------------------------------------------------------------- */

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
    courier_tell(courier, &msg);
    msg_clear(&msg);
}

static void directory_ready(struct courier *courier, const struct buf *fetched)
{
    struct msg msg = MSG_INIT(MSG_DIRECTORY);
    courier->directory_known = true;
    log_info("the CA's directory is known: %s%s", courier->directory_url,
             fetched != NULL ? "" : " (from an earlier run)");
    tell_what_it_has(courier);
    if (fetched != NULL && fetched->len < MSG_MAX_BYTES / 2)
        buf_add(&msg.body, fetched->data, fetched->len);
    snprintf(msg.url, sizeof msg.url, "%s", courier->directory.new_account);
    snprintf(msg.text, sizeof msg.text, "%.*s", (int)sizeof msg.text - 1, courier->directory.terms);
    msg.number = courier->directory.external_account_required;
    courier_tell(courier, &msg);
    msg_clear(&msg);
    courier_fetch_nonces(courier, 1); /* while the keeper makes up its mind */
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
    courier_tell_failed(courier, 0, err);
}

static void on_directory(void *ctx, const struct http_response *response, const struct err *transport)
{
    struct courier *courier = ctx;
    struct err err = ERR_INIT;
    struct problem problem;
    courier_tell_clock(courier, response);
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
    courier_pace_init(&courier->requests, courier->ca->requests_s, courier->ca->requests_s);
    courier_pace_init(&courier->new_nonces, courier->ca->new_nonces_s, courier->ca->new_nonces_burst);
    if (msg->body.len > 0 && directory_parse(courier->directory_url, buf_str(&msg->body), msg->body.len,
                                             &courier->directory, &ignored))
        directory_ready(courier, NULL);
    else
        fetch_directory(courier);
}

/* -- the keeper's own calls ----------------------------------------------------------------------------- */

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
        courier_call_refused(courier, msg->id, NULL, &err);
        return;
    }
    courier_call_new(courier, NULL, (enum jws_kind)msg->number, FLOW_ORDER_INDEX, url)->asked_as = msg->id;
}

/* -- from the keeper ------------------------------------------------------------------------------------ */

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
        courier_begin_ari(courier, msg);
        break;
    case MSG_EAB_FETCH:
        courier_fetch_credentials(courier, msg);
        break;
    case MSG_ORDER:
        courier_begin_order(courier, msg);
        break;
    case MSG_SIGNED:
    case MSG_REFUSED:
        courier_signed(courier, msg);
        break;
    case MSG_PRESENTED:
    case MSG_NOT_PRESENTED:
        courier_presented(courier, msg);
        break;
    case MSG_CANCEL:
        courier_cancel(courier, msg);
        break;
    case MSG_FETCHED:
        log_info("the proof was fetched from %s", msg->text);
        for (struct order_run *run = courier->orders; run != NULL; run = run->next) {
            struct flow_event event = {.type = FLOW_FETCHED, .token = msg->token};
            courier_step(run, &event);
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
            courier_leave(courier, 0); /* the keeper has ended, and so do we */
        if (got == 0)
            return;
        handle(courier, &msg);
        msg_clear(&msg);
    }
}

/* -- the loop ------------------------------------------------------------------------------------------- */

/* Milliseconds until something is due by itself. */
static int next_wait_ms(const struct courier *courier)
{
    int64_t now_ms = clock_mono_ms(), due_ms = now_ms + IDLE_WAIT_MS;
    if (courier->outbox.n > 0)
        return 5;
    for (const struct call *call = courier->calls; call != NULL; call = call->next)
        if (call->state == CALL_WAITING && call->due_ms > now_ms)
            due_ms = courier_sooner(due_ms, call->due_ms);
    if (courier->nonce_due_ms > now_ms)
        due_ms = courier_sooner(due_ms, courier->nonce_due_ms);
    due_ms = courier_ari_due_ms(courier, due_ms);
    if (courier->pause_ms > now_ms)
        due_ms = courier_sooner(due_ms, courier->pause_ms);
    if (courier_pace_wait_ms(&courier->requests) > 0)
        due_ms = courier_sooner(due_ms, now_ms + courier_pace_wait_ms(&courier->requests));
    if (courier_pace_wait_ms(&courier->new_nonces) > 0)
        due_ms = courier_sooner(due_ms, now_ms + courier_pace_wait_ms(&courier->new_nonces));
    if (courier->directory_due_ms > 0)
        due_ms = courier_sooner(due_ms, courier->directory_due_ms);
    due_ms = courier_orders_due_ms(courier, due_ms);
    return due_ms > now_ms ? (int)(due_ms - now_ms) : 0;
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
        courier_fire_timers(courier);
        courier_move_calls(courier);
        courier_move_ari(courier);
        if (!outbox_flush(&courier->outbox, fd))
            courier_leave(courier, 0);
        if (http_wait(courier->http, fd, next_wait_ms(courier)))
            receive(courier);
    }
}
