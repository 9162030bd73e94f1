/*
 * responder.h - the challenge responder: http-01 answers on listening sockets that it is given (RFC 8555 section 8.3).
 *
 * It knows tokens and key authorizations, nothing else. It has no threads and never blocks: the owner polls its
 * descriptors. Limits: 64 connections (the oldest idle one is dropped for a new one), 4 KiB of request, 10 s from accept to the end of the request head, 10 s
 * to take the answer; one request a connection (Connection: close). GET and HEAD of
 * /.well-known/acme-challenge/TOKEN (query ignored; absolute-form request targets accepted) answer 200 with the key authorization as
 * application/octet-stream; everything else 404 (other methods 405, too large 431, malformed 400).
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

/* Called when a token was served whole. `peer` is the numeric address of who fetched it. */
typedef void responder_served_fn(void *ctx, const char *token, const char *peer);

/* Bind http-01's listeners, one per family that exists here: IPv6 (V6ONLY) and IPv4 on `port` (80), SO_REUSEADDR, CLOEXEC,
 * non-blocking. At least one must succeed. fds[2] is filled, *n is 1 or 2. ERR_PORT when the port is taken: the text names the program and pid
 * that holds it where /proc tells ("port 80 is taken by nginx (pid 812)"), the advice what to do. ERR_PERMISSION below
 * port 1024 without the right to. */
MUST_CHECK bool responder_listen(int port, int fds[2], size_t *n, struct err *err);

/* Takes the listening descriptors over (closes them on free). */
struct responder *responder_new(const int *listeners, size_t n, responder_served_fn *served, void *ctx);
void responder_free(struct responder *responder);
/* `token` must pass b64url_valid(token, 128), else false. At most 4096 tokens. Copies both. A known token is replaced. */
MUST_CHECK bool responder_add(struct responder *responder, const char *token, const char *key_authorization);
void responder_remove(struct responder *responder, const char *token);
/* Fill pollfds (capacity `max`), return how many. */
size_t responder_pollfds(const struct responder *responder, struct pollfd *fds, size_t max);
#define RESPONDER_MAX_POLLFDS 68
/* Handle what poll(2) returned for exactly the array that responder_pollfds() filled, and expire what is late. */
void responder_handle(struct responder *responder, const struct pollfd *fds, size_t n);
/* Milliseconds until the next deadline, -1 for none. */
int responder_timeout_ms(const struct responder *responder);

#endif
