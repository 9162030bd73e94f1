/*
 * test_nginx.c - every edit of an nginx configuration: accepted by nginx itself, the rest of the file
 * untouched, done once, undone wholly, and (as root, in a network namespace) really served.
 */
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

static void check_unchanged(const struct bed *bed)
{
    for (size_t i = 0; i < bed->files.n; i++) {
        AUTO_FREE char *now = read_back(bed, bed->files.v[i]);
        assert_string_equal(now, bed->texts.v[i]);
    }
}

/* ---- fixtures ---- */

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static void directive(struct bed *bed, char *line, char **file)
{
    AUTO_STRLIST words = STRLIST_INIT;
    strlist_split(&words, line, " ");
    const char *rest = strchr(line, ' ') + 1;
    if (starts(line, "names ")) {
        strlist_split(&bed->names, rest, " ");
    } else if (starts(line, "expect ")) {
        snprintf(bed->expect, sizeof bed->expect, "%s", words.v[1]);
        snprintf(bed->detail, sizeof bed->detail, "%s", words.n > 2 ? words.v[2] : "");
    } else if (starts(line, "refuse ")) {
        snprintf(bed->expect, sizeof bed->expect, "refuse");
        snprintf(bed->detail, sizeof bed->detail, "%s", rest);
    } else if (starts(line, "serve ")) {
        bed->serve = false;
    } else if (starts(line, "file ")) {
        free(*file);
        *file = mem_dup(rest);
    } else if (starts(line, "dir ")) {
        AUTO_FREE char *path = fs_join(bed->dir, rest);
        ok(fs_mkdirs(path, 0755, &err));
    } else if (starts(line, "link ")) {
        AUTO_FREE char *link = fs_join(bed->dir, words.v[1]);
        AUTO_FREE char *target = fs_join(bed->dir, words.v[2]);
        AUTO_FREE char *parent = fs_dirname(link);
        ok(fs_mkdirs(parent, 0755, &err));
        ok(fs_symlink(target, link, &err));
    } else {
        fail_msg("fixture: %s", line);
    }
}

static char *fixture_dir;

static void load_fixture(struct bed *bed, const char *name)
{
    AUTO_BUF text = BUF_INIT, part = BUF_INIT;
    AUTO_FREE char *path = fs_join(fixture_dir, name);
    char *file = mem_dup("nginx.conf");
    bed_open(bed);
    ok(fs_read(path, 1 << 20, &text, &err));
    for (char *at = text.data, *next; *at != '\0'; at = next) {
        next = strchr(at, '\n');
        next = next != NULL ? next + 1 : at + strlen(at);
        if (!starts(at, "#@ ")) {
            buf_add(&part, at, (size_t)(next - at));
            continue;
        }
        AUTO_FREE char *line = mem_ndup(at + 3, (size_t)(next - at) - 3);
        line[strcspn(line, "\r\n")] = '\0';
        if (part.len > 0) {
            bed_file(bed, file, buf_str(&part));
            buf_reset(&part);
        }
        directive(bed, line, &file);
    }
    if (part.len > 0) {
        bed_file(bed, file, buf_str(&part));
    }
    free(file);
    bed_ready(bed);
}

/* ---- edits and their checks ---- */

static struct txn *begin(const struct bed *bed)
{
    AUTO_FREE char *journal = fs_join(bed->dir, "journal");
    struct txn *txn = NULL;
    ok(txn_begin(journal, "example.org", "enable example.org", &txn, &err));
    return txn;
}

static bool stage(const struct bed *bed, struct txn *txn, bool redirect, struct err *err)
{
    struct sites sites = SITES_INIT;
    struct web_https https = {.names = &bed->names,
                              .live_dir = bed->live,
                              .second = bed->second,
                              .cert_name = bed->names.v[0],
                              .redirect = redirect};
    bool done = web_read(&bed->web, &sites, err) &&
                web_edit_challenge(&bed->web, &sites, &bed->names, THUMBPRINT, txn, err) &&
                web_edit_https(&bed->web, &sites, &https, txn, err);
    sites_clear(&sites);
    return done;
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

/* Our blocks taken out, by the words of the markers alone. */
static char *without_blocks(const char *text)
{
    AUTO_BUF out = BUF_INIT;
    const char *begin;
    while ((begin = strstr(text, "# tlsup begin ")) != NULL) {
        const char *end = strstr(begin, "# tlsup end ");
        assert_non_null(end);
        const char *start = begin;
        while (start[-1] == ' ' || start[-1] == '\t') {
            start--;
        }
        assert_int_equal(start[-1], '\n');
        start -= start[-2] == '\r' ? 2 : 1;
        buf_add(&out, text, (size_t)(start - text));
        text = strchr(end, '\n') + 1;
    }
    buf_adds(&out, text);
    return buf_take(&out) ?: mem_dup("");
}

/* `now` is `before` with nothing but certificate lines missing. */
static void check_lines(const char *before, const char *now)
{
    while (*before != '\0') {
        size_t len = strcspn(before, "\n") + (strchr(before, '\n') != NULL);
        if (strncmp(before, now, len) == 0) {
            now += len;
        } else if (memmem(before, len, "ssl_certificate", 15) == NULL) {
            fail_msg("changed: %.*s", (int)len, before);
        } else if ((*now == ' ' && strspn(now, " ") == strcspn(now, "\n")) ||
                   memmem(before, len, "ssl_protocols", 13) != NULL) {
            now +=
                strcspn(now, "\n") + 1; /* a line with several directives keeps the rest, be it only blanks */
        }
        before += len;
    }
    assert_string_equal(now, "");
}

/* A server inserted at one place: what stands before and after it is the file as it was. */
static void check_insertion(const char *before, const char *now)
{
    size_t prefix = 0, suffix = 0, a = strlen(before), b = strlen(now);
    while (prefix < a && before[prefix] == now[prefix]) {
        prefix++;
    }
    while (suffix < a && before[a - 1 - suffix] == now[b - 1 - suffix]) {
        suffix++;
    }
    assert_true(prefix + suffix >= a);
}

static void check_rest(const struct bed *bed)
{
    for (size_t i = 0; i < bed->files.n; i++) {
        AUTO_FREE char *now = read_back(bed, bed->files.v[i]);
        AUTO_FREE char *rest = without_blocks(now);
        if (strcmp(bed->expect, "new") == 0 && strcmp(bed->detail, bed->files.v[i]) == 0) {
            check_insertion(bed->texts.v[i], rest);
        } else if (strstr(now, "# tlsup begin") == NULL && strcmp(now, bed->texts.v[i]) == 0) {
            continue;
        } else {
            check_lines(bed->texts.v[i], rest);
        }
    }
}

static void check_model(const struct bed *bed)
{
    struct sites sites = SITES_INIT;
    AUTO_FREE char *chain = fs_join(bed->live, "fullchain.pem");
    ok(web_read(&bed->web, &sites, &err));
    for (size_t i = 0; i < bed->names.n; i++) {
        const struct site *site = sites_owner(&bed->web, &sites, bed->names.v[i], 443, true);
        assert_non_null(site);
        assert_string_equal(site->certificate, chain);
    }
    sites_clear(&sites);
}

/* The server that a visitor of one concrete address reaches: the narrow socket comes before the wildcard. ""
 * = nobody. */
static char *reached(const struct sites *sites, const char *name, const char *address, int port)
{
    const char *wildcard = address[0] == '[' ? "[::]" : "*";
    bool narrow = false;
    for (size_t i = 0; i < sites->n; i++) {
        narrow |= site_listens_at(&sites->v[i], address, port);
    }
    const struct site *site = nginx_driver.owner_at(sites, name, narrow ? address : wildcard, port, false);
    if (site == NULL) {
        return mem_dup("");
    }
    AUTO_FREE char *names = strlist_join(&site->names, " ");
    return mem_fmt("%s|%s", names, site->root);
}

/* Visitors of all other names get from every address what they got before, where they got something. */
static void check_others(const struct bed *bed, const struct sites *before)
{
    static const char *const addresses[] = {"192.0.2.1", "203.0.113.9", "[2001:db8::1]", "[2001:db8::9]"};
    static const int ports[] = {80, 443};
    struct sites after = SITES_INIT;
    ok(web_read(&bed->web, &after, &err));
    for (size_t i = 0; i < before->n; i++) {
        for (size_t k = 0; k < before->v[i].names.n; k++) {
            for (size_t n = 0; n < COUNT_OF(addresses) * COUNT_OF(ports); n++) {
                const char *name = before->v[i].names.v[k], *address = addresses[n / 2];
                AUTO_FREE char *was = reached(before, name, address, ports[n % 2]);
                AUTO_FREE char *is = reached(&after, name, address, ports[n % 2]);
                if (!strlist_has(&bed->names, name) && was[0] != '\0' && strcmp(was, is) != 0) {
                    fail_msg("%s at %s:%d was %s, is %s", name, address, ports[n % 2], was, is);
                }
            }
        }
    }
    sites_clear(&after);
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
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
    curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &location);
    snprintf(answer->location, sizeof answer->location, "%s", location != NULL ? location : "");
    answer->new_leaf = leaf_is_new(curl);
    curl_slist_free_all(resolve);
    curl_easy_cleanup(curl);
    return code == CURLE_OK;
}

static void check_plain(const struct bed *bed, const struct sites *sites, const char *name)
{
    static const char token[] = "/.well-known/acme-challenge/" TOKEN;
    AUTO_STRLIST addresses = STRLIST_INIT;
    ok(web_probe_addresses(&bed->web, sites, name, 80, &addresses, &err));
    for (size_t i = 0; i < addresses.n; i++) {
        struct answer answer;
        if (!fetch(addresses.v[i], 80, name, token, &answer) || answer.status != 200 ||
            strcmp(answer.body, TOKEN "." THUMBPRINT) != 0) {
            fail_msg("%s on %s: the challenge is answered with status %ld and \"%s\"", name, addresses.v[i],
                     answer.status, answer.body);
        }
        fetch(addresses.v[i], 80, name, "/.well-known/acme-challenge/not,a.token", &answer);
        assert_int_not_equal(answer.status, 200);
    }
}

static void check_secure(const struct bed *bed, const struct sites *sites, const char *name)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    AUTO_FREE char *same = mem_fmt("https://%s/", name);
    ok(web_probe_addresses(&bed->web, sites, name, 443, &addresses, &err));
    for (size_t i = 0; i < addresses.n; i++) {
        struct answer answer;
        fetch(addresses.v[i], 443, name, "/", &answer); /* it may close the connection after the handshake */
        if (!answer.new_leaf) {
            fail_msg("%s on %s: not the new certificate, status %ld", name, addresses.v[i], answer.status);
        }
        if (answer.status == 301) {
            assert_string_not_equal(answer.location, same); /* no loop */
        }
    }
}

static void check_redirect(const struct bed *bed, const struct sites *sites, const char *name)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    ok(web_probe_addresses(&bed->web, sites, name, 80, &addresses, &err));
    const struct site *site = sites_owner(&bed->web, sites, name, 80, true);
    if (site == NULL || site->redirects_only) {
        return;
    }
    AUTO_FREE char *there = mem_fmt("https://%s/x?y=z", name);
    size_t redirected = 0;
    for (size_t i = 0; i < addresses.n; i++) { /* some addresses may lead to a default server */
        struct answer answer;
        redirected += fetch(addresses.v[i], 80, name, "/x?y=z", &answer) && answer.status == 301 &&
                      strcmp(answer.location, there) == 0;
    }
    if (redirected == 0) {
        fail_msg("%s: no redirect to %s", name, there);
    }
}

static void check_served(struct bed *bed)
{
    struct sites sites = SITES_INIT;
    reload_nginx(bed);
    ok(web_read(&bed->web, &sites, &err));
    for (size_t i = 0; i < bed->names.n; i++) {
        check_secure(bed, &sites, bed->names.v[i]);
        if (sites_owner(&bed->web, &sites, bed->names.v[i], 80, false) != NULL) {
            check_plain(bed, &sites, bed->names.v[i]);
            check_redirect(bed, &sites, bed->names.v[i]);
        }
    }
    sites_clear(&sites);
}

/* All that nginx reads, in one text. */
static void add_files(const struct bed *bed, struct buf *out)
{
    for (size_t i = 0; i < bed->files.n; i++) {
        AUTO_FREE char *text = read_back(bed, bed->files.v[i]);
        buf_adds(out, text);
    }
    if (strcmp(bed->expect, "new") == 0 && !strlist_has(&bed->files, bed->detail)) {
        AUTO_FREE char *text = read_back(bed, bed->detail);
        buf_adds(out, text);
    }
}

static size_t occurrences(const char *text, const char *word)
{
    size_t n = 0;
    for (; (text = strstr(text, word)) != NULL; text += strlen(word)) {
        n++;
    }
    return n;
}

/* From one certificate to two: the lines of the second come beside those of the first, in our block; and they
 * go again. */
static void check_second(struct bed *bed, size_t warnings_before)
{
    AUTO_BUF one = BUF_INIT, two = BUF_INIT, back = BUF_INIT;
    struct txn *there = begin(bed), *again = begin(bed), *home = begin(bed);
    add_files(bed, &one);
    bed->second = "rsa";
    ok(stage(bed, there, true, &err));
    ok(txn_apply(there, &err));
    add_files(bed, &two);
    assert_int_equal(warnings(bed), warnings_before);
    check_rest(bed);
    check_model(bed);
    size_t pairs = occurrences(buf_str(&one), "/fullchain.pem");
    assert_true(pairs > 0);
    assert_int_equal(occurrences(buf_str(&two), "/fullchain.pem"), pairs);
    assert_int_equal(occurrences(buf_str(&two), "/fullchain-rsa.pem"), pairs);
    assert_int_equal(occurrences(buf_str(&two), "/privkey-rsa.pem"), pairs);
    assert_int_equal(occurrences(buf_str(&two), "\n"), occurrences(buf_str(&one), "\n") + 2 * pairs);
    ok(stage(bed, again, true, &err));
    assert_int_equal(txn_count(again), 0);
    bed->second = NULL;
    ok(stage(bed, home, true, &err));
    ok(txn_apply(home, &err));
    add_files(bed, &back);
    assert_string_equal(buf_str(&back), buf_str(&one));
    ok(txn_rollback(home, &err));
    ok(txn_rollback(there, &err));
    txn_free(home);
    txn_free(again);
    txn_free(there);
}

static void test_fixture(void **state)
{
    AUTO_BED bed;
    struct err why = ERR_INIT;
    load_fixture(&bed, *state);
    size_t before = warnings(&bed);
    struct txn *txn = begin(&bed);
    if (strcmp(bed.expect, "refuse") == 0) {
        assert_false(stage(&bed, txn, true, &why));
        assert_int_equal(why.code, ERR_WEBSERVER);
        assert_int_equal(why.next, NEXT_FIX_CONFIG);
        assert_string_not_equal(why.advice, "");
        if (strstr(why.text, bed.detail) == NULL) {
            fail_msg("refused, but not by \"%s\": %s", bed.detail, why.text);
        }
        txn_free(txn);
        check_unchanged(&bed);
        return;
    }
    struct sites sites_before = SITES_INIT;
    ok(web_read(&bed.web, &sites_before, &err));
    bool serve = bed.serve && can_serve;
    pid_t server = serve ? start_nginx(&bed) : 0;
    bed.web.master_pid = server;
    if (!stage(&bed, txn, true, &why)) {
        fail_msg("%s", why.text);
    }
    assert_true(txn_count(txn) > 0);
    check_unchanged(&bed); /* nothing is written by staging */
    ok(txn_apply(txn, &err));
    assert_int_equal(warnings(&bed), before);
    ok(web_test(&bed.web, &err));
    check_rest(&bed);
    check_model(&bed);
    check_others(&bed, &sites_before);
    sites_clear(&sites_before);
    if (strcmp(bed.expect, "new") == 0) {
        AUTO_FREE char *path = fs_join(bed.dir, bed.detail);
        assert_true(fs_exists(path));
    }
    struct txn *again = begin(&bed);
    ok(stage(&bed, again, true, &err));
    if (txn_count(again) != 0) {
        AUTO_BUF diff = BUF_INIT;
        txn_diff(again, &diff);
        fail_msg("a second run changes: %s", buf_str(&diff));
    }
    txn_free(again);
    check_second(&bed, before);
    if (serve) {
        check_served(&bed);
        stop_nginx();
    }
    ok(txn_rollback(txn, &err));
    txn_free(txn);
    check_unchanged(&bed);
    ok(web_test(&bed.web, &err));
}

/* ---- single matters ---- */

/* Stage and apply; the main file after it. The caller frees. */
static char *edited(struct bed *bed, bool redirect)
{
    struct txn *txn = begin(bed);
    ok(stage(bed, txn, redirect, &err));
    ok(txn_apply(txn, &err));
    ok(txn_commit(txn, &err));
    txn_free(txn);
    return read_back(bed, "nginx.conf");
}

static void add_names(struct bed *bed, const char *names)
{
    strlist_split(&bed->names, names, " ");
}

#define SITE "    server {\n        listen 80;\n        server_name example.org;\n        root html;\n    }\n"

static void test_http2_by_version(void **state)
{
    static const struct {
        int version;
        bool has;
        const char *extra, *listen, *directive;
    } table[] = {
        {1018000, true, "", "listen 443 ssl http2;", NULL},
        {1025000, true, "", "listen 443 ssl http2;", NULL},
        {1025001, true, "", "listen 443 ssl;", "http2 on;"},
        {1028003, true, "", "listen 443 ssl;", "http2 on;"},
        {1028003, false, "", "listen 443 ssl;", NULL},
        {1018000, false, "", "listen 443 ssl;", NULL},
        {1028003, true, "    http2 on;\n", "listen 443 ssl;", NULL},
        {1028003, true, "    server { listen 443 ssl; server_name b; http2 on; }\n", "listen 443 ssl;",
         "http2 on;"},
        {1022001, true, "    server { listen 443 ssl; server_name b; }\n", "listen 443 ssl;", NULL},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        AUTO_FREE char *body = mem_fmt(SITE "%s", table[i].extra);
        bed_http(&bed, body);
        bed.web.version_number = table[i].version;
        bed.web.has_http2 = table[i].has;
        add_names(&bed, "example.org");
        AUTO_FREE char *text = edited(&bed, true);
        const char *block = strstr(text, "tlsup begin cert:");
        assert_non_null(block);
        char *end = strstr(text, "tlsup end cert:");
        *end = '\0';
        assert_non_null(strstr(block, table[i].listen));
        assert_int_equal(strstr(block, "http2 on;") != NULL, table[i].directive != NULL);
    }
}

static void test_challenge_alone_and_new_thumbprint(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, SITE);
    add_names(&bed, "example.org");
    for (int round = 0; round < 3; round++) {
        struct sites sites = SITES_INIT;
        struct txn *txn = begin(&bed);
        ok(web_read(&bed.web, &sites, &err));
        ok(web_edit_challenge(&bed.web, &sites, &bed.names, round == 0 ? "first" : "second", txn, &err));
        assert_int_equal(txn_count(txn), round == 2 ? 0 : 1);
        ok(txn_apply(txn, &err));
        ok(txn_commit(txn, &err));
        txn_free(txn);
        sites_clear(&sites);
        warnings(&bed);
    }
    AUTO_FREE char *text = read_back(&bed, "nginx.conf");
    assert_non_null(strstr(text, "$1.second\""));
    assert_null(strstr(text, "first"));
    assert_null(strstr(text, "443"));
}

static void test_thumbprint_that_is_none(void **state)
{
    AUTO_BED bed;
    struct err err = ERR_INIT;
    (void)state;
    bed_http(&bed, SITE);
    add_names(&bed, "example.org");
    struct txn *txn = begin(&bed);
    assert_false(web_edit_challenge(&bed.web, NULL, &bed.names, "x\"; } evil", txn, &err));
    assert_int_equal(txn_count(txn), 0);
    txn_free(txn);
}

static void test_somebody_answers_already(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, "    server {\n listen 80; server_name example.org;\n if ($request_uri ~ "
                   "\"^/.well-known/acme-challenge/([A-Za-z0-9_-]+)$\") "
                   "{ return 200 \"$1." THUMBPRINT "\"; }\n }\n");
    add_names(&bed, "example.org");
    struct txn *txn = begin(&bed);
    ok(web_edit_challenge(&bed.web, NULL, &bed.names, THUMBPRINT, txn, &err));
    assert_int_equal(txn_count(txn), 0);
    txn_free(txn);
}

static void test_without_rewrite_module(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, SITE);
    add_names(&bed, "example.org");
    bed.web.has_rewrite = false;
    AUTO_FREE char *text = edited(&bed, true);
    assert_non_null(strstr(text, "location ^~ /.well-known/acme-challenge/ {"));
    assert_null(strstr(text, "return"));
    assert_null(strstr(text, "if ("));
    warnings(&bed);
}

static void test_redirect_on_and_off(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, SITE);
    add_names(&bed, "example.org");
    AUTO_FREE char *plain = edited(&bed, false);
    assert_null(strstr(plain, "return 301"));
    AUTO_FREE char *redirected = edited(&bed, true);
    const char *redirect =
        strstr(redirected, "if ($scheme = http) { return 301 https://$host$request_uri; }");
    assert_non_null(redirect);
    assert_true(strstr(redirected, "acme-challenge") < redirect); /* the answer comes first */
    AUTO_FREE char *back = edited(&bed, false);
    assert_string_equal(back, plain);
}

static void test_block_changed_by_hand(void **state)
{
    (void)state;
    for (int broken = 0; broken < 2; broken++) {
        AUTO_BED bed;
        bed_http(&bed, SITE);
        add_names(&bed, "example.org");
        AUTO_FREE char *text = edited(&bed, true);
        char *line = strstr(text, broken ? "ssl_certificate /" : "ssl_session_timeout 1d;");
        char *key = strstr(text, "ssl_certificate_key ");
        memcpy(line, "#", 1);
        if (broken) {
            memcpy(key, "#", 1);
            for (char *at; (at = strstr(text, bed.live)) != NULL;) {
                memcpy(at, "/else", 5);
            }
        }
        put(bed.dir, "nginx.conf", text, strlen(text));
        struct txn *txn = begin(&bed);
        struct err err = ERR_INIT;
        assert_int_equal(stage(&bed, txn, true, &err), !broken);
        assert_int_equal(txn_count(txn), 0);
        assert_int_equal(err.next, broken ? NEXT_FIX_CONFIG : NEXT_NONE);
        txn_free(txn);
    }
}

/* A second certificate of the other kind than before: no line of the one that is gone stays. */
static void test_second_certificate_of_another_kind(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, SITE);
    add_names(&bed, "example.org");
    bed.second = "rsa";
    AUTO_FREE char *rsa = edited(&bed, true);
    assert_true(strstr(rsa, "/privkey.pem") < strstr(rsa, "/fullchain-rsa.pem"));
    bed.second = "ecdsa";
    AUTO_FREE char *ecdsa = edited(&bed, true);
    assert_null(strstr(ecdsa, "-rsa.pem"));
    assert_int_equal(occurrences(ecdsa, "-ecdsa.pem;"), 2);
    bed.second = "rsa";
    AUTO_FREE char *back = edited(&bed, true);
    assert_string_equal(back, rsa);
}

/* A block changed by hand stays when it says all that is due; it is refused when a certificate would be
 * missing, and when it names one that is gone. */
static void test_second_certificate_in_a_block_changed_by_hand(void **state)
{
    static const struct {
        const char *before, *after;
        bool fits;
    } table[] = {{NULL, NULL, true},   {"rsa", "rsa", true},    {NULL, "rsa", false},
                 {"rsa", NULL, false}, {"ecdsa", "rsa", false}, {"rsa", "ecdsa", false}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        struct err err = ERR_INIT;
        bed_http(&bed, SITE);
        add_names(&bed, "example.org");
        bed.second = table[i].before;
        AUTO_FREE char *text = edited(&bed, true);
        char *line = strstr(text, "ssl_session_timeout 1d;");
        assert_non_null(line);
        *line = '#';
        put(bed.dir, "nginx.conf", text, strlen(text));
        bed.second = table[i].after;
        struct txn *txn = begin(&bed);
        assert_int_equal(stage(&bed, txn, true, &err), table[i].fits);
        assert_int_equal(txn_count(txn), 0);
        assert_int_equal(strstr(err.text, "changed by hand") != NULL, !table[i].fits);
        txn_free(txn);
    }
}

static void test_two_certificates_by_version(void **state)
{
    static const struct {
        enum web_kind kind;
        int version;
        bool two;
    } table[] = {{WEB_NGINX, 1010003, false},
                 {WEB_NGINX, 1011000, true},
                 {WEB_NGINX, 1022001, true},
                 {WEB_NGINX, 0, true},
                 {WEB_APACHE, 2004062, true}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct web web = {.kind = table[i].kind, .version_number = table[i].version};
        assert_int_equal(web_takes_two(&web), table[i].two);
    }
}

static void test_name_of_a_valid_certificate_is_not_lost(void **state)
{
    AUTO_BED bed;
    struct err why = ERR_INIT;
    (void)state;
    bed_http(
        &bed,
        "    server { listen 443 ssl; server_name example.org keep.example.org; ssl_certificate keep.pem;\n"
        " ssl_certificate_key keep.key; }\n");
    copy_file("keep.pem", bed.dir, "keep.pem");
    copy_file("keep.key", bed.dir, "keep.key");
    add_names(&bed, "example.org");
    struct txn *txn = begin(&bed);
    assert_false(stage(&bed, txn, true, &why));
    assert_non_null(strstr(why.text, "keep.example.org"));
    assert_non_null(strstr(why.advice, "keep.example.org"));
    err_clear(&why);
    add_names(&bed, "keep.example.org");
    ok(stage(&bed, txn, true, &err));
    txn_free(txn);
}

static void test_another_certificate_of_ours(void **state)
{
    AUTO_BED bed;
    struct err why = ERR_INIT;
    (void)state;
    bed_http(&bed,
             "    server {\n        listen 80;\n        server_name a.example.org b.example.org;\n    }\n");
    add_names(&bed, "a.example.org");
    AUTO_FREE char *first = edited(&bed, true);
    assert_non_null(strstr(first, "cert:a.example.org"));
    AUTO_STRLIST other = STRLIST_INIT;
    strlist_add(&other, "b.example.org");
    struct web_https https = {
        .names = &other, .live_dir = bed.live, .cert_name = "b.example.org", .redirect = true};
    struct txn *txn = begin(&bed);
    assert_false(web_edit_https(&bed.web, NULL, &https, txn, &why)); /* one server, one certificate */
    assert_non_null(strstr(why.text, "\"a.example.org\""));
    strlist_add(&other, "a.example.org"); /* the new one covers all: the old block gives way */
    ok(web_edit_https(&bed.web, NULL, &https, txn, &err));
    ok(txn_apply(txn, &err));
    ok(txn_commit(txn, &err));
    txn_free(txn);
    warnings(&bed);
    AUTO_FREE char *text = read_back(&bed, "nginx.conf");
    assert_null(strstr(text, "cert:a.example.org"));
    assert_non_null(strstr(text, "cert:b.example.org"));
    assert_non_null(strstr(text, "listen 443 ssl"));
}

/* Debian's http level still allows TLS 1.0; what a person has restricted there stays theirs. */
static void test_old_protocols_are_not_inherited(void **state)
{
    static const struct {
        const char *http;
        bool ours;
    } table[] = {{"TLSv1 TLSv1.1 TLSv1.2 TLSv1.3", true}, {"TLSv1.3", false}, {"TLSv1.2 TLSv1.3", false}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        AUTO_FREE char *http =
            mem_fmt("    ssl_protocols %s;\n    server {\n        listen 80;\n        server_name "
                    "example.org;\n    }\n",
                    table[i].http);
        bed_http(&bed, http);
        add_names(&bed, "example.org");
        AUTO_FREE char *text = edited(&bed, false);
        const char *block = strstr(text, "server {");
        assert_non_null(block);
        assert_int_equal(strstr(block, "ssl_protocols TLSv1.2 TLSv1.3;") != NULL, table[i].ours);
    }
}

static void test_other_names_are_not_redirected(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed,
             "    server {\n        listen 80;\n        server_name example.org shop.example.org;\n    }\n");
    add_names(&bed, "example.org");
    AUTO_FREE char *text = edited(&bed, true);
    assert_null(strstr(text, "if ($scheme = http) { return"));
    assert_non_null(strstr(text, "if ($tlsup_host = \"example.org\") { return 301"));
    warnings(&bed);
}

static void test_no_redirect_behind_a_tls_proxy(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(
        &bed,
        "    server {\n        listen 80;\n        server_name example.org;\n"
        "        if ($http_x_forwarded_proto = http) { return 301 https://$host$request_uri; }\n    }\n");
    add_names(&bed, "example.org");
    AUTO_FREE char *text = edited(&bed, true);
    assert_non_null(strstr(text, "listen 443 ssl"));
    assert_null(strstr(text, "$scheme = http"));
}

/* Killed between two writes, nginx must still accept its configuration: the new certificate comes before the
 * old one goes. */
static void test_order_of_files(void **state)
{
    AUTO_BED bed;
    AUTO_BUF diff = BUF_INIT;
    (void)state;
    load_fixture(&bed, "snippet-first.conf");
    struct txn *txn = begin(&bed);
    struct web_https https = {.names = &bed.names, .live_dir = bed.live, .cert_name = "example.org"};
    ok(web_edit_https(&bed.web, NULL, &https, txn, &err));
    txn_diff(txn, &diff);
    const char *gains = strstr(buf_str(&diff), "b.conf\n"), *loses = strstr(buf_str(&diff), "shared.inc\n");
    assert_non_null(gains);
    assert_non_null(loses);
    assert_true(gains < loses);
    txn_free(txn);
}

static void test_hostile_request(void **state)
{
    static const struct {
        const char *live, *cert;
    } table[] = {{"/l;ive\n}", "example.org"},
                 {"/live/$host", "example.org"},
                 {"relative", "example.org"},
                 {"", "example.org"},
                 {"/live", "a\nb"},
                 {"/live", "../x"},
                 {"/live", "a b"},
                 {"/live", ""}};
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, SITE);
    add_names(&bed, "example.org");
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct err err = ERR_INIT;
        struct web_https https = {.names = &bed.names, .live_dir = table[i].live, .cert_name = table[i].cert};
        struct txn *txn = begin(&bed);
        assert_false(web_edit_https(&bed.web, NULL, &https, txn, &err));
        assert_int_equal(txn_count(txn), 0);
        txn_free(txn);
    }
    bed.web.has_ssl = false;
    struct err err = ERR_INIT;
    struct txn *txn = begin(&bed);
    assert_false(stage(&bed, txn, true, &err));
    assert_int_equal(err.code, ERR_WEBSERVER);
    txn_free(txn);
}

static void test_path_with_strange_characters(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, SITE);
    add_names(&bed, "example.org");
    snprintf(bed.live, sizeof bed.live, "%s/li ve;{\"}#\\x", bed.dir);
    copy_file("new.pem", bed.live, "fullchain.pem");
    copy_file("new.key", bed.live, "privkey.pem");
    AUTO_FREE char *text = edited(&bed, true);
    assert_non_null(strstr(text, "ssl_certificate \""));
    warnings(&bed);
    check_model(&bed);
}

static void test_stream_holds_443(void **state)
{
    AUTO_BED bed;
    struct err err = ERR_INIT;
    (void)state;
    bed_http(&bed, SITE);
    add_names(&bed, "example.org");
    AUTO_FREE char *text = mem_fmt("stream {\n server { listen 53 udp; }\n server {\n  listen 443;\n  "
                                   "proxy_pass 127.0.0.1:1;\n }\n}\n%s",
                                   bed.texts.v[0]);
    put(bed.dir, "nginx.conf", text, strlen(text));
    struct txn *txn = begin(&bed);
    assert_false(stage(&bed, txn, true, &err));
    assert_non_null(strstr(err.text, "nginx.conf:4: a stream server"));
    txn_free(txn);
}

static void test_broken_configurations(void **state)
{
    static const struct {
        const char *body, *word;
    } table[] = {
        {"    server { listen 80\n", "nginx.conf:"},
        {"    server { listen \"80; }\n", "quote"},
        {"    include missing.conf;\n", "missing.conf"},
        {"    include nginx.conf;\n", "includes itself"},
        {"    }}", "unexpected \"}\""},
        {"    include http.inc http.inc;\n", "one path"},
        {"    include html;\n", "html"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        struct sites sites = SITES_INIT;
        struct err err = ERR_INIT;
        bed_http(&bed, table[i].body);
        assert_false(web_read(&bed.web, &sites, &err));
        if (strstr(err.text, table[i].word) == NULL) {
            fail_msg("%s: %s", table[i].body, err.text);
        }
        assert_false(web_test(&bed.web, &(struct err)ERR_INIT));
        sites_clear(&sites);
    }
}

static void test_owner_rules(void **state)
{
    static const char body[] =
        "    server { listen 80; root r0; }\n"
        "    server { listen 80; server_name EXAMPLE.org; root r1; }\n"
        "    server { listen 80; server_name *.example.org; root r2; }\n"
        "    server { listen 80; server_name *.b.example.org; root r3; }\n"
        "    server { listen 80; server_name mail.*; root r4; }\n"
        "    server { listen 80; server_name ~^w[0-9]+\\.example\\.com$ ~((broken; root r5; }\n"
        "    server { listen 80; server_name ~example\\.com$; root r6; }\n"
        "    server { listen 80 default_server; server_name .dot.org; root r7; }\n"
        "    server { listen 80; server_name example.org; root r8; }\n"
        "    server { listen 127.0.0.1:80; server_name only.loop; root r9; }\n";
    static const struct {
        const char *name, *root;
        bool explicit_one;
    } table[] = {
        {"example.org", "r1", true},     {"a.example.org", "r2", true},    {"a.b.example.org", "r3", true},
        {"b.example.org", "r2", true},   {"mail.example.org", "r2", true}, {"mail.anything.net", "r4", true},
        {"w12.example.com", "r5", true}, {"x.example.com", "r6", true},    {"dot.org", "r7", true},
        {"x.dot.org", "r7", true},       {"unknown.net", "r7", false},     {"only.loop", "r9", true},
        {"*.example.org", "r2", true},   {"*.dot.org", "r7", true},        {"*.unknown.net", "r7", false},
    };
    AUTO_BED bed;
    struct sites sites = SITES_INIT;
    (void)state;
    bed_http(&bed, body);
    ok(web_read(&bed.web, &sites, &err));
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        const struct site *site = sites_owner(&bed.web, &sites, table[i].name, 80, false);
        const struct site *named = sites_owner(&bed.web, &sites, table[i].name, 80, true);
        AUTO_FREE char *root = fs_join(bed.dir, table[i].root);
        assert_non_null(site);
        if (strcmp(site->root, root) != 0) {
            fail_msg("%s: %s, not %s", table[i].name, site->root, root);
        }
        assert_ptr_equal(named, table[i].explicit_one ? site : NULL);
        assert_null(sites_owner(&bed.web, &sites, table[i].name, 443, false));
    }
    sites_clear(&sites);
}

static void test_listen_forms(void **state)
{
    static const struct {
        const char *listen, *address;
        int port;
    } table[] = {
        {"80", "*", 80},
        {"*:81", "*", 81},
        {"0.0.0.0:82", "*", 82},
        {"192.0.2.1", "192.0.2.1", 80},
        {"192.0.2.1:8080", "192.0.2.1", 8080},
        {"[::]:80", "[::]", 80},
        {"[2001:DB8:0::1]:443", "[2001:db8::1]", 443},
        {"[::1]", "[::1]", 80},
        {"8000-8002", "*", 8001},
        {"localhost:90", "127.0.0.1", 90},
        {"*", "*", 80},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        struct sites sites = SITES_INIT;
        AUTO_FREE char *body = mem_fmt("server { listen %s; }\n", table[i].listen);
        bed_http(&bed, body);
        ok(web_read(&bed.web, &sites, &err));
        assert_int_equal(sites.n, 1);
        assert_true(site_listens_at(&sites.v[0], table[i].address, table[i].port));
        sites_clear(&sites);
    }
}

static void test_model_of_a_site(void **state)
{
    AUTO_BED bed;
    struct sites sites = SITES_INIT;
    (void)state;
    bed_http(&bed, "    # server { }\n    server\n    {\n        listen 443 ssl default_server; server_name "
                   "A.example.org \"~^X\\d\";\n"
                   "        ssl_certificate certs/a.pem; root /srv/a;\n    }\n"
                   "    server { return 301 https://$host$request_uri; }\n"
                   "    upstream u { server 127.0.0.1:1; }\n");
    ok(web_read(&bed.web, &sites, &err));
    assert_int_equal(sites.n, 2);
    const struct site *site = &sites.v[0];
    assert_int_equal(site->line, 5);
    assert_string_equal(site->root, "/srv/a");
    assert_string_equal(site->names.v[0], "a.example.org");
    assert_string_equal(site->names.v[1], "~^X\\d");
    AUTO_FREE char *certificate = fs_join(bed.dir, "certs/a.pem");
    assert_string_equal(site->certificate, certificate);
    assert_true(site->listens[0].ssl && site->listens[0].default_server);
    assert_int_equal(bed.texts.v[0][site->begin], 's');
    assert_int_equal(bed.texts.v[0][site->end - 1], '}');
    assert_true(sites.v[1].redirects_only);
    assert_true(site_listens_at(&sites.v[1], "*", 80));
    sites_clear(&sites);
}

static void test_probe_addresses(void **state)
{
    static const char body[] =
        "    server { listen 80 default_server; listen [::]:80 default_server; }\n"
        "    server { listen 80; server_name example.org; listen 192.0.2.1:443 ssl; listen 443 ssl; }\n"
        "    server { listen 127.0.0.1:443 ssl; listen [::]:443 ssl; server_name other.org; }\n";
    AUTO_BED bed;
    struct sites sites = SITES_INIT;
    (void)state;
    bed_http(&bed, body);
    ok(web_read(&bed.web, &sites, &err));
    AUTO_STRLIST plain = STRLIST_INIT, secure = STRLIST_INIT, none = STRLIST_INIT;
    ok(web_probe_addresses(&bed.web, &sites, "example.org", 80, &plain, &err));
    AUTO_FREE char *all = strlist_join(&plain, " ");
    assert_string_equal(all, "127.0.0.1 ::1"); /* IPv6 reaches the default server: it must answer too */
    ok(web_probe_addresses(&bed.web, &sites, "example.org", 443, &secure, &err));
    AUTO_FREE char *named = strlist_join(&secure, " ");
    assert_string_equal(named, "127.0.0.2 192.0.2.1"); /* 127.0.0.1:443 is somebody else's */
    struct err why = ERR_INIT;
    assert_false(web_probe_addresses(&bed.web, &sites, "example.org", 8443, &none, &why));
    sites_clear(&sites);
}

static void test_one_file_under_two_names(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, "    include sites/*;\n");
    bed_file(&bed, "available/a", "server { listen 80; server_name example.org; }\n");
    AUTO_FREE char *target = fs_join(bed.dir, "available/a");
    AUTO_FREE char *one = fs_join(bed.dir, "sites/1");
    AUTO_FREE char *two = fs_join(bed.dir, "sites/2");
    AUTO_FREE char *dir = fs_join(bed.dir, "sites");
    ok(fs_mkdirs(dir, 0755, &err));
    ok(fs_symlink(target, one, &err));
    ok(fs_symlink(target, two, &err));
    add_names(&bed, "example.org");
    AUTO_FREE char *main_file = edited(&bed, true);
    assert_string_equal(main_file, bed.texts.v[0]);
    struct stat st;
    assert_int_equal(lstat(one, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    AUTO_FREE char *text = read_back(&bed, "available/a");
    const char *block = strstr(text, "tlsup begin cert:");
    assert_non_null(block);
    assert_null(strstr(block + 1, "tlsup begin cert:"));
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
    snprintf(base_dir, sizeof base_dir, "/tmp/test_nginx.XXXXXX");
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

int main(int argc, char **argv)
{
    const char *srcdir = getenv("srcdir");
    const struct CMUnitTest single[] = {
        cmocka_unit_test(test_http2_by_version),
        cmocka_unit_test(test_challenge_alone_and_new_thumbprint),
        cmocka_unit_test(test_thumbprint_that_is_none),
        cmocka_unit_test(test_somebody_answers_already),
        cmocka_unit_test(test_without_rewrite_module),
        cmocka_unit_test(test_redirect_on_and_off),
        cmocka_unit_test(test_block_changed_by_hand),
        cmocka_unit_test(test_second_certificate_of_another_kind),
        cmocka_unit_test(test_second_certificate_in_a_block_changed_by_hand),
        cmocka_unit_test(test_two_certificates_by_version),
        cmocka_unit_test(test_name_of_a_valid_certificate_is_not_lost),
        cmocka_unit_test(test_another_certificate_of_ours),
        cmocka_unit_test(test_old_protocols_are_not_inherited),
        cmocka_unit_test(test_other_names_are_not_redirected),
        cmocka_unit_test(test_no_redirect_behind_a_tls_proxy),
        cmocka_unit_test(test_order_of_files),
        cmocka_unit_test(test_hostile_request),
        cmocka_unit_test(test_path_with_strange_characters),
        cmocka_unit_test(test_stream_holds_443),
        cmocka_unit_test(test_broken_configurations),
        cmocka_unit_test(test_owner_rules),
        cmocka_unit_test(test_listen_forms),
        cmocka_unit_test(test_model_of_a_site),
        cmocka_unit_test(test_probe_addresses),
        cmocka_unit_test(test_one_file_under_two_names),
    };
    AUTO_STRLIST fixtures = STRLIST_INIT;
    struct err err = ERR_INIT;
    if (!find_program() || !spawn_find("openssl")) {
        printf("1..0 # SKIP nginx or openssl is not installed\n");
        return 77;
    }
    log_set_level(LOG_LEVEL_ERROR);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    AUTO_FREE char *dir = mem_fmt("%s/tests/fixtures/nginx", srcdir != NULL ? srcdir : ".");
    fixture_dir = realpath(dir, NULL);
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    if (fixture_dir == NULL || !fs_list(fixture_dir, &fixtures, &err) || fixtures.n < 40) {
        fprintf(stderr, "no fixtures in %s\n", dir);
        return 1;
    }
    struct CMUnitTest *tests = mem_array(fixtures.n + COUNT_OF(single), sizeof *tests);
    for (size_t i = 0; i < fixtures.n; i++) {
        tests[i] = (struct CMUnitTest){.name = fixtures.v[i],
                                       .test_func = test_fixture,
                                       .teardown_func = end_nginx,
                                       .initial_state = fixtures.v[i]};
    }
    memcpy(tests + fixtures.n, single, sizeof single);
    int failed = _cmocka_run_group_tests("nginx", tests, fixtures.n + COUNT_OF(single), set_up, tear_down);
    free(tests);
    free(fixture_dir);
    curl_global_cleanup();
    return failed;
}
