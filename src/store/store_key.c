#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "store_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tlsup/log.h"
#include "tlsup/mem.h"

#define KEY_FILE_BYTES ((size_t)64 * 1024)
#define COMPROMISED_FILE_BYTES ((size_t)16 * 1024 * 1024)

bool store_in_file(const char *path, struct err *err)
{
    return strstr(err->text, path) != NULL ? false : err_context(err, "%s", path);
}

static void warn_when_open(const char *path, const char *what)
{
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & 077) != 0)
        log_warn("%s %s is open to others (mode %04o): chmod 600 %s", what, path,
                 (unsigned)(st.st_mode & 07777), path);
}

bool store_key_read(const char *path, struct key **out, struct err *err)
{
    AUTO_BUF pem = BUF_SECRET;
    if (!fs_read(path, KEY_FILE_BYTES, &pem, err))
        return false;
    warn_when_open(path, "the private key");
    return key_from_pem(buf_str(&pem), pem.len, path, out, err) || store_in_file(path, err);
}

bool store_key_write(const char *path, const struct key *key, struct err *err)
{
    AUTO_BUF pem = BUF_SECRET;
    return key_to_pem(key, &pem, err) && fs_write(path, pem.data, pem.len, 0600, err);
}

/* One line; a PIN may be in it. */
bool store_key_uri_read(const char *path, struct key **out, struct err *err)
{
    AUTO_BUF text = BUF_SECRET;
    if (!fs_read(path, KEY_FILE_BYTES, &text, err))
        return false;
    warn_when_open(path, "the address of a private key");
    if (text.len > 0 && text.data[text.len - 1] == '\n')
        text.data[--text.len] = '\0';
    if (strlen(buf_str(&text)) != text.len || strpbrk(buf_str(&text), " \t\r\n") != NULL ||
        !key_is_uri(buf_str(&text))) {
        err_set(err, ERR_CRYPTO, NEXT_LOCAL_FAULT, path, "%s does not hold the URI of a key on a token",
                path);
        return err_advise(err, "restore it from a backup; it has one line like pkcs11:token=...;object=...");
    }
    return key_open_uri(text.data, out, err) || store_in_file(path, err);
}

bool store_key_uri_write(const char *path, const char *uri, struct err *err)
{
    AUTO_BUF text = BUF_SECRET;
    if (!key_is_uri(uri) || strpbrk(uri, " \t\r\n") != NULL)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, uri, "'%s' is not the URI of a key on a token", uri);
    buf_addf(&text, "%s\n", uri);
    return fs_write(path, text.data, text.len, 0600, err);
}

/* -- keys that others know ---------------------------------------------------------------------------- */

static bool spki_valid(const char *spki)
{
    return strlen(spki) == KEY_SPKI_BYTES - 1 && strspn(spki, "0123456789abcdef") == KEY_SPKI_BYTES - 1;
}

static bool read_compromised(const struct store *store, const char *spki, struct buf *out, struct err *err)
{
    AUTO_FREE char *path = fs_join(store->state_dir, "compromised");
    if (!spki_valid(spki))
        return err_set(err, ERR_INTERNAL, NEXT_NONE, spki, "'%s' is not the hash of a public key", spki);
    return fs_read(path, COMPROMISED_FILE_BYTES, out, err) || store_forgive_missing(err);
}

static bool has_line(const struct buf *text, const char *line)
{
    AUTO_STRLIST lines = STRLIST_INIT;
    strlist_split(&lines, buf_str(text), "\r\n \t");
    return strlist_has(&lines, line);
}

bool store_key_compromised(struct store *store, const char *spki, bool *compromised, struct err *err)
{
    AUTO_BUF text = BUF_INIT;
    if (!read_compromised(store, spki, &text, err))
        return false;
    *compromised = has_line(&text, spki);
    return true;
}

bool store_key_compromised_add(struct store *store, const char *spki, struct err *err)
{
    AUTO_BUF text = BUF_INIT;
    AUTO_FREE char *path = fs_join(store->state_dir, "compromised");
    if (!store_check_writing(store, err) || !read_compromised(store, spki, &text, err))
        return false;
    if (has_line(&text, spki))
        return true;
    if (text.len > 0 && text.data[text.len - 1] != '\n')
        buf_addc(&text, '\n');
    buf_addf(&text, "%s\n", spki);
    return fs_write(path, text.data, text.len, 0644, err);
}
