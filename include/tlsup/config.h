/*
 * config.h - what people write: /etc/tlsup/tlsup.conf and /etc/tlsup/certs.d/NAME.conf.
 *
 * INI: `key = value` lines, `#` and `;` comments on lines of their own, blank lines. No sections are needed; unknown keys,
 * duplicate keys and bad values are errors with file and line (every one of them ERR_CONFIG, the text beginning "PATH:LINE: "). tlsup.conf
 * holds defaults for every certificate; a certificate's file overrides them. Keys:
 *
 *   names        = example.org www.example.org    (certificate file only; required there, but with `csr`, whose names they are)
 *   server       = letsencrypt | zerossl | … | https://…/directory     (several, separated by spaces or commas: the next is tried when one cannot or will not)
 *   account      = NAME                            one of several accounts at the CA; "default"
 *   ca-bundle    = /path/ca.pem                    trust for the CA's own HTTPS, instead of the system's
 *   email        = admin@example.org
 *   agree-tos    = yes | no
 *   challenge    = web-server | standalone | webroot | http-hook | tls-alpn | dns | dns-account | dns-persist     (several: in order of preference)
 *   webroot      = /var/www/html                   (implies challenge = webroot when challenge is not given)
 *   challenge-hook = /path/program                 answers challenges (http-hook; the dns ones where there is no dns-update-server); implies challenge = dns when challenge is not given
 *   cleanup-hook = /path/program                   (contract certbot)
 *   hook-contract = tlsup | certbot | dehydrated | uacme | lego | lego-raw | acme.sh
 *   hook-env     = /path/file                      NAME=value lines: credentials for the challenge hook
 *   hook-timeout = 120                             seconds
 *   dns-update-server = 192.0.2.53 | ns.example.org | [2001:db8::53]:5353 | primary      RFC 2136; "primary": the zone's own; implies challenge = dns when challenge is not given
 *   dns-update-key = /path/tsig.key
 *   dns-update-zone = example.org                  else it is looked up
 *   dns-servers  = 192.0.2.1 2001:db8::1 127.0.0.1#5353          recursive servers to ask, instead of the system's
 *   dns-timeout  = 180                             seconds until the zone's servers must show a record
 *   dns-check    = yes | no                        ask the zone's servers before the CA is told
 *   key-type     = ecdsa-p256 | …                  (key.h); two of different algorithms: an RSA and an ECDSA certificate as one
 *   key          = pkcs11:… | handle:… | tpm2:…    a key that stays on its token
 *   reuse-key    = yes | no                        the same key for renewals
 *   csr          = /path/request                   made elsewhere; no key is held here
 *   profile      = shortlived
 *   profile-required = yes | no                    rather no certificate than one of another profile
 *   preferred-chain = ISRG Root X1                 issuer name of the chain wanted among those that the CA offers
 *   valid-for    = 30d                             asked of the CA (notAfter); d, h, m, s
 *   partial      = yes | no                        names that fail are left out, and tried again later
 *   proxy        = http://proxy.example:3128       (http, https, socks5, socks5h; with user:password@); "direct": not even the environment's
 *   ip-version   = 4 | 6 | any                     to the CA
 *   interface    = eth0 | 192.0.2.7                source of connections to the CA
 *   timeout      = 120                             seconds for one request to the CA
 *   install      = nginx | apache | none
 *   redirect     = yes | no                        http to https
 *   hsts         = yes | no | 180d                 Strict-Transport-Security on https answers; "yes" is CONFIG_HSTS_S
 *   tls-profile  = intermediate | modern | old     Mozilla's guideline, for TLS settings that the site does not have
 *   nginx-conf, nginx-bin, apache-conf, apache-ctl = /path     where the web server is, when it is not where it usually is
 *   pre-hook     = /path/program                   (hooks.h) before certificates are asked for; this and the next two may be given several times
 *   deploy-hook  = /path/program                   for each new certificate
 *   post-hook    = /path/program                   afterwards, whatever came of it
 *   hook-user    = NAME                            runs them, instead of root
 *   deploy-timeout = 300                           seconds for each of them
 *   export       = FORMAT PATH [owner=...] ...     (export_spec.h; may be given several times) written again after each renewal
 *   verify       = HOST:PORT[/PROTOCOL] ...        (verify.h) where the new certificate must be served once the deploy hooks have run
 *   keep         = 5                               versions that are kept
 *
 * A key that may be given several times replaces, in a certificate's file, all that the defaults have. What is about the machine rather than about a certificate
 * (notifications, log, metrics: machine_config.h) stands in tlsup.conf alone.
 *
 * Keys whose value is a path or a free text also take "none", which undoes a default.
 *
 * UTF-8 with or without a byte order mark, LF or CRLF. A file has at most CONFIG_FILE_BYTES, a line CONFIG_LINE_BYTES.
 */
#ifndef TLSUP_CONFIG_H
#define TLSUP_CONFIG_H

#include "tlsup/buf.h"
#include "tlsup/err.h"
#include "tlsup/hook.h"
#include "tlsup/key.h"
#include "tlsup/order.h"
#include "tlsup/web_kind.h"

/* Ways to answer a challenge. */
enum config_challenge {
    CHALLENGE_VIA_WEB_SERVER,  /* http-01, by the running nginx or Apache; by our own responder where nothing listens on port 80 */
    CHALLENGE_VIA_STANDALONE,  /* http-01, by our own responder */
    CHALLENGE_VIA_WEBROOT,     /* http-01, through files */
    CHALLENGE_VIA_HTTP_HOOK,   /* http-01, by the challenge hook */
    CHALLENGE_VIA_TLS_ALPN,    /* tls-alpn-01, by our own responder on port 443 */
    CHALLENGE_VIA_DNS,         /* dns-01 */
    CHALLENGE_VIA_DNS_ACCOUNT, /* dns-account-01 */
    CHALLENGE_VIA_DNS_PERSIST, /* dns-persist-01 */
    CHALLENGE_VIAS,
};
const char *config_challenge_name(enum config_challenge via);     /* "web-server" */
enum challenge_type config_challenge_type(enum config_challenge via);

struct cert_config {
    char *name;            /* the certificate's name: file and directory name; NULL in defaults */
    struct strlist names;  /* normalised */
    char *server;          /* a directory URL, presets resolved; never NULL after cert_config_init() */
    struct strlist fallbacks; /* directory URLs, in order; `server` is not among them */
    char *account;         /* NULL = the CA's default one */
    char *ca_bundle;       /* NULL = the system's */
    char *email;           /* NULL = none */
    bool agree_tos;
    enum config_challenge challenges[CHALLENGE_VIAS]; /* in order of preference, each once */
    size_t n_challenges;   /* at least 1 */
    char *webroot;
    char *challenge_hook;
    char *cleanup_hook;
    enum hook_contract hook_contract;
    char *hook_env;
    int hook_timeout_s;
    char *dns_update_server; /* as written; "primary" */
    char *dns_update_key;
    char *dns_update_zone;
    struct strlist dns_servers; /* config_dns_server() */
    int dns_timeout_s;
    bool dns_check;
    enum key_type key_type;
    bool dual;             /* a second certificate of the other algorithm, for `second_key_type` */
    enum key_type second_key_type;
    char *key;             /* URI, NULL = made here */
    bool reuse_key;
    char *csr;             /* path, NULL = made here */
    char *profile;         /* NULL = the CA's choice */
    bool profile_required;
    char *preferred_chain; /* NULL = the CA's first */
    int64_t valid_for_s;   /* 0 = the CA's choice */
    bool partial;
    char *proxy;           /* NULL = the environment's; "" = none ("direct") */
    int ip_version;        /* 0 = any */
    char *interface;       /* NULL = any */
    int timeout_s;
    enum web_kind install; /* WEB_NONE = stored only */
    bool redirect;
    int64_t hsts_s;        /* 0 = none */
    enum web_tls_profile tls_profile;
    char *nginx_conf, *nginx_bin, *apache_conf, *apache_ctl; /* NULL = found */
    struct strlist pre_hooks, deploy_hooks, post_hooks;
    char *hook_user;       /* NULL = as whom tlsup runs */
    int deploy_timeout_s;
    struct strlist exports; /* export_spec_parse() */
    struct strlist verify;  /* verify_target_parse() */
    int keep;
};

void cert_config_init(struct cert_config *config); /* built-in defaults: Let's Encrypt, web-server, ecdsa-p256, none, no redirect, hook 120 s, DNS 180 s with check, request 120 s */
bool cert_config_has_challenge(const struct cert_config *config, enum config_challenge via);
/* What contradicts itself: a way without what it needs (webroot, hook, update server), key with dual or csr, csr with dual or reuse-key, two key types of one algorithm, wildcards without a
 * dns way ("how to give one" as advice), IP addresses with dns ways only, install with csr. ERR_CONFIG. Done for files and for the command line. */
MUST_CHECK bool cert_config_check(const struct cert_config *config, struct err *err);
void cert_config_clear(struct cert_config *config);
void cert_config_copy(struct cert_config *to, const struct cert_config *from); /* clears `to` first */
bool cert_config_same(const struct cert_config *a, const struct cert_config *b); /* every key; the certificate's name aside */

#define CONFIG_KEEP 5
#define CONFIG_DEPLOY_TIMEOUT_S 300
#define CONFIG_HSTS_S (INT64_C(2) * 365 * 86400)

#define CONFIG_FILE_BYTES ((size_t)256 * 1024)
#define CONFIG_LINE_BYTES ((size_t)64 * 1024)

/* Overlay a file onto `config`, which is unchanged on failure; `is_cert` allows and requires `names`. A missing tlsup.conf is fine
 * (`is_cert` false); a missing certificate file is ERR_NOT_FOUND. Run as root, a file that somebody else could have written is refused with
 * ERR_PERMISSION: its deploy-hook would run as root. */
MUST_CHECK bool config_read_file(const char *path, bool is_cert, struct cert_config *config, struct err *err);
/* The same for text that is in memory already; `subject` is the path for errors. */
MUST_CHECK bool config_read_text(const char *text, size_t len, const char *subject, bool is_cert, struct cert_config *config,
                                 struct err *err);
struct machine_config;
/* tlsup.conf for what it says of the machine (machine_config.h); `machine` is initialised. A missing file is fine. */
MUST_CHECK bool config_read_machine(const char *path, struct machine_config *machine, struct err *err);
/* The text of a certificate file holding only what differs from `defaults` (and names), with a comment line on top. Appends. It reads back
 * as the same configuration when its values are ones that config_read_text() accepts. */
void config_write_text(const struct cert_config *config, const struct cert_config *defaults, struct buf *out);

/* "letsencrypt" -> its directory URL (ca.h has the presets); an https URL -> itself; else ERR_CONFIG with the list of presets. Borrowed from static
 * storage or from `text`. */
MUST_CHECK bool config_ca_url(const char *text, const char **url, struct err *err);
/* The preset's name for a URL, else the URL's host, with the port where one is said. Returns `out`. */
const char *config_ca_name(const char *url, char out[256]);
/* A directory name for what we keep about a CA, one for each URL: "acme-v02.api.letsencrypt.org_directory". Host, port and path, with
 * '_' for what is outside [A-Za-z0-9._-]; where that would not tell two URLs apart, or is too long, "__" and a hash follow. Returns `out`. */
const char *config_ca_dir_name(const char *url, char out[256]);
#define CONFIG_DEFAULT_CA "https://acme-v02.api.letsencrypt.org/directory"
#define CONFIG_STAGING_CA "https://acme-staging-v02.api.letsencrypt.org/directory"

/* Certificate names are file names: [A-Za-z0-9._@-]{1,200}, not starting with '.' or '-'; "*.x" is stored as "_wildcard.x";
 * an IPv6 address has ':' as '_'; a name over 200 octets is cut and gets "-" and a hash. */
void config_cert_name_for(const char *first_name, char out[256]);
bool config_cert_name_valid(const char *name);
/* Names of accounts: [A-Za-z0-9_-]{1,64}; CONFIG_DEFAULT_ACCOUNT stands for the default one. */
#define CONFIG_DEFAULT_ACCOUNT "default"
bool config_account_name_valid(const char *name);

/* -- for the command line, which takes the same values -- */
/* Set one key from its text, as a file would. ERR_CONFIG: the text tells what is wrong with the value, without file, line or key. */
MUST_CHECK bool config_set(struct cert_config *config, const char *key, const char *value, struct err *err);
/* "30d", "12h", "90m", "600s", "600"; false when it is none. */
bool config_duration(const char *text, int64_t *seconds);
/* The address of a name server with or without a port, in the form that dns.h takes: "192.0.2.1", "2001:db8::1#5353"; with `host_names` also "ns.example.org#53".
 * dns_servers are in this form already, dns_update_server is not. ERR_CONFIG. */
#define CONFIG_DNS_SERVER_BYTES 272
MUST_CHECK bool config_dns_server(const char *text, bool host_names, char out[CONFIG_DNS_SERVER_BYTES], struct err *err);

#endif
