#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/package.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

enum {
    WORDS_MAX = 16,
    STEP_MS = 100,
    MINUTE_MS = 60 * 1000,
    SERVICE_MS = MINUTE_MS,
    OUTPUT_BYTES = 1 << 20,
    SHOWN_BYTES = 900, /* of the output, in an error */
    OS_RELEASE_BYTES = 65536,
};

static const char *root = "";

void package_set_root(const char *directory)
{
    root = directory != NULL ? directory : "";
}

/* -- what there is -------------------------------------------------------------------------------------- */

/* NULL-terminated lists of words; in those for services "%s" stands for the service. */
struct manager {
    const char *ids; /* in ID and ID_LIKE of os-release, with blanks around */
    const char *install[WORDS_MAX];
    const char *refresh[WORDS_MAX]; /* before the second attempt; empty = there is nothing to refresh */
    const char *env[3];
    const char *typed;
    const char *mending; /* after it was cut short */
    int minutes;
    struct {
        const char *packages, *service;
    } of[WEB_APACHE + 1];
};

#define NGINX [WEB_NGINX] = {"nginx", "nginx"}
#define HTTPD [WEB_APACHE] = {"httpd mod_ssl", "httpd"}
#define DEBIAN_ENV                                                                                           \
    {                                                                                                        \
        "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=l", NULL                                         \
    }

static const struct manager managers[] = {
    /* a fresh server is busy with its unattended upgrades; a person's files of a former installation stay */
    {.ids = " debian ubuntu ",
     .install = {"apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0", "-o",
                 "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
                 "--no-install-recommends", "install"},
     .refresh = {"apt-get", "-q", "update"},
     .env = DEBIAN_ENV,
     .typed = "apt install",
     .mending = "dpkg --configure -a",
     .minutes = 20,
     .of = {NGINX, [WEB_APACHE] = {"apache2", "apache2"}}},
    {.ids = " fedora rhel centos ",
     .install = {"dnf", "-y", "install"},
     .typed = "dnf install",
     .minutes = 20,
     .of = {NGINX, HTTPD}},
    {.ids = " fedora rhel centos ",
     .install = {"microdnf", "-y", "install"},
     .typed = "microdnf install",
     .minutes = 20,
     .of = {NGINX, HTTPD}},
    {.ids = " fedora rhel centos ",
     .install = {"yum", "-y", "install"},
     .typed = "yum install",
     .minutes = 20,
     .of = {NGINX, HTTPD}},
    {.ids = " suse opensuse sles ",
     .install = {"zypper", "--non-interactive", "install"},
     .typed = "zypper install",
     .minutes = 20,
     .of = {NGINX, [WEB_APACHE] = {"apache2", "apache2"}}},
    {.ids = " alpine ",
     .install = {"apk", "add", "--no-progress"},
     .refresh = {"apk", "update"},
     .typed = "apk add",
     .minutes = 10,
     .of = {NGINX, [WEB_APACHE] = {"apache2 apache2-ssl", "apache2"}}},
    {.ids = " arch ",
     .install = {"pacman", "-S", "--noconfirm", "--needed"},
     .typed = "pacman -S",
     .minutes = 20,
     .of = {NGINX, [WEB_APACHE] = {"apache", "httpd"}}},
    {.ids = " void ",
     .install = {"xbps-install", "-S", "-y"},
     .typed = "xbps-install -S",
     .minutes = 20,
     .of = {NGINX, [WEB_APACHE] = {"apache", "apache"}}},
    {.ids = " gentoo ", /* it compiles */
     .install = {"emerge", "--ask=n", "--quiet"},
     .typed = "emerge",
     .minutes = 180,
     .of = {[WEB_NGINX] = {"www-servers/nginx", "nginx"}, [WEB_APACHE] = {"www-servers/apache", "apache2"}}},
    {.ids = " freebsd ",
     .install = {"pkg", "install", "-y"},
     .env = {"ASSUME_ALWAYS_YES=yes", NULL},
     .typed = "pkg install",
     .minutes = 20,
     .of = {NGINX, [WEB_APACHE] = {"apache24", "apache24"}}},
};

static const struct services {
    const char *needs; /* a path */
    const char *program;
    const char *enable[5];
    const char *start[5];
} services[] = {
    {"/run/systemd/system", "systemctl", {"systemctl", "enable", "%s"}, {"systemctl", "start", "%s"}},
    {"/etc/init.d/%s", "rc-update", {"rc-update", "add", "%s", "default"}, {"rc-service", "%s", "start"}},
    {"/usr/local/etc/rc.d/%s", "sysrc", {"sysrc", "%s_enable=YES"}, {"service", "%s", "start"}},
    {"/etc/sv/%s", "sv", {"ln", "-sfn", "/etc/sv/%s", "/var/service/%s"}, {"sv", "-w", "15", "start", "%s"}},
    {"/etc/init.d/%s", "update-rc.d", {"update-rc.d", "%s", "defaults"}, {"service", "%s", "start"}},
    {"/etc/init.d/%s", "service", {NULL}, {"service", "%s", "start"}},
};

/* A program's path, NULL when it is not there. */
static char *find_program(const char *name)
{
    static const char *const dirs[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                       "/usr/bin",        "/sbin",          "/bin"};
    if (root[0] == '\0')
        return spawn_find(name) ? mem_dup(name) : NULL;
    for (size_t i = 0; i < COUNT_OF(dirs); i++) {
        char *path = mem_fmt("%s%s/%s", root, dirs[i], name);
        if (access(path, X_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}

static bool have_program(const char *name)
{
    AUTO_FREE char *path = find_program(name);
    return path != NULL;
}

static bool have_path(const char *path)
{
    AUTO_FREE char *full = mem_fmt("%s%s", root, path);
    return fs_exists(full);
}

/* `text` with the service's name in the place of every "%s". */
static char *with_service(const char *text, const char *service)
{
    AUTO_BUF out = BUF_INIT;
    const char *at;
    for (; (at = strstr(text, "%s")) != NULL; text = at + 2) {
        buf_add(&out, text, (size_t)(at - text));
        buf_adds(&out, service);
    }
    buf_adds(&out, text);
    return buf_take(&out);
}

/* ID and ID_LIKE, as words. */
static void read_ids(struct strlist *out)
{
    static const char *const paths[] = {"/etc/os-release", "/usr/lib/os-release", "/var/run/os-release"};
    AUTO_BUF text = BUF_INIT;
    AUTO_STRLIST lines = STRLIST_INIT;
    struct err ignored = ERR_INIT;
    for (size_t i = 0; i < COUNT_OF(paths) && text.len == 0; i++) {
        AUTO_FREE char *path = mem_fmt("%s%s", root, paths[i]);
        if (!fs_read(path, OS_RELEASE_BYTES, &text, &ignored))
            err_clear(&ignored);
    }
    strlist_split(&lines, buf_str(&text), "\n");
    for (size_t i = 0; i < lines.n; i++)
        if (strncmp(lines.v[i], "ID=", 3) == 0 || strncmp(lines.v[i], "ID_LIKE=", 8) == 0)
            strlist_split(out, strchr(lines.v[i], '=') + 1, "\"' \t\r");
}

static bool is_of_system(const struct manager *manager, const struct strlist *ids)
{
    for (size_t i = 0; i < ids->n; i++) {
        AUTO_FREE char *word = mem_fmt(" %s ", ids->v[i]);
        if (strstr(manager->ids, word) != NULL)
            return true;
    }
    return false;
}

/* The system's own; another system's tool may lie about as well. */
bool package_find(enum web_kind kind, struct package *out, struct err *err)
{
    AUTO_STRLIST ids = STRLIST_INIT;
    size_t found = COUNT_OF(managers);
    read_ids(&ids);
    for (size_t i = 0; i < COUNT_OF(managers) && found == COUNT_OF(managers); i++)
        if (is_of_system(&managers[i], &ids) && have_program(managers[i].install[0]))
            found = i;
    for (size_t i = 0; i < COUNT_OF(managers) && found == COUNT_OF(managers); i++)
        if (have_program(managers[i].install[0]))
            found = i;
    if (found == COUNT_OF(managers)) {
        err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, web_kind_name(kind),
                "%s cannot be installed: this system has no package manager that tlsup knows",
                web_kind_name(kind));
        return err_advise(err, "install it the way this system does it, then run the same command again");
    }
    *out = (struct package){kind, found, managers[found].of[kind].service};
    return true;
}

static const struct services *services_of(const struct package *package)
{
    for (size_t i = 0; i < COUNT_OF(services); i++) {
        AUTO_FREE char *needs = with_service(services[i].needs, package->service);
        if (have_path(needs) && have_program(services[i].program))
            return &services[i];
    }
    return NULL;
}

/* Before the package is there, its service's script is not either: what can be told then. */
static const struct services *services_to_be(const struct package *package)
{
    const struct services *found = services_of(package);
    for (size_t i = 0; found == NULL && i < COUNT_OF(services); i++)
        if (have_program(services[i].program) && (i > 0 || have_path(services[0].needs)))
            found = &services[i];
    return found;
}

static void add_command(const char *const *words, const char *service, struct strlist *out)
{
    AUTO_STRLIST line = STRLIST_INIT;
    for (size_t i = 0; words[i] != NULL; i++) {
        AUTO_FREE char *word = with_service(words[i], service);
        strlist_add(&line, word);
    }
    if (line.n == 0)
        return;
    AUTO_FREE char *text = strlist_join(&line, " ");
    strlist_add(out, text);
}

void package_commands(const struct package *package, struct strlist *out)
{
    const struct manager *manager = &managers[package->manager];
    const struct services *by = services_to_be(package);
    AUTO_FREE char *install = mem_fmt("%s %s", manager->typed, manager->of[package->kind].packages);
    strlist_add(out, install);
    if (by != NULL) {
        add_command(by->enable, package->service, out);
        add_command(by->start, package->service, out);
    }
}

/* -- running them --------------------------------------------------------------------------------------- */

/* The last lines of what a program has said. */
static const char *tail_of(const struct buf *output)
{
    const char *text = buf_str(output);
    if (output->len <= SHOWN_BYTES)
        return text;
    text += output->len - SHOWN_BYTES;
    const char *line = strchr(text, '\n');
    return line != NULL && line[1] != '\0' ? line + 1 : text;
}

static bool run_to_end(const char *const *argv, const struct spawn_options *options, package_tick_fn *tick,
                       void *ctx, struct spawn_result *result, struct err *err)
{
    struct spawn *child;
    if (!spawn_start(argv, options, &child, err))
        return false;
    while (!spawn_step(child, result)) {
        struct pollfd ready = {.fd = spawn_fd(child), .events = POLLIN};
        poll(&ready, 1, ready.fd >= 0 ? STEP_MS : STEP_MS / 5);
        if (tick != NULL)
            tick(ctx);
    }
    return true;
}

static bool failed(const char *const *words, const struct spawn_result *result, int64_t timeout_ms,
                   struct err *err)
{
    const char *said = tail_of(&result->output);
    const char *colon = said[0] != '\0' ? ":\n" : "";
    if (result->timed_out)
        return err_set(err, ERR_TIMEOUT, NEXT_LOCAL_FAULT, words[0], "%s did not end within %d minutes%s%s",
                       words[0], (int)(timeout_ms / MINUTE_MS), colon, said);
    return err_set(err, ERR_WEBSERVER, NEXT_LOCAL_FAULT, words[0], "%s failed with status %d%s%s", words[0],
                   result->status, colon, said);
}

/* What the manager wants, and the way to the network, which the clean environment of children does not have.
 */
static const char **make_env(const char *const *wanted, struct strlist *storage)
{
    static const char *const passed_on[] = {"http_proxy", "https_proxy", "ftp_proxy", "no_proxy",
                                            "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY"};
    for (size_t i = 0; wanted != NULL && wanted[i] != NULL; i++)
        strlist_add(storage, wanted[i]);
    for (size_t i = 0; i < COUNT_OF(passed_on); i++) {
        const char *value = getenv(passed_on[i]);
        AUTO_FREE char *entry = value != NULL ? mem_fmt("%s=%s", passed_on[i], value) : NULL;
        if (entry != NULL)
            strlist_add(storage, entry);
    }
    const char **env = mem_array(storage->n + 1, sizeof *env);
    for (size_t i = 0; i < storage->n; i++)
        env[i] = storage->v[i];
    return env;
}

/* One command: its words with the service's name put in, and those of `more` behind them. */
static bool run(const char *const *words, const char *service, const char *more, int64_t timeout_ms,
                const char *const *wanted_env, package_tick_fn *tick, void *ctx, struct err *err)
{
    AUTO_STRLIST line = STRLIST_INIT, storage = STRLIST_INIT;
    AUTO_FREE const char **env = make_env(wanted_env, &storage);
    const char *argv[WORDS_MAX + 4] = {NULL};
    struct spawn_options options = {.timeout_ms = timeout_ms, .env = env, .output_limit = OUTPUT_BYTES};
    struct spawn_result result = {0};
    for (size_t i = 0; words[i] != NULL; i++) {
        AUTO_FREE char *word = i == 0 ? find_program(words[0]) : with_service(words[i], service);
        strlist_add(&line, word != NULL ? word : words[i]);
    }
    strlist_split(&line, more, " ");
    for (size_t i = 0; i < line.n && i + 1 < COUNT_OF(argv); i++)
        argv[i] = line.v[i];
    if (!run_to_end(argv, &options, tick, ctx, &result, err))
        return false;
    bool ok = (result.status == 0 && !result.timed_out) || failed(words, &result, timeout_ms, err);
    spawn_result_clear(&result);
    return ok;
}

/* -- installing ----------------------------------------------------------------------------------------- */

static bool try_install(const struct package *package, package_tick_fn *tick, void *ctx, struct err *err)
{
    const struct manager *manager = &managers[package->manager];
    return run(manager->install, package->service, manager->of[package->kind].packages,
               (int64_t)manager->minutes * MINUTE_MS, manager->env, tick, ctx, err);
}

static bool refresh(const struct package *package, package_tick_fn *tick, void *ctx, struct err *err)
{
    const struct manager *manager = &managers[package->manager];
    return run(manager->refresh, package->service, "", (int64_t)manager->minutes * MINUTE_MS, manager->env,
               tick, ctx, err);
}

bool package_install(const struct package *package, package_tick_fn *tick, void *ctx, struct err *err)
{
    const struct manager *manager = &managers[package->manager];
    const char *kind = web_kind_name(package->kind), *packages = manager->of[package->kind].packages;
    struct err first = ERR_INIT;
    if (geteuid() != 0) {
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, kind, "only root can install %s", kind);
        return err_advise(err, "run the same command with sudo");
    }
    if (try_install(package, tick, ctx, &first))
        return true;
    if (first.code == ERR_TIMEOUT && manager->mending != NULL)
        (void)err_advise(&first, "`%s` brings to an end what it had begun", manager->mending);
    if (first.code != ERR_TIMEOUT && manager->refresh[0] != NULL) {
        log_info("%s\nonce more, with fresh lists of packages", first.text);
        err_clear(&first);
        if (refresh(package, tick, ctx, &first) && try_install(package, tick, ctx, &first))
            return true;
    }
    *err = first;
    (void)err_advise(err, "see what is the matter by hand: %s %s", manager->typed, packages);
    return err_context(err, "%s could not be installed", kind);
}

bool package_start(const struct package *package, bool running, struct err *err)
{
    const struct services *by = services_of(package);
    const char *service = package->service;
    struct err why = ERR_INIT;
    if (by == NULL && running)
        return true;
    if (by == NULL) {
        err_set(err, ERR_WEBSERVER, NEXT_LOCAL_FAULT, service,
                "%s is installed, but no service manager is found that could start it", service);
        return err_advise(err,
                          "start it the way this system starts services, then run the same command again");
    }
    /* that it is not started at the next boot is not worth failing for now */
    if (by->enable[0] != NULL && !run(by->enable, service, "", SERVICE_MS, NULL, NULL, NULL, &why))
        log_warn("%s will not be started when this machine starts: %s", service, why.text);
    if (running || run(by->start, service, "", SERVICE_MS, NULL, NULL, NULL, err))
        return true;
    AUTO_STRLIST command = STRLIST_INIT;
    add_command(by->start, service, &command);
    (void)err_advise(err, "see why: %s; then run the same command again", command.v[0]);
    return err_context(err, "%s is installed, but does not start", service);
}

/* -- the first page ------------------------------------------------------------------------------------- */

static const char first_page[] = "<!DOCTYPE html>\n"
                                 "<html lang=\"en\">\n"
                                 "<meta charset=\"utf-8\">\n"
                                 "<meta name=\"viewport\" content=\"width=device-width\">\n"
                                 "<title>It works</title>\n"
                                 "<h1>It works</h1>\n"
                                 "<p>This web server is set up, and waits for its pages.</p>\n"
                                 "</html>\n";

static bool write_page(int fd, const char *path, struct err *err)
{
    size_t len = sizeof first_page - 1;
    ssize_t written = write(fd, first_page, len);
    return (written == (ssize_t)len && fsync(fd) == 0) ||
           err_errno(err, written >= 0 && (size_t)written < len ? ENOSPC : errno, path, "cannot write %s",
                     path);
}

bool package_first_page(const char *document_root, bool *made, struct err *err)
{
    AUTO_STRLIST names = STRLIST_INIT;
    AUTO_FREE char *dir = mem_fmt("%s%s", root, document_root);
    AUTO_FREE char *path = fs_join(dir, "index.html");
    *made = false;
    if (document_root[0] != '/' || !fs_is_dir(dir))
        return true;
    if (!fs_list(dir, &names, err))
        return false;
    for (size_t i = 0; i < names.n; i++)
        if (strncmp(names.v[i], "index.", 6) == 0)
            return true;
    /* whatever comes to be there meanwhile is not ours to replace */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0 && errno == EEXIST)
        return true;
    if (fd < 0)
        return err_errno(err, errno, path, "cannot make the first page %s", path);
    bool ok = write_page(fd, path, err);
    close(fd);
    if (!ok)
        (void)unlink(path);
    *made = ok;
    return ok;
}
