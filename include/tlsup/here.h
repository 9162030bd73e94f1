/*
 * here.h - does a name lead to this machine?
 *
 * The name is resolved by the prober (this system's resolver, unprivileged); the answer is compared with the addresses of this machine's own interfaces.
 */
#ifndef TLSUP_HERE_H
#define TLSUP_HERE_H

#include "tlsup/buf.h"
#include "tlsup/err.h"

enum here_answer {
    HERE_NOWHERE,   /* it has no address of this family (HERE all: none at all) */
    HERE_YES,       /* all its addresses are this machine's */
    HERE_PARTLY,    /* some are */
    HERE_MAYBE,     /* none is, but this machine has no public address of that family: it may well be behind NAT */
    HERE_ELSEWHERE, /* none is, and this machine has public addresses of that family */
};

struct here {
    enum here_answer all, v4, v6;
    struct strlist addresses; /* the name's, numeric, v4 first */
    struct strlist foreign;   /* those of them that are not this machine's */
    struct strlist own;       /* this machine's addresses, as its interfaces have them */
    struct strlist public;    /* this machine's own that the world can reach, as far as its interfaces say */
    bool loopback;            /* among the name's are some that mean "this machine" on every machine: what /etc/hosts says, not what the world is told */
};
#define HERE_INIT {0}

/* ERR_NETWORK when the resolver could not be asked (a name that does not exist is HERE_NOWHERE). An IP address stands for itself. A wildcard is asked for as a name below it that nobody would have. */
MUST_CHECK bool here_look(const char *name, struct here *out, struct err *err);
void here_clear(struct here *here);
/* The same for many names beside each other; `name` is borrowed, each `here` of one that is ok is the caller's to clear. */
struct here_look {
    const char *name;
    bool ok;
    struct here here;
    struct err err; /* why it is not ok */
};
void here_look_all(struct here_look *v, size_t n, int timeout_ms);
/* "192.0.2.1 is this machine", "198.51.100.7 is not this machine (203.0.113.5)", ... in one line for people; appends. */
void here_describe(const struct here *here, struct buf *out);

/* The judgement alone: the name's addresses, and those of the interfaces, both numeric. Initialises `out`. */
void here_judge(const struct strlist *addresses, const struct strlist *own, struct here *out);
/* Numeric, of the interfaces that are up, the loopback's among them; appended. */
MUST_CHECK bool here_own_addresses(struct strlist *out, struct err *err);
/* Could the world reach this address: is it in none of the blocks that are kept for private nets, links, loopback, carriers' NAT? */
bool here_is_public(const char *address);

#endif
