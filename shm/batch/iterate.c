/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/batch/batch.h"

void mr_batch_iterator_init_records(struct mr_batch_iterator *it, const uint8_t *batch, const uint8_t *records, size_t record_bytes)
{
    int32_t count = mr_batch_record_count(batch);

    it->next = records;
    it->end = record_bytes == 0 ? records : records + record_bytes; /* records may be NULL then, and NULL + 0 is undefined */
    it->base_offset = mr_batch_base_offset(batch);
    it->base_timestamp_ms = mr_batch_base_timestamp(batch);
    it->append_time_ms = mr_batch_max_timestamp(batch);
    it->left = count < 0 ? 0 : (uint32_t)count;
    it->last_offset_delta = mr_batch_last_offset_delta(batch);
    it->is_append_time = mr_batch_is_append_time(batch);
    it->is_control = mr_batch_is_control(batch);
}

int mr_batch_iterator_init(struct mr_batch_iterator *it, const uint8_t *batch, size_t bytes)
{
    uint8_t header[MR_BATCH_HEADER_BYTES];

    if (bytes < sizeof header)
        return -EBADMSG;
    memcpy(header, batch, sizeof header); /* checked and used from one copy: the batch may be recycled meanwhile */
    if (mr_batch_check_header(header, bytes) != MR_BATCH_OK)
        return -EBADMSG;
    if (mr_batch_codec(header) != MR_BATCH_CODEC_NONE)
        return -EOPNOTSUPP;
    mr_batch_iterator_init_records(it, header, batch + sizeof header, (size_t)mr_batch_total_bytes(header) - sizeof header);
    return 0;
}

int mr_batch_next_any(struct mr_batch_iterator *it, struct mr_batch_record *record)
{
    const uint8_t *at = it->next;
    const uint8_t *end = it->end;
    int32_t length, offset_delta, key_bytes, value_bytes, header_count;
    int64_t time_delta;

    if (it->left == 0)
        return at == end ? 0 : -EBADMSG;
    at = mr_varint_get(at, end, &length);
    if (at == NULL || length < MR_BATCH_RECORD_BYTES_MIN - 1 || length > end - at)
        return -EBADMSG;
    end = at + length;
    at = mr_varlong_get(at + 1, end, &time_delta); /* behind the record's attributes, which mean nothing yet */
    if (at == NULL)
        return -EBADMSG;
    at = mr_varint_get(at, end, &offset_delta);
    if (at == NULL || (uint32_t)offset_delta > (uint32_t)it->last_offset_delta)
        return -EBADMSG;
    at = mr_varint_get(at, end, &key_bytes);
    if (at == NULL || key_bytes < -1 || key_bytes > end - at)
        return -EBADMSG;
    record->key = NULL;
    if (key_bytes >= 0) {
        record->key = at;
        at += key_bytes;
    }
    at = mr_varint_get(at, end, &value_bytes);
    if (at == NULL || value_bytes < -1 || value_bytes > end - at)
        return -EBADMSG;
    record->value = NULL;
    if (value_bytes >= 0) {
        record->value = at;
        at += value_bytes;
    }
    at = mr_varint_get(at, end, &header_count);
    if (at == NULL || header_count < 0 || header_count > (end - at) / 2 || (header_count == 0 && at != end))
        return -EBADMSG;
    record->headers = at;
    record->header_bytes = (uint32_t)(end - at);
    record->header_count = (uint32_t)header_count;
    record->key_bytes = key_bytes;
    record->value_bytes = value_bytes;
    record->offset = it->base_offset + offset_delta;
    record->timestamp_ms = it->is_append_time ? it->append_time_ms : (int64_t)((uint64_t)it->base_timestamp_ms + (uint64_t)time_delta);
    it->next = end;
    it->left--;
    return 1;
}

int mr_batch_marker_read(const struct mr_batch_record *record, int32_t *coordinator_epoch)
{
    if (record->key_bytes < 4 || record->value_bytes < 6)
        return -EBADMSG;
    *coordinator_epoch = (int32_t)mr_be32_get(record->value + 2);
    int type = (int16_t)mr_be16_get(record->key + 2);
    return type >= 0 ? type : -EBADMSG;
}
