/*
 * import_judge.c - what becomes of each certificate and account of another client's: pure looking.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "imports.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"
#include "tlsup/url.h"

void imports_clear(struct imports *imports)
{
    for (size_t i = 0; i < imports->n; i++) {
        cert_config_clear(&imports->v[i].config);
        cert_info_clear(&imports->v[i].info);
        strlist_clear(&imports->v[i].notes);
    }
    for (size_t i = 0; i < imports->n_places; i++) {
        free(imports->places[i].file);
        free(imports->places[i].path);
    }
    free(imports->v);
    free(imports->accounts);
    free(imports->places);
    strlist_clear(&imports->programs);
    strlist_clear(&imports->notes);
    strlist_clear(&imports->commands);
    buf_clear(&imports->diff);
    import_store_clear(&imports->old);
}

static void note(struct strlist *notes, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void note(struct strlist *notes, const char *fmt, ...)
{
    char text[1536];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    printable(text);
    if (!strlist_has(notes, text))
        strlist_add(notes, text);
}

/* -- accounts ------------------------------------------------------------------------------------------- */

/* The command line, then what the old client says, then tlsup.conf. */
static const char *server_of(const struct imports *imports, const char *said,
                             const struct cert_config *defaults)
{
    const char *url = NULL;
    struct err ignored = ERR_INIT;
    if (said != NULL && config_ca_url(said, &url, &ignored))
        return url;
    return imports->run->request->server != NULL ? imports->run->request->server : defaults->server;
}

/* May this key go by that name at the CA? `there`: it does already. */
static bool name_is_free(struct store *store, const char *server, const char *name, const char *thumbprint,
                         bool *there)
{
    struct account_record record = {0};
    struct err ignored = ERR_INIT;
    AUTO_KEY *key = NULL;
    char own[KEY_THUMBPRINT_BYTES];
    const char *account = name[0] != '\0' ? name : NULL;
    if (!store_account_load(store, server, account, &record, &ignored))
        return false;
    *there = record.url[0] != '\0' && strcmp(record.thumbprint, thumbprint) == 0;
    if (*there || (record.url[0] == '\0' && record.thumbprint[0] == '\0' && account == NULL))
        return true;
    if (record.url[0] != '\0' || (record.thumbprint[0] != '\0' && strcmp(record.thumbprint, thumbprint) != 0))
        return false;
    return !store_account_key(store, server, account, false, &key, &ignored) ||
           (key_thumbprint(key, own, &ignored) && strcmp(own, thumbprint) == 0);
}

/* The CA's default account where there is none yet; else one by the client's name. */
static bool choose_name(struct imports *imports, struct import_taken_account *taken)
{
    char client[32];
    snprintf(client, sizeof client, "%s", import_client_name(imports->old.client));
    for (char *c = client; *c != '\0'; c++)
        *c = *c == '.' ? '-' : *c;
    for (int number = 0; number < 100; number++) {
        if (number == 0)
            taken->name[0] = '\0';
        else if (number == 1)
            snprintf(taken->name, sizeof taken->name, "%s", client);
        else
            snprintf(taken->name, sizeof taken->name, "%s-%d", client, number);
        bool another = false;
        for (struct import_taken_account *other = imports->accounts; other < taken; other++)
            another |= strcmp(other->server, taken->server) == 0 && strcmp(other->name, taken->name) == 0;
        if (!another &&
            name_is_free(imports->run->store, taken->server, taken->name, taken->thumbprint, &taken->there))
            return true;
    }
    return false;
}

static bool judge_account(struct imports *imports, const struct import_account *account,
                          const struct cert_config *defaults)
{
    struct err why = ERR_INIT;
    AUTO_KEY *key = NULL;
    struct import_taken_account *taken = &imports->accounts[imports->n_accounts];
    *taken = (struct import_taken_account){.account = account};
    const char *said = account->server;
    const char *server = server_of(imports, said, defaults);
    bool elsewhere =
        account->url != NULL && (!url_valid(account->url) || !url_same_origin(account->url, server));
    if (!key_from_text(buf_str(&account->key), account->key.len, account->path, &key, &why) ||
        !key_thumbprint(key, taken->thumbprint, &why))
        note(&imports->notes,
             "the account key %s cannot be used: %s; its certificates get another account when they are "
             "renewed",
             account->path, why.text);
    else if (elsewhere)
        note(&imports->notes, "the account %s is not of %s: say at which CA it is with --server",
             account->url, server);
    else if (strlen(server) >= sizeof taken->server ||
             snprintf(taken->server, sizeof taken->server, "%s", server) < 0 || !choose_name(imports, taken))
        note(&imports->notes, "the account %s is not taken over: no name is free for it", account->path);
    else {
        imports->n_accounts++;
        return true;
    }
    return false;
}

static void judge_accounts(struct imports *imports, const struct cert_config *defaults)
{
    imports->accounts = mem_array(imports->old.n_accounts + 1, sizeof *imports->accounts);
    for (size_t i = 0; i < imports->old.n_accounts; i++)
        (void)!judge_account(imports, &imports->old.accounts[i], defaults);
}

static void find_account(struct imports *imports, struct imported *one)
{
    for (size_t i = 0; one->cert->account != NULL && i < imports->n_accounts; i++) {
        struct import_taken_account *taken = &imports->accounts[i];
        if (strcmp(taken->account->id, one->cert->account) != 0 ||
            strcmp(taken->server, one->config.server) != 0)
            continue;
        snprintf(one->account_name, sizeof one->account_name, "%s", taken->name);
        snprintf(one->thumbprint, sizeof one->thumbprint, "%s", taken->thumbprint);
        free(one->config.account);
        one->config.account = taken->name[0] != '\0' ? mem_dup(taken->name) : NULL;
        taken->used = true;
        if (taken->account->url ==
            NULL) /* the CA is asked for it by its key: it was agreed to when it was made */
            one->config.agree_tos = true;
        return;
    }
    note(&one->notes, "its account could not be taken over: the next renewal uses tlsup's own, and makes one "
                      "where there is none");
}

/* -- certificates --------------------------------------------------------------------------------------- */

static const struct import_version *version_in_use(const struct import_cert *cert)
{
    return cert->n_versions > 0 ? &cert->versions[cert->n_versions - 1] : NULL;
}

/* Key and certificate belong together, and it is still good. */
static bool judge_version(struct imported *one, enum key_type *type, struct err *err)
{
    const struct import_version *version = version_in_use(one->cert);
    AUTO_CHAIN *chain = NULL;
    AUTO_KEY *key = NULL;
    char date[CLOCK_TEXT_BYTES];
    int64_t now_s = clock_now_s();
    if (version == NULL)
        return err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, one->cert->name, "there is no certificate");
    if (!cert_chain_parse(buf_str(&version->chain), version->chain.len, version->path, &chain, err) ||
        !cert_chain_info(chain, &one->info, err))
        return err_context(err, "its certificate cannot be used");
    if (one->info.not_after_s <= now_s) {
        one->dead = true;
        err_set(err, ERR_MISMATCH, NEXT_NONE, one->cert->name, "it has expired (%s)",
                clock_format_utc(one->info.not_after_s, date));
        return err_advise(err, "if it is still wanted: tlsup enable, or tlsup issue, gets a new one");
    }
    if (!key_from_pem(buf_str(&version->key), version->key.len, version->path, &key, err))
        return err_context(err, "its key cannot be used");
    *type = key_type_of(key);
    return cert_chain_check(chain, key, NULL, now_s, err);
}

char *imports_file_path(const struct imports *imports, const struct imported *one,
                        const struct import_file *file)
{
    const char *dir = store_config_dir(imports->run->store);
    return file->whole_name ? mem_fmt("%s/hooks/imported/%s", dir, file->name)
                            : mem_fmt("%s/hooks/imported/%s-%s", dir, one->name, file->name);
}

/* Keys that may be given several times: setting adds. The defaults' must go first, once. */
static bool set_one(struct cert_config *config, struct strlist *begun, const char *key, const char *value,
                    struct err *err)
{
    static const char *const many[] = {"pre-hook", "deploy-hook", "post-hook", "export"};
    struct err why = ERR_INIT;
    for (size_t i = 0; i < COUNT_OF(many); i++)
        if (strcmp(many[i], key) == 0 && !strlist_has(begun, key)) {
            strlist_add(begun, key);
            if (!config_set(config, key, "none", err))
                return false;
        }
    if (config_set(config, key, value, &why))
        return true;
    return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, NULL, "%s = %.200s: %s", key, value, why.text);
}

/* A setting that cannot be had here is told, and the rest taken: but not what makes the certificate what it
 * is. */
static bool is_essential(const char *key)
{
    static const char *const keys[] = {"names",          "challenge",         "webroot",
                                       "challenge-hook", "dns-update-server", "dns-update-key"};
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

static bool set_or_note(struct imported *one, struct strlist *begun, const char *key, const char *value,
                        struct err *err)
{
    struct err why = ERR_INIT;
    if (set_one(&one->config, begun, key, value, &why))
        return true;
    if (is_essential(key)) {
        *err = why;
        return false;
    }
    note(&one->notes, "a setting is not taken over: %s", why.text);
    return true;
}

/* A program that reads the other client's files would go on doing so. */
static void note_old_paths(struct imports *imports, struct imported *one)
{
    for (size_t i = 0; i < one->cert->n_files; i++) {
        const struct import_file *file = &one->cert->files[i];
        AUTO_FREE char *path = imports_file_path(imports, one, file);
        if (file->mode == 0700 && strstr(buf_str(&file->text), imports->old.dir) != NULL)
            note(&one->notes,
                 "%s names %s, where nothing is renewed from now on: have it read \"$RENEWED_LINEAGE\" "
                 "instead",
                 path, imports->old.dir);
    }
}

static bool judge_settings(struct imports *imports, struct imported *one, enum key_type type, struct err *err)
{
    AUTO_STRLIST begun = STRLIST_INIT;
    AUTO_FREE char *names = strlist_join(&one->info.names, " ");
    const struct import_cert *cert = one->cert;
    if (!config_set(&one->config, "names", names, err))
        return err_context(err, "the names in its certificate");
    for (size_t i = 0; i < cert->keys.n; i++)
        if (!set_or_note(one, &begun, cert->keys.v[i], cert->values.v[i], err))
            return false;
    for (size_t i = 0; i < cert->n_files; i++) {
        AUTO_FREE char *path = imports_file_path(imports, one, &cert->files[i]);
        if (cert->files[i].key != NULL && !set_or_note(one, &begun, cert->files[i].key, path, err))
            return false;
    }
    one->config.key_type = type;
    one->config.dual = false;
    free(one->config.key);
    one->config.key = NULL;
    one->config.install = WEB_NONE;
    if (!strlist_same_set(&one->config.names, &one->info.names))
        note(&one->notes, "its certificate has not the names that are configured: the next run of `tlsup "
                          "renew` gets one that has");
    note_old_paths(imports, one);
    return cert_config_check(&one->config, err);
}

static void name_it(struct imported *one)
{
    if (config_cert_name_valid(one->cert->name))
        snprintf(one->name, sizeof one->name, "%s", one->cert->name);
    else if (one->info.names.n > 0)
        config_cert_name_for(one->info.names.v[0], one->name);
    else
        config_cert_name_for(one->cert->name, one->name);
    if (!config_cert_name_valid(one->name))
        snprintf(one->name, sizeof one->name, "%s", "certificate");
}

int imports_stored_version(struct store *store, const char *name, const char *sha256)
{
    struct err ignored = ERR_INIT;
    int *numbers = NULL, found = 0;
    size_t n = 0;
    if (!store_versions(store, name, &numbers, &n, &ignored))
        return 0;
    for (size_t i = 0; i < n; i++) {
        AUTO_CHAIN *chain = NULL;
        struct cert_info info = CERT_INFO_INIT;
        struct err damaged = ERR_INIT;
        if (store_version_chain(store, name, numbers[i], 0, &chain, &damaged) &&
            cert_chain_info(chain, &info, &damaged) && strcmp(info.sha256, sha256) == 0)
            found = numbers[i];
        cert_info_clear(&info);
    }
    free(numbers);
    return found;
}

/* Does tlsup hold any certificate of this one's past? Then it has come from here. */
static bool has_common_past(struct store *store, const struct imported *one)
{
    bool common = false;
    for (size_t i = 0; i < one->cert->n_versions && !common; i++) {
        AUTO_CHAIN *chain = NULL;
        struct cert_info info = CERT_INFO_INIT;
        struct err ignored = ERR_INIT;
        const struct import_version *version = &one->cert->versions[i];
        common = cert_chain_parse(buf_str(&version->chain), version->chain.len, "", &chain, &ignored) &&
                 cert_chain_info(chain, &info, &ignored) &&
                 imports_stored_version(store, one->name, info.sha256) > 0;
        cert_info_clear(&info);
    }
    return common;
}

/* Has it come from here, or does it do the very same? */
static bool is_the_same_one(struct store *store, const struct imported *one)
{
    struct cert_config held = {0};
    struct err ignored = ERR_INIT;
    bool names = store_cert_config(store, one->name, &held, &ignored) &&
                 strlist_same_set(&held.names, &one->config.names) &&
                 strcmp(held.server, one->config.server) == 0 &&
                 strcmp(held.account != NULL ? held.account : "",
                        one->config.account != NULL ? one->config.account : "") == 0;
    cert_config_clear(&held);
    return names || has_common_past(store, one);
}

/* Whoever may write those files may have made it: what is served here is not replaced by it. */
static bool may_replace(const struct imported *one, struct err *err)
{
    const struct import_version *version = version_in_use(one->cert);
    struct err why = ERR_INIT;
    if (geteuid() != 0 || spawn_check_program(version->path, true, &why))
        return true;
    err_set(
        err, ERR_PERMISSION, NEXT_FIX_CONFIG, one->name,
        "tlsup holds it, and the newer certificate in %s may be anybody's: others than root can change that "
        "file",
        version->path);
    return err_advise(err, "tlsup renews it by itself; at once: tlsup renew %s --force", one->name);
}

/* tlsup has a certificate of this name. */
static bool judge_held(struct imports *imports, struct imported *one, struct err *err)
{
    struct store *store = imports->run->store;
    struct cert_info live_info = CERT_INFO_INIT;
    int live = 0;
    one->version = imports_stored_version(store, one->name, one->info.sha256);
    bool same = one->version > 0 || is_the_same_one(store, one);
    if (!store_live_version(store, one->name, &live, err))
        return false;
    bool newer = live == 0 || !run_version_info(imports->run, one->name, live, 0, &live_info) ||
                 live_info.not_before_s < one->info.not_before_s;
    cert_info_clear(&live_info);
    if (!same) {
        one->dead = true;
        err_set(err, ERR_EXISTS, NEXT_NONE, one->name,
                "tlsup holds another certificate of this name, and keeps it");
        return err_advise(
            err, "to take over the other client's, rename the one that is here first: tlsup rename %s NEW",
            one->name);
    }
    one->fate = one->version == 0 && newer ? FATE_UPDATED : FATE_HELD;
    if (one->fate == FATE_UPDATED && !may_replace(one, err))
        return false;
    strlist_clear(&one->notes); /* they are about settings that are here already */
    cert_config_clear(&one->config);
    return store_cert_config(store, one->name, &one->config, err);
}

static bool judge_cert(struct imports *imports, struct imported *one, const struct strlist *held,
                       struct err *err)
{
    enum key_type type = KEY_ECDSA_P256;
    if (err_isset(&one->cert->err)) {
        *err = one->cert->err;
        struct err other = ERR_INIT;
        (void)!judge_version(one, &type, &other); /* whether it is dead: then nothing of it matters */
        return one->dead ? (*err = other, false) : false;
    }
    if (!judge_version(one, &type, err))
        return false;
    name_it(one);
    free(one->config.server);
    struct cert_config defaults;
    if (!store_defaults(imports->run->store, &defaults, err))
        return false;
    one->config.server = mem_dup(server_of(imports, one->cert->server, &defaults));
    cert_config_clear(&defaults);
    find_account(imports, one);
    if (imports->run->request->ca_bundle != NULL) {
        free(one->config.ca_bundle);
        one->config.ca_bundle = realpath(imports->run->request->ca_bundle, NULL);
    }
    return judge_settings(imports, one, type, err) &&
           (!strlist_has(held, one->name) || judge_held(imports, one, err));
}

/* One after the other: two of one name cannot both have it. */
static void judge_all(struct imports *imports, struct strlist *held)
{
    AUTO_STRLIST before = STRLIST_INIT;
    for (size_t i = 0; i < imports->old.n_certs; i++) {
        struct imported *one = &imports->v[imports->n++];
        struct err err = ERR_INIT;
        *one = (struct imported){.cert = &imports->old.certs[i]};
        strlist_copy(&one->notes, &one->cert->notes);
        if (!store_defaults(imports->run->store, &one->config, &err) ||
            !judge_cert(imports, one, held, &err)) {
            one->fate = FATE_LEFT;
            one->why = err;
        }
        if (one->name[0] == '\0')
            name_it(one);
        if (one->fate == FATE_LEFT)
            continue;
        if (strlist_has(&before, one->name)) {
            one->fate = FATE_LEFT;
            err_set(&one->why, ERR_EXISTS, NEXT_FIX_CONFIG, one->name,
                    "another certificate of this name was taken over already");
        }
        strlist_add(&before, one->name);
    }
}

bool imports_judge(struct imports *imports, struct err *err)
{
    struct cert_config defaults;
    AUTO_STRLIST held = STRLIST_INIT;
    if (!store_defaults(imports->run->store, &defaults, err))
        return false;
    bool ok = store_cert_names(imports->run->store, &held, err);
    if (ok) {
        imports->v = mem_array(imports->old.n_certs + 1, sizeof *imports->v);
        judge_accounts(imports, &defaults);
        judge_all(imports, &held);
    }
    cert_config_clear(&defaults);
    return ok;
}
