#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "output.h"
#include "status.h"

#include "tlsup/clock.h"
#include "tlsup/sandbox.h"

enum { SILENT_S = 2 * 86400 /* a run is expected every hour: after this long something is wrong */ };

static void close_store(struct store **store)
{
    store_close(*store);
}

/* What is above and below the certificates. */
struct status {
    const struct request *request;
    struct entries entries;
    struct timer timer;
    struct run_state run;
    bool has_run; /* it could be read */
    bool mended;  /* what failed in it does so no more */
};

static void status_clear(struct status *status)
{
    entries_clear(&status->entries);
    run_state_clear(&status->run);
}

/* -- renewals in general ----------------------------------------------------------------------------- */

/* A sentence below the table, within the terminal's width. */
static void add_sentence(struct buf *out, enum output_style style, const char *text)
{
    size_t width = output_columns();
    buf_adds(out, style != STYLE_PLAIN ? output_style(style) : "");
    if (width > 0)
        output_wrap(out, text, 0, 0, width);
    else
        buf_adds(out, text);
    buf_adds(out, style != STYLE_PLAIN ? output_style(STYLE_PLAIN) : "");
    buf_addc(out, '\n');
}

/* What to do about it, in a line of its own on a terminal, so that it can be copied. */
static void add_todo(struct buf *out, const char *command)
{
    if (output_columns() > 0)
        buf_addf(out, "  %s %s\n", output_utf8() ? "→" : "->", command);
    else
        buf_addf(out, "  -> %s\n", command);
}

static void add_timer(struct buf *out, const struct timer *timer)
{
    AUTO_BUF text = BUF_INIT;
    if (timer->active)
        buf_addf(&text, "Renewals are started by %s%s%s.", timer->where,
                 timer->next[0] != '\0' ? ", next " : "", timer->next);
    else if (timer->kind == TIMER_SYSTEMD)
        buf_addf(&text, "%s does not run, so nothing is renewed by itself.", timer->where);
    else if (timer->kind == TIMER_CRON)
        buf_addf(&text, "%s is there, but no cron daemon runs, so nothing is renewed by itself.",
                 timer->where);
    else
        buf_adds(&text, "Nothing runs tlsup renew here, so nothing is renewed by itself.");
    add_sentence(out, timer->active ? STYLE_PLAIN : STYLE_BAD, buf_str(&text));
    if (!timer->active)
        add_todo(out, timer->kind == TIMER_CRON ? "start cron: sudo systemctl enable --now cron"
                                                : "sudo tlsup timer on");
}

/* Has it been quiet for too long? Where nothing has ever run, since the first certificate was issued. */
static bool is_silent(const struct status *status)
{
    int64_t since_s = status->run.began_s;
    for (size_t i = 0; status->run.began_s == 0 && i < status->entries.n; i++) {
        int64_t issued_s = status->entries.v[i].state.issued_s;
        if (issued_s != 0 && (since_s == 0 || issued_s < since_s))
            since_s = issued_s;
    }
    return since_s != 0 && clock_now_s() - since_s > SILENT_S;
}

static const char *where_to_look(const struct timer *timer)
{
    return !timer->active                 ? "sudo tlsup renew"
           : timer->kind == TIMER_SYSTEMD ? "see why: journalctl -u tlsup.service"
                                          : "see why in the cron daemon's log";
}

static void add_last_run(struct buf *out, const struct status *status)
{
    const struct run_state *run = &status->run;
    AUTO_BUF text = BUF_INIT;
    bool ended = run->ended_s >= run->began_s, good = ended && run->good_s >= run->began_s;
    bool silent = is_silent(status), mended = ended && status->mended;
    if (run->began_s == 0 && !silent)
        return; /* there has been no time for one */
    if (run->began_s == 0) {
        buf_adds(&text, "There has been no run of tlsup renew yet");
    } else {
        buf_adds(&text, "The last run was ");
        say_distance(&text, run->began_s);
        buf_adds(&text, good     ? ", without a failure"
                        : !ended ? ", and it has not ended"
                        : mended ? "; what failed in it is well again"
                                 : ", and something failed in it");
        if (ended && !good && !mended && run->good_s > 0) {
            buf_adds(&text, "; the last without a failure ended ");
            say_distance(&text, run->good_s);
        }
    }
    buf_adds(&text, silent ? "; there should be one every hour." : ".");
    add_sentence(out, silent ? STYLE_BAD : good || mended ? STYLE_PLAIN : STYLE_CAUTION, buf_str(&text));
    if (silent)
        add_todo(out, where_to_look(&status->timer));
}

/* Hooks before and after a run belong to no single certificate. */
static void add_hook_debts(struct buf *out, const struct run_state *run)
{
    for (size_t i = 0; i < run->n_debts; i++) {
        const struct hook_debt *debt = &run->debts[i];
        AUTO_BUF text = BUF_INIT;
        buf_addf(&text, "The %s hook %s failed ", debt->post ? "post" : "pre", debt->program);
        say_distance(&text, debt->failed_s);
        if (debt->last_error.text[0] != '\0')
            buf_addf(&text, ": %s", debt->last_error.text);
        add_sentence(out, STYLE_CAUTION, buf_str(&text));
    }
}

/* How the children are kept apart on this machine. */
static void add_privileges(struct buf *out)
{
    char how[256];
    AUTO_BUF text = BUF_INIT;
    buf_addf(&text, "Privileges: %s.", sandbox_describe(how));
    add_sentence(out, STYLE_PLAIN, buf_str(&text));
}

/* -- the command ------------------------------------------------------------------------------------- */

static bool at_length(const struct request *request)
{
    return request->arguments.n > 0 || request->log_level >= LOG_LEVEL_INFO;
}

static enum output_style sum_style(const struct entries *entries)
{
    for (size_t i = 0; i < entries->n; i++)
        if (health_is_trouble(entries->v[i].health))
            return health_style(entries->v[0].health);
    return STYLE_GOOD;
}

static void add_sum(struct buf *out, const struct entries *entries)
{
    AUTO_BUF sum = BUF_INIT;
    status_sum(entries, &sum);
    add_sentence(out, sum_style(entries), buf_str(&sum));
}

static void add_certificates(struct buf *out, const struct status *status)
{
    const struct entries *entries = &status->entries;
    bool terminal = output_columns() > 0;
    if (at_length(status->request)) {
        for (size_t i = 0; i < entries->n; i++) {
            buf_adds(out, i > 0 ? "\n" : "");
            status_page(&entries->v[i], out);
        }
        return;
    }
    if (terminal) {
        add_sum(out, entries);
        buf_addc(out, '\n');
        status_table(entries, out);
    } else {
        status_lines(entries, out);
    }
}

static void print_text(const struct status *status)
{
    AUTO_BUF out = BUF_INIT;
    const struct request *request = status->request;
    bool some = status->entries.n > 0;
    if (some)
        add_certificates(&out, status);
    else
        buf_adds(&out, "No certificates yet. To get one and turn HTTPS on:\n\n"
                       "  sudo tlsup enable example.org www.example.org\n");
    if (some)
        buf_addc(&out, '\n');
    if (some && !at_length(request) && output_columns() == 0)
        add_sum(&out, &status->entries);
    if (some)
        add_timer(&out, &status->timer);
    if (some && status->has_run) {
        add_last_run(&out, status);
        add_hook_debts(&out, &status->run);
    }
    if (request->log_level >= LOG_LEVEL_INFO) {
        buf_adds(&out, some ? "" : "\n");
        add_privileges(&out);
    }
    fwrite(buf_str(&out), 1, out.len, stdout);
}

static void print_metrics(const struct status *status)
{
    AUTO_BUF out = BUF_INIT;
    status_metrics(&status->entries, &status->timer, status->has_run ? &status->run : NULL, &out);
    fwrite(buf_str(&out), 1, out.len, stdout);
}

static void print(const struct status *status)
{
    const struct request *request = status->request;
    if (request->json)
        status_print_json(&status->entries, &status->timer, status->has_run ? &status->run : NULL);
    else if (request->metrics)
        print_metrics(status);
    else if (!request->quiet)
        print_text(status);
}

bool cmd_status(const struct request *request, struct err *err)
{
    CLEANUP(status_clear) struct status status = {.request = request};
    CLEANUP(close_store) struct store *store = NULL;
    struct err unreadable = ERR_INIT;
    unsigned what = request->metrics ? 0 : at_length(request) ? STATUS_KEYS | STATUS_DETAILS : STATUS_KEYS;
    if (!store_open(request->config_dir, request->state_dir, STORE_READ, &store, err) ||
        !status_read_as(store, &request->arguments, what, &status.entries, err))
        return false;
    status.has_run = store_run_state_load(store, &status.run, &unreadable); /* root's alone */
    status.mended = status.has_run && status_is_mended(store, &status.run);
    timer_look_for(request->config_dir, request->state_dir, &status.timer);
    print(&status);
    if (fflush(stdout) != 0 || ferror(stdout))
        return err_errno(err, errno, "", "cannot write to standard output");
    return true;
}
