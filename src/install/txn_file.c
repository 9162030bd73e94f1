/*
 * txn_file.c - one operation of a transaction, carried out on the file system.
 *
 * Where the temporary file lies: in the journal's own directory when that is on the target's device, since a
 * web server that includes a whole directory reads dot files too; else as a dot file in the directory above
 * the target's; beside the target only where neither can be. The names depend on the transaction and the
 * operation alone, so recovery finds them. A removed file is set aside into the journal by rename where that
 * works (else, if it has other hard links, to such a dot file): putting it back is then one rename, which
 * keeps those links and needs no space.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(HAVE_SYS_XATTR_H) && defined(__linux__)
#include <sys/xattr.h>
#define WITH_XATTR 1
#endif

#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "txn_internal.h"

#define LABEL_XATTR "security.selinux"
#define ACL_XATTR "system.posix_acl_access"
#define DEFAULT_ACL_XATTR "system.posix_acl_default"

/* -- steps ---------------------------------------------------------------------------------------------- */

#ifdef TEST_HOOKS
unsigned long txn_steps_done;

static unsigned long step_wanted(const char *variable, char *after)
{
    const char *text = getenv(variable);
    char *end = NULL;
    unsigned long n = text == NULL ? 0 : strtoul(text, &end, 10);
    *after = end == NULL ? '\0' : *end;
    return n;
}

/* TLSUP_TEST_CRASH=N dies before step N; TLSUP_TEST_FAIL=N fails step N with ENOSPC, "N+" that and all later.
 */
bool txn_step(void)
{
    char after;
    txn_steps_done++;
    if (txn_steps_done == step_wanted("TLSUP_TEST_CRASH", &after))
        raise(SIGKILL);
    unsigned long fail = step_wanted("TLSUP_TEST_FAIL", &after);
    if (fail == 0 || txn_steps_done < fail || (txn_steps_done > fail && after != '+'))
        return true;
    errno = ENOSPC;
    return false;
}
#else
bool txn_step(void)
{
    return true;
}
#endif

/* -- snapshots ------------------------------------------------------------------------------------------ */

void sha256_hex(const void *data, size_t len, char out[SHA256_HEX_BYTES])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    if (EVP_Digest(len == 0 ? "" : data, len, digest, &n, EVP_sha256(), NULL) != 1 || n != 32)
        abort(); /* only a broken libcrypto; a wrong hash here could destroy a person's file */
    for (unsigned int i = 0; i < n; i++)
        snprintf(out + 2 * (size_t)i, 3, "%02x", digest[i]);
}

void snapshot_clear(struct snapshot *snapshot)
{
    free(snapshot->target);
    *snapshot = (struct snapshot){0};
}

void snapshot_copy(struct snapshot *to, const struct snapshot *from)
{
    char *target = mem_dup(from->target);
    free(to->target);
    *to = *from;
    to->target = target;
}

bool snapshot_equal(const struct snapshot *a, const struct snapshot *b)
{
    if (a->thing != b->thing)
        return false;
    switch (a->thing) {
    case THING_NONE:
        return true;
    case THING_FILE:
        return strcmp(a->sha256, b->sha256) == 0;
    case THING_LINK:
        return strcmp(a->target, b->target) == 0;
    case THING_OTHER:
        break;
    }
    return false;
}

static bool read_link(const char *real, struct snapshot *out, struct err *err)
{
    char target[PATH_MAX];
    ssize_t n = readlink(real, target, sizeof(target));
    if (n < 0)
        return err_errno(err, errno, real, "cannot read the symbolic link %s", real);
    out->thing = (size_t)n < sizeof(target) ? THING_LINK : THING_OTHER;
    out->target = out->thing == THING_LINK ? mem_ndup(target, (size_t)n) : NULL;
    return true;
}

/* Appends until the end of the file; *too_large when it is over the limit. */
static bool read_fd(int fd, struct buf *data, bool *too_large)
{
    char chunk[16384];
    *too_large = false;
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0;
        if (data->len + (size_t)n > TXN_FILE_LIMIT) {
            *too_large = true;
            return true;
        }
        buf_add(data, chunk, (size_t)n);
    }
}

static bool read_content(const char *real, int fd, struct snapshot *out, struct buf *data, struct err *err)
{
    AUTO_BUF content = BUF_INIT;
    bool too_large;
    if (!read_fd(fd, &content, &too_large))
        return err_errno(err, errno, real, "cannot read %s", real);
    out->thing = too_large ? THING_OTHER : THING_FILE;
    if (too_large)
        return true;
    sha256_hex(content.data, content.len, out->sha256);
    if (data != NULL)
        buf_add(data, content.data, content.len);
    return true;
}

bool snapshot_read(const char *real, struct snapshot *out, struct buf *data, struct err *err)
{
    struct stat st;
    snapshot_clear(out);
    if (lstat(real, &st) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return true;
        return err_errno(err, errno, real, "cannot look at %s", real);
    }
    if (S_ISLNK(st.st_mode))
        return read_link(real, out, err);
    out->thing = THING_OTHER;
    if (!S_ISREG(st.st_mode))
        return true;
    /* O_NONBLOCK: should a FIFO have taken the place since, do not wait for its writer. */
    int fd = open(real, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, real, "cannot read %s", real);
    bool ok = fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || read_content(real, fd, out, data, err);
    close(fd);
    return ok;
}

/* -- metadata ------------------------------------------------------------------------------------------- */

void meta_clear(struct meta *meta)
{
    for (size_t i = 0; i < meta->n_xattrs; i++) {
        free(meta->xattrs[i].name);
        free(meta->xattrs[i].value);
    }
    free(meta->xattrs);
    *meta = (struct meta){0};
}

void meta_add_xattr(struct meta *meta, const char *name, const void *value, size_t len)
{
    meta->xattrs = mem_resize(meta->xattrs, meta->n_xattrs + 1, sizeof(*meta->xattrs));
    meta->xattrs[meta->n_xattrs++] =
        (struct xattr){.name = mem_dup(name), .value = mem_ndup(len == 0 ? "" : value, len), .len = len};
}

void meta_copy(struct meta *to, const struct meta *from)
{
    struct meta copy = *from;
    copy.xattrs = NULL;
    copy.n_xattrs = 0;
    for (size_t i = 0; i < from->n_xattrs; i++)
        meta_add_xattr(&copy, from->xattrs[i].name, from->xattrs[i].value, from->xattrs[i].len);
    meta_clear(to);
    *to = copy;
}

#ifdef WITH_XATTR

/* These are bound to the content or to the layer below, and belong to the kernel. */
static bool xattr_is_kernels(const char *name)
{
    static const char *const kernels[] = {"security.ima", "security.evm"};
    for (size_t i = 0; i < COUNT_OF(kernels); i++)
        if (strcmp(name, kernels[i]) == 0)
            return true;
    return strncmp(name, "trusted.overlay.", 16) == 0;
}

/* Without these the file would not be protected, or not be readable, as before. */
static bool xattr_is_needed(const char *name)
{
    return strcmp(name, LABEL_XATTR) == 0 || strcmp(name, ACL_XATTR) == 0;
}

static bool xattr_get(const char *path, const char *name, struct buf *value)
{
    for (int tries = 0; tries < 4; tries++) {
        ssize_t size = lgetxattr(path, name, NULL, 0);
        if (size < 0)
            return false;
        AUTO_FREE char *data = mem_alloc((size_t)size + 1);
        ssize_t n = size == 0 ? 0 : lgetxattr(path, name, data, (size_t)size);
        if (n >= 0) {
            buf_add(value, data, (size_t)n);
            return true;
        }
        if (errno != ERANGE)
            return false;
    }
    return false;
}

static void xattr_read_one(const char *from, const char *name, const char *name_for_copy, struct meta *meta)
{
    AUTO_BUF value = BUF_INIT;
    for (size_t i = 0; i < meta->n_xattrs; i++)
        if (strcmp(meta->xattrs[i].name, name_for_copy) == 0)
            return;
    if (xattr_get(from, name, &value))
        meta_add_xattr(meta, name_for_copy, value.data, value.len);
}

static void xattrs_read(const char *real, struct meta *meta)
{
    ssize_t size = llistxattr(real, NULL, 0);
    if (size > 0) {
        AUTO_FREE char *names = mem_alloc((size_t)size + 1);
        size = llistxattr(real, names, (size_t)size);
        for (ssize_t at = 0; at < size; at += (ssize_t)strlen(names + at) + 1)
            if (!xattr_is_kernels(names + at))
                xattr_read_one(real, names + at, names + at, meta);
    }
    /* Some file systems keep these two out of the list. */
    xattr_read_one(real, ACL_XATTR, ACL_XATTR, meta);
    xattr_read_one(real, LABEL_XATTR, LABEL_XATTR, meta);
}

static bool xattr_set(const char *temp, const struct xattr *attribute, const struct op *op, struct err *err)
{
    AUTO_BUF present = BUF_INIT;
    if (xattr_get(temp, attribute->name, &present) && present.len == attribute->len &&
        (present.len == 0 || memcmp(present.data, attribute->value, present.len) == 0))
        return true;
    if (txn_step() && lsetxattr(temp, attribute->name, attribute->value, attribute->len, 0) == 0)
        return true;
    bool disk = errno == ENOSPC || errno == EDQUOT || errno == EIO;
    if (disk || xattr_is_needed(attribute->name))
        return err_errno(err, errno, op->path, "cannot keep the attribute %s of %s", attribute->name,
                         op->path);
    log_warn("%s: the attribute %s could not be kept: %s", op->path, attribute->name, strerror(errno));
    return true;
}

static bool xattrs_apply(const char *temp, const struct meta *meta, bool link, const struct op *op,
                         struct err *err)
{
    bool has_acl = false;
    for (size_t i = 0; i < meta->n_xattrs; i++) {
        const struct xattr *attribute = &meta->xattrs[i];
        has_acl = has_acl || strcmp(attribute->name, ACL_XATTR) == 0;
        if (link && strcmp(attribute->name, LABEL_XATTR) != 0)
            continue;
        if (!xattr_set(temp, attribute, op, err))
            return false;
    }
    /* A default ACL of the directory that holds the temporary file must not open or close the copy. */
    if (!link && !has_acl)
        (void)lremovexattr(temp, ACL_XATTR);
    return true;
}

static void xattrs_inherited(const char *dir, struct meta *meta)
{
    xattr_read_one(dir, LABEL_XATTR, LABEL_XATTR, meta);
    xattr_read_one(dir, DEFAULT_ACL_XATTR, ACL_XATTR, meta);
}

#else

static void xattrs_read(const char *real, struct meta *meta)
{
    (void)real;
    (void)meta;
}

static bool xattrs_apply(const char *temp, const struct meta *meta, bool link, const struct op *op,
                         struct err *err)
{
    (void)temp;
    (void)meta;
    (void)link;
    (void)op;
    (void)err;
    return true;
}

static void xattrs_inherited(const char *dir, struct meta *meta)
{
    (void)dir;
    (void)meta;
}

#endif

bool meta_read(const char *real, struct meta *out, struct err *err)
{
    struct stat st;
    if (lstat(real, &st) != 0)
        return err_errno(err, errno, real, "cannot look at %s", real);
    meta_clear(out);
    out->mode = st.st_mode & 07777;
    out->uid = st.st_uid;
    out->gid = st.st_gid;
    out->dev = st.st_dev;
    out->ino = st.st_ino;
    out->nlink = st.st_nlink;
    xattrs_read(real, out);
    return true;
}

/* What the kernel would give a file made in `dir`, for one that is made elsewhere and moved there. */
static void meta_fresh(const char *dir, mode_t mode, struct meta *out)
{
    struct stat st;
    meta_clear(out);
    out->mode = mode & 07777;
    out->uid = geteuid();
    out->gid = stat(dir, &st) == 0 && (st.st_mode & S_ISGID) != 0 ? st.st_gid : getegid();
    out->inherit = true;
    xattrs_inherited(dir, out);
}

/* -- writing -------------------------------------------------------------------------------------------- */

bool file_write_all(int fd, const char *data, size_t len)
{
#ifdef TEST_HOOKS
    size_t most = len / 2 + 1; /* two writes, so that a test can tear it */
#else
    size_t most = len;
#endif
    while (len > 0) {
        if (!txn_step())
            return false;
        ssize_t n = write(fd, data, len < most ? len : most);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n == 0 ? EIO : errno;
            return false;
        }
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static bool sync_fd(int fd)
{
    return txn_step() && fsync(fd) == 0;
}

/* close(), keeping errno. */
static void close_quietly(int fd)
{
    int saved = errno;
    close(fd);
    errno = saved;
}

static void unlink_quietly(const char *path)
{
    int saved = errno;
    struct stat st;
    if (lstat(path, &st) == 0 && txn_step())
        (void)unlink(path);
    errno = saved;
}

bool file_sync_dir(const char *dir, struct err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, dir, "cannot open the directory %s", dir);
    /* EINVAL: a file system without it, such as some network ones */
    bool ok = sync_fd(fd) || errno == EINVAL;
    close_quietly(fd);
    return ok || err_errno(err, errno, dir, "cannot write the directory %s to disk", dir);
}

static bool sync_parent(const char *path, struct err *err)
{
    AUTO_FREE char *dir = fs_dirname(path);
    return file_sync_dir(dir, err);
}

/* A new file, open for writing and private; one left by a crash is removed first. -1 and errno. */
static int open_new(const char *path)
{
    unlink_quietly(path);
    if (!txn_step())
        return -1;
    return open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

bool file_save(const char *path, const void *data, size_t len, struct err *err)
{
    int fd = open_new(path);
    if (fd < 0)
        return err_errno(err, errno, path, "cannot create %s", path);
    bool ok = file_write_all(fd, data, len) && sync_fd(fd);
    close_quietly(fd);
    return ok || err_errno(err, errno, path, "cannot write %s", path);
}

/* -- one operation -------------------------------------------------------------------------------------- */

/* What an attempt came to; the last three have another way to try. */
enum attempt { ATTEMPT_DONE, ATTEMPT_FAILED, ATTEMPT_OTHER_DEVICE, ATTEMPT_MOUNT_POINT, ATTEMPT_NO_SPACE };

/* Where a file lies that is not in its place yet, or no longer. In order of preference. */
enum place { PLACE_JOURNAL, PLACE_ABOVE, PLACE_BESIDE, PLACES };

struct put {
    struct txn *txn;
    size_t n;
    struct op *op;
    const struct snapshot *from, *to;
    bool forward;
    const char *dir;  /* of op->real */
    char *temp;       /* owned by put_clear() */
    enum place place; /* of temp */
};

static void put_clear(struct put *put)
{
    free(put->temp);
    put->temp = NULL;
}

static char *place_path(const struct txn *txn, const char *kind, size_t n, const char *dir, enum place place)
{
    if (place == PLACE_JOURNAL)
        return journal_path(txn, kind, n);
    AUTO_FREE char *in = place == PLACE_ABOVE ? fs_dirname(dir) : mem_dup(dir);
    return mem_fmt("%s/.tlsup-%s-%s-%zu", strcmp(in, "/") == 0 ? "" : in, txn->id, kind, n);
}

static bool same_device(const char *a, const char *b)
{
    struct stat sa, sb;
    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev;
}

static bool place_is_usable(const struct txn *txn, const char *dir, enum place place)
{
    if (place == PLACE_JOURNAL)
        return same_device(txn->dir, dir);
    AUTO_FREE char *above = fs_dirname(dir);
    return place == PLACE_BESIDE || (strcmp(above, "/") != 0 && same_device(above, dir) &&
                                     faccessat(AT_FDCWD, above, W_OK | X_OK, AT_EACCESS) == 0);
}

/* The first one from `place` on. */
static enum place usable_place(const struct txn *txn, const char *dir, enum place place)
{
    while (!place_is_usable(txn, dir, place))
        place++;
    return place;
}

static void put_choose_temp(struct put *put, enum place place)
{
    put_clear(put);
    put->place = usable_place(put->txn, put->dir, place);
    put->temp = place_path(put->txn, "tmp", put->n, put->dir, put->place);
}

/* The live thing must be what we think it is, or somebody else's work would be lost. */
static bool put_check(const struct put *put, struct err *err)
{
    AUTO_SNAPSHOT live = {0};
    if (!snapshot_read(put->op->real, &live, NULL, err))
        return false;
    if (snapshot_equal(&live, put->from))
        return true;
    err_set(err, ERR_MISMATCH, NEXT_RETRY_NOW, put->op->path,
            "%s was changed by somebody else at the same moment; that change was kept", put->op->path);
    return err_advise(err, "Run the command again.");
}

static bool put_meta(const struct put *put, struct meta *out, struct err *err)
{
    if (put->from->thing == put->to->thing) /* file by file, link by link: as it is now, and not as it was */
        return meta_read(put->op->real, out, err);
    if (!put->forward)
        meta_copy(out, &put->op->old_meta);
    else if (put->op->remake)
        meta_copy(out, &put->op->new_meta);
    else
        meta_fresh(put->dir, put->op->mode, out);
    return true;
}

static bool put_owner(const struct put *put, const struct meta *meta, struct err *err)
{
    struct stat st;
    if (lstat(put->temp, &st) == 0 && st.st_uid == meta->uid && st.st_gid == meta->gid)
        return true;
    if (txn_step() && lchown(put->temp, meta->uid, meta->gid) == 0)
        return true;
    err_errno(err, errno, put->op->path, "cannot keep the owner of %s", put->op->path);
    return err_advise(err, "Run it as root.");
}

/* chown before ACL and mode: it clears set-id bits; mode last: it settles the ACL's mask. */
static bool put_apply_meta(const struct put *put, const struct meta *meta, int fd, struct err *err)
{
    bool link = fd < 0;
    bool kernel_did = meta->inherit && put->place == PLACE_BESIDE;
    if (!put_owner(put, meta, err))
        return false;
    if (!kernel_did && !xattrs_apply(put->temp, meta, link, put->op, err))
        return false;
    if (link || (txn_step() && fchmod(fd, meta->mode) == 0))
        return true;
    return err_errno(err, errno, put->op->path, "cannot set the mode of %s", put->op->path);
}

static const struct buf *put_data(const struct put *put)
{
    return put->forward ? &put->op->new_data : &put->op->old_data;
}

static enum attempt put_write_temp(struct put *put, struct err *err)
{
    AUTO_META meta = {0};
    const struct buf *data = put_data(put);
    if (!put_meta(put, &meta, err))
        return ATTEMPT_FAILED;
    int fd = open_new(put->temp);
    bool ok = fd >= 0 && file_write_all(fd, data->data, data->len);
    int reason = errno;
    if (ok && !put_apply_meta(put, &meta, fd, err)) {
        close(fd);
        return ATTEMPT_FAILED;
    }
    if (ok) {
        ok = sync_fd(fd);
        reason = errno;
    }
    if (fd >= 0)
        close(fd);
    if (ok)
        return ATTEMPT_DONE;
    err_errno(err, reason, put->op->path, "cannot write %s", put->op->path);
    return reason == ENOSPC || reason == EDQUOT ? ATTEMPT_NO_SPACE : ATTEMPT_FAILED;
}

static enum attempt put_make_link(struct put *put, struct err *err)
{
    AUTO_META meta = {0};
    if (!put_meta(put, &meta, err))
        return ATTEMPT_FAILED;
    unlink_quietly(put->temp);
    if (!txn_step() || symlink(put->to->target, put->temp) != 0) {
        err_errno(err, errno, put->op->path, "cannot make the symbolic link %s", put->op->path);
        return ATTEMPT_FAILED;
    }
    return put_apply_meta(put, &meta, -1, err) ? ATTEMPT_DONE : ATTEMPT_FAILED;
}

/* rename(); where nothing should stand, without replacing what may have come since. */
static int rename_into(const char *from, const char *to, bool replace)
{
    if (!txn_step())
        return -1;
#ifdef HAVE_RENAMEAT2
    if (!replace) {
        int rc = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
        if (rc == 0 || (errno != EINVAL && errno != ENOSYS))
            return rc;
    }
#else
    (void)replace;
#endif
    return rename(from, to);
}

static enum attempt put_swing(struct put *put, struct err *err)
{
    if (!put_check(put, err))
        return ATTEMPT_FAILED;
    if (rename_into(put->temp, put->op->real, put->from->thing != THING_NONE) == 0)
        return sync_parent(put->op->real, err) ? ATTEMPT_DONE : ATTEMPT_FAILED;
    if (errno == EXDEV && put->place != PLACE_BESIDE)
        return ATTEMPT_OTHER_DEVICE;
    if ((errno == EBUSY || errno == EXDEV) && put->from->thing == THING_FILE && put->to->thing == THING_FILE)
        return ATTEMPT_MOUNT_POINT;
    err_errno(err, errno, put->op->path, "cannot replace %s", put->op->path);
    return ATTEMPT_FAILED;
}

static enum attempt put_by_rename(struct put *put, struct err *err)
{
    enum attempt result = put->to->thing == THING_LINK ? put_make_link(put, err) : put_write_temp(put, err);
    if (result == ATTEMPT_DONE)
        result = put_swing(put, err);
    if (result != ATTEMPT_DONE)
        unlink_quietly(put->temp);
    return result;
}

/* -- in place: several links, or a mount point ---------------------------------------------------------- */

static bool write_over(const struct put *put, int fd, struct err *err)
{
    const struct buf *data = put_data(put);
    if (!journal_append(put->txn, err, "inplace %zu", put->n))
        return false;
    put->op->torn = true;
    if (lseek(fd, 0, SEEK_SET) != 0 || !file_write_all(fd, data->data, data->len) || !txn_step() ||
        ftruncate(fd, (off_t)data->len) != 0 || !sync_fd(fd))
        return err_errno(err, errno, put->op->path, "cannot write %s", put->op->path);
    if (!journal_append(put->txn, err, "whole %zu", put->n))
        return false;
    put->op->torn = false;
    return true;
}

static bool put_in_place(const struct put *put, struct err *err)
{
    int fd = open(put->op->real, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, put->op->path, "cannot write %s", put->op->path);
    bool ok = put_check(put, err) && write_over(put, fd, err);
    close(fd);
    return ok;
}

/* Each byte is the old one, the new one, or a hole that a power cut left. */
bool op_is_torn(const struct op *op, const struct buf *live)
{
    const struct buf *a = &op->old_data, *b = &op->new_data;
    if (!op->torn || live->len > (a->len > b->len ? a->len : b->len) ||
        live->len < (a->len < b->len ? a->len : b->len))
        return false;
    for (size_t i = 0; i < live->len; i++) {
        char c = live->data[i];
        if (c != '\0' && !(i < a->len && c == a->data[i]) && !(i < b->len && c == b->data[i]))
            return false;
    }
    return true;
}

bool op_mend_torn(struct txn *txn, size_t n, struct err *err)
{
    struct put put = {.txn = txn, .n = n, .op = &txn->ops[n]};
    int fd = open(put.op->real, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, put.op->path, "cannot write %s", put.op->path);
    bool ok = write_over(&put, fd, err);
    close(fd);
    return ok;
}

/* -- all ways of one operation -------------------------------------------------------------------------- */

static bool is_mount_point(const char *real, const struct stat *st)
{
#ifdef STATX_ATTR_MOUNT_ROOT
    struct statx more;
    if (statx(AT_FDCWD, real, AT_SYMLINK_NOFOLLOW, 0, &more) == 0 &&
        (more.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0)
        return (more.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
#endif
    struct stat above;
    AUTO_FREE char *dir = fs_dirname(real);
    return stat(dir, &above) == 0 && above.st_dev != st->st_dev;
}

bool file_is_pinned(const char *real)
{
    struct stat st;
    return lstat(real, &st) == 0 && S_ISREG(st.st_mode) && (st.st_nlink > 1 || is_mount_point(real, &st));
}

/* Where it is not seen before that a file is a mount point, the rename says so. */
static bool is_in_place(const struct put *put)
{
    return put->from->thing == THING_FILE && put->to->thing == THING_FILE && file_is_pinned(put->op->real);
}

/* Put back the very file that a removal has set aside. */
static bool put_from_aside(const struct put *put, bool *done, struct err *err)
{
    *done = false;
    if (put->forward || put->from->thing != THING_NONE)
        return true;
    for (enum place place = PLACE_JOURNAL; place < PLACES; place++) {
        AUTO_FREE char *aside = place_path(put->txn, "gone", put->n, put->dir, place);
        AUTO_SNAPSHOT held = {0};
        if (!snapshot_read(aside, &held, NULL, err))
            return false;
        if (snapshot_equal(&held, put->to) && rename_into(aside, put->op->real, false) == 0) {
            *done = true;
            return sync_parent(put->op->real, err);
        }
    }
    return true; /* then from the saved content */
}

static bool put_thing(struct put *put, struct err *err)
{
    enum attempt result = ATTEMPT_MOUNT_POINT;
    if (!is_in_place(put)) {
        put_choose_temp(put, PLACE_JOURNAL);
        result = put_by_rename(put, err);
        while (result == ATTEMPT_OTHER_DEVICE) { /* another mount of the same device */
            put_choose_temp(put, put->place + 1);
            result = put_by_rename(put, err);
        }
    }
    /* On a full disk what goes back still fits over what is there. */
    if (result == ATTEMPT_NO_SPACE && !put->forward && put->from->thing == THING_FILE) {
        err_clear(err);
        result = ATTEMPT_MOUNT_POINT;
    }
    if (result == ATTEMPT_MOUNT_POINT)
        return put_in_place(put, err);
    return result == ATTEMPT_DONE;
}

static bool set_aside(const struct put *put, enum place place)
{
    AUTO_FREE char *aside = place_path(put->txn, "gone", put->n, put->dir, place);
    return rename_into(put->op->real, aside, true) == 0;
}

/* errno on failure */
static bool take_away(const struct put *put)
{
    struct stat st;
    if (put->forward && put->from->thing == THING_FILE) {
        if (set_aside(put, PLACE_JOURNAL))
            return true;
        if (errno != EXDEV || lstat(put->op->real, &st) != 0)
            return false;
        if (st.st_nlink > 1)
            return set_aside(put, usable_place(put->txn, put->dir, PLACE_ABOVE)) ||
                   (errno == EXDEV && set_aside(put, PLACE_BESIDE));
    }
    return txn_step() && unlink(put->op->real) == 0;
}

static bool put_nothing(const struct put *put, struct err *err)
{
    if (!put_check(put, err))
        return false;
    if (!take_away(put))
        return err_errno(err, errno, put->op->path, "cannot remove %s", put->op->path);
    return sync_parent(put->op->real, err);
}

bool op_put(struct txn *txn, size_t n, bool forward, struct err *err)
{
    struct op *op = &txn->ops[n];
    AUTO_FREE char *dir = fs_dirname(op->real);
    CLEANUP(put_clear)
    struct put put = {
        .txn = txn,
        .n = n,
        .op = op,
        .from = forward ? &op->old : &op->new,
        .to = forward ? &op->new : &op->old,
        .forward = forward,
        .dir = dir,
    };
    bool done = false;
    if (put.to->thing == THING_NONE)
        return put_nothing(&put, err);
    if (put.to->thing == THING_FILE) {
        if (!journal_content(txn, n, forward, err) || !put_from_aside(&put, &done, err))
            return false;
        if (done)
            return true;
    }
    return put_thing(&put, err);
}

static void remove_everywhere(const struct txn *txn, const char *kind, size_t n)
{
    AUTO_FREE char *dir = fs_dirname(txn->ops[n].real);
    for (enum place place = PLACE_JOURNAL; place < PLACES; place++) {
        AUTO_FREE char *path = place_path(txn, kind, n, dir, place);
        unlink_quietly(path);
    }
}

void op_remove_leftovers(const struct txn *txn, size_t n)
{
    remove_everywhere(txn, "tmp", n);
}

void op_remove_set_aside(const struct txn *txn, size_t n)
{
    if (txn->ops[n].new.thing == THING_NONE)
        remove_everywhere(txn, "gone", n);
}
