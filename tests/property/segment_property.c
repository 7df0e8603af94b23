/* SPDX-License-Identifier: Apache-2.0 */
/* Random logs: appends, cuts and new leader epochs; the scan ends where the model says, with any buffer, from the start or from a point on
 * the way; the reader finds every offset; after one random damage the valid end never lies behind it, and everything before it is kept. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "shm/base/random.h"
#include "tests/support/property.h"
#include "tests/support/segment_image.h"

#define ROUNDS 400

static struct image image;
static uint8_t buffer[IMAGE_LOG_BYTES + 32768];
static uint8_t damaged_log[IMAGE_LOG_BYTES], damaged_side[IMAGE_SIDE_BYTES];

static void random_log(struct mr_random *random)
{
    image_init(&image);
    for (uint64_t steps = mr_random_below(random, 150); steps > 0; steps--) {
        bool room = image.log_end + 4096 < IMAGE_LOG_BYTES && image.side_end + 64 < IMAGE_SIDE_BYTES && image.count < IMAGE_BATCHES_MAX;
        if (!room)
            break;
        if (mr_random_chance(random, 1, 12)) {
            /* What was cut is zeroed before anything is appended; recovery does so too. */
            image_cut(&image, (uint32_t)mr_random_below(random, image.count + 1), true);
        } else {
            image.epoch += mr_random_chance(random, 1, 10);
            image_append(&image, 1 + (uint32_t)mr_random_below(random, 8), (uint32_t)mr_random_below(random, 300),
                         (uint8_t)mr_random_next(random));
        }
    }
}

static void check_end(const struct mr_segment_scan_result *r)
{
    must(r->stop == MR_SEGMENT_END_ZEROS && mr_segment_scan_is_clean(r));
    must(r->end.position == image.log_end && r->end.next_offset == image.next_offset);
    must(r->end.side_position == image.side_end && r->end.chain == image.chain);
}

static void scan_whole(struct mr_random *random)
{
    struct mr_segment_scan_result r, more;
    size_t bytes = MR_SEGMENT_SCAN_BUFFER_MIN + 4096 * mr_random_below(random, 20);
    struct mr_segment_scan_options options = image_scan_options(&image, buffer, bytes);

    mr_segment_scan(&options, &r);
    check_end(&r);
    must(r.batch_count == image.count);
    options.log.bytes = image.position[mr_random_below(random, image.count + 1)];
    if (mr_segment_scan(&options, &r) == MR_SEGMENT_BAD_SIDECAR)
        return; /* the log ends before a cut that the sidecar has */
    must(r.stop == MR_SEGMENT_END_EXACT && r.end.position == options.log.bytes);
    options.start = r.end;
    options.log.bytes = IMAGE_LOG_BYTES;
    mr_segment_scan(&options, &more);
    check_end(&more);
    must(more.batch_count + (options.start.position == 0 ? 0 : r.batch_count) == image.count);
}

static void find_all(void)
{
    struct mr_segment_reader reader;
    struct mr_segment_source log = mr_segment_source_memory(image.log, image.log_end);
    struct mr_segment_source side = mr_segment_source_memory(image.side, IMAGE_SIDE_BYTES);

    mr_segment_reader_init(&reader, &log, IMAGE_BASE_OFFSET, buffer, 8192);
    for (uint32_t i = 0; i < image.count; i++) {
        must(mr_segment_reader_find(&reader, &side, image.offset[i]) == 0 && reader.position == image.position[i]);
        must(mr_segment_reader_find(&reader, &side, image.offset[i + 1] - 1) == 0 && reader.position == image.position[i]);
    }
    must(mr_segment_reader_find(&reader, &side, image.next_offset) == -ENOENT);
}

static void damage(struct mr_random *random)
{
    struct mr_segment_scan_result r;
    struct mr_segment_scan_options options = image_scan_options(&image, buffer, sizeof buffer);
    uint32_t hit = 0;

    if (image.count == 0)
        return;
    memcpy(damaged_log, image.log, sizeof damaged_log);
    uint64_t position = mr_random_below(random, image.log_end);
    uint64_t bytes = mr_min_u64(1 + mr_random_below(random, 4096), image.log_end - position);
    for (uint64_t i = 0; i < bytes; i++)
        damaged_log[position + i] ^= (uint8_t)(1 + mr_random_below(random, 255));
    while (image.position[hit + 1] <= position)
        hit++;
    options.log = mr_segment_source_memory(damaged_log, sizeof damaged_log);
    mr_segment_scan(&options, &r);
    must(r.end.position == image.position[hit] && r.batch_count == hit); /* all before is kept, nothing behind */
    uint32_t intact = hit;
    while (intact < image.count && image.position[intact] < position + bytes)
        intact++;
    must(r.behind == (intact < image.count));
    must(!r.behind || (r.behind_position == image.position[intact] && r.behind_end == image.log_end));

    memcpy(damaged_side, image.side, sizeof damaged_side);
    damaged_side[mr_random_below(random, image.side_end)] ^= (uint8_t)(1 + mr_random_below(random, 255));
    options.log = mr_segment_source_memory(image.log, sizeof image.log);
    options.side = mr_segment_source_memory(damaged_side, sizeof damaged_side);
    mr_segment_scan(&options, &r);
    must(r.end.position <= image.log_end && r.end.next_offset <= image.next_offset);
}

int main(void)
{
    struct mr_random random;

    mr_random_init(&random, property_seed(), 1);
    for (int round = 0; round < ROUNDS; round++) {
        random_log(&random);
        scan_whole(&random);
        find_all();
        for (int i = 0; i < 5; i++)
            damage(&random);
    }
    return 0;
}
