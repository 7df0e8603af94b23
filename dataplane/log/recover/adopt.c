/* SPDX-License-Identifier: Apache-2.0 */
/* Adoption: is what a daemon that died left in memory intact up to the published end, and where does the log go on?
 *
 * The truth is head->log_end, which was stored after everything below it (append.c): whatever else a death in mid-update left behind is
 * either beyond it or not looked at. Bytes are read once, at the speed of the CRC, extents side by side if the caller has threads; each batch
 * must have its CRC, its offset and its sidecar entry with the right chain, so that also what the batch CRC does not cover is known to be what
 * was written. */
#include "dataplane/log/recover/recover_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/atomics.h"

struct adopt {
    const struct mr_head_partition *head;
    const struct mr_uuid *topic_id, *boot_id;
    uint32_t partition;
    uint64_t log_end;
    struct mr_producer_table producers;
    struct mr_log_segment *segment;
    uint32_t segment_count;
    /* where the walk is */
    uint64_t offset, position, side_position;
    uint32_t chain;
    int32_t epoch;
    uint64_t checked_end; /* of the extent that the walk is in */
    struct millrace_error *err;
};

static int broken(const struct adopt *adopt, const struct mr_extent_header *h, const char *what)
{
    return mr_err(adopt->err, EBADMSG, "partition %u: memory extent %" PRIu64 " is not intact at offset %" PRIu64 " (position %" PRIu64
                  "): %s", adopt->partition, (uint64_t)mr_load_relaxed(&((struct mr_extent_header *)(uintptr_t)h)->sequence), adopt->offset,
                  adopt->position, what);
}

static bool windows_are_sane(const struct mr_extent_header *h)
{
    return (uint64_t)h->side_position + h->side_bytes <= h->bytes && (uint64_t)h->data_position + h->data_bytes <= h->bytes &&
           h->window_position % MR_BLOCK_BYTES == 0 && h->start_position >= h->window_position &&
           h->start_position - h->window_position <= h->data_bytes && h->side_window_position % MR_BLOCK_BYTES == 0 &&
           h->side_start_position >= h->side_window_position && h->side_start_position - h->side_window_position <= h->side_bytes &&
           h->snapshot_position >= sizeof *h &&
           (uint64_t)h->snapshot_position + (uint64_t)h->snapshot_count * sizeof(struct mr_extent_producer) <= h->bytes;
}

static bool header_has_its_crc(const struct mr_extent_header *h)
{
    uint32_t crc = mr_crc32c(0, h, offsetof(struct mr_extent_header, header_crc));
    crc = mr_crc32c(crc, (const uint8_t *)h + h->snapshot_position, h->snapshot_count * sizeof(struct mr_extent_producer));
    return crc == h->header_crc;
}

static int check_header(const struct adopt *adopt, const struct mr_extent_header *h)
{
    if (h->magic != MR_EXTENT_MAGIC || h->version != MR_EXTENT_VERSION)
        return broken(adopt, h, "not an extent of this version");
    if (memcmp(&h->boot_id, adopt->boot_id, sizeof h->boot_id) != 0)
        return broken(adopt, h, "it is of another boot of this machine");
    if (memcmp(&h->topic_id, adopt->topic_id, sizeof h->topic_id) != 0 || h->partition != adopt->partition)
        return broken(adopt, h, "it is of another partition");
    if (!windows_are_sane(h))
        return broken(adopt, h, "its header is damaged");
    return header_has_its_crc(h) ? 0 : broken(adopt, h, "its header does not match its CRC");
}

/** The extent continues the one before, or begins a segment. */
static int enter(struct adopt *adopt, const struct mr_extent_header *h, bool is_first)
{
    struct mr_log_segment *last = adopt->segment_count == 0 ? NULL : &adopt->segment[adopt->segment_count - 1];
    bool goes_on = last != NULL && last->base_offset == h->segment_base_offset;
    if (is_first)
        adopt->offset = h->base_offset;
    if (h->base_offset != adopt->offset)
        return broken(adopt, h, "it does not begin where the one before ends");
    if (goes_on && (h->start_position != adopt->position || h->side_start_position != adopt->side_position ||
                    h->segment_salt != last->salt || h->chain_start != adopt->chain))
        return broken(adopt, h, "it does not continue the segment");
    if (!goes_on && last != NULL && (h->segment_base_offset != adopt->offset || h->start_position != 0 ||
                                     h->side_start_position != MR_SIDECAR_HEADER_BYTES || h->chain_start != h->segment_salt))
        return broken(adopt, h, "it does not begin a segment");
    if (!goes_on) {
        last = &adopt->segment[adopt->segment_count++];
        *last = (struct mr_log_segment){.base_offset = h->segment_base_offset, .salt = h->segment_salt, .cut_position = h->cut_position,
                                        .max_timestamp_ms = -1};
    }
    struct mr_extent_header *shared = (struct mr_extent_header *)(uintptr_t)h; /* loads only */
    last->inplace_bytes = mr_max_u64(last->inplace_bytes, mr_load_relaxed(&shared->inplace_end));
    last->side_inplace_bytes = mr_max_u64(last->side_inplace_bytes, mr_load_relaxed(&shared->side_inplace_end));
    adopt->position = h->start_position;
    adopt->side_position = h->side_start_position;
    adopt->chain = h->chain_start;
    return 0;
}

static int load_snapshot(struct adopt *adopt, const struct mr_extent_header *h)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < h->snapshot_count; i++) {
        struct mr_extent_producer from;
        memcpy(&from, (const uint8_t *)h + h->snapshot_position + i * sizeof from, sizeof from);
        struct mr_log_producer_state state = {from.producer_id, from.last_offset, from.active_ms, from.last_sequence, from.epoch};
        rc = mr_producer_table_put(&adopt->producers, &state);
    }
    return rc;
}

uint64_t mr_adopt_check_extent(const struct mr_extent_header *h, uint64_t log_end)
{
    struct mr_extent_header *shared = (struct mr_extent_header *)(uintptr_t)h; /* loads only */
    if (h->magic != MR_EXTENT_MAGIC || h->version != MR_EXTENT_VERSION || !windows_are_sane(h) || !header_has_its_crc(h))
        return 0;
    uint64_t sealed_end = mr_load_acquire(&shared->sealed_end); /* S */
    uint64_t position = h->start_position, end = sealed_end != 0 ? sealed_end : h->window_position + h->data_bytes;
    if (end < position || end - h->window_position > h->data_bytes)
        return 0;
    while (position < end) {
        const uint8_t *batch = (const uint8_t *)h + h->data_position + (position - h->window_position);
        if (mr_batch_check_header(batch, end - position) != MR_BATCH_OK || (uint64_t)mr_batch_base_offset(batch) >= log_end ||
            mr_batch_check(batch, end - position, MR_BATCH_CHECK_NO_WALK) != MR_BATCH_OK)
            break;
        position += (uint64_t)mr_batch_total_bytes(batch);
    }
    return position;
}

/* Whose CRC was found good already, its header is still looked at: it says how far the batch goes. */
static enum mr_batch_reason check_batch(const struct adopt *adopt, const uint8_t *batch, uint64_t end)
{
    enum mr_batch_reason reason = mr_batch_check_header(batch, end - adopt->position);
    if (reason == MR_BATCH_OK && adopt->position + (uint64_t)mr_batch_total_bytes(batch) <= adopt->checked_end)
        return MR_BATCH_OK;
    return mr_batch_check(batch, end - adopt->position, MR_BATCH_CHECK_NO_WALK);
}

static int walk_extent(struct adopt *adopt, const struct mr_extent_header *h)
{
    const uint8_t *data = (const uint8_t *)h + h->data_position, *side = (const uint8_t *)h + h->side_position;
    uint64_t sealed_end = mr_load_acquire(&((struct mr_extent_header *)(uintptr_t)h)->sealed_end); /* S */
    uint64_t end = sealed_end != 0 ? sealed_end : h->window_position + h->data_bytes;
    uint64_t side_end = h->side_window_position + h->side_bytes;
    struct mr_log_segment *segment = &adopt->segment[adopt->segment_count - 1];

    if (end < adopt->position || end - h->window_position > h->data_bytes)
        return broken(adopt, h, "its seal is out of bounds");
    while (adopt->offset < adopt->log_end && adopt->position < end) {
        const uint8_t *batch = data + (adopt->position - h->window_position);
        enum mr_batch_reason reason = check_batch(adopt, batch, end);
        if (reason != MR_BATCH_OK)
            return broken(adopt, h, mr_batch_reason_text(reason));
        if ((uint64_t)mr_batch_base_offset(batch) != adopt->offset || mr_batch_leader_epoch(batch) < adopt->epoch)
            return broken(adopt, h, "the batch does not continue the log");
        struct mr_sidecar_entry entry;
        if (side_end - adopt->side_position < sizeof entry)
            return broken(adopt, h, "its side window ends before its batches");
        entry = mr_sidecar_entry_read(side + (adopt->side_position - h->side_window_position));
        if (!mr_sidecar_check_entry(&entry, adopt->chain, (uint32_t)adopt->position, batch, segment->base_offset))
            return broken(adopt, h, "the batch and its sidecar entry disagree");
        int rc = mr_producer_table_apply(&adopt->producers, batch);
        if (rc != 0)
            return rc;
        adopt->chain = entry.chain;
        adopt->epoch = mr_batch_leader_epoch(batch);
        adopt->offset = (uint64_t)mr_batch_next_offset(batch);
        adopt->position += (uint64_t)mr_batch_total_bytes(batch);
        adopt->side_position += sizeof entry;
        if (mr_batch_max_timestamp(batch) > segment->max_timestamp_ms)
            segment->max_timestamp_ms = mr_batch_max_timestamp(batch);
    }
    if (adopt->offset > adopt->log_end)
        return broken(adopt, h, "a batch goes on beyond the published end");
    if (adopt->offset < adopt->log_end && sealed_end == 0)
        return broken(adopt, h, "it is the last one and ends before the published end");
    segment->next_offset = adopt->offset;
    segment->bytes = adopt->position;
    segment->side_bytes = adopt->side_position;
    segment->chain = adopt->chain;
    return 0;
}

static int walk_all(struct adopt *adopt, const struct mr_log_live_extent *extents, uint32_t extent_count, const uint64_t *checked_ends,
                    struct mr_log_recovered *recovered)
{
    uint64_t durable = recovered->durable_offset;
    for (uint32_t i = 0; i < extent_count; i++) {
        const struct mr_extent_header *h = extents[i].memory;
        if (i > 0 && adopt->offset == adopt->log_end)
            break; /* named ahead of the tail, or opened and nothing in it was published: the log gives them back */
        int rc = check_header(adopt, h);
        if (rc == 0)
            rc = enter(adopt, h, i == 0);
        if (rc == 0 && i == 0 && h->base_offset > mr_max_u64(durable, recovered->log_start))
            rc = broken(adopt, h, "what lies before it is neither in memory nor on disk");
        if (rc == 0 && i == 0)
            rc = load_snapshot(adopt, h);
        adopt->checked_end = checked_ends != NULL ? checked_ends[i] : 0;
        if (rc == 0)
            rc = walk_extent(adopt, h);
        if (rc != 0)
            return rc;
        recovered->generation = h->generation;
    }
    if (adopt->offset != adopt->log_end)
        return mr_err(adopt->err, EBADMSG, "partition %u: extents in memory end at offset %" PRIu64 ", the log at %" PRIu64, adopt->partition,
                      adopt->offset, adopt->log_end);
    for (uint32_t i = 0; i < adopt->segment_count; i++) {
        struct mr_log_segment *segment = &adopt->segment[i];
        if (segment->inplace_bytes > segment->bytes || segment->side_inplace_bytes > segment->side_bytes)
            return mr_err(adopt->err, EBADMSG, "partition %u: segment %" PRIu64 " is said to be on disk up to position %" PRIu64 " but ends at "
                          "%" PRIu64, adopt->partition, segment->base_offset, segment->inplace_bytes, segment->bytes);
    }
    return 0;
}

/** Files of these may be gone already; the log gives back their extents. */
static void drop_deleted(struct adopt *adopt, uint64_t log_start)
{
    uint32_t count = 0;
    while (count + 1 < adopt->segment_count && adopt->segment[count].next_offset <= log_start)
        count++;
    adopt->segment_count -= count;
    memmove(adopt->segment, adopt->segment + count, adopt->segment_count * sizeof *adopt->segment);
}

static void *copy_array(const struct mr_allocator *allocator, const void *from, size_t bytes)
{
    void *to = bytes == 0 ? NULL : allocator->allocate(allocator->context, bytes);
    if (to != NULL)
        memcpy(to, from, bytes);
    return to;
}

int mr_adopt_partition(const struct mr_head_partition *head, const struct mr_uuid *topic_id, uint32_t partition, const struct mr_uuid *boot_id,
                       const struct mr_log_live_extent *extents, uint32_t extent_count, const uint64_t *checked_ends,
                       const struct mr_allocator *allocator, struct mr_log_recovered *recovered, struct millrace_error *err)
{
    struct mr_head_partition *shared = (struct mr_head_partition *)(uintptr_t)head; /* loads only */
    struct adopt adopt = {.head = head, .topic_id = topic_id, .boot_id = boot_id, .partition = partition, .err = err};
    memset(recovered, 0, sizeof *recovered);
    adopt.log_end = mr_load_acquire(&shared->log_end);
    recovered->log_start = mr_load_relaxed(&shared->log_start);
    recovered->next_offset = adopt.log_end;
    recovered->durable_offset = mr_load_relaxed(&shared->durable);
    if (recovered->durable_offset > adopt.log_end || recovered->log_start > adopt.log_end)
        return mr_err(err, EBADMSG, "partition %u: the head's offsets contradict each other: start %" PRIu64 ", durable %" PRIu64 ", end %" PRIu64,
                      partition, recovered->log_start, recovered->durable_offset, adopt.log_end);
    /* Also of a directory that went offline (D3): its memory is as it was, and what no completed write vouches for is written anew. */
    if (extent_count == 0) /* all that there is was brought to disk, or there is nothing */
        return adopt.log_end == 0 ? 0 : mr_err(err, EBADMSG, "partition %u has no extent in memory", partition);

    adopt.segment = calloc(extent_count, sizeof *adopt.segment);
    int rc = adopt.segment == NULL ? -ENOMEM : walk_all(&adopt, extents, extent_count, checked_ends, recovered);
    if (rc == 0) {
        drop_deleted(&adopt, recovered->log_start);
        recovered->segments = copy_array(allocator, adopt.segment, adopt.segment_count * sizeof *adopt.segment);
        recovered->segment_count = adopt.segment_count;
        recovered->producers = copy_array(allocator, adopt.producers.state, adopt.producers.count * sizeof *adopt.producers.state);
        recovered->producer_count = adopt.producers.count;
        recovered->extents = copy_array(allocator, extents, extent_count * sizeof *extents);
        recovered->extent_count = extent_count;
        if (recovered->segments == NULL || recovered->extents == NULL || (recovered->producers == NULL && recovered->producer_count > 0)) {
            mr_adopt_release(allocator, recovered);
            rc = -ENOMEM;
        }
    }
    if (rc == -ENOMEM)
        rc = mr_err(err, ENOMEM, "no memory to adopt partition %u", partition);
    mr_producer_table_release(&adopt.producers);
    free(adopt.segment);
    return rc;
}

void mr_adopt_release(const struct mr_allocator *allocator, struct mr_log_recovered *recovered)
{
    union {
        const void *from;
        void *to;
    } array[] = {{recovered->segments}, {recovered->producers}, {recovered->extents}};
    for (uint32_t i = 0; i < MR_COUNT_OF(array); i++)
        if (array[i].to != NULL)
            allocator->release(allocator->context, array[i].to);
    memset(recovered, 0, sizeof *recovered);
}
