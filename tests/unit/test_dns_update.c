/*
 * test_dns_update.c - keys, update packets, and the whole way of a record on real servers: BIND as primary,
 * Knot as secondary and as the primary of a zone of its own, in a network namespace.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tlsup/clock.h"
#include "tlsup/dns.h"
#include "tlsup/dns_update.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

#define SECRET "c2VjcmV0IG9mIHRoZSB0ZXN0LCAzMiBieXRlcyBsb24="
#define OTHER_SECRET "YW5vdGhlciBzZWNyZXQsIGFsc28gMzIgYnl0ZXMgbG8="
#define START_MS 20000 /* patience with a server that starts on a busy machine */
#define ANSWER_MS 30000

static char base[64];
static bool have_network;
static pid_t named_pid, knot_pid;
static bool have_bind, have_knot;

/* The expression uses `err`; it must be true. */
#define ok(expression)                                                                                       \
    do {                                                                                                     \
        struct err err = ERR_INIT;                                                                           \
        if (!(expression)) {                                                                                 \
            fail_msg("%s: %s", #expression, err.text);                                                       \
        }                                                                                                    \
    } while (0)

static void assert_text(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", text, part);
}

/* -- key files ------------------------------------------------------------------------------------------- */

static char *put_file(const char *name, const char *text, mode_t mode)
{
    char *path = fs_join(base, name);
    ok(fs_write(path, text, strlen(text), mode, &err));
    return path;
}

static void test_key_files(void **state)
{
    static const char *const good[] = {
        "key \"k.example\" {\n\talgorithm hmac-sha256;\n\tsecret \"" SECRET "\";\n};\n",
        "key k.example{algorithm HMAC-SHA256;secret " SECRET ";};",
        "// made by hand\n# key \"x\" { }\n/* key y {\n */ key \"K.Example.\" { /* a */ algorithm "
        "\"hmac-sha256.\"; // b\n"
        " secret \"" SECRET "\"; # c\n};\nkey \"second\" { algorithm hmac-sha512; secret \"AAAA\"; };\n",
        "options { directory \"/\"; key { x y; }; };\nkey \"k.example\" {\r\n secret \"" SECRET
        "\";\r\n algorithm hmac-sha256;\r\n};",
        ("hmac-sha256:k.example:" SECRET "\n"),
        ("k.example:" SECRET),
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        struct dns_tsig tsig = {0};
        AUTO_FREE char *path = put_file("key", good[i], 0640);
        ok(dns_tsig_read(path, &tsig, &err));
        assert_string_equal(tsig.name, "k.example");
        assert_string_equal(tsig.algorithm, "hmac-sha256");
        assert_string_equal(tsig.secret, SECRET);
    }
    struct dns_tsig tsig = {0};
    AUTO_FREE char *slashes =
        put_file("key", "key a { algorithm hmac-md5.sig-alg.reg.int; secret ab//cd/*; };", 0600);
    struct err why = ERR_INIT;
    assert_false(dns_tsig_read(slashes, &tsig, &why)); /* '*' is not base64 */
    AUTO_FREE char *path =
        put_file("key", "key a { algorithm hmac-md5.sig-alg.reg.int; secret ab//cd==; };", 0600);
    ok(dns_tsig_read(path, &tsig, &err));
    assert_string_equal(tsig.algorithm, "hmac-md5");
    assert_string_equal(tsig.secret, "ab//cd==");
}

static void test_bad_key_files(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "no key"},
        {"\n\n# nothing\n", "no key"},
        {"options { };", "no key"},
        {"{}{}{}}}}} key", "no key"},
        {"a:b:c:d", "no key"},
        {"key \"a\" { secret \"" SECRET "\"; };", "no algorithm"},
        {"key \"a\" { algorithm hmac-sha256; };", "no secret"},
        {"key \"a\" { algorithm hmac-sha256; secret \"not base64!\"; };", "no secret"},
        {"key \"a\" { algorithm hmac-sha256; secret \"abc\"; };", "no secret"},
        {"key \"a\" { algorithm hmac-sha256; secret \"====\"; };", "no secret"},
        {"key \"a\" { algorithm hmac-sha256; secret \"a=aa\"; };", "no secret"},
        {"key \"a\" { algorithm hmac-sha256; secret \"\"; };", "no secret"},
        {"key \"a\" { algorithm rot13; secret \"" SECRET "\"; };", "unknown algorithm"},
        {"key \"a b\" { algorithm hmac-sha256; secret \"" SECRET "\"; };", "name"},
        {"key \"\" { algorithm hmac-sha256; secret \"" SECRET "\"; };", "name"},
        {"Private-key-format: v1.3\nAlgorithm: 163\nKey: " SECRET "\n", "no key"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct dns_tsig tsig = {.name = "as it was"};
        struct err err = ERR_INIT;
        AUTO_FREE char *path = put_file("key", bad[i].text, 0600);
        assert_false(dns_tsig_read(path, &tsig, &err));
        assert_int_equal(err.code, ERR_CONFIG);
        assert_text(err.text, bad[i].says);
        assert_text(err.text, path);
        assert_null(strstr(err.text, SECRET)); /* never the secret */
        assert_true(err.advice[0] != '\0');
        assert_string_equal(tsig.name, "as it was");
    }
}

static void test_long_key_files(void **state)
{
    (void)state;
    static const int lengths[] = {256, 300, 600, 60000};
    struct dns_tsig tsig;
    struct err why = ERR_INIT;
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        AUTO_BUF text = BUF_INIT;
        buf_adds(&text, "key a { algorithm hmac-sha256; secret \"");
        for (int j = 0; j < lengths[i]; j++)
            buf_addc(&text, 'A');
        buf_adds(&text, "\"; };");
        AUTO_FREE char *path = put_file("key", buf_str(&text), 0600);
        err_clear(&why);
        assert_false(dns_tsig_read(path, &tsig, &why)); /* not cut to one that would do */
        assert_text(why.text, "no secret");
    }
    AUTO_BUF large = BUF_INIT;
    while (large.len < 70000)
        buf_adds(&large, "\n# more");
    AUTO_FREE char *path = put_file("key", buf_str(&large), 0600);
    err_clear(&why);
    assert_false(dns_tsig_read(path, &tsig, &why));
    assert_text(why.text, "larger than");
    err_clear(&why);
    ok(fs_write(path, "key a {\0 };", 11, 0600, &err));
    assert_false(dns_tsig_read(path, &tsig, &why));
    assert_text(why.text, "no key");
}

static void test_key_file_access(void **state)
{
    (void)state;
    struct dns_tsig tsig;
    struct err err = ERR_INIT;
    AUTO_FREE char *open_to_all = put_file("key", "k:" SECRET, 0644);
    assert_false(dns_tsig_read(open_to_all, &tsig, &err));
    assert_int_equal(err.code, ERR_PERMISSION);
    assert_text(err.text, "everybody");
    assert_text(err.advice, "chmod");
    err_clear(&err);
    AUTO_FREE char *missing = fs_join(base, "missing");
    assert_false(dns_tsig_read(missing, &tsig, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    err_clear(&err);
    assert_false(dns_tsig_read(base, &tsig, &err));
    assert_text(err.text, "not a regular file");
    err_clear(&err);
    AUTO_FREE char *fifo = fs_join(base, "fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_false(dns_tsig_read(fifo, &tsig, &err)); /* and does not wait for a writer */
    assert_text(err.text, "not a regular file");
}

/* -- packets --------------------------------------------------------------------------------------------- */

static const struct dns_tsig sha256 = {"tlsup-hmac-sha256", "hmac-sha256", SECRET};

#define NEEDS_LDNS()                                                                                         \
    do {                                                                                                     \
        (void)state;                                                                                         \
        if (!dns_available()) {                                                                              \
            print_message("skipped: built without libldns\n");                                               \
            skip();                                                                                          \
        }                                                                                                    \
    } while (0)

static void test_packets(void **state)
{
    NEEDS_LDNS();
    AUTO_BUF add = BUF_INIT, del = BUF_INIT, both = BUF_INIT;
    ok(dns_update_make(DNS_UPDATE_ADD, "Example.ORG.", "_Acme-challenge.example.org", "v", 60, NULL, &add,
                       &err));
    static const char head[] = "\x28\0\0\1\0\0\0\1\0\0" /* update: a zone, a change */
                               "\7example\3org\0\0\6\0\1";
    assert_memory_equal(add.data + 2, head, sizeof head - 1);
    static const char rest[] = "\0\20\0\1\0\0\0\74\0\2\1v"; /* TXT IN 60 */
    assert_memory_equal(add.data + add.len - (sizeof rest - 1), rest, sizeof rest - 1);
    ok(dns_update_make(DNS_UPDATE_DELETE, "example.org", "_acme-challenge.example.org", "v", 60, NULL, &del,
                       &err));
    static const char gone[] = "\0\20\0\376\0\0\0\0\0\2\1v"; /* TXT NONE 0: this one alone */
    assert_memory_equal(del.data + del.len - (sizeof gone - 1), gone, sizeof gone - 1);
    buf_adds(&both, "before");
    ok(dns_update_make(DNS_UPDATE_ADD, "example.org", "example.org", "", 60, &sha256, &both, &err));
    assert_memory_equal(both.data, "before", 6); /* appends */
    assert_int_equal(both.data[6 + 11], 1);      /* the signature */
}

static void test_bad_updates(void **state)
{
    (void)state;
    static const struct {
        const char *zone, *name;
        struct dns_tsig tsig;
        enum err_code code;
    } rows[] = {
        {"example.org", "example.net", {"", "", ""}, ERR_CONFIG},
        {"example.org", "badexample.org", {"", "", ""}, ERR_CONFIG},
        {"example.org", "a..example.org", {"", "", ""}, ERR_NAME},
        {"", "example.org", {"", "", ""}, ERR_NAME},
        {"example.org", ".", {"", "", ""}, ERR_NAME},
        {"example.org", "example.org", {"k", "hmac-rot13", SECRET}, ERR_CONFIG},
        {"example.org", "example.org", {"k", "hmac-sha256", "!"}, ERR_CONFIG},
        {"example.org", "example.org", {"k k", "hmac-sha256", SECRET}, ERR_CONFIG},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_BUF out = BUF_INIT;
        struct err err = ERR_INIT;
        assert_false(
            dns_update_make(DNS_UPDATE_ADD, rows[i].zone, rows[i].name, "v", 60, &rows[i].tsig, &out, &err));
        if (dns_available() || rows[i].tsig.name[0] == '\0')
            assert_int_equal(err.code, rows[i].code);
        assert_int_equal(out.len, 0);
        assert_null(strstr(err.text, SECRET));
    }
    AUTO_BUF out = BUF_INIT;
    struct err err = ERR_INIT;
    AUTO_FREE char *value = mem_alloc(10001);
    memset(value, 'v', 10000);
    assert_false(dns_update_make(DNS_UPDATE_ADD, "example.org", "example.org", value, 60, NULL, &out, &err));
    if (dns_available())
        return;
    err_clear(&err);
    assert_false(dns_update_make(DNS_UPDATE_ADD, "example.org", "example.org", "v", 60, NULL, &out, &err));
    assert_int_equal(err.code, ERR_NETWORK);
    assert_text(err.text, "libldns");
}

static void test_results(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_true(dns_update_result(0, "192.0.2.1#53", "example.org", &sha256, &err));
    assert_false(err_isset(&err));
    for (int rcode = 1; rcode < 40; rcode++) {
        err_clear(&err);
        assert_false(dns_update_result(rcode, "192.0.2.1#53", "example.org", &sha256, &err));
        assert_text(err.text, "192.0.2.1#53");
        assert_text(err.text, "example.org");
        assert_text(err.text, sha256.name);
        assert_null(strstr(err.text, SECRET));
        assert_string_equal(err.subject, "example.org");
    }
    static const struct {
        int rcode;
        const char *text, *advice;
    } rows[] = {{5, "REFUSED", "update-policy"}, {9, "NOTAUTH", "primary"}, {16, "BADSIG", "secret"},
                {17, "BADKEY", "name"},          {18, "BADTIME", "clock"},  {4, "NOTIMP", "primary"}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        err_clear(&err);
        assert_false(dns_update_result(rows[i].rcode, "a", "b", &sha256, &err));
        assert_text(err.text, rows[i].text);
        assert_text(err.advice, rows[i].advice);
    }
    err_clear(&err);
    assert_false(dns_update_result(5, "a", "b", NULL, &err));
    assert_text(err.advice, "give a TSIG key");
}

/* -- real servers ---------------------------------------------------------------------------------------- */

static int64_t real_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static pid_t start_server(const char *log, const char *const *argv)
{
    AUTO_FREE char *path = fs_join(base, log);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    dup2(fd, 1);
    dup2(fd, 2);
    execv(argv[0], (char *const *)argv);
    _exit(127);
}

static void stop_server(pid_t *pid)
{
    if (*pid <= 0)
        return;
    kill(*pid, SIGTERM);
    for (int i = 0; i < 200; i++) {
        if (waitpid(*pid, NULL, WNOHANG) == *pid) {
            *pid = 0;
            return;
        }
        usleep(20000);
    }
    kill(*pid, SIGKILL);
    waitpid(*pid, NULL, 0);
    *pid = 0;
}

struct result {
    int calls;
    bool ok;
    char name[DNS_NAME_BYTES], zone[DNS_NAME_BYTES];
    struct strlist servers, values;
    struct dns_caa caa;
    size_t n_caa;
    int rcode;
    struct err err;
};

static void take_result(void *ctx, const struct dns_answer *answer, const struct err *err)
{
    struct result *result = ctx;
    result->calls++;
    result->ok = answer != NULL;
    if (answer == NULL) {
        result->err = *err;
        return;
    }
    memcpy(result->name, answer->name, sizeof result->name);
    memcpy(result->zone, answer->zone, sizeof result->zone);
    strlist_copy(&result->servers, &answer->servers);
    strlist_copy(&result->values, &answer->values);
    result->n_caa = answer->n_caa;
    if (answer->n_caa > 0)
        result->caa = answer->caa[0];
    result->rcode = answer->rcode;
}

static void result_clear(struct result *result)
{
    strlist_clear(&result->servers);
    strlist_clear(&result->values);
}
#define AUTO_RESULT CLEANUP(result_clear) struct result

static void run(struct dns *dns, const int *calls, int wanted)
{
    int64_t end = real_ms() + ANSWER_MS * 4;
    while (*calls < wanted) {
        struct pollfd fds[DNS_MAX_POLLFDS];
        size_t n = dns_pollfds(dns, fds, DNS_MAX_POLLFDS);
        if (real_ms() > end)
            fail_msg("no answer");
        poll(fds, (nfds_t)n, dns_timeout_ms(dns));
        dns_handle(dns, fds, n);
    }
}

static void ask(struct dns_question question, struct result *out)
{
    struct dns *dns = dns_new();
    char *resolver[] = {(char *)"127.0.0.1"};
    struct strlist resolvers = {resolver, 1};
    *out = (struct result){0};
    question.resolvers = &resolvers;
    if (question.timeout_ms == 0)
        question.timeout_ms = ANSWER_MS;
    dns_ask(dns, &question, take_result, out);
    run(dns, &out->calls, 1);
    dns_free(dns);
}

static void where(const char *name, struct result *out)
{
    ask((struct dns_question){.kind = DNS_WHERE, .name = name}, out);
    if (!out->ok)
        fail_msg("where is %s: %s", name, out->err.text);
}

/* The TXT values of a name, sorted by the server's whim. */
static void read_values(const char *name, struct strlist *out)
{
    AUTO_RESULT result;
    ask((struct dns_question){.kind = DNS_TXT, .name = name}, &result);
    if (!result.ok)
        fail_msg("TXT of %s: %s", name, result.err.text);
    strlist_copy(out, &result.values);
}

static bool change(enum dns_update_act act, const char *name, const char *value, const struct dns_tsig *tsig,
                   struct err *err)
{
    AUTO_RESULT place, sent;
    AUTO_BUF packet = BUF_INIT;
    where(name, &place);
    if (!dns_update_make(act, place.zone, place.name, value, 5, tsig, &packet, err))
        return false;
    ask((struct dns_question){.kind = DNS_UPDATE,
                              .name = name,
                              .servers = &place.servers,
                              .packet = packet.data,
                              .packet_len = packet.len},
        &sent);
    if (!sent.ok) {
        *err = sent.err;
        return false;
    }
    return dns_update_result(sent.rcode, sent.servers.v[0], place.zone, tsig, err);
}

static void assert_everywhere(const char *name, const char *value)
{
    AUTO_RESULT result;
    ask((struct dns_question){.kind = DNS_TXT_EVERYWHERE, .name = name, .value = value}, &result);
    if (!result.ok)
        fail_msg("%s", result.err.text);
}

static void assert_values(const char *name, const char *const *expected, size_t n)
{
    AUTO_STRLIST values = STRLIST_INIT;
    read_values(name, &values);
    assert_int_equal(values.n, n);
    for (size_t i = 0; i < n; i++)
        assert_true(strlist_has(&values, expected[i]));
}

#define NEEDS_BIND()                                                                                         \
    do {                                                                                                     \
        (void)state;                                                                                         \
        if (!have_bind) {                                                                                    \
            print_message("skipped: no BIND (named) can be run here\n");                                     \
            skip();                                                                                          \
        }                                                                                                    \
    } while (0)

#define NEEDS_KNOT()                                                                                         \
    do {                                                                                                     \
        NEEDS_BIND();                                                                                        \
        if (!have_knot) {                                                                                    \
            print_message("skipped: no Knot (knotd) can be run here\n");                                     \
            skip();                                                                                          \
        }                                                                                                    \
    } while (0)

#define NAME "_acme-challenge.www.example.org"

static void test_two_side_by_side(void **state)
{
    NEEDS_BIND();
    AUTO_RESULT place;
    static const char *const both[] = {"first-value", "second-value"};
    where(NAME, &place);
    assert_string_equal(place.name, NAME);
    assert_string_equal(place.zone, "example.org");
    assert_string_equal(place.servers.v[0], "127.0.0.1#53");
    assert_true(strlist_has(&place.servers, "127.0.0.2#53"));
    ok(change(DNS_UPDATE_ADD, NAME, both[0], &sha256, &err));
    ok(change(DNS_UPDATE_ADD, NAME, both[1], &sha256, &err));
    ok(change(DNS_UPDATE_ADD, NAME, both[1], &sha256, &err)); /* again: nothing changes */
    assert_values(NAME, both, 2);
    assert_everywhere(NAME, both[0]); /* on the secondary, too, where there is one */
    assert_everywhere(NAME, both[1]);
    ok(change(DNS_UPDATE_DELETE, NAME, both[0], &sha256, &err));
    assert_values(NAME, both + 1, 1);
    ok(change(DNS_UPDATE_DELETE, NAME, both[0], &sha256, &err)); /* it is gone: no harm */
    ok(change(DNS_UPDATE_DELETE, NAME, both[1], &sha256, &err));
    assert_values(NAME, NULL, 0);
}

static const char *const algorithms[] = {"hmac-sha256", "hmac-sha512", "hmac-sha384",
                                         "hmac-sha224", "hmac-sha1",   "hmac-md5"};

static void test_every_algorithm(void **state)
{
    NEEDS_BIND();
    for (size_t i = 0; i < COUNT_OF(algorithms); i++) {
        struct dns_tsig tsig = {.secret = SECRET};
        sprintf(tsig.name, "TLSUP-%s.", algorithms[i]);
        sprintf(tsig.algorithm, "%s", algorithms[i]);
        ok(change(DNS_UPDATE_ADD, NAME, algorithms[i], &tsig, &err));
        ok(change(DNS_UPDATE_DELETE, NAME, algorithms[i], &tsig, &err));
    }
    assert_values(NAME, NULL, 0);
}

static void test_long_values(void **state)
{
    NEEDS_BIND();
    static const size_t lengths[] = {255, 256, 600, 3000};
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        AUTO_FREE char *value = mem_alloc(lengths[i] + 1);
        for (size_t j = 0; j < lengths[i]; j++)
            value[j] = (char)('a' + j % 23);
        ok(change(DNS_UPDATE_ADD, NAME, value, &sha256, &err));
        assert_values(NAME, (const char *const *)&value, 1);
        assert_everywhere(NAME, value);
        ok(change(DNS_UPDATE_DELETE, NAME, value, &sha256, &err));
        assert_values(NAME, NULL, 0);
    }
    static const char odd[] = "\"quoted\"; \\ \303\274 and blanks ";
    static const char *const values[] = {odd};
    ok(change(DNS_UPDATE_ADD, NAME, odd, &sha256, &err));
    assert_values(NAME, values, 1);
    ok(change(DNS_UPDATE_DELETE, NAME, odd, &sha256, &err));
}

static void assert_refused(const struct dns_tsig *tsig, const char *name, const char *text,
                           const char *advice)
{
    struct err err = ERR_INIT;
    assert_false(change(DNS_UPDATE_ADD, name, "v", tsig, &err));
    assert_text(err.text, text);
    assert_text(err.advice, advice);
    assert_int_equal(err.code, ERR_CONFIG);
}

static void test_refusals(void **state)
{
    NEEDS_BIND();
    static const struct dns_tsig wrong_secret = {"tlsup-hmac-sha256", "hmac-sha256", OTHER_SECRET};
    static const struct dns_tsig unknown = {"nobody", "hmac-sha256", SECRET};
    static const struct dns_tsig wrong_algorithm = {"tlsup-hmac-sha256", "hmac-sha512", SECRET};
    static const struct dns_tsig not_allowed = {"powerless", "hmac-sha256", SECRET};
    assert_refused(&wrong_secret, NAME, "BADSIG", "secret");
    assert_refused(&unknown, NAME, "BADKEY", "name");
    assert_refused(&wrong_algorithm, NAME, "BADKEY", "algorithm");
    assert_refused(&not_allowed, NAME, "REFUSED", "update-policy");
    assert_refused(NULL, NAME, "REFUSED", "TSIG key");
    clock_freeze(time(NULL) - 7200, 1000); /* a clock that is wrong when it signs */
    AUTO_BUF packet = BUF_INIT;
    ok(dns_update_make(DNS_UPDATE_ADD, "example.org", NAME, "v", 5, &sha256, &packet, &err));
    clock_thaw();
    char *primary[] = {(char *)"127.0.0.1"};
    struct strlist servers = {primary, 1};
    AUTO_RESULT late, elsewhere;
    struct err why = ERR_INIT;
    ask(
        (struct dns_question){
            .kind = DNS_UPDATE, .servers = &servers, .packet = packet.data, .packet_len = packet.len},
        &late);
    assert_true(late.ok);
    assert_false(dns_update_result(late.rcode, "127.0.0.1", "example.org", &sha256, &why));
    assert_text(why.text, "BADTIME");
    buf_reset(&packet);
    err_clear(&why);
    ok(dns_update_make(DNS_UPDATE_ADD, "www.example.org", NAME, "v", 5, &sha256, &packet,
                       &err)); /* not a zone */
    ask(
        (struct dns_question){
            .kind = DNS_UPDATE, .servers = &servers, .packet = packet.data, .packet_len = packet.len},
        &elsewhere);
    assert_true(elsewhere.ok);
    assert_false(dns_update_result(elsewhere.rcode, "127.0.0.1", "www.example.org", &sha256, &why));
    assert_text(why.text, "NOTAUTH");
    assert_values(NAME, NULL, 0);
}

/* _acme-challenge of one zone is an alias into another one, where nothing else can be done. */
static void test_alias_delegation(void **state)
{
    NEEDS_BIND();
    AUTO_RESULT place;
    static const char *const value[] = {"proof"};
    where("_acme-challenge.moved.example.org", &place);
    assert_string_equal(place.name, "moved.acme.example.net");
    assert_string_equal(place.zone, "acme.example.net");
    ok(change(DNS_UPDATE_ADD, "_acme-challenge.moved.example.org", value[0], &sha256, &err));
    assert_everywhere("_acme-challenge.moved.example.org", value[0]);
    assert_values("_acme-challenge.moved.example.org", value, 1);
    assert_values("moved.acme.example.net", value, 1);
    ok(change(DNS_UPDATE_DELETE, "_acme-challenge.moved.example.org", value[0], &sha256, &err));
    assert_values("moved.acme.example.net", NULL, 0);
}

/* A name under a wildcard alias gets a record of its own; a wildcard of TXT records is no proof of anything.
 */
static void test_wildcards(void **state)
{
    NEEDS_BIND();
    AUTO_RESULT place;
    static const char *const value[] = {"proof"}, *const everything[] = {"everything"};
    where("_acme-challenge.a.wild.example.org", &place);
    assert_string_equal(place.name, "_acme-challenge.a.wild.example.org");
    assert_string_equal(place.zone, "example.org");
    ok(change(DNS_UPDATE_ADD, "_acme-challenge.a.wild.example.org", value[0], &sha256, &err));
    assert_everywhere("_acme-challenge.a.wild.example.org", value[0]);
    ok(change(DNS_UPDATE_DELETE, "_acme-challenge.a.wild.example.org", value[0], &sha256, &err));
    assert_values("_acme-challenge.b.txt.example.org", everything, 1);
    ok(change(DNS_UPDATE_ADD, "_acme-challenge.b.txt.example.org", value[0], &sha256, &err));
    assert_values("_acme-challenge.b.txt.example.org", value, 1);
    ok(change(DNS_UPDATE_DELETE, "_acme-challenge.b.txt.example.org", value[0], &sha256, &err));
}

/* The zone below is another server's; the primary that its SOA names does not exist. */
static void test_delegated_to_knot(void **state)
{
    NEEDS_KNOT();
    AUTO_RESULT place;
    static const char name[] = "_acme-challenge.child.example.org";
    static const char *const both[] = {"one", "two"};
    static const struct dns_tsig wrong_secret = {"tlsup-hmac-sha256", "hmac-sha256", OTHER_SECRET};
    static const struct dns_tsig unknown = {"nobody", "hmac-sha256", SECRET};
    where(name, &place);
    assert_string_equal(place.zone, "child.example.org");
    assert_int_equal(place.servers.n, 1);
    assert_string_equal(place.servers.v[0], "127.0.0.3#53");
    for (size_t i = 0; i < 2; i++) {
        ok(change(DNS_UPDATE_ADD, name, both[i], &sha256, &err));
        assert_everywhere(name, both[i]);
    }
    assert_values(name, both, 2);
    ok(change(DNS_UPDATE_DELETE, name, both[0], &sha256, &err));
    assert_values(name, both + 1, 1);
    ok(change(DNS_UPDATE_DELETE, name, both[1], &sha256, &err));
    assert_refused(&wrong_secret, name, "BADSIG", "secret");
    assert_refused(&unknown, name, "BADKEY", "name");
    struct err err = ERR_INIT;
    assert_false(change(DNS_UPDATE_ADD, name, "v", NULL, &err));
    assert_true(err.advice[0] != '\0');
}

static void test_never_shown(void **state)
{
    NEEDS_BIND();
    AUTO_RESULT result;
    ask((struct dns_question){.kind = DNS_TXT_EVERYWHERE, .name = NAME, .value = "never", .timeout_ms = 1500},
        &result);
    assert_false(result.ok);
    assert_int_equal(result.err.code, ERR_TIMEOUT);
    assert_text(result.err.text, "ns1.example.org (127.0.0.1#53)");
    assert_text(result.err.text, "ns2.example.org (127.0.0.2#53)");
}

static void test_caa(void **state)
{
    NEEDS_BIND();
    AUTO_RESULT climbed, direct, none;
    ask((struct dns_question){.kind = DNS_CAA, .name = "*.a.b.www.example.org"}, &climbed);
    assert_true(climbed.ok);
    assert_string_equal(climbed.name, "example.org");
    assert_int_equal(climbed.n_caa, 2);
    ask((struct dns_question){.kind = DNS_CAA, .name = "strict.example.org"}, &direct);
    assert_true(direct.ok);
    assert_string_equal(direct.name, "strict.example.org");
    assert_int_equal(direct.caa.flags, 128);
    assert_string_equal(direct.caa.tag, "issue");
    assert_string_equal(direct.caa.value, "ca.example; validationmethods=dns-01");
    ask((struct dns_question){.kind = DNS_CAA, .name = "acme.example.net"}, &none);
    assert_true(none.ok);
    assert_int_equal(none.n_caa, 0);
}

static void count_good(void *ctx, const struct dns_answer *answer, const struct err *err)
{
    int *counts = ctx;
    counts[0]++;
    if (answer == NULL)
        fail_msg("%s", err->text);
}

static void test_many_at_once(void **state)
{
    NEEDS_BIND();
    enum { N = 200 };
    int counts[1] = {0};
    char *resolver[] = {(char *)"127.0.0.1"};
    struct strlist resolvers = {resolver, 1};
    struct dns *dns = dns_new();
    for (int i = 0; i < N; i++) {
        char name[64];
        sprintf(name, "_acme-challenge.h%d.txt.example.org", i);
        dns_ask(dns,
                &(struct dns_question){.kind = DNS_TXT_EVERYWHERE,
                                       .name = name,
                                       .value = "everything",
                                       .resolvers = &resolvers,
                                       .timeout_ms = ANSWER_MS},
                count_good, counts);
    }
    run(dns, counts, N);
    assert_int_equal(counts[0], N);
    dns_free(dns);
}

/* -- setup ----------------------------------------------------------------------------------------------- */

static bool tell_kernel(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool told = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return told;
}

/* 127.0.0.LAST: servers listen on the addresses that an interface has. */
static bool add_address(int fd, int last)
{
    struct ifreq alias = {0};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(0x7F000000u + (unsigned)last)};
    snprintf(alias.ifr_name, sizeof alias.ifr_name, "lo:%d", last);
    memcpy(&alias.ifr_addr, &address, sizeof address);
    return ioctl(fd, SIOCSIFADDR, &alias) == 0;
}

/* A network of our own with nothing but loopback; without root, within a user namespace where we are root. */
static bool own_network(void)
{
    char users[64], groups[64];
    struct ifreq lo = {.ifr_name = "lo"};
    snprintf(users, sizeof users, "0 %ld 1\n", (long)geteuid());
    snprintf(groups, sizeof groups, "0 %ld 1\n", (long)getegid());
    if (unshare(CLONE_NEWNET) != 0 &&
        (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0 || !tell_kernel("/proc/self/setgroups", "deny") ||
         !tell_kernel("/proc/self/uid_map", users) || !tell_kernel("/proc/self/gid_map", groups)))
        return false;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool up = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &lo) == 0;
    lo.ifr_flags |= IFF_UP;
    up = up && ioctl(fd, SIOCSIFFLAGS, &lo) == 0 && add_address(fd, 2) && add_address(fd, 3);
    if (fd >= 0)
        close(fd);
    return up;
}

#define SOA(primary) "$TTL 60\n@ SOA " primary " hostmaster.example.org. 1 5 5 600 60\n"

static void write_zones(bool knot)
{
    static const char glue[] = "ns1.example.org. A 127.0.0.1\nns2.example.org. A 127.0.0.2\n";
    AUTO_FREE char *root =
        mem_fmt(SOA("ns1.example.org.") "@ NS ns1.example.org.\norg. NS ns1.example.org.\n%s", glue);
    free(put_file("root.zone", root, 0644));
    AUTO_FREE char *org =
        mem_fmt(SOA("ns1.example.org.") "@ NS ns1.example.org.\n@ NS ns2.example.org.\n%s%sns3 A 127.0.0.3\n"
                                        "@ CAA 0 issue \"ca.example\"\n@ CAA 0 iodef "
                                        "\"mailto:x@example.org\"\nstrict CAA 128 issue \"ca.example; "
                                        "validationmethods=dns-01\"\n"
                                        "www A 127.0.0.80\n_acme-challenge.moved CNAME "
                                        "moved.acme.example.net.\n*.wild CNAME www\n*.txt TXT everything\n"
                                        "child NS ns.child\nns.child A 127.0.0.3\n",
                glue, knot ? "@ NS ns3\n" : "");
    free(put_file("example.org.zone", org, 0644));
    free(put_file("acme.example.net.zone", SOA("ns1.example.org.") "@ NS ns1.example.org.\n", 0644));
    free(put_file("child.example.org.zone",
                  SOA("nowhere.child.example.org.") "@ NS ns.child.example.org.\nns A 127.0.0.3\n", 0644));
}

static void write_named_conf(void)
{
    AUTO_BUF conf = BUF_INIT;
    buf_addf(&conf,
             "options { directory \"%s\"; pid-file none; session-keyfile none; listen-on { 127.0.0.1; "
             "127.0.0.2; }; listen-on-v6 { none; };\n"
             "recursion yes; allow-recursion { any; }; dnssec-validation no; notify-delay 0; allow-transfer "
             "{ any; }; };\ncontrols { };\n",
             base);
    for (size_t i = 0; i < COUNT_OF(algorithms); i++)
        buf_addf(&conf, "key \"tlsup-%s\" { algorithm %s; secret \"%s\"; };\n", algorithms[i], algorithms[i],
                 SECRET);
    buf_addf(&conf, "key \"powerless\" { algorithm hmac-sha256; secret \"%s\"; };\n", SECRET);
    static const char *const zones[] = {"example.org", "acme.example.net"};
    buf_adds(&conf, "zone \".\" { type primary; file \"root.zone\"; };\n");
    for (size_t i = 0; i < COUNT_OF(zones); i++) {
        buf_addf(&conf, "zone \"%s\" { type primary; file \"%s.zone\"; update-policy {\n", zones[i],
                 zones[i]);
        for (size_t j = 0; j < COUNT_OF(algorithms); j++)
            buf_addf(&conf, "grant tlsup-%s zonesub TXT;\n", algorithms[j]);
        buf_adds(&conf, "}; };\n");
    }
    free(put_file("named.conf", buf_str(&conf), 0644));
}

static void write_knot_conf(void)
{
    AUTO_FREE char *conf =
        mem_fmt("server:\n  rundir: %s\n  listen: 127.0.0.3@53\n"
                "database:\n  storage: %s/knot\n  journal-db-max-size: 16M\n  kasp-db-max-size: 8M\n  "
                "timer-db-max-size: 2M\n"
                "key:\n  - id: tlsup-hmac-sha256\n    algorithm: hmac-sha256\n    secret: %s\n"
                "remote:\n  - id: bind\n    address: 127.0.0.1@53\n"
                "acl:\n  - id: update\n    key: tlsup-hmac-sha256\n    action: update\n"
                "  - id: notify\n    address: 127.0.0.0/8\n    action: notify\n"
                "template:\n  - id: default\n    storage: %s\n"
                "zone:\n  - domain: child.example.org\n    file: child.example.org.zone\n    acl: update\n"
                "  - domain: example.org\n    file: secondary.zone\n    master: bind\n    acl: notify\n",
                base, base, SECRET, base);
    free(put_file("knot.conf", conf, 0600));
    AUTO_FREE char *dir = fs_join(base, "knot");
    ok(fs_mkdirs(dir, 0700, &err));
}

/* Does a server answer about `name`? */
static bool answers(const char *name, pid_t pid)
{
    int64_t end = real_ms() + START_MS;
    while (real_ms() < end && waitpid(pid, NULL, WNOHANG) == 0) {
        AUTO_RESULT result;
        ask((struct dns_question){.kind = DNS_TXT, .name = name, .timeout_ms = 3000}, &result);
        if (result.ok)
            return true;
        usleep(100000);
    }
    return false;
}

static void show_log(const char *name)
{
    AUTO_BUF text = BUF_INIT;
    AUTO_FREE char *path = fs_join(base, name);
    struct err err = ERR_INIT;
    if (fs_read(path, 1 << 20, &text, &err))
        print_message("%s\n", buf_str(&text) + (text.len > 1500 ? text.len - 1500 : 0));
}

static int start_all(void **state)
{
    static const char named[] = "/usr/sbin/named", knotd[] = "/usr/sbin/knotd";
    (void)state;
    if (!have_network || !dns_available() || access(named, X_OK) != 0)
        return 0;
    bool knot = access(knotd, X_OK) == 0;
    write_zones(knot);
    write_named_conf();
    write_knot_conf();
    AUTO_FREE char *conf = fs_join(base, "named.conf");
    AUTO_FREE char *knot_conf = fs_join(base, "knot.conf");
    const char *const named_argv[] = {named, "-g", "-n", "1", "-c", conf, NULL};
    const char *const knot_argv[] = {knotd, "-c", knot_conf, NULL};
    named_pid = start_server("named.log", named_argv);
    have_bind = answers("txt.example.org", named_pid);
    if (!have_bind) {
        print_message("BIND does not run here:\n");
        show_log("named.log");
        return 0;
    }
    if (knot) {
        knot_pid = start_server("knot.log", knot_argv);
        have_knot = answers("child.example.org", knot_pid);
        if (!have_knot) {
            print_message("Knot does not run here:\n");
            show_log("knot.log");
        }
    }
    return 0;
}

static int stop_all(void **state)
{
    (void)state;
    stop_server(&knot_pid);
    stop_server(&named_pid);
    return 0;
}

int main(void)
{
    struct err err = ERR_INIT;
    strcpy(base, "/tmp/test_dns_update_XXXXXX");
    have_network = own_network();
    if (mkdtemp(base) == NULL)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_files),       cmocka_unit_test(test_bad_key_files),
        cmocka_unit_test(test_long_key_files),  cmocka_unit_test(test_key_file_access),
        cmocka_unit_test(test_packets),         cmocka_unit_test(test_bad_updates),
        cmocka_unit_test(test_results),         cmocka_unit_test(test_two_side_by_side),
        cmocka_unit_test(test_every_algorithm), cmocka_unit_test(test_long_values),
        cmocka_unit_test(test_refusals),        cmocka_unit_test(test_alias_delegation),
        cmocka_unit_test(test_wildcards),       cmocka_unit_test(test_delegated_to_knot),
        cmocka_unit_test(test_never_shown),     cmocka_unit_test(test_caa),
        cmocka_unit_test(test_many_at_once),
    };
    int failed = cmocka_run_group_tests(tests, start_all, stop_all);
    (void)!fs_remove_tree(base, &err);
    return failed;
}
