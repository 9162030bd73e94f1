/*
 * judge_process.h - the real server behind a fuzz target: a process of its own, in namespaces with nothing
 * but loopback and with a file system that is read-only but for one directory in memory, so that the target
 * itself can go on writing its corpus.
 */
#ifndef TLSUP_TESTS_JUDGE_PROCESS_H
#define TLSUP_TESTS_JUDGE_PROCESS_H

#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include "judge.h"

/* Asks the server about the text, in the directory given. */
typedef enum verdict judge_fn(const char *dir, const struct buf *text, struct buf *said);

static int judge_fd = -1; /* -1: nobody to ask */

DICE_FUNCTION bool judge_transfer(int fd, void *data, size_t len, bool out)
{
    for (size_t done = 0; done < len;) {
        ssize_t n =
            out ? write(fd, (char *)data + done, len - done) : read(fd, (char *)data + done, len - done);
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

DICE_FUNCTION bool judge_send(int fd, const struct buf *text)
{
    size_t len = text->len;
    return judge_transfer(fd, &len, sizeof len, true) && judge_transfer(fd, text->data, len, true);
}

DICE_FUNCTION bool judge_receive(int fd, struct buf *text)
{
    size_t len;
    if (!judge_transfer(fd, &len, sizeof len, false))
        return false;
    AUTO_FREE char *data = mem_alloc(len + 1);
    bool done = judge_transfer(fd, data, len, false);
    buf_add(text, data, done ? len : 0);
    return done;
}

DICE_FUNCTION bool judge_isolate(const char *dir)
{
    return unshare(CLONE_NEWNS | CLONE_NEWNET) == 0 &&
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", dir, "tmpfs", 0, "mode=755") == 0 &&
           mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0;
}

/* The judge's life: texts come in, a verdict and the server's words go out. It ends with the target, whose
 * end of the socket closes then. */
DICE_FUNCTION void judge_serve(int fd, const char *dir, judge_fn *ask)
{
    unsigned char ready = judge_isolate(dir);
    for (bool more = judge_transfer(fd, &ready, 1, true) && ready; more;) {
        AUTO_BUF text = BUF_INIT, said = BUF_INIT;
        if (!judge_receive(fd, &text))
            break;
        unsigned char verdict = (unsigned char)ask(dir, &text, &said);
        more = judge_transfer(fd, &verdict, 1, true) && judge_send(fd, &said);
    }
    (void)!umount2(dir, MNT_DETACH);
    (void)!mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL);
    (void)!rmdir(dir);
    _exit(0);
}

/* Before the first question. Where it is not allowed there is no judge: then the target only looks for
 * crashes. */
DICE_FUNCTION void judge_begin(bool installed, judge_fn *ask)
{
    static char dir[] = "/tmp/tlsup-judge.XXXXXX";
    int fds[2];
    unsigned char ready = 0;
    if (installed && geteuid() == 0 && mkdtemp(dir) != NULL &&
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0) {
        if (fork() == 0) {
            close(fds[0]);
            judge_serve(fds[1], dir, ask);
        }
        close(fds[1]);
        judge_fd = judge_transfer(fds[0], &ready, 1, false) && ready ? fds[0] : -1;
    }
    if (judge_fd < 0)
        fprintf(stderr, "no server, or no namespaces of our own: nothing to compare with\n");
}

/* Ends the target when the two opinions differ. `accepted` is ours. */
DICE_FUNCTION void judge_compare(const struct buf *text, bool accepted)
{
    unsigned char verdict;
    AUTO_BUF said = BUF_INIT;
    if (judge_fd < 0)
        return;
    if (!judge_send(judge_fd, text) || !judge_transfer(judge_fd, &verdict, 1, false) ||
        !judge_receive(judge_fd, &said)) {
        fprintf(stderr, "the judge is gone\n");
        abort();
    }
    if (verdict != OTHERWISE_WRONG && accepted != (verdict == ACCEPTED)) {
        fprintf(stderr, "we %s it, the server %s it: %s\n", accepted ? "accept" : "refuse",
                accepted ? "refuses" : "accepts", buf_str(&said));
        fwrite(buf_str(text), 1, text->len, stderr);
        abort();
    }
}

DICE_FUNCTION void judge_put(const char *path, const struct buf *text)
{
    FILE *file = fopen(path, "we");
    if (file == NULL || fwrite(buf_str(text), 1, text->len, file) != text->len || fclose(file) != 0)
        abort();
}

#endif
