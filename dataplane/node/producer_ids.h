/* SPDX-License-Identifier: Apache-2.0 */
/* Producer ids and the tokens that prove them. Ids come from blocks that the control process reserves in
 * its store; their end is noted here, durably, before the first of them is given out, so none is given twice, whatever becomes of the store. What is
 * left of a block at a crash is skipped. A token is HMAC-SHA256 of (id, epoch, uid)
 * under the node's key: who shows it may go on as that producer (RELIABILITY.md R16). */
#ifndef MR_DATAPLANE_NODE_PRODUCER_IDS_H
#define MR_DATAPLANE_NODE_PRODUCER_IDS_H

#include "dataplane/node/datadir.h"
#include "shm/abi/message.h"

struct mr_producer_ids {
    const struct mr_datadir *directory;
    int64_t next, end;               /* of the block in use */
    int64_t spare_first, spare_end;  /* of the one behind it */
    int64_t floor;                   /* all ids below may have been given out */
    uint8_t key[32];
};

/** Reads or makes the key, and the floor; there are no ids yet. */
int mr_producer_ids_open(struct mr_producer_ids *ids, const struct mr_datadir *directory, struct millrace_error *err) MR_MUST_USE;

/** A block more, noted durably first. @return 0; -EINVAL: it is not above the floor; -ENOSPC, -EIO: all with a message */
int mr_producer_ids_add(struct mr_producer_ids *ids, int64_t first, int64_t end, struct millrace_error *err) MR_MUST_USE;

/** @return a producer id never given before; -EAGAIN: there is none */
int64_t mr_producer_ids_next(struct mr_producer_ids *ids);

/** There is no spare block: time to ask for one. */
bool mr_producer_ids_wants(const struct mr_producer_ids *ids);

void mr_producer_token(const struct mr_producer_ids *ids, int64_t producer_id, int32_t epoch, uint32_t uid, uint8_t token[MR_TOKEN_BYTES]);
/** In constant time. */
bool mr_producer_token_check(const struct mr_producer_ids *ids, int64_t producer_id, int32_t epoch, uint32_t uid, const uint8_t token[MR_TOKEN_BYTES]);

#endif
