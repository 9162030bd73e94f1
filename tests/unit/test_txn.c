/*
 * test_txn.c - transactions: staging, diff, apply, roll-back, recovery, undo; crashes and failures at every
 * step when built with TEST_HOOKS.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/fs.h>
#endif

#include <cmocka.h>

#include "../../src/install/txn_internal.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/txn.h"

#ifdef __SANITIZE_ADDRESS__
/* This program forks by the thousand; a large heap quarantine makes each fork slow. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=1";
}
#endif

#define OWNER "example.org"
#define LIMIT ((size_t)1 << 20)

/* -- a small machine to work on: etc/ and journal/ below a directory of our own ------------------------- */

struct world {
    char *top;
    char *etc;
    char *journal_top; /* parent of journal/, when that is elsewhere */
    char *journal;
};

/* Where fsync costs nothing, for the thousands of runs; another device than /tmp. */
#define FAST_DIR "/dev/shm"

static char *make_temp(const char *parent)
{
    if (access(parent, W_OK) != 0)
        parent = "/tmp";
    char *path = mem_fmt("%s/tlsup-txn-XXXXXX", parent);
    assert_non_null(mkdtemp(path));
    return path;
}

static struct world world_new(const char *parent, const char *journal_parent)
{
    struct world world = {.top = make_temp(parent)};
    world.journal_top = journal_parent == NULL ? NULL : make_temp(journal_parent);
    world.etc = fs_join(world.top, "etc");
    world.journal = fs_join(world.journal_top == NULL ? world.top : world.journal_top, "journal");
    assert_int_equal(mkdir(world.etc, 0755), 0);
    assert_int_equal(mkdir(world.journal, 0700), 0);
    return world;
}

static void must(bool ok, const struct err *err)
{
    if (!ok)
        fail_msg("%s: %s: %s", err_code_name(err->code), err->subject, err->text);
}

static void world_free(struct world *world)
{
    struct err err = ERR_INIT;
    must(fs_remove_tree(world->top, &err), &err);
    if (world->journal_top != NULL)
        must(fs_remove_tree(world->journal_top, &err), &err);
    free(world->top);
    free(world->etc);
    free(world->journal);
    free(world->journal_top);
}
#define WORLD(name) CLEANUP(world_free) struct world name

static char *at(const struct world *world, const char *name)
{
    return fs_join(world->etc, name);
}

/* Paths made on the way are kept until the end of the program. */
static struct strlist paths;
static const char *p(const struct world *world, const char *name)
{
    AUTO_FREE char *path = at(world, name);
    strlist_add(&paths, path);
    return paths.v[paths.n - 1];
}

static void put_text(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void has_text(const char *path, const char *text)
{
    AUTO_BUF data = BUF_INIT;
    struct err err = ERR_INIT;
    must(fs_read(path, LIMIT, &data, &err), &err);
    assert_string_equal(buf_str(&data), text);
}

static void add_xattrs(struct buf *out, const char *path)
{
    char names[4096];
    ssize_t size = llistxattr(path, names, sizeof(names));
    AUTO_STRLIST all = STRLIST_INIT;
    for (ssize_t i = 0; i < size; i += (ssize_t)strlen(names + i) + 1) {
        char value[1024];
        ssize_t n = lgetxattr(path, names + i, value, sizeof(value));
        AUTO_BUF text = BUF_INIT;
        buf_addf(&text, " %s=", names + i);
        for (ssize_t k = 0; k < n; k++)
            buf_addf(&text, "%02x", (unsigned char)value[k]);
        strlist_add(&all, buf_str(&text));
    }
    for (size_t i = 0; i < all.n; i++) /* in sorted order, as the file system's may change */
        for (size_t k = i + 1; k < all.n; k++)
            if (strcmp(all.v[i], all.v[k]) > 0) {
                char *swap = all.v[i];
                all.v[i] = all.v[k];
                all.v[k] = swap;
            }
    for (size_t i = 0; i < all.n; i++)
        buf_adds(out, all.v[i]);
}

/* Everything that must come back: names, types, bytes, modes, owners, links, attributes. */
static void describe(const char *dir, const char *name, struct buf *out)
{
    AUTO_STRLIST names = STRLIST_INIT;
    struct err err = ERR_INIT;
    must(fs_list(dir, &names, &err), &err);
    for (size_t i = 0; i < names.n; i++) {
        AUTO_FREE char *path = fs_join(dir, names.v[i]);
        AUTO_FREE char *shown = mem_fmt("%s/%s", name, names.v[i]);
        struct stat st, other;
        assert_int_equal(lstat(path, &st), 0);
        buf_addf(out, "%s %o %u:%u links %u", shown, st.st_mode, st.st_uid, st.st_gid,
                 S_ISDIR(st.st_mode) ? 0 : (unsigned)st.st_nlink);
        for (size_t k = 0; k < i; k++) {
            AUTO_FREE char *earlier = fs_join(dir, names.v[k]);
            if (lstat(earlier, &other) == 0 && other.st_ino == st.st_ino && other.st_dev == st.st_dev)
                buf_addf(out, " same as %s", names.v[k]);
        }
        add_xattrs(out, path);
        char target[4096] = "";
        if (S_ISLNK(st.st_mode) && readlink(path, target, sizeof(target) - 1) > 0)
            buf_addf(out, " -> %s", target);
        buf_addc(out, '\n');
        if (S_ISREG(st.st_mode))
            must(fs_read(path, LIMIT, out, &err), &err);
        if (S_ISDIR(st.st_mode))
            describe(path, shown, out);
    }
}

static char *describe_world(const struct world *world)
{
    AUTO_BUF out = BUF_INIT;
    describe(world->etc, "etc", &out);
    return buf_take(&out);
}

static void is_like(const struct world *world, const char *expected)
{
    AUTO_FREE char *now = describe_world(world);
    assert_string_equal(now, expected);
}

/* Nothing that belongs to an act in progress may lie around in the journal. (In etc/, is_like() would see
 * it.) */
static void no_leftovers(const struct world *world)
{
    AUTO_STRLIST ids = STRLIST_INIT;
    struct err err = ERR_INIT;
    must(fs_list(world->journal, &ids, &err), &err);
    for (size_t i = 0; i < ids.n; i++) {
        AUTO_FREE char *dir = fs_join(world->journal, ids.v[i]);
        AUTO_STRLIST names = STRLIST_INIT;
        must(fs_list(dir, &names, &err), &err);
        for (size_t k = 0; k < names.n; k++)
            if (strncmp(names.v[k], "tmp-", 4) == 0 || strncmp(names.v[k], "gone-", 5) == 0)
                fail_msg("left over: %s/%s", dir, names.v[k]);
    }
}

static size_t count_journals(const struct world *world)
{
    AUTO_STRLIST ids = STRLIST_INIT;
    struct err err = ERR_INIT;
    must(fs_list(world->journal, &ids, &err), &err);
    return ids.n;
}

static struct txn *begin(const struct world *world)
{
    struct txn *txn = NULL;
    struct err err = ERR_INIT;
    must(txn_begin(world->journal, OWNER, "enable example.org", &txn, &err), &err);
    return txn;
}

static void stage_text(struct txn *txn, const char *path, const char *text)
{
    struct err err = ERR_INIT;
    must(txn_write(txn, path, text, strlen(text), 0644, &err), &err);
}

static void stage_link(struct txn *txn, const char *link, const char *target)
{
    struct err err = ERR_INIT;
    must(txn_symlink(txn, link, target, &err), &err);
}

static void stage_removal(struct txn *txn, const char *path)
{
    struct err err = ERR_INIT;
    must(txn_unlink(txn, path, &err), &err);
}

static void apply(struct txn *txn)
{
    struct err err = ERR_INIT;
    must(txn_apply(txn, &err), &err);
}

static void finish(struct txn *txn)
{
    struct err err = ERR_INIT;
    must(txn_apply(txn, &err), &err);
    must(txn_note(txn, TXN_TESTED, &err), &err);
    must(txn_note(txn, TXN_RELOADING, &err), &err);
    must(txn_note(txn, TXN_VERIFIED, &err), &err);
    must(txn_commit(txn, &err), &err);
}

static struct txn_recovery recover(const struct world *world)
{
    struct txn_recovery out = {0};
    struct err err = ERR_INIT;
    must(txn_recover(world->journal, &out, &err), &err);
    return out;
}
#define RECOVERY(name) CLEANUP(txn_recovery_clear) struct txn_recovery name

static bool says(const struct strlist *messages, const char *part)
{
    for (size_t i = 0; i < messages->n; i++)
        if (strstr(messages->v[i], part) != NULL)
            return true;
    return false;
}

/* -- staging -------------------------------------------------------------------------------------------- */

static void staging_writes_nothing(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    put_text(p(&w, "a"), "old\n", 0640);
    AUTO_FREE char *before = describe_world(&w);
    AUTO_TXN *txn = begin(&w);
    stage_text(txn, p(&w, "a"), "new\n");
    stage_text(txn, p(&w, "b"), "b\n");
    stage_link(txn, p(&w, "l"), "../a");
    assert_int_equal(txn_count(txn), 3);
    is_like(&w, before);
    assert_int_equal(count_journals(&w), 0);
}

static void equal_content_is_dropped(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    struct err err = ERR_INIT;
    put_text(p(&w, "a"), "old\n", 0640);
    assert_int_equal(symlink("x", p(&w, "l")), 0);
    AUTO_TXN *txn = begin(&w);
    stage_text(txn, p(&w, "a"), "old\n");
    stage_link(txn, p(&w, "l"), "x");
    stage_removal(txn, p(&w, "missing"));
    stage_removal(txn, p(&w, "no/such/dir/missing"));
    assert_int_equal(txn_count(txn), 0);
    stage_text(txn, p(&w, "a"), "new\n"); /* and back again */
    stage_text(txn, p(&w, "a"), "old\n");
    stage_text(txn, p(&w, "c"), "c\n");
    stage_removal(txn, p(&w, "c"));
    assert_int_equal(txn_count(txn), 0);
    must(txn_apply(txn, &err), &err);
    must(txn_note(txn, TXN_TESTED, &err), &err);
    must(txn_commit(txn, &err), &err);
    must(txn_rollback(txn, &err), &err);
    assert_int_equal(count_journals(&w), 0);
}

static void reads_compose(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    struct err err = ERR_INIT;
    AUTO_BUF out = BUF_INIT;
    put_text(p(&w, "a"), "old\n", 0640);
    assert_int_equal(symlink("a", p(&w, "l")), 0);
    assert_int_equal(link(p(&w, "a"), p(&w, "hard")), 0);
    AUTO_TXN *txn = begin(&w);
    must(txn_read(txn, p(&w, "l"), LIMIT, &out, &err), &err);
    assert_string_equal(buf_str(&out), "old\n");
    stage_text(txn, p(&w, "l"), "one\n");
    stage_text(txn, p(&w, "a"), "two\n");
    stage_text(txn, p(&w, "hard"), "three\n");
    assert_int_equal(txn_count(txn), 1);
    buf_reset(&out);
    must(txn_read(txn, p(&w, "l"), LIMIT, &out, &err), &err);
    assert_string_equal(buf_str(&out), "three\n");
    stage_link(txn, p(&w, "new-link"), "fresh");
    stage_text(txn, p(&w, "new-link"), "through\n"); /* a staged link is followed too */
    buf_reset(&out);
    must(txn_read(txn, p(&w, "fresh"), LIMIT, &out, &err), &err);
    assert_string_equal(buf_str(&out), "through\n");
    stage_removal(txn, p(&w, "a"));
    assert_false(txn_read(txn, p(&w, "l"), LIMIT, &out, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    err_clear(&err);
    assert_false(txn_read(txn, p(&w, "fresh"), 3, &out, &err)); /* over the limit */
    assert_int_equal(err.code, ERR_IO);
}

static void refuses_what_is_no_file(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    assert_int_equal(mkdir(p(&w, "dir"), 0755), 0);
    assert_int_equal(mkfifo(p(&w, "fifo"), 0644), 0);
    assert_int_equal(symlink("loop2", p(&w, "loop1")), 0);
    assert_int_equal(symlink("loop1", p(&w, "loop2")), 0);
    put_text(p(&w, "file"), "x", 0644);
    int fd = open(p(&w, "large"), O_WRONLY | O_CREAT, 0644);
    assert_int_equal(ftruncate(fd, (off_t)TXN_FILE_LIMIT + 1), 0);
    close(fd);
    AUTO_TXN *txn = begin(&w);
    static const struct {
        const char *name;
        enum err_code code;
    } cases[] = {{"dir", ERR_EXISTS},           {"fifo", ERR_EXISTS}, {"dir/", ERR_EXISTS},
                 {"dir/..", ERR_EXISTS},        {"loop1", ERR_IO},    {"missing/a", ERR_NOT_FOUND},
                 {"file/below", ERR_NOT_FOUND}, {"large", ERR_EXISTS}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct err err = ERR_INIT;
        assert_false(txn_write(txn, p(&w, cases[i].name), "x", 1, 0644, &err));
        if (err.code != cases[i].code)
            fail_msg("%s: %s %s", cases[i].name, err_code_name(err.code), err.text);
    }
    struct err err = ERR_INIT;
    assert_false(txn_symlink(txn, p(&w, "file"), "x", &err));
    assert_int_equal(err.code, ERR_EXISTS);
    err_clear(&err);
    assert_false(txn_unlink(txn, p(&w, "dir"), &err));
    assert_int_equal(err.code, ERR_EXISTS);
    err_clear(&err);
    struct txn *none = NULL;
    assert_false(txn_begin(p(&w, "file"), OWNER, "t", &none, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(txn_count(txn), 0);
}

static void paths_are_told_in_order(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    put_text(p(&w, "a"), "old\n", 0644);
    assert_int_equal(symlink("a", p(&w, "l")), 0);
    AUTO_TXN *txn = begin(&w);
    stage_text(txn, p(&w, "new"), "n\n");
    stage_text(txn, p(&w, "fleeting"), "x\n");
    stage_text(txn, p(&w, "l"), "through the link\n");
    stage_removal(txn, p(&w, "fleeting")); /* comes to nothing */
    stage_link(txn, p(&w, "link"), "a");
    AUTO_STRLIST told = STRLIST_INIT;
    txn_paths(txn, &told);
    assert_int_equal(told.n, 3);
    assert_string_equal(told.v[0], p(&w, "new"));
    assert_string_equal(told.v[1], p(&w, "l")); /* as it was called */
    assert_string_equal(told.v[2], p(&w, "link"));
    assert_int_equal(txn_count(txn), 3);
}

static void joined(const struct strlist *list, const char *expected)
{
    AUTO_FREE char *text = strlist_join(list, " ");
    assert_string_equal(text, expected);
}

static void the_tree_as_it_will_be(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    struct err err = ERR_INIT;
    assert_int_equal(mkdir(p(&w, "on"), 0755), 0);
    assert_int_equal(mkdir(p(&w, "off"), 0755), 0);
    assert_int_equal(symlink("on", p(&w, "also-on")), 0);
    put_text(p(&w, "off/a"), "a\n", 0644);
    put_text(p(&w, "off/b"), "b\n", 0644);
    put_text(p(&w, "on/.hidden"), "", 0644);
    assert_int_equal(symlink("../off/a", p(&w, "on/a")), 0);
    assert_int_equal(symlink("../off/b", p(&w, "on/b")), 0);
    AUTO_TXN *txn = begin(&w);
    const struct txn *views[] = {NULL, txn}; /* nothing staged: the same as without */
    for (size_t i = 0; i < COUNT_OF(views); i++) {
        AUTO_STRLIST names = STRLIST_INIT;
        assert_true(txn_exists(views[i], p(&w, "on/a")) && !txn_exists(views[i], p(&w, "on/c")));
        must(txn_names(views[i], p(&w, "on"), &names, &err), &err);
        joined(&names, ".hidden a b");
    }
    stage_removal(txn, p(&w, "on/a"));
    stage_removal(txn, p(&w, "off/b"));
    stage_text(txn, p(&w, "off/c"), "c\n");
    stage_link(txn, p(&w, "also-on/c"), "../off/c"); /* under another name of the directory */
    stage_text(txn, p(&w, "on/.new"), "");
    assert_false(txn_exists(txn, p(&w, "on/a")));
    assert_true(txn_exists(txn, p(&w, "on/b"))); /* dangling, but a link is a thing */
    assert_true(txn_exists(txn, p(&w, "on/c")) && txn_exists(txn, p(&w, "also-on/c")));
    assert_true(txn_exists(txn, p(&w, "on")) && txn_exists(txn, "/"));
    assert_false(txn_exists(txn, p(&w, "nowhere/x")));
    AUTO_FREE char *c = txn_real(txn, p(&w, "also-on/c"));
    assert_string_equal(c, p(&w, "off/c"));
    AUTO_FREE char *dir = txn_real(txn, p(&w, "also-on"));
    assert_string_equal(dir, p(&w, "on"));
    assert_null(txn_real(txn, p(&w, "on/a")));
    assert_null(txn_real(txn, p(&w, "on/b")));
    assert_null(txn_real(txn, p(&w, "on/nothing")));
    AUTO_STRLIST names = STRLIST_INIT, found = STRLIST_INIT, dirs = STRLIST_INIT, none = STRLIST_INIT;
    must(txn_names(txn, p(&w, "also-on"), &names, &err), &err);
    joined(&names, ".hidden .new b c");
    must(txn_glob(txn, p(&w, "also-on/*"), &found, &err), &err);
    assert_int_equal(found.n, 2); /* no dot files */
    assert_string_equal(found.v[0], p(&w, "also-on/b"));
    assert_string_equal(found.v[1], p(&w, "also-on/c"));
    must(txn_glob(txn, p(&w, "o*/[c]"), &dirs, &err), &err);
    assert_int_equal(dirs.n, 2);
    assert_string_equal(dirs.v[0], p(&w, "off/c"));
    assert_string_equal(dirs.v[1], p(&w, "on/c"));
    must(txn_glob(txn, p(&w, "on/x*"), &none, &err), &err);
    assert_int_equal(none.n, 0);
    assert_false(txn_names(txn, p(&w, "nowhere"), &none, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

/* Staged, staged over, dropped and staged again by the thousand: each finds its own. */
static void thousands_of_operations(void **state)
{
    (void)state;
    enum { MANY = 4000 };
    WORLD(w) = world_new(FAST_DIR, NULL);
    char path[300], text[32];
    AUTO_TXN *txn = begin(&w);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < MANY; i++) {
            snprintf(path, sizeof(path), "%s/%d", w.etc, i);
            snprintf(text, sizeof(text), "%d %d", round, i);
            if (round == 1 && i % 3 != 0)
                stage_removal(txn, path); /* dropped: it is not there */
            else
                stage_text(txn, path, text);
        }
    assert_int_equal(txn_count(txn), MANY);
    apply(txn);
    for (int i = 0; i < MANY; i += 97) {
        snprintf(path, sizeof(path), "%s/%d", w.etc, i);
        snprintf(text, sizeof(text), "2 %d", i);
        has_text(path, text);
    }
    struct err err = ERR_INIT;
    must(txn_rollback(txn, &err), &err);
    is_like(&w, "");
}

/* -- the diff ------------------------------------------------------------------------------------------- */

static void diff_text(const char *a, const char *b, struct buf *out)
{
    struct buf old = {.data = mem_dup(a), .len = strlen(a)}, new = {.data = mem_dup(b), .len = strlen(b)};
    diff_unified("/f", &old, "/f", &new, out);
    buf_clear(&old);
    buf_clear(&new);
}

static void diff_is_unified(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"a\nb\nc\n", "a\nB\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"},
        {"", "a\n", "@@ -0,0 +1 @@\n+a\n"},
        {"a\n", "", "@@ -1 +0,0 @@\n-a\n"},
        {"a", "a\n", "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n"},
        {"a\nb", "a\nc",
         "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+c\n\\ No newline at end of file\n"},
        {"x\nb", "y\nb", "@@ -1,2 +1,2 @@\n-x\n+y\n b\n\\ No newline at end of file\n"},
        {"1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\n5\n6\n7\n8\n9\nx\n",
         "@@ -7,3 +7,4 @@\n 7\n 8\n 9\n+x\n"},
        {"1\n2\n3\n4\n5\n6\n7\n8\n9\n", "x\n1\n2\n3\n4\n5\n6\n7\n8\n9\ny\n",
         "@@ -1,3 +1,4 @@\n+x\n 1\n 2\n 3\n@@ -7,3 +8,4 @@\n 7\n 8\n 9\n+y\n"},
        {"1\n2\n3\n4\n5\n6\n", "x\n1\n2\n3\n4\n5\n6\ny\n",
         "@@ -1,6 +1,8 @@\n+x\n 1\n 2\n 3\n 4\n 5\n 6\n+y\n"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        AUTO_BUF out = BUF_INIT;
        diff_text(cases[i][0], cases[i][1], &out);
        AUTO_FREE char *expected = mem_fmt("--- /f\n+++ /f\n%s", cases[i][2]);
        assert_string_equal(buf_str(&out), expected);
    }
    AUTO_BUF out = BUF_INIT;
    diff_text("same\n", "same\n", &out);
    assert_int_equal(out.len, 0);
}

/* A strict reader of unified diffs: every context and removed line must be where the diff says. */
static bool patch(const char *old, const char *diff, struct buf *out)
{
    const char *o = old;
    size_t line = 1;
    if (*diff == '\0') {
        buf_adds(out, old);
        return true;
    }
    diff = strchr(strchr(diff, '\n') + 1, '\n') + 1;
    while (*diff != '\0') {
        size_t start = 0, count = 1, rest;
        int used = 0;
        if (sscanf(diff, "@@ -%zu%n", &start, &used) != 1)
            return false;
        if (diff[used] == ',' && sscanf(diff + used, ",%zu", &count) != 1)
            return false;
        diff = strchr(diff, '\n') + 1;
        for (; line < start + (count == 0 ? 1 : 0); line++) {
            rest = strcspn(o, "\n") + 1;
            buf_add(out, o, rest);
            o += rest;
        }
        while (*diff == ' ' || *diff == '-' || *diff == '+') {
            const char *text = diff + 1;
            size_t len = strcspn(text, "\n") + 1;
            diff = text + len;
            if (*diff == '\\') {
                diff = strchr(diff, '\n') + 1;
                len--;
            }
            if (text[-1] != '+') {
                if (strncmp(o, text, len) != 0)
                    return false;
                o += len;
                line++;
            }
            if (text[-1] != '-')
                buf_add(out, text, len);
        }
    }
    buf_adds(out, o);
    return true;
}

static void random_text(struct buf *out, unsigned *seed, int lines, int alphabet)
{
    for (int i = 0; i < lines; i++)
        buf_addf(out, "%d\n", (int)((unsigned)rand_r(seed) % (unsigned)alphabet));
    if (rand_r(seed) % 4 == 0)
        buf_adds(out, "end without newline");
}

static void diff_applies_to_the_new_text(void **state)
{
    (void)state;
    unsigned seed = 4711;
    for (int round = 0; round < 3000; round++) {
        AUTO_BUF a = BUF_INIT;
        AUTO_BUF b = BUF_INIT;
        AUTO_BUF diff = BUF_INIT;
        AUTO_BUF result = BUF_INIT;
        random_text(&a, &seed, rand_r(&seed) % 40, 1 + round % 9);
        random_text(&b, &seed, rand_r(&seed) % 40, 1 + round % 9);
        diff_text(buf_str(&a), buf_str(&b), &diff);
        assert_true(patch(buf_str(&a), buf_str(&diff), &result));
        assert_string_equal(buf_str(&result), buf_str(&b));
    }
}

static void diff_of_huge_texts_is_bounded(void **state)
{
    (void)state;
    AUTO_BUF a = BUF_INIT;
    AUTO_BUF b = BUF_INIT;
    AUTO_BUF diff = BUF_INIT;
    AUTO_BUF result = BUF_INIT;
    buf_adds(&a, "head\n");
    buf_adds(&b, "head\n");
    for (int i = 0; i < 20000; i++) {
        buf_addf(&a, "old %d\n", i);
        buf_addf(&b, "new %d\n", i);
    }
    diff_text(buf_str(&a), buf_str(&b), &diff);
    assert_true(patch(buf_str(&a), buf_str(&diff), &result));
    assert_string_equal(buf_str(&result), buf_str(&b));
}

static void diff_shows_all_kinds(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    put_text(p(&w, "gone"), "g\n", 0644);
    put_text(p(&w, "bin"), "x", 0644);
    assert_int_equal(symlink("0001", p(&w, "live")), 0);
    AUTO_TXN *txn = begin(&w);
    struct err err = ERR_INIT;
    stage_removal(txn, p(&w, "gone"));
    stage_link(txn, p(&w, "live"), "0002");
    stage_text(txn, p(&w, "made"), "m");
    stage_text(txn, p(&w, "empty"), "");
    must(txn_write(txn, p(&w, "bin"), "\0\1", 2, 0644, &err), &err);
    AUTO_BUF out = BUF_INIT;
    txn_diff(txn, &out);
    AUTO_FREE char *expected =
        mem_fmt("--- %1$s/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-g\n-%1$s/live -> 0001\n+%1$s/live -> 0002\n"
                "--- /dev/null\n+++ %1$s/made\n@@ -0,0 +1 @@\n+m\n\\ No newline at end of file\n"
                "--- /dev/null\n+++ %1$s/empty\nBinary files %1$s/bin and %1$s/bin differ\n",
                w.etc);
    assert_string_equal(buf_str(&out), expected);
}

/* patch(1) does not follow links. */
static void diff_names_the_file_behind_a_link(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    put_text(p(&w, "file"), "old\n", 0644);
    assert_int_equal(symlink("file", p(&w, "link")), 0);
    AUTO_TXN *txn = begin(&w);
    AUTO_BUF out = BUF_INIT;
    stage_text(txn, p(&w, "link"), "new\n");
    txn_diff(txn, &out);
    AUTO_FREE char *expected = mem_fmt("--- %1$s/file\n+++ %1$s/file\n@@ -1 +1 @@\n-old\n+new\n", w.etc);
    assert_string_equal(buf_str(&out), expected);
}

static bool merge(const char *base, const char *ours, const char *theirs, struct buf *out)
{
    struct buf b = {.data = mem_dup(base), .len = strlen(base)},
               o = {.data = mem_dup(ours), .len = strlen(ours)},
               t = {.data = mem_dup(theirs), .len = strlen(theirs)};
    bool ok = diff_merge(&b, &o, &t, out);
    buf_clear(&b);
    buf_clear(&o);
    buf_clear(&t);
    return ok;
}

static void merge_takes_both_or_refuses(void **state)
{
    (void)state;
    static const char *const cases[][4] = {
        {"a\nb\nc\nd\ne\n", "A\nb\nc\nd\ne\n", "a\nb\nc\nd\nE\n", "A\nb\nc\nd\nE\n"},
        {"a\nb\nc\nd\ne\n", "a\nx\nb\nc\nd\ne\n", "a\nb\nc\ne\n", "a\nx\nb\nc\ne\n"},
        {"a\nb\nc\n", "a\nB\nc\n", "a\nQ\nc\n", NULL},
        {"a\nb\nc\n", "a\nb\nx\nc\n", "a\nc\n", NULL}, /* touching */
        {"a\nb\nc\n", "a\nc\n", "a\nc\n", "a\nc\n"},   /* both the same */
        {"a\nb\nc\nd\n", "a\nc\nD\n", "a\nc\nd\n", "a\nc\nD\n"},
        {"a\n", "a\n", "", ""},
        {"", "x\n", "y\n", NULL},
        {"a\nb", "a\nb", "a\nb\n", "a\nb\n"},
        {"1\n2\n3\n4\n5\n6\n7\n", "0\n1\n3\n4\n5\n6\n7\n8\n", "1\n2\n3\n5\n6\n7\n", "0\n1\n3\n5\n6\n7\n8\n"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        AUTO_BUF out = BUF_INIT;
        bool ok = merge(cases[i][0], cases[i][1], cases[i][2], &out);
        assert_int_equal(ok, cases[i][3] != NULL);
        if (ok)
            assert_string_equal(buf_str(&out), cases[i][3]);
    }
}

/* -- apply, commit, roll back --------------------------------------------------------------------------- */

struct acl_entry {
    uint16_t tag, perm;
    uint32_t id;
};

/* user::rw-, user:4242:r--, group::r--, mask::r--, other::--- */
static void set_acl(const char *path)
{
    struct {
        uint32_t version;
        struct acl_entry entries[5];
    } acl = {2,
             {{0x01, 6, UINT32_MAX},
              {0x02, 4, 4242},
              {0x04, 4, UINT32_MAX},
              {0x10, 4, UINT32_MAX},
              {0x20, 0, UINT32_MAX}}};
    if (setxattr(path, "system.posix_acl_access", &acl, sizeof(acl), 0) != 0 && errno != EOPNOTSUPP)
        fail_msg("ACL: %s", strerror(errno));
}

static void repeat_lines(struct buf *out, const char *line, int times)
{
    for (int i = 0; i < times; i++)
        buf_addf(out, "%s %d\n", line, i);
}

/* Every kind of operation once. */
static void furnish(const struct world *w)
{
    AUTO_BUF text = BUF_INIT;
    repeat_lines(&text, "old line", 30);
    put_text(p(w, "main.conf"), buf_str(&text), 0640);
    set_acl(p(w, "main.conf"));
    (void)setxattr(p(w, "main.conf"), "user.note", "kept", 4, 0);
    if (geteuid() == 0)
        assert_int_equal(chown(p(w, "main.conf"), 33, 34), 0);
    put_text(p(w, "hard.conf"), buf_str(&text), 0604);
    assert_int_equal(link(p(w, "hard.conf"), p(w, "hard2.conf")), 0);
    assert_int_equal(mkdir(p(w, "available"), 0755), 0);
    assert_int_equal(mkdir(p(w, "enabled"), 0755), 0);
    put_text(p(w, "available/site"), "site\n", 0644);
    assert_int_equal(symlink("../available/site", p(w, "enabled/site")), 0);
    put_text(p(w, "removed.conf"), "removed\n", 0640);
    set_acl(p(w, "removed.conf"));
    if (geteuid() == 0)
        assert_int_equal(chown(p(w, "removed.conf"), 37, 38), 0);
    put_text(p(w, "twins.conf"), "twins\n", 0600);
    assert_int_equal(link(p(w, "twins.conf"), p(w, "twins2.conf")), 0);
    assert_int_equal(symlink("0001", p(w, "live")), 0);
    assert_int_equal(mkdir(p(w, "0001"), 0755), 0);
    assert_int_equal(mkdir(p(w, "0002"), 0755), 0);
    if (geteuid() == 0)
        assert_int_equal(lchown(p(w, "live"), 35, 36), 0);
    assert_int_equal(symlink("available/site", p(w, "old-link")), 0);
}

static void stage_most(const struct world *w, struct txn *txn)
{
    AUTO_BUF text = BUF_INIT;
    repeat_lines(&text, "a new and longer line", 40);
    stage_text(txn, p(w, "snippet.conf"), "snippet\n");
    stage_text(txn, p(w, "main.conf"), buf_str(&text));
    stage_text(txn, p(w, "hard.conf"), buf_str(&text));
    stage_text(txn, p(w, "enabled/site"), "site with TLS\n");
    stage_text(txn, p(w, "available/companion"), "companion\n");
    stage_removal(txn, p(w, "removed.conf"));
    stage_removal(txn, p(w, "old-link"));
    stage_link(txn, p(w, "live"), "0002");
    stage_link(txn, p(w, "enabled/companion"), "../available/companion");
}

static void stage_everything(const struct world *w, struct txn *txn)
{
    stage_most(w, txn);
    stage_removal(txn, p(w, "twins.conf")); /* after a commit its other link is another file */
}

static void apply_does_it_all(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    furnish(&w);
    struct stat before, after;
    assert_int_equal(lstat(p(&w, "main.conf"), &before), 0);
    AUTO_TXN *txn = begin(&w);
    stage_everything(&w, txn);
    finish(txn);
    has_text(p(&w, "snippet.conf"), "snippet\n");
    has_text(p(&w, "available/site"), "site with TLS\n");
    has_text(p(&w, "enabled/companion"), "companion\n");
    assert_int_equal(lstat(p(&w, "enabled/site"), &after), 0);
    assert_true(S_ISLNK(after.st_mode));
    assert_int_equal(lstat(p(&w, "main.conf"), &after), 0);
    assert_int_equal(after.st_mode, before.st_mode);
    assert_int_equal(after.st_uid, before.st_uid);
    assert_int_equal(after.st_gid, before.st_gid);
    AUTO_BUF a = BUF_INIT;
    add_xattrs(&a, p(&w, "main.conf"));
    assert_non_null(strstr(buf_str(&a), "user.note=6b657074"));
    assert_non_null(strstr(buf_str(&a), "system.posix_acl_access=02"));
    assert_int_equal(lstat(p(&w, "hard2.conf"), &after), 0);
    assert_int_equal(after.st_nlink, 2);
    assert_int_equal(lstat(p(&w, "snippet.conf"), &after), 0);
    assert_int_equal(after.st_mode & 07777, 0644);
    assert_false(fs_exists(p(&w, "removed.conf")));
    assert_false(fs_exists(p(&w, "old-link")));
    assert_int_equal(lstat(p(&w, "twins2.conf"), &after), 0);
    assert_int_equal(after.st_nlink, 1);
    no_leftovers(&w);
    RECOVERY(r) = recover(&w);
    assert_int_equal(r.finished + r.rolled_back + r.kept + r.messages.n, 0);
}

static void rollback_restores_it_all(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    furnish(&w);
    AUTO_FREE char *before = describe_world(&w);
    AUTO_TXN *txn = begin(&w);
    stage_everything(&w, txn);
    apply(txn);
    AUTO_FREE char *applied = describe_world(&w);
    assert_string_not_equal(applied, before);
    struct err err = ERR_INIT;
    must(txn_rollback(txn, &err), &err);
    is_like(&w, before);
    no_leftovers(&w);
    must(txn_rollback(txn, &err), &err); /* again is nothing */
    RECOVERY(r) = recover(&w);
    assert_int_equal(r.rolled_back, 0);
    assert_false(r.reload_needed);
}

static void apply_twice_and_late_edits_are_bugs(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    AUTO_TXN *txn = begin(&w);
    stage_text(txn, p(&w, "a"), "a");
    finish(txn);
    struct err err = ERR_INIT;
    assert_false(txn_apply(txn, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    err_clear(&err);
    assert_false(txn_write(txn, p(&w, "b"), "b", 1, 0644, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    err_clear(&err);
    assert_false(txn_rollback(txn, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    has_text(p(&w, "a"), "a");
}

static void new_file_takes_after_its_directory(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    WORLD(w) = world_new("/tmp", NULL);
    assert_int_equal(mkdir(p(&w, "shared"), 0755), 0);
    assert_int_equal(chown(p(&w, "shared"), 0, 4321), 0);
    assert_int_equal(chmod(p(&w, "shared"), 02775), 0);
    AUTO_TXN *txn = begin(&w);
    stage_text(txn, p(&w, "shared/a"), "a");
    finish(txn);
    struct stat st;
    assert_int_equal(lstat(p(&w, "shared/a"), &st), 0);
    assert_int_equal(st.st_gid, 4321);
    assert_int_equal(st.st_mode & 07777, 0644);
}

static void a_link_and_a_file_change_places(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    put_text(p(&w, "target"), "target\n", 0600);
    put_text(p(&w, "file"), "file\n", 0640);
    assert_int_equal(symlink("target", p(&w, "link")), 0);
    AUTO_FREE char *before = describe_world(&w);
    AUTO_TXN *txn = begin(&w);
    stage_removal(txn, p(&w, "link"));
    stage_text(txn, p(&w, "link"), "now a file\n");
    stage_removal(txn, p(&w, "file"));
    stage_link(txn, p(&w, "file"), "target");
    assert_int_equal(txn_count(txn), 2);
    apply(txn);
    struct stat st;
    assert_int_equal(lstat(p(&w, "link"), &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0644);
    has_text(p(&w, "file"), "target\n");
    struct err err = ERR_INIT;
    must(txn_rollback(txn, &err), &err);
    is_like(&w, before);
}

static void only_a_torn_write_counts_as_ours(void **state)
{
    (void)state;
    static const struct {
        const char *live;
        bool torn;
    } cases[] = {
        {"old text", true},         {"new and longer", true},  {"new and l", true},
        {"new text", true},         {"new an", false},         {"by hand!", false},
        {"new and longer!", false}, {"new and lonXer", false}, {"old text ", false},
    };
    struct op op = {.torn = true};
    buf_adds(&op.old_data, "old text");
    buf_adds(&op.new_data, "new and longer");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        AUTO_BUF live = BUF_INIT;
        buf_adds(&live, cases[i].live);
        op.torn = true;
        assert_int_equal(op_is_torn(&op, &live), cases[i].torn);
        op.torn = false;
        assert_false(op_is_torn(&op, &live));
    }
    buf_clear(&op.old_data);
    buf_clear(&op.new_data);
}

/* Between the check of the whole and the rename there is a moment too. */
static void the_last_look_sees_an_edit(void **state)
{
    (void)state;
    static const char *const names[] = {"main.conf",      "hard.conf", "removed.conf",
                                        "available/site", "live",      "fresh"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        WORLD(w) = world_new("/tmp", NULL);
        furnish(&w);
        AUTO_TXN *txn = begin(&w);
        if (strcmp(names[i], "removed.conf") == 0)
            stage_removal(txn, p(&w, names[i]));
        else if (strcmp(names[i], "live") == 0)
            stage_link(txn, p(&w, names[i]), "0002");
        else
            stage_text(txn, p(&w, names[i]), "ours\n");
        struct err err = ERR_INIT;
        must(journal_create(txn, &err) && journal_mark(txn, MARK_APPLYING, &err), &err);
        if (strcmp(names[i], "live") == 0)
            assert_int_equal(unlink(p(&w, names[i])), 0);
        put_text(p(&w, names[i]), "theirs\n", 0644);
        AUTO_FREE char *before = describe_world(&w);
        assert_false(op_put(txn, 0, true, &err));
        assert_int_equal(err.code, ERR_MISMATCH);
        is_like(&w, before);
    }
}

/* -- people who edit at the same time ------------------------------------------------------------------- */

static void edit_between_staging_and_apply_stops_us(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    furnish(&w);
    AUTO_TXN *txn = begin(&w);
    stage_everything(&w, txn);
    put_text(p(&w, "available/site"), "by hand\n", 0644);
    AUTO_FREE char *before = describe_world(&w);
    struct err err = ERR_INIT;
    assert_false(txn_apply(txn, &err));
    assert_int_equal(err.code, ERR_MISMATCH);
    assert_non_null(strstr(err.text, "enabled/site"));
    is_like(&w, before);
    assert_int_equal(count_journals(&w), 0);
}

static void somebody_made_the_file_first(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    AUTO_TXN *txn = begin(&w);
    stage_text(txn, p(&w, "a"), "ours");
    put_text(p(&w, "a"), "theirs", 0600);
    struct err err = ERR_INIT;
    assert_false(txn_apply(txn, &err));
    assert_int_equal(err.code, ERR_MISMATCH);
    has_text(p(&w, "a"), "theirs");
}

static void chmod_between_staging_and_apply_is_kept(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    put_text(p(&w, "a"), "old", 0644);
    AUTO_TXN *txn = begin(&w);
    stage_text(txn, p(&w, "a"), "new");
    assert_int_equal(chmod(p(&w, "a"), 0600), 0);
    finish(txn);
    struct stat st;
    assert_int_equal(lstat(p(&w, "a"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void edit_before_rollback_is_kept_and_said(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    furnish(&w);
    AUTO_TXN *txn = begin(&w);
    stage_everything(&w, txn);
    apply(txn);
    put_text(p(&w, "available/site"), "by hand\n", 0644);
    assert_int_equal(unlink(p(&w, "snippet.conf")), 0);
    struct err err = ERR_INIT;
    assert_false(txn_rollback(txn, &err));
    assert_int_equal(err.code, ERR_MISMATCH);
    assert_non_null(strstr(err.text, "enabled/site was changed by somebody else"));
    assert_null(strstr(err.text, "snippet.conf")); /* its absence is what it was before */
    has_text(p(&w, "available/site"), "by hand\n");
    assert_true(fs_exists(p(&w, "removed.conf")));
    AUTO_FREE char *old = fs_join(w.journal, "0000000001/old-3");
    AUTO_FREE char *new = fs_join(w.journal, "0000000001/new-3");
    AUTO_FREE char *found = fs_join(w.journal, "0000000001/found-3");
    has_text(old, "site\n");
    has_text(new, "site with TLS\n");
    has_text(found, "by hand\n");
    RECOVERY(r) = recover(&w); /* it is over */
    assert_int_equal(r.rolled_back + r.kept, 0);
    must((err_clear(&err), txn_prune(w.journal, OWNER, 0, &err)), &err);
    assert_true(fs_exists(found)); /* evidence is not pruned */
}

static void edit_after_a_crash_is_kept_and_said(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    furnish(&w);
    struct txn *txn = begin(&w);
    stage_everything(&w, txn);
    apply(txn);
    txn_free(txn); /* as a crash: nothing more is written */
    put_text(p(&w, "main.conf"), "by hand\n", 0644);
    assert_int_equal(unlink(p(&w, "live")), 0);
    assert_int_equal(symlink("mine", p(&w, "live")), 0);
    assert_int_equal(unlink(p(&w, "available/companion")), 0);
    RECOVERY(r) = recover(&w);
    assert_int_equal(r.rolled_back, 1);
    assert_int_equal(r.kept, 2);
    assert_true(says(&r.messages, "main.conf was changed by somebody else"));
    assert_true(says(&r.messages, "live was changed by somebody else"));
    assert_true(says(&r.messages, "enable example.org"));
    has_text(p(&w, "main.conf"), "by hand\n");
    has_text(p(&w, "available/site"), "site\n");
    assert_false(fs_exists(p(&w, "available/companion")));
    assert_true(fs_exists(p(&w, "twins.conf")));
}

static void a_removed_directory_does_not_block_recovery(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    struct err err = ERR_INIT;
    assert_int_equal(mkdir(p(&w, "dir"), 0755), 0);
    put_text(p(&w, "dir/gone"), "x", 0644);
    put_text(p(&w, "dir/changed"), "x", 0644);
    struct txn *txn = begin(&w);
    stage_removal(txn, p(&w, "dir/gone"));
    stage_text(txn, p(&w, "dir/changed"), "y");
    apply(txn);
    txn_free(txn);
    must(fs_remove_tree(p(&w, "dir"), &err), &err);
    RECOVERY(r) = recover(&w);
    assert_int_equal(r.kept, 2);
    RECOVERY(again) = recover(&w);
    assert_int_equal(again.kept, 0);
}

/* -- recovery ------------------------------------------------------------------------------------------- */

static void reload_is_owed_until_settled(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    struct err err = ERR_INIT;
    struct txn *txn = begin(&w);
    stage_text(txn, p(&w, "a"), "a");
    apply(txn);
    must(txn_note(txn, TXN_RELOADING, &err), &err);
    txn_free(txn);
    for (int i = 0; i < 2; i++) {
        RECOVERY(r) = recover(&w);
        assert_int_equal(r.rolled_back, i == 0 ? 1 : 0);
        assert_true(r.reload_needed);
    }
    must(txn_settle(w.journal, &err), &err);
    RECOVERY(r) = recover(&w);
    assert_false(r.reload_needed);
    assert_false(fs_exists(p(&w, "a")));
}

static void verified_is_finished_not_undone(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    furnish(&w);
    struct err err = ERR_INIT;
    struct txn *txn = begin(&w);
    stage_everything(&w, txn);
    apply(txn);
    must(txn_note(txn, TXN_RELOADING, &err), &err);
    must(txn_note(txn, TXN_VERIFIED, &err), &err);
    txn_free(txn);
    RECOVERY(r) = recover(&w);
    assert_int_equal(r.finished, 1);
    assert_int_equal(r.rolled_back, 0);
    assert_false(r.reload_needed);
    has_text(p(&w, "available/site"), "site with TLS\n");
    no_leftovers(&w);
    struct stat st;
    assert_int_equal(lstat(p(&w, "twins2.conf"), &st), 0);
    assert_int_equal(st.st_nlink, 1); /* what was set aside is let go */
}

/* The log of an applied transaction, with its last record cut at every byte, or followed by rubbish. */
static void torn_records_are_ignored(void **state)
{
    (void)state;
    for (size_t cut = 0; cut < 200; cut++) {
        WORLD(w) = world_new(FAST_DIR, NULL);
        put_text(p(&w, "a"), "old", 0644);
        AUTO_FREE char *before = describe_world(&w);
        struct txn *txn = begin(&w);
        stage_text(txn, p(&w, "a"), "new");
        apply(txn);
        txn_free(txn);
        AUTO_FREE char *log = fs_join(w.journal, "0000000001/log");
        AUTO_BUF text = BUF_INIT;
        struct err err = ERR_INIT;
        must(fs_read(log, LIMIT, &text, &err), &err);
        size_t last = text.len - 1;
        while (last > 0 && text.data[last - 1] != '\n')
            last--;
        if (cut < text.len - last) {
            assert_int_equal(truncate(log, (off_t)(last + cut)), 0);
        } else {
            int fd = open(log, O_WRONLY | O_APPEND);
            static const char rubbish[] = "12 0123456789abcdef half a rec\0\0\0\0\0\n\n\n\0\0\0";
            assert_true(write(fd, rubbish, cut % sizeof(rubbish)) >= 0);
            close(fd);
        }
        RECOVERY(r) = recover(&w);
        assert_int_equal(r.rolled_back, 1);
        is_like(&w, before);
        RECOVERY(again) = recover(&w); /* the mark `undone` was not written behind the tear */
        assert_int_equal(again.rolled_back, 0);
    }
}

/* -- several that stand or fall together ---------------------------------------------------------------- */

enum { GROUP = 3 };
static const char *const group_owners[GROUP] = {"one.test", "two.test", "three.test"};

/* Each adds its line to the file of all, as certificates of one web server do, and does all else there is. */
static bool apply_member(const struct world *w, size_t n, struct txn *txns[GROUP], struct err *err)
{
    AUTO_BUF text = BUF_INIT;
    AUTO_FREE char *own = mem_fmt("%s.conf", group_owners[n]);
    if (!txn_begin(w->journal, group_owners[n], group_owners[n], &txns[n], err))
        return false;
    must(txn_read(txns[n], p(w, "main.conf"), LIMIT, &text, err), err);
    buf_addf(&text, "%s\n", group_owners[n]);
    stage_text(txns[n], p(w, own), "own\n");
    stage_text(txns[n], p(w, "main.conf"), buf_str(&text));
    stage_text(txns[n], p(w, "twins.conf"), group_owners[n]); /* written in place */
    stage_link(txns[n], p(w, "live"), group_owners[n]);
    if (n > 0)
        txn_join(txns[n], txns[0]);
    return txn_apply(txns[n], err);
}

static bool apply_group(const struct world *w, struct txn *txns[GROUP], struct err *err)
{
    for (size_t n = 0; n < GROUP; n++)
        if (!apply_member(w, n, txns, err))
            return false;
    return txn_note(txns[0], TXN_TESTED, err) && txn_note(txns[0], TXN_RELOADING, err);
}

static void free_group(struct txn *txns[GROUP])
{
    for (size_t n = 0; n < GROUP; n++) {
        txn_free(txns[n]);
        txns[n] = NULL;
    }
}

static size_t standing_of(const struct world *w, const char *owner)
{
    struct txn_list list = {0};
    struct err err = ERR_INIT;
    must(txn_list(w->journal, owner, &list, &err), &err);
    size_t n = list.n;
    txn_list_clear(&list);
    return n;
}

static void one_mark_decides_for_all(void **state)
{
    (void)state;
    for (int proven = 0; proven < 2; proven++) {
        WORLD(w) = world_new("/tmp", NULL);
        furnish(&w);
        AUTO_FREE char *before = describe_world(&w);
        struct txn *txns[GROUP] = {NULL};
        struct err err = ERR_INIT;
        must(apply_group(&w, txns, &err), &err);
        if (proven)
            must(txn_note(txns[0], TXN_VERIFIED, &err), &err);
        AUTO_FREE char *after = describe_world(&w);
        free_group(txns);
        RECOVERY(r) = recover(&w);
        assert_int_equal(r.finished, proven ? GROUP : 0);
        assert_int_equal(r.rolled_back, proven ? 0 : GROUP);
        assert_int_equal(r.kept, 0);
        assert_int_equal(r.reload_needed, !proven);
        is_like(&w, proven ? after : before);
        for (size_t n = 0; n < GROUP; n++)
            assert_int_equal(standing_of(&w, group_owners[n]), proven);
        no_leftovers(&w);
    }
}

/* Each by itself, and of the leader's journal nothing is needed any more. */
static void a_member_is_undone_alone(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    furnish(&w);
    struct txn *txns[GROUP] = {NULL};
    struct err err = ERR_INIT;
    AUTO_STRLIST messages = STRLIST_INIT;
    must(apply_group(&w, txns, &err), &err);
    must(txn_note(txns[0], TXN_VERIFIED, &err), &err);
    must(txn_commit_all(txns, GROUP, &err), &err);
    free_group(txns);
    for (int i = 0; i < 2; i++) { /* the leader's first */
        AUTO_TXN *undo = NULL;
        must(txn_begin(w.journal, group_owners[i], "undo", &undo, &err), &err);
        must(txn_undo(undo, NULL, &messages, &err), &err);
        finish(undo);
        must(txn_prune(w.journal, group_owners[i], 0, &err), &err);
        RECOVERY(r) = recover(&w);
        assert_int_equal(r.finished + r.rolled_back, 0);
    }
    assert_false(fs_exists(p(&w, "one.test.conf")));
    assert_false(fs_exists(p(&w, "two.test.conf")));
    assert_true(fs_exists(p(&w, "three.test.conf")));
    assert_int_equal(standing_of(&w, NULL), 1);
}

/* The first is alone, others come to nothing: no journal refers to one that is not there. */
static void empty_ones_are_passed_over(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    struct err err = ERR_INIT;
    struct txn *txns[2] = {begin(&w), begin(&w)};
    txn_join(txns[1], txns[0]);
    stage_text(txns[1], p(&w, "a"), "a");
    apply(txns[0]);
    apply(txns[1]);
    assert_int_equal(count_journals(&w), 1);
    must(txn_rollback_all(txns, 2, &err), &err);
    assert_false(fs_exists(p(&w, "a")));
    txn_free(txns[0]);
    txn_free(txns[1]);
}

/* The edits of the older ones lie below it: what they had done must not be taken for a person's. */
static void one_that_cannot_be_put_back_holds_up_the_older(void **state)
{
    (void)state;
    for (int recovery = 0; recovery < 2; recovery++) {
        WORLD(w) = world_new("/tmp", NULL);
        furnish(&w);
        AUTO_FREE char *before = describe_world(&w);
        struct txn *txns[GROUP] = {NULL};
        struct err err = ERR_INIT;
        must(apply_group(&w, txns, &err), &err);
        for (size_t n = 0; n < GROUP; n++) /* in memory they are known */
            for (size_t i = 0; i < txns[n]->n_ops; i++)
                txns[n]->ops[i].have_old = (buf_clear(&txns[n]->ops[i].old_data), false);
        AUTO_FREE char *away = fs_join(w.top, "away");
        AUTO_FREE char *copy = fs_join(w.journal, "0000000002/old-1");
        assert_int_equal(rename(copy, away), 0);
        if (recovery) {
            struct txn_recovery r = {0};
            free_group(txns);
            assert_false(txn_recover(w.journal, &r, &err));
            assert_int_equal(r.kept, 0);
            assert_int_equal(r.rolled_back, 1);
            txn_recovery_clear(&r);
        } else {
            assert_false(txn_rollback_all(txns, GROUP, &err));
            free_group(txns);
        }
        assert_true(fs_exists(p(&w, "one.test.conf")));
        assert_int_equal(rename(away, copy), 0);
        RECOVERY(r) = recover(&w);
        assert_int_equal(r.kept, 0);
        assert_true(r.reload_needed);
        is_like(&w, before);
    }
}

/* Was it proven? Nobody knows: nothing is touched, all say so. */
static void a_damaged_leader_stops_all(void **state)
{
    (void)state;
    for (int known = 0; known < 2; known++) { /* or its marks can still be read */
        WORLD(w) = world_new("/tmp", NULL);
        furnish(&w);
        struct txn *txns[GROUP] = {NULL};
        struct err err = ERR_INIT;
        must(apply_group(&w, txns, &err), &err);
        if (known)
            must(txn_note(txns[0], TXN_VERIFIED, &err), &err);
        AUTO_FREE char *after = describe_world(&w);
        free_group(txns);
        AUTO_FREE char *log = fs_join(w.journal, "0000000001/log");
        int fd = open(log, O_WRONLY);
        assert_int_equal(pwrite(fd, "#", 1, 60), 1);
        close(fd);
        struct txn_recovery r = {0};
        assert_false(txn_recover(w.journal, &r, &err));
        assert_int_equal(err.code, ERR_IO);
        assert_non_null(strstr(err.subject, "0000000001"));
        assert_int_equal(r.rolled_back, 0);
        assert_int_equal(r.finished, known ? GROUP - 1 : 0);
        is_like(&w, after);
        txn_recovery_clear(&r);
    }
}

/* -- damage --------------------------------------------------------------------------------------------- */

static void damage_is_said_and_nothing_touched(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    put_text(p(&w, "a"), "old", 0644);
    put_text(p(&w, "b"), "old", 0644);
    struct txn *txn = begin(&w);
    stage_text(txn, p(&w, "a"), "new");
    apply(txn);
    txn_free(txn);
    txn = begin(&w);
    stage_text(txn, p(&w, "b"), "new");
    apply(txn);
    txn_free(txn);
    AUTO_FREE char *log = fs_join(w.journal, "0000000001/log");
    int fd = open(log, O_WRONLY);
    assert_int_equal(pwrite(fd, "#", 1, 30), 1);
    close(fd);
    struct err err = ERR_INIT;
    struct txn_recovery r = {0};
    assert_false(txn_recover(w.journal, &r, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.text, "damaged"));
    assert_int_equal(r.rolled_back, 1); /* the other one */
    has_text(p(&w, "a"), "new");
    has_text(p(&w, "b"), "old");
    txn_recovery_clear(&r);
}

static void damage_in_a_finished_journal_is_no_obstacle(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    AUTO_TXN *txn = begin(&w);
    stage_text(txn, p(&w, "a"), "new");
    finish(txn);
    AUTO_FREE char *log = fs_join(w.journal, "0000000001/log");
    AUTO_BUF text = BUF_INIT;
    struct err err = ERR_INIT;
    must(fs_read(log, LIMIT, &text, &err), &err);
    static const struct {
        const char *record;
        enum err_code undo;
    } cases[] = {{"op 0", ERR_IO}, {"begin 1", ERR_NOT_FOUND}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int fd = open(log, O_WRONLY);
        assert_int_equal(pwrite(fd, "#", 1, strstr(buf_str(&text), cases[i].record) - buf_str(&text)), 1);
        close(fd);
        RECOVERY(r) = recover(&w);
        assert_int_equal(r.rolled_back + r.finished, 0);
        has_text(p(&w, "a"), "new");
        AUTO_TXN *undo = begin(&w);
        AUTO_STRLIST messages = STRLIST_INIT;
        err_clear(&err);
        assert_false(txn_undo(undo, NULL, &messages, &err)); /* but undo needs what was damaged */
        assert_int_equal(err.code, cases[i].undo);
    }
}

static void a_damaged_copy_is_not_put_back(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    put_text(p(&w, "a"), "old", 0644);
    struct txn *txn = begin(&w);
    stage_text(txn, p(&w, "a"), "new");
    apply(txn);
    txn_free(txn);
    AUTO_FREE char *old = fs_join(w.journal, "0000000001/old-0");
    put_text(old, "garbage", 0600);
    struct err err = ERR_INIT;
    struct txn_recovery r = {0};
    assert_false(txn_recover(w.journal, &r, &err));
    assert_int_equal(err.code, ERR_IO);
    has_text(p(&w, "a"), "new");
    txn_recovery_clear(&r);
}

static void strange_things_in_the_journal_directory(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    AUTO_FREE char *empty = fs_join(w.journal, "0000000007");
    AUTO_FREE char *other = fs_join(w.journal, "README");
    assert_int_equal(mkdir(empty, 0700), 0);
    put_text(other, "x", 0600);
    RECOVERY(r) = recover(&w);
    assert_int_equal(r.rolled_back + r.finished + r.messages.n, 0);
    assert_false(fs_exists(empty));
    assert_true(fs_exists(other));
    AUTO_TXN *txn = begin(&w);
    stage_text(txn, p(&w, "odd name % \n \xff"), "a");
    finish(txn);
    AUTO_TXN *undo = begin(&w); /* the name survives the way through the log */
    AUTO_STRLIST messages = STRLIST_INIT;
    struct err err = ERR_INIT;
    must(txn_undo(undo, NULL, &messages, &err), &err);
    finish(undo);
    assert_false(fs_exists(p(&w, "odd name % \n \xff")));
}

/* -- undo and prune ------------------------------------------------------------------------------------- */

static void commit_link(const struct world *w, const char *target)
{
    AUTO_TXN *txn = begin(w);
    stage_link(txn, p(w, "live"), target);
    finish(txn);
}

static void undo_all(const struct world *w, struct strlist *messages)
{
    AUTO_TXN *txn = begin(w);
    struct err err = ERR_INIT;
    must(txn_undo(txn, NULL, messages, &err), &err);
    finish(txn);
}

static size_t standing(const struct world *w)
{
    struct txn_list list = {0};
    struct err err = ERR_INIT;
    must(txn_list(w->journal, OWNER, &list, &err), &err);
    size_t n = list.n;
    txn_list_clear(&list);
    return n;
}

static void undo_goes_back_through_renewals(void **state)
{
    (void)state;
    for (int pruned = 0; pruned < 2; pruned++) {
        WORLD(w) = world_new("/tmp", NULL);
        struct err err = ERR_INIT;
        furnish(&w);
        assert_int_equal(mkdir(p(&w, "0003"), 0755), 0);
        assert_int_equal(mkdir(p(&w, "0004"), 0755), 0);
        AUTO_FREE char *before = describe_world(&w);
        AUTO_TXN *txn = begin(&w);
        stage_most(&w, txn);
        finish(txn);
        commit_link(&w, "0003");
        commit_link(&w, "0004");
        commit_link(&w, "0003");
        assert_int_equal(standing(&w), 4);
        if (pruned) {
            must(txn_prune(w.journal, OWNER, 1, &err), &err);
            assert_int_equal(standing(&w), 2); /* the edits, and the newest switch */
            must(txn_prune(w.journal, OWNER, 0, &err), &err);
            assert_int_equal(standing(&w), 2);
        }
        AUTO_STRLIST messages = STRLIST_INIT;
        undo_all(&w, &messages);
        is_like(&w, before);
        assert_int_equal(messages.n, 0);
        assert_int_equal(standing(&w), 0);
        AUTO_TXN *again = begin(&w);
        assert_false(txn_undo(again, NULL, &messages, &err));
        assert_int_equal(err.code, ERR_NOT_FOUND);
        err_clear(&err);
        must(txn_prune(w.journal, OWNER, 0, &err), &err);
        assert_int_equal(count_journals(&w), 0);
    }
}

static void undo_leaves_links_to_what_is_gone(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    struct err err = ERR_INIT;
    furnish(&w);
    assert_int_equal(mkdir(p(&w, "0003"), 0755), 0);
    commit_link(&w, "0002");
    commit_link(&w, "0003");
    must(fs_remove_tree(p(&w, "0002"), &err), &err); /* on the way only: no harm */
    AUTO_STRLIST messages = STRLIST_INIT;
    undo_all(&w, &messages);
    char target[8] = "";
    assert_int_equal(readlink(p(&w, "live"), target, sizeof(target)), 4);
    assert_memory_equal(target, "0001", 4);
    assert_int_equal(messages.n, 0);
    commit_link(&w, "0003");
    must(fs_remove_tree(p(&w, "0001"), &err), &err);
    undo_all(&w, &messages);
    assert_int_equal(readlink(p(&w, "live"), target, sizeof(target)), 4);
    assert_memory_equal(target, "0003", 4);
    assert_true(says(&messages, "0001, no longer exists"));
    assert_int_equal(standing(&w), 0);
}

static void undo_takes_out_only_our_lines(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    struct err err = ERR_INIT;
    put_text(p(&w, "a"), "1\n2\n3\n4\n5\n6\n7\n8\n9\n", 0640);
    AUTO_TXN *ours = begin(&w);
    stage_text(ours, p(&w, "a"), "1\n2\nTLS\n3\n4\n5\n6\n7\n8\n9\n");
    finish(ours);
    AUTO_TXN *others = NULL;
    must(txn_begin(w.journal, "other.example", "enable other.example", &others, &err), &err);
    stage_text(others, p(&w, "a"), "1\n2\nTLS\n3\n4\n5\n6\n7\nother TLS\n8\n9\n");
    finish(others);
    put_text(p(&w, "a"), "by hand\n1\n2\nTLS\n3\n4\n5\n6\n7\nother TLS\n8\n9\n", 0640);
    AUTO_STRLIST messages = STRLIST_INIT;
    undo_all(&w, &messages);
    has_text(p(&w, "a"), "by hand\n1\n2\n3\n4\n5\n6\n7\nother TLS\n8\n9\n");
    assert_int_equal(messages.n, 1);
    assert_true(says(&messages, "only tlsup's own edit"));
}

static void undo_leaves_what_it_cannot_judge(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    put_text(p(&w, "a"), "1\n2\n3\n", 0640);
    put_text(p(&w, "removed"), "r\n", 0640);
    AUTO_TXN *txn = begin(&w);
    stage_text(txn, p(&w, "a"), "1\nTLS\n3\n");
    stage_text(txn, p(&w, "made"), "made\n");
    stage_text(txn, p(&w, "vanished"), "vanished\n");
    stage_removal(txn, p(&w, "removed"));
    finish(txn);
    put_text(p(&w, "a"), "1\nTLS, and more\n3\n", 0640);
    put_text(p(&w, "made"), "made and edited\n", 0640);
    assert_int_equal(unlink(p(&w, "vanished")), 0);
    AUTO_STRLIST messages = STRLIST_INIT;
    undo_all(&w, &messages);
    has_text(p(&w, "a"), "1\nTLS, and more\n3\n");
    has_text(p(&w, "made"), "made and edited\n");
    has_text(p(&w, "removed"), "r\n");
    assert_int_equal(messages.n, 2);
    assert_true(says(&messages, "/a was changed since"));
    assert_true(says(&messages, "/made was changed since"));
    struct stat st;
    assert_int_equal(lstat(p(&w, "removed"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
}

static void undo_can_be_rolled_back(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    furnish(&w);
    AUTO_TXN *txn = begin(&w);
    stage_most(&w, txn);
    finish(txn);
    AUTO_FREE char *applied = describe_world(&w);
    AUTO_TXN *undo = begin(&w);
    AUTO_STRLIST messages = STRLIST_INIT;
    struct err err = ERR_INIT;
    must(txn_undo(undo, NULL, &messages, &err), &err);
    apply(undo);
    must(txn_rollback(undo, &err), &err);
    is_like(&w, applied);
    assert_int_equal(standing(&w), 1);
}

static void list_tells_owners_and_kinds(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    struct err err = ERR_INIT;
    AUTO_TXN *txn = begin(&w);
    stage_text(txn, p(&w, "a"), "a");
    stage_link(txn, p(&w, "live"), "0001");
    finish(txn);
    AUTO_TXN *other = NULL;
    must(txn_begin(w.journal, "*.other.example", "with spaces = %", &other, &err), &err);
    stage_link(other, p(&w, "live2"), "0001");
    finish(other);
    struct txn_list list = {0};
    must(txn_list(w.journal, NULL, &list, &err), &err);
    assert_int_equal(list.n, 2);
    assert_string_equal(list.v[0].owner, "*.other.example");
    assert_string_equal(list.v[0].title, "with spaces = %");
    assert_int_equal(list.v[0].files, 0);
    assert_int_equal(list.v[1].files, 1);
    assert_int_equal(list.v[1].links, 1);
    assert_string_equal(list.v[1].id, "0000000001");
    must(txn_list(w.journal, OWNER, &list, &err), &err);
    assert_int_equal(list.n, 1);
    txn_list_clear(&list);
}

/* -- file systems that refuse: in a mount namespace of a child's own ------------------------------------ */

/* Runs `what` in a child with mounts of its own; false when the system does not allow that. */
static bool in_namespace(void (*what)(struct world *w))
{
    WORLD(w) = world_new("/tmp", NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
            _exit(77);
        what(&w);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        return false;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    return true;
}

/* In the child an assertion must end the child, and not run on with the parent's list of tests. */
#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                  \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)

static bool same_world(const struct world *w, const char *expected)
{
    AUTO_FREE char *now = describe_world(w);
    if (strcmp(now, expected) != 0)
        fprintf(stderr, "is:\n%s\nshould be:\n%s\n", now, expected);
    return strcmp(now, expected) == 0;
}

static void full_disk_child(struct world *w)
{
    CHECK(mkdir(p(w, "small"), 0755) == 0);
    CHECK(mount("none", p(w, "small"), "tmpfs", 0, "size=64k") == 0);
    put_text(p(w, "first"), "old\n", 0644);
    put_text(p(w, "small/hard"), "old\n", 0644);
    CHECK(link(p(w, "small/hard"), p(w, "small/hard2")) == 0);
    put_text(p(w, "small/plain"), "old\n", 0644);
    for (int in_place = 0; in_place < 2; in_place++) {
        AUTO_FREE char *before = describe_world(w);
        AUTO_BUF big = BUF_INIT;
        repeat_lines(&big, "this does not fit", 5000);
        AUTO_TXN *txn = begin(w);
        stage_text(txn, p(w, "first"), "new\n");
        stage_text(txn, p(w, in_place ? "small/hard" : "small/plain"), buf_str(&big));
        struct err err = ERR_INIT;
        CHECK(!txn_apply(txn, &err));
        CHECK(err.code == ERR_NO_SPACE);
        CHECK(strstr(err.text, in_place ? "small/hard" : "small/plain") != NULL);
        CHECK(err.advice[0] != '\0');
        CHECK(same_world(w, before));
        CHECK(count_journals(w) == 0);
    }
}

static void full_disk_puts_all_back(void **state)
{
    (void)state;
    if (!in_namespace(full_disk_child))
        skip();
}

/* The disk fills up between apply and roll-back: what goes back must still fit. */
static void full_disk_rollback_child(struct world *w)
{
    CHECK(mkdir(p(w, "small"), 0755) == 0);
    CHECK(mount("none", p(w, "small"), "tmpfs", 0, "size=64k") == 0);
    put_text(p(w, "small/plain"), "old\n", 0644);
    AUTO_FREE char *before = describe_world(w);
    AUTO_TXN *txn = begin(w);
    stage_text(txn, p(w, "small/plain"), "a longer text\n");
    apply(txn);
    int fd = open(p(w, "small/filler"), O_WRONLY | O_CREAT, 0600);
    char zeros[4096] = {0};
    while (write(fd, zeros, sizeof(zeros)) > 0)
        ;
    close(fd);
    struct err err = ERR_INIT;
    must(txn_rollback(txn, &err), &err);
    CHECK(unlink(p(w, "small/filler")) == 0);
    CHECK(same_world(w, before));
}

static void full_disk_does_not_stop_a_rollback(void **state)
{
    (void)state;
    if (!in_namespace(full_disk_rollback_child))
        skip();
}

static void read_only_child(struct world *w)
{
    CHECK(mkdir(p(w, "ro"), 0755) == 0);
    CHECK(mount("none", p(w, "ro"), "tmpfs", 0, "size=64k") == 0);
    put_text(p(w, "ro/a"), "old\n", 0644);
    put_text(p(w, "first"), "old\n", 0644);
    CHECK(mount(NULL, p(w, "ro"), NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
    AUTO_FREE char *before = describe_world(w);
    for (int kind = 0; kind < 4; kind++) {
        AUTO_TXN *txn = begin(w);
        stage_text(txn, p(w, "first"), "new\n");
        if (kind == 0)
            stage_text(txn, p(w, "ro/a"), "new\n");
        else if (kind == 1)
            stage_removal(txn, p(w, "ro/a"));
        else if (kind == 2)
            stage_link(txn, p(w, "ro/l"), "a");
        else
            stage_text(txn, p(w, "ro/b"), "new\n");
        struct err err = ERR_INIT;
        CHECK(!txn_apply(txn, &err));
        CHECK(err.code == ERR_PERMISSION);
        CHECK(strstr(err.text, "ead-only") != NULL);
        CHECK(same_world(w, before));
    }
}

static void read_only_file_system_puts_all_back(void **state)
{
    (void)state;
    if (!in_namespace(read_only_child))
        skip();
}

static void bind_mount_child(struct world *w)
{
    put_text(p(w, "source"), "old\n", 0644);
    put_text(p(w, "target"), "", 0600);
    CHECK(mount(p(w, "source"), p(w, "target"), NULL, MS_BIND, NULL) == 0);
    AUTO_FREE char *before = describe_world(w);
    AUTO_TXN *txn = begin(w);
    stage_text(txn, p(w, "target"), "new and longer\n");
    apply(txn);
    has_text(p(w, "source"), "new and longer\n");
    has_text(p(w, "target"), "new and longer\n");
    struct err err = ERR_INIT;
    must(txn_rollback(txn, &err), &err);
    CHECK(same_world(w, before));
    AUTO_TXN *removal = begin(w);
    stage_removal(removal, p(w, "target"));
    CHECK(!txn_apply(removal, &err));
    CHECK(strstr(err.text, "target") != NULL);
    CHECK(same_world(w, before));
    /* the journal on a mount of its own: same device, other mount */
    CHECK(mount(w->journal, w->journal, NULL, MS_BIND, NULL) == 0);
    AUTO_TXN *apart = begin(w);
    stage_text(apart, p(w, "target"), "new\n");
    stage_text(apart, p(w, "other"), "new\n");
    apply(apart);
    has_text(p(w, "other"), "new\n");
    err_clear(&err);
    must(txn_rollback(apart, &err), &err);
    CHECK(same_world(w, before));
}

static void bind_mounts_are_written_in_place(void **state)
{
    (void)state;
    if (!in_namespace(bind_mount_child))
        skip();
}

/* As in a container: one file mounted to be written, into a tree that is not. */
static void pinned_in_read_only_child(struct world *w)
{
    CHECK(mkdir(p(w, "conf.d"), 0755) == 0);
    put_text(p(w, "conf.d/site"), "old\n", 0644);
    put_text(p(w, "behind"), "old\n", 0644);
    CHECK(mount(p(w, "conf.d"), p(w, "conf.d"), NULL, MS_BIND, NULL) == 0);
    CHECK(mount(NULL, p(w, "conf.d"), NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0);
    CHECK(mount(p(w, "behind"), p(w, "conf.d/site"), NULL, MS_BIND, NULL) == 0);
    struct err err = ERR_INIT;
    AUTO_TXN *txn = begin(w);
    stage_text(txn, p(w, "conf.d/site"), "new\n");
    CHECK(txn_check(txn, &err));
    CHECK(txn_apply(txn, &err));
    has_text(p(w, "behind"), "new\n");
    CHECK(txn_rollback(txn, &err));
    has_text(p(w, "behind"), "old\n");
    AUTO_TXN *other = begin(w);
    stage_text(other, p(w, "conf.d/beside"), "new\n");
    CHECK(!txn_check(other, &err) && err.code == ERR_PERMISSION);
    CHECK(strstr(err.text, "conf.d/beside") != NULL);
    err_clear(&err);
    CHECK(!txn_apply(other, &err) && err.code == ERR_PERMISSION);
    CHECK(count_journals(w) == 1); /* nothing was begun */
    CHECK(mount(NULL, p(w, "conf.d/site"), NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0);
    AUTO_TXN *third = begin(w);
    stage_text(third, p(w, "conf.d/site"), "new\n");
    err_clear(&err);
    CHECK(!txn_check(third, &err) && err.code == ERR_PERMISSION);
    CHECK(umount(p(w, "conf.d/site")) == 0 && umount(p(w, "conf.d")) == 0);
}

static void a_mounted_file_in_a_read_only_tree(void **state)
{
    (void)state;
    if (geteuid() != 0 || !in_namespace(pinned_in_read_only_child))
        skip();
}

/* Even root cannot change these, and must be told so before anything is done. */
static void immutable_is_said_before(void **state)
{
    (void)state;
#ifdef FS_IOC_SETFLAGS
    WORLD(w) = world_new("/tmp", NULL);
    put_text(p(&w, "first"), "old\n", 0644);
    put_text(p(&w, "fixed"), "old\n", 0644);
    assert_int_equal(mkdir(p(&w, "dir"), 0755), 0);
    static const char *const fixed[] = {"fixed", "dir"};
    static const char *const edited[] = {"fixed", "dir/new"};
    for (size_t i = 0; i < COUNT_OF(fixed); i++) {
        int none = 0, immutable = FS_IMMUTABLE_FL;
        int fd = open(p(&w, fixed[i]), O_RDONLY);
        assert_true(fd >= 0);
        if (ioctl(fd, FS_IOC_GETFLAGS, &none) != 0 || ioctl(fd, FS_IOC_SETFLAGS, &immutable) != 0) {
            close(fd);
            print_message("cannot make files immutable here: skipped\n");
            skip();
        }
        struct err err = ERR_INIT;
        AUTO_TXN *txn = begin(&w);
        stage_text(txn, p(&w, "first"), "new\n");
        stage_text(txn, p(&w, edited[i]), "new\n");
        bool could = txn_check(txn, &err), did = txn_apply(txn, &(struct err)ERR_INIT);
        assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &none), 0);
        close(fd);
        assert_false(could || did);
        assert_int_equal(err.code, ERR_PERMISSION);
        assert_non_null(strstr(err.advice, "chattr"));
        has_text(p(&w, "first"), "old\n");
        assert_int_equal(count_journals(&w), 0);
    }
#else
    skip();
#endif
}

#define WHOLE "whole"

/* Where a web server includes a directory as a whole, it would read a dot file as well: look at every step.
 */
static void nothing_strange_in_the_directory_itself(void **state)
{
    (void)state;
#ifdef TEST_HOOKS
    for (unsigned long n = 1;; n++) {
        WORLD(w) = world_new("/tmp", FAST_DIR);
        assert_int_equal(mkdir(p(&w, WHOLE), 0755), 0);
        put_text(p(&w, WHOLE "/a"), "old\n", 0644);
        put_text(p(&w, WHOLE "/b"), "old\n", 0644);
        assert_int_equal(link(p(&w, WHOLE "/b"), p(&w, "another-name")), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            AUTO_FREE char *text = mem_fmt("%lu", n);
            AUTO_TXN *txn = begin(&w);
            stage_text(txn, p(&w, WHOLE "/a"), "new\n");
            stage_text(txn, p(&w, WHOLE "/new"), "new\n");
            stage_link(txn, p(&w, WHOLE "/link"), "a");
            stage_removal(txn, p(&w, WHOLE "/b"));
            setenv("TLSUP_TEST_CRASH", text, 1);
            txn_steps_done = 0;
            struct err err = ERR_INIT;
            _exit(txn_apply(txn, &err) ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        AUTO_STRLIST names = STRLIST_INIT;
        struct err err = ERR_INIT;
        must(fs_list(p(&w, WHOLE), &names, &err), &err);
        for (size_t i = 0; i < names.n; i++)
            if (names.v[i][0] == '.')
                fail_msg("step %lu: %s", n, names.v[i]);
        RECOVERY(r) = recover(&w);
        assert_int_equal(r.kept, 0);
        struct stat a, b;
        assert_true(lstat(p(&w, WHOLE "/b"), &a) == 0 && lstat(p(&w, "another-name"), &b) == 0);
        assert_int_equal(a.st_ino, b.st_ino);
        AUTO_STRLIST left = STRLIST_INIT;
        must(fs_list(w.etc, &left, &err), &err);
        joined(&left, "another-name " WHOLE);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            break;
        }
    }
#else
    skip();
#endif
}

static void before_the_first_run(void **state)
{
    (void)state;
    WORLD(w) = world_new("/tmp", NULL);
    struct err err = ERR_INIT;
    AUTO_STRLIST messages = STRLIST_INIT;
    AUTO_FREE char *later = fs_join(w.top, "state/journal");
    AUTO_TXN *look = NULL;
    AUTO_TXN *undo = NULL;
    must(txn_begin(later, OWNER, "a look ahead", &look, &err), &err);
    stage_text(look, p(&w, "a"), "a\n");
    must(txn_check(look, &err), &err);
    assert_false(fs_exists(later));
    assert_false(txn_apply(look, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    err_clear(&err);
    must(txn_begin(later, OWNER, "undo", &undo, &err), &err);
    assert_false(txn_undo(undo, NULL, &messages, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    is_like(&w, "");
}

static void no_permission_child(struct world *w)
{
    put_text(p(w, "first"), "old\n", 0644);
    CHECK(mkdir(p(w, "closed"), 0755) == 0);
    put_text(p(w, "closed/a"), "old\n", 0644);
    put_text(p(w, "foreign"), "old\n", 0644);
    put_text(p(w, "secret"), "old\n", 0600);
    CHECK(chown(p(w, "first"), 65534, 65534) == 0 && chown(w->etc, 65534, 65534) == 0 &&
          chown(w->journal, 65534, 65534) == 0 && chown(w->top, 65534, 65534) == 0);
    AUTO_FREE char *before = describe_world(w);
    CHECK(setgid(65534) == 0 && setuid(65534) == 0);
    static const char *const names[] = {"closed/a", "closed/b", "foreign"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        AUTO_TXN *txn = begin(w);
        stage_text(txn, p(w, "first"), "new\n");
        stage_text(txn, p(w, names[i]), "new\n");
        struct err err = ERR_INIT;
        CHECK(!txn_apply(txn, &err));
        CHECK(err.code == ERR_PERMISSION);
        CHECK(strstr(err.text, names[i]) != NULL);
        has_text(p(w, "first"), "old\n");
        CHECK(count_journals(w) == 0);
    }
    AUTO_TXN *txn = begin(w);
    struct err err = ERR_INIT;
    CHECK(!txn_write(txn, p(w, "secret"), "x", 1, 0600, &err));
    CHECK(err.code == ERR_PERMISSION);
    (void)before;
}

static void no_permission_puts_all_back(void **state)
{
    (void)state;
    if (geteuid() != 0 || !in_namespace(no_permission_child))
        skip();
}

/* -- crashes and failures at every step ----------------------------------------------------------------- */

#ifdef TEST_HOOKS

enum how_it_ended { ENDED, KILLED, FAILED };

/* Runs `what` in a child that dies, or fails, at step `n`. The child exits with 0 for success, 3 for an
 * error. */
static enum how_it_ended run_child(const struct world *w,
                                   bool (*what)(const struct world *w, struct err *err), const char *variable,
                                   const char *value)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct err err = ERR_INIT;
        txn_steps_done = 0;
        setenv(variable, value, 1);
        bool ok = what(w, &err);
        if (!ok && !err_isset(&err))
            _exit(5);
        _exit(ok ? 0 : 3);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGKILL);
        return KILLED;
    }
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 3)
        fail_msg("the child ended with %d", WEXITSTATUS(status));
    return WEXITSTATUS(status) == 0 ? ENDED : FAILED;
}

static bool whole_transaction(const struct world *w, struct err *err)
{
    AUTO_TXN *txn = begin(w);
    stage_everything(w, txn);
    if (!txn_apply(txn, err))
        return false;
    if (txn_note(txn, TXN_TESTED, err) && txn_note(txn, TXN_RELOADING, err) &&
        txn_note(txn, TXN_VERIFIED, err) && txn_commit(txn, err))
        return true;
    struct err trouble = ERR_INIT;
    if (!txn_rollback(txn, &trouble))
        fprintf(stderr, "roll-back: %s\n", trouble.text);
    return false;
}

static bool rollback_only(const struct world *w, struct err *err)
{
    AUTO_FREE char *value = mem_dup(getenv("TLSUP_TEST_CRASH"));
    unsetenv("TLSUP_TEST_CRASH");
    AUTO_TXN *txn = begin(w);
    stage_everything(w, txn);
    if (!txn_apply(txn, err))
        return false;
    setenv("TLSUP_TEST_CRASH", value, 1);
    txn_steps_done = 0;
    return txn_rollback(txn, err);
}

static bool recovery_only(const struct world *w, struct err *err)
{
    struct txn_recovery out = {0};
    bool ok = txn_recover(w->journal, &out, err);
    txn_recovery_clear(&out);
    return ok;
}

static bool undo_only(const struct world *w, struct err *err)
{
    AUTO_TXN *txn = begin(w);
    AUTO_STRLIST messages = STRLIST_INIT;
    if (!txn_undo(txn, NULL, &messages, err) || !txn_apply(txn, err))
        return false;
    return txn_note(txn, TXN_VERIFIED, err) && txn_commit(txn, err);
}

/* The two worlds that may be. */
struct expected {
    char *old, *new;
};

static void expected_clear(struct expected *expected)
{
    free(expected->old);
    free(expected->new);
}

static struct expected expect(const char *parent, const char *journal_parent,
                              void (*stage)(const struct world *w, struct txn *txn))
{
    WORLD(w) = world_new(parent, journal_parent);
    furnish(&w);
    struct expected expected = {.old = describe_world(&w)};
    AUTO_TXN *txn = begin(&w);
    stage(&w, txn);
    finish(txn);
    expected.new = describe_world(&w);
    return expected;
}

static bool all_or_nothing(const struct world *w, const struct expected *expected, const char *what,
                           unsigned long n)
{
    AUTO_FREE char *now = describe_world(w);
    bool is_old = strcmp(now, expected->old) == 0;
    if (!is_old && strcmp(now, expected->new) != 0)
        fail_msg("%s at step %lu left:\n%s\nbefore:\n%s", what, n, now, expected->old);
    return is_old;
}

/* Journal on the same device, and on another. */
static const char *const places[][2] = {{FAST_DIR, NULL}, {FAST_DIR, "/tmp"}};

/* A web server that includes a whole directory reads dot files: they must not appear there. */
static void no_dot_files(const struct world *w)
{
    AUTO_FREE char *now = describe_world(w);
    assert_null(strstr(now, "/.tlsup"));
}

static void crash_at_every_step_of_a_transaction(void **state)
{
    (void)state;
    for (size_t place = 0; place < COUNT_OF(places); place++) {
        bool same_device = places[place][1] == NULL;
        CLEANUP(expected_clear)
        struct expected expected = expect(places[place][0], places[place][1], stage_everything);
        unsigned long n = 1, to_old = 0;
        for (;; n++) {
            WORLD(w) = world_new(places[place][0], places[place][1]);
            furnish(&w);
            char value[16];
            snprintf(value, sizeof(value), "%lu", n);
            enum how_it_ended ended = run_child(&w, whole_transaction, "TLSUP_TEST_CRASH", value);
            if (same_device)
                no_dot_files(&w);
            RECOVERY(r) = recover(&w);
            assert_int_equal(r.kept, 0);
            no_leftovers(&w);
            to_old += all_or_nothing(&w, &expected, "a crash", n);
            if (ended == ENDED)
                break;
            assert_int_equal(ended, KILLED);
        }
        print_message("crash points of a transaction (journal %s): %lu, put back after %lu\n",
                      same_device ? "on the same device" : "on another device", n - 1, to_old);
        assert_true(to_old > 20 && to_old < n);
    }
}

static void crash_at_every_step_of_a_rollback(void **state)
{
    (void)state;
    for (size_t place = 0; place < COUNT_OF(places); place++) {
        CLEANUP(expected_clear)
        struct expected expected = expect(places[place][0], places[place][1], stage_everything);
        unsigned long n = 1;
        for (;; n++) {
            WORLD(w) = world_new(places[place][0], places[place][1]);
            furnish(&w);
            char value[16];
            snprintf(value, sizeof(value), "%lu", n);
            enum how_it_ended ended = run_child(&w, rollback_only, "TLSUP_TEST_CRASH", value);
            RECOVERY(r) = recover(&w);
            assert_int_equal(r.kept, 0);
            no_leftovers(&w);
            assert_true(all_or_nothing(&w, &expected, "a crash in a roll-back", n));
            if (ended == ENDED)
                break;
        }
        print_message("crash points of a roll-back (journal %s): %lu\n",
                      places[place][1] == NULL ? "on the same device" : "on another device", n - 1);
        assert_true(n > 20);
    }
}

static void crash_at_every_step_of_a_recovery(void **state)
{
    (void)state;
    unsigned long points = 0;
    for (size_t place = 0; place < COUNT_OF(places); place++) {
        CLEANUP(expected_clear)
        struct expected expected = expect(places[place][0], places[place][1], stage_everything);
        bool more = true;
        for (unsigned long first = 25; more; first += 9) { /* where the transaction dies */
            for (unsigned long n = 1;; n++) {
                WORLD(w) = world_new(places[place][0], places[place][1]);
                furnish(&w);
                char value[16];
                snprintf(value, sizeof(value), "%lu", first);
                more = run_child(&w, whole_transaction, "TLSUP_TEST_CRASH", value) == KILLED;
                snprintf(value, sizeof(value), "%lu", n);
                enum how_it_ended ended = run_child(&w, recovery_only, "TLSUP_TEST_CRASH", value);
                RECOVERY(r) = recover(&w);
                assert_int_equal(r.kept, 0);
                no_leftovers(&w);
                (void)all_or_nothing(&w, &expected, "a crash in a recovery", n);
                if (ended == ENDED)
                    break;
                points++;
            }
        }
    }
    print_message("crash points of recoveries: %lu\n", points);
    assert_true(points > 100);
}

static bool whole_group(const struct world *w, struct err *err)
{
    struct txn *txns[GROUP] = {NULL};
    size_t n = 0;
    bool ok = apply_group(w, txns, err) && txn_note(txns[0], TXN_VERIFIED, err);
    if (ok) { /* what is not written down now, the next run finishes */
        struct err late = ERR_INIT;
        (void)!txn_commit_all(txns, GROUP, &late);
    } else {
        struct err trouble = ERR_INIT;
        while (n < GROUP && txns[n] != NULL)
            n++;
        if (!txn_rollback_all(txns, n, &trouble))
            fprintf(stderr, "roll-back: %s\n", trouble.text);
    }
    free_group(txns);
    return ok;
}

static struct expected expect_group(const char *parent, const char *journal_parent)
{
    WORLD(w) = world_new(parent, journal_parent);
    furnish(&w);
    struct expected expected = {.old = describe_world(&w)};
    struct err err = ERR_INIT;
    must(whole_group(&w, &err), &err);
    expected.new = describe_world(&w);
    return expected;
}

/* All of them or none, and the journal says so of each. */
static bool group_is_whole(const struct world *w, const struct expected *expected, const char *what,
                           unsigned long n)
{
    RECOVERY(r) = recover(w);
    assert_int_equal(r.kept, 0);
    no_leftovers(w);
    bool is_old = all_or_nothing(w, expected, what, n);
    for (size_t i = 0; i < GROUP; i++)
        assert_int_equal(standing_of(w, group_owners[i]), is_old ? 0 : 1);
    return is_old;
}

/* The process is killed at a step, a step fails, or all from one on. */
static void trouble_at_every_step_of_a_group(void **state)
{
    (void)state;
    static const struct {
        const char *variable, *from_then_on, *name;
    } troubles[] = {{"TLSUP_TEST_CRASH", "", "a crash"},
                    {"TLSUP_TEST_FAIL", "", "a failure"},
                    {"TLSUP_TEST_FAIL", "+", "lasting failure"}};
    for (size_t place = 0; place < COUNT_OF(places); place++) {
        CLEANUP(expected_clear)
        struct expected expected = expect_group(places[place][0], places[place][1]);
        for (size_t i = 0; i < COUNT_OF(troubles) - place; i++) {
            unsigned long n = 1, to_old = 0, ended_well = 0;
            while (ended_well < 12) { /* the last steps only tidy, and may fail */
                WORLD(w) = world_new(places[place][0], places[place][1]);
                furnish(&w);
                AUTO_FREE char *value = mem_fmt("%lu%s", n, troubles[i].from_then_on);
                enum how_it_ended ended = run_child(&w, whole_group, troubles[i].variable, value);
                if (ended == FAILED && troubles[i].from_then_on[0] == '\0')
                    assert_true(all_or_nothing(&w, &expected, troubles[i].name, n));
                bool is_old = group_is_whole(&w, &expected, troubles[i].name, n++);
                if (ended != KILLED)
                    assert_int_equal(is_old, ended == FAILED);
                to_old += is_old;
                ended_well += ended == ENDED;
            }
            print_message("%s in a group: %lu steps, put back after %lu\n", troubles[i].name, n - 1, to_old);
            assert_true(to_old > 50 && to_old < n);
        }
    }
}

static void crash_at_every_step_of_a_groups_recovery(void **state)
{
    (void)state;
    CLEANUP(expected_clear) struct expected expected = expect_group(FAST_DIR, NULL);
    unsigned long points = 0;
    bool more = true;
    for (unsigned long first = 60; more; first += 31) { /* where the run dies */
        int former = -1;
        for (unsigned long n = 1;; n++) {
            WORLD(w) = world_new(FAST_DIR, NULL);
            furnish(&w);
            AUTO_FREE char *death = mem_fmt("%lu", first);
            AUTO_FREE char *second = mem_fmt("%lu", n);
            more = run_child(&w, whole_group, "TLSUP_TEST_CRASH", death) == KILLED;
            enum how_it_ended ended = run_child(&w, recovery_only, "TLSUP_TEST_CRASH", second);
            int is_old = group_is_whole(&w, &expected, "a crash in a recovery", n);
            assert_true(former < 0 || former == is_old); /* a crash changes no decision */
            former = is_old;
            if (ended == ENDED)
                break;
            points++;
        }
    }
    print_message("crash points of recoveries of a group: %lu\n", points);
    assert_true(points > 100);
}

static void crash_at_every_step_of_an_undo(void **state)
{
    (void)state;
    CLEANUP(expected_clear) struct expected expected = expect(FAST_DIR, NULL, stage_most);
    unsigned long n = 1;
    for (;; n++) {
        WORLD(w) = world_new(FAST_DIR, NULL);
        furnish(&w);
        AUTO_TXN *txn = begin(&w);
        stage_most(&w, txn);
        finish(txn);
        char value[16];
        snprintf(value, sizeof(value), "%lu", n);
        enum how_it_ended ended = run_child(&w, undo_only, "TLSUP_TEST_CRASH", value);
        RECOVERY(r) = recover(&w);
        assert_int_equal(r.kept, 0);
        no_leftovers(&w);
        bool is_old = all_or_nothing(&w, &expected, "a crash in an undo", n);
        assert_int_equal(standing(&w), is_old ? 0 : 1); /* the journal tells the truth about the files */
        if (ended == ENDED)
            break;
    }
    print_message("crash points of an undo: %lu\n", n - 1);
    assert_true(n > 20);
}

/* One step fails with "no space left": the error is told and all is put back at once. */
static void failure_at_every_step(void **state)
{
    (void)state;
    for (size_t place = 0; place < COUNT_OF(places); place++) {
        CLEANUP(expected_clear)
        struct expected expected = expect(places[place][0], places[place][1], stage_everything);
        unsigned long n = 1, failed = 0, untouched = 0;
        for (;; n++) {
            WORLD(w) = world_new(places[place][0], places[place][1]);
            furnish(&w);
            char value[16];
            snprintf(value, sizeof(value), "%lu", n);
            enum how_it_ended ended = run_child(&w, whole_transaction, "TLSUP_TEST_FAIL", value);
            if (ended == FAILED) /* when it succeeded, a last act of tidying may be left to the next run */
                assert_true(all_or_nothing(&w, &expected, "a failure", n));
            failed += ended == FAILED;
            untouched += ended == ENDED;
            RECOVERY(r) = recover(&w);
            assert_int_equal(r.kept, 0);
            no_leftovers(&w);
            assert_int_equal(all_or_nothing(&w, &expected, "recovery after a failure", n), ended == FAILED);
            if (ended == ENDED && untouched > 12) /* the last steps only tidy, and may fail */
                break;
        }
        print_message("single failures: %lu steps, %lu of them stopped it\n", n, failed);
        assert_true(failed > 50);
    }
}

/* From a step on everything fails, the roll-back too: the next run mends it. */
static void failure_from_every_step_on(void **state)
{
    (void)state;
    for (size_t place = 0; place < COUNT_OF(places); place++) {
        CLEANUP(expected_clear)
        struct expected expected = expect(places[place][0], places[place][1], stage_everything);
        unsigned long n = 1;
        for (;; n++) {
            WORLD(w) = world_new(places[place][0], places[place][1]);
            furnish(&w);
            char value[16];
            snprintf(value, sizeof(value), "%lu+", n);
            enum how_it_ended ended = run_child(&w, whole_transaction, "TLSUP_TEST_FAIL", value);
            RECOVERY(r) = recover(&w);
            assert_int_equal(r.kept, 0);
            no_leftovers(&w);
            (void)all_or_nothing(&w, &expected, "lasting failure", n);
            if (ended == ENDED)
                break;
        }
        print_message("lasting failures: from each of %lu steps\n", n - 1);
        assert_true(n > 50);
    }
}

#endif

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(staging_writes_nothing),
        cmocka_unit_test(equal_content_is_dropped),
        cmocka_unit_test(reads_compose),
        cmocka_unit_test(refuses_what_is_no_file),
        cmocka_unit_test(paths_are_told_in_order),
        cmocka_unit_test(the_tree_as_it_will_be),
        cmocka_unit_test(thousands_of_operations),
        cmocka_unit_test(before_the_first_run),
        cmocka_unit_test(diff_is_unified),
        cmocka_unit_test(diff_names_the_file_behind_a_link),
        cmocka_unit_test(diff_applies_to_the_new_text),
        cmocka_unit_test(diff_of_huge_texts_is_bounded),
        cmocka_unit_test(diff_shows_all_kinds),
        cmocka_unit_test(merge_takes_both_or_refuses),
        cmocka_unit_test(apply_does_it_all),
        cmocka_unit_test(rollback_restores_it_all),
        cmocka_unit_test(apply_twice_and_late_edits_are_bugs),
        cmocka_unit_test(new_file_takes_after_its_directory),
        cmocka_unit_test(a_link_and_a_file_change_places),
        cmocka_unit_test(the_last_look_sees_an_edit),
        cmocka_unit_test(only_a_torn_write_counts_as_ours),
        cmocka_unit_test(edit_between_staging_and_apply_stops_us),
        cmocka_unit_test(somebody_made_the_file_first),
        cmocka_unit_test(chmod_between_staging_and_apply_is_kept),
        cmocka_unit_test(edit_before_rollback_is_kept_and_said),
        cmocka_unit_test(edit_after_a_crash_is_kept_and_said),
        cmocka_unit_test(a_removed_directory_does_not_block_recovery),
        cmocka_unit_test(reload_is_owed_until_settled),
        cmocka_unit_test(verified_is_finished_not_undone),
        cmocka_unit_test(torn_records_are_ignored),
        cmocka_unit_test(one_mark_decides_for_all),
        cmocka_unit_test(a_member_is_undone_alone),
        cmocka_unit_test(empty_ones_are_passed_over),
        cmocka_unit_test(one_that_cannot_be_put_back_holds_up_the_older),
        cmocka_unit_test(a_damaged_leader_stops_all),
        cmocka_unit_test(damage_is_said_and_nothing_touched),
        cmocka_unit_test(damage_in_a_finished_journal_is_no_obstacle),
        cmocka_unit_test(a_damaged_copy_is_not_put_back),
        cmocka_unit_test(strange_things_in_the_journal_directory),
        cmocka_unit_test(undo_goes_back_through_renewals),
        cmocka_unit_test(undo_leaves_links_to_what_is_gone),
        cmocka_unit_test(undo_takes_out_only_our_lines),
        cmocka_unit_test(undo_leaves_what_it_cannot_judge),
        cmocka_unit_test(undo_can_be_rolled_back),
        cmocka_unit_test(list_tells_owners_and_kinds),
        cmocka_unit_test(full_disk_puts_all_back),
        cmocka_unit_test(full_disk_does_not_stop_a_rollback),
        cmocka_unit_test(read_only_file_system_puts_all_back),
        cmocka_unit_test(bind_mounts_are_written_in_place),
        cmocka_unit_test(a_mounted_file_in_a_read_only_tree),
        cmocka_unit_test(nothing_strange_in_the_directory_itself),
        cmocka_unit_test(immutable_is_said_before),
        cmocka_unit_test(no_permission_puts_all_back),
#ifdef TEST_HOOKS
        cmocka_unit_test(crash_at_every_step_of_a_transaction),
        cmocka_unit_test(crash_at_every_step_of_a_rollback),
        cmocka_unit_test(crash_at_every_step_of_a_recovery),
        cmocka_unit_test(trouble_at_every_step_of_a_group),
        cmocka_unit_test(crash_at_every_step_of_a_groups_recovery),
        cmocka_unit_test(crash_at_every_step_of_an_undo),
        cmocka_unit_test(failure_at_every_step),
        cmocka_unit_test(failure_from_every_step_on),
#endif
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    strlist_clear(&paths);
    return failed;
}
