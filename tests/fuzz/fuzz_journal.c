/*
 * fuzz_journal.c - the reader of transaction logs, with any bytes.
 *
 * The checksums would keep a fuzzer out, so an input that begins with 'r' is read as payloads, one a line,
 * and framed here; any other is read as it is. Run: fuzz_journal -max_total_time=60 CORPUS
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdlib.h>
#include <string.h>

#include "../../src/install/txn_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void frame(const char *payload, size_t len, struct buf *log)
{
    char checksum[SHA256_HEX_BYTES];
    sha256_hex(payload, len, checksum);
    buf_addf(log, "%zu %.16s ", len, checksum);
    buf_add(log, payload, len);
    buf_addc(log, '\n');
}

static void frame_lines(const char *data, size_t size, struct buf *log)
{
    for (size_t at = 0; at < size;) {
        const char *newline = memchr(data + at, '\n', size - at);
        size_t len = newline == NULL ? size - at : (size_t)(newline - (data + at));
        frame(data + at, len, log);
        at += len + 1;
    }
}

/* What every reader of the result relies on. */
static void check(const struct txn *txn, size_t log_len)
{
    if (txn->log_len > log_len || txn->owner == NULL || txn->title == NULL)
        abort();
    for (size_t n = 0; n < txn->n_ops && !txn->damaged; n++) {
        const struct op *op = &txn->ops[n];
        if (op->path == NULL || op->real == NULL || op->real[0] != '/' ||
            (op->old.thing == THING_LINK) != (op->old.target != NULL) ||
            (op->new.thing == THING_LINK) != (op->new.target != NULL))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_BUF log = BUF_INIT;
    AUTO_TXN *txn = txn_alloc("/nowhere", "", "");
    if (size > 0 && data[0] == 'r')
        frame_lines((const char *)data + 1, size - 1, &log);
    else
        buf_add(&log, data, size);
    (void)journal_parse(txn, buf_str(&log), log.len);
    check(txn, log.len);
    return 0;
}
