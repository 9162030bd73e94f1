#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/http.h"

#include <ctype.h>
#include <curl/curl.h>
#include <dirent.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "exchange.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

enum {
    MAX_BODY_BYTES = 1 << 20,
    MAX_HEADER_BYTES = 1 << 16,
    MAX_HEADER_LINES = 100,
    CONNECT_S = 30,
    STALL_S = 60,
    TOTAL_S = 120,
    TOTAL_MAX_S = 86400,
    MAX_CONNECTIONS = 4, /* to a CA without HTTP/2 */
    MAX_STREAMS = 256,   /* of one connection: what the server allows counts, not curl's own 100 */
    MAX_RETRY_AFTER_S = 86400,
    MAX_ALTERNATES = 8,
};

struct transfer {
    struct transfer *next;
    struct http *http;
    CURL *easy;
    char *body;
    size_t body_len, body_sent;
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
    struct curl_slist *jose_headers, *form_headers;
    struct transfer *transfers; /* under way */
    char *user_agent;
    bool own_roots; /* the caller's, in ca_pem: never the system's besides, not even when there are none */
    struct buf ca_pem;
    char *ca_name;
    const char *ca_dir; /* a hashed directory of roots, NULL = curl's own bundle */
    char *proxy;        /* NULL = the environment's, "" = none */
    char *interface;    /* NULL = any */
    int ip_version;
    long connect_s, stall_s, total_s;
    struct http_stats stats;
};

/* -- response headers ----------------------------------------------------------------------------------- */

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

static void set_date(struct http_response *response, const char *value)
{
    int64_t when_s;
    response->dated = clock_parse_http_date(value, &when_s);
    response->ahead_s = response->dated ? clock_now_s() - when_s : 0;
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
    else if (strcasecmp(name, "date") == 0)
        set_date(response, value);
    else if (strcasecmp(name, "age") == 0)
        response->stored = strcmp(value, "0") != 0;
}

/* -- curl's callbacks ----------------------------------------------------------------------------------- */

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
    transfer->response.body.secret = transfer->method == HTTP_POST_FORM; /* a form asks for credentials */
    buf_add(&transfer->response.body, data, size * n);
    if (!transfer->response.body.overflow)
        return size * n;
    transfer->too_much = true;
    return 0;
}

/* -- proxies -------------------------------------------------------------------------------------------- */

struct span {
    const char *text;
    size_t len;
};

/* scheme://user:password@host:port/rest, every part as it stands there. */
struct proxy_parts {
    struct span scheme, user, host, port, rest;
};

static bool span_only(struct span span, const char *alphabet)
{
    for (size_t i = 0; i < span.len; i++)
        if (!isalnum((unsigned char)span.text[i]) && strchr(alphabet, span.text[i]) == NULL)
            return false;
    return span.len > 0;
}

static bool span_is(struct span span, const char *word)
{
    return span.len == strlen(word) && strncasecmp(span.text, word, span.len) == 0;
}

/* Of any text: whatever is before the last '@' is secret, even where it is no legal URL. */
static struct proxy_parts split_proxy(const char *proxy)
{
    struct proxy_parts parts = {0};
    const char *colon = strstr(proxy, "://");
    struct span scheme = {proxy, colon != NULL ? (size_t)(colon - proxy) : 0};
    if (span_only(scheme, "+-.")) {
        parts.scheme = scheme;
        proxy = colon + 3;
    }
    const char *at = strrchr(proxy, '@');
    if (at != NULL) {
        parts.user = (struct span){proxy, (size_t)(at - proxy)};
        proxy = at + 1;
    }
    size_t bracket = proxy[0] == '[' ? strcspn(proxy, "]") : 0;
    parts.host = (struct span){proxy, bracket + strcspn(proxy + bracket, ":/?#")};
    proxy += parts.host.len;
    if (proxy[0] == ':') {
        parts.port = (struct span){proxy + 1, strcspn(proxy + 1, "/?#")};
        proxy += 1 + parts.port.len;
    }
    parts.rest = (struct span){proxy, strlen(proxy)};
    return parts;
}

static bool host_valid(struct span host)
{
    if (host.len > 2 && host.text[0] == '[')
        return host.text[host.len - 1] == ']' && span_only((struct span){host.text + 1, host.len - 2}, ":.%");
    return span_only(host, "-._");
}

static bool port_valid(struct span port)
{
    if (port.len == 0 || port.len > 5 || strspn(port.text, "0123456789") < port.len)
        return false;
    long number = strtol(port.text, NULL, 10);
    return number >= 1 && number <= 65535;
}

/* User and password: percent-encoded where they have to be, and no NUL among them. */
static bool user_valid(struct span user)
{
    for (size_t i = 0; i < user.len; i++) {
        const char *c = user.text + i;
        if (strchr("/?#@", *c) != NULL ||
            (*c == '%' && (user.len - i < 3 || !isxdigit((unsigned char)c[1]) ||
                           !isxdigit((unsigned char)c[2]) || (c[1] == '0' && c[2] == '0'))))
            return false;
    }
    return true;
}

void http_proxy_redact(const char *proxy, struct buf *out)
{
    struct proxy_parts parts = split_proxy(proxy);
    if (parts.scheme.len > 0) {
        buf_add(out, parts.scheme.text, parts.scheme.len);
        buf_adds(out, "://");
    }
    buf_add(out, parts.host.text, parts.host.len);
    if (port_valid(parts.port)) { /* else it may be a password whose '@' was forgotten */
        buf_addc(out, ':');
        buf_add(out, parts.port.text, parts.port.len);
    }
}

static bool scheme_valid(struct span scheme)
{
    static const char *const schemes[] = {"http", "https", "socks5", "socks5h"};
    bool known = scheme.len == 0;
    for (size_t i = 0; i < COUNT_OF(schemes); i++)
        known |= span_is(scheme, schemes[i]);
    return known;
}

static bool all_visible(const char *text)
{
    while (*text > ' ' && *text <= '~')
        text++;
    return *text == '\0';
}

bool http_proxy_check(const char *proxy, struct err *err)
{
    struct proxy_parts parts = split_proxy(proxy);
    AUTO_BUF shown = BUF_INIT;
    const char *wrong = NULL;
    if (proxy[0] == '\0')
        return true;
    if (!all_visible(proxy))
        wrong = "has a space, or a character that is not ASCII: write it percent-encoded";
    else if (!user_valid(parts.user))
        wrong =
            "has a user or password with a character to be percent-encoded: %25 for %, %40 for @, %2F for /, "
            "%3F for ?, %23 for #";
    else if (!scheme_valid(parts.scheme))
        wrong = "is of a kind that is not spoken here: http, https, socks5 and socks5h are";
    else if (!host_valid(parts.host))
        wrong = "has no host name or address that could be one";
    else if (parts.port.len == 0)
        wrong = "has no port";
    else if (!port_valid(parts.port))
        wrong = "has a port that is no number from 1 to 65535";
    else if (parts.rest.len > 0 && !span_is(parts.rest, "/"))
        wrong = "has a path behind host and port";
    if (wrong == NULL)
        return true;
    http_proxy_redact(proxy, &shown);
    (void)err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, buf_str(&shown), "the proxy '%s' %s", buf_str(&shown),
                  wrong);
    return err_advise(err,
                      "give it as --proxy http://USER:PASSWORD@HOST:PORT, or with https://, socks5:// or "
                      "socks5h:// in front; --proxy '' is none");
}

/* The first proxy that the environment names, in curl's order; NULL. */
static const char *environment_proxy(const char **variable)
{
    static const char *const variables[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
    for (size_t i = 0; i < COUNT_OF(variables); i++) {
        const char *proxy = getenv(variables[i]);
        *variable = variables[i];
        if (proxy != NULL && proxy[0] != '\0')
            return proxy;
    }
    return NULL;
}

/* Once, and from the beginning to the end: curl cannot go back, so that it never sends a signed body a second
 * time by itself, over another connection; that is for those who can sign it anew, with another nonce. */
static size_t give_body(char *data, size_t size, size_t n, void *ctx)
{
    struct transfer *transfer = ctx;
    size_t left = transfer->body_len - transfer->body_sent;
    size_t len = size * n < left ? size * n : left;
    memcpy(data, transfer->body + transfer->body_sent, len);
    transfer->body_sent += len;
    return len;
}

/* -- the client ----------------------------------------------------------------------------------------- */

static bool is_hash_link(const char *name)
{
    return strlen(name) == 10 && strspn(name, "0123456789abcdef") == 8 && strcmp(name + 8, ".0") == 0;
}

/* A directory of roots named by hash costs a look-up; a bundle of 150 costs thirty milliseconds of parsing.
 */
const char *http_roots_dir(void)
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

static struct curl_slist *content_type(const char *type)
{
    AUTO_FREE char *line = mem_fmt("Content-Type: %s", type);
    struct curl_slist *headers = curl_slist_append(NULL, line);
    struct curl_slist *more = curl_slist_append(headers, "Expect:");
    if (headers == NULL || more == NULL)
        mem_exhausted();
    return more;
}

static long longest(long a, long b)
{
    return a > b ? a : b;
}

/* A short timeout holds for the parts of a request as well, a long one stretches them. */
static void set_bounds(struct http *http, int timeout_s)
{
    long total_s = timeout_s <= 0 ? TOTAL_S : timeout_s < TOTAL_MAX_S ? timeout_s : TOTAL_MAX_S;
    http->total_s = total_s;
    http->connect_s = longest(CONNECT_S, total_s / (TOTAL_S / CONNECT_S));
    http->stall_s = longest(STALL_S, total_s / (TOTAL_S / STALL_S));
}

static void set_route(struct http *http, const struct http_options *options)
{
    bool any = options->interface == NULL || options->interface[0] == '\0';
    http->proxy = mem_dup(options->proxy);
    http->interface = any ? NULL : mem_dup(options->interface);
    http->ip_version = options->ip_version;
}

static bool check_proxy(const char *proxy, struct err *err)
{
    const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
    if (proxy == NULL)
        return true;
    if (!http_proxy_check(proxy, err))
        return false;
    if (!span_is(split_proxy(proxy).scheme, "https") || (curl->features & CURL_VERSION_HTTPS_PROXY) != 0)
        return true;
    return err_set(
        err, ERR_CONFIG, NEXT_FIX_CONFIG, NULL,
        "the libcurl of this system cannot speak TLS with a proxy: give one with http:// (--proxy)");
}

bool http_new(const struct http_options *options, struct http **out, struct err *err)
{
    if (!check_proxy(options->proxy, err))
        return false;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(err, ERR_INTERNAL, NEXT_LOCAL_FAULT, NULL, "libcurl cannot be initialised");
    struct http *http = mem_alloc(sizeof *http);
    http->multi = curl_multi_init();
    if (http->multi == NULL)
        mem_exhausted();
    curl_multi_setopt(http->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)MAX_CONNECTIONS);
    curl_multi_setopt(http->multi, CURLMOPT_MAX_CONCURRENT_STREAMS, (long)MAX_STREAMS);
    http->jose_headers = content_type("application/jose+json");
    http->form_headers = content_type("application/x-www-form-urlencoded");
    http->user_agent = mem_dup(options->user_agent);
    http->ca_name = mem_dup(options->ca_name);
    http->own_roots = options->ca_pem != NULL;
    if (http->own_roots)
        buf_add(&http->ca_pem, options->ca_pem, options->ca_pem_len);
    http->ca_dir = http_roots_dir();
    set_bounds(http, options->timeout_s);
    set_route(http, options);
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
    curl_slist_free_all(http->jose_headers);
    curl_slist_free_all(http->form_headers);
    buf_clear(&http->ca_pem);
    free(http->proxy);
    free(http->interface);
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

/* Roots of its own for the CA are for the CA; a proxy is a different house. */
static void set_proxy_trust(const struct http *http, CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_PROXY_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (http->ca_dir != NULL) {
        curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, NULL);
        curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, http->ca_dir);
    }
    if (http->own_roots && http->ca_pem.len > 0) {
        struct curl_blob blob = {
            .data = http->ca_pem.data, .len = http->ca_pem.len, .flags = CURL_BLOB_NOCOPY};
        curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO_BLOB, &blob);
    }
}

/* The way to the CA. What a proxy says of itself is no header of the CA's answer. */
static void set_way(const struct http *http, CURL *easy)
{
    static const long versions[] = {[4] = CURL_IPRESOLVE_V4, [6] = CURL_IPRESOLVE_V6};
    if (http->ip_version == 4 || http->ip_version == 6)
        curl_easy_setopt(easy, CURLOPT_IPRESOLVE, versions[http->ip_version]);
    if (http->interface != NULL)
        curl_easy_setopt(easy, CURLOPT_INTERFACE, http->interface);
    if (http->proxy != NULL) { /* said expressly: no_proxy in the environment has no say */
        curl_easy_setopt(easy, CURLOPT_PROXY, http->proxy);
        curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
    }
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXYAUTH, (long)CURLAUTH_BASIC);
    curl_easy_setopt(easy, CURLOPT_SOCKS5_AUTH, (long)CURLAUTH_BASIC);
    set_proxy_trust(http, easy);
}

static bool is_post(const struct transfer *transfer)
{
    return transfer->method == HTTP_POST || transfer->method == HTTP_POST_FORM;
}

static void set_options(struct transfer *transfer)
{
    const struct http *http = transfer->http;
    CURL *easy = transfer->easy;
    curl_easy_setopt(easy, CURLOPT_URL, transfer->url);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->message);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, http->user_agent);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, http->connect_s);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, http->total_s);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, http->stall_s);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    set_https_only(easy);
    set_trust(http, easy);
    set_way(http, easy);
    if (transfer->method == HTTP_HEAD) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (is_post(transfer)) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_body);
        curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER,
                         transfer->method == HTTP_POST ? http->jose_headers : http->form_headers);
    }
}

static const char *const method_names[] = {
    [HTTP_HEAD] = "HEAD", [HTTP_GET] = "GET", [HTTP_POST] = "POST", [HTTP_POST_FORM] = "POST"};

static void show_request(const struct transfer *transfer)
{
    AUTO_BUF shown = BUF_INIT;
    if (!log_wanted(LOG_LEVEL_DEBUG))
        return;
    if (transfer->method == HTTP_POST)
        exchange_request(transfer->body, transfer->body_len, &shown);
    log_debug("-> %s %s%s%s", method_names[transfer->method], transfer->url, shown.len > 0 ? "\n" : "",
              buf_str(&shown));
}

static void add_header(struct buf *out, const char *name, const char *value)
{
    if (value[0] != '\0')
        buf_addf(out, "; %s: %s", name, value);
}

static void show_answer(const struct transfer *transfer, const struct err *err)
{
    const struct http_response *response = &transfer->response;
    AUTO_BUF shown = BUF_INIT, nonce = BUF_INIT;
    if (!log_wanted(LOG_LEVEL_DEBUG))
        return;
    if (err_isset(err)) {
        log_debug("<- %s %s: %s", method_names[transfer->method], transfer->url, err->text);
        return;
    }
    exchange_nonce(response->nonce, &nonce);
    buf_addf(&shown, "%d %s", response->status, response->content_type);
    add_header(&shown, "Location", response->location);
    add_header(&shown, "Replay-Nonce", buf_str(&nonce));
    if (response->retry_after_s >= 0)
        buf_addf(&shown, "; Retry-After: %lld s", (long long)response->retry_after_s);
    if (response->body.secret)
        buf_adds(&shown, "\n(not shown)");
    else if (response->body.len > 0) {
        buf_addc(&shown, '\n');
        exchange_answer(response->content_type, response->body.data, response->body.len, &shown);
    }
    log_debug("<- %s %s: %s", method_names[transfer->method], transfer->url, buf_str(&shown));
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
    transfer->body_len = len;
    set_options(transfer);
    if (is_post(transfer))
        curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    transfer->next = http->transfers;
    http->transfers = transfer;
    show_request(transfer);
    http->stats.requests++;
    http->stats.bytes_out += (int64_t)len;
    curl_multi_add_handle(http->multi, transfer->easy);
}

/* -- results -------------------------------------------------------------------------------------------- */

/* A certificate out of its time: as this machine's clock has it. */
static bool time_error(const char *what, struct err *err)
{
    char now[CLOCK_TEXT_BYTES];
    return err_advise(
        err,
        "this machine's clock says %s. If that is wrong, set it, and have NTP keep it right (chrony, "
        "systemd-timesyncd or ntpd); if it is right, the certificate of the CA's server, or one above it, %s",
        clock_format_utc(clock_now_s(), now), what);
}

static bool trust_error(const struct transfer *transfer, struct err *err)
{
    const struct http *http = transfer->http;
    long verified = X509_V_OK;
    curl_easy_getinfo(transfer->easy, CURLINFO_SSL_VERIFYRESULT, &verified);
    if (verified == X509_V_ERR_CERT_NOT_YET_VALID)
        return time_error("is not valid yet", err);
    if (verified == X509_V_ERR_CERT_HAS_EXPIRED)
        return time_error("has expired", err);
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

/* Does no_proxy name the host? Addresses with a mask are left to curl. */
static bool exempt_by_environment(const char *url)
{
    char host[URL_MAX_BYTES];
    AUTO_STRLIST words = STRLIST_INIT;
    const char *list = getenv("no_proxy") != NULL ? getenv("no_proxy") : getenv("NO_PROXY");
    if (list == NULL || !url_authority(url, host, sizeof host))
        return false;
    host[host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":")] = '\0';
    strlist_split(&words, list, ", \t");
    for (size_t i = 0; i < words.n; i++) {
        const char *word = words.v[i] + (words.v[i][0] == '.');
        size_t len = strlen(word), host_len = strlen(host);
        if (strcmp(words.v[i], "*") == 0 ||
            (len > 0 && len <= host_len && strcasecmp(host + host_len - len, word) == 0 &&
             (len == host_len || host[host_len - len - 1] == '.')))
            return true;
    }
    return false;
}

/* The proxy that the transfer went through, NULL; and what named it. */
static const char *proxy_used(const struct transfer *transfer, const char **source)
{
    const char *given = transfer->http->proxy;
    *source = "--proxy";
    if (given != NULL)
        return given[0] != '\0' ? given : NULL;
    const char *proxy = environment_proxy(source);
#if LIBCURL_VERSION_NUM >= 0x080700
    long used = 0;
    if (curl_easy_getinfo(transfer->easy, CURLINFO_USED_PROXY, &used) == CURLE_OK && used == 0)
        return NULL;
#endif
    return proxy != NULL && !exempt_by_environment(transfer->url) ? proxy : NULL;
}

/* curl's own word for it, unless it repeats a proxy with its password. */
static const char *reason(const struct transfer *transfer, CURLcode code)
{
    const char *source, *proxy = proxy_used(transfer, &source);
    const struct span user = proxy != NULL ? split_proxy(proxy).user : (struct span){NULL, 0};
    if (user.len > 0) {
        /* up to the first letters of the user: what is cut off at the end of a message is not found whole */
        size_t first = (size_t)(user.text - proxy) + (user.len < 4 ? user.len : 4);
        AUTO_FREE char *start = mem_ndup(proxy, first);
        if (strstr(transfer->message, start) != NULL)
            return curl_easy_strerror(code);
    }
    if (code ==
        CURLE_SEND_FAIL_REWIND) /* its own words are about what it then could not do: send the body again */
        return curl_easy_strerror(CURLE_GOT_NOTHING);
    return transfer->message[0] != '\0' ? transfer->message : curl_easy_strerror(code);
}

struct failure {
    enum err_code code;
    enum err_next next;
    const char *text, *advice;
};

static const struct failure proxy_wants_password = {
    ERR_NETWORK, NEXT_FIX_CONFIG, "does not let this program in without the right user and password",
    "give them percent-encoded, as in http://USER:PASSWORD@HOST:PORT"};
static const struct failure proxy_forbids = {
    ERR_NETWORK, NEXT_FIX_CONFIG, "refuses to connect to the CA",
    "whoever runs the proxy must allow connections to the CA's address"};
static const struct failure proxy_cannot_reach = {
    ERR_NETWORK, NEXT_RETRY_LATER, "cannot connect to the CA",
    "check the CA's address (--server); else try again later, or tell whoever runs the proxy"};
static const struct failure proxy_no_name = {
    ERR_NETWORK, NEXT_RETRY_LATER, "cannot be asked for the CA: its host name cannot be resolved here",
    "with socks5h:// instead of socks5:// the proxy resolves it"};
static const struct failure proxy_broke = {
    ERR_NETWORK, NEXT_RETRY_LATER, "broke the connection off before it led to the CA",
    "is it a proxy of the kind that its address says (http, https, socks5), and is it in order?"};
static const struct failure proxy_missing = {ERR_NETWORK, NEXT_RETRY_LATER, "cannot be connected to",
                                             "is it running, and may this machine reach it?"};
static const struct failure proxy_unknown = {ERR_NETWORK, NEXT_FIX_CONFIG,
                                             "has an address that cannot be read or resolved",
                                             "check its spelling, and this machine's DNS (/etc/resolv.conf)"};
static const struct failure proxy_slow = {
    ERR_TIMEOUT, NEXT_RETRY_LATER, "does not make the connection to the CA in time",
    "is it running, may this machine reach it, and may it reach the CA? --timeout SECONDS gives it longer"};
static const struct failure proxy_untrusted = {
    ERR_TLS, NEXT_FIX_CONFIG, "cannot be spoken to by TLS, or has a certificate that is not trusted",
    "most proxies are addressed by http:// even for HTTPS; if it does speak TLS, its root must be among this "
    "machine's, or in --ca-bundle FILE"};

static const struct failure *socks_failure(const struct transfer *transfer)
{
    static const struct {
        CURLproxycode code;
        const struct failure *failure;
    } rows[] = {
        {CURLPX_NO_AUTH, &proxy_wants_password},
        {CURLPX_USER_REJECTED, &proxy_wants_password},
        {CURLPX_LONG_USER, &proxy_wants_password},
        {CURLPX_LONG_PASSWD, &proxy_wants_password},
        {CURLPX_REPLY_NOT_ALLOWED, &proxy_forbids},
        {CURLPX_REPLY_GENERAL_SERVER_FAILURE, &proxy_cannot_reach},
        {CURLPX_REPLY_HOST_UNREACHABLE, &proxy_cannot_reach},
        {CURLPX_REPLY_NETWORK_UNREACHABLE, &proxy_cannot_reach},
        {CURLPX_REPLY_CONNECTION_REFUSED, &proxy_cannot_reach},
        {CURLPX_REPLY_TTL_EXPIRED, &proxy_cannot_reach},
        {CURLPX_RESOLVE_HOST, &proxy_no_name},
    };
    long code = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_PROXY_ERROR, &code);
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if ((long)rows[i].code == code)
            return rows[i].failure;
    return &proxy_broke;
}

/* An HTTP proxy that has not said 200 to CONNECT: the CA was never spoken to. */
static const struct failure *connect_failure(const struct span scheme, CURLcode code, long answer)
{
    if (answer == 407)
        return &proxy_wants_password;
    if (answer >= 500)
        return &proxy_cannot_reach;
    if (answer > 0)
        return &proxy_forbids;
    bool tls = code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION;
    return tls && span_is(scheme, "https") ? &proxy_untrusted : &proxy_broke;
}

/* Whether it is the proxy that failed, or the CA behind it; NULL = the CA. */
static const struct failure *proxy_failure(const struct transfer *transfer, const char *proxy, CURLcode code)
{
    struct span scheme = split_proxy(proxy).scheme;
    bool socks = span_is(scheme, "socks5") || span_is(scheme, "socks5h");
    long answer = 0;
    curl_off_t request_us = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_CONNECTCODE, &answer);
    curl_easy_getinfo(transfer->easy, CURLINFO_PRETRANSFER_TIME_T, &request_us);
    /* the CA's own name is resolved by the proxy, or it is a failure of SOCKS */
    if (code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_COULDNT_RESOLVE_HOST)
        return &proxy_unknown;
    if (code == CURLE_PROXY)
        return socks_failure(transfer);
    if (request_us > 0 || answer / 100 == 2) /* the way led to the CA */
        return NULL;
    if (code == CURLE_COULDNT_CONNECT)
        return &proxy_missing;
    if (code == CURLE_OPERATION_TIMEDOUT)
        return &proxy_slow;
    bool ours = code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_INTERFACE_FAILED ||
                code == CURLE_SSL_CACERT_BADFILE;
    return socks || ours ? NULL : connect_failure(scheme, code, answer);
}

static bool describe_proxy_failure(const struct transfer *transfer, CURLcode code, struct err *err)
{
    const char *source, *proxy = proxy_used(transfer, &source);
    const struct failure *failure = proxy != NULL ? proxy_failure(transfer, proxy, code) : NULL;
    AUTO_BUF shown = BUF_INIT;
    if (failure == NULL)
        return false;
    http_proxy_redact(proxy, &shown);
    (void)err_set(err, failure->code, failure->next, transfer->url, "the proxy %s %s: %s", buf_str(&shown),
                  failure->text, reason(transfer, code));
    (void)err_advise(err, "%s. The proxy is named by %s%s", failure->advice,
                     proxy == transfer->http->proxy ? "" : "the environment variable ", source);
    return true;
}

/* What a person has asked for may be why there is no way. */
static const char *way_advice(const struct http *http, CURLcode code)
{
    static const char *const advice[] = {
        [4] = "only IPv4 is used (--ipv4): has the CA such an address, and is this machine connected by it?",
        [6] = "only IPv6 is used (--ipv6): has the CA such an address, and is this machine connected by it?",
    };
    if (code != CURLE_COULDNT_RESOLVE_HOST && code != CURLE_COULDNT_CONNECT)
        return NULL;
    if (http->interface != NULL && code == CURLE_COULDNT_CONNECT)
        return "connections are made from the address or interface of --interface alone: can the CA be "
               "reached "
               "from it?";
    return http->ip_version == 4 || http->ip_version == 6 ? advice[http->ip_version] : NULL;
}

static const struct failure *ca_failure(CURLcode code)
{
    static const struct {
        CURLcode code;
        struct failure failure;
    } rows[] = {
        {CURLE_COULDNT_RESOLVE_HOST,
         {ERR_NETWORK, NEXT_RETRY_LATER, "the CA's host name cannot be resolved",
          "check the spelling of --server, and this machine's DNS (/etc/resolv.conf)"}},
        {CURLE_COULDNT_CONNECT,
         {ERR_NETWORK, NEXT_RETRY_LATER, "cannot connect to the CA",
          "check that this machine may make outgoing HTTPS connections, and the CA's address (--server)"}},
        {CURLE_SEND_FAIL_REWIND,
         {ERR_NETWORK, NEXT_RETRY_LATER, "the CA closed the connection", "try again in a moment"}},
        {CURLE_OPERATION_TIMEDOUT,
         {ERR_TIMEOUT, NEXT_RETRY_LATER, "the CA does not answer in time",
          "try again later; if it stays so, look for a firewall that drops outgoing HTTPS, or give the CA "
          "longer (--timeout SECONDS)"}},
        {CURLE_PEER_FAILED_VERIFICATION,
         {ERR_TLS, NEXT_FIX_CONFIG, "the CA's own HTTPS certificate is not trusted", NULL}},
        {CURLE_SSL_CACERT_BADFILE,
         {ERR_CONFIG, NEXT_FIX_CONFIG, "the certificates to trust cannot be read", NULL}},
        {CURLE_SSL_CONNECT_ERROR,
         {ERR_TLS, NEXT_RETRY_LATER, "the TLS handshake with the CA failed",
          "check the CA's address (--server): is it an HTTPS server?"}},
        {CURLE_WEIRD_SERVER_REPLY,
         {ERR_PROTOCOL, NEXT_FIX_CONFIG, "what answers there is no web server",
          "check the CA's address (--server)"}},
        {CURLE_UNSUPPORTED_PROTOCOL,
         {ERR_CONFIG, NEXT_FIX_CONFIG, "only https addresses are spoken to",
          "give an address that begins with https:// (--server)"}},
        {CURLE_INTERFACE_FAILED,
         {ERR_CONFIG, NEXT_FIX_CONFIG, "the source interface or address cannot be used",
          "give one that this machine has (--interface); `ip address` lists them"}},
    };
    static const struct failure other = {ERR_NETWORK, NEXT_RETRY_LATER, "the connection to the CA broke",
                                         "try again in a moment"};
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (rows[i].code == code)
            return &rows[i].failure;
    return &other;
}

static void describe_failure(const struct transfer *transfer, CURLcode code, struct err *err)
{
    if (transfer->too_much) {
        (void)err_set(err, ERR_PROTOCOL, NEXT_RETRY_LATER, transfer->url,
                      "the CA's answer is larger than any answer of a CA should be");
        return;
    }
    if (describe_proxy_failure(transfer, code, err))
        return;
    /* curl's word for an answer without a status line, too */
    if (code == CURLE_UNSUPPORTED_PROTOCOL && url_valid(transfer->url))
        code = CURLE_WEIRD_SERVER_REPLY;
    const struct failure *failure = ca_failure(code);
    const char *way = way_advice(transfer->http, code);
    (void)err_set(err, failure->code, failure->next, transfer->url, "%s: %s", failure->text,
                  reason(transfer, code));
    if (way != NULL)
        (void)err_advise(err, "%s", way);
    else if (failure->advice != NULL)
        (void)err_advise(err, "%s", failure->advice);
    else
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
    show_answer(transfer, &err);
    transfer->done(transfer->ctx, code == CURLE_OK ? &transfer->response : NULL,
                   code == CURLE_OK ? NULL : &err);
    transfer_free(transfer);
}

/* Transfers that have ended; was there one? */
static bool finish_ended(struct http *http)
{
    CURLMsg *message;
    bool any = false;
    for (int left; (message = curl_multi_info_read(http->multi, &left)) != NULL;) {
        struct transfer *transfer = NULL;
        CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
        finish(http, transfer, code);
        any = true;
    }
    return any;
}

bool http_wait(struct http *http, int fd, int timeout_ms)
{
    struct curl_waitfd extra = {.fd = fd, .events = CURL_WAIT_POLLIN};
    int running;
    curl_multi_perform(http->multi, &running);
    if (finish_ended(http)) /* nothing on a socket would tell of it again */
        timeout_ms = 0;
    curl_multi_poll(http->multi, fd >= 0 ? &extra : NULL, fd >= 0 ? 1 : 0, timeout_ms, NULL);
    curl_multi_perform(http->multi, &running);
    /* an HTTP/2 answer without a body is seen to be complete only by the next call, which nothing on the
     * socket would bring about (curl 7.88) */
    if (running > 0)
        curl_multi_perform(http->multi, &running);
    (void)finish_ended(http);
    return fd >= 0 && extra.revents != 0;
}

void http_stats_get(const struct http *http, struct http_stats *out)
{
    *out = http->stats;
}
