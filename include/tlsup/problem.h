/*
 * problem.h - problem documents (RFC 7807, RFC 8555 section 6.7) in plain words.
 */
#ifndef TLSUP_PROBLEM_H
#define TLSUP_PROBLEM_H

#include <stdint.h>

#include "tlsup/err.h"
#include "tlsup/policy.h"

#define PROBLEM_MAX_SUBPROBLEMS 100 /* as many names as the largest order of a public CA */

struct problem {
    char type[64];        /* "rateLimited": without its URN prefix; the whole URI when it is not ACME's; "" when there is none */
    char detail[1280];    /* for people (may end in a long URL to visit); a plain-text or HTML answer's beginning when it was no JSON */
    char instance[1024];  /* a URL to read or visit, or "" */
    char terms[1024];     /* not of the document: the caller copies http_response.terms here, "" = none */
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
/* One of its subproblems as an error about `subject`, a name. */
bool problem_sub_to_err(const struct problem *problem, size_t sub, const char *subject, struct err *err);

/* Has the CA paused the account's orders for a name until a person visits a URL that it gives? Waiting does not end that. */
bool problem_paused(const struct problem *problem, int64_t retry_after_s);
/* What policy_decide() is to be asked about a request that was answered so. A rate limit without an end in sight is POLICY_FINAL; 429 and 503 of something else
 * than the ACME server (no type) are POLICY_SERVER. */
enum policy_failure problem_failure(const struct problem *problem, int64_t retry_after_s);

#endif
