/*
 * nginx_place.c - where a new file goes, so that nginx reads it.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nginx_edit.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

void nginx_place_clear(struct nginx_place *place)
{
    free(place->path);
    free(place->link);
    free(place->loaded_as);
    *place = (struct nginx_place){0};
}

char *nginx_place_name(const char *before, const char *name)
{
    char *text = mem_fmt("%s%s.conf", before, name);
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '*' || *p == '/' ? '_' : *p;
    }
    return text;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* How usual a directory is for sites. */
static int directory_rank(const char *dir)
{
    static const char *const usual[] = {"vhosts.d", "conf.d", "http.d", "sites-enabled"};
    for (size_t i = 0; i < COUNT_OF(usual); i++) {
        if (strcmp(base_name(dir), usual[i]) == 0) {
            return (int)i + 1;
        }
    }
    return 0;
}

static bool include_brings(const struct nginx_node *include, size_t file)
{
    for (size_t i = 0; i < include->n_included; i++) {
        if (include->included[i] == file) {
            return true;
        }
    }
    return false;
}

/* A server that is the default only by being the first must stay the first. */
static bool stays_first(const struct nginx_editor *editor, const struct nginx_nodes *order, size_t include_at,
                        const struct nginx_node *first, const char *path)
{
    if (first == NULL) {
        return true;
    }
    if (include_brings(order->v[include_at], first->file)) {
        return strcmp(path, nginx_file_of(editor, first)->path) > 0;
    }
    for (size_t i = 0; i < order->n; i++) {
        if (order->v[i] == first) {
            return i < include_at;
        }
    }
    return false;
}

bool nginx_place_is_loaded(const struct nginx_editor *editor, const char *path)
{
    const struct nginx_config *config = nginx_config_of(editor);
    for (size_t i = 0; i < config->n_files; i++) {
        if (strcmp(config->files[i]->path, path) == 0 || strcmp(config->files[i]->real, path) == 0) {
            return true;
        }
    }
    return false;
}

/* Debian's pair of directories: the file in sites-available, a link in sites-enabled. */
static void settle_pair(const char *dir, const char *name, struct nginx_place *out)
{
    out->loaded_as = fs_join(dir, name);
    AUTO_FREE char *parent = fs_dirname(dir);
    AUTO_FREE char *available = fs_join(parent, "sites-available");
    if (strcmp(base_name(dir), "sites-enabled") == 0 && fs_is_dir(available)) {
        out->path = fs_join(available, name);
        out->link = mem_dup(out->loaded_as);
    } else {
        out->path = mem_dup(out->loaded_as);
    }
}

/* Try the directory of one include for a file called `name`. */
static bool try_include(const struct nginx_editor *editor, const struct nginx_nodes *order, size_t at,
                        const struct nginx_node *first, const char *name, struct nginx_place *out)
{
    const struct nginx_node *include = order->v[at];
    if (!nginx_is(include, "include") || include->target == NULL || strpbrk(include->target, "*?[") == NULL) {
        return false;
    }
    AUTO_FREE char *dir = fs_dirname(include->target);
    AUTO_FREE char *path = fs_join(dir, name);
    if (strpbrk(dir, "*?[") != NULL || !fs_is_dir(dir) ||
        fnmatch(include->target, path, FNM_PATHNAME | FNM_PERIOD) != 0 ||
        !stays_first(editor, order, at, first, path)) {
        return false;
    }
    settle_pair(dir, name, out);
    return true;
}

/* The best directory for a new file called `name`. `like`: a server beside which it would be at home (may be
 * NULL); `first`: a server that must stay before it (may be NULL). False: no included directory takes it. */
bool nginx_place_find(const struct nginx_editor *editor, const char *name, const struct nginx_node *like,
                      const struct nginx_node *first, struct nginx_place *out)
{
    const struct nginx_config *config = nginx_config_of(editor);
    AUTO_NODES order = {0};
    int best = -1;
    nginx_children(config, nginx_model_of(&editor->sites)->http, true, &order);
    for (size_t i = 0; i < order.n; i++) {
        AUTO_NGINX_PLACE place = {0};
        if (!try_include(editor, &order, i, first, name, &place)) {
            continue;
        }
        AUTO_FREE char *dir = fs_dirname(order.v[i]->target);
        int rank = directory_rank(dir) + (like != NULL && include_brings(order.v[i], like->file) ? 100 : 0);
        if (rank > best) {
            best = rank;
            nginx_place_clear(out);
            *out = place;
            place = (struct nginx_place){0};
        }
    }
    return best >= 0;
}
