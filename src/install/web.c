/*
 * web.c - the installer's front: which web server, is it running, test it, reload it, where to ask it.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tlsup/web.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

enum {
    HTTP_PORT = 80,
    CANDIDATES_MAX = 4096,
    SETTLE_MS = 600,  /* how long a master must live on after a reload */
    START_MS = 10000, /* how long a service may take to have a master, and a master to take signals */
    TITLE_MS = 1000,  /* how long nginx's own title of a master is waited for */
    STEP_MS = 20,
    WORKERS_MAX = 1024,
    OLD_WORKERS_MS = 3000,
    SERVICE_TIMEOUT_MS = 90000,
    TCP_LISTEN = 0x0a,
    NGINX_TWO_SINCE = 1011000, /* more than one ssl_certificate in a server */
};

static const struct web_driver *const drivers[] = {&nginx_driver, &apache_driver};

static const struct web_driver *driver_of(enum web_kind kind)
{
    for (size_t i = 0; i < COUNT_OF(drivers); i++) {
        if (drivers[i]->kind == kind) {
            return drivers[i];
        }
    }
    return NULL;
}

/* ---- processes ---- */

struct process {
    pid_t pid, parent;
};

/* The target of a link below /proc, "" when it cannot be read. */
static void proc_link(const char *path, char *out, size_t size)
{
    ssize_t n = readlink(path, out, size - 1);
    out[n > 0 ? n : 0] = '\0';
}

/* A process of this machine, not of a container: our network, and our root directory. A mount namespace of
 * its own is no reason to doubt: systemd gives one to every service with a private /tmp, Debian's Apache
 * among them. */
static bool same_machine(long pid)
{
    char ours[128], theirs[128];
    struct stat our_root, their_root;
    AUTO_FREE char *net = mem_fmt("/proc/%ld/ns/net", pid);
    AUTO_FREE char *root = mem_fmt("/proc/%ld/root/.", pid);
    proc_link("/proc/self/ns/net", ours, sizeof ours);
    proc_link(net, theirs, sizeof theirs);
    return theirs[0] != '\0' && strcmp(ours, theirs) == 0 && stat("/", &our_root) == 0 &&
           stat(root, &their_root) == 0 && our_root.st_dev == their_root.st_dev &&
           our_root.st_ino == their_root.st_ino;
}

/* State letter and parent out of /proc/PID/stat; the name in it may hold anything, so it is read from the
 * last ')'. */
static bool read_stat(long pid, char *state, pid_t *parent)
{
    AUTO_FREE char *path = mem_fmt("/proc/%ld/stat", pid);
    AUTO_BUF text = BUF_INIT;
    struct err ignored = ERR_INIT;
    long value;
    if (!fs_read(path, 65536, &text, &ignored)) {
        return false;
    }
    const char *end = strrchr(buf_str(&text), ')');
    if (end == NULL || sscanf(end + 1, " %c %ld", state, &value) != 2) {
        return false;
    }
    *parent = (pid_t)value;
    return true;
}

/* The base name of a process's executable; one that was replaced by an upgrade still counts. */
static void program_name(long pid, char *out, size_t size)
{
    char path[PATH_MAX];
    AUTO_FREE char *link = mem_fmt("/proc/%ld/exe", pid);
    proc_link(link, path, sizeof path);
    char *deleted = strstr(path, " (deleted)");
    if (deleted != NULL) {
        *deleted = '\0';
    }
    const char *slash = strrchr(path, '/');
    snprintf(out, size, "%.*s", (int)size - 1, slash != NULL ? slash + 1 : path);
}

static bool is_program(long pid, const char *const *names)
{
    char name[256];
    program_name(pid, name, sizeof name);
    for (size_t i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_alive(pid_t pid)
{
    char state;
    pid_t parent;
    return pid > 0 && read_stat(pid, &state, &parent) && state != 'Z' && state != 'X';
}

static size_t processes_of(const char *const *names, struct process *out, size_t max)
{
    AUTO_STRLIST entries = STRLIST_INIT;
    struct err ignored = ERR_INIT;
    size_t n = 0;
    if (!fs_list("/proc", &entries, &ignored)) {
        return 0;
    }
    for (size_t i = 0; i < entries.n && n < max; i++) {
        char state;
        if (!isdigit((unsigned char)entries.v[i][0])) {
            continue;
        }
        long pid = strtol(entries.v[i], NULL, 10);
        if (is_program(pid, names) && same_machine(pid) && read_stat(pid, &state, &out[n].parent)) {
            out[n++].pid = (pid_t)pid;
        }
    }
    return n;
}

static bool is_among(pid_t pid, const struct process *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i].pid == pid) {
            return true;
        }
    }
    return false;
}

size_t web_masters(const char *const *names, pid_t *out, size_t max)
{
    struct process *list = mem_array(CANDIDATES_MAX, sizeof *list);
    size_t n = processes_of(names, list, CANDIDATES_MAX), found = 0;
    for (size_t i = 0; i < n && found < max; i++) {
        if (!is_among(list[i].parent, list, n)) {
            out[found++] = list[i].pid;
        }
    }
    free(list);
    return found;
}

pid_t web_master(const char *const *names, bool *several)
{
    pid_t pids[2] = {0};
    size_t n = web_masters(names, pids, COUNT_OF(pids));
    if (several != NULL) {
        *several = n > 1;
    }
    return n > 0 ? pids[0] : 0;
}

/* ---- who has port 80 ---- */

/* Inodes of listening TCP sockets on `port` (0 = any), as the text of their links: "socket:[123]". */
static void listening_sockets(const char *table, int port, struct strlist *out)
{
    FILE *file = fopen(table, "re");
    char line[512];
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        unsigned local, state;
        unsigned long inode;
        if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*s %*s %lu", &local,
                   &state, &inode) == 3 &&
            (port == 0 || local == (unsigned)port) && state == TCP_LISTEN) {
            AUTO_FREE char *text = mem_fmt("socket:[%lu]", inode);
            strlist_add(out, text);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

static bool holds_port(pid_t pid, int port)
{
    AUTO_STRLIST sockets = STRLIST_INIT, fds = STRLIST_INIT;
    struct err ignored = ERR_INIT;
    AUTO_FREE char *dir = mem_fmt("/proc/%ld/fd", (long)pid);
    listening_sockets("/proc/net/tcp", port, &sockets);
    listening_sockets("/proc/net/tcp6", port, &sockets);
    if (sockets.n == 0 || !fs_list(dir, &fds, &ignored)) {
        return false;
    }
    for (size_t i = 0; i < fds.n; i++) {
        char target[128];
        AUTO_FREE char *link = fs_join(dir, fds.v[i]);
        proc_link(link, target, sizeof target);
        if (strlist_has(&sockets, target)) {
            return true;
        }
    }
    return false;
}

/* ---- workers ---- */

static void pause_step(void)
{
    struct timespec step = {.tv_nsec = STEP_MS * 1000000L};
    nanosleep(&step, NULL);
}

/* The processes that work for the master now. */
struct workers {
    pid_t v[WORKERS_MAX];
    size_t n;
};

static void find_workers(pid_t master, struct workers *out)
{
    AUTO_STRLIST entries = STRLIST_INIT;
    struct err ignored = ERR_INIT;
    out->n = 0;
    if (master == 0 || !fs_list("/proc", &entries, &ignored)) {
        return;
    }
    for (size_t i = 0; i < entries.n && out->n < WORKERS_MAX; i++) {
        char state;
        pid_t parent;
        long pid = strtol(entries.v[i], NULL, 10);
        if (isdigit((unsigned char)entries.v[i][0]) && read_stat(pid, &state, &parent) && parent == master) {
            out->v[out->n++] = (pid_t)pid;
        }
    }
}

static bool any_listens(const struct workers *workers)
{
    for (size_t i = 0; i < workers->n; i++) {
        if (is_alive(workers->v[i]) && holds_port(workers->v[i], 0)) {
            return true;
        }
    }
    return false;
}

/* New workers are there before the old ones are told to go, and for a while both take connections: one answer
 * would say nothing of the next. Those that have closed their sockets only finish what they are at. */
static void wait_for_old_workers(const struct workers *old)
{
    int64_t deadline_ms = clock_mono_ms() + OLD_WORKERS_MS;
    while (clock_mono_ms() < deadline_ms && any_listens(old)) {
        pause_step();
    }
}

/* ---- services ---- */

static bool has_systemd(void)
{
    return fs_is_dir("/run/systemd/system");
}

/* Run a service manager; its exit status, or -1. The output goes to `out` (may be NULL). */
static int run(const char *const *argv, struct buf *out)
{
    struct spawn_options options = {.timeout_ms = SERVICE_TIMEOUT_MS};
    struct spawn_result result = {0};
    struct err ignored = ERR_INIT;
    if (!spawn_run(argv, &options, &result, &ignored)) {
        return -1;
    }
    if (out != NULL) {
        buf_adds(out, buf_str(&result.output));
    }
    int status = result.timed_out ? -1 : result.status;
    spawn_result_clear(&result);
    return status;
}

/* The unit whose main process is the master. */
static void find_unit(const struct web_driver *driver, struct web *web)
{
    web->unit[0] = '\0';
    for (size_t i = 0; web->master_pid != 0 && has_systemd() && driver->units[i] != NULL; i++) {
        AUTO_FREE char *unit = mem_fmt("%s.service", driver->units[i]);
        const char *argv[] = {"systemctl", "show", "-p", "MainPID", "--value", unit, NULL};
        AUTO_BUF out = BUF_INIT;
        if (run(argv, &out) == 0 && strtol(buf_str(&out), NULL, 10) == (long)web->master_pid) {
            snprintf(web->unit, sizeof web->unit, "%s", unit);
            return;
        }
    }
}

/* ---- find ---- */

/* How to install a web server, by the ID and ID_LIKE of /etc/os-release. */
static const char *install_command(void)
{
    static const struct {
        const char *id, *command;
    } table[] = {
        {"debian", "apt install nginx"},      {"ubuntu", "apt install nginx"},
        {"fedora", "dnf install nginx"},      {"rhel", "dnf install nginx"},
        {"centos", "dnf install nginx"},      {"alpine", "apk add nginx"},
        {"arch", "pacman -S nginx"},          {"suse", "zypper install nginx"},
        {"opensuse", "zypper install nginx"}, {"gentoo", "emerge www-servers/nginx"},
        {"void", "xbps-install nginx"},       {"freebsd", "pkg install nginx"},
    };
    AUTO_BUF text = BUF_INIT;
    AUTO_STRLIST lines = STRLIST_INIT;
    struct err ignored = ERR_INIT;
    if (!fs_read("/etc/os-release", 65536, &text, &ignored) &&
        !fs_read("/usr/lib/os-release", 65536, &text, &ignored)) {
        return NULL;
    }
    strlist_split(&lines, buf_str(&text), "\n");
    for (size_t i = 0; i < lines.n; i++) {
        AUTO_STRLIST words = STRLIST_INIT;
        strlist_split(&words, lines.v[i], "=\"' \t\r");
        bool tells = words.n > 1 && (strcmp(words.v[0], "ID") == 0 || strcmp(words.v[0], "ID_LIKE") == 0);
        for (size_t t = 0; tells && t < COUNT_OF(table); t++) {
            if (strlist_has(&words, table[t].id)) {
                return table[t].command;
            }
        }
    }
    return NULL;
}

static bool none_installed(enum web_kind wanted, struct err *err)
{
    const char *command = install_command();
    err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, wanted == WEB_NONE ? "web server" : web_kind_name(wanted),
            wanted == WEB_NONE ? "no web server is installed here: neither nginx nor Apache"
                               : "%s is not installed here",
            web_kind_name(wanted));
    if (wanted == WEB_APACHE || command == NULL) {
        return err_advise(err, "Install %s with this system's package manager, then try again.",
                          wanted == WEB_APACHE ? "Apache" : "nginx");
    }
    return err_advise(err, "Install one, for example: %s", command);
}

static bool take(const struct web *found, struct web *out)
{
    *out = *found;
    find_unit(driver_of(out->kind), out);
    return true;
}

static bool ambiguous(const char *why, struct err *err)
{
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, "", "nginx and Apache are both %s here", why);
    return err_advise(err, "Say which one to use: --nginx or --apache");
}

static bool choose(const struct web *found, const bool *installed, struct web *out, struct err *err)
{
    bool running[COUNT_OF(drivers)], port80[COUNT_OF(drivers)];
    for (size_t i = 0; i < COUNT_OF(drivers); i++) {
        running[i] = installed[i] && found[i].master_pid != 0;
        port80[i] = running[i] && holds_port(found[i].master_pid, HTTP_PORT);
    }
    if (running[0] && running[1]) {
        return port80[0] != port80[1] ? take(&found[port80[1]], out) : ambiguous("running", err);
    }
    if (running[0] != running[1]) {
        return take(&found[running[1]], out);
    }
    if (installed[0] && installed[1]) {
        return ambiguous("installed, and none is running,", err);
    }
    return installed[0] || installed[1] ? take(&found[installed[1]], out) : none_installed(WEB_NONE, err);
}

/* Somebody who says where nginx is means nginx. */
static enum web_kind kind_of_hints(const struct web_hints *hints)
{
    bool nginx = hints != NULL && (hints->nginx_bin != NULL || hints->nginx_conf != NULL);
    bool apache = hints != NULL && (hints->apache_ctl != NULL || hints->apache_conf != NULL);
    return nginx == apache ? WEB_NONE : nginx ? WEB_NGINX : WEB_APACHE;
}

bool web_find(enum web_kind wanted, const struct web_hints *hints, struct web *out, struct err *err)
{
    struct web found[COUNT_OF(drivers)];
    bool installed[COUNT_OF(drivers)] = {false};
    if (wanted == WEB_NONE) {
        wanted = kind_of_hints(hints);
    }
    for (size_t i = 0; i < COUNT_OF(drivers); i++) {
        if (wanted != WEB_NONE && drivers[i]->kind != wanted) {
            continue;
        }
        installed[i] = drivers[i]->find(hints, &found[i], err);
        if (err_isset(err)) {
            return false;
        }
    }
    if (wanted == WEB_NONE) {
        return choose(found, installed, out, err);
    }
    for (size_t i = 0; i < COUNT_OF(drivers); i++) {
        if (installed[i]) {
            return take(&found[i], out);
        }
    }
    return none_installed(wanted, err);
}

/* ---- test, read, edit: the driver's ---- */

bool web_test(const struct web *web, struct err *err)
{
    return driver_of(web->kind)->test(web, err);
}

bool web_read(const struct web *web, struct sites *out, struct err *err)
{
    return driver_of(web->kind)->read(web, out, err);
}

const struct site *sites_owner(const struct web *web, const struct sites *sites, const char *name, int port,
                               bool explicit_only)
{
    return driver_of(web->kind)->owner(sites, name, port, explicit_only);
}

const struct site *sites_owner_at(const struct web *web, const struct sites *sites, const char *name,
                                  const char *address, int port, bool explicit_only)
{
    return driver_of(web->kind)->owner_at(sites, name, address, port, explicit_only);
}

bool web_compare(const struct web *web, const struct sites *sites, struct err *err)
{
    return driver_of(web->kind)->compare(web, sites, err);
}

bool web_read_disabled(const struct web *web, const struct sites *sites, struct sites *out, struct err *err)
{
    sites_clear(out);
    return driver_of(web->kind)->read_disabled(web, sites, out, err);
}

char *web_enable_command(const struct web *web, const struct site *site)
{
    return driver_of(web->kind)->enable_command(web, site);
}

static void add_once(struct strlist *list, const char *text)
{
    if (list != NULL && !strlist_has(list, text))
        strlist_add(list, text);
}

static void find_in_file(const char *path, const char *data, size_t len, const char *text,
                         struct strlist *files, struct strlist *places)
{
    size_t line = 1;
    for (const char *at = data, *end = data + len; at < end; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t line_len = newline != NULL ? (size_t)(newline - at) : (size_t)(end - at);
        const char *first = at + strspn(at, " \t");
        if (*first != '#' && memmem(at, line_len, text, strlen(text)) != NULL) {
            AUTO_FREE char *place = mem_fmt("%s:%zu", path, line);
            add_once(files, path);
            add_once(places, place);
        }
        at += line_len + 1;
    }
}

void web_mentions(const struct web *web, const struct sites *sites, const char *text, struct strlist *files,
                  struct strlist *places)
{
    const char *path, *data;
    size_t len;
    for (size_t n = 0; (path = driver_of(web->kind)->file_at(sites, n, &data, &len)) != NULL; n++)
        if (len > 0 && memmem(data, len, text, strlen(text)) != NULL)
            find_in_file(path, data, len, text, files, places);
}

bool web_edit_challenge(const struct web *web, const struct sites *sites, const struct strlist *names,
                        const char *thumbprint, struct txn *txn, struct err *err)
{
    return driver_of(web->kind)->edit_challenge(web, sites, names, thumbprint, txn, err);
}

bool web_edit_https(const struct web *web, const struct sites *sites, const struct web_https *https,
                    struct txn *txn, struct err *err)
{
    return driver_of(web->kind)->edit_https(web, sites, https, txn, err);
}

/* ---- reload ---- */

/* The master, looked for by the name of its executable. */
static pid_t current_master(const struct web *web)
{
    const char *slash = strrchr(web->bin, '/');
    const char *const names[] = {slash != NULL ? slash + 1 : web->bin, NULL};
    pid_t pids[32];
    size_t n = web_masters(names, pids, COUNT_OF(pids));
    for (size_t i = 0; i < n; i++) {
        if (pids[i] == web->master_pid) {
            return pids[i];
        }
    }
    return n == 1 ? pids[0] : 0;
}

bool web_alive(const struct web *web, bool settle, struct err *err)
{
    int watched_ms = 0;
    for (;;) {
        if (web->master_pid != 0 && !is_alive(web->master_pid)) {
            err_set(err, ERR_WEBSERVER, NEXT_LOCAL_FAULT, web_kind_name(web->kind),
                    "%s (process %ld) ended when it was told to reload", web_kind_name(web->kind),
                    (long)web->master_pid);
            return err_advise(err, "Its error log says why.");
        }
        if (!settle || web->master_pid == 0 || watched_ms >= SETTLE_MS) {
            return true;
        }
        pause_step();
        watched_ms += STEP_MS;
    }
}

static bool reload_unit(const struct web *web, struct err *err)
{
    const char *argv[] = {"systemctl", "reload", web->unit, NULL};
    AUTO_BUF out = BUF_INIT;
    if (run(argv, &out) == 0) {
        return true;
    }
    err_set(err, ERR_WEBSERVER, NEXT_LOCAL_FAULT, web->unit, "systemctl reload %s failed: %.800s", web->unit,
            buf_str(&out));
    return err_advise(err, "See: systemctl status %s", web->unit);
}

/* Is the signal handled? By default it would end the process. */
static bool is_caught(pid_t pid, int signal_number)
{
    AUTO_FREE char *path = mem_fmt("/proc/%ld/status", (long)pid);
    AUTO_BUF text = BUF_INIT;
    struct err ignored = ERR_INIT;
    const char *line = fs_read(path, 65536, &text, &ignored) ? strstr(buf_str(&text), "\nSigCgt:") : NULL;
    unsigned long long mask = line != NULL ? strtoull(line + strlen("\nSigCgt:"), NULL, 16) : 0;
    return (mask >> (signal_number - 1) & 1) != 0;
}

static bool has_title(pid_t pid, const char *title)
{
    AUTO_FREE char *path = mem_fmt("/proc/%ld/cmdline", (long)pid);
    AUTO_BUF text = BUF_INIT;
    struct err ignored = ERR_INIT;
    return fs_read(path, 65536, &text, &ignored) && strncmp(buf_str(&text), title, strlen(title)) == 0;
}

/* nginx puts aside what comes after its handlers are there and before it waits for signals, until the next
 * signal; its title says that this is over. As a single process it has none, and nothing to put aside. */
static bool heeds_signals(const struct web *web, int waited_ms)
{
    return is_caught(web->master_pid, driver_of(web->kind)->reload_signal) &&
           (web->kind != WEB_NGINX || waited_ms >= TITLE_MS ||
            has_title(web->master_pid, "nginx: master process"));
}

/* A master that is only just starting must not be signalled: it would end. It may change its number on the
 * way. */
static bool wait_until_started(struct web *web, struct err *err)
{
    const char *kind = web_kind_name(web->kind);
    for (int waited_ms = 0; waited_ms < START_MS; waited_ms += STEP_MS) {
        if (heeds_signals(web, waited_ms)) {
            return true;
        }
        pause_step();
        pid_t now = current_master(web);
        if (now == 0) {
            err_set(err, ERR_WEBSERVER, NEXT_LOCAL_FAULT, kind,
                    "%s (process %ld) ended while it was starting", kind, (long)web->master_pid);
            return err_advise(err, "Its error log says why.");
        }
        web->master_pid = now;
    }
    err_set(err, ERR_WEBSERVER, NEXT_LOCAL_FAULT, kind,
            "%s (process %ld) is still starting: it cannot be told to reload yet", kind,
            (long)web->master_pid);
    return err_advise(err, "Try again when it has started.");
}

static bool reload_signal(struct web *web, int signal_number, struct err *err)
{
    if (!wait_until_started(web, err)) {
        return false;
    }
    if (kill(web->master_pid, signal_number) == 0) {
        return true;
    }
    return err_errno(err, errno, web_kind_name(web->kind), "cannot signal %s (process %ld)",
                     web_kind_name(web->kind), (long)web->master_pid);
}

/* Service managers, in the order in which they are asked. The service's name is put in for "%s". */
struct manager {
    const char *argv[4];
    const char *needs; /* a path that must exist */
};
static const struct manager managers[] = {
    {{"systemctl", "start", "%s", NULL}, "/run/systemd/system"},
    {{"rc-service", "%s", "start", NULL}, "/etc/init.d/%s"},
    {{"service", "%s", "start", NULL}, "/etc/init.d/%s"},
    {{"service", "%s", "start", NULL}, "/usr/local/etc/rc.d/%s"},
};

/* `text` with the service's name in the place of "%s". */
static char *with_name(const char *text, const char *name)
{
    const char *at = strstr(text, "%s");
    return at == NULL ? mem_dup(text) : mem_fmt("%.*s%s%s", (int)(at - text), text, name, at + 2);
}

static bool start_with(const struct manager *manager, const char *service, struct buf *out)
{
    AUTO_FREE char *needs = with_name(manager->needs, service);
    AUTO_FREE char *second = with_name(manager->argv[1], service);
    AUTO_FREE char *third = with_name(manager->argv[2], service);
    const char *argv[] = {manager->argv[0], second, third, NULL};
    return fs_exists(needs) && spawn_find(argv[0]) && run(argv, out) == 0;
}

static bool wait_for_master(struct web *web)
{
    for (int waited_ms = 0; waited_ms < START_MS; waited_ms += STEP_MS) {
        web->master_pid = current_master(web);
        if (web->master_pid != 0) {
            return true;
        }
        pause_step();
    }
    return false;
}

static bool start(struct web *web, struct err *err)
{
    const struct web_driver *driver = driver_of(web->kind);
    const char *kind = web_kind_name(web->kind);
    AUTO_BUF out = BUF_INIT;
    for (size_t m = 0; m < COUNT_OF(managers); m++) {
        for (size_t u = 0; driver->units[u] != NULL; u++) {
            if (start_with(&managers[m], driver->units[u], &out) && wait_for_master(web)) {
                find_unit(driver, web);
                return true;
            }
        }
    }
    err_set(err, ERR_WEBSERVER, NEXT_LOCAL_FAULT, kind,
            "%s is not running, and could not be started through a service manager%s%.800s", kind,
            out.len > 0 ? ":\n" : "", buf_str(&out));
    return err_advise(err, "Start %s the way this system starts it, then try again.", kind);
}

bool web_reload(struct web *web, struct err *err)
{
    struct workers old;
    pid_t now = current_master(web);
    if (now == 0) {
        web->master_pid = 0;
        web->unit[0] = '\0';
        return start(web, err);
    }
    if (now != web->master_pid) {
        web->master_pid = now; /* restarted since we looked */
        find_unit(driver_of(web->kind), web);
    }
    find_workers(web->master_pid, &old);
    bool told = web->unit[0] != '\0' ? reload_unit(web, err)
                                     : reload_signal(web, driver_of(web->kind)->reload_signal, err);
    if (told) {
        wait_for_old_workers(&old);
    }
    return told;
}

void web_commands(const struct web *web, struct strlist *out)
{
    const struct web_driver *driver = driver_of(web->kind);
    driver->test_command(web, out);
    if (web->unit[0] != '\0') {
        AUTO_FREE char *reload = mem_fmt("systemctl reload %s", web->unit);
        strlist_add(out, reload);
    } else if (web->master_pid != 0) {
        AUTO_FREE char *reload =
            mem_fmt("kill -%s %ld", driver->reload_signal == SIGHUP ? "HUP" : "USR1", (long)web->master_pid);
        strlist_add(out, reload);
    } else {
        AUTO_FREE char *start =
            mem_fmt("%s %s start", has_systemd() ? "systemctl" : "service", driver->units[0]);
        AUTO_FREE char *start_unit = mem_fmt("systemctl start %s", driver->units[0]);
        strlist_add(out, has_systemd() ? start_unit : start);
    }
}

/* ---- where to ask ---- */

static bool specific_listener(const struct sites *sites, const char *address, int port)
{
    for (size_t i = 0; i < sites->n; i++) {
        if (site_listens_at(&sites->v[i], address, port)) {
            return true;
        }
    }
    return false;
}

/* A loopback address that reaches the IPv4 wildcard: not one on which somebody listens specially. */
static void add_loopback4(const struct sites *sites, int port, struct strlist *out)
{
    for (int i = 1; i < 255; i++) {
        AUTO_FREE char *address = mem_fmt("127.0.0.%d", i);
        if (!specific_listener(sites, address, port)) {
            if (!strlist_has(out, address)) {
                strlist_add(out, address);
            }
            return;
        }
    }
}

/* "[::]" that nobody listens on, though the port is open: Apache's `Listen 80` is IPv4 alone on a machine
 * whose only IPv6 address is that of loopback. */
static bool is_without_v6(const char *address, int port)
{
    AUTO_STRLIST v4 = STRLIST_INIT, v6 = STRLIST_INIT;
    if (strcmp(address, "[::]") != 0) {
        return false;
    }
    listening_sockets("/proc/net/tcp", port, &v4);
    listening_sockets("/proc/net/tcp6", port, &v6);
    return v4.n > 0 && v6.n == 0;
}

static void add_numeric(const struct sites *sites, const char *address, int port, struct strlist *out)
{
    size_t len = strlen(address);
    if (strcmp(address, "*") == 0) {
        add_loopback4(sites, port, out);
        return;
    }
    if (strcmp(address, "[::]") == 0 && specific_listener(sites, "[::1]", port)) {
        return;
    }
    AUTO_FREE char *bare = address[0] == '[' && len > 2 ? mem_ndup(address + 1, len - 2) : mem_dup(address);
    const char *numeric = strcmp(bare, "::") == 0 ? "::1" : bare;
    bool is_number = strchr(numeric, ':') != NULL || strspn(numeric, "0123456789.") == strlen(numeric);
    if (is_number && !strlist_has(out, numeric)) {
        strlist_add(out, numeric);
    }
}

/* On nginx's port 80 every address counts: a visitor and the CA may come over any of them, and the default
 * servers were given the answer too. Else only where a site has the name: with TLS no other serves its
 * certificate, and Apache's hosts by address are for names that lead there. */
bool web_probe_addresses(const struct web *web, const struct sites *sites, const char *name, int port,
                         struct strlist *addresses, struct err *err)
{
    const struct web_driver *driver = driver_of(web->kind);
    const struct site *owner = driver->owner(sites, name, port, false);
    AUTO_STRLIST all = STRLIST_INIT;
    size_t before = addresses->n;
    if (owner == NULL) {
        return err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, name, "no %s site answers for %s on port %d",
                       web_kind_name(web->kind), name, port);
    }
    bool named =
        (port != HTTP_PORT || web->kind == WEB_APACHE) && driver->owner(sites, name, port, true) != NULL;
    sites_addresses(sites, port, &all);
    for (int loopback = 0; loopback < 2 && addresses->n == before; loopback++) {
        for (size_t i = 0; i < all.n; i++) {
            if (site_address_is_loopback(all.v[i]) == (loopback == 1) &&
                driver->owner_at(sites, name, all.v[i], port, named) != NULL &&
                !(web->kind == WEB_APACHE && is_without_v6(all.v[i], port))) {
                add_numeric(sites, all.v[i], port, addresses);
            }
        }
    }
    return addresses->n > before || err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, name,
                                            "no address is known on which %s answers for %s on port %d",
                                            web_kind_name(web->kind), name, port);
}

bool web_takes_two(const struct web *web)
{
    return web->kind != WEB_NGINX || web->version_number == 0 || web->version_number >= NGINX_TWO_SINCE;
}

bool web_needs_token_files(const struct web *web)
{
    return web->kind == WEB_NGINX && !web->has_rewrite;
}
