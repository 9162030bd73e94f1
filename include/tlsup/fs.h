/*
 * fs.h - files: nothing is ever half-written.
 *
 * Every write is: temporary file in the target's own directory (O_EXCL, final mode at open), write, fsync,
 * rename, fsync of the directory. An interrupted write leaves at most a dot file that a later write of the
 * same path removes. All errors name the path and go through err_errno().
 */
#ifndef TLSUP_FS_H
#define TLSUP_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"

/* Append a regular file's content to `out`; more than `limit` bytes is an error. ENOENT -> ERR_NOT_FOUND. What is no regular
 * file (a pipe, a device) is not even opened: ERR_CONFIG, which says what it is. */
MUST_CHECK bool fs_read(const char *path, size_t limit, struct buf *out, struct err *err);
/* Write or replace `path` itself (a symlink is replaced; callers that want its target resolve it first). */
MUST_CHECK bool fs_write(const char *path, const void *data, size_t len, mode_t mode, struct err *err);
/* All of it to an open descriptor, by as many writes as it takes. errno on failure. */
bool fs_write_all(int fd, const char *data, size_t len);
/* mkdir -p; only directories made here get `mode`; fsyncs the parents. An existing directory is fine. */
MUST_CHECK bool fs_mkdirs(const char *path, mode_t mode, struct err *err);
/* Make `link` a symlink to `target`, replacing a symlink by one rename; refuses to replace anything else. */
MUST_CHECK bool fs_symlink(const char *target, const char *link, struct err *err);
/* unlink + fsync of the directory; a missing file is success. */
MUST_CHECK bool fs_remove(const char *path, struct err *err);
/* rm -r below and including `path`, never following symlinks; a missing path is success. */
MUST_CHECK bool fs_remove_tree(const char *path, struct err *err);
MUST_CHECK bool fs_rename(const char *from, const char *to, struct err *err); /* + fsync of both directories */
MUST_CHECK bool fs_sync_dir(const char *dir, struct err *err);
/* Sorted names in a directory (no "." and ".."); a missing directory gives an empty list. */
MUST_CHECK bool fs_list(const char *dir, struct strlist *names, struct err *err);
bool fs_exists(const char *path); /* lstat */
bool fs_is_dir(const char *path); /* stat */
/* dirname(3) and join without their traps; the caller frees. */
char *fs_dirname(const char *path);
char *fs_join(const char *dir, const char *name);

/* An advisory lock on a file (created 0600 when missing), held until fs_unlock() or the end of the process:
 * a killed run leaves no stale lock. Fails at once with ERR_LOCKED when another process holds it; the error
 * names its pid where known. */
struct fs_lock {
    int fd; /* -1 when not held */
};
#define FS_LOCK_INIT {-1}
MUST_CHECK bool fs_lock(const char *path, struct fs_lock *lock, struct err *err);
void fs_unlock(struct fs_lock *lock);

#endif
