/*
 * views.h - the web servers of this machine as they stand: what `sites` lists and `check` looks at. Reads
 * only.
 */
#ifndef TLSUP_CLI_VIEWS_H
#define TLSUP_CLI_VIEWS_H

#include "owners.h"
#include "request.h"
#include "tlsup/front.h"
#include "tlsup/store.h"

/* Did it pass? Without root a server cannot be asked: its own test wants to open logs and keys. */
enum view_answer { VIEW_NOT_ASKED, VIEW_GOOD, VIEW_BAD };

struct view {
    struct web web;
    pid_t pid;        /* of its master, as far as this user can see; 0 = it does not run */
    size_t instances; /* masters of this kind that run on this machine, outside of containers */
    enum view_answer tested, was_read, compared;
    struct err test, read, compare; /* what was bad */
    struct sites sites, disabled;
    struct owners owners; /* of `sites` */
};

struct views {
    struct view *v;
    size_t n;
    bool ambiguous; /* nobody said which one, and the machine does not tell either */
};
#define VIEWS_INIT                                                                                           \
    {                                                                                                        \
        0                                                                                                    \
    }

/* The server that `enable` would take; both where it would have to ask. What cannot be read becomes part of
 * the view; an error only when there is no web server (ERR_NOT_FOUND), or what is there cannot be made out.
 */
/* Which server that is, and where: by the command line, else by tlsup.conf's defaults, which the hints borrow from. */
enum web_kind views_wanted(const struct request *request, struct store *store, struct cert_config *defaults,
                           struct web_hints *hints);
MUST_CHECK bool views_read(enum web_kind wanted, const struct web_hints *hints, struct views *out,
                           struct err *err);
void views_clear(struct views *views);

/* Where a site stands: "FILE:LINE"; `below` (may be NULL): a directory that is left out of the path. The
 * caller frees. */
char *site_place(const struct site *site, const char *below);
/* The tlsup certificate that a site serves, by the path of its file below `state_dir`/live/: its name (the
 * caller frees), NULL = none of ours. */
char *site_certificate_name(const struct site *site, const char *state_dir);

/* What is wrong with the sites themselves. */
enum site_problem_kind {
    SITE_DUPLICATE,        /* two sites have a name at one address: the second never answers to it */
    SITE_HTTPS_ELSEWHERE,  /* a name on 80 whose https is answered by a site that is not its own */
    SITE_REDIRECT_NOWHERE, /* redirects to https, where nobody listens */
    SITE_HALF, /* the name's own site answers over IPv4 only, and another over IPv6; or the other way round */
    SITE_DISABLED, /* a file that the server does not read */
    SITE_PROBLEM_KINDS
};
struct site_problem {
    enum site_problem_kind kind;
    const char *name;    /* borrowed; NULL where it is about the site as such */
    size_t site;         /* index into sites, or disabled */
    char *text, *advice; /* "" = nothing to do about it */
};
struct site_problems {
    struct site_problem *v;
    size_t n;
};
void views_problems(const struct view *view, struct site_problems *out);
void site_problems_clear(struct site_problems *problems);
const char *site_problem_word(enum site_problem_kind kind); /* "duplicate-name" */

#endif
