/* SPDX-License-Identifier: Apache-2.0 */
/* The head: one named memory file per topic, read-only to clients, written by the daemon: where each partition's log stands and where its
 * live extents are. It outlives the daemon; the next one adopts it.
 *
 *   0      struct mr_head
 *   4096   struct mr_head_partition[partition_capacity]
 *
 * Edge V (visible): the owner reactor stores `visible`, release -> a reader loads it, acquire: every batch below it is complete, and so
 * are the seals and directory entries on the way. Other words are hints with relaxed order, or say so. */
#ifndef MR_ABI_HEAD_H
#define MR_ABI_HEAD_H

#include <stdatomic.h>

#include "shm/abi/abi.h"

#define MR_HEAD_MAGIC   0x316461656872724du /* "Mrrhead1" */
#define MR_HEAD_VERSION 2u

#define MR_HEAD_DIRECTORY_COUNT 128u /* live extents of a partition at most; entry = sequence mod this */

struct mr_head {
    uint64_t magic;
    uint32_t version;
    uint32_t partition_capacity;
    struct mr_uuid boot_id;
    struct mr_uuid topic_id;
    char name[256];
    uint32_t durability;            /* enum mr_durability: what consumers see and acks=all waits for */
    uint32_t message_bytes_max;
    uint32_t slot_bytes;            /* size of each slot in the slot file */
    uint32_t extent_bytes;          /* size of each hugepage extent */
    _Atomic uint32_t partition_count; /* moves last when a topic grows (release) */
    _Atomic uint32_t deleted;         /* 1: the topic is no more, and this head is nobody's */
    _Atomic uint64_t daemon_generation; /* advanced by each daemon that takes the data directory over */
};
static_assert(sizeof(struct mr_head) <= 4096, "ABI");

/** file_id of a directory entry: the top bit marks a slot, the rest is its index in the slot file, or the number of an extent file. */
#define MR_EXTENT_FILE_SLOT 0x80000000u

struct mr_head_directory_entry {
    _Atomic uint64_t sequence; /* 0: none. Stored after file_id (release), cleared before the extent is reused */
    _Atomic uint32_t file_id;
    uint32_t reserved;
};
static_assert(sizeof(struct mr_head_directory_entry) == 16, "ABI");

struct mr_head_partition {
    /* V: the first offset that consumers may not see yet. They poll it: alone with its neighbour, which comes along. */
    alignas(2 * MR_CACHE_LINE) _Atomic uint64_t visible;
    alignas(2 * MR_CACHE_LINE) _Atomic uint64_t log_end; /* the first offset not appended; batches below it are complete (release) */
    _Atomic uint64_t durable;                        /* the first offset not on stable storage here */
    _Atomic uint64_t log_start;                      /* the first offset that still exists */
    _Atomic uint64_t log_end_position;               /* in its segment, with log_end: what adoption must find intact */
    _Atomic uint64_t log_end_segment;                /* base offset of that segment */
    _Atomic uint64_t inplace_position;               /* in that segment: bytes below are durable in the .log file itself */
    alignas(MR_CACHE_LINE) _Atomic uint64_t owner;   /* reactor << 32 | generation; all ones: nobody */
    _Atomic uint32_t leader_epoch;
    _Atomic uint32_t state;                          /* enum mr_partition_state */
    _Atomic uint64_t directory_first;                /* oldest live extent's sequence; directory is empty when > directory_last */
    _Atomic uint64_t directory_last;                 /* newest named (possibly not used yet) */
    _Atomic uint64_t tail_sequence;                  /* the extent that is being appended to; 0: none yet */
    alignas(MR_CACHE_LINE) struct mr_head_directory_entry directory[MR_HEAD_DIRECTORY_COUNT];
};
static_assert(sizeof(struct mr_head_partition) == 4 * MR_CACHE_LINE + 16 * MR_HEAD_DIRECTORY_COUNT, "ABI");

enum mr_partition_state {
    MR_PARTITION_ONLINE = 0,
    MR_PARTITION_OFFLINE = 1, /* corrupt, or its directory failed: refuses produce, serves nothing new */
};

#define MR_HEAD_PARTITIONS_POSITION 4096u
#define MR_HEAD_OWNER_NONE          UINT64_MAX

static inline uint64_t mr_head_bytes(uint32_t partition_capacity)
{
    return MR_HEAD_PARTITIONS_POSITION + (uint64_t)partition_capacity * sizeof(struct mr_head_partition);
}

#endif
