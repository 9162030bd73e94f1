#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "status.h"

#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"
#include "tlsup/policy.h"
#include "tlsup/sandbox.h"
#include "tlsup/store.h"

enum {
    BAR_CELLS = 10,
    NAMES_LEAST_COLUMNS = 20,
    LAPSE_WARNING_S = 30 * 86400, /* before a dns-persist-01 record ends */
};

static const struct {
    const char *word;
    enum output_style style;
    const char *utf8, *ascii; /* marks */
} healths[] = {
    [HEALTH_VALID] = {"valid", STYLE_GOOD, "✓", "+"},
    [HEALTH_PENDING] = {"pending", STYLE_DIM, "·", "-"},
    [HEALTH_INCOMPLETE] = {"incomplete", STYLE_CAUTION, "!", "!"},
    [HEALTH_UNKNOWN] = {"unknown", STYLE_CAUTION, "?", "?"},
    [HEALTH_UNFINISHED] = {"unfinished", STYLE_CAUTION, "!", "!"},
    [HEALTH_OVERDUE] = {"overdue", STYLE_CAUTION, "!", "!"},
    [HEALTH_FAILING] = {"failing", STYLE_CAUTION, "!", "!"},
    [HEALTH_BROKEN] = {"broken", STYLE_BAD, "✗", "x"},
    [HEALTH_REVOKED] = {"revoked", STYLE_BAD, "✗", "x"},
    [HEALTH_EXPIRED] = {"expired", STYLE_BAD, "✗", "x"},
};

const char *health_word(enum health health)
{
    return healths[health].word;
}

static void close_store(struct store **store)
{
    store_close(*store);
}

/* -- in words ---------------------------------------------------------------------------------------- */

/* "in 61 days", "3 days ago" */
static void say_distance(struct buf *out, int64_t when_s)
{
    char span[CLOCK_TEXT_BYTES];
    int64_t left_s = when_s - clock_now_s();
    clock_format_span(left_s, span);
    if (strcmp(span, "now") == 0)
        buf_adds(out, "just now");
    else
        buf_addf(out, left_s >= 0 ? "in %s" : "%s ago", span);
}

/* "2026-11-22" or "2026-11-22 14:05 UTC" */
static void say_date(struct buf *out, int64_t when_s, bool with_time)
{
    char text[CLOCK_TEXT_BYTES];
    clock_format_utc(when_s, text);
    if (strlen(text) < strlen("2026-11-22T14:05"))
        buf_adds(out, text);
    else if (with_time)
        buf_addf(out, "%.10s %.5s UTC", text, text + 11);
    else
        buf_addf(out, "%.10s", text);
}

static void say_names(const struct entry *entry, struct buf *out)
{
    char shown[2 * NAME_MAX_BYTES + 4];
    const struct strlist *names = names_of(entry);
    for (size_t i = 0; i < names->n; i++)
        buf_addf(out, "%s%s", i > 0 ? ", " : "",
                 output_utf8() ? name_display(names->v[i], shown) : names->v[i]);
}

static void say_name(const struct entry *entry, struct buf *out)
{
    buf_adds(out, entry->name);
}

static void say_state(const struct entry *entry, struct buf *out)
{
    buf_adds(out, healths[entry->health].word);
}

static void say_time_left(const struct entry *entry, struct buf *out)
{
    if (entry->has_info)
        say_distance(out, entry->info.not_after_s);
}

static void say_expiry(const struct entry *entry, struct buf *out)
{
    if (!entry->has_info)
        return;
    say_date(out, entry->info.not_after_s, false);
    buf_adds(out, ", ");
    say_distance(out, entry->info.not_after_s);
}

static unsigned bar_filled(const struct entry *entry)
{
    return (unsigned)((life_percent(entry) * BAR_CELLS + 50) / 100);
}

static void say_life(const struct entry *entry, struct buf *out)
{
    if (!entry->has_info)
        return;
    if (output_columns() == 0) {
        buf_addf(out, "%d%%", life_percent(entry));
        return;
    }
    for (unsigned i = 0; i < BAR_CELLS; i++)
        buf_adds(out, i < bar_filled(entry) ? (output_utf8() ? "━" : "#") : (output_utf8() ? "─" : "."));
}

static void say_renewal(const struct entry *entry, struct buf *out)
{
    int64_t now_s = clock_now_s(), when_s = entry->due_s;
    if (!entry->has_info && entry->state.next_try_s == 0)
        return;
    if (entry->state.next_try_s > when_s)
        when_s = entry->state.next_try_s;
    if (when_s > now_s)
        say_distance(out, when_s);
    else
        buf_adds(out, entry->health == HEALTH_OVERDUE ? "overdue" : "due");
}

/* The file of the first site that it is in, and how many more there are: "(default:22 +1)". */
static void say_place(const struct entry *entry, struct buf *out)
{
    const struct strlist *places = &entry->state.places;
    if (!is_installed_by_us(entry) || places->n == 0)
        return;
    AUTO_FREE char *place = mem_dup(places->v[0]);
    printable(place);
    const char *slash = strrchr(place, '/');
    buf_addf(out, " (%s", slash != NULL ? slash + 1 : place);
    if (places->n > 1)
        buf_addf(out, " +%zu", places->n - 1);
    buf_addc(out, ')');
}

/* "nginx, proven": where it is served and how far it has come. */
static void say_step(const struct entry *entry, struct buf *out)
{
    static const char *const steps[] = {
        [DEPLOY_NONE] = "not known",         [DEPLOY_ISSUED] = "not installed",
        [DEPLOY_INSTALLED] = "not reloaded", [DEPLOY_RELOADED] = "not proven",
        [DEPLOY_VERIFIED] = "proven",
    };
    if (!entry->has_config || !entry->has_info)
        return;
    if (entry->config.install == WEB_NONE)
        buf_adds(out, "stored only");
    else
        buf_addf(out, "%s, %s", web_kind_name(entry->config.install), steps[step_of(entry)]);
}

static void say_served(const struct entry *entry, struct buf *out)
{
    say_step(entry, out);
    if (entry->has_info)
        say_place(entry, out);
}

static bool lapses_soon(const struct entry *entry)
{
    return entry->state.persist_until_s != 0 &&
           entry->state.persist_until_s - clock_now_s() < LAPSE_WARNING_S;
}

/* What is wrong, in a sentence; empty when nothing is. */
static void say_problem(const struct entry *entry, struct buf *out)
{
    const struct err *what = &entry->problem;
    if (err_isset(what)) {
        buf_adds(out, what->text);
        return;
    }
    what = &entry->state.last_error;
    if (has_failed(entry)) {
        buf_adds(out, "the last attempt");
        if (entry->state.failed_s > 0) {
            buf_adds(out, ", ");
            say_distance(out, entry->state.failed_s);
            buf_adds(out, ",");
        }
        buf_adds(out, " failed");
        if (entry->state.failures > 1)
            buf_addf(out, " (%d in a row)", entry->state.failures);
        if (what->subject[0] != '\0' && strstr(what->text, what->subject) == NULL)
            buf_addf(out, ": %s", what->subject);
        if (what->text[0] != '\0')
            buf_addf(out, ": %s", what->text);
    } else if (entry->health == HEALTH_PENDING) {
        buf_adds(out, "configured, not issued yet");
    } else if (entry->health == HEALTH_REVOKED) {
        buf_adds(out, "it was revoked, and is to be replaced");
    } else if (entry->state.missing.n > 0) {
        AUTO_FREE char *missing = strlist_join(&entry->state.missing, " ");
        buf_addf(out, "without %s, tried again ", missing);
        say_distance(out, entry->state.missing_try_s);
    } else if (lapses_soon(entry)) {
        buf_adds(out, "its dns-persist-01 record ends ");
        say_distance(out, entry->state.persist_until_s);
    }
}

/* What a person may do about it; empty when there is nothing. */
static void say_advice(const struct entry *entry, struct buf *out)
{
    const char *given = err_isset(&entry->problem) ? entry->problem.advice : entry->state.last_error.advice;
    if (entry->health == HEALTH_VALID && lapses_soon(entry))
        buf_adds(out, "publish it anew with a later persistUntil, or without one");
    if (entry->health == HEALTH_VALID)
        return;
    if (given[0] != '\0')
        buf_adds(out, given);
    else if (entry->health == HEALTH_UNFINISHED)
        buf_addf(out, "finish it: sudo tlsup install %s", entry->name);
    else if (entry->health != HEALTH_UNKNOWN && entry->health != HEALTH_INCOMPLETE && entry->has_config)
        buf_addf(out, "try it now: sudo tlsup renew %s%s", entry->name,
                 entry->health == HEALTH_BROKEN ? " --force-renewal" : "");
}

/* -- the table --------------------------------------------------------------------------------------- */

enum column {
    COL_STATE,
    COL_NAME,
    COL_NAMES,
    COL_KEY,
    COL_CA,
    COL_EXPIRY,    /* date and distance */
    COL_TIME_LEFT, /* distance alone */
    COL_LIFE,
    COL_RENEWAL,
    COL_SERVED,
    COL_COUNT
};

static const struct {
    const char *title;
    void (*say)(const struct entry *entry, struct buf *out);
    bool is_rest; /* told in a line below the row when there is no column for it */
} columns[COL_COUNT] = {
    [COL_STATE] = {"STATE", say_state, false},
    [COL_NAME] = {"CERTIFICATE", say_name, false},
    [COL_NAMES] = {"NAMES", say_names, true},
    [COL_KEY] = {"KEY", say_key, true},
    [COL_CA] = {"CA", say_ca, true},
    [COL_EXPIRY] = {"EXPIRES", say_expiry, false},
    [COL_TIME_LEFT] = {"EXPIRES", say_time_left, false},
    [COL_LIFE] = {"LIFE", say_life, false},
    [COL_RENEWAL] = {"RENEWAL", say_renewal, true},
    [COL_SERVED] = {"SERVED BY", say_served, true},
};

#define BIT(column) (1u << (column))
/* How the table is fitted into the width: each step gives up a little more. */
static const unsigned fits[] = {
    BIT(COL_NAME) | BIT(COL_NAMES) | BIT(COL_KEY) | BIT(COL_CA) | BIT(COL_EXPIRY) | BIT(COL_LIFE) |
        BIT(COL_RENEWAL) | BIT(COL_SERVED),
    BIT(COL_NAME) | BIT(COL_NAMES) | BIT(COL_EXPIRY) | BIT(COL_LIFE) | BIT(COL_RENEWAL) | BIT(COL_SERVED),
    BIT(COL_NAME) | BIT(COL_EXPIRY) | BIT(COL_LIFE) | BIT(COL_RENEWAL) | BIT(COL_SERVED),
    BIT(COL_NAME) | BIT(COL_TIME_LEFT) | BIT(COL_LIFE) | BIT(COL_RENEWAL) | BIT(COL_SERVED),
    BIT(COL_NAME) | BIT(COL_TIME_LEFT) | BIT(COL_RENEWAL),
    BIT(COL_NAME) | BIT(COL_TIME_LEFT),
};
/* For other programs: everything, uncut. */
static const unsigned fit_piped = (BIT(COL_COUNT) - 1) & ~BIT(COL_TIME_LEFT);

struct layout {
    unsigned shown; /* BIT()s */
    size_t width[COL_COUNT];
};

static bool is_shown(const struct layout *layout, int column)
{
    return (layout->shown & BIT(column)) != 0;
}

static size_t total_width(const struct layout *layout)
{
    size_t total = 0;
    for (int c = 0; c < COL_COUNT; c++)
        if (is_shown(layout, c))
            total += layout->width[c] + 2;
    return total;
}

static void measure(const struct entries *entries, unsigned shown, struct layout *out)
{
    *out = (struct layout){.shown = shown};
    for (int c = 0; c < COL_COUNT; c++) {
        out->width[c] = strlen(columns[c].title);
        for (size_t i = 0; i < entries->n; i++) {
            AUTO_BUF cell = BUF_INIT;
            columns[c].say(&entries->v[i], &cell);
            size_t width = output_width(buf_str(&cell));
            out->width[c] = width > out->width[c] ? width : out->width[c];
        }
    }
}

/* The widest layout that fits; the names may be cut, as they are told in full elsewhere. */
static void choose_layout(const struct entries *entries, size_t room, struct layout *out)
{
    for (size_t i = 0; i < COUNT_OF(fits); i++) {
        measure(entries, fits[i], out);
        size_t total = total_width(out);
        if (total <= room)
            return;
        size_t over = total - room;
        if (is_shown(out, COL_NAMES) && out->width[COL_NAMES] >= NAMES_LEAST_COLUMNS + over) {
            out->width[COL_NAMES] -= over;
            return;
        }
    }
    size_t over = total_width(out) - room;
    out->width[COL_NAME] = out->width[COL_NAME] > over + 8 ? out->width[COL_NAME] - over : 8;
}

static bool is_last(const struct layout *layout, int column)
{
    for (int c = column + 1; c < COL_COUNT; c++)
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

static enum output_style style_of(const struct entry *entry, int column)
{
    switch (column) {
    case COL_NAME:
        return STYLE_BOLD;
    case COL_NAMES:
    case COL_KEY:
    case COL_CA:
        return STYLE_DIM;
    case COL_EXPIRY:
    case COL_TIME_LEFT:
        return entry->health == HEALTH_EXPIRED ? STYLE_BAD : STYLE_PLAIN;
    case COL_LIFE:
        return entry->health == HEALTH_EXPIRED                                      ? STYLE_BAD
               : entry->health == HEALTH_OVERDUE || entry->health == HEALTH_FAILING ? STYLE_CAUTION
                                                                                    : STYLE_GOOD;
    case COL_RENEWAL:
        return entry->health == HEALTH_OVERDUE ? STYLE_CAUTION : STYLE_PLAIN;
    case COL_SERVED:
        return entry->health == HEALTH_UNFINISHED ? STYLE_CAUTION : STYLE_PLAIN;
    default:
        return STYLE_PLAIN;
    }
}

static void add_mark(struct buf *out, const struct entry *entry)
{
    buf_addf(out, "%s%s%s ", output_style(healths[entry->health].style),
             output_utf8() ? healths[entry->health].utf8 : healths[entry->health].ascii,
             output_style(STYLE_PLAIN));
}

/* Text below a row, indented under the name. */
static void add_note(struct buf *out, const char *before, const char *text, enum output_style style)
{
    size_t indent = 4 + output_width(before), width = output_columns();
    buf_adds(out, "    ");
    buf_adds(out, before);
    if (style != STYLE_PLAIN)
        buf_adds(out, output_style(style));
    /* piped, a line stays one, for grep */
    output_wrap(out, text, indent, indent, width > 0 ? width : SIZE_MAX);
    if (style != STYLE_PLAIN)
        buf_adds(out, output_style(STYLE_PLAIN));
    buf_addc(out, '\n');
}

static void add_problem(struct buf *out, const struct entry *entry)
{
    AUTO_BUF problem = BUF_INIT, advice = BUF_INIT;
    say_problem(entry, &problem);
    say_advice(entry, &advice);
    if (problem.len > 0)
        add_note(out, "", buf_str(&problem), STYLE_PLAIN);
    if (advice.len > 0)
        add_note(out, output_utf8() ? "→ " : "-> ", buf_str(&advice), STYLE_PLAIN);
}

/* What the width left no column for. */
static void add_rest(struct buf *out, const struct entry *entry, const struct layout *layout)
{
    AUTO_BUF rest = BUF_INIT;
    for (int c = 0; c < COL_COUNT; c++) {
        AUTO_BUF cell = BUF_INIT;
        if (is_shown(layout, c) || !columns[c].is_rest)
            continue;
        columns[c].say(entry, &cell);
        if (cell.len == 0 || (c == COL_NAMES && strcmp(buf_str(&cell), entry->name) == 0))
            continue;
        buf_addf(&rest, "%s%s%s", rest.len > 0 ? (output_utf8() ? " · " : " - ") : "",
                 c == COL_RENEWAL ? "renewal " : "", buf_str(&cell));
    }
    if (rest.len > 0)
        add_note(out, "", buf_str(&rest), STYLE_DIM);
}

static void add_row(struct buf *out, const struct entry *entry, const struct layout *layout)
{
    for (int c = 0; c < COL_COUNT; c++) {
        AUTO_BUF cell = BUF_INIT;
        if (!is_shown(layout, c))
            continue;
        columns[c].say(entry, &cell);
        /* awk counts fields by blanks, and an empty one would shift the others */
        if (cell.len == 0)
            buf_addc(&cell, '-');
        add_cell(out, layout, c, buf_str(&cell), style_of(entry, c));
    }
    buf_addc(out, '\n');
}

static void add_titles(struct buf *out, const struct layout *layout)
{
    for (int c = 0; c < COL_COUNT; c++)
        if (is_shown(layout, c))
            add_cell(out, layout, c, columns[c].title, STYLE_DIM);
    buf_addc(out, '\n');
}

static void add_table(struct buf *out, const struct entries *entries)
{
    struct layout layout;
    choose_layout(entries, output_columns() - 2, &layout);
    buf_adds(out, "  ");
    add_titles(out, &layout);
    for (size_t i = 0; i < entries->n; i++) {
        const struct entry *entry = &entries->v[i];
        add_mark(out, entry);
        add_row(out, entry, &layout);
        add_rest(out, entry, &layout);
        add_problem(out, entry);
    }
}

static void add_piped(struct buf *out, const struct entries *entries)
{
    struct layout layout;
    measure(entries, fit_piped, &layout);
    add_titles(out, &layout);
    for (size_t i = 0; i < entries->n; i++)
        add_row(out, &entries->v[i], &layout);
    for (size_t i = 0; i < entries->n; i++) {
        const struct entry *entry = &entries->v[i];
        AUTO_BUF problem = BUF_INIT;
        add_problem(&problem, entry);
        if (problem.len > 0)
            buf_addf(out, "\n%s:\n%s", entry->name, buf_str(&problem));
    }
}

/* -- one certificate at length ----------------------------------------------------------------------- */

static void add_field(struct buf *out, const char *label, const char *text)
{
    enum { LABEL_COLUMNS = 14 };
    if (text[0] == '\0')
        return;
    buf_addf(out, "  %s%-*s%s", output_style(STYLE_DIM), LABEL_COLUMNS, label, output_style(STYLE_PLAIN));
    output_wrap(out, text, LABEL_COLUMNS + 2, LABEL_COLUMNS + 2,
                output_columns() > 0 ? output_columns() : SIZE_MAX);
    buf_addc(out, '\n');
}

static void add_said(struct buf *out, const char *label, void (*say)(const struct entry *, struct buf *),
                     const struct entry *entry)
{
    AUTO_BUF text = BUF_INIT;
    say(entry, &text);
    add_field(out, label, buf_str(&text));
}

static void say_expiry_exactly(const struct entry *entry, struct buf *out)
{
    if (!entry->has_info)
        return;
    say_date(out, entry->info.not_after_s, true);
    buf_adds(out, ", ");
    say_distance(out, entry->info.not_after_s);
    buf_addf(out, " (%d%% of its life used)", life_percent(entry));
}

static void say_renewal_exactly(const struct entry *entry, struct buf *out)
{
    if (entry->due_s > 0) {
        buf_adds(out, "due ");
        say_date(out, entry->due_s, true);
        buf_adds(out, ", ");
        say_distance(out, entry->due_s);
        buf_adds(out, entry->due_by_ca ? ", as the CA wants it" : "");
    }
    if (entry->state.next_try_s > clock_now_s()) {
        buf_adds(out, entry->due_s > 0 ? "; next try " : "next try ");
        say_distance(out, entry->state.next_try_s);
    }
}

static void say_ca_exactly(const struct entry *entry, struct buf *out)
{
    say_ca(entry, out);
    buf_addf(out, ", %s", ca_url_of(entry));
}

static void say_served_exactly(const struct entry *entry, struct buf *out)
{
    say_step(entry, out);
    if (is_installed_by_us(entry) && step_of(entry) == DEPLOY_VERIFIED && entry->state.verified_s > 0) {
        buf_adds(out, " ");
        say_distance(out, entry->state.verified_s);
    }
}

/* FILE:LINE of every site, one a line. */
static void add_places(struct buf *out, const struct entry *entry)
{
    for (size_t i = 0; is_installed_by_us(entry) && i < entry->state.places.n; i++) {
        AUTO_FREE char *place = mem_dup(entry->state.places.v[i]);
        printable(place);
        add_field(out, i == 0 ? "installed in" : "", place);
    }
}

static void add_live_file(struct buf *out, const char *label, const struct entry *entry, const char *file)
{
    AUTO_FREE char *path = fs_join(entry->live_path, file);
    if (entry->version > 0)
        add_field(out, label, path);
}

static void add_page(struct buf *out, const struct entry *entry)
{
    AUTO_BUF problem = BUF_INIT, advice = BUF_INIT;
    say_problem(entry, &problem);
    say_advice(entry, &advice);
    add_mark(out, entry);
    buf_addf(out, "%s%s%s: %s%s%s\n", output_style(STYLE_BOLD), entry->name, output_style(STYLE_PLAIN),
             output_style(healths[entry->health].style), healths[entry->health].word,
             output_style(STYLE_PLAIN));
    add_field(out, "problem", buf_str(&problem));
    add_field(out, "what to do", buf_str(&advice));
    add_said(out, "names", say_names, entry);
    add_said(out, "expires", say_expiry_exactly, entry);
    add_said(out, "renewal", say_renewal_exactly, entry);
    add_said(out, "served by", say_served_exactly, entry);
    add_places(out, entry);
    add_said(out, "CA", say_ca_exactly, entry);
    add_field(out, "account", entry->state.issued_account);
    add_field(out, "explanation", entry->state.ari.explanation_url);
    add_field(out, "issuer", entry->info.issuer);
    add_said(out, "key", say_key, entry);
    add_field(out, "serial", entry->info.serial);
    add_live_file(out, "certificate", entry, "fullchain.pem");
    if (entry->has_config && entry->config.key != NULL)
        add_field(out, "private key", "on a token");
    else if (entry->has_config && entry->config.csr != NULL)
        add_field(out, "request", entry->config.csr);
    else
        add_live_file(out, "private key", entry, "privkey.pem");
    if (entry->has_config && entry->config.dual) {
        bool rsa = strncmp(key_type_name(entry->config.second_key_type), "rsa", 3) == 0;
        add_live_file(out, "second", entry, rsa ? "fullchain-rsa.pem" : "fullchain-ecdsa.pem");
        add_live_file(out, "", entry, rsa ? "privkey-rsa.pem" : "privkey-ecdsa.pem");
    }
}

/* -- renewals in general ----------------------------------------------------------------------------- */

/* A sentence below the table, within the terminal's width. */
static void add_sentence(struct buf *out, const char *text)
{
    size_t width = output_columns();
    if (width > 0)
        output_wrap(out, text, 0, 0, width);
    else
        buf_adds(out, text);
    buf_addc(out, '\n');
}

static void add_timer(struct buf *out, const struct timer *timer)
{
    AUTO_BUF text = BUF_INIT;
    if (timer->active)
        buf_addf(&text, "Renewals are started by %s%s%s.", timer->where,
                 timer->next[0] != '\0' ? ", next " : "", timer->next);
    else if (timer->kind == TIMER_SYSTEMD)
        buf_addf(&text, "%s does not run, so nothing is renewed by itself: sudo systemctl enable --now %s",
                 timer->where, timer->where);
    else if (timer->kind == TIMER_CRON)
        buf_addf(&text, "%s is there, but no cron daemon runs, so nothing is renewed by itself.",
                 timer->where);
    else
        buf_adds(&text, "No timer runs tlsup renew here; enable and issue set one up.");
    add_sentence(out, buf_str(&text));
}

/* How the children are kept apart on this machine. */
static void add_privileges(struct buf *out)
{
    char how[256];
    AUTO_BUF text = BUF_INIT;
    buf_addf(&text, "Privileges: %s.", sandbox_describe(how));
    add_sentence(out, buf_str(&text));
}

/* -- the command ------------------------------------------------------------------------------------- */

static void print_text(const struct request *request, const struct entries *entries,
                       const struct timer *timer)
{
    AUTO_BUF out = BUF_INIT;
    bool at_length = request->arguments.n > 0 || request->log_level >= LOG_LEVEL_INFO;
    if (entries->n == 0)
        buf_adds(&out, "No certificates yet. To get one and turn HTTPS on:\n\n"
                       "  sudo tlsup enable example.org www.example.org\n");
    for (size_t i = 0; at_length && i < entries->n; i++) {
        buf_adds(&out, i > 0 ? "\n" : "");
        add_page(&out, &entries->v[i]);
    }
    if (!at_length && entries->n > 0 && output_columns() > 0)
        add_table(&out, entries);
    else if (!at_length && entries->n > 0)
        add_piped(&out, entries);
    if (entries->n > 0) {
        buf_addc(&out, '\n');
        add_timer(&out, timer);
    }
    if (request->log_level >= LOG_LEVEL_INFO) {
        buf_adds(&out, entries->n > 0 ? "" : "\n");
        add_privileges(&out);
    }
    fwrite(buf_str(&out), 1, out.len, stdout);
}

bool cmd_status(const struct request *request, struct err *err)
{
    CLEANUP(entries_clear) struct entries entries = {0};
    CLEANUP(close_store) struct store *store = NULL;
    struct timer timer;
    if (!store_open(request->config_dir, request->state_dir, STORE_READ, &store, err) ||
        !status_read(store, &request->arguments, &entries, err))
        return false;
    timer_look_for(request->config_dir, request->state_dir, &timer);
    if (request->json)
        status_print_json(&entries, &timer);
    else if (!request->quiet)
        print_text(request, &entries, &timer);
    if (fflush(stdout) != 0 || ferror(stdout))
        return err_errno(err, errno, "", "cannot write to standard output");
    return true;
}
