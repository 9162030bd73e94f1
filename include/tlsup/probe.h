/*
 * probe.h - proof: ask the running web server over the network, as a visitor would.
 *
 * Blocking, with deadlines. They talk only to this machine's own addresses. The keeper runs them in a short-lived unprivileged
 * child (process/roles).
 */
#ifndef TLSUP_PROBE_H
#define TLSUP_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "tlsup/err.h"
#include "tlsup/verify.h"

struct probe_tls {
    char sha256[65];     /* of the leaf served, lower-case hex */
    char version[16];    /* "TLSv1.3" */
    char alpn[16];       /* "h2", "http/1.1" or "" */
};
/* Which kind of certificate the visitor can do anything with: a server that has two shows the one that fits. */
enum probe_kind { PROBE_ANY, PROBE_RSA, PROBE_ECDSA };
/* One TLS handshake (1.2 or 1.3, ALPN h2 and http/1.1) with `address` (numeric v4 or v6, brackets or not) : `port`, SNI `name` (none when `name` is an IP). The certificate is taken as it is, not verified:
 * the caller compares it. A port that closes at once is asked again as a load balancer would, with a
 * line of the PROXY protocol first; so in all of these. Fails with ERR_NETWORK (nobody listens), ERR_TLS (no handshake: the alert, or what else it looks like), ERR_TIMEOUT. */
MUST_CHECK bool probe_tls(const char *address, int port, const char *name, int timeout_ms, struct probe_tls *out, struct err *err);
/* The same by a visitor who knows signatures of one kind only. A server without such a certificate ends the handshake: ERR_TLS. */
MUST_CHECK bool probe_tls_kind(const char *address, int port, const char *name, enum probe_kind kind, int timeout_ms,
                               struct probe_tls *out, struct err *err);

/* The same of another service: what its protocol says before TLS is said first (STARTTLS_NONE: nothing), and no ALPN is offered, which mail servers may refuse. `name` is also what an XMPP server is
 * asked for. Fails as above, with ERR_TLS when the server will not begin TLS (and what it said), ERR_PROTOCOL when it is not what was expected or talks without end. Bytes that came before TLS had
 * begun are never taken for a part of it: ERR_TLS. */
MUST_CHECK bool probe_starttls(const char *address, int port, const char *name, enum starttls protocol, enum probe_kind kind, int timeout_ms,
                               struct probe_tls *out, struct err *err);

struct probe_http {
    int status;
    char location[512];  /* "" when none */
    char body[1024];     /* the first bytes, NUL-terminated */
    size_t body_len;
};
/* One plain HTTP/1.1 GET of `path` with Host `name`. No redirect is followed. With `tls` the same inside TLS (unverified). Interim answers are skipped, chunked bodies
 * decoded; a body that ends early is returned as far as it came. Fails as probe_tls(), and with ERR_PROTOCOL when the answer is not HTTP. */
MUST_CHECK bool probe_http(const char *address, int port, bool tls, const char *name, const char *path, int timeout_ms,
                           struct probe_http *out, struct err *err);

#endif
