#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "firewall_state.h"

#include <ctype.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tlsup/fs.h"
#include "tlsup/here.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

enum {
    LOOK_MS = 5000,
    OPEN_MS = 60 * 1000, /* ufw and firewall-cmd write files and load all rules anew */
    RULES_MAX_BYTES = 32 << 20,
    SMALL_MAX_BYTES = 64 << 10,
    ROUNDS_MAX = 4, /* one place behind another */
};

const int firewall_ports[FIREWALL_PORTS] = {80, 443};
static const int families[FIREWALL_FAMILIES] = {4, 6};

/* -- running -------------------------------------------------------------------------------------------- */

/* What a program prints; false when it is not there, fails, or takes too long. */
static bool ask(const char *const *argv, size_t limit, struct buf *out)
{
    struct spawn_options options = {.timeout_ms = LOOK_MS, .output_limit = limit, .raw_output = true};
    struct spawn_result result;
    struct err ignored = ERR_INIT;
    if (!spawn_run(argv, &options, &result, &ignored))
        return false;
    bool ok = result.status == 0 && !result.timed_out && result.output.len < limit;
    if (ok) {
        for (size_t i = 0; i < result.output.len; i++) /* texts end at the first NUL: there is none */
            if (result.output.data[i] == '\0')
                result.output.data[i] = '?';
        buf_add(out, result.output.data, result.output.len);
    }
    spawn_result_clear(&result);
    return ok;
}

/* -- this machine --------------------------------------------------------------------------------------- */

/* The interface of the default route: visitors come in by it. "" = none, or several. */
static void take_interface(const char *found, char out[IFNAMSIZ], bool *several)
{
    if (strcmp(found, "lo") == 0)
        return;
    *several |= out[0] != '\0' && strcmp(out, found) != 0;
    snprintf(out, IFNAMSIZ, "%.*s", IFNAMSIZ - 1, found);
}

/* "eth0 00000000 ...": destination nought, mask nought */
static void read_route_v4(const char *line, char out[IFNAMSIZ], bool *several)
{
    AUTO_STRLIST words = STRLIST_INIT;
    strlist_split(&words, line, " \t");
    if (words.n >= 8 && strcmp(words.v[1], "00000000") == 0 && strcmp(words.v[7], "00000000") == 0)
        take_interface(words.v[0], out, several);
}

/* "00000000000000000000000000000000 00 ... eth0" */
static void read_route_v6(const char *line, char out[IFNAMSIZ], bool *several)
{
    AUTO_STRLIST words = STRLIST_INIT;
    strlist_split(&words, line, " \t");
    if (words.n >= 10 && strspn(words.v[0], "0") == 32 && strcmp(words.v[1], "00") == 0)
        take_interface(words.v[9], out, several);
}

/* /proc says that it has no size: read as it comes. */
static void read_proc(const char *path, struct buf *out)
{
    char block[4096];
    size_t n;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    while ((n = fread(block, 1, sizeof block, file)) > 0 && out->len < SMALL_MAX_BYTES * 4)
        buf_add(out, block, n);
    fclose(file);
}

static void find_interface(char out[IFNAMSIZ])
{
    static const struct {
        const char *path;
        void (*read)(const char *line, char out[IFNAMSIZ], bool *several);
    } tables[] = {{"/proc/net/route", read_route_v4}, {"/proc/net/ipv6_route", read_route_v6}};
    bool several = false;
    out[0] = '\0';
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        AUTO_BUF text = BUF_INIT;
        AUTO_STRLIST lines = STRLIST_INIT;
        read_proc(tables[i].path, &text);
        strlist_split(&lines, buf_str(&text), "\n");
        for (size_t k = 0; k < lines.n; k++)
            tables[i].read(lines.v[k], out, &several);
    }
    if (several)
        out[0] = '\0';
}

static bool is_of_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0;
}

/* -- what the tools say --------------------------------------------------------------------------------- */

struct texts {
    struct buf nft, iptables[FIREWALL_FAMILIES], legacy[FIREWALL_FAMILIES], zone;
    char zone_name[FIREWALL_NAME_BYTES];
    struct strlist covered; /* tables of nftables that iptables wrote */
    struct strlist own;
    char interface[IFNAMSIZ];
};

static void texts_clear(struct texts *texts)
{
    buf_clear(&texts->nft);
    buf_clear(&texts->zone);
    for (size_t f = 0; f < FIREWALL_FAMILIES; f++) {
        buf_clear(&texts->iptables[f]);
        buf_clear(&texts->legacy[f]);
    }
    strlist_clear(&texts->covered);
    strlist_clear(&texts->own);
}

/* The older kind has tables of its own in the kernel. Its tool is asked only where there are some: it would
 * make them. */
static bool has_legacy(size_t family)
{
    static const char *const lists[] = {"/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"};
    AUTO_BUF text = BUF_INIT;
    read_proc(lists[family], &text);
    return text.len > 0;
}

static void read_iptables(struct firewall *firewall, struct texts *texts)
{
    static const char *const saves[][2] = {{"iptables-save", NULL}, {"ip6tables-save", NULL}};
    static const char *const legacies[][2] = {{"iptables-legacy-save", NULL},
                                              {"ip6tables-legacy-save", NULL}};
    for (size_t f = 0; f < FIREWALL_FAMILIES; f++) {
        struct buf *text = &texts->iptables[f];
        if (ask(saves[f], RULES_MAX_BYTES, text) && text->len > 0) {
            firewall->looked = true;
            firewall_iptables_tables(buf_str(text), text->len, families[f], &texts->covered);
            if (!strlist_has(&firewall->read_by, "iptables-save"))
                strlist_add(&firewall->read_by, "iptables-save");
        }
        bool told = text->len > 0 && strstr(buf_str(text), "(nf_tables)") == NULL;
        if (!told && has_legacy(f) && ask(legacies[f], RULES_MAX_BYTES, &texts->legacy[f])) {
            firewall->looked = true;
            if (!strlist_has(&firewall->read_by, "iptables-legacy-save"))
                strlist_add(&firewall->read_by, "iptables-legacy-save");
        }
    }
}

static void read_nft(struct firewall *firewall, struct texts *texts)
{
    static const char *const whole[] = {"nft", "-j", "list", "ruleset", NULL};
    if (!spawn_find("nft"))
        return;
    if (ask(whole, RULES_MAX_BYTES, &texts->nft)) {
        firewall->looked = true;
        strlist_add(&firewall->read_by, "nft");
    } else {
        snprintf(firewall->failure, sizeof firewall->failure,
                 "`nft list ruleset` does not answer as it should");
    }
}

/* firewalld's zone for the interface, else its default one. */
static bool find_zone(const char *interface, char out[FIREWALL_NAME_BYTES])
{
    AUTO_FREE char *of_interface = mem_fmt("--get-zone-of-interface=%s", interface);
    const char *const by_interface[] = {"firewall-cmd", of_interface, NULL};
    static const char *const by_default[] = {"firewall-cmd", "--get-default-zone", NULL};
    AUTO_BUF text = BUF_INIT;
    AUTO_STRLIST words = STRLIST_INIT;
    if ((interface[0] == '\0' || !ask(by_interface, SMALL_MAX_BYTES, &text)) &&
        !ask(by_default, SMALL_MAX_BYTES, &text))
        return false;
    strlist_split(&words, buf_str(&text), " \t\r\n");
    if (words.n != 1 || !firewall_zone_is_valid(words.v[0]))
        return false;
    snprintf(out, FIREWALL_NAME_BYTES, "%s", words.v[0]);
    return true;
}

static bool firewalld_runs(void)
{
    static const char *const state[] = {"firewall-cmd", "--state", NULL};
    AUTO_BUF text = BUF_INIT;
    return spawn_find("firewall-cmd") && ask(state, SMALL_MAX_BYTES, &text) &&
           strncmp(buf_str(&text), "running", strlen("running")) == 0;
}

/* Its rules are nftables', without need of nft: where that cannot be asked it alone can tell. */
static void read_firewalld(struct firewall *firewall, struct texts *texts)
{
    bool has_rules = texts->nft.len > 0 || strstr(buf_str(&texts->iptables[0]), "\n:INPUT_ZONES ") != NULL;
    if (has_rules || !firewalld_runs() || !find_zone(texts->interface, texts->zone_name))
        return;
    AUTO_FREE char *zone = mem_fmt("--zone=%s", texts->zone_name);
    const char *const list[] = {"firewall-cmd", zone, "--list-all", NULL};
    if (!ask(list, SMALL_MAX_BYTES, &texts->zone))
        return;
    firewall->looked = true;
    firewall->failure[0] = '\0';
    strlist_add(&firewall->read_by, "firewall-cmd");
}

static bool ufw_runs(void)
{
    static const char *const status[] = {"ufw", "status", NULL};
    AUTO_BUF text = BUF_INIT;
    return spawn_find("ufw") && ask(status, SMALL_MAX_BYTES, &text) && firewall_ufw_is_active(buf_str(&text));
}

/* -- judgement ------------------------------------------------------------------------------------------ */

static bool is_same_place(const struct firewall_gate *gate, enum firewall_tool tool,
                          const struct firewall_verdict *verdict)
{
    const struct firewall_verdict *have = &gate->verdict;
    bool manager = tool == FIREWALL_BY_UFW || tool == FIREWALL_BY_FIREWALLD; /* opens both families at once */
    return gate->tool == tool && gate->answer == verdict->answer && have->redirected == verdict->redirected &&
           (manager || strcmp(have->family, verdict->family) == 0) &&
           strcmp(have->table, verdict->table) == 0 && have->handle == verdict->handle &&
           have->policy == verdict->policy &&
           (manager || (strcmp(have->base, verdict->base) == 0 && strcmp(have->rule, verdict->rule) == 0));
}

/* For each port by itself: what closes one may leave a family of the other open. */
static void add_gate(struct firewall *firewall, enum firewall_tool tool, size_t port, size_t family,
                     const struct firewall_verdict *verdict, bool some)
{
    struct firewall_gate *gate = NULL;
    if (verdict->answer == FIREWALL_OPEN)
        return;
    for (size_t i = 0; i < firewall->n && gate == NULL; i++)
        if (firewall->gates[i].ports[port] && is_same_place(&firewall->gates[i], tool, verdict))
            gate = &firewall->gates[i];
    if (gate == NULL) {
        if (firewall->n == FIREWALL_GATES_MAX)
            return;
        gate = &firewall->gates[firewall->n++];
        *gate = (struct firewall_gate){.answer = verdict->answer, .tool = tool, .verdict = *verdict};
    }
    gate->ports[port] = gate->families[family] = true;
    gate->some |= some;
}

/* Both ports closed in one place over the same families are told, and opened, together. */
static void join_gates(struct firewall *firewall)
{
    size_t kept = 0;
    for (size_t i = 0; i < firewall->n; i++) {
        struct firewall_gate gate = firewall->gates[i], *same = NULL;
        for (size_t k = 0; k < kept && same == NULL; k++)
            if (is_same_place(&firewall->gates[k], gate.tool, &gate.verdict) &&
                memcmp(firewall->gates[k].families, gate.families, sizeof gate.families) == 0)
                same = &firewall->gates[k];
        if (same == NULL)
            firewall->gates[kept++] = gate;
        for (size_t p = 0; same != NULL && p < FIREWALL_PORTS; p++)
            same->ports[p] |= gate.ports[p];
        if (same != NULL)
            same->some |= gate.some;
    }
    firewall->n = kept;
}

static enum firewall_tool tool_of(const struct firewall_verdict *verdict, const struct buf *iptables,
                                  enum firewall_tool otherwise)
{
    static const enum firewall_tool of_manager[] = {
        [FIREWALL_UFW] = FIREWALL_BY_UFW, [FIREWALL_FIREWALLD] = FIREWALL_BY_FIREWALLD};
    enum firewall_manager manager = firewall_manager_of(verdict, iptables != NULL ? buf_str(iptables) : NULL);
    return manager == FIREWALL_NOBODY ? otherwise : of_manager[manager];
}

static void judge(struct firewall *firewall, const struct texts *texts, size_t port, size_t family)
{
    struct firewall_packet packet = {.family = families[family],
                                     .port = firewall_ports[port],
                                     .interface = texts->interface[0] != '\0' ? texts->interface : NULL,
                                     .own = &texts->own};
    struct firewall_packet named = packet;
    named.named = true;
    const struct {
        const struct buf *text;
        enum firewall_tool tool;
    } saved[] = {{&texts->iptables[family], FIREWALL_BY_IPTABLES},
                 {&texts->legacy[family], FIREWALL_BY_LEGACY}};
    struct firewall_verdict verdict, of_named;
    for (size_t i = 0; i < COUNT_OF(saved); i++) {
        firewall_judge_iptables(buf_str(saved[i].text), saved[i].text->len, &packet, &verdict);
        if (verdict.answer == FIREWALL_CLOSED)
            firewall_judge_iptables(buf_str(saved[i].text), saved[i].text->len, &named, &of_named);
        add_gate(firewall, tool_of(&verdict, saved[i].text, saved[i].tool), port, family, &verdict,
                 verdict.answer == FIREWALL_CLOSED && of_named.answer != FIREWALL_CLOSED);
    }
    if (texts->nft.len > 0) {
        firewall_judge_nft(buf_str(&texts->nft), texts->nft.len, &packet, &texts->covered, &verdict);
        if (verdict.answer == FIREWALL_CLOSED)
            firewall_judge_nft(buf_str(&texts->nft), texts->nft.len, &named, &texts->covered, &of_named);
        add_gate(firewall, tool_of(&verdict, NULL, FIREWALL_BY_NFT), port, family, &verdict,
                 verdict.answer == FIREWALL_CLOSED && of_named.answer != FIREWALL_CLOSED);
    }
    if (texts->zone.len > 0) {
        verdict =
            (struct firewall_verdict){.answer = firewall_judge_zone(buf_str(&texts->zone), packet.port)};
        add_gate(firewall, FIREWALL_BY_FIREWALLD, port, family, &verdict, false);
    }
}

/* -- the words of a rule -------------------------------------------------------------------------------- */

/* nft has no words for a rule in JSON: its line is found by the handle behind it. */
static void find_words(struct firewall_gate *gate)
{
    const struct firewall_verdict *verdict = &gate->verdict;
    const char *const argv[] = {"nft",           "-a",           "-n",           "list", "chain",
                                verdict->family, verdict->table, verdict->chain, NULL};
    AUTO_FREE char *mark = mem_fmt(" # handle %lld", (long long)verdict->handle);
    AUTO_BUF text = BUF_INIT;
    AUTO_STRLIST lines = STRLIST_INIT;
    if (!ask(argv, RULES_MAX_BYTES, &text))
        return;
    strlist_split(&lines, buf_str(&text), "\n");
    for (size_t i = 0; i < lines.n; i++) {
        char *end = strstr(lines.v[i], mark);
        if (end == NULL || end[strlen(mark)] != '\0')
            continue;
        *end = '\0';
        const char *rule = lines.v[i] + strspn(lines.v[i], " \t");
        snprintf(gate->why, sizeof gate->why, "the rule \"%.300s\" in chain %s of table %s %s", rule,
                 verdict->chain, verdict->family, verdict->table);
        return;
    }
}

static void explain(struct firewall_gate *gate)
{
    const struct firewall_verdict *verdict = &gate->verdict;
    if (verdict->base[0] == '\0') {
        if (gate->tool == FIREWALL_BY_FIREWALLD)
            snprintf(gate->why, sizeof gate->why, "the zone %s", gate->zone);
        return;
    }
    if (verdict->policy)
        snprintf(gate->why, sizeof gate->why, "the policy of chain %s in table %s %s", verdict->base,
                 verdict->family, verdict->table);
    else if (verdict->rule[0] != '\0')
        snprintf(gate->why, sizeof gate->why, "the rule \"%.400s\" in table %s", verdict->rule,
                 verdict->table);
    else if (verdict->handle != 0)
        find_words(gate);
    if (gate->why[0] == '\0')
        snprintf(gate->why, sizeof gate->why, "rule %lld in chain %s of table %s %s",
                 (long long)verdict->handle, verdict->chain, verdict->family, verdict->table);
    printable(gate->why);
}

/* `runs`: is firewalld there? -1 = not asked yet. */
static bool zone_for_gate(const struct texts *texts, int *runs, char out[FIREWALL_NAME_BYTES])
{
    if (texts->zone_name[0] != '\0') {
        snprintf(out, FIREWALL_NAME_BYTES, "%s", texts->zone_name);
        return true;
    }
    *runs = *runs < 0 ? firewalld_runs() : *runs;
    return *runs != 0 && find_zone(texts->interface, out);
}

/* Those who are said to have written it may be gone: then it is opened where it stands. */
static void ask_managers(struct firewall *firewall, const struct texts *texts)
{
    int ufw = -1, firewalld = -1;
    for (size_t i = 0; i < firewall->n; i++) {
        struct firewall_gate *gate = &firewall->gates[i];
        enum firewall_tool plain = gate->verdict.handle != 0 || strcmp(gate->verdict.table, "firewalld") == 0
                                       ? FIREWALL_BY_NFT
                                       : FIREWALL_BY_IPTABLES;
        if (gate->tool == FIREWALL_BY_UFW) {
            ufw = ufw < 0 ? ufw_runs() : ufw;
            gate->tool = ufw ? FIREWALL_BY_UFW : plain;
        } else if (gate->tool == FIREWALL_BY_FIREWALLD) {
            bool known = zone_for_gate(texts, &firewalld, gate->zone);
            gate->tool = known ? FIREWALL_BY_FIREWALLD : plain;
        }
        explain(gate);
    }
}

void firewall_look(struct firewall *out)
{
    struct texts texts = {0};
    struct err err = ERR_INIT;
    AUTO_STRLIST all = STRLIST_INIT;
    *out = (struct firewall)FIREWALL_INIT;
    if (!here_own_addresses(&all, &err))
        snprintf(out->failure, sizeof out->failure, "%.255s", err.text);
    for (size_t i = 0; i < all.n; i++)
        if (!is_of_loopback(all.v[i]))
            strlist_add(&texts.own, all.v[i]);
    for (size_t i = 0; i < texts.own.n; i++)
        out->has_v6 |= strchr(texts.own.v[i], ':') != NULL && strncmp(texts.own.v[i], "fe80:", 5) != 0;
    find_interface(texts.interface);
    read_iptables(out, &texts);
    read_nft(out, &texts);
    read_firewalld(out, &texts);
    for (size_t p = 0; p < FIREWALL_PORTS; p++)
        for (size_t f = 0; f < FIREWALL_FAMILIES; f++)
            if (f == 0 || out->has_v6)
                judge(out, &texts, p, f);
    join_gates(out);
    ask_managers(out, &texts);
    texts_clear(&texts);
}

void firewall_clear(struct firewall *firewall)
{
    strlist_clear(&firewall->read_by);
    *firewall = (struct firewall)FIREWALL_INIT;
}

bool firewall_closes(const struct firewall *firewall, int port)
{
    bool closed[FIREWALL_FAMILIES] = {false, !firewall->has_v6};
    for (size_t i = 0; i < firewall->n; i++)
        for (size_t f = 0; f < FIREWALL_FAMILIES; f++)
            for (size_t p = 0; p < FIREWALL_PORTS; p++)
                closed[f] |= firewall->gates[i].answer == FIREWALL_CLOSED && !firewall->gates[i].some &&
                             firewall->gates[i].families[f] && firewall->gates[i].ports[p] &&
                             firewall_ports[p] == port;
    return closed[0] && closed[1];
}

/* -- for people ----------------------------------------------------------------------------------------- */

const char *firewall_tool_name(enum firewall_tool tool)
{
    static const char *const names[] = {
        [FIREWALL_BY_NFT] = "nftables",           [FIREWALL_BY_IPTABLES] = "iptables",
        [FIREWALL_BY_LEGACY] = "iptables-legacy", [FIREWALL_BY_UFW] = "ufw",
        [FIREWALL_BY_FIREWALLD] = "firewalld",
    };
    return names[tool];
}

const char *firewall_gate_ports(const struct firewall_gate *gate, char out[32])
{
    snprintf(out, 32, "port%s %s%s%s", gate->ports[0] && gate->ports[1] ? "s" : "",
             gate->ports[0] ? "80" : "", gate->ports[0] && gate->ports[1] ? " and " : "",
             gate->ports[1] ? "443" : "");
    return out;
}

const char *firewall_gate_families(const struct firewall_gate *gate, char out[32])
{
    snprintf(out, 32, "%s%s%s", gate->families[0] ? "IPv4" : "",
             gate->families[0] && gate->families[1] ? " and " : "", gate->families[1] ? "IPv6" : "");
    return out;
}

const char *firewall_keep_advice(const struct firewall_gate *gate)
{
    switch (gate->tool) {
    case FIREWALL_BY_NFT:
        return "that lasts until the rules are loaded anew, at the latest until the machine restarts: write "
               "the "
               "same rule into the file that they come from (/etc/nftables.conf, or "
               "/etc/sysconfig/nftables.conf)";
    case FIREWALL_BY_IPTABLES:
    case FIREWALL_BY_LEGACY:
        return "that lasts until the machine restarts: save it the way this system keeps its rules "
               "(netfilter-persistent save; or iptables-save into /etc/sysconfig/iptables)";
    default:
        return NULL;
    }
}

/* -- opening -------------------------------------------------------------------------------------------- */

enum { STEPS_MAX = 4, WORDS_MAX = 20 };

/* Commands for one gate: what opens it, and what takes that back. Words are borrowed, or of `words`. */
struct step {
    const char *argv[WORDS_MAX];
    const char *back[WORDS_MAX]; /* [0] NULL = known only afterwards */
    const char *before;          /* the rule whose place it takes, as it is typed; NULL = none */
    bool was_there;              /* it changes nothing: not ours to be taken back */
    bool unsure;                 /* whether it was there is not known */
};

struct plan {
    struct step steps[STEPS_MAX];
    size_t n;
    struct strlist words;
    char ports[16]; /* "80,443" */
};

static const char *keep_word(struct plan *plan, char *word)
{
    strlist_add(&plan->words, word);
    free(word);
    return plan->words.v[plan->words.n - 1];
}

#define STEP(plan, open, close)                                                                              \
    ((plan)->steps[(plan)->n++] = (struct step){.argv = {UNPAREN open, NULL}, .back = {UNPAREN close}})
#define UNPAREN(...) __VA_ARGS__

/* "ufw deny log 80/tcp comment '...'": the rule for `what`, whatever it does with it. */
static bool is_ufw_rule_for(const char *line, const char *what)
{
    AUTO_STRLIST words = STRLIST_INIT;
    strlist_split(&words, line, " ");
    size_t at = words.n > 2 && strncmp(words.v[2], "log", 3) == 0 ? 3 : 2;
    return words.n > at && strcmp(words.v[0], "ufw") == 0 && strcmp(words.v[at], what) == 0 &&
           (words.n == at + 1 || strcmp(words.v[at + 1], "comment") == 0);
}

/* ufw has one rule for the same ports: ours takes the place of another, and is not added where it is. */
static void know_ufw(struct plan *plan, struct step *step, const char *what)
{
    static const char *const argv[] = {"ufw", "show", "added", NULL};
    AUTO_BUF text = BUF_INIT;
    AUTO_STRLIST lines = STRLIST_INIT;
    AUTO_FREE char *ours = mem_fmt("ufw allow %s", what);
    step->unsure = !ask(argv, RULES_MAX_BYTES, &text);
    strlist_split(&lines, buf_str(&text), "\r\n");
    step->was_there = strlist_has(&lines, ours);
    for (size_t i = 0; i < lines.n && !step->was_there && step->before == NULL; i++) {
        char *line = lines.v[i], *comment = strstr(line, " comment '");
        if (!is_ufw_rule_for(line, what))
            continue;
        const char *quote = comment != NULL ? strchr(comment + strlen(" comment '"), '\'') : NULL;
        if (comment != NULL && (quote == NULL || quote[1] != '\0'))
            *comment = '\0';
        step->before = keep_word(plan, mem_dup(line));
    }
}

static void plan_ufw(struct plan *plan, bool know)
{
    const char *what = keep_word(plan, mem_fmt("%s/tcp", plan->ports));
    STEP(plan, ("ufw", "allow", what), ("ufw", "delete", "allow", what, NULL));
    if (know)
        know_ufw(plan, &plan->steps[plan->n - 1], what);
}

static bool zone_services(const char *zone, bool lasting, struct strlist *out)
{
    const char *const argv[] = {"firewall-cmd", zone, "--list-services", lasting ? "--permanent" : NULL,
                                NULL};
    AUTO_BUF text = BUF_INIT;
    if (!ask(argv, SMALL_MAX_BYTES, &text))
        return false;
    strlist_split(out, buf_str(&text), " \t\r\n");
    return true;
}

/* Now and for good, without a reload, which would drop what somebody has opened for now alone. */
static void plan_firewalld(const struct firewall_gate *gate, struct plan *plan, bool know)
{
    static const char *const services[FIREWALL_PORTS][3] = {
        {"http", "--add-service=http", "--remove-service=http"},
        {"https", "--add-service=https", "--remove-service=https"}};
    const char *zone = keep_word(plan, mem_fmt("--zone=%s", gate->zone));
    for (int lasting = 0; lasting <= 1; lasting++) {
        AUTO_STRLIST there = STRLIST_INIT;
        struct step step = {.argv = {"firewall-cmd", zone}, .back = {"firewall-cmd", zone}};
        size_t n = 2;
        step.unsure = know && !zone_services(zone, lasting, &there);
        for (size_t p = 0; p < FIREWALL_PORTS; p++)
            if (gate->ports[p] && !strlist_has(&there, services[p][0])) {
                step.argv[n] = services[p][1];
                step.back[n++] = services[p][2];
            }
        if (n == 2)
            continue;
        if (lasting)
            step.argv[n] = step.back[n] = "--permanent";
        plan->steps[plan->n++] = step;
    }
}

static void plan_iptables(const struct firewall_gate *gate, struct plan *plan)
{
    static const char *const programs[][2] = {{"iptables", "ip6tables"},
                                              {"iptables-legacy", "ip6tables-legacy"}};
    const struct firewall_verdict *verdict = &gate->verdict;
    const char *program = programs[gate->tool == FIREWALL_BY_LEGACY][strcmp(verdict->family, "ip6") == 0];
    const char *base = keep_word(plan, mem_dup(verdict->base)),
               *table = keep_word(plan, mem_dup(verdict->table));
    bool both = gate->ports[0] && gate->ports[1];
    struct step *step = &plan->steps[plan->n++];
    const char *const words[] = {"-t",
                                 table,
                                 "-I",
                                 base,
                                 "-p",
                                 "tcp",
                                 "-m",
                                 both ? "multiport" : "tcp",
                                 both ? "--dports" : "--dport",
                                 plan->ports,
                                 "-j",
                                 "ACCEPT"};
    size_t skipped = strcmp(table, "filter") == 0 ? 2 : 0, n = 1;
    *step = (struct step){.argv = {program}, .back = {program}};
    for (size_t i = skipped; i < COUNT_OF(words); i++, n++) {
        step->argv[n] = words[i];
        step->back[n] = strcmp(words[i], "-I") == 0 ? "-D" : words[i];
    }
}

static void plan_nft(const struct firewall_gate *gate, struct plan *plan)
{
    const struct firewall_verdict *verdict = &gate->verdict;
    const char *base = keep_word(plan, mem_dup(verdict->base)),
               *table = keep_word(plan, mem_dup(verdict->table)),
               *family = keep_word(plan, mem_dup(verdict->family));
    bool both = gate->ports[0] && gate->ports[1];
    const char *ports = both ? "{ 80, 443 }" : plan->ports;
    STEP(plan, ("nft", "insert", "rule", family, table, base, "tcp", "dport", ports, "accept"), (NULL));
}

/* `know`: what is there already is asked for first: it is not ours. */
static void make_plan(const struct firewall_gate *gate, bool know, struct plan *plan)
{
    *plan = (struct plan){0};
    snprintf(plan->ports, sizeof plan->ports, "%s%s%s", gate->ports[0] ? "80" : "",
             gate->ports[0] && gate->ports[1] ? "," : "", gate->ports[1] ? "443" : "");
    if (gate->tool == FIREWALL_BY_UFW)
        plan_ufw(plan, know);
    else if (gate->tool == FIREWALL_BY_FIREWALLD)
        plan_firewalld(gate, plan, know);
    else if (gate->tool == FIREWALL_BY_NFT)
        plan_nft(gate, plan);
    else
        plan_iptables(gate, plan);
}

/* As it would be typed: words with more than letters, digits and the like in quotes. */
static char *command_of(const char *const *argv)
{
    AUTO_BUF out = BUF_INIT;
    for (size_t i = 0; argv[i] != NULL; i++) {
        bool plain = argv[i][strspn(argv[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                             "-_=,./:@")] == '\0';
        buf_addf(&out, "%s%s%s%s", i > 0 ? " " : "", plain ? "" : "'", argv[i], plain ? "" : "'");
    }
    return mem_dup(buf_str(&out));
}

void firewall_commands(const struct firewall_gate *gate, struct strlist *out)
{
    struct plan plan;
    make_plan(gate, false, &plan);
    for (size_t i = 0; i < plan.n; i++) {
        AUTO_FREE char *command = command_of(plan.steps[i].argv);
        AUTO_FREE char *line = mem_fmt("sudo %s", command);
        strlist_add(out, line);
    }
    strlist_clear(&plan.words);
}

static bool run(const char *const *argv, struct buf *output, struct err *err)
{
    struct spawn_options options = {.timeout_ms = OPEN_MS};
    struct spawn_result result;
    AUTO_FREE char *command = command_of(argv);
    if (!spawn_run(argv, &options, &result, err))
        return err_context(err, "the firewall could not be opened");
    bool ok = result.status == 0 && !result.timed_out;
    if (ok)
        buf_add(output, result.output.data, result.output.len);
    else
        err_set(err, ERR_CONFIG, NEXT_LOCAL_FAULT, argv[0], "`%s` %s%s%.600s", command,
                result.timed_out ? "did not end in time" : "failed", result.output.len > 0 ? ": " : "",
                buf_str(&result.output));
    spawn_result_clear(&result);
    return ok ||
           err_advise(
               err, "run it yourself to see why, or open the ports the way this machine's firewall is kept");
}

/* "... # handle 7" */
static char *back_of_nft(const struct firewall_verdict *verdict, const char *echoed)
{
    static const char mark[] = "# handle ";
    const char *found = strstr(echoed, mark);
    long long handle = found != NULL ? strtoll(found + strlen(mark), NULL, 10) : 0;
    return handle > 0 ? mem_fmt("sudo nft delete rule %s %s %s handle %lld", verdict->family, verdict->table,
                                verdict->base, handle)
                      : mem_fmt("sudo nft -a list chain %s %s %s  (and: nft delete rule ... handle N)",
                                verdict->family, verdict->table, verdict->base);
}

/* nft tells the handle of what it adds when it is asked to echo. */
static void with_echo(const char *const *argv, const char *out[WORDS_MAX + 2])
{
    size_t n = 0;
    out[n++] = argv[0];
    out[n++] = "-e";
    out[n++] = "-a";
    for (size_t i = 1; argv[i] != NULL; i++)
        out[n++] = argv[i];
    out[n] = NULL;
}

/* NULL = there is nothing that may be taken back. */
static char *way_back(const struct firewall_gate *gate, const struct step *step, const char *output)
{
    if (step->was_there)
        return NULL;
    if (step->before != NULL)
        return mem_fmt("sudo %s", step->before);
    if (step->back[0] == NULL)
        return back_of_nft(&gate->verdict, output);
    AUTO_FREE char *command = command_of(step->back);
    return mem_fmt("sudo %s%s", command, step->unsure ? "  (unless it was so before)" : "");
}

static bool open_gate(const struct firewall_gate *gate, struct strlist *done, struct strlist *back,
                      struct err *err)
{
    struct plan plan;
    bool ok = true;
    make_plan(gate, true, &plan);
    for (size_t i = 0; ok && i < plan.n; i++) {
        const struct step *step = &plan.steps[i];
        const char *echoing[WORDS_MAX + 2];
        AUTO_BUF output = BUF_INIT;
        bool echoes = step->back[0] == NULL;
        if (echoes)
            with_echo(step->argv, echoing);
        ok = run(echoes ? echoing : step->argv, &output, err);
        if (!ok)
            break;
        AUTO_FREE char *command = command_of(step->argv);
        AUTO_FREE char *back_line = way_back(gate, step, buf_str(&output));
        strlist_add(done, command);
        if (back_line != NULL)
            strlist_add(back, back_line);
    }
    strlist_clear(&plan.words);
    return ok;
}

/* The first that is closed for certain; NULL = none. */
static const struct firewall_gate *closed_gate(const struct firewall *firewall)
{
    for (size_t i = 0; i < firewall->n; i++)
        if (firewall->gates[i].answer == FIREWALL_CLOSED)
            return &firewall->gates[i];
    return NULL;
}

static bool look_again(struct firewall *firewall)
{
    firewall_clear(firewall);
    firewall_look(firewall);
    return closed_gate(firewall) == NULL;
}

bool firewall_open(struct firewall *firewall, struct strlist *done, struct strlist *back, struct err *err)
{
    if (geteuid() != 0) {
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, NULL, "only root can open the firewall");
        return err_advise(err, "the same command with sudo");
    }
    for (int round = 0; round < ROUNDS_MAX; round++) {
        const struct firewall_gate *gate = closed_gate(firewall);
        if (gate == NULL)
            return true;
        struct firewall_gate tried = *gate;
        if (!open_gate(&tried, done, back, err))
            return false;
        if (look_again(firewall))
            return true;
        gate = closed_gate(firewall);
        if (is_same_place(gate, tried.tool, &tried.verdict) && gate->ports[0] == tried.ports[0] &&
            gate->ports[1] == tried.ports[1])
            break; /* to do the same again would be no use */
    }
    const struct firewall_gate *left = closed_gate(firewall);
    char ports[32];
    err_set(err, ERR_PROOF, NEXT_FIX_CONFIG, firewall_tool_name(left->tool),
            "%s %s still closed, although that was opened as %s wants it: %.400s",
            firewall_gate_ports(left, ports), left->ports[0] && left->ports[1] ? "are" : "is",
            firewall_tool_name(left->tool), left->why);
    return err_advise(
        err, "a rule before it decides: look at the rules in their order, and take back what was done "
             "if it is of no use");
}
