/*
 * txn.h - transactions on configuration files: all of it, or none of it, even through a power cut.
 *
 * A transaction stages file operations, applies them in order with a journal on disk, and ends in a commit or in a roll-back that restores every
 * byte, mode, owner and link. Stage what nothing refers to yet first, the file that refers to it after, an enabling symlink last; a
 * roll-back undoes in reverse.
 *
 * On disk: JOURNAL/<id>/ with `old-N` and `new-N` contents and `log`, an append-only list of records, each one line with its length and checksum; every record
 * is fsynced before the act it announces. Marks: applying, applied, tested, reloading, verified, committed, undone. A record torn by a crash is ignored.
 *
 * Each file write: temporary dot file in the real directory of the target (symlinks resolved, the link is kept), owner, mode, xattrs (ACL and security
 * label among them) copied from the old file, fsync, check that the live file still has the hash it had when staged, rename, fsync of the directory. A file with several hard links, or
 * one that is a mount point, is written in place (journaled).
 */
#ifndef TLSUP_TXN_H
#define TLSUP_TXN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"

struct txn; /* heap */

enum txn_mark { TXN_TESTED, TXN_RELOADING, TXN_VERIFIED };

/* `journal_dir` exists (0700). `title` tells people what it was for ("enable example.org"); `owner` groups transactions (the certificate's
 * name) for a later undo. Nothing is written before txn_apply(). */
MUST_CHECK bool txn_begin(const char *journal_dir, const char *owner, const char *title, struct txn **out, struct err *err);
void txn_free(struct txn *txn); /* NULL is fine; does not roll back: an unfinished journal is recovered by the next run */

/* Stage: create `path` or replace its content. Reads the present content, for the journal and for the check before the write. A new
 * file gets `mode` and root's (the caller's) owner, an existing one keeps its own. Staging equal content is dropped silently. Two writes to
 * the same path in one transaction: the second replaces the first. */
MUST_CHECK bool txn_write(struct txn *txn, const char *path, const void *data, size_t len, mode_t mode, struct err *err);
/* Stage: `link` -> `target` (verbatim), created or switched by rename; refuses when a non-symlink is there. */
MUST_CHECK bool txn_symlink(struct txn *txn, const char *link, const char *target, struct err *err);
/* Stage: remove a file or a symlink. Missing is dropped silently. */
MUST_CHECK bool txn_unlink(struct txn *txn, const char *path, struct err *err);
/* What a file will hold after this transaction (staged content), or what it holds now. Appends. So that several edits of one file compose. */
MUST_CHECK bool txn_read(const struct txn *txn, const char *path, size_t limit, struct buf *out, struct err *err);
size_t txn_count(const struct txn *txn);
/* A unified diff (3 lines of context) of everything staged, symlinks as "+link -> target" lines. Appends. */
void txn_diff(const struct txn *txn, struct buf *out);

/* Write the journal, then carry out the operations. On failure everything done is put back before returning false; a file that somebody changed
 * since staging -> ERR_MISMATCH, nothing lost. */
MUST_CHECK bool txn_apply(struct txn *txn, struct err *err);
MUST_CHECK bool txn_note(struct txn *txn, enum txn_mark mark, struct err *err);
/* Done and proven. The journal directory stays, marked committed, as the record for undo. */
MUST_CHECK bool txn_commit(struct txn *txn, struct err *err);
/* Put everything back in reverse. Per operation: live is ours -> old is restored; live is old -> nothing; neither -> a person's edit: it is
 * kept, both versions are saved in the journal, and the error says so (the others are still restored). The journal is marked undone. */
MUST_CHECK bool txn_rollback(struct txn *txn, struct err *err);

/* What a former run left behind. */
struct txn_recovery {
    size_t rolled_back;          /* transactions undone */
    size_t finished;             /* transactions that were verified: now committed */
    size_t kept;                 /* files with a person's edit, left alone */
    bool reload_needed;          /* at least one had reached `reloading` */
    struct strlist messages;     /* for the person, one line each */
};
void txn_recovery_clear(struct txn_recovery *recovery);
/* Bring every unfinished transaction below `journal_dir` to an end: verified -> committed, else rolled back. */
MUST_CHECK bool txn_recover(const char *journal_dir, struct txn_recovery *out, struct err *err);

/* The hook of the crash tests: when the environment variable TLSUP_TEST_CRASH is N and the program was built with
 * --enable-test-hooks, the process kills itself with SIGKILL before the N-th step. */

#endif
