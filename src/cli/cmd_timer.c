/*
 * timer status, timer on, timer off: what calls `tlsup renew`.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "commands.h"
#include "output.h"
#include "status.h"
#include "timer.h"
#include "tlsup/clock.h"
#include "tlsup/mem.h"
#include "tlsup/store.h"

enum {
    HOUR_S = 3600,
    LOST_AFTER_S = 6 * HOUR_S, /* of a timer that runs each hour */
};

static const char *kind_name(enum timer_kind kind)
{
    static const char *const names[] = {
        [TIMER_NONE] = "none", [TIMER_SYSTEMD] = "systemd", [TIMER_CRON] = "cron"};
    return names[kind];
}

/* What the last run of `renew` has left; false when that cannot be told: nothing has run, or we may not read
 * it. `*mended`: what failed in it does so no more. */
static bool last_run(const struct request *request, struct run_state *out, bool *mended)
{
    struct err ignored = ERR_INIT;
    struct store *store = NULL;
    *out = (struct run_state)RUN_STATE_INIT;
    bool ok = store_open(request->config_dir, request->state_dir, STORE_READ, &store, &ignored) &&
              store_run_state_load(store, out, &ignored) && out->began_s > 0;
    *mended = ok && status_is_mended(store, out);
    store_close(store);
    return ok;
}

static json_t *json_instant(int64_t when_s)
{
    char text[CLOCK_TEXT_BYTES];
    return when_s > 0 ? json_string(clock_format_utc(when_s, text)) : json_null();
}

static json_t *json_last_run(const struct run_state *last, bool known)
{
    return known ? json_pack("{s:o, s:o, s:o}", "began", json_instant(last->began_s), "ended",
                             json_instant(last->ended_s), "good", json_instant(last->good_s))
                 : json_null();
}

static void print_json(const struct timer *timer, const struct run_state *last, bool known)
{
    json_t *root = json_pack("{s:i, s:s, s:s, s:b, s:s, s:s, s:o}", "version", 1, "command", "timer status",
                             "kind", kind_name(timer->kind), "active", timer->active, "where", timer->where,
                             "next", timer->next, "last_run", json_last_run(last, known));
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;
    if (text == NULL)
        mem_exhausted();
    output_line("%s", text);
    free(text);
    json_decref(root);
}

static void print(const struct timer *timer)
{
    if (timer->active)
        output_line("%s calls tlsup renew%s%s", timer->where, timer->next[0] != '\0' ? ", next " : "",
                    timer->next);
    else if (timer->kind != TIMER_NONE)
        output_line("%s is there, but is not running: nothing renews by itself", timer->where);
    else
        output_line("nothing calls tlsup renew on this machine");
}

/* How long ago, and how it ended. One that is at it now has not ended either: for an hour it is not called
 * lost. */
static void print_last_run(const struct timer *timer, const struct run_state *last, bool mended)
{
    int64_t ago_s = clock_now_s() - last->began_s;
    AUTO_BUF when = BUF_INIT;
    say_distance(&when, last->began_s);
    if (last->ended_s < last->began_s)
        output_line(ago_s < HOUR_S ? "a run began %s and has not ended yet"
                                   : "the last run began %s and was cut short; the next one goes on",
                    buf_str(&when));
    else if (last->good_s < last->ended_s && mended)
        output_line("the last run was %s; what failed in it is well again", buf_str(&when));
    else if (last->good_s < last->ended_s)
        output_line("the last run was %s; something failed in it: tlsup status", buf_str(&when));
    else
        output_line("the last run was %s; nothing failed in it", buf_str(&when));
    if (timer->active && ago_s > LOST_AFTER_S)
        output_warning("it should have run since then; is it called at all? %s",
                       timer->kind == TIMER_SYSTEMD ? "journalctl -u tlsup.service" : "see the log of cron");
}

static bool show(const struct request *request, struct err *err)
{
    struct timer timer;
    struct run_state last;
    timer_look_for(request->config_dir, request->state_dir, &timer);
    bool mended = false, known = last_run(request, &last, &mended);
    if (request->json)
        print_json(&timer, &last, known);
    else
        print(&timer);
    if (known && !request->json)
        print_last_run(&timer, &last, mended);
    run_state_clear(&last);
    if (timer.active)
        return true;
    err_set(err, ERR_NOT_FOUND, NEXT_REFUSED, "", "certificates are not renewed by themselves");
    return err_advise(err, "sudo tlsup timer on");
}

static bool switch_on(const struct request *request, struct err *err)
{
    struct timer timer;
    bool changed;
    if (!timer_ensure(request->config_dir, request->state_dir, &timer, &changed, err))
        return false;
    output_line("%s%s%s%s", timer.where, changed ? " is on now" : " was on already",
                timer.next[0] != '\0' ? ", next run " : "", timer.next);
    return true;
}

static bool switch_off(const struct request *request, struct err *err)
{
    bool changed;
    if (!timer_off(request->config_dir, request->state_dir, &changed, err))
        return false;
    output_line(changed ? "nothing renews by itself any more" : "nothing renewed by itself before");
    return true;
}

bool cmd_timer(const struct request *request, struct err *err)
{
    switch (request->command) {
    case COMMAND_TIMER_ON:
        return switch_on(request, err);
    case COMMAND_TIMER_OFF:
        return switch_off(request, err);
    default:
        return show(request, err);
    }
}
