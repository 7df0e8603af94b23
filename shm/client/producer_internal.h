/* SPDX-License-Identifier: Apache-2.0 */
/* Inside a producer.
 *
 *   producer.c  open, claim, commit, abort, publish     producer_acks.c  completions -> acks, flush
 *   backlog.c   what must be sent again: refused frames, and everything not acked when the daemon died
 *   sequences.c numbers: what the application was told, and what is on the wire
 *
 * A record's life:  claimed -> in a ring -> settled
 *                              in a ring -> refused -> backlog -> in a ring ...      (NOT_OWNER, OUT_OF_ORDER)
 *                              in a ring -> backlog                                 (the daemon died)
 *                   claimed -> backlog                                              (committed while its partition is blocked)
 *
 * Two numbers name a record: `sequence`, given at commit and told to the application, and its `wire` number, which the daemon sees. They
 * differ because a record that the daemon refuses for good was never appended, so that its wire number goes to the next one.
 *
 * P1  The daemon appends wire numbers one by one, and says what it expects when another one comes. So after a refusal the partition is
 *     blocked, and every frame of it in the rings is waited for. Then those refused at or behind what is expected are numbered anew from
 *     there and sent in order: none of them was appended, and none can be under its old number.
 * P2  After the death of a daemon nobody knows what it appended: frames keep their wire numbers, and the log tells duplicates by them.
 *     What is expected may also lie behind what was taken: a log that lost its end, or was cut. Numbers go on from there, and the application
 *     is told once how many records it was told of as stored are gone.
 *     A partition whose frames are refused round after round is sent them every MR_CLIENT_CHECK_NS, and fails them after delivery.timeout.ms.
 * P3  pending = in_rings + refused + backlog_count, summed over the partitions.
 * P4  Settled is known here, by number; what the daemon says is released is only memory.
 * P5  An open claim is described by its slot, which is the caller's: the tag of its ring and its partition in internal[0], its position in the
 *     ring in internal[1]; and by its frame, which is marked as open and as this producer's (ring.h). A list of claims here would cost each
 *     record three stores. */
#ifndef MR_PRODUCER_INTERNAL_H
#define MR_PRODUCER_INTERNAL_H

#include "shm/abi/head.h"
#include "shm/client/client_internal.h"

#define MR_ACKS_KEPT       4096u /* uncollected; behind it completions stay in their rings */
#define MR_ROUND_ROBIN_BYTES 8192u /* of ring, between two turns of keyless records to the next partition */

struct mr_backlog_entry {
    struct mr_backlog_entry *next;
    uint64_t sequence;
    uint64_t wire;
    bool has_wire; /* false: gets the next one when it is sent */
    uint64_t word; /* the handle in it is stale */
    uint8_t body[];
};

/** Numbers: sequence = wire + delta for wire numbers from `from` on. */
struct mr_sequence_shift {
    uint64_t from;
    uint64_t delta;
};

struct mr_sequence_range {
    uint64_t first;
    uint64_t count;
};

struct mr_sequences {
    uint64_t next;      /* sequence of the next commit */
    uint64_t next_wire; /* its wire number */
    uint64_t settled;   /* all wire numbers below are answered for good */
    uint64_t old_delta; /* below the first shift */
    uint32_t shift_count, shift_room;
    uint32_t early_count, early_room;
    struct mr_sequence_shift *shift; /* ascending */
    struct mr_sequence_range *early; /* ascending, apart: answered above `settled` */
};

struct mr_producer_partition {
    struct mr_client_ring *ring; /* of its owner; NULL: not known */
    struct mr_sequences numbers;
    uint64_t in_rings; /* committed, not answered */
    uint32_t handle;
    bool blocked; /* refused > 0 or a backlog: commits go behind it, claims wait */
    bool has_expected;
    uint64_t expected;     /* P1, modulo 2^31 */
    uint64_t accepted_end; /* wire: the daemon has taken everything below */
    uint64_t acked_end;    /* wire: and the application was told that it is stored */
    uint64_t unsure_end;   /* wire: what is below was shown to a daemon that died (P2): that another one refuses it does not say that it is not stored */
    uint64_t stuck_ns;     /* since when rounds of sending again settle nothing; 0: they do */
    uint64_t again_ns;     /* when to send again; 0: at once */
    uint64_t refused;      /* answered with NOT_OWNER or OUT_OF_ORDER, not collected yet */
    uint64_t backlog_count;
    struct mr_backlog_entry *backlog, *backlog_last;
};

struct millrace_producer {
    struct millrace_client *client;
    struct mr_producer_partition *partition;
    uint32_t partition_count;
    uint32_t record_bytes_max;
    uint32_t current; /* round robin */
    uint64_t turn_at; /* with the claim at this position of its ring the next partition begins */
    uint64_t owner;   /* P5: names this producer among its client's */
    uint64_t pending;
    uint64_t backlog_count;     /* of all partitions */
    bool lost;                  /* the daemon does not take us back */
    uint64_t failed;            /* records, since the last flush */

    struct millrace_ack *acks; /* a queue: ack_first .. ack_next, modulo ack_room, a power of two */
    uint64_t ack_first, ack_next, ack_room;

    struct millrace_producer *next;
    const struct mr_head *head;
    uint64_t head_bytes;
    uint32_t number, handle_first;
    uint32_t rings_end; /* number: its handles are known in the newest of those before */
    uint32_t submission_bytes;
    bool idempotent;
    enum millrace_acks acks_wanted;
    int64_t producer_id;
    int32_t producer_epoch;
    struct mr_uuid topic_id;
    uint8_t token[MR_TOKEN_BYTES];
    char topic[256];
};

static inline const struct mr_head_partition *mr_head_partition_at(const struct mr_head *head, uint32_t partition)
{
    return (const struct mr_head_partition *)(const void *)((const uint8_t *)head + MR_HEAD_PARTITIONS_POSITION) + partition;
}

/* head.c, also for consumers */

/** Map a topic's head and check it. @param fd stays the caller's. @return 0; -EPROTO, -ENOMEM with a message */
int mr_head_map(int fd, uint32_t partition_count, const struct mr_head **head, uint64_t *bytes, struct millrace_error *err) MR_MUST_USE;
void mr_head_unmap(const struct mr_head *head, uint64_t bytes);

/** The ring that leads to the owner of a partition now, for handles that were given when rings below rings_end were there. @return NULL:
 * nobody owns it, or there is no ring to it */
struct mr_client_ring *mr_head_owner_ring(const struct millrace_client *client, const struct mr_head *head, uint32_t partition, uint32_t rings_end);

/* sequences.c; false: no memory, nothing changed */

/** The sequence of a wire number, and how many behind it have the same difference (at most count). */
uint64_t mr_sequences_of_wire(const struct mr_sequences *numbers, uint64_t wire, uint64_t count, uint64_t *same);
bool mr_sequences_is_settled(const struct mr_sequences *numbers, uint64_t wire);
bool mr_sequences_settle(struct mr_sequences *numbers, uint64_t wire, uint64_t count) MR_MUST_USE;

/** From this wire number on the difference is sequence - wire. */
bool mr_sequences_shift(struct mr_sequences *numbers, uint64_t wire, uint64_t sequence) MR_MUST_USE;

/** Wire numbers from `wire` on are given anew: forget what was known about them. */
void mr_sequences_rewind(struct mr_sequences *numbers, uint64_t wire);
void mr_sequences_release(struct mr_sequences *numbers);

/* producer_acks.c */

/** Tell the application; a refusal by the library itself too. */
void mr_producer_tell(struct millrace_producer *producer, uint32_t partition, uint64_t sequence, uint64_t count, int64_t offset, int error,
                      uint32_t durability);

/** Tell that records are no longer stored which it was told of as stored. */
void mr_producer_tell_gone(struct millrace_producer *producer, uint32_t partition, uint64_t sequence, uint64_t count) MR_COLD;

/* backlog.c */

/** A committed claim of a blocked partition or a dead ring goes into the backlog, its space back. */
void mr_backlog_commit(struct millrace_producer *producer, struct mr_client_ring *ring, uint64_t position, uint32_t partition,
                       uint64_t sequence) MR_COLD;

/** A frame was answered with NOT_OWNER or OUT_OF_ORDER. */
void mr_backlog_refused(struct millrace_producer *producer, uint32_t partition, const struct mr_completion *completion) MR_COLD;

/** If nothing of the partition is in the rings any more, take its refused frames out of them. */
void mr_backlog_collect(struct millrace_producer *producer, uint32_t partition) MR_COLD;

/** Send from the backlog what fits. */
void mr_backlog_pump(struct millrace_producer *producer) MR_COLD;
void mr_backlog_release(struct mr_producer_partition *partition);

#endif
