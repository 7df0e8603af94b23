/* SPDX-License-Identifier: Apache-2.0 */
/* Read whole batches of one segment in order, from a position or an offset: the cold read of a colocated consumer, in its own thread, over
 * a descriptor that may be O_DIRECT. It reads no further than the durable end that the daemon named: behind it the file may hold
 * anything. One reader, one thread; no memory is taken. */
#ifndef MR_SEGMENT_READER_H
#define MR_SEGMENT_READER_H

#include <stdint.h>

#include "shm/batch/batch.h"
#include "shm/segment/source.h"

#define MR_SEGMENT_READER_BUFFER_MIN (2 * MR_BLOCK_BYTES)

struct mr_segment_reader {
    struct mr_segment_source log;
    struct mr_segment_window window;
    uint64_t base_offset;
    uint64_t position;   /* of the next batch */
    uint64_t need_bytes; /* after -EMSGSIZE: the buffer that would do */
};

/**
 * Begin at the segment's start. The reader must not move afterwards.
 *
 * @param log     its .bytes is the durable end
 * @param buffer  stays the caller's; multiple of MR_BLOCK_BYTES in size, and aligned to it for O_DIRECT; at least the largest batch + 4 KiB
 */
void mr_segment_reader_init(struct mr_segment_reader *reader, const struct mr_segment_source *log, uint64_t base_offset, uint8_t *buffer,
                            size_t buffer_bytes);

/** The daemon has made more durable. Never less. */
void mr_segment_reader_extend(struct mr_segment_reader *reader, uint64_t durable_end);

/** Go on with a larger buffer (after -EMSGSIZE), from the same position. */
void mr_segment_reader_set_buffer(struct mr_segment_reader *reader, uint8_t *buffer, size_t buffer_bytes);

/** Go to a position where a batch begins. */
void mr_segment_reader_seek(struct mr_segment_reader *reader, uint64_t position);

/**
 * Go to the batch that holds `offset`, or in a compacted segment the first behind it.
 *
 * @param side  the sidecar, for a binary search; NULL, or anything not in order there: a scan of headers instead. What it says is only
 *              believed when the batch header at that place agrees.
 * @return 0; -ERANGE (below the segment); -ENOENT (behind the durable end); -EBADMSG; the source's -errno
 */
int mr_segment_reader_find(struct mr_segment_reader *reader, const struct mr_segment_source *side, uint64_t offset) MR_MUST_USE;

/**
 * The next batch, its CRC checked.
 *
 * @param batch  in the buffer; lives until the next call. Its records: mr_batch_iterator_init()
 * @return 1; 0 (no whole batch before the durable end, yet); -EMSGSIZE (larger than the buffer); -EBADMSG (corrupt at `position`);
 *         the source's -errno
 */
int mr_segment_reader_next(struct mr_segment_reader *reader, const uint8_t **batch, uint32_t *batch_bytes) MR_MUST_USE;

#endif
