/*
 * tls_alpn.h - answers tls-alpn-01 (RFC 8737) on listening sockets that it is given; for DNS names and for IP addresses
 * (RFC 8738).
 *
 * Like responder.h: no threads, never blocks, the owner polls. It makes its own throw-away key (P-256) and certificates:
 * none of the user's keys come near it. TLS 1.2 and 1.3, the ALPN protocol "acme-tls/1" alone: a client that does not offer
 * exactly that name gets the alert no_application_protocol, one that asks for no name or for an unknown one
 * unrecognized_name. A DNS name is asked for by itself, an IP address by its in-addr.arpa or ip6.arpa name; letter case and
 * a final dot do not matter. No resumption, no renegotiation, no early data; what a client sends after its handshake is
 * never decrypted: it gets close_notify. Limits: 64 connections (the oldest one is dropped for a new one), 10 s and 32 KiB
 * from accept to the end of the handshake, 2 s to close after it.
 *
 * OpenSSL's configuration file does not matter: the library context is our own, the file is not read where nothing in the
 * process has read it yet, and what it may have set for all TLS is set again.
 *
 * System calls, for a sandbox around it: after tls_alpn_new() no others than accept4, recvfrom, sendto, shutdown, close,
 * clock_gettime, write (the log), getrandom, getpid (OpenSSL's random generator) and what malloc needs; no files.
 * tls_alpn_new() must come before the sandbox. To be used in the process that made it, not in a child of that.
 */
#ifndef TLSUP_TLS_ALPN_H
#define TLSUP_TLS_ALPN_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "tlsup/compat.h"
#include "tlsup/err.h"

struct tls_alpn; /* heap */

/* Once a handshake that was offered the challenge's certificate is complete. `peer` is the numeric address of the client,
 * IPv4 in its own form on an IPv6 socket too. May add and remove tokens; must not free `alpn`. */
typedef void tls_alpn_served_fn(void *ctx, const char *token, const char *peer);

#define TLS_ALPN_MAX_LISTENERS 4
#define TLS_ALPN_MAX_POLLFDS 68
/* Takes the listeners over, as responder_new() does; when it fails they are closed. `served` may be NULL. ERR_CRYPTO when
 * this OpenSSL cannot do what is needed. */
MUST_CHECK bool tls_alpn_new(const int *listeners, size_t n, tls_alpn_served_fn *served, void *ctx, struct tls_alpn **out,
                             struct err *err);
void tls_alpn_free(struct tls_alpn *alpn); /* NULL is fine */
/* `name`: normalised DNS name (no wildcard: those are proven by DNS alone) or IP text, else ERR_NAME. `token` must pass
 * b64url_valid(token, 128), else ERR_PROTOCOL. `digest`: SHA-256 of the key authorization. Copies all. A known token or name
 * is replaced (an IP address and its reverse name are one name here); a handshake that was offered the old certificate ends
 * with it. At most 4096, then ERR_USAGE. What was there stays when it fails. */
MUST_CHECK bool tls_alpn_add(struct tls_alpn *alpn, const char *name, const char *token, const unsigned char digest[32],
                             struct err *err);
void tls_alpn_remove(struct tls_alpn *alpn, const char *token);
/* Fill pollfds (capacity `max`), return how many. Listeners are left out while the process has no free descriptors. */
size_t tls_alpn_pollfds(const struct tls_alpn *alpn, struct pollfd *fds, size_t max);
/* Handle what poll(2) returned for exactly the array that tls_alpn_pollfds() filled, and expire what is late. */
void tls_alpn_handle(struct tls_alpn *alpn, const struct pollfd *fds, size_t n);
/* Milliseconds until the next deadline, -1 for none. */
int tls_alpn_timeout_ms(const struct tls_alpn *alpn);

#endif
