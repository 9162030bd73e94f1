#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "completion.h"

#include <string.h>

#include "tlsup/ca.h"
#include "tlsup/export_spec.h"

/* -- the words of values ------------------------------------------------------------------------------ */

static void key_types(struct strlist *out)
{
    for (int type = KEY_ECDSA_P256; type <= KEY_RSA_4096; type++)
        strlist_add(out, key_type_name((enum key_type)type));
}

static void cas(struct strlist *out)
{
    const struct ca *ca;
    for (size_t i = 0; (ca = ca_at(i)) != NULL; i++)
        strlist_add(out, ca->name);
}

static void ways(struct strlist *out)
{
    for (int via = 0; via < CHALLENGE_VIAS; via++)
        strlist_add(out, config_challenge_name((enum config_challenge)via));
}

static void contracts(struct strlist *out)
{
    for (int contract = 0; contract < HOOK_CONTRACTS; contract++)
        strlist_add(out, hook_contract_name((enum hook_contract)contract));
}

static void formats(struct strlist *out)
{
    for (int format = 0; format < EXPORT_FORMATS; format++)
        strlist_add(out, export_format_name((enum export_format)format));
}

static void tls_profiles(struct strlist *out)
{
    for (int profile = WEB_TLS_INTERMEDIATE; profile <= WEB_TLS_OLD; profile++)
        strlist_add(out, web_tls_profile_name((enum web_tls_profile)profile));
}

static void web_servers(struct strlist *out)
{
    strlist_add(out, web_kind_name(WEB_NGINX));
    strlist_add(out, web_kind_name(WEB_APACHE));
}

static const struct {
    const char *option;
    bool is_list;
    void (*add)(struct strlist *out); /* else `words` */
    const char *words;
} worded[] = {
    {"key-type", true, key_types, NULL},
    {"server", true, cas, NULL},
    {"challenge", true, ways, NULL},
    {"hook-contract", false, contracts, NULL},
    {"format", false, formats, NULL},
    {"tls-profile", false, tls_profiles, NULL},
    {"with", false, web_servers, NULL},
    {"eab-hmac-alg", false, NULL, "HS256 HS384 HS512"},
    {"preferred-profile", false, NULL, "classic tlsserver shortlived"},
    {"required-profile", false, NULL, "classic tlsserver shortlived"},
    {"reason", false, NULL,
     "unspecified keyCompromise affiliationChanged superseded cessationOfOperation privilegeWithdrawn"},
    {"mode", false, NULL, "0600 0640 0644"},
};

/* By what the help calls the value. */
static const struct {
    const char *value;
    enum complete kind;
} kinds[] = {
    {"FILE", COMPLETE_FILE},         {"PROGRAM", COMPLETE_FILE},     {"PATH", COMPLETE_FILE},
    {"DIR", COMPLETE_DIRECTORY},     {"CERT", COMPLETE_CERTIFICATE}, {"USER", COMPLETE_USER},
    {"USER[:GROUP]", COMPLETE_USER},
};

void completion_clear(struct completion *completion)
{
    strlist_clear(&completion->words);
}

void completion_of_option(const struct option *option, struct completion *out)
{
    *out = (struct completion){0};
    if (option->value == NULL)
        return;
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (strcmp(kinds[i].value, option->value) == 0)
            out->kind = kinds[i].kind;
    for (size_t i = 0; i < COUNT_OF(worded); i++) {
        if (strcmp(worded[i].option, option->name) != 0)
            continue;
        out->kind = COMPLETE_WORDS;
        /* an account is with one CA, while a certificate has a list of them */
        out->is_list = worded[i].is_list && strchr(option->value, ',') != NULL;
        if (worded[i].add != NULL)
            worded[i].add(&out->words);
        else
            strlist_split(&out->words, worded[i].words, " ");
    }
    if (strcmp(option->value, "CLIENT") == 0) {
        out->kind = COMPLETE_WORDS;
        strlist_split(&out->words, "certbot acme.sh dehydrated lego uacme", " ");
    }
}

void completion_of_arguments(enum takes takes, struct completion *out)
{
    static const enum complete of[] = {
        [TAKES_NOTHING] = COMPLETE_NOTHING,
        [TAKES_NAMES] = COMPLETE_NOTHING,
        [TAKES_ANY_NAMES] = COMPLETE_NOTHING,
        [TAKES_ONE_CERT] = COMPLETE_CERTIFICATE,
        [TAKES_CERT_OR_FILE] = COMPLETE_CERTIFICATE,
        [TAKES_SOME_CERTS] = COMPLETE_CERTIFICATE,
        [TAKES_ANY_CERTS] = COMPLETE_CERTIFICATE,
        [TAKES_KEY] = COMPLETE_FILE,
        [TAKES_CERT_AND_NEW_NAME] = COMPLETE_CERTIFICATE,
        [TAKES_CERT_AND_VERSION] = COMPLETE_CERTIFICATE,
        [TAKES_DIRECTORY] = COMPLETE_DIRECTORY,
        [TAKES_SHELL] = COMPLETE_WORDS,
        [TAKES_COMMAND] = COMPLETE_COMMAND,
    };
    *out = (struct completion){.kind = of[takes]};
    if (takes == TAKES_SHELL)
        strlist_split(&out->words, "bash zsh fish", " ");
}

/* How long the first clause is; a word or two in front of a colon say too little. */
static size_t clause(const char *text)
{
    enum { TELLING_BYTES = 20 };
    for (size_t i = 0; text[i] != '\0'; i++)
        if (text[i] == ';' || (text[i] == ':' && text[i + 1] == ' ' && i >= TELLING_BYTES))
            return i;
    return strlen(text);
}

/* -- for all the scripts ------------------------------------------------------------------------------ */

bool completion_is_ambiguous(const struct option *option)
{
    const struct option *other;
    for (size_t i = 0; (other = option_at(i)) != NULL; i++)
        if (other != option && strcmp(other->name, option->name) == 0)
            return true;
    return false;
}

static bool is_first_of_family(size_t index)
{
    const char *name = command_at(index)->name;
    size_t first = strcspn(name, " ");
    for (size_t i = 0; i < index; i++)
        if (strncmp(command_at(i)->name, name, first + 1) == 0)
            return false;
    return true;
}

const char *completion_first_word_at(size_t index, const char **summary)
{
    const struct command_info *info;
    for (size_t i = 0; (info = command_at(i)) != NULL; i++) {
        bool family = strchr(info->name, ' ') != NULL;
        if ((family && !is_first_of_family(i)) || index-- > 0)
            continue;
        enum command named = strncmp(info->name, "account", 7) == 0 ? COMMAND_ACCOUNT : COMMAND_TIMER;
        *summary = !family                    ? info->summary
                   : named == COMMAND_ACCOUNT ? "your accounts with CAs"
                                              : "what calls tlsup renew";
        return family ? command_name(named) : info->name;
    }
    return NULL;
}

const char *completion_brief(const char *help, char out[COMPLETION_BRIEF_BYTES])
{
    size_t len = clause(help);
    if (len >= COMPLETION_BRIEF_BYTES) {
        len = COMPLETION_BRIEF_BYTES - 1;
        while (len > 0 && help[len] != ' ')
            len--;
        while (len > 0 && strchr(" ,", help[len - 1]) != NULL)
            len--;
    }
    memcpy(out, help, len);
    out[len] = '\0';
    return out;
}

void completion_quote(struct buf *out, const char *text)
{
    buf_addc(out, '\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            buf_adds(out, "'\\''");
        else
            buf_addc(out, *text);
    }
    buf_addc(out, '\'');
}
