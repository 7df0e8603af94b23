/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/segment/reader.h"

#include <errno.h>

#include "shm/segment/sidecar.h"

void mr_segment_reader_init(struct mr_segment_reader *reader, const struct mr_segment_source *log, uint64_t base_offset, uint8_t *buffer,
                            size_t buffer_bytes)
{
    reader->log = *log;
    reader->base_offset = base_offset;
    reader->position = 0;
    reader->need_bytes = 0;
    mr_segment_reader_set_buffer(reader, buffer, buffer_bytes);
}

void mr_segment_reader_set_buffer(struct mr_segment_reader *reader, uint8_t *buffer, size_t buffer_bytes)
{
    mr_assert(buffer_bytes >= MR_SEGMENT_READER_BUFFER_MIN && buffer_bytes % MR_BLOCK_BYTES == 0);
    reader->window = (struct mr_segment_window){&reader->log, buffer, buffer_bytes, 0, 0};
}

void mr_segment_reader_extend(struct mr_segment_reader *reader, uint64_t durable_end)
{
    if (durable_end > reader->log.bytes)
        reader->log.bytes = durable_end; /* the window holds nothing behind the old end, so it is read again from there */
}

void mr_segment_reader_seek(struct mr_segment_reader *reader, uint64_t position)
{
    reader->position = position;
}

/* A header at a position. @return 1; 0: the durable part ends here; -EBADMSG; -errno */
static int load_header(struct mr_segment_reader *reader, uint64_t position, const uint8_t **batch)
{
    int rc = mr_segment_window_need(&reader->window, position, MR_BATCH_HEADER_BYTES, batch);

    if (rc != 1)
        return rc;
    enum mr_batch_reason reason = mr_batch_check_header(*batch, reader->log.bytes - position);
    if (reason == MR_BATCH_OK)
        return 1;
    if (reason == MR_BATCH_BAD_TRUNCATED)
        return 0;
    for (int i = 0; i < MR_BATCH_HEADER_BYTES; i++)
        if ((*batch)[i] != 0)
            return -EBADMSG;
    return 0;
}

int mr_segment_reader_next(struct mr_segment_reader *reader, const uint8_t **batch, uint32_t *batch_bytes)
{
    int rc = load_header(reader, reader->position, batch);

    if (rc != 1)
        return rc;
    size_t total_bytes = (size_t)mr_batch_total_bytes(*batch);
    rc = mr_segment_window_need(&reader->window, reader->position, total_bytes, batch);
    if (rc == -EMSGSIZE)
        reader->need_bytes = mr_align_up(total_bytes, MR_BLOCK_BYTES) + MR_BLOCK_BYTES;
    if (rc != 1)
        return rc;
    if (mr_batch_check(*batch, total_bytes, MR_BATCH_CHECK_COMPACTED | MR_BATCH_CHECK_NO_WALK) != MR_BATCH_OK)
        return -EBADMSG;
    *batch_bytes = (uint32_t)total_bytes;
    reader->position += total_bytes;
    return 1;
}

/* Binary search for the last entry that is not behind the offset. Cuts may have put the entries out of order; then this finds nothing
 * sensible, and the caller notices at the batch itself. @return 1 and a position; 0: none; -errno */
static int find_in_side(struct mr_segment_reader *reader, const struct mr_segment_source *side, uint64_t offset_delta, uint64_t *position)
{
    /* One block at a time: a probe costs a read anyway, and the last probes fall into one block. */
    struct mr_segment_window window = {side, reader->window.buffer, MR_BLOCK_BYTES, 0, 0};
    uint64_t low = 0, high = side->bytes < MR_SIDECAR_HEADER_BYTES ? 0 : (side->bytes - MR_SIDECAR_HEADER_BYTES) / MR_SIDECAR_ENTRY_BYTES;
    int any = 0;

    reader->window.bytes = 0;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        const uint8_t *at;
        int rc = mr_segment_window_need(&window, MR_SIDECAR_HEADER_BYTES + middle * MR_SIDECAR_ENTRY_BYTES, MR_SIDECAR_ENTRY_BYTES, &at);
        if (rc < 0)
            return rc;
        struct mr_sidecar_entry entry = {0};
        if (rc == 1)
            entry = mr_sidecar_entry_read(at);
        bool behind = mr_sidecar_is_empty(&entry) || entry.base_offset_delta > offset_delta ||
                      (!mr_sidecar_is_cut(&entry) && (uint64_t)entry.position + entry.batch_bytes > reader->log.bytes);
        if (!behind && !mr_sidecar_is_cut(&entry)) {
            *position = entry.position;
            any = 1;
        }
        if (behind)
            high = middle;
        else
            low = middle + 1;
    }
    return any;
}

int mr_segment_reader_find(struct mr_segment_reader *reader, const struct mr_segment_source *side, uint64_t offset)
{
    uint64_t position = 0;
    const uint8_t *batch;
    int rc = 0;

    if (offset < reader->base_offset)
        return -ERANGE;
    if (side != NULL) {
        rc = find_in_side(reader, side, offset - reader->base_offset, &position);
        if (rc < 0)
            return rc;
        if (rc == 1) { /* believe it only if a batch at or before the offset is there, and whole */
            rc = load_header(reader, position, &batch);
            if (rc != 1 || (uint64_t)mr_batch_base_offset(batch) > offset)
                position = 0;
        }
    }
    for (;;) { /* bound: every step is 61 bytes or more of the segment */
        rc = load_header(reader, position, &batch);
        if (rc != 1)
            return rc == 0 ? -ENOENT : rc;
        if ((uint64_t)mr_batch_last_offset(batch) >= offset) {
            reader->position = position;
            return 0;
        }
        position += (uint64_t)mr_batch_total_bytes(batch);
    }
}
