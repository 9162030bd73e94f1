#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "notice.h"
#include "tlsup/clock.h"
#include "tlsup/mem.h"

enum { CERTIFICATES_MAX = 500, CERTIFICATES_MAX_BYTES = 512 * 1024, SCHEMA_VERSION = 1 };

static json_t *checked(json_t *value)
{
    if (value == NULL)
        mem_exhausted();
    return value;
}

/* What others sent may be no UTF-8. */
static json_t *text_of(const char *text)
{
    json_t *value = json_string(text);
    if (value != NULL)
        return value;
    AUTO_FREE char *ascii = mem_dup(text);
    for (char *c = ascii; *c != '\0'; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    return checked(json_string(ascii));
}

static json_t *time_of(int64_t when_s)
{
    char text[CLOCK_TEXT_BYTES];
    return when_s > 0 ? text_of(clock_format_utc(when_s, text)) : checked(json_null());
}

static void set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0)
        mem_exhausted();
}

static void append(json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) != 0)
        mem_exhausted();
}

static json_t *error_of(const struct err *err)
{
    if (!err_isset(err))
        return checked(json_null());
    json_t *object = checked(json_object());
    set(object, "code", text_of(err_code_name(err->code)));
    set(object, "type", text_of(err->type));
    set(object, "subject", text_of(err->subject));
    set(object, "text", text_of(err->text));
    set(object, "advice", text_of(err->advice));
    return object;
}

static json_t *names_of(const struct strlist *names)
{
    json_t *array = checked(json_array());
    for (size_t i = 0; i < names->n; i++)
        append(array, text_of(names->v[i]));
    return array;
}

static json_t *cert_of(const struct notice_cert *cert)
{
    json_t *object = checked(json_object());
    const struct notice_trouble *first = cert->n_troubles > 0 ? &cert->troubles[0] : NULL;
    set(object, "name", text_of(cert->name));
    set(object, "names", names_of(&cert->names));
    set(object, "alarm", text_of(alarm_name(cert->now)));
    set(object, "before", text_of(alarm_name(cert->before)));
    set(object, "renewed", checked(json_boolean(cert->renewed)));
    set(object, "not_after", time_of(cert->not_after_s));
    set(object, "what", first != NULL ? text_of(first->what) : checked(json_null()));
    set(object, "error", first != NULL ? error_of(&first->err) : checked(json_null()));
    set(object, "next_try", first != NULL ? time_of(first->next_try_s) : checked(json_null()));
    return object;
}

static json_t *machine_of(const struct notice *notice)
{
    json_t *array = checked(json_array());
    for (size_t i = 0; i < notice->n_machine; i++) {
        json_t *object = checked(json_object());
        set(object, "subject", text_of(notice->machine[i].subject));
        set(object, "error", error_of(&notice->machine[i].err));
        append(array, object);
    }
    return array;
}

/* "text" alone is what chat services look for. */
static json_t *subject_and_text(const struct notice *notice)
{
    AUTO_BUF text = BUF_INIT;
    notice_subject(notice, &text);
    buf_adds(&text, "\n\n");
    notice_text(notice, &text);
    return text_of(buf_str(&text));
}

/* As many as are reasonable in one document; how many those are. */
static size_t add_certs(const struct notice *notice, json_t *certs)
{
    size_t told = 0, bytes = 0;
    for (; told < notice->n_certs && told < CERTIFICATES_MAX; told++) {
        json_t *cert = cert_of(&notice->certs[told]);
        bytes += json_dumpb(cert, NULL, 0, JSON_COMPACT);
        if (bytes > CERTIFICATES_MAX_BYTES) {
            json_decref(cert);
            break;
        }
        append(certs, cert);
    }
    return told;
}

void notice_json(const struct notice *notice, struct buf *out)
{
    json_t *root = checked(json_object()), *certs = checked(json_array());
    size_t told = add_certs(notice, certs);
    set(root, "version", checked(json_integer(SCHEMA_VERSION)));
    set(root, "event", text_of(notice_event_name(notice_event(notice))));
    set(root, "host", text_of(notice->host));
    set(root, "time", time_of(notice->now_s));
    set(root, "certificates", certs);
    set(root, "certificates_left_out", checked(json_integer((json_int_t)(notice->n_certs - told))));
    set(root, "machine", machine_of(notice));
    set(root, "text", subject_and_text(notice));
    char *json = json_dumps(root, JSON_COMPACT);
    if (json == NULL)
        mem_exhausted();
    buf_adds(out, json);
    free(json);
    json_decref(root);
}
