/*
 * notice.h - one message of a run: what failed, what is well again, what was renewed; and its forms.
 */
#ifndef TLSUP_CLI_NOTICE_H
#define TLSUP_CLI_NOTICE_H

#include "tlsup/cert.h"
#include "tlsup/state.h"

enum notice_event { NOTICE_FAILURE, NOTICE_RECOVERY, NOTICE_SUCCESS, NOTICE_TEST };
const char *notice_event_name(enum notice_event event); /* "failure" */

/* One thing that failed. */
struct notice_trouble {
    char *what; /* "the renewal", "the deploy hook /path" */
    struct err err;
    int64_t next_try_s; /* 0 = with the next run */
};

struct notice_cert {
    char *name;
    struct strlist names;
    enum alarm before, now;
    bool renewed;
    int64_t not_before_s, not_after_s; /* 0 = there is no certificate */
    struct notice_trouble *troubles;
    size_t n_troubles;
};

/* A trouble that belongs to no certificate; `err` unset: it is over. */
struct notice_machine {
    char *subject;
    struct err err;
};

struct notice {
    char host[256];
    int64_t now_s;
    bool test;
    struct notice_cert *certs;
    size_t n_certs;
    struct notice_machine *machine;
    size_t n_machine;
};

void notice_init(struct notice *notice); /* with this host and time */
void notice_clear(struct notice *notice);
struct notice_cert *notice_add_cert(struct notice *notice, const char *name);
void notice_add_trouble(struct notice_cert *cert, const char *what, const struct err *err,
                        int64_t next_try_s);
void notice_add_machine(struct notice *notice, const char *subject, const struct err *err); /* NULL = over */

/* The worst of what it tells. */
enum notice_event notice_event(const struct notice *notice);
bool notice_fails(const struct notice_cert *cert);    /* it is in trouble now */
bool notice_recovers(const struct notice_cert *cert); /* and it was, and is not any more */

/* All of these append. The text is UTF-8 in lines for people, of NOTICE_TEXT_BYTES at most: what is left out
 * is named at its end. */
#define NOTICE_TEXT_BYTES ((size_t)48 * 1024)
void notice_subject(const struct notice *notice, struct buf *out);
void notice_text(const struct notice *notice, struct buf *out);
/* One line for each certificate and each trouble of the machine, with how bad it is: true = a failure. */
typedef void notice_line_fn(void *ctx, bool failure, const char *line);
void notice_lines(const struct notice *notice, notice_line_fn *each, void *ctx);
/* The document that webhooks get (notice_json.c). */
void notice_json(const struct notice *notice, struct buf *out);
/* RFC 5322, lines end in LF (notice_mail.c). */
void notice_mail(const struct notice *notice, const char *from, const struct strlist *to, struct buf *out);

#endif
