/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a batch: the check and the iterator stay inside, and a batch that the check accepts is read to its exact end.
 * The first byte chooses the flags and whether the CRC is put right first, so that the fuzzer gets behind it. */
#include "tests/fuzz/fuzz.h"

#include "shm/batch/batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 1)
        return 0;
    uint8_t *b = fuzz_copy(data + 1, bytes - 1);
    bytes--;
    if ((data[0] & 4) != 0 && mr_batch_check_header(b, bytes) == MR_BATCH_OK)
        mr_batch_seal(b);

    unsigned flags = data[0] & MR_BATCH_CHECK_COMPACTED;
    bool good = mr_batch_check(b, bytes, flags) == MR_BATCH_OK;
    struct mr_batch_iterator it;
    struct mr_batch_record r;
    struct mr_record_header h;
    uint64_t sum = 0;
    int64_t left = 0;
    int rc = mr_batch_iterator_init(&it, b, bytes);
    if (rc == 0) {
        left = mr_batch_record_count(b);
        while ((rc = mr_batch_next(&it, &r)) == 1) {
            left--;
            sum += fuzz_touch(r.key, r.key_bytes) + fuzz_touch(r.value, r.value_bytes);
            const uint8_t *at = r.headers;
            while (mr_record_headers_next(&at, r.headers + r.header_bytes, &h) == 1)
                sum += fuzz_touch(h.key, h.key_bytes) + fuzz_touch(h.value, h.value_bytes);
        }
        fuzz_must(!good || (rc == 0 && left == 0));
    } else {
        fuzz_must(!good || rc == -EOPNOTSUPP);
    }
    fuzz_keep(sum);
    free(b);
    return 0;
}

size_t fuzz_seed(unsigned n, uint8_t *data, size_t room)
{
    struct mr_batch_writer w;
    const uint8_t block[] = {2, 'h', 2, 'v', 0, 1};

    if (n >= 8)
        return 0;
    data[0] = (uint8_t)n;
    mr_batch_open(&w, data + 1, room - 1, 5, 0, 0, 100, 1);
    for (unsigned i = 0; i < 1 + n; i++) {
        fuzz_must(mr_batch_add_value(&w, 1000 + i * 100, "some value of some length", 25 - n));
        fuzz_must(mr_batch_add(&w, 900, "key", (int32_t)(n % 4) - 1, "v", (int32_t)(i % 3) - 1, block, 6, 2) == 0);
    }
    return 1 + mr_batch_close(&w);
}
