/*
 * status.h - what `tlsup status` knows of each certificate: read, judged, and told to people and to programs.
 *
 *   cmd_status.c      the command: what stands above and below the table
 *   status_read.c     reads and judges
 *   status_words.c    dates, renewals, deployments and troubles in words
 *   status_table.c    the table, on a terminal and piped
 *   status_page.c     all about one certificate
 *   status_json.c     JSON, as tlsup-json(7) describes it
 *   status_metrics.c  OpenMetrics text
 */
#ifndef TLSUP_CLI_STATUS_H
#define TLSUP_CLI_STATUS_H

#include "output.h"
#include "request.h"
#include "timer.h"
#include "tlsup/store.h"

/* From well to worst: the worst come first. */
enum health {
    HEALTH_VALID,
    HEALTH_PENDING,    /* configured, nothing issued yet */
    HEALTH_INCOMPLETE, /* without some of the names that were asked for */
    HEALTH_UNKNOWN,    /* not for this user to read */
    HEALTH_UNFINISHED, /* issued, but not all the way into the web server, or to whom else it is to go */
    HEALTH_OVERDUE,    /* nobody has renewed it in time */
    HEALTH_FAILING,    /* the last attempt failed: to renew it, or to hand it on */
    HEALTH_BROKEN,     /* files that are damaged or do not fit together */
    HEALTH_REVOKED,
    HEALTH_EXPIRED,
    HEALTHS
};

const char *health_word(enum health health); /* "valid" */
/* Does a person need to know? Not of those that are valid, nor of those that are still to be issued. */
bool health_is_trouble(enum health health);

/* One of the versions that are kept. */
struct entry_version {
    int number;
    bool has_info; /* it could be read */
    struct cert_info info;
};

/* All about one certificate, as far as it could be read. */
struct entry {
    char *name;
    char *live_path, *config_path, *state_path;
    struct cert_config config;
    struct cert_state state;
    struct cert_info info, second; /* `second`: of a dual certificate */
    bool has_config, has_info, has_second;
    int version;        /* the live one, 0 = none */
    int64_t due_s;      /* when its renewal is due, 0 = unknown */
    bool due_by_ca;     /* as the CA wants it (RFC 9773), not by our own reckoning */
    struct err problem; /* the first thing that could not be read or does not fit */
    enum health health;
    /* with STATUS_DETAILS */
    bool has_details;
    struct strlist issuers;  /* of the chain, leaf first */
    struct strlist settings; /* "key = value": what differs from the defaults; secrets are masked */
    struct entry_version *versions;
    size_t n_versions;
};

struct entries {
    struct entry *v;
    size_t n;
};

enum {
    STATUS_KEYS = 1,    /* does the private key belong to the certificate? Of up to 100, or with details */
    STATUS_DETAILS = 2, /* versions, chain, settings */
};

/* What cannot be read becomes a part of the entry: one damaged file does not hide the other certificates.
 * `wanted` empty: all. Worst first. With STATUS_KEYS. */
MUST_CHECK bool status_read(struct store *store, const struct strlist *wanted, struct entries *out,
                            struct err *err);
/* The same, with STATUS_... of your choice. */
MUST_CHECK bool status_read_as(struct store *store, const struct strlist *wanted, unsigned what,
                               struct entries *out, struct err *err);
void entries_clear(struct entries *entries);
/* Is all that failed in the last run of renew over: mended by hand since, or deleted? */
bool status_is_mended(struct store *store, const struct run_state *run);

bool is_installed_by_us(const struct entry *entry);
bool has_failed(const struct entry *entry);
enum deploy_step step_of(const struct entry *entry); /* that the live version has reached */
const struct strlist *names_of(const struct entry *entry);
int life_percent(const struct entry *entry);      /* used */
const char *ca_url_of(const struct entry *entry); /* the CA that issued it, or is to issue it */
bool deployment_is_done(const struct deployment *deployment);
bool deployment_is_failing(const struct deployment *deployment);

/* -- in words (status_words.c) -- */

/* What comes next: a renewal, or another attempt. */
enum next_why {
    NEXT_UNKNOWN,
    NEXT_BY_CA,   /* later, in the window that the CA gave */
    NEXT_BY_LIFE, /* later, as so much of its life is over */
    NEXT_DUE,
    NEXT_OVERDUE,
    NEXT_WAITING, /* it failed: not before `at_s` */
    NEXT_AGAIN,   /* it failed: by the next run */
};
struct next_renewal {
    enum next_why why;
    int64_t at_s; /* 0 = at once, or unknown */
};
void next_of(const struct entry *entry, struct next_renewal *out);
const char *next_why_word(enum next_why why); /* for programs: "ca", "life", "due", ... */

/* What is wrong, a sentence each, and what a person may do about it ("" = nothing). */
struct trouble {
    char *what, *todo;
};
struct troubles {
    struct trouble *v;
    size_t n;
};
void troubles_of(const struct entry *entry, struct troubles *out);
void troubles_clear(struct troubles *troubles);

void say_distance(struct buf *out, int64_t when_s);             /* "in 61 days", "3 days ago" */
void say_date(struct buf *out, int64_t when_s, bool with_time); /* "2026-11-22", "2026-11-22 14:05 UTC" */
void say_key(const struct entry *entry, struct buf *out);       /* "ecdsa-p256 + rsa-2048" */
void say_ca(const struct entry *entry, struct buf *out);        /* "letsencrypt" */
void say_names(const struct entry *entry, struct buf *out);     /* all of them */
void say_step(const struct entry *entry, struct buf *out);      /* "nginx, verified" */
void say_served(const struct entry *entry,
                struct buf *out); /* "nginx, verified 3 days ago (shop.conf:22 +1)" */
void say_renewal(const struct entry *entry, struct buf *out);     /* "in 61 days" */
void say_renewal_why(const struct entry *entry, struct buf *out); /* "in 61 days, as the CA wants it" */
/* Full cells first, as long as life is left. Appends. */
void say_life_bar(const struct entry *entry, unsigned cells, struct buf *out);
enum output_style life_style(const struct entry *entry);
enum output_style health_style(enum health health);
const char *health_mark(enum health health);
/* "/usr/local/sbin/reload-mail: done 3 days ago, for version 4" */
void say_deployment(const struct deployment *deployment, struct buf *out);

/* -- for people -- */
void status_table(const struct entries *entries, struct buf *out); /* on a terminal */
void status_lines(const struct entries *entries, struct buf *out); /* piped: one line each */
void status_page(const struct entry *entry, struct buf *out);
/* "12 certificates: 1 needs attention (expired)" */
void status_sum(const struct entries *entries, struct buf *out);

/* -- for programs -- */

/* OpenMetrics text of all that is held. `run` NULL: it could not be read. Appends. */
void status_metrics(const struct entries *entries, const struct timer *timer, const struct run_state *run,
                    struct buf *out);
/* Read the store, and write that to a file for node_exporter's textfile collector: 0644, by a rename. Save
 * run.json before. */
MUST_CHECK bool status_write_metrics(struct store *store, const char *path, struct err *err);

/* `run` NULL: it could not be read. */
void status_print_json(const struct entries *entries, const struct timer *timer, const struct run_state *run);

#endif
