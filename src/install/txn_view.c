/*
 * txn_view.c - the tree as it will be: what is on the disk, with what is staged.
 *
 * Directories are never staged, so what is above a file is always as on the disk.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <glob.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "txn_internal.h"

/* As the kernel: that many symbolic links in a row are a loop. */
#define LINKS_LIMIT 40
#define WILD "*?["

/* -- places --------------------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static char *path_in(const char *dir, const char *base)
{
    return mem_fmt("%s/%s", strcmp(dir, "/") == 0 ? "" : dir, base);
}

/* Directories do not change while edits are staged; neighbours are asked for one after the other. */
static const char *real_dir_of(const struct txn *txn, const char *dir)
{
    struct last_dir *last = txn->last_dir;
    if (last->asked != NULL && strcmp(last->asked, dir) == 0)
        return last->real;
    char *real = realpath(dir, NULL);
    if (real == NULL || !fs_is_dir(real)) {
        int reason = real == NULL ? errno : ENOTDIR;
        free(real);
        errno = reason;
        return NULL;
    }
    free(last->asked);
    free(last->real);
    *last = (struct last_dir){.asked = mem_dup(dir), .real = real};
    return real;
}

char *locate_in_parent(const struct txn *txn, const char *path, struct err *err)
{
    const char *base = base_name(path);
    if (*base == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0) {
        err_set(err, ERR_EXISTS, NEXT_FIX_CONFIG, path, "%s is a directory, and a file is wanted", path);
        return NULL;
    }
    AUTO_FREE char *dir = fs_dirname(path);
    const char *real_dir = real_dir_of(txn, dir);
    if (real_dir == NULL) {
        err_errno(err, errno, path, "cannot use %s: its directory %s", path, dir);
        return NULL;
    }
    return path_in(real_dir, base);
}

static char *link_target(const char *real, const char *target)
{
    AUTO_FREE char *dir = fs_dirname(real);
    return target[0] == '/' ? mem_dup(target) : mem_fmt("%s/%s", dir, target);
}

/* The target of the link that will stand there; NULL = none. */
static char *link_at(const struct txn *txn, const char *real, struct stat *st)
{
    const struct op *op = txn_find(txn, real);
    char target[PATH_MAX];
    *st = (struct stat){0};
    if (op != NULL)
        return mem_dup(op->new.target);
    if (lstat(real, st) != 0 || !S_ISLNK(st->st_mode))
        return NULL;
    ssize_t n = readlink(real, target, sizeof(target) - 1);
    return n > 0 ? mem_ndup(target, (size_t)n) : NULL;
}

char *locate_file(const struct txn *txn, const char *path, struct err *err)
{
    AUTO_FREE char *at = mem_dup(path);
    for (int links = 0; links < LINKS_LIMIT; links++) {
        AUTO_FREE char *real = locate_in_parent(txn, at, err);
        if (real == NULL)
            return NULL;
        struct stat st;
        AUTO_FREE char *target = link_at(txn, real, &st);
        if (target == NULL) {
            /* maybe staged by another of its names (hard link, bind mount) */
            const struct op *same = S_ISREG(st.st_mode) ? txn_find_file(txn, st.st_dev, st.st_ino) : NULL;
            return mem_dup(same == NULL ? real : same->real);
        }
        free(at);
        at = link_target(real, target);
    }
    err_errno(err, ELOOP, path, "cannot use %s", path);
    return NULL;
}

/* -- one thing ------------------------------------------------------------------------------------------ */

bool txn_current(const struct txn *txn, const char *real, struct snapshot *out, struct buf *data,
                 struct err *err)
{
    const struct op *op = txn_find(txn, real);
    if (op == NULL)
        return snapshot_read(real, out, data, err);
    snapshot_copy(out, &op->new);
    if (data != NULL)
        buf_add(data, op->new_data.data, op->new_data.len);
    return true;
}

bool txn_read(const struct txn *txn, const char *path, size_t limit, struct buf *out, struct err *err)
{
    if (limit == 0 || limit > TXN_FILE_LIMIT)
        limit = TXN_FILE_LIMIT;
    if (txn == NULL || txn->n_ops == 0)
        return fs_read(path, limit, out, err);
    AUTO_FREE char *real = locate_file(txn, path, err);
    if (real == NULL)
        return false;
    const struct op *op = txn_find(txn, real);
    if (op == NULL)
        return fs_read(real, limit, out, err);
    if (op->new.thing == THING_NONE)
        return err_errno(err, ENOENT, path, "cannot read %s", path);
    if (op->new_data.len > limit)
        return err_set(err, ERR_IO, NEXT_FIX_CONFIG, path, "%s is too large", path);
    buf_add(out, op->new_data.data, op->new_data.len);
    return true;
}

/* Will anything stand at this place, the last component not followed? */
static bool stands_at(const struct txn *txn, const char *real)
{
    struct stat st;
    const struct op *op = txn == NULL ? NULL : txn_find(txn, real);
    return op != NULL ? op->new.thing != THING_NONE : lstat(real, &st) == 0;
}

bool txn_exists(const struct txn *txn, const char *path)
{
    struct err ignored = ERR_INIT;
    if (txn == NULL || txn->n_ops == 0)
        return fs_exists(path);
    AUTO_FREE char *real = locate_in_parent(txn, path, &ignored);
    return real != NULL ? stands_at(txn, real) : fs_exists(path);
}

char *txn_real(const struct txn *txn, const char *path)
{
    struct err ignored = ERR_INIT;
    if (txn == NULL || txn->n_ops == 0)
        return realpath(path, NULL);
    char *real = locate_file(txn, path, &ignored);
    if (real == NULL)
        return ignored.code == ERR_EXISTS ? realpath(path, NULL) : NULL; /* "/", "x/.." */
    if (stands_at(txn, real))
        return real;
    free(real);
    return NULL;
}

/* -- many ----------------------------------------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted from `first` on, each once. */
static void sort_from(struct strlist *list, size_t first)
{
    size_t left = first;
    if (list->n - first < 2)
        return;
    qsort(list->v + first, list->n - first, sizeof(*list->v), by_bytes);
    for (size_t i = first; i < list->n; i++) {
        if (left > first && strcmp(list->v[left - 1], list->v[i]) == 0)
            free(list->v[i]);
        else
            list->v[left++] = list->v[i];
    }
    list->n = left;
}

/* What is staged to be new in a directory, of names that match (NULL: all), as "PREFIX/NAME". */
static void add_staged(const struct txn *txn, const char *real_dir, const char *pattern, const char *prefix,
                       struct strlist *out)
{
    size_t len = strcmp(real_dir, "/") == 0 ? 0 : strlen(real_dir);
    for (size_t n = 0; n < txn->n_ops; n++) {
        const struct op *op = &txn->ops[n];
        if (op->dropped || op->old.thing != THING_NONE || op->new.thing == THING_NONE ||
            strncmp(op->real, real_dir, len) != 0 || op->real[len] != '/' ||
            strchr(op->real + len + 1, '/') != NULL)
            continue;
        const char *name = op->real + len + 1;
        if (pattern != NULL && fnmatch(pattern, name, FNM_PERIOD) != 0)
            continue;
        AUTO_FREE char *path = prefix == NULL ? mem_dup(name) : path_in(prefix, name);
        strlist_add(out, path);
    }
}

bool txn_names(const struct txn *txn, const char *dir, struct strlist *names, struct err *err)
{
    size_t first = names->n;
    AUTO_FREE char *real_dir = realpath(dir, NULL);
    DIR *handle = opendir(dir);
    if (real_dir == NULL || handle == NULL) {
        err_errno(err, errno, dir, "cannot read the directory %s", dir);
        if (handle != NULL)
            closedir(handle);
        return false;
    }
    for (struct dirent *entry = readdir(handle); entry != NULL; entry = readdir(handle)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        AUTO_FREE char *real = path_in(real_dir, entry->d_name);
        const struct op *op = txn == NULL ? NULL : txn_find(txn, real);
        if (op == NULL || op->new.thing != THING_NONE)
            strlist_add(names, entry->d_name);
    }
    closedir(handle);
    if (txn != NULL)
        add_staged(txn, real_dir, NULL, NULL, names);
    sort_from(names, first);
    return true;
}

static bool plain_glob(const char *pattern, struct strlist *paths, struct err *err)
{
    glob_t found = {0};
    int status = glob(pattern, GLOB_NOSORT, NULL, &found);
    if (status == GLOB_NOSPACE)
        mem_exhausted();
    for (size_t i = 0; status == 0 && i < found.gl_pathc; i++)
        strlist_add(paths, found.gl_pathv[i]);
    globfree(&found);
    return status != GLOB_ABORTED ||
           err_set(err, ERR_IO, NEXT_LOCAL_FAULT, pattern, "cannot read a directory of %s", pattern);
}

/* Without those that will be gone. */
static void drop_gone(const struct txn *txn, struct strlist *paths, size_t first)
{
    size_t left = first;
    for (size_t i = first; i < paths->n; i++) {
        if (txn_exists(txn, paths->v[i]))
            paths->v[left++] = paths->v[i];
        else
            free(paths->v[i]);
    }
    paths->n = left;
}

static bool add_staged_matches(const struct txn *txn, const char *pattern, struct strlist *paths,
                               struct err *err)
{
    AUTO_FREE char *above = fs_dirname(pattern);
    AUTO_STRLIST dirs = STRLIST_INIT;
    if (strpbrk(above, WILD) == NULL)
        strlist_add(&dirs, above);
    else if (!plain_glob(above, &dirs, err))
        return false;
    for (size_t i = 0; i < dirs.n; i++) {
        AUTO_FREE char *real_dir = realpath(dirs.v[i], NULL);
        if (real_dir != NULL)
            add_staged(txn, real_dir, base_name(pattern), dirs.v[i], paths);
    }
    return true;
}

bool txn_glob(const struct txn *txn, const char *pattern, struct strlist *paths, struct err *err)
{
    size_t first = paths->n;
    if (!plain_glob(pattern, paths, err))
        return false;
    if (txn != NULL && txn_count(txn) > 0) {
        drop_gone(txn, paths, first);
        if (!add_staged_matches(txn, pattern, paths, err))
            return false;
    }
    sort_from(paths, first);
    return true;
}

/* -- elsewhere ------------------------------------------------------------------------------------------ */

void txn_places(const struct txn *txn, struct strlist *out)
{
    for (size_t n = 0; n < txn->n_ops; n++)
        if (!txn->ops[n].dropped)
            strlist_add(out, txn->ops[n].real);
}

void txn_dirs(const struct txn *txn, struct strlist *out)
{
    for (size_t n = 0; n < txn->n_ops; n++) {
        if (txn->ops[n].dropped)
            continue;
        AUTO_FREE char *dir = fs_dirname(txn->ops[n].real);
        if (!strlist_has(out, dir))
            strlist_add(out, dir);
    }
}

/* Always a new file: what lies below a name that is there already may be more than the copy's. */
static bool show_file(const struct op *op, int dir, const char *base, struct err *err)
{
    bool replaces = op->old.thing == THING_FILE;
    int fd = openat(dir, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && fs_write_all(fd, op->new_data.data, op->new_data.len) &&
              (!replaces || fchown(fd, op->old_meta.uid, op->old_meta.gid) == 0) &&
              fchmod(fd, replaces ? op->old_meta.mode : op->mode) == 0;
    int failed = errno;
    if (fd >= 0)
        close(fd);
    return ok || err_errno(err, failed, op->path, "cannot write a copy of %s", op->path);
}

static bool show_op(const struct op *op, int dir, struct err *err)
{
    const char *base = base_name(op->real);
    if (dir < 0)
        return err_set(err, ERR_INTERNAL, NEXT_NONE, op->path, "nothing stands for the directory of %s",
                       op->path);
    if (unlinkat(dir, base, 0) != 0 && errno != ENOENT)
        return err_errno(err, errno, op->path, "cannot replace the copy of %s", op->path);
    if (op->new.thing == THING_FILE)
        return show_file(op, dir, base, err);
    return op->new.thing != THING_LINK || symlinkat(op->new.target, dir, base) == 0 ||
           err_errno(err, errno, op->path, "cannot make a copy of the link %s", op->path);
}

bool txn_show(const struct txn *txn, txn_dir_fn *dir_of, void *ctx, struct err *err)
{
    for (size_t n = 0; n < txn->n_ops; n++) {
        if (txn->ops[n].dropped)
            continue;
        AUTO_FREE char *dir = fs_dirname(txn->ops[n].real);
        if (!show_op(&txn->ops[n], dir_of(ctx, dir), err))
            return false;
    }
    return true;
}
