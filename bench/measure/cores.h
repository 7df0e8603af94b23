/* SPDX-License-Identifier: Apache-2.0 */
/* Two virtual cores are one thing to each other now and another in a second: the hypervisor moves them when it likes, it cannot be asked, and
 * every figure of two threads that talk follows it.
 *
 *   siblings  hardware threads of one core: work that fills a multiplier takes MR_CORES_SIBLINGS_SLOWDOWN times as long beside its like
 *   near      two cores that share a cache: a ping-pong's p50 is below MR_CORES_FAR_NS
 *   far       two cores that share none
 *
 * The boundaries are from 62,900 looks on the machine in docs/measured/spine.md: near 100 to 160 ns, far 250 to 430, one in a thousand between;
 * beside a busy neighbour the multiplier took as long as alone in both. (A version before it took near for siblings.) A mode holds for 10 ms to
 * some seconds. On a machine where cores that share no cache are nearer, name another boundary.
 *
 * A limit and a value make a pair only when a look before, one between and one after them agree. Pure functions: what looks is
 * bench/limits/limits.h, what measures is bench/workloads/pairing.h. */
#ifndef MR_BENCH_MEASURE_CORES_H
#define MR_BENCH_MEASURE_CORES_H

#include "bench/measure/measure.h"

#define MR_CORES_FAR_NS            200
#define MR_CORES_SIBLINGS_SLOWDOWN 1.4
#define MR_CORES_LOOKS             3 /* at a pair */

/**
 * @param round_trip_p50_ns of a ping-pong
 * @param slowdown          of work that fills a multiplier, by the same work on the other core
 * @param far_ns            the boundary; 0: MR_CORES_FAR_NS
 */
enum mr_cores mr_cores_of(uint64_t round_trip_p50_ns, double slowdown, uint64_t far_ns);

/** What all looks at one pair said; mixed when they disagree. */
enum mr_cores mr_cores_agreed(const enum mr_cores looks[MR_CORES_LOOKS]);

/** "any", "far", "near", "siblings", "mixed". */
const char *mr_cores_name(enum mr_cores cores);

/** Of a user's word: any, far, near or siblings. @return false: another word. */
bool mr_cores_parse(const char *word, enum mr_cores *cores);

/** The pairs of one workload: pair k has value k and limit k of each of its measures. */
struct mr_pairs {
    enum mr_cores wanted_mode;
    uint32_t wanted; /* pairs of that mode; of any: of all together */
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
