/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a Kafka record batch, format v2 (magic 2); all integers big-endian, nothing aligned.
 *
 *   offset size field                      offset size field
 *        0    8 base offset          i64       27    8 base timestamp, ms     i64 (-1 none)
 *        8    4 batch length         i32       35    8 max timestamp, ms      i64 (append time if attribute bit 3)
 *       12    4 leader epoch         i32       43    8 producer id            i64 (-1 none)
 *       16    1 magic = 2            i8        51    2 producer epoch         i16
 *       17    4 CRC-32C of 21..end   u32       53    4 base sequence          i32 (-1 none)
 *       21    2 attributes           i16       57    4 record count           i32
 *       23    4 last offset delta    i32       61      records; with a codec all of them are one compressed stream
 *
 *   record: length varint (of what follows), attributes i8, timestamp delta varlong, offset delta varint,
 *           key length varint (-1 null), key, value length varint (-1 null), value, header count varint,
 *           headers { key length varint (never null), key, value length varint (-1 null), value }
 *
 * Batch length counts the bytes behind itself: whole batch - 12. The CRC leaves base offset, length, leader epoch and magic
 * uncovered, so that a broker can place a batch without reading it; the segment's sidecar covers them (shm/segment/sidecar.h). */
#ifndef MR_BATCH_FORMAT_H
#define MR_BATCH_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/base/assert.h"
#include "shm/base/bits.h"

#define MR_BATCH_HEADER_BYTES     61
#define MR_BATCH_LENGTH_OVERHEAD  12 /* whole batch - batch length */
#define MR_BATCH_MAGIC            2
#define MR_BATCH_CRC_FROM         21 /* first byte that the CRC covers */
#define MR_BATCH_RECORD_BYTES_MIN 7  /* length, attributes, two deltas, null key, null value, no headers: a byte each */
#define MR_BATCH_BYTES_MAX        ((uint64_t)INT32_MAX + MR_BATCH_LENGTH_OVERHEAD)

enum { /* positions in the header */
    MR_BATCH_AT_BASE_OFFSET = 0,
    MR_BATCH_AT_LENGTH = 8,
    MR_BATCH_AT_LEADER_EPOCH = 12,
    MR_BATCH_AT_MAGIC = 16,
    MR_BATCH_AT_CRC = 17,
    MR_BATCH_AT_ATTRIBUTES = 21,
    MR_BATCH_AT_LAST_OFFSET_DELTA = 23,
    MR_BATCH_AT_BASE_TIMESTAMP = 27,
    MR_BATCH_AT_MAX_TIMESTAMP = 35,
    MR_BATCH_AT_PRODUCER_ID = 43,
    MR_BATCH_AT_PRODUCER_EPOCH = 51,
    MR_BATCH_AT_BASE_SEQUENCE = 53,
    MR_BATCH_AT_RECORD_COUNT = 57,
};

enum { /* attributes; bits 7 to 15 are zero */
    MR_BATCH_CODEC_MASK = 0x07,
    MR_BATCH_APPEND_TIME = 0x08,
    MR_BATCH_TRANSACTIONAL = 0x10,
    MR_BATCH_CONTROL = 0x20,
    MR_BATCH_DELETE_HORIZON = 0x40, /* compaction: base timestamp is when tombstones may go */
    MR_BATCH_ATTRIBUTES_KNOWN = 0x7f,
};

enum mr_batch_codec {
    MR_BATCH_CODEC_NONE = 0,
    MR_BATCH_CODEC_GZIP = 1,
    MR_BATCH_CODEC_SNAPPY = 2,
    MR_BATCH_CODEC_LZ4 = 3,
    MR_BATCH_CODEC_ZSTD = 4,
    MR_BATCH_CODEC_COUNT = 5,
};

/* Fields of a batch in place. The caller knows that 61 bytes are there; nothing else is assumed of their values. */

static inline int64_t mr_batch_base_offset(const uint8_t *batch) { return (int64_t)mr_be64_get(batch + MR_BATCH_AT_BASE_OFFSET); }
static inline int32_t mr_batch_length(const uint8_t *batch) { return (int32_t)mr_be32_get(batch + MR_BATCH_AT_LENGTH); }
static inline int32_t mr_batch_leader_epoch(const uint8_t *batch) { return (int32_t)mr_be32_get(batch + MR_BATCH_AT_LEADER_EPOCH); }
static inline int8_t mr_batch_magic(const uint8_t *batch) { return (int8_t)batch[MR_BATCH_AT_MAGIC]; }
static inline uint32_t mr_batch_crc(const uint8_t *batch) { return mr_be32_get(batch + MR_BATCH_AT_CRC); }
static inline uint16_t mr_batch_attributes(const uint8_t *batch) { return mr_be16_get(batch + MR_BATCH_AT_ATTRIBUTES); }
static inline int32_t mr_batch_last_offset_delta(const uint8_t *batch) { return (int32_t)mr_be32_get(batch + MR_BATCH_AT_LAST_OFFSET_DELTA); }
static inline int64_t mr_batch_base_timestamp(const uint8_t *batch) { return (int64_t)mr_be64_get(batch + MR_BATCH_AT_BASE_TIMESTAMP); }
static inline int64_t mr_batch_max_timestamp(const uint8_t *batch) { return (int64_t)mr_be64_get(batch + MR_BATCH_AT_MAX_TIMESTAMP); }
static inline int64_t mr_batch_producer_id(const uint8_t *batch) { return (int64_t)mr_be64_get(batch + MR_BATCH_AT_PRODUCER_ID); }
static inline int16_t mr_batch_producer_epoch(const uint8_t *batch) { return (int16_t)mr_be16_get(batch + MR_BATCH_AT_PRODUCER_EPOCH); }
static inline int32_t mr_batch_base_sequence(const uint8_t *batch) { return (int32_t)mr_be32_get(batch + MR_BATCH_AT_BASE_SEQUENCE); }
static inline int32_t mr_batch_record_count(const uint8_t *batch) { return (int32_t)mr_be32_get(batch + MR_BATCH_AT_RECORD_COUNT); }

/** Bytes of the whole batch as its length field has it; below 61 (also negative) when the field is nonsense. */
static inline int64_t mr_batch_total_bytes(const uint8_t *batch) { return (int64_t)mr_batch_length(batch) + MR_BATCH_LENGTH_OVERHEAD; }

/** Offset of the last record that the batch covers (compaction keeps it when the record itself is gone). Batch checked. */
static inline int64_t mr_batch_last_offset(const uint8_t *batch) { return mr_batch_base_offset(batch) + mr_batch_last_offset_delta(batch); }
static inline int64_t mr_batch_next_offset(const uint8_t *batch) { return mr_batch_last_offset(batch) + 1; }

/** Sequence of the last record; sequences wrap from 2147483647 to 0. -1 when the batch has none. Batch checked. */
static inline int32_t mr_batch_last_sequence(const uint8_t *batch)
{
    int32_t base = mr_batch_base_sequence(batch);
    return base < 0 ? -1 : (int32_t)(((uint32_t)base + (uint32_t)mr_batch_last_offset_delta(batch)) & INT32_MAX);
}

static inline enum mr_batch_codec mr_batch_codec(const uint8_t *batch)
{
    return (enum mr_batch_codec)(mr_batch_attributes(batch) & MR_BATCH_CODEC_MASK);
}
static inline bool mr_batch_is_append_time(const uint8_t *batch) { return (mr_batch_attributes(batch) & MR_BATCH_APPEND_TIME) != 0; }
static inline bool mr_batch_is_transactional(const uint8_t *batch) { return (mr_batch_attributes(batch) & MR_BATCH_TRANSACTIONAL) != 0; }
static inline bool mr_batch_is_control(const uint8_t *batch) { return (mr_batch_attributes(batch) & MR_BATCH_CONTROL) != 0; }

/** Give a batch its place in the log. Neither field is under the CRC: the records are not touched. Hot. */
static inline void mr_batch_stamp(uint8_t *batch, int64_t base_offset, int32_t leader_epoch)
{
    mr_be64_put(batch + MR_BATCH_AT_BASE_OFFSET, (uint64_t)base_offset);
    mr_be32_put(batch + MR_BATCH_AT_LEADER_EPOCH, (uint32_t)leader_epoch);
}

/** The header in host order, for cold code and for code that wants to check a private copy. */
struct mr_batch_header {
    int64_t base_offset;
    int64_t base_timestamp_ms;
    int64_t max_timestamp_ms;
    int64_t producer_id;
    int32_t length;
    int32_t leader_epoch;
    uint32_t crc;
    int32_t last_offset_delta;
    int32_t base_sequence;
    int32_t record_count;
    uint16_t attributes;
    int16_t producer_epoch;
    int8_t magic;
};

static inline void mr_batch_header_read(struct mr_batch_header *header, const uint8_t *batch)
{
    header->base_offset = mr_batch_base_offset(batch);
    header->base_timestamp_ms = mr_batch_base_timestamp(batch);
    header->max_timestamp_ms = mr_batch_max_timestamp(batch);
    header->producer_id = mr_batch_producer_id(batch);
    header->length = mr_batch_length(batch);
    header->leader_epoch = mr_batch_leader_epoch(batch);
    header->crc = mr_batch_crc(batch);
    header->last_offset_delta = mr_batch_last_offset_delta(batch);
    header->base_sequence = mr_batch_base_sequence(batch);
    header->record_count = mr_batch_record_count(batch);
    header->attributes = mr_batch_attributes(batch);
    header->producer_epoch = mr_batch_producer_epoch(batch);
    header->magic = mr_batch_magic(batch);
}

#endif
