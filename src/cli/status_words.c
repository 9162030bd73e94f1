#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "status.h"

#include <stdlib.h>
#include <string.h>

#include "tlsup/clock.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

enum {
    LAPSE_WARNING_S = 30 * 86400, /* before a dns-persist-01 record ends */
    SHORT_LIFE_S = 10 * 86400,    /* below it half of the life is kept in reserve, else a third (policy.h) */
    URGENT_PERCENT = 90,          /* of the life used */
};

static const struct {
    const char *word;
    bool is_trouble;
    enum output_style style;
    const char *utf8, *ascii; /* marks */
} healths[HEALTHS] = {
    [HEALTH_VALID] = {"valid", false, STYLE_GOOD, "✓", "+"},
    [HEALTH_PENDING] = {"pending", false, STYLE_DIM, "·", "-"},
    [HEALTH_INCOMPLETE] = {"incomplete", true, STYLE_CAUTION, "!", "!"},
    [HEALTH_UNKNOWN] = {"unknown", true, STYLE_CAUTION, "?", "?"},
    [HEALTH_UNFINISHED] = {"unfinished", true, STYLE_CAUTION, "!", "!"},
    [HEALTH_OVERDUE] = {"overdue", true, STYLE_CAUTION, "!", "!"},
    [HEALTH_FAILING] = {"failing", true, STYLE_CAUTION, "!", "!"},
    [HEALTH_BROKEN] = {"broken", true, STYLE_BAD, "✗", "x"},
    [HEALTH_REVOKED] = {"revoked", true, STYLE_BAD, "✗", "x"},
    [HEALTH_EXPIRED] = {"expired", true, STYLE_BAD, "✗", "x"},
};

const char *health_word(enum health health)
{
    return healths[health].word;
}

bool health_is_trouble(enum health health)
{
    return healths[health].is_trouble;
}

enum output_style health_style(enum health health)
{
    return healths[health].style;
}

const char *health_mark(enum health health)
{
    return output_utf8() ? healths[health].utf8 : healths[health].ascii;
}

/* -- dates, names, life ------------------------------------------------------------------------------ */

void say_distance(struct buf *out, int64_t when_s)
{
    char span[CLOCK_TEXT_BYTES];
    int64_t left_s = when_s - clock_now_s();
    clock_format_span(left_s, span);
    if (strcmp(span, "now") == 0)
        buf_adds(out, "just now");
    else
        buf_addf(out, left_s >= 0 ? "in %s" : "%s ago", span);
}

void say_date(struct buf *out, int64_t when_s, bool with_time)
{
    char text[CLOCK_TEXT_BYTES];
    clock_format_utc(when_s, text);
    if (strlen(text) < strlen("2026-11-22T14:05"))
        buf_adds(out, text);
    else if (with_time)
        buf_addf(out, "%.10s %.5s UTC", text, text + 11);
    else
        buf_addf(out, "%.10s", text);
}

void say_key(const struct entry *entry, struct buf *out)
{
    if (entry->has_info)
        buf_adds(out, entry->info.key_type);
    else if (entry->has_config)
        buf_adds(out, key_type_name(entry->config.key_type));
    if (entry->has_second)
        buf_addf(out, " + %s", entry->second.key_type);
    else if (entry->has_config && entry->config.dual)
        buf_addf(out, " + %s", key_type_name(entry->config.second_key_type));
}

void say_ca(const struct entry *entry, struct buf *out)
{
    char name[256];
    buf_adds(out, config_ca_name(ca_url_of(entry), name));
}

void say_names(const struct entry *entry, struct buf *out)
{
    char shown[2 * NAME_MAX_BYTES + 4];
    const struct strlist *names = names_of(entry);
    for (size_t i = 0; i < names->n; i++)
        buf_addf(out, "%s%s", i > 0 ? ", " : "",
                 output_utf8() ? name_display(names->v[i], shown) : names->v[i]);
}

void say_life_bar(const struct entry *entry, unsigned cells, struct buf *out)
{
    if (!entry->has_info)
        return;
    unsigned left = ((unsigned)(100 - life_percent(entry)) * cells + 50) / 100;
    const char *full = output_utf8() ? "█" : "#", *empty = output_utf8() ? "░" : "-";
    for (unsigned i = 0; i < cells; i++)
        buf_adds(out, i < left ? full : empty);
}

enum output_style life_style(const struct entry *entry)
{
    if (!entry->has_info)
        return STYLE_PLAIN;
    if (entry->state.revoked || life_percent(entry) >= URGENT_PERCENT)
        return STYLE_BAD;
    return clock_now_s() >= entry->due_s ? STYLE_CAUTION : STYLE_GOOD;
}

/* -- what comes next --------------------------------------------------------------------------------- */

static bool is_stuck(const struct entry *entry)
{
    return !entry->has_info || entry->state.revoked ||
           (is_installed_by_us(entry) && step_of(entry) != DEPLOY_VERIFIED);
}

void next_of(const struct entry *entry, struct next_renewal *out)
{
    int64_t now_s = clock_now_s(), try_s = entry->state.next_try_s;
    bool waits = has_failed(entry) && try_s > now_s;
    *out = (struct next_renewal){NEXT_UNKNOWN, 0};
    if (!entry->has_config || (!entry->has_info && entry->version > 0))
        return;
    if (!is_stuck(entry) && entry->due_s > now_s && (!waits || entry->due_s > try_s))
        *out = (struct next_renewal){entry->due_by_ca ? NEXT_BY_CA : NEXT_BY_LIFE, entry->due_s};
    else if (waits)
        *out = (struct next_renewal){NEXT_WAITING, try_s};
    else if (has_failed(entry))
        out->why = NEXT_AGAIN;
    else
        out->why =
            entry->health == HEALTH_OVERDUE || entry->health == HEALTH_EXPIRED ? NEXT_OVERDUE : NEXT_DUE;
}

const char *next_why_word(enum next_why why)
{
    static const char *const words[] = {
        [NEXT_UNKNOWN] = "unknown", [NEXT_BY_CA] = "ca",       [NEXT_BY_LIFE] = "life", [NEXT_DUE] = "due",
        [NEXT_OVERDUE] = "overdue", [NEXT_WAITING] = "failed", [NEXT_AGAIN] = "failed",
    };
    return words[why];
}

void say_renewal(const struct entry *entry, struct buf *out)
{
    struct next_renewal next;
    next_of(entry, &next);
    if (next.why == NEXT_UNKNOWN)
        return;
    if (next.at_s > 0)
        say_distance(out, next.at_s);
    else
        buf_adds(out, next.why == NEXT_OVERDUE ? "overdue" : next.why == NEXT_AGAIN ? "next run" : "due");
}

static void say_times(struct buf *out, int failures)
{
    buf_adds(out, failures == 1 ? "failed once" : "failed ");
    if (failures > 1)
        buf_addf(out, "%d times", failures);
}

void say_renewal_why(const struct entry *entry, struct buf *out)
{
    struct next_renewal next;
    int64_t life_s = entry->info.not_after_s - entry->info.not_before_s;
    next_of(entry, &next);
    int failures = entry->state.failures > 0 ? entry->state.failures : 1;
    switch (next.why) {
    case NEXT_BY_CA:
        say_distance(out, next.at_s);
        buf_adds(out, ", as the CA wants it");
        break;
    case NEXT_BY_LIFE:
        say_distance(out, next.at_s);
        buf_adds(out, life_s < SHORT_LIFE_S ? ", with half left" : ", with a third left");
        break;
    case NEXT_WAITING:
        say_distance(out, next.at_s);
        buf_adds(out, ", ");
        say_times(out, failures);
        break;
    case NEXT_AGAIN:
        buf_adds(out, "by the next run, ");
        say_times(out, failures);
        break;
    case NEXT_OVERDUE:
        buf_adds(out, "now: overdue since ");
        say_date(out, entry->due_s, false);
        break;
    case NEXT_DUE:
        buf_adds(out, "now, by the next run");
        break;
    default:
        break;
    }
}

/* -- where it is served ------------------------------------------------------------------------------ */

/* The file of the first site that it is in, and how many more there are: "(shop.conf:22 +1)". */
static void say_place(const struct entry *entry, struct buf *out)
{
    const struct strlist *places = &entry->state.places;
    if (!is_installed_by_us(entry) || places->n == 0)
        return;
    AUTO_FREE char *place = mem_dup(places->v[0]);
    printable(place);
    const char *slash = strrchr(place, '/');
    buf_addf(out, " (%s", slash != NULL ? slash + 1 : place);
    if (places->n > 1)
        buf_addf(out, " +%zu", places->n - 1);
    buf_addc(out, ')');
}

/* "2 of 3 deployments done": hooks, exports and looks together. */
static void say_deployments(const struct entry *entry, struct buf *out)
{
    size_t done = 0, n = entry->state.n_deployments;
    for (size_t i = 0; i < n; i++)
        done += deployment_is_done(&entry->state.deployments[i]) ? 1 : 0;
    if (done == n)
        buf_addf(out, "%zu deployed", n);
    else
        buf_addf(out, "%zu of %zu deployed", done, n);
}

static bool all_deployed(const struct entry *entry)
{
    for (size_t i = 0; i < entry->state.n_deployments; i++)
        if (!deployment_is_done(&entry->state.deployments[i]))
            return false;
    return true;
}

/* Of what was looked at besides the web server: the first, and how many more there are. */
static const struct deployment *first_look(const struct entry *entry, size_t *n)
{
    const struct deployment *first = NULL;
    *n = 0;
    for (size_t i = 0; i < entry->state.n_deployments; i++) {
        const struct deployment *deployment = &entry->state.deployments[i];
        if (deployment->kind == DEPLOYMENT_VERIFY && deployment->what != NULL && (*n)++ == 0)
            first = deployment;
    }
    return first;
}

/* "mail.example.org:25 +1, verified 3 days ago" */
static void say_look(const struct entry *entry, bool when, struct buf *out)
{
    size_t n;
    const struct deployment *look = first_look(entry, &n);
    AUTO_FREE char *place = mem_ndup(look->what, strcspn(look->what, "/"));
    printable(place);
    buf_adds(out, place);
    if (n > 1)
        buf_addf(out, " +%zu", n - 1);
    buf_adds(out, deployment_is_done(look) ? ", verified" : ", not verified");
    if (when && deployment_is_done(look) && look->done_s > 0) {
        buf_addc(out, ' ');
        say_distance(out, look->done_s);
    }
}

static void say_where(const struct entry *entry, bool when, struct buf *out)
{
    static const char *const steps[] = {
        [DEPLOY_NONE] = "not known",         [DEPLOY_ISSUED] = "not installed",
        [DEPLOY_INSTALLED] = "not reloaded", [DEPLOY_RELOADED] = "not verified",
        [DEPLOY_VERIFIED] = "verified",
    };
    size_t looks;
    bool deploys = entry->state.n_deployments > 0;
    if (!entry->has_config || !entry->has_info)
        return;
    if (is_installed_by_us(entry)) {
        buf_addf(out, "%s, %s", web_kind_name(entry->config.install), steps[step_of(entry)]);
        if (when && step_of(entry) == DEPLOY_VERIFIED && entry->state.verified_s > 0) {
            buf_addc(out, ' ');
            say_distance(out, entry->state.verified_s);
        }
    } else if (first_look(entry, &looks) != NULL) {
        say_look(entry, when, out);
    } else if (!deploys) {
        buf_adds(out, "stored only");
    }
    if (when)
        say_place(entry, out);
    /* in short, only what is still to be done is told besides */
    if (deploys && (when || out->len == 0 || !all_deployed(entry))) {
        buf_adds(out, out->len > 0 ? "; " : "");
        say_deployments(entry, out);
    }
}

void say_step(const struct entry *entry, struct buf *out)
{
    say_where(entry, false, out);
}

void say_served(const struct entry *entry, struct buf *out)
{
    say_where(entry, true, out);
}

static void say_next_try(struct buf *out, int64_t next_try_s)
{
    if (next_try_s > clock_now_s()) {
        buf_adds(out, "next try ");
        say_distance(out, next_try_s);
    } else {
        buf_adds(out, "tried again by the next run");
    }
}

static void say_what(const struct deployment *deployment, struct buf *out)
{
    AUTO_FREE char *what = mem_dup(deployment->what != NULL ? deployment->what : "");
    printable(what);
    buf_adds(out, what);
}

void say_deployment(const struct deployment *deployment, struct buf *out)
{
    say_what(deployment, out);
    buf_adds(out, ": ");
    if (deployment_is_done(deployment)) {
        buf_adds(out, "done ");
        say_distance(out, deployment->done_s);
        buf_addf(out, ", for version %d", deployment->version);
        return;
    }
    if (deployment->failures > 0) {
        buf_addf(out, "failed for version %d, ", deployment->wanted);
        say_next_try(out, deployment->next_try_s);
    } else {
        buf_addf(out, "still to be done for version %d", deployment->wanted);
    }
    if (deployment->version > 0)
        buf_addf(out, "; last done for version %d", deployment->version);
}

/* -- troubles ---------------------------------------------------------------------------------------- */

static void add_trouble(struct troubles *troubles, struct buf *what, struct buf *todo)
{
    troubles->v = mem_resize(troubles->v, troubles->n + 1, sizeof *troubles->v);
    troubles->v[troubles->n++] =
        (struct trouble){buf_take(what), todo->len > 0 ? buf_take(todo) : mem_dup("")};
}

void troubles_clear(struct troubles *troubles)
{
    for (size_t i = 0; i < troubles->n; i++) {
        free(troubles->v[i].what);
        free(troubles->v[i].todo);
    }
    free(troubles->v);
    *troubles = (struct troubles){0};
}

/* Its subject, where the text does not name it, and the text. */
static void say_err(const struct err *err, const char *told, struct buf *out)
{
    if (err->subject[0] != '\0' && strstr(err->text, err->subject) == NULL && strcmp(err->subject, told) != 0)
        buf_addf(out, ": %s", err->subject);
    if (err->text[0] != '\0')
        buf_addf(out, ": %s", err->text);
}

static void say_failed(struct buf *out, int64_t failed_s, int failures)
{
    if (failed_s > 0) {
        buf_adds(out, ", ");
        say_distance(out, failed_s);
        buf_adds(out, ",");
    }
    buf_adds(out, " failed");
    if (failures > 1)
        buf_addf(out, " (%d in a row)", failures);
}

static void unreadable(const struct entry *entry, struct buf *what, struct buf *todo)
{
    const struct err *problem = &entry->problem;
    if (!err_isset(problem))
        return;
    if (problem->subject[0] != '\0' && strstr(problem->text, problem->subject) == NULL)
        buf_addf(what, "%s: ", problem->subject);
    buf_adds(what, problem->text);
    if (problem->code == ERR_PERMISSION)
        buf_addf(todo, "look as root: sudo tlsup status %s", entry->name);
    else if (entry->has_config && problem->code != ERR_CONFIG)
        buf_addf(todo, "get another: sudo tlsup renew %s --force-renewal", entry->name);
    else
        buf_adds(todo, problem->advice);
}

static void renewal_failed(const struct entry *entry, struct buf *what, struct buf *todo)
{
    const struct err *err = &entry->state.last_error;
    if (!has_failed(entry) || strcmp(err->text, entry->problem.text) == 0) /* told by unreadable() */
        return;
    buf_adds(what, "the last attempt");
    say_failed(what, entry->state.failed_s, entry->state.failures);
    say_err(err, entry->name, what);
    if (err->advice[0] != '\0')
        buf_adds(todo, err->advice);
    else
        buf_addf(todo, "try it now: sudo tlsup renew %s", entry->name);
}

static void revoked(const struct entry *entry, struct buf *what, struct buf *todo)
{
    if (!entry->state.revoked)
        return;
    buf_adds(what, "it was revoked, and is to be replaced");
    if (!has_failed(entry))
        buf_addf(todo, "replace it now: sudo tlsup renew %s", entry->name);
}

static void expired(const struct entry *entry, struct buf *what, struct buf *todo)
{
    if (entry->health != HEALTH_EXPIRED || has_failed(entry))
        return;
    buf_adds(what, "it expired ");
    say_distance(what, entry->info.not_after_s);
    buf_adds(what, ", and nothing has renewed it");
    buf_addf(todo, "renew it now: sudo tlsup renew %s", entry->name);
}

static void overdue(const struct entry *entry, struct buf *what, struct buf *todo)
{
    if (entry->health != HEALTH_OVERDUE)
        return;
    buf_adds(what, "it should have been renewed ");
    say_distance(what, entry->due_s);
    buf_adds(what, ", and nothing has tried");
    buf_addf(todo, "renew it now: sudo tlsup renew %s", entry->name);
}

static void unfinished(const struct entry *entry, struct buf *what, struct buf *todo)
{
    static const char *const left[] = {
        [DEPLOY_NONE] = "it is not known whether the web server has it",
        [DEPLOY_ISSUED] = "it is stored, but not in the web server's configuration",
        [DEPLOY_INSTALLED] = "it is in the web server's configuration, but the server was not reloaded",
        [DEPLOY_RELOADED] = "the web server was reloaded, but was not seen to serve it",
    };
    enum deploy_step step = step_of(entry);
    if (!entry->has_info || !is_installed_by_us(entry) || step == DEPLOY_VERIFIED ||
        entry->health > HEALTH_FAILING)
        return;
    buf_adds(what, left[step]);
    if (!has_failed(entry))
        buf_addf(todo, "finish it: sudo tlsup install %s", entry->name);
}

static void pending(const struct entry *entry, struct buf *what, struct buf *todo)
{
    if (entry->health != HEALTH_PENDING)
        return;
    buf_adds(what, "configured, not issued yet");
    buf_addf(todo, "get it now: sudo tlsup renew %s", entry->name);
}

static void names_missing(const struct entry *entry, struct buf *what, struct buf *todo)
{
    (void)todo; /* it is tried again by itself */
    if (entry->state.missing.n == 0)
        return;
    AUTO_FREE char *missing = strlist_join(&entry->state.missing, " ");
    buf_addf(what, "without %s, ", missing);
    if (entry->state.missing_try_s > clock_now_s()) {
        buf_adds(what, "tried again ");
        say_distance(what, entry->state.missing_try_s);
    } else {
        buf_adds(what, "tried again by the next run");
    }
}

static void record_lapses(const struct entry *entry, struct buf *what, struct buf *todo)
{
    int64_t until_s = entry->state.persist_until_s;
    if (until_s == 0 || until_s - clock_now_s() >= LAPSE_WARNING_S)
        return;
    buf_adds(what, until_s > clock_now_s() ? "its dns-persist-01 record ends "
                                           : "its dns-persist-01 record ended ");
    say_distance(what, until_s);
    buf_adds(todo, "publish it anew with a later persistUntil, or without one");
}

static void add_deployment_troubles(const struct entry *entry, struct troubles *troubles)
{
    for (size_t i = 0; i < entry->state.n_deployments; i++) {
        const struct deployment *deployment = &entry->state.deployments[i];
        AUTO_BUF what = BUF_INIT, todo = BUF_INIT;
        if (deployment_is_done(deployment))
            continue;
        buf_addf(&what, "%s ", deployment_kind_name(deployment->kind));
        say_what(deployment, &what);
        if (deployment->failures == 0) {
            buf_adds(&what, " is still to be done");
        } else {
            say_failed(&what, deployment->failed_s, deployment->failures);
            say_err(&deployment->last_error, deployment->what != NULL ? deployment->what : "", &what);
            buf_adds(&what, "; ");
            say_next_try(&what, deployment->next_try_s);
        }
        if (deployment->last_error.advice[0] != '\0')
            buf_adds(&todo, deployment->last_error.advice);
        else
            buf_addf(&todo, "try it now: sudo tlsup renew %s", entry->name);
        add_trouble(troubles, &what, &todo);
    }
}

void troubles_of(const struct entry *entry, struct troubles *out)
{
    static void (*const kinds[])(const struct entry *, struct buf *,
                                 struct buf *) = {unreadable, expired, revoked,       renewal_failed, overdue,
                                                  unfinished, pending, names_missing, record_lapses};
    *out = (struct troubles){0};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        AUTO_BUF what = BUF_INIT, todo = BUF_INIT;
        kinds[i](entry, &what, &todo);
        if (what.len > 0)
            add_trouble(out, &what, &todo);
    }
    add_deployment_troubles(entry, out);
}

/* -- the sum ----------------------------------------------------------------------------------------- */

void status_sum(const struct entries *entries, struct buf *out)
{
    size_t counts[HEALTHS] = {0}, bad = 0, kinds = 0, n = entries->n;
    for (size_t i = 0; i < n; i++) {
        counts[entries->v[i].health]++;
        bad += health_is_trouble(entries->v[i].health) ? 1 : 0;
    }
    buf_addf(out, "%zu certificate%s", n, n == 1 ? "" : "s");
    if (bad == 0 && counts[HEALTH_PENDING] == 0) {
        buf_adds(out, n == 1 ? ", and it is well" : ", all well");
        return;
    }
    buf_adds(out, ": ");
    if (bad > 0)
        buf_addf(out, "%zu need%s attention (", bad, bad == 1 ? "s" : "");
    for (int h = HEALTHS - 1; h > 0; h--)
        if (counts[h] > 0 && health_is_trouble((enum health)h))
            buf_addf(out, "%s%zu %s", kinds++ > 0 ? ", " : "", counts[h], healths[h].word);
    if (bad > 0)
        buf_addc(out, ')');
    if (counts[HEALTH_PENDING] > 0)
        buf_addf(out, "%s%zu not issued yet", bad > 0 ? ", " : "", counts[HEALTH_PENDING]);
}
