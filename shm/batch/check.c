/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/base/crc32c.h"
#include "shm/batch/batch.h"

enum mr_batch_reason mr_batch_check_header(const uint8_t *batch, uint64_t available_bytes)
{
    if (available_bytes < MR_BATCH_HEADER_BYTES)
        return MR_BATCH_BAD_SHORT;
    int64_t total_bytes = mr_batch_total_bytes(batch);
    if (total_bytes < MR_BATCH_HEADER_BYTES)
        return MR_BATCH_BAD_LENGTH;
    if ((uint64_t)total_bytes > available_bytes)
        return MR_BATCH_BAD_TRUNCATED;
    if (mr_batch_magic(batch) != MR_BATCH_MAGIC)
        return MR_BATCH_BAD_MAGIC;
    uint16_t attributes = mr_batch_attributes(batch);
    if ((attributes & ~MR_BATCH_ATTRIBUTES_KNOWN) != 0 || (attributes & MR_BATCH_CODEC_MASK) >= MR_BATCH_CODEC_COUNT)
        return MR_BATCH_BAD_ATTRIBUTES;
    int64_t base_offset = mr_batch_base_offset(batch);
    int32_t last_offset_delta = mr_batch_last_offset_delta(batch);
    if (base_offset < 0 || last_offset_delta < 0 || base_offset >= INT64_MAX - last_offset_delta) /* the next offset must exist too */
        return MR_BATCH_BAD_OFFSETS;
    int32_t count = mr_batch_record_count(batch);
    if (count < 0 || (int64_t)count > (int64_t)last_offset_delta + 1)
        return MR_BATCH_BAD_COUNT;
    if ((attributes & MR_BATCH_CODEC_MASK) == 0 && (int64_t)count * MR_BATCH_RECORD_BYTES_MIN > total_bytes - MR_BATCH_HEADER_BYTES)
        return MR_BATCH_BAD_COUNT;
    return MR_BATCH_OK;
}

enum mr_batch_reason mr_batch_check_records(const uint8_t *header, const uint8_t *records, size_t record_bytes, unsigned flags)
{
    bool compacted = (flags & MR_BATCH_CHECK_COMPACTED) != 0;
    struct mr_batch_iterator it;
    struct mr_batch_record record;
    int64_t base_offset = mr_batch_base_offset(header);
    int64_t expected = base_offset;
    int rc;

    mr_batch_iterator_init_records(&it, header, records, record_bytes);
    /* The iterator's end is exact on its own; asking before each record keeps apart "garbage behind" and "bad record". */
    while (it.left > 0) { /* bound: seven bytes or more each */
        rc = mr_batch_next(&it, &record);
        if (rc != 1)
            return MR_BATCH_BAD_RECORD;
        if (compacted ? record.offset < expected : record.offset != expected)
            return MR_BATCH_BAD_OFFSET_DELTA;
        expected = record.offset + 1;
        if (record.header_count > 0 && !mr_record_headers_check(record.headers, record.header_bytes, record.header_count))
            return MR_BATCH_BAD_HEADERS;
    }
    return it.next == it.end ? MR_BATCH_OK : MR_BATCH_BAD_END;
}

enum mr_batch_reason mr_batch_check(const uint8_t *batch, uint64_t available_bytes, unsigned flags)
{
    enum mr_batch_reason reason = mr_batch_check_header(batch, available_bytes);
    if (reason != MR_BATCH_OK)
        return reason;
    size_t total_bytes = (size_t)mr_batch_total_bytes(batch);
    if (mr_crc32c(0, batch + MR_BATCH_CRC_FROM, total_bytes - MR_BATCH_CRC_FROM) != mr_batch_crc(batch))
        return MR_BATCH_BAD_CRC;
    if ((flags & MR_BATCH_CHECK_COMPACTED) == 0 && mr_batch_record_count(batch) != (int64_t)mr_batch_last_offset_delta(batch) + 1)
        return MR_BATCH_BAD_GAP;
    if ((flags & MR_BATCH_CHECK_NO_WALK) != 0 || mr_batch_codec(batch) != MR_BATCH_CODEC_NONE)
        return MR_BATCH_OK;
    return mr_batch_check_records(batch, batch + MR_BATCH_HEADER_BYTES, total_bytes - MR_BATCH_HEADER_BYTES, flags);
}

const char *mr_batch_reason_text(enum mr_batch_reason reason)
{
    static const char *const text[MR_BATCH_REASON_COUNT] = {
        [MR_BATCH_OK] = "ok",
        [MR_BATCH_BAD_SHORT] = "fewer bytes than a batch header",
        [MR_BATCH_BAD_LENGTH] = "length field smaller than a header",
        [MR_BATCH_BAD_TRUNCATED] = "batch longer than the bytes there",
        [MR_BATCH_BAD_MAGIC] = "magic is not 2",
        [MR_BATCH_BAD_ATTRIBUTES] = "unknown codec or reserved attribute bits",
        [MR_BATCH_BAD_OFFSETS] = "offsets out of range",
        [MR_BATCH_BAD_COUNT] = "record count out of range",
        [MR_BATCH_BAD_CRC] = "crc mismatch",
        [MR_BATCH_BAD_GAP] = "record count and last offset disagree",
        [MR_BATCH_BAD_RECORD] = "malformed record",
        [MR_BATCH_BAD_OFFSET_DELTA] = "offset deltas out of order",
        [MR_BATCH_BAD_HEADERS] = "malformed record headers",
        [MR_BATCH_BAD_END] = "bytes behind the last record",
    };

    return (unsigned)reason < MR_BATCH_REASON_COUNT ? text[reason] : "unknown";
}

const char *mr_batch_codec_name(enum mr_batch_codec codec)
{
    static const char *const name[MR_BATCH_CODEC_COUNT] = {"none", "gzip", "snappy", "lz4", "zstd"};

    return (unsigned)codec < MR_BATCH_CODEC_COUNT ? name[codec] : "unknown";
}
