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

/** @return 1 and the record; 0 at the end; -EBADMSG: corrupt here, iterate no further. Hot. */
MR_HOT MR_MUST_USE static inline int mr_batch_next(struct mr_batch_iterator *it, struct mr_batch_record *record)
{
    const uint8_t *at = it->next;
    const uint8_t *end = it->end;
    int32_t length, offset_delta, key_bytes, value_bytes, header_count;
    int64_t time_delta;

    if (mr_unlikely(it->left == 0))
        return at == end ? 0 : -EBADMSG;
    at = mr_varint_get(at, end, &length);
    if (mr_unlikely(at == NULL || length < MR_BATCH_RECORD_BYTES_MIN - 1 || length > end - at))
        return -EBADMSG;
    end = at + length;
    at = mr_varlong_get(at + 1, end, &time_delta); /* behind the record's attributes, which mean nothing yet */
    if (mr_unlikely(at == NULL))
        return -EBADMSG;
    at = mr_varint_get(at, end, &offset_delta);
    if (mr_unlikely(at == NULL || (uint32_t)offset_delta > (uint32_t)it->last_offset_delta))
        return -EBADMSG;
    at = mr_varint_get(at, end, &key_bytes);
    if (mr_unlikely(at == NULL || key_bytes < -1 || key_bytes > end - at))
        return -EBADMSG;
    record->key = NULL;
    if (key_bytes >= 0) {
        record->key = at;
        at += key_bytes;
    }
    at = mr_varint_get(at, end, &value_bytes);
    if (mr_unlikely(at == NULL || value_bytes < -1 || value_bytes > end - at))
        return -EBADMSG;
    record->value = NULL;
    if (mr_likely(value_bytes >= 0)) {
        record->value = at;
        at += value_bytes;
    }
    at = mr_varint_get(at, end, &header_count);
    if (mr_unlikely(at == NULL || header_count < 0 || header_count > (end - at) / 2 || (header_count == 0 && at != end)))
        return -EBADMSG;
    record->headers = at;
    record->header_bytes = (uint32_t)(end - at);
    record->header_count = (uint32_t)header_count;
    record->key_bytes = key_bytes;
    record->value_bytes = value_bytes;
    record->offset = it->base_offset + offset_delta;
    record->timestamp_ms =
        mr_unlikely(it->is_append_time) ? it->append_time_ms : (int64_t)((uint64_t)it->base_timestamp_ms + (uint64_t)time_delta);
    it->next = end;
    it->left--;
    return 1;
}

/** Which marker a control record is: MR_BATCH_MARKER_ABORT, MR_BATCH_MARKER_COMMIT or a type to ignore. -EBADMSG if it is none. */
int mr_batch_marker_read(const struct mr_batch_record *record, int32_t *coordinator_epoch);

#endif
