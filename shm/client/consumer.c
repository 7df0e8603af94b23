/* SPDX-License-Identifier: Apache-2.0 */
/* Reading. What is hot: one look at `visible` for each partition, and the records of a batch in place. */
#include "shm/client/consumer_internal.h"

#include <string.h>

#include "shm/batch/headers.h"
#include "shm/ring/arm.h"

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

/* Make the iterator have records. @return 1; 0: nothing now; -errno, kept until a seek */
static int next_batch(struct millrace_consumer *consumer, struct mr_reader *reader)
{
    /* Bound: each round goes on by a batch or an extent, or ends; markers and empty extents do not come in such numbers. */
    for (uint32_t rounds = 0; rounds < 1024; rounds++) {
        int rc;
        if (mr_unlikely(reader->error != 0))
            return reader->error;
        if (reader->offset >= reader->visible) {
            reader->visible = mr_load_acquire(&reader->head->visible); /* V */
            if (mr_likely(reader->offset >= reader->visible))
                return 0;
        }
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

/* The next record of a partition. @param before set to the iterator as it was, so that the record can be put back. Hot. */
static inline int next_record(struct millrace_consumer *consumer, struct mr_reader *reader, struct mr_batch_record *record)
{
    for (;;) {
        if (mr_unlikely(!reader->in_batch)) {
            int rc = next_batch(consumer, reader);
            if (rc != 1)
                return rc;
        }
        int rc = mr_batch_next(&reader->batch, record);
        if (mr_likely(rc == 1)) {
            if (mr_unlikely((uint64_t)record->offset < reader->offset))
                continue; /* a seek into the middle */
            reader->offset = (uint64_t)record->offset + 1;
            return 1;
        }
        reader->in_batch = false;
        if (mr_unlikely(rc < 0)) {
            reader->error = rc;
            return rc;
        }
        reader->offset = mr_max_u64(reader->offset, reader->batch_end);
    }
}

static MR_COLD void let_go(struct mr_reader *reader, bool all)
{
    if (!mr_reader_check_held(reader))
        reader->error = -ESTALE;
    mr_reader_unpin(reader, all);
}

/* The extent being read has left the directory (K2). */
static MR_COLD void leave_unnamed(const struct millrace_consumer *consumer, struct mr_reader *reader)
{
    uint64_t now_ns = mr_client_now_ns();

    if (!mr_reader_check_held(reader))
        reader->error = -ESTALE;
    else if (reader->unnamed_ns == 0)
        reader->unnamed_ns = now_ns;
    /* Without a daemon nobody wants the memory, nor tells us where the file is. */
    if (reader->error == 0 && (now_ns - reader->unnamed_ns < MR_UNNAMED_NS || consumer->client->state != MR_CLIENT_ATTACHED))
        return;
    reader->state = MR_READER_LOOKING;
    reader->in_batch = false;
    mr_reader_unpin(reader, true);
}

/* What an earlier poll gave out is the caller's no more. */
static inline void begin_poll(struct millrace_consumer *consumer)
{
    consumer->poll_count++;
    if (mr_unlikely(mr_client_has_mail(consumer->client)) && mr_client_take_pushes(consumer->client) != 0)
        consumer->client->ended = true; /* mr_client_drive() finds out why */
    for (uint32_t i = 0; i < consumer->reader_count; i++) {
        struct mr_reader *reader = &consumer->reader[i];
        if (mr_unlikely(reader->held[0] != NULL && reader->held[1] != NULL))
            let_go(reader, false);
        else if (mr_unlikely(reader->state != MR_READER_LIVE && (reader->held[0] != NULL || reader->held[1] != NULL)))
            let_go(reader, true);
        if (mr_unlikely(reader->state == MR_READER_LIVE && mr_load_relaxed(&reader->head->directory_first) > reader->sequence))
            leave_unnamed(consumer, reader);
        /* What is left of a batch in the private buffer is given out in this poll: the buffer is taken. A batch that ended with the poll
         * before has nothing left; to take the buffer for it would wait for a poll that never comes while this one waits. */
        if (mr_unlikely(reader->in_batch && reader->batch.left > 0 && reader->buffer_poll != 0))
            reader->buffer_poll = consumer->poll_count;
    }
    if (mr_unlikely(consumer->grave_count > 0)) /* behind the look at what was held (K5) */
        mr_consumer_dig(consumer);
}

static inline uint32_t turn(struct millrace_consumer *consumer)
{
    uint32_t first = consumer->current;

    if (++consumer->current >= consumer->reader_count)
        consumer->current = 0;
    return first;
}

/* The extent was used again while we read it: what this poll took of it is not given out. */
static MR_COLD void take_back(struct mr_reader *reader, uint64_t offset)
{
    reader->offset = offset;
    reader->state = MR_READER_LOOKING;
    reader->in_batch = false;
    reader->error = -ESTALE; /* what the poll before gave out may have changed as well */
    mr_reader_leave_cold(reader);
}

static MR_HOT int sweep(struct millrace_consumer *consumer, struct millrace_record *records, uint32_t max)
{
    uint32_t count = 0;
    uint32_t at = turn(consumer);
    int error = 0;

    for (uint32_t i = 0; i < consumer->reader_count && count < max; i++) {
        struct mr_reader *reader = &consumer->reader[at];
        struct mr_batch_record from;
        uint64_t offset_before = reader->offset;
        uint32_t count_before = count;
        int rc = 1;
        while (count < max && (rc = next_record(consumer, reader, &from)) == 1) {
            struct millrace_record *into = &records[count++];
            into->value = from.value;
            into->key = from.key;
            into->value_bytes = from.value_bytes < 0 ? 0 : (size_t)from.value_bytes;
            into->key_bytes = from.key_bytes < 0 ? 0 : (size_t)from.key_bytes;
            into->timestamp_ms = from.timestamp_ms;
            into->partition = (int32_t)reader->partition;
            into->header_count = from.header_count;
            into->headers = NULL;
            into->offset = (uint64_t)from.offset;
            into->internal = from.headers;
            into->internal_bytes = from.header_bytes;
        }
        if ((count > count_before || rc < 0) && mr_unlikely(!mr_reader_is_intact(reader))) {
            take_back(reader, offset_before);
            count = count_before;
            rc = -ESTALE;
        }
        if (mr_unlikely(rc < 0))
            error = rc;
        if (++at >= consumer->reader_count)
            at = 0;
    }
    if (count > 0) {
        consumer->client->progressed = true;
        return (int)count;
    }
    return error;
}

/* Ask every owner for a wake-up. @return false: one could not be asked, or there is something to read already */
static MR_COLD bool arm_all(struct millrace_consumer *consumer)
{
    struct millrace_client *client = consumer->client;
    bool all = true;

    for (uint32_t i = 0; i < consumer->reader_count; i++) {
        struct mr_reader *reader = &consumer->reader[i];
        /* An arm stays until it is answered, which it is once visible has passed it. */
        if (reader->armed && reader->armed_offset == reader->offset && mr_load_acquire(&reader->head->visible) <= reader->armed_offset)
            continue;
        struct mr_client_ring *ring = mr_head_owner_ring(client, consumer->head, reader->partition, consumer->rings_end);
        if (ring == NULL || !mr_ring_arm(&ring->ring, &ring->arms, consumer->handle_first + reader->partition, reader->offset)) {
            all = false;
            continue;
        }
        reader->armed = true;
        reader->armed_offset = reader->offset;
    }
    for (struct mr_client_ring *ring = client->rings; ring != NULL; ring = ring->next)
        if (mr_ring_show_arms(&ring->ring, ring->arms))
            mr_client_wake(client, ring);
    return all;
}

/* Something is there that nobody will wake us for. */
static MR_COLD bool is_unmapped(const struct millrace_consumer *consumer)
{
    bool any = false;

    for (uint32_t i = 0; i < consumer->reader_count; i++)
        any = any || consumer->reader[i].unmapped_ns != 0;
    return any;
}

MR_CLIENT_EXPORT MR_HOT int millrace_consumer_poll(struct millrace_consumer *consumer, struct millrace_record *records, uint32_t max,
                                                   int timeout_ms)
{
    struct millrace_client *client = consumer->client;
    struct mr_wait wait;
    bool waits = false;

    if (mr_unlikely(max == 0))
        return 0;
    for (;;) {
        begin_poll(consumer); /* also after a sweep that gave out nothing: so nothing is in the caller's hands */
        int rc = sweep(consumer, records, max);
        if (mr_likely(rc != 0))
            return rc;
        rc = mr_client_drive(client);
        if (mr_unlikely(rc != 0 || consumer->lost))
            return -ENOTCONN;
        if (timeout_ms == 0)
            return 0;
        if (!waits)
            mr_wait_init(&wait, timeout_ms);
        waits = true;
        switch (mr_wait_next(&wait, client)) {
        case MR_WAIT_AGAIN:
            break;
        case MR_WAIT_OVER:
            return 0;
        case MR_WAIT_SLEEP: {
            bool all = client->state == MR_CLIENT_ATTACHED && arm_all(consumer);
            rc = sweep(consumer, records, max); /* what came before the arm was heard is seen here, what comes after wakes us */
            if (rc != 0)
                return rc;
            mr_client_sleep(client, &wait, all && !is_unmapped(consumer) ? UINT64_MAX : MR_CLIENT_CHECK_NS);
            break;
        }
        }
    }
}

MR_CLIENT_EXPORT int millrace_consumer_copy(struct millrace_consumer *consumer, void *values, size_t value_bytes,
                                            struct millrace_meta *meta, uint32_t max)
{
    uint8_t *into = values;
    uint32_t count = 0;
    int error = 0;

    begin_poll(consumer);
    uint32_t at = turn(consumer);
    for (uint32_t i = 0; i < consumer->reader_count && count < max; i++) {
        struct mr_reader *reader = &consumer->reader[at];
        struct mr_batch_record record;
        uint64_t offset_first = reader->offset;
        uint32_t count_before = count;
        while (count < max) {
            if (!reader->in_batch) {
                int rc = next_batch(consumer, reader);
                error = rc < 0 ? rc : error;
                if (rc != 1)
                    break;
            }
            struct mr_batch_iterator before = reader->batch;
            uint64_t offset_before = reader->offset;
            int rc = next_record(consumer, reader, &record);
            error = rc < 0 ? rc : error;
            if (rc != 1)
                break;
            if ((record.value_bytes < 0 ? 0 : (size_t)record.value_bytes) != value_bytes) {
                if (before.left == reader->batch.left + 1) { /* put back: it is of the batch that was open */
                    reader->batch = before;
                    reader->offset = offset_before;
                } else {
                    reader->offset = (uint64_t)record.offset;
                    reader->batch.next = NULL;
                    reader->in_batch = false;
                    reader->state = MR_READER_LOOKING; /* rare: it was the first of a new batch: find it again */
                    mr_reader_leave_cold(reader);
                }
                error = -EMSGSIZE;
                break;
            }
            memcpy(into + (uint64_t)count * value_bytes, record.value, value_bytes);
            if (meta != NULL)
                meta[count] = (struct millrace_meta){.offset = (uint64_t)record.offset,
                                                     .timestamp_ms = record.timestamp_ms,
                                                     .partition = (int32_t)reader->partition,
                                                     .value_bytes = (uint32_t)value_bytes};
            count++;
        }
        if (mr_unlikely(!mr_reader_is_intact(reader))) {
            take_back(reader, offset_first);
            count = count_before;
            error = -ESTALE;
        }
        if (++at >= consumer->reader_count)
            at = 0;
    }
    if (count > 0) {
        consumer->client->progressed = true;
        return (int)count;
    }
    int rc = error != 0 ? error : mr_client_drive(consumer->client);
    return rc == 0 && consumer->lost ? -ENOTCONN : rc;
}

MR_CLIENT_EXPORT int millrace_record_header(const struct millrace_record *record, uint32_t index, struct millrace_header *header)
{
    const uint8_t *at = record->internal;
    struct mr_record_header found;

    if (index >= record->header_count)
        return -ENOENT;
    for (uint32_t i = 0; i <= index; i++)
        if (mr_record_headers_next(&at, (const uint8_t *)record->internal + record->internal_bytes, &found) != 1)
            return -ENOENT;
    *header = (struct millrace_header){.key = found.key,
                                       .value = found.value_bytes < 0 ? NULL : found.value,
                                       .key_bytes = (uint32_t)found.key_bytes,
                                       .value_bytes = found.value_bytes < 0 ? 0 : (uint32_t)found.value_bytes};
    return 0;
}
