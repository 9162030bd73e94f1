/*
 * The keeper: opening and closing, what is signed and for whom, and the loop.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "keeper_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "payload.h"
#include "tlsup/b64.h"
#include "tlsup/clock.h"
#include "tlsup/directory.h"
#include "tlsup/fs.h"
#include "tlsup/jws.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0"
#endif

enum {
    MAX_CA_BUNDLE_BYTES = 1 << 20,
    SILENCE_LIMIT_MS = 6 * 60 * 1000, /* longer than any of the courier's own deadlines */
    TICK_MS = 100,
    CLOCK_SLACK_S = 5 * 60,
};

/* -- opening and closing -------------------------------------------------------------------------------- */

static bool start_courier(struct keeper *keeper, struct err *err)
{
    static const char agent[] = "tlsup/" PACKAGE_VERSION " (ACME client)";
    const struct keeper_options *options = &keeper->options;
    keeper->http = (struct http_options){.user_agent = agent,
                                         .proxy = options->proxy,
                                         .ip_version = options->ip_version,
                                         .interface = options->interface,
                                         .timeout_s = options->timeout_s};
    if (options->ca_bundle != NULL) {
        if (!fs_read(options->ca_bundle, MAX_CA_BUNDLE_BYTES, &keeper->ca_pem, err))
            return err_context(err, "the CA certificates to trust (--ca-bundle)");
        if (strstr(buf_str(&keeper->ca_pem), "-----BEGIN CERTIFICATE-----") == NULL) {
            err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, options->ca_bundle,
                    "there is no PEM certificate in it");
            return err_advise(
                err, "--ca-bundle takes a file of PEM certificates, the roots of the CA's own HTTPS");
        }
        keeper->http.ca_pem = buf_str(&keeper->ca_pem);
        keeper->http.ca_pem_len = keeper->ca_pem.len;
        keeper->http.ca_name = options->ca_bundle;
    }
    return role_start_courier(&keeper->http, &keeper->courier, err);
}

bool keeper_open(struct store *store, const struct keeper_options *options, struct keeper **out,
                 struct err *err)
{
    struct keeper *keeper = mem_alloc(sizeof *keeper);
    keeper->store = store;
    keeper->options = *options;
    keeper->ca_url = mem_dup(options->ca_url);
    keeper->account_name = mem_dup(options->account);
    keeper->courier = (struct role)ROLE_INIT;
    if (!start_courier(keeper, err)) {
        keeper_close(keeper);
        return false;
    }
    *out = keeper;
    return true;
}

void keeper_close(struct keeper *keeper)
{
    if (keeper == NULL)
        return;
    role_stop(&keeper->courier);
    presenter_free(keeper->presenter);
    key_free(keeper->account_key);
    strlist_clear(&keeper->profiles);
    strlist_clear(&keeper->caa);
    buf_clear(&keeper->ca_pem);
    free(keeper->ca_url);
    free(keeper->account_name);
    free(keeper);
}

/* Tell the courier which CA it is for, with the directory as we know it. */
bool keeper_begin(struct keeper *keeper, struct err *err)
{
    struct msg msg = MSG_INIT(MSG_CA);
    int64_t fetched_s = 0;
    if (keeper->introduced)
        return true;
    snprintf(msg.url, sizeof msg.url, "%s", keeper->ca_url);
    store_directory_load(keeper->store, keeper->ca_url, &msg.body, &fetched_s);
    int64_t age_s = clock_now_s() - fetched_s;
    if (age_s < 0 || age_s > DIRECTORY_CACHE_S || msg.body.len > MSG_MAX_BYTES / 2)
        buf_clear(&msg.body);
    keeper->introduced = msg_send(keeper->courier.fd, &msg, err);
    msg_clear(&msg);
    return keeper->introduced;
}

bool keeper_load_key(struct keeper *keeper, struct err *err)
{
    return keeper->account_key != NULL ||
           (store_account_key(keeper->store, keeper->ca_url, keeper->account_name, true, &keeper->account_key,
                              err) &&
            key_thumbprint(keeper->account_key, keeper->thumbprint, err));
}

bool keeper_thumbprint(struct keeper *keeper, char out[KEY_THUMBPRINT_BYTES], struct err *err)
{
    if (!keeper_load_key(keeper, err))
        return false;
    memcpy(out, keeper->thumbprint, KEY_THUMBPRINT_BYTES);
    return true;
}

void keeper_say(const struct keeper *keeper, const struct job *job, const char *text)
{
    if (keeper->options.progress != NULL)
        keeper->options.progress(keeper->options.ctx, job, text);
}

/* -- signing -------------------------------------------------------------------------------------------- */

enum signer { BY_ACCOUNT, BY_ACCOUNT_JWK, BY_OTHER_JWK };

/* Who signs which kind of request; only the first form names the account. */
static enum signer signer_of(const struct keeper *keeper, enum jws_kind kind)
{
    switch (kind) {
    case JWS_REVOKE_BY_KEY:
        return BY_OTHER_JWK;
    case JWS_FIND_ACCOUNT:
        return keeper->call.other_key != NULL ? BY_OTHER_JWK : BY_ACCOUNT_JWK;
    case JWS_NEW_ACCOUNT:
        return BY_ACCOUNT_JWK;
    default:
        return BY_ACCOUNT;
    }
}

static bool new_account_payload(const struct keeper *keeper, const char *url, struct buf *out,
                                struct err *err)
{
    const struct keeper_call *call = &keeper->call;
    AUTO_BUF binding = BUF_INIT;
    bool bound = call->eab_kid != NULL;
    if (bound && !jws_external_account(keeper->account_key, url, call->eab_kid, call->eab_hmac_key,
                                       call->eab_alg, &binding, err))
        return false;
    payload_new_account(call->email, call->agree_tos, bound ? buf_str(&binding) : NULL, out);
    return true;
}

static bool make_payload(struct keeper *keeper, const struct msg *request, struct buf *out, struct err *err)
{
    const struct keeper_call *call = &keeper->call;
    enum jws_kind kind = (enum jws_kind)request->number;
    size_t part;
    switch (kind) {
    case JWS_NEW_ACCOUNT:
        return new_account_payload(keeper, request->url, out, err);
    case JWS_FIND_ACCOUNT:
        payload_find_account(out);
        return true;
    case JWS_READ:
        return true;
    case JWS_RESPOND:
        buf_adds(out, "{}");
        return true;
    case JWS_UPDATE_ACCOUNT:
        payload_update_account(call->email, call->agree_tos, out);
        return true;
    case JWS_DEACTIVATE:
        payload_deactivate(out);
        return true;
    case JWS_KEY_CHANGE:
        return jws_key_change(call->other_key, keeper->account_key, request->url, keeper->account.url, out,
                              err);
    case JWS_REVOKE:
    case JWS_REVOKE_BY_KEY:
        payload_revoke(call->cert_der, call->reason, out);
        return true;
    default:
        break;
    }
    struct job *job = keeper_job(keeper, request->number2, &part);
    if (job == NULL || job->over)
        return err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, NULL,
                       "a signature was refused: there is no such order");
    return keeper_order_payload(keeper, kind, job, part, out, err);
}

/* May this be signed at all? Everything in `msg` comes from the process that talks to the network. */
static bool may_sign(const struct keeper *keeper, const struct msg *msg, struct err *err)
{
    bool known = msg->number >= 0 && msg->number < JWS_KINDS;
    if (!known || (keeper->grants & GRANT((unsigned)msg->number)) == 0)
        return err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, NULL,
                       "a signature was refused: this command has no use for it");
    if (!url_valid(msg->url) || !url_same_origin(msg->url, keeper->ca_url))
        return err_set(err, ERR_PROTOCOL, NEXT_REFUSED, keeper->ca_url,
                       "a signature was refused: \"%.300s\" is not at the CA's own address", msg->url);
    if (!b64url_valid(msg->nonce, sizeof msg->nonce - 1))
        return err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, NULL, "a signature was refused: the nonce is none");
    return true;
}

static bool sign(struct keeper *keeper, const struct msg *request, struct buf *jws, struct err *err)
{
    AUTO_BUF payload = BUF_INIT;
    if (!may_sign(keeper, request, err))
        return false;
    enum signer signer = signer_of(keeper, (enum jws_kind)request->number);
    const struct key *key = signer == BY_OTHER_JWK ? keeper->call.other_key : keeper->account_key;
    struct jws_header header = {.url = request->url,
                                .nonce = request->nonce,
                                .kid = signer == BY_ACCOUNT ? keeper->account.url : NULL};
    if (key == NULL || (signer == BY_ACCOUNT && keeper->account.url[0] == '\0'))
        return err_set(err, ERR_INTERNAL, NEXT_LOCAL_FAULT, NULL, "there is no account to sign for");
    return make_payload(keeper, request, &payload, err) &&
           jws_sign(key, &header, buf_str(&payload), payload.len, jws, err);
}

static bool on_sign(struct keeper *keeper, const struct msg *request, struct err *err)
{
    struct msg answer = {.type = MSG_SIGNED, .id = request->id};
    if (!sign(keeper, request, &answer.body, &answer.err)) {
        answer.type = MSG_REFUSED;
        log_debug("not signed: %s", answer.err.text);
    }
    bool ok = msg_send(keeper->courier.fd, &answer, err);
    msg_clear(&answer);
    return ok;
}

/* -- what the courier tells ----------------------------------------------------------------------------- */

static void on_ca_has(struct keeper *keeper, const struct msg *msg)
{
    AUTO_STRLIST lines = STRLIST_INIT;
    strlist_split(&lines, buf_str(&msg->body), "\n");
    for (size_t i = 0; i < lines.n; i++) {
        char *value = strchr(lines.v[i], ' ');
        if (value == NULL)
            continue;
        *value++ = '\0';
        printable(value);
        struct strlist *list = strcmp(lines.v[i], "profile") == 0 ? &keeper->profiles
                               : strcmp(lines.v[i], "caa") == 0   ? &keeper->caa
                                                                  : NULL;
        if (list != NULL)
            strlist_add(list, value);
        else if (strcmp(lines.v[i], "hash-prefix") == 0)
            snprintf(keeper->hash_prefix, sizeof keeper->hash_prefix, "%s", value);
        else if (strcmp(lines.v[i], "renewal-info") == 0)
            keeper->has_renewal_info = true;
    }
}

static void on_directory(struct keeper *keeper, const struct msg *msg)
{
    struct err err = ERR_INIT;
    keeper->directory_known = true;
    keeper->external_account_required = msg->number != 0;
    snprintf(keeper->terms, sizeof keeper->terms, "%.*s", (int)sizeof keeper->terms - 1, msg->text);
    if (msg->body.len > 0 && !store_directory_save(keeper->store, keeper->ca_url, buf_str(&msg->body),
                                                   msg->body.len, clock_now_s(), &err))
        log_warn("the CA's directory could not be kept for later: %s", err.text);
}

static void on_called(struct keeper *keeper, const struct msg *msg)
{
    struct keeper_call *call = &keeper->call;
    if (msg->id == 0 || msg->id != call->id || call->over)
        return;
    call->over = true;
    call->granted = msg->type == MSG_CALLED;
    call->status = (int)msg->number;
    call->err = msg->err;
    snprintf(call->text, sizeof call->text, "%.*s", (int)sizeof call->text - 1, msg->text);
    bool ours = url_valid(msg->url) && url_same_origin(msg->url, keeper->ca_url);
    snprintf(call->url, sizeof call->url, "%s", ours ? msg->url : "");
}

static void on_credentials(struct keeper *keeper, const struct msg *msg)
{
    snprintf(keeper->eab_kid, sizeof keeper->eab_kid, "%.*s", (int)sizeof keeper->eab_kid - 1, msg->text);
    snprintf(keeper->eab_hmac_key, sizeof keeper->eab_hmac_key, "%s", msg->token);
    keeper->credentials_known = true;
}

static void on_ari(struct keeper *keeper, const struct msg *msg)
{
    if (msg->id < 1 || msg->id > keeper->n_queries || keeper->queries[msg->id - 1].over)
        return;
    struct ari_query *query = &keeper->queries[msg->id - 1];
    query->over = true;
    query->ok = msg->type == MSG_ARI_IS && msg->number2 > msg->number;
    query->window = (struct ari_window){.start_s = msg->number, .end_s = msg->number2};
    query->retry_after_s = strtoll(msg->text, NULL, 10);
    query->temporary = msg->type == MSG_ARI_FAILED && msg->number != 0;
    query->err = msg->err;
    bool shown = strncmp(msg->url, "https://", 8) == 0 && url_valid(msg->url);
    snprintf(query->window.explanation_url, sizeof query->window.explanation_url, "%s",
             shown ? msg->url : "");
}

/* Once a run, whatever the number of CAs: the clock is one. */
static void on_clock(const struct keeper *keeper, const struct msg *msg)
{
    static bool told;
    char host[URL_MAX_BYTES], span[CLOCK_TEXT_BYTES];
    int64_t ahead_s = msg->number;
    const char *ca = url_authority(keeper->ca_url, host, sizeof host) ? host : keeper->ca_url;
    if (ahead_s <= CLOCK_SLACK_S && ahead_s >= -CLOCK_SLACK_S) {
        log_info("the clock of this machine agrees with that of the CA (%s): %+lld s", ca,
                 (long long)ahead_s);
        return;
    }
    if (!told)
        log_warn("the clock of this machine is %s %s that of the CA (%s). Certificates may seem %s, and "
                 "renewals go by the clock: set it, and have NTP keep it right (chrony, systemd-timesyncd or "
                 "ntpd)",
                 clock_format_span(ahead_s, span), ahead_s > 0 ? "ahead of" : "behind", ca,
                 ahead_s > 0 ? "to expire before their time" : "not to be valid yet");
    told = true;
}

static bool handle_courier(struct keeper *keeper, const struct msg *msg, struct err *err)
{
    size_t part;
    switch (msg->type) {
    case MSG_CA_HAS:
        on_ca_has(keeper, msg);
        return true;
    case MSG_DIRECTORY:
        on_directory(keeper, msg);
        return true;
    case MSG_CLOCK:
        on_clock(keeper, msg);
        return true;
    case MSG_CALLED:
    case MSG_CALL_FAILED:
        on_called(keeper, msg);
        return true;
    case MSG_EAB_IS:
        on_credentials(keeper, msg);
        return true;
    case MSG_ARI_IS:
    case MSG_ARI_FAILED:
        on_ari(keeper, msg);
        return true;
    case MSG_SIGN:
        return on_sign(keeper, msg, err);
    case MSG_ORDER_URL:
        keeper_on_order_url(keeper, msg);
        return true;
    case MSG_PRESENT:
        return keeper_on_present(keeper, msg, err);
    case MSG_CLEANUP:
        keeper_on_cleanup(keeper, msg);
        return true;
    case MSG_NAME_FAILED:
        keeper_on_name_failed(keeper, msg);
        return true;
    case MSG_PROGRESS:
        keeper_say(keeper, keeper_job(keeper, msg->id, &part), msg->text);
        return true;
    case MSG_CERTIFICATE:
        keeper_on_certificate(keeper, msg);
        return true;
    case MSG_FAILED:
        keeper_on_failed(keeper, msg);
        return true;
    default:
        return true;
    }
}

/* -- the loop ------------------------------------------------------------------------------------------- */

/* Everything that has come from one child. */
static bool drain(struct keeper *keeper, int fd, enum msg_role from, bool *heard, struct err *err)
{
    for (;;) {
        struct msg msg = {0};
        int got = msg_receive(fd, from, &msg, err);
        if (got <= 0)
            return got == 0;
        *heard = true;
        bool ok = true;
        if (from == MSG_FROM_COURIER)
            ok = handle_courier(keeper, &msg, err);
        else if (msg.type == MSG_FETCHED)
            ok = msg_send(keeper->courier.fd, &msg, err);
        msg_clear(&msg);
        if (!ok)
            return false;
    }
}

static bool wait_for_children(struct keeper *keeper, struct pollfd fds[3], struct err *err)
{
    struct pollfd all[3 + PRESENTER_FDS];
    size_t n = 3;
    int wait_ms = TICK_MS;
    memcpy(all, fds, 3 * sizeof *fds);
    if (keeper->presenter != NULL) {
        int presenter_ms = presenter_timeout_ms(keeper->presenter);
        n += presenter_pollfds(keeper->presenter, all + 3);
        wait_ms = presenter_ms >= 0 && presenter_ms < wait_ms ? presenter_ms : wait_ms;
    }
    if (poll(all, n, wait_ms) < 0 && errno != EINTR)
        return err_errno(err, errno, NULL, "cannot wait for our own processes");
    memcpy(fds, all, 3 * sizeof *fds);
    return true;
}

bool keeper_serve(struct keeper *keeper, keeper_until_fn *until, struct err *err)
{
    int64_t heard_ms = clock_mono_ms();
    struct role *responder = keeper->options.responder;
    while (!until(keeper)) {
        bool heard = false;
        struct pollfd fds[3] = {
            {.fd = keeper->courier.fd, .events = POLLIN},
            {.fd = responder != NULL ? responder->fd : -1, .events = POLLIN},
            {.fd = signals_fd(), .events = POLLIN},
        };
        if (signals_interrupted(err))
            return false;
        if (keeper->options.tick != NULL)
            keeper->options.tick(keeper->options.ctx);
        if (!wait_for_children(keeper, fds, err))
            return false;
        if (keeper->presenter != NULL)
            heard = presenter_step(keeper->presenter) || presenter_busy(keeper->presenter);
        if ((fds[1].revents != 0 && !drain(keeper, responder->fd, MSG_FROM_RESPONDER, &heard, err)) ||
            (fds[0].revents != 0 && !drain(keeper, keeper->courier.fd, MSG_FROM_COURIER, &heard, err)))
            return false;
        if (err_isset(&keeper->ca_err)) {
            *err = keeper->ca_err;
            return false;
        }
        if (heard)
            heard_ms = clock_mono_ms();
        if (clock_mono_ms() - heard_ms > SILENCE_LIMIT_MS)
            return err_set(err, ERR_CHILD, NEXT_RETRY_LATER, keeper->ca_url,
                           "the process that talks to the CA has fallen silent");
    }
    return true;
}

static bool directory_is_known(const struct keeper *keeper)
{
    return keeper->directory_known;
}

bool keeper_directory(struct keeper *keeper, struct err *err)
{
    return keeper_begin(keeper, err) && keeper_serve(keeper, directory_is_known, err);
}

static bool call_is_over(const struct keeper *keeper)
{
    return keeper->call.over;
}

bool keeper_call(struct keeper *keeper, enum jws_kind kind, const char *url, struct err *err)
{
    struct msg msg = {.type = MSG_CALL, .number = kind};
    struct keeper_call *call = &keeper->call;
    snprintf(msg.url, sizeof msg.url, "%s", url);
    msg.id = call->id = ++keeper->last_call;
    call->over = call->granted = false;
    err_clear(&call->err);
    keeper->grants = GRANT(kind);
    bool ok = keeper_begin(keeper, err) && msg_send(keeper->courier.fd, &msg, err) &&
              keeper_serve(keeper, call_is_over, err);
    keeper->grants = 0;
    call->id = 0;
    if (ok && !call->granted) {
        *err = call->err;
        return false;
    }
    return ok;
}

/* -- renewal information -------------------------------------------------------------------------------- */

static bool queries_are_over(const struct keeper *keeper)
{
    if (clock_mono_ms() >= keeper->queries_deadline_ms)
        return true;
    for (size_t i = 0; i < keeper->n_queries; i++)
        if (!keeper->queries[i].over)
            return false;
    return true;
}

bool keeper_renewal_info(struct keeper *keeper, struct ari_query *queries, size_t n, int timeout_ms,
                         struct err *err)
{
    bool ok = keeper_begin(keeper, err);
    keeper->queries_deadline_ms = clock_mono_ms() + timeout_ms;
    for (size_t i = 0; i < n; i++) {
        struct msg msg = {.type = MSG_ARI, .id = (uint32_t)i + 1};
        queries[i].over = queries[i].ok = false;
        snprintf(msg.text, sizeof msg.text, "%s", queries[i].cert_id);
        ok = ok && msg_send(keeper->courier.fd, &msg, err);
    }
    keeper->queries = queries;
    keeper->n_queries = n;
    ok = ok && keeper_serve(keeper, queries_are_over, err);
    for (size_t i = 0; i < n; i++) {
        if (queries[i].over)
            continue;
        queries[i].over = queries[i].temporary = true;
        (void)err_set(&queries[i].err, ERR_TIMEOUT, NEXT_RETRY_LATER, keeper->ca_url,
                      "the CA's renewal information did not come in time");
    }
    keeper->queries = NULL;
    keeper->n_queries = 0;
    return ok;
}
