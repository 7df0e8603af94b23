/* SPDX-License-Identifier: Apache-2.0 */
/* How a call that has to wait does so: spin, yield, sleep. The spin covers a hop through a reactor that is awake (about a microsecond); the
 * yields let others have the core where there are fewer cores than spinners; the sleep costs two system calls and some 50 us. A reactor that was
 * woken may have to run on this very core: after a doorbell the first step is a yield. */
#include "shm/client/client_internal.h"

#include <poll.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#define SPIN_ROUNDS 64 /* between two looks at the clock */
#define SPIN_NS     20000u
#define YIELD_NS    200000u

uint64_t mr_client_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void mr_wait_init(struct mr_wait *wait, int timeout_ms)
{
    wait->rounds = 0;
    wait->start_ns = timeout_ms == 0 ? 0 : mr_client_now_ns();
    wait->deadline_ns = timeout_ms < 0 ? UINT64_MAX : wait->start_ns + (uint64_t)timeout_ms * 1000000u;
    if (timeout_ms == 0)
        wait->deadline_ns = 0;
}

enum mr_wait_step mr_wait_next(struct mr_wait *wait, struct millrace_client *client)
{
    if (wait->deadline_ns == 0)
        return MR_WAIT_OVER;
    if (mr_unlikely(client->rang)) {
        client->rang = false;
        if (client->options.idle == MILLRACE_IDLE_ADAPTIVE) {
            sched_yield();
            return MR_WAIT_AGAIN;
        }
    }
    if (++wait->rounds % SPIN_ROUNDS != 0 && client->options.idle != MILLRACE_IDLE_SLEEP) {
        mr_cpu_relax();
        return MR_WAIT_AGAIN;
    }
    uint64_t now_ns = mr_client_now_ns();
    if (now_ns >= wait->deadline_ns)
        return MR_WAIT_OVER;
    if (client->options.idle == MILLRACE_IDLE_SLEEP)
        return MR_WAIT_SLEEP;
    if (client->options.idle == MILLRACE_IDLE_BUSY || now_ns - wait->start_ns < SPIN_NS)
        return MR_WAIT_AGAIN;
    if (now_ns - wait->start_ns < YIELD_NS) {
        sched_yield();
        return MR_WAIT_AGAIN;
    }
    return MR_WAIT_SLEEP;
}

void mr_client_sleep(struct millrace_client *client, const struct mr_wait *wait, uint64_t max_ns)
{
    uint64_t now_ns = mr_client_now_ns();
    uint64_t until_ns = wait->deadline_ns;

    if (client->state == MR_CLIENT_AWAY)
        until_ns = mr_min_u64(until_ns, client->greeting ? now_ns + MR_CLIENT_CHECK_NS : client->next_try_ns);
    if (until_ns <= now_ns)
        return;
    uint64_t ns = mr_min_u64(mr_min_u64(until_ns - now_ns, max_ns), 1000000000u);
    struct timespec timeout = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    struct pollfd fds[2] = {{.fd = client->wake, .events = POLLIN}, {.fd = client->socket, .events = POLLIN}};
    if (ppoll(fds, 2, &timeout, NULL) <= 0) /* while AWAY there is none, or one that WELCOME comes by */
        return;
    uint64_t count;
    if (fds[0].revents != 0 && read(client->wake, &count, sizeof count) < 0)
        return; /* taken already */
    if (fds[1].revents != 0)
        client->quiet_since_ns = 1; /* look at the socket at once */
}

void mr_client_set_sleeping(struct millrace_client *client, bool sleeping)
{
    for (struct mr_client_ring *ring = client->rings; ring != NULL; ring = ring->next)
        mr_store_relaxed(&ring->ring.client->sleeping, sleeping ? 1 : 0);
    mr_fence_seq_cst(); /* against the daemon's: it writes completions, fences, looks at `sleeping` */
}
