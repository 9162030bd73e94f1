/*
 * test_differential.c - our reading of a configuration beside the server's own: what it accepts we accept,
 * what is broken for it is broken for us, and the owner of each name on each address is the block that really
 * answers there.
 *
 * Configurations are made by chance. The servers run in namespaces of our own; without root, or without them,
 * nothing is tested. TLSUP_TEST_SEED=N repeats a run, FUZZ_SECONDS=N goes on with new seeds for so long.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "web_bed.h"

#include "../../src/install/apache_edit.h"
#include "../fuzz/grammar_apache.h"

enum {
    NGINX_TEXTS = 700,
    APACHE_TEXTS = 200,
    NGINX_OWNERS = 220,
    APACHE_OWNERS = 64,
    NAMES = 10,
    ANSWER_BYTES = 1 << 16,
    DIFFERENCES_SHOWN = 5,
};

static bool have(enum web_kind kind)
{
    return bed_base[0] != '\0' && (kind == WEB_NGINX ? nginx_program() != NULL
                                                     : apache_program() != NULL && apache_modules() != NULL);
}

static void want_server(enum web_kind kind)
{
    if (!have(kind)) {
        print_message("no %s to ask: skipped\n", web_kind_name(kind));
        skip();
    }
}

/* The words of a server that did not start. */
static void too_choosy(size_t unwanted, size_t wanted)
{
    AUTO_BUF said = BUF_INIT;
    if (unwanted < 100 + 4 * wanted)
        return;
    AUTO_FREE char *log = mem_fmt("%s/server.log", bed_base);
    bed_slurp(log, &said);
    fail_msg("%zu configurations are not wanted, the last with: %s", unwanted, buf_str(&said));
}

static bool more(size_t done, size_t usual, int64_t since_ms)
{
    return dice_seconds() > 0 ? clock_mono_ms() - since_ms < dice_seconds() * 1000 : done < usual;
}

/* -- what is accepted -- */

struct opinions {
    enum web_kind kind;
    size_t n, accepted, broken, differ;
};

/* For a person: strange bytes by number, long runs of one byte by their length. */
static void add_readable(const struct buf *text, struct buf *out)
{
    for (size_t i = 0, n; i < text->len; i += n) {
        unsigned char c = (unsigned char)text->data[i];
        for (n = 1; i + n < text->len && text->data[i + n] == text->data[i];)
            n++;
        if (n > 20)
            buf_addf(out, "<%zu times %c>", n, c);
        else if (c == '\n' || (c >= ' ' && c < 127))
            buf_add(out, text->data + i, n);
        else
            buf_addf(out, "<%zu times \\x%02x>", n, c);
    }
}

static void show_difference(struct opinions *opinions, uint64_t seed, const struct buf *text,
                            const char *difference)
{
    AUTO_BUF shown = BUF_INIT;
    if (opinions->differ++ >= DIFFERENCES_SHOWN)
        return;
    add_readable(text, &shown);
    print_message("%s, TLSUP_TEST_SEED=%llu: %s\n----\n%s\n----\n", web_kind_name(opinions->kind),
                  (unsigned long long)seed, difference, buf_str(&shown));
}

/* `ours`: NULL when we accept. */
static void weigh(struct opinions *opinions, uint64_t seed, enum verdict verdict, const char *said,
                  const char *ours, const struct buf *text)
{
    AUTO_FREE char *difference = NULL;
    opinions->n++;
    opinions->accepted += verdict == ACCEPTED;
    opinions->broken += verdict == BROKEN;
    if (verdict == ACCEPTED && ours != NULL)
        difference = mem_fmt("the server accepts it, we say: %s", ours);
    else if (verdict == BROKEN && ours == NULL)
        difference = mem_fmt("we accept it, the server says: %s", said);
    if (difference != NULL)
        show_difference(opinions, seed, text, difference);
}

static void same_opinions(const struct opinions *opinions)
{
    print_message("%s: %zu texts, %zu accepted by both, %zu broken for both\n", web_kind_name(opinions->kind),
                  opinions->n, opinions->accepted, opinions->broken);
    if (opinions->differ > 0)
        fail_msg("%zu of %zu texts are read differently", opinions->differ, opinions->n);
    assert_true(opinions->accepted > opinions->n / 10 && opinions->broken > opinions->n / 20);
}

static void nginx_reads_the_same(void **state)
{
    (void)state;
    struct opinions opinions = {.kind = WEB_NGINX};
    AUTO_BED bed;
    int64_t since_ms = clock_mono_ms();
    want_server(WEB_NGINX);
    bed_open(&bed);
    bed_nginx_web(&bed);
    for (uint64_t seed = dice_seed(1); more(opinions.n, NGINX_TEXTS, since_ms); seed++) {
        AUTO_BUF text = BUF_INIT, said = BUF_INIT;
        struct dice dice = dice_seeded(seed);
        struct sites sites = SITES_INIT;
        struct err err = ERR_INIT;
        grammar_nginx(&dice, &text);
        bed_put(bed.root, "nginx.conf", buf_str(&text), text.len);
        enum verdict verdict = judge_nginx(bed.web.conf, bed.root, &said);
        bool accepted = web_read(&bed.web, &sites, &err);
        weigh(&opinions, seed, verdict, buf_str(&said), accepted ? NULL : err.text, &text);
        sites_clear(&sites);
    }
    same_opinions(&opinions);
}

static void apache_reads_the_same(void **state)
{
    (void)state;
    struct opinions opinions = {.kind = WEB_APACHE};
    AUTO_BED bed;
    AUTO_BUF head = BUF_INIT;
    int64_t since_ms = clock_mono_ms();
    want_server(WEB_APACHE);
    bed_apache(&bed, "22-single-file.conf");
    bed_apache_head(&bed, &head);
    buf_adds(&head, "IncludeOptional mods-enabled/*.load\nListen 80\nServerName main.example\n");
    for (uint64_t seed = dice_seed(1); more(opinions.n, APACHE_TEXTS, since_ms); seed++) {
        AUTO_BUF text = BUF_INIT, whole = BUF_INIT, said = BUF_INIT;
        struct dice dice = dice_seeded(seed);
        struct sites sites = SITES_INIT;
        struct err err = ERR_INIT;
        grammar_apache(&dice, &text);
        if (memchr(buf_str(&text), '\0', text.len) != NULL)
            continue; /* the server's line ends there; we refuse such a file rather than edit it */
        buf_add(&whole, buf_str(&head), head.len);
        buf_add(&whole, buf_str(&text), text.len);
        bed_put(bed.root, "apache2.conf", buf_str(&whole), whole.len);
        enum verdict verdict = judge_apache(bed.web.conf, bed.root, &said);
        bool accepted = web_read(&bed.web, &sites, &err);
        /* a condition that is true may stay open at the end of all, for the server; we say that it is not
         * closed */
        if (verdict != ACCEPTED || strstr(err.text, "never closed: <If") == NULL)
            weigh(&opinions, seed, verdict, buf_str(&said), accepted ? NULL : err.text, &text);
        sites_clear(&sites);
    }
    same_opinions(&opinions);
}

/* -- who answers -- */

/* Where a visitor comes from does not matter, where he goes does. */
struct place {
    const char *visited; /* the address, numeric */
    const char *named;   /* as a model has it */
    const char *any;     /* the wildcard above it */
};
static const struct place places[] = {
    {"127.0.0.1", "127.0.0.1", "*"},
    {"127.0.0.2", "127.0.0.2", "*"},
    {"127.0.0.3", "127.0.0.3", "*"},
    {"192.0.2.1", "192.0.2.1", "*"},
    {"::1", "[::1]", "[::]"},
    {"2001:db8::1", "[2001:db8::1]", "[::]"},
    {"2001:db8::2", "[2001:db8::2]", "[::]"},
};
static const int ports[] = {80, 8080};

static int connect_to(const struct place *place, int port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    bool is_v4 = inet_pton(AF_INET, place->visited, &v4.sin_addr) == 1;
    if (!is_v4)
        assert_int_equal(inet_pton(AF_INET6, place->visited, &v6.sin6_addr), 1);
    int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = 30};
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    if (connect(fd, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6, is_v4 ? sizeof v4 : sizeof v6) ==
        0)
        return fd;
    close(fd);
    return -1;
}

/* All names over one connection; each answer has the words "block N;". False: nobody listens. */
static bool ask(const struct place *place, int port, const struct strlist *hosts, int answers[NAMES])
{
    AUTO_BUF request = BUF_INIT, answer = BUF_INIT;
    char chunk[4096];
    int fd = connect_to(place, port);
    if (fd < 0)
        return false;
    for (size_t i = 0; i < hosts->n; i++)
        buf_addf(&request, "GET /x HTTP/1.1\r\nHost: %s\r\nConnection: %s\r\n\r\n", hosts->v[i],
                 i + 1 < hosts->n ? "keep-alive" : "close");
    assert_int_equal(send(fd, buf_str(&request), request.len, 0), (ssize_t)request.len);
    for (ssize_t n; (n = recv(fd, chunk, sizeof chunk, 0)) > 0 && answer.len < ANSWER_BYTES;)
        buf_add(&answer, chunk, (size_t)n);
    close(fd);
    const char *at = buf_str(&answer);
    for (size_t i = 0; i < hosts->n; i++) {
        at = strstr(at, "block ");
        if (at == NULL)
            fail_msg("%s at %s: no answer: %s", hosts->v[i], place->visited, buf_str(&answer));
        at += strlen("block ");
        answers[i] = atoi(at);
    }
    return true;
}

static pid_t server; /* so that a failed test leaves none behind */

static void stop_server(void)
{
    if (server > 0) {
        kill(server, SIGKILL);
        waitpid(server, NULL, 0);
    }
    server = 0;
}

static int stop_after(void **state)
{
    (void)state;
    stop_server();
    return 0;
}

/* False: it ended by itself. */
static bool start_server(const char *const *argv, int port)
{
    const struct place *anywhere = &places[0];
    AUTO_FREE char *log = mem_fmt("%s/server.log", bed_base);
    fflush(NULL);
    server = fork();
    if (server == 0) {
        int null = open("/dev/null", O_RDWR),
            said = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(null, 0);
        dup2(said, 1);
        dup2(said, 2);
        execv(argv[0], (char *const *)argv);
        _exit(127);
    }
    assert_true(server > 0);
    for (;;) {
        int fd = connect_to(anywhere, port);
        if (fd >= 0) {
            close(fd);
            return true;
        }
        if (waitpid(server, NULL, WNOHANG) == server) {
            server = 0;
            return false;
        }
        usleep(1000);
    }
}

static const char *const labels[] = {"a", "b", "www", "example"};
static const char *const tails[] = {"org", "example", "test"};

/* A name of up to four labels. */
static void plain_name(struct dice *dice, struct buf *out)
{
    for (size_t n = dice_throw(dice, 4); n > 0; n--)
        buf_addf(out, "%s.", DICE_PICK(dice, labels));
    buf_adds(out, DICE_PICK(dice, tails));
}

/* In upper case, here and there. */
static void shout(struct dice *dice, struct buf *text, size_t from)
{
    for (size_t i = from; i < text->len; i++) {
        if (text->data[i] >= 'a' && text->data[i] <= 'z' && dice_one_in(dice, 2))
            text->data[i] = (char)(text->data[i] - 32);
    }
}

/* Names to ask for: some like those of the configuration, some not; `known` is how we ask, `hosts` how a
 * visitor may write it. */
static void names_to_ask(struct dice *dice, const struct strlist *written, struct strlist *known,
                         struct strlist *hosts)
{
    while (known->n < NAMES) {
        AUTO_BUF name = BUF_INIT, host = BUF_INIT;
        const char *like =
            written->n > 0 && !dice_one_in(dice, 4) ? written->v[dice_throw(dice, written->n)] : "";
        like += strspn(like, "*.");
        if (like[0] == '\0' || strspn(like, "abcdefghijklmnopqrstuvwxyz.-0123456789*") != strlen(like)) {
            plain_name(dice, &name);
        } else {
            for (size_t n = dice_throw(dice, 3); n > 0; n--)
                buf_addf(&name, "%s.", DICE_PICK(dice, labels));
            for (; *like != '\0'; like++) {
                if (*like == '*')
                    plain_name(dice, &name);
                else
                    buf_addc(&name, *like);
            }
        }
        buf_adds(&host, buf_str(&name));
        if (dice_one_in(dice, 5))
            shout(dice, &host, 0);
        buf_adds(&host, dice_one_in(dice, 8) ? ".:8080" : dice_one_in(dice, 6) ? ":80" : "");
        strlist_add(known, buf_str(&name));
        strlist_add(hosts, buf_str(&host));
    }
}

struct contest {
    const struct web *web;
    const struct sites *sites;
    int (*number)(const struct sites *sites, const struct site *site); /* of the block */
    const struct site *(*expected)(const struct sites *sites, const char *name, const struct place *place,
                                   int port);
    uint64_t seed;
    const char *text;
    size_t asked, wrong;
};

static void is_wrong(struct contest *contest, const char *name, const char *where, int port, int answers,
                     int ours)
{
    if (contest->wrong++ == 0)
        print_message(
            "TLSUP_TEST_SEED=%llu: %s at %s port %d is answered by block %d, we say block %d\n----\n%s----\n",
            (unsigned long long)contest->seed, name, where, port, answers, ours, contest->text);
}

/* On every address and port: what we say of it, and what the server does. */
static void compare_answers(struct contest *contest, const struct strlist *known, const struct strlist *hosts)
{
    for (size_t p = 0; p < COUNT_OF(ports); p++) {
        int answers[COUNT_OF(places)][NAMES];
        bool listens[COUNT_OF(places)];
        for (size_t a = 0; a < COUNT_OF(places); a++)
            listens[a] = ask(&places[a], ports[p], hosts, answers[a]);
        for (size_t i = 0; i < known->n; i++) {
            const struct site *owner =
                sites_owner(contest->web, contest->sites, known->v[i], ports[p], false);
            const struct site *by_name =
                sites_owner(contest->web, contest->sites, known->v[i], ports[p], true);
            int ours = owner != NULL ? contest->number(contest->sites, owner) : -1;
            bool seen = owner == NULL, any = false;
            for (size_t a = 0; a < COUNT_OF(places); a++) {
                const struct site *here =
                    contest->expected(contest->sites, known->v[i], &places[a], ports[p]);
                int expected = here != NULL ? contest->number(contest->sites, here) : -1;
                int is = listens[a] ? answers[a][i] : -1;
                contest->asked++;
                any |= listens[a];
                seen |= is == ours;
                if (is != expected)
                    is_wrong(contest, known->v[i], places[a].visited, ports[p], is, expected);
            }
            /* the owner is one of those that answer, and one that has the name is no other */
            if (!seen || (owner == NULL && any) || (by_name != NULL && by_name != owner))
                is_wrong(contest, known->v[i], "any address", ports[p], -1, ours);
        }
    }
}

/* -- nginx: who answers -- */

static const char *const nginx_listens[] = {
    "80",           "*:80",      "0.0.0.0:80",     "127.0.0.2:80",   "127.0.0.2",
    "192.0.2.1:80", "192.0.2.1", "[::]:80",        "[::1]:80",       "[2001:db8::1]:80",
    "8080",         "*:8080",    "127.0.0.2:8080", "192.0.2.1:8080", "[::]:8080",
    "[::1]:8080",   "8000-8080", "[::]:8079-8080", "localhost:8080"};

static void nginx_name(struct dice *dice, struct buf *out, struct strlist *written)
{
    static const char *const regexes[] = {"~^(www|a)\\.",
                                          "~^(?<sub>.+)\\.example\\.org$",
                                          "~ORG$",
                                          "\"~^a\\.{1}\"",
                                          "~^\\w+\\.b\\.",
                                          "~^[ab]\\.[a-z]+\\.",
                                          "~\\.example$",
                                          "~^(?P<x>b)\\.",
                                          "~.",
                                          "~^a",
                                          "\"~ex{0,1}ample\\.org\"",
                                          "~^(?:a|b)\\.test$",
                                          "~^www\\.\\S+?\\.test$",
                                          "~^(.*)\\.A\\."};
    static const char *const odd[] = {
        "_", "\"\"", "$hostname", "localhost", "-", "example.org.", "xn--bcher-kva.example"};
    AUTO_BUF name = BUF_INIT;
    size_t kind = dice_throw(dice, 12);
    if (kind == 0) {
        buf_adds(out, DICE_PICK(dice, regexes));
        return;
    }
    if (kind == 1) {
        buf_adds(out, DICE_PICK(dice, odd));
        return;
    }
    buf_adds(&name, kind == 2 || kind == 3 ? "." : kind == 4 || kind == 5 ? "*." : "");
    plain_name(dice, &name);
    if (kind == 6 || kind == 7) { /* a trailing wildcard */
        name.len -= strlen(strrchr(name.data, '.') != NULL ? strrchr(name.data, '.') : name.data);
        name.data[name.len] = '\0';
        buf_adds(&name, name.len > 0 ? ".*" : "a.*");
    }
    strlist_add(written, buf_str(&name));
    size_t from = out->len;
    bool quoted = dice_one_in(dice, 8);
    buf_addf(out, quoted ? "\"%s\"" : "%s", buf_str(&name));
    if (dice_one_in(dice, 6))
        shout(dice, out, from);
}

static void nginx_names(struct dice *dice, struct buf *out, struct strlist *written)
{
    for (size_t lines = dice_throw(dice, 3); lines > 0; lines--) {
        buf_adds(out, "    server_name");
        for (size_t n = 1 + dice_throw(dice, 3); n > 0; n--) {
            buf_addc(out, ' ');
            nginx_name(dice, out, written);
        }
        buf_adds(out, ";\n");
    }
}

static void nginx_server(struct dice *dice, int number, struct buf *out, struct strlist *written)
{
    buf_addf(out, "server { # %d\n", number);
    for (size_t n = dice_throw(dice, 4); n > 0; n--)
        buf_addf(out, "    listen %s%s;\n", DICE_PICK(dice, nginx_listens),
                 dice_one_in(dice, 8) ? " default_server" : "");
    nginx_names(dice, out, written);
    if (dice_one_in(dice, 10)) {
        AUTO_BUF names = BUF_INIT;
        nginx_names(dice, &names, written);
        bed_put(bed_base, "names.inc", buf_str(&names), names.len);
        buf_adds(out, "    include names.inc;\n");
    }
    buf_addf(out, "    return 200 \"block %d;\";\n}\n", number);
}

/* The comment behind the '{' tells the number. */
static int nginx_number(const struct sites *sites, const struct site *site)
{
    (void)sites;
    AUTO_BUF text = BUF_INIT;
    bed_slurp(site->file, &text);
    const char *at = strchr(buf_str(&text) + site->begin, '#');
    return at != NULL ? atoi(at + 2) : -2;
}

/* The narrow socket comes before the wildcard, whatever the names. */
static const struct site *nginx_expected(const struct sites *sites, const char *name,
                                         const struct place *place, int port)
{
    bool narrow = false;
    for (size_t i = 0; i < sites->n; i++)
        narrow |= site_listens_at(&sites->v[i], place->named, port);
    return nginx_driver.owner_at(sites, name, narrow ? place->named : place->any, port, false);
}

/* False: nginx does not want this one. */
static bool nginx_contest(uint64_t seed, struct bed *bed, struct contest *contest)
{
    static const char head[] = "daemon off; master_process off; error_log stderr emerg; pid nginx.pid; "
                               "events { worker_connections 256; }\nhttp {\n" NGINX_HTTP;
    AUTO_BUF text = BUF_INIT;
    AUTO_STRLIST written = STRLIST_INIT, known = STRLIST_INIT, hosts = STRLIST_INIT;
    struct dice dice = dice_seeded(seed);
    struct sites sites = SITES_INIT;
    buf_adds(&text, head);
    for (int i = 1, n = 2 + (int)dice_throw(&dice, 5); i <= n; i++)
        nginx_server(&dice, i, &text, &written);
    buf_adds(&text, "server { # 0\n    listen 127.0.0.1:9999; # the last to be opened\n    return 200 "
                    "\"block 0;\";\n}\n}\n");
    bed_put(bed_base, "nginx.conf", buf_str(&text), text.len);
    const char *argv[] = {nginx_program(), "-c", bed->web.conf, "-p", bed->root, NULL};
    if (!start_server(argv, 9999))
        return false;
    ok(web_read(&bed->web, &sites, &err));
    names_to_ask(&dice, &written, &known, &hosts);
    contest->sites = &sites;
    contest->text = strstr(buf_str(&text), "server {");
    contest->seed = seed;
    compare_answers(contest, &known, &hosts);
    sites_clear(&sites);
    stop_server();
    return true;
}

static void nginx_owner_answers(void **state)
{
    (void)state;
    AUTO_BED bed;
    int64_t since_ms = clock_mono_ms();
    size_t configurations = 0, unwanted = 0, wrong = 0;
    want_server(WEB_NGINX);
    bed_open(&bed);
    bed_nginx_web(&bed);
    snprintf(bed.web.conf, sizeof bed.web.conf, "%s/nginx.conf", bed_base);
    struct contest contest = {.web = &bed.web, .number = nginx_number, .expected = nginx_expected};
    for (uint64_t seed = dice_seed(1); more(configurations, NGINX_OWNERS, since_ms); seed++) {
        size_t before = contest.wrong;
        if (nginx_contest(seed, &bed, &contest))
            configurations++;
        else
            too_choosy(++unwanted, configurations);
        wrong += contest.wrong > before;
        contest.wrong = wrong < DIFFERENCES_SHOWN ? 0 : contest.wrong;
    }
    print_message("nginx: %zu configurations (and %zu that it does not want), %d names in each, %zu answers: "
                  "the owner answered\n",
                  configurations, unwanted, NAMES, contest.asked);
    if (wrong > 0)
        fail_msg("in %zu of %zu configurations another block answers", wrong, configurations);
}

/* -- Apache: who answers -- */

static const char *const apache_addresses_written[] = {"*:80",
                                                       "*:80",
                                                       "*:80",
                                                       "*:8080",
                                                       "127.0.0.2:80",
                                                       "127.0.0.2",
                                                       "192.0.2.1:80",
                                                       "*",
                                                       "_default_:80",
                                                       "_default_",
                                                       "*:*",
                                                       "[::1]:80",
                                                       "[2001:db8::1]:80",
                                                       "[::]:80",
                                                       "127.0.0.2:*",
                                                       "0.0.0.0:80",
                                                       "192.0.2.1:8080",
                                                       "_default_:*",
                                                       "localhost:80"};

static void apache_alias(struct dice *dice, struct buf *out, struct strlist *written)
{
    AUTO_BUF name = BUF_INIT;
    size_t kind = dice_throw(dice, 6);
    buf_adds(&name, kind == 0 ? "*." : kind == 1 ? "*" : "");
    plain_name(dice, &name);
    if (kind == 2)
        buf_adds(&name, ".*");
    strlist_add(written, buf_str(&name));
    if (kind == 3 && name.len > 0)
        name.data[dice_throw(dice, name.len)] = '?';
    size_t from = out->len;
    buf_addf(out, dice_one_in(dice, 8) ? " \"%s\"" : " %s", buf_str(&name));
    if (dice_one_in(dice, 6))
        shout(dice, out, from);
}

static void apache_names(struct dice *dice, struct buf *out, struct strlist *written)
{
    if (!dice_one_in(dice, 6)) {
        static const char *const before[] = {"", "", "", "http://", "https://"};
        static const char *const after[] = {"", "", "", ":80", ":8080"};
        AUTO_BUF name = BUF_INIT;
        plain_name(dice, &name);
        strlist_add(written, buf_str(&name));
        if (dice_one_in(dice, 6))
            shout(dice, &name, 0);
        buf_addf(out, "    ServerName %s%s%s\n", DICE_PICK(dice, before), buf_str(&name),
                 DICE_PICK(dice, after));
    }
    for (size_t lines = dice_throw(dice, 3); lines > 0; lines--) {
        buf_adds(out, "    ServerAlias");
        for (size_t n = 1 + dice_throw(dice, 2); n > 0; n--)
            apache_alias(dice, out, written);
        buf_addc(out, '\n');
    }
}

static void apache_host(struct dice *dice, int number, struct buf *out, struct strlist *written)
{
    buf_adds(out, "<VirtualHost");
    for (size_t n = dice_one_in(dice, 4) ? 2 : 1; n > 0; n--)
        buf_addf(out, " %s", DICE_PICK(dice, apache_addresses_written));
    buf_addf(out, ">\n    # %d\n", number);
    apache_names(dice, out, written);
    buf_addf(out, "    ErrorDocument 404 \"block %d;\"\n</VirtualHost>\n", number);
}

/* The main server is 0. */
static int apache_number(const struct sites *sites, const struct site *site)
{
    (void)sites;
    AUTO_BUF text = BUF_INIT;
    bed_slurp(site->file, &text);
    const char *at = site->end > 0 ? strchr(buf_str(&text) + site->begin, '#') : NULL;
    return at != NULL ? atoi(at + 2) : 0;
}

static const struct site *apache_expected(const struct sites *sites, const char *name,
                                          const struct place *place, int port)
{
    AUTO_STRLIST named = STRLIST_INIT;
    apache_addresses(sites->priv, port, NULL, &named);
    return apache_driver.owner_at(sites, name, strlist_has(&named, place->named) ? place->named : "*", port,
                                  false);
}

static bool apache_contest(uint64_t seed, struct bed *bed, struct contest *contest)
{
    AUTO_BUF text = BUF_INIT;
    AUTO_STRLIST written = STRLIST_INIT, known = STRLIST_INIT, hosts = STRLIST_INIT;
    struct dice dice = dice_seeded(seed);
    struct sites sites = SITES_INIT;
    bed_apache_head(bed, &text);
    buf_addf(
        &text,
        "LoadModule mpm_event_module %s/mod_mpm_event.so\nLoadModule authz_core_module "
        "%s/mod_authz_core.so\nListen 80\nListen 8080\nServerName main.example\n"
        "KeepAlive On\nDocumentRoot ${WWW}\nErrorDocument 404 \"block 0;\"\nErrorDocument 403 \"block 0;\"\n",
        apache_modules(), apache_modules());
    size_t from = text.len;
    for (int i = 1, n = 1 + (int)dice_throw(&dice, 6); i <= n; i++)
        apache_host(&dice, i, &text, &written);
    bed_put(bed->root, "apache2.conf", buf_str(&text), text.len);
    const char *argv[] = {apache_program(), "-X", "-d", bed->root, "-f", bed->web.conf, NULL};
    if (!start_server(argv, 8080))
        return false;
    ok(web_read(&bed->web, &sites, &err));
    names_to_ask(&dice, &written, &known, &hosts);
    contest->sites = &sites;
    contest->text = buf_str(&text) + from;
    contest->seed = seed;
    compare_answers(contest, &known, &hosts);
    sites_clear(&sites);
    stop_server();
    return true;
}

static void apache_owner_answers(void **state)
{
    (void)state;
    AUTO_BED bed;
    int64_t since_ms = clock_mono_ms();
    size_t configurations = 0, unwanted = 0, wrong = 0;
    want_server(WEB_APACHE);
    bed_apache(&bed, "22-single-file.conf");
    struct contest contest = {.web = &bed.web, .number = apache_number, .expected = apache_expected};
    for (uint64_t seed = dice_seed(1); more(configurations, APACHE_OWNERS, since_ms); seed++) {
        size_t before = contest.wrong;
        if (apache_contest(seed, &bed, &contest))
            configurations++;
        else
            too_choosy(++unwanted, configurations);
        wrong += contest.wrong > before;
        contest.wrong = wrong < DIFFERENCES_SHOWN ? 0 : contest.wrong;
    }
    print_message("Apache: %zu configurations (and %zu that it does not want), %d names in each, %zu "
                  "answers: the owner answered\n",
                  configurations, unwanted, NAMES, contest.asked);
    if (wrong > 0)
        fail_msg("in %zu of %zu configurations another host answers", wrong, configurations);
}

static int end(void **state)
{
    (void)state;
    bed_forget_pairs();
    if (bed_base[0] != '\0')
        bed_remove_base();
    return 0;
}

int main(int argc, char **argv)
{
    if (getenv("TLSUP_TEST_BRIEF") != NULL) {
        puts("skipped: this is a brief run, and it takes long");
        return 77;
    }
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(nginx_reads_the_same),
        cmocka_unit_test(apache_reads_the_same),
        cmocka_unit_test_teardown(nginx_owner_answers, stop_after),
        cmocka_unit_test_teardown(apache_owner_answers, stop_after),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    (void)bed_source(); /* before the working directory changes */
    if (!bed_isolate("tlsup-differential"))
        bed_base[0] = '\0';
    return cmocka_run_group_tests(tests, NULL, end);
}
