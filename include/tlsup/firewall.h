/*
 * firewall.h - would the packet filters of this machine let a visitor in? Judged by reading their rules; pure text, no program is run here.
 *
 * The rules are evaluated for one packet: the first of a TCP connection that somebody begins of whom nothing is known, from an address that no rule names. What a
 * rule asks that cannot be known here (the hour, a mark, a module that is not known) makes it one that may match.
 */
#ifndef TLSUP_FIREWALL_H
#define TLSUP_FIREWALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tlsup/buf.h"

enum firewall_answer { FIREWALL_OPEN, FIREWALL_CLOSED, FIREWALL_UNSURE };

struct firewall_packet {
    int family;                /* 4 or 6 */
    int port;                  /* of ours */
    const char *interface;     /* by which it comes in; NULL = not known. Never the loopback interface */
    const struct strlist *own; /* this machine's addresses, numeric, without those of the loopback; empty = not known */
    bool named;                /* it may come from public addresses that rules name, too: those of a proxy in front of this machine */
};

#define FIREWALL_NAME_BYTES 64
#define FIREWALL_RULE_BYTES 512
struct firewall_verdict {
    enum firewall_answer answer;
    /* CLOSED: by what; UNSURE: by what it may be. */
    bool redirected;                 /* UNSURE: a rule hands the port on to another port or machine */
    char family[8];                  /* "ip", "ip6", "inet", "netdev", ...: of the table */
    char table[FIREWALL_NAME_BYTES];
    char base[FIREWALL_NAME_BYTES];  /* the chain at the hook, in which it was decided: a rule at its head is the first to be asked */
    char chain[FIREWALL_NAME_BYTES]; /* where the rule stands: `base`, or one that it jumps to */
    int64_t handle;                  /* of the rule, in nftables; 0 = none */
    char rule[FIREWALL_RULE_BYTES];  /* as iptables-save has it; "" = in nftables, or the policy of `base` */
    bool policy;                     /* no rule: the policy of `base` */
};

/* What `nft -j list ruleset` prints. `without`: tables that are left out, "ip filter", because iptables-save has them in its own words. What is not JSON of that kind is UNSURE. */
void firewall_judge_nft(const char *json, size_t len, const struct firewall_packet *packet, const struct strlist *without,
                        struct firewall_verdict *out);
/* What iptables-save (or ip6tables-save, for a packet of family 6) prints; a text without any table is OPEN. */
void firewall_judge_iptables(const char *text, size_t len, const struct firewall_packet *packet, struct firewall_verdict *out);
/* The tables in such a text, "ip filter", if it was made from nftables' rules; appended. Those of the older kind are none of nftables'. */
void firewall_iptables_tables(const char *text, size_t len, int family, struct strlist *out);

/* Who wrote the rules, by the names of their chains. */
enum firewall_manager { FIREWALL_NOBODY, FIREWALL_UFW, FIREWALL_FIREWALLD };
enum firewall_manager firewall_manager_of(const struct firewall_verdict *verdict, const char *iptables_text);

/* Does `ufw status` say that it is active? */
bool firewall_ufw_is_active(const char *text);
/* What `firewall-cmd --zone=Z --list-all` says of a port: by its target, services and ports. */
enum firewall_answer firewall_judge_zone(const char *text, int port);
/* A zone's name as it may stand in a command. */
bool firewall_zone_is_valid(const char *zone);

#endif
