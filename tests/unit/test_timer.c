/* Who calls tlsup renew: on machines with systemd, with cron, with neither. All of it in a directory that
 * plays the machine. */
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../src/cli/timer.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

#ifndef TLSUP_CONFIG_DIR
#define TLSUP_CONFIG_DIR "/etc/tlsup"
#endif
#ifndef TLSUP_STATE_DIR
#define TLSUP_STATE_DIR "/var/lib/tlsup"
#endif
#ifndef TLSUP_SBIN_DIR
#define TLSUP_SBIN_DIR "/usr/local/sbin"
#endif

#define NOW_S INT64_C(1790000000) /* 2026-09-21 14:13:20 UTC */

/* Knows what the files in the machine say; writes down what it is told. */
static const char systemctl[] =
    "#!/bin/sh\n"
    "root=${0%/usr/bin/systemctl}\n"
    "echo \"$@\" >>$root/log\n"
    "case $1 in\n"
    "show)\n"
    "  load=not-found; file=; active=inactive; next=\n"
    "  for dir in etc/systemd/system usr/lib/systemd/system; do\n"
    "    [ -f $root/$dir/$3 ] && load=loaded file=disabled\n"
    "  done\n"
    "  [ -f $root/enabled-$3 ] && file=enabled active=active next='Mon 2026-09-21 19:13:20 UTC'\n"
    "  printf 'LoadState=%s\\nActiveState=%s\\nUnitFileState=%s\\nNextElapseUSecRealtime=%s\\n' \"$load\" "
    "\"$active\" \"$file\" \"$next\";;\n"
    "enable)\n"
    "  [ -f $root/masked ] && { echo \"Failed to enable unit: Unit file $3 is masked.\"; exit 1; }\n"
    "  for unit; do :; done\n"
    "  [ -f $root/lame ] || : >$root/enabled-$unit;;\n"
    "disable)\n"
    "  rm -f $root/enabled-$3;;\n"
    "esac\n";

static char root[64];

static char *machine(const char *path)
{
    return mem_fmt("%s%s", root, path);
}

static void put(const char *path, const char *text, mode_t mode)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *full = machine(path);
    AUTO_FREE char *dir = fs_dirname(full);
    if (!fs_mkdirs(dir, 0755, &err) || !fs_write(full, text, strlen(text), mode, &err))
        fail_msg("%s", err.text);
}

static void make_dir(const char *path)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *full = machine(path);
    if (!fs_mkdirs(full, 0755, &err))
        fail_msg("%s", err.text);
}

static bool has(const char *path)
{
    AUTO_FREE char *full = machine(path);
    return fs_exists(full);
}

static void read_text(const char *path, struct buf *out)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *full = machine(path);
    buf_reset(out);
    if (!fs_read(full, 65536, out, &err))
        fail_msg("%s", err.text);
}

static void drop(const char *path)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *full = machine(path);
    if (!fs_remove_tree(full, &err))
        fail_msg("%s", err.text);
}

static void assert_has(const struct buf *text, const char *part)
{
    if (strstr(buf_str(text), part) == NULL)
        fail_msg("\"%s\" is not in:\n%s", part, buf_str(text));
}

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/test-timer-XXXXXX");
    if (mkdtemp(root) == NULL || chmod(root, 0755) != 0)
        return -1;
    timer_set_root(root);
    clock_freeze(NOW_S, 1000);
    setenv("TZ", "UTC", 1);
    tzset();
    make_dir("/etc");
    put(TLSUP_SBIN_DIR "/tlsup", "", 0755);
    return 0;
}

static int teardown(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    timer_set_root(NULL);
    clock_thaw();
    return fs_remove_tree(root, &err) ? 0 : -1;
}

static void with_systemd(void)
{
    make_dir("/run/systemd/system");
    put("/usr/bin/systemctl", systemctl, 0755);
}

static void with_cron(bool running)
{
    make_dir("/etc/cron.d");
    put("/usr/sbin/cron", "", 0755);
    put("/proc/1/comm", "init\n", 0644);
    put("/proc/self/comm", "cron\n", 0644);
    if (running)
        put("/proc/77/comm", "cron\n", 0644);
}

static bool ensure(struct timer *timer, bool *changed)
{
    struct err err = ERR_INIT;
    if (timer_ensure(TLSUP_CONFIG_DIR, TLSUP_STATE_DIR, timer, changed, &err))
        return true;
    fail_msg("%s: %s", err.subject, err.text);
    return false;
}

static void refuse(struct err *err)
{
    struct timer timer;
    bool changed;
    assert_false(timer_ensure(TLSUP_CONFIG_DIR, TLSUP_STATE_DIR, &timer, &changed, err));
}

/* -- systemd ----------------------------------------------------------------------------------------- */

static void test_installed_units_are_enabled_and_left_alone(void **state)
{
    struct timer timer;
    bool changed;
    AUTO_BUF log = BUF_INIT;
    (void)state;
    with_systemd();
    put("/usr/lib/systemd/system/tlsup.service", "[Service]\n", 0644);
    put("/usr/lib/systemd/system/tlsup.timer", "[Timer]\n", 0644);
    timer_look(&timer);
    assert_int_equal(timer.kind, TIMER_SYSTEMD);
    assert_false(timer.active);
    ensure(&timer, &changed);
    assert_true(changed && timer.active);
    assert_int_equal(timer.kind, TIMER_SYSTEMD);
    assert_string_equal(timer.where, "tlsup.timer");
    assert_string_equal(timer.next, "in 5 hours");
    assert_false(has("/etc/systemd/system/tlsup.timer"));
    read_text("/log", &log);
    assert_has(&log, "enable --now tlsup.timer");
    ensure(&timer, &changed);
    assert_false(changed);
}

static void test_units_are_written_where_there_are_none(void **state)
{
    struct timer timer;
    bool changed;
    AUTO_BUF text = BUF_INIT;
    (void)state;
    with_systemd();
    ensure(&timer, &changed);
    assert_true(changed && timer.active);
    read_text("/etc/systemd/system/tlsup.service", &text);
    assert_has(&text, "\nExecStart=" TLSUP_SBIN_DIR "/tlsup renew -q\n");
    read_text("/etc/systemd/system/tlsup.timer", &text);
    assert_has(&text, "\nPersistent=true\n");
    assert_has(&text, "\nRandomizedDelaySec=");
    assert_has(&text, "\nWantedBy=timers.target\n");
    read_text("/log", &text);
    assert_has(&text, "daemon-reload\n");
    ensure(&timer, &changed);
    assert_false(changed);
    /* a unit of ours that an older version wrote is brought up to date */
    put("/etc/systemd/system/tlsup.service", "# Written by tlsup: old\n", 0644);
    ensure(&timer, &changed);
    assert_true(changed);
    read_text("/etc/systemd/system/tlsup.service", &text);
    assert_has(&text, "ExecStart=");
}

static void test_a_unit_recovers_before_the_web_servers_start(void **state)
{
    struct timer timer;
    bool changed;
    AUTO_BUF text = BUF_INIT;
    (void)state;
    with_systemd();
    ensure(&timer, &changed);
    read_text("/etc/systemd/system/tlsup-recover.service", &text);
    assert_has(&text, "\nExecStart=" TLSUP_SBIN_DIR "/tlsup recover -q\n");
    assert_has(&text, "\nBefore=nginx.service apache2.service httpd.service");
    assert_has(&text, "\nConditionDirectoryNotEmpty=" TLSUP_STATE_DIR "/journal\n");
    assert_true(has("/enabled-tlsup-recover.service"));
    read_text("/log", &text);
    assert_has(&text, "enable tlsup-recover.service\n"); /* not --now: nothing is interrupted here */
    ensure(&timer, &changed);
    assert_false(changed);
}

static void off(bool expected)
{
    bool changed;
    struct err err = ERR_INIT;
    if (!timer_off(TLSUP_CONFIG_DIR, TLSUP_STATE_DIR, &changed, &err))
        fail_msg("%s", err.text);
    assert_int_equal(changed, expected);
}

static void test_off_and_on_again(void **state)
{
    struct timer timer;
    bool changed;
    (void)state;
    with_systemd();
    off(false);
    ensure(&timer, &changed);
    off(true);
    timer_look(&timer);
    assert_false(timer.active);
    off(false);
    ensure(&timer, &changed);
    assert_true(changed && timer.active);
}

static void test_cron_off(void **state)
{
    struct timer timer;
    bool changed;
    struct err err = ERR_INIT;
    (void)state;
    with_cron(true);
    ensure(&timer, &changed);
    assert_true(has("/etc/cron.d/tlsup"));
    off(true);
    assert_false(has("/etc/cron.d/tlsup"));
    put("/etc/cron.d/tlsup", "5 5,17 * * * root " TLSUP_SBIN_DIR "/tlsup renew -q\n", 0644);
    assert_false(timer_off(TLSUP_CONFIG_DIR, TLSUP_STATE_DIR, &changed, &err));
    assert_non_null(strstr(err.text, "/etc/cron.d/tlsup"));
    assert_true(has("/etc/cron.d/tlsup"));
}

static void test_units_of_the_administrator_are_kept(void **state)
{
    struct timer timer;
    bool changed;
    AUTO_BUF text = BUF_INIT;
    (void)state;
    with_systemd();
    put("/etc/systemd/system/tlsup.service", "[Service]\nExecStart=/opt/renew\n", 0644);
    put("/etc/systemd/system/tlsup.timer", "[Timer]\nOnCalendar=hourly\n", 0644);
    ensure(&timer, &changed);
    read_text("/etc/systemd/system/tlsup.service", &text);
    assert_string_equal(buf_str(&text), "[Service]\nExecStart=/opt/renew\n");
}

static void test_systemd_that_refuses(void **state)
{
    struct err err = ERR_INIT, again = ERR_INIT;
    (void)state;
    with_systemd();
    put("/masked", "", 0644);
    refuse(&err);
    assert_non_null(strstr(err.text, "is masked"));
    assert_non_null(strstr(err.advice, "systemctl status tlsup.timer"));
    drop("/masked");
    put("/lame", "", 0644);
    refuse(&again); /* says yes and does nothing */
    assert_non_null(strstr(again.text, "not active"));
}

static void test_never_two_timers(void **state)
{
    struct timer timer;
    bool changed;
    (void)state;
    with_cron(true);
    ensure(&timer, &changed);
    assert_int_equal(timer.kind, TIMER_CRON);
    with_systemd();
    ensure(&timer, &changed);
    assert_int_equal(timer.kind, TIMER_SYSTEMD);
    assert_false(has("/etc/cron.d/tlsup"));
    /* a cron file of somebody else is not ours to remove */
    put("/etc/cron.d/tlsup", "1 2,14 * * * root /usr/bin/other\n", 0644);
    ensure(&timer, &changed);
    assert_true(has("/etc/cron.d/tlsup"));
}

/* A timer that an older version wrote ran twice a day, beside a service of the package's, too. */
static void test_an_older_timer_becomes_hourly(void **state)
{
    static const char old[] = "# Written by tlsup: it renews the certificates that are due.\n"
                              "[Timer]\nOnCalendar=*-*-* 00,12:00:00\nRandomizedDelaySec=12h\n";
    static const char *const services[] = {"/usr/lib/systemd/system/tlsup.service",
                                           "/etc/systemd/system/tlsup.service"};
    (void)state;
    with_systemd();
    for (size_t i = 0; i < COUNT_OF(services); i++) {
        struct timer timer;
        bool changed;
        AUTO_BUF text = BUF_INIT;
        put(services[i], i == 0 ? "[Service]\n" : "# Written by tlsup: old\n", 0644);
        put("/etc/systemd/system/tlsup.timer", old, 0644);
        put("/enabled-tlsup.timer", "", 0644);
        drop("/log");
        ensure(&timer, &changed);
        assert_true(changed && timer.active);
        read_text("/etc/systemd/system/tlsup.timer", &text);
        assert_has(&text, "\nOnCalendar=*-*-* *:07:00\n");
        read_text("/log", &text);
        assert_has(&text, "daemon-reload\n"); /* or systemd goes by the old one */
        ensure(&timer, &changed);
        assert_false(changed);
        drop(services[i]);
    }
}

/* The lines that count, in order: without comments, and without what names this build's paths. */
static void settings_of(const char *text, struct buf *out)
{
    AUTO_STRLIST lines = STRLIST_INIT;
    strlist_split(&lines, text, "\n");
    for (size_t i = 0; i < lines.n; i++)
        if (lines.v[i][0] != '#' && strncmp(lines.v[i], "ExecStart=", 10) != 0 &&
            strncmp(lines.v[i], "RequiresMountsFor=", 18) != 0 &&
            strncmp(lines.v[i], "ConditionDirectoryNotEmpty=", 27) != 0)
            buf_addf(out, "%s\n", lines.v[i]);
}

/* The units of the package, and those that are written where there is none, are two texts of one thing. */
static void test_units_are_those_of_the_package(void **state)
{
    static const char *const units[][2] = {{"tlsup.timer", "tlsup.timer"},
                                           {"tlsup.service", "tlsup.service.in"},
                                           {"tlsup-recover.service", "tlsup-recover.service.in"}};
    const char *srcdir = getenv("srcdir");
    struct timer timer;
    bool changed;
    (void)state;
    with_systemd();
    ensure(&timer, &changed);
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        struct err err = ERR_INIT;
        AUTO_BUF written = BUF_INIT, packaged = BUF_INIT, ours = BUF_INIT, theirs = BUF_INIT;
        AUTO_FREE char *ours_path = mem_fmt("/etc/systemd/system/%s", units[i][0]);
        AUTO_FREE char *path = mem_fmt("%s/systemd/%s", srcdir != NULL ? srcdir : ".", units[i][1]);
        read_text(ours_path, &written);
        if (!fs_read(path, 65536, &packaged, &err))
            fail_msg("%s", err.text);
        settings_of(buf_str(&written), &ours);
        settings_of(buf_str(&packaged), &theirs);
        assert_string_equal(buf_str(&ours), buf_str(&theirs));
    }
}

/* systemd's own judgment of what is written. */
static void test_systemd_accepts_the_units(void **state)
{
    static const char verify[] =
        "out=$(systemd-analyze --man=no verify \"$0\"/etc/systemd/system/tlsup* 2>&1) && [ -z \"$out\" ] || "
        "{ echo \"$out\"; exit 1; }";
    struct timer timer;
    bool changed;
    (void)state;
    if (system("command -v systemd-analyze >/dev/null 2>&1") != 0)
        skip();
    with_systemd();
    ensure(&timer, &changed);
    AUTO_FREE char *command = mem_fmt("sed -i 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' "
                                      "'%s'/etc/systemd/system/tlsup*.service && sh -c '%s' '%s'",
                                      root, verify, root);
    assert_int_equal(system(command), 0);
}

/* -- cron -------------------------------------------------------------------------------------------- */

/* The line that cron obeys. */
static void cron_line(const char *path, char out[512])
{
    AUTO_BUF text = BUF_INIT;
    AUTO_STRLIST lines = STRLIST_INIT;
    read_text(path, &text);
    assert_int_equal(text.data[text.len - 1], '\n'); /* cron ignores a last line without its end */
    strlist_split(&lines, buf_str(&text), "\n");
    snprintf(out, 512, "%s", lines.v[lines.n - 1]);
}

static void test_cron_file(void **state)
{
    struct timer timer;
    bool changed;
    char first[512], second[512];
    struct stat st;
    int minute;
    AUTO_BUF text = BUF_INIT;
    (void)state;
    with_cron(true);
    timer_look(&timer);
    assert_int_equal(timer.kind, TIMER_NONE);
    assert_false(timer.active);
    ensure(&timer, &changed);
    assert_true(changed && timer.active);
    assert_int_equal(timer.kind, TIMER_CRON);
    assert_string_equal(timer.where, "/etc/cron.d/tlsup");
    assert_int_equal(strncmp(timer.next, "in ", 3), 0);
    AUTO_FREE char *path = machine("/etc/cron.d/tlsup");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644); /* cron refuses files that others may write */
    cron_line("/etc/cron.d/tlsup", first);
    assert_int_equal(sscanf(first, "%d ", &minute), 1);
    assert_true(minute > 0 && minute < 60);
    assert_non_null(strstr(first, " * * * * root " TLSUP_SBIN_DIR "/tlsup renew -q"));
    read_text("/etc/cron.d/tlsup", &text);
    assert_has(&text, "\nPATH=/");
    ensure(&timer, &changed); /* the minute is chosen once */
    cron_line("/etc/cron.d/tlsup", second);
    assert_false(changed);
    assert_string_equal(first, second);
}

static void test_minutes_differ_and_are_never_zero(void **state)
{
    struct timer timer;
    bool changed, differs = false;
    char first[512], line[512];
    (void)state;
    with_cron(true);
    ensure(&timer, &changed);
    cron_line("/etc/cron.d/tlsup", first);
    for (int i = 0; i < 100; i++) {
        drop("/etc/cron.d/tlsup");
        ensure(&timer, &changed);
        cron_line("/etc/cron.d/tlsup", line);
        assert_true(atoi(line) >= 1 && atoi(line) <= 59);
        differs |= strcmp(first, line) != 0;
    }
    assert_true(differs);
}

static void test_an_older_cron_file_becomes_hourly(void **state)
{
    struct timer timer;
    bool changed;
    char line[512];
    static const char foreign[] = "5 5,17 * * * root " TLSUP_SBIN_DIR "/tlsup renew -q\n";
    (void)state;
    with_cron(true);
    put("/etc/cron.d/tlsup",
        "# Written by tlsup: it renews the certificates that are due, twice a day.\n"
        "17 3,15 * * * root " TLSUP_SBIN_DIR "/tlsup renew -q\n",
        0644);
    ensure(&timer, &changed);
    assert_true(changed);
    cron_line("/etc/cron.d/tlsup", line);
    assert_non_null(strstr(line, " * * * * root "));
    ensure(&timer, &changed);
    assert_false(changed);
    put("/etc/cron.d/tlsup", foreign, 0644); /* an administrator's, who may have reasons */
    ensure(&timer, &changed);
    assert_false(changed);
    cron_line("/etc/cron.d/tlsup", line);
    assert_int_equal(strncmp(line, foreign, strlen(line)), 0);
}

static void test_cron_files_that_are_there(void **state)
{
    static const struct {
        const char *text;
        bool active;
        const char *next;
    } rows[] = {
        {"17 * * * * root " TLSUP_SBIN_DIR "/tlsup renew -q\n", true, "in 3 minutes"}, /* it is 14:13:20 */
        {"13 * * * * root " TLSUP_SBIN_DIR "/tlsup renew -q\n", true, "in 59 minutes"},
        {"  5\t* * * *\troot " TLSUP_SBIN_DIR "/tlsup renew -q\n", true, "in 51 minutes"},
        {"17 3,15 * * * root " TLSUP_SBIN_DIR "/tlsup renew -q\n", true, ""},
        {"77 * * * * root " TLSUP_SBIN_DIR "/tlsup renew -q\n", true, ""},
        {"7 * * * * root test -d /run/x || { sleep 9; " TLSUP_SBIN_DIR "/tlsup renew -q; }\n", true, ""},
        {"@daily root tlsup renew\n", true, ""},
        {"17 3,15 * * * root /nowhere/tlsup renew -q\n", false, ""}, /* the program has gone */
        {"# 17 3,15 * * * root " TLSUP_SBIN_DIR "/tlsup renew -q\n", false, ""},
        {"", false, ""},
        {"nonsense\n", false, ""},
    };
    (void)state;
    with_cron(true);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct timer timer;
        put("/etc/cron.d/tlsup", rows[i].text, 0644);
        timer_look(&timer);
        if (timer.active != rows[i].active || strcmp(timer.next, rows[i].next) != 0)
            fail_msg("%s: active %d, next \"%s\"", rows[i].text, timer.active, timer.next);
    }
}

static void test_cron_that_does_not_run_is_no_timer(void **state)
{
    struct err err = ERR_INIT;
    struct timer timer;
    (void)state;
    with_cron(false);
    refuse(&err);
    assert_non_null(strstr(err.text, "no cron daemon is running"));
    assert_non_null(strstr(err.advice, "service cron start"));
    timer_look(&timer);
    assert_int_equal(timer.kind, TIMER_CRON);
    assert_false(timer.active);
}

static void test_busybox_crond_does_not_count(void **state)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *link = machine("/usr/sbin/crond");
    (void)state;
    make_dir("/etc/cron.d");
    put("/bin/busybox", "", 0755);
    make_dir("/usr/sbin");
    assert_int_equal(symlink("../../bin/busybox", link), 0);
    refuse(&err);
    assert_non_null(strstr(err.advice, "crontab -e"));
}

/* -- stores of their own ----------------------------------------------------------------------------- */

static void test_own_directories_have_a_timer_of_their_own(void **state)
{
    struct err err = ERR_INIT;
    struct timer timer;
    bool changed;
    char line[512];
    AUTO_BUF text = BUF_INIT;
    (void)state;
    with_cron(true);
    ensure(&timer, &changed);
    if (!timer_ensure("/srv/my certs/100%/etc", "/srv/it's/$state", &timer, &changed, &err))
        fail_msg("%s", err.text);
    assert_string_equal(timer.where, "/etc/cron.d/tlsup-srv-it-s-state");
    assert_true(has("/etc/cron.d/tlsup")); /* that of the other store */
    cron_line("/etc/cron.d/tlsup-srv-it-s-state", line);
    assert_non_null(strstr(
        line, " renew -q --config-dir '/srv/my certs/100'\\%'/etc' --state-dir '/srv/it'\\''s/$state'"));
    with_systemd();
    timer_look_for("/etc/own", TLSUP_STATE_DIR, &timer);
    assert_int_equal(timer.kind, TIMER_NONE);
    if (!timer_ensure("/srv/my certs/100%/etc", "/srv/it's/$state", &timer, &changed, &err))
        fail_msg("%s", err.text);
    assert_string_equal(timer.where, "tlsup-srv-it-s-state.timer");
    read_text("/etc/systemd/system/tlsup-srv-it-s-state.service", &text);
    assert_has(
        &text,
        "/tlsup renew -q --config-dir \"/srv/my certs/100%%/etc\" --state-dir \"/srv/it's/$$state\"\n");
    assert_false(has("/etc/cron.d/tlsup-srv-it-s-state"));
}

static void test_a_path_cannot_smuggle_a_line_in(void **state)
{
    struct err err = ERR_INIT;
    struct timer timer;
    bool changed;
    (void)state;
    with_cron(true);
    assert_false(timer_ensure("/etc/x\n* * * * * root evil", TLSUP_STATE_DIR, &timer, &changed, &err));
    assert_int_equal(err.code, ERR_USAGE);
    AUTO_STRLIST files = STRLIST_INIT;
    AUTO_FREE char *dir = machine("/etc/cron.d");
    struct err list_err = ERR_INIT;
    assert_true(fs_list(dir, &files, &list_err));
    assert_int_equal(files.n, 0);
}

/* -- where nothing can be had ------------------------------------------------------------------------ */

static void test_neither_systemd_nor_cron(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    refuse(&err);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(err.advice, "crontab -e"));
    assert_non_null(strstr(err.advice, "* * * " TLSUP_SBIN_DIR "/tlsup renew -q"));
}

/* In a process that is not root. */
static int as_a_user(void)
{
    struct err err = ERR_INIT;
    struct timer timer;
    bool changed;
    if (timer_ensure("/home/u/etc", "/home/u/var", &timer, &changed, &err) || changed)
        return 1;
    return err.code == ERR_PERMISSION &&
                   strstr(err.advice, "renew -q --config-dir /home/u/etc --state-dir /home/u/var")
               ? 0
               : 2;
}

static void test_users_get_a_line_for_their_crontab(void **state)
{
    int status;
    (void)state;
    with_cron(true);
    AUTO_FREE char *etc = machine("/etc");
    assert_int_equal(chmod(etc, 0555), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(geteuid() == 0 && setuid(65534) != 0 ? 3 : as_a_user());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(chmod(etc, 0755), 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_directory_that_cannot_be_written(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    with_cron(true);
    drop("/etc/cron.d");
    put("/etc/cron.d", "a file in the way", 0644);
    refuse(&err);
    assert_true(strlen(err.text) > 0);
    assert_true(err.code != ERR_NONE && err.code != ERR_INTERNAL);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_installed_units_are_enabled_and_left_alone),
        TEST(test_units_are_written_where_there_are_none),
        TEST(test_a_unit_recovers_before_the_web_servers_start),
        TEST(test_off_and_on_again),
        TEST(test_cron_off),
        TEST(test_units_of_the_administrator_are_kept),
        TEST(test_systemd_that_refuses),
        TEST(test_never_two_timers),
        TEST(test_an_older_timer_becomes_hourly),
        TEST(test_units_are_those_of_the_package),
        TEST(test_systemd_accepts_the_units),
        TEST(test_an_older_cron_file_becomes_hourly),
        TEST(test_cron_file),
        TEST(test_minutes_differ_and_are_never_zero),
        TEST(test_cron_files_that_are_there),
        TEST(test_cron_that_does_not_run_is_no_timer),
        TEST(test_busybox_crond_does_not_count),
        TEST(test_own_directories_have_a_timer_of_their_own),
        TEST(test_a_path_cannot_smuggle_a_line_in),
        TEST(test_neither_systemd_nor_cron),
        TEST(test_users_get_a_line_for_their_crontab),
        TEST(test_directory_that_cannot_be_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
