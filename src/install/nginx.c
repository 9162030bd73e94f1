/*
 * nginx.c - nginx as a web server of ours: find it, test it, read its servers, and say who owns a name.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <arpa/inet.h>
#include <ctype.h>
#include <limits.h>
#include <netinet/in.h>
#include <regex.h>
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

enum { HTTP_PORT = 80, MASTERS_MAX = 32 };

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
    const char *wanted = hints != NULL ? hints->conf : NULL;
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
    if (hints != NULL && hints->bin != NULL) {
        copy(out->bin, sizeof out->bin, hints->bin);
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
    bool hinted = hints != NULL && hints->conf != NULL;
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
    if (hinted && out->master_pid != 0 && strcmp(hints->conf, out->conf) != 0) {
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, hints->conf,
                "the running nginx (process %ld) reads %s, not %s", (long)out->master_pid, out->conf,
                hints->conf);
        return err_advise(err, "Name the file that it reads, or start nginx with the other one first.");
    }
    if (hinted) {
        absolute(out->prefix, hints->conf, out->conf, sizeof out->conf);
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

static bool test(const struct web *web, struct err *err)
{
    const char *argv[8] = {web->bin, "-t", "-q"};
    size_t n = 3;
    if (web->conf_arg[0] != '\0') {
        argv[n++] = "-c";
        argv[n++] = web->conf_arg;
    }
    if (web->prefix_arg[0] != '\0') {
        argv[n++] = "-p";
        argv[n++] = web->prefix_arg;
    }
    struct spawn_result result = {0};
    if (!spawn_run(argv, NULL, &result, err)) {
        return err_context(err, "testing the nginx configuration");
    }
    bool ok = result.status == 0 && !result.timed_out;
    if (!ok) {
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, web->conf, "nginx refuses its configuration:\n%.1200s",
                result.timed_out ? "(the test did not end)" : buf_str(&result.output));
        err_advise(err, "Mend the line that nginx names, then check with: nginx -t");
    }
    spawn_result_clear(&result);
    return ok;
}

/* ---- listen ---- */

static bool all_digits(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i])) {
            return false;
        }
    }
    return len > 0;
}

/* "80" or "8000-8010". */
static bool parse_ports(const char *text, struct nginx_listen *listen)
{
    const char *dash = strchr(text, '-');
    size_t first = dash != NULL ? (size_t)(dash - text) : strlen(text);
    if (!all_digits(text, first) || first > 5 ||
        (dash != NULL && (!all_digits(dash + 1, strlen(dash + 1)) || strlen(dash) > 6))) {
        return false;
    }
    listen->port = atoi(text);
    listen->port_last = dash != NULL ? atoi(dash + 1) : listen->port;
    return listen->port > 0 && listen->port_last <= 65535 && listen->port_last >= listen->port;
}

/* One spelling for each address: 0.0.0.0 is "*", IPv6 in its short form. */
static void normalise_address(const char *text, size_t len, struct nginx_listen *listen)
{
    AUTO_FREE char *host = mem_ndup(text, len);
    char shown[INET6_ADDRSTRLEN];
    struct in6_addr v6;
    if (host[0] == '[') {
        AUTO_FREE char *inner = mem_ndup(host + 1, len >= 2 ? len - 2 : 0);
        bool valid =
            inet_pton(AF_INET6, inner, &v6) == 1 && inet_ntop(AF_INET6, &v6, shown, sizeof shown) != NULL;
        snprintf(listen->address, sizeof listen->address, "[%s]", valid ? shown : inner);
    } else if (strcmp(host, "0.0.0.0") == 0) {
        copy(listen->address, sizeof listen->address, "*");
    } else if (strcmp(host, "localhost") == 0) {
        copy(listen->address, sizeof listen->address, "127.0.0.1");
    } else {
        copy(listen->address, sizeof listen->address, host);
    }
}

bool nginx_parse_address(const char *text, struct nginx_listen *listen)
{
    if (strncmp(text, "unix:", 5) == 0) {
        return false;
    }
    const char *host_end = text[0] == '[' ? strchr(text, ']') : strchr(text, ':');
    if (text[0] == '[') {
        if (host_end == NULL) {
            return false;
        }
        host_end++;
    } else if (host_end == NULL) {
        if (parse_ports(text, listen)) {
            copy(listen->address, sizeof listen->address, "*");
            return true;
        }
        host_end = text + strlen(text);
    }
    normalise_address(text, (size_t)(host_end - text), listen);
    listen->port = listen->port_last = HTTP_PORT;
    return *host_end == '\0' || (*host_end == ':' && parse_ports(host_end + 1, listen));
}

static void add_listen(struct nginx_server *server, const struct nginx_listen *listen)
{
    server->listens = mem_resize(server->listens, server->n_listens + 1, sizeof server->listens[0]);
    server->listens[server->n_listens++] = *listen;
}

static void read_listen(const struct nginx_node *node, bool ssl_on, struct nginx_server *server)
{
    struct nginx_listen listen = {.node = node, .ssl = ssl_on};
    bool quic = false;
    if (node->n_args < 2 || !nginx_parse_address(node->args[1], &listen)) {
        return;
    }
    for (size_t i = 2; i < node->n_args; i++) {
        const char *word = node->args[i];
        listen.ssl |= strcmp(word, "ssl") == 0;
        listen.http2 |= strcmp(word, "http2") == 0;
        listen.proxy_protocol |= strcmp(word, "proxy_protocol") == 0;
        listen.default_server |= strcmp(word, "default_server") == 0 || strcmp(word, "default") == 0;
        listen.ipv6only_set |= strncmp(word, "ipv6only=", 9) == 0;
        listen.dual_stack |= strcmp(word, "ipv6only=off") == 0;
        quic |= strcmp(word, "quic") == 0 || strcmp(word, "http3") == 0;
    }
    if (!quic) {
        add_listen(server, &listen); /* QUIC is UDP: another socket, not ours to think about */
    }
}

static bool is_on(const struct nginx_node *node)
{
    return node != NULL && node->n_args == 2 && strcasecmp(node->args[1], "on") == 0;
}

static void read_listens(const struct nginx_model *model, const struct nginx_nodes *body,
                         struct nginx_server *server)
{
    bool any = false;
    bool ssl_on = is_on(nginx_child(&model->config, server->node, "ssl")) ||
                  is_on(nginx_child(&model->config, model->http, "ssl"));
    for (size_t i = 0; i < body->n; i++) {
        if (nginx_is(body->v[i], "listen")) {
            any = true;
            read_listen(body->v[i], ssl_on, server);
        }
    }
    if (!any) {
        struct nginx_listen listen = {
            .address = "*", .port = HTTP_PORT, .port_last = HTTP_PORT, .implicit = true};
        add_listen(server, &listen);
    }
}

const struct nginx_listen *nginx_listen_at(const struct nginx_server *server, const char *address, int port)
{
    for (size_t i = 0; i < server->n_listens; i++) {
        const struct nginx_listen *listen = &server->listens[i];
        if (port >= listen->port && port <= listen->port_last && strcmp(listen->address, address) == 0) {
            return listen;
        }
    }
    return NULL;
}

/* ---- names ---- */

/* How well a server's name fits: the better of two is the greater. 0 = not at all. */
enum { FIT_REGEX = 1, FIT_TRAILING = 1000, FIT_LEADING = 2000, FIT_EXACT = 3000 };

static bool ends_with(const char *text, const char *suffix)
{
    size_t a = strlen(text), b = strlen(suffix);
    return a > b && strcmp(text + a - b, suffix) == 0;
}

/* Rewrite the commonest PCRE forms in ERE: named and plain groups, \d and its like. */
static void to_ere(const char *pcre, struct buf *out)
{
    static const struct {
        const char *from, *to;
    } table[] = {{"(?:", "("}, {"\\d", "[0-9]"}, {"\\D", "[^0-9]"}, {"\\h", "[ \t]"},
                 {"*?", "*"},  {"+?", "+"},      {"*+", "*"},       {"++", "+"}};
    while (*pcre != '\0') {
        size_t i = 0;
        if (strncmp(pcre, "(?<", 3) == 0 || strncmp(pcre, "(?P<", 4) == 0 || strncmp(pcre, "(?'", 3) == 0) {
            const char *name = strpbrk(pcre + 2, "<'") + 1;
            const char *end = *name != '=' && *name != '!' ? strpbrk(name, ">'") : NULL;
            if (end != NULL) {
                buf_addc(out, '(');
                pcre = end + 1;
                continue;
            }
        }
        while (i < COUNT_OF(table) && strncmp(pcre, table[i].from, strlen(table[i].from)) != 0) {
            i++;
        }
        if (i < COUNT_OF(table)) {
            buf_adds(out, table[i].to);
            pcre += strlen(table[i].from);
        } else if (pcre[0] == '\\' && pcre[1] != '\0') {
            buf_add(out, pcre, 2);
            pcre += 2;
        } else {
            buf_addc(out, *pcre++);
        }
    }
}

/* A regex that cannot be understood matches nothing. */
static bool regex_matches(const char *pattern, const char *name)
{
    AUTO_BUF ere = BUF_INIT;
    regex_t compiled;
    bool caseless = strpbrk(pattern, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != NULL;
    to_ere(pattern, &ere);
    if (regcomp(&compiled, buf_str(&ere), REG_EXTENDED | REG_NOSUB | (caseless ? REG_ICASE : 0)) != 0) {
        log_debug("not understood, taken as no match: server_name ~%s", pattern);
        return false;
    }
    bool found = regexec(&compiled, name, 0, NULL, 0) == 0;
    regfree(&compiled);
    return found;
}

static int fit(const char *pattern, const char *name)
{
    size_t len = strlen(pattern);
    if (pattern[0] == '~') {
        return name[0] != '*' && regex_matches(pattern + 1, name) ? FIT_REGEX : 0;
    }
    if (strcmp(pattern, name) == 0 || (pattern[0] == '.' && strcmp(pattern + 1, name) == 0) ||
        (pattern[0] == '.' && name[0] == '*' && strcmp(pattern, name + 1) == 0)) {
        return FIT_EXACT;
    }
    if (name[0] == '*') {
        return 0;
    }
    if (pattern[0] == '.' && ends_with(name, pattern)) {
        return FIT_LEADING + (int)len;
    }
    if (strncmp(pattern, "*.", 2) == 0 && ends_with(name, pattern + 1)) {
        return FIT_LEADING + (int)len - 1;
    }
    if (len > 2 && strcmp(pattern + len - 2, ".*") == 0 && strncmp(pattern, name, len - 1) == 0) {
        return FIT_TRAILING + (int)len;
    }
    return 0;
}

static int site_fit(const struct site *site, const char *name)
{
    int best = 0;
    for (size_t i = 0; i < site->names.n; i++) {
        char host[256];
        const char *pattern = site->names.v[i];
        if (strcmp(pattern, "$hostname") == 0 && gethostname(host, sizeof host - 1) == 0) {
            host[sizeof host - 1] = '\0';
            for (char *p = host; *p != '\0'; p++) {
                *p = (char)tolower((unsigned char)*p);
            }
            pattern = host;
        }
        int value = fit(pattern, name);
        best = value > best ? value : best;
    }
    return best;
}

static const struct site_listen *listen_of(const struct site *site, const char *address, int port)
{
    for (size_t i = 0; i < site->n_listens; i++) {
        if (site->listens[i].port == port && strcmp(site->listens[i].address, address) == 0) {
            return &site->listens[i];
        }
    }
    return NULL;
}

static const struct site *owner_at(const struct sites *sites, const char *name, const char *address, int port,
                                   bool explicit_only)
{
    const struct site *best = NULL, *fallback = NULL;
    bool flagged = false;
    int best_fit = 0;
    for (size_t i = 0; i < sites->n; i++) {
        const struct site *site = &sites->v[i];
        const struct site_listen *listen = listen_of(site, address, port);
        if (listen == NULL) {
            continue;
        }
        if (fallback == NULL || (listen->default_server && !flagged)) {
            fallback = site;
            flagged = listen->default_server;
        }
        int value = best_fit >= FIT_EXACT ? 0 : site_fit(site, name);
        if (value > best_fit) {
            best = site;
            best_fit = value;
        }
    }
    return best != NULL || explicit_only ? best : fallback;
}

static const struct site *owner(const struct sites *sites, const char *name, int port, bool explicit_only)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    sites_addresses(sites, port, &addresses);
    /* Who names it comes before a mere default server; what the world can reach before loopback. */
    for (int round = 0; round < (explicit_only ? 2 : 4); round++) {
        bool loopback = round % 2 == 1;
        for (size_t i = 0; i < addresses.n; i++) {
            if (site_address_is_loopback(addresses.v[i]) != loopback) {
                continue;
            }
            const struct site *site = owner_at(sites, name, addresses.v[i], port, round < 2);
            if (site != NULL) {
                return site;
            }
        }
    }
    return NULL;
}

/* ---- redirects ---- */

static bool matches_everything(const char *regex)
{
    static const char *const all[] = {"^",      ".*",     "^.*",     "^.*$",   "(.*)",    "^(.*)",
                                      "^(.*)$", "^/",     "/",       "^/(.*)", "^/(.*)$", "/(.*)",
                                      "^/.*$",  "/(.*)$", "^(/.*)$", "^(.+)$", "^/?(.*)$"};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        if (strcmp(regex, all[i]) == 0) {
            return true;
        }
    }
    return false;
}

static enum nginx_redirect target_kind(const struct site *site, const char *url)
{
    if (strncasecmp(url, "http://", 7) == 0) {
        return REDIRECT_HTTP;
    }
    if (strncasecmp(url, "https://", 8) != 0) {
        return REDIRECT_OTHER;
    }
    const char *host = url + 8;
    size_t len = strcspn(host, "/?#$");
    if (host[0] == '$') {
        len = 1 + strspn(host + 1, "abcdefghijklmnopqrstuvwxyz_");
        bool port = host[len] == ':' && strncmp(host + len, ":443", 4) != 0;
        bool same = strncmp(host, "$host", len) == 0 || strncmp(host, "$http_host", len) == 0 ||
                    strncmp(host, "$server_name", len) == 0;
        return same && !port ? REDIRECT_HTTPS_SAME : REDIRECT_HTTPS_OTHER;
    }
    AUTO_FREE char *name = mem_ndup(host, len);
    for (char *p = name; *p != '\0'; p++) {
        *p = (char)tolower((unsigned char)*p);
    }
    return site_fit(site, name) > 0 ? REDIRECT_HTTPS_SAME : REDIRECT_HTTPS_OTHER;
}

/* `return` and a catch-all `rewrite` that ends in a redirect. */
static enum nginx_redirect directive_redirect(const struct site *site, const struct nginx_node *node)
{
    if (nginx_is(node, "rewrite") && node->n_args >= 3 && matches_everything(node->args[1])) {
        const char *flag = node->n_args > 3 ? node->args[3] : "";
        bool redirects = strcmp(flag, "permanent") == 0 || strcmp(flag, "redirect") == 0 ||
                         strncmp(node->args[2], "http", 4) == 0 || strncmp(node->args[2], "$scheme", 7) == 0;
        return redirects ? target_kind(site, node->args[2]) : REDIRECT_NONE;
    }
    if (!nginx_is(node, "return") || node->n_args < 2) {
        return REDIRECT_NONE;
    }
    int code = atoi(node->args[1]);
    const char *url = node->n_args > 2 ? node->args[2] : node->args[1];
    if (code >= 300 && code < 400 && node->n_args > 2) {
        return target_kind(site, url);
    }
    if (code == 0) {
        return target_kind(site, url);
    }
    return code == 444 ? REDIRECT_CLOSES : code >= 400 ? REDIRECT_REFUSES : REDIRECT_OTHER;
}

static enum nginx_redirect block_redirect(const struct nginx_config *config, const struct site *site,
                                          const struct nginx_node *block)
{
    AUTO_NODES body = {0};
    nginx_children(config, block, false, &body);
    for (size_t i = 0; i < body.n; i++) {
        enum nginx_redirect kind = directive_redirect(site, body.v[i]);
        if (kind != REDIRECT_NONE) {
            return kind;
        }
    }
    return REDIRECT_NONE;
}

/* `if ($host = ...)`: a condition on the name, not on the scheme. */
static bool is_host_condition(const struct nginx_node *node)
{
    return nginx_is(node, "if") && node->n_args >= 2 &&
           (strncmp(node->args[1], "($host", 6) == 0 || strncmp(node->args[1], "($http_host", 11) == 0 ||
            (strcmp(node->args[1], "(") == 0 && node->n_args > 2 && strncmp(node->args[2], "$host", 5) == 0));
}

static bool is_main_location(const struct nginx_node *node)
{
    if (!nginx_is(node, "location") || !node->block) {
        return false;
    }
    const char *path = node->args[node->n_args - 1];
    return (node->n_args == 2 && strcmp(path, "/") == 0) ||
           (node->n_args == 3 && ((strcmp(node->args[1], "^~") == 0 && strcmp(path, "/") == 0) ||
                                  (node->args[1][0] == '~' && matches_everything(path))));
}

/* What the server does with a request for its names, whatever the path. */
static enum nginx_redirect server_redirect(const struct nginx_config *config, const struct site *site,
                                           const struct nginx_node *server)
{
    AUTO_NODES body = {0};
    enum nginx_redirect host = REDIRECT_NONE, location = REDIRECT_NONE;
    nginx_children(config, server, false, &body);
    for (size_t i = 0; i < body.n; i++) {
        const struct nginx_node *node = body.v[i];
        enum nginx_redirect kind = directive_redirect(site, node);
        if (kind != REDIRECT_NONE) {
            return host == REDIRECT_HTTPS_SAME ? host : kind;
        }
        if (is_host_condition(node) && host == REDIRECT_NONE) {
            host = block_redirect(config, site, node);
        }
        if (is_main_location(node)) {
            location = block_redirect(config, site, node);
        }
    }
    return location == REDIRECT_REFUSES ? REDIRECT_NONE : location; /* an error page is a page */
}

/* ---- read ---- */

static void lower(char *text)
{
    for (; *text != '\0'; text++) {
        *text = (char)tolower((unsigned char)*text);
    }
}

static void read_names(const struct nginx_nodes *body, struct strlist *names)
{
    for (size_t i = 0; i < body->n; i++) {
        const struct nginx_node *node = body->v[i];
        for (size_t k = 1; nginx_is(node, "server_name") && k < node->n_args; k++) {
            AUTO_FREE char *name = mem_dup(node->args[k]);
            if (name[0] != '~') {
                lower(name); /* a regex keeps its case: \D is not \d */
            }
            if (!strlist_has(names, name)) {
                strlist_add(names, name);
            }
        }
    }
}

/* A directive of the server, or of its `location /`, or of http: the path as a full one. */
static char *read_path(const struct nginx_model *model, const struct nginx_nodes *body, const char *name,
                       const char *base, bool inherit)
{
    const struct nginx_node *found = NULL;
    for (size_t i = 0; i < body->n && found == NULL; i++) {
        found = nginx_is(body->v[i], name) ? body->v[i] : NULL;
    }
    for (size_t i = 0; inherit && i < body->n && found == NULL; i++) {
        found = is_main_location(body->v[i]) ? nginx_child(&model->config, body->v[i], name) : NULL;
    }
    if (found == NULL && inherit) {
        found = nginx_child(&model->config, model->http, name);
    }
    if (found == NULL || found->n_args < 2) {
        return mem_dup("");
    }
    const char *path = found->args[1];
    return path[0] == '/' || path[0] == '$' || strchr(path, ':') != NULL ? mem_dup(path)
                                                                         : fs_join(base, path);
}

static void add_site_listens(const struct nginx_server *server, struct site *site)
{
    for (size_t i = 0; i < server->n_listens; i++) {
        const struct nginx_listen *listen = &server->listens[i];
        for (int port = listen->port; port <= listen->port_last; port++) {
            site_add_listen(site, listen->address, port, listen->ssl, listen->default_server);
        }
    }
}

static void add_server(const struct web *web, const struct nginx_node *node, struct sites *out)
{
    struct nginx_model *model = out->priv;
    AUTO_NODES body = {0};
    struct nginx_server *server = mem_alloc(sizeof *server);
    struct site *site = sites_add(out);
    model->servers = mem_resize(model->servers, model->n_servers + 1, sizeof(struct nginx_server *));
    model->servers[model->n_servers++] = server;
    nginx_children(&model->config, node, false, &body);
    server->node = node;
    site->priv = server;
    site->file = mem_dup(model->config.files[node->file]->path);
    site->line = node->line;
    site->begin = node->begin;
    site->end = node->end;
    read_names(&body, &site->names);
    read_listens(model, &body, server);
    add_site_listens(server, site);
    site->root = read_path(model, &body, "root", web->prefix, true);
    site->certificate = read_path(model, &body, "ssl_certificate", model->config.dir, false);
    server->redirect = server_redirect(&model->config, site, node);
    site->redirects_only =
        server->redirect == REDIRECT_HTTPS_SAME || server->redirect == REDIRECT_HTTPS_OTHER;
}

static void free_servers(struct nginx_model *model)
{
    for (size_t i = 0; i < model->n_servers; i++) {
        free(model->servers[i]->listens);
        free(model->servers[i]);
    }
    free(model->servers);
    model->servers = NULL;
    model->n_servers = 0;
}

static void free_model(void *priv)
{
    struct nginx_model *model = priv;
    free_servers(model);
    nginx_config_clear(&model->config);
    free(model);
}

static void fill(const struct web *web, struct sites *out)
{
    struct nginx_model *model = out->priv;
    AUTO_NODES main = {0}, body = {0};
    nginx_children(&model->config, &model->config.files[0]->root, false, &main);
    model->http = NULL;
    for (size_t i = 0; i < main.n && model->http == NULL; i++) {
        model->http = nginx_is(main.v[i], "http") && main.v[i]->block ? main.v[i] : NULL;
    }
    if (model->http == NULL) {
        return;
    }
    nginx_children(&model->config, model->http, false, &body);
    for (size_t i = 0; i < body.n; i++) {
        if (nginx_is(body.v[i], "server") && body.v[i]->block) {
            add_server(web, body.v[i], out);
        }
    }
}

void nginx_model_refresh(const struct web *web, struct sites *sites)
{
    struct nginx_model *model = sites->priv;
    sites->priv_free = NULL;
    sites_clear(sites);
    free_servers(model);
    sites->priv = model;
    sites->priv_free = free_model;
    fill(web, sites);
}

static void ignore_marks(struct nginx_config *config, const char *id)
{
    for (size_t f = 0; f < config->n_files; f++) {
        for (size_t i = 0; i < config->files[f]->n_marks; i++) {
            struct nginx_mark *mark = &config->files[f]->marks[i];
            mark->ignored = strcmp(mark->id, id) == 0;
        }
    }
}

bool nginx_model_read(const struct web *web, const struct nginx_reader *reader, const char *ignore,
                      struct sites *out, struct err *err)
{
    struct nginx_config config = NGINX_CONFIG_INIT;
    if (!nginx_config_load(&config, web->conf, reader, err)) {
        return false;
    }
    if (ignore != NULL) {
        ignore_marks(&config, ignore);
    }
    struct nginx_model *model = mem_alloc(sizeof *model);
    model->config = config;
    sites_clear(out);
    out->priv = model;
    out->priv_free = free_model;
    fill(web, out);
    return true;
}

static bool read_sites(const struct web *web, struct sites *out, struct err *err)
{
    return nginx_model_read(web, NULL, NULL, out, err);
}

static const char *const units[] = {"nginx", "openresty", NULL};

const struct web_driver nginx_driver = {
    .kind = WEB_NGINX,
    .find = find,
    .test = test,
    .read = read_sites,
    .owner = owner,
    .edit_challenge = nginx_edit_challenge,
    .edit_https = nginx_edit_https,
    .reload_signal = SIGHUP,
    .units = units,
    .owner_at = owner_at,
};
