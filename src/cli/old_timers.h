/*
 * old_timers.h - what renews for another client on this machine: systemd timers, cron files, lines of
 * crontabs.
 */
#ifndef TLSUP_CLI_OLD_TIMERS_H
#define TLSUP_CLI_OLD_TIMERS_H

#include <stdbool.h>
#include <stddef.h>

#include "tlsup/err.h"
#include "tlsup/import.h"

enum old_timer_kind { OLD_TIMER_SYSTEMD, OLD_TIMER_CRON_FILE, OLD_TIMER_CRONTAB };

struct old_timer {
    enum old_timer_kind kind;
    char *where;   /* "certbot.timer", "/etc/cron.d/certbot", "root" (whose crontab) */
    char *line;    /* what it runs, as far as that is known; "" */
    bool mixed;    /* it does other work as well, and is left to a person */
    bool disabled; /* by this run */
    char *undo;    /* how it is switched on again; NULL until it is off */
};
struct old_timers {
    struct old_timer *v;
    size_t n;
};

/* Those that are on. `dir`: the client's directory, whose owner may have a crontab. Appends. */
void old_timers_find(enum import_client client, const char *dir, struct old_timers *out);
/* Switch one off. The work is done below `scratch_dir`. ERR_... with what is left to do by hand; one that is `mixed` is never touched. */
MUST_CHECK bool old_timer_disable(struct old_timer *timer, const char *scratch_dir, struct err *err);
/* "the systemd timer certbot.timer"; the caller frees. */
char *old_timer_describe(const struct old_timer *timer);
const char *old_timer_kind_name(enum old_timer_kind kind); /* "systemd", "cron-file", "crontab" */
void old_timers_clear(struct old_timers *timers);

#endif
