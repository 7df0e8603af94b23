/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/segment/checkpoint.h"

#include <errno.h>

#include "shm/base/bits.h"
#include "shm/base/crc32c.h"

#define CRC_FROM 6 /* behind version and CRC */

int64_t mr_snapshot_encode(const struct mr_snapshot_producer *producers, uint32_t count, uint8_t *at, size_t room)
{
    uint64_t bytes = mr_snapshot_bytes(count);

    if (count > INT32_MAX)
        return -EINVAL;
    if (bytes > room)
        return -ENOSPC;
    mr_be16_put(at, MR_SNAPSHOT_VERSION);
    mr_be32_put(at + 6, count);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *entry = at + mr_snapshot_bytes(i);
        const struct mr_snapshot_producer *p = &producers[i];
        mr_be64_put(entry, (uint64_t)p->producer_id);
        mr_be16_put(entry + 8, (uint16_t)p->epoch);
        mr_be32_put(entry + 10, (uint32_t)p->last_sequence);
        mr_be64_put(entry + 14, (uint64_t)p->last_offset);
        mr_be32_put(entry + 22, (uint32_t)p->offset_delta);
        mr_be64_put(entry + 26, (uint64_t)p->timestamp_ms);
        mr_be32_put(entry + 34, (uint32_t)p->coordinator_epoch);
        mr_be64_put(entry + 38, (uint64_t)p->transaction_first_offset);
    }
    mr_be32_put(at + 2, mr_crc32c(0, at + CRC_FROM, bytes - CRC_FROM));
    return (int64_t)bytes;
}

int64_t mr_snapshot_check(const uint8_t *at, size_t bytes)
{
    if (bytes < MR_SNAPSHOT_HEADER_BYTES)
        return -EBADMSG;
    if (mr_be16_get(at) != MR_SNAPSHOT_VERSION)
        return -ENOTSUP;
    uint32_t count = mr_be32_get(at + 6);
    if (bytes != mr_snapshot_bytes(count) || mr_be32_get(at + 2) != mr_crc32c(0, at + CRC_FROM, bytes - CRC_FROM))
        return -EBADMSG;
    return count;
}

void mr_snapshot_read(const uint8_t *at, uint32_t index, struct mr_snapshot_producer *p)
{
    const uint8_t *entry = at + mr_snapshot_bytes(index);

    p->producer_id = (int64_t)mr_be64_get(entry);
    p->epoch = (int16_t)mr_be16_get(entry + 8);
    p->last_sequence = (int32_t)mr_be32_get(entry + 10);
    p->last_offset = (int64_t)mr_be64_get(entry + 14);
    p->offset_delta = (int32_t)mr_be32_get(entry + 22);
    p->timestamp_ms = (int64_t)mr_be64_get(entry + 26);
    p->coordinator_epoch = (int32_t)mr_be32_get(entry + 34);
    p->transaction_first_offset = (int64_t)mr_be64_get(entry + 38);
}

/* Decimal digits by hand: this file is linked into sans-I/O cores, which may not use stdio. @return behind them */
static char *put_number(char *at, uint64_t value)
{
    char digits[20];
    size_t count = 0;

    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    while (count > 0)
        *at++ = digits[--count];
    return at;
}

int64_t mr_epochs_encode(const struct mr_epoch_start *epochs, uint32_t count, char *text, size_t room)
{
    char line[MR_EPOCH_LINE_BYTES_MAX];
    size_t bytes = 0;

    for (int64_t i = -1; i < (int64_t)count; i++) {
        char *at = line;
        if (i < 0) {
            *at++ = '0'; /* version */
            *at++ = '\n';
            at = put_number(at, count);
        } else {
            at = put_number(at, (uint64_t)epochs[i].epoch);
            *at++ = ' ';
            at = put_number(at, (uint64_t)epochs[i].start_offset);
        }
        *at++ = '\n';
        size_t line_bytes = (size_t)(at - line);
        if (line_bytes > room - bytes)
            return -ENOSPC;
        memcpy(text + bytes, line, line_bytes);
        bytes += line_bytes;
    }
    return (int64_t)bytes;
}

/* A number and the character that must follow. @return behind that, or NULL */
static const char *get_number(const char *at, const char *end, char follows, int64_t max, int64_t *value)
{
    const char *start = at;

    for (*value = 0; at < end && *at >= '0' && *at <= '9'; at++) {
        int64_t digit = *at - '0';
        if (*value > (max - digit) / 10)
            return NULL;
        *value = *value * 10 + digit;
    }
    return at > start && at < end && *at == follows ? at + 1 : NULL;
}

int64_t mr_epochs_decode(const char *text, size_t bytes, struct mr_epoch_start *epochs, uint32_t max)
{
    const char *end = text + bytes;
    int64_t version, count, epoch, start_offset;
    const char *at = get_number(text, end, '\n', INT32_MAX, &version);

    if (at == NULL)
        return -EBADMSG;
    if (version != 0)
        return -ENOTSUP;
    at = get_number(at, end, '\n', INT32_MAX, &count);
    if (at == NULL)
        return -EBADMSG;
    if (count > (int64_t)max)
        return -ENOSPC;
    for (int64_t i = 0; i < count; i++) {
        at = get_number(at, end, ' ', INT32_MAX, &epoch);
        if (at != NULL)
            at = get_number(at, end, '\n', INT64_MAX, &start_offset);
        if (at == NULL || (i > 0 && (epoch <= epochs[i - 1].epoch || start_offset < epochs[i - 1].start_offset)))
            return -EBADMSG;
        epochs[i].epoch = (int32_t)epoch;
        epochs[i].start_offset = start_offset;
    }
    return at == end ? count : -EBADMSG;
}
