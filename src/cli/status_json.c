#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "status.h"

#include <jansson.h>
#include <stdio.h>

#include "tlsup/clock.h"

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

static void json_add_certificate(json_t *to, const struct entry *entry)
{
    const struct cert_info *info = &entry->info;
    int64_t left_s = info->not_after_s - clock_now_s();
    json_object_set_new(to, "issuer", json_text(info->issuer));
    json_object_set_new(to, "serial", json_text(info->serial));
    json_object_set_new(to, "sha256", json_text(info->sha256));
    json_object_set_new(to, "not_before", json_time(info->not_before_s));
    json_object_set_new(to, "not_after", json_time(info->not_after_s));
    json_object_set_new(to, "expires_in_s", json_integer(left_s));
    json_object_set_new(to, "life_used_percent", json_integer(life_percent(entry)));
    json_object_set_new(to, "renewal_due", json_time(entry->due_s));
    json_object_set_new(to, "renewal_due_by", json_string(entry->due_by_ca ? "ca" : "life"));
    json_object_set_new(to, "path", json_text(entry->live_path));
}

static json_t *json_entry(const struct entry *entry)
{
    AUTO_BUF key = BUF_INIT, ca = BUF_INIT;
    json_t *out = json_object();
    say_key(entry, &key);
    say_ca(entry, &ca);
    json_object_set_new(out, "name", json_text(entry->name));
    json_object_set_new(out, "state", json_string(health_word(entry->health)));
    json_object_set_new(out, "names", json_names(names_of(entry)));
    json_object_set_new(out, "key_type", key.len > 0 ? json_text(buf_str(&key)) : json_null());
    json_object_set_new(out, "ca", json_text(buf_str(&ca)));
    json_object_set_new(out, "ca_url", json_text(ca_url_of(entry)));
    json_object_set_new(out, "version", json_integer(entry->version));
    if (entry->has_info)
        json_add_certificate(out, entry);
    json_object_set_new(out, "web_server",
                        is_installed_by_us(entry) ? json_string(web_kind_name(entry->config.install))
                                                  : json_null());
    json_object_set_new(out, "places",
                        is_installed_by_us(entry) ? json_names(&entry->state.places) : json_array());
    json_object_set_new(out, "missing_names", json_names(&entry->state.missing));
    json_object_set_new(out, "revoked", json_boolean(entry->state.revoked));
    json_object_set_new(out, "account_url", json_text(entry->state.issued_account));
    json_object_set_new(out, "ca_explanation_url",
                        entry->state.ari.explanation_url[0] != '\0'
                            ? json_text(entry->state.ari.explanation_url)
                            : json_null());
    json_object_set_new(out, "dns_persist_until", json_time(entry->state.persist_until_s));
    json_object_set_new(out, "deployed", json_string(deploy_step_name(step_of(entry))));
    json_object_set_new(out, "verified_at", json_time(entry->state.verified_s));
    json_object_set_new(out, "problem", json_err(&entry->problem));
    json_object_set_new(out, "last_failure", json_failure(&entry->state));
    return out;
}

static json_t *json_timer(const struct timer *timer)
{
    static const char *const kinds[] = {
        [TIMER_NONE] = "none", [TIMER_SYSTEMD] = "systemd", [TIMER_CRON] = "cron"};
    return json_pack("{s:s, s:b, s:o}", "by", kinds[timer->kind], "active", timer->active, "where",
                     timer->where[0] != '\0' ? json_text(timer->where) : json_null());
}

void status_print_json(const struct entries *entries, const struct timer *timer)
{
    json_t *all = json_object(), *certificates = json_array();
    json_object_set_new(all, "version", json_integer(JSON_VERSION));
    json_object_set_new(all, "certificates", certificates);
    for (size_t i = 0; i < entries->n; i++)
        json_array_append_new(certificates, json_entry(&entries->v[i]));
    json_object_set_new(all, "renewals", json_timer(timer));
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}
