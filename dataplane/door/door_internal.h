/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MR_DOOR_INTERNAL_H
#define MR_DOOR_INTERNAL_H

#include <sys/types.h>

#include "dataplane/door/door.h"
#include "dataplane/door/guard.h"
#include "shm/abi/control.h"
#include "shm/desired/desired.h"
#include "shm/abi/message.h"

#define MR_SESSION_PRODUCERS_MAX 256u
#define MR_SESSION_CONSUMERS_MAX 256u
#define MR_SESSION_HANDLES_MAX   65536u
#define MR_SESSIONS_MAX          65536u
#define MR_COMPLETIONS           1024u
#define MR_REACTORS_MAX          64u

enum mr_session_state {
    MR_SESSION_GREETING,
    MR_SESSION_READY,
    MR_SESSION_CLOSING,
};

/** What an unfinished request waits for. */
enum mr_request_kind {
    MR_REQUEST_NONE,
    MR_REQUEST_PRODUCER, /* rings mapped, then handles set */
    MR_REQUEST_CONSUMER,
    MR_REQUEST_SEGMENT,
    MR_REQUEST_CLOSE, /* of a consumer: its reactors let go of its readers */
    MR_REQUEST_TOPIC, /* the control process's answer */
    MR_REQUEST_TRIM,
    MR_REQUEST_NUMBERS, /* an open that waits for handles of what was closed before */
};

/** Ring memory: one per reactor met, and older ones, too small for what was opened later, as long as something that is open uses them.
 *
 * OFFERED -> MAPPED [RING_MAPPED] -> LEAVING [superseded and without handles, or the end of the session] -> freed [its reactor replied] */
struct mr_session_ring {
    struct mr_session_ring *next; /* younger before older */
    struct mr_ring_session *ring;
    void *memory;
    int fd;
    int doorbell; /* the session's, under a number of its own (mr_ring_session_new) */
    int arena;    /* in the guard's table */
    uint32_t number, reactor;
    struct mr_ring_shape shape;
    uint32_t handle_count; /* of the session's table that are this ring's */
    bool mapped;           /* the client has it too: sealed, and with the reactor */
    bool leaving, retires; /* asked back; while the session goes on */
};

struct mr_session_consumer {
    bool open;
    struct mr_topic *topic;
    uint32_t partition_count; /* when it was opened: the topic may have more by now */
    uint32_t handle_first;
    _Atomic uint64_t *pins;
    uint64_t pins_bytes;
    int pins_fd;
    int pins_arena;   /* in the guard's table */
    bool pins_sealed; /* with the first SUBSCRIBE: the client has mapped them by then */
    struct mr_subscriber **subscribers; /* [partition], NULL: not subscribed */
};

struct mr_session_producer {
    bool open;
    uint32_t handle_first;
    uint32_t partition_count; /* likewise */
    struct mr_topic *topic;
};

/** A user, and what it has taken. */
struct door_user {
    struct door_user *next;
    uid_t uid;
    uint64_t sessions, bytes;
    uint64_t attaches, second_ns; /* within the second that began then */
    bool said;                    /* that it was refused something */
};

struct mr_session {
    struct mr_session *next;
    struct mr_door *door;
    struct door_user *user; /* NULL: the control process, or perhaps (`unknown_count`) */
    enum mr_session_state state;
    uint64_t id;
    int socket, pidfd, doorbell;
    int wake;        /* write end of a pipe; the client gets the read end */
    int wake_client; /* the read end until WELCOME has gone out, then -1 */
    pid_t pid;
    uid_t uid;
    char client[64];
    struct mr_session_ring *rings;
    struct mr_session_ring *current[MR_REACTORS_MAX]; /* the newest to each reactor; NULL: none */
    uint32_t ring_next;                               /* number */
    /* The session's whole table; each ring has a copy of the pointers that are its own. NULL: a free number. A number is free again when its
     * reactor has given the handle back (MR_REACTOR_CLOSE_HANDLES): until then frames and acks for it may be on their way. */
    struct mr_handle **handles;
    uint32_t handle_count;
    uint32_t returns_awaited; /* from reactors: arrays of handles, and rings that retire */
    struct mr_session_producer producers[MR_SESSION_PRODUCERS_MAX];
    struct mr_session_consumer consumers[MR_SESSION_CONSUMERS_MAX];
    struct door_unsent *unsent;   /* outgoing.c: what waits for room in its socket */
    struct mr_subscriber *missed; /* those whose extents did */
    bool is_control;              /* the control process's own; it has no producers, consumers or requests */
    bool retries;                 /* it does so although no event will tell */
    bool lingers;             /* closed, but its process lives and may still read: its pins count */
    uint32_t mail;            /* messages sent, for the rings' word of that name */
    uint32_t replies_awaited; /* from reactors: rings given back, readers let go */
    /* the request in progress */
    enum mr_request_kind request_kind;
    uint64_t request;
    uint64_t ticket; /* TOPIC: what the control process knows it by */
    uint32_t maps_awaited, sets_awaited;
    bool set_failed;
    uint32_t opening; /* producer or consumer number */
    uint32_t opening_handle, opening_count; /* its first, and how many */
    struct mr_message_producer_opened producer_opened;
    struct mr_message_consumer_opened consumer_opened;
    struct mr_topic *request_topic;
    union {
        struct mr_message_header header;
        struct mr_message_open_producer producer;
        struct mr_message_open_consumer consumer;
    } later; /* MR_REQUEST_NUMBERS */
};

/** What the reactors are carrying out of the control process's table; at start, the topics that were found. */
struct door_change {
    uint32_t awaited;       /* replies; 0: nothing is under way */
    uint32_t kind;          /* enum mr_reactor_message_kind */
    struct mr_topic *topic; /* NULL: found at start */
    uint64_t number;        /* of the entry */
    int32_t result;
    uint32_t first_partition; /* ADD_TOPIC: 0: it is new */
    struct mr_topic_config config; /* CONFIGURE_TOPIC: what it will be */
};

struct door_control {
    struct mr_session *session; /* NULL: it is not there */
    struct mr_desired_reader table;
    uint64_t next_ticket;
    bool wants_ids; /* it was asked for them */
};

struct mr_door {
    struct mr_door_options options;
    char socket_path[108];
    int listener, epoll;
    struct mr_session *sessions;
    struct door_user *users;
    uint32_t session_count;
    uint32_t unknown_count; /* sessions beyond a quota that may turn out to be the control process */
    uint32_t fd_count, fd_max; /* descriptors that sessions hold here; the log must always find some */
    bool retry; /* some session's `retries` is set: try again soon */
    uint32_t lingering_count;
    uint64_t linger_look_ms; /* when to look at them again */
    bool any_settled; /* a CLOSING session waits for nothing any more: sweep */
    bool deaf;        /* no descriptors: the listener is not looked at for a while, instead of at once again and again */
    uint64_t next_session_id;
    bool no_membarrier;
    uint32_t stops_awaited;
    struct door_change change;
    struct mr_topic *deleted; /* sessions may refer to them */
    uint64_t deleted_look_ms;
    struct door_control control;
    bool has_table_left; /* entries that others came before */
    bool stopping;
    uint32_t secured_awaited;
};

/* session.c */
void door_accept(struct mr_door *door);
void door_session_event(struct mr_session *session, bool has_room);
void door_session_close(struct mr_session *session, const char *why);
void door_session_poison(struct mr_session *session, enum mr_poison_reason reason);
void door_session_settle(struct mr_session *session);
void door_sweep(struct mr_door *door);
void door_session_forget(struct mr_session *session);
bool door_session_is_quiet(const struct mr_session *session);

/* outgoing.c */

/** Send, or keep it until there is room. @return false: the session is closed */
bool door_send(struct mr_session *session, const void *message, const int *fds, uint32_t fd_count);
void door_send_unsent(struct mr_session *session);
void door_drop_unsent(struct mr_session *session);
void door_retry(struct mr_door *door);
void door_tell_of_mail(struct mr_session *session);
void door_push_extent(struct mr_subscriber *subscriber, const struct mr_extent_file *file);
void door_push_gone(struct mr_subscriber *subscriber, uint32_t file_id);
/** All of its partition's extents, and that there are no others. */
void door_push_all(struct mr_subscriber *subscriber);
void door_forget_missed(struct mr_session *session, uint32_t consumer);

/* linger.c */
bool door_process_ended(const struct mr_session *session);
bool door_may_read_on(const struct mr_session *session);
void door_look_at_lingering(struct mr_door *door, uint64_t now_ms);
void door_drop_lingering(struct mr_door *door);
void door_listen(struct mr_door *door, bool listens);
void door_send_error(struct mr_session *session, uint64_t request, int code, const char *text);
void door_send_done(struct mr_session *session, uint64_t request);
void door_to_reactor(struct mr_door *door, uint32_t reactor, const struct mr_reactor_message *message);

/* quota.c */

/** @return NULL with a message: -EDQUOT or -EAGAIN, as its code says. Else the user has a session more, until it is taken from `sessions` again. */
struct door_user *door_quota_attach(struct mr_door *door, uid_t uid, struct millrace_error *err);
bool door_quota_is_news(struct mr_door *door, uid_t uid);
int door_quota_take(struct mr_session *session, uint64_t bytes, struct millrace_error *err) MR_MUST_USE;
void door_quota_give(struct mr_session *session, uint64_t bytes);

/* rings.c */
bool door_take_fds(struct mr_door *door, uint32_t count);
int door_ring_offer(struct mr_session *session, uint32_t reactor, uint32_t submission_bytes, struct millrace_error *err);
void door_ring_mapped(struct mr_session *session, const struct mr_message_ring_mapped *message);
void door_ring_retire(struct mr_session *session, struct mr_session_ring *slot);
void door_ring_returned(struct mr_session *session, struct mr_ring_session *ring);
void door_ring_free(struct mr_session *session, struct mr_session_ring *slot);
struct mr_session_ring *door_ring_of(struct mr_session *session, const struct mr_ring_session *ring);
int door_memfd(const char *name, uint64_t bytes, void **memory, struct millrace_error *err);
int door_memfd_seal(int fd, void *memory, uint64_t bytes);

/* open.c */
void door_open_producer(struct mr_session *session, const struct mr_message_open_producer *message);
void door_open_consumer(struct mr_session *session, const struct mr_message_open_consumer *message);
void door_open_go_on(struct mr_session *session);
void door_handles_set(struct mr_session *session, struct mr_handle **old);
void door_handles_returned(struct mr_session *session, struct mr_handle **handles, uint32_t count);
void door_close_producer(struct mr_session *session, const struct mr_message_close *message);
void door_close_consumer(struct mr_session *session, const struct mr_message_close *message);
void door_consumer_closed(struct mr_session *session);
void door_consumer_free(struct mr_session *session, struct mr_session_consumer *consumer);

/** The topic of a request. @return NULL: there is none, and the session was told */
struct mr_topic *door_find_topic(struct mr_session *session, const char *name, uint64_t request);

/* read.c */
void door_subscribe(struct mr_session *session, const struct mr_message_subscribe *message);
void door_unsubscribed(struct mr_subscriber *subscriber);
void door_held(struct mr_subscriber *subscriber);
void door_unlist_all(struct mr_session_consumer *consumer);
uint32_t door_unsubscribe_all(struct mr_session *session, struct mr_session_consumer *consumer);
void door_extent_notice(struct mr_door *door, const struct mr_steward_notice *notice);
void door_find_segment(struct mr_session *session, const struct mr_message_segment *message);
void door_find_time(struct mr_session *session, const struct mr_message_find_time *message);
void door_time_found(struct mr_session *session, const struct mr_reactor_reply *reply);
void door_segment_found(struct mr_session *session, const struct mr_reactor_reply *reply);

/* control.c */
void door_control_hello(struct mr_session *session, const struct mr_control_hello *message);
void door_control_message(struct mr_session *session, const struct mr_message_header *header, const int *fds, uint32_t fd_count);
/** Its session is closed: what was asked of it is answered EAGAIN. */
void door_control_lost(struct mr_door *door);
void door_control_ask(struct mr_session *session, const struct mr_message_topic_change *change);
void door_control_want_ids(struct mr_door *door);
/** Carry out what is new in its table. @return true: there may be more, but others come first */
bool door_control_read(struct mr_door *door);
void door_control_tell(struct mr_door *door, uint64_t number, int rc, const char *text);

/* heads.c */
/** Head and slot file of a topic that has none; its partitions' words are zero. @return 0; -ENOSPC, -ENOMEM with a message */
int door_head_make(struct mr_memory *memory, struct mr_topic *topic, uint64_t generation, struct millrace_error *err) MR_MUST_USE;
/** Room for more partitions. @return 0; -ENOSPC, -ENOMEM with a message: as before */
int door_head_grow(struct mr_memory *memory, struct mr_topic *topic, uint32_t partition_count, struct millrace_error *err) MR_MUST_USE;
struct mr_head_partition *door_head_partition(const struct mr_topic *topic, uint32_t p);
/** No start finds it any more; mappings stay. */
void door_head_unlink(struct mr_memory *memory, struct mr_topic *topic);
void door_head_unmap(struct mr_topic *topic);

/* topics.c */
/** Carry out what the table says of a topic.
 * @return 0: done, or it was so already; 1: the reactors are at it, door_control_tell() follows; -errno with a message */
int door_topic_apply(struct mr_door *door, const struct mr_desired *desired, struct millrace_error *err);
/** One of those that were asked has done it. */
void door_topic_changed(struct mr_door *door, int result);
/** Deleted topics that no session refers to any more. */
void door_free_deleted(struct mr_door *door, uint64_t now_ms);

/* topic_requests.c */
/** The list in a memfd of the caller's. @return 0; -ENOMEM */
int door_topics_memfd(struct mr_door *door, int *fd, uint64_t *bytes);
void door_topic_describe(struct mr_session *session, const struct mr_message_topic_describe *message);
void door_topic_trim(struct mr_session *session, const struct mr_message_topic_trim *message);
void door_topic_trimmed(struct mr_session *session, const struct mr_reactor_reply *reply);
void door_topic_list(struct mr_session *session, const struct mr_message_topic_list *message);

#endif
