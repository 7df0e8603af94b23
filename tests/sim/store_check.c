/* SPDX-License-Identifier: Apache-2.0 */
/* What recovery made of an image, held against what the world did. Reads the files by itself, record by record. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/atomics.h"
#include "shm/segment/segment.h"
#include "tests/sim/store_world.h"

struct cursor {
    const struct world_partition *partition;
    uint64_t offset; /* next expected */
    uint64_t from;   /* records below do not matter */
    uint64_t checked;
};

static bool compare_batch(struct cursor *cursor, const uint8_t *batch, uint64_t bytes)
{
    struct mr_batch_iterator it;
    struct mr_batch_record record;
    uint8_t value[1024];
    if ((uint64_t)mr_batch_base_offset(batch) != cursor->offset || mr_batch_iterator_init(&it, batch, bytes) != 0)
        return false;
    for (uint32_t i = 0; mr_batch_next(&it, &record) == 1; i++) {
        uint64_t offset = (uint64_t)record.offset;
        if (offset != cursor->offset + i || offset >= cursor->partition->end)
            return false;
        const struct world_record *right = &cursor->partition->record[offset];
        world_value(cursor->partition, right, value);
        if (record.value_bytes != right->bytes || memcmp(record.value, value, right->bytes) != 0 ||
            mr_batch_producer_id(batch) != 1000 + right->producer ||
            (int32_t)(((uint32_t)mr_batch_base_sequence(batch) + i) & INT32_MAX) != right->sequence)
            return false;
        cursor->checked += offset >= cursor->from;
    }
    cursor->offset = (uint64_t)mr_batch_next_offset(batch);
    return true;
}

/** @return whether all records in the files from log start to the end are those that were appended */
static bool compare_files(struct mr_sim_disk_machine *machine, const struct world_partition *partition, const struct mr_log_recovered *recovered,
                          uint64_t *records_checked)
{
    struct cursor cursor = {.partition = partition, .from = recovered->log_start};
    for (uint32_t s = 0; s < recovered->segment_count; s++) { /* all that is left, also what lies below log start */
        const struct mr_log_segment *segment = &recovered->segments[s];
        char path[128];
        snprintf(path, sizeof path, "%s/%020llu.log", partition->path, (unsigned long long)segment->base_offset);
        uint8_t *bytes = malloc(segment->bytes + 1);
        world_must(bytes != NULL);
        int64_t size = mr_sim_disk_size_path(machine, path);
        bool is_tail = s + 1 == recovered->segment_count; /* keeps its last block whole */
        bool ok = size >= (int64_t)segment->bytes && size <= (int64_t)(is_tail ? mr_align_up(segment->bytes, MR_BLOCK_BYTES) : segment->bytes) &&
                  mr_sim_disk_read_path(machine, path, bytes, segment->bytes, 0) == (int64_t)segment->bytes;
        ok = ok && (s == 0 || segment->base_offset == cursor.offset);
        cursor.offset = segment->base_offset;
        for (uint64_t at = 0; ok && at < segment->bytes;) {
            ok = mr_batch_check(bytes + at, segment->bytes - at, 0) == MR_BATCH_OK && compare_batch(&cursor, bytes + at, segment->bytes - at);
            at += ok ? (uint64_t)mr_batch_total_bytes(bytes + at) : 0;
        }
        free(bytes);
        if (!ok)
            return false;
    }
    *records_checked += cursor.checked;
    return recovered->segment_count == 0 || (recovered->segments[0].base_offset <= recovered->log_start && cursor.offset == recovered->next_offset);
}

static bool compare_producers(const struct world_partition *partition, const struct mr_log_recovered *recovered)
{
    for (uint32_t producer = 0; producer < WORLD_PRODUCERS; producer++) {
        const struct mr_log_producer_state *state = NULL;
        for (uint32_t i = 0; i < recovered->producer_count; i++)
            if (recovered->producers[i].producer_id == 1000 + producer)
                state = &recovered->producers[i];
        for (uint64_t offset = recovered->next_offset; offset-- > 0;) {
            if (partition->record[offset].producer != producer)
                continue;
            /* One whose records were all deleted may be forgotten. */
            if (state == NULL ? offset >= recovered->log_start : state->last_sequence != partition->record[offset].sequence)
                return false;
            break;
        }
    }
    return true;
}

static const char *compare(struct mr_sim_disk_machine *machine, const struct world_partition *partition,
                           const struct mr_log_recovered *recovered, uint64_t acked_end, uint64_t *records_checked)
{
    uint64_t log_start = mr_load_relaxed(&partition->head->log_start);
    if (recovered->next_offset < acked_end)
        return "acked records are missing";
    if (recovered->next_offset > partition->end)
        return "the log ends behind what was appended";
    if (recovered->log_start < log_start)
        return "deleted records are visible again";
    if (partition->retention_bytes == UINT64_MAX && recovered->log_start > partition->trim_asked)
        return "records were deleted that nobody asked to delete";
    if (machine != NULL && !compare_files(machine, partition, recovered, records_checked))
        return "the files do not hold what was appended";
    /* What was deleted before it was durable may be gone in every respect. */
    bool is_emptied = recovered->segment_count == 0;
    if (!is_emptied && !compare_producers(partition, recovered))
        return "a producer's sequence is wrong";
    if (recovered->next_offset > acked_end)
        world_reach(WORLD_UNACKED_SURVIVED);
    return NULL;
}

static void describe(const struct world *world, const struct world_partition *partition, const struct mr_log_recovered *recovered,
                     uint64_t acked_end, const char *what)
{
    fprintf(stderr, "MR_SEED=%llu partition %s: %s: log start %llu (world %llu, asked %llu), end %llu (acked %llu, appended %llu), %u segments\n",
            (unsigned long long)world->seed, partition->path, what, (unsigned long long)recovered->log_start,
            (unsigned long long)mr_load_relaxed(&partition->head->log_start), (unsigned long long)partition->trim_asked,
            (unsigned long long)recovered->next_offset, (unsigned long long)acked_end, (unsigned long long)partition->end,
            recovered->segment_count);
}

void check_recovered(const struct world *world, struct mr_sim_disk_machine *machine, const struct world_partition *partition,
                     const struct mr_log_recovered *recovered, uint64_t acked_end, uint64_t *records_checked)
{
    const char *what = recovered->offline ? "offline" : compare(machine, partition, recovered, acked_end, records_checked);
    if (what == NULL)
        return;
    describe(world, partition, recovered, acked_end, what);
    world_failed(__FILE__, __LINE__, "the image is as it must be");
}

bool check_memory(const struct world_partition *partition, const struct mr_log_recovered *adopted)
{
    struct cursor cursor = {.partition = partition};
    for (uint32_t e = 0; e < adopted->extent_count && (e == 0 || cursor.offset < adopted->next_offset); e++) {
        const struct mr_extent_header *h = adopted->extents[e].memory;
        if (e == 0)
            cursor.offset = h->base_offset;
        uint64_t at = h->start_position - h->window_position;
        uint64_t end = h->sealed_end != 0 ? h->sealed_end - h->window_position : h->data_bytes;
        while (cursor.offset < adopted->next_offset && at < end) {
            const uint8_t *batch = (const uint8_t *)h + h->data_position + at;
            if (mr_batch_check(batch, end - at, 0) != MR_BATCH_OK || !compare_batch(&cursor, batch, end - at))
                return false;
            at += (uint64_t)mr_batch_total_bytes(batch);
        }
    }
    return (adopted->extent_count == 0 || cursor.offset == adopted->next_offset) && compare_producers(partition, adopted);
}

/** What `millrace log verify` and the scrubber do: is every segment good from front to end, with its sidecar? */
bool check_verify(struct mr_sim_disk_machine *machine, const struct world_partition *partition, const struct mr_log_recovered *recovered)
{
    bool is_good = true;
    for (uint32_t s = 0; is_good && s < recovered->segment_count; s++) {
        const struct mr_log_segment *segment = &recovered->segments[s];
        struct mr_segment_scan_result result;
        char path[128];
        uint8_t *bytes = calloc(1, segment->bytes + segment->side_bytes + MR_BLOCK_BYTES), *side = bytes + segment->bytes;
        uint8_t *buffer = aligned_alloc(MR_BLOCK_BYTES, 128u << 10);
        snprintf(path, sizeof path, "%s/%020llu.log", partition->path, (unsigned long long)segment->base_offset);
        (void)mr_sim_disk_read_path(machine, path, bytes, segment->bytes, 0);
        snprintf(path, sizeof path, "%s/%020llu.sidecar", partition->path, (unsigned long long)segment->base_offset);
        (void)mr_sim_disk_read_path(machine, path, side, segment->side_bytes, 0);
        struct mr_segment_scan_options options = {
            .log = mr_segment_source_memory(bytes, segment->bytes), .side = mr_segment_source_memory(side, segment->side_bytes),
            .base_offset = segment->base_offset, .topic_id = &partition->topic_id, .start = {.next_offset = segment->base_offset},
            .buffer = buffer, .buffer_bytes = 128u << 10,
        };
        is_good = mr_segment_scan(&options, &result) == MR_SEGMENT_END_EXACT && result.end.position == segment->bytes &&
                  result.end.next_offset == segment->next_offset;
        free(buffer);
        free(bytes);
    }
    return is_good;
}

static void hear(void *context, int level, const char *line)
{
    struct world_image *image = context;
    if (strstr(line, ": cut at offset") != NULL)
        world_reach(WORLD_UNDECIDED_CUT);
    if (strstr(line, "came from the journal") != NULL && strstr(line, " 0 segments made") == NULL)
        world_reach(WORLD_JOURNAL_ONLY_SEGMENT);
    if (strstr(line, "came from the journal") != NULL && strstr(line, "(0 torn") == NULL)
        world_reach(WORLD_TAIL_BLOCK_RESTORED);
    if (level < 2 && image->said_count < MR_COUNT_OF(image->said))
        snprintf(image->said[image->said_count++], sizeof image->said[0], "%d %.290s", level, line);
}

enum image_result image_check(struct world_image *image, bool was_damaged)
{
    const struct world *world = image->world;
    enum image_result result = IMAGE_OK;
    image->disk = mr_sim_disk_open(image->machine);
    image->said_count = 0;
    for (uint32_t d = 0; d < world->directory_count && result != IMAGE_CUT; d++) {
        struct mr_recovery *recovery = NULL;
        struct millrace_error err = {0};
        int rc = mr_recovery_open(&recovery, image->disk, world->directory[d], hear, image, &err);
        for (uint32_t i = 0; rc == 0 && i < world->partition_count; i++) {
            const struct world_partition *partition = &world->partition[i];
            struct mr_log_recovered recovered;
            if (partition->directory != d)
                continue;
            rc = mr_recovery_partition(recovery, partition->path, &partition->topic_id, 0, 0, &recovered, &err);
            if (rc != 0)
                break;
            uint64_t acked_end = mr_max_u64(mr_load_relaxed(&partition->head->durable), partition->settled_end);
            const char *what = recovered.offline ? NULL
                                                 : compare(image->machine, partition, &recovered, acked_end, &image->records_checked);
            if (!recovered.offline && !was_damaged && what == NULL && image->with_verify && !check_verify(image->machine, partition, &recovered))
                what = "a segment and its sidecar disagree";
            if (recovered.offline && was_damaged) {
                result = IMAGE_DETECTED;
            } else if (was_damaged && what != NULL && strstr(what, "files do not hold") != NULL &&
                       !check_verify(image->machine, partition, &recovered)) {
                result = IMAGE_VERIFY; /* closed long ago and not read at a start; each reader checks the CRC, the scrubber the rest */
            } else if (recovered.offline || what != NULL) {
                if (was_damaged && what != NULL && strstr(what, "acked") != NULL && image->said_count > 0) {
                    result = IMAGE_SAID;
                    image->what = what;
                    continue;
                }
                for (uint32_t s = 0; s < image->said_count; s++)
                    fprintf(stderr, "  %s\n", image->said[s]);
                describe(world, partition, &recovered, acked_end, recovered.offline ? "offline" : what);
                image->what = recovered.offline ? "offline" : what;
                result = IMAGE_BAD;
            }
        }
        if (rc == 0)
            rc = mr_recovery_checkpoint(recovery, &err);
        if (rc == 0)
            rc = mr_recovery_retire(recovery, &err);
        mr_recovery_close(recovery);
        if (rc != 0 && mr_sim_disk_is_cut(image->machine)) {
            result = IMAGE_CUT;
        } else if (rc == -EBADMSG && was_damaged) {
            result = IMAGE_DETECTED; /* a file of the directory's own */
        } else if (rc != 0) {
            fprintf(stderr, "%s\n", err.text);
            result = IMAGE_BAD;
        }
    }
    mr_disk_release(image->disk);
    return result;
}
