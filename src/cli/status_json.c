#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "notices.h"
#include "status.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "tlsup/clock.h"
#include "tlsup/mem.h"

enum { JSON_VERSION = 1 };

/* -- JSON -------------------------------------------------------------------------------------------- */

static json_t *json_time(int64_t when_s)
{
    char text[CLOCK_TEXT_BYTES];
    return when_s > 0 ? json_string(clock_format_utc(when_s, text)) : json_null();
}

/* Text of others may be no UTF-8. */
static json_t *json_text(const char *text)
{
    json_t *value = json_string(text);
    return value != NULL ? value : json_string("?");
}

static json_t *json_names(const struct strlist *names)
{
    json_t *array = json_array();
    for (size_t i = 0; i < names->n; i++)
        json_array_append_new(array, json_text(names->v[i]));
    return array;
}

static json_t *json_err(const struct err *err)
{
    if (!err_isset(err))
        return json_null();
    return json_pack("{s:s, s:o, s:o, s:o, s:o}", "code", err_code_name(err->code), "type",
                     json_text(err->type), "subject", json_text(err->subject), "text", json_text(err->text),
                     "advice", json_text(err->advice));
}

static json_t *json_failure(const struct cert_state *state)
{
    if (state->failures == 0 && state->last_error.code == ERR_NONE)
        return json_null();
    return json_pack("{s:i, s:o, s:o, s:o}", "count", state->failures, "at", json_time(state->failed_s),
                     "next_try", json_time(state->next_try_s), "error", json_err(&state->last_error));
}

static json_t *text_or_null(const char *text)
{
    return text != NULL && text[0] != '\0' ? json_text(text) : json_null();
}

/* -- a certificate ----------------------------------------------------------------------------------- */

static void add_certificate(json_t *to, const struct entry *entry)
{
    const struct cert_info *info = &entry->info;
    int64_t left_s = info->not_after_s - clock_now_s();
    json_object_set_new(to, "issuer", json_text(info->issuer));
    json_object_set_new(to, "serial", json_text(info->serial));
    json_object_set_new(to, "sha256", json_text(info->sha256));
    json_object_set_new(to, "spki_sha256", json_text(info->spki));
    json_object_set_new(to, "not_before", json_time(info->not_before_s));
    json_object_set_new(to, "not_after", json_time(info->not_after_s));
    json_object_set_new(to, "expires_in_s", json_integer(left_s));
    json_object_set_new(to, "life_used_percent", json_integer(life_percent(entry)));
    json_object_set_new(to, "renewal_due", json_time(entry->due_s));
    json_object_set_new(to, "renewal_due_by", json_string(entry->due_by_ca ? "ca" : "life"));
    json_object_set_new(to, "path", json_text(entry->live_path));
}

/* The one of the other algorithm, of a dual certificate. */
static json_t *json_second(const struct entry *entry)
{
    const struct cert_info *info = &entry->second;
    if (!entry->has_second)
        return json_null();
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "key_type", json_text(info->key_type), "serial",
                     json_text(info->serial), "sha256", json_text(info->sha256), "spki_sha256",
                     json_text(info->spki), "not_before", json_time(info->not_before_s), "not_after",
                     json_time(info->not_after_s));
}

static json_t *json_next(const struct entry *entry)
{
    struct next_renewal next;
    next_of(entry, &next);
    return json_pack("{s:o, s:s}", "at", json_time(next.at_s), "why", next_why_word(next.why));
}

static json_t *json_window(const struct entry *entry)
{
    const struct ari_state *ari = &entry->state.ari;
    if (!entry->due_by_ca)
        return json_null();
    return json_pack("{s:o, s:o, s:o, s:o}", "start", json_time(ari->start_s), "end", json_time(ari->end_s),
                     "chosen", json_time(ari->chosen_s), "next_check", json_time(ari->next_check_s));
}

static json_t *json_orders(const struct cert_state *state)
{
    json_t *array = json_array();
    for (size_t i = 0; i < COUNT_OF(state->orders); i++) {
        const struct order_state *order = &state->orders[i];
        if (order->url[0] != '\0')
            json_array_append_new(array,
                                  json_pack("{s:o, s:o, s:o, s:o}", "url", json_text(order->url), "ca_url",
                                            json_text(order->ca), "names", json_names(&order->names),
                                            "created", json_time(order->created_s)));
    }
    return array;
}

static json_t *json_deployments(const struct cert_state *state)
{
    json_t *array = json_array();
    for (size_t i = 0; i < state->n_deployments; i++) {
        const struct deployment *deployment = &state->deployments[i];
        const char *how = deployment_is_done(deployment)      ? "done"
                          : deployment_is_failing(deployment) ? "failing"
                                                              : "pending";
        json_array_append_new(
            array, json_pack("{s:s, s:o, s:s, s:b, s:i, s:i, s:o, s:i, s:o, s:o, s:o}", "kind",
                             deployment_kind_name(deployment->kind), "what", text_or_null(deployment->what),
                             "state", how, "done", deployment_is_done(deployment), "wanted_version",
                             deployment->wanted, "done_version", deployment->version, "done_at",
                             json_time(deployment->done_s), "failures", deployment->failures, "failed_at",
                             json_time(deployment->failed_s), "next_try", json_time(deployment->next_try_s),
                             "error", json_err(&deployment->last_error)));
    }
    return array;
}

/* -- with details ------------------------------------------------------------------------------------ */

static json_t *json_versions(const struct entry *entry)
{
    json_t *array = json_array();
    for (size_t i = 0; i < entry->n_versions; i++) {
        const struct entry_version *version = &entry->versions[i];
        const struct cert_info *info = &version->info;
        json_array_append_new(
            array, json_pack("{s:i, s:b, s:o, s:o, s:o, s:o}", "number", version->number, "live",
                             version->number == entry->version, "not_before", json_time(info->not_before_s),
                             "not_after", json_time(info->not_after_s), "serial", text_or_null(info->serial),
                             "sha256", text_or_null(info->sha256)));
    }
    return array;
}

/* "key = value" lines as an object; a key that may be given several times has several. */
static json_t *json_settings(const struct entry *entry)
{
    json_t *object = json_object();
    for (size_t i = 0; i < entry->settings.n; i++) {
        const char *line = entry->settings.v[i], *equals = strstr(line, " = ");
        if (equals == NULL)
            continue;
        AUTO_FREE char *key = mem_ndup(line, (size_t)(equals - line));
        json_t *values = json_object_get(object, key);
        if (values == NULL) {
            values = json_array();
            json_object_set_new(object, key, values);
        }
        json_array_append_new(values, json_text(equals + 3));
    }
    return object;
}

static void add_details(json_t *to, const struct entry *entry)
{
    json_object_set_new(to, "chain", json_names(&entry->issuers));
    json_object_set_new(to, "versions", json_versions(entry));
    json_object_set_new(to, "settings", json_settings(entry));
    json_object_set_new(to, "config_path", json_text(entry->config_path));
    json_object_set_new(to, "state_path", json_text(entry->state_path));
}

/* -- all of one -------------------------------------------------------------------------------------- */

/* What is configured. */
static void add_configured(json_t *to, const struct entry *entry)
{
    AUTO_BUF key = BUF_INIT, ca = BUF_INIT;
    say_key(entry, &key);
    say_ca(entry, &ca);
    json_object_set_new(to, "name", json_text(entry->name));
    json_object_set_new(to, "state", json_string(health_word(entry->health)));
    json_object_set_new(to, "alarm",
                        json_string(alarm_name(notices_alarm(&entry->state, &entry->info, clock_now_s()))));
    json_object_set_new(to, "names", json_names(names_of(entry)));
    json_object_set_new(to, "key_type", key.len > 0 ? json_text(buf_str(&key)) : json_null());
    json_object_set_new(to, "ca", json_text(buf_str(&ca)));
    json_object_set_new(to, "ca_url", json_text(ca_url_of(entry)));
    json_object_set_new(to, "profile", text_or_null(entry->has_config ? entry->config.profile : NULL));
    json_object_set_new(to, "version", json_integer(entry->version));
}

static json_t *json_entry(const struct entry *entry)
{
    const struct cert_state *state = &entry->state;
    bool installed = is_installed_by_us(entry);
    json_t *out = json_object();
    add_configured(out, entry);
    if (entry->has_info)
        add_certificate(out, entry);
    json_object_set_new(out, "second", json_second(entry));
    json_object_set_new(out, "next", json_next(entry));
    json_object_set_new(out, "ca_window", json_window(entry));
    json_object_set_new(out, "web_server",
                        installed ? json_string(web_kind_name(entry->config.install)) : json_null());
    json_object_set_new(out, "places", installed ? json_names(&state->places) : json_array());
    json_object_set_new(out, "deployments", json_deployments(state));
    json_object_set_new(out, "orders", json_orders(state));
    json_object_set_new(out, "missing_names", json_names(&state->missing));
    json_object_set_new(out, "revoked", json_boolean(state->revoked));
    json_object_set_new(out, "account_url", json_text(state->issued_account));
    json_object_set_new(out, "ca_explanation_url", text_or_null(state->ari.explanation_url));
    json_object_set_new(out, "dns_persist_until", json_time(state->persist_until_s));
    json_object_set_new(out, "deployed", json_string(deploy_step_name(step_of(entry))));
    json_object_set_new(out, "issued_at", json_time(state->issued_s));
    json_object_set_new(out, "verified_at", json_time(state->verified_s));
    json_object_set_new(out, "problem", json_err(&entry->problem));
    json_object_set_new(out, "last_failure", json_failure(state));
    if (entry->has_details)
        add_details(out, entry);
    return out;
}

/* -- renewals in general ----------------------------------------------------------------------------- */

static json_t *json_timer(const struct timer *timer)
{
    static const char *const kinds[] = {
        [TIMER_NONE] = "none", [TIMER_SYSTEMD] = "systemd", [TIMER_CRON] = "cron"};
    return json_pack("{s:s, s:b, s:o, s:o}", "by", kinds[timer->kind], "active", timer->active, "where",
                     text_or_null(timer->where), "next", text_or_null(timer->next));
}

static json_t *json_run(const struct run_state *run)
{
    if (run == NULL)
        return json_null();
    return json_pack("{s:o, s:o, s:o}", "began", json_time(run->began_s), "ended", json_time(run->ended_s),
                     "good", json_time(run->good_s));
}

/* Hooks before and after a run that failed. */
static json_t *json_hooks(const struct run_state *run)
{
    json_t *array = json_array();
    for (size_t i = 0; run != NULL && i < run->n_debts; i++) {
        const struct hook_debt *debt = &run->debts[i];
        json_array_append_new(array,
                              json_pack("{s:s, s:o, s:i, s:o, s:o, s:o}", "when", debt->post ? "post" : "pre",
                                        "program", text_or_null(debt->program), "failures", debt->failures,
                                        "failed_at", json_time(debt->failed_s), "next_try",
                                        json_time(debt->next_try_s), "error", json_err(&debt->last_error)));
    }
    return array;
}

void status_print_json(const struct entries *entries, const struct timer *timer, const struct run_state *run)
{
    json_t *all = json_object(), *certificates = json_array(), *renewals = json_timer(timer);
    json_object_set_new(all, "version", json_integer(JSON_VERSION));
    json_object_set_new(all, "command", json_string("status"));
    json_object_set_new(all, "certificates", certificates);
    for (size_t i = 0; i < entries->n; i++)
        json_array_append_new(certificates, json_entry(&entries->v[i]));
    json_object_set_new(renewals, "last_run", json_run(run));
    json_object_set_new(renewals, "hooks_failing", json_hooks(run));
    json_object_set_new(all, "renewals", renewals);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}
