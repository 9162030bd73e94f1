#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "owners.h"

#include <fnmatch.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/mem.h"

static const int ports[] = {80, 443};

struct ref {
    const char *name;
    size_t site;
};

struct group {
    const char *address;
    int port;
    size_t first, flagged; /* sites; NO_SITE = none */
};
#define NO_SITE SIZE_MAX

struct index {
    const struct web *web;
    const struct sites *sites;
    struct ref *refs; /* by name, then by site */
    size_t n_refs;
    struct ref *odd; /* Apache's wildcards of other forms than "*.x": by site */
    size_t n_odd;
    struct group *groups; /* by port and address */
    size_t n_groups;
};

bool site_has_listen(const struct site *site, const char *address, int port)
{
    for (size_t i = 0; i < site->n_listens; i++)
        if (site->listens[i].port == port && strcmp(site->listens[i].address, address) == 0)
            return true;
    return false;
}

/* -- making the index ----------------------------------------------------------------------------------- */

static int compare_refs(const void *a, const void *b)
{
    const struct ref *one = a, *other = b;
    int order = strcmp(one->name, other->name);
    return order != 0 ? order : one->site < other->site ? -1 : one->site > other->site;
}

static int compare_keys(const struct group *one, const char *address, int port)
{
    return one->port != port ? (one->port < port ? -1 : 1) : strcmp(one->address, address);
}

static int compare_groups(const void *a, const void *b)
{
    const struct group *one = a, *other = b;
    int order = compare_keys(one, other->address, other->port);
    return order != 0 ? order : one->first < other->first ? -1 : one->first > other->first;
}

static bool is_odd(enum web_kind kind, const char *name)
{
    size_t plain = strncmp(name, "*.", 2) == 0 ? 2 : 0;
    return kind == WEB_APACHE && strpbrk(name + plain, "*?") != NULL;
}

static void index_names(struct index *index)
{
    size_t room = 0;
    for (size_t i = 0; i < index->sites->n; i++)
        room += index->sites->v[i].names.n;
    index->refs = mem_array(room + 1, sizeof *index->refs);
    index->odd = mem_array(room + 1, sizeof *index->odd);
    for (size_t i = 0; i < index->sites->n; i++) {
        const struct strlist *names = &index->sites->v[i].names;
        for (size_t k = 0; k < names->n; k++) {
            struct ref ref = {names->v[k], i};
            index->refs[index->n_refs++] = ref;
            if (is_odd(index->web->kind, ref.name))
                index->odd[index->n_odd++] = ref;
        }
    }
    qsort(index->refs, index->n_refs, sizeof *index->refs, compare_refs);
}

static bool is_wanted_port(int port)
{
    return port == ports[0] || port == ports[1];
}

static void index_groups(struct index *index)
{
    size_t room = 0, kept = 0;
    for (size_t i = 0; i < index->sites->n; i++)
        room += index->sites->v[i].n_listens;
    struct group *all = mem_array(room + 1, sizeof *all);
    size_t n = 0;
    for (size_t i = 0; i < index->sites->n; i++)
        for (size_t k = 0; k < index->sites->v[i].n_listens; k++) {
            const struct site_listen *listen = &index->sites->v[i].listens[k];
            if (is_wanted_port(listen->port))
                all[n++] =
                    (struct group){listen->address, listen->port, i, listen->default_server ? i : NO_SITE};
        }
    qsort(all, n, sizeof *all, compare_groups);
    for (size_t i = 0; i < n; i++) {
        struct group *last = kept > 0 ? &all[kept - 1] : NULL;
        if (last == NULL || compare_keys(last, all[i].address, all[i].port) != 0)
            all[kept++] = all[i];
        else if (last->flagged == NO_SITE)
            last->flagged = all[i].flagged;
    }
    index->groups = all;
    index->n_groups = kept;
}

static const struct group *find_group(const struct index *index, const char *address, int port)
{
    size_t low = 0, high = index->n_groups;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_keys(&index->groups[middle], address, port);
        if (order == 0)
            return &index->groups[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* -- asking it ------------------------------------------------------------------------------------------ */

/* The first of the refs to the name that begins with `head` and goes on with `tail`. */
static size_t first_ref(const struct index *index, const char *head, const char *tail)
{
    size_t low = 0, high = index->n_refs, len = strlen(head);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *name = index->refs[middle].name;
        int order = strncmp(name, head, len);
        if (order == 0)
            order = strcmp(name + len, tail);
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The first site that listens there and has exactly that name among its own. */
static size_t site_with(const struct index *index, const char *head, const char *tail,
                        const struct group *group)
{
    size_t len = strlen(head);
    for (size_t i = first_ref(index, head, tail); i < index->n_refs; i++) {
        const char *name = index->refs[i].name;
        if (strncmp(name, head, len) != 0 || strcmp(name + len, tail) != 0)
            break;
        if (site_has_listen(&index->sites->v[index->refs[i].site], group->address, group->port))
            return index->refs[i].site;
    }
    return NO_SITE;
}

static size_t first_of(size_t a, size_t b)
{
    return a < b ? a : b; /* NO_SITE is above all */
}

/* nginx's own look-up is an index already. */
static size_t nginx_owner(const struct index *index, const char *name, const struct group *group)
{
    const struct site *site =
        sites_owner_at(index->web, index->sites, name, group->address, group->port, true);
    return site != NULL ? (size_t)(site - index->sites->v) : NO_SITE;
}

/* The first host that has it, by name or by a wildcard. */
static size_t apache_owner(const struct index *index, const char *name, const struct group *group)
{
    size_t site = site_with(index, "", name, group);
    for (const char *dot = strchr(name, '.'); dot != NULL; dot = strchr(dot + 1, '.'))
        site = first_of(site, site_with(index, "*", dot, group));
    for (size_t i = 0; i < index->n_odd && index->odd[i].site < site; i++)
        if (site_has_listen(&index->sites->v[index->odd[i].site], group->address, group->port) &&
            fnmatch(index->odd[i].name, name, FNM_NOESCAPE | FNM_CASEFOLD) == 0)
            site = index->odd[i].site;
    return site;
}

/* -- all names ------------------------------------------------------------------------------------------ */

static bool is_name(const char *name)
{
    return name[0] != '\0' && name[0] != '~' && strcmp(name, "_") != 0 && strchr(name, '$') == NULL;
}

static bool is_wildcard_address(const char *address)
{
    return strcmp(address, "*") == 0 || strcmp(address, "[::]") == 0;
}

static void add_owner(struct owned_name *to, const struct index *index, const struct group *group)
{
    for (size_t i = 0; i < to->n; i++)
        if (to->v[i].port == group->port && strcmp(to->v[i].address, group->address) == 0)
            return;
    size_t site = index->web->kind == WEB_NGINX ? nginx_owner(index, to->name, group)
                                                : apache_owner(index, to->name, group);
    bool by_default = site == NO_SITE;
    if (by_default && !is_wildcard_address(group->address))
        return;
    if (by_default)
        site = group->flagged != NO_SITE ? group->flagged : group->first;
    to->v = mem_resize(to->v, to->n + 1, sizeof *to->v);
    to->v[to->n++] = (struct owner){group->address, group->port, site, by_default};
}

/* Where a site of the name's own listens on that port. */
static void add_own(struct owned_name *name, const struct index *index, size_t site, int port)
{
    const struct site *own = &index->sites->v[site];
    for (size_t k = 0; k < own->n_listens; k++)
        if (own->listens[k].port == port)
            add_owner(name, index, find_group(index, own->listens[k].address, port));
}

static void find_owners(const struct index *index, struct owned_name *name)
{
    static const char *const wildcards[] = {"*", "[::]"};
    for (size_t p = 0; p < COUNT_OF(ports); p++) {
        for (size_t w = 0; w < COUNT_OF(wildcards); w++) {
            const struct group *group = find_group(index, wildcards[w], ports[p]);
            if (group != NULL)
                add_owner(name, index, group);
        }
        for (size_t i = 0; i < name->n_sites; i++)
            add_own(name, index, name->sites[i], ports[p]);
        /* nginx's ".x" has x as well */
        for (size_t i = first_ref(index, ".", name->name); i < index->n_refs && index->refs[i].name[0] == '.';
             i++) {
            if (strcmp(index->refs[i].name + 1, name->name) != 0)
                break;
            add_own(name, index, index->refs[i].site, ports[p]);
        }
    }
}

/* The refs from `from` on that are to the same name; returns where they end. */
static size_t take_name(const struct index *index, size_t from, struct owned_name *out)
{
    size_t end = from;
    *out = (struct owned_name){.name = index->refs[from].name};
    while (end < index->n_refs && strcmp(index->refs[end].name, out->name) == 0)
        end++;
    out->sites = mem_array(end - from, sizeof *out->sites);
    for (size_t i = from; i < end; i++)
        if (out->n_sites == 0 || out->sites[out->n_sites - 1] != index->refs[i].site)
            out->sites[out->n_sites++] = index->refs[i].site;
    return end;
}

void owners_find(const struct web *web, const struct sites *sites, struct owners *out)
{
    struct index index = {.web = web, .sites = sites};
    index_names(&index);
    index_groups(&index);
    *out = (struct owners){.v = mem_array(index.n_refs + 1, sizeof *out->v)};
    for (size_t i = 0; i < index.n_refs;) {
        struct owned_name *name = &out->v[out->n];
        i = take_name(&index, i, name);
        if (is_name(name->name)) {
            find_owners(&index, name);
            out->n++;
        } else {
            free(name->sites);
        }
    }
    free(index.refs);
    free(index.odd);
    free(index.groups);
}

void owners_clear(struct owners *owners)
{
    for (size_t i = 0; i < owners->n; i++) {
        free(owners->v[i].sites);
        free(owners->v[i].v);
    }
    free(owners->v);
    *owners = (struct owners)OWNERS_INIT;
}

static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "[::1]") == 0 ||
           strcmp(address, "localhost") == 0;
}

const struct owner *owners_at(const struct owned_name *name, int port)
{
    for (int round = 0; round < 4; round++)
        for (size_t i = 0; i < name->n; i++)
            if (name->v[i].port == port && name->v[i].by_default == (round >= 2) &&
                is_loopback(name->v[i].address) == (round % 2 == 1))
                return &name->v[i];
    return NULL;
}

const struct owned_name *owners_name(const struct owners *owners, const char *name)
{
    size_t low = 0, high = owners->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(owners->v[middle].name, name);
        if (order == 0)
            return &owners->v[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
