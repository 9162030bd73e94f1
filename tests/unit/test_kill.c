/*
 * test_kill.c - kill -9 before every single step of an install, and of its undo: after each the server's own
 * test passes as things stand, and the next run makes all of it old or all of it new, as the journal's marks
 * say; nothing is left behind.
 *
 * In namespaces of our own, with the real servers; needs --enable-test-hooks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "web_bed.h"

#include "../../src/install/txn_internal.h"

#ifdef TEST_HOOKS

enum { CHILD_DONE = 0, CHILD_FAILED = 3 };

/* What is installed. */
struct scene {
    enum web_kind kind;
    const char *title, *fixture;
    bool redirect;
    size_t test_every; /* the server's own test as things stand, at each so-manieth point: Apache's is slow */
};

static const struct scene scenes[] = {
    {WEB_NGINX, "a new site and its link", NULL, true, 1},
    {WEB_NGINX, "several files in place", "snippet-own.conf", true, 1},
    {WEB_NGINX, "names in several servers", "several-servers.conf", false, 1},
    {WEB_NGINX, "another certificate", "other-owner-443.conf", false, 1},
    {WEB_APACHE, "modules, link and companion", "01-stock-default.conf", true, 4},
    {WEB_APACHE, "all in the main file", "22-single-file.conf", false, 4},
};

/* Debian's tree, whose default site does not know the name. */
static void stock_nginx(struct bed *bed)
{
    bed_open(bed);
    bed_nginx_base(bed);
    bed_putf(bed->root, "nginx.conf",
             "include main.inc;\nhttp {\n\tinclude http.inc;\n\tinclude sites-enabled/*;\n}\n");
    bed_putf(bed->root, "sites-available/default",
             "server {\n\tlisten 80 default_server;\n\tlisten [::]:80 default_server;\n\tserver_name "
             "_;\n\troot html;\n}\n");
    bed_link(bed->root, "sites-enabled/default", "../sites-available/default");
    strlist_add(&bed->names, "example.org");
    bed_nginx_web(bed);
}

static void set(const struct scene *scene, struct bed *bed)
{
    bed_count = 0; /* the same path each time: it is written into files */
    if (scene->fixture == NULL)
        stock_nginx(bed);
    else
        bed_fixture(bed, scene->kind, scene->fixture);
}

static bool finish(struct txn *txn, struct err *err)
{
    return txn_apply(txn, err) && txn_note(txn, TXN_TESTED, err) && txn_note(txn, TXN_RELOADING, err) &&
           txn_note(txn, TXN_VERIFIED, err) && txn_commit(txn, err);
}

static bool install(const struct scene *scene, const struct bed *bed, struct err *err)
{
    AUTO_TXN *txn = bed_begin(bed);
    return bed_stage(bed, scene->redirect, txn, err) && finish(txn, err);
}

static void must_install(const struct scene *scene, const struct bed *bed)
{
    ok(install(scene, bed, &err));
}

static bool undo(const struct scene *scene, const struct bed *bed, struct err *err)
{
    (void)scene;
    AUTO_STRLIST messages = STRLIST_INIT;
    AUTO_TXN *txn = bed_begin(bed);
    return txn_undo(txn, NULL, &messages, err) && messages.n == 0 && finish(txn, err);
}

typedef bool act_fn(const struct scene *scene, const struct bed *bed, struct err *err);

/* True: it was killed before step `n`; false: it ran through, there is no such step. */
static bool kill_at(act_fn *act, const struct scene *scene, const struct bed *bed, unsigned long n)
{
    fflush(NULL);
    pid_t pid = fork();
    int status = 0;
    assert_true(pid >= 0);
    if (pid == 0) {
        struct err err = ERR_INIT;
        char value[16];
        snprintf(value, sizeof value, "%lu", n);
        setenv("TLSUP_TEST_CRASH", value, 1);
        txn_steps_done = 0;
        if (act(scene, bed, &err))
            _exit(CHILD_DONE);
        fprintf(stderr, "%s: %s\n", scene->title, err.text);
        _exit(CHILD_FAILED);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGKILL);
        return true;
    }
    assert_int_equal(WEXITSTATUS(status), CHILD_DONE);
    return false;
}

/* Of the newest transaction: does its log have this mark? */
static bool is_marked(const struct bed *bed, const char *mark, size_t transactions_before)
{
    AUTO_STRLIST ids = STRLIST_INIT;
    AUTO_BUF log = BUF_INIT;
    struct err ignored = ERR_INIT;
    ok(journal_ids(bed->journal, &ids, &err));
    if (ids.n <= transactions_before)
        return false;
    AUTO_FREE char *path = mem_fmt("%s/%s/log", bed->journal, ids.v[ids.n - 1]);
    AUTO_FREE char *line = mem_fmt("%s\n", mark);
    return fs_read(path, BED_FILE_LIMIT, &log, &ignored) && strstr(buf_str(&log), line) != NULL;
}

/* All that lies beside the tree: only journals, with nothing in them but what belongs there. */
static void check_journal(const struct bed *bed, const char *where)
{
    static const char *const known[] = {"log", "old-", "new-"};
    AUTO_STRLIST ids = STRLIST_INIT;
    ok(fs_list(bed->journal, &ids, &err));
    for (size_t i = 0; i < ids.n; i++) {
        AUTO_STRLIST files = STRLIST_INIT;
        AUTO_FREE char *dir = fs_join(bed->journal, ids.v[i]);
        ok(fs_list(dir, &files, &err));
        for (size_t k = 0; k < files.n; k++) {
            bool belongs = false;
            for (size_t w = 0; w < COUNT_OF(known); w++)
                belongs |= bed_starts(files.v[k], known[w]);
            if (!belongs)
                fail_msg("%s: left behind: %s/%s", where, dir, files.v[k]);
        }
    }
}

static void check_server(const struct bed *bed, const char *where, const char *when)
{
    struct err err = ERR_INIT;
    if (!web_test(&bed->web, &err))
        fail_msg("%s, %s: %s", where, when, err.text);
}

static void recover(const struct bed *bed, const char *where)
{
    struct txn_recovery recovery = {0};
    struct err why = ERR_INIT;
    if (!txn_recover(bed->journal, &recovery, &why) || recovery.kept != 0)
        fail_msg("%s: recovery: %s", where, err_isset(&why) ? why.text : "something was left alone");
    ok(txn_settle(bed->journal, &err));
    txn_recovery_clear(&recovery);
}

static size_t standing(const struct bed *bed)
{
    struct txn_list list = {0};
    ok(txn_list(bed->journal, NULL, &list, &err));
    size_t n = list.n;
    txn_list_clear(&list);
    return n;
}

/* Both ends of the act, in a tree of their own. */
struct ends {
    struct buf old, new;
};

static void find_ends(const struct scene *scene, bool undoing, struct ends *ends)
{
    AUTO_BED bed;
    set(scene, &bed);
    bed_look(&bed, undoing ? &ends->new : &ends->old);
    must_install(scene, &bed);
    bed_look(&bed, undoing ? &ends->old : &ends->new);
    assert_false(bed_same(&ends->old, &ends->new));
}

static void check_end(const struct buf *now, const struct ends *ends, bool verified, const char *where)
{
    const struct buf *right = verified ? &ends->new : &ends->old;
    size_t same = 0;
    if (bed_same(now, right))
        return;
    if (bed_same(now, verified ? &ends->old : &ends->new))
        fail_msg("%s: all is %s, the journal says otherwise", where, verified ? "old" : "new");
    while (same < now->len && same < right->len && now->data[same] == right->data[same])
        same++;
    size_t from = same < 200 ? 0 : same - 200;
    fail_msg("%s: neither all old nor all new; at ...%.200s\nis\n%.400s\nshould be\n%.400s", where,
             buf_str(right) + from, buf_str(now) + same, buf_str(right) + same);
}

/* Killed before step `n`, looked at, recovered. False: the act has no such step. */
static bool survive(const struct scene *scene, act_fn *act, bool undoing, unsigned long n,
                    const struct ends *ends, size_t *to_new)
{
    AUTO_BED bed;
    AUTO_BUF now = BUF_INIT;
    AUTO_FREE char *where =
        mem_fmt("%s of %s, killed before step %lu", undoing ? "undo" : "install", scene->title, n);
    set(scene, &bed);
    if (undoing)
        must_install(scene, &bed);
    bool killed = kill_at(act, scene, &bed, n);
    if (n % scene->test_every == 0 || !killed)
        check_server(&bed, where, "as it stands");
    bool verified = !killed || is_marked(&bed, "verified", undoing);
    recover(&bed, where);
    bed_look(&bed, &now);
    check_end(&now, ends, verified, where);
    if (n % scene->test_every == 1 || scene->test_every == 1 || !killed)
        check_server(&bed, where, "after the recovery");
    assert_int_equal(standing(&bed), undoing ? !verified : verified);
    check_journal(&bed, where);
    *to_new += killed && verified;
    return killed;
}

static size_t survive_all(const struct scene *scene, bool undoing)
{
    struct ends ends = {BUF_INIT, BUF_INIT};
    unsigned long n = 1;
    size_t to_new = 0;
    find_ends(scene, undoing, &ends);
    while (survive(scene, undoing ? undo : install, undoing, n, &ends, &to_new))
        n++;
    buf_clear(&ends.old);
    buf_clear(&ends.new);
    assert_true(n > 20 && to_new > 0);
    return n - 1;
}

static void survive_scenes(enum web_kind kind)
{
    size_t points = 0;
    if (bed_base[0] == '\0' || (kind == WEB_NGINX ? nginx_program() == NULL
                                                  : apache_program() == NULL || apache_modules() == NULL)) {
        print_message("no %s to ask: skipped\n", web_kind_name(kind));
        skip();
    }
    for (size_t i = 0; i < COUNT_OF(scenes); i++) {
        if (scenes[i].kind != kind)
            continue;
        size_t forth = survive_all(&scenes[i], false), back = survive_all(&scenes[i], true);
        print_message("kill -9: %s, %s: install %zu points, undo %zu points: all recovered\n",
                      web_kind_name(kind), scenes[i].title, forth, back);
        points += forth + back;
    }
    print_message("kill -9: %s: %zu points in all\n", web_kind_name(kind), points);
}

static void nginx_survives(void **state)
{
    (void)state;
    survive_scenes(WEB_NGINX);
}

static void apache_survives(void **state)
{
    (void)state;
    survive_scenes(WEB_APACHE);
}

static int end(void **state)
{
    (void)state;
    bed_forget_pairs();
    if (bed_base[0] != '\0')
        bed_remove_base();
    return 0;
}

int main(int argc, char **argv)
{
    if (getenv("TLSUP_TEST_BRIEF") != NULL) {
        puts("skipped: this is a brief run, and it takes long");
        return 77;
    }
    static const struct CMUnitTest tests[] = {cmocka_unit_test(nginx_survives),
                                              cmocka_unit_test(apache_survives)};
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    (void)bed_source(); /* before the working directory changes */
    if (!bed_isolate("tlsup-kill"))
        bed_base[0] = '\0';
    return cmocka_run_group_tests(tests, NULL, end);
}

#else

int main(void)
{
    printf("1..0 # SKIP built without --enable-test-hooks\n");
    return 77;
}

#endif
