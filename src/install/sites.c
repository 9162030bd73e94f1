/*
 * sites.c - the neutral model of virtual hosts that both readers fill.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "tlsup/mem.h"

struct site *sites_add(struct sites *sites)
{
    sites->v = mem_resize(sites->v, sites->n + 1, sizeof sites->v[0]);
    struct site *site = &sites->v[sites->n++];
    *site = (struct site){0};
    return site;
}

void site_add_listen(struct site *site, const char *address, int port, bool ssl, bool default_server)
{
    site->listens = mem_resize(site->listens, site->n_listens + 1, sizeof site->listens[0]);
    struct site_listen *listen = &site->listens[site->n_listens++];
    *listen = (struct site_listen){.port = port, .ssl = ssl, .default_server = default_server};
    snprintf(listen->address, sizeof listen->address, "%s", address);
}

bool site_listens_on(const struct site *site, int port)
{
    for (size_t i = 0; i < site->n_listens; i++) {
        if (site->listens[i].port == port) {
            return true;
        }
    }
    return false;
}

bool site_listens_at(const struct site *site, const char *address, int port)
{
    for (size_t i = 0; i < site->n_listens; i++) {
        if (site->listens[i].port == port && strcmp(site->listens[i].address, address) == 0) {
            return true;
        }
    }
    return false;
}

bool site_address_is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "[::1]") == 0 ||
           strcmp(address, "localhost") == 0;
}

static bool anyone_listens(const struct sites *sites, const char *address, int port)
{
    for (size_t i = 0; i < sites->n; i++) {
        if (site_listens_at(&sites->v[i], address, port)) {
            return true;
        }
    }
    return false;
}

void sites_addresses(const struct sites *sites, int port, struct strlist *addresses)
{
    static const char *const wildcards[] = {"*", "[::]"};
    for (size_t i = 0; i < COUNT_OF(wildcards); i++) {
        if (anyone_listens(sites, wildcards[i], port) && !strlist_has(addresses, wildcards[i])) {
            strlist_add(addresses, wildcards[i]);
        }
    }
    for (size_t i = 0; i < sites->n; i++) {
        for (size_t k = 0; k < sites->v[i].n_listens; k++) {
            const struct site_listen *listen = &sites->v[i].listens[k];
            if (listen->port == port && !strlist_has(addresses, listen->address)) {
                strlist_add(addresses, listen->address);
            }
        }
    }
}

void sites_clear(struct sites *sites)
{
    for (size_t i = 0; i < sites->n; i++) {
        struct site *site = &sites->v[i];
        free(site->file);
        strlist_clear(&site->names);
        free(site->listens);
        free(site->root);
        free(site->certificate);
    }
    free(sites->v);
    if (sites->priv_free != NULL) {
        sites->priv_free(sites->priv);
    }
    *sites = (struct sites)SITES_INIT;
}
