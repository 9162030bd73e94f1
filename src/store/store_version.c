#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "store_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tlsup/log.h"
#include "tlsup/mem.h"

#define CHAIN_FILE_BYTES ((size_t)256 * 1024)
#define VERSION_MAX 999999999
#define BUILDING_PREFIX ".new-"
#define DOOMED_PREFIX ".old-"

/* -- paths of certificates ---------------------------------------------------------------------------- */

char *store_cert_dir(const struct store *store, const char *name)
{
    return store_below(store->state_dir, "certs", name);
}

char *store_live_link(const struct store *store, const char *name)
{
    return store_below(store->state_dir, "live", name);
}

static char *version_dir(const struct store *store, const char *name, int version)
{
    return mem_fmt("%s/certs/%s/%04d", store->state_dir, name, version);
}

char *store_live_path(const struct store *store, const char *name)
{
    return config_cert_name_valid(name) ? store_live_link(store, name) : NULL;
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
    AUTO_FREE char *dir = store_cert_dir(store, name);
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

static char *pending_path(const struct store *store, const char *name, int part)
{
    return mem_fmt("%s/certs/%s/pending%s.pem", store->state_dir, name, part > 0 ? "-2" : "");
}

bool store_pending_key_load(struct store *store, const char *name, int part, struct key **out,
                            struct err *err)
{
    if (!store_check_name(name, err))
        return false;
    AUTO_FREE char *path = pending_path(store, name, part);
    return store_key_read(path, out, err);
}

bool store_pending_key_save(struct store *store, const char *name, int part, const struct key *key,
                            struct err *err)
{
    if (!store_check_change(store, name, err))
        return false;
    AUTO_FREE char *dir = store_cert_dir(store, name);
    AUTO_FREE char *path = pending_path(store, name, part);
    return store_ensure_dir(dir, 0755, true, err) && store_key_write(path, key, err);
}

bool store_pending_key_drop(struct store *store, const char *name, int part, struct err *err)
{
    if (!store_check_change(store, name, err))
        return false;
    AUTO_FREE char *path = pending_path(store, name, part);
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

/* The files of one part; the second part's have "-rsa" or "-ecdsa" before the dot. */
enum version_file { CERT, CHAIN, FULLCHAIN, PRIVKEY, PRIVKEY_URI, PRIVKEY_ELSEWHERE, VERSION_FILES };

static const struct {
    const char *name, *ending;
    mode_t mode;
} version_files[VERSION_FILES] = {
    [CERT] = {"cert", "pem", 0644},
    [CHAIN] = {"chain", "pem", 0644},
    [FULLCHAIN] = {"fullchain", "pem", 0644},
    /* one of these */
    [PRIVKEY] = {"privkey", "pem", 0600},
    [PRIVKEY_URI] = {"privkey", "uri", 0600},
    [PRIVKEY_ELSEWHERE] = {"privkey", "elsewhere", 0644},
};

static const char *const suffixes[] = {"", "-rsa", "-ecdsa"};

/* So that a key that was lost is not taken for one that never was here. */
static const char elsewhere[] =
    "The private key of this certificate is not held here: the certificate was issued for a request that "
    "was made elsewhere.\n";

static char *file_path(const char *dir, enum version_file file, const char *suffix)
{
    return mem_fmt("%s/%s%s.%s", dir, version_files[file].name, suffix, version_files[file].ending);
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

/* What goes into the files of one part; those that it has not stay empty. */
struct part_text {
    struct buf file[VERSION_FILES];
    const char *suffix;
};

static void part_text_clear(struct part_text *text)
{
    for (size_t i = 0; i < VERSION_FILES; i++)
        buf_clear(&text->file[i]);
}
#define AUTO_PART_TEXT CLEANUP(part_text_clear) struct part_text

static bool key_text(const struct key *key, struct part_text *out, struct err *err)
{
    if (key == NULL)
        buf_adds(&out->file[PRIVKEY_ELSEWHERE], elsewhere);
    else if (key_uri(key) != NULL)
        buf_addf(&out->file[PRIVKEY_URI], "%s\n", key_uri(key));
    else
        return key_to_pem(key, &out->file[PRIVKEY], err);
    return true;
}

static bool algorithm_suffix(const struct cert_chain *chain, const char **out, struct err *err)
{
    struct cert_info info = CERT_INFO_INIT;
    if (!cert_chain_info(chain, &info, err))
        return false;
    *out = strncmp(info.key_type, "rsa", 3) == 0 ? "-rsa" : "-ecdsa";
    cert_info_clear(&info);
    return true;
}

static bool part_text(const struct store_part *part, int which, struct part_text *out, struct err *err)
{
    out->file[PRIVKEY].secret = out->file[PRIVKEY_URI].secret = true;
    out->suffix = "";
    return (which == 0 || algorithm_suffix(part->chain, &out->suffix, err)) &&
           key_text(part->key, out, err) &&
           cert_chain_pem(part->chain, &out->file[CERT], &out->file[CHAIN], &out->file[FULLCHAIN], err);
}

static bool write_part(const char *dir, const struct store_part *part, int which, struct err *err)
{
    AUTO_PART_TEXT text = {0};
    if (!part_text(part, which, &text, err))
        return false;
    for (enum version_file file = 0; file < VERSION_FILES; file++) {
        AUTO_FREE char *path = file_path(dir, file, text.suffix);
        /* a chain of one certificate has an empty chain.pem */
        bool wanted = text.file[file].len > 0 || file == CHAIN;
        if (wanted &&
            !fs_write(path, buf_str(&text.file[file]), text.file[file].len, version_files[file].mode, err))
            return false;
    }
    return true;
}

static bool build(const char *dir, const struct store_part *parts, size_t n, struct err *err)
{
    if (!make_private_dir(dir, err) || !set_mode(dir, 0700, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!write_part(dir, &parts[i], (int)i, err))
            return false;
    return set_mode(dir, 0755, err) && fs_sync_dir(dir, err);
}

static bool publish(struct store *store, const char *name, int version, const struct store_part *parts,
                    size_t n, struct err *err)
{
    struct err ignored = ERR_INIT;
    AUTO_FREE char *building =
        mem_fmt("%s/certs/%s/" BUILDING_PREFIX "%04d", store->state_dir, name, version);
    AUTO_FREE char *final = version_dir(store, name, version);
    if (build(building, parts, n, err) && fs_rename(building, final, err))
        return true;
    if (!fs_remove_tree(building, &ignored))
        log_warn("%s", ignored.text);
    return false;
}

bool store_version_add(struct store *store, const char *name, const struct store_part *parts, size_t n,
                       int *version, struct err *err)
{
    int number = 0;
    if (!store_check_change(store, name, err))
        return false;
    if (n < 1 || n > STORE_PARTS)
        return err_set(err, ERR_INTERNAL, NEXT_NONE, name, "a version has one certificate or two, not %zu",
                       n);
    AUTO_FREE char *dir = store_cert_dir(store, name);
    if (!store_ensure_dir(dir, 0755, true, err) || !sweep(dir, err) ||
        !next_version(store, name, &number, err) || !publish(store, name, number, parts, n, err))
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
    if (!store_check_change(store, name, err) || !store_live_version(store, name, &live, err))
        return false;
    if (version == live && live != 0)
        return err_set(err, ERR_MISMATCH, NEXT_FIX_CONFIG, name,
                       "version %d of certificate '%s' is the live one and cannot be removed", version, name);
    return remove_version(store, name, version, err);
}

/* What comes of an order in flight may rest on what is there. */
static bool is_in_flight(struct store *store, const char *name)
{
    struct cert_state state = CERT_STATE_INIT;
    struct err err = ERR_INIT;
    bool in_flight = !store_state_load(store, name, &state, &err);
    for (size_t i = 0; i < COUNT_OF(state.orders); i++)
        in_flight |= state.orders[i].url[0] != '\0';
    cert_state_clear(&state);
    return in_flight;
}

bool store_version_prune(struct store *store, const char *name, int keep, struct err *err)
{
    AUTO_VERSIONS versions = {0};
    int live = 0;
    size_t kept = keep > 0 ? (size_t)keep : 0;
    if (!store_check_change(store, name, err) || !store_live_version(store, name, &live, err) ||
        !list_versions(store, name, &versions, err))
        return false;
    if (versions.n <= kept || is_in_flight(store, name))
        return true;
    for (size_t i = 0; i + kept < versions.n; i++) {
        bool before_live = i + 1 < versions.n && versions.v[i + 1] == live;
        if (versions.v[i] != live && !before_live && !remove_version(store, name, versions.v[i], err))
            return false;
    }
    return true;
}

bool store_versions(struct store *store, const char *name, int **out, size_t *n, struct err *err)
{
    AUTO_VERSIONS versions = {0};
    if (!store_check_name(name, err) || !list_versions(store, name, &versions, err))
        return false;
    *out = versions.v;
    *n = versions.n;
    versions.v = NULL;
    return true;
}

static char *revoked_path(const struct store *store, const char *name, int version)
{
    return mem_fmt("%s/certs/%s/%04d/revoked", store->state_dir, name, version);
}

bool store_version_revoke(struct store *store, const char *name, int version, struct err *err)
{
    if (!store_check_change(store, name, err))
        return false;
    AUTO_FREE char *path = revoked_path(store, name, version);
    return fs_write(path, "", 0, 0644, err);
}

bool store_version_revoked(const struct store *store, const char *name, int version)
{
    if (!config_cert_name_valid(name))
        return false;
    AUTO_FREE char *path = revoked_path(store, name, version);
    return fs_exists(path);
}

/* -- live --------------------------------------------------------------------------------------------- */

static bool incomplete(const char *name, int version, const char *path, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, NEXT_LOCAL_FAULT, name,
                   "version %d of certificate '%s' is not complete: %s does not exist", version, name, path);
}

static bool has_file(const char *dir, enum version_file file, const char *suffix)
{
    AUTO_FREE char *path = file_path(dir, file, suffix);
    return fs_exists(path);
}

static bool has_part(const char *dir, const char *suffix)
{
    for (enum version_file file = 0; file < VERSION_FILES; file++)
        if (has_file(dir, file, suffix))
            return true;
    return false;
}

static bool part_whole(const char *name, int version, const char *dir, const char *suffix, struct err *err)
{
    bool has_key = has_file(dir, PRIVKEY, suffix) || has_file(dir, PRIVKEY_URI, suffix) ||
                   has_file(dir, PRIVKEY_ELSEWHERE, suffix);
    enum version_file missing = has_key ? CERT : PRIVKEY;
    while (has_key && missing <= FULLCHAIN && has_file(dir, missing, suffix))
        missing++;
    if (has_key && missing > FULLCHAIN)
        return true;
    AUTO_FREE char *path = file_path(dir, missing, suffix);
    return incomplete(name, version, path, err);
}

static bool version_whole(const struct store *store, const char *name, int version, struct err *err)
{
    AUTO_FREE char *dir = version_dir(store, name, version);
    for (size_t i = 0; i < COUNT_OF(suffixes); i++)
        if ((suffixes[i][0] == '\0' || has_part(dir, suffixes[i])) &&
            !part_whole(name, version, dir, suffixes[i], err))
            return false;
    return true;
}

bool store_live_switch(struct store *store, const char *name, int version, struct err *err)
{
    if (!store_check_change(store, name, err) || !version_whole(store, name, version, err))
        return false;
    AUTO_FREE char *target = store_version_link_target(name, version);
    AUTO_FREE char *link = store_live_link(store, name);
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
    if (!store_check_name(name, err))
        return false;
    AUTO_FREE char *link = store_live_link(store, name);
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

/* Of the first part, or of the second, whose algorithm only its files tell. */
static const char *part_suffix(const char *dir, int part)
{
    for (size_t i = 1; part > 0 && i < COUNT_OF(suffixes); i++)
        if (has_part(dir, suffixes[i]))
            return suffixes[i];
    return part > 0 ? "-2" : ""; /* there is no such file */
}

bool store_version_chain(struct store *store, const char *name, int version, int part,
                         struct cert_chain **out, struct err *err)
{
    if (!store_check_name(name, err))
        return false;
    AUTO_BUF pem = BUF_INIT;
    AUTO_FREE char *dir = version_dir(store, name, version);
    AUTO_FREE char *path = file_path(dir, FULLCHAIN, part_suffix(dir, part));
    if (!fs_read(path, CHAIN_FILE_BYTES, &pem, err))
        return false;
    return cert_chain_parse(buf_str(&pem), pem.len, path, out, err) || store_in_file(path, err);
}

bool store_version_key(struct store *store, const char *name, int version, int part, struct key **out,
                       struct err *err)
{
    if (!store_check_name(name, err))
        return false;
    AUTO_FREE char *dir = version_dir(store, name, version);
    const char *suffix = part_suffix(dir, part);
    AUTO_FREE char *path = file_path(dir, PRIVKEY, suffix);
    AUTO_FREE char *uri_path = file_path(dir, PRIVKEY_URI, suffix);
    if (has_file(dir, PRIVKEY_URI, suffix))
        return store_key_uri_read(uri_path, out, err);
    if (!has_file(dir, PRIVKEY, suffix) && has_file(dir, PRIVKEY_ELSEWHERE, suffix))
        return err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, name,
                       "the private key of certificate '%s' is not held here: it was issued for a request "
                       "that was made elsewhere",
                       name);
    return store_key_read(path, out, err);
}

bool store_live_chain(struct store *store, const char *name, struct cert_chain **out, struct err *err)
{
    int version = 0;
    if (!store_live_version(store, name, &version, err))
        return false;
    if (version == 0)
        return err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, name, "certificate '%s' has no live version",
                       name);
    return store_version_chain(store, name, version, 0, out, err);
}
