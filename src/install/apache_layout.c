/*
 * apache_layout.c - sites that are there but not read: Debian's sites-available and conf-available (see
 * apache_server.h).
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "apache_server.h"
#include "driver.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

static const struct {
    const char *enabled, *available, *command;
} layouts[] = {
    {"sites-enabled", "sites-available", "a2ensite"},
    {"conf-enabled", "conf-available", "a2enconf"},
};

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The directories of Debian's kind that Includes name: "DIR/sites-enabled", with its place in the table. Each
 * once. */
static void enabled_dirs(const struct apache_tree *tree, struct strlist *dirs)
{
    for (size_t i = 0; i < tree->n_lines; i++) {
        const struct apache_line *line = &tree->lines[i];
        if (line->kind != APACHE_DIRECTIVE || strncasecmp(line->name, "Include", 7) != 0)
            continue;
        const char *args = line->args;
        AUTO_FREE char *word = apache_word(&args);
        AUTO_FREE char *path = apache_path(tree, word ? word : "");
        AUTO_FREE char *parent = fs_dirname(path);
        const char *const tried[] = {path, parent};
        for (size_t k = 0; k < COUNT_OF(tried) * COUNT_OF(layouts); k++) {
            const char *dir = tried[k % 2];
            if (strcmp(base_of(dir), layouts[k / 2].enabled) == 0 && !strlist_has(dirs, dir))
                strlist_add(dirs, dir);
        }
    }
}

static bool is_read(const struct apache_tree *tree, const char *path)
{
    AUTO_FREE char *real = txn_real(tree->txn, path);
    return real && apache_tree_file(tree, real) != APACHE_NONE;
}

static void add_site(const struct apache_model *model, const struct apache_host *host, const char *path,
                     struct sites *out)
{
    const struct apache_node *node = apache_host_node(model, host);
    struct site *site = sites_add(out);
    site->file = mem_dup(path);
    site->line = node->line;
    site->begin = node->begin;
    site->end = apache_host_file(model, host)->nodes[node->partner].end;
    if (host->server_name)
        strlist_add(&site->names, host->server_name);
    for (size_t i = 0; i < host->aliases.n; i++) {
        if (!strlist_has(&site->names, host->aliases.v[i]))
            strlist_add(&site->names, host->aliases.v[i]);
    }
    for (size_t i = 0; i < host->n_addresses; i++) {
        const struct apache_address *at = &host->addresses[i];
        if (!site_listens_at(site, at->address, at->port))
            site_add_listen(site, at->address, at->port, host->ssl == 1, false);
    }
    site->redirects_only = apache_host_redirects(model, host, "https://");
    static const char *const lines[] = {"DocumentRoot", "SSLCertificateFile"};
    char **const members[] = {&site->root, &site->certificate};
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        const struct apache_line *line = apache_host_line(model, host, lines[i]);
        const char *args = line ? line->args : "";
        AUTO_FREE char *word = apache_word(&args);
        *members[i] = word ? apache_path(&model->tree, word) : mem_dup("");
    }
}

/* A file that cannot be read, or stands on what only the main file could give it, is left out. */
static void add_file(const struct web *web, const struct apache_model *base, const char *path,
                     struct sites *out)
{
    struct apache_model model = {0};
    struct err why = ERR_INIT;
    if (!apache_model_read_beside(web, base, path, &model, &why)) {
        log_debug("%s: %s", path, why.text);
        return;
    }
    for (size_t i = 0; i + 1 < model.n_hosts; i++)
        add_site(&model, &model.hosts[i], path, out);
    apache_model_clear(&model);
}

static void add_disabled(const struct web *web, const struct apache_model *model, struct sites *out)
{
    AUTO_STRLIST dirs = STRLIST_INIT;
    enabled_dirs(&model->tree, &dirs);
    for (size_t d = 0; d < dirs.n; d++) {
        struct err ignored = ERR_INIT;
        AUTO_STRLIST names = STRLIST_INIT;
        AUTO_FREE char *parent = fs_dirname(dirs.v[d]);
        size_t layout = strcmp(base_of(dirs.v[d]), layouts[0].enabled) == 0 ? 0 : 1;
        AUTO_FREE char *available = fs_join(parent, layouts[layout].available);
        if (!txn_names(model->tree.txn, available, &names, &ignored))
            continue;
        for (size_t i = 0; i < names.n; i++) {
            size_t len = strlen(names.v[i]);
            AUTO_FREE char *path = fs_join(available, names.v[i]);
            if (names.v[i][0] != '.' && len > 5 && strcmp(names.v[i] + len - 5, ".conf") == 0 &&
                !fs_is_dir(path) && !is_read(&model->tree, path))
                add_file(web, model, path, out);
        }
    }
}

bool apache_read_disabled(const struct web *web, const struct sites *sites, struct sites *out,
                          struct err *err)
{
    (void)err;
    *out = (struct sites)SITES_INIT;
    add_disabled(web, sites->priv, out);
    return true;
}

char *apache_enable_command(const struct web *web, const struct site *site)
{
    (void)web;
    AUTO_FREE char *dir = fs_dirname(site->file);
    AUTO_FREE char *parent = fs_dirname(dir);
    const char *file = base_of(site->file);
    for (size_t i = 0; i < COUNT_OF(layouts); i++) {
        if (strcmp(base_of(dir), layouts[i].available) != 0)
            continue;
        if (strcmp(parent, "/etc/apache2") == 0 && spawn_find(layouts[i].command))
            return mem_fmt("%s %.*s", layouts[i].command, (int)strlen(file) - (int)strlen(".conf"), file);
        return mem_fmt("ln -s ../%s/%s %s/%s/%s", layouts[i].available, file, parent, layouts[i].enabled,
                       file);
    }
    return mem_fmt("ln -s %s %s/%s/%s", site->file, parent, layouts[0].enabled, file);
}

static bool site_has(const struct site *site, const char *name)
{
    for (size_t i = 0; i < site->names.n; i++) {
        if (apache_alias_matches(site->names.v[i], name))
            return true;
    }
    return false;
}

bool apache_refuse_disabled(const struct web *web, const struct apache_model *model,
                            const struct strlist *names, struct err *err)
{
    struct sites disabled = SITES_INIT;
    bool ok = true;
    add_disabled(web, model, &disabled);
    for (size_t i = 0; i < disabled.n && ok; i++) {
        for (size_t k = 0; k < names->n && ok; k++) {
            const struct site *site = &disabled.v[i];
            if (!site_has(site, names->v[k]))
                continue;
            AUTO_FREE char *command = apache_enable_command(web, site);
            ok = err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, names->v[k],
                         "%s has a virtual host of its own in %s:%zu, but that file is not enabled",
                         names->v[k], site->file, site->line);
            err_advise(err, "Enable it (%s), reload Apache, and run the command again.", command);
        }
    }
    sites_clear(&disabled);
    return ok;
}
