/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/segment/index.h"

#include <errno.h>

#include "shm/base/bits.h"

static bool fits(const struct mr_index_point *point, uint64_t base_offset)
{
    return point->last_offset - base_offset <= INT32_MAX && point->max_offset - base_offset <= INT32_MAX && point->position <= INT32_MAX;
}

size_t mr_index_encode(const struct mr_index_point *points, uint32_t count, uint64_t base_offset, uint8_t *out)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (!fits(&points[i], base_offset))
            break;
        mr_be32_put(out + bytes, (uint32_t)(points[i].last_offset - base_offset));
        mr_be32_put(out + bytes + 4, (uint32_t)points[i].position);
        bytes += MR_INDEX_ENTRY_BYTES;
    }
    return bytes;
}

size_t mr_time_index_encode(const struct mr_index_point *points, uint32_t count, uint64_t base_offset, uint8_t *out)
{
    size_t bytes = 0;
    int64_t last_ms = INT64_MIN;

    for (uint32_t i = 0; i < count; i++) {
        if (!fits(&points[i], base_offset))
            break;
        if (points[i].max_timestamp_ms <= last_ms)
            continue;
        last_ms = points[i].max_timestamp_ms;
        mr_be64_put(out + bytes, (uint64_t)last_ms);
        mr_be32_put(out + bytes + 8, (uint32_t)(points[i].max_offset - base_offset));
        bytes += MR_TIME_INDEX_ENTRY_BYTES;
    }
    return bytes;
}

static int64_t time_at(const uint8_t *bytes, size_t entry)
{
    return (int64_t)mr_be64_get(bytes + entry * MR_TIME_INDEX_ENTRY_BYTES);
}

static uint32_t offset_at(const uint8_t *bytes, size_t entry)
{
    return mr_be32_get(bytes + entry * MR_TIME_INDEX_ENTRY_BYTES + 8);
}

int mr_time_index_find(const uint8_t *bytes, size_t size, uint64_t base_offset, int64_t time_ms, struct mr_time_index_hint *hint)
{
    size_t count = size / MR_TIME_INDEX_ENTRY_BYTES, low = 0, high = count;

    if (count == 0 || size % MR_TIME_INDEX_ENTRY_BYTES != 0)
        return -EBADMSG;
    for (size_t i = 0; i < count; i++)
        if (offset_at(bytes, i) > INT32_MAX || (i > 0 && (time_at(bytes, i) <= time_at(bytes, i - 1) || offset_at(bytes, i) <= offset_at(bytes, i - 1))))
            return -EBADMSG;
    while (low < high) { /* the first that is not older */
        size_t middle = low + (high - low) / 2;
        if (time_at(bytes, middle) < time_ms)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return 0;
    hint->offset = base_offset + offset_at(bytes, low - 1);
    hint->timestamp_ms = time_at(bytes, low - 1);
    hint->all_before = low == count;
    return 1;
}
