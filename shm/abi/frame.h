/* SPDX-License-Identifier: Apache-2.0 */
/* Frames in a submission ring (DESIGN.md section 6).
 *
 *   byte  0  u64 word        length, kind, trailing, handle
 *   byte  8  u64 sequence    of this record in its partition and producer; given at commit, until then the client's own mark
 *   byte 16  ...             body, by kind; the frame is a multiple of 8 bytes long
 *
 * MR_FRAME_VALUE   body = the value, no key, no headers, time of arrival: the hot case
 * MR_FRAME_RECORD  body = struct mr_frame_record, then value, key, header block, each directly behind the other
 * MR_FRAME_PAD     nothing but the word: skip length bytes (an aborted claim, or the end of the ring)
 *
 * Everything here is written by a client and hostile: the reactor loads the word once, checks the copy, and never looks again. */
#ifndef MR_ABI_FRAME_H
#define MR_ABI_FRAME_H

#include "shm/abi/abi.h"

#define MR_FRAME_HEADER_BYTES 16u
#define MR_FRAME_ALIGN        8u

enum mr_frame_kind {
    MR_FRAME_PAD = 1,
    MR_FRAME_VALUE = 2,
    MR_FRAME_RECORD = 3,
};

/* The word: bits 0-31 length in bytes, header and padding included; 32-39 kind; 40-47 trailing padding (0..7); 48-63 handle. */
static inline uint64_t mr_frame_word(uint32_t length_bytes, uint32_t kind, uint32_t trailing, uint32_t handle)
{
    return (uint64_t)length_bytes | (uint64_t)kind << 32 | (uint64_t)trailing << 40 | (uint64_t)handle << 48;
}

static inline uint32_t mr_frame_length(uint64_t word)
{
    return (uint32_t)word;
}

static inline uint32_t mr_frame_kind(uint64_t word)
{
    return (uint32_t)(word >> 32) & 0xff;
}

static inline uint32_t mr_frame_trailing(uint64_t word)
{
    return (uint32_t)(word >> 40) & 0xff;
}

static inline uint32_t mr_frame_handle(uint64_t word)
{
    return (uint32_t)(word >> 48);
}

/** Body of MR_FRAME_RECORD. value lies at +24, then key_bytes of key, then headers_bytes of Kafka-encoded record headers. */
struct mr_frame_record {
    int64_t timestamp_ms; /* -1: time of arrival */
    int32_t value_bytes;  /* -1: null (a tombstone) */
    int32_t key_bytes;    /* -1: none */
    uint32_t headers_bytes;
    uint32_t header_count;
};
static_assert(sizeof(struct mr_frame_record) == 24, "ABI");

#endif
