/*
 * status.h - what `tlsup status` knows of each certificate: read and judged (status_read.c), told to people
 * (cmd_status.c) and to programs (status_json.c).
 */
#ifndef TLSUP_CLI_STATUS_H
#define TLSUP_CLI_STATUS_H

#include "request.h"
#include "timer.h"
#include "tlsup/store.h"

/* From well to worst: the worst come first. */
enum health {
    HEALTH_VALID,
    HEALTH_PENDING,    /* configured, nothing issued yet */
    HEALTH_INCOMPLETE, /* without some of the names that were asked for */
    HEALTH_UNKNOWN,    /* not for this user to read */
    HEALTH_UNFINISHED, /* issued, but not all the way into the web server */
    HEALTH_OVERDUE,    /* nobody has renewed it in time */
    HEALTH_FAILING,    /* the last attempt failed */
    HEALTH_BROKEN,     /* files that are damaged or do not fit together */
    HEALTH_REVOKED,
    HEALTH_EXPIRED,
};

const char *health_word(enum health health); /* "valid" */

/* All about one certificate, as far as it could be read. */
struct entry {
    char *name;
    char *live_path;
    struct cert_config config;
    struct cert_state state;
    struct cert_info info;
    bool has_config, has_info;
    int version;        /* the live one, 0 = none */
    int64_t due_s;      /* when its renewal is due, 0 = unknown */
    bool due_by_ca;     /* as the CA wants it (RFC 9773), not by our own reckoning */
    struct err problem; /* the first thing that could not be read or does not fit */
    enum health health;
};

struct entries {
    struct entry *v;
    size_t n;
};

/* What cannot be read becomes a part of the entry: one damaged file does not hide the other certificates.
 * `wanted` empty: all. Worst first. */
MUST_CHECK bool status_read(struct store *store, const struct strlist *wanted, struct entries *out,
                            struct err *err);
void entries_clear(struct entries *entries);

bool is_installed_by_us(const struct entry *entry);
bool has_failed(const struct entry *entry);
enum deploy_step step_of(const struct entry *entry); /* that the live version has reached */
const struct strlist *names_of(const struct entry *entry);
int life_percent(const struct entry *entry);
const char *ca_url_of(const struct entry *entry); /* the CA that issued it, or is to issue it */
void say_key(const struct entry *entry, struct buf *out);
void say_ca(const struct entry *entry, struct buf *out);

/* OpenMetrics text of all that is held (status_metrics.c). Appends. */
void status_metrics(const struct entries *entries, const struct timer *timer, const struct run_state *run, struct buf *out);
/* Read the store, and write that to a file for node_exporter's textfile collector: 0644, by a rename. */
MUST_CHECK bool status_write_metrics(struct store *store, const char *path, struct err *err);

void status_print_json(const struct entries *entries, const struct timer *timer);

#endif
