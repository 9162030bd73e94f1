/*
 * txn_check.c - could a transaction be carried out? What would stop it in the middle is found before.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/fs.h>
#endif

#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "txn_internal.h"

/* chattr +i and +a, chflags schg and sappnd: even root must lift them first. */
static bool is_immutable(const char *path, const struct stat *st)
{
#if defined(FS_IOC_GETFLAGS)
    int flags = 0;
    int fd = S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)
                 ? open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
                 : -1;
    bool known = fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0;
    if (fd >= 0)
        close(fd);
    return known && (flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)) != 0;
#elif defined(SF_IMMUTABLE)
    (void)path;
    return (st->st_flags & (SF_IMMUTABLE | SF_APPEND | UF_IMMUTABLE | UF_APPEND)) != 0;
#else
    (void)path;
    (void)st;
    return false;
#endif
}

static bool refuse_immutable(const char *path, struct err *err)
{
    err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path, "%s is protected against every change", path);
    return err_advise(err, "Lift it: chattr -i -a %s (on BSD: chflags noschg,nosappnd,nouchg).", path);
}

static bool check_dir(const char *dir, const char *path, struct err *err)
{
    struct stat st;
    if (stat(dir, &st) != 0)
        return err_errno(err, errno, path, "cannot write %s: cannot look at the directory %s", path, dir);
    if (is_immutable(dir, &st))
        return refuse_immutable(dir, err);
    return faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) == 0 ||
           err_errno(err, errno, path, "cannot write %s: its directory %s cannot be written to", path, dir);
}

/* In a directory like /tmp only the owner of a file may replace it. */
static bool check_sticky(const char *dir, const char *path, const struct stat *st, struct err *err)
{
    struct stat above;
    uid_t me = geteuid();
    return me == 0 || stat(dir, &above) != 0 || (above.st_mode & S_ISVTX) == 0 || above.st_uid == me ||
           st->st_uid == me || err_errno(err, EPERM, path, "cannot replace %s", path);
}

static bool check_op(const struct op *op, char **checked, struct err *err)
{
    AUTO_FREE char *dir = fs_dirname(op->real);
    struct stat st;
    bool there = lstat(op->real, &st) == 0;
    if (there && is_immutable(op->real, &st))
        return refuse_immutable(op->path, err);
    if (there && op->new.thing == THING_FILE &&file_is_pinned(op->real))
        return faccessat(AT_FDCWD, op->real, W_OK, AT_EACCESS) == 0 ||
               err_errno(err, errno, op->path, "cannot write %s", op->path);
    if (there && !check_sticky(dir, op->path, &st, err))
        return false;
    if (*checked != NULL && strcmp(*checked, dir) == 0)
        return true;
    if (!check_dir(dir, op->path, err))
        return false;
    free(*checked);
    *checked = mem_dup(dir);
    return true;
}

/* What is made at the first run: can it be? */
static bool check_journal(const char *journal_dir, struct err *err)
{
    AUTO_FREE char *dir = mem_dup(journal_dir);
    while (!fs_exists(dir) && strcmp(dir, "/") != 0 && strcmp(dir, ".") != 0) {
        char *above = fs_dirname(dir);
        free(dir);
        dir = above;
    }
    return check_dir(dir, journal_dir, err);
}

bool txn_check(const struct txn *txn, struct err *err)
{
    AUTO_FREE char *checked = NULL; /* the last directory: neighbours come together */
    if (txn_count(txn) > 0 && !check_journal(txn->journal_dir, err))
        return false;
    for (size_t n = 0; n < txn->n_ops; n++)
        if (!txn->ops[n].dropped && !check_op(&txn->ops[n], &checked, err))
            return false;
    return true;
}
