/*
 * machine_config.h - what tlsup.conf says of the machine rather than of certificates: notifications, log, metrics.
 *
 *   notify-on          = failure | all | never       all: renewals that went well, too; default failure
 *   notify-mail        = admin@example.org ...       by sendmail(1), unless notify-smtp says otherwise
 *   notify-from        = tlsup@host.example          default root@ this machine's name
 *   notify-sendmail    = /usr/sbin/sendmail          default: found
 *   notify-smtp        = smtp://HOST[:PORT] | smtps://HOST[:PORT]    (smtp: STARTTLS is required but on loopback)
 *   notify-smtp-login  = /path/file                  "USER:PASSWORD" on its first line; readable by root alone
 *   notify-webhook     = https://...                 a POST of JSON (http on loopback alone)
 *   notify-webhook-headers = /path/file              "Name: value" lines; readable by root alone
 *   notify-command     = /path/program               hooks.h's clean environment, and TLSUP_EVENT...; the text on standard input
 *   notify-syslog      = yes | no                    default yes: what failed and what recovered, facility daemon
 *   heartbeat          = https://...                 fetched after each run of `renew` in which nothing failed
 *   metrics-file       = /path/tlsup.prom            written by each run of `renew`, for node_exporter's textfile collector
 *   log                = syslog | /path/file | none  what commands that write do; default none ("journal" is syslog)
 *   log-level          = error | warning | info | debug      default info
 *
 * Texts take "none". Several values are separated by spaces or commas.
 */
#ifndef TLSUP_MACHINE_CONFIG_H
#define TLSUP_MACHINE_CONFIG_H

#include "tlsup/buf.h"
#include "tlsup/err.h"
#include "tlsup/log.h"

enum notify_on { NOTIFY_FAILURE, NOTIFY_ALL, NOTIFY_NEVER };

struct machine_config {
    enum notify_on notify_on;
    struct strlist notify_mail;
    char *notify_from, *notify_sendmail, *notify_smtp, *notify_smtp_login; /* NULL = not given, here and below */
    char *notify_webhook, *notify_webhook_headers, *notify_command;
    bool notify_syslog;
    char *heartbeat;
    char *metrics_file;
    char *log; /* "syslog" or an absolute path */
    enum log_level log_level;
};

void machine_config_init(struct machine_config *config);
void machine_config_clear(struct machine_config *config);
bool machine_config_has(const char *key);
const char *machine_config_key_at(size_t index); /* NULL past the last */
/* ERR_CONFIG: what is wrong with the value, without file, line or key. */
/* Does a URL of notify-smtp, notify-webhook or heartbeat lead to this machine itself (localhost, 127.0.0.0/8, ::1)? */
bool machine_config_loopback(const char *url);
MUST_CHECK bool machine_config_set(struct machine_config *config, const char *key, const char *value, struct err *err);

#endif
