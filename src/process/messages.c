#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/messages.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tlsup/clock.h"
#include "tlsup/mem.h"

enum { FRAME_VERSION = 1, HEADER_BYTES = 8, SEND_TIMEOUT_MS = 30000, MAX_WAIT_S = 366 * 86400 };

enum field { F_END, F_NUMBER, F_NUMBER2, F_URL, F_NONCE, F_NAME, F_TOKEN, F_TEXT, F_BODY, F_ERR };

enum { MAX_FIELDS = 6 };

static const struct {
    const char *name;
    unsigned from;
    enum field fields[MAX_FIELDS];
} table[MSG_TYPES] = {
    [MSG_CA] = {"ca", MSG_FROM_KEEPER, {F_URL, F_BODY}},
    [MSG_CALL] = {"call", MSG_FROM_KEEPER, {F_NUMBER, F_URL}},
    [MSG_ORDER] = {"order", MSG_FROM_KEEPER, {F_BODY, F_URL, F_NUMBER, F_NUMBER2}},
    [MSG_ARI] = {"renewal information", MSG_FROM_KEEPER, {F_TEXT}},
    [MSG_EAB_FETCH] = {"credentials fetch", MSG_FROM_KEEPER, {F_URL, F_TEXT}},
    [MSG_SIGNED] = {"signed", MSG_FROM_KEEPER, {F_BODY}},
    [MSG_REFUSED] = {"refused", MSG_FROM_KEEPER, {F_ERR}},
    [MSG_PRESENTED] = {"presented", MSG_FROM_KEEPER, {F_NUMBER}},
    [MSG_NOT_PRESENTED] = {"not presented", MSG_FROM_KEEPER, {F_NUMBER, F_ERR}},
    [MSG_CANCEL] = {"cancel", MSG_FROM_KEEPER, {F_ERR}},
    [MSG_CA_HAS] = {"ca has", MSG_FROM_COURIER, {F_BODY}},
    [MSG_DIRECTORY] = {"directory", MSG_FROM_COURIER, {F_BODY, F_URL, F_TEXT, F_NUMBER}},
    [MSG_CALLED] = {"called", MSG_FROM_COURIER, {F_NUMBER, F_URL, F_TEXT}},
    [MSG_CALL_FAILED] = {"call failed", MSG_FROM_COURIER, {F_ERR, F_URL}},
    [MSG_SIGN] = {"sign", MSG_FROM_COURIER, {F_NUMBER, F_NUMBER2, F_URL, F_NONCE}},
    [MSG_ORDER_URL] = {"order url", MSG_FROM_COURIER, {F_URL}},
    [MSG_PRESENT] = {"present", MSG_FROM_COURIER, {F_NUMBER, F_NAME, F_TOKEN, F_NUMBER2, F_TEXT}},
    [MSG_CLEANUP] = {"clean up", MSG_FROM_COURIER, {F_NUMBER, F_NUMBER2}},
    [MSG_NAME_FAILED] = {"name failed", MSG_FROM_COURIER, {F_NAME, F_ERR}},
    [MSG_PROGRESS] = {"progress", MSG_FROM_COURIER, {F_NUMBER, F_TEXT}},
    [MSG_CERTIFICATE] = {"certificate", MSG_FROM_COURIER, {F_NUMBER, F_NUMBER2, F_BODY}},
    [MSG_ARI_IS] = {"renewal information is", MSG_FROM_COURIER, {F_NUMBER, F_NUMBER2, F_URL, F_TEXT}},
    [MSG_ARI_FAILED] = {"renewal information failed", MSG_FROM_COURIER, {F_NUMBER, F_ERR}},
    [MSG_EAB_IS] = {"credentials are", MSG_FROM_COURIER, {F_TEXT, F_TOKEN}},
    [MSG_CLOCK] = {"clock", MSG_FROM_COURIER, {F_NUMBER}},
    [MSG_FAILED] = {"failed", MSG_FROM_COURIER, {F_ERR}},
    [MSG_TOKEN_ADD] = {"token add", MSG_FROM_KEEPER, {F_TOKEN, F_TEXT}},
    [MSG_TOKEN_DROP] = {"token drop", MSG_FROM_KEEPER, {F_TOKEN}},
    [MSG_ALPN_ADD] = {"alpn add", MSG_FROM_KEEPER, {F_TOKEN, F_NAME, F_TEXT}},
    [MSG_FETCHED] = {"fetched", MSG_FROM_RESPONDER | MSG_FROM_KEEPER, {F_TOKEN, F_TEXT}},
    [MSG_DNS_ASK] = {"dns ask", MSG_FROM_KEEPER, {F_NUMBER, F_NUMBER2, F_NAME, F_TEXT, F_BODY}},
    [MSG_DNS_ANSWER] = {"dns answer", MSG_FROM_RESOLVER, {F_NUMBER, F_NAME, F_TEXT, F_BODY}},
    [MSG_DNS_FAILED] = {"dns failed", MSG_FROM_RESOLVER, {F_ERR}},
    [MSG_NOTICE_PART] = {"notice part", MSG_FROM_KEEPER, {F_NUMBER, F_BODY}},
    [MSG_NOTICE_GO] = {"notice go", MSG_FROM_KEEPER, {F_NUMBER, F_NUMBER2}},
    [MSG_NOTICE_SENT] = {"notice sent", MSG_FROM_NOTIFIER, {F_END}},
    [MSG_NOTICE_FAILED] = {"notice failed", MSG_FROM_NOTIFIER, {F_ERR}},
};

const char *msg_name(enum msg_type type)
{
    return (unsigned)type < MSG_TYPES && table[type].name != NULL ? table[type].name : "unknown";
}

void msg_clear(struct msg *msg)
{
    buf_clear(&msg->body);
    memset(msg, 0, sizeof *msg);
}

/* -- encoding: big-endian integers, strings and bytes with a 32-bit length ------------------------------ */

static void put(struct buf *out, uint64_t value, int bytes)
{
    for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8)
        buf_addc(out, (char)(unsigned char)(value >> shift));
}

static void put_bytes(struct buf *out, const void *data, size_t len)
{
    put(out, len, 4);
    buf_add(out, data, len);
}

static void put_text(struct buf *out, const char *text)
{
    put_bytes(out, text, strlen(text));
}

static void put_err(struct buf *out, const struct err *err)
{
    put(out, err->code, 2);
    put(out, err->next, 2);
    put(out, (uint64_t)err->wait_s, 8);
    put_text(out, err->type);
    put_text(out, err->subject);
    put_text(out, err->text);
    put_text(out, err->advice);
}

static void put_field(struct buf *out, const struct msg *msg, enum field field)
{
    switch (field) {
    case F_NUMBER:
        put(out, (uint64_t)msg->number, 8);
        break;
    case F_NUMBER2:
        put(out, (uint64_t)msg->number2, 8);
        break;
    case F_URL:
        put_text(out, msg->url);
        break;
    case F_NONCE:
        put_text(out, msg->nonce);
        break;
    case F_NAME:
        put_text(out, msg->name);
        break;
    case F_TOKEN:
        put_text(out, msg->token);
        break;
    case F_TEXT:
        put_text(out, msg->text);
        break;
    case F_BODY:
        put_bytes(out, msg->body.data, msg->body.len);
        break;
    case F_ERR:
        put_err(out, &msg->err);
        break;
    case F_END:
        break;
    }
}

bool msg_encode(const struct msg *msg, struct buf *out, struct err *err)
{
    put(out, FRAME_VERSION, 2);
    put(out, msg->type, 2);
    put(out, msg->id, 4);
    for (size_t i = 0; i < MAX_FIELDS; i++)
        put_field(out, msg, table[msg->type].fields[i]);
    if (out->len > MSG_MAX_BYTES)
        return err_set(err, ERR_PROTOCOL, NEXT_RETRY_LATER, NULL,
                       "the CA's answer does not fit between our processes (%zu bytes)", out->len);
    return true;
}

/* -- decoding: a reader whose failure sticks ------------------------------------------------------------ */

struct reader {
    const unsigned char *at;
    size_t left;
    bool bad;
};

static uint64_t get(struct reader *in, size_t bytes)
{
    uint64_t value = 0;
    if (in->bad || in->left < bytes) {
        in->bad = true;
        return 0;
    }
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | in->at[i];
    in->at += bytes;
    in->left -= bytes;
    return value;
}

static const char *get_bytes(struct reader *in, size_t *len)
{
    *len = (size_t)get(in, 4);
    if (in->bad || *len > in->left) {
        in->bad = true;
        *len = 0;
        return NULL;
    }
    const char *data = (const char *)in->at;
    in->at += *len;
    in->left -= *len;
    return data;
}

static void get_text(struct reader *in, char *out, size_t size)
{
    size_t len;
    const char *data = get_bytes(in, &len);
    if (in->bad || len >= size || memchr(data, '\0', len) != NULL) {
        in->bad = true;
        return;
    }
    memcpy(out, data, len);
    out[len] = '\0';
}

static void get_err(struct reader *in, struct err *out)
{
    uint64_t code = get(in, 2), next = get(in, 2);
    in->bad |= code == ERR_NONE || code > ERR_INTERNAL || next > NEXT_LOCAL_FAULT;
    out->code = (enum err_code)code;
    out->next = (enum err_next)next;
    out->wait_s = (int64_t)get(in, 8);
    in->bad |= out->wait_s < 0 || out->wait_s > MAX_WAIT_S; /* it is added to the time of day */
    get_text(in, out->type, sizeof out->type);
    get_text(in, out->subject, sizeof out->subject);
    get_text(in, out->text, sizeof out->text);
    get_text(in, out->advice, sizeof out->advice);
    printable(out->type);
    printable(out->subject);
    printable(out->text);
    printable(out->advice);
}

static void get_field(struct reader *in, struct msg *msg, enum field field)
{
    size_t len;
    const char *data;
    switch (field) {
    case F_NUMBER:
        msg->number = (int64_t)get(in, 8);
        break;
    case F_NUMBER2:
        msg->number2 = (int64_t)get(in, 8);
        break;
    case F_URL:
        get_text(in, msg->url, sizeof msg->url);
        break;
    case F_NONCE:
        get_text(in, msg->nonce, sizeof msg->nonce);
        break;
    case F_NAME:
        get_text(in, msg->name, sizeof msg->name);
        break;
    case F_TOKEN:
        get_text(in, msg->token, sizeof msg->token);
        break;
    case F_TEXT:
        get_text(in, msg->text, sizeof msg->text);
        printable(msg->text);
        break;
    case F_BODY:
        data = get_bytes(in, &len);
        buf_add(&msg->body, data, len);
        break;
    case F_ERR:
        get_err(in, &msg->err);
        break;
    case F_END:
        break;
    }
}

bool msg_decode(const void *data, size_t len, enum msg_role from, struct msg *out, struct err *err)
{
    struct reader in = {.at = data, .left = len};
    msg_clear(out);
    uint64_t version = get(&in, 2), type = get(&in, 2);
    out->id = (uint32_t)get(&in, 4);
    if (in.bad || len > MSG_MAX_BYTES || version != FRAME_VERSION || type >= MSG_TYPES ||
        (table[type].from & (unsigned)from) == 0)
        return err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, NULL,
                       "one of our own processes said something that it may not say (type %llu)",
                       (unsigned long long)type);
    out->type = (enum msg_type)type;
    for (size_t i = 0; i < MAX_FIELDS; i++)
        get_field(&in, out, table[type].fields[i]);
    if (in.bad || in.left > 0) {
        msg_clear(out);
        return err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, NULL,
                       "one of our own processes sent a malformed message (%s)", table[type].name);
    }
    return true;
}

/* -- sockets -------------------------------------------------------------------------------------------- */

static bool gone(struct err *err)
{
    err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, NULL, "one of our own processes ended unexpectedly");
    return err_advise(
        err, "run the same command again; with --debug if it happens twice, and report what that prints");
}

/* 1 = sent, 0 = no room now, -1 = the peer has gone. */
static int send_frame(int fd, const struct buf *frame)
{
    for (;;) {
        ssize_t n = send(fd, frame->data, frame->len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n == (ssize_t)frame->len)
            return 1;
        if (n < 0 && errno == EINTR)
            continue;
        return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) ? 0 : -1;
    }
}

bool msg_send(int fd, const struct msg *msg, struct err *err)
{
    AUTO_BUF frame = BUF_INIT;
    int64_t deadline_ms = clock_mono_ms() + SEND_TIMEOUT_MS;
    if (!msg_encode(msg, &frame, err))
        return false;
    for (;;) {
        int sent = send_frame(fd, &frame);
        if (sent > 0)
            return true;
        if (sent < 0)
            return gone(err);
        if (clock_mono_ms() >= deadline_ms)
            return err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, NULL,
                           "one of our own processes no longer listens");
        struct pollfd pfd = {.fd = fd, .events = POLLOUT};
        (void)poll(&pfd, 1, 1000);
    }
}

int msg_receive(int fd, enum msg_role from, struct msg *out, struct err *err)
{
    static char frame[MSG_MAX_BYTES + 1]; /* one more: a longer frame shows as one */
    ssize_t n;
    do
        n = recv(fd, frame, sizeof frame, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (n <= 0) {
        (void)gone(err);
        return -1;
    }
    return msg_decode(frame, (size_t)n, from, out, err) ? 1 : -1;
}

bool outbox_add(struct outbox *outbox, const struct msg *msg, struct err *err)
{
    struct buf frame = BUF_INIT;
    if (!msg_encode(msg, &frame, err)) {
        buf_clear(&frame);
        return false;
    }
    outbox->frames = mem_resize(outbox->frames, outbox->n + 1, sizeof *outbox->frames);
    outbox->frames[outbox->n++] = frame;
    return true;
}

bool outbox_flush(struct outbox *outbox, int fd)
{
    size_t sent = 0;
    int result = 1;
    while (sent < outbox->n && (result = send_frame(fd, &outbox->frames[sent])) > 0)
        buf_clear(&outbox->frames[sent++]);
    if (sent > 0) {
        memmove(outbox->frames, outbox->frames + sent, (outbox->n - sent) * sizeof *outbox->frames);
        outbox->n -= sent;
    }
    return result >= 0;
}

void outbox_clear(struct outbox *outbox)
{
    for (size_t i = 0; i < outbox->n; i++)
        buf_clear(&outbox->frames[i]);
    free(outbox->frames);
    *outbox = (struct outbox){0};
}
