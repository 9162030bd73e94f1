#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "views.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

enum { RUNNING_MAX = 256 };

/* -- reading -------------------------------------------------------------------------------------------- */

/* Whose processes run: a user sees those of root by their names alone, and web_find() trusts only what it
 * sees whole. */
static void look_for_masters(struct view *view)
{
    struct front *running = mem_array(RUNNING_MAX, sizeof *running);
    size_t n = front_running(running, RUNNING_MAX);
    view->pid = view->web.master_pid;
    for (size_t i = 0; i < n; i++) {
        if (running[i].contained || strcmp(running[i].program->name, web_kind_name(view->web.kind)) != 0)
            continue;
        view->instances++;
        if (view->pid == 0 && geteuid() != 0)
            view->pid = running[i].pid;
    }
    free(running);
}

static void read_view(struct view *view)
{
    struct err ignored = ERR_INIT;
    look_for_masters(view);
    if (geteuid() == 0)
        view->tested = web_test(&view->web, &view->test) ? VIEW_GOOD : VIEW_BAD;
    view->was_read = web_read(&view->web, &view->sites, &view->read) ? VIEW_GOOD : VIEW_BAD;
    if (view->was_read != VIEW_GOOD)
        return;
    owners_find(&view->web, &view->sites, &view->owners);
    if (!web_read_disabled(&view->web, &view->sites, &view->disabled, &ignored))
        sites_clear(&view->disabled);
    if (view->tested == VIEW_GOOD)
        view->compared = web_compare(&view->web, &view->sites, &view->compare) ? VIEW_GOOD : VIEW_BAD;
}

static void add_view(struct views *views, const struct web *web)
{
    views->v = mem_resize(views->v, views->n + 1, sizeof *views->v);
    views->v[views->n] = (struct view){.web = *web};
    read_view(&views->v[views->n++]);
}

static void drop_view(struct view *view)
{
    owners_clear(&view->owners);
    sites_clear(&view->sites);
    sites_clear(&view->disabled);
}

/* To a user no process of root's shows what it is, so web_find() took neither to run. */
static void keep_running(struct views *views)
{
    if (views->n != 2 || (views->v[0].pid > 0) == (views->v[1].pid > 0))
        return;
    size_t kept = views->v[0].pid > 0 ? 0 : 1;
    drop_view(&views->v[1 - kept]);
    views->v[0] = views->v[kept];
    views->n = 1;
}

enum web_kind views_wanted(const struct request *request, struct store *store, struct cert_config *defaults,
                           struct web_hints *hints)
{
    struct err ignored = ERR_INIT; /* what is wrong with the file is told by those who write */
    if (!store_defaults(store, defaults, &ignored))
        cert_config_clear(defaults);
    *hints = (struct web_hints){
        .nginx_bin = request->nginx_bin ? request->nginx_bin : defaults->nginx_bin,
        .nginx_conf = request->nginx_conf ? request->nginx_conf : defaults->nginx_conf,
        .apache_ctl = request->apache_ctl ? request->apache_ctl : defaults->apache_ctl,
        .apache_conf = request->apache_conf ? request->apache_conf : defaults->apache_conf};
    return request->web != WEB_NONE ? request->web : defaults->install;
}

bool views_read(enum web_kind wanted, const struct web_hints *hints, struct views *out, struct err *err)
{
    static const enum web_kind kinds[] = {WEB_NGINX, WEB_APACHE};
    struct web web;
    *out = (struct views)VIEWS_INIT;
    if (web_find(wanted, hints, &web, err)) {
        add_view(out, &web);
        return true;
    }
    /* somebody who says where one is does not mean the other */
    bool said = hints->nginx_bin != NULL || hints->nginx_conf != NULL || hints->apache_ctl != NULL ||
                hints->apache_conf != NULL;
    if (wanted != WEB_NONE || said || err->code != ERR_WEBSERVER)
        return false;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct err ignored = ERR_INIT;
        if (web_find(kinds[i], hints, &web, &ignored))
            add_view(out, &web);
    }
    keep_running(out);
    out->ambiguous = out->n > 1;
    if (out->n > 0)
        err_clear(err);
    return out->n > 0;
}

void views_clear(struct views *views)
{
    for (size_t i = 0; i < views->n; i++)
        drop_view(&views->v[i]);
    free(views->v);
    *views = (struct views)VIEWS_INIT;
}

/* -- telling where -------------------------------------------------------------------------------------- */

char *site_place(const struct site *site, const char *below)
{
    size_t len = below != NULL ? strlen(below) : 0;
    bool inside = len > 0 && strncmp(site->file, below, len) == 0 && site->file[len] == '/';
    return mem_fmt("%s:%zu", site->file + (inside ? len + 1 : 0), site->line);
}

char *site_certificate_name(const struct site *site, const char *state_dir)
{
    AUTO_FREE char *live = fs_join(state_dir, "live/");
    size_t len = strlen(live);
    if (strncmp(site->certificate, live, len) != 0)
        return NULL;
    const char *name = site->certificate + len, *end = strchr(name, '/');
    return end != NULL && end != name ? mem_ndup(name, (size_t)(end - name)) : NULL;
}

/* -- what is wrong with them ---------------------------------------------------------------------------- */

const char *site_problem_word(enum site_problem_kind kind)
{
    static const char *const words[SITE_PROBLEM_KINDS] = {
        [SITE_DUPLICATE] = "duplicate-name",
        [SITE_HTTPS_ELSEWHERE] = "https-elsewhere",
        [SITE_REDIRECT_NOWHERE] = "redirect-to-nothing",
        [SITE_HALF] = "one-family-elsewhere",
        [SITE_DISABLED] = "disabled",
    };
    return words[kind];
}

static void add_problem(struct site_problems *to, enum site_problem_kind kind, const char *name, size_t site,
                        char *text, const char *advice)
{
    size_t room = to->n;
    if ((room & (room + 1)) == 0) /* 0, 1, 3, 7, ...: doubled */
        to->v = mem_resize(to->v, 2 * room + 1, sizeof *to->v);
    to->v[to->n++] = (struct site_problem){kind, name, site, text, mem_dup(advice)};
}

/* "*:80" */
static char *socket_name(const char *address, int port)
{
    return mem_fmt("%s:%d", address, port);
}

static bool has_owner_from(const struct owned_name *name, const struct site_listen *listen, size_t *owner)
{
    for (size_t i = 0; i < name->n; i++)
        if (!name->v[i].by_default && name->v[i].port == listen->port &&
            strcmp(name->v[i].address, listen->address) == 0) {
            *owner = name->v[i].site;
            return true;
        }
    return false;
}

/* Each site that has the name where another one answers to it: told once. */
static void find_duplicates(const struct view *view, const struct owned_name *name, struct site_problems *out)
{
    for (size_t i = 0; i < name->n_sites; i++) {
        const struct site *site = &view->sites.v[name->sites[i]];
        AUTO_STRLIST where = STRLIST_INIT;
        size_t winner = 0;
        for (size_t k = 0; k < site->n_listens; k++) {
            size_t owner;
            if (!has_owner_from(name, &site->listens[k], &owner) || owner == name->sites[i])
                continue;
            AUTO_FREE char *socket = socket_name(site->listens[k].address, site->listens[k].port);
            strlist_add(&where, socket);
            winner = owner;
        }
        if (where.n == 0)
            continue;
        AUTO_FREE char *sockets = strlist_join(&where, " and ");
        AUTO_FREE char *mine = site_place(site, NULL);
        AUTO_FREE char *other = site_place(&view->sites.v[winner], NULL);
        add_problem(out, SITE_DUPLICATE, name->name, name->sites[i],
                    mem_fmt("%s is named by two sites at %s: %s answers, and %s never does", name->name,
                            sockets, other, mine),
                    "take the name out of one of them");
    }
}

static void find_half(const struct view *view, const struct owned_name *name, struct site_problems *out)
{
    static const int web_ports[] = {80, 443};
    for (size_t p = 0; p < COUNT_OF(web_ports); p++) {
        const struct owner *own = NULL, *other = NULL;
        for (size_t i = 0; i < name->n; i++) {
            if (name->v[i].port != web_ports[p])
                continue;
            bool any = strcmp(name->v[i].address, "*") == 0 || strcmp(name->v[i].address, "[::]") == 0;
            if (any && name->v[i].by_default)
                other = &name->v[i];
            else if (any)
                own = &name->v[i];
        }
        if (own == NULL || other == NULL)
            continue;
        AUTO_FREE char *mine = site_place(&view->sites.v[own->site], NULL);
        AUTO_FREE char *theirs = site_place(&view->sites.v[other->site], NULL);
        bool v6 = strcmp(other->address, "[::]") == 0;
        add_problem(out, SITE_HALF, name->name, own->site,
                    mem_fmt("%s on port %d: over %s it is %s that answers, not the name's own site %s",
                            name->name, web_ports[p], v6 ? "IPv6" : "IPv4", theirs, mine),
                    view->web.kind == WEB_NGINX ? (v6 ? "add a listen line for [::] to the name's site"
                                                      : "add a listen line for IPv4 to the name's site")
                                                : "");
    }
}

/* Patterns are no names: ".example.org" is one and all below it, "example.*" and regular expressions are
 * none. */
static char *enable_command(const char *name)
{
    char normalized[NAME_MAX_BYTES];
    struct err ignored = ERR_INIT;
    const char *plain = name[0] == '.' ? name + 1 : name;
    bool ok = plain[0] != '~' && strchr(plain, '*') == NULL && name_normalize(plain, normalized, &ignored);
    return ok ? mem_fmt("sudo tlsup enable %s", normalized) : mem_dup("");
}

static void find_elsewhere(const struct view *view, const struct owned_name *name, struct site_problems *out)
{
    const struct owner *plain = owners_at(name, 80), *secure = owners_at(name, 443);
    if (plain == NULL || plain->by_default)
        return;
    const struct site *site = &view->sites.v[plain->site];
    AUTO_FREE char *mine = site_place(site, NULL);
    AUTO_FREE char *todo = enable_command(name->name);
    if (secure == NULL && site->redirects_only) {
        add_problem(
            out, SITE_REDIRECT_NOWHERE, name->name, plain->site,
            mem_fmt("http://%s is sent on to https by %s, but no site listens on port 443", name->name, mine),
            "write a site for it that has a root or an upstream, then use tlsup enable");
    } else if (secure != NULL && secure->by_default) {
        AUTO_FREE char *theirs = site_place(&view->sites.v[secure->site], NULL);
        add_problem(out, SITE_HTTPS_ELSEWHERE, name->name, plain->site,
                    mem_fmt("http://%s is %s, but https://%s is answered by %s, which does not have the name",
                            name->name, mine, name->name, theirs),
                    site->redirects_only
                        ? "write a site for it that has a root or an upstream, then use tlsup enable"
                        : todo);
    }
}

static void find_disabled(const struct view *view, struct site_problems *out)
{
    for (size_t i = 0; i < view->disabled.n; i++) {
        const struct site *site = &view->disabled.v[i];
        AUTO_FREE char *place = site_place(site, NULL);
        AUTO_FREE char *names = strlist_join(&site->names, " ");
        AUTO_FREE char *command = web_enable_command(&view->web, site);
        AUTO_FREE char *advice = command != NULL ? mem_fmt("to enable it: %s", command) : mem_dup("");
        add_problem(out, SITE_DISABLED, NULL, i,
                    mem_fmt("%s%s%s%s is not enabled: %s does not read it", place,
                            names[0] != '\0' ? " (" : "", names, names[0] != '\0' ? ")" : "",
                            web_kind_name(view->web.kind)),
                    advice);
    }
}

void views_problems(const struct view *view, struct site_problems *out)
{
    *out = (struct site_problems){0};
    for (size_t i = 0; i < view->owners.n; i++) {
        find_duplicates(view, &view->owners.v[i], out);
        find_elsewhere(view, &view->owners.v[i], out);
        find_half(view, &view->owners.v[i], out);
    }
    find_disabled(view, out);
}

void site_problems_clear(struct site_problems *problems)
{
    for (size_t i = 0; i < problems->n; i++) {
        free(problems->v[i].text);
        free(problems->v[i].advice);
    }
    free(problems->v);
    *problems = (struct site_problems){0};
}
