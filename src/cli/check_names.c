#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/ca.h"
#include "tlsup/clock.h"
#include "tlsup/deploy.h"
#include "tlsup/directory.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"
#include "tlsup/roles.h"

enum {
    DIRECTORY_BYTES = 1 << 20,
    WEEK_S = 7 * 86400,
    TRIED_SINGLY_MAX = 100,
};

/* -- what it is ----------------------------------------------------------------------------------------- */

bool subject_is_asked_here(const struct cert_config *config)
{
    for (size_t i = 0; i < config->n_challenges; i++) {
        enum challenge_type type = config_challenge_type(config->challenges[i]);
        if (type == CHALLENGE_HTTP_01 || type == CHALLENGE_TLS_ALPN_01)
            return true;
    }
    return false;
}

bool subject_has_other_way(const struct cert_config *config)
{
    for (size_t i = 0; i < config->n_challenges; i++) {
        enum challenge_type type = config_challenge_type(config->challenges[i]);
        if (type != CHALLENGE_HTTP_01 && type != CHALLENGE_TLS_ALPN_01)
            return true;
    }
    return false;
}

static bool is_preset(const char *server)
{
    return server == NULL || ca_by_url(server)->name[0] != '\0';
}

bool subject_is_public(const struct cert_config *config)
{
    bool is = is_preset(config->server);
    for (size_t i = 0; i < config->fallbacks.n; i++)
        is = is || is_preset(config->fallbacks.v[i]);
    return is;
}

/* -- who owns it ---------------------------------------------------------------------------------------- */

static void check_owner(struct check *check, const struct view *view, const char *name, int port)
{
    const char *about = port == 80 ? "site-80" : "site-443";
    const struct site *own = sites_owner(&view->web, &view->sites, name, port, true);
    const struct site *any = own != NULL ? own : sites_owner(&view->web, &view->sites, name, port, false);
    AUTO_FREE char *place = any != NULL ? site_place(any, NULL) : NULL;
    if (own != NULL)
        check_find(check, SEVERITY_OK, about, name, "%s on port %d is %s", name, port, place);
    else if (any != NULL)
        check_find(check, SEVERITY_NOTE, about, name,
                   "no site has the name %s on port %d: the default there answers, %s", name, port, place);
    else
        check_find(check, SEVERITY_OK, about, name, "no site listens on port %d", port);
}

/* What `tlsup sites` has to say of these names. */
static void check_sites(struct check *check, const struct view *view, const struct strlist *names)
{
    struct site_problems problems;
    views_problems(view, &problems);
    for (size_t i = 0; i < problems.n; i++) {
        const struct site_problem *problem = &problems.v[i];
        const char *name = problem->name;
        if (problem->kind == SITE_DISABLED) {
            const struct strlist *has = &view->disabled.v[problem->site].names;
            for (size_t k = 0; k < has->n && name == NULL; k++)
                if (strlist_has(names, has->v[k]) && owners_name(&view->owners, has->v[k]) == NULL)
                    name = has->v[k];
        }
        if (name == NULL || !strlist_has(names, name))
            continue;
        /* that the name has no https yet is what enable is for */
        check_find(check, problem->kind == SITE_HTTPS_ELSEWHERE ? SEVERITY_NOTE : SEVERITY_WARNING,
                   site_problem_word(problem->kind), name, "%s", problem->text);
        if (problem->advice[0] != '\0')
            check_todo(check, "%s", problem->advice);
    }
    site_problems_clear(&problems);
}

/* -- the place for a certificate ------------------------------------------------------------------------ */

/* On a machine where tlsup has never run: a store that is gone again afterwards. */
static struct store *scratch_store(char dir[32], struct err *err)
{
    struct store *store = NULL;
    snprintf(dir, 32, "/tmp/tlsup-check-XXXXXX");
    if (mkdtemp(dir) == NULL) {
        dir[0] = '\0';
        return NULL;
    }
    AUTO_FREE char *journal = fs_join(dir, "journal");
    AUTO_FREE char *live = fs_join(dir, "live");
    return fs_mkdirs(journal, 0700, err) && fs_mkdirs(live, 0700, err) &&
                   store_open(dir, dir, STORE_READ, &store, err)
               ? store
               : NULL;
}

static void try_one(struct check *check, const struct view *view, struct deploy *deploy,
                    const struct cert_config *config)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *names = strlist_join(&config->names, " ");
    if (deploy_has_place(deploy, config, &err)) {
        check_find(check, SEVERITY_OK, "place", config->names.v[0],
                   "a certificate for %.200s has its place in %s", names, web_kind_name(view->web.kind));
        return;
    }
    check_found_err(check, SEVERITY_PROBLEM, "place", config->names.v[0], &err);
    check_why(check, "`tlsup enable` would refuse, before a CA is asked");
}

/* A certificate that is held is tried with all its names, whichever were asked for; names that are in none
 * each by itself, so that it shows which of them is in the way. */
static void try_names(struct check *check, const struct subject *subject, struct deploy *deploy)
{
    const struct strlist *names = &subject->config.names;
    struct cert_config config = {0};
    if (subject->entry != NULL || names->n > TRIED_SINGLY_MAX) {
        try_one(check, subject->view, deploy,
                subject->entry != NULL ? &subject->entry->config : &subject->config);
        return;
    }
    cert_config_copy(&config, &subject->config);
    for (size_t i = 0; i < names->n; i++) {
        strlist_clear(&config.names);
        strlist_add(&config.names, names->v[i]);
        try_one(check, subject->view, deploy, &config);
    }
    cert_config_clear(&config);
}

static void try_place(struct check *check, const struct subject *subject, struct store *store)
{
    const struct request *request = check->request;
    const struct cert_config *config = subject->entry != NULL ? &subject->entry->config : &subject->config;
    struct err err = ERR_INIT;
    struct deploy *deploy = NULL;
    struct web_hints hints = {.nginx_bin = request->nginx_bin ? request->nginx_bin : config->nginx_bin,
                              .nginx_conf = request->nginx_conf ? request->nginx_conf : config->nginx_conf,
                              .apache_ctl = request->apache_ctl ? request->apache_ctl : config->apache_ctl,
                              .apache_conf =
                                  request->apache_conf ? request->apache_conf : config->apache_conf};
    if (deploy_open(store, subject->view->web.kind, &hints, NULL, NULL, &deploy, &err))
        try_names(check, subject, deploy);
    else if (err.code != ERR_PORT) /* that has been told */
        check_found_err(check, SEVERITY_PROBLEM, "place", config->names.v[0], &err);
    deploy_close(deploy);
}

static void check_place(struct check *check, const struct subject *subject)
{
    struct err err = ERR_INIT;
    const struct view *view = subject->view;
    char dir[32] = "";
    if (!check->root || view->tested != VIEW_GOOD || view->compared != VIEW_GOOD)
        return;
    if (fs_is_dir(store_journal_dir(check->store))) {
        try_place(check, subject, check->store);
        return;
    }
    struct store *store = scratch_store(dir, &err);
    if (store != NULL)
        try_place(check, subject, store);
    else
        check_find(check, SEVERITY_NOTE, "place", NULL,
                   "whether a certificate has its place was not tried: /tmp cannot be written to");
    store_close(store);
    if (dir[0] != '\0' && !fs_remove_tree(dir, &err))
        check_found_err(check, SEVERITY_NOTE, "place", NULL, &err);
}

/* -- what the CA allows --------------------------------------------------------------------------------- */

struct caa_look {
    struct check *check;
    const struct cert_config *config;
    const struct strlist *identities;
    const char *account_url;
    const char *name;
    uint32_t question; /* 0 = answered */
    char failure[256]; /* "" = none */
};

struct caa_looks {
    struct check *check;
    const struct subject *subject;
    struct resolver *resolver;
    struct strlist identities;
    struct account_record account;
    struct caa_look *v;
    size_t n;
};

static void on_caa(void *ctx, const struct dns_answer *found, const struct err *failure)
{
    struct caa_look *look = ctx;
    struct err err = ERR_INIT;
    bool allowed = false;
    look->question = 0;
    if (failure != NULL) {
        snprintf(look->failure, sizeof look->failure, "%.255s", failure->text);
        return;
    }
    for (size_t i = 0; i < look->config->n_challenges && !allowed; i++) {
        enum challenge_type type = config_challenge_type(look->config->challenges[i]);
        err_clear(&err);
        allowed = challenge_type_fits(type, look->name) &&
                  dns_caa_allows(found->caa, found->n_caa, look->name, look->identities, look->account_url,
                                 type, &err);
    }
    if (allowed) {
        check_find(look->check, SEVERITY_OK, "caa", look->name, "%s",
                   found->n_caa == 0 ? "no CAA record forbids any CA to issue" : "CAA lets the CA issue");
    } else if (err_isset(&err)) {
        check_found_err(look->check, SEVERITY_PROBLEM, "caa", look->name, &err);
        check_why(look->check, "the CA obeys these records (RFC 8659) and would refuse");
        if (look->config->fallbacks.n == 0 && !look->config->partial)
            check_stops(look->check);
    }
}

/* By its directory, where that has been fetched once; else by what is known beforehand. */
static void read_identities(struct check *check, const char *server, struct strlist *out)
{
    AUTO_BUF json = BUF_INIT;
    struct directory directory = {0};
    struct err ignored = ERR_INIT;
    int64_t fetched_s = 0;
    const struct ca *ca = ca_by_url(server);
    store_directory_load(check->store, server, &json, &fetched_s);
    if (fetched_s > 0 && json.len <= DIRECTORY_BYTES &&
        directory_parse(server, buf_str(&json), json.len, &directory, &ignored))
        strlist_copy(out, &directory.caa_identities);
    directory_clear(&directory);
    if (out->n == 0 && ca->caa[0] != '\0')
        strlist_add(out, ca->caa);
}

/* The name servers of the zone are at fault, or its signatures: the CA meets the same. */
static void tell_broken_zone(struct check *check, const struct caa_look *look)
{
    check_find(check, SEVERITY_WARNING, "dns", look->name, "the DNS of %s is broken: %s", look->name,
               look->failure);
    check_why(check,
              "the CA looks there as well (for CAA records, at the least) and refuses where it is told "
              "SERVFAIL: mostly signatures of DNSSEC that do not fit, or name servers that do not answer");
    check_todo(
        check,
        "compare `dig %s` with `dig +cd %s`: if only the second one answers it is DNSSEC, to be mended "
        "where the zone is kept (dnsviz.net shows what is wrong)",
        look->name, look->name);
}

/* Where the name servers do not answer, they do so for all names: told once. */
static void tell_silence(struct check *check, const struct caa_look *looks, size_t n)
{
    const struct caa_look *first = NULL;
    size_t failed = 0;
    for (size_t i = 0; i < n; i++) {
        bool silent = looks[i].question != 0 || looks[i].failure[0] != '\0';
        if (strstr(looks[i].failure, "SERVFAIL") != NULL) {
            tell_broken_zone(check, &looks[i]);
            silent = false;
        }
        first = silent && first == NULL ? &looks[i] : first;
        failed += silent;
    }
    if (failed == 0)
        return;
    char others[64] = "";
    if (failed > 1)
        snprintf(others, sizeof others, " and of %zu more", failed - 1);
    check_find(check, SEVERITY_NOTE, "caa", first->name, "the CAA records of %s%s could not be looked up%s%s",
               first->name, others, first->failure[0] != '\0' ? ": " : "", first->failure);
    check_why(check, "the CA looks as well, and refuses where it gets no answer");
}

struct caa_looks *check_caa_ask(struct check *check, const struct subject *subject, struct resolver *resolver)
{
    struct err ignored = ERR_INIT;
    const struct cert_config *config = &subject->config;
    if (resolver == NULL)
        return NULL;
    struct caa_looks *looks = mem_array(1, sizeof *looks);
    *looks =
        (struct caa_looks){.check = check, .subject = subject, .resolver = resolver, .n = config->names.n};
    read_identities(check, config->server, &looks->identities);
    if (!store_account_load(check->store, config->server, config->account, &looks->account, &ignored))
        looks->account.url[0] = '\0';
    looks->v = mem_array(looks->n + 1, sizeof *looks->v);
    for (size_t i = 0; i < looks->n; i++) {
        struct dns_question question = {.kind = DNS_CAA,
                                        .name = config->names.v[i],
                                        .resolvers = &config->dns_servers,
                                        .timeout_ms = check->lookup_ms / 2};
        looks->v[i] = (struct caa_look){.check = check,
                                        .config = config,
                                        .identities = &looks->identities,
                                        .account_url = looks->account.url,
                                        .name = config->names.v[i]};
        if (!name_is_ip(question.name))
            looks->v[i].question = resolver_ask(resolver, &question, on_caa, &looks->v[i]);
    }
    return looks;
}

void check_caa_tell(struct caa_looks *looks)
{
    if (looks == NULL)
        return;
    resolver_wait(looks->resolver, looks->check->lookup_ms);
    for (size_t i = 0; i < looks->n; i++) /* an answer that comes later finds nobody */
        if (looks->v[i].question != 0)
            resolver_forget(looks->resolver, looks->v[i].question);
    tell_silence(looks->check, looks->v, looks->n);
    strlist_clear(&looks->identities);
    free(looks->v);
    free(looks);
}

/* -- the CA's limits, and the certificate itself -------------------------------------------------------- */

/* Certificates of the last week: of exactly these names, and of the busiest of their domains. */
static void count_used(const struct ledger *ledger, const struct strlist *names, int *same, int *of_domain)
{
    struct ledger mine = LEDGER_INIT;
    int64_t now_s = clock_now_s();
    *same = *of_domain = 0;
    ledger_note(&mine, LEDGER_CERTIFICATE, names, LEDGER_COUNTS, now_s);
    for (size_t d = 0; mine.n > 0 && d < mine.v[0].domains.n; d++) {
        int count = 0;
        for (size_t i = 0; i < ledger->n; i++)
            count += ledger->v[i].event == LEDGER_CERTIFICATE && ledger->v[i].exempt == LEDGER_COUNTS &&
                     now_s - ledger->v[i].at_s < WEEK_S &&
                     strlist_has(&ledger->v[i].domains, mine.v[0].domains.v[d]);
        *of_domain = count > *of_domain ? count : *of_domain;
    }
    for (size_t i = 0; mine.n > 0 && i < ledger->n; i++)
        *same += ledger->v[i].event == LEDGER_CERTIFICATE && ledger->v[i].exempt != LEDGER_EXEMPT &&
                 now_s - ledger->v[i].at_s < WEEK_S && strcmp(ledger->v[i].set, mine.v[0].set) == 0;
    ledger_clear(&mine);
}

static void found_within_limits(struct check *check, const struct subject *subject,
                                const struct ledger *ledger)
{
    const struct ca *ca = ca_by_url(subject->config.server);
    const char *first = subject->config.names.v[0];
    char name[256];
    int same = 0, of_domain = 0;
    config_ca_name(subject->config.server, name);
    if (ca->same_set == 0 || ca->per_domain == 0) {
        check_find(check, SEVERITY_OK, "limits", first, "%s has no limits that tlsup knows of", name);
        return;
    }
    count_used(ledger, &subject->config.names, &same, &of_domain);
    check_find(
        check, SEVERITY_OK, "limits", first,
        "what was asked of %s from here in the last week is within its limits: %d of %d certificates for "
        "exactly these names, %d of %d for their domain",
        name, same, ca->same_set, of_domain, ca->per_domain);
}

static void check_limits(struct check *check, const struct subject *subject)
{
    struct ledger ledger = LEDGER_INIT;
    AUTO_STRLIST warnings = STRLIST_INIT;
    char ca[256];
    bool held = subject->entry != NULL && subject->entry->has_info;
    if (!check->root)
        return;
    store_ledger_load(check->store, subject->config.server, &ledger);
    bool over = ledger_check(&ledger, ca_by_url(subject->config.server), &subject->config.names, held,
                             clock_now_s(), &warnings);
    for (size_t i = 0; i < warnings.n; i++) {
        check_find(check, over && !held ? SEVERITY_PROBLEM : SEVERITY_WARNING, "limits",
                   subject->config.names.v[0], "%s", warnings.v[i]);
        check_why(check, "%s lets nobody have more than that", config_ca_name(subject->config.server, ca));
    }
    if (warnings.n == 0)
        found_within_limits(check, subject, &ledger);
    ledger_clear(&ledger);
}

static void check_certificate(struct check *check, const struct entry *entry)
{
    static const enum severity by_health[] = {
        [HEALTH_VALID] = SEVERITY_OK,           [HEALTH_PENDING] = SEVERITY_NOTE,
        [HEALTH_INCOMPLETE] = SEVERITY_WARNING, [HEALTH_UNKNOWN] = SEVERITY_NOTE,
        [HEALTH_UNFINISHED] = SEVERITY_WARNING, [HEALTH_OVERDUE] = SEVERITY_WARNING,
        [HEALTH_FAILING] = SEVERITY_WARNING,    [HEALTH_BROKEN] = SEVERITY_PROBLEM,
        [HEALTH_REVOKED] = SEVERITY_PROBLEM,    [HEALTH_EXPIRED] = SEVERITY_PROBLEM,
    };
    char when[CLOCK_TEXT_BYTES];
    const struct err *why = err_isset(&entry->problem) ? &entry->problem : &entry->state.last_error;
    check_find(check, by_health[entry->health], "certificate", entry->name, "the certificate %s is %s%s%.10s",
               entry->name, health_word(entry->health), entry->has_info ? ", until " : "",
               entry->has_info ? clock_format_utc(entry->info.not_after_s, when) : "");
    if (entry->health == HEALTH_VALID)
        return;
    if (err_isset(why))
        check_why(check, "%s", why->text);
    if (why->advice[0] != '\0')
        check_todo(check, "%s", why->advice);
    else
        check_todo(check, "tlsup status %s tells more", entry->name);
}

/* -- subjects ------------------------------------------------------------------------------------------- */

static void check_subject(struct check *check, struct subject *subject)
{
    const struct strlist *names = &subject->config.names;
    if (subject->entry != NULL)
        check_certificate(check, subject->entry);
    struct caa_looks *caa =
        check_caa_ask(check, subject, check->resolver); /* under way while addresses are looked up */
    check_addresses(check, subject);
    check_caa_tell(caa);
    check_limits(check, subject);
    if (subject->view == NULL)
        return;
    for (size_t i = 0; i < names->n; i++) {
        check_owner(check, subject->view, names->v[i], 80);
        check_owner(check, subject->view, names->v[i], 443);
        check_challenge(check, subject, names->v[i]);
    }
    check_sites(check, subject->view, names);
    check_place(check, subject);
}

/* Those of the wanted names that are the certificate's, and are not taken yet. */
static void take_names(const struct check *check, const struct entry *entry, bool *taken, struct strlist *out)
{
    for (size_t i = 0; i < check->names.n; i++) {
        bool its_own =
            entry == NULL || (entry->has_config && strlist_has(&entry->config.names, check->names.v[i]));
        if (taken[i] || !its_own)
            continue;
        taken[i] = true;
        strlist_add(out, check->names.v[i]);
    }
}

static void work_on(struct check *check, const struct entry *entry, bool *taken)
{
    AUTO_STRLIST names = STRLIST_INIT;
    struct subject subject = {.entry = entry};
    struct err err = ERR_INIT;
    take_names(check, entry, taken, &names);
    if (names.n == 0)
        return;
    if (entry != NULL) {
        cert_config_copy(&subject.config, &entry->config);
    } else if (!store_defaults(check->store, &subject.config, &err)) {
        check_found_err(check, err.code == ERR_PERMISSION ? SEVERITY_NOTE : SEVERITY_PROBLEM, "configuration",
                        NULL, &err);
        cert_config_init(&subject.config);
    }
    if (subject.config.server == NULL)
        subject.config.server = mem_dup(CONFIG_DEFAULT_CA);
    if (subject.config.name == NULL) {
        char cert_name[256];
        config_cert_name_for(names.v[0], cert_name);
        subject.config.name = mem_dup(cert_name);
    }
    strlist_copy(&subject.config.names, &names);
    if (entry == NULL || is_installed_by_us(entry))
        subject.view = check_view(check, entry == NULL ? WEB_NONE : entry->config.install);
    check_subject(check, &subject);
    cert_config_clear(&subject.config);
}

void check_names(struct check *check)
{
    bool *taken = mem_array(check->names.n + 1, sizeof *taken);
    for (size_t i = 0; i < check->entries.n; i++)
        work_on(check, &check->entries.v[i], taken);
    work_on(check, NULL, taken);
    free(taken);
}
