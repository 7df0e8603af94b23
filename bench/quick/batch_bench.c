/* SPDX-License-Identifier: Apache-2.0 */
/* What a record costs the reactor (encode, with its share of close and CRC) and a consumer (iterate): nanoseconds a record.
 * usage: batch_bench [value_bytes]. Each figure is the median of 9 runs; values come from a 1 MiB ring as a session's would. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "shm/batch/batch.h"

#define RUNS       9
#define RECORDS    2000000u
#define RING_BYTES (1u << 20)

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* As the reactor does. @return where the next value is */
static uint32_t add_run(struct mr_batch_writer *w, const uint8_t *ring, uint32_t from, uint32_t value_bytes, uint32_t count)
{
    struct mr_batch_run run;
    while (w->count < count) {
        if (!mr_batch_run_begin(&run, w, 1700000000000, value_bytes))
            abort();
        while (run.count < count && mr_batch_run_add(&run, ring + from))
            from = (from + mr_align_up(value_bytes + 16u, 8)) & (RING_BYTES - 1);
        mr_batch_run_end(&run, w);
    }
    return from;
}

/* Fill an extent of 4 MiB batch after batch, begin again when it is full. @return bytes of the last full batch */
static uint32_t encode(uint8_t *extent, size_t extent_bytes, const uint8_t *ring, uint32_t value_bytes, uint32_t batch_records)
{
    size_t position = 0;
    uint32_t from = 0, bytes = 0;
    for (uint32_t done = 0; done < RECORDS; done += batch_records) {
        struct mr_batch_writer w;
        if (extent_bytes - position < (size_t)batch_records * (value_bytes + 32) + MR_BATCH_HEADER_BYTES)
            position = 0;
        mr_batch_open(&w, extent + position, extent_bytes - position, 1, 0, (int32_t)done, done, 1);
        from = add_run(&w, ring, from, value_bytes, batch_records);
        bytes = mr_batch_close(&w);
        position += bytes;
    }
    return bytes;
}

static uint64_t iterate(const uint8_t *extent, size_t extent_bytes, uint32_t batch_bytes, uint32_t batch_records)
{
    uint64_t sum = 0;
    size_t position = 0;
    for (uint32_t done = 0; done < RECORDS; done += batch_records) {
        struct mr_batch_iterator it;
        struct mr_batch_record r;
        if (position + batch_bytes > extent_bytes)
            position = 0;
        if (mr_batch_iterator_init(&it, extent + position, extent_bytes - position) != 0)
            abort();
        while (mr_batch_next(&it, &r) == 1)
            sum += (uint64_t)r.offset + (uint64_t)r.timestamp_ms + r.value[0];
        position += batch_bytes;
    }
    return sum;
}

int main(int argc, char **argv)
{
    static const uint32_t batch_records[] = {1, 8, 64, 1000};
    uint32_t value_bytes = argc > 1 ? (uint32_t)atoi(argv[1]) : 64;
    size_t extent_bytes = (4u << 20) + 1002 * (size_t)(value_bytes + 32);
    uint8_t *extent = malloc(extent_bytes), *ring = malloc(RING_BYTES + value_bytes + 64);
    uint64_t sum = 0;

    if (extent == NULL || ring == NULL)
        return 1;
    memset(extent, 0, extent_bytes);
    memset(ring, 'x', RING_BYTES + value_bytes + 64);
    for (size_t k = 0; k < MR_COUNT_OF(batch_records); k++) {
        double encode_ns[RUNS], iterate_ns[RUNS];
        uint32_t count = batch_records[k];
        for (int run = 0; run < RUNS; run++) {
            uint64_t start = now_ns();
            uint32_t bytes = encode(extent, extent_bytes, ring, value_bytes, count);
            uint64_t middle = now_ns();
            /* Read one batch over and over where the last one was written: the tail that a consumer follows is in its cache. */
            encode_ns[run] = (double)(middle - start) / RECORDS;
            struct mr_batch_writer w;
            mr_batch_open(&w, extent, extent_bytes, 1, 0, 0, 0, 1);
            add_run(&w, ring, 0, value_bytes, count);
            bytes = mr_batch_close(&w);
            start = now_ns();
            sum += iterate(extent, bytes, bytes, count);
            iterate_ns[run] = (double)(now_ns() - start) / RECORDS;
        }
        qsort(encode_ns, RUNS, sizeof encode_ns[0], by_value);
        qsort(iterate_ns, RUNS, sizeof iterate_ns[0], by_value);
        printf("value_bytes %u records_per_batch %u encode_ns %.2f iterate_ns %.2f\n", value_bytes, count, encode_ns[RUNS / 2],
               iterate_ns[RUNS / 2]);
    }
    fprintf(stderr, "checksum %llu\n", (unsigned long long)sum);
    free(extent);
    free(ring);
    return 0;
}
