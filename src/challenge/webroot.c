#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/webroot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tlsup/b64.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

#define TOKEN_MAX 128
#define TEMPORARY_BYTES (TOKEN_MAX + 8)
#define FILE_MODE 0644
#define DIRECTORY_MODE 0755
#define ATTEMPTS 3

static const char *const levels[] = {".well-known", "acme-challenge"};
#define N_LEVELS COUNT_OF(levels)

/* ROOT, ROOT/.well-known, ROOT/.well-known/acme-challenge; below a missing one all are -1. */
struct chain {
    const char *root;
    int fd[N_LEVELS + 1];
    bool made[N_LEVELS];
};

static void close_chain(struct chain *chain)
{
    for (size_t i = 0; i < COUNT_OF(chain->fd); i++)
        if (chain->fd[i] >= 0)
            close(chain->fd[i]);
}
#define AUTO_WEB_CHAIN CLEANUP(close_chain) struct chain
#define WEB_CHAIN_INIT(path)                                                                                 \
    {                                                                                                        \
        .root = (path), .fd = { -1, -1, -1 }                                                                 \
    }

_Static_assert(N_LEVELS == 2, "WEB_CHAIN_INIT fills fd[] for two levels");

/* ROOT/.well-known[/acme-challenge][/TOKEN], for messages; the caller frees. */
static char *path_of(const char *root, size_t n_levels, const char *token)
{
    char *path = mem_dup(root);
    for (size_t i = 0; i < n_levels + (token != NULL ? 1 : 0); i++) {
        char *longer = fs_join(path, i < n_levels ? levels[i] : token);
        mem_free_ptr(&path);
        path = longer;
    }
    return path;
}

/* -- directories ----------------------------------------------------------------------------------------- */

static bool root_failed(const char *root, int errnum, struct err *err)
{
    if (errnum != ENOENT && errnum != ENOTDIR && errnum != ELOOP)
        return err_errno(err, errnum, root, "cannot open the web root %s", root);
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, root, "the web root %s %s", root,
            errnum == ENOENT ? "does not exist" : "is not a directory");
    return err_advise(err, "give the directory from which the web server serves this name over http");
}

static bool level_failed(const char *root, size_t level, int parent, int errnum, struct err *err)
{
    AUTO_FREE char *path = path_of(root, level + 1, NULL);
    struct stat st;
    if ((errnum != ENOTDIR && errnum != ELOOP) ||
        fstatat(parent, levels[level], &st, AT_SYMLINK_NOFOLLOW) != 0 || S_ISDIR(st.st_mode))
        return err_errno(err, errnum, path, "cannot open %s", path);
    if (S_ISLNK(st.st_mode)) {
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path,
                "%s is a symlink, and below a web root none is followed", path);
        return err_advise(err, "replace it by a directory, or give the web root that it leads to");
    }
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s is not a directory", path);
    return err_advise(err, "move it away: the challenge needs a directory of this name");
}

static bool open_root(struct chain *chain, struct err *err)
{
    chain->fd[0] = open(chain->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return chain->fd[0] >= 0 || root_failed(chain->root, errno, err);
}

/* Open one level below its parent, which is open; *missing when it is not there. */
static bool open_level(struct chain *chain, size_t level, bool *missing, struct err *err)
{
    int parent = chain->fd[level];
    chain->fd[level + 1] = openat(parent, levels[level], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    *missing = chain->fd[level + 1] < 0 && errno == ENOENT;
    return chain->fd[level + 1] >= 0 || *missing || level_failed(chain->root, level, parent, errno, err);
}

/* False with errno. A umask that takes the owner's own bits would keep us out of what we made. */
static bool make_directory(int parent, const char *name)
{
    mode_t mask = umask(0);
    bool made = mkdirat(parent, name, DIRECTORY_MODE) == 0;
    umask(mask); /* leaves errno alone */
    return made;
}

static bool make_level(struct chain *chain, size_t level, struct err *err)
{
    bool missing;
    chain->made[level] = make_directory(chain->fd[level], levels[level]);
    if (!chain->made[level] && errno != EEXIST) {
        int errnum = errno;
        AUTO_FREE char *path = path_of(chain->root, level + 1, NULL);
        return err_errno(err, errnum, path, "cannot make the directory %s", path);
    }
    if (!open_level(chain, level, &missing, err))
        return false;
    if (missing) {
        AUTO_FREE char *path = path_of(chain->root, level + 1, NULL);
        return err_errno(err, ENOENT, path, "cannot open %s", path);
    }
    /* a default ACL may have narrowed it, and the web server must be able to enter */
    if (chain->made[level] && fchmod(chain->fd[level + 1], DIRECTORY_MODE) != 0) {
        int errnum = errno;
        AUTO_FREE char *path = path_of(chain->root, level + 1, NULL);
        return err_errno(err, errnum, path, "cannot set the mode of %s", path);
    }
    return true;
}

static bool make_levels(struct chain *chain, struct err *err)
{
    for (size_t level = 0; level < N_LEVELS; level++) {
        bool missing;
        if (!open_level(chain, level, &missing, err) || (missing && !make_level(chain, level, err)))
            return false;
    }
    return true;
}

static void unmake_levels(struct chain *chain)
{
    for (size_t level = N_LEVELS; level-- > 0;)
        if (chain->made[level])
            (void)unlinkat(chain->fd[level], levels[level], AT_REMOVEDIR);
}

/* -- the file -------------------------------------------------------------------------------------------- */

/* The name depends on the token alone, so that what a killed run left is found by the next. */
static void temporary_name(const char *token, char out[TEMPORARY_BYTES])
{
    snprintf(out, TEMPORARY_BYTES, ".%.*s.new", TOKEN_MAX, token);
}

static int create_temporary(int dir, const char *name)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(dir, name, flags, FILE_MODE);
    if (fd < 0 && errno == EEXIST && unlinkat(dir, name, 0) == 0)
        fd = openat(dir, name, flags, FILE_MODE);
    return fd;
}

/* False with errno. */
static bool fill(int fd, const char *text)
{
    size_t len = strlen(text);
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        text += n;
        len -= (size_t)n;
    }
    return fchmod(fd, FILE_MODE) == 0 && fsync(fd) == 0;
}

/* False with errno, nothing left. */
static bool write_file(int dir, const char *token, const char *text)
{
    char temporary[TEMPORARY_BYTES];
    temporary_name(token, temporary);
    int fd = create_temporary(dir, temporary);
    if (fd < 0)
        return false;
    bool good = fill(fd, text);
    int errnum = errno;
    /* a network file system may report a full disk only here */
    if (close(fd) != 0 && good) {
        good = false;
        errnum = errno;
    }
    if (good && renameat(dir, temporary, dir, token) == 0)
        return true;
    errnum = good ? errno : errnum;
    (void)unlinkat(dir, temporary, 0);
    errno = errnum;
    return false;
}

/* -- the interface --------------------------------------------------------------------------------------- */

static bool check_arguments(const char *root, const char *token, struct err *err)
{
    if (root == NULL || root[0] == '\0') {
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, "", "the web root is empty");
        return err_advise(err, "give the directory from which the web server serves this name over http");
    }
    if (token == NULL || !b64url_valid(token, TOKEN_MAX))
        return err_set(err, ERR_PROTOCOL, NEXT_REFUSED, root,
                       "the CA's challenge token is not one: 1 to %d characters of base64url are allowed",
                       TOKEN_MAX);
    return true;
}

/* One attempt; *again when another program removed the directory between our opening it and writing into it.
 */
static bool present_once(const char *root, const char *token, const char *text, bool *again, struct err *err)
{
    AUTO_WEB_CHAIN chain = WEB_CHAIN_INIT(root);
    *again = false;
    if (!open_root(&chain, err))
        return false;
    if (!make_levels(&chain, err)) {
        unmake_levels(&chain);
        return false;
    }
    if (write_file(chain.fd[N_LEVELS], token, text))
        return true;
    int errnum = errno;
    AUTO_FREE char *path = path_of(root, N_LEVELS, token);
    *again = errnum == ENOENT;
    unmake_levels(&chain);
    return err_errno(err, errnum, path, "cannot write %s", path);
}

bool webroot_present(const char *root, const char *token, const char *key_authorization, struct err *err)
{
    if (!check_arguments(root, token, err))
        return false;
    for (int attempt = 1;; attempt++) {
        struct err failure = ERR_INIT;
        bool again;
        if (present_once(root, token, key_authorization, &again, &failure))
            return true;
        if (again && attempt < ATTEMPTS)
            continue;
        if (!err_isset(err))
            *err = failure;
        return false;
    }
}

/* False with errno; a missing file is fine. */
static bool remove_file(int dir, const char *name)
{
    return unlinkat(dir, name, 0) == 0 || errno == ENOENT;
}

/* Empty directories with the owner and the mode that ours would have. */
static void remove_levels(const struct chain *chain)
{
    for (size_t level = N_LEVELS; level-- > 0;) {
        struct stat st;
        if (chain->fd[level + 1] < 0)
            continue;
        if (fstat(chain->fd[level + 1], &st) != 0 || st.st_uid != geteuid() ||
            (st.st_mode & 07777) != DIRECTORY_MODE ||
            unlinkat(chain->fd[level], levels[level], AT_REMOVEDIR) != 0)
            return;
    }
}

bool webroot_remove(const char *root, const char *token, struct err *err)
{
    AUTO_WEB_CHAIN chain = WEB_CHAIN_INIT(root);
    char temporary[TEMPORARY_BYTES];
    bool missing = false;
    if (!check_arguments(root, token, err))
        return false;
    chain.fd[0] = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (chain.fd[0] < 0)
        return errno == ENOENT || root_failed(root, errno, err);
    for (size_t level = 0; level < N_LEVELS && !missing; level++)
        if (!open_level(&chain, level, &missing, err))
            return false;
    temporary_name(token, temporary);
    int dir = chain.fd[N_LEVELS];
    if (dir >= 0 && (!remove_file(dir, token) || !remove_file(dir, temporary))) {
        int errnum = errno;
        AUTO_FREE char *path = path_of(root, N_LEVELS, token);
        return err_errno(err, errnum, path, "cannot remove %s", path);
    }
    remove_levels(&chain);
    return true;
}
