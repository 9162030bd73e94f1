/*
 * test_port.c - the person is told which program is in the way.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tlsup/compat.h"
#include "tlsup/port.h"

#define EXIT_SKIP 77

/* A socket on a loopback port of the kernel's choice; listens when `backlog` >= 0. */
static int bound_socket(int family, int backlog, int *port)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address;
    socklen_t len = family == AF_INET ? sizeof address.v4 : sizeof address.v6;
    memset(&address, 0, sizeof address);
    address.any.sa_family = (sa_family_t)family;
    if (family == AF_INET)
        address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        address.v6.sin6_addr = in6addr_loopback;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, &address.any, len) != 0 || (backlog >= 0 && listen(fd, backlog) != 0) ||
        getsockname(fd, &address.any, &len) != 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    *port = ntohs(family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
    return fd;
}

static void expect_holder(int port, const char *comm, pid_t expected)
{
    char out[PORT_HOLDER_BYTES], want[PORT_HOLDER_BYTES];
    pid_t pid = -1;
    assert_true(port_holder(port, out, &pid));
    snprintf(want, sizeof want, "%s (pid %ld)", comm, (long)expected);
    assert_string_equal(out, want);
    assert_int_equal(pid, expected);
    assert_true(port_holder(port, out, NULL));
}

static void test_ipv4_and_ipv6(void **state)
{
    (void)state;
    static const int families[] = {AF_INET, AF_INET6};
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        int port, fd = bound_socket(families[i], 5, &port);
        if (fd < 0 && families[i] == AF_INET6) {
            print_message("no IPv6 here\n");
            continue;
        }
        assert_true(fd >= 0);
        assert_int_equal(prctl(PR_SET_NAME, "webby"), 0);
        expect_holder(port, "webby", getpid());
        close(fd);
    }
}

static void test_nobody(void **state)
{
    (void)state;
    int port;
    char out[PORT_HOLDER_BYTES] = "untouched";
    pid_t pid = -7;
    int fd = bound_socket(AF_INET, -1, &port);
    assert_true(fd >= 0);
    /* bound, but nobody listens */
    assert_false(port_holder(port, out, &pid));
    close(fd);
    assert_false(port_holder(port, out, &pid));
    assert_string_equal(out, "untouched");
    assert_int_equal(pid, -7);
}

static void test_impossible_ports(void **state)
{
    (void)state;
    static const int ports[] = {0, -1, -65536, 65536, 65536 + 80, INT32_MAX, INT32_MIN};
    char out[PORT_HOLDER_BYTES];
    for (size_t i = 0; i < COUNT_OF(ports); i++)
        assert_false(port_holder(ports[i], out, NULL));
}

static void test_connections_are_not_listeners(void **state)
{
    (void)state;
    int port;
    char out[PORT_HOLDER_BYTES];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = bound_socket(AF_INET, 5, &port);
    assert_true(fd >= 0);
    address.sin_port = htons((uint16_t)port);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof address), 0);
    int server = accept(fd, NULL, NULL);
    assert_true(server >= 0);
    close(fd);
    assert_false(port_holder(port, out, NULL));
    close(server);
    close(client);
}

/* A master and its workers share the socket: the master is named. */
static void test_master_is_named(void **state)
{
    (void)state;
    int port, ends[2];
    int fd = bound_socket(AF_INET, 5, &port);
    assert_true(fd >= 0);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        char c;
        close(ends[1]);
        _exit(read(ends[0], &c, 1) == 0 ? 0 : 1);
    }
    pid_t lower = child < getpid() ? child : getpid();
    char out[PORT_HOLDER_BYTES];
    pid_t pid = 0;
    bool held = port_holder(port, out, &pid);
    close(fd);
    pid_t after = 0;
    bool still_held = port_holder(port, out, &after);
    close(ends[0]);
    close(ends[1]);
    waitpid(child, NULL, 0);
    assert_true(held);
    assert_int_equal(pid, lower);
    assert_true(still_held);
    assert_int_equal(after, child);
    assert_false(port_holder(port, out, NULL));
}

static void test_hostile_process_name(void **state)
{
    (void)state;
    int port, fd = bound_socket(AF_INET, 5, &port);
    assert_true(fd >= 0);
    assert_int_equal(prctl(PR_SET_NAME, "a\x1B[2J\nb) (\xC2\x9B%s"), 0);
    expect_holder(port, "a?[2J?b) (??%s", getpid());
    assert_int_equal(prctl(PR_SET_NAME, ""), 0);
    expect_holder(port, "another process", getpid());
    assert_int_equal(prctl(PR_SET_NAME, "test_port"), 0);
    close(fd);
}

/* Run `body` in a child; its exit status. */
static int in_child(int (*body)(int port), int port)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(body(port));
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static int look_without_proc(int port)
{
    char out[PORT_HOLDER_BYTES];
    pid_t pid = -7;
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/proc", "tmpfs", 0, NULL) != 0)
        return EXIT_SKIP;
    if (!port_holder(port, out, &pid))
        return 1;
    return strcmp(out, "another process") == 0 && pid == 0 ? 0 : 2;
}

static int look_without_proc_at_nobody(int port)
{
    char out[PORT_HOLDER_BYTES];
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/proc", "tmpfs", 0, NULL) != 0)
        return EXIT_SKIP;
    return port_holder(port, out, NULL) ? 1 : 0;
}

static void test_without_proc(void **state)
{
    (void)state;
    static const int families[] = {AF_INET, AF_INET6};
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        int port, fd = bound_socket(families[i], 5, &port);
        if (fd < 0)
            continue;
        int held = in_child(look_without_proc, port);
        close(fd);
        int free_again = in_child(look_without_proc_at_nobody, port);
        if (held == EXIT_SKIP) {
            print_message("no mount namespace here\n");
            skip();
        }
        assert_int_equal(held, 0);
        assert_int_equal(free_again, 0);
    }
}

/* Somebody else's process, seen without the right to look into it. */
static int look_as_nobody(int port)
{
    char out[PORT_HOLDER_BYTES];
    pid_t pid = -7;
    for (int fd = STDERR_FILENO + 1; fd < 64; fd++)
        close(fd); /* the listener that this child inherited */
    if (geteuid() != 0 || setgid(65534) != 0 || setuid(65534) != 0)
        return EXIT_SKIP;
    if (!port_holder(port, out, &pid))
        return 1;
    return strcmp(out, "another process") == 0 && pid == 0 ? 0 : 2;
}

static void test_process_of_another_user(void **state)
{
    (void)state;
    int port, fd = bound_socket(AF_INET, 5, &port);
    assert_true(fd >= 0);
    int status = in_child(look_as_nobody, port);
    close(fd);
    if (status == EXIT_SKIP)
        skip();
    assert_int_equal(status, 0);
}

static int look_in_another_network(int port)
{
    char out[PORT_HOLDER_BYTES];
    if (unshare(CLONE_NEWNET) != 0)
        return EXIT_SKIP;
    return port_holder(port, out, NULL) ? 1 : 0;
}

static void test_other_network_namespace(void **state)
{
    (void)state;
    int port, fd = bound_socket(AF_INET, 5, &port);
    assert_true(fd >= 0);
    int status = in_child(look_in_another_network, port);
    close(fd);
    if (status == EXIT_SKIP)
        skip();
    assert_int_equal(status, 0);
}

/* A network of our own, where it may be had: in the common one another program may take the port that was
 * just left, or have the same number on another address. */
static int own_network(void **state)
{
    (void)state;
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0)
        return 0;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int status = ioctl(fd, SIOCSIFFLAGS, &request);
    close(fd);
    return status;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ipv4_and_ipv6),
        cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_impossible_ports),
        cmocka_unit_test(test_connections_are_not_listeners),
        cmocka_unit_test(test_master_is_named),
        cmocka_unit_test(test_hostile_process_name),
        cmocka_unit_test(test_without_proc),
        cmocka_unit_test(test_process_of_another_user),
        cmocka_unit_test(test_other_network_namespace),
    };
    return cmocka_run_group_tests(tests, own_network, NULL);
}
