/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the small files of a partition directory: sidecar header, snapshot, leader-epoch-checkpoint, time index, a file name. What is accepted
 * encodes back to the same bytes. */
#include "tests/fuzz/fuzz.h"

#include "shm/base/bits.h"
#include "shm/segment/index.h"
#include "shm/segment/segment.h"

static void sidecar(const uint8_t *data, size_t bytes)
{
    struct mr_sidecar_header header;
    uint8_t again[MR_SIDECAR_HEADER_BYTES];

    if (bytes < sizeof again || mr_sidecar_header_check(data, &header) != 0)
        return;
    if (header.reserved == 0 && header.reserved_more[0] == 0 && header.reserved_more[1] == 0 && header.reserved_more[2] == 0) {
        mr_sidecar_header_encode(again, header.salt, &header.topic_id, header.partition, header.base_offset);
        fuzz_must(memcmp(again, data, sizeof again) == 0);
    }
}

static void snapshot(const uint8_t *data, size_t bytes)
{
    int64_t count = mr_snapshot_check(data, bytes);
    if (count < 0)
        return;
    struct mr_snapshot_producer *producers = malloc((size_t)count * sizeof *producers + 1);
    uint8_t *again = malloc(bytes);
    fuzz_must(producers != NULL && again != NULL);
    for (int64_t i = 0; i < count; i++)
        mr_snapshot_read(data, (uint32_t)i, &producers[i]);
    fuzz_must(mr_snapshot_encode(producers, (uint32_t)count, again, bytes) == (int64_t)bytes);
    fuzz_must(memcmp(again, data, bytes) == 0);
    free(producers);
    free(again);
}

static void epochs(const uint8_t *data, size_t bytes)
{
    struct mr_epoch_start epochs[16], twice[16];
    char text[16 * MR_EPOCH_LINE_BYTES_MAX + 32];
    int64_t count = mr_epochs_decode((const char *)data, bytes, epochs, 16);
    if (count < 0)
        return;
    int64_t text_bytes = mr_epochs_encode(epochs, (uint32_t)count, text, sizeof text);
    fuzz_must(text_bytes > 0); /* leading zeros go, so compare the values */
    fuzz_must(mr_epochs_decode(text, (size_t)text_bytes, twice, 16) == count);
    for (int64_t i = 0; i < count; i++)
        fuzz_must(epochs[i].epoch == twice[i].epoch && epochs[i].start_offset == twice[i].start_offset);
}

/* What is found is the last entry that is older, by a naive look. */
static void time_index(const uint8_t *data, size_t bytes)
{
    int64_t time_ms = bytes >= 8 ? (int64_t)mr_be64_get(data + bytes - 8) : 0;
    struct mr_time_index_hint hint;
    int rc = mr_time_index_find(data, bytes, 1000, time_ms, &hint);
    size_t older = 0;

    if (rc < 0)
        return;
    while (older < bytes / MR_TIME_INDEX_ENTRY_BYTES && (int64_t)mr_be64_get(data + older * MR_TIME_INDEX_ENTRY_BYTES) < time_ms)
        older++;
    fuzz_must(rc == (older > 0));
    if (older > 0)
        fuzz_must(hint.offset == 1000 + mr_be32_get(data + (older - 1) * MR_TIME_INDEX_ENTRY_BYTES + 8) &&
                  hint.all_before == (older == bytes / MR_TIME_INDEX_ENTRY_BYTES));
}

static void name(const uint8_t *data, size_t bytes)
{
    char text[64], again[MR_SEGMENT_NAME_BYTES_MAX];
    uint64_t offset;
    size_t used = mr_min_u64(bytes, sizeof text - 1);

    if (used > 0)
        memcpy(text, data, used);
    text[used] = 0;
    if (!mr_segment_name_parse(text, "log", &offset))
        return;
    mr_segment_name(again, offset, "log");
    fuzz_must(strcmp(text, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = fuzz_copy(data, bytes);
    sidecar(copy, bytes);
    snapshot(copy, bytes);
    epochs(copy, bytes);
    time_index(copy, bytes);
    name(copy, bytes);
    free(copy);
    return 0;
}

size_t fuzz_seed(unsigned n, uint8_t *data, size_t room)
{
    static const struct mr_snapshot_producer producers[2] = {{.producer_id = 1, .last_sequence = 5}, {.producer_id = 2, .epoch = 3}};
    static const struct mr_epoch_start starts[3] = {{0, 0}, {2, 55}, {3, 1000}};
    static const struct mr_uuid topic = {{1, 2, 3}};

    switch (n) {
    case 0:
        mr_sidecar_header_encode(data, 77, &topic, 1, 42);
        return MR_SIDECAR_HEADER_BYTES;
    case 1:
        return (size_t)mr_snapshot_encode(producers, 2, data, room);
    case 2:
        return (size_t)mr_epochs_encode(starts, 3, (char *)data, room);
    case 4: {
        static const struct mr_index_point points[3] = {{10, 0, 5000, 9}, {20, 700, 5001, 15}, {30, 900, 7000, 30}};
        return mr_time_index_encode(points, 3, 0, data);
    }
    case 3:
        mr_segment_name((char *)data, 42, "log");
        return strlen((char *)data);
    default:
        return 0;
    }
}
