#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "deploy_internal.h"
#include "tlsup/b64.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/roles.h"

enum { ANSWER_MS = 10000 };

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
    if (!role_probe_http(address, 80, false, name, path, DEPLOY_PROBE_MS, &answer, err))
        return err_context(err, "a test of the challenge's answer on %s", address),
               err_advise(
                   err,
                   "the CA will ask for http://%s%s and must get an answer: see what stands before the "
                   "web server on port 80, and its error log",
                   name, path);
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
    struct patience patience = deploy_patience(deploy, ANSWER_MS);
    for (size_t i = 0; i < names->n; i++) {
        AUTO_STRLIST addresses = STRLIST_INIT;
        if (!web_probe_addresses(&deploy->web, &deploy->sites, names->v[i], 80, &addresses, err))
            return false;
        for (size_t j = 0; j < addresses.n; j++) {
            struct err failed = ERR_INIT;
            while (!fetch_token(names->v[i], addresses.v[j], token, thumbprint, &failed) &&
                   deploy_is_asked_on(deploy, names->v[i], addresses.v[j], 80)) {
                if (signals_interrupted(err))
                    return false;
                if (!web_alive(&deploy->web, false, err))
                    return false;
                deploy_tell_again(deploy, &patience);
                if (!deploy_wait(deploy, &patience)) {
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

bool deploy_prove_challenge(struct deploy *deploy, const struct strlist *names, const char *thumbprint,
                            struct err *err)
{
    char token[44];
    AUTO_FREE char *path = NULL;
    struct err ignored = ERR_INIT;
    random_token(token);
    deploy_tell(deploy, "checking that the web server answers the challenge");
    bool ok = write_test_token(deploy, token, thumbprint, &path, err) &&
              prove_challenge(deploy, names, token, thumbprint, err);
    if (path != NULL && !fs_remove(path, &ignored))
        log_warn("%s", ignored.text);
    return ok;
}

/* -- those that are not committed yet ------------------------------------------------------------------- */

static void answer_clear(struct answer *answer)
{
    free(answer->cert_name);
    txn_free(answer->txn);
    *answer = (struct answer){0};
}

static size_t find_answer(const struct deploy *deploy, const char *cert_name)
{
    size_t i = 0;
    while (i < deploy->n_answers && strcmp(deploy->answers[i].cert_name, cert_name) != 0)
        i++;
    return i;
}

static void add_answer(struct deploy *deploy, const char *cert_name, struct txn *txn)
{
    deploy->answers = mem_resize(deploy->answers, deploy->n_answers + 1, sizeof *deploy->answers);
    deploy->answers[deploy->n_answers++] = (struct answer){mem_dup(cert_name), txn};
}

/* Nothing of it is left then, not even in the journal. */
static void put_back(struct deploy *deploy, const char *cert_name, struct txn *txn, struct err *why)
{
    struct err err = ERR_INIT;
    deploy_put_back(deploy, txn, why);
    if (!txn_prune(store_journal_dir(deploy->store), cert_name, SIZE_MAX, &err))
        log_warn("%s", err.text);
}

/* Later ones may rest on earlier ones. */
void deploy_put_answers_back(struct deploy *deploy, size_t first)
{
    while (deploy->n_answers > first) {
        struct err none = ERR_INIT;
        struct answer *last = &deploy->answers[--deploy->n_answers];
        put_back(deploy, last->cert_name, last->txn, &none);
        answer_clear(last);
    }
}

bool deploy_note_answers(struct deploy *deploy, struct err *err)
{
    for (size_t i = 0; i < deploy->n_answers; i++)
        if (!txn_note(deploy->answers[i].txn, TXN_VERIFIED, err))
            return false;
    return true;
}

bool deploy_challenge(struct deploy *deploy, const char *cert_name, const struct strlist *names,
                      const char *thumbprint, const char **token_dir, struct err *err)
{
    struct txn *txn = NULL;
    AUTO_FREE char *title = mem_fmt("answer challenges for %s", cert_name);
    size_t former = find_answer(deploy, cert_name);
    if (former < deploy->n_answers) { /* another CA's turn: what was made for the former goes first */
        deploy_put_answers_back(deploy, former);
        if (!deploy_reread(deploy, err))
            return false;
    }
    if (!txn_begin(store_journal_dir(deploy->store), cert_name, title, &txn, err))
        return false;
    bool ok = web_edit_challenge(&deploy->web, &deploy->sites, names, thumbprint, txn, err);
    bool changes = ok && txn_count(txn) > 0;
    if (changes)
        ok = deploy_take_up(deploy, txn, err) && deploy_reread(deploy, err);
    ok = ok && deploy_prove_challenge(deploy, names, thumbprint, err) &&
         (!changes || web_alive(&deploy->web, false, err));
    if (changes && !ok)
        put_back(deploy, cert_name, txn, err);
    if (changes && ok)
        add_answer(deploy, cert_name, txn);
    else
        txn_free(txn);
    *token_dir = deploy->token_dir;
    return ok;
}

bool deploy_keep(struct deploy *deploy, struct err *err)
{
    bool ok = deploy_note_answers(deploy, err);
    for (size_t i = 0; i < deploy->n_answers; i++) {
        ok = ok && txn_commit(deploy->answers[i].txn, err);
        answer_clear(&deploy->answers[i]);
    }
    deploy->n_answers = 0;
    return ok;
}
