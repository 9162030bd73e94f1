/* What `renew` remembers: it never hides a certificate of which anything has changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/cli/due.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

#define NOW_S INT64_C(1790000000)
#define DAY_S INT64_C(86400)
#define HOUR_S INT64_C(3600)

static char root[64];
static struct store *store;

static char *path_of(const char *name)
{
    return mem_fmt("%s/%s", root, name);
}

static void put(const char *name, const char *text)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *path = path_of(name);
    if (!fs_write(path, text, strlen(text), 0600, &err))
        fail_msg("%s", err.text);
}

static void drop(const char *name)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *path = path_of(name);
    if (!fs_remove_tree(path, &err))
        fail_msg("%s", err.text);
}

static void make_version(const char *name, const char *number)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *dir = mem_fmt("%s/var/certs/%s/%s", root, name, number);
    AUTO_FREE char *file = fs_join(dir, "cert.pem");
    if (!fs_mkdirs(dir, 0755, &err) || !fs_write(file, "cert", 4, 0644, &err))
        fail_msg("%s", err.text);
}

static void make_live(const char *name, const char *number)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *target = mem_fmt("../certs/%s/%s", name, number);
    AUTO_FREE char *link = mem_fmt("%s/var/live/%s", root, name);
    if (!fs_symlink(target, link, &err))
        fail_msg("%s", err.text);
}

static void add_cert(const char *name)
{
    AUTO_FREE char *config = mem_fmt("etc/certs.d/%s.conf", name);
    AUTO_FREE char *state = mem_fmt("var/state/%s.json", name);
    put(config, "names = a.test\n");
    put(state, "{}");
    make_version(name, "0001");
    make_version(name, "0002");
    make_live(name, "0002");
}

static void open_store(void)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *config = path_of("etc");
    AUTO_FREE char *state = path_of("var");
    if (!store_open(config, state, STORE_WRITE, &store, &err))
        fail_msg("%s", err.text);
}

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/test-due-XXXXXX");
    if (mkdtemp(root) == NULL)
        return -1;
    clock_freeze(NOW_S, 0);
    open_store();
    add_cert("a.test");
    add_cert("b.test");
    put("etc/tlsup.conf", "");
    return 0;
}

static int teardown(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    store_close(store);
    clock_thaw();
    return fs_remove_tree(root, &err) ? 0 : -1;
}

/* A run that finds that neither has anything to do before then. */
static void note_both(int64_t at_s)
{
    struct due *due = due_open(store);
    (void)due_later(due, "a.test");
    (void)due_later(due, "b.test");
    due_note(due, "a.test", at_s);
    due_note(due, "b.test", at_s);
    due_save(due);
    due_close(due);
}

/* What a later run need not look at: "a", "b", "ab", "". */
static void assert_later(const char *expected)
{
    struct due *due = due_open(store);
    bool a = due_later(due, "a.test"), b = due_later(due, "b.test");
    char seen[3] = "";
    snprintf(seen, sizeof seen, "%s%s", a ? "a" : "", b ? "b" : "");
    due_save(due);
    due_close(due);
    assert_string_equal(seen, expected);
}

static void test_nothing_to_do_until_then(void **state)
{
    struct stat st;
    AUTO_FREE char *path = path_of("var/due.index");
    (void)state;
    assert_later("");
    assert_int_equal(stat(path, &st), -1); /* nothing was noted */
    note_both(NOW_S + HOUR_S);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_later("ab");
    clock_freeze(NOW_S + HOUR_S - 1, 0);
    assert_later("ab");
    clock_freeze(NOW_S + HOUR_S, 0);
    assert_later("");
}

static void test_a_day_at_most(void **state)
{
    (void)state;
    note_both(NOW_S + 60 * DAY_S);
    clock_freeze(NOW_S + 12 * HOUR_S, 0);
    assert_later("ab");
    clock_freeze(NOW_S + DAY_S, 0);
    assert_later("");
    clock_freeze(NOW_S, 0);
    note_both(INT64_MAX);
    assert_later("ab");
    clock_freeze(NOW_S + DAY_S, 0);
    assert_later("");
}

static void test_what_is_due_is_not_noted(void **state)
{
    (void)state;
    note_both(NOW_S);
    assert_later("");
    note_both(INT64_MIN);
    assert_later("");
}

static void test_a_clock_that_was_set_back(void **state)
{
    (void)state;
    note_both(NOW_S + HOUR_S);
    clock_freeze(NOW_S - 1, 0);
    assert_later("");
    clock_freeze(NOW_S - 400 * DAY_S, 0);
    assert_later("");
}

static void touch(const char *name)
{
    const struct timespec now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
    AUTO_FREE char *path = path_of(name);
    assert_int_equal(utimensat(AT_FDCWD, path, now, 0), 0);
}

static void edit_in_place(const char *name, const char *text)
{
    AUTO_FREE char *path = path_of(name);
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static void change_config(void)
{
    put("etc/certs.d/a.test.conf", "names = a.test\n"); /* the same text, but a new file */
}

static void edit_config(void)
{
    edit_in_place("etc/certs.d/a.test.conf", "names = c.test\n"); /* of the same size */
}

static void chmod_config(void)
{
    AUTO_FREE char *path = path_of("etc/certs.d/a.test.conf");
    assert_int_equal(chmod(path, 0666), 0);
}

static void drop_config(void)
{
    drop("etc/certs.d/a.test.conf");
}

static void backdate_config(void)
{
    const struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    AUTO_FREE char *path = path_of("etc/certs.d/a.test.conf");
    edit_in_place("etc/certs.d/a.test.conf", "names = d.test\n");
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
}

static void change_state(void)
{
    put("var/state/a.test.json", "[]");
}

static void drop_state(void)
{
    drop("var/state/a.test.json");
}

static void restore_version(void)
{
    make_live("a.test", "0001");
}

static void drop_live(void)
{
    drop("var/live/a.test");
}

static void drop_key(void)
{
    drop("var/certs/a.test/0002/cert.pem");
}

static void rename_cert(void)
{
    AUTO_FREE char *from = path_of("etc/certs.d/b.test.conf");
    AUTO_FREE char *to = path_of("etc/certs.d/a.test.conf");
    assert_int_equal(rename(from, to), 0);
    put("etc/certs.d/b.test.conf", "names = b.test\n");
}

static void change_defaults(void)
{
    put("etc/tlsup.conf", "server = https://ca.test/dir\n");
}

static void drop_defaults(void)
{
    drop("etc/tlsup.conf");
}

static void touch_defaults(void)
{
    touch("etc/tlsup.conf");
}

static void test_every_change_is_noticed(void **state)
{
    static const struct {
        void (*change)(void);
        const char *later;
    } rows[] = {
        {change_config, "b"},   {edit_config, "b"},   {chmod_config, "b"}, {drop_config, "b"},
        {backdate_config, "b"}, {change_state, "b"},  {drop_state, "b"},   {restore_version, "b"},
        {drop_live, "b"},       {drop_key, "b"},      {rename_cert, ""},   {change_defaults, ""},
        {drop_defaults, ""},    {touch_defaults, ""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        add_cert("a.test");
        add_cert("b.test");
        put("etc/tlsup.conf", "");
        note_both(NOW_S + HOUR_S);
        assert_later("ab");
        usleep(20000); /* the file system's clock is no finer than the kernel's tick */
        rows[i].change();
        struct due *due = due_open(store);
        bool a = due_later(due, "a.test"), b = due_later(due, "b.test");
        due_close(due);
        if (a != (strchr(rows[i].later, 'a') != NULL) || b != (strchr(rows[i].later, 'b') != NULL))
            fail_msg("row %zu: a %d, b %d", i, a, b);
    }
}

/* Between the reading of the configuration and the note a person edits it. */
static void test_a_change_while_it_is_looked_at(void **state)
{
    (void)state;
    struct due *due = due_open(store);
    assert_false(due_later(due, "a.test"));
    assert_false(due_later(due, "b.test"));
    usleep(20000);
    edit_config();
    due_note(due, "a.test", NOW_S + HOUR_S);
    due_note(due, "b.test", NOW_S + HOUR_S);
    due_save(due);
    due_close(due);
    assert_later("b");
}

/* The state is our own to write: a run saves it, then notes. */
static void test_a_state_that_the_run_itself_wrote(void **state)
{
    (void)state;
    struct due *due = due_open(store);
    assert_false(due_later(due, "a.test"));
    change_state();
    due_note(due, "a.test", NOW_S + HOUR_S);
    due_save(due);
    due_close(due);
    assert_later("a");
}

static void test_new_ones_and_lost_ones(void **state)
{
    AUTO_BUF text = BUF_INIT;
    struct err err = ERR_INIT;
    AUTO_FREE char *path = path_of("var/due.index");
    (void)state;
    note_both(NOW_S + HOUR_S);
    add_cert("aa.test");
    struct due *due = due_open(store);
    assert_true(due_later(due, "a.test"));
    assert_false(due_later(due, "aa.test"));
    due_note(due, "aa.test", NOW_S + HOUR_S); /* b.test is no more: nobody asked for it */
    due_note(due, "zz.test", NOW_S + HOUR_S); /* nobody asked for this one, either */
    due_save(due);
    due_close(due);
    assert_later("a");
    assert_true(fs_read(path, 65536, &text, &err));
    assert_non_null(strstr(buf_str(&text), " aa.test\n"));
    assert_null(strstr(buf_str(&text), "b.test"));
    assert_null(strstr(buf_str(&text), "zz.test"));
}

static void test_names_in_any_order(void **state)
{
    static const char *const names[] = {"m.test", "a.test", "z.test", "b.test"};
    (void)state;
    add_cert("m.test");
    add_cert("z.test");
    struct due *due = due_open(store);
    for (size_t i = 0; i < COUNT_OF(names); i++)
        assert_false(due_later(due, names[i]));
    for (size_t i = 0; i < COUNT_OF(names); i++)
        due_note(due, names[i], NOW_S + HOUR_S);
    due_save(due);
    due_close(due);
    due = due_open(store);
    for (size_t i = 0; i < COUNT_OF(names); i++)
        assert_true(due_later(due, names[i]));
    due_close(due);
}

/* Every byte of it flipped, and every length: what is damaged no longer counts, the rest may. */
static void test_a_damaged_index(void **state)
{
    AUTO_BUF text = BUF_INIT;
    struct err err = ERR_INIT;
    AUTO_FREE char *path = path_of("var/due.index");
    (void)state;
    note_both(NOW_S + HOUR_S);
    assert_true(fs_read(path, 65536, &text, &err));
    size_t half = (size_t)(strchr(text.data, '\n') - text.data) + 1;
    for (size_t i = 0; i < text.len; i++)
        for (int bit = 0; bit < 8; bit += 3) {
            text.data[i] = (char)(text.data[i] ^ (1 << bit));
            assert_true(fs_write(path, text.data, text.len, 0600, &err));
            struct due *due = due_open(store);
            bool a = due_later(due, "a.test"), b = due_later(due, "b.test");
            due_close(due);
            text.data[i] = (char)(text.data[i] ^ (1 << bit));
            if (i < half ? a : b)
                fail_msg("byte %zu, bit %d is not noticed", i, bit);
        }
    for (size_t len = 0; len < text.len; len++) {
        assert_true(fs_write(path, text.data, len, 0600, &err));
        assert_later(len < half ? "" : "a");
    }
}

static void test_a_hostile_index(void **state)
{
    static const char *const texts[] = {
        "",
        "\n\n\n",
        "x",
        "0 0 0 a.test\n",
        "00000000000000000000000000000000 99999999999999999999999999 0 a.test\n",
        "00000000000000000000000000000000 1790000100 1789999999 a.test\n",
        "00000000000000000000000000000000 1790000100 -1 a.test\n",
        "00000000000000000000000000000000 1790000100 1789999999 ../../etc/shadow\n",
        "00000000000000000000000000000000 1790000100 1789999999 \n",
        "00000000000000000000000000000000 1790000100 1789999999",
        "00000000000000000000000000000000 1790000100 1789999999 %s%n%s%n\n",
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        put("var/due.index", texts[i]);
        assert_later("");
    }
    AUTO_BUF large = BUF_INIT;
    AUTO_FREE char *path = path_of("var/due.index");
    struct err err = ERR_INIT;
    for (int i = 0; i < 100000; i++)
        buf_add(&large, "\0\n\xff", 3);
    assert_true(fs_write(path, large.data, large.len, 0600, &err));
    assert_later("");
    note_both(NOW_S + HOUR_S); /* it is made anew */
    assert_later("ab");
}

/* Lines of another store, or moved between certificates. */
static void test_lines_of_others(void **state)
{
    AUTO_BUF text = BUF_INIT;
    struct err err = ERR_INIT;
    AUTO_FREE char *path = path_of("var/due.index");
    (void)state;
    note_both(NOW_S + HOUR_S);
    assert_true(fs_read(path, 65536, &text, &err));
    char *a = strstr(text.data, "a.test"), *b = strstr(text.data, "b.test");
    a[0] = 'b'; /* out of order, too */
    b[0] = 'a';
    assert_true(fs_write(path, text.data, text.len, 0600, &err));
    assert_later("");
}

static void test_an_index_that_is_no_file(void **state)
{
    AUTO_FREE char *path = path_of("var/due.index");
    (void)state;
    assert_int_equal(mkdir(path, 0700), 0);
    note_both(NOW_S + HOUR_S); /* cannot be written: a warning, and no more */
    assert_later("");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_later("");
    note_both(NOW_S + HOUR_S);
    assert_later("ab");
}

/* With nothing new nothing is written. */
static void test_a_quiet_run_writes_nothing(void **state)
{
    struct stat before, after;
    AUTO_FREE char *path = path_of("var/due.index");
    (void)state;
    note_both(NOW_S + HOUR_S);
    assert_int_equal(stat(path, &before), 0);
    assert_later("ab");
    assert_int_equal(stat(path, &after), 0);
    assert_true(before.st_ino == after.st_ino && before.st_ctim.tv_sec == after.st_ctim.tv_sec &&
                before.st_ctim.tv_nsec == after.st_ctim.tv_nsec);
}

static void test_store_without_its_directories(void **state)
{
    (void)state;
    note_both(NOW_S + HOUR_S);
    drop("etc/certs.d");
    assert_later("");
    drop("var/state");
    drop("var/live");
    assert_later("");
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_to_do_until_then),
        TEST(test_a_day_at_most),
        TEST(test_what_is_due_is_not_noted),
        TEST(test_a_clock_that_was_set_back),
        TEST(test_every_change_is_noticed),
        TEST(test_a_change_while_it_is_looked_at),
        TEST(test_a_state_that_the_run_itself_wrote),
        TEST(test_new_ones_and_lost_ones),
        TEST(test_names_in_any_order),
        TEST(test_a_damaged_index),
        TEST(test_a_hostile_index),
        TEST(test_lines_of_others),
        TEST(test_an_index_that_is_no_file),
        TEST(test_a_quiet_run_writes_nothing),
        TEST(test_store_without_its_directories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
