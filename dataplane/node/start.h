/* SPDX-License-Identifier: Apache-2.0 */
/* What a starting daemon finds: memory that a dead one left is adopted, everything else is recovered from disk (RELIABILITY.md D7, R14).
 *
 *   heads of this boot and data directory -> per partition: live extents by the head's directory -> mr_adopt_partition()
 *     not intact, or no head             -> mr_recovery_partition(), which must reach head->durable where there is one
 *   whatever memory nobody took          -> unlinked, and said
 *
 * Journals of earlier starts stay until every reactor has said that all is secured through its own. */
#ifndef MR_DATAPLANE_NODE_START_H
#define MR_DATAPLANE_NODE_START_H

#include "dataplane/log/recover.h"
#include "drivers/clock/clock.h"
#include "dataplane/memory/memory.h"
#include "dataplane/node/datadir.h"
#include "dataplane/node/registry.h"

struct mr_start_topic {
    struct mr_topic *topic;
    struct mr_log_recovered **recovered; /* [partition]; NULL: empty */
    bool *adopted;                       /* [partition]: which release */
};

struct mr_start {
    struct mr_start_topic *topics;
    uint32_t topic_count;
    struct mr_recovery *recovery[MR_LOG_DIRECTORIES_MAX]; /* opened when the first partition of the directory needs it */
    uint64_t memory_bytes; /* adopted: counts against the budget */
    uint32_t adopted_count, recovered_count, offline_count;
    uint64_t adopted_bytes, adopt_ns;
};

/** Look at every topic of the registry. @param start filled in. @return 0; -EIO, -ENOMEM with a message. Topics get their heads where adopted. */
int mr_start_find(struct mr_start *start, struct mr_registry *registry, struct mr_memory *memory, struct mr_disk *disk,
                  const struct mr_node_config *config, struct mr_clock *clock, struct millrace_error *err) MR_MUST_USE;

/** When the reactors have taken everything over. */
void mr_start_release(struct mr_start *start);

#endif
