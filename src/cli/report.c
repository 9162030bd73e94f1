#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "report.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "tlsup/clock.h"
#include "tlsup/mem.h"

enum { JSON_VERSION = 1 };

static struct {
    enum command command;
    json_t *certificates, *hooks; /* NULL = no document is wanted */
    int counts[REPORT_RESULTS];
} report;

static const char *const result_words[] = {
    [REPORT_CURRENT] = "current", [REPORT_WAITING] = "waiting",   [REPORT_ISSUED] = "issued",
    [REPORT_RENEWED] = "renewed", [REPORT_DEPLOYED] = "deployed", [REPORT_FAILED] = "failed",
    [REPORT_REHEARSED] = "rehearsed",
};

/* Text of others may be no UTF-8. */
static json_t *json_text(const char *text)
{
    json_t *value = json_string(text);
    return value != NULL ? value : json_string("?");
}

static json_t *json_time(int64_t when_s)
{
    char text[CLOCK_TEXT_BYTES];
    return when_s > 0 ? json_string(clock_format_utc(when_s, text)) : json_null();
}

static json_t *json_err(const struct err *err)
{
    if (err == NULL || !err_isset(err))
        return json_null();
    return json_pack("{s:s, s:o, s:o, s:o, s:o}", "code", err_code_name(err->code), "type",
                     json_text(err->type), "subject", json_text(err->subject), "text", json_text(err->text),
                     "advice", json_text(err->advice));
}

static json_t *json_deployments(const struct cert_state *state)
{
    json_t *out = json_array();
    for (size_t i = 0; i < state->n_deployments; i++) {
        const struct deployment *one = &state->deployments[i];
        json_array_append_new(
            out, json_pack("{s:s, s:o, s:b, s:i, s:o, s:o, s:o}", "kind", deployment_kind_name(one->kind),
                           "what", json_text(one->what), "done", one->version == one->wanted, "failures",
                           one->failures, "done_at", json_time(one->done_s), "next_try",
                           json_time(one->next_try_s), "error", json_err(&one->last_error)));
    }
    return out;
}

void report_begin(enum command command)
{
    report.command = command;
    report.certificates = json_array();
    report.hooks = json_array();
    if (report.certificates == NULL || report.hooks == NULL)
        mem_exhausted();
    output_document(true);
}

bool report_wanted(void)
{
    return report.certificates != NULL;
}

/* The entry of a certificate, and which result it has had. */
static json_t *find(const char *cert_name, enum report_result *result)
{
    for (size_t i = json_array_size(report.certificates); i-- > 0;) {
        json_t *entry = json_array_get(report.certificates, i);
        const char *word = json_string_value(json_object_get(entry, "result"));
        if (strcmp(json_string_value(json_object_get(entry, "name")), cert_name) != 0)
            continue;
        for (int k = 0; k < REPORT_RESULTS; k++)
            if (strcmp(word, result_words[k]) == 0)
                *result = (enum report_result)k;
        return entry;
    }
    return NULL;
}

/* What is held now, after whatever was done. */
static void add_live(struct run *run, const char *cert_name, json_t *entry)
{
    struct cert_state state = CERT_STATE_INIT;
    struct cert_info info = CERT_INFO_INIT;
    struct err ignored = ERR_INIT;
    int live = 0;
    if (!store_live_version(run->store, cert_name, &live, &ignored) || live == 0 ||
        !run_version_info(run, cert_name, live, 0, &info))
        live = 0;
    json_object_set_new(entry, "version", live > 0 ? json_integer(live) : json_null());
    json_object_set_new(entry, "not_after", json_time(live > 0 ? info.not_after_s : 0));
    err_clear(&ignored);
    bool known = store_state_load(run->store, cert_name, &state, &ignored);
    json_object_set_new(entry, "next_try", json_time(known ? state.next_try_s : 0));
    json_object_set_new(entry, "deployments", known ? json_deployments(&state) : json_array());
    cert_state_clear(&state);
    cert_info_clear(&info);
}

void report_certificate(struct run *run, const char *cert_name, enum report_result result,
                        const struct err *why)
{
    enum report_result before = REPORT_RESULTS;
    if (!report_wanted())
        return;
    json_t *entry = find(cert_name, &before);
    if (entry == NULL) {
        entry = json_pack("{s:o}", "name", json_text(cert_name));
        json_array_append_new(report.certificates, entry);
    } else {
        report.counts[before]--;
    }
    /* a certificate that was renewed has been renewed, whatever comes after it */
    if (before == REPORT_ISSUED || before == REPORT_RENEWED)
        result = before;
    report.counts[result]++;
    json_object_set_new(entry, "result", json_string(result_words[result]));
    if (why != NULL || json_object_get(entry, "error") == NULL)
        json_object_set_new(entry, "error", json_err(why));
    add_live(run, cert_name, entry);
}

void report_hook(enum hook_when when, const char *program, bool waits, const struct err *why)
{
    if (!report_wanted())
        return;
    bool failed = why != NULL && err_isset(why);
    json_array_append_new(report.hooks, json_pack("{s:s, s:o, s:s, s:o}", "when", hook_when_name(when),
                                                  "program", json_text(program), "result",
                                                  waits    ? "waiting"
                                                  : failed ? "failed"
                                                           : "done",
                                                  "error", json_err(why)));
}

void report_end(bool ok, const struct err *err)
{
    if (!report_wanted())
        return;
    json_t *summary = json_object();
    for (int i = 0; i < REPORT_RESULTS; i++)
        json_object_set_new(summary, result_words[i], json_integer(report.counts[i]));
    json_t *out = json_pack("{s:i, s:s, s:o, s:o, s:o, s:o}", "version", JSON_VERSION, "command",
                            command_name(report.command), "certificates", report.certificates, "hooks",
                            report.hooks, "summary", summary, "error", json_err(ok ? NULL : err));
    report.certificates = report.hooks = NULL;
    char *text = out != NULL ? json_dumps(out, JSON_INDENT(2)) : NULL;
    if (text == NULL)
        mem_exhausted();
    printf("%s\n", text);
    free(text);
    json_decref(out);
    output_document(false);
}
