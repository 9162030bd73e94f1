/*
 * nginx_edit.c - what we write into nginx's configuration: the answer to http-01, and port 443.
 *
 * Each server block that must change gets one marked block right behind its '{'. Every edit is computed from
 * the configuration without our own block, so that doing it again changes nothing, and taking the block out
 * gives the file back. Only certificate lines of the block itself are cut: a second certificate would be
 * served beside ours, not instead of it.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <arpa/inet.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nginx_model.h"
#include "tlsup/b64.h"
#include "tlsup/cert.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

#ifndef TLSUP_STATE_DIR
#define TLSUP_STATE_DIR "/var/lib/tlsup"
#endif

enum {
    HTTP_PORT = 80,
    HTTPS_PORT = 443,
    HTTP2_DIRECTIVE_SINCE = 1025001,
    THUMBPRINT_MAX = 64,
    FILE_LIMIT_BYTES = 8 * 1024 * 1024,
    NEW_FILE_MODE = 0644,
};

#define CHALLENGE_ID "challenge"
#define CERT_ID_PREFIX "cert:"
#define CHALLENGE_PATH "/.well-known/acme-challenge/"

/* ---- edits: ranges of files, staged together ---- */

struct edit {
    size_t file, at, remove;
    char *text;
    bool inserts;
};

/* The work of one call: the configuration as the transaction has it now, and what will change. */
struct editor {
    const struct web *web;
    struct txn *txn;
    struct err *err;
    struct sites sites;
    struct edit *edits;
    size_t n_edits;
};

static const struct nginx_config *config_of(const struct editor *editor)
{
    return &nginx_model_of(&editor->sites)->config;
}

static const struct nginx_file *file_of(const struct editor *editor, const struct nginx_node *node)
{
    return config_of(editor)->files[node->file];
}

static bool read_through(void *context, const char *path, size_t limit, struct buf *out, struct err *err)
{
    return txn_read(context, path, limit, out, err);
}

static bool editor_open(struct editor *editor, const char *ignore, const char *staged)
{
    struct nginx_reader reader = {.read = read_through, .context = editor->txn, .staged = staged};
    if (!nginx_model_read(editor->web, &reader, ignore, &editor->sites, editor->err)) {
        return false;
    }
    if (nginx_model_of(&editor->sites)->http == NULL) {
        return err_set(editor->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, editor->web->conf, "%s has no http block",
                       editor->web->conf);
    }
    return true;
}

static void editor_close(struct editor *editor)
{
    for (size_t i = 0; i < editor->n_edits; i++) {
        free(editor->edits[i].text);
    }
    free(editor->edits);
    sites_clear(&editor->sites);
}
#define AUTO_EDITOR CLEANUP(editor_close) struct editor

static void add_edit(struct editor *editor, size_t file, size_t at, size_t length, const char *text)
{
    for (size_t i = 0; i < editor->n_edits; i++) {
        const struct edit *edit = &editor->edits[i];
        if (edit->file == file && edit->at == at && edit->remove == length && strcmp(edit->text, text) == 0) {
            return; /* a file that is included twice */
        }
    }
    editor->edits = mem_resize(editor->edits, editor->n_edits + 1, sizeof editor->edits[0]);
    editor->edits[editor->n_edits++] = (struct edit){
        .file = file, .at = at, .remove = length, .text = mem_dup(text), .inserts = text[0] != '\0'};
}

static int by_place(const void *a, const void *b)
{
    const struct edit *x = a, *y = b;
    if (x->file != y->file) {
        return x->file < y->file ? -1 : 1;
    }
    if (x->at != y->at) {
        return x->at < y->at ? -1 : 1;
    }
    return (x->remove > y->remove) - (x->remove < y->remove);
}

/* The edits [first, last) all belong to one file. */
static bool stage_file(struct editor *editor, size_t first, size_t last)
{
    const struct nginx_file *file = config_of(editor)->files[editor->edits[first].file];
    AUTO_BUF out = BUF_INIT;
    size_t at = 0;
    for (size_t i = first; i < last; i++) {
        const struct edit *edit = &editor->edits[i];
        buf_add(&out, buf_str(&file->text) + at, edit->at - at);
        buf_adds(&out, edit->text);
        at = edit->at + edit->remove;
    }
    buf_add(&out, buf_str(&file->text) + at, file->text.len - at);
    return txn_write(editor->txn, file->path, buf_str(&out), out.len, NEW_FILE_MODE, editor->err);
}

/* Files that gain lines come before those that only lose some: a server without any certificate would fail
 * the test in between. */
static bool stage_edits(struct editor *editor)
{
    if (editor->n_edits == 0) {
        return true;
    }
    qsort(editor->edits, editor->n_edits, sizeof editor->edits[0], by_place);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t first = 0, last; first < editor->n_edits; first = last) {
            bool inserts = false;
            for (last = first;
                 last < editor->n_edits && editor->edits[last].file == editor->edits[first].file; last++) {
                inserts |= editor->edits[last].inserts;
            }
            if (inserts == (pass == 0) && !stage_file(editor, first, last)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- lines of a block, in the style of their surroundings ---- */

struct lines {
    char *indent;
    const char *eol;
    struct buf text;
};

static void lines_clear(struct lines *lines)
{
    free(lines->indent);
    buf_clear(&lines->text);
}
#define AUTO_LINES CLEANUP(lines_clear) struct lines

static void add_line(struct lines *lines, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void add_line(struct lines *lines, const char *fmt, ...)
{
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_addf(&lines->text, "%s%s%s", lines->indent, text, lines->eol);
}

/* The blanks before a node when it begins its line, else NULL. */
static char *blanks_before(const struct nginx_file *file, const struct nginx_node *node)
{
    const char *data = buf_str(&file->text);
    size_t at = node->begin;
    while (at > 0 && (data[at - 1] == ' ' || data[at - 1] == '\t')) {
        at--;
    }
    return at == 0 || data[at - 1] == '\n' ? mem_ndup(data + at, node->begin - at) : NULL;
}

static const char *eol_of(const struct nginx_file *file, size_t from)
{
    const char *data = buf_str(&file->text);
    const char *feed = memchr(data + from, '\n', file->text.len - from);
    return feed != NULL && feed > data && feed[-1] == '\r' ? "\r\n" : "\n";
}

static char *inner_indent(const struct nginx_file *file, const struct nginx_node *block)
{
    char *indent = NULL;
    if (block->n_children > 0) {
        indent = blanks_before(file, &block->children[0]);
    }
    if (indent == NULL) {
        AUTO_FREE char *outer = blanks_before(file, block);
        indent = mem_fmt("%s    ", outer != NULL ? outer : "");
    }
    return indent;
}

static void lines_for(const struct nginx_file *file, const struct nginx_node *block, struct lines *out)
{
    out->indent = inner_indent(file, block);
    out->eol = eol_of(file, block->open);
}

/* ---- putting a marked block into a server ---- */

static bool content_has(const struct nginx_file *file, const struct nginx_mark *mark, const char *needle)
{
    AUTO_FREE char *content =
        mem_ndup(buf_str(&file->text) + mark->content_begin, mark->content_end - mark->content_begin);
    return strstr(content, needle) != NULL;
}

/* What a block must say to do its work, and what it must not. */
struct essence {
    const char *has, *lacks; /* `lacks` may be NULL */
};

/* A person changed our block. When it still does its work it stays as it is; else the person must decide. */
static bool keep_changed(struct editor *editor, const struct nginx_file *file, const struct nginx_mark *mark,
                         struct essence essence)
{
    if (content_has(file, mark, essence.has) &&
        (essence.lacks == NULL || !content_has(file, mark, essence.lacks))) {
        log_warn("%s: the block \"tlsup begin %s\" was changed by hand and is left as it is", file->path,
                 mark->id);
        return true;
    }
    err_set(editor->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, file->path,
            "%s: the block \"tlsup begin %s\" was changed by hand and does not do its work any more",
            file->path, mark->id);
    return err_advise(
        editor->err,
        "Delete the lines from \"tlsup begin\" to \"tlsup end\" and try again: tlsup writes them anew.");
}

static size_t block_place(const struct editor *editor, const struct nginx_node *server, const char *id)
{
    const struct nginx_mark *challenge = nginx_mark_in(config_of(editor), server, CHALLENGE_ID);
    return strcmp(id, CHALLENGE_ID) != 0 && challenge != NULL ? challenge->end : server->open;
}

/* Insert, replace or (no lines) take out our block. `kept` says that a changed block was left alone. */
static bool put_block(struct editor *editor, const struct nginx_node *server, const char *id,
                      const struct lines *lines, struct essence essence, bool *kept)
{
    const struct nginx_file *file = file_of(editor, server);
    const struct nginx_mark *mark = nginx_mark_in(config_of(editor), server, id);
    AUTO_BUF text = BUF_INIT;
    *kept = false;
    if (mark != NULL && !mark->intact) {
        *kept = keep_changed(editor, file, mark, essence);
        return *kept;
    }
    if (lines->text.len > 0) {
        nginx_mark_write(id, lines->indent, lines->eol, &lines->text, &text);
    }
    if (mark == NULL) {
        if (text.len > 0) {
            add_edit(editor, server->file, block_place(editor, server, id), 0, buf_str(&text));
        }
        return true;
    }
    size_t length = mark->end - mark->begin;
    if (length != text.len || memcmp(buf_str(&file->text) + mark->begin, buf_str(&text), length) != 0) {
        add_edit(editor, server->file, mark->begin, length, buf_str(&text));
    }
    return true;
}

/* ---- where a new file goes ---- */

struct place {
    char *path;      /* the file to write, NULL: into an existing file */
    char *link;      /* a symlink that enables it, or NULL */
    char *loaded_as; /* the path by which the server will read it */
};

static void place_clear(struct place *place)
{
    free(place->path);
    free(place->link);
    free(place->loaded_as);
    *place = (struct place){0};
}
#define AUTO_PLACE CLEANUP(place_clear) struct place

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
static bool stays_first(const struct editor *editor, const struct nginx_nodes *order, size_t include_at,
                        const struct nginx_node *first, const char *path)
{
    if (first == NULL) {
        return true;
    }
    if (include_brings(order->v[include_at], first->file)) {
        return strcmp(path, file_of(editor, first)->path) > 0;
    }
    for (size_t i = 0; i < order->n; i++) {
        if (order->v[i] == first) {
            return i < include_at;
        }
    }
    return false;
}

static bool is_loaded(const struct editor *editor, const char *path)
{
    const struct nginx_config *config = config_of(editor);
    for (size_t i = 0; i < config->n_files; i++) {
        if (strcmp(config->files[i]->path, path) == 0 || strcmp(config->files[i]->real, path) == 0) {
            return true;
        }
    }
    return false;
}

/* Debian's pair of directories: the file in sites-available, a link in sites-enabled. */
static void settle_pair(const char *dir, const char *name, struct place *out)
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
static bool try_include(const struct editor *editor, const struct nginx_nodes *order, size_t at,
                        const struct nginx_node *first, const char *name, struct place *out)
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
static bool find_place(const struct editor *editor, const char *name, const struct nginx_node *like,
                       const struct nginx_node *first, struct place *out)
{
    const struct nginx_config *config = config_of(editor);
    AUTO_NODES order = {0};
    int best = -1;
    nginx_children(config, nginx_model_of(&editor->sites)->http, true, &order);
    for (size_t i = 0; i < order.n; i++) {
        AUTO_PLACE place = {0};
        if (!try_include(editor, &order, i, first, name, &place)) {
            continue;
        }
        AUTO_FREE char *dir = fs_dirname(order.v[i]->target);
        int rank = directory_rank(dir) + (like != NULL && include_brings(order.v[i], like->file) ? 100 : 0);
        if (rank > best) {
            best = rank;
            place_clear(out);
            *out = place;
            place = (struct place){0};
        }
    }
    return best >= 0;
}

/* ---- the answer to http-01 ---- */

static void challenge_lines(const struct web *web, const char *thumbprint, struct lines *lines)
{
    if (web->has_rewrite) {
        add_line(lines,
                 "if ($request_uri ~ \"^/\\.well-known/acme-challenge/([A-Za-z0-9_-]+)$\") { return 200 "
                 "\"$1.%s\"; }",
                 thumbprint);
        return;
    }
    /* Without the rewrite module nothing can be answered out of the request: token files it is. */
    AUTO_BUF path = BUF_INIT;
    AUTO_FREE char *dir =
        mem_fmt("%s/", web->token_dir[0] != '\0' ? web->token_dir : TLSUP_STATE_DIR "/challenges");
    nginx_word_encode(dir, &path);
    add_line(lines, "location ^~ " CHALLENGE_PATH " { default_type text/plain; alias %s; }", buf_str(&path));
}

/* Does somebody's own server-level `if` answer with this thumbprint already? (Ours is left out of the parse.)
 */
static bool answers_already(const struct editor *editor, const struct nginx_node *server,
                            const char *thumbprint)
{
    AUTO_NODES body = {0};
    nginx_children(config_of(editor), server, false, &body);
    for (size_t i = 0; i < body.n; i++) {
        const struct nginx_node *node = body.v[i];
        bool ours = false;
        for (size_t k = 1; nginx_is(node, "if") && k < node->n_args; k++) {
            ours |= strstr(node->args[k], "acme-challenge") != NULL;
        }
        const struct nginx_node *answer = ours ? nginx_child(config_of(editor), node, "return") : NULL;
        if (answer != NULL && answer->n_args == 3 && strstr(answer->args[2], thumbprint) != NULL) {
            return true;
        }
    }
    return false;
}

static bool put_challenge(struct editor *editor, const struct nginx_node *server, const char *thumbprint)
{
    AUTO_LINES lines = {0};
    bool kept;
    if (answers_already(editor, server, thumbprint)) {
        return true;
    }
    lines_for(file_of(editor, server), server, &lines);
    challenge_lines(editor->web, thumbprint, &lines);
    return put_block(editor, server, CHALLENGE_ID, &lines, (struct essence){.has = thumbprint}, &kept);
}

/* The addresses on a port that the world may ask; loopback only when there is nothing else. */
static void public_addresses(const struct sites *sites, int port, struct strlist *out)
{
    AUTO_STRLIST all = STRLIST_INIT;
    sites_addresses(sites, port, &all);
    for (int loopback = 0; loopback < 2 && out->n == 0; loopback++) {
        for (size_t i = 0; i < all.n; i++) {
            if (site_address_is_loopback(all.v[i]) == (loopback == 1)) {
                strlist_add(out, all.v[i]);
            }
        }
    }
}

static bool has_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

/* Where port 80 is to be opened for names that nothing answers on 80: where their https is, else everywhere.
 */
static void port80_addresses(const struct editor *editor, const struct strlist *names, struct strlist *out)
{
    AUTO_STRLIST secure = STRLIST_INIT;
    sites_addresses(&editor->sites, HTTPS_PORT, &secure);
    for (size_t i = 0; i < secure.n; i++) {
        for (size_t k = 0; k < names->n; k++) {
            if (nginx_driver.owner_at(&editor->sites, names->v[k], secure.v[i], HTTPS_PORT, true) != NULL &&
                !strlist_has(out, secure.v[i])) {
                strlist_add(out, secure.v[i]);
            }
        }
    }
    if (out->n == 0) {
        strlist_add(out, "*");
        if (has_ipv6()) {
            strlist_add(out, "[::]");
        }
    }
}

static void listen_word(const char *address, int port, struct buf *out)
{
    if (strcmp(address, "*") == 0) {
        buf_addf(out, "%d", port);
    } else {
        buf_addf(out, "%s:%d", address, port);
    }
}

static void server_name_line(const struct strlist *names, struct lines *lines)
{
    AUTO_BUF text = BUF_INIT;
    for (size_t i = 0; i < names->n; i++) {
        bool v6 = strchr(names->v[i], ':') != NULL;
        buf_addf(&text, v6 ? " [%s]" : " %s", names->v[i]);
    }
    buf_addf(&lines->text, "%sserver_name%s;%s", lines->indent, buf_str(&text), lines->eol);
}

static char *file_name(const char *before, const char *name)
{
    char *text = mem_fmt("%s%s.conf", before, name);
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '*' || *p == '/' ? '_' : *p;
    }
    return text;
}

/* Add a server block to the end of the http block itself. */
static void append_to_http(struct editor *editor, const struct buf *server)
{
    const struct nginx_node *http = nginx_model_of(&editor->sites)->http;
    AUTO_FREE char *text = mem_fmt("\n%s", buf_str(server));
    add_edit(editor, http->file, http->close, 0, text);
}

/* Where that server is, or will be: read by its own name at once, so that a later edit in the same
 * transaction finds it. */
static bool challenge_place(const struct editor *editor, const char *name, struct place *out)
{
    AUTO_FREE char *file = file_name("tlsup-http-", name);
    return find_place(editor, file, NULL, NULL, out);
}

/* Nothing listens on 80: a server of our own that answers the challenge and nothing else. */
static bool new_challenge_server(struct editor *editor, const struct strlist *names, const char *thumbprint)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    AUTO_LINES lines = {.indent = mem_dup("    "), .eol = "\n"};
    AUTO_LINES answer = {.indent = mem_dup("    "), .eol = "\n"};
    AUTO_BUF text = BUF_INIT;
    AUTO_PLACE place = {0};
    port80_addresses(editor, names, &addresses);
    for (size_t i = 0; i < addresses.n; i++) {
        AUTO_BUF word = BUF_INIT;
        listen_word(addresses.v[i], HTTP_PORT, &word);
        add_line(&lines, "listen %s;", buf_str(&word));
    }
    server_name_line(names, &lines);
    add_line(&lines, "location / { return 404; }");
    challenge_lines(editor->web, thumbprint, &answer);
    buf_addf(&text, "# Written by tlsup: answers the certificate authority on port 80, where nothing else "
                    "listens.\nserver {");
    nginx_mark_write(CHALLENGE_ID, "    ", "\n", &answer.text, &text);
    buf_addf(&text, "\n%s}\n", buf_str(&lines.text));
    if (!challenge_place(editor, names->v[0], &place)) {
        append_to_http(editor, &text);
        return stage_edits(editor);
    }
    return txn_write(editor->txn, place.loaded_as, buf_str(&text), text.len, NEW_FILE_MODE, editor->err);
}

bool nginx_edit_challenge(const struct web *web, const struct sites *sites, const struct strlist *names,
                          const char *thumbprint, struct txn *txn, struct err *err)
{
    (void)sites; /* read anew: the transaction may hold edits already */
    AUTO_EDITOR editor = {.web = web, .txn = txn, .err = err};
    AUTO_STRLIST addresses = STRLIST_INIT, missing = STRLIST_INIT;
    if (!b64url_valid(thumbprint, THUMBPRINT_MAX)) {
        return err_set(err, ERR_INTERNAL, NEXT_NONE, "", "not a key thumbprint");
    }
    if (!editor_open(&editor, CHALLENGE_ID, NULL)) {
        return false;
    }
    public_addresses(&editor.sites, HTTP_PORT, &addresses);
    for (size_t i = 0; i < names->n; i++) {
        if (name_is_wildcard(names->v[i])) {
            continue; /* no CA validates a wildcard over http */
        }
        for (size_t k = 0; k < addresses.n; k++) {
            const struct site *site =
                nginx_driver.owner_at(&editor.sites, names->v[i], addresses.v[k], HTTP_PORT, false);
            if (!put_challenge(&editor, nginx_server_of(site)->node, thumbprint)) {
                return false;
            }
        }
        if (addresses.n == 0) {
            strlist_add(&missing, names->v[i]);
        }
    }
    return missing.n > 0 ? new_challenge_server(&editor, &missing, thumbprint) : stage_edits(&editor);
}

/* ---- 443: the plan ---- */

/* What is to happen to one server. */
struct item {
    bool certificate; /* ours goes in */
    bool full;        /* and 443 is opened */
    bool redirect;
    struct strlist redirected; /* the names to redirect */
};

struct plan {
    struct editor *editor;
    const struct web_https *https;
    char *id;
    struct item *items; /* one for each site */
    size_t n_items;
    struct strlist unowned; /* names that only a default server would answer */
};

static void plan_reset(struct plan *plan)
{
    for (size_t i = 0; i < plan->n_items; i++) {
        strlist_clear(&plan->items[i].redirected);
    }
    free(plan->items);
    plan->items = NULL;
    plan->n_items = 0;
    strlist_clear(&plan->unowned);
}

static void plan_clear(struct plan *plan)
{
    plan_reset(plan);
    free(plan->id);
}
#define AUTO_PLAN CLEANUP(plan_clear) struct plan

static const struct site *owner_at(const struct plan *plan, const char *name, const char *address, int port,
                                   bool explicit_only)
{
    return nginx_driver.owner_at(&plan->editor->sites, name, address, port, explicit_only);
}

static struct item *item_of(struct plan *plan, const struct site *site)
{
    return &plan->items[site - plan->editor->sites.v];
}

static bool is_placeholder(const char *name)
{
    return name[0] != '~' && (strchr(name, '.') == NULL || name_is_ip(name));
}

static bool covered(const struct strlist *names, const char *name)
{
    if (name[0] == '.') {
        AUTO_FREE char *wildcard = mem_fmt("*%s", name);
        return covered(names, name + 1) && covered(names, wildcard);
    }
    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(names->v[i], name) == 0 || name_matches(names->v[i], name)) {
            return true;
        }
    }
    return false;
}

static bool all_covered(const struct site *site, const struct strlist *names)
{
    for (size_t i = 0; i < site->names.n; i++) {
        if (!is_placeholder(site->names.v[i]) && !covered(names, site->names.v[i])) {
            return false;
        }
    }
    return true;
}

static bool refuse_at(const struct plan *plan, const struct site *site, const char *advice, const char *fmt,
                      ...) PRINTF_LIKE(4, 5);
static bool refuse_at(const struct plan *plan, const struct site *site, const char *advice, const char *fmt,
                      ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(plan->editor->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, site->file, "%s:%zu: %s", site->file,
            site->line, text);
    return err_advise(plan->editor->err, "%s", advice);
}

/* Does a server that the world can ask name it on port 80? */
static bool named_in_public(const struct plan *plan, const char *name)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    sites_addresses(&plan->editor->sites, HTTP_PORT, &addresses);
    for (size_t i = 0; i < addresses.n; i++) {
        if (!site_address_is_loopback(addresses.v[i]) &&
            owner_at(plan, name, addresses.v[i], HTTP_PORT, true) != NULL) {
            return true;
        }
    }
    return false;
}

/* Servers that have the name on 443 already: only their certificate changes. `any` tells whether there are
 * some. */
static bool plan_swap(struct plan *plan, const char *name, bool *any)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    sites_addresses(&plan->editor->sites, HTTPS_PORT, &addresses);
    *any = false;
    for (size_t i = 0; i < addresses.n; i++) {
        /* A browser sends no server name for an IP address: its certificate is the default server's. */
        const struct site *site = owner_at(plan, name, addresses.v[i], HTTPS_PORT, !name_is_ip(name));
        if (site == NULL || (site_address_is_loopback(addresses.v[i]) && named_in_public(plan, name))) {
            continue;
        }
        const struct nginx_listen *listen =
            nginx_listen_at(nginx_server_of(site), addresses.v[i], HTTPS_PORT);
        if (listen != NULL && !listen->ssl) {
            return refuse_at(
                plan, site,
                "Add \"ssl\" to that listen line, with a certificate, or take the line out; then try again.",
                "this server of %s listens on port 443 without TLS", name);
        }
        item_of(plan, site)->certificate = true;
        *any = true;
    }
    return true;
}

/* location / { return 404; } */
static bool is_nothing_location(const struct nginx_node *node)
{
    const struct nginx_node *only = node->n_children == 1 ? &node->children[0] : NULL;
    return nginx_is(node, "location") && node->n_args == 2 && strcmp(node->args[1], "/") == 0 &&
           only != NULL && nginx_is(only, "return") && only->n_args == 2 && strcmp(only->args[1], "404") == 0;
}

/* Is it the server that we wrote for the challenge, which has no pages to show? */
static bool is_challenge_server(const struct plan *plan, const struct site *site)
{
    const struct nginx_config *config = config_of(plan->editor);
    const struct nginx_node *server = nginx_server_of(site)->node;
    bool nothing_else = false;
    for (size_t i = 0; i < server->n_children; i++) {
        const struct nginx_node *node = &server->children[i];
        if (is_nothing_location(node)) {
            nothing_else = true;
        } else if (!nginx_is(node, "listen") && !nginx_is(node, "server_name") &&
                   nginx_mark_around(config, node) == NULL) {
            return false;
        }
    }
    return nothing_else && nginx_mark_in(config, server, CHALLENGE_ID) != NULL;
}

static bool plan_full(struct plan *plan, const struct site *site, const char *name)
{
    if (nginx_server_of(site)->redirect == REDIRECT_HTTPS_SAME) {
        return refuse_at(plan, site,
                         "Give that server a document root or a proxy_pass instead of the redirect; tlsup "
                         "adds the redirect itself.",
                         "this server only redirects %s to https, and no server answers there: with port 443 "
                         "it would redirect to "
                         "itself for ever",
                         name);
    }
    item_of(plan, site)->certificate = true;
    item_of(plan, site)->full = true;
    return true;
}

/* Servers that name it on port 80. */
static bool plan_port80(struct plan *plan, const char *name, bool *any)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    sites_addresses(&plan->editor->sites, HTTP_PORT, &addresses);
    *any = false;
    for (int loopback = 0; loopback < 2 && !*any; loopback++) {
        for (size_t i = 0; i < addresses.n; i++) {
            if (site_address_is_loopback(addresses.v[i]) != (loopback == 1)) {
                continue;
            }
            const struct site *site = owner_at(plan, name, addresses.v[i], HTTP_PORT, true);
            if (site == NULL || is_challenge_server(plan, site)) {
                continue;
            }
            if (!plan_full(plan, site, name)) {
                return false;
            }
            *any = true;
        }
    }
    return true;
}

/* Servers that name it on some other port (behind another server, say). */
static bool plan_other_port(struct plan *plan, const char *name, bool *any)
{
    const struct sites *sites = &plan->editor->sites;
    *any = false;
    for (size_t i = 0; i < sites->n; i++) {
        for (size_t k = 0; k < sites->v[i].n_listens; k++) {
            const struct site_listen *listen = &sites->v[i].listens[k];
            if (listen->ssl || listen->port == HTTP_PORT || site_address_is_loopback(listen->address) ||
                owner_at(plan, name, listen->address, listen->port, true) != &sites->v[i]) {
                continue;
            }
            *any = true;
            if (!plan_full(plan, &sites->v[i], name)) {
                return false;
            }
        }
    }
    return true;
}

/* A wildcard that no server names: all servers with a name below it that nobody else has given a certificate
 * of ours. */
static bool plan_wildcard(struct plan *plan, const char *name, bool *any)
{
    const struct sites *sites = &plan->editor->sites;
    AUTO_STRLIST below = STRLIST_INIT;
    *any = false;
    for (size_t i = 0; i < sites->n; i++) {
        for (size_t k = 0; k < sites->v[i].names.n; k++) {
            if (name_matches(name, sites->v[i].names.v[k])) {
                strlist_add(&below, sites->v[i].names.v[k]);
            }
        }
    }
    for (size_t i = 0; i < below.n; i++) {
        bool found = false;
        if (!plan_swap(plan, below.v[i], &found) || (!found && !plan_port80(plan, below.v[i], &found))) {
            return false;
        }
        *any |= found;
    }
    return true;
}

static bool plan_name(struct plan *plan, const char *name)
{
    bool (*const ways[])(struct plan *, const char *, bool *) = {plan_swap, plan_port80, plan_other_port};
    bool any = false;
    for (size_t i = 0; i < COUNT_OF(ways) && !any; i++) {
        if (!ways[i](plan, name, &any)) {
            return false;
        }
    }
    if (!any && name_is_wildcard(name)) {
        if (!plan_wildcard(plan, name, &any)) {
            return false;
        }
        if (any) {
            return true;
        }
        err_set(plan->editor->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, name,
                "no nginx server has the name %s, nor one below it", name);
        return err_advise(
            plan->editor->err,
            "give a server block a server_name that it covers, then run the same command again; or get the "
            "certificate alone with `tlsup issue`");
    }
    if (!any) {
        strlist_add(&plan->unowned, name);
    }
    return true;
}

/* ---- 443: who must be redirected ---- */

/* Something in front of nginx takes the TLS connections and passes them on in plain: a redirect by our own
 * scheme would be a loop. */
static bool is_behind_tls_proxy(const struct plan *plan, const struct site *site)
{
    AUTO_NODES body = {0};
    nginx_children(config_of(plan->editor), nginx_server_of(site)->node, false, &body);
    for (size_t i = 0; i < body.n; i++) {
        for (size_t k = 1; nginx_is(body.v[i], "if") && k < body.v[i]->n_args; k++) {
            if (strstr(body.v[i]->args[k], "$http_x_forwarded_") != NULL ||
                strstr(body.v[i]->args[k], "$http_cf_visitor") != NULL) {
                return true;
            }
        }
    }
    return false;
}

static void redirect_name(struct plan *plan, const struct site *site, const char *name)
{
    struct item *item = item_of(plan, site);
    enum nginx_redirect kind = nginx_server_of(site)->redirect;
    if (kind == REDIRECT_HTTPS_SAME || kind == REDIRECT_HTTPS_OTHER || strlist_has(&item->redirected, name)) {
        return;
    }
    if (is_behind_tls_proxy(plan, site)) {
        log_warn("%s:%zu looks at X-Forwarded headers, so a proxy in front of it speaks TLS already: no "
                 "redirect to https is added",
                 site->file, site->line);
        return;
    }
    item->redirect = true;
    strlist_add(&item->redirected, name);
}

/* Does its https server send people back to http? */
static bool sends_back(const struct plan *plan, const char *name)
{
    const struct site *secure = nginx_driver.owner(&plan->editor->sites, name, HTTPS_PORT, true);
    if (secure == NULL || nginx_server_of(secure)->redirect != REDIRECT_HTTP) {
        return false;
    }
    log_warn("%s:%zu sends %s from https back to http: no redirect to https is added", secure->file,
             secure->line, name);
    return true;
}

static void plan_redirect(struct plan *plan, const char *name)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    bool named = false;
    if (strlist_has(&plan->unowned, name) || sends_back(plan, name)) {
        return;
    }
    public_addresses(&plan->editor->sites, HTTP_PORT, &addresses);
    for (size_t i = 0; i < addresses.n; i++) {
        const struct site *site = owner_at(plan, name, addresses.v[i], HTTP_PORT, true);
        if (site != NULL) {
            redirect_name(plan, site, name);
            named = true;
        }
    }
    for (size_t i = 0; i < addresses.n && !named; i++) {
        if (owner_at(plan, name, addresses.v[i], HTTPS_PORT, true) != NULL) {
            redirect_name(plan, owner_at(plan, name, addresses.v[i], HTTP_PORT, false), name);
        }
    }
}

/* ---- 443: what a swap must not break ---- */

/* A name that the server's present, valid certificate covers and the new one would not. NULL = none;
 * borrowed. */
static const char *name_lost(const struct site *site, const struct strlist *names)
{
    struct err ignored = ERR_INIT;
    AUTO_BUF pem = BUF_INIT;
    AUTO_CHAIN *chain = NULL;
    struct cert_info info = CERT_INFO_INIT;
    const char *lost = NULL;
    if (site->certificate[0] != '/' || strchr(site->certificate, '$') != NULL ||
        !fs_read(site->certificate, FILE_LIMIT_BYTES, &pem, &ignored) ||
        !cert_chain_parse(buf_str(&pem), pem.len, site->certificate, &chain, &ignored) ||
        !cert_chain_info(chain, &info, &ignored)) {
        return NULL;
    }
    for (size_t i = 0; i < site->names.n && lost == NULL && info.not_after_s > clock_now_s(); i++) {
        const char *name = site->names.v[i];
        if (!is_placeholder(name) && !covered(names, name) && covered(&info.names, name)) {
            lost = name;
        }
    }
    cert_info_clear(&info);
    return lost;
}

static bool check_swap(struct plan *plan, const struct site *site)
{
    const char *lost = name_lost(site, plan->https->names);
    if (lost == NULL) {
        return true;
    }
    AUTO_FREE char *advice = mem_fmt("Give all names of that server at once: add %s to the command.", lost);
    return refuse_at(
        plan, site, advice,
        "this server serves %s too, with a valid certificate that a new one without that name would replace",
        lost);
}

/* Blocks of our other certificates in this server. Where the new certificate covers all its names they give
 * way (`again`: the plan must be made without them); else one server would need two certificates. */
static bool check_others(struct plan *plan, const struct site *site, bool *again)
{
    const struct nginx_node *node = nginx_server_of(site)->node;
    struct nginx_file *file = config_of(plan->editor)->files[node->file];
    for (size_t i = 0; i < file->n_marks; i++) {
        struct nginx_mark *mark = &file->marks[i];
        if (mark->begin < node->open || mark->end > node->close || mark->ignored ||
            strncmp(mark->id, CERT_ID_PREFIX, sizeof CERT_ID_PREFIX - 1) != 0) {
            continue;
        }
        if (!all_covered(site, plan->https->names) || !mark->intact) {
            AUTO_FREE char *advice = mem_fmt(
                "A server block serves one certificate: put all its names into one, or split the block.");
            return refuse_at(plan, site, advice, "this server has the certificate \"%s\" already",
                             mark->id + sizeof CERT_ID_PREFIX - 1);
        }
        mark->ignored = true;
        *again = true;
    }
    return true;
}

static bool make_plan(struct plan *plan)
{
    struct editor *editor = plan->editor;
    for (bool again = true; again;) {
        plan_reset(plan);
        again = false;
        plan->n_items = editor->sites.n;
        plan->items = mem_array(plan->n_items + 1, sizeof plan->items[0]);
        for (size_t i = 0; i < plan->https->names->n; i++) {
            if (!plan_name(plan, plan->https->names->v[i])) {
                return false;
            }
        }
        for (size_t i = 0; i < plan->n_items; i++) {
            if (plan->items[i].certificate && !check_others(plan, &editor->sites.v[i], &again)) {
                return false;
            }
        }
        if (again) {
            nginx_model_refresh(editor->web, &editor->sites);
        }
    }
    for (size_t i = 0; i < plan->n_items; i++) {
        if (plan->items[i].certificate && !plan->items[i].full && !check_swap(plan, &editor->sites.v[i])) {
            return false;
        }
    }
    if (plan->https->redirect && !editor->web->has_rewrite) {
        log_warn("this nginx was built without its rewrite module: no redirect to https");
    }
    for (size_t i = 0; plan->https->redirect && editor->web->has_rewrite && i < plan->https->names->n; i++) {
        plan_redirect(plan, plan->https->names->v[i]);
    }
    return true;
}

/* ---- 443: the lines ---- */

/* All that is said of one socket by the servers that listen on it. */
struct socket_state {
    bool exists, ssl, http2, proxy_protocol, dual_stack;
    const struct site *site;
};

static struct socket_state socket_state(const struct sites *sites, const char *address, int port)
{
    struct socket_state state = {0};
    for (size_t i = 0; i < sites->n; i++) {
        const struct nginx_listen *listen = nginx_listen_at(nginx_server_of(&sites->v[i]), address, port);
        if (listen != NULL) {
            state.site = state.exists ? state.site : &sites->v[i];
            state.exists = true;
            state.ssl |= listen->ssl;
            state.http2 |= listen->http2;
            state.proxy_protocol |= listen->proxy_protocol;
            state.dual_stack |= listen->dual_stack;
        }
    }
    return state;
}

static const char *wildcard_of(const char *address)
{
    return address[0] == '[' ? "[::]" : "*";
}

static void add_once(struct strlist *list, const char *text)
{
    if (!strlist_has(list, text)) {
        strlist_add(list, text);
    }
}

/* The 443 sockets of narrower addresses in the family of a wildcard. */
static void narrow_sockets(const struct sites *sites, const char *wildcard, struct strlist *out)
{
    AUTO_STRLIST secure = STRLIST_INIT;
    sites_addresses(sites, HTTPS_PORT, &secure);
    for (size_t i = 0; i < secure.n; i++) {
        if (strcmp(wildcard_of(secure.v[i]), wildcard) == 0 && strcmp(secure.v[i], wildcard) != 0) {
            strlist_add(out, secure.v[i]);
        }
    }
}

/* A wildcard that is there already, and the narrower sockets on which visitors of our port 80 would otherwise
 * miss us. */
static void join_wildcard(const struct sites *sites, const char *wildcard, const struct strlist *narrow,
                          struct strlist *out)
{
    add_once(out, wildcard);
    for (size_t i = 0; i < narrow->n; i++) {
        if (!site_address_is_loopback(narrow->v[i]) && !socket_state(sites, narrow->v[i], HTTP_PORT).exists) {
            add_once(out, narrow->v[i]);
        }
    }
}

/* No wildcard, but narrower sockets: a running server cannot bind the wildcard beside them (and its test does
 * not notice), so ours joins those. */
static bool join_narrow(const struct plan *plan, const struct strlist *narrow, struct strlist *out)
{
    size_t before = out->n;
    for (size_t i = 0; i < narrow->n; i++) {
        if (!site_address_is_loopback(narrow->v[i])) {
            add_once(out, narrow->v[i]);
        }
    }
    return out->n > before ||
           refuse_at(plan, socket_state(&plan->editor->sites, narrow->v[0], HTTPS_PORT).site,
                     "Let that server listen on plain 443 or on another port, restart nginx, and try again.",
                     "this server has port 443 on %s alone, so that nginx cannot open it on all addresses",
                     narrow->v[0]);
}

/* Port 443 for a port-80 address. Where only the wildcard has 443, a socket of the narrower address would
 * take all its visitors from the other servers: then ours joins the wildcard. */
static bool add_secure(const struct plan *plan, const char *address, struct strlist *out)
{
    const struct sites *sites = &plan->editor->sites;
    const char *wildcard = wildcard_of(address);
    AUTO_STRLIST narrow = STRLIST_INIT;
    if (strcmp(address, wildcard) != 0) {
        bool join = !socket_state(sites, address, HTTPS_PORT).exists &&
                    socket_state(sites, wildcard, HTTPS_PORT).exists;
        add_once(out, join ? wildcard : address);
        return true;
    }
    narrow_sockets(sites, wildcard, &narrow);
    if (narrow.n > 0 && !socket_state(sites, wildcard, HTTPS_PORT).exists) {
        return join_narrow(plan, &narrow, out);
    }
    join_wildcard(sites, wildcard, &narrow, out);
    return true;
}

/* "[::]:80 ipv6only=off" takes IPv4 too: so must 443, by one new socket (`dual_stack`), or by two where
 * others are there. */
static bool add_dual_stack(const struct plan *plan, struct strlist *out, bool *dual_stack)
{
    const struct sites *sites = &plan->editor->sites;
    struct socket_state v6 = socket_state(sites, "[::]", HTTPS_PORT);
    AUTO_STRLIST all = STRLIST_INIT;
    sites_addresses(sites, HTTPS_PORT, &all);
    *dual_stack = all.n == 0;
    return add_secure(plan, "[::]", out) &&
           (*dual_stack || (v6.exists && v6.dual_stack) || add_secure(plan, "*", out));
}

static bool has_port80(const struct nginx_listen *listen)
{
    return listen->port <= HTTP_PORT && listen->port_last >= HTTP_PORT;
}

/* The addresses on which a server gets 443: those of its port 80, or else of its other plain ports. */
static bool secure_addresses(const struct plan *plan, const struct nginx_server *server, struct strlist *out,
                             bool *dual_stack)
{
    bool on_80 = false;
    *dual_stack = false;
    for (size_t i = 0; i < server->n_listens; i++) {
        on_80 |= has_port80(&server->listens[i]) && !server->listens[i].ssl;
    }
    for (size_t i = 0; i < server->n_listens; i++) {
        const struct nginx_listen *listen = &server->listens[i];
        if (listen->ssl || (on_80 && !has_port80(listen))) {
            continue;
        }
        if (listen->dual_stack ? !add_dual_stack(plan, out, dual_stack)
                               : !add_secure(plan, listen->address, out)) {
            return false;
        }
    }
    return true;
}

static bool takes_443(const struct nginx_node *node)
{
    struct nginx_listen parsed = {0};
    if (!nginx_is(node, "listen") || node->n_args < 2 || !nginx_parse_address(node->args[1], &parsed)) {
        return false;
    }
    for (size_t i = 2; i < node->n_args; i++) {
        if (strcmp(node->args[i], "udp") == 0) {
            return false;
        }
    }
    return parsed.port <= HTTPS_PORT && parsed.port_last >= HTTPS_PORT &&
           !site_address_is_loopback(parsed.address);
}

/* A `listen` of 443 in a stream block holds the same socket: nginx's test does not notice, the reload fails.
 */
static bool check_stream(const struct plan *plan)
{
    const struct nginx_config *config = config_of(plan->editor);
    const struct nginx_node *stream = nginx_child(config, &config->files[0]->root, "stream");
    AUTO_NODES servers = {0};
    if (stream != NULL) {
        nginx_children(config, stream, false, &servers);
    }
    for (size_t i = 0; i < servers.n; i++) {
        AUTO_NODES body = {0};
        nginx_children(config, servers.v[i], false, &body);
        for (size_t k = 0; k < body.n; k++) {
            if (!takes_443(body.v[k])) {
                continue;
            }
            const char *path = config->files[body.v[k]->file]->path;
            err_set(plan->editor->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, path,
                    "%s:%zu: a stream server has port 443, so no website can listen there", path,
                    body.v[k]->line);
            return err_advise(
                plan->editor->err,
                "Let the website listen, with ssl, on the port to which the stream server passes its "
                "connections; then try again.");
        }
    }
    return true;
}

static bool listen_line(const struct plan *plan, const char *address, const struct nginx_server *server,
                        bool dual_stack, struct lines *lines)
{
    const struct web *web = plan->editor->web;
    const struct sites *sites = &plan->editor->sites;
    struct socket_state now = socket_state(sites, address, HTTPS_PORT);
    struct socket_state plain = socket_state(sites, address, HTTP_PORT);
    if (nginx_listen_at(server, address, HTTPS_PORT) != NULL) {
        return true;
    }
    if (now.exists && !now.ssl) {
        return refuse_at(
            plan, now.site,
            "Add \"ssl\" to that listen line, with a certificate, or take the line out; then try again.",
            "this server listens on port 443 without TLS");
    }
    if (!now.exists && !check_stream(plan)) {
        return false;
    }
    /* Options belong to the socket: as it is when it is there, else as its port-80 sister. */
    bool http2 = now.exists ? now.http2 : web->has_http2 && web->version_number < HTTP2_DIRECTIVE_SINCE;
    bool proxy = now.exists ? now.proxy_protocol : plain.proxy_protocol;
    AUTO_BUF word = BUF_INIT;
    listen_word(address, HTTPS_PORT, &word);
    add_line(lines, "listen %s ssl%s%s%s;", buf_str(&word), http2 ? " http2" : "",
             proxy ? " proxy_protocol" : "",
             dual_stack && strcmp(address, "[::]") == 0 ? " ipv6only=off" : "");
    return true;
}

static bool said(const struct plan *plan, const struct nginx_node *server, const char *directive)
{
    const struct nginx_config *config = config_of(plan->editor);
    return nginx_child(config, server, directive) != NULL ||
           nginx_child(config, nginx_model_of(&plan->editor->sites)->http, directive) != NULL;
}

/* Distributions ship an http level that still allows TLS 1.0 and 1.1: inheriting those would be no favour. */
static bool allows_old_protocols(const struct plan *plan)
{
    static const char *const old[] = {"SSLv2", "SSLv3", "TLSv1", "TLSv1.1"};
    const struct nginx_config *config = config_of(plan->editor);
    const struct nginx_node *node =
        nginx_child(config, nginx_model_of(&plan->editor->sites)->http, "ssl_protocols");
    for (size_t i = 1; node != NULL && i < node->n_args; i++) {
        for (size_t k = 0; k < COUNT_OF(old); k++) {
            if (strcasecmp(node->args[i], old[k]) == 0) {
                return true;
            }
        }
    }
    return false;
}

static bool listen_lines(const struct plan *plan, const struct nginx_server *server, struct lines *lines)
{
    const struct web *web = plan->editor->web;
    const struct sites *sites = &plan->editor->sites;
    AUTO_STRLIST addresses = STRLIST_INIT;
    bool dual_stack, socket_http2 = false;
    if (!secure_addresses(plan, server, &addresses, &dual_stack)) {
        return false;
    }
    if (server->n_listens == 1 && server->listens[0].implicit) {
        add_line(lines, "listen 80;");
    }
    for (size_t i = 0; i < addresses.n; i++) {
        if (!listen_line(plan, addresses.v[i], server, dual_stack, lines)) {
            return false;
        }
        socket_http2 |= socket_state(sites, addresses.v[i], HTTPS_PORT).http2;
    }
    if (web->has_http2 && web->version_number >= HTTP2_DIRECTIVE_SINCE && !socket_http2 &&
        !said(plan, server->node, "http2")) {
        add_line(lines, "http2 on;");
    }
    return true;
}

static void certificate_line(const char *directive, const char *path, struct lines *lines)
{
    AUTO_BUF word = BUF_INIT;
    nginx_word_encode(path, &word);
    add_line(lines, "%s %s;", directive, buf_str(&word));
}

static void pair_lines(const char *live_dir, const char *suffix, struct lines *lines)
{
    AUTO_FREE char *certificate = mem_fmt("%s/fullchain%s.pem", live_dir, suffix);
    AUTO_FREE char *key = mem_fmt("%s/privkey%s.pem", live_dir, suffix);
    certificate_line("ssl_certificate", certificate, lines);
    certificate_line("ssl_certificate_key", key, lines);
}

static void certificate_lines(const struct plan *plan, struct lines *lines)
{
    pair_lines(plan->https->live_dir, "", lines);
    if (plan->https->second != NULL) {
        AUTO_FREE char *suffix = mem_fmt("-%s", plan->https->second);
        pair_lines(plan->https->live_dir, suffix, lines);
    }
}

static void tls_lines(const struct plan *plan, const struct nginx_node *server, struct lines *lines)
{
    static const struct {
        const char *directive, *value;
    } table[] = {
        {"ssl_protocols", "TLSv1.2 TLSv1.3"},
        {"ssl_ciphers",
         "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
         "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"},
        {"ssl_prefer_server_ciphers", "off"},
        /* The size is in the zone's name: one zone with two sizes is an error that stops nginx. */
        {"ssl_session_cache", "shared:tlsup_2m:2m"},
        {"ssl_session_timeout", "1d"},
        {"ssl_session_tickets", "off"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        bool in_block = nginx_child(config_of(plan->editor), server, table[i].directive) != NULL;
        bool replace = i == 0 && !in_block && allows_old_protocols(plan);
        if (replace || !said(plan, server, table[i].directive)) {
            add_line(lines, "%s %s;", table[i].directive, table[i].value);
        }
    }
}

static bool server_has_443(const struct nginx_server *server, const struct item *item)
{
    for (size_t i = 0; i < server->n_listens; i++) {
        if (server->listens[i].ssl) {
            return true;
        }
    }
    return item->full;
}

/* "$host is this name", as nginx's `if` says it. */
static void host_condition(const char *name, struct buf *out)
{
    if (!name_is_wildcard(name)) {
        bool v6 = strchr(name, ':') != NULL;
        buf_addf(out, v6 ? "= \"[%s]\"" : "= \"%s\"", name);
        return;
    }
    buf_adds(out, "~ \"^[^.]+");
    for (const char *p = name + 1; *p != '\0'; p++) {
        if (*p == '.') {
            buf_addc(out, '\\');
        }
        buf_addc(out, *p);
    }
    buf_adds(out, "$\"");
}

static bool owns_all(const struct site *site, const struct strlist *names)
{
    for (size_t i = 0; i < names->n; i++) {
        bool found = false;
        for (size_t k = 0; k < site->names.n; k++) {
            const char *own = site->names.v[k];
            found |= strcmp(own, names->v[i]) == 0 || (own[0] == '.' && strcmp(own + 1, names->v[i]) == 0) ||
                     name_matches(own, names->v[i]);
        }
        if (!found) {
            return false;
        }
    }
    return true;
}

/* All of a server's names are ours: by the scheme alone. Else only our names, so that nobody is sent to a
 * certificate that is not theirs. */
static void redirect_lines(const struct plan *plan, const struct site *site, const struct item *item,
                           struct lines *lines)
{
    if (all_covered(site, plan->https->names) && owns_all(site, &item->redirected)) {
        add_line(lines, "if ($scheme = http) { return 301 https://$host$request_uri; }");
        return;
    }
    bool both = server_has_443(nginx_server_of(site), item);
    if (both) {
        add_line(lines, "set $tlsup_host \"\";");
        add_line(lines, "if ($scheme = http) { set $tlsup_host $host; }");
    }
    for (size_t i = 0; i < item->redirected.n; i++) {
        AUTO_BUF condition = BUF_INIT;
        host_condition(item->redirected.v[i], &condition);
        add_line(lines, "if (%s %s) { return 301 https://$host$request_uri; }",
                 both ? "$tlsup_host" : "$host", buf_str(&condition));
    }
}

/* ---- 443: cutting old certificate lines ---- */

static bool is_certificate_line(const struct nginx_node *node)
{
    static const char *const names[] = {"ssl_certificate", "ssl_certificate_key", "ssl_stapling_file"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (nginx_is(node, names[i])) {
            return true;
        }
    }
    return false;
}

/* The directive alone, or its whole line when nothing but a comment of its own stands beside it. */
static void cut_range(const struct nginx_file *file, const struct nginx_node *node, size_t *at,
                      size_t *length)
{
    const char *data = buf_str(&file->text);
    size_t begin = node->begin, end = node->end;
    while (begin > 0 && (data[begin - 1] == ' ' || data[begin - 1] == '\t')) {
        begin--;
    }
    while (end < file->text.len && (data[end] == ' ' || data[end] == '\t')) {
        end++;
    }
    if (end < file->text.len && data[end] == '#') {
        const char *feed = memchr(data + end, '\n', file->text.len - end);
        end = feed != NULL ? (size_t)(feed - data) : file->text.len;
    }
    end += end + 1 < file->text.len && data[end] == '\r' && data[end + 1] == '\n';
    bool whole = (begin == 0 || data[begin - 1] == '\n') && end < file->text.len && data[end] == '\n';
    *at = whole ? begin : node->begin;
    *length = whole ? end + 1 - begin : node->end - node->begin;
}

/* A server that would lose this line of a shared file and gets no certificate of ours. NULL = none. */
static const struct site *other_user(const struct plan *plan, const struct nginx_node *line)
{
    const struct sites *sites = &plan->editor->sites;
    for (size_t i = 0; i < sites->n; i++) {
        AUTO_NODES body = {0};
        nginx_children(config_of(plan->editor), nginx_server_of(&sites->v[i])->node, false, &body);
        for (size_t k = 0; k < body.n; k++) {
            if (body.v[k] == line && !plan->items[i].certificate) {
                return &sites->v[i];
            }
        }
    }
    return NULL;
}

static bool cut_certificates(struct plan *plan, const struct site *site)
{
    const struct nginx_node *server = nginx_server_of(site)->node;
    AUTO_NODES body = {0};
    nginx_children(config_of(plan->editor), server, false, &body);
    for (size_t i = 0; i < body.n; i++) {
        const struct nginx_node *node = body.v[i];
        size_t at, length;
        if (!is_certificate_line(node)) {
            continue;
        }
        const struct site *other = node->file != server->file ? other_user(plan, node) : NULL;
        if (other != NULL) {
            return refuse_at(
                plan, site,
                "Move the certificate lines out of the shared file into the server blocks, then try again.",
                "its certificate is set in %s, which the server at %s:%zu includes too",
                file_of(plan->editor, node)->path, other->file, other->line);
        }
        cut_range(file_of(plan->editor, node), node, &at, &length);
        add_edit(plan->editor, node->file, at, length, "");
    }
    return true;
}

/* The blocks of ours that give way to this one. */
static void cut_superseded(struct plan *plan, const struct nginx_node *server)
{
    const struct nginx_file *file = file_of(plan->editor, server);
    for (size_t i = 0; i < file->n_marks; i++) {
        const struct nginx_mark *mark = &file->marks[i];
        if (mark->ignored && mark->begin >= server->open && mark->end <= server->close &&
            strcmp(mark->id, plan->id) != 0) {
            add_edit(plan->editor, server->file, mark->begin, mark->end - mark->begin, "");
        }
    }
}

/* ---- 443: one server ---- */

static bool https_lines(struct plan *plan, const struct site *site, const struct item *item,
                        struct lines *lines)
{
    const struct nginx_server *server = nginx_server_of(site);
    if (item->full && !listen_lines(plan, server, lines)) {
        return false;
    }
    if (item->certificate) {
        certificate_lines(plan, lines);
    }
    if (item->full) {
        tls_lines(plan, server->node, lines);
    }
    if (item->redirect) {
        redirect_lines(plan, site, item, lines);
    }
    return true;
}

static bool put_https(const struct plan *plan, const struct item *item, const struct nginx_node *server,
                      const struct lines *lines, bool *kept)
{
    const char *live = plan->https->live_dir, *second = plan->https->second;
    const char *gone = second == NULL ? "" : strcmp(second, "rsa") == 0 ? "ecdsa" : "rsa";
    AUTO_FREE char *has = second == NULL ? mem_dup(live) : mem_fmt("%s/fullchain-%s.pem", live, second);
    AUTO_FREE char *lacks = mem_fmt("%s/fullchain-%s", live, gone); /* a file that is not there stops nginx */
    struct essence redirect = {.has = "https://"};
    struct essence certificate = {.has = has, .lacks = lacks};
    return put_block(plan->editor, server, plan->id, lines, item->certificate ? certificate : redirect, kept);
}

static bool edit_server(struct plan *plan, size_t index)
{
    const struct site *site = &plan->editor->sites.v[index];
    const struct item *item = &plan->items[index];
    const struct nginx_node *server = nginx_server_of(site)->node;
    const struct nginx_mark *mark = nginx_mark_in(config_of(plan->editor), server, plan->id);
    AUTO_LINES lines = {0};
    bool kept;
    bool stale = mark != NULL && !content_has(file_of(plan->editor, server), mark, "ssl_certificate");
    if (!item->certificate && !item->redirect && !stale) {
        return true; /* nothing to do, or a certificate in use by a name that is not asked for now */
    }
    lines_for(file_of(plan->editor, server), server, &lines);
    if (!https_lines(plan, site, item, &lines) || !put_https(plan, item, server, &lines, &kept)) {
        return false;
    }
    if (!item->certificate || kept) {
        return true;
    }
    cut_superseded(plan, server);
    return cut_certificates(plan, site);
}

/* ---- 443: a server of its own for names that only a default server answers ---- */

/* The default server that answers the unowned names on port 80. */
static const struct site *default_of(const struct plan *plan)
{
    return nginx_driver.owner(&plan->editor->sites, plan->unowned.v[0], HTTP_PORT, false);
}

static bool no_site(const struct plan *plan, const char *why)
{
    const char *name = plan->unowned.v[0];
    err_set(plan->editor->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, name, "no nginx server has the name %s%s%s",
            name, why[0] != '\0' ? ", and " : "", why);
    return err_advise(plan->editor->err,
                      "Write a server block with \"server_name %s;\" and a root or proxy_pass, or add the "
                      "name to the server_name "
                      "line of the site that it belongs to.",
                      name);
}

/* Can the default server's body stand in a second server? */
static bool check_default(const struct plan *plan, const struct site *site)
{
    const struct nginx_server *server = nginx_server_of(site);
    char why[512];
    for (size_t i = 0; i < site->names.n; i++) {
        if (!is_placeholder(site->names.v[i])) {
            snprintf(why, sizeof why, "the server that would answer it (%.200s:%zu) belongs to %.200s",
                     site->file, site->line, site->names.v[i]);
            return no_site(plan, why);
        }
    }
    static const char *const reasons[] = {
        [REDIRECT_HTTPS_SAME] = "only redirects to https",
        [REDIRECT_HTTPS_OTHER] = "only redirects to https",
        [REDIRECT_REFUSES] = "refuses every request",
        [REDIRECT_CLOSES] = "closes the connection",
    };
    if (server->redirect < (int)COUNT_OF(reasons) && reasons[server->redirect] != NULL) {
        snprintf(why, sizeof why, "the default server (%.200s:%zu) %s", site->file, site->line,
                 reasons[server->redirect]);
        return no_site(plan, why);
    }
    return true;
}

static bool belongs_to_listener(const struct nginx_node *node)
{
    static const char *const names[] = {"listen", "server_name", "http2", "ssl"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (nginx_is(node, names[i])) {
            return true;
        }
    }
    return is_certificate_line(node);
}

/* What the default server says beside who it is: copied as it is written. */
static bool copy_body(const struct plan *plan, const struct site *site, struct lines *lines)
{
    const struct nginx_node *server = nginx_server_of(site)->node;
    const struct nginx_config *config = config_of(plan->editor);
    const struct nginx_file *file = config->files[server->file];
    for (size_t i = 0; i < server->n_children; i++) {
        const struct nginx_node *node = &server->children[i];
        if (belongs_to_listener(node) || nginx_mark_around(config, node) != NULL) {
            continue;
        }
        for (size_t f = 0; f < node->n_included; f++) {
            AUTO_NODES inner = {0};
            nginx_children(config, &config->files[node->included[f]]->root, false, &inner);
            for (size_t k = 0; k < inner.n; k++) {
                if (belongs_to_listener(inner.v[k])) {
                    return no_site(
                        plan, "the default server keeps its listen or certificate lines in an included file");
                }
            }
        }
        buf_adds(&lines->text, lines->indent);
        buf_add(&lines->text, buf_str(&file->text) + node->begin, node->end - node->begin);
        buf_adds(&lines->text, lines->eol);
    }
    return true;
}

/* The port-80 listens that the new server needs: those where `site` answers the names now. */
static void new_listens(const struct plan *plan, const struct site *site, struct nginx_server *out)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    public_addresses(&plan->editor->sites, HTTP_PORT, &addresses);
    for (size_t i = 0; i < addresses.n; i++) {
        const struct nginx_listen *old = nginx_listen_at(nginx_server_of(site), addresses.v[i], HTTP_PORT);
        if (old == NULL || owner_at(plan, plan->unowned.v[0], addresses.v[i], HTTP_PORT, false) != site) {
            continue;
        }
        out->listens = mem_resize(out->listens, out->n_listens + 1, sizeof out->listens[0]);
        struct nginx_listen *listen = &out->listens[out->n_listens++];
        *listen = *old;
        listen->port = listen->port_last = HTTP_PORT;
        listen->implicit = false;
    }
}

static void plain_listen_lines(const struct nginx_server *server, struct lines *lines)
{
    for (size_t i = 0; i < server->n_listens; i++) {
        AUTO_BUF word = BUF_INIT;
        listen_word(server->listens[i].address, HTTP_PORT, &word);
        add_line(lines, "listen %s%s;", buf_str(&word),
                 server->listens[i].proxy_protocol ? " proxy_protocol" : "");
    }
}

/* The challenge answer of the default server goes along: requests for the names will not reach it any more.
 */
static void copy_challenge(const struct plan *plan, const struct nginx_node *server, struct buf *out)
{
    const struct nginx_file *file = file_of(plan->editor, server);
    const struct nginx_mark *mark = nginx_mark_in(config_of(plan->editor), server, CHALLENGE_ID);
    if (mark != NULL) {
        buf_add(out, buf_str(&file->text) + mark->begin, mark->end - mark->begin);
    }
}

/* The text of the new server block, its lines indented by `outer`. */
static bool new_server_text(struct plan *plan, const struct site *site, const char *outer, struct buf *out)
{
    const struct nginx_node *node = nginx_server_of(site)->node;
    const struct nginx_file *file = file_of(plan->editor, node);
    struct nginx_server server = {.node = node};
    AUTO_LINES block = {0}, body = {0};
    lines_for(file, node, &block);
    lines_for(file, node, &body);
    new_listens(plan, site, &server);
    plain_listen_lines(&server, &body);
    server_name_line(&plan->unowned, &body);
    bool ok = copy_body(plan, site, &body) && listen_lines(plan, &server, &block);
    free(server.listens);
    if (!ok) {
        return false;
    }
    certificate_lines(plan, &block);
    tls_lines(plan, node, &block);
    if (plan->https->redirect && plan->editor->web->has_rewrite) {
        add_line(&block, "if ($scheme = http) { return 301 https://$host$request_uri; }");
    }
    buf_addf(
        out,
        "%s# Written by tlsup: %s as the default server shows it, with https. Yours to edit.%s%sserver {",
        outer, plan->unowned.v[0], block.eol, outer);
    copy_challenge(plan, node, out);
    nginx_mark_write(plan->id, block.indent, block.eol, &block.text, out);
    buf_addf(out, "%s%s%s}", block.eol, buf_str(&body.text), outer);
    return true;
}

/* No server is the default by its place alone on the addresses in question: NULL; else the one that must stay
 * first. */
static const struct nginx_node *must_stay_first(const struct site *site)
{
    const struct nginx_server *server = nginx_server_of(site);
    for (size_t i = 0; i < server->n_listens; i++) {
        if (!server->listens[i].default_server && server->listens[i].port <= HTTP_PORT &&
            server->listens[i].port_last >= HTTP_PORT) {
            return server->node;
        }
    }
    return NULL;
}

/* Write the new file; a file of that name that the server does not read is somebody's, and is left alone
 * (`taken`). */
static bool write_site(struct plan *plan, const struct place *place, const struct buf *server, bool *taken)
{
    struct editor *editor = plan->editor;
    struct err missing = ERR_INIT;
    AUTO_BUF text = BUF_INIT;
    *taken = false;
    if (txn_read(editor->txn, place->path, FILE_LIMIT_BYTES, &text, &missing)) {
        bool same = text.len == server->len + 1 && memcmp(buf_str(&text), buf_str(server), server->len) == 0;
        if (!same && !is_loaded(editor, place->loaded_as) && !is_loaded(editor, place->path)) {
            *taken = true;
            return true;
        }
        if (same) {
            buf_reset(&text);
        } else {
            buf_addc(&text, '\n');
        }
    } else if (missing.code != ERR_NOT_FOUND) {
        *editor->err = missing;
        return false;
    }
    buf_add(&text, buf_str(server), server->len);
    buf_addc(&text, '\n');
    return txn_write(editor->txn, place->path, buf_str(&text), text.len, NEW_FILE_MODE, editor->err) &&
           (place->link == NULL || fs_exists(place->link) ||
            txn_symlink(editor->txn, place->link, place->path, editor->err));
}

static bool new_site_file(struct plan *plan, const struct site *site, bool *done)
{
    static const char *const prefixes[] = {"", "tlsup-", "zz-tlsup-"};
    AUTO_BUF server = BUF_INIT;
    *done = false;
    if (!new_server_text(plan, site, "", &server)) {
        return false;
    }
    for (size_t i = 0; i < COUNT_OF(prefixes); i++) {
        AUTO_PLACE place = {0};
        AUTO_FREE char *name = file_name(prefixes[i], plan->https->cert_name);
        bool taken;
        if (!find_place(plan->editor, name, nginx_server_of(site)->node, must_stay_first(site), &place)) {
            continue;
        }
        if (!write_site(plan, &place, &server, &taken)) {
            return false;
        }
        if (!taken) {
            *done = true;
            return true;
        }
    }
    return true;
}

/* No directory for sites: right behind the default server, where it cannot become the default itself. */
static bool new_site_inline(struct plan *plan, const struct site *site)
{
    const struct nginx_node *node = nginx_server_of(site)->node;
    const struct nginx_file *file = file_of(plan->editor, node);
    AUTO_FREE char *outer = blanks_before(file, node);
    AUTO_BUF server = BUF_INIT, text = BUF_INIT;
    if (!new_server_text(plan, site, outer != NULL ? outer : "", &server)) {
        return false;
    }
    const char *eol = eol_of(file, node->open);
    buf_addf(&text, "%s%s", eol, eol);
    buf_add(&text, buf_str(&server), server.len);
    if (node->end < file->text.len && strchr("\r\n", file->text.data[node->end]) == NULL) {
        buf_adds(&text, eol);
    }
    add_edit(plan->editor, node->file, node->end, 0, buf_str(&text));
    return true;
}

static bool new_site(struct plan *plan)
{
    const struct site *site = default_of(plan);
    bool done;
    if (site == NULL) {
        return no_site(plan, "none answers on port 80");
    }
    if (!check_default(plan, site) || !new_site_file(plan, site, &done)) {
        return false;
    }
    return done || new_site_inline(plan, site);
}

/* ---- 443: all together ---- */

static bool usable_in_config(const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f || *p == '$') {
            return false;
        }
    }
    return text[0] != '\0';
}

static bool check_request(const struct web *web, const struct web_https *https, struct err *err)
{
    if (!web->has_ssl) {
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, web->bin, "this nginx was built without its ssl module");
        return err_advise(err, "Install the nginx package of your distribution: it has the module.");
    }
    if (!usable_in_config(https->live_dir) || https->live_dir[0] != '/') {
        return err_set(
            err, ERR_CONFIG, NEXT_FIX_CONFIG, https->live_dir,
            "this path cannot be written into an nginx configuration (\"$\" or a control character)");
    }
    if (!usable_in_config(https->cert_name) || strpbrk(https->cert_name, " /") != NULL ||
        https->cert_name[0] == '.') {
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, https->cert_name,
                       "this certificate name cannot be used for files");
    }
    return https->names->n > 0 || err_set(err, ERR_INTERNAL, NEXT_NONE, "", "no names to switch to https");
}

/* A server for the challenge may be staged in a new file, which no glob finds yet: read once more with it. */
static bool reopen_with_staged(struct editor *editor, const struct web_https *https, const char *id)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    sites_addresses(&editor->sites, HTTP_PORT, &addresses);
    for (size_t i = 0; i < https->names->n && addresses.n == 0; i++) {
        AUTO_PLACE place = {0};
        AUTO_BUF text = BUF_INIT;
        struct err ignored = ERR_INIT;
        if (challenge_place(editor, https->names->v[i], &place) && !fs_exists(place.loaded_as) &&
            txn_read(editor->txn, place.loaded_as, FILE_LIMIT_BYTES, &text, &ignored)) {
            return editor_open(editor, id, place.loaded_as);
        }
    }
    return true;
}

bool nginx_edit_https(const struct web *web, const struct sites *sites, const struct web_https *https,
                      struct txn *txn, struct err *err)
{
    (void)sites; /* read anew: the transaction may hold edits already */
    AUTO_EDITOR editor = {.web = web, .txn = txn, .err = err};
    AUTO_PLAN plan = {.editor = &editor, .https = https};
    if (!check_request(web, https, err)) {
        return false;
    }
    plan.id = mem_fmt(CERT_ID_PREFIX "%s", https->cert_name);
    if (!editor_open(&editor, plan.id, NULL) || !reopen_with_staged(&editor, https, plan.id) ||
        !make_plan(&plan)) {
        return false;
    }
    for (size_t i = 0; i < plan.n_items; i++) {
        if (!edit_server(&plan, i)) {
            return false;
        }
    }
    return (plan.unowned.n == 0 || new_site(&plan)) && stage_edits(&editor);
}
