/* The URI of a key on a token: pkcs11: (RFC 7512), handle: and tpm2:. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "key_internal.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

#define URI_MAX_BYTES 4096
#define PIN_MAX_BYTES 255

const struct key_scheme key_schemes[] = {
    [SCHEME_PKCS11] = {"pkcs11:", "pkcs11", "?provider=pkcs11"},
    [SCHEME_HANDLE] = {"handle:", "tpm2", "?provider=tpm2"},
    [SCHEME_TPM2] = {"tpm2:", "tpm2", "?provider=tpm2"},
};

void key_uri_clear(struct key_location *uri)
{
    free(uri->shown);
    free(uri->path);
    free(uri->module);
    for (size_t i = 0; i < AT_COUNT; i++)
        free(uri->value[i]);
    buf_clear(&uri->pin.text);
}

static bool uri_error(const struct key_location *uri, struct err *err, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
static bool uri_error(const struct key_location *uri, struct err *err, const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, uri->shown, "%s", text);
    return err_advise(err,
                      "write pkcs11:token=NAME;object=NAME?pin-source=/PATH (RFC 7512), handle:0x81000001, "
                      "or tpm2:/PATH");
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c == '\0' ? NULL : strchr(digits, tolower((unsigned char)c));
    return at ? (int)(at - digits) : -1;
}

/* Undo %XX. False when it is not well written, or hides a NUL. */
static bool decode(const char *text, size_t len, bool nul_allowed, struct buf *out)
{
    for (size_t i = 0; i < len; i++) {
        int c = (unsigned char)text[i];
        if (c == '%') {
            if (len - i < 3 || hex_digit(text[i + 1]) < 0 || hex_digit(text[i + 2]) < 0)
                return false;
            c = hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2]);
            i += 2;
        } else if (c <= ' ' || c == 0x7f) {
            return false;
        }
        if (c == 0 && !nul_allowed)
            return false;
        buf_addc(out, (char)c);
    }
    return !out->overflow;
}

/* One NAME=VALUE of a URI. */
struct attribute {
    const char *name, *value;
    size_t name_len, value_len;
};

/* The next one; empty ones are skipped; false at the end. A part without '=' is a name without a value. */
static bool next_attribute(const char **at, const char *separator, struct attribute *found)
{
    *at += strspn(*at, separator);
    if (**at == '\0')
        return false;
    size_t len = strcspn(*at, separator);
    const char *equals = memchr(*at, '=', len);
    found->name = *at;
    found->name_len = equals ? (size_t)(equals - *at) : len;
    found->value = equals ? equals + 1 : *at + len;
    found->value_len = equals ? len - found->name_len - 1 : 0;
    *at += len;
    return true;
}

static bool is_named(const struct attribute *attribute, const char *name)
{
    return strlen(name) == attribute->name_len && memcmp(name, attribute->name, attribute->name_len) == 0;
}

/* RFC 7512 section 2.3: a path attribute that is not understood makes the URI unusable. */
static bool read_path_attribute(struct key_location *uri, const struct attribute *attribute, struct err *err)
{
    static const char *const names[AT_COUNT] = {[AT_TOKEN] = "token",   [AT_MANUFACTURER] = "manufacturer",
                                                [AT_MODEL] = "model",   [AT_SERIAL] = "serial",
                                                [AT_OBJECT] = "object", [AT_ID] = "id",
                                                [AT_TYPE] = "type"};
    AUTO_BUF value = BUF_INIT;

    for (size_t i = 0; i < AT_COUNT; i++) {
        if (!is_named(attribute, names[i]))
            continue;
        if (uri->value[i])
            return uri_error(uri, err, "the URI has \"%s\" twice", names[i]);
        if (attribute->value_len == 0 || !decode(attribute->value, attribute->value_len, i == AT_ID, &value))
            return uri_error(uri, err, "the value of \"%s\" in the URI is empty or not well written",
                             names[i]);
        uri->value[i] = buf_take(&value);
        return true;
    }
    return uri_error(
        uri, err, "\"%.*s\" in the URI is not supported; use token, serial, model, manufacturer, object, id",
        (int)(attribute->name_len < 64 ? attribute->name_len : 64), attribute->name);
}

static bool read_pkcs11_path(struct key_location *uri, struct err *err)
{
    const char *at = uri->shown + strlen(key_schemes[SCHEME_PKCS11].prefix);
    struct attribute attribute;

    while (next_attribute(&at, ";", &attribute))
        if (!read_path_attribute(uri, &attribute, err))
            return false;
    if (uri->value[AT_TYPE] && strcmp(uri->value[AT_TYPE], "private") != 0)
        return uri_error(uri, err, "the URI names an object that is no private key (type=%s)",
                         uri->value[AT_TYPE]);
    if (!uri->value[AT_OBJECT] && !uri->value[AT_ID])
        return uri_error(uri, err,
                         "the URI does not say which key of the token: it has neither object= nor id=");
    return true;
}

static bool read_handle(struct key_location *uri, struct err *err)
{
    const char *digits = uri->shown + strlen(key_schemes[SCHEME_HANDLE].prefix);

    if (strncasecmp(digits, "0x", 2) == 0)
        digits += 2;
    if (strlen(digits) != 8 || strspn(digits, "0123456789abcdefABCDEF") != 8 || strncmp(digits, "81", 2) != 0)
        return uri_error(uri, err,
                         "this is not a persistent handle of a TPM: those are 0x81000000 to 0x81FFFFFF");
    return true;
}

static bool read_file_path(struct key_location *uri, struct err *err)
{
    const char *path = uri->shown + strlen(key_schemes[SCHEME_TPM2].prefix);
    AUTO_BUF decoded = BUF_INIT;

    if (*path != '/' || !decode(path, strlen(path), false, &decoded))
        return uri_error(uri, err, "tpm2: needs the absolute path of a key file (PEM, \"TSS2 PRIVATE KEY\")");
    uri->path = buf_take(&decoded);
    return true;
}

/* pin-source: a path, or the same as a file: URI. A command, which some programs take there, is not run. */
static bool read_pin_file(struct key_location *uri, const char *source, struct err *err)
{
    const char *path = strncmp(source, "file://", 7) == 0 ? source + 7
                       : strncmp(source, "file:", 5) == 0 ? source + 5
                                                          : source;
    struct buf *pin = &uri->pin.text;

    if (*path != '/')
        return uri_error(uri, err, "pin-source must be the absolute path of a file that has the PIN in it");
    if (!fs_read(path, 4096, pin, err)) {
        err_context(err, "reading the PIN of the token");
        return err_advise(
            err, "pin-source must name a file with the PIN on its only line, readable by root alone");
    }
    while (pin->len > 0 && strchr("\r\n", pin->data[pin->len - 1]))
        pin->data[--pin->len] = '\0';
    return true;
}

static bool check_pin(struct key_location *uri, struct err *err)
{
    const struct buf *pin = &uri->pin.text;

    uri->pin.given = true;
    if (pin->len == 0)
        return uri_error(uri, err, "the PIN that the URI gives is empty");
    if (pin->len > PIN_MAX_BYTES || memchr(pin->data, '\0', pin->len) || memchr(pin->data, '\n', pin->len))
        return uri_error(uri, err,
                         "what the URI gives is not a PIN: it has more than one line, or over %d characters",
                         PIN_MAX_BYTES);
    return true;
}

static bool read_query_attribute(struct key_location *uri, const struct attribute *attribute, struct err *err)
{
    AUTO_BUF value = BUF_SECRET;
    bool is_value = is_named(attribute, "pin-value");

    if (!decode(attribute->value, attribute->value_len, false, &value))
        return uri_error(uri, err, "the part of the URI behind its question mark is not well written");
    if (is_value || is_named(attribute, "pin-source")) {
        if (uri->pin.given)
            return uri_error(uri, err, "the URI gives the PIN twice");
        if (is_value)
            buf_add(&uri->pin.text, value.data, value.len);
        return (is_value || read_pin_file(uri, buf_str(&value), err)) && check_pin(uri, err);
    }
    if (uri->scheme != SCHEME_PKCS11 || uri->module || !is_named(attribute, "module-path"))
        return uri_error(
            uri, err, "behind the question mark of the URI, only %spin-source or pin-value may stand, once",
            uri->scheme == SCHEME_PKCS11 ? "module-path, and " : "");
    if (value.len == 0 || (value.data[0] != '/' && strchr(value.data, '/')))
        return uri_error(uri, err,
                         "module-path must be the absolute path of a PKCS#11 module, or a bare file name");
    uri->module = mem_dup(value.data);
    return true;
}

static bool read_query(struct key_location *uri, const char *query, struct err *err)
{
    struct attribute attribute;

    while (next_attribute(&query, "&", &attribute))
        if (!read_query_attribute(uri, &attribute, err))
            return false;
    return true;
}

bool key_uri_parse(const char *text, struct key_location *uri, struct err *err)
{
    static bool (*const readers[])(struct key_location *, struct err *) = {
        [SCHEME_PKCS11] = read_pkcs11_path, [SCHEME_HANDLE] = read_handle, [SCHEME_TPM2] = read_file_path};
    const char *query = strchr(text, '?');
    size_t scheme = 0;

    uri->pin.text.secret = true;
    while (scheme < COUNT_OF(key_schemes) &&
           strncasecmp(text, key_schemes[scheme].prefix, strlen(key_schemes[scheme].prefix)) != 0)
        scheme++;
    if (scheme == COUNT_OF(key_schemes) || strlen(text) > URI_MAX_BYTES)
        return uri_error(uri, err, "this is not the URI of a key on a token");
    size_t prefix_len = strlen(key_schemes[scheme].prefix);
    size_t path_len = (query ? (size_t)(query - text) : strlen(text)) - prefix_len;
    uri->scheme = (enum key_scheme_id)scheme;
    uri->shown = mem_fmt("%s%.*s", key_schemes[scheme].prefix, (int)path_len, text + prefix_len);
    return readers[scheme](uri, err) && (!query || read_query(uri, query + 1, err));
}
