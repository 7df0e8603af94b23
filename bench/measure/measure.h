/* SPDX-License-Identifier: Apache-2.0 */
/* What every measurement shares: the time, a core, memory on large pages, and figures with their limit in a table or as JSON.
 *
 * A bar compares median with median of interleaved runs: run k of a figure is divided by run k of its limit, so that a drift of a shared
 * machine moves both. When the limit itself spreads by more than MR_MEASURE_NOISE the comparison proves nothing, and says so. Where two
 * threads talk, only runs in which the cores stayed what they were are compared: bench/measure/cores.h. */
#ifndef MR_BENCH_MEASURE_H
#define MR_BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "shm/base/err.h"

#define MR_MEASURE_RUNS_MAX 99
#define MR_MEASURE_NOISE    0.20 /* (max - min) / median of the limit */

/** Monotonic, nanoseconds, no system call where the kernel offers its clock to user space. */
static inline uint64_t mr_measure_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/** Bind the calling thread to one core. @return 0; -EINVAL with a message (no such core, or not ours). */
int mr_measure_pin(uint32_t cpu, struct millrace_error *err) MR_MUST_USE;

/** CPU seconds, user and system: of this process with pid 0, of another by /proc; 0 when that cannot be read. */
double mr_measure_cpu_seconds(int pid);

struct mr_measure_pages {
    void *memory;
    size_t bytes;
    bool huge; /* on 2 MiB pages */
};

/** Memory on 2 MiB pages, on ordinary ones when the pool has none; touched. @return 0; -ENOMEM. */
int mr_measure_pages_map(struct mr_measure_pages *pages, size_t bytes) MR_MUST_USE;
void mr_measure_pages_release(struct mr_measure_pages *pages);

/** Values of one figure, a value for each run. */
struct mr_series {
    uint32_t count;
    double value[MR_MEASURE_RUNS_MAX];
};

/** Keep one more value; the first MR_MEASURE_RUNS_MAX are kept. */
void mr_series_add(struct mr_series *series, double value);

struct mr_spread {
    double median, min, max;
};

/** All zero when the series is empty. */
struct mr_spread mr_series_spread(const struct mr_series *series);

/** What two cores were to each other during a run: bench/measure/cores.h. */
enum mr_cores {
    MR_CORES_ANY, /* not looked at */
    MR_CORES_FAR,
    MR_CORES_NEAR,
    MR_CORES_SIBLINGS,
    MR_CORES_MIXED,
    MR_CORES_COUNT,
};

/** A figure: its runs, and those of its limit beside them (none: it is a limit itself, or has none). */
struct mr_measure {
    const char *name;       /* "ping.round_trip.p50" */
    const char *unit;       /* "ns", "records/s", "bytes/s", "us", "CPU-s/M records" */
    const char *limit_name; /* what `limit` is; NULL: nothing to compare with */
    struct mr_series value, limit;
    enum mr_cores cores;   /* of all its runs */
    uint32_t pairs_wanted; /* unless cores is MR_CORES_ANY */
};

/** The ratio value / limit of each pair of runs. @return false: no limit. */
bool mr_measure_ratio(const struct mr_measure *measure, struct mr_spread *ratio);

/** True if the limit spreads so much that its ratio proves nothing, or the cores were too seldom as they were asked for. */
bool mr_measure_too_noisy(const struct mr_measure *measure);

/** One line of text, or one JSON object on a line: name, value, unit, limit, ratio {median, min, max}, runs,
 * cores {mode, pairs, wanted}, machine, commit. Value, limit and ratio are null when there was no run. */
void mr_measure_print(const struct mr_measure *measure, bool json, FILE *out);

/** The line above a table of text. */
void mr_measure_print_head(FILE *out);

/** "2 x AMD EPYC ..., 23 GiB, Linux 6.18". @return out. */
const char *mr_measure_machine(char *out, size_t out_bytes);

/** The commit this was built from, "unknown" outside of a repository. */
const char *mr_measure_commit(void);

#endif
