#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "status.h"

#include <stdlib.h>
#include <string.h>

#include "tlsup/clock.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

enum {
    BAR_CELLS = 8,
    NAME_LEAST_COLUMNS = 12,
    /* on a terminal: more than these, and what is well is told by the next few that are due */
    ROWS_SHOWN_ALL = 30,
    TROUBLES_SHOWN = 20,
    NEXT_SHOWN = 10,
};

/* -- cells ------------------------------------------------------------------------------------------- */

/* "example.org +2": its first name, where it is not called by it, and how many there are besides. */
static void cell_name(const struct entry *entry, struct buf *out)
{
    char shown[2 * NAME_MAX_BYTES + 4];
    const struct strlist *names = names_of(entry);
    buf_adds(out, output_utf8() ? name_display(entry->name, shown) : entry->name);
    if (names->n > 0 && strcmp(names->v[0], entry->name) != 0)
        buf_addf(out, " (%s)", names->v[0]);
    if (names->n > 1)
        buf_addf(out, " +%zu", names->n - 1);
}

static void cell_bar(const struct entry *entry, struct buf *out)
{
    say_life_bar(entry, BAR_CELLS, out);
}

static void cell_left(const struct entry *entry, struct buf *out)
{
    char span[CLOCK_TEXT_BYTES];
    int64_t left_s = entry->info.not_after_s - clock_now_s();
    if (entry->has_info && left_s > 0)
        buf_adds(out, clock_format_span(left_s, span));
    else if (entry->has_info)
        buf_adds(out, "expired");
}

static void cell_expiry(const struct entry *entry, struct buf *out)
{
    if (entry->has_info)
        say_date(out, entry->info.not_after_s, false);
}

enum column {
    COL_NAME,
    COL_KEY,
    COL_CA,
    COL_BAR,
    COL_LEFT,
    COL_EXPIRY,
    COL_RENEWAL,
    COL_RENEWAL_WHY,
    COL_STEP,
    COL_SERVED,
    COLUMNS
};

static const struct {
    const char *title;
    void (*say)(const struct entry *entry, struct buf *out);
    bool is_rest;  /* told in a line below the row when there is no column for it */
    int same_told; /* nor one for this longer form of it; 0 = there is none */
} columns[COLUMNS] = {
    [COL_NAME] = {"CERTIFICATE", cell_name, false, 0},
    [COL_KEY] = {"KEY", say_key, true, 0},
    [COL_CA] = {"CA", say_ca, true, 0},
    [COL_BAR] = {"LIFE", cell_bar, false, 0},
    [COL_LEFT] = {"LEFT", cell_left, false, 0},
    [COL_EXPIRY] = {"EXPIRES", cell_expiry, true, 0},
    [COL_RENEWAL] = {"RENEWAL", say_renewal, true, COL_RENEWAL_WHY},
    [COL_RENEWAL_WHY] = {"RENEWAL", say_renewal_why, false, 0},
    [COL_STEP] = {"SERVED BY", say_step, true, COL_SERVED},
    [COL_SERVED] = {"SERVED BY", say_served, false, 0},
};

#define BIT(column) (1u << (column))
#define FIT_CORE (BIT(COL_NAME) | BIT(COL_BAR) | BIT(COL_LEFT))
/* How the table is fitted into the width: each step gives up a little more. */
static const unsigned fits[] = {
    FIT_CORE | BIT(COL_KEY) | BIT(COL_CA) | BIT(COL_EXPIRY) | BIT(COL_RENEWAL_WHY) | BIT(COL_SERVED),
    FIT_CORE | BIT(COL_KEY) | BIT(COL_CA) | BIT(COL_EXPIRY) | BIT(COL_RENEWAL_WHY) | BIT(COL_STEP),
    FIT_CORE | BIT(COL_KEY) | BIT(COL_CA) | BIT(COL_EXPIRY) | BIT(COL_RENEWAL) | BIT(COL_STEP),
    FIT_CORE | BIT(COL_EXPIRY) | BIT(COL_RENEWAL) | BIT(COL_STEP),
    FIT_CORE | BIT(COL_RENEWAL) | BIT(COL_STEP),
    FIT_CORE | BIT(COL_EXPIRY) | BIT(COL_RENEWAL),
    FIT_CORE | BIT(COL_RENEWAL),
    BIT(COL_NAME) | BIT(COL_LEFT) | BIT(COL_RENEWAL),
    BIT(COL_NAME) | BIT(COL_LEFT),
};

static enum output_style cell_style(const struct entry *entry, int column)
{
    switch (column) {
    case COL_NAME:
        return STYLE_BOLD;
    case COL_KEY:
    case COL_CA:
        return STYLE_DIM;
    case COL_BAR:
        return life_style(entry);
    case COL_LEFT:
    case COL_EXPIRY:
        return entry->health == HEALTH_EXPIRED ? STYLE_BAD : STYLE_PLAIN;
    case COL_RENEWAL:
    case COL_RENEWAL_WHY:
        return entry->health == HEALTH_OVERDUE ? STYLE_CAUTION : STYLE_PLAIN;
    default:
        return entry->health == HEALTH_UNFINISHED ? STYLE_CAUTION : STYLE_PLAIN;
    }
}

/* -- which rows -------------------------------------------------------------------------------------- */

struct rows {
    const struct entry **v;
    size_t n;
    size_t more_troubles, more_well; /* that are left out */
    bool shortened;
};

static int soonest_first(const void *a, const void *b)
{
    const struct entry *one = *(const struct entry *const *)a, *other = *(const struct entry *const *)b;
    if (one->due_s != other->due_s)
        return one->due_s < other->due_s ? -1 : 1;
    return strcmp(one->name, other->name);
}

/* The worst of them, and of those that are well the next that are due. */
static void shorten(const struct entries *entries, struct rows *out)
{
    size_t well = 0, n = entries->n;
    const struct entry **those_well = mem_array(n, sizeof *those_well);
    out->shortened = true;
    for (size_t i = 0; i < n; i++) {
        const struct entry *entry = &entries->v[i];
        if (entry->health == HEALTH_VALID)
            those_well[well++] = entry;
        else if (out->n < TROUBLES_SHOWN)
            out->v[out->n++] = entry;
        else
            out->more_troubles++;
    }
    qsort(those_well, well, sizeof *those_well, soonest_first);
    size_t shown = well < NEXT_SHOWN ? well : NEXT_SHOWN;
    for (size_t i = 0; i < shown; i++)
        out->v[out->n++] = those_well[i];
    out->more_well = well - shown;
    free(those_well);
}

static void choose_rows(const struct entries *entries, bool all, struct rows *out)
{
    *out = (struct rows){.v = mem_array(entries->n + 1, sizeof *out->v)};
    if (!all && entries->n > ROWS_SHOWN_ALL) {
        shorten(entries, out);
        return;
    }
    for (size_t i = 0; i < entries->n; i++)
        out->v[out->n++] = &entries->v[i];
}

/* -- layout ------------------------------------------------------------------------------------------ */

struct layout {
    unsigned shown; /* BIT()s */
    size_t width[COLUMNS];
};

static bool is_shown(const struct layout *layout, int column)
{
    return (layout->shown & BIT(column)) != 0;
}

static size_t total_width(const struct layout *layout)
{
    size_t total = 0;
    for (int c = 0; c < COLUMNS; c++)
        if (is_shown(layout, c))
            total += layout->width[c] + 2;
    return total > 2 ? total - 2 : 0;
}

/* How wide each column would like to be. */
static void measure(const struct rows *rows, struct layout *out)
{
    *out = (struct layout){0};
    for (int c = 0; c < COLUMNS; c++) {
        out->width[c] = strlen(columns[c].title);
        for (size_t i = 0; i < rows->n; i++) {
            AUTO_BUF cell = BUF_INIT;
            columns[c].say(rows->v[i], &cell);
            size_t width = output_width(buf_str(&cell));
            out->width[c] = width > out->width[c] ? width : out->width[c];
        }
    }
}

/* The widest layout that fits. A long name may be cut to more than half before a column is given up. */
static void choose_layout(const struct rows *rows, size_t room, struct layout *out)
{
    measure(rows, out);
    size_t name = out->width[COL_NAME];
    for (size_t i = 0; i < COUNT_OF(fits); i++) {
        out->shown = fits[i];
        size_t total = total_width(out), least = i + 1 < COUNT_OF(fits) ? 30 : NAME_LEAST_COLUMNS;
        size_t over = total > room ? total - room : 0;
        if (over == 0)
            return;
        if (name > over && name - over >= least) {
            out->width[COL_NAME] = name - over;
            return;
        }
    }
    out->width[COL_NAME] = NAME_LEAST_COLUMNS;
}

static bool is_last(const struct layout *layout, int column)
{
    for (int c = column + 1; c < COLUMNS; c++)
        if (is_shown(layout, c))
            return false;
    return true;
}

static void add_cell(struct buf *out, const struct layout *layout, int column, const char *text,
                     enum output_style style)
{
    AUTO_BUF cut = BUF_INIT;
    output_cut(&cut, text, layout->width[column]);
    if (style != STYLE_PLAIN)
        buf_adds(out, output_style(style));
    buf_adds(out, buf_str(&cut));
    if (style != STYLE_PLAIN)
        buf_adds(out, output_style(STYLE_PLAIN));
    if (is_last(layout, column))
        return;
    for (size_t width = output_width(buf_str(&cut)); width < layout->width[column] + 2; width++)
        buf_addc(out, ' ');
}

/* -- rows -------------------------------------------------------------------------------------------- */

/* Text below a row, indented under the name. */
static void add_note(struct buf *out, const char *before, const char *text, enum output_style style)
{
    size_t indent = 4 + output_width(before), width = output_columns();
    buf_adds(out, "    ");
    buf_adds(out, before);
    if (style != STYLE_PLAIN)
        buf_adds(out, output_style(style));
    output_wrap(out, text, indent, indent, width > 0 ? width : SIZE_MAX);
    if (style != STYLE_PLAIN)
        buf_adds(out, output_style(STYLE_PLAIN));
    buf_addc(out, '\n');
}

static void add_troubles(struct buf *out, const struct entry *entry)
{
    struct troubles troubles;
    troubles_of(entry, &troubles);
    for (size_t i = 0; i < troubles.n; i++) {
        add_note(out, "", troubles.v[i].what, STYLE_PLAIN);
        if (troubles.v[i].todo[0] != '\0')
            add_note(out, output_utf8() ? "→ " : "-> ", troubles.v[i].todo, STYLE_PLAIN);
    }
    troubles_clear(&troubles);
}

/* What the width left no column for. */
static void add_rest(struct buf *out, const struct entry *entry, const struct layout *layout)
{
    AUTO_BUF rest = BUF_INIT;
    for (int c = 0; c < COLUMNS; c++) {
        AUTO_BUF cell = BUF_INIT;
        bool longer = columns[c].same_told > 0 && is_shown(layout, columns[c].same_told);
        if (is_shown(layout, c) || longer || !columns[c].is_rest)
            continue;
        columns[c].say(entry, &cell);
        if (cell.len > 0)
            buf_addf(&rest, "%s%s%s", rest.len > 0 ? (output_utf8() ? " · " : " - ") : "",
                     c == COL_RENEWAL  ? "renewal "
                     : c == COL_EXPIRY ? "until "
                                       : "",
                     buf_str(&cell));
    }
    if (rest.len > 0)
        add_note(out, "", buf_str(&rest), STYLE_DIM);
}

static void add_row(struct buf *out, const struct entry *entry, const struct layout *layout)
{
    buf_addf(out, "%s%s%s ", output_style(health_style(entry->health)), health_mark(entry->health),
             output_style(STYLE_PLAIN));
    for (int c = 0; c < COLUMNS; c++) {
        AUTO_BUF cell = BUF_INIT;
        if (!is_shown(layout, c))
            continue;
        columns[c].say(entry, &cell);
        if (cell.len == 0)
            buf_addc(&cell, '-');
        add_cell(out, layout, c, buf_str(&cell), cell_style(entry, c));
    }
    buf_addc(out, '\n');
}

static void add_titles(struct buf *out, const struct layout *layout)
{
    buf_adds(out, "  ");
    for (int c = 0; c < COLUMNS; c++)
        if (is_shown(layout, c))
            add_cell(out, layout, c, columns[c].title, STYLE_DIM);
    buf_addc(out, '\n');
}

static void add_left_out(struct buf *out, const struct rows *rows)
{
    AUTO_BUF text = BUF_INIT;
    if (rows->more_troubles > 0)
        buf_addf(&text, "and %zu more that need attention", rows->more_troubles);
    if (rows->more_well > 0)
        buf_addf(&text, "%sand %zu more, all well", text.len > 0 ? ", " : "", rows->more_well);
    if (text.len == 0)
        return;
    buf_adds(&text, ": tlsup status | less");
    add_note(out, "", buf_str(&text), STYLE_DIM);
}

void status_table(const struct entries *entries, struct buf *out)
{
    struct rows rows;
    struct layout layout;
    size_t width = output_columns() > 0 ? output_columns() : SIZE_MAX;
    choose_rows(entries, width == SIZE_MAX, &rows);
    choose_layout(&rows, width - 2, &layout);
    add_titles(out, &layout);
    for (size_t i = 0; i < rows.n; i++) {
        add_row(out, rows.v[i], &layout);
        /* what is well in a big fleet has one line each */
        if (!rows.shortened || rows.v[i]->health != HEALTH_VALID)
            add_rest(out, rows.v[i], &layout);
        add_troubles(out, rows.v[i]);
    }
    add_left_out(out, &rows);
    free(rows.v);
}

/* -- piped: one line each, of fields without blanks but for the last ---------------------------------- */

static void field_state(const struct entry *entry, struct buf *out)
{
    buf_adds(out, health_word(entry->health));
}

static void field_name(const struct entry *entry, struct buf *out)
{
    buf_adds(out, entry->name);
}

static void field_days(const struct entry *entry, struct buf *out)
{
    int64_t left_s = entry->info.not_after_s - clock_now_s();
    if (entry->has_info)
        buf_addf(out, "%lld", (long long)(left_s / 86400 - (left_s < 0 && left_s % 86400 != 0 ? 1 : 0)));
}

static void add_utc(struct buf *out, int64_t when_s)
{
    char text[CLOCK_TEXT_BYTES];
    buf_adds(out, clock_format_utc(when_s, text));
}

static void field_expiry(const struct entry *entry, struct buf *out)
{
    if (entry->has_info)
        add_utc(out, entry->info.not_after_s);
}

static void field_renewal(const struct entry *entry, struct buf *out)
{
    struct next_renewal next;
    next_of(entry, &next);
    if (next.at_s > 0)
        add_utc(out, next.at_s);
    else if (next.why != NEXT_UNKNOWN)
        buf_adds(out, next.why == NEXT_OVERDUE ? "overdue" : "due");
}

static void field_key(const struct entry *entry, struct buf *out)
{
    AUTO_BUF key = BUF_INIT;
    AUTO_STRLIST words = STRLIST_INIT;
    say_key(entry, &key);
    strlist_split(&words, buf_str(&key), " +");
    AUTO_FREE char *joined = strlist_join(&words, "+");
    buf_adds(out, joined);
}

static void field_served(const struct entry *entry, struct buf *out)
{
    size_t done = 0;
    if (!entry->has_config || !entry->has_info)
        return;
    if (is_installed_by_us(entry))
        buf_addf(out, "%s:%s", web_kind_name(entry->config.install), deploy_step_name(step_of(entry)));
    else
        buf_adds(out, "stored");
    for (size_t i = 0; i < entry->state.n_deployments; i++)
        done += deployment_is_done(&entry->state.deployments[i]) ? 1 : 0;
    if (entry->state.n_deployments > 0)
        buf_addf(out, ",deployed:%zu/%zu", done, entry->state.n_deployments);
}

static void field_names(const struct entry *entry, struct buf *out)
{
    AUTO_FREE char *joined = strlist_join(names_of(entry), ",");
    buf_adds(out, joined);
}

static void field_troubles(const struct entry *entry, struct buf *out)
{
    struct troubles troubles;
    troubles_of(entry, &troubles);
    for (size_t i = 0; i < troubles.n; i++)
        buf_addf(out, "%s%s%s%s", i > 0 ? "; " : "", troubles.v[i].what,
                 troubles.v[i].todo[0] != '\0' ? " -> " : "", troubles.v[i].todo);
    troubles_clear(&troubles);
    for (size_t i = 0; i < out->len; i++)
        if (out->data[i] == '\n' || out->data[i] == '\t')
            out->data[i] = ' ';
}

static const struct {
    const char *title;
    void (*say)(const struct entry *entry, struct buf *out);
} fields[] = {
    {"STATE", field_state},     {"CERTIFICATE", field_name}, {"DAYS", field_days}, {"EXPIRES", field_expiry},
    {"RENEWAL", field_renewal}, {"KEY", field_key},          {"CA", say_ca},       {"SERVED", field_served},
    {"NAMES", field_names},     {"TROUBLE", field_troubles},
};
enum { FIELDS = COUNT_OF(fields) };

static void add_field(struct buf *out, size_t field, const char *text, size_t width, enum output_style style)
{
    buf_adds(out, style != STYLE_PLAIN ? output_style(style) : "");
    buf_adds(out, text);
    buf_adds(out, style != STYLE_PLAIN ? output_style(STYLE_PLAIN) : "");
    if (field + 1 == FIELDS) {
        buf_addc(out, '\n');
        return;
    }
    size_t used = output_width(text);
    for (size_t wanted = (used > width ? used : width) + 2; used < wanted; used++)
        buf_addc(out, ' ');
}

void status_lines(const struct entries *entries, struct buf *out)
{
    struct buf *cells = mem_array((entries->n + 1) * FIELDS, sizeof *cells);
    size_t widths[FIELDS] = {0};
    for (size_t i = 0; i <= entries->n; i++)
        for (size_t f = 0; f < FIELDS; f++) {
            struct buf *cell = &cells[i * FIELDS + f];
            if (i == 0)
                buf_adds(cell, fields[f].title);
            else
                fields[f].say(&entries->v[i - 1], cell);
            /* awk counts fields by blanks, and an empty one would shift the others */
            if (cell->len == 0)
                buf_addc(cell, '-');
            size_t width = output_width(buf_str(cell));
            widths[f] = width > widths[f] ? width : widths[f];
        }
    for (size_t i = 0; i < (entries->n + 1) * FIELDS; i++) {
        /* a list of a hundred names would push the last field out of sight */
        size_t field = i % FIELDS, row = i / FIELDS, width = field + 2 < FIELDS ? widths[field] : 0;
        bool is_state = row > 0 && fields[field].say == field_state;
        add_field(out, field, buf_str(&cells[i]), width,
                  is_state ? health_style(entries->v[row - 1].health) : STYLE_PLAIN);
        buf_clear(&cells[i]);
    }
    free(cells);
}
