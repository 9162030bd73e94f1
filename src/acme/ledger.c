#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/ledger.h"

#include <jansson.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "tlsup/clock.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

enum {
    FORMAT_VERSION = 1,
    SET_HEX = sizeof((struct ledger_entry *)0)->set - 1,
    MAX_DOMAINS = 1000, /* of one entry */
    ENTRIES_AT_FIRST = 16,
    HOUR_S = 3600,
    WEEK_S = 7 * 86400,
};

#define TIME_MAX_S INT64_C(253402300799) /* the last second of the year 9999 */

static const char *const event_words[] = {
    [LEDGER_ORDER] = "order",
    [LEDGER_CERTIFICATE] = "certificate",
    [LEDGER_FAILURE] = "failure",
};

static const char *const exempt_words[] = {
    [LEDGER_COUNTS] = "no",
    [LEDGER_EXEMPT] = "all",
    [LEDGER_RENEWAL] = "renewal",
};

/* -- entries -------------------------------------------------------------------------------------------- */

void ledger_clear(struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->n; i++)
        strlist_clear(&ledger->v[i].domains);
    free(ledger->v);
    *ledger = (struct ledger)LEDGER_INIT;
}

static void drop_oldest(struct ledger *ledger, size_t count)
{
    for (size_t i = 0; i < count; i++)
        strlist_clear(&ledger->v[i].domains);
    ledger->n -= count;
    memmove(ledger->v, ledger->v + count, ledger->n * sizeof *ledger->v);
}

/* Takes the entry over. The ledger stays in the order of time: nearly always this is the last place. */
static void insert(struct ledger *ledger, const struct ledger_entry *entry)
{
    if (ledger->n == LEDGER_MAX_ENTRIES) /* several at once, so that a full ledger is not moved for each */
        drop_oldest(ledger, LEDGER_MAX_ENTRIES / 20);
    if (ledger->n == ledger->room) {
        ledger->room = ledger->room == 0 ? ENTRIES_AT_FIRST : 2 * ledger->room;
        ledger->v = mem_resize(ledger->v, ledger->room, sizeof *ledger->v);
    }
    size_t at = ledger->n;
    while (at > 0 && ledger->v[at - 1].at_s > entry->at_s)
        at--;
    memmove(ledger->v + at + 1, ledger->v + at, (ledger->n - at) * sizeof *ledger->v);
    ledger->v[at] = *entry;
    ledger->n++;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_texts(struct strlist *list)
{
    if (list->n > 1)
        qsort(list->v, list->n, sizeof *list->v, compare_texts);
}

/* Sorted, each once. */
static void unique(struct strlist *list)
{
    size_t kept = 0;
    sort_texts(list);
    for (size_t i = 0; i < list->n; i++) {
        if (kept > 0 && strcmp(list->v[kept - 1], list->v[i]) == 0)
            free(list->v[i]);
        else
            list->v[kept++] = list->v[i];
    }
    list->n = kept;
}

static void set_of(const struct strlist *names, char out[SET_HEX + 1])
{
    AUTO_STRLIST sorted = STRLIST_INIT;
    unsigned char digest[SHA256_DIGEST_LENGTH];
    strlist_copy(&sorted, names);
    unique(&sorted);
    AUTO_FREE char *joined = strlist_join(&sorted, "\n");
    SHA256((const unsigned char *)joined, strlen(joined), digest);
    for (size_t i = 0; i < SET_HEX / 2; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

static void domains_of(const struct strlist *names, struct strlist *out)
{
    for (size_t i = 0; i < names->n; i++) {
        char domain[NAME_MAX_BYTES];
        if (name_registered_domain(names->v[i], domain))
            strlist_add(out, domain);
    }
    unique(out);
}

void ledger_note(struct ledger *ledger, enum ledger_event event, const struct strlist *names,
                 enum ledger_exempt exempt, int64_t now_s)
{
    struct ledger_entry entry = {.event = event, .exempt = exempt, .at_s = now_s};
    set_of(names, entry.set);
    if (event == LEDGER_FAILURE) {
        strlist_copy(&entry.domains, names);
        unique(&entry.domains);
    } else {
        domains_of(names, &entry.domains);
    }
    insert(ledger, &entry);
}

/* -- JSON ----------------------------------------------------------------------------------------------- */

static void put(json_t *object, const char *key, json_t *value)
{
    if (value == NULL || json_object_set_new(object, key, value) != 0)
        mem_exhausted();
}

/* What the reader would refuse is not written: a run must never spoil the ledger for the next one. */
static bool is_domain(const char *text)
{
    size_t len = strnlen(text, NAME_MAX_BYTES);
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    return len > 0 && len < NAME_MAX_BYTES;
}

static json_t *entry_to_json(const struct ledger_entry *entry)
{
    json_t *object = json_object(), *domains = json_array();
    put(object, "event", json_string(event_words[entry->event]));
    if (entry->exempt != LEDGER_COUNTS)
        put(object, "exempt", json_string(exempt_words[entry->exempt]));
    put(object, "at", json_integer(entry->at_s));
    put(object, "set", json_string(entry->set));
    for (size_t i = 0, n = 0; i < entry->domains.n && n < MAX_DOMAINS; i++)
        if (is_domain(entry->domains.v[i])) {
            if (json_array_append_new(domains, json_string(entry->domains.v[i])) != 0)
                mem_exhausted();
            n++;
        }
    put(object, "domains", domains);
    return object;
}

static bool worth_keeping(const struct ledger_entry *entry, int64_t now_s)
{
    return entry->at_s >= 0 && entry->at_s <= TIME_MAX_S && now_s - entry->at_s <= LEDGER_KEEP_S &&
           entry->at_s - now_s <= LEDGER_AHEAD_S;
}

static int dump_to_buf(const char *data, size_t len, void *ctx)
{
    buf_add(ctx, data, len);
    return 0;
}

void ledger_encode(const struct ledger *ledger, int64_t now_s, struct buf *out)
{
    AUTO_JSON *object = json_object();
    json_t *entries = json_array();
    put(object, "version", json_integer(FORMAT_VERSION));
    for (size_t i = 0; i < ledger->n; i++)
        if (worth_keeping(&ledger->v[i], now_s) &&
            json_array_append_new(entries, entry_to_json(&ledger->v[i])) != 0)
            mem_exhausted();
    put(object, "entries", entries);
    if (json_dump_callback(object, dump_to_buf, out, JSON_COMPACT) != 0)
        mem_exhausted();
    buf_addc(out, '\n');
}

/* The index of a word in a table; -1 when it is none of them. */
static int word_index(const json_t *json, const char *const words[], int count)
{
    const char *word = json_string_value(json);
    for (int i = 0; word != NULL && i < count; i++)
        if (strcmp(word, words[i]) == 0)
            return i;
    return -1;
}

static bool read_domains(const json_t *array, struct strlist *out)
{
    size_t n = json_array_size(array);
    if (!json_is_array(array) || n > MAX_DOMAINS)
        return false;
    for (size_t i = 0; i < n; i++) {
        const char *domain = json_string_value(json_array_get(array, i));
        if (domain == NULL || !is_domain(domain))
            return false;
        strlist_add(out, domain);
    }
    unique(out);
    return true;
}

static bool read_entry(const json_t *object, struct ledger_entry *out)
{
    const json_t *exempt = json_object_get(object, "exempt"), *at = json_object_get(object, "at");
    const char *set = acme_json_string(object, "set");
    int event_index = word_index(json_object_get(object, "event"), event_words, COUNT_OF(event_words));
    int exempt_index =
        exempt == NULL ? LEDGER_COUNTS : word_index(exempt, exempt_words, COUNT_OF(exempt_words));
    if (event_index < 0 || exempt_index < 0 || !json_is_integer(at) || json_integer_value(at) < 0 ||
        json_integer_value(at) > TIME_MAX_S || set == NULL || strlen(set) != SET_HEX ||
        strspn(set, "0123456789abcdef") != SET_HEX)
        return false;
    out->event = (enum ledger_event)event_index;
    out->exempt = (enum ledger_exempt)exempt_index;
    out->at_s = json_integer_value(at);
    memcpy(out->set, set, SET_HEX + 1);
    return read_domains(json_object_get(object, "domains"), &out->domains);
}

static int compare_entries(const void *a, const void *b)
{
    const struct ledger_entry *x = a, *y = b;
    return (x->at_s > y->at_s) - (x->at_s < y->at_s);
}

static bool in_order(const struct ledger *ledger)
{
    for (size_t i = 1; i < ledger->n; i++)
        if (ledger->v[i - 1].at_s > ledger->v[i].at_s)
            return false;
    return true;
}

static bool read_entries(const json_t *array, struct ledger *out)
{
    size_t n = json_array_size(array);
    if (!json_is_array(array))
        return false;
    out->room = n;
    out->v = mem_array(n > 0 ? n : 1, sizeof *out->v);
    for (; out->n < n; out->n++)
        if (!read_entry(json_array_get(array, out->n), &out->v[out->n])) {
            strlist_clear(&out->v[out->n].domains);
            return false;
        }
    if (!in_order(out)) /* which leaves the order of entries of one second alone */
        qsort(out->v, n, sizeof *out->v, compare_entries);
    if (n > LEDGER_MAX_ENTRIES)
        drop_oldest(out, n - LEDGER_MAX_ENTRIES);
    return true;
}

bool ledger_decode(const char *json, size_t len, const char *subject, struct ledger *out, struct err *err)
{
    json_error_t where;
    ledger_clear(out);
    AUTO_JSON *object = json_loadb(json, len, JSON_REJECT_DUPLICATES, &where);
    if (object == NULL) {
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, subject, "%s: line %d: %s", subject, where.line,
                where.text);
    } else if (json_integer_value(json_object_get(object, "version")) != FORMAT_VERSION) {
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, subject, "%s: is no ledger of version %d", subject,
                FORMAT_VERSION);
    } else if (!read_entries(json_object_get(object, "entries"), out)) {
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, subject, "%s: entry %zu is none", subject, out->n + 1);
        ledger_clear(out);
    } else {
        return true;
    }
    return err_advise(err, "remove the file: what was asked of the CA in the last days is counted anew, and "
                           "until then its rate limits are not seen beforehand");
}

/* -- limits --------------------------------------------------------------------------------------------- */

/* A limit of `amount` in `window_s` that refills gradually: one each window_s / amount seconds. The debt is
 * counted in seconds times `amount`, so that nothing is rounded: an event costs window_s, a second pays
 * `amount` back, and amount * window_s is all. */
struct bucket {
    const char *key; /* a domain or name, borrowed */
    int64_t amount, window_s;
    int64_t debt, at_s;
};

static void bucket_settle(struct bucket *bucket, int64_t now_s)
{
    int64_t passed_s = now_s - bucket->at_s;
    if (passed_s >= bucket->window_s) /* all is paid back in one window: no product that could overflow */
        bucket->debt = 0;
    else if (passed_s > 0)
        bucket->debt -= passed_s * bucket->amount;
    if (bucket->debt < 0)
        bucket->debt = 0;
    if (passed_s > 0)
        bucket->at_s = now_s;
}

/* What the CA let pass was within its limit, whatever we thought: the debt never exceeds it. */
static void bucket_take(struct bucket *bucket, int64_t at_s)
{
    bucket_settle(bucket, at_s);
    bucket->debt += bucket->window_s;
    if (bucket->debt > bucket->amount * bucket->window_s)
        bucket->debt = bucket->amount * bucket->window_s;
}

/* Seconds until `count` more fit in. */
static int64_t bucket_wait_s(const struct bucket *bucket, int64_t count)
{
    int64_t over = bucket->debt + count * bucket->window_s - bucket->amount * bucket->window_s;
    return over <= 0 ? 0 : (over + bucket->amount - 1) / bucket->amount;
}

static int64_t bucket_used(const struct bucket *bucket)
{
    return (bucket->debt + bucket->window_s - 1) / bucket->window_s;
}

/* Entries over a day ahead were made by a wrong clock; nearer ones count as of now. */
static bool entry_time(const struct ledger_entry *entry, int64_t now_s, int64_t *at_s)
{
    if (!worth_keeping(entry, now_s))
        return false;
    *at_s = entry->at_s < now_s ? entry->at_s : now_s;
    return true;
}

enum limit { LIMIT_SET, LIMIT_ORDERS, LIMIT_DOMAIN, LIMIT_FAILURES };

static const struct {
    const char *what; /* "<CA> allows <amount> <what><key> in <window>, and ..." */
    const char *window;
    int64_t window_s;
    const char *last; /* when one more fits in, but not two */
} limits[] = {
    [LIMIT_SET] = {"certificates for exactly these names", "7 days", WEEK_S,
                   "this would be the last of them"},
    [LIMIT_ORDERS] = {"new orders of one account", "3 hours", 3 * HOUR_S, "this would be the last of them"},
    [LIMIT_DOMAIN] = {"certificates for names of ", "7 days", WEEK_S, "this would be the last of them"},
    [LIMIT_FAILURES] = {"failed validations of ", "an hour", HOUR_S,
                        "one more failure would use the last of them"},
};

/* The buckets that an order would draw from. */
struct tally {
    struct bucket set, orders;
    struct bucket *domains, *names; /* by key */
    size_t n_domains, n_names;
};

static struct bucket bucket_of(enum limit limit, const char *key, int amount)
{
    return (struct bucket){.key = key, .amount = amount > 0 ? amount : 0, .window_s = limits[limit].window_s};
}

static struct bucket *buckets_of(enum limit limit, const struct strlist *keys, int amount)
{
    struct bucket *buckets = mem_array(keys->n + 1, sizeof *buckets);
    for (size_t i = 0; i < keys->n; i++)
        buckets[i] = bucket_of(limit, keys->v[i], amount);
    return buckets;
}

static int compare_bucket(const void *key, const void *bucket)
{
    return strcmp(key, ((const struct bucket *)bucket)->key);
}

static void take_each(struct bucket *buckets, size_t n, const struct strlist *keys, int64_t at_s)
{
    for (size_t i = 0; n > 0 && i < keys->n; i++) {
        struct bucket *bucket = bsearch(keys->v[i], buckets, n, sizeof *buckets, compare_bucket);
        if (bucket != NULL)
            bucket_take(bucket, at_s);
    }
}

/* The sets of names of the certificates of the last minutes, sorted; borrowed texts, the caller frees the
 * array. */
static const char **fresh_sets(const struct ledger *ledger, int64_t now_s, size_t *n)
{
    const char **sets = mem_array(ledger->n + 1, sizeof *sets);
    *n = 0;
    for (size_t i = ledger->n; i > 0 && now_s - ledger->v[i - 1].at_s <= LEDGER_UNDER_WAY_S; i--)
        if (ledger->v[i - 1].event == LEDGER_CERTIFICATE)
            sets[(*n)++] = ledger->v[i - 1].set;
    if (*n > 1)
        qsort(sets, *n, sizeof *sets, compare_texts);
    return sets;
}

static void tally_entries(const struct ledger *ledger, struct tally *tally, const char *set, int64_t now_s)
{
    size_t n_fresh;
    int64_t at_s;
    AUTO_FREE const char **fresh = fresh_sets(ledger, now_s, &n_fresh);
    for (size_t i = 0; i < ledger->n; i++) {
        const struct ledger_entry *entry = &ledger->v[i];
        const char *its_set = entry->set;
        if (entry->exempt == LEDGER_EXEMPT || !entry_time(entry, now_s, &at_s))
            continue;
        bool to_come = entry->event == LEDGER_ORDER && now_s - at_s <= LEDGER_UNDER_WAY_S &&
                       bsearch(&its_set, fresh, n_fresh, sizeof *fresh, compare_texts) == NULL;
        if (entry->event == LEDGER_CERTIFICATE && strcmp(entry->set, set) == 0)
            bucket_take(&tally->set, at_s);
        if (entry->event == LEDGER_FAILURE)
            take_each(tally->names, tally->n_names, &entry->domains, at_s);
        if (entry->exempt == LEDGER_RENEWAL)
            continue;
        if (entry->event == LEDGER_ORDER)
            bucket_take(&tally->orders, at_s);
        if (entry->event == LEDGER_CERTIFICATE || to_come)
            take_each(tally->domains, tally->n_domains, &entry->domains, at_s);
    }
}

/* True when the limit would be passed. */
static bool report(struct bucket *bucket, enum limit limit, const struct ca *ca, int64_t now_s,
                   struct strlist *warnings)
{
    char span[CLOCK_TEXT_BYTES], when[CLOCK_TEXT_BYTES], shown[2 * NAME_MAX_BYTES + 4];
    AUTO_BUF line = BUF_INIT;
    if (bucket->amount == 0) /* not known */
        return false;
    bucket_settle(bucket, now_s);
    int64_t wait_s = bucket_wait_s(bucket, 1), after_s = bucket_wait_s(bucket, 2);
    if (after_s == 0)
        return false;
    buf_addf(&line, "%s allows %lld %s%s in %s, and ", ca->name[0] != '\0' ? ca->name : "this CA",
             (long long)bucket->amount, limits[limit].what,
             bucket->key != NULL ? name_display(bucket->key, shown) : "", limits[limit].window);
    if (wait_s > 0)
        buf_addf(&line, "%lld are used", (long long)bucket_used(bucket));
    else
        buf_adds(&line, limits[limit].last);
    wait_s = wait_s > 0 ? wait_s : after_s;
    buf_addf(&line, ": there is room again in %s (%s)", clock_format_span(wait_s, span),
             clock_format_utc(now_s + wait_s, when));
    strlist_add(warnings, buf_str(&line));
    return bucket_wait_s(bucket, 1) > 0;
}

static bool report_each(struct bucket *buckets, size_t n, enum limit limit, const struct ca *ca,
                        int64_t now_s, struct strlist *warnings)
{
    bool passed = false;
    for (size_t i = 0; i < n; i++)
        passed |= report(&buckets[i], limit, ca, now_s, warnings);
    return passed;
}

bool ledger_check(const struct ledger *ledger, const struct ca *ca, const struct strlist *names, bool renewal,
                  int64_t now_s, struct strlist *warnings)
{
    char set[SET_HEX + 1];
    AUTO_STRLIST domains = STRLIST_INIT;
    AUTO_STRLIST sorted = STRLIST_INIT;
    set_of(names, set);
    domains_of(names, &domains);
    strlist_copy(&sorted, names);
    unique(&sorted);
    struct tally tally = {
        .set = bucket_of(LIMIT_SET, NULL, ca->same_set),
        .orders = bucket_of(LIMIT_ORDERS, NULL, ca->orders_3h),
        .domains = buckets_of(LIMIT_DOMAIN, &domains, ca->per_domain),
        .names = buckets_of(LIMIT_FAILURES, &sorted, ca->failures_h),
        .n_domains = domains.n,
        .n_names = sorted.n,
    };
    tally_entries(ledger, &tally, set, now_s);
    bool passed = report(&tally.set, LIMIT_SET, ca, now_s, warnings);
    if (!renewal) {
        passed |= report(&tally.orders, LIMIT_ORDERS, ca, now_s, warnings);
        passed |= report_each(tally.domains, tally.n_domains, LIMIT_DOMAIN, ca, now_s, warnings);
    }
    passed |= report_each(tally.names, tally.n_names, LIMIT_FAILURES, ca, now_s, warnings);
    free(tally.domains);
    free(tally.names);
    return passed;
}
