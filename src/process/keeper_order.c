/*
 * The keeper's orders: what is asked for, what is signed for it, which answers are presented, and what is
 * believed of what comes back.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "keeper_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "payload.h"
#include "tlsup/b64.h"
#include "tlsup/ca.h"
#include "tlsup/clock.h"
#include "tlsup/csr.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"
#include "tlsup/policy.h"

enum {
    MAX_ORDER_AGE_S = 6 * 86400, /* CAs keep orders for a week */
    MAX_CSR_BYTES = 64 * 1024,
    MAX_CHAINS = 9,
    CAA_TIMEOUT_MS = 5000,
    LEDGER_SAVE_MS = 2000,
    CLEANUP_LIMIT_MS = 3 * 60 * 1000,
};

#define GRANTS_ORDER                                                                                         \
    (GRANT(JWS_READ) | GRANT(JWS_NEW_ORDER) | GRANT(JWS_NEW_ORDER_NO_REPLACES) |                             \
     GRANT(JWS_NEW_ORDER_PLAIN) | GRANT(JWS_RESPOND) | GRANT(JWS_FINALIZE))

/* -- jobs and their parts ------------------------------------------------------------------------------- */

struct job *keeper_job(struct keeper *keeper, int64_t order_id, size_t *part)
{
    int64_t place = order_id - keeper->first_order_id; /* what an earlier round has left over is before it */
    if (place < 0 || (uint64_t)place >= keeper->n_jobs * STORE_PARTS)
        return NULL;
    struct job *job = &keeper->jobs[place / STORE_PARTS];
    *part = (size_t)place % STORE_PARTS;
    return *part < job->n_parts ? job : NULL;
}

static uint32_t order_id(const struct keeper *keeper, const struct job *job, size_t part)
{
    return keeper->first_order_id + (uint32_t)((size_t)(job - keeper->jobs) * STORE_PARTS + part);
}

static void drop_chains(struct job_part *part)
{
    for (size_t i = 0; i < part->n_chains; i++)
        cert_chain_free(part->chains[i]);
    free(part->chains);
    part->chains = NULL;
    part->n_chains = 0;
    part->chain = NULL; /* was one of them */
}

void job_clear(struct job *job)
{
    cert_state_clear(&job->state);
    strlist_clear(&job->names);
    strlist_clear(&job->failed_names);
    for (size_t i = 0; i < STORE_PARTS; i++) {
        struct job_part *part = &job->parts[i];
        key_free(part->key);
        part->key = NULL;
        buf_clear(&part->csr);
        drop_chains(part);
    }
}

static bool save_state(struct keeper *keeper, struct job *job, struct err *err)
{
    return store_state_save(keeper->store, job->config->name, &job->state, err);
}

static void job_over(struct keeper *keeper, struct job *job, const struct err *failure)
{
    if (failure != NULL && !job->over) {
        job->err = *failure;
        for (size_t i = 0; i < job->n_parts;
             i++) { /* its other part, and what the courier still does for it */
            struct msg msg = {.type = MSG_CANCEL, .id = order_id(keeper, job, i), .err = *failure};
            struct err ignored = ERR_INIT;
            if (!msg_send(keeper->courier.fd, &msg, &ignored))
                break;
        }
    }
    job->over = true;
    if (keeper->presenter != NULL)
        presenter_cleanup_job(keeper->presenter, job);
}

static void forget_order(struct order_state *order)
{
    strlist_clear(&order->names);
    *order = (struct order_state){0};
}

static void forget_orders(struct job *job)
{
    for (size_t i = 0; i < COUNT_OF(job->state.orders); i++)
        forget_order(&job->state.orders[i]);
}

/* -- keys ----------------------------------------------------------------------------------------------- */

static bool refuse_compromised(struct keeper *keeper, const struct job *job, const char *spki,
                               struct err *err)
{
    bool compromised = false;
    if (!store_key_compromised(keeper->store, spki, &compromised, err))
        return false;
    if (!compromised)
        return true;
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, job->config->name,
            "its key was revoked as compromised, and must never be used again");
    return err_advise(err, "make a new key (on the token, or for the CSR) and configure that");
}

static bool sound(const struct keeper *keeper, const struct key *key)
{
    struct err ignored = ERR_INIT;
    char spki[KEY_SPKI_BYTES];
    bool compromised = true;
    return key_spki_sha256(key, spki, &ignored) &&
           store_key_compromised(keeper->store, spki, &compromised, &ignored) && !compromised;
}

/* The live key, for those who want to keep it; NULL when there is none that will do. */
static struct key *reusable_key(struct keeper *keeper, const struct job *job, size_t index)
{
    AUTO_KEY *key = NULL;
    struct err ignored = ERR_INIT;
    char spki[KEY_SPKI_BYTES];
    bool compromised = true;
    int live = 0;
    if (!job->config->reuse_key || !store_live_version(keeper->store, job->config->name, &live, &ignored) ||
        live == 0 || !store_version_key(keeper->store, job->config->name, live, (int)index, &key, &ignored) ||
        key_type_of(key) != job->parts[index].key_type || !key_spki_sha256(key, spki, &ignored) ||
        !store_key_compromised(keeper->store, spki, &compromised, &ignored) || compromised)
        return NULL;
    struct key *taken = key;
    key = NULL;
    return taken;
}

/* The key for a part: the token's, the one that waits for its certificate, the live one again, or a new one;
 * on disk before the CA hears of it. */
static bool part_key(struct keeper *keeper, struct job *job, size_t index, struct err *err)
{
    struct job_part *part = &job->parts[index];
    struct err missing = ERR_INIT;
    const char *name = job->config->name;
    char spki[KEY_SPKI_BYTES];
    if (part->key != NULL || part->csr.len > 0)
        return true;
    bool ok;
    if (job->config->key != NULL) {
        ok = key_open_uri(job->config->key, &part->key, err) && key_spki_sha256(part->key, spki, err) &&
             refuse_compromised(keeper, job, spki, err);
    } else {
        bool waiting = store_pending_key_load(keeper->store, name, (int)index, &part->key, &missing);
        if (!waiting && missing.code != ERR_NOT_FOUND) {
            *err = missing;
            return false;
        }
        if (waiting && key_type_of(part->key) == part->key_type && sound(keeper, part->key))
            return true;
        key_free(part->key); /* another type is wanted since, or it was revoked meanwhile */
        part->key = reusable_key(keeper, job, index);
        ok = (part->key != NULL || key_generate(part->key_type, &part->key, err)) &&
             store_pending_key_save(keeper->store, name, (int)index, part->key, err);
    }
    if (!ok) { /* or the next to ask would take it unseen */
        key_free(part->key);
        part->key = NULL;
    }
    return ok;
}

/* A request of the user's: read once, its names and its key are what counts. */
static bool read_csr(struct keeper *keeper, struct job *job, struct err *err)
{
    AUTO_BUF data = BUF_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    struct job_part *part = &job->parts[0];
    const char *path = job->config->csr;
    if (path == NULL)
        return true;
    if (!fs_read(path, MAX_CSR_BYTES, &data, err) ||
        !csr_read(data.data, data.len, path, &part->csr, &names, part->spki, err))
        return false;
    if (!strlist_same_set(&names, &job->config->names)) {
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path,
                "the request is no longer for the names of this certificate");
        return err_advise(err,
                          "run `tlsup issue --csr %.200s --cert-name %s` to take the names of the request",
                          path, job->config->name);
    }
    return refuse_compromised(keeper, job, part->spki, err);
}

/* -- payloads ------------------------------------------------------------------------------------------- */

static bool profile_is_offered(const struct keeper *keeper, const char *profile)
{
    return profile != NULL && strlist_has(&keeper->profiles, profile);
}

/* The profile to ask for: the configured one, or the one that the names need. NULL = the CA's choice. */
static const char *profile_for(const struct keeper *keeper, const struct job *job)
{
    const char *needed = ca_by_url(keeper->ca_url)->ip_profile;
    if (job->config->profile != NULL)
        return profile_is_offered(keeper, job->config->profile) ? job->config->profile : NULL;
    for (size_t i = 0; i < job->names.n; i++)
        if (name_is_ip(job->names.v[i]) && needed[0] != '\0' && profile_is_offered(keeper, needed))
            return needed;
    return NULL;
}

static void order_payload(struct keeper *keeper, enum jws_kind kind, const struct job *job, size_t index,
                          struct buf *out)
{
    int64_t valid_for_s = job->config->valid_for_s;
    const char *replaces = job->parts[index].replaces;
    struct payload_order order = {
        .names = &job->names,
        .profile = kind != JWS_NEW_ORDER_PLAIN ? profile_for(keeper, job) : NULL,
        .replaces = kind == JWS_NEW_ORDER && replaces[0] != '\0' ? replaces : NULL,
        .not_before_s = job->not_before_s,
        .not_after_s = job->not_after_s != 0 ? job->not_after_s
                       : valid_for_s != 0
                           ? (job->not_before_s != 0 ? job->not_before_s : clock_now_s()) + valid_for_s
                           : 0};
    payload_new_order(&order, out);
}

static bool finalize_payload(struct keeper *keeper, struct job *job, size_t index, struct buf *out,
                             struct err *err)
{
    AUTO_BUF der = BUF_INIT;
    struct job_part *part = &job->parts[index];
    if (part->csr.len > 0) {
        payload_finalize(&part->csr, out);
        return true;
    }
    if (!part_key(keeper, job, index, err) || !csr_make(part->key, &job->names, &der, err))
        return false;
    payload_finalize(&der, out);
    return true;
}

bool keeper_order_payload(struct keeper *keeper, enum jws_kind kind, struct job *job, size_t part,
                          struct buf *out, struct err *err)
{
    switch (kind) {
    case JWS_NEW_ORDER:
    case JWS_NEW_ORDER_NO_REPLACES:
    case JWS_NEW_ORDER_PLAIN:
        job->parts[part].replaced = kind == JWS_NEW_ORDER && job->parts[part].replaces[0] != '\0';
        order_payload(keeper, kind, job, part, out);
        return true;
    case JWS_FINALIZE:
        return finalize_payload(keeper, job, part, out, err);
    default:
        return err_set(err, ERR_INTERNAL, NEXT_LOCAL_FAULT, NULL, "no payload for this kind of request");
    }
}

/* -- challenges ----------------------------------------------------------------------------------------- */

static void on_presented(void *ctx, uint32_t id, int index, const struct err *failure)
{
    struct keeper *keeper = ctx;
    struct msg answer = {
        .type = failure == NULL ? MSG_PRESENTED : MSG_NOT_PRESENTED, .id = id, .number = index};
    struct err gone = ERR_INIT;
    if (failure != NULL)
        answer.err = *failure;
    if (!msg_send(keeper->courier.fd, &answer, &gone) && !err_isset(&keeper->ca_err))
        keeper->ca_err = gone;
}

/* The token is about to become a path and an answer: it was checked by the courier, but that is no reason to
 * believe it. */
static bool may_present(const struct msg *msg, const struct job *job, struct err *err)
{
    bool known = msg->number2 > CHALLENGE_UNKNOWN && msg->number2 < CHALLENGE_TYPES, chosen = false;
    bool tokenless = msg->number2 == CHALLENGE_DNS_PERSIST_01 && msg->token[0] == '\0';
    if (!tokenless && !b64url_valid(msg->token, TOKEN_MAX_BYTES - 1))
        return err_set(err, ERR_PROTOCOL, NEXT_REFUSED, msg->name,
                       "the CA's token is not base64url, and is not used");
    if (!strlist_has(&job->names, msg->name))
        return err_set(err, ERR_PROTOCOL, NEXT_REFUSED, msg->name,
                       "a challenge came for a name that was not ordered");
    for (size_t i = 0; i < job->n_types; i++)
        chosen |= job->types[i] == (enum challenge_type)msg->number2;
    if (!known || !chosen || !challenge_type_fits((enum challenge_type)msg->number2, msg->name))
        return err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, msg->name,
                       "a challenge came of a type that was not chosen");
    if (msg->number < 0 || msg->number >= ORDER_MAX_AUTHORIZATIONS)
        return err_set(err, ERR_PROTOCOL, NEXT_RETRY_LATER, msg->name, "the CA sends challenges without end");
    return true;
}

bool keeper_on_present(struct keeper *keeper, const struct msg *msg, struct err *err)
{
    struct err failure = ERR_INIT;
    size_t part;
    struct job *job = keeper_job(keeper, msg->id, &part);
    if (job == NULL || job->over || keeper->presenter == NULL)
        return true;
    if (!may_present(msg, job, &failure)) {
        struct msg answer = {.type = MSG_NOT_PRESENTED, .id = msg->id, .number = msg->number, .err = failure};
        return msg_send(keeper->courier.fd, &answer, err);
    }
    struct presentation what = {.job = job,
                                .order_id = msg->id,
                                .index = (int)msg->number,
                                .type = (enum challenge_type)msg->number2,
                                .name = msg->name,
                                .token = msg->token,
                                .persist = msg->text};
    presenter_present(keeper->presenter, &what);
    return true;
}

void keeper_on_cleanup(struct keeper *keeper, const struct msg *msg)
{
    size_t part;
    if (keeper_job(keeper, msg->id, &part) != NULL && keeper->presenter != NULL && msg->number >= 0 &&
        msg->number < ORDER_MAX_AUTHORIZATIONS)
        presenter_cleanup(keeper->presenter, msg->id, (int)msg->number, msg->number2 != 0);
}

/* -- the course of an order ----------------------------------------------------------------------------- */

/* Does it count against the CA's limits? */
static enum ledger_exempt exempt_of(const struct job *job, size_t part)
{
    if (job->parts[part].replaced)
        return LEDGER_EXEMPT;
    return job->renewal && job->names.n == job->config->names.n && !job->renamed ? LEDGER_RENEWAL
                                                                                 : LEDGER_COUNTS;
}

/* Now and then, and at the end: a file for each event would cost more than the events. */
static void save_ledger(struct keeper *keeper)
{
    keeper->ledger_saved_ms = clock_mono_ms();
    struct err err = ERR_INIT;
    if (!store_ledger_save(keeper->store, keeper->ca_url, &keeper->ledger, &err))
        log_warn("what was asked of the CA could not be noted: %s", err.text);
}

static void note(struct keeper *keeper, enum ledger_event event, const struct strlist *names,
                 enum ledger_exempt exempt)
{
    ledger_note(&keeper->ledger, event, names, exempt, clock_now_s());
    if (clock_mono_ms() - keeper->ledger_saved_ms > LEDGER_SAVE_MS)
        save_ledger(keeper);
}

void keeper_on_order_url(struct keeper *keeper, const struct msg *msg)
{
    size_t index;
    struct job *job = keeper_job(keeper, msg->id, &index);
    struct err err = ERR_INIT;
    bool fresh = msg->url[0] != '\0';
    if (job == NULL || job->over || (fresh && !url_same_origin(msg->url, keeper->ca_url)))
        return;
    struct order_state *order = &job->state.orders[index];
    struct job_part *part = &job->parts[index];
    forget_order(order);
    key_free(part->key); /* whatever waited was for another order */
    part->key = NULL;
    if (fresh) {
        snprintf(order->url, sizeof order->url, "%.*s", (int)sizeof order->url - 1, msg->url);
        snprintf(order->ca, sizeof order->ca, "%s", keeper->ca_url);
        snprintf(order->account, sizeof order->account, "%s", keeper->account.url);
        strlist_copy(&order->names, &job->names);
        order->created_s = clock_now_s();
        note(keeper, LEDGER_ORDER, &job->names, exempt_of(job, index));
    }
    /* cut in between, the old key serves the new order, which is better than an order without its key */
    if (!save_state(keeper, job, &err) ||
        !store_pending_key_drop(keeper->store, job->config->name, (int)index, &err))
        job_over(keeper, job, &err);
}

void keeper_on_name_failed(struct keeper *keeper, const struct msg *msg)
{
    size_t part;
    struct job *job = keeper_job(keeper, msg->id, &part);
    if (job == NULL || job->over || !strlist_has(&job->names, msg->name) ||
        strlist_has(&job->failed_names, msg->name))
        return;
    AUTO_STRLIST one = STRLIST_INIT;
    strlist_add(&one, msg->name);
    strlist_add(&job->failed_names, msg->name);
    log_info("%s: %s", msg->name, msg->err.text);
    note(keeper, LEDGER_FAILURE, &one, LEDGER_COUNTS);
}

void keeper_on_failed(struct keeper *keeper, const struct msg *msg)
{
    size_t part;
    struct job *job = keeper_job(keeper, msg->id, &part);
    if (msg->id == 0) {
        keeper->ca_err = msg->err;
    } else if (job != NULL && !job->over) {
        keeper->account_lost |=
            msg->err.code == ERR_ACME && strcmp(msg->err.type, "accountDoesNotExist") == 0;
        job_over(keeper, job, &msg->err);
    }
}

/* -- certificates --------------------------------------------------------------------------------------- */

/* Everything that must hold of a chain before it is stored; the CA and the courier are believed in nothing.
 */
static bool check_chain(struct job *job, size_t index, const struct msg *msg, struct cert_chain **out,
                        struct err *err)
{
    AUTO_CHAIN *chain = NULL;
    struct job_part *part = &job->parts[index];
    struct cert_info info = CERT_INFO_INIT;
    if (!cert_chain_parse(buf_str(&msg->body), msg->body.len, job->config->name, &chain, err) ||
        !cert_chain_check(chain, part->key, &job->names, clock_now_s(), err))
        return false;
    bool ours =
        part->key != NULL || (cert_chain_info(chain, &info, err) && strcmp(info.spki, part->spki) == 0);
    cert_info_clear(&info);
    if (!ours && !err_isset(err))
        err_set(err, ERR_MISMATCH, NEXT_REFUSED, job->config->name,
                "the certificate that the CA sent is not for the key of the request");
    if (!ours)
        return false;
    *out = chain;
    chain = NULL;
    return true;
}

/* The wanted issuer among the chains: the root that it leads to, else any issuer in it. */
static struct cert_chain *prefer(const struct job *job, const struct job_part *part)
{
    const char *wanted = job->config->preferred_chain;
    struct cert_chain *within = NULL;
    for (size_t i = 0; wanted != NULL && i < part->n_chains; i++) {
        AUTO_STRLIST issuers = STRLIST_INIT;
        struct err ignored = ERR_INIT;
        if (!cert_chain_issuers(part->chains[i], &issuers, &ignored) || issuers.n == 0)
            continue;
        if (strcmp(issuers.v[issuers.n - 1], wanted) == 0)
            return part->chains[i];
        if (within == NULL && strlist_has(&issuers, wanted))
            within = part->chains[i];
    }
    if (within == NULL && wanted != NULL)
        log_warn("%s: the CA offers no chain from \"%s\"; its default is used", job->config->name, wanted);
    return within != NULL ? within : part->chains[0];
}

static bool uses_persist(const struct job *job)
{
    for (size_t i = 0; i < job->n_types; i++)
        if (job->types[i] == CHALLENGE_DNS_PERSIST_01)
            return true;
    return false;
}

static bool store_job(struct keeper *keeper, struct job *job, struct err *err)
{
    struct store_part parts[STORE_PARTS] = {{0}};
    struct cert_state *state = &job->state;
    for (size_t i = 0; i < job->n_parts; i++)
        parts[i] = (struct store_part){.key = job->parts[i].key, .chain = job->parts[i].chain};
    if (!store_version_add(keeper->store, job->config->name, parts, job->n_parts, &job->version, err))
        return false;
    forget_orders(job);
    state->version = job->version;
    state->step = DEPLOY_ISSUED;
    state->issued_s = clock_now_s();
    state->revoked = false;
    snprintf(state->issued_by, sizeof state->issued_by, "%s", keeper->ca_url);
    snprintf(state->issued_account, sizeof state->issued_account, "%s", keeper->account.url);
    if (job->parts[0].replaced)
        snprintf(state->replaced_id, sizeof state->replaced_id, "%s", job->parts[0].replaces);
    state->ari = (struct ari_state){0}; /* that was about the one before */
    if (job->persist_seen ||
        !uses_persist(job)) /* an authorization that is still valid is not looked at again */
        state->persist_until_s = job->persist_until_s;
    strlist_clear(&state->missing);
    state->missing_failures = job->names.n < job->config->names.n ? state->missing_failures + 1 : 0;
    state->missing_try_s = state->missing_failures > 0
                               ? clock_now_s() + policy_backoff_s(state->missing_failures + 2, -1, 0)
                               : 0;
    for (size_t i = 0; i < job->config->names.n; i++)
        if (!strlist_has(&job->names, job->config->names.v[i]))
            strlist_add(&state->missing, job->config->names.v[i]);
    if (!save_state(keeper, job, err))
        return false;
    for (size_t i = 0; i < job->n_parts; i++) {
        note(keeper, LEDGER_CERTIFICATE, &job->names, exempt_of(job, i));
        if (!store_pending_key_drop(keeper->store, job->config->name, (int)i, err))
            return false;
    }
    return true;
}

static void refuse_certificate(struct keeper *keeper, struct job *job, size_t index, struct err *err)
{
    struct err ignored = ERR_INIT;
    forget_order(
        &job->state.orders[index]); /* another download would be the same: the next run begins anew */
    if (!save_state(keeper, job, &ignored) ||
        !store_pending_key_drop(keeper->store, job->config->name, (int)index, &ignored))
        log_debug("%s", ignored.text);
    (void)err_context(err, "the certificate that the CA sent is refused");
    job_over(keeper, job, err);
}

static void finish_part(struct keeper *keeper, struct job *job, size_t index)
{
    struct err err = ERR_INIT;
    job->parts[index].chain = prefer(job, &job->parts[index]);
    for (size_t i = 0; i < job->n_parts; i++)
        if (job->parts[i].chain == NULL)
            return; /* the other one is still to come */
    if (store_job(keeper, job, &err)) {
        job_over(keeper, job, NULL);
    } else {
        job->version = 0;
        job_over(keeper, job, &err);
    }
}

void keeper_on_certificate(struct keeper *keeper, const struct msg *msg)
{
    size_t index;
    struct job *job = keeper_job(keeper, msg->id, &index);
    struct err err = ERR_INIT;
    struct cert_chain *chain = NULL;
    if (job == NULL || job->over)
        return;
    struct job_part *part = &job->parts[index];
    if (part->chain != NULL || part->n_chains >= MAX_CHAINS)
        return;
    bool ok = part_key(keeper, job, index, &err) && check_chain(job, index, msg, &chain, &err);
    if (!ok && part->n_chains == 0) { /* the default chain; of the others only those that are sound count */
        refuse_certificate(keeper, job, index, &err);
        return;
    }
    if (ok) {
        part->chains = mem_resize(part->chains, part->n_chains + 1, sizeof *part->chains);
        part->chains[part->n_chains++] = chain;
    } else {
        log_warn("%s: an alternative chain is left out: %s", job->config->name, err.text);
    }
    if (msg->number2 <= 1 || msg->number >= msg->number2 - 1)
        finish_part(keeper, job, index);
}

/* -- before the order ----------------------------------------------------------------------------------- */

/* The certificate that this one takes the place of (RFC 9773 section 5): of the same CA and account, sharing
 * a name, not replaced before. */
static void choose_replaces(struct keeper *keeper, struct job *job, size_t index)
{
    AUTO_CHAIN *chain = NULL;
    struct cert_info info = CERT_INFO_INIT;
    struct err ignored = ERR_INIT;
    struct cert_state *state = &job->state;
    bool shared = false;
    int live = 0;
    if (!keeper->has_renewal_info || strcmp(state->issued_by, keeper->ca_url) != 0 ||
        strcmp(state->issued_account, keeper->account.url) != 0 ||
        !store_live_version(keeper->store, job->config->name, &live, &ignored) || live == 0 ||
        live != state->version || /* `issued_by` speaks of that one */
        !store_version_chain(keeper->store, job->config->name, live, (int)index, &chain, &ignored) ||
        !cert_chain_info(chain, &info, &ignored))
        return;
    for (size_t i = 0; i < job->names.n; i++)
        shared |= strlist_has(&info.names, job->names.v[i]);
    if (shared && info.ari_id[0] != '\0' && strcmp(info.ari_id, state->replaced_id) != 0)
        snprintf(job->parts[index].replaces, sizeof job->parts[index].replaces, "%s", info.ari_id);
    cert_info_clear(&info);
}

static bool check_profile(const struct keeper *keeper, const struct job *job, struct err *err)
{
    const char *profile = job->config->profile;
    if (profile == NULL || profile_is_offered(keeper, profile))
        return true;
    AUTO_FREE char *offered = strlist_join(&keeper->profiles, ", ");
    if (!job->config->profile_required) {
        log_warn("%s: the CA has no profile \"%s\" (it has: %s); its default is used", job->config->name,
                 profile, offered[0] != '\0' ? offered : "none");
        return true;
    }
    snprintf(err->type, sizeof err->type, "invalidProfile");
    err_set(err, ERR_ACME, NEXT_REFUSED, job->config->name, "the CA has no profile \"%s\"; it has: %s",
            profile, offered[0] != '\0' ? offered : "none");
    snprintf(err->type, sizeof err->type, "invalidProfile");
    return err_advise(err, "choose one of these, or let it be preferred only (--preferred-profile)");
}

/* `ledger`: what has been asked, and what those before in this run are about to ask. */
static void warn_of_limits(struct keeper *keeper, struct ledger *ledger, const struct job *job)
{
    AUTO_STRLIST warnings = STRLIST_INIT;
    if (job->parts[0].replaces[0] != '\0') /* renewals that say what they replace are exempt, where there are
                                              limits and renewal information */
        return;
    (void)ledger_check(ledger, ca_by_url(keeper->ca_url), &job->names, exempt_of(job, 0) == LEDGER_RENEWAL,
                       clock_now_s(), &warnings);
    ledger_note(ledger, LEDGER_ORDER, &job->names, exempt_of(job, 0), clock_now_s());
    for (size_t i = 0; i < warnings.n; i++)
        log_warn("%s: %s", job->config->name, warnings.v[i]);
}

static bool begin_job(struct keeper *keeper, struct job *job, struct err *err)
{
    const struct cert_config *config = job->config;
    job->n_parts = config->dual ? 2 : 1;
    job->parts[0].key_type = config->key_type;
    job->parts[1].key_type = config->second_key_type;
    if (job->names.n == 0)
        strlist_copy(&job->names, &config->names);
    if (!store_state_load(keeper->store, config->name, &job->state, err) ||
        !check_profile(keeper, job, err) || !read_csr(keeper, job, err))
        return false;
    for (size_t i = 0; i < job->n_parts; i++) {
        job->parts[i].replaces[0] = '\0'; /* of the round before, at another CA */
        job->parts[i].replaced = false;
        choose_replaces(keeper, job, i);
    }
    return true;
}

static void begin_jobs(struct keeper *keeper)
{
    struct ledger ahead = LEDGER_INIT;
    store_ledger_load(keeper->store, keeper->ca_url, &keeper->ledger);
    store_ledger_load(keeper->store, keeper->ca_url, &ahead);
    for (size_t i = 0; i < keeper->n_jobs; i++) {
        struct job *job = &keeper->jobs[i];
        struct err err = ERR_INIT;
        job->version = 0;
        job->over = false;
        job->caa_forbids = 0;
        strlist_clear(&job->failed_names);
        if (!begin_job(keeper, job, &err))
            job_over(keeper, job, &err);
        else
            warn_of_limits(keeper, &ahead, job);
    }
    ledger_clear(&ahead);
}

/* -- CAA (RFC 8659): the CA will look, so we look before it is asked ------------------------------------ */

struct caa_check {
    struct caa_check *next;
    uint32_t question; /* 0 = answered */
    struct keeper *keeper;
    struct job *job;
    const char *name;
};

/* Allowed by any of the ways in which the name can be proven. */
static bool caa_allows(const struct caa_check *check, const struct dns_answer *found, struct err *err)
{
    struct job *job = check->job;
    bool allowed = false, any = false;
    for (size_t i = 0; i < job->n_types; i++) {
        if (!challenge_type_fits(job->types[i], check->name))
            continue;
        any = true;
        err_clear(err);
        if (dns_caa_allows(found->caa, found->n_caa, check->name, &check->keeper->caa,
                           check->keeper->account.url, job->types[i], err))
            allowed = true;
        else
            job->caa_forbids |= 1u << job->types[i];
    }
    return allowed || !any;
}

static void on_caa(void *ctx, const struct dns_answer *found, const struct err *failure)
{
    struct caa_check *check = ctx;
    struct err err = ERR_INIT;
    if (failure != NULL) {
        log_info("%s: its CAA records could not be looked up: %s", check->name, failure->text);
    } else if (!check->job->over && !caa_allows(check, found, &err)) {
        snprintf(err.type, sizeof err.type, "caa");
        if (!strlist_has(&check->job->failed_names, check->name))
            strlist_add(&check->job->failed_names, check->name);
        if (!err_isset(&check->job->err)) /* the job is over once all its names have been looked at */
            check->job->err = err;
    }
    check->question = 0;
}

/* A way that the CA would refuse is not tried where another one is left for every name. */
static void drop_forbidden_types(struct job *job)
{
    enum challenge_type kept[CHALLENGE_TYPES];
    size_t n = 0;
    for (size_t i = 0; i < job->n_types; i++)
        if ((job->caa_forbids & 1u << job->types[i]) == 0)
            kept[n++] = job->types[i];
    for (size_t i = 0; i < job->names.n; i++) {
        bool provable = false;
        for (size_t t = 0; t < n; t++)
            provable |= challenge_type_fits(kept[t], job->names.v[i]);
        if (!provable)
            return;
    }
    memcpy(job->types, kept, n * sizeof *kept);
    job->n_types = n;
}

static void ask_caa(struct keeper *keeper, struct job *job, struct caa_check **checks)
{
    for (size_t i = 0; i < job->names.n; i++) {
        struct caa_check *check;
        struct dns_question question = {.kind = DNS_CAA,
                                        .name = job->names.v[i],
                                        .resolvers = &job->config->dns_servers,
                                        .timeout_ms = CAA_TIMEOUT_MS};
        if (name_is_ip(job->names.v[i]))
            continue;
        check = mem_alloc(sizeof *check);
        *check = (struct caa_check){.next = *checks, .keeper = keeper, .job = job, .name = job->names.v[i]};
        check->question = resolver_ask(keeper->options.resolver, &question, on_caa, check);
        *checks = check;
    }
}

/* An order that was finalized goes with its key: when that is no longer wanted, neither is the order. */
static bool pending_key_will_do(struct keeper *keeper, const struct job *job, size_t index)
{
    AUTO_KEY *key = NULL;
    struct err missing = ERR_INIT;
    if (job->config->key != NULL || job->config->csr != NULL ||
        !store_pending_key_load(keeper->store, job->config->name, (int)index, &key, &missing))
        return true;
    return key_type_of(key) == job->parts[index].key_type && sound(keeper, key);
}

static bool resumable(struct keeper *keeper, const struct job *job, size_t index)
{
    const struct order_state *order = &job->state.orders[index];
    int64_t age_s = clock_now_s() - order->created_s;
    return !job->force && order->url[0] != '\0' && strcmp(order->ca, keeper->ca_url) == 0 &&
           (order->account[0] == '\0' || strcmp(order->account, keeper->account.url) == 0) &&
           url_same_origin(order->url, keeper->ca_url) && age_s >= 0 && age_s < MAX_ORDER_AGE_S &&
           strlist_same_set(&order->names, &job->names) && pending_key_will_do(keeper, job, index);
}

/* One that goes on has passed this before. */
static bool goes_on(struct keeper *keeper, const struct job *job)
{
    for (size_t i = 0; i < job->n_parts; i++)
        if (!resumable(keeper, job, i))
            return false;
    return true;
}

static void check_caa(struct keeper *keeper)
{
    struct caa_check *checks = NULL;
    if (keeper->options.resolver == NULL || !dns_available())
        return;
    for (size_t i = 0; i < keeper->n_jobs; i++)
        if (!keeper->jobs[i].over && !goes_on(keeper, &keeper->jobs[i]))
            ask_caa(keeper, &keeper->jobs[i], &checks);
    resolver_wait(keeper->options.resolver, 2 * CAA_TIMEOUT_MS);
    while (checks != NULL) { /* an answer that comes later finds nobody */
        struct caa_check *first = checks;
        checks = first->next;
        if (first->question != 0)
            resolver_forget(keeper->options.resolver, first->question);
        free(first);
    }
    for (size_t i = 0; i < keeper->n_jobs; i++) {
        struct job *job = &keeper->jobs[i];
        if (!job->over && err_isset(&job->err)) {
            struct err err = job->err;
            err_clear(&job->err);
            job_over(keeper, job, &err);
        } else if (!job->over) {
            drop_forbidden_types(job);
        }
    }
}

/* -- obtaining ------------------------------------------------------------------------------------------ */

static int64_t packed_types(const struct job *job)
{
    int64_t packed = 0;
    for (size_t i = job->n_types; i > 0; i--)
        packed = packed << 4 | (int64_t)job->types[i - 1];
    return packed;
}

static bool send_order(struct keeper *keeper, struct job *job, size_t index, struct err *err)
{
    struct msg msg = {.type = MSG_ORDER, .id = order_id(keeper, job, index), .number = packed_types(job)};
    AUTO_FREE char *names = strlist_join(&job->names, "\n");
    buf_adds(&msg.body, names);
    msg.number2 =
        (job->parts[index].replaces[0] != '\0' ? ORDER_HAS_REPLACES : 0) |
        (profile_for(keeper, job) != NULL && !job->config->profile_required ? ORDER_MAY_DROP_PROFILE : 0) |
        (job->config->preferred_chain != NULL ? ORDER_ALL_CHAINS : 0);
    if (resumable(keeper, job, index)) {
        log_info("going on with the order %s", job->state.orders[index].url);
        snprintf(msg.url, sizeof msg.url, "%s", job->state.orders[index].url);
    }
    bool ok = msg_send(keeper->courier.fd, &msg, err);
    msg_clear(&msg);
    return ok;
}

static bool all_over(const struct keeper *keeper)
{
    for (size_t i = 0; i < keeper->n_jobs; i++)
        if (!keeper->jobs[i].over)
            return false;
    return true;
}

static bool run_orders(struct keeper *keeper, struct err *err)
{
    keeper->first_order_id =
        keeper->next_order_id + 1; /* never used again: messages about the orders before may still come */
    keeper->next_order_id += (uint32_t)(keeper->n_jobs * STORE_PARTS);
    keeper->grants = GRANTS_ORDER;
    bool ok = true;
    for (size_t i = 0; ok && i < keeper->n_jobs; i++)
        for (size_t part = 0; ok && part < keeper->jobs[i].n_parts; part++)
            if (!keeper->jobs[i].over)
                ok = send_order(keeper, &keeper->jobs[i], part, err);
    ok = ok && keeper_serve(keeper, all_over, err);
    keeper->grants = 0;
    for (size_t i = 0; i < keeper->n_jobs; i++)
        if (!keeper->jobs[i].over)
            job_over(keeper, &keeper->jobs[i], err);
    return ok;
}

/* A private CA that has lost its database: register again, and try the orders that failed of it, once. */
static bool after_lost_account(struct keeper *keeper, struct err *err)
{
    /* terms that have changed meanwhile are agreed to by whoever has agreed to any (--agree-tos), not by us
     */
    struct account_request request = {.agree_tos = keeper->jobs[0].config->agree_tos, .again = true};
    keeper->account_lost = false;
    log_warn("the CA does not know the account any more; registering again");
    if (!keeper_account(keeper, &request, NULL, err))
        return false;
    for (size_t i = 0; i < keeper->n_jobs; i++) {
        struct job *job = &keeper->jobs[i];
        if (strcmp(job->err.type, "accountDoesNotExist") != 0)
            continue;
        err_clear(&job->err);
        job->over = false;
        forget_orders(job);
        for (size_t part = 0; part < job->n_parts; part++) {
            job->parts[part].replaces[0] = '\0'; /* it was the lost account's */
            drop_chains(&job->parts[part]);
        }
    }
    return run_orders(keeper, err);
}

/* What was put into zones and elsewhere is taken away even after an interruption; but not for ever. */
static void finish_cleaning(struct keeper *keeper)
{
    int64_t deadline_ms = clock_mono_ms() + CLEANUP_LIMIT_MS;
    while (!presenter_idle(keeper->presenter) && clock_mono_ms() < deadline_ms) {
        struct pollfd fds[PRESENTER_FDS];
        size_t n = presenter_pollfds(keeper->presenter, fds);
        int wait_ms = presenter_timeout_ms(keeper->presenter);
        (void)poll(fds, n, wait_ms < 0 || wait_ms > 100 ? 100 : wait_ms);
        if (keeper->options.tick != NULL)
            keeper->options.tick(keeper->options.ctx);
        (void)presenter_step(keeper->presenter);
        if (!presenter_busy(keeper->presenter))
            break; /* what is left nobody has asked to be removed */
    }
}

bool keeper_obtain(struct keeper *keeper, struct job *jobs, size_t n, struct err *err)
{
    const struct presenter_options options = {.responder = keeper->options.responder,
                                              .resolver = keeper->options.resolver,
                                              .state_dir = store_state_dir(keeper->store),
                                              .account_url = keeper->account.url,
                                              .thumbprint = keeper->thumbprint,
                                              .hash_prefix = keeper->hash_prefix,
                                              .progress = keeper->options.progress,
                                              .done = on_presented,
                                              .progress_ctx = keeper->options.ctx,
                                              .ctx = keeper};
    bool ok = keeper_directory(keeper, err); /* its profiles, its CAA names */
    keeper->jobs = jobs;
    keeper->n_jobs = n;
    keeper->account_lost = false;
    keeper->presenter = presenter_new(&options);
    if (ok) {
        begin_jobs(keeper);
        check_caa(keeper);
        ok = run_orders(keeper, err);
    }
    if (ok && keeper->account_lost)
        ok = after_lost_account(keeper, err);
    for (size_t i = 0; i < n; i++)
        if (!jobs[i].over)
            job_over(keeper, &jobs[i], err);
    finish_cleaning(keeper);
    save_ledger(keeper);
    ledger_clear(&keeper->ledger);
    presenter_free(keeper->presenter);
    keeper->presenter = NULL;
    keeper->jobs = NULL;
    keeper->n_jobs = 0;
    return ok;
}
