/* SPDX-License-Identifier: Apache-2.0 */
/* Claim, fill, commit. The hot half of a producer. A plain value costs seven stores besides itself: the call, the ring's tail, the frame's words (one),
 * the caller's slot (two), and at the commit two sequences; one that is committed alone six more: call, counts and what is shown. P5 of
 * producer_internal.h says where the rest is. Whoever changes this looks at the machine code of claim afterwards: it saves no register. */
#include "shm/client/producer_internal.h"

#include <string.h>

#include "shm/batch/headers.h"
#include "shm/client/partitioner.h"

MR_CLIENT_EXPORT void millrace_record_options_init(struct millrace_record_options *options)
{
    *options = (struct millrace_record_options){.size_bytes = sizeof *options, .partition = MILLRACE_PARTITION_ANY, .timestamp_ms = -1};
}

/* What a frame is made of, whichever call it came by. */
struct record {
    const void *key;
    const struct millrace_header *headers;
    uint64_t value_bytes, key_bytes;
    uint32_t header_count;
    int32_t partition;
    int64_t timestamp_ms;
    bool is_null; /* no value: a tombstone */
};

/* A blocked partition holds up nobody who did not ask for it. */
static MR_COLD void turn_to_next_partition(struct millrace_producer *producer)
{
    for (uint32_t i = 0; i < producer->partition_count; i++) {
        if (++producer->current >= producer->partition_count)
            producer->current = 0;
        if (!producer->partition[producer->current].blocked)
            break;
    }
    const struct mr_client_ring *ring = producer->partition[producer->current].ring;
    producer->turn_at = ring != NULL ? ring->ring.tail + MR_ROUND_ROBIN_BYTES : 0;
}

static inline bool is_due_to_turn(const struct millrace_producer *producer, const struct mr_producer_partition *current)
{
    return current->ring == NULL || current->ring->ring.tail >= producer->turn_at;
}

static inline uint32_t next_partition(struct millrace_producer *producer)
{
    const struct mr_producer_partition *current = &producer->partition[producer->current];
    if (mr_unlikely(current->blocked || is_due_to_turn(producer, current)))
        turn_to_next_partition(producer);
    return producer->current;
}

/* No space, no ring, or a partition that waits: see whether something has changed. @return 0: try once more; -EAGAIN; -ENOTCONN */
static MR_COLD int make_room(struct millrace_producer *producer, struct mr_producer_partition *state, uint32_t partition)
{
    struct millrace_client *client = producer->client;

    if (producer->lost)
        return -ENOTCONN;
    if (mr_client_poll(client, true) == 0) {
        int rc = mr_client_drive(client);
        if (rc != 0)
            return rc;
    }
    if (producer->backlog_count > 0)
        mr_backlog_pump(producer);
    if (state->blocked || producer->lost)
        return producer->lost ? -ENOTCONN : -EAGAIN;
    if (state->ring == NULL)
        state->ring = mr_head_owner_ring(client, producer->head, partition, producer->rings_end);
    return state->ring == NULL ? -EAGAIN : 0;
}

#define PUBLISH_MAX 64u /* committed together */

/* internal[0] of a slot. */
static inline uint64_t claim_way(uint64_t partition, const struct mr_client_ring *ring)
{
    return partition << MR_CLIENT_TAG_BITS | ring->tag;
}

static inline uint32_t way_partition(uint64_t way)
{
    return (uint32_t)(way >> MR_CLIENT_TAG_BITS);
}

static inline uint32_t way_tag(uint64_t way)
{
    return (uint32_t)way & ((1u << MR_CLIENT_TAG_BITS) - 1);
}

/* Take space, and describe the claim in its slot. @param here only in this lap of the ring @return the frame; NULL: not at once. Hot. Forced
 * inline: called, it costs each claim four stores. */
__attribute__((always_inline)) static inline uint8_t *take_space(struct millrace_producer *producer, uint32_t partition, uint32_t frame_bytes,
                                                                 uint32_t kind, uint32_t trailing, struct millrace_slot *slot, bool here)
{
    struct mr_producer_partition *state = &producer->partition[partition];
    struct mr_client_ring *ring = state->ring;

    if (mr_unlikely(ring == NULL || state->blocked || frame_bytes > ring->ring.frame_bytes_max))
        return NULL;
    uint64_t word = mr_frame_word(frame_bytes, kind, trailing, state->handle);
    uint8_t *frame = here ? mr_ring_claim_here(&ring->ring, word, producer->owner) : mr_ring_claim(&ring->ring, word, producer->owner);
    if (mr_unlikely(frame == NULL))
        return NULL;
    mr_store_pair(slot->internal, claim_way(partition, ring), ring->ring.tail - frame_bytes);
    mr_ring_ask_ahead(&ring->ring);
    return frame;
}

/* value, value_bytes and partition: the slot's first 16 bytes. */
static inline void tell_slot(struct millrace_slot *slot, uint8_t *value, size_t value_bytes, uint32_t partition)
{
    static_assert(offsetof(struct millrace_slot, value) == 0 && offsetof(struct millrace_slot, value_bytes) == 8 &&
                      offsetof(struct millrace_slot, partition) == 12, "stored as one pair of words");
    mr_store_pair(slot, (uint64_t)(uintptr_t)value, (uint32_t)value_bytes | (uint64_t)partition << 32);
}

/* Why not, and once more if that has changed meanwhile. */
static MR_COLD uint8_t *take_space_slow(struct millrace_producer *producer, uint32_t partition, uint32_t frame_bytes, uint32_t kind,
                                        uint32_t trailing, struct millrace_slot *slot, int *error)
{
    struct mr_producer_partition *state = &producer->partition[partition];

    *error = -EAGAIN;
    int rc = make_room(producer, state, partition);
    if (rc != 0)
        *error = rc;
    else if (frame_bytes > state->ring->ring.frame_bytes_max)
        *error = -EMSGSIZE;
    else
        return take_space(producer, partition, frame_bytes, kind, trailing, slot, false);
    return NULL;
}

static inline uint8_t *claim_frame(struct millrace_producer *producer, uint32_t partition, uint32_t frame_bytes, uint32_t kind,
                                   uint32_t trailing, struct millrace_slot *slot, int *error)
{
    uint8_t *frame = take_space(producer, partition, frame_bytes, kind, trailing, slot, false);
    return mr_likely(frame != NULL) ? frame : take_space_slow(producer, partition, frame_bytes, kind, trailing, slot, error);
}

static inline uint32_t value_frame_bytes(uint64_t value_bytes)
{
    return (uint32_t)mr_align_up(MR_FRAME_HEADER_BYTES + value_bytes, MR_FRAME_ALIGN);
}

static inline uint8_t *claim_value(struct millrace_producer *producer, uint64_t value_bytes, uint32_t partition, struct millrace_slot *slot,
                                   int *error)
{
    if (mr_unlikely(value_bytes > producer->record_bytes_max)) {
        *error = -EMSGSIZE;
        return NULL;
    }
    uint32_t frame_bytes = value_frame_bytes(value_bytes);
    uint8_t *frame = claim_frame(producer, partition, frame_bytes, MR_FRAME_VALUE, frame_bytes - MR_FRAME_HEADER_BYTES - (uint32_t)value_bytes,
                                 slot, error);
    return frame != NULL ? frame + MR_FRAME_HEADER_BYTES : NULL;
}

static struct mr_record_header header_of(const struct millrace_header *header)
{
    bool is_null = header->value == NULL && header->value_bytes == 0;

    return (struct mr_record_header){.key = header->key,
                                     .value = header->value,
                                     .key_bytes = (int32_t)header->key_bytes,
                                     .value_bytes = is_null ? -1 : (int32_t)header->value_bytes};
}

/* A record with a key, headers, a timestamp or no value. @param[in,out] partition MILLRACE_PARTITION_ANY is replaced */
static uint8_t *claim_record(struct millrace_producer *producer, struct record *record, struct millrace_slot *slot, int *error)
{
    uint64_t headers_bytes = 0;

    *error = -EMSGSIZE;
    if (record->key_bytes > INT32_MAX || record->value_bytes > INT32_MAX)
        return NULL;
    for (uint32_t i = 0; i < record->header_count; i++) {
        if (record->headers[i].key_bytes > INT32_MAX || record->headers[i].value_bytes > INT32_MAX)
            return NULL;
        struct mr_record_header header = header_of(&record->headers[i]);
        headers_bytes += mr_record_headers_bytes(&header, 1);
    }
    if (record->value_bytes + record->key_bytes + headers_bytes > producer->record_bytes_max)
        return NULL;
    *error = -EINVAL;
    if (record->timestamp_ms < -1)
        return NULL;
    if (record->partition == MILLRACE_PARTITION_ANY)
        record->partition = (int32_t)(record->key != NULL ? mr_partition_of_key(record->key, record->key_bytes, producer->partition_count)
                                                          : next_partition(producer));
    if (record->partition < 0 || (uint32_t)record->partition >= producer->partition_count)
        return NULL;
    if (record->key == NULL && record->header_count == 0 && record->timestamp_ms == -1 && !record->is_null)
        return claim_value(producer, record->value_bytes, (uint32_t)record->partition, slot, error);

    uint32_t body_bytes = (uint32_t)(sizeof(struct mr_frame_record) + record->value_bytes + record->key_bytes + headers_bytes);
    uint32_t frame_bytes = (uint32_t)mr_align_up(MR_FRAME_HEADER_BYTES + body_bytes, MR_FRAME_ALIGN);
    uint8_t *frame = claim_frame(producer, (uint32_t)record->partition, frame_bytes, MR_FRAME_RECORD,
                                 frame_bytes - MR_FRAME_HEADER_BYTES - body_bytes, slot, error);
    if (frame == NULL)
        return NULL;
    struct mr_frame_record *body = (struct mr_frame_record *)(void *)(frame + MR_FRAME_HEADER_BYTES);
    *body = (struct mr_frame_record){.timestamp_ms = record->timestamp_ms,
                                     .value_bytes = record->is_null ? -1 : (int32_t)record->value_bytes,
                                     .key_bytes = record->key != NULL ? (int32_t)record->key_bytes : -1,
                                     .headers_bytes = (uint32_t)headers_bytes,
                                     .header_count = record->header_count};
    uint8_t *value = (uint8_t *)(body + 1);
    uint8_t *at = value + record->value_bytes;
    if (record->key_bytes > 0)
        memcpy(at, record->key, record->key_bytes);
    at += record->key_bytes;
    for (uint32_t i = 0; i < record->header_count; i++) {
        struct mr_record_header header = header_of(&record->headers[i]);
        int64_t bytes = mr_record_headers_encode(&header, 1, at, headers_bytes);
        mr_assert(bytes >= 0 && (uint64_t)bytes <= headers_bytes);
        at += bytes;
        headers_bytes -= (uint64_t)bytes;
    }
    return value;
}

/* What the usual claim is not, so that that one stays small. */
static MR_COLD int claim_slow(struct millrace_producer *producer, size_t value_bytes, const struct millrace_record_options *options,
                              struct millrace_slot *slot)
{
    int error = -EINVAL;
    uint8_t *value = NULL;

    if (options == NULL) {
        value = claim_value(producer, value_bytes, next_partition(producer), slot, &error);
    } else if (options->size_bytes >= offsetof(struct millrace_record_options, header_count) + sizeof options->header_count) {
        struct record record = {.key = options->key,
                                .headers = options->headers,
                                .value_bytes = value_bytes,
                                .key_bytes = options->key != NULL ? options->key_bytes : 0,
                                .header_count = options->header_count,
                                .partition = options->partition,
                                .timestamp_ms = options->timestamp_ms};
        value = claim_record(producer, &record, slot, &error);
    }
    if (value == NULL)
        return error;
    tell_slot(slot, value, value_bytes, way_partition(slot->internal[0]));
    return 0;
}

MR_CLIENT_EXPORT MR_HOT int millrace_producer_claim(struct millrace_producer *producer, size_t value_bytes,
                                                    const struct millrace_record_options *options, struct millrace_slot *slot)
{
    uint32_t partition = producer->current;

    if (mr_unlikely(options != NULL || value_bytes > producer->record_bytes_max || is_due_to_turn(producer, &producer->partition[partition])))
        return claim_slow(producer, value_bytes, options, slot);
    uint32_t frame_bytes = value_frame_bytes(value_bytes);
    uint8_t *frame = take_space(producer, partition, frame_bytes, MR_FRAME_VALUE,
                                frame_bytes - MR_FRAME_HEADER_BYTES - (uint32_t)value_bytes, slot, true);
    if (mr_unlikely(frame == NULL))
        return claim_slow(producer, value_bytes, NULL, slot);
    tell_slot(slot, frame + MR_FRAME_HEADER_BYTES, value_bytes, partition);
    return 0;
}

/* Frames in one ring, one directly behind the other, that were staged and are not shown yet. */
struct run {
    struct mr_client_ring *ring; /* NULL: none */
    uint64_t from, end;
};

static inline void show(struct millrace_producer *producer, struct run run)
{
    if (run.ring == NULL)
        return;
    mr_ring_publish(&run.ring->ring, run.from, run.end);
    mr_client_wake(producer->client, run.ring);
}

/* A claim of a partition that is blocked, or in a ring that its partition has left. */
static MR_COLD void commit_apart(struct millrace_producer *producer, struct millrace_slot *slot)
{
    struct mr_client_ring *ring = mr_client_ring_of(producer->client, way_tag(slot->internal[0]));
    uint32_t partition = way_partition(slot->internal[0]);
    uint64_t position = slot->internal[1];
    struct mr_producer_partition *state = &producer->partition[partition];

    slot->sequence = state->numbers.next++;
    if (state->blocked || ring->dead) {
        mr_backlog_commit(producer, ring, position, partition, slot->sequence);
        return;
    }
    uint8_t *frame = mr_ring_at(&ring->ring, position);
    mr_ring_stage(frame, state->numbers.next_wire++);
    state->in_rings++;
    show(producer, (struct run){.ring = ring, .from = position, .end = position + mr_ring_frame_bytes(frame)});
}

/* Commit claims that are open and in order. Hot. */
static inline void commit_slots(struct millrace_producer *producer, struct millrace_slot *slots, uint32_t count)
{
    struct run run = {.ring = NULL};

    producer->pending += count;
    for (uint32_t i = 0; i < count;) {
        uint64_t way = slots[i].internal[0], position = slots[i].internal[1];
        uint32_t first = i;
        struct mr_producer_partition *state = &producer->partition[way_partition(way)];
        struct mr_client_ring *ring = state->ring;
        if (mr_unlikely(ring == NULL || ring->tag != way_tag(way) || state->blocked)) {
            show(producer, run);
            run.ring = NULL;
            commit_apart(producer, &slots[i++]);
            continue;
        }
        if (mr_unlikely(ring != run.ring || position != run.end)) {
            show(producer, run);
            run = (struct run){.ring = ring, .from = position, .end = position};
        }
        uint64_t sequence = state->numbers.next, wire = state->numbers.next_wire;
        do { /* the usual case: all of them */
            uint8_t *frame = mr_ring_at(&ring->ring, run.end);
            mr_ring_stage(frame, wire++);
            slots[i++].sequence = sequence++;
            run.end += mr_ring_frame_bytes(frame);
        } while (i < count && slots[i].internal[0] == way && slots[i].internal[1] == run.end);
        state->numbers.next = sequence;
        state->numbers.next_wire = wire;
        state->in_rings += i - first;
    }
    show(producer, run);
}

/* The usual commit of one: its claim is the only one that is open in its ring. @return false: nothing was done. Hot. */
static inline bool commit_only(struct millrace_producer *producer, struct millrace_slot *slot)
{
    uint64_t way = slot->internal[0], position = slot->internal[1];

    if (mr_unlikely(way_partition(way) >= producer->partition_count))
        return false;
    struct mr_producer_partition *state = &producer->partition[way_partition(way)];
    struct mr_client_ring *ring = state->ring;
    if (mr_unlikely(ring == NULL || ring->tag != way_tag(way) || state->blocked || position != ring->ring.committed))
        return false;
    uint8_t *frame = mr_ring_at(&ring->ring, position);
    uint64_t end = position + mr_ring_frame_bytes(frame);
    if (mr_unlikely(end != ring->ring.tail || !mr_ring_is_open(frame) || mr_ring_owner(frame) != producer->owner))
        return false;
    uint64_t sequence = state->numbers.next, wire = state->numbers.next_wire;
    mr_ring_stage(frame, wire);
    static_assert(offsetof(struct mr_sequences, next_wire) == offsetof(struct mr_sequences, next) + 8, "stored as one pair of words");
    mr_store_pair(&state->numbers.next, sequence + 1, wire + 1);
    slot->sequence = sequence;
    state->in_rings++;
    producer->pending++;
    mr_ring_show(&ring->ring, end);
    mr_client_wake(producer->client, ring);
    return true;
}

/* The ring of a slot that describes an open claim of this producer; NULL: it was committed or aborted, or never was one. */
static MR_COLD struct mr_client_ring *ring_of_open(const struct millrace_producer *producer, const struct millrace_slot *slot)
{
    struct mr_client_ring *ring = mr_client_ring_of(producer->client, way_tag(slot->internal[0]));
    uint64_t position = slot->internal[1];

    if (way_partition(slot->internal[0]) >= producer->partition_count || ring == NULL || position < ring->ring.committed ||
        position >= ring->ring.tail || position % MR_FRAME_ALIGN != 0)
        return NULL;
    const uint8_t *frame = mr_ring_at(&ring->ring, position);
    return mr_ring_is_open(frame) && mr_ring_owner(frame) == producer->owner ? ring : NULL;
}

/* Is this claim open, and the oldest of its partition but for the slots before it in the call? */
static MR_COLD bool is_next(const struct millrace_producer *producer, const struct millrace_slot *slots, uint32_t index)
{
    const struct millrace_slot *slot = &slots[index];
    const struct mr_client_ring *ring = ring_of_open(producer, slot);
    uint32_t bytes, before = 0;

    if (ring == NULL)
        return false;
    uint32_t handle = mr_frame_handle(mr_ring_word(mr_ring_at(&ring->ring, slot->internal[1])));
    for (uint64_t position = ring->ring.committed; position < slot->internal[1]; position += bytes) {
        const uint8_t *frame = mr_ring_at(&ring->ring, position);
        bytes = mr_ring_frame_bytes(frame);
        if (bytes == 0)
            return false;
        before += mr_ring_is_open(frame) && mr_ring_owner(frame) == producer->owner && mr_frame_handle(mr_ring_word(frame)) == handle;
    }
    for (uint32_t i = 0; i < index; i++) {
        if (slots[i].internal[0] == slot->internal[0] && slots[i].internal[1] >= slot->internal[1])
            return false;
        before -= slots[i].internal[0] == slot->internal[0];
    }
    return before == 0;
}

/* Are these open, and the oldest of their partitions? Those that follow each other from where their ring's open claims begin are; for others
 * somebody has to look. */
static inline bool are_next(const struct millrace_producer *producer, const struct millrace_slot *slots, uint32_t count)
{
    const struct mr_client_ring *ring = NULL;
    uint64_t way = UINT64_MAX, end = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t position = slots[i].internal[1];
        if (mr_unlikely(slots[i].internal[0] != way || position != end)) {
            bool follows = ring != NULL && position == end && way_tag(slots[i].internal[0]) == ring->tag;
            way = slots[i].internal[0];
            if (way_partition(way) >= producer->partition_count)
                return false;
            if (!follows)
                ring = producer->partition[way_partition(way)].ring;
            if (!follows && (ring == NULL || ring->tag != way_tag(way) || position != ring->ring.committed || position == ring->ring.tail)) {
                if (!is_next(producer, slots, i))
                    return false;
                ring = NULL;
                way = UINT64_MAX;
                continue;
            }
        }
        const uint8_t *frame = mr_ring_at(&ring->ring, position);
        if (mr_unlikely(!mr_ring_is_open(frame)))
            return false;
        end = position + mr_ring_frame_bytes(frame);
    }
    return true;
}

MR_CLIENT_EXPORT MR_HOT int millrace_producer_commit(struct millrace_producer *producer, struct millrace_slot *slots, uint32_t count)
{
    if (count == 1 && mr_likely(commit_only(producer, slots)))
        return 1;
    if (mr_unlikely(!are_next(producer, slots, count)))
        return -EINVAL;
    commit_slots(producer, slots, count);
    return (int)count;
}

MR_CLIENT_EXPORT void millrace_producer_abort(struct millrace_producer *producer, struct millrace_slot *slots, uint32_t count)
{
    for (uint32_t i = count; i > 0; i--) { /* the last first: so their space comes back whole */
        struct mr_client_ring *ring = ring_of_open(producer, &slots[i - 1]);
        if (ring != NULL) /* else it was aborted or committed already */
            mr_client_abort_claim(producer->client, ring, slots[i - 1].internal[1]);
        slots[i - 1].internal[0] = UINT64_MAX;
    }
}

MR_CLIENT_EXPORT MR_HOT int millrace_producer_publish(struct millrace_producer *producer, const struct millrace_record *records,
                                                      uint32_t count)
{
    struct millrace_slot slots[PUBLISH_MAX];
    uint32_t taken = 0, open = 0;
    int error = 0;

    if (mr_unlikely(mr_client_has_open(producer->client, producer->owner)))
        return -EINVAL; /* these would be committed before claims that are older */
    for (; taken < count; taken++) {
        const struct millrace_record *given = &records[taken];
        struct record record = {.key = given->key,
                                .headers = given->headers,
                                .value_bytes = given->value != NULL ? given->value_bytes : 0,
                                .key_bytes = given->key != NULL ? given->key_bytes : 0,
                                .header_count = given->header_count,
                                .partition = given->partition,
                                .timestamp_ms = given->timestamp_ms,
                                .is_null = given->value == NULL};
        uint8_t *value = claim_record(producer, &record, &slots[open], &error);
        if (mr_unlikely(value == NULL))
            break;
        if (record.value_bytes > 0)
            memcpy(value, given->value, record.value_bytes);
        if (++open == PUBLISH_MAX) {
            commit_slots(producer, slots, open);
            open = 0;
        }
    }
    commit_slots(producer, slots, open);
    return taken > 0 || count == 0 ? (int)taken : error;
}

MR_CLIENT_EXPORT uint64_t millrace_producer_pending(const struct millrace_producer *producer)
{
    return producer->pending;
}

MR_CLIENT_EXPORT uint32_t millrace_producer_partition_count(const struct millrace_producer *producer)
{
    return producer->partition_count;
}
