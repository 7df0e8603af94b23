/* SPDX-License-Identifier: Apache-2.0 */
/* The log directories of a node: whose they are, and that no two daemons write them.
 *
 *   meta.properties   as Kafka's: version, broker.id, directory.id; a directory that belongs to another node is refused
 *   .lock             locked by flock while a daemon, or I/O that it started, may write: the descriptor is registered with every io_uring,
 *                     so the lock is free only when the last I/O of a dead daemon is over (DESIGN.md section 5, Recovery)
 *   node.key          32 random bytes, mode 0400: key of resume tokens; in the first directory
 *   producer-ids      the first producer id not yet reserved; in the first directory
 *   topics.json       topics of this node until there is a control process; in the first directory */
#ifndef MR_DATAPLANE_NODE_DATADIR_H
#define MR_DATAPLANE_NODE_DATADIR_H

#include <stdbool.h>

#include "dataplane/config/config.h"
#include "shm/abi/abi.h"

struct mr_datadir {
    char path[512];
    struct mr_uuid id;
    int lock_fd;
    bool fresh; /* made by this start */
};

/**
 * Make or check one directory and lock it. Waits up to 5 s for a dead daemon's last I/O.
 * @return 0; -EACCES, -EINVAL (of another node, or not ours), -ENOTDIR, -EBUSY (a daemon that lives; the message has its pid), -EIO, with a message
 */
int mr_datadir_open(struct mr_datadir *directory, const char *path, int64_t broker_id, struct millrace_error *err) MR_MUST_USE;
void mr_datadir_close(struct mr_datadir *directory);

/** Replace a small file so that after any crash it is the old or the new one: temporary file, fsync, rename, fsync of the directory (D8). */
int mr_datadir_replace(const struct mr_datadir *directory, const char *name, const void *data, size_t bytes, int mode, struct millrace_error *err) MR_MUST_USE;

/** Read a small file whole; terminated. @param data to free(). @return bytes; -ENOENT; -EIO; -ENOMEM */
int64_t mr_datadir_read(const struct mr_datadir *directory, const char *name, char **data, struct millrace_error *err);

/** 16 random bytes, as a version-4 UUID. */
int mr_uuid_random(struct mr_uuid *id) MR_MUST_USE;

#endif
