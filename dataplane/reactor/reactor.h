/* SPDX-License-Identifier: Apache-2.0 */
/* A reactor: one thread that owns partitions and the session rings that lead to them. A pass of it:
 *
 *   mailboxes -> drain hot rings into batches -> finish batches, ack -> disk completions -> log step -> carry out its actions
 *
 * The door talks to it by message and gets replies; the steward answers what its log asked for. Nothing else reaches its state.
 * With nothing to do it spins, yields, then sleeps (millrace.idle); before it sleeps every ring is cold (shm/abi/ring.h). */
#ifndef MR_DATAPLANE_REACTOR_H
#define MR_DATAPLANE_REACTOR_H

#include "dataplane/log/log.h"
#include "dataplane/mailbox/mailbox.h"
#include "dataplane/node/topic.h"
#include "dataplane/steward/steward.h"
#include "drivers/clock/clock.h"
#include "shm/ring/ring.h"

struct mr_reactor;
struct mr_ring_session;

enum mr_handle_kind {
    MR_HANDLE_PRODUCER = 1,
    MR_HANDLE_CONSUMER = 2,
};

/** What a frame's handle means: one partition to one producer or consumer. Made by the door, the reactor's from SET_HANDLES on until the reply
 * to CLOSE_HANDLES or CLOSE_RING. */
struct mr_handle {
    struct mr_topic_partition *partition; /* NULL, or of another reactor: NOT_OWNER */
    struct mr_ring_session *ring;
    struct mr_producer *producer; /* found at the first frame; NULL without idempotence */
    int64_t producer_id;
    int16_t producer_epoch;
    uint8_t kind, acks;
    bool closing; /* the door's: asked back, and in no table that it makes */
    uint32_t number;
    bool resolved, fenced;
    uint64_t refused_next, refused_ns; /* for want of space: the sequence behind the last one refused, and when */
    uint64_t stalled_ns; /* since when its frames wait for memory; 0: they do not */
    uint32_t acks_outstanding; /* taken and not in the completion ring yet */
    /* consumer: */
    struct mr_handle **armed_at; /* what points to it in the partition's list; NULL: not armed */
    struct mr_handle *armed_next;
};

/** Where a reader's pins for one partition lie; hostile memory, read only. Made by the door. */
struct mr_subscriber {
    struct mr_subscriber *next, **link;           /* in the reactor's list of the partition, and what points to us there */
    struct mr_subscriber *door_next, **door_link; /* in the door's */
    struct mr_topic_partition *partition;
    const _Atomic uint64_t *pins; /* MR_PINS_PER_PARTITION words */
    void *session;                /* the door's */
    uint32_t consumer;
    bool missed; /* the door's: pushes that found no room; in the session's list */
    struct mr_subscriber *missed_next;
};

enum mr_reactor_message_kind {
    MR_REACTOR_ADD_TOPIC = 1, /* topic, its partitions from first_partition on, recovered[partition] or NULL */
    MR_REACTOR_CONFIGURE_TOPIC, /* topic, config: what it will be; the message's until the reply */
    MR_REACTOR_REMOVE_TOPIC,    /* topic: its head says that it is deleted; reply when nothing here refers to its logs */
    MR_REACTOR_BEGIN,         /* all that was found at start is added: the log may run (log.h: SECURED means what was added before) */
    MR_REACTOR_ADD_RING,      /* ring */
    MR_REACTOR_SET_HANDLES,   /* ring, handles, handle_count, without those that were asked back; reply gives the old table back */
    MR_REACTOR_CLOSE_HANDLES, /* ring, handles, handle_count: no longer the ring's when what is committed now is drained; reply when all of it
                               * is acknowledged and nothing refers to them. Both give the array back */
    MR_REACTOR_CLOSE_RING,    /* ring: drain what is committed, then reply when no ack is outstanding; unless `retires`, tell the client */
    MR_REACTOR_SUBSCRIBE,     /* subscriber */
    MR_REACTOR_UNSUBSCRIBE,   /* subscriber; reply: no longer read */
    MR_REACTOR_FIND_SEGMENT,  /* partition, offset, context */
    MR_REACTOR_FIND_TIME,     /* partition, offset, time_ms, context */
    MR_REACTOR_TRIM,          /* partition, offset, context; reply when it is durable, with the offset that it became */
    MR_REACTOR_STOP,          /* bring everything in place; reply when done, then the thread ends */
};

struct mr_reactor_message {
    uint32_t kind;
    uint32_t handle_count;
    uint32_t first_partition;
    bool retires; /* CLOSE_RING: the session goes on in another ring */
    struct mr_topic *topic;
    const struct mr_log_recovered *const *recovered;
    const struct mr_topic_config *config;
    struct mr_ring_session *ring;
    struct mr_handle **handles;
    struct mr_subscriber *subscriber;
    struct mr_topic_partition *partition;
    uint64_t offset;
    int64_t time_ms;
    void *context;
};

/** What the reactor answers: the message's kind and objects, and a result. */
struct mr_reactor_reply {
    uint32_t kind;
    int32_t result;
    uint32_t reactor;
    uint32_t handle_count;
    struct mr_topic *topic;
    struct mr_ring_session *ring;
    struct mr_handle **handles;
    struct mr_subscriber *subscriber;
    struct mr_topic_partition *partition;
    void *context;
    uint64_t offset;               /* TRIM */
    struct mr_log_segment segment; /* FIND_SEGMENT, FIND_TIME */
    struct mr_index_point hint;    /* FIND_TIME */
    uint64_t inplace_position, inplace_offset;
};

/** These come by themselves, and the door closes the session: of `ring`; or of `subscriber`, who pins memory that others need. */
#define MR_REACTOR_POISONED 100u
#define MR_REACTOR_HELD     101u

struct mr_reactor_options {
    uint32_t index;
    int cpu; /* -1: not pinned */
    uint32_t idle; /* enum millrace_idle */
    uint64_t delivery_timeout_ms;
    uint64_t pinned_bytes_max; /* what readers may hold back of memory that the logs want again, see actions.c; 0: no bound */
    uint64_t pin_grace_ms;     /* and how long they hold it unharmed */
    struct mr_clock *clock;
    struct mr_disk *disk;
    const char *directory_path[MR_LOG_DIRECTORIES_MAX]; /* log.dirs, to be named in messages; outlive the reactor */
    struct mr_log_options log;
    struct mr_mailbox *messages; /* struct mr_reactor_message; received */
    struct mr_mailbox *answers;  /* struct mr_log_event from the steward; received */
    struct mr_mailbox *jobs;     /* struct mr_steward_job; sent */
    struct mr_mailbox *replies;  /* struct mr_reactor_reply to the door; sent */
    struct mr_bell *bell;        /* our own */
};

int mr_reactor_start(struct mr_reactor **reactor, const struct mr_reactor_options *options, struct millrace_error *err) MR_MUST_USE;

/** After the reply to MR_REACTOR_STOP. */
void mr_reactor_join(struct mr_reactor *reactor);

/**
 * A ring as the reactor sees it; made by the door, given by ADD_RING, back by the reply to CLOSE_RING.
 * @param doorbell an eventfd, the door's; only watched, so each ring of a session to the same reactor has a descriptor of its own
 * @param wake the write end of a non-blocking pipe, the door's: a byte wakes the client. No file that the client has too, for it could make
 *             writes to that block
 */
struct mr_ring_session *mr_ring_session_new(void *memory, struct mr_ring_shape shape, int doorbell, int wake, void *session, uint32_t reactor);
void mr_ring_session_free(struct mr_ring_session *ring);
void *mr_ring_session_owner(const struct mr_ring_session *ring);
enum mr_poison_reason mr_ring_session_reason(const struct mr_ring_session *ring);

/** Shown by metrics and asked by tests; relaxed reads from any thread. */
struct mr_reactor_counters {
    _Atomic uint64_t passes, frames, acks, bad_frames, duplicates, out_of_order, sleeps, wakes, stalls;
};
const struct mr_reactor_counters *mr_reactor_counters(const struct mr_reactor *reactor);

#endif
