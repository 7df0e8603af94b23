/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/batch/encode.h"

#include "shm/base/crc32c.h"
#include "shm/batch/headers.h"

static uint8_t *put_field(uint8_t *at, const void *field, int32_t bytes)
{
    at = mr_varint_put(at, mr_zigzag(bytes));
    if (bytes > 0) {
        memcpy(at, field, (size_t)bytes);
        at += bytes;
    }
    return at;
}

bool mr_batch_add_value(struct mr_batch_writer *writer, int64_t timestamp_ms, const void *value, uint32_t value_bytes)
{
    return value_bytes <= INT32_MAX && mr_batch_add(writer, timestamp_ms, NULL, -1, value, (int32_t)value_bytes, NULL, 0, 0) == 0;
}

int mr_batch_add(struct mr_batch_writer *writer, int64_t timestamp_ms, const void *key, int32_t key_bytes, const void *value,
                 int32_t value_bytes, const uint8_t *headers, uint32_t header_bytes, uint32_t header_count)
{
    if (key_bytes < -1 || value_bytes < -1)
        return -EINVAL;
    uint64_t coded_time = mr_batch_coded_time(writer, timestamp_ms);
    uint64_t body = mr_batch_record_body_bytes(coded_time, writer->count, key_bytes, value_bytes, header_bytes, header_count);
    if (mr_varint_bytes(body << 1) + body > mr_batch_room(writer))
        return -ENOSPC;

    uint8_t *at = mr_varint_put(writer->next, body << 1);
    *at++ = 0;
    at = mr_varint_put(at, coded_time);
    at = mr_varint_put(at, (uint64_t)writer->count << 1);
    at = put_field(at, key, key_bytes);
    at = put_field(at, value, value_bytes);
    at = mr_varint_put(at, (uint64_t)header_count << 1);
    if (header_bytes > 0)
        memcpy(at, headers, header_bytes);
    if (!mr_record_headers_check(at, header_bytes, header_count))
        return -EBADMSG;
    mr_batch_count_record(writer, timestamp_ms, at + header_bytes);
    return 0;
}

void mr_batch_seal(uint8_t *batch)
{
    size_t covered_bytes = (size_t)mr_batch_total_bytes(batch) - MR_BATCH_CRC_FROM;
    mr_be32_put(batch + MR_BATCH_AT_CRC, mr_crc32c(0, batch + MR_BATCH_CRC_FROM, covered_bytes));
}

uint32_t mr_batch_close(struct mr_batch_writer *writer)
{
    uint8_t *at = writer->at;

    if (writer->count == 0)
        return 0;
    mr_check((writer->attributes & (MR_BATCH_CODEC_MASK | ~MR_BATCH_ATTRIBUTES_KNOWN)) == 0);
    uint32_t bytes = (uint32_t)(writer->next - at);
    mr_be64_put(at + MR_BATCH_AT_BASE_OFFSET, (uint64_t)writer->base_offset);
    mr_be32_put(at + MR_BATCH_AT_LENGTH, bytes - MR_BATCH_LENGTH_OVERHEAD);
    mr_be32_put(at + MR_BATCH_AT_LEADER_EPOCH, (uint32_t)writer->leader_epoch);
    at[MR_BATCH_AT_MAGIC] = MR_BATCH_MAGIC;
    mr_be16_put(at + MR_BATCH_AT_ATTRIBUTES, writer->attributes);
    mr_be32_put(at + MR_BATCH_AT_LAST_OFFSET_DELTA, writer->count - 1);
    mr_be64_put(at + MR_BATCH_AT_BASE_TIMESTAMP, (uint64_t)writer->base_timestamp_ms);
    mr_be64_put(at + MR_BATCH_AT_MAX_TIMESTAMP, (uint64_t)writer->max_timestamp_ms);
    mr_be64_put(at + MR_BATCH_AT_PRODUCER_ID, (uint64_t)writer->producer_id);
    mr_be16_put(at + MR_BATCH_AT_PRODUCER_EPOCH, (uint16_t)writer->producer_epoch);
    mr_be32_put(at + MR_BATCH_AT_BASE_SEQUENCE, (uint32_t)writer->base_sequence);
    mr_be32_put(at + MR_BATCH_AT_RECORD_COUNT, writer->count);
    mr_be32_put(at + MR_BATCH_AT_CRC, mr_crc32c(0, at + MR_BATCH_CRC_FROM, bytes - MR_BATCH_CRC_FROM));
    return bytes;
}

void mr_batch_set_append_time(uint8_t *batch, int64_t append_time_ms)
{
    mr_be16_put(batch + MR_BATCH_AT_ATTRIBUTES, mr_batch_attributes(batch) | MR_BATCH_APPEND_TIME);
    mr_be64_put(batch + MR_BATCH_AT_MAX_TIMESTAMP, (uint64_t)append_time_ms);
    mr_batch_seal(batch);
}

void mr_batch_write_marker(uint8_t *at, enum mr_batch_marker marker, int64_t timestamp_ms, int64_t producer_id, int16_t producer_epoch,
                           int32_t coordinator_epoch, int64_t base_offset, int32_t leader_epoch)
{
    struct mr_batch_writer writer;
    uint8_t key[4] = {0}, value[6] = {0}; /* both open with version 0 */

    mr_be16_put(key + 2, (uint16_t)marker);
    mr_be32_put(value + 2, (uint32_t)coordinator_epoch);
    mr_batch_open(&writer, at, MR_BATCH_MARKER_BYTES, producer_id, producer_epoch, -1, base_offset, leader_epoch);
    writer.attributes = MR_BATCH_TRANSACTIONAL | MR_BATCH_CONTROL;
    int rc = mr_batch_add(&writer, timestamp_ms, key, sizeof key, value, sizeof value, NULL, 0, 0);
    mr_assert(rc == 0);
    uint32_t bytes = mr_batch_close(&writer);
    mr_assert(bytes == MR_BATCH_MARKER_BYTES);
}
