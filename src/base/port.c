#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/port.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tlsup/mem.h"

#define UNKNOWN_HOLDER "another process"
#define TCP_STATE_LISTEN 0x0A /* as the kernel writes it in /proc/net/tcp */

struct inodes {
    uint64_t *v;
    size_t n;
};

/* -- the kernel's socket tables -------------------------------------------------------------------------- */

/* "  0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1234 …" */
static bool parse_listener(const char *line, unsigned *port, uint64_t *inode)
{
    unsigned state;
    return sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %" SCNu64,
                  port, &state, inode) == 3 &&
           state == TCP_STATE_LISTEN;
}

/* Add the inodes of the sockets that listen on `port`; false when the table cannot be read. The table is
 * that of our own network namespace. */
static bool add_listeners(const char *table, int port, struct inodes *inodes)
{
    FILE *file = fopen(table, "re");
    AUTO_FREE char *line = NULL;
    size_t cap = 0;
    if (file == NULL)
        return false;
    while (getline(&line, &cap, file) > 0) {
        unsigned found;
        uint64_t inode;
        if (!parse_listener(line, &found, &inode) || found != (unsigned)port)
            continue;
        inodes->v = mem_resize(inodes->v, inodes->n + 1, sizeof *inodes->v);
        inodes->v[inodes->n++] = inode;
    }
    fclose(file);
    return true;
}

/* Without /proc a bind tells that somebody listens, though not who. */
static bool bind_is_refused(int port)
{
    const struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    const struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    const struct {
        int family;
        const void *address;
        socklen_t len;
    } tries[] = {{AF_INET, &v4, sizeof v4}, {AF_INET6, &v6, sizeof v6}};
    bool refused = false;
    for (size_t i = 0; i < COUNT_OF(tries) && !refused; i++) {
        int on = 1, fd = socket(tries[i].family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        if (tries[i].family == AF_INET6)
            (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
        /* connections in TIME_WAIT are nobody's */
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        refused = bind(fd, tries[i].address, tries[i].len) != 0 && errno == EADDRINUSE;
        close(fd);
    }
    return refused;
}

/* -- processes ------------------------------------------------------------------------------------------- */

static bool is_one_of(const char *link, const struct inodes *inodes)
{
    uint64_t inode;
    char end;
    if (sscanf(link, "socket:[%" SCNu64 "]%c", &inode, &end) != 1)
        return false;
    for (size_t i = 0; i < inodes->n; i++)
        if (inodes->v[i] == inode)
            return true;
    return false;
}

static bool process_holds(const char *pid, const struct inodes *inodes)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
    DIR *dir = opendir(path);
    bool held = false;
    if (dir == NULL)
        return false;
    for (const struct dirent *entry; !held && (entry = readdir(dir)) != NULL;) {
        char link[64];
        ssize_t len = readlinkat(dirfd(dir), entry->d_name, link, sizeof link - 1);
        if (len <= 0)
            continue;
        link[len] = '\0';
        held = is_one_of(link, inodes);
    }
    closedir(dir);
    return held;
}

/* The lowest pid that has one of the sockets open, 0 when none can be seen. */
static pid_t find_holder(const struct inodes *inodes)
{
    long lowest = 0;
    DIR *proc = opendir("/proc");
    if (proc == NULL)
        return 0;
    for (const struct dirent *entry; (entry = readdir(proc)) != NULL;) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        long pid = strtol(entry->d_name, NULL, 10);
        if ((lowest == 0 || pid < lowest) && process_holds(entry->d_name, inodes))
            lowest = pid;
    }
    closedir(proc);
    return (pid_t)lowest;
}

/* The process may call itself anything, escape sequences and line ends included. */
static void read_comm(pid_t pid, char *out, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/comm", (long)pid);
    FILE *file = fopen(path, "re");
    size_t len = 0;
    if (file != NULL) {
        len = fread(out, 1, size - 1, file);
        fclose(file);
    }
    if (len > 0 && out[len - 1] == '\n')
        len--;
    out[len] = '\0';
    for (char *c = out; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7F)
            *c = '?';
}

static void describe(pid_t pid, char out[PORT_HOLDER_BYTES])
{
    char comm[64] = "";
    if (pid > 0)
        read_comm(pid, comm, sizeof comm);
    if (pid <= 0)
        snprintf(out, PORT_HOLDER_BYTES, "%s", UNKNOWN_HOLDER);
    else
        snprintf(out, PORT_HOLDER_BYTES, "%s (pid %ld)", comm[0] != '\0' ? comm : UNKNOWN_HOLDER, (long)pid);
}

bool port_holder(int port, char out[PORT_HOLDER_BYTES], pid_t *pid)
{
    struct inodes inodes = {0};
    pid_t holder = 0;
    if (port <= 0 || port > UINT16_MAX)
        return false;
    bool v4 = add_listeners("/proc/self/net/tcp", port, &inodes);
    bool v6 = add_listeners("/proc/self/net/tcp6", port, &inodes);
    bool held = v4 || v6 ? inodes.n > 0 : bind_is_refused(port);
    if (held) {
        holder = inodes.n > 0 ? find_holder(&inodes) : 0;
        describe(holder, out);
        if (pid != NULL)
            *pid = holder;
    }
    free(inodes.v);
    return held;
}
