/*
 * store_tree.c - a whole directory once more: under another name, or for a rehearsal.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store_internal.h"
#include "tlsup/mem.h"

#define FILE_BYTES ((size_t)16 << 20)

enum { DEPTH = 8 };

static bool give(const char *path, const struct stat *like, struct err *err)
{
    struct stat st;
    bool ours = lstat(path, &st) == 0 && st.st_uid == like->st_uid && st.st_gid == like->st_gid;
    if (!ours && lchown(path, like->st_uid, like->st_gid) != 0)
        return err_errno(err, errno, path, "cannot give %s the owner that it has elsewhere", path);
    if (!S_ISLNK(like->st_mode) && chmod(path, like->st_mode & 07777) != 0)
        return err_errno(err, errno, path, "cannot set the mode of %s", path);
    return true;
}

static bool copy_file(const char *from, const char *to, const struct stat *st, struct err *err)
{
    AUTO_BUF content = BUF_SECRET;
    return fs_read(from, FILE_BYTES, &content, err) &&
           fs_write(to, buf_str(&content), content.len, 0600, err) && give(to, st, err);
}

bool store_file_copy(const char *from, const char *to, struct err *err)
{
    struct stat st;
    if (stat(from, &st) != 0)
        return errno == ENOENT || err_errno(err, errno, from, "cannot look at %s", from);
    return copy_file(from, to, &st, err);
}

static bool copy_link(const char *from, const char *to, struct err *err)
{
    char target[4096];
    ssize_t len = readlink(from, target, sizeof target - 1);
    if (len < 0)
        return err_errno(err, errno, from, "cannot read the link %s", from);
    target[len] = '\0';
    return fs_symlink(target, to, err);
}

static bool copy_tree(const char *from, const char *to, bool copies, int depth, struct err *err);

static bool copy_entry(const char *from, const char *to, bool copies, int depth, struct err *err)
{
    struct stat st;
    if (lstat(from, &st) != 0)
        return err_errno(err, errno, from, "cannot look at %s", from);
    if (S_ISDIR(st.st_mode))
        return copy_tree(from, to, copies, depth - 1, err);
    if (S_ISLNK(st.st_mode))
        return copy_link(from, to, err);
    if (!S_ISREG(st.st_mode)) /* not of our making */
        return true;
    return (!copies && link(from, to) == 0) || copy_file(from, to, &st, err);
}

static bool copy_tree(const char *from, const char *to, bool copies, int depth, struct err *err)
{
    AUTO_STRLIST names = STRLIST_INIT;
    struct stat st;
    if (depth == 0)
        return err_set(err, ERR_IO, NEXT_FIX_CONFIG, from, "%s lies deeper than tlsup makes directories",
                       from);
    if (lstat(from, &st) != 0)
        return errno == ENOENT || err_errno(err, errno, from, "cannot look at %s", from);
    if (mkdir(to, 0700) != 0)
        return err_errno(err, errno, to, "cannot make directory %s", to);
    if (!fs_list(from, &names, err))
        return false;
    for (size_t i = 0; i < names.n; i++) {
        AUTO_FREE char *source = fs_join(from, names.v[i]);
        AUTO_FREE char *target = fs_join(to, names.v[i]);
        if (!copy_entry(source, target, copies, depth, err))
            return false;
    }
    return give(to, &st, err) && fs_sync_dir(to, err);
}

bool store_tree_copy(const char *from, const char *to, bool copies, struct err *err)
{
    return copy_tree(from, to, copies, DEPTH, err);
}
