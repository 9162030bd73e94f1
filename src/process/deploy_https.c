#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deploy_internal.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

/* -- which leaves --------------------------------------------------------------------------------------- */

/* nginx's test finds a key of another certificate; Apache ends of it at the reload. */
static bool check_key(struct deploy *deploy, const char *cert_name, int version, int part, const char *spki,
                      struct err *err)
{
    AUTO_KEY *key = NULL;
    char own[KEY_SPKI_BYTES];
    if (!store_version_key(deploy->store, cert_name, version, part, &key, err) ||
        !key_spki_sha256(key, own, err))
        return false;
    if (strcmp(own, spki) == 0)
        return true;
    err_set(err, ERR_MISMATCH, NEXT_FIX_CONFIG, cert_name,
            "the key of %s (version %d) does not belong to its certificate: somebody has changed one of the "
            "files",
            cert_name, version);
    return err_advise(err, "get a new certificate: tlsup renew --force-renewal %s", cert_name);
}

static bool read_leaf(struct deploy *deploy, const char *cert_name, int version, int part, struct leaf *out,
                      struct err *err)
{
    AUTO_CHAIN *chain = NULL;
    struct cert_info info = CERT_INFO_INIT;
    bool ok = store_version_chain(deploy->store, cert_name, version, part, &chain, err) &&
              cert_chain_info(chain, &info, err);
    ok = ok && check_key(deploy, cert_name, version, part, info.spki, err);
    if (ok) {
        memcpy(out->sha256, info.sha256, sizeof info.sha256);
        out->kind = strncmp(info.key_type, "rsa", 3) == 0 ? PROBE_RSA : PROBE_ECDSA;
    }
    cert_info_clear(&info);
    return ok;
}

static bool read_leaves(struct deploy *deploy, const char *cert_name, int version, struct leaves *out,
                        struct err *err)
{
    struct err none = ERR_INIT;
    *out = (struct leaves){.n = 1};
    if (!read_leaf(deploy, cert_name, version, 0, &out->v[0], err))
        return false;
    if (!read_leaf(deploy, cert_name, version, 1, &out->v[1], &none)) {
        if (none.code == ERR_NOT_FOUND)
            return true;
        *err = none;
        return false;
    }
    out->n = 2;
    return true;
}

/* Leave out what is not wanted (a version may still have a second certificate when the next one will not), or
 * what this web server cannot be given. */
static void fit_leaves(struct deploy *deploy, const struct cert_config *config, struct leaves *leaves)
{
    if (leaves->n < 2)
        return;
    if (!config->dual) {
        leaves->n = 1;
    } else if (!web_takes_two(&deploy->web)) {
        log_warn("%s %s cannot have two certificates for one site: it gets the first of %s alone",
                 web_kind_name(deploy->web.kind), deploy->web.version, config->name);
        leaves->n = 1;
    }
}

/* Does the web server read files now that are not in the new version? */
static bool loses_files(struct deploy *deploy, const char *cert_name, const struct leaves *leaves)
{
    struct leaves now;
    int version = 0;
    struct err ignored = ERR_INIT;
    const char *second = leaves_second(leaves);
    return store_live_version(deploy->store, cert_name, &version, &ignored) && version > 0 &&
           read_leaves(deploy, cert_name, version, &now, &ignored) && leaves_second(&now) != NULL &&
           (second == NULL || strcmp(second, leaves_second(&now)) != 0);
}

/* -- what is written ------------------------------------------------------------------------------------ */

static bool stage_https(struct deploy *deploy, const struct cert_config *config, const char *live,
                        const char *second, struct txn *txn, struct err *err)
{
    struct web_https https = {.names = &config->names,
                              .live_dir = live,
                              .second = second,
                              .cert_name = config->name,
                              .redirect = config->redirect,
                              .profile = config->tls_profile,
                              .hsts_s = (long)config->hsts_s};
    return web_edit_https(&deploy->web, &deploy->sites, &https, txn, err);
}

bool deploy_stage_leaves(struct deploy *deploy, const struct cert_config *config, int version,
                         const struct leaves *leaves, struct txn *txn, struct err *err)
{
    AUTO_FREE char *live = store_live_path(deploy->store, config->name);
    AUTO_FREE char *target = store_version_link_target(config->name, version);
    /* the link first, so that nothing refers to files that are not there yet; or last, when some go */
    bool link_last = loses_files(deploy, config->name, leaves);
    return (link_last || txn_symlink(txn, live, target, err)) &&
           stage_https(deploy, config, live, leaves_second(leaves), txn, err) &&
           (!link_last || txn_symlink(txn, live, target, err));
}

/* What a certificate of that configuration will bring, before there is one. */
static bool stage_future(struct deploy *deploy, const struct cert_config *config, struct txn *txn,
                         struct err *err)
{
    AUTO_FREE char *live = store_live_path(deploy->store, config->name);
    const char *second = NULL;
    if (config->dual && web_takes_two(&deploy->web))
        second = strncmp(key_type_name(config->second_key_type), "rsa", 3) == 0 ? "rsa" : "ecdsa";
    return stage_https(deploy, config, live, second, txn, err);
}

bool deploy_leaves(struct deploy *deploy, const struct cert_config *config, int version, struct leaves *out,
                   struct err *err)
{
    if (!read_leaves(deploy, config->name, version, out, err))
        return false;
    fit_leaves(deploy, config, out);
    return true;
}

bool deploy_stage(struct deploy *deploy, const struct cert_config *config, int version, struct txn *txn,
                  struct err *err)
{
    struct leaves leaves;
    if (!deploy_leaves(deploy, config, version, &leaves, err))
        return false;
    return deploy_stage_leaves(deploy, config, version, &leaves, txn, err);
}

/* Where each name would be served: its site's FILE:LINE, that on port 80 where there is none on 443 yet. */
static void find_places(struct deploy *deploy, const struct strlist *names, struct strlist *places)
{
    for (size_t i = 0; i < names->n; i++) {
        const struct site *site = sites_owner(&deploy->web, &deploy->sites, names->v[i], 443, true);
        if (site == NULL)
            site = sites_owner(&deploy->web, &deploy->sites, names->v[i], 80, true);
        AUTO_FREE char *place = site != NULL ? mem_fmt("%s:%zu", site->file, site->line) : NULL;
        if (place != NULL && !strlist_has(places, place))
            strlist_add(places, place);
    }
}

static void find_new_files(const struct txn *txn, struct strlist *places)
{
    AUTO_STRLIST paths = STRLIST_INIT;
    txn_paths(txn, &paths);
    for (size_t i = 0; i < paths.n; i++)
        if (!fs_exists(paths.v[i]) && txn_exists(txn, paths.v[i]))
            strlist_add(places, paths.v[i]);
}

bool deploy_rehearse(struct deploy *deploy, const struct cert_config *config, struct deploy_rehearsal *out,
                     struct err *err)
{
    struct txn *txn = NULL;
    if (!txn_begin(store_journal_dir(deploy->store), config->name, "a rehearsal", &txn, err))
        return false;
    bool ok = stage_future(deploy, config, txn, err) && deploy_may_apply(deploy, txn, err);
    if (ok) {
        find_places(deploy, &config->names, &out->places);
        find_new_files(txn, &out->places);
        ok = deploy_shadow_test(deploy, config, txn, out, err);
    }
    txn_free(txn);
    return ok;
}

bool deploy_has_place(struct deploy *deploy, const struct cert_config *config, struct err *err)
{
    struct txn *txn = NULL;
    if (!txn_begin(store_journal_dir(deploy->store), config->name, "a look ahead", &txn, err))
        return false;
    bool ok = stage_future(deploy, config, txn, err) && deploy_may_apply(deploy, txn, err);
    txn_free(txn);
    return ok;
}

bool deploy_plan(struct deploy *deploy, const struct cert_config *config, const char *thumbprint,
                 struct buf *diff, struct strlist *commands, struct err *err)
{
    struct txn *txn = NULL;
    if (!txn_begin(store_journal_dir(deploy->store), config->name, "a plan", &txn, err))
        return false;
    bool ok = (thumbprint == NULL || !deploy_listens_on_80(deploy) ||
               web_edit_challenge(&deploy->web, &deploy->sites, &config->names, thumbprint, txn, err)) &&
              stage_future(deploy, config, txn, err) && deploy_may_apply(deploy, txn, err);
    if (ok) {
        txn_diff(txn, diff);
        web_commands(&deploy->web, commands);
    }
    txn_free(txn);
    return ok;
}
