/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine can do without Millrace: each limit is one small function, measured beside the figure it bounds. Each takes a fraction
 * of a second unless it says otherwise, leaves no file behind, and starts its second thread itself.
 *
 * All return 0 or -errno with a message. Cold: never called from a pass. Any thread; the caller's binding to a core is put back. */
#ifndef MR_BENCH_LIMITS_H
#define MR_BENCH_LIMITS_H

#include "bench/measure/cores.h"
#include "shm/base/histogram.h"

struct mr_limit_cpus {
    uint32_t near, far; /* of the caller, and of the other thread */
};

/**
 * A cache line goes to the other core and back: what a round trip through shared memory costs at least.
 * @param round_trip each one, in ns, added; a million a second is noted at most
 */
int mr_limit_pingpong(struct mr_limit_cpus cpus, uint64_t duration_ns, struct mr_histogram *round_trip, struct millrace_error *err) MR_MUST_USE;

/** Look what the two cores are to each other just now; takes some 3 ms. @param far_ns the boundary, or 0: bench/measure/cores.h */
int mr_limit_look(struct mr_limit_cpus cpus, uint64_t far_ns, enum mr_cores *cores, struct millrace_error *err) MR_MUST_USE;

/**
 * A bare ring of 64-byte slots, one producer, one consumer, indices on their own lines and cached at the other end; all 64 bytes are
 * written, a word at both ends is read and checked. The producer publishes `batch` slots at a time.
 * @param per_second slots that arrived
 */
int mr_limit_ring(struct mr_limit_cpus cpus, uint32_t batch, uint64_t duration_ns, double *per_second, struct millrace_error *err) MR_MUST_USE;

/**
 * A log's cache lines, moved between two cores by two loops that do nothing else: values of 64 bytes go into a ring, the far end copies them behind
 * each other into memory and shows how many there are, the near end reads them there. One at a time: what a round trip through a log costs at least.
 * @param round_trip each one, in ns, added
 */
int mr_limit_relay_latency(struct mr_limit_cpus cpus, uint64_t duration_ns, struct mr_histogram *round_trip, struct millrace_error *err) MR_MUST_USE;

/** The same, published `batch` at a time and read as it comes. @param per_second values that came back */
int mr_limit_relay(struct mr_limit_cpus cpus, uint32_t batch, uint64_t duration_ns, double *per_second, struct millrace_error *err) MR_MUST_USE;

/** Copy 64 MiB, on 2 MiB pages where there are any. @param bytes_per_second best of some copies  @param huge whether they were large. */
int mr_limit_memcpy(double *bytes_per_second, bool *huge, struct millrace_error *err) MR_MUST_USE;

/** CRC-32C as batches use it over a range that is in the first cache. @return bytes a second. */
double mr_limit_crc32c(uint32_t range_bytes, uint64_t duration_ns);

/**
 * One durable 4 KiB write at a time (O_DIRECT, RWF_DSYNC, io_uring) into a file that was allocated and zeroed ahead.
 * @param directory where its files come and go; the disk under test
 * @param latency   each write in ns, added
 */
int mr_limit_disk_commit(const char *directory, uint64_t duration_ns, struct mr_histogram *latency, struct millrace_error *err) MR_MUST_USE;

/** How files are written by mr_limit_disk_stream(). */
struct mr_limit_stream {
    uint32_t write_bytes; /* a multiple of 4096 */
    uint32_t depth;       /* writes in flight; at most 64 */
    uint64_t bytes;       /* in all, at most; at most 1 GiB are on the disk at a time unless keep_bytes says more */
    uint64_t duration_ns; /* or until then, whichever comes first */
    bool sustained;       /* files are allocated in steps of 64 MiB while they are written, and deleted beyond keep_bytes */
    uint64_t file_bytes;  /* of one file */
    uint64_t keep_bytes;  /* sustained: what stays, as retention would keep it */
};

/** 1 MiB writes into one preallocated, unwritten file of up to 1 GiB. */
struct mr_limit_stream mr_limit_stream_preallocated(uint32_t depth, uint64_t bytes);

/** Files of 1 GiB prepared in steps of 64 MiB, written by 1 MiB, deleted beyond keep_bytes: what retention by size does, without a log. */
struct mr_limit_stream mr_limit_stream_sustained(uint32_t depth, uint64_t keep_bytes, uint64_t duration_ns);

/**
 * Write durably (O_DIRECT, RWF_DSYNC, io_uring), in order, as fast as the depth allows.
 * @param bytes_per_second written and durable; preparing and deleting count only when sustained
 */
int mr_limit_disk_stream(const char *directory, const struct mr_limit_stream *stream, double *bytes_per_second,
                         struct millrace_error *err) MR_MUST_USE;

#endif
