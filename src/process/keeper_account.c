/*
 * The keeper's accounts: registering, changing, leaving; and revocation, which is signed in their name.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "keeper_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/ca.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

static bool save(struct keeper *keeper, struct err *err)
{
    return store_account_save(keeper->store, keeper->ca_url, keeper->account_name, &keeper->account, err);
}

static bool load(struct keeper *keeper, struct err *err)
{
    return store_account_load(keeper->store, keeper->ca_url, keeper->account_name, &keeper->account, err);
}

static bool failed_with(const struct err *err, const char *type)
{
    return err->code == ERR_ACME && strcmp(err->type, type) == 0;
}

static bool deactivated(const struct keeper *keeper)
{
    return strcmp(keeper->account.status, "deactivated") == 0;
}

static void copy(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%.*s", (int)size - 1, text != NULL ? text : "");
}

/* -- terms and external accounts ------------------------------------------------------------------------ */

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

static bool credentials_are_known(const struct keeper *keeper)
{
    return keeper->credentials_known;
}

static bool fetch_credentials(struct keeper *keeper, const char *url, const char *email, struct err *err)
{
    struct msg msg = MSG_INIT(MSG_EAB_FETCH);
    copy(msg.url, sizeof msg.url, url);
    copy(msg.text, sizeof msg.text, email);
    keeper_say(keeper, NULL, "asking the CA for credentials for the e-mail address");
    return msg_send(keeper->courier.fd, &msg, err) && keeper_serve(keeper, credentials_are_known, err);
}

static bool no_credentials(const struct keeper *keeper, const struct ca *ca, struct err *err)
{
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, keeper->ca_url,
            "this CA wants credentials of an account made on its web site (external account binding)");
    if (ca->eab_url[0] != '\0')
        return err_advise(err, "give an e-mail address (-m), and they are fetched; or give them with "
                               "--eab-kid and --eab-hmac-key");
    return err_advise(err, "get them%s%s, and give them with --eab-kid and --eab-hmac-key",
                      ca->eab_page[0] != '\0' ? " at " : " there", ca->eab_page);
}

/* What binds the account to one at the CA's web site, into the call; nothing where nothing is wanted. */
static bool choose_binding(struct keeper *keeper, const struct account_request *request, const char *email,
                           struct err *err)
{
    const struct ca *ca = ca_by_url(keeper->ca_url);
    struct keeper_call *call = &keeper->call;
    call->eab_kid = call->eab_hmac_key = call->eab_alg = NULL;
    if (request->eab_kid != NULL) {
        call->eab_kid = request->eab_kid;
        call->eab_hmac_key = request->eab_hmac_key;
        call->eab_alg = request->eab_alg;
    } else if (!keeper->external_account_required) {
        return true;
    } else if (keeper->account.eab_kid[0] != '\0') {
        call->eab_kid = keeper->account.eab_kid;
        call->eab_hmac_key = keeper->account.eab_hmac_key;
        call->eab_alg = keeper->account.eab_alg[0] != '\0' ? keeper->account.eab_alg : NULL;
    } else if (ca->eab_url[0] != '\0' && email != NULL && email[0] != '\0') {
        if (!fetch_credentials(keeper, ca->eab_url, email, err))
            return false;
        call->eab_kid = keeper->eab_kid;
        call->eab_hmac_key = keeper->eab_hmac_key;
    } else {
        return no_credentials(keeper, ca, err);
    }
    return true;
}

/* -- registering ---------------------------------------------------------------------------------------- */

static bool location_of_account(struct keeper *keeper, struct err *err)
{
    if (keeper->call.url[0] == '\0' || strlen(keeper->call.url) >= sizeof keeper->account.url)
        return err_set(err, ERR_PROTOCOL, NEXT_RETRY_LATER, keeper->ca_url,
                       "the CA did not say where the account is (no Location)");
    copy(keeper->account.url, sizeof keeper->account.url, keeper->call.url);
    copy(keeper->account.status, sizeof keeper->account.status, "valid");
    if (strcmp(keeper->call.text, "deactivated") == 0 || strcmp(keeper->call.text, "revoked") == 0) {
        copy(keeper->account.status, sizeof keeper->account.status, "deactivated");
        err_set(err, ERR_ACME, NEXT_FIX_CONFIG, keeper->ca_url, "the account of this key is %s at the CA",
                keeper->call.text);
        return err_advise(err, "`tlsup account register` makes another, with a key of its own");
    }
    return true;
}

static bool ask_for_account(struct keeper *keeper, struct err *err)
{
    if (keeper_call(keeper, JWS_NEW_ACCOUNT, "", err))
        return true;
    /* credentials work once with some CAs: the account that they made then is still ours */
    struct err second = ERR_INIT;
    if (keeper->call.eab_kid == NULL || !failed_with(err, "malformed"))
        return false;
    keeper->call.other_key = NULL;
    if (!keeper_call(keeper, JWS_FIND_ACCOUNT, "", &second))
        return false;
    err_clear(err);
    return true;
}

static void remember_binding(struct keeper *keeper)
{
    const struct keeper_call *call = &keeper->call;
    if (call->eab_kid == NULL || call->eab_kid == keeper->account.eab_kid)
        return;
    copy(keeper->account.eab_kid, sizeof keeper->account.eab_kid, call->eab_kid);
    copy(keeper->account.eab_hmac_key, sizeof keeper->account.eab_hmac_key, call->eab_hmac_key);
    copy(keeper->account.eab_alg, sizeof keeper->account.eab_alg, call->eab_alg);
}

static bool update_contact(struct keeper *keeper, const char *email, struct err *err)
{
    keeper->call.email = email;
    keeper->call.agree_tos = false;
    if (!keeper_call(keeper, JWS_UPDATE_ACCOUNT, keeper->account.url, err))
        return err_context(err, "the e-mail address");
    return true;
}

static bool register_account(struct keeper *keeper, const struct account_request *request, struct err *err)
{
    struct account_record *account = &keeper->account;
    struct keeper_call *call = &keeper->call;
    const char *email = request->email != NULL ? request->email : account->email;
    bool agreed = request->agree_tos || (account->tos[0] != '\0' && strcmp(account->tos, keeper->terms) == 0);
    AUTO_FREE char *contact = mem_dup(email);
    if (!agree_to_terms(keeper, agreed, err) || !choose_binding(keeper, request, contact, err))
        return false;
    call->email = contact;
    call->agree_tos = true;
    call->other_key = NULL;
    keeper_say(keeper, NULL, "registering the account");
    if (!ask_for_account(keeper, err))
        return false;
    if (!location_of_account(keeper, err)) {
        struct err ignored = ERR_INIT;
        memcpy(account->thumbprint, keeper->thumbprint, sizeof account->thumbprint);
        if (deactivated(keeper) && !save(keeper, &ignored)) /* noted, so that registering begins anew */
            log_debug("%s", ignored.text);
        return false;
    }
    bool existed = call->status == 200;
    bool other_contact = existed && contact[0] != '\0' && strcmp(contact, account->email) != 0;
    remember_binding(keeper);
    copy(account->tos, sizeof account->tos, keeper->terms);
    memcpy(account->thumbprint, keeper->thumbprint, sizeof account->thumbprint);
    if (account->created_s == 0 || !existed)
        account->created_s = clock_now_s();
    if (!save(keeper, err) || (other_contact && !update_contact(keeper, contact, err)))
        return false;
    copy(account->email, sizeof account->email, contact);
    return save(keeper, err);
}

/* -- a key change that was cut -------------------------------------------------------------------------- */

static bool found_with(struct keeper *keeper, const struct key *key, bool *found, struct err *err)
{
    struct err refused = ERR_INIT;
    keeper->call.other_key = key;
    *found = keeper_call(keeper, JWS_FIND_ACCOUNT, "", &refused);
    keeper->call.other_key = NULL;
    if (*found || refused.code == ERR_ACME) /* CAs have several words for "no" */
        return true;
    *err = refused;
    return false;
}

/* From now on the CA knows the account by the new key. */
static bool take_next_key(struct keeper *keeper, struct key *next, struct err *err)
{
    char thumbprint[KEY_THUMBPRINT_BYTES];
    if (!key_thumbprint(next, thumbprint, err))
        return false;
    memcpy(keeper->account.thumbprint, thumbprint, sizeof thumbprint);
    if (!save(keeper, err))
        return false;
    key_free(keeper->account_key);
    keeper->account_key = NULL;
    return keeper_load_key(keeper, err);
}

/* Did the CA make a change whose answer we did not live to hear? */
static bool settle_key_change(struct keeper *keeper, struct err *err)
{
    AUTO_KEY *next = NULL;
    struct err none = ERR_INIT;
    char thumbprint[KEY_THUMBPRINT_BYTES];
    bool found = false;
    if (keeper->account.url[0] == '\0' ||
        !store_account_next_load(keeper->store, keeper->ca_url, keeper->account_name, &next, &none))
        return true;
    if (!key_thumbprint(next, thumbprint, err))
        return false;
    if (strcmp(thumbprint, keeper->account.thumbprint) == 0)
        return true;
    log_warn("a change of the account key was cut; `tlsup account change-key` finishes it");
    if (!found_with(keeper, next, &found, err))
        return false;
    return !found || take_next_key(keeper, next, err);
}

bool keeper_account_change_key(struct keeper *keeper, struct account_record *out, bool *refused,
                               struct err *err)
{
    AUTO_KEY *next = NULL;
    bool found = false;
    char thumbprint[KEY_THUMBPRINT_BYTES];
    *refused = false;
    if (!store_account_next_load(keeper->store, keeper->ca_url, keeper->account_name, &next, err) ||
        !keeper_load_key(keeper, err) || !load(keeper, err) || !key_thumbprint(next, thumbprint, err))
        return false;
    bool done = strcmp(thumbprint, keeper->account.thumbprint) == 0;
    if (!done && (!keeper_directory(keeper, err) || !found_with(keeper, next, &found, err)))
        return false;
    if (!done && !found) {
        struct err why = ERR_INIT;
        keeper->call.other_key = next;
        keeper_say(keeper, NULL, "changing the key of the account");
        bool ok = keeper_call(keeper, JWS_KEY_CHANGE, "", &why);
        keeper->call.other_key = NULL;
        /* a refusal, 409 and its Location among them, proves nothing, and the old key goes after this: the
         * account must be found by the new one */
        if (!ok && (!found_with(keeper, next, &found, err) || !found)) {
            *refused = !err_isset(err) && why.code == ERR_ACME && why.next == NEXT_REFUSED &&
                       failed_with(&keeper->call.err, "accountDoesNotExist");
            if (!err_isset(err))
                *err = why;
            return err_context(err, "the key of the account could not be changed");
        }
    }
    if (!done && !take_next_key(keeper, next, err))
        return false;
    if (out != NULL)
        *out = keeper->account;
    return true;
}

/* -- the operations ------------------------------------------------------------------------------------- */

/* The key of a deactivated account can never be registered again. */
static bool begin_anew(struct keeper *keeper, struct err *err)
{
    AUTO_KEY *fresh = NULL;
    if (!key_generate(KEY_ECDSA_P256, &fresh, err) ||
        !store_account_key_import(keeper->store, keeper->ca_url, keeper->account_name, fresh, NULL, err))
        return false;
    key_free(keeper->account_key);
    keeper->account_key = NULL;
    keeper->account = (struct account_record){0};
    return keeper_load_key(keeper, err);
}

/* A CA that refuses the key as such (its account was deactivated without our knowing) takes another, when a
 * person asks for an account. */
static bool register_or_begin_anew(struct keeper *keeper, const struct account_request *request,
                                   struct err *err)
{
    if (register_account(keeper, request, err))
        return true;
    if (!request->again || keeper->account.created_s == 0 || !failed_with(err, "unauthorized"))
        return false;
    err_clear(err);
    log_warn("the CA refuses the account's key; a new one is made");
    return begin_anew(keeper, err) && register_account(keeper, request, err);
}

bool keeper_account(struct keeper *keeper, const struct account_request *request, struct account_record *out,
                    struct err *err)
{
    if (!keeper_load_key(keeper, err) || !load(keeper, err) || !settle_key_change(keeper, err))
        return false;
    if (deactivated(keeper) && !request->again) {
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, keeper->ca_url, "the account at this CA was deactivated");
        return err_advise(err, "`tlsup account register` makes another, with a key of its own");
    }
    if (deactivated(keeper) && !begin_anew(keeper, err))
        return false;
    bool known = keeper->account.url[0] != '\0' &&
                 strcmp(keeper->account.thumbprint, keeper->thumbprint) == 0 &&
                 url_same_origin(keeper->account.url, keeper->ca_url);
    if (!known || request->again) {
        keeper->account.url[0] = '\0';
        if (!known)
            keeper->account.email[0] = '\0'; /* nothing of what is on record concerns this account */
        if (!keeper_directory(keeper, err) || !register_or_begin_anew(keeper, request, err))
            return false;
    }
    if (out != NULL)
        *out = keeper->account;
    return true;
}

bool keeper_account_import(struct keeper *keeper, const struct key *key, struct account_record *out,
                           struct err *err)
{
    const char *uri = key_uri(key);
    if (!load(keeper, err) || !keeper_directory(keeper, err))
        return false;
    keeper->call.other_key = key;
    bool found = keeper_call(keeper, JWS_FIND_ACCOUNT, "", err);
    keeper->call.other_key = NULL;
    if (!found) {
        if (failed_with(err, "accountDoesNotExist")) {
            err->advice[0] = '\0';
            (void)err_advise(err, "is it the right CA (--server)? Nothing was changed here");
        }
        return false;
    }
    keeper->account = (struct account_record){0};
    if (!key_thumbprint(key, keeper->thumbprint, err) || !location_of_account(keeper, err) ||
        !store_account_key_import(keeper->store, keeper->ca_url, keeper->account_name,
                                  uri == NULL ? key : NULL, uri, err))
        return false;
    memcpy(keeper->account.thumbprint, keeper->thumbprint, sizeof keeper->account.thumbprint);
    copy(keeper->account.tos, sizeof keeper->account.tos,
         keeper->terms); /* an account has agreed, or it would not be */
    keeper->account.created_s = clock_now_s();
    key_free(keeper->account_key);
    keeper->account_key = NULL;
    if (!save(keeper, err) || !keeper_load_key(keeper, err))
        return false;
    *out = keeper->account;
    return true;
}

/* An account that is known here, without making one. */
static bool existing(struct keeper *keeper, struct err *err)
{
    if (!load(keeper, err))
        return false;
    if (keeper->account.url[0] == '\0') {
        err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, keeper->ca_url, "there is no account at this CA");
        return err_advise(err, "`tlsup account register` makes one");
    }
    if (deactivated(keeper))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, keeper->ca_url,
                       "the account at this CA was deactivated");
    return keeper_load_key(keeper, err) && settle_key_change(keeper, err);
}

bool keeper_account_update(struct keeper *keeper, const char *email, bool agree_tos,
                           struct account_record *out, struct err *err)
{
    if (!existing(keeper, err) || !keeper_directory(keeper, err))
        return false;
    keeper->call.email = email;
    keeper->call.agree_tos = agree_tos;
    if (!keeper_call(keeper, JWS_UPDATE_ACCOUNT, keeper->account.url, err))
        return err_context(err, "the account could not be changed");
    if (email != NULL)
        copy(keeper->account.email, sizeof keeper->account.email, email);
    if (agree_tos)
        copy(keeper->account.tos, sizeof keeper->account.tos, keeper->terms);
    *out = keeper->account;
    return save(keeper, err);
}

bool keeper_account_deactivate(struct keeper *keeper, struct err *err)
{
    if (!existing(keeper, err))
        return false;
    if (!keeper_call(keeper, JWS_DEACTIVATE, keeper->account.url, err))
        return err_context(err, "the account could not be deactivated");
    copy(keeper->account.status, sizeof keeper->account.status, "deactivated");
    return save(keeper, err);
}

bool keeper_revoke(struct keeper *keeper, const struct buf *cert_der, int reason, const struct key *by_key,
                   bool *already, struct err *err)
{
    struct err refused = ERR_INIT;
    *already = false;
    if (by_key == NULL && !existing(keeper, err))
        return false;
    keeper->call.cert_der = cert_der;
    keeper->call.reason = reason;
    keeper->call.other_key = by_key;
    bool ok = keeper_call(keeper, by_key != NULL ? JWS_REVOKE_BY_KEY : JWS_REVOKE, "", &refused);
    keeper->call.cert_der = NULL;
    keeper->call.other_key = NULL;
    *already = !ok && failed_with(&refused, "alreadyRevoked");
    if (ok || *already)
        return true;
    *err = refused;
    return err_context(err, "the certificate could not be revoked");
}
