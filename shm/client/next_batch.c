/* SPDX-License-Identifier: Apache-2.0 */
/* Where a reader's next batch is: in the extent it reads, in the one behind it, in a segment file, or not there yet.
 *
 * A reader that finds nothing look after look waits for single records, and every transfer of a line from the reactor's core is part of their
 * latency. So it asks for the lines of the next batch before that is visible (foresee): they come while the reactor is still at work on the head,
 * not after. A reader that finds something at every look does not: it would take lines away that the reactor is filling. */
#include "shm/client/consumer_internal.h"

/* Begin with a batch. @return 1: it has records for us; 0: skipped; -EBADMSG and so on */
static int open_batch(struct millrace_consumer *consumer, struct mr_reader *reader, const uint8_t *batch, uint64_t available_bytes,
                      bool is_live)
{
    int rc = mr_batch_iterator_init(&reader->batch, batch, available_bytes);

    if (mr_unlikely(rc == -EOPNOTSUPP)) {
        rc = mr_batch_decompress(batch, (size_t)mr_batch_total_bytes(batch), MR_DECOMPRESSED_MAX, &reader->decompressed);
        if (rc == 0) {
            mr_batch_iterator_init_records(&reader->batch, batch, reader->decompressed.bytes, reader->decompressed.size_bytes);
            reader->buffer_poll = consumer->poll_count;
        }
    }
    if (mr_unlikely(rc != 0))
        return rc;
    if (mr_unlikely(is_live && consumer->verify) &&
        mr_batch_check(batch, (uint64_t)mr_batch_total_bytes(batch), MR_BATCH_CHECK_NO_WALK) != MR_BATCH_OK)
        return -EBADMSG;
    reader->batch_end = (uint64_t)mr_batch_next_offset(batch);
    if (mr_unlikely(reader->batch.is_control || reader->batch_end <= reader->offset)) {
        reader->offset = mr_max_u64(reader->offset, reader->batch_end); /* a marker of a transaction is no record */
        return 0;
    }
    reader->in_batch = true;
    return 1;
}

/* True if a batch is compressed: it needs the private buffer, which may still be in the caller's hands. */
static bool waits_for_buffer(const struct millrace_consumer *consumer, const struct mr_reader *reader)
{
    return reader->buffer_poll == consumer->poll_count;
}

static int live_batch(struct millrace_consumer *consumer, struct mr_reader *reader)
{
    uint64_t sealed_end = mr_load_relaxed(&reader->extent->sealed_end); /* S: ordered by V */
    uint64_t end = sealed_end != 0 && sealed_end < reader->window_end ? sealed_end : reader->window_end;

    if (mr_unlikely(sealed_end != 0 && reader->position >= sealed_end)) {
        int rc = mr_reader_cross(consumer, reader);
        if (rc != 1)
            return rc == -ENOENT ? -EAGAIN : rc == -ENXIO ? mr_reader_without_map(consumer, reader) : rc;
        sealed_end = mr_load_relaxed(&reader->extent->sealed_end);
        end = sealed_end != 0 && sealed_end < reader->window_end ? sealed_end : reader->window_end;
        if (sealed_end != 0 && reader->position >= sealed_end)
            return -EAGAIN; /* an extent without a batch */
    }
    if (mr_unlikely(end - reader->position < MR_BATCH_HEADER_BYTES))
        return -EBADMSG;
    const uint8_t *batch = reader->window + (reader->position - reader->window_position);
    if (mr_unlikely((uint64_t)mr_batch_base_offset(batch) >= reader->visible))
        return 0; /* K3: behind a gap of compaction */
    if (mr_unlikely(mr_batch_codec(batch) != MR_BATCH_CODEC_NONE) && waits_for_buffer(consumer, reader))
        return 0;
    int rc = open_batch(consumer, reader, batch, end - reader->position, true);
    if (mr_unlikely(rc < 0))
        return rc;
    reader->position += (uint64_t)mr_batch_total_bytes(batch);
    return rc == 1 ? 1 : -EAGAIN;
}

static MR_COLD int cold_batch(struct millrace_consumer *consumer, struct mr_reader *reader)
{
    const uint8_t *batch;
    uint32_t batch_bytes;

    if (waits_for_buffer(consumer, reader))
        return 0;
    int rc = mr_reader_cold_batch(reader, &batch, &batch_bytes);
    if (rc != 1)
        return rc == 0 ? -EAGAIN : rc;
    reader->buffer_poll = consumer->poll_count;
    rc = open_batch(consumer, reader, batch, batch_bytes, false);
    if (rc == 0)
        reader->buffer_poll = 0; /* nothing of it was given out */
    return rc == 0 ? -EAGAIN : rc;
}

static MR_COLD int look(struct millrace_consumer *consumer, struct mr_reader *reader)
{
    if (reader->offset < mr_load_relaxed(&reader->head->log_start))
        return -ERANGE;
    int rc = mr_reader_place(consumer, reader);
    if (rc == -ENOENT)
        rc = mr_reader_go_cold(consumer, reader);
    else if (rc == -ENXIO)
        rc = mr_reader_without_map(consumer, reader);
    if (rc != 0)
        return rc;
    return reader->state == MR_READER_LOOKING ? 0 : -EAGAIN;
}

#define LOOKS_IN_BULK 3u /* without a find, by a reader that is behind a busy writer */

/* A hint, so K3 does not mind: the lines are read when `visible` has moved past them. */
static inline void foresee(struct mr_reader *reader)
{
    if (reader->empty_looks < LOOKS_IN_BULK) {
        reader->empty_looks++;
    } else if (mr_likely(reader->state == MR_READER_LIVE)) {
        const uint8_t *batch = reader->window + (reader->position - reader->window_position);
        mr_prefetch_read(batch); /* a small record's: header and record */
        mr_prefetch_read(batch + MR_CACHE_LINE);
        mr_prefetch_read(batch + 2 * MR_CACHE_LINE);
    }
}

int mr_reader_next_batch(struct millrace_consumer *consumer, struct mr_reader *reader)
{
    /* Bound: each round goes on by a batch or an extent, or ends; markers and empty extents do not come in such numbers. */
    for (uint32_t rounds = 0; rounds < 1024; rounds++) {
        int rc;
        if (mr_unlikely(reader->error != 0))
            return reader->error;
        if (reader->offset >= reader->visible) {
            reader->visible = mr_load_acquire(&reader->head->visible); /* V */
            if (mr_likely(reader->offset >= reader->visible)) {
                if (mr_unlikely(reader->state == MR_READER_COLD))
                    mr_reader_leave_cold(reader); /* what comes next is in memory */
                foresee(reader);
                return 0;
            }
        }
        reader->empty_looks = 0;
        if (mr_likely(reader->state == MR_READER_LIVE))
            rc = live_batch(consumer, reader);
        else if (reader->state == MR_READER_COLD)
            rc = cold_batch(consumer, reader);
        else
            rc = look(consumer, reader);
        if (mr_likely(rc >= 0))
            return rc;
        if (rc != -EAGAIN) {
            reader->error = rc;
            return rc;
        }
    }
    return 0;
}
