/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of a ring pair (shm/abi/ring.h), over raw memory: the client claims and commits frames and polls completions; the reactor
 * peeks frames, gives space back and writes completions. No system call, no memory taken.
 *
 * A position is a count of bytes since the ring was made, never reduced; its place in memory is position mod submission_bytes.
 *
 *      released          committed               tail
 *         |  frames, pads        | claims, pads       | free ...
 *
 * Client:   claim -> (fill) -> stage* -> publish        or  -> abort
 * Reactor:  peek -> consume* -> ... -> complete -> release
 *
 * R1  The reactor never looks at a line at or above `committed`, not even ahead of time: the client is writing there, and each look would take
 *     the line away from it. (With the commit in the frame's own word, as a first version had it, the reactor's polling and its speculative
 *     loads of frames to come cost up to two thirds of the throughput: docs/design.md.)
 * R2  A frame never straddles the end: a pad fills up. A frame is at most half a ring, so it always fits into an empty one.
 * R3  Frames show themselves in the order of their claims, whatever the order of commits and aborts: `committed` stops at the oldest open
 *     claim. Until then the words tell: 0 open, else committed or a pad. Only this end walks them so.
 * R4  The client reuses space only below `released` as this end has accepted it (mr_ring_producer_free), which it does when it has dealt
 *     with the completions of all frames below: a refused frame is still there to be sent again.
 * R5  The reactor trusts nothing it reads: each word and index is loaded once, the copy is checked, and only the copy is used.
 *
 * Edges, besides those of shm/abi/ring.h:
 *   A  Refusals and acks of all frames below a position are written before `released` moves there. */
#ifndef MR_RING_RING_H
#define MR_RING_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "shm/abi/frame.h"
#include "shm/abi/ring.h"
#include "shm/base/assert.h"
#include "shm/base/atomics.h"

#define MR_RING_WORD_BYTES     8u
#define MR_RING_PADS_MAX       64u  /* skipped in one peek; what is behind them comes with the next */
#define MR_RING_AHEAD_BYTES    1024u /* how far a claim asks for lines to write: the reactor has read them, they come from its core */
#define MR_RING_PREFETCH_BYTES 512u /* how far peek asks ahead: some frames' worth of latency */

/** True if both sizes are powers of two within the bounds of the ABI, so that positions can be masked. */
bool mr_ring_shape_is_sane(struct mr_ring_shape shape);

/* ------------------------------------------------------------------------------------------------ client end, one thread */

struct mr_ring_producer {
    uint8_t *submissions;
    uint64_t mask;      /* submission_bytes - 1 */
    uint64_t committed; /* as last stored */
    uint64_t tail;      /* where the next claim begins */
    uint64_t limit;     /* no claim may end behind this: the end of this lap or of the free space, whichever comes first */
    uint64_t free_from; /* R4: space below is ours again */
    struct mr_ring_daemon *daemon;
    struct mr_ring_client *client;
    struct mr_completion *completions;
    uint64_t completion_mask;
    uint64_t completion_next;
    uint64_t completion_told; /* as last stored in completion_head */
};

/** @param memory  a whole ring pair of this shape, zeroed when new; stays the caller's */
void mr_ring_producer_init(struct mr_ring_producer *ring, void *memory, struct mr_ring_shape shape);

static inline uint8_t *mr_ring_at(const struct mr_ring_producer *ring, uint64_t position)
{
    return ring->submissions + (position & ring->mask);
}

/** The largest frame that a ring of these bytes takes (R2). */
static inline uint32_t mr_ring_frame_bytes_max(uint32_t submission_bytes)
{
    return submission_bytes / 2;
}

bool mr_ring_claim_slow(struct mr_ring_producer *ring, uint32_t frame_bytes, uint64_t *position) MR_COLD;

/* An open claim: its word is 0, its second word says how long it is. */
static inline void mr_ring_open(struct mr_ring_producer *ring, uint64_t position, uint32_t frame_bytes)
{
    uint64_t *word = (uint64_t *)(void *)mr_ring_at(ring, position);

    word[0] = 0;
    word[1] = frame_bytes;
}

/** Make a claim, or a frame that nobody looks at any more, into something to skip. */
static inline void mr_ring_pad(struct mr_ring_producer *ring, uint64_t position, uint32_t bytes)
{
    *(uint64_t *)(void *)mr_ring_at(ring, position) = mr_frame_word(bytes, MR_FRAME_PAD, 0, 0);
}

/**
 * Claim space for a frame. Its word is 0; its second word holds frame_bytes until the commit, so that open claims can be walked over.
 * @param frame_bytes a multiple of 8, at least 16, at most mr_ring_frame_bytes_max()
 * @return false: no room; mr_ring_producer_free() may make some. Hot.
 */
MR_HOT static inline bool mr_ring_claim(struct mr_ring_producer *ring, uint32_t frame_bytes, uint64_t *position)
{
    uint64_t tail = ring->tail;
    uint64_t end = tail + frame_bytes;

    mr_check(frame_bytes % MR_FRAME_ALIGN == 0 && frame_bytes >= MR_FRAME_HEADER_BYTES && frame_bytes <= (ring->mask + 1) / 2);
    if (mr_unlikely(end > ring->limit))
        return mr_ring_claim_slow(ring, frame_bytes, position);
    mr_prefetch_write(mr_ring_at(ring, tail + MR_RING_AHEAD_BYTES)); /* both ends: no line of small frames is left out */
    mr_prefetch_write(mr_ring_at(ring, end + MR_RING_AHEAD_BYTES));
    mr_ring_open(ring, tail, frame_bytes);
    ring->tail = end;
    *position = tail;
    return true;
}

/** Write a frame's word and sequence: committed, and shown with the next publish. Hot. */
static inline void mr_ring_stage(struct mr_ring_producer *ring, uint64_t position, uint64_t word, uint64_t sequence)
{
    uint64_t *at = (uint64_t *)(void *)mr_ring_at(ring, position);

    at[0] = word;
    at[1] = sequence;
}

/**
 * Show what was staged, as far as R3 lets.
 * @param from, end frames that were staged just now, one directly behind the other; from = end: nothing is known
 * @return true if `committed` moved. Hot.
 */
static inline bool mr_ring_publish(struct mr_ring_producer *ring, uint64_t from, uint64_t end)
{
    uint64_t committed = ring->committed == from ? end : ring->committed;

    while (mr_unlikely(committed < ring->tail)) { /* claims of others behind it, or in front */
        uint64_t word = *(const uint64_t *)(const void *)mr_ring_at(ring, committed);
        if (word == 0 || mr_frame_length(word) == 0) /* 0: overwritten by a bug of this program; not for ever */
            break;
        committed += mr_frame_length(word);
    }
    if (mr_unlikely(committed == ring->committed))
        return false;
    ring->committed = committed;
    mr_store_release(&ring->client->committed, committed); /* P */
    return true;
}

/** Take back a claim that was not committed: the last one returns its space, another becomes a pad, and those behind it show.
 * @return true if something was shown: mr_ring_must_wake() applies */
bool mr_ring_abort(struct mr_ring_producer *ring, uint64_t position, uint32_t frame_bytes);

/**
 * After a publish: must the session's doorbell be rung? @param fences the daemon cannot use membarrier(): fence here instead.
 * Hot; reads a line that seldom changes.
 */
static inline bool mr_ring_must_wake(const struct mr_ring_producer *ring, bool fences)
{
    /* The reactor stores `cold`, runs membarrier, looks at the ring once more; we publish, then look at `cold`. The barrier stands in for
     * the fence here, so only the compiler must keep the order. */
    if (mr_unlikely(fences))
        mr_fence_seq_cst();
    else
        atomic_signal_fence(memory_order_seq_cst);
    return mr_unlikely(mr_load_relaxed(&ring->daemon->cold) != 0);
}

/** What the reactor says is free; to be accepted (R4) by mr_ring_producer_free() when the completions written before were taken. */
static inline uint64_t mr_ring_producer_released(const struct mr_ring_producer *ring)
{
    return mr_load_acquire(&ring->daemon->released); /* F */
}

/** Reuse space below `released` (R4). A position that moves back or lies beyond the tail is ignored: the daemon's, but checked. */
void mr_ring_producer_free(struct mr_ring_producer *ring, uint64_t released);

/** Take the next completion; `stamp` of the copy has no meaning. @return false: none. Hot. */
static inline bool mr_ring_poll(struct mr_ring_producer *ring, struct mr_completion *completion)
{
    struct mr_completion *line = &ring->completions[ring->completion_next & ring->completion_mask];

    if (mr_load_acquire(&line->stamp) != ring->completion_next + 1) /* A */
        return false;
    memcpy((uint8_t *)completion + sizeof line->stamp, (const uint8_t *)line + sizeof line->stamp, sizeof *line - sizeof line->stamp);
    ring->completion_next++;
    return true;
}

/** Tell the reactor which completions were taken, once for a burst of polls. */
static inline void mr_ring_heard(struct mr_ring_producer *ring)
{
    if (ring->completion_told != ring->completion_next) {
        ring->completion_told = ring->completion_next;
        mr_store_release(&ring->client->completion_head, ring->completion_next); /* H */
    }
}

/**
 * The frame at a position of the client's own ring: the bytes to the next one. Walks committed frames, pads and open claims.
 * @param word its word, 0 for an open claim
 */
static inline uint32_t mr_ring_walk(const struct mr_ring_producer *ring, uint64_t position, uint64_t *word)
{
    const uint64_t *at = (const uint64_t *)(const void *)mr_ring_at(ring, position);

    *word = at[0];
    return *word != 0 ? mr_frame_length(*word) : (uint32_t)at[1];
}

/* --------------------------------------------------------------------------------------------- reactor end, one thread */

/** A frame found. The body is hostile memory: frame_bytes - 16 bytes that may change while they are read. */
struct mr_ring_frame {
    const uint8_t *body; /* behind the header; lives until the space is released */
    uint64_t word;       /* checked: length, kind and trailing are sane; the handle is not */
    uint64_t sequence;   /* as the client says */
    uint64_t end;        /* position behind the frame */
};

struct mr_ring_consumer {
    const uint8_t *submissions;
    uint64_t mask;
    uint64_t position;  /* of the next frame to peek */
    uint64_t committed; /* checked copy of the client's: between position and released + a ring */
    uint64_t released; /* as last stored */
    struct mr_ring_daemon *daemon;
    struct mr_ring_client *client;
    struct mr_completion *completions;
    uint64_t completion_mask;
    uint64_t completion_next;     /* index of the next one to write */
    uint64_t completion_head;     /* checked copy of the client's */
    enum mr_poison_reason reason; /* set once; from then on nothing is peeked or completed */
};

/** @param memory a whole, zeroed ring pair of this shape; stays the caller's */
void mr_ring_consumer_init(struct mr_ring_consumer *ring, void *memory, struct mr_ring_shape shape);

/** True if nothing is committed behind the position: what a reactor looks at before it lets a session go cold (pads count as something). */
static inline bool mr_ring_is_empty(const struct mr_ring_consumer *ring)
{
    return ring->position == ring->committed && mr_load_acquire(&ring->client->committed) == ring->position; /* P */
}

/**
 * Look at up to `max` frames without taking them. Skips pads, at most MR_RING_PADS_MAX a call, for good.
 * @return how many; -EBADMSG: the ring is poisoned, ring->reason says why (frames before the bad one were returned first). Hot.
 */
MR_HOT MR_MUST_USE int mr_ring_peek(struct mr_ring_consumer *ring, struct mr_ring_frame *frames, uint32_t max);

/** Take all frames up to and with this one: the next peek begins behind it. */
static inline void mr_ring_consume(struct mr_ring_consumer *ring, const struct mr_ring_frame *last)
{
    mr_check(last->end >= ring->position);
    ring->position = last->end;
}

/**
 * Give space back: all frames below `position` are answered and their completions written (edge A).
 * @param position between the last one given and ring->position
 */
static inline void mr_ring_release(struct mr_ring_consumer *ring, uint64_t position)
{
    mr_assert(position >= ring->released && position <= ring->position);
    if (position != ring->released) {
        ring->released = position;
        mr_store_release(&ring->daemon->released, position); /* F */
    }
}

/**
 * Write a completion; `stamp` and `released` are filled in here.
 * @return false: no room now (keep and coalesce), or poisoned: the client's index makes no sense. Hot.
 */
MR_HOT MR_MUST_USE bool mr_ring_complete(struct mr_ring_consumer *ring, const struct mr_completion *completion);

/** Completions that can be written before the client has to poll, as last seen. */
static inline uint64_t mr_ring_completion_room(const struct mr_ring_consumer *ring)
{
    return ring->completion_mask + 1 - (ring->completion_next - ring->completion_head);
}

#endif
