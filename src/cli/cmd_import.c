/*
 * import: what another ACME client holds becomes tlsup's, without a new order; the other client's files stay
 * as they are.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "imports.h"
#include "old_timers.h"
#include "output.h"
#include "plan.h"
#include "timer.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

struct work {
    struct run *run;
    struct imports imports;
    struct old_timers timers;
    struct strlist timer_notes;
};

static const char *client_of(const struct work *work)
{
    return import_client_name(work->imports.old.client);
}

static size_t count(const struct imports *imports, enum import_fate fate)
{
    size_t n = 0;
    for (size_t i = 0; i < imports->n; i++)
        n += imports->v[i].fate == fate;
    return n;
}

/* Left, and somebody has to see to it. */
static size_t count_missed(const struct imports *imports)
{
    size_t n = 0;
    for (size_t i = 0; i < imports->n; i++)
        n += imports->v[i].fate == FATE_LEFT && !imports->v[i].dead;
    return n;
}

/* -- for people -------------------------------------------------------------------------------------------
 */

static const char *fate_words(enum import_fate fate, bool plan)
{
    static const char *const words[][2] = {
        [FATE_NEW] = {"taken over", "would be taken over"},
        [FATE_UPDATED] = {"newer certificate taken over", "newer certificate would be taken over"},
        [FATE_HELD] = {"here already", "here already"},
        [FATE_LEFT] = {"not taken over", "would not be taken over"}};
    return words[fate][plan];
}

/* Names and paths in it are what others chose. */
static void tell_list(const char *title, const struct strlist *list)
{
    for (size_t i = 0; i < list->n; i++) {
        AUTO_FREE char *text = mem_dup(list->v[i]);
        printable(text);
        output_line("  %-12s %s", i == 0 ? title : "", text);
    }
}

static void tell_account(const struct imports *imports, const struct imported *one)
{
    for (size_t i = 0; i < imports->n_accounts; i++) {
        const struct import_taken_account *taken = &imports->accounts[i];
        if (one->thumbprint[0] == '\0' || strcmp(taken->thumbprint, one->thumbprint) != 0)
            continue;
        output_line("  account      %s%s%s",
                    taken->account->url != NULL ? taken->account->url
                                                : "(the CA is asked for its URL by the key)",
                    taken->name[0] != '\0' ? ", in tlsup called " : "", taken->name);
        return;
    }
}

static void say_ways(const struct cert_config *config, struct buf *out)
{
    for (size_t i = 0; i < config->n_challenges; i++)
        buf_addf(out, "%s%s", i > 0 ? ", " : "", config_challenge_name(config->challenges[i]));
    if (config->webroot != NULL)
        buf_addf(out, " %s", config->webroot);
    if (config->challenge_hook != NULL)
        buf_addf(out, " by %s", config->challenge_hook);
    if (config->dns_update_server != NULL)
        buf_addf(out, " by updates at %s", config->dns_update_server);
}

static void tell_taken(const struct imports *imports, const struct imported *one, bool plan)
{
    char date[CLOCK_TEXT_BYTES], span[CLOCK_TEXT_BYTES], ca[256];
    AUTO_FREE char *names = strlist_join(&one->config.names, " ");
    AUTO_BUF ways = BUF_INIT;
    say_ways(&one->config, &ways);
    if (ways.len > 0)
        printable(ways.data);
    clock_format_utc(one->info.not_after_s, date);
    date[10] = '\0'; /* the day is enough */
    output_line("%s%s%s: %s", output_style(STYLE_GOOD), one->name, output_style(STYLE_PLAIN),
                fate_words(one->fate, plan));
    if (one->fate == FATE_NEW) {
        output_line("  names        %s", names);
        output_line("  certificate  valid until %s (%s), %s, by %s", date,
                    clock_format_span(one->info.not_after_s - clock_now_s(), span),
                    key_type_name(one->config.key_type), config_ca_name(one->config.server, ca));
        tell_account(imports, one);
        output_line("  challenges   %s", buf_str(&ways));
        tell_list("pre hook", &one->config.pre_hooks);
        tell_list("deploy hook", &one->config.deploy_hooks);
        tell_list("post hook", &one->config.post_hooks);
        tell_list("copy", &one->config.exports);
    }
    if (one->switched != WEB_NONE)
        output_line("  web server   %s %s (tlsup undo %s takes it back)", web_kind_name(one->switched),
                    plan ? "would read it from tlsup's directory"
                         : "reads it from tlsup's directory now, proven",
                    one->name);
    tell_list("note", &one->notes);
}

static void tell_left(const struct imported *one, bool plan)
{
    output_line("%s%s%s: %s: %s", output_style(one->dead ? STYLE_DIM : STYLE_BAD), one->name,
                output_style(STYLE_PLAIN), fate_words(FATE_LEFT, plan), one->why.text);
    if (one->why.advice[0] != '\0')
        output_line("  what to do   %s", one->why.advice);
}

static void tell_places(const struct work *work)
{
    const struct imports *imports = &work->imports;
    bool any = false;
    for (size_t i = 0; i < imports->n_places; i++) {
        const struct import_place *place = &imports->places[i];
        if (place->cert != NULL && place->cert->switched != WEB_NONE)
            continue;
        if (!any)
            output_line(
                "%sThe web server still reads %s's files, which are not renewed once its timer is off:%s",
                output_style(STYLE_CAUTION), client_of(work), output_style(STYLE_PLAIN));
        any = true;
        output_line("  %s:%zu    %s", place->file, place->line, place->path);
    }
    if (any && !work->run->request->switch_web_server)
        output_line("  what to do   tlsup import --from %s --switch-web-server %s", client_of(work),
                    imports->old.dir);
}

static void tell_timers(const struct work *work)
{
    for (size_t i = 0; i < work->timers.n; i++) {
        AUTO_FREE char *what = old_timer_describe(&work->timers.v[i]);
        if (work->timers.v[i].disabled)
            output_line("%s is off: %s; back on: %s", client_of(work), what, work->timers.v[i].undo);
        else
            output_line("%s%s still renews by %s%s", output_style(STYLE_CAUTION), client_of(work), what,
                        output_style(STYLE_PLAIN));
    }
    bool on = false;
    for (size_t i = 0; i < work->timers.n; i++)
        on |= !work->timers.v[i].disabled;
    if (on && !work->run->request->plan)
        output_line("  what to do   tlsup import --from %s --disable-old-timer %s", client_of(work),
                    work->imports.old.dir);
    for (size_t i = 0; i < work->timer_notes.n; i++)
        output_warning("%s", work->timer_notes.v[i]);
}

static void tell(const struct work *work)
{
    const struct imports *imports = &work->imports;
    bool plan = work->run->request->plan;
    output_line("%s in %s: %zu certificate%s", client_of(work), imports->old.dir, imports->n,
                imports->n == 1 ? "" : "s");
    for (size_t i = 0; i < imports->n; i++)
        if (imports->v[i].fate == FATE_LEFT)
            tell_left(&imports->v[i], plan);
        else
            tell_taken(imports, &imports->v[i], plan);
    tell_list("hooks", &imports->programs);
    for (size_t i = 0; i < imports->old.notes.n; i++)
        output_line("note: %s", imports->old.notes.v[i]);
    for (size_t i = 0; i < imports->notes.n; i++)
        output_line("note: %s", imports->notes.v[i]);
    tell_places(work);
    tell_timers(work);
    if (imports->diff.len > 0)
        output_line("%s", buf_str(&imports->diff));
    tell_list("then", &imports->commands);
    if (plan)
        output_line("Nothing was changed.");
}

/* -- for programs -----------------------------------------------------------------------------------------
 */

/* What others have named need not be UTF-8, which JSON is. */
static json_t *json_text(const char *text)
{
    json_t *json = json_string(text);
    if (json != NULL)
        return json;
    AUTO_FREE char *ascii = mem_dup(text);
    for (char *c = ascii; *c != '\0'; c++)
        *c = (unsigned char)*c < 0x80 ? *c : '?';
    return json_string(ascii);
}

static json_t *json_list(const struct strlist *list)
{
    json_t *array = json_array();
    for (size_t i = 0; i < list->n; i++)
        json_array_append_new(array, json_text(list->v[i]));
    return array;
}

static json_t *json_error(const struct err *err)
{
    return json_pack("{s:s, s:o, s:o, s:o, s:o}", "code", err_code_name(err->code), "type",
                     json_text(err->type), "subject", json_text(err->subject), "text", json_text(err->text),
                     "advice", json_text(err->advice));
}

static json_t *json_cert(const struct imported *one)
{
    static const char *const fates[] = {
        [FATE_NEW] = "imported", [FATE_UPDATED] = "updated", [FATE_HELD] = "held", [FATE_LEFT] = "left"};
    char date[CLOCK_TEXT_BYTES];
    AUTO_BUF ways = BUF_INIT;
    if (one->fate == FATE_LEFT)
        return json_pack("{s:s, s:o, s:s, s:o, s:b}", "name", one->name, "old_name",
                         json_text(one->cert->name), "result", fates[one->fate], "error",
                         json_error(&one->why), "needs_attention", !one->dead);
    say_ways(&one->config, &ways);
    return json_pack(
        "{s:s, s:o, s:s, s:o, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:s, s:o}", "name", one->name,
        "old_name", json_text(one->cert->name), "result", fates[one->fate], "names",
        json_list(&one->config.names), "not_after", clock_format_utc(one->info.not_after_s, date), "key_type",
        key_type_name(one->config.key_type), "server", one->config.server, "account",
        one->account_name[0] != '\0' ? one->account_name : "default", "challenge", json_text(buf_str(&ways)),
        "pre_hooks", json_list(&one->config.pre_hooks), "deploy_hooks", json_list(&one->config.deploy_hooks),
        "post_hooks", json_list(&one->config.post_hooks), "exports", json_list(&one->config.exports),
        "switched", web_kind_name(one->switched), "notes", json_list(&one->notes));
}

static json_t *json_accounts(const struct imports *imports)
{
    json_t *array = json_array();
    for (size_t i = 0; i < imports->n_accounts; i++) {
        const struct import_taken_account *taken = &imports->accounts[i];
        if (taken->used)
            json_array_append_new(array,
                                  json_pack("{s:s, s:s, s:o, s:b}", "server", taken->server, "name",
                                            taken->name[0] != '\0' ? taken->name : "default", "account",
                                            json_text(taken->account->url != NULL ? taken->account->url : ""),
                                            "held", taken->there));
    }
    return array;
}

static json_t *json_places(const struct imports *imports)
{
    json_t *array = json_array();
    for (size_t i = 0; i < imports->n_places; i++) {
        const struct import_place *place = &imports->places[i];
        bool switched = place->cert != NULL && place->cert->switched != WEB_NONE;
        json_array_append_new(
            array, json_pack("{s:s, s:o, s:i, s:o, s:s, s:b}", "web_server", web_kind_name(place->kind),
                             "file", json_text(place->file), "line", (int)place->line, "certificate_file",
                             json_text(place->path), "certificate",
                             place->cert != NULL ? place->cert->name : "", "switched", switched));
    }
    return array;
}

static json_t *json_timers(const struct work *work)
{
    json_t *array = json_array();
    for (size_t i = 0; i < work->timers.n; i++) {
        const struct old_timer *timer = &work->timers.v[i];
        json_array_append_new(
            array, json_pack("{s:s, s:o, s:o, s:b, s:o}", "kind", old_timer_kind_name(timer->kind), "where",
                             json_text(timer->where), "runs", json_text(timer->line), "disabled",
                             timer->disabled, "undo", json_text(timer->undo != NULL ? timer->undo : "")));
    }
    return array;
}

static void tell_json(const struct work *work)
{
    const struct imports *imports = &work->imports;
    AUTO_STRLIST notes = STRLIST_INIT;
    json_t *certs = json_array();
    strlist_copy(&notes, &imports->old.notes);
    for (size_t i = 0; i < imports->notes.n; i++)
        strlist_add(&notes, imports->notes.v[i]);
    for (size_t i = 0; i < work->timer_notes.n; i++)
        strlist_add(&notes, work->timer_notes.v[i]);
    for (size_t i = 0; i < imports->n; i++)
        json_array_append_new(certs, json_cert(&imports->v[i]));
    json_t *root = json_pack(
        "{s:i, s:s, s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o}", "version", 1, "command", "import",
        "client", client_of(work), "directory", json_text(imports->old.dir), "plan", work->run->request->plan,
        "certificates", certs, "accounts", json_accounts(imports), "hooks", json_list(&imports->programs),
        "web_server", json_places(imports), "old_timers", json_timers(work), "notes", json_list(&notes));
    if (imports->diff.len > 0)
        json_object_set_new(root, "diff", json_text(buf_str(&imports->diff)));
    AUTO_FREE char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    printf("%s\n", text != NULL ? text : "{}");
}

/* -- the old client's timer --------------------------------------------------------------------------------
 */

static void note_timer(struct work *work, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void note_timer(struct work *work, const char *fmt, ...)
{
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    strlist_add(&work->timer_notes, text);
}

/* Ours first: there is never a time in which nobody renews. */
static bool ensure_own_timer(struct work *work)
{
    const struct request *request = work->run->request;
    struct timer timer;
    struct err err = ERR_INIT;
    bool changed = false;
    if (timer_ensure(request->config_dir, request->state_dir, &timer, &changed, &err))
        return true;
    note_timer(work, "tlsup does not renew by itself yet: %s%s%s", err.text,
               err.advice[0] != '\0' ? "\n" : "", err.advice);
    return false;
}

static bool any_to_disable(const struct work *work)
{
    for (size_t i = 0; i < work->timers.n; i++)
        if (!work->timers.v[i].mixed)
            return true;
    return false;
}

static bool wants_off(struct work *work, bool own_runs)
{
    const struct request *request = work->run->request;
    size_t missed = count_missed(&work->imports);
    AUTO_BUF question = BUF_INIT;
    if (request->disable_old == CHOICE_YES && !own_runs)
        note_timer(work, "what renews for %s was left on: nobody would renew otherwise", client_of(work));
    if (request->disable_old != CHOICE_UNSET || !own_runs)
        return request->disable_old == CHOICE_YES && own_runs;
    if (request->non_interactive || request->json || !any_to_disable(work))
        return false;
    buf_addf(&question, "Switch off what renews for %s (", client_of(work));
    const char *between = "";
    for (size_t i = 0; i < work->timers.n; i++) {
        AUTO_FREE char *what = old_timer_describe(&work->timers.v[i]);
        if (work->timers.v[i].mixed)
            continue;
        buf_addf(&question, "%s%s", between, what);
        between = ", ";
    }
    buf_adds(&question, ")?");
    if (missed > 0)
        buf_addf(&question, " %zu certificate%s that stay%s with it would not be renewed any more.", missed,
                 missed == 1 ? "" : "s", missed == 1 ? "s" : "");
    return output_ask(buf_str(&question), false);
}

static void see_to_timers(struct work *work)
{
    const struct imports *imports = &work->imports;
    bool ours = imports->n > count(imports, FATE_LEFT);
    old_timers_find(imports->old.client, imports->old.dir, &work->timers);
    if (work->run->request->plan || !ours)
        return;
    bool own_runs = ensure_own_timer(work);
    if (work->timers.n == 0 || !wants_off(work, own_runs))
        return;
    for (size_t i = 0; i < work->timers.n; i++) {
        struct err err = ERR_INIT;
        if (!old_timer_disable(&work->timers.v[i], store_state_dir(work->run->store), &err))
            note_timer(work, "%s could not be switched off: %s%s%s", work->timers.v[i].where, err.text,
                       err.advice[0] != '\0' ? "; " : "", err.advice);
    }
    if (count_missed(imports) > 0)
        note_timer(work, "what was not taken over is renewed by nobody now");
}

/* -- the command -------------------------------------------------------------------------------------------
 */

static bool sum_up(const struct work *work, struct err *err)
{
    const struct imports *imports = &work->imports;
    size_t missed = count_missed(imports);
    if (work->run->request->plan || missed + imports->failed == 0)
        return true;
    if (missed == 0)
        err_set(err, ERR_WEBSERVER, NEXT_REFUSED, client_of(work),
                "%zu certificate%s could not be switched over in the web server", imports->failed,
                imports->failed == 1 ? "" : "s");
    else
        err_set(err, ERR_MISMATCH, NEXT_REFUSED, client_of(work), "%zu of %zu certificates %s not taken over",
                missed, imports->n, missed == 1 ? "was" : "were");
    return err_advise(
        err, "the reasons stand above, with what to do; run it again afterwards: what is here already stays");
}

static bool work_through(struct work *work, struct err *err)
{
    const struct request *request = work->run->request;
    struct cert_config defaults;
    enum import_client client;
    const char *dir = request->words.n > 0 ? request->words.v[0] : NULL;
    if (!import_client_parse(request->from != NULL ? request->from : "", &client, err) ||
        !store_defaults(work->run->store, &defaults, err))
        return false;
    int keep = defaults.keep;
    cert_config_clear(&defaults);
    output_step("Reading what %s keeps", import_client_name(client));
    if (!import_read(client, dir, keep, &work->imports.old, err) || !imports_judge(&work->imports, err))
        return false;
    if (work->imports.n == 0) {
        err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, work->imports.old.dir, "%s holds no certificates",
                work->imports.old.dir);
        return err_advise(err, "if %s keeps them elsewhere, say where: tlsup import --from %s DIR",
                          client_of(work), client_of(work));
    }
    if (!request->plan)
        output_step("Taking over what %s keeps", client_of(work));
    imports_take(&work->imports);
    output_step("Looking at the web server");
    imports_look(&work->imports);
    if (request->switch_web_server)
        imports_switch(&work->imports);
    output_done("Looked at what %s keeps", client_of(work));
    see_to_timers(work);
    if (request->json)
        tell_json(work);
    else
        tell(work);
    return sum_up(work, err);
}

bool cmd_import(const struct request *request, struct err *err)
{
    struct run run;
    struct work work = {.run = &run};
    if (!(request->plan ? plan_open(request, &run, err) : run_open(request, &run, err)))
        return false;
    work.imports.run = &run;
    bool ok = work_through(&work, err);
    if (!ok)
        output_failed();
    imports_clear(&work.imports);
    old_timers_clear(&work.timers);
    strlist_clear(&work.timer_notes);
    run_close(&run);
    return ok;
}
