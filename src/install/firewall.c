/*
 * Packet filters in general: the walk through chains, and what of the packet is known.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/firewall.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "firewall_internal.h"
#include "tlsup/mem.h"
#include "tlsup/stamp.h"

/* -- three answers -------------------------------------------------------------------------------------- */

enum maybe maybe_not(enum maybe is)
{
    return is == MAYBE ? MAYBE : is == YES ? NO : YES;
}

enum maybe maybe_both(enum maybe a, enum maybe b)
{
    return a < b ? a : b;
}

enum maybe maybe_either(enum maybe a, enum maybe b)
{
    return a > b ? a : b;
}

/* -- the packet ----------------------------------------------------------------------------------------- */

struct net {
    int family; /* AF_INET, AF_INET6 */
    unsigned char bytes[16];
    unsigned bits; /* of the prefix */
};

/* "ffff:ff00" or "255.255.0.0" as a number of bits; false when it has holes. */
static bool mask_bits(int family, const char *text, unsigned *bits)
{
    unsigned char mask[16] = {0};
    size_t len = family == AF_INET ? 4 : 16;
    unsigned n = 0;
    if (inet_pton(family, text, mask) != 1)
        return false;
    while (n < 8 * len && (mask[n / 8] & (0x80u >> n % 8)) != 0)
        n++;
    for (unsigned i = n; i < 8 * len; i++)
        if ((mask[i / 8] & (0x80u >> i % 8)) != 0)
            return false;
    *bits = n;
    return true;
}

/* "192.0.2.1", "10.0.0.0/8", "10.0.0.0/255.0.0.0" */
static bool net_parse(const char *text, struct net *out)
{
    char address[INET6_ADDRSTRLEN + 1];
    size_t len = strcspn(text, "/");
    if (len >= sizeof address)
        return false;
    memcpy(address, text, len);
    address[len] = '\0';
    *out = (struct net){.family = strchr(address, ':') != NULL ? AF_INET6 : AF_INET};
    unsigned whole = out->family == AF_INET ? 32 : 128;
    out->bits = whole;
    if (inet_pton(out->family, address, out->bytes) != 1)
        return false;
    const char *mask = text[len] == '/' ? text + len + 1 : NULL;
    if (mask == NULL)
        return true;
    char *end;
    unsigned long bits = strtoul(mask, &end, 10);
    if (isdigit((unsigned char)mask[0]) && *end == '\0' && bits <= whole) {
        out->bits = (unsigned)bits;
        return true;
    }
    return mask_bits(out->family, mask, &out->bits);
}

static bool net_has(const struct net *net, const char *address)
{
    struct net other;
    if (!net_parse(address, &other) || other.family != net->family)
        return false;
    for (unsigned i = 0; i < net->bits; i++)
        if (((net->bytes[i / 8] ^ other.bytes[i / 8]) & (0x80u >> i % 8)) != 0)
            return false;
    return true;
}

/* Nobody on the public network has these. */
static bool net_is_private(const struct net *net)
{
    static const char *const privates[] = {"10.0.0.0/8",     "172.16.0.0/12", "192.168.0.0/16",
                                           "169.254.0.0/16", "100.64.0.0/10", "127.0.0.0/8",
                                           "fc00::/7",       "fe80::/10",     "::1/128"};
    char first[INET6_ADDRSTRLEN];
    inet_ntop(net->family, net->bytes, first, sizeof first);
    for (size_t i = 0; i < COUNT_OF(privates); i++) {
        struct net private;
        if (net_parse(privates[i], &private) && private.bits <= net->bits && net_has(&private, first))
            return true;
    }
    return false;
}

/* Half of all addresses may have the visitor's or not; from a small part of them he does not come. */
enum maybe packet_comes_from(const struct firewall_packet *packet, const char *address)
{
    struct net net;
    if (!net_parse(address, &net))
        return MAYBE;
    if (net.bits == 0)
        return YES;
    if (net.family == AF_INET6 && net.bits == 3 && net.bytes[0] == 0x20)
        return YES; /* 2000::/3: all that is public */
    return net.bits < 4 || (packet->named && !net_is_private(&net)) ? MAYBE : NO;
}

/* Which of ours it goes to is not known where there are several. */
enum maybe packet_goes_to(const struct firewall_packet *packet, const char *address)
{
    struct net net;
    size_t n = 0, in = 0;
    if (!net_parse(address, &net))
        return MAYBE;
    if (net.bits == 0)
        return YES;
    for (size_t i = 0; i < packet->own->n; i++) {
        bool six = strchr(packet->own->v[i], ':') != NULL;
        if (six != (packet->family == 6))
            continue;
        n++;
        in += net_has(&net, packet->own->v[i]);
    }
    return n == 0 ? MAYBE : in == n ? YES : in == 0 ? NO : MAYBE;
}

enum maybe packet_comes_by(const struct firewall_packet *packet, const char *interface, char any)
{
    size_t len = strlen(interface);
    if (strcmp(interface, "lo") == 0)
        return NO;
    if (len > 0 && interface[len - 1] == any) {
        if (len == 1)
            return YES;
        return packet->interface == NULL ? MAYBE
                                         : (strncmp(packet->interface, interface, len - 1) == 0 ? YES : NO);
    }
    return packet->interface == NULL ? MAYBE : strcmp(packet->interface, interface) == 0 ? YES : NO;
}

/* Systems choose from the upper half; servers send from below 1024. */
enum maybe packet_sent_from_ports(long first, long last)
{
    enum { LOWEST = 1024, HIGHEST = 65535 };
    if (first <= LOWEST && last >= HIGHEST)
        return YES;
    return last < LOWEST || first == last ? NO : MAYBE;
}

unsigned tcp_flag(const char *name, bool *known)
{
    static const struct {
        const char *name;
        unsigned bits;
    } flags[] = {{"fin", 1},  {"syn", TCP_FLAG_SYN}, {"rst", 4},   {"psh", 8},  {"ack", 16},
                 {"urg", 32}, {"ecn", 64},           {"cwr", 128}, {"all", 63}, {"none", 0}};
    for (size_t i = 0; i < COUNT_OF(flags); i++)
        if (strcasecmp(name, flags[i].name) == 0)
            return flags[i].bits;
    *known = false;
    return 0;
}

/* -- chains --------------------------------------------------------------------------------------------- */

static bool is_chain(const struct filter_chain *chain, const char *family, const char *table,
                     const char *name)
{
    return strcmp(chain->name, name) == 0 && strcmp(chain->table, table) == 0 &&
           strcmp(chain->family, family) == 0;
}

/* The slot that has the chain, or would. */
static size_t slot_of(const struct filter *filter, const char *family, const char *table, const char *name)
{
    struct stamp hash = STAMP_INIT;
    stamp_add_text(&hash, name);
    stamp_add_text(&hash, table);
    stamp_add_text(&hash, family);
    size_t slot = (size_t)hash.a & (filter->n_slots - 1);
    while (filter->slots[slot] != 0 && !is_chain(&filter->v[filter->slots[slot] - 1], family, table, name))
        slot = (slot + 1) & (filter->n_slots - 1);
    return slot;
}

struct filter_chain *filter_chain_find(struct filter *filter, const char *family, const char *table,
                                       const char *name)
{
    size_t found = filter->n == 0 ? 0 : filter->slots[slot_of(filter, family, table, name)];
    return found == 0 ? NULL : &filter->v[found - 1];
}

/* The last one; the table stays half empty. */
static void add_to_slots(struct filter *filter)
{
    size_t first = filter->n - 1;
    if (2 * filter->n > filter->n_slots) {
        filter->n_slots = filter->n_slots > 0 ? 2 * filter->n_slots : 64;
        free(filter->slots);
        filter->slots = mem_array(filter->n_slots, sizeof *filter->slots);
        first = 0;
    }
    for (size_t i = first; i < filter->n; i++) {
        const struct filter_chain *chain = &filter->v[i];
        filter->slots[slot_of(filter, chain->family, chain->table, chain->name)] = i + 1;
    }
}

struct filter_chain *filter_chain_add(struct filter *filter, const char *family, const char *table,
                                      const char *name)
{
    struct filter_chain *found = filter_chain_find(filter, family, table, name);
    if (found != NULL)
        return found;
    if ((filter->n & (filter->n + 1)) == 0) /* 0, 1, 3, 7, ...: doubled */
        filter->v = mem_resize(filter->v, 2 * filter->n + 1, sizeof *filter->v);
    filter->v[filter->n] = (struct filter_chain){
        .family = mem_dup(family), .table = mem_dup(table), .name = mem_dup(name), .policy = ACTION_ACCEPT};
    filter->n++;
    add_to_slots(filter);
    return &filter->v[filter->n - 1];
}

void filter_rule_add(struct filter_chain *chain, enum maybe matches, enum action action, const char *target,
                     int64_t handle, const char *text)
{
    if ((chain->n & (chain->n + 1)) == 0)
        chain->rules = mem_resize(chain->rules, 2 * chain->n + 1, sizeof *chain->rules);
    chain->rules[chain->n++] = (struct filter_rule){.matches = matches,
                                                    .action = action,
                                                    .target = target != NULL ? mem_dup(target) : NULL,
                                                    .handle = handle,
                                                    .text = text != NULL ? mem_dup(text) : NULL};
}

void filter_clear(struct filter *filter)
{
    for (size_t i = 0; i < filter->n; i++) {
        struct filter_chain *chain = &filter->v[i];
        for (size_t k = 0; k < chain->n; k++) {
            free(chain->rules[k].target);
            free(chain->rules[k].text);
        }
        free(chain->rules);
        free(chain->family);
        free(chain->table);
        free(chain->name);
    }
    free(filter->v);
    free(filter->slots);
    *filter = (struct filter){0};
}

/* -- the walk ------------------------------------------------------------------------------------------- */

/* What may become of the packet in a chain. */
enum { ACCEPTED = 1, DROPPED = 2, GOES_ON = 4, UNKNOWN = 8, REDIRECTED = 16 };
enum { DEPTH_MAX = 64 };

static unsigned walk(struct filter *filter, struct filter_chain *chain, int depth);

static void note(struct filter_reason *reason, const struct filter_rule *rule, const struct filter_chain *in)
{
    if (reason->rule == NULL)
        *reason = (struct filter_reason){rule, in};
}

static unsigned outcome_of_jump(struct filter *filter, struct filter_chain *chain,
                                const struct filter_rule *rule, int depth)
{
    struct filter_chain *to = filter_chain_find(filter, chain->family, chain->table, rule->target);
    if (to == NULL || to->walked == CHAIN_ENTERED || depth >= DEPTH_MAX) {
        note(&chain->doubt, rule, chain);
        return UNKNOWN;
    }
    unsigned outcomes = walk(filter, to, depth + 1);
    if (rule->matches == YES)
        note(&chain->sure, to->sure.rule, to->sure.in);
    note(&chain->doubt, to->doubt.rule, to->doubt.in);
    if ((outcomes & DROPPED) != 0 && rule->matches == MAYBE)
        note(&chain->doubt, to->sure.rule, to->sure.in);
    return outcomes;
}

static unsigned outcome_of(struct filter *filter, struct filter_chain *chain, const struct filter_rule *rule,
                           int depth)
{
    static const unsigned plain[] = {
        [ACTION_NONE] = GOES_ON,   [ACTION_ACCEPT] = ACCEPTED,     [ACTION_DROP] = DROPPED,
        [ACTION_RETURN] = GOES_ON, [ACTION_REDIRECT] = REDIRECTED, [ACTION_UNKNOWN] = UNKNOWN,
    };
    if (rule->action == ACTION_JUMP || rule->action == ACTION_GOTO)
        return outcome_of_jump(filter, chain, rule, depth);
    if (rule->action == ACTION_DROP && rule->matches == YES)
        note(&chain->sure, rule, chain);
    else if (rule->matches == MAYBE || plain[rule->action] == UNKNOWN || plain[rule->action] == REDIRECTED)
        note(&chain->doubt, rule, chain);
    return plain[rule->action];
}

/* Does the chain end with this rule, for a packet that it surely matches? */
static bool ends_chain(const struct filter_rule *rule, unsigned outcomes)
{
    if (rule->action == ACTION_GOTO || rule->action == ACTION_RETURN)
        return true;
    return (outcomes & GOES_ON) == 0;
}

/* Each chain once: the packet is the same wherever it comes from. */
static unsigned walk(struct filter *filter, struct filter_chain *chain, int depth)
{
    if (chain->walked == CHAIN_LEFT)
        return chain->outcomes;
    chain->walked = CHAIN_ENTERED;
    bool ended = false;
    unsigned all = 0;
    for (size_t i = 0; i < chain->n && !ended; i++) {
        const struct filter_rule *rule = &chain->rules[i];
        if (rule->matches == NO)
            continue;
        unsigned outcomes = outcome_of(filter, chain, rule, depth);
        ended = rule->matches == YES && ends_chain(rule, outcomes);
        bool leaves = rule->action == ACTION_GOTO || rule->action == ACTION_RETURN;
        all |= leaves ? outcomes : outcomes & ~(unsigned)GOES_ON;
    }
    chain->walked = CHAIN_LEFT;
    chain->outcomes = ended ? all : all | GOES_ON;
    return chain->outcomes;
}

static void tell(const struct filter_chain *base, enum firewall_answer answer, bool redirected,
                 struct firewall_verdict *out)
{
    const struct filter_reason *why =
        answer == FIREWALL_UNSURE && base->doubt.rule != NULL ? &base->doubt : &base->sure;
    *out = (struct firewall_verdict){.answer = answer, .redirected = redirected, .policy = why->rule == NULL};
    snprintf(out->family, sizeof out->family, "%s", base->family);
    snprintf(out->table, sizeof out->table, "%s", base->table);
    snprintf(out->base, sizeof out->base, "%s", base->name);
    snprintf(out->chain, sizeof out->chain, "%s", why->rule != NULL ? why->in->name : base->name);
    if (why->rule == NULL)
        return;
    out->handle = why->rule->handle;
    if (why->rule->text != NULL)
        snprintf(out->rule, sizeof out->rule, "%s", why->rule->text);
}

static enum firewall_answer answer_of(const struct filter_chain *base, unsigned outcomes)
{
    if ((outcomes & GOES_ON) != 0)
        outcomes = (outcomes & ~(unsigned)GOES_ON) | (base->policy == ACTION_DROP ? DROPPED : ACCEPTED);
    if ((outcomes & (UNKNOWN | REDIRECTED)) != 0)
        return FIREWALL_UNSURE;
    return outcomes == ACCEPTED ? FIREWALL_OPEN : outcomes == DROPPED ? FIREWALL_CLOSED : FIREWALL_UNSURE;
}

/* A packet has to get through all of them. */
void filter_judge(struct filter *filter, struct firewall_verdict *out)
{
    *out = (struct firewall_verdict){.answer = FIREWALL_OPEN};
    for (size_t i = 0; i < filter->n; i++) {
        struct filter_chain *base = &filter->v[i];
        if (!base->base)
            continue;
        unsigned outcomes = walk(filter, base, 0);
        enum firewall_answer answer = answer_of(base, outcomes);
        if (answer == FIREWALL_OPEN || out->answer == FIREWALL_CLOSED ||
            (answer == FIREWALL_UNSURE && out->answer == FIREWALL_UNSURE))
            continue;
        tell(base, answer, (outcomes & REDIRECTED) != 0, out);
    }
}

/* -- those who write rules for people ------------------------------------------------------------------- */

enum firewall_manager firewall_manager_of(const struct firewall_verdict *verdict, const char *iptables_text)
{
    if (strcmp(verdict->table, "firewalld") == 0)
        return FIREWALL_FIREWALLD;
    if (iptables_text == NULL)
        return FIREWALL_NOBODY;
    if (strstr(iptables_text, "\n:ufw-user-input ") != NULL ||
        strstr(iptables_text, "\n:ufw6-user-input ") != NULL)
        return FIREWALL_UFW;
    return strstr(iptables_text, "\n:INPUT_ZONES ") != NULL ? FIREWALL_FIREWALLD : FIREWALL_NOBODY;
}

/* The words behind "label:" on a line of its own; false when there is no such line. */
static bool words_of(const char *text, const char *label, struct strlist *out)
{
    AUTO_STRLIST lines = STRLIST_INIT;
    size_t len = strlen(label);
    strlist_split(&lines, text, "\n");
    for (size_t i = 0; i < lines.n; i++) {
        const char *line = lines.v[i] + strspn(lines.v[i], " \t");
        if (strncmp(line, label, len) != 0 || line[len] != ':')
            continue;
        strlist_split(out, line + len + 1, " \t\r");
        return true;
    }
    return false;
}

bool firewall_ufw_is_active(const char *text)
{
    AUTO_STRLIST words = STRLIST_INIT;
    return words_of(text, "Status", &words) && words.n == 1 && strcmp(words.v[0], "active") == 0;
}

/* "80/tcp", "8000-9000/tcp" */
static bool range_has(const char *range, int port)
{
    char *end;
    long first = strtol(range, &end, 10), last = first;
    if (end == range)
        return false;
    if (*end == '-')
        last = strtol(end + 1, &end, 10);
    return strcmp(end, "/tcp") == 0 && first <= port && port <= last;
}

enum firewall_answer firewall_judge_zone(const char *text, int port)
{
    AUTO_STRLIST target = STRLIST_INIT, services = STRLIST_INIT, ports = STRLIST_INIT;
    const char *service = port == 80 ? "http" : port == 443 ? "https" : "";
    if (!words_of(text, "services", &services) || !words_of(text, "ports", &ports))
        return FIREWALL_UNSURE;
    bool has_target = words_of(text, "target", &target) && target.n == 1;
    const char *rich = strstr(text, "rich rules:");
    bool has_rules =
        rich != NULL && rich[strlen("rich rules:") + strspn(rich + strlen("rich rules:"), " \t\r\n")] != '\0';
    if (has_rules)
        return FIREWALL_UNSURE;
    if ((service[0] != '\0' && strlist_has(&services, service)) ||
        (has_target && strcmp(target.v[0], "ACCEPT") == 0))
        return FIREWALL_OPEN;
    for (size_t i = 0; i < ports.n; i++)
        if (range_has(ports.v[i], port))
            return FIREWALL_OPEN;
    return FIREWALL_CLOSED;
}

bool firewall_zone_is_valid(const char *zone)
{
    enum { ZONE_MAX = 32 };
    size_t len = strlen(zone);
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)zone[i]) && (i == 0 || strchr("_-", zone[i]) == NULL))
            return false;
    return len > 0 && len <= ZONE_MAX;
}
