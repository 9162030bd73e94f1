/*
 * driver.h - what web.c asks of each kind of web server. Internal to install/.
 */
#ifndef TLSUP_INSTALL_DRIVER_H
#define TLSUP_INSTALL_DRIVER_H

#include "tlsup/web.h"

struct web_driver {
    enum web_kind kind;
    /* Installed here? Fills all of `out` but unit. False without setting `err` when it is not installed. */
    bool (*find)(const struct web_hints *hints, struct web *out, struct err *err);
    bool (*test)(const struct web *web, struct err *err);
    bool (*read)(const struct web *web, struct sites *out, struct err *err);
    const struct site *(*owner)(const struct sites *sites, const char *name, int port, bool explicit_only);
    bool (*edit_challenge)(const struct web *web, const struct sites *sites, const struct strlist *names,
                           const char *thumbprint, struct txn *txn, struct err *err);
    bool (*edit_https)(const struct web *web, const struct sites *sites, const struct web_https *https,
                       struct txn *txn, struct err *err);
    int reload_signal;              /* SIGHUP, SIGUSR1 */
    const char *const *units;       /* NULL-terminated candidate service names: "nginx", "apache2", "httpd" */
    /* The owner of a name on one address ("*", "[::]", "192.0.2.1", as in site_listen). */
    const struct site *(*owner_at)(const struct sites *sites, const char *name, const char *address, int port,
                                   bool explicit_only);
    /* The functions of web.h of these names. */
    bool (*compare)(const struct web *web, const struct sites *sites, struct err *err);
    bool (*read_disabled)(const struct web *web, const struct sites *sites, struct sites *out, struct err *err);
    char *(*enable_command)(const struct web *web, const struct site *site);
    /* What a person types to test it. Appends one. */
    void (*test_command)(const struct web *web, struct strlist *out);
    /* All files that were read, as the server names them: the n-th, NULL past the last. */
    const char *(*file_at)(const struct sites *sites, size_t n, const char **data, size_t *len);
};

extern const struct web_driver nginx_driver;
extern const struct web_driver apache_driver;

/* The master process of a program: a process whose executable's base name is one of `names` (NULL-terminated), whose parent is not such a
 * process, in our own network namespace and root directory (so not in a container). 0 = none. `several` (may be NULL) is set when there is more than one. web.c */
pid_t web_master(const char *const *names, bool *several);
/* All of them, at most `max`; returns how many. */
size_t web_masters(const char *const *names, pid_t *out, size_t max);

/* -- sites.c, shared by both readers -- */
struct site *sites_add(struct sites *sites);
void site_add_listen(struct site *site, const char *address, int port, bool ssl, bool default_server);
bool site_listens_on(const struct site *site, int port);
bool site_listens_at(const struct site *site, const char *address, int port);
/* The different addresses that any site listens on at `port`: "*" first, then "[::]", then the others in order of appearance. Appends. */
void sites_addresses(const struct sites *sites, int port, struct strlist *addresses);
/* Say, once a run for each file, who else writes it: what is edited there may be overwritten. */
void site_warn_of_manager(const char *path, const char *data, size_t len);
/* "127.x.y.z", "[::1]", "localhost": never asked from outside. */
bool site_address_is_loopback(const char *address);

#endif
