/* SPDX-License-Identifier: Apache-2.0 */
/* RELIABILITY.md D5 and D6: what of a segment is good, and what the first bad spot means. */
#include "dataplane/log/recover/recover_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_BYTES (1u << 20)

static int64_t read_view(const struct mr_segment_source *source, uint64_t position, void *buffer, size_t bytes)
{
    const struct mr_view *view = source->context;
    if (position >= view->bytes)
        return 0;
    uint64_t there = mr_min_u64(bytes, view->bytes - position);
    int rc = mr_view_read(view, buffer, there, position);
    return rc != 0 ? rc : (int64_t)there;
}

int mr_judge_walk(struct mr_segment_files *files, const struct mr_uuid *topic_id, uint32_t partition, int32_t epoch_min,
                  int (*each)(void *context, const struct mr_segment_point *at, const uint8_t *batch), void *context)
{
    struct mr_segment_scan_options options = {
        .log = {.read = read_view, .context = &files->data, .bytes = files->data.bytes},
        .side = {.read = read_view, .context = &files->side, .bytes = files->side.bytes},
        .base_offset = files->base_offset,
        .topic_id = topic_id,
        .partition = partition,
        .start = {.next_offset = files->base_offset, .epoch = epoch_min},
        .flags = MR_SEGMENT_SCAN_RESYNC,
        .buffer_bytes = BUFFER_BYTES,
        .resync_bytes_max = 2 * MR_RECOVER_WINDOW_BYTES,
        .each = each,
        .context = context,
    };
    struct mr_segment_scan_result *result = &files->result;
    struct mr_segment_scan_result part;

    if (MUTANT(MUTANT_IGNORES_SIDE_STREAMS))
        options.side.read = NULL;

    memset(result, 0, sizeof *result);
    result->max_timestamp_ms = -1;
    do { /* a batch that does not fit: go on from there with a larger buffer, which is bounded by the largest batch */
        options.buffer = aligned_alloc(MR_BLOCK_BYTES, options.buffer_bytes);
        if (options.buffer == NULL)
            return -ENOMEM;
        (void)mr_segment_scan(&options, &part);
        free(options.buffer);
        options.start = part.end;
        options.buffer_bytes = mr_align_up(part.need_bytes, MR_BLOCK_BYTES);
        part.batch_count += result->batch_count;
        part.max_timestamp_ms = part.max_timestamp_ms > result->max_timestamp_ms ? part.max_timestamp_ms : result->max_timestamp_ms;
        *result = part;
    } while (part.stop == MR_SEGMENT_TOO_LARGE);
    if (result->stop == MR_SEGMENT_READ_FAILED || result->stop == MR_SEGMENT_REFUSED)
        return result->error;
    if (files->has_entries && result->salt != files->salt) { /* the file is of another life than what the journal knows */
        result->stop = MR_SEGMENT_BAD_SIDECAR_HEADER;
        result->end = (struct mr_segment_point){.next_offset = files->base_offset, .epoch = epoch_min};
        result->batch_count = 0;
    }
    files->walked = true;
    return 0;
}

/**
 * @param is_clean   files that were made and not written yet: no header, and nothing valid behind
 * @param is_foreign a whole header says that they are another topic's, partition's or segment's: no write in flight leaves that
 */
static int look_at_header(const struct mr_segment_files *files, const struct mr_uuid *topic_id, uint32_t partition, bool *is_clean, bool *is_foreign)
{
    static const uint8_t zeros[MR_SIDECAR_HEADER_BYTES];
    uint8_t bytes[MR_SIDECAR_HEADER_BYTES];
    struct mr_sidecar_header header;
    *is_clean = *is_foreign = false;
    if (files->result.stop != MR_SEGMENT_BAD_SIDECAR_HEADER)
        return 0;
    int rc = mr_view_read(&files->side, bytes, sizeof bytes, 0);
    if (rc != 0)
        return rc;
    *is_clean = !files->result.behind && memcmp(bytes, zeros, sizeof zeros) == 0;
    *is_foreign = mr_sidecar_header_check(bytes, &header) == 0 && !mr_sidecar_header_is_of(&header, topic_id, partition, files->base_offset);
    return 0;
}

int mr_judge_end(struct mr_segment_files *files, uint32_t count, uint32_t at, const struct mr_uuid *topic_id, uint32_t partition,
                 uint64_t end_min, enum mr_verdict *verdict, const char **why)
{
    const struct mr_segment_scan_result *result = &files[at].result;
    uint64_t behind_bytes = result->behind ? result->behind_end - result->end.position : 0;
    static const char *const foreign = "the sidecar is of another topic or segment";
    bool is_clean, is_foreign, ignored;
    int rc = look_at_header(&files[at], topic_id, partition, &is_clean, &is_foreign);

    if (rc != 0)
        return rc;
    is_clean = is_clean || mr_segment_scan_is_clean(result);
    *why = mr_segment_stop_text(result->stop);
    *verdict = MR_VERDICT_CORRUPT;
    if (MUTANT(MUTANT_CUTS_AT_FIRST_BAD_CRC)) {
        *verdict = MR_VERDICT_UNDECIDED;
        return 0;
    }
    if (is_foreign)
        *why = foreign;
    if (is_foreign || result->end.next_offset < end_min || files[at].proven_data > result->end.position || files[at].proven_side > result->end.side_position)
        return 0;
    for (uint32_t i = at + 1; i < count; i++) {
        if (files[i].proven_data > 0)
            return 0;
        rc = mr_judge_walk(&files[i], topic_id, partition, 0, NULL, NULL);
        if (rc == 0)
            rc = look_at_header(&files[i], topic_id, partition, &ignored, &is_foreign);
        if (rc != 0)
            return rc;
        if (is_foreign) {
            *why = foreign;
            return 0;
        }
        behind_bytes += files[i].result.behind ? files[i].result.behind_end : files[i].result.end.position;
        is_clean = is_clean && files[i].result.batch_count == 0 && !files[i].result.behind;
    }
    if (behind_bytes > MR_RECOVER_WINDOW_BYTES || result->behind_gave_up) {
        *why = "valid batches lie further behind it than writes in flight can";
        return 0;
    }
    *verdict = is_clean ? MR_VERDICT_CLEAN : MR_VERDICT_UNDECIDED;
    return 0;
}

int mr_judge_closed(struct mr_segment_files *files, const struct mr_uuid *topic_id, uint32_t partition, uint64_t next_base, bool *is_closed)
{
    struct mr_sidecar_header header;
    uint8_t bytes[MR_SIDECAR_HEADER_BYTES], batch[MR_BATCH_HEADER_BYTES];
    uint64_t side_bytes = files->side.bytes;

    *is_closed = false;
    if (!files->has_data || !files->has_side || files->has_entries || files->has_cut || side_bytes < sizeof header + MR_SIDECAR_ENTRY_BYTES ||
        (side_bytes - sizeof header) % MR_SIDECAR_ENTRY_BYTES != 0)
        return 0;
    int rc = mr_view_read(&files->side, bytes, sizeof bytes, 0);
    if (rc != 0)
        return rc;
    if (mr_sidecar_header_check(bytes, &header) != 0 || !mr_sidecar_header_is_of(&header, topic_id, partition, files->base_offset))
        return 0;
    rc = mr_view_read(&files->side, bytes, MR_SIDECAR_ENTRY_BYTES, side_bytes - MR_SIDECAR_ENTRY_BYTES);
    if (rc != 0)
        return rc;
    struct mr_sidecar_entry last = mr_sidecar_entry_read(bytes);
    if (mr_sidecar_is_cut(&last) || mr_sidecar_is_empty(&last) || (uint64_t)last.position + last.batch_bytes != files->data.bytes)
        return 0;
    rc = mr_view_read(&files->data, batch, sizeof batch, last.position);
    if (rc != 0)
        return rc;
    if (mr_batch_total_bytes(batch) != last.batch_bytes || mr_batch_magic(batch) != MR_BATCH_MAGIC ||
        (uint64_t)mr_batch_next_offset(batch) != next_base)
        return 0;
    *is_closed = true;
    files->closed = (struct mr_log_segment){
        .base_offset = files->base_offset,
        .next_offset = next_base,
        .bytes = files->data.bytes,
        .side_bytes = side_bytes,
        .salt = header.salt,
        .chain = last.chain,
        .max_timestamp_ms = mr_batch_max_timestamp(batch),
    };
    return 0;
}
