/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting well: spin while the next record is likely near, yield so that on a machine with more threads than cores the others run, then
 * sleep until a doorbell, a message, a disk completion or a deadline. After sleep the first idle moment is a nap: the client that woke us may
 * wait for this very core to see what we did for it, and yields do not give it away while the scheduler owes us time (1 ms, seen on 6.18).
 *
 * A ring is cold when its client must ring the doorbell after a commit. The order that makes this safe: store `cold`, membarrier (the
 * client's store of a frame and its load of `cold` are then ordered as if it had fenced; a client that could not register fences by
 * itself), look at the ring once more. */
#include "dataplane/reactor/reactor_internal.h"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void reactor_make_hot(struct mr_reactor *reactor, struct mr_ring_session *ring)
{
    if (!ring->cold)
        return;
    struct mr_ring_session *other = reactor->rings[reactor->hot_count];
    uint32_t index = ring->list_index;
    reactor->rings[index] = other;
    other->list_index = index;
    reactor->rings[reactor->hot_count] = ring;
    ring->list_index = reactor->hot_count++;
    ring->cold = false;
    ring->active_ns = reactor->now_ns;
    mr_store_relaxed(&ring->ring.daemon->cold, 0);
}

static void cool(struct mr_reactor *reactor, struct mr_ring_session *ring)
{
    struct mr_ring_session *last = reactor->rings[--reactor->hot_count];
    uint32_t index = ring->list_index;
    reactor->rings[index] = last;
    last->list_index = index;
    reactor->rings[reactor->hot_count] = ring;
    ring->list_index = reactor->hot_count;
    ring->cold = true;
    mr_store_relaxed(&ring->ring.daemon->cold, 1);
}

/* @param all every hot ring (before sleep), else those that have been quiet for long. Rings with something in them come back hot. */
void reactor_make_cold(struct mr_reactor *reactor, bool all)
{
    uint32_t before = reactor->hot_count;
    for (uint32_t i = 0; i < reactor->hot_count;) {
        struct mr_ring_session *ring = reactor->rings[i];
        if (ring->backlog_first == NULL && !ring->unwatched && (!ring->leaving || ring->closing) && (all || reactor->now_ns - ring->active_ns > MR_COLD_NS))
            cool(reactor, ring);
        else
            i++;
    }
    if (reactor->hot_count == before)
        return;
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) != 0)
        mr_fence_seq_cst(); /* refused: the door has told clients to fence */
    uint32_t after = reactor->hot_count;
    for (uint32_t i = after; i < before; i++) {
        struct mr_ring_session *ring = reactor->rings[i];
        if ((!mr_ring_is_empty(&ring->ring) || reactor_has_arms(ring)) && !ring->poisoned && !ring->closing)
            reactor_make_hot(reactor, ring); /* swaps within [after, before): what comes to i was looked at, or is at i + 1 */
    }
}

/* Take what epoll reports. Only rings carry a pointer; bell and disk are looked at by every pass anyway. */
static void take_events(struct mr_reactor *reactor, int timeout_ms)
{
    struct epoll_event events[64];
    int count = epoll_wait(reactor->epoll, events, MR_COUNT_OF(events), timeout_ms);
    for (int i = 0; i < count; i++)
        if (events[i].data.ptr != NULL)
            reactor_make_hot(reactor, events[i].data.ptr);
}

/* Cold rings must be heard also while others keep the reactor from sleeping. */
void reactor_look_at_doorbells(struct mr_reactor *reactor)
{
    reactor->doorbells_ns = reactor->now_ns + MR_DOORBELLS_NS;
    take_events(reactor, 0);
}

static int timeout_ms(const struct mr_reactor *reactor)
{
    uint64_t until = reactor->log_next_ns;
    if (reactor->freeing_count > 0 && reactor->recheck_ns < until)
        until = reactor->recheck_ns;
    if ((reactor->hot_count > 0 || reactor->unsent_count > 0) && reactor->now_ns + MR_RECHECK_NS < until)
        until = reactor->now_ns + MR_RECHECK_NS; /* a ring that waits for memory, or whose client does not poll */
    if (reactor->acks_outstanding > 0 && reactor->housekeep_ns < until)
        until = reactor->housekeep_ns; /* what waits may time out */
    if (until == UINT64_MAX)
        return -1;
    if (until <= reactor->now_ns)
        return 0;
    uint64_t ms = (until - reactor->now_ns + 999999) / 1000000;
    return ms > 1000 ? 1000 : (int)ms;
}

static void sleep_now(struct mr_reactor *reactor)
{
    reactor_make_cold(reactor, true);
    mr_bell_sleep(reactor->options.bell);
    bool mail = mr_load_acquire(&reactor->options.messages->tail) != mr_load_relaxed(&reactor->options.messages->head) ||
                mr_load_acquire(&reactor->options.answers->tail) != mr_load_relaxed(&reactor->options.answers->head);
    bool full = false; /* a hot ring after make_cold has frames: drain them unless it only waits for room */
    for (uint32_t i = 0; i < reactor->hot_count; i++) {
        const struct mr_ring_session *ring = reactor->rings[i];
        full |= !ring->starved && !ring->stalled && !ring->poisoned && !ring->closing && !mr_ring_is_empty(&ring->ring);
        full |= reactor_has_arms(ring);
    }
    if (!mail && !full) {
        reactor_count(&reactor->counters.sleeps, 1);
        take_events(reactor, timeout_ms(reactor));
        reactor->woke = true;
    }
    mr_bell_wake(reactor->options.bell);
}

/* Spin. The flush of a durable write may wait for this very core (drivers/disk/uring.c), so give it away now and then meanwhile. */
static inline void spin(struct mr_reactor *reactor)
{
    mr_pace_idle(&reactor->pace);
    if (reactor->writes_in_flight > 0 && ++reactor->spins % MR_SPINS_PER_YIELD == 0)
        sched_yield();
    else
        mr_cpu_relax();
}

/* Off the core for the timer's slack, some 50 us: long enough for a client to come back from its doorbell and look. */
static void nap(void)
{
    struct timespec moment = {.tv_nsec = 1};
    nanosleep(&moment, NULL);
}

void reactor_idle(struct mr_reactor *reactor)
{
    uint64_t idle_ns = reactor->now_ns - reactor->active_ns;
    bool woke = reactor->woke;
    reactor->woke = false;
    if (reactor->options.idle == MILLRACE_IDLE_BUSY)
        spin(reactor);
    else if (reactor->options.idle == MILLRACE_IDLE_SLEEP || idle_ns > MR_YIELD_NS)
        sleep_now(reactor);
    else if (woke)
        nap();
    else if (idle_ns > MR_SPIN_NS)
        sched_yield();
    else
        spin(reactor);
}
