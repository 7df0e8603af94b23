/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator's clock: time stands still until it is told to move. The wall runs along with it, unless it is stepped or skewed. */
#ifndef MR_DRIVERS_CLOCK_SIM_H
#define MR_DRIVERS_CLOCK_SIM_H

#include "drivers/clock/clock.h"

/** Filled in by mr_sim_clock_init(); hand &sim->clock to whoever needs the time. One thread. */
struct mr_sim_clock {
    struct mr_clock clock;
    uint64_t now_ns;
    int64_t wall_ms;      /* the wall when now_ns was wall_at_ns */
    uint64_t wall_at_ns;
    int32_t skew_ppm;     /* the monotonic clock gains so many ns in each ms of true time */
};

/** @param now_ns where the monotonic clock starts. @param wall_ms Unix time then. */
void mr_sim_clock_init(struct mr_sim_clock *sim, uint64_t now_ns, uint64_t wall_ms);

/** `ns` of true time pass: the clock moves by that, and by its skew. */
void mr_sim_clock_advance(struct mr_sim_clock *sim, uint64_t ns);

/** Move to this instant if it is ahead; a clock never goes back. */
void mr_sim_clock_advance_to(struct mr_sim_clock *sim, uint64_t now_ns);

/** NTP or an operator steps the wall, back (negative) or forth; the monotonic clock does not notice. */
void mr_sim_clock_step_wall(struct mr_sim_clock *sim, int64_t ms);

/** From now on the clock runs fast (positive) or slow. @param ppm > -1,000,000 */
void mr_sim_clock_set_skew(struct mr_sim_clock *sim, int32_t ppm);

#endif
