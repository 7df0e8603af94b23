/* SPDX-License-Identifier: Apache-2.0 */
/* The named memory of a node: where it lies and how a file of it comes into being. Hugepages (hugetlbfs) for extents where there are any,
 * ordinary pages (tmpfs) for heads, slots and everything else. Files are named below one folder per data directory on each file system:
 *
 *   <mount>/millrace-<directory id>/<name>
 *
 * They outlive the process, which is how a new daemon adopts what a dead one left; nothing of another directory id is touched.
 * Every file is fully backed before its descriptor leaves here (DESIGN.md section 5): a full /dev/shm is an error, not a SIGBUS. */
#ifndef MR_DATAPLANE_MEMORY_H
#define MR_DATAPLANE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/abi/abi.h"
#include "shm/base/err.h"

#define MR_MEMORY_PATH_MAX 256

struct mr_memory {
    char huge_folder[MR_MEMORY_PATH_MAX];  /* "" when ordinary pages are used throughout */
    char plain_folder[MR_MEMORY_PATH_MAX];
    struct mr_uuid boot_id;
    uint64_t huge_free_bytes; /* at open */
    char said[256];           /* what was found and what it costs: one line for the log at start */
};

struct mr_memory_file {
    void *base; /* shared, read-write, mapped whole */
    uint64_t bytes;
    int read_fd; /* O_RDONLY, for clients; -1 when not asked for */
    bool huge;
};

/**
 * @param setting `auto`, `require`, `off` or a hugetlbfs mount point (millrace.hugepages)
 * @param directory_id names the folders
 * @return 0; -ENOMEM (`require` and none free), -EACCES, -ENOENT with a message
 */
int mr_memory_open(struct mr_memory *memory, const char *setting, const struct mr_uuid *directory_id, uint64_t extent_bytes,
                   struct millrace_error *err) MR_MUST_USE;

/** What the caller does between two pieces while memory is made, when it has work that cannot wait so long. */
struct mr_memory_between {
    void (*attend)(void *context);
    void *context;
};

/**
 * Make a new file, backed and touched, bound near `cpu`'s memory where there are several nodes. Slow (0.3-0.5 GB/s): never on a reactor.
 * @param between NULL: nothing
 * @param huge hugepages if this node has them; `file->huge` tells what it became: hugepages that have run out fall back to ordinary ones
 * @return 0; -ENOSPC or -ENOMEM with a message
 */
int mr_memory_create(struct mr_memory *memory, const char *name, uint64_t bytes, bool huge, int cpu, const struct mr_memory_between *between,
                     struct mr_memory_file *file, struct millrace_error *err) MR_MUST_USE;

/** What to run or set so that `wanted_bytes` more of extents find hugepages. */
void mr_memory_more_huge(uint64_t wanted_bytes, char *text, size_t text_bytes);

/**
 * Map a file that a dead daemon left. Several threads may at once.
 * @param bytes_min shorter is -EBADMSG
 * @param touch     fill the page tables now; false: whoever reads it does, 16 pages at a time, for less
 * @return 0; -ENOENT; -EBADMSG; -ENOMEM
 */
int mr_memory_adopt(struct mr_memory *memory, const char *name, bool huge, uint64_t bytes_min, bool touch, struct mr_memory_file *file,
                    struct millrace_error *err) MR_MUST_USE;

/**
 * A new file of ordinary pages without any yet, mapped whole; each part is backed by mr_memory_back() before it is used. An older file of
 * this name is gone. @return 0; -ENOSPC, -ENOMEM with a message
 */
int mr_memory_create_sparse(struct mr_memory *memory, const char *name, uint64_t bytes, struct mr_memory_file *file,
                            struct millrace_error *err) MR_MUST_USE;

/** Map a sparse file that a dead daemon left, whole, as it is. @return 0; -ENOENT; -ENOMEM */
int mr_memory_adopt_sparse(struct mr_memory *memory, const char *name, struct mr_memory_file *file, struct millrace_error *err) MR_MUST_USE;

/** Back a part of a file of ordinary pages. @param at where the part is mapped: touched; NULL: not */
int mr_memory_back(struct mr_memory *memory, const char *name, uint64_t from, uint64_t bytes, void *at, struct millrace_error *err) MR_MUST_USE;

/** Give a file of ordinary pages another name, in place of the file that has it. @return 0; -errno with a message */
int mr_memory_rename(struct mr_memory *memory, const char *from, const char *to, struct millrace_error *err) MR_MUST_USE;

/** A read-only descriptor of one of these files, by path. @return it, or -errno */
int mr_memory_open_reader(const char *path, struct millrace_error *err) MR_MUST_USE;

/** Grow an ordinary-page file by a backed piece and map the piece alone. @return 0; -ENOSPC */
int mr_memory_grow(struct mr_memory *memory, const char *name, uint64_t from, uint64_t bytes, void **piece, struct millrace_error *err) MR_MUST_USE;

void mr_memory_unmap(struct mr_memory_file *file);
void mr_memory_unlink(struct mr_memory *memory, const char *name, bool huge);

/** Names in the folder(s), for adoption and for clearing what is stale. */
int mr_memory_list(struct mr_memory *memory, int (*each)(void *context, const char *name, bool huge), void *context);

/** Remove every file and the folders: after a clean stop, when everything is on disk. */
void mr_memory_clear(struct mr_memory *memory);

#endif
