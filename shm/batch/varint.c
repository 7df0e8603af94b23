/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/batch/varint.h"

uint8_t *mr_varint_put_long(uint8_t *at, uint64_t coded)
{
    while (coded >= 0x80) { /* at most nine times: 64 bits in groups of seven */
        *at++ = (uint8_t)(coded | 0x80);
        coded >>= 7;
    }
    *at++ = (uint8_t)coded;
    return at;
}

const uint8_t *mr_varint_get_long(const uint8_t *at, const uint8_t *end, uint32_t bytes_max, uint64_t *coded)
{
    uint32_t bits_max = bytes_max == MR_VARINT_BYTES_MAX ? 32 : 64;
    uint64_t value = 0;

    for (uint32_t i = 0; i < bytes_max && at < end; i++) {
        uint64_t group = *at & 0x7fu;
        uint32_t shift = 7 * i;
        if (shift + 7 > bits_max && (group >> (bits_max - shift)) != 0)
            return NULL;
        value |= group << shift;
        if (*at++ < 0x80) {
            *coded = value;
            return at;
        }
    }
    return NULL;
}
