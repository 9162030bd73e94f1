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

#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

#define RUN_STATE_BYTES ((size_t)64 * 1024 * 1024) /* each hook that failed keeps thousands of names */

enum { DAY_S = 86400, LONGEST_PAUSE_S = 8 * DAY_S, LONGEST_ARI_PAUSE_S = DAY_S };

/* -- opening ------------------------------------------------------------------------------------------ */

char *store_below(const char *dir, const char *sub, const char *name)
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

bool store_ensure_dir(const char *path, mode_t mode, bool only_we_write, struct err *err)
{
    if (!fs_exists(path) && !fs_mkdirs(path, mode, err))
        return false;
    return trusted(path, only_we_write, err);
}

static bool layout_dir(struct store *store, const char *path, mode_t mode, bool only_we_write,
                       struct err *err)
{
    if (!fs_exists(path))
        strlist_add(&store->made, path);
    return store_ensure_dir(path, mode, only_we_write, err);
}

static bool ensure_layout(struct store *store, struct err *err)
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
        if (!layout_dir(store, path, state_dirs[i].mode, true, err))
            return false;
    }
    store_label(store);
    /* configuration managers bring modes of their own: each file is checked when it is read */
    return layout_dir(store, store->config_dir, 0755, false, err) &&
           layout_dir(store, certs_d, 0755, false, err);
}

void store_forget_layout(struct store *store)
{
    for (size_t i = store->made.n; i-- > 0;)
        (void)rmdir(store->made.v[i]);
    strlist_clear(&store->made);
}

static bool open_for_writing(struct store *store, struct err *err)
{
    AUTO_FREE char *lock_path = fs_join(store->state_dir, "lock");
    return store_ensure_dir(store->state_dir, 0711, true, err) && fs_lock(lock_path, &store->lock, err) &&
           ensure_layout(store, err);
}

bool store_open(const char *config_dir, const char *state_dir, enum store_mode mode, struct store **out,
                struct err *err)
{
    struct store *store = mem_alloc(sizeof *store);
    store->lock = (struct fs_lock)FS_LOCK_INIT;
    store->made = (struct strlist)STRLIST_INIT;
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
    strlist_clear(&store->made);
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

bool store_check_name(const char *name, struct err *err)
{
    if (name != NULL && config_cert_name_valid(name))
        return true;
    err_set(err, ERR_NAME, NEXT_FIX_CONFIG, name, "'%s' cannot be the name of a certificate",
            name != NULL ? name : "");
    return err_advise(
        err, "certificate names are 1 to 200 letters, digits, '.', '_', '@' and '-', and do not begin "
             "with '.' or '-'; `tlsup status` lists those that exist");
}

bool store_check_writing(const struct store *store, struct err *err)
{
    if (store->mode == STORE_WRITE)
        return true;
    return err_set(err, ERR_INTERNAL, NEXT_LOCAL_FAULT, store->state_dir,
                   "the store was opened for reading only");
}

bool store_check_change(const struct store *store, const char *name, struct err *err)
{
    return store_check_writing(store, err) && store_check_name(name, err);
}

/* ERR_NOT_FOUND is an answer rather than a failure to some callers. */
bool store_forgive_missing(struct err *err)
{
    if (err->code != ERR_NOT_FOUND)
        return false;
    err_clear(err);
    return true;
}

bool store_is_there(const char *path, bool *there, struct err *err)
{
    struct stat st;
    bool found = lstat(path, &st) == 0;
    if (!found && errno != ENOENT && errno != ENOTDIR)
        return err_errno(err, errno, path, "cannot look at %s", path);
    *there = found;
    return true;
}

/* -- configuration ------------------------------------------------------------------------------------ */

char *store_config_path(const struct store *store, const char *name)
{
    AUTO_FREE char *file = mem_fmt("%s.conf", name);
    return store_below(store->config_dir, "certs.d", file);
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

bool store_machine_config(struct store *store, struct machine_config *out, struct err *err)
{
    AUTO_FREE char *path = fs_join(store->config_dir, "tlsup.conf");
    struct machine_config config;
    machine_config_init(&config);
    if (!config_read_machine(path, &config, err)) {
        machine_config_clear(&config);
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
    if (!store_check_name(name, err))
        return false;
    AUTO_FREE char *path = store_config_path(store, name);
    struct cert_config config = {0};
    if (!store_defaults(store, &config, err))
        return false;
    if (!config_read_file(path, true, &config, err)) {
        cert_config_clear(&config);
        return store_forgive_missing(err) ? no_such_certificate(name, path, err) : false;
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

/* A PIN or a password in it is nobody else's business. */
static mode_t config_mode(const struct cert_config *config)
{
    bool pin = config->key != NULL && strstr(config->key, "pin-value") != NULL;
    bool password = config->proxy != NULL && strchr(config->proxy, '@') != NULL;
    return pin || password ? 0600 : 0644;
}

bool store_cert_config_made(struct store *store, const struct cert_config *config, char **path,
                            struct buf *text, unsigned *mode, struct err *err)
{
    struct cert_config defaults = {0};
    if (!store_check_change(store, config->name, err) || !store_defaults(store, &defaults, err))
        return false;
    AUTO_FREE char *file = store_config_path(store, config->name);
    config_write_text(config, &defaults, text);
    bool ok = reads_back(file, &defaults, config, text, err);
    *path = ok && !says_the_same(file, &defaults, config) ? mem_dup(file) : NULL;
    *mode = config_mode(config);
    cert_config_clear(&defaults);
    return ok;
}

bool store_cert_config_save(struct store *store, const struct cert_config *config, struct err *err)
{
    AUTO_BUF text = BUF_INIT;
    AUTO_FREE char *path = NULL;
    unsigned mode = 0;
    return store_cert_config_made(store, config, &path, &text, &mode, err) &&
           (path == NULL || fs_write(path, text.data, text.len, (mode_t)mode, err));
}

bool store_cert_config_text(struct store *store, const char *name, struct buf *out, struct err *err)
{
    if (!store_check_name(name, err))
        return false;
    AUTO_FREE char *path = store_config_path(store, name);
    return fs_read(path, CONFIG_FILE_BYTES, out, err);
}

bool store_cert_config_put_back(struct store *store, const char *name, const struct buf *text,
                                struct err *err)
{
    struct stat st;
    if (!store_check_change(store, name, err))
        return false;
    AUTO_FREE char *path = store_config_path(store, name);
    mode_t mode = stat(path, &st) == 0 ? st.st_mode & 0777 : 0600;
    return fs_write(path, buf_str(text), text->len, mode, err);
}

/* -- state -------------------------------------------------------------------------------------------- */

char *store_state_path(const struct store *store, const char *name)
{
    return mem_fmt("%s/state/%s.json", store->state_dir, name);
}

char *store_output_path(const struct store *store, const char *name)
{
    return mem_fmt("%s/state/%s.output", store->state_dir, name);
}

/* Written while the clock was ahead, a pause could last for years. Before the failure that it follows it is
 * none; so is one that is longer than any we make. */
static void forget_pause(int64_t failed_s, int64_t *next_try_s)
{
    if (failed_s > clock_now_s())
        *next_try_s = 0;
}

static void forget_beyond(int64_t longest_s, int64_t *at_s)
{
    if (*at_s - clock_now_s() > longest_s)
        *at_s = 0;
}

static void forget_future(struct cert_state *state)
{
    forget_pause(state->failed_s, &state->next_try_s);
    for (size_t i = 0; i < state->n_deployments; i++)
        forget_pause(state->deployments[i].failed_s, &state->deployments[i].next_try_s);
    forget_beyond(LONGEST_PAUSE_S, &state->missing_try_s);
    forget_beyond(LONGEST_ARI_PAUSE_S, &state->ari.next_check_s);
    forget_beyond(0, &state->verified_s);
}

/* For those who may read it. */
static void add_output(struct store *store, const char *name, struct cert_state *state)
{
    AUTO_BUF json = BUF_SECRET;
    struct err ignored = ERR_INIT;
    AUTO_FREE char *path = store_output_path(store, name);
    if (fs_exists(path) && fs_read(path, STATE_FILE_BYTES, &json, &ignored))
        state_add_output(buf_str(&json), json.len, state);
}

bool store_state_load(struct store *store, const char *name, struct cert_state *out, struct err *err)
{
    AUTO_BUF json = BUF_INIT;
    if (!store_check_name(name, err))
        return false;
    AUTO_FREE char *path = store_state_path(store, name);
    if (fs_read(path, STATE_FILE_BYTES, &json, err)) {
        bool ok = state_decode(buf_str(&json), json.len, path, out, err);
        if (ok) {
            forget_future(out);
            add_output(store, name, out);
        }
        return ok;
    }
    if (!store_forgive_missing(err))
        return false;
    cert_state_clear(out);
    return true;
}

/* A write costs several waits for the disk; what is there already need not be written. */
static bool is_written(const char *path, const struct buf *content)
{
    AUTO_BUF there = BUF_INIT;
    struct err ignored = ERR_INIT;
    return fs_read(path, content->len + 1, &there, &ignored) && there.len == content->len &&
           memcmp(there.data, content->data, content->len) == 0;
}

static bool write_what_changed(const char *path, const struct buf *content, mode_t mode, struct err *err)
{
    return is_written(path, content) || fs_write(path, content->data, content->len, mode, err);
}

bool store_state_save(struct store *store, const char *name, const struct cert_state *state, struct err *err)
{
    AUTO_BUF json = BUF_INIT, output = BUF_SECRET;
    if (!store_check_change(store, name, err))
        return false;
    AUTO_FREE char *path = store_state_path(store, name);
    AUTO_FREE char *output_path = store_output_path(store, name);
    state_encode(state, &json);
    state_encode_output(state, &output);
    return (output.len == 0 || write_what_changed(output_path, &output, 0600, err)) &&
           write_what_changed(path, &json, 0644, err) &&
           (output.len > 0 || !fs_exists(output_path) || fs_remove(output_path, err));
}

static char *run_state_path(const struct store *store)
{
    return fs_join(store->state_dir, "run.json");
}

bool store_run_state_load(struct store *store, struct run_state *out, struct err *err)
{
    AUTO_BUF json = BUF_INIT;
    AUTO_FREE char *path = run_state_path(store);
    if (fs_read(path, RUN_STATE_BYTES, &json, err)) {
        bool ok = run_state_decode(buf_str(&json), json.len, path, out, err);
        for (size_t i = 0; ok && i < out->n_debts; i++)
            forget_pause(out->debts[i].failed_s, &out->debts[i].next_try_s);
        return ok;
    }
    if (!store_forgive_missing(err))
        return false;
    run_state_clear(out);
    return true;
}

bool store_run_state_save(struct store *store, const struct run_state *state, struct err *err)
{
    AUTO_BUF json = BUF_INIT;
    AUTO_FREE char *path = run_state_path(store);
    if (!store_check_writing(store, err))
        return false;
    run_state_encode(state, &json);
    return write_what_changed(path, &json, 0600, err);
}

bool store_cert_is_there(const struct store *store, const char *name)
{
    if (!config_cert_name_valid(name))
        return false;
    AUTO_FREE char *config = store_config_path(store, name);
    AUTO_FREE char *state = store_state_path(store, name);
    AUTO_FREE char *live = store_live_link(store, name);
    AUTO_FREE char *certs = store_cert_dir(store, name);
    return fs_exists(config) || fs_exists(state) || fs_exists(live) || fs_exists(certs);
}

bool store_cert_delete(struct store *store, const char *name, struct err *err)
{
    if (!store_check_change(store, name, err))
        return false;
    AUTO_FREE char *config = store_config_path(store, name);
    AUTO_FREE char *state = store_state_path(store, name);
    AUTO_FREE char *output = store_output_path(store, name);
    AUTO_FREE char *live = store_live_link(store, name);
    AUTO_FREE char *certs = store_cert_dir(store, name);
    if (!store_cert_is_there(store, name))
        return no_such_certificate(name, config, err);
    return fs_remove(config, err) && fs_remove(output, err) && fs_remove(state, err) &&
           fs_remove(live, err) && fs_remove_tree(certs, err);
}
