/*
 * import_web.c - the web servers that read another client's files: which they are, and the switch to ours.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "imports.h"
#include "output.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

enum { CERTIFICATE_BYTES = 256 * 1024, CONFIG_BYTES = 4 * 1024 * 1024 };

/* -- looking -------------------------------------------------------------------------------------------- */

static bool is_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    return len > 0 && strncmp(path, dir, len) == 0 && path[len] == '/';
}

/* By its name, or by where its links lead. */
static bool is_of_old(const struct imports *imports, const char *path)
{
    AUTO_FREE char *real = realpath(path, NULL);
    for (size_t i = 0; i < imports->old.dirs.n; i++) {
        AUTO_FREE char *dir = realpath(imports->old.dirs.v[i], NULL);
        if (is_below(path, imports->old.dirs.v[i]) || (real != NULL && dir != NULL && is_below(real, dir)))
            return true;
    }
    return false;
}

static struct imported *by_leaf(struct imports *imports, const char *path)
{
    AUTO_BUF pem = BUF_INIT;
    AUTO_CHAIN *chain = NULL;
    struct cert_info info = CERT_INFO_INIT;
    struct err ignored = ERR_INIT;
    struct imported *found = NULL;
    if (fs_read(path, CERTIFICATE_BYTES, &pem, &ignored) &&
        cert_chain_parse(buf_str(&pem), pem.len, path, &chain, &ignored) &&
        cert_chain_info(chain, &info, &ignored))
        for (size_t i = 0; i < imports->n && found == NULL; i++)
            if (strcmp(imports->v[i].info.sha256, info.sha256) == 0)
                found = &imports->v[i];
    cert_info_clear(&info);
    return found;
}

static void add_place(struct imports *imports, enum web_kind kind, const struct site *site)
{
    imports->places = mem_resize(imports->places, imports->n_places + 1, sizeof *imports->places);
    imports->places[imports->n_places++] = (struct import_place){.kind = kind,
                                                                 .file = mem_dup(site->file),
                                                                 .line = site->line,
                                                                 .path = mem_dup(site->certificate),
                                                                 .cert = by_leaf(imports, site->certificate)};
}

static void look_at(struct imports *imports, enum web_kind kind)
{
    struct web web;
    struct sites sites = SITES_INIT;
    struct err why = ERR_INIT;
    if (!web_find(kind, NULL, &web, &why)) {
        log_info("%s: not looked at (%s)", web_kind_name(kind), why.text);
        return;
    }
    if (!web_read(&web, &sites, &why)) {
        AUTO_FREE char *line = mem_fmt("whether %s reads files of %s is not known: %s", web_kind_name(kind),
                                       import_client_name(imports->old.client), why.text);
        strlist_add(&imports->notes, line);
        return;
    }
    for (size_t i = 0; i < sites.n; i++)
        if (sites.v[i].certificate != NULL && sites.v[i].certificate[0] != '\0' &&
            is_of_old(imports, sites.v[i].certificate))
            add_place(imports, kind, &sites.v[i]);
    sites_clear(&sites);
}

void imports_look(struct imports *imports)
{
    static const enum web_kind kinds[] = {WEB_NGINX, WEB_APACHE};
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        look_at(imports, kinds[i]);
}

/* -- switching over ------------------------------------------------------------------------------------- */

static bool reads_it(const struct imports *imports, const struct imported *one, enum web_kind kind)
{
    for (size_t i = 0; i < imports->n_places; i++)
        if (imports->places[i].kind == kind && imports->places[i].cert == one)
            return true;
    return false;
}

/* To have a certificate is to have https for all of its names: none of them may be one that the server does
 * not know, or a site would have to be made up for it. */
static bool knows_all_names(const struct deploy *deploy, const struct imported *one, struct err *err)
{
    for (size_t i = 0; i < one->config.names.n; i++) {
        const char *name = one->config.names.v[i];
        if (sites_owner(deploy_web(deploy), deploy_sites(deploy), name, 443, true) != NULL)
            continue;
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, one->name,
                "%s has no https site for %s, which is in the certificate as well",
                web_kind_name(deploy_web(deploy)->kind), name);
        return err_advise(err,
                          "`tlsup install %s` switches it over and makes a site for that name; or take the "
                          "name out first: tlsup reconfigure %s",
                          one->name, one->name);
    }
    return true;
}

/* One that nothing stands against, as far as can be seen before anything is touched. */
struct candidate {
    struct imported *one;
    struct deploy *deploy;
    enum web_kind before;
    struct cert_state state;
};

struct candidates {
    struct candidate *v;
    size_t n;
};

static const char *thumbprint_to_answer(const struct imported *one)
{
    bool answers = cert_config_has_challenge(&one->config, CHALLENGE_VIA_WEB_SERVER);
    return answers && one->thumbprint[0] != '\0' ? one->thumbprint : NULL;
}

/* Is there a place for it? With --plan that is what is told. */
static bool plan_one(struct imports *imports, struct candidate *candidate, struct err *err)
{
    AUTO_BUF diff = BUF_INIT;
    AUTO_STRLIST commands = STRLIST_INIT;
    bool told = imports->run->request->plan;
    return deploy_plan(candidate->deploy, &candidate->one->config, thumbprint_to_answer(candidate->one),
                       told ? &imports->diff : &diff, told ? &imports->commands : &commands, err);
}

static bool live_version(struct imports *imports, struct imported *one, struct err *err)
{
    int live = 0;
    if (imports->run->request->plan)
        return true;
    if (!store_live_version(imports->run->store, one->name, &live, err))
        return false;
    one->version = live;
    return live > 0 ||
           err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, one->name, "nothing of it is in use here");
}

static bool consider(struct imports *imports, enum web_kind kind, struct candidate *candidate,
                     struct err *err)
{
    struct imported *one = candidate->one;
    free(one->config.name);
    one->config.name = mem_dup(one->name);
    if (!live_version(imports, one, err) ||
        !run_deploy(imports->run, kind, &one->config, &candidate->deploy, err) ||
        !knows_all_names(candidate->deploy, one, err))
        return false;
    one->config.install = kind;
    return plan_one(imports, candidate, err) &&
           (imports->run->request->plan ||
            store_state_load(imports->run->store, one->name, &candidate->state, err));
}

static void not_switched(struct imports *imports, enum web_kind kind, struct candidate *candidate,
                         const struct err *why)
{
    candidate->one->config.install = candidate->before;
    imports->failed++;
    AUTO_FREE char *line = mem_fmt("%s was not switched over and is as before: %s%s%s", web_kind_name(kind),
                                   why->text, why->advice[0] != '\0' ? "; " : "", why->advice);
    strlist_add(&candidate->one->notes, line);
}

static void gather(struct imports *imports, enum web_kind kind, struct candidates *out)
{
    struct err stop = ERR_INIT;
    for (size_t i = 0; i < imports->n && !signals_interrupted(&stop); i++) {
        struct imported *one = &imports->v[i];
        struct candidate candidate = {.one = one, .before = one->config.install};
        struct err why = ERR_INIT;
        if (one->fate == FATE_LEFT || one->switched != WEB_NONE || !reads_it(imports, one, kind))
            continue;
        output_detail("%s", one->name);
        if (consider(imports, kind, &candidate, &why)) {
            out->v = mem_resize(out->v, out->n + 1, sizeof *out->v);
            out->v[out->n++] = candidate;
        } else {
            not_switched(imports, kind, &candidate, &why);
        }
    }
}

/* All that this server reads, at once: it never reads some from here and some from there. */
static bool switch_together(struct deploy *deploy, struct candidates *candidates, struct err *err)
{
    struct deploy_item *items = mem_array(candidates->n, sizeof *items);
    size_t n = 0;
    for (size_t i = 0; i < candidates->n; i++) {
        struct candidate *candidate = &candidates->v[i];
        if (candidate->deploy == deploy)
            items[n++] = (struct deploy_item){.config = &candidate->one->config,
                                              .version = candidate->one->version,
                                              .state = &candidate->state,
                                              .thumbprint = thumbprint_to_answer(candidate->one),
                                              .save_config = true};
    }
    bool ok = deploy_certificates(deploy, items, n, err);
    free(items);
    return ok;
}

static void switch_server(struct imports *imports, enum web_kind kind, struct candidates *candidates,
                          size_t first)
{
    struct err err = ERR_INIT;
    struct deploy *deploy = candidates->v[first].deploy;
    bool ok = imports->run->request->plan || switch_together(deploy, candidates, &err);
    for (size_t i = first; i < candidates->n; i++) {
        struct candidate *candidate = &candidates->v[i];
        if (candidate->deploy != deploy)
            continue;
        candidate->deploy = NULL;
        if (ok)
            candidate->one->switched = kind;
        else
            not_switched(imports, kind, candidate, &err);
    }
}

static void switch_kind(struct imports *imports, enum web_kind kind)
{
    struct candidates candidates = {0};
    struct err stop = ERR_INIT;
    gather(imports, kind, &candidates);
    /* one of the kind, as a rule; each other certificate may name a program or a configuration of its own */
    for (size_t i = 0; i < candidates.n && !signals_interrupted(&stop); i++)
        if (candidates.v[i].deploy != NULL)
            switch_server(imports, kind, &candidates, i);
    for (size_t i = 0; i < candidates.n; i++)
        cert_state_clear(&candidates.v[i].state);
    free(candidates.v);
}

/* Other lines of those files may name the old directory as well (certbot's options-ssl-nginx.conf): it must
 * stay then. */
static void look_for_mentions(struct imports *imports, const char *file)
{
    AUTO_BUF text = BUF_INIT;
    struct err ignored = ERR_INIT;
    size_t number = 0;
    if (!fs_read(file, CONFIG_BYTES, &text, &ignored))
        return;
    for (const char *line = buf_str(&text); *line != '\0'; line += *line == '\n') {
        size_t len = strcspn(line, "\n"), blank = strspn(line, " \t");
        number++;
        if (line[blank] != '#' && memmem(line, len, imports->old.dir, strlen(imports->old.dir)) != NULL) {
            AUTO_FREE char *note =
                mem_fmt("%s:%zu still reads from %s: keep that directory, or change the line: %.*s", file,
                        number, imports->old.dir,
                        (int)(len > blank ? (len - blank < 200 ? len - blank : 200) : 0), line + blank);
            strlist_add(&imports->notes, note);
        }
        line += len;
    }
}

static void look_again(struct imports *imports)
{
    AUTO_STRLIST files = STRLIST_INIT;
    for (size_t i = 0; i < imports->n_places; i++) {
        const struct import_place *place = &imports->places[i];
        if (place->cert == NULL || place->cert->switched == WEB_NONE || strlist_has(&files, place->file))
            continue;
        strlist_add(&files, place->file);
        look_for_mentions(imports, place->file);
    }
}

void imports_switch(struct imports *imports)
{
    static const enum web_kind kinds[] = {WEB_NGINX, WEB_APACHE};
    for (size_t k = 0; k < COUNT_OF(kinds); k++)
        switch_kind(imports, kinds[k]);
    if (!imports->run->request->plan)
        look_again(imports);
}
