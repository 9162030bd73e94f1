/*
 * package.h - a web server by the system's own package manager, where there is none.
 *
 * package_find() -> package_install() -> package_start(), then web_find() as always. The manager is found by /etc/os-release and by what is there: apt-get, dnf,
 * microdnf, yum, zypper, apk, pacman, xbps-install, emerge, pkg. Nothing is asked of a person; files of a former installation that somebody has changed are kept.
 */
#ifndef TLSUP_PACKAGE_H
#define TLSUP_PACKAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"
#include "tlsup/web_kind.h"

/* How a kind of web server is installed here. Plain data. */
struct package {
    enum web_kind kind;
    size_t manager;      /* the module's own */
    const char *service; /* "nginx", "httpd"; static */
};

/* ERR_NOT_FOUND when this system has no package manager that we know. */
MUST_CHECK bool package_find(enum web_kind kind, struct package *out, struct err *err);
/* What a person would type to have the same: install, start at boot, start now. Appends. */
void package_commands(const struct package *package, struct strlist *out);
/* Called often while it is going on. */
typedef void package_tick_fn(void *ctx);
/* Install it; a failure is tried once more with fresh lists of packages, where the manager has such. ERR_PERMISSION when not root. Bounded in time; the error's text ends with the manager's own last lines.
 * A signal that comes meanwhile is left to the caller: a package manager is not to be ended half-way. */
MUST_CHECK bool package_install(const struct package *package, package_tick_fn *tick, void *ctx, struct err *err);
/* Have the service manager start it at boot and, unless it is `running`, now: systemd, OpenRC, FreeBSD's rc, runit, System V. Never by its own program. */
MUST_CHECK bool package_start(const struct package *package, bool running, struct err *err);
/* Put index.html into a document root that exists and has no file index.* yet; `made` tells whether it was done. Nothing is ever replaced. */
MUST_CHECK bool package_first_page(const char *root, bool *made, struct err *err);

/* Tests: every path and program is looked for below this directory; NULL = the machine itself. The text is not copied. */
void package_set_root(const char *root);

#endif
