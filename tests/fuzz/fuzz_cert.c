/* A chain as a hostile CA could send it. The first byte chooses: the rest is PEM text, or DER that gets its
 * PEM lines here, so that the parts behind base64 are reached as well. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "tlsup/cert.h"
#include "tlsup/clock.h"
#include "tlsup/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void wrap_der(const uint8_t *der, size_t size, struct buf *pem)
{
    AUTO_FREE unsigned char *text = mem_alloc(size * 4 / 3 + 8);
    int len = EVP_EncodeBlock(text, der, (int)size);

    buf_adds(pem, "-----BEGIN CERTIFICATE-----\n");
    buf_add(pem, text, (size_t)len);
    buf_adds(pem, "\n-----END CERTIFICATE-----\n");
}

static void info_is_well_formed(const struct cert_info *info)
{
    static const char hex[] = "0123456789abcdef";

    require(strlen(info->sha256) == 64 && strspn(info->sha256, hex) == 64);
    require(strspn(info->serial, hex) == strlen(info->serial) && strlen(info->serial) % 2 == 0);
    require(strlen(info->key_type) > 0);
    for (const char *c = info->issuer; *c != '\0'; c++)
        require((unsigned char)*c >= ' ');
    for (size_t i = 0; i < info->names.n; i++)
        require(strlen(info->names.v[i]) > 0 && strlen(info->names.v[i]) < 254);
}

/* Checking must accept a chain for no names but its own; the answer for those depends on the rest of it. */
static void check(const struct cert_chain *chain, const struct cert_info *info)
{
    struct strlist none = STRLIST_INIT;
    AUTO_STRLIST more = STRLIST_INIT;
    struct err err = ERR_INIT;

    strlist_copy(&more, &info->names);
    strlist_add(&more, "not-in-any-seed.example");
    require(!cert_chain_check(chain, NULL, &none, info->not_before_s, &err) && err.code == ERR_MISMATCH);
    err_clear(&err);
    require(!cert_chain_check(chain, NULL, &more, info->not_before_s, &err) && err.code == ERR_MISMATCH);
    err_clear(&err);
    bool ok = cert_chain_check(chain, NULL, &info->names, info->not_before_s, &err);
    require(ok != err_isset(&err));
}

/* What is written is read again, and says the same. */
static void write_and_read(const struct cert_chain *chain, const struct cert_info *info)
{
    AUTO_BUF cert = BUF_INIT;
    AUTO_BUF rest = BUF_INIT;
    AUTO_BUF full = BUF_INIT;
    AUTO_CHAIN *again = NULL;
    struct cert_info again_info = CERT_INFO_INIT;
    struct err err = ERR_INIT;

    require(cert_chain_pem(chain, &cert, &rest, &full, &err));
    require(cert.len + rest.len == full.len);
    if (full.len > 256 * 1024)
        return;
    require(cert_chain_parse(full.data, full.len, "again", &again, &err));
    require(cert_chain_info(again, &again_info, &err));
    require(strcmp(info->sha256, again_info.sha256) == 0 && strcmp(info->ari_id, again_info.ari_id) == 0);
    cert_info_clear(&again_info);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_BUF pem = BUF_INIT;
    AUTO_CHAIN *chain = NULL;
    struct cert_info info = CERT_INFO_INIT;
    struct err err = ERR_INIT;

    if (size < 2)
        return 0;
    if (data[0] & 1)
        wrap_der(data + 1, size - 1, &pem);
    else
        buf_add(&pem, data + 1, size - 1);
    if (!cert_chain_parse(pem.data, pem.len, "fuzz", &chain, &err)) {
        require(!chain && err.code == ERR_CRYPTO && err.text[0] != '\0');
        return 0;
    }
    if (cert_chain_info(chain, &info, &err)) {
        info_is_well_formed(&info);
        check(chain, &info);
        write_and_read(chain, &info);
    } else {
        require(info.names.n == 0 && err_isset(&err));
    }
    cert_info_clear(&info);
    return 0;
}
