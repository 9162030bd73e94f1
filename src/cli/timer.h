/*
 * timer.h - who calls `tlsup renew` each hour: a systemd timer, else a cron file. Never two of them.
 */
#ifndef TLSUP_CLI_TIMER_H
#define TLSUP_CLI_TIMER_H

#include <stdbool.h>

#include "tlsup/err.h"

enum timer_kind { TIMER_NONE, TIMER_SYSTEMD, TIMER_CRON };

struct timer {
    enum timer_kind kind;
    bool active;     /* it is there and enabled */
    char where[256]; /* "tlsup.timer", "/etc/cron.d/tlsup" */
    char next[64];   /* when it runs next, in words, "" = unknown */
};

/* What is there now for the built-in directories. Cron counts as active only while a cron daemon runs. */
void timer_look(struct timer *out);
/* The same for a store in directories of its own: its timer has a name of its own ("tlsup-srv-tls.timer"), so
 * that one store never takes the timer of another. */
void timer_look_for(const char *config_dir, const char *state_dir, struct timer *out);
/* See to it that one is active: systemd where it runs (/run/systemd/system) and tlsup.timer is installed or
 * can be written below /etc/systemd/system; else /etc/cron.d/tlsup when a cron daemon is installed. As a user
 * other than root, or where neither is to be had: an error whose advice is the crontab line to add. `changed`
 * tells whether something was done. config_dir and state_dir go into the command line when they are not the
 * built-in ones. A unit or a cron file that an older version wrote is brought up to date; what others wrote is left as it is. Success means that it is really active: a cron file without a running cron daemon, or a unit
 * that systemd does not start, is an error. */
MUST_CHECK bool timer_ensure(const char *config_dir, const char *state_dir, struct timer *out, bool *changed,
                             struct err *err);

/* Switch off what timer_ensure() switches on, systemd's and cron's; `changed` tells whether something was. A cron file that
 * is not ours is an error that names it. */
MUST_CHECK bool timer_off(const char *config_dir, const char *state_dir, bool *changed, struct err *err);

/* Tests: every path, and systemctl, is looked for below this directory; NULL = the machine itself. The text
 * is not copied. */
void timer_set_root(const char *root);

#endif
