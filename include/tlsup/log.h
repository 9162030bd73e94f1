/*
 * log.h - diagnostics to standard error, one line each, by level.
 *
 * Results and progress for the person belong to cli/output; the log is for what -v and --debug show.
 * Lines are made printable. Secrets are never logged: there is no redaction to forget.
 */
#ifndef TLSUP_LOG_H
#define TLSUP_LOG_H

#include <stdbool.h>

#include "tlsup/compat.h"

enum log_level {
    LOG_LEVEL_ERROR, /* always shown */
    LOG_LEVEL_WARN,  /* shown unless -q */
    LOG_LEVEL_INFO,  /* -v: what happens, in plain words */
    LOG_LEVEL_DEBUG, /* --debug: every exchange */
};

void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);
/* Called before every line is written, so that a progress display can clear itself; NULL to remove. */
void log_set_before_line(void (*before)(void));
void log_error(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_warn(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_info(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_debug(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
