#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/quote.h"

#include <string.h>

#define MARK "\n| "

void quote_add(const char *output, struct buf *to)
{
    size_t len = strlen(output);
    while (len > 0 && output[len - 1] == '\n')
        len--;
    for (size_t at = 0; at < len;) {
        size_t line = strcspn(output + at, "\n");
        line = line < len - at ? line : len - at;
        buf_adds(to, MARK);
        buf_add(to, output + at, line);
        at += line + 1;
    }
}

void quote_drop(const char *text, struct buf *to)
{
    for (const char *mark; (mark = strstr(text, MARK)) != NULL;) {
        size_t len = (size_t)(mark - text);
        buf_add(to, text, len > 0 && mark[-1] == ':' ? len - 1 : len);
        text = mark + strlen(MARK);
        text += strcspn(text, "\n");
    }
    buf_adds(to, text);
}

bool quote_is_in(const char *text)
{
    return strstr(text, MARK) != NULL;
}
