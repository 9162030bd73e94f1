/* A web server by the package manager: of which system, with which words, and what is said when it fails. All
 * of it in a directory that plays the machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/package.h"

/* Writes down what it is told, and does what the files in the machine say. */
static const char program[] = "#!/bin/sh\n"
                              "name=${0##*/}\n"
                              "root=${0%/usr/sbin/*}\n"
                              "echo \"$name $*\" >>$root/log\n"
                              "env >$root/env-$name\n"
                              "if [ -e $root/stale ]; then\n"
                              "  case \"$*\" in *update*) rm $root/stale; exit 0;; esac\n"
                              "  echo \"E: Unable to locate package\"; exit 100\n"
                              "fi\n"
                              "if [ -e $root/fails-$name ]; then cat $root/fails-$name; exit 7; fi\n";

static char root[64];

static char *machine(const char *path)
{
    return mem_fmt("%s%s", root, path);
}

static void put(const char *path, const char *text, mode_t mode)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *full = machine(path);
    AUTO_FREE char *dir = fs_dirname(full);
    if (!fs_mkdirs(dir, 0755, &err) || !fs_write(full, text, strlen(text), mode, &err))
        fail_msg("%s", err.text);
}

static void make_dir(const char *path)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *full = machine(path);
    if (!fs_mkdirs(full, 0755, &err))
        fail_msg("%s", err.text);
}

static void put_program(const char *name)
{
    AUTO_FREE char *path = mem_fmt("/usr/sbin/%s", name);
    put(path, program, 0755);
}

static char *read_text(const char *path)
{
    struct err err = ERR_INIT;
    AUTO_BUF text = BUF_INIT;
    AUTO_FREE char *full = machine(path);
    if (!fs_read(full, 1 << 20, &text, &err))
        return mem_dup("");
    return mem_dup(buf_str(&text));
}

static void assert_text(const char *path, const char *expected)
{
    AUTO_FREE char *text = read_text(path);
    assert_string_equal(text, expected);
}

static void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is not in:\n%s", part, text);
}

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/test-package-XXXXXX");
    if (mkdtemp(root) == NULL)
        return -1;
    package_set_root(root);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    package_set_root(NULL);
    return fs_remove_tree(root, &err) ? 0 : -1;
}

static struct package found(enum web_kind kind)
{
    struct package package;
    struct err err = ERR_INIT;
    if (!package_find(kind, &package, &err))
        fail_msg("%s", err.text);
    return package;
}

static void need_root(void)
{
    if (geteuid() != 0)
        skip();
}

/* -- which manager -------------------------------------------------------------------------------------- */

static void test_systems(void **state)
{
    static const struct {
        const char *release, *program, *service, *command;
        enum web_kind kind;
    } systems[] = {
        {"ID=debian\n", "apt-get", "nginx", "apt install nginx", WEB_NGINX},
        {"NAME=\"Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "apt-get", "apache2",
         "apt install apache2", WEB_APACHE},
        {"ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "dnf", "httpd", "dnf install httpd mod_ssl",
         WEB_APACHE},
        {"ID=fedora\n", "dnf", "nginx", "dnf install nginx", WEB_NGINX},
        {"ID=centos\n", "yum", "nginx", "yum install nginx", WEB_NGINX},
        {"ID='opensuse-leap'\nID_LIKE='suse opensuse'\n", "zypper", "apache2", "zypper install apache2",
         WEB_APACHE},
        {"ID=alpine\n", "apk", "apache2", "apk add apache2 apache2-ssl", WEB_APACHE},
        {"ID=arch\n", "pacman", "httpd", "pacman -S apache", WEB_APACHE},
        {"ID=void\n", "xbps-install", "nginx", "xbps-install -S nginx", WEB_NGINX},
        {"ID=gentoo\n", "emerge", "apache2", "emerge www-servers/apache", WEB_APACHE},
        {"ID=freebsd\r\n", "pkg", "apache24", "pkg install apache24", WEB_APACHE},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(systems); i++) {
        AUTO_STRLIST commands = STRLIST_INIT;
        AUTO_FREE char *path = mem_fmt("/usr/sbin/%s", systems[i].program);
        AUTO_FREE char *full = machine(path);
        put("/etc/os-release", systems[i].release, 0644);
        put_program(systems[i].program);
        struct package package = found(systems[i].kind);
        package_commands(&package, &commands);
        assert_string_equal(commands.v[0], systems[i].command);
        assert_string_equal(package.service, systems[i].service);
        unlink(full);
    }
}

/* A tool of another system lies about as well. */
static void test_the_systems_own(void **state)
{
    (void)state;
    AUTO_STRLIST commands = STRLIST_INIT;
    put_program("apt-get");
    put_program("apk");
    put("/etc/os-release", "ID=alpine\n", 0644);
    struct package package = found(WEB_NGINX);
    package_commands(&package, &commands);
    assert_string_equal(commands.v[0], "apk add nginx");
}

/* Nobody says which system it is, or says what no one has heard of: what is there is taken. */
static void test_unknown_system(void **state)
{
    (void)state;
    static const char *const releases[] = {"", "ID=\n", "ID=somethingelse\nID_LIKE=\"\"\n", "\"\"\"\n====\n"};
    put_program("pacman");
    for (size_t i = 0; i < COUNT_OF(releases); i++) {
        AUTO_STRLIST commands = STRLIST_INIT;
        put("/etc/os-release", releases[i], 0644);
        struct package package = found(WEB_NGINX);
        package_commands(&package, &commands);
        assert_string_equal(commands.v[0], "pacman -S nginx");
    }
}

static void test_no_manager(void **state)
{
    (void)state;
    struct package package;
    struct err err = ERR_INIT;
    put("/etc/os-release", "ID=debian\n", 0644);
    assert_false(package_find(WEB_NGINX, &package, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_has(err.text, "no package manager");
    assert_true(err.advice[0] != '\0');
}

/* -- installing ----------------------------------------------------------------------------------------- */

static int ticks;

static void on_tick(void *ctx)
{
    (void)ctx;
    ticks++;
}

static void test_installs(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    need_root();
    AUTO_FREE char *slow = mem_fmt("%ssleep 1\n", program); /* long enough to be waited for */
    put("/usr/sbin/apt-get", slow, 0755);
    put("/etc/os-release", "ID=debian\n", 0644);
    struct package package = found(WEB_NGINX);
    ticks = 0;
    setenv("https_proxy", "http://proxy.test:3128", 1);
    setenv("LD_PRELOAD", "", 1);
    if (!package_install(&package, on_tick, NULL, &err))
        fail_msg("%s", err.text);
    assert_true(ticks > 0);
    AUTO_FREE char *log = read_text("/log");
    AUTO_FREE char *env = read_text("/env-apt-get");
    assert_has(log, "--no-install-recommends install nginx\n");
    assert_has(log, "--force-confold"); /* a person's files of a former installation */
    assert_has(env, "DEBIAN_FRONTEND=noninteractive\n");
    assert_has(env, "https_proxy=http://proxy.test:3128\n");
    assert_null(strstr(env, "LD_PRELOAD"));
    assert_null(strstr(log, "update"));
    unsetenv("https_proxy");
    unsetenv("LD_PRELOAD");
}

static void test_fresh_lists(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    need_root();
    put_program("apk");
    put("/etc/os-release", "ID=alpine\n", 0644);
    put("/stale", "", 0644);
    struct package package = found(WEB_APACHE);
    if (!package_install(&package, NULL, NULL, &err))
        fail_msg("%s", err.text);
    assert_text("/log", "apk add --no-progress apache2 apache2-ssl\napk update\n"
                        "apk add --no-progress apache2 apache2-ssl\n");
}

/* The end of what it has said, however much that is, and what a person can do. */
static void test_failure_is_told(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF said = BUF_INIT;
    need_root();
    put_program("dnf");
    put("/etc/os-release", "ID=fedora\n", 0644);
    for (int i = 0; i < 20000; i++)
        buf_addf(&said, "downloading part %d\n", i);
    buf_adds(&said, "Error: Failed to download metadata\x1b[31m for repo 'fedora'\n");
    put("/fails-dnf", buf_str(&said), 0644);
    struct package package = found(WEB_NGINX);
    assert_false(package_install(&package, NULL, NULL, &err));
    assert_has(err.text, "nginx could not be installed: dnf failed with status 7");
    assert_has(err.text, "Failed to download metadata");
    assert_null(strchr(err.text, '\x1b'));
    assert_has(err.advice, "dnf install nginx");
    AUTO_FREE char *log = read_text("/log");
    assert_string_equal(log, "dnf -y install nginx\n"); /* nothing to refresh: no second attempt */
}

/* Before the program is even looked at: it could be a directory, or be gone. */
static void test_program_that_is_none(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    need_root();
    put("/usr/sbin/dnf", "#!/nonexistent/shell\n", 0755);
    put("/etc/os-release", "ID=fedora\n", 0644);
    struct package package = found(WEB_NGINX);
    assert_false(package_install(&package, NULL, NULL, &err));
    assert_true(err_isset(&err));
    assert_has(err.advice, "dnf install nginx");
}

/* -- the service ---------------------------------------------------------------------------------------- */

static void prepare_service(const char *needs, const char *const *programs)
{
    put_program("apt-get");
    make_dir(needs);
    for (size_t i = 0; programs[i] != NULL; i++)
        put_program(programs[i]);
}

static void start(bool running)
{
    struct err err = ERR_INIT;
    struct package package = found(WEB_NGINX);
    if (!package_start(&package, running, &err))
        fail_msg("%s", err.text);
}

static void test_systemd(void **state)
{
    (void)state;
    static const char *const programs[] = {"systemctl", "update-rc.d", "service", NULL};
    AUTO_STRLIST commands = STRLIST_INIT;
    prepare_service("/run/systemd/system", programs);
    make_dir("/etc/init.d/nginx");
    start(false);
    assert_text("/log", "systemctl enable nginx\nsystemctl start nginx\n");
    struct package package = found(WEB_NGINX);
    package_commands(&package, &commands);
    assert_int_equal(commands.n, 3);
    assert_string_equal(commands.v[1], "systemctl enable nginx");
    assert_string_equal(commands.v[2], "systemctl start nginx");
}

/* systemctl is installed, but something else is process 1 (a container). */
static void test_systemd_that_does_not_run(void **state)
{
    (void)state;
    static const char *const programs[] = {"systemctl", "update-rc.d", "service", NULL};
    prepare_service("/etc/init.d/nginx", programs);
    start(false);
    assert_text("/log", "update-rc.d nginx defaults\nservice nginx start\n");
}

static void test_openrc(void **state)
{
    (void)state;
    static const char *const programs[] = {"rc-update", "rc-service", NULL};
    prepare_service("/etc/init.d/nginx", programs);
    start(false);
    assert_text("/log", "rc-update add nginx default\nrc-service nginx start\n");
}

static void test_freebsd(void **state)
{
    (void)state;
    static const char *const programs[] = {"sysrc", "service", NULL};
    prepare_service("/usr/local/etc/rc.d/nginx", programs);
    start(false);
    assert_text("/log", "sysrc nginx_enable=YES\nservice nginx start\n");
}

static void test_running_is_only_enabled(void **state)
{
    (void)state;
    static const char *const programs[] = {"systemctl", NULL};
    prepare_service("/run/systemd/system", programs);
    start(true);
    assert_text("/log", "systemctl enable nginx\n");
}

static void test_does_not_start(void **state)
{
    (void)state;
    static const char *const programs[] = {"systemctl", NULL};
    struct err err = ERR_INIT;
    prepare_service("/run/systemd/system", programs);
    put("/fails-systemctl", "Job for nginx.service failed.\n", 0644);
    struct package package = found(WEB_NGINX);
    assert_false(package_start(&package, false, &err));
    assert_has(err.text, "nginx is installed, but does not start");
    assert_has(err.text, "Job for nginx.service failed.");
    assert_has(err.advice, "systemctl start nginx");
    err_clear(&err);
    assert_true(package_start(&package, true, &err)); /* at boot: a warning is enough */
}

static void test_no_service_manager(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    put_program("apt-get");
    struct package package = found(WEB_NGINX);
    assert_false(package_start(&package, false, &err));
    assert_has(err.text, "no service manager");
    err_clear(&err);
    assert_true(package_start(&package, true, &err));
}

/* -- the first page ------------------------------------------------------------------------------------- */

static bool page(const char *directory)
{
    struct err err = ERR_INIT;
    bool made = false;
    if (!package_first_page(directory, &made, &err))
        fail_msg("%s", err.text);
    return made;
}

static void test_first_page(void **state)
{
    (void)state;
    struct stat st;
    make_dir("/srv/www");
    assert_true(page("/srv/www"));
    AUTO_FREE char *text = read_text("/srv/www/index.html");
    AUTO_FREE char *path = machine("/srv/www/index.html");
    assert_has(text, "<title>");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_false(page("/srv/www"));
}

static void test_pages_that_stay(void **state)
{
    (void)state;
    static const char *const theirs[] = {"/a/index.html", "/b/index.nginx-debian.html", "/c/index.php"};
    for (size_t i = 0; i < COUNT_OF(theirs); i++) {
        AUTO_FREE char *dir = fs_dirname(theirs[i]);
        put(theirs[i], "mine\n", 0644);
        assert_false(page(dir));
        assert_text(theirs[i], "mine\n");
    }
    /* a link that leads nowhere is somebody's, too */
    make_dir("/d");
    AUTO_FREE char *link = machine("/d/index.html");
    assert_int_equal(symlink("/nonexistent/file", link), 0);
    assert_false(page("/d"));
    assert_false(page("/no/such/directory"));
    assert_false(page(""));
    assert_false(page("relative"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_systems),
        TEST(test_the_systems_own),
        TEST(test_unknown_system),
        TEST(test_no_manager),
        TEST(test_installs),
        TEST(test_fresh_lists),
        TEST(test_failure_is_told),
        TEST(test_program_that_is_none),
        TEST(test_systemd),
        TEST(test_systemd_that_does_not_run),
        TEST(test_openrc),
        TEST(test_freebsd),
        TEST(test_running_is_only_enabled),
        TEST(test_does_not_start),
        TEST(test_no_service_manager),
        TEST(test_first_page),
        TEST(test_pages_that_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
