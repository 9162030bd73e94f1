/*
 * A look at what the web server serves, from time to time: nothing is tested, edited or reloaded.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/mem.h"
#include "tlsup/roles.h"
#include "tlsup/watch.h"

enum { LOOK_MS = 3000, VERSIONS_BACK = 20 };

struct watch {
    struct store *store;
    struct web web;
    struct sites sites;
};

bool watch_open(struct store *store, enum web_kind kind, const struct web_hints *hints, struct watch **out,
                struct err *err)
{
    struct watch *watch = mem_alloc(sizeof *watch);
    watch->store = store;
    if (!web_find(kind, hints, &watch->web, err) || !web_read(&watch->web, &watch->sites, err)) {
        watch_close(watch);
        return false;
    }
    *out = watch;
    return true;
}

void watch_close(struct watch *watch)
{
    if (watch == NULL)
        return;
    sites_clear(&watch->sites);
    free(watch);
}

static bool is_leaf_of(struct store *store, const char *cert_name, int version, const char *sha256)
{
    bool found = false;
    for (int part = 0; part < STORE_PARTS && !found; part++) {
        AUTO_CHAIN *chain = NULL;
        struct cert_info info = CERT_INFO_INIT;
        struct err ignored = ERR_INIT;
        found = store_version_chain(store, cert_name, version, part, &chain, &ignored) &&
                cert_chain_info(chain, &info, &ignored) && strcmp(info.sha256, sha256) == 0;
        cert_info_clear(&info);
    }
    return found;
}

bool watch_leaf(struct store *store, const char *cert_name, int version, const char *where,
                const char *sha256, struct err *err)
{
    if (is_leaf_of(store, cert_name, version, sha256))
        return true;
    for (int old = version - 1; old > 0 && old > version - VERSIONS_BACK; old--)
        if (is_leaf_of(store, cert_name, old, sha256))
            return err_set(err, ERR_PROOF, NEXT_LOCAL_FAULT, cert_name,
                           "%s still serves the old certificate (version %d of %s, not %d)", where, old,
                           cert_name, version);
    return err_set(err, ERR_PROOF, NEXT_LOCAL_FAULT, cert_name,
                   "%s serves another certificate than version %d of %s (SHA-256 %.16s...)", where, version,
                   cert_name, sha256);
}

bool watch_look(struct watch *watch, const struct cert_config *config, int version, bool *seen,
                struct err *err)
{
    *seen = false;
    for (size_t i = 0; i < config->names.n; i++) {
        AUTO_STRLIST addresses = STRLIST_INIT;
        const char *name = config->names.v[i];
        struct err nobody = ERR_INIT;
        if (!web_probe_addresses(&watch->web, &watch->sites, name, 443, &addresses, &nobody))
            continue;
        for (size_t k = 0; k < addresses.n; k++) {
            struct probe_tls tls;
            AUTO_FREE char *where =
                mem_fmt("%s, asked for %s on %s,", web_kind_name(watch->web.kind), name, addresses.v[k]);
            err_clear(&nobody);
            if (signals_interrupted(err))
                return false;
            if (!role_probe_tls(addresses.v[k], 443, name, PROBE_ANY, LOOK_MS, &tls, &nobody))
                continue;
            *seen = true;
            if (!watch_leaf(watch->store, config->name, version, where, tls.sha256, err))
                return err_advise(err,
                                  "the next run of `tlsup renew` installs it again; see who has changed the "
                                  "web server's configuration, or stopped it from reloading");
        }
    }
    return true;
}
