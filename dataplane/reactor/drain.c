/* SPDX-License-Identifier: Apache-2.0 */
/* From a ring into batches: one batch per partition and producer for what a drain finds. Frames are hostile until checked; what is
 * checked here is a private copy of their words (S3), and the payload is copied once, into the extent. */
#include "dataplane/reactor/reactor_internal.h"

#include <errno.h>
#include <string.h>

/* Most that a record takes in a batch beside its key, value and headers: seven varints and the attributes. */
#define RECORD_OVERHEAD_MAX 48u

enum take {
    TAKEN,
    STALLED, /* no memory for the partition now: the frame stays, and so do those behind it */
    POISONED,
};

void reactor_poison(struct mr_reactor *reactor, struct mr_ring_session *ring, enum mr_poison_reason reason)
{
    if (ring->poisoned)
        return;
    ring->poisoned = true;
    if (ring->ring.reason == MR_POISON_NONE)
        ring->ring.reason = reason;
    reactor_count(&reactor->counters.bad_frames, 1);
    mr_store_relaxed(&ring->ring.daemon->reason, (uint32_t)ring->ring.reason);
    mr_store_release(&ring->ring.daemon->state, MR_RING_POISONED);
    struct mr_reactor_reply reply = {.kind = MR_REACTOR_POISONED, .ring = ring};
    reactor_reply(reactor, &reply);
}

/* Close a partition's open batch and see to its acknowledgement. */
static void finish(struct mr_reactor *reactor, struct mr_topic_partition *partition, uint32_t group)
{
    struct mr_handle *handle = partition->open_handle;
    struct mr_appended appended;

    partition->is_open = false;
    if (partition->writer->count == 0) {
        mr_partition_finish(partition->log, &appended);
        return;
    }
    mr_partition_finish(partition->log, &appended);
    reactor->log_due = true;
    struct mr_ack ack = {.handle = handle, .first_sequence = partition->open_sequence, .count = appended.count,
                         .base_offset = appended.base_offset, .end_offset = appended.end_offset, .group = group,
                         .durability = handle->acks, .deadline_ns = reactor->now_ns + reactor->options.delivery_timeout_ms * 1000000u};
    if (handle->acks > MR_DURABILITY_LEADER) {
        ack.durability = partition->topic->config.durability;
        if (reactor_ack_later(reactor, partition, &ack))
            goto armed;
    }
    reactor_answer(reactor, handle->ring, &ack);
armed:
    if (partition->armed != NULL)
        reactor_wake_armed(reactor, partition);
}

static void refuse(struct mr_reactor *reactor, struct mr_handle *handle, uint64_t sequence, int32_t error, uint64_t expected, uint32_t group)
{
    struct mr_ack ack = {.handle = handle, .first_sequence = sequence, .count = 1, .base_offset = -1, .error = error, .group = group,
                         .expected_sequence = expected};
    reactor_answer(reactor, handle->ring, &ack);
}

/* The frames behind one that found no space find none either: they are refused with it, not sent back one by one to be refused later.
 * Those behind one that was too large may be small: they are judged one by one (refuse_for_good()). */
static MR_COLD void note_no_space(struct mr_reactor *reactor, struct mr_handle *handle, uint64_t sequence)
{
    handle->refused_next = sequence + 1;
    handle->refused_ns = reactor->now_ns;
}

static bool follows_refused(const struct mr_reactor *reactor, const struct mr_handle *handle, uint64_t sequence)
{
    return handle->refused_ns != 0 && sequence == handle->refused_next && reactor->now_ns - handle->refused_ns < MR_REFUSED_NS;
}

/* A frame out of order that would be refused as well when its turn came is refused now: else each one behind a refusal would cost a round
 * through its client, in which all others are sent again. It was never appended: the log takes nothing but the next number. */
static MR_COLD bool refuse_for_good(struct mr_reactor *reactor, struct mr_handle *handle, const struct mr_ring_frame *frame, uint32_t body_bytes,
                                    uint32_t group)
{
    int rc = mr_partition_refuses(handle->partition->log, (uint64_t)body_bytes + RECORD_OVERHEAD_MAX);
    int32_t error = rc == -EMSGSIZE ? MR_COMPLETION_TOO_LARGE : MR_COMPLETION_OFFLINE;

    if (rc == 0) {
        if (!follows_refused(reactor, handle, frame->sequence))
            return false;
        error = MR_COMPLETION_NO_SPACE;
    }
    if (handle->refused_next == frame->sequence)
        handle->refused_next++;
    refuse(reactor, handle, frame->sequence, error, 0, group);
    return true;
}

/* First frame of a handle: find its producer in the partition. */
static MR_COLD bool resolve(struct mr_handle *handle)
{
    handle->resolved = true;
    if (handle->producer_id < 0)
        return true;
    int rc = mr_partition_producer(handle->partition->log, handle->producer_id, handle->producer_epoch, &handle->producer);
    handle->fenced = rc == -EPERM;
    if (rc == -ENOMEM)
        handle->resolved = false;
    return rc == 0;
}

static int begin(struct mr_reactor *reactor, struct mr_handle *handle, uint64_t sequence, uint64_t first_bytes)
{
    struct mr_topic_partition *partition = handle->partition;
    int rc = mr_partition_begin(partition->log, handle->producer, sequence, first_bytes);
    if (rc != 0)
        return rc;
    handle->stalled_ns = 0;
    partition->is_open = true;
    partition->writer = mr_partition_writer(partition->log);
    partition->open_handle = handle;
    partition->open_sequence = sequence;
    partition->open_next = reactor->open_first;
    reactor->open_first = partition;
    return 0;
}

static void unlist(struct mr_reactor *reactor, struct mr_topic_partition *partition)
{
    struct mr_topic_partition **at = &reactor->open_first;
    while (*at != partition)
        at = &(*at)->open_next;
    *at = partition->open_next;
}

/* Add the record to the open batch. @return 0; -ENOSPC: the batch is full; -EBADMSG */
static inline int add(struct mr_batch_writer *writer, const struct mr_ring_frame *frame, uint32_t body_bytes, const struct mr_frame_record *record,
                      int64_t now_ms)
{
    if (mr_likely(record == NULL)) {
        struct mr_batch_run run;
        if (mr_unlikely(!mr_batch_run_begin(&run, writer, now_ms, body_bytes) || !mr_batch_run_add(&run, frame->body)))
            return mr_batch_add_value(writer, now_ms, frame->body, body_bytes) ? 0 : -ENOSPC;
        mr_batch_run_end(&run, writer);
        return 0;
    }
    const uint8_t *value = frame->body + sizeof *record;
    const uint8_t *key = value + (record->value_bytes > 0 ? record->value_bytes : 0);
    const uint8_t *headers = key + (record->key_bytes > 0 ? record->key_bytes : 0);
    return mr_batch_add(writer, record->timestamp_ms >= 0 ? record->timestamp_ms : now_ms, key, record->key_bytes, value, record->value_bytes,
                        headers, record->headers_bytes, record->header_count);
}

/* The frame's own description of its parts, copied once and held against what the frame can hold. */
static bool check_record(const struct mr_ring_frame *frame, uint32_t body_bytes, struct mr_frame_record *record)
{
    if (body_bytes < sizeof *record)
        return false;
    memcpy(record, frame->body, sizeof *record);
    uint64_t sum = (uint64_t)record->headers_bytes + (record->key_bytes > 0 ? (uint64_t)record->key_bytes : 0) +
                   (record->value_bytes > 0 ? (uint64_t)record->value_bytes : 0);
    return record->key_bytes >= -1 && record->value_bytes >= -1 && sum <= body_bytes - sizeof *record;
}

static enum take append(struct mr_reactor *reactor, struct mr_handle *handle, const struct mr_ring_frame *frame, uint32_t body_bytes,
                        const struct mr_frame_record *record, uint32_t group)
{
    struct mr_topic_partition *partition = handle->partition;
    for (uint32_t attempt = 0;; attempt++) {
        if (!partition->is_open) {
            int rc = begin(reactor, handle, frame->sequence, (uint64_t)body_bytes + RECORD_OVERHEAD_MAX);
            if (rc == -EAGAIN)
                return STALLED;
            if (rc != 0) {
                int32_t error = rc == -EMSGSIZE ? MR_COMPLETION_TOO_LARGE : rc == -ENOSPC ? MR_COMPLETION_NO_SPACE : MR_COMPLETION_OFFLINE;
                if (rc == -ENOSPC)
                    note_no_space(reactor, handle, frame->sequence);
                refuse(reactor, handle, frame->sequence, error, 0, group);
                return TAKEN;
            }
        }
        int rc = add(partition->writer, frame, body_bytes, record, (int64_t)reactor->wall_ms);
        if (mr_likely(rc == 0))
            return TAKEN;
        bool was_empty = partition->writer->count == 0;
        if (rc == -ENOSPC && !was_empty && attempt == 0) { /* full: close it, and once more into a new one */
            unlist(reactor, partition);
            finish(reactor, partition, group);
            continue;
        }
        if (was_empty) {
            unlist(reactor, partition);
            finish(reactor, partition, group);
        }
        refuse(reactor, handle, frame->sequence, rc == -ENOSPC ? MR_COMPLETION_TOO_LARGE : MR_COMPLETION_INVALID, 0, group);
        return TAKEN;
    }
}

static inline uint32_t next_sequence(const struct mr_batch_writer *writer)
{
    return ((uint32_t)writer->base_sequence + writer->count) & INT32_MAX;
}

/* The open batch of this very handle goes on where it is; everything else is judged against the producer's state. */
static inline bool goes_on(const struct mr_handle *handle, uint64_t sequence)
{
    const struct mr_topic_partition *partition = handle->partition;
    if (!partition->is_open || partition->open_handle != handle)
        return false;
    return handle->producer == NULL || next_sequence(partition->writer) == ((uint32_t)sequence & INT32_MAX);
}

/* A duplicate in a partition that commits nothing more. */
static MR_COLD void answer_offline(struct mr_topic_partition *partition, struct mr_ack *ack)
{
    uint64_t durable;

    if (mr_partition_committed(partition->log, &durable) >= ack->end_offset)
        return;
    ack->error = MR_COMPLETION_TIMED_OUT;
    ack->base_offset = -1;
}

static MR_COLD enum take take_slow(struct mr_reactor *reactor, struct mr_handle *handle, const struct mr_ring_frame *frame, uint32_t body_bytes,
                                   const struct mr_frame_record *record, uint32_t group)
{
    struct mr_topic_partition *partition = handle->partition;
    if (partition == NULL || partition->reactor != reactor->options.index) {
        refuse(reactor, handle, frame->sequence, MR_COMPLETION_NOT_OWNER, 0, group);
        return TAKEN;
    }
    if (partition->deleted) {
        refuse(reactor, handle, frame->sequence, MR_COMPLETION_DELETED, 0, group);
        return TAKEN;
    }
    if (partition->log == NULL) { /* the log had no place for it when its topic was made */
        refuse(reactor, handle, frame->sequence, MR_COMPLETION_OFFLINE, 0, group);
        return TAKEN;
    }
    if (!handle->resolved && !resolve(handle) && !handle->fenced)
        return STALLED;
    if (handle->fenced) {
        refuse(reactor, handle, frame->sequence, MR_COMPLETION_FENCED, 0, group);
        return TAKEN;
    }
    if (partition->is_open) { /* of another producer, or a sequence that does not follow */
        unlist(reactor, partition);
        finish(reactor, partition, group);
    }
    if (handle->producer != NULL) {
        enum mr_sequence_verdict verdict = mr_producer_judge(handle->producer, frame->sequence);
        if (verdict == MR_SEQUENCE_OUT_OF_ORDER && refuse_for_good(reactor, handle, frame, body_bytes, group))
            return TAKEN;
        if (verdict == MR_SEQUENCE_OUT_OF_ORDER) {
            reactor_count(&reactor->counters.out_of_order, 1);
            refuse(reactor, handle, frame->sequence, MR_COMPLETION_OUT_OF_ORDER, (uint64_t)mr_producer_next_sequence(handle->producer), group);
            return TAKEN;
        }
        if (verdict == MR_SEQUENCE_DUPLICATE) {
            struct mr_ack ack = {.handle = handle, .first_sequence = frame->sequence, .count = 1, .group = group, .durability = handle->acks,
                                 .deadline_ns = reactor->now_ns + reactor->options.delivery_timeout_ms * 1000000u};
            mr_producer_duplicate(partition->log, handle->producer, frame->sequence, &ack.base_offset, &ack.end_offset);
            reactor_count(&reactor->counters.duplicates, 1);
            if (handle->acks > MR_DURABILITY_LEADER) {
                ack.durability = partition->topic->config.durability;
                if (mr_partition_refuses(partition->log, 0) == -EIO)
                    answer_offline(partition, &ack);
                else if (reactor_ack_later(reactor, partition, &ack))
                    return TAKEN;
            }
            reactor_answer(reactor, handle->ring, &ack);
            return TAKEN;
        }
    }
    return append(reactor, handle, frame, body_bytes, record, group);
}

static inline enum take take(struct mr_reactor *reactor, struct mr_ring_session *ring, const struct mr_ring_frame *frame, uint32_t group)
{
    uint32_t number = mr_frame_handle(frame->word);
    uint32_t kind = mr_frame_kind(frame->word);
    uint32_t body_bytes = mr_frame_length(frame->word) - MR_FRAME_HEADER_BYTES - mr_frame_trailing(frame->word);
    struct mr_frame_record record;

    if (number >= ring->handle_count || ring->handles[number] == NULL) {
        reactor_poison(reactor, ring, MR_POISON_FRAME_HANDLE);
        return POISONED;
    }
    struct mr_handle *handle = ring->handles[number];
    if (mr_likely(kind == MR_FRAME_VALUE && handle->kind == MR_HANDLE_PRODUCER)) {
        if (mr_likely(handle->resolved && handle->partition->reactor == reactor->options.index && goes_on(handle, frame->sequence)))
            return append(reactor, handle, frame, body_bytes, NULL, group);
        return take_slow(reactor, handle, frame, body_bytes, NULL, group);
    }
    if (kind == MR_FRAME_RECORD && handle->kind == MR_HANDLE_PRODUCER) {
        if (!check_record(frame, body_bytes, &record)) {
            reactor_poison(reactor, ring, MR_POISON_FRAME_BODY);
            return POISONED;
        }
        if (handle->resolved && goes_on(handle, frame->sequence))
            return append(reactor, handle, frame, body_bytes, &record, group);
        return take_slow(reactor, handle, frame, body_bytes, &record, group);
    }
    reactor_poison(reactor, ring, MR_POISON_FRAME_KIND);
    return POISONED;
}

/* Everything in a frame's word that must agree for the frame behind it to go the same way: kind and handle. */
#define WORD_WAY 0xffff00ff00000000ull

/* The hot loop: plain values that follow in the open batch of the frame before them. @return the first frame that goes another way */
static MR_HOT int follow(const struct mr_reactor *reactor, const struct mr_ring_session *ring, const struct mr_ring_frame *frames, int index, int count)
{
    uint64_t way = frames[index].word & WORD_WAY;
    const struct mr_handle *handle = ring->handles[mr_frame_handle(frames[index].word)];
    const struct mr_topic_partition *partition = handle->partition;

    index++;
    if (mr_frame_kind(way) != MR_FRAME_VALUE || !partition->is_open || partition->open_handle != handle)
        return index;
    struct mr_batch_writer *writer = partition->writer;
    while (index < count && (frames[index].word & WORD_WAY) == way) {
        uint64_t word = frames[index].word; /* the same word: the same size */
        uint32_t expected = next_sequence(writer);
        struct mr_batch_run run;
        int first = index;
        if (!mr_batch_run_begin(&run, writer, (int64_t)reactor->wall_ms, mr_frame_length(word) - MR_FRAME_HEADER_BYTES - mr_frame_trailing(word)))
            break;
        while (index < count && frames[index].word == word &&
               (handle->producer == NULL || ((uint32_t)frames[index].sequence & INT32_MAX) == expected) &&
               mr_batch_run_add(&run, frames[index].body)) {
            expected = (expected + 1) & INT32_MAX;
            index++;
        }
        mr_batch_run_end(&run, writer);
        if (index == first)
            break;
    }
    return index;
}

static bool has_room(const struct mr_ring_session *ring)
{
    /* A client that does not poll its completions stops itself: what it has room for is never more than what was outstanding when they were full. */
    if (ring->backlog_first != NULL || ring->group_next - ring->group_first >= MR_GROUPS)
        return false;
    return ring->acks_outstanding + MR_DRAIN_FRAMES <= ring->acks_max; /* every frame may need one of its own */
}

/* A frame waits for memory. @return true when its partition could not take one for too long: it is refused, so that others move on; those
 * behind it of the same handle then do not wait anew, until one finds memory. */
static MR_COLD bool give_up(struct mr_reactor *reactor, struct mr_ring_session *ring, const struct mr_ring_frame *frame, uint32_t group)
{
    struct mr_handle *handle = ring->handles[mr_frame_handle(frame->word)];
    reactor_count(&reactor->counters.stalls, 1);
    reactor->log_due = true; /* it has noted what it lacks, and asks for it in its next step */
    if (handle->stalled_ns == 0)
        handle->stalled_ns = reactor->now_ns;
    if (reactor->now_ns - handle->stalled_ns < reactor->options.delivery_timeout_ms * 1000000u)
        return false;
    note_no_space(reactor, handle, frame->sequence);
    refuse(reactor, handle, frame->sequence, MR_COMPLETION_NO_SPACE, 0, group);
    return true;
}

/* Nothing but pads at the front of the ring: their space goes with the last group before them, or at once. */
static MR_COLD void release_pads(struct mr_ring_session *ring)
{
    if (ring->group_first == ring->group_next)
        mr_ring_release(&ring->ring, ring->ring.position);
    else
        ring->group[(ring->group_next - 1) % MR_GROUPS].position = ring->ring.position;
}

MR_HOT bool reactor_drain(struct mr_reactor *reactor, struct mr_ring_session *ring)
{
    struct mr_ring_frame frames[MR_DRAIN_FRAMES];
    bool any = ring->backlog_first != NULL && reactor_flush_backlog(reactor, ring);

    if (mr_unlikely(ring->poisoned))
        return any;
    if (mr_ring_is_empty(&ring->ring))
        return any;
    ring->starved = !has_room(ring);
    if (mr_unlikely(ring->starved))
        return any;
    int count = mr_ring_peek(&ring->ring, frames, MR_DRAIN_FRAMES);
    if (mr_unlikely(count <= 0)) {
        if (count < 0)
            reactor_poison(reactor, ring, ring->ring.reason);
        else
            release_pads(ring);
        return true;
    }
    uint32_t group = ring->group_next++;
    ring->group[group % MR_GROUPS].pending = 1; /* ours, until the end of this drain */
    ring->group[group % MR_GROUPS].position = ring->ring.position;
    ring->active_ns = reactor->now_ns;

    enum take taken = TAKEN;
    int index = 0;
    while (index < count) {
        taken = take(reactor, ring, &frames[index], group);
        if (mr_unlikely(taken == STALLED) && give_up(reactor, ring, &frames[index], group))
            taken = TAKEN;
        if (mr_unlikely(taken != TAKEN))
            break;
        index = follow(reactor, ring, frames, index, count);
    }
    while (reactor->open_first != NULL) {
        struct mr_topic_partition *partition = reactor->open_first;
        reactor->open_first = partition->open_next;
        finish(reactor, partition, group);
    }
    if (index > 0) {
        mr_ring_consume(&ring->ring, &frames[index - 1]);
        ring->group[group % MR_GROUPS].position = frames[index - 1].end;
        reactor_count(&reactor->counters.frames, (uint64_t)index);
    }
    ring->stalled = taken == STALLED;
    ring->group[group % MR_GROUPS].pending--;
    reactor_release_groups(ring);
    return index > 0;
}
