/* SPDX-License-Identifier: Apache-2.0 */
/* All limits as one table: `millrace bench limits`. */
#ifndef MR_BENCH_LIMITS_TABLE_H
#define MR_BENCH_LIMITS_TABLE_H

#include "bench/limits/limits.h"

struct mr_limits_options {
    struct mr_limit_cpus cpus;
    const char *directory; /* on the disk under test */
    uint32_t runs;
    uint64_t sustained_ns; /* of each sustained run, 0: leave them out */
    uint64_t keep_bytes;   /* sustained: what stays on the disk */
    bool no_disk;
};

/**
 * Measure each limit `runs` times, one round of all after the other.
 * @param print called for each figure at the end, with `context`
 * @return 0, or the first limit that could not be measured, with a message
 */
int mr_limits_run(const struct mr_limits_options *options, void (*print)(void *context, const struct mr_measure *measure), void *context,
                  struct millrace_error *err) MR_MUST_USE;

#endif
