/*
 * firewall_state.h - the packet filters of this machine as they stand now: are ports 80 and 443 closed to visitors, by what, and by which command are they opened?
 *
 * Reads by `nft`, `iptables-save`, `ip6tables-save` and `firewall-cmd`, each with a deadline; only root can. Those who write rules for people (ufw, firewalld) are
 * asked only where something is closed: they are slow.
 */
#ifndef TLSUP_CLI_FIREWALL_STATE_H
#define TLSUP_CLI_FIREWALL_STATE_H

#include "tlsup/err.h"
#include "tlsup/firewall.h"

enum { FIREWALL_PORTS = 2, FIREWALL_FAMILIES = 2, FIREWALL_GATES_MAX = 16 };
extern const int firewall_ports[FIREWALL_PORTS]; /* 80, 443 */

enum firewall_tool { FIREWALL_BY_NFT, FIREWALL_BY_IPTABLES, FIREWALL_BY_LEGACY, FIREWALL_BY_UFW, FIREWALL_BY_FIREWALLD };

/* One place that closes ports, or may do so. */
struct firewall_gate {
    enum firewall_answer answer;    /* CLOSED or UNSURE */
    enum firewall_tool tool;        /* by which it is opened */
    bool some;                      /* CLOSED to strangers; addresses that a rule names may come in: a proxy in front of this machine */
    bool ports[FIREWALL_PORTS];     /* which of them */
    bool families[FIREWALL_FAMILIES]; /* IPv4, IPv6 */
    struct firewall_verdict verdict;
    char zone[FIREWALL_NAME_BYTES]; /* firewalld's */
    char why[FIREWALL_RULE_BYTES];  /* the rule or the policy, for people */
};

struct firewall {
    bool looked; /* at least one of the tools was there and answered */
    bool has_v6; /* this machine has addresses of IPv6 that others can reach */
    struct strlist read_by; /* "nft", "iptables-save": the tools that had something to say */
    struct firewall_gate gates[FIREWALL_GATES_MAX];
    size_t n;
    char failure[256]; /* why it was not read, "" = it was, or there is nothing to read */
};
#define FIREWALL_INIT {0}

/* Never fails: what cannot be read becomes `failure`. */
void firewall_look(struct firewall *out);
void firewall_clear(struct firewall *firewall);
/* Does it close this port for certain, to everybody, over each family that this machine has? Not where some addresses are let in: those who ask may come by them. */
bool firewall_closes(const struct firewall *firewall, int port);

const char *firewall_tool_name(enum firewall_tool tool); /* "ufw" */
/* "port 80", "ports 80 and 443" */
const char *firewall_gate_ports(const struct firewall_gate *gate, char out[32]);
/* "IPv4", "IPv4 and IPv6" */
const char *firewall_gate_families(const struct firewall_gate *gate, char out[32]);
/* The commands that open it, and what must be done for it to last; one a line, appended. */
void firewall_commands(const struct firewall_gate *gate, struct strlist *out);
/* How it is kept over a restart of the machine; NULL = it is. */
const char *firewall_keep_advice(const struct firewall_gate *gate);

/* Open what is closed for certain, and prove it by looking again; `firewall` is then as it is now. What is not sure is left alone. `done`: what was run; `back`: the commands that take it
 * back, of what was not there before alone; both appended, even on failure. ERR_CONFIG, ERR_PERMISSION, ERR_PROOF. */
MUST_CHECK bool firewall_open(struct firewall *firewall, struct strlist *done, struct strlist *back, struct err *err);

#endif
