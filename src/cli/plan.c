#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "timer.h"
#include "tlsup/hooks.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"
#include "tlsup/sandbox.h"

/* Stands for the thumbprint of a key that is not there yet. */
static const char placeholder[] = "THUMBPRINT-OF-THE-ACCOUNT-KEY";

/* -- opening -------------------------------------------------------------------------------------------- */

bool plan_open(const struct request *request, struct run *run, struct err *err)
{
    *run = (struct run)RUN_INIT;
    run->request = request;
    if (geteuid() != 0) { /* nobody else sees which server runs, and may ask it whether it takes its files */
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, "", "only root can look at all that a plan depends on");
        return err_advise(err, "run it with sudo; it changes nothing");
    }
    signals_install();
    sandbox_keep_secrets();
    if (!store_open(request->config_dir, request->state_dir, STORE_READ, &run->store, err))
        return false;
    if (role_start_prober(err))
        return true;
    run_close(run);
    return false;
}

bool plan_one(const struct request *request, run_work_fn *work, struct err *err)
{
    struct run run;
    struct task task = {0};
    if (!plan_open(request, &run, err))
        return false;
    bool ok = work(&run, &task, err);
    if (ok)
        plan_end();
    else
        output_failed();
    run_close(&run);
    task_clear(&task);
    return ok;
}

/* -- printing ------------------------------------------------------------------------------------------- */

struct plan {
    int steps;
    struct buf ours, servers; /* diffs: of our files, of the web server's */
    struct strlist commands;  /* for the web server to take its files up */
};

static void plan_clear(struct plan *plan)
{
    buf_clear(&plan->ours);
    buf_clear(&plan->servers);
    strlist_clear(&plan->commands);
}

static void PRINTF_LIKE(2, 3) add_step(struct plan *plan, const char *fmt, ...)
{
    char line[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    printable(line);
    output_done(NULL);
    output_line("# %d. %s", ++plan->steps, line);
}

static void add_commands(const struct strlist *commands)
{
    for (size_t i = 0; i < commands->n; i++)
        output_line("#      %s", commands->v[i]);
}

static enum output_style style_of_line(const char *line)
{
    static const struct {
        const char *begin;
        enum output_style style;
    } styles[] = {
        {"--- ", STYLE_BOLD}, {"+++ ", STYLE_BOLD}, {"@@ ", STYLE_DIM}, {"+", STYLE_GOOD}, {"-", STYLE_BAD}};
    for (size_t i = 0; i < COUNT_OF(styles); i++)
        if (strncmp(line, styles[i].begin, strlen(styles[i].begin)) == 0)
            return styles[i].style;
    return STYLE_PLAIN;
}

/* On a terminal in colours, and without what could mean something to it; else byte by byte. */
static void print_diff(const struct buf *diff)
{
    if (output_columns() == 0) {
        fwrite(buf_str(diff), 1, diff->len, stdout);
        fflush(stdout);
        return;
    }
    for (const char *at = buf_str(diff), *end = at + diff->len; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t len = newline != NULL ? (size_t)(newline - at) : (size_t)(end - at);
        AUTO_FREE char *line = mem_ndup(at, len);
        enum output_style style = style_of_line(line);
        printable(line);
        printf("%s%s%s\n", style != STYLE_PLAIN ? output_style(style) : "", line,
               style != STYLE_PLAIN ? output_style(STYLE_PLAIN) : "");
        at += len + 1;
    }
    fflush(stdout);
}

void plan_end(void)
{
    output_done(NULL);
    output_line("# Nothing was changed.");
}

/* -- the names in a diff --------------------------------------------------------------------------------- */

/* How many lines of each side a hunk has: "@@ -3,7 +3,8 @@"; a count of one is left out. */
static void read_hunk(const char *line, unsigned long left[2])
{
    static const char signs[] = "-+";
    for (int side = 0; side < 2; side++) {
        const char *at = strchr(line, signs[side]);
        const char *comma = at != NULL ? at + 1 + strspn(at + 1, "0123456789") : "";
        left[side] = at == NULL ? 0 : *comma == ',' ? strtoul(comma + 1, NULL, 10) : 1;
    }
}

/* A file that is reached by a link is named by its own path: patch(1) does not follow links. */
static void add_header(const char *line, struct buf *out)
{
    AUTO_FREE char *real = realpath(line + 4, NULL);
    bool is_path = strcmp(line + 4, "/dev/null") != 0 && real != NULL;
    buf_addf(out, "%.4s%s\n", line, is_path ? real : line + 4);
}

static void name_real_files(struct buf *diff)
{
    AUTO_BUF out = BUF_INIT;
    unsigned long left[2] = {0, 0};
    for (const char *at = buf_str(diff), *end = at + diff->len; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t len = newline != NULL ? (size_t)(newline - at) : (size_t)(end - at);
        AUTO_FREE char *line = mem_ndup(at, len);
        bool inside = left[0] + left[1] > 0;
        if (inside) {
            left[0] -= (*at == ' ' || *at == '-') && left[0] > 0;
            left[1] -= (*at == ' ' || *at == '+') && left[1] > 0;
        } else if (strncmp(line, "@@ -", 4) == 0) {
            read_hunk(line, left);
        }
        if (!inside && (strncmp(line, "--- /", 5) == 0 || strncmp(line, "+++ /", 5) == 0)) {
            add_header(line, &out);
        } else {
            buf_add(&out, at, len);
            buf_addc(&out, '\n');
        }
        at += len + 1;
    }
    buf_reset(diff);
    buf_add(diff, buf_str(&out), out.len);
}

/* -- our own file --------------------------------------------------------------------------------------- */

static void diff_new_file(const char *path, const struct buf *text, struct buf *out)
{
    size_t n = 0;
    for (size_t i = 0; i < text->len; i++)
        n += text->data[i] == '\n';
    buf_addf(out, "--- /dev/null\n+++ %s\n@@ -0,0 +1%s", path, n == 1 ? "" : ",");
    if (n != 1)
        buf_addf(out, "%zu", n);
    buf_adds(out, " @@\n");
    for (const char *at = buf_str(text); *at != '\0'; at += strcspn(at, "\n") + 1)
        buf_addf(out, "+%.*s\n", (int)strcspn(at, "\n"), at);
}

static bool diff_file(struct run *run, const char *cert_name, const char *path, const struct buf *text,
                      struct buf *out, struct err *err)
{
    struct txn *txn = NULL;
    if (!txn_begin(store_journal_dir(run->store), cert_name, "a plan", &txn, err))
        return false;
    bool ok = txn_write(txn, path, buf_str(text), text->len, 0644, err);
    if (ok)
        txn_diff(txn, out);
    txn_free(txn);
    return ok;
}

/* What the certificate's file would say. */
static bool diff_config(struct run *run, const struct task *task, struct buf *out, struct err *err)
{
    struct cert_config defaults = {0}, stored = {0};
    struct err ignored = ERR_INIT;
    AUTO_BUF text = BUF_INIT;
    AUTO_FREE char *path = mem_fmt("%s/certs.d/%s.conf", store_config_dir(run->store), task->config.name);
    bool same = task->existed && store_cert_config(run->store, task->config.name, &stored, &ignored) &&
                cert_config_same(&stored, &task->config);
    cert_config_clear(&stored);
    if (same)
        return true;
    if (!store_defaults(run->store, &defaults, err))
        return false;
    config_write_text(&task->config, &defaults, &text);
    cert_config_clear(&defaults);
    if (task->existed)
        return diff_file(run, task->config.name, path, &text, out, err);
    diff_new_file(path, &text, out);
    return true;
}

/* -- a certificate -------------------------------------------------------------------------------------- */

static bool thumbprint_of(struct run *run, const struct cert_config *config, char out[KEY_THUMBPRINT_BYTES],
                          struct err *err)
{
    AUTO_KEY *key = NULL;
    struct err why = ERR_INIT;
    if (store_account_key(run->store, config->server, config->account, false, &key, &why))
        return key_thumbprint(key, out, err);
    if (why.code != ERR_NOT_FOUND) {
        *err = why;
        return false;
    }
    snprintf(out, KEY_THUMBPRINT_BYTES, "%s", placeholder);
    return true;
}

static bool is_answered_by_web_server(const struct job *job)
{
    for (size_t i = 0; i < job->n_types; i++)
        if (job->types[i] == CHALLENGE_HTTP_01)
            return job->way[CHALLENGE_HTTP_01] == CHALLENGE_VIA_WEB_SERVER && !job->use_responder;
    return false;
}

/* "http-01, answered by nginx": the way that would be tried first. */
static char *describe_challenge(const struct task *task)
{
    const struct job *job = &task->job;
    const char *type = challenge_type_name(job->types[0]);
    enum config_challenge via = job->way[job->types[0]];
    if (via == CHALLENGE_VIA_WEB_SERVER && !job->use_responder)
        return mem_fmt("%s, answered by %s", type, web_kind_name(deploy_web(task->deploy)->kind));
    if (via == CHALLENGE_VIA_WEB_SERVER || via == CHALLENGE_VIA_STANDALONE || via == CHALLENGE_VIA_TLS_ALPN)
        return mem_fmt("%s, answered by tlsup itself on port %d", type,
                       via == CHALLENGE_VIA_TLS_ALPN ? 443 : 80);
    return mem_fmt("%s, by way of %s", type, config_challenge_name(via));
}

static void tell_account(struct run *run, const struct cert_config *config)
{
    struct account_record record = {0};
    struct err ignored = ERR_INIT;
    bool known = store_account_load(run->store, config->server, config->account, &record, &ignored) &&
                 record.url[0] != '\0';
    if (known)
        output_line("#      account     %s", record.url);
    else
        output_line("#      account     a new one%s%s, made first", config->email != NULL ? " for " : "",
                    config->email != NULL ? config->email : "");
}

static void tell_order(struct run *run, const struct task *task, struct plan *plan)
{
    const struct cert_config *config = &task->config;
    char ca[256];
    AUTO_FREE char *names = strlist_join(&config->names, " ");
    AUTO_FREE char *challenge = describe_challenge(task);
    add_step(plan, "ask %s for a certificate", config_ca_name(config->server, ca));
    output_line("#      names       %s", names);
    output_line("#      key         %s%s%s", key_type_name(config->key_type), config->dual ? " and " : "",
                config->dual ? key_type_name(config->second_key_type) : "");
    output_line("#      challenge   %s", challenge);
    tell_account(run, config);
    for (size_t i = 0; i < config->fallbacks.n; i++)
        output_line("#      else from   %s", config_ca_name(config->fallbacks.v[i], ca));
}

static void tell_stored(struct run *run, const struct task *task, struct plan *plan)
{
    char validity[128];
    add_step(plan, "use the certificate that is here: version %d, %s", task->version,
             run_validity(run, task->config.name, task->version, validity));
}

/* The live link is switched in one step with the web server's files. The caller frees; NULL = it stays. */
static char *describe_link(struct run *run, const struct task *task, int live_version)
{
    AUTO_FREE char *live = store_live_path(run->store, task->config.name);
    AUTO_FREE char *target = store_version_link_target(task->config.name, task->version);
    if (task->needs_order)
        return mem_fmt("%s/ leads to the new certificate and its key", live);
    return task->version != live_version ? mem_fmt("ln -sfn %s %s", target, live) : NULL;
}

static void tell_files(struct plan *plan, const char *what, const char *link)
{
    if (plan->ours.len + plan->servers.len == 0 && link == NULL)
        return;
    add_step(plan, "%s", what);
    if (link != NULL)
        output_line("#      %s", link);
    print_diff(&plan->ours);
    print_diff(&plan->servers);
}

static void tell_renewal(struct run *run, struct plan *plan)
{
    struct timer timer;
    if (run->request->no_timer)
        return;
    timer_look_for(run->request->config_dir, run->request->state_dir, &timer);
    if (!timer.active)
        add_step(plan, "switch renewals on: a timer of systemd, or cron");
}

/* Those of the directory, then the certificate's, each once. */
static void tell_hooks(struct run *run, enum hook_when when, const struct strlist *own,
                       const struct cert_config *config, struct plan *plan)
{
    AUTO_STRLIST programs = STRLIST_INIT;
    struct err why = ERR_INIT;
    if (!hooks_list(store_config_dir(run->store), when, &programs, &why))
        output_warning("%s", why.text);
    for (size_t i = 0; i < own->n; i++)
        if (!strlist_has(&programs, own->v[i]))
            strlist_add(&programs, own->v[i]);
    for (size_t i = 0; i < programs.n; i++)
        add_step(plan, "run %s%s%s", programs.v[i], config->hook_user != NULL ? " as " : "",
                 config->hook_user != NULL ? config->hook_user : "");
}

static void tell_deployments(struct run *run, const struct cert_config *config, struct plan *plan)
{
    for (size_t i = 0; i < config->exports.n; i++)
        add_step(plan, "write a copy: %s", config->exports.v[i]);
    tell_hooks(run, HOOK_DEPLOY, &config->deploy_hooks, config, plan);
    for (size_t i = 0; i < config->verify.n; i++)
        add_step(plan, "see that %s serves it", config->verify.v[i]);
}

static void tell_certificate(struct run *run, const struct task *task, int live_version, bool answers,
                             struct plan *plan)
{
    const char *kind = web_kind_name(deploy_web(task->deploy)->kind);
    AUTO_FREE char *link = describe_link(run, task, live_version);
    bool touched = plan->servers.len > 0 || link != NULL;
    if (!task->needs_order && !touched && plan->ours.len == 0) {
        output_line("# Nothing is to be done for %s: https is on in %s as it is asked for.",
                    task->config.name, kind);
        tell_renewal(run, plan);
        return;
    }
    output_line("# For %s, tlsup would do this:", task->config.name);
    if (task->needs_order)
        tell_hooks(run, HOOK_PRE, &task->config.pre_hooks, &task->config, plan);
    if (task->needs_order)
        tell_order(run, task, plan);
    else
        tell_stored(run, task, plan);
    tell_files(plan,
               answers && plan->servers.len > 0
                   ? "write these files: what answers the challenge before the CA is asked, the rest after"
                   : "write these files",
               link);
    if (touched) {
        add_step(plan, "test and reload %s; put all files back if it does not take them", kind);
        add_commands(&plan->commands);
        add_step(plan, "prove by a TLS handshake over each address that the certificate is served");
    }
    if (link != NULL)
        tell_deployments(run, &task->config, plan);
    if (task->needs_order)
        tell_hooks(run, HOOK_POST, &task->config.post_hooks, &task->config, plan);
    tell_renewal(run, plan);
}

bool plan_certificate(struct run *run, struct task *task, struct err *err)
{
    struct plan plan = {0};
    char thumbprint[KEY_THUMBPRINT_BYTES];
    int live = 0;
    if (task->needs_order && !run_choose_ways(run, task, err))
        return false;
    bool answers = task->needs_order && is_answered_by_web_server(&task->job);
    bool ok = (!answers || thumbprint_of(run, &task->config, thumbprint, err)) &&
              store_live_version(run->store, task->config.name, &live, err) &&
              deploy_plan(task->deploy, &task->config, answers ? thumbprint : NULL, &plan.servers,
                          &plan.commands, err) &&
              diff_config(run, task, &plan.ours, err);
    name_real_files(&plan.servers);
    if (ok)
        tell_certificate(run, task, live, answers, &plan);
    plan_clear(&plan);
    return ok;
}

/* -- the others ----------------------------------------------------------------------------------------- */

/* The link to the certificate is taken away and made again: it stays. */
static void leave_link_out(struct run *run, const char *cert_name, struct buf *diff)
{
    AUTO_FREE char *live = store_live_path(run->store, cert_name);
    AUTO_FREE char *begin = mem_fmt("-%s -> ", live);
    AUTO_BUF kept = BUF_INIT;
    for (const char *at = buf_str(diff), *end = at + diff->len; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t len = newline != NULL ? (size_t)(newline - at) + 1 : (size_t)(end - at);
        if (len < strlen(begin) || memcmp(at, begin, strlen(begin)) != 0)
            buf_add(&kept, at, len);
        at += len;
    }
    buf_reset(diff);
    buf_add(diff, buf_str(&kept), kept.len);
}

bool plan_undo(struct run *run, struct task *task, struct err *err)
{
    struct plan plan = {0};
    AUTO_STRLIST messages = STRLIST_INIT;
    bool ok =
        deploy_plan_undo(task->deploy, task->config.name, &plan.servers, &plan.commands, &messages, err);
    task->config.install = WEB_NONE;
    ok = ok && diff_config(run, task, &plan.ours, err);
    if (ok) {
        leave_link_out(run, task->config.name, &plan.servers);
        name_real_files(&plan.servers);
        output_line("# To take %s out of %s, tlsup would do this:", task->config.name,
                    web_kind_name(deploy_web(task->deploy)->kind));
        tell_files(&plan, "write these files as they were", NULL);
        if (plan.servers.len > 0) {
            add_step(&plan, "test and reload the web server");
            add_commands(&plan.commands);
        }
        for (size_t i = 0; i < messages.n; i++)
            output_warning("%s", messages.v[i]);
    }
    plan_clear(&plan);
    return ok;
}

void plan_package(const struct package *package)
{
    AUTO_STRLIST commands = STRLIST_INIT;
    package_commands(package, &commands);
    output_line("# There is no web server here. First of all tlsup would install one:");
    add_commands(&commands);
    output_line("# What comes after that depends on the files which that brings.");
}
