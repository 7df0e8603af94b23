/* SPDX-License-Identifier: Apache-2.0 */
/* One log directory of a node: whose it is, and that no two daemons write it. (All of them together: datadirs.h.)
 *
 *   meta.properties   as Kafka's: version, broker.id, directory.id; a directory that belongs to another node is refused
 *   .lock             locked by flock while a daemon, or I/O that it started, may write: the descriptor is registered with every io_uring,
 *                     so the lock is free only when the last I/O of a dead daemon is over (DESIGN.md section 5, Recovery); and by fcntl
 *                     while the daemon lives
 *
 * One of them is the node's home and holds, besides:
 *
 *   log-dirs          the directories of the node, a line each: directory.id and where it was last; written before a new one is used
 *   topics.json       topics of this node until there is a control process
 *   node.key          32 random bytes, mode 0400: key of resume tokens
 *   producer-ids      the first producer id not yet reserved */
#ifndef MR_DATAPLANE_NODE_DATADIR_H
#define MR_DATAPLANE_NODE_DATADIR_H

#include <stdbool.h>

#include "dataplane/config/config.h"
#include "shm/abi/abi.h"

#define MR_DATADIR_LIST "log-dirs"

struct mr_datadir {
    char path[512];
    struct mr_uuid id;
    int lock_fd;
    bool is_made;              /* by this start, and not claimed: close takes it away again */
    bool is_fresh;             /* it has no meta.properties, and is not claimed: close leaves nothing there */
    bool has_list, has_topics; /* log-dirs, topics.json */
    bool is_empty;             /* no log ever put anything into it */
};

/**
 * Look at a directory and lock it; one that does not exist is made. Waits up to 5 s for a dead daemon's last I/O.
 * @param directory mr_datadir_close() it, also after an error
 * @return 0; -EACCES, -EINVAL (of another node, or not ours), -ENOTDIR, -EBUSY (a daemon that lives; the message has its pid), -EIO, with a message
 */
int mr_datadir_open(struct mr_datadir *directory, const char *path, int64_t broker_id, struct millrace_error *err) MR_MUST_USE;

/** Make a fresh one this node's, durably: from here on its id is in meta.properties. @return 0; -EIO, -ENOSPC with a message */
int mr_datadir_claim(struct mr_datadir *directory, int64_t broker_id, struct millrace_error *err) MR_MUST_USE;
void mr_datadir_close(struct mr_datadir *directory);

/** Replace a small file so that after any crash it is the old or the new one: temporary file, fsync, rename, fsync of the directory (D8). */
int mr_datadir_replace(const struct mr_datadir *directory, const char *name, const void *data, size_t bytes, int mode, struct millrace_error *err) MR_MUST_USE;

/** Read a small file whole; terminated. @param data to free(). @return bytes; -ENOENT; -EIO; -ENOMEM */
int64_t mr_datadir_read(const struct mr_datadir *directory, const char *name, char **data, struct millrace_error *err);

#endif
