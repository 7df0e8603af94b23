/* SPDX-License-Identifier: Apache-2.0 */
/* Messages on the attach socket: Unix, SOCK_SEQPACKET, one message a packet, descriptors by SCM_RIGHTS. The cold part of a session: what
 * follows it, records and acks, never touches the socket. Replies carry the request's number; the client has one request outstanding,
 * and the daemon may push RING, RING_GONE, EXTENTS, EXTENT, EXTENT_GONE and CLOSING in between. Each message is counted in mr_ring_daemon.mail of the session's
 * rings, so that a client that is busy reads its socket when there is something to read, and makes no system call otherwise.
 *
 *  client                                  daemon
 *  (connect)                            -> ERROR without a request's number, and hang-up: turned away by a quota
 *  HELLO                                -> WELCOME + [wake: read end of a pipe, doorbell eventfd] | ERROR
 *  OPEN_PRODUCER                        -> RING + [memfd] (one per reactor to which there is none yet, or none so large; the client maps it and
 *                                          answers RING_MAPPED, upon which the daemon seals it and hands it to its reactor) ...
 *                                          PRODUCER_OPENED + [head] | ERROR
 *  OPEN_CONSUMER                        -> RING ... CONSUMER_OPENED + [head, pins memfd, slot file] | ERROR
 *  SUBSCRIBE                            -> EXTENTS, and EXTENT + [file] for every live hugepage extent of the partition: there are no others;
 *                                          SUBSCRIBED | ERROR. Again, if a descriptor was lost
 *                                          and from then on EXTENT + [file] for each one that comes new, well before the tail gets there.
 *                                          A recycled file keeps its file_id and its descriptor; slots lie in the slot file.
 *                                          A client that does not read its socket misses some, and is told all of them anew when it does.
 *                                          EXTENT_GONE when a file was given up: its memory is free when nobody maps it any more.
 *  SEGMENT (a cold read from an offset) -> SEGMENT_IS + [log, sidecar] | ERROR
 *  FIND_TIME (the first segment from an -> TIME_IS + [its .timeindex, if there is one] | ERROR (ENOENT: all records are older)
 *  offset on, that may hold a time)
 *  CLOSE_*                              -> DONE | ERROR; what was committed for handles that were closed is still taken. Their numbers are given
 *                                          anew when all completions for them have been written
 *  TOPIC_CREATE, _ALTER, _PARTITIONS,   -> DONE | ERROR. The control process decides (shm/abi/control.h); EAGAIN: it is not there, or died over it:
 *  _DELETE                                 ask again with the same change id, which is done once at most
 *  TOPIC_LIST                           -> LIST + [memfd with a JSON array]
 *  TOPIC_DESCRIBE                       -> LIST + [memfd with a JSON object] | ERROR
 *  TOPIC_TRIM                           -> TRIMMED | ERROR
 *
 * Rings are numbered as they are made. A producer or consumer keeps to the newest ring to each reactor that was there when it was opened:
 * that is where its handles mean something. RING_GONE: nobody that is open uses this older ring any more; unmap it.
 *
 * A message of the wrong size or type poisons the session. Text is terminated; integers are little-endian. */
#ifndef MR_ABI_MESSAGE_H
#define MR_ABI_MESSAGE_H

#include "shm/abi/abi.h"
#include "shm/abi/ring.h"

#define MR_MESSAGE_BYTES_MAX 8192u
#define MR_MESSAGE_FDS_MAX   4u
#define MR_TOKEN_BYTES       32u

enum mr_message_type {
    MR_MESSAGE_HELLO = 1,
    MR_MESSAGE_WELCOME = 2,
    MR_MESSAGE_ERROR = 3,
    MR_MESSAGE_DONE = 4,
    MR_MESSAGE_OPEN_PRODUCER = 5,
    MR_MESSAGE_PRODUCER_OPENED = 6,
    MR_MESSAGE_RING = 7,
    MR_MESSAGE_RING_MAPPED = 8,
    MR_MESSAGE_OPEN_CONSUMER = 9,
    MR_MESSAGE_CONSUMER_OPENED = 10,
    MR_MESSAGE_SUBSCRIBE = 11,
    MR_MESSAGE_SUBSCRIBED = 12,
    MR_MESSAGE_EXTENT = 13,
    MR_MESSAGE_SEGMENT = 14,
    MR_MESSAGE_SEGMENT_IS = 15,
    MR_MESSAGE_CLOSE_PRODUCER = 16,
    MR_MESSAGE_CLOSE_CONSUMER = 17,
    MR_MESSAGE_TOPIC_CREATE = 18,
    MR_MESSAGE_TOPIC_LIST = 19,
    MR_MESSAGE_LIST = 20,
    MR_MESSAGE_CLOSING = 21,
    MR_MESSAGE_EXTENT_GONE = 22, /* a struct mr_message_extent without bytes, without a descriptor */
    MR_MESSAGE_RING_GONE = 23,   /* a struct mr_message_ring, without a descriptor */
    MR_MESSAGE_EXTENTS = 24,     /* likewise; file_id says how many EXTENT follow */
    MR_MESSAGE_TOPIC_ALTER = 25,
    MR_MESSAGE_TOPIC_PARTITIONS = 26,
    MR_MESSAGE_TOPIC_DELETE = 27,
    MR_MESSAGE_TOPIC_DESCRIBE = 28,
    MR_MESSAGE_TOPIC_TRIM = 29,
    MR_MESSAGE_TRIMMED = 30,
    MR_MESSAGE_FIND_TIME = 31,
    MR_MESSAGE_TIME_IS = 32,
};

struct mr_message_header {
    uint32_t bytes; /* of the whole message */
    uint16_t type;
    uint16_t abi_version;
    uint64_t request; /* 0 in pushes */
};

struct mr_message_hello {
    struct mr_message_header header;
    uint32_t abi_version;
    uint32_t fences;  /* 1: the client could not register for membarrier and fences after each commit */
    char client[64];  /* program name, for logs */
};

struct mr_message_welcome {
    struct mr_message_header header;
    uint64_t session_id;
    uint64_t daemon_generation;
    struct mr_uuid data_id;
    uint32_t reactor_count;
    uint32_t fences; /* 1: the daemon has no membarrier: fence after each commit */
    uint32_t delivery_timeout_ms;
    uint32_t reserved;
};

struct mr_message_error {
    struct mr_message_header header;
    int32_t code; /* positive errno */
    uint32_t begun; /* of a change of topics that is to be asked for again (EAGAIN): it may be done already */
    char text[512];
};

struct mr_message_done {
    struct mr_message_header header;
};

struct mr_message_open_producer {
    struct mr_message_header header;
    char topic[256];
    uint32_t acks; /* enum mr_durability; QUORUM and DISK both mean: as the topic commits */
    uint32_t submission_bytes; /* ring size wanted, a power of two: a smaller one is not used */
    uint32_t idempotent;
    uint32_t resume; /* 1: go on with producer_id, epoch, token */
    int64_t producer_id;
    int32_t producer_epoch;
    uint32_t reserved;
    uint8_t token[MR_TOKEN_BYTES];
};

struct mr_message_producer_opened {
    struct mr_message_header header;
    uint32_t producer; /* number in this session, for CLOSE_PRODUCER */
    uint32_t handle_first; /* handle of partition p is handle_first + p, in the newest ring to p's owner */
    uint32_t partition_count;
    uint32_t durability;
    uint32_t message_bytes_max;
    int32_t producer_epoch;
    int64_t producer_id; /* -1 without idempotence */
    struct mr_uuid topic_id;
    uint8_t token[MR_TOKEN_BYTES];
};

struct mr_message_ring {
    struct mr_message_header header;
    uint32_t ring; /* number in this session, from 0 */
    uint32_t reactor;
    struct mr_ring_shape shape;
};

struct mr_message_ring_mapped {
    struct mr_message_header header;
    uint32_t ring;
    uint32_t reserved;
};

struct mr_message_open_consumer {
    struct mr_message_header header;
    char topic[256];
};

#define MR_PINS_PER_PARTITION 2u /* one for the extent being read, one for the next */

/**
 * The pins memfd holds _Atomic uint64_t pin[partition_count][MR_PINS_PER_PARTITION]: sequences the client reads from, 0 none. They count as long
 * as the client's process lives, whatever becomes of the session, or until it stores 1 in the word behind them: it reads by them no more.
 */
struct mr_message_consumer_opened {
    struct mr_message_header header;
    uint32_t consumer;
    uint32_t handle_first; /* for wake-ups (shm/ring/arm.h) */
    uint32_t partition_count;
    uint32_t durability;
    uint32_t slot_bytes;
    uint32_t extent_bytes;
    struct mr_uuid topic_id;
};

static inline uint64_t mr_pins_left_index(uint32_t partition_count)
{
    return (uint64_t)partition_count * MR_PINS_PER_PARTITION;
}

static inline uint64_t mr_pins_bytes(uint32_t partition_count)
{
    return (mr_pins_left_index(partition_count) + 1) * sizeof(uint64_t);
}

struct mr_message_subscribe {
    struct mr_message_header header;
    uint32_t consumer;
    uint32_t partition;
};

struct mr_message_subscribed {
    struct mr_message_header header;
    uint64_t log_start;
    uint64_t visible;
};

struct mr_message_extent {
    struct mr_message_header header;
    uint32_t consumer;
    uint32_t partition;
    uint32_t file_id;
    uint32_t reserved;
    uint64_t bytes;
};

struct mr_message_segment {
    struct mr_message_header header;
    uint32_t consumer;
    uint32_t partition;
    uint64_t offset;
};

struct mr_message_segment_is {
    struct mr_message_header header;
    uint64_t base_offset;      /* of this segment */
    uint64_t next_base_offset; /* of the next one; UINT64_MAX when this is the newest */
    uint64_t log_start;
    uint64_t durable_position; /* in place: bytes of the .log that may be read from the file now */
    uint64_t durable_offset;   /* the first offset not wholly below durable_position */
    uint32_t salt;
    uint32_t direct; /* 1: the descriptors are O_DIRECT */
};

struct mr_message_find_time {
    struct mr_message_header header;
    uint32_t consumer;
    uint32_t partition;
    uint64_t offset; /* the log's start or later */
    int64_t time_ms;
};

struct mr_message_time_is {
    struct mr_message_header header;
    uint64_t base_offset, next_offset; /* of the segment; what lies between may be partly below the log's start */
    uint64_t hint_offset; /* as in a time index, of a segment that is not closed: all records up to this one are older. UINT64_MAX: none */
    int64_t hint_ms;      /* the greatest timestamp of its batch */
};

struct mr_message_close {
    struct mr_message_header header;
    uint32_t index; /* producer or consumer number */
    uint32_t reserved;
};

/** TOPIC_CREATE, _ALTER, _PARTITIONS, _DELETE */
struct mr_message_topic_change {
    struct mr_message_header header;
    struct mr_uuid change;    /* random: names this change, also when it is asked for again */
    char topic[256];
    uint32_t partition_count; /* CREATE: 0: num.partitions. PARTITIONS: how many there shall be */
    uint32_t reserved;
    char config[MR_TOPIC_CONFIG_BYTES]; /* CREATE, ALTER: lines key=value. ALTER: a line with a key alone: the topic has none of its own any more */
};

struct mr_message_topic_list {
    struct mr_message_header header;
};

struct mr_message_topic_describe {
    struct mr_message_header header;
    char topic[256];
};

struct mr_message_topic_trim {
    struct mr_message_header header;
    char topic[256];
    uint32_t partition;
    uint32_t reserved;
    uint64_t before_offset; /* records below go; UINT64_MAX: all that are committed */
};

struct mr_message_trimmed {
    struct mr_message_header header;
    uint64_t log_start; /* durable */
};

struct mr_message_list {
    struct mr_message_header header;
    uint64_t bytes; /* in the memfd */
};

#endif
