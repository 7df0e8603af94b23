/* SPDX-License-Identifier: Apache-2.0 */
/* Coordination: a small tree of nodes with data, on which all servers of a cluster agree. It is ZooKeeper's model (paths, versions, ephemeral and
 * sequential nodes, one-shot watches, multi), because ZooKeeper is what runs it on a cluster; a node that is alone has an embedded store.
 *
 * Asynchronous: mr_coord_submit() takes a request, mr_coord_poll() gives its reply, in the order of submission, and watches that fired. A reply
 * of a change means that it is durable. Nothing blocks but where an implementation says so.
 *
 *  C1  All requests of a session take effect in the order in which they were submitted, and replies come in that order.
 *  C2  A watch fires once, and before any later read of the session can show what it fired for.
 *  C3  All of a change happens, or nothing of it.
 *  C4  -ECONNABORTED: nobody knows whether the change happened. Whoever must know reads it back (he gave it a mark of his own).
 *  C5  After -ESHUTDOWN the session is over: its ephemeral nodes are gone, or will be; a new one must be opened.
 *
 * Implementations: embedded.c (SQLite, one process). */
#ifndef MR_DRIVERS_COORD_H
#define MR_DRIVERS_COORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/base/err.h"

#define MR_COORD_PATH_MAX    1024u
#define MR_COORD_DATA_MAX    (1u << 20) /* bytes, as ZooKeeper's jute.maxbuffer */
#define MR_COORD_CHANGES_MAX 4096u      /* in one request */
#define MR_COORD_ANY         (-1)       /* version: whatever it is */

enum mr_coord_change_kind {
    MR_COORD_CREATE, /* -EEXIST; -ENOENT: its parent is not there; -ENOTSUP: its parent is ephemeral */
    MR_COORD_SET,    /* -ENOENT, -ESTALE: another version */
    MR_COORD_DELETE, /* -ENOENT, -ESTALE, -ENOTEMPTY */
    MR_COORD_CHECK,  /* changes nothing. -ENOENT, -ESTALE */
};

enum mr_coord_create_flag {
    MR_COORD_EPHEMERAL = 1,  /* goes with the session */
    MR_COORD_SEQUENTIAL = 2, /* ten digits are added to its name, larger than those of any node before it under this parent */
};

struct mr_coord_change {
    enum mr_coord_change_kind kind;
    const char *path; /* "/a/b": no empty, "." or ".." step; "/" is always there */
    const void *data; /* CREATE and SET */
    size_t data_bytes;
    int32_t version; /* SET, DELETE, CHECK: what it must be, or MR_COORD_ANY */
    uint32_t flags;  /* CREATE: enum mr_coord_create_flag */
};

struct mr_coord_stat {
    uint64_t created_xid, modified_xid; /* of the request that did; they grow, over all nodes */
    uint64_t session;                   /* of an ephemeral node; 0: it stays */
    int32_t version;                    /* of its data: 0, 1, ... */
    int32_t children_version;           /* of the set of its children */
    uint32_t children_count;
};

enum mr_coord_request_kind {
    MR_COORD_CHANGES,  /* all of them or none */
    MR_COORD_GET,      /* data and stat */
    MR_COORD_CHILDREN, /* names, without their path, in byte order; and stat */
};

struct mr_coord_request {
    uint64_t tag; /* comes back in the reply, and in what its watch says */
    enum mr_coord_request_kind kind;
    const struct mr_coord_change *changes; /* CHANGES */
    uint32_t change_count;
    const char *path; /* GET, CHILDREN */
    bool watch;       /* GET: fires when the node is created, set or deleted, so also behind -ENOENT. CHILDREN: when its children, or itself, come or go */
};

enum mr_coord_reply_kind {
    MR_COORD_REPLY,
    MR_COORD_FIRED, /* a watch; what is there now must be read */
};

/** Everything in it is the driver's, and lives until the next mr_coord_poll(). */
struct mr_coord_reply {
    uint64_t tag;
    enum mr_coord_reply_kind kind;
    int result;            /* 0 or -errno: those of the change; -EINVAL: a bad path, too much data; -EIO, -ENOSPC: the store; -ECONNABORTED, -ESHUTDOWN */
    uint32_t failed;       /* CHANGES: index of the change that the result is of */
    const char *path;      /* CHANGES: what the last change made or touched, with its digits; else the request's */
    const void *data;      /* GET; a terminator that does not count is behind it */
    size_t data_bytes;
    const char *const *names; /* CHILDREN */
    uint32_t name_count;
    struct mr_coord_stat stat; /* GET, CHILDREN; of CHANGES the last change's node, unless it was deleted */
};

struct mr_coord;

struct mr_coord_ops {
    int (*submit)(struct mr_coord *coord, const struct mr_coord_request *request);
    uint32_t (*poll)(struct mr_coord *coord, struct mr_coord_reply *replies, uint32_t max);
    int (*wait_fd)(struct mr_coord *coord);
    uint64_t (*session)(const struct mr_coord *coord);
    void (*release)(struct mr_coord *coord);
};

/** An implementation embeds this as its first member. */
struct mr_coord {
    const struct mr_coord_ops *ops;
    const char *name; /* "embedded": said at start */
};

/** Take a request; everything in it is copied. @return 0: a reply will come; -EINVAL: none will, the request is malformed; -ENOMEM */
MR_MUST_USE static inline int mr_coord_submit(struct mr_coord *coord, const struct mr_coord_request *request)
{
    return coord->ops->submit(coord, request);
}

/** What has come, in order. @return how many; 0: nothing for now. Frees what the call before gave. */
static inline uint32_t mr_coord_poll(struct mr_coord *coord, struct mr_coord_reply *replies, uint32_t max)
{
    return coord->ops->poll(coord, replies, max);
}

/** Readable while mr_coord_poll() has something; the driver's. */
static inline int mr_coord_wait_fd(struct mr_coord *coord)
{
    return coord->ops->wait_fd(coord);
}

/** Names the session; never given twice by a store. */
static inline uint64_t mr_coord_session(const struct mr_coord *coord)
{
    return coord->ops->session(coord);
}

/** Ends the session: its ephemeral nodes go. NULL is nothing. */
static inline void mr_coord_release(struct mr_coord *coord)
{
    if (coord != NULL)
        coord->ops->release(coord);
}

/** True if a path can name a node. "/" can, but cannot be created or deleted. */
bool mr_coord_path_is_valid(const char *path) MR_MUST_USE;

/**
 * The store of a node that is alone: a file of SQLite, one process at a time. A change blocks until it is on stable storage, a few ms on a slow
 * disk, and reads block for microseconds: it is for a process that is on nobody's data path.
 *
 * After -EIO every further request is answered -EIO: what the disk holds shows when it is opened anew. Sessions end with their process, so an open
 * deletes all ephemeral nodes that are there.
 *
 * @param path of the file; made if it is missing, mode 0600, "-wal" beside it
 * @return 0; -EBUSY: another process has it open; -EBADMSG: damaged, or no such store; -ENOENT, -EACCES, -ENOSPC, -EIO: all with a message
 */
int mr_coord_embedded_open(struct mr_coord **coord, const char *path, struct millrace_error *err) MR_MUST_USE;

#endif
