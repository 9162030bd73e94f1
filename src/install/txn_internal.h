/*
 * txn_internal.h - what the files of the transaction module share. Internal to install/.
 *
 * txn.c stages and drives; txn_view.c shows the tree as it will be; txn_index.c finds operations; txn_check.c
 * looks ahead; txn_file.c carries out one operation; txn_journal.c writes and reads the log; txn_group.c joins
 * several; txn_past.c deals with what former runs left (recover, list, prune), txn_undo.c takes it back;
 * txn_diff.c compares and merges texts.
 */
#ifndef TLSUP_INSTALL_TXN_INTERNAL_H
#define TLSUP_INSTALL_TXN_INTERNAL_H

#include <stdint.h>
#include <sys/stat.h>

#include "tlsup/txn.h"

/* A configuration file larger than this is not one. */
#define TXN_FILE_LIMIT ((size_t)16 << 20)
#define TXN_ID_DIGITS 10
#define SHA256_HEX_BYTES 65

enum thing {
    THING_NONE,
    THING_FILE,
    THING_LINK,
    THING_OTHER, /* a directory, a device, a file too large to be ours: never equal to anything */
};

/* What stands at a path: enough to recognise it again. */
struct snapshot {
    enum thing thing;
    char sha256[SHA256_HEX_BYTES]; /* THING_FILE */
    char *target;                  /* THING_LINK, owned */
};
void snapshot_clear(struct snapshot *snapshot);
void snapshot_copy(struct snapshot *to, const struct snapshot *from);
bool snapshot_equal(const struct snapshot *a, const struct snapshot *b);
#define AUTO_SNAPSHOT CLEANUP(snapshot_clear) struct snapshot

struct xattr {
    char *name;
    char *value;
    size_t len;
};

struct meta {
    mode_t mode; /* permission bits */
    uid_t uid;
    gid_t gid;
    dev_t dev;
    ino_t ino;
    nlink_t nlink;
    struct xattr *xattrs;
    size_t n_xattrs;
    bool inherit; /* a new file: take what the directory gives instead of `xattrs` */
};
void meta_clear(struct meta *meta);
void meta_copy(struct meta *to, const struct meta *from);
void meta_add_xattr(struct meta *meta, const char *name, const void *value, size_t len);
#define AUTO_META CLEANUP(meta_clear) struct meta

/* One operation: `real` goes from `old` to `new`. Create, replace, symlink and unlink are only combinations
 * of the two. */
struct op {
    char *path; /* as the caller named it, for people */
    char *real; /* absolute, no symlink in it but, for operations on links, the last component */
    struct snapshot old, new;
    struct buf old_data, new_data; /* of files; filled when staged, or by journal_content() */
    bool have_old, have_new;
    struct meta old_meta;
    mode_t mode;          /* of a new file */
    struct meta new_meta; /* of a file that undo makes again; only with `remake` */
    bool remake;
    bool torn; /* an in-place write has begun and is not known to have ended */
    bool kept; /* put back: somebody else's version was left alone */
    bool dropped; /* while staging: it came to nothing */
};

enum mark {
    MARK_APPLYING,
    MARK_APPLIED,
    MARK_TESTED,
    MARK_RELOADING,
    MARK_VERIFIED,
    MARK_COMMITTED,
    MARK_UNDONE,
    MARK_SETTLED, /* undone, and the web server was told */
    MARK_COUNT,
};

/* Finds operations by a hash; txn_index.c. */
struct op_index {
    struct op_slot {
        uint64_t hash;
        size_t next; /* 1 + the number of the operation, 0 = free */
    } * v;
    size_t cap, used;
};

struct txn {
    char *journal_dir;
    char *owner;
    char *title;
    int64_t begun_s;
    struct op *ops;
    size_t n_ops, ops_cap;
    size_t n_dropped; /* of them */
    struct op_index by_real, by_file;
    struct last_dir { /* of txn_view.c */
        char *asked, *real;
    } * last_dir;
    struct txn *capture;  /* while an undo makes anew: gets what each place was before, of places touched now */
    struct txn **records; /* of those owners, to be committed with this one */
    size_t n_records;
    struct strlist undoes; /* ids of the committed transactions that this one takes back */
    unsigned marks;        /* bit set of enum mark */
    char id[TXN_ID_DIGITS + 1];
    char leader[TXN_ID_DIGITS + 1]; /* the one whose mark decides for this one, "" = its own */
    char *dir;      /* journal_dir/id, NULL before apply */
    int log_fd;     /* -1 until the log is open for writing */
    size_t log_len; /* valid bytes of the log; what follows is torn */
    bool begun;     /* the log's first record was read */
    bool damaged;   /* the log is broken before its end */
};

static inline bool txn_has(const struct txn *txn, enum mark mark)
{
    return (txn->marks & (1U << mark)) != 0;
}
struct txn *txn_alloc(const char *journal_dir, const char *owner, const char *title);
void txn_free_ptr(struct txn **txn);
#define AUTO_TXN CLEANUP(txn_free_ptr) struct txn
struct op *txn_op_add(struct txn *txn, const char *path, const char *real);
void txn_op_drop(struct txn *txn, size_t n);
/* Drop all operations that come to nothing, and close the gaps. */
void txn_drop_equal(struct txn *txn);
/* Forget everything staged. */
void txn_unstage(struct txn *txn);
void txn_record_add(struct txn *txn, struct txn *record); /* owned from now on */
/* Stage for undo: `real` goes to `to` from whatever it is now. `meta` is that of a file to be made again. */
MUST_CHECK bool txn_stage(struct txn *txn, const char *path, const char *real, const struct snapshot *to,
                          const struct buf *data, const struct meta *meta, struct err *err);
/* What stands at `real` once the staged operations are done; `data` (may be NULL) gets a file's content. */
MUST_CHECK bool txn_current(const struct txn *txn, const char *real, struct snapshot *out, struct buf *data,
                            struct err *err);
/* The metadata of what txn_current() shows. */
MUST_CHECK bool txn_current_meta(const struct txn *txn, const char *real, struct meta *out, struct err *err);
/* Restore in reverse. False when something could not be put back: the journal then stays unfinished. */
MUST_CHECK bool txn_put_back(struct txn *txn, struct strlist *messages, size_t *kept, struct err *err);
/* What follows the mark `committed`; may be repeated. */
void txn_finish_commit(struct txn *txn);

/* -- txn_index.c -- */
/* The operation on this place, NULL = none. */
struct op *txn_find(const struct txn *txn, const char *real);
/* A replacement of this very file under whatever name; NULL = none. */
struct op *txn_find_file(const struct txn *txn, dev_t dev, ino_t ino);
void txn_index_op(struct txn *txn, size_t n);
/* The file that operation `n` replaces is known from now on. */
void txn_index_file(struct txn *txn, size_t n);
void txn_index_clear(struct txn *txn);

/* -- txn_view.c -- */
/* The directory with its symlinks resolved, and the last component as it is. The caller frees; NULL: `err`. */
char *locate_in_parent(const struct txn *txn, const char *path, struct err *err);
/* Where the file named `path` lies, links followed, those staged included. The caller frees; NULL: `err`. */
char *locate_file(const struct txn *txn, const char *path, struct err *err);

/* -- txn_file.c -- */
/* Before every write, fsync, rename, link and removal. Always true in a production build; false with errno
 * set when a test wants this step to fail. */
bool txn_step(void);
#ifdef TEST_HOOKS
extern unsigned long txn_steps_done;
#endif
void sha256_hex(const void *data, size_t len, char out[SHA256_HEX_BYTES]);
/* What stands at `real`; a final symlink is not followed. */
MUST_CHECK bool snapshot_read(const char *real, struct snapshot *out, struct buf *data, struct err *err);
MUST_CHECK bool meta_read(const char *real, struct meta *out, struct err *err);
/* A file of the journal's own: created or replaced, 0600, fsynced. */
MUST_CHECK bool file_save(const char *path, const void *data, size_t len, struct err *err);
bool file_write_all(int fd, const char *data, size_t len); /* errno */
MUST_CHECK bool file_sync_dir(const char *dir, struct err *err);
/* Bring operation `n` forward (old to new) or back (new to old). */
MUST_CHECK bool op_put(struct txn *txn, size_t n, bool forward, struct err *err);
/* Is the live content a mixture of old and new, as an interrupted in-place write leaves it? */
bool op_is_torn(const struct op *op, const struct buf *live);
MUST_CHECK bool op_mend_torn(struct txn *txn, size_t n, struct err *err);
void op_remove_leftovers(const struct txn *txn, size_t n);
/* Must it be written where it is: several hard links, or a mount point? */
bool file_is_pinned(const char *real);
/* The content that was set aside by a removal; only after commit. */
void op_remove_set_aside(const struct txn *txn, size_t n);

/* -- txn_journal.c -- */
/* Make the directory with the contents and the log with all operations, and those of the records inside.
 * Nothing else is touched. */
MUST_CHECK bool journal_create(struct txn *txn, struct err *err);
/* The records inside take their place among the journals; those that have done so before are no obstacle. */
MUST_CHECK bool journal_release_records(struct txn *txn, struct err *err);
bool journal_has_records(const struct txn *txn);
MUST_CHECK bool journal_append(struct txn *txn, struct err *err, const char *fmt, ...) PRINTF_LIKE(3, 4);
MUST_CHECK bool journal_mark(struct txn *txn, enum mark mark, struct err *err);
/* Change what operation `n` of a committed transaction goes back to (a link target or nothing). */
MUST_CHECK bool journal_rebase(struct txn *txn, size_t n, const struct snapshot *old, struct err *err);
/* Read a log's bytes into `txn`. False when it is damaged or not understood; a torn end is no damage. */
bool journal_parse(struct txn *txn, const char *data, size_t len);
/* A transaction on disk. One without a log has `begun` false. */
MUST_CHECK bool journal_load(const char *journal_dir, const char *id, struct txn **out, struct err *err);
/* Load old_data or new_data of an operation, checked against its hash. */
MUST_CHECK bool journal_content(struct txn *txn, size_t n, bool want_new, struct err *err);
/* JOURNAL/ID/KIND-N; the caller frees. */
char *journal_path(const struct txn *txn, const char *kind, size_t n);
/* Ids below `journal_dir`, oldest first. */
MUST_CHECK bool journal_ids(const char *journal_dir, struct strlist *ids, struct err *err);

/* Sets `err`: it must be seen to by a person. Returns false. */
bool journal_damaged(const struct txn *txn, struct err *err);

/* -- txn_group.c -- */
/* The id that a transaction shares with those that it stands or falls with: the leader's. */
const char *group_id(const struct txn *txn);
/* Does an unfinished transaction stand, by its own mark or its leader's? False when nobody knows: that journal
 * is damaged. */
MUST_CHECK bool group_proven(const struct txn *txn, bool *proven, struct err *err);

/* -- txn_past.c -- */
/* Committed, of one owner or of all, neither taken back nor itself a taking back. Oldest first. */
struct past {
    struct txn **v;
    size_t n;
};
/* A damaged journal is an error when it is `owner`'s, and left out when it is another's. */
MUST_CHECK bool past_load(const char *journal_dir, const char *owner, bool others, struct past *out,
                          struct err *err);
void past_clear(struct past *past);
#define AUTO_PAST CLEANUP(past_clear) struct past

/* -- txn_diff.c -- */
/* Appends "--- a", "+++ b" and hunks; nothing when both are equal. A NULL name is /dev/null. */
void diff_unified(const char *old_name, const struct buf *old, const char *new_name, const struct buf *new,
                  struct buf *out);
/* Three-way merge by lines: what changed between `base` and `theirs`, done to `ours`. False when both changed
 * the same or touching lines. Appends. */
bool diff_merge(const struct buf *base, const struct buf *ours, const struct buf *theirs, struct buf *out);

#endif
