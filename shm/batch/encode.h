/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a batch, in place, into memory that its writer owns.
 *
 *   mr_batch_open -> mr_batch_add_value | mr_batch_add | a run of values (run.h) ... -> mr_batch_close
 *
 * W1  The header is written by close: before it the bytes at `at` are no batch, whatever lies there.
 * W2  A record that does not fit leaves the writer as it was; what was added before can still be closed.
 * W3  Lengths come from the arguments only. Values may lie in memory that another process changes during the copy: what the copy
 *     caught is the record, and the CRC is taken from the destination. */
#ifndef MR_BATCH_ENCODE_H
#define MR_BATCH_ENCODE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "shm/base/assert.h"
#include "shm/batch/format.h"
#include "shm/batch/varint.h"

struct mr_batch_writer {
    uint8_t *next; /* where the next record goes */
    uint8_t *end;
    int64_t base_timestamp_ms; /* of the first record; no meaning while count is 0 */
    int64_t max_timestamp_ms;
    uint32_t count;
    uint16_t attributes; /* 0 after open; the caller may set APPEND_TIME, TRANSACTIONAL, CONTROL before close; no codec */
    int16_t producer_epoch;
    uint8_t *at; /* the batch */
    int64_t producer_id;
    int64_t base_offset;
    int32_t base_sequence;
    int32_t leader_epoch;
};

/**
 * Begin a batch at `at`, which stays the caller's and holds `room` bytes. Hot.
 *
 * @param producer_id   -1 none, then epoch and sequence are -1 too
 * @param base_offset   offset of the first record; mr_batch_stamp() can change it and the leader epoch later
 */
static inline void mr_batch_open(struct mr_batch_writer *writer, uint8_t *at, size_t room, int64_t producer_id, int16_t producer_epoch,
                                 int32_t base_sequence, int64_t base_offset, int32_t leader_epoch)
{
    writer->at = at;
    /* With less room than a header there is room for no record; the subtraction below must not run past `at`. */
    writer->next = at + (room < MR_BATCH_HEADER_BYTES ? room : MR_BATCH_HEADER_BYTES);
    writer->end = at + (room < INT32_MAX ? room : INT32_MAX); /* so that every length below fits its field */
    writer->count = 0;
    writer->attributes = 0;
    writer->producer_id = producer_id;
    writer->producer_epoch = producer_epoch;
    writer->base_sequence = base_sequence;
    writer->base_offset = base_offset;
    writer->leader_epoch = leader_epoch;
    writer->base_timestamp_ms = 0;
    writer->max_timestamp_ms = 0;
}

/** Bytes of the batch so far; mr_batch_close() would return this (0 while it is empty). */
static inline uint32_t mr_batch_writer_bytes(const struct mr_batch_writer *writer)
{
    return writer->count == 0 ? 0 : (uint32_t)(writer->next - writer->at);
}

/* Time since the first record, zig-zag. In unsigned arithmetic: times are a client's, and their difference may wrap (readers wrap back). */
static inline uint64_t mr_batch_coded_time(const struct mr_batch_writer *writer, int64_t timestamp_ms)
{
    return writer->count == 0 ? 0 : mr_zigzag((int64_t)((uint64_t)timestamp_ms - (uint64_t)writer->base_timestamp_ms));
}

static inline uint64_t mr_batch_record_body_bytes(uint64_t coded_time, uint32_t offset_delta, int32_t key_bytes, int32_t value_bytes,
                                                  uint32_t header_bytes, uint32_t header_count)
{
    return 1 + mr_varint_bytes(coded_time) + mr_varint_bytes((uint64_t)offset_delta << 1) + mr_varint_bytes(mr_zigzag(key_bytes)) +
           (key_bytes > 0 ? (uint64_t)key_bytes : 0) + mr_varint_bytes(mr_zigzag(value_bytes)) +
           (value_bytes > 0 ? (uint64_t)value_bytes : 0) + mr_varint_bytes((uint64_t)header_count << 1) + header_bytes;
}

/**
 * Exact bytes that mr_batch_add() with these arguments would take now (the deltas depend on what is in the batch).
 * It fits if this is at most mr_batch_room(). @param key_bytes, value_bytes -1 for null
 */
static inline uint64_t mr_batch_record_bytes(const struct mr_batch_writer *writer, int64_t timestamp_ms, int32_t key_bytes,
                                             int32_t value_bytes, uint32_t header_bytes, uint32_t header_count)
{
    uint64_t body = mr_batch_record_body_bytes(mr_batch_coded_time(writer, timestamp_ms), writer->count, key_bytes, value_bytes,
                                               header_bytes, header_count);
    return mr_varint_bytes(body << 1) + body;
}

/** Bytes left for records. */
static inline uint64_t mr_batch_room(const struct mr_batch_writer *writer)
{
    return (uint64_t)(writer->end - writer->next);
}

static inline void mr_batch_count_record(struct mr_batch_writer *writer, int64_t timestamp_ms, uint8_t *next)
{
    if (writer->count == 0) {
        writer->base_timestamp_ms = timestamp_ms;
        writer->max_timestamp_ms = timestamp_ms;
    }
    if (timestamp_ms > writer->max_timestamp_ms)
        writer->max_timestamp_ms = timestamp_ms;
    writer->count++;
    writer->next = next;
}

/**
 * Add a record that is a value and nothing else: null key, no headers. The long way; runs of them: run.h.
 *
 * @param value  value_bytes bytes; may be hostile memory (W3)
 * @return false if it does not fit (W2)
 */
MR_MUST_USE bool mr_batch_add_value(struct mr_batch_writer *writer, int64_t timestamp_ms, const void *value, uint32_t value_bytes);

/**
 * Add any record.
 *
 * @param key_bytes, value_bytes  -1 for null (the pointer is then ignored)
 * @param headers  a block as in shm/batch/headers.h; checked here, in its copy, since the original may be hostile memory
 * @return 0; -ENOSPC: does not fit; -EBADMSG: the block is not exactly header_count headers; -EINVAL: a length below -1.
 *         After an error the writer is as it was (W2).
 */
MR_MUST_USE int mr_batch_add(struct mr_batch_writer *writer, int64_t timestamp_ms, const void *key, int32_t key_bytes, const void *value,
                             int32_t value_bytes, const uint8_t *headers, uint32_t header_bytes, uint32_t header_count);

/**
 * Write the header: length, last offset delta, times, count, and the CRC of what lies in the destination. From here on it is a batch.
 * With APPEND_TIME set the caller sets writer->max_timestamp_ms to the append time first.
 *
 * @return bytes of the batch; 0 (and nothing written) if no record was added. Hot.
 */
MR_HOT uint32_t mr_batch_close(struct mr_batch_writer *writer);

/** Compute the CRC of a batch in place and store it: after a change to attributes or max timestamp. Batch header checked. */
void mr_batch_seal(uint8_t *batch);

/** Make a client's batch one of a LogAppendTime topic: bit 3, max timestamp, new CRC. */
void mr_batch_set_append_time(uint8_t *batch, int64_t append_time_ms);

enum mr_batch_marker {
    MR_BATCH_MARKER_ABORT = 0,
    MR_BATCH_MARKER_COMMIT = 1,
};

#define MR_BATCH_MARKER_BYTES 78 /* 61 + a record with a 4-byte key and a 6-byte value */

/** Write the control batch that ends a transaction; one record, one offset. @param at MR_BATCH_MARKER_BYTES bytes */
void mr_batch_write_marker(uint8_t *at, enum mr_batch_marker marker, int64_t timestamp_ms, int64_t producer_id, int16_t producer_epoch,
                           int32_t coordinator_epoch, int64_t base_offset, int32_t leader_epoch);

#endif
