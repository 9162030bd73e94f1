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
#include "tlsup/ledger.h"
#include "tlsup/machine_config.h"
#include "tlsup/run_state.h"
#include "tlsup/stamp.h"
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
/* tlsup.conf, as to the machine. Initialises `out`, on success only. */
MUST_CHECK bool store_machine_config(struct store *store, struct machine_config *out, struct err *err);
/* Both of these initialise `out`, on success only. */
MUST_CHECK bool store_defaults(struct store *store, struct cert_config *out, struct err *err); /* built-in + tlsup.conf */
/* Names of all certificates: those that have a file in certs.d, sorted. */
MUST_CHECK bool store_cert_names(struct store *store, struct strlist *names, struct err *err);
MUST_CHECK bool store_cert_config(struct store *store, const char *name, struct cert_config *out, struct err *err); /* defaults + file; ERR_NOT_FOUND */
/* Writes nothing when the file says the same already, so that comments in it live on; refuses values that would not read back (ERR_CONFIG). */
MUST_CHECK bool store_cert_config_save(struct store *store, const struct cert_config *config, struct err *err);
/* What that would write, for a transaction: `text` (appended) to `*path` (the caller frees); NULL = the file says the same already. */
MUST_CHECK bool store_cert_config_made(struct store *store, const struct cert_config *config, char **path, struct buf *text, unsigned *mode, struct err *err);

/* -- accounts -- */
/* `account` is the name of one of several accounts at a CA (accounts/CA/NAME/, always with a key of its own), NULL or "default" = the default one (accounts/CA/).
 * Names: [A-Za-z0-9_-]{1,64}; others are ERR_CONFIG. */
bool store_account_name_valid(const char *account);
/* The key of a named account; else the CA's own (accounts/CA/key.pem) when that exists, else the one for all CAs (accounts/key.pem). Made when missing (P-256) only with `create`;
 * else ERR_NOT_FOUND. In place of key.pem there may be key.uri: the key is on a token. While a key change is under way (store_account_next_*), the key whose thumbprint the
 * account's record has. */
MUST_CHECK bool store_account_key(struct store *store, const char *ca_url, const char *account, bool create, struct key **out,
                                  struct err *err);
/* Is it the one for all CAs? */
bool store_account_key_shared(struct store *store, const char *ca_url, const char *account);
/* Make `key` (or the token's key of `uri`, the other is NULL) the account's own key; one that is there is kept beside it as key-old-N.pem. */
MUST_CHECK bool store_account_key_import(struct store *store, const char *ca_url, const char *account, const struct key *key,
                                         const char *uri, struct err *err);
/* The new key of a key change (RFC 8555 section 7.3.5), beside the present one (key-next.pem, 0600): written before the CA is told. For the key of all CAs, one for all.
 * Load: ERR_NOT_FOUND. Commit: it becomes the key, in one rename; the old one is gone. Save the records with the new thumbprint before it: while that of another
 * CA goes by the old key for all CAs, it is refused (ERR_MISMATCH). Save: while another next key is there, which the CA may have taken already, ERR_EXISTS. */
MUST_CHECK bool store_account_next_load(struct store *store, const char *ca_url, const char *account, struct key **out,
                                        struct err *err);
MUST_CHECK bool store_account_next_save(struct store *store, const char *ca_url, const char *account, const struct key *key,
                                        struct err *err);
MUST_CHECK bool store_account_next_commit(struct store *store, const char *ca_url, const char *account, struct err *err);
MUST_CHECK bool store_account_next_drop(struct store *store, const char *ca_url, const char *account, struct err *err);
/* A missing record gives a zeroed one and true. A record whose thumbprint is not that of the current key is for the caller to notice. */
MUST_CHECK bool store_account_load(struct store *store, const char *ca_url, const char *account, struct account_record *out,
                                   struct err *err);
/* account.json, 0600: it may hold an EAB key. `server` is filled in. */
MUST_CHECK bool store_account_save(struct store *store, const char *ca_url, const char *account,
                                   const struct account_record *record, struct err *err);
MUST_CHECK bool store_account_forget(struct store *store, const char *ca_url, const char *account,
                                     struct err *err); /* removes account.json, keeps keys */
/* All accounts that have a record, sorted by CA and name. Free with store_accounts_free(). Records without `server` (of an older version) get it from the presets, or are left out. */
struct store_account {
    char ca_url[512];
    char account[72]; /* "" = the default one */
    struct account_record record;
};
MUST_CHECK bool store_accounts(struct store *store, struct store_account **out, size_t *n, struct err *err);
void store_accounts_free(struct store_account *accounts);
/* What was asked of a CA lately (ledger.h): accounts/CA/ledger.json. Missing or unreadable: empty, with a warning in the log. */
void store_ledger_load(struct store *store, const char *ca_url, struct ledger *out);
MUST_CHECK bool store_ledger_save(struct store *store, const char *ca_url, const struct ledger *ledger, struct err *err);
/* The CA's directory document as it was received, with the time of receipt. Missing or unreadable: *fetched_s = 0, empty. */
void store_directory_load(struct store *store, const char *ca_url, struct buf *json, int64_t *fetched_s);
MUST_CHECK bool store_directory_save(struct store *store, const char *ca_url, const char *json, size_t len, int64_t now_s, struct err *err);

/* -- certificate versions -- */
/* `part` is 0 for the certificate, 1 for the second one of a dual entry. */
#define STORE_PARTS 2
/* The key waiting for a certificate of an order in flight (certs/NAME/pending.pem, pending-2.pem, 0600). Load: ERR_NOT_FOUND when none. A token's key is never saved here. */
MUST_CHECK bool store_pending_key_load(struct store *store, const char *name, int part, struct key **out, struct err *err);
MUST_CHECK bool store_pending_key_save(struct store *store, const char *name, int part, const struct key *key, struct err *err);
MUST_CHECK bool store_pending_key_drop(struct store *store, const char *name, int part, struct err *err);
/* The private key of a version. ERR_NOT_FOUND where none is held (csr). A token's key is opened (privkey.uri). */
MUST_CHECK bool store_version_key(struct store *store, const char *name, int version, int part, struct key **out, struct err *err);
/* Keys that are known to others (revoked for keyCompromise), by key_spki_sha256(): never to be used again. STATE/compromised, one a line. */
MUST_CHECK bool store_key_compromised_add(struct store *store, const char *spki, struct err *err);
MUST_CHECK bool store_key_compromised(struct store *store, const char *spki, bool *compromised, struct err *err);
/* One certificate of a version: `key` NULL = not held (no privkey.pem, but a privkey.elsewhere that says so), a token's key is written as its URI (privkey.uri, 0600). Those of the second part get "-rsa" or "-ecdsa" behind
 * their names: privkey-rsa.pem, cert-rsa.pem, chain-rsa.pem, fullchain-rsa.pem. */
struct store_part {
    const struct key *key;
    const struct cert_chain *chain;
};
/* Write certs/NAME/NNNN/{privkey,cert,chain,fullchain}.pem (built as a hidden directory, renamed when whole); *version is its number (1…),
 * above every version there is and above the state's, so that a number never means two things. Directories 0755, privkey.pem 0600, the rest 0644.
 * `live` is not touched. */
MUST_CHECK bool store_version_add(struct store *store, const char *name, const struct store_part *parts, size_t n, int *version,
                                  struct err *err);
MUST_CHECK bool store_version_drop(struct store *store, const char *name, int version, struct err *err); /* refuses the live one */
/* Keep the newest `keep` versions, the live one and the one before it; all of them while an order is in flight. */
MUST_CHECK bool store_version_prune(struct store *store, const char *name, int keep, struct err *err);
MUST_CHECK bool store_live_switch(struct store *store, const char *name, int version, struct err *err);
/* The live version's number, 0 when there is none. */
MUST_CHECK bool store_live_version(struct store *store, const char *name, int *version, struct err *err);
/* The live chain. ERR_NOT_FOUND when nothing is live. */
MUST_CHECK bool store_live_chain(struct store *store, const char *name, struct cert_chain **out, struct err *err);
MUST_CHECK bool store_version_chain(struct store *store, const char *name, int version, int part, struct cert_chain **out,
                                    struct err *err); /* ERR_NOT_FOUND: no such version, or no second part */
/* The numbers of all versions there are, ascending; a heap array that the caller frees. None: *n = 0. */
MUST_CHECK bool store_versions(struct store *store, const char *name, int **versions, size_t *n, struct err *err);
/* That a version was revoked, beside its files: the state tells it of the live one alone. */
MUST_CHECK bool store_version_revoke(struct store *store, const char *name, int version, struct err *err);
bool store_version_revoked(const struct store *store, const char *name, int version);
/* Paths, caller frees; NULL when `name` is not a valid certificate name. live: STATE/live/NAME; version: STATE/certs/NAME/0001; link target as stored in the symlink ("../certs/NAME/0001"). */
char *store_live_path(const struct store *store, const char *name);
char *store_version_path(const struct store *store, const char *name, int version);
char *store_version_link_target(const char *name, int version);

/* -- state -- (what hooks have printed is in a file of root's beside it: others get the error without it; of what lies in the future because the clock was once ahead, nothing is read: a pause that began then is over) */
MUST_CHECK bool store_state_load(struct store *store, const char *name, struct cert_state *out, struct err *err); /* missing -> zeroed */
MUST_CHECK bool store_state_save(struct store *store, const char *name, const struct cert_state *state, struct err *err);

/* -- has anything changed? Without a file being read. -- */
/* Looks at what is stored of many certificates, for as long as a run holds the lock. */
struct store_watch; /* heap */
struct store_watch *store_watch_open(const struct store *store);
void store_watch_close(struct store_watch *watch); /* NULL is fine */
/* Into the stamp: what decides about a certificate from outside (tlsup.conf as it was when the watch was opened, its own configuration)... */
void store_watch_config(const struct store_watch *watch, const char *name, struct stamp *stamp);
/* ...and what is written under the lock alone: its state, and its live directory. */
void store_watch_kept(const struct store_watch *watch, const char *name, struct stamp *stamp);

/* STATE/run.json. Missing -> zeroed. */
MUST_CHECK bool store_run_state_load(struct store *store, struct run_state *out, struct err *err);
MUST_CHECK bool store_run_state_save(struct store *store, const struct run_state *state, struct err *err);

/* -- another name for a certificate (store_rename.c) --
 * prepare -> (everything that says the name is changed at once, by a transaction) -> finish. Until that is committed all goes by the old name, afterwards by the new one. */
/* All versions and waiting keys can be had under the new name as well, with a live link; STATE/renaming says so. Removed again when it fails. ERR_NOT_FOUND: no such certificate; ERR_EXISTS: the new name is taken. */
MUST_CHECK bool store_rename_prepare(struct store *store, const char *from, const char *to, struct err *err);
/* The files that change their names, for that transaction: configuration, then state and what hooks have printed (which may be missing: path NULL). */
#define STORE_MOVES 3
struct store_move {
    char *from, *to;
    struct buf content;
    unsigned mode;
};
MUST_CHECK bool store_rename_moves(struct store *store, const char *from, const char *to, struct store_move moves[STORE_MOVES], struct err *err);
void store_moves_clear(struct store_move moves[STORE_MOVES]);
/* The name that is not in force any more, or never was, goes. When a renaming, this run's or one that was killed, has come to its good end, `done` is set to its two names; otherwise it stays empty. Nothing to do: true. */
MUST_CHECK bool store_rename_finish(struct store *store, struct strlist *done, struct err *err);

/* -- rehearsals (store_rehearsal.c) -- */
/* A store of its own below the real one's state directory, 0700, for what a rehearsal writes: configuration and journal are the real ones, accounts, orders and versions are not. `real` is open for writing, and closed later. */
MUST_CHECK bool store_rehearsal_open(struct store *real, struct store **out, struct err *err);
/* The account at `ca_url` gets the key that the real one has at `real_ca_url`; where the real one has an account at `ca_url` it is known here. */
MUST_CHECK bool store_rehearsal_account(struct store *rehearsal, struct store *real, const char *real_ca_url, const char *ca_url, const char *account, struct err *err);
/* Closes it (NULL is fine), and removes all that it has, or that one has left whose run was killed. */
MUST_CHECK bool store_rehearsal_remove(struct store *rehearsal, struct store *real, struct err *err);
/* Remove the directories that opening the store has made and that are still empty. */
void store_forget_layout(struct store *store);

/* The text of a certificate's file as it stands; and the same bytes put back. */
MUST_CHECK bool store_cert_config_text(struct store *store, const char *name, struct buf *out, struct err *err);
MUST_CHECK bool store_cert_config_put_back(struct store *store, const char *name, const struct buf *text, struct err *err);

/* Remove configuration, state, live link and all versions of one certificate, in that order of harm: live last but keys after. A removal that
 * was cut short is completed by another call; ERR_NOT_FOUND when nothing of that name is there. */
MUST_CHECK bool store_cert_delete(struct store *store, const char *name, struct err *err);
/* Is anything of it there, if only what such a removal has left? */
bool store_cert_is_there(const struct store *store, const char *name);

#endif
