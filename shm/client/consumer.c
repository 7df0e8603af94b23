/* SPDX-License-Identifier: Apache-2.0 */
/* Reading. What is hot: one look at `visible` for each partition, and the records of a batch in place. */
#include "shm/client/consumer_internal.h"

#include <string.h>

#include "shm/batch/headers.h"
#include "shm/ring/arm.h"

/* The next record of the batch that is open. @return 1; 0: there is none, the batch is no longer open; -errno, kept until a seek. Hot. */
static inline int next_record(struct mr_reader *reader, struct mr_batch_record *record)
{
    int rc;

    while (mr_likely((rc = mr_batch_next(&reader->batch, record)) == 1)) {
        if (mr_likely((uint64_t)record->offset >= reader->offset)) { /* or a seek went into the middle */
            reader->offset = (uint64_t)record->offset + 1;
            return 1;
        }
    }
    reader->in_batch = false;
    if (mr_unlikely(rc < 0))
        reader->error = rc;
    else
        reader->offset = mr_max_u64(reader->offset, reader->batch_end);
    return rc;
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

void mr_consumer_begin(struct millrace_consumer *consumer)
{
    begin_poll(consumer);
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

/* What a record that is only a value is given out as: five pairs of words, since what a poll fills bounds it (docs/design.md). */
static inline void tell_value(struct millrace_record *record, const struct mr_batch_plain *plain, uint64_t offset, uint32_t partition)
{
    static_assert(sizeof *record == 80 && offsetof(struct millrace_record, key) == 8 && offsetof(struct millrace_record, key_bytes) == 24 &&
                      offsetof(struct millrace_record, partition) == 40 && offsetof(struct millrace_record, header_count) == 44 &&
                      offsetof(struct millrace_record, headers) == 48 && offsetof(struct millrace_record, offset) == 56 &&
                      offsetof(struct millrace_record, internal_bytes) == 72, "stored as pairs of words");
    mr_store_pair(&record->value, (uint64_t)(uintptr_t)plain->value, 0 /* key */);
    mr_store_pair(&record->value_bytes, plain->value_bytes, 0 /* key_bytes */);
    mr_store_pair(&record->timestamp_ms, (uint64_t)plain->timestamp_ms, partition /* header_count: 0 */);
    mr_store_pair(&record->headers, 0, offset);
    mr_store_pair(&record->internal, (uint64_t)(uintptr_t)plain->end, 0 /* internal_bytes */);
}

static void tell(struct millrace_record *record, const struct mr_batch_record *from, uint32_t partition)
{
    *record = (struct millrace_record){.value = from->value,
                                       .key = from->key,
                                       .value_bytes = from->value_bytes < 0 ? 0 : (size_t)from->value_bytes,
                                       .key_bytes = from->key_bytes < 0 ? 0 : (size_t)from->key_bytes,
                                       .timestamp_ms = from->timestamp_ms,
                                       .partition = (int32_t)partition,
                                       .header_count = from->header_count,
                                       .offset = (uint64_t)from->offset,
                                       .internal = from->headers,
                                       .internal_bytes = from->header_bytes};
}

/* Give out records of the open batch as long as they are only values. @return how many; behind them is something else, or nothing. Hot. */
static inline uint32_t take_values(struct mr_reader *reader, struct millrace_record *records, uint32_t max)
{
    struct mr_batch_iterator *batch = &reader->batch;
    uint32_t count = 0, left = batch->left, partition = reader->partition;
    uint64_t next_offset = reader->offset, base_offset = (uint64_t)batch->base_offset;
    const uint8_t *at = batch->next;
    struct mr_batch_plain plain;

    if (max > left)
        max = left;
    while (count < max && mr_batch_plain_at(batch, at, &plain) && base_offset + plain.offset_delta >= next_offset) {
        tell_value(&records[count++], &plain, base_offset + plain.offset_delta, partition);
        next_offset = base_offset + plain.offset_delta + 1;
        at = plain.end;
    }
    batch->next = at;
    batch->left = left - count;
    reader->offset = next_offset;
    return count;
}

/* As many records of a partition as there are, and as are wanted. @param count how many were written @return 0; -errno, kept until a seek. Hot. */
static inline int take(struct millrace_consumer *consumer, struct mr_reader *reader, struct millrace_record *records, uint32_t max,
                       uint32_t *count)
{
    struct mr_batch_record record;
    uint32_t n = 0;
    int rc = 1;

    while (n < max) {
        if (!reader->in_batch && (rc = mr_reader_next_batch(consumer, reader)) != 1)
            break;
        n += take_values(reader, &records[n], max - n);
        if (n == max)
            break;
        rc = next_record(reader, &record);
        if (mr_unlikely(rc < 0))
            break;
        if (mr_unlikely(rc == 1))
            tell(&records[n++], &record, reader->partition);
    }
    *count = n;
    return rc < 0 ? rc : 0;
}

static MR_HOT int sweep(struct millrace_consumer *consumer, struct millrace_record *records, uint32_t max)
{
    uint32_t count = 0;
    uint32_t at = turn(consumer);
    int error = 0;

    for (uint32_t i = 0; i < consumer->reader_count && count < max; i++) {
        struct mr_reader *reader = &consumer->reader[at];
        uint64_t offset_before = reader->offset;
        uint32_t taken;
        int rc = take(consumer, reader, &records[count], max - count, &taken);
        if ((taken > 0 || rc < 0) && mr_unlikely(!mr_reader_is_intact(reader))) {
            take_back(reader, offset_before);
            taken = 0;
            rc = -ESTALE;
        }
        count += taken;
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
        if (mr_unlikely(mr_load_relaxed(&consumer->head->deleted) != 0))
            return -ENOENT;
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
            int rc = reader->in_batch ? 1 : mr_reader_next_batch(consumer, reader);
            error = rc < 0 ? rc : error;
            if (rc != 1)
                break;
            struct mr_batch_iterator before = reader->batch;
            uint64_t offset_before = reader->offset;
            rc = next_record(reader, &record);
            error = rc < 0 ? rc : error;
            if (rc < 0)
                break;
            if (rc == 0)
                continue;
            if ((record.value_bytes < 0 ? 0 : (size_t)record.value_bytes) != value_bytes) {
                reader->batch = before; /* put it back */
                reader->offset = offset_before;
                error = -EMSGSIZE;
                break;
            }
            if (value_bytes != 0) /* a null value has no bytes to point at */
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
    if (rc == 0 && consumer->lost)
        return -ENOTCONN;
    return rc == 0 && mr_load_relaxed(&consumer->head->deleted) != 0 ? -ENOENT : rc;
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
