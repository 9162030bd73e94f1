/*
 * install: put a stored certificate into a web server.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <string.h>

#include "commands.h"
#include "output.h"
#include "plan.h"
#include "run.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

/* The configuration first: a run that is cut short in between is ended by the next renewal, while a web
 * server of which the configuration knows nothing would never be told of a new certificate. */
static bool save_and_install(struct run *run, struct task *task, struct err *err)
{
    AUTO_BUF before = BUF_INIT;
    struct err late = ERR_INIT;
    const char *name = task->config.name;
    if (!store_cert_config_text(run->store, name, &before, err) || !run_save_config(run, task, err))
        return false;
    if (run_install(run, task, err))
        return true;
    if (!store_cert_config_put_back(run->store, name, &before, &late))
        log_error("the configuration of %s could not be put back: %s", name, late.text);
    return false;
}

static bool work(struct run *run, struct task *task, struct err *err)
{
    const struct request *request = run->request;
    if (request->arguments.n != 1)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, NULL,
                       "install takes the name of one certificate; `tlsup status` lists them");
    const char *name = request->arguments.v[0];
    if (!run_config(run, name, task, err))
        return false;
    if (!task->existed || !store_live_version(run->store, name, &task->version, err) || task->version == 0) {
        if (!err_isset(err))
            err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, name, "there is no certificate of this name");
        return err_advise(err, "`tlsup status` lists what there is; `tlsup enable %s` gets and installs one",
                          name);
    }
    enum web_kind kind = request->web != WEB_NONE ? request->web : task->config.install;
    output_step(request->plan ? "Looking at the web server" : "Switching on https for %s", name);
    if (!run_deploy(run, kind, &task->config, &task->deploy, err))
        return false;
    task->config.install = deploy_web(task->deploy)->kind;
    if (request->plan)
        return plan_certificate(run, task, err);
    if (!save_and_install(run, task, err))
        return false;
    output_done("https is on in %s for %s, proven: %s", web_kind_name(task->config.install), name,
                deploy_proof(task->deploy));
    run_record_success(run, name);
    run_ensure_timer(run);
    return run_deployed(task, err);
}

bool cmd_install(const struct request *request, struct err *err)
{
    return request->plan ? plan_one(request, work, err) : run_one(request, work, err);
}
