/*
 * check.h - `tlsup check`: what the files of the command share.
 *
 *   cmd_check.c      the command; what was found, told to people
 *   check_machine.c  web servers, ports, clock, disk, renewals
 *   check_firewall.c the packet filters of this machine, and opening them
 *   check_names.c    each name: who owns it, what the CA would meet
 *   check_address.c  where it leads
 *   check_answer.c   a token, asked for the way the CA would
 *   check_before.c   the part that `enable` looks at first
 *   check_json.c     what was found, for programs
 */
#ifndef TLSUP_CLI_CHECK_H
#define TLSUP_CLI_CHECK_H

#include "firewall_state.h"
#include "run.h"
#include "status.h"
#include "tlsup/here.h"
#include "tlsup/resolver.h"
#include "views.h"

enum severity { SEVERITY_OK, SEVERITY_NOTE, SEVERITY_WARNING, SEVERITY_PROBLEM, SEVERITIES };

struct finding {
    enum severity severity;
    const char *about;       /* a stable word for programs: "port-443" */
    char *name;              /* what it is about; NULL = the machine */
    char *what, *why, *todo; /* "" = nothing to say */
    bool stops;              /* an order would fail because of it, for certain */
};

struct check {
    const struct request *request;
    struct store *store;
    bool root;
    bool wants_web; /* some of it is to be served by a web server */
    struct views views;
    struct entries entries; /* the certificates that are held */
    struct strlist names;   /* those that are looked at */
    struct resolver *resolver; /* NULL = none can be asked */
    bool port_80_closed;    /* by a firewall, to everybody */
    int lookup_ms;          /* the patience with name servers */
    int silences;           /* how often they said nothing */
    struct finding *v;
    size_t n;
};

/* Names that are one certificate, or would be. */
struct subject {
    struct cert_config config; /* names: those that are looked at */
    const struct entry *entry; /* NULL = there is none yet */
    const struct view *view;   /* the web server that it is for; NULL = none */
};
/* Is the CA to ask this machine? With DNS alone it is not. */
bool subject_is_asked_here(const struct cert_config *config);
/* Is there a challenge that needs no port of this machine? */
bool subject_has_other_way(const struct cert_config *config);
/* Is one of its CAs one for the whole world, which sees what the world sees? */
bool subject_is_public(const struct cert_config *config);

/* Add one; why and todo are added to the last that was added. */
void check_find(struct check *check, enum severity severity, const char *about, const char *name,
                const char *fmt, ...) PRINTF_LIKE(5, 6);
void check_why(struct check *check, const char *fmt, ...) PRINTF_LIKE(2, 3);
void check_todo(struct check *check, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* What an error says, and its advice. */
void check_found_err(struct check *check, enum severity severity, const char *about, const char *name,
                     const struct err *err);
/* The last that was added: an order would fail because of it. */
void check_stops(struct check *check);
void check_clear_findings(struct check *check);
const char *severity_word(enum severity severity);

void check_web_servers(struct check *check, const struct err *none);
void check_machine(struct check *check);
void check_clock(struct check *check);
void check_disks(struct check *check);
/* Opens what is closed first when the request says so; false when that fails. */
MUST_CHECK bool check_firewall(struct check *check, struct err *err);
void check_names(struct check *check);
void check_addresses(struct check *check, const struct subject *subject);
/* The CAA records of the subject's names: asked now, told of when the answers are there. `resolver` may be
 * NULL. */
struct caa_looks;
struct caa_looks *check_caa_ask(struct check *check, const struct subject *subject,
                                struct resolver *resolver);
void check_caa_tell(struct caa_looks *looks);
void check_challenge(struct check *check, const struct subject *subject, const char *name);
/* Where nothing listens on port 80: does a listener of our own get a token back, over each family? */
void check_own_answer(struct check *check);
void check_print_json(const struct check *check, const size_t counts[SEVERITIES]);

/* Before the first order of `enable`: what would make it fail, or what nobody could reach, is told. What
 * would make it fail for certain is an error (ERR_PROOF, refused) that says all of it; of several tasks each
 * gets what concerns its names alone. Forks: before any key is read. Tasks that have failed already, or need
 * no order, are asked nothing. `also`: what stands in the way already, to be told with the rest; NULL =
 * nothing. */
MUST_CHECK bool check_before(struct run *run, struct task *tasks, size_t n, const struct err *also,
                             struct err *err);

/* The view of a kind of web server; WEB_NONE: the first. NULL = none that could be read. */
const struct view *check_view(const struct check *check, enum web_kind kind);

#endif
