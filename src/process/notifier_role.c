/*
 * The notifier: mail servers, webhooks and the heartbeat, by libcurl. It has no keys, and opens no files but
 * the roots it trusts.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <curl/curl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "tlsup/http.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/messages.h"
#include "tlsup/notifier.h"
#include "tlsup/roles.h"
#include "tlsup/sandbox.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0"
#endif

enum {
    TRIES = 2,
    REDIRECTS_MAX = 3,
    ANSWER_KEPT_BYTES = 300, /* of what a server says, for people */
    ANSWER_MAX_BYTES = 1 << 20,
    HEADERS_MAX = 50,
};

struct job {
    enum notifier_kind kind;
    bool loopback;
    char *parts[NOTICE_PARTS]; /* texts: all but headers and body */
    struct strlist headers;
    struct buf body;
};

struct
try {
    const struct job *job;
    CURL *easy;
    char message[CURL_ERROR_SIZE];
    struct curl_slist *headers, *recipients;
    size_t sent;       /* bytes of the body */
    struct buf answer; /* the beginning of what the server said */
    size_t answer_bytes;
    char reply[256]; /* the last line of a mail server */
    struct err err;
    bool again; /* a second try may go better */
};

static void job_clear(struct job *job)
{
    for (size_t i = 0; i < NOTICE_PARTS; i++)
        free(job->parts[i]);
    strlist_clear(&job->headers);
    buf_clear(&job->body);
    *job = (struct job){0};
}

/* "smtp://mail.example.org:587": a path may have a token in it. */
static void shown_address(const char *url, char *out, size_t size)
{
    const char *host = strstr(url, "://");
    size_t len = host != NULL ? (size_t)(host - url) + 3 + strcspn(host + 3, "/?#") : 0;
    snprintf(out, size, "%.*s", (int)len, url);
}

/* -- curl's callbacks ----------------------------------------------------------------------------------- */

static size_t on_read(char *to, size_t size, size_t n, void *ctx)
{
    struct try *try = ctx;
    size_t left = try->job->body.len - try->sent, len = size * n < left ? size * n : left;
    if (len > 0)
        memcpy(to, try->job->body.data + try->sent, len);
    try->sent += len;
    return len;
}

static size_t on_answer(char *data, size_t size, size_t n, void *ctx)
{
    struct try *try = ctx;
    size_t len = size * n, room = ANSWER_KEPT_BYTES - try->answer.len;
    buf_add(&try->answer, data, len < room ? len : room);
    try->answer_bytes += len;
    return try->answer_bytes <= ANSWER_MAX_BYTES ? len : 0;
}

/* Lines of a mail server; of a web server those of the header, which tell nothing more than the status. */
static size_t on_line(char *data, size_t size, size_t n, void *ctx)
{
    struct try *try = ctx;
    size_t len = size * n;
    if (try->job->kind != NOTIFIER_MAIL)
        return len;
    bool refusal = len > 0 && (data[0] == '4' || data[0] == '5');
    int shown = len < sizeof try->reply ? (int)len : (int)sizeof try->reply - 1;
    if (!refusal && strchr("45", try->reply[0]) != NULL && try->reply[0] != '\0')
        return len; /* "bye" says less than why */
    snprintf(try->reply, sizeof try->reply, "%.*s", shown, data);
    try->reply[strcspn(try->reply, "\r\n")] = '\0';
    return len;
}

/* -- options -------------------------------------------------------------------------------------------- */

static void set_protocols(CURL *easy, const char *first, const char *redirected)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, first);
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, redirected);
#else
    bool mail = strncmp(first, "smtp", 4) == 0;
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS,
                     mail
                         ? (long)(CURLPROTO_SMTP | CURLPROTO_SMTPS)
                         : (long)(CURLPROTO_HTTPS | (strcmp(first, "http,https") == 0 ? CURLPROTO_HTTP : 0)));
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS, (long)CURLPROTO_HTTPS);
    (void)redirected;
#endif
}

static void set_common(struct try *try, const struct notifier_options *options)
{
    CURL *easy = try->easy;
    const char *roots = http_roots_dir();
    curl_easy_setopt(easy, CURLOPT_URL, try->job->parts[NOTICE_PART_URL]);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, try->message);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "tlsup/" PACKAGE_VERSION);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)options->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)options->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(easy, CURLOPT_READDATA, try);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, try);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_line);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, try);
    if (roots != NULL) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
        curl_easy_setopt(easy, CURLOPT_CAPATH, roots);
    }
    if (try->job->loopback || try->job->kind == NOTIFIER_MAIL)
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
    else if (options->proxy != NULL) {
        curl_easy_setopt(easy, CURLOPT_PROXY, options->proxy);
        curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
    }
}

static struct curl_slist *with(struct curl_slist *list, const char *line)
{
    struct curl_slist *more = curl_slist_append(list, line);
    if (more == NULL)
        mem_exhausted();
    return more;
}

/* On this machine itself nobody listens in: TLS is spoken there only where a password is at stake. */
static long tls_for_mail(const struct job *job)
{
    if (!job->loopback)
        return CURLUSESSL_ALL;
    return job->parts[NOTICE_PART_LOGIN] != NULL ? CURLUSESSL_TRY : CURLUSESSL_NONE;
}

static void set_mail(struct try *try)
{
    const struct job *job = try->job;
    const char *login = job->parts[NOTICE_PART_LOGIN];
    const char *colon = login != NULL ? strchr(login, ':') : NULL;
    AUTO_FREE char *from = mem_fmt("<%s>", job->parts[NOTICE_PART_FROM]);
    AUTO_FREE char *to = mem_fmt("<%s>", job->parts[NOTICE_PART_TO]);
    set_protocols(try->easy, "smtp,smtps", "https");
    curl_easy_setopt(try->easy, CURLOPT_USE_SSL, tls_for_mail(job));
    curl_easy_setopt(try->easy, CURLOPT_MAIL_FROM, from);
    try->recipients = with(NULL, to);
    curl_easy_setopt(try->easy, CURLOPT_MAIL_RCPT, try->recipients);
    curl_easy_setopt(try->easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(try->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)job->body.len);
    if (colon == NULL)
        return;
    AUTO_FREE char *user = mem_ndup(login, (size_t)(colon - login));
    curl_easy_setopt(try->easy, CURLOPT_USERNAME, user);
    curl_easy_setopt(try->easy, CURLOPT_PASSWORD, colon + 1);
}

static void set_web(struct try *try)
{
    const struct job *job = try->job;
    set_protocols(try->easy, job->loopback ? "http,https" : "https", "https");
    if (job->kind == NOTIFIER_GET) {
        curl_easy_setopt(try->easy, CURLOPT_FOLLOWLOCATION, 1L);
        curl_easy_setopt(try->easy, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
        return;
    }
    try->headers = with(with(NULL, "Content-Type: application/json"), "Expect:");
    for (size_t i = 0; i < job->headers.n; i++)
        try->headers = with(try->headers, job->headers.v[i]);
    curl_easy_setopt(try->easy, CURLOPT_HTTPHEADER, try->headers);
    curl_easy_setopt(try->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(try->easy, CURLOPT_POSTFIELDS, job->body.len > 0 ? job->body.data : "");
    curl_easy_setopt(try->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)job->body.len);
}

/* -- failures ------------------------------------------------------------------------------------------- */

struct failure {
    CURLcode curl;
    enum err_code code;
    enum err_next next;
    bool again;
    const char *text, *advice;
};

static const struct failure failures[] = {
    {CURLE_COULDNT_RESOLVE_HOST, ERR_NETWORK, NEXT_RETRY_LATER, true, "the host name cannot be resolved",
     "check its spelling in tlsup.conf, and this machine's DNS (/etc/resolv.conf)"},
    {CURLE_COULDNT_RESOLVE_PROXY, ERR_NETWORK, NEXT_RETRY_LATER, true, "the proxy's name cannot be resolved",
     "check the proxy in tlsup.conf or in the environment"},
    {CURLE_COULDNT_CONNECT, ERR_NETWORK, NEXT_RETRY_LATER, true, "nothing answers there",
     "check the address and the port in tlsup.conf, and whether this machine may connect to it"},
    {CURLE_OPERATION_TIMEDOUT, ERR_TIMEOUT, NEXT_RETRY_LATER, true, "it does not answer in time",
     "is the port the right one (587 for STARTTLS, 465 for smtps), and does a firewall drop the connection?"},
    {CURLE_PEER_FAILED_VERIFICATION, ERR_TLS, NEXT_FIX_CONFIG, false, "its certificate is not trusted",
     "the name in tlsup.conf must be one of the certificate's; the root of a private CA belongs among this "
     "machine's (update-ca-certificates)"},
    {CURLE_SSL_CONNECT_ERROR, ERR_TLS, NEXT_FIX_CONFIG, false, "the TLS handshake failed",
     "does it speak TLS on this port? smtps:// does from the beginning (465), smtp:// changes over (587)"},
    {CURLE_USE_SSL_FAILED, ERR_TLS, NEXT_FIX_CONFIG, false, "the mail server does not offer STARTTLS",
     "without it everybody on the way could read the mail, and the password: use another port (587), or "
     "smtps://"},
    {CURLE_LOGIN_DENIED, ERR_PERMISSION, NEXT_FIX_CONFIG, false, "user or password is refused",
     "check the file of notify-smtp-login: USER:PASSWORD"},
    {CURLE_WEIRD_SERVER_REPLY, ERR_PROTOCOL, NEXT_FIX_CONFIG, false, "what answers there is no such server",
     "check host and port in tlsup.conf"},
    {CURLE_UNSUPPORTED_PROTOCOL, ERR_CONFIG, NEXT_FIX_CONFIG, false,
     "this system's libcurl does not speak that protocol, or the server redirects to one that is not allowed",
     "use https:// for web addresses; for mail, a libcurl that has SMTP"},
    {CURLE_TOO_MANY_REDIRECTS, ERR_PROTOCOL, NEXT_FIX_CONFIG, false, "it redirects again and again",
     "give the address where it ends up"},
    {CURLE_WRITE_ERROR, ERR_PROTOCOL, NEXT_FIX_CONFIG, false,
     "its answer is larger than any such answer should be", "check the address in tlsup.conf"},
};

static const struct failure *find_failure(CURLcode code)
{
    static const struct failure other = {
        CURLE_OK, ERR_NETWORK, NEXT_RETRY_LATER, true, "the connection broke", "try it again: tlsup notify"};
    for (size_t i = 0; i < COUNT_OF(failures); i++)
        if (failures[i].curl == code)
            return &failures[i];
    return &other;
}

/* A mail server that has said no. 4xx is for now, 5xx for good (RFC 5321 4.2.1). */
static bool refused_by_mail_server(const struct try *try, long status)
{
    return try->job->kind == NOTIFIER_MAIL && status >= 400 && status < 600 && try->reply[0] != '\0';
}

static void refusal(struct try *try, const char *where, long status)
{
    try->again = status < 500;
    err_set(&try->err, ERR_PROTOCOL, status < 500 ? NEXT_RETRY_LATER : NEXT_FIX_CONFIG, where,
            "the mail server %s refuses the mail to %s: %s", where, try->job->parts[NOTICE_PART_TO],
            try->reply);
    (void)err_advise(&try->err,
                     "check notify-mail, notify-from and, where the server wants one, notify-smtp-login");
}

static void broken(struct try *try, const char *where, CURLcode code, long status)
{
    bool login_later = code == CURLE_LOGIN_DENIED && status == 454; /* for now (RFC 4954 6) */
    const struct failure *failure = find_failure(code);
    const char *why = try->message[0] != '\0' ? try->message : curl_easy_strerror(code);
    try->again = failure->again || login_later;
    err_set(&try->err, failure->code, failure->next, where, "%s: %s: %s%s%s", where, failure->text, why,
            try->reply[0] != '\0' ? "; it said: " : "", try->reply);
    (void)err_advise(&try->err, "%s", failure->advice);
}

static void unwelcome(struct try *try, const char *where, long status)
{
    bool later = status >= 500 || status == 429 || status == 408;
    AUTO_BUF said = BUF_INIT;
    if (try->answer.len > 0)
        buf_addf(&said, ": %s", buf_str(&try->answer));
    try->again = later;
    err_set(&try->err, ERR_PROTOCOL, later ? NEXT_RETRY_LATER : NEXT_FIX_CONFIG, where, "%s answers %ld%s",
            where, status, buf_str(&said));
    if (status / 100 == 3)
        (void)err_advise(&try->err, "give the address that it redirects to; redirects are not followed here");
    else if (status == 401 || status == 403)
        (void)err_advise(&try->err,
                         "does it want a token? Header lines go into the file of notify-webhook-headers");
    else
        (void)err_advise(&try->err, later ? "ask whoever runs it, or try again later: tlsup notify"
                                          : "check the whole address in tlsup.conf");
}

/* -- a try ---------------------------------------------------------------------------------------------- */

static bool judge(struct try *try, CURLcode code)
{
    char where[256];
    long status = 0;
    shown_address(try->job->parts[NOTICE_PART_URL], where, sizeof where);
    curl_easy_getinfo(try->easy, CURLINFO_RESPONSE_CODE, &status);
    for (size_t i = 0; i < try->answer.len; i++)
        if (try->answer.data[i] == '\0')
            try->answer.data[i] = '?';
    if (code == CURLE_OK && (try->job->kind == NOTIFIER_MAIL || status / 100 == 2))
        return true;
    if (code == CURLE_OK)
        unwelcome(try, where, status);
    else if (code != CURLE_LOGIN_DENIED && refused_by_mail_server(try, status))
        refusal(try, where, status);
    else
        broken(try, where, code, status);
    return false;
}

static bool carry_out(const struct job *job, const struct notifier_options *options, bool *again,
                      struct err *err)
{
    struct try try = {.job = job, .easy = curl_easy_init()};
    if (try.easy == NULL)
        mem_exhausted();
    set_common(&try, options);
    if (job->kind == NOTIFIER_MAIL)
        set_mail(&try);
    else
        set_web(&try);
    bool ok = judge(&try, curl_easy_perform(try.easy));
    *again = try.again;
    if (!ok)
        *err = try.err;
    curl_easy_cleanup(try.easy);
    curl_slist_free_all(try.headers);
    curl_slist_free_all(try.recipients);
    buf_clear(&try.answer);
    return ok;
}

static bool complete(const struct job *job, struct err *err)
{
    bool mail = job->kind == NOTIFIER_MAIL;
    if (job->parts[NOTICE_PART_URL] != NULL &&
        (!mail || (job->parts[NOTICE_PART_FROM] != NULL && job->parts[NOTICE_PART_TO] != NULL)))
        return true;
    return err_set(err, ERR_INTERNAL, NEXT_LOCAL_FAULT, NULL, "a notification lacks its address");
}

static bool try_twice(const struct job *job, const struct notifier_options *options, struct err *err)
{
    if (!complete(job, err))
        return false;
    for (int i = 0; i < TRIES; i++) {
        bool again = false;
        err_clear(err);
        if (carry_out(job, options, &again, err))
            return true;
        if (!again)
            return false;
        if (i + 1 < TRIES) {
            log_info("%s; once more", err->text);
            (void)poll(NULL, 0, options->pause_ms);
        }
    }
    return false;
}

/* -- frames --------------------------------------------------------------------------------------------- */

/* Lines of mail end in CRLF (RFC 5321 2.3.8). */
static void add_mail_text(struct buf *out, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] == '\n')
            buf_addc(out, '\r');
        if (data[i] != '\r')
            buf_addc(out, data[i]);
    }
}

static void take_part(struct job *job, const struct msg *msg)
{
    if (msg->number < 0 || msg->number >= NOTICE_PARTS)
        _exit(1);
    enum notice_part part = (enum notice_part)msg->number;
    const char *text = buf_str(&msg->body);
    if (part == NOTICE_PART_BODY) {
        job->body.limit = NOTIFIER_BODY_BYTES * 2; /* line ends grow */
        buf_add(&job->body, msg->body.data, msg->body.len);
    } else if (part == NOTICE_PART_HEADER) {
        if (job->headers.n < HEADERS_MAX)
            strlist_add(&job->headers, text);
    } else {
        free(job->parts[part]);
        job->parts[part] = mem_dup(text);
    }
    if (part == NOTICE_PART_LOGIN && strchr(text, ':') != NULL)
        log_secret(strchr(text, ':') + 1);
    if (part == NOTICE_PART_HEADER && strchr(text, ':') != NULL)
        log_secret_words(strchr(text, ':') + 1, " \t,;=\"");
}

/* With the first job: most runs have none, and one process is in reserve. */
static void prepare_curl(void)
{
    static bool ready;
    if (!ready && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        _exit(1);
    ready = true;
}

static void go(int fd, struct job *job, const struct msg *msg, const struct notifier_options *options)
{
    struct msg answer = MSG_INIT(MSG_NOTICE_SENT);
    struct err err = ERR_INIT;
    if (msg->number < 0 || msg->number >= NOTIFIER_KINDS)
        _exit(1);
    prepare_curl();
    job->kind = (enum notifier_kind)msg->number;
    job->loopback = msg->number2 == 1;
    if (job->kind == NOTIFIER_MAIL) {
        struct buf lines = BUF_INIT;
        add_mail_text(&lines, job->body.data, job->body.len);
        buf_clear(&job->body);
        job->body = lines;
    }
    answer.id = msg->id;
    if (!try_twice(job, options, &err)) {
        answer.type = MSG_NOTICE_FAILED;
        answer.err = err;
    }
    err_clear(&err);
    if (!msg_send(fd, &answer, &err))
        _exit(0);
    job_clear(job);
}

void notifier_main(int fd, const struct notifier_options *options)
{
    struct job job = {0};
    struct err err = ERR_INIT;
    if (!sandbox_enter(SANDBOX_NOTIFIER_USER, &fd, 1, &err))
        _exit(1);
    for (;;) {
        struct msg msg = {0};
        struct pollfd pfd = {.fd = fd, .events = POLLIN};
        (void)poll(&pfd, 1, -1);
        int got = msg_receive(fd, MSG_FROM_KEEPER, &msg, &err);
        if (got < 0)
            _exit(0); /* the keeper has ended, and so do we */
        if (got > 0 && msg.type == MSG_NOTICE_PART)
            take_part(&job, &msg);
        else if (got > 0 && msg.type == MSG_NOTICE_GO)
            go(fd, &job, &msg, options);
        else if (got > 0)
            _exit(1);
        msg_clear(&msg);
    }
}
