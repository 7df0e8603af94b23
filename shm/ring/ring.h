/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of a ring pair (shm/abi/ring.h), over raw memory: the client claims and commits frames and polls completions; the reactor
 * peeks frames, gives space back and writes completions. No system call, no memory taken.
 *
 * A position is a count of bytes since the ring was made, never reduced; its place in memory is position mod submission_bytes.
 *
 *      released          committed               tail
 *         |  frames, pads        | claims, pads       | free ...
 *
 * Client:   claim -> ask ahead -> (fill) -> stage* -> publish        or  -> abort       A claim writes the frame's word, a stage its sequence:
 *           two stores a record. They are counted because they bound this end: a core retires one a cycle, and only as many lines come from
 *           the other core at a time as its store queue spans, but for those that were asked for ahead (docs/design.md).
 * Reactor:  peek -> consume* -> ... -> complete -> release
 *
 * R1  The reactor never looks at a line at or above `committed`, not even ahead of time: the client is writing there, and each look would take
 *     the line away from it. (With the commit in the frame's own word, as a first version had it, the reactor's polling and its speculative
 *     loads of frames to come cost up to two thirds of the throughput: docs/design.md.)
 * R2  A frame never straddles the end: a pad fills up. A frame is at most half a ring, so it always fits into an empty one.
 * R3  Frames show themselves in the order of their claims, whatever the order of commits and aborts: `committed` stops at the oldest open
 *     claim. An open claim has a mark and its owner where its sequence will be. Only this end looks for that.
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
#define MR_RING_PEEK_BYTES     (256u << 10) /* shown in one peek, in whole frames: some 50 us of copying */
#define MR_RING_AHEAD_BYTES    2048u /* how far before it claims space the client asks for it: some 25 small frames, the time a line takes to come */
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
    uint32_t frame_bytes_max; /* R2 */
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

/** The word of a frame, a pad or a claim of the client's own ring. */
static inline uint64_t mr_ring_word(const uint8_t *frame)
{
    uint64_t word;

    memcpy(&word, frame, sizeof word);
    return word;
}

/** Bytes to the next one. */
static inline uint32_t mr_ring_frame_bytes(const uint8_t *frame)
{
    return mr_frame_length(mr_ring_word(frame));
}

/** Of what is no pad (which may be no longer than its word): the sequence, or what stands in its place. */
static inline uint64_t mr_ring_second(const uint8_t *frame)
{
    uint64_t second;

    memcpy(&second, frame + MR_RING_WORD_BYTES, sizeof second);
    return second;
}

/* Where a sequence will be, as long as the claim is open: no sequence comes near it. */
#define MR_RING_OPEN_MARK  (0xffffull << 48)
#define MR_RING_OWNER_MASK ((1ull << 48) - 1)

static inline bool mr_ring_is_open(const uint8_t *frame)
{
    return mr_frame_kind(mr_ring_word(frame)) != MR_FRAME_PAD && mr_ring_second(frame) >= MR_RING_OPEN_MARK;
}

/** Of an open claim. */
static inline uint64_t mr_ring_owner(const uint8_t *frame)
{
    return mr_ring_second(frame) & MR_RING_OWNER_MASK;
}

uint8_t *mr_ring_claim_slow(struct mr_ring_producer *ring, uint64_t word, uint64_t owner) MR_COLD;

static inline uint8_t *mr_ring_open(struct mr_ring_producer *ring, uint64_t position, uint64_t word, uint64_t owner)
{
    uint8_t *frame = mr_ring_at(ring, position);

    mr_store_pair(frame, word, MR_RING_OPEN_MARK | owner);
    return frame;
}

/** Make a claim, or a frame that nobody looks at any more, into something to skip. */
static inline void mr_ring_pad(struct mr_ring_producer *ring, uint64_t position, uint32_t bytes)
{
    *(uint64_t *)(void *)mr_ring_at(ring, position) = mr_frame_word(bytes, MR_FRAME_PAD, 0, 0);
}

/** After a claim: ask for lines of claims to come, as far as they are free (R4): one that the reactor has still to read would be taken from it. At the end of
 * the free space lines are asked for that are here already, which costs nothing. Two lines a claim: a stream of larger frames than that is bound
 * by its bytes. Hot. */
static inline void mr_ring_ask_ahead(const struct mr_ring_producer *ring)
{
    const uint8_t *line = mr_ring_at(ring, mr_min_u64(ring->tail + MR_RING_AHEAD_BYTES, ring->limit - 2 * MR_CACHE_LINE));

    mr_prefetch_write(line);
    mr_prefetch_write(line + MR_CACHE_LINE);
}

/**
 * As mr_ring_claim(), but NULL also at the end of a lap: nothing is called, so that who tries this first needs no stack. Hot.
 */
MR_HOT static inline uint8_t *mr_ring_claim_here(struct mr_ring_producer *ring, uint64_t word, uint64_t owner)
{
    uint64_t tail = ring->tail;
    uint64_t end = tail + mr_frame_length(word);

    mr_check(mr_frame_length(word) % MR_FRAME_ALIGN == 0 && mr_frame_length(word) >= MR_FRAME_HEADER_BYTES &&
             mr_frame_length(word) <= ring->frame_bytes_max);
    if (mr_unlikely(end > ring->limit))
        return NULL;
    ring->tail = end;
    return mr_ring_open(ring, tail, word, owner);
}

/**
 * Claim space for a frame; it ends at ring->tail.
 * @param word  the frame's; its length is a multiple of 8, at least 16, at most frame_bytes_max
 * @param owner below 2^48, for mr_ring_owner()
 * @return the frame in memory; NULL: no room; mr_ring_producer_free() may make some
 */
static inline uint8_t *mr_ring_claim(struct mr_ring_producer *ring, uint64_t word, uint64_t owner)
{
    uint8_t *frame = mr_ring_claim_here(ring, word, owner);
    return mr_likely(frame != NULL) ? frame : mr_ring_claim_slow(ring, word, owner);
}

/** Give a claimed frame its sequence: committed, and shown with the next publish. Hot. */
static inline void mr_ring_stage(uint8_t *frame, uint64_t sequence)
{
    mr_check(sequence < MR_RING_OPEN_MARK);
    memcpy(frame + MR_RING_WORD_BYTES, &sequence, sizeof sequence);
}

/** Show all frames below a position: no claim below it is open. Hot. */
static inline void mr_ring_show(struct mr_ring_producer *ring, uint64_t committed)
{
    ring->committed = committed;
    mr_store_release(&ring->client->committed, committed); /* P */
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
        const uint8_t *frame = mr_ring_at(ring, committed);
        uint32_t bytes = mr_ring_frame_bytes(frame);
        if (bytes == 0 || mr_ring_is_open(frame)) /* 0: overwritten by a bug of this program; not for ever */
            break;
        committed += bytes;
    }
    if (mr_unlikely(committed == ring->committed))
        return false;
    mr_ring_show(ring, committed);
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
 * Look at up to `max` frames without taking them, and at none behind the one that makes them MR_RING_PEEK_BYTES: a session with large
 * records holds its reactor no longer than one with many. Skips pads, at most MR_RING_PADS_MAX a call, for good.
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
