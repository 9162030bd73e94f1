#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef HAVE_SYS_PRCTL_H
#include <sys/prctl.h>
#endif

#include "tlsup/buf.h"
#include "tlsup/log.h"

static bool kept(int fd, const int *keep, size_t n_keep)
{
    for (size_t i = 0; i < n_keep; i++)
        if (keep[i] == fd)
            return true;
    return fd == STDERR_FILENO || fd == log_descriptor();
}

static void close_others(const int *keep, size_t n_keep)
{
    int highest = STDERR_FILENO, null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    /* 0 and 1 stay occupied: a connection that got one of those numbers would be standard output to any
     * library */
    for (int fd = STDIN_FILENO; fd <= STDOUT_FILENO && null_fd >= 0; fd++)
        if (!kept(fd, keep, n_keep))
            (void)dup2(null_fd, fd);
    for (size_t i = 0; i < n_keep; i++)
        highest = keep[i] > highest ? keep[i] : highest;
    highest = log_descriptor() > highest ? log_descriptor() : highest;
    for (int fd = STDERR_FILENO + 1; fd <= highest; fd++)
        if (!kept(fd, keep, n_keep))
            close(fd);
#ifdef HAVE_CLOSE_RANGE
    if (close_range((unsigned)highest + 1, ~0u, 0) == 0)
        return;
#endif
    for (int fd = highest + 1; fd < 65536; fd++)
        close(fd);
}

/* "nobody" is shared with other programs, but a process that cannot be dumped cannot be traced by them
 * either. */
static const struct passwd *find_user(const char *user)
{
    const struct passwd *found = getpwnam(user);
    return found != NULL ? found : getpwnam("nobody");
}

static bool drop_root(const char *user, const struct passwd *to, struct err *err)
{
    if (to == NULL || to->pw_uid == 0)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, user,
                       "this system has neither a user %s nor a user nobody", user);
    if (setgroups(0, NULL) != 0 || setresgid(to->pw_gid, to->pw_gid, to->pw_gid) != 0 ||
        setresuid(to->pw_uid, to->pw_uid, to->pw_uid) != 0)
        return err_errno(err, errno, user, "cannot become user %s", to->pw_name);
    if (setuid(0) == 0 || seteuid(0) == 0 || getuid() == 0 || geteuid() == 0)
        return err_set(err, ERR_INTERNAL, NEXT_LOCAL_FAULT, user, "root could be regained after dropping it");
    return true;
}

void sandbox_keep_secrets(void)
{
    struct rlimit core;
    /* the soft limit alone: programs that the keeper starts (a web server!) may raise it again */
    if (getrlimit(RLIMIT_CORE, &core) == 0) {
        core.rlim_cur = 0;
        (void)setrlimit(RLIMIT_CORE, &core);
    }
#if defined(HAVE_SYS_PRCTL_H) && !defined(SANITIZERS) /* the leak checker traces its own process */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

static void harden(void)
{
    struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    sandbox_keep_secrets();
#ifdef HAVE_SYS_PRCTL_H
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
#endif
}

bool sandbox_enter(const char *user, const int *keep, size_t n_keep, struct err *err)
{
    pid_t parent = getppid();
    bool root = geteuid() == 0;
    const struct passwd *to =
        root ? find_user(user) : NULL; /* before descriptors are closed: NSS may hold some */
    close_others(keep, n_keep);
    if (chdir("/") != 0)
        return err_errno(err, errno, "/", "cannot change to /");
    if (root && !drop_root(user, to, err))
        return false;
    harden(); /* after the change of uid, which resets the dumpable flag and the death signal */
    if (getppid() != parent)
        _exit(1);
    /* Landlock (no files; the courier: the roots it trusts and the resolver's), then seccomp, have their
     * place here, last. */
    return true;
}

const char *sandbox_describe(char out[256])
{
    static const char *const users[] = {SANDBOX_COURIER_USER, SANDBOX_RESPONDER_USER, SANDBOX_PROBER_USER,
                                        SANDBOX_RESOLVER_USER, SANDBOX_NOTIFIER_USER};
    bool own = true;
    AUTO_BUF list = BUF_INIT;
    for (size_t i = 0; i < COUNT_OF(users); i++) {
        own = own && getpwnam(users[i]) != NULL;
        buf_addf(&list, "%s%s", i == 0 ? "" : i + 1 < COUNT_OF(users) ? ", " : " and ", users[i]);
    }
    if (geteuid() != 0)
        snprintf(
            out, 256,
            "the network is left to child processes without keys; not root, so they run as the calling user, "
            "with closed descriptors and without new privileges");
    else if (own)
        snprintf(out, 256, "the network is left to child processes without keys, run as %s", buf_str(&list));
    else
        snprintf(
            out, 256,
            "the network is left to child processes without keys, run as nobody (make the users %s to tell "
            "them apart)",
            buf_str(&list));
    return out;
}
