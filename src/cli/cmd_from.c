/*
 * issue --from FILE: one certificate a line ("example.org www.example.org > NAME"), all of them at the same
 * time.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "around.h"
#include "batch.h"
#include "commands.h"
#include "dry_run.h"
#include "output.h"
#include "report.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

enum { MAX_FILE_BYTES = 16 << 20 };

struct lines {
    struct task *v;
    size_t n;
};

static bool at_line(struct err *err, const char *path, size_t line)
{
    return err_context(err, "%.300s:%zu", path, line);
}

static bool read_input(const char *path, struct buf *out, struct err *err)
{
    char chunk[4096];
    ssize_t n;
    if (strcmp(path, "-") != 0)
        return fs_read(path, MAX_FILE_BYTES, out, err);
    out->limit = MAX_FILE_BYTES;
    while ((n = read(STDIN_FILENO, chunk, sizeof chunk)) > 0)
        buf_add(out, chunk, (size_t)n);
    if (n < 0)
        return err_errno(err, errno, "standard input", "cannot read the list of names");
    if (out->overflow)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "standard input", "the list of names is too long");
    return true;
}

/* "names > alias", '#' begins a comment. An empty line gives no names. */
static bool parse_line(char *line, struct strlist *names, char cert_name[256], struct err *err)
{
    AUTO_STRLIST typed = STRLIST_INIT, alias = STRLIST_INIT;
    line[strcspn(line, "#")] = '\0';
    char *arrow = strchr(line, '>');
    if (arrow != NULL)
        *arrow++ = '\0';
    strlist_split(&typed, line, " \t\r,");
    if (arrow != NULL)
        strlist_split(&alias, arrow, " \t\r");
    if (typed.n == 0 && arrow == NULL)
        return true;
    if (typed.n == 0)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", "there is no name before '>'");
    if (arrow != NULL && alias.n != 1)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "",
                       "behind '>' belongs one name for the certificate");
    if (!name_normalize_list(&typed, names, err))
        return false;
    if (alias.n == 1 && !config_cert_name_valid(alias.v[0]))
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, alias.v[0],
                       "a certificate's name is made of letters, digits, '.', '_', '@' and '-'");
    if (alias.n == 1)
        snprintf(cert_name, 256, "%s", alias.v[0]);
    else
        config_cert_name_for(names->v[0], cert_name);
    return true;
}

static bool known(const struct lines *lines, const char *cert_name)
{
    for (size_t i = 0; i < lines->n; i++)
        if (strcmp(lines->v[i].config.name, cert_name) == 0)
            return true;
    return false;
}

static bool add_line(struct run *run, char *text, struct lines *lines, struct err *err)
{
    AUTO_STRLIST names = STRLIST_INIT;
    char cert_name[256];
    struct task task = {0};
    if (!parse_line(text, &names, cert_name, err))
        return false;
    if (names.n == 0)
        return true;
    if (known(lines, cert_name)) {
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, cert_name, "there is a certificate of this name above");
        return err_advise(err, "give one of them another: %s > OTHER-NAME", names.v[0]);
    }
    if (!run_config_for(run, cert_name, &names, &task, err)) {
        task_clear(&task);
        return false;
    }
    lines->v = mem_resize(lines->v, lines->n + 1, sizeof *lines->v);
    lines->v[lines->n++] = task;
    return true;
}

/* The whole file is read before anything is asked for: a slip in its last line must not come after an hour.
 */
static bool read_lines(struct run *run, const char *path, struct lines *lines, struct err *err)
{
    AUTO_BUF text = BUF_INIT;
    size_t number = 0;
    if (!read_input(path, &text, err))
        return false;
    if (memchr(buf_str(&text), '\0', text.len) != NULL)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, path,
                       "this is no list of names: there is a NUL in it");
    for (char *at = text.data; at != NULL && *at != '\0';) {
        char *line = at, *end = strchr(at, '\n');
        at = end != NULL ? end + 1 : NULL;
        if (end != NULL)
            *end = '\0';
        number++;
        if (!add_line(run, line, lines, err))
            return at_line(err, strcmp(path, "-") != 0 ? path : "standard input", number);
    }
    if (lines->n == 0)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, path, "there are no names in it");
    return true;
}

static bool decide(struct run *run, struct task *task, struct tally *tally, struct err *err)
{
    struct cert_state state = CERT_STATE_INIT;
    int live = 0;
    if (!store_state_load(run->store, task->config.name, &state, err) ||
        !store_live_version(run->store, task->config.name, &live, err))
        return false;
    task->force = run->request->force_renewal;
    task->renewal = live > 0;
    task->version = task->force ? 0 : run_usable_version(run, &task->config, &state);
    task->needs_order = task->version == 0;
    task->for_missing =
        task->needs_order && !task->force && run_only_names_missing(run, &task->config, &state);
    if (task->version == live && live > 0) { /* nothing to do for it */
        task->version = 0;
        batch_current(run, task->config.name, tally);
    }
    cert_state_clear(&state);
    return true;
}

static bool carry_out(struct run *run, struct lines *lines, struct tally *tally, struct err *err)
{
    size_t due = 0;
    for (size_t i = 0; i < lines->n; i++) {
        if (!decide(run, &lines->v[i], tally, &lines->v[i].err))
            lines->v[i].needs_order = false;
        due += lines->v[i].needs_order;
    }
    if (due > 0) {
        around_before(run, lines->v, lines->n);
        output_step("Getting %zu certificate%s", due, due == 1 ? "" : "s");
        if (!run_obtain(run, lines->v, lines->n, true, err)) {
            output_failed();
            return false;
        }
        output_done("Asked for %zu certificate%s", due, due == 1 ? "" : "s");
    }
    for (size_t i = 0; i < lines->n; i++) {
        struct task *task = &lines->v[i];
        bool whole = task->version > 0 && !err_isset(&task->err);
        if (whole && !run_save_config(run, task, &task->err))
            task->version = 0;
        if (task->needs_order || task->version > 0 || err_isset(&task->err))
            batch_finish(run, task, tally);
    }
    return true;
}

bool cmd_issue_from(const struct request *request, struct err *err)
{
    struct run run;
    struct lines lines = {0};
    struct tally tally = {0};
    if (request->json)
        report_begin(request->command);
    if (!run_open(request, &run, err)) {
        report_end(false, err);
        return false;
    }
    bool ok = read_lines(&run, request->from, &lines, err) &&
              (request->dry_run ? dry_run_tasks(&run, lines.v, lines.n, err)
                                : carry_out(&run, &lines, &tally, err));
    around_after_order(&run);
    for (size_t i = 0; i < lines.n; i++)
        task_clear(&lines.v[i]);
    free(lines.v);
    if (ok && tally.renewed > 0)
        run_ensure_timer(&run);
    ok = ok && (request->dry_run || batch_summarise(&run, &tally, "issued", err));
    run_close(&run);
    report_end(ok, err);
    return ok;
}
