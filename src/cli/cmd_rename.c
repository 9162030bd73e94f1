/*
 * rename: call a certificate by another name, and with it its files, in the web server, too.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "run.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "usage.h"

#define PROGRAM_BYTES ((size_t)1 << 20)

/* -- which web server ----------------------------------------------------------------------------------- */

static bool has_edits(struct run *run, const char *name, bool *out, struct err *err)
{
    struct txn_list list = {0};
    bool ok = txn_list(store_journal_dir(run->store), name, &list, err);
    *out = ok && list.n > 0;
    txn_list_clear(&list);
    return ok;
}

/* None where it is served by none and nothing was ever written for it into one. */
static bool find_server(struct run *run, const struct cert_config *config, struct deploy **out,
                        struct err *err)
{
    enum web_kind user = config->install;
    AUTO_FREE char *place = NULL;
    bool edits = false;
    struct err none = ERR_INIT;
    *out = NULL;
    if (!has_edits(run, config->name, &edits, err) ||
        (user == WEB_NONE && !usage_by_web(run, config, &user, &place, err)))
        return false;
    if (!edits && user == WEB_NONE)
        return true;
    if (run_deploy(run, user, config, out, &none) || (none.code == ERR_NOT_FOUND && user == WEB_NONE))
        return true;
    *err = none;
    return false;
}

/* -- programs that still know the old path -------------------------------------------------------------- */

static bool mentions(const char *path, const char *old)
{
    AUTO_BUF text = BUF_INIT;
    struct err ignored = ERR_INIT;
    return fs_read(path, PROGRAM_BYTES, &text, &ignored) &&
           memmem(buf_str(&text), text.len, old, strlen(old)) != NULL;
}

static void add_mentioning(const struct strlist *programs, const char *old, struct strlist *out)
{
    for (size_t i = 0; i < programs->n; i++)
        if (!strlist_has(out, programs->v[i]) && mentions(programs->v[i], old))
            strlist_add(out, programs->v[i]);
}

static void add_of_directory(struct run *run, const char *when, const char *old, struct strlist *out)
{
    AUTO_FREE char *dir = mem_fmt("%s/hooks/%s", store_config_dir(run->store), when);
    AUTO_STRLIST names = STRLIST_INIT, paths = STRLIST_INIT;
    struct err ignored = ERR_INIT;
    if (!fs_list(dir, &names, &ignored))
        return;
    for (size_t i = 0; i < names.n; i++) {
        AUTO_FREE char *path = fs_join(dir, names.v[i]);
        strlist_add(&paths, path);
    }
    add_mentioning(&paths, old, out);
}

static void say_who_knows_the_old(struct run *run, const struct cert_config *config, const char *from)
{
    static const char *const whens[] = {"pre", "deploy", "post"};
    AUTO_FREE char *old = store_live_path(run->store, from);
    AUTO_STRLIST found = STRLIST_INIT;
    add_mentioning(&config->pre_hooks, old, &found);
    add_mentioning(&config->deploy_hooks, old, &found);
    add_mentioning(&config->post_hooks, old, &found);
    for (size_t i = 0; i < COUNT_OF(whens); i++)
        add_of_directory(run, whens[i], old, &found);
    for (size_t i = 0; i < found.n; i++)
        output_warning("%s still names %s: change that by hand", found.v[i], old);
    output_line("  old path     %s is gone", old);
    output_line("               (tell programs that you pointed there yourself)");
}

/* -- the renaming --------------------------------------------------------------------------------------- */

static bool is_over_already(const struct run *run, const char *from, const char *to)
{
    return run->renamed.n == 2 && strcmp(run->renamed.v[0], from) == 0 && strcmp(run->renamed.v[1], to) == 0;
}

static void finish(struct run *run, const char *from)
{
    AUTO_STRLIST done = STRLIST_INIT;
    struct err err = ERR_INIT;
    if (!store_rename_finish(run->store, &done, &err) ||
        !txn_prune(store_journal_dir(run->store), from, SIZE_MAX, &err))
        log_warn("what is left of the old name goes with the next run: %s", err.text);
}

static void report(struct run *run, const struct cert_config *config, const char *from, const char *to)
{
    AUTO_FREE char *live = store_live_path(run->store, to);
    output_line("%s is called %s now", from, to);
    output_line("  files        %s/fullchain.pem%s", live,
                config->key == NULL && config->csr == NULL ? " and privkey.pem" : "");
    say_who_knows_the_old(run, config, from);
}

/* The edits keep their lines, but may be in files of other names now. */
static void note_places(struct run *run, const struct deploy *deploy, const struct cert_config *config,
                        const char *to)
{
    struct cert_state state = CERT_STATE_INIT;
    struct err err = ERR_INIT;
    if (config->install == WEB_NONE || deploy == NULL)
        return;
    bool ok = store_state_load(run->store, to, &state, &err);
    strlist_clear(&state.places);
    for (size_t i = 0; ok && i < config->names.n; i++) {
        const struct site *site =
            sites_owner(deploy_web(deploy), deploy_sites(deploy), config->names.v[i], 443, false);
        AUTO_FREE char *place = site != NULL ? mem_fmt("%s:%zu", site->file, site->line) : NULL;
        if (place != NULL && !strlist_has(&state.places, place))
            strlist_add(&state.places, place);
    }
    if (!ok || !store_state_save(run->store, to, &state, &err))
        log_warn("%s", err.text);
    cert_state_clear(&state);
}

static bool carry_out(struct run *run, struct task *task, const char *to, struct err *err)
{
    const char *from = task->config.name;
    AUTO_STRLIST messages = STRLIST_INIT;
    if (!find_server(run, &task->config, &task->deploy, err))
        return false;
    output_step("Renaming %s to %s", from, to);
    if (!store_rename_prepare(run->store, from, to, err))
        return false;
    bool ok = deploy_rename(task->deploy, run->store, from, to, &messages, err);
    finish(run, from);
    for (size_t i = 0; i < messages.n; i++)
        output_warning("%s", messages.v[i]);
    if (!ok)
        return false;
    note_places(run, task->deploy, &task->config, to);
    if (task->deploy != NULL && deploy_proof(task->deploy)[0] != '\0')
        output_done("Renamed, in %s, too, and proven: %s", web_kind_name(deploy_web(task->deploy)->kind),
                    deploy_proof(task->deploy));
    else
        output_done("Renamed");
    report(run, &task->config, from, to);
    return true;
}

static bool work(struct run *run, struct task *task, struct err *err)
{
    const char *from = run->request->arguments.v[0], *to = run->request->arguments.v[1];
    if (is_over_already(run, from, to)) {
        output_text("%s is called %s now: the renaming that was interrupted has been brought to its end.",
                    from, to);
        return true;
    }
    if (strcmp(from, to) == 0)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, from, "that is its name already");
    output_step("Looking at what uses %s", from);
    return store_cert_config(run->store, from, &task->config, err) && carry_out(run, task, to, err);
}

bool cmd_rename(const struct request *request, struct err *err)
{
    if (request->arguments.n != 2)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, NULL,
                       "rename takes a certificate and its new name; `tlsup status` lists them");
    return run_one(request, work, err);
}
