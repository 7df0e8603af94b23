/* SPDX-License-Identifier: Apache-2.0 */
/* What every shared structure agrees on. All of shm/abi is fixed-width, little-endian, C only, and shared by processes built at different
 * times: a change of any layout here is a new MR_ABI_VERSION; a daemon accepts clients of its own version. */
#ifndef MR_ABI_ABI_H
#define MR_ABI_ABI_H

#include <assert.h>
#include <stdalign.h>
#include <stdint.h>

#include "shm/base/bits.h"
#include "shm/base/uuid.h"

#define MR_ABI_VERSION 6u

/** Durability of an acknowledgement, weakest first (DESIGN.md section 2.2). */
enum mr_durability {
    MR_DURABILITY_RING = 0,   /* accepted by the owner reactor */
    MR_DURABILITY_LEADER = 1, /* in the leader's memory log: survives every process there */
    MR_DURABILITY_QUORUM = 2, /* in the memory of every in-sync replica */
    MR_DURABILITY_DISK = 3,   /* on stable storage at every in-sync replica */
};

#define MR_TOPIC_NAME_MAX 249 /* Kafka's limit */
#define MR_TOPIC_CONFIG_BYTES 2048u /* a topic's own configuration: lines key=value, terminated */
#define MR_PARTITIONS_MAX 100000u

#endif
