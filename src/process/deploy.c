#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/deploy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "deploy_internal.h"
#include "tlsup/clock.h"
#include "tlsup/front.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/roles.h"

enum {
    TELL_AGAIN_MS = 4000,
    FIRST_PAUSE_MS = 20,
    LONGEST_PAUSE_MS = 500,
    UNREADABLE_TEST_MS = 3000,
    RELOAD_TESTS = 10, /* a reload reads what the test reads, and then has more to do */
    LONGEST_PATIENCE_MS = 60000
};

void deploy_tell(const struct deploy *deploy, const char *text)
{
    log_info("%s", text);
    if (deploy->progress != NULL)
        deploy->progress(deploy->ctx, text);
}

const struct web *deploy_web(const struct deploy *deploy)
{
    return &deploy->web;
}

const struct sites *deploy_sites(const struct deploy *deploy)
{
    return &deploy->sites;
}

const char *deploy_proof(const struct deploy *deploy)
{
    return deploy->proof;
}

/* -- waiting for the truth ------------------------------------------------------------------------------ */

static bool test(struct deploy *deploy, struct err *err)
{
    int64_t began_ms = clock_mono_ms();
    bool ok = web_test(&deploy->web, err);
    deploy->test_took_ms = clock_mono_ms() - began_ms;
    return ok;
}

struct patience deploy_patience(const struct deploy *deploy, int64_t time_ms)
{
    int64_t now_ms = clock_mono_ms();
    int64_t reload_ms = deploy->test_took_ms * RELOAD_TESTS;
    if (reload_ms > LONGEST_PATIENCE_MS)
        reload_ms = LONGEST_PATIENCE_MS;
    return (struct patience){
        .deadline_ms = now_ms + (time_ms > reload_ms ? time_ms : reload_ms),
        .pause_ms = FIRST_PAUSE_MS,
        .again_ms = now_ms + (TELL_AGAIN_MS > reload_ms / 2 ? TELL_AGAIN_MS : reload_ms / 2),
    };
}

bool deploy_wait(const struct deploy *deploy, struct patience *patience)
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

void deploy_tell_again(struct deploy *deploy, struct patience *patience)
{
    struct err ignored = ERR_INIT; /* the proof says what is wrong */
    int64_t now_ms = clock_mono_ms();
    if (patience->again_ms == 0 || now_ms < patience->again_ms || deploy->web.master_pid <= 0)
        return;
    patience->again_ms = 0;
    log_info("%s does not serve yet what it should; it is told to reload once more",
             web_kind_name(deploy->web.kind));
    if (!web_reload(&deploy->web, &ignored))
        log_info("%s", ignored.text);
    now_ms = clock_mono_ms();
    if (patience->deadline_ms < now_ms + TELL_AGAIN_MS)
        patience->deadline_ms = now_ms + TELL_AGAIN_MS;
}

/* -- opening -------------------------------------------------------------------------------------------- */

/* The parent of a process; 0 = it is gone. */
static pid_t parent_of(pid_t pid)
{
    AUTO_FREE char *path = mem_fmt("/proc/%ld/stat", (long)pid);
    AUTO_BUF text = BUF_INIT;
    struct err ignored = ERR_INIT;
    long parent = 0;
    const char *end = fs_read(path, 65536, &text, &ignored) ? strrchr(buf_str(&text), ')') : NULL;
    return end != NULL && sscanf(end + 1, " %*c %ld", &parent) == 1 ? (pid_t)parent : 0;
}

/* A worker that still ends its work after a reload holds the port for its master. */
static bool held_by_other(const struct web *web, int port, struct front *holder)
{
    return front_at(port, holder) && holder->pid > 0 && holder->pid != web->master_pid &&
           (web->master_pid == 0 || parent_of(holder->pid) != web->master_pid);
}

static bool check_443(const struct deploy *deploy, struct err *err)
{
    struct front holder;
    char name[FRONT_NAME_BYTES];
    const struct web *web = &deploy->web;
    if (!held_by_other(web, 443, &holder))
        return true;
    err_set(err, ERR_PORT, NEXT_FIX_CONFIG, "port 443",
            "port 443 is taken by %s, so %s cannot serve https on it", front_describe(&holder, name),
            web_kind_name(web->kind));
    return err_advise(err, "%s", front_advice(&holder));
}

bool deploy_reread(struct deploy *deploy, struct err *err)
{
    sites_clear(&deploy->sites);
    return web_read(&deploy->web, &deploy->sites, err);
}

/* The server's own words on what is wrong are better than ours. But what we cannot read may keep it waiting
 * for ever (a FIFO): then it is not given long. */
static bool baseline(struct deploy *deploy, struct err *err)
{
    struct err unreadable = ERR_INIT;
    bool readable = web_read(&deploy->web, &deploy->sites, &unreadable);
    deploy->web.test_ms = readable ? 0 : UNREADABLE_TEST_MS;
    bool ok = test(deploy, err);
    deploy->web.test_ms = 0;
    const char *kind = web_kind_name(deploy->web.kind);
    if (ok && !readable) {
        *err = unreadable;
        return err_context(
            err, "%s accepts its configuration, but it cannot be followed here, and nothing was touched",
            kind);
    }
    if (ok)
        return true;
    if (!readable && err->code == ERR_TIMEOUT)
        *err = unreadable;
    (void)err_context(err, "the configuration of %s is broken already, and nothing was touched", kind);
    return err_advise(err, "mend it first: %s -t shows where", deploy->web.bin);
}

bool deploy_open(struct store *store, enum web_kind wanted, const struct web_hints *hints,
                 deploy_progress_fn *progress, void *ctx, struct deploy **out, struct err *err)
{
    struct deploy *deploy = mem_alloc(sizeof *deploy);
    deploy->store = store;
    deploy->progress = progress;
    deploy->ctx = ctx;
    bool ok = web_find(wanted, hints, &deploy->web, err);
    if (ok && web_needs_token_files(&deploy->web)) {
        deploy->token_dir = fs_join(store_state_dir(store), "challenges");
        snprintf(deploy->web.token_dir, sizeof deploy->web.token_dir, "%s", deploy->token_dir);
    }
    if (ok) {
        deploy_tell(deploy, "testing the web server's configuration");
        ok = baseline(deploy, err);
    }
    if (!ok || !check_443(deploy, err)) {
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

/* Does it touch a file that the web server reads, beside our own links to certificates? */
static bool edits_the_server(const struct deploy *deploy, const struct txn *txn)
{
    AUTO_STRLIST paths = STRLIST_INIT;
    const char *ours = store_state_dir(deploy->store);
    size_t len = strlen(ours);
    txn_paths(txn, &paths);
    for (size_t i = 0; i < paths.n; i++)
        if (strncmp(paths.v[i], ours, len) != 0 || paths.v[i][len] != '/')
            return true;
    return false;
}

bool deploy_may_apply(struct deploy *deploy, const struct txn *txn, struct err *err)
{
    if (edits_the_server(deploy, txn) && !deploy->compared) {
        if (!web_compare(&deploy->web, &deploy->sites, err))
            return false;
        deploy->compared = true;
    }
    return txn_check(txn, err);
}

bool deploy_activate(struct deploy *deploy, struct txn *txn, struct err *err)
{
    deploy_tell(deploy, "testing the new configuration");
    if (!test(deploy, err))
        return err_context(err, "%s refuses the new configuration", web_kind_name(deploy->web.kind));
    if (!txn_note(txn, TXN_TESTED, err) || !txn_note(txn, TXN_RELOADING, err))
        return false;
    deploy_tell(deploy, "reloading the web server");
    return web_reload(&deploy->web, err);
}

bool deploy_take_up(struct deploy *deploy, struct txn *txn, struct err *err)
{
    return deploy_may_apply(deploy, txn, err) && txn_apply(txn, err) && deploy_activate(deploy, txn, err);
}

void deploy_put_back_all(struct deploy *deploy, struct txn *const txns[], size_t n, struct err *why)
{
    struct err err = ERR_INIT;
    bool had_reloaded = deploy->web.master_pid > 0 && n > 0 && txn_reached(txns[0], TXN_RELOADING);
    deploy_tell(deploy, "putting everything back");
    bool ok = txn_rollback_all(txns, n, &err);
    if (had_reloaded && web_test(&deploy->web, &err) && web_reload(&deploy->web, &err) &&
        web_alive(&deploy->web, true, &err))
        ok = txn_settle(store_journal_dir(deploy->store), &err) && ok;
    if (err_isset(&err) || !ok)
        log_error("while putting things back: %s", err.text);
    else if (err_isset(why) && strlen(why->text) + 64 < sizeof why->text)
        strcat(why->text, "\neverything was put back as it was"); /* NOLINT: bounded by the line above */
}

void deploy_put_back(struct deploy *deploy, struct txn *txn, struct err *why)
{
    deploy_put_back_all(deploy, &txn, 1, why);
}

/* -- closing -------------------------------------------------------------------------------------------- */

void deploy_close(struct deploy *deploy)
{
    if (deploy == NULL)
        return;
    deploy_put_answers_back(deploy, 0);
    free(deploy->answers);
    sites_clear(&deploy->sites);
    free(deploy->token_dir);
    free(deploy);
}
/* -- recovery -------------------------------------------------------------------------------------------- */

/* Which of them the interrupted run was at is not known: each that runs is told. */
static bool reload_all(struct err *err)
{
    static const enum web_kind kinds[] = {WEB_NGINX, WEB_APACHE};
    bool ok = true;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct web web;
        struct err why = ERR_INIT;
        bool found = web_find(kinds[i], NULL, &web, &why);
        bool told = found ? web.master_pid == 0 || (web_test(&web, &why) && web_reload(&web, &why) &&
                                                    web_alive(&web, true, &why))
                          : why.code == ERR_NOT_FOUND;
        if (!told)
            *err = why;
        ok = ok && told;
    }
    return ok;
}

bool deploy_recover(struct store *store, struct strlist *messages, struct err *err)
{
    struct txn_recovery recovery = {0};
    struct err reload = ERR_INIT;
    bool ok = txn_recover(store_journal_dir(store), &recovery, err);
    for (size_t i = 0; i < recovery.messages.n; i++)
        strlist_add(messages, recovery.messages.v[i]);
    if (ok && recovery.reload_needed) {
        if (reload_all(&reload))
            ok = txn_settle(store_journal_dir(store), err);
        else
            log_warn("the web server could not be reloaded after putting things back: %s", reload.text);
    }
    txn_recovery_clear(&recovery);
    return ok;
}
