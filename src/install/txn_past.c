/*
 * txn_past.c - what former runs left: unfinished transactions to end, committed ones to tell of or to prune.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdlib.h>
#include <string.h>

#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "txn_internal.h"

/* -- recovery ------------------------------------------------------------------------------------------- */

void txn_recovery_clear(struct txn_recovery *recovery)
{
    strlist_clear(&recovery->messages);
    *recovery = (struct txn_recovery){0};
}

static void add_message(struct strlist *messages, const char *what, const char *title, const char *how)
{
    AUTO_FREE char *text = mem_fmt("%s \"%s\" %s", what, title, how);
    strlist_add(messages, text);
}

static bool is_over(const struct txn *txn)
{
    return txn_has(txn, MARK_COMMITTED) || txn_has(txn, MARK_UNDONE);
}

static bool owes_reload(const struct txn *txn)
{
    return txn_has(txn, MARK_UNDONE) && txn_has(txn, MARK_RELOADING) && !txn_has(txn, MARK_SETTLED);
}

static bool end_one(struct txn *txn, struct txn_recovery *out, struct err *err)
{
    size_t kept = 0;
    bool proven;
    if (!group_proven(txn, &proven, err))
        return false;
    if (proven) {
        if (!txn_commit(txn, err))
            return false;
        out->finished++;
        add_message(&out->messages, "An earlier run was interrupted after", txn->title,
                    "was proven to work: it stands.");
        return true;
    }
    bool ok = txn_put_back(txn, &out->messages, &kept, err);
    out->kept += kept;
    if (!ok)
        return err_context(err, "an earlier run was interrupted in \"%s\"", txn->title);
    out->rolled_back++;
    add_message(&out->messages, "An earlier run was interrupted in", txn->title,
                kept == 0 ? "and was put back." : "and was put back, as far as said above.");
    return true;
}

static bool recover_one(struct txn *txn, struct txn_recovery *out, struct err *err)
{
    if (is_over(txn)) {
        if (txn_has(txn, MARK_COMMITTED) && !txn->damaged)
            txn_finish_commit(txn);
    } else if (txn->damaged) {
        return journal_damaged(txn, err);
    } else if (!txn_has(txn, MARK_APPLYING)) {
        return fs_remove_tree(txn->dir, err); /* it had touched nothing */
    } else if (!end_one(txn, out, err)) {
        return false;
    }
    out->reload_needed = out->reload_needed || owes_reload(txn);
    return true;
}

bool txn_recover(const char *journal_dir, struct txn_recovery *out, struct err *err)
{
    AUTO_STRLIST ids = STRLIST_INIT;
    AUTO_STRLIST stuck = STRLIST_INIT; /* groups of which one cannot be ended: the older ones lie below it */
    txn_recovery_clear(out);
    if (!journal_ids(journal_dir, &ids, err))
        return false;
    for (size_t i = ids.n; i-- > 0;) { /* newest first, as edits are undone in reverse */
        struct err trouble = ERR_INIT;
        AUTO_TXN *txn = NULL;
        bool loaded = journal_load(journal_dir, ids.v[i], &txn, &trouble);
        if (loaded && (strlist_has(&stuck, group_id(txn)) || recover_one(txn, out, &trouble)))
            continue;
        if (loaded)
            strlist_add(&stuck, group_id(txn));
        if (!err_isset(err))
            *err = trouble;
    }
    return !err_isset(err);
}

bool txn_settle(const char *journal_dir, struct err *err)
{
    AUTO_STRLIST ids = STRLIST_INIT;
    if (!journal_ids(journal_dir, &ids, err))
        return false;
    for (size_t i = 0; i < ids.n; i++) {
        AUTO_TXN *txn = NULL;
        if (!journal_load(journal_dir, ids.v[i], &txn, err))
            return false;
        if (owes_reload(txn) && !journal_mark(txn, MARK_SETTLED, err))
            return false;
    }
    return true;
}

/* -- the committed -------------------------------------------------------------------------------------- */

void past_clear(struct past *past)
{
    for (size_t i = 0; i < past->n; i++)
        txn_free(past->v[i]);
    free(past->v);
    *past = (struct past){0};
}

static bool stands(const struct txn *txn, const char *owner)
{
    return txn->begun && txn_has(txn, MARK_COMMITTED) && !txn_has(txn, MARK_UNDONE) && txn->undoes.n == 0 &&
           (owner == NULL || strcmp(txn->owner, owner) == 0);
}

bool past_load(const char *journal_dir, const char *owner, bool others, struct past *out, struct err *err)
{
    AUTO_STRLIST ids = STRLIST_INIT;
    if (!journal_ids(journal_dir, &ids, err))
        return false;
    out->v = mem_array(ids.n, sizeof(struct txn *));
    for (size_t i = 0; i < ids.n; i++) {
        AUTO_TXN *txn = NULL;
        if (!journal_load(journal_dir, ids.v[i], &txn, err))
            return false;
        if (!stands(txn, others ? NULL : owner))
            continue;
        bool is_asked = owner == NULL || strcmp(txn->owner, owner) == 0;
        if (txn->damaged && is_asked)
            return journal_damaged(txn, err);
        if (txn->damaged)
            continue;
        out->v[out->n++] = txn;
        txn = NULL;
    }
    return true;
}

static bool is_link_op(const struct op *op)
{
    return op->old.thing != THING_FILE && op->new.thing != THING_FILE;
}

void txn_list_clear(struct txn_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        free(list->v[i].owner);
        free(list->v[i].title);
    }
    free(list->v);
    *list = (struct txn_list){0};
}

bool txn_list(const char *journal_dir, const char *owner, struct txn_list *out, struct err *err)
{
    AUTO_PAST past = {0};
    txn_list_clear(out);
    if (!past_load(journal_dir, owner, false, &past, err))
        return false;
    out->v = mem_array(past.n, sizeof(*out->v));
    for (size_t i = past.n; i-- > 0;) {
        const struct txn *txn = past.v[i];
        struct txn_info *info = &out->v[out->n++];
        memcpy(info->id, txn->id, sizeof(info->id));
        info->owner = mem_dup(txn->owner);
        info->title = mem_dup(txn->title);
        info->begun_s = txn->begun_s;
        for (size_t n = 0; n < txn->n_ops; n++)
            ++*(is_link_op(&txn->ops[n]) ? &info->links : &info->files);
    }
    return true;
}

/* -- prune ---------------------------------------------------------------------------------------------- */

/* The next edit of the same place after transaction `i`, if it took over where this one ended. */
static struct txn *heir_of(const struct past *past, size_t i, const struct op *op, size_t *n)
{
    for (size_t k = i + 1; k < past->n; k++) {
        const struct op *next = txn_find(past->v[k], op->real);
        if (next == NULL)
            continue;
        *n = (size_t)(next - past->v[k]->ops);
        return snapshot_equal(&next->old, &op->new) ? past->v[k] : NULL;
    }
    return NULL;
}

static bool can_fold(const struct past *past, size_t i)
{
    size_t n;
    const struct txn *txn = past->v[i];
    for (size_t k = 0; k < txn->n_ops; k++)
        if (!is_link_op(&txn->ops[k]) || heir_of(past, i, &txn->ops[k], &n) == NULL)
            return false;
    return true;
}

/* The heirs go back to where this one would have, so that an undo still finds its way; then it is not needed.
 */
static bool fold(struct past *past, size_t i, struct err *err)
{
    struct txn *txn = past->v[i];
    for (size_t k = 0; k < txn->n_ops; k++) {
        size_t n;
        struct txn *heir = heir_of(past, i, &txn->ops[k], &n);
        if (heir != NULL && !journal_rebase(heir, n, &txn->ops[k].old, err))
            return false;
    }
    if (!fs_remove_tree(txn->dir, err))
        return false;
    txn_free(txn);
    past->n--;
    memmove(&past->v[i], &past->v[i + 1], (past->n - i) * sizeof(struct txn *));
    return true;
}

static bool holds_evidence(const struct txn *txn)
{
    for (size_t n = 0; n < txn->n_ops; n++)
        if (txn->ops[n].kept)
            return true;
    return false;
}

/* Does a transaction that `txn` took back still look as if it stood? Then the record of the taking back is
 * needed. */
static bool has_unmarked(const struct txn *txn)
{
    for (size_t i = 0; i < txn->undoes.n; i++) {
        struct err ignored = ERR_INIT;
        AUTO_TXN *past = NULL;
        if (!journal_load(txn->journal_dir, txn->undoes.v[i], &past, &ignored) ||
            (past->begun && !txn_has(past, MARK_UNDONE)))
            return true;
    }
    return false;
}

/* Put back and told, or a taking back whose work is done. */
static bool is_spent(const struct txn *txn, const char *owner)
{
    if (!txn->begun || txn->damaged || holds_evidence(txn) ||
        (owner != NULL && strcmp(txn->owner, owner) != 0))
        return false;
    return (txn_has(txn, MARK_UNDONE) && !owes_reload(txn)) ||
           (txn_has(txn, MARK_COMMITTED) && txn->undoes.n > 0 && !has_unmarked(txn) &&
            !journal_has_records(txn));
}

static bool remove_spent(const char *journal_dir, const char *owner, struct err *err)
{
    AUTO_STRLIST ids = STRLIST_INIT;
    if (!journal_ids(journal_dir, &ids, err))
        return false;
    /* oldest first: what was taken back goes before the record that says so */
    for (size_t i = 0; i < ids.n; i++) {
        AUTO_TXN *txn = NULL;
        if (!journal_load(journal_dir, ids.v[i], &txn, err))
            return false;
        if (is_spent(txn, owner) && !fs_remove_tree(txn->dir, err))
            return false;
    }
    return true;
}

bool txn_prune(const char *journal_dir, const char *owner, size_t keep, struct err *err)
{
    AUTO_PAST past = {0};
    if (!remove_spent(journal_dir, owner, err) || !past_load(journal_dir, owner, false, &past, err))
        return false;
    for (size_t i = 0; past.n > keep && i < past.n - keep;) {
        if (!can_fold(&past, i))
            i++;
        else if (!fold(&past, i, err))
            return false;
    }
    return true;
}
