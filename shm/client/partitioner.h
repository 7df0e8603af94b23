/* SPDX-License-Identifier: Apache-2.0 */
/* Kafka's default partitioner for records with a key, bit for bit, so that a key lands where a Kafka client puts it. */
#ifndef MR_CLIENT_PARTITIONER_H
#define MR_CLIENT_PARTITIONER_H

#include <stddef.h>
#include <stdint.h>

/** MurmurHash2, 32 bits, seed 0x9747b28c, words little-endian (org.apache.kafka.common.utils.Utils.murmur2). */
uint32_t mr_murmur2(const void *key, size_t bytes);

/** @param partition_count > 0 */
static inline uint32_t mr_partition_of_key(const void *key, size_t bytes, uint32_t partition_count)
{
    return (mr_murmur2(key, bytes) & INT32_MAX) % partition_count; /* Kafka's toPositive() clears the sign */
}

#endif
