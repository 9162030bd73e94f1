/*
 * notice_ways.h - the ways by which tlsup.conf wants people told: mail, webhook, command, syslog; and the
 * heartbeat.
 */
#ifndef TLSUP_CLI_NOTICE_WAYS_H
#define TLSUP_CLI_NOTICE_WAYS_H

#include "notice.h"
#include "tlsup/machine_config.h"

struct ways; /* heap */

/* Starts the notifier where one of them needs it: before any private key is read. `config` is borrowed;
 * `proxy` as in http_options. */
MUST_CHECK bool ways_open(const struct machine_config *config, const char *proxy, struct ways **out,
                          struct err *err);
void ways_close(struct ways *ways); /* NULL is fine */
size_t ways_count(const struct ways *ways);
const char *ways_name(const struct ways *ways, size_t index); /* "mail to admin@example.org"; borrowed */
/* Does it reach a person by itself? The system's log does not. */
bool ways_reaches_people(const struct ways *ways, size_t index);
MUST_CHECK bool ways_send(struct ways *ways, size_t index, const struct notice *notice, struct err *err);
bool ways_has_heartbeat(const struct ways *ways);
MUST_CHECK bool ways_heartbeat(struct ways *ways, struct err *err);
/* What of the configuration is secret, for the log: addresses with tokens in them, the proxy's password. */
void ways_register_secrets(const struct machine_config *config, const char *proxy);

#endif
