/*
 * nginx_edit.c - changing files of nginx: ranges of bytes, staged together, and the marked blocks that are
 * ours.
 *
 * Each server block that must change gets one marked block right behind its '{'. Every edit is computed from
 * the configuration without our own block, so that doing it again changes nothing, and taking the block out
 * gives the file back. Only certificate lines of the block itself are cut: a second certificate would be
 * served beside ours, not instead of it.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nginx_edit.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

/* ---- edits: ranges of files, staged together ---- */

const struct nginx_config *nginx_config_of(const struct nginx_editor *editor)
{
    return &nginx_model_of(&editor->sites)->config;
}

const struct nginx_file *nginx_file_of(const struct nginx_editor *editor, const struct nginx_node *node)
{
    return nginx_config_of(editor)->files[node->file];
}

bool nginx_editor_open(struct nginx_editor *editor, const struct sites *known, const char *ignore)
{
    editor->known = known;
    if (!nginx_model_read(editor->web, editor->txn, known, ignore, &editor->sites, editor->err)) {
        return false;
    }
    if (nginx_model_of(&editor->sites)->http == NULL) {
        return err_set(editor->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, editor->web->conf, "%s has no http block",
                       editor->web->conf);
    }
    return true;
}

void nginx_editor_close(struct nginx_editor *editor)
{
    for (size_t i = 0; i < editor->n_edits; i++) {
        free(editor->edits[i].text);
    }
    free(editor->edits);
    sites_clear(&editor->sites);
}

void nginx_edit_add(struct nginx_editor *editor, size_t file, size_t at, size_t length, const char *text)
{
    if ((editor->n_edits & (editor->n_edits - 1)) == 0) {
        size_t room = editor->n_edits == 0 ? 1 : editor->n_edits * 2;
        editor->edits = mem_resize(editor->edits, room, sizeof editor->edits[0]);
    }
    editor->edits[editor->n_edits] = (struct nginx_edit){.file = file,
                                                         .at = at,
                                                         .remove = length,
                                                         .text = mem_dup(text),
                                                         .inserts = text[0] != '\0',
                                                         .number = editor->n_edits};
    editor->n_edits++;
}

static size_t count_lines(const char *data, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        n += data[i] == '\n';
    }
    return n;
}

size_t nginx_line_now(const struct nginx_editor *editor, const struct site *site)
{
    size_t index = (size_t)(site - editor->sites.v);
    const struct site *same =
        editor->known != NULL && index < editor->known->n && editor->known->n == editor->sites.n
            ? &editor->known->v[index]
            : site;
    return strcmp(same->file, site->file) == 0 ? same->line : site->line;
}

size_t nginx_line_after(const struct nginx_editor *editor, const struct nginx_node *node)
{
    size_t line = node->line;
    for (size_t i = 0; i < editor->n_edits; i++) {
        const struct nginx_edit *edit = &editor->edits[i];
        if (edit->file == node->file && edit->at < node->begin) {
            line += count_lines(edit->text, strlen(edit->text));
            line -= count_lines(buf_str(&nginx_file_of(editor, node)->text) + edit->at, edit->remove);
        }
    }
    return line;
}

static int by_place(const void *a, const void *b)
{
    const struct nginx_edit *x = a, *y = b;
    if (x->file != y->file) {
        return x->file < y->file ? -1 : 1;
    }
    if (x->at != y->at) {
        return x->at < y->at ? -1 : 1;
    }
    if (x->remove != y->remove) {
        return x->remove < y->remove ? -1 : 1;
    }
    return x->number < y->number ? -1 : 1;
}

/* The same edit twice: a file that is included twice. */
static bool is_repeated(const struct nginx_edit *edit, const struct nginx_edit *before)
{
    return edit->at == before->at && edit->remove == before->remove && strcmp(edit->text, before->text) == 0;
}

/* The edits [first, last) all belong to one file. */
static bool stage_file(struct nginx_editor *editor, size_t first, size_t last)
{
    const struct nginx_file *file = nginx_config_of(editor)->files[editor->edits[first].file];
    AUTO_BUF out = BUF_INIT, now = BUF_INIT;
    size_t at = 0;
    if (!txn_read(editor->txn, file->path, NGINX_FILE_LIMIT_BYTES, &now, editor->err)) {
        return false;
    }
    if (now.len != file->text.len || memcmp(buf_str(&now), buf_str(&file->text), now.len) != 0) {
        err_set(editor->err, ERR_MISMATCH, NEXT_RETRY_NOW, file->path, "somebody changes %s just now",
                file->path);
        return err_advise(editor->err, "Wait until that is done, then try again.");
    }
    for (size_t i = first; i < last; i++) {
        const struct nginx_edit *edit = &editor->edits[i];
        if (i > first && is_repeated(edit, edit - 1)) {
            continue;
        }
        if (edit->at < at) {
            return err_set(editor->err, ERR_INTERNAL, NEXT_NONE, file->path, "%s: two edits overlap",
                           file->path);
        }
        buf_add(&out, buf_str(&file->text) + at, edit->at - at);
        buf_adds(&out, edit->text);
        at = edit->at + edit->remove;
    }
    buf_add(&out, buf_str(&file->text) + at, file->text.len - at);
    site_warn_of_manager(file->path, buf_str(&file->text), file->text.len);
    return txn_write(editor->txn, file->path, buf_str(&out), out.len, NGINX_NEW_FILE_MODE, editor->err);
}

/* Files that gain lines come before those that only lose some: a server without any certificate would fail
 * the test in between. */
bool nginx_edit_stage(struct nginx_editor *editor)
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

void nginx_lines_clear(struct nginx_lines *lines)
{
    free(lines->indent);
    buf_clear(&lines->text);
}

void nginx_line(struct nginx_lines *lines, const char *fmt, ...)
{
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_addf(&lines->text, "%s%s%s", lines->indent, text, lines->eol);
}

/* The blanks before a node when it begins its line, else NULL. */
char *nginx_blanks_before(const struct nginx_file *file, const struct nginx_node *node)
{
    const char *data = buf_str(&file->text);
    size_t at = node->begin;
    while (at > 0 && (data[at - 1] == ' ' || data[at - 1] == '\t')) {
        at--;
    }
    return at == 0 || data[at - 1] == '\n' ? mem_ndup(data + at, node->begin - at) : NULL;
}

const char *nginx_eol(const struct nginx_file *file, size_t from)
{
    const char *data = buf_str(&file->text);
    const char *feed = memchr(data + from, '\n', file->text.len - from);
    return feed != NULL && feed > data && feed[-1] == '\r' ? "\r\n" : "\n";
}

static char *inner_indent(const struct nginx_file *file, const struct nginx_node *block)
{
    char *indent = NULL;
    if (block->n_children > 0) {
        indent = nginx_blanks_before(file, &block->children[0]);
    }
    if (indent == NULL) {
        AUTO_FREE char *outer = nginx_blanks_before(file, block);
        indent = mem_fmt("%s    ", outer != NULL ? outer : "");
    }
    return indent;
}

void nginx_lines_for(const struct nginx_file *file, const struct nginx_node *block, struct nginx_lines *out)
{
    out->indent = inner_indent(file, block);
    out->eol = nginx_eol(file, block->open);
}

/* ---- putting a marked block into a server ---- */

void nginx_listen_word(const char *address, int port, struct buf *out)
{
    if (strcmp(address, "*") == 0) {
        buf_addf(out, "%d", port);
    } else {
        buf_addf(out, "%s:%d", address, port);
    }
}

void nginx_server_name_line(const struct strlist *names, struct nginx_lines *lines)
{
    AUTO_BUF text = BUF_INIT;
    for (size_t i = 0; i < names->n; i++) {
        bool v6 = strchr(names->v[i], ':') != NULL;
        buf_addf(&text, v6 ? " [%s]" : " %s", names->v[i]);
    }
    buf_addf(&lines->text, "%sserver_name%s;%s", lines->indent, buf_str(&text), lines->eol);
}

/* ---- putting a marked block into a server ---- */

bool nginx_mark_has(const struct nginx_file *file, const struct nginx_mark *mark, const char *needle)
{
    AUTO_FREE char *content =
        mem_ndup(buf_str(&file->text) + mark->content_begin, mark->content_end - mark->content_begin);
    return strstr(content, needle) != NULL;
}

/* A person changed our block. When it still does its work it stays as it is; else the person must decide. */
static bool keep_changed(struct nginx_editor *editor, const struct nginx_file *file,
                         const struct nginx_mark *mark, struct nginx_essence essence)
{
    if (nginx_mark_has(file, mark, essence.has) &&
        (essence.lacks == NULL || !nginx_mark_has(file, mark, essence.lacks))) {
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

static size_t block_place(const struct nginx_editor *editor, const struct nginx_node *server, const char *id)
{
    const struct nginx_mark *challenge = nginx_mark_in(nginx_config_of(editor), server, NGINX_CHALLENGE_ID);
    return strcmp(id, NGINX_CHALLENGE_ID) != 0 && challenge != NULL ? challenge->end : server->open;
}

/* Insert, replace or (no lines) take out our block. `kept` says that a changed block was left alone. */
bool nginx_block_put(struct nginx_editor *editor, const struct nginx_node *server, const char *id,
                     const struct nginx_lines *lines, struct nginx_essence essence, bool *kept)
{
    const struct nginx_file *file = nginx_file_of(editor, server);
    const struct nginx_mark *mark = nginx_mark_in(nginx_config_of(editor), server, id);
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
            nginx_edit_add(editor, server->file, block_place(editor, server, id), 0, buf_str(&text));
        }
        return true;
    }
    size_t length = mark->end - mark->begin;
    if (length != text.len || memcmp(buf_str(&file->text) + mark->begin, buf_str(&text), length) != 0) {
        nginx_edit_add(editor, server->file, mark->begin, length, buf_str(&text));
    }
    return true;
}
