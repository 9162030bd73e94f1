#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "store_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/ca.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

#define DIRECTORY_FILE_BYTES ((size_t)256 * 1024)
#define LEDGER_FILE_BYTES ((size_t)32 * 1024 * 1024)
#define KEY_FILE_BYTES ((size_t)64 * 1024)

/* -- where things are --------------------------------------------------------------------------------- */

static bool is_default(const char *account)
{
    return account == NULL || strcmp(account, CONFIG_DEFAULT_ACCOUNT) == 0;
}

bool store_account_name_valid(const char *account)
{
    return account != NULL && config_account_name_valid(account);
}

static bool check_account(const char *account, struct err *err)
{
    if (account == NULL || store_account_name_valid(account))
        return true;
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, account, "'%s' cannot be the name of an account", account);
    return err_advise(err, "names of accounts are 1 to 64 letters, digits, '_' and '-'");
}

static bool check_account_change(const struct store *store, const char *account, struct err *err)
{
    return store_check_writing(store, err) && check_account(account, err);
}

static char *ca_path(const struct store *store, const char *ca_url, const char *file)
{
    char ca[256];
    return mem_fmt("%s/accounts/%s/%s", store->state_dir, config_ca_dir_name(ca_url, ca), file);
}

static char *account_dir(const struct store *store, const char *ca_url, const char *account)
{
    char ca[256];
    const char *name = is_default(account) ? "" : account;
    return mem_fmt("%s/accounts/%s%s%s", store->state_dir, config_ca_dir_name(ca_url, ca),
                   name[0] != '\0' ? "/" : "", name);
}

/* The directory of a CA, and that of a named account below it. */
static bool make_account_dir(const struct store *store, const char *ca_url, const char *account,
                             struct err *err)
{
    AUTO_FREE char *ca = account_dir(store, ca_url, NULL);
    AUTO_FREE char *dir = account_dir(store, ca_url, account);
    return store_ensure_dir(ca, 0700, true, err) && store_ensure_dir(dir, 0700, true, err);
}

static bool write_ca_file(struct store *store, const char *ca_url, const char *file,
                          const struct buf *content, struct err *err)
{
    AUTO_FREE char *path = ca_path(store, ca_url, file);
    return store_check_writing(store, err) && make_account_dir(store, ca_url, NULL, err) &&
           fs_write(path, buf_str(content), content->len, 0600, err);
}

/* -- records ------------------------------------------------------------------------------------------ */

static bool read_record(const char *dir, struct account_record *out, struct err *err)
{
    AUTO_FREE char *path = fs_join(dir, "account.json");
    AUTO_BUF json = BUF_SECRET;
    if (fs_read(path, STATE_FILE_BYTES, &json, err))
        return account_decode(buf_str(&json), json.len, path, out, err);
    if (!store_forgive_missing(err))
        return false;
    memset(out, 0, sizeof *out);
    return true;
}

bool store_account_load(struct store *store, const char *ca_url, const char *account,
                        struct account_record *out, struct err *err)
{
    if (!check_account(account, err))
        return false;
    AUTO_FREE char *dir = account_dir(store, ca_url, account);
    return read_record(dir, out, err);
}

bool store_account_save(struct store *store, const char *ca_url, const char *account,
                        const struct account_record *record, struct err *err)
{
    AUTO_BUF json = BUF_SECRET;
    struct account_record complete = *record;
    if (!check_account_change(store, account, err) || !make_account_dir(store, ca_url, account, err))
        return false;
    AUTO_FREE char *dir = account_dir(store, ca_url, account);
    AUTO_FREE char *path = fs_join(dir, "account.json");
    snprintf(complete.server, sizeof complete.server, "%s", ca_url);
    account_encode(&complete, &json);
    return fs_write(path, json.data, json.len, 0600, err);
}

bool store_account_forget(struct store *store, const char *ca_url, const char *account, struct err *err)
{
    if (!check_account_change(store, account, err))
        return false;
    AUTO_FREE char *dir = account_dir(store, ca_url, account);
    AUTO_FREE char *path = fs_join(dir, "account.json");
    return fs_remove(path, err);
}

/* -- all of them -------------------------------------------------------------------------------------- */

struct account_list {
    struct store_account *v;
    size_t n;
};

/* The directory URL whose directory of ours this is, as the record or the presets have it. */
static const char *url_of_dir(const char *ca_dir, const char *recorded)
{
    char name[256];
    const struct ca *preset;
    if (recorded[0] != '\0')
        return strcmp(config_ca_dir_name(recorded, name), ca_dir) == 0 ? recorded : NULL;
    for (size_t i = 0; (preset = ca_at(i)) != NULL; i++)
        if (strcmp(config_ca_dir_name(preset->url, name), ca_dir) == 0)
            return preset->url;
    return NULL;
}

/* One that cannot be read is told and left out, so that the others are still seen. */
static void add_account(const char *dir, const char *ca_dir, const char *account, struct account_list *list)
{
    struct account_record record;
    struct err err = ERR_INIT;
    AUTO_FREE char *path = fs_join(dir, "account.json");
    if (!fs_exists(path))
        return;
    if (!read_record(dir, &record, &err)) {
        log_warn("%s", err.text);
        return;
    }
    const char *url = url_of_dir(ca_dir, record.server);
    if (url == NULL) {
        log_warn("%s is left out: it does not say of which CA it is", path);
        return;
    }
    list->v = mem_resize(list->v, list->n + 1, sizeof *list->v);
    struct store_account *added = &list->v[list->n++];
    memset(added, 0, sizeof *added);
    added->record = record;
    snprintf(added->ca_url, sizeof added->ca_url, "%s", url);
    snprintf(added->account, sizeof added->account, "%s", account);
}

static bool add_accounts_of(const char *accounts, const char *ca_dir, struct account_list *list,
                            struct err *err)
{
    AUTO_FREE char *dir = fs_join(accounts, ca_dir);
    AUTO_STRLIST entries = STRLIST_INIT;
    if (ca_dir[0] == '.' || !fs_is_dir(dir))
        return true;
    if (!fs_list(dir, &entries, err))
        return false;
    add_account(dir, ca_dir, "", list);
    for (size_t i = 0; i < entries.n; i++) {
        AUTO_FREE char *named = fs_join(dir, entries.v[i]);
        if (store_account_name_valid(entries.v[i]) && !is_default(entries.v[i]) && fs_is_dir(named))
            add_account(named, ca_dir, entries.v[i], list);
    }
    return true;
}

static int by_ca_and_name(const void *a, const void *b)
{
    const struct store_account *left = a, *right = b;
    int order = strcmp(left->ca_url, right->ca_url);
    return order != 0 ? order : strcmp(left->account, right->account);
}

bool store_accounts(struct store *store, struct store_account **out, size_t *n, struct err *err)
{
    struct account_list list = {0};
    AUTO_STRLIST entries = STRLIST_INIT;
    AUTO_FREE char *accounts = fs_join(store->state_dir, "accounts");
    bool ok = fs_list(accounts, &entries, err);
    for (size_t i = 0; ok && i < entries.n; i++)
        ok = add_accounts_of(accounts, entries.v[i], &list, err);
    if (!ok) {
        store_accounts_free(list.v);
        return false;
    }
    if (list.n > 1)
        qsort(list.v, list.n, sizeof *list.v, by_ca_and_name);
    *out = list.v;
    *n = list.n;
    return true;
}

void store_accounts_free(struct store_account *accounts)
{
    free(accounts);
}

/* -- keys: which files ------------------------------------------------------------------------------- */

/* A change is under way while there is one of the next; which of the keys is the account's is then for the
 * record to say. */
enum key_file { KEY_URI, KEY_PEM, NEXT_URI, NEXT_PEM, KEY_FILES };

static const char *const key_files[KEY_FILES] = {
    [KEY_URI] = "key.uri",
    [KEY_PEM] = "key.pem",
    [NEXT_URI] = "key-next.uri",
    [NEXT_PEM] = "key-next.pem",
};

struct key_home {
    char *dir;
    bool shared; /* the one for all CAs */
    bool has[KEY_FILES];
    size_t n;
};

static void key_home_clear(struct key_home *home)
{
    free(home->dir);
    home->dir = NULL;
}
#define AUTO_KEY_HOME CLEANUP(key_home_clear) struct key_home

static bool look_into(struct key_home *home, struct err *err)
{
    home->n = 0;
    for (enum key_file file = 0; file < KEY_FILES; file++) {
        AUTO_FREE char *path = fs_join(home->dir, key_files[file]);
        if (!store_is_there(path, &home->has[file], err))
            return false;
        home->n += home->has[file];
    }
    return true;
}

static bool find_home(const struct store *store, const char *ca_url, const char *account,
                      struct key_home *home, struct err *err)
{
    if (!check_account(account, err))
        return false;
    home->dir = account_dir(store, ca_url, account);
    if (!look_into(home, err))
        return false;
    if (home->n > 0 || !is_default(account))
        return true;
    free(home->dir);
    home->dir = fs_join(store->state_dir, "accounts");
    home->shared = true;
    return look_into(home, err);
}

static bool read_home(const struct key_home *home, enum key_file file, struct key **out, struct err *err)
{
    AUTO_FREE char *path = fs_join(home->dir, key_files[file]);
    return file == KEY_URI || file == NEXT_URI ? store_key_uri_read(path, out, err)
                                               : store_key_read(path, out, err);
}

static bool write_home(const struct key_home *home, bool next, const struct key *key, const char *uri,
                       struct err *err)
{
    enum key_file file = uri != NULL ? (next ? NEXT_URI : KEY_URI) : (next ? NEXT_PEM : KEY_PEM);
    AUTO_FREE char *path = fs_join(home->dir, key_files[file]);
    return uri != NULL ? store_key_uri_write(path, uri, err) : store_key_write(path, key, err);
}

static bool remove_from_home(const struct key_home *home, enum key_file file, struct err *err)
{
    AUTO_FREE char *path = fs_join(home->dir, key_files[file]);
    return fs_remove(path, err);
}

/* The first of `from` to `to` that is there; KEY_FILES when none is. */
static enum key_file first_of(const struct key_home *home, enum key_file from, enum key_file to)
{
    for (enum key_file file = from; file <= to; file++)
        if (home->has[file])
            return file;
    return KEY_FILES;
}

static bool same_key(const struct key *a, const struct key *b)
{
    char left[KEY_THUMBPRINT_BYTES], right[KEY_THUMBPRINT_BYTES];
    struct err ignored = ERR_INIT;
    return key_thumbprint(a, left, &ignored) && key_thumbprint(b, right, &ignored) &&
           strcmp(left, right) == 0;
}

/* -- keys: reading ------------------------------------------------------------------------------------ */

/* Among several, the one that the account was registered with. */
static bool read_recorded(const struct key_home *home, const char *thumbprint, struct key **out)
{
    for (enum key_file file = 0; file < KEY_FILES; file++) {
        AUTO_KEY *key = NULL;
        char found[KEY_THUMBPRINT_BYTES];
        struct err unusable = ERR_INIT;
        if (!home->has[file] || !read_home(home, file, &key, &unusable) ||
            !key_thumbprint(key, found, &unusable) || strcmp(found, thumbprint) != 0)
            continue;
        *out = key;
        key = NULL;
        return true;
    }
    return false;
}

static bool make_account_key(struct store *store, const char *ca_url, const char *account,
                             const struct key_home *home, struct key **out, struct err *err)
{
    AUTO_KEY *key = NULL;
    if (!store_check_writing(store, err) ||
        (!home->shared && !make_account_dir(store, ca_url, account, err)) ||
        !key_generate(KEY_ECDSA_P256, &key, err) || !write_home(home, false, key, NULL, err))
        return false;
    *out = key;
    key = NULL;
    return true;
}

bool store_account_key(struct store *store, const char *ca_url, const char *account, bool create,
                       struct key **out, struct err *err)
{
    AUTO_KEY_HOME home = {0};
    struct account_record record;
    if (!find_home(store, ca_url, account, &home, err))
        return false;
    if (home.n == 0 && create)
        return make_account_key(store, ca_url, account, &home, out, err);
    if (home.n > 1) {
        if (!store_account_load(store, ca_url, account, &record, err))
            return false;
        if (record.thumbprint[0] != '\0' && read_recorded(&home, record.thumbprint, out))
            return true;
    }
    if (home.n > 0)
        return read_home(&home, first_of(&home, KEY_URI, NEXT_PEM), out, err);
    if (read_home(&home, KEY_PEM, out, err))
        return true;
    return err_advise(err, "`tlsup account register` makes an account, and so does the first certificate");
}

bool store_account_key_shared(struct store *store, const char *ca_url, const char *account)
{
    AUTO_KEY_HOME home = {0};
    struct err ignored = ERR_INIT;
    return find_home(store, ca_url, account, &home, &ignored) && home.shared;
}

/* -- keys: importing ---------------------------------------------------------------------------------- */

/* A copy beside it, under a number that is free: an account may still hang on it. */
static bool keep_old(const struct key_home *home, enum key_file file, struct err *err)
{
    AUTO_BUF content = BUF_SECRET;
    AUTO_FREE char *path = fs_join(home->dir, key_files[file]);
    if (!fs_read(path, KEY_FILE_BYTES, &content, err))
        return false;
    for (int number = 1;; number++) {
        AUTO_FREE char *pem = mem_fmt("%s/key-old-%d.pem", home->dir, number);
        AUTO_FREE char *uri = mem_fmt("%s/key-old-%d.uri", home->dir, number);
        if (!fs_exists(pem) && !fs_exists(uri))
            return fs_write(file == KEY_URI ? uri : pem, buf_str(&content), content.len, 0600, err);
    }
}

static bool change_under_way(const struct key_home *home, struct err *err)
{
    err_set(err, ERR_EXISTS, NEXT_FIX_CONFIG, home->dir, "a change of the account key is under way in %s",
            home->dir);
    return err_advise(err, "`tlsup account change-key` completes it");
}

/* Nothing to do? The very key is in its place alone. */
static bool is_there_already(const struct key_home *home, const struct key *key)
{
    AUTO_KEY *present = NULL;
    struct err unusable = ERR_INIT;
    return home->n == 1 && read_home(home, first_of(home, KEY_URI, KEY_PEM), &present, &unusable) &&
           same_key(present, key) && (key_uri(present) != NULL) == (key_uri(key) != NULL);
}

static bool put_key(const struct key_home *home, const struct key *key, const char *uri, struct err *err)
{
    for (enum key_file file = KEY_URI; file <= KEY_PEM; file++)
        if (home->has[file] && !keep_old(home, file, err))
            return false;
    return write_home(home, false, key, uri, err) &&
           remove_from_home(home, uri != NULL ? KEY_PEM : KEY_URI, err);
}

bool store_account_key_import(struct store *store, const char *ca_url, const char *account,
                              const struct key *key, const char *uri, struct err *err)
{
    AUTO_KEY_HOME home = {0};
    AUTO_KEY *opened = NULL;
    if (!check_account_change(store, account, err))
        return false;
    if (uri != NULL && !key_open_uri(uri, &opened, err))
        return false;
    home.dir = account_dir(store, ca_url, account);
    if (!make_account_dir(store, ca_url, account, err) || !look_into(&home, err))
        return false;
    if (first_of(&home, NEXT_URI, NEXT_PEM) != KEY_FILES)
        return change_under_way(&home, err);
    const char *where = uri != NULL ? uri : key_uri(key);
    return is_there_already(&home, opened != NULL ? opened : key) || put_key(&home, key, where, err);
}

/* -- keys: changing ----------------------------------------------------------------------------------- */

static bool no_next(const struct key_home *home, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, NEXT_NONE, home->dir,
                   "no change of the account key is under way in %s", home->dir);
}

bool store_account_next_load(struct store *store, const char *ca_url, const char *account, struct key **out,
                             struct err *err)
{
    AUTO_KEY_HOME home = {0};
    if (!find_home(store, ca_url, account, &home, err))
        return false;
    enum key_file next = first_of(&home, NEXT_URI, NEXT_PEM);
    return next != KEY_FILES ? read_home(&home, next, out, err) : no_next(&home, err);
}

bool store_account_next_save(struct store *store, const char *ca_url, const char *account,
                             const struct key *key, struct err *err)
{
    AUTO_KEY_HOME home = {0};
    AUTO_KEY *present = NULL;
    struct err unusable = ERR_INIT;
    if (!check_account_change(store, account, err) || !find_home(store, ca_url, account, &home, err))
        return false;
    enum key_file next = first_of(&home, NEXT_URI, NEXT_PEM);
    if (next == KEY_FILES)
        return (home.shared || make_account_dir(store, ca_url, account, err)) &&
               write_home(&home, true, key, key_uri(key), err);
    /* the CA may know the one that is there already: it must not be lost */
    if (read_home(&home, next, &present, &unusable) && same_key(present, key))
        return true;
    return change_under_way(&home, err);
}

/* Would an account at another CA be left without its key? */
static bool check_others(const struct store *store, const char *ca_url, const struct key_home *home,
                         struct err *err)
{
    AUTO_FREE char *accounts = fs_join(store->state_dir, "accounts");
    AUTO_FREE char *ours = account_dir(store, ca_url, NULL);
    AUTO_STRLIST entries = STRLIST_INIT;
    AUTO_KEY *next = NULL;
    char thumbprint[KEY_THUMBPRINT_BYTES];
    if (!read_home(home, first_of(home, NEXT_URI, NEXT_PEM), &next, err) ||
        !key_thumbprint(next, thumbprint, err) || !fs_list(accounts, &entries, err))
        return false;
    for (size_t i = 0; i < entries.n; i++) {
        AUTO_KEY_HOME other = {.dir = fs_join(accounts, entries.v[i])};
        struct account_record record = {0};
        if (strcmp(other.dir, ours) == 0 || !fs_is_dir(other.dir))
            continue;
        if (!look_into(&other, err) || !read_record(other.dir, &record, err))
            return false;
        if (other.n > 0 || record.url[0] == '\0' || strcmp(record.status, "deactivated") == 0 ||
            strcmp(record.thumbprint, thumbprint) == 0)
            continue;
        err_set(err, ERR_MISMATCH, NEXT_FIX_CONFIG, record.url,
                "the account key cannot be changed: the account %s still goes by the old one", record.url);
        return err_advise(err, "the key is one for all CAs; change it with each of them first");
    }
    return true;
}

/* In every instant there is a key to be found: where the kind of file changes, the old one goes first, and
 * the next alone is as good as the key. */
bool store_account_next_commit(struct store *store, const char *ca_url, const char *account, struct err *err)
{
    AUTO_KEY_HOME home = {0};
    if (!check_account_change(store, account, err) || !find_home(store, ca_url, account, &home, err))
        return false;
    enum key_file next = first_of(&home, NEXT_URI, NEXT_PEM);
    if (next == KEY_FILES)
        return no_next(&home, err);
    if (home.shared && !check_others(store, ca_url, &home, err))
        return false;
    AUTO_FREE char *from = fs_join(home.dir, key_files[next]);
    AUTO_FREE char *to = fs_join(home.dir, key_files[next == NEXT_URI ? KEY_URI : KEY_PEM]);
    return remove_from_home(&home, next == NEXT_URI ? KEY_PEM : KEY_URI, err) && fs_rename(from, to, err);
}

bool store_account_next_drop(struct store *store, const char *ca_url, const char *account, struct err *err)
{
    AUTO_KEY_HOME home = {0};
    if (!check_account_change(store, account, err) || !find_home(store, ca_url, account, &home, err))
        return false;
    if (first_of(&home, KEY_URI, KEY_PEM) == KEY_FILES && home.n > 0)
        return err_set(err, ERR_MISMATCH, NEXT_NONE, home.dir,
                       "the new account key in %s is the only one there is", home.dir);
    return remove_from_home(&home, NEXT_URI, err) && remove_from_home(&home, NEXT_PEM, err);
}

/* -- what was asked of a CA --------------------------------------------------------------------------- */

#define LEDGER_FILE "ledger.json"

void store_ledger_load(struct store *store, const char *ca_url, struct ledger *out)
{
    AUTO_FREE char *path = ca_path(store, ca_url, LEDGER_FILE);
    AUTO_BUF json = BUF_INIT;
    struct err err = ERR_INIT;
    ledger_clear(out);
    if (!fs_read(path, LEDGER_FILE_BYTES, &json, &err)) {
        if (err.code != ERR_NOT_FOUND)
            log_warn("%s", err.text);
        return;
    }
    if (!ledger_decode(buf_str(&json), json.len, path, out, &err))
        log_warn("what was asked of the CA lately is not known: %s", err.text);
}

bool store_ledger_save(struct store *store, const char *ca_url, const struct ledger *ledger, struct err *err)
{
    AUTO_BUF json = BUF_INIT;
    ledger_encode(ledger, clock_now_s(), &json);
    return write_ca_file(store, ca_url, LEDGER_FILE, &json, err);
}

/* -- directories -------------------------------------------------------------------------------------- */

/* A first line with the time of receipt, then what the CA sent, byte for byte. */
#define DIRECTORY_FILE "directory.cache"
#define DIRECTORY_HEAD "fetched_s "

void store_directory_load(struct store *store, const char *ca_url, struct buf *json, int64_t *fetched_s)
{
    AUTO_FREE char *path = ca_path(store, ca_url, DIRECTORY_FILE);
    AUTO_BUF file = BUF_INIT;
    struct err ignored = ERR_INIT;
    size_t head = strlen(DIRECTORY_HEAD);
    buf_reset(json);
    *fetched_s = 0;
    if (!fs_read(path, DIRECTORY_FILE_BYTES, &file, &ignored) ||
        strncmp(buf_str(&file), DIRECTORY_HEAD, head) != 0)
        return;
    size_t digits = strspn(file.data + head, "0123456789");
    if (digits < 1 || digits > 12 || file.data[head + digits] != '\n')
        return;
    *fetched_s = strtoll(file.data + head, NULL, 10);
    buf_add(json, file.data + head + digits + 1, file.len - head - digits - 1);
}

bool store_directory_save(struct store *store, const char *ca_url, const char *json, size_t len,
                          int64_t now_s, struct err *err)
{
    AUTO_BUF file = BUF_INIT;
    buf_addf(&file, DIRECTORY_HEAD "%" PRId64 "\n", now_s);
    buf_add(&file, json, len);
    return write_ca_file(store, ca_url, DIRECTORY_FILE, &file, err);
}
