/*
 * store_rename.c - another name for a certificate.
 *
 * Web servers and other programs read the files of the old name until they are told of the new one: so both
 * are there for a while. STATE/renaming says which two, until the one that is not in force is gone.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store_internal.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

#define MARKER_BYTES ((size_t)1024)
#define BUILDING_PREFIX ".new-"

static char *marker_path(const struct store *store)
{
    return fs_join(store->state_dir, "renaming");
}

static char *building_path(const struct store *store, const char *to)
{
    return mem_fmt("%s/certs/" BUILDING_PREFIX "%s", store->state_dir, to);
}

/* -- under both names ----------------------------------------------------------------------------------- */

static bool check_free(struct store *store, const char *to, struct err *err)
{
    AUTO_FREE char *config = store_config_path(store, to);
    AUTO_FREE char *state = store_state_path(store, to);
    AUTO_FREE char *live = store_live_link(store, to);
    AUTO_FREE char *certs = store_cert_dir(store, to);
    const char *const paths[] = {config, live, certs, state};
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        if (!fs_exists(paths[i]))
            continue;
        err_set(err, ERR_EXISTS, NEXT_FIX_CONFIG, to, "there is a certificate called %s already (%s)", to,
                paths[i]);
        return err_advise(err, "choose another name, or delete that one first: tlsup delete %s", to);
    }
    return true;
}

static bool check_is_there(struct store *store, const char *from, struct err *err)
{
    AUTO_FREE char *config = store_config_path(store, from);
    if (fs_exists(config))
        return true;
    err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, from, "there is no certificate '%s' (%s does not exist)",
            from, config);
    return err_advise(err, "`tlsup status` lists the certificates that exist");
}

static bool write_marker(struct store *store, const char *from, const char *to, struct err *err)
{
    AUTO_FREE char *path = marker_path(store);
    AUTO_FREE char *text = mem_fmt("%s %s\n", from, to);
    return fs_write(path, text, strlen(text), 0600, err);
}

static bool build(struct store *store, const char *from, const char *to, struct err *err)
{
    AUTO_FREE char *source = store_cert_dir(store, from);
    AUTO_FREE char *building = building_path(store, to);
    AUTO_FREE char *final = store_cert_dir(store, to);
    return fs_remove_tree(building, err) && store_tree_copy(source, building, false, err) &&
           (!fs_exists(building) || fs_rename(building, final, err));
}

static bool link_live(struct store *store, const char *from, const char *to, struct err *err)
{
    int version = 0;
    return store_live_version(store, from, &version, err) &&
           (version == 0 || store_live_switch(store, to, version, err));
}

bool store_rename_prepare(struct store *store, const char *from, const char *to, struct err *err)
{
    AUTO_STRLIST none = STRLIST_INIT;
    struct err ignored = ERR_INIT;
    if (!store_check_change(store, from, err) || !store_check_name(to, err) ||
        !check_is_there(store, from, err) || !check_free(store, to, err) ||
        !write_marker(store, from, to, err))
        return false;
    if (build(store, from, to, err) && link_live(store, from, to, err))
        return true;
    if (!store_rename_finish(store, &none, &ignored))
        log_warn("%s", ignored.text);
    return false;
}

/* -- the files that say the name ------------------------------------------------------------------------ */

static bool read_move(char *from, char *to, size_t limit, struct store_move *out, struct err *err)
{
    struct stat st;
    *out = (struct store_move){.from = from, .to = to};
    if (stat(from, &st) != 0)
        return err_errno(err, errno, from, "cannot look at %s", from);
    out->mode = st.st_mode & 0777;
    return fs_read(from, limit, &out->content, err);
}

bool store_rename_moves(struct store *store, const char *from, const char *to,
                        struct store_move moves[STORE_MOVES], struct err *err)
{
    memset(moves, 0, STORE_MOVES * sizeof *moves);
    if (!store_check_change(store, from, err) || !store_check_name(to, err))
        return false;
    AUTO_FREE char *state = store_state_path(store, from);
    AUTO_FREE char *output = store_output_path(store, from);
    bool ok = read_move(store_config_path(store, from), store_config_path(store, to), CONFIG_FILE_BYTES,
                        &moves[0], err) &&
              (!fs_exists(state) || read_move(store_state_path(store, from), store_state_path(store, to),
                                              STATE_FILE_BYTES, &moves[1], err)) &&
              (!fs_exists(output) || read_move(store_output_path(store, from), store_output_path(store, to),
                                               STATE_FILE_BYTES, &moves[2], err));
    if (!ok)
        store_moves_clear(moves);
    return ok;
}

void store_moves_clear(struct store_move moves[STORE_MOVES])
{
    for (size_t i = 0; i < STORE_MOVES; i++) {
        free(moves[i].from);
        free(moves[i].to);
        buf_clear(&moves[i].content);
        moves[i] = (struct store_move){0};
    }
}

/* -- the end -------------------------------------------------------------------------------------------- */

/* Versions and link of a name that has no configuration: nothing goes by it. */
static bool remove_name(struct store *store, const char *name, struct err *err)
{
    AUTO_FREE char *live = store_live_link(store, name);
    AUTO_FREE char *certs = store_cert_dir(store, name);
    return fs_remove(live, err) && fs_remove_tree(certs, err);
}

static bool read_marker(const char *path, struct strlist *names, struct err *err)
{
    AUTO_BUF text = BUF_INIT;
    if (!fs_read(path, MARKER_BYTES, &text, err))
        return store_forgive_missing(err);
    strlist_split(names, buf_str(&text), " \n");
    if (names->n == 2 && config_cert_name_valid(names->v[0]) && config_cert_name_valid(names->v[1]) &&
        strcmp(names->v[0], names->v[1]) != 0)
        return true;
    log_warn("%s is damaged, and was removed", path);
    strlist_clear(names);
    return fs_remove(path, err);
}

bool store_rename_finish(struct store *store, struct strlist *done, struct err *err)
{
    AUTO_STRLIST names = STRLIST_INIT;
    AUTO_FREE char *marker = marker_path(store);
    strlist_clear(done);
    if (!store_check_writing(store, err) || !read_marker(marker, &names, err))
        return false;
    if (names.n == 0)
        return true;
    AUTO_FREE char *old_config = store_config_path(store, names.v[0]);
    AUTO_FREE char *new_config = store_config_path(store, names.v[1]);
    AUTO_FREE char *building = building_path(store, names.v[1]);
    bool has_old = fs_exists(old_config), has_new = fs_exists(new_config);
    if (has_old && has_new) /* not for us to decide */
        return true;
    if (!fs_remove_tree(building, err) || (has_new && !remove_name(store, names.v[0], err)) ||
        (has_old && !remove_name(store, names.v[1], err)) || !fs_remove(marker, err))
        return false;
    if (has_new)
        strlist_copy(done, &names);
    return true;
}
