/*
 * The web server for `enable`: the one that is there, or one that is installed now.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "enable.h"
#include "output.h"
#include "plan.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/package.h"

enum { START_MS = 15 * 1000, START_PAUSE_MS = 100 };

struct installed {
    bool there, running;
};

/* What cannot be told (several of them run, say) is there. */
static struct installed look_for(enum web_kind kind, const struct cert_config *config)
{
    struct web_hints hints = {.nginx_bin = config->nginx_bin,
                              .nginx_conf = config->nginx_conf,
                              .apache_ctl = config->apache_ctl,
                              .apache_conf = config->apache_conf};
    struct web web;
    struct err why = ERR_INIT;
    bool found = web_find(kind, &hints, &web, &why);
    return (struct installed){.there = found || why.code != ERR_NOT_FOUND,
                              .running = found && web.master_pid > 0};
}

static enum web_kind other_than(enum web_kind kind)
{
    return kind == WEB_NGINX ? WEB_APACHE : WEB_NGINX;
}

/* --with NAME where there is a web server: fine when it is that one. */
static bool check_with(enum web_kind with, struct installed same, struct installed other, struct err *err)
{
    if (same.there && (same.running || !other.running))
        return true;
    if (!other.there)
        return true;
    const char *kind = web_kind_name(other_than(with));
    err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, kind,
            "%s is here already%s: --with %s is for a machine without a web server", kind,
            other.running ? ", and runs" : "", web_kind_name(with));
    return err_advise(err, "go on with it: leave --with out; or remove %s first", kind);
}

/* -- installing ----------------------------------------------------------------------------------------- */

static void on_tick(void *ctx)
{
    (void)ctx;
    output_tick();
}

/* The service manager has been told; the web server comes up in its own time. */
static bool wait_until_running(enum web_kind kind, struct web *web, struct err *err)
{
    int64_t deadline_ms = clock_mono_ms() + START_MS;
    for (;;) {
        err_clear(err);
        bool found = web_find(kind, NULL, web, err);
        if (found && web->master_pid > 0)
            return true;
        if (clock_mono_ms() >= deadline_ms || signals_interrupted(err))
            break;
        usleep(START_PAUSE_MS * 1000);
        output_tick();
    }
    if (!err_isset(err))
        err_set(err, ERR_WEBSERVER, NEXT_LOCAL_FAULT, web_kind_name(kind),
                "%s was installed, but does not run", web_kind_name(kind));
    return err_advise(err, "start it the way this system starts services, then run the same command again");
}

static bool install(const struct package *package, struct err *err)
{
    const char *kind = web_kind_name(package->kind);
    struct web web;
    struct err missing = ERR_INIT;
    output_step("Installing %s", kind);
    if (!package_install(package, on_tick, NULL, err) || signals_interrupted(err))
        return false;
    if (!web_find(package->kind, NULL, &web, &missing)) {
        *err = missing;
        return err_context(err, "the package manager has installed %s, but it is not found", kind);
    }
    output_detail("starting it");
    if (!package_start(package, web.master_pid > 0, err) || !wait_until_running(package->kind, &web, err))
        return false;
    output_done("Installed %s %s", kind, web.version);
    return true;
}

/* A page to look at, where the package has brought none. */
static void give_page(const struct deploy *deploy, const char *name)
{
    const struct site *site =
        sites_owner(deploy_web(deploy), deploy_sites(deploy), name != NULL ? name : "_", 80, false);
    struct err ignored = ERR_INIT;
    bool made = false;
    if (site == NULL || site->root == NULL || site->root[0] == '\0')
        return;
    if (!package_first_page(site->root, &made, &ignored))
        log_warn("%s", ignored.text);
    else if (made)
        output_done("A first page is in %s", site->root);
}

/* -- the choice ----------------------------------------------------------------------------------------- */

static bool refuse(const struct package *package, struct err *err)
{
    AUTO_STRLIST commands = STRLIST_INIT;
    err->advice[0] = '\0';
    if (package == NULL)
        return err_advise(err, "install one the way this system does it, then run the same command again");
    package_commands(package, &commands);
    return err_advise(err, "let tlsup install one: the same command with --with nginx; or do it yourself: %s",
                      commands.v[0]);
}

/* There is none at all; `why` says so. WEB_NONE: none is to be installed. */
static bool choose_package(const struct run *run, enum web_kind wanted, const struct err *why,
                           struct package *out, struct err *err)
{
    const struct request *request = run->request;
    struct err none = ERR_INIT;
    enum web_kind kind = request->with != WEB_NONE ? request->with : wanted != WEB_NONE ? wanted : WEB_NGINX;
    bool known = package_find(kind, out, &none);
    if (request->with != WEB_NONE) {
        *err = none;
        return known;
    }
    *err = *why;
    if (!known || request->plan || request->non_interactive || !output_is_terminal())
        return refuse(known ? out : NULL, err);
    AUTO_FREE char *question =
        mem_fmt("There is no web server on this machine. Install %s now?", web_kind_name(kind));
    if (!output_ask(question, true))
        return refuse(out, err);
    err_clear(err);
    return true;
}

bool enable_find_server(struct run *run, enum web_kind wanted, const struct cert_config *config,
                        const char *name, struct deploy **out, struct err *err)
{
    enum web_kind with = run->request->with;
    struct package package;
    struct err why = ERR_INIT;
    *out = NULL;
    if (with != WEB_NONE) {
        struct installed same = look_for(with, config);
        if (!check_with(with, same, look_for(other_than(with), config), err))
            return false;
        wanted = with;
    }
    if (run_deploy(run, wanted, config, out, &why))
        return true;
    bool none = why.code == ERR_NOT_FOUND && !look_for(WEB_NGINX, config).there &&
                !look_for(WEB_APACHE, config).there;
    if (!none || run->request->dry_run) {
        *err = why;
        return false;
    }
    output_failed();
    if (!choose_package(run, wanted, &why, &package, err))
        return false;
    if (run->request->plan) {
        plan_package(&package);
        return true;
    }
    if (!install(&package, err) || !run_deploy(run, package.kind, config, out, err))
        return false;
    give_page(*out, name);
    return true;
}
