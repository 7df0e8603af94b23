/* SPDX-License-Identifier: Apache-2.0 */
/* Claim, fill, commit. The hot half of a producer: for a plain value it touches the frame's own lines, the claim's entry, and a line or
 * two of private numbers. */
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
    producer->run_left = MR_ROUND_ROBIN_RUN;
}

static inline uint32_t next_partition(struct millrace_producer *producer)
{
    if (mr_unlikely(producer->run_left == 0 || producer->partition[producer->current].blocked))
        turn_to_next_partition(producer);
    producer->run_left--;
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

/* Take space, and note the claim. @return the frame in memory; NULL: not at once. Hot. */
static inline uint8_t *take_space(struct millrace_producer *producer, uint32_t partition, uint32_t frame_bytes, uint32_t kind, uint32_t trailing)
{
    struct mr_producer_partition *state = &producer->partition[partition];
    struct mr_client_ring *ring = state->ring;
    uint64_t position;

    if (mr_unlikely(producer->claim_next - producer->claim_first >= MR_CLAIMS_MAX || ring == NULL || state->blocked ||
                    frame_bytes > mr_ring_frame_bytes_max(ring->shape.submission_bytes) || !mr_ring_claim(&ring->ring, frame_bytes, &position)))
        return NULL;
    *mr_claim_at(producer, producer->claim_next++) = (struct mr_claim){
        .ring = ring, .position = position, .word = mr_frame_word(frame_bytes, kind, trailing, state->handle), .partition = partition};
    return mr_ring_at(&ring->ring, position);
}

/* Why not, and once more if that has changed meanwhile. */
static MR_COLD uint8_t *take_space_slow(struct millrace_producer *producer, uint32_t partition, uint32_t frame_bytes, uint32_t kind,
                                        uint32_t trailing, int *error)
{
    struct mr_producer_partition *state = &producer->partition[partition];

    *error = -EAGAIN;
    if (producer->claim_next - producer->claim_first >= MR_CLAIMS_MAX)
        return NULL;
    int rc = make_room(producer, state, partition);
    if (rc != 0)
        *error = rc;
    else if (frame_bytes > mr_ring_frame_bytes_max(state->ring->shape.submission_bytes))
        *error = -EMSGSIZE;
    else
        return take_space(producer, partition, frame_bytes, kind, trailing);
    return NULL;
}

static inline uint8_t *claim_frame(struct millrace_producer *producer, uint32_t partition, uint32_t frame_bytes, uint32_t kind,
                                   uint32_t trailing, int *error)
{
    uint8_t *frame = take_space(producer, partition, frame_bytes, kind, trailing);
    return mr_likely(frame != NULL) ? frame : take_space_slow(producer, partition, frame_bytes, kind, trailing, error);
}

static inline uint8_t *claim_value(struct millrace_producer *producer, uint64_t value_bytes, uint32_t partition, int *error)
{
    if (mr_unlikely(value_bytes > producer->record_bytes_max)) {
        *error = -EMSGSIZE;
        return NULL;
    }
    uint32_t frame_bytes = (uint32_t)mr_align_up(MR_FRAME_HEADER_BYTES + value_bytes, MR_FRAME_ALIGN);
    uint8_t *frame =
        claim_frame(producer, partition, frame_bytes, MR_FRAME_VALUE, frame_bytes - MR_FRAME_HEADER_BYTES - (uint32_t)value_bytes, error);
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
static uint8_t *claim_record(struct millrace_producer *producer, struct record *record, int *error)
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
        return claim_value(producer, record->value_bytes, (uint32_t)record->partition, error);

    uint32_t body_bytes = (uint32_t)(sizeof(struct mr_frame_record) + record->value_bytes + record->key_bytes + headers_bytes);
    uint32_t frame_bytes = (uint32_t)mr_align_up(MR_FRAME_HEADER_BYTES + body_bytes, MR_FRAME_ALIGN);
    uint8_t *frame = claim_frame(producer, (uint32_t)record->partition, frame_bytes, MR_FRAME_RECORD,
                                 frame_bytes - MR_FRAME_HEADER_BYTES - body_bytes, error);
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

static inline void tell_slot(const struct millrace_producer *producer, uint8_t *value, size_t value_bytes, struct millrace_slot *slot)
{
    uint64_t ordinal = producer->claim_next - 1;

    slot->value = value;
    slot->value_bytes = (uint32_t)value_bytes;
    slot->partition = (int32_t)mr_claim_at(producer, ordinal)->partition;
    slot->sequence = UINT64_MAX;
    slot->internal[0] = ordinal;
}

/* What the usual claim is not, so that that one stays small. */
static MR_COLD int claim_slow(struct millrace_producer *producer, size_t value_bytes, const struct millrace_record_options *options,
                              uint32_t partition, struct millrace_slot *slot)
{
    int error = -EINVAL;
    uint8_t *value = NULL;

    if (options == NULL) {
        value = claim_value(producer, value_bytes, partition, &error);
    } else if (options->size_bytes >= offsetof(struct millrace_record_options, header_count) + sizeof options->header_count) {
        struct record record = {.key = options->key,
                                .headers = options->headers,
                                .value_bytes = value_bytes,
                                .key_bytes = options->key != NULL ? options->key_bytes : 0,
                                .header_count = options->header_count,
                                .partition = options->partition,
                                .timestamp_ms = options->timestamp_ms};
        value = claim_record(producer, &record, &error);
    }
    if (value == NULL)
        return error;
    tell_slot(producer, value, value_bytes, slot);
    return 0;
}

MR_CLIENT_EXPORT MR_HOT int millrace_producer_claim(struct millrace_producer *producer, size_t value_bytes,
                                                    const struct millrace_record_options *options, struct millrace_slot *slot)
{
    if (mr_unlikely(options != NULL))
        return claim_slow(producer, value_bytes, options, 0, slot);
    uint32_t partition = next_partition(producer);
    if (mr_likely(value_bytes <= producer->record_bytes_max)) {
        uint32_t frame_bytes = (uint32_t)mr_align_up(MR_FRAME_HEADER_BYTES + value_bytes, MR_FRAME_ALIGN);
        uint8_t *frame = take_space(producer, partition, frame_bytes, MR_FRAME_VALUE, frame_bytes - MR_FRAME_HEADER_BYTES - (uint32_t)value_bytes);
        if (mr_likely(frame != NULL)) {
            tell_slot(producer, frame + MR_FRAME_HEADER_BYTES, value_bytes, slot);
            return 0;
        }
    }
    return claim_slow(producer, value_bytes, NULL, partition, slot);
}

/* The same few entries are used again and again while claims are short-lived. */
static inline void settle_claims(struct millrace_producer *producer, uint64_t first)
{
    producer->claim_first = first;
    if (first == producer->claim_next)
        producer->claim_base = first;
}

/* Frames in one ring, one directly behind the other, that were staged and are not shown yet. */
struct run {
    struct mr_client_ring *ring; /* NULL: none */
    uint64_t from, end;
};

static inline void show(struct millrace_producer *producer, const struct run *run)
{
    if (run->ring == NULL)
        return;
    mr_ring_publish(&run->ring->ring, run->from, run->end);
    mr_client_wake(producer->client, run->ring);
}

static inline void note_sequence(struct millrace_slot *slot, uint64_t sequence)
{
    slot->sequence = sequence;
    slot->internal[0] = UINT64_MAX;
}

/* Commit the `count` oldest open claims, all of which exist. @param slots NULL, or where to write the sequences. Hot. */
static inline void commit_oldest(struct millrace_producer *producer, struct millrace_slot *slots, uint32_t count)
{
    struct run run = {.ring = NULL};
    uint64_t ordinal = producer->claim_first;
    const struct mr_claim *claim = mr_claim_at(producer, ordinal);

    producer->pending += count;
    for (uint32_t i = 0; i < count;) {
        if (mr_unlikely(claim->ring == NULL)) {
            claim = mr_claim_at(producer, ++ordinal);
            continue;
        }
        struct mr_producer_partition *state = &producer->partition[claim->partition];
        uint64_t sequence = state->numbers.next, partition = claim->partition;
        if (mr_unlikely(state->blocked || claim->ring->dead)) {
            state->numbers.next++;
            if (slots != NULL)
                note_sequence(&slots[i], sequence);
            i++;
            mr_backlog_commit(producer, claim, sequence);
            claim = mr_claim_at(producer, ++ordinal);
            continue;
        }
        if (mr_unlikely(claim->ring != run.ring || claim->position != run.end)) {
            show(producer, &run);
            run = (struct run){.ring = claim->ring, .from = claim->position, .end = claim->position};
        }
        uint64_t wire = state->numbers.next_wire;
        uint32_t first = i;
        do { /* the usual case: all of them */
            mr_ring_stage(&run.ring->ring, claim->position, claim->word, wire++);
            if (slots != NULL)
                note_sequence(&slots[i], sequence);
            sequence++;
            i++;
            run.end += mr_frame_length(claim->word);
            claim = mr_claim_at(producer, ++ordinal);
        } while (i < count && claim->partition == partition && claim->ring == run.ring && claim->position == run.end);
        state->numbers.next = sequence;
        state->numbers.next_wire = wire;
        state->in_rings += i - first;
    }
    show(producer, &run);
    settle_claims(producer, ordinal);
}

MR_CLIENT_EXPORT MR_HOT int millrace_producer_commit(struct millrace_producer *producer, struct millrace_slot *slots, uint32_t count)
{
    uint64_t ordinal = producer->claim_first;

    for (uint32_t i = 0; i < count; i++, ordinal++) {
        while (ordinal < producer->claim_next && mr_unlikely(mr_claim_at(producer, ordinal)->ring == NULL))
            ordinal++;
        if (mr_unlikely(ordinal >= producer->claim_next || slots[i].internal[0] != ordinal))
            return -EINVAL;
    }
    if (count > 0)
        commit_oldest(producer, slots, count);
    return (int)count;
}

static void abort_claim(struct millrace_producer *producer, struct mr_claim *claim)
{
    struct mr_client_ring *ring = claim->ring;

    claim->ring = NULL;
    if (ring->dead)
        mr_client_drop_claim(producer->client, ring);
    else if (mr_ring_abort(&ring->ring, claim->position, mr_frame_length(claim->word)))
        mr_client_wake(producer->client, ring); /* others' frames stood behind it */
}

static void trim_claims(struct millrace_producer *producer)
{
    while (producer->claim_next > producer->claim_first && mr_claim_at(producer, producer->claim_next - 1)->ring == NULL)
        producer->claim_next--;
    uint64_t first = producer->claim_first;
    while (first < producer->claim_next && mr_claim_at(producer, first)->ring == NULL)
        first++;
    settle_claims(producer, first);
}

MR_CLIENT_EXPORT void millrace_producer_abort(struct millrace_producer *producer, struct millrace_slot *slots, uint32_t count)
{
    for (uint32_t i = count; i > 0; i--) { /* the last first: so their space comes back whole */
        uint64_t ordinal = slots[i - 1].internal[0];
        slots[i - 1].internal[0] = UINT64_MAX;
        if (ordinal < producer->claim_first || ordinal >= producer->claim_next || mr_claim_at(producer, ordinal)->ring == NULL)
            continue; /* not open: aborted or committed already */
        abort_claim(producer, mr_claim_at(producer, ordinal));
    }
    trim_claims(producer);
}

MR_CLIENT_EXPORT MR_HOT int millrace_producer_publish(struct millrace_producer *producer, const struct millrace_record *records,
                                                      uint32_t count)
{
    uint32_t taken = 0;
    int error = 0;

    if (mr_unlikely(producer->claim_first != producer->claim_next))
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
        uint8_t *value = claim_record(producer, &record, &error);
        if (mr_unlikely(value == NULL))
            break;
        if (record.value_bytes > 0)
            memcpy(value, given->value, record.value_bytes);
    }
    if (taken > 0) {
        commit_oldest(producer, NULL, taken);
        return (int)taken;
    }
    return count == 0 ? 0 : error;
}

MR_CLIENT_EXPORT uint64_t millrace_producer_pending(const struct millrace_producer *producer)
{
    return producer->pending;
}

MR_CLIENT_EXPORT uint32_t millrace_producer_partition_count(const struct millrace_producer *producer)
{
    return producer->partition_count;
}
