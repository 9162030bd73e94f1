#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/problem.h"

#include <stdio.h>
#include <string.h>

#include "json.h"
#include "tlsup/buf.h"
#include "tlsup/url.h"

/* Of an error's text, which has an end, and to which outer layers add. */
enum { SHOWN_BYTES = 1400, ADDRESSES_BYTES = 1100 };

static const char urn[] = "urn:ietf:params:acme:error:";

/* What each type means for the person, RFC 8555 section 6.7 and later registrations. */
static const struct meaning {
    const char *type;
    enum err_next next;
    const char *advice;
} meanings[] = {
    {"accountDoesNotExist", NEXT_RETRY_NOW,
     "the CA does not know this account any more; run `tlsup account register` and try again"},
    {"alreadyReplaced", NEXT_REFUSED, NULL},
    {"alreadyRevoked", NEXT_NONE, "nothing is left to do: it is revoked"},
    {"badCSR", NEXT_REFUSED, "the CA does not like the certificate request; another --key-type may help"},
    {"badNonce", NEXT_RETRY_NOW,
     "run the same command again; if it keeps failing, something between here and the CA repeats old "
     "answers"},
    {"badPublicKey", NEXT_REFUSED, "the CA does not accept this kind of key; choose another --key-type"},
    {"badRevocationReason", NEXT_REFUSED,
     "the CA does not take this reason; leave --reason out, or give another"},
    {"badSignatureAlgorithm", NEXT_REFUSED, "the CA does not accept signatures by this kind of account key"},
    {"caa", NEXT_REFUSED,
     "a CAA record of the domain forbids this CA; add one that names the CA, or choose another CA with "
     "--server"},
    {"compound", NEXT_REFUSED, NULL},
    {"connection", NEXT_REFUSED,
     "the CA could not reach this server: open port 80 in every firewall and router on the way, and check "
     "that the name's A and AAAA records are this server's addresses"},
    {"dns", NEXT_REFUSED,
     "check that the name has an A or AAAA record that points to this server, and that its DNS servers "
     "answer from everywhere"},
    {"externalAccountRequired", NEXT_REFUSED,
     "this CA wants credentials of an account made on its web site (external account binding)"},
    {"incorrectResponse", NEXT_REFUSED,
     "something other than tlsup answered the CA's question: check in DNS that the name's A and AAAA records "
     "point "
     "to this server, and that no proxy stands before it"},
    {"invalidContact", NEXT_REFUSED, "give an e-mail address that exists with -m"},
    {"invalidProfile", NEXT_REFUSED,
     "the CA does not offer this profile, or not for these names: leave the profile out, or choose another"},
    {"malformed", NEXT_REFUSED, NULL},
    {"orderNotReady", NEXT_RETRY_NOW, "run the same command again"},
    {"rateLimited", NEXT_RETRY_LATER,
     "the CA's rate limit is used up; wait, and do not try more often than needed"},
    {"rejectedIdentifier", NEXT_REFUSED,
     "the CA does not issue for this name; check its spelling, or choose another CA with --server"},
    {"serverInternal", NEXT_RETRY_LATER, "the CA has trouble of its own; try again later"},
    {"tls", NEXT_REFUSED, "the CA could not make a TLS connection to this server while checking the name"},
    {"unauthorized", NEXT_REFUSED,
     "something other than tlsup answered the CA's question: check in DNS that the name's A and AAAA records "
     "point "
     "to this server, and that no proxy stands before it"},
    {"unsupportedContact", NEXT_REFUSED, "give an e-mail address with -m"},
    {"unsupportedIdentifier", NEXT_REFUSED, "this CA does not issue for this kind of name"},
    {"userActionRequired", NEXT_REFUSED,
     "open the address that the CA gives and do what it asks; new terms of service can also be agreed to "
     "with `tlsup account update --agree-tos`. Then run the same command again"},
};

static const struct meaning *meaning_of(const char *type)
{
    for (size_t i = 0; i < COUNT_OF(meanings); i++)
        if (strcmp(meanings[i].type, type) == 0)
            return &meanings[i];
    return NULL;
}

static void copy(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
    printable(out);
}

static void copy_type(char *out, size_t size, const char *type)
{
    if (type != NULL && strncmp(type, urn, sizeof urn - 1) == 0)
        type += sizeof urn - 1;
    copy(out, size, type != NULL && strcmp(type, "about:blank") != 0 ? type : "");
}

static const char *identifier_of(const json_t *object)
{
    return acme_json_string(json_object_get(object, "identifier"), "value");
}

static void from_object(const json_t *object, struct problem *out)
{
    const char *detail = acme_json_string(object, "detail");
    const json_t *status = json_object_get(object, "status");
    const json_t *subs = json_object_get(object, "subproblems");
    copy_type(out->type, sizeof out->type, acme_json_string(object, "type"));
    copy(out->detail, sizeof out->detail, detail != NULL ? detail : acme_json_string(object, "title"));
    copy(out->instance, sizeof out->instance, acme_json_string(object, "instance"));
    copy(out->identifier, sizeof out->identifier, identifier_of(object));
    if (json_is_integer(status) && json_integer_value(status) >= 100 && json_integer_value(status) <= 599)
        out->status = (int)json_integer_value(status);
    for (size_t i = 0; i < json_array_size(subs) && out->n_sub < PROBLEM_MAX_SUBPROBLEMS; i++) {
        const json_t *sub = acme_json_at(subs, i);
        copy_type(out->sub[out->n_sub].type, sizeof out->sub[0].type, acme_json_string(sub, "type"));
        copy(out->sub[out->n_sub].detail, sizeof out->sub[0].detail, acme_json_string(sub, "detail"));
        copy(out->sub[out->n_sub].identifier, sizeof out->sub[0].identifier, identifier_of(sub));
        out->n_sub++;
    }
}

void problem_parse_json(const char *json, struct problem *out)
{
    struct err ignored = ERR_INIT;
    *out = (struct problem){0};
    AUTO_JSON *object = acme_json(json, strlen(json), "the error", &ignored);
    if (object != NULL)
        from_object(object, out);
}

/* The text of an HTML or plain answer without tags and runs of white space. */
static void strip_markup(const char *body, size_t len, char *out, size_t size)
{
    size_t n = 0;
    bool in_tag = false;
    for (size_t i = 0; i < len && n + 1 < size && n < 200; i++) {
        unsigned char c = (unsigned char)body[i];
        if (c == '<' || c == '>') {
            in_tag = c == '<';
            c = ' ';
        }
        if (in_tag)
            continue;
        bool space = c <= ' ';
        if (!space || (n > 0 && out[n - 1] != ' '))
            out[n++] = space ? ' ' : (char)c;
    }
    while (n > 0 && out[n - 1] == ' ')
        n--;
    out[n] = '\0';
    printable(out);
}

void problem_parse(int status, const char *body, size_t len, struct problem *out)
{
    struct err ignored = ERR_INIT;
    *out = (struct problem){0};
    AUTO_JSON *object = acme_json(body, len, "the answer", &ignored);
    if (object != NULL)
        from_object(object, out);
    else
        strip_markup(body, len, out->detail, sizeof out->detail);
    if (status > 0)
        out->status = status;
}

static enum err_next next_by_status(int status)
{
    return status == 429 || status >= 500 ? NEXT_RETRY_LATER : NEXT_REFUSED;
}

/* "detail (type)", or what there is of them. */
static void describe_one(const char *detail, const char *type, struct buf *text)
{
    if (detail[0] != '\0' && type[0] != '\0')
        buf_addf(text, "%s (%s)", detail, type);
    else if (detail[0] != '\0' || type[0] != '\0')
        buf_adds(text, detail[0] != '\0' ? detail : type);
    else
        buf_adds(text, "no reason given");
}

/* As many subproblems as there is room for, each whole. */
static void describe_subs(const struct problem *problem, size_t room, struct buf *text)
{
    for (size_t i = 0; i < problem->n_sub; i++) {
        AUTO_BUF line = BUF_INIT;
        bool named = problem->sub[i].identifier[0] != '\0';
        buf_addf(&line, "\n%s%s", problem->sub[i].identifier, named ? ": " : "");
        describe_one(problem->sub[i].detail, problem->sub[i].type, &line);
        if (text->len + line.len > room) {
            buf_addf(text, "\nand %zu more", problem->n_sub - i);
            return;
        }
        buf_adds(text, buf_str(&line));
    }
}

/* What is to be read or visited: it must not be lost at the end of a long text. */
static void describe_addresses(const struct problem *problem, struct buf *text)
{
    bool terms = strcmp(problem->type, "userActionRequired") == 0 && problem->terms[0] != '\0' &&
                 strcmp(problem->terms, problem->instance) != 0;
    if (problem->instance[0] != '\0')
        buf_addf(text, "\nsee %s", problem->instance);
    if (terms && text->len + strlen(problem->terms) < ADDRESSES_BYTES)
        buf_addf(text, "\nthe terms of service are at %s", problem->terms);
}

static void describe(const struct problem *problem, struct buf *text)
{
    AUTO_BUF what = BUF_INIT, addresses = BUF_INIT;
    describe_one(problem->detail, problem->type, &what);
    if (problem->type[0] == '\0' && problem->status > 0)
        buf_addf(&what, " (HTTP status %d)", problem->status);
    describe_addresses(problem, &addresses);
    size_t room = SHOWN_BYTES - addresses.len;
    buf_add(text, what.data, what.len < room ? what.len : room);
    describe_subs(problem, room, text);
    buf_add(text, addresses.data, addresses.len);
}

bool problem_paused(const struct problem *problem, int64_t retry_after_s)
{
    return strcmp(problem->type, "rateLimited") == 0 && retry_after_s < 0 &&
           (strstr(problem->detail, "unpause") != NULL || strstr(problem->instance, "unpause") != NULL);
}

enum policy_failure problem_failure(const struct problem *problem, int64_t retry_after_s)
{
    bool busy = problem->status == 429 || problem->status == 503;
    if (strcmp(problem->type, "badNonce") == 0)
        return POLICY_BAD_NONCE;
    if (busy && retry_after_s >= 0)
        return POLICY_SLOW_DOWN;
    if (problem->status == 429)
        return problem->type[0] == '\0' ? POLICY_SERVER : POLICY_FINAL;
    return problem->status >= 500 ? POLICY_SERVER : POLICY_FINAL;
}

bool problem_to_err(const struct problem *problem, const char *subject, int64_t retry_after_s,
                    struct err *err)
{
    if (err_isset(err))
        return false;
    AUTO_BUF text = BUF_INIT;
    const struct meaning *meaning = meaning_of(problem->type);
    enum err_next next = meaning != NULL ? meaning->next : next_by_status(problem->status);
    const char *about = problem->identifier[0] != '\0' ? problem->identifier : subject;
    /* the same type means one thing about a name that was looked at, another about a request that was made */
    bool not_allowed = strcmp(problem->type, "unauthorized") == 0 && subject != NULL && url_valid(subject);
    bool paused = problem_paused(problem, retry_after_s);
    if (paused)
        next = NEXT_REFUSED;
    describe(problem, &text);
    err_set(err, ERR_ACME, next, about, "%s", buf_str(&text));
    snprintf(err->type, sizeof err->type, "%s", problem->type);
    if (next == NEXT_RETRY_LATER && retry_after_s > 0)
        err->wait_s = retry_after_s;
    if (not_allowed)
        return err_advise(
            err,
            "the CA does not let this account do that; `tlsup account show` tells which one it is. If it was "
            "deactivated, move accounts/key.pem in the state directory aside, and a new one is made");
    /* several names may have failed for several reasons: the advice of the first that is known */
    for (size_t i = 0; i < problem->n_sub && (meaning == NULL || meaning->advice == NULL); i++)
        meaning = meaning_of(problem->sub[i].type);
    if (paused)
        return err_advise(err, "visit the address that the CA gives, then run the same command again");
    return meaning != NULL && meaning->advice != NULL ? err_advise(err, "%s", meaning->advice) : false;
}

bool problem_sub_to_err(const struct problem *problem, size_t sub, const char *subject, struct err *err)
{
    AUTO_BUF text = BUF_INIT;
    const struct meaning *meaning = meaning_of(problem->sub[sub].type);
    if (err_isset(err))
        return false;
    describe_one(problem->sub[sub].detail, problem->sub[sub].type, &text);
    err_set(err, ERR_ACME, meaning != NULL ? meaning->next : NEXT_REFUSED, subject, "%s", buf_str(&text));
    snprintf(err->type, sizeof err->type, "%s", problem->sub[sub].type);
    return meaning != NULL && meaning->advice != NULL ? err_advise(err, "%s", meaning->advice) : false;
}
