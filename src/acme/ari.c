#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/ari.h"

#include <stdio.h>
#include <string.h>

#include "json.h"
#include "tlsup/clock.h"

enum { MINUTE_S = 60, SIX_HOURS_S = 6 * 3600, DAY_S = 86400 };

static const char id_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";

bool ari_url(const char *renewal_info_url, const char *ari_id, char out[URL_MAX_BYTES])
{
    char url[URL_MAX_BYTES];
    size_t len = strlen(renewal_info_url);
    const char *slash = len > 0 && renewal_info_url[len - 1] == '/' ? "" : "/";
    if (ari_id[0] == '\0' || ari_id[strspn(ari_id, id_alphabet)] != '\0')
        return false;
    int need = snprintf(url, sizeof url, "%s%s%s", renewal_info_url, slash, ari_id);
    if (need < 0 || (size_t)need >= sizeof url || !url_valid(url))
        return false;
    memcpy(out, url, (size_t)need + 1);
    return true;
}

static bool read_instant(const json_t *window, const char *key, int64_t *when_s, struct err *err)
{
    const char *text = acme_json_string(window, key);
    if (text == NULL)
        return err_set(err, ERR_PROTOCOL, NEXT_RETRY_LATER, NULL,
                       "the CA's renewal information has no %s of the suggested window", key);
    if (!clock_parse_rfc3339(text, when_s))
        return err_set(err, ERR_PROTOCOL, NEXT_RETRY_LATER, NULL,
                       "the CA's renewal information has a window whose %s is no date: %.60s", key, text);
    return true;
}

bool ari_parse(const char *json, size_t len, struct ari_window *out, struct err *err)
{
    struct ari_window window = {0};
    char start[CLOCK_TEXT_BYTES], end[CLOCK_TEXT_BYTES];
    AUTO_JSON *object = acme_json(json, len, "the CA's renewal information", err);
    if (object == NULL)
        return false;
    const json_t *suggested = json_object_get(object, "suggestedWindow");
    if (!read_instant(suggested, "start", &window.start_s, err) ||
        !read_instant(suggested, "end", &window.end_s, err))
        return false;
    if (window.end_s <= window.start_s)
        return err_set(err, ERR_PROTOCOL, NEXT_RETRY_LATER, NULL,
                       "the CA suggests a window for renewal that ends (%s) before it begins (%s)",
                       clock_format_utc(window.end_s, end), clock_format_utc(window.start_s, start));
    (void)acme_json_url(object, "explanationURL", window.explanation_url, sizeof window.explanation_url);
    *out = window;
    return true;
}

int64_t ari_choose(const struct ari_window *window, const struct ari_window *before, int64_t chosen_s,
                   uint64_t random)
{
    bool same = before != NULL && before->start_s == window->start_s && before->end_s == window->end_s;
    if (same && chosen_s > 0 && chosen_s >= window->start_s && chosen_s <= window->end_s)
        return chosen_s;
    int64_t chosen = window->start_s;
    if (window->end_s > window->start_s) /* 64 random bits leave no bias to speak of */
        chosen += (int64_t)(random % ((uint64_t)window->end_s - (uint64_t)window->start_s));
    return chosen > 0 ? chosen : 1; /* 0 says that none is chosen */
}

int64_t ari_next_check_s(int64_t now_s, int64_t retry_after_s)
{
    if (retry_after_s < 0)
        return now_s + SIX_HOURS_S;
    if (retry_after_s < MINUTE_S)
        return now_s + MINUTE_S;
    return now_s + (retry_after_s < DAY_S ? retry_after_s : DAY_S);
}

int64_t ari_retry_s(int64_t now_s, bool temporary, int failures)
{
    int64_t wait_s = MINUTE_S;
    if (!temporary)
        return now_s + SIX_HOURS_S;
    for (int i = 1; i < failures && wait_s < SIX_HOURS_S; i++)
        wait_s *= 2;
    return now_s + (wait_s < SIX_HOURS_S ? wait_s : SIX_HOURS_S);
}

int64_t ari_due_at_s(int64_t chosen_s, int64_t look_every_s)
{
    return chosen_s > 0 ? chosen_s - look_every_s : INT64_MAX;
}
