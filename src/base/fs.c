#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tlsup/mem.h"

char *fs_dirname(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return mem_dup(".");
    while (slash > path && slash[-1] == '/')
        slash--;
    return slash == path ? mem_dup("/") : mem_ndup(path, (size_t)(slash - path));
}

char *fs_join(const char *dir, const char *name)
{
    size_t len = strlen(dir);
    return mem_fmt("%s%s%s", dir, len > 0 && dir[len - 1] == '/' ? "" : "/", name);
}

bool fs_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

bool fs_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool read_all(int fd, const char *path, size_t limit, struct buf *out, struct err *err)
{
    char block[16384];
    size_t total = 0;
    for (;;) {
        ssize_t n = read(fd, block, sizeof block);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, errno, path, "cannot read %s", path);
        if (n == 0)
            return true;
        total += (size_t)n;
        if (total > limit)
            return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s is larger than %zu bytes", path,
                           limit);
        buf_add(out, block, (size_t)n);
    }
}

static bool refuse_kind(mode_t mode, const char *path, struct err *err)
{
    static const struct {
        mode_t type;
        const char *name;
        bool flows; /* what it gives can be saved */
    } kinds[] = {
        {S_IFDIR, "a directory", false},    {S_IFIFO, "a pipe", true},     {S_IFCHR, "a device", true},
        {S_IFBLK, "a block device", false}, {S_IFSOCK, "a socket", false},
    };
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        if ((mode & S_IFMT) != kinds[i].type)
            continue;
        (void)err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s is not a regular file, but %s", path,
                      kinds[i].name);
        return kinds[i].flows ? err_advise(err, "save what it gives into a file first, and name that file")
                              : false;
    }
    return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s is not a regular file", path);
}

bool fs_read(const char *path, size_t limit, struct buf *out, struct err *err)
{
    struct stat st;
    /* looked at before: to open a device, or the end of a pipe, can be an act by itself */
    if (stat(path, &st) != 0)
        return err_errno(err, errno, path, "cannot open %s", path);
    if (!S_ISREG(st.st_mode))
        return refuse_kind(st.st_mode, path, err);
    /* O_NONBLOCK: what may have taken its place since must not hang us */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_errno(err, errno, path, "cannot open %s", path);
    bool ok = false;
    if (fstat(fd, &st) != 0)
        err_errno(err, errno, path, "cannot look at %s", path);
    else if (!S_ISREG(st.st_mode))
        (void)refuse_kind(st.st_mode, path, err);
    else
        ok = read_all(fd, path, limit, out, err);
    close(fd);
    return ok;
}

bool fs_sync_dir(const char *dir, struct err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, dir, "cannot open directory %s", dir);
    /* some file systems cannot sync a directory and say EINVAL: there is nothing more to do there */
    bool ok = fsync(fd) == 0 || errno == EINVAL || errno == EROFS;
    int saved = errno;
    close(fd);
    return ok ? true : err_errno(err, saved, dir, "cannot sync directory %s", dir);
}

static bool sync_parent(const char *path, struct err *err)
{
    AUTO_FREE char *dir = fs_dirname(path);
    return fs_sync_dir(dir, err);
}

/* The temporary name of a path is fixed: an interrupted write leaves one, which the next write removes. */
static char *temporary_for(const char *path)
{
    AUTO_FREE char *dir = fs_dirname(path);
    const char *slash = strrchr(path, '/');
    AUTO_FREE char *name = mem_fmt(".%s.tlsup-new", slash != NULL ? slash + 1 : path);
    return fs_join(dir, name);
}

bool fs_write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

bool fs_write(const char *path, const void *data, size_t len, mode_t mode, struct err *err)
{
    AUTO_FREE char *temporary = temporary_for(path);
    if (unlink(temporary) != 0 && errno != ENOENT)
        return err_errno(err, errno, path, "cannot remove a left-over of %s", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode & 0700);
    if (fd < 0)
        return err_errno(err, errno, path, "cannot write %s", path);
    /* created with the owner's bits alone, widened after: never more readable than asked, whatever the umask
     */
    bool ok = fchmod(fd, mode) == 0 && fs_write_all(fd, data, len) && fsync(fd) == 0;
    int saved = errno;
    if (close(fd) != 0 && ok) {
        saved = errno;
        ok = false;
    }
    if (ok && rename(temporary, path) != 0) {
        saved = errno;
        ok = false;
    }
    if (!ok) {
        unlink(temporary);
        return err_errno(err, saved, path, "cannot write %s", path);
    }
    return sync_parent(path, err);
}

bool fs_mkdirs(const char *path, mode_t mode, struct err *err)
{
    struct stat st;
    if (stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return true;
        return err_errno(err, ENOTDIR, path, "%s is in the way", path);
    }
    AUTO_FREE char *parent = fs_dirname(path);
    if (strcmp(parent, path) != 0 && !fs_mkdirs(parent, mode, err))
        return false;
    if (mkdir(path, mode & 0700) != 0) {
        if (errno == EEXIST && fs_is_dir(path))
            return true;
        return err_errno(err, errno, path, "cannot make directory %s", path);
    }
    if (chmod(path, mode) != 0)
        return err_errno(err, errno, path, "cannot set the mode of %s", path);
    return fs_sync_dir(parent, err);
}

bool fs_symlink(const char *target, const char *link, struct err *err)
{
    struct stat st;
    AUTO_FREE char *temporary = temporary_for(link);
    if (lstat(link, &st) == 0 && !S_ISLNK(st.st_mode))
        return err_set(err, ERR_EXISTS, NEXT_FIX_CONFIG, link, "%s is not a symbolic link; it is left alone",
                       link);
    if (unlink(temporary) != 0 && errno != ENOENT)
        return err_errno(err, errno, link, "cannot remove a left-over of %s", link);
    if (symlink(target, temporary) != 0)
        return err_errno(err, errno, link, "cannot make the link %s", link);
    if (rename(temporary, link) != 0) {
        int saved = errno;
        unlink(temporary);
        return err_errno(err, saved, link, "cannot switch the link %s", link);
    }
    return sync_parent(link, err);
}

bool fs_remove(const char *path, struct err *err)
{
    if (unlink(path) != 0) {
        if (errno == ENOENT)
            return true;
        return err_errno(err, errno, path, "cannot remove %s", path);
    }
    return sync_parent(path, err);
}

static bool remove_below(int dir_fd, const char *name, const char *path, struct err *err);

static bool remove_entries(DIR *dir, const char *path, struct err *err)
{
    struct dirent *entry;
    while ((errno = 0, entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        AUTO_FREE char *below = fs_join(path, entry->d_name);
        if (!remove_below(dirfd(dir), entry->d_name, below, err))
            return false;
    }
    return errno == 0 ? true : err_errno(err, errno, path, "cannot read directory %s", path);
}

static bool remove_below(int dir_fd, const char *name, const char *path, struct err *err)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? true : err_errno(err, errno, path, "cannot look at %s", path);
    if (!S_ISDIR(st.st_mode)) {
        if (unlinkat(dir_fd, name, 0) != 0 && errno != ENOENT)
            return err_errno(err, errno, path, "cannot remove %s", path);
        return true;
    }
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        int saved = errno;
        if (fd >= 0)
            close(fd);
        return err_errno(err, saved, path, "cannot open directory %s", path);
    }
    bool ok = remove_entries(dir, path, err);
    closedir(dir);
    if (ok && unlinkat(dir_fd, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        return err_errno(err, errno, path, "cannot remove directory %s", path);
    return ok;
}

bool fs_remove_tree(const char *path, struct err *err)
{
    struct stat st;
    if (lstat(path, &st) != 0 && errno == ENOENT)
        return true;
    return remove_below(AT_FDCWD, path, path, err) && sync_parent(path, err);
}

bool fs_rename(const char *from, const char *to, struct err *err)
{
    if (rename(from, to) != 0)
        return err_errno(err, errno, to, "cannot rename %s to %s", from, to);
    return sync_parent(to, err) && sync_parent(from, err);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool fs_list(const char *dir, struct strlist *names, struct err *err)
{
    struct dirent *entry;
    DIR *handle = opendir(dir);
    if (handle == NULL)
        return errno == ENOENT ? true : err_errno(err, errno, dir, "cannot read directory %s", dir);
    while ((errno = 0, entry = readdir(handle)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            strlist_add(names, entry->d_name);
    int saved = errno;
    closedir(handle);
    if (saved != 0)
        return err_errno(err, saved, dir, "cannot read directory %s", dir);
    if (names->n > 1)
        qsort(names->v, names->n, sizeof *names->v, by_bytes);
    return true;
}

static bool lock_refused(int fd, const char *path, struct err *err)
{
    char pid[32] = "";
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
    pid[n > 0 ? n : 0] = '\0';
    pid[strspn(pid, "0123456789")] = '\0';
    err_set(err, ERR_LOCKED, NEXT_RETRY_LATER, path, "another run of tlsup%s%s holds the lock %s",
            pid[0] != '\0' ? ", process " : "", pid, path);
    return err_advise(err, "wait until it has ended, then run the same command again");
}

bool fs_lock(const char *path, struct fs_lock *lock, struct err *err)
{
    char pid[32];
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(err, errno, path, "cannot open the lock %s", path);
    /* an open-file-description lock: not lost when some library opens and closes the same file */
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int saved = errno;
        bool ok = saved == EWOULDBLOCK ? lock_refused(fd, path, err)
                                       : err_errno(err, saved, path, "cannot lock %s", path);
        close(fd);
        return ok;
    }
    /* only a courtesy to the reader of the message: its failure is of no consequence */
    int len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) == 0) {
        ssize_t ignored = pwrite(fd, pid, (size_t)len, 0);
        (void)ignored;
    }
    lock->fd = fd;
    return true;
}

void fs_unlock(struct fs_lock *lock)
{
    if (lock->fd >= 0)
        close(lock->fd);
    lock->fd = -1;
}
