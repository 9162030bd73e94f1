/*
 * test_txn_show.c - what is staged, carried out in a copy: there it is all as it will be, and where it
 * belongs nothing has happened.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/txn.h"

struct world {
    char *top, *real, *copy, *journal;
    struct txn *txn;
    int copy_fd;
};

static void must(bool ok, const struct err *err)
{
    if (!ok)
        fail_msg("%s: %s: %s", err_code_name(err->code), err->subject, err->text);
}

static void put(const char *dir, const char *name, const char *text, mode_t mode)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *path = fs_join(dir, name);
    must(fs_write(path, text, strlen(text), mode, &err), &err);
}

/* Both directories hold what there is: "site" (0640), "old", and the link "on" to it. */
static int furnish(void **state)
{
    struct err err = ERR_INIT;
    struct world *world = mem_alloc(sizeof *world);
    world->top = mem_dup("/tmp/tlsup-show-XXXXXX");
    assert_non_null(mkdtemp(world->top));
    world->real = fs_join(world->top, "real");
    world->copy = fs_join(world->top, "copy");
    world->journal = fs_join(world->top, "journal");
    const char *dirs[] = {world->real, world->copy};
    assert_int_equal(mkdir(world->journal, 0700), 0);
    for (size_t i = 0; i < COUNT_OF(dirs); i++) {
        AUTO_FREE char *link = fs_join(dirs[i], "on");
        assert_int_equal(mkdir(dirs[i], 0755), 0);
        put(dirs[i], "site", "listen 80\n", 0640);
        put(dirs[i], "old", "old\n", 0644);
        must(fs_symlink("old", link, &err), &err);
    }
    world->copy_fd = open(world->copy, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(txn_begin(world->journal, "example.org", "a look", &world->txn, &err), &err);
    *state = world;
    return 0;
}

static int clear(void **state)
{
    struct world *world = *state;
    struct err err = ERR_INIT;
    txn_free(world->txn);
    close(world->copy_fd);
    must(fs_remove_tree(world->top, &err), &err);
    free(world->top);
    free(world->real);
    free(world->copy);
    free(world->journal);
    free(world);
    return 0;
}

static void stage(struct world *world)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *site = fs_join(world->real, "site");
    AUTO_FREE char *new = fs_join(world->real, "new");
    AUTO_FREE char *on = fs_join(world->real, "on");
    AUTO_FREE char *old = fs_join(world->real, "old");
    must(txn_write(world->txn, site, "listen 443\n", 11, 0600, &err), &err);
    must(txn_write(world->txn, new, "new\n", 4, 0604, &err), &err);
    must(txn_symlink(world->txn, on, "new", &err), &err);
    must(txn_unlink(world->txn, old, &err), &err);
}

static int copy_of(void *ctx, const char *real_dir)
{
    const struct world *world = ctx;
    AUTO_FREE char *real = realpath(world->real, NULL);
    assert_string_equal(real_dir, real);
    return world->copy_fd;
}

static int none(void *ctx, const char *real_dir)
{
    (void)ctx;
    (void)real_dir;
    return -1;
}

static void assert_file(const char *dir, const char *name, const char *text, mode_t mode)
{
    AUTO_FREE char *path = fs_join(dir, name);
    AUTO_BUF data = BUF_INIT;
    struct err err = ERR_INIT;
    struct stat st;
    must(fs_read(path, 4096, &data, &err), &err);
    assert_string_equal(buf_str(&data), text);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, mode);
}

static void assert_link(const char *dir, const char *name, const char *target)
{
    char seen[64] = "";
    AUTO_FREE char *path = fs_join(dir, name);
    assert_true(readlink(path, seen, sizeof seen - 1) > 0);
    assert_string_equal(seen, target);
}

static void assert_untouched(const char *dir)
{
    AUTO_STRLIST names = STRLIST_INIT;
    struct err err = ERR_INIT;
    must(fs_list(dir, &names, &err), &err);
    assert_int_equal(names.n, 3);
    assert_file(dir, "site", "listen 80\n", 0640);
    assert_file(dir, "old", "old\n", 0644);
    assert_link(dir, "on", "old");
}

static void a_copy_shows_all_of_it(void **state)
{
    struct world *world = *state;
    struct err err = ERR_INIT;
    AUTO_STRLIST dirs = STRLIST_INIT, places = STRLIST_INIT, names = STRLIST_INIT;
    stage(world);
    txn_dirs(world->txn, &dirs);
    txn_places(world->txn, &places);
    assert_int_equal(dirs.n, 1);
    assert_int_equal(places.n, 4);
    must(txn_show(world->txn, copy_of, world, &err), &err);
    must(fs_list(world->copy, &names, &err), &err);
    assert_int_equal(names.n, 3);
    assert_file(world->copy, "site", "listen 443\n", 0640);
    assert_file(world->copy, "new", "new\n", 0604);
    assert_link(world->copy, "on", "new");
    assert_untouched(world->real);
}

static void what_a_name_stands_for_is_not_written_through(void **state)
{
    struct world *world = *state;
    struct err err = ERR_INIT;
    AUTO_FREE char *theirs = fs_join(world->top, "theirs");
    AUTO_FREE char *site = fs_join(world->copy, "site");
    stage(world);
    put(world->top, "theirs", "precious\n", 0644);
    assert_int_equal(unlink(site), 0);
    assert_int_equal(link(theirs, site), 0);
    must(txn_show(world->txn, copy_of, world, &err), &err);
    assert_file(world->top, "theirs", "precious\n", 0644);
    assert_file(world->copy, "site", "listen 443\n", 0640);
}

static void without_a_copy_nothing_is_written(void **state)
{
    struct world *world = *state;
    struct err err = ERR_INIT;
    stage(world);
    assert_false(txn_show(world->txn, none, world, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    assert_untouched(world->real);
    assert_untouched(world->copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_copy_shows_all_of_it, furnish, clear),
        cmocka_unit_test_setup_teardown(what_a_name_stands_for_is_not_written_through, furnish, clear),
        cmocka_unit_test_setup_teardown(without_a_copy_nothing_is_written, furnish, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
