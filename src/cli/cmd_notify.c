/*
 * notify: does a notification arrive? By each way that tlsup.conf names, one after the other.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "commands.h"
#include "notice_ways.h"
#include "output.h"
#include "tlsup/roles.h"
#include "tlsup/sandbox.h"
#include "tlsup/store.h"

struct outcome {
    size_t failed, people;
};

static void settle(bool ok, const char *name, const struct err *err, struct outcome *outcome)
{
    if (ok) {
        output_done("Sent: %s", name);
        return;
    }
    output_error(err);
    outcome->failed++;
}

/* It is there by default, and in a container there is often none: that is no fault where people are told by
 * other ways. */
static bool may_be_missing(const struct ways *ways, size_t way)
{
    bool people = false;
    for (size_t i = 0; i < ways_count(ways); i++)
        people |= ways_reaches_people(ways, i);
    return people && !ways_reaches_people(ways, way);
}

static void try_one(struct ways *ways, size_t way, const struct notice *notice, struct outcome *outcome)
{
    struct err err = ERR_INIT;
    output_step("Sending a test notification: %s", ways_name(ways, way));
    outcome->people += ways_reaches_people(ways, way);
    bool ok = ways_send(ways, way, notice, &err);
    if (ok || !may_be_missing(ways, way)) {
        settle(ok, ways_name(ways, way), &err, outcome);
        return;
    }
    output_failed();
    output_warning("%s\nNobody needs it while the other ways work; notify-syslog = no leaves it out.",
                   err.text);
}

static void try_all(struct ways *ways, struct outcome *outcome)
{
    struct notice notice;
    notice_init(&notice);
    notice.test = true;
    for (size_t i = 0; i < ways_count(ways); i++)
        try_one(ways, i, &notice, outcome);
    if (ways_has_heartbeat(ways)) {
        struct err err = ERR_INIT;
        output_step("Sending the heartbeat");
        settle(ways_heartbeat(ways, &err), "heartbeat", &err, outcome);
    }
    notice_clear(&notice);
}

static void say_how(const struct request *request)
{
    output_line("No mail, webhook or command is configured: nobody is told when a renewal fails.");
    output_line("Put one or several of these lines into %s/tlsup.conf, then try again:", request->config_dir);
    output_line("%s", "");
    output_line("    notify-mail = you@example.org               (by this machine's sendmail)");
    output_line("    notify-smtp = smtp://mail.example.org:587   (by that mail server instead)");
    output_line("    notify-webhook = https://...                (a POST of JSON)");
    output_line("    notify-command = /path/of/a/program         (the text on its standard input)");
}

static bool summarise(const struct outcome *outcome, const struct request *request, bool never,
                      struct err *err)
{
    if (never)
        output_line("notify-on = never: nobody is told of anything but by the heartbeat.");
    else if (outcome->people == 0)
        say_how(request);
    if (outcome->failed == 0)
        return true;
    return err_set(err, ERR_PROOF, NEXT_LOCAL_FAULT, NULL,
                   outcome->failed == 1 ? "one way failed" : "%zu ways failed", outcome->failed);
}

bool cmd_notify(const struct request *request, struct err *err)
{
    struct store *store;
    struct machine_config config;
    struct cert_config defaults;
    struct ways *ways = NULL;
    struct outcome outcome = {0};
    signals_install();
    sandbox_keep_secrets();
    if (!store_open(request->config_dir, request->state_dir, STORE_READ, &store, err))
        return false;
    bool has_config = store_machine_config(store, &config, err);
    bool has_defaults = has_config && store_defaults(store, &defaults, err);
    bool ok = has_defaults && ways_open(&config, defaults.proxy, &ways, err);
    if (ok) {
        try_all(ways, &outcome);
        ok = summarise(&outcome, request, config.notify_on == NOTIFY_NEVER, err);
    }
    ways_close(ways);
    if (has_defaults)
        cert_config_clear(&defaults);
    if (has_config)
        machine_config_clear(&config);
    store_close(store);
    return ok;
}
