/*
 * request.h - a command line, parsed: plain data that the commands work on.
 */
#ifndef TLSUP_CLI_REQUEST_H
#define TLSUP_CLI_REQUEST_H

#include "tlsup/buf.h"
#include "tlsup/config.h"
#include "tlsup/err.h"
#include "tlsup/log.h"

enum command {
    COMMAND_NONE,
    COMMAND_ENABLE,
    COMMAND_ISSUE,
    COMMAND_INSTALL,
    COMMAND_RENEW,
    COMMAND_STATUS,
    COMMAND_ACCOUNT_REGISTER,
    COMMAND_ACCOUNT_SHOW,
    COMMAND_ACCOUNT_UPDATE, /* -m, --agree-tos: contact and terms at the CA */
    COMMAND_ACCOUNT_CHANGE_KEY,
    COMMAND_ACCOUNT_DEACTIVATE,
    COMMAND_ACCOUNT_IMPORT, /* one argument: a key file (PEM, JWK) or a token's URI */
    COMMAND_ACCOUNT_LIST,
    COMMAND_REVOKE, /* one certificate, or --cert-path */
    COMMAND_DELETE,
    COMMAND_UNDO,
    COMMAND_SITES,   /* no argument */
    COMMAND_CHECK,   /* names, or none for all that is held */
    COMMAND_RECOVER, /* what a run that was killed has left; before the web servers start */
    COMMAND_TIMER_STATUS,
    COMMAND_TIMER_ON,
    COMMAND_TIMER_OFF,
    COMMAND_HELP, /* `help_on` says on what; COMMAND_NONE = in general */
    COMMAND_VERSION,
    COMMAND_ACCOUNT, /* only as `help_on`: the page on all account commands */
    COMMAND_TIMER,   /* likewise */
    COMMAND_RECONFIGURE, /* one certificate; what is said on the line takes the place of what is stored */
    COMMAND_RENAME,      /* a certificate, and its new name */
    COMMAND_RESTORE,     /* a certificate, and the version; without: lists them */
    COMMAND_EXPORT,      /* one certificate */
    COMMAND_IMPORT,      /* --from CLIENT, and its directory or none */
    COMMAND_NOTIFY,      /* a test notification */
    COMMAND_COMPLETION,  /* one argument: bash, zsh, fish */
    COMMANDS
};

enum choice { CHOICE_UNSET, CHOICE_NO, CHOICE_YES };

struct request {
    enum command command;
    enum command help_on;
    struct strlist arguments; /* what stood free on the line: names (enable, issue) or certificates (renew,
                                 status, …; there --cert-name adds one); install and undo get exactly one,
                                 delete at least one, account none; certificates are valid names of such */
    struct strlist words; /* import: its directory, absolute, or none */
    struct strlist
        names;        /* enable, issue, check: arguments and -d values, split at commas, normalised, no duplicates */
    char *config_dir; /* never NULL */
    char *state_dir;  /* never NULL */
    char *server;     /* a directory URL, presets resolved; NULL = not given */
    struct strlist fallbacks; /* --server with several, or repeated: those after the first */
    char *account;            /* --account NAME; NULL = not given */
    char *eab_kid, *eab_hmac_key,
        *eab_alg;      /* --eab-kid, --eab-hmac-key, --eab-hmac-alg; kid and key only together */
    char *ca_bundle;   /* absolute path, as all paths here; NULL = not given */
    char *email;       /* NULL = not given */
    char *cert_name;   /* NULL = not given */
    char *webroot;     /* NULL = not given */
    struct strlist pre_hooks, deploy_hooks, post_hooks; /* absolute paths, in the order given */
    char *hook_user;       /* --hook-user; NULL = not given */
    int deploy_timeout_s;  /* 0 = not given */
    int keep;              /* --keep-versions; 0 = not given */
    struct strlist verify; /* --verify HOST:PORT[/PROTOCOL] */
    bool has_key_type;
    enum key_type key_type;
    bool dual; /* --key-type ecdsa-p256,rsa-2048 (or twice) */
    enum key_type second_key_type;
    char *key;             /* --key URI */
    enum choice reuse_key; /* --reuse-key, --no-reuse-key (certbot: --new-key) */
    char *csr;             /* --csr FILE */
    char *profile;         /* --preferred-profile, --required-profile (and --profile: preferred) */
    enum choice profile_required;
    char *preferred_chain;
    int64_t valid_for_s; /* --valid-for 30d; 0 = not given */
    int64_t not_before_s,
        not_after_s;     /* --not-before, --not-after (RFC 3339, or a date); for this order alone */
    enum choice partial; /* --allow-partial (certbot: --allow-subset-of-names), --no-partial */
    char *from;          /* issue --from FILE; "-" = standard input. import --from CLIENT */
    bool has_challenge;
    enum config_challenge
        challenges[CHALLENGE_VIAS]; /* --challenge LIST, or --standalone, --webroot, --tls-alpn (acme.sh:
                                       --alpn), --dns …, in the order given */
    size_t n_challenges;
    char *challenge_hook; /* --challenge-hook (certbot: --manual-auth-hook, which also sets the contract) */
    char *cleanup_hook;   /* --cleanup-hook, --manual-cleanup-hook */
    bool has_hook_contract;
    enum hook_contract hook_contract;
    char *hook_env;
    int hook_timeout_s; /* 0 = not given; so for the other seconds */
    char *dns_update_server, *dns_update_key, *dns_update_zone;
    struct strlist dns_servers;
    int dns_timeout_s;
    enum choice dns_check;
    char *proxy;    /* "" = --proxy direct */
    int ip_version; /* -4/--ipv4, -6/--ipv6; 0 = not given */
    char *interface;
    int timeout_s;
    /* revoke */
    char *cert_path;         /* --cert-path FILE */
    char *key_path;          /* --key-path FILE: sign with the certificate's own key */
    bool by_certificate_key; /* --by-key: with the stored one */
    int reason;        /* --reason unspecified|keyCompromise|…, any case, or its number; -1 = not given */
    enum web_kind web; /* --nginx, --apache; WEB_NONE = not given */
    enum choice redirect;
    enum choice hsts;
    int64_t hsts_s; /* --hsts-max-age, with hsts CHOICE_YES */
    bool has_tls_profile;
    enum web_tls_profile tls_profile;
    char *nginx_conf, *nginx_bin, *apache_conf, *apache_ctl;
    enum web_kind with; /* --with nginx|apache: install it where there is no web server */
    bool all;           /* enable --all: every site that leads here */
    bool plan;          /* show what would be done, and do nothing */
    bool agree_tos;
    bool non_interactive; /* -n, or standard input is no terminal */
    bool force_renewal;
    bool dry_run;  /* all of it against the CA's staging server; nothing stays */
    bool no_test;  /* reconfigure --no-test: without the rehearsal */
    bool no_check; /* enable --no-check */
    bool open_firewall;     /* check, enable: --open-firewall */
    bool metrics;           /* status --metrics */
    bool switch_web_server; /* import: the web server's paths are switched over */
    enum choice disable_old; /* import: --disable-old-timer, --keep-old-timer; UNSET = ask */
    /* export */
    char *format;        /* as in export_spec.h; NULL = not given */
    char *to;            /* absolute path, "-" = standard output; NULL = not given */
    char *owner, *mode;  /* NULL = not given */
    char *password_file; /* absolute */
    char *friendly_name;
    bool legacy;         /* p12, jks: --legacy */
    bool standing;       /* --standing: again after each renewal */
    bool no_timer; /* --no-timer: leave systemd and cron alone */
    bool json;
    enum log_level log_level; /* -q: ERROR, default WARN, -v: INFO, --debug: DEBUG */
    bool quiet;
};

void request_clear(struct request *request);
/* Parse a command line; `out` is initialised here, and cleared on failure. ERR_USAGE says which word is
 * wrong, what is accepted, and names `tlsup COMMAND --help`. */
MUST_CHECK bool options_parse(int argc, char **argv, struct request *out, struct err *err);
/* The text of `tlsup --help` or `tlsup COMMAND --help`, to standard output. */
void options_help(enum command on);
const char *command_name(enum command command); /* "enable", "account register", … */

#endif
