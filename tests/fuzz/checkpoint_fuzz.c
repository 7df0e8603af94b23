/* SPDX-License-Identifier: Apache-2.0 */
/* `checkpoint` and `clean-shutdown` from disk: what is taken is written again the same; one copy is enough. */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>

#include "dataplane/log/recover/recover_internal.h"
#include "shm/base/crc32c.h"

static void check(const uint8_t *text, size_t bytes)
{
    struct mr_checkpoint checkpoint;
    bool mended;
    uint8_t *copy = fuzz_copy(text, bytes);
    if (mr_checkpoint_parse((const char *)copy, bytes, &checkpoint, &mended) == 0) {
        size_t again_bytes;
        char *again = mr_checkpoint_format(&checkpoint, &again_bytes);
        struct mr_checkpoint second;
        bool second_mended;
        fuzz_must(again != NULL && mr_checkpoint_parse(again, again_bytes, &second, &second_mended) == 0 && !second_mended);
        fuzz_must(second.count == checkpoint.count && second.generation == checkpoint.generation);
        for (uint32_t i = 0; i < second.count; i++)
            fuzz_must(memcmp(&second.partition[i], &checkpoint.partition[i], sizeof second.partition[i]) == 0);
        mr_checkpoint_release(&second);
        free(again);
    }
    mr_checkpoint_release(&checkpoint);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    check(data, bytes);
    if (bytes > 8192)
        return 0;
    /* Any bytes as the content of a copy, with the CRC made right. */
    char *text = calloc(2, bytes + 64);
    fuzz_must(text != NULL);
    memcpy(text, data, bytes);
    int copy_bytes = (int)bytes + sprintf(text + bytes, "crc32c %08x\n", mr_crc32c(0, text, bytes));
    memcpy(text + copy_bytes, text, (size_t)copy_bytes);
    check((const uint8_t *)text, 2 * (size_t)copy_bytes);
    free(text);
    return 0;
}

size_t fuzz_seed(unsigned n, uint8_t *data, size_t room)
{
    if (n >= 4)
        return 0;
    struct mr_checkpoint checkpoint = {.generation = n};
    for (uint32_t i = 0; i < n; i++) {
        struct mr_checkpoint_partition p = {.generation = i, .log_start = i * 1000, .next_offset = UINT64_MAX / (i + 11)};
        snprintf(p.name, sizeof p.name, "topic.%u-0", i);
        fuzz_must(mr_checkpoint_put(&checkpoint, &p) == 0);
    }
    size_t bytes;
    char *text = mr_checkpoint_format(&checkpoint, &bytes);
    fuzz_must(text != NULL && bytes <= room);
    memcpy(data, text, bytes);
    free(text);
    mr_checkpoint_release(&checkpoint);
    return bytes;
}
