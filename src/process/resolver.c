#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/resolver.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/messages.h"

enum { GRACE_MS = 5000, MAX_LINES = 256 };

struct question {
    struct question *next;
    uint32_t id;
    enum dns_kind kind;
    int64_t overdue_ms;
    dns_done_fn *done;
    void *ctx;
};

struct resolver {
    struct role role;
    uint32_t last_id;
    struct question *questions;
};

bool resolver_start(struct resolver **out, struct err *err)
{
    struct role role;
    if (!role_start_resolver(&role, err))
        return false;
    struct resolver *resolver = mem_alloc(sizeof *resolver);
    resolver->role = role;
    *out = resolver;
    return true;
}

void resolver_stop(struct resolver *resolver)
{
    if (resolver == NULL)
        return;
    role_stop(&resolver->role);
    while (resolver->questions != NULL) {
        struct question *first = resolver->questions;
        resolver->questions = first->next;
        free(first);
    }
    free(resolver);
}

int resolver_fd(const struct resolver *resolver)
{
    return resolver->role.fd;
}

/* -- asking --------------------------------------------------------------------------------------------- */

static void encode(const struct dns_question *question, struct msg *msg)
{
    const struct strlist *lines = question->kind == DNS_UPDATE ? NULL : question->resolvers;
    msg->number = question->kind;
    msg->number2 = question->timeout_ms;
    snprintf(msg->name, sizeof msg->name, "%s", question->name != NULL ? question->name : "");
    if (question->kind == DNS_UPDATE) {
        AUTO_FREE char *servers = strlist_join(question->servers, "\n");
        snprintf(msg->text, sizeof msg->text, "%s", servers);
        buf_add(&msg->body, question->packet, question->packet_len);
    } else {
        snprintf(msg->text, sizeof msg->text, "%s", question->value != NULL ? question->value : "");
        for (size_t i = 0; lines != NULL && i < lines->n; i++)
            buf_addf(&msg->body, "%s\n", lines->v[i]);
    }
}

uint32_t resolver_ask(struct resolver *resolver, const struct dns_question *question, dns_done_fn *done,
                      void *ctx)
{
    struct question *entry = mem_alloc(sizeof *entry);
    struct msg msg = MSG_INIT(MSG_DNS_ASK);
    struct err err = ERR_INIT;
    *entry = (struct question){.next = resolver->questions,
                               .id = ++resolver->last_id,
                               .kind = question->kind,
                               .overdue_ms = clock_mono_ms() + question->timeout_ms + GRACE_MS,
                               .done = done,
                               .ctx = ctx};
    resolver->questions = entry;
    msg.id = entry->id;
    encode(question, &msg);
    if (resolver->role.fd < 0 || !msg_send(resolver->role.fd, &msg, &err))
        entry->overdue_ms = 0; /* told by the next call that may tell */
    msg_clear(&msg);
    return entry->id;
}

/* Out of the list; the caller frees it. */
static struct question *take(struct resolver *resolver, uint32_t id)
{
    for (struct question **link = &resolver->questions; *link != NULL; link = &(*link)->next) {
        struct question *found = *link;
        if (found->id != id)
            continue;
        *link = found->next;
        return found;
    }
    return NULL;
}

void resolver_forget(struct resolver *resolver, uint32_t id)
{
    free(take(resolver, id));
}

/* -- answers -------------------------------------------------------------------------------------------- */

static bool parse_caa(const char *line, struct dns_caa *out)
{
    char *end;
    long flags = strtol(line, &end, 10);
    size_t tag_len = *end == ' ' ? strcspn(end + 1, " ") : 0;
    if (end == line || flags < 0 || flags > 255 || tag_len == 0 || tag_len >= sizeof out->tag ||
        end[1 + tag_len] != ' ' || strlen(end + 2 + tag_len) >= sizeof out->value)
        return false;
    out->flags = (int)flags;
    snprintf(out->tag, sizeof out->tag, "%.*s", (int)tag_len, end + 1);
    snprintf(out->value, sizeof out->value, "%s", end + 2 + tag_len);
    return true;
}

static void decode(enum dns_kind kind, const struct msg *msg, struct dns_answer *out)
{
    AUTO_STRLIST lines = STRLIST_INIT;
    strlist_split(&lines, buf_str(&msg->body), "\n");
    out->rcode = (int)msg->number;
    snprintf(out->name, sizeof out->name, "%s", msg->name);
    snprintf(out->zone, sizeof out->zone, "%.*s", (int)sizeof out->zone - 1, msg->text);
    out->caa = mem_array(lines.n + 1, sizeof *out->caa);
    for (size_t i = 0; i < lines.n && i < MAX_LINES; i++) {
        printable(lines.v[i]);
        if (kind == DNS_CAA)
            out->n_caa += parse_caa(lines.v[i], &out->caa[out->n_caa]);
        else
            strlist_add(kind == DNS_WHERE || kind == DNS_ADDRESSES ? &out->servers : &out->values,
                        lines.v[i]);
    }
}

static void answered(struct resolver *resolver, const struct msg *msg)
{
    struct question *question = take(resolver, msg->id);
    if (question == NULL)
        return; /* forgotten, or never asked */
    if (msg->type == MSG_DNS_FAILED) {
        question->done(question->ctx, NULL, &msg->err);
    } else {
        struct dns_answer answer = {0};
        decode(question->kind, msg, &answer);
        question->done(question->ctx, &answer, NULL);
        strlist_clear(&answer.servers);
        strlist_clear(&answer.values);
        free(answer.caa);
    }
    free(question);
}

static void fail_overdue(struct resolver *resolver)
{
    struct err err = ERR_INIT;
    (void)err_set(&err, ERR_CHILD, NEXT_LOCAL_FAULT, NULL, "the process that asks the domain name system %s",
                  resolver->role.fd < 0 ? "died" : "does not answer");
    for (struct question *question = resolver->questions; question != NULL;) {
        if (resolver->role.fd >= 0 && question->overdue_ms > clock_mono_ms()) {
            question = question->next;
            continue;
        }
        struct question *gone = take(resolver, question->id);
        gone->done(gone->ctx, NULL, &err);
        free(gone);
        question = resolver->questions; /* done() may have asked again: begin anew */
    }
}

void resolver_receive(struct resolver *resolver)
{
    while (resolver->role.fd >= 0) {
        struct msg msg = {0};
        struct err err = ERR_INIT;
        int got = msg_receive(resolver->role.fd, MSG_FROM_RESOLVER, &msg, &err);
        if (got < 0) {
            log_debug("%s", err.text);
            role_stop(&resolver->role);
        }
        if (got <= 0)
            break;
        answered(resolver, &msg);
        msg_clear(&msg);
    }
    fail_overdue(resolver);
}

int resolver_timeout_ms(const struct resolver *resolver)
{
    int64_t now_ms = clock_mono_ms(), due_ms = INT64_MAX;
    for (const struct question *q = resolver->questions; q != NULL; q = q->next)
        due_ms = q->overdue_ms < due_ms ? q->overdue_ms : due_ms;
    if (resolver->questions == NULL)
        return -1;
    if (resolver->role.fd < 0 || due_ms <= now_ms)
        return 0;
    return due_ms - now_ms < 60000 ? (int)(due_ms - now_ms) : 60000;
}

void resolver_wait(struct resolver *resolver, int timeout_ms)
{
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    struct err interrupted = ERR_INIT;
    while (resolver->questions != NULL && !signals_interrupted(&interrupted)) {
        int64_t left_ms = deadline_ms - clock_mono_ms();
        int own_ms = resolver_timeout_ms(resolver);
        struct pollfd fds[2] = {{.fd = resolver->role.fd, .events = POLLIN},
                                {.fd = signals_fd(), .events = POLLIN}};
        if (left_ms <= 0)
            return;
        (void)poll(fds, 2, own_ms >= 0 && own_ms < left_ms ? own_ms : (int)left_ms);
        resolver_receive(resolver);
    }
}
