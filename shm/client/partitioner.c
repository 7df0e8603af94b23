/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/client/partitioner.h"

#include <string.h>

uint32_t mr_murmur2(const void *key, size_t bytes)
{
    const uint32_t m = 0x5bd1e995;
    const uint8_t *at = key;
    uint32_t hash = 0x9747b28cu ^ (uint32_t)bytes;

    for (; bytes >= 4; bytes -= 4, at += 4) {
        uint32_t k;
        memcpy(&k, at, 4);
        k *= m;
        k ^= k >> 24;
        k *= m;
        hash = hash * m ^ k;
    }
    if (bytes >= 3)
        hash ^= (uint32_t)at[2] << 16;
    if (bytes >= 2)
        hash ^= (uint32_t)at[1] << 8;
    if (bytes >= 1)
        hash = (hash ^ at[0]) * m;
    hash ^= hash >> 13;
    hash *= m;
    return hash ^ hash >> 15;
}
