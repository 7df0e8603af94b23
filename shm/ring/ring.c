/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/ring/ring.h"

#include <errno.h>
#include <string.h>

bool mr_ring_shape_is_sane(struct mr_ring_shape shape)
{
    return mr_is_power_of_two(shape.completion_count) && shape.completion_count <= (1u << 20) &&
           mr_is_power_of_two(shape.submission_bytes) && shape.submission_bytes >= MR_RING_SUBMISSION_BYTES_MIN &&
           shape.submission_bytes <= MR_RING_SUBMISSION_BYTES_MAX;
}

/* ---------------------------------------------------------------------------------------------------------- client end */

static void producer_set_limit(struct mr_ring_producer *ring)
{
    uint64_t lap_end = (ring->tail | ring->mask) + 1;

    ring->limit = mr_min_u64(lap_end, ring->free_from + ring->mask + 1);
}

void mr_ring_producer_init(struct mr_ring_producer *ring, void *memory, struct mr_ring_shape shape)
{
    uint8_t *base = memory;

    memset(ring, 0, sizeof *ring);
    ring->submissions = base + mr_ring_submission_position(shape);
    ring->mask = shape.submission_bytes - 1;
    ring->frame_bytes_max = shape.submission_bytes / 2;
    ring->daemon = (struct mr_ring_daemon *)(void *)(base + MR_RING_DAEMON_POSITION);
    ring->client = (struct mr_ring_client *)(void *)(base + MR_RING_CLIENT_POSITION);
    ring->completions = (struct mr_completion *)(void *)(base + MR_RING_COMPLETION_POSITION);
    ring->completion_mask = shape.completion_count - 1;
    producer_set_limit(ring);
}

/* The end of a lap, or of the free space. */
uint8_t *mr_ring_claim_slow(struct mr_ring_producer *ring, uint64_t word, uint64_t owner)
{
    uint64_t free_end = ring->free_from + ring->mask + 1;
    uint64_t left = ring->mask + 1 - (ring->tail & ring->mask);
    uint64_t tail = ring->tail;
    uint64_t frame_bytes = mr_frame_length(word);

    producer_set_limit(ring); /* a new lap may have begun exactly at the tail */
    if (frame_bytes <= left) {
        if (tail + frame_bytes > ring->limit)
            return NULL;
    } else {
        if (tail + left + frame_bytes > free_end)
            return NULL;
        mr_ring_pad(ring, tail, (uint32_t)left); /* R2; shown with the frame behind it */
        tail += left;
    }
    ring->tail = tail + frame_bytes;
    producer_set_limit(ring);
    return mr_ring_open(ring, tail, word, owner);
}

bool mr_ring_abort(struct mr_ring_producer *ring, uint64_t position, uint32_t frame_bytes)
{
    if (position + frame_bytes == ring->tail) {
        ring->tail = position;
        producer_set_limit(ring);
    } else {
        mr_ring_pad(ring, position, frame_bytes);
    }
    return mr_ring_publish(ring, position, position); /* it may have held up others, or stood alone behind a pad */
}

void mr_ring_producer_free(struct mr_ring_producer *ring, uint64_t released)
{
    if (released > ring->free_from && released <= ring->tail) {
        ring->free_from = released;
        producer_set_limit(ring);
    }
}

/* --------------------------------------------------------------------------------------------------------- reactor end */

void mr_ring_consumer_init(struct mr_ring_consumer *ring, void *memory, struct mr_ring_shape shape)
{
    uint8_t *base = memory;

    memset(ring, 0, sizeof *ring);
    ring->submissions = base + mr_ring_submission_position(shape);
    ring->mask = shape.submission_bytes - 1;
    ring->daemon = (struct mr_ring_daemon *)(void *)(base + MR_RING_DAEMON_POSITION);
    ring->client = (struct mr_ring_client *)(void *)(base + MR_RING_CLIENT_POSITION);
    ring->completions = (struct mr_completion *)(void *)(base + MR_RING_COMPLETION_POSITION);
    ring->completion_mask = shape.completion_count - 1;
}

/* The least length of each kind of frame, so that a reader of the body needs to check only what the body itself says. */
static const uint8_t frame_bytes_min[] = {
    [MR_FRAME_PAD] = MR_RING_WORD_BYTES,
    [MR_FRAME_VALUE] = MR_FRAME_HEADER_BYTES,
    [MR_FRAME_RECORD] = MR_FRAME_HEADER_BYTES + sizeof(struct mr_frame_record),
};

static enum mr_poison_reason judge(const struct mr_ring_consumer *ring, uint64_t position, uint64_t word, uint64_t committed)
{
    uint32_t length = mr_frame_length(word);
    uint32_t kind = mr_frame_kind(word);
    uint32_t trailing = mr_frame_trailing(word);
    uint64_t left = ring->mask + 1 - (position & ring->mask);

    if (kind == 0 || kind >= MR_COUNT_OF(frame_bytes_min))
        return MR_POISON_FRAME_KIND;
    if (length % MR_FRAME_ALIGN != 0 || trailing >= MR_FRAME_ALIGN || length < frame_bytes_min[kind] + trailing || length > left)
        return MR_POISON_FRAME_LENGTH;
    if (kind != MR_FRAME_PAD && length > (ring->mask + 1) / 2)
        return MR_POISON_FRAME_LENGTH;
    if (length > committed - position)
        return MR_POISON_FRAME_LENGTH; /* it would end amid what is not committed */
    return MR_POISON_NONE;
}

/* What was not released cannot have been claimed again: that bounds the frames that a reactor has to remember for a ring, too. */
static bool see_committed(struct mr_ring_consumer *ring)
{
    uint64_t committed = mr_load_acquire(&ring->client->committed); /* P; once (R5) */

    if (mr_unlikely(committed - ring->position > ring->mask + 1 || committed - ring->released > ring->mask + 1 ||
                    committed % MR_FRAME_ALIGN != 0)) {
        ring->reason = MR_POISON_COMMITTED_INDEX;
        return false;
    }
    ring->committed = committed;
    return true;
}

int mr_ring_peek(struct mr_ring_consumer *ring, struct mr_ring_frame *frames, uint32_t max)
{
    uint64_t position = ring->position, committed = ring->committed, fetched = position;
    uint64_t stop = mr_min_u64(committed, position + MR_RING_PEEK_BYTES);
    /* The word last found good: the next one is most often the same, and good if it ends within bounds. At first none is: no frame ends at 0. */
    uint64_t good = 0, good_bytes = 1, good_end = 0;
    uint32_t pads = 0;
    uint32_t count = 0;

    if (mr_unlikely(ring->reason != MR_POISON_NONE))
        return -EBADMSG;
    while (count < max) {
        if (position >= stop) {
            if (count > 0)
                break;
            if (position == committed) { /* the client's index is looked at only when what it said last is used up */
                if (mr_unlikely(!see_committed(ring)))
                    return -EBADMSG;
                committed = ring->committed;
                if (position == committed)
                    break;
            }
            stop = mr_min_u64(committed, position + MR_RING_PEEK_BYTES); /* pads are not among the bytes */
        }
        const uint8_t *at = ring->submissions + (position & ring->mask);
        uint64_t ahead = mr_min_u64(position + MR_RING_PREFETCH_BYTES, committed); /* R1 */
        if (fetched < ahead) {
            fetched = mr_max_u64(fetched, position); /* not what a large frame or a pad has jumped over */
            for (; fetched < ahead; fetched += MR_CACHE_LINE)
                __builtin_prefetch(ring->submissions + (fetched & ring->mask));
        }
        uint64_t word = mr_load_relaxed((const _Atomic uint64_t *)(const void *)at); /* the only load of it (R5); ordered by P */
        if (mr_likely(word == good && position + good_bytes <= good_end)) {
            position += good_bytes; /* not taken from the word: the next load begins without waiting for this one */
        } else {
            enum mr_poison_reason reason = judge(ring, position, word, committed);
            if (mr_unlikely(reason != MR_POISON_NONE)) {
                if (count > 0)
                    break;
                ring->reason = reason;
                return -EBADMSG;
            }
            position += mr_frame_length(word);
            if (mr_unlikely(mr_frame_kind(word) == MR_FRAME_PAD)) {
                if (count == 0)
                    ring->position = position;
                if (++pads == MR_RING_PADS_MAX)
                    break;
                continue;
            }
            good = word;
            good_bytes = mr_frame_length(word);
            good_end = mr_min_u64(committed, ((position - 1) | ring->mask) + 1);
        }
        frames[count].body = at + MR_FRAME_HEADER_BYTES;
        frames[count].word = word;
        frames[count].sequence =
            atomic_load_explicit((const _Atomic uint64_t *)(const void *)(at + MR_RING_WORD_BYTES), memory_order_relaxed);
        frames[count].end = position;
        count++;
    }
    return (int)count;
}

bool mr_ring_complete(struct mr_ring_consumer *ring, const struct mr_completion *completion)
{
    uint64_t index = ring->completion_next;

    if (mr_unlikely(ring->reason != MR_POISON_NONE))
        return false;
    if (mr_unlikely(index - ring->completion_head > ring->completion_mask)) {
        uint64_t head = mr_load_acquire(&ring->client->completion_head); /* H; once (R5) */
        /* Both differences are exact: indices count from 0 and do not wrap in the life of a session. */
        if (head - ring->completion_head > index - ring->completion_head) {
            ring->reason = MR_POISON_COMPLETION_INDEX;
            return false;
        }
        ring->completion_head = head;
        if (index - head > ring->completion_mask)
            return false;
    }
    struct mr_completion *line = &ring->completions[index & ring->completion_mask];
    line->first_sequence = completion->first_sequence;
    line->base_offset = completion->base_offset;
    line->count = completion->count;
    line->handle = completion->handle;
    line->error = completion->error;
    line->durability = completion->durability;
    line->released = ring->released;
    line->expected_sequence = completion->expected_sequence;
    ring->completion_next = index + 1;
    mr_store_release(&line->stamp, index + 1); /* A */
    return true;
}
