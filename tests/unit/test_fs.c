/*
 * test_fs.c - nothing is ever half-written, more readable than asked for, or written through somebody else's
 * symlink.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tlsup/fs.h"
#include "tlsup/mem.h"

enum { NOBODY = 65534 };

static char root[] = "/tmp/tlsup-fs-XXXXXX";
static struct err err;

/* A path below the test's directory; valid until the ninth call from now. */
static const char *at(const char *name)
{
    static char paths[8][4096];
    static size_t next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static int setup(void **state)
{
    (void)state;
    err_clear(&err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct err ignored = ERR_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    umask(022);
    if (!fs_list(root, &names, &ignored))
        return 1;
    for (size_t i = 0; i < names.n; i++)
        if (!fs_remove_tree(at(names.v[i]), &ignored))
            return 1;
    return 0;
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static void expect_content(const char *path, const char *text)
{
    AUTO_BUF content = BUF_INIT;
    if (!fs_read(path, 1000, &content, &err))
        fail_msg("%s", err.text);
    assert_string_equal(buf_str(&content), text);
}

static void put(const char *path, const char *text)
{
    if (!fs_write(path, text, strlen(text), 0644, &err))
        fail_msg("%s", err.text);
}

static size_t entries(const char *dir)
{
    AUTO_STRLIST names = STRLIST_INIT;
    assert_true(fs_list(dir, &names, &err));
    return names.n;
}

/* Run `body` in a child, as nobody when `drop`; true when it said so. Not being able to drop counts as
 * skipped. */
static bool in_child(bool (*body)(void), bool drop)
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (drop && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
            _exit(1);
        _exit(body() ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* -- writing -------------------------------------------------------------------------------------------- */

static void test_modes_whatever_the_umask(void **state)
{
    (void)state;
    static const mode_t umasks[] = {0, 022, 077, 0777}, modes[] = {0600, 0640, 0644, 0400};
    for (size_t u = 0; u < COUNT_OF(umasks); u++)
        for (size_t m = 0; m < COUNT_OF(modes); m++) {
            umask(umasks[u]);
            assert_true(fs_write(at("file"), "x", 1, modes[m], &err));
            umask(022);
            assert_int_equal(mode_of(at("file")), modes[m]);
        }
    umask(0777);
    assert_true(fs_mkdirs(at("d/e/f"), 0710, &err));
    umask(022);
    assert_int_equal(mode_of(at("d")), 0710);
    assert_int_equal(mode_of(at("d/e/f")), 0710);
    assert_true(fs_mkdirs(at("d/e/g"), 0755, &err));
    assert_int_equal(mode_of(at("d/e")), 0710); /* what was there is left as it was */
    assert_int_equal(mode_of(at("d/e/g")), 0755);
}

static void test_replaced_not_written_into(void **state)
{
    (void)state;
    struct stat before, after;
    put(at("file"), "old");
    assert_int_equal(chmod(at("file"), 0666), 0);
    int reader = open(at("file"), O_RDONLY | O_CLOEXEC);
    assert_true(reader >= 0 && fstat(reader, &before) == 0);
    assert_true(fs_write(at("file"), "new", 3, 0600, &err));
    assert_int_equal(lstat(at("file"), &after), 0);
    assert_true(before.st_ino != after.st_ino);
    assert_int_equal(after.st_mode & 07777, 0600);
    char old[4] = "";
    assert_int_equal(read(reader, old, 3), 3); /* who reads the old one reads it whole */
    assert_string_equal(old, "old");
    close(reader);
    expect_content(at("file"), "new");
    assert_int_equal(entries(root), 1);
}

static void test_empty_and_binary(void **state)
{
    (void)state;
    AUTO_BUF content = BUF_INIT;
    assert_true(fs_write(at("empty"), NULL, 0, 0600, &err));
    expect_content(at("empty"), "");
    assert_true(fs_write(at("binary"), "a\0b\n", 4, 0600, &err));
    assert_true(fs_read(at("binary"), 4, &content, &err));
    assert_int_equal(content.len, 4);
    assert_memory_equal(content.data, "a\0b\n", 4);
}

static void test_symlink_is_replaced_not_followed(void **state)
{
    (void)state;
    put(at("victim"), "precious");
    assert_int_equal(symlink("victim", at("link")), 0);
    put(at("link"), "mine");
    expect_content(at("victim"), "precious");
    expect_content(at("link"), "mine");
    struct stat st;
    assert_true(lstat(at("link"), &st) == 0 && S_ISREG(st.st_mode));
}

static void test_what_a_crash_left_is_removed(void **state)
{
    (void)state;
    put(at("victim"), "precious");
    put(at(".file.tlsup-new"), "half");
    put(at("file"), "whole");
    expect_content(at("file"), "whole");
    assert_false(fs_exists(at(".file.tlsup-new")));
    /* a left-over that is a trap */
    assert_int_equal(symlink("victim", at(".file.tlsup-new")), 0);
    put(at("file"), "again");
    expect_content(at("victim"), "precious");
    assert_int_equal(mkfifo(at(".file.tlsup-new"), 0600), 0);
    put(at("file"), "thrice");
    assert_int_equal(symlink("victim", at(".link.tlsup-new")), 0);
    assert_true(fs_symlink("file", at("link"), &err));
    assert_int_equal(entries(root), 3);
    /* what cannot be a left-over of ours is not removed */
    assert_int_equal(mkdir(at(".file.tlsup-new"), 0700), 0);
    assert_false(fs_write(at("file"), "x", 1, 0600, &err));
    expect_content(at("file"), "thrice");
}

static void test_write_to_impossible_places(void **state)
{
    (void)state;
    char name[300];
    assert_int_equal(mkdir(at("dir"), 0755), 0);
    put(at("plain"), "x");
    assert_false(fs_write(at("dir"), "x", 1, 0600, &err));
    assert_non_null(strstr(err.text, "dir"));
    err_clear(&err);
    assert_false(fs_write(at("missing/file"), "x", 1, 0600, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_string_equal(err.subject, at("missing/file"));
    err_clear(&err);
    assert_false(fs_write(at("plain/file"), "x", 1, 0600, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    err_clear(&err);
    memset(name, 'n', sizeof name);
    name[255] = '\0';
    assert_false(fs_write(at(name), "x", 1, 0600, &err));
    assert_int_equal(err.code, ERR_IO);
    err_clear(&err);
    assert_false(fs_write("/proc/version", "x", 1, 0600, &err));
    assert_true(err_isset(&err));
    assert_int_equal(entries(root), 2);
    assert_int_equal(entries(at("dir")), 0);
}

static bool refused_here(void)
{
    struct err why = ERR_INIT;
    return !fs_write(at("ro/file"), "new", 3, 0600, &why) && why.code == ERR_PERMISSION &&
           why.advice[0] != '\0' && !fs_remove(at("ro/file"), (err_clear(&why), &why)) &&
           why.code == ERR_PERMISSION && !fs_mkdirs(at("ro/dir"), 0700, (err_clear(&why), &why)) &&
           why.code == ERR_PERMISSION && !fs_symlink("x", at("ro/link"), (err_clear(&why), &why)) &&
           why.code == ERR_PERMISSION && !fs_rename(at("ro/file"), at("ro/other"), (err_clear(&why), &why)) &&
           why.code == ERR_PERMISSION && !fs_remove_tree(at("ro"), (err_clear(&why), &why)) &&
           why.code == ERR_PERMISSION;
}

/* The tree of another: nothing may be seen, and nothing may be claimed to be gone. */
static bool hidden_here(void)
{
    struct err why = ERR_INIT;
    AUTO_BUF content = BUF_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    return !fs_read(at("hidden/file"), 100, &content, &why) && why.code == ERR_PERMISSION &&
           !fs_list(at("hidden"), &names, (err_clear(&why), &why)) && why.code == ERR_PERMISSION &&
           !fs_remove_tree(at("hidden/dir"), (err_clear(&why), &why)) && why.code == ERR_PERMISSION &&
           !fs_remove(at("hidden/file"), (err_clear(&why), &why)) && why.code == ERR_PERMISSION;
}

static void test_without_permission(void **state)
{
    (void)state;
    bool is_root = geteuid() == 0;
    assert_int_equal(chmod(root, 0755), 0);
    assert_int_equal(mkdir(at("ro"), 0755), 0);
    put(at("ro/file"), "old");
    assert_int_equal(chmod(at("ro"), 0555), 0);
    assert_true(in_child(refused_here, is_root));
    assert_int_equal(chmod(at("ro"), 0755), 0);
    expect_content(at("ro/file"), "old");
    assert_int_equal(entries(at("ro")), 1);
    assert_int_equal(mkdir(at("hidden"), 0755), 0);
    assert_int_equal(mkdir(at("hidden/dir"), 0755), 0);
    put(at("hidden/file"), "secret");
    assert_int_equal(chmod(at("hidden"), 0000), 0);
    bool ok = in_child(hidden_here, is_root);
    assert_int_equal(chmod(at("hidden"), 0755), 0);
    assert_true(ok);
    assert_int_equal(chmod(root, 0700), 0);
}

/* -- a full disk ---------------------------------------------------------------------------------------- */

enum { EXIT_SKIP = 77 };

static bool small_disk(void)
{
    static char much[200000];
    struct err why = ERR_INIT;
    AUTO_BUF content = BUF_INIT;
    if (!fs_write(at("small/file"), "old", 3, 0600, &why))
        return false;
    memset(much, 'm', sizeof much);
    if (fs_write(at("small/file"), much, sizeof much, 0600, &why) || why.code != ERR_NO_SPACE ||
        why.advice[0] == '\0')
        return false;
    return fs_read(at("small/file"), 100, &content, (err_clear(&why), &why)) &&
           strcmp(buf_str(&content), "old") == 0 &&
           entries(at("small")) == 1; /* no left-over takes the space that is missing */
}

static bool tell_kernel(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* A mount namespace; without root, within a user namespace where we are root. */
static bool own_mounts(void)
{
    char users[64], groups[64];
    snprintf(users, sizeof users, "0 %ld 1\n", (long)geteuid());
    snprintf(groups, sizeof groups, "0 %ld 1\n", (long)getegid());
    if (unshare(CLONE_NEWNS) != 0 &&
        (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 || !tell_kernel("/proc/self/setgroups", "deny") ||
         !tell_kernel("/proc/self/uid_map", users) || !tell_kernel("/proc/self/gid_map", groups)))
        return false;
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static void test_full_disk(void **state)
{
    (void)state;
    int status = 0;
    assert_int_equal(mkdir(at("small"), 0755), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (!own_mounts() || mount("none", at("small"), "tmpfs", 0, "size=64k") != 0)
            _exit(EXIT_SKIP);
        _exit(small_disk() ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP) {
        print_message("no small file system can be mounted here\n");
        skip();
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* -- reading -------------------------------------------------------------------------------------------- */

static void test_read_limits(void **state)
{
    (void)state;
    AUTO_BUF content = BUF_INIT;
    AUTO_FREE char *much = mem_alloc(100001);
    memset(much, 'm', 100000);
    put(at("large"), much);
    assert_true(fs_read(at("large"), 100000, &content, &err));
    assert_int_equal(content.len, 100000);
    assert_true(fs_read(at("large"), 100000, &content, &err)); /* appends */
    assert_int_equal(content.len, 200000);
    buf_reset(&content);
    assert_false(fs_read(at("large"), 99999, &content, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_non_null(strstr(err.text, "larger than 99999 bytes"));
    err_clear(&err);
    assert_false(fs_read(at("large"), 0, &content, &err));
    put(at("empty"), "");
    err_clear(&err);
    buf_reset(&content);
    assert_true(fs_read(at("empty"), 0, &content, &err));
    assert_int_equal(content.len, 0);
}

static void test_read_what_is_no_file(void **state)
{
    (void)state;
    AUTO_BUF content = BUF_INIT;
    assert_int_equal(mkfifo(at("fifo"), 0600), 0);
    assert_int_equal(symlink("loop", at("loop")), 0);
    assert_int_equal(symlink("/nowhere/at/all", at("dangling")), 0);
    const struct {
        const char *path;
        enum err_code code;
        const char *is;
    } rows[] = {
        {at("missing"), ERR_NOT_FOUND, ""},     {at("dangling"), ERR_NOT_FOUND, ""},
        {at("fifo"), ERR_CONFIG, "but a pipe"}, {root, ERR_CONFIG, "but a directory"},
        {"/dev/zero", ERR_CONFIG, "a device"},  {at("loop"), ERR_IO, ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        err_clear(&err);
        assert_false(fs_read(rows[i].path, 1000, &content, &err));
        assert_int_equal(err.code, rows[i].code);
        assert_non_null(strstr(err.text, rows[i].path));
        assert_non_null(strstr(err.text, rows[i].is));
        assert_int_equal(content.len, 0);
    }
    /* /proc says that its files have no bytes */
    assert_true(fs_read("/proc/self/cmdline", 10000, &content, (err_clear(&err), &err)));
    assert_true(content.len > 0);
}

/* Some devices do things when they are opened, and whoever waits at the other end of a pipe goes on. */
static void test_what_is_no_file_is_not_opened(void **state)
{
    (void)state;
    AUTO_BUF content = BUF_INIT;
    char event[4096];
    assert_int_equal(mkfifo(at("fifo"), 0600), 0);
    put(at("file"), "x");
    int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    assert_true(watch >= 0 && inotify_add_watch(watch, at("fifo"), IN_OPEN) >= 0);
    assert_false(fs_read(at("fifo"), 10, &content, &err));
    assert_true(read(watch, event, sizeof event) == -1 && errno == EAGAIN);
    assert_true(inotify_add_watch(watch, at("file"), IN_OPEN) >= 0);
    assert_true(fs_read(at("file"), 10, &content, (err_clear(&err), &err)));
    assert_true(read(watch, event, sizeof event) > 0);
    close(watch);
}

static void test_no_descriptor_is_left_open(void **state)
{
    (void)state;
    struct fs_lock lock = FS_LOCK_INIT;
    AUTO_BUF content = BUF_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    int before = dup(0), after;
    close(before);
    put(at("a"), "x");
    (void)!fs_write(at("missing/a"), "x", 1, 0600, &err);
    (void)!fs_read(root, 5, &content, &err);
    (void)!fs_read(at("a"), 0, &content, &err);
    (void)!fs_list(root, &names, &err);
    (void)!fs_list(at("a"), &names, &err);
    (void)!fs_mkdirs(at("a/b"), 0700, &err);
    (void)!fs_lock(at("missing/lock"), &lock, &err);
    err_clear(&err);
    assert_true(fs_lock(at("lock"), &lock, &err));
    fs_unlock(&lock);
    fs_unlock(&lock);
    assert_true(fs_remove_tree(at("a"), &err));
    after = dup(0);
    close(after);
    assert_int_equal(before, after);
}

/* -- directories, links, removal ------------------------------------------------------------------------ */

static void test_mkdirs(void **state)
{
    (void)state;
    assert_true(fs_mkdirs(root, 0700, &err));
    assert_true(fs_mkdirs("/", 0700, &err));
    assert_true(fs_mkdirs(at("a/b/"), 0700, &err));
    assert_true(fs_mkdirs(at("a//b///c"), 0700, &err));
    assert_true(fs_is_dir(at("a/b/c")));
    assert_int_equal(symlink("a", at("link")), 0);
    assert_true(fs_mkdirs(at("link/d"), 0700, &err));
    assert_true(fs_is_dir(at("a/d")));
    put(at("file"), "x");
    assert_false(fs_mkdirs(at("file"), 0700, &err));
    assert_non_null(strstr(err.text, "in the way"));
    assert_false(fs_mkdirs(at("file/below"), 0700, (err_clear(&err), &err)));
    assert_int_equal(symlink("/nowhere/at/all", at("dangling")), 0);
    assert_false(fs_mkdirs(at("dangling"), 0700, (err_clear(&err), &err)));
    assert_false(fs_mkdirs("", 0700, (err_clear(&err), &err)));
}

static void test_symlink(void **state)
{
    (void)state;
    char target[64] = "";
    assert_true(fs_symlink("../certs/x/0001", at("live"), &err));
    assert_true(fs_symlink("../certs/x/0002", at("live"), &err));
    assert_int_equal(readlink(at("live"), target, sizeof target - 1), 15);
    assert_string_equal(target, "../certs/x/0002");
    assert_true(fs_exists(at("live"))); /* though it points nowhere */
    assert_false(fs_is_dir(at("live")));
    put(at("file"), "x");
    assert_false(fs_symlink("x", at("file"), &err));
    assert_int_equal(err.code, ERR_EXISTS);
    expect_content(at("file"), "x");
    assert_int_equal(mkdir(at("dir"), 0700), 0);
    assert_false(fs_symlink("x", at("dir"), (err_clear(&err), &err)));
    assert_true(fs_is_dir(at("dir")));
    assert_int_equal(entries(root), 3);
}

static void test_remove(void **state)
{
    (void)state;
    put(at("file"), "x");
    assert_true(fs_remove(at("file"), &err));
    assert_false(fs_exists(at("file")));
    assert_true(fs_remove(at("file"), &err));
    assert_true(fs_remove(at("no/such/dir/file"), &err));
    assert_int_equal(mkdir(at("dir"), 0700), 0);
    assert_false(fs_remove(at("dir"), &err));
    assert_true(fs_is_dir(at("dir")));
}

static void test_remove_tree(void **state)
{
    (void)state;
    put(at("outside"), "precious");
    assert_true(fs_mkdirs(at("elsewhere"), 0700, &err));
    put(at("elsewhere/kept"), "precious");
    assert_true(fs_mkdirs(at("tree/a/b/c"), 0700, &err));
    put(at("tree/a/file"), "x");
    put(at("tree/.hidden"), "x");
    assert_int_equal(symlink("../../outside", at("tree/a/link")), 0);
    assert_int_equal(symlink(at("elsewhere"), at("tree/dirlink")), 0);
    assert_int_equal(symlink(at("elsewhere"), at("alias")), 0);
    assert_int_equal(mkfifo(at("tree/fifo"), 0600), 0);
    assert_int_equal(chmod(at("tree/a/file"), 0), 0);
    assert_true(fs_remove_tree(at("tree"), &err));
    assert_false(fs_exists(at("tree")));
    expect_content(at("outside"), "precious");
    assert_true(fs_remove_tree(at("alias"), &err)); /* the link, not what it points to */
    expect_content(at("elsewhere/kept"), "precious");
    assert_true(fs_remove_tree(at("outside"), &err));
    assert_true(fs_remove_tree(at("tree"), &err));
    assert_true(fs_remove_tree(at("no/such/tree"), &err));
}

static void test_rename_and_list(void **state)
{
    (void)state;
    AUTO_STRLIST names = STRLIST_INIT;
    assert_true(fs_list(at("missing"), &names, &err));
    assert_int_equal(names.n, 0);
    put(at("c"), "c");
    put(at("a"), "a");
    put(at(".b"), "b");
    assert_true(fs_mkdirs(at("sub"), 0700, &err));
    assert_true(fs_rename(at("c"), at("sub/d"), &err));
    expect_content(at("sub/d"), "c");
    assert_true(fs_rename(at("a"), at("sub/d"), &err));
    expect_content(at("sub/d"), "a");
    assert_true(fs_list(root, &names, &err));
    assert_int_equal(names.n, 2);
    assert_string_equal(names.v[0], ".b");
    assert_string_equal(names.v[1], "sub");
    assert_false(fs_rename(at("a"), at("b"), &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_false(fs_list(at(".b"), &names, (err_clear(&err), &err)));
    assert_false(fs_sync_dir(at("nowhere"), (err_clear(&err), &err)));
    assert_false(fs_sync_dir(at(".b"), (err_clear(&err), &err)));
}

static void test_paths(void **state)
{
    (void)state;
    static const struct {
        const char *path, *dir;
    } dirs[] = {
        {"/a/b", "/a"},  {"/a", "/"},  {"/", "/"}, {"a", "."},  {"a/b", "a"},
        {"/a//b", "/a"}, {"//a", "/"}, {"", "."},  {"a/", "a"}, {"/a/b/c", "/a/b"},
    };
    static const struct {
        const char *dir, *name, *path;
    } joins[] = {{"/a", "b", "/a/b"}, {"/a/", "b", "/a/b"}, {"/", "b", "/b"}, {".", "b", "./b"}};
    for (size_t i = 0; i < COUNT_OF(dirs); i++) {
        AUTO_FREE char *dir = fs_dirname(dirs[i].path);
        assert_string_equal(dir, dirs[i].dir);
    }
    for (size_t i = 0; i < COUNT_OF(joins); i++) {
        AUTO_FREE char *path = fs_join(joins[i].dir, joins[i].name);
        assert_string_equal(path, joins[i].path);
    }
}

/* -- locks ---------------------------------------------------------------------------------------------- */

/* A process that holds the lock until it is ended; returns when it does. */
static pid_t holder(const char *path)
{
    int ready[2];
    char c = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct fs_lock lock = FS_LOCK_INIT;
        struct err why = ERR_INIT;
        if (fs_lock(path, &lock, &why) && write(ready[1], "x", 1) == 1)
            for (;;)
                pause();
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    return pid;
}

static void test_lock_between_processes(void **state)
{
    (void)state;
    struct fs_lock lock = FS_LOCK_INIT;
    char number[32];
    pid_t pid = holder(at("lock"));
    assert_int_equal(mode_of(at("lock")), 0600);
    assert_false(fs_lock(at("lock"), &lock, &err));
    assert_int_equal(err.code, ERR_LOCKED);
    assert_int_equal(lock.fd, -1);
    assert_int_equal(err_exit_status(&err), 5);
    snprintf(number, sizeof number, "process %ld ", (long)pid);
    assert_non_null(strstr(err.text, number));
    /* killed as hard as can be, it leaves no stale lock */
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(fs_exists(at("lock")));
    assert_true(fs_lock(at("lock"), &lock, (err_clear(&err), &err)));
    /* within one process it excludes as well */
    struct fs_lock again = FS_LOCK_INIT;
    assert_false(fs_lock(at("lock"), &again, &err));
    assert_int_equal(err.code, ERR_LOCKED);
    fs_unlock(&lock);
    assert_int_equal(lock.fd, -1);
    assert_true(fs_lock(at("lock"), &again, (err_clear(&err), &err)));
    fs_unlock(&again);
}

static void test_lock_file_of_somebody_else(void **state)
{
    (void)state;
    struct fs_lock lock = FS_LOCK_INIT;
    put(at("victim"), "precious");
    assert_int_equal(symlink("victim", at("link")), 0);
    assert_false(fs_lock(at("link"), &lock, &err));
    expect_content(at("victim"), "precious");
    assert_false(fs_lock(at("missing/lock"), &lock, (err_clear(&err), &err)));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_false(fs_lock(root, &lock, (err_clear(&err), &err)));
    /* what stands in it need not be a number */
    put(at("lock"), "\x1b[2J; rm -rf /");
    int fd = open(at("lock"), O_RDWR | O_CLOEXEC);
    pid_t pid = holder(at("lock"));
    assert_int_equal(pwrite(fd, "\x1b[2J; rm -rf /", 14, 0), 14);
    close(fd);
    assert_false(fs_lock(at("lock"), &lock, (err_clear(&err), &err)));
    assert_int_equal(err.code, ERR_LOCKED);
    assert_null(strstr(err.text, "rm -rf"));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_modes_whatever_the_umask, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replaced_not_written_into, setup, teardown),
        cmocka_unit_test_setup_teardown(test_empty_and_binary, setup, teardown),
        cmocka_unit_test_setup_teardown(test_symlink_is_replaced_not_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_a_crash_left_is_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_to_impossible_places, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_permission, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_what_is_no_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_file_is_not_opened, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_descriptor_is_left_open, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mkdirs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_symlink, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remove, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remove_tree, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rename_and_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_paths, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lock_between_processes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lock_file_of_somebody_else, setup, teardown),
    };
    if (mkdtemp(root) == NULL)
        return 99;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(root);
    return failed;
}
