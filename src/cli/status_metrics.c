/*
 * OpenMetrics text. What node_exporter's textfile collector reads is the older text format of Prometheus,
 * which has no types "info" and "stateset": they are written as the gauges that they are for it, which
 * OpenMetrics takes as well.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "notices.h"
#include "status.h"

#include <inttypes.h>
#include <string.h>

#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0"
#endif

/* -- the format -------------------------------------------------------------------------------------- */

/* `unit` "" = none; else the name ends in it. */
static void add_family(struct buf *out, const char *name, const char *unit, const char *help)
{
    buf_addf(out, "# TYPE %s gauge\n", name);
    if (unit[0] != '\0')
        buf_addf(out, "# UNIT %s %s\n", name, unit);
    buf_addf(out, "# HELP %s %s\n", name, help);
}

/* One label: NAME="VALUE", with what has a meaning in the format escaped. What is no UTF-8 would make the
 * whole document unreadable. */
static void add_label(struct buf *out, const char *before, const char *name, const char *value)
{
    buf_addf(out, "%s%s=\"", before, name);
    for (; *value != '\0'; value++) {
        unsigned char c = (unsigned char)*value;
        if (c == '\\' || c == '"')
            buf_addf(out, "\\%c", c);
        else if (c == '\n')
            buf_adds(out, "\\n");
        else
            buf_addc(out, c >= ' ' && c < 0x7F ? *value : '?');
    }
    buf_addc(out, '"');
}

static void add_sample(struct buf *out, const char *metric, const struct entry *entry, int64_t value)
{
    buf_adds(out, metric);
    add_label(out, "{", "name", entry->name);
    buf_addf(out, "} %" PRId64 "\n", value);
}

static void add_plain(struct buf *out, const char *metric, const char *unit, const char *help, int64_t value)
{
    add_family(out, metric, unit, help);
    buf_addf(out, "%s %" PRId64 "\n", metric, value);
}

/* -- of each certificate ----------------------------------------------------------------------------- */

/* A value, and whether there is one. */
static bool not_before(const struct entry *entry, int64_t *value)
{
    *value = entry->info.not_before_s;
    return entry->has_info;
}

static bool not_after(const struct entry *entry, int64_t *value)
{
    *value = entry->info.not_after_s;
    return entry->has_info;
}

static bool renewal_due(const struct entry *entry, int64_t *value)
{
    *value = entry->due_s;
    return entry->has_info && entry->due_s != 0;
}

static bool verified(const struct entry *entry, int64_t *value)
{
    *value = entry->state.verified_s;
    return is_installed_by_us(entry) && step_of(entry) == DEPLOY_VERIFIED && *value != 0;
}

static bool served(const struct entry *entry, int64_t *value)
{
    *value = step_of(entry) == DEPLOY_VERIFIED;
    return is_installed_by_us(entry);
}

static bool names(const struct entry *entry, int64_t *value)
{
    *value = (int64_t)names_of(entry)->n;
    return true;
}

static bool missing_names(const struct entry *entry, int64_t *value)
{
    *value = (int64_t)entry->state.missing.n;
    return true;
}

static bool version(const struct entry *entry, int64_t *value)
{
    *value = entry->version;
    return true;
}

static bool failures(const struct entry *entry, int64_t *value)
{
    *value = entry->state.failures > 0 ? entry->state.failures : has_failed(entry);
    return true;
}

static bool next_try(const struct entry *entry, int64_t *value)
{
    *value = entry->state.next_try_s;
    return has_failed(entry) && *value != 0;
}

static bool revoked(const struct entry *entry, int64_t *value)
{
    *value = entry->state.revoked;
    return true;
}

static bool alarm_level(const struct entry *entry, int64_t *value)
{
    *value = (int64_t)notices_alarm(&entry->state, &entry->info, clock_now_s());
    return true;
}

static bool deployments(const struct entry *entry, int64_t *value)
{
    *value = (int64_t)entry->state.n_deployments;
    return true;
}

static bool deployments_pending(const struct entry *entry, int64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < entry->state.n_deployments; i++)
        *value += !deployment_is_done(&entry->state.deployments[i]);
    return true;
}

static bool deployments_failing(const struct entry *entry, int64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < entry->state.n_deployments; i++)
        *value += deployment_is_failing(&entry->state.deployments[i]);
    return true;
}

static const struct {
    const char *name, *unit, *help;
    bool (*value)(const struct entry *entry, int64_t *value);
} families[] = {
    {"tlsup_certificate_not_before_seconds", "seconds", "When the live certificate begins to be valid.",
     not_before},
    {"tlsup_certificate_not_after_seconds", "seconds", "When the live certificate expires.", not_after},
    {"tlsup_certificate_renewal_due_seconds", "seconds", "When its renewal is due.", renewal_due},
    {"tlsup_certificate_verified_seconds", "seconds", "When the web server was last seen to serve it.",
     verified},
    {"tlsup_certificate_served", "",
     "Whether the live version was seen in the web server (1) or not yet (0).", served},
    {"tlsup_certificate_names", "", "How many names are in it.", names},
    {"tlsup_certificate_missing_names", "", "How many names that were asked for are not in it.",
     missing_names},
    {"tlsup_certificate_version", "", "Number of the live version, 0 for none.", version},
    {"tlsup_certificate_failures", "", "Failures since the last success.", failures},
    {"tlsup_certificate_next_try_seconds", "seconds", "Before this moment it is not tried again.", next_try},
    {"tlsup_certificate_revoked", "", "Whether the live certificate was revoked.", revoked},
    {"tlsup_certificate_alarm", "",
     "How bad it is: 0 well, 1 failing, 2 failing and less than a tenth of its life left, 3 expired.",
     alarm_level},
    {"tlsup_certificate_deployments", "", "Hooks, exports and looks that each version goes through.",
     deployments},
    {"tlsup_certificate_deployments_pending", "", "How many of them the live version has not gone through.",
     deployments_pending},
    {"tlsup_certificate_deployments_failing", "", "How many of them have failed for the live version.",
     deployments_failing},
};

static void add_families(const struct entries *entries, struct buf *out)
{
    for (size_t f = 0; f < COUNT_OF(families); f++) {
        add_family(out, families[f].name, families[f].unit, families[f].help);
        for (size_t i = 0; i < entries->n; i++) {
            int64_t value;
            if (families[f].value(&entries->v[i], &value))
                add_sample(out, families[f].name, &entries->v[i], value);
        }
    }
}

static void add_infos(const struct entries *entries, struct buf *out)
{
    static const char metric[] = "tlsup_certificate_info";
    add_family(out, metric, "", "What the certificate is; always 1.");
    for (size_t i = 0; i < entries->n; i++) {
        const struct entry *entry = &entries->v[i];
        AUTO_BUF ca = BUF_INIT, key = BUF_INIT;
        say_ca(entry, &ca);
        say_key(entry, &key);
        buf_adds(out, metric);
        add_label(out, "{", "name", entry->name);
        add_label(out, ",", "ca", buf_str(&ca));
        add_label(out, ",", "key_type", buf_str(&key));
        add_label(out, ",", "issuer", entry->info.issuer);
        add_label(out, ",", "serial", entry->info.serial);
        add_label(out, ",", "web_server",
                  is_installed_by_us(entry) ? web_kind_name(entry->config.install) : "");
        buf_adds(out, "} 1\n");
    }
}

static void add_states(const struct entries *entries, struct buf *out)
{
    static const char metric[] = "tlsup_certificate_state";
    add_family(out, metric, "",
               "The state that it is in, as tlsup status tells it: 1, and 0 for the others.");
    for (size_t i = 0; i < entries->n; i++)
        for (int h = 0; h < HEALTHS; h++) {
            buf_adds(out, metric);
            add_label(out, "{", "name", entries->v[i].name);
            add_label(out, ",", "state", health_word((enum health)h));
            buf_addf(out, "} %d\n", entries->v[i].health == (enum health)h);
        }
}

/* -- of the machine ---------------------------------------------------------------------------------- */

static void add_run(const struct run_state *run, struct buf *out)
{
    const struct {
        const char *metric, *help;
        int64_t when_s;
    } moments[] = {
        {"tlsup_renew_began_seconds", "When the last run of tlsup renew began.", run->began_s},
        {"tlsup_renew_ended_seconds", "When the last run of tlsup renew that came to an end did so.",
         run->ended_s},
        {"tlsup_renew_good_seconds", "When the last run of tlsup renew ended in which nothing failed.",
         run->good_s},
        {"tlsup_heartbeat_seconds", "When the heartbeat was last sent.", run->heartbeat_s},
    };
    for (size_t i = 0; i < COUNT_OF(moments); i++)
        if (moments[i].when_s != 0)
            add_plain(out, moments[i].metric, "seconds", moments[i].help, moments[i].when_s);
    add_plain(out, "tlsup_hooks_failing", "", "Hooks before and after a run that have failed.",
              (int64_t)run->n_debts);
}

static void add_build(struct buf *out)
{
    static const char metric[] = "tlsup_build_info";
    add_family(out, metric, "", "The version of tlsup; always 1.");
    buf_adds(out, metric);
    add_label(out, "{", "version", PACKAGE_VERSION);
    buf_adds(out, "} 1\n");
}

void status_metrics(const struct entries *entries, const struct timer *timer, const struct run_state *run,
                    struct buf *out)
{
    add_build(out);
    add_plain(out, "tlsup_certificates", "", "How many certificates are held.", (int64_t)entries->n);
    add_plain(out, "tlsup_timer_active", "", "Whether something calls tlsup renew by itself.", timer->active);
    if (run != NULL)
        add_run(run, out);
    add_infos(entries, out);
    add_states(entries, out);
    add_families(entries, out);
    buf_adds(out, "# EOF\n");
}

bool status_write_metrics(struct store *store, const char *path, struct err *err)
{
    static const struct strlist all = STRLIST_INIT;
    CLEANUP(entries_clear) struct entries entries = {0};
    CLEANUP(run_state_clear) struct run_state run = RUN_STATE_INIT;
    struct err unreadable = ERR_INIT;
    struct timer timer;
    AUTO_BUF out = BUF_INIT;
    /* whether keys fit was checked when they were stored: ten thousand of them take their time */
    if (!status_read_as(store, &all, 0, &entries, err))
        return false;
    bool has_run = store_run_state_load(store, &run, &unreadable);
    timer_look_for(store_config_dir(store), store_state_dir(store), &timer);
    status_metrics(&entries, &timer, has_run ? &run : NULL, &out);
    if (fs_write(path, buf_str(&out), out.len, 0644, err))
        return true;
    err_context(err, "the metrics cannot be written");
    return err_advise(err, "metrics-file in tlsup.conf says where they go");
}
