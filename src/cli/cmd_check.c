#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "commands.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "output.h"
#include "tlsup/dns.h"
#include "tlsup/mem.h"
#include "tlsup/resolver.h"
#include "tlsup/roles.h"
#include "tlsup/sandbox.h"

enum { LOOKUP_MS = 10000 };

static const struct {
    const char *word, *plural;
    enum output_style style;
    const char *utf8, *ascii; /* marks */
} severities[SEVERITIES] = {
    [SEVERITY_OK] = {"ok", "ok", STYLE_GOOD, "✓", "+"},
    [SEVERITY_NOTE] = {"note", "notes", STYLE_DIM, "·", "-"},
    [SEVERITY_WARNING] = {"warning", "warnings", STYLE_CAUTION, "!", "!"},
    [SEVERITY_PROBLEM] = {"problem", "problems", STYLE_BAD, "✗", "x"},
};

const char *severity_word(enum severity severity)
{
    return severities[severity].word;
}

/* -- what was found ------------------------------------------------------------------------------------- */

static char *PRINTF_LIKE(1, 0) in_words(const char *fmt, va_list args)
{
    char text[4096];
    vsnprintf(text, sizeof text, fmt, args);
    printable(text);
    return mem_dup(text);
}

void check_find(struct check *check, enum severity severity, const char *about, const char *name,
                const char *fmt, ...)
{
    va_list args;
    if ((check->n & (check->n + 1)) == 0) /* 0, 1, 3, 7, ...: doubled */
        check->v = mem_resize(check->v, 2 * check->n + 1, sizeof *check->v);
    va_start(args, fmt);
    check->v[check->n++] = (struct finding){.severity = severity,
                                            .about = about,
                                            .name = name != NULL ? mem_dup(name) : NULL,
                                            .what = in_words(fmt, args),
                                            .why = mem_dup(""),
                                            .todo = mem_dup("")};
    va_end(args);
}

void check_stops(struct check *check)
{
    check->v[check->n - 1].stops = true;
}

static void PRINTF_LIKE(2, 0) replace(char **text, const char *fmt, va_list args)
{
    free(*text);
    *text = in_words(fmt, args);
}

void check_why(struct check *check, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    replace(&check->v[check->n - 1].why, fmt, args);
    va_end(args);
}

void check_todo(struct check *check, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    replace(&check->v[check->n - 1].todo, fmt, args);
    va_end(args);
}

void check_found_err(struct check *check, enum severity severity, const char *about, const char *name,
                     const struct err *err)
{
    bool told = err->subject[0] == '\0' || strstr(err->text, err->subject) != NULL ||
                (name != NULL && strcmp(err->subject, name) == 0);
    check_find(check, severity, about, name, "%s%s%s", told ? "" : err->subject, told ? "" : ": ", err->text);
    if (err->advice[0] != '\0')
        check_todo(check, "%s", err->advice);
}

void check_clear_findings(struct check *check)
{
    for (size_t i = 0; i < check->n; i++) {
        free(check->v[i].name);
        free(check->v[i].what);
        free(check->v[i].why);
        free(check->v[i].todo);
    }
    free(check->v);
    check->v = NULL;
    check->n = 0;
}

/* -- told to people ------------------------------------------------------------------------------------- */

static size_t width(void)
{
    return output_columns() > 0 ? output_columns() : SIZE_MAX; /* piped, a line stays one, for grep */
}

static void add_finding(struct buf *out, const struct finding *finding)
{
    AUTO_BUF text = BUF_INIT;
    const char *arrow = output_utf8() ? "→ " : "-> ";
    bool named = finding->name != NULL && strstr(finding->what, finding->name) == NULL;
    buf_addf(&text, "%s%s%s", named ? finding->name : "", named ? ": " : "", finding->what);
    buf_addf(out, "%s%s%s ", output_style(severities[finding->severity].style),
             output_utf8() ? severities[finding->severity].utf8 : severities[finding->severity].ascii,
             output_style(STYLE_PLAIN));
    output_wrap(out, buf_str(&text), 2, 2, width());
    buf_addc(out, '\n');
    if (finding->why[0] != '\0') {
        buf_addf(out, "    %s", output_style(STYLE_DIM));
        output_wrap(out, finding->why, 4, 4, width());
        buf_addf(out, "%s\n", output_style(STYLE_PLAIN));
    }
    if (finding->todo[0] != '\0') {
        buf_addf(out, "    %s", arrow);
        output_wrap(out, finding->todo, 4 + output_width(arrow), 4 + output_width(arrow), width());
        buf_addc(out, '\n');
    }
}

static void add_summary(struct buf *out, const struct check *check, const size_t counts[SEVERITIES], bool all)
{
    AUTO_BUF text = BUF_INIT;
    for (int s = SEVERITY_PROBLEM; s > SEVERITY_OK; s--)
        if (counts[s] > 0)
            buf_addf(&text, "%s%zu %s", text.len > 0 ? ", " : "", counts[s],
                     counts[s] == 1 ? severities[s].word : severities[s].plural);
    if (text.len == 0)
        buf_addf(&text, "nothing stands in the way");
    if (counts[SEVERITY_OK] > 0)
        buf_addf(&text, "; %zu thing%s well%s", counts[SEVERITY_OK],
                 counts[SEVERITY_OK] == 1 ? " is" : "s are", all ? "" : " (-v shows them)");
    buf_addf(out, "%s%s%s\n", check->n > 0 && (all || counts[SEVERITY_OK] < check->n) ? "\n" : "",
             buf_str(&text), counts[SEVERITY_PROBLEM] == 0 && check->names.n > 0 ? "" : "");
}

/* The worst first. */
static void print_text(const struct check *check, const size_t counts[SEVERITIES])
{
    AUTO_BUF out = BUF_INIT;
    bool all = check->request->log_level >= LOG_LEVEL_INFO;
    for (int s = SEVERITY_PROBLEM; s >= (all ? SEVERITY_OK : SEVERITY_NOTE); s--)
        for (size_t i = 0; i < check->n; i++)
            if (check->v[i].severity == (enum severity)s)
                add_finding(&out, &check->v[i]);
    add_summary(&out, check, counts, all);
    fwrite(buf_str(&out), 1, out.len, stdout);
}

/* -- the command ---------------------------------------------------------------------------------------- */

/* What was asked for, else all that is held. */
static void choose_names(struct check *check)
{
    strlist_copy(&check->names, &check->request->names);
    for (size_t i = 0; check->request->names.n == 0 && i < check->entries.n; i++) {
        const struct entry *entry = &check->entries.v[i];
        for (size_t k = 0; entry->has_config && k < entry->config.names.n; k++)
            if (!strlist_has(&check->names, entry->config.names.v[k]))
                strlist_add(&check->names, entry->config.names.v[k]);
    }
}

/* Only a certificate that is stored for other programs needs no web server. */
static bool wants_web(const struct check *check)
{
    if (check->request->names.n > 0 || check->entries.n == 0)
        return true;
    for (size_t i = 0; i < check->entries.n; i++)
        if (is_installed_by_us(&check->entries.v[i]))
            return true;
    return false;
}

static bool look(struct check *check, struct err *err)
{
    struct err none = ERR_INIT;
    const struct request *request = check->request;
    CLEANUP(cert_config_clear) struct cert_config defaults = {0};
    struct web_hints hints;
    enum web_kind wanted = views_wanted(request, check->store, &defaults, &hints);
    choose_names(check);
    check->wants_web = wants_web(check);
    if (!check->root) {
        check_find(check, SEVERITY_NOTE, "rights", NULL,
                   "not root: keys and logs, the programs behind the ports, the web server's own test, the "
                   "firewall and the place for a certificate were not looked at");
        check_todo(check, "for the whole picture: sudo tlsup check%s%s", request->names.n > 0 ? " " : "",
                   request->names.n > 0 ? request->names.v[0] : "");
    }
    if (!request->json && !request->quiet)
        output_step("Looking at the machine");
    bool found = views_read(wanted, &hints, &check->views, &none);
    check_web_servers(check, found ? NULL : &none);
    check_machine(check);
    bool ok = check_firewall(check, err);
    check_names(check);
    if (!request->json && !request->quiet && output_is_terminal())
        output_done("Looked at the machine");
    return ok;
}

static bool tell(struct check *check, struct err *err)
{
    size_t counts[SEVERITIES] = {0};
    for (size_t i = 0; i < check->n; i++)
        counts[check->v[i].severity]++;
    if (check->request->json)
        check_print_json(check, counts);
    else if (!check->request->quiet)
        print_text(check, counts);
    if (fflush(stdout) != 0 || ferror(stdout))
        return err_errno(err, errno, "", "cannot write to standard output");
    if (counts[SEVERITY_PROBLEM] == 0)
        return true;
    return err_set(err, ERR_PROOF, NEXT_REFUSED, NULL, "%zu problem%s in the way", counts[SEVERITY_PROBLEM],
                   counts[SEVERITY_PROBLEM] == 1 ? " stands" : "s stand");
}

/* What is asked by child processes of their own: before the first key is read, which they must not inherit.
 */
static void begin_asking(struct check *check)
{
    struct err err = ERR_INIT;
    check_own_answer(check);
    if (dns_available() && !resolver_start(&check->resolver, &err))
        check_found_err(check, SEVERITY_NOTE, "caa", NULL, &err);
}

bool cmd_check(const struct request *request, struct err *err)
{
    static const struct strlist all = STRLIST_INIT;
    struct check check = {.request = request, .root = geteuid() == 0, .lookup_ms = LOOKUP_MS};
    struct err opening = ERR_INIT;
    sandbox_keep_secrets();
    bool ok = store_open(request->config_dir, request->state_dir, STORE_READ, &check.store, err) &&
              role_start_prober(err);
    if (ok)
        begin_asking(&check);
    ok = ok && status_read(check.store, &all, &check.entries, err);
    if (ok) {
        bool opened = look(&check, &opening);
        ok = tell(&check, err) && opened;
        if (!opened)
            *err = opening; /* what was asked for and not done comes before what was found */
    }
    role_stop_prober();
    resolver_stop(check.resolver);
    check_clear_findings(&check);
    strlist_clear(&check.names);
    views_clear(&check.views);
    entries_clear(&check.entries);
    store_close(check.store);
    return ok;
}
