#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "import_internal.h"

#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tlsup/ca.h"
#include "tlsup/log.h"
#include "tlsup/spawn.h"
#include "tlsup/url.h"

/* -- the clients -------------------------------------------------------------------------------------- */

/* A path that begins with '~' is tried below each home directory. `proof`: one of these must be there. */
static const struct client {
    const char *name;
    const char *dirs[6];
    const char *proof[4];
    bool (*read)(struct import_store *store, int keep, struct err *err);
} clients[IMPORT_CLIENTS] = {
    [IMPORT_CERTBOT] = {"certbot",
                        {"/etc/letsencrypt", "/usr/local/etc/letsencrypt"},
                        {"renewal", "live"},
                        import_certbot},
    [IMPORT_ACME_SH] = {"acme.sh",
                        {"~/.acme.sh", "/etc/acme.sh", "/etc/acme"},
                        {"account.conf", "ca"},
                        import_acmesh},
    [IMPORT_DEHYDRATED] = {"dehydrated",
                           {"/etc/dehydrated", "/usr/local/etc/dehydrated", "/var/lib/dehydrated"},
                           {"config", "certs", "domains.txt"},
                           import_dehydrated},
    [IMPORT_LEGO] = {"lego",
                     {"~/.lego", "/.lego", "/etc/lego", "/var/lib/lego", "/etc/letsencrypt/lego"},
                     {"certificates"},
                     import_lego},
    [IMPORT_UACME] = {"uacme", {"/etc/ssl/uacme", "/etc/uacme"}, {"private"}, import_uacme},
};

const char *import_client_name(enum import_client client)
{
    return client < IMPORT_CLIENTS ? clients[client].name : "?";
}

bool import_client_parse(const char *text, enum import_client *out, struct err *err)
{
    for (enum import_client client = 0; client < IMPORT_CLIENTS; client++)
        if (strcmp(clients[client].name, text) == 0) {
            *out = client;
            return true;
        }
    return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, text,
                   "'%s' is no client that can be imported from: certbot, acme.sh, dehydrated, lego, uacme",
                   text);
}

static bool looks_like(const struct client *client, const char *dir)
{
    for (size_t i = 0; i < COUNT_OF(client->proof) && client->proof[i] != NULL; i++) {
        AUTO_FREE char *path = fs_join(dir, client->proof[i]);
        if (access(path, F_OK) == 0)
            return true;
    }
    return false;
}

static void add_home(struct strlist *homes, const char *home)
{
    if (home != NULL && home[0] == '/' && !strlist_has(homes, home))
        strlist_add(homes, home);
}

/* HOME, the present user's, and that of whoever called sudo. */
static void find_homes(struct strlist *homes)
{
    const char *sudo_user = getenv("SUDO_USER");
    const struct passwd *user;
    add_home(homes, getenv("HOME"));
    if ((user = getpwuid(geteuid())) != NULL)
        add_home(homes, user->pw_dir);
    if (sudo_user != NULL && (user = getpwnam(sudo_user)) != NULL)
        add_home(homes, user->pw_dir);
}

void import_default_dirs(enum import_client client, struct strlist *out)
{
    AUTO_STRLIST homes = STRLIST_INIT;
    const struct client *row = &clients[client];
    find_homes(&homes);
    for (size_t i = 0; i < COUNT_OF(row->dirs) && row->dirs[i] != NULL; i++) {
        if (row->dirs[i][0] != '~')
            strlist_add(out, row->dirs[i]);
        for (size_t k = 0; row->dirs[i][0] == '~' && k < homes.n; k++) {
            AUTO_FREE char *path =
                mem_fmt("%s%s", strcmp(homes.v[k], "/") == 0 ? "" : homes.v[k], row->dirs[i] + 1);
            if (!strlist_has(out, path))
                strlist_add(out, path);
        }
    }
}

static bool find_dir(enum import_client client, const char *dir, char **out, struct err *err)
{
    AUTO_STRLIST dirs = STRLIST_INIT;
    const char *name = clients[client].name;
    if (dir != NULL)
        strlist_add(&dirs, dir);
    else
        import_default_dirs(client, &dirs);
    for (size_t i = 0; i < dirs.n; i++)
        if (looks_like(&clients[client], dirs.v[i])) {
            *out = realpath(dirs.v[i], NULL);
            if (*out != NULL)
                return true;
        }
    AUTO_FREE char *looked = strlist_join(&dirs, ", ");
    if (dir == NULL) {
        err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, name, "nothing of %s is here: looked in %s", name,
                looked);
        return err_advise(err, "say where it keeps its certificates: tlsup import --from %s DIR", name);
    }
    err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, dir,
            "%s does not hold what %s keeps: there is no \"%s\" in it", dir, name, clients[client].proof[0]);
    return err_advise(err, "DIR is %s's own directory, such as %s", name, clients[client].dirs[0]);
}

bool import_read(enum import_client client, const char *dir, int keep, struct import_store *out,
                 struct err *err)
{
    struct import_store store = IMPORT_STORE_INIT;
    store.client = client;
    if (!find_dir(client, dir, &store.dir, err))
        return false;
    strlist_add(&store.dirs, store.dir);
    if (!clients[client].read(&store, keep > 0 ? keep : 1, err)) {
        import_store_clear(&store);
        return false;
    }
    *out = store;
    return true;
}

/* -- clearing ------------------------------------------------------------------------------------------- */

static void cert_clear(struct import_cert *cert)
{
    for (size_t i = 0; i < cert->n_versions; i++) {
        free(cert->versions[i].path);
        buf_clear(&cert->versions[i].chain);
        buf_clear(&cert->versions[i].key);
    }
    for (size_t i = 0; i < cert->n_files; i++) {
        free(cert->files[i].key);
        free(cert->files[i].name);
        buf_clear(&cert->files[i].text);
    }
    free(cert->versions);
    free(cert->files);
    free(cert->name);
    free(cert->config_path);
    free(cert->server);
    free(cert->account);
    strlist_clear(&cert->keys);
    strlist_clear(&cert->values);
    strlist_clear(&cert->notes);
}

static void account_clear(struct import_account *account)
{
    char *const texts[] = {account->id,      account->server,       account->url, account->email,
                           account->eab_kid, account->eab_hmac_key, account->path};
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        free(texts[i]);
    buf_clear(&account->key);
}

void import_store_clear(struct import_store *store)
{
    for (size_t i = 0; i < store->n_certs; i++)
        cert_clear(&store->certs[i]);
    for (size_t i = 0; i < store->n_accounts; i++)
        account_clear(&store->accounts[i]);
    for (size_t i = 0; i < store->n_programs; i++) {
        free(store->programs[i].when);
        free(store->programs[i].path);
    }
    free(store->certs);
    free(store->accounts);
    free(store->programs);
    free(store->dir);
    strlist_clear(&store->dirs);
    strlist_clear(&store->notes);
    *store = (struct import_store)IMPORT_STORE_INIT;
}

/* -- building ------------------------------------------------------------------------------------------- */

struct import_cert *import_add_cert(struct import_store *store, const char *name, const char *config_path)
{
    store->certs = mem_resize(store->certs, store->n_certs + 1, sizeof *store->certs);
    struct import_cert *cert = &store->certs[store->n_certs++];
    *cert = (struct import_cert){.name = mem_dup(name), .config_path = mem_dup(config_path)};
    return cert;
}

struct import_account *import_add_account(struct import_store *store, const char *id)
{
    store->accounts = mem_resize(store->accounts, store->n_accounts + 1, sizeof *store->accounts);
    struct import_account *account = &store->accounts[store->n_accounts++];
    *account = (struct import_account){.id = mem_dup(id), .key = BUF_SECRET};
    return account;
}

void import_add_program(struct import_store *store, const char *when, const char *path)
{
    store->programs = mem_resize(store->programs, store->n_programs + 1, sizeof *store->programs);
    store->programs[store->n_programs++] = (struct import_program){mem_dup(when), mem_dup(path)};
}

void import_set(struct import_cert *cert, const char *key, const char *value)
{
    strlist_add(&cert->keys, key);
    strlist_add(&cert->values, value);
}

void import_note(struct strlist *notes, const char *fmt, ...)
{
    char *line = NULL;
    va_list args;
    va_start(args, fmt);
    if (vasprintf(&line, fmt, args) < 0)
        mem_exhausted();
    va_end(args);
    printable(line);
    if (!strlist_has(notes, line))
        strlist_add(notes, line);
    free(line);
}

void import_add_file(struct import_cert *cert, const char *key, const char *name, const char *text,
                     mode_t mode)
{
    cert->files = mem_resize(cert->files, cert->n_files + 1, sizeof *cert->files);
    struct import_file *file = &cert->files[cert->n_files++];
    *file =
        (struct import_file){.key = mem_dup(key), .name = mem_dup(name), .text = BUF_SECRET, .mode = mode};
    buf_adds(&file->text, text);
}

void import_add_line(struct import_cert *cert, const char *key, const char *name, const char *line)
{
    AUTO_FREE char *text = mem_fmt("#!/bin/sh\n%s\n", line);
    if (line[strspn(line, " \t\r\n")] != '\0')
        import_add_file(cert, key, name, text, 0700);
}

bool import_add_version(struct import_cert *cert, const char *const *chain_paths, size_t n,
                        const char *key_path, struct err *err)
{
    struct import_version version = {.key = BUF_SECRET};
    bool ok = fs_read(key_path, IMPORT_FILE_BYTES, &version.key, err);
    for (size_t i = 0; ok && i < n; i++) {
        if (chain_paths[i] == NULL)
            continue;
        if (version.path == NULL)
            version.path = mem_dup(chain_paths[i]);
        ok = fs_read(chain_paths[i], IMPORT_FILE_BYTES, &version.chain, err);
        buf_adds(&version.chain, "\n");
    }
    if (!ok) {
        free(version.path);
        buf_clear(&version.key);
        buf_clear(&version.chain);
        return false;
    }
    cert->versions = mem_resize(cert->versions, cert->n_versions + 1, sizeof *cert->versions);
    cert->versions[cert->n_versions++] = version;
    return true;
}

void import_live_version(struct import_cert *cert, const char *chain_path, const char *issuers_path,
                         const char *key_path)
{
    const char *const paths[] = {chain_path, issuers_path};
    struct err err = ERR_INIT;
    if (import_add_version(cert, paths, COUNT_OF(paths), key_path, &err) || err_isset(&cert->err))
        return;
    if (err.code == ERR_NOT_FOUND)
        err_set(&cert->err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, cert->name,
                "there is no certificate with a key: %s", err.text);
    else
        cert->err = err;
}

/* -- looking -------------------------------------------------------------------------------------------- */

bool import_trusted(const char *path, struct err *why)
{
    return geteuid() != 0 || spawn_check_program(path, true, why);
}

bool import_trusted_or_note(struct import_cert *cert, const char *path, const char *what)
{
    struct err why = ERR_INIT;
    if (import_trusted(path, &why))
        return true;
    import_note(&cert->notes,
                "%s not taken over: others than root can change %s, and root would act on it (%s)", what,
                path, why.text);
    return false;
}

bool import_plain_name(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

const char *import_server_at(const char *url)
{
    const struct ca *ca;
    for (size_t i = 0; url != NULL && url_valid(url) && (ca = ca_at(i)) != NULL; i++)
        if (url_same_origin(ca->url, url))
            return ca->url;
    return NULL;
}

char *import_json_string(const char *json, size_t len, const char *path)
{
    json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *at = root;
    AUTO_STRLIST steps = STRLIST_INIT;
    strlist_split(&steps, path, ".");
    for (size_t i = 0; i < steps.n; i++)
        at = json_is_array(at) ? json_array_get(at, (size_t)strtoul(steps.v[i], NULL, 10))
                               : json_object_get(at, steps.v[i]);
    char *text = json_is_string(at) ? mem_dup(json_string_value(at)) : NULL;
    json_decref(root);
    return text;
}

/* -- NAME=value lines ----------------------------------------------------------------------------------- */

void import_vars_clear(struct import_vars *vars)
{
    strlist_clear(&vars->names);
    strlist_clear(&vars->values);
}

void import_vars_set(struct import_vars *vars, const char *name, const char *value)
{
    for (size_t i = 0; i < vars->names.n; i++)
        if (strcmp(vars->names.v[i], name) == 0) {
            free(vars->values.v[i]);
            vars->values.v[i] = mem_dup(value);
            return;
        }
    strlist_add(&vars->names, name);
    strlist_add(&vars->values, value);
}

const char *import_var(const struct import_vars *vars, const char *name)
{
    for (size_t i = 0; i < vars->names.n; i++)
        if (strcmp(vars->names.v[i], name) == 0)
            return vars->values.v[i];
    return NULL;
}

#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"

/* "$NAME", "${NAME}" at *at: its value into `out`, *at behind it; false where it is more than that. */
static bool put_variable(const struct import_vars *vars, const char **at, struct buf *out)
{
    bool braces = (*at)[1] == '{';
    const char *name = *at + 1 + braces;
    size_t len = strspn(name, NAME_CHARACTERS);
    if (len == 0 || (braces && name[len] != '}'))
        return false;
    AUTO_FREE char *word = mem_ndup(name, len);
    const char *value = import_var(vars, word);
    buf_adds(out, value != NULL ? value : "");
    *at = name + len + braces;
    return true;
}

/* What a backslash does between double quotes, and outside of any. */
static void put_escaped(const char **at, bool quoted, struct buf *out)
{
    char next = (*at)[1];
    if (next == '\0' || (quoted && strchr("\"\\$`\n", next) == NULL))
        buf_addc(out, '\\');
    else if (next != '\n')
        buf_addc(out, next);
    if (next == '\0' || (quoted && strchr("\"\\$`\n", next) == NULL))
        (*at)++;
    else
        *at += 2;
}

/* One value as a shell would make it of words; *at behind it. False where a shell would have to run
 * something, or a quote does not end. */
static bool read_value(const struct import_vars *vars, const char **at, struct buf *out)
{
    char quote = '\0';
    for (const char *c = *at;;) {
        if (*c == '\0' || (quote == '\0' && strchr(" \t\r\n;#&|", *c) != NULL)) {
            *at = c;
            return quote == '\0';
        }
        if (quote != '\'' && (*c == '`' || (*c == '$' && !put_variable(vars, &c, out))))
            return false;
        if (*c == '\0' || (quote == '\0' && strchr(" \t\r\n;#&|", *c) != NULL))
            continue;
        if (*c == quote) {
            quote = '\0';
            c++;
        } else if (quote == '\0' && (*c == '\'' || *c == '"')) {
            quote = *c++;
        } else if (*c == '\\' && quote != '\'') {
            put_escaped(&c, quote == '"', out);
        } else if (*c != '$' || quote == '\'') {
            buf_addc(out, *c++);
        }
    }
}

void import_vars_read(struct import_vars *vars, const char *text)
{
    while (*text != '\0') {
        text += strspn(text, " \t\r\n");
        if (strncmp(text, "export ", 7) == 0)
            text += 7 + strspn(text + 7, " \t");
        size_t len = strspn(text, NAME_CHARACTERS);
        const char *at = text + len + 1;
        AUTO_BUF value = BUF_INIT;
        /* no value that means something is as long as a file; lines of X=$X$X double one each time */
        if (len > 0 && text[len] == '=' && read_value(vars, &at, &value) && value.len < IMPORT_FILE_BYTES) {
            AUTO_FREE char *name = mem_ndup(text, len);
            import_vars_set(vars, name, buf_str(&value));
            text = at;
        }
        text += strcspn(text, "\n");
    }
}

void import_shell_quote(const char *text, struct buf *out)
{
    buf_addc(out, '\'');
    for (; *text != '\0'; text++)
        if (*text == '\'')
            buf_adds(out, "'\\''");
        else
            buf_addc(out, *text);
    buf_addc(out, '\'');
}
