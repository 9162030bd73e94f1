/*
 * store_label.c - SELinux: what a confined web server may read.
 *
 * By default everything below /var/lib has a type that web servers cannot read, while certificates have one
 * of their own in every policy that has web servers at all. New files take the type of their directory, so it
 * is set once.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#ifdef HAVE_SYS_XATTR_H
#include <sys/xattr.h>
#endif

#include "store_internal.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

#define LABEL "security.selinux"

enum { LABEL_BYTES = 256, OPEN_DIRECTORIES = 16 };

static const char *switch_path = "/sys/fs/selinux/enforce";

void store_label_set_switch(const char *path)
{
    switch_path = path;
}

#ifdef HAVE_SYS_XATTR_H
static const struct {
    const char *dir, *type;
} wanted[] = {{"certs", "cert_t"}, {"live", "cert_t"}, {"challenges", "httpd_sys_content_t"}};

/* The types of what nobody has labelled: any other was an administrator's choice. */
static const char *const unlabelled[] = {"var_lib_t", "var_t", "default_t", "unlabeled_t", "file_t", "usr_t"};

/* "system_u:object_r:var_lib_t:s0" -> "var_lib_t"; "" where there is none. */
static void read_type(const char *path, char out[LABEL_BYTES])
{
    char label[LABEL_BYTES];
    ssize_t n = lgetxattr(path, LABEL, label, sizeof label - 1);
    label[n > 0 ? n : 0] = '\0';
    out[0] = '\0';
    const char *type = strchr(label, ':') != NULL ? strchr(strchr(label, ':') + 1, ':') : NULL;
    if (type != NULL)
        snprintf(out, LABEL_BYTES, "%.*s", (int)strcspn(type + 1, ":"), type + 1);
}

static bool is_unlabelled(const char *path)
{
    char type[LABEL_BYTES];
    read_type(path, type);
    for (size_t i = 0; i < COUNT_OF(unlabelled); i++)
        if (strcmp(type, unlabelled[i]) == 0)
            return true;
    return type[0] == '\0';
}

static const char *type_to_give; /* nftw() takes no context */

static int label_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    char label[LABEL_BYTES];
    (void)st, (void)kind, (void)where;
    int len = snprintf(label, sizeof label, "system_u:object_r:%s:s0", type_to_give);
    if (is_unlabelled(path) && lsetxattr(path, LABEL, label, (size_t)len + 1, 0) != 0)
        log_debug("%s cannot be labelled %s", path, label);
    return 0;
}

void store_label(const struct store *store)
{
    for (size_t i = 0; access(switch_path, F_OK) == 0 && i < COUNT_OF(wanted); i++) {
        AUTO_FREE char *dir = fs_join(store->state_dir, wanted[i].dir);
        if (!is_unlabelled(dir))
            continue;
        type_to_give = wanted[i].type;
        (void)nftw(dir, label_one, OPEN_DIRECTORIES, FTW_PHYS);
    }
}
#else
void store_label(const struct store *store)
{
    (void)store;
}
#endif
