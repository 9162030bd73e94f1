/*
 * listeners.h - the listening sockets of a responder, http-01's or tls-alpn-01's: accepting without ever blocking or
 * spinning. Private to challenge/.
 */
#ifndef LISTENERS_H
#define LISTENERS_H

#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LISTENERS_MAX 4
#define LISTENERS_PEER_BYTES INET6_ADDRSTRLEN

struct listeners {
    const char *owner; /* for the log */
    int fds[LISTENERS_MAX];
    size_t n;
    int64_t accept_after_ms; /* 0 when accepting */
};

/* Takes the descriptors over and makes them non-blocking; those over LISTENERS_MAX are closed. `owner` is borrowed. */
void listeners_init(struct listeners *listeners, const char *owner, const int *fds, size_t n);
void listeners_clear(struct listeners *listeners);
/* Fill `fds` (capacity `max`), return how many: none while the process has no free descriptors. */
size_t listeners_pollfds(const struct listeners *listeners, struct pollfd *fds, size_t max);
/* Accept from those that poll(2) found readable. The connection is non-blocking and belongs to the callback; `peer` is
 * the numeric address, IPv4 in its own form on an IPv6 socket too. */
typedef void listeners_accepted_fn(void *ctx, int fd, const char *peer);
void listeners_accept(struct listeners *listeners, const struct pollfd *fds, size_t n,
                      listeners_accepted_fn *accepted, void *ctx);
/* A descriptor has been closed: no reason to wait any longer. */
void listeners_resume(struct listeners *listeners);
/* When to poll again although nothing happened, on the monotonic clock; INT64_MAX for never. */
int64_t listeners_deadline_ms(const struct listeners *listeners);

/* Did poll(2) report anything about `fd`? */
bool polled_ready(const struct pollfd *fds, size_t n, int fd);
/* A deadline as poll(2)'s timeout: -1 for INT64_MAX, 0 when it has passed. */
int deadline_timeout_ms(int64_t deadline_ms);

#endif
