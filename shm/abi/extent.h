/* SPDX-License-Identifier: Apache-2.0 */
/* An extent: named memory that holds consecutive whole batches of one partition, a window over one segment file (DESIGN.md section 5).
 * A hugepage extent is a file of its own; a slot is a small extent inside the topic's slot file. Both have this layout:
 *
 *   0            struct mr_extent_header; the producer snapshot follows it at snapshot_position
 *   side_position  side stream window: sidecar entries of the batches below (shm/segment), as they will stand in the .sidecar file
 *   data_position  data window: the batches as they will stand in the .log file
 *
 * Both windows begin at a multiple of 4096 and show their file from a multiple of 4096 on, so that O_DIRECT writes go straight from here;
 * the first partial block is a copy of the previous extent's last one. All positions "in segment" are bytes in the file.
 *
 * Written by the owner reactor only; read-only for clients. A batch lies wholly in one extent; an extent belongs to one segment.
 * A reader of offset o: while o < visible: at sealed_end -> the next sequence in the directory; else a batch begins at its position.
 * Edge S (seal): sealed_end is stored before a batch in the next extent becomes visible; `visible` (acquire) orders it. */
#ifndef MR_ABI_EXTENT_H
#define MR_ABI_EXTENT_H

#include <stdatomic.h>

#include "shm/abi/abi.h"

#define MR_EXTENT_MAGIC   0x31746e657478724du /* "Mrxtent1" */
#define MR_EXTENT_VERSION 1u

struct mr_extent_header {
    uint64_t magic;
    uint32_t version;
    uint32_t file_id;            /* as in the directory; this and `bytes` are set by whoever makes the memory, the rest by the log */
    struct mr_uuid boot_id;      /* kernel boot: an older one is stale */
    struct mr_uuid topic_id;
    uint32_t partition;
    uint32_t leader_epoch;
    _Atomic uint64_t sequence;   /* of this extent in its partition, from 1; 0: free. Changes when recycled */
    uint64_t bytes;              /* of the whole extent */
    uint64_t base_offset;        /* of the first batch that begins here */
    uint64_t segment_base_offset;
    uint32_t segment_salt;
    uint32_t chain_start;        /* sidecar chain before the first batch here */
    uint32_t data_position;      /* in the extent */
    uint32_t data_bytes;
    uint32_t side_position;
    uint32_t side_bytes;
    uint64_t window_position;    /* in segment: what data_position shows; multiple of 4096 */
    uint64_t start_position;     /* in segment: the first batch; window_position <= start_position < window_position + 4096 */
    uint64_t side_window_position; /* likewise in the .sidecar */
    uint64_t side_start_position;
    uint32_t snapshot_position;  /* producer state at the start: struct mr_extent_producer[snapshot_count] */
    uint32_t snapshot_count;
    uint32_t generation;         /* of the partition's lineage, and where its cut left this segment (0: began within it): see the journal */
    uint32_t cut_position;
    uint32_t header_crc;         /* CRC-32C of the bytes before this field with `sequence` taken as its value; then of the snapshot */
    uint32_t reserved;
    alignas(MR_CACHE_LINE) _Atomic uint64_t sealed_end; /* S: position in segment where the last batch here ends; 0 while this is the tail */
    /* For adoption: bytes of the segment's two files below these are durable in the files themselves. Only the newest live extent of each
     * segment is kept up to date (a new one starts with a copy): take the greatest of a segment's live extents. */
    _Atomic uint64_t inplace_end, side_inplace_end;
};
static_assert(sizeof(struct mr_extent_header) == 256, "ABI");

/** Producer state at the start of an extent: enough to go on after adopting only what is mapped (R16). */
struct mr_extent_producer {
    int64_t producer_id;
    int64_t last_offset;
    int64_t active_ms; /* as struct mr_log_producer_state */
    int32_t last_sequence; /* mod 2^31 */
    int16_t epoch;
    int16_t reserved;
};
static_assert(sizeof(struct mr_extent_producer) == 32, "ABI");

#endif
