/*
 * What a run tells people, as text: first what is wrong and how long there is time, then why, what to do, and
 * what tlsup does by itself; what is well again and what was renewed come last.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "notice.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

enum { TEXT_COLUMNS = 76, INDENT = 2 };

const char *notice_event_name(enum notice_event event)
{
    static const char *const names[] = {"failure", "recovery", "success", "test"};
    return names[event];
}

/* -- building ----------------------------------------------------------------------------------------- */

void notice_init(struct notice *notice)
{
    *notice = (struct notice){.now_s = clock_now_s()};
    if (gethostname(notice->host, sizeof notice->host - 1) != 0 || notice->host[0] == '\0')
        snprintf(notice->host, sizeof notice->host, "localhost");
    for (char *c = notice->host; *c != '\0'; c++) /* it goes into headers */
        if (*c <= ' ' || *c > '~' || strchr("<>()[]@,;:\\\"", *c) != NULL)
            *c = '-';
}

static void clear_cert(struct notice_cert *cert)
{
    for (size_t i = 0; i < cert->n_troubles; i++)
        free(cert->troubles[i].what);
    free(cert->troubles);
    strlist_clear(&cert->names);
    free(cert->name);
}

void notice_clear(struct notice *notice)
{
    for (size_t i = 0; i < notice->n_certs; i++)
        clear_cert(&notice->certs[i]);
    for (size_t i = 0; i < notice->n_machine; i++)
        free(notice->machine[i].subject);
    free(notice->certs);
    free(notice->machine);
    *notice = (struct notice){0};
}

struct notice_cert *notice_add_cert(struct notice *notice, const char *name)
{
    notice->certs = mem_resize(notice->certs, notice->n_certs + 1, sizeof *notice->certs);
    struct notice_cert *cert = &notice->certs[notice->n_certs++];
    *cert = (struct notice_cert){.name = mem_dup(name)};
    return cert;
}

/* What a program of the user's printed may have secrets in it, and goes to other machines now. */
static void redact(char *text, size_t size)
{
    AUTO_BUF safe = BUF_INIT;
    log_redact(text, &safe);
    snprintf(text, size, "%s", buf_str(&safe));
}

static void redact_err(struct err *err)
{
    redact(err->text, sizeof err->text);
    redact(err->advice, sizeof err->advice);
    redact(err->subject, sizeof err->subject);
}

void notice_add_trouble(struct notice_cert *cert, const char *what, const struct err *err, int64_t next_try_s)
{
    cert->troubles = mem_resize(cert->troubles, cert->n_troubles + 1, sizeof *cert->troubles);
    struct notice_trouble *trouble = &cert->troubles[cert->n_troubles++];
    *trouble = (struct notice_trouble){.what = mem_dup(what), .err = *err, .next_try_s = next_try_s};
    redact_err(&trouble->err);
}

void notice_add_machine(struct notice *notice, const char *subject, const struct err *err)
{
    notice->machine = mem_resize(notice->machine, notice->n_machine + 1, sizeof *notice->machine);
    struct notice_machine *machine = &notice->machine[notice->n_machine++];
    *machine = (struct notice_machine){.subject = mem_dup(subject)};
    if (err != NULL)
        machine->err = *err;
    redact_err(&machine->err);
}

/* -- what it is about --------------------------------------------------------------------------------- */

bool notice_fails(const struct notice_cert *cert)
{
    return cert->now != ALARM_NONE;
}

bool notice_recovers(const struct notice_cert *cert)
{
    return cert->now == ALARM_NONE && cert->before != ALARM_NONE;
}

static bool is_renewal(const struct notice_cert *cert)
{
    return cert->renewed && cert->now == ALARM_NONE && cert->before == ALARM_NONE;
}

static size_t count(const struct notice *notice, bool (*is)(const struct notice_cert *),
                    const struct notice_cert **first)
{
    size_t n = 0;
    for (size_t i = 0; i < notice->n_certs; i++)
        if (is(&notice->certs[i]) && n++ == 0)
            *first = &notice->certs[i];
    return n;
}

static size_t count_machine(const struct notice *notice, bool failing, const struct notice_machine **first)
{
    size_t n = 0;
    for (size_t i = 0; i < notice->n_machine; i++)
        if (err_isset(&notice->machine[i].err) == failing && n++ == 0)
            *first = &notice->machine[i];
    return n;
}

enum notice_event notice_event(const struct notice *notice)
{
    const struct notice_cert *cert;
    const struct notice_machine *machine;
    if (notice->test)
        return NOTICE_TEST;
    if (count(notice, notice_fails, &cert) + count_machine(notice, true, &machine) > 0)
        return NOTICE_FAILURE;
    if (count(notice, notice_recovers, &cert) + count_machine(notice, false, &machine) > 0)
        return NOTICE_RECOVERY;
    return NOTICE_SUCCESS;
}

/* -- words -------------------------------------------------------------------------------------------- */

/* "2026-12-24 14:05 UTC" */
static void add_instant(struct buf *out, int64_t when_s)
{
    char text[CLOCK_TEXT_BYTES];
    clock_format_utc(when_s, text);
    if (strlen(text) >= 16)
        buf_addf(out, "%.10s %.5s UTC", text, text + 11);
    else
        buf_adds(out, text);
}

static void add_day(struct buf *out, int64_t when_s)
{
    char text[CLOCK_TEXT_BYTES];
    buf_addf(out, "%.10s", clock_format_utc(when_s, text));
}

static const char *what_of(const struct notice_cert *cert)
{
    return cert->n_troubles > 0 ? cert->troubles[0].what : "it";
}

/* "the renewal of example.org failed", and of a hook: "example.org: the deploy hook /x failed" */
static void add_failure(struct buf *out, const struct notice_cert *cert)
{
    static const char renewal[] = "the renewal";
    if (strcmp(what_of(cert), renewal) == 0)
        buf_addf(out, "renewal of %s failed", cert->name);
    else
        buf_addf(out, "%s: %s failed", cert->name, what_of(cert));
}

/* How a certificate in trouble is named in a subject. */
static void add_headline(struct buf *out, const struct notice_cert *cert)
{
    if (cert->now == ALARM_EXPIRED) {
        buf_addf(out, "the certificate %s HAS EXPIRED (on ", cert->name);
        add_day(out, cert->not_after_s);
        buf_addc(out, ')');
        return;
    }
    if (cert->now == ALARM_URGENT)
        buf_adds(out, "URGENT: ");
    add_failure(out, cert);
    if (cert->not_after_s > 0) {
        buf_adds(out, " (valid until ");
        add_day(out, cert->not_after_s);
        buf_addc(out, ')');
    }
}

static void add_one_or_many(struct buf *out, const struct notice *notice,
                            bool (*is)(const struct notice_cert *), const char *one, const char *many)
{
    const struct notice_cert *first = NULL;
    size_t n = count(notice, is, &first);
    if (n == 1)
        buf_addf(out, one, first->name);
    else
        buf_addf(out, many, n);
}

static size_t count_expired(const struct notice *notice)
{
    size_t n = 0;
    for (size_t i = 0; i < notice->n_certs; i++)
        n += notice->certs[i].now == ALARM_EXPIRED;
    return n;
}

static void add_failure_subject(struct buf *out, const struct notice *notice)
{
    const struct notice_cert *cert = NULL;
    const struct notice_machine *machine = NULL;
    size_t n = count(notice, notice_fails, &cert), expired = count_expired(notice);
    if (n == 1)
        add_headline(out, cert);
    else if (n > 1)
        buf_addf(out, "%zu certificates need attention", n);
    else if (count_machine(notice, true, &machine) == 1)
        buf_addf(out, "%s failed", machine->subject);
    else
        buf_adds(out, "several things failed");
    if (n > 1 && expired > 0)
        buf_addf(out, ", %zu HA%s EXPIRED", expired, expired == 1 ? "S" : "VE");
}

void notice_subject(const struct notice *notice, struct buf *out)
{
    const struct notice_cert *cert = NULL;
    const struct notice_machine *machine = NULL;
    buf_addf(out, "tlsup on %s: ", notice->host);
    switch (notice_event(notice)) {
    case NOTICE_TEST:
        buf_adds(out, "a test notification");
        break;
    case NOTICE_FAILURE:
        add_failure_subject(out, notice);
        break;
    case NOTICE_RECOVERY:
        if (count(notice, notice_recovers, &cert) > 0)
            add_one_or_many(out, notice, notice_recovers, "%s is well again",
                            "%zu certificates are well again");
        else if (count_machine(notice, false, &machine) == 1)
            buf_addf(out, "%s is well again", machine->subject);
        else
            buf_adds(out, "all is well again");
        break;
    case NOTICE_SUCCESS:
        add_one_or_many(out, notice, is_renewal, "%s was renewed", "%zu certificates were renewed");
        break;
    }
}

/* -- the text ----------------------------------------------------------------------------------------- */

static void add_paragraph(struct buf *out, size_t indent, const char *text)
{
    for (size_t i = 0; i < indent; i++)
        buf_addc(out, ' ');
    output_wrap(out, text, indent, indent, TEXT_COLUMNS);
    buf_addc(out, '\n');
}

static void PRINTF_LIKE(3, 4) add_sentence(struct buf *out, size_t indent, const char *fmt, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0)
        mem_exhausted();
    va_end(args);
    add_paragraph(out, indent, text);
    free(text);
}

static void add_validity(struct buf *out, const struct notice *notice, const struct notice_cert *cert)
{
    AUTO_BUF when = BUF_INIT;
    char span[CLOCK_TEXT_BYTES];
    if (cert->not_after_s == 0) {
        add_sentence(out, INDENT, "There is no certificate yet.");
        return;
    }
    add_instant(&when, cert->not_after_s);
    clock_format_span(cert->not_after_s - notice->now_s, span);
    if (cert->not_after_s <= notice->now_s)
        add_sentence(out, INDENT, "The certificate HAS EXPIRED: on %s (%s ago). Visitors are warned off.",
                     buf_str(&when), span);
    else if (cert->now == ALARM_URGENT)
        add_sentence(out, INDENT, "It is urgent: the certificate is good until %s (%s more).", buf_str(&when),
                     span);
    else
        add_sentence(out, INDENT, "The certificate is good until %s (%s more).", buf_str(&when), span);
}

/* `known`: what the paragraph has named already. */
static void add_error(struct buf *out, const char *known, const struct err *err)
{
    bool about = err->subject[0] != '\0' && strcmp(err->subject, known) != 0 &&
                 strstr(err->text, err->subject) == NULL;
    add_sentence(out, INDENT, "Why: %s%s%s", about ? err->subject : "", about ? ": " : "",
                 err->text[0] != '\0' ? err->text : err_code_name(err->code));
    if (err->advice[0] != '\0')
        add_sentence(out, INDENT, "What to do: %s", err->advice);
}

static void add_next_try(struct buf *out, const struct notice *notice, int64_t next_try_s)
{
    AUTO_BUF when = BUF_INIT;
    char span[CLOCK_TEXT_BYTES];
    if (next_try_s <= notice->now_s) {
        add_sentence(out, INDENT, "tlsup tries again by itself with its next run.");
        return;
    }
    add_instant(&when, next_try_s);
    add_sentence(out, INDENT, "tlsup tries again by itself with its first run after %s (in %s).",
                 buf_str(&when), clock_format_span(next_try_s - notice->now_s, span));
}

static void add_names(struct buf *out, const struct notice_cert *cert)
{
    if (cert->names.n == 0 || (cert->names.n == 1 && strcmp(cert->names.v[0], cert->name) == 0))
        return;
    AUTO_FREE char *names = strlist_join(&cert->names, " ");
    add_sentence(out, INDENT, "Names: %s", names);
}

static void add_cert(struct buf *out, const struct notice *notice, const struct notice_cert *cert)
{
    const char *verb = cert->now > ALARM_FAILING && cert->before != ALARM_NONE ? "still fails" : "failed";
    if (cert->n_troubles == 0)
        add_sentence(out, 0, "%s", cert->name);
    else
        add_sentence(out, 0, "%s: %s %s.", cert->name, what_of(cert), verb);
    add_validity(out, notice, cert);
    for (size_t i = 0; i < cert->n_troubles; i++) {
        const struct notice_trouble *trouble = &cert->troubles[i];
        if (i > 0)
            add_sentence(out, INDENT, "Besides, %s failed.", trouble->what);
        add_error(out, cert->name, &trouble->err);
        add_next_try(out, notice, trouble->next_try_s);
    }
    if (cert->n_troubles == 0)
        add_next_try(out, notice, 0);
    add_names(out, cert);
    buf_addc(out, '\n');
}

static void add_machine(struct buf *out, const struct notice_machine *machine)
{
    add_sentence(out, 0, "%s failed.", machine->subject);
    add_error(out, machine->subject, &machine->err);
    buf_addc(out, '\n');
}

static void add_certs_that(struct buf *out, const struct notice *notice,
                           bool (*is)(const struct notice_cert *), const char *title)
{
    AUTO_BUF when = BUF_INIT;
    bool any = false;
    for (size_t i = 0; i < notice->n_certs; i++) {
        const struct notice_cert *cert = &notice->certs[i];
        if (!is(cert))
            continue;
        if (!any)
            add_sentence(out, 0, "%s", title);
        any = true;
        buf_reset(&when);
        if (cert->not_after_s > 0) {
            buf_adds(&when, ", good until ");
            add_instant(&when, cert->not_after_s);
        }
        add_sentence(out, INDENT, "%s%s", cert->name, buf_str(&when));
    }
    if (any)
        buf_addc(out, '\n');
}

static void add_machine_that_is_well(struct buf *out, const struct notice *notice)
{
    for (size_t i = 0; i < notice->n_machine; i++)
        if (!err_isset(&notice->machine[i].err))
            add_sentence(out, 0, "Well again: %s\n", notice->machine[i].subject);
}

/* As much as fits: of a fleet that fails as a whole the first ones tell why, the rest is counted. */
static void add_failures(struct buf *out, const struct notice *notice)
{
    size_t left_out = 0;
    for (size_t i = 0; i < notice->n_certs; i++) {
        AUTO_BUF one = BUF_INIT;
        if (!notice_fails(&notice->certs[i]))
            continue;
        add_cert(&one, notice, &notice->certs[i]);
        if (left_out == 0 && out->len + one.len < NOTICE_TEXT_BYTES / 2)
            buf_add(out, one.data, one.len);
        else
            left_out++;
    }
    if (left_out > 0)
        add_sentence(out, 0, "And %zu more: `tlsup status` lists them.\n", left_out);
    for (size_t i = 0; i < notice->n_machine && out->len < NOTICE_TEXT_BYTES / 2; i++)
        if (err_isset(&notice->machine[i].err))
            add_machine(out, &notice->machine[i]);
}

/* Whole lines. */
static void cut(struct buf *out, size_t most)
{
    if (out->len <= most)
        return;
    while (most > 0 && out->data[most - 1] != '\n')
        most--;
    out->len = most;
    out->data[most] = '\0';
    buf_adds(out, "(the rest is left out; `tlsup status` shows all)\n\n");
}

void notice_text(const struct notice *notice, struct buf *out)
{
    AUTO_BUF text = BUF_INIT, when = BUF_INIT;
    const struct notice_cert *cert;
    const struct notice_machine *machine;
    add_instant(&when, notice->now_s);
    if (notice->test)
        add_sentence(
            &text, 0,
            "This is a test. tlsup on %s tells in this way when a certificate cannot be renewed, and when it "
            "is well again. Nothing is wrong now, and nothing is to be done.\n",
            notice->host);
    add_failures(&text, notice);
    add_certs_that(&text, notice, notice_recovers, "Well again:");
    add_machine_that_is_well(&text, notice);
    add_certs_that(&text, notice, is_renewal, "Renewed:");
    cut(&text, NOTICE_TEXT_BYTES - 512);
    buf_add(out, text.data, text.len);
    if (count(notice, notice_fails, &cert) + count_machine(notice, true, &machine) > 0)
        add_sentence(out, 0, "`tlsup status` on %s shows all certificates; this is told once.", notice->host);
    buf_addf(out, "-- \ntlsup on %s, %s\n", notice->host, buf_str(&when));
}

/* -- a line each -------------------------------------------------------------------------------------- */

static void add_cert_line(struct buf *out, const struct notice_cert *cert)
{
    if (notice_recovers(cert))
        buf_addf(out, "certificate %s is well again", cert->name);
    else if (!notice_fails(cert))
        buf_addf(out, "certificate %s was renewed", cert->name);
    else
        add_headline(out, cert);
    if (!notice_fails(cert) && cert->not_after_s > 0) {
        buf_adds(out, ", valid until ");
        add_day(out, cert->not_after_s);
    }
    if (notice_fails(cert) && cert->n_troubles > 0)
        buf_addf(out, ": %s", cert->troubles[0].err.text);
}

void notice_lines(const struct notice *notice, notice_line_fn *each, void *ctx)
{
    AUTO_BUF line = BUF_INIT;
    if (notice->test)
        each(ctx, false, "a test notification");
    for (size_t i = 0; i < notice->n_certs; i++) {
        buf_reset(&line);
        add_cert_line(&line, &notice->certs[i]);
        each(ctx, notice_fails(&notice->certs[i]), buf_str(&line));
    }
    for (size_t i = 0; i < notice->n_machine; i++) {
        const struct notice_machine *machine = &notice->machine[i];
        bool fails = err_isset(&machine->err);
        buf_reset(&line);
        buf_addf(&line, "%s %s%s", machine->subject, fails ? "failed: " : "is well again", machine->err.text);
        each(ctx, fails, buf_str(&line));
    }
}
