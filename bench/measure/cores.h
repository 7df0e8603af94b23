/* SPDX-License-Identifier: Apache-2.0 */
/* Two virtual cores are at one time two hardware threads of one core and at another separate cores; the hypervisor changes that when it
 * likes, it cannot be asked, and every figure of two threads that talk follows it. What tells is a short ping-pong:
 *
 *   p50 of a round trip below MR_CORES_SIBLINGS_NS   siblings, threads of one core
 *   otherwise                                        separate cores
 *
 * The boundary is from 5,000 looks of 2 ms on the machine in docs/measured/spine.md: siblings 60 to 170 ns, separate 240 to 400 ns, none
 * between; a mode holds for 10 ms to some seconds. On a machine where separate cores are nearer, name another boundary.
 *
 * A limit and a value make a pair only when a look before, one between and one after them agree. Pure functions: what looks is
 * bench/limits/limits.h, what measures is bench/workloads/pairing.h. */
#ifndef MR_BENCH_MEASURE_CORES_H
#define MR_BENCH_MEASURE_CORES_H

#include "bench/measure/measure.h"

#define MR_CORES_SIBLINGS_NS 200
#define MR_CORES_LOOKS       3 /* at a pair */

/** @param siblings_ns the boundary; 0: MR_CORES_SIBLINGS_NS */
enum mr_cores mr_cores_of(uint64_t round_trip_p50_ns, uint64_t siblings_ns);

/** What all looks at one pair said; mixed when they disagree. */
enum mr_cores mr_cores_agreed(const enum mr_cores looks[MR_CORES_LOOKS]);

/** "any", "separate", "siblings", "mixed". */
const char *mr_cores_name(enum mr_cores cores);

/** Of a user's word: any, separate or siblings. @return false: another word. */
bool mr_cores_parse(const char *word, enum mr_cores *cores);

/** The pairs of one workload: pair k has value k and limit k of each of its measures. */
struct mr_pairs {
    enum mr_cores wanted_mode;
    uint32_t wanted; /* pairs of that mode; of any: of both together */
    uint64_t end_ns; /* no further pair is begun after it */
    uint32_t count;  /* measured, of whatever mode */
    uint32_t counted[MR_CORES_COUNT];
    enum mr_cores mode[MR_MEASURE_RUNS_MAX];
};

/** True if a pair more is wanted, and there is time and room for it. */
bool mr_pairs_more(const struct mr_pairs *pairs, uint64_t now_ns);

/** True if a pair of this mode would add to what is reported. When it would not, waiting for another mode is cheaper than measuring. */
bool mr_pairs_of_use(const struct mr_pairs *pairs, enum mr_cores mode);

/** Pair number pairs->count was of this mode. */
void mr_pairs_add(struct mr_pairs *pairs, enum mr_cores mode);

/**
 * What `all` says of one mode.
 * @param one filled in: its pairs, and how many were wanted
 * @return false: nothing to report, none was had and none was asked for
 */
bool mr_pairs_select(const struct mr_pairs *pairs, const struct mr_measure *all, enum mr_cores mode, struct mr_measure *one);

#endif
