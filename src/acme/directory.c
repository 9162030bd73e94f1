#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/directory.h"

#include <stdio.h>
#include <string.h>

#include "json.h"
#include "tlsup/order.h"

enum { MAX_CAA_IDENTITIES = 32, MAX_ISSUERS = 10, MAX_PROFILES = 64, PROFILE_MAX_BYTES = 64 };

void directory_clear(struct directory *directory)
{
    strlist_clear(&directory->caa_identities);
    strlist_clear(&directory->profiles);
    strlist_clear(&directory->issuer_names);
    *directory = (struct directory){0};
}

/* A resource of the CA: https, at the origin of its directory, as the keeper signs for no other. */
static bool resource(const json_t *json, const char *base, const char *key, bool required,
                     char out[URL_MAX_BYTES], struct err *err)
{
    const char *url = acme_json_string(json, key);
    if (url == NULL && !required)
        return true;
    if (url == NULL)
        return err_set(err, ERR_PROTOCOL, NEXT_FIX_CONFIG, base,
                       "the answer has no \"%s\": it is not an ACME directory", key);
    if (!acme_json_url(json, key, out, URL_MAX_BYTES) || !url_same_origin(url, base)) {
        out[0] = '\0';
        return err_set(err, ERR_PROTOCOL, NEXT_REFUSED, base,
                       "the directory's %s, \"%.200s\", is not at the CA's own address", key, url);
    }
    return true;
}

/* Domain names by which an issuer is known; what is not one is not used. */
static void parse_issuers(const json_t *array, size_t max, struct strlist *out)
{
    char name[ISSUER_NAME_BYTES];
    for (size_t i = 0; i < json_array_size(array) && out->n < max; i++) {
        const char *text = json_string_value(acme_json_at(array, i));
        if (text != NULL && acme_issuer_name(text, name) && !strlist_has(out, name))
            strlist_add(out, name);
    }
}

static bool profile_name_valid(const char *name)
{
    size_t len = strlen(name);
    for (const char *c = name; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~')
            return false;
    return len > 0 && len < PROFILE_MAX_BYTES;
}

static void parse_profiles(json_t *profiles, struct strlist *out)
{
    const char *name;
    json_t *value;
    json_object_foreach(profiles, name, value)
    {
        if (out->n < MAX_PROFILES && profile_name_valid(name))
            strlist_add(out, name);
    }
}

static void parse_meta(const json_t *meta, struct directory *out)
{
    const char *terms = acme_json_string(meta, "termsOfService");
    const char *prefix = acme_json_string(meta, "accountHashPrefix");
    if (terms != NULL && strlen(terms) < sizeof out->terms) {
        snprintf(out->terms, sizeof out->terms, "%s", terms);
        printable(out->terms);
    }
    if (!acme_json_url(meta, "website", out->website, sizeof out->website))
        out->website[0] = '\0';
    out->external_account_required = json_is_true(json_object_get(meta, "externalAccountRequired"));
    parse_issuers(json_object_get(meta, "caaIdentities"), MAX_CAA_IDENTITIES, &out->caa_identities);
    parse_issuers(json_object_get(meta, "issuerDomainNames"), MAX_ISSUERS, &out->issuer_names);
    parse_profiles(json_object_get(meta, "profiles"), &out->profiles);
    if (prefix != NULL && acme_issuer_value(prefix, sizeof out->account_hash_prefix))
        snprintf(out->account_hash_prefix, sizeof out->account_hash_prefix, "%s", prefix);
}

bool directory_parse(const char *url, const char *json, size_t len, struct directory *out, struct err *err)
{
    directory_clear(out);
    AUTO_JSON *object = acme_json(json, len, "the CA's directory", err);
    if (object == NULL) {
        snprintf(err->subject, sizeof err->subject, "%s", url);
        return err_advise(err, "check the address of the CA (--server); a browser should show JSON there");
    }
    if (!resource(object, url, "newNonce", true, out->new_nonce, err) ||
        !resource(object, url, "newAccount", true, out->new_account, err) ||
        !resource(object, url, "newOrder", true, out->new_order, err) ||
        !resource(object, url, "revokeCert", false, out->revoke_cert, err) ||
        !resource(object, url, "keyChange", false, out->key_change, err) ||
        !resource(object, url, "renewalInfo", false, out->renewal_info, err))
        return err_advise(err, "check the address of the CA (--server)");
    parse_meta(json_object_get(object, "meta"), out);
    return true;
}
