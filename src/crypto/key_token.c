/* Keys that never leave their token: what a URI names, through a provider of OpenSSL's or its PKCS#11 engine.
 * Nothing of this is loaded before the first such key is opened, and nothing here ever asks a question on the
 * terminal. */
#include <stdlib.h>
#include <string.h>

#include <openssl/conf.h>
#include <openssl/crypto.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#ifndef OPENSSL_NO_ENGINE
#include <openssl/engine.h>
#endif

#include "key_internal.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

#define DEFAULT_MODULE "p11-kit-proxy.so" /* all modules that are registered with p11-kit */

/* -- no questions ------------------------------------------------------------------------------ */

static UI_METHOD *answers;  /* knows a struct pin */
static UI_METHOD *refusals; /* knows nothing */

static bool is_question(UI_STRING *string)
{
    enum UI_string_types type = UI_get_string_type(string);
    return type == UIT_PROMPT || type == UIT_VERIFY || type == UIT_BOOLEAN;
}

static int answer(UI *ui, UI_STRING *string)
{
    struct pin *pin = UI_get0_user_data(ui);

    if (!is_question(string))
        return 1;
    if (!pin)
        return -1;
    pin->asked = true;
    return pin->given && UI_set_result(ui, string, buf_str(&pin->text)) >= 0 ? 1 : -1;
}

static int refuse(UI *ui, UI_STRING *string)
{
    (void)ui;
    return is_question(string) ? -1 : 1;
}

static int say_nothing(UI *ui, UI_STRING *string)
{
    (void)ui, (void)string;
    return 1;
}

/* Some drivers are handed no dialogue, and would take OpenSSL's own, which opens the terminal: so that one
 * refuses as well. */
static bool silence(struct err *err)
{
    if (!answers)
        answers = UI_create_method("the PIN of the URI");
    if (!refusals)
        refusals = UI_create_method("no questions");
    if (!answers || !refusals)
        return key_openssl_error(err, NULL, "cannot prepare to open a token");
    UI_method_set_reader(answers, answer);
    UI_method_set_writer(answers, say_nothing);
    UI_method_set_reader(refusals, refuse);
    UI_method_set_writer(refusals, say_nothing);
    UI_set_default_method(refusals);
    return true;
}

/* -- what is loaded ---------------------------------------------------------------------------- */

/* Drivers stay until the process ends: those of one module share its state, and the first to end would end it
 * for all. */

/* A provider in a context of its own: next to it, OpenSSL's own algorithms would be up for choice, and the
 * other way round. One for all keys of a module: where there is no resource manager, a TPM can be opened only
 * once. */
struct provider {
    const char *name;
    char *module;
    OSSL_LIB_CTX *libctx;
    OSSL_PROVIDER *base, *own;
    struct provider *next;
};

/* OpenSSL loads an engine once, and this engine serves one module. */
struct engine {
    void *handle;
    char *module;   /* NULL: its own choice */
    bool settled;   /* the module can no longer be changed */
    struct pin pin; /* for keys that want it again for each signature */
};

static struct provider *providers;
static struct engine the_engine = {.pin = {.text = BUF_SECRET}};

static void provider_free(struct provider *provider)
{
    if (provider->own)
        OSSL_PROVIDER_unload(provider->own);
    if (provider->base)
        OSSL_PROVIDER_unload(provider->base);
    OSSL_LIB_CTX_free(provider->libctx);
    free(provider->module);
    free(provider);
}

/* The provider pkcs11 takes the module from its configuration, or from this variable, which it reads when it
 * is loaded. */
static OSSL_PROVIDER *load_with_module(OSSL_LIB_CTX *libctx, const char *name, const char *module)
{
    static const char variable[] = "PKCS11_PROVIDER_MODULE";
    AUTO_FREE char *before = mem_dup(getenv(variable));

    if (module && setenv(variable, module, 1) != 0)
        mem_exhausted();
    OSSL_PROVIDER *provider = OSSL_PROVIDER_load(libctx, name);
    if (module && before && setenv(variable, before, 1) != 0)
        mem_exhausted();
    if (module && !before)
        unsetenv(variable);
    return provider;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool provider_load(struct provider *provider)
{
    provider->libctx = OSSL_LIB_CTX_new();
    if (!provider->libctx)
        return false;
    char *config = CONF_get1_default_config_file();
    if (config && OSSL_LIB_CTX_load_config(provider->libctx, config) != 1)
        log_debug("OpenSSL's configuration %s was not read for the token", config);
    OPENSSL_free(config);
    provider->base = OSSL_PROVIDER_load(provider->libctx, "default");
    provider->own =
        provider->base ? load_with_module(provider->libctx, provider->name, provider->module) : NULL;
    return provider->own != NULL;
}

/* NULL when it is not installed. */
static struct provider *provider_get(const struct key_location *uri)
{
    const char *name = key_schemes[uri->scheme].provider;

    for (struct provider *provider = providers; provider; provider = provider->next)
        if (strcmp(provider->name, name) == 0 && same_text(provider->module, uri->module))
            return provider;
    struct provider *provider = mem_alloc(sizeof *provider);
    *provider = (struct provider){.name = name, .module = mem_dup(uri->module)};
    if (!provider_load(provider)) {
        provider_free(provider);
        return NULL;
    }
    provider->next = providers;
    providers = provider;
    return provider;
}

/* -- opening ----------------------------------------------------------------------------------- */

static EVP_PKEY *pkey_from_store(const struct provider *provider, const char *uri, struct pin *pin)
{
    EVP_PKEY *pkey = NULL;
    OSSL_STORE_CTX *store = OSSL_STORE_open_ex(uri, provider->libctx, NULL, answers, pin, NULL, NULL, NULL);

    if (store && OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY) != 1)
        ERR_clear_error(); /* a hint: not every store takes it */
    while (store && !pkey && !OSSL_STORE_eof(store) && !OSSL_STORE_error(store)) {
        OSSL_STORE_INFO *info = OSSL_STORE_load(store);
        if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
            pkey = OSSL_STORE_INFO_get1_PKEY(info);
        OSSL_STORE_INFO_free(info);
    }
    OSSL_STORE_close(store);
    return pkey;
}

static EVP_PKEY *pkey_from_file(const struct provider *provider, const struct buf *file, struct pin *pin)
{
    EVP_PKEY *pkey = NULL;
    const unsigned char *at = (const unsigned char *)file->data;
    size_t len = file->len;
    OSSL_DECODER_CTX *ctx = OSSL_DECODER_CTX_new_for_pkey(&pkey, NULL, NULL, NULL, EVP_PKEY_KEYPAIR,
                                                          provider->libctx, "provider=tpm2");

    if (!ctx || OSSL_DECODER_CTX_set_passphrase_ui(ctx, answers, pin) != 1 ||
        OSSL_DECODER_from_data(ctx, &at, &len) != 1)
        pkey = NULL;
    OSSL_DECODER_CTX_free(ctx);
    return pkey;
}

#ifndef OPENSSL_NO_ENGINE
/* Engines are on their way out of OpenSSL, and still all that Debian 12 and its like have for PKCS#11. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

/* The one that OpenSSL's configuration has set up, if it has. */
static ENGINE *engine_configured(void)
{
    ENGINE *engine = ENGINE_get_first();

    while (engine && strcmp(ENGINE_get_id(engine), "pkcs11") != 0)
        engine = ENGINE_get_next(engine);
    return engine;
}

/* One of our own, known to nobody else. */
static ENGINE *engine_loaded(void)
{
    const char *elsewhere = secure_getenv("OPENSSL_ENGINES");
    const char *dir = elsewhere ? elsewhere : OPENSSL_info(OPENSSL_INFO_ENGINES_DIR);
    const char *const commands[][2] = {
        {"ID", "pkcs11"}, {"DIR_LOAD", "2"}, {"DIR_ADD", dir}, {"LIST_ADD", "0"}, {"LOAD", NULL}};
    ENGINE *engine = ENGINE_by_id("dynamic");

    for (size_t i = 0; engine && i < COUNT_OF(commands); i++)
        if (ENGINE_ctrl_cmd_string(engine, commands[i][0], commands[i][1], 0) != 1) {
            ENGINE_free(engine);
            engine = NULL;
        }
    return engine;
}

static bool engine_load(struct engine *engine)
{
    OPENSSL_init_crypto(OPENSSL_INIT_ENGINE_DYNAMIC | OPENSSL_INIT_LOAD_CONFIG, NULL);
    ENGINE *handle = engine_configured();
    if (!handle)
        handle = engine_loaded();
    if (!handle || ENGINE_ctrl_cmd_string(handle, "QUIET", NULL, 1) != 1 ||
        ENGINE_ctrl_cmd(handle, "SET_USER_INTERFACE", 0, answers, NULL, 1) != 1 ||
        ENGINE_ctrl_cmd(handle, "SET_CALLBACK_DATA", 0, &engine->pin, NULL, 1) != 1 ||
        ENGINE_init(handle) != 1) {
        ENGINE_free(handle);
        return false;
    }
    engine->handle = handle;
    return true;
}

static bool engine_set_module(struct engine *engine, const char *module)
{
    if (module && ENGINE_ctrl_cmd_string(engine->handle, "MODULE_PATH", module, 0) != 1)
        return false;
    free(engine->module);
    engine->module = mem_dup(module);
    return true;
}

static EVP_PKEY *pkey_from_engine(struct engine *engine, const char *uri, struct pin *pin)
{
    AUTO_BUF whole = BUF_SECRET;

    buf_adds(&whole, uri);
    for (size_t i = 0; i < pin->text.len; i++)
        buf_addf(&whole, "%s%%%02X", i == 0 ? "?pin-value=" : "", (unsigned char)pin->text.data[i]);
    return ENGINE_load_private_key(engine->handle, whole.data, answers, pin);
}
#pragma GCC diagnostic pop
#else
static bool engine_load(struct engine *engine)
{
    (void)engine;
    return false;
}

static bool engine_set_module(struct engine *engine, const char *module)
{
    (void)engine, (void)module;
    return false;
}

static EVP_PKEY *pkey_from_engine(struct engine *engine, const char *uri, struct pin *pin)
{
    (void)engine, (void)uri, (void)pin;
    return NULL;
}
#endif

/* A key that wants its PIN again does not say which key it is: with several PINs about, none is right. */
static void engine_remember(struct engine *engine, const struct pin *pin)
{
    struct pin *kept = &engine->pin;

    if (!pin->given)
        return;
    kept->given = kept->text.len == 0 || strcmp(buf_str(&kept->text), buf_str(&pin->text)) == 0;
    if (kept->text.len == 0)
        buf_add(&kept->text, pin->text.data, pin->text.len);
}

/* -- what went wrong --------------------------------------------------------------------------- */

/* All that OpenSSL and the driver have to say; empties the queue. To be called before the driver goes, which
 * takes its texts along. */
static void take_reasons(struct buf *out)
{
    const char *data;
    int flags;
    unsigned long code;

    while ((code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)) != 0) {
        const char *reason = ERR_reason_error_string(code);
        bool has_text = (flags & ERR_TXT_STRING) && data && *data != '\0';
        if (!reason && !has_text)
            continue;
        if (out->len > 0)
            buf_adds(out, "; ");
        buf_adds(out, reason ? reason : data);
        if (reason && has_text)
            buf_addf(out, " (%s)", data);
    }
}

static bool says(const struct buf *reasons, const char *word)
{
    return strcasestr(buf_str(reasons), word) != NULL;
}

static const char *package_of(const char *module)
{
    static const char *const packages[][2] = {{"softhsm", "softhsm2"},
                                              {"opensc", "opensc-pkcs11"},
                                              {"ykcs11", "ykcs11"},
                                              {"tpm2", "libtpm2-pkcs11-1"},
                                              {"p11-kit", "p11-kit-modules"}};

    for (size_t i = 0; i < COUNT_OF(packages); i++)
        if (strstr(module, packages[i][0]))
            return packages[i][1];
    return NULL;
}

static bool module_error(const struct key_location *uri, const char *module, const char *why, struct err *err)
{
    const char *package = package_of(module);

    err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, uri->shown, "the PKCS#11 module %s cannot be used: %s", module,
            why);
    if (package)
        return err_advise(err,
                          "install the package that has it (on Debian: %s), or name the module of your "
                          "token in the URI: ?module-path=/PATH",
                          package);
    return err_advise(err, "name the module that the maker of the token provides: ?module-path=/PATH");
}

static bool one_module_error(const struct key_location *uri, struct err *err)
{
    err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, uri->shown,
            "OpenSSL's engine \"pkcs11\" serves one module in one run, and another key has chosen another");
    return err_advise(
        err, "install pkcs11-provider, or register both modules with p11-kit and leave module-path out of "
             "the URIs");
}

static bool many_tokens_error(const struct key_location *uri, size_t count, struct err *err)
{
    err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, uri->shown,
            "%zu tokens fit the URI, and the PIN must not be tried on the wrong one", count);
    return err_advise(err, "say which token: token=LABEL, or serial=NUMBER, in the URI");
}

static bool token_missing_error(const struct key_location *uri, const char *module,
                                const struct pkcs11_report *report, struct err *err)
{
    AUTO_FREE char *all = strlist_join(&report->labels, "\", \"");

    if (report->labels.n == 0)
        err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, uri->shown, "the PKCS#11 module %s has no token", module);
    else
        err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, uri->shown,
                "the PKCS#11 module %s has no token that the URI fits; it has \"%s\"", module, all);
    return err_advise(err, "see that the token is plugged in, and that token= in the URI is its label "
                           "(pkcs11-tool --list-token-slots shows them)");
}

static bool no_pin_error(const struct key_location *uri, struct err *err)
{
    err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, uri->shown,
            "the token wants a PIN, the URI gives none, and a program that runs unattended cannot ask");
    return err_advise(err, "put the PIN into a file of mode 0600, and add ?pin-source=/PATH to the URI");
}

static bool wrong_pin_error(const struct key_location *uri, bool locked, struct err *err)
{
    err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, uri->shown,
            locked ? "the token's PIN is locked, after too many wrong ones" : "the token refuses the PIN");
    return locked ? err_advise(err,
                               "unlock it with the tool of the token's maker, and correct the PIN in the URI")
                  : err_advise(err,
                               "correct pin-source or pin-value in the URI before the next run: most tokens "
                               "lock after a few wrong PINs");
}

static bool object_missing_error(const struct key_location *uri, const char *reasons, struct err *err)
{
    err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, uri->shown, "there is no such private key on the token%s%s",
            *reasons ? ": " : "", reasons);
    return err_advise(err,
                      "see object= and id= in the URI (pkcs11-tool --login --list-objects --type privkey "
                      "shows what there is)");
}

/* Is the token there, once, and does it have what it needs? This costs no PIN. */
static bool check_report(const struct key_location *uri, const char *module,
                         const struct pkcs11_report *report, struct err *err)
{
    if (!report->loaded)
        return module_error(uri, module, report->why, err);
    if (report->matching == 0)
        return token_missing_error(uri, module, report, err);
    if (report->matching > 1)
        return many_tokens_error(uri, report->matching, err);
    if (report->wants_pin && !uri->pin.given)
        return no_pin_error(uri, err);
    return report->pin_locked && uri->pin.given ? wrong_pin_error(uri, true, err) : true;
}

/* With a module that is only guessed, it is no fault that it cannot be loaded. `*out` (may be NULL): the
 * token wants a PIN, and this process is not logged in. */
static bool look_at_token(const struct key_location *uri, const char *guess, bool *out, struct err *err)
{
    const char *module = uri->module ? uri->module : guess;
    const struct pkcs11_wish wish = {.token = uri->value[AT_TOKEN],
                                     .manufacturer = uri->value[AT_MANUFACTURER],
                                     .model = uri->value[AT_MODEL],
                                     .serial = uri->value[AT_SERIAL]};
    struct pkcs11_report report = {0};

    pkcs11_inspect(module, &wish, &report);
    bool ok = (!uri->module && !report.loaded) || check_report(uri, module, &report, err);
    if (out)
        *out = report.wants_pin && !report.logged_in;
    pkcs11_report_clear(&report);
    ERR_clear_error();
    return ok;
}

/* The driver gave no key: find out what is missing. */
static bool pkcs11_failed(const struct key_location *uri, const char *guess, const struct buf *reasons,
                          struct err *err)
{
    bool out = false;

    if (!look_at_token(uri, guess, &out, err))
        return false;
    if (uri->pin.asked && !uri->pin.given)
        return no_pin_error(uri, err);
    if (out || (says(reasons, "PIN") && (says(reasons, "incorrect") || says(reasons, "invalid"))))
        return wrong_pin_error(uri, says(reasons, "locked"), err);
    return object_missing_error(uri, buf_str(reasons), err);
}

static bool tpm_failed(const struct key_location *uri, const struct buf *reasons, struct err *err)
{
    if (uri->pin.asked && !uri->pin.given)
        return no_pin_error(uri, err);
    err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, uri->shown, "the TPM does not give this key: %s",
            reasons->len > 0 ? reasons->data : "it gives no reason");
    return err_advise(
        err, "see that the key was made by this TPM (tpm2_getcap handles-persistent lists the handles), "
             "and whether it wants a PIN: ?pin-source=/PATH");
}

static bool no_driver_error(const struct key_location *uri, const struct buf *reasons, struct err *err)
{
    log_debug("%s: no driver: %s", uri->shown, buf_str(reasons));
    if (uri->scheme == SCHEME_PKCS11) {
        err_set(
            err, ERR_CRYPTO, NEXT_FIX_CONFIG, uri->shown,
            "OpenSSL has no working driver for PKCS#11 here, neither a provider nor an engine \"pkcs11\"");
        return err_advise(err, "install pkcs11-provider, or where there is none, libengine-pkcs11-openssl");
    }
    err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, uri->shown,
            "OpenSSL has no working driver for TPMs here, or the TPM cannot be reached: %s",
            buf_str(reasons));
    return err_advise(err,
                      "install tpm2-openssl, and see that the TPM is there and may be used (/dev/tpmrm0)");
}

/* -- the whole --------------------------------------------------------------------------------- */

static bool open_by_provider(struct key_location *uri, const struct provider *provider, struct token_key *out,
                             struct err *err)
{
    AUTO_BUF reasons = BUF_INIT;
    const char *set = getenv("PKCS11_PROVIDER_MODULE");

    log_debug("%s: through OpenSSL's provider pkcs11", uri->shown);
    out->pkey = pkey_from_store(provider, uri->shown, &uri->pin);
    out->libctx = provider->libctx;
    out->propq = key_schemes[uri->scheme].propq;
    take_reasons(&reasons);
    return out->pkey ? true : pkcs11_failed(uri, set ? set : DEFAULT_MODULE, &reasons, err);
}

static bool open_by_engine(struct key_location *uri, struct engine *engine, struct token_key *out,
                           struct err *err)
{
    AUTO_BUF reasons = BUF_INIT;
    const char *set = getenv("PKCS11_MODULE_PATH");
    const char *guess = set ? set : DEFAULT_MODULE;

    if (engine->settled && !same_text(engine->module, uri->module))
        return one_module_error(uri, err);
    if ((!uri->module && !look_at_token(uri, guess, NULL, err)) ||
        (!engine->settled && !engine_set_module(engine, uri->module)))
        return err_isset(err) ? false
                              : key_openssl_error(err, uri->shown, "cannot choose the PKCS#11 module");
    engine->settled = true;
    log_debug("%s: through OpenSSL's engine pkcs11", uri->shown);
    engine_remember(engine, &uri->pin);
    out->pkey = pkey_from_engine(engine, uri->shown, &uri->pin);
    take_reasons(&reasons);
    return out->pkey ? true : pkcs11_failed(uri, guess, &reasons, err);
}

/* Where the provider is there, what it says counts: the engine would spend another PIN on the same question.
 */
static bool open_pkcs11(struct key_location *uri, struct token_key *out, struct err *err)
{
    AUTO_BUF reasons = BUF_INIT;

    if (uri->module && !look_at_token(uri, NULL, NULL, err))
        return false;
    const struct provider *provider = provider_get(uri);
    if (!provider && !the_engine.handle && !engine_load(&the_engine)) {
        take_reasons(&reasons);
        return no_driver_error(uri, &reasons, err);
    }
    ERR_clear_error();
    return provider ? open_by_provider(uri, provider, out, err) : open_by_engine(uri, &the_engine, out, err);
}

/* The file of a TPM's key; without a look at its label, any private key would do, and none of those is in a
 * TPM. */
static bool read_tss2(const struct key_location *uri, struct buf *file, struct err *err)
{
    if (!fs_read(uri->path, KEY_FILE_MAX_BYTES, file, err))
        return false;
    if (memmem(buf_str(file), file->len, "-----BEGIN TSS2 PRIVATE KEY-----", 32))
        return true;
    err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, uri->shown,
            "the file is not the key of a TPM (PEM, \"TSS2 PRIVATE KEY\")");
    return err_advise(err,
                      "make one: openssl genpkey -provider tpm2 -provider default -algorithm EC -pkeyopt "
                      "group:P-256 -out FILE");
}

static bool open_tpm(struct key_location *uri, struct token_key *out, struct err *err)
{
    AUTO_BUF reasons = BUF_INIT;
    AUTO_BUF file = BUF_INIT;
    /* the provider hears of a password by this word */
    AUTO_FREE char *handle = mem_fmt("%s%s", uri->shown, uri->pin.given ? "?pass" : "");

    if (uri->scheme == SCHEME_TPM2 && !read_tss2(uri, &file, err))
        return false;
    setenv("TSS2_LOG", "all+none", 0); /* its libraries write to the terminal */
    const struct provider *provider = provider_get(uri);
    if (!provider) {
        take_reasons(&reasons);
        return no_driver_error(uri, &reasons, err);
    }
    ERR_clear_error();
    out->pkey = uri->scheme == SCHEME_TPM2 ? pkey_from_file(provider, &file, &uri->pin)
                                           : pkey_from_store(provider, handle, &uri->pin);
    out->libctx = provider->libctx;
    out->propq = key_schemes[uri->scheme].propq;
    take_reasons(&reasons);
    return out->pkey ? true : tpm_failed(uri, &reasons, err);
}

bool token_open(const char *text, struct token_key *out, struct err *err)
{
    CLEANUP(key_uri_clear) struct key_location uri = {0};

    if (!key_uri_parse(text, &uri, err) || !silence(err) ||
        !(uri.scheme == SCHEME_PKCS11 ? open_pkcs11 : open_tpm)(&uri, out, err))
        return false;
    out->shown = mem_dup(uri.shown);
    return true;
}
