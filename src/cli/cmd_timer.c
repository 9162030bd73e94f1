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
#include "timer.h"
#include "tlsup/mem.h"

static const char *kind_name(enum timer_kind kind)
{
    static const char *const names[] = {
        [TIMER_NONE] = "none", [TIMER_SYSTEMD] = "systemd", [TIMER_CRON] = "cron"};
    return names[kind];
}

static void print_json(const struct timer *timer)
{
    json_t *root = json_pack("{s:i, s:s, s:s, s:b, s:s, s:s}", "version", 1, "command", "timer status",
                             "kind", kind_name(timer->kind), "active", timer->active, "where", timer->where,
                             "next", timer->next);
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

static bool show(const struct request *request, struct err *err)
{
    struct timer timer;
    timer_look_for(request->config_dir, request->state_dir, &timer);
    if (request->json)
        print_json(&timer);
    else
        print(&timer);
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
