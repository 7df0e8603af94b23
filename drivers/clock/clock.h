/* SPDX-License-Identifier: Apache-2.0 */
/* Time comes in through this face: a reactor reads it once a pass and hands it down as now_ns. Implementations: tsc.c (the machine's
 * own), sim.c (the simulator's, which tests and crash images set). */
#ifndef MR_DRIVERS_CLOCK_H
#define MR_DRIVERS_CLOCK_H

#include <stdint.h>

struct mr_clock;

struct mr_clock_ops {
    uint64_t (*now_ns)(struct mr_clock *clock);     /* monotonic, since an arbitrary start; never goes back */
    uint64_t (*wall_ms)(struct mr_clock *clock);    /* Unix time in milliseconds, as Kafka's timestamps; may step */
};

struct mr_clock {
    const struct mr_clock_ops *ops;
};

/** The machine's clock: TSC calibrated against CLOCK_MONOTONIC where the TSC is invariant, clock_gettime elsewhere. Thread safe. */
struct mr_clock *mr_clock_machine(void);

static inline uint64_t mr_clock_now_ns(struct mr_clock *clock)
{
    return clock->ops->now_ns(clock);
}

static inline uint64_t mr_clock_wall_ms(struct mr_clock *clock)
{
    return clock->ops->wall_ms(clock);
}

#endif
