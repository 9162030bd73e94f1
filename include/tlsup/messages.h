/*
 * messages.h - what keeper, courier, responder, resolver and notifier say to each other.
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
    MSG_CALL,          /* id: the call; number: a jws_kind that is about an account or a certificate; url: the account, "" where the kind needs none */
    MSG_ORDER,         /* id: the order; body: names, one a line; url: the order to resume or ""; number: challenge types, four bits each, the preferred one lowest; number2: ORDER_ flags */
    MSG_ARI,           /* id: any; text: the certificate's ARI id */
    MSG_EAB_FETCH,     /* url: where external account credentials are given for an address; text: the address */
    MSG_SIGNED,        /* id: the request; body: the JWS */
    MSG_REFUSED,       /* id: the request; err */
    MSG_PRESENTED,     /* id: the order; number: index */
    MSG_NOT_PRESENTED, /* id: the order; number: index; err */
    MSG_CANCEL,        /* id: the order; err */
    /* courier -> keeper */
    MSG_CA_HAS,        /* body: what the directory says, "word value" lines: profile, caa, hash-prefix, website, and key-change, revoke, renewal-info where it has them. Before: */
    MSG_DIRECTORY,     /* body: the document when it was fetched now, else empty; url: newAccount; text: terms of service or ""; number: external account required */
    MSG_CALLED,        /* id: the call, which the CA has granted; number: the HTTP status; url: Location or ""; text: the "status" member of the answer or "" */
    MSG_CALL_FAILED,   /* id: the call; err; url: Location or "" (a key change answered 409) */
    MSG_SIGN,          /* id: the request; number: the jws_kind; number2: the order; url; nonce */
    MSG_ORDER_URL,     /* id: the order; url or "" */
    MSG_PRESENT,       /* id: the order; number: index; name; token; number2: the challenge_type; text: for dns-persist-01, "DRAFT\nISSUERS\nACCOUNT-URI" */
    MSG_CLEANUP,       /* id: the order; number: index; number2: 1 = it failed */
    MSG_NAME_FAILED,   /* id: the order; name: because of which it is given up; err: why. Before MSG_FAILED */
    MSG_PROGRESS,      /* id: the order; number: the flow_state; text */
    MSG_CERTIFICATE,   /* id: the order; number: which of its chains, from 0; number2: how many there are; body: PEM as sent by the CA */
    MSG_ARI_IS,        /* id; number: start; number2: end of the window; url: explanation or ""; text: Retry-After in seconds, -1 = none */
    MSG_ARI_FAILED,    /* id; number: 1 = for a while only; err */
    MSG_EAB_IS,        /* text: the key's id; token: the HMAC key, base64url */
    MSG_CLOCK,         /* number: seconds by which this machine's clock is ahead of the CA's, negative: behind. Once, with the first answer that tells */
    MSG_FAILED,        /* id: the order, or 0: the account or the CA as a whole; err */
    /* keeper -> responder */
    MSG_TOKEN_ADD,     /* token; text: the key authorization */
    MSG_TOKEN_DROP,    /* token: of either challenge */
    MSG_ALPN_ADD,      /* token; name; text: SHA-256 of the key authorization, hex */
    /* responder -> keeper -> courier */
    MSG_FETCHED,       /* token; text: the peer's address */
    /* keeper -> resolver */
    MSG_DNS_ASK,       /* id: the question; number: dns_kind; number2: milliseconds in all; name; text: the TXT value, or for DNS_UPDATE the server; body: recursive servers, one a line, or for DNS_UPDATE the packet */
    /* resolver -> keeper */
    MSG_DNS_ANSWER,    /* id; number: rcode; name; text: the zone; body: servers, values or CAA records ("FLAGS TAG VALUE"), one a line */
    MSG_DNS_FAILED,    /* id; err */
    /* keeper -> notifier */
    MSG_NOTICE_PART,   /* number: a notice_part; body: it, or a piece of it */
    MSG_NOTICE_GO,     /* id: the job; number: a notifier_kind; number2: 1 = it leads to this machine itself. The parts that came before belong to it */
    /* notifier -> keeper */
    MSG_NOTICE_SENT,   /* id: the job */
    MSG_NOTICE_FAILED, /* id: the job; err */
    MSG_TYPES,
};

enum msg_role { MSG_FROM_KEEPER = 1, MSG_FROM_COURIER = 2, MSG_FROM_RESPONDER = 4, MSG_FROM_RESOLVER = 8, MSG_FROM_NOTIFIER = 16 };

/* Of a job for the notifier; headers and pieces of the body may come several times. */
enum notice_part { NOTICE_PART_URL, NOTICE_PART_LOGIN, NOTICE_PART_FROM, NOTICE_PART_TO, NOTICE_PART_HEADER, NOTICE_PART_BODY, NOTICE_PARTS };

/* MSG_ORDER's flags */
#define ORDER_HAS_REPLACES 1
#define ORDER_MAY_DROP_PROFILE 2
#define ORDER_ALL_CHAINS 4

#define MSG_MAX_BYTES 65536
#define MSG_TEXT_BYTES 2048

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
