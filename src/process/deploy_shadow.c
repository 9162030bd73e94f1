/*
 * deploy_shadow.c - the web server's own test of lines that are not written: in a copy that it alone sees.
 *
 * A child process with a mount namespace of its own lays overlays over the directories concerned, carries out
 * there what is staged, and runs the test. Their upper layers are on a tmpfs of that namespace: however the
 * child ends, it is gone with it. Nothing is written before the directory is seen to be the overlay's. A
 * namespace for its processes ends the test with the child.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/vfs.h>
#endif

#include "deploy_internal.h"
#include "tlsup/csr.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/roles.h"

void deploy_rehearsal_clear(struct deploy_rehearsal *rehearsal)
{
    strlist_clear(&rehearsal->places);
    free(rehearsal->untested);
    *rehearsal = (struct deploy_rehearsal){0};
}

#if defined(__linux__) && defined(CLONE_NEWNS) && defined(CLONE_NEWPID)

enum {
    TICK_MS = 200,
    TMPFS_MAGIC_NUMBER = 0x01021994,
    OVERLAY_MAGIC_NUMBER = 0x794c7630,
    MOUNTS_BYTES = 16 << 20
};

/* What the child has to say; one write to its pipe. */
struct verdict {
    enum { VERDICT_NOT_RUN, VERDICT_REFUSED, VERDICT_PASSED } outcome;
    struct err err;
};

/* A directory that is covered by an overlay. */
struct place {
    char *path; /* without a link in it */
    struct stat real;
    int fd; /* of the overlay, -1 before */
};

/* A mount below one of them, which the overlay would hide. */
struct below {
    char *path;
    int fd;
};

/* All that the child has. It ends soon: nothing of it is freed. */
struct shadow {
    struct deploy *deploy;
    const struct cert_config *config;
    const struct txn *txn;
    char *live_dir; /* STATE/live */
    struct place *places;
    size_t n_places;
    struct below *below;
    size_t n_below;
};

/* -- which directories ---------------------------------------------------------------------------------- */

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct place *)a)->path, ((const struct place *)b)->path);
}

static bool add_place(struct shadow *shadow, const char *path, struct err *err)
{
    struct place *place = &shadow->places[shadow->n_places];
    for (size_t i = 0; i < shadow->n_places; i++)
        if (strcmp(shadow->places[i].path, path) == 0)
            return true;
    *place = (struct place){.path = mem_dup(path), .fd = -1};
    if (strcmp(path, "/") == 0)
        return err_set(err, ERR_INTERNAL, NEXT_NONE, path, "a file in / is concerned");
    if (lstat(path, &place->real) != 0 || !S_ISDIR(place->real.st_mode))
        return err_set(err, ERR_IO, NEXT_NONE, path, "%s is not a directory any more", path);
    shadow->n_places++;
    return true;
}

/* Those above others first: that is the order in which they are covered. */
static bool find_places(struct shadow *shadow, struct err *err)
{
    AUTO_STRLIST dirs = STRLIST_INIT;
    AUTO_FREE char *link = store_live_path(shadow->deploy->store, shadow->config->name);
    AUTO_FREE char *live_dir = fs_dirname(link);
    shadow->live_dir = realpath(live_dir, NULL);
    if (shadow->live_dir == NULL)
        return err_errno(err, errno, live_dir, "cannot find %s", live_dir);
    txn_dirs(shadow->txn, &dirs);
    strlist_add(&dirs, shadow->live_dir);
    shadow->places = mem_array(dirs.n, sizeof *shadow->places);
    for (size_t i = 0; i < dirs.n; i++)
        if (!add_place(shadow, dirs.v[i], err))
            return false;
    qsort(shadow->places, shadow->n_places, sizeof *shadow->places, by_path);
    return true;
}

static bool is_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    return strncmp(path, dir, len) == 0 && path[len] == '/';
}

/* The nearest place above a path; NULL = none. */
static const struct place *place_above(const struct shadow *shadow, const char *path)
{
    const struct place *nearest = NULL;
    for (size_t i = 0; i < shadow->n_places; i++)
        if (is_below(path, shadow->places[i].path))
            nearest = &shadow->places[i];
    return nearest;
}

static const struct place *place_at(const struct shadow *shadow, const char *path)
{
    for (size_t i = 0; i < shadow->n_places; i++)
        if (strcmp(shadow->places[i].path, path) == 0)
            return &shadow->places[i];
    return NULL;
}

/* -- mounts below them ---------------------------------------------------------------------------------- */

/* "\040" and its like, as the kernel writes them. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' &&
            from[3] >= '0' && from[3] <= '7') {
            *to++ = (char)(((from[1] - '0') << 6) | ((from[2] - '0') << 3) | (from[3] - '0'));
            from += 3;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
}

/* A file that is staged is shown anew, whatever is mounted on it; what another mount brings along comes with
 * that. */
static bool is_wanted(const struct shadow *shadow, const struct strlist *staged, const char *path)
{
    const struct place *above = place_above(shadow, path);
    if (above == NULL || place_at(shadow, path) != NULL || strlist_has(staged, path))
        return false;
    for (size_t i = 0; i < shadow->n_below; i++)
        if (strcmp(path, shadow->below[i].path) == 0 ||
            (is_below(path, shadow->below[i].path) && place_above(shadow, shadow->below[i].path) == above))
            return false;
    return true;
}

static bool add_below(struct shadow *shadow, const char *path, struct err *err)
{
    int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, path, "cannot keep what is mounted at %s", path);
    shadow->below = mem_resize(shadow->below, shadow->n_below + 1, sizeof *shadow->below);
    shadow->below[shadow->n_below++] = (struct below){mem_dup(path), fd};
    return true;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool find_below(struct shadow *shadow, struct err *err)
{
    AUTO_BUF table = BUF_INIT;
    AUTO_STRLIST lines = STRLIST_INIT, paths = STRLIST_INIT, staged = STRLIST_INIT;
    if (!fs_read("/proc/self/mountinfo", MOUNTS_BYTES, &table, err))
        return false;
    txn_places(shadow->txn, &staged);
    strlist_split(&lines, buf_str(&table), "\n");
    for (size_t i = 0; i < lines.n; i++) {
        AUTO_STRLIST words = STRLIST_INIT;
        strlist_split(&words, lines.v[i], " ");
        if (words.n < 5)
            return err_set(err, ERR_IO, NEXT_NONE, "/proc/self/mountinfo", "/proc/self/mountinfo is odd");
        unescape(words.v[4]);
        strlist_add(&paths, words.v[4]);
    }
    qsort(paths.v, paths.n, sizeof *paths.v, by_text);
    for (size_t i = 0; i < paths.n; i++)
        if (is_wanted(shadow, &staged, paths.v[i]) && !add_below(shadow, paths.v[i], err))
            return false;
    return true;
}

/* -- covering them -------------------------------------------------------------------------------------- */

static bool leave(struct err *err)
{
    if (unshare(CLONE_NEWNS | CLONE_NEWPID) != 0)
        return errno == EPERM
                   ? err_set(err, ERR_PERMISSION, NEXT_NONE, NULL,
                             "this process may not mount anything (CAP_SYS_ADMIN), as in most containers")
                   : err_errno(err, errno, NULL, "no namespace can be had");
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 ||
           err_errno(err, errno, NULL, "the mount namespace cannot be parted from the machine's");
}

/* Is the directory in the hands of a file system of this kind now, and not of the one before? */
static bool is_on(int fd, unsigned long magic, const struct stat *before)
{
    struct statfs fs;
    struct stat now;
    return fstatfs(fd, &fs) == 0 && (unsigned long)fs.f_type == magic && fstat(fd, &now) == 0 &&
           now.st_dev != before->st_dev;
}

/* What is written goes to memory; from here on paths without a slash in front lie there. The journal's
 * directory is nothing to a web server, so it may be hidden. */
static bool mount_upper(const char *journal_dir, struct err *err)
{
    struct stat before;
    if (stat(journal_dir, &before) != 0 ||
        mount("tmpfs", journal_dir, "tmpfs", MS_NOSUID | MS_NODEV, "mode=700,size=64m") != 0 ||
        chdir(journal_dir) != 0)
        return err_errno(err, errno, NULL, "no file system in memory can be mounted");
    int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && is_on(fd, TMPFS_MAGIC_NUMBER, &before);
    if (fd >= 0)
        close(fd);
    return ok ||
           err_set(err, ERR_IO, NEXT_NONE, NULL, "the file system in memory is not where it was mounted");
}

/* As it is now, before anything covers it. */
static bool prepare_place(const struct place *place, size_t n, struct err *err)
{
    static const char *const parts[] = {"", "/lower", "/upper", "/work"};
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        AUTO_FREE char *dir = mem_fmt("%zu%s", n, parts[i]);
        if (mkdir(dir, 0700) != 0)
            return err_errno(err, errno, NULL, "no copy of %s can be made", place->path);
    }
    AUTO_FREE char *lower = mem_fmt("%zu/lower", n);
    AUTO_FREE char *upper = mem_fmt("%zu/upper", n);
    return (chown(upper, place->real.st_uid, place->real.st_gid) == 0 &&
            chmod(upper, place->real.st_mode & 07777) == 0 &&
            mount(place->path, lower, NULL, MS_BIND, NULL) == 0) ||
           err_errno(err, errno, NULL, "no copy of %s can be made", place->path);
}

static bool cover_place(struct place *place, size_t n, struct err *err)
{
    AUTO_FREE char *layers = mem_fmt("lowerdir=%zu/lower,upperdir=%zu/upper,workdir=%zu/work", n, n, n);
    if (mount("overlay", place->path, "overlay", 0, layers) != 0)
        return errno == ENODEV
                   ? err_set(err, ERR_IO, NEXT_NONE, NULL, "this kernel has no overlay file system")
                   : err_errno(err, errno, NULL, "no overlay can be laid over %s", place->path);
    place->fd = open(place->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return (place->fd >= 0 && is_on(place->fd, OVERLAY_MAGIC_NUMBER, &place->real)) ||
           err_set(err, ERR_IO, NEXT_NONE, NULL, "the overlay over %s is not where it was laid", place->path);
}

static bool show_below(const struct shadow *shadow, const struct place *place, struct err *err)
{
    for (size_t i = 0; i < shadow->n_below; i++) {
        const struct below *below = &shadow->below[i];
        AUTO_FREE char *from = mem_fmt("/proc/self/fd/%d", below->fd);
        if (place_above(shadow, below->path) == place &&
            mount(from, below->path, NULL, MS_BIND | MS_REC, NULL) != 0)
            return err_errno(err, errno, NULL, "what is mounted at %s cannot be kept in sight", below->path);
    }
    return true;
}

static bool cover(struct shadow *shadow, struct err *err)
{
    if (!find_places(shadow, err) || !find_below(shadow, err) ||
        !mount_upper(store_journal_dir(shadow->deploy->store), err))
        return false;
    for (size_t i = 0; i < shadow->n_places; i++)
        if (!prepare_place(&shadow->places[i], i, err))
            return false;
    for (size_t i = 0; i < shadow->n_places; i++)
        if (!cover_place(&shadow->places[i], i, err) || !show_below(shadow, &shadow->places[i], err))
            return false;
    return true;
}

/* -- what the server is to see there -------------------------------------------------------------------- */

static int fd_of(void *ctx, const char *real_dir)
{
    const struct place *place = place_at(ctx, real_dir);
    return place != NULL ? place->fd : -1;
}

static bool put_file(int dir, const char *kind, const char *suffix, const struct buf *data, struct err *err)
{
    AUTO_FREE char *name = mem_fmt("%s%s%s.pem", kind, suffix[0] != '\0' ? "-" : "", suffix);
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && fs_write_all(fd, data->data, data->len);
    int failed = errno;
    if (fd >= 0)
        close(fd);
    return ok || err_errno(err, failed, NULL, "cannot write %s", name);
}

/* The kind decides what a web server makes of it, not its length; a long RSA key takes seconds to make. */
static bool put_pair(const struct shadow *shadow, int dir, enum key_type type, const char *suffix,
                     struct err *err)
{
    static const char *const kinds[] = {"cert", "chain", "fullchain"};
    bool rsa = strncmp(key_type_name(type), "rsa", 3) == 0;
    AUTO_KEY *key = NULL;
    AUTO_BUF cert = BUF_INIT;
    AUTO_BUF secret = BUF_SECRET;
    bool ok = key_generate(rsa ? KEY_RSA_2048 : type, &key, err) && key_to_pem(key, &secret, err) &&
              csr_self_sign(key, &shadow->config->names, &cert, err) &&
              put_file(dir, "privkey", suffix, &secret, err);
    for (size_t i = 0; ok && i < COUNT_OF(kinds); i++)
        ok = put_file(dir, kinds[i], suffix, &cert, err);
    return ok;
}

/* In the place of the link to the live version, if there is one. */
static bool put_certificate(struct shadow *shadow, struct err *err)
{
    const struct cert_config *config = shadow->config;
    bool second = config->dual && web_takes_two(&shadow->deploy->web);
    const char *suffix = strncmp(key_type_name(config->second_key_type), "rsa", 3) == 0 ? "rsa" : "ecdsa";
    int live = fd_of(shadow, shadow->live_dir);
    if ((unlinkat(live, config->name, 0) != 0 && errno != ENOENT) || mkdirat(live, config->name, 0755) != 0)
        return err_errno(err, errno, NULL, "cannot make a place for a certificate");
    int dir = openat(live, config->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return (dir >= 0 || err_errno(err, errno, NULL, "cannot make a place for a certificate")) &&
           put_pair(shadow, dir, config->key_type, "", err) &&
           (!second || put_pair(shadow, dir, config->second_key_type, suffix, err));
}

/* -- the child ------------------------------------------------------------------------------------------ */

/* `with_edits` false: everything as it is, to see whether the test can be had here at all. */
static struct verdict judge(struct shadow *shadow, bool with_edits)
{
    struct verdict verdict = {.outcome = VERDICT_NOT_RUN};
    struct err *err = &verdict.err;
    if (!cover(shadow, err))
        return verdict;
    if (with_edits && (!txn_show(shadow->txn, fd_of, shadow, err) || !put_certificate(shadow, err)))
        return verdict;
    if (web_test(&shadow->deploy->web, err))
        verdict.outcome = VERDICT_PASSED;
    else if (err->code == ERR_WEBSERVER || err->code == ERR_TIMEOUT)
        verdict.outcome = VERDICT_REFUSED;
    return verdict;
}

static NORETURN void tell(int fd, const struct verdict *verdict)
{
    _exit(write(fd, verdict, sizeof *verdict) == (ssize_t)sizeof *verdict ? 0 : 1);
}

/* The first process of the new namespaces is a child of this one: when it ends, so does all that it has
 * begun.
 */
static NORETURN void run_child(struct shadow *shadow, bool with_edits, pid_t parent, int fd)
{
    static const int caught[] = {SIGINT, SIGTERM, SIGHUP};
    struct verdict verdict = {.outcome = VERDICT_NOT_RUN};
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    for (size_t i = 0; i < COUNT_OF(caught); i++)
        signal(caught[i], SIG_DFL);
    if (getppid() != parent)
        _exit(1);
    if (!leave(&verdict.err))
        tell(fd, &verdict);
    pid_t first = fork();
    if (first < 0) {
        (void)err_errno(&verdict.err, errno, NULL, "no process can be had");
        tell(fd, &verdict);
    }
    if (first == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        verdict = judge(shadow, with_edits);
        tell(fd, &verdict);
    }
    while (waitpid(first, NULL, 0) < 0 && errno == EINTR)
        ;
    _exit(0);
}

/* -- the parent ----------------------------------------------------------------------------------------- */

/* False when a signal has come. */
static bool wait_for(const struct deploy *deploy, int fd, struct err *err)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    while (poll(&pfd, 1, TICK_MS) <= 0) {
        if (signals_interrupted(err))
            return false;
        if (deploy->progress != NULL)
            deploy->progress(deploy->ctx, NULL);
    }
    return true;
}

static void read_verdict(int fd, struct verdict *out)
{
    struct verdict verdict;
    ssize_t n;
    do
        n = read(fd, &verdict, sizeof verdict);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof verdict)
        *out = verdict;
    else
        (void)err_set(&out->err, ERR_CHILD, NEXT_NONE, NULL, "the process for it came to no end");
}

/* False with `err` when a signal has come. */
static bool ask(struct shadow *shadow, bool with_edits, struct verdict *out, struct err *err)
{
    int fds[2];
    *out = (struct verdict){.outcome = VERDICT_NOT_RUN};
    if (pipe2(fds, O_CLOEXEC) != 0)
        return err_errno(&out->err, errno, NULL, "no pipe can be had"), true;
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        close(fds[0]);
        run_child(shadow, with_edits, parent, fds[1]);
    }
    int failed = errno;
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        return err_errno(&out->err, failed, NULL, "no process can be had"), true;
    }
    bool ok = wait_for(shadow->deploy, fds[0], err);
    if (ok)
        read_verdict(fds[0], out);
    else
        kill(pid, SIGKILL);
    close(fds[0]);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return ok;
}

/* Is the refusal one of the new lines, or of the shadow itself? A server that refuses what it has taken a
 * moment ago, or may not read what root may, is not shown what it would see. */
static bool is_of_the_shadow(struct shadow *shadow, struct verdict *verdict, bool *out, struct err *err)
{
    struct verdict control;
    *out = strstr(verdict->err.text, "Permission denied") != NULL;
    if (*out || !ask(shadow, false, &control, err))
        return *out;
    *out = control.outcome != VERDICT_PASSED;
    if (*out)
        *verdict = control;
    return true;
}

/* For a line: of a refusal the server's own words, which come after ours. */
static char *reason_of(const struct err *why)
{
    AUTO_STRLIST lines = STRLIST_INIT;
    strlist_split(&lines, why->text, "\n");
    if (lines.n < 3)
        return mem_dup(lines.n > 0 ? lines.v[lines.n - 1] : "nobody knows why");
    return mem_fmt("%s %s", lines.v[1], lines.v[2]);
}

static bool refuse(const struct shadow *shadow, const struct verdict *verdict, struct err *err)
{
    *err = verdict->err;
    err->advice[0] = '\0'; /* mend a file, it says, in which there is nothing yet */
    (void)err_context(err, "%s refuses the new configuration", web_kind_name(shadow->deploy->web.kind));
    return err_advise(err,
                      "nothing was written: the same with --plan instead of --dry-run shows the lines that "
                      "would be; of a certificate that is here, tlsup install %s --plan",
                      shadow->config->name);
}

bool deploy_shadow_test(struct deploy *deploy, const struct cert_config *config, const struct txn *txn,
                        struct deploy_rehearsal *out, struct err *err)
{
    struct shadow shadow = {.deploy = deploy, .config = config, .txn = txn};
    struct verdict verdict;
    bool is_untrue = false;
    if (txn_count(txn) == 0)
        return true;
    deploy_tell(deploy, "testing the new configuration in a copy");
    if (!ask(&shadow, true, &verdict, err) ||
        (verdict.outcome == VERDICT_REFUSED && !is_of_the_shadow(&shadow, &verdict, &is_untrue, err)))
        return false;
    if (verdict.outcome == VERDICT_REFUSED && !is_untrue)
        return refuse(&shadow, &verdict, err);
    out->tested = verdict.outcome == VERDICT_PASSED && !is_untrue;
    if (!out->tested)
        out->untested = reason_of(&verdict.err);
    return true;
}

#else

bool deploy_shadow_test(struct deploy *deploy, const struct cert_config *config, const struct txn *txn,
                        struct deploy_rehearsal *out, struct err *err)
{
    (void)deploy;
    (void)config;
    (void)err;
    if (txn_count(txn) > 0)
        out->untested = mem_dup("that takes Linux, with its mount namespaces");
    return true;
}

#endif
