/* SPDX-License-Identifier: Apache-2.0 */
/* Where the bytes of a segment or sidecar come from: a file descriptor, memory, or the disk driver of a simulated machine. */
#ifndef MR_SEGMENT_SOURCE_H
#define MR_SEGMENT_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "shm/base/assert.h"

struct mr_segment_source {
    /**
     * Read up to `bytes` at `position`, fewer only at the end of the stream. This module asks for whole blocks of MR_BLOCK_BYTES at
     * multiples of it, into buffers as aligned as its caller's: so a source may be O_DIRECT. Bytes behind source->bytes are not used.
     * @return bytes read, 0 at or past the end, or -errno
     */
    int64_t (*read)(const struct mr_segment_source *source, uint64_t position, void *buffer, size_t bytes);
    void *context;
    uint64_t bytes; /* of the stream: nothing behind this is looked at */
};

/** A view of memory, which must stay and is not changed. */
struct mr_segment_source mr_segment_source_memory(const void *memory, uint64_t bytes);

/**
 * An open descriptor (O_DIRECT too), which must stay open; in libmr_segment_files, since it makes system calls.
 * @param bytes how far to look: a file's size, or its durable end
 */
struct mr_segment_source mr_segment_source_fd(int fd, uint64_t bytes);

/** The bytes of a source that are in a buffer just now. */
struct mr_segment_window {
    const struct mr_segment_source *source;
    uint8_t *buffer;
    size_t buffer_bytes; /* multiple of MR_BLOCK_BYTES */
    uint64_t position;
    size_t bytes;
};

/**
 * Make [position, position + bytes) addressable in the window, reading ahead as far as the buffer goes.
 *
 * @param at  set to the first byte; lives until the next call
 * @return 1; 0 (the source ends before); -EMSGSIZE (more than buffer_bytes - 4095); or the source's -errno
 */
int mr_segment_window_need(struct mr_segment_window *window, uint64_t position, size_t bytes, const uint8_t **at) MR_MUST_USE;

#endif
