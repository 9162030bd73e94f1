/*
 * txn_journal.c - the log of a transaction: one record a line, `LENGTH CHECKSUM PAYLOAD`, fsynced before the
 * act that it announces.
 *
 *   begin 1 TIME =OWNER =TITLE
 *   leader ID                                                the mark `verified` of that one decides
 *   undoes ID
 *   op N =PATH =REAL OLD NEW MODE UID GID DEV INO NLINK     OLD, NEW: `-`, `file:SHA256`, `link:TARGET`
 *   xattr N =NAME HEX
 *   mark applying|applied|tested|reloading|verified|committed|undone|settled
 *   inplace N, whole N                                       an in-place write begins, has ended
 *   kept N                                                   put back, but for this one
 *   was N OLD                                                operation N goes back to this now (pruning)
 *
 * An undo's directory holds, until it is committed, whole journals of other owners' edits made anew:
 * redo-N/. They become transactions of their own by rename, before those that they replace are marked undone.
 *
 * Strings are percent-encoded. The checksum is the first 16 hexadecimal digits of the payload's SHA-256.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "txn_internal.h"

#define FORMAT_VERSION 1
#define CHECKSUM_DIGITS 16
#define RECORD_LIMIT ((size_t)1 << 20)
#define LOG_LIMIT ((size_t)64 << 20)
#define OPS_LIMIT ((size_t)100000)
/* Space kept for the marks, so that they can be written on a full disk. */
#define LOG_RESERVE_BYTES 8192

static const char *const mark_names[MARK_COUNT] = {
    [MARK_APPLYING] = "applying",   [MARK_APPLIED] = "applied",   [MARK_TESTED] = "tested",
    [MARK_RELOADING] = "reloading", [MARK_VERIFIED] = "verified", [MARK_COMMITTED] = "committed",
    [MARK_UNDONE] = "undone",       [MARK_SETTLED] = "settled",
};

char *journal_path(const struct txn *txn, const char *kind, size_t n)
{
    return mem_fmt("%s/%s-%zu", txn->dir, kind, n);
}

/* -- writing -------------------------------------------------------------------------------------------- */

static void add_encoded(struct buf *out, const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        if (*c <= ' ' || *c >= 0x7f || *c == '%')
            buf_addf(out, "%%%02x", *c);
        else
            buf_addc(out, (char)*c);
    }
}

static void add_snapshot(struct buf *out, const struct snapshot *snapshot)
{
    if (snapshot->thing == THING_FILE) {
        buf_addf(out, "file:%s", snapshot->sha256);
    } else if (snapshot->thing == THING_LINK) {
        buf_adds(out, "link:");
        add_encoded(out, snapshot->target);
    } else {
        buf_addc(out, '-');
    }
}

static void add_record(struct buf *log, const struct buf *payload)
{
    char checksum[SHA256_HEX_BYTES];
    sha256_hex(payload->data, payload->len, checksum);
    checksum[CHECKSUM_DIGITS] = '\0';
    buf_addf(log, "%zu %s ", payload->len, checksum);
    buf_add(log, payload->data, payload->len);
    buf_addc(log, '\n');
}

static void add_op(struct buf *log, size_t n, const struct op *op)
{
    const struct meta *meta = &op->old_meta;
    mode_t mode = op->old.thing == THING_NONE ? op->mode : meta->mode;
    AUTO_BUF payload = BUF_INIT;
    buf_addf(&payload, "op %zu =", n);
    add_encoded(&payload, op->path);
    buf_adds(&payload, " =");
    add_encoded(&payload, op->real);
    buf_addc(&payload, ' ');
    add_snapshot(&payload, &op->old);
    buf_addc(&payload, ' ');
    add_snapshot(&payload, &op->new);
    buf_addf(&payload, " %o %ju %ju %ju %ju %ju", (unsigned)mode, (uintmax_t)meta->uid, (uintmax_t)meta->gid,
             (uintmax_t)meta->dev, (uintmax_t)meta->ino, (uintmax_t)meta->nlink);
    add_record(log, &payload);
    for (size_t i = 0; i < meta->n_xattrs; i++) {
        const struct xattr *attribute = &meta->xattrs[i];
        buf_reset(&payload);
        buf_addf(&payload, "xattr %zu =", n);
        add_encoded(&payload, attribute->name);
        buf_addc(&payload, ' ');
        for (size_t at = 0; at < attribute->len; at++)
            buf_addf(&payload, "%02x", (unsigned char)attribute->value[at]);
        add_record(log, &payload);
    }
}

static void add_head(struct buf *log, const struct txn *txn)
{
    AUTO_BUF payload = BUF_INIT;
    buf_addf(&payload, "begin %d %jd =", FORMAT_VERSION, (intmax_t)txn->begun_s);
    add_encoded(&payload, txn->owner);
    buf_adds(&payload, " =");
    add_encoded(&payload, txn->title);
    add_record(log, &payload);
    if (txn->leader[0] != '\0') {
        buf_reset(&payload);
        buf_addf(&payload, "leader %s", txn->leader);
        add_record(log, &payload);
    }
    for (size_t i = 0; i < txn->undoes.n; i++) {
        buf_reset(&payload);
        buf_addf(&payload, "undoes %s", txn->undoes.v[i]);
        add_record(log, &payload);
    }
}

/* Open for appending, without what a crash tore off. */
static bool open_log(struct txn *txn, int flags, struct err *err)
{
    AUTO_FREE char *path = fs_join(txn->dir, "log");
    txn->log_fd = open(path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
    if (txn->log_fd < 0)
        return err_errno(err, errno, path, "cannot open the journal %s", path);
    struct stat st;
    if (fstat(txn->log_fd, &st) != 0)
        return err_errno(err, errno, path, "cannot look at the journal %s", path);
    if ((size_t)st.st_size <= txn->log_len)
        return true;
    if (!txn_step() || ftruncate(txn->log_fd, (off_t)txn->log_len) != 0)
        return err_errno(err, errno, path, "cannot mend the journal %s", path);
    return true;
}

static bool append_bytes(struct txn *txn, const struct buf *bytes, struct err *err)
{
    if (txn->log_fd < 0 && !open_log(txn, 0, err))
        return false;
    if (file_write_all(txn->log_fd, bytes->data, bytes->len) && txn_step() && fsync(txn->log_fd) == 0) {
        txn->log_len += bytes->len;
        return true;
    }
    int reason = errno;
    /* a mark that is not known to be on the disk must not be found there; what is left of it all the same,
     * the next record drops when it opens the log again */
    (void)!ftruncate(txn->log_fd, (off_t)txn->log_len);
    close(txn->log_fd);
    txn->log_fd = -1;
    return err_errno(err, reason, txn->dir, "cannot write the journal in %s", txn->dir);
}

static bool append_payload(struct txn *txn, const struct buf *payload, struct err *err)
{
    AUTO_BUF record = BUF_INIT;
    add_record(&record, payload);
    return append_bytes(txn, &record, err);
}

bool journal_append(struct txn *txn, struct err *err, const char *fmt, ...)
{
    char text[128];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    AUTO_BUF payload = BUF_INIT;
    buf_adds(&payload, text);
    return append_payload(txn, &payload, err);
}

bool journal_mark(struct txn *txn, enum mark mark, struct err *err)
{
    if (!journal_append(txn, err, "mark %s", mark_names[mark]))
        return false;
    txn->marks |= 1U << mark;
    return true;
}

bool journal_rebase(struct txn *txn, size_t n, const struct snapshot *old, struct err *err)
{
    AUTO_BUF payload = BUF_INIT;
    buf_addf(&payload, "was %zu ", n);
    add_snapshot(&payload, old);
    if (!append_payload(txn, &payload, err))
        return false;
    snapshot_copy(&txn->ops[n].old, old);
    return true;
}

static bool valid_id(const char *id)
{
    return strlen(id) == TXN_ID_DIGITS && strspn(id, "0123456789") == TXN_ID_DIGITS;
}

bool journal_ids(const char *journal_dir, struct strlist *ids, struct err *err)
{
    AUTO_STRLIST names = STRLIST_INIT;
    if (!fs_list(journal_dir, &names, err))
        return false;
    for (size_t i = 0; i < names.n; i++)
        if (valid_id(names.v[i]))
            strlist_add(ids, names.v[i]);
    return true;
}

static void set_dir(struct txn *txn, const char *id)
{
    snprintf(txn->id, sizeof(txn->id), "%.*s", (int)sizeof(txn->id) - 1, id);
    free(txn->dir);
    txn->dir = fs_join(txn->journal_dir, id);
}

/* One more than the newest: the order of ids is the order of time, whatever the clock does. */
static bool next_id(const char *journal_dir, char id[24], struct err *err)
{
    AUTO_STRLIST ids = STRLIST_INIT;
    if (!journal_ids(journal_dir, &ids, err))
        return false;
    unsigned long long next = ids.n == 0 ? 1 : strtoull(ids.v[ids.n - 1], NULL, 10) + 1;
    snprintf(id, 24, "%0*llu", TXN_ID_DIGITS, next);
    return true;
}

static bool make_dir(struct txn *txn, struct err *err)
{
    char id[24];
    if (!next_id(txn->journal_dir, id, err))
        return false;
    AUTO_FREE char *dir = fs_join(txn->journal_dir, id);
    if (!txn_step() || mkdir(dir, 0700) != 0)
        return err_errno(err, errno, dir, "cannot make the journal directory %s", dir);
    set_dir(txn, id);
    return file_sync_dir(txn->journal_dir, err);
}

static bool save_contents(const struct txn *txn, struct err *err)
{
    for (size_t n = 0; n < txn->n_ops; n++) {
        const struct op *op = &txn->ops[n];
        AUTO_FREE char *old = journal_path(txn, "old", n);
        AUTO_FREE char *new = journal_path(txn, "new", n);
        if (op->old.thing == THING_FILE && !file_save(old, op->old_data.data, op->old_data.len, err))
            return false;
        if (op->new.thing == THING_FILE && !file_save(new, op->new_data.data, op->new_data.len, err))
            return false;
    }
    return true;
}

static void log_text(const struct txn *txn, struct buf *log)
{
    add_head(log, txn);
    for (size_t n = 0; n < txn->n_ops; n++)
        add_op(log, n, &txn->ops[n]);
}

#define RECORD_PREFIX "redo-"

/* A whole transaction, done and committed, as it will stand when this one is. */
static bool save_record(const struct txn *txn, size_t n, struct err *err)
{
    struct txn *record = txn->records[n];
    AUTO_BUF log = BUF_INIT;
    AUTO_BUF mark = BUF_INIT;
    free(record->dir);
    record->dir = mem_fmt("%s/" RECORD_PREFIX "%06zu", txn->dir, n);
    buf_addf(&mark, "mark %s", mark_names[MARK_COMMITTED]);
    log_text(record, &log);
    add_record(&log, &mark);
    if (!txn_step() || mkdir(record->dir, 0700) != 0)
        return err_errno(err, errno, record->dir, "cannot make the journal directory %s", record->dir);
    AUTO_FREE char *path = fs_join(record->dir, "log");
    return save_contents(record, err) && file_save(path, log.data, log.len, err) &&
           file_sync_dir(record->dir, err);
}

static bool save_records(const struct txn *txn, struct err *err)
{
    for (size_t n = 0; n < txn->n_records; n++)
        if (!save_record(txn, n, err))
            return false;
    return true;
}

static bool record_names(const struct txn *txn, struct strlist *out, struct err *err)
{
    AUTO_STRLIST names = STRLIST_INIT;
    if (!fs_list(txn->dir, &names, err))
        return false;
    for (size_t i = 0; i < names.n; i++)
        if (strncmp(names.v[i], RECORD_PREFIX, strlen(RECORD_PREFIX)) == 0)
            strlist_add(out, names.v[i]);
    return true;
}

bool journal_has_records(const struct txn *txn)
{
    AUTO_STRLIST names = STRLIST_INIT;
    struct err ignored = ERR_INIT;
    return !record_names(txn, &names, &ignored) || names.n > 0;
}

bool journal_release_records(struct txn *txn, struct err *err)
{
    AUTO_STRLIST names = STRLIST_INIT;
    if (txn->undoes.n == 0)
        return true;
    if (!record_names(txn, &names, err))
        return false;
    for (size_t i = 0; i < names.n; i++) {
        AUTO_FREE char *from = fs_join(txn->dir, names.v[i]);
        char id[24];
        if (!next_id(txn->journal_dir, id, err))
            return false;
        AUTO_FREE char *to = fs_join(txn->journal_dir, id);
        if (!txn_step() || rename(from, to) != 0)
            return err_errno(err, errno, from, "cannot move %s to %s", from, to);
        if (!file_sync_dir(txn->journal_dir, err))
            return false;
    }
    return names.n == 0 || file_sync_dir(txn->dir, err);
}

bool journal_create(struct txn *txn, struct err *err)
{
    AUTO_BUF log = BUF_INIT;
    log_text(txn, &log);
    if (!make_dir(txn, err) || !save_contents(txn, err) || !save_records(txn, err) ||
        !open_log(txn, O_CREAT | O_EXCL, err) || !append_bytes(txn, &log, err))
        return false;
#ifdef FALLOC_FL_KEEP_SIZE
    (void)fallocate(txn->log_fd, FALLOC_FL_KEEP_SIZE, (off_t)txn->log_len, LOG_RESERVE_BYTES);
#endif
    return file_sync_dir(txn->dir, err);
}

/* -- reading -------------------------------------------------------------------------------------------- */

/* The fields of one payload, taken from left to right. */
struct fields {
    char *rest;
};

static char *next_field(struct fields *fields)
{
    if (fields->rest == NULL)
        return NULL;
    return strsep(&fields->rest, " ");
}

static bool take_number(struct fields *fields, int base, uintmax_t max, uintmax_t *out)
{
    const char *text = next_field(fields);
    char *end;
    if (text == NULL || !isdigit((unsigned char)*text))
        return false;
    errno = 0;
    *out = strtoumax(text, &end, base);
    return errno == 0 && *end == '\0' && *out <= max;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex_byte(const char *text, char *out)
{
    int high = hex_value(text[0]);
    int low = high < 0 ? -1 : hex_value(text[1]);
    if (low < 0)
        return false;
    *out = (char)(high << 4 | low);
    return true;
}

/* Percent-decoded; NULL when it is not well-formed or holds a NUL. */
static char *decode(const char *text)
{
    AUTO_BUF out = BUF_INIT;
    for (; *text != '\0'; text++) {
        char c = *text;
        if (c == '%') {
            if (!hex_byte(text + 1, &c) || c == '\0')
                return NULL;
            text += 2;
        }
        buf_addc(&out, c);
    }
    return buf_take(&out);
}

static char *take_string(struct fields *fields)
{
    const char *text = next_field(fields);
    return text != NULL && *text == '=' ? decode(text + 1) : NULL;
}

static bool take_snapshot(struct fields *fields, struct snapshot *out)
{
    const char *text = next_field(fields);
    snapshot_clear(out);
    if (text == NULL)
        return false;
    if (strcmp(text, "-") == 0)
        return true;
    if (strncmp(text, "file:", 5) == 0) {
        out->thing = THING_FILE;
        snprintf(out->sha256, sizeof(out->sha256), "%s", text + 5);
        return strlen(text + 5) == SHA256_HEX_BYTES - 1 &&
               strspn(text + 5, "0123456789abcdef") == SHA256_HEX_BYTES - 1;
    }
    if (strncmp(text, "link:", 5) != 0 || text[5] == '\0')
        return false;
    out->target = decode(text + 5);
    out->thing = out->target == NULL ? THING_NONE : THING_LINK;
    return out->target != NULL;
}

static bool take_op_number(struct txn *txn, struct fields *fields, struct op **op)
{
    uintmax_t n;
    if (!take_number(fields, 10, OPS_LIMIT, &n) || n >= txn->n_ops)
        return false;
    *op = &txn->ops[n];
    return true;
}

static bool read_begin(struct txn *txn, struct fields *fields)
{
    uintmax_t version, begun;
    if (txn->begun || !take_number(fields, 10, FORMAT_VERSION, &version) || version != FORMAT_VERSION ||
        !take_number(fields, 10, INT64_MAX, &begun))
        return false;
    AUTO_FREE char *owner = take_string(fields);
    AUTO_FREE char *title = take_string(fields);
    if (owner == NULL || title == NULL)
        return false;
    free(txn->owner);
    free(txn->title);
    txn->owner = mem_dup(owner);
    txn->title = mem_dup(title);
    txn->begun_s = (int64_t)begun;
    txn->begun = true;
    return true;
}

static bool read_undoes(struct txn *txn, struct fields *fields)
{
    const char *id = next_field(fields);
    if (id == NULL || !valid_id(id))
        return false;
    strlist_add(&txn->undoes, id);
    return true;
}

static bool read_leader(struct txn *txn, struct fields *fields)
{
    const char *id = next_field(fields);
    if (id == NULL || !valid_id(id))
        return false;
    memcpy(txn->leader, id, sizeof(txn->leader));
    return true;
}

static bool read_op_meta(struct fields *fields, struct op *op)
{
    uintmax_t mode, uid, gid, dev, ino, nlink;
    if (!take_number(fields, 8, 07777, &mode) || !take_number(fields, 10, UINT32_MAX, &uid) ||
        !take_number(fields, 10, UINT32_MAX, &gid) || !take_number(fields, 10, UINTMAX_MAX, &dev) ||
        !take_number(fields, 10, UINTMAX_MAX, &ino) || !take_number(fields, 10, UINT32_MAX, &nlink))
        return false;
    op->mode = (mode_t)mode;
    op->old_meta.mode = (mode_t)mode;
    op->old_meta.uid = (uid_t)uid;
    op->old_meta.gid = (gid_t)gid;
    op->old_meta.dev = (dev_t)dev;
    op->old_meta.ino = (ino_t)ino;
    op->old_meta.nlink = (nlink_t)nlink;
    return true;
}

static bool read_op(struct txn *txn, struct fields *fields)
{
    uintmax_t n;
    if (!take_number(fields, 10, OPS_LIMIT, &n) || n != txn->n_ops)
        return false;
    AUTO_FREE char *path = take_string(fields);
    AUTO_FREE char *real = take_string(fields);
    if (path == NULL || real == NULL || real[0] != '/' || real[1] == '\0' || strlen(real) >= PATH_MAX)
        return false;
    struct op *op = txn_op_add(txn, path, real);
    return take_snapshot(fields, &op->old) && take_snapshot(fields, &op->new) && read_op_meta(fields, op);
}

static bool read_xattr(struct txn *txn, struct fields *fields)
{
    struct op *op;
    if (!take_op_number(txn, fields, &op))
        return false;
    AUTO_FREE char *name = take_string(fields);
    const char *hex = next_field(fields);
    if (name == NULL || *name == '\0' || hex == NULL)
        return false;
    AUTO_BUF value = BUF_INIT;
    for (; *hex != '\0'; hex += 2) {
        char c;
        if (!hex_byte(hex, &c))
            return false;
        buf_addc(&value, c);
    }
    meta_add_xattr(&op->old_meta, name, value.data, value.len);
    return true;
}

static bool read_mark(struct txn *txn, struct fields *fields)
{
    const char *name = next_field(fields);
    for (unsigned i = 0; name != NULL && i < MARK_COUNT; i++) {
        if (strcmp(name, mark_names[i]) == 0) {
            txn->marks |= 1U << i;
            return true;
        }
    }
    return false;
}

static bool read_inplace(struct txn *txn, struct fields *fields)
{
    struct op *op;
    if (!take_op_number(txn, fields, &op))
        return false;
    op->torn = true;
    return true;
}

static bool read_whole(struct txn *txn, struct fields *fields)
{
    struct op *op;
    if (!take_op_number(txn, fields, &op))
        return false;
    op->torn = false;
    return true;
}

static bool read_kept(struct txn *txn, struct fields *fields)
{
    struct op *op;
    if (!take_op_number(txn, fields, &op))
        return false;
    op->kept = true;
    return true;
}

static bool read_was(struct txn *txn, struct fields *fields)
{
    struct op *op;
    AUTO_SNAPSHOT old = {0};
    if (!take_op_number(txn, fields, &op) || !take_snapshot(fields, &old) || old.thing == THING_FILE)
        return false;
    snapshot_copy(&op->old, &old);
    return true;
}

static const struct {
    const char *word;
    bool (*read)(struct txn *txn, struct fields *fields);
} records[] = {
    {"begin", read_begin}, {"undoes", read_undoes},   {"op", read_op},       {"xattr", read_xattr},
    {"mark", read_mark},   {"inplace", read_inplace}, {"whole", read_whole}, {"kept", read_kept},
    {"was", read_was},     {"leader", read_leader},
};

static bool read_payload(struct txn *txn, const char *payload, size_t len)
{
    AUTO_FREE char *copy = mem_ndup(payload, len);
    struct fields fields = {copy};
    const char *word = next_field(&fields);
    if (memchr(payload, '\0', len) != NULL)
        return false;
    for (size_t i = 0; i < COUNT_OF(records); i++)
        if (strcmp(word, records[i].word) == 0)
            return (i == 0 || txn->begun) && records[i].read(txn, &fields) && fields.rest == NULL;
    return false;
}

/* The record at the beginning of `data`: its payload and whole length. False when it is not whole and sound.
 */
static bool next_record(const char *data, size_t len, const char **payload, size_t *payload_len,
                        size_t *whole)
{
    size_t at = 0, n = 0;
    while (at < len && at < 8 && isdigit((unsigned char)data[at]))
        n = n * 10 + (size_t)(data[at++] - '0');
    size_t head = at + 1 + CHECKSUM_DIGITS + 1;
    if (at == 0 || data[0] == '0' || n > RECORD_LIMIT || len < head || len - head < n + 1 ||
        data[at] != ' ' || data[head - 1] != ' ' || data[head + n] != '\n')
        return false;
    char checksum[SHA256_HEX_BYTES];
    sha256_hex(data + head, n, checksum);
    if (memcmp(data + at + 1, checksum, CHECKSUM_DIGITS) != 0)
        return false;
    *payload = data + head;
    *payload_len = n;
    *whole = head + n + 1;
    return true;
}

/* Records behind a broken one: it was not torn by a crash, the disk or a person damaged it. The marks still
 * tell whether there is anything left to do. */
static void read_behind_damage(struct txn *txn, const char *data, size_t len)
{
    const char *payload, *line = data, *end = data + len;
    size_t payload_len, whole;
    while (line < end && (line = memchr(line, '\n', (size_t)(end - line))) != NULL) {
        line++;
        if (!next_record(line, (size_t)(end - line), &payload, &payload_len, &whole))
            continue;
        txn->damaged = true;
        AUTO_FREE char *copy = mem_ndup(payload, payload_len);
        struct fields fields = {copy};
        if (strcmp(next_field(&fields), "mark") == 0)
            (void)read_mark(txn, &fields);
    }
}

bool journal_parse(struct txn *txn, const char *data, size_t len)
{
    const char *payload;
    size_t at = 0, payload_len, whole;
    while (next_record(data + at, len - at, &payload, &payload_len, &whole)) {
        if (!read_payload(txn, payload, payload_len))
            txn->damaged = true;
        at += whole;
    }
    txn->log_len = at;
    if (at < len)
        read_behind_damage(txn, data + at, len - at);
    return !txn->damaged;
}

bool journal_load(const char *journal_dir, const char *id, struct txn **out, struct err *err)
{
    AUTO_BUF log = BUF_INIT;
    AUTO_TXN *txn = txn_alloc(journal_dir, "", "");
    set_dir(txn, id);
    AUTO_FREE char *path = fs_join(txn->dir, "log");
    if (fs_exists(path) && !fs_read(path, LOG_LIMIT, &log, err))
        return false;
    (void)journal_parse(txn, buf_str(&log), log.len); /* `damaged` tells */
    *out = txn;
    txn = NULL;
    return true;
}

bool journal_damaged(const struct txn *txn, struct err *err)
{
    err_set(err, ERR_IO, NEXT_FIX_CONFIG, txn->dir,
            "the journal %s is damaged, or was written by a newer version; it may be unfinished", txn->dir);
    return err_advise(err, "Compare its old-N and new-N with the web server's files; then move it away.");
}

bool journal_content(struct txn *txn, size_t n, bool want_new, struct err *err)
{
    struct op *op = &txn->ops[n];
    bool *have = want_new ? &op->have_new : &op->have_old;
    struct buf *data = want_new ? &op->new_data : &op->old_data;
    const struct snapshot *expected = want_new ? &op->new : &op->old;
    AUTO_FREE char *path = journal_path(txn, want_new ? "new" : "old", n);
    AUTO_SNAPSHOT saved = {0};
    if (*have || expected->thing != THING_FILE)
        return true;
    if (!snapshot_read(path, &saved, data, err))
        return false;
    *have = snapshot_equal(&saved, expected);
    if (*have)
        return true;
    buf_clear(data);
    err_set(err, ERR_IO, NEXT_LOCAL_FAULT, op->path,
            "the copy of %s in the journal, %s, is missing or damaged; it was not used", op->path, path);
    return err_advise(err, "Put %s right by hand, from a backup; then remove %s.", op->path, txn->dir);
}
