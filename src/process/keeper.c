#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/keeper.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "payload.h"
#include "tlsup/b64.h"
#include "tlsup/clock.h"
#include "tlsup/csr.h"
#include "tlsup/directory.h"
#include "tlsup/fs.h"
#include "tlsup/jws.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/messages.h"
#include "tlsup/webroot.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0"
#endif

enum {
    MAX_CA_BUNDLE_BYTES = 1 << 20,
    SILENCE_LIMIT_MS = 6 * 60 * 1000, /* longer than any of the courier's own deadlines */
    TICK_MS = 100,
    MAX_ORDER_AGE_S = 6 * 86400, /* CAs keep orders for a week */
    MAX_TOKENS_PER_JOB = 256,
};

/* What the running command lets the courier have signed: a bit for each jws_kind. */
#define GRANT(kind) (1u << (kind))
enum {
    GRANTS_ACCOUNT = GRANT(JWS_NEW_ACCOUNT),
    GRANTS_ORDER = GRANT(JWS_READ) | GRANT(JWS_NEW_ORDER) | GRANT(JWS_RESPOND) | GRANT(JWS_FINALIZE),
};

struct keeper {
    struct store *store;
    struct keeper_options options;
    char *ca_url;
    struct http_options http;
    struct buf ca_pem;
    struct role courier;
    struct key *account_key;
    char thumbprint[KEY_THUMBPRINT_BYTES];
    struct account_record account;
    unsigned grants;
    /* what the courier has told of the CA */
    bool directory_known;
    char terms[URL_MAX_BYTES];
    bool external_account_required;
    /* the account operation under way */
    bool account_asked, account_answered;
    const char *email;
    bool agreed;
    /* the orders under way; the id of an order is its index + 1 */
    struct job *jobs;
    size_t n_jobs;
    bool account_lost; /* the CA says that it does not exist */
    struct err ca_err; /* the CA as a whole cannot be used */
};

/* -- opening and closing ------------------------------------------------------------------------------------
 */

static bool start_courier(struct keeper *keeper, struct err *err)
{
    static const char agent[] = "tlsup/" PACKAGE_VERSION " (ACME client)";
    keeper->http.user_agent = agent;
    if (keeper->options.ca_bundle != NULL) {
        if (!fs_read(keeper->options.ca_bundle, MAX_CA_BUNDLE_BYTES, &keeper->ca_pem, err))
            return err_context(err, "the CA certificates to trust (--ca-bundle)");
        if (strstr(buf_str(&keeper->ca_pem), "-----BEGIN CERTIFICATE-----") == NULL) {
            err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, keeper->options.ca_bundle,
                    "there is no PEM certificate in it");
            return err_advise(
                err, "--ca-bundle takes a file of PEM certificates, the roots of the CA's own HTTPS");
        }
        keeper->http.ca_pem = buf_str(&keeper->ca_pem);
        keeper->http.ca_pem_len = keeper->ca_pem.len;
        keeper->http.ca_name = keeper->options.ca_bundle;
    }
    return role_start_courier(&keeper->http, &keeper->courier, err);
}

/* Tell the courier which CA it is for, with the directory as we know it. */
static bool introduce(struct keeper *keeper, struct err *err)
{
    struct msg msg = MSG_INIT(MSG_CA);
    int64_t fetched_s = 0;
    snprintf(msg.url, sizeof msg.url, "%s", keeper->ca_url);
    store_directory_load(keeper->store, keeper->ca_url, &msg.body, &fetched_s);
    int64_t age_s = clock_now_s() - fetched_s;
    if (age_s < 0 || age_s > DIRECTORY_CACHE_S || msg.body.len > MSG_MAX_BYTES / 2)
        buf_clear(&msg.body);
    bool ok = msg_send(keeper->courier.fd, &msg, err);
    msg_clear(&msg);
    return ok;
}

bool keeper_open(struct store *store, const struct keeper_options *options, struct keeper **out,
                 struct err *err)
{
    struct keeper *keeper = mem_alloc(sizeof *keeper);
    keeper->store = store;
    keeper->options = *options;
    keeper->ca_url = mem_dup(options->ca_url);
    keeper->courier = (struct role)ROLE_INIT;
    if (!start_courier(keeper, err) || !introduce(keeper, err)) {
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
    key_free(keeper->account_key);
    buf_clear(&keeper->ca_pem);
    free(keeper->ca_url);
    free(keeper);
}

static bool load_account_key(struct keeper *keeper, struct err *err)
{
    return keeper->account_key != NULL ||
           (store_account_key(keeper->store, keeper->ca_url, true, &keeper->account_key, err) &&
            key_thumbprint(keeper->account_key, keeper->thumbprint, err));
}

bool keeper_thumbprint(struct keeper *keeper, char out[KEY_THUMBPRINT_BYTES], struct err *err)
{
    if (!load_account_key(keeper, err))
        return false;
    memcpy(out, keeper->thumbprint, KEY_THUMBPRINT_BYTES);
    return true;
}

static void progress(const struct keeper *keeper, const struct job *job, const char *text)
{
    if (keeper->options.progress != NULL)
        keeper->options.progress(keeper->options.ctx, job, text);
}

/* -- signing ------------------------------------------------------------------------------------------------
 */

static struct job *job_by_id(struct keeper *keeper, int64_t id)
{
    return id >= 1 && (uint64_t)id <= keeper->n_jobs ? &keeper->jobs[id - 1] : NULL;
}

/* The key for the job's certificate: the one that waits for it, or a new one, on disk before the CA hears of
 * it. */
static bool job_key(struct keeper *keeper, struct job *job, struct err *err)
{
    struct err missing = ERR_INIT;
    if (job->key != NULL)
        return true;
    bool waiting = store_pending_key_load(keeper->store, job->config->name, &job->key, &missing);
    if (waiting && key_type_of(job->key) == job->config->key_type)
        return true;
    if (!waiting && missing.code != ERR_NOT_FOUND) {
        *err = missing;
        return false;
    }
    key_free(job->key); /* another type is wanted since */
    job->key = NULL;
    return key_generate(job->config->key_type, &job->key, err) &&
           store_pending_key_save(keeper->store, job->config->name, job->key, err);
}

static bool finalize_payload(struct keeper *keeper, struct job *job, struct buf *out, struct err *err)
{
    AUTO_BUF der = BUF_INIT;
    if (!job_key(keeper, job, err) || !csr_make(job->key, &job->config->names, &der, err))
        return false;
    payload_finalize(&der, out);
    return true;
}

static bool make_payload(struct keeper *keeper, enum jws_kind kind, struct job *job, struct buf *out,
                         struct err *err)
{
    switch (kind) {
    case JWS_NEW_ACCOUNT:
        payload_new_account(keeper->email, keeper->agreed, out);
        return true;
    case JWS_FIND_ACCOUNT:
        payload_find_account(out);
        return true;
    case JWS_READ:
        return true;
    case JWS_RESPOND:
        buf_adds(out, "{}");
        return true;
    case JWS_NEW_ORDER:
        payload_new_order(&job->config->names, out);
        return true;
    case JWS_FINALIZE:
        return finalize_payload(keeper, job, out, err);
    default:
        return err_set(err, ERR_INTERNAL, NEXT_LOCAL_FAULT, NULL, "no payload for this kind of request");
    }
}

/* May this be signed at all? Everything in `msg` comes from the process that talks to the network. */
static bool may_sign(const struct keeper *keeper, const struct msg *msg, const struct job *job,
                     struct err *err)
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
    bool about_order = msg->number == JWS_NEW_ORDER || msg->number == JWS_FINALIZE;
    if (about_order && (job == NULL || job->over))
        return err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, NULL,
                       "a signature was refused: there is no such order");
    return true;
}

static bool sign(struct keeper *keeper, const struct msg *request, struct buf *jws, struct err *err)
{
    AUTO_BUF payload = BUF_INIT;
    struct job *job = job_by_id(keeper, request->number2);
    if (!may_sign(keeper, request, job, err))
        return false;
    enum jws_kind kind = (enum jws_kind)request->number;
    bool by_jwk = kind == JWS_NEW_ACCOUNT || kind == JWS_FIND_ACCOUNT;
    struct jws_header header = {
        .url = request->url, .nonce = request->nonce, .kid = by_jwk ? NULL : keeper->account.url};
    if (!by_jwk && keeper->account.url[0] == '\0')
        return err_set(err, ERR_INTERNAL, NEXT_LOCAL_FAULT, NULL, "there is no account to sign for");
    return make_payload(keeper, kind, job, &payload, err) &&
           jws_sign(keeper->account_key, &header, buf_str(&payload), payload.len, jws, err);
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

/* -- challenges ---------------------------------------------------------------------------------------------
 */

static bool answer_presented(struct keeper *keeper, const struct msg *request, const struct err *failure,
                             struct err *err)
{
    struct msg answer = {.type = failure == NULL ? MSG_PRESENTED : MSG_NOT_PRESENTED,
                         .id = request->id,
                         .number = request->number};
    if (failure != NULL)
        answer.err = *failure;
    return msg_send(keeper->courier.fd, &answer, err);
}

static bool tell_responder(const struct keeper *keeper, enum msg_type type, const char *token,
                           const char *text, struct err *err)
{
    struct msg msg = MSG_INIT(type);
    snprintf(msg.token, sizeof msg.token, "%s", token);
    snprintf(msg.text, sizeof msg.text, "%s", text);
    return msg_send(keeper->options.responder->fd, &msg, err);
}

static bool present_file(const struct job *job, const char *token, const char *key_authorization,
                         struct err *err)
{
    if (job->token_dir_is_root)
        return webroot_present(job->token_dir, token, key_authorization, err);
    AUTO_FREE char *path = fs_join(job->token_dir, token);
    return fs_write(path, key_authorization, strlen(key_authorization), 0644, err);
}

static bool remove_file(const struct job *job, const char *token, struct err *err)
{
    if (job->token_dir_is_root)
        return webroot_remove(job->token_dir, token, err);
    AUTO_FREE char *path = fs_join(job->token_dir, token);
    return fs_remove(path, err);
}

/* The token is about to become a path and an answer: it was checked by the courier, but that is no reason to
 * believe it. */
static bool may_present(const struct msg *msg, const struct job *job, struct err *err)
{
    if (!b64url_valid(msg->token, TOKEN_MAX_BYTES - 1))
        return err_set(err, ERR_PROTOCOL, NEXT_REFUSED, msg->name,
                       "the CA's token is not base64url, and is not used");
    if (!strlist_has(&job->config->names, msg->name))
        return err_set(err, ERR_PROTOCOL, NEXT_REFUSED, msg->name,
                       "a challenge came for a name that was not ordered");
    if (msg->number2 != CHALLENGE_HTTP_01)
        return err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, msg->name,
                       "a challenge came of a type that was not chosen");
    if (job->tokens.n >= MAX_TOKENS_PER_JOB)
        return err_set(err, ERR_PROTOCOL, NEXT_RETRY_LATER, msg->name, "the CA sends challenges without end");
    return true;
}

static bool present(struct keeper *keeper, const struct msg *msg, struct job *job, struct err *err)
{
    AUTO_BUF text = BUF_INIT;
    if (!may_present(msg, job, err) || !jws_key_authorization(keeper->account_key, msg->token, &text, err))
        return false;
    strlist_add(&job->tokens, msg->token);
    if (job->token_dir != NULL && !present_file(job, msg->token, buf_str(&text), err))
        return false;
    if (!job->use_responder)
        return true; /* a file, or the web server's own standing answer */
    /* no need to wait for its word: it reads our frames before any request that comes after them */
    return tell_responder(keeper, MSG_TOKEN_ADD, msg->token, buf_str(&text), err);
}

static bool on_present(struct keeper *keeper, const struct msg *msg, struct err *err)
{
    struct err failure = ERR_INIT;
    struct job *job = job_by_id(keeper, msg->id);
    if (job == NULL || job->over)
        return true;
    bool ok = present(keeper, msg, job, &failure);
    return answer_presented(keeper, msg, ok ? NULL : &failure, err);
}

static void forget_token(struct job *job, const char *token)
{
    struct strlist left = STRLIST_INIT;
    for (size_t i = 0; i < job->tokens.n; i++)
        if (strcmp(job->tokens.v[i], token) != 0)
            strlist_add(&left, job->tokens.v[i]);
    strlist_clear(&job->tokens);
    job->tokens = left;
}

static void take_away(struct keeper *keeper, struct job *job, const char *token)
{
    struct err err = ERR_INIT;
    if (job->use_responder && keeper->options.responder->fd >= 0 &&
        !tell_responder(keeper, MSG_TOKEN_DROP, token, "", &err))
        log_debug("%s", err.text);
    err_clear(&err);
    if (job->token_dir != NULL && !remove_file(job, token, &err))
        log_warn("%s", err.text);
}

static void on_cleanup(struct keeper *keeper, const struct msg *msg)
{
    struct job *job = job_by_id(keeper, msg->id);
    if (job == NULL || !strlist_has(&job->tokens, msg->token)) /* only what this job has put there */
        return;
    take_away(keeper, job, msg->token);
    forget_token(job, msg->token);
}

/* -- orders -------------------------------------------------------------------------------------------------
 */

void job_clear(struct job *job)
{
    cert_state_clear(&job->state);
    key_free(job->key);
    job->key = NULL;
    strlist_clear(&job->tokens);
}

static void job_over(struct keeper *keeper, struct job *job, const struct err *failure)
{
    while (job->tokens.n > 0) {
        AUTO_FREE char *token = mem_dup(job->tokens.v[0]);
        take_away(keeper, job, token);
        forget_token(job, token);
    }
    if (failure != NULL && !job->over)
        job->err = *failure;
    job->over = true;
}

static void forget_order(struct job *job)
{
    job->state.order_url[0] = job->state.order_ca[0] = '\0';
    strlist_clear(&job->state.order_names);
    job->state.order_created_s = 0;
}

static bool save_state(struct keeper *keeper, struct job *job, struct err *err)
{
    return store_state_save(keeper->store, job->config->name, &job->state, err);
}

static void on_order_url(struct keeper *keeper, const struct msg *msg)
{
    struct job *job = job_by_id(keeper, msg->id);
    struct err err = ERR_INIT;
    bool fresh = msg->url[0] != '\0';
    if (job == NULL || job->over || (fresh && !url_same_origin(msg->url, keeper->ca_url)))
        return;
    forget_order(job);
    key_free(job->key); /* whatever waited was for another order */
    job->key = NULL;
    if (fresh) {
        snprintf(job->state.order_url, sizeof job->state.order_url, "%.*s",
                 (int)sizeof job->state.order_url - 1, msg->url);
        snprintf(job->state.order_ca, sizeof job->state.order_ca, "%s", keeper->ca_url);
        strlist_copy(&job->state.order_names, &job->config->names);
        job->state.order_created_s = clock_now_s();
    }
    if (!store_pending_key_drop(keeper->store, job->config->name, &err) || !save_state(keeper, job, &err))
        job_over(keeper, job, &err);
}

/* Everything that must hold of a chain before it is stored; the CA and the courier are believed in nothing.
 */
static bool accept_certificate(struct keeper *keeper, struct job *job, const struct msg *msg, struct err *err)
{
    AUTO_CHAIN *chain = NULL;
    const char *name = job->config->name;
    if (!job_key(keeper, job, err) ||
        !cert_chain_parse(buf_str(&msg->body), msg->body.len, "the CA's answer", &chain, err) ||
        !cert_chain_check(chain, job->key, &job->config->names, clock_now_s(), err)) {
        forget_order(job); /* another download would be the same: the next run begins anew */
        struct err ignored = ERR_INIT;
        if (!save_state(keeper, job, &ignored) || !store_pending_key_drop(keeper->store, name, &ignored))
            log_debug("%s", ignored.text);
        return err_context(err, "the certificate that the CA sent is refused");
    }
    if (!store_version_add(keeper->store, name, job->key, chain, &job->version, err))
        return false;
    forget_order(job);
    job->state.version = job->version;
    job->state.step = DEPLOY_ISSUED;
    job->state.issued_s = clock_now_s();
    snprintf(job->state.issued_by, sizeof job->state.issued_by, "%s", keeper->ca_url);
    return save_state(keeper, job, err) && store_pending_key_drop(keeper->store, name, err);
}

static void on_certificate(struct keeper *keeper, const struct msg *msg)
{
    struct job *job = job_by_id(keeper, msg->id);
    struct err err = ERR_INIT;
    if (job == NULL || job->over)
        return;
    if (accept_certificate(keeper, job, msg, &err)) {
        job_over(keeper, job, NULL);
    } else {
        job->version = 0;
        job_over(keeper, job, &err);
    }
}

static void on_failed(struct keeper *keeper, const struct msg *msg)
{
    struct job *job = job_by_id(keeper, msg->id);
    if (msg->id == 0) {
        keeper->ca_err = msg->err;
    } else if (job != NULL && !job->over) {
        keeper->account_lost |=
            msg->err.code == ERR_ACME && strcmp(msg->err.type, "accountDoesNotExist") == 0;
        job_over(keeper, job, &msg->err);
    }
}

/* -- the loop -----------------------------------------------------------------------------------------------
 */

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

static void on_account(struct keeper *keeper, const struct msg *msg)
{
    if (!keeper->account_asked || !url_valid(msg->url) || !url_same_origin(msg->url, keeper->ca_url) ||
        strlen(msg->url) >= sizeof keeper->account.url)
        return;
    snprintf(keeper->account.url, sizeof keeper->account.url, "%.*s", (int)sizeof keeper->account.url - 1,
             msg->url);
    keeper->account_answered = true;
}

static bool handle_courier(struct keeper *keeper, const struct msg *msg, struct err *err)
{
    switch (msg->type) {
    case MSG_DIRECTORY:
        on_directory(keeper, msg);
        return true;
    case MSG_ACCOUNT_IS:
        on_account(keeper, msg);
        return true;
    case MSG_SIGN:
        return on_sign(keeper, msg, err);
    case MSG_ORDER_URL:
        on_order_url(keeper, msg);
        return true;
    case MSG_PRESENT:
        return on_present(keeper, msg, err);
    case MSG_CLEANUP:
        on_cleanup(keeper, msg);
        return true;
    case MSG_PROGRESS:
        progress(keeper, job_by_id(keeper, msg->id), msg->text);
        return true;
    case MSG_CERTIFICATE:
        on_certificate(keeper, msg);
        return true;
    case MSG_FAILED:
        on_failed(keeper, msg);
        return true;
    default:
        return true;
    }
}

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

/* Serve the children until `until` holds, the CA as a whole fails, a signal comes, or there is too long a
 * silence. */
static bool serve(struct keeper *keeper, bool (*until)(const struct keeper *), struct err *err)
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
        if (poll(fds, COUNT_OF(fds), TICK_MS) < 0 && errno != EINTR)
            return err_errno(err, errno, NULL, "cannot wait for our own processes");
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

/* -- the account --------------------------------------------------------------------------------------------
 */

static bool directory_is_known(const struct keeper *keeper)
{
    return keeper->directory_known;
}

static bool account_is_known(const struct keeper *keeper)
{
    return keeper->account_answered;
}

static bool agree_to_terms(struct keeper *keeper, bool agree_tos, struct err *err)
{
    char shown[256];
    if (keeper->terms[0] == '\0' || agree_tos ||
        (keeper->options.agree != NULL && keeper->options.agree(keeper->options.ctx, keeper->terms)))
        return true;
    snprintf(shown, sizeof shown, "%.255s", keeper->terms);
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, keeper->ca_url,
            "the CA wants you to agree to its terms of service: %s", shown);
    return err_advise(err, "read them, then run the same command again with --agree-tos");
}

static bool register_account(struct keeper *keeper, const char *email, bool agree_tos, struct err *err)
{
    struct msg msg = MSG_INIT(MSG_ACCOUNT);
    if (!serve(keeper, directory_is_known, err))
        return false;
    if (keeper->external_account_required) {
        err_set(err, ERR_CONFIG, NEXT_REFUSED, keeper->ca_url,
                "this CA wants credentials of an account made on its web site (external account binding)");
        return err_advise(err, "choose a CA that does not, such as --server letsencrypt");
    }
    if (!agree_to_terms(keeper, agree_tos, err))
        return false;
    keeper->email = email;
    keeper->agreed = true;
    keeper->account_asked = true;
    keeper->account_answered = false;
    keeper->grants = GRANTS_ACCOUNT;
    msg.number = JWS_NEW_ACCOUNT;
    progress(keeper, NULL, "registering the account");
    bool ok = msg_send(keeper->courier.fd, &msg, err) && serve(keeper, account_is_known, err);
    keeper->grants = 0;
    keeper->account_asked = false;
    return ok;
}

static bool remember_account(struct keeper *keeper, const char *email, struct err *err)
{
    struct account_record *account = &keeper->account;
    snprintf(account->email, sizeof account->email, "%s", email != NULL ? email : "");
    snprintf(account->tos, sizeof account->tos, "%.*s", (int)sizeof account->tos - 1, keeper->terms);
    memcpy(account->thumbprint, keeper->thumbprint, sizeof account->thumbprint);
    account->created_s = clock_now_s();
    return store_account_save(keeper->store, keeper->ca_url, account, err);
}

bool keeper_account(struct keeper *keeper, const char *email, bool agree_tos, bool again,
                    struct account_record *out, struct err *err)
{
    if (!load_account_key(keeper, err) ||
        !store_account_load(keeper->store, keeper->ca_url, &keeper->account, err))
        return false;
    bool known = keeper->account.url[0] != '\0' &&
                 strcmp(keeper->account.thumbprint, keeper->thumbprint) == 0 &&
                 url_same_origin(keeper->account.url, keeper->ca_url);
    if (!known || again) {
        const char *contact = email != NULL ? email : known ? keeper->account.email : NULL;
        AUTO_FREE char *kept = mem_dup(contact);
        keeper->account.url[0] = '\0';
        if (!register_account(keeper, kept, agree_tos || (known && keeper->account.tos[0] != '\0'), err) ||
            !remember_account(keeper, kept, err))
            return false;
    }
    if (out != NULL)
        *out = keeper->account;
    return true;
}

/* -- obtaining ----------------------------------------------------------------------------------------------
 */

static bool all_over(const struct keeper *keeper)
{
    for (size_t i = 0; i < keeper->n_jobs; i++)
        if (!keeper->jobs[i].over)
            return false;
    return true;
}

static bool resumable(const struct keeper *keeper, const struct job *job)
{
    const struct cert_state *state = &job->state;
    int64_t age_s = clock_now_s() - state->order_created_s;
    return !job->force && state->order_url[0] != '\0' && strcmp(state->order_ca, keeper->ca_url) == 0 &&
           url_same_origin(state->order_url, keeper->ca_url) && age_s >= 0 && age_s < MAX_ORDER_AGE_S &&
           strlist_same_set(&state->order_names, &job->config->names);
}

static bool send_order(struct keeper *keeper, size_t index, struct err *err)
{
    struct job *job = &keeper->jobs[index];
    struct msg msg = {.type = MSG_ORDER, .id = (uint32_t)index + 1, .number = CHALLENGE_HTTP_01};
    AUTO_FREE char *names = strlist_join(&job->config->names, "\n");
    buf_adds(&msg.body, names);
    if (resumable(keeper, job)) {
        log_info("going on with the order %s", job->state.order_url);
        snprintf(msg.url, sizeof msg.url, "%s", job->state.order_url);
    }
    bool ok = msg_send(keeper->courier.fd, &msg, err);
    msg_clear(&msg);
    return ok;
}

static bool run_orders(struct keeper *keeper, struct err *err)
{
    keeper->grants = GRANTS_ORDER;
    bool ok = true;
    for (size_t i = 0; ok && i < keeper->n_jobs; i++)
        if (!keeper->jobs[i].over)
            ok = send_order(keeper, i, err);
    ok = ok && serve(keeper, all_over, err);
    keeper->grants = 0;
    for (size_t i = 0; i < keeper->n_jobs; i++)
        if (!keeper->jobs[i].over)
            job_over(keeper, &keeper->jobs[i], err);
    return ok;
}

/* A private CA that has lost its database: register again, and try the orders that failed of it, once. */
static bool after_lost_account(struct keeper *keeper, struct err *err)
{
    AUTO_FREE char *email = mem_dup(keeper->account.email);
    keeper->account_lost = false;
    log_warn("the CA does not know the account any more; registering again");
    if (!keeper_account(keeper, email, keeper->account.tos[0] != '\0', true, NULL, err))
        return false;
    for (size_t i = 0; i < keeper->n_jobs; i++) {
        struct job *job = &keeper->jobs[i];
        if (strcmp(job->err.type, "accountDoesNotExist") != 0)
            continue;
        err_clear(&job->err);
        job->over = false;
        forget_order(job);
    }
    return run_orders(keeper, err);
}

bool keeper_obtain(struct keeper *keeper, struct job *jobs, size_t n, struct err *err)
{
    keeper->jobs = jobs;
    keeper->n_jobs = n;
    keeper->account_lost = false;
    for (size_t i = 0; i < n; i++) {
        jobs[i].version = 0;
        jobs[i].over = false;
        if (!store_state_load(keeper->store, jobs[i].config->name, &jobs[i].state, &jobs[i].err))
            jobs[i].over = true;
    }
    bool ok = run_orders(keeper, err);
    if (ok && keeper->account_lost)
        ok = after_lost_account(keeper, err);
    keeper->jobs = NULL;
    keeper->n_jobs = 0;
    return ok;
}
