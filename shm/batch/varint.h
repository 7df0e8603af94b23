/* SPDX-License-Identifier: Apache-2.0 */
/* Zig-zag LEB128, as records use it: varint holds 32 bits in at most 5 bytes, varlong 64 bits in at most 10. A longer than necessary
 * form is read like Kafka reads it; bits that do not fit are refused. One and two bytes, all that small records need, are inline. */
#ifndef MR_BATCH_VARINT_H
#define MR_BATCH_VARINT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "shm/base/assert.h"

#define MR_VARINT_BYTES_MAX  5
#define MR_VARLONG_BYTES_MAX 10

static inline uint64_t mr_zigzag(int64_t value)
{
    return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
}

static inline int64_t mr_unzigzag(uint64_t coded)
{
    return (int64_t)((coded >> 1) ^ (0 - (coded & 1)));
}

/** Bytes that a zig-zag coded value takes, 1 to 10. No loop: 9/64 stands in for 1/7, exact for 0 to 63 bits. */
static inline uint32_t mr_varint_bytes(uint64_t coded)
{
    uint32_t top_bit = 63u ^ (uint32_t)__builtin_clzll(coded | 1);
    return (top_bit * 9 + 73) >> 6;
}

/** Write a value below 0x4000 in one or two bytes, its shortest form. @return behind it. Hot. */
static inline uint8_t *mr_varint_put_short(uint8_t *at, uint64_t coded)
{
    if (mr_likely(coded < 0x80)) {
        *at = (uint8_t)coded;
        return at + 1;
    }
    uint16_t both = (uint16_t)((coded & 0x7f) | 0x80 | ((coded >> 7) << 8));
    memcpy(at, &both, sizeof both);
    return at + 2;
}

/** Write any length; @return behind it. */
uint8_t *mr_varint_put_long(uint8_t *at, uint64_t coded);

/** Write a zig-zag coded value; the caller has made sure of mr_varint_bytes(coded) bytes. @return behind it. Hot. */
static inline uint8_t *mr_varint_put(uint8_t *at, uint64_t coded)
{
    return mr_likely(coded < 0x4000) ? mr_varint_put_short(at, coded) : mr_varint_put_long(at, coded);
}

/** Read any length up to bytes_max. @return behind it, or NULL: cut off, too long, or bits beyond 32 (bytes_max 5) or 64. */
const uint8_t *mr_varint_get_long(const uint8_t *at, const uint8_t *end, uint32_t bytes_max, uint64_t *coded);

static inline const uint8_t *mr_varint_get_coded(const uint8_t *at, const uint8_t *end, uint32_t bytes_max, uint64_t *coded)
{
    if (mr_likely(end - at >= 2)) {
        if (mr_likely(at[0] < 0x80)) {
            *coded = at[0];
            return at + 1;
        }
        if (mr_likely(at[1] < 0x80)) {
            *coded = (at[0] & 0x7fu) | (uint32_t)at[1] << 7;
            return at + 2;
        }
    }
    return mr_varint_get_long(at, end, bytes_max, coded);
}

/** Read a varint. @return behind it, or NULL when it is cut off, longer than 5 bytes or wider than 32 bits. Hot. */
static inline const uint8_t *mr_varint_get(const uint8_t *at, const uint8_t *end, int32_t *value)
{
    uint64_t coded;
    const uint8_t *behind = mr_varint_get_coded(at, end, MR_VARINT_BYTES_MAX, &coded);
    if (mr_likely(behind != NULL))
        *value = (int32_t)mr_unzigzag(coded);
    return behind;
}

/** Read a varlong. @return behind it, or NULL when it is cut off, longer than 10 bytes or wider than 64 bits. Hot. */
static inline const uint8_t *mr_varlong_get(const uint8_t *at, const uint8_t *end, int64_t *value)
{
    uint64_t coded;
    const uint8_t *behind = mr_varint_get_coded(at, end, MR_VARLONG_BYTES_MAX, &coded);
    if (mr_likely(behind != NULL))
        *value = mr_unzigzag(coded);
    return behind;
}

#endif
