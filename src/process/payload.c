#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "payload.h"

#include <jansson.h>
#include <stdlib.h>

#include "tlsup/b64.h"
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

void payload_new_account(const char *email, bool agree_tos, struct buf *out)
{
    json_t *object = json_object();
    if (agree_tos)
        json_object_set_new(object, "termsOfServiceAgreed", json_true());
    if (email != NULL && email[0] != '\0') {
        AUTO_FREE char *contact = mem_fmt("mailto:%s", email);
        json_object_set_new(object, "contact", json_pack("[s]", contact));
    }
    dump(object, out);
}

void payload_find_account(struct buf *out)
{
    dump(json_pack("{s:b}", "onlyReturnExisting", 1), out);
}

void payload_new_order(const struct strlist *names, struct buf *out)
{
    json_t *identifiers = json_array();
    for (size_t i = 0; i < names->n; i++)
        json_array_append_new(
            identifiers,
            json_pack("{s:s, s:s}", "type", name_is_ip(names->v[i]) ? "ip" : "dns", "value", names->v[i]));
    dump(json_pack("{s:o}", "identifiers", identifiers), out);
}

void payload_finalize(const struct buf *csr_der, struct buf *out)
{
    AUTO_BUF text = BUF_INIT;
    b64url_encode(csr_der->data, csr_der->len, &text);
    dump(json_pack("{s:s}", "csr", buf_str(&text)), out);
}
