/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of one ring pair, of one session and one reactor: a memfd made, sized and sealed by the daemon (RELIABILITY.md S2).
 *
 *   0      struct mr_ring_daemon  written by the reactor only, in mapped order of heat
 *   4096   struct mr_ring_client  written by the client only, hostile
 *   8192   completions            written by the reactor, completion_count lines
 *   ...    submissions            written by the client, submission_bytes, a power of two
 *
 * The mapping is writable for the client throughout, so a broken client may scribble over the daemon's words: they are copies, which the
 * reactor writes and never reads.
 *
 * Edges.  P (publish): client stores `committed`, release -> reactor loads it, acquire: the frames below it are seen whole.
 *         F (free):    reactor stores `released`, release -> client loads it, acquire: the reactor's reads end before space is reused.
 *         A (ack):     reactor stores a completion's stamp, release -> client loads it, acquire: the line is complete.
 *         W (wake me): client stores `arms`, release -> reactor loads it, acquire: the words of `arm` below it are written. Back again
 *                      likewise by `arms_taken`: they may be written anew.
 *         H (heard):   client stores completion_head, release -> reactor loads it, acquire: the line may be written again. */
#ifndef MR_ABI_RING_H
#define MR_ABI_RING_H

#include <stdatomic.h>
#include <stdbool.h>

#include "shm/abi/abi.h"

enum mr_ring_state {
    MR_RING_OPEN = 0,
    MR_RING_CLOSED = 1,   /* the daemon stopped cleanly or closed the session: attach again */
    MR_RING_POISONED = 2, /* the client broke the protocol; `reason` says how */
};

struct mr_ring_daemon {
    alignas(2 * MR_CACHE_LINE) _Atomic uint64_t released; /* F: submission bytes before this position are free again */
    _Atomic uint32_t arms_taken;                          /* W: of struct mr_ring_client.arm */
    /* What the client looks at with each record, and what seldom moves. Not in the neighbour of what moves: a core that asks for a line to
     * write it may take the neighbour along. */
    alignas(2 * MR_CACHE_LINE) _Atomic uint32_t cold; /* 1: after a commit, ring the session's eventfd */
    _Atomic uint32_t mail;                            /* messages sent on the session's socket: it moved, read there; a hint */
    _Atomic uint32_t state;                           /* enum mr_ring_state */
    _Atomic uint32_t reason;                          /* enum mr_poison_reason */
};
static_assert(sizeof(struct mr_ring_daemon) == 4 * MR_CACHE_LINE, "ABI");

#define MR_RING_ARMS 256u

struct mr_ring_client {
    /* P: submissions before this position are committed. Alone with its neighbour, which is prefetched with it. */
    alignas(2 * MR_CACHE_LINE) _Atomic uint64_t committed;
    _Atomic uint32_t arms;     /* W: wake-ups asked for so far. In the line that the reactor looks at anyway; it seldom moves, nor does: */
    _Atomic uint32_t sleeping; /* 1: the client sleeps on its wake pipe; a hint only */
    alignas(2 * MR_CACHE_LINE) _Atomic uint64_t completion_head; /* H: completions before this index were consumed */
    /* Wake-ups that readers of this session ask for, number i in arm[i mod MR_RING_ARMS]: mr_arm_word(). Not frames: they would wait for
     * every claim that is open before them. */
    alignas(2 * MR_CACHE_LINE) _Atomic uint64_t arm[MR_RING_ARMS];
};
static_assert(sizeof(struct mr_ring_client) <= 4096, "ABI");

/** Bits 48-63: a consumer's handle; below: the offset, mod 2^48. Wake the session once `visible` of the handle's partition is above it; at each
 * advance of `visible` it may be woken without need. */
static inline uint64_t mr_arm_word(uint32_t handle, uint64_t offset)
{
    return (uint64_t)handle << 48 | (offset & 0xffffffffffff);
}

static inline uint32_t mr_arm_handle(uint64_t word)
{
    return (uint32_t)(word >> 48);
}

/** True if `visible` is above the word's offset: less than 2^47 of it. */
static inline bool mr_arm_is_due(uint64_t word, uint64_t visible)
{
    uint64_t above = (visible - word) & 0xffffffffffff;
    return above != 0 && above < 1ull << 47;
}

/** One acknowledgement: `count` frames of one handle from first_sequence on. */
struct mr_completion {
    _Atomic uint64_t stamp; /* A: index of this completion + 1; index = position in the stream of completions, line = index mod count */
    uint64_t first_sequence;
    int64_t base_offset;    /* of first_sequence; -1 unknown (an old duplicate, or an error) */
    uint32_t count;
    uint32_t handle;
    int32_t error;          /* 0, or enum mr_completion_error */
    uint32_t durability;    /* enum mr_durability that this ack names */
    uint64_t released;      /* as struct mr_ring_daemon, so that one line tells all */
    uint64_t expected_sequence; /* with OUT_OF_ORDER: what the reactor waits for */
    uint64_t unused;
};
static_assert(sizeof(struct mr_completion) == MR_CACHE_LINE, "one line each");

enum mr_completion_error {
    MR_COMPLETION_OK = 0,
    MR_COMPLETION_NOT_OWNER = 1,    /* the partition moved: read the head, send again; keeps its sequence */
    MR_COMPLETION_OUT_OF_ORDER = 2, /* an earlier sequence is missing: send again from expected_sequence */
    MR_COMPLETION_TOO_LARGE = 3,    /* over max.message.bytes: never appended, its sequence goes to the next */
    MR_COMPLETION_INVALID = 4,      /* malformed record: as above */
    MR_COMPLETION_TIMED_OUT = 5,    /* appended, not acked within delivery.timeout.ms, or the log directory failed since; outcome unknown */
    MR_COMPLETION_OFFLINE = 6,      /* the partition's log directory failed, or it is corrupt: see the daemon's log; not appended by this daemon */
    MR_COMPLETION_NO_SPACE = 7,     /* disk full: refused before the append; never appended */
    MR_COMPLETION_FENCED = 8,       /* a newer producer epoch exists */
    MR_COMPLETION_DENIED = 9,
    MR_COMPLETION_DELETED = 10,     /* the topic was deleted: stored or not, it is gone */
};

/** Why a session was poisoned; counted and logged once each (S7). */
enum mr_poison_reason {
    MR_POISON_NONE = 0,
    MR_POISON_FRAME_LENGTH = 1,
    MR_POISON_FRAME_KIND = 2,
    MR_POISON_FRAME_HANDLE = 3,
    MR_POISON_FRAME_BODY = 4,
    MR_POISON_COMPLETION_INDEX = 5,
    MR_POISON_BUS_ERROR = 6,
    MR_POISON_MESSAGE = 7,
    MR_POISON_COMMITTED_INDEX = 8, /* moved back, or beyond what the ring holds */
    MR_POISON_ARM_INDEX = 9,       /* likewise */
};

#define MR_RING_DAEMON_POSITION     0u
#define MR_RING_CLIENT_POSITION     4096u
#define MR_RING_COMPLETION_POSITION 8192u

/** All sizes follow from these two powers of two. */
struct mr_ring_shape {
    uint32_t completion_count;
    uint32_t submission_bytes;
};

static inline uint64_t mr_ring_submission_position(struct mr_ring_shape shape)
{
    return MR_RING_COMPLETION_POSITION + mr_align_up((uint64_t)shape.completion_count * sizeof(struct mr_completion), 4096);
}

static inline uint64_t mr_ring_bytes(struct mr_ring_shape shape)
{
    return mr_ring_submission_position(shape) + shape.submission_bytes;
}

#define MR_RING_SUBMISSION_BYTES_MIN (64u << 10)
#define MR_RING_SUBMISSION_BYTES_MAX (64u << 20)

#endif
