/*
 * delete: forget a certificate, its keys and its renewal. Refused while a web server uses it.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <string.h>

#include "commands.h"
#include "output.h"
#include "run.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

/* A file below the live directory of this certificate, by whatever way the web server names it. */
static bool is_below(const char *file, const char *dir)
{
    size_t len = strlen(dir);
    return strncmp(file, dir, len) == 0 && file[len] == '/';
}

static bool unused_by(enum web_kind kind, const char *name, const char *live, struct err *err)
{
    struct web web;
    struct sites sites = SITES_INIT;
    struct err look = ERR_INIT;
    if (!web_find(kind, NULL, &web, &look) || !web_read(&web, &sites, &look)) {
        log_info("%s: not looked at (%s)", web_kind_name(kind), look.text);
        return true;
    }
    for (size_t i = 0; i < sites.n; i++) {
        const struct site *site = &sites.v[i];
        if (site->certificate == NULL || !is_below(site->certificate, live))
            continue;
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, name, "%s still uses it: %s, line %zu",
                web_kind_name(kind), site->file, site->line);
        (void)err_advise(err,
                         "take the web server's configuration back first (`tlsup undo %s`), or remove those "
                         "lines by hand; then delete it",
                         name);
        break;
    }
    sites_clear(&sites);
    return !err_isset(err);
}

static bool delete_one(struct run *run, const char *name, struct err *err)
{
    AUTO_FREE char *live = store_live_path(run->store, name);
    if (!unused_by(WEB_NGINX, name, live, err) || !unused_by(WEB_APACHE, name, live, err) ||
        !store_cert_delete(run->store, name, err))
        return false;
    output_line("%s is deleted: its keys, its certificates and its renewal.", name);
    return true;
}

bool cmd_delete(const struct request *request, struct err *err)
{
    struct run run;
    AUTO_STRLIST known = STRLIST_INIT;
    if (request->arguments.n == 0)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, NULL,
                       "which certificate?  tlsup delete NAME; `tlsup status` lists them");
    if (!run_open(request, &run, err))
        return false;
    bool ok = store_cert_names(run.store, &known, err);
    for (size_t i = 0; ok && i < request->arguments.n; i++) {
        const char *name = request->arguments.v[i];
        ok = strlist_has(&known, name)
                 ? delete_one(&run, name, err)
                 : err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, name, "there is no certificate of this name");
        if (!ok)
            (void)err_advise(err, "`tlsup status` lists what there is");
    }
    run_close(&run);
    return ok;
}
