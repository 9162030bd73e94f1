/*
 * enable without names: the web server's sites are listed, with those that lead to this machine; a person
 * chooses, or --all takes those. Each becomes a certificate of its own, all of them got at the same time.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "enable.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "around.h"
#include "batch.h"
#include "check.h"
#include "dry_run.h"
#include "output.h"
#include "plan.h"
#include "tlsup/here.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

enum { HTTP_PORT = 80, HTTPS_PORT = 443, ANSWER_BYTES = 4096, ANSWERS_MAX = 3, LOOKUP_MS = 10000 };

/* The names of one site that could have a certificate. */
struct candidate {
    struct strlist names;
    struct strlist here;   /* those that lead to this machine */
    struct strlist doubts; /* of those that may, from behind NAT: where they lead, a line each */
    struct strlist others; /* of those that do not: why, a line each */
    char *certificate;     /* one of somebody else's that is served now, NULL = none */
    bool chosen, by_hand;
};

struct survey {
    struct candidate *v;
    size_t n;
    struct strlist seen;     /* every name that has been met */
    struct strlist served;   /* with a certificate of ours */
    struct strlist left_out; /* "~^x: a pattern" */
};

static void survey_clear(struct survey *survey)
{
    for (size_t i = 0; i < survey->n; i++) {
        strlist_clear(&survey->v[i].names);
        strlist_clear(&survey->v[i].here);
        strlist_clear(&survey->v[i].doubts);
        strlist_clear(&survey->v[i].others);
        free(survey->v[i].certificate);
    }
    free(survey->v);
    strlist_clear(&survey->seen);
    strlist_clear(&survey->served);
    strlist_clear(&survey->left_out);
    *survey = (struct survey){0};
}

/* -- what the web server has ---------------------------------------------------------------------------- */

static bool is_plain_http(const struct site *site)
{
    for (size_t i = 0; i < site->n_listens; i++)
        if (site->listens[i].port == HTTP_PORT && !site->listens[i].ssl)
            return true;
    return false;
}

/* Why no certificate is asked for it here; NULL = it can have one. */
static const char *why_not(const char *name, char normalized[NAME_MAX_BYTES])
{
    struct err ignored = ERR_INIT;
    if (name[0] == '~' || strchr(name, '$') != NULL)
        return "a pattern";
    if (strchr(name, '*') != NULL || name[0] == '.')
        return "a wildcard, which is proven through DNS alone";
    if (!name_normalize(name, normalized, &ignored))
        return "no public name";
    return name_is_ip(normalized) ? "an address: give it by hand" : NULL;
}

/* Is it a file of a certificate that this store holds? */
static bool is_ours(const struct run *run, const char *certificate)
{
    AUTO_FREE char *live = mem_fmt("%s/live/", store_state_dir(run->store));
    AUTO_FREE char *certs = mem_fmt("%s/certs/", store_state_dir(run->store));
    return strncmp(certificate, live, strlen(live)) == 0 || strncmp(certificate, certs, strlen(certs)) == 0;
}

static void leave_out(struct survey *survey, const char *name, const char *why)
{
    AUTO_FREE char *text = mem_fmt("%s: %s", name, why);
    printable(text);
    strlist_add(&survey->left_out, text);
}

static void add_name(const struct run *run, const struct deploy *deploy, const char *name,
                     struct survey *survey, struct candidate *candidate)
{
    char normalized[NAME_MAX_BYTES];
    if (strcmp(name, "") == 0 || strcmp(name, "_") == 0 || strlist_has(&survey->seen, name))
        return;
    strlist_add(&survey->seen, name);
    const char *why = why_not(name, normalized);
    if (why != NULL) {
        leave_out(survey, name, why);
        return;
    }
    if (strcmp(name, normalized) != 0) { /* Example.org, münchen.example: the same name may be here twice */
        if (strlist_has(&survey->seen, normalized))
            return;
        strlist_add(&survey->seen, normalized);
    }
    const struct site *https =
        sites_owner(deploy_web(deploy), deploy_sites(deploy), normalized, HTTPS_PORT, true);
    const char *certificate = https != NULL && https->certificate != NULL ? https->certificate : "";
    if (is_ours(run, certificate)) {
        strlist_add(&survey->served, normalized);
        return;
    }
    strlist_add(&candidate->names, normalized);
    if (certificate[0] != '\0' && candidate->certificate == NULL)
        candidate->certificate = mem_dup(certificate);
}

static void survey_sites(const struct run *run, const struct deploy *deploy, struct survey *survey)
{
    const struct sites *sites = deploy_sites(deploy);
    survey->v = mem_array(sites->n + 1, sizeof *survey->v);
    for (size_t i = 0; i < sites->n; i++) {
        struct candidate *candidate = &survey->v[survey->n];
        for (size_t k = 0; is_plain_http(&sites->v[i]) && k < sites->v[i].names.n; k++)
            add_name(run, deploy, sites->v[i].names.v[k], survey, candidate);
        survey->n += candidate->names.n > 0;
    }
}

/* -- where the names lead ------------------------------------------------------------------------------- */

static void sort_in(const struct here_look *look, struct candidate *candidate)
{
    AUTO_BUF why = BUF_INIT;
    const struct here *here = &look->here;
    bool taken = look->ok && (here->all == HERE_YES || here->all == HERE_MAYBE);
    if (taken)
        strlist_add(&candidate->here, look->name);
    if (look->ok && here->all == HERE_YES)
        return;
    if (!look->ok)
        buf_adds(&why, look->err.text);
    else if (here->all == HERE_NOWHERE)
        buf_adds(&why, "it has no address");
    else
        here_describe(here, &why);
    AUTO_FREE char *text = strncmp(buf_str(&why), look->name, strlen(look->name)) == 0
                               ? mem_dup(buf_str(&why))
                               : mem_fmt("%s: %s", look->name, buf_str(&why));
    strlist_add(taken ? &candidate->doubts : &candidate->others, text);
}

/* So many at a time that a signal is not kept waiting. */
static bool look_at_all(struct here_look *looks, struct candidate *const *of, size_t n, struct err *err)
{
    enum { TOGETHER = 32 };
    for (size_t i = 0; i < n; i += TOGETHER) {
        size_t now = n - i < TOGETHER ? n - i : TOGETHER;
        if (signals_interrupted(err))
            return false;
        output_detail("%s", looks[i].name);
        here_look_all(looks + i, now, LOOKUP_MS);
        for (size_t k = i; k < i + now; k++) {
            sort_in(&looks[k], of[k]);
            if (looks[k].ok)
                here_clear(&looks[k].here);
        }
    }
    return true;
}

static bool look_up(struct survey *survey, struct err *err)
{
    size_t n = 0, at = 0;
    output_step("Looking where the names lead");
    for (size_t i = 0; i < survey->n; i++)
        n += survey->v[i].names.n;
    struct here_look *looks = mem_array(n + 1, sizeof *looks);
    struct candidate **of = mem_array(n + 1, sizeof *of);
    for (size_t i = 0; i < survey->n; i++)
        for (size_t k = 0; k < survey->v[i].names.n; k++) {
            looks[at].name = survey->v[i].names.v[k];
            of[at++] = &survey->v[i];
        }
    bool ok = look_at_all(looks, of, n, err);
    free(looks);
    free(of);
    if (ok)
        output_done(NULL);
    return ok;
}

/* -- the list ------------------------------------------------------------------------------------------- */

static void show_list(const char *label, const struct strlist *list, const char *separator)
{
    AUTO_BUF out = BUF_INIT;
    AUTO_FREE char *text = strlist_join(list, separator);
    if (list->n == 0)
        return;
    buf_adds(&out, label);
    output_wrap(&out, text, output_width(label), output_width(label),
                output_columns() > 0 ? output_columns() : SIZE_MAX);
    output_line("%s", buf_str(&out));
}

static void show_candidate(const struct candidate *candidate, size_t number)
{
    AUTO_FREE char *names = strlist_join(&candidate->names, " ");
    output_line("%4zu  %s%s", number, names,
                candidate->here.n == 0                   ? "  (does not lead here)"
                : candidate->here.n < candidate->names.n ? "  (leads here in part)"
                                                         : "");
    for (size_t i = 0; i < candidate->doubts.n; i++)
        output_line("        %s", candidate->doubts.v[i]);
    for (size_t i = 0; i < candidate->others.n; i++)
        output_line("        %s", candidate->others.v[i]);
    if (candidate->certificate != NULL)
        output_line("        takes the place of %s", candidate->certificate);
}

static void show_survey(const struct survey *survey, enum web_kind kind)
{
    if (survey->n > 0)
        output_line("Sites of %s without a certificate of tlsup's:", web_kind_name(kind));
    for (size_t i = 0; i < survey->n; i++)
        show_candidate(&survey->v[i], i + 1);
    show_list("Served by tlsup already: ", &survey->served, " ");
    show_list("Left out: ", &survey->left_out, "; ");
}

/* What --all does not take. */
static void show_rest(const struct survey *survey)
{
    for (size_t i = 0; i < survey->n; i++)
        for (size_t k = 0; k < survey->v[i].others.n; k++)
            output_warning("left out: %s", survey->v[i].others.v[k]);
    for (size_t i = 0; i < survey->left_out.n; i++)
        output_line("Left out: %s", survey->left_out.v[i]);
}

/* -- the choice ----------------------------------------------------------------------------------------- */

static size_t choose_here(struct survey *survey)
{
    size_t n = 0;
    for (size_t i = 0; i < survey->n; i++) {
        survey->v[i].chosen = survey->v[i].here.n > 0;
        n += survey->v[i].chosen;
    }
    return n;
}

/* "3" or "2-5"; false when it is neither, or there is no such site. */
static bool choose_range(struct survey *survey, const char *word)
{
    char *end;
    if (!isdigit((unsigned char)word[0]))
        return false;
    unsigned long first = strtoul(word, &end, 10), last = first;
    if (end[0] == '-' && isdigit((unsigned char)end[1]))
        last = strtoul(end + 1, &end, 10);
    if (*end != '\0' || first < 1 || last < first || last > survey->n)
        return false;
    for (size_t i = first - 1; i < last; i++)
        survey->v[i].chosen = survey->v[i].by_hand = true;
    return true;
}

/* False when a word of it is not understood. `*quit`: nothing is wanted. */
static bool take_answer(struct survey *survey, const char *answer, bool *quit)
{
    static const char *const no[] = {"q", "quit", "n", "no", "none"};
    AUTO_STRLIST words = STRLIST_INIT;
    strlist_split(&words, answer, " \t\r,;");
    for (size_t i = 0; i < survey->n; i++)
        survey->v[i].chosen = survey->v[i].by_hand = false;
    if (words.n == 0) {
        *quit = choose_here(survey) == 0;
        return true;
    }
    for (size_t i = 0; i < COUNT_OF(no); i++)
        if (words.n == 1 && strcasecmp(words.v[0], no[i]) == 0)
            return *quit = true;
    for (size_t i = 0; i < words.n; i++) {
        bool all = strcasecmp(words.v[i], "all") == 0;
        for (size_t k = 0; all && k < survey->n; k++)
            survey->v[k].chosen = survey->v[k].by_hand = true;
        if (!all && !choose_range(survey, words.v[i])) {
            fprintf(stderr, "'%s' is none of them: say numbers from 1 to %zu, all, or q.\n", words.v[i],
                    survey->n);
            return false;
        }
    }
    return true;
}

/* One line of the terminal. False at its end, and on a signal. */
static bool read_line(char *line, size_t size)
{
    size_t len = 0;
    char c;
    ssize_t n;
    while ((n = read(STDIN_FILENO, &c, 1)) == 1 && c != '\n')
        if (len + 1 < size && isprint((unsigned char)c))
            line[len++] = c;
    line[len] = '\0';
    return n == 1;
}

static void show_question(const struct survey *survey)
{
    AUTO_BUF numbers = BUF_INIT;
    for (size_t i = 0; i < survey->n; i++)
        if (survey->v[i].here.n > 0)
            buf_addf(&numbers, " %zu", i + 1);
    fprintf(stderr, "Which ones? Numbers, all, or q for none [%s]: ",
            numbers.len == 0   ? "none"
            : numbers.len > 60 ? "those that lead here"
                               : buf_str(&numbers) + 1);
}

static bool ask(struct survey *survey, bool *quit, struct err *err)
{
    char line[ANSWER_BYTES];
    for (int i = 0; i < ANSWERS_MAX; i++) {
        show_question(survey);
        if (!read_line(line, sizeof line)) {
            fputc('\n', stderr);
            *quit = true;
            return !signals_interrupted(err);
        }
        if (take_answer(survey, line, quit))
            return true;
    }
    *quit = true;
    return true;
}

/* -- carrying it out ------------------------------------------------------------------------------------ */

/* A certificate of that name that is for more than this stays what it is. */
static bool check_stored(const struct run *run, const char *cert_name, struct strlist *names, struct err *err)
{
    struct cert_config stored = {0};
    struct err missing = ERR_INIT;
    bool covers = true;
    if (!store_cert_config(run->store, cert_name, &stored, &missing))
        return true; /* what is wrong with it is told when it is read again */
    for (size_t i = 0; i < names->n; i++)
        covers = covers && strlist_has(&stored.names, names->v[i]);
    if (covers) {
        strlist_copy(names, &stored.names);
    } else {
        AUTO_FREE char *others = strlist_join(&stored.names, " ");
        AUTO_FREE char *wanted = strlist_join(names, " ");
        err_set(err, ERR_EXISTS, NEXT_FIX_CONFIG, cert_name,
                "there is a certificate of this name already, for other names: %.600s", others);
        (void)err_advise(err, "give all the names it shall have: tlsup enable %.300s ...", wanted);
    }
    cert_config_clear(&stored);
    return covers;
}

static bool prepare_task(struct run *run, struct deploy *deploy, const struct candidate *candidate,
                         struct task *task, struct err *err)
{
    char cert_name[256];
    AUTO_STRLIST names = STRLIST_INIT;
    strlist_copy(&names, candidate->here.n > 0 ? &candidate->here : &candidate->names);
    config_cert_name_for(names.v[0], cert_name);
    task->config.name = mem_dup(cert_name); /* for what is said of it when the rest fails */
    if (!check_stored(run, cert_name, &names, err))
        return false;
    cert_config_clear(&task->config);
    if (!run_config_for(run, cert_name, &names, task, err)) {
        if (task->config.name == NULL)
            task->config.name = mem_dup(cert_name);
        return false;
    }
    task->config.install = deploy_web(deploy)->kind;
    task->deploy = deploy;
    if (task->config.key != NULL)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, cert_name,
                       "its key is on a token, and web servers want a key file");
    return run->request->dry_run || (enable_decide(run, task, err) &&
                                     (run->request->plan || deploy_has_place(deploy, &task->config, err)));
}

/* What was added to the web server for a certificate that did not come goes again. */
static void take_challenge_back(struct run *run, struct task *task)
{
    AUTO_STRLIST messages = STRLIST_INIT;
    struct err err = ERR_INIT;
    int live = 0;
    if (task->existed || task->version > 0 || !task->needs_order || task->job.n_types == 0 ||
        !store_live_version(run->store, task->config.name, &live, &err) || live > 0)
        return;
    if (!deploy_undo(task->deploy, task->config.name, &messages, &err) && err.code != ERR_NOT_FOUND)
        log_warn("%s: the answer to its challenge stays in the web server: %s", task->config.name, err.text);
}

static void finish_one(struct run *run, struct task *task, struct tally *tally)
{
    if (err_isset(&task->err))
        take_challenge_back(run, task);
    else if (task->version > 0 && !run_save_config(run, task, &task->err))
        task->version = 0;
    batch_finish(run, task, tally);
}

static bool plan_tasks(struct run *run, struct task *tasks, size_t n, struct tally *tally)
{
    for (size_t i = 0; i < n; i++) {
        struct err *err = &tasks[i].err;
        if (err_isset(err) || !plan_certificate(run, &tasks[i], err)) {
            output_error(err);
            tally->failed++;
            tally->worst = *err;
        } else {
            tally->renewed++;
        }
    }
    plan_end();
    return true;
}

static bool carry_out(struct run *run, struct task *tasks, size_t n, struct tally *tally, struct err *err)
{
    size_t due = 0;
    if (run->request->plan)
        return plan_tasks(run, tasks, n, tally);
    for (size_t i = 0; i < n; i++)
        due += tasks[i].needs_order && !err_isset(&tasks[i].err);
    if (due > 0) {
        around_before(run, tasks, n);
        output_step("Getting %zu certificate%s", due, due == 1 ? "" : "s");
        if (!run_obtain(run, tasks, n, true, err)) {
            output_failed();
            for (size_t i = 0; i < n; i++)
                take_challenge_back(run, &tasks[i]);
            return false;
        }
        output_done("Asked for %zu certificate%s", due, due == 1 ? "" : "s");
    }
    for (size_t i = 0; i < n; i++) {
        if (signals_interrupted(err))
            return false;
        finish_one(run, &tasks[i], tally);
    }
    return true;
}

static bool enable_chosen(struct run *run, struct deploy *deploy, const struct survey *survey,
                          struct tally *tally, struct err *err)
{
    struct task *tasks = mem_array(survey->n + 1, sizeof *tasks);
    size_t n = 0;
    for (size_t i = 0; i < survey->n; i++) {
        if (!survey->v[i].chosen)
            continue;
        struct task *task = &tasks[n++];
        if (!prepare_task(run, deploy, &survey->v[i], task, &task->err))
            task->needs_order = false;
    }
    bool ok = run->request->dry_run
                  ? dry_run_tasks(run, tasks, n, err)
                  : check_before(run, tasks, n, NULL, err) && carry_out(run, tasks, n, tally, err);
    around_after_order(run);
    for (size_t i = 0; i < n; i++)
        task_clear(&tasks[i]);
    free(tasks);
    return ok;
}

/* -- the command ---------------------------------------------------------------------------------------- */

static bool take_path(char **field, const char *path, struct err *err)
{
    if (path == NULL)
        return true;
    char *absolute = realpath(path, NULL);
    if (absolute == NULL)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, path, "%s cannot be found", path);
    free(*field);
    *field = absolute;
    return true;
}

/* Where the web server is, before there is a certificate that it is for. */
static bool find_server(struct run *run, struct deploy **out, struct err *err)
{
    const struct request *request = run->request;
    struct cert_config config = {0};
    if (!store_defaults(run->store, &config, err))
        return false;
    output_step("Looking at the web server");
    bool ok = take_path(&config.nginx_conf, request->nginx_conf, err) &&
              take_path(&config.nginx_bin, request->nginx_bin, err) &&
              take_path(&config.apache_conf, request->apache_conf, err) &&
              take_path(&config.apache_ctl, request->apache_ctl, err) && enable_can_save(run, err) &&
              enable_find_server(run, request->web != WEB_NONE ? request->web : config.install, &config, NULL,
                                 out, err);
    cert_config_clear(&config);
    if (ok && *out != NULL)
        output_done("Found %s %s%s", web_kind_name(deploy_web(*out)->kind), deploy_web(*out)->version,
                    deploy_web(*out)->master_pid > 0 ? "" : ", which is not running");
    return ok;
}

static bool nothing_found(const struct survey *survey, const struct deploy *deploy, struct err *err)
{
    const char *kind = web_kind_name(deploy_web(deploy)->kind);
    if (survey->served.n > 0) {
        show_list("Served by tlsup already: ", &survey->served, " ");
        show_list("Left out: ", &survey->left_out, "; ");
        output_line("There is nothing more to do.");
        return true;
    }
    err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, kind, "no site of %s on port 80 has a name of its own",
            kind);
    return err_advise(err, "say the name: tlsup enable example.org; or see what there is: tlsup sites");
}

static bool nothing_here(struct err *err)
{
    err_set(err, ERR_NOT_FOUND, NEXT_REFUSED, NULL, "none of the sites leads to this machine");
    return err_advise(err, "point their names here (A and AAAA records), or enable one all the same: tlsup "
                           "enable NAME");
}

/* What the person wants; `*quit` when that is nothing. */
static bool choose(const struct request *request, const struct deploy *deploy, struct survey *survey,
                   bool *quit, struct err *err)
{
    if (request->all) {
        show_rest(survey);
        return choose_here(survey) > 0 || nothing_here(err);
    }
    show_survey(survey, deploy_web(deploy)->kind);
    return ask(survey, quit, err);
}

static bool work(struct run *run, struct survey *survey, struct tally *tally, struct err *err)
{
    struct deploy *deploy = NULL;
    bool quit = false;
    if (!find_server(run, &deploy, err))
        return false;
    if (deploy == NULL)
        return true;
    survey_sites(run, deploy, survey);
    if (survey->n == 0)
        return nothing_found(survey, deploy, err);
    if (!look_up(survey, err) || !choose(run->request, deploy, survey, &quit, err))
        return false;
    if (quit) {
        output_line("Nothing was changed.");
        return true;
    }
    if (!enable_chosen(run, deploy, survey, tally, err))
        return false;
    if (run->request->dry_run)
        return true;
    if (tally->renewed > 0 && !run->request->plan)
        run_ensure_timer(run);
    if (!run->request->plan)
        return batch_summarise(run, tally, "enabled", err);
    return tally->failed == 0 || (*err = tally->worst, false);
}

bool enable_sites(const struct request *request, struct err *err)
{
    struct run run;
    struct survey survey = {0};
    struct tally tally = {0};
    if (!request->all && (request->quiet || !output_is_terminal())) {
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, NULL, "for which names? %s",
                request->quiet ? "With --quiet there is no list to choose from"
                               : "There is no terminal to ask on");
        return err_advise(err,
                          "tlsup enable example.org www.example.org; or --all, for every site that leads to "
                          "this machine");
    }
    if (!(request->plan ? plan_open(request, &run, err) : run_open(request, &run, err)))
        return false;
    bool ok = work(&run, &survey, &tally, err);
    if (!ok)
        output_failed();
    run_close(&run);
    survey_clear(&survey);
    return ok;
}
