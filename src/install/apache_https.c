/*
 * apache_https.c - port 443 for names: certificates of hosts that are there, twins for those that are not,
 * mod_ssl, redirects.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "apache_edit.h"
#include "apache_server.h"
#include "tlsup/cert.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

/* -- turning TLS on -- */

/* The configuration as it will be with the modules that are linked; what it was is put aside. (One that the
 * companion loads comes after all that is there: nothing before it wakes.) */
static bool read_awake(struct apache_edit *edit, const struct apache_modules *plan,
                       struct apache_model *before, struct err *err)
{
    AUTO_STRLIST assume = STRLIST_INIT;
    for (size_t i = 0; i < plan->links.n; i++) {
        AUTO_FREE char *symbol = mem_fmt("%s_module", plan->links.v[i]);
        strlist_add(&assume, symbol);
    }
    struct apache_edit awake;
    if (!apache_edit_begin(edit->web, edit->txn, &assume, &awake, err))
        return err_context(err, "with TLS turned on");
    *before = edit->model;
    edit->model = awake.model;
    return true;
}

static bool was_awake(const struct apache_model *before, const struct apache_model *model,
                      const struct apache_host *host)
{
    const struct apache_line *line = &model->tree.lines[host->open];
    for (size_t i = 0; i + 1 < before->n_hosts; i++) {
        const struct apache_line *other = &before->tree.lines[before->hosts[i].open];
        if (other->node == line->node && (other->use == APACHE_NONE) == (line->use == APACHE_NONE) &&
            strcmp(before->tree.files[other->file]->real, model->tree.files[line->file]->real) == 0)
            return true;
    }
    return false;
}

static bool certificate_is_there(const struct apache_model *model, const struct apache_host *host,
                                 char **missing)
{
    static const char *const directives[] = {"SSLCertificateFile", "SSLCertificateKeyFile"};
    for (size_t i = 0; i < COUNT_OF(directives); i++) {
        const struct apache_line *line = apache_host_line(model, host, directives[i]);
        if (!line)
            line = apache_host_line(model, apache_main(model), directives[i]);
        if (!line && i == 0) {
            *missing = mem_dup("(none is given)");
            return false;
        }
        const char *args = line ? line->args : "";
        AUTO_FREE char *word = apache_word(&args);
        if (!word || strncmp(word, "pkcs11:", 7) == 0)
            continue;
        AUTO_FREE char *path = apache_path(&model->tree, word);
        struct stat st;
        if (stat(path, &st) != 0 || st.st_size == 0) {
            *missing = mem_dup(path);
            return false;
        }
    }
    return true;
}

/* -- https for the names -- */

struct https_plan {
    const struct web_https *https;
    struct strlist names; /* ordered, wildcards replaced by the names that the hosts know as well */
    struct apache_host **swaps;
    size_t n_swaps;
    struct apache_companion companion;
    struct apache_modules modules;
};

static void https_plan_clear(struct https_plan *plan)
{
    for (size_t i = 0; i < plan->companion.n_sources; i++)
        strlist_clear(&plan->companion.sources[i].names);
    free(plan->companion.sources);
    free(plan->swaps);
    strlist_clear(&plan->names);
    apache_modules_clear(&plan->modules);
}

static void add_covered(const struct apache_model *model, const char *wildcard, struct strlist *out)
{
    for (size_t i = 0; i < model->n_hosts; i++) {
        const struct apache_host *host = &model->hosts[i];
        for (size_t k = 0; k <= host->aliases.n; k++) {
            const char *name = k < host->aliases.n ? host->aliases.v[k] : host->server_name;
            if (name && !strpbrk(name, "*?") && name_matches(wildcard, name) && !strlist_has(out, name))
                strlist_add(out, name);
        }
    }
}

static void plan_names(const struct apache_model *model, const struct strlist *ordered, struct strlist *out)
{
    for (size_t i = 0; i < ordered->n; i++) {
        if (!strlist_has(out, ordered->v[i]))
            strlist_add(out, ordered->v[i]);
    }
    for (size_t i = 0; i < ordered->n; i++) {
        if (name_is_wildcard(ordered->v[i]))
            add_covered(model, ordered->v[i], out);
    }
}

/* Hosts of a person's that name it on 443. */
static bool plan_swaps(struct https_plan *plan, const struct apache_model *model, const char *name)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    bool found = false;
    apache_addresses(model, 443, plan->https->cert_name, &addresses);
    for (size_t i = 0; i < addresses.n; i++) {
        struct apache_host *host =
            apache_owner_at(model, name, addresses.v[i], 443, true, plan->https->cert_name);
        if (!host || host->open == APACHE_NONE || !apache_host_has(host, name) ||
            !apache_host_on(host, addresses.v[i], 443))
            continue;
        apache_add_host(&plan->swaps, &plan->n_swaps, host);
        found = true;
    }
    return found;
}

/* Who has the name on another port: a cache or a balancer has port 80. NULL = nobody; two of them are one too
 * many to choose from. */
static bool host_elsewhere(const struct apache_model *model, const char *name, const char *ignore,
                           struct apache_host **out, struct err *err)
{
    *out = NULL;
    for (size_t i = 0; i + 1 < model->n_hosts; i++) {
        struct apache_host *host = &model->hosts[i];
        int port = apache_host_port(model, host);
        if (port == 0 || port == 80 || port == 443 || apache_host_is_tls(model, host) ||
            (host->companion && strcmp(host->companion, ignore) == 0) || !apache_host_has(host, name) ||
            apache_owner(model, name, port, true, ignore) != host)
            continue;
        if (*out) {
            AUTO_FREE char *first = apache_host_where(model, *out);
            AUTO_FREE char *second = apache_host_where(model, host);
            err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, name,
                    "%s is served on port %d by %s and on port %d by %s, and by none on port 80: which is "
                    "to be shown by https cannot be known",
                    name, apache_host_port(model, *out), first, port, second);
            return err_advise(err, "Write a <VirtualHost *:443> for that name with what it is to show, and "
                                   "run the command again.");
        }
        *out = host;
    }
    return true;
}

static bool shares_visitors(const struct apache_model *model, const char *name, const char *ignore)
{
    struct apache_host **hosts = NULL;
    size_t n = 0;
    apache_default_hosts(model, name, ignore, &hosts, &n);
    free(hosts);
    return n > 1;
}

static bool plan_source(struct https_plan *plan, const struct apache_model *model, const char *name,
                        struct err *err)
{
    const char *ignore = plan->https->cert_name;
    struct apache_host *host = apache_owner(model, name, 80, true, ignore);
    bool is_default = !host || !apache_host_has(host, name);
    if (is_default)
        host = apache_owner(model, name, 80, false, ignore);
    if (!host)
        host = apache_main(model);
    const struct apache_block *block = NULL;
    if (host->open != APACHE_NONE)
        block =
            apache_block_around(apache_host_file(model, host), model->tree.lines[host->open].node, "port-80");
    if (block) {
        host = apache_main(model); /* our own answer to challenges is no site */
        is_default = true;
    }
    struct apache_host *elsewhere = NULL;
    if ((block || !apache_listens_on(model, 80)) && !host_elsewhere(model, name, ignore, &elsewhere, err))
        return false;
    if (elsewhere) {
        host = elsewhere;
        is_default = false;
    }
    /* Where several hosts share the visitors, by address, a host of the name's own would show all one site.
     */
    bool plain_twin = is_default && host->open != APACHE_NONE && !shares_visitors(model, name, ignore);
    for (size_t i = 0; i < plan->companion.n_sources; i++) {
        struct apache_source *source = &plan->companion.sources[i];
        if (source->host == host && source->is_default == is_default) {
            strlist_add(&source->names, name);
            return true;
        }
    }
    struct apache_companion *companion = &plan->companion;
    companion->sources = mem_resize(companion->sources, companion->n_sources + 1, sizeof *companion->sources);
    struct apache_source *source = &companion->sources[companion->n_sources++];
    *source = (struct apache_source){.host = host, .is_default = is_default, .plain_twin = plain_twin};
    strlist_add(&source->names, name);
    return true;
}

/* In the order of the hosts: a wildcard alias must not come before the host that names one of its names. */
static void sort_sources(struct apache_companion *companion)
{
    for (size_t i = 1; i < companion->n_sources; i++) {
        for (size_t k = i; k > 0 && companion->sources[k].host < companion->sources[k - 1].host; k--) {
            struct apache_source swap = companion->sources[k];
            companion->sources[k] = companion->sources[k - 1];
            companion->sources[k - 1] = swap;
        }
    }
}

static bool plan_https(struct https_plan *plan, const struct apache_model *model, struct err *err)
{
    plan_names(model, plan->https->names, &plan->names);
    for (size_t i = 0; i < plan->names.n; i++) {
        if (!plan_swaps(plan, model, plan->names.v[i]) && !plan_source(plan, model, plan->names.v[i], err))
            return false;
    }
    sort_sources(&plan->companion);
    return true;
}

static bool is_swapped(const struct https_plan *plan, const struct apache_host *host)
{
    for (size_t i = 0; i < plan->n_swaps; i++) {
        if (plan->swaps[i] == host)
            return true;
    }
    return false;
}

/* Hosts that wait for mod_ssl come to life with it: one without its certificate would stop the server. */
static bool check_sleepers(const struct apache_model *before, const struct apache_edit *edit,
                           const struct https_plan *plan, struct err *err)
{
    const struct apache_model *model = &edit->model;
    for (size_t i = 0; i + 1 < model->n_hosts; i++) {
        const struct apache_host *host = &model->hosts[i];
        AUTO_FREE char *missing = NULL;
        if (!apache_host_is_tls(model, host) || is_swapped(plan, host) || was_awake(before, model, host) ||
            certificate_is_there(model, host, &missing))
            continue;
        AUTO_FREE char *where = apache_host_where(model, host);
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, where,
                "turning on TLS would wake the virtual host in %s, whose certificate does not exist: %s",
                where, missing);
        return err_advise(err,
                          "Disable that virtual host, or give it a certificate, and run the command again.");
    }
    return true;
}

static bool is_v6(const char *address)
{
    return address[0] == '[';
}

/* Would the second of two sockets on one port be refused? "*" is both families; Apache itself minds 0.0.0.0
 * beside [::]. */
static bool listens_collide(const struct apache_address *a, const struct apache_address *b)
{
    static const char *const any[] = {"*", "0.0.0.0", "[::]"};
    if (a->port != b->port || strcmp(a->address, b->address) == 0)
        return false; /* the very same is refused by the server's own test */
    for (size_t i = 0; i < COUNT_OF(any); i++) {
        bool a_any = strcmp(a->address, any[i]) == 0, b_any = strcmp(b->address, any[i]) == 0;
        const char *other = a_any ? b->address : a->address;
        if ((a_any || b_any) && (i == 0 || (i == 2) == is_v6(other)) && strcmp(other, "*") != 0 &&
            (i == 0 ? strcmp(other, "0.0.0.0") != 0 && strcmp(other, "[::]") != 0 : true))
            return true;
    }
    return false;
}

/* A Listen that waits for mod_ssl comes to life as well. */
static bool check_listens(const struct apache_model *before, const struct apache_model *model,
                          struct err *err)
{
    for (size_t i = 0; model->n_listens > before->n_listens && i < model->n_listens; i++) {
        for (size_t k = i + 1; k < model->n_listens; k++) {
            const struct apache_listen *a = &model->listens[i], *b = &model->listens[k];
            if (!listens_collide(&a->at, &b->at))
                continue;
            const struct apache_file *file_a = model->tree.files[a->line->file];
            const struct apache_file *file_b = model->tree.files[b->line->file];
            err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, file_b->path,
                    "turning on TLS would wake two Listens that exclude each other: %s:%zu (Listen %s) and "
                    "%s:%zu (Listen %s)",
                    file_a->path, file_a->nodes[a->line->node].line, a->line->args, file_b->path,
                    file_b->nodes[b->line->node].line, b->line->args);
            return err_advise(err, "Take one of them out, and run the command again.");
        }
    }
    return true;
}

/* -- the certificate of a host that is there -- */

static void drop_block(struct apache_edit *edit, size_t file_index, const struct apache_block *block)
{
    const struct apache_file *file = edit->model.tree.files[file_index];
    size_t begin = file->nodes[block->first].begin;
    apache_splice(edit, file_index, begin, file->nodes[block->last].end - begin, "");
}

static const char *const certificate_lines[] = {"SSLCertificateFile", "SSLCertificateKeyFile",
                                                "SSLCertificateChainFile"};

static bool is_certificate_line(const struct apache_line *line)
{
    for (size_t i = 0; i < COUNT_OF(certificate_lines); i++) {
        if (line->kind == APACHE_DIRECTIVE && strcasecmp(line->name, certificate_lines[i]) == 0)
            return true;
    }
    return false;
}

static void pair_lines(struct buf *out, const char *indent, const char *live_dir, const char *suffix)
{
    buf_addf(out, "%sSSLCertificateFile \"%s/fullchain%s.pem\"\n", indent, live_dir, suffix);
    buf_addf(out, "%sSSLCertificateKeyFile \"%s/privkey%s.pem\"\n", indent, live_dir, suffix);
}

static size_t main_lines_of(const struct apache_edit *edit, const char *name)
{
    const struct apache_model *model = &edit->model;
    size_t n = 0;
    for (size_t i = 0; i < model->n_main_lines; i++)
        n += strcasecmp(model->tree.lines[model->main_lines[i]].name, name) == 0;
    return n;
}

/* The server lays a host's certificates over those of the main server by their number: where that has more,
 * its own would be served beside ours, or in their stead. So ours are repeated. Likewise its chain, which
 * ours takes the place of. */
void apache_certificate_lines(struct buf *out, const char *indent, const struct apache_edit *edit,
                              const struct web_https *https)
{
    AUTO_FREE char *suffix = https->second ? mem_fmt("-%s", https->second) : NULL;
    size_t covered = main_lines_of(edit, "SSLCertificateFile");
    pair_lines(out, indent, https->live_dir, "");
    if (suffix)
        pair_lines(out, indent, https->live_dir, suffix);
    for (size_t i = suffix ? 2 : 1; i < covered; i++)
        pair_lines(out, indent, https->live_dir, suffix ? suffix : "");
    if (main_lines_of(edit, "SSLCertificateChainFile"))
        buf_addf(out, "%sSSLCertificateChainFile \"%s/fullchain.pem\"\n", indent, https->live_dir);
}

/* How many lines those are. */
static size_t certificate_count(const struct apache_edit *edit, const struct web_https *https)
{
    size_t own = https->second ? 2 : 1, covered = main_lines_of(edit, "SSLCertificateFile");
    return 2 * (own > covered ? own : covered) + (main_lines_of(edit, "SSLCertificateChainFile") > 0);
}

/* Is it one of the lines that we would write? */
static bool is_ours(const struct apache_line *line, const struct web_https *https)
{
    const char *args = line->args;
    AUTO_FREE char *word = apache_word(&args);
    size_t len = strlen(https->live_dir);
    if (!word || strncmp(word, https->live_dir, len) != 0)
        return false;
    AUTO_FREE char *certificate = https->second ? mem_fmt("/fullchain-%s.pem", https->second) : NULL;
    AUTO_FREE char *key = https->second ? mem_fmt("/privkey-%s.pem", https->second) : NULL;
    const char *const files[] = {"/fullchain.pem", "/privkey.pem", certificate, key};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        if (files[i] && strcmp(word + len, files[i]) == 0)
            return true;
    }
    return false;
}

/* Lines that other hosts read as well are not ours to change. */
static bool check_shared(const struct apache_edit *edit, const struct apache_host *host,
                         const struct apache_line *line, struct err *err)
{
    const struct apache_tree *tree = &edit->model.tree;
    const struct apache_file *file = tree->files[line->file];
    bool own = line->file == tree->lines[host->open].file;
    if (line->use == APACHE_NONE && (own || file->times == 1))
        return true;
    AUTO_FREE char *where = apache_host_where(&edit->model, host);
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, where,
            "the certificate of the virtual host in %s comes from %s:%zu, which %s", where, file->path,
            file->nodes[line->node].line,
            line->use != APACHE_NONE ? "is a macro" : "several virtual hosts include");
    return err_advise(err, "Write SSLCertificateFile and SSLCertificateKeyFile in that virtual host itself, "
                           "and run the command again.");
}

static bool covers(const struct strlist *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++) {
        if (strcasecmp(names->v[i], name) == 0 || name_matches(names->v[i], name))
            return true;
    }
    return false;
}

/* The names in the host's present certificate, when that is valid. */
static void present_names(const struct apache_edit *edit, const struct apache_host *host, struct strlist *out)
{
    const struct apache_line *line = apache_host_line(&edit->model, host, "SSLCertificateFile");
    const char *args = line ? line->args : "";
    AUTO_FREE char *word = apache_word(&args);
    if (!word)
        return;
    AUTO_FREE char *path = apache_path(&edit->model.tree, word);
    AUTO_BUF pem = BUF_INIT;
    AUTO_CHAIN *chain = NULL;
    struct cert_info info = CERT_INFO_INIT;
    struct err ignored = ERR_INIT;
    if (fs_exists(path) && fs_read(path, 1u << 20, &pem, &ignored) &&
        cert_chain_parse(buf_str(&pem), pem.len, path, &chain, &ignored) &&
        cert_chain_info(chain, &info, &ignored) && info.not_after_s > clock_now_s())
        strlist_copy(out, &info.names);
    cert_info_clear(&info);
}

/* Is it this host that answers for a name on 443? (For a wildcard: for some that it covers.) */
static bool answers_for(const struct apache_model *model, const struct apache_host *host, const char *name,
                        const char *ignore)
{
    if (!apache_host_has(host, name))
        return false;
    bool answers = name_is_wildcard(name);
    for (size_t i = 0; i < host->n_addresses && !answers; i++)
        answers = apache_owner_at(model, name, host->addresses[i].address, 443, true, ignore) == host;
    return answers;
}

/* A name that the host serves with its present certificate and would not with the new one: one of its own, or
 * one in the certificate that it has by a wildcard alone. NULL = none; borrowed. */
static const char *name_lost(const struct apache_model *model, const struct apache_host *host,
                             const struct strlist *present, const struct web_https *https)
{
    for (size_t i = 0; i <= host->aliases.n; i++) {
        const char *name = i < host->aliases.n ? host->aliases.v[i] : apache_host_name(host);
        if (name && !covers(https->names, name) && covers(present, name))
            return name;
    }
    for (size_t i = 0; i < present->n; i++) {
        if (!covers(https->names, present->v[i]) && answers_for(model, host, present->v[i], https->cert_name))
            return present->v[i];
    }
    return NULL;
}

/* A name of the host's that is served well now must not lose its certificate. */
static bool check_names_kept(const struct apache_edit *edit, const struct apache_host *host,
                             const struct web_https *https, struct err *err)
{
    AUTO_STRLIST present = STRLIST_INIT;
    AUTO_FREE char *where = apache_host_where(&edit->model, host);
    present_names(edit, host, &present);
    const char *lost = name_lost(&edit->model, host, &present, https);
    if (lost) {
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, lost,
                "%s serves %s too, with a valid certificate that a new one without that name would replace",
                where, lost);
        return err_advise(err, "Give all names of that virtual host at once: add %s to the command.", lost);
    }
    for (size_t i = 0; i <= host->aliases.n; i++) {
        const char *name = i < host->aliases.n ? host->aliases.v[i] : apache_host_name(host);
        if (!name || covers(https->names, name))
            continue;
        log_warn("%s also answers for %s, which the new certificate does not cover", where, name);
    }
    return true;
}

/* The old lines stay in the file as comments: nothing of the person's is lost. */
static void retire_line(struct apache_edit *edit, const struct apache_line *line)
{
    const struct apache_file *file = edit->model.tree.files[line->file];
    if (!apache_is_asked(edit, line->file, file->nodes[line->node].begin, "#replaced by tlsup# "))
        apache_splice(edit, line->file, file->nodes[line->node].begin, 0, "#replaced by tlsup# ");
}

static bool swap_certificate(struct apache_edit *edit, const struct https_plan *plan,
                             struct apache_host *host, struct err *err)
{
    const struct apache_tree *tree = &edit->model.tree;
    size_t from, to, kept = 0, foreign = 0;
    apache_host_span(&edit->model, host, &from, &to);
    for (size_t i = from; i < to; i++) {
        if (!is_certificate_line(&tree->lines[i]))
            continue;
        is_ours(&tree->lines[i], plan->https) ? kept++ : foreign++;
    }
    if (!foreign && kept == certificate_count(edit, plan->https))
        return true;
    AUTO_FREE char *where = apache_host_where(&edit->model, host);
    if (host->ssl == 0) {
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, where,
                "%s answers on port 443 without TLS (SSLEngine off)", where);
        return err_advise(err,
                          "Say SSLEngine on in it, or take port 443 from it, and run the command again.");
    }
    if (apache_host_on(host, "*", 80) && !foreign && !kept) {
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, where,
                "%s is one virtual host for port 80 and for port 443", where);
        return err_advise(
            err, "Split it in two, one <VirtualHost *:80> and one <VirtualHost *:443>, or take *:443 "
                 "out of it, and run the command again.");
    }
    if (tree->lines[host->open].use != APACHE_NONE) {
        err_set(
            err, ERR_WEBSERVER, NEXT_FIX_CONFIG, where,
            "the virtual host on port 443 in %s comes from a macro, whose other uses would change with it",
            where);
        return err_advise(
            err, "Write that virtual host without the macro, or remove it, and run the command again.");
    }
    if (!check_names_kept(edit, host, plan->https, err))
        return false;
    struct apache_spot spot = apache_host_spot(edit, host);
    for (size_t i = from; i < to; i++) {
        const struct apache_line *line = &tree->lines[i];
        if (!is_certificate_line(line) ||
            apache_block_around(tree->files[line->file], line->node, "certificate"))
            continue;
        if (!check_shared(edit, host, line, err))
            return false;
        retire_line(edit, line);
    }
    const struct apache_block *old = apache_spot_block(edit, &spot, "certificate", NULL);
    if (old && strcmp(old->id, plan->https->cert_name) != 0)
        drop_block(edit, spot.file, old);
    AUTO_BUF content = BUF_INIT;
    if (host->ssl < 0 && apache_main(&edit->model)->ssl != 1)
        buf_adds(&content, "SSLEngine on\n");
    apache_certificate_lines(&content, "", edit, plan->https);
    apache_put_block(edit, &spot, "certificate", plan->https->cert_name, apache_spot_top(edit, &spot),
                     buf_str(&content));
    return true;
}

/* What is said last in a host counts: behind its own lines and Includes. */
static bool swap_tls(struct apache_edit *edit, const struct https_plan *plan, struct apache_host *host,
                     struct err *err)
{
    struct apache_spot spot = apache_host_spot(edit, host);
    const struct apache_block *old = apache_spot_block(edit, &spot, "tls", NULL);
    AUTO_BUF content = BUF_INIT;
    if (plan->https->profile != WEB_TLS_INTERMEDIATE)
        apache_profile_lines(&content, edit, plan->https);
    apache_hsts_line(&content, edit, host, plan->https);
    if (old && (!content.len || strcmp(old->id, plan->https->cert_name) != 0))
        drop_block(edit, spot.file, old);
    if (!content.len)
        return true;
    if (!apache_check_macro(edit, host, buf_str(&content), err))
        return false;
    apache_put_block(edit, &spot, "tls", plan->https->cert_name, apache_spot_bottom(edit, &spot),
                     buf_str(&content));
    return true;
}

/* -- the redirect -- */

static bool has_plain_twin(const struct https_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->companion.n_sources; i++) {
        const struct apache_source *source = &plan->companion.sources[i];
        if (source->plain_twin && strlist_has(&source->names, name))
            return true;
    }
    return false;
}

/* Does a person's host on 443 send it back to http? */
static bool sends_back(const struct apache_edit *edit, const struct https_plan *plan, const char *name)
{
    const struct apache_host *host = apache_owner(&edit->model, name, 443, true, plan->https->cert_name);
    if (!host || host->open == APACHE_NONE || !apache_host_redirects(&edit->model, host, "http://"))
        return false;
    AUTO_FREE char *where = apache_host_where(&edit->model, host);
    log_warn("%s sends %s from https back to http: no redirect to https is added", where, name);
    return true;
}

static bool redirect_in_host(struct apache_edit *edit, const struct https_plan *plan,
                             struct apache_host *host, const struct strlist *names, struct err *err)
{
    const char *id = plan->https->cert_name;
    struct apache_spot spot = apache_host_spot(edit, host);
    const struct apache_block *old = apache_spot_block(edit, &spot, "redirect", id);
    if (!names->n || apache_host_redirects(&edit->model, host, "https://")) {
        if (old)
            drop_block(edit, spot.file, old);
        return true;
    }
    AUTO_BUF content = BUF_INIT;
    apache_redirect_rules(&content, names);
    if (!apache_check_macro(edit, host, buf_str(&content), err))
        return false;
    size_t at = apache_spot_top(edit, &spot);
    const struct apache_block *challenge = apache_spot_block(edit, &spot, "challenge", "rules");
    if (challenge)
        at = edit->model.tree.files[spot.file]->nodes[challenge->last].end;
    apache_put_block(edit, &spot, "redirect", id, at, buf_str(&content));
    return true;
}

/* One Macro makes several hosts out of the same lines. */
static bool same_lines(const struct apache_model *model, const struct apache_host *a,
                       const struct apache_host *b)
{
    if (a == b || !a || !b || a->open == APACHE_NONE || b->open == APACHE_NONE)
        return a == b;
    const struct apache_line *x = &model->tree.lines[a->open], *y = &model->tree.lines[b->open];
    return x->file == y->file && x->node == y->node;
}

/* The hosts that are to send a name to https: its owner, or all those that answer for it by default. */
static void redirecting_hosts(const struct apache_edit *edit, const struct https_plan *plan, const char *name,
                              struct apache_host ***hosts, size_t *n)
{
    const char *id = plan->https->cert_name;
    if (!plan->https->redirect || has_plain_twin(plan, name) || sends_back(edit, plan, name))
        return;
    struct apache_host *owner = apache_owner(&edit->model, name, 80, false, id);
    if (owner)
        apache_add_host(hosts, n, owner);
    apache_default_hosts(&edit->model, name, id, hosts, n);
}

static bool is_among(const struct apache_model *model, struct apache_host *const *hosts, size_t n,
                     const struct apache_host *host)
{
    for (size_t i = 0; i < n; i++) {
        if (same_lines(model, hosts[i], host))
            return true;
    }
    return false;
}

/* Every person's host on port 80: those that answer for a name get the redirect, the others lose it. */
static bool plan_redirects(struct apache_edit *edit, const struct https_plan *plan, struct err *err)
{
    const char *id = plan->https->cert_name;
    const struct strlist *names = plan->https->names;
    struct apache_host ***owners = mem_array(names->n, sizeof *owners);
    size_t *n_owners = mem_array(names->n, sizeof *n_owners);
    for (size_t k = 0; k < names->n; k++)
        redirecting_hosts(edit, plan, names->v[k], &owners[k], &n_owners[k]);
    bool ok = true;
    for (size_t i = 0; i < edit->model.n_hosts && ok; i++) {
        struct apache_host *host = &edit->model.hosts[i];
        if (host->companion && strcmp(host->companion, id) == 0)
            continue;
        AUTO_STRLIST own = STRLIST_INIT;
        for (size_t k = 0; k < names->n; k++) {
            if (is_among(&edit->model, owners[k], n_owners[k], host))
                strlist_add(&own, names->v[k]);
        }
        ok = redirect_in_host(edit, plan, host, &own, err);
    }
    for (size_t k = 0; k < names->n; k++)
        free(owners[k]);
    free(owners);
    free(n_owners);
    return ok;
}

/* -- all together -- */

static bool check_plan(const struct apache_edit *edit, const struct https_plan *plan, struct err *err)
{
    static const int ports[] = {80, 443};
    for (size_t i = 0; i < plan->https->names->n * COUNT_OF(ports); i++) {
        const char *name = plan->https->names->v[i / COUNT_OF(ports)];
        const struct apache_host *host =
            apache_unreachable(&edit->model, name, ports[i % COUNT_OF(ports)], plan->https->cert_name);
        if (host)
            return apache_refuse_unreachable(&edit->model, host, err);
    }
    AUTO_STRLIST homeless = STRLIST_INIT;
    for (size_t i = 0; i < plan->companion.n_sources; i++) {
        const struct apache_source *source = &plan->companion.sources[i];
        for (size_t k = 0; source->is_default && k < source->names.n; k++)
            strlist_add(&homeless, source->names.v[k]);
    }
    if (homeless.n && !apache_refuse_disabled(edit->web, &edit->model, &homeless, err))
        return false;
    for (size_t i = 0; i < plan->companion.n_sources; i++) {
        if (!apache_companion_check(edit, &plan->companion.sources[i], err))
            return false;
    }
    return true;
}

static bool stage_https(struct apache_edit *edit, struct https_plan *plan, struct err *err)
{
    AUTO_FREE char *link = NULL;
    AUTO_FREE char *target = NULL;
    /* Apache must accept every step: what our lines need comes before them, and mod_ssl, which wakes hosts
     * that wait for it, after their certificates. */
    bool ok = apache_modules_stage(edit, &plan->modules, false, err);
    ok =
        ok && (plan->companion.n_sources ? apache_companion_stage(edit, &plan->companion, &link, &target, err)
                                         : apache_companion_remove(edit, plan->https->cert_name, err));
    for (size_t i = 0; i < plan->n_swaps && ok; i++)
        ok = swap_certificate(edit, plan, plan->swaps[i], err) && swap_tls(edit, plan, plan->swaps[i], err);
    return ok && plan_redirects(edit, plan, err) && apache_edit_stage(edit, err) &&
           apache_modules_stage(edit, &plan->modules, true, err) &&
           (!link || txn_symlink(edit->txn, link, target, err));
}

static bool plan_ssl(const struct apache_edit *edit, struct apache_modules *plan, struct err *err)
{
    if (apache_modules_need(edit, "ssl", true, plan))
        return true;
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, edit->web->bin, "Apache's mod_ssl is not installed");
    return err_advise(err, "Install it (Fedora and its kin: dnf install mod_ssl; Alpine: apk add "
                           "apache2-ssl) and run the command again.");
}

/* Strict-Transport-Security is mod_headers' work. */
static bool plan_headers(const struct apache_edit *edit, struct https_plan *plan, struct err *err)
{
    if (plan->https->hsts_s <= 0 || apache_modules_need(edit, "headers", plan->n_swaps == 0, &plan->modules))
        return true;
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, edit->web->bin,
            "Strict-Transport-Security needs Apache's mod_headers, which is not loaded");
    return err_advise(
        err, "Add a line to %s: LoadModule headers_module modules/mod_headers.so; or leave --hsts out.",
        edit->web->conf);
}

static bool edit_https(struct apache_edit *edit, struct https_plan *plan, struct err *err)
{
    struct apache_model before = {0};
    if (!apache_check_profile(edit->web, plan->https, err) || !plan_ssl(edit, &plan->modules, err))
        return false;
    bool wakes = plan->modules.links.n > 0;
    if (wakes && !read_awake(edit, &plan->modules, &before, err))
        return false;
    plan->companion.modules = &plan->modules;
    bool ok =
        plan_https(plan, &edit->model, err) &&
        (!wakes || (check_sleepers(&before, edit, plan, err) && check_listens(&before, &edit->model, err) &&
                    apache_modules_check_redirects(&before, edit, plan->https, err))) &&
        check_plan(edit, plan, err) && plan_headers(edit, plan, err) &&
        apache_modules_check(edit, &plan->modules, plan->n_swaps > 0, err) && stage_https(edit, plan, err);
    apache_model_clear(&before);
    return ok;
}

bool apache_edit_https(const struct web *web, const struct sites *sites, const struct web_https *https,
                       struct txn *txn, struct err *err)
{
    (void)sites;
    if (!https->names->n || https->live_dir[0] != '/' || strpbrk(https->live_dir, "\"\\\n$"))
        return err_set(err, ERR_INTERNAL, NEXT_NONE, https->live_dir,
                       "cannot write this certificate's path into Apache's files");
    struct apache_edit edit;
    if (!apache_edit_begin(web, txn, NULL, &edit, err))
        return false;
    struct https_plan plan = {.https = https, .companion.https = https};
    bool ok = edit_https(&edit, &plan, err);
    https_plan_clear(&plan);
    apache_edit_clear(&edit);
    return ok;
}
