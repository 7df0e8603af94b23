/* SPDX-License-Identifier: Apache-2.0 */
/* A tree of nodes in a file, changed by transactions: what the embedded store keeps. Without watches or replies: those are embedded.c's. Every call
 * blocks for the disk; one thread. After a call that gave -EIO all others give it: what the disk holds shows when the file is opened anew. */
#ifndef MR_DRIVERS_COORD_TREE_H
#define MR_DRIVERS_COORD_TREE_H

#include "drivers/coord/coord.h"

struct mr_coord_tree;

/** Open or make it, and begin a session: ephemeral nodes of earlier ones are deleted. @return as mr_coord_embedded_open() */
int mr_coord_tree_open(struct mr_coord_tree **tree, const char *path, struct millrace_error *err) MR_MUST_USE;

/** Deletes the ephemeral nodes of its session. NULL is nothing. */
void mr_coord_tree_close(struct mr_coord_tree *tree);

uint64_t mr_coord_tree_session(const struct mr_coord_tree *tree);

/**
 * All changes of a request, durably, or none.
 * @param paths zeroed, one for each change: filled with its path as far as it came, with the digits it was given
 * @param reply its `failed` and `stat` are filled in
 * @return 0 or -errno, as struct mr_coord_reply.result
 */
int mr_coord_tree_change(struct mr_coord_tree *tree, const struct mr_coord_request *request, char (*paths)[MR_COORD_PATH_MAX + 1],
                         struct mr_coord_reply *reply) MR_MUST_USE;

/** @param data NULL: not wanted; else to free(), with a terminator behind it. @return 0; -ENOENT; -EIO, -ENOMEM */
int mr_coord_tree_get(struct mr_coord_tree *tree, const char *path, struct mr_coord_stat *stat, void **data, size_t *data_bytes) MR_MUST_USE;

/** Names of the children, in byte order. @param names zeroed; each to free(), also after an error. @param count mr_coord_stat.children_count */
int mr_coord_tree_names(struct mr_coord_tree *tree, const char *path, char **names, uint32_t count) MR_MUST_USE;

/** "/a/b" -> "/a"; "/a" -> "/" */
void mr_coord_path_parent(const char *path, char parent[MR_COORD_PATH_MAX + 1]);

#endif
