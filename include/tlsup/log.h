/*
 * log.h - diagnostics, one line each, by level: to standard error, and to a log where the configuration names one.
 *
 * Results and progress for the person belong to cli/output; standard error has what -v and --debug show. The log (a file, or the system's by way of syslog) has a level of its own, and besides
 * these lines what commands did (log_note()). Child processes that are forked after it was opened write to it by themselves (sandbox.h leaves them its descriptor).
 *
 * Lines are made printable. Secrets that are registered, and private keys in PEM, are masked in each of them.
 */
#ifndef TLSUP_LOG_H
#define TLSUP_LOG_H

#include <stdbool.h>

#include "tlsup/compat.h"
#include "tlsup/err.h"

struct buf;

enum log_level {
    LOG_LEVEL_ERROR, /* always shown */
    LOG_LEVEL_WARN,  /* shown unless -q */
    LOG_LEVEL_INFO,  /* -v: what happens, in plain words */
    LOG_LEVEL_DEBUG, /* --debug: every exchange */
};

void log_set_level(enum log_level level);
bool log_enabled(enum log_level level); /* on standard error */
bool log_wanted(enum log_level level);  /* there or in the log: is it worth making the line? */
/* Called before every line is written to standard error, so that a progress display can clear itself; NULL to remove. */
void log_set_before_line(void (*before)(void));
void log_error(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_warn(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_info(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_debug(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* -- the log -- */

/* Lines up to `level` go to this file from now on, appended: "TIME LEVEL COMMAND[PID] [CERT] TEXT", times in RFC 3339. Made with mode 0640 when it is missing; its directory must be there. What is no regular file,
 * or a symbolic link, or (as root) somebody else's is refused. It is opened once a process: after a rotation the next run writes to the new one. */
MUST_CHECK bool log_open_file(const char *path, enum log_level level, struct err *err);
/* The same to syslog's socket, /dev/log, as facility daemon, which the journal listens to as well. */
MUST_CHECK bool log_open_syslog(enum log_level level, struct err *err);
void log_close(void);
int log_descriptor(void); /* -1 = none; not to be read or closed */
/* What lines say of who writes them: the command ("renew"), and the certificate that it is busy with. Copied; NULL = none. */
void log_set_command(const char *command);
void log_about(const char *cert_name);
/* Into the log alone: what the person sees by other ways. A log that cannot be written is a warning once, and never a failure. */
void log_note(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* One line to the system's log, whatever log there is: true when it was taken. For notifications. */
MUST_CHECK bool log_syslog(enum log_level level, const char *text, struct err *err);

/* -- secrets -- */

/* This text is masked from now on, in every line and in log_redact(); those shorter than four characters are not (they would mask half of everything). */
void log_secret(const char *text);
/* The same for each part of it that may be one, by its length and a digit in it ("Bearer TOKEN", "/services/TOKEN"): a server that answers repeats the one and not the other. */
void log_secret_words(const char *text, const char *separators);
/* `text` with registered secrets and PEM private keys masked. Appends. */
void log_redact(const char *text, struct buf *out);

#endif
