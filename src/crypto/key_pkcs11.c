/* Ask a PKCS#11 module what tokens it has. The driver that OpenSSL uses says little when it fails; this tells
 * a person which of module and token is missing. The few declarations of PKCS#11 that it takes are here, in
 * the layout that the standard fixes. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "key_internal.h"
#include "tlsup/mem.h"

#define CKR_OK 0UL
#define CKR_CRYPTOKI_ALREADY_INITIALIZED 0x191UL
#define CKF_LOGIN_REQUIRED 0x4UL
#define CKF_PROTECTED_AUTHENTICATION_PATH 0x100UL
#define CKF_USER_PIN_LOCKED 0x40000UL
#define CKF_TOKEN_INITIALIZED 0x400UL
#define CKF_SERIAL_SESSION 0x4UL
#define CKS_RO_USER_FUNCTIONS 1UL
#define SLOTS_MAX 256

struct ck_version {
    unsigned char major, minor;
};

struct ck_token_info { /* text fields are padded with spaces, and have no NUL */
    unsigned char label[32], manufacturer[32], model[16], serial[16];
    unsigned long flags;
    unsigned long counts[10]; /* sessions, PIN lengths, memory */
    struct ck_version hardware, firmware;
    unsigned char utc_time[16];
};

struct ck_session_info {
    unsigned long slot, state, flags, device_error;
};

struct ck_functions { /* the first of many */
    struct ck_version version;
    unsigned long (*initialize)(void *args);
    unsigned long (*finalize)(void *reserved);
    unsigned long (*get_info)(void *info);
    unsigned long (*get_function_list)(struct ck_functions **list);
    unsigned long (*get_slot_list)(unsigned char token_present, unsigned long *slots, unsigned long *count);
    unsigned long (*get_slot_info)(unsigned long slot, void *info);
    unsigned long (*get_token_info)(unsigned long slot, struct ck_token_info *info);
    void *not_used[5]; /* mechanisms, initialising, PINs */
    unsigned long (*open_session)(unsigned long slot, unsigned long flags, void *application, void *notify,
                                  unsigned long *session);
    unsigned long (*close_session)(unsigned long session);
    unsigned long (*close_all_sessions)(unsigned long slot);
    unsigned long (*get_session_info)(unsigned long session, struct ck_session_info *info);
};

typedef unsigned long (*get_function_list)(struct ck_functions **list);

static void field_text(const unsigned char *field, size_t len, char out[33])
{
    while (len > 0 && (field[len - 1] == ' ' || field[len - 1] == '\0'))
        len--;
    memcpy(out, field, len);
    out[len] = '\0';
    printable(out);
}

static bool field_is(const unsigned char *field, size_t len, const char *wanted)
{
    char text[33];

    if (!wanted)
        return true;
    field_text(field, len, text);
    return strcmp(text, wanted) == 0;
}

static bool fits(const struct ck_token_info *info, const struct pkcs11_wish *wish)
{
    return field_is(info->label, sizeof info->label, wish->token) &&
           field_is(info->manufacturer, sizeof info->manufacturer, wish->manufacturer) &&
           field_is(info->model, sizeof info->model, wish->model) &&
           field_is(info->serial, sizeof info->serial, wish->serial);
}

/* Who has logged in to a token has done so for the whole process: a new session shows it. */
static bool is_logged_in(const struct ck_functions *module, unsigned long slot)
{
    struct ck_session_info info = {0};
    unsigned long session;

    if (module->open_session(slot, CKF_SERIAL_SESSION, NULL, NULL, &session) != CKR_OK)
        return false;
    bool logged_in =
        module->get_session_info(session, &info) == CKR_OK && info.state == CKS_RO_USER_FUNCTIONS;
    module->close_session(session);
    return logged_in;
}

static void look_at_tokens(const struct ck_functions *module, const struct pkcs11_wish *wish,
                           struct pkcs11_report *report)
{
    unsigned long slots[SLOTS_MAX], count = SLOTS_MAX;

    if (module->get_slot_list(1, slots, &count) != CKR_OK)
        return;
    for (unsigned long i = 0; i < count && i < SLOTS_MAX; i++) {
        struct ck_token_info info = {0};
        char label[33];
        if (module->get_token_info(slots[i], &info) != CKR_OK || !(info.flags & CKF_TOKEN_INITIALIZED))
            continue;
        field_text(info.label, sizeof info.label, label);
        strlist_add(&report->labels, label);
        if (!fits(&info, wish))
            continue;
        report->matching++;
        report->pin_locked = report->pin_locked || (info.flags & CKF_USER_PIN_LOCKED);
        report->wants_pin =
            report->wants_pin ||
            (info.flags & (CKF_LOGIN_REQUIRED | CKF_PROTECTED_AUTHENTICATION_PATH)) == CKF_LOGIN_REQUIRED;
        report->logged_in = report->logged_in || is_logged_in(module, slots[i]);
    }
}

static void complain(struct pkcs11_report *report, const char *why)
{
    snprintf(report->why, sizeof report->why, "%s", why);
}

static void inspect_library(void *library, const struct pkcs11_wish *wish, struct pkcs11_report *report)
{
    struct ck_functions *module = NULL;
    get_function_list get;
    void *symbol = dlsym(library, "C_GetFunctionList");

    memcpy(&get, &symbol, sizeof get); /* ISO C has no cast from one to the other */
    if (!symbol || get(&module) != CKR_OK || !module) {
        complain(report, "it is not a PKCS#11 module");
        return;
    }
    unsigned long began = module->initialize(NULL);
    if (began != CKR_OK && began != CKR_CRYPTOKI_ALREADY_INITIALIZED) {
        char why[64];
        snprintf(why, sizeof why, "it does not start (PKCS#11 error 0x%lx)", began);
        complain(report, why);
        return;
    }
    report->loaded = true;
    look_at_tokens(module, wish, report);
}

void pkcs11_inspect(const char *path, const struct pkcs11_wish *wish, struct pkcs11_report *report)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (!library) {
        const char *why = dlerror();
        complain(report, why ? why : "it cannot be loaded");
        return;
    }
    /* It is not ended afterwards: a driver may be using it. */
    inspect_library(library, wish, report);
}

void pkcs11_report_clear(struct pkcs11_report *report)
{
    strlist_clear(&report->labels);
}
