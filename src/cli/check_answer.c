/*
 * A token, asked for the way the CA would: of the web server as it stands, or of a listener of our own.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "tlsup/b64.h"
#include "tlsup/clock.h"
#include "tlsup/mem.h"
#include "tlsup/messages.h"
#include "tlsup/name.h"
#include "tlsup/port.h"
#include "tlsup/responder.h"
#include "tlsup/roles.h"

enum { PROBE_MS = 5000, TOKEN_BYTES = 44, HTTP_PORT = 80 };

/* -- the answer to challenges --------------------------------------------------------------------------- */

static void make_token(char out[TOKEN_BYTES])
{
    unsigned char bytes[32];
    AUTO_BUF text = BUF_INIT;
    if (getentropy(bytes, sizeof bytes) != 0) /* only to be told from other tokens */
        snprintf((char *)bytes, sizeof bytes, "%lld.%ld", (long long)clock_mono_ms(), (long)getpid());
    b64url_encode(bytes, sizeof bytes, &text);
    snprintf(out, TOKEN_BYTES, "%s", buf_str(&text));
}

/* Has the web server been told to answer for it for good? */
static bool should_answer(const struct subject *subject)
{
    const struct entry *entry = subject->entry;
    return entry != NULL && is_installed_by_us(entry) && step_of(entry) == DEPLOY_VERIFIED &&
           cert_config_has_challenge(&entry->config, CHALLENGE_VIA_WEB_SERVER);
}

static void judge_answer(struct check *check, const struct subject *subject, const char *name,
                         const char *address, const char *token, const char *thumbprint,
                         const struct probe_http *answer)
{
    AUTO_FREE char *head = mem_fmt("%s.", token);
    size_t len = strcspn(answer->body, "\r\n"), head_len = strlen(head);
    bool ours = answer->status == 200 && len > head_len && strncmp(answer->body, head, head_len) == 0;
    bool same = thumbprint[0] == '\0' || (len == head_len + strlen(thumbprint) &&
                                          strncmp(answer->body + head_len, thumbprint, len - head_len) == 0);
    if (ours && same) {
        check_find(check, SEVERITY_OK, "challenge", name, "a challenge for %s is answered on %s", name,
                   address);
    } else if (ours) {
        check_find(check, SEVERITY_WARNING, "challenge", name,
                   "a challenge for %s is answered on %s in the name of another account", name, address);
        check_why(check, "the CA would take it for wrong; an order puts the right one there");
    } else if (should_answer(subject)) {
        check_find(check, SEVERITY_WARNING, "challenge", name,
                   "a challenge for %s is not answered on %s: http status %d%s%s", name, address,
                   answer->status, answer->location[0] != '\0' ? " to " : "", answer->location);
        check_why(check, "the answer was there when the certificate was installed; the next renewal puts it "
                         "back, if it can");
    } else {
        check_find(
            check, SEVERITY_OK, "challenge", name,
            "challenges for %s are not answered on %s yet (http status %d): that comes with the first order",
            name, address, answer->status);
    }
}

void check_challenge(struct check *check, const struct subject *subject, const char *name)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    struct account_record record = {0};
    struct err ignored = ERR_INIT;
    const struct view *view = subject->view;
    char token[TOKEN_BYTES];
    if (view->pid == 0 || name_is_wildcard(name) || web_needs_token_files(&view->web) ||
        !cert_config_has_challenge(&subject->config, CHALLENGE_VIA_WEB_SERVER) ||
        !web_probe_addresses(&view->web, &view->sites, name, 80, &addresses, &ignored))
        return;
    if (!store_account_load(check->store, subject->config.server, subject->config.account, &record, &ignored))
        record.thumbprint[0] = '\0'; /* not for this user to read */
    make_token(token);
    AUTO_FREE char *path = mem_fmt("/.well-known/acme-challenge/%s", token);
    for (size_t i = 0; i < addresses.n; i++) {
        struct probe_http answer;
        struct err err = ERR_INIT;
        if (role_probe_http(addresses.v[i], 80, false, name, path, PROBE_MS, &answer, &err)) {
            judge_answer(check, subject, name, addresses.v[i], token, record.thumbprint, &answer);
            continue;
        }
        check_found_err(check, should_answer(subject) ? SEVERITY_WARNING : SEVERITY_NOTE, "challenge", name,
                        &err);
        check_why(check, "the web server should answer there over http");
    }
}

/* -- a listener of our own ------------------------------------------------------------------------------ */

/* One of each family; others of this machine's are as good as these. */
static void ask_own(struct check *check, const char *address, const char *token, const char *path, bool *all)
{
    struct probe_http answer;
    struct err err = ERR_INIT;
    size_t len = strlen(token);
    bool asked = role_probe_http(address, HTTP_PORT, false, address, path, PROBE_MS, &answer, &err);
    if (asked && answer.status == 200 && strncmp(answer.body, token, len) == 0)
        return;
    *all = false;
    if (asked)
        check_find(check, SEVERITY_WARNING, "challenge", NULL,
                   "a token that tlsup itself serves on port 80 does not come back on %s: http status %d",
                   address, answer.status);
    else
        check_found_err(check, SEVERITY_WARNING, "challenge", NULL, &err);
    check_why(check, "the CA would ask the same question, and get no better answer");
}

static void ask_each_family(struct check *check, const struct role *responder, struct err *err)
{
    AUTO_STRLIST own = STRLIST_INIT;
    char token[TOKEN_BYTES];
    bool all = true;
    struct msg msg = MSG_INIT(MSG_TOKEN_ADD);
    make_token(token);
    AUTO_FREE char *path = mem_fmt("/.well-known/acme-challenge/%s", token);
    snprintf(msg.token, sizeof msg.token, "%s", token);
    snprintf(msg.text, sizeof msg.text, "%s.check", token);
    if (!here_own_addresses(&own, err) || !msg_send(responder->fd, &msg, err))
        return;
    for (size_t i = 0; i < own.n; i++)
        if (strncmp(own.v[i], "fe80:", 5) != 0)
            ask_own(check, own.v[i], token, path, &all);
    if (all)
        check_find(check, SEVERITY_OK, "challenge", NULL,
                   "a challenge is answered by tlsup itself on port 80, on each of the %zu address%s of this "
                   "machine",
                   own.n, own.n == 1 ? "" : "es");
}

void check_own_answer(struct check *check)
{
    struct responder_sockets sockets = {0};
    struct role responder = ROLE_INIT;
    struct err err = ERR_INIT;
    char holder[PORT_HOLDER_BYTES];
    if (!check->root || port_holder(HTTP_PORT, holder, NULL))
        return;
    if (responder_listen(HTTP_PORT, sockets.http, &sockets.n_http, &err) &&
        role_start_responder(&sockets, &responder, &err))
        ask_each_family(check, &responder, &err);
    if (err_isset(&err))
        check_found_err(check, SEVERITY_WARNING, "challenge", NULL, &err);
    role_stop(&responder);
}
