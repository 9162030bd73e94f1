#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "dns_internal.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/clock.h"
#include "tlsup/mem.h"

#define MAX_RESOLVERS 8
#define MAX_LOOKUPS 600 /* of one question */
#define REMEMBER_MS 10000
#define POLL_MS 1000
#define WALK_AGAIN_MS 2000
#define MAX_NAMED_SERVERS 6 /* in an error */
#define MAX_NAMED_VALUES 3

/* -- what was asked lately ------------------------------------------------------------------------------ */

static size_t bucket_of(const char *key)
{
    uint32_t hash = 2166136261u;
    for (const unsigned char *c = (const unsigned char *)key; *c != '\0'; c++)
        hash = (hash ^ *c) * 16777619u;
    return hash % DNS_BUCKETS;
}

static void lookup_free(struct dns_lookup *lookup)
{
    dns_exchange_cancel(lookup->exchange);
    dns_message_free(lookup->message);
    free(lookup->key);
    free(lookup->faults);
    free(lookup);
}

static bool is_fresh(const struct dns_lookup *lookup)
{
    return lookup->state == LOOKUP_PENDING ||
           (lookup->state == LOOKUP_OK && clock_mono_ms() - lookup->done_ms < REMEMBER_MS);
}

/* Out of the bucket goes what nobody holds and nobody would want. */
static void sweep(struct dns_lookup **bucket)
{
    while (*bucket != NULL) {
        struct dns_lookup *lookup = *bucket;
        if (lookup->refs == 0 && !(lookup->state == LOOKUP_OK && is_fresh(lookup))) {
            *bucket = lookup->next;
            lookup_free(lookup);
        } else {
            bucket = &lookup->next;
        }
    }
}

static void release(struct dns_lookup *lookup)
{
    lookup->refs--;
    if (lookup->shared)
        sweep(&lookup->dns->shared[bucket_of(lookup->key)]);
    else
        lookup_free(lookup);
}

static void release_all(struct dns_task *task)
{
    for (size_t i = 0; i < task->n_held; i++)
        release(task->held[i]);
    free(task->held);
    task->held = NULL;
    task->n_held = 0;
}

static void wake_holders(const struct dns_lookup *lookup)
{
    for (struct dns_task *task = lookup->dns->tasks; task != NULL; task = task->next)
        for (size_t i = 0; i < task->n_held; i++)
            task->runnable |= task->held[i] == lookup;
}

static void lookup_done(void *ctx, struct dns_exchange *exchange)
{
    struct dns_lookup *lookup = ctx;
    lookup->exchange = NULL;
    lookup->done_ms = clock_mono_ms();
    lookup->rcode = exchange->rcode;
    if (exchange->message != NULL) {
        lookup->state = LOOKUP_OK;
        lookup->message = exchange->message;
        exchange->message = NULL;
    } else {
        lookup->state = LOOKUP_FAILED;
        lookup->faults = mem_dup(buf_str(&exchange->faults));
    }
    wake_holders(lookup);
}

static char *make_key(const char *zone, struct dns_host *const *hosts, size_t n_hosts, const char *name,
                      enum dns_type type)
{
    struct buf key = BUF_INIT;
    buf_addf(&key, "%d %s %s", (int)type, name, zone != NULL ? zone : "");
    for (size_t i = 0; zone == NULL && i < n_hosts; i++)
        buf_addf(&key, " %s", hosts[i]->text);
    return buf_take(&key);
}

static struct dns_lookup *find_shared(struct dns *dns, const char *key)
{
    struct dns_lookup **bucket = &dns->shared[bucket_of(key)];
    sweep(bucket);
    for (struct dns_lookup *lookup = *bucket; lookup != NULL; lookup = lookup->next)
        if (strcmp(lookup->key, key) == 0 && is_fresh(lookup))
            return lookup;
    return NULL;
}

static struct dns_lookup *lookup_new(struct dns *dns, const char *key, const struct dns_order *order)
{
    struct dns_lookup *lookup = mem_alloc(sizeof *lookup);
    lookup->dns = dns;
    lookup->key = mem_dup(key);
    lookup->shared = order->mode == DNS_RECURSIVE;
    if (lookup->shared) {
        struct dns_lookup **bucket = &dns->shared[bucket_of(key)];
        lookup->next = *bucket;
        *bucket = lookup;
    }
    lookup->exchange = dns_exchange_new(dns, order, lookup_done, lookup);
    return lookup;
}

const struct dns_lookup *dns_task_lookup(struct dns_task *task, const char *zone,
                                         struct dns_host *const *hosts, size_t n_hosts, const char *name,
                                         enum dns_type type)
{
    AUTO_FREE char *key = make_key(zone, hosts, n_hosts, name, type);
    for (size_t i = 0; i < task->n_held; i++)
        if (strcmp(task->held[i]->key, key) == 0)
            return task->held[i];
    if (task->n_held == MAX_LOOKUPS) {
        err_set(&task->err, ERR_PROTOCOL, NEXT_FIX_CONFIG, task->name,
                "the way to %s leads through too many zones, aliases and name servers", task->name);
        return NULL;
    }
    const struct dns_order order = {.mode = zone != NULL ? DNS_AUTHORITATIVE : DNS_RECURSIVE,
                                    .hosts = hosts,
                                    .n_hosts = n_hosts,
                                    .name = name,
                                    .type = type,
                                    .zone = zone};
    struct dns_lookup *lookup = zone == NULL ? find_shared(task->dns, key) : NULL;
    if (lookup == NULL)
        lookup = lookup_new(task->dns, key, &order);
    lookup->refs++;
    task->held = mem_resize(task->held, task->n_held + 1, sizeof(struct dns_lookup *));
    task->held[task->n_held++] = lookup;
    return lookup;
}

/* -- tasks ---------------------------------------------------------------------------------------------- */

enum check_state {
    CHECK_NEW,
    CHECK_ANSWERED,
    CHECK_FAULTY, /* it answered with an error */
    CHECK_SILENT,
    CHECK_UNREACHABLE, /* no way to it from this machine */
};

struct dns_check {
    struct dns_task *task;
    struct dns_host *host;
    char *ns;
    struct dns_exchange *exchange;
    int64_t next_ms;
    enum check_state state;
    bool has;
    char *instead; /* in words */
};

static void answer_clear(struct dns_answer *answer)
{
    strlist_clear(&answer->servers);
    strlist_clear(&answer->values);
    free(answer->caa);
    memset(answer, 0, sizeof *answer);
}

static void task_free(struct dns_task *task)
{
    if (task->prev != NULL)
        task->prev->next = task->next;
    else
        task->dns->tasks = task->next;
    if (task->next != NULL)
        task->next->prev = task->prev;
    release_all(task);
    for (size_t i = 0; i < task->n_checks; i++) {
        dns_exchange_cancel(task->checks[i].exchange);
        free(task->checks[i].ns);
        free(task->checks[i].instead);
    }
    free(task->checks);
    dns_exchange_cancel(task->update);
    answer_clear(&task->answer);
    buf_clear(&task->packet);
    free(task->resolvers);
    free(task->servers);
    free(task->typed);
    free(task->value);
    free(task);
}

static void answer_place(struct dns_task *task, const struct dns_walk *walk)
{
    snprintf(task->answer.name, sizeof task->answer.name, "%s", walk->name);
    snprintf(task->answer.zone, sizeof task->answer.zone, "%s", walk->zone);
}

static void add_server(struct dns_task *task, const struct dns_host *host)
{
    struct strlist *servers = &task->answer.servers;
    if (host != NULL && servers->n < DNS_MAX_SERVERS && !strlist_has(servers, host->text))
        strlist_add(servers, host->text);
}

static void add_servers(struct dns_task *task, const struct dns_walk *walk)
{
    for (size_t i = 0; i < walk->n_hosts; i++)
        add_server(task, walk->hosts[i]);
}

/* -- where? -- */

/* The primary takes updates: it comes first, though it need not be among the name servers that the world
 * knows. */
static enum dns_step add_primary(struct dns_task *task, const struct dns_walk *walk)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    if (walk->primary[0] == '\0')
        return DNS_DONE;
    enum dns_step step = dns_walk_addresses(task, walk->primary, &addresses);
    for (size_t i = 0; step == DNS_DONE && i < addresses.n; i++)
        add_server(task, dns_host_get(task->dns, addresses.v[i]));
    return step;
}

static enum dns_step run_where(struct dns_task *task)
{
    struct dns_walk walk = {0};
    enum dns_step step = dns_walk_run(task, &walk);
    if (step == DNS_DONE)
        step = add_primary(task, &walk);
    if (step == DNS_DONE) {
        answer_place(task, &walk);
        add_servers(task, &walk);
    }
    return step;
}

/* -- the TXT records of a name -- */

static void add_values(const struct dns_message *message, const char *name, struct strlist *out)
{
    const char *end = dns_message_end(message, name);
    for (size_t i = 0; i < message->n; i++) {
        const struct dns_record *record = &message->v[i];
        if (record->section == DNS_ANSWER && record->type == DNS_TYPE_TXT && strcmp(record->owner, end) == 0)
            strlist_add(out, record->data);
    }
}

static enum dns_step run_txt(struct dns_task *task)
{
    struct dns_walk walk = {.through_wildcards = true};
    enum dns_step step = dns_walk_run(task, &walk);
    if (step != DNS_DONE)
        return step;
    const struct dns_lookup *lookup =
        dns_task_lookup(task, walk.zone, walk.hosts, walk.n_hosts, walk.name, DNS_TYPE_TXT);
    if (lookup == NULL)
        return DNS_FAILED;
    if (lookup->state == LOOKUP_FAILED) {
        err_set(&task->err, ERR_NETWORK, NEXT_RETRY_LATER, task->name,
                "no name server of the zone %s answers about the TXT records of %s: %s", walk.zone, walk.name,
                lookup->faults);
        err_advise(&task->err, "check that this machine may send to port 53 of them, by UDP and TCP");
        return DNS_FAILED;
    }
    if (lookup->state == LOOKUP_PENDING)
        return DNS_PENDING;
    answer_place(task, &walk);
    add_servers(task, &walk);
    add_values(lookup->message, walk.name, &task->answer.values);
    return DNS_DONE;
}

/* -- TXT, everywhere -- */

/* What a server has in the place of the value, in words. */
static char *describe_instead(const struct dns_message *message, const char *name)
{
    AUTO_STRLIST values = STRLIST_INIT;
    struct buf text = BUF_INIT;
    const char *end = dns_message_end(message, name);
    add_values(message, name, &values);
    if (values.n == 0 && strcmp(end, name) != 0)
        buf_addf(&text, "has an alias to %s", end);
    else if (values.n == 0)
        buf_adds(&text,
                 message->rcode == DNS_NXDOMAIN ? "has nothing of that name" : "has no TXT record there");
    for (size_t i = 0; i < values.n && i < MAX_NAMED_VALUES; i++)
        buf_addf(&text, "%s\"%.60s\"", i == 0 ? "has only " : ", ", values.v[i]);
    if (values.n > MAX_NAMED_VALUES)
        buf_addf(&text, " and %zu more", values.n - MAX_NAMED_VALUES);
    return buf_take(&text);
}

/* Without the address before it: that is said anyway. */
static char *describe_fault(const struct dns_exchange *exchange)
{
    const char *faults = buf_str(&exchange->faults), *colon = strstr(faults, ": ");
    return mem_dup(colon != NULL ? colon + 2 : faults);
}

static void check_done(void *ctx, struct dns_exchange *exchange)
{
    struct dns_check *check = ctx;
    check->exchange = NULL;
    check->task->runnable = true;
    free(check->instead);
    if (exchange->message != NULL) {
        AUTO_STRLIST values = STRLIST_INIT;
        add_values(exchange->message, check->task->answer.name, &values);
        check->state = CHECK_ANSWERED;
        check->has = strlist_has(&values, check->task->value);
        check->instead = describe_instead(exchange->message, check->task->answer.name);
        return;
    }
    check->instead = describe_fault(exchange);
    check->state = dns_exchange_unreachable(exchange) ? CHECK_UNREACHABLE
                   : exchange->rcode >= 0             ? CHECK_FAULTY
                                                      : CHECK_SILENT;
}

static void make_checks(struct dns_task *task, const struct dns_walk *walk)
{
    task->checks = mem_array(walk->n_hosts, sizeof *task->checks);
    task->n_checks = walk->n_hosts;
    for (size_t i = 0; i < walk->n_hosts; i++)
        task->checks[i] = (struct dns_check){.task = task,
                                             .host = walk->hosts[i],
                                             .ns = mem_dup(walk->ns[walk->ns_of[i]]),
                                             .next_ms = clock_mono_ms()};
}

static void ask_again(struct dns_check *check)
{
    const struct dns_order order = {.mode = DNS_POLL,
                                    .hosts = &check->host,
                                    .n_hosts = 1,
                                    .name = check->task->answer.name,
                                    .type = DNS_TYPE_TXT,
                                    .zone = check->task->answer.zone};
    check->next_ms = clock_mono_ms() + POLL_MS;
    check->exchange = dns_exchange_new(check->task->dns, &order, check_done, check);
}

/* A server that is silent may be so on one of its addresses; one that this machine has no way to is left to
 * the others. */
static bool is_excused(const struct dns_task *task, const struct dns_check *check)
{
    if (check->state != CHECK_SILENT && check->state != CHECK_UNREACHABLE)
        return false;
    for (size_t i = 0; i < task->n_checks; i++)
        if (task->checks[i].has &&
            (check->state == CHECK_UNREACHABLE || strcmp(task->checks[i].ns, check->ns) == 0))
            return true;
    return false;
}

static bool lacks(const struct dns_task *task, const struct dns_check *check)
{
    return !check->has && !is_excused(task, check);
}

static enum dns_step run_checks(struct dns_task *task)
{
    int64_t now = clock_mono_ms();
    bool everywhere = true;
    for (size_t i = 0; i < task->n_checks; i++)
        everywhere &= !lacks(task, &task->checks[i]);
    if (everywhere)
        return DNS_DONE;
    for (size_t i = 0; i < task->n_checks; i++) {
        struct dns_check *check = &task->checks[i];
        if (check->has || check->exchange != NULL)
            continue;
        if (check->next_ms <= now)
            ask_again(check);
        else
            task->due_ms = check->next_ms < task->due_ms ? check->next_ms : task->due_ms;
    }
    return DNS_PENDING;
}

/* A resolver that is out of breath is no reason to end before the deadline. */
static enum dns_step walk_again_later(struct dns_task *task)
{
    task->earlier = task->err;
    err_clear(&task->err);
    release_all(task);
    task->due_ms = clock_mono_ms() + WALK_AGAIN_MS;
    return DNS_PENDING;
}

static enum dns_step run_everywhere(struct dns_task *task)
{
    if (task->checks == NULL) {
        struct dns_walk walk = {0};
        enum dns_step step = dns_walk_run(task, &walk);
        if (step == DNS_FAILED && task->err.code == ERR_NETWORK)
            return walk_again_later(task);
        if (step != DNS_DONE)
            return step;
        answer_place(task, &walk);
        add_servers(task, &walk);
        make_checks(task, &walk);
        release_all(task);
    }
    return run_checks(task);
}

static void everywhere_late(struct dns_task *task)
{
    AUTO_BUF servers = BUF_INIT;
    char span[CLOCK_TEXT_BYTES];
    size_t lacking = 0;
    for (size_t i = 0; i < task->n_checks; i++) {
        const struct dns_check *check = &task->checks[i];
        if (!lacks(task, check) || lacking++ >= MAX_NAMED_SERVERS)
            continue;
        buf_addf(&servers, "%s%.100s (%s): %.180s", lacking > 1 ? "; " : "", check->ns, check->host->text,
                 check->instead != NULL ? check->instead : "no answer yet");
    }
    if (lacking > MAX_NAMED_SERVERS)
        buf_addf(&servers, "; and %zu more", lacking - MAX_NAMED_SERVERS);
    err_set(&task->err, ERR_TIMEOUT, NEXT_RETRY_LATER, task->answer.name,
            "after %s the TXT record \"%.60s\" of %s is not to be seen at %zu of %zu addresses of the name "
            "servers of %s: %s",
            clock_format_span(task->timeout_ms / 1000, span), task->value, task->answer.name, lacking,
            task->n_checks, task->answer.zone, buf_str(&servers));
    err_advise(&task->err, "check that the record was made in this zone, that changes reach all its name "
                           "servers (NOTIFY, zone transfer), and that "
                           "each of them answers; or allow more time");
}

/* -- CAA -- */

static bool add_caa(struct dns_task *task, const struct dns_message *message, const char *owner)
{
    struct dns_answer *answer = &task->answer;
    for (size_t i = 0; i < message->n; i++) {
        const struct dns_record *record = &message->v[i];
        struct dns_caa *caa;
        if (record->section != DNS_ANSWER || record->type != DNS_TYPE_CAA ||
            strcmp(record->owner, owner) != 0)
            continue;
        if (strlen(record->data) >= sizeof caa->value)
            return err_set(&task->err, ERR_PROTOCOL, NEXT_FIX_CONFIG, task->name,
                           "a CAA record of %s is longer than %zu octets", owner, sizeof caa->value - 1);
        answer->caa = mem_resize(answer->caa, answer->n_caa + 1, sizeof *answer->caa);
        caa = &answer->caa[answer->n_caa++];
        *caa = (struct dns_caa){.flags = record->flags};
        memcpy(caa->tag, record->tag, sizeof caa->tag);
        memcpy(caa->value, record->data, strlen(record->data) + 1);
    }
    return true;
}

/* The CAA records of one name, through its aliases. A resolver follows them by itself; where it has not, it
 * is asked on. */
static enum dns_step caa_of(struct dns_task *task, const char *name)
{
    char at[DNS_NAME_BYTES];
    snprintf(at, sizeof at, "%s", name);
    for (int hops = 0; hops <= DNS_MAX_ALIASES; hops++) {
        const struct dns_lookup *lookup =
            dns_task_lookup(task, NULL, task->resolvers, task->n_resolvers, at, DNS_TYPE_CAA);
        if (lookup == NULL)
            return DNS_FAILED;
        if (lookup->state == LOOKUP_PENDING)
            return DNS_PENDING;
        if (lookup->state == LOOKUP_FAILED) {
            err_set(&task->err, ERR_NETWORK, NEXT_RETRY_LATER, task->name,
                    "the CAA records of %s cannot be read: %s", at, lookup->faults);
            err_advise(&task->err, "a CA does not issue while this is so: check the zone's name servers and "
                                   "its DNSSEC, or the resolver here");
            return DNS_FAILED;
        }
        const char *end = dns_message_end(lookup->message, at);
        if (!add_caa(task, lookup->message, end))
            return DNS_FAILED;
        bool followed = strcmp(end, at) != 0;
        snprintf(task->answer.name, sizeof task->answer.name, "%s", end);
        if (task->answer.n_caa > 0 || !followed ||
            dns_message_find(lookup->message, DNS_AUTHORITY, DNS_TYPE_SOA, NULL) != NULL)
            return DNS_DONE;
        snprintf(at, sizeof at, "%s", end);
    }
    err_set(&task->err, ERR_CONFIG, NEXT_FIX_CONFIG, task->name,
            "the aliases (CNAME) of %s lead in a circle, or are more than %d", name, DNS_MAX_ALIASES);
    err_advise(&task->err, "correct the CNAME records");
    return DNS_FAILED;
}

static enum dns_step run_caa(struct dns_task *task)
{
    char name[DNS_NAME_BYTES];
    memcpy(name, task->name, sizeof name);
    while (strncmp(name, "*.", 2) == 0)
        dns_name_parent(name);
    while (strcmp(name, ".") != 0) {
        enum dns_step step = caa_of(task, name);
        if (step != DNS_DONE || task->answer.n_caa > 0)
            return step;
        dns_name_parent(name);
    }
    task->answer.name[0] = '\0';
    return DNS_DONE;
}

/* -- update -- */

static void update_done(void *ctx, struct dns_exchange *exchange)
{
    struct dns_task *task = ctx;
    task->update = NULL;
    task->runnable = true;
    if (exchange->message != NULL) {
        task->answer.rcode = exchange->message->rcode;
        strlist_add(&task->answer.servers, exchange->host->text);
        return;
    }
    err_set(&task->err, ERR_NETWORK, NEXT_RETRY_LATER, task->typed, "no name server answers the update: %s",
            buf_str(&exchange->faults));
    err_advise(&task->err,
               "check that this machine may send to port 53 of the zone's primary, by UDP and TCP");
}

static enum dns_step run_update(struct dns_task *task)
{
    if (err_isset(&task->err))
        return DNS_FAILED;
    if (task->answer.servers.n > 0)
        return DNS_DONE;
    if (task->update != NULL)
        return DNS_PENDING;
    const struct dns_order order = {.mode = DNS_SEND,
                                    .hosts = task->servers,
                                    .n_hosts = task->n_servers,
                                    .name = task->typed,
                                    .packet = task->packet.data,
                                    .packet_len = task->packet.len};
    task->update = dns_exchange_new(task->dns, &order, update_done, task);
    return DNS_PENDING;
}

/* -- ADDRESSES -- */

static enum dns_step run_addresses(struct dns_task *task)
{
    AUTO_STRLIST found = STRLIST_INIT;
    enum dns_step step = dns_walk_addresses(task, task->name, &found);
    if (step != DNS_DONE)
        return step;
    if (found.n == 0) {
        err_set(&task->err, ERR_NETWORK, NEXT_FIX_CONFIG, task->typed, "the host %s has no address", task->typed);
        err_advise(&task->err, "check its spelling, and its A and AAAA records");
        return DNS_FAILED;
    }
    strlist_copy(&task->answer.servers, &found);
    return DNS_DONE;
}

/* -- each in its turn ----------------------------------------------------------------------------------- */

typedef enum dns_step run_fn(struct dns_task *task);

static run_fn *const runners[DNS_KINDS] = {
    [DNS_WHERE] = run_where,   [DNS_TXT_EVERYWHERE] = run_everywhere,
    [DNS_TXT] = run_txt,       [DNS_CAA] = run_caa,
    [DNS_ADDRESSES] = run_addresses, [DNS_UPDATE] = run_update,
};

static bool check_question(struct dns_task *task)
{
    if (!dns_available())
        return err_set(&task->err, ERR_NETWORK, NEXT_FIX_CONFIG, task->typed,
                       "this tlsup was built without libldns, and cannot ask the domain name system") ||
               err_advise(&task->err, "install a tlsup built with libldns, or let a hook see to DNS");
    if ((size_t)task->kind >= DNS_KINDS)
        return err_set(&task->err, ERR_INTERNAL, NEXT_NONE, task->typed, "a DNS question of unknown kind");
    if (task->kind == DNS_UPDATE)
        return (task->packet.len >= DNS_HEADER_BYTES && task->packet.len <= DNS_MESSAGE_BYTES &&
                task->n_servers > 0) ||
               err_set(&task->err, ERR_INTERNAL, NEXT_NONE, task->typed,
                       "an update without packet or servers");
    if (!dns_name_clean(task->typed, task->name) || strcmp(task->name, ".") == 0)
        return err_set(&task->err, ERR_NAME, NEXT_FIX_CONFIG, task->typed,
                       "\"%.300s\" cannot be a name in DNS", task->typed);
    return task->kind != DNS_TXT_EVERYWHERE || task->value != NULL ||
           err_set(&task->err, ERR_INTERNAL, NEXT_NONE, task->typed, "no value to wait for");
}

static void task_late(struct dns_task *task)
{
    char span[CLOCK_TEXT_BYTES];
    const char *about = NULL;
    if (task->checks != NULL) {
        everywhere_late(task);
        return;
    }
    for (size_t i = 0; i < task->n_held && about == NULL; i++)
        if (task->held[i]->state == LOOKUP_PENDING)
            about = task->held[i]->exchange->name;
    if (err_isset(&task->earlier)) {
        err_set(&task->err, ERR_TIMEOUT, NEXT_RETRY_LATER, task->typed, "%s", task->earlier.text);
        err_context(&task->err, "tried for %s", clock_format_span(task->timeout_ms / 1000, span));
        err_advise(&task->err, "%s", task->earlier.advice);
        return;
    }
    err_set(&task->err, ERR_TIMEOUT, NEXT_RETRY_LATER, task->typed, "no answer from DNS within %s%s%s",
            clock_format_span(task->timeout_ms / 1000, span), about != NULL ? ", still asking about " : "",
            about != NULL ? about : "");
    for (size_t i = 0; i < task->n_held; i++)
        if (task->held[i]->state == LOOKUP_PENDING && task->held[i]->exchange->faults.len > 0) {
            err_context(&task->err, "%s", buf_str(&task->held[i]->exchange->faults));
            break;
        }
    err_advise(&task->err,
               "check that this machine may send to port 53 of its resolvers and of the zone's name servers");
}

static bool run_task(struct dns_task *task)
{
    enum dns_step step = DNS_FAILED;
    task->runnable = false;
    task->due_ms = INT64_MAX;
    if (check_question(task))
        step = runners[task->kind](task);
    if (step == DNS_PENDING && clock_mono_ms() >= task->deadline_ms) {
        task_late(task);
        step = DNS_FAILED;
    }
    if (step == DNS_PENDING)
        return false;
    if (step == DNS_FAILED && !err_isset(&task->err))
        err_set(&task->err, ERR_INTERNAL, NEXT_NONE, task->typed, "a DNS question failed without a reason");
    task->done(task->ctx, step == DNS_DONE ? &task->answer : NULL, step == DNS_DONE ? NULL : &task->err);
    task_free(task);
    return true;
}

static bool is_due(const struct dns_task *task, int64_t now)
{
    return task->runnable || task->due_ms <= now || task->deadline_ms <= now;
}

static bool run_tasks(struct dns *dns)
{
    bool any = false;
    int64_t now = clock_mono_ms();
    for (struct dns_task *task = dns->tasks, *next; task != NULL; task = next) {
        next = task->next;
        if (is_due(task, now)) {
            run_task(task);
            any = true;
        }
    }
    return any;
}

/* -- the outside ---------------------------------------------------------------------------------------- */

static void add_host(struct dns *dns, struct dns_host ***list, size_t *n, const char *text)
{
    struct dns_host *host = dns_host_get(dns, text);
    if (host == NULL || *n == DNS_MAX_SERVERS)
        return;
    *list = mem_resize(*list, *n + 1, sizeof **list);
    (*list)[(*n)++] = host;
}

struct dns *dns_new_from(const char *resolv_conf)
{
    struct dns *dns = mem_alloc(sizeof *dns);
    FILE *file = fopen(resolv_conf, "re");
    char line[512];
    while (file != NULL && dns->n_resolvers < MAX_RESOLVERS && fgets(line, sizeof line, file) != NULL) {
        AUTO_STRLIST words = STRLIST_INIT;
        strlist_split(&words, line, " \t\r\n");
        if (words.n >= 2 && strcmp(words.v[0], "nameserver") == 0)
            add_host(dns, &dns->resolvers, &dns->n_resolvers, words.v[1]);
    }
    if (file != NULL)
        fclose(file);
    if (dns->n_resolvers == 0)
        add_host(dns, &dns->resolvers, &dns->n_resolvers, "127.0.0.1");
    return dns;
}

struct dns *dns_new(void)
{
    return dns_new_from("/etc/resolv.conf");
}

void dns_free(struct dns *dns)
{
    if (dns == NULL)
        return;
    while (dns->tasks != NULL)
        task_free(dns->tasks);
    for (size_t i = 0; i < DNS_BUCKETS; i++)
        while (dns->shared[i] != NULL) {
            struct dns_lookup *lookup = dns->shared[i];
            dns->shared[i] = lookup->next;
            lookup_free(lookup);
        }
    while (dns->hosts != NULL) {
        struct dns_host *host = dns->hosts;
        dns->hosts = host->next;
        free(host);
    }
    free(dns->resolvers);
    free(dns);
}

static void set_servers(struct dns_task *task, const struct dns_question *question)
{
    struct dns *dns = task->dns;
    for (size_t i = 0; question->servers != NULL && i < question->servers->n; i++)
        add_host(dns, &task->servers, &task->n_servers, question->servers->v[i]);
    for (size_t i = 0; question->resolvers != NULL && i < question->resolvers->n; i++)
        add_host(dns, &task->resolvers, &task->n_resolvers, question->resolvers->v[i]);
    if (question->resolvers != NULL && question->resolvers->n > 0)
        return;
    for (size_t i = 0; i < dns->n_resolvers; i++)
        add_host(dns, &task->resolvers, &task->n_resolvers, dns->resolvers[i]->text);
}

void dns_ask(struct dns *dns, const struct dns_question *question, dns_done_fn *done, void *ctx)
{
    struct dns_task *task = mem_alloc(sizeof *task);
    int64_t now = clock_mono_ms();
    task->dns = dns;
    task->kind = question->kind;
    task->typed = mem_dup(question->name != NULL ? question->name : "");
    task->value = mem_dup(question->value);
    set_servers(task, question);
    if (question->packet != NULL)
        buf_add(&task->packet, question->packet, question->packet_len);
    task->timeout_ms = question->timeout_ms > 0 ? question->timeout_ms : 0;
    task->deadline_ms = task->timeout_ms < INT64_MAX - now ? now + task->timeout_ms : INT64_MAX;
    task->due_ms = INT64_MAX;
    task->runnable = true;
    task->done = done;
    task->ctx = ctx;
    task->next = dns->tasks;
    if (dns->tasks != NULL)
        dns->tasks->prev = task;
    dns->tasks = task;
}

size_t dns_pollfds(const struct dns *dns, struct pollfd *fds, size_t max)
{
    size_t n = 0;
    for (const struct dns_exchange *x = dns->active; x != NULL && n < max; x = x->next)
        if (x->fd >= 0)
            fds[n++] = (struct pollfd){
                .fd = x->fd,
                .events = x->state == X_TCP_CONNECT || x->state == X_TCP_WRITE ? POLLOUT : POLLIN,
            };
    return n;
}

static struct dns_exchange *find_exchange(const struct dns *dns, int fd)
{
    for (struct dns_exchange *x = dns->active; x != NULL; x = x->next)
        if (x->fd == fd)
            return x;
    return NULL;
}

void dns_handle(struct dns *dns, const struct pollfd *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct dns_exchange *x = fds[i].revents != 0 ? find_exchange(dns, fds[i].fd) : NULL;
        if (x != NULL)
            dns_exchange_io(x);
    }
    bool exchanges, tasks;
    do {
        exchanges = dns_exchanges_run(dns);
        tasks = run_tasks(dns);
    } while (exchanges || tasks);
}

int dns_timeout_ms(const struct dns *dns)
{
    int64_t now = clock_mono_ms(), due = dns_exchanges_due_ms(dns);
    for (const struct dns_task *task = dns->tasks; task != NULL; task = task->next) {
        if (task->runnable)
            return 0;
        due = task->due_ms < due ? task->due_ms : due;
        due = task->deadline_ms < due ? task->deadline_ms : due;
    }
    if (due == INT64_MAX)
        return -1;
    return due <= now ? 0 : due - now > INT_MAX ? INT_MAX : (int)(due - now);
}
