/* SPDX-License-Identifier: Apache-2.0 */
/* Wake-ups that a reader asks for, beside the frames (shm/abi/ring.h, edge W): a small ring of words in the client's part, each written once
 * and read once.
 *
 * Lost by neither side: the client shows its arm, then looks at `visible` again before it sleeps; the reactor, when it takes the arm, looks at
 * `visible` too, and later at each advance of it. That it takes it is what `cold` and the doorbell are for, as with frames. */
#ifndef MR_RING_ARM_H
#define MR_RING_ARM_H

#include "shm/ring/ring.h"

/** Client. @param next how many were asked for; shown by mr_ring_show_arms(). @return false: the reactor has yet to take those before */
static inline bool mr_ring_arm(const struct mr_ring_producer *ring, uint32_t *next, uint32_t handle, uint64_t offset)
{
    if (*next - mr_load_acquire(&ring->daemon->arms_taken) >= MR_RING_ARMS) /* W */
        return false;
    mr_store_relaxed(&ring->client->arm[(*next)++ % MR_RING_ARMS], mr_arm_word(handle, offset));
    return true;
}

/** Client. @return true if there were new ones: mr_ring_must_wake() applies */
static inline bool mr_ring_show_arms(const struct mr_ring_producer *ring, uint32_t next)
{
    if (mr_load_relaxed(&ring->client->arms) == next) /* ours */
        return false;
    mr_store_release(&ring->client->arms, next); /* W */
    return true;
}

/** Reactor. @param taken its own count of those it took */
static inline bool mr_ring_has_arms(const struct mr_ring_consumer *ring, uint32_t taken)
{
    return mr_load_relaxed(&ring->client->arms) != taken;
}

/**
 * Reactor: take what was asked for. Hostile words: the handle is not checked.
 * @param words room for MR_RING_ARMS
 * @return how many; more than MR_RING_ARMS: the client's index makes no sense, nothing was taken
 */
static inline uint32_t mr_ring_take_arms(const struct mr_ring_consumer *ring, uint32_t *taken, uint64_t *words)
{
    uint32_t count = mr_load_acquire(&ring->client->arms) - *taken; /* W */

    if (count > MR_RING_ARMS)
        return count;
    for (uint32_t i = 0; i < count; i++)
        words[i] = mr_load_relaxed(&ring->client->arm[(*taken)++ % MR_RING_ARMS]);
    mr_store_release(&ring->daemon->arms_taken, *taken); /* W */
    return count;
}

#endif
