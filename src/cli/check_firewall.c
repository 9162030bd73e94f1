/*
 * Does a packet filter of this machine keep visitors out of ports 80 and 443? And opening them, when that is
 * asked for.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "tlsup/mem.h"

/* -- what is found -------------------------------------------------------------------------------------- */

static const char *what_for(const struct firewall_gate *gate)
{
    return gate->ports[0] && gate->ports[1]
               ? "the CA asks on port 80 whether the name is yours (http-01), and https is served on port 443"
           : gate->ports[0]
               ? "the CA asks on port 80 whether the name is yours (http-01), and most visitors begin "
                 "there"
               : "https is served on port 443: nobody outside of this machine could reach it";
}

static void advise_closed(struct check *check, const struct firewall_gate *gate)
{
    AUTO_STRLIST commands = STRLIST_INIT;
    firewall_commands(gate, &commands);
    AUTO_FREE char *text = strlist_join(&commands, "; ");
    const char *keep = firewall_keep_advice(gate);
    check_todo(check, "open it: %s%s%s%s. Or have tlsup do it: --open-firewall", text,
               keep != NULL ? " (" : "", keep != NULL ? keep : "", keep != NULL ? ")" : "");
}

static void found_closed(struct check *check, const struct firewall_gate *gate)
{
    char ports[32], families[32];
    check_find(check, check->wants_web && !gate->some ? SEVERITY_PROBLEM : SEVERITY_WARNING, "firewall", NULL,
               "the firewall of this machine (%s) closes %s over %s%s: %s", firewall_tool_name(gate->tool),
               firewall_gate_ports(gate, ports), firewall_gate_families(gate, families),
               gate->some ? " but for addresses that it names" : "", gate->why);
    check_why(check, "%s%s", what_for(gate),
              gate->some ? "; where a proxy in front of this machine has those addresses, all is well" : "");
    advise_closed(check, gate);
}

static void found_unsure(struct check *check, const struct firewall_gate *gate)
{
    char ports[32], families[32];
    check_find(check, SEVERITY_NOTE, "firewall", NULL,
               "whether the firewall of this machine (%s) lets visitors in on %s over %s cannot be told: %s",
               firewall_tool_name(gate->tool), firewall_gate_ports(gate, ports),
               firewall_gate_families(gate, families), gate->why);
    if (gate->verdict.redirected)
        check_why(
            check,
            "that rule hands the port on to another port or machine, and who answers there is not known");
    else
        check_why(check,
                  "it depends on what only shows when somebody comes: the time, a mark, a module that tlsup "
                  "does not know");
    check_todo(check, "ask from another machine: curl -v http://NAME/; tlsup leaves such rules alone");
}

static void found_open(struct check *check, const struct firewall *firewall)
{
    if (firewall->read_by.n == 0) {
        check_find(check, SEVERITY_OK, "firewall", NULL, "this machine has no firewall of its own");
        return;
    }
    AUTO_FREE char *tools = strlist_join(&firewall->read_by, " and ");
    check_find(check, SEVERITY_OK, "firewall", NULL,
               "no firewall of this machine closes ports 80 and 443, as far as %s tells", tools);
    check_why(check, "those of the provider and of routers cannot be seen from here");
}

static void tell(struct check *check, const struct firewall *firewall)
{
    for (size_t i = 0; i < firewall->n; i++)
        if (firewall->gates[i].answer == FIREWALL_CLOSED)
            found_closed(check, &firewall->gates[i]);
        else
            found_unsure(check, &firewall->gates[i]);
    if (firewall->failure[0] != '\0') {
        check_find(check, SEVERITY_NOTE, "firewall", NULL, "the firewall could not be read: %s",
                   firewall->failure);
        check_todo(check, "see for yourself whether ports 80 and 443 are open: nft list ruleset");
    } else if (firewall->n == 0) {
        found_open(check, firewall);
    }
}

/* -- opening -------------------------------------------------------------------------------------------- */

static void tell_opened(struct check *check, const struct strlist *done, const struct strlist *back,
                        const char *keep, bool is_open)
{
    AUTO_FREE char *did = strlist_join(done, "; ");
    AUTO_FREE char *undo = strlist_join(back, "; ");
    check_find(check, keep != NULL || !is_open ? SEVERITY_WARNING : SEVERITY_NOTE, "firewall", NULL,
               "the firewall was opened%s: %s", is_open ? "" : ", but not far enough", did);
    if (is_open)
        check_why(check, "read again, it lets visitors in%s%s", keep != NULL ? "; " : "",
                  keep != NULL ? keep : "");
    if (back->n > 0)
        check_todo(check, "to take it back%s: %s",
                   keep != NULL ? ", as long as the rules have not been loaded anew" : "", undo);
}

static const char *keep_advice(const struct firewall *firewall)
{
    const char *advice = NULL;
    for (size_t i = 0; i < firewall->n && advice == NULL; i++)
        if (firewall->gates[i].answer == FIREWALL_CLOSED)
            advice = firewall_keep_advice(&firewall->gates[i]);
    return advice;
}

static bool any_closed(const struct firewall *firewall)
{
    for (size_t i = 0; i < firewall->n; i++)
        if (firewall->gates[i].answer == FIREWALL_CLOSED)
            return true;
    return false;
}

/* What cannot be told is not opened: it may be open, and whoever wrote it had something in mind. */
static bool open_it(struct check *check, struct firewall *firewall, struct err *err)
{
    AUTO_STRLIST done = STRLIST_INIT, back = STRLIST_INIT;
    const char *keep = keep_advice(firewall);
    bool needed = any_closed(firewall);
    if (!needed && firewall->n > 0) {
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, NULL,
                "the firewall was not opened: whether it is closed cannot be told: %s",
                firewall->gates[0].why);
        return err_advise(err, "ask from another machine whether port 80 answers; open it yourself, or leave "
                               "--open-firewall out");
    }
    bool ok = !needed || firewall_open(firewall, &done, &back, err);
    if (done.n > 0)
        tell_opened(check, &done, &back, keep, ok);
    return ok;
}

bool check_firewall(struct check *check, struct err *err)
{
    struct firewall firewall;
    bool opens = check->request->open_firewall, ok = true;
    if (!check->root && opens) {
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, NULL, "only root can open the firewall");
        return err_advise(err, "the same command with sudo");
    }
    if (!check->root)
        return true; /* that is told once, for all that only root can see */
    firewall_look(&firewall);
    if (opens && check->request->plan)
        ; /* told, not done */
    else if (opens)
        ok = open_it(check, &firewall, err);
    tell(check, &firewall);
    check->port_80_closed = firewall_closes(&firewall, 80);
    firewall_clear(&firewall);
    return ok;
}
