/*
 * import_acmesh.c - acme.sh: DOMAIN[_ecc]/{DOMAIN.conf,DOMAIN.key,DOMAIN.cer,fullchain.cer,ca.cer},
 * ca/HOST/PATH/{account.key,ca.conf,account.json}, account.conf with what its DNS scripts have saved.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "import_internal.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tlsup/config.h"
#include "tlsup/export_spec.h"

#define B64_START "__ACME_BASE64__START_"
#define B64_END "__ACME_BASE64__END_"

/* -- values -------------------------------------------------------------------------------------------- */

static int b64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

static bool b64_decode(const char *text, size_t len, struct buf *out)
{
    unsigned bits = 0, n = 0;
    for (size_t i = 0; i < len && text[i] != '='; i++) {
        int digit = b64_digit(text[i]);
        if (digit < 0)
            return false;
        bits = (bits << 6 | (unsigned)digit) & 0xffffff;
        n += 6;
        if (n >= 8) {
            n -= 8;
            buf_addc(out, (char)(bits >> n & 0xff));
        }
    }
    return memchr(buf_str(out), '\0', out->len) == NULL;
}

/* A command, packed or not; NULL where there is none. The caller frees. */
static char *command_of(const struct import_vars *vars, const char *name)
{
    const char *value = import_var(vars, name);
    AUTO_BUF line = BUF_INIT;
    if (value == NULL || value[0] == '\0' || strcmp(value, "no") == 0)
        return NULL;
    size_t start = strlen(B64_START);
    const char *end = strstr(value, B64_END);
    if (strncmp(value, B64_START, start) != 0 || end == NULL)
        return mem_dup(value);
    return b64_decode(value + start, (size_t)(end - value) - start, &line) && line.len > 0 ? buf_take(&line)
                                                                                           : NULL;
}

static const char *text_of(const struct import_vars *vars, const char *name)
{
    const char *value = import_var(vars, name);
    return value != NULL && value[0] != '\0' && strcmp(value, "no") != 0 ? value : NULL;
}

static bool read_vars(const char *path, struct import_vars *vars, struct err *err)
{
    AUTO_BUF text = BUF_SECRET;
    if (!fs_read(path, IMPORT_FILE_BYTES, &text, err))
        return false;
    import_vars_read(vars, buf_str(&text));
    return true;
}

/* -- how challenges are answered --------------------------------------------------------------------------
 */

struct ways {
    const char *way; /* tlsup's word, NULL = a DNS script */
    const char *begins;
};

static const struct ways ways[] = {
    {"standalone", "no"},     {"tls-alpn", "alpn"},        {"web-server", "nginx:"},
    {"web-server", "apache"}, {"web-server", "stateless"}, {"dns-persist", "dns_persist"},
    {NULL, "dns_"},
};

/* What the scripts have saved is their environment now. */
static void add_credentials(struct import_cert *cert, const struct import_vars *account,
                            const struct import_vars *vars)
{
    AUTO_BUF env = BUF_SECRET;
    const struct import_vars *const both[] = {account, vars};
    for (size_t i = 0; i < COUNT_OF(both); i++)
        for (size_t k = 0; k < both[i]->names.n; k++)
            if (strncmp(both[i]->names.v[k], "SAVED_", 6) == 0 && strchr(both[i]->values.v[k], '\n') == NULL)
                buf_addf(&env, "%s=%s\n", both[i]->names.v[k] + 6, both[i]->values.v[k]);
    if (env.len > 0)
        import_add_file(cert, "hook-env", "dns.env", buf_str(&env), 0600);
}

static bool set_dns_script(const struct import_store *store, struct import_cert *cert,
                           const struct import_vars *account, const struct import_vars *vars,
                           const char *script)
{
    AUTO_FREE char *name = mem_fmt("%s.sh", script);
    AUTO_FREE char *below = mem_fmt("%s/dnsapi/%s", store->dir, name);
    AUTO_FREE char *beside = mem_fmt("%s/%s", store->dir, name);
    const char *path = fs_exists(below) ? below : beside;
    AUTO_BUF text = BUF_INIT;
    struct err why = ERR_INIT;
    if (!import_plain_name(name) || !import_trusted(path, &why) ||
        !fs_read(path, IMPORT_FILE_BYTES, &text, &why)) {
        err_set(&cert->err, ERR_CONFIG, NEXT_FIX_CONFIG, cert->name,
                "its challenges are answered by the DNS script %s, which cannot be used: %s", name, why.text);
        return err_advise(&cert->err, "%s",
                          why.advice[0] != '\0' ? why.advice
                                                : "put the script where it was, and import again");
    }
    import_set(cert, "challenge", "dns");
    import_set(cert, "hook-contract", "acme.sh");
    import_add_file(cert, "challenge-hook", name, buf_str(&text), 0700);
    cert->files[cert->n_files - 1].whole_name = true; /* its functions go by the file's name */
    if (import_trusted_or_note(cert, cert->config_path, "its DNS script's credentials are"))
        add_credentials(cert, account, vars);
    return true;
}

static bool refuse_manual(struct import_cert *cert)
{
    err_set(&cert->err, ERR_CONFIG, NEXT_FIX_CONFIG, cert->name,
            "its challenges are answered by hand (DNS manual mode): there is nothing that could renew it");
    return err_advise(&cert->err, "get it anew with one of tlsup's ways: tlsup issue --help");
}

static bool set_way(const struct import_store *store, struct import_cert *cert,
                    const struct import_vars *account, const struct import_vars *vars, const char *said)
{
    if (said[0] == '/') {
        import_set(cert, "challenge", "webroot");
        import_set(cert, "webroot", said);
        return true;
    }
    if (strcmp(said, "dns") == 0)
        return refuse_manual(cert);
    for (size_t i = 0; i < COUNT_OF(ways); i++)
        if (strncmp(said, ways[i].begins, strlen(ways[i].begins)) == 0) {
            if (ways[i].way == NULL)
                return set_dns_script(store, cert, account, vars, said);
            import_set(cert, "challenge", ways[i].way);
            return true;
        }
    return err_set(&cert->err, ERR_CONFIG, NEXT_FIX_CONFIG, cert->name,
                   "'%s' is no way to answer challenges that is known here", said);
}

static void set_challenge(const struct import_store *store, struct import_cert *cert,
                          const struct import_vars *account, const struct import_vars *vars)
{
    AUTO_STRLIST said = STRLIST_INIT;
    const char *webroot = import_var(vars, "Le_Webroot");
    bool several = false;
    strlist_split(&said, webroot != NULL ? webroot : "no", ", ");
    for (size_t i = 1; i < said.n; i++)
        several |= strcmp(said.v[i], said.v[0]) != 0;
    const char *way = said.n > 0 ? said.v[0] : "no";
    for (size_t i = 0; several && i < said.n; i++)
        if (strncmp(said.v[i], "dns", 3) == 0)
            way = said.v[i]; /* it can prove all of them */
    if (several && way[0] == '/')
        way = "nginx:";
    if (set_way(store, cert, account, vars, way) && several)
        import_note(&cert->notes,
                    "its names are proven in several ways (%s), and tlsup has one for all names of a "
                    "certificate: see `challenge` in its "
                    "configuration, and try it with `tlsup check %s`",
                    webroot, cert->name);
}

/* -- copies and commands ----------------------------------------------------------------------------------
 */

static const struct copy {
    const char *name;
    enum export_format format;
} copies[] = {{"Le_RealCertPath", EXPORT_CERT},
              {"Le_RealCACertPath", EXPORT_CHAIN},
              {"Le_RealFullChainPath", EXPORT_FULLCHAIN},
              {"Le_RealKeyPath", EXPORT_KEY}};

/* Several in one file: acme.sh writes them one after the other. */
static enum export_format format_at(const struct import_vars *vars, const char *path)
{
    enum export_format found = EXPORT_FORMATS;
    for (size_t i = 0; i < COUNT_OF(copies); i++) {
        const char *other = text_of(vars, copies[i].name);
        if (other == NULL || strcmp(other, path) != 0)
            continue;
        found = found == EXPORT_FORMATS          ? copies[i].format
                : copies[i].format == EXPORT_KEY ? EXPORT_COMBINED
                                                 : EXPORT_FULLCHAIN;
    }
    return found;
}

static void add_owner(const char *path, struct buf *spec)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return;
    const struct passwd *user = getpwuid(st.st_uid);
    AUTO_FREE char *name = user != NULL ? mem_dup(user->pw_name) : mem_fmt("%u", (unsigned)st.st_uid);
    const struct group *group = getgrgid(st.st_gid);
    AUTO_FREE char *group_name = group != NULL ? mem_dup(group->gr_name) : mem_fmt("%u", (unsigned)st.st_gid);
    buf_addf(spec, " owner=%s:%s mode=0%o", name, group_name, (unsigned)(st.st_mode & 0775 & ~(mode_t)020));
}

static void set_copies(struct import_cert *cert, const struct import_vars *vars)
{
    AUTO_STRLIST done = STRLIST_INIT;
    for (size_t i = 0; i < COUNT_OF(copies); i++) {
        const char *path = text_of(vars, copies[i].name);
        AUTO_BUF spec = BUF_INIT;
        if (path == NULL || strlist_has(&done, path))
            continue;
        if (path[0] != '/' || strpbrk(path, " \t") != NULL) {
            import_note(&cert->notes,
                        "the copy %s is not written any more: its path has white space, or is relative",
                        path);
            continue;
        }
        buf_addf(&spec, "%s %s", export_format_name(format_at(vars, path)), path);
        add_owner(path, &spec);
        import_set(cert, "export", buf_str(&spec));
        strlist_add(&done, path);
    }
}

static void set_commands(struct import_cert *cert, const struct import_vars *vars)
{
    static const struct {
        const char *name, *key, *file;
    } commands[] = {{"Le_PreHook", "pre-hook", "pre"},
                    {"Le_RenewHook", "deploy-hook", "renew"},
                    {"Le_ReloadCmd", "deploy-hook", "reload"},
                    {"Le_PostHook", "post-hook", "post"}};
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        AUTO_FREE char *line = command_of(vars, commands[i].name);
        if (line != NULL)
            import_add_line(cert, commands[i].key, commands[i].file, line);
    }
    if (text_of(vars, "Le_DeployHook") != NULL)
        import_note(&cert->notes,
                    "acme.sh's deploy script %s is not taken over: write a deploy hook for it (tlsup's hooks "
                    "directory has some for common "
                    "services), then: tlsup reconfigure %s --deploy-hook PROGRAM",
                    text_of(vars, "Le_DeployHook"), cert->name);
}

/* -- one certificate ---------------------------------------------------------------------------------------
 */

static void set_names(struct import_cert *cert, const struct import_vars *vars)
{
    const char *alt = text_of(vars, "Le_Alt");
    AUTO_FREE char *names =
        mem_fmt("%s%s%s", import_var(vars, "Le_Domain"), alt != NULL ? "," : "", alt != NULL ? alt : "");
    for (char *c = names; *c != '\0'; c++)
        *c = *c == ',' ? ' ' : *c;
    import_set(cert, "names", names);
}

static void set_others(struct import_cert *cert, const struct import_vars *vars)
{
    if (text_of(vars, "Le_Preferred_Chain") != NULL) {
        AUTO_FREE char *chain = command_of(vars, "Le_Preferred_Chain");
        if (chain != NULL)
            import_set(cert, "preferred-chain", chain);
    }
    if (text_of(vars, "Le_Certificate_Profile") != NULL)
        import_set(cert, "profile", text_of(vars, "Le_Certificate_Profile"));
    /* it keeps its keys unless it was told otherwise */
    if (text_of(vars, "Le_ForceNewDomainKey") == NULL ||
        strcmp(text_of(vars, "Le_ForceNewDomainKey"), "1") != 0)
        import_set(cert, "reuse-key", "yes");
}

static void read_files(struct import_cert *cert, const char *dir, const char *domain)
{
    AUTO_FREE char *fullchain = fs_join(dir, "fullchain.cer");
    AUTO_FREE char *leaf = mem_fmt("%s/%s.cer", dir, domain);
    AUTO_FREE char *issuers = fs_join(dir, "ca.cer");
    AUTO_FREE char *key = mem_fmt("%s/%s.key", dir, domain);
    if (fs_exists(fullchain))
        import_live_version(cert, fullchain, NULL, key);
    else
        import_live_version(cert, leaf, fs_exists(issuers) ? issuers : NULL, key);
}

/* "https://HOST:PORT/PATH" -> ca/HOST/PATH */
static char *account_dir(const struct import_store *store, const struct import_vars *account,
                         const char *server)
{
    const char *host = server + strlen("https://");
    size_t len = strcspn(host, ":/");
    const char *path = strchr(host, '/');
    const char *home = text_of(account, "CA_HOME");
    return mem_fmt("%s%s/%.*s%s", home != NULL ? home : store->dir, home != NULL ? "" : "/ca", (int)len, host,
                   path != NULL ? path : "");
}

static bool account_is_known(const struct import_store *store, const char *id)
{
    for (size_t i = 0; i < store->n_accounts; i++)
        if (strcmp(store->accounts[i].id, id) == 0)
            return true;
    return false;
}

static void read_account(struct import_store *store, struct import_cert *cert, const struct import_vars *conf)
{
    AUTO_FREE char *dir = account_dir(store, conf, cert->server);
    AUTO_FREE char *key_path = fs_join(dir, "account.key");
    AUTO_FREE char *conf_path = fs_join(dir, "ca.conf");
    AUTO_BUF key = BUF_SECRET;
    struct import_vars vars = {0};
    struct err why = ERR_INIT, ignored = ERR_INIT;
    cert->account = mem_dup(cert->server);
    if (account_is_known(store, cert->server))
        return;
    if (!fs_read(key_path, IMPORT_FILE_BYTES, &key, &why)) {
        import_note(&store->notes, "the account at %s cannot be read: %s", cert->server, why.text);
        return;
    }
    struct import_account *account = import_add_account(store, cert->server);
    account->server = mem_dup(cert->server);
    account->path = mem_dup(key_path);
    buf_add(&account->key, key.data, key.len);
    if (read_vars(conf_path, &vars, &ignored)) {
        const char *email = text_of(&vars, "CA_EMAIL");
        account->url = mem_dup(text_of(&vars, "ACCOUNT_URL"));
        account->email = mem_dup(email != NULL ? email : text_of(conf, "ACCOUNT_EMAIL"));
        account->eab_kid = mem_dup(text_of(&vars, "CA_EAB_KEY_ID"));
        account->eab_hmac_key = mem_dup(text_of(&vars, "CA_EAB_HMAC_KEY"));
    }
    import_vars_clear(&vars);
}

static void read_cert(struct import_store *store, const struct import_vars *account, const char *dir,
                      const char *conf, const char *name)
{
    struct import_vars vars = {0};
    struct import_cert *cert = import_add_cert(store, name, conf);
    if (!read_vars(conf, &vars, &cert->err))
        return;
    const char *domain = text_of(&vars, "Le_Domain"), *server = text_of(&vars, "Le_API");
    if (domain == NULL || !import_plain_name(domain)) {
        err_set(&cert->err, ERR_CONFIG, NEXT_FIX_CONFIG, name,
                "%s does not say for which name it is (Le_Domain)", conf);
    } else {
        cert->server = mem_dup(server != NULL ? server : CONFIG_DEFAULT_CA);
        read_files(cert, dir, domain);
    }
    if (!err_isset(&cert->err)) {
        if (strncmp(cert->server, "https://", 8) == 0 && strstr(cert->server, "/..") == NULL)
            read_account(store, cert, account);
        set_names(cert, &vars);
        set_others(cert, &vars);
        set_challenge(store, cert, account, &vars);
    }
    if (!err_isset(&cert->err) &&
        import_trusted_or_note(cert, conf, "its commands and copies (--install-cert) are")) {
        set_copies(cert, &vars);
        set_commands(cert, &vars);
    }
    import_vars_clear(&vars);
}

/* "example.org_ecc" is example.org, unless that is there as well. */
static char *cert_name(const char *entry, const char *root)
{
    size_t len = strlen(entry);
    if (len <= 4 || strcmp(entry + len - 4, "_ecc") != 0)
        return mem_dup(entry);
    AUTO_FREE char *bare = mem_ndup(entry, len - 4);
    AUTO_FREE char *other = mem_fmt("%s/%s/%s.conf", root, bare, bare);
    return mem_dup(fs_exists(other) ? entry : bare);
}

bool import_acmesh(struct import_store *store, int keep, struct err *err)
{
    AUTO_FREE char *account_path = fs_join(store->dir, "account.conf");
    AUTO_STRLIST entries = STRLIST_INIT;
    struct import_vars account = {0};
    struct err why = ERR_INIT;
    (void)keep;
    if (fs_exists(account_path) &&
        (!import_trusted(account_path, &why) || !read_vars(account_path, &account, &why)))
        import_note(&store->notes, "%s, with the credentials of DNS scripts, is left out: %s", account_path,
                    why.text);
    const char *home = text_of(&account, "CERT_HOME");
    AUTO_FREE char *root = mem_dup(home != NULL && home[0] == '/' && fs_is_dir(home) ? home : store->dir);
    if (strcmp(root, store->dir) != 0)
        strlist_add(&store->dirs, root);
    bool ok = fs_list(root, &entries, err);
    for (size_t i = 0; ok && i < entries.n; i++) {
        size_t len = strlen(entries.v[i]);
        bool ecc = len > 4 && strcmp(entries.v[i] + len - 4, "_ecc") == 0;
        AUTO_FREE char *dir = fs_join(root, entries.v[i]);
        AUTO_FREE char *domain = mem_ndup(entries.v[i], ecc ? len - 4 : len);
        AUTO_FREE char *conf = mem_fmt("%s/%s.conf", dir, domain);
        AUTO_FREE char *name = cert_name(entries.v[i], root);
        if (fs_is_dir(dir) && fs_exists(conf))
            read_cert(store, &account, dir, conf, name);
    }
    import_vars_clear(&account);
    return ok;
}
