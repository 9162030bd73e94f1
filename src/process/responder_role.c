/*
 * The responder's process: challenge/responder.c on inherited sockets, told tokens by the keeper.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tlsup/messages.h"
#include "tlsup/responder.h"
#include "tlsup/roles.h"
#include "tlsup/sandbox.h"

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

static void handle(struct responder *responder, const struct msg *msg)
{
    if (msg->type == MSG_TOKEN_DROP)
        responder_remove(responder, msg->token);
    else if (msg->type == MSG_TOKEN_ADD && !responder_add(responder, msg->token, msg->text))
        _exit(1); /* the keeper checks tokens and bounds their number: this cannot be answered by silence */
}

static void receive(struct responder *responder, int fd)
{
    for (;;) {
        struct msg msg = {0};
        struct err err = ERR_INIT;
        int got = msg_receive(fd, MSG_FROM_KEEPER, &msg, &err);
        if (got < 0)
            _exit(0); /* the keeper has ended, and so do we */
        if (got == 0)
            return;
        handle(responder, &msg);
        msg_clear(&msg);
    }
}

void responder_main(int fd, const int *listeners, size_t n)
{
    struct err err = ERR_INIT;
    struct pollfd fds[RESPONDER_MAX_POLLFDS + 1];
    int keep[3] = {fd};
    for (size_t i = 0; i < n && i < 2; i++)
        keep[i + 1] = listeners[i];
    if (!sandbox_enter(SANDBOX_RESPONDER_USER, keep, n + 1, &err))
        _exit(1);
    struct responder *responder = responder_new(listeners, n, on_served, &fd);
    for (;;) {
        fds[0] = (struct pollfd){.fd = fd, .events = POLLIN};
        size_t n_fds = responder_pollfds(responder, fds + 1, RESPONDER_MAX_POLLFDS);
        if (poll(fds, n_fds + 1, responder_timeout_ms(responder)) < 0)
            continue;
        /* the keeper first: a token is known before the request that asks for it is read */
        if (fds[0].revents != 0)
            receive(responder, fd);
        responder_handle(responder, fds + 1, n_fds);
    }
}
