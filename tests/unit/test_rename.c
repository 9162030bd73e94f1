/*
 * test_rename.c - another name for a certificate, whatever a killed run has left of it; versions that are
 * kept; and the store of a rehearsal.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/store/store_internal.h"
#include "tlsup/ca.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/txn.h"

#define CA "https://ca.example.org/directory"
#define OTHER_CA "https://staging.example.org/directory"

struct bed {
    char dir[64];
    struct store *store;
};

static void must(bool fine, const struct err *err)
{
    if (!fine)
        fail_msg("%s: %s: %s", err_code_name(err->code), err->subject, err->text);
}
#define ok(expression)                                                                                       \
    do {                                                                                                     \
        struct err err = ERR_INIT;                                                                           \
        bool fine_ = (expression);                                                                           \
        must(fine_, &err);                                                                                   \
    } while (0)
#define refused(wanted, expression)                                                                          \
    do {                                                                                                     \
        struct err err = ERR_INIT;                                                                           \
        assert_false(expression);                                                                            \
        assert_int_equal(err.code, wanted);                                                                  \
    } while (0)

static char *at(const struct bed *bed, const char *path)
{
    return mem_fmt("%s/%s", bed->dir, path);
}

static void put(const struct bed *bed, const char *path, const char *text, mode_t mode)
{
    AUTO_FREE char *file = at(bed, path);
    AUTO_FREE char *dir = fs_dirname(file);
    ok(fs_mkdirs(dir, 0755, &err) && fs_write(file, text, strlen(text), mode, &err));
}

static bool there(const struct bed *bed, const char *path)
{
    AUTO_FREE char *file = at(bed, path);
    return fs_exists(file);
}

static void expect_text(const struct bed *bed, const char *path, const char *text)
{
    AUTO_FREE char *file = at(bed, path);
    AUTO_BUF content = BUF_INIT;
    ok(fs_read(file, 65536, &content, &err));
    assert_string_equal(buf_str(&content), text);
}

static void put_version(const struct bed *bed, const char *name, int version)
{
    static const char *const files[] = {"cert", "chain", "fullchain", "privkey"};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        AUTO_FREE char *path = mem_fmt("state/certs/%s/%04d/%s.pem", name, version, files[i]);
        put(bed, path, files[i], i == 3 ? 0600 : 0644);
    }
}

/* A certificate "old" of three versions, the second of which is live. */
static int set_up(void **state)
{
    struct bed *bed = mem_alloc(sizeof *bed);
    snprintf(bed->dir, sizeof bed->dir, "/tmp/test_rename.XXXXXX");
    assert_non_null(mkdtemp(bed->dir));
    AUTO_FREE char *config = at(bed, "config"), *kept = at(bed, "state");
    ok(store_open(config, kept, STORE_WRITE, &bed->store, &err));
    put(bed, "config/certs.d/old.conf", "# mine\nnames = example.org\n", 0600);
    put(bed, "state/state/old.json", "{}\n", 0644);
    put(bed, "state/state/old.output", "secret", 0600);
    for (int version = 1; version <= 3; version++)
        put_version(bed, "old", version);
    put(bed, "state/certs/old/pending.pem", "waiting", 0600);
    ok(store_live_switch(bed->store, "old", 2, &err));
    *state = bed;
    return 0;
}

static int tear_down(void **state)
{
    struct bed *bed = *state;
    store_close(bed->store);
    ok(fs_remove_tree(bed->dir, &err));
    free(bed);
    return 0;
}

/* What the transaction does. */
static void move(const struct bed *bed)
{
    struct store_move moves[STORE_MOVES];
    ok(store_rename_moves(bed->store, "old", "new", moves, &err));
    for (size_t i = 0; i < STORE_MOVES && moves[i].from != NULL; i++)
        ok(fs_write(moves[i].to, moves[i].content.data, moves[i].content.len, (mode_t)moves[i].mode, &err) &&
           fs_remove(moves[i].from, &err));
    store_moves_clear(moves);
}

static void finish(const struct bed *bed, const char *from, const char *to)
{
    AUTO_STRLIST done = STRLIST_INIT;
    ok(store_rename_finish(bed->store, &done, &err));
    assert_int_equal(done.n, from != NULL ? 2 : 0);
    if (from != NULL) {
        assert_string_equal(done.v[0], from);
        assert_string_equal(done.v[1], to);
    }
    assert_false(there(bed, "state/renaming"));
}

static void expect_whole(const struct bed *bed, const char *name)
{
    int *versions = NULL, live = 0;
    size_t n = 0;
    ok(store_versions(bed->store, name, &versions, &n, &err));
    assert_int_equal(n, 3);
    assert_int_equal(versions[0] + versions[1] + versions[2], 6);
    free(versions);
    ok(store_live_version(bed->store, name, &live, &err));
    assert_int_equal(live, 2);
    AUTO_FREE char *key = mem_fmt("state/certs/%s/0001/privkey.pem", name);
    AUTO_FREE char *pending = mem_fmt("state/certs/%s/pending.pem", name);
    AUTO_FREE char *path = at(bed, key);
    struct stat st;
    expect_text(bed, key, "privkey");
    expect_text(bed, pending, "waiting");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void expect_none(const struct bed *bed, const char *name)
{
    static const char *const places[] = {"config/certs.d/%s.conf", "state/state/%s.json", "state/live/%s",
                                         "state/certs/%s", "state/certs/.new-%s"};
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        char path[128];
        const char *mark = strstr(places[i], "%s");
        snprintf(path, sizeof path, "%.*s%s%s", (int)(mark - places[i]), places[i], name, mark + 2);
        if (there(bed, path))
            fail_msg("%s is left", path);
    }
}

static void test_renamed(void **state)
{
    const struct bed *bed = *state;
    ok(store_rename_prepare(bed->store, "old", "new", &err));
    expect_whole(bed, "old");
    expect_whole(bed, "new");
    move(bed);
    finish(bed, "old", "new");
    expect_whole(bed, "new");
    expect_none(bed, "old");
    expect_text(bed, "config/certs.d/new.conf", "# mine\nnames = example.org\n");
    expect_text(bed, "state/state/new.output", "secret");
    assert_false(there(bed, "state/state/old.output"));
    finish(bed, NULL, NULL);
}

/* Killed before the transaction, or the transaction was put back. */
static void test_given_up(void **state)
{
    const struct bed *bed = *state;
    ok(store_rename_prepare(bed->store, "old", "new", &err));
    finish(bed, NULL, NULL);
    expect_whole(bed, "old");
    expect_none(bed, "new");
    ok(store_rename_prepare(bed->store, "old", "new", &err));
    move(bed);
    finish(bed, "old", "new");
}

static void test_killed_while_building(void **state)
{
    const struct bed *bed = *state;
    put(bed, "state/renaming", "old new\n", 0600);
    put(bed, "state/certs/.new-new/0001/privkey.pem", "half", 0600);
    finish(bed, NULL, NULL);
    expect_whole(bed, "old");
    expect_none(bed, "new");
}

static void test_killed_while_cleaning(void **state)
{
    const struct bed *bed = *state;
    AUTO_FREE char *live = at(bed, "state/live/old");
    ok(store_rename_prepare(bed->store, "old", "new", &err));
    move(bed);
    assert_int_equal(unlink(live), 0);
    finish(bed, "old", "new");
    expect_whole(bed, "new");
    expect_none(bed, "old");
}

/* Somebody wrote the old configuration anew in between: nothing of either is taken away. */
static void test_both_are_there(void **state)
{
    const struct bed *bed = *state;
    AUTO_STRLIST done = STRLIST_INIT;
    ok(store_rename_prepare(bed->store, "old", "new", &err));
    put(bed, "config/certs.d/new.conf", "names = example.org\n", 0644);
    ok(store_rename_finish(bed->store, &done, &err));
    assert_int_equal(done.n, 0);
    expect_whole(bed, "old");
    expect_whole(bed, "new");
}

static void test_taken_and_unknown(void **state)
{
    static const char *const in_the_way[] = {"config/certs.d/new.conf", "state/state/new.json",
                                             "state/certs/new/0001/cert.pem"};
    const struct bed *bed = *state;
    for (size_t i = 0; i < COUNT_OF(in_the_way); i++) {
        put(bed, in_the_way[i], "x", 0644);
        refused(ERR_EXISTS, store_rename_prepare(bed->store, "old", "new", &err));
        AUTO_FREE char *path = at(bed, i == 2 ? "state/certs/new" : in_the_way[i]);
        ok(fs_remove_tree(path, &err));
    }
    refused(ERR_NOT_FOUND, store_rename_prepare(bed->store, "nothing", "new", &err));
    refused(ERR_NAME, store_rename_prepare(bed->store, "old", "../new", &err));
    expect_whole(bed, "old");
    assert_false(there(bed, "state/renaming"));
}

static void test_damaged_marker(void **state)
{
    static const char *const texts[] = {"", "old\n", "old old\n", "../x new\n", "a b c\n", "old \001\n"};
    const struct bed *bed = *state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        put(bed, "state/renaming", texts[i], 0600);
        finish(bed, NULL, NULL);
        expect_whole(bed, "old");
    }
}

/* -- versions ------------------------------------------------------------------------------------------- */

static void expect_versions(const struct bed *bed, const char *expected)
{
    int *versions = NULL;
    size_t n = 0;
    AUTO_BUF text = BUF_INIT;
    ok(store_versions(bed->store, "old", &versions, &n, &err));
    for (size_t i = 0; i < n; i++)
        buf_addf(&text, "%d ", versions[i]);
    free(versions);
    assert_string_equal(buf_str(&text), expected);
}

static void test_what_pruning_keeps(void **state)
{
    const struct bed *bed = *state;
    for (int version = 4; version <= 7; version++)
        put_version(bed, "old", version);
    ok(store_live_switch(bed->store, "old", 4, &err));
    ok(store_version_prune(bed->store, "old", 10, &err));
    expect_versions(bed, "1 2 3 4 5 6 7 ");
    ok(store_version_prune(bed->store, "old", 2, &err));
    expect_versions(bed, "3 4 6 7 "); /* the live one, the one before it, the two newest */
    ok(store_version_prune(bed->store, "old", 1, &err));
    expect_versions(bed, "3 4 7 ");
}

static void test_nothing_is_pruned_under_an_order(void **state)
{
    const struct bed *bed = *state;
    struct cert_state kept = CERT_STATE_INIT;
    snprintf(kept.orders[1].url, sizeof kept.orders[1].url, "https://ca.example.org/order/1");
    ok(store_state_save(bed->store, "old", &kept, &err));
    ok(store_version_prune(bed->store, "old", 1, &err));
    expect_versions(bed, "1 2 3 ");
    kept.orders[1].url[0] = '\0';
    ok(store_state_save(bed->store, "old", &kept, &err));
    ok(store_version_prune(bed->store, "old", 1, &err));
    expect_versions(bed, "1 2 3 "); /* 2 is live, 1 before it, 3 the newest */
    cert_state_clear(&kept);
}

static void test_revoked_versions_are_remembered(void **state)
{
    const struct bed *bed = *state;
    ok(store_version_revoke(bed->store, "old", 1, &err));
    assert_true(store_version_revoked(bed->store, "old", 1));
    assert_false(store_version_revoked(bed->store, "old", 2));
    assert_false(store_version_revoked(bed->store, "../old", 1));
    ok(store_live_switch(bed->store, "old", 1, &err)); /* still whole */
}

static void test_no_versions(void **state)
{
    const struct bed *bed = *state;
    int *versions = NULL;
    size_t n = 7;
    ok(store_versions(bed->store, "nothing", &versions, &n, &err));
    assert_int_equal(n, 0);
    free(versions);
    refused(ERR_NAME, store_versions(bed->store, "../x", &versions, &n, &err));
}

static void test_configuration_put_back(void **state)
{
    const struct bed *bed = *state;
    AUTO_BUF text = BUF_INIT;
    AUTO_FREE char *path = at(bed, "config/certs.d/old.conf");
    struct stat st;
    ok(store_cert_config_text(bed->store, "old", &text, &err));
    put(bed, "config/certs.d/old.conf", "names = other.test\n", 0600);
    ok(store_cert_config_put_back(bed->store, "old", &text, &err));
    expect_text(bed, "config/certs.d/old.conf", "# mine\nnames = example.org\n");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

/* -- rehearsals ----------------------------------------------------------------------------------------- */

static void test_rehearsal_leaves_nothing(void **state)
{
    const struct bed *bed = *state;
    struct store *rehearsal = NULL;
    struct cert_state kept = CERT_STATE_INIT;
    struct account_record record = {0};
    AUTO_KEY *shared = NULL, *ours = NULL;
    char a[KEY_THUMBPRINT_BYTES], b[KEY_THUMBPRINT_BYTES];
    ok(store_account_key(bed->store, CA, NULL, true, &shared, &err));
    put(bed, "state/hooks/zone/record", "noted", 0600);
    ok(store_rehearsal_open(bed->store, &rehearsal, &err));
    ok(store_rehearsal_account(rehearsal, bed->store, CA, OTHER_CA, NULL, &err));
    ok(store_account_key(rehearsal, OTHER_CA, NULL, false, &ours, &err));
    ok(key_thumbprint(shared, a, &err) && key_thumbprint(ours, b, &err));
    assert_string_equal(a, b);
    snprintf(record.url, sizeof record.url, "https://staging.example.org/acct/1");
    ok(store_account_save(rehearsal, OTHER_CA, NULL, &record, &err));
    kept.version = 9;
    ok(store_state_save(rehearsal, "old", &kept, &err));
    expect_text(bed, "state/.rehearsal/hooks/zone/record", "noted");
    assert_string_equal(store_journal_dir(rehearsal), store_journal_dir(bed->store));
    struct cert_config config = {0};
    ok(store_cert_config(rehearsal, "old", &config, &err)); /* the real one */
    cert_config_clear(&config);
    ok(store_rehearsal_remove(rehearsal, bed->store, &err));
    assert_false(there(bed, "state/.rehearsal"));
    expect_text(bed, "state/state/old.json", "{}\n");
    ok(store_account_load(bed->store, OTHER_CA, NULL, &record, &err));
    assert_string_equal(record.url, "");
}

static void test_rehearsal_has_the_key_of_the_account(void **state)
{
    const struct bed *bed = *state;
    struct store *rehearsal = NULL;
    AUTO_KEY *own = NULL, *shared = NULL, *seen = NULL;
    char a[KEY_THUMBPRINT_BYTES], b[KEY_THUMBPRINT_BYTES];
    ok(store_account_key(bed->store, CA, NULL, true, &shared, &err));
    ok(store_account_key(bed->store, CA, "second", true, &own, &err));
    ok(store_rehearsal_open(bed->store, &rehearsal, &err));
    ok(store_rehearsal_account(rehearsal, bed->store, CA, OTHER_CA, "second", &err));
    ok(store_account_key(rehearsal, OTHER_CA, "second", false, &seen, &err));
    ok(key_thumbprint(own, a, &err) && key_thumbprint(seen, b, &err));
    assert_string_equal(a, b);
    refused(ERR_CONFIG, store_rehearsal_account(rehearsal, bed->store, CA, OTHER_CA, "../x", &err));
    ok(store_rehearsal_remove(rehearsal, bed->store, &err));
}

static void test_rehearsal_of_a_killed_run(void **state)
{
    const struct bed *bed = *state;
    struct store *rehearsal = NULL;
    put(bed, "state/.rehearsal/certs/old/pending.pem", "left", 0600);
    ok(store_rehearsal_open(bed->store, &rehearsal, &err));
    assert_false(there(bed, "state/.rehearsal/certs/old"));
    store_close(rehearsal);
    ok(store_rehearsal_remove(NULL, bed->store, &err));
    assert_false(there(bed, "state/.rehearsal"));
}

/* -- transactions under another name -------------------------------------------------------------------- */

struct redo {
    const char *path, *text;
    bool fail;
};

static bool concerns(void *ctx, const char *owner)
{
    (void)ctx, (void)owner;
    return true;
}

/* A line of its own at the end of the file. */
static bool edit(void *ctx, const char *owner, struct txn *txn, struct err *err)
{
    const struct redo *redo = ctx;
    AUTO_BUF text = BUF_INIT;
    if (redo->fail && strcmp(owner, "new") == 0)
        return err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, owner, "it cannot be done");
    if (!txn_read(txn, redo->path, 65536, &text, err))
        return false;
    buf_addf(&text, "line of %s\n", owner);
    return txn_write(txn, redo->path, buf_str(&text), text.len, 0644, err);
}

static void install(const struct bed *bed, struct redo *redo, const char *owner)
{
    struct txn *txn = NULL;
    ok(txn_begin(store_journal_dir(bed->store), owner, owner, &txn, &err) && edit(redo, owner, txn, &err) &&
       txn_apply(txn, &err) && txn_note(txn, TXN_VERIFIED, &err) && txn_commit(txn, &err));
    txn_free(txn);
}

static void undo(const struct bed *bed, struct redo *redo, const char *owner)
{
    const struct txn_redo others = {.concerns = concerns, .edit = edit, .ctx = redo};
    AUTO_STRLIST messages = STRLIST_INIT;
    struct txn *txn = NULL;
    ok(txn_begin(store_journal_dir(bed->store), owner, "undo", &txn, &err) &&
       txn_undo(txn, &others, &messages, &err) && txn_apply(txn, &err) && txn_commit(txn, &err));
    assert_int_equal(messages.n, 0);
    txn_free(txn);
}

static bool hand_over(const struct bed *bed, struct redo *redo, struct err *why)
{
    const struct txn_redo again = {.concerns = concerns, .edit = edit, .ctx = redo, .successor = "new"};
    AUTO_STRLIST messages = STRLIST_INIT;
    struct txn *txn = NULL;
    ok(txn_begin(store_journal_dir(bed->store), "old", "rename", &txn, &err));
    bool fine = txn_undo(txn, &again, &messages, why);
    if (fine) {
        txn_make_final(txn);
        fine = txn_apply(txn, why) && txn_commit(txn, why);
    }
    txn_free(txn);
    return fine;
}

static size_t count(const struct bed *bed, const char *owner)
{
    struct txn_list list = {0};
    ok(txn_list(store_journal_dir(bed->store), owner, &list, &err));
    size_t n = list.n;
    txn_list_clear(&list);
    return n;
}

static void test_edits_under_another_name(void **state)
{
    const struct bed *bed = *state;
    AUTO_FREE char *path = at(bed, "server.conf");
    struct redo redo = {.path = path};
    put(bed, "server.conf", "theirs\n", 0644);
    install(bed, &redo, "old");
    install(bed, &redo, "other");
    ok(hand_over(bed, &redo, &err));
    expect_text(bed, "server.conf", "theirs\nline of new\nline of other\n");
    assert_int_equal(count(bed, "old"), 0);
    assert_int_equal(count(bed, "new"), 1);
    assert_int_equal(count(bed, "other"), 1);
    undo(bed, &redo, "new");
    expect_text(bed, "server.conf", "theirs\nline of other\n");
    undo(bed, &redo, "other");
    expect_text(bed, "server.conf", "theirs\n");
}

static void test_edits_that_a_person_changed_or_that_cannot_be_made(void **state)
{
    const struct bed *bed = *state;
    AUTO_FREE char *path = at(bed, "server.conf");
    struct redo redo = {.path = path, .fail = true};
    put(bed, "server.conf", "theirs\n", 0644);
    install(bed, &redo, "old");
    refused(ERR_WEBSERVER, hand_over(bed, &redo, &err));
    redo.fail = false;
    put(bed, "server.conf", "theirs\nline of a person\n", 0644);
    refused(ERR_WEBSERVER, hand_over(bed, &redo, &err));
    expect_text(bed, "server.conf", "theirs\nline of a person\n");
    assert_int_equal(count(bed, "old"), 1);
}

/* An edit that is no installation: nobody can undo it, and its record goes with the next pruning. */
static void test_final_edit(void **state)
{
    const struct bed *bed = *state;
    AUTO_FREE char *path = at(bed, "server.conf");
    AUTO_STRLIST left = STRLIST_INIT;
    struct redo redo = {.path = path};
    struct txn *txn = NULL;
    put(bed, "server.conf", "theirs\n", 0644);
    ok(txn_begin(store_journal_dir(bed->store), "old", "rename", &txn, &err));
    txn_make_final(txn);
    ok(edit(&redo, "new", txn, &err) && txn_apply(txn, &err) && txn_commit(txn, &err));
    txn_free(txn);
    assert_int_equal(count(bed, NULL), 0);
    ok(txn_prune(store_journal_dir(bed->store), "old", SIZE_MAX, &err));
    ok(fs_list(store_journal_dir(bed->store), &left, &err));
    assert_int_equal(left.n, 0);
    expect_text(bed, "server.conf", "theirs\nline of new\n");
}

/* -- where to rehearse ---------------------------------------------------------------------------------- */

static void test_staging_servers(void **state)
{
    (void)state;
    const char *le = ca_by_name("letsencrypt-staging")->url, *google = ca_by_name("google-test")->url;
    assert_string_equal(ca_by_name("letsencrypt")->staging, le);
    assert_string_equal(ca_by_url(le)->staging, le);
    assert_string_equal(ca_by_name("google")->staging, google);
    assert_string_equal(ca_by_name("zerossl")->staging, "");
    assert_string_equal(ca_by_url("https://ca.internal.test/dir")->staging, "");
    for (size_t i = 0; ca_at(i) != NULL; i++)
        assert_non_null(ca_at(i)->staging);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_renamed),
        TEST(test_given_up),
        TEST(test_killed_while_building),
        TEST(test_killed_while_cleaning),
        TEST(test_both_are_there),
        TEST(test_taken_and_unknown),
        TEST(test_damaged_marker),
        TEST(test_what_pruning_keeps),
        TEST(test_nothing_is_pruned_under_an_order),
        TEST(test_revoked_versions_are_remembered),
        TEST(test_no_versions),
        TEST(test_configuration_put_back),
        TEST(test_rehearsal_leaves_nothing),
        TEST(test_rehearsal_has_the_key_of_the_account),
        TEST(test_rehearsal_of_a_killed_run),
        TEST(test_edits_under_another_name),
        TEST(test_edits_that_a_person_changed_or_that_cannot_be_made),
        TEST(test_final_edit),
        cmocka_unit_test(test_staging_servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
