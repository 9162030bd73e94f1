/*
 * deploy_change.c - the change itself: of one certificate, or of several at once, which stand or fall
 * together.
 *
 * Each has a transaction of its own, so that each can be undone by itself; they are joined (txn_join()), and
 * the server is tested and reloaded once for all.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdlib.h>

#include "deploy_internal.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/roles.h"

enum { KEPT_JOURNALS = 3 };

/* One certificate of those. */
struct part {
    const struct deploy_item *item;
    bool answers; /* it gets an answer to challenges as well */
    struct leaves leaves;
    struct txn *txn;
    struct pages before;
};

struct change {
    struct deploy *deploy;
    struct part *parts;
    size_t n;
    struct txn *configs;
    struct txn **applied; /* borrowed, in that order: the first one leads. 0 = nothing is touched */
    size_t n_applied;
};

static void change_clear(struct change *change)
{
    for (size_t i = 0; i < change->n; i++) {
        txn_free(change->parts[i].txn);
        pages_clear(&change->parts[i].before);
    }
    txn_free(change->configs);
    free(change->parts);
    free(change->applied);
}

static bool change_init(struct change *change, const struct deploy_item items[], size_t n, struct err *err)
{
    change->parts = mem_array(n, sizeof *change->parts);
    change->n = n;
    change->applied = mem_array(n + 1, sizeof(struct txn *));
    for (size_t i = 0; i < n; i++) {
        const struct deploy_item *item = &items[i];
        struct part *part = &change->parts[i];
        part->item = item;
        part->answers =
            item->thumbprint != NULL && item->thumbprint[0] != '\0' && deploy_listens_on_80(change->deploy);
        if (!deploy_leaves(change->deploy, item->config, item->version, &part->leaves, err))
            return false;
        item->state->version = item->version;
    }
    return true;
}

/* Of several, which one was it? */
static bool because_of(const struct change *change, const struct part *part, struct err *err)
{
    return change->n > 1 ? err_context(err, "%s", part->item->config->name) : false;
}

static bool reach(const struct change *change, enum deploy_step step, struct err *err)
{
    for (size_t i = 0; i < change->n; i++) {
        const struct deploy_item *item = change->parts[i].item;
        item->state->step = step;
        if (step == DEPLOY_VERIFIED)
            item->state->verified_s = clock_now_s();
        if (!store_state_save(change->deploy->store, item->config->name, item->state, err))
            return false;
    }
    return true;
}

/* -- one after the other -------------------------------------------------------------------------------- */

static bool look(struct change *change, struct err *err)
{
    for (size_t i = 0; i < change->n; i++)
        deploy_look(change->deploy, &change->parts[i].item->config->names, &change->parts[i].before);
    return !signals_interrupted(err);
}

static bool apply(struct change *change, struct txn *txn, struct err *err)
{
    if (txn_count(txn) == 0)
        return true;
    if (change->n_applied == 0 && !look(change, err))
        return false;
    if (change->n_applied > 0)
        txn_join(txn, change->applied[0]);
    change->applied[change->n_applied++] = txn;
    return deploy_may_apply(change->deploy, txn, err) && txn_apply(txn, err);
}

static bool apply_part(struct change *change, struct part *part, struct err *err)
{
    struct deploy *deploy = change->deploy;
    const struct deploy_item *item = part->item;
    AUTO_FREE char *title = mem_fmt("https for %s", item->config->name);
    if (signals_interrupted(err) || (change->n_applied > 0 && !deploy_reread(deploy, err)))
        return false;
    return txn_begin(store_journal_dir(deploy->store), item->config->name, title, &part->txn, err) &&
           (!part->answers || web_edit_challenge(&deploy->web, &deploy->sites, &item->config->names,
                                                 item->thumbprint, part->txn, err)) &&
           deploy_stage_leaves(deploy, item->config, item->version, &part->leaves, part->txn, err) &&
           apply(change, part->txn, err);
}

static bool stage_config(struct change *change, const struct deploy_item *item, struct err *err)
{
    AUTO_FREE char *path = NULL;
    AUTO_BUF text = BUF_INIT;
    unsigned mode = 0;
    return !item->save_config ||
           (store_cert_config_made(change->deploy->store, item->config, &path, &text, &mode, err) &&
            (path == NULL || txn_write(change->configs, path, buf_str(&text), text.len, (mode_t)mode, err)));
}

/* No undo takes that back: it is settings, which the undo sees to itself. */
static bool apply_configs(struct change *change, struct err *err)
{
    const struct cert_config *first = change->parts[0].item->config;
    if (!txn_begin(store_journal_dir(change->deploy->store), first->name, "the settings of certificates",
                   &change->configs, err))
        return false;
    txn_make_final(change->configs);
    for (size_t i = 0; i < change->n; i++)
        if (!stage_config(change, change->parts[i].item, err))
            return false;
    return apply(change, change->configs, err);
}

static bool apply_all(struct change *change, struct err *err)
{
    if (!apply_configs(change, err))
        return false;
    for (size_t i = 0; i < change->n; i++)
        if (!apply_part(change, &change->parts[i], err))
            return because_of(change, &change->parts[i], err);
    return true;
}

/* -- the proof ------------------------------------------------------------------------------------------ */

static bool prove_part(struct change *change, struct part *part, struct err *err)
{
    const struct cert_config *config = part->item->config;
    return (!part->answers ||
            deploy_prove_challenge(change->deploy, &config->names, part->item->thumbprint, err)) &&
           deploy_prove_https(change->deploy, &config->names, &part->leaves, err) &&
           deploy_prove_pages(change->deploy, &part->before, config->redirect, err);
}

static bool prove(struct change *change, struct err *err)
{
    for (size_t i = 0; i < change->n; i++)
        if (!prove_part(change, &change->parts[i], err))
            return because_of(change, &change->parts[i], err);
    return true;
}

/* Its files say what they should; a server that shows something else has not read them since. */
static bool tell_again(struct change *change, struct err *err)
{
    struct deploy *deploy = change->deploy;
    size_t shown = 0;
    while (shown < change->n &&
           deploy_shows(deploy, &change->parts[shown].item->config->names, &change->parts[shown].leaves))
        shown++;
    if (shown == change->n)
        return true;
    deploy_tell(deploy, "reloading the web server");
    return web_test(&deploy->web, err) && web_reload(&deploy->web, err);
}

/* -- the two ends --------------------------------------------------------------------------------------- */

/* Where it is served now, for people: FILE:LINE of each site with one of the names. */
static void note_places(const struct deploy *deploy, const struct strlist *names, struct cert_state *state)
{
    strlist_clear(&state->places);
    for (size_t i = 0; i < names->n; i++) {
        const struct site *site = sites_owner(&deploy->web, &deploy->sites, names->v[i], 443, false);
        AUTO_FREE char *place = site != NULL ? mem_fmt("%s:%zu", site->file, site->line) : NULL;
        if (place != NULL && !strlist_has(&state->places, place))
            strlist_add(&state->places, place);
    }
}

static void note_all_places(const struct change *change)
{
    for (size_t i = 0; i < change->n; i++)
        note_places(change->deploy, &change->parts[i].item->config->names, change->parts[i].item->state);
}

static bool prune(const struct change *change, struct err *err)
{
    for (size_t i = 0; i < change->n; i++)
        if (!txn_prune(store_journal_dir(change->deploy->store), change->parts[i].item->config->name,
                       KEPT_JOURNALS, err))
            return false;
    return true;
}

/* Proven: from here on it is only written down. What cannot be written now the next run finds in the journal
 * and finishes. */
static void commit(const struct change *change)
{
    struct err err = ERR_INIT;
    signals_ignore();
    if (!deploy_keep(change->deploy, &err) || !txn_commit_all(change->applied, change->n_applied, &err) ||
        !prune(change, &err) || !reach(change, DEPLOY_VERIFIED, &err))
        log_warn("https is on and proven, but that could not be written down: %s%s%s", err.text,
                 err.advice[0] != '\0' ? "; " : "", err.advice);
}

static void put_back(struct change *change, struct err *why)
{
    struct err none = ERR_INIT, ignored = ERR_INIT;
    deploy_put_back_all(change->deploy, change->applied, change->n_applied, why);
    bool as_before = deploy_reread(change->deploy, &none);
    for (size_t i = 0; i < change->n && as_before; i++)
        as_before = deploy_prove_pages(change->deploy, &change->parts[i].before, false, &none);
    if (!as_before && none.code != ERR_INTERRUPTED)
        log_error("after everything was put back: %s", none.text);
    if (!reach(change, DEPLOY_ISSUED, &ignored))
        log_warn("%s", ignored.text);
}

/* -- the whole ------------------------------------------------------------------------------------------ */

/* All there already: only the proof is due. */
static bool confirm(struct change *change, struct err *err)
{
    if (!tell_again(change, err) || !prove(change, err))
        return false;
    note_all_places(change);
    return reach(change, DEPLOY_VERIFIED, err);
}

static bool make_it_live(struct change *change, struct err *err)
{
    struct txn *leader = change->applied[0];
    return deploy_activate(change->deploy, leader, err) && deploy_reread(change->deploy, err) &&
           reach(change, DEPLOY_RELOADED, err) && prove(change, err) &&
           /* what it rests on first: a crash in between must not take that away from under it */
           deploy_note_answers(change->deploy, err) && txn_note(leader, TXN_VERIFIED, err);
}

static bool carry_out(struct change *change, struct err *err)
{
    bool ok = apply_all(change, err);
    if (ok && change->n_applied == 0)
        return confirm(change, err);
    if (ok && make_it_live(change, err)) {
        note_all_places(change);
        commit(change);
        return true;
    }
    if (change->n_applied > 0)
        put_back(change, err);
    return false;
}

bool deploy_certificates(struct deploy *deploy, const struct deploy_item items[], size_t n, struct err *err)
{
    struct change change = {.deploy = deploy};
    bool ok = n == 0 || (change_init(&change, items, n, err) && carry_out(&change, err));
    change_clear(&change);
    return ok;
}

bool deploy_certificate(struct deploy *deploy, const struct cert_config *config, int version,
                        struct cert_state *state, struct err *err)
{
    const struct deploy_item item = {.config = config, .version = version, .state = state};
    return deploy_certificates(deploy, &item, 1, err);
}
