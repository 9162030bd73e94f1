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

static bool plan_one(struct imports *imports, struct deploy *deploy, struct imported *one, struct err *err)
{
    bool answers =
        cert_config_has_challenge(&one->config, CHALLENGE_VIA_WEB_SERVER) && one->thumbprint[0] != '\0';
    return deploy_plan(deploy, &one->config, answers ? one->thumbprint : NULL, &imports->diff,
                       &imports->commands, err);
}

static bool answer_challenges(struct deploy *deploy, const struct imported *one, struct err *err)
{
    const char *token_dir = NULL;
    if (!cert_config_has_challenge(&one->config, CHALLENGE_VIA_WEB_SERVER) || one->thumbprint[0] == '\0' ||
        !deploy_listens_on_80(deploy))
        return true;
    return deploy_challenge(deploy, one->name, &one->config.names, one->thumbprint, &token_dir, err);
}

static bool switch_one(struct imports *imports, struct deploy *deploy, struct imported *one, struct err *err)
{
    struct store *store = imports->run->store;
    struct cert_state state = CERT_STATE_INIT;
    struct task task = {.existed = true};
    bool ok = store_state_load(store, one->name, &state, err) && answer_challenges(deploy, one, err) &&
              deploy_certificate(deploy, &one->config, one->version, &state, err);
    cert_state_clear(&state);
    if (!ok)
        return false;
    cert_config_copy(&task.config, &one->config);
    ok = run_save_config(imports->run, &task, err);
    task_clear(&task);
    return ok;
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

static void try_one(struct imports *imports, enum web_kind kind, struct imported *one)
{
    struct err err = ERR_INIT;
    struct deploy *deploy = NULL;
    enum web_kind before = one->config.install;
    free(one->config.name);
    one->config.name = mem_dup(one->name);
    output_detail("%s", one->name);
    bool ok = live_version(imports, one, &err) &&
              run_deploy(imports->run, kind, &one->config, &deploy, &err) &&
              knows_all_names(deploy, one, &err);
    one->config.install = kind;
    ok = ok && (imports->run->request->plan ? plan_one(imports, deploy, one, &err)
                                            : switch_one(imports, deploy, one, &err));
    if (ok) {
        one->switched = kind;
        return;
    }
    one->config.install = before;
    imports->failed++;
    AUTO_FREE char *line = mem_fmt("%s was not switched over and is as before: %s%s%s", web_kind_name(kind),
                                   err.text, err.advice[0] != '\0' ? "; " : "", err.advice);
    strlist_add(&one->notes, line);
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
    struct err stop = ERR_INIT;
    for (size_t k = 0; k < COUNT_OF(kinds); k++)
        for (size_t i = 0; i < imports->n && !signals_interrupted(&stop); i++)
            if (imports->v[i].fate != FATE_LEFT && imports->v[i].switched == WEB_NONE &&
                reads_it(imports, &imports->v[i], kinds[k]))
                try_one(imports, kinds[k], &imports->v[i]);
    if (!imports->run->request->plan)
        look_again(imports);
}
