/*
 * txn.c - transactions: staging, and the way from apply to commit or roll-back.
 *
 * An operation is a place and two snapshots, what stood there and what shall stand there. All decisions, when
 * applying, rolling back or recovering, come from comparing the live thing with these two.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tlsup/txn.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "txn_internal.h"

/* -- the object ----------------------------------------------------------------------------------------- */

struct txn *txn_alloc(const char *journal_dir, const char *owner, const char *title)
{
    struct txn *txn = mem_alloc(sizeof(*txn));
    txn->journal_dir = mem_dup(journal_dir);
    txn->owner = mem_dup(owner);
    txn->title = mem_dup(title);
    txn->begun_s = clock_now_s();
    txn->log_fd = -1;
    txn->last_dir = mem_alloc(sizeof(*txn->last_dir));
    return txn;
}

bool txn_begin(const char *journal_dir, const char *owner, const char *title, struct txn **out,
               struct err *err)
{
    AUTO_FREE char *real = realpath(journal_dir, NULL);
    if (real == NULL && errno == ENOENT) { /* for a look ahead, before the first run has made it */
        *out = txn_alloc(journal_dir, owner, title);
        return true;
    }
    if (real == NULL)
        return err_errno(err, errno, journal_dir, "cannot use the journal directory %s", journal_dir);
    if (!fs_is_dir(real))
        return err_errno(err, ENOTDIR, journal_dir, "cannot use the journal directory %s", journal_dir);
    *out = txn_alloc(real, owner, title);
    return true;
}

static void op_clear(struct op *op)
{
    free(op->path);
    free(op->real);
    snapshot_clear(&op->old);
    snapshot_clear(&op->new);
    buf_clear(&op->old_data);
    buf_clear(&op->new_data);
    meta_clear(&op->old_meta);
    meta_clear(&op->new_meta);
}

void txn_free(struct txn *txn)
{
    if (txn == NULL)
        return;
    txn_unstage(txn);
    free(txn->ops);
    if (txn->log_fd >= 0)
        close(txn->log_fd);
    free(txn->last_dir->asked);
    free(txn->last_dir->real);
    free(txn->last_dir);
    free(txn->journal_dir);
    free(txn->dir);
    free(txn->owner);
    free(txn->title);
    free(txn);
}

void txn_free_ptr(struct txn **txn)
{
    txn_free(*txn);
    *txn = NULL;
}

struct op *txn_op_add(struct txn *txn, const char *path, const char *real)
{
    if (txn->n_ops == txn->ops_cap) {
        txn->ops_cap = txn->ops_cap == 0 ? 8 : txn->ops_cap * 2;
        txn->ops = mem_resize(txn->ops, txn->ops_cap, sizeof(*txn->ops));
    }
    struct op *op = &txn->ops[txn->n_ops++];
    *op = (struct op){.path = mem_dup(path), .real = mem_dup(real)};
    txn_index_op(txn, txn->n_ops - 1);
    return op;
}

/* Those that are left move together, in their order. */
static void compact(struct txn *txn)
{
    size_t left = 0;
    if (txn->n_dropped == 0)
        return;
    for (size_t n = 0; n < txn->n_ops; n++)
        if (!txn->ops[n].dropped)
            txn->ops[left++] = txn->ops[n];
    txn->n_ops = left;
    txn->n_dropped = 0;
    txn_index_clear(txn);
    for (size_t n = 0; n < left; n++) {
        txn_index_op(txn, n);
        txn_index_file(txn, n);
    }
}

void txn_op_drop(struct txn *txn, size_t n)
{
    op_clear(&txn->ops[n]);
    txn->ops[n] = (struct op){.dropped = true};
    txn->n_dropped++;
    if (txn->n_dropped * 2 > txn->n_ops)
        compact(txn);
}

void txn_drop_equal(struct txn *txn)
{
    for (size_t n = 0; n < txn->n_ops; n++) {
        struct op *op = &txn->ops[n];
        if (!op->dropped && snapshot_equal(&op->old, &op->new)) {
            op_clear(op);
            *op = (struct op){.dropped = true};
            txn->n_dropped++;
        }
    }
    compact(txn);
}

void txn_record_add(struct txn *txn, struct txn *record)
{
    txn->records = mem_resize(txn->records, txn->n_records + 1, sizeof(struct txn *));
    txn->records[txn->n_records++] = record;
}

void txn_unstage(struct txn *txn)
{
    for (size_t n = 0; n < txn->n_ops; n++)
        op_clear(&txn->ops[n]);
    txn->n_ops = txn->n_dropped = 0;
    txn_index_clear(txn);
    for (size_t i = 0; i < txn->n_records; i++)
        txn_free(txn->records[i]);
    free(txn->records);
    txn->records = NULL;
    txn->n_records = 0;
    strlist_clear(&txn->undoes);
}

size_t txn_count(const struct txn *txn)
{
    return txn->n_ops - txn->n_dropped;
}

void txn_paths(const struct txn *txn, struct strlist *out)
{
    for (size_t n = 0; n < txn->n_ops; n++)
        if (!txn->ops[n].dropped)
            strlist_add(out, txn->ops[n].path);
}

/* -- staging -------------------------------------------------------------------------------------------- */

static bool refuse_other(const char *path, struct err *err)
{
    return err_set(err, ERR_EXISTS, NEXT_FIX_CONFIG, path,
                   "%s is not a regular file of at most %zu MiB; it was not touched", path,
                   TXN_FILE_LIMIT >> 20);
}

/* A new operation that holds what stands at `real` now. */
static bool op_open(struct txn *txn, const char *path, const char *real, struct err *err)
{
    AUTO_SNAPSHOT old = {0};
    AUTO_BUF data = BUF_INIT;
    AUTO_META meta = {0};
    if (!snapshot_read(real, &old, &data, err))
        return false;
    if (old.thing == THING_OTHER)
        return refuse_other(path, err);
    if (old.thing != THING_NONE && !meta_read(real, &meta, err))
        return false;
    struct op *op = txn_op_add(txn, path, real);
    snapshot_copy(&op->old, &old);
    buf_add(&op->old_data, data.data, data.len);
    op->have_old = true;
    meta_copy(&op->old_meta, &meta);
    txn_index_file(txn, (size_t)(op - txn->ops));
    return true;
}

bool txn_current_meta(const struct txn *txn, const char *real, struct meta *out, struct err *err)
{
    const struct op *op = txn_find(txn, real);
    struct stat st;
    meta_clear(out);
    if (op == NULL)
        return lstat(real, &st) != 0 || meta_read(real, out, err);
    if (op->new.thing == THING_NONE)
        return true;
    if (op->remake)
        meta_copy(out, &op->new_meta);
    else if (op->old.thing == op->new.thing)
        meta_copy(out, &op->old_meta);
    else
        *out = (struct meta){.mode = op->mode, .uid = geteuid(), .gid = getegid()};
    return true;
}

/* What stands there before the first edit of those that are to be one record. */
static bool capture(struct txn *txn, const char *path, const char *real, struct err *err)
{
    struct txn *record = txn->capture;
    AUTO_SNAPSHOT there = {0};
    AUTO_BUF data = BUF_INIT;
    AUTO_META meta = {0};
    if (record == NULL || txn_find(record, real) != NULL)
        return true;
    if (!txn_current(txn, real, &there, &data, err) || !txn_current_meta(txn, real, &meta, err))
        return false;
    struct op *op = txn_op_add(record, path, real);
    snapshot_copy(&op->old, &there);
    buf_add(&op->old_data, data.data, data.len);
    op->have_old = true;
    meta_copy(&op->old_meta, &meta);
    return true;
}

bool txn_stage(struct txn *txn, const char *path, const char *real, const struct snapshot *to,
               const struct buf *data, const struct meta *meta, struct err *err)
{
    if (txn->dir != NULL)
        return err_set(err, ERR_INTERNAL, NEXT_NONE, path, "an edit came after the transaction was applied");
    if (!capture(txn, path, real, err))
        return false;
    if (txn_find(txn, real) == NULL && !op_open(txn, path, real, err))
        return false;
    struct op *op = txn_find(txn, real);
    snapshot_copy(&op->new, to);
    buf_reset(&op->new_data);
    if (data != NULL)
        buf_add(&op->new_data, data->data, data->len);
    op->have_new = true;
    op->remake = meta != NULL && !meta->inherit;
    if (op->remake)
        meta_copy(&op->new_meta, meta);
    op->mode = meta != NULL ? meta->mode : 0;
    if (snapshot_equal(&op->old, &op->new))
        txn_op_drop(txn, (size_t)(op - txn->ops));
    return true;
}

bool txn_write(struct txn *txn, const char *path, const void *data, size_t len, mode_t mode, struct err *err)
{
    AUTO_FREE char *real = locate_file(txn, path, err);
    if (real == NULL)
        return false;
    if (len > TXN_FILE_LIMIT)
        return err_set(err, ERR_INTERNAL, NEXT_NONE, path, "the new content of %s is too large", path);
    AUTO_BUF content = BUF_INIT;
    buf_add(&content, data, len);
    struct snapshot to = {.thing = THING_FILE};
    sha256_hex(data, len, to.sha256);
    struct meta meta = {.mode = mode, .inherit = true};
    return txn_stage(txn, path, real, &to, &content, &meta, err);
}

bool txn_symlink(struct txn *txn, const char *link, const char *target, struct err *err)
{
    AUTO_FREE char *real = locate_in_parent(txn, link, err);
    AUTO_SNAPSHOT present = {0};
    if (real == NULL || !txn_current(txn, real, &present, NULL, err))
        return false;
    if (*target == '\0' || strlen(target) >= PATH_MAX)
        return err_set(err, ERR_INTERNAL, NEXT_NONE, link,
                       "a symbolic link needs a target of a legal length");
    if (present.thing != THING_NONE && present.thing != THING_LINK) {
        err_set(err, ERR_EXISTS, NEXT_FIX_CONFIG, link,
                "%s should be a symbolic link to %s, and something else stands there", link, target);
        return err_advise(err, "Look at it, move it away, and run the command again.");
    }
    AUTO_SNAPSHOT to = {.thing = THING_LINK, .target = mem_dup(target)};
    return txn_stage(txn, link, real, &to, NULL, NULL, err);
}

bool txn_unlink(struct txn *txn, const char *path, struct err *err)
{
    AUTO_FREE char *dir = fs_dirname(path);
    struct stat st;
    if (lstat(dir, &st) != 0 && (errno == ENOENT || errno == ENOTDIR))
        return true;
    AUTO_FREE char *real = locate_in_parent(txn, path, err);
    struct snapshot nothing = {0};
    return real != NULL && txn_stage(txn, path, real, &nothing, NULL, NULL, err);
}

/* -- the diff ------------------------------------------------------------------------------------------- */

static const struct buf *text_of(const struct snapshot *snapshot, const struct buf *data,
                                 const struct buf *empty)
{
    return snapshot->thing == THING_FILE ? data : empty;
}

void txn_diff(const struct txn *txn, struct buf *out)
{
    static const struct buf empty = BUF_INIT;
    for (size_t n = 0; n < txn->n_ops; n++) {
        const struct op *op = &txn->ops[n];
        if (op->dropped)
            continue;
        if (op->old.thing == THING_LINK)
            buf_addf(out, "-%s -> %s\n", op->path, op->old.target);
        if (op->old.thing == THING_FILE || op->new.thing == THING_FILE)
            diff_unified(
                op->old.thing == THING_FILE ? op->real : NULL, text_of(&op->old, &op->old_data, &empty),
                op->new.thing == THING_FILE ? op->real : NULL, text_of(&op->new, &op->new_data, &empty), out);
        if (op->new.thing == THING_LINK)
            buf_addf(out, "+%s -> %s\n", op->path, op->new.target);
    }
}

/* -- apply ---------------------------------------------------------------------------------------------- */

static bool changed_meanwhile(const struct op *op, struct err *err)
{
    err_set(err, ERR_MISMATCH, NEXT_RETRY_NOW, op->path,
            "%s was changed by somebody else while the edit was being prepared; nothing was written",
            op->path);
    return err_advise(err, "Run the command again.");
}

/* Staging may have been a while ago (`--plan` waits for a yes). */
static bool check_unchanged(struct txn *txn, struct err *err)
{
    for (size_t n = 0; n < txn->n_ops; n++) {
        struct op *op = &txn->ops[n];
        AUTO_SNAPSHOT live = {0};
        if (!snapshot_read(op->real, &live, NULL, err))
            return false;
        if (!snapshot_equal(&live, &op->old))
            return changed_meanwhile(op, err);
        if (live.thing != THING_NONE && !meta_read(op->real, &op->old_meta, err))
            return false;
    }
    return true;
}

/* The journal of a transaction that has touched nothing, or has put everything back. */
static void forget(struct txn *txn)
{
    struct err ignored = ERR_INIT;
    if (txn->log_fd >= 0)
        close(txn->log_fd);
    txn->log_fd = -1;
    if (txn->dir != NULL && !fs_remove_tree(txn->dir, &ignored))
        log_debug("%s", ignored.text);
    free(txn->dir);
    txn->dir = NULL;
    txn->log_len = 0;
    txn->marks = 0;
}

/* The error that a person sees is the one that stopped us, with what could not be put back after it. */
static bool fail_and_put_back(struct txn *txn, struct err *err)
{
    struct err trouble = ERR_INIT;
    AUTO_STRLIST messages = STRLIST_INIT;
    size_t kept = 0;
    struct err first = *err;
    if (txn_put_back(txn, &messages, &kept, &trouble)) {
        if (kept == 0)
            forget(txn);
    } else {
        strlist_add(&messages, trouble.text);
        strlist_add(&messages, "Not everything could be put back; the next run of any command tries again.");
    }
    if (messages.n == 0)
        return false;
    AUTO_FREE char *more = strlist_join(&messages, "\n");
    err_clear(err);
    err_set(err, first.code, first.next, first.subject, "%s\n%s", first.text, more);
    return first.advice[0] == '\0' ? false : err_advise(err, "%s", first.advice);
}

bool txn_apply(struct txn *txn, struct err *err)
{
    if (txn->dir != NULL)
        return err_set(err, ERR_INTERNAL, NEXT_NONE, txn->title, "the transaction was applied twice");
    compact(txn);
    if (txn->n_ops == 0 && txn->undoes.n == 0)
        return true;
    if (!txn_check(txn, err) || !check_unchanged(txn, err))
        return false;
    if (!journal_create(txn, err) || !journal_mark(txn, MARK_APPLYING, err)) {
        forget(txn);
        return false;
    }
    for (size_t n = 0; n < txn->n_ops; n++)
        if (!op_put(txn, n, true, err))
            return fail_and_put_back(txn, err);
    return journal_mark(txn, MARK_APPLIED, err) || fail_and_put_back(txn, err);
}

static const enum mark marks[] = {
    [TXN_TESTED] = MARK_TESTED, [TXN_RELOADING] = MARK_RELOADING, [TXN_VERIFIED] = MARK_VERIFIED};

bool txn_reached(const struct txn *txn, enum txn_mark mark)
{
    return txn->dir != NULL && txn_has(txn, marks[mark]);
}

bool txn_note(struct txn *txn, enum txn_mark mark, struct err *err)
{
    return txn->dir == NULL || journal_mark(txn, marks[mark], err);
}

/* -- the two ends --------------------------------------------------------------------------------------- */

static bool mark_taken_back(const char *journal_dir, const char *id, struct err *err)
{
    AUTO_TXN *past = NULL;
    if (!journal_load(journal_dir, id, &past, err))
        return false;
    /* settled as well: the reload of the one that took it back was this one's too */
    if (!past->begun || txn_has(past, MARK_UNDONE))
        return true;
    return journal_mark(past, MARK_SETTLED, err) && journal_mark(past, MARK_UNDONE, err);
}

void txn_finish_commit(struct txn *txn)
{
    struct err trouble = ERR_INIT;
    for (size_t n = 0; n < txn->n_ops; n++)
        op_remove_set_aside(txn, n);
    if (!journal_release_records(txn, &trouble)) { /* those that they replace stand until they do */
        log_warn("%s", trouble.text);
        return;
    }
    for (size_t i = 0; i < txn->undoes.n; i++) {
        struct err err = ERR_INIT;
        if (!mark_taken_back(txn->journal_dir, txn->undoes.v[i], &err))
            log_warn("%s", err.text);
    }
}

bool txn_commit(struct txn *txn, struct err *err)
{
    if (txn->dir == NULL || txn_has(txn, MARK_COMMITTED))
        return true;
    if (!journal_mark(txn, MARK_COMMITTED, err))
        return false;
    txn_finish_commit(txn);
    return true;
}

/* Somebody else's version stays; ours, the one before, and a copy of theirs are in the journal. */
static bool keep(struct txn *txn, size_t n, const struct snapshot *live, const struct buf *data,
                 struct strlist *messages, struct err *err)
{
    struct op *op = &txn->ops[n];
    AUTO_FREE char *found = journal_path(txn, "found", n);
    AUTO_BUF message = BUF_INIT;
    buf_addf(&message, "%s was %s by somebody else, and was left as it is.", op->path,
             live->thing == THING_NONE ? "removed" : "changed");
    if (op->old.thing == THING_FILE)
        buf_addf(&message, " Before tlsup's edit it was %s/old-%zu.", txn->dir, n);
    if (op->old.thing == THING_LINK)
        buf_addf(&message, " Before tlsup's edit it was a link to %s.", op->old.target);
    if (op->new.thing == THING_FILE)
        buf_addf(&message, " tlsup wrote %s/new-%zu.", txn->dir, n);
    if (live->thing == THING_FILE && !file_save(found, data->data, data->len, err))
        return false;
    strlist_add(messages, buf_str(&message));
    op->kept = true;
    return journal_append(txn, err, "kept %zu", n);
}

static bool mend_torn(struct txn *txn, size_t n, const struct buf *live, struct err *err)
{
    AUTO_FREE char *found = journal_path(txn, "found", n);
    return file_save(found, live->data, live->len, err) && op_mend_torn(txn, n, err);
}

static bool put_back_one(struct txn *txn, size_t n, struct strlist *messages, size_t *kept, struct err *err)
{
    struct op *op = &txn->ops[n];
    AUTO_SNAPSHOT live = {0};
    AUTO_BUF data = BUF_INIT;
    AUTO_FREE char *dir = fs_dirname(op->real);
    if (!snapshot_read(op->real, &live, &data, err))
        return false;
    if (snapshot_equal(&live, &op->old))
        return true;
    if (snapshot_equal(&live, &op->new) && fs_is_dir(dir))
        return op_put(txn, n, false, err);
    if (op->torn && live.thing == THING_FILE) {
        if (!journal_content(txn, n, true, err) || !journal_content(txn, n, false, err))
            return false;
        if (op_is_torn(op, &data))
            return mend_torn(txn, n, &data, err);
    }
    ++*kept;
    return keep(txn, n, &live, &data, messages, err);
}

bool txn_put_back(struct txn *txn, struct strlist *messages, size_t *kept, struct err *err)
{
    bool all = true;
    for (size_t n = txn->n_ops; n-- > 0;) {
        struct err trouble = ERR_INIT;
        if (!put_back_one(txn, n, messages, kept, &trouble)) {
            err_context(&trouble, "%s could not be put back", txn->ops[n].path);
            if (all)
                *err = trouble;
            all = false;
        }
        op_remove_leftovers(txn, n);
    }
    return all && journal_mark(txn, MARK_UNDONE, err);
}

bool txn_rollback(struct txn *txn, struct err *err)
{
    AUTO_STRLIST messages = STRLIST_INIT;
    size_t kept = 0;
    if (txn->dir == NULL || txn_has(txn, MARK_UNDONE))
        return true;
    if (txn_has(txn, MARK_COMMITTED))
        return err_set(err, ERR_INTERNAL, NEXT_NONE, txn->title, "a committed transaction was rolled back");
    if (!txn_put_back(txn, &messages, &kept, err))
        return err_advise(err, "Mend the cause; the next run of any command tries again.");
    if (kept == 0)
        return true;
    AUTO_FREE char *text = strlist_join(&messages, "\n");
    err_set(err, ERR_MISMATCH, NEXT_FIX_CONFIG, txn->title, "%s", text);
    return err_advise(err, "Compare them, and put the file right by hand.");
}
