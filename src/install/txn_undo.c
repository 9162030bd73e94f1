/*
 * txn_undo.c - committed transactions taken back, in whatever order people ask for it.
 *
 * What came after the edits of this owner may rest on them, with or without touching the same files: a block
 * that took the place of one of theirs, a module that they turned on, an answer that they put into the
 * default server. So all that came after is taken back as well, newest first, which is always clear, and made
 * anew without them. It happens in the staging alone: what comes out as it was is not touched.
 *
 * An owner of later edits is left out, and its edits stay as they are, when they cannot be taken back to the
 * byte (a person changed or removed them), or cannot be made anew: they may rest on those of this owner;
 * where that shows, nothing is undone.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdlib.h>
#include <string.h>

#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "txn_internal.h"

enum { MANY_OWNERS = 64 };

struct undo {
    struct txn *txn;
    struct past past;     /* of all owners, from the first one to take back on */
    struct strlist left;  /* other owners whose edits stay as they are */
    struct strlist stuck; /* those of them whose edits could not be made anew, and in `why` the reasons */
    struct strlist why;
    struct strlist last; /* owners that could not be made anew before the others were */
    const struct txn_redo *redo;
};

static void undo_clear(struct undo *undo)
{
    past_clear(&undo->past);
    strlist_clear(&undo->left);
    strlist_clear(&undo->stuck);
    strlist_clear(&undo->why);
    strlist_clear(&undo->last);
}

/* -- one operation -------------------------------------------------------------------------------------- */

enum taken {
    TAKEN_CLEAN,
    TAKEN_MERGED,
    TAKEN_ALREADY, /* it is not there any more */
    TAKEN_NOT,
};

static bool same_bytes(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

/* Of thousands of journals only one is held at a time; they are read again when needed. */
static void forget_contents(struct op *op)
{
    buf_clear(&op->old_data);
    buf_clear(&op->new_data);
    op->have_old = op->have_new = false;
}

/* Only our lines go; what a person or another certificate's edit changed elsewhere in the file stays. */
static bool stage_merged(struct txn *txn, struct txn *past, size_t n, const struct buf *live,
                         enum taken *taken, struct err *err)
{
    struct op *op = &past->ops[n];
    AUTO_BUF result = BUF_INIT;
    *taken = TAKEN_NOT;
    if (!journal_content(past, n, true, err) || !journal_content(past, n, false, err))
        return false;
    bool merged = diff_merge(&op->new_data, live, &op->old_data, &result);
    forget_contents(op);
    if (!merged)
        return true;
    *taken = same_bytes(live, &result) ? TAKEN_ALREADY : TAKEN_MERGED;
    struct snapshot to = {.thing = THING_FILE};
    sha256_hex(result.data, result.len, to.sha256);
    return txn_stage(txn, op->path, op->real, &to, &result, NULL, err);
}

static bool take_back(struct txn *txn, struct txn *past, size_t n, enum taken *taken, struct snapshot *live,
                      struct err *err)
{
    struct op *op = &past->ops[n];
    AUTO_BUF data = BUF_INIT;
    *taken = TAKEN_NOT;
    if (!txn_current(txn, op->real, live, &data, err))
        return false;
    if (snapshot_equal(live, &op->old)) {
        *taken = TAKEN_ALREADY;
        return true;
    }
    if (snapshot_equal(live, &op->new)) {
        *taken = TAKEN_CLEAN;
        bool ok = journal_content(past, n, false, err) &&
                  txn_stage(txn, op->path, op->real, &op->old, &op->old_data, &op->old_meta, err);
        forget_contents(op);
        return ok;
    }
    if (live->thing == THING_FILE && op->new.thing == THING_FILE && op->old.thing == THING_FILE)
        return stage_merged(txn, past, n, &data, taken, err);
    return true;
}

/* -- this owner's --------------------------------------------------------------------------------------- */

static void say_left(struct strlist *messages, const struct txn *past, size_t n, const struct snapshot *live)
{
    const struct op *op = &past->ops[n];
    AUTO_BUF text = BUF_INIT;
    buf_addf(&text, "%s was %s since, and was left as it is.", op->path,
             live->thing == THING_NONE ? "removed" : "changed");
    if (op->old.thing == THING_FILE)
        buf_addf(&text, " What it was before: %s/old-%zu.", past->dir, n);
    if (op->old.thing == THING_LINK)
        buf_addf(&text, " It was a link to %s before.", op->old.target);
    if (op->old.thing == THING_NONE && live->thing != THING_NONE)
        buf_adds(&text, " It was not there before: remove it by hand if nothing needs it.");
    strlist_add(messages, buf_str(&text));
}

static void say_merged(struct strlist *messages, const struct op *op)
{
    AUTO_FREE char *text = mem_fmt("%s was changed since: only tlsup's own edit is taken out.", op->path);
    if (!strlist_has(messages, text))
        strlist_add(messages, text);
}

/* Is it an edit of somebody who cannot do without this owner's that is in the way? */
static bool check_stuck(const struct undo *undo, const struct op *op, struct err *err)
{
    for (size_t i = 0; i < undo->past.n; i++) {
        const struct txn *past = undo->past.v[i];
        for (size_t k = 0; k < undo->stuck.n; k++) {
            if (strcmp(past->owner, undo->stuck.v[k]) != 0 || txn_find(past, op->real) == NULL)
                continue;
            err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, undo->txn->owner,
                    "what was done for %s cannot be undone now: %s rests on it, in %s (without it: %s)",
                    undo->txn->owner, past->owner, op->path, undo->why.v[k]);
            return err_advise(err, "Undo %s first.", past->owner);
        }
    }
    return true;
}

static const char *successor(const struct undo *undo)
{
    return undo->redo != NULL ? undo->redo->successor : NULL;
}

/* What cannot be told from a person's lines cannot be made anew either. */
static bool check_own(const struct undo *undo, const struct op *op, struct err *err)
{
    if (successor(undo) == NULL || (op->old.thing != THING_FILE && op->new.thing != THING_FILE))
        return true;
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, op->path,
            "%s was changed by hand just where tlsup has written for %s, and cannot be carried over",
            op->path, undo->txn->owner);
    return err_advise(err, "Undo %s first; afterwards install it again.", undo->txn->owner);
}

static bool take_back_own(struct undo *undo, struct txn *past, struct strlist *messages, struct err *err)
{
    for (size_t n = past->n_ops; n-- > 0;) {
        AUTO_SNAPSHOT live = {0};
        enum taken taken;
        if (!take_back(undo->txn, past, n, &taken, &live, err))
            return false;
        if (taken == TAKEN_NOT &&
            (!check_stuck(undo, &past->ops[n], err) || !check_own(undo, &past->ops[n], err)))
            return false;
        if (taken == TAKEN_NOT)
            say_left(messages, past, n, &live);
        if (taken == TAKEN_MERGED)
            say_merged(messages, &past->ops[n]);
    }
    return true;
}

static bool target_exists(const struct txn *txn, const struct op *op)
{
    AUTO_FREE char *dir = fs_dirname(op->real);
    AUTO_FREE char *target =
        op->new.target[0] == '/' ? mem_dup(op->new.target) : fs_join(dir, op->new.target);
    AUTO_FREE char *real = txn_real(txn, target);
    return real != NULL;
}

/* A link to a certificate version that was deleted since would break the server: leave it. */
static void drop_dangling(struct txn *txn, struct strlist *messages)
{
    AUTO_STRLIST dangling = STRLIST_INIT;
    for (size_t n = 0; n < txn->n_ops; n++) {
        const struct op *op = &txn->ops[n];
        if (op->dropped || op->new.thing != THING_LINK || target_exists(txn, op))
            continue;
        AUTO_FREE char *text =
            mem_fmt("The link %s was left as it is: what it pointed to before, %s, no longer exists.",
                    op->path, op->new.target);
        strlist_add(messages, text);
        strlist_add(&dangling, op->real);
    }
    for (size_t i = 0; i < dangling.n; i++)
        txn_op_drop(txn, (size_t)(txn_find(txn, dangling.v[i]) - txn->ops));
}

/* -- other owners' -------------------------------------------------------------------------------------- */

/* A renewal: nothing rests on which version a link points to. */
static bool only_switches(const struct txn *past)
{
    for (size_t n = 0; n < past->n_ops; n++)
        if (past->ops[n].old.thing != THING_LINK || past->ops[n].new.thing != THING_LINK)
            return false;
    return true;
}

static bool is_own(const struct undo *undo, const struct txn *past)
{
    return strcmp(past->owner, undo->txn->owner) == 0;
}

static bool is_successor(const struct undo *undo, const char *owner)
{
    return successor(undo) != NULL && strcmp(successor(undo), owner) == 0;
}

/* Does any edit of this owner lie in a place that the edits to be taken back lie in? */
static bool shares_a_place(const struct undo *undo, const char *owner, const struct strlist *places)
{
    for (size_t i = 0; i < undo->past.n; i++) {
        const struct txn *past = undo->past.v[i];
        for (size_t n = 0; strcmp(past->owner, owner) == 0 && n < past->n_ops; n++)
            if (strlist_has(places, past->ops[n].real))
                return true;
    }
    return false;
}

/* All that came after it needs that, whatever places its edits lie in. */
static bool turned_a_module_on(const struct undo *undo)
{
    for (size_t i = 0; i < undo->past.n; i++) {
        const struct txn *past = undo->past.v[i];
        for (size_t n = 0; is_own(undo, past) && n < past->n_ops; n++)
            if (strstr(past->ops[n].real, "/mods-enabled/") != NULL)
                return true;
    }
    return false;
}

/* Of very many only those are made anew that can hardly stand as they are: the rest would take minutes, and
 * has what it lacks put in by its next renewal. */
static void leave_strangers(const struct undo *undo, struct strlist *owners)
{
    AUTO_STRLIST places = STRLIST_INIT, near = STRLIST_INIT;
    for (size_t i = 0; i < undo->past.n; i++)
        for (size_t n = 0; is_own(undo, undo->past.v[i]) && n < undo->past.v[i]->n_ops; n++)
            strlist_add(&places, undo->past.v[i]->ops[n].real);
    for (size_t i = 0; i < owners->n; i++)
        if (is_successor(undo, owners->v[i]) || shares_a_place(undo, owners->v[i], &places))
            strlist_add(&near, owners->v[i]);
    strlist_copy(owners, &near);
}

/* Who makes the edits of `past` anew; NULL = nobody. */
static const char *redoer_of(const struct undo *undo, const struct txn *past)
{
    if (undo->redo == NULL || only_switches(past))
        return NULL;
    if (is_own(undo, past))
        return successor(undo);
    return !strlist_has(&undo->left, past->owner) && undo->redo->concerns(undo->redo->ctx, past->owner)
               ? past->owner
               : NULL;
}

/* Who has edits that are taken back and made anew, in the order of their last ones: of two that want the same
 * place the later has it. */
static void owners_to_redo(const struct undo *undo, struct strlist *out)
{
    AUTO_STRLIST newest_first = STRLIST_INIT;
    for (size_t i = undo->past.n; i-- > 0;) {
        const char *owner = redoer_of(undo, undo->past.v[i]);
        if (owner != NULL && !strlist_has(&newest_first, owner))
            strlist_add(&newest_first, owner);
    }
    if (newest_first.n > MANY_OWNERS && !turned_a_module_on(undo))
        leave_strangers(undo, &newest_first);
    for (size_t i = newest_first.n; i-- > 0;)
        if (!strlist_has(&undo->last, newest_first.v[i]))
            strlist_add(out, newest_first.v[i]);
    for (size_t i = 0; i < undo->last.n; i++)
        if (strlist_has(&newest_first, undo->last.v[i]))
            strlist_add(out, undo->last.v[i]);
}

static void leave(struct undo *undo, const char *owner, const char *why, struct strlist *messages)
{
    AUTO_FREE char *text = mem_fmt("The edits for %s were left as they are: %s", owner, why);
    log_debug("%s", text);
    strlist_add(&undo->left, owner);
    strlist_add(messages, text);
}

/* *whole is false when a person has been at it. */
static bool take_back_others(struct txn *txn, struct txn *past, bool *whole, struct err *err)
{
    *whole = true;
    for (size_t n = past->n_ops; n-- > 0 && *whole;) {
        AUTO_SNAPSHOT live = {0};
        enum taken taken;
        if (!take_back(txn, past, n, &taken, &live, err))
            return false;
        *whole = taken == TAKEN_CLEAN || taken == TAKEN_MERGED;
    }
    return true;
}

/* What became of the places that the record has, in the order in which they were touched. */
static bool finish_record(struct txn *txn, struct txn *record, struct err *err)
{
    for (size_t n = 0; n < record->n_ops; n++) {
        struct op *op = &record->ops[n];
        AUTO_META meta = {0};
        if (!txn_current(txn, op->real, &op->new, &op->new_data, err) ||
            !txn_current_meta(txn, op->real, &meta, err))
            return false;
        op->have_new = true;
        op->mode = meta.mode;
    }
    txn_drop_equal(record);
    return true;
}

/* Named and dated as the first of those that it stands for. */
static struct txn *record_new(const struct undo *undo, const char *owner)
{
    for (size_t i = 0; i < undo->past.n; i++) {
        const struct txn *past = undo->past.v[i];
        bool stands_for = is_successor(undo, owner) ? is_own(undo, past) : strcmp(past->owner, owner) == 0;
        if (!stands_for || only_switches(past))
            continue;
        struct txn *record = txn_alloc(undo->txn->journal_dir, owner,
                                       is_successor(undo, owner) ? undo->txn->title : past->title);
        record->begun_s = past->begun_s;
        return record;
    }
    return NULL;
}

static bool make_anew(struct undo *undo, const char *owner, struct err *err)
{
    struct txn *txn = undo->txn;
    AUTO_TXN *record = record_new(undo, owner);
    txn->capture = record;
    bool ok = undo->redo->edit(undo->redo->ctx, owner, txn, err);
    txn->capture = NULL;
    if (!ok || !finish_record(txn, record, err))
        return false;
    txn_record_add(txn, record);
    record = NULL;
    return true;
}

/* -- the whole ------------------------------------------------------------------------------------------ */

/* *again: somebody was added to those that are left. */
static bool take_all_back(struct undo *undo, const struct strlist *others, bool *again,
                          struct strlist *own_messages, struct strlist *messages, struct err *err)
{
    *again = false;
    for (size_t i = undo->past.n; i-- > 0 && !*again;) {
        struct txn *past = undo->past.v[i];
        bool whole = true;
        if (is_own(undo, past)
                ? !take_back_own(undo, past, own_messages, err)
                : strlist_has(others, past->owner) && !take_back_others(undo->txn, past, &whole, err))
            return false;
        if (!whole) {
            leave(undo, past->owner, "they were changed by hand since.", messages);
            *again = true;
        }
    }
    return true;
}

static bool redo_all(struct undo *undo, const struct strlist *others, bool *again, struct strlist *messages,
                     struct err *err)
{
    for (size_t i = 0; i < others->n && !*again; i++) {
        struct err why = ERR_INIT;
        if (make_anew(undo, others->v[i], &why))
            continue;
        *again = true;
        if (i + 1 < others->n && !strlist_has(&undo->last, others->v[i])) {
            strlist_add(&undo->last, others->v[i]);
            return true;
        }
        if (is_successor(undo, others->v[i])) {
            *err = why;
            return false;
        }
        strlist_add(&undo->stuck, others->v[i]);
        strlist_add(&undo->why, why.text);
        leave(undo, others->v[i], why.text, messages);
    }
    return true;
}

/* Stage it all, with the owners that are not left out now. */
static bool attempt(struct undo *undo, bool *again, struct strlist *messages, struct err *err)
{
    struct txn *txn = undo->txn;
    AUTO_STRLIST others = STRLIST_INIT;
    AUTO_STRLIST own_messages = STRLIST_INIT;
    txn_unstage(txn);
    owners_to_redo(undo, &others);
    if (!take_all_back(undo, &others, again, &own_messages, messages, err))
        return false;
    if (!redo_all(undo, &others, again, messages, err))
        return false;
    if (*again)
        return true;
    for (size_t i = undo->past.n; i-- > 0;)
        if (is_own(undo, undo->past.v[i]) || strlist_has(&others, undo->past.v[i]->owner))
            strlist_add(&txn->undoes, undo->past.v[i]->id);
    for (size_t i = 0; i < own_messages.n; i++)
        strlist_add(messages, own_messages.v[i]);
    drop_dangling(txn, messages);
    return true;
}

/* All that came before this owner's first does not matter. */
static void forget_before(struct undo *undo)
{
    size_t first = 0;
    while (first < undo->past.n && !is_own(undo, undo->past.v[first]))
        txn_free(undo->past.v[first++]);
    undo->past.n -= first;
    memmove(undo->past.v, undo->past.v + first, undo->past.n * sizeof(struct txn *));
}

bool txn_undo(struct txn *txn, const struct txn_redo *redo, struct strlist *messages, struct err *err)
{
    CLEANUP(undo_clear) struct undo undo = {.txn = txn, .redo = redo};
    bool again = true;
    if (txn->dir != NULL || txn->undoes.n > 0)
        return err_set(err, ERR_INTERNAL, NEXT_NONE, txn->owner, "undo was asked for twice");
    if (!past_load(txn->journal_dir, txn->owner, true, &undo.past, err))
        return false;
    forget_before(&undo);
    if (undo.past.n == 0)
        return err_set(err, ERR_NOT_FOUND, NEXT_NONE, txn->owner, "there is nothing to undo for %s",
                       txn->owner);
    while (again)
        if (!attempt(&undo, &again, messages, err))
            return false;
    return true;
}

void txn_make_final(struct txn *txn)
{
    /* no transaction has this id: ids begin with 1 */
    strlist_add(&txn->undoes, "0000000000");
}

void txn_redone(const struct txn *txn, struct strlist *owners)
{
    for (size_t i = 0; i < txn->n_records; i++)
        strlist_add(owners, txn->records[i]->owner);
}
