/* SPDX-License-Identifier: Apache-2.0 */
/* What are the two cores to each other just now? Two questions, each of which one figure answers (bench/measure/cores.h):
 *
 *   do they share a multiplier?  a thread that keeps its own busy, with the other idle, then with the other doing the same
 *   do they share a cache?       a short ping-pong */
#include "bench/limits/pair.h"

#include <stdalign.h>

#include "shm/base/atomics.h"
#include "shm/base/bits.h"

#define PINGPONG_NS 2000000u /* some 5,000 to 20,000 round trips */
#define TRIES       3        /* the best of them: an interrupt takes longer than one */
#define ROUNDS      16384u   /* of four products: some 20 us */

enum phase { PHASE_IDLE, PHASE_BUSY, PHASE_OVER };

struct duel {
    alignas(2 * MR_CACHE_LINE) _Atomic int phase; /* the near end's order */
    alignas(2 * MR_CACHE_LINE) _Atomic int obeyed; /* by the far end */
    alignas(2 * MR_CACHE_LINE) uint64_t alone_ns, together_ns;
};

/* Four chains keep a multiplier of three or four cycles' latency full. */
static void multiply(uint32_t rounds)
{
    uint64_t a = 3, b = 5, c = 7, d = 9;

    for (uint32_t i = 0; i < rounds; i++) {
        a *= a;
        b *= b;
        c *= c;
        d *= d;
        __asm__ __volatile__("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d)); /* products that nobody uses would not be made */
    }
}

static void far_end(void *context)
{
    struct duel *duel = context;
    int phase;

    while ((phase = mr_load_acquire(&duel->phase)) != PHASE_OVER) {
        mr_store_release(&duel->obeyed, phase);
        if (phase == PHASE_BUSY)
            multiply(64);
        else
            mr_cpu_relax();
    }
}

static uint64_t best_time(struct duel *duel, enum phase phase)
{
    uint64_t best = UINT64_MAX;

    mr_store_release(&duel->phase, phase);
    while (mr_load_acquire(&duel->obeyed) != (int)phase)
        mr_cpu_relax();
    for (uint32_t i = 0; i < TRIES; i++) {
        uint64_t start = mr_measure_now_ns();
        multiply(ROUNDS);
        best = mr_min_u64(best, mr_measure_now_ns() - start);
    }
    return best;
}

static void near_end(void *context)
{
    struct duel *duel = context;

    duel->alone_ns = best_time(duel, PHASE_IDLE);
    duel->together_ns = best_time(duel, PHASE_BUSY);
    mr_store_release(&duel->phase, PHASE_OVER);
}

int mr_limit_look(struct mr_limit_cpus cpus, uint64_t far_ns, enum mr_cores *cores, struct millrace_error *err)
{
    static struct mr_histogram round_trip;
    static struct duel duel;

    mr_histogram_reset(&round_trip);
    duel.phase = duel.obeyed = PHASE_IDLE;
    int rc = mr_limit_pair(cpus, near_end, far_end, &duel, err);
    if (rc == 0)
        rc = mr_limit_pingpong(cpus, PINGPONG_NS, &round_trip, err);
    if (rc == 0)
        *cores = mr_cores_of(mr_histogram_percentile(&round_trip, 50), (double)duel.together_ns / (double)duel.alone_ns, far_ns);
    return rc;
}
