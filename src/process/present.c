#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "present.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/clock.h"
#include "tlsup/dns_update.h"
#include "tlsup/fs.h"
#include "tlsup/hook.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/messages.h"
#include "tlsup/quote.h"
#include "tlsup/resolver.h"
#include "tlsup/spawn.h"
#include "tlsup/webroot.h"

enum {
    LOOK_UP_TIMEOUT_MS = 20 * 1000,
    UPDATE_TIMEOUT_MS = 20 * 1000,
    RECORD_TTL_S = 60,
    PERSIST_TTL_S = 3600,
    HOOK_POLL_MS = 20,
    PERSIST_TEXT_BYTES = 2048,
    MAX_TOKENS = 4000, /* the responder's own bound is a little higher */
};

enum step {
    STEP_LOOKING_UP, /* DNS: where the record belongs, or whether the standing one is there */
    STEP_QUEUED,     /* for the hook, which runs once at a time */
    STEP_RUNNING,    /* the hook runs */
    STEP_UPDATING,   /* the zone */
    STEP_CHECKING,   /* until all of the zone's servers show it */
    STEP_PLACED,     /* done() was told; waits for its clean-up */
};

/* One answer to one challenge. */
struct answer {
    struct answer *next;
    struct presenter *presenter;
    struct job *job;
    uint32_t order_id;
    int index;
    enum challenge_type type;
    enum config_challenge via;
    enum step step;
    bool removing; /* the present step is part of a clean-up */
    bool told;     /* done() was called */
    bool to_clean; /* a clean-up was asked for */
    bool failed;
    bool placed;       /* something may be there that must be taken away */
    bool standing;     /* dns-persist-01: it stays */
    uint32_t question; /* the resolver's */
    char name[FLOW_NAME_BYTES];
    char token[TOKEN_MAX_BYTES];
    char *key_authorization;
    char *value;                 /* of the TXT record */
    char record[DNS_NAME_BYTES]; /* where the CA will look */
    char target[DNS_NAME_BYTES]; /* the same, CNAMEs followed */
    char zone[DNS_NAME_BYTES];
    struct strlist
        servers;         /* of the zone, the primary first; of the configured host, once it was looked up */
    char update_port[8]; /* "#53" */
    char *hook_output;
    /* dns-persist-01 */
    int draft;
    char *issuers, *account_uri, *any_uri;
};

struct presenter {
    struct presenter_options options;
    struct answer *answers;
    struct spawn *hook; /* the one that runs */
    struct answer *hook_of;
    bool moved;
};

struct presenter *presenter_new(const struct presenter_options *options)
{
    struct presenter *presenter = mem_alloc(sizeof *presenter);
    presenter->options = *options;
    return presenter;
}

static void answer_free(struct answer *answer)
{
    struct answer **link = &answer->presenter->answers;
    while (*link != answer)
        link = &(*link)->next;
    *link = answer->next;
    if (answer->question != 0)
        resolver_forget(answer->presenter->options.resolver, answer->question);
    strlist_clear(&answer->servers);
    free(answer->key_authorization);
    free(answer->value);
    free(answer->hook_output);
    free(answer->issuers);
    free(answer->account_uri);
    free(answer->any_uri);
    free(answer);
}

void presenter_free(struct presenter *presenter)
{
    if (presenter == NULL)
        return;
    spawn_kill(presenter->hook);
    while (presenter->answers != NULL)
        answer_free(presenter->answers);
    free(presenter);
}

static const struct cert_config *config_of(const struct answer *answer)
{
    return answer->job->config;
}

static void say(const struct answer *answer, const char *what)
{
    const struct presenter_options *options = &answer->presenter->options;
    AUTO_FREE char *text = mem_fmt("%s: %s", answer->name, what);
    if (options->progress != NULL)
        options->progress(options->progress_ctx, answer->job, text);
}

/* -- the end of a step ---------------------------------------------------------------------------------- */

static void remove_it(struct answer *answer);

/* The answer is there, or cannot be: once. */
static void finish_presenting(struct answer *answer, const struct err *failure)
{
    const struct presenter_options *options = &answer->presenter->options;
    answer->step = STEP_PLACED;
    answer->presenter->moved = true;
    if (failure != NULL)
        answer->failed = true;
    if (!answer->told) {
        answer->told = true;
        options->done(options->ctx, answer->order_id, answer->index, failure);
    }
    if (answer->to_clean)
        remove_it(answer);
}

static void finish_removing(struct answer *answer, const struct err *failure)
{
    answer->presenter->moved = true;
    if (failure != NULL)
        log_warn("%s: what was put there for the challenge could not be taken away: %s", answer->name,
                 failure->text);
    answer_free(answer);
}

static void finish(struct answer *answer, const struct err *failure)
{
    if (answer->removing)
        finish_removing(answer, failure);
    else
        finish_presenting(answer, failure);
}

/* -- answers that are there at once: http-01 and tls-alpn-01 -------------------------------------------- */

static bool by_responder(const struct answer *answer)
{
    return answer->via == CHALLENGE_VIA_STANDALONE || answer->via == CHALLENGE_VIA_TLS_ALPN ||
           (answer->via == CHALLENGE_VIA_WEB_SERVER && answer->job->use_responder);
}

/* What it cannot take ends it, and with it every other order. */
static bool has_room(const struct answer *answer, struct err *err)
{
    size_t n = 0;
    for (const struct answer *other = answer->presenter->answers; other != NULL; other = other->next)
        n += other->placed && by_responder(other);
    return n <= MAX_TOKENS ||
           err_set(err, ERR_CHILD, NEXT_RETRY_LATER, answer->name,
                   "more challenges at the same time than our responder can answer (%d)", MAX_TOKENS);
}

static bool tell_responder(const struct answer *answer, enum msg_type type, const char *text, struct err *err)
{
    struct role *responder = answer->presenter->options.responder;
    struct msg msg = MSG_INIT(type);
    if (responder == NULL || responder->fd < 0)
        return err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, answer->name,
                       "the process that answers challenges is not running");
    snprintf(msg.token, sizeof msg.token, "%s", answer->token);
    snprintf(msg.name, sizeof msg.name, "%s", answer->name);
    snprintf(msg.text, sizeof msg.text, "%s", text);
    return msg_send(responder->fd, &msg, err);
}

static bool place_alpn(const struct answer *answer, struct err *err)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    char hex[2 * SHA256_DIGEST_LENGTH + 1];
    SHA256((const unsigned char *)answer->key_authorization, strlen(answer->key_authorization), digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return tell_responder(answer, MSG_ALPN_ADD, hex, err);
}

static bool place_file(const struct answer *answer, struct err *err)
{
    const char *text = answer->key_authorization;
    if (answer->via == CHALLENGE_VIA_WEBROOT)
        return webroot_present(config_of(answer)->webroot, answer->token, text, err);
    AUTO_FREE char *path = fs_join(answer->job->token_dir, answer->token);
    return fs_write(path, text, strlen(text), 0644, err);
}

static bool remove_file(const struct answer *answer, struct err *err)
{
    if (answer->via == CHALLENGE_VIA_WEBROOT)
        return webroot_remove(config_of(answer)->webroot, answer->token, err);
    AUTO_FREE char *path = fs_join(answer->job->token_dir, answer->token);
    return fs_remove(path, err);
}

static bool by_file(const struct answer *answer)
{
    return answer->via == CHALLENGE_VIA_WEBROOT || (answer->via == CHALLENGE_VIA_WEB_SERVER &&
                                                    !by_responder(answer) && answer->job->token_dir != NULL);
}

/* There is no need to wait for the responder's word: it reads our frames before any request that comes after
 * them. */
static bool place_now(const struct answer *answer, struct err *err)
{
    if (by_responder(answer) && !has_room(answer, err))
        return false;
    if (answer->via == CHALLENGE_VIA_TLS_ALPN)
        return place_alpn(answer, err);
    if (by_responder(answer))
        return tell_responder(answer, MSG_TOKEN_ADD, answer->key_authorization, err);
    return !by_file(answer) || place_file(answer, err); /* else: the web server's own standing answer */
}

static void remove_now(struct answer *answer)
{
    struct err err = ERR_INIT;
    struct role *responder = answer->presenter->options.responder;
    bool ok = true;
    if (by_file(answer))
        ok = remove_file(answer, &err);
    else if (by_responder(answer) && responder != NULL && responder->fd >= 0)
        ok = tell_responder(answer, MSG_TOKEN_DROP, "", &err);
    finish_removing(answer, ok ? NULL : &err);
}

/* -- hooks ---------------------------------------------------------------------------------------------- */

static int challenges_to_come(const struct answer *answer)
{
    int n = 0;
    for (const struct answer *other = answer->presenter->answers; other != NULL; other = other->next)
        n += other != answer && other->job == answer->job && !other->to_clean && other->step <= STEP_QUEUED;
    return n;
}

static void make_hook_job(const struct answer *answer, struct hook_job *out)
{
    const struct cert_config *config = config_of(answer);
    *out = (struct hook_job){.contract = config->hook_contract,
                             .program = config->challenge_hook,
                             .cleanup_program = config->cleanup_hook,
                             .cert_name = config->name,
                             .all_names = &config->names,
                             .type = answer->type,
                             .name = answer->name,
                             .record = answer->target[0] != '\0' ? answer->target : answer->record,
                             .token = answer->token,
                             .key_authorization = answer->key_authorization,
                             .remaining = challenges_to_come(answer),
                             .failed = answer->failed,
                             .present_output = answer->hook_output};
}

/* With -v: what it is given. Before the credentials of hook-env come in. */
static void log_command(const struct hook_command *command)
{
    AUTO_FREE char *argv = strlist_join(&command->argv, " ");
    AUTO_FREE char *env = strlist_join(&command->env, "\n  ");
    log_info("running %s\n  %s", argv, env);
}

static void run_hook(struct answer *answer)
{
    const struct cert_config *config = config_of(answer);
    struct presenter *presenter = answer->presenter;
    struct hook_job job;
    struct hook_command command = {0};
    struct err err = ERR_INIT;
    make_hook_job(answer, &job);
    hook_command_make(answer->removing ? HOOK_CLEANUP : HOOK_PRESENT, &job, &command);
    AUTO_FREE char *hook_state = mem_fmt("TLSUP_HOOK_STATE=%s/hooks", presenter->options.state_dir);
    strlist_add(&command.env, hook_state);
    log_command(&command);
    const char *program =
        answer->removing && config->hook_contract == HOOK_CERTBOT && config->cleanup_hook != NULL
            ? config->cleanup_hook
            : config->challenge_hook;
    bool ok = spawn_check_program(program, config->hook_contract == HOOK_ACME_SH, &err) &&
              (config->hook_env == NULL || hook_env_read(config->hook_env, &command.env, &err));
    if (ok && command.argv.n == 0) {
        hook_command_clear(&command);
        finish(answer, NULL);
        return;
    }
    const char **argv = mem_array(command.argv.n + 1, sizeof *argv);
    const char **env = mem_array(command.env.n + 1, sizeof *env);
    for (size_t i = 0; i < command.argv.n; i++)
        argv[i] = command.argv.v[i];
    for (size_t i = 0; i < command.env.n; i++)
        env[i] = command.env.v[i];
    struct spawn_options options = {.timeout_ms = (int64_t)config->hook_timeout_s * 1000, .env = env};
    answer->step = STEP_RUNNING;
    if (ok && (ok = spawn_start(argv, &options, &presenter->hook, &err))) {
        presenter->hook_of = answer;
        answer->placed |= !answer->removing;
    }
    free(argv);
    free(env);
    hook_command_clear(&command);
    if (!ok) {
        (void)err_context(&err, "the challenge hook");
        finish(answer, &err);
    }
}

static void queue_hook(struct answer *answer)
{
    if (!answer->removing)
        say(answer, "running the challenge hook");
    answer->step = STEP_QUEUED;
}

static void start_next_hook(struct presenter *presenter)
{
    while (presenter->hook == NULL) { /* some end without running */
        struct answer *oldest = NULL;
        for (struct answer *answer = presenter->answers; answer != NULL; answer = answer->next)
            if (answer->step == STEP_QUEUED)
                oldest = answer; /* the list has the newest in front */
        if (oldest == NULL)
            return;
        run_hook(oldest);
    }
}

static void check_seen(struct answer *answer);

static char *trimmed(const char *text)
{
    size_t len = strlen(text);
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    while (len > 0 && isspace((unsigned char)*text)) {
        text++;
        len--;
    }
    return mem_ndup(text, len);
}

static void hook_ended(struct answer *answer, const struct spawn_result *result)
{
    const char *program = config_of(answer)->challenge_hook;
    struct err err = ERR_INIT;
    AUTO_BUF quoted = BUF_INIT;
    AUTO_FREE char *output = trimmed(buf_str(&result->output));
    if (result->status != 0 || result->timed_out) {
        quote_add(output, &quoted);
        (void)err_set(&err, ERR_HOOK, NEXT_FIX_CONFIG, answer->name, "the challenge hook %s %s%s%.900s",
                      program, result->timed_out ? "did not end in time" : "failed",
                      output[0] != '\0' ? ":" : "", buf_str(&quoted));
        (void)err_advise(&err, "see with -v what it is given, and tlsup-hooks(7) for what it must do");
        finish(answer, &err);
        return;
    }
    if (answer->removing) {
        finish(answer, NULL);
        return;
    }
    log_info("%s: the challenge hook has ended well%s%s", answer->name, output[0] != '\0' ? ": " : "",
             output);
    free(answer->hook_output);
    answer->hook_output = mem_dup(output);
    if (answer->via == CHALLENGE_VIA_HTTP_HOOK)
        finish(answer, NULL);
    else
        check_seen(answer);
}

static void step_hook(struct presenter *presenter)
{
    struct spawn_result result = {0};
    struct answer *answer = presenter->hook_of;
    if (presenter->hook == NULL || !spawn_step(presenter->hook, &result))
        return;
    presenter->hook = NULL;
    presenter->hook_of = NULL;
    presenter->moved = true;
    hook_ended(answer, &result);
    spawn_result_clear(&result);
}

/* -- the domain name system ----------------------------------------------------------------------------- */

static bool updates_zone(const struct cert_config *config)
{
    return config->dns_update_server != NULL;
}

static void ask(struct answer *answer, const struct dns_question *question, dns_done_fn *done)
{
    struct resolver *resolver = answer->presenter->options.resolver;
    struct err err = ERR_INIT;
    if (resolver == NULL) {
        (void)err_set(&err, ERR_INTERNAL, NEXT_LOCAL_FAULT, answer->name,
                      "the process that asks the domain name system is not running");
        finish(answer, &err);
        return;
    }
    answer->question = resolver_ask(resolver, question, done, answer);
}

static void on_seen(void *ctx, const struct dns_answer *found, const struct err *failure)
{
    struct answer *answer = ctx;
    (void)found;
    answer->question = 0;
    finish(answer, failure);
}

/* Instead of a fixed sleep: until every server that the CA may ask has it. */
static void check_seen(struct answer *answer)
{
    const struct cert_config *config = config_of(answer);
    struct dns_question question = {.kind = DNS_TXT_EVERYWHERE,
                                    .name = answer->record,
                                    .value = answer->value,
                                    .resolvers = &config->dns_servers,
                                    .timeout_ms = (int64_t)config->dns_timeout_s * 1000};
    if (!config->dns_check || answer->to_clean) {
        finish(answer, NULL);
        return;
    }
    say(answer, "waiting until all servers of the zone show the record");
    answer->step = STEP_CHECKING;
    ask(answer, &question, on_seen);
}

static bool to_primary(const struct cert_config *config)
{
    return strcmp(config->dns_update_server, "primary") == 0;
}

static void on_updated(void *ctx, const struct dns_answer *found, const struct err *failure)
{
    struct answer *answer = ctx;
    const struct cert_config *config = config_of(answer);
    struct dns_tsig tsig = {0};
    struct err err = ERR_INIT, ignored = ERR_INIT;
    answer->question = 0;
    bool has_key = config->dns_update_key != NULL && dns_tsig_read(config->dns_update_key, &tsig, &ignored);
    if (failure != NULL) {
        err = *failure;
        (void)err_context(&err, "updating the zone %s", answer->zone);
        finish(answer, &err);
    } else if (!dns_update_result(found->rcode, answer->servers.n > 0 ? answer->servers.v[0] : "",
                                  answer->zone, has_key ? &tsig : NULL, &err)) {
        answer->placed &= answer->removing; /* the server says that it has changed nothing */
        finish(answer, &err);
    } else if (answer->removing) {
        finish(answer, NULL);
    } else {
        check_seen(answer);
    }
    OPENSSL_cleanse(&tsig, sizeof tsig);
}

/* "org" is what is found for a name below it that does not exist. */
static bool zone_is_likely(const struct answer *answer, const char *zone, struct err *err)
{
    if (strchr(zone, '.') != NULL || config_of(answer)->dns_update_zone != NULL ||
        !to_primary(config_of(answer)))
        return true;
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, answer->name,
            "no zone of its own is to be found for it, only \"%s\"", zone);
    return err_advise(err,
                      "check that the domain exists; a zone without a dot is named with --dns-update-zone");
}

static void update_zone(struct answer *answer)
{
    const struct cert_config *config = config_of(answer);
    struct dns_tsig tsig = {0};
    struct err err = ERR_INIT;
    AUTO_BUF packet = BUF_INIT;
    const char *zone = config->dns_update_zone != NULL ? config->dns_update_zone : answer->zone;
    bool has_key = config->dns_update_key != NULL;
    bool ok = zone_is_likely(answer, zone, &err) &&
              (!has_key || dns_tsig_read(config->dns_update_key, &tsig, &err)) &&
              dns_update_make(answer->removing ? DNS_UPDATE_DELETE : DNS_UPDATE_ADD, zone, answer->target,
                              answer->value, answer->standing ? PERSIST_TTL_S : RECORD_TTL_S,
                              has_key ? &tsig : NULL, &packet, &err);
    OPENSSL_cleanse(&tsig, sizeof tsig);
    if (!ok) {
        finish(answer, &err);
        return;
    }
    struct dns_question question = {.kind = DNS_UPDATE,
                                    .name = answer->target,
                                    .servers = &answer->servers,
                                    .packet = packet.data,
                                    .packet_len = packet.len,
                                    .timeout_ms = UPDATE_TIMEOUT_MS};
    if (!answer->removing)
        say(answer, "adding the record to the zone");
    answer->placed |= !answer->removing;
    answer->step = STEP_UPDATING;
    ask(answer, &question, on_updated);
}

static void on_host(void *ctx, const struct dns_answer *found, const struct err *failure)
{
    struct answer *answer = ctx;
    struct err err = ERR_INIT;
    answer->question = 0;
    if (failure != NULL) {
        err = *failure;
        (void)err_context(&err, "--dns-update-server");
        finish(answer, &err);
        return;
    }
    strlist_clear(&answer->servers);
    for (size_t i = 0; i < found->servers.n; i++) { /* addresses, and the port that was configured */
        AUTO_FREE char *address = mem_ndup(found->servers.v[i], strcspn(found->servers.v[i], "#"));
        AUTO_FREE char *server = mem_fmt("%s%s", address, answer->update_port);
        strlist_add(&answer->servers, server);
    }
    update_zone(answer);
}

/* The configured server in place of the zone's own; a host's name is looked up first. */
static void update_at_host(struct answer *answer)
{
    const struct cert_config *config = config_of(answer);
    char server[CONFIG_DNS_SERVER_BYTES];
    struct err err = ERR_INIT;
    if (config_dns_server(config->dns_update_server, false, server, &err)) {
        strlist_clear(&answer->servers);
        strlist_add(&answer->servers, server);
        update_zone(answer);
        return;
    }
    err_clear(&err);
    if (!config_dns_server(config->dns_update_server, true, server, &err)) {
        finish(answer, &err);
        return;
    }
    char *port = strchr(server, '#');
    snprintf(answer->update_port, sizeof answer->update_port, "%.*s", (int)sizeof answer->update_port - 1,
             port != NULL ? port : "");
    if (port != NULL)
        *port = '\0';
    struct dns_question question = {.kind = DNS_ADDRESSES,
                                    .name = server,
                                    .resolvers = &config->dns_servers,
                                    .timeout_ms = LOOK_UP_TIMEOUT_MS};
    answer->step = STEP_LOOKING_UP;
    ask(answer, &question, on_host);
}

static void place_record(struct answer *answer)
{
    if (!updates_zone(config_of(answer)))
        queue_hook(answer);
    else if (to_primary(config_of(answer)) || answer->removing)
        update_zone(answer); /* removing: where it was placed */
    else
        update_at_host(answer);
}

static void on_where(void *ctx, const struct dns_answer *found, const struct err *failure)
{
    struct answer *answer = ctx;
    const struct cert_config *config = config_of(answer);
    struct err err = ERR_INIT;
    answer->question = 0;
    if (failure != NULL && (updates_zone(config) || config->dns_check)) {
        err = *failure;
        (void)err_context(&err, "where %s belongs cannot be found out", answer->record);
        finish(answer, &err);
        return;
    }
    snprintf(answer->target, sizeof answer->target, "%s", failure == NULL ? found->name : answer->record);
    if (failure == NULL) {
        snprintf(answer->zone, sizeof answer->zone, "%s", found->zone);
        strlist_copy(&answer->servers, &found->servers);
        if (strcmp(answer->target, answer->record) != 0)
            log_info("%s is a CNAME: the record goes to %s", answer->record, answer->target);
    }
    place_record(answer);
}

static void look_up(struct answer *answer)
{
    struct dns_question question = {.kind = DNS_WHERE,
                                    .name = answer->record,
                                    .resolvers = &config_of(answer)->dns_servers,
                                    .timeout_ms = LOOK_UP_TIMEOUT_MS};
    answer->step = STEP_LOOKING_UP;
    ask(answer, &question, on_where);
}

static void present_record(struct answer *answer)
{
    struct err err = ERR_INIT;
    char value[DNS_VALUE_BYTES];
    if (!dns_record_name(answer->type, answer->name, answer->presenter->options.account_url, answer->record,
                         &err)) {
        finish(answer, &err);
        return;
    }
    dns_record_value(answer->key_authorization, value);
    answer->value = mem_dup(value);
    look_up(answer);
}

/* -- dns-persist-01: a record that stays ---------------------------------------------------------------- */

static struct dns_persist wanted_record(const struct answer *answer)
{
    return (struct dns_persist){.draft = answer->draft,
                                .issuers = answer->issuers,
                                .account_uri = answer->account_uri,
                                .any_uri = answer->any_uri,
                                .wildcard = strncmp(answer->name, "*.", 2) == 0};
}

/* They go into a record that stays: nothing in them may become a parameter of its own. */
static bool issuers_are_names(const char *issuers)
{
    AUTO_STRLIST names = STRLIST_INIT;
    char name[ISSUER_NAME_BYTES];
    strlist_split(&names, issuers, " ");
    for (size_t i = 0; i < names.n; i++)
        if (!acme_issuer_name(names.v[i], name))
            return false;
    return names.n > 0 && issuers[0] != ' ';
}

/* "DRAFT\nISSUERS\nACCOUNT-URI", from the CA by way of the courier. */
static bool parse_persist(struct answer *answer, const char *text, struct err *err)
{
    const struct presenter_options *options = &answer->presenter->options;
    AUTO_BUF own = BUF_INIT, any = BUF_INIT;
    const char *issuers = strchr(text, '\n');
    const char *uri = issuers != NULL ? strchr(issuers + 1, '\n') : NULL;
    answer->draft = text[0] - '0';
    if (uri == NULL || uri == issuers + 1 || (answer->draft != 1 && answer->draft != 2))
        return err_set(err, ERR_PROTOCOL, NEXT_REFUSED, answer->name,
                       "the CA's dns-persist-01 challenge is malformed");
    answer->issuers = mem_ndup(issuers + 1, (size_t)(uri - issuers - 1));
    if (issuers != text + 1 || !issuers_are_names(answer->issuers) ||
        !acme_issuer_value(options->hash_prefix, PERSIST_TEXT_BYTES) ||
        !acme_issuer_value(options->account_url, PERSIST_TEXT_BYTES))
        return err_set(err, ERR_PROTOCOL, NEXT_REFUSED, answer->name,
                       "the CA's dns-persist-01 challenge has what cannot be in a record");
    if (answer->draft == 1) {
        /* a record for somebody else's account would let them have certificates for our name */
        if (uri[1] != '\0' && strcmp(uri + 1, options->account_url) != 0)
            return err_set(err, ERR_PROTOCOL, NEXT_REFUSED, answer->name,
                           "the CA wants a dns-persist-01 record for another account than ours: %.300s",
                           uri + 1);
        answer->account_uri = mem_dup(options->account_url);
        return true;
    }
    if (options->hash_prefix[0] == '\0')
        return err_set(
            err, ERR_PROTOCOL, NEXT_REFUSED, answer->name,
            "the CA's directory lacks accountHashPrefix, of which a dns-persist-01 record is made");
    const char *domain = strncmp(answer->name, "*.", 2) == 0 ? answer->name + 2 : answer->name;
    dns_persist_uri(options->hash_prefix, domain, options->thumbprint, options->account_url, &own);
    dns_persist_uri(options->hash_prefix, "*", options->thumbprint, options->account_url, &any);
    answer->account_uri = buf_take(&own);
    answer->any_uri = buf_take(&any);
    return true;
}

static void note_lapse(struct answer *answer, int64_t until_s)
{
    struct cert_state *state = &answer->job->state;
    answer->job->persist_seen = true;
    if (until_s != 0 && (answer->job->persist_until_s == 0 || until_s < answer->job->persist_until_s))
        answer->job->persist_until_s = until_s;
    state->persist_until_s = answer->job->persist_until_s;
}

/* There is none that will do: make it where we can, else tell the person which. */
static void persist_missing(struct answer *answer, const struct err *why)
{
    const struct cert_config *config = config_of(answer);
    struct dns_persist want = wanted_record(answer);
    struct err err = ERR_INIT;
    AUTO_BUF text = BUF_INIT;
    dns_persist_text(&want, 0, &text);
    answer->value = mem_dup(buf_str(&text));
    if (updates_zone(config) ||
        (config->challenge_hook != NULL && hook_contract_takes(config->hook_contract, answer->type))) {
        look_up(answer);
        return;
    }
    (void)err_set(&err, ERR_CONFIG, NEXT_FIX_CONFIG, answer->name,
                  "%s\nthe DNS must have this record:\n  %s. IN TXT \"%s\"", why->text, answer->record,
                  buf_str(&text));
    (void)err_advise(&err, "add it once, it serves every renewal; then run the same command again");
    finish(answer, &err);
}

static void on_standing(void *ctx, const struct dns_answer *found, const struct err *failure)
{
    struct answer *answer = ctx;
    struct dns_persist want = wanted_record(answer);
    struct err err = ERR_INIT;
    int64_t until_s = 0;
    answer->question = 0;
    if (failure != NULL) {
        err = *failure;
        (void)err_context(&err, "whether %s is there cannot be found out", answer->record);
        finish(answer, &err);
    } else if (dns_persist_check(&want, &found->values, clock_now_s(), &until_s, &err)) {
        note_lapse(answer, until_s);
        finish(answer, NULL);
    } else {
        persist_missing(answer, &err);
    }
}

static void present_standing(struct answer *answer, const char *text)
{
    struct err err = ERR_INIT;
    struct dns_question question = {.kind = DNS_TXT,
                                    .name = answer->record,
                                    .resolvers = &config_of(answer)->dns_servers,
                                    .timeout_ms = LOOK_UP_TIMEOUT_MS};
    answer->standing = true;
    if (!parse_persist(answer, text, &err) ||
        !dns_record_name(answer->type, answer->name, "", answer->record, &err)) {
        finish(answer, &err);
        return;
    }
    answer->step = STEP_LOOKING_UP;
    ask(answer, &question, on_standing);
}

/* -- from the keeper ------------------------------------------------------------------------------------ */

static struct answer *answer_new(struct presenter *presenter, const struct presentation *what)
{
    struct answer *answer = mem_alloc(sizeof *answer);
    *answer = (struct answer){.next = presenter->answers,
                              .presenter = presenter,
                              .job = what->job,
                              .order_id = what->order_id,
                              .index = what->index,
                              .type = what->type,
                              .via = what->job->way[what->type]};
    snprintf(answer->name, sizeof answer->name, "%s", what->name);
    snprintf(answer->token, sizeof answer->token, "%s", what->token);
    answer->key_authorization = mem_fmt("%s.%s", what->token, presenter->options.thumbprint);
    presenter->answers = answer;
    return answer;
}

void presenter_present(struct presenter *presenter, const struct presentation *what)
{
    struct answer *answer = answer_new(presenter, what);
    struct err err = ERR_INIT;
    switch (answer->via) {
    case CHALLENGE_VIA_HTTP_HOOK:
        queue_hook(answer);
        break;
    case CHALLENGE_VIA_DNS:
    case CHALLENGE_VIA_DNS_ACCOUNT:
        present_record(answer);
        break;
    case CHALLENGE_VIA_DNS_PERSIST:
        present_standing(answer, what->persist);
        break;
    default:
        answer->placed = true; /* even a failed attempt may have left something */
        finish(answer, place_now(answer, &err) ? NULL : &err);
        break;
    }
}

/* Take away what is there; the answer is freed when that is done. */
static void remove_it(struct answer *answer)
{
    answer->removing = true;
    if (!answer->placed || answer->standing)
        finish_removing(answer, NULL);
    else if (answer->via == CHALLENGE_VIA_DNS || answer->via == CHALLENGE_VIA_DNS_ACCOUNT)
        place_record(answer);
    else if (answer->via == CHALLENGE_VIA_HTTP_HOOK)
        queue_hook(answer);
    else
        remove_now(answer);
}

static void clean_up(struct answer *answer, bool failed)
{
    if (answer->to_clean)
        return;
    answer->to_clean = true;
    answer->failed |= failed;
    answer->told = true; /* nobody waits for it any more; its index may be another's soon */
    if (answer->question != 0 && (answer->step == STEP_CHECKING || answer->step == STEP_LOOKING_UP)) {
        resolver_forget(answer->presenter->options.resolver, answer->question);
        answer->question = 0;
    }
    if (answer->step == STEP_CHECKING || answer->step == STEP_LOOKING_UP || answer->step == STEP_QUEUED)
        answer->step = STEP_PLACED; /* what has not begun is not begun */
    if (answer->step == STEP_PLACED)
        remove_it(answer);
}

void presenter_cleanup(struct presenter *presenter, uint32_t order_id, int index, bool failed)
{
    for (struct answer *answer = presenter->answers, *next; answer != NULL; answer = next) {
        next = answer->next;
        if (answer->order_id == order_id && answer->index == index)
            clean_up(answer, failed);
    }
    start_next_hook(presenter);
}

void presenter_cleanup_job(struct presenter *presenter, const struct job *job)
{
    for (struct answer *answer = presenter->answers, *next; answer != NULL; answer = next) {
        next = answer->next;
        if (answer->job == job)
            clean_up(answer, true);
    }
    start_next_hook(presenter);
}

bool presenter_idle(const struct presenter *presenter)
{
    return presenter->answers == NULL;
}

bool presenter_busy(const struct presenter *presenter)
{
    for (const struct answer *answer = presenter->answers; answer != NULL; answer = answer->next)
        if (answer->step != STEP_PLACED)
            return true;
    return false;
}

/* -- the loop ------------------------------------------------------------------------------------------- */

size_t presenter_pollfds(const struct presenter *presenter, struct pollfd *fds)
{
    size_t n = 0;
    if (presenter->hook != NULL && spawn_fd(presenter->hook) >= 0)
        fds[n++] = (struct pollfd){.fd = spawn_fd(presenter->hook), .events = POLLIN};
    if (presenter->options.resolver != NULL && resolver_fd(presenter->options.resolver) >= 0)
        fds[n++] = (struct pollfd){.fd = resolver_fd(presenter->options.resolver), .events = POLLIN};
    return n;
}

int presenter_timeout_ms(const struct presenter *presenter)
{
    int wait_ms = presenter->options.resolver != NULL ? resolver_timeout_ms(presenter->options.resolver) : -1;
    if (presenter->hook != NULL && (wait_ms < 0 || wait_ms > HOOK_POLL_MS))
        wait_ms = HOOK_POLL_MS;
    for (const struct answer *answer = presenter->answers; answer != NULL; answer = answer->next)
        if (presenter->hook == NULL && answer->step == STEP_QUEUED)
            wait_ms = 0; /* it begins with the next step, when all that came together is known */
    return wait_ms;
}

bool presenter_step(struct presenter *presenter)
{
    presenter->moved = false;
    if (presenter->options.resolver != NULL)
        resolver_receive(presenter->options.resolver);
    step_hook(presenter);
    start_next_hook(presenter);
    return presenter->moved;
}
