/*
 * test_front.c - other programs in front of the web server are known by their processes, and each has advice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tlsup/err.h"
#include "tlsup/front.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

static char proc[64];

static int make_proc(void **state)
{
    (void)state;
    snprintf(proc, sizeof proc, "/tmp/test_front-XXXXXX");
    if (mkdtemp(proc) == NULL)
        return 1;
    AUTO_FREE char *self = mem_fmt("%s/self/ns", proc);
    AUTO_FREE char *net = mem_fmt("%s/self/ns/net", proc);
    struct err err = ERR_INIT;
    front_set_proc(proc);
    return !fs_mkdirs(self, 0755, &err) || symlink("net:[1]", net) != 0;
}

static int remove_proc(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    front_set_proc(NULL);
    return !fs_remove_tree(proc, &err);
}

static void put(long pid, const char *file, const char *text, size_t len)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *path = mem_fmt("%s/%ld/%s", proc, pid, file);
    assert_true(fs_write(path, text, len, 0644, &err));
}

static void process(long pid, long parent, const char *comm, const char *exe, const char *command_line,
                    const char *net)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *ns = mem_fmt("%s/%ld/ns", proc, pid);
    AUTO_FREE char *net_link = mem_fmt("%s/net", ns);
    AUTO_FREE char *exe_link = mem_fmt("%s/%ld/exe", proc, pid);
    AUTO_FREE char *root = mem_fmt("%s/%ld/root", proc, pid);
    AUTO_FREE char *comm_line = mem_fmt("%s\n", comm);
    AUTO_FREE char *stat_line = mem_fmt("%ld (%s) S %ld 1 1 0", pid, comm, parent);
    assert_true(fs_mkdirs(ns, 0755, &err));
    put(pid, "comm", comm_line, strlen(comm_line));
    put(pid, "stat", stat_line, strlen(stat_line));
    put(pid, "cmdline", command_line, strlen(command_line) + 1);
    assert_int_equal(symlink(net, net_link), 0);
    assert_int_equal(symlink("/", root), 0);
    if (exe[0] != '\0')
        assert_int_equal(symlink(exe, exe_link), 0);
}

static const struct front *find(const struct front *all, size_t n, long pid)
{
    for (size_t i = 0; i < n; i++)
        if (all[i].pid == pid)
            return &all[i];
    return NULL;
}

static void test_running(void **state)
{
    (void)state;
    struct front all[64];
    process(10, 1, "haproxy", "/usr/sbin/haproxy", "haproxy", "net:[1]");
    process(11, 10, "haproxy", "/usr/sbin/haproxy", "haproxy", "net:[1]");
    process(12, 1, "lighttpd", "/usr/sbin/lighttpd (deleted)", "lighttpd", "net:[1]");
    process(13, 1, "caddy", "/usr/bin/caddy", "caddy", "net:[1]");
    process(14, 1, "cache-main", "/usr/sbin/varnishd", "varnishd", "net:[1]");
    process(15, 1, "java", "/usr/lib/jvm/bin/java", "java org.apache.catalina.startup", "net:[1]");
    process(16, 1, "bash", "/bin/bash", "bash", "net:[1]");
    process(17, 1, "nginx", "/usr/sbin/nginx", "nginx", "net:[2]");
    process(18, 1, "apache2", "", "apache2",
            "net:[1]"); /* of root's, for a user: its program is not to be seen */
    process(19, 1, "a) R 1 (b", "/opt/x/traefik", "x", "net:[1]");
    size_t n = front_running(all, COUNT_OF(all));
    assert_int_equal(n, 7);
    assert_null(find(all, n, 11)); /* a worker */
    assert_null(find(all, n, 15)); /* known by the port it holds alone */
    assert_null(find(all, n, 16));
    assert_string_equal(find(all, n, 10)->program->name, "haproxy");
    assert_string_equal(find(all, n, 12)->program->name, "lighttpd");
    assert_string_equal(find(all, n, 14)->program->name, "varnish");
    assert_string_equal(find(all, n, 18)->program->name, "apache");
    assert_string_equal(find(all, n, 19)->program->name, "traefik");
    assert_true(find(all, n, 17)->contained);
    assert_false(find(all, n, 10)->contained);
    assert_true(find(all, n, 18)->program->web && !find(all, n, 10)->program->web);
    assert_int_equal(front_running(all, 2), 2);
}

static void test_broken_proc(void **state)
{
    (void)state;
    struct front all[4];
    AUTO_FREE char *empty = mem_fmt("%s/77", proc);
    struct err err = ERR_INIT;
    assert_true(fs_mkdirs(empty, 0755, &err)); /* ended while it was looked at */
    put(77, "stat", "77", 2);
    assert_int_equal(front_running(all, COUNT_OF(all)), 0);
    front_set_proc("/nonexistent");
    assert_int_equal(front_running(all, COUNT_OF(all)), 0);
    front_set_proc(proc);
}

/* An error has room for 511 bytes. Each says what to do with tlsup, and which form of files the program
 * wants. */
static void test_advice(void **state)
{
    (void)state;
    static const struct {
        const char *process, *words[3];
    } rows[] = {
        {"haproxy", {"ssl crt /etc/haproxy/certs/", "tlsup issue", "--deploy-hook haproxy"}},
        {"lighttpd", {"ssl.pemfile", "tlsup issue -w", "--deploy-hook lighttpd"}},
        {"caddy", {"by itself", "caddy reload", "tls FULLCHAIN PRIVKEY"}},
        {"traefik", {"certFile", "tlsup issue", "--deploy-hook"}},
        {"envoy", {"certificate_chain", "tlsup issue", "--deploy-hook"}},
        {"varnishd", {"VCL", "tlsup issue -w", "Hitch"}},
        {"hitch", {"$RENEWED_LINEAGE/privkey.pem", "tlsup issue", "--deploy-hook"}},
        {"stunnel4", {"cert and key", "tlsup issue", "--deploy-hook"}},
        {"squid", {"tls-cert=", "tlsup issue", "squid -k reconfigure"}},
    };
    struct front all[64];
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        process(100 + (long)i, 1, rows[i].process, rows[i].process, rows[i].process, "net:[1]");
    size_t n = front_running(all, COUNT_OF(all));
    assert_int_equal(n, COUNT_OF(rows));
    for (size_t i = 0; i < n; i++) {
        const struct front *front = find(all, n, 100 + (long)i);
        const char *advice = front_advice(front);
        struct err err = ERR_INIT;
        for (size_t w = 0; w < COUNT_OF(rows[i].words); w++)
            if (strstr(advice, rows[i].words[w]) == NULL)
                fail_msg("%s: nothing of %s: %s", rows[i].process, rows[i].words[w], advice);
        err_set(&err, ERR_PORT, NEXT_FIX_CONFIG, "port 443", "taken");
        err_advise(&err, "%s", advice);
        assert_string_equal(err.advice, advice);
    }
}

static void test_unknown(void **state)
{
    (void)state;
    struct front unknown = {.pid = 9, .process = "myserver"}, nobody = {0},
                 contained = {.pid = 4, .process = "x", .contained = true};
    char name[FRONT_NAME_BYTES];
    struct err err = ERR_INIT;
    assert_string_equal(front_describe(&unknown, name), "myserver (pid 9)");
    assert_string_equal(front_describe(&nobody, name), "another process");
    assert_string_equal(front_describe(&contained, name), "x (pid 4, in a container)");
    assert_non_null(strstr(front_advice(&contained), "container"));
    err_set(&err, ERR_PORT, NEXT_FIX_CONFIG, "port 443", "taken");
    err_advise(&err, "%s", front_advice(&unknown));
    assert_string_equal(err.advice, front_advice(&unknown));
    err_clear(&err);
    err_set(&err, ERR_PORT, NEXT_FIX_CONFIG, "port 443", "taken");
    err_advise(&err, "%s", front_advice(&contained));
    assert_string_equal(err.advice, front_advice(&contained));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_running, make_proc, remove_proc),
        cmocka_unit_test_setup_teardown(test_broken_proc, make_proc, remove_proc),
        cmocka_unit_test_setup_teardown(test_advice, make_proc, remove_proc),
        cmocka_unit_test(test_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
