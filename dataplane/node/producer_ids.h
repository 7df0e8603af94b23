/* SPDX-License-Identifier: Apache-2.0 */
/* Producer ids and the tokens that prove them. Ids come from blocks that are reserved durably before the first of them is given out, so
 * none is given twice, also after a power cut; what is left of a block at a crash is skipped. A token is HMAC-SHA256 of (id, epoch, uid)
 * under the node's key: who shows it may go on as that producer (RELIABILITY.md R16). */
#ifndef MR_DATAPLANE_NODE_PRODUCER_IDS_H
#define MR_DATAPLANE_NODE_PRODUCER_IDS_H

#include "dataplane/node/datadir.h"
#include "shm/abi/message.h"

#define MR_PRODUCER_ID_BLOCK 1000

struct mr_producer_ids {
    const struct mr_datadir *directory;
    int64_t next, block_end;
    uint8_t key[32];
};

/** Reads or makes the key; reserves nothing yet. */
int mr_producer_ids_open(struct mr_producer_ids *ids, const struct mr_datadir *directory, struct millrace_error *err) MR_MUST_USE;

/** @return a producer id never given before, or -errno (the block could not be reserved durably) */
int64_t mr_producer_ids_next(struct mr_producer_ids *ids, struct millrace_error *err);

void mr_producer_token(const struct mr_producer_ids *ids, int64_t producer_id, int32_t epoch, uint32_t uid, uint8_t token[MR_TOKEN_BYTES]);
/** In constant time. */
bool mr_producer_token_check(const struct mr_producer_ids *ids, int64_t producer_id, int32_t epoch, uint32_t uid, const uint8_t token[MR_TOKEN_BYTES]);

#endif
