#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const code_names[] = {
    [ERR_NONE] = "none",
    [ERR_USAGE] = "usage",
    [ERR_CONFIG] = "config",
    [ERR_NAME] = "name",
    [ERR_PERMISSION] = "permission",
    [ERR_NOT_FOUND] = "not-found",
    [ERR_EXISTS] = "exists",
    [ERR_LOCKED] = "locked",
    [ERR_IO] = "io",
    [ERR_NO_SPACE] = "no-space",
    [ERR_CRYPTO] = "crypto",
    [ERR_MISMATCH] = "mismatch",
    [ERR_NETWORK] = "network",
    [ERR_TLS] = "tls",
    [ERR_TIMEOUT] = "timeout",
    [ERR_PROTOCOL] = "protocol",
    [ERR_ACME] = "acme",
    [ERR_PORT] = "port",
    [ERR_WEBSERVER] = "web-server",
    [ERR_PROOF] = "proof",
    [ERR_HOOK] = "hook",
    [ERR_CHILD] = "child",
    [ERR_INTERRUPTED] = "interrupted",
    [ERR_INTERNAL] = "internal",
};

const char *err_code_name(enum err_code code)
{
    return (size_t)code < COUNT_OF(code_names) ? code_names[code] : "internal";
}

/* The bytes of the UTF-8 character that begins here, 1 for ASCII, 0 when it is none. */
static size_t character_bytes(const unsigned char *c)
{
    size_t len = c[0] < 0x80 ? 1 : c[0] < 0xC2 ? 0 : c[0] < 0xE0 ? 2 : c[0] < 0xF0 ? 3 : c[0] < 0xF5 ? 4 : 0;
    for (size_t i = 1; i < len; i++)
        if ((c[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

void printable(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c != '\0'; c++) {
        size_t len = character_bytes(c);
        /* C1 controls arrive in UTF-8 as 0xC2 0x80..0x9F, or as lone bytes; terminals obey some of them */
        if (len == 2 && c[0] == 0xC2 && c[1] <= 0x9F)
            c[0] = c[1] = '?';
        else if ((len == 0 && *c <= 0x9F) || (*c < 0x20 && *c != '\n' && *c != '\t') || *c == 0x7F)
            *c = '?';
        c += len > 1 ? len - 1 : 0;
    }
}

static void copy_text(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
    printable(to);
}

static void fill(struct err *err, enum err_code code, enum err_next next, const char *subject,
                 const char *fmt, va_list args)
{
    err_clear(err);
    err->code = code;
    err->next = next;
    copy_text(err->subject, sizeof err->subject, subject != NULL ? subject : "");
    vsnprintf(err->text, sizeof err->text, fmt, args);
    printable(err->text);
    size_t len = strlen(err->text);
    while (len > 0 && err->text[len - 1] == '\n') /* the last words of a program that was run */
        err->text[--len] = '\0';
}

bool err_set(struct err *err, enum err_code code, enum err_next next, const char *subject, const char *fmt,
             ...)
{
    if (err_isset(err))
        return false;
    va_list args;
    va_start(args, fmt);
    fill(err, code, next, subject, fmt, args);
    va_end(args);
    return false;
}

/* How errno reads to a person who has to mend it. */
static const struct {
    int errnum;
    enum err_code code;
    const char *advice;
} errno_map[] = {
    {EACCES, ERR_PERMISSION,
     "run it as root (sudo), or choose directories of your own with --config-dir and --state-dir"},
    {EPERM, ERR_PERMISSION,
     "run it as root (sudo), or choose directories of your own with --config-dir and --state-dir"},
    {EROFS, ERR_PERMISSION,
     "the file system is mounted read-only; remount it writable, or move the directory"},
    {ENOSPC, ERR_NO_SPACE, "make room on the disk and run the same command again"},
    {EDQUOT, ERR_NO_SPACE, "the disk quota is used up; make room and run the same command again"},
    {ENOENT, ERR_NOT_FOUND, NULL},
    {ENOTDIR, ERR_NOT_FOUND, NULL},
    {EEXIST, ERR_EXISTS, NULL},
    {EADDRINUSE, ERR_PORT, NULL},
};

bool err_errno(struct err *err, int errnum, const char *subject, const char *fmt, ...)
{
    enum err_code code = ERR_IO;
    const char *advice = NULL;
    if (err_isset(err))
        return false;
    for (size_t i = 0; i < COUNT_OF(errno_map); i++)
        if (errno_map[i].errnum == errnum) {
            code = errno_map[i].code;
            advice = errno_map[i].advice;
        }
    va_list args;
    va_start(args, fmt);
    fill(err, code, NEXT_LOCAL_FAULT, subject, fmt, args);
    va_end(args);
    size_t len = strlen(err->text);
    snprintf(err->text + len, sizeof err->text - len, ": %s", strerror(errnum));
    return advice != NULL ? err_advise(err, "%s", advice) : false;
}

bool err_context(struct err *err, const char *fmt, ...)
{
    char before[sizeof err->text], context[512];
    size_t room = sizeof err->text;
    if (!err_isset(err))
        return false;
    va_list args;
    va_start(args, fmt);
    vsnprintf(context, sizeof context, fmt, args);
    va_end(args);
    memcpy(before, err->text, sizeof before);
    /* an over-long text loses its end, never its context */
    size_t head = (size_t)snprintf(err->text, room, "%s: ", context);
    memcpy(err->text + head, before, room - head);
    err->text[room - 1] = '\0';
    printable(err->text);
    return false;
}

bool err_advise(struct err *err, const char *fmt, ...)
{
    if (err->advice[0] != '\0')
        return false;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->advice, sizeof err->advice, fmt, args);
    va_end(args);
    printable(err->advice);
    return false;
}

void err_clear(struct err *err)
{
    memset(err, 0, sizeof *err);
}

int err_exit_status(const struct err *err)
{
    switch (err->code) {
    case ERR_NONE:
        return 0;
    case ERR_USAGE:
    case ERR_CONFIG:
    case ERR_NAME:
        return 2;
    case ERR_LOCKED:
        return 5;
    default:
        break;
    }
    switch (err->next) {
    case NEXT_REFUSED:
        return 3;
    case NEXT_RETRY_LATER:
        return 4;
    default:
        return 1;
    }
}
