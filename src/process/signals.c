#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "tlsup/roles.h"

static int pipe_fds[2] = {-1, -1};
static volatile sig_atomic_t received;
static bool ignored;

static void on_signal(int sig)
{
    int saved = errno;
    char byte = 1;
    received = sig;
    ssize_t unused = write(pipe_fds[1], &byte, 1);
    (void)unused;
    errno = saved;
}

void signals_install(void)
{
    static const int caught[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal};
    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0)
        pipe_fds[0] = pipe_fds[1] = -1; /* then only the flag works: noticed a second later */
    for (size_t i = 0; i < COUNT_OF(caught); i++)
        sigaction(caught[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int signals_fd(void)
{
    return pipe_fds[0];
}

void signals_ignore(void)
{
    ignored = true;
}

bool signals_interrupted(struct err *err)
{
    if (received == 0 || ignored)
        return false;
    (void)err_set(err, ERR_INTERRUPTED, NEXT_RETRY_NOW, NULL, "interrupted by %s",
                  received == SIGINT    ? "Ctrl-C"
                  : received == SIGTERM ? "SIGTERM"
                                        : "SIGHUP");
    (void)err_advise(err, "nothing is half-done; run the same command again to go on");
    return true;
}
