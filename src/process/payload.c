#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "payload.h"

#include <jansson.h>
#include <stdlib.h>

#include "tlsup/b64.h"
#include "tlsup/clock.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

/* Takes the object over. */
static void dump(json_t *object, struct buf *out)
{
    AUTO_FREE char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (text == NULL)
        mem_exhausted();
    buf_adds(out, text);
}

void payload_new_account(const char *email, bool agree_tos, const char *binding, struct buf *out)
{
    json_t *object = json_object();
    if (agree_tos)
        json_object_set_new(object, "termsOfServiceAgreed", json_true());
    if (email != NULL && email[0] != '\0') {
        AUTO_FREE char *contact = mem_fmt("mailto:%s", email);
        json_object_set_new(object, "contact", json_pack("[s]", contact));
    }
    if (binding != NULL)
        json_object_set_new(object, "externalAccountBinding", json_loads(binding, 0, NULL));
    dump(object, out);
}

void payload_find_account(struct buf *out)
{
    dump(json_pack("{s:b}", "onlyReturnExisting", 1), out);
}

void payload_update_account(const char *email, bool agree_tos, struct buf *out)
{
    json_t *object = json_object();
    if (agree_tos)
        json_object_set_new(object, "termsOfServiceAgreed", json_true());
    if (email != NULL && email[0] != '\0') {
        AUTO_FREE char *contact = mem_fmt("mailto:%s", email);
        json_object_set_new(object, "contact", json_pack("[s]", contact));
    } else if (email != NULL) {
        json_object_set_new(object, "contact", json_array());
    }
    dump(object, out);
}

void payload_deactivate(struct buf *out)
{
    dump(json_pack("{s:s}", "status", "deactivated"), out);
}

static void set_time(json_t *object, const char *member, int64_t when_s)
{
    char text[CLOCK_TEXT_BYTES];
    if (when_s != 0)
        json_object_set_new(object, member, json_string(clock_format_utc(when_s, text)));
}

void payload_new_order(const struct payload_order *order, struct buf *out)
{
    json_t *object = json_object(), *identifiers = json_array();
    for (size_t i = 0; i < order->names->n; i++) {
        const char *name = order->names->v[i];
        json_array_append_new(
            identifiers, json_pack("{s:s, s:s}", "type", name_is_ip(name) ? "ip" : "dns", "value", name));
    }
    json_object_set_new(object, "identifiers", identifiers);
    if (order->profile != NULL)
        json_object_set_new(object, "profile", json_string(order->profile));
    if (order->replaces != NULL)
        json_object_set_new(object, "replaces", json_string(order->replaces));
    set_time(object, "notBefore", order->not_before_s);
    set_time(object, "notAfter", order->not_after_s);
    dump(object, out);
}

void payload_finalize(const struct buf *csr_der, struct buf *out)
{
    AUTO_BUF text = BUF_INIT;
    b64url_encode(csr_der->data, csr_der->len, &text);
    dump(json_pack("{s:s}", "csr", buf_str(&text)), out);
}

void payload_revoke(const struct buf *cert_der, int reason, struct buf *out)
{
    AUTO_BUF text = BUF_INIT;
    b64url_encode(cert_der->data, cert_der->len, &text);
    json_t *object = json_pack("{s:s}", "certificate", buf_str(&text));
    if (reason >= 0)
        json_object_set_new(object, "reason", json_integer(reason));
    dump(object, out);
}
