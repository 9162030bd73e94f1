/*
 * fuzz_config.c - any bytes as a configuration file: refused with an error, or accepted and then saved and
 * read as the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(const struct err *err)
{
    if (err->code != ERR_CONFIG || strncmp(err->text, "F:", 2) != 0)
        abort();
}

static void check_round_trip(const struct cert_config *config, const struct cert_config *defaults)
{
    struct err err = ERR_INIT;
    struct cert_config again = {0};
    AUTO_BUF text = BUF_INIT;
    cert_config_copy(&again, defaults);
    config_write_text(config, defaults, &text);
    if (!config_read_text(text.data, text.len, "F", true, &again, &err) ||
        !cert_config_same(config, &again) || !cert_config_check(config, &err))
        abort();
    cert_config_clear(&again);
}

static void check_names(const struct cert_config *config)
{
    char name[256];
    if (config->names.n > 0)
        config_cert_name_for(config->names.v[0], name);
    if (config->names.n > 0 && !config_cert_name_valid(name))
        abort();
    config_ca_dir_name(config->server, name);
    if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL || strstr(name, "..") != NULL)
        abort();
    config_ca_name(config->server, name);
}

/* What is kept of addresses is in the form that it will be asked in. */
static void check_servers(const struct cert_config *config)
{
    char again[CONFIG_DNS_SERVER_BYTES];
    struct err err = ERR_INIT;
    for (size_t i = 0; i < config->dns_servers.n; i++)
        if (!config_dns_server(config->dns_servers.v[i], false, again, &err) ||
            strcmp(again, config->dns_servers.v[i]) != 0)
            abort();
}

/* A NUL byte cannot be in a valid file, so the first one separates the defaults from a certificate's file. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *end = size > 0 ? memchr(text, '\0', size) : NULL;
    size_t defaults_len = end != NULL ? (size_t)(end - text) : 0;
    size_t skip = end != NULL ? defaults_len + 1 : 0;
    struct err err = ERR_INIT;
    struct cert_config defaults, config = {0};
    cert_config_init(&defaults);
    if (!config_read_text(text, defaults_len, "F", false, &defaults, &err))
        check_error(&err);
    err_clear(&err);
    cert_config_copy(&config, &defaults);
    if (config_read_text(text + skip, size - skip, "F", true, &config, &err)) {
        check_round_trip(&config, &defaults);
        check_names(&config);
        check_servers(&config);
    } else {
        check_error(&err);
    }
    cert_config_clear(&config);
    cert_config_clear(&defaults);
    return 0;
}
