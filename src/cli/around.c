#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "around.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "notices.h"
#include "output.h"
#include "report.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/hooks.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/policy.h"

enum { NAMES_KEPT = 2000 /* of each list, for a later try: run.json is read by every run */ };

struct program {
    char *path;
    char *user; /* NULL = ours */
    int timeout_s;
};
struct programs {
    struct program *v;
    size_t n;
};

struct around {
    bool began; /* a certificate was going to be ordered */
    struct programs post;
    struct strlist renewed, failed, renewed_names, failed_names;
    struct err trouble;
    bool told; /* `trouble` is an earlier run's */
};

static void programs_clear(struct programs *programs)
{
    for (size_t i = 0; i < programs->n; i++) {
        free(programs->v[i].path);
        free(programs->v[i].user);
    }
    free(programs->v);
    *programs = (struct programs){0};
}

static struct around *around_of(struct run *run)
{
    if (run->around == NULL)
        run->around = mem_alloc(sizeof *run->around);
    return run->around;
}

void around_close(struct run *run)
{
    struct around *around = run->around;
    run->around = NULL;
    if (around == NULL)
        return;
    programs_clear(&around->post);
    strlist_clear(&around->renewed);
    strlist_clear(&around->failed);
    strlist_clear(&around->renewed_names);
    strlist_clear(&around->failed_names);
    free(around);
}

const struct err *around_trouble(const struct run *run, bool *told)
{
    if (run->around == NULL || !err_isset(&run->around->trouble))
        return NULL;
    *told = run->around->told;
    return &run->around->trouble;
}

/* -- which programs ------------------------------------------------------------------------------------- */

static void add_program(struct programs *programs, const char *path, const struct cert_config *config)
{
    for (size_t i = 0; i < programs->n; i++)
        if (strcmp(programs->v[i].path, path) == 0)
            return;
    programs->v = mem_resize(programs->v, programs->n + 1, sizeof *programs->v);
    programs->v[programs->n++] =
        (struct program){mem_dup(path), mem_dup(config->hook_user), config->deploy_timeout_s};
}

static void add_programs(struct programs *programs, const struct strlist *paths,
                         const struct cert_config *config)
{
    for (size_t i = 0; i < paths->n; i++)
        add_program(programs, paths->v[i], config);
}

/* -- one that ran --------------------------------------------------------------------------------------- */

static void tell_notices(struct run *run, const char *program, const struct err *why)
{
    AUTO_FREE char *subject = mem_fmt("hook %s", program);
    if (run->notices != NULL)
        notices_machine(run->notices, subject, why);
}

static void note_trouble(struct run *run, const struct err *why, bool told)
{
    struct around *around = around_of(run);
    if (err_isset(&around->trouble) && (!around->told || told))
        return;
    around->trouble = *why;
    around->told = told;
}

static bool run_program(struct run *run, enum hook_when when, const struct program *program,
                        const struct hook_post *post, struct err *why)
{
    struct hook_run hook = {.when = when,
                            .program = program->path,
                            .user = program->user,
                            .timeout_s =
                                program->timeout_s > 0 ? program->timeout_s : CONFIG_DEPLOY_TIMEOUT_S,
                            .post = post};
    output_step("Running the %s hook %s", hook_when_name(when), program->path);
    bool ok = hooks_run(&hook, why);
    if (ok) {
        output_done(NULL);
    } else {
        output_failed();
        output_error(why);
        note_trouble(run, why, false);
    }
    tell_notices(run, program->path, ok ? NULL : why);
    report_hook(when, program->path, false, ok ? NULL : why);
    return ok;
}

/* The directory's; one that cannot be trusted is a failure like that of a program. */
static void list_directory(struct run *run, enum hook_when when, struct programs *programs)
{
    struct err why = ERR_INIT;
    struct cert_config defaults = {0};
    AUTO_STRLIST paths = STRLIST_INIT;
    AUTO_FREE char *dir = hooks_directory(store_config_dir(run->store), when);
    if (!fs_exists(dir))
        return;
    if (hooks_list(store_config_dir(run->store), when, &paths, &why) &&
        (paths.n == 0 || store_defaults(run->store, &defaults, &why))) {
        add_programs(programs, &paths, &defaults);
        cert_config_clear(&defaults);
    } else {
        output_error(&why);
        note_trouble(run, &why, false);
        report_hook(when, dir, false, &why);
    }
    tell_notices(run, dir, err_isset(&why) ? &why : NULL);
}

/* -- what is kept for later runs ------------------------------------------------------------------------ */

static void load(struct run *run, struct run_state *state)
{
    struct err why = ERR_INIT;
    if (!store_run_state_load(run->store, state, &why))
        log_warn("what earlier runs have left is not known: %s", why.text);
}

static void save(struct run *run, const struct run_state *state)
{
    struct err why = ERR_INIT;
    if (!store_run_state_save(run->store, state, &why))
        log_warn("a failed hook could not be noted: %s", why.text);
}

static struct hook_debt *find_debt(struct run_state *state, const char *program, bool post)
{
    for (size_t i = 0; i < state->n_debts; i++)
        if (state->debts[i].post == post && strcmp(state->debts[i].program, program) == 0)
            return &state->debts[i];
    return NULL;
}

static struct hook_debt *add_debt(struct run_state *state, const struct program *program, bool post)
{
    struct hook_debt *debt = find_debt(state, program->path, post);
    if (debt == NULL) {
        state->debts = mem_resize(state->debts, state->n_debts + 1, sizeof *state->debts);
        debt = &state->debts[state->n_debts++];
        *debt = (struct hook_debt){.program = mem_dup(program->path), .post = post};
    }
    free(debt->user);
    debt->user = mem_dup(program->user);
    debt->timeout_s = program->timeout_s;
    return debt;
}

static void drop_debt(struct run_state *state, struct hook_debt *debt)
{
    size_t at = (size_t)(debt - state->debts);
    hook_debt_clear(debt);
    state->n_debts--;
    memmove(debt, debt + 1, (state->n_debts - at) * sizeof *debt);
}

static void note_failure(struct hook_debt *debt, const struct err *why)
{
    uint32_t random = 0;
    (void)!getrandom(&random, sizeof random, 0); /* 0 is as good as any other jitter */
    debt->failures++;
    debt->failed_s = clock_now_s();
    debt->next_try_s = debt->failed_s + policy_backoff_s(debt->failures, why->wait_s, random);
    debt->last_error = *why;
}

static void remove_from(struct strlist *list, const struct strlist *gone)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->n; i++) {
        if (strlist_has(gone, list->v[i]))
            free(list->v[i]);
        else
            list->v[kept++] = list->v[i];
    }
    list->n = kept;
}

static void add_to(struct strlist *list, const struct strlist *more)
{
    for (size_t i = 0; i < more->n && list->n < NAMES_KEPT; i++)
        if (!strlist_has(list, more->v[i]))
            strlist_add(list, more->v[i]);
}

/* All that has happened since it was last run; what failed first and was renewed then has been renewed, and
 * the other way round. */
static void add_news(struct hook_debt *debt, const struct around *around)
{
    remove_from(&debt->failed, &around->renewed);
    remove_from(&debt->failed_names, &around->renewed_names);
    remove_from(&debt->renewed, &around->failed);
    remove_from(&debt->renewed_names, &around->failed_names);
    add_to(&debt->renewed, &around->renewed);
    add_to(&debt->renewed_names, &around->renewed_names);
    add_to(&debt->failed, &around->failed);
    add_to(&debt->failed_names, &around->failed_names);
}

/* -- before --------------------------------------------------------------------------------------------- */

static bool is_ordered(const struct task *tasks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (tasks[i].needs_order)
            return true;
    return false;
}

/* Should this run be killed, all that it was at has failed as far as a hook can tell. */
static void write_down(struct run *run, const struct task *tasks, size_t n)
{
    const struct around *around = around_of(run);
    struct around all = {0}; /* as if this were what has happened */
    struct run_state state = RUN_STATE_INIT;
    for (size_t i = 0; i < n; i++)
        if (tasks[i].needs_order) {
            strlist_add(&all.failed, tasks[i].config.name);
            add_to(&all.failed_names, &tasks[i].config.names);
        }
    load(run, &state);
    for (size_t i = 0; i < around->post.n; i++)
        add_news(add_debt(&state, &around->post.v[i], true), &all);
    save(run, &state);
    run_state_clear(&state);
    strlist_clear(&all.failed);
    strlist_clear(&all.failed_names);
}

static void run_before(struct run *run, const struct programs *programs)
{
    struct run_state state = RUN_STATE_INIT;
    bool changed = false;
    load(run, &state);
    for (size_t i = 0; i < programs->n; i++) {
        struct err why = ERR_INIT;
        if (!run_program(run, HOOK_PRE, &programs->v[i], NULL, &why)) {
            note_failure(add_debt(&state, &programs->v[i], false), &why);
            changed = true;
        } else if (find_debt(&state, programs->v[i].path, false) != NULL) {
            drop_debt(&state, find_debt(&state, programs->v[i].path, false));
            changed = true;
        }
    }
    if (changed)
        save(run, &state);
    run_state_clear(&state);
}

void around_before(struct run *run, const struct task *tasks, size_t n)
{
    struct around *around = around_of(run);
    struct programs pre = {0};
    if (run->request->dry_run || !is_ordered(tasks, n))
        return;
    around->began = true;
    list_directory(run, HOOK_PRE, &pre);
    list_directory(run, HOOK_POST, &around->post);
    for (size_t i = 0; i < n; i++)
        if (tasks[i].needs_order) {
            add_programs(&pre, &tasks[i].config.pre_hooks, &tasks[i].config);
            add_programs(&around->post, &tasks[i].config.post_hooks, &tasks[i].config);
        }
    if (pre.n > 0 && around->post.n > 0)
        write_down(run, tasks, n);
    if (pre.n > 0)
        run_before(run, &pre);
    programs_clear(&pre);
}

/* -- what has happened ---------------------------------------------------------------------------------- */

static void happened(struct run *run, const struct cert_config *config, struct strlist *certs,
                     struct strlist *names)
{
    struct around *around = around_of(run);
    if (!strlist_has(certs, config->name))
        strlist_add(certs, config->name);
    for (size_t i = 0; i < config->names.n; i++)
        if (!strlist_has(names, config->names.v[i]))
            strlist_add(names, config->names.v[i]);
    add_programs(&around->post, &config->post_hooks, config);
}

void around_renewed(struct run *run, const struct cert_config *config)
{
    struct around *around = around_of(run);
    happened(run, config, &around->renewed, &around->renewed_names);
}

void around_failed(struct run *run, const char *cert_name, const struct cert_config *config)
{
    struct around *around = around_of(run);
    struct cert_config stored = {0};
    struct err ignored = ERR_INIT;
    if (config == NULL && store_cert_config(run->store, cert_name, &stored, &ignored))
        config = &stored;
    if (config != NULL)
        happened(run, config, &around->failed, &around->failed_names);
    else if (!strlist_has(&around->failed, cert_name))
        strlist_add(&around->failed, cert_name);
    cert_config_clear(&stored);
}

/* -- after ---------------------------------------------------------------------------------------------- */

static bool is_concerned(const struct around *around)
{
    return around->began || around->renewed.n + around->failed.n > 0;
}

/* The lists are borrowed: where nothing was left of earlier runs they are this one's, whole. */
static void run_after(struct run *run, const struct program *program, struct run_state *state)
{
    struct around *around = around_of(run);
    struct hook_debt *debt = find_debt(state, program->path, true);
    struct hook_post post = {&around->renewed_names, &around->failed_names, &around->renewed,
                             &around->failed};
    struct err why = ERR_INIT;
    if (debt != NULL) {
        add_news(debt, around);
        if (debt->failures > 0)
            post =
                (struct hook_post){&debt->renewed_names, &debt->failed_names, &debt->renewed, &debt->failed};
    }
    if (!run_program(run, HOOK_POST, program, &post, &why)) {
        if (debt == NULL)
            add_news(debt = add_debt(state, program, true), around);
        note_failure(debt, &why);
    } else if (debt != NULL) {
        drop_debt(state, debt);
    }
}

static bool runs_now(const struct around *around, const struct hook_debt *debt)
{
    for (size_t i = 0; is_concerned(around) && i < around->post.n; i++)
        if (strcmp(around->post.v[i].path, debt->program) == 0)
            return true;
    return false;
}

/* What has been removed since is not missed. */
static bool is_gone(const struct hook_debt *debt)
{
    if (fs_exists(debt->program))
        return false;
    log_info("%s is no longer there, and not tried again", debt->program);
    return true;
}

/* Those of earlier runs. True when something has changed. */
static bool try_again(struct run *run, struct run_state *state, bool by_hand)
{
    bool changed = false;
    for (size_t i = 0; i < state->n_debts;) {
        struct hook_debt *debt = &state->debts[i];
        struct program program = {debt->program, debt->user, debt->timeout_s};
        struct hook_post post = {&debt->renewed_names, &debt->failed_names, &debt->renewed, &debt->failed};
        struct err why = ERR_INIT;
        if (is_gone(debt)) {
            tell_notices(run, debt->program, NULL);
            drop_debt(state, debt);
            changed = true;
            continue;
        }
        i++;
        if (!debt->post || runs_now(around_of(run), debt))
            continue;
        if (!by_hand && debt->next_try_s > clock_now_s()) {
            note_trouble(run, &debt->last_error, true);
            report_hook(HOOK_POST, debt->program, true, &debt->last_error);
            continue;
        }
        changed = true;
        if (!run_program(run, HOOK_POST, &program, &post, &why)) {
            note_failure(debt, &why);
        } else {
            drop_debt(state, debt);
            i--;
        }
    }
    return changed;
}

void around_after(struct run *run, bool by_hand)
{
    struct around *around = around_of(run);
    struct run_state state = RUN_STATE_INIT;
    if (run->request->dry_run)
        return;
    if (is_concerned(around) && !around->began)
        list_directory(run, HOOK_POST, &around->post);
    load(run, &state);
    bool changed = try_again(run, &state, by_hand);
    for (size_t i = 0; is_concerned(around) && i < around->post.n; i++) {
        changed = true;
        run_after(run, &around->post.v[i], &state);
    }
    if (changed)
        save(run, &state);
    run_state_clear(&state);
}

void around_after_order(struct run *run)
{
    if (run->around != NULL && run->around->began)
        around_after(run, false);
}
