/*
 * undo: put the web server's configuration back as it was before a certificate was installed. The certificate
 * stays in the store.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "commands.h"
#include "output.h"
#include "plan.h"
#include "run.h"
#include "tlsup/mem.h"
#include "usage.h"

/* The web server's sites know it no more. */
static bool forget_places(struct run *run, const char *name, struct err *err)
{
    struct cert_state state = CERT_STATE_INIT;
    bool ok = store_state_load(run->store, name, &state, err);
    strlist_clear(&state.places);
    ok = ok && store_state_save(run->store, name, &state, err);
    cert_state_clear(&state);
    return ok;
}

static void say_what_stays(struct run *run, const struct task *task)
{
    AUTO_FREE char *live = store_live_path(run->store, task->config.name);
    if (task->version > 0)
        output_text("The certificate itself stays in %s/, and is renewed; to be rid of it: tlsup delete %s",
                    live, task->config.name);
    else
        output_line("Its configuration stays; to be rid of it: tlsup delete %s", task->config.name);
}

static bool has_edits(struct run *run, const char *name)
{
    struct txn_list list = {0};
    struct err ignored = ERR_INIT;
    bool none = txn_list(store_journal_dir(run->store), name, &list, &ignored) && list.n == 0;
    txn_list_clear(&list);
    return !none;
}

/* A run that was cut short after the web server's files were put back, or a person who has done it by hand.
 */
static bool nothing_of_it_is_left(struct run *run, const struct task *task, struct err *err)
{
    enum web_kind kind;
    AUTO_FREE char *place = NULL;
    struct err why = ERR_INIT;
    const struct cert_config *config = &task->config;
    if (err->code != ERR_NOT_FOUND || has_edits(run, config->name))
        return false;
    if (config->install == WEB_NONE)
        return err_advise(err, "it is installed in no web server; `tlsup status %s` tells all of it",
                          config->name);
    if (!usage_by_web(run, config, &kind, &place, &why)) {
        *err = why;
        return false;
    }
    if (place != NULL)
        return err_advise(err,
                          "%s uses it in lines that tlsup has not written: take them out by hand, then run "
                          "this again",
                          place);
    err_clear(err);
    return true;
}

static bool take_back(struct run *run, struct task *task, struct strlist *messages, struct err *err)
{
    const char *name = task->config.name;
    if (deploy_undo(task->deploy, name, messages, err))
        output_done("The web server's configuration is as it was before %s", name);
    else if (nothing_of_it_is_left(run, task, err))
        output_done("Nothing of %s is left in %s", name, web_kind_name(task->config.install));
    return !err_isset(err);
}

static bool work(struct run *run, struct task *task, struct err *err)
{
    AUTO_STRLIST messages = STRLIST_INIT;
    if (run->request->arguments.n != 1)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, NULL,
                       "undo takes the name of one certificate; `tlsup status` lists them");
    const char *name = run->request->arguments.v[0];
    if (!run_config(run, name, task, err))
        return false;
    if (!task->existed)
        return err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, name, "there is no certificate of this name");
    output_step(run->request->plan ? "Looking at the web server"
                                   : "Putting the web server's configuration back");
    if (!store_live_version(run->store, name, &task->version, err) ||
        !run_deploy(run, task->config.install, &task->config, &task->deploy, err))
        return false;
    if (run->request->plan)
        return plan_undo(run, task, err);
    if (!take_back(run, task, &messages, err))
        return false;
    for (size_t i = 0; i < messages.n; i++)
        output_warning("%s", messages.v[i]);
    /* taking the link back was part of it; the certificate itself is kept, and renewed, for whatever else
     * uses it */
    task->config.install = WEB_NONE;
    if ((task->version > 0 && !run_install(run, task, err)) || !run_save_config(run, task, err) ||
        !forget_places(run, name, err))
        return false;
    say_what_stays(run, task);
    return run_deployed(task, err);
}

bool cmd_undo(const struct request *request, struct err *err)
{
    return request->plan ? plan_one(request, work, err) : run_one(request, work, err);
}
