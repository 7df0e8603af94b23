/* SPDX-License-Identifier: Apache-2.0 */
/* Two small files of a partition directory in Kafka's own formats: to and from buffers, no I/O. Whoever writes them follows
 * RELIABILITY.md D8 (temporary file, fsync, rename, fsync directory); whoever reads them treats any doubt as "rebuild from the log".
 *
 *   `<20-digit offset>.snapshot`, big-endian: producer state at that offset
 *       version i16 = 1, CRC-32C u32 of all that follows, count i32, count x { producer id i64, epoch i16, last sequence i32,
 *       last offset i64, offset delta i32, timestamp i64, coordinator epoch i32, first offset of the open transaction i64 (-1 none) }
 *   `leader-epoch-checkpoint`, text: "0\n<count>\n", then count lines "<epoch> <start offset>\n" */
#ifndef MR_SEGMENT_CHECKPOINT_H
#define MR_SEGMENT_CHECKPOINT_H

#include <stddef.h>
#include <stdint.h>

#include "shm/base/assert.h"

#define MR_SNAPSHOT_VERSION      1
#define MR_SNAPSHOT_HEADER_BYTES 10u
#define MR_SNAPSHOT_ENTRY_BYTES  46u
#define MR_EPOCH_LINE_BYTES_MAX  32u /* "2147483647 9223372036854775807\n" */

struct mr_snapshot_producer {
    int64_t producer_id;
    int64_t last_offset;
    int64_t timestamp_ms;
    int64_t transaction_first_offset; /* -1: none open */
    int32_t last_sequence;
    int32_t offset_delta; /* of the last batch: its first sequence = last_sequence - offset_delta */
    int32_t coordinator_epoch;
    int16_t epoch;
};

static inline uint64_t mr_snapshot_bytes(uint32_t count)
{
    return MR_SNAPSHOT_HEADER_BYTES + (uint64_t)count * MR_SNAPSHOT_ENTRY_BYTES;
}

/** @return bytes written, -ENOSPC, or -EINVAL (more producers than the format can count) */
int64_t mr_snapshot_encode(const struct mr_snapshot_producer *producers, uint32_t count, uint8_t *at, size_t room);

/** How many producers a well-formed snapshot holds. @return count; -EBADMSG (short, CRC, count); -ENOTSUP (version) */
int64_t mr_snapshot_check(const uint8_t *at, size_t bytes);

/** Read the entry `index` < count of a snapshot that was checked. */
void mr_snapshot_read(const uint8_t *at, uint32_t index, struct mr_snapshot_producer *producer);

/** The leader of `epoch` wrote from this offset on. */
struct mr_epoch_start {
    int32_t epoch;
    int64_t start_offset;
};

/** @return bytes written (no terminating zero), or -ENOSPC */
int64_t mr_epochs_encode(const struct mr_epoch_start *epochs, uint32_t count, char *text, size_t room);

/**
 * @param epochs  filled up to max
 * @return count; -EBADMSG (not this format, epochs not ascending, offsets going back); -ENOTSUP (version); -ENOSPC (more than max)
 */
int64_t mr_epochs_decode(const char *text, size_t bytes, struct mr_epoch_start *epochs, uint32_t max);

#endif
