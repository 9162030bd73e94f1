/*
 * test_firewall.c - the rules of packet filters, judged for a visitor; what the tools print may be anything.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tlsup/firewall.h"
#include "tlsup/mem.h"

static const struct strlist nobody = STRLIST_INIT;
static char *const own_v[] = {(char *)(uintptr_t) "203.0.113.5", (char *)(uintptr_t) "2001:db8::5"};
static const struct strlist own = {.v = (char **)(uintptr_t)own_v, .n = 2};

static struct firewall_packet packet_to(int family, int port)
{
    return (struct firewall_packet){.family = family, .port = port, .interface = "eth0", .own = &own};
}

/* -- iptables-save -------------------------------------------------------------------------------------- */

#define FILTER(policy, rules) "*filter\n:INPUT " policy " [0:0]\n:web - [0:0]\n" rules "COMMIT\n"

static void test_iptables_rules(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum firewall_answer at_80, at_443;
    } rows[] = {
        {"", FIREWALL_OPEN, FIREWALL_OPEN},
        {FILTER("ACCEPT", ""), FIREWALL_OPEN, FIREWALL_OPEN},
        {FILTER("DROP", ""), FIREWALL_CLOSED, FIREWALL_CLOSED},
        {FILTER("DROP", "-A INPUT -i lo -j ACCEPT\n"), FIREWALL_CLOSED, FIREWALL_CLOSED},
        {FILTER("DROP", "-A INPUT ! -i lo -j ACCEPT\n"), FIREWALL_OPEN, FIREWALL_OPEN},
        {FILTER("DROP", "-A INPUT -i eth+ -j ACCEPT\n"), FIREWALL_OPEN, FIREWALL_OPEN},
        {FILTER("DROP", "-A INPUT -i eth1 -j ACCEPT\n"), FIREWALL_CLOSED, FIREWALL_CLOSED},
        {FILTER("DROP", "-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT\n"), FIREWALL_OPEN, FIREWALL_CLOSED},
        {FILTER("DROP", "-A INPUT -p udp -m udp --dport 80 -j ACCEPT\n"), FIREWALL_CLOSED, FIREWALL_CLOSED},
        {FILTER("DROP", "-A INPUT -p tcp -m multiport --dports 22,80:90,443 -j ACCEPT\n"), FIREWALL_OPEN,
         FIREWALL_OPEN},
        {FILTER("DROP", "-A INPUT -p tcp -m multiport ! --dports 80 -j ACCEPT\n"), FIREWALL_CLOSED,
         FIREWALL_OPEN},
        {FILTER("DROP", "-A INPUT -p tcp -m tcp --dport 1024: -j ACCEPT\n"), FIREWALL_CLOSED,
         FIREWALL_CLOSED},
        {FILTER("DROP", "-A INPUT -p tcp -m tcp --dport :1023 -j ACCEPT\n"), FIREWALL_OPEN, FIREWALL_OPEN},
        {FILTER("ACCEPT", "-A INPUT -s 198.51.100.0/24 -j DROP\n"), FIREWALL_OPEN, FIREWALL_OPEN},
        {FILTER("ACCEPT", "-A INPUT ! -s 10.0.0.0/8 -p tcp --dport 443 -j DROP\n"), FIREWALL_OPEN,
         FIREWALL_CLOSED},
        {FILTER("ACCEPT", "-A INPUT -s 0.0.0.0/1 -j DROP\n"), FIREWALL_UNSURE, FIREWALL_UNSURE},
        {FILTER("DROP", "-A INPUT -d 203.0.113.5/32 -j ACCEPT\n"), FIREWALL_OPEN, FIREWALL_OPEN},
        {FILTER("DROP", "-A INPUT -d 203.0.113.6/32 -j ACCEPT\n"), FIREWALL_CLOSED, FIREWALL_CLOSED},
        {FILTER("DROP", "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"), FIREWALL_CLOSED,
         FIREWALL_CLOSED},
        {FILTER("DROP", "-A INPUT -p tcp -m state --state NEW -j ACCEPT\n"), FIREWALL_OPEN, FIREWALL_OPEN},
        {FILTER("DROP", "-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT\n"), FIREWALL_OPEN,
         FIREWALL_OPEN},
        {FILTER(
             "ACCEPT",
             "-A INPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j DROP\n"),
         FIREWALL_OPEN, FIREWALL_OPEN},
        {FILTER("ACCEPT", "-A INPUT -p tcp -m tcp --tcp-flags ALL NONE -j DROP\n"), FIREWALL_OPEN,
         FIREWALL_OPEN},
        {FILTER("ACCEPT", "-A INPUT -m set --match-set crowdsec src -j DROP\n"), FIREWALL_OPEN,
         FIREWALL_OPEN},
        {FILTER("ACCEPT", "-A INPUT -m set ! --match-set germany src -j DROP\n"), FIREWALL_CLOSED,
         FIREWALL_CLOSED},
        {FILTER("ACCEPT", "-A INPUT -p tcp -m connlimit --connlimit-above 20 --connlimit-mask 32 "
                          "--connlimit-saddr -j REJECT\n"),
         FIREWALL_OPEN, FIREWALL_OPEN},
        {FILTER("ACCEPT", "-A INPUT -p tcp -m recent --update --seconds 60 --hitcount 4 --name x --mask "
                          "255.255.255.255 --rsource -j DROP\n"),
         FIREWALL_OPEN, FIREWALL_OPEN},
        {FILTER("DROP", "-A INPUT -p tcp -m limit --limit 5/sec --limit-burst 7 -j ACCEPT\n"), FIREWALL_OPEN,
         FIREWALL_OPEN},
        {FILTER("DROP", "-A INPUT -m comment --comment \"a \\\"b\\\" -j DROP --dport 7\" -j ACCEPT\n"),
         FIREWALL_OPEN, FIREWALL_OPEN},
        {FILTER("DROP", "-A INPUT -p tcp -j web\n-A web -p tcp --dport 443 -j RETURN\n-A web -j ACCEPT\n"),
         FIREWALL_OPEN, FIREWALL_CLOSED},
        {FILTER("DROP", "-A INPUT -p tcp -g web\n-A INPUT -j ACCEPT\n-A web -p tcp --dport 80 -j ACCEPT\n"),
         FIREWALL_OPEN, FIREWALL_CLOSED},
        {FILTER("ACCEPT", "-A INPUT -j LOG --log-prefix \"x -j DROP \"\n-A INPUT -p tcp --dport 80 -j REJECT "
                          "--reject-with tcp-reset\n"),
         FIREWALL_CLOSED, FIREWALL_OPEN},
        {FILTER("DROP", "-A INPUT -m time --timestart 08:00 -j ACCEPT\n"), FIREWALL_UNSURE, FIREWALL_UNSURE},
        {FILTER("ACCEPT", "-A INPUT -m mark --mark 0x8000/0x8000 -j DROP\n"), FIREWALL_UNSURE,
         FIREWALL_UNSURE},
        {FILTER("ACCEPT", "-A INPUT -j nowhere\n"), FIREWALL_UNSURE, FIREWALL_UNSURE},
        {FILTER("ACCEPT", "-A INPUT -p tcp --dport 80 -j NFQUEUE --queue-num 0\n"), FIREWALL_UNSURE,
         FIREWALL_OPEN},
        /* a circle, which the kernel would not take */
        {FILTER("DROP", "-A INPUT -j web\n-A web -j web\n"), FIREWALL_UNSURE, FIREWALL_UNSURE},
        {"*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports "
         "8080\nCOMMIT\n",
         FIREWALL_UNSURE, FIREWALL_OPEN},
        {"*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp --dport 80 -j DROP\nCOMMIT\n" FILTER("ACCEPT",
                                                                                                    ""),
         FIREWALL_CLOSED, FIREWALL_OPEN},
        {"*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT DROP [0:0]\nCOMMIT\n", FIREWALL_OPEN,
         FIREWALL_OPEN},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct firewall_packet first = packet_to(4, 80), second = packet_to(4, 443);
        struct firewall_verdict verdict;
        firewall_judge_iptables(rows[i].text, strlen(rows[i].text), &first, &verdict);
        if (verdict.answer != rows[i].at_80)
            fail_msg("row %zu, port 80: %d\n%s", i, verdict.answer, rows[i].text);
        firewall_judge_iptables(rows[i].text, strlen(rows[i].text), &second, &verdict);
        if (verdict.answer != rows[i].at_443)
            fail_msg("row %zu, port 443: %d\n%s", i, verdict.answer, rows[i].text);
    }
}

/* The reason is what decides, not what only might have. */
static void test_reasons(void **state)
{
    (void)state;
    static const char text[] = FILTER("DROP", "-A INPUT -m time --timestart 08:00 -j DROP\n-A INPUT -p tcp "
                                              "-j web\n-A web -p tcp --dport 80 -j REJECT\n");
    struct firewall_packet packet = packet_to(4, 80);
    struct firewall_verdict verdict;
    firewall_judge_iptables(text, strlen(text), &packet, &verdict);
    assert_int_equal(verdict.answer, FIREWALL_CLOSED);
    assert_string_equal(verdict.rule, "-A web -p tcp --dport 80 -j REJECT");
    assert_string_equal(verdict.base, "INPUT");
    assert_string_equal(verdict.chain, "web");
    assert_string_equal(verdict.table, "filter");
    packet.port = 443;
    firewall_judge_iptables(text, strlen(text), &packet, &verdict);
    assert_int_equal(verdict.answer, FIREWALL_CLOSED);
    assert_true(verdict.policy);
    assert_string_equal(verdict.rule, "");
}

/* An interface that is not known may be any. */
static void test_unknown_interface(void **state)
{
    (void)state;
    static const char text[] = FILTER("DROP", "-A INPUT -i eth0 -j ACCEPT\n");
    struct firewall_packet packet = packet_to(4, 80);
    struct firewall_verdict verdict;
    packet.interface = NULL;
    firewall_judge_iptables(text, strlen(text), &packet, &verdict);
    assert_int_equal(verdict.answer, FIREWALL_UNSURE);
}

static void test_tables_of_nftables(void **state)
{
    (void)state;
    static const char newer[] =
        "# Generated by iptables-save v1.8.9 (nf_tables) on x\n*filter\nCOMMIT\n*nat\nCOMMIT\n";
    static const char older[] = "# Generated by iptables-save v1.8.9 on x\n*filter\nCOMMIT\n";
    AUTO_STRLIST tables = STRLIST_INIT;
    firewall_iptables_tables(older, strlen(older), 4, &tables);
    assert_int_equal(tables.n, 0);
    firewall_iptables_tables(newer, strlen(newer), 6, &tables);
    assert_int_equal(tables.n, 2);
    assert_string_equal(tables.v[0], "ip6 filter");
    assert_string_equal(tables.v[1], "ip6 nat");
}

/* -- nft ------------------------------------------------------------------------------------------------ */

#define TABLE "{\"table\": {\"family\": \"inet\", \"name\": \"f\", \"handle\": 1}}, "
#define CHAIN(policy)                                                                                        \
    "{\"chain\": {\"family\": \"inet\", \"table\": \"f\", \"name\": \"i\", \"handle\": 1, \"type\": "        \
    "\"filter\", "                                                                                           \
    "\"hook\": \"input\", \"prio\": 0, \"policy\": \"" policy "\"}}"
#define PLAIN_CHAIN                                                                                          \
    ", {\"chain\": {\"family\": \"inet\", \"table\": \"f\", \"name\": \"web\", \"handle\": 2}}"
#define RULE_IN(chain, expr)                                                                                 \
    ", {\"rule\": {\"family\": \"inet\", \"table\": \"f\", \"chain\": \"" chain                              \
    "\", \"handle\": 7, \"expr\": [" expr "]}}"
#define RULE(expr) RULE_IN("i", expr)
#define IS(left, right) "{\"match\": {\"op\": \"==\", \"left\": " left ", \"right\": " right "}}, "
#define IS_NOT(left, right) "{\"match\": {\"op\": \"!=\", \"left\": " left ", \"right\": " right "}}, "
#define PORT "{\"payload\": {\"protocol\": \"tcp\", \"field\": \"dport\"}}"
#define META(key) "{\"meta\": {\"key\": \"" key "\"}}"
#define ACCEPT "{\"accept\": null}"
#define DROP "{\"drop\": null}"
#define SET(name, elements)                                                                                  \
    ", {\"set\": {\"family\": \"inet\", \"name\": \"" name                                                   \
    "\", \"table\": \"f\", \"type\": \"x\", \"elem\": [" elements "]}}"

static void judge_nft(const char *items, int family, int port, struct firewall_verdict *out)
{
    AUTO_FREE char *json = mem_fmt("{\"nftables\": [" TABLE "%s]}", items);
    struct firewall_packet packet = packet_to(family, port);
    firewall_judge_nft(json, strlen(json), &packet, &nobody, out);
}

static void test_nft_rules(void **state)
{
    (void)state;
    static const struct {
        const char *items;
        enum firewall_answer at_80, at_443;
    } rows[] = {
        {CHAIN("accept"), FIREWALL_OPEN, FIREWALL_OPEN},
        {CHAIN("drop"), FIREWALL_CLOSED, FIREWALL_CLOSED},
        {CHAIN("drop") RULE(IS(PORT, "80") ACCEPT), FIREWALL_OPEN, FIREWALL_CLOSED},
        {CHAIN("drop") RULE(IS(PORT, "{\"set\": [22, {\"range\": [440, 450]}]}") ACCEPT), FIREWALL_CLOSED,
         FIREWALL_OPEN},
        {CHAIN("drop") RULE(IS_NOT(PORT, "{\"set\": [22, 443]}") ACCEPT), FIREWALL_OPEN, FIREWALL_CLOSED},
        {CHAIN("drop") SET("web", "{\"elem\": {\"val\": 80, \"timeout\": 60}}, {\"range\": [443, 443]}")
             RULE(IS(PORT, "\"@web\"") ACCEPT),
         FIREWALL_OPEN, FIREWALL_OPEN},
        {CHAIN("drop") RULE(IS(PORT, "\"@unknown\"") ACCEPT), FIREWALL_UNSURE, FIREWALL_UNSURE},
        {CHAIN("drop") RULE("{\"match\": {\"op\": \"<=\", \"left\": " PORT ", \"right\": 100}}, " ACCEPT),
         FIREWALL_OPEN, FIREWALL_CLOSED},
        {CHAIN("accept") RULE(IS("{\"payload\": {\"protocol\": \"udp\", \"field\": \"dport\"}}", "80") DROP),
         FIREWALL_OPEN, FIREWALL_OPEN},
        {CHAIN("accept")
             RULE(IS_NOT("{\"payload\": {\"protocol\": \"udp\", \"field\": \"dport\"}}", "53") DROP),
         FIREWALL_OPEN, FIREWALL_OPEN},
        {CHAIN("drop") RULE(IS(META("iifname"), "\"lo\"") ACCEPT), FIREWALL_CLOSED, FIREWALL_CLOSED},
        {CHAIN("drop") RULE(IS_NOT(META("iifname"), "\"lo\"") ACCEPT), FIREWALL_OPEN, FIREWALL_OPEN},
        {CHAIN("drop") RULE(IS(META("iifname"), "\"eth*\"") ACCEPT), FIREWALL_OPEN, FIREWALL_OPEN},
        {CHAIN("drop") RULE(IS(META("mark"), "1") ACCEPT), FIREWALL_UNSURE, FIREWALL_UNSURE},
        {CHAIN("drop") RULE(IS("{\"ct\": {\"key\": \"state\"}}", "[\"established\", \"related\"]") ACCEPT),
         FIREWALL_CLOSED, FIREWALL_CLOSED},
        {CHAIN("drop")
             RULE(IS("{\"fib\": {\"result\": \"type\", \"flags\": [\"daddr\"]}}", "\"local\"") ACCEPT),
         FIREWALL_OPEN, FIREWALL_OPEN},
        {CHAIN("accept")
             RULE(IS("{\"fib\": {\"result\": \"oif\", \"flags\": [\"saddr\", \"iif\"]}}", "false") DROP),
         FIREWALL_OPEN, FIREWALL_OPEN},
        {CHAIN("drop") RULE(IS("{\"ct\": {\"key\": \"status\"}}", "\"dnat\"") ACCEPT), FIREWALL_CLOSED,
         FIREWALL_CLOSED},
        {CHAIN("drop") RULE(IS("{\"ct\": {\"key\": \"direction\"}}", "\"original\"") ACCEPT), FIREWALL_OPEN,
         FIREWALL_OPEN},
        {CHAIN("drop") RULE("{\"limit\": {\"rate\": 5, \"per\": \"second\"}}, " ACCEPT), FIREWALL_OPEN,
         FIREWALL_OPEN},
        {CHAIN("accept") RULE("{\"limit\": {\"rate\": 5, \"per\": \"second\", \"inv\": true}}, " DROP),
         FIREWALL_OPEN, FIREWALL_OPEN},
        {CHAIN("accept") RULE("{\"meter\": {\"name\": \"m\", \"stmt\": {\"limit\": {\"rate\": 5, \"per\": "
                              "\"second\", \"inv\": true}}}}, " DROP),
         FIREWALL_OPEN, FIREWALL_OPEN},
        {CHAIN("drop") RULE("{\"meter\": {\"name\": \"m\", \"stmt\": {\"limit\": {\"rate\": 5, \"per\": "
                            "\"second\"}}}}, " ACCEPT),
         FIREWALL_OPEN, FIREWALL_OPEN},
        {CHAIN("accept") RULE("{\"meter\": {\"name\": \"m\", \"stmt\": {\"later\": 1}}}, " DROP),
         FIREWALL_UNSURE, FIREWALL_UNSURE},
        {CHAIN("drop") RULE("{\"xt\": null}"), FIREWALL_UNSURE, FIREWALL_UNSURE},
        {CHAIN("accept") RULE("{\"xt\": {\"type\": \"match\", \"name\": \"time\"}}, " DROP), FIREWALL_UNSURE,
         FIREWALL_UNSURE},
        {CHAIN("drop") RULE("{\"something new\": 1}, " ACCEPT), FIREWALL_UNSURE, FIREWALL_UNSURE},
        {CHAIN("drop") RULE("{\"vmap\": {\"key\": " PORT
                            ", \"data\": {\"set\": [[22, {\"drop\": null}], [80, {\"accept\": null}]]}}}"),
         FIREWALL_OPEN, FIREWALL_CLOSED},
        {CHAIN("drop") RULE("{\"vmap\": {\"key\": {\"concat\": [" META(
             "iifname") ", " PORT "]}, \"data\": {\"set\": "
                        "[[{\"concat\": [\"eth0\", 443]}, {\"accept\": null}], [{\"concat\": [\"eth1\", "
                        "80]}, {\"accept\": null}]]}}}"),
         FIREWALL_CLOSED, FIREWALL_OPEN},
        {CHAIN("drop") PLAIN_CHAIN RULE("{\"jump\": {\"target\": \"web\"}}")
             RULE_IN("web", IS(PORT, "443") ACCEPT),
         FIREWALL_CLOSED, FIREWALL_OPEN},
        {CHAIN("drop") RULE("{\"jump\": {\"target\": \"gone\"}}"), FIREWALL_UNSURE, FIREWALL_UNSURE},
        {CHAIN("drop") RULE("{\"jump\": {\"target\": \"i\"}}"), FIREWALL_UNSURE, FIREWALL_UNSURE},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct firewall_verdict verdict;
        judge_nft(rows[i].items, 4, 80, &verdict);
        if (verdict.answer != rows[i].at_80)
            fail_msg("row %zu, port 80: %d\n%s", i, verdict.answer, rows[i].items);
        judge_nft(rows[i].items, 4, 443, &verdict);
        if (verdict.answer != rows[i].at_443)
            fail_msg("row %zu, port 443: %d\n%s", i, verdict.answer, rows[i].items);
    }
}

static void test_nft_families(void **state)
{
    (void)state;
    struct firewall_verdict verdict;
    static const char four[] =
        CHAIN("drop") RULE(IS("{\"payload\": {\"protocol\": \"ip\", \"field\": \"saddr\"}}",
                              "{\"prefix\": {\"addr\": \"0.0.0.0\", \"len\": 0}}") ACCEPT);
    judge_nft(four, 4, 80, &verdict);
    assert_int_equal(verdict.answer, FIREWALL_OPEN);
    judge_nft(four, 6, 80, &verdict);
    assert_int_equal(verdict.answer, FIREWALL_CLOSED);
    static const char ours[] = CHAIN("drop")
        RULE(IS("{\"payload\": {\"protocol\": \"ip6\", \"field\": \"daddr\"}}", "\"2001:db8::5\"") ACCEPT);
    judge_nft(ours, 6, 80, &verdict);
    assert_int_equal(verdict.answer, FIREWALL_OPEN);
}

/* Who comes by a proxy in front of this machine has an address that rules name; never one of a private
 * network. */
static void test_named_visitors(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum firewall_answer answer;
    } rows[] = {
        {FILTER("DROP", "-A INPUT -s 198.51.100.0/24 -p tcp --dport 80 -j ACCEPT\n"), FIREWALL_UNSURE},
        {FILTER("DROP", "-A INPUT -m set --match-set proxies src -j ACCEPT\n"), FIREWALL_UNSURE},
        {FILTER("DROP", "-A INPUT -m iprange --src-range 198.51.100.1-198.51.100.9 -j ACCEPT\n"),
         FIREWALL_UNSURE},
        {FILTER("DROP", "-A INPUT -s 198.51.100.0/24 -p tcp --dport 22 -j ACCEPT\n"), FIREWALL_CLOSED},
        {FILTER("DROP", "-A INPUT -s 10.1.0.0/16 -j ACCEPT\n"), FIREWALL_CLOSED},
        {FILTER("DROP", "-A INPUT -s 192.168.1.7/32 -j ACCEPT\n"), FIREWALL_CLOSED},
        {FILTER("DROP", ""), FIREWALL_CLOSED},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct firewall_packet packet = packet_to(4, 80);
        struct firewall_verdict verdict;
        packet.named = true;
        firewall_judge_iptables(rows[i].text, strlen(rows[i].text), &packet, &verdict);
        if (verdict.answer != rows[i].answer)
            fail_msg("row %zu: %d\n%s", i, verdict.answer, rows[i].text);
    }
}

static void test_nft_dormant(void **state)
{
    (void)state;
    static const struct {
        const char *flags;
        enum firewall_answer answer;
    } rows[] = {{"[\"dormant\"]", FIREWALL_OPEN},
                {"\"dormant\"", FIREWALL_OPEN},
                {"[\"owner\"]", FIREWALL_CLOSED},
                {"\"f\"", FIREWALL_UNSURE}}; /* nft 1.0.6 */
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_FREE char *json = mem_fmt(
            "{\"nftables\": [{\"table\": {\"family\": \"inet\", \"name\": \"f\", \"flags\": %s}}, %s]}",
            rows[i].flags, CHAIN("drop"));
        struct firewall_packet packet = packet_to(4, 80);
        struct firewall_verdict verdict;
        firewall_judge_nft(json, strlen(json), &packet, &nobody, &verdict);
        assert_int_equal(verdict.answer, rows[i].answer);
    }
}

static void test_nft_left_out(void **state)
{
    (void)state;
    AUTO_STRLIST without = STRLIST_INIT;
    strlist_add(&without, "inet f");
    static const char json[] = "{\"nftables\": [" TABLE CHAIN("drop") RULE(DROP) "]}";
    struct firewall_packet packet = packet_to(4, 80);
    struct firewall_verdict verdict;
    firewall_judge_nft(json, strlen(json), &packet, &without, &verdict);
    assert_int_equal(verdict.answer, FIREWALL_OPEN);
}

static void test_nft_nonsense(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "{", "[]", "7", "{\"nftables\": 3}", "\xff\xfe", "null"};
    struct firewall_packet packet = packet_to(4, 80);
    struct firewall_verdict verdict;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        firewall_judge_nft(texts[i], strlen(texts[i]), &packet, &nobody, &verdict);
        assert_int_equal(verdict.answer, FIREWALL_UNSURE);
    }
    /* of the right kind, but for what is inside: no more than that nothing breaks */
    static const char *const items[] = {
        "null",
        "{\"chain\": 3}",
        "{\"rule\": {\"expr\": [[], 3, {\"match\": null}, {\"vmap\": []}, {\"jump\": 4}]}}",
        CHAIN("drop") RULE("{\"match\": {\"op\": \"==\", \"left\": {\"concat\": [[[]]]}, \"right\": "
                           "{\"set\": {\"set\": []}}}}, " ACCEPT),
        CHAIN("drop") RULE("{\"vmap\": {\"key\": 3, \"data\": {\"set\": [3, [], [1, 2], [{\"prefix\": {}}, "
                           "{\"goto\": {}}]]}}}"),
        CHAIN("drop") RULE(IS("{\"payload\": {\"protocol\": \"ip\", \"field\": \"daddr\"}}",
                              "{\"prefix\": {\"addr\": \"x\", \"len\": 99999999999}}") ACCEPT),
    };
    for (size_t i = 0; i < COUNT_OF(items); i++)
        judge_nft(items[i], 4, 80, &verdict);
}

/* Chains that jump to each other as often as can be: read once each. */
static void test_nft_many_jumps(void **state)
{
    (void)state;
    enum { CHAINS = 40 };
    AUTO_BUF items = BUF_INIT;
    buf_adds(&items, CHAIN("accept"));
    for (int i = 0; i < CHAINS; i++)
        buf_addf(&items, ", {\"chain\": {\"family\": \"inet\", \"table\": \"f\", \"name\": \"c%d\"}}", i);
    buf_adds(&items, RULE("{\"jump\": {\"target\": \"c0\"}}"));
    for (int i = 0; i + 1 < CHAINS; i++)
        for (int k = 0; k < 4; k++)
            buf_addf(
                &items,
                ", {\"rule\": {\"family\": \"inet\", \"table\": \"f\", \"chain\": \"c%d\", \"expr\": [" IS(
                    META("mark"), "1") "{\"jump\": {\"target\": \"c%d\"}}]}}",
                i, i + 1);
    struct firewall_verdict verdict;
    judge_nft(buf_str(&items), 4, 80, &verdict);
    assert_int_equal(verdict.answer, FIREWALL_OPEN);
}

/* As those have it who keep a chain and a set for each of their services: each rule leads to its own. */
static void test_many_chains_and_sets(void **state)
{
    (void)state;
    enum { CHAINS = 3000, FIRST_PORT = 10000 };
    AUTO_BUF items = BUF_INIT;
    AUTO_BUF lines = BUF_INIT;
    struct firewall_verdict verdict;
    buf_adds(&items, CHAIN("accept"));
    buf_adds(&lines, "*filter\n:INPUT ACCEPT [0:0]\n");
    for (int i = 0; i < CHAINS; i++) {
        buf_addf(&items,
                 ", {\"chain\": {\"family\": \"inet\", \"table\": \"f\", \"name\": \"c%d\"}}"
                 ", {\"chain\": {\"family\": \"inet\", \"table\": \"g\", \"name\": \"c%d\"}}"
                 ", {\"set\": {\"family\": \"inet\", \"table\": \"f\", \"name\": \"s%d\", \"elem\": [%d]}}"
                 ", {\"set\": {\"family\": \"inet\", \"table\": \"g\", \"name\": \"s%d\", \"elem\": [80]}}",
                 i, i, i, FIRST_PORT + i, i);
        buf_addf(&lines, ":c%d - [0:0]\n", i);
    }
    for (int i = 0; i < CHAINS; i++) {
        buf_addf(&items,
                 ", {\"rule\": {\"family\": \"inet\", \"table\": \"f\", \"chain\": \"i\", \"expr\": ["
                 "{\"match\": {\"op\": \"==\", \"left\": {\"payload\": {\"protocol\": \"tcp\", \"field\": "
                 "\"dport\"}}, \"right\": \"@s%d\"}}, {\"jump\": {\"target\": \"c%d\"}}]}}"
                 ", {\"rule\": {\"family\": \"inet\", \"table\": \"f\", \"chain\": \"c%d\", \"expr\": "
                 "[{\"%s\": null}]}}",
                 i, i, i, i % 2 == 0 ? "drop" : "accept");
        buf_addf(&lines, "-A INPUT -p tcp --dport %d -j c%d\n-A c%d -j %s\n", FIRST_PORT + i, i, i,
                 i % 2 == 0 ? "DROP" : "ACCEPT");
    }
    for (int i = 0; i < CHAINS; i += 599) {
        struct firewall_packet packet = packet_to(4, FIRST_PORT + i);
        enum firewall_answer expected = i % 2 == 0 ? FIREWALL_CLOSED : FIREWALL_OPEN;
        judge_nft(buf_str(&items), 4, FIRST_PORT + i, &verdict);
        assert_int_equal(verdict.answer, expected);
        firewall_judge_iptables(buf_str(&lines), lines.len, &packet, &verdict);
        assert_int_equal(verdict.answer, expected);
    }
}

/* -- those who write rules for people ------------------------------------------------------------------- */

static void test_managers(void **state)
{
    (void)state;
    struct firewall_verdict verdict = {.table = "filter"};
    assert_int_equal(firewall_manager_of(&verdict, NULL), FIREWALL_NOBODY);
    assert_int_equal(firewall_manager_of(&verdict, "*filter\n:ufw-user-input - [0:0]\n"), FIREWALL_UFW);
    assert_int_equal(firewall_manager_of(&verdict, "*filter\n:INPUT_ZONES - [0:0]\n"), FIREWALL_FIREWALLD);
    assert_int_equal(firewall_manager_of(&verdict, "*filter\n# ufw-user-input \n"), FIREWALL_NOBODY);
    snprintf(verdict.table, sizeof verdict.table, "firewalld");
    assert_int_equal(firewall_manager_of(&verdict, NULL), FIREWALL_FIREWALLD);
    assert_true(firewall_ufw_is_active("Status: active\nLogging: on (low)\n"));
    assert_false(firewall_ufw_is_active("Status: inactive\n"));
    assert_false(firewall_ufw_is_active("ERROR: You need to be root\n"));
}

/* As firewall-cmd 1.3 prints it. */
#define ZONE(target, services, ports, rules)                                                                 \
    "public (active)\n  target: " target "\n  icmp-block-inversion: no\n  interfaces: eth0\n  sources: \n"   \
    "  services: " services "\n  ports: " ports "\n  protocols: \n  forward: yes\n  masquerade: no\n"        \
    "  forward-ports: \n  source-ports: \n  icmp-blocks: \n  rich rules: \n" rules

static void test_zones(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum firewall_answer at_80, at_443;
    } rows[] = {
        {ZONE("default", "dhcpv6-client ssh", "", ""), FIREWALL_CLOSED, FIREWALL_CLOSED},
        {ZONE("default", "http ssh", "", ""), FIREWALL_OPEN, FIREWALL_CLOSED},
        {ZONE("default", "https", "80/tcp", ""), FIREWALL_OPEN, FIREWALL_OPEN},
        {ZONE("default", "", "80/udp 400-500/tcp", ""), FIREWALL_CLOSED, FIREWALL_OPEN},
        {ZONE("ACCEPT", "", "", ""), FIREWALL_OPEN, FIREWALL_OPEN},
        {ZONE("DROP", "", "", ""), FIREWALL_CLOSED, FIREWALL_CLOSED},
        {ZONE("default", "ssh", "", "\trule family=\"ipv4\" port port=\"80\" protocol=\"tcp\" accept\n"),
         FIREWALL_UNSURE, FIREWALL_UNSURE},
        {"", FIREWALL_UNSURE, FIREWALL_UNSURE},
        {"not running\n", FIREWALL_UNSURE, FIREWALL_UNSURE},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(firewall_judge_zone(rows[i].text, 80), rows[i].at_80);
        assert_int_equal(firewall_judge_zone(rows[i].text, 443), rows[i].at_443);
    }
    assert_true(firewall_zone_is_valid("public"));
    assert_true(firewall_zone_is_valid("my_zone-2"));
    assert_false(firewall_zone_is_valid(""));
    assert_false(firewall_zone_is_valid("-x"));
    assert_false(firewall_zone_is_valid("a b"));
    assert_false(firewall_zone_is_valid("a;b"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_iptables_rules),    cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_unknown_interface), cmocka_unit_test(test_tables_of_nftables),
        cmocka_unit_test(test_nft_rules),         cmocka_unit_test(test_nft_families),
        cmocka_unit_test(test_named_visitors),    cmocka_unit_test(test_nft_dormant),
        cmocka_unit_test(test_nft_left_out),      cmocka_unit_test(test_nft_nonsense),
        cmocka_unit_test(test_nft_many_jumps),    cmocka_unit_test(test_many_chains_and_sets),
        cmocka_unit_test(test_managers),          cmocka_unit_test(test_zones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
