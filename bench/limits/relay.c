/* SPDX-License-Identifier: Apache-2.0 */
/* The cache lines of a log between two cores, moved by two loops that do nothing else: values go into a ring, the far end copies them into memory
 * behind each other and shows how many there are, the near end reads them there. No sums, no checks, no acks, no other client, one partition.
 *
 * A round trip goes through three lines one after the other at least (the ring's index and frame, `shown`, the record), a ping-pong through two:
 * what lies between the two is the price of a log in memory that others read in place, and no program's fault. */
#include "bench/limits/pair.h"

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <string.h>

#include "shm/base/atomics.h"
#include "shm/base/bits.h"

#define VALUE_BYTES  64u
#define FRAME_BYTES  (16u + VALUE_BYTES)  /* as in a session's ring */
#define FRAMES       4096u
#define RECORD_BYTES (8u + VALUE_BYTES)   /* as in a batch */
#define HEADER_BYTES 64u
#define BATCH_MAX    512u
#define BATCH_BYTES  (HEADER_BYTES + BATCH_MAX * RECORD_BYTES)
#define LOG_BYTES    (64ull << 20)        /* more than a cache holds, as a hot tail is */
#define AHEAD_MAX    (1u << 18)           /* records shown and not yet read, so that nothing is written over */
#define LOOK_EVERY   4096u                /* records between two looks at the clock */
#define INDEX_STOP   UINT64_MAX

static_assert(AHEAD_MAX * (HEADER_BYTES + 2ull * MR_CACHE_LINE) + BATCH_BYTES < LOG_BYTES, "batches of one record do not come round");

/* P: the near end stores tail, release -> the far end loads it, acquire: frames are seen before it.
 * F: the far end stores head, release -> the near end loads it, acquire: frames are read before they are reused.
 * V: the far end stores shown, release -> the near end loads it, acquire: records are seen before it. */
struct relay {
    alignas(2 * MR_CACHE_LINE) _Atomic uint64_t tail;
    alignas(2 * MR_CACHE_LINE) _Atomic uint64_t head;
    alignas(2 * MR_CACHE_LINE) _Atomic uint64_t shown;
    alignas(2 * MR_CACHE_LINE) uint8_t *ring; /* FRAMES of FRAME_BYTES */
    uint8_t *log;                             /* batches: a word that counts its records, and room for more; records */
    uint32_t batch;
    uint64_t duration_ns, taken_ns;
    struct mr_histogram *round_trip;
    uint64_t count, wrong;
};

/* What the near end knows. */
struct near {
    uint64_t sent, free_to, received, shown;
    uint64_t batch_at; /* in the log, of the batch that is read or comes next */
    uint64_t left, at; /* of that batch */
    uint64_t wrong;
};

static uint64_t behind(uint64_t batch_at, uint64_t records)
{
    uint64_t at = batch_at + HEADER_BYTES + mr_align_up(records * RECORD_BYTES, MR_CACHE_LINE);
    return at + BATCH_BYTES > LOG_BYTES ? 0 : at;
}

static void relay_frames(void *context)
{
    struct relay *relay = context;
    uint64_t done = 0, at = 0;

    for (;;) {
        uint64_t tail = mr_load_acquire(&relay->tail); /* P */
        if (tail == INDEX_STOP)
            return;
        if (tail == done) {
            mr_cpu_relax();
            continue;
        }
        uint64_t count = mr_min_u64(tail - done, BATCH_MAX);
        uint8_t *batch = relay->log + at, *record = batch + HEADER_BYTES;
        for (uint64_t i = 0; i < count; i++, record += RECORD_BYTES) {
            const uint8_t *frame = relay->ring + (done + i) % FRAMES * FRAME_BYTES;
            memcpy(record, frame, sizeof(uint64_t));
            memcpy(record + 8, frame + 16, VALUE_BYTES);
        }
        memcpy(batch, &count, sizeof count);
        done += count;
        at = behind(at, count);
        mr_store_release(&relay->shown, done); /* V */
        mr_store_release(&relay->head, done);  /* F */
    }
}

static bool send(struct relay *relay, struct near *near, uint32_t count)
{
    uint64_t value[VALUE_BYTES / sizeof(uint64_t)];

    if (near->sent + count > near->free_to) {
        near->free_to = mr_load_acquire(&relay->head) + FRAMES; /* F */
        if (near->sent + count > near->free_to)
            return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t number = near->sent + i;
        uint8_t *frame = relay->ring + number % FRAMES * FRAME_BYTES;
        for (size_t w = 0; w < MR_COUNT_OF(value); w++)
            value[w] = number;
        memcpy(frame, &number, sizeof number);
        memcpy(frame + 8, &number, sizeof number);
        memcpy(frame + 16, value, sizeof value);
    }
    near->sent += count;
    mr_store_release(&relay->tail, near->sent); /* P */
    return true;
}

static void receive(struct relay *relay, struct near *near)
{
    if (near->received == near->shown)
        near->shown = mr_load_acquire(&relay->shown); /* V */
    while (near->received < near->shown) {
        uint64_t first, last;
        if (near->left == 0) {
            memcpy(&near->left, relay->log + near->batch_at, sizeof near->left);
            near->at = near->batch_at + HEADER_BYTES;
            near->batch_at = behind(near->batch_at, near->left);
        }
        const uint8_t *value = relay->log + near->at + 8;
        memcpy(&first, value, sizeof first);
        memcpy(&last, value + VALUE_BYTES - sizeof last, sizeof last);
        near->wrong += (first != near->received) | (last != near->received);
        near->at += RECORD_BYTES;
        near->left--;
        near->received++;
    }
}

static void stop(struct relay *relay, const struct near *near)
{
    relay->count = near->received;
    relay->wrong = near->wrong;
    mr_store_release(&relay->tail, INDEX_STOP);
}

static void one_by_one(void *context)
{
    struct relay *relay = context;
    struct near near = {0};
    uint64_t then = mr_measure_now_ns(), end = then + relay->duration_ns;

    while (then < end) {
        while (!send(relay, &near, 1)) /* the last was shown, and will be free */
            mr_cpu_relax();
        while (near.received < near.sent) {
            receive(relay, &near);
            if (near.received < near.sent)
                mr_cpu_relax();
        }
        uint64_t now = mr_measure_now_ns();
        mr_histogram_record(relay->round_trip, now - then);
        then = now;
    }
    stop(relay, &near);
}

static void in_batches(void *context)
{
    struct relay *relay = context;
    struct near near = {0};
    uint64_t start = mr_measure_now_ns(), now = start, end = start + relay->duration_ns, look = LOOK_EVERY;

    while (now < end) {
        if (near.sent - near.received < AHEAD_MAX)
            (void)send(relay, &near, relay->batch);
        receive(relay, &near);
        if (near.received >= look) {
            look = near.received + LOOK_EVERY;
            now = mr_measure_now_ns();
        }
    }
    while (near.received < near.sent)
        receive(relay, &near);
    relay->taken_ns = mr_measure_now_ns() - start;
    stop(relay, &near);
}

static int run(struct mr_limit_cpus cpus, struct relay *relay, void (*near)(void *context), struct millrace_error *err)
{
    struct mr_measure_pages ring = {0}, log = {0};
    int rc = -ENOMEM;

    if (mr_measure_pages_map(&ring, FRAMES * FRAME_BYTES) != 0 || mr_measure_pages_map(&log, LOG_BYTES) != 0) {
        mr_err(err, ENOMEM, "no memory for a bare relay: %llu MiB", (unsigned long long)(LOG_BYTES >> 20));
    } else {
        relay->ring = ring.memory;
        relay->log = log.memory;
        rc = mr_limit_pair(cpus, near, relay_frames, relay, err);
    }
    mr_measure_pages_release(&ring);
    mr_measure_pages_release(&log);
    if (rc == 0 && relay->wrong != 0)
        rc = mr_err(err, EBADMSG, "%llu of %llu records of the bare relay arrived wrong: this machine's memory cannot be trusted",
                    (unsigned long long)relay->wrong, (unsigned long long)relay->count);
    return rc;
}

int mr_limit_relay_latency(struct mr_limit_cpus cpus, uint64_t duration_ns, struct mr_histogram *round_trip, struct millrace_error *err)
{
    struct relay relay = {.duration_ns = duration_ns, .round_trip = round_trip};
    return run(cpus, &relay, one_by_one, err);
}

int mr_limit_relay(struct mr_limit_cpus cpus, uint32_t batch, uint64_t duration_ns, double *per_second, struct millrace_error *err)
{
    struct relay relay = {.batch = batch, .duration_ns = duration_ns};

    if (batch == 0 || batch > FRAMES / 2)
        return mr_err(err, EINVAL, "a ring of %u frames cannot be published %u at a time: --batch 1 to %u", FRAMES, batch, FRAMES / 2);
    int rc = run(cpus, &relay, in_batches, err);
    if (rc == 0)
        *per_second = (double)relay.count * 1e9 / (double)relay.taken_ns;
    return rc;
}
