#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "tlsup/b64.h"
#include "tlsup/ca.h"
#include "tlsup/clock.h"
#include "tlsup/deploy.h"
#include "tlsup/directory.h"
#include "tlsup/fs.h"
#include "tlsup/here.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"
#include "tlsup/resolver.h"
#include "tlsup/roles.h"

enum {
    PROBE_MS = 5000,
    CAA_MS = 5000,
    SILENCES_MAX = 2, /* name servers that said nothing so often are not asked again */
    DIRECTORY_BYTES = 1 << 20,
    TOKEN_BYTES = 44,
    TRIED_SINGLY_MAX = 100,
};

/* Names that are one certificate, or would be. */
struct subject {
    struct cert_config config; /* names: those that are looked at */
    const struct entry *entry; /* NULL = there is none yet */
    const struct view *view;   /* the web server that it is for; NULL = none */
};

/* -- where it leads ------------------------------------------------------------------------------------- */

/* Is the CA to ask this machine? With DNS alone it is not. */
static bool is_asked_here(const struct cert_config *config)
{
    for (size_t i = 0; i < config->n_challenges; i++) {
        enum challenge_type type = config_challenge_type(config->challenges[i]);
        if (type == CHALLENGE_HTTP_01 || type == CHALLENGE_TLS_ALPN_01)
            return true;
    }
    return false;
}

static void explain_elsewhere(struct check *check, const struct subject *subject, const char *record)
{
    check_why(check, is_asked_here(&subject->config)
                         ? "the CA asks the machine that the name leads to, and visitors go there"
                         : "visitors go to the machine that the name leads to");
    check_todo(check, "change the %s of the name, or run tlsup on the machine that it leads to", record);
}

static void found_elsewhere(struct check *check, const struct subject *subject, const char *name,
                            const struct here *here, const char *told)
{
    bool asked = is_asked_here(&subject->config);
    if (here->all == HERE_ELSEWHERE) {
        check_find(check, asked ? SEVERITY_PROBLEM : SEVERITY_WARNING, "address", name,
                   "%s leads elsewhere: %s", name, told);
        explain_elsewhere(check, subject,
                          here->v4 == HERE_NOWHERE   ? "AAAA record"
                          : here->v6 == HERE_NOWHERE ? "A record"
                                                     : "A and AAAA records");
    } else if (here->v6 == HERE_ELSEWHERE || here->v6 == HERE_PARTLY || here->v6 == HERE_MAYBE) {
        check_find(
            check, asked && here->v6 != HERE_MAYBE ? SEVERITY_PROBLEM : SEVERITY_WARNING, "address", name,
            here->v6 == HERE_MAYBE ? "%s has an AAAA record, but this machine no public IPv6 address: %s"
                                   : "%s leads elsewhere over IPv6: %s",
            name, told);
        check_why(check, "CAs and browsers prefer IPv6 where a name has it, and IPv6 is rarely behind NAT");
        check_todo(check, "remove the AAAA record, or give this machine that address");
    } else if (here->all == HERE_MAYBE) {
        check_find(check, SEVERITY_NOTE, "address", name, "whether %s leads here cannot be told: %s", name,
                   told);
        check_why(check, "behind NAT (a router, a cloud's public address) that is as it should be, if ports "
                         "80 and 443 are passed on to this machine");
    } else {
        check_find(check, SEVERITY_WARNING, "address", name, "%s leads here in part: %s", name, told);
        check_why(check, "the CA may ask any of the addresses, and so may visitors");
        check_todo(check,
                   "remove the addresses of others from its records, unless they answer for it as well");
    }
}

static void check_address(struct check *check, const struct subject *subject, const char *name, int *silences)
{
    struct here here;
    struct err err = ERR_INIT;
    AUTO_BUF told = BUF_INIT;
    if (*silences >= SILENCES_MAX)
        return;
    if (!here_look(name, &here, &err)) {
        *silences += err.code == ERR_TIMEOUT || err.code == ERR_CHILD;
        check_found_err(check, SEVERITY_WARNING, "address", name, &err);
        if (*silences == SILENCES_MAX)
            check_why(check, "further names are not looked up");
        return;
    }
    here_describe(&here, &told);
    if (here.all == HERE_NOWHERE) {
        check_find(check, is_asked_here(&subject->config) ? SEVERITY_PROBLEM : SEVERITY_WARNING, "address",
                   name, "%s has no address", name);
        check_why(check, "neither the CA nor a visitor can find this machine by it");
        check_todo(check, "make an A record for it, and an AAAA record where this machine has IPv6; or see "
                          "whether it is spelt right");
    } else if (here.all != HERE_YES) {
        found_elsewhere(check, subject, name, &here, buf_str(&told));
    } else if (here.loopback && !name_is_ip(name)) {
        check_find(check, SEVERITY_NOTE, "address", name, "%s leads here as far as this machine knows: %s",
                   name, buf_str(&told));
        check_why(check, "such an address is an entry of /etc/hosts, which the world does not see: what it "
                         "is told is in the DNS alone");
    } else {
        check_find(check, SEVERITY_OK, "address", name, "%s leads here: %s", name, buf_str(&told));
    }
    here_clear(&here);
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

/* -- the answer to challenges --------------------------------------------------------------------------- */

static void make_token(char out[TOKEN_BYTES])
{
    unsigned char bytes[32];
    AUTO_BUF text = BUF_INIT;
    if (getentropy(bytes, sizeof bytes) != 0) /* only to be told from other tokens */
        snprintf((char *)bytes, sizeof bytes, "%lld.%ld", (long long)clock_mono_ms(), (long)getpid());
    b64url_encode(bytes, sizeof bytes, &text);
    snprintf(out, TOKEN_BYTES, "%s", buf_str(&text));
}

/* Has the web server been told to answer for it for good? */
static bool should_answer(const struct subject *subject)
{
    const struct entry *entry = subject->entry;
    return entry != NULL && is_installed_by_us(entry) && step_of(entry) == DEPLOY_VERIFIED &&
           cert_config_has_challenge(&entry->config, CHALLENGE_VIA_WEB_SERVER);
}

static void judge_answer(struct check *check, const struct subject *subject, const char *name,
                         const char *address, const char *token, const char *thumbprint,
                         const struct probe_http *answer)
{
    AUTO_FREE char *head = mem_fmt("%s.", token);
    size_t len = strcspn(answer->body, "\r\n"), head_len = strlen(head);
    bool ours = answer->status == 200 && len > head_len && strncmp(answer->body, head, head_len) == 0;
    bool same = thumbprint[0] == '\0' || (len == head_len + strlen(thumbprint) &&
                                          strncmp(answer->body + head_len, thumbprint, len - head_len) == 0);
    if (ours && same) {
        check_find(check, SEVERITY_OK, "challenge", name, "a challenge for %s is answered on %s", name,
                   address);
    } else if (ours) {
        check_find(check, SEVERITY_WARNING, "challenge", name,
                   "a challenge for %s is answered on %s in the name of another account", name, address);
        check_why(check, "the CA would take it for wrong; an order puts the right one there");
    } else if (should_answer(subject)) {
        check_find(check, SEVERITY_WARNING, "challenge", name,
                   "a challenge for %s is not answered on %s: http status %d%s%s", name, address,
                   answer->status, answer->location[0] != '\0' ? " to " : "", answer->location);
        check_why(check, "the answer was there when the certificate was installed; the next renewal puts it "
                         "back, if it can");
    } else {
        check_find(
            check, SEVERITY_OK, "challenge", name,
            "challenges for %s are not answered on %s yet (http status %d): that comes with the first order",
            name, address, answer->status);
    }
}

static void check_challenge(struct check *check, const struct subject *subject, const char *name)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    struct account_record record = {0};
    struct err ignored = ERR_INIT;
    const struct view *view = subject->view;
    char token[TOKEN_BYTES];
    if (view->pid == 0 || name_is_wildcard(name) || web_needs_token_files(&view->web) ||
        !cert_config_has_challenge(&subject->config, CHALLENGE_VIA_WEB_SERVER) ||
        !web_probe_addresses(&view->web, &view->sites, name, 80, &addresses, &ignored))
        return;
    if (!store_account_load(check->store, subject->config.server, subject->config.account, &record, &ignored))
        record.thumbprint[0] = '\0'; /* not for this user to read */
    make_token(token);
    AUTO_FREE char *path = mem_fmt("/.well-known/acme-challenge/%s", token);
    for (size_t i = 0; i < addresses.n; i++) {
        struct probe_http answer;
        struct err err = ERR_INIT;
        if (role_probe_http(addresses.v[i], 80, false, name, path, PROBE_MS, &answer, &err)) {
            judge_answer(check, subject, name, addresses.v[i], token, record.thumbprint, &answer);
            continue;
        }
        check_found_err(check, should_answer(subject) ? SEVERITY_WARNING : SEVERITY_NOTE, "challenge", name,
                        &err);
        check_why(check, "the web server should answer there over http");
    }
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

/* Where the name servers do not answer, they do so for all names: told once. */
static void tell_silence(struct check *check, const struct caa_look *looks, size_t n)
{
    const struct caa_look *first = NULL;
    size_t failed = 0;
    for (size_t i = 0; i < n; i++) {
        bool silent = looks[i].question != 0 || looks[i].failure[0] != '\0';
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

static void check_caa(struct check *check, const struct subject *subject, struct resolver *resolver)
{
    AUTO_STRLIST identities = STRLIST_INIT;
    struct account_record record = {0};
    struct err ignored = ERR_INIT;
    const struct strlist *names = &subject->config.names;
    if (resolver == NULL)
        return;
    read_identities(check, subject->config.server, &identities);
    if (!store_account_load(check->store, subject->config.server, subject->config.account, &record, &ignored))
        record.url[0] = '\0';
    struct caa_look *looks = mem_array(names->n, sizeof *looks);
    for (size_t i = 0; i < names->n; i++) {
        struct dns_question question = {.kind = DNS_CAA,
                                        .name = names->v[i],
                                        .resolvers = &subject->config.dns_servers,
                                        .timeout_ms = CAA_MS};
        looks[i] = (struct caa_look){check, &subject->config, &identities, record.url, names->v[i], 0, ""};
        if (!name_is_ip(names->v[i]))
            looks[i].question = resolver_ask(resolver, &question, on_caa, &looks[i]);
    }
    resolver_wait(resolver, 2 * CAA_MS);
    for (size_t i = 0; i < names->n; i++) /* an answer that comes later finds nobody */
        if (looks[i].question != 0)
            resolver_forget(resolver, looks[i].question);
    tell_silence(check, looks, names->n);
    free(looks);
}

/* -- the CA's limits, and the certificate itself -------------------------------------------------------- */

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
        check_find(check, SEVERITY_OK, "limits", subject->config.names.v[0],
                   "what was asked of %s lately is within its limits",
                   config_ca_name(subject->config.server, ca));
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

static void check_subject(struct check *check, struct subject *subject, struct resolver *resolver,
                          int *silences)
{
    const struct strlist *names = &subject->config.names;
    if (subject->entry != NULL)
        check_certificate(check, subject->entry);
    for (size_t i = 0; i < names->n; i++)
        check_address(check, subject, names->v[i], silences);
    check_caa(check, subject, resolver);
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

static void work_on(struct check *check, const struct entry *entry, bool *taken, struct resolver *resolver,
                    int *silences)
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
    check_subject(check, &subject, resolver, silences);
    cert_config_clear(&subject.config);
}

void check_names(struct check *check)
{
    struct resolver *resolver = NULL;
    struct err err = ERR_INIT;
    int silences = 0;
    bool *taken = mem_array(check->names.n + 1, sizeof *taken);
    if (check->names.n > 0 && dns_available() && !resolver_start(&resolver, &err))
        check_found_err(check, SEVERITY_NOTE, "caa", NULL, &err);
    for (size_t i = 0; i < check->entries.n; i++)
        work_on(check, &check->entries.v[i], taken, resolver, &silences);
    work_on(check, NULL, taken, resolver, &silences);
    resolver_stop(resolver);
    free(taken);
}
