/* SPDX-License-Identifier: Apache-2.0 */
/* A journal commit from disk, whatever its bytes: is it whole, what entries does it hold, can it be mended. */
#include "tests/fuzz/fuzz.h"

#include "dataplane/log/recover/recover_internal.h"
#include "shm/base/crc32c.h"

#define SALT 7u
#define LSN  8192u

static void touch(void *context, const struct mr_journal_entry *entry, const uint8_t *data, const uint8_t *side)
{
    uint64_t *sum = context;
    *sum += entry->data_position + fuzz_touch(data, entry->data_bytes) + fuzz_touch(side, entry->side_bytes);
}

/** The CRC made right, so that what lies behind it is reached too. */
static void seal(uint8_t *copy, size_t bytes)
{
    struct mr_journal_commit header;
    if (bytes < sizeof header)
        return;
    memcpy(&header, copy, sizeof header);
    header.magic = MR_JOURNAL_COMMIT_MAGIC;
    header.salt = SALT;
    header.lsn = LSN;
    header.bytes = (uint32_t)mr_align_down(bytes, MR_BLOCK_BYTES);
    if (header.used_bytes > header.bytes || header.used_bytes < sizeof header)
        header.used_bytes = header.bytes;
    if (header.bytes == 0)
        return;
    header.crc = 0;
    memcpy(copy, &header, sizeof header);
    header.crc = mr_crc32c(0, copy, header.used_bytes);
    memcpy(copy, &header, sizeof header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint64_t sum = 0;
    for (int sealed = 0; sealed < 2; sealed++) {
        uint8_t *copy = aligned_alloc(MR_BLOCK_BYTES, mr_align_up(bytes + 1, MR_BLOCK_BYTES));
        fuzz_must(copy != NULL);
        memset(copy, 0, mr_align_up(bytes + 1, MR_BLOCK_BYTES));
        memcpy(copy, data, bytes);
        if (sealed)
            seal(copy, bytes);
        if (mr_journal_commit_is_whole(copy, bytes, SALT, LSN)) {
            int count = mr_journal_entries(copy, NULL, NULL);
            fuzz_must(count < 0 || mr_journal_entries(copy, touch, &sum) == count);
            copy[bytes / 2] ^= 4; /* one flipped bit is undone, wherever it is under the CRC, and nothing else is touched */
            if (!mr_journal_commit_is_whole(copy, bytes, SALT, LSN))
                fuzz_must(mr_journal_commit_mend(copy, bytes, SALT, LSN) && mr_journal_commit_is_whole(copy, bytes, SALT, LSN));
        } else {
            (void)mr_journal_commit_mend(copy, bytes, SALT, LSN);
        }
        free(copy);
    }
    fuzz_keep(sum);
    return 0;
}

size_t fuzz_seed(unsigned n, uint8_t *data, size_t room)
{
    struct mr_journal_commit header = {.entry_count = n % 3 + 1, .used_bytes = sizeof header};
    size_t bytes = MR_BLOCK_BYTES * (n / 3 + 1);
    if (n >= 9 || bytes > room)
        return 0;
    memset(data, 0, bytes);
    for (uint32_t i = 0; i < header.entry_count; i++) {
        struct mr_journal_entry entry = {.data_bytes = 100 * n, .side_bytes = 16 * n, .mark_offset = n};
        memcpy(data + header.used_bytes, &entry, sizeof entry);
        memset(data + header.used_bytes + sizeof entry, (int)n + 1, 116u * n);
        header.used_bytes += (uint32_t)mr_journal_entry_bytes(entry.data_bytes, entry.side_bytes);
    }
    memcpy(data, &header, sizeof header);
    seal(data, bytes);
    return bytes;
}
