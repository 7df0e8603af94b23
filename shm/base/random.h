/* SPDX-License-Identifier: Apache-2.0 */
/* Seeded pseudo-random streams (splitmix64, Steele et al. 2014): for salts in simulation, tests and workloads. Not for secrets. */
#ifndef MR_BASE_RANDOM_H
#define MR_BASE_RANDOM_H

#include <stdint.h>

struct mr_random {
    uint64_t state;
};

/** An independent stream per (seed, stream): the simulator gives each subsystem its own, so that one more draw in one moves no other. */
static inline void mr_random_init(struct mr_random *r, uint64_t seed, uint64_t stream)
{
    r->state = seed ^ (stream * 0x9e3779b97f4a7c15u + 0xd1b54a32d192ed03u);
}

static inline uint64_t mr_random_next(struct mr_random *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/** Uniform in [0, bound), bound > 0. */
static inline uint64_t mr_random_below(struct mr_random *r, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)mr_random_next(r) * bound) >> 64);
}

/** True with probability numerator / denominator. */
static inline int mr_random_chance(struct mr_random *r, uint64_t numerator, uint64_t denominator)
{
    return mr_random_below(r, denominator) < numerator;
}

#endif
