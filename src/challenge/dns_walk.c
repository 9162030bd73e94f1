#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "dns_internal.h"

#include <stdio.h>
#include <string.h>

#include "tlsup/log.h"
#include "tlsup/mem.h"

#define MAX_OF_A_KIND 64 /* records of one owner and type */
#define MAX_CUTS 16      /* zone cuts below the zone that the resolvers named */

/*
 * The resolvers are asked about names above `name` alone, never about it: a resolver would remember that it
 * does not exist, and a CA that asks the same resolver a minute later would be told so. Whether it is an
 * alias, or a zone of its own, is asked of the zone's servers.
 */

/* -- one query ------------------------------------------------------------------------------------------- */

static enum dns_step ask_resolvers(struct dns_task *task, const char *name, enum dns_type type,
                                   const struct dns_lookup **out)
{
    const struct dns_lookup *lookup =
        dns_task_lookup(task, NULL, task->resolvers, task->n_resolvers, name, type);
    if (lookup == NULL)
        return DNS_FAILED;
    *out = lookup;
    return lookup->state == LOOKUP_PENDING ? DNS_PENDING : DNS_DONE;
}

static bool no_resolver(struct dns_task *task, const struct dns_lookup *lookup, const char *name)
{
    err_set(&task->err, ERR_NETWORK, NEXT_RETRY_LATER, task->name, "no DNS resolver answers about %s: %s",
            name, lookup->faults);
    return err_advise(&task->err,
                      "check the nameserver lines of /etc/resolv.conf, and that port 53 is open to them");
}

/* A zone's servers, or, when none of those can be reached, the resolvers. */
static enum dns_step ask_zone(struct dns_task *task, const struct dns_walk *walk, const char *name,
                              enum dns_type type, const struct dns_lookup **out)
{
    const struct dns_lookup *lookup =
        dns_task_lookup(task, walk->zone, walk->hosts, walk->n_hosts, name, type);
    if (lookup == NULL)
        return DNS_FAILED;
    if (lookup->state == LOOKUP_FAILED) {
        const struct dns_lookup *direct = lookup;
        enum dns_step step = ask_resolvers(task, name, type, &lookup);
        if (step != DNS_DONE)
            return step;
        if (lookup->state == LOOKUP_FAILED) {
            err_set(&task->err, ERR_NETWORK, NEXT_RETRY_LATER, task->name,
                    "no name server of the zone %s answers about %s: %s", walk->zone, name, direct->faults);
            err_advise(&task->err, "check that this machine may send to port 53 of them, by UDP and TCP, and "
                                   "that they serve the zone");
            return DNS_FAILED;
        }
    }
    *out = lookup;
    return lookup->state == LOOKUP_PENDING ? DNS_PENDING : DNS_DONE;
}

/* -- the zone, as the resolvers see it ------------------------------------------------------------------ */

/* The SOA record of a zone that `name` is in. */
static const struct dns_record *find_soa(const struct dns_message *message, const char *name)
{
    static const enum dns_section sections[] = {DNS_ANSWER, DNS_AUTHORITY};
    for (size_t i = 0; i < COUNT_OF(sections); i++) {
        const struct dns_record *soa = dns_message_find(message, sections[i], DNS_TYPE_SOA, NULL);
        if (soa != NULL && dns_name_within(name, soa->owner))
            return soa;
    }
    return NULL;
}

static void set_zone(struct dns_walk *walk, const char *zone, const char *primary)
{
    snprintf(walk->zone, sizeof walk->zone, "%s", zone);
    snprintf(walk->primary, sizeof walk->primary, "%s", strcmp(primary, ".") != 0 ? primary : "");
}

/* The first name that may be asked for: without the labels that begin with '_', and never the target of an
 * alias itself. */
static void first_above(const struct dns_walk *walk, bool is_target, char out[DNS_NAME_BYTES])
{
    memcpy(out, walk->name, DNS_NAME_BYTES);
    if (is_target || strncmp(out, "*.", 2) == 0)
        dns_name_parent(out);
    while (out[0] == '_')
        dns_name_parent(out);
}

static enum dns_step find_zone(struct dns_task *task, struct dns_walk *walk, bool is_target)
{
    char name[DNS_NAME_BYTES];
    const struct dns_lookup *lookup = NULL;
    first_above(walk, is_target, name);
    do {
        enum dns_step step = ask_resolvers(task, name, DNS_TYPE_SOA, &lookup);
        if (step != DNS_DONE)
            return step;
        if (lookup->state == LOOKUP_FAILED && lookup->rcode < 0) {
            no_resolver(task, lookup, name);
            return DNS_FAILED;
        }
        /* an alias leads to another zone than the one that it is in */
        if (lookup->state == LOOKUP_FAILED ||
            dns_message_find(lookup->message, DNS_ANSWER, DNS_TYPE_CNAME, name) != NULL)
            continue;
        const struct dns_record *soa = find_soa(lookup->message, name);
        if (soa != NULL && (strcmp(soa->owner, ".") != 0 || strcmp(name, ".") == 0)) {
            set_zone(walk, soa->owner, soa->data);
            return DNS_DONE;
        }
    } while (strcmp(name, ".") != 0 && dns_name_parent(name) && strcmp(name, ".") != 0);
    err_set(&task->err, ERR_CONFIG, NEXT_FIX_CONFIG, task->name,
            "%s is in no zone that the DNS resolver knows%s%s", walk->name,
            lookup->state == LOOKUP_FAILED ? ": " : "", lookup->state == LOOKUP_FAILED ? lookup->faults : "");
    err_advise(&task->err, "check the spelling of the domain, and that it is registered and delegated");
    return DNS_FAILED;
}

/* -- the zone's servers --------------------------------------------------------------------------------- */

static void add_records(const struct dns_message *message, enum dns_section section, enum dns_type type,
                        const char *owner, struct strlist *out)
{
    for (size_t i = 0; i < message->n; i++) {
        const struct dns_record *record = &message->v[i];
        if (record->section == section && record->type == type && strcmp(record->owner, owner) == 0 &&
            out->n < MAX_OF_A_KIND && !strlist_has(out, record->data))
            strlist_add(out, record->data);
    }
}

enum dns_step dns_walk_addresses(struct dns_task *task, const char *name, struct strlist *out)
{
    static const enum dns_type types[] = {DNS_TYPE_A, DNS_TYPE_AAAA};
    enum dns_step result = DNS_DONE;
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        const struct dns_lookup *lookup;
        enum dns_step step = ask_resolvers(task, name, types[i], &lookup);
        if (step == DNS_FAILED)
            return step;
        if (step == DNS_PENDING)
            result = DNS_PENDING; /* and yet ask for the other type, too */
        else if (lookup->state == LOOKUP_OK)
            add_records(lookup->message, DNS_ANSWER, types[i], dns_message_end(lookup->message, name), out);
    }
    return result;
}

static void add_host(struct dns_task *task, struct dns_walk *walk, size_t ns, const char *address)
{
    struct dns_host *host = dns_host_get(task->dns, address);
    if (host == NULL || walk->n_hosts == DNS_MAX_SERVERS)
        return;
    for (size_t i = 0; i < walk->n_hosts; i++)
        if (walk->hosts[i] == host)
            return;
    walk->ns_of[walk->n_hosts] = ns;
    walk->hosts[walk->n_hosts++] = host;
}

/* The names of the zone's servers: as the resolvers have them, else as the delegation has them. */
static void collect_ns(struct dns_walk *walk, const struct dns_lookup *lookup,
                       const struct dns_message *delegation)
{
    AUTO_STRLIST names = STRLIST_INIT;
    if (lookup->state == LOOKUP_OK)
        add_records(lookup->message, DNS_ANSWER, DNS_TYPE_NS, walk->zone, &names);
    if (names.n == 0 && delegation != NULL)
        add_records(delegation, DNS_AUTHORITY, DNS_TYPE_NS, walk->zone, &names);
    walk->n_ns = 0;
    for (size_t i = 0; i < names.n && walk->n_ns < DNS_MAX_NS; i++)
        snprintf(walk->ns[walk->n_ns++], DNS_NAME_BYTES, "%s", names.v[i]);
}

/* Addresses that came along, where the resolvers have none: those of the delegation count for names within
 * the zone that it came from. */
static void add_glue(struct dns_task *task, struct dns_walk *walk, size_t ns,
                     const struct dns_message *message, const char *from_zone)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    if (message == NULL || !dns_name_within(walk->ns[ns], from_zone))
        return;
    add_records(message, DNS_ADDITIONAL, DNS_TYPE_A, walk->ns[ns], &addresses);
    add_records(message, DNS_ADDITIONAL, DNS_TYPE_AAAA, walk->ns[ns], &addresses);
    for (size_t i = 0; i < addresses.n; i++)
        add_host(task, walk, ns, addresses.v[i]);
}

static enum dns_step find_hosts(struct dns_task *task, struct dns_walk *walk,
                                const struct dns_message *ns_answer, const struct dns_message *delegation,
                                const char *parent)
{
    struct strlist addresses[DNS_MAX_NS] = {0};
    enum dns_step result = DNS_DONE;
    for (size_t i = 0; i < walk->n_ns && result != DNS_FAILED; i++) {
        enum dns_step step = dns_walk_addresses(task, walk->ns[i], &addresses[i]);
        result = step != DNS_DONE ? step : result;
    }
    walk->n_hosts = 0;
    for (size_t i = 0; i < walk->n_ns; i++) {
        for (size_t j = 0; j < addresses[i].n; j++)
            add_host(task, walk, i, addresses[i].v[j]);
        if (addresses[i].n == 0) {
            add_glue(task, walk, i, ns_answer, walk->zone);
            add_glue(task, walk, i, delegation, parent);
        }
        strlist_clear(&addresses[i]);
    }
    return result;
}

/* `delegation` (from a server of the zone `parent`) is NULL when it was the resolvers that named the zone. */
static enum dns_step find_servers(struct dns_task *task, struct dns_walk *walk,
                                  const struct dns_message *delegation, const char *parent)
{
    const struct dns_lookup *lookup;
    enum dns_step step = ask_resolvers(task, walk->zone, DNS_TYPE_NS, &lookup);
    if (step != DNS_DONE)
        return step;
    collect_ns(walk, lookup, delegation);
    if (walk->n_ns == 0) {
        err_set(&task->err, ERR_NETWORK, NEXT_RETRY_LATER, task->name,
                "no name servers are to be found for the zone %s%s%s", walk->zone,
                lookup->state == LOOKUP_FAILED ? ": " : "",
                lookup->state == LOOKUP_FAILED ? lookup->faults : "");
        return DNS_FAILED;
    }
    step = find_hosts(task, walk, lookup->state == LOOKUP_OK ? lookup->message : NULL, delegation, parent);
    if (step != DNS_DONE || walk->n_hosts > 0)
        return step;
    AUTO_STRLIST names = STRLIST_INIT;
    for (size_t i = 0; i < walk->n_ns; i++)
        strlist_add(&names, walk->ns[i]);
    AUTO_FREE char *joined = strlist_join(&names, ", ");
    err_set(&task->err, ERR_NETWORK, NEXT_RETRY_LATER, task->name,
            "no name server of the zone %s has an address: %.600s", walk->zone, joined);
    err_advise(&task->err, "check the A and AAAA records of the zone's name servers");
    return DNS_FAILED;
}

/* -- down to the name ----------------------------------------------------------------------------------- */

static const struct dns_record *find_cut(const struct dns_walk *walk, const struct dns_message *message)
{
    for (size_t i = 0; i < message->n; i++) {
        const struct dns_record *ns = &message->v[i];
        if (ns->section == DNS_AUTHORITY && ns->type == DNS_TYPE_NS && strcmp(ns->owner, walk->zone) != 0 &&
            dns_name_within(ns->owner, walk->zone) && dns_name_within(walk->name, ns->owner))
            return ns;
    }
    return NULL;
}

/* Does the alias come of a wildcard? A record of its own at the name takes precedence over that (RFC 4592),
 * so one can be put there, while the wildcard's target (a web host, mostly) is no place for it. The wildcard
 * asked for by name gives the same alias, from whichever height it acts. */
static enum dns_step is_wildcard(struct dns_task *task, const struct dns_walk *walk, const char *target,
                                 bool *out)
{
    char wildcard[DNS_NAME_BYTES], parent[DNS_NAME_BYTES];
    const struct dns_lookup *lookup;
    *out = false;
    memcpy(parent, walk->name, sizeof parent);
    dns_name_parent(parent);
    if (strcmp(parent, ".") == 0 || strlen(parent) + 2 > 253 || strncmp(walk->name, "*.", 2) == 0)
        return DNS_DONE;
    snprintf(wildcard, sizeof wildcard, "*.%.253s", parent);
    enum dns_step step = ask_zone(task, walk, wildcard, DNS_TYPE_CNAME, &lookup);
    if (step != DNS_DONE)
        return step;
    const struct dns_record *alias = dns_message_find(lookup->message, DNS_ANSWER, DNS_TYPE_CNAME, wildcard);
    *out = alias != NULL && strcmp(alias->data, target) == 0;
    return DNS_DONE;
}

static enum dns_step find_primary(struct dns_task *task, struct dns_walk *walk)
{
    const struct dns_lookup *lookup;
    if (walk->primary[0] != '\0')
        return DNS_DONE;
    enum dns_step step = ask_zone(task, walk, walk->zone, DNS_TYPE_SOA, &lookup);
    if (step != DNS_DONE)
        return step;
    const struct dns_record *soa = find_soa(lookup->message, walk->zone);
    if (soa != NULL && strcmp(soa->owner, walk->zone) == 0)
        set_zone(walk, soa->owner, soa->data);
    return DNS_DONE;
}

/* One look at the servers of walk->zone: *alias when the name is one, *deeper when the zone is another one
 * further down. */
static enum dns_step look(struct dns_task *task, struct dns_walk *walk, char alias[DNS_NAME_BYTES],
                          const struct dns_message **deeper)
{
    const struct dns_lookup *lookup;
    bool wildcard = false;
    enum dns_step step = ask_zone(task, walk, walk->name, DNS_TYPE_CNAME, &lookup);
    if (step != DNS_DONE)
        return step;
    const struct dns_record *cname =
        dns_message_find(lookup->message, DNS_ANSWER, DNS_TYPE_CNAME, walk->name);
    if (cname != NULL) {
        if (!walk->through_wildcards)
            step = is_wildcard(task, walk, cname->data, &wildcard);
        if (step == DNS_DONE && !wildcard)
            snprintf(alias, DNS_NAME_BYTES, "%s", cname->data);
        return step;
    }
    const struct dns_record *soa = find_soa(lookup->message, walk->name);
    if (soa != NULL && dns_name_within(soa->owner, walk->zone)) {
        *deeper = strcmp(soa->owner, walk->zone) != 0 ? lookup->message : NULL;
        set_zone(walk, soa->owner, soa->data);
        return DNS_DONE;
    }
    const struct dns_record *cut = find_cut(walk, lookup->message);
    if (cut != NULL) {
        *deeper = lookup->message;
        set_zone(walk, cut->owner, "");
    }
    return DNS_DONE;
}

static enum dns_step descend(struct dns_task *task, struct dns_walk *walk, char alias[DNS_NAME_BYTES])
{
    const struct dns_message *delegation = NULL;
    char parent[DNS_NAME_BYTES] = ".";
    for (int cuts = 0; cuts <= MAX_CUTS; cuts++) {
        const struct dns_message *deeper = NULL;
        enum dns_step step = find_servers(task, walk, delegation, parent);
        if (step != DNS_DONE)
            return step;
        memcpy(parent, walk->zone, sizeof parent);
        step = look(task, walk, alias, &deeper);
        if (step != DNS_DONE)
            return step;
        if (deeper == NULL)
            return alias[0] != '\0' ? DNS_DONE : find_primary(task, walk);
        delegation = deeper;
    }
    err_set(&task->err, ERR_PROTOCOL, NEXT_FIX_CONFIG, task->name,
            "there are more than %d zone cuts on the way to %s", MAX_CUTS, walk->name);
    return DNS_FAILED;
}

/* The primary has the truth; the others follow. */
static void primary_first(struct dns_walk *walk)
{
    struct dns_walk old = *walk;
    size_t n = 0;
    for (int others = 0; others < 2; others++)
        for (size_t i = 0; i < old.n_hosts; i++)
            if ((strcmp(old.ns[old.ns_of[i]], old.primary) != 0) == (others == 1)) {
                walk->hosts[n] = old.hosts[i];
                walk->ns_of[n++] = old.ns_of[i];
            }
}

enum dns_step dns_walk_run(struct dns_task *task, struct dns_walk *walk)
{
    AUTO_STRLIST seen = STRLIST_INIT;
    memcpy(walk->name, task->name, sizeof walk->name);
    while (seen.n <= DNS_MAX_ALIASES) {
        char alias[DNS_NAME_BYTES] = "";
        enum dns_step step = find_zone(task, walk, seen.n > 0);
        if (step == DNS_DONE)
            step = descend(task, walk, alias);
        if (step == DNS_DONE && alias[0] == '\0')
            primary_first(walk);
        if (step != DNS_DONE || alias[0] == '\0')
            return step;
        strlist_add(&seen, walk->name);
        memcpy(walk->name, alias, sizeof walk->name);
        if (strlist_has(&seen, alias))
            break;
    }
    if (seen.n > DNS_MAX_ALIASES)
        err_set(&task->err, ERR_CONFIG, NEXT_FIX_CONFIG, task->name,
                "%s is followed by more than %d aliases (CNAME)", task->name, DNS_MAX_ALIASES);
    else
        err_set(&task->err, ERR_CONFIG, NEXT_FIX_CONFIG, task->name,
                "the aliases (CNAME) of %s lead in a circle, back to %s", task->name, walk->name);
    err_advise(&task->err, "correct the CNAME records");
    return DNS_FAILED;
}
