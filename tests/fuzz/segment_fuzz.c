/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a segment with its sidecar (split by the first two bytes): scan, resync, reader and search stay inside and end; the reader
 * gives at least the batches that the scan calls good; what follows the valid end never lies inside it. */
#include "tests/fuzz/fuzz.h"

#include "tests/support/segment_image.h"

static uint8_t buffer[65536 + 32768];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 3)
        return 0;
    size_t side_bytes = mr_min_u64((size_t)data[0] * 16, bytes - 3);
    uint8_t flags = data[1];
    uint8_t *side = fuzz_copy(data + 3, side_bytes), *log = fuzz_copy(data + 3 + side_bytes, bytes - 3 - side_bytes);
    size_t log_bytes = bytes - 3 - side_bytes;
    struct mr_segment_scan_result result;
    struct mr_segment_scan_options options = {
        .log = mr_segment_source_memory(log, log_bytes),
        .side = mr_segment_source_memory(side, side_bytes),
        .base_offset = IMAGE_BASE_OFFSET,
        .flags = (flags & 7u),
        .start = {.epoch = -1},
        .buffer = buffer,
        .buffer_bytes = (flags & 8) != 0 ? MR_SEGMENT_SCAN_BUFFER_MIN : sizeof buffer,
    };
    if ((flags & 16) != 0)
        options.side.read = NULL;
    mr_segment_scan(&options, &result);
    fuzz_must(result.end.position <= log_bytes && result.end.side_position <= mr_max_u64(side_bytes, MR_SIDECAR_HEADER_BYTES));
    fuzz_must(!result.behind || (result.behind_position > result.end.position && result.behind_end <= log_bytes));

    struct mr_segment_reader reader;
    const uint8_t *batch;
    uint32_t batch_bytes;
    uint64_t count = 0;
    mr_segment_reader_init(&reader, &options.log, IMAGE_BASE_OFFSET, buffer, 65536);
    while (mr_segment_reader_next(&reader, &batch, &batch_bytes) == 1) {
        fuzz_keep(fuzz_touch(batch, batch_bytes));
        count++;
    }
    fuzz_must(count >= result.batch_count);
    struct mr_segment_source side_source = mr_segment_source_memory(side, side_bytes);
    int rc = mr_segment_reader_find(&reader, &side_source, IMAGE_BASE_OFFSET + data[2]);
    fuzz_must(rc != 0 || reader.position < log_bytes);
    free(side);
    free(log);
    return 0;
}

size_t fuzz_seed(unsigned n, uint8_t *data, size_t room)
{
    static struct image image;

    if (n >= 8)
        return 0;
    image_init(&image);
    for (unsigned i = 0; i < 3 + n % 4; i++)
        image_append(&image, 1 + i % 3, 10 + 3 * n, (uint8_t)i);
    if (n >= 4) {
        image_cut(&image, n - 4 + 1 > image.count ? 1 : n - 4 + 1, n % 2 == 0);
        image_append(&image, 2, 40, 'c');
    }
    data[0] = (uint8_t)(image.side_end / 16);
    data[1] = (uint8_t)(7 & (n | 4));
    data[2] = (uint8_t)n;
    size_t log_bytes = image.log_end + 100;
    fuzz_must(3 + image.side_end + log_bytes <= room);
    memcpy(data + 3, image.side, image.side_end);
    memcpy(data + 3 + image.side_end, image.log, log_bytes);
    return 3 + image.side_end + log_bytes;
}
