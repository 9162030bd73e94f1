/*
 * test_webroot.c - a token below the web root is readable by the web server, and nothing else there is
 * touched.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/webroot.h"

#define EXIT_SKIP 77
#define TOKEN "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
#define KEY_AUTHORIZATION TOKEN ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"

struct place {
    char top[64];  /* a directory of the test alone */
    char root[80]; /* top/www */
};

static char *below(const struct place *place, const char *path)
{
    return fs_join(place->root, path);
}

static int setup(void **state)
{
    struct place *place = mem_alloc(sizeof *place);
    snprintf(place->top, sizeof place->top, "/tmp/test_webroot.XXXXXX");
    if (mkdtemp(place->top) == NULL || chmod(place->top, 0755) != 0)
        return -1;
    snprintf(place->root, sizeof place->root, "%s/www", place->top);
    *state = place;
    return mkdir(place->root, 0755);
}

static int teardown(void **state)
{
    struct place *place = *state;
    struct err err = ERR_INIT;
    bool removed = fs_remove_tree(place->top, &err);
    free(place);
    return removed ? 0 : -1;
}

static void put(const char *path, const char *text)
{
    struct err err = ERR_INIT;
    assert_true(fs_write(path, text, strlen(text), 0600, &err));
}

static void expect_content(const char *path, const char *text)
{
    struct err err = ERR_INIT;
    AUTO_BUF content = BUF_INIT;
    if (!fs_read(path, 65536, &content, &err))
        fail_msg("%s", err.text);
    assert_string_equal(buf_str(&content), text);
    assert_int_equal(content.len, strlen(text));
}

static void expect_mode(const char *path, mode_t mode)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, mode);
}

/* The names in a directory, joined. */
static void expect_list(const char *dir, const char *names)
{
    struct err err = ERR_INIT;
    AUTO_STRLIST list = STRLIST_INIT;
    assert_true(fs_list(dir, &list, &err));
    AUTO_FREE char *joined = strlist_join(&list, " ");
    assert_string_equal(joined, names);
}

static void present(const struct place *place, const char *token, const char *text)
{
    struct err err = ERR_INIT;
    if (!webroot_present(place->root, token, text, &err))
        fail_msg("%s", err.text);
}

static void take_away(const struct place *place, const char *token)
{
    struct err err = ERR_INIT;
    if (!webroot_remove(place->root, token, &err))
        fail_msg("%s", err.text);
}

static void expect_refused(const char *root, const char *token, enum err_code code, const char *reason)
{
    struct err err = ERR_INIT;
    assert_false(webroot_present(root, token, KEY_AUTHORIZATION, &err));
    if (err.code != code || strstr(err.text, reason) == NULL)
        fail_msg("%s: %s", err_code_name(err.code), err.text);
}

static void test_present_and_remove(void **state)
{
    const struct place *place = *state;
    AUTO_FREE char *file = below(place, ".well-known/acme-challenge/" TOKEN);
    AUTO_FREE char *dir = below(place, ".well-known/acme-challenge");
    AUTO_FREE char *outer = below(place, ".well-known");
    static const mode_t masks[] = {0, 022, 077, 0777};
    for (size_t i = 0; i < COUNT_OF(masks); i++) {
        mode_t before = umask(masks[i]);
        present(place, TOKEN, KEY_AUTHORIZATION);
        umask(before);
        expect_content(file, KEY_AUTHORIZATION);
        expect_mode(file, 0644);
        expect_mode(dir, 0755);
        expect_mode(outer, 0755);
        expect_list(dir, TOKEN);
        take_away(place, TOKEN);
        expect_list(place->root, "");
    }
}

static void test_root_with_a_slash_or_a_symlink(void **state)
{
    const struct place *place = *state;
    struct err err = ERR_INIT;
    AUTO_FREE char *link = fs_join(place->top, "link");
    AUTO_FREE char *slashed = mem_fmt("%s//", place->root);
    AUTO_FREE char *file = below(place, ".well-known/acme-challenge/" TOKEN);
    assert_int_equal(symlink(place->root, link), 0);
    assert_true(webroot_present(link, TOKEN, "one", &err));
    expect_content(file, "one");
    assert_true(webroot_present(slashed, TOKEN, "two", &err));
    expect_content(file, "two");
    assert_true(webroot_remove(link, TOKEN, &err));
    expect_list(place->root, "");
}

static void test_two_tokens_and_replacement(void **state)
{
    const struct place *place = *state;
    AUTO_FREE char *dir = below(place, ".well-known/acme-challenge");
    AUTO_FREE char *b = below(place, ".well-known/acme-challenge/b");
    present(place, "a", "1");
    present(place, "b", "2");
    present(place, "b", "3");
    expect_content(b, "3");
    expect_list(dir, "a b");
    take_away(place, "a");
    expect_list(dir, "b");
    take_away(place, "a");
    take_away(place, "b");
    expect_list(place->root, "");
    take_away(place, "b");
}

static void test_other_files_are_kept(void **state)
{
    const struct place *place = *state;
    AUTO_FREE char *outer = below(place, ".well-known");
    AUTO_FREE char *security = below(place, ".well-known/security.txt");
    assert_int_equal(mkdir(outer, 0755), 0);
    put(security, "Contact: x");
    present(place, TOKEN, KEY_AUTHORIZATION);
    take_away(place, TOKEN);
    expect_list(outer, "security.txt");
    expect_content(security, "Contact: x");
    expect_mode(security, 0600);
}

/* Directories that a person made with another mode or owner stay, with that mode. */
static void test_directories_of_others_are_kept(void **state)
{
    const struct place *place = *state;
    AUTO_FREE char *outer = below(place, ".well-known");
    AUTO_FREE char *dir = below(place, ".well-known/acme-challenge");
    assert_int_equal(mkdir(outer, 0755), 0);
    assert_int_equal(mkdir(dir, 0755), 0);
    assert_int_equal(chmod(dir, 0775), 0);
    present(place, TOKEN, KEY_AUTHORIZATION);
    take_away(place, TOKEN);
    expect_mode(dir, 0775);
    if (geteuid() != 0)
        return; /* only root can give a directory away */
    assert_int_equal(chmod(dir, 0755), 0);
    assert_int_equal(chown(dir, 65534, 65534), 0);
    present(place, TOKEN, KEY_AUTHORIZATION);
    take_away(place, TOKEN);
    assert_true(fs_is_dir(dir));
}

static void test_hostile_tokens(void **state)
{
    const struct place *place = *state;
    char huge[4097], just_too_long[130], longest[129];
    memset(huge, 'a', sizeof huge - 1);
    memset(just_too_long, 'a', sizeof just_too_long - 1);
    memset(longest, 'a', sizeof longest - 1);
    huge[sizeof huge - 1] = just_too_long[sizeof just_too_long - 1] = longest[sizeof longest - 1] = '\0';
    const char *const tokens[] = {
        "",      ".",  "..",  "../../x", "a/b",   "/etc/passwd", "a.b",     "a b", "a\n",         "a%2e",
        "tökén", "a=", "a+b", ".a.new",  "\xFFx", "a\\b",        "a;id\"'", huge,  just_too_long, NULL};
    for (size_t i = 0; i < COUNT_OF(tokens); i++) {
        struct err err = ERR_INIT;
        expect_refused(place->root, tokens[i], ERR_PROTOCOL, "base64url");
        assert_false(webroot_remove(place->root, tokens[i], &err));
        assert_int_equal(err.code, ERR_PROTOCOL);
    }
    expect_list(place->root, "");
    expect_list(place->top, "www");
    present(place, longest, "x");
    take_away(place, longest);
    expect_list(place->root, "");
}

static void test_bad_roots(void **state)
{
    const struct place *place = *state;
    struct err err = ERR_INIT;
    AUTO_FREE char *missing = fs_join(place->top, "nowhere");
    AUTO_FREE char *file = fs_join(place->top, "file");
    AUTO_FREE char *under_file = fs_join(file, "www");
    AUTO_FREE char *dangling = fs_join(place->top, "dangling");
    AUTO_FREE char *loop = fs_join(place->top, "loop");
    put(file, "x");
    assert_int_equal(symlink("nothing-here", dangling), 0);
    assert_int_equal(symlink("loop", loop), 0);
    expect_refused(missing, TOKEN, ERR_CONFIG, "does not exist");
    expect_refused(dangling, TOKEN, ERR_CONFIG, "does not exist");
    expect_refused(file, TOKEN, ERR_CONFIG, "is not a directory");
    expect_refused(under_file, TOKEN, ERR_CONFIG, "is not a directory");
    expect_refused(loop, TOKEN, ERR_CONFIG, "is not a directory");
    expect_refused("", TOKEN, ERR_CONFIG, "empty");
    expect_refused(NULL, TOKEN, ERR_CONFIG, "empty");
    assert_false(webroot_present(missing, TOKEN, "x", &err));
    assert_string_equal(err.subject, missing);
    assert_non_null(strstr(err.advice, "web server serves"));
    err_clear(&err);
    assert_true(webroot_remove(missing, TOKEN, &err));
    assert_false(webroot_remove(file, TOKEN, &err));
}

/* Below the root another user may have put a symlink: what it leads to is neither written nor removed. */
static void test_symlinks_below_root_are_refused(void **state)
{
    const struct place *place = *state;
    AUTO_FREE char *outside = fs_join(place->top, "outside");
    AUTO_FREE char *inner = fs_join(outside, "acme-challenge");
    AUTO_FREE char *victim = fs_join(inner, TOKEN);
    AUTO_FREE char *well_known = below(place, ".well-known");
    AUTO_FREE char *challenge = below(place, ".well-known/acme-challenge");
    assert_int_equal(mkdir(outside, 0755), 0);
    assert_int_equal(mkdir(inner, 0755), 0);
    put(victim, "precious");
    for (int level = 0; level < 2; level++) {
        struct err err = ERR_INIT;
        if (level == 0) {
            assert_int_equal(symlink(outside, well_known), 0);
        } else {
            assert_int_equal(unlink(well_known), 0);
            assert_int_equal(mkdir(well_known, 0755), 0);
            assert_int_equal(symlink(inner, challenge), 0);
        }
        expect_refused(place->root, TOKEN, ERR_CONFIG, "is a symlink");
        assert_false(webroot_remove(place->root, TOKEN, &err));
        assert_int_equal(err.code, ERR_CONFIG);
        expect_content(victim, "precious");
        expect_list(inner, TOKEN);
    }
    /* a dangling one, and one that stays inside */
    assert_int_equal(unlink(challenge), 0);
    assert_int_equal(symlink("nothing", challenge), 0);
    expect_refused(place->root, TOKEN, ERR_CONFIG, "is a symlink");
    expect_list(well_known, "acme-challenge");
}

static void test_token_that_is_a_symlink_is_replaced(void **state)
{
    const struct place *place = *state;
    AUTO_FREE char *victim = fs_join(place->top, "victim");
    AUTO_FREE char *file = below(place, ".well-known/acme-challenge/" TOKEN);
    AUTO_FREE char *temporary = below(place, ".well-known/acme-challenge/." TOKEN ".new");
    struct stat st;
    put(victim, "precious");
    present(place, "other", "x");
    assert_int_equal(symlink(victim, file), 0);
    assert_int_equal(symlink(victim, temporary), 0);
    present(place, TOKEN, KEY_AUTHORIZATION);
    expect_content(victim, "precious");
    expect_mode(victim, 0600);
    assert_int_equal(lstat(file, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    expect_content(file, KEY_AUTHORIZATION);
    assert_false(fs_exists(temporary));
}

static void test_leftover_of_a_killed_run(void **state)
{
    const struct place *place = *state;
    AUTO_FREE char *dir = below(place, ".well-known/acme-challenge");
    AUTO_FREE char *temporary = below(place, ".well-known/acme-challenge/." TOKEN ".new");
    present(place, TOKEN, "x");
    put(temporary, "half");
    take_away(place, TOKEN);
    expect_list(place->root, "");
    present(place, "other", "x");
    put(temporary, "half");
    present(place, TOKEN, KEY_AUTHORIZATION);
    expect_list(dir, TOKEN " other");
}

static void test_other_things_in_the_way(void **state)
{
    const struct place *place = *state;
    struct err err = ERR_INIT;
    AUTO_FREE char *outer = below(place, ".well-known");
    AUTO_FREE char *dir = below(place, ".well-known/acme-challenge");
    AUTO_FREE char *file = below(place, ".well-known/acme-challenge/" TOKEN);
    put(outer, "a file");
    expect_refused(place->root, TOKEN, ERR_CONFIG, "is not a directory");
    expect_content(outer, "a file");
    assert_int_equal(unlink(outer), 0);
    assert_int_equal(mkdir(outer, 0755), 0);
    assert_int_equal(mkfifo(dir, 0644), 0); /* must not hang */
    expect_refused(place->root, TOKEN, ERR_CONFIG, "is not a directory");
    assert_int_equal(unlink(dir), 0);
    assert_int_equal(mkdir(dir, 0755), 0);
    assert_int_equal(mkdir(file, 0755), 0);
    assert_false(webroot_present(place->root, TOKEN, "x", &err));
    assert_string_equal(err.subject, file);
    expect_list(dir, TOKEN);
    err_clear(&err);
    assert_false(webroot_remove(place->root, TOKEN, &err));
    assert_true(fs_is_dir(file));
}

/* -- in a child: other users, other mounts --------------------------------------------------------------- */

static int in_child(int (*body)(const struct place *), const struct place *place)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(body(place));
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void expect_child(int (*body)(const struct place *), const struct place *place)
{
    int status = in_child(body, place);
    if (status == EXIT_SKIP) {
        print_message("needs root and a mount namespace\n");
        skip();
    }
    assert_int_equal(status, 0);
}

static bool is_empty(const char *dir)
{
    struct err err = ERR_INIT;
    AUTO_STRLIST list = STRLIST_INIT;
    return fs_list(dir, &list, &err) && list.n == 0;
}

static bool mount_tmpfs(const char *where, const char *options)
{
    static bool isolated;
    if (!isolated && (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0))
        return false;
    isolated = true;
    return mount("none", where, "tmpfs", 0, options) == 0;
}

static int no_permission(const struct place *place)
{
    struct err err = ERR_INIT;
    if (geteuid() != 0 || setgid(65534) != 0 || setuid(65534) != 0)
        return EXIT_SKIP;
    if (webroot_present(place->root, TOKEN, "x", &err) || err.code != ERR_PERMISSION || err.advice[0] == '\0')
        return 1;
    return is_empty(place->root) ? 0 : 2;
}

static void test_no_permission(void **state)
{
    expect_child(no_permission, *state);
}

static int no_permission_to_remove(const struct place *place)
{
    struct err err = ERR_INIT;
    if (geteuid() != 0 || setgid(65534) != 0 || setuid(65534) != 0)
        return EXIT_SKIP;
    if (webroot_remove(place->root, TOKEN, &err) || err.code != ERR_PERMISSION)
        return 1;
    AUTO_FREE char *file = below(place, ".well-known/acme-challenge/" TOKEN);
    return fs_exists(file) ? 0 : 2;
}

static void test_no_permission_to_remove(void **state)
{
    present(*state, TOKEN, "x");
    expect_child(no_permission_to_remove, *state);
}

static int read_only(const struct place *place)
{
    struct err err = ERR_INIT;
    if (!mount_tmpfs(place->root, "size=1m") ||
        mount(NULL, place->root, NULL, MS_REMOUNT | MS_RDONLY, NULL) != 0)
        return EXIT_SKIP;
    if (webroot_present(place->root, TOKEN, "x", &err) || err.code != ERR_PERMISSION ||
        strstr(err.advice, "read-only") == NULL)
        return 1;
    err_clear(&err);
    return webroot_remove(place->root, TOKEN, &err) ? 0 : 2;
}

static void test_read_only_root(void **state)
{
    expect_child(read_only, *state);
}

/* Room for one more thing each time: whichever step is the first to fail, nothing is left. */
static int disk_full(const struct place *place)
{
    bool failed_at_least_once = false;
    for (int inodes = 1; inodes < 8; inodes++) {
        struct err err = ERR_INIT;
        char options[32];
        snprintf(options, sizeof options, "nr_inodes=%d", inodes);
        if (!mount_tmpfs(place->root, options))
            return EXIT_SKIP;
        bool good = webroot_present(place->root, TOKEN, "x", &err);
        if (!good && (err.code != ERR_NO_SPACE || !is_empty(place->root)))
            return 1;
        failed_at_least_once |= !good;
        if (umount(place->root) != 0)
            return 2;
        if (good)
            return failed_at_least_once ? 0 : 3;
    }
    return 4;
}

static void test_disk_full_of_files(void **state)
{
    expect_child(disk_full, *state);
}

static int no_blocks(const struct place *place)
{
    struct err err = ERR_INIT;
    char block[4096];
    memset(block, 'x', sizeof block);
    if (!mount_tmpfs(place->root, "size=64k"))
        return EXIT_SKIP;
    AUTO_FREE char *filler = below(place, "filler");
    int fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return 1;
    while (write(fd, block, sizeof block) > 0)
        continue;
    close(fd);
    if (webroot_present(place->root, TOKEN, "x", &err) || err.code != ERR_NO_SPACE)
        return 2;
    return unlink(filler) == 0 && is_empty(place->root) ? 0 : 3;
}

static void test_disk_full_of_bytes(void **state)
{
    expect_child(no_blocks, *state);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_present_and_remove),
        EACH(test_root_with_a_slash_or_a_symlink),
        EACH(test_two_tokens_and_replacement),
        EACH(test_other_files_are_kept),
        EACH(test_directories_of_others_are_kept),
        EACH(test_hostile_tokens),
        EACH(test_bad_roots),
        EACH(test_symlinks_below_root_are_refused),
        EACH(test_token_that_is_a_symlink_is_replaced),
        EACH(test_leftover_of_a_killed_run),
        EACH(test_other_things_in_the_way),
        EACH(test_no_permission),
        EACH(test_no_permission_to_remove),
        EACH(test_read_only_root),
        EACH(test_disk_full_of_files),
        EACH(test_disk_full_of_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
