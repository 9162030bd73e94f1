/*
 * The resolver's process: challenge/dns.c behind a socket to the keeper.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tlsup/dns.h"
#include "tlsup/mem.h"
#include "tlsup/messages.h"
#include "tlsup/resolver.h"
#include "tlsup/sandbox.h"

static struct outbox outbox;

/* One line for each; what holds a line break cannot be what was asked for. */
static void add_line(struct buf *out, const char *text)
{
    if (strpbrk(text, "\r\n") == NULL)
        buf_addf(out, "%s\n", text);
}

struct asked {
    uint32_t id;
    enum dns_kind kind;
};

static void add_lines(struct buf *out, const struct strlist *lines)
{
    for (size_t i = 0; i < lines->n; i++)
        add_line(out, lines->v[i]);
}

/* Each kind has one list that it is asked for. */
static void encode(enum dns_kind kind, const struct dns_answer *answer, struct msg *msg)
{
    msg->number = answer->rcode;
    snprintf(msg->name, sizeof msg->name, "%s", answer->name);
    snprintf(msg->text, sizeof msg->text, "%s", answer->zone);
    if (kind == DNS_WHERE || kind == DNS_ADDRESSES)
        add_lines(&msg->body, &answer->servers);
    else if (kind == DNS_TXT)
        add_lines(&msg->body, &answer->values);
    for (size_t i = 0; kind == DNS_CAA && i < answer->n_caa; i++) {
        AUTO_FREE char *line =
            mem_fmt("%d %s %s", answer->caa[i].flags,
                    answer->caa[i].tag[0] != '\0' ? answer->caa[i].tag : "-", answer->caa[i].value);
        for (char *at = line; (at = strpbrk(at, "\r\n")) != NULL;)
            *at = '?'; /* what cannot be read forbids: it must not get lost */
        add_line(&msg->body, line);
    }
}

static void on_done(void *ctx, const struct dns_answer *answer, const struct err *failure)
{
    struct asked *asked = ctx;
    struct err err = ERR_INIT;
    struct msg msg = {.type = answer != NULL ? MSG_DNS_ANSWER : MSG_DNS_FAILED, .id = asked->id};
    if (answer != NULL)
        encode(asked->kind, answer, &msg);
    else
        msg.err = *failure;
    free(asked);
    if (!outbox_add(&outbox, &msg, &err)) { /* too large for a frame: the reason instead */
        struct msg failed = {.type = MSG_DNS_FAILED, .id = msg.id, .err = err};
        err_clear(&err);
        if (!outbox_add(&outbox, &failed, &err))
            _exit(1);
    }
    msg_clear(&msg);
}

static void handle(struct dns *dns, const struct msg *msg)
{
    AUTO_STRLIST lines = STRLIST_INIT;
    bool update = msg->number == DNS_UPDATE;
    struct dns_question question = {
        .kind = (enum dns_kind)msg->number, .name = msg->name, .timeout_ms = msg->number2};
    if (msg->type != MSG_DNS_ASK || msg->number < 0 || msg->number >= DNS_KINDS)
        return;
    strlist_split(&lines, update ? msg->text : buf_str(&msg->body), "\n");
    if (update) {
        question.servers = &lines;
        question.packet = msg->body.data;
        question.packet_len = msg->body.len;
    } else {
        question.resolvers = &lines;
        question.value = msg->text;
    }
    struct asked *asked = mem_alloc(sizeof *asked);
    *asked = (struct asked){msg->id, question.kind};
    dns_ask(dns, &question, on_done, asked);
}

static void receive(struct dns *dns, int fd)
{
    for (;;) {
        struct msg msg = {0};
        struct err err = ERR_INIT;
        int got = msg_receive(fd, MSG_FROM_KEEPER, &msg, &err);
        if (got < 0)
            _exit(0); /* the keeper has ended, and so do we */
        if (got == 0)
            return;
        handle(dns, &msg);
        msg_clear(&msg);
    }
}

void resolver_main(int fd)
{
    struct err err = ERR_INIT;
    struct pollfd fds[DNS_MAX_POLLFDS + 1];
    struct dns *dns = dns_new(); /* reads files: before the sandbox */
    if (!sandbox_enter(SANDBOX_RESOLVER_USER, &fd, 1, &err))
        _exit(1);
    for (;;) {
        if (!outbox_flush(&outbox, fd))
            _exit(0);
        fds[0] = (struct pollfd){.fd = fd, .events = (short)(POLLIN | (outbox.n > 0 ? POLLOUT : 0))};
        size_t n = dns_pollfds(dns, fds + 1, DNS_MAX_POLLFDS);
        if (poll(fds, n + 1, dns_timeout_ms(dns)) < 0)
            continue;
        if ((fds[0].revents & ~POLLOUT) != 0)
            receive(dns, fd);
        dns_handle(dns, fds + 1, n);
    }
}
