/* SPDX-License-Identifier: Apache-2.0 */
/* Kafka's two indexes of a closed segment, which let who seeks begin near what it looks for. Hints: whoever reads by one checks what it finds
 * there, and reads all of the segment instead when that is not what the index said, or there is none.
 *
 *   .index      8 bytes an entry, big-endian: relative offset (int32) of the last record of a batch, and that batch's position (int32)
 *   .timeindex  12 bytes: the greatest timestamp of the segment so far (int64, ms), relative offset (int32) of the last record of the batch that has
 *               it. Both grow strictly; the last entry tells the greatest of the whole segment
 *
 * Source: Apache Kafka, OffsetIndex and TimeIndex (KIP-33). Pure. */
#ifndef MR_SEGMENT_INDEX_H
#define MR_SEGMENT_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/base/assert.h"

#define MR_INDEX_ENTRY_BYTES      8u
#define MR_TIME_INDEX_ENTRY_BYTES 12u

/** A batch boundary that the log noted while it grew: what a batch says, and the greatest timestamp up to its end. */
struct mr_index_point {
    uint64_t last_offset; /* of the batch */
    uint64_t position;    /* where it begins */
    int64_t max_timestamp_ms;
    uint64_t max_offset;  /* the last offset of the batch which has that timestamp */
};

/** @param out count * MR_INDEX_ENTRY_BYTES  @return bytes; points that do not fit the format (31 bits) are left out */
size_t mr_index_encode(const struct mr_index_point *points, uint32_t count, uint64_t base_offset, uint8_t *out);

/** @param out count * MR_TIME_INDEX_ENTRY_BYTES  @return bytes; of points with the same timestamp the first counts */
size_t mr_time_index_encode(const struct mr_index_point *points, uint32_t count, uint64_t base_offset, uint8_t *out);

/** What a time index says about a time: begin the search at `offset`, whose batch has `timestamp_ms` as its greatest. */
struct mr_time_index_hint {
    uint64_t offset;
    int64_t timestamp_ms;
    bool all_before; /* the whole segment is older than the time, and this is its last entry */
};

/**
 * Look for the last entry older than a time: every record up to its offset is older, too.
 * @param bytes foreign: anything may stand there
 * @return 1; 0: none is older: begin with the segment; -EBADMSG: no time index
 */
int mr_time_index_find(const uint8_t *bytes, size_t size, uint64_t base_offset, int64_t time_ms, struct mr_time_index_hint *hint) MR_MUST_USE;

#endif
