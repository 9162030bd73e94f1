/*
 * test_notifier.c - the child that sends: deadlines, a second try, servers that hang or talk nonsense, and
 * its own death.
 */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cmocka.h>

#include "tlsup/key.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/notifier.h"

enum { SHORT_MS = 300 };

/* A server on loopback: each connection gets the next of these answers once its request has begun; NULL =
 * nothing is ever said. What it has read is in the pipe. */
struct server {
    pid_t pid;
    int port, read_fd;
};

static void serve(int listener, int out, const char *const *answers)
{
    for (size_t i = 0;; i++) {
        char block[4096];
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            _exit(0);
        ssize_t n = write(out, "+", 1);
        struct pollfd pfd = {.fd = fd, .events = POLLIN};
        while (poll(&pfd, 1, 100) > 0 && (n = read(fd, block, sizeof block)) > 0)
            n = write(out, block, (size_t)n);
        if (answers[i] == NULL) {
            pause();
            _exit(0);
        }
        n = write(fd, answers[i], strlen(answers[i]));
        close(fd);
        if (answers[i + 1] == NULL && answers[i][0] == '!')
            _exit(0);
    }
}

static struct server start_server(const char *const *answers)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), ends[2];
    assert_int_equal(bind(listener, (const struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        signal(SIGPIPE, SIG_IGN);
        serve(listener, ends[1], answers);
    }
    close(listener);
    close(ends[1]);
    return (struct server){.pid = pid, .port = ntohs(address.sin_port), .read_fd = ends[0]};
}

/* Ends it; all that it has read, a '+' for each connection. The caller frees. */
static char *stop_server(struct server *server)
{
    AUTO_BUF text = BUF_INIT;
    char block[4096];
    ssize_t n;
    usleep(20000);
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
    while ((n = read(server->read_fd, block, sizeof block)) > 0)
        buf_add(&text, block, (size_t)n);
    close(server->read_fd);
    buf_adds(&text, "");
    return buf_take(&text);
}

static size_t connections(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += *text == '+';
    return n;
}

static struct notifier *start(void)
{
    struct notifier_options options = {.timeout_ms = SHORT_MS, .pause_ms = 10};
    struct notifier *notifier = NULL;
    struct err err = ERR_INIT;
    if (!notifier_start(&options, &notifier, &err))
        fail_msg("%s", err.text);
    return notifier;
}

static bool send_one(struct notifier *notifier, enum notifier_kind kind, int port, const char *body,
                     struct err *err)
{
    AUTO_FREE char *url = mem_fmt("%s://127.0.0.1:%d%s", kind == NOTIFIER_MAIL ? "smtp" : "http", port,
                                  kind == NOTIFIER_MAIL ? "" : "/path/t0ken");
    struct notifier_job job = {.kind = kind,
                               .url = url,
                               .loopback = true,
                               .from = "a@example.org",
                               .to = "b@example.org",
                               .body = body,
                               .body_len = strlen(body)};
    return notifier_carry_out(notifier, &job, NULL, NULL, err);
}

#define HTTP(status, headers)                                                                                \
    "HTTP/1.1 " status "\r\nContent-Length: 0\r\nConnection: close\r\n" headers "\r\n"

static const struct {
    const char *name;
    enum notifier_kind kind;
    const char *answers[4];
    enum err_code code; /* ERR_NONE = it goes well */
    size_t tries;
} cases[] = {
    {"well", NOTIFIER_POST, {HTTP("200 OK", "")}, ERR_NONE, 1},
    {"no content", NOTIFIER_GET, {HTTP("204 No Content", "")}, ERR_NONE, 1},
    {"at the second try", NOTIFIER_POST, {HTTP("502 Bad Gateway", ""), HTTP("200 OK", "")}, ERR_NONE, 2},
    {"broken twice", NOTIFIER_POST, {HTTP("500 No", ""), HTTP("500 No", "")}, ERR_PROTOCOL, 2},
    {"not found", NOTIFIER_GET, {HTTP("404 Not Found", "")}, ERR_PROTOCOL, 1},
    {"redirected to a file",
     NOTIFIER_GET,
     {HTTP("302 Found", "Location: file:///etc/passwd\r\n")},
     ERR_CONFIG,
     1},
    {"redirected to http",
     NOTIFIER_GET,
     {HTTP("302 Found", "Location: http://127.0.0.1:1/\r\n")},
     ERR_CONFIG,
     1},
    {"redirected post",
     NOTIFIER_POST,
     {HTTP("302 Found", "Location: http://127.0.0.1:1/\r\n")},
     ERR_PROTOCOL,
     1},
    {"nothing", NOTIFIER_GET, {"", ""}, ERR_NETWORK, 2},
    {"garbage", NOTIFIER_GET, {"\001\002\003 hello\r\n\r\n", "\001\002\003"}, ERR_CONFIG, 1},
    {"cut in the header",
     NOTIFIER_POST,
     {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab", HTTP("200 OK", "")},
     ERR_NONE,
     2},
    {"no mail server",
     NOTIFIER_MAIL,
     {HTTP("400 Bad Request", ""), HTTP("400 Bad Request", "")},
     ERR_NETWORK,
     2},
    {"a mail server that is closed", NOTIFIER_MAIL, {"554 closed\r\n"}, ERR_PROTOCOL, 1},
};

static void test_servers(void **state)
{
    (void)state;
    struct notifier *notifier = start();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct server server = start_server(cases[i].answers);
        struct err err = ERR_INIT;
        bool ok = send_one(notifier, cases[i].kind, server.port, "{}", &err);
        AUTO_FREE char *seen = stop_server(&server);
        if (ok != (cases[i].code == ERR_NONE) || err.code != cases[i].code ||
            connections(seen) != cases[i].tries)
            fail_msg("%s: %s %s, %zu tries", cases[i].name, err_code_name(err.code), err.text,
                     connections(seen));
        if (ok)
            continue;
        assert_null(strstr(err.text, "t0ken"));
        assert_true(err.advice[0] != '\0');
    }
    notifier_stop(notifier);
}

static void test_hanging(void **state)
{
    (void)state;
    static const char *const nothing[] = {NULL};
    struct notifier *notifier = start();
    for (enum notifier_kind kind = 0; kind < NOTIFIER_KINDS; kind++) {
        struct server server = start_server(nothing);
        struct err err = ERR_INIT;
        assert_false(send_one(notifier, kind, server.port, "{}", &err));
        assert_int_equal(err.code, ERR_TIMEOUT);
        free(stop_server(&server));
    }
    notifier_stop(notifier);
}

static void test_nobody_there(void **state)
{
    (void)state;
    struct notifier *notifier = start();
    struct err err = ERR_INIT;
    assert_false(send_one(notifier, NOTIFIER_POST, 1, "{}", &err));
    assert_int_equal(err.code, ERR_NETWORK);
    notifier_stop(notifier);
}

/* A body of many frames arrives as it was; one that is too large is not begun. */
static void test_large_body(void **state)
{
    (void)state;
    static const char *const answers[] = {HTTP("200 OK", ""), NULL};
    AUTO_FREE char *body = mem_alloc(300001);
    for (size_t i = 0; i < 300000; i++)
        body[i] = (char)('a' + i % 26);
    struct server server = start_server(answers);
    pid_t reader = fork(); /* the pipe holds less than that */
    if (reader == 0) {
        char block[4096];
        size_t total = 0;
        for (ssize_t n; (n = read(server.read_fd, block, sizeof block)) > 0;)
            for (ssize_t i = 0; i < n; i++)
                total += block[i] == 'q';
        _exit(total >= 300000 / 26 ? 0 : 1);
    }
    struct notifier *notifier = start();
    struct err err = ERR_INIT;
    if (!send_one(notifier, NOTIFIER_POST, server.port, body, &err))
        fail_msg("%s", err.text);
    kill(server.pid, SIGKILL);
    waitpid(server.pid, NULL, 0);
    int status;
    waitpid(reader, &status, 0);
    close(server.read_fd);
    assert_int_equal(status, 0);
    AUTO_FREE char *huge = mem_alloc(NOTIFIER_BODY_BYTES + 2);
    memset(huge, 'x', NOTIFIER_BODY_BYTES + 1);
    assert_false(send_one(notifier, NOTIFIER_POST, 1, huge, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    notifier_stop(notifier);
}

/* The two that a notifier has, in the order of their start; false where the system does not tell. */
static bool children_of_ours(int pids[2])
{
    char name[64];
    snprintf(name, sizeof name, "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(name, "r");
    bool ok = file != NULL && fscanf(file, "%d %d", &pids[0], &pids[1]) == 2;
    if (file != NULL)
        fclose(file);
    return ok;
}

static struct notifier *start_and_kill(bool both)
{
    int children[2];
    struct notifier *notifier = start();
    if (!children_of_ours(children)) {
        notifier_stop(notifier);
        skip();
    }
    for (size_t i = 0; i < (both ? 2 : 1); i++) {
        siginfo_t ended;
        kill(children[i], SIGKILL);
        waitid(P_PID, (id_t)children[i], &ended, WEXITED | WNOWAIT);
    }
    return notifier;
}

/* Whatever it has died of: the other ways are tried, for keys that were read meanwhile forbid another fork.
 */
static void test_death_of_one(void **state)
{
    (void)state;
    static const char *const answers[] = {HTTP("200 OK", ""), HTTP("200 OK", ""), NULL};
    struct notifier *notifier = start_and_kill(false);
    struct server server = start_server(answers);
    struct err err = ERR_INIT;
    for (size_t i = 0; i < 2; i++)
        if (!send_one(notifier, NOTIFIER_POST, server.port, "{}", &err))
            fail_msg("%s", err.text);
    AUTO_FREE char *seen = stop_server(&server);
    assert_int_equal(connections(seen), 2);
    notifier_stop(notifier);
}

static void test_death_of_both(void **state)
{
    (void)state;
    struct notifier *notifier = start_and_kill(true);
    for (size_t i = 0; i < 2; i++) { /* for good */
        struct err err = ERR_INIT;
        assert_false(send_one(notifier, NOTIFIER_GET, 1, "", &err));
        assert_int_equal(err.code, ERR_CHILD);
    }
    notifier_stop(notifier);
    notifier_stop(NULL);
}

/* What it died of, or hung at, is not given to the other; the next is. */
static void test_death_at_a_job(void **state)
{
    (void)state;
    static const char *const nothing[] = {NULL}, *const answers[] = {HTTP("200 OK", ""), NULL};
    int children[2];
    struct notifier *notifier = start();
    if (!children_of_ours(children)) {
        notifier_stop(notifier);
        skip();
    }
    struct server silent = start_server(nothing), server = start_server(answers);
    struct err err = ERR_INIT;
    pid_t killer = fork();
    if (killer == 0) {
        char first;
        bool asked = read(silent.read_fd, &first, 1) == 1; /* it is at it */
        _exit(asked && kill(children[0], SIGKILL) == 0 ? 0 : 1);
    }
    assert_false(send_one(notifier, NOTIFIER_POST, silent.port, "{}", &err));
    assert_int_equal(err.code, ERR_CHILD);
    waitpid(killer, NULL, 0);
    free(stop_server(&silent));
    err_clear(&err);
    if (!send_one(notifier, NOTIFIER_POST, server.port, "{}", &err))
        fail_msg("%s", err.text);
    free(stop_server(&server));
    notifier_stop(notifier);
}

/* With a private key in memory no child is forked that would have it. */
static void test_not_after_keys(void **state)
{
    (void)state;
    struct notifier_options options = {0};
    struct notifier *notifier = NULL;
    struct err err = ERR_INIT;
    struct key *key = NULL;
    assert_true(key_generate(KEY_ECDSA_P256, &key, &err));
    assert_false(notifier_start(&options, &notifier, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    key_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_servers),        cmocka_unit_test(test_hanging),
        cmocka_unit_test(test_nobody_there),   cmocka_unit_test(test_large_body),
        cmocka_unit_test(test_death_of_one),   cmocka_unit_test(test_death_of_both),
        cmocka_unit_test(test_death_at_a_job), cmocka_unit_test(test_not_after_keys),
    };
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
