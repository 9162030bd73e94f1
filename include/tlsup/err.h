/*
 * err.h - the one error channel.
 *
 * A fallible function has the form `bool f(..., struct err *err)`: true is success, false means that
 * `err` tells what went wrong. `struct err` is flat and owned by the caller, so that it can cross a
 * pipe between processes. The first failure wins: a set error is not overwritten; outer layers only
 * add context. Only main prints errors.
 *
 * A good error tells a person what happened (text), to what (subject), and what to do next (advice).
 */
#ifndef TLSUP_ERR_H
#define TLSUP_ERR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "tlsup/compat.h"

enum err_code {
    ERR_NONE = 0,
    ERR_USAGE,       /* the command line */
    ERR_CONFIG,      /* a configuration file of ours */
    ERR_NAME,        /* a name that cannot be in a certificate */
    ERR_PERMISSION,  /* the system refused access */
    ERR_NOT_FOUND,   /* something named does not exist */
    ERR_EXISTS,      /* something is there already */
    ERR_LOCKED,      /* another run holds the lock */
    ERR_IO,          /* reading, writing, syncing */
    ERR_NO_SPACE,    /* disk or quota full */
    ERR_CRYPTO,      /* OpenSSL failed, a key or certificate is unusable */
    ERR_MISMATCH,    /* two things that must agree do not: key/certificate, names, served leaf */
    ERR_NETWORK,     /* resolve, connect, send, receive */
    ERR_TLS,         /* the peer's certificate or the handshake */
    ERR_TIMEOUT,     /* a deadline passed */
    ERR_PROTOCOL,    /* a peer broke the rules of its protocol */
    ERR_ACME,        /* the CA answered with a problem document */
    ERR_PORT,        /* a port is taken or may not be bound */
    ERR_WEBSERVER,   /* the web server: test, reload, configuration */
    ERR_PROOF,       /* what we did could not be proven */
    ERR_HOOK,        /* a program of the user's failed */
    ERR_CHILD,       /* one of our own processes died or lied */
    ERR_INTERRUPTED, /* Ctrl-C or a termination signal */
    ERR_INTERNAL,    /* a bug */
};

/* What the caller (in the end: the person) may do next. */
enum err_next {
    NEXT_NONE = 0,
    NEXT_RETRY_NOW,   /* the same thing may work at once (another nonce, a cut connection) */
    NEXT_RETRY_LATER, /* after wait_s seconds; 0 = unknown */
    NEXT_FIX_CONFIG,  /* a person must change a command line, a file, a DNS record */
    NEXT_REFUSED,     /* the CA or a check said no; trying again will not help */
    NEXT_LOCAL_FAULT, /* this machine: disk, permission, memory, web server */
};

struct err {
    enum err_code code;
    enum err_next next;
    int64_t wait_s;     /* NEXT_RETRY_LATER: seconds to wait */
    char type[96];      /* the ACME problem type without its URN prefix ("rateLimited"), or "" */
    char subject[256];  /* the name, path or URL it happened to, or "" */
    char text[1536];    /* what happened; may have several lines */
    char advice[512];   /* what to do next, or "" */
};

#define ERR_INIT {0}

/* All setters return false, so that `return err_set(...)` reads naturally. `err` is never NULL. */
bool err_set(struct err *err, enum err_code code, enum err_next next, const char *subject, const char *fmt, ...)
    PRINTF_LIKE(5, 6);
/* From errno: EACCES/EPERM -> ERR_PERMISSION, ENOSPC/EDQUOT -> ERR_NO_SPACE, ENOENT -> ERR_NOT_FOUND,
 * EROFS -> ERR_PERMISSION, EADDRINUSE -> ERR_PORT, else ERR_IO; the text gets ": strerror". Adds advice
 * for the ones that a person can mend. */
bool err_errno(struct err *err, int errnum, const char *subject, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* Put "context: " before the text of a set error. */
bool err_context(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Set the advice, unless a deeper layer has given one. */
bool err_advise(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
void err_clear(struct err *err);
static inline bool err_isset(const struct err *err)
{
    return err->code != ERR_NONE;
}

/* Exit status for main: 0 no error; 1 failed; 2 usage or configuration; 3 refused; 4 try later; 5 locked. */
int err_exit_status(const struct err *err);
/* Stable lower-case word for a code, for logs and JSON: "permission". Never NULL. */
const char *err_code_name(enum err_code code);

/* Replace control characters (terminal escapes!) by '?', keeping newline and tab; in place. Everything
 * that a peer sent goes through this before a person sees it; err_set() does it by itself. */
void printable(char *text);

#endif
