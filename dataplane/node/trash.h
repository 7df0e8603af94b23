/* SPDX-License-Identifier: Apache-2.0 */
/* Directories of deleted partitions: renamed at once (partition_dirs.h), deleted here, by a thread of its own, for to unlink files of gigabytes takes a
 * while. What a stop or a crash leaves is deleted after the next start. */
#ifndef MR_DATAPLANE_NODE_TRASH_H
#define MR_DATAPLANE_NODE_TRASH_H

#include "dataplane/config/config.h"

#define MR_TRASH_SUFFIX "-delete"

struct mr_trash;

/** Begin with what is there. @param config outlives it. @return 0; -ENOMEM, -EAGAIN with a message */
int mr_trash_start(struct mr_trash **trash, const struct mr_node_config *config, struct millrace_error *err) MR_MUST_USE;

/** There is more. Any thread; NULL is nothing. */
void mr_trash_look(struct mr_trash *trash);

/** Ends after the file it is at. NULL is nothing. */
void mr_trash_stop(struct mr_trash *trash);

#endif
