#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/deploy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "tlsup/b64.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/port.h"
#include "tlsup/roles.h"

enum {
    PROBE_TIMEOUT_MS = 5000,
    PROOF_DEADLINE_MS = 20000, /* a busy server's old workers may answer for a while after a reload */
    REFUSAL_DEADLINE_MS = 3000,
    FIRST_PAUSE_MS = 20,
    LONGEST_PAUSE_MS = 500,
    KEPT_JOURNALS = 3,
};

struct deploy {
    struct store *store;
    struct web web;
    struct sites sites;
    struct txn *challenge; /* applied and proven, not yet committed; NULL = none */
    char *token_dir;
    char proof[256];
    deploy_progress_fn *progress;
    void *ctx;
};

static void tell(const struct deploy *deploy, const char *text)
{
    log_info("%s", text);
    if (deploy->progress != NULL)
        deploy->progress(deploy->ctx, text);
}

const struct web *deploy_web(const struct deploy *deploy)
{
    return &deploy->web;
}

const char *deploy_proof(const struct deploy *deploy)
{
    return deploy->proof;
}

/* -- waiting for the truth ------------------------------------------------------------------------------ */

struct patience {
    int64_t deadline_ms;
    int pause_ms;
};

static struct patience patience_new(void)
{
    return (struct patience){clock_mono_ms() + PROOF_DEADLINE_MS, FIRST_PAUSE_MS};
}

/* Pause before asking again; false when the time is up. */
static bool patience_wait(const struct deploy *deploy, struct patience *patience)
{
    if (clock_mono_ms() >= patience->deadline_ms)
        return false;
    if (deploy->progress != NULL)
        deploy->progress(deploy->ctx, NULL);
    usleep((useconds_t)patience->pause_ms * 1000);
    patience->pause_ms =
        patience->pause_ms * 2 < LONGEST_PAUSE_MS ? patience->pause_ms * 2 : LONGEST_PAUSE_MS;
    return true;
}

/* -- opening -------------------------------------------------------------------------------------------- */

static bool held_by_other(const struct web *web, int port, char holder[PORT_HOLDER_BYTES])
{
    pid_t pid = 0;
    return port_holder(port, holder, &pid) && pid > 0 && pid != web->master_pid;
}

static bool check_443(const struct deploy *deploy, struct err *err)
{
    char holder[PORT_HOLDER_BYTES];
    const struct web *web = &deploy->web;
    if (!held_by_other(web, 443, holder))
        return true;
    err_set(err, ERR_PORT, NEXT_FIX_CONFIG, "port 443",
            "port 443 is taken by %s, so %s cannot serve https on it", holder, web_kind_name(web->kind));
    return err_advise(err, "stop that program or move it to another port, then run the same command again; "
                           "or get the certificate alone with "
                           "`tlsup issue`");
}

static bool reread(struct deploy *deploy, struct err *err)
{
    sites_clear(&deploy->sites);
    return web_read(&deploy->web, &deploy->sites, err);
}

bool deploy_open(struct store *store, enum web_kind wanted, deploy_progress_fn *progress, void *ctx,
                 struct deploy **out, struct err *err)
{
    struct deploy *deploy = mem_alloc(sizeof *deploy);
    deploy->store = store;
    deploy->progress = progress;
    deploy->ctx = ctx;
    bool ok = web_find(wanted, NULL, &deploy->web, err);
    if (ok && web_needs_token_files(&deploy->web)) {
        deploy->token_dir = fs_join(store_state_dir(store), "challenges");
        snprintf(deploy->web.token_dir, sizeof deploy->web.token_dir, "%s", deploy->token_dir);
    }
    if (ok) {
        tell(deploy, "testing the web server's configuration");
        ok = web_test(&deploy->web, err);
        if (!ok) {
            (void)err_context(err, "the configuration of %s is broken already, and nothing was touched",
                              web_kind_name(deploy->web.kind));
            (void)err_advise(err, "mend it first: %s -t shows where", deploy->web.bin);
        }
    }
    if (!ok || !check_443(deploy, err) || !reread(deploy, err)) {
        deploy_close(deploy);
        return false;
    }
    *out = deploy;
    return true;
}

bool deploy_listens_on_80(const struct deploy *deploy)
{
    if (deploy->web.master_pid == 0)
        return false;
    for (size_t i = 0; i < deploy->sites.n; i++)
        for (size_t j = 0; j < deploy->sites.v[i].n_listens; j++)
            if (deploy->sites.v[i].listens[j].port == 80)
                return true;
    return false;
}

/* -- one transaction ------------------------------------------------------------------------------------ */

/* Everything staged goes in and the server takes it up; on failure the caller puts it back. */
static bool take_up(struct deploy *deploy, struct txn *txn, struct err *err)
{
    if (!txn_apply(txn, err))
        return false;
    tell(deploy, "testing the new configuration");
    if (!web_test(&deploy->web, err))
        return err_context(err, "%s refuses the new configuration", web_kind_name(deploy->web.kind));
    if (!txn_note(txn, TXN_TESTED, err) || !txn_note(txn, TXN_RELOADING, err))
        return false;
    tell(deploy, "reloading the web server");
    return web_reload(&deploy->web, err);
}

/* Back to how it was, with the server told. What fails here is added to the error that led here. */
static void put_back(struct deploy *deploy, struct txn *txn, struct err *why)
{
    struct err err = ERR_INIT;
    bool had_reloaded = deploy->web.master_pid > 0;
    tell(deploy, "putting everything back");
    bool ok = txn_rollback(txn, &err);
    if (had_reloaded && web_test(&deploy->web, &err) && web_reload(&deploy->web, &err))
        ok = txn_settle(store_journal_dir(deploy->store), &err) && ok;
    if (err_isset(&err) || !ok)
        log_error("while putting things back: %s", err.text);
    else if (err_isset(why) && strlen(why->text) + 64 < sizeof why->text)
        strcat(why->text, "\neverything was put back as it was"); /* NOLINT: bounded by the line above */
}

/* -- the challenge -------------------------------------------------------------------------------------- */

static void random_token(char out[44])
{
    unsigned char bytes[32];
    AUTO_BUF text = BUF_INIT;
    if (getentropy(bytes, sizeof bytes) != 0) /* only a name for a test fetch: uniqueness is enough */
        snprintf((char *)bytes, sizeof bytes, "%lld.%d", (long long)clock_mono_ms(), (int)getpid());
    b64url_encode(bytes, sizeof bytes, &text);
    snprintf(out, 44, "%s", buf_str(&text));
}

static bool fetch_token(const char *name, const char *address, const char *token, const char *thumbprint,
                        struct err *err)
{
    struct probe_http answer;
    AUTO_FREE char *path = mem_fmt("/.well-known/acme-challenge/%s", token);
    AUTO_FREE char *expected = mem_fmt("%s.%s", token, thumbprint);
    if (!role_probe_http(address, 80, false, name, path, PROBE_TIMEOUT_MS, &answer, err))
        return err_context(err, "a test of the challenge's answer on %s", address);
    size_t len = strcspn(answer.body, "\r\n");
    if (answer.status == 200 && len == strlen(expected) && strncmp(answer.body, expected, len) == 0)
        return true;
    err_set(err, ERR_PROOF, NEXT_FIX_CONFIG, name,
            "a test of the challenge's answer on %s failed: http status %d%s%s instead of the token", address,
            answer.status, answer.location[0] != '\0' ? " to " : "", answer.location);
    return err_advise(err,
                      "something in the web server's configuration answers before tlsup does for http://%s%s",
                      name, path);
}

/* The same over every address of every name, until it is right or the time is up. */
static bool prove_challenge(struct deploy *deploy, const struct strlist *names, const char *token,
                            const char *thumbprint, struct err *err)
{
    struct patience patience = patience_new();
    for (size_t i = 0; i < names->n; i++) {
        AUTO_STRLIST addresses = STRLIST_INIT;
        if (!web_probe_addresses(&deploy->web, &deploy->sites, names->v[i], 80, &addresses, err))
            return false;
        for (size_t j = 0; j < addresses.n; j++) {
            struct err failed = ERR_INIT;
            while (!fetch_token(names->v[i], addresses.v[j], token, thumbprint, &failed)) {
                if (signals_interrupted(err))
                    return false;
                if (!patience_wait(deploy, &patience)) {
                    *err = failed;
                    return false;
                }
                err_clear(&failed);
            }
        }
    }
    return true;
}

static bool write_test_token(const struct deploy *deploy, const char *token, const char *thumbprint,
                             char **path, struct err *err)
{
    if (deploy->token_dir == NULL)
        return true;
    *path = fs_join(deploy->token_dir, token);
    AUTO_FREE char *text = mem_fmt("%s.%s", token, thumbprint);
    return fs_write(*path, text, strlen(text), 0644, err);
}

static bool try_challenge(struct deploy *deploy, const struct strlist *names, const char *thumbprint,
                          struct err *err)
{
    char token[44];
    AUTO_FREE char *path = NULL;
    struct err ignored = ERR_INIT;
    random_token(token);
    tell(deploy, "checking that the web server answers the challenge");
    bool ok = write_test_token(deploy, token, thumbprint, &path, err) &&
              prove_challenge(deploy, names, token, thumbprint, err);
    if (path != NULL && !fs_remove(path, &ignored))
        log_warn("%s", ignored.text);
    return ok;
}

bool deploy_challenge(struct deploy *deploy, const char *cert_name, const struct strlist *names,
                      const char *thumbprint, const char **token_dir, struct err *err)
{
    struct txn *txn = NULL;
    AUTO_FREE char *title = mem_fmt("answer challenges for %s", cert_name);
    if (!txn_begin(store_journal_dir(deploy->store), cert_name, title, &txn, err))
        return false;
    bool ok = web_edit_challenge(&deploy->web, &deploy->sites, names, thumbprint, txn, err);
    bool changes = ok && txn_count(txn) > 0;
    if (changes)
        ok = take_up(deploy, txn, err) && reread(deploy, err);
    ok = ok && try_challenge(deploy, names, thumbprint, err);
    if (changes && !ok)
        put_back(deploy, txn, err);
    if (changes && ok) {
        deploy->challenge = txn;
    } else {
        txn_free(txn);
    }
    *token_dir = deploy->token_dir;
    return ok;
}

bool deploy_keep(struct deploy *deploy, struct err *err)
{
    struct txn *txn = deploy->challenge;
    if (txn == NULL)
        return true;
    deploy->challenge = NULL;
    bool ok = txn_note(txn, TXN_VERIFIED, err) && txn_commit(txn, err);
    txn_free(txn);
    return ok;
}

void deploy_close(struct deploy *deploy)
{
    struct err none = ERR_INIT;
    if (deploy == NULL)
        return;
    if (deploy->challenge != NULL) {
        put_back(deploy, deploy->challenge, &none);
        txn_free(deploy->challenge);
    }
    sites_clear(&deploy->sites);
    free(deploy->token_dir);
    free(deploy);
}

/* -- the certificate ------------------------------------------------------------------------------------ */

static bool is_https_redirect(const struct probe_http *answer)
{
    return answer->status >= 300 && answer->status <= 399 && strncmp(answer->location, "https://", 8) == 0;
}

/* How http://NAME/ was answered before the change. */
struct front {
    int status; /* 0 = by nobody */
    bool to_https;
};

static struct front *look_at_fronts(struct deploy *deploy, const struct strlist *names)
{
    struct front *fronts = mem_array(names->n, sizeof *fronts);
    for (size_t i = 0; i < names->n; i++) {
        AUTO_STRLIST addresses = STRLIST_INIT;
        struct err err = ERR_INIT;
        struct probe_http answer;
        if (deploy->web.master_pid > 0 &&
            web_probe_addresses(&deploy->web, &deploy->sites, names->v[i], 80, &addresses, &err) &&
            addresses.n > 0 &&
            role_probe_http(addresses.v[0], 80, false, names->v[i], "/", PROBE_TIMEOUT_MS, &answer, &err))
            fronts[i] = (struct front){answer.status, is_https_redirect(&answer)};
    }
    return fronts;
}

/* What answered on port 80 before must still do so, unless https was asked for instead. */
static bool prove_front(struct deploy *deploy, const struct strlist *names, const struct front *before,
                        bool redirect, struct err *err)
{
    for (size_t i = 0; i < names->n; i++) {
        AUTO_STRLIST addresses = STRLIST_INIT;
        struct probe_http answer;
        if (before[i].status == 0)
            continue;
        if (!web_probe_addresses(&deploy->web, &deploy->sites, names->v[i], 80, &addresses, err) ||
            addresses.n == 0 ||
            !role_probe_http(addresses.v[0], 80, false, names->v[i], "/", PROBE_TIMEOUT_MS, &answer, err))
            return err_context(err, "http://%s/ was answered before the change, and is no longer",
                               names->v[i]);
        bool wanted =
            redirect ? is_https_redirect(&answer) : before[i].to_https; /* the redirect came, or went */
        if (answer.status != before[i].status && !wanted)
            return err_set(err, ERR_PROOF, NEXT_LOCAL_FAULT, names->v[i],
                           "http://%s/ was answered with status %d before the change, and with %d after it",
                           names->v[i], before[i].status, answer.status);
    }
    return true;
}

/* The leaves that must be served: one, or one of each kind. */
struct leaves {
    struct leaf {
        char sha256[65];
        enum probe_kind kind;
    } v[STORE_PARTS];
    size_t n;
};

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
static const char *second_of(const struct leaves *leaves)
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
    if (!role_probe_tls(address, 443, name, kind, PROBE_TIMEOUT_MS, seen, err))
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
        if (kind != PROBE_ANY && failed.code == ERR_TLS && clock_mono_ms() >= proof->refusal_ms) {
            if (!proof->refused[kind])
                log_warn("%s refuses visitors who know %s certificates only, though it has one: see the "
                         "cipher suites of that site",
                         name, kind_name(kind));
            proof->refused[kind] = true;
            return true;
        }
        if (!patience_wait(deploy, &proof->patience)) {
            *err = failed;
            return err_context(err, "the web server was reloaded, but does not serve the new certificate");
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
static bool prove_https(struct deploy *deploy, const struct strlist *names, const struct leaves *leaves,
                        struct err *err)
{
    struct proof proof = {
        .leaves = *leaves, .patience = patience_new(), .refusal_ms = clock_mono_ms() + REFUSAL_DEADLINE_MS};
    deploy->proof[0] = '\0';
    tell(deploy, "proving that port 443 serves the certificate");
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
    note_kinds(deploy, &proof);
    return true;
}

static bool read_leaf(struct deploy *deploy, const char *cert_name, int version, int part, struct leaf *out,
                      struct err *err)
{
    AUTO_CHAIN *chain = NULL;
    struct cert_info info = CERT_INFO_INIT;
    bool ok = store_version_chain(deploy->store, cert_name, version, part, &chain, err) &&
              cert_chain_info(chain, &info, err);
    if (ok) {
        memcpy(out->sha256, info.sha256, sizeof info.sha256);
        out->kind = strncmp(info.key_type, "rsa", 3) == 0 ? PROBE_RSA : PROBE_ECDSA;
    }
    cert_info_clear(&info);
    return ok;
}

static bool read_leaves(struct deploy *deploy, const char *cert_name, int version, struct leaves *out,
                        struct err *err)
{
    struct err none = ERR_INIT;
    *out = (struct leaves){.n = 1};
    if (!read_leaf(deploy, cert_name, version, 0, &out->v[0], err))
        return false;
    if (!read_leaf(deploy, cert_name, version, 1, &out->v[1], &none)) {
        if (none.code == ERR_NOT_FOUND)
            return true;
        *err = none;
        return false;
    }
    out->n = 2;
    return true;
}

/* A version may still have a second certificate when the next one will not. */
static bool wants_one(struct deploy *deploy, const char *cert_name)
{
    struct cert_config config = {0};
    struct err ignored = ERR_INIT;
    bool one = store_cert_config(deploy->store, cert_name, &config, &ignored) && !config.dual;
    cert_config_clear(&config);
    return one;
}

/* Leave out what is not wanted, or what this web server cannot be given. */
static void fit_leaves(struct deploy *deploy, const char *cert_name, struct leaves *leaves)
{
    if (leaves->n < 2)
        return;
    if (wants_one(deploy, cert_name)) {
        leaves->n = 1;
    } else if (!web_takes_two(&deploy->web)) {
        log_warn("%s %s cannot have two certificates for one site: it gets the first of %s alone",
                 web_kind_name(deploy->web.kind), deploy->web.version, cert_name);
        leaves->n = 1;
    }
}

/* Does the web server read files now that are not in the new version? */
static bool loses_files(struct deploy *deploy, const char *cert_name, const struct leaves *leaves)
{
    struct leaves now;
    int version = 0;
    struct err ignored = ERR_INIT;
    const char *second = second_of(leaves);
    return store_live_version(deploy->store, cert_name, &version, &ignored) && version > 0 &&
           read_leaves(deploy, cert_name, version, &now, &ignored) && second_of(&now) != NULL &&
           (second == NULL || strcmp(second, second_of(&now)) != 0);
}

static bool stage(struct deploy *deploy, const char *cert_name, const struct strlist *names, int version,
                  const struct leaves *leaves, bool redirect, struct txn *txn, struct err *err)
{
    AUTO_FREE char *live = store_live_path(deploy->store, cert_name);
    AUTO_FREE char *target = store_version_link_target(cert_name, version);
    struct web_https https = {.names = names,
                              .live_dir = live,
                              .second = second_of(leaves),
                              .cert_name = cert_name,
                              .redirect = redirect};
    /* the link first, so that nothing refers to files that are not there yet; or last, when some go */
    bool link_last = loses_files(deploy, cert_name, leaves);
    return (link_last || txn_symlink(txn, live, target, err)) &&
           web_edit_https(&deploy->web, &deploy->sites, &https, txn, err) &&
           (!link_last || txn_symlink(txn, live, target, err));
}

bool deploy_has_place(struct deploy *deploy, const char *cert_name, const struct strlist *names, bool dual,
                      bool redirect, struct err *err)
{
    AUTO_FREE char *live = store_live_path(deploy->store, cert_name);
    struct web_https https = {.names = names,
                              .live_dir = live,
                              .second = dual && web_takes_two(&deploy->web) ? "rsa" : NULL,
                              .cert_name = cert_name,
                              .redirect = redirect};
    struct txn *txn = NULL;
    if (!txn_begin(store_journal_dir(deploy->store), cert_name, "a look ahead", &txn, err))
        return false;
    bool ok = web_edit_https(&deploy->web, &deploy->sites, &https, txn, err);
    txn_free(txn);
    return ok;
}

static bool reach(struct deploy *deploy, const char *cert_name, struct cert_state *state,
                  enum deploy_step step, struct err *err)
{
    state->step = step;
    if (step == DEPLOY_VERIFIED)
        state->verified_s = clock_now_s();
    return store_state_save(deploy->store, cert_name, state, err);
}

/* Everything between the journal and the commit. */
static bool change_over(struct deploy *deploy, const char *cert_name, const struct strlist *names,
                        const struct leaves *leaves, bool redirect, struct txn *txn, struct cert_state *state,
                        struct err *err)
{
    AUTO_FREE struct front *before = look_at_fronts(deploy, names);
    return take_up(deploy, txn, err) && reread(deploy, err) &&
           reach(deploy, cert_name, state, DEPLOY_RELOADED, err) && prove_https(deploy, names, leaves, err) &&
           prove_front(deploy, names, before, redirect, err) && txn_note(txn, TXN_VERIFIED, err);
}

/* Proven: from here on it is only written down. What cannot be written now the next run finds in the journal
 * and finishes. */
static void commit(struct deploy *deploy, const char *cert_name, struct txn *txn, struct cert_state *state)
{
    struct err err = ERR_INIT;
    signals_ignore();
    if (!deploy_keep(deploy, &err) || !txn_commit(txn, &err) ||
        !txn_prune(store_journal_dir(deploy->store), cert_name, KEPT_JOURNALS, &err) ||
        !reach(deploy, cert_name, state, DEPLOY_VERIFIED, &err))
        log_warn("https is on and proven, but that could not be written down: %s%s%s", err.text,
                 err.advice[0] != '\0' ? "; " : "", err.advice);
}

bool deploy_certificate(struct deploy *deploy, const char *cert_name, const struct strlist *names,
                        int version, bool redirect, struct cert_state *state, struct err *err)
{
    struct leaves leaves;
    struct txn *txn = NULL;
    AUTO_FREE char *title = mem_fmt("https for %s", cert_name);
    struct err ignored = ERR_INIT;
    if (!read_leaves(deploy, cert_name, version, &leaves, err) ||
        !txn_begin(store_journal_dir(deploy->store), cert_name, title, &txn, err))
        return false;
    fit_leaves(deploy, cert_name, &leaves);
    state->version = version;
    bool ok = stage(deploy, cert_name, names, version, &leaves, redirect, txn, err);
    bool staged = ok;
    if (ok && txn_count(txn) == 0) { /* all there already: only the proof is due */
        ok =
            prove_https(deploy, names, &leaves, err) && reach(deploy, cert_name, state, DEPLOY_VERIFIED, err);
        txn_free(txn);
        return ok;
    }
    ok = ok && change_over(deploy, cert_name, names, &leaves, redirect, txn, state, err);
    if (staged && !ok) {
        put_back(deploy, txn, err);
        if (!reach(deploy, cert_name, state, DEPLOY_ISSUED, &ignored))
            log_warn("%s", ignored.text);
    }
    if (ok)
        commit(deploy, cert_name, txn, state);
    txn_free(txn);
    return ok;
}

/* -- taking back ---------------------------------------------------------------------------------------- */

bool deploy_undo(struct deploy *deploy, const char *cert_name, struct strlist *messages, struct err *err)
{
    struct txn *txn = NULL;
    AUTO_FREE char *title = mem_fmt("undo %s", cert_name);
    if (!txn_begin(store_journal_dir(deploy->store), cert_name, title, &txn, err))
        return false;
    bool ok = txn_undo(txn, messages, err);
    if (ok && txn_count(txn) > 0) {
        ok = take_up(deploy, txn, err);
        if (!ok)
            put_back(deploy, txn, err);
    }
    ok = ok && txn_note(txn, TXN_VERIFIED, err) && txn_commit(txn, err);
    txn_free(txn);
    return ok;
}

bool deploy_recover(struct store *store, struct strlist *messages, struct err *err)
{
    struct txn_recovery recovery = {0};
    struct web web;
    struct err reload = ERR_INIT;
    bool ok = txn_recover(store_journal_dir(store), &recovery, err);
    for (size_t i = 0; i < recovery.messages.n; i++)
        strlist_add(messages, recovery.messages.v[i]);
    if (ok && recovery.reload_needed) {
        bool found = web_find(WEB_NONE, NULL, &web, &reload);
        bool told = found && (web.master_pid == 0 || (web_test(&web, &reload) && web_reload(&web, &reload)));
        if (told || (!found && reload.code == ERR_NOT_FOUND))
            ok = txn_settle(store_journal_dir(store), err);
        else
            log_warn("the web server could not be reloaded after putting things back: %s", reload.text);
    }
    txn_recovery_clear(&recovery);
    return ok;
}
