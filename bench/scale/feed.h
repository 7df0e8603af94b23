/* SPDX-License-Identifier: Apache-2.0 */
/* What the roles of `feed` share: its options, the form of a value, and how it ends. */
#ifndef MR_BENCH_SCALE_FEED_H
#define MR_BENCH_SCALE_FEED_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "shm/base/histogram.h"
#include "shm/include/millrace/millrace.h"

#define FEED_PARTITIONS_MAX 16384u
#define FEED_VALUE_MIN      24u

struct feed_options {
    const char *socket, *topic, *durability;
    uint32_t partitions, readers, value_bytes;
    uint64_t rate;      /* records a second, open loop; 0: as fast as they go */
    uint64_t count;     /* so many, then end; fill: bytes a partition */
    double seconds;
    bool from_begin, wants_all; /* replay: from the first record; and sequences begin with 0 */
    bool acks_leader;
};

/* A value: sequence in its partition, when it was due, and what both make together with the partition; the rest is filler. */
struct feed_value {
    uint64_t sequence, due_ns, seal;
};

static inline uint64_t feed_seal(uint64_t sequence, uint64_t due_ns, uint32_t partition)
{
    return (sequence * 0x9e3779b97f4a7c15u ^ due_ns) + partition;
}

static inline void feed_value_write(void *at, uint64_t sequence, uint64_t due_ns, uint32_t partition)
{
    struct feed_value value = {.sequence = sequence, .due_ns = due_ns, .seal = feed_seal(sequence, due_ns, partition)};
    memcpy(at, &value, sizeof value);
}

/** @return false: it is not what was written to this partition under its own sequence */
static inline bool feed_value_read(const struct millrace_record *record, struct feed_value *value)
{
    if (record->value_bytes < sizeof *value)
        return false;
    memcpy(value, record->value, sizeof *value);
    return value->seal == feed_seal(value->sequence, value->due_ns, (uint32_t)record->partition);
}

/** Set by SIGTERM and SIGINT, or by who fails. */
extern _Atomic bool feed_stop;

/** Say what is wrong and stop all threads; the process ends with status 1. */
void feed_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

uint64_t feed_now_ns(void);

struct millrace_client *feed_attach(const struct feed_options *options, const char *name);

/** "name":{"p50_us":..,"p99_us":..,"p999_us":..,"max_us":..,"count":..} to stdout. */
void feed_print_latency(const char *name, const struct mr_histogram *histogram);

/* The roles. */
void feed_steady(const struct feed_options *options);
void feed_replay(const struct feed_options *options);
void feed_crowd(const struct feed_options *options);
void feed_fill(const struct feed_options *options);

#endif
