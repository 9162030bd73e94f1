#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "store_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tlsup/mem.h"

enum { FILE_NAME_BYTES = 256 };

struct store_watch {
    int configs, states, live; /* directories, -1 = not there */
    struct stamp defaults;     /* of tlsup.conf */
};

static int open_dir(const char *dir, const char *name)
{
    AUTO_FREE char *path = fs_join(dir, name);
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void close_dir(int fd)
{
    if (fd >= 0)
        close(fd);
}

struct store_watch *store_watch_open(const struct store *store)
{
    struct store_watch *watch = mem_alloc(sizeof *watch);
    AUTO_FREE char *defaults = fs_join(store->config_dir, "tlsup.conf");
    watch->configs = open_dir(store->config_dir, "certs.d");
    watch->states = open_dir(store->state_dir, "state");
    watch->live = open_dir(store->state_dir, "live");
    watch->defaults = (struct stamp)STAMP_INIT;
    stamp_add_file(&watch->defaults, AT_FDCWD, defaults);
    return watch;
}

void store_watch_close(struct store_watch *watch)
{
    if (watch == NULL)
        return;
    close_dir(watch->configs);
    close_dir(watch->states);
    close_dir(watch->live);
    free(watch);
}

static void add_file_of(struct stamp *stamp, int dir_fd, const char *name, const char *suffix)
{
    char file[FILE_NAME_BYTES]; /* names of certificates are shorter by far */
    snprintf(file, sizeof file, "%s%s", name, suffix);
    stamp_add_file(stamp, dir_fd, file);
}

void store_watch_config(const struct store_watch *watch, const char *name, struct stamp *stamp)
{
    stamp_add(stamp, watch->defaults.a);
    stamp_add(stamp, watch->defaults.b);
    add_file_of(stamp, watch->configs, name, ".conf");
}

void store_watch_kept(const struct store_watch *watch, const char *name, struct stamp *stamp)
{
    add_file_of(stamp, watch->states, name, ".json");
    add_file_of(stamp, watch->live, name, "");
}
