/*
 * firewall_internal.h - rules of packet filters, whatever they were written in, as they concern one packet.
 */
#ifndef TLSUP_INSTALL_FIREWALL_INTERNAL_H
#define TLSUP_INSTALL_FIREWALL_INTERNAL_H

#include "tlsup/firewall.h"

enum maybe { NO, MAYBE, YES };
enum maybe maybe_not(enum maybe is);
enum maybe maybe_both(enum maybe a, enum maybe b);
enum maybe maybe_either(enum maybe a, enum maybe b);

enum action {
    ACTION_NONE,
    ACTION_ACCEPT,
    ACTION_DROP,
    ACTION_JUMP,
    ACTION_GOTO,
    ACTION_RETURN,
    ACTION_REDIRECT,
    ACTION_UNKNOWN
};

struct filter_rule {
    enum maybe matches;
    enum action action;
    char *target; /* of a jump; NULL = none */
    int64_t handle;
    char *text; /* NULL = none */
};

struct filter_reason {
    const struct filter_rule *rule; /* NULL = none */
    const struct filter_chain *in;
};

struct filter_chain {
    char *family, *table, *name;
    bool base;          /* at a hook that the packet meets */
    enum action policy; /* of a base chain: ACCEPT or DROP */
    struct filter_rule *rules;
    size_t n;
    /* of the walk */
    unsigned outcomes;
    enum { CHAIN_NEW, CHAIN_ENTERED, CHAIN_LEFT } walked;
    struct filter_reason sure;  /* what drops it for certain */
    struct filter_reason doubt; /* the first that may, or does what is not known */
};

struct filter {
    struct filter_chain *v;
    size_t n;
    size_t *slots; /* a hash table: 1 + the index of a chain, 0 = free */
    size_t n_slots;
};

struct filter_chain *filter_chain_find(struct filter *filter, const char *family, const char *table,
                                       const char *name);
/* Found, or made. Chains that were returned before are no longer valid. */
struct filter_chain *filter_chain_add(struct filter *filter, const char *family, const char *table,
                                      const char *name);
/* `target` and `text` are copied; NULL = none. */
void filter_rule_add(struct filter_chain *chain, enum maybe matches, enum action action, const char *target,
                     int64_t handle, const char *text);
void filter_judge(struct filter *filter, struct firewall_verdict *out);
void filter_clear(struct filter *filter);

/* -- what of the packet is known -- */

enum maybe packet_comes_from(const struct firewall_packet *packet,
                             const char *address); /* "192.0.2.1", "0.0.0.0/0", "2000::/3" */
enum maybe packet_goes_to(const struct firewall_packet *packet, const char *address);
/* `any`: the sign for "whatever follows" at a name's end. */
enum maybe packet_comes_by(const struct firewall_packet *packet, const char *interface, char any);
enum maybe packet_sent_from_ports(long first, long last);
enum { TCP_FLAG_SYN = 2 };
/* "syn", "SYN"; 0 = not known. "ALL" is all six, "NONE" is none: `*known` tells it from what is not known. */
unsigned tcp_flag(const char *name, bool *known);

#endif
