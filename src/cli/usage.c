#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "usage.h"

#include <stdlib.h>
#include <string.h>

#include "tlsup/mem.h"

static bool is_below(const char *file, const char *dir)
{
    size_t len = strlen(dir);
    return strncmp(file, dir, len) == 0 && file[len] == '/';
}

bool usage_by_site(const struct store *store, const char *cert_name, const struct site *site)
{
    if (site->certificate == NULL || site->certificate[0] == '\0')
        return false;
    AUTO_FREE char *live = store_live_path(store, cert_name);
    AUTO_FREE char *versions = mem_fmt("%s/certs/%s", store_state_dir(store), cert_name);
    AUTO_FREE char *real_versions = realpath(versions, NULL);
    AUTO_FREE char *real = realpath(site->certificate, NULL); /* by a link of somebody's, perhaps */
    return is_below(site->certificate, live) || is_below(site->certificate, versions) ||
           (real != NULL && real_versions != NULL && is_below(real, real_versions));
}

/* By a site, or by anything else in the server's files that names them. */
static void find_place(struct run *run, const struct web *web, const struct sites *sites,
                       const char *cert_name, char **place)
{
    AUTO_FREE char *live = mem_fmt("%s/live/%s/", store_state_dir(run->store), cert_name);
    AUTO_FREE char *versions = mem_fmt("%s/certs/%s/", store_state_dir(run->store), cert_name);
    AUTO_STRLIST mentions = STRLIST_INIT;
    for (size_t i = 0; *place == NULL && i < sites->n; i++)
        if (usage_by_site(run->store, cert_name, &sites->v[i]))
            *place = mem_fmt("%s:%zu", sites->v[i].file, sites->v[i].line);
    if (*place != NULL)
        return;
    web_mentions(web, sites, live, NULL, &mentions);
    web_mentions(web, sites, versions, NULL, &mentions);
    if (mentions.n > 0)
        *place = mem_dup(mentions.v[0]);
}

static bool look(struct run *run, enum web_kind kind, const struct cert_config *config, char **place,
                 struct err *err)
{
    const struct web_hints hints = {.nginx_bin = config->nginx_bin,
                                    .nginx_conf = config->nginx_conf,
                                    .apache_ctl = config->apache_ctl,
                                    .apache_conf = config->apache_conf};
    struct web web;
    struct sites sites = SITES_INIT;
    struct err why = ERR_INIT;
    if (!web_find(kind, &hints, &web, &why) && why.code == ERR_NOT_FOUND)
        return true;
    if (err_isset(&why) || !web_read(&web, &sites, &why)) {
        *err = why;
        return err_context(err, "whether %s uses %s cannot be told", web_kind_name(kind), config->name);
    }
    find_place(run, &web, &sites, config->name, place);
    sites_clear(&sites);
    return true;
}

bool usage_by_web(struct run *run, const struct cert_config *config, enum web_kind *kind, char **place,
                  struct err *err)
{
    static const enum web_kind kinds[] = {WEB_NGINX, WEB_APACHE};
    *kind = WEB_NONE;
    *place = NULL;
    for (size_t i = 0; *place == NULL && i < COUNT_OF(kinds); i++) {
        if (!look(run, kinds[i], config, place, err))
            return false;
        if (*place != NULL)
            *kind = kinds[i];
    }
    return true;
}
