/* SPDX-License-Identifier: Apache-2.0 */
/* Compressed batches, as Kafka clients write them. The codec libraries (libz, libsnappy, liblz4, libzstd) are loaded with dlopen when the
 * first batch needs them, so that nothing of ours depends on them at link time. Output is bounded by the caller and by a ratio, because a
 * few kilobytes can claim to hold gigabytes. Cold; takes memory; any thread. */
#ifndef MR_BATCH_DECOMPRESS_H
#define MR_BATCH_DECOMPRESS_H

#include <stddef.h>
#include <stdint.h>

#include "shm/batch/batch.h"

#define MR_DECOMPRESS_RATIO_MAX 1100u /* deflate's own limit is 1032; zeros in zstd and lz4 reach more, and are refused */
#define MR_DECOMPRESS_BYTES_MIN 65536u /* allowed whatever the ratio: small batches of zeros compress well */

/** Records in a private buffer. Zero it before first use; the buffer is kept and reused by later calls. */
struct mr_batch_decompressed {
    uint8_t *bytes;
    size_t size_bytes;
    size_t capacity_bytes;
};

/**
 * Decompress the records of a batch.
 *
 * @param batch      a checked batch (header and CRC) that stays as it is meanwhile
 * @param bytes_max  most that the records may take
 * @param out        filled in; iterate it with mr_batch_iterator_init_records(). Owned by the caller, mr_batch_decompressed_release() once
 * @return 0; -EBADMSG (malformed); -EFBIG (over bytes_max or the ratio); -EOPNOTSUPP (the codec's library is not there, or not compressed);
 *         -ENOMEM
 */
MR_MUST_USE int mr_batch_decompress(const uint8_t *batch, size_t batch_bytes, size_t bytes_max, struct mr_batch_decompressed *out);

void mr_batch_decompressed_release(struct mr_batch_decompressed *out);

#endif
