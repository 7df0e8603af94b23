/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MR_REACTOR_INTERNAL_H
#define MR_REACTOR_INTERNAL_H

#include <pthread.h>

#include "dataplane/reactor/pace.h"
#include "dataplane/reactor/reactor.h"

#define MR_DRAIN_FRAMES   128u   /* and MR_RING_PEEK_BYTES: one busy session cannot hold the reactor */
#define MR_GROUPS         4096u  /* drains of a ring whose acks are outstanding; beyond, the ring waits */
#define MR_ACKS_MIN       1024u  /* of a ring; the least and the most */
#define MR_ACKS_MAX       16384u
#define MR_BYTES_PER_ACK  64u    /* of submissions: an ack holds up at least its frame, and frames are seldom smaller */
#define MR_ACTIONS        64u
#define MR_EVENTS         256u
#define MR_WRITES         512u   /* waiting for room in the disk's queue */
#define MR_SPINS_PER_YIELD 32u
#define MR_SPIN_NS        50000u
#define MR_YIELD_NS       1000000u
#define MR_REFUSED_NS     10000000u /* the disk does not come free sooner than the log asks again */
#define MR_COLD_NS        1000000000u /* an idle ring goes cold even while its reactor is busy */
#define MR_WALL_NS        100000u     /* age of the time of arrival that a record may get: a tenth of its unit */
#define MR_RECHECK_NS     1000000u    /* pinned extents, stalled rings */
#define MR_DOORBELLS_NS   50000u      /* how long a cold ring waits for a reactor that others keep busy */
#define MR_LEAVE_NS       1000000000u /* how long what a dead client committed may wait for memory */
#define MR_HOUSEKEEP_NS   100000000u  /* delivery time-outs, cold rings */

/** An acknowledgement that waits: for a watermark, or for room in the completion ring. */
struct mr_ack {
    struct mr_ack *next;
    struct mr_handle *handle;
    uint64_t first_sequence;
    uint64_t end_offset;
    int64_t base_offset;
    uint64_t deadline_ns;
    uint32_t count;
    uint32_t group;
    int32_t error;
    uint32_t durability;
    uint64_t expected_sequence;
};

/** Frames that one drain took: their space is free when all their acks are written. */
struct mr_group {
    uint64_t position;
    uint32_t pending;
};

struct mr_ring_session {
    struct mr_ring_consumer ring;
    struct mr_handle **handles;
    uint32_t handle_count;
    uint32_t group_first, group_next; /* mod MR_GROUPS */
    struct mr_ack *backlog_first, *backlog_last; /* done, but the completion ring is full */
    struct mr_ack *acks;     /* [acks_max], its own: a client that does not poll runs out of them alone */
    struct mr_ack *ack_free; /* those given back; the next of the others is acks[acks_touched] */
    uint32_t acks_max, acks_touched, acks_outstanding;
    uint32_t list_index; /* in reactor->rings */
    bool cold, poisoned, completed, starved;
    bool leaving; /* its client is gone: what is committed is still drained */
    bool closing; /* drained; given back when its last ack is settled */
    bool retires; /* its client lives, and uses another */
    bool unwatched; /* its doorbell cannot be heard: it stays hot */
    uint64_t leave_ns; /* when leaving: give up what still waits */
    uint64_t active_ns; /* when a frame was last found */
    bool stalled; /* its first frame waits for memory */
    int doorbell, wake;
    uint32_t reactor;
    void *owner;
    struct mr_ring_session *touched_next;
    struct mr_ring_session *due_next;
    bool due;            /* to be woken: in the reactor's list */
    uint32_t arms_taken; /* shm/ring/arm.h */
    struct mr_group group[MR_GROUPS];
};

/** An extent that the log wants to reuse and a reader may still read. */
struct mr_freeing {
    struct mr_topic_partition *partition;
    struct mr_log_live_extent extent;
    uint64_t since_ns; /* when it left the directory; or when those who pin it were last told of */
};

/** Handles that were closed, of one ring. First the frames are waited for that were committed when the door asked, then their acks. */
struct mr_handles_closing {
    struct mr_ring_session *ring;
    struct mr_handle **handles;
    uint32_t count;
    uint32_t settled; /* those before have no ack outstanding */
    uint64_t barrier; /* position in the ring */
    bool drained;     /* they are no longer in the ring's table */
};

/** A topic that is being deleted; its partitions here, one after another (remove.c). */
struct mr_removing {
    struct mr_topic *topic; /* NULL: none is */
    struct mr_topic_partition **partitions;
    uint32_t count, done;
    bool forgotten; /* partitions[done], by the log: what is left is to be handed over */
    struct mr_log_live_extent *extents;
    uint32_t extent_count;
};

/** Records that are to go: who asked is told when it is durable. */
struct mr_trim {
    struct mr_trim *next;
    struct mr_topic_partition *partition;
    uint64_t offset;
    void *context;
};

struct mr_reactor {
    struct mr_reactor_options options;
    struct mr_log *log;
    pthread_t thread;
    int epoll;
    uint64_t now_ns, wall_ms, wall_next_ns;
    uint64_t active_ns;    /* when a pass last found something to do */
    uint64_t recheck_ns, housekeep_ns, doorbells_ns, log_next_ns;
    bool log_due;
    bool begun, stopping, stopped;
    bool close_due; /* a closing ring has no ack outstanding */
    uint32_t leaving_count;

    struct mr_ring_session **rings; /* all of this reactor; the first hot_count are hot */
    uint32_t ring_count, hot_count, ring_capacity;
    struct mr_topic_partition *open_first; /* partitions with an open batch */
    struct mr_ring_session *touched;       /* rings with new completions in this pass */
    struct mr_ring_session *due_first;     /* rings whose readers have something to read */
    struct mr_topic_partition **partitions; /* all of this reactor */
    uint32_t partition_count, partition_capacity;

    uint32_t acks_outstanding; /* of all rings */
    struct mr_log_event events[MR_EVENTS];
    uint32_t event_count;
    struct mr_disk_write writes[MR_WRITES];
    uint32_t write_count;
    uint32_t writes_in_flight;
    uint32_t spins;
    bool woke; /* from sleep, and has not idled since */
    struct mr_pace pace;
    struct mr_freeing *freeing;
    uint32_t freeing_count, freeing_capacity;
    struct mr_removing removing;
    struct mr_trim *trims; /* that are not durable yet */
    struct mr_handles_closing *closing_handles;
    uint32_t closing_handles_count, closing_handles_capacity;
    struct mr_reactor_reply *unsent; /* for which the door's mailbox had no room: waiting for it here could be for ever, when it waits for us */
    uint32_t unsent_count, unsent_capacity;

    struct mr_reactor_counters counters;
};

/* drain.c */
bool reactor_drain(struct mr_reactor *reactor, struct mr_ring_session *ring);
void reactor_poison(struct mr_reactor *reactor, struct mr_ring_session *ring, enum mr_poison_reason reason);

/* acks.c */
void reactor_answer(struct mr_reactor *reactor, struct mr_ring_session *ring, const struct mr_ack *ack);
bool reactor_ack_later(struct mr_reactor *reactor, struct mr_topic_partition *partition, const struct mr_ack *ack);
void reactor_advance(struct mr_reactor *reactor, struct mr_topic_partition *partition);
void reactor_fail_waiting(struct mr_reactor *reactor, struct mr_topic_partition *partition, int32_t error, uint64_t before_ns);
bool reactor_flush_backlog(struct mr_reactor *reactor, struct mr_ring_session *ring);
void reactor_drop_backlog(struct mr_reactor *reactor, struct mr_ring_session *ring);
void reactor_release_groups(struct mr_ring_session *ring);
void reactor_wake(struct mr_reactor *reactor, struct mr_ring_session *ring);
void reactor_wake_sleepers(struct mr_reactor *reactor);

/* arm.c */
bool reactor_has_arms(const struct mr_ring_session *ring);
void reactor_take_arms(struct mr_reactor *reactor, struct mr_ring_session *ring);
void reactor_disarm(struct mr_handle *const *handles, uint32_t count);
void reactor_wake_armed(struct mr_reactor *reactor, struct mr_topic_partition *partition);
void reactor_wake_all_armed(struct mr_reactor *reactor, struct mr_topic_partition *partition);
void reactor_wake_due(struct mr_reactor *reactor);

/* actions.c */
bool reactor_step_log(struct mr_reactor *reactor);
bool reactor_poll_disk(struct mr_reactor *reactor);
void reactor_recheck_freeing(struct mr_reactor *reactor);

/* messages.c */
bool reactor_messages(struct mr_reactor *reactor);
void reactor_leave(struct mr_reactor *reactor);
void reactor_answer_trims(struct mr_reactor *reactor);
void reactor_close_rings(struct mr_reactor *reactor);
void reactor_close_handles(struct mr_reactor *reactor);
void reactor_reply(struct mr_reactor *reactor, const struct mr_reactor_reply *reply);
void reactor_send_replies(struct mr_reactor *reactor);

/* remove.c */
void reactor_remove_topic(struct mr_reactor *reactor, struct mr_topic *topic);
void reactor_go_on_removing(struct mr_reactor *reactor);

/* idle.c */
void reactor_make_hot(struct mr_reactor *reactor, struct mr_ring_session *ring);
void reactor_make_cold(struct mr_reactor *reactor, bool all);
void reactor_look_at_doorbells(struct mr_reactor *reactor);
void reactor_idle(struct mr_reactor *reactor);

static inline void reactor_count(_Atomic uint64_t *counter, uint64_t by)
{
    mr_store_relaxed(counter, mr_load_relaxed(counter) + by); /* one writer */
}

#endif
