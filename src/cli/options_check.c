#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "options_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tlsup/clock.h"
#include "tlsup/mem.h"

static bool check_exclusive(const struct parser *p, struct err *err)
{
    const char *one, *other;
    for (size_t i = 0; option_exclusive_at(i, &one, &other); i++)
        if (option_is_given(p, one) && option_is_given(p, other))
            return usage(p, err, "--%s and --%s exclude each other", one, other);
    return true;
}

/* -- key types ---------------------------------------------------------------------------------------- */

static bool is_rsa(enum key_type type)
{
    return type == KEY_RSA_2048 || type == KEY_RSA_3072 || type == KEY_RSA_4096;
}

/* `detail` narrows `family` down: --key-type rsa --rsa-key-size 4096. */
static bool read_key_detail(struct parser *p, const char *option, const char *detail, bool rsa,
                            struct err *err)
{
    enum key_type type;
    struct err unknown = ERR_INIT;
    const char *family = p->key_types.n > 0 ? p->key_types.v[0] : NULL;
    if (!key_type_parse(detail, &type, &unknown) || is_rsa(type) != rsa ||
        strcasecmp(detail, rsa ? "rsa" : "ecdsa") == 0)
        return usage(p, err, "--%s takes %s, not %s", option,
                     rsa ? "2048, 3072 or 4096" : "secp256r1 or secp384r1", detail);
    if (family != NULL && strcasecmp(family, rsa ? "rsa" : "ecdsa") != 0 &&
        (!p->request->has_key_type || p->request->key_type != type))
        return usage(p, err, "--key-type %s and --%s %s contradict each other", family, option, detail);
    p->request->has_key_type = true;
    p->request->key_type = type;
    return true;
}

static bool read_key_words(struct parser *p, struct err *err)
{
    struct request *request = p->request;
    enum key_type *const types[] = {&request->key_type, &request->second_key_type};
    const struct strlist *words = &p->key_types;
    if (words->n > COUNT_OF(types))
        return usage(p, err, "--key-type takes one type, or two: one of RSA and one of ECDSA");
    for (size_t i = 0; i < words->n; i++)
        if (!key_type_parse(words->v[i], types[i], err))
            return err_context(err, "--key-type"), options_advise_help(p, err);
    request->has_key_type = words->n > 0;
    request->dual = words->n == 2;
    if (request->dual && (p->rsa_key_size != NULL || p->elliptic_curve != NULL))
        return usage(p, err, "with two key types, give them whole: --key-type ecdsa-p384,rsa-4096");
    return true;
}

static bool read_key_type(struct parser *p, struct err *err)
{
    bool typed = p->key_types.n > 0;
    if (!read_key_words(p, err))
        return false;
    /* certbot's habit is to give both details and let the type choose */
    bool rsa =
        p->rsa_key_size != NULL && (!typed || is_rsa(p->request->key_type) || p->elliptic_curve == NULL);
    if (!typed && p->rsa_key_size != NULL && p->elliptic_curve != NULL)
        return usage(p, err, "--rsa-key-size and --elliptic-curve exclude each other");
    if (rsa)
        return read_key_detail(p, "rsa-key-size", p->rsa_key_size, true, err);
    if (p->elliptic_curve != NULL)
        return read_key_detail(p, "elliptic-curve", p->elliptic_curve, false, err);
    return true;
}

/* -- challenges --------------------------------------------------------------------------------------- */

static bool is_manual(const struct parser *p)
{
    return option_is_given(p, "manual-auth-hook");
}

/* "http" is answered by what else is on the line for it. */
static void add_http(struct parser *p, const enum config_challenge *given, size_t n)
{
    size_t before = p->request->n_challenges;
    for (size_t i = 0; i < n; i++)
        if (config_challenge_type(given[i]) == CHALLENGE_HTTP_01)
            options_add_way(p->request, given[i]);
    if (p->request->n_challenges == before)
        options_add_way(p->request, is_manual(p) ? CHALLENGE_VIA_HTTP_HOOK : CHALLENGE_VIA_WEB_SERVER);
}

static enum config_challenge way_of_type(const char *word)
{
    enum config_challenge via = 0;
    while (strcasecmp(word, config_challenge_name(via)) != 0 &&
           strcasecmp(word, challenge_type_name(config_challenge_type(via))) != 0)
        via++; /* apply_preferred() has let known words through only */
    return via;
}

/* The order of types is that of --preferred-challenges; the other options say by what means. */
static bool read_preferred(struct parser *p, struct err *err)
{
    struct request *request = p->request;
    enum config_challenge given[CHALLENGE_VIAS];
    size_t n = request->n_challenges;
    memcpy(given, request->challenges, sizeof given);
    request->n_challenges = 0;
    for (size_t i = 0; i < p->preferred.n; i++) {
        const char *word = p->preferred.v[i];
        enum config_challenge via =
            strcasecmp(word, "http") == 0 ? CHALLENGE_VIA_WEB_SERVER : way_of_type(word);
        if (config_challenge_type(via) == CHALLENGE_HTTP_01)
            add_http(p, given, n);
        else
            options_add_way(request, via);
    }
    for (size_t i = 0; i < n; i++) {
        bool used = false;
        for (size_t j = 0; j < request->n_challenges; j++)
            used |= config_challenge_type(given[i]) == config_challenge_type(request->challenges[j]);
        if (!used)
            return usage(p, err, "--preferred-challenges leaves %s out, which another option asks for (%s)",
                         challenge_type_name(config_challenge_type(given[i])),
                         config_challenge_name(given[i]));
    }
    return true;
}

/* What only one way needs asks for it. certbot tries a hook with http-01 first, and with DNS where it must.
 */
static void imply_ways(struct parser *p)
{
    struct request *request = p->request;
    bool served = false;
    for (size_t i = 0; i < request->n_challenges; i++)
        served |= request->challenges[i] == CHALLENGE_VIA_DNS ||
                  request->challenges[i] == CHALLENGE_VIA_DNS_ACCOUNT ||
                  request->challenges[i] == CHALLENGE_VIA_DNS_PERSIST ||
                  request->challenges[i] == CHALLENGE_VIA_HTTP_HOOK;
    if (p->listed || served || (request->challenge_hook == NULL && request->dns_update_server == NULL))
        return;
    if (is_manual(p) && request->n_challenges == 0)
        options_add_way(request, CHALLENGE_VIA_HTTP_HOOK);
    options_add_way(request, CHALLENGE_VIA_DNS);
}

static bool read_challenges(struct parser *p, struct err *err)
{
    const struct request *request = p->request;
    if (option_is_given(p, "webroot") && request->webroot == NULL)
        return usage(p, err, "--webroot needs to know the directory: -w DIR");
    if (option_is_given(p, "manual") && request->challenge_hook == NULL)
        return usage(p, err, "--manual needs a program that does the work: --manual-auth-hook PROGRAM");
    if (request->cleanup_hook != NULL && request->has_hook_contract && request->hook_contract != HOOK_CERTBOT)
        return usage(
            p, err,
            "--cleanup-hook is for --hook-contract certbot; with %s the hook itself is called to clean up",
            hook_contract_name(request->hook_contract));
    if (p->preferred.n > 0 && !read_preferred(p, err))
        return false;
    imply_ways(p);
    return true;
}

/* -- the others --------------------------------------------------------------------------------------- */

static bool check_times(const struct parser *p, struct err *err)
{
    const struct request *request = p->request;
    if (request->not_after_s != 0 && request->not_after_s <= clock_now_s())
        return usage(p, err, "--not-after is in the past");
    if (request->not_after_s != 0 && request->not_before_s >= request->not_after_s)
        return usage(p, err, "--not-before is not before --not-after");
    return true;
}

static bool is_standard_input(const struct parser *p, const char *option)
{
    for (size_t i = 0; i < p->n_given; i++)
        if (strcmp(p->given[i].option->name, option) == 0 && strcmp(p->given[i].value, "-") == 0)
            return true;
    return false;
}

static bool check_web(const struct parser *p, struct err *err)
{
    const struct request *request = p->request;
    return request->with == WEB_NONE || request->web == WEB_NONE || request->with == request->web ||
           usage(p, err, "--with %s and --%s exclude each other", web_kind_name(request->with),
                 web_kind_name(request->web));
}

static bool check_account(const struct parser *p, struct err *err)
{
    const struct request *request = p->request;
    if ((request->eab_kid != NULL) != (request->eab_hmac_key != NULL))
        return usage(p, err, "--eab-kid and --eab-hmac-key go together: the CA gives both");
    if (request->eab_alg != NULL && request->eab_kid == NULL)
        return usage(p, err, "--eab-hmac-alg goes with --eab-kid and --eab-hmac-key");
    if (request->command == COMMAND_ACCOUNT_UPDATE && request->email == NULL && !request->agree_tos)
        return usage(p, err, "what is to be changed? tlsup account update -m ADDRESS, or --agree-tos");
    if (is_standard_input(p, "eab-hmac-key") && is_standard_input(p, "from"))
        return usage(p, err, "--eab-hmac-key and --from cannot both be read from standard input");
    return true;
}

bool options_check(struct parser *p, struct err *err)
{
    return check_exclusive(p, err) && read_key_type(p, err) && read_challenges(p, err) &&
           check_times(p, err) && check_web(p, err) && check_account(p, err);
}
