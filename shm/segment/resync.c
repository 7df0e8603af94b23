/* SPDX-License-Identifier: Apache-2.0 */
/* Is anything valid behind the bad spot? Two searches: where the sidecar says that batches are, and byte by byte. */
#include <errno.h>

#include "shm/segment/scan.h"

/* Records may hold bytes that look like headers, each costing a CRC up to the rest of the stream. This many times the stream's length,
 * and at least RESYNC_CRC_BYTES_MIN, is spent on CRCs; then the search gives up and says so. */
#define RESYNC_CRC_FACTOR    8
#define RESYNC_CRC_BYTES_MIN (64ull << 20)

struct resync {
    const struct mr_segment_scan_options *options;
    struct mr_segment_scan_result *result;
    struct mr_segment_window *log;
    struct mr_segment_window *pieces; /* the log too, through the side window's buffer: for CRCs, while `log` stays where the search is */
    uint64_t crc_bytes_left;
};

static void found(struct resync *resync, uint64_t position, const uint8_t *header)
{
    struct mr_segment_scan_result *result = resync->result;
    uint64_t end = position + (uint64_t)mr_batch_total_bytes(header);

    if (!result->behind || position < result->behind_position) {
        result->behind_position = position;
        result->behind_offset = (uint64_t)mr_batch_base_offset(header);
    }
    result->behind = true;
    if (end > result->behind_end)
        result->behind_end = end;
}

/* A header that could follow what is valid: cheap, so that few bytes get as far as a CRC. */
static bool plausible(const struct resync *resync, uint64_t position, const uint8_t *header)
{
    const struct mr_segment_point *end = &resync->result->end;
    uint64_t base_offset = (uint64_t)mr_batch_base_offset(header);

    return mr_batch_check_header(header, resync->options->log.bytes - position) == MR_BATCH_OK && base_offset >= end->next_offset &&
           base_offset - resync->options->base_offset <= UINT32_MAX && mr_batch_leader_epoch(header) >= end->epoch;
}

/* @return 1: the CRC of the batch at `position` is right; 0; -errno. Gives up when the budget is spent. */
static int crc_is_right(struct resync *resync, uint64_t position, const uint8_t *header)
{
    uint64_t at = position + MR_BATCH_CRC_FROM, end = position + (uint64_t)mr_batch_total_bytes(header);
    uint32_t want = mr_batch_crc(header), crc = 0;

    if (end - at > resync->crc_bytes_left) {
        resync->result->behind_gave_up = true;
        return 0;
    }
    resync->crc_bytes_left -= end - at;
    while (at < end) {
        const uint8_t *piece;
        /* to the end of the window that begins in at's block, so that each need() reads one window */
        uint64_t window_end = mr_align_down(at, MR_BLOCK_BYTES) + resync->pieces->buffer_bytes;
        size_t bytes = (size_t)(mr_min_u64(end, window_end) - at);
        int rc = mr_segment_window_need(resync->pieces, at, bytes, &piece);
        if (rc != 1)
            return rc;
        crc = mr_crc32c(crc, piece, bytes);
        at += bytes;
    }
    return crc == want;
}

/* Each later entry of the sidecar, dead or alive: a dead one finds no such header. */
static int search_by_sidecar(struct resync *resync, struct mr_segment_window *side)
{
    const struct mr_segment_scan_options *options = resync->options;
    const struct mr_segment_point *end = &resync->result->end;
    uint64_t from = mr_max_u64(end->side_position, MR_SIDECAR_HEADER_BYTES);
    const uint8_t *at;
    int rc = 0;

    for (uint64_t side_at = from; (rc = mr_segment_window_need(side, side_at, MR_SIDECAR_ENTRY_BYTES, &at)) == 1;
         side_at += MR_SIDECAR_ENTRY_BYTES) {
        struct mr_sidecar_entry entry = mr_sidecar_entry_read(at);
        uint8_t header[MR_BATCH_HEADER_BYTES];
        if (mr_sidecar_is_empty(&entry))
            return 0;
        if (mr_sidecar_is_cut(&entry) || entry.position <= end->position)
            continue;
        rc = mr_segment_window_need(resync->log, entry.position, sizeof header, &at);
        if (rc < 0)
            return rc;
        if (rc == 0)
            continue;
        memcpy(header, at, sizeof header);
        if (!plausible(resync, entry.position, header) || mr_batch_total_bytes(header) != entry.batch_bytes ||
            (uint64_t)mr_batch_base_offset(header) != options->base_offset + entry.base_offset_delta)
            continue;
        /* The search window serves for the CRC here; the side window must stay. */
        struct mr_segment_window *pieces = resync->pieces;
        resync->pieces = resync->log;
        rc = crc_is_right(resync, entry.position, header);
        resync->pieces = pieces;
        if (rc < 0)
            return rc;
        if (rc == 1)
            found(resync, entry.position, header);
    }
    return rc;
}

/* Every byte behind: a magic of 2 in its place is looked for first, at the speed of memchr (zeros pass at memory speed). */
static int search_by_bytes(struct resync *resync)
{
    const struct mr_segment_scan_options *options = resync->options;
    uint64_t limit = options->log.bytes;
    uint64_t position = resync->result->end.position + 1;

    if (options->resync_bytes_max != 0 && limit - mr_min_u64(limit, position) > options->resync_bytes_max)
        limit = position + options->resync_bytes_max;
    while (position < limit && options->log.bytes - position >= MR_BATCH_HEADER_BYTES) {
        const uint8_t *at;
        uint64_t window_end = mr_align_down(position, MR_BLOCK_BYTES) + resync->log->buffer_bytes;
        size_t bytes = (size_t)(mr_min_u64(options->log.bytes, window_end) - position);
        int rc = mr_segment_window_need(resync->log, position, bytes, &at);
        if (rc != 1)
            return rc;
        uint64_t next = position + bytes - (MR_BATCH_HEADER_BYTES - 1); /* the first header that is not whole in these bytes */
        const uint8_t *end = at + bytes;
        const uint8_t *magic = at + MR_BATCH_AT_MAGIC;
        while ((magic = memchr(magic, MR_BATCH_MAGIC, (size_t)(end - magic))) != NULL) {
            const uint8_t *header = magic - MR_BATCH_AT_MAGIC;
            uint64_t header_position = position + (uint64_t)(header - at);
            magic++;
            if (header_position >= next || header_position >= limit)
                break;
            if (!plausible(resync, header_position, header))
                continue;
            rc = crc_is_right(resync, header_position, header);
            if (rc < 0)
                return rc;
            if (rc == 1) {
                found(resync, header_position, header);
                next = header_position + (uint64_t)mr_batch_total_bytes(header);
                break;
            }
        }
        position = next;
    }
    return 0;
}

int mr_segment_resync(const struct mr_segment_scan_options *options, struct mr_segment_window *log, struct mr_segment_window *side,
                      struct mr_segment_scan_result *result)
{
    struct mr_segment_window pieces = {&options->log, side->buffer, side->buffer_bytes, 0, 0};
    uint64_t left = options->log.bytes - mr_min_u64(options->log.bytes, result->end.position);
    struct resync resync = {options, result, log, &pieces, mr_max_u64(left * RESYNC_CRC_FACTOR, RESYNC_CRC_BYTES_MIN)};
    int rc = options->side.read != NULL && result->stop != MR_SEGMENT_BAD_SIDECAR_HEADER ? search_by_sidecar(&resync, side) : 0;

    side->bytes = 0; /* its buffer is now used for pieces */
    return rc < 0 ? rc : search_by_bytes(&resync);
}
