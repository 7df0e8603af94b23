/* SPDX-License-Identifier: Apache-2.0 */
/* The sidecar of a segment, `<20-digit base offset>.sidecar`: it covers what Kafka's batch CRC leaves open, the base offset, length, leader
 * epoch and magic of each batch and its place in the file (RELIABILITY.md D5). An append-only stream of 16-byte units, little-endian,
 * made durable together with the batches; behind its end come zeros.
 *
 *   header, 64 bytes              entry of a batch, 16 bytes                        entry of a cut, 16 bytes
 *    0  8 magic "Mrside01"         0 4 position of the batch in the segment         0 4 0xffffffff
 *    8  4 version = 1              4 4 batch_bytes, all of the batch                4 4 position cut to
 *   12  4 salt, random             8 4 its base offset - segment's base offset      8 4 next offset - segment's base offset
 *   16 16 topic id                12 4 chain                                       12 4 chain
 *   32  4 partition
 *   36  4 0                       chain = CRC-32C(chain before || position || the batch's 61 header bytes as stored)
 *   40  8 base offset                     chain before the first entry: the salt
 *   48 12 0                       of a cut = CRC-32C(chain before || its three words)
 *   60  4 CRC-32C of the above
 *
 * A batch's header holds its CRC, so the chain covers the records too. The salt keeps entries of a file's earlier life from matching.
 * After a cut (the log was truncated) entries of batches go on from the cut's position, with its chain. Entries before a cut at or
 * behind its position are dead: their headers are gone, but the chain runs through the values they stored.
 * Pure functions. */
#ifndef MR_SEGMENT_SIDECAR_H
#define MR_SEGMENT_SIDECAR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "shm/abi/abi.h"
#include "shm/base/crc32c.h"
#include "shm/batch/format.h"

#define MR_SIDECAR_MAGIC        0x313065646973724dull /* "Mrside01" */
#define MR_SIDECAR_VERSION      1u
#define MR_SIDECAR_HEADER_BYTES 64u
#define MR_SIDECAR_ENTRY_BYTES  16u
#define MR_SIDECAR_CUT          0xffffffffu

struct mr_sidecar_header {
    uint64_t magic;
    uint32_t version;
    uint32_t salt;
    struct mr_uuid topic_id;
    uint32_t partition;
    uint32_t reserved;
    uint64_t base_offset;
    uint32_t reserved_more[3];
    uint32_t crc;
};
static_assert(sizeof(struct mr_sidecar_header) == MR_SIDECAR_HEADER_BYTES, "format");

struct mr_sidecar_entry {
    uint32_t position;          /* MR_SIDECAR_CUT: a cut */
    uint32_t batch_bytes;       /* of a cut: the position; 0 with position 0: nothing was written here yet */
    uint32_t base_offset_delta; /* of a cut: the next offset's */
    uint32_t chain;
};
static_assert(sizeof(struct mr_sidecar_entry) == MR_SIDECAR_ENTRY_BYTES, "format");

/** Fill the first 64 bytes of a sidecar. The chain starts with `salt`. */
void mr_sidecar_header_encode(uint8_t *at, uint32_t salt, const struct mr_uuid *topic_id, uint32_t partition, uint64_t base_offset);

/** @param header filled from the 64 bytes. @return 0; -EBADMSG (magic or CRC); -ENOTSUP (another version) */
int mr_sidecar_header_check(const uint8_t *at, struct mr_sidecar_header *header) MR_MUST_USE;

static inline bool mr_sidecar_header_is_of(const struct mr_sidecar_header *header, const struct mr_uuid *topic_id, uint32_t partition,
                                           uint64_t base_offset)
{
    return memcmp(&header->topic_id, topic_id, sizeof header->topic_id) == 0 && header->partition == partition && header->base_offset == base_offset;
}

static inline struct mr_sidecar_entry mr_sidecar_entry_read(const uint8_t *at)
{
    struct mr_sidecar_entry entry;
    memcpy(&entry, at, sizeof entry);
    return entry;
}

static inline bool mr_sidecar_is_cut(const struct mr_sidecar_entry *entry)
{
    return entry->position == MR_SIDECAR_CUT;
}

/** Behind the end of the stream: neither a batch nor a cut has this form. */
static inline bool mr_sidecar_is_empty(const struct mr_sidecar_entry *entry)
{
    return !mr_sidecar_is_cut(entry) && entry->batch_bytes == 0;
}

/** The chain over one batch. Hot, about 10 ns. */
static inline uint32_t mr_sidecar_chain(uint32_t previous_chain, uint32_t position, const uint8_t *batch)
{
    uint32_t words[2] = {previous_chain, position};
    return mr_crc32c(mr_crc32c(0, words, sizeof words), batch, MR_BATCH_HEADER_BYTES);
}

/**
 * The entry for a batch that was closed (or stamped) at its place. Hot.
 *
 * @param previous_chain  of the entry before; the salt for the first
 * @param batch           61 header bytes as they stand in the segment
 */
static inline struct mr_sidecar_entry mr_sidecar_entry_next(uint32_t previous_chain, uint32_t position, const uint8_t *batch,
                                                            uint64_t segment_base_offset)
{
    struct mr_sidecar_entry entry = {
        .position = position,
        .batch_bytes = (uint32_t)mr_batch_total_bytes(batch),
        .base_offset_delta = (uint32_t)((uint64_t)mr_batch_base_offset(batch) - segment_base_offset),
        .chain = mr_sidecar_chain(previous_chain, position, batch),
    };
    return entry;
}

/** The entry that a truncation appends. */
struct mr_sidecar_entry mr_sidecar_cut_next(uint32_t previous_chain, uint32_t position, uint32_t next_offset_delta);

/** True if the entry is exactly what mr_sidecar_entry_next() gives for this batch at this place. */
bool mr_sidecar_check_entry(const struct mr_sidecar_entry *entry, uint32_t previous_chain, uint32_t position, const uint8_t *batch,
                            uint64_t segment_base_offset) MR_MUST_USE;

/** True if the entry is a cut and its chain is right. */
bool mr_sidecar_check_cut(const struct mr_sidecar_entry *entry, uint32_t previous_chain) MR_MUST_USE;

#endif
