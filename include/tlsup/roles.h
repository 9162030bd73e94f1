/*
 * roles.h - the child processes: started by the keeper before it reads any key.
 *
 *   keeper      (root or the calling user)   configuration, keys, store, web-server files, hooks
 *     |-- courier    (own uid)    the network to the CA; no keys, no files but the roots it trusts
 *     |-- responder  (own uid)    inherited listening sockets; tokens; no outgoing network
 *     |-- resolver   (own uid)    questions to the domain name system (resolver.h); no keys
 *     |-- notifier   (own uid)    mail servers and webhooks (notifier.h); no keys, no files but the roots it trusts
 *     `-- prober     (own uid)    questions to this machine's own web server, as a visitor would ask them
 */
#ifndef TLSUP_ROLES_H
#define TLSUP_ROLES_H

#include <sys/types.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"
#include "tlsup/http.h"
#include "tlsup/notifier.h"
#include "tlsup/probe.h"

struct role {
    pid_t pid; /* 0 = not running */
    int fd;    /* our end of the socket pair, -1 = closed */
};
#define ROLE_INIT {0, -1}

/* Start one. Fails with ERR_INTERNAL when a private key is in memory already (key_count()): a child must not inherit it. */
MUST_CHECK bool role_start_courier(const struct http_options *options, struct role *out, struct err *err);
/* Takes the listening sockets over: they are closed here in any case. `tls`: those for tls-alpn-01, the others for http-01. */
struct responder_sockets {
    int http[2];
    size_t n_http;
    int tls[2];
    size_t n_tls;
};
MUST_CHECK bool role_start_responder(const struct responder_sockets *sockets, struct role *out, struct err *err);
/* For resolver.c, which holds the other end. */
MUST_CHECK bool role_start_resolver(struct role *out, struct err *err);
/* For notifier.c, likewise. */
MUST_CHECK bool role_start_notifier(const struct notifier_options *options, struct role *out, struct err *err);
/* Close the socket (the child ends by itself at that), wait up to two seconds, then kill. */
void role_stop(struct role *role);

/* The prober, one for the whole run: started before any key is read, as the others. */
MUST_CHECK bool role_start_prober(struct err *err);
void role_stop_prober(void);
/* probe.h's questions, asked by the prober. ERR_CHILD when it is not running or dies. */
MUST_CHECK bool role_probe_tls(const char *address, int port, const char *name, enum probe_kind kind, int timeout_ms,
                               struct probe_tls *out, struct err *err);
MUST_CHECK bool role_probe_starttls(const char *address, int port, const char *name, enum starttls protocol, enum probe_kind kind,
                                    int timeout_ms, struct probe_tls *out, struct err *err);
MUST_CHECK bool role_probe_http(const char *address, int port, bool tls, const char *name, const char *path, int timeout_ms,
                                struct probe_http *out, struct err *err);
/* The addresses of a host, as this system resolves names (/etc/hosts included, search domains not): numeric, IPv4 first, each once, at most ROLE_ADDRESSES_MAX; appended.
 * A name without any, or that does not exist, is success. ERR_NETWORK when the resolver could not be asked, ERR_TIMEOUT when it said nothing in time. */
#define ROLE_ADDRESSES_MAX 64
MUST_CHECK bool role_probe_resolve(const char *name, int timeout_ms, struct strlist *addresses, struct err *err);
/* The same for many names, beside each other: ROLE_LOOKUPS_MAX at a time, each with that deadline. */
#define ROLE_LOOKUPS_MAX 32
struct role_lookup {
    const char *name;
    bool ok;
    struct strlist addresses; /* as above; the caller clears */
    struct err err;           /* why it is not ok */
};
void role_probe_resolve_all(struct role_lookup *v, size_t n, int timeout_ms);

/* The children's main loops; they never return. courier.c, responder_role.c, resolver_role.c */
NORETURN void courier_main(int fd, const struct http_options *options);
NORETURN void responder_main(int fd, const struct responder_sockets *sockets);

/* -- signals of the keeper -- */

/* SIGINT, SIGTERM, SIGHUP: remembered, so that the run can put things back; a second one changes nothing. SIGPIPE ignored. */
void signals_install(void);
/* Readable when one has come. */
int signals_fd(void);
/* Sets ERR_INTERRUPTED and returns true when one has come. */
bool signals_interrupted(struct err *err);
/* From now on the run is putting things back or committing: signals no longer count. */
void signals_ignore(void);

#endif
