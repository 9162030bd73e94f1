#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

#define KEY_FILE_BYTES ((size_t)64 * 1024)
#define CHAIN_FILE_BYTES ((size_t)256 * 1024)
#define STATE_FILE_BYTES ((size_t)1024 * 1024)
#define DIRECTORY_FILE_BYTES ((size_t)256 * 1024)
#define VERSION_MAX 999999999
#define BUILDING_PREFIX ".new-"
#define DOOMED_PREFIX ".old-"

struct store {
    char *config_dir;
    char *state_dir;
    char *journal_dir;
    enum store_mode mode;
    struct fs_lock lock;
};

/* -- opening ------------------------------------------------------------------------------------------ */

static char *below(const char *dir, const char *sub, const char *name)
{
    return mem_fmt("%s/%s/%s", dir, sub, name);
}

/* Absolute, because live paths end up in web servers' configurations; without a final slash. */
static char *absolute(const char *dir, struct err *err)
{
    AUTO_FREE char *here = NULL;
    if (dir[0] == '\0') {
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, NULL, "a directory name is empty");
        return NULL;
    }
    if (dir[0] != '/' && (here = getcwd(NULL, 0)) == NULL) {
        err_errno(err, errno, dir, "cannot tell the working directory, which %s is relative to", dir);
        return NULL;
    }
    char *path = here != NULL ? fs_join(here, dir) : mem_dup(dir);
    for (size_t len = strlen(path); len > 1 && path[len - 1] == '/'; len--)
        path[len - 1] = '\0';
    return path;
}

static bool belongs_to_us(uid_t owner)
{
    return owner == 0 || owner == geteuid();
}

static bool owner_refused(const char *path, uid_t owner, struct err *err)
{
    err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path,
            "%s belongs to user %u, who could redirect what is written below it", path, (unsigned)owner);
    return err_advise(err, "find out who made it; then remove it, or: chown -h %u %s", (unsigned)geteuid(),
                      path);
}

/* May we write private keys below a directory that exists already? */
static bool trusted(const char *path, bool only_we_write, struct err *err)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return err_errno(err, errno, path, "cannot look at %s", path);
    if (S_ISLNK(st.st_mode)) {
        if (!belongs_to_us(st.st_uid))
            return owner_refused(path, st.st_uid, err);
        if (stat(path, &st) != 0)
            return err_errno(err, errno, path, "cannot follow the symbolic link %s", path);
    }
    if (!S_ISDIR(st.st_mode))
        return err_set(err, ERR_EXISTS, NEXT_FIX_CONFIG, path, "%s is in the way: it is not a directory",
                       path);
    if (!belongs_to_us(st.st_uid))
        return owner_refused(path, st.st_uid, err);
    if (only_we_write && geteuid() == 0 && (st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path,
                "%s can be written by others (mode %04o), who could redirect what is written below it", path,
                (unsigned)(st.st_mode & 07777));
        return err_advise(err, "chmod go-w %s", path);
    }
    return true;
}

static bool ensure_dir(const char *path, mode_t mode, bool only_we_write, struct err *err)
{
    if (!fs_exists(path) && !fs_mkdirs(path, mode, err))
        return false;
    return trusted(path, only_we_write, err);
}

static bool ensure_layout(const struct store *store, struct err *err)
{
    static const struct {
        const char *name;
        mode_t mode;
    } state_dirs[] = {
        {"certs", 0711},      {"live", 0711},    {"accounts", 0700},
        {"challenges", 0755}, {"journal", 0700}, {"state", 0711},
    };
    AUTO_FREE char *certs_d = fs_join(store->config_dir, "certs.d");
    for (size_t i = 0; i < COUNT_OF(state_dirs); i++) {
        AUTO_FREE char *path = fs_join(store->state_dir, state_dirs[i].name);
        if (!ensure_dir(path, state_dirs[i].mode, true, err))
            return false;
    }
    /* configuration managers bring modes of their own: each file is checked when it is read */
    return ensure_dir(store->config_dir, 0755, false, err) && ensure_dir(certs_d, 0755, false, err);
}

static bool open_for_writing(struct store *store, struct err *err)
{
    AUTO_FREE char *lock_path = fs_join(store->state_dir, "lock");
    return ensure_dir(store->state_dir, 0711, true, err) && fs_lock(lock_path, &store->lock, err) &&
           ensure_layout(store, err);
}

bool store_open(const char *config_dir, const char *state_dir, enum store_mode mode, struct store **out,
                struct err *err)
{
    struct store *store = mem_alloc(sizeof *store);
    store->lock = (struct fs_lock)FS_LOCK_INIT;
    store->mode = mode;
    store->config_dir = absolute(config_dir != NULL ? config_dir : STORE_DEFAULT_CONFIG_DIR, err);
    store->state_dir = absolute(state_dir != NULL ? state_dir : STORE_DEFAULT_STATE_DIR, err);
    if (store->config_dir == NULL || store->state_dir == NULL ||
        (mode == STORE_WRITE && !open_for_writing(store, err))) {
        store_close(store);
        return false;
    }
    store->journal_dir = fs_join(store->state_dir, "journal");
    *out = store;
    return true;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    fs_unlock(&store->lock);
    free(store->config_dir);
    free(store->state_dir);
    free(store->journal_dir);
    free(store);
}

const char *store_config_dir(const struct store *store)
{
    return store->config_dir;
}

const char *store_state_dir(const struct store *store)
{
    return store->state_dir;
}

const char *store_journal_dir(const struct store *store)
{
    return store->journal_dir;
}

/* -- what every function checks ----------------------------------------------------------------------- */

static bool check_name(const char *name, struct err *err)
{
    if (name != NULL && config_cert_name_valid(name))
        return true;
    err_set(err, ERR_NAME, NEXT_FIX_CONFIG, name, "'%s' cannot be the name of a certificate",
            name != NULL ? name : "");
    return err_advise(
        err, "certificate names are 1 to 200 letters, digits, '.', '_', '@' and '-', and do not begin "
             "with '.' or '-'; `tlsup status` lists those that exist");
}

static bool check_writing(const struct store *store, struct err *err)
{
    if (store->mode == STORE_WRITE)
        return true;
    return err_set(err, ERR_INTERNAL, NEXT_LOCAL_FAULT, store->state_dir,
                   "the store was opened for reading only");
}

static bool check_change(const struct store *store, const char *name, struct err *err)
{
    return check_writing(store, err) && check_name(name, err);
}

/* ERR_NOT_FOUND is an answer rather than a failure to some callers. */
static bool forgive_missing(struct err *err)
{
    if (err->code != ERR_NOT_FOUND)
        return false;
    err_clear(err);
    return true;
}

/* -- configuration ------------------------------------------------------------------------------------ */

static char *cert_config_path(const struct store *store, const char *name)
{
    AUTO_FREE char *file = mem_fmt("%s.conf", name);
    return below(store->config_dir, "certs.d", file);
}

bool store_defaults(struct store *store, struct cert_config *out, struct err *err)
{
    AUTO_FREE char *path = fs_join(store->config_dir, "tlsup.conf");
    struct cert_config config;
    cert_config_init(&config);
    if (!config_read_file(path, false, &config, err)) {
        cert_config_clear(&config);
        return false;
    }
    *out = config;
    return true;
}

/* The certificate's name when `file` is "NAME.conf"; else NULL. The caller frees. */
static char *name_of_config_file(const char *file)
{
    size_t len = strlen(file);
    if (file[0] == '.' || len <= 5 || strcmp(file + len - 5, ".conf") != 0)
        return NULL;
    char *name = mem_ndup(file, len - 5);
    if (!config_cert_name_valid(name)) {
        log_warn("certs.d/%s is ignored: '%s' cannot be the name of a certificate", file, name);
        free(name);
        return NULL;
    }
    return name;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool store_cert_names(struct store *store, struct strlist *names, struct err *err)
{
    AUTO_FREE char *dir = fs_join(store->config_dir, "certs.d");
    AUTO_STRLIST files = STRLIST_INIT;
    if (!fs_list(dir, &files, err))
        return false;
    strlist_clear(names);
    for (size_t i = 0; i < files.n; i++) {
        AUTO_FREE char *name = name_of_config_file(files.v[i]);
        if (name != NULL)
            strlist_add(names, name);
    }
    /* the suffix has its say in the order of files: "a.conf" comes after "a-b.conf" */
    if (names->n > 1)
        qsort(names->v, names->n, sizeof *names->v, by_bytes);
    return true;
}

static bool no_such_certificate(const char *name, const char *path, struct err *err)
{
    err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, name, "there is no certificate '%s' (%s does not exist)",
            name, path);
    return err_advise(err, "`tlsup status` lists the certificates that exist");
}

bool store_cert_config(struct store *store, const char *name, struct cert_config *out, struct err *err)
{
    if (!check_name(name, err))
        return false;
    AUTO_FREE char *path = cert_config_path(store, name);
    struct cert_config config = {0};
    if (!store_defaults(store, &config, err))
        return false;
    if (!config_read_file(path, true, &config, err)) {
        cert_config_clear(&config);
        return forgive_missing(err) ? no_such_certificate(name, path, err) : false;
    }
    free(config.name);
    config.name = mem_dup(name);
    *out = config;
    return true;
}

/* Does the file hold this very configuration already? */
static bool says_the_same(const char *path, const struct cert_config *defaults,
                          const struct cert_config *config)
{
    struct err ignored = ERR_INIT;
    struct cert_config present = {0};
    cert_config_copy(&present, defaults);
    bool same = fs_exists(path) && config_read_file(path, true, &present, &ignored) &&
                cert_config_same(&present, config);
    cert_config_clear(&present);
    return same;
}

/* What is written must mean to the next run what it means to this one: a line break in a value must not
 * become another key. */
static bool reads_back(const char *path, const struct cert_config *defaults, const struct cert_config *config,
                       const struct buf *text, struct err *err)
{
    struct cert_config again = {0};
    cert_config_copy(&again, defaults);
    bool read = config_read_text(buf_str(text), text->len, path, true, &again, err);
    bool same = read && cert_config_same(&again, config);
    cert_config_clear(&again);
    if (!read)
        return err_context(err, "the configuration cannot be saved");
    return same ||
           err_set(
               err, ERR_CONFIG, NEXT_FIX_CONFIG, path,
               "%s: the configuration cannot be saved: a value has a line break, or white space at an end",
               path);
}

bool store_cert_config_save(struct store *store, const struct cert_config *config, struct err *err)
{
    AUTO_BUF text = BUF_INIT;
    struct cert_config defaults = {0};
    if (!check_change(store, config->name, err) || !store_defaults(store, &defaults, err))
        return false;
    AUTO_FREE char *path = cert_config_path(store, config->name);
    config_write_text(config, &defaults, &text);
    bool ok = reads_back(path, &defaults, config, &text, err) &&
              (says_the_same(path, &defaults, config) || fs_write(path, text.data, text.len, 0644, err));
    cert_config_clear(&defaults);
    return ok;
}

/* -- keys --------------------------------------------------------------------------------------------- */

/* The crypto layer gives the path as the subject; the text tells it as well, as everywhere in the store. */
static bool in_file(const char *path, struct err *err)
{
    return strstr(err->text, path) != NULL ? false : err_context(err, "%s", path);
}

static bool read_key(const char *path, struct key **out, struct err *err)
{
    AUTO_BUF pem = BUF_SECRET;
    struct stat st;
    if (!fs_read(path, KEY_FILE_BYTES, &pem, err))
        return false;
    if (stat(path, &st) == 0 && (st.st_mode & 077) != 0)
        log_warn("the private key %s is open to others (mode %04o): chmod 600 %s", path,
                 (unsigned)(st.st_mode & 07777), path);
    return key_from_pem(buf_str(&pem), pem.len, path, out, err) || in_file(path, err);
}

static bool write_key(const char *path, const struct key *key, struct err *err)
{
    AUTO_BUF pem = BUF_SECRET;
    return key_to_pem(key, &pem, err) && fs_write(path, pem.data, pem.len, 0600, err);
}

/* -- accounts ----------------------------------------------------------------------------------------- */

static char *account_path(const struct store *store, const char *ca_url, const char *file)
{
    char ca[256];
    return mem_fmt("%s/accounts/%s/%s", store->state_dir, config_ca_dir_name(ca_url, ca), file);
}

static bool write_account_file(struct store *store, const char *ca_url, const char *file, mode_t mode,
                               const struct buf *content, struct err *err)
{
    AUTO_FREE char *path = account_path(store, ca_url, file);
    AUTO_FREE char *dir = fs_dirname(path);
    return check_writing(store, err) && ensure_dir(dir, 0700, true, err) &&
           fs_write(path, content->data, content->len, mode, err);
}

static bool make_account_key(struct store *store, const char *path, struct key **out, struct err *err)
{
    AUTO_KEY *key = NULL;
    if (!check_writing(store, err) || !key_generate(KEY_ECDSA_P256, &key, err) || !write_key(path, key, err))
        return false;
    *out = key;
    key = NULL;
    return true;
}

bool store_account_key(struct store *store, const char *ca_url, bool create, struct key **out,
                       struct err *err)
{
    AUTO_FREE char *own = account_path(store, ca_url, "key.pem");
    AUTO_FREE char *shared = below(store->state_dir, "accounts", "key.pem");
    if (read_key(own, out, err))
        return true;
    if (!forgive_missing(err))
        return false;
    if (read_key(shared, out, err))
        return true;
    if (err->code != ERR_NOT_FOUND)
        return false;
    if (create) {
        err_clear(err);
        return make_account_key(store, shared, out, err);
    }
    return err_advise(err, "`tlsup account register` makes an account, and so does the first certificate");
}

bool store_account_load(struct store *store, const char *ca_url, struct account_record *out, struct err *err)
{
    AUTO_FREE char *path = account_path(store, ca_url, "account.json");
    AUTO_BUF json = BUF_INIT;
    if (fs_read(path, STATE_FILE_BYTES, &json, err))
        return account_decode(buf_str(&json), json.len, path, out, err);
    if (!forgive_missing(err))
        return false;
    memset(out, 0, sizeof *out);
    return true;
}

bool store_account_save(struct store *store, const char *ca_url, const struct account_record *record,
                        struct err *err)
{
    AUTO_BUF json = BUF_INIT;
    account_encode(record, &json);
    return write_account_file(store, ca_url, "account.json", 0600, &json, err);
}

bool store_account_forget(struct store *store, const char *ca_url, struct err *err)
{
    AUTO_FREE char *path = account_path(store, ca_url, "account.json");
    return check_writing(store, err) && fs_remove(path, err);
}

/* The cached directory: a first line with the time of receipt, then what the CA sent, byte for byte. */
#define DIRECTORY_FILE "directory.cache"
#define DIRECTORY_HEAD "fetched_s "

void store_directory_load(struct store *store, const char *ca_url, struct buf *json, int64_t *fetched_s)
{
    AUTO_FREE char *path = account_path(store, ca_url, DIRECTORY_FILE);
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
    return write_account_file(store, ca_url, DIRECTORY_FILE, 0600, &file, err);
}

/* -- paths of certificates ---------------------------------------------------------------------------- */

static char *cert_dir(const struct store *store, const char *name)
{
    return below(store->state_dir, "certs", name);
}

static char *live_link(const struct store *store, const char *name)
{
    return below(store->state_dir, "live", name);
}

static char *version_dir(const struct store *store, const char *name, int version)
{
    return mem_fmt("%s/certs/%s/%04d", store->state_dir, name, version);
}

char *store_live_path(const struct store *store, const char *name)
{
    return config_cert_name_valid(name) ? live_link(store, name) : NULL;
}

char *store_version_path(const struct store *store, const char *name, int version)
{
    return config_cert_name_valid(name) ? version_dir(store, name, version) : NULL;
}

char *store_version_link_target(const char *name, int version)
{
    return config_cert_name_valid(name) ? mem_fmt("../certs/%s/%04d", name, version) : NULL;
}

/* The number of a version directory's name, 0 when it is not one. */
static int parse_version(const char *text)
{
    char canonical[16];
    size_t len = strlen(text);
    if (len < 4 || len > 9 || strspn(text, "0123456789") != len)
        return 0;
    int version = (int)strtol(text, NULL, 10);
    snprintf(canonical, sizeof canonical, "%04d", version);
    return strcmp(canonical, text) == 0 ? version : 0;
}

struct versions {
    int *v; /* ascending */
    size_t n;
};

static void versions_clear(struct versions *versions)
{
    free(versions->v);
    *versions = (struct versions){0};
}
#define AUTO_VERSIONS CLEANUP(versions_clear) struct versions

static int by_number(const void *a, const void *b)
{
    int left = *(const int *)a, right = *(const int *)b;
    return (left > right) - (left < right);
}

static bool list_versions(const struct store *store, const char *name, struct versions *out, struct err *err)
{
    AUTO_FREE char *dir = cert_dir(store, name);
    AUTO_STRLIST entries = STRLIST_INIT;
    if (!fs_list(dir, &entries, err))
        return false;
    out->v = mem_array(entries.n, sizeof *out->v);
    for (size_t i = 0; i < entries.n; i++) {
        int version = parse_version(entries.v[i]);
        if (version > 0)
            out->v[out->n++] = version;
    }
    qsort(out->v, out->n, sizeof *out->v, by_number);
    return true;
}

/* -- the key of an order in flight -------------------------------------------------------------------- */

static char *pending_path(const struct store *store, const char *name)
{
    return mem_fmt("%s/certs/%s/pending.pem", store->state_dir, name);
}

bool store_pending_key_load(struct store *store, const char *name, struct key **out, struct err *err)
{
    if (!check_name(name, err))
        return false;
    AUTO_FREE char *path = pending_path(store, name);
    return read_key(path, out, err);
}

bool store_pending_key_save(struct store *store, const char *name, const struct key *key, struct err *err)
{
    if (!check_change(store, name, err))
        return false;
    AUTO_FREE char *dir = cert_dir(store, name);
    AUTO_FREE char *path = pending_path(store, name);
    return ensure_dir(dir, 0755, true, err) && write_key(path, key, err);
}

bool store_pending_key_drop(struct store *store, const char *name, struct err *err)
{
    if (!check_change(store, name, err))
        return false;
    AUTO_FREE char *path = pending_path(store, name);
    return fs_remove(path, err);
}

/* -- versions ----------------------------------------------------------------------------------------- */

/* What an interrupted run was building or removing. */
static bool sweep(const char *dir, struct err *err)
{
    AUTO_STRLIST entries = STRLIST_INIT;
    if (!fs_list(dir, &entries, err))
        return false;
    for (size_t i = 0; i < entries.n; i++) {
        if (strncmp(entries.v[i], BUILDING_PREFIX, strlen(BUILDING_PREFIX)) != 0 &&
            strncmp(entries.v[i], DOOMED_PREFIX, strlen(DOOMED_PREFIX)) != 0)
            continue;
        AUTO_FREE char *path = fs_join(dir, entries.v[i]);
        if (!fs_remove_tree(path, err))
            return false;
    }
    return true;
}

/* Above every version there is, and above what the state speaks of: a number never means two things. */
static bool next_version(struct store *store, const char *name, int *out, struct err *err)
{
    AUTO_VERSIONS versions = {0};
    struct cert_state state = CERT_STATE_INIT;
    struct err unreadable = ERR_INIT;
    int live = 0;
    if (!list_versions(store, name, &versions, err))
        return false;
    /* these two only raise the number: a certificate that the CA has given is stored without them, too */
    if (!store_live_version(store, name, &live, &unreadable) ||
        !store_state_load(store, name, &state, &unreadable))
        log_warn("%s", unreadable.text);
    int highest = versions.n > 0 ? versions.v[versions.n - 1] : 0;
    highest = live > highest ? live : highest;
    highest = state.version > highest ? state.version : highest;
    cert_state_clear(&state);
    if (highest >= VERSION_MAX)
        return err_set(err, ERR_IO, NEXT_LOCAL_FAULT, name, "certificate '%s' has no version numbers left",
                       name);
    *out = highest + 1;
    return true;
}

static bool write_file(const char *dir, const char *file, mode_t mode, const struct buf *content,
                       struct err *err)
{
    AUTO_FREE char *path = fs_join(dir, file);
    return fs_write(path, buf_str(content), content->len, mode, err);
}

static bool make_private_dir(const char *path, struct err *err)
{
    if (mkdir(path, 0700) != 0)
        return err_errno(err, errno, path, "cannot make directory %s", path);
    return true;
}

static bool set_mode(const char *path, mode_t mode, struct err *err)
{
    if (chmod(path, mode) != 0)
        return err_errno(err, errno, path, "cannot set the mode of %s", path);
    return true;
}

struct version_text {
    struct buf privkey, cert, chain, fullchain;
};

static void version_text_clear(struct version_text *text)
{
    buf_clear(&text->privkey);
    buf_clear(&text->cert);
    buf_clear(&text->chain);
    buf_clear(&text->fullchain);
}

static bool build(const char *dir, const struct version_text *text, struct err *err)
{
    return make_private_dir(dir, err) && set_mode(dir, 0700, err) &&
           write_file(dir, "privkey.pem", 0600, &text->privkey, err) &&
           write_file(dir, "cert.pem", 0644, &text->cert, err) &&
           write_file(dir, "chain.pem", 0644, &text->chain, err) &&
           write_file(dir, "fullchain.pem", 0644, &text->fullchain, err) && set_mode(dir, 0755, err) &&
           fs_sync_dir(dir, err);
}

static bool publish(struct store *store, const char *name, int version, const struct version_text *text,
                    struct err *err)
{
    struct err ignored = ERR_INIT;
    AUTO_FREE char *building =
        mem_fmt("%s/certs/%s/" BUILDING_PREFIX "%04d", store->state_dir, name, version);
    AUTO_FREE char *final = version_dir(store, name, version);
    if (build(building, text, err) && fs_rename(building, final, err))
        return true;
    if (!fs_remove_tree(building, &ignored))
        log_warn("%s", ignored.text);
    return false;
}

bool store_version_add(struct store *store, const char *name, const struct key *key,
                       const struct cert_chain *chain, int *version, struct err *err)
{
    CLEANUP(version_text_clear) struct version_text text = {.privkey = BUF_SECRET};
    int number = 0;
    if (!check_change(store, name, err) || !key_to_pem(key, &text.privkey, err) ||
        !cert_chain_pem(chain, &text.cert, &text.chain, &text.fullchain, err))
        return false;
    AUTO_FREE char *dir = cert_dir(store, name);
    if (!ensure_dir(dir, 0755, true, err) || !sweep(dir, err) || !next_version(store, name, &number, err) ||
        !publish(store, name, number, &text, err))
        return false;
    *version = number;
    return true;
}

/* Out of sight by one rename first: a version is there whole, or not at all. */
static bool remove_version(struct store *store, const char *name, int version, struct err *err)
{
    AUTO_FREE char *dir = version_dir(store, name, version);
    AUTO_FREE char *doomed = mem_fmt("%s/certs/%s/" DOOMED_PREFIX "%04d", store->state_dir, name, version);
    if (!fs_exists(dir))
        return true;
    return fs_remove_tree(doomed, err) && fs_rename(dir, doomed, err) && fs_remove_tree(doomed, err);
}

bool store_version_drop(struct store *store, const char *name, int version, struct err *err)
{
    int live = 0;
    if (!check_change(store, name, err) || !store_live_version(store, name, &live, err))
        return false;
    if (version == live && live != 0)
        return err_set(err, ERR_MISMATCH, NEXT_FIX_CONFIG, name,
                       "version %d of certificate '%s' is the live one and cannot be removed", version, name);
    return remove_version(store, name, version, err);
}

bool store_version_prune(struct store *store, const char *name, int keep, struct err *err)
{
    AUTO_VERSIONS versions = {0};
    int live = 0;
    size_t kept = keep > 0 ? (size_t)keep : 0;
    if (!check_change(store, name, err) || !store_live_version(store, name, &live, err) ||
        !list_versions(store, name, &versions, err))
        return false;
    for (size_t i = 0; i + kept < versions.n; i++)
        if (versions.v[i] != live && !remove_version(store, name, versions.v[i], err))
            return false;
    return true;
}

/* -- live --------------------------------------------------------------------------------------------- */

static bool version_whole(const struct store *store, const char *name, int version, struct err *err)
{
    static const char *const files[] = {"privkey.pem", "cert.pem", "chain.pem", "fullchain.pem"};
    AUTO_FREE char *dir = version_dir(store, name, version);
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        AUTO_FREE char *path = fs_join(dir, files[i]);
        if (!fs_exists(path))
            return err_set(err, ERR_NOT_FOUND, NEXT_LOCAL_FAULT, name,
                           "version %d of certificate '%s' is not complete: %s does not exist", version, name,
                           path);
    }
    return true;
}

bool store_live_switch(struct store *store, const char *name, int version, struct err *err)
{
    if (!check_change(store, name, err) || !version_whole(store, name, version, err))
        return false;
    AUTO_FREE char *target = store_version_link_target(name, version);
    AUTO_FREE char *link = live_link(store, name);
    return fs_symlink(target, link, err);
}

static bool foreign_link(const char *link, const char *target, struct err *err)
{
    err_set(err, ERR_MISMATCH, NEXT_LOCAL_FAULT, link, "%s %s%s, which is not of tlsup's making", link,
            target != NULL ? "points to " : "is not a symbolic link", target != NULL ? target : "");
    return err_advise(err, "move it away, then run `tlsup renew`");
}

bool store_live_version(struct store *store, const char *name, int *version, struct err *err)
{
    char target[512];
    if (!check_name(name, err))
        return false;
    AUTO_FREE char *link = live_link(store, name);
    ssize_t len = readlink(link, target, sizeof target - 1);
    if (len < 0 && errno == EINVAL)
        return foreign_link(link, NULL, err);
    if (len < 0 && errno != ENOENT)
        return err_errno(err, errno, link, "cannot read the link %s", link);
    if (len < 0) {
        *version = 0;
        return true;
    }
    target[len] = '\0';
    const char *slash = strrchr(target, '/');
    int number = slash != NULL ? parse_version(slash + 1) : 0;
    AUTO_FREE char *expected = store_version_link_target(name, number);
    if (number == 0 || strcmp(expected, target) != 0)
        return foreign_link(link, target, err);
    *version = number;
    return true;
}

bool store_version_chain(struct store *store, const char *name, int version, struct cert_chain **out,
                         struct err *err)
{
    if (!check_name(name, err))
        return false;
    AUTO_BUF pem = BUF_INIT;
    AUTO_FREE char *dir = version_dir(store, name, version);
    AUTO_FREE char *path = fs_join(dir, "fullchain.pem");
    if (!fs_read(path, CHAIN_FILE_BYTES, &pem, err))
        return false;
    return cert_chain_parse(buf_str(&pem), pem.len, path, out, err) || in_file(path, err);
}

bool store_live_chain(struct store *store, const char *name, struct cert_chain **out, struct err *err)
{
    int version = 0;
    if (!store_live_version(store, name, &version, err))
        return false;
    if (version == 0)
        return err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, name, "certificate '%s' has no live version",
                       name);
    return store_version_chain(store, name, version, out, err);
}

/* -- state -------------------------------------------------------------------------------------------- */

static char *state_path(const struct store *store, const char *name)
{
    return mem_fmt("%s/state/%s.json", store->state_dir, name);
}

bool store_state_load(struct store *store, const char *name, struct cert_state *out, struct err *err)
{
    AUTO_BUF json = BUF_INIT;
    if (!check_name(name, err))
        return false;
    AUTO_FREE char *path = state_path(store, name);
    if (fs_read(path, STATE_FILE_BYTES, &json, err))
        return state_decode(buf_str(&json), json.len, path, out, err);
    if (!forgive_missing(err))
        return false;
    cert_state_clear(out);
    return true;
}

bool store_state_save(struct store *store, const char *name, const struct cert_state *state, struct err *err)
{
    AUTO_BUF json = BUF_INIT;
    if (!check_change(store, name, err))
        return false;
    AUTO_FREE char *path = state_path(store, name);
    state_encode(state, &json);
    return fs_write(path, json.data, json.len, 0644, err);
}

bool store_cert_delete(struct store *store, const char *name, struct err *err)
{
    if (!check_change(store, name, err))
        return false;
    AUTO_FREE char *config = cert_config_path(store, name);
    AUTO_FREE char *state = state_path(store, name);
    AUTO_FREE char *live = live_link(store, name);
    AUTO_FREE char *certs = cert_dir(store, name);
    if (!fs_exists(config) && !fs_exists(state) && !fs_exists(live) && !fs_exists(certs))
        return no_such_certificate(name, config, err);
    return fs_remove(config, err) && fs_remove(state, err) && fs_remove(live, err) &&
           fs_remove_tree(certs, err);
}
