/*
 * messages.h - what keeper, courier and responder say to each other.
 *
 * One frame a message over a SOCK_SEQPACKET pair: {version, type, id, fields}, at most 64 KiB. A table (messages.c) lists for each type who may send it and
 * which fields it carries; decoding refuses everything else: unknown types, a sender that may not, strings with NUL bytes or over their length, enum values
 * out of range, missing or left-over bytes.
 */
#ifndef TLSUP_MESSAGES_H
#define TLSUP_MESSAGES_H

#include "tlsup/flow.h"

enum msg_type {
    MSG_NONE,
    /* keeper -> courier */
    MSG_CA,            /* url: the directory; body: its cached document, empty = fetch it. First and once. */
    MSG_ACCOUNT,       /* number: the jws_kind, JWS_NEW_ACCOUNT or JWS_FIND_ACCOUNT */
    MSG_ORDER,         /* id: the order; body: names, one a line; url: the order to resume or ""; number: the challenge_type */
    MSG_SIGNED,        /* id: the request; body: the JWS */
    MSG_REFUSED,       /* id: the request; err */
    MSG_PRESENTED,     /* id: the order; number: index */
    MSG_NOT_PRESENTED, /* id: the order; number: index; err */
    MSG_CANCEL,        /* id: the order; err */
    /* courier -> keeper */
    MSG_DIRECTORY,     /* body: the document when it was fetched now, else empty; url: newAccount; text: terms of service or ""; number: external account required */
    MSG_ACCOUNT_IS,    /* url: the account; number: 1 = made now; text: its status */
    MSG_SIGN,          /* id: the request; number: the jws_kind; number2: the order; url; nonce */
    MSG_ORDER_URL,     /* id: the order; url or "" */
    MSG_PRESENT,       /* id: the order; number: index; name; token; number2: the challenge_type */
    MSG_CLEANUP,       /* id: the order; number: index; name; token */
    MSG_PROGRESS,      /* id: the order; number: the flow_state; text */
    MSG_CERTIFICATE,   /* id: the order; body: PEM as sent by the CA */
    MSG_FAILED,        /* id: the order, or 0: the account or the CA as a whole; err */
    /* keeper -> responder */
    MSG_TOKEN_ADD,     /* token; text: the key authorization */
    MSG_TOKEN_DROP,    /* token */
    /* responder -> keeper -> courier */
    MSG_FETCHED,       /* token; text: the peer's address */
    MSG_TYPES,
};

enum msg_role { MSG_FROM_KEEPER = 1, MSG_FROM_COURIER = 2, MSG_FROM_RESPONDER = 4 };

#define MSG_MAX_BYTES 65536
#define MSG_TEXT_BYTES 1024

/* Flat but for the body. Unused fields are zero. */
struct msg {
    enum msg_type type;
    uint32_t id;
    int64_t number;
    int64_t number2;
    char url[URL_MAX_BYTES];
    char nonce[512];
    char name[FLOW_NAME_BYTES];
    char token[TOKEN_MAX_BYTES];
    char text[MSG_TEXT_BYTES];
    struct buf body;
    struct err err;
};
#define MSG_INIT(kind) {.type = (kind)}

void msg_clear(struct msg *msg);
const char *msg_name(enum msg_type type);
/* Append the frame. A message over MSG_MAX_BYTES -> ERR_PROTOCOL. */
MUST_CHECK bool msg_encode(const struct msg *msg, struct buf *out, struct err *err);
/* `from` is who sits at the other end. `out` is cleared first. ERR_CHILD for whatever is not right. */
MUST_CHECK bool msg_decode(const void *data, size_t len, enum msg_role from, struct msg *out, struct err *err);

/* -- over a socket -- */

/* Send, waiting up to 30 s for room. A peer that has gone -> ERR_CHILD. */
MUST_CHECK bool msg_send(int fd, const struct msg *msg, struct err *err);
/* Receive without waiting: 1 = a message, 0 = none there now, -1 = `err` (ERR_CHILD: it ended, or what came is no message). */
int msg_receive(int fd, enum msg_role from, struct msg *out, struct err *err);

/* A queue for a sender that must never block (the courier: the keeper may be waiting for it). */
struct outbox {
    struct buf *frames;
    size_t n;
};
MUST_CHECK bool outbox_add(struct outbox *outbox, const struct msg *msg, struct err *err);
/* Send what fits; true unless the peer has gone. */
bool outbox_flush(struct outbox *outbox, int fd);
void outbox_clear(struct outbox *outbox);

#endif
