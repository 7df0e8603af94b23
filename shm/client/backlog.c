/* SPDX-License-Identifier: Apache-2.0 */
/* Records that must be sent again: P1 and P2 of producer_internal.h. Cold; the only place of a producer that takes memory after open. */
#include <stdlib.h>
#include <string.h>

#include "shm/client/producer_internal.h"

static struct mr_backlog_entry *copy_frame(const uint8_t *frame, uint64_t word, uint64_t sequence)
{
    uint32_t bytes = mr_frame_length(word) - MR_FRAME_HEADER_BYTES;
    struct mr_backlog_entry *entry = malloc(sizeof *entry + bytes);

    if (entry == NULL)
        return NULL;
    *entry = (struct mr_backlog_entry){.sequence = sequence, .word = word};
    memcpy(entry->body, frame + MR_FRAME_HEADER_BYTES, bytes);
    return entry;
}

static void append(struct millrace_producer *producer, struct mr_producer_partition *state, struct mr_backlog_entry *entry)
{
    entry->next = NULL;
    if (state->backlog_last != NULL)
        state->backlog_last->next = entry;
    else
        state->backlog = entry;
    state->backlog_last = entry;
    state->backlog_count++;
    producer->backlog_count++;
    state->blocked = true;
}

void mr_backlog_commit(struct millrace_producer *producer, struct mr_client_ring *ring, uint64_t position, uint32_t partition, uint64_t sequence)
{
    struct mr_producer_partition *state = &producer->partition[partition];
    const uint8_t *frame = mr_ring_at(&ring->ring, position);
    struct mr_backlog_entry *entry = copy_frame(frame, mr_ring_word(frame), sequence);

    mr_client_abort_claim(producer->client, ring, position);
    if (entry != NULL)
        append(producer, state, entry);
    else
        mr_producer_tell(producer, partition, sequence, 1, -1, -ENOMEM, MR_DURABILITY_RING);
}

void mr_backlog_refused(struct millrace_producer *producer, uint32_t partition, const struct mr_completion *completion)
{
    struct mr_producer_partition *state = &producer->partition[partition];

    if (state->refused == 0)
        producer->client->held++;
    state->refused += completion->count;
    state->blocked = true;
    if (completion->error == MR_COMPLETION_OUT_OF_ORDER && producer->idempotent && completion->expected_sequence != UINT64_MAX) {
        state->has_expected = true;
        state->expected = completion->expected_sequence;
    }
}

/* Unsettled frames of one partition, taken out of the rings, by wire number. */
struct gathering {
    struct mr_backlog_entry *first, *last;
};

static void insert(struct gathering *list, struct mr_backlog_entry *entry)
{
    if (list->last == NULL || list->last->wire < entry->wire) { /* nearly always */
        entry->next = NULL;
        if (list->last != NULL)
            list->last->next = entry;
        else
            list->first = entry;
        list->last = entry;
        return;
    }
    struct mr_backlog_entry **at = &list->first;
    while ((*at)->wire < entry->wire)
        at = &(*at)->next;
    entry->next = *at;
    *at = entry;
}

static void gather(struct millrace_producer *producer, struct mr_client_ring *ring, uint32_t partition, struct gathering *list)
{
    struct mr_producer_partition *state = &producer->partition[partition];
    uint64_t position = ring->ring.free_from;

    while (position < ring->ring.tail) {
        uint8_t *frame = mr_ring_at(&ring->ring, position);
        uint64_t word = mr_ring_word(frame);
        uint32_t bytes = mr_frame_length(word), kind = mr_frame_kind(word);
        if (bytes == 0)
            return; /* our own memory, overwritten by a bug of this program */
        if ((kind == MR_FRAME_VALUE || kind == MR_FRAME_RECORD) && mr_frame_handle(word) == state->handle && !mr_ring_is_open(frame)) {
            uint64_t wire = mr_ring_second(frame), same;
            /* Answered, or its daemon is dead: nobody else looks at it. We must not find it again, also not one that was refused for good:
             * its number goes to another record. */
            mr_ring_pad(&ring->ring, position, bytes);
            if (!mr_sequences_is_settled(&state->numbers, wire)) {
                uint64_t sequence = mr_sequences_of_wire(&state->numbers, wire, 1, &same);
                struct mr_backlog_entry *entry = copy_frame(frame, word, sequence);
                if (entry != NULL) {
                    entry->wire = wire;
                    entry->has_wire = true;
                    insert(list, entry);
                } else {
                    mr_producer_tell(producer, partition, sequence, 1, -1, -ENOMEM, MR_DURABILITY_RING);
                }
            }
        }
        position += bytes;
    }
}

/* Before what is in the backlog already, which is younger. */
static void prepend(struct millrace_producer *producer, struct mr_producer_partition *state, struct gathering *list)
{
    if (list->first == NULL)
        return;
    for (struct mr_backlog_entry *entry = list->first; entry != NULL; entry = entry->next) {
        state->backlog_count++;
        producer->backlog_count++;
    }
    list->last->next = state->backlog;
    state->backlog = list->first;
    if (state->backlog_last == NULL)
        state->backlog_last = list->last;
    state->blocked = true;
}

/* P1. What is gone is told by the application's numbers, as far as these can still be known. Between them may be some that were not answered
 * yet: they are in the backlog, and will be sent again. */
static void tell_gone(struct millrace_producer *producer, uint32_t partition, uint64_t wire, uint64_t end)
{
    const struct mr_sequences *numbers = &producer->partition[partition].numbers;

    while (wire < end) {
        bool all = wire < numbers->settled;
        uint64_t same;
        uint64_t sequence = mr_sequences_of_wire(numbers, wire, all ? mr_min_u64(end, numbers->settled) - wire : 1, &same);
        if (all || mr_sequences_is_settled(numbers, wire))
            mr_producer_tell_gone(producer, partition, sequence, same);
        wire += same;
    }
}

/* P1. What the daemon waits for is at least what it last said, and behind everything it took: what it said may be older, if an old claim was
 * committed to another ring meanwhile. But if it took nothing since the round before this one, it has lost what it took. */
static void renumber(struct millrace_producer *producer, uint32_t partition)
{
    struct mr_producer_partition *state = &producer->partition[partition];
    struct mr_sequences *numbers = &state->numbers;
    uint64_t wire = state->accepted_end;

    if (!state->has_expected)
        return;                                            /* only NOT_OWNER: the numbers are as good as before */
    uint64_t ahead = (state->expected - wire) & INT32_MAX; /* it counts modulo 2^31 */
    if (ahead < 1u << 30) {
        wire += ahead;
    } else if (state->stuck_ns != 0) { /* none of those refused is in the log, so they can be numbered from there */
        wire -= mr_min_u64(wire, (wire - state->expected) & INT32_MAX);
        tell_gone(producer, partition, wire, state->acked_end);
        state->accepted_end = wire;
        state->acked_end = mr_min_u64(state->acked_end, wire);
    }
    mr_sequences_rewind(numbers, wire);
    numbers->next_wire = wire;
    state->unsure_end = mr_min_u64(state->unsure_end, wire);
    for (struct mr_backlog_entry *entry = state->backlog; entry != NULL; entry = entry->next)
        if (entry->has_wire && entry->wire >= wire)
            entry->has_wire = false; /* one below is in the log, and will be known as a duplicate (P2) */
}

static void pop(struct millrace_producer *producer, struct mr_producer_partition *state)
{
    struct mr_backlog_entry *entry = state->backlog;

    state->backlog = entry->next;
    if (state->backlog == NULL)
        state->backlog_last = NULL;
    state->backlog_count--;
    producer->backlog_count--;
    free(entry);
}

/* The first `count` of the backlog were refused once more, and none with them has been taken since the round before. */
static void bound_rounds(struct millrace_producer *producer, uint32_t partition, uint64_t count)
{
    struct mr_producer_partition *state = &producer->partition[partition];
    uint64_t now_ns = mr_client_now_ns();

    if (state->stuck_ns == 0) {
        state->stuck_ns = now_ns;
        return;
    }
    state->again_ns = now_ns + MR_CLIENT_CHECK_NS;
    if (now_ns - state->stuck_ns < producer->client->delivery_timeout_ms * (uint64_t)1000000)
        return;
    for (; count > 0; count--) {
        const struct mr_backlog_entry *entry = state->backlog;
        if (entry->has_wire && !mr_sequences_settle(&state->numbers, entry->wire, 1))
            break; /* no memory: it waits */
        mr_producer_tell(producer, partition, entry->sequence, 1, -1, -ETIMEDOUT, MR_DURABILITY_RING);
        pop(producer, state);
    }
    state->stuck_ns = 0;
}

void mr_backlog_collect(struct millrace_producer *producer, uint32_t partition)
{
    struct mr_producer_partition *state = &producer->partition[partition];
    struct gathering list = {0};
    uint64_t count = state->backlog_count;

    mr_assert(state->in_rings == 0 && state->refused > 0);
    for (struct mr_client_ring *ring = producer->client->rings; ring != NULL; ring = ring->next)
        gather(producer, ring, partition, &list);
    prepend(producer, state, &list);
    renumber(producer, partition);
    bound_rounds(producer, partition, state->backlog_count - count);
    state->refused = 0;
    state->has_expected = false;
    state->ring = NULL; /* look again who owns it */
    producer->client->held--;
    if (state->backlog == NULL && mr_sequences_shift(&state->numbers, state->numbers.next_wire, state->numbers.next))
        state->blocked = false;
}

void mr_backlog_pump(struct millrace_producer *producer)
{
    struct millrace_client *client = producer->client;

    if (client->state != MR_CLIENT_ATTACHED || producer->lost)
        return;
    for (uint32_t p = 0; p < producer->partition_count && producer->backlog_count > 0; p++) {
        struct mr_producer_partition *state = &producer->partition[p];
        if (state->backlog == NULL || state->refused > 0 || (state->again_ns != 0 && mr_client_now_ns() < state->again_ns))
            continue;
        state->again_ns = 0;
        if (state->ring == NULL)
            state->ring = mr_head_owner_ring(client, producer->head, p, producer->rings_end);
        bool sent = false;
        while (state->backlog != NULL && state->ring != NULL) {
            struct mr_backlog_entry *entry = state->backlog;
            struct mr_ring_producer *ring = &state->ring->ring;
            uint32_t bytes = mr_frame_length(entry->word);
            if (!entry->has_wire && !mr_sequences_shift(&state->numbers, state->numbers.next_wire, entry->sequence))
                break; /* no memory: later */
            if (bytes > state->ring->ring.frame_bytes_max) {
                /* The new daemon gave a smaller ring than the old one. */
                mr_producer_tell(producer, p, entry->sequence, 1, -1, -EMSGSIZE, MR_DURABILITY_RING);
            } else {
                uint64_t word = mr_frame_word(bytes, mr_frame_kind(entry->word), mr_frame_trailing(entry->word), state->handle);
                uint8_t *frame = mr_ring_claim(ring, word, producer->owner);
                if (frame == NULL)
                    break;
                memcpy(frame + MR_FRAME_HEADER_BYTES, entry->body, bytes - MR_FRAME_HEADER_BYTES);
                mr_ring_stage(frame, entry->has_wire ? entry->wire : state->numbers.next_wire++);
                mr_ring_publish(ring, ring->tail - bytes, ring->tail);
                state->in_rings++;
                sent = true;
            }
            pop(producer, state);
        }
        if (sent)
            mr_client_wake(client, state->ring);
        if (state->backlog == NULL && mr_sequences_shift(&state->numbers, state->numbers.next_wire, state->numbers.next))
            state->blocked = false;
    }
}

void mr_producers_lose(struct millrace_client *client)
{
    for (struct millrace_producer *producer = client->producers; producer != NULL; producer = producer->next) {
        for (uint32_t p = 0; p < producer->partition_count; p++) {
            struct mr_producer_partition *state = &producer->partition[p];
            struct gathering list = {0};
            if (state->in_rings + state->refused > 0)
                for (struct mr_client_ring *ring = client->rings; ring != NULL; ring = ring->next)
                    gather(producer, ring, p, &list);
            prepend(producer, state, &list);
            state->in_rings = 0;
            state->refused = 0;
            state->has_expected = false;
            state->unsure_end = state->numbers.next_wire;
            state->stuck_ns = state->again_ns = 0;
            state->ring = NULL;
        }
    }
    for (struct mr_client_ring *ring = client->rings; ring != NULL; ring = ring->next)
        mr_client_count_claims(ring);
}

void mr_backlog_release(struct mr_producer_partition *partition)
{
    while (partition->backlog != NULL) {
        struct mr_backlog_entry *entry = partition->backlog;
        partition->backlog = entry->next;
        free(entry);
    }
}
