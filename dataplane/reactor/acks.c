/* SPDX-License-Identifier: Apache-2.0 */
/* From "the log has it" to "the producer knows". An ack is written at once where its level is reached with the append; else it waits at its
 * partition for the watermark, and when the completion ring is full, in its ring's backlog. Frames of one drain form a group, and the
 * ring's space is released group by group, so that what a producer must be able to send again is never overwritten. */
#include "dataplane/reactor/reactor_internal.h"

#include <unistd.h>

void reactor_wake(struct mr_reactor *reactor, struct mr_ring_session *ring)
{
    uint8_t token = 0;
    ssize_t ignored = write(ring->wake, &token, sizeof token); /* full: it has been told often enough; EPIPE: it is gone */
    (void)ignored;
    reactor_count(&reactor->counters.wakes, 1);
}

static struct mr_ack *take_ack(struct mr_reactor *reactor, struct mr_ring_session *ring, const struct mr_ack *content)
{
    struct mr_ack *ack = ring->ack_free;
    if (ack != NULL) {
        ring->ack_free = ack->next;
    } else { /* memory that was never used is not backed: an idle ring costs none */
        mr_assert(ring->acks_touched < ring->acks_max); /* drain looks for room before it takes frames */
        ack = &ring->acks[ring->acks_touched++];
    }
    *ack = *content;
    ack->next = NULL;
    ring->acks_outstanding++;
    ack->handle->acks_outstanding++;
    reactor->acks_outstanding++;
    ring->group[ack->group % MR_GROUPS].pending++;
    return ack;
}

static void give_ack(struct mr_reactor *reactor, struct mr_ring_session *ring, struct mr_ack *ack)
{
    ring->acks_outstanding--;
    ack->handle->acks_outstanding--;
    reactor->acks_outstanding--;
    ring->group[ack->group % MR_GROUPS].pending--;
    reactor->close_due |= ring->closing && ring->acks_outstanding == 0;
    ack->next = ring->ack_free;
    ring->ack_free = ack;
}

void reactor_release_groups(struct mr_ring_session *ring)
{
    uint64_t position = ring->ring.released;
    while (ring->group_first != ring->group_next && ring->group[ring->group_first % MR_GROUPS].pending == 0) {
        position = ring->group[ring->group_first % MR_GROUPS].position;
        ring->group_first++;
    }
    mr_ring_release(&ring->ring, position);
}

static bool complete(struct mr_reactor *reactor, struct mr_ring_session *ring, const struct mr_ack *ack)
{
    struct mr_completion completion = {.first_sequence = ack->first_sequence, .base_offset = ack->base_offset, .count = ack->count,
                                       .handle = ack->handle->number, .error = ack->error, .durability = ack->durability,
                                       .expected_sequence = ack->expected_sequence};
    if (!mr_ring_complete(&ring->ring, &completion)) {
        if (mr_unlikely(ring->ring.reason != MR_POISON_NONE))
            reactor_poison(reactor, ring, ring->ring.reason); /* the client's index made no sense */
        return false;
    }
    if (!ring->completed) {
        ring->completed = true;
        ring->touched_next = reactor->touched;
        reactor->touched = ring;
    }
    return true;
}

/* Within a group, or into the ack of an older one when both are due: groups are released in order, so that the younger one's space goes no
 * sooner than the completion that tells of both. */
static bool merges(const struct mr_ack *into, const struct mr_ack *ack, bool due)
{
    uint32_t behind = ack->group - into->group;
    return into->handle == ack->handle && into->error == ack->error && into->durability == ack->durability &&
           (behind == 0 || (due && behind <= MR_GROUPS)) && into->first_sequence + into->count == ack->first_sequence &&
           (into->base_offset < 0 ? ack->base_offset < 0 : into->base_offset + (int64_t)into->count == ack->base_offset);
}

/* An ack that was taken joins the backlog, or the last one in it (S5). */
static void push_backlog(struct mr_reactor *reactor, struct mr_ring_session *ring, struct mr_ack *ack)
{
    if (ring->backlog_last != NULL && merges(ring->backlog_last, ack, true)) {
        ring->backlog_last->count += ack->count;
        give_ack(reactor, ring, ack);
        return;
    }
    ack->next = NULL;
    reactor_make_hot(reactor, ring); /* what its client has taken is looked at where rings are drained; nobody rings for that */
    if (ring->backlog_last != NULL)
        ring->backlog_last->next = ack;
    else
        ring->backlog_first = ack;
    ring->backlog_last = ack;
}

/* Something to tell now: into the completion ring, or behind what already waits for room there. */
void reactor_answer(struct mr_reactor *reactor, struct mr_ring_session *ring, const struct mr_ack *ack)
{
    if (mr_unlikely(ring->poisoned) || (ring->backlog_first == NULL && complete(reactor, ring, ack)) || mr_unlikely(ring->poisoned))
        return;
    if (ring->backlog_last != NULL && merges(ring->backlog_last, ack, true)) {
        ring->backlog_last->count += ack->count;
        return;
    }
    push_backlog(reactor, ring, take_ack(reactor, ring, ack));
}

bool reactor_flush_backlog(struct mr_reactor *reactor, struct mr_ring_session *ring)
{
    bool any = false;
    while (ring->backlog_first != NULL && complete(reactor, ring, ring->backlog_first)) {
        struct mr_ack *ack = ring->backlog_first;
        ring->backlog_first = ack->next;
        if (ring->backlog_first == NULL)
            ring->backlog_last = NULL;
        give_ack(reactor, ring, ack);
        any = true;
    }
    if (any)
        reactor_release_groups(ring);
    return any;
}

/* Nobody will make room for them any more. */
void reactor_drop_backlog(struct mr_reactor *reactor, struct mr_ring_session *ring)
{
    while (ring->backlog_first != NULL) {
        struct mr_ack *ack = ring->backlog_first;
        ring->backlog_first = ack->next;
        give_ack(reactor, ring, ack);
    }
    ring->backlog_last = NULL;
    reactor_release_groups(ring);
}

/* @return false when it is committed already: answer it. A duplicate may end below others that wait; it waits behind them, so that the acks of
 * one producer come in the order of its sequences. */
bool reactor_ack_later(struct mr_reactor *reactor, struct mr_topic_partition *partition, const struct mr_ack *ack)
{
    struct mr_ack *last = partition->waiting_last;
    uint64_t durable;
    if (last == NULL && mr_partition_committed(partition->log, &durable) >= ack->end_offset)
        return false;
    if (last != NULL && merges(last, ack, false)) {
        last->count += ack->count;
        last->end_offset = mr_max_u64(last->end_offset, ack->end_offset);
        return true;
    }
    struct mr_ack *waiting = take_ack(reactor, ack->handle->ring, ack);
    if (last != NULL)
        last->next = waiting;
    else
        partition->waiting_first = waiting;
    partition->waiting_last = waiting;
    return true;
}

static void pop_waiting(struct mr_reactor *reactor, struct mr_topic_partition *partition)
{
    struct mr_ack *ack = partition->waiting_first;
    struct mr_ring_session *ring = ack->handle->ring;
    partition->waiting_first = ack->next;
    if (partition->waiting_first == NULL)
        partition->waiting_last = NULL;
    /* The client of a closing ring may live: at a clean stop it is told as long as it has room. */
    if (ring->poisoned || (ring->backlog_first == NULL && complete(reactor, ring, ack)) || ring->closing || ring->poisoned)
        give_ack(reactor, ring, ack);
    else
        push_backlog(reactor, ring, ack);
    reactor_release_groups(ring);
}

void reactor_advance(struct mr_reactor *reactor, struct mr_topic_partition *partition)
{
    uint64_t durable;
    uint64_t committed = mr_partition_committed(partition->log, &durable);
    while (partition->waiting_first != NULL && partition->waiting_first->end_offset <= committed)
        pop_waiting(reactor, partition);
    if (partition->armed != NULL)
        reactor_wake_armed(reactor, partition);
}

void reactor_fail_waiting(struct mr_reactor *reactor, struct mr_topic_partition *partition, int32_t error, uint64_t before_ns)
{
    while (partition->waiting_first != NULL && partition->waiting_first->deadline_ns <= before_ns) {
        partition->waiting_first->error = error;
        partition->waiting_first->base_offset = -1;
        pop_waiting(reactor, partition);
    }
}

/* Clients that sleep for acks store `sleeping`, fence, poll once more and sleep; we have written completions, fence once for all rings of
 * this pass, and look: one of the two sees the other. */
void reactor_wake_sleepers(struct mr_reactor *reactor)
{
    if (reactor->due_first != NULL)
        reactor_wake_due(reactor);
    if (reactor->touched == NULL)
        return;
    mr_fence_seq_cst();
    for (struct mr_ring_session *ring = reactor->touched; ring != NULL; ring = ring->touched_next) {
        ring->completed = false;
        if (mr_load_relaxed(&ring->ring.client->sleeping) != 0)
            reactor_wake(reactor, ring);
    }
    reactor->touched = NULL;
}
