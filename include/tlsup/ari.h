/*
 * ari.h - ACME renewal information (RFC 9773). Pure.
 */
#ifndef TLSUP_ARI_H
#define TLSUP_ARI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tlsup/err.h"
#include "tlsup/url.h"

struct ari_window {
    int64_t start_s, end_s;
    char explanation_url[URL_MAX_BYTES]; /* "" = none */
};

/* renewalInfo's URL with the certificate's id (cert_info.ari_id) behind it, one '/' between. false when it does not fit, or there is no id. */
bool ari_url(const char *renewal_info_url, const char *ari_id, char out[URL_MAX_BYTES]);
/* Section 4.2. No such object, or end <= start -> ERR_PROTOCOL. */
MUST_CHECK bool ari_parse(const char *json, size_t len, struct ari_window *out, struct err *err);

/* The instant to renew at (section 4.2): uniform in the window by `random`. The one chosen before is kept while the window is the same; pass 0 when none was
 * (`before` may be NULL then). Never 0. */
int64_t ari_choose(const struct ari_window *window, const struct ari_window *before, int64_t chosen_s, uint64_t random);
/* When to ask again (section 4.3): Retry-After within [1 minute, 1 day]; without one, six hours. */
int64_t ari_next_check_s(int64_t now_s, int64_t retry_after_s);
/* After a failure. A temporary one (timeout, 5xx): 1, 2, 4 ... minutes, six hours at most, by the number of failures in a row;
 * one that lasts (4xx, a bad object, DNS, refused): six hours. */
int64_t ari_retry_s(int64_t now_s, bool temporary, int failures);
/* From when on it is time: at the chosen instant, or before it when nobody would look again until it is past (`look_every_s`, 0 = all the time). No chosen instant (0): INT64_MAX. */
int64_t ari_due_at_s(int64_t chosen_s, int64_t look_every_s);

#endif
