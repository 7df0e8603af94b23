/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/batch/headers.h"

#include <errno.h>
#include <string.h>

#include "shm/batch/varint.h"

static uint64_t field_bytes(int32_t bytes)
{
    return mr_varint_bytes(mr_zigzag(bytes)) + (bytes > 0 ? (uint64_t)bytes : 0);
}

uint64_t mr_record_headers_bytes(const struct mr_record_header *headers, uint32_t count)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < count; i++)
        bytes += field_bytes(headers[i].key_bytes) + field_bytes(headers[i].value_bytes);
    return bytes;
}

static uint8_t *put_field(uint8_t *at, const void *field, int32_t bytes)
{
    at = mr_varint_put(at, mr_zigzag(bytes));
    if (bytes > 0) {
        memcpy(at, field, (size_t)bytes);
        at += bytes;
    }
    return at;
}

int64_t mr_record_headers_encode(const struct mr_record_header *headers, uint32_t count, uint8_t *block, size_t room)
{
    uint8_t *at = block;

    for (uint32_t i = 0; i < count; i++)
        if (headers[i].key_bytes < 0 || headers[i].value_bytes < -1)
            return -EINVAL;
    if (mr_record_headers_bytes(headers, count) > room)
        return -ENOSPC;
    for (uint32_t i = 0; i < count; i++) {
        at = put_field(at, headers[i].key, headers[i].key_bytes);
        at = put_field(at, headers[i].value, headers[i].value_bytes);
    }
    return at - block;
}

int mr_record_headers_next(const uint8_t **at, const uint8_t *end, struct mr_record_header *header)
{
    const uint8_t *p = *at;

    if (p == end)
        return 0;
    p = mr_varint_get(p, end, &header->key_bytes);
    if (p == NULL || header->key_bytes < 0 || header->key_bytes > end - p)
        return -EBADMSG;
    header->key = p;
    p = mr_varint_get(p + header->key_bytes, end, &header->value_bytes);
    if (p == NULL || header->value_bytes < -1 || header->value_bytes > end - p)
        return -EBADMSG;
    header->value = header->value_bytes >= 0 ? p : NULL;
    *at = header->value_bytes > 0 ? p + header->value_bytes : p;
    return 1;
}

bool mr_record_headers_check(const uint8_t *block, size_t bytes, uint32_t count)
{
    const uint8_t *at = block;
    struct mr_record_header header;
    uint32_t seen = 0;
    int rc;

    if (bytes == 0)
        return count == 0; /* the block may be NULL then, and NULL + 0 is undefined */
    while ((rc = mr_record_headers_next(&at, block + bytes, &header)) == 1) /* bound: two bytes or more of the block each */
        seen++;
    return rc == 0 && seen == count;
}
