/*
 * apache.c - the Apache driver: its sites in the neutral model.
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
#include "apache_server.h"
#include "driver.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

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
    if (apache_is_foreign(address))
        return; /* nobody could ask there */
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
    site->enabled = true;
    if (host->open != APACHE_NONE) {
        const struct apache_node *node = apache_host_node(model, host);
        site->line = node->line;
        site->begin = node->begin;
        site->end = file->nodes[node->partner].end;
    }
    if (apache_host_name(host))
        strlist_add(&site->names, apache_host_name(host));
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
    if (!apache_model_read(web, NULL, NULL, model, err)) {
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
    const struct apache_model *model = sites->priv;
    return host ? &sites->v[host - model->hosts] : NULL; /* they are in the same order */
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

static const char *file_at(const struct sites *sites, size_t n, const char **data, size_t *len)
{
    const struct apache_model *model = sites->priv;
    if (n >= model->tree.n_files)
        return NULL;
    *data = model->tree.files[n]->data;
    *len = model->tree.files[n]->len;
    return model->tree.files[n]->path;
}

const struct web_driver apache_driver = {
    .kind = WEB_APACHE,
    .find = apache_find,
    .test = apache_test,
    .read = read_sites,
    .owner = owner,
    .edit_challenge = apache_edit_challenge,
    .edit_https = apache_edit_https,
    .reload_signal = SIGUSR1,
    .units = units,
    .owner_at = owner_at,
    .compare = apache_compare,
    .read_disabled = apache_read_disabled,
    .enable_command = apache_enable_command,
    .test_command = apache_test_command,
    .file_at = file_at,
};
