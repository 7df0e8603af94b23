/* SPDX-License-Identifier: Apache-2.0 */
/* A segment and its sidecar in memory, to build, cut and damage in tests. */
#ifndef TESTS_SEGMENT_IMAGE_H
#define TESTS_SEGMENT_IMAGE_H

#include "shm/segment/segment.h"

#define IMAGE_LOG_BYTES     65536
#define IMAGE_SIDE_BYTES    8192
#define IMAGE_BATCHES_MAX   300
#define IMAGE_BASE_OFFSET   1000
#define IMAGE_SALT          0x5a17u

struct image {
    uint8_t log[IMAGE_LOG_BYTES]; /* zeros behind log_end: the preallocated tail */
    uint8_t side[IMAGE_SIDE_BYTES];
    uint64_t log_end, side_end;
    uint64_t base_offset, next_offset;
    uint32_t chain;
    int32_t epoch;
    uint32_t count; /* live batches */
    uint64_t position[IMAGE_BATCHES_MAX + 1];
    uint64_t offset[IMAGE_BATCHES_MAX + 1];
};

static const struct mr_uuid image_topic = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

static inline void image_init_at(struct image *image, uint64_t base_offset)
{
    memset(image, 0, sizeof *image);
    mr_sidecar_header_encode(image->side, IMAGE_SALT, &image_topic, 3, base_offset);
    image->side_end = MR_SIDECAR_HEADER_BYTES;
    image->chain = IMAGE_SALT;
    image->base_offset = base_offset;
    image->next_offset = base_offset;
    image->epoch = 1;
    image->offset[0] = base_offset;
}

static inline void image_init(struct image *image)
{
    image_init_at(image, IMAGE_BASE_OFFSET);
}

static inline void image_put_entry(struct image *image, const struct mr_sidecar_entry *entry)
{
    mr_assert(image->side_end + sizeof *entry <= IMAGE_SIDE_BYTES);
    memcpy(image->side + image->side_end, entry, sizeof *entry);
    image->side_end += sizeof *entry;
    image->chain = entry->chain;
}

/** Append a batch of `records` values of `value_bytes` bytes `fill`. */
static inline void image_append(struct image *image, uint32_t records, uint32_t value_bytes, uint8_t fill)
{
    uint8_t value[4096], *at = image->log + image->log_end;
    struct mr_batch_writer w;

    mr_assert(value_bytes <= sizeof value && image->count < IMAGE_BATCHES_MAX);
    memset(value, fill, sizeof value);
    mr_batch_open(&w, at, IMAGE_LOG_BYTES - image->log_end, 7, 0, (int32_t)image->next_offset, (int64_t)image->next_offset, image->epoch);
    for (uint32_t i = 0; i < records; i++) {
        bool fits = mr_batch_add_value(&w, 1000 + (int64_t)image->next_offset + i, value, value_bytes);
        mr_assert(fits);
    }
    uint32_t bytes = mr_batch_close(&w);
    struct mr_sidecar_entry entry = mr_sidecar_entry_next(image->chain, (uint32_t)image->log_end, at, image->base_offset);
    image_put_entry(image, &entry);
    image->log_end += bytes;
    image->next_offset += records;
    image->count++;
    image->position[image->count] = image->log_end;
    image->offset[image->count] = image->next_offset;
}

/** Truncate to the first `count` batches; the log's old bytes stay until they are overwritten, as they may on disk, unless `zero`. */
static inline void image_cut(struct image *image, uint32_t count, bool zero)
{
    uint64_t position = image->position[count];
    struct mr_sidecar_entry entry =
        mr_sidecar_cut_next(image->chain, (uint32_t)position, (uint32_t)(image->offset[count] - image->base_offset));

    image_put_entry(image, &entry);
    if (zero)
        memset(image->log + position, 0, IMAGE_LOG_BYTES - position);
    image->log_end = position;
    image->next_offset = image->offset[count];
    image->count = count;
}

/** Scan options over the image; `buffer` of IMAGE_LOG_BYTES + 32 KiB holds everything. */
static inline struct mr_segment_scan_options image_scan_options(const struct image *image, uint8_t *buffer, size_t buffer_bytes)
{
    return (struct mr_segment_scan_options){
        .log = mr_segment_source_memory(image->log, IMAGE_LOG_BYTES),
        .side = mr_segment_source_memory(image->side, IMAGE_SIDE_BYTES),
        .base_offset = image->base_offset,
        .topic_id = &image_topic,
        .partition = 3,
        .flags = MR_SEGMENT_SCAN_RESYNC | MR_SEGMENT_SCAN_RECORDS,
        .buffer = buffer,
        .buffer_bytes = buffer_bytes,
    };
}

#endif
