/*
 * export: a copy of a certificate in another form, once or after each renewal.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "commands.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"
#include "tlsup/export.h"
#include "tlsup/mem.h"
#include "tlsup/sandbox.h"

/* -- what is asked for -------------------------------------------------------------------------------- */

static const struct {
    const char *suffix;
    enum export_format format;
} suffixes[] = {
    {".p12", EXPORT_P12},      {".pfx", EXPORT_P12}, {".jks", EXPORT_JKS},
    {".pem", EXPORT_COMBINED}, {".der", EXPORT_DER},
};

static bool ends_with(const char *text, const char *suffix)
{
    size_t len = strlen(text), n = strlen(suffix);
    return len > n && strcasecmp(text + len - n, suffix) == 0;
}

static bool choose_format(const struct request *request, struct export_spec *spec, struct err *err)
{
    if (request->format != NULL)
        return export_format_parse(request->format, &spec->format, err);
    for (size_t i = 0; i < COUNT_OF(suffixes); i++)
        if (ends_with(request->to, suffixes[i].suffix)) {
            spec->format = suffixes[i].format;
            return true;
        }
    err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, request->to, "in which format is %s to be?",
            strcmp(request->to, "-") == 0 ? "standard output" : request->to);
    return err_advise(err, "add --format combined (key and chain in one PEM file), fullchain, cert, chain, "
                           "key, pem, der, p12 or jks");
}

static bool read_request(const struct request *request, struct export_spec *spec, struct err *err)
{
    const struct {
        const char *word, *value;
    } words[] = {
        {"path", request->to},
        {"owner", request->owner},
        {"mode", request->mode},
        {"password-file", request->password_file},
        {"friendly-name", request->friendly_name},
        {"legacy", request->legacy ? "yes" : NULL},
    };
    if (request->to == NULL) {
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "--to", "where is the copy to be written?");
        return err_advise(
            err, "add --to PATH: a file, for --format pem and der a directory, - for standard output");
    }
    if (!choose_format(request, spec, err))
        return false;
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (words[i].value != NULL && !export_spec_set(spec, words[i].word, words[i].value, err))
            return false;
    return export_spec_check(spec, err);
}

/* Binary keys on a terminal help nobody; PEM is what was asked for. */
static bool check_output(const struct export_spec *spec, struct err *err)
{
    if (strcmp(spec->path, "-") != 0 || !export_format_is_pkcs12(spec->format) || isatty(STDOUT_FILENO) == 0)
        return true;
    err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "--to", "%s is not for terminals",
            export_format_name(spec->format));
    return err_advise(err, "name a file, or send the output to one: ... --to - > FILE");
}

/* As the configuration will have it; it has no way to write white space. */
static bool check_standing(const struct export_spec *spec, struct err *err)
{
    struct export_spec again;
    struct err why = ERR_INIT;
    AUTO_FREE char *text = export_spec_text(spec);
    if (strcmp(spec->path, "-") == 0)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "--standing",
                       "--standing needs a file: there is no standard output when the timer renews");
    if (!export_spec_parse(text, &again, &why))
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "--standing",
                       "--standing: the configuration cannot hold this: %s", why.text);
    bool same = strcmp(again.path, spec->path) == 0;
    export_spec_clear(&again);
    return same || err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "--standing",
                           "--standing: the configuration cannot hold a path with white space in it");
}

/* -- what was written --------------------------------------------------------------------------------- */

static void say_owner(const struct stat *st, struct buf *out)
{
    const struct passwd *user = getpwuid(st->st_uid);
    const struct group *group = getgrgid(st->st_gid);
    if (user != NULL)
        buf_adds(out, user->pw_name);
    else
        buf_addf(out, "%ld", (long)st->st_uid);
    if (group != NULL)
        buf_addf(out, ":%s", group->gr_name);
    else
        buf_addf(out, ":%ld", (long)st->st_gid);
}

static const char *const contents[EXPORT_FORMATS] = {
    [EXPORT_COMBINED] = "private key and chain",
    [EXPORT_FULLCHAIN] = "certificate and chain",
    [EXPORT_CERT] = "certificate",
    [EXPORT_CHAIN] = "chain without the certificate",
    [EXPORT_KEY] = "private key",
    [EXPORT_PEM] = "private key, certificate, chain",
    [EXPORT_DER] = "private key, certificate, chain",
    [EXPORT_P12] = "PKCS#12: private key, certificate, chain",
    [EXPORT_JKS] = "keystore: private key, certificate, chain",
};

static void say_written(const struct export_spec *spec, const char *path)
{
    struct stat st;
    AUTO_BUF owner = BUF_INIT;
    const char *in = export_format_is_directory(spec->format) ? "the files of " : "";
    if (path == NULL || stat(path, &st) != 0)
        return;
    say_owner(&st, &owner);
    if (in[0] != '\0')
        output_line("Wrote %s (%s; the key: %s, mode %04o).", spec->path, contents[spec->format],
                    buf_str(&owner), (unsigned)(st.st_mode & 07777));
    else
        output_line("Wrote %s (%s; %s, mode %04o).", path, contents[spec->format], buf_str(&owner),
                    (unsigned)(st.st_mode & 07777));
}

/* A PKCS#12 looks as if it were protected. */
static void say_unprotected(const struct export_spec *spec)
{
    static const char words[] =
        "It has no password: whoever can read it has the private key. To give it one: "
        "--password-file FILE";
    if (!export_format_is_pkcs12(spec->format) || spec->password_file != NULL)
        return;
    if (strcmp(spec->path, "-") == 0)
        output_warning("%s", words);
    else
        output_line("%s", words);
}

/* -- writing ------------------------------------------------------------------------------------------ */

static bool find_version(struct store *store, const char *name, struct cert_config *config, int *version,
                         struct err *err)
{
    if (!store_cert_config(store, name, config, err))
        return err_advise(err, "`tlsup status` lists what there is");
    if (!store_live_version(store, name, version, err))
        return false;
    if (*version > 0)
        return true;
    err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, name, "certificate '%s' has not been issued yet", name);
    return err_advise(err, "`tlsup status %s` tells what holds it up", name);
}

/* The second part is there where the certificate is dual, and nowhere else. */
static bool has_part(struct store *store, const char *name, int version, int part)
{
    struct err missing = ERR_INIT;
    AUTO_CHAIN *chain = NULL;
    return part == 0 || store_version_chain(store, name, version, part, &chain, &missing) ||
           missing.code != ERR_NOT_FOUND;
}

static bool write_part(struct store *store, const char *name, int version, int part,
                       const struct export_spec *spec, struct err *err)
{
    AUTO_FREE char *path = NULL;
    if (!export_write(store, name, version, part, spec, err) ||
        !export_path(store, name, version, part, spec, &path, err))
        return false;
    say_written(spec, path);
    return true;
}

static bool write_all_parts(struct store *store, const char *name, int version,
                            const struct export_spec *spec, struct err *err)
{
    bool out = strcmp(spec->path, "-") == 0;
    for (int part = 0; part < STORE_PARTS && has_part(store, name, version, part); part++) {
        if (part > 0 && out)
            output_warning("%s has a second certificate, of another key type: give a file to get both", name);
        else if (!write_part(store, name, version, part, spec, err))
            return false;
    }
    return true;
}

/* One entry for a path: the new one takes the place of that which is there. */
static void replace_export(struct strlist *exports, const struct export_spec *spec)
{
    AUTO_FREE char *text = export_spec_text(spec);
    for (size_t i = 0; i < exports->n; i++) {
        struct export_spec old;
        struct err ignored = ERR_INIT;
        if (!export_spec_parse(exports->v[i], &old, &ignored))
            continue;
        bool same = strcmp(old.path, spec->path) == 0;
        export_spec_clear(&old);
        if (same) {
            free(exports->v[i]);
            exports->v[i] = mem_dup(text);
            return;
        }
    }
    strlist_add(exports, text);
}

static bool keep_standing(struct store *store, struct cert_config *config, const struct export_spec *spec,
                          struct err *err)
{
    replace_export(&config->exports, spec);
    if (!store_cert_config_save(store, config, err))
        return false;
    output_line("It is written again after each renewal. To end that, take its line \"export\" out of "
                "%s/certs.d/%s.conf.",
                store_config_dir(store), config->name);
    return true;
}

static bool export_one(const struct request *request, struct store *store, const struct export_spec *spec,
                       struct err *err)
{
    struct cert_config config = {0};
    const char *name = request->arguments.v[0];
    int version = 0;
    bool ok =
        find_version(store, name, &config, &version, err) && write_all_parts(store, name, version, spec, err);
    if (ok)
        say_unprotected(spec);
    ok = ok && (!request->standing || keep_standing(store, &config, spec, err));
    cert_config_clear(&config);
    return ok;
}

bool cmd_export(const struct request *request, struct err *err)
{
    CLEANUP(export_spec_clear) struct export_spec spec = {0};
    struct store *store = NULL;
    sandbox_keep_secrets();
    if (!read_request(request, &spec, err) || !check_output(&spec, err) ||
        (request->standing && !check_standing(&spec, err)) ||
        !store_open(request->config_dir, request->state_dir, request->standing ? STORE_WRITE : STORE_READ,
                    &store, err))
        return false;
    bool ok = export_one(request, store, &spec, err);
    store_close(store);
    return ok;
}
