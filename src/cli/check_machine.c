#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "check.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#ifdef __linux__
#include <sys/timex.h>
#endif
#include <unistd.h>

#include "tlsup/clock.h"
#include "tlsup/front.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

enum {
    FRONTS_MAX = 64,
    SPACE_WARNING_KIB = 16 * 1024,
    SPACE_PROBLEM_KIB = 1024,
    INODES_WARNING = 256,
    INODES_PROBLEM = 16,
    CLOCK_SLACK_S = 3600,
    MOUNTS_MAX = 64,
};

/* This program is not older than that, so it is later now. */
static const char written[] = "2026-11-01T00:00:00Z";

const struct view *check_view(const struct check *check, enum web_kind kind)
{
    for (size_t i = 0; i < check->views.n; i++)
        if ((kind == WEB_NONE || check->views.v[i].web.kind == kind) &&
            check->views.v[i].was_read == VIEW_GOOD)
            return &check->views.v[i];
    return NULL;
}

/* -- web servers ---------------------------------------------------------------------------------------- */

static void check_configuration(struct check *check, const struct view *view)
{
    const char *kind = web_kind_name(view->web.kind);
    if (view->tested == VIEW_BAD) {
        check_found_err(check, SEVERITY_PROBLEM, "web-server-test", NULL, &view->test);
        check_why(
            check,
            "%s does not load a configuration that does not pass its own test; tlsup touches nothing then",
            kind);
    }
    if (view->was_read == VIEW_BAD) {
        check_found_err(check, SEVERITY_PROBLEM, "web-server-read", NULL, &view->read);
        check_why(check, "what cannot be read whole is not edited");
    }
    if (view->compared == VIEW_BAD) {
        check_found_err(check, SEVERITY_PROBLEM, "web-server-compare", NULL, &view->compare);
        check_why(
            check,
            "where tlsup and %s do not see the same configuration, an edit would be a guess: it is refused",
            kind);
    }
    if (view->tested == VIEW_GOOD && view->was_read == VIEW_GOOD && view->compared == VIEW_GOOD)
        check_find(check, SEVERITY_OK, "web-server-test", NULL,
                   "%s's configuration passes its own test, and tlsup reads it as %s does: %zu site%s in %s",
                   kind, kind, view->sites.n, view->sites.n == 1 ? "" : "s", view->web.conf);
}

static void check_running(struct check *check, const struct view *view)
{
    const char *kind = web_kind_name(view->web.kind);
    AUTO_STRLIST commands = STRLIST_INIT;
    if (view->pid > 0) {
        check_find(check, SEVERITY_OK, "web-server", NULL, "%s %s runs (pid %ld)", kind, view->web.version,
                   (long)view->pid);
    } else {
        check_find(check, SEVERITY_WARNING, "web-server", NULL, "%s %s is installed, but does not run", kind,
                   view->web.version);
        check_why(check,
                  "nothing is served until it does; `tlsup enable` starts it through the service manager");
        web_commands(&view->web, &commands);
        if (commands.n > 0)
            check_todo(check, "start it: sudo %s", commands.v[commands.n - 1]);
    }
    if (view->instances > 1) {
        check_find(check, SEVERITY_WARNING, "web-server-instances", NULL,
                   "%zu instances of %s run; tlsup works with the one of pid %ld and %s", view->instances,
                   kind, (long)view->pid, view->web.conf);
        check_todo(check, "name the configuration of another one: --%s-conf FILE", kind);
    }
    if (!view->web.has_ssl && view->web.kind == WEB_NGINX) {
        check_find(check, SEVERITY_PROBLEM, "web-server-tls", NULL,
                   "this nginx was built without its ssl module");
        check_why(check, "it cannot serve https at all");
        check_todo(check, "install the nginx of this system's packages");
    }
}

/* A name whose certificate is installed already goes to that web server. */
static bool all_have_a_server(const struct check *check)
{
    for (size_t i = 0; i < check->names.n; i++) {
        bool found = false;
        for (size_t k = 0; k < check->entries.n && !found; k++)
            found = check->entries.v[k].config.install != WEB_NONE &&
                    strlist_has(&check->entries.v[k].config.names, check->names.v[i]);
        if (!found)
            return false;
    }
    return true;
}

void check_web_servers(struct check *check, const struct err *none)
{
    if (none != NULL) {
        check_found_err(check, check->wants_web ? SEVERITY_PROBLEM : SEVERITY_NOTE, "web-server", NULL, none);
        check_why(check, "`tlsup enable` needs one; `tlsup issue --standalone` does not");
    }
    if (check->views.ambiguous && check->root) {
        bool undecided = check->request->names.n > 0 && !all_have_a_server(check);
        check_find(check, undecided ? SEVERITY_PROBLEM : SEVERITY_WARNING, "web-server-choice", NULL,
                   "nginx and Apache are both here, and neither is the obvious one");
        check_why(check, "`tlsup enable` would not know which one is meant");
        check_todo(check, "say so: --nginx or --apache");
    }
    for (size_t i = 0; i < check->views.n; i++) {
        check_running(check, &check->views.v[i]);
        check_configuration(check, &check->views.v[i]);
    }
}

/* -- ports ---------------------------------------------------------------------------------------------- */

/* Is it a web server that we look at? A user does not see which process of root's holds it. */
static const struct view *view_of_holder(const struct check *check, const struct front *front)
{
    for (size_t i = 0; i < check->views.n; i++) {
        const struct view *view = &check->views.v[i];
        if (front->pid > 0 && front->pid == view->pid)
            return view;
    }
    return NULL;
}

static bool listens_on(const struct view *view, int port)
{
    for (size_t i = 0; i < view->sites.n; i++)
        for (size_t k = 0; k < view->sites.v[i].n_listens; k++)
            if (view->sites.v[i].listens[k].port == port)
                return true;
    return false;
}

static void found_free(struct check *check, int port, const char *about)
{
    const struct view *view = check_view(check, WEB_NONE);
    if (port == 443 || view == NULL || view->pid == 0 || listens_on(view, port)) {
        check_find(check, SEVERITY_OK, about, NULL, "port %d is free", port);
    } else {
        check_find(check, SEVERITY_NOTE, about, NULL, "nothing listens on port 80");
        check_why(check, "the CA asks there (http-01); tlsup answers by itself, for as long as that takes");
    }
}

static void found_taken(struct check *check, int port, const char *about, const struct front *front)
{
    char name[FRONT_NAME_BYTES];
    const struct view *view = check_view(check, WEB_NONE);
    check_find(check, view != NULL || check->wants_web ? SEVERITY_PROBLEM : SEVERITY_NOTE, about, NULL,
               "port %d is taken by %s", port, front_describe(front, name));
    if (view != NULL)
        check_why(check,
                  port == 443 ? "%s cannot serve https on it"
                              : "%s cannot answer the CA's question (http-01) on it",
                  web_kind_name(view->web.kind));
    else
        check_why(check, "no web server that tlsup works with can be asked there");
    check_todo(check, "%s", front_advice(front));
}

static void check_port(struct check *check, int port, const char *about)
{
    struct front front;
    char name[FRONT_NAME_BYTES];
    if (!front_at(port, &front)) {
        found_free(check, port, about);
        return;
    }
    const struct view *view = view_of_holder(check, &front);
    if (view != NULL)
        check_find(check, SEVERITY_OK, about, NULL, "port %d belongs to %s", port,
                   front_describe(&front, name));
    else if (front.pid == 0 && !check->root)
        check_find(check, SEVERITY_NOTE, about, NULL, "port %d is taken, by which program only root can see",
                   port);
    else
        found_taken(check, port, about, &front);
}

/* What runs beside the web server; who holds a port of ours has been told of. */
static void check_fronts(struct check *check)
{
    struct front *running = mem_array(FRONTS_MAX, sizeof *running), plain = {0}, secure = {0};
    char name[FRONT_NAME_BYTES];
    size_t n = front_running(running, FRONTS_MAX);
    bool has_plain = front_at(80, &plain), has_secure = front_at(443, &secure);
    for (size_t i = 0; i < n; i++) {
        bool told =
            (has_plain && plain.pid == running[i].pid) || (has_secure && secure.pid == running[i].pid);
        if (told || running[i].contained || running[i].program->web)
            continue;
        check_find(check, SEVERITY_NOTE, "front", NULL, "%s runs here, too",
                   front_describe(&running[i], name));
        check_why(check, "should it be what visitors meet first, it is what needs the certificate");
        check_todo(check, "%s", front_advice(&running[i]));
    }
    free(running);
}

/* -- the clock ------------------------------------------------------------------------------------------ */

static void consider(const char *path, int64_t *newest_s, char *which, size_t size)
{
    struct stat st;
    if (stat(path, &st) != 0 || (int64_t)st.st_mtime <= *newest_s)
        return;
    *newest_s = st.st_mtime;
    snprintf(which, size, "%s", path);
}

/* A CA dates them back by an hour: none of its certificates begins later than now. */
static void consider_certificate(const struct entry *entry, int64_t *newest_s, char *which, size_t size)
{
    if (!entry->has_info || entry->info.not_before_s <= *newest_s)
        return;
    *newest_s = entry->info.not_before_s;
    snprintf(which, size, "the certificate %s", entry->name);
}

static bool is_kept_right(void)
{
#ifdef __linux__
    struct timex look = {0};
    return adjtimex(&look) != TIME_ERROR;
#else
    return true;
#endif
}

void check_clock(struct check *check)
{
    static const char *const paths[] = {"/etc", "/var/lib", "/var/log", "/proc/self/exe"};
    char now[CLOCK_TEXT_BYTES], then[CLOCK_TEXT_BYTES], which[PATH_MAX] = "";
    int64_t now_s = clock_now_s(), written_s = 0, newest_s = 0;
    clock_format_utc(now_s, now);
    for (size_t i = 0; i < COUNT_OF(paths); i++)
        consider(paths[i], &newest_s, which, sizeof which);
    consider(store_config_dir(check->store), &newest_s, which, sizeof which);
    consider(store_state_dir(check->store), &newest_s, which, sizeof which);
    for (size_t i = 0; i < check->views.n; i++)
        consider(check->views.v[i].web.conf, &newest_s, which, sizeof which);
    for (size_t i = 0; i < check->entries.n; i++)
        consider_certificate(&check->entries.v[i], &newest_s, which, sizeof which);
    if (clock_parse_rfc3339(written, &written_s) && now_s < written_s) {
        check_find(check, SEVERITY_PROBLEM, "clock", NULL, "the clock of this machine is behind: it says %s",
                   now);
    } else if (newest_s > now_s + CLOCK_SLACK_S) {
        check_find(check, SEVERITY_PROBLEM, "clock", NULL,
                   "the clock of this machine may be behind: it says %s, but %s is of %s", now, which,
                   clock_format_utc(newest_s, then));
    } else if (!is_kept_right()) {
        check_find(check, SEVERITY_NOTE, "clock", NULL,
                   "nothing that the system knows of keeps the clock right; it says %s", now);
        check_todo(check, "have it set by NTP: chrony, systemd-timesyncd or ntpd");
        return;
    } else {
        check_find(check, SEVERITY_OK, "clock", NULL, "the clock says %s", now);
        return;
    }
    check_why(check, "certificates hold from one instant to another, and renewals go by the clock");
    check_todo(check, "set it, and have NTP keep it right: chrony, systemd-timesyncd or ntpd");
}

/* -- disk ----------------------------------------------------------------------------------------------- */

/* The directory itself, or the nearest above it that is there. */
static char *existing(const char *path)
{
    char *at = mem_dup(path);
    while (!fs_is_dir(at) && strcmp(at, "/") != 0) {
        char *above = fs_dirname(at);
        free(at);
        at = above;
    }
    return at;
}

static bool check_room(struct check *check, const char *about, const char *path)
{
    struct statvfs disk;
    if (statvfs(path, &disk) != 0)
        return true;
    unsigned long long free_kib = (unsigned long long)disk.f_bavail * disk.f_frsize / 1024;
    if (free_kib < SPACE_WARNING_KIB) {
        check_find(check, free_kib < SPACE_PROBLEM_KIB ? SEVERITY_PROBLEM : SEVERITY_WARNING, about, NULL,
                   "only %llu KiB are left on the disk of %s", free_kib, path);
        check_why(check,
                  "a certificate takes little, but its key must be written before it can be asked for");
        check_todo(check, "make room: df -h %s", path);
        return false;
    }
    if (disk.f_files > 0 && disk.f_favail < INODES_WARNING) {
        check_find(check, disk.f_favail < INODES_PROBLEM ? SEVERITY_PROBLEM : SEVERITY_WARNING, about, NULL,
                   "only %llu more files fit on the disk of %s (inodes)", (unsigned long long)disk.f_favail,
                   path);
        check_todo(check, "remove what is many and small: df -i %s", path);
        return false;
    }
    return true;
}

/* Whoever can change what lies there can be anybody to this machine's visitors. */
static void check_mode(struct check *check, const char *path, mode_t forbidden, const char *what,
                       const char *mode)
{
    struct stat st;
    if (stat(path, &st) != 0 || (st.st_mode & forbidden) == 0)
        return;
    check_find(check, SEVERITY_WARNING, "permissions", NULL,
               "%s can be %s by others on this machine (mode %04o)", path, what,
               (unsigned)(st.st_mode & 07777));
    check_why(check, "keys of certificates and accounts are theirs then");
    check_todo(check, "sudo chmod %s %s", mode, path);
}

static void check_permissions(struct check *check)
{
    AUTO_FREE char *key = fs_join(store_state_dir(check->store), "accounts/key.pem");
    check_mode(check, store_state_dir(check->store), S_IWOTH, "changed", "o-w");
    check_mode(check, store_config_dir(check->store), S_IWOTH, "changed", "o-w");
    check_mode(check, key, S_IRWXO | S_IRWXG, "read", "600");
    for (size_t i = 0; check->root && i < check->entries.n; i++) {
        const struct entry *entry = &check->entries.v[i];
        AUTO_FREE char *live = entry->live_path != NULL ? fs_join(entry->live_path, "privkey.pem") : NULL;
        if (live != NULL)
            check_mode(check, live, S_IRWXO | S_IWGRP, "read", "o-rwx,g-w");
    }
}

static void check_directory(struct check *check, const char *about, const char *path)
{
    AUTO_FREE char *there = existing(path);
    bool well = check_room(check, about, there);
    struct statvfs disk;
    bool read_only = statvfs(there, &disk) == 0 && (disk.f_flag & ST_RDONLY) != 0;
    if (read_only || (check->root && access(there, W_OK) != 0)) {
        check_find(check, SEVERITY_PROBLEM, about, NULL, "%s cannot be written to%s", there,
                   read_only ? ": its file system is read-only" : "");
        check_why(check, "keys, certificates and what was done are kept there");
        check_stops(check);
        check_todo(check, "mount it writable, or name another place: --config-dir DIR, --state-dir DIR");
    } else if (well && check->root) {
        check_find(check, SEVERITY_OK, about, NULL, "%s can be written to, with room on its disk", there);
    }
}

/* Each file system that holds a file of the web server's: once. */
static void check_mount(struct check *check, const char *path, dev_t *seen, size_t *n)
{
    struct statvfs disk;
    struct stat st;
    if (*n == MOUNTS_MAX || stat(path, &st) != 0)
        return;
    for (size_t i = 0; i < *n; i++)
        if (seen[i] == st.st_dev)
            return;
    seen[(*n)++] = st.st_dev;
    if (statvfs(path, &disk) != 0 || (disk.f_flag & ST_RDONLY) == 0)
        return;
    check_find(check, SEVERITY_PROBLEM, "web-server-disk", NULL, "%s is on a read-only file system", path);
    check_why(check, "the web server's configuration cannot be edited there");
    check_todo(
        check,
        "mount it writable, or get the certificate alone with `tlsup issue` and write the lines where that "
        "configuration comes from");
}

void check_disks(struct check *check)
{
    dev_t seen[MOUNTS_MAX];
    size_t n = 0;
    check_directory(check, "state-directory", store_state_dir(check->store));
    check_directory(check, "config-directory", store_config_dir(check->store));
    for (size_t i = 0; i < check->views.n; i++) {
        const struct view *view = &check->views.v[i];
        check_mount(check, view->web.conf, seen, &n);
        for (size_t k = 0; k < view->sites.n; k++)
            check_mount(check, view->sites.v[k].file, seen, &n);
    }
}

/* -- renewals ------------------------------------------------------------------------------------------- */

static void check_timer(struct check *check)
{
    struct timer timer;
    timer_look_for(store_config_dir(check->store), store_state_dir(check->store), &timer);
    if (timer.active) {
        check_find(check, SEVERITY_OK, "renewals", NULL, "renewals are started by %s", timer.where);
        return;
    }
    enum severity severity = check->entries.n > 0 ? SEVERITY_WARNING : SEVERITY_OK;
    if (timer.kind == TIMER_SYSTEMD) {
        check_find(check, severity, "renewals", NULL, "%s does not run, so nothing is renewed by itself",
                   timer.where);
        check_todo(check, "sudo systemctl enable --now %s", timer.where);
    } else if (timer.kind == TIMER_CRON) {
        check_find(check, severity, "renewals", NULL,
                   "%s is there, but no cron daemon runs, so nothing is renewed by itself", timer.where);
        check_todo(check, "start cron, or call `tlsup renew` each hour by whatever this system has");
    } else {
        check_find(check, severity, "renewals", NULL, "no timer runs tlsup renew yet");
        check_todo(check, check->entries.n > 0 ? "sudo tlsup timer on" : "enable and issue set one up");
    }
}

/* tlsup.conf, which every run reads. */
static void check_settings(struct check *check)
{
    struct machine_config config;
    struct err why = ERR_INIT;
    if (store_machine_config(check->store, &config, &why)) {
        machine_config_clear(&config);
        return;
    }
    if (!check->root && why.code == ERR_PERMISSION)
        return;
    check_found_err(check, SEVERITY_PROBLEM, "configuration", NULL, &why);
    check_why(check, "nothing is got or renewed before it can be read");
}

void check_machine(struct check *check)
{
    check_settings(check);
    check_port(check, 80, "port-80");
    check_port(check, 443, "port-443");
    check_fronts(check);
    check_clock(check);
    check_disks(check);
    check_permissions(check);
    check_timer(check);
}
