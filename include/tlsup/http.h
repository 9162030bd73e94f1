/*
 * http.h - the courier's HTTPS client: curl_multi, many requests at once, one kept-alive connection per CA where it speaks HTTP/2.
 *
 * https only, no redirects, no cookies; a proxy as given, else as curl's own https_proxy and no_proxy in the environment have it. Bounded: 1 MiB of body, 64 KiB of header, 100 header lines, 30 s to connect,
 * 60 s without progress, 120 s in all (a longer timeout_s stretches all three).
 *
 * An HTTPS proxy is trusted by the system's roots, and by those of ca_pem besides. User and password of a proxy are percent-decoded; they appear in no error and no log.
 */
#ifndef TLSUP_HTTP_H
#define TLSUP_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"
#include "tlsup/url.h"

struct http; /* heap */

struct http_options {
    const char *user_agent;
    const char *ca_pem;      /* trust these certificates (PEM text) instead of the system's; NULL = the system's */
    size_t ca_pem_len;
    const char *ca_name;     /* where ca_pem came from, for errors */
    const char *proxy;       /* "http://[user:password@]host:port", "https://…", "socks5h://…" (socks5: the CA's name is resolved here); NULL = the environment's; "" = none */
    int ip_version;          /* 4, 6; 0 = either */
    const char *interface;   /* source: the name of an interface, a host name or an address; NULL = any */
    int timeout_s;           /* for a request in all; 0 = 120, a day at most */
};

struct http_response {
    int status;
    struct buf body;
    char content_type[128];            /* lower case, without parameters */
    char nonce[512];                   /* Replay-Nonce, "" = none */
    char location[URL_MAX_BYTES];      /* "" = none */
    struct strlist alternates;         /* Link rel="alternate" targets */
    char terms[URL_MAX_BYTES];         /* Link rel="terms-of-service", "" = none */
    int64_t retry_after_s;             /* from now, from either form; -1 = none or not understood; never more than a day */
    bool dated;                        /* there was a Date (IMF-fixdate, RFC 9110) when it came, */
    int64_t ahead_s;                   /* and this machine's clock was so far ahead of it; negative: behind */
    bool stored;                       /* Age: out of a cache, whose Date is of another time */
};

enum http_method {
    HTTP_HEAD,
    HTTP_GET,
    HTTP_POST,      /* application/jose+json */
    HTTP_POST_FORM, /* application/x-www-form-urlencoded: the body is encoded already */
};

/* Exactly one of `response` and `err` is given; both are the callee's only for the call. */
typedef void http_done_fn(void *ctx, const struct http_response *response, const struct err *err);

/* A proxy as people write it, checked: scheme http, https, socks5 or socks5h (no scheme: http), host, port; "" is none. ERR_CONFIG, without user and password in it. */
MUST_CHECK bool http_proxy_check(const char *proxy, struct err *err);
/* The same without user and password, for people and logs. Appends. */
void http_proxy_redact(const char *proxy, struct buf *out);
/* ERR_CONFIG when the proxy is none. */
MUST_CHECK bool http_new(const struct http_options *options, struct http **out, struct err *err);
void http_free(struct http *http);
/* Begin a request. The body is copied. `done` is called from http_wait(), exactly once unless http_free() comes first. */
void http_start(struct http *http, enum http_method method, const char *url, const char *body, size_t len,
                http_done_fn *done, void *ctx);
/* Let transfers progress for up to timeout_ms, or until `fd` (-1 = none) is readable; true when it is. */
bool http_wait(struct http *http, int fd, int timeout_ms);

/* A directory of roots named by hash, as OpenSSL looks them up there; NULL = curl's own bundle. Static. */
const char *http_roots_dir(void);

struct http_stats {
    int64_t requests, connections, bytes_in, bytes_out;
};
void http_stats_get(const struct http *http, struct http_stats *out);

/* Apply one response header line to `response` (for tests and fuzzing). `line` has no CRLF. */
void http_header_line(struct http_response *response, const char *line, size_t len);
void http_response_clear(struct http_response *response);

#endif
