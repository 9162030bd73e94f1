/*
 * problem.h - problem documents (RFC 7807, RFC 8555 section 6.7) in plain words.
 */
#ifndef TLSUP_PROBLEM_H
#define TLSUP_PROBLEM_H

#include <stdint.h>

#include "tlsup/err.h"

#define PROBLEM_MAX_SUBPROBLEMS 16

struct problem {
    char type[64];        /* "rateLimited": without its URN prefix; the whole URI when it is not ACME's; "" when there is none */
    char detail[640];     /* for people; a plain-text or HTML answer's beginning when it was no JSON */
    char instance[256];   /* a URL to read or visit, or "" */
    char identifier[256]; /* the name it is about, or "" */
    int status;           /* the HTTP status, 0 = unknown */
    size_t n_sub;
    struct {
        char type[64];
        char detail[320];
        char identifier[256];
    } sub[PROBLEM_MAX_SUBPROBLEMS];
};

/* What a CA sent with an error status, whatever its form: never fails, always has something to show. */
void problem_parse(int status, const char *body, size_t len, struct problem *out);
/* From a JSON text that is an `error` member of an order or a challenge. */
void problem_parse_json(const char *json, struct problem *out);
/* As an error: text with every subproblem and its name, what it means, what to do next. `subject` is the name
 * that was looked at, or the URL of the request that was refused (the advice differs);
 * `retry_after_s` -1 when the CA did not say. */
bool problem_to_err(const struct problem *problem, const char *subject, int64_t retry_after_s, struct err *err);

#endif
