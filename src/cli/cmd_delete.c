/*
 * delete: forget a certificate, its keys and its renewal. Refused while a web server uses it, and while
 * copies of it are kept up to date.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "run.h"
#include "tlsup/export_spec.h"
#include "tlsup/mem.h"
#include "usage.h"

/* A file of ours that cannot be read any more must not keep its certificate here for ever. */
static void read_config(struct run *run, const char *name, struct cert_config *out)
{
    struct err why = ERR_INIT;
    if (store_cert_config(run->store, name, out, &why))
        return;
    if (why.code == ERR_NOT_FOUND) /* a removal that was cut short */
        output_line("%s: its configuration is gone already; now the rest of it goes, too.", name);
    else
        output_warning("%s: its configuration cannot be read (%s): web servers are looked for where they "
                       "usually are",
                       name, why.text);
    cert_config_init(out);
    free(out->name);
    out->name = mem_dup(name);
}

static bool unused_by_web(struct run *run, const struct cert_config *config, struct err *err)
{
    enum web_kind kind;
    AUTO_FREE char *place = NULL;
    if (!usage_by_web(run, config, &kind, &place, err)) {
        err->advice[0] = '\0';
        return err_advise(err,
                          "mend that first; if you are sure that it is used nowhere: tlsup delete --force %s",
                          config->name);
    }
    if (place == NULL)
        return true;
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, config->name, "%s still uses it: %s", web_kind_name(kind),
            place);
    return err_advise(err,
                      "take the web server's configuration back first (`tlsup undo %s`), or remove those "
                      "lines by hand; then delete it",
                      config->name);
}

/* The paths alone: words behind them do not matter here. */
static char *paths_of(const struct strlist *exports)
{
    AUTO_STRLIST paths = STRLIST_INIT;
    for (size_t i = 0; i < exports->n; i++) {
        struct export_spec spec;
        struct err bad = ERR_INIT;
        if (!export_spec_parse(exports->v[i], &spec, &bad)) {
            strlist_add(&paths, exports->v[i]);
            continue;
        }
        strlist_add(&paths, spec.path);
        export_spec_clear(&spec);
    }
    return strlist_join(&paths, ", ");
}

static bool without_copies(struct run *run, const struct cert_config *config, struct err *err)
{
    if (config->exports.n == 0)
        return true;
    AUTO_FREE char *paths = paths_of(&config->exports);
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, config->name,
            "copies of it are kept up to date for other programs: %.1000s", paths);
    return err_advise(
        err,
        "point those programs elsewhere, take the export lines out of %.200s/certs.d/%.100s.conf, then "
        "delete it; the copies themselves stay until you remove them",
        store_config_dir(run->store), config->name);
}

static bool is_unused(struct run *run, const struct cert_config *config, struct err *err)
{
    return run->request->force_renewal ||
           (unused_by_web(run, config, err) && without_copies(run, config, err));
}

static bool delete_one(struct run *run, const char *name, struct err *err)
{
    struct cert_config config = {0};
    read_config(run, name, &config);
    bool ok = is_unused(run, &config, err) && store_cert_delete(run->store, name, err);
    if (ok)
        output_line("%s is deleted: its keys, its certificates and its renewal.", name);
    for (size_t i = 0; ok && i < config.exports.n; i++)
        output_line("  left behind: %s", config.exports.v[i]);
    cert_config_clear(&config);
    return ok;
}

bool cmd_delete(const struct request *request, struct err *err)
{
    struct run run;
    bool ok = true;
    if (request->arguments.n == 0)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, NULL,
                       "which certificate?  tlsup delete NAME; `tlsup status` lists them");
    if (!run_open(request, &run, err))
        return false;
    for (size_t i = 0; ok && i < request->arguments.n; i++) {
        const char *name = request->arguments.v[i];
        ok = store_cert_is_there(run.store, name)
                 ? delete_one(&run, name, err)
                 : err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, name, "there is no certificate of this name");
        if (!ok)
            (void)err_advise(err, "`tlsup status` lists what there is");
    }
    run_close(&run);
    return ok;
}
