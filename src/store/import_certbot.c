/*
 * import_certbot.c - certbot: renewal/NAME.conf, archive/NAME/{cert,chain,fullchain,privkey}N.pem, live/NAME
 * -> the N in use, accounts/HOST/PATH/ID/{private_key,regr,meta}.json, renewal-hooks/{pre,deploy,post}.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "import_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "tlsup/config.h"
#include "tlsup/name.h"

#define OLD_SERVER                                                                                           \
    "https://acme-v01.api.letsencrypt.org/directory" /* as certbot reads it: the present one is meant */

/* -- the renewal file: ConfigObj's INI ---------------------------------------------------------------------
 */

struct params {
    struct import_vars vars; /* before any section, and of [renewalparams] */
    struct import_vars webroots;
};

static char *trimmed(const char *text, size_t len)
{
    while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL)
        len--;
    size_t lead = strspn(text, " \t");
    return lead < len ? mem_ndup(text + lead, len - lead) : mem_dup("");
}

/* A quoted value ends at its quote, in the line or (three quotes) some lines later; any other at the end of
 * the line, or before a comment. *next: the line after it. */
static char *value_at(const char *text, const char **next)
{
    size_t line = strcspn(text, "\n");
    *next = text + line + (text[line] == '\n');
    text += strspn(text, " \t");
    char quote = text[0];
    size_t quotes = (quote == '"' || quote == '\'') ? 1 : 0;
    if (quotes == 1 && text[1] == quote && text[2] == quote)
        quotes = 3;
    AUTO_FREE char *mark = mem_ndup(text, quotes);
    const char *end = quotes > 0 ? strstr(text + quotes, mark) : NULL;
    if (quotes > 0 && end != NULL && (quotes == 3 || end < *next)) {
        line = strcspn(end, "\n");
        *next = end + line + (end[line] == '\n');
        /* a list of several quoted words is left as it stands */
        size_t rest = strspn(end + quotes, " \t\r");
        if (strchr("\n#", end[quotes + rest]) != NULL)
            return mem_ndup(text + quotes, (size_t)(end - text) - quotes);
        *next = text + strcspn(text, "\n");
        *next += **next == '\n';
    }
    size_t len = strcspn(text, "\n");
    const char *comment = memmem(text, len, " #", 2);
    return trimmed(text, comment != NULL ? (size_t)(comment - text) : len);
}

static void read_params(const char *text, struct params *out)
{
    enum { WANTED, WEBROOTS, OTHER } section = WANTED;
    while (*text != '\0') {
        size_t line = strcspn(text, "\n");
        const char *next = text + line + (text[line] == '\n');
        const char *equals = memchr(text, '=', line);
        const char *start = text + strspn(text, " \t");
        if (start[0] == '[') {
            section = strncmp(start, "[renewalparams]", 15) == 0   ? WANTED
                      : strncmp(start, "[[webroot_map]]", 15) == 0 ? WEBROOTS
                                                                   : OTHER;
        } else if (start[0] != '#' && equals != NULL && section != OTHER) {
            AUTO_FREE char *name = trimmed(text, (size_t)(equals - text));
            AUTO_FREE char *value = value_at(equals + 1, &next);
            if (strcmp(value, "None") != 0)
                import_vars_set(section == WANTED ? &out->vars : &out->webroots, name, value);
        }
        text = next;
    }
}

static void params_clear(struct params *params)
{
    import_vars_clear(&params->vars);
    import_vars_clear(&params->webroots);
}
#define AUTO_PARAMS CLEANUP(params_clear) struct params

static const char *param(const struct params *params, const char *name)
{
    return import_var(&params->vars, name);
}

static bool is_true(const struct params *params, const char *name)
{
    const char *value = param(params, name);
    return value != NULL && strcasecmp(value, "true") == 0;
}

/* -- versions ----------------------------------------------------------------------------------------------
 */

/* "fullchain12.pem" -> 12; 0 = none. */
static int number_of(const char *file)
{
    static const char prefix[] = "fullchain";
    size_t len = strlen(prefix);
    if (strncmp(file, prefix, len) != 0)
        return 0;
    size_t digits = strspn(file + len, "0123456789");
    return digits > 0 && digits < 9 && strcmp(file + len + digits, ".pem") == 0 ? atoi(file + len) : 0;
}

static int live_number(const char *live)
{
    char target[4096];
    AUTO_FREE char *link = fs_join(live, "fullchain.pem");
    ssize_t len = readlink(link, target, sizeof target - 1);
    if (len <= 0)
        return 0;
    target[len] = '\0';
    const char *slash = strrchr(target, '/');
    return number_of(slash != NULL ? slash + 1 : target);
}

static int by_number(const void *a, const void *b)
{
    return (*(const int *)a > *(const int *)b) - (*(const int *)a < *(const int *)b);
}

/* The last `keep` before the one in use; what cannot be read of these does not matter. */
static void read_former(struct import_cert *cert, const char *archive, int live, int keep)
{
    AUTO_STRLIST files = STRLIST_INIT;
    struct err ignored = ERR_INIT;
    size_t n = 0;
    if (!fs_list(archive, &files, &ignored))
        return;
    int *numbers = mem_array(files.n + 1, sizeof *numbers);
    for (size_t i = 0; i < files.n; i++) {
        int number = number_of(files.v[i]);
        if (number > 0 && number < live)
            numbers[n++] = number;
    }
    qsort(numbers, n, sizeof *numbers, by_number);
    for (size_t i = n > (size_t)keep - 1 ? n - ((size_t)keep - 1) : 0; i < n; i++) {
        AUTO_FREE char *chain = mem_fmt("%s/fullchain%d.pem", archive, numbers[i]);
        AUTO_FREE char *key = mem_fmt("%s/privkey%d.pem", archive, numbers[i]);
        const char *const paths[] = {chain};
        struct err gone = ERR_INIT;
        (void)!import_add_version(cert, paths, 1, key, &gone);
    }
    free(numbers);
}

/* Below our own directory where that is there: the paths in the file are those of where it once was. */
static char *place_of(const struct import_store *store, const char *sub, const char *name,
                      const char *otherwise)
{
    AUTO_FREE char *path = mem_fmt("%s/%s/%s", store->dir, sub, name);
    return mem_dup(fs_is_dir(path) || otherwise == NULL ? path : otherwise);
}

static void read_versions(struct import_store *store, struct import_cert *cert, const struct params *params,
                          int keep)
{
    const char *fullchain = param(params, "fullchain");
    AUTO_FREE char *said = fullchain != NULL ? fs_dirname(fullchain) : NULL;
    AUTO_FREE char *live = place_of(store, "live", cert->name, said);
    AUTO_FREE char *archive = place_of(store, "archive", cert->name, param(params, "archive_dir"));
    AUTO_FREE char *chain = fs_join(live, "fullchain.pem");
    AUTO_FREE char *key = fs_join(live, "privkey.pem");
    int number = live_number(live);
    if (number > 0)
        read_former(cert, archive, number, keep);
    import_live_version(cert, chain, NULL, key);
    strlist_add(&store->dirs, live);
    strlist_add(&store->dirs, archive);
}

/* -- how challenges are answered ----------------------------------------------------------------------------
 */

/* tlsup has one web root for a certificate. */
static void set_webroot(struct import_cert *cert, const struct params *params)
{
    const char *list = param(params, "webroot_path"), *root = NULL;
    AUTO_STRLIST roots = STRLIST_INIT;
    bool several = false;
    for (size_t i = 0; i < params->webroots.values.n; i++) {
        several |= root != NULL && strcmp(root, params->webroots.values.v[i]) != 0;
        root = params->webroots.values.v[i];
    }
    if (root == NULL && list != NULL) {
        strlist_split(&roots, list, ", \"'[]");
        several = roots.n > 1;
        root = roots.n > 0 ? roots.v[0] : NULL;
    }
    if (root != NULL && !several) {
        import_set(cert, "challenge", "webroot");
        import_set(cert, "webroot", root);
        return;
    }
    import_set(cert, "challenge", "web-server");
    import_note(&cert->notes,
                root != NULL ? "its names have web roots of their own, and tlsup has one for a certificate: "
                               "the web server itself "
                               "answers challenges instead (`tlsup check %s` tries it)"
                             : "no web root is stored for it: the web server itself answers challenges "
                               "(`tlsup check %s` tries it)",
                cert->name);
}

/* certbot's own credentials file: dns_rfc2136_server = 192.0.2.1 ... */
static bool set_dns_update(struct import_cert *cert, const char *path)
{
    AUTO_BUF text = BUF_SECRET, tsig = BUF_SECRET;
    struct params ini = {0};
    struct err why = ERR_INIT;
    if (!fs_read(path, IMPORT_FILE_BYTES, &text, &why)) {
        import_note(&cert->notes, "%s", why.text);
        return false;
    }
    read_params(buf_str(&text), &ini);
    const char *server = param(&ini, "dns_rfc2136_server"), *port = param(&ini, "dns_rfc2136_port");
    const char *name = param(&ini, "dns_rfc2136_name"), *secret = param(&ini, "dns_rfc2136_secret");
    const char *algorithm = param(&ini, "dns_rfc2136_algorithm");
    bool ok = server != NULL && name != NULL && secret != NULL && strpbrk(name, "\"\\\n") == NULL &&
              strpbrk(secret, "\"\\\n") == NULL;
    if (ok) {
        AUTO_FREE char *lower = mem_dup(algorithm != NULL ? algorithm : "hmac-md5");
        AUTO_FREE char *with_port =
            port != NULL ? mem_fmt(strchr(server, ':') != NULL ? "[%s]:%s" : "%s:%s", server, port)
                         : mem_dup(server);
        for (char *c = lower; *c != '\0'; c++)
            *c = *c >= 'A' && *c <= 'Z' ? (char)(*c + ('a' - 'A')) : *c;
        buf_addf(&tsig, "key \"%s\" {\n\talgorithm %s;\n\tsecret \"%s\";\n};\n", name, lower, secret);
        import_set(cert, "challenge", "dns");
        import_set(cert, "dns-update-server", with_port);
        import_add_file(cert, "dns-update-key", "tsig.key", buf_str(&tsig), 0600);
    }
    params_clear(&ini);
    return ok;
}

static bool wants_dns(const struct params *params)
{
    const char *preferred = param(params, "pref_challs");
    return preferred != NULL && strncmp(preferred, "dns", 3) == 0;
}

static bool set_manual(struct import_cert *cert, const struct params *params)
{
    const char *auth = param(params, "manual_auth_hook"), *cleanup = param(params, "manual_cleanup_hook");
    if (auth == NULL) {
        err_set(&cert->err, ERR_CONFIG, NEXT_FIX_CONFIG, cert->name,
                "its challenges are answered by hand: there is nothing that could renew it");
        return err_advise(&cert->err, "get it anew with one of tlsup's ways: tlsup issue --help");
    }
    if (!import_trusted_or_note(cert, cert->config_path, "its challenge hook is"))
        return err_set(&cert->err, ERR_PERMISSION, NEXT_FIX_CONFIG, cert->name,
                       "its challenge hook stands in a file that others than root can change: %s",
                       cert->config_path);
    import_set(cert, "hook-contract", "certbot");
    import_add_line(cert, "challenge-hook", "challenge", auth);
    if (cleanup != NULL)
        import_add_line(cert, "cleanup-hook", "cleanup", cleanup);
    import_set(cert, "challenge", wants_dns(params) ? "dns" : "http-hook");
    return true;
}

static void refuse_plugin(struct import_cert *cert, const char *plugin)
{
    err_set(
        &cert->err, ERR_CONFIG, NEXT_FIX_CONFIG, cert->name,
        "its challenges are answered by certbot's plugin %s, which tlsup cannot run: it stays with certbot",
        plugin);
    (void)err_advise(&cert->err, "get it anew by a hook for the same DNS provider, e.g. one of acme.sh's "
                                 "dnsapi scripts: tlsup issue NAME... "
                                 "--dns --challenge-hook dns_xx.sh --hook-contract acme.sh --hook-env FILE");
}

static void set_challenge(struct import_cert *cert, const struct params *params)
{
    const char *way = param(params, "authenticator"), *port = param(params, "http01_port");
    if (way == NULL) {
        err_set(&cert->err, ERR_CONFIG, NEXT_FIX_CONFIG, cert->name,
                "%s does not say how challenges are answered", cert->config_path);
    } else if (strcmp(way, "webroot") == 0) {
        set_webroot(cert, params);
    } else if (strcmp(way, "standalone") == 0) {
        import_set(cert, "challenge", "standalone");
        if (port != NULL && strcmp(port, "80") != 0)
            import_note(&cert->notes,
                        "certbot answered on port %s behind something that passes port 80 on; tlsup answers "
                        "on port 80 itself",
                        port);
    } else if (strcmp(way, "nginx") == 0 || strcmp(way, "apache") == 0) {
        import_set(cert, "challenge", "web-server");
    } else if (strcmp(way, "manual") == 0) {
        (void)!set_manual(cert, params);
    } else if (strcmp(way, "dns-rfc2136") == 0 && param(params, "dns_rfc2136_credentials") != NULL) {
        if (!set_dns_update(cert, param(params, "dns_rfc2136_credentials")))
            refuse_plugin(cert, way);
    } else {
        refuse_plugin(cert, way);
    }
}

/* -- the rest of a renewal file
 * ------------------------------------------------------------------------------ */

static void set_hooks(struct import_cert *cert, const struct params *params)
{
    static const struct {
        const char *param, *key, *name;
    } hooks[] = {{"pre_hook", "pre-hook", "pre"},
                 {"renew_hook", "deploy-hook", "deploy"},
                 {"post_hook", "post-hook", "post"}};
    for (size_t i = 0; i < COUNT_OF(hooks); i++) {
        const char *line = param(params, hooks[i].param);
        if (line != NULL && line[0] != '\0' &&
            import_trusted_or_note(cert, cert->config_path, "its hooks are"))
            import_add_line(cert, hooks[i].key, hooks[i].name, line);
    }
}

static void set_others(struct import_cert *cert, const struct params *params)
{
    static const struct {
        const char *param, *key;
    } texts[] = {{"preferred_chain", "preferred-chain"},
                 {"preferred_profile", "profile"},
                 {"required_profile", "profile"}};
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (param(params, texts[i].param) != NULL && param(params, texts[i].param)[0] != '\0')
            import_set(cert, texts[i].key, param(params, texts[i].param));
    if (param(params, "required_profile") != NULL)
        import_set(cert, "profile-required", "yes");
    if (is_true(params, "reuse_key"))
        import_set(cert, "reuse-key", "yes");
    if (is_true(params, "allow_subset_of_names"))
        import_set(cert, "partial", "yes");
    if (is_true(params, "must_staple"))
        import_note(&cert->notes, "OCSP must-staple is not asked for any more: CAs have given it up");
    const char *renews = param(params, "autorenew");
    if (renews != NULL && strcasecmp(renews, "false") == 0)
        err_set(&cert->err, ERR_CONFIG, NEXT_NONE, cert->name,
                "certbot has been told not to renew it (autorenew = False)");
}

static void read_cert(struct import_store *store, const char *path, const char *name, int keep)
{
    AUTO_BUF text = BUF_INIT;
    AUTO_PARAMS params = {0};
    struct import_cert *cert = import_add_cert(store, name, path);
    if (!fs_read(path, IMPORT_FILE_BYTES, &text, &cert->err))
        return;
    read_params(buf_str(&text), &params);
    const char *server = param(&params, "server");
    cert->server = mem_dup(server == NULL || strcmp(server, OLD_SERVER) == 0 ? CONFIG_DEFAULT_CA : server);
    cert->account = mem_dup(param(&params, "account"));
    read_versions(store, cert, &params, keep);
    set_others(cert, &params);
    if (err_isset(&cert->err))
        return;
    set_challenge(cert, &params);
    if (!err_isset(&cert->err))
        set_hooks(cert, &params);
}

/* -- accounts
 * -------------------------------------------------------------------------------------------------- */

static void read_account(struct import_store *store, const char *server, const char *id)
{
    AUTO_FREE char *dir = mem_fmt("%s/accounts/%s/%s", store->dir, server + strlen("https://"), id);
    AUTO_FREE char *regr = fs_join(dir, "regr.json");
    AUTO_FREE char *key_path = fs_join(dir, "private_key.json");
    AUTO_BUF json = BUF_INIT, key = BUF_SECRET;
    struct err why = ERR_INIT;
    if (!fs_read(key_path, IMPORT_FILE_BYTES, &key, &why) || !fs_read(regr, IMPORT_FILE_BYTES, &json, &why)) {
        import_note(&store->notes, "the account %s cannot be read: %s", id, why.text);
        return;
    }
    struct import_account *account = import_add_account(store, id);
    account->server = mem_dup(server);
    account->path = mem_dup(key_path);
    account->url = import_json_string(buf_str(&json), json.len, "uri");
    char *contact = import_json_string(buf_str(&json), json.len, "body.contact.0");
    if (contact != NULL && strncmp(contact, "mailto:", 7) == 0)
        account->email = mem_dup(contact + 7);
    free(contact);
    buf_add(&account->key, key.data, key.len);
}

static bool is_known(const struct import_store *store, const struct import_cert *cert)
{
    for (size_t i = 0; i < store->n_accounts; i++)
        if (strcmp(store->accounts[i].id, cert->account) == 0 &&
            strcmp(store->accounts[i].server, cert->server) == 0)
            return true;
    return false;
}

/* A renewal file of an old certbot names none: then there is one. */
static char *only_account(const struct import_store *store, const char *server)
{
    AUTO_FREE char *dir = mem_fmt("%s/accounts/%s", store->dir, server + strlen("https://"));
    AUTO_STRLIST ids = STRLIST_INIT;
    struct err ignored = ERR_INIT;
    return fs_list(dir, &ids, &ignored) && ids.n == 1 ? mem_dup(ids.v[0]) : NULL;
}

static void read_accounts(struct import_store *store)
{
    for (size_t i = 0; i < store->n_certs; i++) {
        struct import_cert *cert = &store->certs[i];
        if (cert->server == NULL || strncmp(cert->server, "https://", 8) != 0 ||
            strstr(cert->server, "/..") != NULL)
            continue;
        if (cert->account == NULL)
            cert->account = only_account(store, cert->server);
        if (cert->account != NULL && import_plain_name(cert->account) && !is_known(store, cert))
            read_account(store, cert->server, cert->account);
    }
}

/* -- all of it
 * ----------------------------------------------------------------------------------------------- */

static void read_programs(struct import_store *store)
{
    static const char *const whens[] = {"pre", "deploy", "post"};
    for (size_t i = 0; i < COUNT_OF(whens); i++) {
        AUTO_FREE char *dir = mem_fmt("%s/renewal-hooks/%s", store->dir, whens[i]);
        AUTO_STRLIST names = STRLIST_INIT;
        struct err ignored = ERR_INIT;
        if (!fs_is_dir(dir) || !fs_list(dir, &names, &ignored))
            continue;
        for (size_t k = 0; k < names.n; k++) {
            AUTO_FREE char *path = fs_join(dir, names.v[k]);
            size_t len = strlen(names.v[k]);
            if (!fs_is_dir(path) && access(path, X_OK) == 0 && names.v[k][len - 1] != '~')
                import_add_program(store, whens[i], path);
        }
    }
}

bool import_certbot(struct import_store *store, int keep, struct err *err)
{
    AUTO_FREE char *dir = fs_join(store->dir, "renewal");
    AUTO_STRLIST files = STRLIST_INIT;
    if (!fs_list(dir, &files, err))
        return false;
    for (size_t i = 0; i < files.n; i++) {
        size_t len = strlen(files.v[i]);
        if (files.v[i][0] == '.' || len <= 5 || strcmp(files.v[i] + len - 5, ".conf") != 0)
            continue;
        AUTO_FREE char *path = fs_join(dir, files.v[i]);
        AUTO_FREE char *name = mem_ndup(files.v[i], len - 5);
        read_cert(store, path, name, keep);
    }
    read_accounts(store);
    read_programs(store);
    return true;
}
