/*
 * test_messages.c - what our processes say to each other: everything round-trips, nothing else is let in. The
 * fields that each type carries are written down here a second time, from the contract in messages.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tlsup/mem.h"
#include "tlsup/messages.h"

enum { NUMBER = 1, NUMBER2 = 2, URL = 4, NONCE = 8, NAME = 16, TOKEN = 32, TEXT = 64, BODY = 128, ERR = 256 };
enum { K = MSG_FROM_KEEPER, C = MSG_FROM_COURIER, R = MSG_FROM_RESPONDER, D = MSG_FROM_RESOLVER, N = MSG_FROM_NOTIFIER };

static const struct {
    enum msg_type type;
    unsigned from, fields;
} types[] = {
    {MSG_CA, K, URL | BODY},
    {MSG_CALL, K, NUMBER | URL},
    {MSG_ORDER, K, BODY | URL | NUMBER | NUMBER2},
    {MSG_ARI, K, TEXT},
    {MSG_EAB_FETCH, K, URL | TEXT},
    {MSG_SIGNED, K, BODY},
    {MSG_REFUSED, K, ERR},
    {MSG_PRESENTED, K, NUMBER},
    {MSG_NOT_PRESENTED, K, NUMBER | ERR},
    {MSG_CANCEL, K, ERR},
    {MSG_CA_HAS, C, BODY},
    {MSG_DIRECTORY, C, BODY | URL | TEXT | NUMBER},
    {MSG_CALLED, C, NUMBER | URL | TEXT},
    {MSG_CALL_FAILED, C, ERR | URL},
    {MSG_SIGN, C, NUMBER | NUMBER2 | URL | NONCE},
    {MSG_ORDER_URL, C, URL},
    {MSG_PRESENT, C, NUMBER | NAME | TOKEN | NUMBER2 | TEXT},
    {MSG_CLEANUP, C, NUMBER | NUMBER2},
    {MSG_NAME_FAILED, C, NAME | ERR},
    {MSG_PROGRESS, C, NUMBER | TEXT},
    {MSG_CERTIFICATE, C, NUMBER | NUMBER2 | BODY},
    {MSG_ARI_IS, C, NUMBER | NUMBER2 | URL | TEXT},
    {MSG_ARI_FAILED, C, NUMBER | ERR},
    {MSG_EAB_IS, C, TEXT | TOKEN},
    {MSG_CLOCK, C, NUMBER},
    {MSG_FAILED, C, ERR},
    {MSG_TOKEN_ADD, K, TOKEN | TEXT},
    {MSG_TOKEN_DROP, K, TOKEN},
    {MSG_ALPN_ADD, K, TOKEN | NAME | TEXT},
    {MSG_FETCHED, R | K, TOKEN | TEXT},
    {MSG_DNS_ASK, K, NUMBER | NUMBER2 | NAME | TEXT | BODY},
    {MSG_DNS_ANSWER, D, NUMBER | NAME | TEXT | BODY},
    {MSG_DNS_FAILED, D, ERR},
    {MSG_NOTICE_PART, K, NUMBER | BODY},
    {MSG_NOTICE_GO, K, NUMBER | NUMBER2},
    {MSG_NOTICE_SENT, N, 0},
    {MSG_NOTICE_FAILED, N, ERR},
};

/* A message with every field of every type full to the brim, or small. */
static void fill(struct msg *msg, enum msg_type type, bool full)
{
    *msg = (struct msg)MSG_INIT(type);
    msg->id = full ? UINT32_MAX : 7;
    msg->number = full ? INT64_MIN : -1;
    msg->number2 = full ? INT64_MAX : 3;
    memset(msg->url, 'u', full ? sizeof msg->url - 1 : 3);
    memset(msg->nonce, 'n', full ? sizeof msg->nonce - 1 : 0);
    memset(msg->name, 'a', full ? sizeof msg->name - 1 : 1);
    memset(msg->token, 't', full ? sizeof msg->token - 1 : 5);
    memset(msg->text, 'x', full ? sizeof msg->text - 1 : 2);
    buf_add(&msg->body, "b\0d\n", full ? 4 : 0);
    msg->err.code = full ? ERR_INTERNAL : ERR_IO;
    msg->err.next = full ? NEXT_LOCAL_FAULT : NEXT_NONE;
    msg->err.wait_s = full ? 86400 : 0;
    memset(msg->err.type, 'T', full ? sizeof msg->err.type - 1 : 0);
    memset(msg->err.subject, 'S', full ? sizeof msg->err.subject - 1 : 0);
    memset(msg->err.text, 'X', full ? sizeof msg->err.text - 1 : 1);
    memset(msg->err.advice, 'A', full ? sizeof msg->err.advice - 1 : 0);
}

static void encode(const struct msg *msg, struct buf *out)
{
    struct err err = ERR_INIT;
    if (!msg_encode(msg, out, &err))
        fail_msg("%s", err.text);
}

static bool same(unsigned fields, const struct msg *a, const struct msg *b)
{
    return a->type == b->type && a->id == b->id && (!(fields & NUMBER) || a->number == b->number) &&
           (!(fields & NUMBER2) || a->number2 == b->number2) &&
           (!(fields & URL) || strcmp(a->url, b->url) == 0) &&
           (!(fields & NONCE) || strcmp(a->nonce, b->nonce) == 0) &&
           (!(fields & NAME) || strcmp(a->name, b->name) == 0) &&
           (!(fields & TOKEN) || strcmp(a->token, b->token) == 0) &&
           (!(fields & TEXT) || strcmp(a->text, b->text) == 0) &&
           (!(fields & BODY) ||
            (a->body.len == b->body.len &&
             (a->body.len == 0 || memcmp(a->body.data, b->body.data, a->body.len) == 0))) &&
           (!(fields & ERR) ||
            (a->err.code == b->err.code && a->err.next == b->err.next && a->err.wait_s == b->err.wait_s &&
             strcmp(a->err.type, b->err.type) == 0 && strcmp(a->err.subject, b->err.subject) == 0 &&
             strcmp(a->err.text, b->err.text) == 0 && strcmp(a->err.advice, b->err.advice) == 0));
}

/* Fields that a type does not carry arrive as nothing. */
static bool rest_is_zero(unsigned fields, const struct msg *msg)
{
    return ((fields & NUMBER) || msg->number == 0) && ((fields & NUMBER2) || msg->number2 == 0) &&
           ((fields & URL) || msg->url[0] == '\0') && ((fields & NONCE) || msg->nonce[0] == '\0') &&
           ((fields & NAME) || msg->name[0] == '\0') && ((fields & TOKEN) || msg->token[0] == '\0') &&
           ((fields & TEXT) || msg->text[0] == '\0') && ((fields & BODY) || msg->body.len == 0) &&
           ((fields & ERR) || !err_isset(&msg->err));
}

/* The frame in memory of exactly its size, so that a read beyond shows. */
static bool decode(const void *data, size_t len, unsigned from, struct msg *out)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *exact = mem_ndup(data, len);
    exact = mem_resize(exact, len > 0 ? len : 1, 1);
    bool ok = msg_decode(exact, len, (enum msg_role)from, out, &err);
    assert_int_equal(ok, !err_isset(&err));
    if (!ok) {
        assert_int_equal(err.code, ERR_CHILD);
        assert_int_equal(out->type, MSG_NONE);
        assert_int_equal(out->body.len, 0);
    }
    return ok;
}

static void test_round_trip(void **state)
{
    (void)state;
    assert_int_equal(COUNT_OF(types), MSG_TYPES - 1); /* MSG_NONE is none */
    for (size_t i = 0; i < COUNT_OF(types); i++)
        for (int full = 0; full <= 1; full++) {
            struct msg msg, got = {0};
            AUTO_BUF frame = BUF_INIT;
            fill(&msg, types[i].type, full);
            encode(&msg, &frame);
            for (unsigned from = K; from <= D; from <<= 1) {
                bool may = (types[i].from & from) != 0;
                if (decode(frame.data, frame.len, from, &got) != may)
                    fail_msg("%s from %u", msg_name(types[i].type), from);
                if (may && (!same(types[i].fields, &msg, &got) || !rest_is_zero(types[i].fields, &got)))
                    fail_msg("%s is changed on the way", msg_name(types[i].type));
            }
            msg_clear(&got);
            msg_clear(&msg);
        }
}

static void test_truncated_or_longer(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(types); i++)
        for (int full = 0; full <= 1; full++) {
            struct msg msg, got = {0};
            AUTO_BUF frame = BUF_INIT;
            fill(&msg, types[i].type, full);
            encode(&msg, &frame);
            for (size_t len = 0; len < frame.len; len++)
                if (decode(frame.data, len, types[i].from, &got))
                    fail_msg("%s cut at %zu of %zu", msg_name(types[i].type), len, frame.len);
            buf_addc(&frame, '\0');
            assert_false(decode(frame.data, frame.len, types[i].from, &got));
            msg_clear(&msg);
        }
}

static void test_unknown(void **state)
{
    (void)state;
    struct msg got = {0};
    for (unsigned version = 0; version < 3; version++)
        for (unsigned type = 0; type < 300; type++) {
            const unsigned char frame[] = {
                0, (unsigned char)version, (unsigned char)(type >> 8), (unsigned char)type, 0, 0, 0, 1};
            bool any = decode(frame, sizeof frame, K, &got) || decode(frame, sizeof frame, C, &got) ||
                       decode(frame, sizeof frame, R, &got);
            assert_false(any); /* no type is without fields */
        }
    assert_string_equal(msg_name(MSG_NONE), "unknown");
    assert_string_equal(msg_name(MSG_TYPES), "unknown");
    assert_string_equal(msg_name((enum msg_type) - 1), "unknown");
    for (size_t i = 0; i < COUNT_OF(types); i++)
        assert_string_not_equal(msg_name(types[i].type), "unknown");
}

/* -- strings and values that a well-behaved sender never makes ------------------------------------------ */

static void put(struct buf *out, uint64_t value, int bytes)
{
    while (bytes-- > 0)
        buf_addc(out, (char)(unsigned char)(value >> (8 * bytes)));
}

static void head(struct buf *out, enum msg_type type)
{
    buf_reset(out);
    put(out, 1, 2);
    put(out, type, 2);
    put(out, 1, 4);
}

static void put_text(struct buf *out, const char *text, size_t len)
{
    put(out, len, 4);
    buf_add(out, text, len);
}

static void test_strings(void **state)
{
    (void)state;
    AUTO_BUF frame = BUF_INIT;
    struct msg got = {0};
    char much[URL_MAX_BYTES + 1];
    memset(much, 'm', sizeof much);
    head(&frame, MSG_ORDER_URL);
    put_text(&frame, much, URL_MAX_BYTES - 1);
    assert_true(decode(frame.data, frame.len, C, &got));
    head(&frame, MSG_ORDER_URL);
    put_text(&frame, much, URL_MAX_BYTES);
    assert_false(decode(frame.data, frame.len, C, &got));
    head(&frame, MSG_ORDER_URL);
    put_text(&frame, "https://ca.test\0evil", 20);
    assert_false(decode(frame.data, frame.len, C, &got));
    head(&frame, MSG_TOKEN_DROP);
    put_text(&frame, much, TOKEN_MAX_BYTES);
    assert_false(decode(frame.data, frame.len, K, &got));
    /* a length that wraps around, or asks for what is not there */
    static const uint32_t lengths[] = {UINT32_MAX, 0x80000000, 0x7FFFFFFF, 65536, 5};
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        head(&frame, MSG_CERTIFICATE);
        put(&frame, lengths[i], 4);
        buf_adds(&frame, "four");
        assert_false(decode(frame.data, frame.len, C, &got));
    }
    /* what is shown to people commands no terminal */
    head(&frame, MSG_PROGRESS);
    put(&frame, 0, 8);
    put_text(&frame, "\x1b[2Jtext", 8);
    assert_true(decode(frame.data, frame.len, C, &got));
    assert_string_equal(got.text, "?[2Jtext");
    msg_clear(&got);
}

static void put_err(struct buf *frame, uint64_t code, uint64_t next, uint64_t wait_s, const char *text)
{
    head(frame, MSG_FAILED);
    put(frame, code, 2);
    put(frame, next, 2);
    put(frame, wait_s, 8);
    put_text(frame, "", 0);
    put_text(frame, "", 0);
    put_text(frame, text, strlen(text));
    put_text(frame, "", 0);
}

static void test_errors(void **state)
{
    (void)state;
    static const struct {
        uint64_t code, next, wait_s;
        bool ok;
    } rows[] = {
        {ERR_IO, NEXT_NONE, 0, true},
        {ERR_INTERNAL, NEXT_LOCAL_FAULT, 86400, true},
        {ERR_NONE, NEXT_NONE, 0, false}, /* a failure that is none */
        {ERR_INTERNAL + 1, NEXT_NONE, 0, false},
        {0xFFFF, NEXT_NONE, 0, false},
        {ERR_IO, NEXT_LOCAL_FAULT + 1, 0, false},
        {ERR_IO, 0xFFFF, 0, false},
        {ERR_IO, NEXT_RETRY_LATER, UINT64_MAX, false},
        {ERR_IO, NEXT_RETRY_LATER, INT64_MAX, false}, /* it will be added to a time of day */
        {ERR_IO, NEXT_RETRY_LATER, (uint64_t)INT64_MAX + 1, false},
    };
    AUTO_BUF frame = BUF_INIT;
    struct msg got = {0};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        put_err(&frame, rows[i].code, rows[i].next, rows[i].wait_s, "text");
        if (decode(frame.data, frame.len, C, &got) != rows[i].ok)
            fail_msg("row %zu", i);
    }
    put_err(&frame, ERR_ACME, NEXT_REFUSED, 0, "\x1b]0;x\x07");
    assert_true(decode(frame.data, frame.len, C, &got));
    assert_string_equal(got.err.text, "?]0;x?");
    msg_clear(&got);
}

static void test_size_limit(void **state)
{
    (void)state;
    struct msg msg = MSG_INIT(MSG_SIGNED), got = {0};
    struct err err = ERR_INIT;
    AUTO_BUF frame = BUF_INIT;
    AUTO_FREE char *much = mem_alloc(MSG_MAX_BYTES + 1);
    memset(much, 'm', MSG_MAX_BYTES + 1);
    buf_add(&msg.body, much, MSG_MAX_BYTES - 12);
    encode(&msg, &frame);
    assert_int_equal(frame.len, MSG_MAX_BYTES);
    assert_true(decode(frame.data, frame.len, K, &got));
    assert_int_equal(got.body.len, MSG_MAX_BYTES - 12);
    buf_addc(&msg.body, 'x');
    buf_reset(&frame);
    assert_false(msg_encode(&msg, &frame, &err));
    assert_int_equal(err.code, ERR_PROTOCOL);
    head(&frame, MSG_SIGNED); /* one that says what is true, and is too long all the same */
    put_text(&frame, much, MSG_MAX_BYTES - 11);
    assert_int_equal(frame.len, MSG_MAX_BYTES + 1);
    assert_false(decode(frame.data, frame.len, K, &got));
    msg_clear(&msg);
    msg_clear(&got);
}

/* Whatever is accepted after a mutation encodes to the very same bytes again. */
static void test_mutations(void **state)
{
    (void)state;
    uint32_t seed = 20261122;
    for (int round = 0; round < 200; round++)
        for (size_t i = 0; i < COUNT_OF(types); i++) {
            struct msg msg, got = {0};
            AUTO_BUF frame = BUF_INIT;
            AUTO_BUF again = BUF_INIT;
            fill(&msg, types[i].type, round % 8 == 0);
            encode(&msg, &frame);
            for (int n = 0; n <= round % 3; n++) {
                seed = seed * 1664525 + 1013904223;
                frame.data[(seed >> 8) % (n == 0 && frame.len > 40 ? 40 : frame.len)] = (char)(seed >> 24);
            }
            for (unsigned from = K; from <= D; from <<= 1)
                if (decode(frame.data, frame.len, from, &got)) {
                    buf_reset(&again);
                    encode(&got, &again);
                    assert_int_equal(again.len, frame.len);
                }
            msg_clear(&msg);
            msg_clear(&got);
        }
}

/* -- over a socket -------------------------------------------------------------------------------------- */

static void pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
}

static void test_send_and_receive(void **state)
{
    (void)state;
    int fds[2];
    struct msg msg, got = {0};
    struct err err = ERR_INIT;
    pair(fds);
    assert_int_equal(msg_receive(fds[1], MSG_FROM_COURIER, &got, &err), 0);
    for (int i = 0; i < 2; i++) {
        fill(&msg, MSG_SIGN, i == 1);
        assert_true(msg_send(fds[0], &msg, &err));
        msg_clear(&msg);
    }
    assert_int_equal(msg_receive(fds[1], MSG_FROM_COURIER, &got, &err), 1);
    assert_int_equal(got.id, 7);
    assert_int_equal(msg_receive(fds[1], MSG_FROM_COURIER, &got, &err), 1);
    assert_int_equal(got.number, INT64_MIN);
    assert_int_equal(msg_receive(fds[1], MSG_FROM_COURIER, &got, &err), 0);
    msg_clear(&got);
    close(fds[0]);
    close(fds[1]);
}

static void test_nonsense_over_a_socket(void **state)
{
    (void)state;
    static char large[MSG_MAX_BYTES + 4096];
    int fds[2];
    struct msg got = {0};
    pair(fds);
    const struct {
        const char *data;
        size_t len;
    } rows[] = {{"", 0},
                {"x", 1},
                {"\0\1\0\1", 4},
                {large, sizeof large},
                {large, MSG_MAX_BYTES},
                {large, MSG_MAX_BYTES + 1}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err err = ERR_INIT;
        assert_int_equal(send(fds[0], rows[i].data, rows[i].len, 0), (ssize_t)rows[i].len);
        assert_int_equal(msg_receive(fds[1], MSG_FROM_COURIER, &got, &err), -1);
        assert_int_equal(err.code, ERR_CHILD);
    }
    close(fds[0]);
    close(fds[1]);
}

static void test_peer_is_gone(void **state)
{
    (void)state;
    int fds[2];
    struct msg msg, got = {0};
    struct err err = ERR_INIT;
    struct outbox outbox = {0};
    pair(fds);
    fill(&msg, MSG_FAILED, true);
    assert_true(msg_send(fds[0], &msg, &err));
    close(fds[0]);
    assert_int_equal(msg_receive(fds[1], MSG_FROM_COURIER, &got, &err), 1); /* its last words are heard */
    assert_int_equal(msg_receive(fds[1], MSG_FROM_COURIER, &got, &err), -1);
    assert_int_equal(err.code, ERR_CHILD);
    err_clear(&err);
    assert_false(msg_send(fds[1], &msg, &err)); /* and no SIGPIPE */
    assert_int_equal(err.code, ERR_CHILD);
    assert_true(outbox_add(&outbox, &msg, (err_clear(&err), &err)));
    assert_false(outbox_flush(&outbox, fds[1]));
    outbox_clear(&outbox);
    close(fds[1]);
    err_clear(&err);
    assert_false(msg_send(fds[1], &msg, &err)); /* not even a socket */
    msg_clear(&msg);
    msg_clear(&got);
}

/* A sender that must not block keeps what does not fit, and its order. */
static void test_outbox(void **state)
{
    (void)state;
    enum { MESSAGES = 300 };
    int fds[2];
    struct msg msg = MSG_INIT(MSG_CERTIFICATE), got = {0};
    struct err err = ERR_INIT;
    struct outbox outbox = {0};
    pair(fds);
    assert_true(outbox_flush(&outbox, fds[0])); /* nothing to do */
    AUTO_FREE char *body = mem_alloc(20001);
    memset(body, 'b', 20000);
    buf_adds(&msg.body, body);
    for (msg.id = 0; msg.id < MESSAGES; msg.id++)
        assert_true(outbox_add(&outbox, &msg, &err));
    assert_true(outbox_flush(&outbox, fds[0]));
    assert_true(outbox.n > 0 && outbox.n < MESSAGES); /* else the socket was never full */
    uint32_t next = 0;
    while (next < MESSAGES) {
        int n = msg_receive(fds[1], MSG_FROM_COURIER, &got, &err);
        assert_true(n >= 0);
        if (n == 0) {
            assert_true(outbox_flush(&outbox, fds[0]));
            continue;
        }
        assert_int_equal(got.id, next++);
        assert_int_equal(got.body.len, 20000);
    }
    assert_int_equal(outbox.n, 0);
    assert_int_equal(msg_receive(fds[1], MSG_FROM_COURIER, &got, &err), 0);
    outbox_clear(&outbox);
    /* one that is too large is refused at once, the others stay */
    buf_reset(&msg.body);
    assert_true(outbox_add(&outbox, &msg, &err));
    AUTO_FREE char *huge = mem_alloc(MSG_MAX_BYTES + 1);
    memset(huge, 'h', MSG_MAX_BYTES);
    buf_adds(&msg.body, huge);
    assert_false(outbox_add(&outbox, &msg, &err));
    assert_int_equal(outbox.n, 1);
    outbox_clear(&outbox);
    outbox_clear(&outbox);
    msg_clear(&msg);
    msg_clear(&got);
    close(fds[0]);
    close(fds[1]);
}

/* msg_send() waits for a peer that is only busy. */
static void test_send_waits_for_room(void **state)
{
    (void)state;
    enum { MESSAGES = 60 };
    int fds[2], status = 0;
    struct msg msg = MSG_INIT(MSG_CERTIFICATE);
    struct err err = ERR_INIT;
    pair(fds);
    pid_t pid = fork();
    if (pid == 0) {
        struct msg got = {0};
        uint32_t next = 0;
        close(fds[0]);
        usleep(100000);
        for (int n; (n = msg_receive(fds[1], MSG_FROM_COURIER, &got, &err)) >= 0;)
            if (n == 0)
                usleep(200);
            else if (got.id != next++)
                _exit(1);
        _exit(next == MESSAGES ? 0 : 2);
    }
    close(fds[1]);
    AUTO_FREE char *body = mem_alloc(30001);
    memset(body, 'b', 30000);
    buf_adds(&msg.body, body);
    for (msg.id = 0; msg.id < MESSAGES; msg.id++)
        assert_true(msg_send(fds[0], &msg, &err));
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    msg_clear(&msg);
}

/* A child can pass descriptors along with its words: they must not pile up in the keeper. */
static void test_passed_descriptors_are_dropped(void **state)
{
    (void)state;
    int fds[2];
    struct msg msg, got = {0};
    struct err err = ERR_INIT;
    AUTO_BUF frame = BUF_INIT;
    pair(fds);
    fill(&msg, MSG_ORDER_URL, false);
    encode(&msg, &frame);
    int before = dup(0);
    close(before);
    for (int i = 0; i < 5; i++) {
        union {
            char space[CMSG_SPACE(sizeof(int))];
            struct cmsghdr align;
        } control = {{0}};
        struct iovec iov = {.iov_base = frame.data, .iov_len = frame.len};
        struct msghdr header = {.msg_iov = &iov,
                                .msg_iovlen = 1,
                                .msg_control = control.space,
                                .msg_controllen = sizeof control.space};
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &fds[0], sizeof(int));
        assert_int_equal(sendmsg(fds[0], &header, 0), (ssize_t)frame.len);
        assert_int_equal(msg_receive(fds[1], MSG_FROM_COURIER, &got, &err), 1);
    }
    int after = dup(0);
    close(after);
    assert_int_equal(before, after);
    msg_clear(&msg);
    msg_clear(&got);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_truncated_or_longer),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_size_limit),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_send_and_receive),
        cmocka_unit_test(test_nonsense_over_a_socket),
        cmocka_unit_test(test_peer_is_gone),
        cmocka_unit_test(test_outbox),
        cmocka_unit_test(test_send_waits_for_room),
        cmocka_unit_test(test_passed_descriptors_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
