/*
 * config_internal.h - what the files of the configuration share: the table of keys.
 */
#ifndef TLSUP_STORE_CONFIG_INTERNAL_H
#define TLSUP_STORE_CONFIG_INTERNAL_H

#include "tlsup/config.h"

enum setting_id {
    NAMES,
    SERVER,
    ACCOUNT,
    CA_BUNDLE,
    EMAIL,
    AGREE_TOS,
    CHALLENGE,
    WEBROOT,
    CHALLENGE_HOOK,
    CLEANUP_HOOK,
    HOOK_CONTRACT,
    HOOK_ENV,
    HOOK_TIMEOUT,
    DNS_UPDATE_SERVER,
    DNS_UPDATE_KEY,
    DNS_UPDATE_ZONE,
    DNS_SERVERS,
    DNS_TIMEOUT,
    DNS_CHECK,
    KEY_TYPE,
    KEY,
    REUSE_KEY,
    CSR,
    PROFILE,
    PROFILE_REQUIRED,
    PREFERRED_CHAIN,
    VALID_FOR,
    PARTIAL,
    PROXY,
    IP_VERSION,
    INTERFACE,
    TIMEOUT,
    INSTALL,
    REDIRECT,
    HSTS,
    TLS_PROFILE,
    NGINX_CONF,
    NGINX_BIN,
    APACHE_CONF,
    APACHE_CTL,
    PRE_HOOK,
    DEPLOY_HOOK,
    POST_HOOK,
    HOOK_USER,
    DEPLOY_TIMEOUT,
    EXPORT,
    VERIFY,
    KEEP,
    SETTINGS
};

struct setting {
    const char *key;
    /* Setters say what is wrong with the value only; the parser puts file, line and key before it. */
    bool (*set)(const struct setting *setting, struct cert_config *config, const char *value,
                struct err *why);
    char *(*get)(const struct setting *setting,
                 const struct cert_config *config);    /* as it is written in a file; the caller frees */
    size_t offset;                                     /* of the member, for the simple kinds */
    bool (*check)(const char *value, struct err *why); /* texts: besides "none"; NULL = anything */
    int max;                                           /* seconds */
    bool many; /* may be given several times: set() adds, "none" clears; get() has a line for each */
};

extern const struct setting config_settings[SETTINGS];

/* config_read_text(), with what is about the machine; `machine` may be NULL. */
MUST_CHECK bool config_read_both(const char *text, size_t len, const char *subject, bool is_cert,
                                 struct cert_config *config, struct machine_config *machine, struct err *err);

/* SETTINGS when there is none of that name. */
enum setting_id config_find(const char *key);
/* The preset's name for a URL, or NULL. */
const char *config_preset_name(const char *url);
bool config_alnum(char c); /* ASCII, whatever the locale */
/* cert_config_check(), with the key to which it is owed. */
MUST_CHECK bool config_contradiction(const struct cert_config *config, enum setting_id *about,
                                     struct err *err);

#endif
