/*
 * The file has a line for each certificate, by name: STAMP AT MADE NAME. The stamp is of all the rest of the
 * line and of the files that it was made from: whatever happens to the one or the other, the line no longer
 * counts.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "due.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0"
#endif

enum {
    DAY_S = 86400,
    SPREAD_S = 8 * 3600, /* so that what was noted together is not looked at together a day later */
    FILE_LIMIT_BYTES = 64 * 1024 * 1024,
    LINE_TEXT_BYTES = 2 * 16 + 2 * 20 + 4,
};

struct line {
    const char *name; /* in the file's text, or the name of `struct looked` */
    int64_t at_s, made_s;
    struct stamp stamp;
    bool counts;
};

/* A certificate that no line counts for. */
struct looked {
    char *name;
    struct stamp config; /* before it was read */
    struct line line;    /* what was noted of it: `counts` */
};

struct due {
    struct store_watch *watch;
    char *path;
    struct buf text;
    struct line *lines;
    size_t n_lines;
    struct looked *looked;
    size_t n_looked;
    int64_t now_s;
    bool changed;
};

/* -- reading ----------------------------------------------------------------------------------------- */

static bool hex_number(char **at, uint64_t *out)
{
    *out = 0;
    for (int i = 0; i < 16; i++, (*at)++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = **at != '\0' ? strchr(digits, **at) : NULL;
        if (digit == NULL)
            return false;
        *out = *out << 4 | (uint64_t)(digit - digits);
    }
    return true;
}

static bool instant(char **at, int64_t *out)
{
    char *end;
    if (*(*at)++ != ' ' || **at < '0' || **at > '9')
        return false;
    *out = strtoll(*at, &end, 10); /* the stamp tells whether it is the number that was written */
    *at = end;
    return true;
}

static bool parse_line(char *text, struct line *out)
{
    *out = (struct line){0};
    if (!hex_number(&text, &out->stamp.a) || !hex_number(&text, &out->stamp.b) ||
        !instant(&text, &out->at_s) || !instant(&text, &out->made_s) || *text != ' ')
        return false;
    out->name = text + 1;
    return config_cert_name_valid(out->name);
}

/* Damaged lines, and those out of order, are left out: their certificates are looked at. */
static void parse(struct due *due)
{
    size_t n = 0;
    char *rest = due->text.data;
    for (size_t i = 0; i < due->text.len; i++) {
        n += rest[i] == '\n';
        if (rest[i] == '\0') /* no text: the rest of it would not be seen */
            rest[i] = '?';
    }
    due->lines = mem_array(n + 1, sizeof *due->lines);
    for (char *end; rest != NULL && (end = strchr(rest, '\n')) != NULL; rest = end + 1) {
        struct line *line = &due->lines[due->n_lines];
        *end = '\0';
        if (parse_line(rest, line) && (due->n_lines == 0 || strcmp(line[-1].name, line->name) < 0))
            due->n_lines++;
    }
}

struct due *due_open(struct store *store)
{
    struct err err = ERR_INIT;
    struct due *due = mem_alloc(sizeof *due);
    due->watch = store_watch_open(store);
    due->path = fs_join(store_state_dir(store), "due.index");
    due->now_s = clock_now_s();
    if (fs_read(due->path, FILE_LIMIT_BYTES, &due->text, &err))
        parse(due);
    else if (err.code != ERR_NOT_FOUND)
        log_info("made anew: %s", err.text);
    return due;
}

void due_close(struct due *due)
{
    if (due == NULL)
        return;
    for (size_t i = 0; i < due->n_looked; i++)
        free(due->looked[i].name);
    free(due->looked);
    free(due->lines);
    buf_clear(&due->text);
    free(due->path);
    store_watch_close(due->watch);
    free(due);
}

/* -- asking ------------------------------------------------------------------------------------------ */

static int line_by_name(const void *name, const void *line)
{
    return strcmp(name, ((const struct line *)line)->name);
}

static int looked_by_name(const void *name, const void *looked)
{
    return strcmp(name, ((const struct looked *)looked)->name);
}

static struct stamp stamp_of(const struct due *due, const struct line *line, const struct stamp *config)
{
    struct stamp stamp = *config;
    stamp_add_text(&stamp, PACKAGE_VERSION); /* another program may come to another result */
    stamp_add_text(&stamp, line->name);
    stamp_add(&stamp, (uint64_t)line->at_s);
    stamp_add(&stamp, (uint64_t)line->made_s);
    store_watch_kept(due->watch, line->name, &stamp);
    return stamp;
}

/* A clock that was set back is no reason to wait for longer. */
static bool counts(const struct due *due, const struct line *line, const struct stamp *config)
{
    if (line->made_s > due->now_s || line->at_s <= due->now_s || line->at_s - due->now_s > DAY_S)
        return false;
    struct stamp stamp = stamp_of(due, line, config);
    return stamp_same(&stamp, &line->stamp);
}

static void remember(struct due *due, const char *name, const struct stamp *config)
{
    size_t at = due->n_looked;
    due->looked = mem_resize(due->looked, due->n_looked + 1, sizeof *due->looked);
    while (at > 0 && strcmp(due->looked[at - 1].name, name) > 0) /* names come sorted, as a rule */
        at--;
    memmove(&due->looked[at + 1], &due->looked[at], (due->n_looked - at) * sizeof *due->looked);
    due->looked[at] = (struct looked){.name = mem_dup(name), .config = *config};
    due->n_looked++;
}

bool due_later(struct due *due, const char *cert_name)
{
    struct stamp config = STAMP_INIT;
    store_watch_config(due->watch, cert_name, &config);
    struct line *line = due->n_lines == 0
                            ? NULL
                            : bsearch(cert_name, due->lines, due->n_lines, sizeof *due->lines, line_by_name);
    if (line != NULL && counts(due, line, &config))
        return line->counts = true;
    remember(due, cert_name, &config);
    return false;
}

/* -- noting ------------------------------------------------------------------------------------------ */

static int64_t at_most_a_day(const struct due *due, const char *name, int64_t at_s)
{
    struct stamp dice = STAMP_INIT;
    stamp_add_text(&dice, name);
    int64_t latest_s = due->now_s + DAY_S - (int64_t)(dice.a % SPREAD_S);
    return at_s < latest_s ? at_s : latest_s;
}

void due_note(struct due *due, const char *cert_name, int64_t at_s)
{
    struct looked *looked = due->n_looked == 0 ? NULL
                                               : bsearch(cert_name, due->looked, due->n_looked,
                                                         sizeof *due->looked, looked_by_name);
    if (looked == NULL || at_s <= due->now_s)
        return;
    looked->line = (struct line){.name = looked->name,
                                 .at_s = at_most_a_day(due, cert_name, at_s),
                                 .made_s = due->now_s,
                                 .counts = true};
    looked->line.stamp = stamp_of(due, &looked->line, &looked->config);
    due->changed = true;
}

static void add_line(struct buf *out, const struct line *line)
{
    char text[LINE_TEXT_BYTES + 1];
    int len = snprintf(text, sizeof text, "%016" PRIx64 "%016" PRIx64 " %" PRId64 " %" PRId64 " ",
                       line->stamp.a, line->stamp.b, line->at_s, line->made_s);
    if (!line->counts || len < 0 || (size_t)len >= sizeof text)
        return;
    buf_add(out, text, (size_t)len);
    buf_adds(out, line->name);
    buf_addc(out, '\n');
}

void due_save(struct due *due)
{
    AUTO_BUF text = BUF_INIT;
    struct err err = ERR_INIT;
    size_t i = 0, j = 0;
    if (!due->changed)
        return;
    while (i < due->n_lines || j < due->n_looked) {
        bool old =
            j == due->n_looked || (i < due->n_lines && strcmp(due->lines[i].name, due->looked[j].name) < 0);
        add_line(&text, old ? &due->lines[i++] : &due->looked[j++].line);
    }
    if (fs_write(due->path, text.data, text.len, 0600, &err))
        due->changed = false;
    else
        log_warn("the next run of renew has to look at all certificates again: %s", err.text);
}
