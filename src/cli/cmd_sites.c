#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "commands.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "sites.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"
#include "tlsup/store.h"

enum { LABEL_COLUMNS = 14, ALIKE_MAX = 20 /* problems of one kind */ };

static void close_store(struct store **store)
{
    store_close(*store);
}

static size_t width(void)
{
    return output_columns() > 0 ? output_columns() : SIZE_MAX; /* piped, a line stays one, for grep */
}

/* Names and paths are whatever stands in the files: nothing of it may speak to the terminal. */
static void add_wrapped(struct buf *out, const char *text, size_t at, size_t indent)
{
    AUTO_FREE char *shown = mem_dup(text);
    printable(shown);
    output_wrap(out, shown, at, indent, width());
}

static void add_text(struct buf *out, size_t indent, const char *text)
{
    for (size_t i = 0; i < indent; i++)
        buf_addc(out, ' ');
    add_wrapped(out, text, indent, indent);
    buf_addc(out, '\n');
}

static void add_advice(struct buf *out, const char *text)
{
    const char *arrow = output_utf8() ? "→ " : "-> ";
    if (text[0] == '\0')
        return;
    buf_addf(out, "    %s", arrow);
    add_wrapped(out, text, 4 + output_width(arrow), 4 + output_width(arrow));
    buf_addc(out, '\n');
}

static void add_title(struct buf *out, const char *title)
{
    buf_addf(out, "\n%s%s%s\n", output_style(STYLE_BOLD), title, output_style(STYLE_PLAIN));
}

static void add_field(struct buf *out, const char *label, const char *text)
{
    if (text[0] == '\0')
        return;
    buf_addf(out, "    %s%-*s%s", output_style(STYLE_DIM), LABEL_COLUMNS, label, output_style(STYLE_PLAIN));
    add_wrapped(out, text, LABEL_COLUMNS + 4, LABEL_COLUMNS + 4);
    buf_addc(out, '\n');
}

/* -- the server ----------------------------------------------------------------------------------------- */

static void add_server(struct buf *out, const struct view *view)
{
    const struct web *web = &view->web;
    buf_addf(out, "%s%s %s%s, ", output_style(STYLE_BOLD), web_kind_name(web->kind), web->version,
             output_style(STYLE_PLAIN));
    if (view->pid > 0)
        buf_addf(out, "running (pid %ld%s%s)", (long)view->pid, web->unit[0] != '\0' ? ", " : "", web->unit);
    else
        buf_addf(out, "%snot running%s", output_style(STYLE_CAUTION), output_style(STYLE_PLAIN));
    buf_addf(out, ", configuration %s\n", web->conf);
}

static void add_warning(struct buf *out, const char *text, const char *advice)
{
    buf_addf(out, "%s!%s ", output_style(STYLE_CAUTION), output_style(STYLE_PLAIN));
    add_wrapped(out, text, 2, 2);
    buf_addc(out, '\n');
    add_advice(out, advice);
}

/* What keeps the list from being the whole truth. */
static void add_doubts(struct buf *out, const struct view *view)
{
    AUTO_BUF text = BUF_INIT;
    const char *kind = web_kind_name(view->web.kind);
    if (view->was_read == VIEW_BAD) {
        buf_addf(&text, "the configuration cannot be read: %s", view->read.text);
        add_warning(out, buf_str(&text), view->read.advice);
    } else if (view->tested == VIEW_BAD) {
        buf_addf(&text, "%s refuses this configuration, so what runs is an older one: %s", kind,
                 view->test.text);
        add_warning(out, buf_str(&text), view->test.advice);
    } else if (view->compared == VIEW_BAD) {
        buf_addf(&text, "%s itself sees something else: %s", kind, view->compare.text);
        add_warning(out, buf_str(&text), view->compare.advice);
    } else if (view->compared == VIEW_NOT_ASKED) {
        buf_addf(&text, "%s was not asked whether it sees the same: that needs root", kind);
        add_warning(out, buf_str(&text), "");
    }
}

/* -- problems ------------------------------------------------------------------------------------------- */

static void add_problems(struct buf *out, const struct site_problems *problems, bool disabled)
{
    bool first = true;
    size_t told[SITE_PROBLEM_KINDS] = {0}, left_out = 0;
    for (size_t i = 0; i < problems->n; i++) {
        const struct site_problem *problem = &problems->v[i];
        if ((problem->kind == SITE_DISABLED) != disabled)
            continue;
        if (!disabled && told[problem->kind]++ >= ALIKE_MAX) {
            left_out++;
            continue;
        }
        if (first)
            add_title(out, disabled ? "Not enabled" : "Problems");
        first = false;
        if (disabled) {
            add_text(out, 2, problem->text);
            add_advice(out, problem->advice);
        } else {
            add_warning(out, problem->text, problem->advice);
        }
    }
    if (left_out > 0)
        buf_addf(out, "  and %zu more like these: tlsup sites --json has all\n", left_out);
}

/* -- sites ---------------------------------------------------------------------------------------------- */

static char *listens_in_words(const struct site *site)
{
    AUTO_BUF text = BUF_INIT;
    for (size_t i = 0; i < site->n_listens; i++)
        buf_addf(&text, "%s%s:%d%s", i > 0 ? ", " : "", site->listens[i].address, site->listens[i].port,
                 site->listens[i].ssl ? " tls" : "");
    return mem_dup(buf_str(&text));
}

static char *names_in_words(const struct site *site)
{
    AUTO_BUF text = BUF_INIT;
    char shown[2 * NAME_MAX_BYTES + 4];
    for (size_t i = 0; i < site->names.n; i++) {
        const char *name = site->names.v[i];
        bool plain = strlen(name) < NAME_MAX_BYTES && output_utf8();
        buf_addf(&text, "%s%s", i > 0 ? " " : "",
                 name[0] == '\0' ? "\"\""
                 : plain         ? name_display(name, shown)
                                 : name);
    }
    return mem_dup(text.len > 0 ? buf_str(&text) : "(no name)");
}

static void add_site(struct buf *out, const struct site *site, const char *state_dir)
{
    AUTO_FREE char *names = names_in_words(site);
    AUTO_FREE char *listens = listens_in_words(site);
    AUTO_FREE char *place = site_place(site, NULL);
    AUTO_FREE char *ours = site_certificate_name(site, state_dir);
    AUTO_FREE char *certificate =
        ours != NULL ? mem_fmt("%s (tlsup's %s)", site->certificate, ours) : mem_dup(site->certificate);
    buf_addf(out, "  %s", output_style(STYLE_BOLD));
    add_wrapped(out, names, 2, 4);
    buf_addf(out, "%s\n", output_style(STYLE_PLAIN));
    add_field(out, "listens on", listens[0] != '\0' ? listens : "nothing");
    add_field(out, "root", site->root);
    add_field(out, "certificate", certificate);
    add_field(out, "file", place);
    if (site->redirects_only)
        add_field(out, "answers", "only with a redirect to https");
}

static void add_sites(struct buf *out, const struct view *view, const char *state_dir)
{
    if (view->sites.n == 0) {
        buf_addf(out, "\n%s has no site.\n", web_kind_name(view->web.kind));
        return;
    }
    add_title(out, "Sites");
    for (size_t i = 0; i < view->sites.n; i++)
        add_site(out, &view->sites.v[i], state_dir);
}

/* -- names ---------------------------------------------------------------------------------------------- */

/* "sites-enabled/a:3", or by address where they differ: "* a:3, [::] default:1" */
static char *owner_in_words(const struct view *view, const struct owned_name *name, int port,
                            const char *below)
{
    const struct owner *first = owners_at(name, port);
    bool same = true;
    AUTO_BUF text = BUF_INIT;
    if (first == NULL)
        return mem_dup("-");
    for (size_t i = 0; i < name->n; i++)
        same = same && (name->v[i].port != port || name->v[i].site == first->site);
    for (size_t i = 0; i < name->n; i++) {
        const struct owner *owner = &name->v[i];
        if (owner->port != port || (same && owner != first))
            continue;
        AUTO_FREE char *place = site_place(&view->sites.v[owner->site], below);
        buf_addf(&text, "%s%s%s%s%s", text.len > 0 ? ", " : "", same ? "" : owner->address, same ? "" : " ",
                 owner->by_default ? "default " : "", place);
    }
    return mem_dup(buf_str(&text));
}

enum { COL_NAME, COL_HTTP, COL_HTTPS, COLUMNS };

struct row {
    char *cell[COLUMNS];
};

static void add_cells(struct buf *out, char *const cells[COLUMNS], const size_t widths[COLUMNS],
                      enum output_style style)
{
    buf_addf(out, "  %s", style != STYLE_PLAIN ? output_style(style) : "");
    for (int c = 0; c < COLUMNS; c++) {
        AUTO_BUF cut = BUF_INIT;
        output_cut(&cut, cells[c], widths[c]);
        buf_adds(out, buf_str(&cut));
        for (size_t w = output_width(buf_str(&cut)); c + 1 < COLUMNS && w < widths[c] + 2; w++)
            buf_addc(out, ' ');
    }
    buf_addf(out, "%s\n",
             style != STYLE_PLAIN ? output_style(style == STYLE_PLAIN ? style : STYLE_PLAIN) : "");
}

/* Where it does not fit, each name gets lines of its own. */
static void add_long(struct buf *out, const struct row *row)
{
    add_text(out, 2, row->cell[COL_NAME]);
    add_field(out, "port 80", row->cell[COL_HTTP]);
    add_field(out, "port 443", row->cell[COL_HTTPS]);
}

static void add_names(struct buf *out, const struct view *view)
{
    static char *const titles[COLUMNS] = {"NAME", "PORT 80", "PORT 443"};
    size_t widths[COLUMNS] = {4, 7, 8};
    AUTO_FREE char *below = fs_dirname(view->web.conf);
    if (view->owners.n == 0)
        return;
    struct row *rows = mem_array(view->owners.n, sizeof *rows);
    for (size_t i = 0; i < view->owners.n; i++) {
        const struct owned_name *name = &view->owners.v[i];
        rows[i] = (struct row){{mem_dup(name->name), owner_in_words(view, name, 80, below),
                                owner_in_words(view, name, 443, below)}};
        for (int c = 0; c < COLUMNS; c++) {
            printable(rows[i].cell[c]);
            size_t wide = output_width(rows[i].cell[c]);
            widths[c] = wide > widths[c] ? wide : widths[c];
        }
    }
    bool fits = widths[COL_NAME] + widths[COL_HTTP] + widths[COL_HTTPS] + 6 <= width();
    add_title(out, "Who answers");
    if (fits)
        add_cells(out, titles, widths, STYLE_DIM);
    for (size_t i = 0; i < view->owners.n; i++) {
        if (fits)
            add_cells(out, rows[i].cell, widths, STYLE_PLAIN);
        else
            add_long(out, &rows[i]);
        for (int c = 0; c < COLUMNS; c++)
            free(rows[i].cell[c]);
    }
    free(rows);
}

/* -- the command ---------------------------------------------------------------------------------------- */

static void print_text(const struct views *views, const char *state_dir)
{
    AUTO_BUF out = BUF_INIT;
    for (size_t i = 0; i < views->n; i++) {
        const struct view *view = &views->v[i];
        struct site_problems problems;
        views_problems(view, &problems);
        buf_adds(&out, i > 0 ? "\n" : "");
        add_server(&out, view);
        add_doubts(&out, view);
        if (view->was_read == VIEW_GOOD) {
            add_problems(&out, &problems, false);
            add_sites(&out, view, state_dir);
            add_problems(&out, &problems, true);
            add_names(&out, view);
        }
        site_problems_clear(&problems);
    }
    fwrite(buf_str(&out), 1, out.len, stdout);
}

bool cmd_sites(const struct request *request, struct err *err)
{
    CLEANUP(views_clear) struct views views = VIEWS_INIT;
    CLEANUP(close_store) struct store *store = NULL;
    CLEANUP(cert_config_clear) struct cert_config defaults = {0};
    struct web_hints hints;
    if (!store_open(request->config_dir, request->state_dir, STORE_READ, &store, err) ||
        !views_read(views_wanted(request, store, &defaults, &hints), &hints, &views, err))
        return false;
    if (request->json)
        sites_print_json(&views, store_state_dir(store));
    else if (!request->quiet)
        print_text(&views, store_state_dir(store));
    if (fflush(stdout) != 0 || ferror(stdout))
        return err_errno(err, errno, "", "cannot write to standard output");
    return true;
}
