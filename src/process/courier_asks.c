/*
 * What the courier asks without a signature: renewal information (RFC 9773), and credentials for external
 * account binding.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "courier_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "tlsup/ari.h"
#include "tlsup/b64.h"
#include "tlsup/clock.h"
#include "tlsup/mem.h"
#include "tlsup/problem.h"

/* -- renewal information: unauthenticated, RFC 9773 ----------------------------------------------------- */

static void ari_failed(struct ari_query *query, bool temporary, const struct err *err)
{
    struct msg msg = {.type = MSG_ARI_FAILED, .id = query->id, .number = temporary, .err = *err};
    courier_tell(query->courier, &msg);
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
    courier_tell(query->courier, &msg);
    free(query);
}

void courier_move_ari(struct courier *courier)
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
        if (!courier_pace_take(&courier->requests))
            return;
        *link = query->next;
        courier->ari_in_flight++;
        http_start(courier->http, HTTP_GET, query->url, NULL, 0, on_ari, query);
    }
}

void courier_begin_ari(struct courier *courier, const struct msg *msg)
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

int64_t courier_ari_due_ms(const struct courier *courier, int64_t due_ms)
{
    int64_t now_ms = clock_mono_ms();
    for (const struct ari_query *query = courier->ari_waiting; query != NULL; query = query->next)
        if (courier->ari_in_flight < ARI_IN_FLIGHT && query->due_ms > now_ms)
            due_ms = courier_sooner(due_ms, query->due_ms);
    return due_ms;
}

/* -- credentials for external account binding, for an e-mail address ------------------------------------ */

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
        courier_tell_failed(courier, 0, transport);
        return;
    }
    json_t *body = json_loadb(buf_str(&response->body), response->body.len, JSON_REJECT_DUPLICATES, &ignored);
    const char *kid = json_string_value(json_object_get(body, "eab_kid"));
    const char *key = json_string_value(json_object_get(body, "eab_hmac_key"));
    if (response->status == 200 && kid != NULL && key != NULL && strlen(kid) < 256 &&
        b64url_valid(key, 128)) {
        snprintf(msg.text, sizeof msg.text, "%s", kid);
        snprintf(msg.token, sizeof msg.token, "%s", key);
        courier_tell(courier, &msg);
    } else {
        const char *why = json_string_value(json_object_get(json_object_get(body, "error"), "type"));
        (void)err_set(&err, ERR_ACME, NEXT_FIX_CONFIG, courier->directory_url,
                      "the CA gave no credentials for this e-mail address: %.200s (HTTP status %d)",
                      why != NULL ? why : "no reason said", response->status);
        (void)err_advise(&err, "get them on its web site, and give them with --eab-kid and --eab-hmac-key");
        courier_tell_failed(courier, 0, &err);
    }
    json_decref(body);
}

void courier_fetch_credentials(struct courier *courier, const struct msg *msg)
{
    AUTO_BUF form = BUF_INIT;
    buf_adds(&form, "email=");
    form_encode(&form, msg->text);
    http_start(courier->http, HTTP_POST_FORM, msg->url, buf_str(&form), form.len, on_credentials, courier);
}
