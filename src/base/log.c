#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tlsup/err.h"

static enum log_level shown = LOG_LEVEL_WARN;
static void (*before_line)(void);

void log_set_level(enum log_level level)
{
    shown = level;
}

bool log_enabled(enum log_level level)
{
    return level <= shown;
}

void log_set_before_line(void (*before)(void))
{
    before_line = before;
}

static void PRINTF_LIKE(2, 0) line(enum log_level level, const char *fmt, va_list args)
{
    static const char *const prefix[] = {"error: ", "warning: ", "", "debug: "};
    char text[4096];
    if (!log_enabled(level))
        return;
    size_t head = (size_t)snprintf(text, sizeof text, "%s", prefix[level]);
    vsnprintf(text + head, sizeof text - head - 1, fmt, args);
    printable(text);
    size_t len = strlen(text);
    text[len++] = '\n';
    if (before_line != NULL)
        before_line();
    /* one write a line: three processes share standard error */
    ssize_t ignored = write(STDERR_FILENO, text, len);
    (void)ignored;
}

#define LOG_FUNCTION(name, level)                                                                            \
    void name(const char *fmt, ...)                                                                          \
    {                                                                                                        \
        va_list args;                                                                                        \
        va_start(args, fmt);                                                                                 \
        line(level, fmt, args);                                                                              \
        va_end(args);                                                                                        \
    }

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warn, LOG_LEVEL_WARN)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)
