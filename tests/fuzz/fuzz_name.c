/*
 * fuzz_name.c - any bytes as a name: refused with clean text, or a normal form that stays as it is.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/mem.h"
#include "tlsup/name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds)
        abort();
}

static void check_refusal(const struct err *err)
{
    require(err->code == ERR_NAME && err->next == NEXT_FIX_CONFIG);
    require(err->text[0] != '\0' && strlen(err->text) < sizeof err->text - 1);
    require(strpbrk(err->text, "\x1B\r\x7F") == NULL);
}

static void check_name(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789-.:*";
    char again[NAME_MAX_BYTES];
    struct err err = ERR_INIT;
    size_t len = strlen(name);
    require(len > 0 && len < NAME_MAX_BYTES && strspn(name, allowed) == len);
    require(name_normalize(name, again, &err) && strcmp(name, again) == 0);
    require(name_matches(name, name));
    require(name_is_ip(name) || strchr(name, '.') != NULL);
    require(name_is_ip(name) || strchr(name, ':') == NULL);
    require(!(name_is_ip(name) && name_is_wildcard(name)));
    require(strchr(name, '*') == NULL || (name_is_wildcard(name) && strrchr(name, '*') == name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = ERR_INIT;
    char name[NAME_MAX_BYTES] = "", shown[2 * NAME_MAX_BYTES + 4];
    AUTO_FREE char *typed = mem_ndup((const char *)data, size);
    if (name_normalize(typed, name, &err))
        check_name(name);
    else
        check_refusal(&err);
    /* these are given names of certificates too, which nobody has normalised */
    require(strlen(name_display(typed, shown)) < sizeof shown);
    require(strlen(name_display(name, shown)) >= strlen(name));
    (void)name_matches(typed, "www.example.org");
    (void)name_matches("*.example.org", typed);
    return 0;
}
