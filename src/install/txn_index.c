/*
 * txn_index.c - finding an operation among thousands: by its place, or by the file that it replaces.
 *
 * A hash table with open addresses; it holds numbers of operations only. Entries of operations that were
 * dropped stay until the table grows, and are told from others by looking at the operation.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdlib.h>
#include <string.h>

#include "tlsup/mem.h"
#include "txn_internal.h"

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t len)
{
    for (const unsigned char *c = data, *end = c + len; c < end; c++)
        hash = (hash ^ *c) * 1099511628211U; /* FNV-1a */
    return hash;
}

static uint64_t hash_real(const char *real)
{
    return hash_bytes(14695981039346656037U, real, strlen(real));
}

static uint64_t hash_file(dev_t dev, ino_t ino)
{
    return hash_bytes(hash_bytes(14695981039346656037U, &dev, sizeof(dev)), &ino, sizeof(ino));
}

static void put_slot(struct op_index *index, struct op_slot slot)
{
    size_t at = (size_t)slot.hash & (index->cap - 1);
    while (index->v[at].next != 0)
        at = (at + 1) & (index->cap - 1);
    index->v[at] = slot;
    index->used++;
}

static void index_add(struct op_index *index, uint64_t hash, size_t n)
{
    if ((index->used + 1) * 4 > index->cap * 3) {
        struct op_index larger = {.cap = index->cap == 0 ? 32 : index->cap * 2};
        larger.v = mem_array(larger.cap, sizeof(*larger.v));
        for (size_t i = 0; i < index->cap; i++)
            if (index->v[i].next != 0)
                put_slot(&larger, index->v[i]);
        free(index->v);
        *index = larger;
    }
    put_slot(index, (struct op_slot){hash, n + 1});
}

static bool replaces_file(const struct op *op)
{
    return !op->dropped && op->old.thing == THING_FILE;
}

struct op *txn_find(const struct txn *txn, const char *real)
{
    const struct op_index *index = &txn->by_real;
    uint64_t hash = hash_real(real);
    for (size_t at = (size_t)hash; index->cap > 0 && index->v[at & (index->cap - 1)].next != 0; at++) {
        const struct op_slot *slot = &index->v[at & (index->cap - 1)];
        if (slot->hash != hash || slot->next > txn->n_ops)
            continue;
        struct op *op = &txn->ops[slot->next - 1];
        if (!op->dropped && strcmp(op->real, real) == 0)
            return op;
    }
    return NULL;
}

struct op *txn_find_file(const struct txn *txn, dev_t dev, ino_t ino)
{
    const struct op_index *index = &txn->by_file;
    uint64_t hash = hash_file(dev, ino);
    for (size_t at = (size_t)hash; index->cap > 0 && index->v[at & (index->cap - 1)].next != 0; at++) {
        const struct op_slot *slot = &index->v[at & (index->cap - 1)];
        if (slot->hash != hash || slot->next > txn->n_ops)
            continue;
        struct op *op = &txn->ops[slot->next - 1];
        if (replaces_file(op) && op->new.thing == THING_FILE && op->old_meta.dev == dev &&
            op->old_meta.ino == ino)
            return op;
    }
    return NULL;
}

void txn_index_op(struct txn *txn, size_t n)
{
    index_add(&txn->by_real, hash_real(txn->ops[n].real), n);
}

void txn_index_file(struct txn *txn, size_t n)
{
    const struct op *op = &txn->ops[n];
    if (replaces_file(op))
        index_add(&txn->by_file, hash_file(op->old_meta.dev, op->old_meta.ino), n);
}

void txn_index_clear(struct txn *txn)
{
    free(txn->by_real.v);
    free(txn->by_file.v);
    txn->by_real = txn->by_file = (struct op_index){0};
}
