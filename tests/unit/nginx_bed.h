/*
 * nginx_bed.h - for the tests on a real nginx: a configuration of one's own, a server, a network,
 * certificates, visitors.
 */
#ifndef TLSUP_TESTS_NGINX_BED_H
#define TLSUP_TESTS_NGINX_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/install/driver.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

#pragma GCC diagnostic ignored "-Wunused-function" /* each program uses what it needs */

#define THUMBPRINT "Abcdefghijklmnopqrstuvwxyz0123456789_-ABCDE"
#define TOKEN "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"

static char base_dir[256]; /* certificates, and a directory for each test */
static char program[256];  /* nginx */
static bool can_serve;

/* The expression uses `err`; it must be true. */
#define ok(expression)                                                                                       \
    do {                                                                                                     \
        struct err err = ERR_INIT;                                                                           \
        if (!(expression)) {                                                                                 \
            fail_msg("%s: %s", #expression, err.text);                                                       \
        }                                                                                                    \
    } while (0)

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* ---- a configuration of one's own ---- */

struct bed {
    char dir[300];
    char live[340];
    struct strlist files; /* below dir, as written */
    struct strlist texts; /* their contents, hexless: no NUL in fixtures */
    struct strlist names;
    char expect[32], detail[256];
    const char *second; /* "rsa", "ecdsa": there is a second certificate */
    bool serve;
    struct web web;
};

static void put(const char *dir, const char *name, const char *text, size_t len)
{
    AUTO_FREE char *path = fs_join(dir, name);
    AUTO_FREE char *parent = fs_dirname(path);
    ok(fs_mkdirs(parent, 0755, &err));
    ok(fs_write(path, text, len, 0644, &err));
}

static void copy_file(const char *from, const char *dir, const char *name)
{
    AUTO_BUF text = BUF_INIT;
    AUTO_FREE char *path = fs_join(base_dir, from);
    ok(fs_read(path, 1 << 20, &text, &err));
    put(dir, name, buf_str(&text), text.len);
}

static void bed_open(struct bed *bed)
{
    static int count;
    static const char main_inc[] =
        "pid nginx.pid;\nerror_log error.log;\nevents { worker_connections 64; }\n";
    static const char http_inc[] = "access_log access.log;\nclient_body_temp_path t1;\nproxy_temp_path t2;\n"
                                   "fastcgi_temp_path t3;\nscgi_temp_path t4;\nuwsgi_temp_path t5;\n";
    *bed = (struct bed){.serve = true};
    snprintf(bed->dir, sizeof bed->dir, "%s/%d", base_dir, count++);
    snprintf(bed->live, sizeof bed->live, "%s/live/example.org", bed->dir);
    put(bed->dir, "main.inc", main_inc, strlen(main_inc));
    put(bed->dir, "http.inc", http_inc, strlen(http_inc));
    put(bed->dir, "mime.inc", "types { text/html html; }\n", 26);
    put(bed->dir, "html/index.html", "the page\n", 9);
    put(bed->dir, "htpasswd", "a:b\n", 4);
    copy_file("old.pem", bed->dir, "old.pem");
    copy_file("old.key", bed->dir, "old.key");
    copy_file("old2.pem", bed->dir, "old2.pem");
    copy_file("old2.key", bed->dir, "old2.key");
    copy_file("new.pem", bed->live, "fullchain.pem");
    copy_file("new.key", bed->live, "privkey.pem");
    copy_file("old2.pem", bed->live, "fullchain-rsa.pem");
    copy_file("old2.key", bed->live, "privkey-rsa.pem");
    copy_file("old.pem", bed->live, "fullchain-ecdsa.pem");
    copy_file("old.key", bed->live, "privkey-ecdsa.pem");
    AUTO_FREE char *journal = fs_join(bed->dir, "journal");
    ok(fs_mkdirs(journal, 0700, &err));
}

static void bed_ready(struct bed *bed)
{
    AUTO_FREE char *conf = fs_join(bed->dir, "nginx.conf");
    struct web_hints hints = {.nginx_bin = program, .nginx_conf = conf};
    ok(nginx_driver.find(&hints, &bed->web, &err));
    snprintf(bed->web.prefix, sizeof bed->web.prefix, "%s/", bed->dir);
    snprintf(bed->web.prefix_arg, sizeof bed->web.prefix_arg, "%s/", bed->dir);
}

static void bed_file(struct bed *bed, const char *name, const char *text)
{
    put(bed->dir, name, text, strlen(text));
    strlist_add(&bed->files, name);
    strlist_add(&bed->texts, text);
}

/* A bed with one configuration file: the body of the http block. */
static void bed_http(struct bed *bed, const char *body)
{
    bed_open(bed);
    AUTO_FREE char *text = mem_fmt("include main.inc;\nhttp {\n    include http.inc;\n%s}\n", body);
    bed_file(bed, "nginx.conf", text);
    bed_ready(bed);
}

static void bed_close(struct bed *bed)
{
    struct err err = ERR_INIT;
    strlist_clear(&bed->files);
    strlist_clear(&bed->texts);
    strlist_clear(&bed->names);
    (void)!fs_remove_tree(bed->dir, &err);
}
#define AUTO_BED CLEANUP(bed_close) struct bed

static char *read_back(const struct bed *bed, const char *name)
{
    AUTO_FREE char *path = fs_join(bed->dir, name);
    AUTO_BUF text = BUF_INIT;
    ok(fs_read(path, 1 << 20, &text, &err));
    return buf_take(&text) ?: mem_dup("");
}

static void add_names(struct bed *bed, const char *names)
{
    strlist_split(&bed->names, names, " ");
}

/* ---- edits ---- */

static struct txn *begin(const struct bed *bed)
{
    AUTO_FREE char *journal = fs_join(bed->dir, "journal");
    struct txn *txn = NULL;
    ok(txn_begin(journal, "example.org", "enable example.org", &txn, &err));
    return txn;
}

/* How many warnings nginx has for the configuration; fails when it refuses it. */
static size_t warnings(const struct bed *bed)
{
    const char *argv[] = {program, "-t", "-c", bed->web.conf, "-p", bed->dir, NULL};
    struct spawn_result result = {0};
    size_t n = 0;
    ok(spawn_run(argv, NULL, &result, &err));
    if (result.status != 0) {
        AUTO_FREE char *conf = read_back(bed, "nginx.conf");
        fail_msg("nginx -t: %s\n%s", buf_str(&result.output), conf);
    }
    for (const char *at = buf_str(&result.output); (at = strstr(at, "[warn]")) != NULL; at++) {
        n++;
    }
    spawn_result_clear(&result);
    return n;
}

/* ---- serving ---- */

enum { PATIENCE_MS = 60000, STEP_US = 20000 }; /* a busy machine takes its time */

static pid_t running; /* so that a failed test leaves none behind */
static char running_dir[sizeof((struct bed *)NULL)->dir];

/* A moment later: is there still time for what is waited for? */
static bool step(int64_t since_ms)
{
    usleep(STEP_US);
    return clock_mono_ms() - since_ms < PATIENCE_MS;
}

static bool has_ended(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == pid;
}

/* The processes that serve: the master's children, as words. */
static void read_workers(pid_t master, struct strlist *out)
{
    AUTO_FREE char *path = mem_fmt("/proc/%ld/task/%ld/children", (long)master, (long)master);
    AUTO_BUF text = BUF_INIT;
    struct err err = ERR_INIT;
    strlist_clear(out);
    if (fs_read(path, 65536, &text, &err)) {
        strlist_split(out, buf_str(&text), " ");
    }
}

static bool all_gone(const struct strlist *pids)
{
    for (size_t i = 0; i < pids->n; i++) {
        if (kill((pid_t)atoi(pids->v[i]), 0) == 0) {
            return false;
        }
    }
    return true;
}

/* Until there are workers, and none of `old`: with the first of them the sockets are open and signals are
 * taken; with the last of the old ones gone nobody answers by an old configuration. */
static bool wait_workers(pid_t master, const struct strlist *old)
{
    AUTO_STRLIST now = STRLIST_INIT;
    int64_t since_ms = clock_mono_ms();
    do {
        bool gone = all_gone(old);
        read_workers(master, &now);
        if (gone && now.n > 0) {
            return true;
        }
    } while (!has_ended(master) && step(since_ms));
    return false;
}

/* Does not return before nginx serves. `nginx -t` listens for a moment on the ports of the configuration, and
 * a signal that comes before nginx handles it ends it: both are for later. */
static pid_t start_nginx(const struct bed *bed)
{
    static const struct strlist nobody = STRLIST_INIT;
    AUTO_FREE char *log = fs_join(bed->dir, "stderr.log");
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        signal(SIGHUP, SIG_DFL); /* ignored when the tests themselves run under nohup */
        int null = open("/dev/null", O_RDWR), said = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
        dup2(null, 0);
        dup2(null, 1);
        dup2(said, 2);
        execl(program, program, "-c", bed->web.conf, "-p", bed->dir, "-g", "daemon off;", (char *)NULL);
        _exit(127);
    }
    running = pid;
    snprintf(running_dir, sizeof running_dir, "%s", bed->dir);
    if (!wait_workers(pid, &nobody)) {
        fail_msg("nginx does not start");
    }
    return pid;
}

static void reload_nginx(const struct bed *bed)
{
    AUTO_STRLIST old = STRLIST_INIT;
    read_workers(bed->web.master_pid, &old);
    assert_int_equal(kill(bed->web.master_pid, SIGHUP), 0);
    if (!wait_workers(bed->web.master_pid, &old)) {
        fail_msg("nginx does not take up its new configuration");
    }
}

static void stop_nginx(void)
{
    kill(running, SIGTERM);
    waitpid(running, NULL, 0);
    running = 0;
}

static void show(const char *name)
{
    AUTO_FREE char *path = fs_join(running_dir, name);
    AUTO_BUF text = BUF_INIT;
    struct err err = ERR_INIT;
    if (fs_read(path, 1 << 20, &text, &err) && text.len > 0) {
        fprintf(stderr, "-- %s:\n%s\n", name, buf_str(&text)); /* whole: cmocka would cut it */
    }
}

/* After each test. Is nginx still there, then it has failed: why, in nginx's own words. */
static int end_nginx(void **state)
{
    (void)state;
    if (running > 0) {
        fprintf(stderr, "-- nginx %s\n", has_ended(running) ? "has ended" : "runs");
        show("nginx.conf");
        show("stderr.log");
        show("error.log");
        stop_nginx();
    }
    return 0;
}

struct answer {
    long status;
    char body[1024];
    size_t len;
    char location[512];
    char headers[4096]; /* all lines */
    bool new_leaf;
};

static size_t take_body(char *data, size_t size, size_t count, void *user)
{
    struct answer *answer = user;
    size_t room = sizeof answer->body - 1 - answer->len, n = size * count < room ? size * count : room;
    memcpy(answer->body + answer->len, data, n);
    answer->len += n;
    return size * count;
}

static size_t take_header(char *data, size_t size, size_t count, void *user)
{
    struct answer *answer = user;
    size_t at = strlen(answer->headers), room = sizeof answer->headers - 1 - at;
    memcpy(answer->headers + at, data, size * count < room ? size * count : room);
    return size * count;
}

static long most_tls; /* CURL_SSLVERSION_MAX_...: the newest protocol that visitors know, 0 = all */

static bool leaf_is_new(CURL *curl)
{
    struct curl_certinfo *info = NULL;
    if (curl_easy_getinfo(curl, CURLINFO_CERTINFO, &info) != CURLE_OK || info == NULL ||
        info->num_of_certs < 1) {
        return false;
    }
    for (struct curl_slist *line = info->certinfo[0]; line != NULL; line = line->next) {
        if (starts(line->data, "Subject:") && strstr(line->data, "new-leaf") != NULL) {
            return true;
        }
    }
    return false;
}

static bool fetch(const char *address, int port, const char *name, const char *path, struct answer *answer)
{
    *answer = (struct answer){0};
    CURL *curl = curl_easy_init();
    AUTO_FREE char *url = mem_fmt("%s://%s:%d%s", port == 443 ? "https" : "http", name, port, path);
    bool v6 = strchr(address, ':') != NULL;
    AUTO_FREE char *to = mem_fmt(v6 ? "%s:%d:[%s]" : "%s:%d:%s", name, port, address);
    struct curl_slist *resolve = curl_slist_append(NULL, to);
    char *location = NULL;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_RESOLVE, resolve);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(curl, CURLOPT_CERTINFO, 1L);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)PATIENCE_MS);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, answer);
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, most_tls);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
    curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &location);
    snprintf(answer->location, sizeof answer->location, "%s", location != NULL ? location : "");
    answer->new_leaf = leaf_is_new(curl);
    curl_slist_free_all(resolve);
    curl_easy_cleanup(curl);
    return code == CURLE_OK;
}

/* ---- setup ---- */

static void make_certificate(const char *name, const char *subject, const char *names, bool rsa)
{
    AUTO_FREE char *key = mem_fmt("%s/%s.key", base_dir, name);
    AUTO_FREE char *pem = mem_fmt("%s/%s.pem", base_dir, name);
    AUTO_FREE char *san = mem_fmt("subjectAltName=%s", names);
    AUTO_FREE char *subj = mem_fmt("/CN=%s", subject);
    const char *argv[] = {"openssl",
                          "req",
                          "-x509",
                          "-newkey",
                          rsa ? "rsa:2048" : "ec",
                          "-pkeyopt",
                          rsa ? "rsa_keygen_bits:2048" : "ec_paramgen_curve:P-256",
                          "-nodes",
                          "-keyout",
                          key,
                          "-out",
                          pem,
                          "-days",
                          "30",
                          "-subj",
                          subj,
                          "-addext",
                          san,
                          NULL};
    struct spawn_result result = {0};
    ok(spawn_run(argv, NULL, &result, &err));
    if (result.status != 0) {
        fail_msg("openssl: %s", buf_str(&result.output));
    }
    spawn_result_clear(&result);
}

static bool run_quietly(const char *const *argv)
{
    struct spawn_result result = {0};
    struct err err = ERR_INIT;
    bool done = spawn_run(argv, NULL, &result, &err) && result.status == 0;
    spawn_result_clear(&result);
    return done;
}

/* A network of our own, with the addresses of the fixtures. */
static bool own_network(void)
{
    static const char *const commands[][8] = {
        {"ip", "link", "set", "lo", "up", NULL},
        {"ip", "addr", "add", "192.0.2.1/32", "dev", "lo", NULL},
        {"ip", "addr", "add", "2001:db8::1/128", "dev", "lo", NULL},
    };
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0) {
        return false;
    }
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (!run_quietly(commands[i])) {
            return false;
        }
    }
    return true;
}

static int set_up(void **state)
{
    (void)state;
    /* In memory where there is such a place: thousands of fsync()s wait for nothing else here. */
    snprintf(base_dir, sizeof base_dir, "%s/nginx_bed.XXXXXX",
             access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(base_dir));
    chmod(base_dir, 0755);
    assert_int_equal(chdir(base_dir), 0); /* nginx takes a relative name of a Unix socket from there */
    make_certificate("old", "old-leaf", "DNS:nobody.invalid", false);
    make_certificate("old2", "old-leaf", "DNS:nobody.invalid", true);
    make_certificate("keep", "keep-leaf", "DNS:example.org,DNS:keep.example.org", false);
    make_certificate("new", "new-leaf", "DNS:example.org", false);
    can_serve = own_network();
    if (!can_serve) {
        print_message("no network namespace: nothing is served\n");
    }
    return 0;
}

static int tear_down(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    return fs_remove_tree(base_dir, &err) ? 0 : 1;
}

static bool find_program(void)
{
    static const char *const places[] = {"/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"};
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        if (access(places[i], X_OK) == 0) {
            snprintf(program, sizeof program, "%s", places[i]);
            return true;
        }
    }
    return false;
}

#endif
