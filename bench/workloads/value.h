/* SPDX-License-Identifier: Apache-2.0 */
/* Values that prove what they are: the first word is the record's stamp, the last one follows from it and the run's key, so that a record
 * that is torn, doubled, lost, out of order or of another run is noticed by two loads.
 *
 *   stamp = lane << 48 | sequence      a lane is a producer or a partition: sequences are contiguous in a lane, in order */
#ifndef MR_BENCH_WORKLOADS_VALUE_H
#define MR_BENCH_WORKLOADS_VALUE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "shm/base/bits.h"

#define MR_VALUE_BYTES_MIN  16u
#define MR_VALUE_LANE_SHIFT 48
#define MR_VALUE_LANES_MAX  4096u
#define MR_VALUE_FILLER     0x6161616161616161u

static inline uint64_t mr_value_seal(uint64_t stamp, uint64_t key)
{
    return (stamp ^ key) * 0x9e3779b97f4a7c15u;
}

/** Write a whole value. @param bytes at least MR_VALUE_BYTES_MIN */
static inline void mr_value_fill(void *value, size_t bytes, uint64_t stamp, uint64_t key)
{
    uint64_t seal = mr_value_seal(stamp, key);
    uint8_t *at = value;

    if (bytes == 64) { /* four stores, as a program that copies a tick makes, instead of a call and two more */
        mr_store_pair(at, stamp, MR_VALUE_FILLER);
        mr_store_pair(at + 16, MR_VALUE_FILLER, MR_VALUE_FILLER);
        mr_store_pair(at + 32, MR_VALUE_FILLER, MR_VALUE_FILLER);
        mr_store_pair(at + 48, MR_VALUE_FILLER, seal);
        return;
    }
    memset(at, MR_VALUE_FILLER & 0xff, bytes);
    memcpy(at, &stamp, sizeof stamp);
    memcpy(at + bytes - sizeof seal, &seal, sizeof seal);
}

static inline uint64_t mr_value_stamp(const void *value)
{
    uint64_t stamp;
    memcpy(&stamp, value, sizeof stamp);
    return stamp;
}

/** True if both ends belong to `stamp`. */
static inline int mr_value_is(const void *value, size_t bytes, uint64_t stamp, uint64_t key)
{
    uint64_t seal;
    memcpy(&seal, (const uint8_t *)value + bytes - sizeof seal, sizeof seal);
    return mr_value_stamp(value) == stamp && seal == mr_value_seal(stamp, key);
}

#endif
