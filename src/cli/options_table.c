#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "options_internal.h"

#include <string.h>

#define REGISTER ON(COMMAND_ACCOUNT_REGISTER)
#define UPDATE ON(COMMAND_ACCOUNT_UPDATE)
#define REVOKE ON(COMMAND_REVOKE)
#define RENEW ON(COMMAND_RENEW)
#define ISSUE ON(COMMAND_ISSUE)
#define CHANGE ON(COMMAND_RECONFIGURE)
#define EXPORT ON(COMMAND_EXPORT)
#define IMPORT ON(COMMAND_IMPORT)
/* What a certificate is configured with. */
#define ON_SET (ON_NEW | CHANGE)
#define ON_ACCOUNT                                                                                           \
    (REGISTER | UPDATE | ON(COMMAND_ACCOUNT_SHOW) | ON(COMMAND_ACCOUNT_CHANGE_KEY) |                         \
     ON(COMMAND_ACCOUNT_DEACTIVATE) | ON(COMMAND_ACCOUNT_IMPORT))
#define ON_CERTS                                                                                             \
    (ON(COMMAND_INSTALL) | RENEW | ON(COMMAND_STATUS) | REVOKE | ON(COMMAND_DELETE) | ON(COMMAND_UNDO) |     \
     CHANGE | EXPORT | IMPORT | ON(COMMAND_RESTORE))
#define ON_CA (ON_SET | ON_ACCOUNT | REVOKE)
#define ON_CONNECTION (ON_CA | RENEW)
#define ON_WEB (ON(COMMAND_ENABLE) | ON(COMMAND_INSTALL) | CHANGE)
#define ON_LOOK (ON(COMMAND_SITES) | ON(COMMAND_CHECK))
#define ON_SERVER (ON_SET | ON(COMMAND_INSTALL) | ON_LOOK)
#define ON_PLAN (ON(COMMAND_ENABLE) | ON(COMMAND_INSTALL) | ON(COMMAND_UNDO) | IMPORT)
#define ON_JSON                                                                                              \
    (ON_LOOK | ON(COMMAND_TIMER_STATUS) | ON(COMMAND_STATUS) | ON(COMMAND_ACCOUNT_SHOW) |                    \
     ON(COMMAND_ACCOUNT_LIST) | RENEW | ON_NEW | ON(COMMAND_RESTORE) | IMPORT)

const char *const option_group_titles[GROUP_COUNT] = {
    [GROUP_NAMES] = "Names",
    [GROUP_KEYS] = "Keys",
    [GROUP_CA] = "Certificate authority (CA)",
    [GROUP_ORDER] = "What the CA is asked for",
    [GROUP_ACCOUNT] = "Account",
    [GROUP_CONNECTION] = "Connection to the CA",
    [GROUP_CHALLENGE] = "How the CA's challenge is answered",
    [GROUP_DNS] = "DNS",
    [GROUP_REVOCATION] = "Revocation",
    [GROUP_WEB] = "Web server",
    [GROUP_RENEWAL] = "Renewal",
    [GROUP_EXPORT] = "Export",
    [GROUP_IMPORT] = "Import",
    [GROUP_GENERAL] = "General",
};

#define AT(member) offsetof(struct request, member)
#define NONE 0, 0, false
#define MANY 0, 0, true
#define MEMBER(member) AT(member), 0, false
#define CHOICE(member, choice) AT(member), choice, false
#define NUMBER(number) 0, number, false

static const struct option options[] = {
    {"domain", 'd', "NAME[,...]", ON_SET, GROUP_NAMES, "another way to name names; may be repeated",
     apply_domains, MANY},
    {"ip-address", 0, "IP[,...]", ON_SET, GROUP_NAMES, NULL, apply_ip_address, MANY},
    {"cert-name", 0, "CERT", ON_NEW, GROUP_NAMES,
     "what to call the certificate; by default its first name. A CERT that exists is replaced",
     apply_cert_name, NONE},
    {"cert-name", 0, "CERT", ON_CERTS, GROUP_NAMES, NULL, apply_cert_name, MANY},
    {"from", 0, "FILE", ISSUE, GROUP_NAMES,
     "many certificates: the names of one on each line, \"> CERT\" behind them to call it otherwise than by "
     "the first; - is standard input",
     apply_from, MEMBER(from)},
    {"from", 0, "CLIENT", IMPORT, GROUP_IMPORT,
     "the client whose certificates are taken over: certbot, acme.sh, dehydrated, lego or uacme",
     apply_from_client, MEMBER(from)},
    {"csr", 0, "FILE", ISSUE, GROUP_NAMES,
     "a certificate for this signing request (PEM or DER), made elsewhere, whose names it has", apply_file,
     MEMBER(csr)},
    {"expand", 0, NULL, ON_SET, GROUP_NAMES, NULL, apply_nothing, NONE},
    {"renew-with-new-domains", 0, NULL, ON_SET, GROUP_NAMES, NULL, apply_nothing, NONE},

    {"key-type", 'k', "TYPE[,TYPE]", ON_SET, GROUP_KEYS,
     "ecdsa-p256 (the default), ecdsa-p384, rsa-2048, rsa-3072 or rsa-4096; two of them, "
     "ecdsa-p256,rsa-2048: an RSA and an ECDSA certificate as "
     "one",
     apply_key_word, 0, WORD_KEY_TYPE, true},
    {"rsa-key-size", 0, "BITS", ON_SET, GROUP_KEYS, NULL, apply_key_word, NUMBER(WORD_RSA_KEY_SIZE)},
    {"elliptic-curve", 0, "CURVE", ON_SET, GROUP_KEYS, NULL, apply_key_word, NUMBER(WORD_ELLIPTIC_CURVE)},
    {"key", 0, "URI", ON_SET, GROUP_KEYS,
     "a key that stays on its token: pkcs11:..., or handle:... or tpm2:FILE of a TPM", apply_setting,
     MEMBER(key)},
    {"reuse-key", 0, NULL, ON_SET, GROUP_KEYS, "keep the same key for renewals", apply_choice,
     CHOICE(reuse_key, CHOICE_YES)},
    {"no-reuse-key", 0, NULL, ON_SET, GROUP_KEYS, "a new key for each certificate (the default)",
     apply_choice, CHOICE(reuse_key, CHOICE_NO)},

    {"server", 0, "CA[,CA...]", ON_SET, GROUP_CA,
     "letsencrypt (the default), letsencrypt-staging, zerossl, google, google-test, sslcom-rsa, sslcom-ecc, "
     "actalis, sectigo, or the https URL "
     "of another CA's ACME directory; of several, the next is tried when one cannot or will not",
     apply_server, MANY},
    {"server", 0, "CA", ON_ACCOUNT, GROUP_CA,
     "letsencrypt (the default), zerossl, google, ... or the https URL of another CA's ACME directory",
     apply_server, MANY},
    {"server", 0, "CA", IMPORT, GROUP_CA,
     "the CA, where the old client does not say which: letsencrypt, zerossl, ... or the https URL of its "
     "ACME directory",
     apply_server, MANY},
    {"server", 0, "CA", REVOKE, GROUP_CA,
     "the CA that issued it, where tlsup does not know that by itself: zerossl, google, ... or the https URL "
     "of its ACME directory",
     apply_server, MANY},
    {"staging", 0, NULL, ON_CA, GROUP_CA,
     "for rehearsals: Let's Encrypt's staging CA, with generous limits, trusted by no browser", apply_server,
     NONE},

    {"preferred-profile", 0, "NAME", ON_SET, GROUP_ORDER,
     "a certificate of this profile, e.g. shortlived, where the CA offers it", apply_profile,
     NUMBER(CHOICE_NO)},
    {"required-profile", 0, "NAME", ON_SET, GROUP_ORDER, "of this profile, or none", apply_profile,
     NUMBER(CHOICE_YES)},
    {"preferred-chain", 0, "NAME", ON_SET, GROUP_ORDER,
     "of the chains that the CA offers, the one with this issuer name in it, e.g. 'ISRG Root X1'",
     apply_setting, MEMBER(preferred_chain)},
    {"valid-for", 0, "TIME", ON_SET, GROUP_ORDER,
     "ask for this lifetime: 30d, 12h, 90m; few CAs let themselves be asked", apply_valid_for, NONE},
    {"not-before", 0, "WHEN", ON_SET, GROUP_ORDER,
     "valid from: a date, 2027-01-31T12:00:00Z, or +2d from now; this time only", apply_instant,
     MEMBER(not_before_s)},
    {"not-after", 0, "WHEN", ON_SET, GROUP_ORDER, "valid until; this time only", apply_instant,
     MEMBER(not_after_s)},
    {"allow-partial", 0, NULL, ON_SET, GROUP_ORDER,
     "leave names out that cannot be proven, and try them again later", apply_choice,
     CHOICE(partial, CHOICE_YES)},
    {"no-partial", 0, NULL, ON_SET, GROUP_ORDER, "all the names, or no certificate (the default)",
     apply_choice, CHOICE(partial, CHOICE_NO)},

    {"email", 'm', "ADDRESS", ON_SET | REGISTER | UPDATE, GROUP_ACCOUNT,
     "where the CA may reach you; optional with most CAs", apply_email, NONE},
    {"agree-tos", 0, NULL, ON_SET | REGISTER | UPDATE, GROUP_ACCOUNT, "agree to the CA's terms of service",
     apply_flag, MEMBER(agree_tos)},
    {"account", 0, "NAME", ON_CA, GROUP_ACCOUNT,
     "one of several accounts with the same CA, by a name of your choice; it has a key of its own",
     apply_account, NONE},
    {"eab-kid", 0, "ID", ON_SET | REGISTER, GROUP_ACCOUNT,
     "external account binding, which some CAs want: the key ID that the CA gave you", apply_eab_kid, NONE},
    {"eab-hmac-key", 0, "KEY", ON_SET | REGISTER, GROUP_ACCOUNT,
     "and the HMAC key that goes with it; @FILE reads it from a file and - from standard input, so that no "
     "other user can see it in the list of "
     "processes",
     apply_secret, MEMBER(eab_hmac_key)},
    {"eab-hmac-alg", 0, "ALG", ON_SET | REGISTER, GROUP_ACCOUNT, "HS256 (the default), HS384 or HS512",
     apply_eab_alg, NONE},
    {"eab", 0, NULL, ON_SET | REGISTER, GROUP_ACCOUNT, NULL, apply_nothing, NONE},
    {"register-unsafely-without-email", 0, NULL, ON_SET | REGISTER, GROUP_ACCOUNT, NULL, apply_nothing, NONE},

    {"ca-bundle", 0, "FILE", ON_CONNECTION | IMPORT, GROUP_CONNECTION,
     "trust these root certificates, instead of the system's", apply_file, MEMBER(ca_bundle)},
    {"proxy", 0, "PROXY", ON_CONNECTION, GROUP_CONNECTION,
     "http://[USER:PASSWORD@]HOST:PORT, or with https, socks5, socks5h; direct: none, not even that of "
     "https_proxy in the environment",
     apply_proxy, NONE},
    {"ipv4", '4', NULL, ON_CONNECTION, GROUP_CONNECTION, "over IPv4 only", apply_ip_version, NUMBER(4)},
    {"ipv6", '6', NULL, ON_CONNECTION, GROUP_CONNECTION, "over IPv6 only", apply_ip_version, NUMBER(6)},
    {"interface", 0, "NAME", ON_CONNECTION, GROUP_CONNECTION,
     "from this network interface, or this address of the machine", apply_setting, MEMBER(interface)},
    {"timeout", 0, "SECONDS", ON_CONNECTION, GROUP_CONNECTION, "for one request (120)", apply_seconds,
     MEMBER(timeout_s)},

    {"standalone", 0, NULL, ON_SET, GROUP_CHALLENGE, "tlsup itself answers on port 80, which must be free",
     apply_way, NUMBER(CHALLENGE_VIA_STANDALONE)},
    {"webroot", 0, NULL, ON_SET, GROUP_CHALLENGE, "through files below a web root, given with -w", apply_way,
     NUMBER(CHALLENGE_VIA_WEBROOT)},
    {"webroot-path", 'w', "DIR", ON_SET, GROUP_CHALLENGE,
     "the web root that is served for the names; implies --webroot", apply_webroot, AT(webroot),
     CHALLENGE_VIA_WEBROOT, false},
    {"tls-alpn", 0, NULL, ON_SET, GROUP_CHALLENGE, "tlsup itself answers on port 443, which must be free",
     apply_way, NUMBER(CHALLENGE_VIA_TLS_ALPN)},
    {"dns", 0, NULL, ON_SET, GROUP_CHALLENGE,
     "through a TXT record, made by --challenge-hook or by --dns-update-server, which imply it; the only way "
     "for wildcards",
     apply_way, NUMBER(CHALLENGE_VIA_DNS)},
    {"dns-account", 0, NULL, ON_SET, GROUP_CHALLENGE,
     "through a TXT record under a name of the account's own", apply_way, NUMBER(CHALLENGE_VIA_DNS_ACCOUNT)},
    {"dns-persist", 0, NULL, ON_SET, GROUP_CHALLENGE,
     "through a TXT record that stays, which you make once, or --dns-update-server does", apply_way,
     NUMBER(CHALLENGE_VIA_DNS_PERSIST)},
    {"challenge", 0, "WAY[,...]", ON_SET, GROUP_CHALLENGE,
     "several ways, the one to try first in front: web-server (the default), standalone, webroot, http-hook, "
     "tls-alpn, dns, dns-account, "
     "dns-persist",
     apply_challenge, MANY},
    {"preferred-challenges", 0, "TYPE[,...]", ON_SET, GROUP_CHALLENGE, NULL, apply_preferred, MANY},
    {"challenge-hook", 0, "PROGRAM", ON_SET, GROUP_CHALLENGE,
     "a program that answers challenges: makes TXT records, or with --challenge http-hook serves files; no "
     "shell, no arguments of yours",
     apply_program, MEMBER(challenge_hook)},
    {"cleanup-hook", 0, "PROGRAM", ON_SET, GROUP_CHALLENGE,
     "with --hook-contract certbot: the program that cleans up", apply_program, MEMBER(cleanup_hook)},
    {"hook-contract", 0, "NAME", ON_SET, GROUP_CHALLENGE,
     "how the hook is called: as by tlsup (the default), certbot, dehydrated, uacme, lego, lego-raw or "
     "acme.sh",
     apply_contract, NONE},
    {"hook-env", 0, "FILE", ON_SET, GROUP_CHALLENGE,
     "NAME=value lines for the hook's environment: credentials", apply_file, MEMBER(hook_env)},
    {"hook-timeout", 0, "SECONDS", ON_SET, GROUP_CHALLENGE, "how long the hook may take (120)", apply_seconds,
     MEMBER(hook_timeout_s)},
    {"manual", 0, NULL, ON_SET, GROUP_CHALLENGE, NULL, apply_nothing, NONE},
    {"manual-auth-hook", 0, "PROGRAM", ON_SET, GROUP_CHALLENGE, NULL, apply_manual_hook,
     MEMBER(challenge_hook)},
    {"manual-cleanup-hook", 0, "PROGRAM", ON_SET, GROUP_CHALLENGE, NULL, apply_manual_hook,
     MEMBER(cleanup_hook)},
    {"manual-public-ip-logging-ok", 0, NULL, ON_SET, GROUP_CHALLENGE, NULL, apply_nothing, NONE},

    {"dns-update-server", 0, "SERVER", ON_SET, GROUP_DNS,
     "the name server that takes dynamic updates (RFC 2136) for TXT records, HOST or ADDRESS with or without "
     ":PORT; primary: the zone's own",
     apply_setting, MEMBER(dns_update_server)},
    {"dns-update-key", 0, "FILE", ON_SET, GROUP_DNS,
     "the key that signs the updates (TSIG), as tsig-keygen writes it", apply_file, MEMBER(dns_update_key)},
    {"dns-update-zone", 0, "ZONE", ON_SET, GROUP_DNS,
     "the zone to be updated, where it is not to be looked up", apply_setting, MEMBER(dns_update_zone)},
    {"dns-servers", 0, "ADDRESS[,...]", ON_SET, GROUP_DNS,
     "name servers to ask, instead of the system's: 192.0.2.1, 127.0.0.1#5353", apply_dns_servers, MANY},
    {"dns-timeout", 0, "SECONDS", ON_SET, GROUP_DNS,
     "how long the zone's servers may take to show a record (180)", apply_seconds, MEMBER(dns_timeout_s)},
    {"no-dns-check", 0, NULL, ON_SET, GROUP_DNS, "do not ask the zone's servers before the CA is told",
     apply_choice, CHOICE(dns_check, CHOICE_NO)},
    {"dns-check", 0, NULL, ON_SET, GROUP_DNS, NULL, apply_choice, CHOICE(dns_check, CHOICE_YES)},

    {"reason", 0, "REASON", REVOKE, GROUP_REVOCATION,
     "unspecified (the default), keyCompromise, superseded, cessationOfOperation, affiliationChanged, "
     "another of RFC 5280, or its number",
     apply_reason, NONE},
    {"cert-path", 0, "FILE", REVOKE, GROUP_REVOCATION, "the certificate to revoke (PEM), in place of CERT",
     apply_file, MEMBER(cert_path)},
    {"by-key", 0, NULL, REVOKE, GROUP_REVOCATION, "sign with the certificate's own key, which tlsup holds",
     apply_flag, MEMBER(by_certificate_key)},
    {"key-path", 0, "FILE", REVOKE, GROUP_REVOCATION, "sign with the certificate's own key, from this file",
     apply_file, MEMBER(key_path)},
    {"no-delete-after-revoke", 0, NULL, REVOKE, GROUP_REVOCATION, NULL, apply_nothing, NONE},

    {"nginx", 0, NULL, ON_SERVER, GROUP_WEB,
     "work with nginx; by default the server that runs on port 80 is found", apply_web, NUMBER(WEB_NGINX)},
    {"apache", 0, NULL, ON_SERVER, GROUP_WEB, "work with Apache", apply_web, NUMBER(WEB_APACHE)},
    {"all", 0, NULL, ON(COMMAND_ENABLE), GROUP_WEB,
     "in place of names: every site of the web server that leads to this machine and has no certificate of "
     "tlsup's yet",
     apply_flag, MEMBER(all)},
    {"with", 0, "SERVER", ON(COMMAND_ENABLE), GROUP_WEB,
     "nginx or apache: install it by this system's package manager where there is no web server", apply_with,
     NONE},
    {"redirect", 0, NULL, ON_WEB, GROUP_WEB, "send visitors from http to https", apply_choice,
     CHOICE(redirect, CHOICE_YES)},
    {"no-redirect", 0, NULL, ON_WEB, GROUP_WEB, "serve http as before", apply_choice,
     CHOICE(redirect, CHOICE_NO)},
    {"hsts", 0, NULL, ON_WEB, GROUP_WEB,
     "tell browsers to come by https alone for two years (Strict-Transport-Security); hard to take back",
     apply_choice, CHOICE(hsts, CHOICE_YES)},
    {"hsts-max-age", 0, "TIME", ON_WEB, GROUP_WEB, "the same for another time: 1d to try it, 180d",
     apply_hsts, NONE},
    {"no-hsts", 0, NULL, ON_WEB, GROUP_WEB, "do not, or no longer (the default)", apply_choice,
     CHOICE(hsts, CHOICE_NO)},
    {"tls-profile", 0, "PROFILE", ON_WEB, GROUP_WEB,
     "Mozilla's intermediate (the default), modern (TLS 1.3 alone) or old (TLS 1.0 and up)",
     apply_tls_profile, NONE},
    {"nginx-conf", 0, "FILE", ON_SERVER, GROUP_WEB, "nginx's main configuration, where it is not found",
     apply_file, MEMBER(nginx_conf)},
    {"nginx-bin", 0, "FILE", ON_SERVER, GROUP_WEB, "its program", apply_program, MEMBER(nginx_bin)},
    {"apache-conf", 0, "FILE", ON_SERVER, GROUP_WEB, "Apache's main configuration, where it is not found",
     apply_file, MEMBER(apache_conf)},
    {"apache-ctl", 0, "FILE", ON_SERVER, GROUP_WEB, "apachectl, or the server's program", apply_program,
     MEMBER(apache_ctl)},
    {"plan", 0, NULL, ON_PLAN, GROUP_WEB,
     "show what would be written and run, and change nothing: no certificate is asked for", apply_flag,
     MEMBER(plan)},

    {"force-renewal", 0, NULL, ON_NEW | RENEW, GROUP_RENEWAL, "get a new certificate even if none is due",
     apply_flag, MEMBER(force_renewal)},
    {"force", 0, NULL, ON(COMMAND_DELETE), GROUP_WEB,
     "even where a web server's configuration cannot be read, and may still use it", apply_flag,
     MEMBER(force_renewal)},
    {"keep-until-expiring", 0, NULL, ON_NEW, GROUP_RENEWAL, NULL, apply_nothing, NONE},
    {"deploy-hook", 0, "PROGRAM", ON_SET, GROUP_RENEWAL,
     "run this program, without arguments and without a shell, for each new certificate; may be repeated",
     apply_programs, AT(deploy_hooks), 0, true},
    {"pre-hook", 0, "PROGRAM", ON_SET, GROUP_RENEWAL, "run this before certificates are asked for",
     apply_programs, AT(pre_hooks), 0, true},
    {"post-hook", 0, "PROGRAM", ON_SET, GROUP_RENEWAL, "and this afterwards, whatever came of it",
     apply_programs, AT(post_hooks), 0, true},
    {"hook-user", 0, "USER", ON_SET, GROUP_RENEWAL, "run these as this user", apply_setting,
     MEMBER(hook_user)},
    {"deploy-timeout", 0, "SECONDS", ON_SET, GROUP_RENEWAL, "how long each of them may take (300)",
     apply_seconds, MEMBER(deploy_timeout_s)},
    {"verify", 0, "HOST:PORT[/PROTOCOL]", ON_SET, GROUP_RENEWAL,
     "after the deploy hooks the new certificate must be served there: mail.example.org:25/smtp; may be "
     "repeated",
     apply_words, AT(verify), 0, true},
    {"keep-versions", 0, "NUMBER", ON_SET, GROUP_RENEWAL, "how many versions of a certificate are kept (5)",
     apply_number, MEMBER(keep)},
    {"dry-run", 0, NULL, ON_NEW | RENEW | CHANGE, GROUP_RENEWAL,
     "a rehearsal with the CA's staging server: all but the last steps, and nothing of it stays", apply_flag,
     MEMBER(dry_run)},
    {"no-test", 0, NULL, CHANGE, GROUP_RENEWAL,
     "change it without the rehearsal with the CA's staging server", apply_flag, MEMBER(no_test)},
    {"no-random-sleep-on-renew", 0, NULL, RENEW, GROUP_RENEWAL, NULL, apply_nothing, NONE},

    {"format", 0, "FORMAT", EXPORT, GROUP_EXPORT,
     "combined (key and chain in one PEM file), fullchain, cert, chain, key, pem, der, p12 or jks",
     apply_format, MEMBER(format)},
    {"to", 0, "PATH", EXPORT, GROUP_EXPORT,
     "the file (for pem and der a directory) to write; - is standard output", apply_to, MEMBER(to)},
    {"owner", 0, "USER[:GROUP]", EXPORT, GROUP_EXPORT, "whose file it is to be", apply_text, MEMBER(owner)},
    {"mode", 0, "MODE", EXPORT, GROUP_EXPORT, "its permissions (0600; certificates alone 0644)", apply_text,
     MEMBER(mode)},
    {"password-file", 0, "FILE", EXPORT, GROUP_EXPORT,
     "p12, jks: the first line of this file is the password", apply_file, MEMBER(password_file)},
    {"friendly-name", 0, "NAME", EXPORT, GROUP_EXPORT, "p12, jks: what it is called inside", apply_text,
     MEMBER(friendly_name)},
    {"legacy", 0, NULL, EXPORT, GROUP_EXPORT, "p12, jks: 3DES and SHA-1, for programs of before 2021",
     apply_flag, MEMBER(legacy)},
    {"standing", 0, NULL, EXPORT, GROUP_EXPORT, "write it again after each renewal", apply_flag,
     MEMBER(standing)},

    {"switch-web-server", 0, NULL, IMPORT, GROUP_IMPORT,
     "have the web server read the certificates from tlsup's directory, as one change that is proven",
     apply_flag, MEMBER(switch_web_server)},
    {"disable-old-timer", 0, NULL, IMPORT, GROUP_IMPORT,
     "switch off what renews for the old client, without asking", apply_choice,
     CHOICE(disable_old, CHOICE_YES)},
    {"keep-old-timer", 0, NULL, IMPORT, GROUP_IMPORT, "leave it on, without asking", apply_choice,
     CHOICE(disable_old, CHOICE_NO)},

    {"metrics", 0, NULL, ON(COMMAND_STATUS), GROUP_GENERAL, "for monitoring: OpenMetrics text", apply_flag,
     MEMBER(metrics)},
    {"open-firewall", 0, NULL, ON(COMMAND_CHECK) | ON(COMMAND_ENABLE), GROUP_WEB,
     "open ports 80 and 443 where this machine's own firewall closes them", apply_flag,
     MEMBER(open_firewall)},
    {"no-check", 0, NULL, ON(COMMAND_ENABLE), GROUP_WEB, "do not look first whether it can work", apply_flag,
     MEMBER(no_check)},
    {"no-timer", 0, NULL, ON_NEW | ON(COMMAND_INSTALL), GROUP_RENEWAL,
     "set up no systemd timer and no cron file; you run tlsup renew yourself", apply_flag, MEMBER(no_timer)},

    {"non-interactive", 'n', NULL, ON_ALL, GROUP_GENERAL, "never ask; fail where an answer is needed",
     apply_flag, MEMBER(non_interactive)},
    {"json", 0, NULL, ON_JSON, GROUP_GENERAL, "for programs: JSON instead of a table", apply_flag,
     MEMBER(json)},
    {"quiet", 'q', NULL, ON_ALL, GROUP_GENERAL, "show errors only", apply_level, NUMBER(LOG_LEVEL_ERROR)},
    {"verbose", 'v', NULL, ON_ALL, GROUP_GENERAL, "tell what happens, in plain words", apply_level,
     NUMBER(LOG_LEVEL_INFO)},
    {"debug", 0, NULL, ON_ALL, GROUP_GENERAL, "tell every exchange with the CA", apply_level,
     NUMBER(LOG_LEVEL_DEBUG)},
    {"config-dir", 0, "DIR", ON_ALL, GROUP_GENERAL, "configuration, instead of " TLSUP_CONFIG_DIR, apply_path,
     MEMBER(config_dir)},
    {"state-dir", 0, "DIR", ON_ALL, GROUP_GENERAL, "certificates and keys, instead of " TLSUP_STATE_DIR,
     apply_path, MEMBER(state_dir)},
    {"help", 'h', NULL, ON_ALL, GROUP_GENERAL, "this text", apply_nothing, NONE},
    {"version", 'V', NULL, ON_ALL, GROUP_GENERAL, NULL, apply_nothing, NONE},
};

/* Names that certbot, acme.sh, lego and dehydrated have for the same thing. */
static const struct {
    const char *alias, *name;
} aliases[] = {
    {"domains", "domain"},
    {"alias", "cert-name"},
    {"test-cert", "staging"},
    {"force", "force-renewal"},
    {"nginx-ctl", "nginx-bin"},
    {"renew-by-default", "force-renewal"},
    {"keep", "keep-until-expiring"},
    {"renew-hook", "deploy-hook"},
    {"noninteractive", "non-interactive"},
    {"keylength", "key-type"},
    {"new-key", "no-reuse-key"},
    {"always-force-new-domain-key", "no-reuse-key"},
    {"profile", "preferred-profile"},
    {"cert-profile", "preferred-profile"},
    {"certificate-profile", "preferred-profile"},
    {"allow-subset-of-names", "allow-partial"},
    {"valid-from", "not-before"},
    {"valid-to", "not-after"},
    {"accountemail", "email"},
    {"accept-tos", "agree-tos"},
    {"kid", "eab-kid"},
    {"hmac", "eab-hmac-key"},
    {"request-v4", "ipv4"},
    {"request-v6", "ipv6"},
    {"http-timeout", "timeout"},
    {"alpn", "tls-alpn"},
    {"tls", "tls-alpn"},
    {"http.webroot", "webroot-path"},
    {"dns.resolvers", "dns-servers"},
    {"revoke-reason", "reason"},
    {"keep-last", "keep-versions"},
    {"out", "to"},
    {"pass-file", "password-file"},
    {"name-in-file", "friendly-name"},
};

static const struct {
    const char *one, *other;
} exclusive[] = {
    {"standalone", "webroot"},
    {"standalone", "webroot-path"},
    {"nginx", "apache"},
    {"nginx", "apache-conf"},
    {"nginx", "apache-ctl"},
    {"apache", "nginx-conf"},
    {"apache", "nginx-bin"},
    {"hsts", "no-hsts"},
    {"hsts-max-age", "no-hsts"},
    {"all", "domain"},
    {"all", "cert-name"},
    {"all", "csr"},
    {"redirect", "no-redirect"},
    {"server", "staging"},
    {"ipv4", "ipv6"},
    {"preferred-profile", "required-profile"},
    {"reuse-key", "no-reuse-key"},
    {"allow-partial", "no-partial"},
    {"valid-for", "not-after"},
    {"dns-check", "no-dns-check"},
    {"challenge", "preferred-challenges"},
    {"challenge-hook", "manual-auth-hook"},
    {"cleanup-hook", "manual-cleanup-hook"},
    {"from", "domain"},
    {"from", "ip-address"},
    {"from", "cert-name"},
    {"from", "csr"},
    {"csr", "domain"},
    {"csr", "ip-address"},
    {"csr", "key"},
    {"csr", "key-type"},
    {"csr", "rsa-key-size"},
    {"csr", "elliptic-curve"},
    {"csr", "reuse-key"},
    {"cert-path", "cert-name"},
    {"cert-path", "by-key"},
    {"key-path", "by-key"},
    {"key-path", "account"},
    {"by-key", "account"},
    {"keep-until-expiring", "force-renewal"},
    {"dry-run", "plan"},
    {"json", "metrics"},
    {"disable-old-timer", "keep-old-timer"},
};

const struct option *option_at(size_t index)
{
    return index < COUNT_OF(options) ? &options[index] : NULL;
}

bool option_exclusive_at(size_t index, const char **one, const char **other)
{
    if (index >= COUNT_OF(exclusive))
        return false;
    *one = exclusive[index].one;
    *other = exclusive[index].other;
    return true;
}

const struct option *option_find(const char *name, size_t len, enum command command)
{
    const struct option *found = NULL;
    /* what is a name here comes before what is an alias elsewhere */
    for (size_t i = 0; i < COUNT_OF(options); i++)
        if (strlen(options[i].name) == len && strncmp(options[i].name, name, len) == 0 &&
            (options[i].commands & ON(command)) != 0)
            return &options[i];
    for (size_t i = 0; i < COUNT_OF(aliases); i++)
        if (strlen(aliases[i].alias) == len && strncmp(aliases[i].alias, name, len) == 0)
            return option_find(aliases[i].name, strlen(aliases[i].name), command);
    for (size_t i = 0; i < COUNT_OF(options); i++)
        if (strlen(options[i].name) == len && strncmp(options[i].name, name, len) == 0 && found == NULL)
            found = &options[i];
    return found;
}

const struct option *option_of_letter(char letter)
{
    for (size_t i = 0; i < COUNT_OF(options); i++)
        if (options[i].letter == letter)
            return &options[i];
    return NULL;
}

const char *option_nearest(const char *typed, enum command command)
{
    struct nearest best = NEAREST_INIT;
    for (size_t i = 0; i < COUNT_OF(options); i++)
        if (command == COMMAND_NONE || (options[i].commands & ON(command)) != 0)
            nearest_consider(&best, typed, options[i].name);
    for (size_t i = 0; i < COUNT_OF(aliases); i++) {
        const struct option *row = option_find(aliases[i].name, strlen(aliases[i].name), command);
        if (command == COMMAND_NONE || (row->commands & ON(command)) != 0)
            nearest_consider(&best, typed, aliases[i].alias);
    }
    return best.word;
}
