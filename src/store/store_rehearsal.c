/*
 * store_rehearsal.c - a store that nothing of stays, for rehearsals with a CA's staging server.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdlib.h>
#include <string.h>

#include "store_internal.h"
#include "tlsup/mem.h"

static char *rehearsal_dir(const struct store *real)
{
    return fs_join(real->state_dir, ".rehearsal");
}

/* What hooks have noted and which keys are not to be used is for them to see, and not to change. */
static bool furnish(const struct store *real, const struct store *rehearsal, struct err *err)
{
    static const char *const dirs[] = {"certs", "live", "accounts", "state"};
    static const char *const seen[] = {"hooks", "compromised"};
    for (size_t i = 0; i < COUNT_OF(dirs); i++) {
        AUTO_FREE char *dir = fs_join(rehearsal->state_dir, dirs[i]);
        if (!fs_mkdirs(dir, 0700, err))
            return false;
    }
    AUTO_FREE char *hooks = fs_join(real->state_dir, seen[0]);
    AUTO_FREE char *hooks_here = fs_join(rehearsal->state_dir, seen[0]);
    AUTO_FREE char *keys = fs_join(real->state_dir, seen[1]);
    AUTO_FREE char *keys_here = fs_join(rehearsal->state_dir, seen[1]);
    return store_tree_copy(hooks, hooks_here, true, err) && store_file_copy(keys, keys_here, err);
}

bool store_rehearsal_open(struct store *real, struct store **out, struct err *err)
{
    if (!store_check_writing(real, err) || !store_rehearsal_remove(NULL, real, err))
        return false;
    struct store *store = mem_alloc(sizeof *store);
    *store = (struct store){.config_dir = mem_dup(real->config_dir),
                            .state_dir = rehearsal_dir(real),
                            .journal_dir = mem_dup(real->journal_dir),
                            .mode = STORE_WRITE,
                            .lock = FS_LOCK_INIT};
    struct err ignored = ERR_INIT;
    if (fs_mkdirs(store->state_dir, 0700, err) && furnish(real, store, err)) {
        *out = store;
        return true;
    }
    (void)!store_rehearsal_remove(store, real, &ignored);
    return false;
}

/* "accounts", "accounts/CA" or "accounts/CA/NAME" of a store. */
static char *account_dir(const struct store *store, const char *ca_url, const char *account)
{
    char ca[256];
    if (ca_url == NULL)
        return fs_join(store->state_dir, "accounts");
    bool named = account != NULL && strcmp(account, CONFIG_DEFAULT_ACCOUNT) != 0;
    return mem_fmt("%s/accounts/%s%s%s", store->state_dir, config_ca_dir_name(ca_url, ca), named ? "/" : "",
                   named ? account : "");
}

static bool copy_files(const char *from, const char *to, const char *const *names, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        AUTO_FREE char *source = fs_join(from, names[i]);
        AUTO_FREE char *target = fs_join(to, names[i]);
        if (!store_file_copy(source, target, err))
            return false;
    }
    return true;
}

bool store_rehearsal_account(struct store *rehearsal, struct store *real, const char *real_ca_url,
                             const char *ca_url, const char *account, struct err *err)
{
    static const char *const keys[] = {"key.pem", "key.uri", "key-next.pem", "key-next.uri"};
    static const char *const records[] = {"account.json"};
    static const char *const of_ca[] = {"ledger.json", "directory.cache"};
    if (account != NULL && !store_account_name_valid(account))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, account, "'%s' cannot be the name of an account",
                       account);
    AUTO_FREE char *shared = account_dir(real, NULL, NULL);
    AUTO_FREE char *shared_here = account_dir(rehearsal, NULL, NULL);
    AUTO_FREE char *own = account_dir(real, real_ca_url, account);
    AUTO_FREE char *known = account_dir(real, ca_url, account);
    AUTO_FREE char *ca = account_dir(real, ca_url, NULL);
    AUTO_FREE char *ca_here = account_dir(rehearsal, ca_url, NULL);
    AUTO_FREE char *here = account_dir(rehearsal, ca_url, account);
    return fs_mkdirs(ca_here, 0700, err) && fs_mkdirs(here, 0700, err) &&
           copy_files(shared, shared_here, keys, COUNT_OF(keys), err) &&
           copy_files(own, here, keys, COUNT_OF(keys), err) &&
           copy_files(known, here, records, COUNT_OF(records), err) &&
           copy_files(ca, ca_here, of_ca, COUNT_OF(of_ca), err);
}

bool store_rehearsal_remove(struct store *rehearsal, struct store *real, struct err *err)
{
    AUTO_FREE char *dir = rehearsal_dir(real);
    store_close(rehearsal);
    return fs_remove_tree(dir, err);
}
