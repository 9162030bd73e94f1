/*
 * owners.h - who owns each name on ports 80 and 443: sites_owner() for all names of a configuration at once,
 * and told apart by address.
 *
 * By the server's own rules on the neutral model. An index, so that ten thousand sites take no longer than to
 * read them.
 */
#ifndef TLSUP_CLI_OWNERS_H
#define TLSUP_CLI_OWNERS_H

#include "tlsup/web.h"

/* At one address and port. */
struct owner {
    const char *address; /* as in struct site_listen; borrowed from the sites */
    int port;
    size_t site;     /* index into the sites */
    bool by_default; /* nobody has the name there: it falls to the default server */
};

struct owned_name {
    const char *name; /* borrowed from the sites */
    size_t *sites;    /* those that have it, in the order in which the server reads them */
    size_t n_sites;
    struct owner *v; /* port 80 first; addresses where nobody has it are there for "*" and "[::]" alone */
    size_t n;
};

struct owners {
    struct owned_name *v; /* by name */
    size_t n;
};
#define OWNERS_INIT                                                                                          \
    {                                                                                                        \
        0                                                                                                    \
    }

/* Catch-alls ("_", ""), regular expressions and variables are not names, but they own names. */
void owners_find(const struct web *web, const struct sites *sites, struct owners *out);
void owners_clear(struct owners *owners);
/* The owner on a port that counts, as sites_owner() has it: where somebody has the name rather than by
 * default, "*" before "[::]" before other addresses, loopback last. NULL = none. */
const struct owner *owners_at(const struct owned_name *name, int port);
const struct owned_name *owners_name(const struct owners *owners,
                                     const char *name); /* NULL = no site has it */
bool site_has_listen(const struct site *site, const char *address, int port);

#endif
