/* SPDX-License-Identifier: Apache-2.0 */
/* Adoption of a whole node's memory, on all cores this process may use: a starting daemon has nothing else to do, and producers wait.
 *
 *   directories of the heads -> extents, side by side: map, check CRCs -> partitions, side by side: mr_adopt_partition()
 *
 * Mapping and checking are nearly all of the work, and extents are its unit, so that one partition with a long hot tail uses all cores too. */
#ifndef MR_DATAPLANE_NODE_ADOPT_H
#define MR_DATAPLANE_NODE_ADOPT_H

#include "dataplane/log/recover.h"
#include "dataplane/memory/memory.h"
#include "dataplane/node/topic.h"

struct mr_adopting {
    struct mr_topic_partition *partition; /* in: of a topic whose head was adopted */
    const struct mr_head_partition *head; /* in */
    struct mr_log_recovered *recovered;   /* in: zeroed; filled when rc is 0, for mr_adopt_release() */
    int rc;                               /* out: 0; -ENOENT: no extent is named; else not intact, and err says what */
    uint32_t extent_first, extent_count;
    struct millrace_error err;
};

/**
 * Adopt what can be. partition->files gets the extents' files, oldest first in memory order, where rc is 0; nothing else stays mapped.
 * @param allocator called by several threads at once
 * @param bytes     added to: what was adopted in files of extents
 * @return 0; -ENOMEM with a message
 */
int mr_adopt_memory(struct mr_memory *memory, struct mr_adopting *partitions, uint32_t count, const struct mr_allocator *allocator, uint64_t *bytes,
                    struct millrace_error *err) MR_MUST_USE;

#endif
