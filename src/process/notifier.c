/*
 * The keeper's end of the notifier: one job at a time.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/notifier.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/messages.h"
#include "tlsup/roles.h"

enum {
    PIECE_BYTES = 32 * 1024,
    TICK_MS = 100,
    GRACE_MS = 10 * 1000,
    TIMEOUT_MS = 30 * 1000,
    PAUSE_MS = 1000,
    TRIES = 2
};

struct notifier {
    struct role role;
    struct role reserve; /* when the first has died there are keys in memory, and no other can be forked */
    int64_t patience_ms; /* its own deadlines come first; this one is for a child that hangs */
    uint32_t jobs;
};

bool notifier_start(const struct notifier_options *options, struct notifier **out, struct err *err)
{
    struct notifier_options full = *options;
    struct role role = ROLE_INIT, reserve = ROLE_INIT;
    full.timeout_ms = full.timeout_ms > 0 ? full.timeout_ms : TIMEOUT_MS;
    full.pause_ms = full.pause_ms > 0 ? full.pause_ms : PAUSE_MS;
    if (!role_start_notifier(&full, &role, err))
        return false;
    if (!role_start_notifier(&full, &reserve, err)) {
        role_stop(&role);
        return false;
    }
    struct notifier *notifier = mem_alloc(sizeof *notifier);
    notifier->role = role;
    notifier->reserve = reserve;
    notifier->patience_ms = (int64_t)full.timeout_ms * TRIES + full.pause_ms + GRACE_MS;
    *out = notifier;
    return true;
}

void notifier_stop(struct notifier *notifier)
{
    if (notifier == NULL)
        return;
    role_stop(&notifier->role);
    role_stop(&notifier->reserve);
    free(notifier);
}

static bool send_piece(struct notifier *notifier, enum notice_part part, const char *data, size_t len,
                       struct err *err)
{
    struct msg msg = MSG_INIT(MSG_NOTICE_PART);
    msg.number = part;
    msg.body.secret = true;
    buf_add(&msg.body, data, len);
    bool ok = msg_send(notifier->role.fd, &msg, err);
    msg_clear(&msg);
    return ok;
}

static bool send_text(struct notifier *notifier, enum notice_part part, const char *text, struct err *err)
{
    return text == NULL || send_piece(notifier, part, text, strlen(text), err);
}

static bool send_body(struct notifier *notifier, const struct notifier_job *job, struct err *err)
{
    bool ok = true;
    for (size_t at = 0; ok && at < job->body_len; at += PIECE_BYTES) {
        size_t left = job->body_len - at;
        ok = send_piece(notifier, NOTICE_PART_BODY, job->body + at, left < PIECE_BYTES ? left : PIECE_BYTES,
                        err);
    }
    return ok;
}

static bool send_job(struct notifier *notifier, const struct notifier_job *job, struct err *err)
{
    struct msg go = MSG_INIT(MSG_NOTICE_GO);
    bool ok = send_text(notifier, NOTICE_PART_URL, job->url, err) &&
              send_text(notifier, NOTICE_PART_LOGIN, job->login, err) &&
              send_text(notifier, NOTICE_PART_FROM, job->from, err) &&
              send_text(notifier, NOTICE_PART_TO, job->to, err);
    for (size_t i = 0; ok && job->headers != NULL && i < job->headers->n; i++)
        ok = send_text(notifier, NOTICE_PART_HEADER, job->headers->v[i], err);
    go.id = ++notifier->jobs;
    go.number = job->kind;
    go.number2 = job->loopback;
    return ok && send_body(notifier, job, err) && msg_send(notifier->role.fd, &go, err);
}

/* What it may still say belongs to no question. */
static void retire(struct notifier *notifier)
{
    role_stop(&notifier->role);
    notifier->role = notifier->reserve;
    notifier->reserve = (struct role)ROLE_INIT;
}

/* Its answer to the last job: 1 = sent, 0 = not, -1 = none came. */
static int hear(struct notifier *notifier, notifier_tick_fn *tick, void *ctx, struct err *err)
{
    int64_t deadline_ms = clock_mono_ms() + notifier->patience_ms;
    while (clock_mono_ms() < deadline_ms) {
        struct pollfd pfd = {.fd = notifier->role.fd, .events = POLLIN};
        struct msg msg = {0};
        (void)poll(&pfd, 1, TICK_MS);
        if (tick != NULL)
            tick(ctx);
        int got = msg_receive(notifier->role.fd, MSG_FROM_NOTIFIER, &msg, err);
        if (got == 0)
            continue;
        bool about_it = got > 0 && msg.id == notifier->jobs, sent = msg.type == MSG_NOTICE_SENT;
        if (about_it && !sent)
            *err = msg.err;
        msg_clear(&msg);
        if (about_it)
            return sent ? 1 : 0;
        break;
    }
    return -1;
}

/* A job that it could not take is not to blame for its death, and the other one takes it. One that it died
 * of, or hangs at, is not given to the other. */
static bool hand_over(struct notifier *notifier, const struct notifier_job *job)
{
    while (notifier->role.fd >= 0) {
        struct err why = ERR_INIT;
        if (send_job(notifier, job, &why))
            return true;
        log_info("the process that sends notifications has ended: %s", why.text);
        retire(notifier);
    }
    return false;
}

bool notifier_carry_out(struct notifier *notifier, const struct notifier_job *job, notifier_tick_fn *tick,
                        void *ctx, struct err *err)
{
    struct err fault = ERR_INIT;
    if (job->body_len > NOTIFIER_BODY_BYTES)
        return err_set(err, ERR_INTERNAL, NEXT_LOCAL_FAULT, NULL, "a notification is too long");
    if (hand_over(notifier, job)) {
        int answer = hear(notifier, tick, ctx, &fault);
        if (answer == 0)
            *err = fault;
        if (answer >= 0)
            return answer == 1;
    }
    if (notifier->role.fd >= 0)
        retire(notifier);
    err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, NULL,
            "the process that sends notifications ended unexpectedly, or hangs");
    return err_advise(err, "try it by hand: tlsup notify --debug");
}
