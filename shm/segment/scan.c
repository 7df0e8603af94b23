/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/segment/scan.h"

#include <errno.h>

/* The walk's state is result->end: it moves only over what is good, so whatever stops it, result->end is the valid end. */
struct scan {
    const struct mr_segment_scan_options *options;
    struct mr_segment_scan_result *result;
    struct mr_segment_window log, side;
    bool has_side;
    uint64_t cut_position; /* live entries lie below this... */
    uint64_t cut_at;       /* ...until the cut that stands here in the sidecar has passed */
};

static enum mr_segment_stop read_failed(struct scan *scan, int rc)
{
    scan->result->error = rc;
    return MR_SEGMENT_READ_FAILED;
}

/* @return 1 and the entry at this place of the sidecar; 0: the stream ends here; -errno */
static int side_entry(struct scan *scan, uint64_t side_position, struct mr_sidecar_entry *entry)
{
    const uint8_t *at;
    int rc = mr_segment_window_need(&scan->side, side_position, MR_SIDECAR_ENTRY_BYTES, &at);

    if (rc != 1)
        return rc;
    *entry = mr_sidecar_entry_read(at);
    return mr_sidecar_is_empty(entry) ? 0 : 1;
}

/* Entries in front of a cut at or behind its position are dead. Find the least cut from here on, and of equal ones the last: until it has
 * passed, it decides. One pass over the rest of the sidecar for every cut that decided: none in almost every segment. A cut counts only
 * if its chain fits the entry before it, so garbage behind the end does not cut. */
static int find_cut(struct scan *scan)
{
    uint32_t chain = scan->result->end.chain;
    struct mr_sidecar_entry entry;
    int rc;

    scan->cut_position = UINT64_MAX;
    scan->cut_at = UINT64_MAX;
    for (uint64_t at = scan->result->end.side_position; (rc = side_entry(scan, at, &entry)) == 1; at += MR_SIDECAR_ENTRY_BYTES) {
        if (mr_sidecar_check_cut(&entry, chain) && entry.batch_bytes <= scan->cut_position) {
            scan->cut_position = entry.batch_bytes;
            scan->cut_at = at;
        }
        chain = entry.chain;
    }
    return rc;
}

/* Pass over dead entries and cuts. @return 1 and the entry of the next batch; 0: the sidecar ends; -EBADMSG; another -errno */
static int side_next(struct scan *scan, struct mr_sidecar_entry *entry)
{
    struct mr_segment_point *end = &scan->result->end;
    int rc;

    while ((rc = side_entry(scan, end->side_position, entry)) == 1) {
        if (mr_sidecar_is_cut(entry)) {
            bool decides = end->side_position == scan->cut_at;
            if (!mr_sidecar_check_cut(entry, end->chain))
                return -EBADMSG;
            if (decides &&
                (entry->batch_bytes != end->position || scan->options->base_offset + entry->base_offset_delta != end->next_offset))
                return -EBADMSG;
            end->chain = entry->chain;
            end->side_position += MR_SIDECAR_ENTRY_BYTES;
            if (decides) {
                rc = find_cut(scan);
                if (rc < 0)
                    return rc;
            }
        } else if (entry->position >= scan->cut_position) {
            end->chain = entry->chain;
            end->side_position += MR_SIDECAR_ENTRY_BYTES;
        } else {
            return 1;
        }
    }
    return rc;
}

static bool all_zero(const uint8_t *at, size_t bytes)
{
    uint8_t any = 0;

    for (size_t i = 0; i < bytes; i++)
        any |= at[i];
    return any == 0;
}

/* The batch at the end point, by itself: @return true and the batch, or false and why the scan stops here */
static bool load_batch(struct scan *scan, const uint8_t **batch, enum mr_segment_stop *stop)
{
    struct mr_segment_scan_result *result = scan->result;
    uint64_t position = result->end.position;
    uint64_t left = position < scan->options->log.bytes ? scan->options->log.bytes - position : 0;
    size_t header_bytes = mr_min_u64(MR_BATCH_HEADER_BYTES, left);
    int rc = 1;

    if (left == 0) {
        *stop = MR_SEGMENT_END_EXACT;
        return false;
    }
    rc = mr_segment_window_need(&scan->log, position, header_bytes, batch);
    if (rc < 0) {
        *stop = read_failed(scan, rc);
        return false;
    }
    if (rc == 0) { /* the file is shorter than was said */
        *stop = MR_SEGMENT_PAST_END;
        return false;
    }
    if (all_zero(*batch, header_bytes)) {
        *stop = MR_SEGMENT_END_ZEROS;
        return false;
    }
    result->batch_reason = mr_batch_check_header(*batch, left);
    if (result->batch_reason != MR_BATCH_OK) {
        bool past = result->batch_reason == MR_BATCH_BAD_SHORT || result->batch_reason == MR_BATCH_BAD_TRUNCATED;
        *stop = past ? MR_SEGMENT_PAST_END : MR_SEGMENT_BAD_HEADER;
        return false;
    }
    size_t total_bytes = (size_t)mr_batch_total_bytes(*batch);
    rc = mr_segment_window_need(&scan->log, position, total_bytes, batch);
    if (rc == -EMSGSIZE) {
        result->need_bytes = mr_align_up((total_bytes + 2 * MR_BLOCK_BYTES) * 8 / 7, MR_BLOCK_BYTES) + 2 * MR_BLOCK_BYTES;
        *stop = MR_SEGMENT_TOO_LARGE;
        return false;
    }
    if (rc != 1) {
        *stop = rc == 0 ? MR_SEGMENT_PAST_END : read_failed(scan, rc);
        return false;
    }
    unsigned flags = (scan->options->flags & MR_SEGMENT_SCAN_COMPACTED) != 0 ? MR_BATCH_CHECK_COMPACTED : 0;
    if ((scan->options->flags & MR_SEGMENT_SCAN_RECORDS) == 0)
        flags |= MR_BATCH_CHECK_NO_WALK;
    result->batch_reason = mr_batch_check(*batch, total_bytes, flags);
    if (result->batch_reason != MR_BATCH_OK) {
        *stop = result->batch_reason == MR_BATCH_BAD_CRC ? MR_SEGMENT_BAD_CRC : MR_SEGMENT_BAD_RECORDS;
        return false;
    }
    return true;
}

/* Its place in the log. @return true and the chain to go on with */
static bool check_place(struct scan *scan, const uint8_t *batch, int side_rc, const struct mr_sidecar_entry *entry,
                        enum mr_segment_stop *stop)
{
    struct mr_segment_point *end = &scan->result->end;
    uint64_t base_offset = (uint64_t)mr_batch_base_offset(batch);

    if (scan->has_side && side_rc == 0) {
        *stop = MR_SEGMENT_NO_SIDECAR;
        return false;
    }
    if (scan->has_side && !mr_sidecar_check_entry(entry, end->chain, (uint32_t)end->position, batch, scan->options->base_offset)) {
        *stop = MR_SEGMENT_BAD_SIDECAR;
        return false;
    }
    bool compacted = (scan->options->flags & MR_SEGMENT_SCAN_COMPACTED) != 0;
    if (compacted ? base_offset < end->next_offset : base_offset != end->next_offset) {
        *stop = MR_SEGMENT_GAP;
        return false;
    }
    if (mr_batch_leader_epoch(batch) < end->epoch) {
        *stop = MR_SEGMENT_EPOCH_BACK;
        return false;
    }
    return true;
}

static enum mr_segment_stop walk(struct scan *scan)
{
    struct mr_segment_scan_result *result = scan->result;
    struct mr_segment_point *end = &result->end;

    for (;;) { /* bound: every batch is 61 bytes or more of the stream */
        struct mr_sidecar_entry entry = {0};
        enum mr_segment_stop stop;
        const uint8_t *batch;
        int side_rc = scan->has_side ? side_next(scan, &entry) : 0;
        if (side_rc == -EBADMSG)
            return MR_SEGMENT_BAD_SIDECAR;
        if (side_rc < 0)
            return read_failed(scan, side_rc);
        if (!load_batch(scan, &batch, &stop) || !check_place(scan, batch, side_rc, &entry, &stop))
            return stop;
        if (scan->options->each != NULL) {
            result->error = scan->options->each(scan->options->context, end, batch);
            if (result->error != 0)
                return MR_SEGMENT_REFUSED;
        }
        result->batch_count++;
        result->record_count += (uint32_t)mr_batch_record_count(batch);
        if (mr_batch_max_timestamp(batch) > result->max_timestamp_ms)
            result->max_timestamp_ms = mr_batch_max_timestamp(batch);
        end->position += (uint64_t)mr_batch_total_bytes(batch);
        end->next_offset = (uint64_t)mr_batch_next_offset(batch);
        end->epoch = mr_batch_leader_epoch(batch);
        if (scan->has_side) {
            end->chain = entry.chain;
            end->side_position += MR_SIDECAR_ENTRY_BYTES;
        }
    }
}

/* The sidecar's header: is it this segment's? */
static enum mr_segment_stop begin_side(struct scan *scan)
{
    const struct mr_segment_scan_options *options = scan->options;
    struct mr_segment_point *end = &scan->result->end;
    struct mr_sidecar_header header;
    const uint8_t *at;

    int rc = mr_segment_window_need(&scan->side, 0, MR_SIDECAR_HEADER_BYTES, &at);
    if (rc < 0)
        return read_failed(scan, rc);
    if (rc == 0 || mr_sidecar_header_check(at, &header) != 0 || header.base_offset != options->base_offset)
        return MR_SEGMENT_BAD_SIDECAR_HEADER;
    if (options->topic_id != NULL &&
        (memcmp(&header.topic_id, options->topic_id, sizeof header.topic_id) != 0 || header.partition != options->partition))
        return MR_SEGMENT_BAD_SIDECAR_HEADER;
    scan->result->salt = header.salt;
    if (end->side_position == 0) {
        end->side_position = MR_SIDECAR_HEADER_BYTES;
        end->chain = header.salt;
    }
    rc = find_cut(scan);
    return rc < 0 ? read_failed(scan, rc) : MR_SEGMENT_END_EXACT;
}

enum mr_segment_stop mr_segment_scan(const struct mr_segment_scan_options *options, struct mr_segment_scan_result *result)
{
    struct scan scan = {.options = options, .result = result, .has_side = options->side.read != NULL};
    size_t side_bytes = mr_min_u64(mr_max_u64(mr_align_down(options->buffer_bytes / 8, MR_BLOCK_BYTES), MR_BLOCK_BYTES), 256u << 10);

    mr_assert(options->buffer_bytes >= MR_SEGMENT_SCAN_BUFFER_MIN);
    memset(result, 0, sizeof *result);
    result->max_timestamp_ms = -1;
    result->end = options->start;
    if (options->start.position == 0)
        result->end = (struct mr_segment_point){.next_offset = options->base_offset, .epoch = options->start.epoch};
    scan.side = (struct mr_segment_window){&options->side, options->buffer, side_bytes, 0, 0};
    scan.log = (struct mr_segment_window){&options->log, options->buffer + side_bytes,
                                          mr_align_down(options->buffer_bytes - side_bytes, MR_BLOCK_BYTES), 0, 0};

    result->stop = scan.has_side ? begin_side(&scan) : MR_SEGMENT_END_EXACT;
    if (result->stop == MR_SEGMENT_END_EXACT)
        result->stop = walk(&scan);
    bool look_behind = (options->flags & MR_SEGMENT_SCAN_RESYNC) != 0 && result->stop != MR_SEGMENT_READ_FAILED &&
                       result->stop != MR_SEGMENT_REFUSED && result->stop != MR_SEGMENT_TOO_LARGE;
    if (look_behind) {
        int rc = mr_segment_resync(options, &scan.log, &scan.side, result);
        if (rc < 0)
            result->stop = read_failed(&scan, rc);
    }
    return result->stop;
}

const char *mr_segment_stop_text(enum mr_segment_stop stop)
{
    static const char *const text[MR_SEGMENT_STOP_COUNT] = {
        [MR_SEGMENT_END_EXACT] = "end",
        [MR_SEGMENT_END_ZEROS] = "end (zeros behind)",
        [MR_SEGMENT_PAST_END] = "batch goes beyond the end of the file",
        [MR_SEGMENT_BAD_HEADER] = "bad batch header",
        [MR_SEGMENT_BAD_CRC] = "bad batch crc",
        [MR_SEGMENT_BAD_RECORDS] = "bad records",
        [MR_SEGMENT_BAD_SIDECAR] = "sidecar does not agree",
        [MR_SEGMENT_NO_SIDECAR] = "sidecar ends before this batch",
        [MR_SEGMENT_BAD_SIDECAR_HEADER] = "bad sidecar header",
        [MR_SEGMENT_GAP] = "gap in offsets",
        [MR_SEGMENT_EPOCH_BACK] = "leader epoch goes back",
        [MR_SEGMENT_TOO_LARGE] = "batch larger than the buffer",
        [MR_SEGMENT_READ_FAILED] = "read failed",
        [MR_SEGMENT_REFUSED] = "stopped by the caller",
    };

    return (unsigned)stop < MR_SEGMENT_STOP_COUNT ? text[stop] : "unknown";
}
