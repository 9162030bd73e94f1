#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "run.h"
#include "status.h"

#include <stdlib.h>
#include <string.h>

#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

enum {
    KEY_FILE_BYTES = 65536,
    OVERDUE_AFTER_MOST_S = 2 * 86400, /* a timer that runs twice a day has missed it several times */
};

void entries_clear(struct entries *entries)
{
    for (size_t i = 0; i < entries->n; i++) {
        struct entry *entry = &entries->v[i];
        free(entry->name);
        free(entry->live_path);
        cert_config_clear(&entry->config);
        cert_state_clear(&entry->state);
        cert_info_clear(&entry->info);
    }
    free(entries->v);
    *entries = (struct entries){0};
}

/* -- reading ----------------------------------------------------------------------------------------- */

/* Does the key belong to the certificate? Only who may read the key can tell; for others it is as good as
 * checked. */
static bool check_key(const struct entry *entry, const struct cert_chain *chain, struct err *err)
{
    struct err unreadable = ERR_INIT;
    AUTO_KEY *key = NULL;
    AUTO_BUF pem = BUF_SECRET;
    AUTO_FREE char *path = fs_join(entry->live_path, "privkey.pem");
    if (entry->has_config && (entry->config.csr != NULL || entry->config.key != NULL))
        return true; /* it is not here: with who made the request, or on a token */
    if (!fs_read(path, KEY_FILE_BYTES, &pem, &unreadable)) {
        if (unreadable.code == ERR_PERMISSION)
            return true;
        *err = unreadable;
        return false;
    }
    /* expiry is told apart; here a moment is taken at which it was valid */
    return key_from_pem(buf_str(&pem), pem.len, path, &key, err) &&
           cert_chain_check(chain, key, NULL, entry->info.not_before_s, err);
}

static bool read_live(struct store *store, struct entry *entry, struct err *err)
{
    AUTO_CHAIN *chain = NULL;
    if (!store_live_version(store, entry->name, &entry->version, err))
        return false;
    if (entry->version == 0)
        return true;
    if (!store_live_chain(store, entry->name, &chain, err) || !cert_chain_info(chain, &entry->info, err))
        return false;
    entry->has_info = true;
    entry->due_by_ca = entry->state.ari.chosen_s != 0 && entry->info.ari_id[0] != '\0' &&
                       strcmp(entry->state.ari.cert_id, entry->info.ari_id) == 0;
    entry->due_s = entry->due_by_ca ? entry->state.ari.chosen_s : run_renewal_at_s(&entry->info);
    return check_key(entry, chain, err);
}

bool is_installed_by_us(const struct entry *entry)
{
    return entry->has_config && entry->config.install != WEB_NONE;
}

/* The step that the live version has reached. */
enum deploy_step step_of(const struct entry *entry)
{
    return entry->state.version == entry->version ? entry->state.step : DEPLOY_NONE;
}

bool has_failed(const struct entry *entry)
{
    return entry->state.failures > 0 || entry->state.last_error.code != ERR_NONE;
}

static bool is_overdue(const struct entry *entry, int64_t now_s)
{
    int64_t grace_s = (entry->info.not_after_s - entry->info.not_before_s) / 10;
    return now_s > entry->due_s + (grace_s < OVERDUE_AFTER_MOST_S ? grace_s : OVERDUE_AFTER_MOST_S);
}

static enum health judge(const struct entry *entry, int64_t now_s)
{
    if (entry->has_info && now_s >= entry->info.not_after_s)
        return HEALTH_EXPIRED;
    if (entry->problem.code == ERR_PERMISSION)
        return HEALTH_UNKNOWN;
    if (err_isset(&entry->problem))
        return HEALTH_BROKEN;
    if (entry->state.revoked)
        return HEALTH_REVOKED;
    if (has_failed(entry))
        return HEALTH_FAILING;
    if (!entry->has_info)
        return HEALTH_PENDING;
    if (is_overdue(entry, now_s))
        return HEALTH_OVERDUE;
    if (is_installed_by_us(entry) && step_of(entry) != DEPLOY_VERIFIED)
        return HEALTH_UNFINISHED;
    return entry->state.missing.n > 0 ? HEALTH_INCOMPLETE : HEALTH_VALID;
}

/* What cannot be read becomes a part of the entry: one damaged file does not hide the other certificates. */
static void read_entry(struct store *store, const char *name, struct entry *entry)
{
    struct err err = ERR_INIT;
    entry->name = mem_dup(name);
    entry->live_path = store_live_path(store, name);
    entry->has_config = store_cert_config(store, name, &entry->config, &entry->problem);
    if (!store_state_load(store, name, &entry->state, &err) && !err_isset(&entry->problem))
        entry->problem = err;
    err_clear(&err);
    if (!read_live(store, entry, &err) && !err_isset(&entry->problem))
        entry->problem = err;
    entry->health = judge(entry, clock_now_s());
}

static int worst_first(const void *a, const void *b)
{
    const struct entry *one = a, *other = b;
    if (one->health != other->health)
        return one->health > other->health ? -1 : 1;
    return strcmp(one->name, other->name);
}

/* A certificate by its own name, or by a name that it holds; NULL = none. */
static const struct entry *find_entry(const struct entries *entries, const char *name)
{
    for (size_t i = 0; i < entries->n; i++)
        if (strcmp(entries->v[i].name, name) == 0)
            return &entries->v[i];
    for (size_t i = 0; i < entries->n; i++)
        for (size_t j = 0; j < entries->v[i].config.names.n; j++)
            if (name_matches(entries->v[i].config.names.v[j], name))
                return &entries->v[i];
    return NULL;
}

static bool read_entries(struct store *store, struct entries *out, struct err *err)
{
    AUTO_STRLIST names = STRLIST_INIT;
    if (!store_cert_names(store, &names, err))
        return false;
    out->v = mem_array(names.n + 1, sizeof *out->v);
    for (size_t i = 0; i < names.n; i++)
        read_entry(store, names.v[i], &out->v[out->n++]);
    return true;
}

/* Keep those that were asked for. */
static bool choose_entries(struct entries *entries, const struct strlist *wanted, struct err *err)
{
    bool *keep = mem_array(entries->n + 1, sizeof *keep);
    bool ok = true;
    for (size_t i = 0; ok && i < wanted->n; i++) {
        const struct entry *entry = find_entry(entries, wanted->v[i]);
        ok = entry != NULL;
        if (ok)
            keep[entry - entries->v] = true;
        else
            err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, wanted->v[i], "there is no such certificate here");
    }
    struct entries kept = {mem_array(entries->n + 1, sizeof *kept.v), 0};
    struct entries dropped = {mem_array(entries->n + 1, sizeof *dropped.v), 0};
    for (size_t i = 0; i < entries->n; i++)
        if (keep[i])
            kept.v[kept.n++] = entries->v[i];
        else
            dropped.v[dropped.n++] = entries->v[i];
    free(keep);
    free(entries->v);
    entries_clear(&dropped);
    *entries = kept;
    return ok ? true : err_advise(err, "tlsup status lists those that there are");
}

bool status_read(struct store *store, const struct strlist *wanted, struct entries *out, struct err *err)
{
    if (!read_entries(store, out, err) || (wanted->n > 0 && !choose_entries(out, wanted, err)))
        return false;
    if (out->n > 1)
        qsort(out->v, out->n, sizeof *out->v, worst_first);
    return true;
}

/* -- what the words for people and for programs share -------------------------------------------------- */

int life_percent(const struct entry *entry)
{
    int64_t life_s = entry->info.not_after_s - entry->info.not_before_s;
    int64_t used_s = clock_now_s() - entry->info.not_before_s;
    if (life_s <= 0 || used_s >= life_s)
        return 100;
    return used_s <= 0 ? 0 : (int)(used_s * 100 / life_s);
}

const struct strlist *names_of(const struct entry *entry)
{
    return entry->has_info ? &entry->info.names : &entry->config.names;
}

void say_key(const struct entry *entry, struct buf *out)
{
    if (entry->has_info)
        buf_adds(out, entry->info.key_type);
    else if (entry->has_config)
        buf_adds(out, key_type_name(entry->config.key_type));
    if (entry->has_config && entry->config.dual)
        buf_addf(out, " + %s", key_type_name(entry->config.second_key_type));
}

/* The directory URL of the CA that issued it, or is to issue it. */
const char *ca_url_of(const struct entry *entry)
{
    if (entry->state.issued_by[0] != '\0')
        return entry->state.issued_by;
    return entry->has_config && entry->config.server != NULL ? entry->config.server : CONFIG_DEFAULT_CA;
}

void say_ca(const struct entry *entry, struct buf *out)
{
    char name[256];
    buf_adds(out, config_ca_name(ca_url_of(entry), name));
}
