/*
 * apache_view.c - does Apache itself see what we see? Its dump of files and virtual hosts beside our model
 * (see apache_server.h).
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "apache_server.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

#define INCLUDES_TITLE "Included configuration files:"
#define HOSTS_TITLE "VirtualHost configuration:"

/* -- what it printed -- */

/* One virtual host on one address. */
struct seen {
    char *address; /* "*", "192.0.2.1", "[2001:db8::1]" */
    int port;      /* 0 = any */
    char *name, *file;
    size_t line;
    bool macro;      /* it comes from a macro, whose place is a description */
    bool is_default; /* of its address; stands beside the same host, and is none by itself */
    bool listed;     /* with its aliases */
    struct strlist aliases;
};

struct view {
    struct strlist files;
    bool has_files, has_hosts;
    struct seen *v;
    size_t n, cap;
};

static void view_clear(struct view *view)
{
    for (size_t i = 0; i < view->n; i++) {
        free(view->v[i].address);
        free(view->v[i].name);
        free(view->v[i].file);
        strlist_clear(&view->v[i].aliases);
    }
    free(view->v);
    strlist_clear(&view->files);
}

static const char *skip_blanks(const char *text)
{
    return text + strspn(text, " \t");
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* "(LINE) PATH", or "(*) PATH" for the main file. */
static void parse_file(struct view *view, const char *line)
{
    const char *text = skip_blanks(line);
    if (text == line || *text++ != '(')
        return;
    size_t digits = *text == '*' ? 1 : strspn(text, "0123456789");
    if (digits && begins(text + digits, ") /"))
        strlist_add(&view->files, text + digits + 2);
}

/* "ADDRESS:PORT", "[v6]:PORT", "ADDRESS:*" */
static bool parse_address(const char *text, size_t len, char **address, int *port)
{
    size_t colon = len;
    while (colon > 0 && text[colon - 1] != ':')
        colon--;
    if (colon < 2)
        return false;
    const char *digits = text + colon;
    size_t n = len - colon;
    bool any = n == 1 && *digits == '*';
    if (!n || n > 5 || (!any && strspn(digits, "0123456789") < n))
        return false;
    *address = mem_ndup(text, colon - 1);
    *port = any ? 0 : atoi(digits);
    return true;
}

/* "NAME (FILE:LINE)" */
static bool parse_place(const char *text, struct seen *seen)
{
    size_t name = strcspn(text, " ");
    size_t len = strlen(text);
    while (len && text[len - 1] == ' ')
        len--;
    if (!name || !begins(text + name, " (") || len < name + 4 || text[len - 1] != ')')
        return false;
    const char *from = text + name + 2, *end = text + len - 1, *colon = end;
    while (colon > from && isdigit((unsigned char)colon[-1]))
        colon--;
    if (colon == end || colon - from < 2 || colon[-1] != ':')
        return false;
    seen->name = mem_ndup(text, name);
    seen->file = mem_ndup(from, (size_t)(colon - 1 - from));
    seen->line = strtoul(colon, NULL, 10);
    seen->macro = begins(seen->file, "macro '");
    return true;
}

static struct seen *view_add(struct view *view, const struct seen *seen)
{
    if (view->n == view->cap) {
        view->cap = view->cap ? 2 * view->cap : 64;
        view->v = mem_resize(view->v, view->cap, sizeof *view->v);
    }
    view->v[view->n] = *seen;
    return &view->v[view->n++];
}

/* The address that the lines below it are for. */
struct group {
    char *address;
    int port;
    struct seen *last;
};

static void parse_first(struct view *view, const char *line, struct group *group)
{
    size_t len = strcspn(line, " \t");
    char *address;
    int port;
    if (!parse_address(line, len, &address, &port))
        return;
    const char *rest = skip_blanks(line + len);
    struct seen seen = {.address = address, .port = port};
    if (begins(rest, "is a NameVirtualHost")) {
        free(group->address);
        *group = (struct group){.address = address, .port = port};
    } else if (parse_place(rest, &seen)) {
        view_add(view, &seen);
    } else {
        free(address);
    }
}

static void parse_inner(struct view *view, const char *line, struct group *group)
{
    const char *text = skip_blanks(line);
    struct seen seen = {.port = group->port};
    if (begins(text, "default server ") && parse_place(text + strlen("default server "), &seen)) {
        seen.is_default = true;
    } else if (begins(text, "port ")) {
        const char *mark = strstr(text, " namevhost ");
        if (!mark || !parse_place(mark + strlen(" namevhost "), &seen))
            return;
        seen.listed = true;
    } else if (group->last && (begins(text, "alias ") || begins(text, "wild alias "))) {
        strlist_add(&group->last->aliases, strstr(text, "alias ") + strlen("alias "));
        return;
    } else {
        return;
    }
    seen.address = mem_dup(group->address);
    group->last = view_add(view, &seen);
}

static void parse_dump(const char *dump, struct view *view)
{
    struct group group = {0};
    bool files = false, hosts = false;
    while (*dump) {
        size_t len = strcspn(dump, "\n");
        AUTO_FREE char *line = mem_ndup(dump, len);
        dump += len + (dump[len] == '\n');
        if (begins(line, INCLUDES_TITLE)) {
            files = view->has_files = true;
            hosts = false;
        } else if (begins(line, HOSTS_TITLE)) {
            hosts = view->has_hosts = true;
            files = false;
        } else if (files) {
            parse_file(view, line);
        } else if (hosts && line[0] != ' ' && line[0] != '\t') {
            parse_first(view, line, &group);
        } else if (hosts && group.address) {
            parse_inner(view, line, &group);
        }
    }
    free(group.address);
}

/* -- what we know -- */

/* One of our hosts on one of its addresses. */
struct known {
    const struct apache_host *host;
    const char *file;   /* symlinks resolved */
    size_t first, last; /* lines of its opening */
    const struct apache_address *at;
    bool macro, seen;
};

struct known_list {
    struct known *v;
    size_t n;
};

static size_t lines_in(const struct apache_file *file, const struct apache_node *node)
{
    size_t n = 0;
    for (size_t i = node->begin; i + 1 < node->end; i++)
        n += file->data[i] == '\n';
    return n;
}

static int by_place(const void *a, const void *b)
{
    const struct known *x = a, *y = b;
    int order = strcmp(x->file, y->file);
    if (order == 0)
        order = x->first < y->first ? -1 : x->first > y->first;
    if (order == 0)
        order = x->host < y->host ? -1 : x->host > y->host;
    return order;
}

static void list_known(const struct apache_model *model, struct known_list *out)
{
    size_t n = 0;
    for (size_t i = 0; i + 1 < model->n_hosts; i++)
        n += model->hosts[i].n_addresses;
    *out = (struct known_list){.v = mem_array(n + 1, sizeof *out->v)};
    for (size_t i = 0; i + 1 < model->n_hosts; i++) {
        const struct apache_host *host = &model->hosts[i];
        const struct apache_line *line = &model->tree.lines[host->open];
        const struct apache_file *file = model->tree.files[line->file];
        const struct apache_node *node = &file->nodes[line->node];
        for (size_t k = 0; k < host->n_addresses; k++)
            out->v[out->n++] = (struct known){.host = host,
                                              .file = file->real,
                                              .first = node->line,
                                              .last = node->line + lines_in(file, node),
                                              .at = &host->addresses[k],
                                              .macro = line->use != APACHE_NONE};
    }
    qsort(out->v, out->n, sizeof *out->v, by_place);
}

/* The first entry at or behind this place. */
static size_t find_place(const struct known_list *list, const char *file, size_t line)
{
    size_t low = 0, high = list->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(list->v[middle].file, file);
        if (order < 0 || (order == 0 && list->v[middle].last < line))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A host without a ServerName goes by what the server makes up for it. */
static bool name_agrees(const struct apache_host *host, const char *name)
{
    return !host->server_name || strcasecmp(host->server_name, name) == 0;
}

static bool address_agrees(const struct apache_address *at, const struct seen *seen)
{
    return at->port == seen->port && strcmp(at->address, seen->address) == 0;
}

/* Host names are resolved by the server: they cannot be compared. */
static bool is_numeric(const struct apache_address *at)
{
    const char *text = at->address;
    return text[0] == '[' || strcmp(text, "*") == 0 || strspn(text, "0123456789.") == strlen(text);
}

static bool has_named_address(const struct apache_host *host)
{
    for (size_t i = 0; i < host->n_addresses; i++) {
        if (!is_numeric(&host->addresses[i]))
            return true;
    }
    return false;
}

/* -- differences -- */

static bool differs(struct err *err, const char *subject, const char *fmt, ...) PRINTF_LIKE(3, 4);
static bool differs(struct err *err, const char *subject, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, subject,
            "Apache itself reads its configuration otherwise than tlsup does: %s", text);
    return err_advise(
        err,
        "Nothing is edited, since it would be a guess. Write that part in a plainer way, or use a webroot "
        "for the challenge and install the certificate by hand.");
}

static bool same_file(const char *a, const char *b)
{
    if (strcmp(a, b) == 0)
        return true;
    AUTO_FREE char *real_a = realpath(a, NULL);
    AUTO_FREE char *real_b = realpath(b, NULL);
    return real_a && real_b && strcmp(real_a, real_b) == 0;
}

static bool compare_files(const struct apache_model *model, const struct view *view, struct err *err)
{
    const struct strlist *ours = &model->tree.reads, *theirs = &view->files;
    for (size_t i = 0; i < ours->n || i < theirs->n; i++) {
        if (i >= theirs->n)
            return differs(err, ours->v[i], "it does not read %s", ours->v[i]);
        if (i >= ours->n)
            return differs(err, theirs->v[i], "it reads %s too", theirs->v[i]);
        if (!same_file(ours->v[i], theirs->v[i]))
            return differs(err, theirs->v[i], "it reads %s where tlsup would read %s", theirs->v[i],
                           ours->v[i]);
    }
    return true;
}

static int by_text(const void *a, const void *b)
{
    return strcasecmp(*(char *const *)a, *(char *const *)b);
}

static bool list_misses(const struct strlist *sorted, const struct strlist *of, const char **missing)
{
    for (size_t i = 0; i < of->n; i++) {
        if (!sorted->n || !bsearch(&of->v[i], sorted->v, sorted->n, sizeof *sorted->v, by_text)) {
            *missing = of->v[i];
            return true;
        }
    }
    return false;
}

static bool compare_aliases(const struct seen *seen, const struct apache_host *host, struct err *err)
{
    AUTO_STRLIST ours = STRLIST_INIT;
    AUTO_STRLIST theirs = STRLIST_INIT;
    const char *name = NULL;
    strlist_copy(&ours, &host->aliases);
    strlist_copy(&theirs, &seen->aliases);
    if (ours.n)
        qsort(ours.v, ours.n, sizeof *ours.v, by_text);
    if (theirs.n)
        qsort(theirs.v, theirs.n, sizeof *theirs.v, by_text);
    if (list_misses(&ours, &theirs, &name))
        return differs(err, name, "the virtual host in %s:%zu has the alias %s for it", seen->file,
                       seen->line, name);
    if (list_misses(&theirs, &ours, &name))
        return differs(err, name, "the virtual host in %s:%zu has no alias %s for it", seen->file, seen->line,
                       name);
    return true;
}

/* A virtual host of the server's that is not from a macro: we must have it, there, on that address, by that
 * name. */
static bool compare_plain(struct known_list *list, const struct seen *seen, struct err *err)
{
    AUTO_FREE char *real = realpath(seen->file, NULL);
    const char *file = real ? real : seen->file;
    size_t first = find_place(list, file, seen->line);
    struct known *found = NULL;
    bool there = false, named = false;
    for (size_t i = first;
         i < list->n && strcmp(list->v[i].file, file) == 0 && list->v[i].first <= seen->line; i++) {
        struct known *known = &list->v[i];
        if (seen->line > known->last)
            continue;
        there = true;
        if (!name_agrees(known->host, seen->name))
            continue;
        named = true;
        if (!address_agrees(known->at, seen) && !(has_named_address(known->host) && !is_numeric(known->at)))
            continue;
        if (!found || (found->seen && !known->seen))
            found = known;
    }
    if (!there)
        return differs(err, seen->file, "it has a virtual host in %s:%zu (%s), which tlsup does not see",
                       seen->file, seen->line, seen->name);
    if (!named)
        return differs(err, seen->file, "the virtual host in %s:%zu is %s for it", seen->file, seen->line,
                       seen->name);
    if (!found)
        return differs(err, seen->file, "the virtual host in %s:%zu is on %s:%d for it", seen->file,
                       seen->line, seen->address, seen->port);
    found->seen = true;
    return !seen->listed || compare_aliases(seen, found->host, err);
}

static bool compare_macro(struct known_list *list, const struct seen *seen, struct err *err)
{
    struct known *found = NULL;
    for (size_t i = 0; i < list->n; i++) {
        struct known *known = &list->v[i];
        if (known->macro && name_agrees(known->host, seen->name) &&
            (address_agrees(known->at, seen) || !is_numeric(known->at)) &&
            (!found || (found->seen && !known->seen)))
            found = known;
    }
    if (!found)
        return differs(err, seen->name,
                       "it has a virtual host %s on %s:%d out of a %s, which tlsup does not see", seen->name,
                       seen->address, seen->port, seen->file);
    found->seen = true;
    return !seen->listed || compare_aliases(seen, found->host, err);
}

static bool compare_default(const struct apache_model *model, const struct seen *seen, struct err *err)
{
    for (size_t i = 0; i + 1 < model->n_hosts; i++) {
        const struct apache_host *host = &model->hosts[i];
        if (has_named_address(host))
            return true;
        if (!apache_host_on(host, seen->address, seen->port))
            continue;
        const struct apache_line *line = &model->tree.lines[host->open];
        const struct apache_file *file = model->tree.files[line->file];
        const struct apache_node *node = &file->nodes[line->node];
        bool macro = line->use != APACHE_NONE;
        bool same = macro == seen->macro && name_agrees(host, seen->name) &&
                    (macro || (node->line <= seen->line && seen->line <= node->line + lines_in(file, node) &&
                               same_file(file->path, seen->file)));
        if (same)
            return true;
        AUTO_FREE char *where = apache_host_where(model, host);
        return differs(err, seen->address, "the default virtual host of %s:%d is %s (%s:%zu) for it, not %s",
                       seen->address, seen->port, seen->name, seen->file, seen->line, where);
    }
    return true;
}

/* The same address named twice in one host is one. */
static bool seen_elsewhere(const struct known_list *list, size_t index)
{
    const struct known *known = &list->v[index];
    for (size_t i = index; i > 0 && list->v[i - 1].host == known->host; i--) {
        if (list->v[i - 1].seen && list->v[i - 1].at->port == known->at->port &&
            strcmp(list->v[i - 1].at->address, known->at->address) == 0)
            return true;
    }
    return false;
}

static bool compare_hosts(const struct apache_model *model, struct known_list *list, const struct view *view,
                          struct err *err)
{
    for (size_t i = 0; i < view->n; i++) {
        const struct seen *seen = &view->v[i];
        bool ok = seen->is_default ? compare_default(model, seen, err)
                  : seen->macro    ? compare_macro(list, seen, err)
                                   : compare_plain(list, seen, err);
        if (!ok)
            return false;
    }
    for (size_t i = 0; i < list->n; i++) {
        const struct known *known = &list->v[i];
        if (known->seen || !is_numeric(known->at) || seen_elsewhere(list, i))
            continue;
        AUTO_FREE char *where = apache_host_where(model, known->host);
        return differs(err, where, "it has no virtual host from %s on %s:%d", where, known->at->address,
                       known->at->port);
    }
    return true;
}

bool apache_view_agrees(const struct apache_model *model, const char *dump, struct err *err)
{
    struct view view = {0};
    struct known_list known;
    parse_dump(dump, &view);
    if (!view.has_files || !view.has_hosts)
        log_debug("apache: the server's dump has another form than expected");
    list_known(model, &known);
    bool ok = (!view.has_files || compare_files(model, &view, err)) &&
              (!view.has_hosts || compare_hosts(model, &known, &view, err));
    free(known.v);
    view_clear(&view);
    return ok;
}

bool apache_compare(const struct web *web, const struct sites *sites, struct err *err)
{
    static const char *const args[] = {"-t", "-D", "DUMP_VHOSTS", "-D", "DUMP_INCLUDES", NULL};
    AUTO_BUF dump = BUF_INIT;
    return apache_dump(web, args, &dump, err) && apache_view_agrees(sites->priv, buf_str(&dump), err);
}
