/* SPDX-License-Identifier: Apache-2.0 */
/* The simplest good ring: fixed slots, two indices, each end asks for the other's index only when it has used up what it knew. */
#include "bench/limits/pair.h"

#include <errno.h>
#include <stdalign.h>
#include <string.h>

#include "shm/base/atomics.h"
#include "shm/base/bits.h"

#define SLOTS      4096u /* 256 KiB, as a session's ring */
#define LOOK_EVERY 4096u /* slots between two looks at the clock */
#define INDEX_STOP UINT64_MAX

struct slot {
    uint64_t word[MR_CACHE_LINE / sizeof(uint64_t)];
};

/* P: the producer stores tail, release -> the consumer loads it, acquire: slots are seen before the tail.
 * F: the consumer stores head, release -> the producer loads it, acquire: slots are read before they are reused. */
struct ring {
    alignas(2 * MR_CACHE_LINE) _Atomic uint64_t tail;
    alignas(2 * MR_CACHE_LINE) _Atomic uint64_t head;
    alignas(2 * MR_CACHE_LINE) struct slot *slot;
    uint32_t batch;
    uint64_t duration_ns, taken_ns;
    uint64_t count, wrong;
};

static void produce(void *context)
{
    struct ring *ring = context;
    uint64_t tail = 0, head = 0, start = mr_measure_now_ns(), end = start + ring->duration_ns, look = LOOK_EVERY;
    uint32_t batch = ring->batch;

    for (;;) {
        while (tail + batch - head > SLOTS) {
            head = mr_load_acquire(&ring->head); /* F */
            if (tail + batch - head > SLOTS)
                mr_cpu_relax();
        }
        for (uint32_t i = 0; i < batch; i++) {
            struct slot *slot = &ring->slot[(tail + i) % SLOTS];
            for (size_t w = 0; w < MR_COUNT_OF(slot->word); w++)
                slot->word[w] = tail + i;
        }
        tail += batch;
        mr_store_release(&ring->tail, tail); /* P */
        if (tail >= look) {
            look = tail + LOOK_EVERY;
            if (mr_measure_now_ns() >= end)
                break;
        }
    }
    while (mr_load_acquire(&ring->head) != tail)
        mr_cpu_relax();
    ring->taken_ns = mr_measure_now_ns() - start;
    ring->count = tail;
    mr_store_release(&ring->tail, INDEX_STOP);
}

static void consume(void *context)
{
    struct ring *ring = context;
    uint64_t head = 0, wrong = 0;

    for (;;) {
        uint64_t tail = mr_load_acquire(&ring->tail); /* P */
        if (tail == INDEX_STOP)
            break;
        if (tail == head) {
            mr_cpu_relax();
            continue;
        }
        for (; head < tail; head++) {
            const struct slot *slot = &ring->slot[head % SLOTS];
            wrong += (slot->word[0] != head) | (slot->word[MR_COUNT_OF(slot->word) - 1] != head);
        }
        mr_store_release(&ring->head, head); /* F */
    }
    ring->wrong = wrong;
}

int mr_limit_ring(struct mr_limit_cpus cpus, uint32_t batch, uint64_t duration_ns, double *per_second, struct millrace_error *err)
{
    static struct ring ring;
    struct mr_measure_pages pages = {0};

    if (batch == 0 || batch > SLOTS / 2)
        return mr_err(err, EINVAL, "a ring of %u slots cannot be published %u at a time: --batch 1 to %u", SLOTS, batch, SLOTS / 2);
    if (mr_measure_pages_map(&pages, SLOTS * sizeof(struct slot)) != 0)
        return mr_err(err, ENOMEM, "no memory for a ring of %u slots", SLOTS);
    memset(&ring, 0, sizeof ring);
    ring.slot = pages.memory;
    ring.batch = batch;
    ring.duration_ns = duration_ns;
    int rc = mr_limit_pair(cpus, produce, consume, &ring, err);
    mr_measure_pages_release(&pages);
    if (rc != 0)
        return rc;
    if (ring.wrong != 0)
        return mr_err(err, EBADMSG, "%llu of %llu slots of the bare ring arrived wrong: this machine's memory cannot be trusted",
                      (unsigned long long)ring.wrong, (unsigned long long)ring.count);
    *per_second = (double)ring.count * 1e9 / (double)ring.taken_ns;
    return 0;
}
