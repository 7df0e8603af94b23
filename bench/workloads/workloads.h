/* SPDX-License-Identifier: Apache-2.0 */
/* What `millrace bench` drives through the public API of libmillrace. Every record read is checked for its content and its order, every
 * ack is counted; a record that is lost, torn or doubled makes a workload fail with -EBADMSG. Each run comes right after its limit.
 *
 *   ping      one record at a time, published and read back by the same thread: round trip, beside a cache line's
 *   pub       published `batch` at a time, acknowledged, then read and checked; by several producers: beside one of them
 *   sub       read in place from a hot tail of at least 1 GiB, beside the bare ring
 *   pubsub    published and read by one thread at the same time, beside the bare ring; sustained: beside the disk
 *   disk      one durable record at a time; a stream; many partitions beside one
 *
 * With a rate the loop is open: a record is due at its time whatever happened before, and its latency counts from then on, so that a stall
 * is seen by all it delayed. */
#ifndef MR_BENCH_WORKLOADS_H
#define MR_BENCH_WORKLOADS_H

#include "bench/limits/limits.h"
#include "bench/workloads/node.h"

struct mr_workload_options {
    struct mr_bench_node node;
    struct mr_limit_cpus cpus;
    const char *directory;  /* where the disk's limits make their files: on the node's disk */
    const char *durability; /* NULL: leader, of `disk`: disk */
    uint32_t size;          /* of a value; 0: 64, of disk's stream 1024 */
    uint32_t batch;         /* records committed together; 0: 1 for ping, else 64 */
    uint32_t producers;     /* pub: more than one is a fan-in */
    uint32_t partitions;    /* disk: of the wide topic */
    uint32_t ring_bytes;    /* 0: 1 MiB for leader, 16 MiB for disk */
    uint32_t depth;         /* disk: writes in flight of the stream's limit */
    uint64_t rate;          /* records a second, 0: as fast as they go */
    uint64_t duration_ns;   /* of a run; in a pair also of its limit, at most 200 ms */
    uint64_t pause_ns;      /* ping: idle for so long before each record */
    uint32_t runs;          /* or pairs, where two cores are compared: bench/workloads/pairing.h */
    enum mr_cores cores;    /* of which mode; MR_CORES_ANY: of both together */
    uint64_t far_ns;        /* their boundary, 0: the default */
    uint64_t patience_ns;   /* how long a workload looks for such pairs, 0: the cores are not looked at */
    bool sustained;         /* pubsub: the disk is the bound */
    uint64_t keep_bytes;    /* sustained: log.retention.bytes of the node */
    struct mr_histogram *latency; /* NULL, or all latencies of all runs are added */
    void (*print)(void *context, const struct mr_measure *measure);
    void *context;
    bool (*stop)(void);     /* asked between runs and now and then; NULL: never */
};

/** @return 0; -EINTR after stop; -EBADMSG when a record was lost; or what failed, with a message. Binds the thread to cpus.near. */
int mr_workload_ping(const struct mr_workload_options *options, struct millrace_error *err) MR_MUST_USE;
int mr_workload_pub(const struct mr_workload_options *options, struct millrace_error *err) MR_MUST_USE;
int mr_workload_sub(const struct mr_workload_options *options, struct millrace_error *err) MR_MUST_USE;
int mr_workload_pubsub(const struct mr_workload_options *options, struct millrace_error *err) MR_MUST_USE;
int mr_workload_disk(const struct mr_workload_options *options, struct millrace_error *err) MR_MUST_USE;

#endif
