#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "listeners.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tlsup/clock.h"
#include "tlsup/compat.h"
#include "tlsup/log.h"

#define ACCEPT_PAUSE_MS 100
#define ACCEPTS_PER_CALL 128 /* a flood must not keep us from those already here */

void listeners_init(struct listeners *listeners, const char *owner, const int *fds, size_t n)
{
    *listeners = (struct listeners){.owner = owner};
    for (size_t i = 0; i < n; i++) {
        if (i >= LISTENERS_MAX) {
            close(fds[i]);
            continue;
        }
        int flags = fcntl(fds[i], F_GETFL);
        if (flags >= 0 && (flags & O_NONBLOCK) == 0)
            (void)fcntl(fds[i], F_SETFL, flags | O_NONBLOCK);
        listeners->fds[listeners->n++] = fds[i];
    }
}

void listeners_clear(struct listeners *listeners)
{
    for (size_t i = 0; i < listeners->n; i++)
        if (listeners->fds[i] >= 0)
            close(listeners->fds[i]);
    listeners->n = 0;
}

static bool accepting(const struct listeners *listeners)
{
    return listeners->accept_after_ms == 0 || clock_mono_ms() >= listeners->accept_after_ms;
}

size_t listeners_pollfds(const struct listeners *listeners, struct pollfd *fds, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < listeners->n && n < max && accepting(listeners); i++)
        if (listeners->fds[i] >= 0)
            fds[n++] = (struct pollfd){.fd = listeners->fds[i], .events = POLLIN};
    return n;
}

void listeners_resume(struct listeners *listeners)
{
    listeners->accept_after_ms = 0;
}

int64_t listeners_deadline_ms(const struct listeners *listeners)
{
    return listeners->accept_after_ms > 0 ? listeners->accept_after_ms : INT64_MAX;
}

bool polled_ready(const struct pollfd *fds, size_t n, int fd)
{
    for (size_t i = 0; i < n; i++)
        if (fds[i].fd == fd)
            return fds[i].revents != 0;
    return false;
}

int deadline_timeout_ms(int64_t deadline_ms)
{
    if (deadline_ms == INT64_MAX)
        return -1;
    int64_t left = deadline_ms - clock_mono_ms();
    if (left <= 0)
        return 0;
    return left > INT_MAX ? INT_MAX : (int)left;
}

/* -- accepting ------------------------------------------------------------------------------------------- */

static void format_peer(const struct sockaddr_storage *from, char out[LISTENERS_PEER_BYTES])
{
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
    const void *address = NULL;
    int family = from->ss_family;
    if (family == AF_INET)
        address = &((const struct sockaddr_in *)from)->sin_addr;
    else if (family == AF_INET6)
        address = &v6->sin6_addr;
    if (family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        family = AF_INET;
        address = &v6->sin6_addr.s6_addr[12];
    }
    if (address == NULL || inet_ntop(family, address, out, LISTENERS_PEER_BYTES) == NULL)
        snprintf(out, LISTENERS_PEER_BYTES, "unknown");
}

/* What a failed accept(2) means for the listener. */
enum accept_failure { ACCEPT_AGAIN, ACCEPT_DRAINED, ACCEPT_PAUSE, ACCEPT_BROKEN };

static enum accept_failure classify_accept(int errnum)
{
    static const struct {
        int errnum;
        enum accept_failure failure;
    } rows[] = {
        {EINTR, ACCEPT_AGAIN},       {ECONNABORTED, ACCEPT_AGAIN},  {EPERM, ACCEPT_AGAIN},
        {EPROTO, ACCEPT_AGAIN},      {ENOPROTOOPT, ACCEPT_AGAIN},   {ENETDOWN, ACCEPT_AGAIN},
        {ENETUNREACH, ACCEPT_AGAIN}, {EHOSTDOWN, ACCEPT_AGAIN},     {EHOSTUNREACH, ACCEPT_AGAIN},
        {EAGAIN, ACCEPT_DRAINED},    {EWOULDBLOCK, ACCEPT_DRAINED}, {EBADF, ACCEPT_BROKEN},
        {EINVAL, ACCEPT_BROKEN},     {ENOTSOCK, ACCEPT_BROKEN},     {EOPNOTSUPP, ACCEPT_BROKEN},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (rows[i].errnum == errnum)
            return rows[i].failure;
    /* EMFILE, ENFILE, ENOBUFS, ENOMEM and the unknown: poll would return at once for ever */
    return ACCEPT_PAUSE;
}

static void drop_listener(struct listeners *listeners, size_t index, int errnum)
{
    log_error("%s: a listening socket failed: %s", listeners->owner, strerror(errnum));
    if (errnum != EBADF)
        close(listeners->fds[index]);
    listeners->fds[index] = -1;
}

static void accept_some(struct listeners *listeners, size_t index, listeners_accepted_fn *accepted, void *ctx)
{
    for (int i = 0; i < ACCEPTS_PER_CALL; i++) {
        struct sockaddr_storage from = {0};
        socklen_t len = sizeof from;
        int fd = accept4(listeners->fds[index], (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            char peer[LISTENERS_PEER_BYTES];
            format_peer(&from, peer);
            accepted(ctx, fd, peer);
            continue;
        }
        switch (classify_accept(errno)) {
        case ACCEPT_AGAIN:
            continue;
        case ACCEPT_DRAINED:
            return;
        case ACCEPT_PAUSE:
            log_debug("%s: accept: %s", listeners->owner, strerror(errno));
            listeners->accept_after_ms = clock_mono_ms() + ACCEPT_PAUSE_MS;
            return;
        case ACCEPT_BROKEN:
            drop_listener(listeners, index, errno);
            return;
        }
    }
}

void listeners_accept(struct listeners *listeners, const struct pollfd *fds, size_t n,
                      listeners_accepted_fn *accepted, void *ctx)
{
    if (!accepting(listeners))
        return;
    listeners->accept_after_ms = 0;
    for (size_t i = 0; i < listeners->n; i++)
        if (listeners->fds[i] >= 0 && polled_ready(fds, n, listeners->fds[i]))
            accept_some(listeners, i, accepted, ctx);
}
