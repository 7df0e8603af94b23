/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes, alignment and byte order. Kafka's formats are big-endian and unaligned; ours in memory are little-endian and aligned. */
#ifndef MR_BASE_BITS_H
#define MR_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MR_CACHE_LINE  64u
#define MR_BLOCK_BYTES 4096u /* the unit of O_DIRECT writes and of tears between blocks */

#define MR_COUNT_OF(array)           (sizeof(array) / sizeof((array)[0]))
#

static inline uint64_t mr_align_up(uint64_t value, uint64_t power_of_two)
{
    return (value + power_of_two - 1) & ~(power_of_two - 1);
}

static inline uint64_t mr_align_down(uint64_t value, uint64_t power_of_two)
{
    return value & ~(power_of_two - 1);
}

static inline bool mr_is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static inline uint64_t mr_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t mr_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/** Store two words at once, unaligned and not atomic: one entry of the core's store queue instead of two. */
static inline void mr_store_pair(void *at, uint64_t low, uint64_t high)
{
    typedef uint64_t pair __attribute__((vector_size(16)));
    pair both = {low, high};
    memcpy(at, &both, sizeof both);
}

static inline uint16_t mr_be16_get(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap16(v);
}

static inline uint32_t mr_be32_get(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap32(v);
}

static inline uint64_t mr_be64_get(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap64(v);
}

static inline void mr_be16_put(void *p, uint16_t v)
{
    v = __builtin_bswap16(v);
    memcpy(p, &v, sizeof v);
}

static inline void mr_be32_put(void *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, sizeof v);
}

static inline void mr_be64_put(void *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, sizeof v);
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the shared-memory ABI is little-endian");

#endif
