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
    KEYS_MOST = 100, /* of a bigger fleet only the certificates, unless all about them is wanted: keys take
                        most of the time */
    OVERDUE_AFTER_MOST_S = 2 * 86400, /* a timer that runs each hour has missed it many times */
};

void entries_clear(struct entries *entries)
{
    for (size_t i = 0; i < entries->n; i++) {
        struct entry *entry = &entries->v[i];
        free(entry->name);
        free(entry->live_path);
        free(entry->config_path);
        free(entry->state_path);
        cert_config_clear(&entry->config);
        cert_state_clear(&entry->state);
        cert_info_clear(&entry->info);
        cert_info_clear(&entry->second);
        strlist_clear(&entry->issuers);
        strlist_clear(&entry->settings);
        for (size_t v = 0; v < entry->n_versions; v++)
            cert_info_clear(&entry->versions[v].info);
        free(entry->versions);
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

/* The one of the other algorithm, in a version that has two. */
static bool read_second(struct store *store, struct entry *entry, struct err *err)
{
    AUTO_CHAIN *chain = NULL;
    struct err why = ERR_INIT;
    if (!store_version_chain(store, entry->name, entry->version, 1, &chain, &why)) {
        if (why.code == ERR_NOT_FOUND)
            return true; /* it was asked for after this version was issued */
        *err = why;
        return false;
    }
    entry->has_second = cert_chain_info(chain, &entry->second, err);
    return entry->has_second;
}

/* When it is due by the CA's word or by its age, as `renew` reckons. */
static void reckon_due(struct entry *entry)
{
    const struct cert_info *info = &entry->info;
    const struct ari_state *ari = &entry->state.ari;
    /* a window that reaches to the very end, or beyond it, is no reason to wait until then */
    int64_t last_s = info->not_after_s - (info->not_after_s - info->not_before_s) / 10;
    entry->due_by_ca =
        ari->chosen_s != 0 && info->ari_id[0] != '\0' && strcmp(ari->cert_id, info->ari_id) == 0;
    entry->due_s = !entry->due_by_ca        ? run_renewal_at_s(info)
                   : ari->chosen_s < last_s ? ari->chosen_s
                                            : last_s;
}

static bool read_live(struct store *store, struct entry *entry, unsigned what, struct err *err)
{
    AUTO_CHAIN *chain = NULL;
    if (!store_live_version(store, entry->name, &entry->version, err))
        return false;
    if (entry->version == 0)
        return true;
    if (!store_live_chain(store, entry->name, &chain, err) || !cert_chain_info(chain, &entry->info, err))
        return false;
    entry->has_info = true;
    reckon_due(entry);
    if ((what & STATUS_DETAILS) != 0 && !cert_chain_issuers(chain, &entry->issuers, err))
        return false;
    if (entry->has_config && entry->config.dual && !read_second(store, entry, err))
        return false;
    return (what & STATUS_KEYS) == 0 || check_key(entry, chain, err);
}

/* A PIN or a password in a setting is nobody's business who looks at the screen. */
static void mask_secrets(char *line)
{
    static const char pin[] = "pin-value=";
    char *from = strstr(line, pin), *authority = strstr(line, "://"), *at;
    if (from != NULL) {
        for (from += strlen(pin); *from != '\0' && strchr("&;? ", *from) == NULL; from++)
            *from = '*';
    }
    if (strncmp(line, "proxy =", strlen("proxy =")) != 0 || authority == NULL)
        return;
    at = strrchr(authority, '@');
    for (from = authority + strlen("://"); at != NULL && from < at; from++)
        *from = '*';
}

/* Of the configuration, what differs from the defaults; the names are told apart. */
static void read_settings(struct entry *entry)
{
    AUTO_BUF text = BUF_SECRET;
    AUTO_STRLIST lines = STRLIST_INIT;
    CLEANUP(cert_config_clear) struct cert_config built_in = {0};
    cert_config_init(&built_in);
    config_write_text(&entry->config, &built_in, &text);
    strlist_split(&lines, buf_str(&text), "\n");
    for (size_t i = 0; i < lines.n; i++) {
        if (lines.v[i][0] == '#' || strncmp(lines.v[i], "names =", strlen("names =")) == 0)
            continue;
        mask_secrets(lines.v[i]);
        printable(lines.v[i]);
        strlist_add(&entry->settings, lines.v[i]);
    }
}

static void read_versions(struct store *store, struct entry *entry)
{
    struct err none = ERR_INIT;
    int *numbers = NULL;
    if (!store_versions(store, entry->name, &numbers, &entry->n_versions, &none))
        return; /* what matters of it is told with the live one */
    entry->versions = mem_array(entry->n_versions + 1, sizeof *entry->versions);
    for (size_t i = 0; i < entry->n_versions; i++) {
        AUTO_CHAIN *chain = NULL;
        struct entry_version *version = &entry->versions[i];
        struct err why = ERR_INIT;
        version->number = numbers[i];
        version->has_info = store_version_chain(store, entry->name, version->number, 0, &chain, &why) &&
                            cert_chain_info(chain, &version->info, &why);
    }
    free(numbers);
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

bool deployment_is_done(const struct deployment *deployment)
{
    return deployment->version == deployment->wanted;
}

bool deployment_is_failing(const struct deployment *deployment)
{
    return !deployment_is_done(deployment) && deployment->failures > 0;
}

static bool has_deployment(const struct entry *entry, bool (*is)(const struct deployment *), bool wanted)
{
    for (size_t i = 0; i < entry->state.n_deployments; i++)
        if (is(&entry->state.deployments[i]) == wanted)
            return true;
    return false;
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
    if (has_failed(entry) || has_deployment(entry, deployment_is_failing, true))
        return HEALTH_FAILING;
    if (!entry->has_info)
        return HEALTH_PENDING;
    if (is_overdue(entry, now_s))
        return HEALTH_OVERDUE;
    if ((is_installed_by_us(entry) && step_of(entry) != DEPLOY_VERIFIED) ||
        has_deployment(entry, deployment_is_done, false))
        return HEALTH_UNFINISHED;
    return entry->state.missing.n > 0 ? HEALTH_INCOMPLETE : HEALTH_VALID;
}

/* What cannot be read becomes a part of the entry: one damaged file does not hide the other certificates. */
static void read_entry(struct store *store, const char *name, unsigned what, struct entry *entry)
{
    struct err err = ERR_INIT;
    entry->name = mem_dup(name);
    entry->live_path = store_live_path(store, name);
    entry->config_path = mem_fmt("%s/certs.d/%s.conf", store_config_dir(store), name);
    entry->state_path = mem_fmt("%s/state/%s.json", store_state_dir(store), name);
    entry->has_config = store_cert_config(store, name, &entry->config, &entry->problem);
    if (!store_state_load(store, name, &entry->state, &err) && !err_isset(&entry->problem))
        entry->problem = err;
    err_clear(&err);
    if (!read_live(store, entry, what, &err) && !err_isset(&entry->problem))
        entry->problem = err;
    if ((what & STATUS_DETAILS) != 0) {
        entry->has_details = true;
        if (entry->has_config)
            read_settings(entry);
        read_versions(store, entry);
    }
    entry->health = judge(entry, clock_now_s());
}

static int worst_first(const void *a, const void *b)
{
    const struct entry *one = a, *other = b;
    if (one->health != other->health)
        return one->health > other->health ? -1 : 1;
    return strcmp(one->name, other->name);
}

/* The certificate whose configuration has the name; NULL = none. */
static const char *find_by_name(struct store *store, const struct strlist *names, const char *wanted)
{
    for (size_t i = 0; i < names->n; i++) {
        CLEANUP(cert_config_clear) struct cert_config config = {0};
        struct err none = ERR_INIT;
        if (!store_cert_config(store, names->v[i], &config, &none))
            continue;
        for (size_t k = 0; k < config.names.n; k++)
            if (name_matches(config.names.v[k], wanted))
                return names->v[i];
    }
    return NULL;
}

/* Those that were asked for: by their own name, or by a name that they hold. */
static bool choose(struct store *store, const struct strlist *names, const struct strlist *wanted,
                   struct strlist *chosen, struct err *err)
{
    for (size_t i = 0; i < wanted->n; i++) {
        const char *name =
            strlist_has(names, wanted->v[i]) ? wanted->v[i] : find_by_name(store, names, wanted->v[i]);
        if (name == NULL) {
            err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, wanted->v[i], "there is no such certificate here");
            return err_advise(err, "tlsup status lists those that there are");
        }
        if (!strlist_has(chosen, name))
            strlist_add(chosen, name);
    }
    return true;
}

bool status_read_as(struct store *store, const struct strlist *wanted, unsigned what, struct entries *out,
                    struct err *err)
{
    AUTO_STRLIST names = STRLIST_INIT, chosen = STRLIST_INIT;
    if (!store_cert_names(store, &names, err) || !choose(store, &names, wanted, &chosen, err))
        return false;
    const struct strlist *these = wanted->n > 0 ? &chosen : &names;
    if (these->n > KEYS_MOST && (what & STATUS_DETAILS) == 0)
        what &= ~(unsigned)STATUS_KEYS;
    out->v = mem_array(these->n + 1, sizeof *out->v);
    for (size_t i = 0; i < these->n; i++)
        read_entry(store, these->v[i], what, &out->v[out->n++]);
    if (out->n > 1)
        qsort(out->v, out->n, sizeof *out->v, worst_first);
    return true;
}

bool status_read(struct store *store, const struct strlist *wanted, struct entries *out, struct err *err)
{
    return status_read_as(store, wanted, STATUS_KEYS, out, err);
}

/* -- what failed in the last run --------------------------------------------------------------------- */

static bool is_well(struct store *store, const char *name)
{
    struct cert_state state = CERT_STATE_INIT;
    struct err unreadable = ERR_INIT;
    bool well = store_state_load(store, name, &state, &unreadable) && state.failures == 0 &&
                !err_isset(&state.last_error);
    for (size_t i = 0; well && i < state.n_deployments; i++)
        well = deployment_is_done(&state.deployments[i]);
    cert_state_clear(&state);
    return well;
}

bool status_is_mended(struct store *store, const struct run_state *run)
{
    AUTO_STRLIST names = STRLIST_INIT;
    struct err unreadable = ERR_INIT;
    if (!run->mendable || run->n_debts > 0 || !store_cert_names(store, &names, &unreadable))
        return false;
    for (size_t i = 0; i < names.n; i++)
        if (!is_well(store, names.v[i]))
            return false;
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

/* The directory URL of the CA that issued it, or is to issue it. */
const char *ca_url_of(const struct entry *entry)
{
    if (entry->state.issued_by[0] != '\0')
        return entry->state.issued_by;
    return entry->has_config && entry->config.server != NULL ? entry->config.server : CONFIG_DEFAULT_CA;
}
