/*
 * What iptables-save and ip6tables-save print.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "firewall_internal.h"
#include "tlsup/mem.h"

/* -- words ---------------------------------------------------------------------------------------------- */

/* As its own reader takes them: double quotes, a backslash inside of them. */
static void split_words(const char *line, size_t len, struct strlist *out)
{
    AUTO_BUF word = BUF_INIT;
    bool quoted = false, any = false;
    for (size_t i = 0; i <= len; i++) {
        char c = i < len ? line[i] : ' ';
        if (c == '"') {
            quoted = !quoted;
            any = true;
        } else if (quoted && c == '\\' && i + 1 < len) {
            buf_addc(&word, line[++i]);
        } else if (!quoted && (c == ' ' || c == '\t' || c == '\r')) {
            if (any)
                strlist_add(out, buf_str(&word));
            buf_reset(&word);
            any = false;
        } else {
            buf_addc(&word, c);
            any = true;
        }
    }
}

/* -- what a rule asks for ------------------------------------------------------------------------------- */

typedef enum maybe test_fn(const struct firewall_packet *packet, const char *value);

static enum maybe test_protocol(const struct firewall_packet *packet, const char *value)
{
    (void)packet;
    static const char *const ours[] = {"tcp", "6", "all", "0"};
    for (size_t i = 0; i < COUNT_OF(ours); i++)
        if (strcasecmp(value, ours[i]) == 0)
            return YES;
    return NO;
}

static enum maybe test_source(const struct firewall_packet *packet, const char *value)
{
    return packet_comes_from(packet, value);
}

static enum maybe test_destination(const struct firewall_packet *packet, const char *value)
{
    return packet_goes_to(packet, value);
}

static enum maybe test_interface(const struct firewall_packet *packet, const char *value)
{
    return packet_comes_by(packet, value, '+');
}

/* "80", "http", "80,443", "1:1024", ":1024", "1024:" */
static enum maybe port_range(const char *value, long *first, long *last)
{
    char *end;
    if (strcmp(value, "http") == 0 || strcmp(value, "https") == 0) {
        *first = *last = value[4] == '\0' ? 80 : 443;
        return YES;
    }
    *first = strtol(value, &end, 10);
    bool open = *end == ':';
    *last = *first;
    if (open)
        *last = end[1] == '\0' ? 65535 : strtol(end + 1, &end, 10);
    return *end == '\0' || (open && end[1] == '\0') ? YES : MAYBE;
}

static enum maybe test_port(const struct firewall_packet *packet, const char *value)
{
    AUTO_STRLIST ports = STRLIST_INIT;
    enum maybe is = NO;
    strlist_split(&ports, value, ",");
    for (size_t i = 0; i < ports.n; i++) {
        long first = 0, last = 0;
        enum maybe known = port_range(ports.v[i], &first, &last);
        is = maybe_either(is, known != YES                                    ? MAYBE
                              : first <= packet->port && packet->port <= last ? YES
                                                                              : NO);
    }
    return is;
}

static enum maybe test_source_port(const struct firewall_packet *packet, const char *value)
{
    AUTO_STRLIST ports = STRLIST_INIT;
    enum maybe is = NO;
    (void)packet;
    strlist_split(&ports, value, ",");
    for (size_t i = 0; i < ports.n; i++) {
        long first = 0, last = 0;
        enum maybe known = port_range(ports.v[i], &first, &last);
        is = maybe_either(is, known != YES ? MAYBE : packet_sent_from_ports(first, last));
    }
    return is;
}

static enum maybe test_state(const struct firewall_packet *packet, const char *value)
{
    AUTO_STRLIST states = STRLIST_INIT;
    (void)packet;
    strlist_split(&states, value, ",");
    return strlist_has(&states, "NEW") ? YES : NO;
}

static enum maybe test_destination_kind(const struct firewall_packet *packet, const char *value)
{
    AUTO_STRLIST kinds = STRLIST_INIT;
    (void)packet;
    strlist_split(&kinds, value, ",");
    return strlist_has(&kinds, "LOCAL") ? YES : NO;
}

static enum maybe test_packet_kind(const struct firewall_packet *packet, const char *value)
{
    (void)packet;
    return strcmp(value, "unicast") == 0 ? YES : NO;
}

static enum maybe test_source_range(const struct firewall_packet *packet, const char *value)
{
    (void)value;
    return packet->named ? MAYBE : NO;
}

/* What everybody meets as long as nobody knocks too often. */
static enum maybe always(const struct firewall_packet *packet, const char *value)
{
    (void)packet;
    (void)value;
    return YES;
}

static enum maybe never(const struct firewall_packet *packet, const char *value)
{
    (void)packet;
    (void)value;
    return NO;
}

/* By how many words follow. */
static const struct option {
    const char *name;
    int words;
    test_fn *test; /* NULL = says nothing by itself */
} options[] = {
    {"-p", 1, test_protocol},
    {"--protocol", 1, test_protocol},
    {"-s", 1, test_source},
    {"--source", 1, test_source},
    {"-d", 1, test_destination},
    {"--destination", 1, test_destination},
    {"-i", 1, test_interface},
    {"--in-interface", 1, test_interface},
    {"-o", 1, never},
    {"-f", 0, never},
    {"-m", 1, NULL},
    {"--match", 1, NULL},
    {"--dport", 1, test_port},
    {"--dports", 1, test_port},
    {"--destination-port", 1, test_port},
    {"--sport", 1, test_source_port},
    {"--sports", 1, test_source_port},
    {"--source-port", 1, test_source_port},
    {"--state", 1, test_state},
    {"--ctstate", 1, test_state},
    {"--ctstatus", 1, never},
    {"--syn", 0, always},
    {"--dst-type", 1, test_destination_kind},
    {"--src-type", 1, never},
    {"--limit-iface-in", 0, NULL},
    {"--pkt-type", 1, test_packet_kind},
    {"--limit", 1, always},
    {"--limit-burst", 1, NULL},
    {"--hashlimit-upto", 1, always},
    {"--hashlimit", 1, always},
    {"--hashlimit-above", 1, never},
    {"--hashlimit-burst", 1, NULL},
    {"--hashlimit-mode", 1, NULL},
    {"--hashlimit-srcmask", 1, NULL},
    {"--hashlimit-dstmask", 1, NULL},
    {"--hashlimit-name", 1, NULL},
    {"--hashlimit-htable-size", 1, NULL},
    {"--hashlimit-htable-max", 1, NULL},
    {"--hashlimit-htable-expire", 1, NULL},
    {"--hashlimit-htable-gcinterval", 1, NULL},
    {"--hashlimit-rate-match", 0, NULL},
    {"--hashlimit-rate-interval", 1, NULL},
    {"--connlimit-above", 1, never},
    {"--connlimit-upto", 1, always},
    {"--connlimit-mask", 1, NULL},
    {"--connlimit-saddr", 0, NULL},
    {"--connlimit-daddr", 0, NULL},
    {"--set", 0, always},
    {"--update", 0, never},
    {"--rcheck", 0, never},
    {"--remove", 0, never},
    {"--seconds", 1, NULL},
    {"--hitcount", 1, NULL},
    {"--reap", 0, NULL},
    {"--rttl", 0, NULL},
    {"--name", 1, NULL},
    {"--mask", 1, NULL},
    {"--rsource", 0, NULL},
    {"--rdest", 0, NULL},
    {"--comment", 1, NULL},
    {"--rt-type", 1, never},
    {"--rt-segsleft", 1, never},
    {"--icmp-type", 1, never},
    {"--icmpv6-type", 1, never},
    {"--src-range", 1, test_source_range},
};

static const struct option *option_of(const char *word)
{
    for (size_t i = 0; i < COUNT_OF(options); i++)
        if (strcmp(options[i].name, word) == 0)
            return &options[i];
    return NULL;
}

/* --tcp-flags MASK SET */
static enum maybe test_flags(const char *mask, const char *set)
{
    unsigned bits[2] = {0, 0};
    bool known = true;
    const char *const lists[] = {mask, set};
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        AUTO_STRLIST names = STRLIST_INIT;
        strlist_split(&names, lists[i], ",");
        for (size_t k = 0; k < names.n; k++)
            bits[i] |= tcp_flag(names.v[k], &known);
    }
    return !known ? MAYBE : (TCP_FLAG_SYN & bits[0]) == bits[1] ? YES : NO;
}

/* A set of addresses is of those that are known for something: nobody knows our visitor. */
static enum maybe test_set(const struct firewall_packet *packet, const char *directions)
{
    return strcmp(directions, "src") == 0 && !packet->named ? NO : MAYBE;
}

/* -- what it does --------------------------------------------------------------------------------------- */

static enum action action_of(const char *target)
{
    static const struct {
        const char *name;
        enum action action;
    } actions[] = {
        {"ACCEPT", ACTION_ACCEPT},    {"DROP", ACTION_DROP},       {"REJECT", ACTION_DROP},
        {"TARPIT", ACTION_DROP},      {"RETURN", ACTION_RETURN},   {"REDIRECT", ACTION_REDIRECT},
        {"DNAT", ACTION_REDIRECT},    {"TPROXY", ACTION_REDIRECT}, {"NETMAP", ACTION_REDIRECT},
        {"QUEUE", ACTION_UNKNOWN},    {"NFQUEUE", ACTION_UNKNOWN}, {"SYNPROXY", ACTION_UNKNOWN},
        {"LOG", ACTION_NONE},         {"NFLOG", ACTION_NONE},      {"ULOG", ACTION_NONE},
        {"MARK", ACTION_NONE},        {"CONNMARK", ACTION_NONE},   {"CT", ACTION_NONE},
        {"NOTRACK", ACTION_NONE},     {"TCPMSS", ACTION_NONE},     {"SET", ACTION_NONE},
        {"TRACE", ACTION_NONE},       {"AUDIT", ACTION_NONE},      {"CHECKSUM", ACTION_NONE},
        {"CLASSIFY", ACTION_NONE},    {"SECMARK", ACTION_NONE},    {"CONNSECMARK", ACTION_NONE},
        {"TOS", ACTION_NONE},         {"DSCP", ACTION_NONE},       {"TTL", ACTION_NONE},
        {"HL", ACTION_NONE},          {"TEE", ACTION_NONE},        {"HMARK", ACTION_NONE},
        {"TCPOPTSTRIP", ACTION_NONE}, {"CTMARK", ACTION_NONE},     {"IDLETIMER", ACTION_NONE},
    };
    for (size_t i = 0; i < COUNT_OF(actions); i++)
        if (strcmp(actions[i].name, target) == 0)
            return actions[i].action;
    return ACTION_JUMP; /* to a chain of that name; where there is none, nothing is known of it */
}

/* -- lines ---------------------------------------------------------------------------------------------- */

struct reader {
    const struct firewall_packet *packet;
    struct filter filter;
    const char *family;
    char table[FIREWALL_NAME_BYTES];
};

/* The hooks that a packet meets on its way to a program here. */
static bool is_on_the_way(const char *table, const char *chain)
{
    static const char *const hooks[][2] = {
        {"raw", "PREROUTING"}, {"mangle", "PREROUTING"}, {"nat", "PREROUTING"}, {"mangle", "INPUT"},
        {"filter", "INPUT"},   {"security", "INPUT"},    {"nat", "INPUT"}};
    for (size_t i = 0; i < COUNT_OF(hooks); i++)
        if (strcmp(hooks[i][0], table) == 0 && strcmp(hooks[i][1], chain) == 0)
            return true;
    return false;
}

/* ":INPUT DROP [0:0]", ":mine - [0:0]" */
static void read_chain(struct reader *reader, const struct strlist *words)
{
    const char *name = words->v[0] + 1, *policy = words->n > 1 ? words->v[1] : "-";
    struct filter_chain *chain = filter_chain_add(&reader->filter, reader->family, reader->table, name);
    chain->base = strcmp(policy, "-") != 0 && is_on_the_way(reader->table, name);
    chain->policy = strcmp(policy, "DROP") == 0 ? ACTION_DROP : ACTION_ACCEPT;
}

static enum maybe test_word(const struct firewall_packet *packet, const struct strlist *words, size_t *at)
{
    const char *word = words->v[*at];
    const struct option *option = option_of(word);
    size_t left = words->n - *at - 1;
    if (strcmp(word, "--tcp-flags") == 0 && left >= 2) {
        *at += 2;
        return test_flags(words->v[*at - 1], words->v[*at]);
    }
    if (strcmp(word, "--match-set") == 0 && left >= 2) {
        *at += 2;
        return test_set(packet, words->v[*at]);
    }
    if (option == NULL || left < (size_t)option->words)
        return MAYBE; /* and so are the words that belong to it */
    *at += (size_t)option->words;
    return option->test == NULL ? YES : option->test(packet, words->v[*at]);
}

/* "-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT" */
static void read_rule(struct reader *reader, const struct strlist *words, const char *line)
{
    enum maybe matches = YES;
    enum action action = ACTION_NONE;
    const char *target = NULL;
    for (size_t i = 2; i < words->n && target == NULL; i++) {
        bool not = strcmp(words->v[i], "!") == 0 && i + 1 < words->n;
        i += not ;
        bool goes = strcmp(words->v[i], "-g") == 0 || strcmp(words->v[i], "--goto") == 0;
        if ((goes || strcmp(words->v[i], "-j") == 0 || strcmp(words->v[i], "--jump") == 0) &&
            i + 1 < words->n) {
            target = words->v[i + 1]; /* what follows is the target's own */
            action = goes ? ACTION_GOTO : action_of(target);
            continue;
        }
        enum maybe is = test_word(reader->packet, words, &i);
        matches = maybe_both(matches, not ? maybe_not(is) : is);
    }
    filter_rule_add(filter_chain_add(&reader->filter, reader->family, reader->table, words->v[1]), matches,
                    action, target, 0, line);
}

static void read_line(struct reader *reader, const char *line, size_t len)
{
    AUTO_STRLIST words = STRLIST_INIT;
    AUTO_FREE char *text = mem_ndup(line, len);
    split_words(line, len, &words);
    if (words.n == 0)
        return;
    if (words.v[0][0] == '*')
        snprintf(reader->table, sizeof reader->table, "%s", words.v[0] + 1);
    else if (words.v[0][0] == ':' && reader->table[0] != '\0')
        read_chain(reader, &words);
    else if (strcmp(words.v[0], "-A") == 0 && words.n > 1 && reader->table[0] != '\0')
        read_rule(reader, &words, text);
}

static void each_line(const char *text, size_t len, struct reader *reader)
{
    const char *end = text + len;
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t line_len = (size_t)((newline != NULL ? newline : end) - text);
        read_line(reader, text, line_len);
        text += line_len + 1;
    }
}

void firewall_judge_iptables(const char *text, size_t len, const struct firewall_packet *packet,
                             struct firewall_verdict *out)
{
    struct reader reader = {.packet = packet, .family = packet->family == 6 ? "ip6" : "ip"};
    each_line(text, len, &reader);
    filter_judge(&reader.filter, out);
    filter_clear(&reader.filter);
}

void firewall_iptables_tables(const char *text, size_t len, int family, struct strlist *out)
{
    AUTO_STRLIST lines = STRLIST_INIT;
    AUTO_FREE char *copy = mem_ndup(text, len);
    if (strstr(copy, "(nf_tables)") == NULL)
        return;
    strlist_split(&lines, copy, "\n");
    for (size_t i = 0; i < lines.n; i++) {
        if (lines.v[i][0] != '*')
            continue;
        AUTO_FREE char *name = mem_fmt("%s %s", family == 6 ? "ip6" : "ip", lines.v[i] + 1);
        strlist_add(out, name);
    }
}
