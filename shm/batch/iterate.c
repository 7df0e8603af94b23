/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/batch/batch.h"

void mr_batch_iterator_init_records(struct mr_batch_iterator *it, const uint8_t *batch, const uint8_t *records, size_t record_bytes)
{
    int32_t count = mr_batch_record_count(batch);

    it->next = records;
    it->end = records + record_bytes;
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

int mr_batch_marker_read(const struct mr_batch_record *record, int32_t *coordinator_epoch)
{
    if (record->key_bytes < 4 || record->value_bytes < 6)
        return -EBADMSG;
    *coordinator_epoch = (int32_t)mr_be32_get(record->value + 2);
    int type = (int16_t)mr_be16_get(record->key + 2);
    return type >= 0 ? type : -EBADMSG;
}
