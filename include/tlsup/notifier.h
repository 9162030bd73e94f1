/*
 * notifier.h - the child process that speaks SMTP and HTTPS for notifications: it has no files but the roots it trusts, and no keys.
 *
 * What it is to do comes in frames (messages.h): the parts of a job, then the word to go. It answers with "sent" or with an error. A job has two tries of 30 s each.
 */
#ifndef TLSUP_NOTIFIER_H
#define TLSUP_NOTIFIER_H

#include <stdbool.h>
#include <stddef.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"

struct notifier; /* heap: the keeper's end */

struct notifier_options {
    const char *proxy; /* for https: as in http_options */
    int timeout_ms;    /* of one try; 0 = 30 s */
    int pause_ms;      /* before the second; 0 = 1 s */
};

/* Forks two, one of them in reserve, so: before any private key is read (ERR_INTERNAL otherwise). */
MUST_CHECK bool notifier_start(const struct notifier_options *options, struct notifier **out, struct err *err);
void notifier_stop(struct notifier *notifier); /* NULL is fine */

enum notifier_kind {
    NOTIFIER_MAIL, /* smtp:// or smtps://; STARTTLS is required but on this machine itself, the server's certificate is checked whenever TLS is spoken */
    NOTIFIER_POST, /* https:// (http:// on this machine itself): application/json, no redirect is followed */
    NOTIFIER_GET,  /* the same; a few redirects to https are followed */
    NOTIFIER_KINDS
};

struct notifier_job {
    enum notifier_kind kind;
    const char *url;
    bool loopback;                 /* it leads to this machine itself */
    const char *login;             /* mail: "USER:PASSWORD"; NULL = none */
    const char *from, *to;         /* mail: one address each */
    const struct strlist *headers; /* post: "Name: value"; NULL = none */
    const char *body;              /* mail: the message, lines end in LF; post: JSON */
    size_t body_len;               /* NOTIFIER_BODY_BYTES at most */
};
#define NOTIFIER_BODY_BYTES ((size_t)1024 * 1024)

/* Called often while waiting; may be NULL. */
typedef void notifier_tick_fn(void *ctx);
/* ERR_NETWORK, ERR_TLS, ERR_TIMEOUT, ERR_PROTOCOL (refused by the server), with what to do; ERR_CHILD when the notifier died at it: the one in reserve does the next job. Errors name host and port alone: paths may be secret. */
MUST_CHECK bool notifier_carry_out(struct notifier *notifier, const struct notifier_job *job, notifier_tick_fn *tick, void *ctx, struct err *err);

/* The child's main loop (notifier_role.c). */
NORETURN void notifier_main(int fd, const struct notifier_options *options);

#endif
