/*
 * Who is told of what a run of `renew` did. What counts is how bad it is for a certificate now, and what was
 * last told of it: where the two differ something is told, and noted when it has arrived.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "notices.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "notice.h"
#include "notice_ways.h"
#include "output.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

enum { HEARTBEAT_PAUSE_S = 600, URGENT_PART = 10 };

enum seen { SEEN_LOOKED, SEEN_RENEWED, SEEN_FAILED };

struct noted_cert {
    char *name;
    enum seen seen;
    struct err *why; /* heap, of what failed */
    /* of what was only looked at: its live version then, 0 = not known */
    int version;
    int64_t not_before_s, not_after_s;
};

struct noted_machine {
    char *subject;
    struct err why; /* unset = all is well */
};

struct notices {
    struct run *run;
    struct machine_config config;
    struct cert_config defaults; /* for the proxy */
    struct ways *ways;
    struct noted_cert *certs;
    size_t n_certs, cap_certs;
    struct noted_machine *machine;
    size_t n_machine;
    struct run_state told; /* as it was read for this sending */
};

/* -- how bad it is -------------------------------------------------------------------------------------- */

static bool deployment_fails(const struct deployment *deployment)
{
    return deployment->failures > 0 && deployment->version != deployment->wanted;
}

static bool is_failing(const struct cert_state *state)
{
    bool failing = state->failures > 0 || err_isset(&state->last_error) || state->missing.n > 0;
    for (size_t i = 0; i < state->n_deployments; i++)
        failing |= deployment_fails(&state->deployments[i]);
    return failing;
}

static int64_t urgent_s(const struct cert_info *info)
{
    return info->not_after_s - (info->not_after_s - info->not_before_s) / URGENT_PART;
}

static enum alarm alarm_of(bool failing, int64_t urgent_from_s, int64_t not_after_s, int64_t now_s)
{
    if (not_after_s > 0 && now_s >= not_after_s)
        return ALARM_EXPIRED;
    if (!failing)
        return ALARM_NONE;
    return not_after_s > 0 && now_s > urgent_from_s ? ALARM_URGENT : ALARM_FAILING;
}

enum alarm notices_alarm(const struct cert_state *state, const struct cert_info *info, int64_t now_s)
{
    bool known = info != NULL && info->not_after_s > 0;
    return alarm_of(is_failing(state), known ? urgent_s(info) : 0, known ? info->not_after_s : 0, now_s);
}

int64_t notices_next_s(const struct cert_state *state, const struct cert_info *info, int64_t now_s)
{
    if (notices_alarm(state, info, now_s) != state->told)
        return now_s; /* still to be told */
    if (info == NULL || info->not_after_s <= now_s)
        return INT64_MAX;
    return is_failing(state) && urgent_s(info) >= now_s ? urgent_s(info) + 1 : info->not_after_s;
}

/* -- what a run saw ------------------------------------------------------------------------------------- */

bool notices_open(struct run *run, struct notices **out, struct err *err)
{
    struct notices *notices = mem_alloc(sizeof *notices);
    notices->run = run;
    bool config = store_machine_config(run->store, &notices->config, err);
    bool defaults = config && store_defaults(run->store, &notices->defaults, err);
    if (defaults && ways_open(&notices->config, notices->defaults.proxy, &notices->ways, err)) {
        *out = notices;
        return true;
    }
    if (defaults)
        cert_config_clear(&notices->defaults);
    if (config)
        machine_config_clear(&notices->config);
    free(notices);
    return false;
}

static void clear_seen(struct notices *notices)
{
    for (size_t i = 0; i < notices->n_certs; i++) {
        free(notices->certs[i].name);
        free(notices->certs[i].why);
    }
    for (size_t i = 0; i < notices->n_machine; i++)
        free(notices->machine[i].subject);
    free(notices->certs);
    free(notices->machine);
}

void notices_close(struct notices *notices)
{
    if (notices == NULL)
        return;
    clear_seen(notices);
    ways_close(notices->ways);
    run_state_clear(&notices->told);
    cert_config_clear(&notices->defaults);
    machine_config_clear(&notices->config);
    free(notices);
}

/* Of two things seen of one certificate the worse counts; it is looked for among the last ones, where it is
 * when it is there. */
static struct noted_cert *note_cert(struct notices *notices, const char *cert_name, enum seen seen)
{
    for (size_t i = 0; seen != SEEN_LOOKED && i < notices->n_certs; i++)
        if (strcmp(notices->certs[i].name, cert_name) == 0) {
            if (notices->certs[i].seen < seen)
                notices->certs[i].seen = seen;
            return &notices->certs[i];
        }
    if (notices->n_certs == notices->cap_certs) {
        notices->cap_certs = notices->cap_certs * 2 + 16;
        notices->certs = mem_resize(notices->certs, notices->cap_certs, sizeof *notices->certs);
    }
    struct noted_cert *cert = &notices->certs[notices->n_certs++];
    *cert = (struct noted_cert){.name = mem_dup(cert_name), .seen = seen};
    return cert;
}

void notices_renewed(struct notices *notices, const char *cert_name)
{
    (void)note_cert(notices, cert_name, SEEN_RENEWED);
}

void notices_failed(struct notices *notices, const char *cert_name, const struct err *why)
{
    struct noted_cert *cert = note_cert(notices, cert_name, SEEN_FAILED);
    if (cert->why != NULL)
        return;
    cert->why = mem_alloc(sizeof *cert->why);
    *cert->why = *why;
}

void notices_looked(struct notices *notices, const char *cert_name)
{
    struct noted_cert *noted = note_cert(notices, cert_name, SEEN_LOOKED);
    struct cert_info info = CERT_INFO_INIT;
    struct err ignored = ERR_INIT;
    int live = 0;
    /* it is in memory still; there may be ten thousand more before anything is told */
    if (store_live_version(notices->run->store, cert_name, &live, &ignored) && live > 0 &&
        run_version_info(notices->run, cert_name, live, 0, &info)) {
        noted->version = live;
        noted->not_before_s = info.not_before_s;
        noted->not_after_s = info.not_after_s;
    }
    cert_info_clear(&info);
}

void notices_machine(struct notices *notices, const char *subject, const struct err *why)
{
    struct noted_machine *machine = NULL;
    for (size_t i = 0; i < notices->n_machine; i++)
        if (strcmp(notices->machine[i].subject, subject) == 0)
            machine = &notices->machine[i];
    if (machine == NULL) {
        notices->machine = mem_resize(notices->machine, notices->n_machine + 1, sizeof *notices->machine);
        machine = &notices->machine[notices->n_machine++];
        *machine = (struct noted_machine){.subject = mem_dup(subject)};
    }
    if (why != NULL && !err_isset(&machine->why)) /* the first of a run */
        machine->why = *why;
}

/* -- from a state to what is told ----------------------------------------------------------------------- */

static bool is_about_web_server(const struct err *err)
{
    return err->code == ERR_WEBSERVER || err->code == ERR_PROOF;
}

static const char *what_failed(const struct err *err, bool held)
{
    if (held && is_about_web_server(err))
        return "putting it into the web server";
    return held ? "the renewal" : "getting the first certificate";
}

static void add_deployments(struct notice_cert *cert, const struct cert_state *state)
{
    static const char *const kinds[DEPLOYMENT_KINDS] = {"the deploy hook", "the export",
                                                        "the look whether the new certificate is served by"};
    for (size_t i = 0; i < state->n_deployments; i++) {
        const struct deployment *deployment = &state->deployments[i];
        if (!deployment_fails(deployment))
            continue;
        AUTO_FREE char *what = mem_fmt("%s %s", kinds[deployment->kind], deployment->what);
        notice_add_trouble(cert, what, &deployment->last_error, deployment->next_try_s);
    }
}

static void add_missing(struct notice_cert *cert, const struct cert_state *state)
{
    struct err err = ERR_INIT;
    if (state->missing.n == 0)
        return;
    AUTO_FREE char *names = strlist_join(&state->missing, " ");
    err_set(&err, ERR_NAME, NEXT_FIX_CONFIG, NULL,
            "the certificate was made without %s, which could not be proven", names);
    (void)err_advise(&err, "see why: tlsup check %s", cert->name);
    notice_add_trouble(cert, "a part of its names", &err, state->missing_try_s);
}

static void add_troubles(struct notice_cert *cert, const struct cert_state *state, const struct err *why)
{
    bool held = cert->not_after_s > 0;
    if (err_isset(&state->last_error) || state->failures > 0)
        notice_add_trouble(cert, what_failed(&state->last_error, held), &state->last_error,
                           state->next_try_s);
    add_deployments(cert, state);
    add_missing(cert, state);
    if (cert->n_troubles == 0 && why != NULL)
        notice_add_trouble(cert, what_failed(why, held), why, 0);
}

static void add_names(struct notices *notices, struct notice_cert *cert, int live)
{
    struct cert_config config;
    struct cert_info info = CERT_INFO_INIT;
    struct err ignored = ERR_INIT;
    if (live > 0)
        (void)run_version_info(notices->run, cert->name, live, 0, &info);
    if (info.names.n > 0) {
        strlist_copy(&cert->names, &info.names);
    } else if (store_cert_config(notices->run->store, cert->name, &config, &ignored)) {
        strlist_copy(&cert->names, &config.names);
        cert_config_clear(&config);
    }
    cert_info_clear(&info);
}

/* A run that was stopped is no failure of the certificate's. */
static bool has_failed(const struct noted_cert *noted)
{
    return noted->seen == SEEN_FAILED && (noted->why == NULL || noted->why->code != ERR_INTERRUPTED);
}

/* A state that cannot be read is a failure by itself, and the run has said so. */
static void consider(struct notices *notices, const struct noted_cert *noted, struct notice *notice)
{
    struct cert_state state = CERT_STATE_INIT;
    struct cert_info info = CERT_INFO_INIT;
    struct err ignored = ERR_INIT;
    int live = 0;
    (void)!store_state_load(notices->run->store, noted->name, &state, &ignored);
    if (!store_live_version(notices->run->store, noted->name, &live, &ignored))
        live = 0;
    if (live > 0 && live == noted->version) {
        info.not_before_s = noted->not_before_s;
        info.not_after_s = noted->not_after_s;
    } else if (live > 0) {
        (void)run_version_info(notices->run, noted->name, live, 0, &info);
    }
    bool known = info.not_after_s > 0, failing = has_failed(noted) || is_failing(&state);
    enum alarm now =
        alarm_of(failing, known ? urgent_s(&info) : 0, known ? info.not_after_s : 0, notice->now_s);
    bool renewed = noted->seen == SEEN_RENEWED && notices->config.notify_on == NOTIFY_ALL;
    if (now != state.told || (renewed && now == ALARM_NONE)) {
        struct notice_cert *cert = notice_add_cert(notice, noted->name);
        cert->before = state.told;
        cert->now = now;
        cert->renewed = noted->seen == SEEN_RENEWED;
        cert->not_before_s = info.not_before_s;
        cert->not_after_s = info.not_after_s;
        add_names(notices, cert, live);
        add_troubles(cert, &state, noted->why);
    }
    cert_state_clear(&state);
    cert_info_clear(&info);
}

static void consider_machine(struct notices *notices, struct notice *notice)
{
    for (size_t i = 0; i < notices->n_machine; i++) {
        const struct noted_machine *machine = &notices->machine[i];
        bool fails = err_isset(&machine->why), told = strlist_has(&notices->told.told, machine->subject);
        if (fails != told)
            notice_add_machine(notice, machine->subject, fails ? &machine->why : NULL);
    }
}

/* -- noting what was told ------------------------------------------------------------------------------- */

static void note_told_cert(struct notices *notices, const struct notice_cert *cert, int64_t now_s)
{
    struct cert_state state = CERT_STATE_INIT;
    struct err err = ERR_INIT;
    if (cert->now == cert->before)
        return;
    if (store_state_load(notices->run->store, cert->name, &state, &err)) {
        state.told = cert->now;
        state.told_s = now_s;
        (void)!store_state_save(notices->run->store, cert->name, &state, &err);
    }
    if (err_isset(&err))
        log_warn("%s: that its state was told could not be noted: %s", cert->name, err.text);
    cert_state_clear(&state);
}

static void strlist_drop(struct strlist *list, const char *text)
{
    AUTO_STRLIST left = STRLIST_INIT;
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->v[i], text) != 0)
            strlist_add(&left, list->v[i]);
    strlist_copy(list, &left);
}

static void note_told_machine(struct notices *notices, const char *subject, bool fails)
{
    struct strlist *told = &notices->told.told;
    if (!fails)
        strlist_drop(told, subject);
    else if (!strlist_has(told, subject))
        strlist_add(told, subject);
}

static void note_told(struct notices *notices, const struct notice *notice)
{
    for (size_t i = 0; i < notice->n_certs; i++)
        note_told_cert(notices, &notice->certs[i], notice->now_s);
    for (size_t i = 0; i < notice->n_machine; i++)
        note_told_machine(notices, notice->machine[i].subject, err_isset(&notice->machine[i].err));
}

/* Others write into run.json as well: read again, change what is ours, write. */
static void save_told(struct notices *notices, int64_t heartbeat_s)
{
    struct run_state now = RUN_STATE_INIT;
    struct err err = ERR_INIT;
    bool ok = store_run_state_load(notices->run->store, &now, &err);
    if (ok && (heartbeat_s > now.heartbeat_s || !strlist_same_set(&now.told, &notices->told.told))) {
        strlist_copy(&now.told, &notices->told.told);
        now.heartbeat_s = heartbeat_s > now.heartbeat_s ? heartbeat_s : now.heartbeat_s;
        ok = store_run_state_save(notices->run->store, &now, &err);
    }
    if (!ok)
        log_warn("what was told could not be noted: %s", err.text);
    run_state_clear(&now);
}

/* -- sending -------------------------------------------------------------------------------------------- */

static char *way_subject(const struct notices *notices, size_t way)
{
    return mem_fmt("notification by %s", ways_name(notices->ways, way));
}

static void warn(const char *subject, const struct err *err)
{
    output_warning("%s failed: %s%s%s", subject, err->text, err->advice[0] != '\0' ? "\n" : "", err->advice);
}

static bool any_way_to_people(const struct notices *notices)
{
    bool any = false;
    for (size_t i = 0; i < ways_count(notices->ways); i++)
        any |= ways_reaches_people(notices->ways, i);
    return any;
}

/* By every way not in `broken`, where those that fail are added, as a trouble of the machine. True when it
 * has arrived: with somebody, where the configuration names a way to people; the system's log alone is read
 * by nobody then. */
static bool send_to_all(struct notices *notices, const struct notice *notice, struct strlist *broken)
{
    bool arrived = false, people = any_way_to_people(notices);
    for (size_t i = 0; i < ways_count(notices->ways); i++) {
        struct err err = ERR_INIT;
        AUTO_FREE char *subject = way_subject(notices, i);
        if (strlist_has(broken, subject))
            continue;
        if (ways_reaches_people(notices->ways, i))
            output_step("Telling about it: %s", ways_name(notices->ways, i));
        if (ways_send(notices->ways, i, notice, &err)) {
            arrived |= !people || ways_reaches_people(notices->ways, i);
            notices_machine(notices, subject, NULL);
            log_info("told: %s", ways_name(notices->ways, i));
            output_done(NULL);
            continue;
        }
        output_failed();
        /* without any daemon, as in a container, the default way is simply not there */
        if (ways_reaches_people(notices->ways, i) || !people)
            warn(subject, &err);
        strlist_add(broken, subject);
        notices_machine(notices, subject, &err);
    }
    return arrived;
}

/* That a way failed is told by those that work, once. That it works again shows by itself. */
static void tell_of_broken_ways(struct notices *notices, struct strlist *broken)
{
    struct notice notice;
    notice_init(&notice);
    for (size_t i = 0; i < notices->n_machine; i++) {
        const struct noted_machine *machine = &notices->machine[i];
        bool told = strlist_has(&notices->told.told, machine->subject);
        if (strlist_has(broken, machine->subject) && !told && strstr(machine->subject, " by syslog") == NULL)
            notice_add_machine(&notice, machine->subject, &machine->why);
        else if (!err_isset(&machine->why) && told && strncmp(machine->subject, "notification by ", 16) == 0)
            note_told_machine(notices, machine->subject, false);
    }
    if (notice.n_machine > 0 && send_to_all(notices, &notice, broken))
        note_told(notices, &notice);
    notice_clear(&notice);
}

/* The instant of the heartbeat that was sent, 0 = none. */
static int64_t beat(struct notices *notices, bool good)
{
    static const char subject[] = "the heartbeat";
    struct err err = ERR_INIT;
    int64_t now_s = clock_now_s(), since_s = now_s - notices->told.heartbeat_s;
    if (!good || !ways_has_heartbeat(notices->ways) || (since_s >= 0 && since_s < HEARTBEAT_PAUSE_S))
        return 0;
    output_step("Sending the heartbeat");
    bool ok = ways_heartbeat(notices->ways, &err);
    if (ok) {
        output_done(NULL);
    } else {
        output_failed();
        warn(subject, &err);
    }
    notices_machine(notices, subject, ok ? NULL : &err);
    return ok ? now_s : 0;
}

void notices_send(struct notices *notices, bool good)
{
    AUTO_STRLIST broken = STRLIST_INIT;
    struct notice notice;
    struct err err = ERR_INIT;
    if (!store_run_state_load(notices->run->store, &notices->told, &err))
        log_warn("what was told before cannot be read: %s", err.text);
    int64_t heartbeat_s = beat(notices, good);
    notice_init(&notice);
    for (size_t i = 0; i < notices->n_certs; i++)
        consider(notices, &notices->certs[i], &notice);
    consider_machine(notices, &notice);
    if (notice.n_certs + notice.n_machine > 0 && ways_count(notices->ways) > 0) {
        if (send_to_all(notices, &notice, &broken))
            note_told(notices, &notice);
        tell_of_broken_ways(notices, &broken);
    }
    save_told(notices, heartbeat_s);
    notice_clear(&notice);
}
