#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/export_spec.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/buf.h"
#include "tlsup/mem.h"

#define WHITE " \t\r\n\v\f"

/* -- formats ------------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    bool key, directory, pkcs12;
} formats[EXPORT_FORMATS] = {
    [EXPORT_COMBINED] = {"combined", true, false, false},
    [EXPORT_FULLCHAIN] = {"fullchain", false, false, false},
    [EXPORT_CERT] = {"cert", false, false, false},
    [EXPORT_CHAIN] = {"chain", false, false, false},
    [EXPORT_KEY] = {"key", true, false, false},
    [EXPORT_PEM] = {"pem", true, true, false},
    [EXPORT_DER] = {"der", true, true, false},
    [EXPORT_P12] = {"p12", true, false, true},
    [EXPORT_JKS] = {"jks", true, false, true},
};

/* What people say elsewhere. */
static const struct {
    const char *word;
    enum export_format format;
} other_names[] = {
    {"pfx", EXPORT_P12},
    {"pkcs12", EXPORT_P12},
    {"privkey", EXPORT_KEY},
    {"haproxy", EXPORT_COMBINED},
};

const char *export_format_name(enum export_format format)
{
    return (size_t)format < EXPORT_FORMATS ? formats[format].name : "unknown";
}

bool export_format_has_key(enum export_format format)
{
    return formats[format].key;
}

bool export_format_is_directory(enum export_format format)
{
    return formats[format].directory;
}

bool export_format_is_pkcs12(enum export_format format)
{
    return formats[format].pkcs12;
}

bool export_format_parse(const char *word, enum export_format *out, struct err *err)
{
    for (size_t i = 0; i < EXPORT_FORMATS; i++)
        if (strcmp(word, formats[i].name) == 0) {
            *out = (enum export_format)i;
            return true;
        }
    for (size_t i = 0; i < COUNT_OF(other_names); i++)
        if (strcmp(word, other_names[i].word) == 0) {
            *out = other_names[i].format;
            return true;
        }
    return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, word,
                   "'%s' is no format to export to: use combined, fullchain, cert, chain, key, pem, der, p12 "
                   "or jks",
                   word);
}

/* -- words -------------------------------------------------------------------------------------------- */

static void put(char **field, const char *text)
{
    free(*field);
    *field = mem_dup(text);
}

static bool is_control(const char *text)
{
    for (; *text != '\0'; text++)
        if (iscntrl((unsigned char)*text))
            return true;
    return false;
}

/* Without final slashes, which would make a file look like a directory, and say nothing of a directory. */
static bool set_path(struct export_spec *spec, const char *value, struct err *err)
{
    size_t len = strlen(value);
    if (strcmp(value, "-") != 0 && (value[0] != '/' || is_control(value)))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, value, "'%s' is not an absolute path", value);
    if (value[len - 1] == '/' && !formats[spec->format].directory)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, value,
                       "'%s' is a directory: %s is written to a file", value, formats[spec->format].name);
    while (len > 1 && value[len - 1] == '/')
        len--;
    if (len == 1 && value[0] == '/')
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, value, "nothing is written into the root directory");
    free(spec->path);
    spec->path = mem_ndup(value, len);
    return true;
}

/* One of user and group, a name or a number. */
static bool is_account(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && (text[i] == '\0' || strchr("._-$@+\\", text[i]) == NULL))
            return false;
    return len > 0 && text[0] != '-';
}

static bool set_owner(struct export_spec *spec, const char *value, struct err *err)
{
    size_t user = strcspn(value, ":");
    const char *group = value[user] == ':' ? value + user + 1 : NULL;
    bool user_good = is_account(value, user) || (user == 0 && group != NULL);
    if (!user_good || (group != NULL && !is_account(group, strlen(group))))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, value,
                       "owner '%s' is not USER, USER:GROUP or :GROUP, in names or numbers", value);
    put(&spec->owner, value);
    return true;
}

static bool set_mode(struct export_spec *spec, const char *value, struct err *err)
{
    size_t len = strlen(value);
    unsigned long mode = strtoul(value, NULL, 8);
    if (len < 3 || len > 5 || strspn(value, "01234567") != len)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, value, "mode '%s' is not one in octal, like 0640",
                       value);
    if ((mode & ~0666UL) != 0 || (mode & 0400) == 0)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, value,
                       "mode '%s' is not one for a file that is read, like 0640", value);
    if ((mode & 0002) != 0)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, value,
                       "with mode '%s' everybody could change the file", value);
    spec->mode = (mode_t)mode;
    return true;
}

static bool set_password_file(struct export_spec *spec, const char *value, struct err *err)
{
    if (value[0] != '/' || is_control(value))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, value, "password-file '%s' is not an absolute path",
                       value);
    put(&spec->password_file, value);
    return true;
}

static bool set_friendly_name(struct export_spec *spec, const char *value, struct err *err)
{
    if (value[0] == '\0' || strlen(value) > 255 || strpbrk(value, WHITE) != NULL || is_control(value))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, value,
                       "friendly-name '%s' is not one word of at most 255 bytes", value);
    put(&spec->friendly_name, value);
    return true;
}

static bool set_legacy(struct export_spec *spec, const char *value, struct err *err)
{
    bool yes = strcmp(value, "yes") == 0;
    if (!yes && strcmp(value, "no") != 0)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, value, "legacy is 'yes' or 'no', not '%s'", value);
    spec->legacy = yes;
    return true;
}

static const struct {
    const char *word;
    bool (*set)(struct export_spec *, const char *, struct err *);
} words[] = {
    {"path", set_path},
    {"owner", set_owner},
    {"mode", set_mode},
    {"password-file", set_password_file},
    {"friendly-name", set_friendly_name},
    {"legacy", set_legacy},
};

bool export_spec_set(struct export_spec *spec, const char *word, const char *value, struct err *err)
{
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (strcmp(word, words[i].word) == 0)
            return words[i].set(spec, value, err);
    return err_set(
        err, ERR_CONFIG, NEXT_FIX_CONFIG, word,
        "there is no '%s' here: use owner=, mode=, password-file=, friendly-name= or legacy=", word);
}

bool export_spec_check(const struct export_spec *spec, struct err *err)
{
    const char *format = formats[spec->format].name;
    bool pkcs12 = formats[spec->format].pkcs12, out = strcmp(spec->path, "-") == 0;
    if (!pkcs12 && (spec->password_file != NULL || spec->friendly_name != NULL || spec->legacy))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, format, "%s is for p12 and jks, not for %s",
                       spec->password_file != NULL   ? "password-file"
                       : spec->friendly_name != NULL ? "friendly-name"
                                                     : "legacy",
                       format);
    if (spec->format == EXPORT_JKS && spec->password_file == NULL) {
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, format,
                "jks needs a password-file: Java reads no keystore without a password");
        return err_advise(err, "write the password into a file that root alone may read, and name it");
    }
    if (formats[spec->format].key && (spec->mode & 0004) != 0)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, format,
                       "with mode %04o everybody could read the private key that is in %s",
                       (unsigned)spec->mode, format);
    if (out && formats[spec->format].directory)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, format,
                       "%s is several files in a directory, which standard output cannot take", format);
    if (out && (spec->owner != NULL || spec->mode != 0))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, format, "standard output gets no owner and no mode");
    return true;
}

/* -- texts -------------------------------------------------------------------------------------------- */

void export_spec_clear(struct export_spec *spec)
{
    free(spec->path);
    free(spec->owner);
    free(spec->password_file);
    free(spec->friendly_name);
    memset(spec, 0, sizeof *spec);
}

static bool add_word(struct export_spec *spec, const char *text, struct strlist *seen, struct err *err)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL || text[0] == '/')
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, text,
                       "'%s' is not of the form NAME=VALUE (a path has no white space in it)", text);
    AUTO_FREE char *word = mem_ndup(text, (size_t)(equals - text));
    if (strlist_has(seen, word))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, text, "%s= stands there twice", word);
    strlist_add(seen, word);
    /* the path has its own place, in front of these */
    return export_spec_set(spec, strcmp(word, "path") == 0 ? "path=" : word, equals + 1, err);
}

static bool take_words(const struct strlist *list, struct export_spec *spec, struct err *err)
{
    AUTO_STRLIST seen = STRLIST_INIT;
    if (strcmp(list->v[1], "-") == 0)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, "-", "standard output is for `tlsup export` alone");
    if (!export_format_parse(list->v[0], &spec->format, err) || !set_path(spec, list->v[1], err))
        return false;
    for (size_t i = 2; i < list->n; i++)
        if (!add_word(spec, list->v[i], &seen, err))
            return false;
    return export_spec_check(spec, err);
}

bool export_spec_parse(const char *text, struct export_spec *out, struct err *err)
{
    AUTO_STRLIST list = STRLIST_INIT;
    CLEANUP(export_spec_clear) struct export_spec spec = {0};
    strlist_split(&list, text, WHITE);
    if (list.n < 2) {
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, text, "'%s' is not FORMAT PATH [NAME=VALUE...]", text);
        return err_advise(err,
                          "for example: combined /etc/haproxy/example.org.pem owner=root:haproxy mode=0640");
    }
    if (!take_words(&list, &spec, err))
        return false;
    *out = spec;
    memset(&spec, 0, sizeof spec);
    return true;
}

static void add_text(struct buf *out, const char *word, const char *value)
{
    if (value != NULL)
        buf_addf(out, " %s=%s", word, value);
}

char *export_spec_text(const struct export_spec *spec)
{
    AUTO_BUF out = BUF_INIT;
    buf_addf(&out, "%s %s", export_format_name(spec->format), spec->path);
    add_text(&out, "owner", spec->owner);
    if (spec->mode != 0)
        buf_addf(&out, " mode=%04o", (unsigned)spec->mode);
    add_text(&out, "password-file", spec->password_file);
    add_text(&out, "friendly-name", spec->friendly_name);
    add_text(&out, "legacy", spec->legacy ? "yes" : NULL);
    return buf_take(&out);
}
