/*
 * txn.h - transactions on configuration files: all of it, or none of it, even through a power cut.
 *
 * A transaction stages file operations, applies them in order with a journal on disk, and ends in a commit or in a roll-back that restores every
 * byte, mode, owner and link. Stage what nothing refers to yet first, the file that refers to it after, an enabling symlink last; a
 * roll-back undoes in reverse.
 *
 * On disk: JOURNAL/<id>/ with `old-N` and `new-N` contents and `log`, an append-only list of records, each one line with its length and checksum; every record
 * is fsynced before the act it announces. Marks: applying, applied, tested, reloading, verified, committed, undone, settled. A record torn by a crash is ignored.
 * Ids grow with time whatever the clock does. `redo-N/` of an undo are records of other owners
 * that its commit puts in the place of their former ones. `found-N` is a copy of somebody else's version that a roll-back left alone.
 *
 * Each file write: temporary file, owner, mode, xattrs (ACL and security label among them) copied from the old file, fsync, check that the live file still has the hash it
 * had when staged, rename, fsync of the directory. Symlinks are resolved: their target is edited, the link is kept. The temporary file lies in the journal when that is on the target's device (a web server
 * that includes a whole directory reads dot files too), else as a dot file in the directory above the target's, or in the target's own where nothing else can be. A file with several hard links, or one that is a mount point, is written
 * in place (journaled). A new file gets group, default ACL and security label as its directory gives them. A missing parent directory is ERR_NOT_FOUND.
 *
 * Several may be joined (txn_join()): then one mark decides for all of them.
 *
 * The caller holds the store's lock: one process at a time works on a journal.
 */
#ifndef TLSUP_TXN_H
#define TLSUP_TXN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"

struct txn; /* heap */

enum txn_mark { TXN_TESTED, TXN_RELOADING, TXN_VERIFIED };

/* `journal_dir` (0700) must exist when txn_apply() comes. `title` tells people what it was for ("enable example.org"); `owner` groups transactions (the certificate's
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
/* The paths of all that is staged, in order, as the caller named them. Appends. */
void txn_paths(const struct txn *txn, struct strlist *out);
/* Could it be carried out? Every directory concerned can be written to (not mounted read-only, not immutable, not somebody else's), the journal too. Tells before anything is done; txn_apply()
 * checks nothing less. ERR_PERMISSION or ERR_IO with the path. */
MUST_CHECK bool txn_check(const struct txn *txn, struct err *err);
/* The tree as it will be, names and links included: what is there, with what is staged. `txn` NULL: as it is. So that several edits see each other's new and removed files. */
bool txn_exists(const struct txn *txn, const char *path); /* lstat: will anything stand there? */
/* realpath(3), through staged links; NULL = nothing there. The caller frees. */
char *txn_real(const struct txn *txn, const char *path);
/* The names in a directory, without "." and "..", sorted by bytes. Appends. */
MUST_CHECK bool txn_names(const struct txn *txn, const char *dir, struct strlist *names, struct err *err);
/* glob(3), sorted by bytes; none is fine. Appends. */
MUST_CHECK bool txn_glob(const struct txn *txn, const char *pattern, struct strlist *paths, struct err *err);
/* The directories in which something is staged: real paths, each once. Appends. */
void txn_dirs(const struct txn *txn, struct strlist *out);
/* The real paths of all that is staged, in order. Appends. */
void txn_places(const struct txn *txn, struct strlist *out);
/* Carry out what is staged somewhere else than where it belongs, in a copy of the tree that will be thrown away: plainly, without a journal. `dir_of` gives for each of txn_dirs() the open directory that
 * stands for it (borrowed), or -1, which fails. */
typedef int txn_dir_fn(void *ctx, const char *real_dir);
MUST_CHECK bool txn_show(const struct txn *txn, txn_dir_fn *dir_of, void *ctx, struct err *err);
/* A unified diff (3 lines of context) of everything staged, files by their real paths (for patch(1)), symlinks as "+link -> target" lines. Appends. */
void txn_diff(const struct txn *txn, struct buf *out);

/* Write the journal, then carry out the operations. On failure everything done is put back before returning false; a file that somebody changed
 * since staging -> ERR_MISMATCH, nothing lost. */
MUST_CHECK bool txn_apply(struct txn *txn, struct err *err);
/* Append a mark. Nothing for an empty transaction. */
MUST_CHECK bool txn_note(struct txn *txn, enum txn_mark mark, struct err *err);
/* Done and proven. The journal directory stays, marked committed, as the record for undo. */
MUST_CHECK bool txn_commit(struct txn *txn, struct err *err);
/* Put everything back in reverse. Per operation: live is ours -> old is restored; live is old -> nothing; neither -> a person's edit: it is
 * kept, both versions are saved in the journal, and the error says so: ERR_MISMATCH (the others are still restored). The journal is marked undone. After a failed
 * txn_apply(), and for an empty transaction, nothing is left to do: true. On another error the journal stays unfinished, and txn_recover() tries again. */
MUST_CHECK bool txn_rollback(struct txn *txn, struct err *err);
/* Has it come that far? False of one that was never applied, or whose apply failed. */
bool txn_reached(const struct txn *txn, enum txn_mark mark);

/* -- several that stand or fall together -- */

/* `leader` was applied and is not over. If a run is killed, its mark `verified` alone decides for both: with it the next run commits them,
 * without it all are put back, newest first. After txn_begin(), before txn_apply(); each keeps its own owner and is undone later by itself. The marks are the leader's:
 * txn_note() on it. */
void txn_join(struct txn *txn, const struct txn *leader);
/* In the order in which they were applied, the leader first: it is committed last. Those that are empty are passed over. */
MUST_CHECK bool txn_commit_all(struct txn *const txns[], size_t n, struct err *err);
/* In reverse. Where one cannot be put back those before it are left to txn_recover(), for it may rest on them; a person's edit (ERR_MISMATCH) stops nothing. The first error. */
MUST_CHECK bool txn_rollback_all(struct txn *const txns[], size_t n, struct err *err);

/* What a former run left behind. */
struct txn_recovery {
    size_t rolled_back;          /* transactions undone */
    size_t finished;             /* transactions that were verified: now committed */
    size_t kept;                 /* files with a person's edit, left alone */
    bool reload_needed;          /* one that was put back, now or before, had reached `reloading`, and no txn_settle() followed */
    struct strlist messages;     /* for the person, one line each */
};
void txn_recovery_clear(struct txn_recovery *recovery);
/* Bring every unfinished transaction below `journal_dir` to an end: verified -> committed, else rolled back. Idempotent. One that cannot be ended does
 * not stop the others, but for those that it was joined with; the first error is returned, and `out` tells of the rest. */
MUST_CHECK bool txn_recover(const char *journal_dir, struct txn_recovery *out, struct err *err);

/* Call it after the web server was reloaded (or was seen not to run) following a txn_rollback() or txn_recover(): until then every
 * txn_recover() reports reload_needed, so that a crash between the roll-back and its reload loses nothing. */
MUST_CHECK bool txn_settle(const char *journal_dir, struct err *err);

/* -- committed transactions -- */

struct txn_info {
    char id[11];
    char *owner;
    char *title;
    int64_t begun_s;
    size_t files, links;         /* operations of each kind */
};
struct txn_list {
    struct txn_info *v;
    size_t n;
};
/* Committed and not taken back, newest first; `owner` NULL = all. Clears `out` first. */
MUST_CHECK bool txn_list(const char *journal_dir, const char *owner, struct txn_list *out, struct err *err);
void txn_list_clear(struct txn_list *list);

/* How an undo makes anew what rests on the edits that it takes back: those of other owners that came after them. */
struct txn_redo {
    /* Is it for this undo to touch that owner's edits? False: they are in another web server, or nobody knows what they should be. */
    bool (*concerns)(void *ctx, const char *owner);
    /* Stage all that the owner needs, as at its installation, on the tree as `txn` has it (txn_read(), txn_exists() ...). */
    bool (*edit)(void *ctx, const char *owner, struct txn *txn, struct err *err);
    void *ctx;
    /* The name under which this owner's own edits are made anew, by `edit` and with a record of their own, as its last ones; NULL = they are only taken back. Then what a person has
     * changed in them (ERR_WEBSERVER), and an `edit` of it that fails, is an error. */
    const char *successor;
};

/* Stage into `txn` (fresh from txn_begin(), of the same owner) what takes back all committed transactions of that owner, newest first; then txn_diff() shows it, and
 * txn_apply(), test, reload and txn_commit() do it like any edit; with the commit those transactions count as undone. A file that was changed since by a person or
 * by an edit that is not made anew: our lines are taken out of it where that is clear (three-way merge), else it is left. A link whose former target no longer exists is left. All that was merged or left
 * is in `messages` (appended), one line each. ERR_NOT_FOUND when there is nothing to undo.
 *
 * With `redo` (may be NULL): later edits of other owners are taken back too, and made anew one owner after the other, in the order of their last edits, on the tree without the edits of this one; only what differs in
 * the end is staged. With the commit the records of those owners are replaced by the new ones, all at once: later undos find their way in any order. An owner whose edits a person has changed or removed since, or whose `edit`
 * fails, keeps them as they are; ERR_WEBSERVER (with the one to undo first as advice) where that shows that they rest on this owner's. */
MUST_CHECK bool txn_undo(struct txn *txn, const struct txn_redo *redo, struct strlist *messages, struct err *err);
/* The owners whose edits an undo has made anew, in that order. Appends. */
void txn_redone(const struct txn *txn, struct strlist *owners);
/* What is staged is no edit of the owner's that a later undo could take back: once committed it stands. After txn_undo() of it, if at all. */
void txn_make_final(struct txn *txn);

/* Remove journals that nothing needs: those undone (unless they hold somebody's version), and, but for the newest `keep`, committed ones that only switched links (a renewal), handing
 * what an undo needs of them to the next newer one. Those that hold file edits stay. `owner` as in txn_list(), but never NULL. */
MUST_CHECK bool txn_prune(const char *journal_dir, const char *owner, size_t keep, struct err *err);

/* The hooks of the crash tests, in programs built with --enable-test-hooks: the environment variable TLSUP_TEST_CRASH=N makes the process kill itself with
 * SIGKILL before its N-th step (write, fsync, rename, link, removal); TLSUP_TEST_FAIL=N fails that step with "no space left", TLSUP_TEST_FAIL=N+ all from then on. */

#endif
