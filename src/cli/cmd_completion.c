#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "commands.h"
#include "completion.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *shell;
    void (*print)(struct buf *out);
} shells[] = {
    {"bash", completion_bash},
    {"zsh", completion_zsh},
    {"fish", completion_fish},
};

bool cmd_completion(const struct request *request, struct err *err)
{
    AUTO_BUF out = BUF_INIT;
    for (size_t i = 0; i < COUNT_OF(shells); i++)
        if (strcmp(request->arguments.v[0], shells[i].shell) == 0)
            shells[i].print(&out);
    if (fwrite(buf_str(&out), 1, out.len, stdout) != out.len || fflush(stdout) != 0)
        return err_errno(err, errno, "", "cannot write to standard output");
    return true;
}
