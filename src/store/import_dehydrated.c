/*
 * import_dehydrated.c - dehydrated: config (a shell script of NAME=value lines), domains.txt,
 * CERTDIR/ALIAS/{privkey,cert,chain,fullchain}.pem,
 * accounts/BASE64URL/{account_key.pem,account_id.json,registration_info.json}.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "import_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "tlsup/b64.h"
#include "tlsup/spawn.h"

#define WELL_KNOWN "/.well-known/acme-challenge"

static const struct {
    const char *word, *url;
} authorities[] = {
    {"letsencrypt", "https://acme-v02.api.letsencrypt.org/directory"},
    {"letsencrypt-test", "https://acme-staging-v02.api.letsencrypt.org/directory"},
    {"zerossl", "https://acme.zerossl.com/v2/DV90"},
    {"buypass", "https://api.buypass.com/acme/directory"},
    {"buypass-test", "https://api.test4.buypass.no/acme/directory"},
    {"google", "https://dv.acme-v02.api.pki.goog/directory"},
    {"google-test", "https://dv.acme-v02.test-api.pki.goog/directory"},
};

struct setup {
    struct import_vars vars;
    char *config; /* NULL = there is none */
    char *base, *certs, *accounts, *domains, *well_known, *server;
};

static void setup_clear(struct setup *setup)
{
    char *const texts[] = {setup->config,  setup->base,       setup->certs, setup->accounts,
                           setup->domains, setup->well_known, setup->server};
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        free(texts[i]);
    import_vars_clear(&setup->vars);
}
#define AUTO_SETUP CLEANUP(setup_clear) struct setup

/* -- the configuration ----------------------------------------------------------------------------------- */

static const char *set_var(const struct import_vars *vars, const char *name)
{
    const char *value = import_var(vars, name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static bool read_config(const char *path, struct import_vars *vars, struct err *err)
{
    AUTO_BUF text = BUF_INIT;
    if (!fs_read(path, IMPORT_FILE_BYTES, &text, err))
        return false;
    import_vars_read(vars, buf_str(&text));
    return true;
}

/* CONFIG_D/X.sh, one after the other. */
static void read_config_d(struct import_store *store, struct import_vars *vars)
{
    AUTO_STRLIST files = STRLIST_INIT;
    struct err ignored = ERR_INIT;
    AUTO_FREE char *dir = mem_dup(set_var(vars, "CONFIG_D"));
    if (dir == NULL || !fs_list(dir, &files, &ignored))
        return;
    for (size_t i = 0; i < files.n; i++) {
        AUTO_FREE char *path = fs_join(dir, files.v[i]);
        size_t len = strlen(files.v[i]);
        struct err why = ERR_INIT;
        if (len <= 3 || strcmp(files.v[i] + len - 3, ".sh") != 0)
            continue;
        if (!import_trusted(path, &why) || !read_config(path, vars, &why))
            import_note(&store->notes, "%s is left out: %s", path, why.text);
    }
}

static char *said_or_below(const struct import_vars *vars, const char *name, const char *base,
                           const char *below)
{
    const char *said = set_var(vars, name);
    return said != NULL ? mem_dup(said) : fs_join(base, below);
}

/* The configuration lies in the directory itself, or where Debian has it. */
static char *find_config(const char *dir)
{
    static const char debian[] = "/etc/dehydrated/config";
    AUTO_FREE char *path = fs_join(dir, "config");
    if (access(path, F_OK) == 0)
        return mem_dup(path);
    return strcmp(dir, "/var/lib/dehydrated") == 0 && access(debian, F_OK) == 0 ? mem_dup(debian) : NULL;
}

static bool read_setup(struct import_store *store, struct setup *out, struct err *err)
{
    out->config = find_config(store->dir);
    import_vars_set(&out->vars, "BASEDIR", store->dir);
    import_vars_set(&out->vars, "CA", "letsencrypt");
    if (out->config != NULL && !read_config(out->config, &out->vars, err))
        return false;
    read_config_d(store, &out->vars);
    const char *ca = import_var(&out->vars, "CA");
    for (size_t i = 0; i < COUNT_OF(authorities); i++)
        if (strcmp(ca, authorities[i].word) == 0)
            ca = authorities[i].url;
    out->server = mem_dup(ca);
    out->base = mem_dup(import_var(&out->vars, "BASEDIR"));
    out->certs = said_or_below(&out->vars, "CERTDIR", out->base, "certs");
    out->accounts = said_or_below(&out->vars, "ACCOUNTDIR", out->base, "accounts");
    out->domains = said_or_below(&out->vars, "DOMAINS_TXT", out->base, "domains.txt");
    out->well_known = mem_dup(set_var(&out->vars, "WELLKNOWN"));
    if (out->well_known == NULL)
        out->well_known = mem_dup("/var/www/dehydrated");
    return true;
}

/* -- the account -------------------------------------------------------------------------------------------
 */

static char *account_dir(const struct setup *setup)
{
    AUTO_FREE char *line = mem_fmt("%s\n", setup->server); /* it encodes a newline with it */
    AUTO_BUF name = BUF_INIT;
    b64url_encode(line, strlen(line), &name);
    return fs_join(setup->accounts, buf_str(&name));
}

static void read_account(struct import_store *store, const struct setup *setup)
{
    AUTO_FREE char *dir = account_dir(setup);
    AUTO_FREE char *key_path = fs_join(dir, "account_key.pem");
    AUTO_FREE char *id_path = fs_join(dir, "account_id.json");
    AUTO_FREE char *info_path = fs_join(dir, "registration_info.json");
    AUTO_BUF key = BUF_SECRET, id = BUF_INIT, info = BUF_INIT;
    struct err why = ERR_INIT, ignored = ERR_INIT;
    if (!fs_read(key_path, IMPORT_FILE_BYTES, &key, &why)) {
        import_note(&store->notes, "the account at %s cannot be read: %s", setup->server, why.text);
        return;
    }
    struct import_account *account = import_add_account(store, setup->server);
    account->server = mem_dup(setup->server);
    account->path = mem_dup(key_path);
    account->email = mem_dup(set_var(&setup->vars, "CONTACT_EMAIL"));
    account->eab_kid = mem_dup(set_var(&setup->vars, "EAB_KID"));
    account->eab_hmac_key = mem_dup(set_var(&setup->vars, "EAB_HMAC_KEY"));
    buf_add(&account->key, key.data, key.len);
    if (fs_read(id_path, IMPORT_FILE_BYTES, &id, &ignored))
        account->url = import_json_string(buf_str(&id), id.len, "url");
    if (account->email == NULL && fs_read(info_path, IMPORT_FILE_BYTES, &info, &ignored)) {
        char *contact = import_json_string(buf_str(&info), info.len, "contact.0");
        account->email = contact != NULL && strncmp(contact, "mailto:", 7) == 0 ? mem_dup(contact + 7) : NULL;
        free(contact);
    }
}

/* -- how challenges are answered ----------------------------------------------------------------------------
 */

/* Files in a directory that the web server shows under a path of its own: not below a web root. */
static void add_file_hook(struct import_cert *cert, const char *dir)
{
    AUTO_BUF text = BUF_INIT;
    buf_adds(
        &text,
        "#!/bin/sh\n# Shows the answers to challenges in the directory that dehydrated had for them.\ndir=");
    import_shell_quote(dir, &text);
    buf_adds(&text,
             "\numask 022\nset -C # it makes the file, or fails: no link of others is followed\ncase $1 in\n"
             "deploy_challenge) rm -f \"$dir/$3\" && printf %s \"$4\" >\"$dir/$3\" ;;\n"
             "clean_challenge) rm -f \"$dir/$3\" ;;\n"
             "esac\n");
    import_set(cert, "challenge", "http-hook");
    import_set(cert, "hook-contract", "dehydrated");
    import_add_file(cert, "challenge-hook", "challenge", buf_str(&text), 0700);
}

static void set_files(struct import_cert *cert, const char *dir)
{
    size_t len = strlen(dir), tail = strlen(WELL_KNOWN);
    while (len > 1 && dir[len - 1] == '/')
        len--;
    if (len > tail && strncmp(dir + len - tail, WELL_KNOWN, tail) == 0) {
        AUTO_FREE char *root = mem_ndup(dir, len - tail);
        import_set(cert, "challenge", "webroot");
        import_set(cert, "webroot", root);
    } else if (import_trusted_or_note(cert, cert->config_path,
                                      "the directory for answers to challenges is")) {
        add_file_hook(cert, dir);
    }
}

static void set_dns(struct import_cert *cert, const char *hook)
{
    struct err why = ERR_INIT;
    if (hook == NULL) {
        err_set(&cert->err, ERR_CONFIG, NEXT_FIX_CONFIG, cert->name,
                "its challenges are answered by dns-01, but there is no HOOK that does it");
        return;
    }
    if (!import_trusted(cert->config_path, &why) ||
        (geteuid() == 0 && !spawn_check_program(hook, false, &why))) {
        cert->err = why;
        (void)err_context(&cert->err, "its challenges are answered by %s, which tlsup would not run", hook);
        return;
    }
    import_set(cert, "challenge", "dns");
    import_set(cert, "challenge-hook", hook);
    import_set(cert, "hook-contract", "dehydrated");
}

static void set_challenge(struct import_cert *cert, const struct import_vars *vars, const char *well_known)
{
    const char *type = import_var(vars, "CHALLENGETYPE");
    if (type != NULL && strcmp(type, "dns-01") == 0) {
        set_dns(cert, set_var(vars, "HOOK"));
    } else if (type != NULL && strcmp(type, "tls-alpn-01") == 0) {
        import_set(cert, "challenge", "tls-alpn");
        import_note(&cert->notes, "tlsup answers tls-alpn-01 itself on port 443, which must be free for it");
    } else {
        set_files(cert, well_known);
    }
}

/* HOOK's other event that does something: the new certificate. */
static void set_deploy(struct import_cert *cert, const struct import_vars *vars)
{
    const char *hook = set_var(vars, "HOOK");
    struct err why = ERR_INIT;
    AUTO_BUF text = BUF_INIT;
    if (hook == NULL)
        return;
    if (hook[0] != '/' || (geteuid() == 0 && !spawn_check_program(hook, false, &why))) {
        import_note(&cert->notes, "the hook %s is not taken over: %s", hook,
                    hook[0] != '/' ? "its path is relative" : why.text);
        return;
    }
    buf_adds(&text, "#!/bin/sh\n# Tells dehydrated's hook of a new certificate.\nexec ");
    import_shell_quote(hook, &text);
    buf_adds(&text,
             " deploy_cert \"${RENEWED_DOMAINS%% *}\" \"$RENEWED_LINEAGE/privkey.pem\" "
             "\"$RENEWED_LINEAGE/cert.pem\" \\\n"
             "    \"$RENEWED_LINEAGE/fullchain.pem\" \"$RENEWED_LINEAGE/chain.pem\" \"$(date +%s)\"\n");
    import_add_file(cert, "deploy-hook", "deploy", buf_str(&text), 0700);
}

/* -- certificates
 * -------------------------------------------------------------------------------------------- */

/* Those that one certificate's own file may say otherwise. */
static void own_vars(const struct setup *setup, const char *alias, struct import_vars *vars,
                     struct strlist *notes)
{
    static const char *const allowed[] = {"CHALLENGETYPE", "HOOK", "WELLKNOWN", "PREFERRED_CHAIN",
                                          "PRIVATE_KEY_RENEW"};
    const char *dir = set_var(&setup->vars, "DOMAINS_D");
    AUTO_FREE char *path = dir != NULL ? fs_join(dir, alias) : mem_fmt("%s/%s/config", setup->certs, alias);
    struct import_vars own = {0};
    struct err why = ERR_INIT;
    for (size_t i = 0; i < COUNT_OF(allowed); i++)
        if (import_var(&setup->vars, allowed[i]) != NULL)
            import_vars_set(vars, allowed[i], import_var(&setup->vars, allowed[i]));
    if (access(path, F_OK) != 0)
        return;
    if (!import_trusted(path, &why) || !read_config(path, &own, &why))
        import_note(notes, "its own settings in %s are not taken over: %s", path, why.text);
    for (size_t i = 0; !err_isset(&why) && i < COUNT_OF(allowed); i++)
        if (import_var(&own, allowed[i]) != NULL)
            import_vars_set(vars, allowed[i], import_var(&own, allowed[i]));
    import_vars_clear(&own);
}

static void set_all(struct import_cert *cert, const struct setup *setup, const char *names)
{
    struct import_vars vars = {0};
    own_vars(setup, cert->name, &vars, &cert->notes);
    const char *renew = set_var(&vars, "PRIVATE_KEY_RENEW"), *well_known = set_var(&vars, "WELLKNOWN");
    import_set(cert, "names", names);
    if (renew != NULL && strcmp(renew, "no") == 0)
        import_set(cert, "reuse-key", "yes");
    if (set_var(&vars, "PREFERRED_CHAIN") != NULL)
        import_set(cert, "preferred-chain", set_var(&vars, "PREFERRED_CHAIN"));
    set_challenge(cert, &vars, well_known != NULL ? well_known : setup->well_known);
    if (!err_isset(&cert->err) && setup->config != NULL &&
        import_trusted_or_note(cert, setup->config, "its hook is"))
        set_deploy(cert, &vars);
    import_vars_clear(&vars);
}

static void read_cert(struct import_store *store, const struct setup *setup, const char *alias,
                      const char *names)
{
    struct import_cert *cert =
        import_add_cert(store, alias, setup->config != NULL ? setup->config : setup->domains);
    if (!import_plain_name(alias)) {
        err_set(&cert->err, ERR_CONFIG, NEXT_FIX_CONFIG, alias, "'%s' cannot be the name of a directory",
                alias);
        return;
    }
    AUTO_FREE char *fullchain = mem_fmt("%s/%s/fullchain.pem", setup->certs, alias);
    AUTO_FREE char *key = mem_fmt("%s/%s/privkey.pem", setup->certs, alias);
    cert->server = mem_dup(setup->server);
    cert->account = mem_dup(setup->server);
    import_live_version(cert, fullchain, NULL, key);
    if (!err_isset(&cert->err))
        set_all(cert, setup, names);
}

/* "a b c > alias", in lower case; the alias is the first name otherwise. */
static void read_line(struct import_store *store, const struct setup *setup, char *line)
{
    AUTO_STRLIST names = STRLIST_INIT, alias = STRLIST_INIT;
    for (char *c = line; *c != '\0'; c++)
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c + ('a' - 'A')) : *c;
    char *arrow = strchr(line, '>');
    if (arrow != NULL)
        *arrow++ = '\0';
    strlist_split(&names, line, " \t\r");
    if (arrow != NULL)
        strlist_split(&alias, arrow, " \t\r");
    if (names.n == 0 || names.v[0][0] == '#')
        return;
    AUTO_FREE char *joined = strlist_join(&names, " ");
    read_cert(store, setup, alias.n > 0 ? alias.v[0] : names.v[0], joined);
}

bool import_dehydrated(struct import_store *store, int keep, struct err *err)
{
    AUTO_SETUP setup = {0};
    AUTO_BUF text = BUF_INIT;
    AUTO_STRLIST lines = STRLIST_INIT;
    (void)keep;
    if (!read_setup(store, &setup, err) ||
        !fs_read(setup.domains, (size_t)16 * IMPORT_FILE_BYTES, &text, err))
        return err_context(err, "the list of dehydrated's certificates");
    if (!strlist_has(&store->dirs, setup.base))
        strlist_add(&store->dirs, setup.base);
    strlist_add(&store->dirs, setup.certs);
    strlist_split(&lines, buf_str(&text), "\n");
    read_account(store, &setup);
    for (size_t i = 0; i < lines.n; i++)
        read_line(store, &setup, lines.v[i]);
    return true;
}
