#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/directory.h"

#include <stdio.h>
#include <string.h>

#include "json.h"

void directory_clear(struct directory *directory)
{
    strlist_clear(&directory->caa_identities);
    strlist_clear(&directory->profiles);
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

static void parse_meta(const json_t *meta, struct directory *out)
{
    const char *terms = acme_json_string(meta, "termsOfService");
    const json_t *caa = json_object_get(meta, "caaIdentities");
    const char *name;
    json_t *value;
    if (terms != NULL && strlen(terms) < sizeof out->terms) {
        snprintf(out->terms, sizeof out->terms, "%s", terms);
        printable(out->terms);
    }
    if (!acme_json_url(meta, "website", out->website, sizeof out->website))
        out->website[0] = '\0';
    out->external_account_required = json_is_true(json_object_get(meta, "externalAccountRequired"));
    for (size_t i = 0; i < json_array_size(caa) && i < 32; i++)
        if (json_is_string(acme_json_at(caa, i)))
            strlist_add(&out->caa_identities, json_string_value(acme_json_at(caa, i)));
    json_t *profiles = json_object_get(meta, "profiles");
    json_object_foreach(profiles, name, value)
    {
        if (out->profiles.n < 64)
            strlist_add(&out->profiles, name);
    }
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
