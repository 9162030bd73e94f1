/*
 * import_uacme.c - uacme: private/key.pem is the account's, private/NAME/key.pem and NAME/cert.pem are a
 * certificate's.
 *
 * CA, challenge hook and everything else stand on its command line alone.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "import_internal.h"

#include <string.h>

#include "tlsup/cert.h"

#define STAGING "letsencrypt-staging"

/* The names that Let's Encrypt gives its intermediates are all that tells its two CAs apart. */
static const char *server_of(const struct import_cert *cert)
{
    AUTO_CHAIN *chain = NULL;
    struct cert_info info = CERT_INFO_INIT;
    struct err ignored = ERR_INIT;
    const char *server = NULL;
    if (cert->n_versions > 0 &&
        cert_chain_parse(buf_str(&cert->versions[0].chain), cert->versions[0].chain.len, "", &chain,
                         &ignored) &&
        cert_chain_info(chain, &info, &ignored) && strstr(info.issuer, "(STAGING)") != NULL)
        server = STAGING;
    cert_info_clear(&info);
    return server;
}

static void read_cert(struct import_store *store, const char *name)
{
    AUTO_FREE char *chain = mem_fmt("%s/%s/cert.pem", store->dir, name);
    AUTO_FREE char *key = mem_fmt("%s/private/%s/key.pem", store->dir, name);
    if (!fs_exists(chain))
        return;
    struct import_cert *cert = import_add_cert(store, name, NULL);
    import_live_version(cert, chain, NULL, key);
    cert->server = mem_dup(server_of(cert));
    if (store->n_accounts > 0)
        cert->account = mem_dup(store->accounts[0].id);
    import_set(cert, "reuse-key", "yes"); /* as it does, as long as there is a key */
}

static void read_account(struct import_store *store)
{
    AUTO_FREE char *path = fs_join(store->dir, "private/key.pem");
    AUTO_BUF key = BUF_SECRET;
    struct err why = ERR_INIT;
    if (!fs_read(path, IMPORT_FILE_BYTES, &key, &why)) {
        import_note(&store->notes, "the account cannot be read: %s", why.text);
        return;
    }
    struct import_account *account = import_add_account(store, "uacme");
    account->path = mem_dup(path);
    buf_add(&account->key, key.data, key.len);
}

bool import_uacme(struct import_store *store, int keep, struct err *err)
{
    AUTO_STRLIST names = STRLIST_INIT;
    (void)keep;
    if (!fs_list(store->dir, &names, err))
        return false;
    read_account(store);
    for (size_t i = 0; i < names.n; i++)
        if (strcmp(names.v[i], "private") != 0 && names.v[i][0] != '.')
            read_cert(store, names.v[i]);
    if (store->n_certs > 0)
        import_note(&store->notes, "uacme stores neither its CA nor its challenge hook: they stand on its "
                                   "command line. What is set here is tlsup's "
                                   "default; `tlsup reconfigure CERT --challenge-hook PROGRAM "
                                   "--hook-contract uacme` with --challenge http-hook or "
                                   "--dns says otherwise");
    return true;
}
