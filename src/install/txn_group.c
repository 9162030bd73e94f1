/*
 * txn_group.c - several transactions that stand or fall together: which of them decides, and the two ends.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>

#include "txn_internal.h"

void txn_join(struct txn *txn, const struct txn *leader)
{
    const char *id = leader->leader[0] != '\0' ? leader->leader : leader->id;
    memcpy(txn->leader, id, sizeof(txn->leader));
}

const char *group_id(const struct txn *txn)
{
    return txn->leader[0] != '\0' ? txn->leader : txn->id;
}

/* A journal that cannot be read in full may have lost the mark: then nobody knows. */
static bool leader_decides(const struct txn *leader, bool *proven, struct err *err)
{
    bool over = txn_has(leader, MARK_COMMITTED) || txn_has(leader, MARK_UNDONE);
    *proven =
        txn_has(leader, MARK_COMMITTED) || (txn_has(leader, MARK_VERIFIED) && !txn_has(leader, MARK_UNDONE));
    return *proven || over || !leader->damaged || journal_damaged(leader, err);
}

bool group_proven(const struct txn *txn, bool *proven, struct err *err)
{
    AUTO_TXN *leader = NULL;
    *proven = txn_has(txn, MARK_VERIFIED);
    /* a leader that is gone was put back, for it is the last to be committed: it loads without a mark */
    if (*proven || txn->leader[0] == '\0' || strcmp(txn->leader, txn->id) >= 0)
        return true;
    return journal_load(txn->journal_dir, txn->leader, &leader, err) && leader_decides(leader, proven, err);
}

bool txn_commit_all(struct txn *const txns[], size_t n, struct err *err)
{
    while (n-- > 0)
        if (!txn_commit(txns[n], err))
            return false;
    return true;
}

/* What was changed by a person is left, and is no obstacle; where something could not be put back, the edits
 * before it wait for the next run as well: they lie below it. */
bool txn_rollback_all(struct txn *const txns[], size_t n, struct err *err)
{
    struct err first = ERR_INIT;
    bool more = true;
    while (more && n-- > 0) {
        struct err trouble = ERR_INIT;
        bool ok = txn_rollback(txns[n], &trouble);
        more = ok || trouble.code == ERR_MISMATCH;
        if (!ok && !err_isset(&first))
            first = trouble;
    }
    if (!err_isset(&first))
        return true;
    *err = first;
    return false;
}
