#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdlib.h>

#include "deploy_internal.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/port.h"
#include "tlsup/roles.h"

enum { LET_GO_MS = 5000 };

/* -- the other certificates of this web server ---------------------------------------------------------- */

/* One of which nothing is known any more keeps its edits; one that is not installed may still have its
 * challenges answered. */
bool deploy_concerns(void *ctx, const char *cert_name)
{
    struct deploy *deploy = ctx;
    struct cert_config config;
    struct err ignored = ERR_INIT;
    if (!store_cert_config(deploy->store, cert_name, &config, &ignored))
        return false;
    bool ours = config.install == deploy->web.kind ||
                (config.install == WEB_NONE && cert_config_has_challenge(&config, CHALLENGE_VIA_WEB_SERVER));
    cert_config_clear(&config);
    return ours;
}

bool deploy_listens(const struct sites *sites, int port)
{
    for (size_t i = 0; i < sites->n; i++)
        for (size_t k = 0; k < sites->v[i].n_listens; k++)
            if (sites->v[i].listens[k].port == port)
                return true;
    return false;
}

/* An account that is not known here yet, or no longer, has no renewals that need an answer. Where the web
 * server cannot give it and other ways are left, it is but one way less, as when the certificate was got. */
static bool redo_challenge(struct deploy *deploy, const struct cert_config *config, struct txn *txn,
                           struct err *err)
{
    struct account_record account;
    if (!cert_config_has_challenge(config, CHALLENGE_VIA_WEB_SERVER) || !deploy_listens(&deploy->sites, 80))
        return true;
    if (!store_account_load(deploy->store, config->server, config->account, &account, err))
        return false;
    if (account.thumbprint[0] == '\0' ||
        web_edit_challenge(&deploy->web, &deploy->sites, &config->names, account.thumbprint, txn, err))
        return true;
    if (config->n_challenges == 1)
        return false;
    log_warn("%s: the web server cannot answer for it: %s", config->name, err->text);
    err_clear(err);
    return true;
}

static bool redo_https(struct deploy *deploy, const struct cert_config *config, struct txn *txn,
                       struct err *err)
{
    int version = 0;
    if (config->install != deploy->web.kind)
        return true;
    if (!store_live_version(deploy->store, config->name, &version, err))
        return false;
    return version == 0 || deploy_stage(deploy, config, version, txn, err);
}

bool deploy_redo(struct deploy *deploy, const struct cert_config *config, struct txn *txn, struct err *err)
{
    return redo_challenge(deploy, config, txn, err) && redo_https(deploy, config, txn, err);
}

bool deploy_redo_other(void *ctx, const char *cert_name, struct txn *txn, struct err *err)
{
    struct deploy *deploy = ctx;
    struct cert_config config;
    if (!store_cert_config(deploy->store, cert_name, &config, err))
        return false;
    bool ok = deploy_redo(deploy, &config, txn, err);
    cert_config_clear(&config);
    return ok;
}

/* -- the proof ------------------------------------------------------------------------------------------ */

static bool prove_one(struct deploy *deploy, const char *cert_name, struct err *err)
{
    struct cert_config config;
    struct leaves leaves;
    int version = 0;
    if (!store_cert_config(deploy->store, cert_name, &config, err))
        return false;
    bool ok = store_live_version(deploy->store, cert_name, &version, err);
    if (ok && version > 0 && config.install == deploy->web.kind)
        ok = deploy_leaves(deploy, &config, version, &leaves, err) &&
             deploy_prove_https(deploy, &config.names, &leaves, err);
    cert_config_clear(&config);
    return ok;
}

/* Old workers hold the port for a while after a reload: whoever comes next must not find it taken. */
static void wait_until_let_go(struct deploy *deploy)
{
    struct patience patience = deploy_patience(deploy, LET_GO_MS);
    char holder[PORT_HOLDER_BYTES];
    pid_t pid;
    while (port_holder(443, holder, &pid) && deploy_wait(deploy, &patience))
        ;
}

bool deploy_prove_redone(struct deploy *deploy, const struct strlist *others, bool had_443, struct err *err)
{
    if (deploy->web.master_pid == 0)
        return true;
    for (size_t i = 0; i < others->n; i++)
        if (!prove_one(deploy, others->v[i], err))
            return err_context(err, "%s, which rests on the same configuration", others->v[i]);
    if (had_443 && !deploy_listens(&deploy->sites, 443))
        wait_until_let_go(deploy);
    return web_alive(&deploy->web, others->n == 0, err);
}

/* -- the taking back ------------------------------------------------------------------------------------ */

static bool stage_undo(struct deploy *deploy, const char *cert_name, struct txn **txn,
                       struct strlist *messages, struct err *err)
{
    const struct txn_redo others = {.concerns = deploy_concerns, .edit = deploy_redo_other, .ctx = deploy};
    AUTO_FREE char *title = mem_fmt("undo %s", cert_name);
    return txn_begin(store_journal_dir(deploy->store), cert_name, title, txn, err) &&
           txn_undo(*txn, &others, messages, err) &&
           (txn_count(*txn) == 0 || deploy_may_apply(deploy, *txn, err));
}

static bool carry_out(struct deploy *deploy, struct txn *txn, struct err *err)
{
    AUTO_STRLIST others = STRLIST_INIT;
    bool had_443 = deploy_listens(&deploy->sites, 443);
    txn_redone(txn, &others);
    if (deploy_take_up(deploy, txn, err) && deploy_reread(deploy, err) &&
        deploy_prove_redone(deploy, &others, had_443, err) && txn_note(txn, TXN_VERIFIED, err))
        return true;
    deploy_put_back(deploy, txn, err);
    return false;
}

/* Proven: what cannot be written down now the next run finds in the journal and finishes. */
static void commit(struct txn *txn)
{
    struct err err = ERR_INIT;
    signals_ignore();
    if (!txn_commit(txn, &err))
        log_warn("it is undone, but that could not be written down: %s", err.text);
}

bool deploy_plan_undo(struct deploy *deploy, const char *cert_name, struct buf *diff,
                      struct strlist *commands, struct strlist *messages, struct err *err)
{
    struct txn *txn = NULL;
    bool ok = stage_undo(deploy, cert_name, &txn, messages, err);
    if (ok) {
        txn_diff(txn, diff);
        if (txn_count(txn) > 0)
            web_commands(&deploy->web, commands);
    }
    txn_free(txn);
    return ok;
}

bool deploy_undo(struct deploy *deploy, const char *cert_name, struct strlist *messages, struct err *err)
{
    struct txn *txn = NULL;
    bool ok = stage_undo(deploy, cert_name, &txn, messages, err) &&
              (txn_count(txn) > 0 ? carry_out(deploy, txn, err)
                                  : txn_apply(txn, err) && txn_note(txn, TXN_VERIFIED, err));
    if (ok)
        commit(txn);
    txn_free(txn);
    return ok;
}
