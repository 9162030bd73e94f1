/*
 * delay_proxy.c - a TCP proxy that stands for a long way: each byte arrives so many milliseconds later, in
 * both directions, at full bandwidth. A connection's first byte waits a round trip more, the one that TCP's
 * own handshake would take.
 *
 *   delay_proxy LISTEN-PORT SERVER-PORT MILLISECONDS
 *
 * Both ports on 127.0.0.1. Writes a line to standard output for each connection.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PIECE_BYTES = 65536, MAX_CONNECTIONS = 512 };

/* What has been read together arrives together. No bytes: the end. */
struct piece {
    struct piece *next;
    int64_t due_us;
    size_t len, written;
    char bytes[];
};

struct way {
    int from, to;
    bool ended; /* nothing more will be read */
    struct piece *first, **last;
};

struct connection {
    struct way ways[2]; /* to the server, to the client */
    int64_t open_us;    /* when the handshake would be over */
};

static struct connection *connections[MAX_CONNECTIONS];
static size_t n_connections;
static int64_t delay_us;

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void *allocate(size_t bytes)
{
    void *memory = calloc(1, bytes);
    if (memory == NULL)
        die("delay_proxy");
    return memory;
}

static struct sockaddr_in local_address(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void prepare(int fd)
{
    int yes = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
        die("fcntl");
}

static void way_init(struct way *way, int from, int to)
{
    way->from = from;
    way->to = to;
    way->last = &way->first;
}

static void add_connection(int listener, const char *server_port)
{
    struct sockaddr_in address = local_address(server_port);
    int client = accept(listener, NULL, NULL);
    if (client < 0)
        return;
    int server = socket(AF_INET, SOCK_STREAM, 0);
    if (server < 0 || n_connections == MAX_CONNECTIONS ||
        connect(server, (struct sockaddr *)&address, sizeof address) != 0)
        die("delay_proxy: no connection to the server");
    prepare(client);
    prepare(server);
    struct connection *connection = allocate(sizeof *connection);
    connection->open_us = now_us() + 2 * delay_us;
    way_init(&connection->ways[0], client, server);
    way_init(&connection->ways[1], server, client);
    connections[n_connections++] = connection;
    printf("connection\n");
    fflush(stdout);
}

static void take(struct connection *connection, struct way *way)
{
    static char bytes[PIECE_BYTES];
    ssize_t n = read(way->from, bytes, sizeof bytes);
    int64_t now = now_us();
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    size_t len = n > 0 ? (size_t)n : 0;
    struct piece *piece = allocate(sizeof *piece + len);
    piece->due_us = (now > connection->open_us ? now : connection->open_us) + delay_us;
    piece->len = len;
    memcpy(piece->bytes, bytes, len);
    way->ended = len == 0;
    *way->last = piece;
    way->last = &piece->next;
}

static void drop_first(struct way *way)
{
    struct piece *piece = way->first;
    way->first = piece->next;
    if (way->first == NULL)
        way->last = &way->first;
    free(piece);
}

/* Pass on what is due, as far as the receiver takes it. */
static void give(struct way *way)
{
    int64_t now = now_us();
    while (way->first != NULL && way->first->due_us <= now) {
        struct piece *piece = way->first;
        if (piece->len == 0)
            (void)shutdown(way->to, SHUT_WR);
        ssize_t n =
            piece->len == 0 ? 0 : write(way->to, piece->bytes + piece->written, piece->len - piece->written);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        piece->written +=
            n > 0 ? (size_t)n : piece->len; /* to a receiver that is gone nothing more is given */
        if (piece->written >= piece->len)
            drop_first(way);
    }
}

static bool is_over(const struct connection *connection)
{
    const struct way *ways = connection->ways;
    return ways[0].ended && ways[1].ended && ways[0].first == NULL && ways[1].first == NULL;
}

static void drop_connection(size_t index)
{
    struct connection *connection = connections[index];
    close(connection->ways[0].from);
    close(connection->ways[1].from);
    free(connection);
    connections[index] = connections[--n_connections];
}

/* Until the next piece is due; NULL = for ever. What is due by `now` already is waited for with POLLOUT, by
 * the same clock. */
static struct timespec *until_due(int64_t now, struct timespec *out)
{
    int64_t due_us = INT64_MAX;
    for (size_t i = 0; i < n_connections; i++)
        for (size_t k = 0; k < 2; k++) {
            const struct piece *first = connections[i]->ways[k].first;
            if (first != NULL && first->due_us > now && first->due_us < due_us)
                due_us = first->due_us;
        }
    if (due_us == INT64_MAX)
        return NULL;
    *out = (struct timespec){.tv_sec = (due_us - now) / 1000000, .tv_nsec = (due_us - now) % 1000000 * 1000};
    return out;
}

/* Two entries a connection, one a socket: readable for one way, writable for the other where a due piece
 * waits. */
static nfds_t fill(int64_t now, struct pollfd *fds, int listener)
{
    nfds_t n = 0;
    fds[n++] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (size_t i = 0; i < n_connections; i++)
        for (size_t k = 0; k < 2; k++) {
            const struct way *in = &connections[i]->ways[k], *out = &connections[i]->ways[1 - k];
            bool waits = out->first != NULL && out->first->due_us <= now;
            short events = (short)((in->ended ? 0 : POLLIN) | (waits ? POLLOUT : 0));
            fds[n++] = (struct pollfd){.fd = events != 0 ? in->from : -1, .events = events};
        }
    return n;
}

int main(int argc, char **argv)
{
    static struct pollfd fds[1 + 2 * MAX_CONNECTIONS];
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    if (argc != 4) {
        fprintf(stderr, "usage: delay_proxy LISTEN-PORT SERVER-PORT MILLISECONDS\n");
        return 2;
    }
    struct sockaddr_in address = local_address(argv[1]);
    delay_us = (int64_t)(atof(argv[3]) * 1000);
    signal(SIGPIPE, SIG_IGN);
    (void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 256) != 0)
        die("delay_proxy: listen");
    for (;;) {
        struct timespec wait;
        int64_t now = now_us();
        nfds_t n = fill(now, fds, listener);
        if (ppoll(fds, n, until_due(now, &wait), NULL) < 0 && errno != EINTR)
            die("poll");
        size_t polled = (n - 1) / 2;
        for (size_t i = 0; i < polled; i++)
            for (size_t k = 0; k < 2; k++)
                if ((fds[1 + 2 * i + k].revents & (POLLIN | POLLHUP | POLLERR)) != 0 &&
                    !connections[i]->ways[k].ended)
                    take(connections[i], &connections[i]->ways[k]);
        for (size_t i = n_connections; i-- > 0;) {
            give(&connections[i]->ways[0]);
            give(&connections[i]->ways[1]);
            if (is_over(connections[i]))
                drop_connection(i);
        }
        if ((fds[0].revents & POLLIN) != 0)
            add_connection(listener, argv[2]);
    }
}
