/* SPDX-License-Identifier: Apache-2.0 */
/* The client side of the crash tests: `produce` publishes numbered records and writes down every ack, `consume` reads while the broker
 * comes and goes and compares each record with what was written down. Both use nothing but the public API.
 *
 * A record:    {producer, partition, sequence, check} and then words that follow from check, up to the size wanted.
 * An ack log:  acks.<producer>, mapped, so that it also outlives a kill of the process that wrote it.
 * A panel:     a small mapped file through which the driver of the test watches a worker, and tells it a few things. */
#ifndef MR_TESTS_CRASH_WORKER_H
#define MR_TESTS_CRASH_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "millrace/millrace.h"

#define WORKER_PRODUCERS_MAX  1024u
#define WORKER_PARTITIONS_MAX 64u
#define WORKER_VALUE_MIN      24u
#define WORKER_VALUE_MAX      4096u
#define WORKER_THREADS_MAX    16u

struct worker_record {
    uint32_t producer;
    uint32_t partition;
    uint64_t sequence;
    uint64_t check;
};

/* The driver reads these by offset: 64 bytes for the whole, then 64 for each thread. */
struct worker_panel {
    _Atomic uint64_t state;      /* WORKER_... */
    _Atomic uint64_t mark_ns;    /* set by the driver: acks later than this are "new" */
    _Atomic uint64_t hold;       /* set by the driver: a consumer stops after its first record until it is 0 */
    _Atomic uint64_t pause;      /* set by the driver: producers commit nothing more until it is 0 */
    _Atomic uint64_t failures;
    uint64_t unused[3];
    struct worker_panel_thread {
        _Atomic uint64_t committed;        /* a consumer: records read */
        _Atomic uint64_t acked;
        _Atomic uint64_t pending;          /* a consumer: 1 when it stands at the end of every partition */
        _Atomic uint64_t last_ack_ns;      /* a consumer: time of the last record */
        _Atomic uint64_t first_after_mark; /* monotonic ns of the first ack (record) after mark_ns; 0: none yet */
        _Atomic uint64_t again;            /* -EAGAIN seen */
        _Atomic uint64_t refused;          /* acks with an error that --allow lets pass */
        _Atomic uint64_t bytes;
    } thread[WORKER_THREADS_MAX];
};

enum { WORKER_STARTING, WORKER_RUNNING, WORKER_DONE };

#define WORKER_ACKS_MAGIC 0x736b63615f726d31u /* "1mr_acks" */

#define WORKER_REFUSED (-2)
#define WORKER_UNKNOWN (-3)

/* A run of acked records of one partition, in the order the acks came. */
struct worker_ack_run {
    uint64_t first_sequence;
    int64_t base_offset; /* -1: not told; WORKER_REFUSED: must not be in the log; WORKER_UNKNOWN: may be */
    uint32_t count;
    uint32_t partition;
};

struct worker_acks {
    uint64_t magic;
    uint32_t producer;
    uint32_t partition_count;
    uint64_t first_sequence;
    uint64_t capacity;
    _Atomic uint64_t count; /* runs that are whole */
    uint64_t unused[3];
    struct worker_ack_run run[];
};

struct worker_options {
    const char *socket, *topic, *folder, *panel;
    uint32_t producers, first_producer;
    uint32_t value_bytes;
    uint32_t batch;
    uint64_t rate;           /* records a second over all threads, 0: as fast as it goes */
    uint64_t first_sequence;
    uint64_t acks_bytes;     /* size of each ack log */
    uint64_t count_max;      /* records of each producer, 0: until SIGTERM */
    uint64_t seed;
    uint32_t linger_us;      /* now and then stop this long between claim and commit */
    int allow;               /* an errno that an ack may carry: ENOSPC is never stored, others perhaps; numbers in the log may then have gaps */
    bool leader_acks;        /* MILLRACE_ACKS_LEADER instead of the topic's */
    bool follow;             /* consume: go on until SIGTERM, then to the end */
    int end_timeout_ms;
};

int worker_produce(const struct worker_options *options);
int worker_consume(const struct worker_options *options);

extern _Atomic bool worker_stop; /* SIGTERM or SIGINT came */
extern struct worker_panel *worker_panel;

uint64_t worker_now_ns(void);

/** Say what went wrong, count it, and go on: the driver sees it in the panel and by the exit status. */
void worker_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

void worker_fill(void *value, uint32_t value_bytes, uint32_t producer, uint32_t partition, uint64_t sequence);
bool worker_whole(const void *value, size_t value_bytes, struct worker_record *record);

static inline void worker_set(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static inline uint64_t worker_get(_Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

#endif
