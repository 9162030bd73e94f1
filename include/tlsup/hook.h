/*
 * hook.h - challenges answered by programs of the user's: our own small contract, and those of other clients, so that their scripts work unchanged.
 *
 * Pure: what to run. The caller runs it with spawn.h: no shell, a clean environment, a deadline.
 */
#ifndef TLSUP_HOOK_H
#define TLSUP_HOOK_H

#include "tlsup/buf.h"
#include "tlsup/err.h"
#include "tlsup/order.h"

enum hook_contract {
    HOOK_TLSUP,      /* PROGRAM present|cleanup, all else in TLSUP_... variables; exit status 0 = done, 3 = not this one, else failed; after both the next way is tried, where there is one */
    HOOK_CERTBOT,    /* authentication and clean-up programs, CERTBOT_... variables */
    HOOK_DEHYDRATED, /* PROGRAM deploy_challenge|clean_challenge DOMAIN TOKENFILE VALUE */
    HOOK_UACME,      /* PROGRAM begin|done|failed TYPE IDENT TOKEN AUTH; an exit status of "begin" other than 0: another way */
    HOOK_LEGO,       /* PROGRAM present|cleanup FQDN. VALUE, and EXEC_PATH=PROGRAM */
    HOOK_LEGO_RAW,   /* PROGRAM present|cleanup -- DOMAIN TOKEN KEYAUTH, and EXEC_PATH=PROGRAM, EXEC_MODE=RAW */
    HOOK_ACME_SH,    /* a dnsapi script, through the bridge: TLSUP_LIBEXEC_DIR/acme-sh-dns add|rm PROGRAM FULLDOMAIN VALUE, and TLSUP_CERT */
    HOOK_CONTRACTS,
};
/* The variables of HOOK_TLSUP, each always set, empty where there is nothing to say (hooks/README tells them to people):
 *
 *   TLSUP_ACT                "present" or "cleanup", as the argument
 *   TLSUP_TYPE               "dns-01", "dns-account-01", "http-01", "tls-alpn-01"
 *   TLSUP_NAME               what is proven: "www.example.org", "*.example.org", "192.0.2.1"
 *   TLSUP_DOMAIN             the same without "*."
 *   TLSUP_RECORD             DNS: where the TXT record goes, CNAMEs followed, no final dot
 *   TLSUP_VALUE              what is to be shown: the TXT record's text; http-01: the file's content; tls-alpn-01: the hash, base64url
 *   TLSUP_TOKEN, TLSUP_KEY_AUTHORIZATION
 *   TLSUP_CERT, TLSUP_NAMES  the certificate's name, and all names in it, separated by spaces
 *   TLSUP_REMAINING          challenges still to come after this one
 *   TLSUP_FAILED             cleanup: "1" when the validation failed, else "0"
 *   TLSUP_OUTPUT             cleanup: what "present" printed, trimmed
 *   TLSUP_HOOK_STATE         a directory for what a hook wants to remember
 *
 * Where a contract names a domain, "*." is left out, as those clients do it: both challenges of a base and its wildcard name the same domain, with two values. Contracts that
 * give the domain alone (certbot, dehydrated, uacme, lego-raw) leave it to the script to find the record, and a CNAME. */
const char *hook_contract_name(enum hook_contract contract); /* "tlsup", "certbot", …, "lego-raw", "acme.sh" */
MUST_CHECK bool hook_contract_parse(const char *text, enum hook_contract *out, struct err *err);
/* Can scripts of this contract answer such a challenge? lego and acme.sh: DNS alone; certbot and dehydrated: http-01 and dns-01; uacme: tls-alpn-01 too; tlsup: all but dns-persist-01, which
 * has no value of its own. dns-account-01 only where the record's name is handed over: tlsup, lego, acme.sh. */
bool hook_contract_takes(enum hook_contract contract, enum challenge_type type);

enum hook_act { HOOK_PRESENT, HOOK_CLEANUP };

struct hook_job {
    enum hook_contract contract;
    const char *program;
    const char *cleanup_program;       /* certbot: NULL = none; others: not looked at */
    const char *cert_name;
    const struct strlist *all_names;   /* of the certificate */
    enum challenge_type type;
    const char *name;                  /* "example.org", "*.example.org" */
    const char *record;                /* DNS: where the TXT record goes, CNAMEs followed; else "" */
    const char *token;
    const char *key_authorization;
    int remaining;                     /* challenges still to come after this one */
    bool failed;                       /* CLEANUP: the validation failed (uacme) */
    const char *present_output;        /* CLEANUP: what PRESENT printed, trimmed (certbot) */
};

struct hook_command {
    struct strlist argv;               /* empty: nothing is to be run (certbot without a clean-up program) */
    struct strlist env;                /* "NAME=value" */
};
/* `out` is initialised here; the caller clears it. The job's contract takes its type. */
void hook_command_make(enum hook_act act, const struct hook_job *job, struct hook_command *out);
void hook_command_clear(struct hook_command *command);

/* A file of NAME=value lines for hooks (credentials); '#' comments, optional "export ", optional quotes around the value, nothing expanded. Refused when others than its owner and group can read it, or anybody
 * but root and the owner write it, or the owner is neither root nor we (ERR_PERMISSION), when it is larger than 64 KiB, or a line is none (ERR_CONFIG with its number, never with what is in it).
 * Appends "NAME=value", or replaces an entry of the same name; `env` is untouched on error. */
MUST_CHECK bool hook_env_read(const char *path, struct strlist *env, struct err *err);

#endif
