/* SPDX-License-Identifier: Apache-2.0 */
/* All contact with files of the log goes through this face.
 *
 * Two halves. The *burst* half is hot: a reactor hands over prepared writes and later collects completions; it never blocks and
 * makes at most one system call per submit. The *cold* half is synchronous: recovery, creation, preallocation, deletion; it runs on the
 * steward thread or before the reactors start, never on a reactor.
 *
 * Implementations: uring.c (io_uring; O_DIRECT where the file system takes it), threads.c (a small pool of pwrite threads: no io_uring,
 * as in Docker's default seccomp), faulty.c (decorates another one: the n-th operation fails, is short, slow or torn), sim.c (in memory,
 * with the tear model of RELIABILITY.md D1 and names that are durable only after a directory fsync).
 *
 * D2: a write with MR_DISK_DURABLE completes only after it is complete *and* flushed (RWF_DSYNC); short writes are finished by the driver.
 * D3: after the first failed write or flush the driver reports the error for that operation, and nothing is retried.
 * Completions may come in any order.
 *
 * Each reactor opens a disk of its own. In uring.c and threads.c a file number is the descriptor itself, so a file that the steward
 * opened through its disk serves every reactor's; in sim.c all disks of one simulated machine share one table. */
#ifndef MR_DRIVERS_DISK_H
#define MR_DRIVERS_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

#include "shm/base/err.h"

#define MR_DISK_WRITE_BYTES_MAX (1u << 20) /* longer ranges are cut by the caller, so that one write cannot hold up a commit */

enum mr_disk_flag {
    MR_DISK_DURABLE = 1, /* complete only when on stable storage */
};

/** One write. Position, bytes and the buffer's address are multiples of MR_BLOCK_BYTES. */
struct mr_disk_write {
    uint64_t tag;      /* comes back in the completion */
    int32_t file;      /* from mr_disk_open() */
    uint32_t bytes;    /* <= MR_DISK_WRITE_BYTES_MAX */
    uint64_t position;
    const void *buffer; /* must stay, and its bytes must not change, until the completion is collected */
    uint32_t flags;
};

struct mr_disk_completion {
    uint64_t tag;
    int32_t result; /* 0, or -errno: the range is then in an unknown state (D3) */
};

enum mr_disk_open_flag {
    MR_DISK_CREATE = 1,  /* create if missing; the name is durable only after mr_disk_sync_directory() */
    MR_DISK_EXCLUSIVE = 2, /* with CREATE: -EEXIST if it is there */
    MR_DISK_DIRECT = 4,  /* for burst writes: O_DIRECT where the file system takes it, else buffered (mr_disk_is_direct() tells) */
    MR_DISK_READ_ONLY = 8,
};

struct mr_disk;

struct mr_disk_ops {
    /* burst half: owner thread only */
    uint32_t (*submit)(struct mr_disk *disk, const struct mr_disk_write *writes, uint32_t count);
    uint32_t (*poll)(struct mr_disk *disk, struct mr_disk_completion *completions, uint32_t max);
    int (*wait_fd)(struct mr_disk *disk);
    /* cold half: any thread */
    int (*open)(struct mr_disk *disk, const char *path, uint32_t flags, struct millrace_error *err);
    int (*close)(struct mr_disk *disk, int file);
    int64_t (*size)(struct mr_disk *disk, int file);
    int (*allocate)(struct mr_disk *disk, int file, uint64_t position, uint64_t bytes);
    int (*truncate)(struct mr_disk *disk, int file, uint64_t bytes);
    int64_t (*read)(struct mr_disk *disk, int file, void *buffer, size_t bytes, uint64_t position);
    int64_t (*write)(struct mr_disk *disk, int file, const void *buffer, size_t bytes, uint64_t position);
    int (*sync)(struct mr_disk *disk, int file);
    int (*sync_directory)(struct mr_disk *disk, const char *path);
    int (*make_directory)(struct mr_disk *disk, const char *path);
    int (*remove_directory)(struct mr_disk *disk, const char *path);
    int (*unlink)(struct mr_disk *disk, const char *path);
    int (*rename)(struct mr_disk *disk, const char *from, const char *to);
    int (*list)(struct mr_disk *disk, const char *path, int (*each)(void *context, const char *name, bool is_directory), void *context);
    uint64_t (*free_bytes)(struct mr_disk *disk, const char *path);
    bool (*is_direct)(struct mr_disk *disk, int file);
    void (*release)(struct mr_disk *disk);
};

/** An implementation embeds this as its first member. */
struct mr_disk {
    const struct mr_disk_ops *ops;
    const char *name; /* "io_uring", "threads", "simulated": said at start */
};

/**
 * Hand over writes; they start at once. @return how many were taken, from the front (fewer when the queue is full: try again after
 * mr_disk_poll()). Hot; one system call at most.
 */
static inline uint32_t mr_disk_submit(struct mr_disk *disk, const struct mr_disk_write *writes, uint32_t count)
{
    return disk->ops->submit(disk, writes, count);
}

/**
 * Collect what has completed, without waiting. @return how many were filled in; fewer than max: there are no more for now.
 * Hot; no system call unless the kernel has something pending. Who spins on this with nothing else to do yields now and then (uring.c).
 */
static inline uint32_t mr_disk_poll(struct mr_disk *disk, struct mr_disk_completion *completions, uint32_t max)
{
    return disk->ops->poll(disk, completions, max);
}

/**
 * An eventfd that becomes readable with each completion (or batch of them); -1 where there is none (simulated). Owned by the driver.
 * Add it to an epoll set with EPOLLET: mr_disk_poll() does not drain it, as that would be a system call per pass. Who waits for the level
 * reads its 8 bytes (it does not block) before mr_disk_poll(). Poll once more between arming and sleeping.
 */
static inline int mr_disk_wait_fd(struct mr_disk *disk)
{
    return disk->ops->wait_fd(disk);
}

/** @return a file number for the other calls (not necessarily a descriptor), or -errno with a message. */
static inline int mr_disk_open(struct mr_disk *disk, const char *path, uint32_t flags, struct millrace_error *err)
{
    return disk->ops->open(disk, path, flags, err);
}

/** Not while a write to it is in flight on any disk: its number may be given to another file at once. */
static inline int mr_disk_close(struct mr_disk *disk, int file)
{
    return disk->ops->close(disk, file);
}

/** Bytes of the file, or -errno. */
static inline int64_t mr_disk_size(struct mr_disk *disk, int file)
{
    return disk->ops->size(disk, file);
}

/** fallocate: backed, reads as zeros, size grows when needed. -ENOSPC, -EIO; -EOPNOTSUPP never leaves the driver (it writes zeros then). */
static inline int mr_disk_allocate(struct mr_disk *disk, int file, uint64_t position, uint64_t bytes)
{
    return disk->ops->allocate(disk, file, position, bytes);
}

static inline int mr_disk_truncate(struct mr_disk *disk, int file, uint64_t bytes)
{
    return disk->ops->truncate(disk, file, bytes);
}

/** Read at most bytes, any alignment. @return bytes read (short only at the end of the file), or -errno. */
static inline int64_t mr_disk_read(struct mr_disk *disk, int file, void *buffer, size_t bytes, uint64_t position)
{
    return disk->ops->read(disk, file, buffer, bytes, position);
}

/** Write all, any alignment; durable after mr_disk_sync(). @return bytes, or -errno. */
static inline int64_t mr_disk_write(struct mr_disk *disk, int file, const void *buffer, size_t bytes, uint64_t position)
{
    return disk->ops->write(disk, file, buffer, bytes, position);
}

/** fsync of one file, its size included. A failure is final (D3). */
static inline int mr_disk_sync(struct mr_disk *disk, int file)
{
    return disk->ops->sync(disk, file);
}

/** Make creations, renames and unlinks in this directory durable. */
static inline int mr_disk_sync_directory(struct mr_disk *disk, const char *path)
{
    return disk->ops->sync_directory(disk, path);
}

/** -EEXIST when it is there already. */
static inline int mr_disk_make_directory(struct mr_disk *disk, const char *path)
{
    return disk->ops->make_directory(disk, path);
}

static inline int mr_disk_remove_directory(struct mr_disk *disk, const char *path)
{
    return disk->ops->remove_directory(disk, path);
}

static inline int mr_disk_unlink(struct mr_disk *disk, const char *path)
{
    return disk->ops->unlink(disk, path);
}

static inline int mr_disk_rename(struct mr_disk *disk, const char *from, const char *to)
{
    return disk->ops->rename(disk, from, to);
}

/** Names in a directory, without . and .., in no order. Stops and returns what `each` returns when that is not 0. -ENOENT. */
static inline int mr_disk_list(struct mr_disk *disk, const char *path, int (*each)(void *context, const char *name, bool is_directory), void *context)
{
    return disk->ops->list(disk, path, each, context);
}

static inline uint64_t mr_disk_free_bytes(struct mr_disk *disk, const char *path)
{
    return disk->ops->free_bytes(disk, path);
}

static inline bool mr_disk_is_direct(struct mr_disk *disk, int file)
{
    return disk->ops->is_direct(disk, file);
}

/** By the owner thread. Waits for writes in flight and frees. Files stay open: they may serve other disks; who opened one closes it. */
static inline void mr_disk_release(struct mr_disk *disk)
{
    if (disk != NULL)
        disk->ops->release(disk);
}

/**
 * May be opened on another thread than the one that submits: the first that submits becomes the owner.
 * @param depth writes in flight at most, 1..4096
 * @param lock_fds descriptors that are registered with the ring so that a lock on them outlives this process until its last I/O is over
 *                 (DESIGN.md section 5, Recovery): of every directory that is written through it
 * @return -ENOSYS, -EPERM or -ENOMEM with a message when io_uring is refused: use mr_disk_threads_open()
 */
int mr_disk_uring_open(struct mr_disk **disk, uint32_t depth, const int *lock_fds, uint32_t lock_count, struct millrace_error *err) MR_MUST_USE;
/** @param threads 1..64: how many writes the kernel sees at once; depth as above. Each is durable by RWF_DSYNC, or fdatasync where refused. */
int mr_disk_threads_open(struct mr_disk **disk, uint32_t depth, uint32_t threads, struct millrace_error *err) MR_MUST_USE;

#endif
