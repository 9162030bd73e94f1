/*
 * The responder's process: challenge/responder.c and challenge/tls_alpn.c on inherited sockets, told tokens
 * by the keeper.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tlsup/compat.h"
#include "tlsup/messages.h"
#include "tlsup/responder.h"
#include "tlsup/roles.h"
#include "tlsup/sandbox.h"
#include "tlsup/tls_alpn.h"

enum { DIGEST_BYTES = 32 };

struct parts {
    struct responder *http; /* NULL: no such sockets */
    struct tls_alpn *tls;
};

static void on_served(void *ctx, const char *token, const char *peer)
{
    const int *fd = ctx;
    struct err err = ERR_INIT;
    struct msg msg = MSG_INIT(MSG_FETCHED);
    snprintf(msg.token, sizeof msg.token, "%s", token);
    snprintf(msg.text, sizeof msg.text, "%s", peer);
    if (!msg_send(*fd, &msg, &err))
        _exit(0);
}

static bool unhex(const char *text, unsigned char out[DIGEST_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    if (strlen(text) != (size_t)2 * DIGEST_BYTES)
        return false;
    for (size_t i = 0; i < DIGEST_BYTES; i++) {
        const char *high = strchr(digits, text[2 * i]), *low = strchr(digits, text[2 * i + 1]);
        if (high == NULL || low == NULL)
            return false;
        out[i] = (unsigned char)((high - digits) << 4 | (low - digits));
    }
    return true;
}

/* The keeper checks tokens and bounds their number: a failure here cannot be answered by silence. */
static void handle(struct parts *parts, const struct msg *msg)
{
    struct err err = ERR_INIT;
    unsigned char digest[DIGEST_BYTES];
    switch (msg->type) {
    case MSG_TOKEN_DROP:
        if (parts->http != NULL)
            responder_remove(parts->http, msg->token);
        if (parts->tls != NULL)
            tls_alpn_remove(parts->tls, msg->token);
        break;
    case MSG_TOKEN_ADD:
        if (parts->http == NULL || !responder_add(parts->http, msg->token, msg->text))
            _exit(1);
        break;
    case MSG_ALPN_ADD:
        if (parts->tls == NULL || !unhex(msg->text, digest) ||
            !tls_alpn_add(parts->tls, msg->name, msg->token, digest, &err))
            _exit(1);
        break;
    default:
        break;
    }
}

static void receive(struct parts *parts, int fd)
{
    for (;;) {
        struct msg msg = {0};
        struct err err = ERR_INIT;
        int got = msg_receive(fd, MSG_FROM_KEEPER, &msg, &err);
        if (got < 0)
            _exit(0); /* the keeper has ended, and so do we */
        if (got == 0)
            return;
        handle(parts, &msg);
        msg_clear(&msg);
    }
}

static int sooner(int a_ms, int b_ms)
{
    if (a_ms < 0 || b_ms < 0)
        return a_ms < 0 ? b_ms : a_ms;
    return a_ms < b_ms ? a_ms : b_ms;
}

static NORETURN void serve(struct parts *parts, int fd)
{
    struct pollfd fds[1 + RESPONDER_MAX_POLLFDS + TLS_ALPN_MAX_POLLFDS];
    for (;;) {
        fds[0] = (struct pollfd){.fd = fd, .events = POLLIN};
        size_t n_http =
            parts->http != NULL ? responder_pollfds(parts->http, fds + 1, RESPONDER_MAX_POLLFDS) : 0;
        size_t n_tls =
            parts->tls != NULL ? tls_alpn_pollfds(parts->tls, fds + 1 + n_http, TLS_ALPN_MAX_POLLFDS) : 0;
        int wait_ms = sooner(parts->http != NULL ? responder_timeout_ms(parts->http) : -1,
                             parts->tls != NULL ? tls_alpn_timeout_ms(parts->tls) : -1);
        if (poll(fds, 1 + n_http + n_tls, wait_ms) < 0)
            continue;
        /* the keeper first: a token is known before the request that asks for it is read */
        if (fds[0].revents != 0)
            receive(parts, fd);
        if (parts->http != NULL)
            responder_handle(parts->http, fds + 1, n_http);
        if (parts->tls != NULL)
            tls_alpn_handle(parts->tls, fds + 1 + n_http, n_tls);
    }
}

void responder_main(int fd, const struct responder_sockets *sockets)
{
    struct err err = ERR_INIT;
    struct parts parts = {0};
    int keep[5] = {fd};
    size_t n = 1;
    for (size_t i = 0; i < sockets->n_http; i++)
        keep[n++] = sockets->http[i];
    for (size_t i = 0; i < sockets->n_tls; i++)
        keep[n++] = sockets->tls[i];
    /* what OpenSSL wants of the file system it gets before the sandbox */
    if (sockets->n_tls > 0 && !tls_alpn_new(sockets->tls, sockets->n_tls, on_served, &fd, &parts.tls, &err))
        _exit(1);
    if (!sandbox_enter(SANDBOX_RESPONDER_USER, keep, n, &err))
        _exit(1);
    if (sockets->n_http > 0)
        parts.http = responder_new(sockets->http, sockets->n_http, on_served, &fd);
    serve(&parts, fd);
}
