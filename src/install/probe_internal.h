/*
 * probe_internal.h - the connection of one probe, and what is said on it before TLS.
 */
#ifndef TLSUP_PROBE_INTERNAL_H
#define TLSUP_PROBE_INTERNAL_H

#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

#include "tlsup/probe.h"

#define FIRST_BYTES 24

struct conn {
    int fd;
    SSL_CTX *ctx;
    SSL *ssl; /* NULL on plain connections */
    int64_t deadline_ms;
    int timeout_ms;
    const char *name;
    char where[96]; /* "port 443 on 127.0.0.1" */
    size_t received;
    unsigned char first[FIRST_BYTES]; /* what came first, before OpenSSL saw it */
    size_t n_first;
    bool ended;         /* the peer closed or reset */
    bool service;       /* not the web server: for the words of errors */
    bool waits_for_tls; /* it may be that the server waits for TLS, while we wait for its greeting */
    bool talked;        /* what comes before TLS has been said */
};

/* All of it, or an error; a peer that has closed is noticed by the next receive. */
MUST_CHECK bool conn_send(struct conn *conn, const char *data, size_t len, struct err *err);
/* At least one byte; *n is 0 when the peer closed. */
MUST_CHECK bool conn_recv(struct conn *conn, char *data, size_t size, size_t *n, struct err *err);

/* Lead a service to the point where TLS begins (probe_starttls.c). */
MUST_CHECK bool starttls_talk(struct conn *conn, enum starttls protocol, struct err *err);

#endif
