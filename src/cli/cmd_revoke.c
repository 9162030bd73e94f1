/*
 * revoke: tell the CA that a certificate must not be trusted any more (RFC 8555 section 7.6).
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "run.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

enum { MAX_PEM_BYTES = 256 * 1024, REASON_KEY_COMPROMISE = 1 };

/* What is to be revoked, and in whose name. */
struct subject {
    struct cert_config config; /* which CA and account, and the way there */
    struct cert_state state;
    bool stored;             /* it is a certificate of ours */
    int version, live, part; /* `part`: of a file, which one of the version's it is */
    struct cert_chain *chains[STORE_PARTS];
    struct key *keys[STORE_PARTS]; /* to sign with, NULL = the account */
    size_t n;
};

static void subject_clear(struct subject *subject)
{
    cert_config_clear(&subject->config);
    cert_state_clear(&subject->state);
    for (size_t i = 0; i < subject->n; i++) {
        cert_chain_free(subject->chains[i]);
        key_free(subject->keys[i]);
    }
    *subject = (struct subject){0};
}

static void replace(char **field, const char *value)
{
    if (value != NULL) {
        free(*field);
        *field = mem_dup(value);
    }
}

/* The CA that issued it is the one to revoke it, whatever is configured for the next renewal. */
static void choose_ca(const struct request *request, struct subject *subject)
{
    if (request->server != NULL)
        replace(&subject->config.server, request->server);
    else if (subject->stored && subject->state.issued_by[0] != '\0')
        replace(&subject->config.server, subject->state.issued_by);
    replace(&subject->config.account, request->account);
    replace(&subject->config.ca_bundle, request->ca_bundle);
    run_overlay_connection(request, &subject->config);
}

static bool load_stored(struct run *run, const char *name, struct subject *out, struct err *err)
{
    if (!store_cert_config(run->store, name, &out->config, err)) {
        return err_advise(
            err, "`tlsup status` lists what there is; a certificate in a file is revoked with --cert-path");
    }
    out->stored = true;
    if (!store_state_load(run->store, name, &out->state, err) ||
        !store_live_version(run->store, name, &out->live, err))
        return false;
    out->version = out->live;
    if (out->version == 0)
        return err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, name,
                       "there is no certificate yet that could be revoked");
    for (int part = 0; part < STORE_PARTS; part++) {
        struct err missing = ERR_INIT;
        if (store_version_chain(run->store, name, out->version, part, &out->chains[out->n], &missing)) {
            out->n++;
        } else if (part == 0 || missing.code != ERR_NOT_FOUND) {
            *err = missing;
            return false;
        }
    }
    return true;
}

static bool load_file(struct run *run, const char *path, struct subject *out, struct err *err)
{
    AUTO_BUF pem = BUF_INIT;
    if (!store_defaults(run->store, &out->config, err) || !fs_read(path, MAX_PEM_BYTES, &pem, err) ||
        !cert_chain_parse(pem.data, pem.len, path, &out->chains[0], err))
        return false;
    out->n = 1;
    return true;
}

/* The certificate's own key, where it is to sign: from a file, or the stored one. */
static bool load_keys(struct run *run, const struct request *request, struct subject *subject,
                      struct err *err)
{
    AUTO_BUF pem = BUF_SECRET;
    if (request->key_path != NULL) {
        if (!fs_read(request->key_path, MAX_PEM_BYTES, &pem, err) ||
            !key_from_text(pem.data, pem.len, request->key_path, &subject->keys[0], err))
            return false;
        if (subject->n == 2)
            return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, request->key_path,
                           "this entry holds two certificates; --by-key revokes both, each with its own key");
    } else if (request->by_certificate_key) {
        if (!subject->stored)
            return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, NULL,
                           "--by-key needs a stored certificate, or give --key-path");
        for (size_t i = 0; i < subject->n; i++)
            if (!store_version_key(run->store, subject->config.name, subject->version, subject->part + (int)i,
                                   &subject->keys[i], err))
                return false;
    }
    for (size_t i = 0; i < subject->n; i++) {
        struct cert_info info = CERT_INFO_INIT;
        char spki[KEY_SPKI_BYTES];
        if (subject->keys[i] == NULL)
            continue;
        bool ok =
            cert_chain_info(subject->chains[i], &info, err) && key_spki_sha256(subject->keys[i], spki, err);
        if (ok && strcmp(info.spki, spki) != 0)
            ok = err_set(err, ERR_MISMATCH, NEXT_FIX_CONFIG, request->key_path,
                         "the key is not that of the certificate");
        cert_info_clear(&info);
        if (!ok)
            return false;
    }
    return true;
}

/* Known before the CA is told: a run cut in between must not use the key again. */
static bool remember_compromise(struct run *run, const struct subject *subject, struct err *err)
{
    for (size_t i = 0; i < subject->n; i++) {
        struct cert_info info = CERT_INFO_INIT;
        bool ok = cert_chain_info(subject->chains[i], &info, err) &&
                  store_key_compromised_add(run->store, info.spki, err);
        cert_info_clear(&info);
        if (!ok)
            return false;
    }
    return true;
}

static bool is_version(struct run *run, const char *name, int version, int part, const char *sha256)
{
    struct cert_info info = CERT_INFO_INIT;
    bool is = run_version_info(run, name, version, part, &info) && strcmp(info.sha256, sha256) == 0;
    cert_info_clear(&info);
    return is;
}

static bool take_version(struct run *run, const char *name, int version, int part, struct subject *subject)
{
    struct err ignored = ERR_INIT;
    subject->stored = store_state_load(run->store, name, &subject->state, &ignored) &&
                      store_live_version(run->store, name, &subject->live, &ignored);
    replace(&subject->config.name, name);
    subject->version = version;
    subject->part = part;
    return subject->stored;
}

static bool find_among(struct run *run, const char *name, const char *sha256, struct subject *subject)
{
    AUTO_FREE int *versions = NULL;
    size_t n = 0;
    struct err ignored = ERR_INIT;
    if (!store_versions(run->store, name, &versions, &n, &ignored))
        return false;
    while (n-- > 0)
        for (int part = 0; part < STORE_PARTS; part++)
            if (is_version(run, name, versions[n], part, sha256))
                return take_version(run, name, versions[n], part, subject);
    return false;
}

/* A certificate that came in a file may be one of ours all the same, in use or a former version. */
static void find_held(struct run *run, struct subject *subject)
{
    AUTO_STRLIST names = STRLIST_INIT;
    struct err ignored = ERR_INIT;
    struct cert_info wanted = CERT_INFO_INIT;
    bool ok = !subject->stored && cert_chain_info(subject->chains[0], &wanted, &ignored) &&
              store_cert_names(run->store, &names, &ignored);
    for (size_t i = 0; ok && i < names.n; i++)
        ok = !find_among(run, names.v[i], wanted.sha256, subject);
    cert_info_clear(&wanted);
}

/* Beside the version, so that it is not brought back; the next `renew` replaces the one in use. */
static bool remember_revocation(struct run *run, struct subject *subject, struct err *err)
{
    const char *name = subject->config.name;
    if (!subject->stored)
        return true;
    subject->state.revoked |= subject->version == subject->live;
    return store_state_save(run->store, name, &subject->state, err) &&
           store_version_revoke(run->store, name, subject->version, err);
}

static void say_what_follows(const struct run *run, const struct subject *subject)
{
    const char *name = subject->config.name;
    if (!subject->stored)
        return;
    if (subject->version == subject->live)
        output_line("The next renewal replaces it; at once: tlsup renew %s", name);
    else
        output_line("It is version %d of %s, which is not in use, and is not put in place again.",
                    subject->version, name);
    if (run->request->reason == REASON_KEY_COMPROMISE)
        output_line("Its key will not be used again.");
}

static bool revoke_all(struct run *run, struct keeper *keeper, struct subject *subject, bool *already,
                       struct err *err)
{
    for (size_t i = 0; i < subject->n; i++) {
        AUTO_BUF der = BUF_INIT;
        bool was = false;
        if (!cert_chain_leaf_der(subject->chains[i], &der, err) ||
            !keeper_revoke(keeper, &der, run->request->reason, subject->keys[i], &was, err) ||
            !remember_revocation(run, subject, err)) /* after each: half of it revoked is revoked */
            return false;
        *already = (i == 0 || *already) && was;
    }
    return true;
}

static bool work(struct run *run, struct subject *subject, struct err *err)
{
    const struct request *request = run->request;
    struct keeper *keeper;
    char ca[256];
    bool already = false;
    bool loaded = request->cert_path != NULL ? load_file(run, request->cert_path, subject, err)
                                             : load_stored(run, request->arguments.v[0], subject, err);
    if (!loaded)
        return false;
    find_held(run, subject);
    const char *what = request->cert_path != NULL ? request->cert_path : subject->config.name;
    choose_ca(request, subject);
    AUTO_FREE char *question = mem_fmt("Revoke %s? This cannot be taken back.", what);
    if (!request->non_interactive && !output_ask(question, false))
        return err_set(err, ERR_USAGE, NEXT_NONE, what, "not revoked");
    output_step("Revoking %s at %s", what, config_ca_name(subject->config.server, ca));
    if (!run_keeper(run, &subject->config, 0, &keeper, err) || !load_keys(run, request, subject, err) ||
        (request->reason == REASON_KEY_COMPROMISE && !remember_compromise(run, subject, err)) ||
        !revoke_all(run, keeper, subject, &already, err))
        return false;
    output_done(already ? "%s was revoked already" : "%s is revoked", what);
    say_what_follows(run, subject);
    return true;
}

bool cmd_revoke(const struct request *request, struct err *err)
{
    struct run run;
    struct subject subject = {0};
    if (!run_open(request, &run, err))
        return false;
    bool ok = work(&run, &subject, err);
    if (!ok)
        output_failed();
    subject_clear(&subject);
    run_close(&run);
    return ok;
}
