/* SPDX-License-Identifier: Apache-2.0 */
/* One word in one cache line: the near end makes it odd, the far end makes it even. Nothing between two processes on these cores is faster. */
#include "bench/limits/pair.h"

#include <stdalign.h>

#include "shm/base/atomics.h"
#include "shm/base/bits.h"

#define TURN_STOP UINT64_MAX

struct pingpong {
    alignas(2 * MR_CACHE_LINE) _Atomic uint64_t turn; /* the neighbour line is prefetched with it: keep it free */
    alignas(2 * MR_CACHE_LINE) uint64_t duration_ns;
    struct mr_histogram *round_trip;
};

static void near_end(void *context)
{
    struct pingpong *game = context;
    uint64_t turn = 0, then = mr_measure_now_ns(), end = then + game->duration_ns;

    while (then < end) {
        mr_store_release(&game->turn, turn + 1);
        while (mr_load_acquire(&game->turn) != turn + 2)
            mr_cpu_relax();
        turn += 2;
        uint64_t now = mr_measure_now_ns();
        mr_histogram_record(game->round_trip, now - then);
        then = now;
    }
    mr_store_release(&game->turn, TURN_STOP);
}

static void far_end(void *context)
{
    struct pingpong *game = context;
    uint64_t seen = 0;

    for (;;) {
        uint64_t turn = mr_load_acquire(&game->turn);
        if (turn == TURN_STOP)
            return;
        if (turn == seen + 1) {
            seen += 2;
            mr_store_release(&game->turn, seen);
        } else {
            mr_cpu_relax();
        }
    }
}

int mr_limit_pingpong(struct mr_limit_cpus cpus, uint64_t duration_ns, struct mr_histogram *round_trip, struct millrace_error *err)
{
    static struct pingpong game;

    game.turn = 0;
    game.duration_ns = duration_ns;
    game.round_trip = round_trip;
    return mr_limit_pair(cpus, near_end, far_end, &game, err);
}
