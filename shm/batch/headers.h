/* SPDX-License-Identifier: Apache-2.0 */
/* Record headers: the {key, value} pairs at the end of a record. A *block* is their encoding without the count in front, so that a
 * producer can encode once and a reactor copies bytes. Blocks from other processes are hostile until checked in private memory. */
#ifndef MR_BATCH_HEADERS_H
#define MR_BATCH_HEADERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MR_RECORD_HEADER_BYTES_MIN 2 /* empty key, null or empty value */

struct mr_record_header {
    const void *key; /* UTF-8, not terminated; never null, may be empty */
    const void *value;
    int32_t key_bytes;
    int32_t value_bytes; /* -1: null; an empty value is another thing */
};

/** Exact bytes of the block for `count` headers; 0 for none. */
uint64_t mr_record_headers_bytes(const struct mr_record_header *headers, uint32_t count);

/** Encode into a buffer of mr_record_headers_bytes() bytes. @return bytes written, or -ENOSPC, or -EINVAL (negative lengths). */
int64_t mr_record_headers_encode(const struct mr_record_header *headers, uint32_t count, uint8_t *block, size_t room);

/** True if the block is exactly `count` well-formed headers. The block must lie where nobody else writes meanwhile. */
bool mr_record_headers_check(const uint8_t *block, size_t bytes, uint32_t count);

/**
 * The next header of a block, in place. Set *at to the block's start first; it moves behind the header.
 * @return 1; 0 at the end of the block; -EBADMSG.
 */
int mr_record_headers_next(const uint8_t **at, const uint8_t *end, struct mr_record_header *header);

#endif
