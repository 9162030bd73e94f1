/*
 * import_take.c - carries out what import_judge.c has found: accounts, files, versions, settings.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "imports.h"
#include "output.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

enum { PROGRAM_BYTES = 1024 * 1024 };

/* -- accounts ------------------------------------------------------------------------------------------- */

static bool take_account(struct store *store, const struct import_taken_account *taken, struct err *err)
{
    const struct import_account *account = taken->account;
    const char *name = taken->name[0] != '\0' ? taken->name : NULL;
    struct account_record record = {.status = "valid"};
    AUTO_KEY *key = NULL;
    snprintf(record.url, sizeof record.url, "%s", account->url != NULL ? account->url : "");
    snprintf(record.email, sizeof record.email, "%s", account->email != NULL ? account->email : "");
    if (account->eab_kid != NULL && account->eab_hmac_key != NULL) {
        snprintf(record.eab_kid, sizeof record.eab_kid, "%s", account->eab_kid);
        snprintf(record.eab_hmac_key, sizeof record.eab_hmac_key, "%s", account->eab_hmac_key);
    }
    snprintf(record.thumbprint, sizeof record.thumbprint, "%s", taken->thumbprint);
    record.created_s = clock_now_s();
    return key_from_text(buf_str(&account->key), account->key.len, account->path, &key, err) &&
           store_account_key_import(store, taken->server, name, key, NULL, err) &&
           store_account_save(store, taken->server, name, &record, err);
}

static struct err *account_trouble(struct imports *imports, size_t index, struct err *errs)
{
    struct import_taken_account *taken = &imports->accounts[index];
    if (taken->used && !taken->there && !take_account(imports->run->store, taken, &errs[index]))
        return &errs[index];
    return NULL;
}

/* Without its account a certificate would be renewed by another: then it is not taken. */
static void take_accounts(struct imports *imports)
{
    struct err *errs = mem_array(imports->n_accounts + 1, sizeof *errs);
    for (size_t i = 0; i < imports->n_accounts; i++) {
        const struct err *why = account_trouble(imports, i, errs);
        for (size_t k = 0; why != NULL && k < imports->n; k++) {
            struct imported *one = &imports->v[k];
            if (one->fate == FATE_LEFT || strcmp(one->thumbprint, imports->accounts[i].thumbprint) != 0)
                continue;
            one->fate = FATE_LEFT;
            one->why = *why;
            (void)err_context(&one->why, "its account");
        }
    }
    free(errs);
}

/* -- files ---------------------------------------------------------------------------------------------- */

static bool holds(const char *path, const struct buf *text)
{
    AUTO_BUF present = BUF_SECRET;
    struct err ignored = ERR_INIT;
    return fs_read(path, PROGRAM_BYTES, &present, &ignored) && present.len == text->len &&
           memcmp(buf_str(&present), buf_str(text), text->len) == 0;
}

/* A person may have changed it since: then it stays. */
static bool write_file(const char *path, const struct buf *text, mode_t mode, struct strlist *notes,
                       struct err *err)
{
    if (holds(path, text))
        return true;
    if (fs_exists(path)) {
        AUTO_FREE char *line =
            mem_fmt("%s is there already and says something else: it was left as it is", path);
        strlist_add(notes, line);
        return true;
    }
    return fs_write(path, text->data, text->len, mode, err);
}

static bool take_files(struct imports *imports, struct imported *one, struct err *err)
{
    AUTO_FREE char *dir = fs_join(store_config_dir(imports->run->store), "hooks/imported");
    if (one->cert->n_files > 0 && !fs_mkdirs(dir, 0755, err))
        return false;
    for (size_t i = 0; i < one->cert->n_files; i++) {
        const struct import_file *file = &one->cert->files[i];
        AUTO_FREE char *path = imports_file_path(imports, one, file);
        if (!write_file(path, &file->text, file->mode, &one->notes, err))
            return false;
    }
    return true;
}

/* What the other client runs for all of its certificates is run for all of ours. */
static bool take_program(struct imports *imports, const struct import_program *program, struct err *err)
{
    const char *slash = strrchr(program->path, '/');
    AUTO_FREE char *dir = mem_fmt("%s/hooks/%s", store_config_dir(imports->run->store), program->when);
    AUTO_FREE char *path = fs_join(dir, slash != NULL ? slash + 1 : program->path);
    AUTO_BUF text = BUF_SECRET;
    if (geteuid() == 0 && !spawn_check_program(program->path, false, err))
        return false;
    if (!fs_read(program->path, PROGRAM_BYTES, &text, err))
        return false;
    if (!imports->run->request->plan &&
        (!fs_mkdirs(dir, 0755, err) || !write_file(path, &text, 0700, &imports->notes, err)))
        return false;
    strlist_add(&imports->programs, path);
    if (memmem(buf_str(&text), text.len, imports->old.dir, strlen(imports->old.dir)) != NULL) {
        AUTO_FREE char *line = mem_fmt(
            "%s names %s, where nothing is renewed from now on: have it read \"$RENEWED_LINEAGE\" instead",
            path, imports->old.dir);
        strlist_add(&imports->notes, line);
    }
    return true;
}

static void take_programs(struct imports *imports)
{
    bool any = false;
    for (size_t i = 0; i < imports->n; i++)
        any |= imports->v[i].fate == FATE_NEW || imports->v[i].fate == FATE_UPDATED;
    for (size_t i = 0; any && i < imports->old.n_programs; i++) {
        struct err why = ERR_INIT;
        if (take_program(imports, &imports->old.programs[i], &why))
            continue;
        AUTO_FREE char *line = mem_fmt("the hook %s is not taken over: %s%s%s", imports->old.programs[i].path,
                                       why.text, why.advice[0] != '\0' ? "; " : "", why.advice);
        strlist_add(&imports->notes, line);
    }
}

/* -- versions ------------------------------------------------------------------------------------------- */

/* False with `err` clear: a former one that is damaged; it is left out. */
static bool take_version(struct store *store, struct imported *one, const struct import_version *version,
                         bool in_use, struct err *err)
{
    AUTO_CHAIN *chain = NULL;
    AUTO_KEY *key = NULL;
    struct cert_info info = CERT_INFO_INIT;
    struct err unusable = ERR_INIT;
    char spki[KEY_SPKI_BYTES];
    bool ok =
        cert_chain_parse(buf_str(&version->chain), version->chain.len, version->path, &chain, &unusable) &&
        key_from_pem(buf_str(&version->key), version->key.len, version->path, &key, &unusable) &&
        cert_chain_info(chain, &info, &unusable) && key_spki_sha256(key, spki, &unusable) &&
        strcmp(spki, info.spki) == 0;
    int number = ok ? imports_stored_version(store, one->name, info.sha256) : 0;
    cert_info_clear(&info);
    if (!ok) {
        log_info("%s is left out: %s", version->path, unusable.text);
        return !in_use;
    }
    const struct store_part part = {.key = key, .chain = chain};
    if (number == 0 && !store_version_add(store, one->name, &part, 1, &number, err))
        return false;
    if (in_use)
        one->version = number;
    return true;
}

static bool take_versions(struct store *store, struct imported *one, struct err *err)
{
    const struct import_cert *cert = one->cert;
    bool fresh = one->fate == FATE_NEW;
    for (size_t i = fresh ? 0 : cert->n_versions - 1; i < cert->n_versions; i++)
        if (!take_version(store, one, &cert->versions[i], i + 1 == cert->n_versions, err))
            return err_isset(err) || err_set(err, ERR_MISMATCH, NEXT_FIX_CONFIG, one->name,
                                             "its key does not belong to its certificate");
    return true;
}

/* Its deployments are those of the other client, and done: ours begin with the next version. */
static bool note_state(struct store *store, struct imported *one, const char *account_url, struct err *err)
{
    struct cert_state state = CERT_STATE_INIT;
    bool ok = store_state_load(store, one->name, &state, err);
    if (ok) {
        state.version = one->version;
        state.step = DEPLOY_ISSUED;
        state.issued_s = one->info.not_before_s;
        snprintf(state.issued_by, sizeof state.issued_by, "%s", one->config.server);
        snprintf(state.issued_account, sizeof state.issued_account, "%s", account_url);
        ok = store_state_save(store, one->name, &state, err);
    }
    cert_state_clear(&state);
    return ok;
}

static const char *url_of_account(const struct imports *imports, const struct imported *one)
{
    for (size_t i = 0; i < imports->n_accounts; i++)
        if (strcmp(imports->accounts[i].thumbprint, one->thumbprint) == 0 &&
            imports->accounts[i].account->url != NULL)
            return imports->accounts[i].account->url;
    return "";
}

/* The configuration comes last: with it the certificate is there, and whole. */
static bool take_new(struct imports *imports, struct imported *one, struct err *err)
{
    struct store *store = imports->run->store;
    free(one->config.name);
    one->config.name = mem_dup(one->name);
    return take_files(imports, one, err) && take_versions(store, one, err) &&
           store_live_switch(store, one->name, one->version, err) &&
           note_state(store, one, url_of_account(imports, one), err) &&
           store_cert_config_save(store, &one->config, err);
}

/* A newer one of a certificate that is here: like a renewal, with all that follows one. */
static bool take_newer(struct imports *imports, struct imported *one, struct err *err)
{
    struct task task = {.existed = true};
    if (!take_versions(imports->run->store, one, err))
        return false;
    cert_config_copy(&task.config, &one->config);
    free(task.config.name);
    task.config.name = mem_dup(one->name);
    task.version = one->version;
    bool ok = run_install(imports->run, &task, err);
    if (ok && err_isset(&task.undone)) {
        AUTO_FREE char *line =
            mem_fmt("it is in place, but: %s; `tlsup renew` tries that again", task.undone.text);
        strlist_add(&one->notes, line);
    }
    task_clear(&task);
    return ok;
}

static void take_one(struct imports *imports, struct imported *one)
{
    struct err err = ERR_INIT;
    bool ok = one->fate == FATE_NEW ? take_new(imports, one, &err) : take_newer(imports, one, &err);
    if (ok)
        return;
    one->fate = FATE_LEFT;
    one->why = err;
}

void imports_take(struct imports *imports)
{
    struct err stop = ERR_INIT;
    take_programs(imports);
    if (imports->run->request->plan)
        return;
    take_accounts(imports);
    for (size_t i = 0; i < imports->n; i++) {
        struct imported *one = &imports->v[i];
        if (one->fate != FATE_NEW && one->fate != FATE_UPDATED)
            continue;
        if (signals_interrupted(&stop)) {
            one->fate = FATE_LEFT;
            one->why = stop;
            continue;
        }
        output_detail("%s", one->name);
        take_one(imports, one);
    }
}
