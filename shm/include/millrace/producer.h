/* SPDX-License-Identifier: Apache-2.0 */
/* Publishing. A producer belongs to one thread, the one that attached its client. Records are written in place into a ring that the broker
 * drains: claim space, fill it, commit; or publish to have them copied in. Nothing here waits for the broker but open, flush and close
 * (close for 5 s at most), with the exception named at millrace_client_options.reattach_timeout_ms.
 *
 * Delivery: a committed record is sent again by the library after the broker restarts, under the same producer id and sequence, so it
 * is stored once. Its ack arrives by millrace_producer_poll_acks(). */
#ifndef MILLRACE_PRODUCER_H
#define MILLRACE_PRODUCER_H

#include <stddef.h>
#include <stdint.h>

#include <millrace/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct millrace_client;
struct millrace_producer;

/** When a record counts as accepted; the numbers grow with the guarantee. */
enum millrace_acks {
    MILLRACE_ACKS_RING = 0,   /* the broker took it from the ring (acks=0) */
    MILLRACE_ACKS_LEADER = 1, /* in the leader's memory log: survives the death of any process (acks=1) */
    MILLRACE_ACKS_ALL = 3,    /* as the topic's millrace.durability says (acks=all) */
};

enum millrace_durability {
    MILLRACE_DURABILITY_RING = 0,
    MILLRACE_DURABILITY_LEADER = 1,
    MILLRACE_DURABILITY_QUORUM = 2,
    MILLRACE_DURABILITY_DISK = 3,
};

#define MILLRACE_PARTITION_ANY (-1) /* by key (Kafka's murmur2) or, without a key, round robin */

struct millrace_producer_options {
    size_t size_bytes;
    enum millrace_acks acks;       /* MILLRACE_ACKS_ALL */
    uint32_t record_bytes_max;     /* largest key + value + headers: 64 KiB; a ring holds at least four */
    uint32_t ring_bytes;           /* per broker core, rounded up to a power of two; 0: four times record_bytes_max, at least 256 KiB */
    int idempotent;                /* 1; 0: no deduplication after a restart of the broker */
    uint64_t first_sequence;       /* 0; tests start near 2^31 to see it wrap */
};

/** Fill in the defaults named above. */
void millrace_producer_options_init(struct millrace_producer_options *options);

struct millrace_header {
    const char *key;
    const void *value; /* NULL with value_bytes 0: null */
    uint32_t key_bytes;
    uint32_t value_bytes;
};

/** What a claimed record carries besides its value. All copied by the claim. Zero it, or use _init, then set what you need. */
struct millrace_record_options {
    size_t size_bytes;
    int32_t partition;             /* MILLRACE_PARTITION_ANY */
    int64_t timestamp_ms;          /* -1: time of arrival at the broker */
    const void *key;               /* NULL: none */
    uint32_t key_bytes;
    const struct millrace_header *headers;
    uint32_t header_count;
};

void millrace_record_options_init(struct millrace_record_options *options);

/** Space for one record's value. Lives until its commit or abort, also across a restart of the broker. */
struct millrace_slot {
    void *value;           /* value_bytes, 8-byte aligned: yours to fill */
    uint32_t value_bytes;
    int32_t partition;
    uint64_t sequence;     /* after commit: names the record in its ack, with the partition */
    uint64_t internal[2];
};

/** A record: to publish, or as a consumer sees it (then everything points into the log). */
struct millrace_record {
    const void *value;     /* NULL: null, a tombstone */
    const void *key;       /* NULL: none */
    size_t value_bytes;
    size_t key_bytes;
    int64_t timestamp_ms;  /* publishing: -1 for time of arrival */
    int32_t partition;     /* publishing: MILLRACE_PARTITION_ANY allowed */
    uint32_t header_count;
    const struct millrace_header *headers; /* publishing only; a consumer uses millrace_record_header() */
    uint64_t offset;       /* consumer: Kafka's offset. Publishing: ignored */
    const void *internal;  /* consumer: the encoded headers */
    size_t internal_bytes;
};

struct millrace_ack {
    uint64_t first_sequence;
    uint32_t count;        /* records first_sequence .. first_sequence + count - 1 of this partition */
    int32_t partition;
    int64_t base_offset;   /* of the first; the others follow in order. -1: already stored earlier, offset no longer known, or an error */
    enum millrace_durability durability;
    int error;             /* 0, or one of these:
                            * -EMSGSIZE, -EINVAL, -ENOSPC, -EACCES, -EIO (the partition is offline): never stored
                            * -ENOENT: the topic was deleted
                            * -ETIMEDOUT: outcome unknown: not acknowledged within the broker's delivery.timeout.ms, or its disk failed before it
                            *   could be, or it died with the record and the next one could not look whether it is stored
                            * -ENOMEM: of this program; not sent again after a restart of the broker, else never stored
                            * -ESTALE: stored and acknowledged before, and gone: the broker lost the end of its log, or it was cut. Told once,
                            *   beside the acks, when the next records come to be stored; what was refused in between may blur first_sequence */
};

/**
 * Open a producer on a topic. Blocks until the broker answers.
 * @param producer  set to the new producer, owned by the client: millrace_producer_close(), or with its detach
 * @param options   NULL: defaults
 * @return 0; -ENOENT (no such topic), -EACCES, -EINVAL, -ENOTCONN, -ENOMEM, -ETIMEDOUT, with a message in err
 */
int millrace_producer_open(struct millrace_producer **producer, struct millrace_client *client, const char *topic,
                           const struct millrace_producer_options *options, struct millrace_error *err);

/**
 * Claim space for one record in place. Makes no system call when there is space; else it looks for acks, and drives re-attach as poll_acks
 * does. Several claims may be open; those of one partition are committed in claim order. What any producer of the same client commits
 * meanwhile reaches the broker when the claims before it have ended: keep them short, or attach once more.
 * @param options NULL: no key, any partition, time of arrival
 * @return 0; -EAGAIN (ring full, or the broker is away: poll acks and try again); -EMSGSIZE; -EINVAL; -ENOTCONN (re-attach was given up)
 */
int millrace_producer_claim(struct millrace_producer *producer, size_t value_bytes, const struct millrace_record_options *options,
                            struct millrace_slot *slot);

/**
 * Publish `count` claimed records, the oldest open claims of their partitions, in claim order: they become visible to the broker together.
 * @return count; -EINVAL when an older claim of one of their partitions is open, or one of them is not (nothing is published then). An older
 *         claim is not noticed if the partition has gone to another core, or the broker was restarted, since it was made: then commits are
 *         numbered in the order in which they come
 */
int millrace_producer_commit(struct millrace_producer *producer, struct millrace_slot *slots, uint32_t count);

/** Give claims back, any open ones. */
void millrace_producer_abort(struct millrace_producer *producer, struct millrace_slot *slots, uint32_t count);

/**
 * Copy records in and commit them together.
 * @return how many were taken, from the front; or the error of the first: as claim, and -EINVAL while claims are open
 */
int millrace_producer_publish(struct millrace_producer *producer, const struct millrace_record *records, uint32_t count);

/**
 * Collect acks, up to max. Does not wait for any. Also drives re-attach after the broker went away: a few system calls at a time.
 * @return how many; -ENOTCONN
 */
int millrace_producer_poll_acks(struct millrace_producer *producer, struct millrace_ack *acks, uint32_t max);

/**
 * Wait until everything committed is acknowledged; acks are kept for poll_acks.
 * @return 0; -ETIMEDOUT; -EIO when a record failed; -ENOTCONN; -EDEADLK: the rest stands behind an open claim of this client, perhaps of
 *         another of its producers: commit or abort it first
 */
int millrace_producer_flush(struct millrace_producer *producer, int timeout_ms);

/** Records committed and not yet acknowledged. */
uint64_t millrace_producer_pending(const struct millrace_producer *producer);

uint32_t millrace_producer_partition_count(const struct millrace_producer *producer);

/** Accepts NULL. Unacknowledged records may or may not be stored: flush first. */
void millrace_producer_close(struct millrace_producer *producer);

#ifdef __cplusplus
}
#endif
#endif
