/*
 * watch.h - what is served, looked at from time to time: nothing is tested, edited or reloaded.
 *
 * The prober must be running (roles.h).
 */
#ifndef TLSUP_WATCH_H
#define TLSUP_WATCH_H

#include "tlsup/store.h"
#include "tlsup/web.h"

struct watch; /* heap: a web server with its sites as they are now */

/* Errors as web_find() and web_read(). */
MUST_CHECK bool watch_open(struct store *store, enum web_kind kind, const struct web_hints *hints, struct watch **out, struct err *err);
void watch_close(struct watch *watch); /* NULL is fine */
/* Does the web server serve this version for all names, on each of its addresses? ERR_PROOF when one shows another certificate; an address that nobody answers on says nothing: `*seen` is false when
 * none did. */
MUST_CHECK bool watch_look(struct watch *watch, const struct cert_config *config, int version, bool *seen, struct err *err);
/* Is a leaf that was seen (SHA-256 in hexadecimal) one of this version? ERR_PROOF when not, which says whether it is that of a former one; `where` is the subject of the sentence ("mail.example.org:465 on
 * 192.0.2.7"). */
MUST_CHECK bool watch_leaf(struct store *store, const char *cert_name, int version, const char *where, const char *sha256,
                           struct err *err);

#endif
