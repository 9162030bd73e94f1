/*
 * check.h - `tlsup check`: what the files of the command share.
 *
 *   cmd_check.c      the command; what was found, told to people
 *   check_machine.c  web servers, ports, clock, disk, renewals
 *   check_names.c    each name: where it leads, who owns it, what the CA would meet
 *   check_json.c     what was found, for programs
 */
#ifndef TLSUP_CLI_CHECK_H
#define TLSUP_CLI_CHECK_H

#include "status.h"
#include "views.h"

enum severity { SEVERITY_OK, SEVERITY_NOTE, SEVERITY_WARNING, SEVERITY_PROBLEM, SEVERITIES };

struct finding {
    enum severity severity;
    const char *about;       /* a stable word for programs: "port-443" */
    char *name;              /* what it is about; NULL = the machine */
    char *what, *why, *todo; /* "" = nothing to say */
};

struct check {
    const struct request *request;
    struct store *store;
    bool root;
    bool wants_web; /* some of it is to be served by a web server */
    struct views views;
    struct entries entries; /* the certificates that are held */
    struct strlist names;   /* those that are looked at */
    struct finding *v;
    size_t n;
};

/* Add one; why and todo are added to the last that was added. */
void check_find(struct check *check, enum severity severity, const char *about, const char *name,
                const char *fmt, ...) PRINTF_LIKE(5, 6);
void check_why(struct check *check, const char *fmt, ...) PRINTF_LIKE(2, 3);
void check_todo(struct check *check, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* What an error says, and its advice. */
void check_found_err(struct check *check, enum severity severity, const char *about, const char *name,
                     const struct err *err);
const char *severity_word(enum severity severity);

void check_web_servers(struct check *check, const struct err *none);
void check_machine(struct check *check);
void check_names(struct check *check);
void check_print_json(const struct check *check, const size_t counts[SEVERITIES]);

/* The view of a kind of web server; WEB_NONE: the first. NULL = none that could be read. */
const struct view *check_view(const struct check *check, enum web_kind kind);

#endif
