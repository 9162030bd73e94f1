/*
 * What `enable` looks at before a CA is asked: all at once, so that a person mends it all at once.
 *
 * The web server is not among it: it is opened, tested and read by then. An order is stopped only by what
 * would make it fail for certain; the rest is a warning.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

enum { LOOKUP_MS = 3000 };

static bool wants_order(const struct task *task)
{
    return task->needs_order && !err_isset(&task->err);
}

/* -- looking -------------------------------------------------------------------------------------------- */

static struct resolver *resolver_of(struct run *run)
{
    struct err err = ERR_INIT;
    if (dns_available() && run->resolver == NULL && !resolver_start(&run->resolver, &err))
        log_info("CAA is not looked at beforehand: %s", err.text);
    return run->resolver;
}

static void look_at_task(struct check *check, struct run *run, const struct task *task)
{
    struct subject subject = {.config = task->config}; /* borrowed */
    struct caa_looks *caa = check_caa_ask(check, &subject, resolver_of(run));
    check_addresses(check, &subject);
    check_caa_tell(caa);
}

/* Nobody outside can ask on port 80, and there is no other way for a CA that is outside. */
static bool closes_all_ways(const struct task *task)
{
    const struct cert_config *config = &task->config;
    for (size_t i = 0; i < config->n_challenges; i++)
        if (config_challenge_type(config->challenges[i]) != CHALLENGE_HTTP_01)
            return false;
    return wants_order(task) && config->n_challenges > 0 && subject_is_public(config);
}

static void judge_firewall(struct check *check, const struct task *tasks, size_t n, size_t from)
{
    bool needed = false;
    for (size_t i = 0; i < n; i++)
        needed = needed || closes_all_ways(&tasks[i]);
    for (size_t i = from; needed && check->port_80_closed && i < check->n; i++)
        if (check->v[i].severity == SEVERITY_PROBLEM)
            check->v[i].stops = true;
}

static bool look(struct check *check, struct run *run, const struct task *tasks, size_t n, struct err *err)
{
    bool ordering = false;
    for (size_t i = 0; i < n; i++) {
        if (!wants_order(&tasks[i]))
            continue;
        ordering = true;
        look_at_task(check, run, &tasks[i]);
    }
    if (ordering) {
        check_clock(check);
        check_disks(check);
    }
    size_t from = check->n;
    bool ok = check_firewall(check, err);
    judge_firewall(check, tasks, n, from);
    return ok;
}

/* -- telling -------------------------------------------------------------------------------------------- */

/* What was done is told even where nothing else is said. */
static bool is_told(const struct finding *finding)
{
    return finding->severity >= SEVERITY_WARNING ||
           strncmp(finding->what, "the firewall was opened", 23) == 0;
}

static char *in_words(const struct finding *finding)
{
    bool named = finding->name != NULL && strstr(finding->what, finding->name) == NULL;
    return mem_fmt("%s%s%s%s%s%s%s", named ? finding->name : "", named ? ": " : "", finding->what,
                   finding->why[0] != '\0' ? "\n" : "", finding->why, finding->todo[0] != '\0' ? "\n-> " : "",
                   finding->todo);
}

static void tell_warnings(const struct check *check)
{
    for (size_t i = 0; i < check->n; i++) {
        if (!is_told(&check->v[i]) || check->v[i].stops)
            continue;
        AUTO_FREE char *text = in_words(&check->v[i]);
        if (check->v[i].severity < SEVERITY_WARNING)
            output_done("%s", check->v[i].what);
        else if (check->request->plan)
            output_line("# warning: %s", check->v[i].what);
        else
            output_warning("%s", text);
    }
}

static bool refuse_one(const struct finding *finding, struct err *err)
{
    err_set(err, ERR_PROOF, NEXT_REFUSED, NULL,
            "%s\n%s\nThe CA was not asked (--no-check asks all the same).", finding->what, finding->why);
    return err_advise(err, "%s", finding->todo);
}

/* `also`: what stands in the way besides; NULL = nothing. */
static bool refuse_all(const struct finding *const *findings, size_t n, const struct err *also,
                       struct err *err)
{
    AUTO_BUF text = BUF_INIT;
    buf_addf(&text, "%zu problems stand in the way, and the CA was not asked:", n + (also != NULL));
    for (size_t i = 0; i < n; i++) {
        AUTO_FREE char *words = in_words(findings[i]);
        buf_addf(&text, "\n%s", words);
    }
    if (also != NULL)
        buf_addf(&text, "\n%s%s%s", also->text, also->advice[0] != '\0' ? "\n-> " : "", also->advice);
    err_set(err, ERR_PROOF, NEXT_REFUSED, NULL, "%s", buf_str(&text));
    return err_advise(err,
                      "mend them, then the same command again; `tlsup check` looks again without ordering "
                      "anything, --no-check leaves the looking out");
}

static bool refuse(const struct finding *const *findings, size_t n, const struct err *also, struct err *err)
{
    if (n == 0 && also != NULL)
        *err = *also;
    if (n == 0)
        return also == NULL;
    return n == 1 && also == NULL ? refuse_one(findings[0], err) : refuse_all(findings, n, also, err);
}

/* Does it concern a certificate of these names? `names` NULL: is it about the machine? */
static bool concerns(const struct finding *finding, const struct strlist *names)
{
    return finding->name == NULL ? names == NULL : names != NULL && strlist_has(names, finding->name);
}

/* `whole`: of whatever names. */
static bool judge(const struct check *check, const struct strlist *names, bool whole, const struct err *also,
                  struct err *err)
{
    const struct finding **found = mem_array(check->n + 1, sizeof *found);
    size_t n = 0;
    for (size_t i = 0; i < check->n; i++)
        if (check->v[i].stops && (whole || concerns(&check->v[i], names)))
            found[n++] = &check->v[i];
    bool ok = refuse(found, n, also, err);
    free(found);
    return ok;
}

/* One certificate's trouble is not the others'. */
static bool judge_tasks(const struct check *check, struct task *tasks, size_t n, const struct err *also,
                        struct err *err)
{
    if (n == 1)
        return judge(check, NULL, true, also, err);
    for (size_t i = 0; i < n; i++)
        if (wants_order(&tasks[i]))
            (void)!judge(check, &tasks[i].config.names, false, NULL, &tasks[i].err);
    return judge(check, NULL, false, also, err);
}

/* --no-check does not mean that --open-firewall is not meant. */
static bool open_only(struct check *check, const struct err *also, struct err *err)
{
    bool ok = !check->request->open_firewall || check_firewall(check, err);
    tell_warnings(check);
    check_clear_findings(check);
    if (ok && also != NULL)
        *err = *also;
    return ok && also == NULL;
}

bool check_before(struct run *run, struct task *tasks, size_t n, const struct err *also, struct err *err)
{
    const struct request *request = run->request;
    struct check check = {.request = request,
                          .store = run->store,
                          .root = geteuid() == 0,
                          .wants_web = true,
                          .lookup_ms = LOOKUP_MS};
    if (request->no_check)
        return open_only(&check, also, err);
    output_step("Looking whether it can work");
    bool ok = look(&check, run, tasks, n, err);
    ok = ok && (request->plan || judge_tasks(&check, tasks, n, also, err));
    if (ok)
        output_done(NULL);
    else
        output_failed();
    if (also == NULL) /* else it ends here, and remarks would hide why */
        tell_warnings(&check);
    for (size_t i = 0; request->plan && i < check.n; i++)
        if (check.v[i].stops) /* told as what it is: nothing is asked for */
            output_line("# in the way: %s", check.v[i].what);
    check_clear_findings(&check);
    return ok;
}
