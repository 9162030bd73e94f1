/*
 * Where names lead: here, elsewhere, nowhere; and what to make of it behind NAT.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "tlsup/mem.h"
#include "tlsup/name.h"

/* Name servers that said nothing so often are not asked again. */
enum { SILENCES_MAX = 2 };

/* What is asked over the network of a public CA is certain; others may have a view of the DNS of their own.
 */
static enum severity severity_of(const struct subject *subject)
{
    return subject_is_asked_here(&subject->config) && subject_is_public(&subject->config) ? SEVERITY_PROBLEM
                                                                                          : SEVERITY_WARNING;
}

static void explain_elsewhere(struct check *check, const struct subject *subject, const char *record)
{
    check_why(check, subject_is_asked_here(&subject->config)
                         ? "the CA asks the machine that the name leads to, and visitors go there"
                         : "visitors go to the machine that the name leads to");
    check_todo(check,
               "change the %s of the name, or run tlsup on the machine that it leads to; all is well if a "
               "proxy or load balancer stands there that passes port 80 on to this machine",
               record);
}

static void found_elsewhere(struct check *check, const struct subject *subject, const char *name,
                            const struct here *here, const char *told)
{
    check_find(check, severity_of(subject), "address", name, "%s leads elsewhere: %s", name, told);
    explain_elsewhere(check, subject,
                      here->v4 == HERE_NOWHERE   ? "AAAA record"
                      : here->v6 == HERE_NOWHERE ? "A record"
                                                 : "A and AAAA records");
}

/* The classic: IPv4 was moved here, the AAAA record was forgotten. */
static void found_stale_v6(struct check *check, const struct subject *subject, const char *name,
                           const struct here *here, const char *told)
{
    bool none = here->v6 == HERE_MAYBE;
    check_find(check, none ? SEVERITY_WARNING : severity_of(subject), "address", name,
               none ? "%s has an AAAA record, but this machine no public IPv6 address: %s"
                    : "%s leads elsewhere over IPv6: %s",
               name, told);
    check_why(check, "CAs and browsers prefer IPv6 where a name has it, and IPv6 is rarely behind NAT");
    check_todo(check, "remove the AAAA record, or give this machine that address");
}

static char *private_addresses(const struct here *here)
{
    AUTO_STRLIST some = STRLIST_INIT;
    for (size_t i = 0; i < here->own.n && some.n < 3; i++)
        if (strchr(here->own.v[i], ':') == NULL && strncmp(here->own.v[i], "127.", 4) != 0)
            strlist_add(&some, here->own.v[i]);
    return some.n > 0 ? strlist_join(&some, ", ") : mem_dup("no address but the loopback's");
}

/* A record that is wrong looks the same from here: how to tell them apart is said. */
static void found_nat(struct check *check, const char *name, const struct here *here)
{
    const char *address = here->foreign.v[0];
    AUTO_FREE char *own = private_addresses(here);
    if (!here_is_public(address)) {
        check_find(check, SEVERITY_WARNING, "address", name,
                   "%s leads to %s, an address of a private network that is not this machine's (%s)", name,
                   address, own);
        check_why(check, "nobody outside of that network can reach it, and no public CA");
        check_todo(check,
                   "give the name the public address by which this machine is reached; if this network has "
                   "name servers of its own, see what the others say");
        return;
    }
    check_find(check, SEVERITY_NOTE, "address", name,
               "whether %s leads here cannot be told: %s is none of this machine's own addresses, which are "
               "private (%s)",
               name, address, own);
    check_why(check,
              "probably NAT, a cloud's public address or a load balancer: that is as it should be, if "
              "ports 80 and 443 are forwarded to this machine. A wrong record looks the same from here");
    check_todo(
        check,
        "see that the router, or the provider's console, shows %s as this machine's public address and "
        "passes both ports on; if it shows another one, change the record",
        address);
}

static void found_partly(struct check *check, const char *name, const char *told)
{
    check_find(check, SEVERITY_WARNING, "address", name, "%s leads here in part: %s", name, told);
    check_why(check, "the CA may ask any of the addresses, and so may visitors");
    check_todo(check, "remove the addresses of others from its records, unless they answer for it as well");
}

static void found_not_here(struct check *check, const struct subject *subject, const char *name,
                           const struct here *here)
{
    AUTO_BUF told = BUF_INIT;
    here_describe(here, &told);
    if (here->all == HERE_ELSEWHERE)
        found_elsewhere(check, subject, name, here, buf_str(&told));
    else if (here->v4 == HERE_MAYBE && (here->v6 == HERE_YES || here->v6 == HERE_NOWHERE))
        found_nat(check, name, here);
    else if (here->v6 == HERE_ELSEWHERE || here->v6 == HERE_PARTLY || here->v6 == HERE_MAYBE)
        found_stale_v6(check, subject, name, here, buf_str(&told));
    else
        found_partly(check, name, buf_str(&told));
}

static bool all_private(const struct here *here)
{
    for (size_t i = 0; i < here->addresses.n; i++)
        if (here_is_public(here->addresses.v[i]))
            return false;
    return true;
}

static void found_here(struct check *check, const struct subject *subject, const char *name,
                       const struct here *here)
{
    AUTO_BUF told = BUF_INIT;
    here_describe(here, &told);
    if (here->loopback && !name_is_ip(name)) {
        check_find(check, SEVERITY_NOTE, "address", name, "%s leads here as far as this machine knows: %s",
                   name, buf_str(&told));
        check_why(check,
                  "such an address is an entry of /etc/hosts, which the world does not see: what it is "
                  "told is in the DNS alone");
    } else if (all_private(here) && subject_is_public(&subject->config)) {
        check_find(check, SEVERITY_NOTE, "address", name,
                   "%s leads here, by an address of a private network: %s", name, buf_str(&told));
        check_why(check,
                  "a public CA cannot reach that: all is well only if name servers outside give another "
                  "address, from which ports 80 and 443 are forwarded here");
    } else {
        check_find(check, SEVERITY_OK, "address", name, "%s leads here: %s", name, buf_str(&told));
    }
}

static void found_nowhere(struct check *check, const struct subject *subject, const char *name)
{
    check_find(check, severity_of(subject), "address", name, "%s has no address", name);
    check_why(check, "neither the CA nor a visitor can find this machine by it");
    check_todo(check,
               "make an A record for it, and an AAAA record where this machine has IPv6 (new records may "
               "take minutes to be seen); or see whether it is spelt right");
    if (severity_of(subject) == SEVERITY_PROBLEM && !subject->config.partial &&
        !subject_has_other_way(&subject->config))
        check_stops(check);
}

static void tell(struct check *check, const struct subject *subject, const struct here_look *look)
{
    if (!look->ok) {
        check_found_err(check, SEVERITY_WARNING, "address", look->name, &look->err);
        check_why(check, "where it leads is not known, then; the CA must find it as well");
    } else if (look->here.all == HERE_NOWHERE) {
        found_nowhere(check, subject, look->name);
    } else if (look->here.all != HERE_YES) {
        found_not_here(check, subject, look->name, &look->here);
    } else {
        found_here(check, subject, look->name, &look->here);
    }
}

/* The machine's resolver fails for all names alike: told for the first few. */
void check_addresses(struct check *check, const struct subject *subject)
{
    const struct strlist *names = &subject->config.names;
    if (check->silences >= SILENCES_MAX)
        return;
    struct here_look *looks = mem_array(names->n + 1, sizeof *looks);
    for (size_t i = 0; i < names->n; i++)
        looks[i].name = names->v[i];
    here_look_all(looks, names->n, check->lookup_ms);
    for (size_t i = 0; i < names->n; i++) {
        bool silent = !looks[i].ok && (looks[i].err.code == ERR_TIMEOUT || looks[i].err.code == ERR_CHILD);
        if (check->silences < SILENCES_MAX || !silent)
            tell(check, subject, &looks[i]);
        check->silences += silent;
        if (silent && check->silences == SILENCES_MAX)
            check_why(check, "further names are not looked up, or not told of");
        if (looks[i].ok)
            here_clear(&looks[i].here);
    }
    free(looks);
}
