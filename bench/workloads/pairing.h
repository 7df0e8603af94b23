/* SPDX-License-Identifier: Apache-2.0 */
/* Limit and value one right after the other, with the cores looked at before, between and after (bench/measure/cores.h).
 *
 *   while (rc == 0 && mr_bench_pair_begin(&pairing, &rc, err)) {
 *       limit ... mr_bench_pair_look() ... value ... mr_bench_pair_end()
 *       one mr_series_add() to each series of each measure
 *   }
 *   mr_bench_pair_print() for each measure
 *
 * Runs are short, so that a mode holds for a pair. A workload at a given rate, or with pauses, has long runs and no limit of two cores: it is
 * not paired, its runs all count, and its measures say nothing about cores. Nor is one without patience. */
#ifndef MR_BENCH_WORKLOADS_PAIRING_H
#define MR_BENCH_WORKLOADS_PAIRING_H

#include "bench/workloads/workloads.h"

struct mr_bench_pairing {
    const struct mr_workload_options *options;
    struct mr_pairs pairs;
    bool looks; /* false: not paired */
    uint32_t looked;
    enum mr_cores look[MR_CORES_LOOKS];
};

/** @param paired false: run options->runs times, without looking */
void mr_bench_pairing_init(struct mr_bench_pairing *pairing, const struct mr_workload_options *options, bool paired);

/** The first look. Waits while the cores are as no further pair is wanted of. @return false: no further pair, or *rc was set. */
bool mr_bench_pair_begin(struct mr_bench_pairing *pairing, int *rc, struct millrace_error *err) MR_MUST_USE;

/** The look between limit and value. */
int mr_bench_pair_look(struct mr_bench_pairing *pairing, struct millrace_error *err) MR_MUST_USE;

/** The look after the value, and the verdict. To be called before anything that takes time. */
int mr_bench_pair_end(struct mr_bench_pairing *pairing, struct millrace_error *err) MR_MUST_USE;

/** Print a measure: once for each mode that was had, and for the mode asked for in any case. */
void mr_bench_pair_print(const struct mr_bench_pairing *pairing, const struct mr_measure *measure);

#endif
