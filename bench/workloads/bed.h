/* SPDX-License-Identifier: Apache-2.0 */
/* What the workloads of one thread stand on: one client with a producer and a consumer on one topic, and the accounts of the CPU. */
#ifndef MR_BENCH_WORKLOADS_BED_H
#define MR_BENCH_WORKLOADS_BED_H

#include "bench/workloads/reader.h"
#include "bench/workloads/sender.h"
#include "bench/workloads/workloads.h"

#define MR_BENCH_LIMIT_NS_MAX (200 * 1000000ull)

struct mr_bench_bed {
    const struct mr_workload_options *options;
    struct millrace_client *client;
    struct mr_bench_sender sender;
    struct mr_bench_reader reader;
    char topic[64]; /* of its durability and partitions, not of its workload: so memory taken by one workload serves the next */
    double client_cpu, daemon_cpu; /* at the start of the run */
    struct mr_measure client_cost, daemon_cost;
};

struct mr_bench_bed_options {
    const char *durability; /* unless the user named one */
    uint32_t value_bytes;
    uint32_t partitions;
    uint32_t lanes;
    uint32_t ring_bytes;
};

/** Bind the thread, attach, make the topic, open both ends. @return 0 or what failed; mr_bench_bed_release() in any case. */
int mr_bench_bed_open(struct mr_bench_bed *bed, const struct mr_workload_options *options, const struct mr_bench_bed_options *wanted,
                      struct millrace_error *err) MR_MUST_USE;
void mr_bench_bed_release(struct mr_bench_bed *bed);

/** A new key for sender and reader. */
void mr_bench_bed_restart(struct mr_bench_bed *bed);

/**
 * Publish and read until the topic has all the memory that a partition keeps, a minute at most: from then on extents are used again, as in a node that has run
 * for a while, instead of being touched for the first time (some 40 times slower).
 */
int mr_bench_warm_up(struct mr_bench_bed *bed, uint32_t batch, struct millrace_error *err) MR_MUST_USE;

/** A key that no other run had. */
uint64_t mr_bench_key(void);

/** Begin to account CPU time, and add what `records` cost since then. */
void mr_bench_cost_begin(struct mr_bench_bed *bed);
void mr_bench_cost_end(struct mr_bench_bed *bed, uint64_t records);

/** Print the two costs. */
void mr_bench_cost_print(const struct mr_bench_bed *bed);

/** How long a limit of two cores is measured. */
static inline uint64_t mr_bench_limit_ns(const struct mr_workload_options *options)
{
    return options->duration_ns < MR_BENCH_LIMIT_NS_MAX ? options->duration_ns : MR_BENCH_LIMIT_NS_MAX;
}

static inline bool mr_bench_stopped(const struct mr_workload_options *options)
{
    return options->stop != NULL && options->stop();
}

#endif
