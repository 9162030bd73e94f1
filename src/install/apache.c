/*
 * apache.c - the Apache driver: find the server, test it, read its sites.
 */
#include <arpa/inet.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "apache_edit.h"
#include "driver.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

/* -- find -- */

static const char *const binaries[] = {"/usr/sbin/apache2",       "/usr/sbin/httpd",
                                       "/usr/local/sbin/httpd",   "/usr/sbin/httpd2",
                                       "/usr/sbin/httpd-prefork", "/usr/local/apache2/bin/httpd",
                                       "/opt/local/sbin/httpd",   "/usr/bin/httpd"};
static const char *const processes[] = {"apache2", "httpd", "httpd2", "httpd-prefork", "httpd-worker", NULL};

/* What `-V` says of itself: the text between the quotes of `-D NAME="..."`. */
static bool compiled_in(const char *text, const char *name, char *out, size_t size)
{
    AUTO_FREE char *key = mem_fmt("-D %s=\"", name);
    const char *from = strstr(text, key);
    if (!from)
        return false;
    from += strlen(key);
    snprintf(out, size, "%.*s", (int)strcspn(from, "\"\n"), from);
    return true;
}

static bool read_version(const char *text, struct web *out)
{
    const char *mark = "Server version: Apache/";
    const char *from = strstr(text, mark);
    if (!from)
        return false;
    from += strlen(mark);
    snprintf(out->version, sizeof out->version, "%.*s", (int)strspn(from, "0123456789."), from);
    int major = 0, minor = 0, patch = 0;
    if (sscanf(out->version, "%3d.%3d.%3d", &major, &minor, &patch) < 2)
        return false;
    out->version_number = major * 1000000 + minor * 1000 + patch;
    return true;
}

/* Is this program an Apache? (busybox has an httpd as well.) */
static bool examine(const char *bin, struct web *out, char root[512], char conf[512])
{
    const char *argv[] = {bin, "-V", NULL};
    struct spawn_result result = {0};
    struct err ignored = ERR_INIT;
    bool ok = spawn_run(argv, NULL, &result, &ignored) && read_version(buf_str(&result.output), out);
    if (ok) {
        const char *text = buf_str(&result.output);
        if (!compiled_in(text, "HTTPD_ROOT", root, 512))
            snprintf(root, 512, "/");
        if (!compiled_in(text, "SERVER_CONFIG_FILE", conf, 512))
            snprintf(conf, 512, "conf/httpd.conf");
        snprintf(out->bin, sizeof out->bin, "%s", bin);
    }
    spawn_result_clear(&result);
    return ok;
}

/* -d, -f of the running server. */
static void running_paths(pid_t pid, char *root, char *conf, size_t size)
{
    AUTO_FREE char *path = mem_fmt("/proc/%ld/cmdline", (long)pid);
    FILE *file = pid > 0 ? fopen(path, "re") : NULL;
    if (!file)
        return;
    char *word = NULL;
    size_t cap = 0;
    char option = 0;
    while (getdelim(&word, &cap, '\0', file) > 0) {
        const char *value = NULL;
        if (option)
            value = word;
        else if (word[0] == '-' && (word[1] == 'd' || word[1] == 'f')) {
            option = word[1];
            value = word[2] ? word + 2 : NULL;
        }
        if (!value)
            continue;
        snprintf(option == 'd' ? root : conf, size, "%s", value);
        option = 0;
    }
    free(word);
    fclose(file);
}

static void set_paths(const struct web_hints *hints, const char *root, const char *conf, struct web *out)
{
    char prefix[512], file[512];
    snprintf(prefix, sizeof prefix, "%s", root);
    snprintf(file, sizeof file, "%s", conf);
    running_paths(out->master_pid, prefix, file, sizeof file);
    if (hints && hints->conf) {
        snprintf(file, sizeof file, "%s", hints->conf);
        /* A whole configuration elsewhere (Debian: /etc/apache2-NAME) is its own ServerRoot. */
        const char *base = strrchr(conf, '/');
        AUTO_FREE char *dir = fs_dirname(hints->conf);
        if (hints->conf[0] == '/' && !base && strcmp(strrchr(hints->conf, '/') + 1, conf) == 0)
            snprintf(prefix, sizeof prefix, "%s", dir);
    }
    AUTO_FREE char *joined = file[0] == '/' ? mem_dup(file) : fs_join(prefix, file);
    snprintf(out->conf, sizeof out->conf, "%s", joined);
    snprintf(out->prefix, sizeof out->prefix, "%s", prefix);
}

static void set_control(const struct web_hints *hints, struct web *out)
{
    const char *base = strrchr(out->bin, '/');
    AUTO_FREE char *ctl = NULL;
    if (hints && hints->ctl)
        ctl = mem_dup(hints->ctl);
    else if (base && strcmp(base, "/apache2") == 0)
        ctl = mem_fmt("%sctl", out->bin); /* it knows Debian's envvars */
    if (ctl && access(ctl, X_OK) == 0)
        snprintf(out->ctl, sizeof out->ctl, "%s", ctl);
}

static void set_modules(struct web *out)
{
    struct apache_model model = {0};
    struct err ignored = ERR_INIT;
    if (!apache_model_read(out, NULL, NULL, NULL, &model, &ignored)) {
        log_debug("apache: %s", ignored.text);
        return;
    }
    out->has_ssl = apache_tree_has(&model.tree, "ssl_module");
    out->has_http2 = apache_tree_has(&model.tree, "http2_module");
    out->has_rewrite = apache_tree_has(&model.tree, "rewrite_module");
    apache_model_clear(&model);
}

static bool find(const struct web_hints *hints, struct web *out, struct err *err)
{
    struct web web = {.kind = WEB_APACHE};
    char root[512], conf[512];
    bool found = false;
    if (hints && hints->bin) {
        if (!examine(hints->bin, &web, root, conf)) {
            err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, hints->bin, "%s is not an Apache HTTP Server",
                    hints->bin);
            return err_advise(err, "Give the path of the server's own program, such as /usr/sbin/apache2.");
        }
        found = true;
    }
    for (size_t i = 0; i < COUNT_OF(binaries) && !found; i++)
        found = access(binaries[i], X_OK) == 0 && examine(binaries[i], &web, root, conf);
    if (!found)
        return false;
    web.master_pid = web_master(processes, NULL);
    set_paths(hints, root, conf, &web);
    set_control(hints, &web);
    set_modules(&web);
    *out = web;
    return true;
}

/* -- test -- */

/* Debian's apache2ctl reads APACHE_CONFDIR/apache2.conf; for any other file the server is asked itself. */
static bool ctl_fits(const struct web *web)
{
    AUTO_FREE char *conf = fs_join(web->prefix, "apache2.conf");
    return web->ctl[0] && strcmp(conf, web->conf) == 0;
}

static bool test(const struct web *web, struct err *err)
{
    const char *direct[] = {web->bin, "-d", web->prefix, "-f", web->conf, "-t", NULL};
    const char *through[] = {web->ctl, "-t", NULL};
    AUTO_STRLIST env = STRLIST_INIT;
    bool ctl = ctl_fits(web);
    if (ctl) {
        AUTO_FREE char *dir = mem_fmt("APACHE_CONFDIR=%s", web->prefix);
        strlist_add(&env, dir);
    } else {
        apache_environment(web, &env);
    }
    const char **entries = mem_array(env.n + 1, sizeof *entries);
    for (size_t i = 0; i < env.n; i++)
        entries[i] = env.v[i];
    struct spawn_options options = {.env = entries};
    struct spawn_result result = {0};
    bool ok = spawn_run(ctl ? through : direct, &options, &result, err);
    free(entries);
    if (ok && (result.status != 0 || result.timed_out)) {
        ok =
            err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, web->conf, "Apache's own configuration test %s:\n%s",
                    result.timed_out ? "did not end" : "fails", buf_str(&result.output));
        (void)err_advise(err, "Mend what it names, then see that `%s -t` passes.", ctl ? web->ctl : web->bin);
    }
    spawn_result_clear(&result);
    return ok;
}

/* -- read -- */

/* Does this machine have IPv6 at all? The server listens on it only then. */
static bool has_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool ok = bind(fd, (struct sockaddr *)&any, sizeof any) == 0;
    close(fd);
    return ok;
}

static void add_listen(struct site *site, const char *address, int port, bool ssl, bool is_default)
{
    if (!site_listens_at(site, address, port))
        site_add_listen(site, address, port, ssl, is_default);
}

/* A host's address, as far as a Listen opens it. */
static void add_listens(const struct apache_model *model, const struct apache_host *host, const char *address,
                        int port, bool ipv6, struct site *site)
{
    bool ssl = apache_host_is_tls(model, host);
    for (size_t i = 0; i < model->n_listens; i++) {
        const struct apache_address *at = &model->listens[i].at;
        if (port != 0 && at->port != port)
            continue;
        bool first =
            host->open == APACHE_NONE || apache_owner_at(model, "", address, at->port, false, NULL) == host;
        bool any = strcmp(at->address, "*") == 0;
        if (strcmp(address, "*") != 0) {
            if (any || strcmp(at->address, "0.0.0.0") == 0 || strcmp(at->address, "[::]") == 0 ||
                strcmp(at->address, address) == 0)
                add_listen(site, address, at->port, ssl, first);
            continue;
        }
        if (any || strcmp(at->address, "0.0.0.0") == 0)
            add_listen(site, "*", at->port, ssl, first);
        if ((any || strcmp(at->address, "[::]") == 0) && ipv6)
            add_listen(site, "[::]", at->port, ssl, first);
        if (!any && strcmp(at->address, "0.0.0.0") != 0 && strcmp(at->address, "[::]") != 0)
            add_listen(site, at->address, at->port, ssl, first);
    }
}

static char *first_word(const struct apache_tree *tree, const struct apache_line *line, bool path)
{
    const char *args = line ? line->args : "";
    AUTO_FREE char *word = apache_word(&args);
    if (!word)
        return mem_dup("");
    return path ? apache_path(tree, word) : mem_dup(word);
}

static const struct apache_line *inherited(const struct apache_model *model, const struct apache_host *host,
                                           const char *name)
{
    const struct apache_line *line = apache_host_line(model, host, name);
    return line ? line : apache_host_line(model, apache_main(model), name);
}

/* The main server answers what no host is named for. */
static void main_listens(const struct apache_model *model, bool ipv6, struct site *site)
{
    const struct apache_host *host = apache_main(model);
    for (size_t i = 0; i < model->n_listens; i++) {
        int port = model->listens[i].at.port;
        if (apache_owner_at(model, "", "*", port, false, NULL) == host)
            add_listens(model, host, "*", port, ipv6, site);
    }
}

static void add_site(const struct apache_model *model, struct apache_host *host, bool ipv6, struct sites *out)
{
    struct site *site = sites_add(out);
    const struct apache_file *file = apache_host_file(model, host);
    site->file = mem_dup(file->path);
    site->line = 1;
    if (host->open != APACHE_NONE) {
        const struct apache_node *node = apache_host_node(model, host);
        site->line = node->line;
        site->begin = node->begin;
        site->end = file->nodes[node->partner].end;
    }
    if (host->server_name)
        strlist_add(&site->names, host->server_name);
    for (size_t i = 0; i < host->aliases.n; i++) {
        if (!strlist_has(&site->names, host->aliases.v[i]))
            strlist_add(&site->names, host->aliases.v[i]);
    }
    for (size_t i = 0; i < host->n_addresses; i++)
        add_listens(model, host, host->addresses[i].address, host->addresses[i].port, ipv6, site);
    if (host->open == APACHE_NONE)
        main_listens(model, ipv6, site);
    site->redirects_only = apache_host_redirects(model, host, "https://");
    site->root = first_word(&model->tree, inherited(model, host, "DocumentRoot"), true);
    site->certificate = apache_host_is_tls(model, host)
                            ? first_word(&model->tree, inherited(model, host, "SSLCertificateFile"), true)
                            : mem_dup("");
    site->priv = host;
}

static void free_model(void *priv)
{
    if (!priv)
        return;
    apache_model_clear(priv);
    free(priv);
}

static bool read_sites(const struct web *web, struct sites *out, struct err *err)
{
    struct apache_model *model = mem_alloc(sizeof *model);
    if (!apache_model_read(web, NULL, NULL, NULL, model, err)) {
        free(model);
        return false;
    }
    *out = (struct sites){.priv = model, .priv_free = free_model};
    bool ipv6 = has_ipv6();
    for (size_t i = 0; i < model->n_hosts; i++)
        add_site(model, &model->hosts[i], ipv6, out);
    return true;
}

/* -- owner -- */

static const struct site *site_of(const struct sites *sites, const struct apache_host *host)
{
    for (size_t i = 0; host && i < sites->n; i++) {
        if (sites->v[i].priv == host)
            return &sites->v[i];
    }
    return NULL;
}

static const struct site *owner(const struct sites *sites, const char *name, int port, bool explicit_only)
{
    return site_of(sites, apache_owner(sites->priv, name, port, explicit_only, NULL));
}

static const struct site *owner_at(const struct sites *sites, const char *name, const char *address, int port,
                                   bool explicit_only)
{
    return site_of(sites, apache_owner_at(sites->priv, name, address, port, explicit_only, NULL));
}

static const char *const units[] = {"apache2", "httpd", NULL};

const struct web_driver apache_driver = {
    .kind = WEB_APACHE,
    .find = find,
    .test = test,
    .read = read_sites,
    .owner = owner,
    .edit_challenge = apache_edit_challenge,
    .edit_https = apache_edit_https,
    .reload_signal = SIGUSR1,
    .units = units,
    .owner_at = owner_at,
};
