/*
 * nginx.c - nginx as a web server of ours: find it, test it.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nginx_model.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

enum { MASTERS_MAX = 32 };

static const char *const programs[] = {"nginx", "openresty", NULL};
static const char *const places[] = {"/usr/sbin/nginx",
                                     "/usr/local/sbin/nginx",
                                     "/usr/bin/nginx",
                                     "/usr/local/nginx/sbin/nginx",
                                     "/usr/local/openresty/nginx/sbin/nginx",
                                     "/opt/nginx/sbin/nginx"};

/* ---- find ---- */

static void copy(char *to, size_t size, const char *text)
{
    snprintf(to, size, "%s", text);
}

/* The arguments -c and -p of a master, from the title that nginx gives its process. */
struct master_args {
    char conf[512];
    char prefix[512];
};

/* `path` as seen by the process: relative paths start at its working directory. */
static void from_cwd(pid_t pid, const char *path, char *out, size_t size)
{
    char cwd[PATH_MAX];
    AUTO_FREE char *link = mem_fmt("/proc/%ld/cwd", (long)pid);
    ssize_t n = path[0] == '/' ? -1 : readlink(link, cwd, sizeof cwd - 1);
    if (n <= 0) {
        copy(out, size, path);
        return;
    }
    cwd[n] = '\0';
    AUTO_FREE char *full = fs_join(cwd, path);
    AUTO_FREE char *tidy = realpath(full, NULL);
    copy(out, size, tidy != NULL ? tidy : full);
}

/* "-c FILE", "-cFILE", and the same behind other letters ("-qc FILE"). The value, or NULL; `i` moves to the
 * word it is in. */
static const char *option_value(const struct strlist *words, size_t *i, char option)
{
    const char *word = words->v[*i];
    if (word[0] != '-') {
        return NULL;
    }
    for (const char *p = word + 1; *p != '\0'; p++) {
        if (*p == option) {
            if (p[1] != '\0') {
                return p + 1;
            }
            return *i + 1 < words->n ? words->v[++*i] : NULL;
        }
        if (strchr("cpgse", *p) != NULL) {
            return NULL;
        }
    }
    return NULL;
}

static void read_master_args(pid_t pid, struct master_args *args)
{
    *args = (struct master_args){0};
    AUTO_FREE char *path = mem_fmt("/proc/%ld/cmdline", (long)pid);
    AUTO_BUF line = BUF_INIT;
    struct err ignored = ERR_INIT;
    if (!fs_read(path, 65536, &line, &ignored) || line.len == 0) {
        return;
    }
    for (size_t i = 0; i + 1 < line.len; i++) {
        if (line.data[i] == '\0') {
            line.data[i] = ' ';
        }
    }
    AUTO_STRLIST words = STRLIST_INIT;
    strlist_split(&words, buf_str(&line), " ");
    for (size_t i = 0; i < words.n; i++) {
        const char *value;
        if ((value = option_value(&words, &i, 'c')) != NULL) {
            copy(args->conf, sizeof args->conf, value);
        } else if ((value = option_value(&words, &i, 'p')) != NULL) {
            from_cwd(pid, value, args->prefix, sizeof args->prefix);
        }
    }
}

/* "1.22.1" -> 1022001; the number ends at anything else. */
static int version_number(const char *text)
{
    int part[3] = {0};
    for (size_t i = 0; i < COUNT_OF(part); i++) {
        char *end;
        long value = strtol(text, &end, 10);
        if (end == text || value < 0 || value > 999) {
            break;
        }
        part[i] = (int)value;
        if (*end != '.') {
            break;
        }
        text = end + 1;
    }
    return part[0] * 1000000 + part[1] * 1000 + part[2];
}

/* What follows `key` in `text` up to a space; "" when it is not there. Quotes around it are dropped. */
static void value_after(const char *text, const char *key, char *out, size_t size)
{
    out[0] = '\0';
    const char *at = strstr(text, key);
    if (at == NULL) {
        return;
    }
    at += strlen(key);
    char quote = *at == '\'' || *at == '"' ? *at++ : ' ';
    size_t n = 0;
    while (at[n] != '\0' && at[n] != quote && at[n] != '\n' && n + 1 < size) {
        n++;
    }
    memcpy(out, at, n);
    out[n] = '\0';
}

static void add_slash(char *path, size_t size)
{
    size_t n = strlen(path);
    if (n > 0 && n + 1 < size && path[n - 1] != '/') {
        path[n] = '/';
        path[n + 1] = '\0';
    }
}

/* The output of `nginx -V`. */
static bool parse_build(const char *text, struct web *out)
{
    const char *slash = strstr(text, "version: ");
    slash = slash != NULL ? strchr(slash, '/') : NULL;
    if (slash == NULL) {
        return false;
    }
    value_after(slash, "/", out->version, sizeof out->version);
    out->version_number = version_number(out->version);
    char openssl[32];
    value_after(text, "running with OpenSSL ", openssl, sizeof openssl);
    if (openssl[0] == '\0') {
        value_after(text, "built with OpenSSL ", openssl, sizeof openssl);
    }
    out->openssl_number = version_number(openssl);
    out->has_ssl = strstr(text, "--with-http_ssl_module") != NULL;
    out->has_http2 = strstr(text, "--with-http_v2_module") != NULL;
    out->has_rewrite = strstr(text, "--without-http_rewrite_module") == NULL;
    value_after(text, "--prefix=", out->prefix, sizeof out->prefix);
    if (out->prefix[0] == '\0') {
        copy(out->prefix, sizeof out->prefix, "/usr/local/nginx");
    }
    value_after(text, "--conf-path=", out->conf, sizeof out->conf);
    if (out->conf[0] == '\0') {
        copy(out->conf, sizeof out->conf, "conf/nginx.conf");
    }
    return true;
}

static bool ask_build(struct web *out, struct err *err)
{
    const char *argv[] = {out->bin, "-V", NULL};
    struct spawn_result result = {0};
    if (!spawn_run(argv, NULL, &result, err)) {
        return false;
    }
    bool ok = result.status == 0 && parse_build(buf_str(&result.output), out);
    if (!ok) {
        err_set(err, ERR_WEBSERVER, NEXT_LOCAL_FAULT, out->bin,
                "%s -V does not say what nginx this is: %.400s", out->bin, buf_str(&result.output));
    }
    spawn_result_clear(&result);
    return ok;
}

/* Which of several running masters? The one with the configuration that was asked for, else the one started
 * without -c. */
static pid_t choose_master(const pid_t *pids, size_t n, const struct web_hints *hints, struct err *err)
{
    const char *wanted = hints != NULL ? hints->nginx_conf : NULL;
    pid_t chosen = 0;
    size_t matches = 0;
    for (size_t i = 0; i < n; i++) {
        struct master_args args;
        read_master_args(pids[i], &args);
        if (wanted != NULL ? strcmp(args.conf, wanted) == 0 : args.conf[0] == '\0') {
            chosen = pids[i];
            matches++;
        }
    }
    if (matches != 1) {
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, "nginx", "%zu nginx servers run on this machine", n);
        err_advise(err, "Say which one by the path of its configuration: --nginx-conf FILE");
        return 0;
    }
    return chosen;
}

/* The file behind a running process; "" when it cannot be told. */
static void program_of(pid_t pid, char *out, size_t size)
{
    static const char deleted[] = " (deleted)";
    char path[PATH_MAX];
    AUTO_FREE char *link = mem_fmt("/proc/%ld/exe", (long)pid);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    size_t len = strlen(path);
    if (len > sizeof deleted && strcmp(path + len - (sizeof deleted - 1), deleted) == 0) {
        path[len - (sizeof deleted - 1)] =
            '\0'; /* upgraded since it was started: the new one has the same path */
    }
    copy(out, size, path);
}

static void find_program(const struct web_hints *hints, struct web *out)
{
    if (hints != NULL && hints->nginx_bin != NULL) {
        copy(out->bin, sizeof out->bin, hints->nginx_bin);
        return;
    }
    if (out->master_pid != 0) {
        program_of(out->master_pid, out->bin, sizeof out->bin);
    }
    for (size_t i = 0; i < COUNT_OF(places) && access(out->bin, X_OK) != 0; i++) {
        copy(out->bin, sizeof out->bin, places[i]);
    }
    if (access(out->bin, X_OK) != 0) {
        out->bin[0] = '\0';
    }
}

static void absolute(const char *base, const char *path, char *out, size_t size)
{
    AUTO_FREE char *full = path[0] == '/' ? mem_dup(path) : fs_join(base, path);
    copy(out, size, full);
}

/* -c and -p of the running master (or the hint) decide over the paths that were compiled in. */
static bool settle_paths(const struct web_hints *hints, struct web *out, struct err *err)
{
    struct master_args args = {0};
    bool hinted = hints != NULL && hints->nginx_conf != NULL;
    char built_in[512];
    if (out->master_pid != 0) {
        read_master_args(out->master_pid, &args);
    }
    if (args.prefix[0] != '\0') {
        add_slash(args.prefix, sizeof args.prefix);
        copy(out->prefix, sizeof out->prefix, args.prefix);
        copy(out->prefix_arg, sizeof out->prefix_arg, args.prefix);
    }
    add_slash(out->prefix, sizeof out->prefix);
    copy(built_in, sizeof built_in, out->conf);
    absolute(out->prefix, args.conf[0] != '\0' ? args.conf : built_in, out->conf, sizeof out->conf);
    if (args.conf[0] != '\0') {
        copy(out->conf_arg, sizeof out->conf_arg, out->conf);
    }
    if (hinted && out->master_pid != 0 && strcmp(hints->nginx_conf, out->conf) != 0) {
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, hints->nginx_conf,
                "the running nginx (process %ld) reads %s, not %s", (long)out->master_pid, out->conf,
                hints->nginx_conf);
        return err_advise(err, "Name the file that it reads, or start nginx with the other one first.");
    }
    if (hinted) {
        absolute(out->prefix, hints->nginx_conf, out->conf, sizeof out->conf);
        copy(out->conf_arg, sizeof out->conf_arg, out->conf);
    }
    return true;
}

static bool find(const struct web_hints *hints, struct web *out, struct err *err)
{
    pid_t pids[MASTERS_MAX];
    size_t n = web_masters(programs, pids, MASTERS_MAX);
    *out = (struct web){.kind = WEB_NGINX};
    if (n == 1) {
        out->master_pid = pids[0];
    } else if (n > 1 && (out->master_pid = choose_master(pids, n, hints, err)) == 0) {
        return false;
    }
    find_program(hints, out);
    if (out->bin[0] == '\0' || !ask_build(out, err)) {
        return false;
    }
    return settle_paths(hints, out, err);
}

/* ---- test ---- */

void nginx_argv(const struct web *web, const char *option, const char *argv[NGINX_ARGV_MAX])
{
    size_t n = 0;
    argv[n++] = web->bin;
    argv[n++] = option;
    argv[n++] = "-q";
    if (web->conf_arg[0] != '\0') {
        argv[n++] = "-c";
        argv[n++] = web->conf_arg;
    }
    if (web->prefix_arg[0] != '\0') {
        argv[n++] = "-p";
        argv[n++] = web->prefix_arg;
    }
    argv[n] = NULL;
}

/* As a person types it: nginx -t, with the path of the program only where a shell would not find it, or not
 * this one. */
static char *typed_command(const struct web *web)
{
    static const char *const usual[] = {"/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"};
    const char *name = web->bin;
    for (size_t i = 0; i < COUNT_OF(usual); i++) {
        name = strcmp(web->bin, usual[i]) == 0 ? "nginx" : name;
    }
    return mem_fmt("%s -t%s%s%s%s", name, web->conf_arg[0] != '\0' ? " -c " : "", web->conf_arg,
                   web->prefix_arg[0] != '\0' ? " -p " : "", web->prefix_arg);
}

static void test_command(const struct web *web, struct strlist *out)
{
    AUTO_FREE char *command = typed_command(web);
    strlist_add(out, command);
}

static bool test(const struct web *web, struct err *err)
{
    const char *argv[NGINX_ARGV_MAX];
    struct spawn_result result = {0};
    struct spawn_options options = {.timeout_ms = web->test_ms};
    nginx_argv(web, "-t", argv);
    if (!spawn_run(argv, &options, &result, err)) {
        return err_context(err, "testing the nginx configuration");
    }
    bool ok = result.status == 0 && !result.timed_out;
    AUTO_FREE char *command = typed_command(web);
    if (!ok && result.timed_out) {
        err_set(err, ERR_TIMEOUT, NEXT_FIX_CONFIG, web->conf,
                "nginx's test of its configuration did not end");
        err_advise(err, "See what it waits for: %s", command);
    } else if (!ok) {
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, web->conf, "nginx refuses its configuration:\n%.1200s",
                buf_str(&result.output));
        err_advise(err, "Mend the line that nginx names, then check with: %s", command);
    }
    spawn_result_clear(&result);
    return ok;
}

static bool read_sites(const struct web *web, struct sites *out, struct err *err)
{
    return nginx_model_read(web, NULL, NULL, NULL, out, err);
}

static const char *const units[] = {"nginx", "openresty", NULL};

static const char *file_at(const struct sites *sites, size_t n, const char **data, size_t *len)
{
    const struct nginx_config *config = &nginx_model_of(sites)->config;
    if (n >= config->n_files)
        return NULL;
    *data = buf_str(&config->files[n]->text);
    *len = config->files[n]->text.len;
    return config->files[n]->path;
}

const struct web_driver nginx_driver = {
    .kind = WEB_NGINX,
    .find = find,
    .test = test,
    .read = read_sites,
    .owner = nginx_owner,
    .edit_challenge = nginx_edit_challenge,
    .edit_https = nginx_edit_https,
    .reload_signal = SIGHUP,
    .units = units,
    .owner_at = nginx_owner_at,
    .compare = nginx_compare,
    .read_disabled = nginx_read_disabled,
    .enable_command = nginx_enable_command,
    .test_command = test_command,
    .file_at = file_at,
};
