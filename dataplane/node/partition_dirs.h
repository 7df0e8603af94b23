/* SPDX-License-Identifier: Apache-2.0 */
/* The directories of a topic's partitions, `<log dir>/<topic>-<partition>`. Each holds `partition.metadata` with the topic's id, as Kafka has
 * it, so that a directory is known by what it is and not only by its name. All of them are made, durably, before the topic is in topics.json:
 * one that is not there later is lost, and what it held with it, so it is never made anew. */
#ifndef MR_DATAPLANE_NODE_PARTITION_DIRS_H
#define MR_DATAPLANE_NODE_PARTITION_DIRS_H

#include "dataplane/node/topic.h"

/** Of a topic in topics.json: in which log directory each partition lies. One that is in none, or in two, or whose directory is another topic's,
 * is lost (partition->lost): nothing there is to be touched. Directories of an earlier version, without the file, are taken by name. */
void mr_partition_dirs_find(struct mr_topic *topic, const struct mr_node_config *config);

/**
 * Of a topic's partitions from `first` on, durably, where they were placed.
 * @return 0; -ENOTEMPTY (one of that name is there, in any log directory, and holds files: nothing was made); -ENOSPC, -EIO, with a message:
 *         mr_partition_dirs_remove() what was made
 */
int mr_partition_dirs_make(struct mr_topic *topic, uint32_t first, const struct mr_node_config *config, struct millrace_error *err) MR_MUST_USE;

/** Those of the topic, likewise, that hold nothing but partition.metadata. */
void mr_partition_dirs_remove(const struct mr_topic *topic, uint32_t first, const struct mr_node_config *config);

/** Of a deleted topic: all get names by which they are deleted (trash.h), durably; some may have them already. @return 0; -EIO with a message */
int mr_partition_dirs_trash(const struct mr_topic *topic, const struct mr_node_config *config, struct millrace_error *err) MR_MUST_USE;

#endif
