/* SPDX-License-Identifier: Apache-2.0 */
/* The topics of this node: in memory, and in topics.json of the home directory, replaced whole at each change. The control process
 * takes this over when it comes; the format is versioned so that it can. */
#ifndef MR_DATAPLANE_NODE_REGISTRY_H
#define MR_DATAPLANE_NODE_REGISTRY_H

#include "dataplane/node/datadir.h"
#include "dataplane/node/topic.h"

struct mr_registry {
    struct mr_topic *topics; /* newest first */
    uint32_t topic_count;
    uint64_t partition_count;
    uint64_t generation; /* of daemon starts: advanced durably by mr_registry_open() */
};

/** Read topics.json and advance the generation durably. @param reactor_count, directory_count to place partitions */
int mr_registry_open(struct mr_registry *registry, const struct mr_datadir *home, const struct mr_node_config *config, uint32_t reactor_count,
                     struct millrace_error *err) MR_MUST_USE;

struct mr_topic *mr_registry_find(const struct mr_registry *registry, const char *name);

/**
 * Make a topic, durably, with its partition directories. Not yet with memory, nor known to reactors.
 * @param config_text lines key=value
 * @return 0; -EEXIST, -EINVAL, -ENOSPC, -EIO with a message
 */
int mr_registry_create(struct mr_registry *registry, const struct mr_datadir *home, const struct mr_node_config *config, uint32_t reactor_count,
                       const char *name, uint32_t partition_count, const char *config_text, struct mr_topic **topic, struct millrace_error *err) MR_MUST_USE;

/** Take back a topic that was just created and that no thread knows yet: out of topics.json, its empty directories, its memory.
 * @return 0; -EIO with a message: it stays */
int mr_registry_discard(struct mr_registry *registry, const struct mr_datadir *home, const struct mr_node_config *config, struct mr_topic *topic,
                        struct millrace_error *err) MR_MUST_USE;

/** Forget all topics and free them: their memory must be unmapped, and no thread may know them any more. */
void mr_registry_release(struct mr_registry *registry);

/** JSON array for `topic list`; to free(). */
char *mr_registry_json(const struct mr_registry *registry);

#endif
