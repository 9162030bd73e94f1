/*
 * store.h - everything that lasts: configuration, accounts, keys, certificate versions, state.
 *
 * One interface, so that another engine can take the place of the files (DESIGN section 5 has the layout). The files engine keeps
 * every promise of fs.h: no reader ever sees a half-written file, and private keys are 0600 from their first instant.
 *
 * Only the keeper opens the store. A writing store holds STATE/lock: a second writer fails with ERR_LOCKED.
 */
#ifndef TLSUP_STORE_H
#define TLSUP_STORE_H

#include "tlsup/cert.h"
#include "tlsup/config.h"
#include "tlsup/state.h"

struct store; /* heap */

#ifdef TLSUP_CONFIG_DIR /* the build's sysconfdir and localstatedir */
#define STORE_DEFAULT_CONFIG_DIR TLSUP_CONFIG_DIR
#define STORE_DEFAULT_STATE_DIR TLSUP_STATE_DIR
#else
#define STORE_DEFAULT_CONFIG_DIR "/etc/tlsup"
#define STORE_DEFAULT_STATE_DIR "/var/lib/tlsup"
#endif

enum store_mode { STORE_READ, STORE_WRITE };

/* STORE_WRITE makes what is missing (state directory 0711, certs 0711, live 0711, accounts 0700, challenges 0755, journal 0700, state 0711; config
 * directory 0755, certs.d 0755) and takes the lock. STORE_READ works without any of them existing. Relative directories are taken from the
 * working directory of now; NULL is the default above. A directory or symlink of these that belongs to somebody else, or (as root) a state
 * directory that others may write, is refused with ERR_PERMISSION. Every function below that writes needs STORE_WRITE. */
MUST_CHECK bool store_open(const char *config_dir, const char *state_dir, enum store_mode mode, struct store **out,
                           struct err *err);
void store_close(struct store *store); /* NULL is fine */
const char *store_config_dir(const struct store *store);
const char *store_state_dir(const struct store *store);
const char *store_journal_dir(const struct store *store);

/* -- configuration -- */
/* Both of these initialise `out`, on success only. */
MUST_CHECK bool store_defaults(struct store *store, struct cert_config *out, struct err *err); /* built-in + tlsup.conf */
/* Names of all certificates: those that have a file in certs.d, sorted. */
MUST_CHECK bool store_cert_names(struct store *store, struct strlist *names, struct err *err);
MUST_CHECK bool store_cert_config(struct store *store, const char *name, struct cert_config *out, struct err *err); /* defaults + file; ERR_NOT_FOUND */
/* Writes nothing when the file says the same already, so that comments in it live on; refuses values that would not read back (ERR_CONFIG). */
MUST_CHECK bool store_cert_config_save(struct store *store, const struct cert_config *config, struct err *err);

/* -- accounts -- */
/* The one account key for all CAs (accounts/key.pem), or the CA's own (accounts/CA/key.pem) when that exists. Made when missing
 * (P-256) only with `create`; else ERR_NOT_FOUND. */
MUST_CHECK bool store_account_key(struct store *store, const char *ca_url, bool create, struct key **out, struct err *err);
/* A missing record gives a zeroed one and true. A record whose thumbprint is not that of the current key is for the caller to notice. */
MUST_CHECK bool store_account_load(struct store *store, const char *ca_url, struct account_record *out, struct err *err);
MUST_CHECK bool store_account_save(struct store *store, const char *ca_url, const struct account_record *record, struct err *err);
MUST_CHECK bool store_account_forget(struct store *store, const char *ca_url, struct err *err); /* removes account.json, keeps keys */
/* The CA's directory document as it was received, with the time of receipt. Missing or unreadable: *fetched_s = 0, empty. */
void store_directory_load(struct store *store, const char *ca_url, struct buf *json, int64_t *fetched_s);
MUST_CHECK bool store_directory_save(struct store *store, const char *ca_url, const char *json, size_t len, int64_t now_s, struct err *err);

/* -- certificate versions -- */
/* The key waiting for a certificate of an order in flight (certs/NAME/pending.pem, 0600). Load: ERR_NOT_FOUND when none. */
MUST_CHECK bool store_pending_key_load(struct store *store, const char *name, struct key **out, struct err *err);
MUST_CHECK bool store_pending_key_save(struct store *store, const char *name, const struct key *key, struct err *err);
MUST_CHECK bool store_pending_key_drop(struct store *store, const char *name, struct err *err);
/* Write certs/NAME/NNNN/{privkey,cert,chain,fullchain}.pem (built as a hidden directory, renamed when whole); *version is its number (1…),
 * above every version there is and above the state's, so that a number never means two things. Directories 0755, privkey.pem 0600, the rest 0644.
 * `live` is not touched. */
MUST_CHECK bool store_version_add(struct store *store, const char *name, const struct key *key, const struct cert_chain *chain,
                                  int *version, struct err *err);
MUST_CHECK bool store_version_drop(struct store *store, const char *name, int version, struct err *err); /* refuses the live one */
/* Keep the newest `keep` versions and the live one. */
MUST_CHECK bool store_version_prune(struct store *store, const char *name, int keep, struct err *err);
MUST_CHECK bool store_live_switch(struct store *store, const char *name, int version, struct err *err);
/* The live version's number, 0 when there is none. */
MUST_CHECK bool store_live_version(struct store *store, const char *name, int *version, struct err *err);
/* The live chain. ERR_NOT_FOUND when nothing is live. */
MUST_CHECK bool store_live_chain(struct store *store, const char *name, struct cert_chain **out, struct err *err);
MUST_CHECK bool store_version_chain(struct store *store, const char *name, int version, struct cert_chain **out, struct err *err);
/* Paths, caller frees; NULL when `name` is not a valid certificate name. live: STATE/live/NAME; version: STATE/certs/NAME/0001; link target as stored in the symlink ("../certs/NAME/0001"). */
char *store_live_path(const struct store *store, const char *name);
char *store_version_path(const struct store *store, const char *name, int version);
char *store_version_link_target(const char *name, int version);

/* -- state -- */
MUST_CHECK bool store_state_load(struct store *store, const char *name, struct cert_state *out, struct err *err); /* missing -> zeroed */
MUST_CHECK bool store_state_save(struct store *store, const char *name, const struct cert_state *state, struct err *err);

/* Remove configuration, state, live link and all versions of one certificate, in that order of harm: live last but keys after. A removal that
 * was cut short is completed by another call; ERR_NOT_FOUND when nothing of that name is there. */
MUST_CHECK bool store_cert_delete(struct store *store, const char *name, struct err *err);

#endif
