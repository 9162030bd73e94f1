/*
 * apache_tls.c - how a virtual host speaks TLS: the profile's lines, and Strict-Transport-Security.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>
#include <strings.h>

#include "apache_edit.h"
#include "tls_profile.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

#define TLS13_SINCE 2004038
#define HSTS_FIELD "Strict-Transport-Security"

static bool lacks_tls13(const struct web *web)
{
    return web->version_number && web->version_number < TLS13_SINCE;
}

bool apache_check_profile(const struct web *web, const struct web_https *https, struct err *err)
{
    if (https->profile != WEB_TLS_MODERN || !lacks_tls13(web))
        return true;
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, web->bin,
            "Apache %s does not speak TLS 1.3, which is all that the profile \"modern\" allows",
            web->version);
    return err_advise(err, "Use --tls-profile intermediate, or Apache 2.4.38 or later.");
}

void apache_profile_lines(struct buf *out, const struct apache_edit *edit, const struct web_https *https)
{
    const struct tls_profile *profile = tls_profile_of(https->profile, edit->web->openssl_number);
    const char *protocols = profile->apache_protocols;
    const char *newest = strstr(protocols, " +TLSv1.3");
    size_t len = newest && lacks_tls13(edit->web) ? (size_t)(newest - protocols) : strlen(protocols);
    buf_addf(out, "SSLProtocol %.*s\n", (int)len, protocols);
    if (profile->ciphers)
        buf_addf(out, "SSLCipherSuite %s\n", profile->ciphers);
    buf_addf(out, "SSLHonorCipherOrder %s\n", profile->server_order ? "on" : "off");
}

static bool sends_hsts(const struct apache_tree *tree, const struct apache_line *line)
{
    if (line->kind != APACHE_DIRECTIVE || strcasecmp(line->name, "Header") != 0 ||
        apache_block_around(tree->files[line->file], line->node, NULL))
        return false;
    AUTO_STRLIST words = STRLIST_INIT;
    apache_words(line->args, &words);
    size_t action =
        words.n && (strcasecmp(words.v[0], "always") == 0 || strcasecmp(words.v[0], "onsuccess") == 0);
    return words.n > action + 1 && strcasecmp(words.v[action], "unset") != 0 &&
           strcasecmp(words.v[action + 1], HSTS_FIELD) == 0;
}

static const struct apache_line *find_hsts(const struct apache_model *model, const struct apache_host *host)
{
    size_t from, to;
    apache_host_span(model, host, &from, &to);
    for (size_t i = from; host->open != APACHE_NONE && i < to; i++) {
        if (sends_hsts(&model->tree, &model->tree.lines[i]))
            return &model->tree.lines[i];
    }
    for (size_t i = 0; i < model->n_main_lines; i++) {
        const struct apache_line *line = &model->tree.lines[model->main_lines[i]];
        if (sends_hsts(&model->tree, line))
            return line;
    }
    return NULL;
}

/* An application behind the host may send the field as well: then its own stays, and there are not two. */
void apache_hsts_line(struct buf *out, const struct apache_edit *edit, const struct apache_host *host,
                      const struct web_https *https)
{
    if (https->hsts_s <= 0)
        return;
    const struct apache_line *own = find_hsts(&edit->model, host);
    if (own) {
        const struct apache_file *file = edit->model.tree.files[own->file];
        log_info("%s:%zu sends " HSTS_FIELD " already: it stays as it is", file->path,
                 file->nodes[own->node].line);
        return;
    }
    buf_addf(out, "Header always set " HSTS_FIELD " \"max-age=%ld\" \"expr=-z %%{resp:" HSTS_FIELD "}\"\n",
             https->hsts_s);
}
