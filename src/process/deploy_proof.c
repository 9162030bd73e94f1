#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deploy_internal.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/roles.h"

enum {
    PROOF_MS = 10000,
    REFUSAL_MS = 3000,
    LOOK_MS = 20000, /* for all pages as they are now: what could not be looked at in time is not compared */
    PAGE_MS = 6000,  /* for a page to be answered as before: a program behind the web server may blink */
    HTTP_PORT = 80,
    HTTPS_PORT = 443,
};

/* -- the certificate ------------------------------------------------------------------------------------ */

struct proof {
    struct leaves leaves;
    struct patience patience;
    int64_t refusal_ms; /* until then a refused handshake may be an old worker's */
    bool refused[PROBE_ECDSA + 1];
};

static const char *kind_name(enum probe_kind kind)
{
    static const char *const names[] = {[PROBE_ANY] = "", [PROBE_RSA] = "RSA", [PROBE_ECDSA] = "ECDSA"};
    return names[kind];
}

/* The suffix of the second pair of files; NULL = there is none. */
const char *leaves_second(const struct leaves *leaves)
{
    return leaves->n < 2 ? NULL : leaves->v[1].kind == PROBE_RSA ? "rsa" : "ecdsa";
}

static bool is_expected(const struct leaves *leaves, enum probe_kind asked, const char *sha256)
{
    for (size_t i = 0; i < leaves->n; i++)
        if ((asked == PROBE_ANY || asked == leaves->v[i].kind) && strcmp(sha256, leaves->v[i].sha256) == 0)
            return true;
    return false;
}

static bool shake_hands(const char *name, const char *address, enum probe_kind kind,
                        const struct leaves *leaves, struct probe_tls *seen, struct err *err)
{
    if (!role_probe_tls(address, 443, name, kind, DEPLOY_PROBE_MS, seen, err))
        return false;
    if (is_expected(leaves, kind, seen->sha256))
        return true;
    return err_set(err, ERR_PROOF, NEXT_LOCAL_FAULT, name,
                   "port 443 on %s serves another certificate than the one just installed%s%s", address,
                   kind == PROBE_ANY ? "" : " to a visitor who knows no other than ", kind_name(kind));
}

static void note_proof(struct deploy *deploy, const char *address, const struct probe_tls *seen)
{
    size_t len = strlen(deploy->proof);
    if (len == 0)
        snprintf(deploy->proof, sizeof deploy->proof, "%s on %s", seen->version, address);
    else if (strstr(deploy->proof, address) == NULL)
        snprintf(deploy->proof + len, sizeof deploy->proof - len, ", %s", address);
}

static void note_kinds(struct deploy *deploy, const struct proof *proof)
{
    size_t len = strlen(deploy->proof);
    if (proof->leaves.n > 1 && !proof->refused[PROBE_RSA] && !proof->refused[PROBE_ECDSA])
        snprintf(deploy->proof + len, sizeof deploy->proof - len, " with %s and %s",
                 kind_name(proof->leaves.v[0].kind), kind_name(proof->leaves.v[1].kind));
}

bool deploy_is_asked_on(const struct deploy *deploy, const char *name, const char *address, int port)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    struct err ignored = ERR_INIT;
    return !web_probe_addresses(&deploy->web, &deploy->sites, name, port, &addresses, &ignored) ||
           addresses.n == 0 || strlist_has(&addresses, address);
}

/* One kind of visitor, until it is right or the time is up. A site's own cipher suites may shut out those who
 * know one kind of certificate only: that is its owner's to decide, and no failure. */
static bool prove_kind(struct deploy *deploy, struct proof *proof, const char *name, const char *address,
                       enum probe_kind kind, struct err *err)
{
    struct err failed = ERR_INIT;
    struct probe_tls seen;
    while (!shake_hands(name, address, kind, &proof->leaves, &seen, &failed)) {
        if (signals_interrupted(err))
            return false;
        if (!deploy_is_asked_on(deploy, name, address, HTTPS_PORT))
            return true;
        if (kind != PROBE_ANY && failed.code == ERR_TLS && clock_mono_ms() >= proof->refusal_ms) {
            if (!proof->refused[kind])
                log_warn("%s refuses visitors who know %s certificates only, though it has one: see the "
                         "cipher suites of that site",
                         name, kind_name(kind));
            proof->refused[kind] = true;
            return true;
        }
        if (!web_alive(&deploy->web, false, err))
            return false;
        deploy_tell_again(deploy, &proof->patience);
        if (!deploy_wait(deploy, &proof->patience)) {
            *err = failed;
            (void)err_context(err, "the web server was reloaded, but does not serve the new certificate");
            return err_advise(err, "see its error log, and what answers on port 443 of that address");
        }
        err_clear(&failed);
    }
    note_proof(deploy, address, &seen);
    return true;
}

/* Whoever asks gets one of the leaves; of two, each is shown to those who can use no other. */
static bool prove_address(struct deploy *deploy, struct proof *proof, const char *name, const char *address,
                          struct err *err)
{
    if (!prove_kind(deploy, proof, name, address, PROBE_ANY, err))
        return false;
    for (size_t i = 0; i < proof->leaves.n && proof->leaves.n > 1; i++)
        if (!prove_kind(deploy, proof, name, address, proof->leaves.v[i].kind, err))
            return false;
    return true;
}

/* A real handshake by SNI for each name over each address shows the new leaf. */
bool deploy_prove_https(struct deploy *deploy, const struct strlist *names, const struct leaves *leaves,
                        struct err *err)
{
    struct proof proof = {.leaves = *leaves,
                          .patience = deploy_patience(deploy, PROOF_MS),
                          .refusal_ms = clock_mono_ms() + REFUSAL_MS};
    deploy->proof[0] = '\0';
    deploy_tell(deploy, "proving that port 443 serves the certificate");
    for (size_t i = 0; i < names->n; i++) {
        AUTO_STRLIST addresses = STRLIST_INIT;
        if (!web_probe_addresses(&deploy->web, &deploy->sites, names->v[i], 443, &addresses, err))
            return false;
        if (addresses.n == 0)
            return err_set(err, ERR_PROOF, NEXT_LOCAL_FAULT, names->v[i],
                           "no address of the web server serves it on port 443");
        for (size_t j = 0; j < addresses.n; j++)
            if (!prove_address(deploy, &proof, names->v[i], addresses.v[j], err))
                return false;
    }
    if (deploy->proof[0] == '\0') /* addresses may have gone while they were asked */
        return err_set(err, ERR_PROOF, NEXT_LOCAL_FAULT, names->n > 0 ? names->v[0] : NULL,
                       "no address was left on which port 443 could be asked");
    note_kinds(deploy, &proof);
    return web_alive(&deploy->web, false, err);
}

bool deploy_shows(const struct deploy *deploy, const struct strlist *names, const struct leaves *leaves)
{
    for (size_t i = 0; i < names->n; i++) {
        AUTO_STRLIST addresses = STRLIST_INIT;
        struct err unseen = ERR_INIT;
        if (!web_probe_addresses(&deploy->web, &deploy->sites, names->v[i], 443, &addresses, &unseen) ||
            addresses.n == 0)
            return false;
        for (size_t k = 0; k < addresses.n; k++) {
            struct probe_tls seen;
            if (!shake_hands(names->v[i], addresses.v[k], PROBE_ANY, leaves, &seen, &unseen))
                return false;
        }
    }
    return true;
}

/* -- the pages ------------------------------------------------------------------------------------------ */

void pages_clear(struct pages *pages)
{
    for (size_t i = 0; i < pages->n; i++) {
        free(pages->v[i].name);
        free(pages->v[i].address);
    }
    free(pages->v);
    *pages = (struct pages){0};
}

static bool ask_page(const struct page *page, struct probe_http *answer, struct err *err)
{
    return role_probe_http(page->address, page->https ? HTTPS_PORT : HTTP_PORT, page->https, page->name, "/",
                           DEPLOY_PROBE_MS, answer, err);
}

static bool is_to_https(const struct probe_http *answer)
{
    return answer->status >= 300 && answer->status <= 399 && strncmp(answer->location, "https://", 8) == 0;
}

static void look_at(const char *name, const char *address, bool https, struct pages *out)
{
    struct probe_http answer;
    struct err nobody = ERR_INIT;
    out->v = mem_resize(out->v, out->n + 1, sizeof *out->v);
    struct page *page = &out->v[out->n++];
    *page = (struct page){.name = mem_dup(name), .address = mem_dup(address), .https = https};
    if (ask_page(page, &answer, &nobody)) {
        page->status = answer.status;
        page->to_https = is_to_https(&answer);
    }
}

void deploy_look(struct deploy *deploy, const struct strlist *names, struct pages *out)
{
    struct err stop = ERR_INIT;
    int64_t deadline_ms = clock_mono_ms() + LOOK_MS;
    for (size_t i = 0; deploy->web.master_pid > 0 && i < names->n; i++) {
        for (int https = 0; https < 2; https++) {
            AUTO_STRLIST addresses = STRLIST_INIT;
            struct err none = ERR_INIT;
            int port = https ? HTTPS_PORT : HTTP_PORT;
            if ((https && sites_owner(&deploy->web, &deploy->sites, names->v[i], port, true) == NULL) ||
                !web_probe_addresses(&deploy->web, &deploy->sites, names->v[i], port, &addresses, &none))
                continue;
            for (size_t k = 0;
                 k < addresses.n && clock_mono_ms() < deadline_ms && !signals_interrupted(&stop); k++)
                look_at(names->v[i], addresses.v[k], https == 1, out);
        }
    }
}

static bool page_is_fine(const struct page *before, bool redirect, struct err *err)
{
    struct probe_http answer;
    const char *scheme = before->https ? "https" : "http";
    if (!ask_page(before, &answer, err))
        return err_context(err, "%s://%s/ was answered before the change on %s, and is no longer", scheme,
                           before->name, before->address),
               err_advise(
                   err,
                   "see the web server's error log, and what would be changed: the same command with --plan");
    /* the redirect came, or went; what failed may have got better */
    bool wanted = !before->https && (redirect ? is_to_https(&answer) : before->to_https);
    bool better = before->status >= 500 && answer.status < 500;
    if (answer.status == before->status || wanted || better)
        return true;
    err_set(err, ERR_PROOF, NEXT_LOCAL_FAULT, before->name,
            "%s://%s/ was answered with status %d before the change on %s, and with %d after it", scheme,
            before->name, before->status, before->address, answer.status);
    if (!before->https && is_to_https(&answer))
        return err_advise(
            err, "something in the site's configuration redirects to https as soon as there is TLS: if "
                 "that is what you want, run it again with --redirect");
    return err_advise(
        err, "the site's configuration or its program does something else when there is TLS: the same "
             "command with --plan shows what would be changed");
}

bool deploy_prove_pages(struct deploy *deploy, const struct pages *before, bool redirect, struct err *err)
{
    struct patience patience = deploy_patience(deploy, PAGE_MS);
    for (size_t i = 0; i < before->n; i++) {
        struct err failed = ERR_INIT;
        if (before->v[i].status == 0)
            continue;
        if (signals_interrupted(err))
            return false;
        while (!page_is_fine(&before->v[i], redirect, &failed)) {
            if (signals_interrupted(err))
                return false;
            if (!web_alive(&deploy->web, false, err))
                return false;
            if (!deploy_wait(deploy, &patience)) {
                *err = failed;
                return false;
            }
            err_clear(&failed);
        }
    }
    return true;
}
