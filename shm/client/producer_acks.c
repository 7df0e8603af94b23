/* SPDX-License-Identifier: Apache-2.0 */
/* Completions in, acks out. */
#include <stdlib.h>

#include "shm/client/producer_internal.h"

static int errno_of(int32_t error)
{
    switch (error) {
    case MR_COMPLETION_OK:
        return 0;
    case MR_COMPLETION_TOO_LARGE:
        return -EMSGSIZE;
    case MR_COMPLETION_INVALID:
        return -EINVAL;
    case MR_COMPLETION_TIMED_OUT:
        return -ETIMEDOUT;
    case MR_COMPLETION_NO_SPACE:
        return -ENOSPC;
    case MR_COMPLETION_DELETED:
        return -ENOENT;
    case MR_COMPLETION_FENCED:
    case MR_COMPLETION_DENIED:
        return -EACCES;
    default:
        return -EIO;
    }
}

static MR_COLD bool grow_acks(struct millrace_producer *producer)
{
    struct millrace_ack *grown = malloc(2 * producer->ack_room * sizeof *grown);

    if (grown == NULL)
        return false;
    for (uint64_t i = producer->ack_first; i != producer->ack_next; i++)
        grown[i & (2 * producer->ack_room - 1)] = producer->acks[i & (producer->ack_room - 1)];
    free(producer->acks);
    producer->acks = grown;
    producer->ack_room *= 2;
    return true;
}

static void queue_ack(struct millrace_producer *producer, uint32_t partition, uint64_t sequence, uint64_t count, int64_t offset, int error,
                      uint32_t durability)
{
    if (mr_unlikely(error != 0))
        producer->failed += count;
    if (producer->ack_next != producer->ack_first) {
        struct millrace_ack *last = &producer->acks[(producer->ack_next - 1) & (producer->ack_room - 1)];
        if (last->partition == (int32_t)partition && last->error == error && last->first_sequence + last->count == sequence &&
            (uint32_t)last->durability == durability && count <= INT32_MAX - (uint64_t)last->count &&
            (last->base_offset < 0 ? offset < 0 : last->base_offset + (int64_t)last->count == offset)) {
            last->count += (uint32_t)count;
            return;
        }
    }
    if (mr_unlikely(producer->ack_next - producer->ack_first == producer->ack_room && !grow_acks(producer)))
        return; /* no memory even for that: the record is settled, its ack is not told */
    producer->acks[producer->ack_next++ & (producer->ack_room - 1)] =
        (struct millrace_ack){.first_sequence = sequence,
                              .count = (uint32_t)count,
                              .partition = (int32_t)partition,
                              .base_offset = offset,
                              .durability = (enum millrace_durability)durability,
                              .error = error};
    if (mr_unlikely(producer->ack_next - producer->ack_first >= MR_ACKS_KEPT && !producer->client->collecting))
        producer->client->choked = true;
}

void mr_producer_tell(struct millrace_producer *producer, uint32_t partition, uint64_t sequence, uint64_t count, int64_t offset, int error,
                      uint32_t durability)
{
    mr_check(producer->pending >= count);
    producer->pending -= count; /* P3 */
    queue_ack(producer, partition, sequence, count, offset, error, durability);
}

void mr_producer_tell_gone(struct millrace_producer *producer, uint32_t partition, uint64_t sequence, uint64_t count)
{
    queue_ack(producer, partition, sequence, mr_min_u64(count, INT32_MAX), -1, -ESTALE, MR_DURABILITY_RING);
}

/* Of a frame that an earlier daemon may have stored (P2), such a refusal does not say that it did not: it was judged by nothing but the state
 * of the partition or of the producer, or there are no numbers by which the log could know it again. */
static bool leaves_unsure(const struct millrace_producer *producer, int32_t error)
{
    return error == MR_COMPLETION_OFFLINE || error == MR_COMPLETION_FENCED || error == MR_COMPLETION_DENIED ||
           (error == MR_COMPLETION_NO_SPACE && !producer->idempotent);
}

static void settle(struct millrace_producer *producer, uint32_t partition, const struct mr_completion *completion)
{
    struct mr_producer_partition *state = &producer->partition[partition];
    uint64_t wire = completion->first_sequence;
    uint64_t left = completion->count;
    int64_t offset = completion->base_offset;
    int error = errno_of(completion->error);

    uint64_t unsure_end = mr_unlikely(error != 0) && leaves_unsure(producer, completion->error) ? state->unsure_end : 0;
    while (left > 0) { /* as many rounds as there are shifts in the range, mostly one */
        uint64_t same;
        bool unsure = mr_unlikely(wire < unsure_end);
        uint64_t sequence = mr_sequences_of_wire(&state->numbers, wire, unsure ? mr_min_u64(left, unsure_end - wire) : left, &same);
        mr_producer_tell(producer, partition, sequence, same, error == 0 ? offset : -1, unsure ? -ETIMEDOUT : error, completion->durability);
        wire += same;
        left -= same;
        offset += offset >= 0 ? (int64_t)same : 0;
    }
    if (mr_likely(error == 0))
        state->acked_end = mr_max_u64(state->acked_end, wire);
    if (mr_likely(error == 0 || error == -ETIMEDOUT))
        state->accepted_end = mr_max_u64(state->accepted_end, wire);
    state->stuck_ns = 0;
    if (!mr_sequences_settle(&state->numbers, completion->first_sequence, completion->count)) {
        /* No memory to remember an answer that came early: after a death of the daemon it would be sent again, as a duplicate. */
    }
}

bool mr_producers_take(struct millrace_client *client, const struct mr_completion *completion)
{
    struct millrace_producer *producer = client->producers;

    while (producer != NULL && completion->handle - producer->handle_first >= producer->partition_count)
        producer = producer->next;
    if (mr_unlikely(producer == NULL))
        return false; /* closed meanwhile */
    uint32_t partition = completion->handle - producer->handle_first;
    struct mr_producer_partition *state = &producer->partition[partition];
    if (mr_unlikely(completion->count == 0 || completion->count > state->in_rings))
        return false; /* more than was sent: not an answer to us */
    state->in_rings -= completion->count;
    if (mr_unlikely(completion->error == MR_COMPLETION_NOT_OWNER || completion->error == MR_COMPLETION_OUT_OF_ORDER))
        mr_backlog_refused(producer, partition, completion);
    else
        settle(producer, partition, completion);
    if (mr_unlikely(state->refused > 0 && state->in_rings == 0))
        mr_backlog_collect(producer, partition);
    return true;
}

void mr_producers_pump(struct millrace_client *client)
{
    for (struct millrace_producer *producer = client->producers; producer != NULL; producer = producer->next)
        if (producer->backlog_count > 0)
            mr_backlog_pump(producer);
}

MR_CLIENT_EXPORT MR_HOT int millrace_producer_poll_acks(struct millrace_producer *producer, struct millrace_ack *acks, uint32_t max)
{
    struct millrace_client *client = producer->client;
    uint32_t count = 0;

    mr_client_poll(client, false);
    if (mr_unlikely(producer->backlog_count > 0))
        mr_backlog_pump(producer);
    while (count < max && producer->ack_first != producer->ack_next)
        acks[count++] = producer->acks[producer->ack_first++ & (producer->ack_room - 1)];
    if (count > 0) {
        if (mr_unlikely(client->choked) && producer->ack_next - producer->ack_first < MR_ACKS_KEPT / 2)
            client->choked = false;
        return (int)count;
    }
    int rc = mr_client_drive(client);
    return rc == 0 && producer->lost ? -ENOTCONN : rc;
}

MR_CLIENT_EXPORT int millrace_producer_flush(struct millrace_producer *producer, int timeout_ms)
{
    struct millrace_client *client = producer->client;
    struct mr_wait wait;
    int rc = 0;

    mr_wait_init(&wait, timeout_ms);
    client->collecting = true; /* all acks are kept, without bound */
    client->choked = false;
    while (producer->pending > 0 && rc == 0) {
        bool waits_for_claim = mr_client_waits_for_claim(client);
        uint32_t count = mr_client_poll(client, true);
        mr_producers_pump(client);
        if (count > 0)
            continue;
        if (mr_unlikely(waits_for_claim && producer->pending > producer->backlog_count)) {
            rc = -EDEADLK; /* this thread is the only one that could end the claim */
            break;
        }
        rc = producer->lost ? -ENOTCONN : mr_client_drive(client);
        if (rc != 0)
            break;
        switch (mr_wait_next(&wait, client)) {
        case MR_WAIT_AGAIN:
            break;
        case MR_WAIT_OVER:
            rc = -ETIMEDOUT;
            break;
        case MR_WAIT_SLEEP:
            mr_client_set_sleeping(client, true);
            if (mr_client_poll(client, true) == 0)
                mr_client_sleep(client, &wait, producer->backlog_count > 0 ? MR_CLIENT_CHECK_NS : UINT64_MAX);
            mr_client_set_sleeping(client, false);
            break;
        }
    }
    client->collecting = false;
    if (rc != 0)
        return rc;
    rc = producer->failed > 0 ? -EIO : 0;
    producer->failed = 0;
    return rc;
}
