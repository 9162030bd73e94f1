#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/here.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "tlsup/mem.h"
#include "tlsup/name.h"
#include "tlsup/roles.h"

enum { RESOLVE_MS = 10000, SHOWN_PUBLIC = 3 };

/* -- kinds of addresses --------------------------------------------------------------------------------- */

/* Blocks that the world cannot reach a machine by (IANA's registries of special purpose addresses). Those for
 * documentation count as any other: nobody has them. */
static const struct block {
    const char *net;
    unsigned bits;
    bool loopback;
} blocks[] = {
    {"0.0.0.0", 8, false},     {"10.0.0.0", 8, false},     {"100.64.0.0", 10, false},
    {"127.0.0.0", 8, true},    {"169.254.0.0", 16, false}, {"172.16.0.0", 12, false},
    {"192.0.0.0", 24, false},  {"192.168.0.0", 16, false}, {"198.18.0.0", 15, false},
    {"224.0.0.0", 3, false},   {"::", 128, false},         {"::1", 128, true},
    {"::ffff:0:0", 96, false}, {"64:ff9b:1::", 48, false}, {"100::", 64, false},
    {"fc00::", 7, false},      {"fe80::", 10, false},      {"ff00::", 8, false},
};

static int family_of(const char *address)
{
    return strchr(address, ':') != NULL ? AF_INET6 : AF_INET;
}

static bool in_block(const struct block *block, const char *address)
{
    unsigned char net[16], bytes[16];
    int family = family_of(address);
    if (family != family_of(block->net) || inet_pton(family, block->net, net) != 1 ||
        inet_pton(family, address, bytes) != 1)
        return false;
    unsigned whole = block->bits / 8, rest = block->bits % 8;
    if (memcmp(net, bytes, whole) != 0)
        return false;
    unsigned mask = rest == 0 ? 0 : 0xFFu << (8 - rest) & 0xFFu;
    return rest == 0 || (net[whole] & mask) == (bytes[whole] & mask);
}

static const struct block *block_of(const char *address)
{
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        if (in_block(&blocks[i], address))
            return &blocks[i];
    return NULL;
}

bool here_is_public(const char *address)
{
    return block_of(address) == NULL;
}

static bool is_loopback(const char *address)
{
    const struct block *block = block_of(address);
    return block != NULL && block->loopback;
}

/* -- judgement ------------------------------------------------------------------------------------------ */

static bool has_family(const struct strlist *addresses, int family)
{
    for (size_t i = 0; i < addresses->n; i++)
        if (family_of(addresses->v[i]) == family)
            return true;
    return false;
}

static enum here_answer judge_family(const struct here *here, int family)
{
    size_t all = 0, foreign = 0;
    for (size_t i = 0; i < here->addresses.n; i++)
        all += family_of(here->addresses.v[i]) == family;
    for (size_t i = 0; i < here->foreign.n; i++)
        foreign += family_of(here->foreign.v[i]) == family;
    if (all == 0)
        return HERE_NOWHERE;
    if (foreign == 0)
        return HERE_YES;
    if (foreign < all)
        return HERE_PARTLY;
    return has_family(&here->public, family) ? HERE_ELSEWHERE : HERE_MAYBE;
}

static enum here_answer judge_all(enum here_answer v4, enum here_answer v6)
{
    if (v4 == HERE_NOWHERE || v6 == HERE_NOWHERE || v4 == v6)
        return v4 == HERE_NOWHERE ? v6 : v4;
    if (v4 == HERE_YES || v4 == HERE_PARTLY || v6 == HERE_YES || v6 == HERE_PARTLY)
        return HERE_PARTLY;
    return HERE_MAYBE; /* the one family may be behind NAT, the other is elsewhere */
}

void here_judge(const struct strlist *addresses, const struct strlist *own, struct here *out)
{
    static const int families[] = {AF_INET, AF_INET6};
    *out = (struct here)HERE_INIT;
    strlist_copy(&out->own, own);
    for (size_t f = 0; f < COUNT_OF(families); f++)
        for (size_t i = 0; i < addresses->n; i++)
            if (family_of(addresses->v[i]) == families[f] && !strlist_has(&out->addresses, addresses->v[i]))
                strlist_add(&out->addresses, addresses->v[i]);
    for (size_t i = 0; i < own->n; i++)
        if (here_is_public(own->v[i]) && !strlist_has(&out->public, own->v[i]))
            strlist_add(&out->public, own->v[i]);
    for (size_t i = 0; i < out->addresses.n; i++) {
        bool loopback = is_loopback(out->addresses.v[i]);
        out->loopback |= loopback;
        if (!loopback && !strlist_has(own, out->addresses.v[i]))
            strlist_add(&out->foreign, out->addresses.v[i]);
    }
    out->v4 = judge_family(out, AF_INET);
    out->v6 = judge_family(out, AF_INET6);
    out->all = judge_all(out->v4, out->v6);
}

/* -- looking -------------------------------------------------------------------------------------------- */

bool here_own_addresses(struct strlist *out, struct err *err)
{
    struct ifaddrs *list = NULL;
    if (getifaddrs(&list) != 0)
        return err_errno(err, errno, "", "the addresses of this machine cannot be read");
    for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next) {
        char text[INET6_ADDRSTRLEN];
        int family = i->ifa_addr != NULL ? i->ifa_addr->sa_family : AF_UNSPEC;
        if ((i->ifa_flags & IFF_UP) == 0 || (family != AF_INET && family != AF_INET6))
            continue;
        const void *bytes =
            family == AF_INET
                ? (const void *)&((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr
                : (const void *)&((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr;
        if (inet_ntop(family, bytes, text, sizeof text) != NULL && !strlist_has(out, text))
            strlist_add(out, text);
    }
    freeifaddrs(list);
    return true;
}

/* The name to be asked for: in the place of a wildcard's asterisk one that nobody would have. */
static bool host_of(const char *name, char out[NAME_MAX_BYTES], struct err *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    unsigned char bytes[12] = {0};
    char label[sizeof bytes + 1];
    if (!name_is_wildcard(name)) {
        if ((size_t)snprintf(out, NAME_MAX_BYTES, "%s", name) < NAME_MAX_BYTES)
            return true;
        return err_set(err, ERR_NAME, NEXT_FIX_CONFIG, name, "the name is too long");
    }
    if (getentropy(bytes, sizeof bytes) != 0)
        memset(bytes, 'q', sizeof bytes); /* a name all the same, if one that could be guessed */
    for (size_t i = 0; i < sizeof bytes; i++)
        label[i] = letters[bytes[i] % (sizeof letters - 1)];
    label[sizeof bytes] = '\0';
    if ((size_t)snprintf(out, NAME_MAX_BYTES, "%s%s", label, name + 1) < NAME_MAX_BYTES)
        return true;
    return err_set(err, ERR_NAME, NEXT_FIX_CONFIG, name, "no name fits below the wildcard: it is too long");
}

void here_look_all(struct here_look *v, size_t n, int timeout_ms)
{
    AUTO_STRLIST own = STRLIST_INIT;
    struct err own_err = ERR_INIT;
    bool known = here_own_addresses(&own, &own_err);
    struct role_lookup *lookups = mem_array(n + 1, sizeof *lookups);
    char(*hosts)[NAME_MAX_BYTES] = mem_array(n + 1, sizeof *hosts);
    size_t *index = mem_array(n + 1, sizeof *index), asked = 0;
    for (size_t i = 0; i < n; i++) {
        bool is_ip = name_is_ip(v[i].name);
        v[i].ok = known;
        v[i].err = own_err;
        if (!known || is_ip || !host_of(v[i].name, hosts[asked], &v[i].err)) {
            v[i].ok = known && is_ip;
            continue;
        }
        lookups[asked].name = hosts[asked];
        index[asked++] = i;
    }
    role_probe_resolve_all(lookups, asked, timeout_ms);
    for (size_t k = 0; k < asked; k++) {
        struct here_look *look = &v[index[k]];
        look->ok = lookups[k].ok;
        look->err = lookups[k].err;
        if (look->ok)
            here_judge(&lookups[k].addresses, &own, &look->here);
        strlist_clear(&lookups[k].addresses);
    }
    for (size_t i = 0; known && i < n; i++)
        if (name_is_ip(v[i].name)) {
            AUTO_STRLIST itself = STRLIST_INIT;
            strlist_add(&itself, v[i].name);
            here_judge(&itself, &own, &v[i].here);
        }
    free(lookups);
    free(hosts);
    free(index);
}

bool here_look(const char *name, struct here *out, struct err *err)
{
    struct here_look look = {.name = name};
    here_look_all(&look, 1, RESOLVE_MS);
    if (look.ok)
        *out = look.here;
    else
        *err = look.err;
    return look.ok;
}

void here_clear(struct here *here)
{
    strlist_clear(&here->addresses);
    strlist_clear(&here->foreign);
    strlist_clear(&here->public);
    strlist_clear(&here->own);
    *here = (struct here)HERE_INIT;
}

/* -- telling -------------------------------------------------------------------------------------------- */

/* "a is", "a and b are" */
static void tell_list(const struct strlist *all, const struct strlist *left_out, const char *rest,
                      struct buf *out)
{
    size_t n = 0, told = 0;
    for (size_t i = 0; i < all->n; i++)
        n += left_out == NULL || !strlist_has(left_out, all->v[i]);
    for (size_t i = 0; i < all->n; i++) {
        if (left_out != NULL && strlist_has(left_out, all->v[i]))
            continue;
        buf_addf(out, "%s%s", told == 0 ? "" : told + 1 == n ? " and " : ", ", all->v[i]);
        told++;
    }
    buf_addf(out, " %s %s", n == 1 ? "is" : "are", rest);
}

static void tell_public(const struct here *here, struct buf *out)
{
    size_t told = 0;
    for (size_t i = 0; i < here->public.n; i++) {
        if (!has_family(&here->foreign, family_of(here->public.v[i])))
            continue;
        if (told == SHOWN_PUBLIC)
            buf_adds(out, ", ...");
        if (told < SHOWN_PUBLIC)
            buf_addf(out, "%s%s", told == 0 ? " (" : ", ", here->public.v[i]);
        told++;
    }
    buf_adds(out,
             told > 0 ? ")" : " (which has no public address of that kind itself: it may be behind NAT)");
}

void here_describe(const struct here *here, struct buf *out)
{
    if (here->addresses.n == 0) {
        buf_adds(out, "it has no address");
        return;
    }
    if (here->foreign.n < here->addresses.n)
        tell_list(&here->addresses, &here->foreign, "this machine", out);
    if (here->foreign.n == 0)
        return;
    buf_adds(out, here->foreign.n < here->addresses.n ? ", " : "");
    tell_list(&here->foreign, NULL, "not this machine", out);
    tell_public(here, out);
}
