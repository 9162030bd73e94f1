#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/http.h"

#include <ctype.h>
#include <curl/curl.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

enum {
    MAX_BODY_BYTES = 1 << 20,
    MAX_HEADER_BYTES = 1 << 16,
    MAX_HEADER_LINES = 100,
    CONNECT_TIMEOUT_MS = 30000,
    STALL_S = 60,
    TOTAL_TIMEOUT_MS = 120000,
    MAX_CONNECTIONS = 4, /* to a CA without HTTP/2 */
    MAX_RETRY_AFTER_S = 86400,
    MAX_ALTERNATES = 8,
};

struct transfer {
    struct transfer *next;
    struct http *http;
    CURL *easy;
    char *body;
    char *url;
    enum http_method method;
    struct http_response response;
    size_t header_bytes, header_lines;
    bool too_much;    /* the peer passed a bound */
    bool header_over; /* the empty line after it has come */
    char message[CURL_ERROR_SIZE];
    http_done_fn *done;
    void *ctx;
};

struct http {
    CURLM *multi;
    struct curl_slist *post_headers;
    struct transfer *transfers; /* under way */
    char *user_agent;
    bool own_roots; /* the caller's, in ca_pem: never the system's besides, not even when there are none */
    struct buf ca_pem;
    char *ca_name;
    const char *ca_dir; /* a hashed directory of roots, NULL = curl's own bundle */
    struct http_stats stats;
};

/* -- response headers -------------------------------------------------------------------------------------
 */

void http_response_clear(struct http_response *response)
{
    buf_clear(&response->body);
    strlist_clear(&response->alternates);
    *response = (struct http_response){.retry_after_s = -1};
}

static int64_t parse_retry_after(const char *value)
{
    int64_t when_s;
    if (isdigit((unsigned char)*value) && strspn(value, "0123456789") == strlen(value)) {
        int64_t wait_s = strtoll(value, NULL, 10); /* too many digits give the largest number */
        return wait_s < MAX_RETRY_AFTER_S ? wait_s : MAX_RETRY_AFTER_S;
    }
    if (!clock_parse_http_date(value, &when_s))
        return -1;
    int64_t wait_s = when_s - clock_now_s();
    return wait_s < 0 ? 0 : wait_s < MAX_RETRY_AFTER_S ? wait_s : MAX_RETRY_AFTER_S;
}

/* The value of parameter `rel` among ";name=value" pairs: quoted or bare, any order. */
static bool has_relation(const char *parameters, const char *end, const char *relation)
{
    size_t want = strlen(relation);
    for (const char *p = parameters; p < end; p++) {
        if (*p != ';')
            continue;
        do
            p++;
        while (p < end && (*p == ' ' || *p == '\t'));
        if (end - p < 4 || strncasecmp(p, "rel=", 4) != 0)
            continue;
        p += 4;
        if (p < end && *p == '"')
            p++;
        if ((size_t)(end - p) >= want && strncasecmp(p, relation, want) == 0 &&
            ((size_t)(end - p) == want || strchr("\"; \t,", p[want]) != NULL))
            return true;
    }
    return false;
}

/* One or several comma-joined links, RFC 8288 section 3: <target>;parameters, … */
static void parse_links(struct http_response *response, const char *value)
{
    while ((value = strchr(value, '<')) != NULL) {
        const char *target = ++value, *close = strchr(value, '>');
        if (close == NULL)
            return;
        bool quoted = false;
        const char *end = close + 1;
        while (*end != '\0' && (quoted || *end != ',')) {
            quoted ^= *end == '"';
            end++;
        }
        AUTO_FREE char *url = mem_ndup(target, (size_t)(close - target));
        if (url_valid(url) && has_relation(close, end, "alternate") &&
            response->alternates.n < MAX_ALTERNATES)
            strlist_add(&response->alternates, url);
        if (url_valid(url) && has_relation(close, end, "terms-of-service"))
            snprintf(response->terms, sizeof response->terms, "%s", url);
        value = end;
    }
}

static void set_content_type(struct http_response *response, const char *value)
{
    size_t len = strcspn(value, "; \t");
    if (len >= sizeof response->content_type)
        return;
    for (size_t i = 0; i < len; i++)
        response->content_type[i] = (char)tolower((unsigned char)value[i]);
    response->content_type[len] = '\0';
}

void http_header_line(struct http_response *response, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    if (colon == NULL || memchr(line, '\0', len) != NULL)
        return;
    size_t name_len = (size_t)(colon - line);
    const char *from = colon + 1, *end = line + len;
    while (from < end && (*from == ' ' || *from == '\t'))
        from++;
    while (end > from && strchr(" \t\r\n", end[-1]) != NULL)
        end--;
    AUTO_FREE char *name = mem_ndup(line, name_len);
    AUTO_FREE char *value = mem_ndup(from, (size_t)(end - from));
    if (strcasecmp(name, "content-type") == 0)
        set_content_type(response, value);
    else if (strcasecmp(name, "replay-nonce") == 0) /* a part of a nonce is none */
        snprintf(response->nonce, sizeof response->nonce, "%s",
                 strlen(value) < sizeof response->nonce ? value : "");
    else if (strcasecmp(name, "location") == 0)
        snprintf(response->location, sizeof response->location, "%s", url_valid(value) ? value : "");
    else if (strcasecmp(name, "retry-after") == 0)
        response->retry_after_s = parse_retry_after(value);
    else if (strcasecmp(name, "link") == 0)
        parse_links(response, value);
}

/* -- curl's callbacks -------------------------------------------------------------------------------------
 */

static size_t on_header(char *data, size_t size, size_t n, void *ctx)
{
    struct transfer *transfer = ctx;
    size_t len = size * n;
    transfer->header_bytes += len;
    if (++transfer->header_lines > MAX_HEADER_LINES || transfer->header_bytes > MAX_HEADER_BYTES) {
        transfer->too_much = true;
        return 0;
    }
    if (len >= 5 && strncasecmp(data, "HTTP/", 5) == 0) {
        /* 100 Continue, then the answer: only the last one counts */
        http_response_clear(&transfer->response);
        transfer->header_over = false;
    } else {
        http_header_line(&transfer->response, data, len);
        transfer->header_over |= len > 0 && len <= 2 && (data[0] == '\r' || data[0] == '\n');
    }
    return len;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
    struct transfer *transfer = ctx;
    transfer->response.body.limit = MAX_BODY_BYTES;
    buf_add(&transfer->response.body, data, size * n);
    if (!transfer->response.body.overflow)
        return size * n;
    transfer->too_much = true;
    return 0;
}

/* -- the client -------------------------------------------------------------------------------------------
 */

static bool is_hash_link(const char *name)
{
    return strlen(name) == 10 && strspn(name, "0123456789abcdef") == 8 && strcmp(name + 8, ".0") == 0;
}

/* A directory of roots named by hash costs a look-up; a bundle of 150 costs thirty milliseconds of parsing.
 */
static const char *find_hashed_roots(void)
{
    static const char *const candidates[] = {"/etc/ssl/certs",
                                             "/etc/pki/ca-trust/extracted/pem/directory-hash"};
    for (size_t i = 0; i < COUNT_OF(candidates); i++) {
        DIR *dir = opendir(candidates[i]);
        int links = 0;
        for (struct dirent *entry; dir != NULL && links < 20 && (entry = readdir(dir)) != NULL;)
            links += is_hash_link(entry->d_name);
        if (dir != NULL)
            closedir(dir);
        if (links >= 20)
            return candidates[i];
    }
    return NULL;
}

bool http_new(const struct http_options *options, struct http **out, struct err *err)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(err, ERR_INTERNAL, NEXT_LOCAL_FAULT, NULL, "libcurl cannot be initialised");
    struct http *http = mem_alloc(sizeof *http);
    http->multi = curl_multi_init();
    if (http->multi == NULL)
        mem_exhausted();
    curl_multi_setopt(http->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)MAX_CONNECTIONS);
    http->post_headers = curl_slist_append(NULL, "Content-Type: application/jose+json");
    http->post_headers = curl_slist_append(http->post_headers, "Expect:");
    if (http->post_headers == NULL)
        mem_exhausted();
    http->user_agent = mem_dup(options->user_agent);
    http->ca_name = mem_dup(options->ca_name);
    http->own_roots = options->ca_pem != NULL;
    if (http->own_roots)
        buf_add(&http->ca_pem, options->ca_pem, options->ca_pem_len);
    else
        http->ca_dir = find_hashed_roots();
    *out = http;
    return true;
}

static void transfer_free(struct transfer *transfer)
{
    curl_easy_cleanup(transfer->easy);
    http_response_clear(&transfer->response);
    free(transfer->body);
    free(transfer->url);
    free(transfer);
}

void http_free(struct http *http)
{
    if (http == NULL)
        return;
    while (http->transfers != NULL) {
        struct transfer *transfer = http->transfers;
        http->transfers = transfer->next;
        curl_multi_remove_handle(http->multi, transfer->easy);
        transfer_free(transfer);
    }
    curl_multi_cleanup(http->multi);
    curl_slist_free_all(http->post_headers);
    buf_clear(&http->ca_pem);
    free(http->user_agent);
    free(http->ca_name);
    free(http);
    curl_global_cleanup();
}

static void set_https_only(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
#else
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)CURLPROTO_HTTPS);
#endif
}

static void set_trust(const struct http *http, CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    if (http->own_roots) {
        struct curl_blob blob = {
            .data = http->ca_pem.data, .len = http->ca_pem.len, .flags = CURL_BLOB_NOCOPY};
        curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
        curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
    } else if (http->ca_dir != NULL) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
        curl_easy_setopt(easy, CURLOPT_CAPATH, http->ca_dir);
    }
}

static void set_options(struct transfer *transfer)
{
    CURL *easy = transfer->easy;
    curl_easy_setopt(easy, CURLOPT_URL, transfer->url);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->message);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, transfer->http->user_agent);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)TOTAL_TIMEOUT_MS);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    set_https_only(easy);
    set_trust(transfer->http, easy);
    if (transfer->method == HTTP_HEAD) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (transfer->method == HTTP_POST) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, transfer->body);
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->http->post_headers);
    }
}

void http_start(struct http *http, enum http_method method, const char *url, const char *body, size_t len,
                http_done_fn *done, void *ctx)
{
    struct transfer *transfer = mem_alloc(sizeof *transfer);
    *transfer = (struct transfer){.http = http, .method = method, .done = done, .ctx = ctx};
    transfer->response.retry_after_s = -1;
    transfer->easy = curl_easy_init();
    if (transfer->easy == NULL)
        mem_exhausted();
    transfer->url = mem_dup(url);
    transfer->body = mem_ndup(body != NULL ? body : "", len);
    set_options(transfer);
    if (method == HTTP_POST)
        curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    transfer->next = http->transfers;
    http->transfers = transfer;
    http->stats.requests++;
    http->stats.bytes_out += (int64_t)len;
    curl_multi_add_handle(http->multi, transfer->easy);
}

/* -- results ----------------------------------------------------------------------------------------------
 */

static bool trust_error(const struct transfer *transfer, struct err *err)
{
    const struct http *http = transfer->http;
    if (http->own_roots)
        return err_advise(err,
                          "the CA's own HTTPS certificate must be signed by one in %s (--ca-bundle); check "
                          "that file, the address, and "
                          "this machine's clock",
                          http->ca_name);
    return err_advise(err, "is this machine's clock right, is the package ca-certificates installed, is the "
                           "CA's address right? For a "
                           "private CA give its root with --ca-bundle FILE");
}

static void describe_failure(const struct transfer *transfer, CURLcode code, struct err *err)
{
    static const struct {
        CURLcode curl;
        enum err_code code;
        enum err_next next;
        const char *text;
        const char *advice;
    } rows[] = {
        {CURLE_COULDNT_RESOLVE_HOST, ERR_NETWORK, NEXT_RETRY_LATER, "the CA's host name cannot be resolved",
         "check the spelling of --server, and this machine's DNS (/etc/resolv.conf)"},
        {CURLE_COULDNT_RESOLVE_PROXY, ERR_NETWORK, NEXT_FIX_CONFIG,
         "the proxy's host name cannot be resolved", "check the environment variable https_proxy"},
        {CURLE_COULDNT_CONNECT, ERR_NETWORK, NEXT_RETRY_LATER, "cannot connect to the CA",
         "check that this machine may make outgoing HTTPS connections, and the CA's address (--server)"},
        {CURLE_OPERATION_TIMEDOUT, ERR_TIMEOUT, NEXT_RETRY_LATER, "the CA does not answer in time",
         "try again later; if it stays so, look for a firewall that drops outgoing HTTPS"},
        {CURLE_PEER_FAILED_VERIFICATION, ERR_TLS, NEXT_FIX_CONFIG,
         "the CA's own HTTPS certificate is not trusted", NULL},
        {CURLE_SSL_CACERT_BADFILE, ERR_CONFIG, NEXT_FIX_CONFIG, "the certificates to trust cannot be read",
         NULL},
        {CURLE_SSL_CONNECT_ERROR, ERR_TLS, NEXT_RETRY_LATER, "the TLS handshake with the CA failed",
         "check the CA's address (--server): is it an HTTPS server?"},
        {CURLE_WEIRD_SERVER_REPLY, ERR_PROTOCOL, NEXT_FIX_CONFIG, "what answers there is no web server",
         "check the CA's address (--server)"},
        {CURLE_UNSUPPORTED_PROTOCOL, ERR_CONFIG, NEXT_FIX_CONFIG, "only https addresses are spoken to",
         "give an address that begins with https:// (--server)"},
    };
    enum err_code error = ERR_NETWORK;
    enum err_next next = NEXT_RETRY_LATER;
    const char *text = "the connection to the CA broke", *advice = "try again in a moment";
    if (transfer->too_much) {
        (void)err_set(err, ERR_PROTOCOL, NEXT_RETRY_LATER, transfer->url,
                      "the CA's answer is larger than any answer of a CA should be");
        return;
    }
    /* curl's word for an answer without a status line, too */
    if (code == CURLE_UNSUPPORTED_PROTOCOL && url_valid(transfer->url))
        code = CURLE_WEIRD_SERVER_REPLY;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (rows[i].curl == code) {
            error = rows[i].code;
            next = rows[i].next;
            text = rows[i].text;
            advice = rows[i].advice;
        }
    const char *why = transfer->message[0] != '\0' ? transfer->message : curl_easy_strerror(code);
    (void)err_set(err, error, next, transfer->url, "%s: %s", text, why);
    if (advice != NULL)
        (void)err_advise(err, "%s", advice);
    else if (error == ERR_TLS || error == ERR_CONFIG)
        (void)trust_error(transfer, err);
}

static void unlink_transfer(struct http *http, struct transfer *transfer)
{
    struct transfer **link = &http->transfers;
    while (*link != transfer)
        link = &(*link)->next;
    *link = transfer->next;
}

static void finish(struct http *http, struct transfer *transfer, CURLcode code)
{
    static const char *const methods[] = {"HEAD", "GET", "POST"};
    struct err err = ERR_INIT;
    long status = 0, connects = 0;
    if (code == CURLE_OK && !transfer->header_over) /* cut within the header, which curl lets pass */
        code = CURLE_GOT_NOTHING;
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects);
    http->stats.connections += connects;
    http->stats.bytes_in += (int64_t)transfer->response.body.len;
    curl_multi_remove_handle(http->multi, transfer->easy);
    unlink_transfer(http, transfer);
    transfer->response.status = (int)status;
    if (code != CURLE_OK)
        describe_failure(transfer, code, &err);
    log_debug("%s %s -> %ld %s%s%s", methods[transfer->method], transfer->url, status,
              code != CURLE_OK ? err.text : transfer->response.content_type,
              transfer->response.body.len > 0 ? "\n" : "",
              transfer->response.body.len < 3000 ? buf_str(&transfer->response.body) : "(long)");
    transfer->done(transfer->ctx, code == CURLE_OK ? &transfer->response : NULL,
                   code == CURLE_OK ? NULL : &err);
    transfer_free(transfer);
}

bool http_wait(struct http *http, int fd, int timeout_ms)
{
    struct curl_waitfd extra = {.fd = fd, .events = CURL_WAIT_POLLIN};
    int running;
    CURLMsg *message;
    curl_multi_perform(http->multi, &running);
    curl_multi_poll(http->multi, fd >= 0 ? &extra : NULL, fd >= 0 ? 1 : 0, timeout_ms, NULL);
    curl_multi_perform(http->multi, &running);
    for (int left; (message = curl_multi_info_read(http->multi, &left)) != NULL;) {
        struct transfer *transfer = NULL;
        CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
        finish(http, transfer, code);
    }
    return fd >= 0 && extra.revents != 0;
}

void http_stats_get(const struct http *http, struct http_stats *out)
{
    *out = http->stats;
}
