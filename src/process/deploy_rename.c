#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "deploy_internal.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/roles.h"

enum { FILE_BYTES = 16 << 20, HTTPS_PORT = 443 };

struct renaming {
    struct deploy *deploy; /* NULL = no web server is concerned */
    struct store *store;
    const char *from, *to;
    struct cert_config config; /* as it will be */
    char *old_live, *new_live, *old_versions, *new_versions;
    int version;
    struct strlist *messages;
};

static void renaming_clear(struct renaming *renaming)
{
    cert_config_clear(&renaming->config);
    free(renaming->old_live);
    free(renaming->new_live);
    free(renaming->old_versions);
    free(renaming->new_versions);
}

static bool renaming_init(struct renaming *out, struct err *err)
{
    if (!store_cert_config(out->store, out->from, &out->config, err))
        return false;
    free(out->config.name);
    out->config.name = mem_dup(out->to);
    out->old_live = store_live_path(out->store, out->from);
    out->new_live = store_live_path(out->store, out->to);
    out->old_versions = mem_fmt("%s/certs/%s", store_state_dir(out->store), out->from);
    out->new_versions = mem_fmt("%s/certs/%s", store_state_dir(out->store), out->to);
    return store_live_version(out->store, out->from, &out->version, err);
}

/* -- what is staged ------------------------------------------------------------------------------------- */

static bool is_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    return strncmp(path, dir, len) == 0 && path[len] == '/';
}

static bool concerns(void *ctx, const char *cert_name)
{
    const struct renaming *renaming = ctx;
    return deploy_concerns(renaming->deploy, cert_name);
}

static bool redo(void *ctx, const char *cert_name, struct txn *txn, struct err *err)
{
    const struct renaming *renaming = ctx;
    return strcmp(cert_name, renaming->to) == 0 ? deploy_redo(renaming->deploy, &renaming->config, txn, err)
                                                : deploy_redo_other(renaming->deploy, cert_name, txn, err);
}

/* The old link stays until nothing reads what it leads to: what is said of it is of no consequence. */
static bool keep_old_link(const struct renaming *renaming, struct strlist *said, struct txn *txn,
                          struct err *err)
{
    AUTO_FREE char *target = store_version_link_target(renaming->from, renaming->version);
    for (size_t i = 0; i < said->n; i++)
        if (strstr(said->v[i], renaming->old_live) == NULL)
            strlist_add(renaming->messages, said->v[i]);
    return renaming->version == 0 || txn_symlink(txn, renaming->old_live, target, err);
}

static bool stage_ours(struct renaming *renaming, struct txn *txn, struct err *err)
{
    const struct txn_redo again = {
        .concerns = concerns, .edit = redo, .ctx = renaming, .successor = renaming->to};
    AUTO_STRLIST said = STRLIST_INIT;
    struct err why = ERR_INIT;
    if (txn_undo(txn, &again, &said, &why))
        return keep_old_link(renaming, &said, txn, err);
    if (why.code == ERR_NOT_FOUND) /* nothing was done for it */
        return true;
    *err = why;
    return false;
}

/* Is what stands before it the end of another path? */
static bool is_part_of_path(unsigned char before)
{
    return isalnum(before) || strchr("/._-", before) != NULL;
}

/* OLD/ -> NEW/ wherever it stands. Returns how often. */
static size_t replace_paths(const char *text, const char *old, const char *new, struct buf *out)
{
    size_t n = 0, len = strlen(old);
    const char *begin = text;
    for (const char *found; (found = strstr(text, old)) != NULL; text = found + len) {
        bool whole = found[len] == '/' && (found == begin || !is_part_of_path((unsigned char)found[-1]));
        buf_add(out, text, (size_t)(found - text));
        buf_adds(out, whole ? new : old);
        n += whole;
    }
    buf_adds(out, text);
    return n;
}

static bool stage_file(const struct renaming *renaming, const char *path, struct txn *txn, struct err *err)
{
    AUTO_BUF text = BUF_INIT, half = BUF_INIT, changed = BUF_INIT;
    if (!txn_read(txn, path, FILE_BYTES, &text, err))
        return false;
    size_t n = replace_paths(buf_str(&text), renaming->old_live, renaming->new_live, &half);
    n += replace_paths(buf_str(&half), renaming->old_versions, renaming->new_versions, &changed);
    if (n == 0)
        return true;
    AUTO_FREE char *message = mem_fmt("%s: the path of the certificate was changed in lines that tlsup had "
                                      "not written, too.",
                                      path);
    strlist_add(renaming->messages, message);
    return txn_write(txn, path, buf_str(&changed), changed.len, 0644, err);
}

/* A link of somebody's own is not ours to change, and would lead nowhere. */
static bool check_links(const struct renaming *renaming, struct err *err)
{
    const struct sites *sites = &renaming->deploy->sites;
    AUTO_FREE char *versions = realpath(renaming->old_versions, NULL);
    for (size_t i = 0; versions != NULL && i < sites->n; i++) {
        const struct site *site = &sites->v[i];
        const char *path = site->certificate != NULL ? site->certificate : "";
        AUTO_FREE char *real = path[0] == '/' ? realpath(path, NULL) : NULL;
        if (real == NULL || !is_below(real, versions) || is_below(path, renaming->old_live) ||
            is_below(path, renaming->old_versions))
            continue;
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, renaming->from,
                "%s:%zu reads it by way of %s, a link of your own that would lead nowhere", site->file,
                site->line, path);
        return err_advise(err, "put %s/fullchain.pem, and privkey.pem, there instead; then rename it",
                          renaming->old_live);
    }
    return true;
}

/* Sites, and whatever else, that people pointed at the certificate themselves. */
static bool stage_theirs(const struct renaming *renaming, struct txn *txn, struct err *err)
{
    AUTO_STRLIST files = STRLIST_INIT;
    const struct deploy *deploy = renaming->deploy;
    AUTO_FREE char *live = mem_fmt("%s/", renaming->old_live);
    AUTO_FREE char *versions = mem_fmt("%s/", renaming->old_versions);
    web_mentions(&deploy->web, &deploy->sites, live, &files, NULL);
    web_mentions(&deploy->web, &deploy->sites, versions, &files, NULL);
    for (size_t i = 0; i < files.n; i++) /* a file that is made anew under another name is gone by now */
        if (txn_exists(txn, files.v[i]) && !stage_file(renaming, files.v[i], txn, err))
            return false;
    return true;
}

static bool stage_moves(const struct renaming *renaming, struct txn *txn, struct err *err)
{
    struct store_move moves[STORE_MOVES];
    bool ok = store_rename_moves(renaming->store, renaming->from, renaming->to, moves, err);
    if (!ok)
        return false;
    for (size_t i = 0; ok && i < STORE_MOVES; i++)
        ok = moves[i].from == NULL || (txn_write(txn, moves[i].to, buf_str(&moves[i].content),
                                                 moves[i].content.len, (mode_t)moves[i].mode, err) &&
                                       txn_unlink(txn, moves[i].from, err));
    store_moves_clear(moves);
    return ok;
}

static bool stage_all(struct renaming *renaming, struct txn *txn, struct err *err)
{
    if (renaming->deploy != NULL &&
        (!check_links(renaming, err) || !stage_ours(renaming, txn, err) || !stage_theirs(renaming, txn, err)))
        return false;
    txn_make_final(txn);
    return stage_moves(renaming, txn, err);
}

/* -- the change ----------------------------------------------------------------------------------------- */

static bool prove(const struct renaming *renaming, const struct strlist *redone, const struct pages *before,
                  struct err *err)
{
    struct deploy *deploy = renaming->deploy;
    bool had_443 = deploy_listens(&deploy->sites, HTTPS_PORT);
    return deploy_reread(deploy, err) && deploy_prove_redone(deploy, redone, had_443, err) &&
           deploy_prove_pages(deploy, before, renaming->config.redirect, err);
}

static bool change_server(const struct renaming *renaming, struct txn *txn, struct err *err)
{
    struct pages before = {0};
    AUTO_STRLIST redone = STRLIST_INIT;
    txn_redone(txn, &redone);
    deploy_look(renaming->deploy, &renaming->config.names, &before);
    bool ok = !signals_interrupted(err) && deploy_take_up(renaming->deploy, txn, err) &&
              prove(renaming, &redone, &before, err) && txn_note(txn, TXN_VERIFIED, err);
    if (!ok)
        deploy_put_back(renaming->deploy, txn, err);
    pages_clear(&before);
    return ok;
}

static bool change_store(struct txn *txn, struct err *err)
{
    struct err ignored = ERR_INIT;
    if (!txn_apply(txn, err))
        return false;
    if (txn_note(txn, TXN_VERIFIED, err))
        return true;
    if (!txn_rollback(txn, &ignored)) /* the next run tries again */
        log_error("while putting things back: %s", ignored.text);
    return false;
}

static bool edits_the_server(const struct renaming *renaming, const struct txn *txn)
{
    AUTO_STRLIST paths = STRLIST_INIT;
    size_t ours = 0;
    if (renaming->deploy == NULL)
        return false;
    txn_paths(txn, &paths);
    for (size_t i = 0; i < paths.n; i++)
        ours += strncmp(paths.v[i], store_state_dir(renaming->store),
                        strlen(store_state_dir(renaming->store))) == 0 ||
                strncmp(paths.v[i], store_config_dir(renaming->store),
                        strlen(store_config_dir(renaming->store))) == 0;
    return ours < paths.n;
}

static bool carry_out(const struct renaming *renaming, struct txn *txn, struct err *err)
{
    struct err late = ERR_INIT;
    if (!(edits_the_server(renaming, txn) ? change_server(renaming, txn, err) : change_store(txn, err)))
        return false;
    signals_ignore();
    if (!txn_commit(txn, &late)) /* proven: the next run finds it in the journal and finishes it */
        log_warn("it is renamed, but that could not be written down: %s", late.text);
    return true;
}

bool deploy_rename(struct deploy *deploy, struct store *store, const char *from, const char *to,
                   struct strlist *messages, struct err *err)
{
    struct renaming renaming = {
        .deploy = deploy, .store = store, .from = from, .to = to, .messages = messages};
    struct txn *txn = NULL;
    AUTO_FREE char *title = mem_fmt("rename %s to %s", from, to);
    bool ok = renaming_init(&renaming, err) && txn_begin(store_journal_dir(store), from, title, &txn, err) &&
              stage_all(&renaming, txn, err) && carry_out(&renaming, txn, err);
    txn_free(txn);
    renaming_clear(&renaming);
    return ok;
}
