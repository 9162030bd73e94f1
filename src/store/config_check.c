#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "config_internal.h"

#include "tlsup/name.h"

static bool is_dns(enum config_challenge via)
{
    return via == CHALLENGE_VIA_DNS || via == CHALLENGE_VIA_DNS_ACCOUNT || via == CHALLENGE_VIA_DNS_PERSIST;
}

static bool contradiction(const struct cert_config *config, struct err *err, const char *text,
                          const char *advice)
{
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, config->name, "%s", text);
    return err_advise(err, "%s", advice);
}

/* -- ways to answer ----------------------------------------------------------------------------------- */

/* Who answers for `via`: the hook, or something else. */
static bool goes_through_hook(const struct cert_config *config, enum config_challenge via)
{
    bool record = via == CHALLENGE_VIA_DNS || via == CHALLENGE_VIA_DNS_ACCOUNT;
    return via == CHALLENGE_VIA_HTTP_HOOK || (record && config->dns_update_server == NULL);
}

static bool check_hook(const struct cert_config *config, enum config_challenge via, struct err *err)
{
    const char *word = config_challenge_name(via);
    if (config->challenge_hook == NULL) {
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, config->name,
                "challenge = %s needs a 'challenge-hook = /path/program'%s", word,
                is_dns(via) ? " or a 'dns-update-server = ...'" : "");
        return err_advise(
            err,
            is_dns(via)
                ? "a program that makes TXT records, or the name server that takes dynamic updates; on the "
                  "command line: --challenge-hook PROGRAM or --dns-update-server SERVER"
                : "on the command line: --challenge-hook PROGRAM");
    }
    if (hook_contract_takes(config->hook_contract, config_challenge_type(via)))
        return true;
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, config->name, "hook-contract = %s cannot answer challenge = %s",
            hook_contract_name(config->hook_contract), word);
    return err_advise(
        err, "its scripts know no such challenge: take another way, or a hook for hook-contract = tlsup");
}

static bool check_way(const struct cert_config *config, enum config_challenge via, struct err *err)
{
    if (via == CHALLENGE_VIA_WEBROOT && config->webroot == NULL)
        return contradiction(config, err,
                             "challenge = webroot needs a 'webroot = /path' that the web server serves",
                             "on the command line: -w DIR");
    return !goes_through_hook(config, via) || check_hook(config, via, err);
}

static bool check_ways(const struct cert_config *config, struct err *err)
{
    for (size_t i = 0; i < config->n_challenges; i++)
        if (!check_way(config, config->challenges[i], err))
            return false;
    return true;
}

/* -- names -------------------------------------------------------------------------------------------- */

static bool check_name(const struct cert_config *config, const char *name, bool dns, bool other,
                       struct err *err)
{
    if (name_is_wildcard(name) && !dns) {
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, name,
                "%s is a wildcard, which can be proven through DNS alone, but %s cannot", name,
                config_challenge_name(config->challenges[0]));
        return err_advise(
            err, "give a program that makes TXT records (--challenge-hook PROGRAM), or the name server that "
                 "takes dynamic "
                 "updates (--dns-update-server SERVER), or name the host names that you serve, one by one");
    }
    if (name_is_ip(name) && !other) {
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, name,
                "%s is an IP address, which cannot be proven through DNS", name);
        return err_advise(err, "add another way, e.g. challenge = dns web-server (on the command line: "
                               "--challenge dns,web-server)");
    }
    return true;
}

static bool check_names(const struct cert_config *config, struct err *err)
{
    bool dns = false, other = false;
    for (size_t i = 0; i < config->n_challenges; i++)
        *(is_dns(config->challenges[i]) ? &dns : &other) = true;
    for (size_t i = 0; i < config->names.n; i++)
        if (!check_name(config, config->names.v[i], dns, other, err))
            return false;
    return true;
}

/* -- keys --------------------------------------------------------------------------------------------- */

static bool is_ecdsa(enum key_type type)
{
    return type == KEY_ECDSA_P256 || type == KEY_ECDSA_P384;
}

static bool one_algorithm(const struct cert_config *config)
{
    return config->dual && is_ecdsa(config->key_type) == is_ecdsa(config->second_key_type);
}

static bool token_and_dual(const struct cert_config *config)
{
    return config->key != NULL && config->dual;
}

static bool csr_and_key(const struct cert_config *config)
{
    return config->csr != NULL && config->key != NULL;
}

static bool csr_and_dual(const struct cert_config *config)
{
    return config->csr != NULL && config->dual;
}

static bool csr_and_reuse(const struct cert_config *config)
{
    return config->csr != NULL && config->reuse_key;
}

static bool csr_and_install(const struct cert_config *config)
{
    return config->csr != NULL && config->install != WEB_NONE;
}

static const struct {
    bool (*holds)(const struct cert_config *config);
    enum setting_id about;
    const char *text, *advice;
} rules[] = {
    {one_algorithm, KEY_TYPE,
     "two key types are for one RSA and one ECDSA certificate; these are of the same algorithm",
     "for instance key-type = ecdsa-p256 rsa-2048 (on the command line: --key-type ecdsa-p256,rsa-2048)"},
    {token_and_dual, KEY,
     "the key on a token is one key: it cannot be that of an RSA and an ECDSA certificate",
     "give one key type, or leave key away"},
    {csr_and_key, CSR, "csr and key exclude each other: a request made elsewhere has its key already",
     "leave one of them away"},
    {csr_and_dual, CSR,
     "a request made elsewhere has one key: there cannot be an RSA and an ECDSA certificate",
     "give one key type"},
    {csr_and_reuse, CSR, "csr and reuse-key exclude each other: the key is that of the request in any case",
     "leave reuse-key away"},
    {csr_and_install, CSR,
     "a certificate for a request made elsewhere cannot be installed: its key is not held here",
     "install = none; its key and the certificate are put into the web server by hand"},
};

bool config_contradiction(const struct cert_config *config, enum setting_id *about, struct err *err)
{
    *about = CHALLENGE;
    if (!check_ways(config, err))
        return false;
    for (size_t i = 0; i < COUNT_OF(rules); i++)
        if (rules[i].holds(config)) {
            *about = rules[i].about;
            return contradiction(config, err, rules[i].text, rules[i].advice);
        }
    *about = NAMES;
    return check_names(config, err);
}

bool cert_config_check(const struct cert_config *config, struct err *err)
{
    enum setting_id about;
    return config_contradiction(config, &about, err);
}
