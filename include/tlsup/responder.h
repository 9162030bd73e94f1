/*
 * responder.h - the challenge responder: http-01 answers on listening sockets that it is given (RFC 8555 section 8.3).
 *
 * It knows tokens and key authorizations, nothing else. It has no threads and never blocks: the owner polls its
 * descriptors. Limits: 64 connections (the oldest idle one is dropped for a new one), 4 KiB of request head, 10 s from
 * accept to the end of the request head, 10 s to take the answer, 2 s to close after it; one request a connection
 * (Connection: close). GET and HEAD of /.well-known/acme-challenge/TOKEN (query ignored; absolute-form request targets
 * accepted; nothing is percent-decoded) answer 200 with the key authorization as application/octet-stream; everything
 * else 404 (other methods 405, too large 431, malformed 400). The Host header is not looked at: a CA validates IP
 * addresses too.
 *
 * System calls, for a sandbox around it: after responder_new() no others than accept4, recvfrom, sendto, shutdown,
 * close, clock_gettime, write (the log) and what malloc needs; responder_new() adds fcntl(F_GETFL, F_SETFL).
 */
#ifndef TLSUP_RESPONDER_H
#define TLSUP_RESPONDER_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"

struct responder; /* heap */

/* Called once the key authorization has been written whole to a GET (not for HEAD, which does not get it). `peer` is
 * the numeric address of who fetched it, IPv4 in its own form on an IPv6 socket too. May add and remove tokens; must
 * not free the responder. */
typedef void responder_served_fn(void *ctx, const char *token, const char *peer);

/* Bind a responder's listeners, http-01's (port 80) or tls-alpn-01's (port 443), one per family that exists here: IPv6
 * (V6ONLY) and IPv4 on `port`, SO_REUSEADDR, CLOEXEC, non-blocking. Only a family that this machine lacks may be missing:
 * one that is taken fails both. fds[2] is filled, *n is 1 or 2. ERR_PORT when the port is taken: the text names the program
 * and pid that holds it where /proc tells ("port 443 is taken by nginx (pid 812)"), the advice what to do, for the challenge
 * that the port is needed for. ERR_PERMISSION below port 1024 without the right to. ERR_NETWORK when there is no IP here at
 * all. Port 0 lets the kernel choose (tests), per family. */
MUST_CHECK bool responder_listen(int port, int fds[2], size_t *n, struct err *err);

/* Takes the listening descriptors over, makes them non-blocking (they may come from a parent), closes them on free.
 * At most RESPONDER_MAX_LISTENERS; more are closed at once. `served` may be NULL. */
#define RESPONDER_MAX_LISTENERS 4
struct responder *responder_new(const int *listeners, size_t n, responder_served_fn *served, void *ctx);
void responder_free(struct responder *responder); /* NULL is fine */
/* `token` must pass b64url_valid(token, 128), else false. At most 4096 tokens. Copies both. A known token is replaced;
 * an answer that is being written stays as it was. */
MUST_CHECK bool responder_add(struct responder *responder, const char *token, const char *key_authorization);
void responder_remove(struct responder *responder, const char *token);
/* Fill pollfds (capacity `max`), return how many. Listeners are left out while the process has no free descriptors. */
size_t responder_pollfds(const struct responder *responder, struct pollfd *fds, size_t max);
#define RESPONDER_MAX_POLLFDS 68
/* Handle what poll(2) returned for exactly the array that responder_pollfds() filled, and expire what is late. */
void responder_handle(struct responder *responder, const struct pollfd *fds, size_t n);
/* Milliseconds until the next deadline, -1 for none. */
int responder_timeout_ms(const struct responder *responder);

/* -- The request head, pure: no socket and no clock, so that it can be fuzzed alone. ----------------------------------
 * Bytes in any pieces give the same verdict. RFC 9112: bare LF ends a line, empty lines before the request line are
 * skipped; folded fields, control characters and a space before the colon are refused. */
#define RESPONDER_HEAD_MAX_BYTES 4096
#define RESPONDER_TOKEN_MAX 128

enum responder_verdict {
    RESPONDER_MORE = 0, /* the head is not complete */
    RESPONDER_OK = 200, /* a challenge is asked for: `token` holds it */
    RESPONDER_MALFORMED = 400,
    RESPONDER_NOT_FOUND = 404, /* a target that no token can have */
    RESPONDER_METHOD = 405,
    RESPONDER_TOO_LARGE = 431,
};

struct responder_head {
    int state; /* 0 at the start: zero the struct to begin */
    size_t seen_bytes;
    size_t word_len; /* of the method, the target or the version, as far as it was read */
    char method[8];  /* enough to tell GET and HEAD from others */
    char version[8];
    char target[RESPONDER_HEAD_MAX_BYTES];
    bool is_head; /* HEAD: the answer has no body */
    char token[RESPONDER_TOKEN_MAX + 1];
};

/* Feed bytes until the verdict is another than RESPONDER_MORE; bytes after that are ignored. */
enum responder_verdict responder_head_feed(struct responder_head *head, const void *data, size_t len);

#endif
