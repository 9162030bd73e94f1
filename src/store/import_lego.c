/*
 * import_lego.c - lego: certificates/NAME.{crt,issuer.crt,key,json},
 * accounts/HOST/ID/{account.json,keys/ID.key}.
 *
 * How challenges were answered, and what was run after a renewal, stands on lego's command line alone.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "import_internal.h"

#include <string.h>

#include "tlsup/url.h"

static bool has_ending(const char *name, const char *ending)
{
    size_t len = strlen(name), tail = strlen(ending);
    return len > tail && strcmp(name + len - tail, ending) == 0;
}

/* The one key that is kept for an account: keys/ID.key, by whatever name. */
static char *find_key(const char *dir)
{
    AUTO_FREE char *keys = fs_join(dir, "keys");
    const char *const places[] = {keys, dir};
    struct err ignored = ERR_INIT;
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        AUTO_STRLIST names = STRLIST_INIT;
        if (!fs_is_dir(places[i]) || !fs_list(places[i], &names, &ignored))
            continue;
        for (size_t k = 0; k < names.n; k++)
            if (has_ending(names.v[k], ".key"))
                return fs_join(places[i], names.v[k]);
    }
    return NULL;
}

static void read_account(struct import_store *store, const char *dir, const char *id)
{
    AUTO_FREE char *path = fs_join(dir, "account.json");
    AUTO_FREE char *key_path = find_key(dir);
    AUTO_BUF json = BUF_INIT, key = BUF_SECRET;
    struct err why = ERR_INIT;
    if (key_path == NULL || !fs_read(path, IMPORT_FILE_BYTES, &json, &why) ||
        !fs_read(key_path, IMPORT_FILE_BYTES, &key, &why)) {
        import_note(&store->notes, "the account %s cannot be read%s%s", dir,
                    err_isset(&why) ? ": " : ": it has no key", why.text);
        return;
    }
    struct import_account *account = import_add_account(store, id);
    account->path = mem_dup(key_path);
    account->email = import_json_string(buf_str(&json), json.len, "email");
    account->url = import_json_string(buf_str(&json), json.len, "registration.uri");
    account->server = mem_dup(import_server_at(account->url));
    buf_add(&account->key, key.data, key.len);
}

static bool read_accounts(struct import_store *store, struct err *err)
{
    AUTO_FREE char *root = fs_join(store->dir, "accounts");
    AUTO_STRLIST servers = STRLIST_INIT;
    if (!fs_list(root, &servers, err))
        return false;
    for (size_t i = 0; i < servers.n; i++) {
        AUTO_FREE char *server = fs_join(root, servers.v[i]);
        AUTO_STRLIST ids = STRLIST_INIT;
        if (!fs_is_dir(server))
            continue;
        if (!fs_list(server, &ids, err))
            return false;
        for (size_t k = 0; k < ids.n; k++) {
            AUTO_FREE char *dir = fs_join(server, ids.v[k]);
            AUTO_FREE char *id = mem_fmt("%s/%s", servers.v[i], ids.v[k]);
            if (fs_is_dir(dir))
                read_account(store, dir, id);
        }
    }
    return true;
}

/* Which account it was ordered by is not stored: one at the origin of the certificate's URL. */
static void find_account(const struct import_store *store, struct import_cert *cert, const char *url)
{
    size_t found = 0;
    for (size_t i = 0; url != NULL && url_valid(url) && i < store->n_accounts; i++) {
        const struct import_account *account = &store->accounts[i];
        if (account->url == NULL || !url_valid(account->url) || !url_same_origin(account->url, url))
            continue;
        if (found++ == 0)
            cert->account = mem_dup(account->id);
    }
    if (found > 1)
        import_note(
            &cert->notes,
            "lego has %zu accounts at its CA and does not say which is this certificate's: %s is taken",
            found, cert->account);
}

/* In newer ones the issuers are in .crt as well; with --no-bundle they are in a file of their own alone. */
static bool has_issuers(const char *path)
{
    AUTO_BUF pem = BUF_INIT;
    struct err ignored = ERR_INIT;
    if (!fs_read(path, IMPORT_FILE_BYTES, &pem, &ignored))
        return true;
    const char *first = strstr(buf_str(&pem), "-----BEGIN CERTIFICATE-----");
    return first != NULL && strstr(first + 1, "-----BEGIN CERTIFICATE-----") != NULL;
}

static void read_cert(struct import_store *store, const char *dir, const char *file)
{
    AUTO_FREE char *name = mem_ndup(file, strlen(file) - strlen(".crt"));
    AUTO_FREE char *crt = fs_join(dir, file);
    AUTO_FREE char *issuers = mem_fmt("%s/%s.issuer.crt", dir, name);
    AUTO_FREE char *key = mem_fmt("%s/%s.key", dir, name);
    AUTO_FREE char *about = mem_fmt("%s/%s.json", dir, name);
    AUTO_BUF json = BUF_INIT;
    struct err ignored = ERR_INIT;
    struct import_cert *cert = import_add_cert(store, name, NULL);
    if (fs_read(about, IMPORT_FILE_BYTES, &json, &ignored)) {
        AUTO_FREE char *url = import_json_string(buf_str(&json), json.len, "certUrl");
        cert->server = mem_dup(import_server_at(url));
        find_account(store, cert, url);
    }
    import_live_version(cert, crt, has_issuers(crt) || !fs_exists(issuers) ? NULL : issuers, key);
}

bool import_lego(struct import_store *store, int keep, struct err *err)
{
    AUTO_FREE char *dir = fs_join(store->dir, "certificates");
    AUTO_STRLIST files = STRLIST_INIT;
    (void)keep;
    if (!read_accounts(store, err) || !fs_list(dir, &files, err))
        return false;
    for (size_t i = 0; i < files.n; i++)
        if (has_ending(files.v[i], ".crt") && !has_ending(files.v[i], ".issuer.crt"))
            read_cert(store, dir, files.v[i]);
    if (store->n_certs > 0)
        import_note(&store->notes,
                    "lego stores neither how challenges are answered nor its hooks: they stand on its "
                    "command line. What is set here "
                    "is tlsup's default; `tlsup reconfigure CERT --webroot-path DIR`, or --challenge-hook "
                    "PROGRAM --hook-contract "
                    "lego with --dns, and --deploy-hook PROGRAM in place of --renew-hook, say otherwise");
    return true;
}
