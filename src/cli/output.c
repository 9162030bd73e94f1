#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "output.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

enum {
    FRAME_MS = 100,
    PIPED_COLUMNS = 1 << 20 /* not wrapped: what is piped is searched by lines */,
    WIDEST_TEXT = 100,
    NARROWEST_TEXT = 30,
    ANSWERS_MAX = 3
};

struct glyphs {
    const char *frames[10];
    unsigned n_frames;
    const char *tick, *cross, *arrow, *dot, *ellipsis;
};

static const struct glyphs glyphs_ascii = {{"|", "/", "-", "\\"}, 4, "+", "x", "->", "-", "..."};
static const struct glyphs glyphs_utf8 = {
    {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}, 10, "✓", "✗", "→", "·", "…"};

static const char *const escapes[STYLE_COUNT] = {
    [STYLE_PLAIN] = "\033[0m",    [STYLE_GOOD] = "\033[32m", [STYLE_BAD] = "\033[31m",
    [STYLE_CAUTION] = "\033[33m", [STYLE_DIM] = "\033[2m",   [STYLE_BOLD] = "\033[1m",
};

/* What is on the screen now, and how it may be drawn. */
static struct {
    bool quiet;
    bool document;     /* standard output is no place for lines */
    bool told_before;  /* errors are known */
    bool terminal;     /* standard error can show a spinner */
    bool err_coloured; /* standard error */
    bool out_coloured; /* standard output */
    bool utf8;
    bool running; /* a step is under way */
    char step[512];
    char detail[512];
    int64_t began_ms;
    int64_t drawn_ms;
    unsigned frame;
} screen;

/* -- what the terminal can do ------------------------------------------------------------------------ */

static bool says_utf8(const char *text)
{
    return text != NULL && (strcasestr(text, "utf-8") != NULL || strcasestr(text, "utf8") != NULL);
}

/* The locale that the environment asks for, by POSIX's order of precedence. */
static const char *locale_wanted(void)
{
    static const char *const variables[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < COUNT_OF(variables); i++) {
        const char *value = getenv(variables[i]);
        if (value != NULL && value[0] != '\0')
            return value;
    }
    return NULL;
}

static bool find_utf8(void)
{
    if (setlocale(LC_CTYPE, "") != NULL && says_utf8(nl_langinfo(CODESET)))
        return true;
    /* a locale that is asked for and not installed still says what the terminal shows */
    if (!says_utf8(locale_wanted()))
        return false;
    if (setlocale(LC_CTYPE, "C.UTF-8") == NULL)
        setlocale(LC_CTYPE, "C");
    return true;
}

static bool is_smart(int fd)
{
    const char *term = getenv("TERM");
    return isatty(fd) && term != NULL && term[0] != '\0' && strcmp(term, "dumb") != 0;
}

static bool is_on(const char *variable)
{
    const char *value = getenv(variable);
    return value != NULL && value[0] != '\0' && strcmp(value, "0") != 0;
}

/* NO_COLOR (any value, no-color.org) comes before what asks for colours. */
static bool takes_colour(int fd)
{
    const char *no_color = getenv("NO_COLOR"), *colour = getenv("CLICOLOR");
    if (no_color != NULL && no_color[0] != '\0')
        return false;
    if (is_on("CLICOLOR_FORCE"))
        return true;
    return is_smart(fd) && (colour == NULL || strcmp(colour, "0") != 0);
}

static size_t columns_of(int fd)
{
    struct winsize size;
    if (!isatty(fd))
        return 0;
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static const struct glyphs *glyphs(void)
{
    return screen.utf8 ? &glyphs_utf8 : &glyphs_ascii;
}

static const char *err_style(enum output_style style)
{
    return screen.err_coloured ? escapes[style] : "";
}

const char *output_style(enum output_style style)
{
    return screen.out_coloured ? escapes[style] : "";
}

size_t output_columns(void)
{
    return columns_of(STDOUT_FILENO);
}

bool output_utf8(void)
{
    return screen.utf8;
}

bool output_is_terminal(void)
{
    return isatty(STDERR_FILENO);
}

/* -- measuring and breaking text --------------------------------------------------------------------- */

/* The next character: its length in bytes and its columns. Broken UTF-8 counts as one column a byte. */
static size_t next_char(const char *text, size_t *columns)
{
    wchar_t wide;
    mbstate_t state = {0};
    size_t len = mbrtowc(&wide, text, MB_CUR_MAX, &state);
    if (len == 0 || len > MB_CUR_MAX) {
        unsigned char byte = (unsigned char)*text;
        *columns = byte >= 0x80 && byte < 0xC0 ? 0 : 1;
        return 1;
    }
    int width = wcwidth(wide);
    *columns = width < 0 ? 1 : (size_t)width;
    return len;
}

static size_t width_of(const char *text, size_t len)
{
    size_t total = 0, columns;
    for (size_t at = 0; at < len && text[at] != '\0'; total += columns)
        at += next_char(text + at, &columns);
    return total;
}

size_t output_width(const char *text)
{
    return width_of(text, strlen(text));
}

void output_cut(struct buf *out, const char *text, size_t columns)
{
    if (output_width(text) <= columns) {
        buf_adds(out, text);
        return;
    }
    size_t mark = output_width(glyphs()->ellipsis), used = 0, at = 0;
    if (mark > columns)
        return;
    while (text[at] != '\0') {
        size_t wide, len = next_char(text + at, &wide);
        if (used + wide > columns - mark)
            break;
        used += wide;
        at += len;
    }
    buf_add(out, text, at);
    buf_adds(out, glyphs()->ellipsis);
}

static void indent_by(struct buf *out, size_t indent)
{
    for (size_t i = 0; i < indent; i++)
        buf_addc(out, ' ');
}

/* One line of the text, broken between words. */
static void wrap_line(struct buf *out, const char *line, size_t len, size_t column, size_t indent,
                      size_t width)
{
    const char *end = line + len;
    bool first = true;
    while (line < end) {
        size_t blanks = strspn(line, " \t");
        line += blanks < (size_t)(end - line) ? blanks : (size_t)(end - line);
        size_t word = strcspn(line, " \t\n");
        if (word == 0)
            break;
        size_t wide = width_of(line, word);
        if (!first && column + 1 + wide > width) {
            buf_addc(out, '\n');
            indent_by(out, indent);
            column = indent;
        } else if (!first) {
            buf_addc(out, ' ');
            column++;
        }
        buf_add(out, line, word);
        column += wide;
        line += word;
        first = false;
    }
}

void output_wrap(struct buf *out, const char *text, size_t column, size_t indent, size_t width)
{
    for (bool first = true;; first = false) {
        size_t len = strcspn(text, "\n");
        bool verbatim = len == 0 || text[0] == ' ' || text[0] == '\t';
        if (!first) {
            buf_addc(out, '\n');
            indent_by(out, verbatim ? 0 : indent);
            column = indent;
        }
        if (verbatim)
            buf_add(out, text, len);
        else
            wrap_line(out, text, len, column, indent, width);
        if (text[len] == '\0')
            return;
        text += len + 1;
    }
}

/* How wide running text on standard error may be: very long lines are hard to read. */
static size_t text_width(void)
{
    size_t columns = columns_of(STDERR_FILENO);
    if (columns == 0)
        return PIPED_COLUMNS;
    return columns > WIDEST_TEXT ? WIDEST_TEXT : columns < NARROWEST_TEXT ? NARROWEST_TEXT : columns;
}

/* -- the line of the running step -------------------------------------------------------------------- */

static void put(const struct buf *text)
{
    const char *data = buf_str(text);
    size_t left = text->len;
    while (left > 0) {
        ssize_t n = write(STDERR_FILENO, data, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nobody to tell */
        data += n;
        left -= (size_t)n;
    }
}

/* Also before every line of the log, and in child processes too, whose view of the spinner is out of date:
 * the line that the cursor is in holds the spinner or nothing. */
static void clear_line(void)
{
    static const char sequence[] = "\r\033[K";
    AUTO_BUF text = BUF_INIT;
    if (!screen.terminal)
        return;
    buf_adds(&text, sequence);
    put(&text);
    screen.drawn_ms = 0;
}

static void add_elapsed(struct buf *text, int64_t ms)
{
    if (ms >= 1000)
        buf_addf(text, " %s %lld s", glyphs()->dot, (long long)(ms / 1000));
}

static void draw(void)
{
    const struct glyphs *g = glyphs();
    int64_t now_ms = clock_mono_ms();
    AUTO_BUF line = BUF_INIT, plain = BUF_INIT, behind = BUF_INIT;
    /* the last column stays free: some terminals wrap as soon as it is written to */
    size_t room = columns_of(STDERR_FILENO) > 4 ? columns_of(STDERR_FILENO) - 3 : 1;

    add_elapsed(&behind, now_ms - screen.began_ms);
    size_t tail = output_width(buf_str(&behind));
    room = room > tail ? room - tail : 1;
    output_cut(&plain, screen.step, room);
    size_t used = output_width(buf_str(&plain));

    buf_addf(&line, "\r\033[K%s ", g->frames[screen.frame % g->n_frames]);
    buf_adds(&line, buf_str(&plain));
    buf_adds(&line, err_style(STYLE_DIM));
    if (screen.detail[0] != '\0' && used + 8 < room) {
        buf_addf(&line, " %s ", g->dot);
        output_cut(&line, screen.detail, room - used - 3);
    }
    buf_adds(&line, buf_str(&behind));
    buf_adds(&line, err_style(STYLE_PLAIN));
    put(&line);
    screen.drawn_ms = now_ms;
}

/* Replace the spinner by what stays: a mark, the text, and how long it took. */
static void settle(const char *mark, enum output_style style, const char *text)
{
    AUTO_BUF line = BUF_INIT, took = BUF_INIT;
    add_elapsed(&took, clock_mono_ms() - screen.began_ms);
    buf_addf(&line, "\r\033[K%s%s%s ", err_style(style), mark, err_style(STYLE_PLAIN));
    output_wrap(&line, text, 2, 2, text_width());
    buf_addf(&line, "%s%s%s\n", err_style(STYLE_DIM), buf_str(&took), err_style(STYLE_PLAIN));
    put(&line);
}

static void plain_line(const char *text)
{
    AUTO_BUF line = BUF_INIT;
    buf_addf(&line, "%s\n", text);
    put(&line);
}

void output_init(bool quiet)
{
    memset(&screen, 0, sizeof screen);
    screen.quiet = quiet;
    screen.utf8 = find_utf8();
    screen.terminal = is_smart(STDERR_FILENO);
    screen.err_coloured = takes_colour(STDERR_FILENO);
    screen.out_coloured = takes_colour(STDOUT_FILENO);
    log_set_before_line(screen.terminal ? clear_line : NULL);
}

static void PRINTF_LIKE(3, 0) format(char *to, size_t size, const char *fmt, va_list args)
{
    vsnprintf(to, size, fmt, args);
    printable(to);
}

void output_step(const char *fmt, ...)
{
    va_list args;
    if (screen.running)
        output_done(NULL);
    va_start(args, fmt);
    format(screen.step, sizeof screen.step, fmt, args);
    va_end(args);
    log_note(LOG_LEVEL_INFO, "%s", screen.step);
    screen.detail[0] = '\0';
    screen.running = true;
    screen.began_ms = clock_mono_ms();
    screen.frame = 0;
    if (screen.quiet)
        return;
    if (screen.terminal)
        draw();
    else
        plain_line(screen.step);
}

void output_detail(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    format(screen.detail, sizeof screen.detail, fmt, args);
    va_end(args);
    log_note(LOG_LEVEL_DEBUG, "%s", screen.detail);
    if (screen.running && screen.terminal && !screen.quiet)
        draw();
}

void output_tick(void)
{
    if (!screen.running || !screen.terminal || screen.quiet)
        return;
    if (clock_mono_ms() - screen.drawn_ms < FRAME_MS)
        return;
    screen.frame++;
    draw();
}

void output_done(const char *fmt, ...)
{
    char text[sizeof screen.step];
    va_list args;
    bool was_running = screen.running;
    if (fmt != NULL) {
        va_start(args, fmt);
        format(text, sizeof text, fmt, args);
        va_end(args);
        log_note(LOG_LEVEL_INFO, "%s", text);
    } else {
        memcpy(text, screen.step, sizeof text);
    }
    screen.running = false;
    if (screen.quiet || (!was_running && fmt == NULL))
        return;
    if (!was_running)
        screen.began_ms = clock_mono_ms();
    if (screen.terminal)
        settle(glyphs()->tick, STYLE_GOOD, text);
    else if (!was_running || strcmp(text, screen.step) != 0)
        plain_line(text);
}

void output_failed(void)
{
    if (screen.running && screen.terminal && !screen.quiet)
        settle(glyphs()->cross, STYLE_BAD, screen.step);
    screen.running = false;
}

/* -- lines, warnings, errors ------------------------------------------------------------------------- */

void output_document(bool is)
{
    screen.document = is;
}

void output_told_before(void)
{
    screen.told_before = true;
}

void output_line(const char *fmt, ...)
{
    va_list args;
    AUTO_FREE char *text = NULL;
    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0)
        mem_exhausted();
    va_end(args);
    if (text[0] != '\0')
        log_note(LOG_LEVEL_INFO, "%s", text);
    if (screen.quiet || screen.document)
        return;
    if (screen.running)
        clear_line();
    fputs(text, stdout);
    putchar('\n');
    fflush(stdout);
}

void output_text(const char *fmt, ...)
{
    va_list args;
    AUTO_FREE char *text = NULL;
    AUTO_BUF wrapped = BUF_INIT;
    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0)
        mem_exhausted();
    va_end(args);
    size_t columns = output_columns();
    if (columns > 0)
        output_wrap(&wrapped, text, 0, 0, columns);
    output_line("%s", columns > 0 ? buf_str(&wrapped) : text);
}

void output_warning(const char *fmt, ...)
{
    char text[2048];
    va_list args;
    AUTO_BUF out = BUF_INIT, safe = BUF_INIT;
    va_start(args, fmt);
    format(text, sizeof text, fmt, args);
    va_end(args);
    log_note(LOG_LEVEL_WARN, "%s", text);
    if (screen.quiet)
        return;
    log_redact(text, &safe);
    buf_addf(&out, "tlsup: %swarning:%s ", err_style(STYLE_CAUTION), err_style(STYLE_PLAIN));
    output_wrap(&out, buf_str(&safe), strlen("tlsup: warning: "), strlen("tlsup: "), text_width());
    buf_addc(&out, '\n');
    if (screen.running)
        clear_line();
    put(&out);
}

static void add_advice(struct buf *out, const char *text)
{
    const char *arrow = glyphs()->arrow;
    size_t column = 2 + output_width(arrow) + 1;
    buf_addf(out, "  %s%s%s ", err_style(STYLE_BOLD), arrow, err_style(STYLE_PLAIN));
    output_wrap(out, text, column, column, text_width());
    buf_addc(out, '\n');
}

/* "try again in 26 hours, after 2026-11-23 16:05 UTC" */
static void add_wait(struct buf *out, int64_t wait_s)
{
    char span[CLOCK_TEXT_BYTES], when[CLOCK_TEXT_BYTES], text[128];
    clock_format_span(wait_s, span);
    clock_format_utc(clock_now_s() + wait_s, when);
    if (strlen(when) >= 16)
        when[10] = ' ', when[16] = '\0';
    snprintf(text, sizeof text, wait_s >= 3600 ? "try again in %s, after %s UTC" : "try again in %s", span,
             when);
    add_advice(out, text);
}

static void log_the_error(const struct err *err, const char *text)
{
    char span[CLOCK_TEXT_BYTES];
    bool wait = err->next == NEXT_RETRY_LATER && err->wait_s > 0;
    log_note(LOG_LEVEL_ERROR, "%s%s%s%s%s", text, err->advice[0] != '\0' ? " -> " : "", err->advice,
             wait ? " -> try again in " : "", wait ? clock_format_span(err->wait_s, span) : "");
}

void output_error(const struct err *err)
{
    AUTO_BUF out = BUF_INIT, text = BUF_INIT;
    /* a text that names its subject need not be told twice */
    if (err->subject[0] != '\0' && strstr(err->text, err->subject) == NULL)
        buf_addf(&text, "%s: ", err->subject);
    log_redact(err->text[0] != '\0' ? err->text : err_code_name(err->code), &text);
    log_the_error(err, buf_str(&text));
    if (screen.quiet && screen.told_before)
        return;
    if (err->type[0] != '\0' && log_enabled(LOG_LEVEL_INFO) && strstr(err->text, err->type) == NULL)
        buf_addf(&text, " (%s)", err->type);

    size_t head = strlen("tlsup: ");
    buf_addf(&out, "%s%stlsup:%s ", err_style(STYLE_BOLD), err_style(STYLE_BAD), err_style(STYLE_PLAIN));
    output_wrap(&out, buf_str(&text), head, head, text_width());
    buf_addc(&out, '\n');
    if (err->advice[0] != '\0')
        add_advice(&out, err->advice);
    if (err->next == NEXT_RETRY_LATER && err->wait_s > 0)
        add_wait(&out, err->wait_s);
    output_failed();
    fflush(stdout);
    put(&out);
}

/* -- questions --------------------------------------------------------------------------------------- */

/* One line of the terminal, without its end. False on end of file and on a signal. */
static bool read_answer(char *answer, size_t size)
{
    size_t len = 0;
    char c;
    for (;;) {
        ssize_t n = read(STDIN_FILENO, &c, 1);
        if (n <= 0)
            return false;
        if (c == '\n')
            break;
        if (len + 1 < size)
            answer[len++] = c;
    }
    answer[len] = '\0';
    return true;
}

bool output_ask(const char *question, bool otherwise)
{
    static const struct {
        const char *word;
        bool yes;
    } words[] = {{"y", true}, {"yes", true}, {"n", false}, {"no", false}};
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return otherwise;
    for (int i = 0; i < ANSWERS_MAX; i++) {
        char answer[64];
        AUTO_BUF out = BUF_INIT;
        if (screen.running)
            clear_line();
        output_wrap(&out, question, 0, 0, text_width() - strlen(" [Y/n] "));
        buf_adds(&out, otherwise ? " [Y/n] " : " [y/N] ");
        put(&out);
        if (!read_answer(answer, sizeof answer)) {
            plain_line("");
            return false;
        }
        if (answer[0] == '\0')
            return otherwise;
        for (size_t w = 0; w < COUNT_OF(words); w++)
            if (strcasecmp(answer, words[w].word) == 0)
                return words[w].yes;
        plain_line("Please answer yes or no.");
    }
    return false;
}
