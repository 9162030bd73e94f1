/*
 * due.h - the memory of `renew`: which certificates have nothing to do before when, so that a run over ten thousand reads none of their files.
 *
 * STATE/due.index, 0600: a cache and no more. A line counts only while the files that it was made from (the certificate's configuration, its state, its live directory, tlsup.conf) are
 * the same (device, inode, size, times to the nanosecond), while it is as it was written, for a day at most, and never by hand. Lost or damaged, it is made anew.
 */
#ifndef TLSUP_CLI_DUE_H
#define TLSUP_CLI_DUE_H

#include "tlsup/store.h"

struct due; /* heap */

/* Before any of the configurations is read. */
struct due *due_open(struct store *store);
void due_close(struct due *due); /* NULL is fine */
/* Nothing that it rests on has changed, and it has nothing to do yet. Asked before the certificate's configuration is read: a change of it from then on makes what is noted afterwards void. */
bool due_later(struct due *due, const char *cert_name);
/* Looked at after due_later(): nothing to do before `at_s`. Call it after the state has been saved. */
void due_note(struct due *due, const char *cert_name, int64_t at_s);
/* Written when something was noted. A failure is logged: the next run is slower, no more. */
void due_save(struct due *due);

#endif
