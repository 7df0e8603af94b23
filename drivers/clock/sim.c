/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/clock/sim.h"

#include "shm/base/assert.h"

#define NS_PER_MS 1000000u

static uint64_t sim_now_ns(struct mr_clock *clock)
{
    return ((struct mr_sim_clock *)clock)->now_ns;
}

static uint64_t sim_wall_ms(struct mr_clock *clock)
{
    const struct mr_sim_clock *sim = (const struct mr_sim_clock *)clock;
    int64_t wall_ms = sim->wall_ms + (int64_t)((sim->now_ns - sim->wall_at_ns) / NS_PER_MS);
    return wall_ms < 0 ? 0 : (uint64_t)wall_ms;
}

static const struct mr_clock_ops sim_ops = {.now_ns = sim_now_ns, .wall_ms = sim_wall_ms};

void mr_sim_clock_init(struct mr_sim_clock *sim, uint64_t now_ns, uint64_t wall_ms)
{
    *sim = (struct mr_sim_clock){.clock = {.ops = &sim_ops}, .now_ns = now_ns, .wall_ms = (int64_t)wall_ms, .wall_at_ns = now_ns};
}

void mr_sim_clock_advance(struct mr_sim_clock *sim, uint64_t ns)
{
    sim->now_ns += (uint64_t)((__int128)ns * (1000000 + sim->skew_ppm) / 1000000);
}

void mr_sim_clock_advance_to(struct mr_sim_clock *sim, uint64_t now_ns)
{
    if (now_ns > sim->now_ns)
        sim->now_ns = now_ns;
}

void mr_sim_clock_step_wall(struct mr_sim_clock *sim, int64_t ms)
{
    sim->wall_ms += ms;
}

void mr_sim_clock_set_skew(struct mr_sim_clock *sim, int32_t ppm)
{
    mr_assert(ppm > -1000000);
    sim->skew_ppm = ppm;
}
