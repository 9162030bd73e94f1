/*
 * What `nft -j list ruleset` prints (libnftables-json(5)).
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "firewall_internal.h"
#include "tlsup/mem.h"

enum { NESTED_MAX = 16 };

/* What of a packet a rule asks about. */
enum facet {
    FACET_UNKNOWN,
    FACET_OTHER_PACKET, /* something that a TCP packet of this family does not have */
    FACET_INTERFACE,
    FACET_LINK,
    FACET_PROTOCOL, /* of the transport */
    FACET_FAMILY,
    FACET_PORT,
    FACET_SOURCE_PORT,
    FACET_SOURCE,
    FACET_DESTINATION,
    FACET_STATE,
    FACET_STATUS, /* of a connection that has been seen before, or led elsewhere */
    FACET_DIRECTION,
    FACET_CAST,
    FACET_WHOSE,     /* fib daddr type */
    FACET_KNOWS_WAY, /* fib saddr oif: is the sender to be reached? */
    FACET_FLAGS,
};

struct ruleset {
    const struct firewall_packet *packet;
    const struct strlist *without;
    json_t *items;
    json_t *named; /* the sets and maps among them, by name_of_set() */
    struct filter filter;
    const char *family, *table; /* of the rule that is read */
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* -- what is asked about -------------------------------------------------------------------------------- */

static enum facet facet_of_meta(const char *key)
{
    static const struct {
        const char *key;
        enum facet facet;
    } keys[] = {
        {"iifname", FACET_INTERFACE},  {"iif", FACET_INTERFACE},        {"iiftype", FACET_LINK},
        {"l4proto", FACET_PROTOCOL},   {"nfproto", FACET_FAMILY},       {"protocol", FACET_FAMILY},
        {"pkttype", FACET_CAST},       {"oifname", FACET_OTHER_PACKET}, {"oif", FACET_OTHER_PACKET},
        {"skuid", FACET_OTHER_PACKET}, {"skgid", FACET_OTHER_PACKET},
    };
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        if (strcmp(keys[i].key, key) == 0)
            return keys[i].facet;
    return FACET_UNKNOWN;
}

static enum facet facet_of_payload(const struct firewall_packet *packet, const json_t *payload)
{
    static const struct {
        const char *protocol, *field;
        int family; /* that has it; 0 = both */
        enum facet facet;
    } fields[] = {
        {"tcp", "dport", 0, FACET_PORT},       {"tcp", "sport", 0, FACET_SOURCE_PORT},
        {"th", "dport", 0, FACET_PORT},        {"th", "sport", 0, FACET_SOURCE_PORT},
        {"tcp", "flags", 0, FACET_FLAGS},      {"tcp", NULL, 0, FACET_UNKNOWN},
        {"ip", "saddr", 4, FACET_SOURCE},      {"ip", "daddr", 4, FACET_DESTINATION},
        {"ip", "protocol", 4, FACET_PROTOCOL}, {"ip", NULL, 4, FACET_UNKNOWN},
        {"ip6", "saddr", 6, FACET_SOURCE},     {"ip6", "daddr", 6, FACET_DESTINATION},
        {"ip6", "nexthdr", 6, FACET_PROTOCOL}, {"ip6", NULL, 6, FACET_UNKNOWN},
        {"ether", NULL, 0, FACET_UNKNOWN},     {"vlan", NULL, 0, FACET_UNKNOWN},
    };
    const char *protocol = text_of(payload, "protocol"), *field = text_of(payload, "field");
    if (protocol[0] == '\0')
        return FACET_UNKNOWN; /* raw bits */
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        if (strcmp(fields[i].protocol, protocol) != 0 ||
            (fields[i].field != NULL && strcmp(fields[i].field, field) != 0))
            continue;
        bool other = fields[i].family != 0 && fields[i].family != packet->family;
        return other ? FACET_OTHER_PACKET : fields[i].facet;
    }
    return FACET_OTHER_PACKET; /* udp, icmp, icmpv6, ... */
}

static bool list_has(const json_t *list, const char *word)
{
    size_t i;
    json_t *each;
    json_array_foreach(list, i, each) if (json_is_string(each) &&
                                          strcmp(json_string_value(each), word) == 0) return true;
    return json_is_string(list) && strcmp(json_string_value(list), word) == 0;
}

static enum facet facet_of_route(const json_t *fib)
{
    const json_t *flags = json_object_get(fib, "flags");
    const char *result = text_of(fib, "result");
    if (strcmp(result, "type") == 0 && list_has(flags, "daddr"))
        return FACET_WHOSE;
    return strcmp(result, "oif") == 0 && list_has(flags, "saddr") ? FACET_KNOWS_WAY : FACET_UNKNOWN;
}

static enum facet facet_of_connection(const char *key)
{
    static const struct {
        const char *key;
        enum facet facet;
    } keys[] = {{"state", FACET_STATE}, {"status", FACET_STATUS}, {"direction", FACET_DIRECTION}};
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        if (strcmp(keys[i].key, key) == 0)
            return keys[i].facet;
    return FACET_UNKNOWN;
}

static enum facet facet_of(const struct firewall_packet *packet, const json_t *left)
{
    json_t *inner;
    if ((inner = json_object_get(left, "meta")) != NULL)
        return facet_of_meta(text_of(inner, "key"));
    if ((inner = json_object_get(left, "payload")) != NULL)
        return facet_of_payload(packet, inner);
    if ((inner = json_object_get(left, "fib")) != NULL)
        return facet_of_route(inner);
    if ((inner = json_object_get(left, "ct")) != NULL)
        return facet_of_connection(text_of(inner, "key"));
    if (json_object_get(left, "exthdr") != NULL)
        return FACET_OTHER_PACKET; /* a routing header, a fragment */
    return FACET_UNKNOWN;
}

/* -- does a value fit? ---------------------------------------------------------------------------------- */

static enum maybe fits(struct ruleset *set, const json_t *left, const json_t *right, int depth);

static bool number_of(const json_t *value, long *out)
{
    static const struct {
        const char *name;
        long number;
    } services[] = {{"http", 80}, {"https", 443}};
    if (json_is_integer(value)) {
        *out = (long)json_integer_value(value);
        return true;
    }
    for (size_t i = 0; json_is_string(value) && i < COUNT_OF(services); i++)
        if (strcmp(json_string_value(value), services[i].name) == 0) {
            *out = services[i].number;
            return true;
        }
    return false;
}

static enum maybe fits_port(const struct firewall_packet *packet, enum facet facet, const json_t *first,
                            const json_t *last)
{
    long from = 0, to = 0;
    if (!number_of(first, &from) || !number_of(last, &to))
        return MAYBE;
    if (facet == FACET_SOURCE_PORT)
        return packet_sent_from_ports(from, to);
    return from <= packet->port && packet->port <= to ? YES : NO;
}

static enum maybe fits_protocol(const json_t *value)
{
    if (json_is_integer(value))
        return json_integer_value(value) == 6 ? YES : NO;
    return json_is_string(value) && strcmp(json_string_value(value), "tcp") == 0 ? YES : NO;
}

static enum maybe fits_family(const struct firewall_packet *packet, const json_t *value)
{
    static const char *const four[] = {"ipv4", "ip"}, *const six[] = {"ipv6", "ip6"};
    const char *const *names = packet->family == 6 ? six : four;
    const char *text = json_string_value(value);
    if (text == NULL)
        return MAYBE;
    return strcmp(text, names[0]) == 0 || strcmp(text, names[1]) == 0 ? YES : NO;
}

/* One word, number or address. */
static enum maybe fits_plain(const struct ruleset *set, enum facet facet, const json_t *value)
{
    const struct firewall_packet *packet = set->packet;
    const char *text = json_string_value(value);
    switch (facet) {
    case FACET_INTERFACE:
        return text != NULL ? packet_comes_by(packet, text, '*') : MAYBE;
    case FACET_LINK:
        return text != NULL && strcmp(text, "loopback") == 0 ? NO : MAYBE;
    case FACET_PROTOCOL:
        return fits_protocol(value);
    case FACET_FAMILY:
        return fits_family(packet, value);
    case FACET_PORT:
    case FACET_SOURCE_PORT:
        return fits_port(packet, facet, value, value);
    case FACET_SOURCE:
        return text != NULL ? packet_comes_from(packet, text) : MAYBE;
    case FACET_DESTINATION:
        return text != NULL ? packet_goes_to(packet, text) : MAYBE;
    case FACET_STATE:
        return text != NULL && strcmp(text, "new") == 0 ? YES : NO;
    case FACET_STATUS:
        return NO;
    case FACET_DIRECTION:
        return text != NULL && strcmp(text, "original") == 0 ? YES : NO;
    case FACET_CAST:
        return text != NULL && (strcmp(text, "host") == 0 || strcmp(text, "unicast") == 0) ? YES : NO;
    case FACET_WHOSE:
        return text != NULL && strcmp(text, "local") == 0 ? YES : NO;
    case FACET_KNOWS_WAY: /* "is there one?" is asked by true and false */
        return json_is_true(value)                                      ? YES
               : json_is_false(value) || json_integer_value(value) == 0 ? NO
                                                                        : MAYBE;
    default:
        return MAYBE;
    }
}

/* {"prefix": {"addr": "10.0.0.0", "len": 8}} */
static enum maybe fits_prefix(const struct ruleset *set, enum facet facet, const json_t *prefix)
{
    AUTO_FREE char *net = mem_fmt("%s/%lld", text_of(prefix, "addr"),
                                  (long long)json_integer_value(json_object_get(prefix, "len")));
    if (facet == FACET_SOURCE)
        return packet_comes_from(set->packet, net);
    return facet == FACET_DESTINATION ? packet_goes_to(set->packet, net) : MAYBE;
}

static enum maybe fits_range(const struct ruleset *set, enum facet facet, const json_t *range)
{
    if (facet == FACET_PORT || facet == FACET_SOURCE_PORT)
        return fits_port(set->packet, facet, json_array_get(range, 0), json_array_get(range, 1));
    if (facet == FACET_DESTINATION)
        return MAYBE;
    /* a stretch of addresses that somebody has written down */
    return facet == FACET_SOURCE && !set->packet->named ? NO : MAYBE;
}

static char *name_of_set(const char *kind, const char *family, const char *table, const char *name)
{
    return mem_fmt("%s\n%s\n%s\n%s", kind, family, table, name);
}

/* A ruleset may have ten thousands of them. */
static void list_named(struct ruleset *set)
{
    static const char *const kinds[] = {"set", "map"};
    size_t i;
    json_t *item, *named;
    set->named = json_object();
    json_array_foreach(set->items, i, item)
    {
        for (size_t k = 0; k < COUNT_OF(kinds); k++) {
            if ((named = json_object_get(item, kinds[k])) == NULL)
                continue;
            AUTO_FREE char *key = name_of_set(kinds[k], text_of(named, "family"), text_of(named, "table"),
                                              text_of(named, "name"));
            if (json_object_get(set->named, key) == NULL && json_object_set(set->named, key, named) != 0)
                mem_exhausted();
        }
    }
}

/* "@web_ports": a set or a map of the same table. */
static const json_t *find_named(const struct ruleset *set, const char *kind, const char *name)
{
    AUTO_FREE char *key = name_of_set(kind, set->family, set->table, name);
    return json_object_get(set->named, key);
}

static enum maybe fits_any(struct ruleset *set, const json_t *left, const json_t *list, int depth)
{
    enum maybe is = NO;
    size_t i;
    json_t *each;
    json_array_foreach(list, i, each)
    {
        is = maybe_either(is, fits(set, left, each, depth + 1));
        if (is == YES)
            break;
    }
    return is;
}

static enum maybe fits_named(struct ruleset *set, const json_t *left, const char *name, int depth)
{
    const json_t *named = find_named(set, "set", name);
    const json_t *elements = json_object_get(named, "elem");
    if (named == NULL)
        return MAYBE;
    return elements != NULL ? fits_any(set, left, elements, depth) : NO;
}

static enum maybe fits_concat(struct ruleset *set, const json_t *left, const json_t *right, int depth)
{
    enum maybe is = YES;
    size_t i;
    json_t *part;
    if (json_array_size(left) != json_array_size(right))
        return MAYBE;
    json_array_foreach(left, i, part) is =
        maybe_both(is, fits(set, part, json_array_get(right, i), depth + 1));
    return is;
}

static enum maybe fits(struct ruleset *set, const json_t *left, const json_t *right, int depth)
{
    enum facet facet = facet_of(set->packet, left);
    const json_t *inner, *parts = json_object_get(left, "concat");
    if (depth > NESTED_MAX)
        return MAYBE;
    if (facet == FACET_OTHER_PACKET)
        return NO;
    if (json_is_string(right) && json_string_value(right)[0] == '@')
        return fits_named(set, left, json_string_value(right) + 1, depth);
    if (json_is_string(right) && strcmp(json_string_value(right), "*") == 0)
        return YES;
    if (json_is_array(right))
        return fits_any(set, left, right, depth);
    if ((inner = json_object_get(right, "set")) != NULL || (inner = json_object_get(right, "|")) != NULL)
        return fits(set, left, inner, depth + 1);
    if ((inner = json_object_get(right, "elem")) != NULL)
        return fits(set, left, json_object_get(inner, "val"), depth + 1);
    if (parts != NULL)
        return fits_concat(set, parts, json_object_get(right, "concat"), depth);
    if ((inner = json_object_get(right, "range")) != NULL)
        return fits_range(set, facet, inner);
    if ((inner = json_object_get(right, "prefix")) != NULL)
        return fits_prefix(set, facet, inner);
    return json_is_object(right) ? MAYBE : fits_plain(set, facet, right);
}

/* -- flags of TCP --------------------------------------------------------------------------------------- */

static unsigned flag_bits(const json_t *value, bool *known, int depth)
{
    const json_t *list = json_is_array(value) ? value : json_object_get(value, "|");
    unsigned bits = 0;
    size_t i;
    json_t *each;
    if (json_is_integer(value))
        return (unsigned)json_integer_value(value);
    if (json_is_string(value))
        return tcp_flag(json_string_value(value), known);
    if (!json_is_array(list) || depth > NESTED_MAX) {
        *known = false;
        return 0;
    }
    json_array_foreach(list, i, each) bits |= flag_bits(each, known, depth + 1);
    return bits;
}

/* "tcp flags syn", "tcp flags & (fin|syn|rst|ack) == syn" */
static enum maybe fits_flags(const json_t *left, const json_t *right, const char *op)
{
    const json_t *masked = json_object_get(left, "&");
    bool known = true;
    unsigned mask = masked != NULL ? flag_bits(json_array_get(masked, 1), &known, 0) : 0xFF;
    unsigned wanted = flag_bits(right, &known, 0);
    bool same = (TCP_FLAG_SYN & mask) == wanted, some = (TCP_FLAG_SYN & wanted) != 0;
    if (!known)
        return MAYBE;
    if (strcmp(op, "in") == 0)
        return some ? YES : NO;
    if (strcmp(op, "==") == 0)
        return same ? YES : NO;
    return strcmp(op, "!=") == 0 ? (same ? NO : YES) : MAYBE;
}

static bool is_about_flags(const struct firewall_packet *packet, const json_t *left)
{
    const json_t *masked = json_object_get(left, "&");
    return facet_of(packet, masked != NULL ? json_array_get(masked, 0) : left) == FACET_FLAGS;
}

/* -- statements ----------------------------------------------------------------------------------------- */

static enum maybe compare(const struct ruleset *set, const json_t *left, const json_t *right, const char *op)
{
    long number = 0, port = set->packet->port;
    if (facet_of(set->packet, left) != FACET_PORT || !number_of(right, &number))
        return MAYBE;
    bool is = strcmp(op, "<") == 0    ? port < number
              : strcmp(op, ">") == 0  ? port > number
              : strcmp(op, "<=") == 0 ? port <= number
                                      : port >= number;
    return is ? YES : NO;
}

static enum maybe match(struct ruleset *set, const json_t *statement)
{
    const json_t *left = json_object_get(statement, "left"), *right = json_object_get(statement, "right");
    const char *op = text_of(statement, "op");
    if (facet_of(set->packet, left) == FACET_OTHER_PACKET)
        return NO; /* "udp dport != 53" wants a UDP packet all the same */
    if (is_about_flags(set->packet, left))
        return fits_flags(left, right, op);
    if (strcmp(op, "<") == 0 || strcmp(op, ">") == 0 || strcmp(op, "<=") == 0 || strcmp(op, ">=") == 0)
        return compare(set, left, right, op);
    if (strcmp(op, "!=") == 0)
        return maybe_not(fits(set, left, right, 0));
    return strcmp(op, "==") == 0 || strcmp(op, "in") == 0 || op[0] == '\0' ? fits(set, left, right, 0)
                                                                           : MAYBE;
}

/* "over" so much: not for the first who comes. */
static enum maybe within(const json_t *limit)
{
    return json_is_true(json_object_get(limit, "inv")) ? NO : YES;
}

/* "add @seen { ip saddr limit rate over 10/minute }" */
static enum maybe within_all(const json_t *statements)
{
    enum maybe is = YES;
    size_t i;
    json_t *each;
    json_array_foreach(statements, i, each)
    {
        const json_t *limit = json_object_get(each, "limit");
        limit = limit != NULL ? limit : json_object_get(each, "ct count");
        if (limit != NULL)
            is = maybe_both(is, within(limit));
    }
    return is;
}

/* "meter seen { ip saddr limit rate over 10/minute }": each sender has a count of his own */
static enum maybe within_own(const json_t *statement)
{
    const json_t *limit = json_object_get(statement, "limit");
    limit = limit != NULL ? limit : json_object_get(statement, "ct count");
    limit = limit != NULL ? limit : json_object_get(statement, "quota");
    return limit != NULL ? within(limit) : MAYBE;
}

static const struct {
    const char *word;
    enum action action;
} verdicts[] = {
    {"accept", ACTION_ACCEPT},     {"drop", ACTION_DROP},       {"reject", ACTION_DROP},
    {"return", ACTION_RETURN},     {"continue", ACTION_NONE},   {"jump", ACTION_JUMP},
    {"goto", ACTION_GOTO},         {"queue", ACTION_UNKNOWN},   {"redirect", ACTION_REDIRECT},
    {"dnat", ACTION_REDIRECT},     {"tproxy", ACTION_REDIRECT}, {"synproxy", ACTION_UNKNOWN},
    {"masquerade", ACTION_ACCEPT}, {"snat", ACTION_ACCEPT},     {"fwd", ACTION_REDIRECT},
};

static bool verdict_of(const char *word, enum action *out)
{
    for (size_t i = 0; i < COUNT_OF(verdicts); i++)
        if (strcmp(verdicts[i].word, word) == 0) {
            *out = verdicts[i].action;
            return true;
        }
    return false;
}

/* What changes nothing about where the packet goes. */
static bool is_aside(const char *word)
{
    static const char *const words[] = {"counter",    "log",     "comment",  "mangle",  "ct helper",
                                        "ct timeout", "notrack", "flow",     "dup",     "ct expectation",
                                        "map",        "last",    "cthelper", "secmark", "reset"};
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (strcmp(words[i], word) == 0)
            return true;
    return false;
}

struct rule_reading {
    struct filter_chain *chain;
    int64_t handle;
    enum maybe matches;
    bool done;
};

static void add_verdict(struct rule_reading *rule, enum maybe matches, enum action action,
                        const json_t *value)
{
    const char *target = action == ACTION_JUMP || action == ACTION_GOTO ? text_of(value, "target") : NULL;
    filter_rule_add(rule->chain, matches, action, target, rule->handle, NULL);
}

/* {"accept": null}, {"jump": {"target": "x"}} */
static void add_verdict_object(struct rule_reading *rule, enum maybe matches, const json_t *object)
{
    enum action action = ACTION_UNKNOWN;
    const char *word = json_object_iter_key(json_object_iter((json_t *)(uintptr_t)object));
    if (word == NULL || !verdict_of(word, &action))
        action = ACTION_UNKNOWN;
    add_verdict(rule, matches, action, word != NULL ? json_object_get(object, word) : NULL);
}

/* Each element is a rule of its own: one fits at most. */
static void add_verdict_map(struct ruleset *set, struct rule_reading *rule, const json_t *vmap)
{
    const json_t *key = json_object_get(vmap, "key"), *data = json_object_get(vmap, "data");
    const json_t *elements = json_object_get(data, "set");
    size_t i;
    json_t *pair;
    if (json_is_string(data) && json_string_value(data)[0] == '@')
        elements = json_object_get(find_named(set, "map", json_string_value(data) + 1), "elem");
    else if (elements == NULL)
        filter_rule_add(rule->chain, rule->matches, ACTION_UNKNOWN, NULL, rule->handle, NULL);
    json_array_foreach(elements, i, pair)
    {
        enum maybe is = maybe_both(rule->matches, fits(set, key, json_array_get(pair, 0), 0));
        if (is != NO)
            add_verdict_object(rule, is, json_array_get(pair, 1));
    }
}

static void read_statement(struct ruleset *set, struct rule_reading *rule, const char *word,
                           const json_t *value)
{
    enum action action;
    enum maybe is = YES;
    if (strcmp(word, "match") == 0) {
        is = match(set, value);
    } else if (strcmp(word, "limit") == 0 || strcmp(word, "ct count") == 0 || strcmp(word, "quota") == 0) {
        is = within(value);
    } else if (strcmp(word, "set") == 0) {
        is = within_all(json_object_get(value, "stmt"));
    } else if (strcmp(word, "meter") == 0) {
        is = within_own(json_object_get(value, "stmt"));
    } else if (strcmp(word, "vmap") == 0) {
        add_verdict_map(set, rule, value);
        rule->done = true;
    } else if (verdict_of(word, &action)) {
        add_verdict(rule, rule->matches, action, value);
        rule->done = true;
    } else if (!is_aside(word)) {
        is = MAYBE; /* {"xt": ...}, and what later releases have */
    }
    rule->matches = maybe_both(rule->matches, is);
}

/* A rule of a module that nft has no words for may do anything. */
static bool is_foreign(const json_t *statements)
{
    size_t i;
    json_t *each;
    json_array_foreach(statements, i, each) if (json_object_get(each, "xt") != NULL) return true;
    return false;
}

static bool is_left_out(const struct ruleset *set, const char *family, const char *table)
{
    AUTO_FREE char *name = mem_fmt("%s %s", family, table);
    return strlist_has(set->without, name);
}

static void read_rule(struct ruleset *set, const json_t *item)
{
    const json_t *statements = json_object_get(item, "expr");
    set->family = text_of(item, "family");
    set->table = text_of(item, "table");
    struct rule_reading rule = {
        .chain = filter_chain_find(&set->filter, set->family, set->table, text_of(item, "chain")),
        .handle = json_integer_value(json_object_get(item, "handle")),
        .matches = YES};
    size_t i;
    json_t *each;
    if (rule.chain == NULL)
        return;
    json_array_foreach(statements, i, each)
    {
        const char *word = json_object_iter_key(json_object_iter(each));
        if (word != NULL && rule.matches != NO && !rule.done)
            read_statement(set, &rule, word, json_object_get(each, word));
    }
    if (!rule.done && rule.matches != NO && is_foreign(statements))
        filter_rule_add(rule.chain, MAYBE, ACTION_UNKNOWN, NULL, rule.handle, NULL);
}

/* -- chains --------------------------------------------------------------------------------------------- */

static bool is_of_family(const struct firewall_packet *packet, const char *family)
{
    return strcmp(family, "inet") == 0 || strcmp(family, "netdev") == 0 ||
           strcmp(family, packet->family == 6 ? "ip6" : "ip") == 0;
}

/* Chains of one interface; several have a list of them. */
static bool is_of_interface(const struct firewall_packet *packet, const json_t *chain)
{
    const json_t *dev = json_object_get(chain, "dev");
    return dev == NULL || packet->interface == NULL || list_has(dev, packet->interface);
}

static bool is_on_the_way(const struct firewall_packet *packet, const json_t *chain)
{
    static const char *const hooks[] = {"ingress", "prerouting", "input"};
    const char *hook = text_of(chain, "hook");
    for (size_t i = 0; i < COUNT_OF(hooks); i++)
        if (strcmp(hooks[i], hook) == 0)
            return is_of_family(packet, text_of(chain, "family")) && is_of_interface(packet, chain);
    return false;
}

static void read_chain(struct ruleset *set, const json_t *item)
{
    const char *family = text_of(item, "family"), *table = text_of(item, "table");
    if (is_left_out(set, family, table))
        return;
    struct filter_chain *chain = filter_chain_add(&set->filter, family, table, text_of(item, "name"));
    chain->base = is_on_the_way(set->packet, item);
    chain->policy = strcmp(text_of(item, "policy"), "drop") == 0 ? ACTION_DROP : ACTION_ACCEPT;
}

/* Is the table switched off as a whole? nft 1.0.6 prints the table's own name in the place of its flags. */
static enum maybe is_dormant(const struct ruleset *set, const struct filter_chain *chain)
{
    size_t i;
    json_t *item;
    json_array_foreach(set->items, i, item)
    {
        const json_t *table = json_object_get(item, "table"), *flags = json_object_get(table, "flags");
        if (table == NULL || strcmp(text_of(table, "name"), chain->table) != 0 ||
            strcmp(text_of(table, "family"), chain->family) != 0)
            continue;
        if (list_has(flags, "dormant"))
            return YES;
        return flags != NULL && list_has(flags, chain->table) ? MAYBE : NO;
    }
    return NO;
}

static void heed_flags(const struct ruleset *set, struct filter_chain *chain)
{
    enum maybe dormant = chain->base ? is_dormant(set, chain) : NO;
    if (dormant == YES)
        chain->base = false;
    else if (dormant == MAYBE)
        filter_rule_add(chain, MAYBE, ACTION_ACCEPT, NULL, 0, "flags of the table that nft does not tell");
}

static void read_all(struct ruleset *set)
{
    size_t i;
    json_t *item, *inner;
    list_named(set);
    json_array_foreach(set->items, i, item) /* chains first: rules jump forward */
        if ((inner = json_object_get(item, "chain")) != NULL) read_chain(set, inner);
    for (i = 0; i < set->filter.n; i++)
        heed_flags(set, &set->filter.v[i]);
    json_array_foreach(set->items, i, item) if ((inner = json_object_get(item, "rule")) != NULL)
        read_rule(set, inner);
}

void firewall_judge_nft(const char *json, size_t len, const struct firewall_packet *packet,
                        const struct strlist *without, struct firewall_verdict *out)
{
    json_t *root = json_loadb(json, len, JSON_ALLOW_NUL, NULL);
    struct ruleset set = {.packet = packet,
                          .without = without,
                          .items = json_object_get(root, "nftables"),
                          .family = "",
                          .table = ""};
    *out = (struct firewall_verdict){.answer = FIREWALL_UNSURE};
    if (json_is_array(set.items)) {
        read_all(&set);
        filter_judge(&set.filter, out);
    }
    filter_clear(&set.filter);
    json_decref(set.named);
    json_decref(root);
}
