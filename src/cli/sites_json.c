#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "sites.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "tlsup/mem.h"

enum { JSON_VERSION = 1 };

/* Text of others may be no UTF-8. */
static json_t *text_or_null(const char *text)
{
    json_t *value;
    if (text == NULL || text[0] == '\0')
        return json_null();
    value = json_string(text);
    return value != NULL ? value : json_string("?");
}

static json_t *list_of(const struct strlist *words)
{
    json_t *array = json_array();
    for (size_t i = 0; i < words->n; i++) {
        json_t *word = json_string(words->v[i]);
        json_array_append_new(array, word != NULL ? word : json_string("?"));
    }
    return array;
}

static json_t *listens_of(const struct site *site)
{
    json_t *array = json_array();
    for (size_t i = 0; i < site->n_listens; i++) {
        const struct site_listen *listen = &site->listens[i];
        json_array_append_new(array, json_pack("{s:o, s:i, s:b, s:b}", "address",
                                               text_or_null(listen->address), "port", listen->port, "tls",
                                               listen->ssl, "default", listen->default_server));
    }
    return array;
}

static json_t *site_object(const struct view *view, const struct site *site, const char *state_dir)
{
    AUTO_FREE char *ours = site_certificate_name(site, state_dir);
    AUTO_FREE char *command = site->enabled ? NULL : web_enable_command(&view->web, site);
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:b, s:o, s:b}", "names", list_of(&site->names),
                     "listens", listens_of(site), "root", text_or_null(site->root), "certificate",
                     text_or_null(site->certificate), "tlsup_certificate", text_or_null(ours), "file",
                     text_or_null(site->file), "line", (json_int_t)site->line, "enabled", site->enabled,
                     "enable_command", text_or_null(command), "redirects_only", site->redirects_only);
}

static json_t *owners_of(const struct view *view, const struct owned_name *name, int port)
{
    json_t *array = json_array();
    for (size_t i = 0; i < name->n; i++) {
        const struct owner *owner = &name->v[i];
        const struct site *site = &view->sites.v[owner->site];
        if (owner->port == port)
            json_array_append_new(array,
                                  json_pack("{s:o, s:o, s:I, s:b}", "address", text_or_null(owner->address),
                                            "file", text_or_null(site->file), "line", (json_int_t)site->line,
                                            "by_default", owner->by_default));
    }
    return array;
}

static json_t *names_of_view(const struct view *view)
{
    json_t *array = json_array();
    for (size_t i = 0; i < view->owners.n; i++) {
        const struct owned_name *name = &view->owners.v[i];
        json_array_append_new(array,
                              json_pack("{s:o, s:o, s:o}", "name", text_or_null(name->name), "http",
                                        owners_of(view, name, 80), "https", owners_of(view, name, 443)));
    }
    return array;
}

static json_t *problems_of(const struct view *view)
{
    struct site_problems problems;
    json_t *array = json_array();
    views_problems(view, &problems);
    for (size_t i = 0; i < problems.n; i++) {
        const struct site_problem *problem = &problems.v[i];
        const struct site *site =
            problem->kind == SITE_DISABLED ? &view->disabled.v[problem->site] : &view->sites.v[problem->site];
        json_array_append_new(
            array, json_pack("{s:s, s:o, s:o, s:I, s:o, s:o}", "kind", site_problem_word(problem->kind),
                             "name", text_or_null(problem->name), "file", text_or_null(site->file), "line",
                             (json_int_t)site->line, "text", text_or_null(problem->text), "advice",
                             text_or_null(problem->advice)));
    }
    site_problems_clear(&problems);
    return array;
}

static json_t *answer(enum view_answer given, const struct err *bad)
{
    static const char *const words[] = {[VIEW_NOT_ASKED] = "unknown", [VIEW_GOOD] = "yes", [VIEW_BAD] = "no"};
    return json_pack("{s:s, s:o}", "ok", words[given], "text",
                     text_or_null(given == VIEW_BAD ? bad->text : NULL));
}

static json_t *server_object(const struct view *view, const char *state_dir)
{
    const struct web *web = &view->web;
    json_t *sites = json_array();
    for (size_t i = 0; i < view->sites.n; i++)
        json_array_append_new(sites, site_object(view, &view->sites.v[i], state_dir));
    for (size_t i = 0; i < view->disabled.n; i++)
        json_array_append_new(sites, site_object(view, &view->disabled.v[i], state_dir));
    return json_pack("{s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "kind",
                     web_kind_name(web->kind), "version", text_or_null(web->version), "running",
                     view->pid > 0, "pid", view->pid > 0 ? json_integer(view->pid) : json_null(), "unit",
                     text_or_null(web->unit), "program", text_or_null(web->bin), "configuration",
                     text_or_null(web->conf), "test", answer(view->tested, &view->test), "read",
                     answer(view->was_read, &view->read), "same_as_server",
                     answer(view->compared, &view->compare), "sites", sites, "names", names_of_view(view),
                     "problems", problems_of(view));
}

void sites_print_json(const struct views *views, const char *state_dir)
{
    json_t *servers = json_array();
    for (size_t i = 0; i < views->n; i++)
        json_array_append_new(servers, server_object(&views->v[i], state_dir));
    json_t *all =
        json_pack("{s:i, s:s, s:o}", "version", JSON_VERSION, "command", "sites", "servers", servers);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}
