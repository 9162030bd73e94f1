/*
 * A message as mail: RFC 5322, with MIME where it is more than short lines of ASCII.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "notice.h"
#include "tlsup/mem.h"

enum {
    LINE_MAX_BYTES = 998,     /* RFC 5322 2.1.1 */
    ENCODED_PIECE_BYTES = 45, /* an encoded word has 75 characters at most (RFC 2047 2) */
    QUOTED_LINE_BYTES = 72,   /* RFC 2045 6.7 (5): 76 */
    SUBJECT_MAX_BYTES = 400,
};

static bool is_plain(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text >= 0x80 || ((unsigned char)*text < ' ' && *text != '\n' && *text != '\t'))
            return false;
    return true;
}

static bool lines_are_short(const char *text)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        if (len > LINE_MAX_BYTES)
            return false;
        text += len + (text[len] == '\n');
    }
    return true;
}

/* Bytes up to `most` that end with a whole character. */
static size_t whole_characters(const char *text, size_t most)
{
    size_t len = strlen(text);
    if (len <= most)
        return len;
    while (most > 1 && ((unsigned char)text[most] & 0xC0) == 0x80)
        most--;
    return most;
}

static void add_base64(struct buf *out, const char *text, size_t len)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        unsigned bits = (unsigned)(unsigned char)text[i] << 16;
        bits |= i + 1 < len ? (unsigned)(unsigned char)text[i + 1] << 8 : 0;
        bits |= i + 2 < len ? (unsigned)(unsigned char)text[i + 2] : 0;
        buf_addc(out, alphabet[bits >> 18]);
        buf_addc(out, alphabet[bits >> 12 & 63]);
        buf_addc(out, i + 1 < len ? alphabet[bits >> 6 & 63] : '=');
        buf_addc(out, i + 2 < len ? alphabet[bits & 63] : '=');
    }
}

static void add_subject(struct buf *out, const struct notice *notice)
{
    AUTO_BUF whole = BUF_INIT;
    notice_subject(notice, &whole);
    size_t len = whole_characters(buf_str(&whole), SUBJECT_MAX_BYTES);
    AUTO_FREE char *subject = mem_ndup(buf_str(&whole), len);
    for (char *c = subject; *c != '\0'; c++)
        if ((unsigned char)*c < ' ') /* one line, whatever is in it */
            *c = ' ';
    buf_adds(out, "Subject: ");
    if (is_plain(subject)) {
        buf_addf(out, "%s\n", subject);
        return;
    }
    for (const char *at = subject; *at != '\0';) {
        size_t piece = whole_characters(at, ENCODED_PIECE_BYTES);
        buf_addf(out, "%s=?UTF-8?B?", at != subject ? "\n " : "");
        add_base64(out, at, piece);
        buf_adds(out, "?=");
        at += piece;
    }
    buf_addc(out, '\n');
}

static void add_quoted_printable(struct buf *out, const char *text)
{
    size_t column = 0;
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool last_blank = c == ' ' && (text[1] == '\n' || text[1] == '\0');
        if (c == '\n') {
            buf_addc(out, '\n');
            column = 0;
            continue;
        }
        if (column >= QUOTED_LINE_BYTES) {
            buf_adds(out, "=\n");
            column = 0;
        }
        bool as_is = c >= ' ' && c <= '~' && c != '=' && !last_blank;
        if (as_is)
            buf_addc(out, (char)c);
        else
            buf_addf(out, "=%02X", c);
        column += as_is ? 1 : 3;
    }
}

/* "Sun, 22 Nov 2026 14:05:09 +0000" */
static void add_date(struct buf *out, int64_t now_s)
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm utc;
    time_t now = (time_t)now_s;
    if (gmtime_r(&now, &utc) != NULL)
        buf_addf(out, "Date: %s, %d %s %d %02d:%02d:%02d +0000\n", days[utc.tm_wday], utc.tm_mday,
                 months[utc.tm_mon], utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

static void add_message_id(struct buf *out, const struct notice *notice)
{
    uint64_t random = 0;
    (void)!getrandom(&random, sizeof random, 0); /* time and process tell messages apart, too */
    buf_addf(out, "Message-ID: <%lld.%ld.%016llx@%s>\n", (long long)notice->now_s, (long)getpid(),
             (unsigned long long)random, notice->host);
}

void notice_mail(const struct notice *notice, const char *from, const struct strlist *to, struct buf *out)
{
    AUTO_BUF text = BUF_INIT;
    AUTO_FREE char *recipients = strlist_join(to, ",\n ");
    notice_text(notice, &text);
    bool plain = is_plain(buf_str(&text)) && lines_are_short(buf_str(&text));
    add_date(out, notice->now_s);
    buf_addf(out, "From: tlsup <%s>\nTo: %s\n", from, recipients);
    add_message_id(out, notice);
    add_subject(out, notice);
    buf_adds(out, "Auto-Submitted: auto-generated\nMIME-Version: 1.0\n");
    buf_addf(out, "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: %s\n\n",
             plain ? "7bit" : "quoted-printable");
    if (plain)
        buf_add(out, text.data, text.len);
    else
        add_quoted_printable(out, buf_str(&text));
}
