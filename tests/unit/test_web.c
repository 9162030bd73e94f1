/*
 * test_web.c - which web server runs here, how it was started, and telling it to reload; in namespaces of our
 * own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/install/driver.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

static const char nginx_program[] = "/usr/sbin/nginx";
static const char apache_program[] = "/usr/sbin/apache2";
static const char *const nginx_names[] = {"nginx", NULL};
static char base[64];
static pid_t children[8];
static size_t n_children;
static int in_the_way = -1; /* a socket on a port that a server wants */

/* The expression uses `err`; it must be true. */
#define ok(expression)                                                                                       \
    do {                                                                                                     \
        struct err err = ERR_INIT;                                                                           \
        if (!(expression)) {                                                                                 \
            fail_msg("%s: %s (%s)", #expression, err.text, err.advice);                                      \
        }                                                                                                    \
    } while (0)

static void put(const char *path, const char *text, mode_t mode)
{
    AUTO_FREE char *dir = fs_dirname(path);
    ok(fs_mkdirs(dir, 0755, &err));
    ok(fs_write(path, text, strlen(text), mode, &err));
}

static void put_conf(const char *name, int port)
{
    AUTO_FREE char *path = fs_join(base, name);
    AUTO_FREE char *text =
        mem_fmt("pid %s.pid; error_log error.log; events { worker_connections 16; }\n"
                "http { access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;\n"
                " scgi_temp_path t4; uwsgi_temp_path t5; server { listen %d; server_name example.org; } }\n",
                name, port);
    put(path, text, 0644);
}

static pid_t start(const char *const *argv)
{
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        setpgid(0, 0);           /* Apache ends its whole process group */
        signal(SIGHUP, SIG_DFL); /* ignored when the tests themselves run under nohup */
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        if (chdir(base) == 0) {
            execv(argv[0], (char *const *)argv);
        }
        _exit(127);
    }
    assert_true(pid > 0);
    children[n_children++] = pid;
    return pid;
}

/* ---- waiting for what must come: a busy machine takes its time ---- */

enum { PATIENCE_MS = 60000, STEP_US = 20000 };

static bool has_text(const char *path, const char *text)
{
    AUTO_BUF content = BUF_INIT;
    struct err err = ERR_INIT;
    return fs_read(path, 1 << 20, &content, &err) && strstr(buf_str(&content), text) != NULL;
}

static void wait_text(const char *path, const char *text)
{
    int64_t since_ms = clock_mono_ms();
    while (!has_text(path, text)) {
        if (clock_mono_ms() - since_ms >= PATIENCE_MS) {
            fail_msg("%s: never has \"%s\"", path, text);
        }
        usleep(STEP_US);
    }
}

/* Until the process has children: then it listens, and its title is set. */
static void wait_ready(pid_t pid)
{
    AUTO_FREE char *path = mem_fmt("/proc/%ld/task/%ld/children", (long)pid, (long)pid);
    wait_text(path, " ");
}

static pid_t start_nginx(const char *conf, const char *prefix)
{
    const char *argv[] = {nginx_program, "-c", conf, "-p", prefix, "-g", "daemon off;", NULL};
    pid_t pid = start(argv);
    wait_ready(pid);
    return pid;
}

static void free_port(void)
{
    if (in_the_way >= 0) {
        close(in_the_way);
    }
    in_the_way = -1;
}

static int stop_all(void **state)
{
    (void)state;
    free_port();
    for (; n_children > 0; n_children--) {
        kill(children[n_children - 1], SIGTERM);
        waitpid(children[n_children - 1], NULL, 0);
    }
    return 0;
}

/* ---- tests ---- */

static void test_nothing_runs(void **state)
{
    struct web web;
    bool several = true;
    (void)state;
    assert_int_equal(web_master(nginx_names, &several), 0);
    assert_false(several);
    ok(web_find(WEB_NGINX, NULL, &web, &err));
    assert_int_equal(web.master_pid, 0);
    assert_string_equal(web.bin, nginx_program);
    assert_string_equal(web.conf_arg, "");
    assert_string_equal(web.unit, "");
    assert_true(web.has_ssl && web.has_rewrite && web.has_http2);
    assert_true(web.version_number >= 1018000 && web.openssl_number >= 1001001);
    assert_int_equal(web.prefix[strlen(web.prefix) - 1], '/');
    assert_string_equal(web.conf, "/etc/nginx/nginx.conf");
}

static void test_running_master(void **state)
{
    static const char *const prefixes[] = {"", "."};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(prefixes); i++) {
        struct web web;
        AUTO_FREE char *base_slash = mem_fmt("%s/", base);
        AUTO_FREE char *conf = fs_join(base, "one.conf");
        put_conf("one.conf", 80);
        pid_t pid = start_nginx("one.conf", i == 0 ? base : prefixes[i]);
        ok(web_find(WEB_NGINX, NULL, &web, &err));
        assert_int_equal(web.master_pid, pid); /* and not a worker */
        assert_string_equal(web.bin, nginx_program);
        assert_string_equal(web.conf, conf);
        assert_string_equal(web.conf_arg, conf);
        assert_string_equal(web.prefix_arg, base_slash);
        ok(web_test(&web, &err));
        stop_all(NULL);
    }
}

/* How many masters are seen by a process that has changed its place in the world first. */
static int seen_after(bool (*change)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(!change() ? 2 : web_master(nginx_names, NULL) != 0);
    }
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool other_network(void)
{
    return unshare(CLONE_NEWNET) == 0;
}

static bool private_mounts(void)
{
    return unshare(CLONE_NEWNS) == 0;
}

static bool other_root(void)
{
    AUTO_FREE char *jail = fs_join(base, "jail");
    AUTO_FREE char *proc = fs_join(jail, "proc");
    return unshare(CLONE_NEWNS) == 0 && mkdir(jail, 0755) == 0 && mkdir(proc, 0755) == 0 &&
           mount("/proc", proc, NULL, MS_BIND | MS_REC, NULL) == 0 && chroot(jail) == 0 && chdir("/") == 0;
}

static void test_containers_are_not_ours(void **state)
{
    (void)state;
    put_conf("one.conf", 80);
    start_nginx("one.conf", base);
    assert_int_not_equal(web_master(nginx_names, NULL), 0);
    assert_int_equal(seen_after(other_network), 0);
    assert_int_equal(seen_after(other_root), 0);
    /* a service with a private /tmp, as systemd starts Debian's Apache, is of this machine all the same */
    assert_int_equal(seen_after(private_mounts), 1);
}

static void test_several_masters(void **state)
{
    struct web web;
    struct err why = ERR_INIT;
    (void)state;
    put_conf("one.conf", 80);
    put_conf("two.conf", 81);
    AUTO_FREE char *one = fs_join(base, "one.conf");
    AUTO_FREE char *two = fs_join(base, "two.conf");
    AUTO_FREE char *three = fs_join(base, "three.conf");
    start_nginx(one, base);
    pid_t second = start_nginx(two, base);
    assert_false(web_find(WEB_NGINX, NULL, &web, &why));
    assert_int_equal(why.code, ERR_WEBSERVER);
    assert_non_null(strstr(why.advice, "--nginx-conf"));
    struct web_hints hints = {.nginx_conf = two};
    ok(web_find(WEB_NGINX, &hints, &web, &err));
    assert_int_equal(web.master_pid, second);
    hints.nginx_conf = three;
    assert_false(web_find(WEB_NGINX, &hints, &web, &(struct err)ERR_INIT));
}

static void test_hint_against_the_running_one(void **state)
{
    struct web web;
    struct err why = ERR_INIT;
    struct web_hints hints = {.nginx_conf = "/somewhere/else.conf"};
    (void)state;
    put_conf("one.conf", 80);
    start_nginx("one.conf", base);
    assert_false(web_find(WEB_NGINX, &hints, &web, &why));
    assert_non_null(strstr(why.text, "one.conf"));
    stop_all(NULL);
    ok(web_find(WEB_NGINX, &hints, &web, &err)); /* nothing runs: then the hint is believed */
    assert_string_equal(web.conf, "/somewhere/else.conf");
    hints = (struct web_hints){.nginx_bin = "/does/not/exist"};
    assert_false(web_find(WEB_NGINX, &hints, &web, &(struct err)ERR_INIT));
}

static void test_test_speaks_nginx_words(void **state)
{
    struct web web;
    struct err why = ERR_INIT;
    (void)state;
    put_conf("one.conf", 80);
    start_nginx("one.conf", base);
    ok(web_find(WEB_NGINX, NULL, &web, &err));
    put(web.conf, "events {}\nhttp { nonsense on; }\n", 0644);
    assert_false(web_test(&web, &why));
    assert_int_equal(why.code, ERR_WEBSERVER);
    assert_non_null(strstr(why.text, "unknown directive \"nonsense\""));
    assert_non_null(strstr(why.text, "one.conf:2"));
}

static void test_reload_by_signal(void **state)
{
    struct web web;
    (void)state;
    put_conf("one.conf", 80);
    pid_t pid = start_nginx("one.conf", base);
    ok(web_find(WEB_NGINX, NULL, &web, &err));
    put_conf("one.conf", 8088);
    ok(web_reload(&web, &err));
    assert_int_equal(web.master_pid, pid);
    wait_text("/proc/net/tcp", ":1F98 "); /* 8088: the new configuration is in use */
}

static void test_reload_finds_a_restarted_master(void **state)
{
    struct web web;
    (void)state;
    put_conf("one.conf", 80);
    start_nginx("one.conf", base);
    ok(web_find(WEB_NGINX, NULL, &web, &err));
    stop_all(NULL);
    pid_t now = start_nginx("one.conf", base);
    ok(web_reload(&web, &err));
    assert_int_equal(web.master_pid, now);
}

static int listen_on(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

/* Whatever makes a start slow (a name that does not resolve, a port that is not free yet): until nginx
 * handles signals, one would end it. */
static void test_reload_while_starting(void **state)
{
    struct web web;
    (void)state;
    AUTO_FREE char *log = fs_join(base, "error.log");
    unlink(log);
    put_conf("one.conf", 80);
    in_the_way = listen_on(80);
    const char *argv[] = {nginx_program, "-c", "one.conf", "-p", base, "-g", "daemon off;", NULL};
    pid_t pid = start(argv);
    wait_text(log, "bind() to 0.0.0.0:80 failed"); /* it tries again in half a second */
    put_conf("one.conf", 8088);
    free_port();
    ok(web_find(WEB_NGINX, NULL, &web, &err));
    ok(web_reload(&web, &err));
    assert_int_equal(web.master_pid, pid);
    wait_text("/proc/net/tcp", ":1F98 "); /* 8088: it lives, and has taken up the new configuration */
}

/* A process that the signal would end is not signalled. */
static void test_master_that_takes_no_signal(void **state)
{
    struct web web = {.kind = WEB_NGINX, .bin = "/usr/bin/sleep"};
    const char *argv[] = {"/usr/bin/sleep", "100", NULL};
    struct err why = ERR_INIT;
    (void)state;
    web.master_pid = start(argv);
    AUTO_FREE char *title = mem_fmt("/proc/%ld/cmdline", (long)web.master_pid);
    wait_text(title, argv[0]);
    assert_false(web_reload(&web, &why));
    assert_int_equal(why.code, ERR_WEBSERVER);
    assert_non_null(strstr(why.text, "still starting"));
    assert_int_equal(waitpid(web.master_pid, NULL, WNOHANG), 0);
}

static void test_master_that_dies(void **state)
{
    AUTO_FREE char *shell = realpath("/bin/sh", NULL);
    AUTO_FREE char *set = fs_join(base, "trap-is-set");
    AUTO_FREE char *script = mem_fmt("trap 'exit 1' HUP; echo yes >%s; while :; do sleep 0.1; done", set);
    const char *argv[] = {shell, "-c", script, NULL};
    struct web web = {.kind = WEB_NGINX};
    struct err why = ERR_INIT;
    (void)state;
    snprintf(web.bin, sizeof web.bin, "%s", shell);
    web.master_pid = start(argv); /* and it stays a zombie */
    wait_text(set, "yes");
    assert_true(web_reload(&web, &why)); /* told it was */
    assert_false(web_alive(&web, true, &why));
    assert_int_equal(why.code, ERR_WEBSERVER);
    assert_non_null(strstr(why.text, "ended"));
}

static void test_stopped_server_is_started_by_its_service(void **state)
{
    struct web web = {.kind = WEB_NGINX, .bin = "/usr/sbin/nginx"};
    struct err why = ERR_INIT;
    (void)state;
    assert_false(web_reload(&web, &why)); /* /etc/init.d is empty here */
    assert_int_equal(why.code, ERR_WEBSERVER);
    assert_string_not_equal(why.advice, "");
    if (!spawn_find("service")) {
        skip();
    }
    put_conf("one.conf", 80);
    AUTO_FREE char *script =
        mem_fmt("#!/bin/sh\n[ \"$1\" = start ] || exit 3\nexec %s -p %s -c one.conf\n", nginx_program, base);
    put("/etc/init.d/nginx", script, 0755);
    ok(web_reload(&web, &err));
    assert_int_not_equal(web.master_pid, 0);
    int64_t since_ms = clock_mono_ms();
    while (web_master(nginx_names, NULL) != 0 && clock_mono_ms() - since_ms < PATIENCE_MS) {
        kill(web.master_pid, SIGTERM);
        usleep(STEP_US);
    }
    assert_int_equal(web_master(nginx_names, NULL), 0);
    unlink("/etc/init.d/nginx");
}

static void test_systemd_unit(void **state)
{
    struct web web;
    struct err why = ERR_INIT;
    (void)state;
    AUTO_FREE char *told = fs_join(base, "told");
    put_conf("one.conf", 80);
    pid_t pid = start_nginx("one.conf", base);
    AUTO_FREE char *script =
        mem_fmt("#!/bin/sh\necho \"$@\" >> %s\ncase \"$1\" in show) [ \"$5\" = nginx.service ] && echo %ld "
                "|| echo 0;; "
                "reload) [ ! -e %s/fail ] || { echo 'Job for nginx.service failed'; exit 1; };; esac\n",
                told, (long)pid, base);
    put("/usr/local/sbin/systemctl", script, 0755);
    ok(fs_mkdirs("/run/systemd/system", 0755, &err));
    ok(web_find(WEB_NGINX, NULL, &web, &err));
    assert_string_equal(web.unit, "nginx.service");
    ok(web_reload(&web, &err));
    AUTO_BUF calls = BUF_INIT;
    ok(fs_read(told, 65536, &calls, &err));
    assert_non_null(strstr(buf_str(&calls), "reload nginx.service"));
    AUTO_FREE char *fail = fs_join(base, "fail");
    put(fail, "", 0644);
    assert_false(web_reload(&web, &why));
    assert_non_null(strstr(why.text, "Job for nginx.service failed"));
    unlink(fail);
    /* another main process: not the unit of this one */
    put("/usr/local/sbin/systemctl", "#!/bin/sh\necho 1\n", 0755);
    ok(web_find(WEB_NGINX, NULL, &web, &err));
    assert_string_equal(web.unit, "");
    unlink("/usr/local/sbin/systemctl");
    rmdir("/run/systemd/system");
    rmdir("/run/systemd");
}

static bool has_apache(void)
{
    return access(apache_program, X_OK) == 0;
}

static pid_t start_apache(int port)
{
    AUTO_FREE char *conf = fs_join(base, "apache.conf");
    AUTO_FREE char *text = mem_fmt(
        "ServerRoot %s\nServerName localhost\nPidFile %s/apache.pid\nErrorLog %s/apache.log\nMutex file:%s\n"
        "LoadModule mpm_prefork_module /usr/lib/apache2/modules/mod_mpm_prefork.so\n"
        "LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\nListen %d\nUser nobody\n",
        base, base, base, base, port);
    put(conf, text, 0644);
    const char *argv[] = {apache_program, "-D", "FOREGROUND", "-f", conf, NULL};
    pid_t pid = start(argv);
    wait_ready(pid);
    return pid;
}

static void test_which_of_two(void **state)
{
    struct web web;
    struct err why = ERR_INIT;
    (void)state;
    if (!has_apache()) {
        skip();
    }
    assert_false(web_find(WEB_NONE, NULL, &web, &why)); /* both installed, none runs */
    assert_int_equal(why.code, ERR_WEBSERVER);
    assert_non_null(strstr(why.advice, "--nginx or --apache"));
    err_clear(&why);
    put_conf("one.conf", 80);
    start_nginx("one.conf", base);
    ok(web_find(WEB_NONE, NULL, &web, &err)); /* the one that runs */
    assert_int_equal(web.kind, WEB_NGINX);
    start_apache(8080);
    ok(web_find(WEB_NONE, NULL, &web, &err)); /* both run: the one with port 80 */
    assert_int_equal(web.kind, WEB_NGINX);
    stop_all(NULL);
    put_conf("one.conf", 8080);
    start_nginx("one.conf", base);
    start_apache(80);
    ok(web_find(WEB_NONE, NULL, &web, &err));
    assert_int_equal(web.kind, WEB_APACHE);
    stop_all(NULL);
    start_nginx("one.conf", base);
    start_apache(8081);
    assert_false(web_find(WEB_NONE, NULL, &web, &why)); /* neither has it */
    assert_non_null(strstr(why.advice, "--nginx or --apache"));
}

static void test_none_installed(void **state)
{
    static const struct {
        const char *release, *command;
    } table[] = {
        {"NAME=x\nID=debian\n", "apt install nginx"},
        {"ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "dnf install nginx"},
        {"ID=alpine\nVERSION_ID=3\n", "apk add nginx"},
        {"ID=unknown\nNAME=debian\n", "package manager"},
        {"", "package manager"},
    };
    struct web web;
    (void)state;
    AUTO_FREE char *nothing = fs_join(base, "nothing");
    AUTO_FREE char *release = fs_join(base, "os-release");
    put(nothing, "", 0644);
    if (mount(nothing, nginx_program, NULL, MS_BIND, NULL) != 0 ||
        (has_apache() && mount(nothing, apache_program, NULL, MS_BIND, NULL) != 0)) {
        skip();
    }
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct err why = ERR_INIT;
        put(release, table[i].release, 0644);
        assert_int_equal(mount(release, "/etc/os-release", NULL, MS_BIND, NULL), 0);
        assert_false(web_find(WEB_NGINX, NULL, &web, &why));
        umount("/etc/os-release");
        assert_int_equal(why.code, ERR_NOT_FOUND);
        if (strstr(why.advice, table[i].command) == NULL) {
            fail_msg("%s: %s", table[i].release, why.advice);
        }
    }
    umount(nginx_program);
    umount(apache_program);
}

static void test_more_than_a_title(void **state)
{
    (void)state;
    /* A process that only calls itself nginx is none. */
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        execl("/usr/bin/sleep", "nginx: master process /usr/sbin/nginx -c /etc/evil.conf", "100",
              (char *)NULL);
        _exit(127);
    }
    children[n_children++] = pid;
    AUTO_FREE char *title = mem_fmt("/proc/%ld/cmdline", (long)pid);
    wait_text(title, "nginx: master process");
    assert_int_equal(web_master(nginx_names, NULL), 0);
}

static bool own_namespaces(void)
{
    const char *up[] = {"ip", "link", "set", "lo", "up", NULL};
    struct spawn_result result = {0};
    struct err err = ERR_INIT;
    if (geteuid() != 0 || unshare(CLONE_NEWNET | CLONE_NEWNS) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        return false;
    }
    bool done = spawn_run(up, NULL, &result, &err) && result.status == 0;
    spawn_result_clear(&result);
    /* Nothing of this machine's services is to be touched. */
    return done && mount("none", "/etc/init.d", "tmpfs", 0, NULL) == 0 &&
           mount("none", "/usr/local/sbin", "tmpfs", 0, NULL) == 0 &&
           mount("none", "/run", "tmpfs", 0, NULL) == 0;
}

static int set_up(void **state)
{
    (void)state;
    snprintf(base, sizeof base, "/tmp/test_web.XXXXXX");
    if (mkdtemp(base) == NULL) {
        return 1;
    }
    chmod(base, 0755);
    return 0;
}

static int tear_down(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    return !fs_remove_tree(base, &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_runs),
        cmocka_unit_test_teardown(test_running_master, stop_all),
        cmocka_unit_test_teardown(test_containers_are_not_ours, stop_all),
        cmocka_unit_test_teardown(test_several_masters, stop_all),
        cmocka_unit_test_teardown(test_hint_against_the_running_one, stop_all),
        cmocka_unit_test_teardown(test_test_speaks_nginx_words, stop_all),
        cmocka_unit_test_teardown(test_reload_by_signal, stop_all),
        cmocka_unit_test_teardown(test_reload_finds_a_restarted_master, stop_all),
        cmocka_unit_test_teardown(test_reload_while_starting, stop_all),
        cmocka_unit_test_teardown(test_master_that_takes_no_signal, stop_all),
        cmocka_unit_test_teardown(test_master_that_dies, stop_all),
        cmocka_unit_test_teardown(test_stopped_server_is_started_by_its_service, stop_all),
        cmocka_unit_test_teardown(test_systemd_unit, stop_all),
        cmocka_unit_test_teardown(test_which_of_two, stop_all),
        cmocka_unit_test_teardown(test_none_installed, stop_all),
        cmocka_unit_test_teardown(test_more_than_a_title, stop_all),
    };
    log_set_level(LOG_LEVEL_ERROR);
    if (access(nginx_program, X_OK) != 0 || !own_namespaces()) {
        printf("1..0 # SKIP needs nginx, root and namespaces of its own\n");
        return 77;
    }
    return cmocka_run_group_tests_name("web", tests, set_up, tear_down);
}
