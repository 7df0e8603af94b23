/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a compressed batch (the first byte chooses the codec): output stays within its bounds, and reading it inside. */
#include "tests/fuzz/fuzz.h"

#include "shm/batch/decompress.h"

#define OUT_BYTES_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct mr_batch_decompressed out;
    struct mr_batch_iterator it;
    struct mr_batch_record r;
    uint64_t sum = 0;

    if (bytes < 1)
        return 0;
    size_t batch_bytes = MR_BATCH_HEADER_BYTES + bytes - 1;
    uint8_t *batch = calloc(1, batch_bytes);
    fuzz_must(batch != NULL);
    mr_be32_put(batch + MR_BATCH_AT_LENGTH, (uint32_t)(batch_bytes - MR_BATCH_LENGTH_OVERHEAD));
    batch[MR_BATCH_AT_MAGIC] = MR_BATCH_MAGIC;
    mr_be16_put(batch + MR_BATCH_AT_ATTRIBUTES, 1 + data[0] % 4);
    mr_be32_put(batch + MR_BATCH_AT_LAST_OFFSET_DELTA, 9999);
    mr_be32_put(batch + MR_BATCH_AT_RECORD_COUNT, 10000);
    memcpy(batch + MR_BATCH_HEADER_BYTES, data + 1, bytes - 1);
    if (mr_batch_decompress(batch, batch_bytes, OUT_BYTES_MAX, &out) == 0) {
        fuzz_must(out.size_bytes <= OUT_BYTES_MAX);
        mr_batch_iterator_init_records(&it, batch, out.bytes, out.size_bytes);
        while (mr_batch_next(&it, &r) == 1)
            sum += fuzz_touch(r.key, r.key_bytes) + fuzz_touch(r.value, r.value_bytes);
    }
    fuzz_keep(sum);
    mr_batch_decompressed_release(&out);
    free(batch);
    return 0;
}

/* One record, "hello", in each codec's simplest form, stored rather than compressed where it can be. */
size_t fuzz_seed(unsigned n, uint8_t *data, size_t room)
{
    static const uint8_t record[] = {22, 0, 0, 0, 1, 10, 'h', 'e', 'l', 'l', 'o', 0};
    static const uint8_t gzip[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, sizeof record, 0, 0xff - sizeof record, 0xff};
    static const uint8_t snappy[] = {sizeof record, (sizeof record - 1) << 2};
    static const uint8_t xerial[] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 14, 12, 11 << 2};
    static const uint8_t lz4[] = {0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82, sizeof record, 0, 0, 0x80};
    static const uint8_t zstd[] = {0x28, 0xb5, 0x2f, 0xfd, 0x20, sizeof record, (uint8_t)(sizeof record << 3 | 1), 0, 0};
    static const struct {
        uint8_t codec;
        const uint8_t *before;
        size_t before_bytes, zeros_behind;
    } seeds[] = {{0, gzip, sizeof gzip, 8}, {1, snappy, sizeof snappy, 0}, {1, xerial, sizeof xerial, 0}, {2, lz4, sizeof lz4, 4},
                 {3, zstd, sizeof zstd, 0}};

    if (n >= MR_COUNT_OF(seeds))
        return 0;
    size_t bytes = 1 + seeds[n].before_bytes + sizeof record + seeds[n].zeros_behind;
    fuzz_must(bytes <= room);
    memset(data, 0, bytes);
    data[0] = seeds[n].codec;
    memcpy(data + 1, seeds[n].before, seeds[n].before_bytes);
    memcpy(data + 1 + seeds[n].before_bytes, record, sizeof record);
    return bytes;
}
