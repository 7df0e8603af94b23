/* SPDX-License-Identifier: Apache-2.0 */
/* The topics of this node: in memory, and in topics.json of the home directory, replaced whole at each change. What the control
 * process wants changed comes here (door/control.c); the file is what a start goes by, whether there is a control process or not. */
#ifndef MR_DATAPLANE_NODE_REGISTRY_H
#define MR_DATAPLANE_NODE_REGISTRY_H

#include "dataplane/node/datadir.h"
#include "dataplane/node/topic.h"
#include "shm/desired/desired.h"

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
struct mr_topic *mr_registry_find_id(const struct mr_registry *registry, const struct mr_uuid *id);

/**
 * Make a topic, durably, with its partition directories. Not yet with memory, nor known to reactors.
 * @return 0; -EEXIST, -EINVAL, -ENOSPC, -EIO with a message
 */
int mr_registry_create(struct mr_registry *registry, const struct mr_datadir *home, const struct mr_node_config *config, uint32_t reactor_count,
                       const struct mr_desired *desired, struct mr_topic **topic, struct millrace_error *err) MR_MUST_USE;

/** A topic's own lines are others from now on, durably; its values are not touched. @return 0; -ENOMEM, -ENOSPC, -EIO with a message: all is as before */
int mr_registry_alter(struct mr_registry *registry, const struct mr_datadir *home, struct mr_topic *topic, const char *lines,
                      struct millrace_error *err) MR_MUST_USE;

/**
 * A topic has more partitions, durably, with their directories. Not yet with memory, nor known to reactors.
 * @return 0; -ENOSPC, -EIO, -ENOMEM with a message: all is as before
 */
int mr_registry_grow(struct mr_registry *registry, const struct mr_datadir *home, const struct mr_node_config *config, uint32_t reactor_count,
                     struct mr_topic *topic, uint32_t partition_count, struct millrace_error *err) MR_MUST_USE;

/**
 * A topic is no more, durably: its directories get other names (trash.h), and it is the caller's. Nobody may use its files any more.
 * @return 0; -EIO, -ENOSPC with a message: it stays
 */
int mr_registry_remove(struct mr_registry *registry, const struct mr_datadir *home, const struct mr_node_config *config, struct mr_topic *topic,
                       struct millrace_error *err) MR_MUST_USE;

/** Take back a topic that was just created and that no thread knows yet: out of topics.json, its empty directories, its memory.
 * @return 0; -EIO with a message: it stays */
int mr_registry_discard(struct mr_registry *registry, const struct mr_datadir *home, const struct mr_node_config *config, struct mr_topic *topic,
                        struct millrace_error *err) MR_MUST_USE;

/** Forget all topics and free them: their memory must be unmapped, and no thread may know them any more. */
void mr_registry_release(struct mr_registry *registry);

/** JSON object for `topic describe`; to free(). NULL: no memory. */
char *mr_registry_describe(const struct mr_topic *topic, const struct mr_node_config *config);

/** JSON array for `topic list` and the control process; to free(). */
char *mr_registry_json(const struct mr_registry *registry);

#endif
