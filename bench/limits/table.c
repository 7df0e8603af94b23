/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/limits/table.h"

#include "shm/base/bits.h"

#include <assert.h>

#include <string.h>

#define SHORT_NS     (200 * 1000000ull)
#define CRC_NS       (20 * 1000000ull)
#define COMMIT_NS    (500 * 1000000ull)
#define STREAM_BYTES (512ull << 20)

static const uint32_t ring_batch[] = {1, 16, 64, 256};
static const uint32_t crc_bytes[] = {64, 256, 1024, 4096};
static const uint32_t depth[] = {1, 4, 8};

struct table {
    struct mr_measure pingpong_p50, pingpong_p99, relay_p50, relay, ring[MR_COUNT_OF(ring_batch)], copy, crc[MR_COUNT_OF(crc_bytes)];
    struct mr_measure commit_p50, commit_p99, stream[MR_COUNT_OF(depth)], sustained[MR_COUNT_OF(depth)];
};

static void name_all(struct table *table)
{
    static const char *const ring_name[] = {"ring.batch_1", "ring.batch_16", "ring.batch_64", "ring.batch_256"};
    static const char *const crc_name[] = {"crc32c.64", "crc32c.256", "crc32c.1024", "crc32c.4096"};
    static const char *const stream_name[] = {"disk.stream_1m.depth_1", "disk.stream_1m.depth_4", "disk.stream_1m.depth_8"};
    static const char *const sustained_name[] = {"disk.sustained.depth_1", "disk.sustained.depth_4", "disk.sustained.depth_8"};
    static const struct {
        size_t at;
        const char *name, *unit;
    } single[] = {
        {offsetof(struct table, pingpong_p50), "pingpong.p50", "ns"},       {offsetof(struct table, pingpong_p99), "pingpong.p99", "ns"},
        {offsetof(struct table, relay_p50), "relay.p50", "ns"},             {offsetof(struct table, relay), "relay.batch_64", "records/s"},
        {offsetof(struct table, commit_p50), "disk.commit_4k.p50", "ns"},   {offsetof(struct table, commit_p99), "disk.commit_4k.p99", "ns"},
    };

    for (size_t i = 0; i < MR_COUNT_OF(single); i++) {
        struct mr_measure *measure = (struct mr_measure *)(void *)((char *)table + single[i].at);
        measure->name = single[i].name;
        measure->unit = single[i].unit;
    }
    for (size_t i = 0; i < MR_COUNT_OF(ring_batch); i++) {
        table->ring[i].name = ring_name[i];
        table->ring[i].unit = "records/s";
    }
    for (size_t i = 0; i < MR_COUNT_OF(crc_bytes); i++) {
        table->crc[i].name = crc_name[i];
        table->crc[i].unit = "bytes/s";
    }
    for (size_t i = 0; i < MR_COUNT_OF(depth); i++) {
        table->stream[i].name = stream_name[i];
        table->sustained[i].name = sustained_name[i];
        table->stream[i].unit = table->sustained[i].unit = "bytes/s";
    }
    table->copy.unit = "bytes/s";
}

static int run_memory(struct table *table, const struct mr_limits_options *options, struct millrace_error *err)
{
    static struct mr_histogram latency;
    double figure;
    bool huge = false;

    mr_histogram_reset(&latency);
    int rc = mr_limit_pingpong(options->cpus, SHORT_NS, &latency, err);
    mr_series_add(&table->pingpong_p50.value, (double)mr_histogram_percentile(&latency, 50));
    mr_series_add(&table->pingpong_p99.value, (double)mr_histogram_percentile(&latency, 99));
    mr_histogram_reset(&latency);
    if (rc == 0)
        rc = mr_limit_relay_latency(options->cpus, SHORT_NS, &latency, err);
    mr_series_add(&table->relay_p50.value, (double)mr_histogram_percentile(&latency, 50));
    if (rc == 0)
        rc = mr_limit_relay(options->cpus, 64, SHORT_NS, &figure, err);
    if (rc == 0)
        mr_series_add(&table->relay.value, figure);
    for (size_t i = 0; rc == 0 && i < MR_COUNT_OF(ring_batch); i++) {
        rc = mr_limit_ring(options->cpus, ring_batch[i], SHORT_NS, &figure, err);
        if (rc == 0)
            mr_series_add(&table->ring[i].value, figure);
    }
    if (rc == 0)
        rc = mr_limit_memcpy(&figure, &huge, err);
    if (rc != 0)
        return rc;
    mr_series_add(&table->copy.value, figure);
    table->copy.name = huge ? "memcpy.64m.pages_2m" : "memcpy.64m.pages_4k";
    for (size_t i = 0; i < MR_COUNT_OF(crc_bytes); i++)
        mr_series_add(&table->crc[i].value, mr_limit_crc32c(crc_bytes[i], CRC_NS));
    return 0;
}

static int run_disk(struct table *table, const struct mr_limits_options *options, struct millrace_error *err)
{
    static struct mr_histogram latency;
    double figure;

    mr_histogram_reset(&latency);
    int rc = mr_limit_disk_commit(options->directory, COMMIT_NS, &latency, err);
    mr_series_add(&table->commit_p50.value, (double)mr_histogram_percentile(&latency, 50));
    mr_series_add(&table->commit_p99.value, (double)mr_histogram_percentile(&latency, 99));
    for (size_t i = 0; rc == 0 && i < MR_COUNT_OF(depth); i++) {
        struct mr_limit_stream stream = mr_limit_stream_preallocated(depth[i], STREAM_BYTES);
        rc = mr_limit_disk_stream(options->directory, &stream, &figure, err);
        if (rc == 0)
            mr_series_add(&table->stream[i].value, figure);
    }
    for (size_t i = 0; rc == 0 && options->sustained_ns > 0 && i < MR_COUNT_OF(depth); i++) {
        struct mr_limit_stream stream = mr_limit_stream_sustained(depth[i], options->keep_bytes, options->sustained_ns);
        rc = mr_limit_disk_stream(options->directory, &stream, &figure, err);
        if (rc == 0)
            mr_series_add(&table->sustained[i].value, figure);
    }
    return rc;
}

int mr_limits_run(const struct mr_limits_options *options, void (*print)(void *context, const struct mr_measure *measure), void *context,
                  struct millrace_error *err)
{
    static struct table table;
    const struct mr_measure *all = (const struct mr_measure *)(const void *)&table;
    int rc = 0;

    static_assert(sizeof(struct table) % sizeof(struct mr_measure) == 0, "a table is nothing but measures");
    memset(&table, 0, sizeof table);
    name_all(&table);
    for (uint32_t run = 0; rc == 0 && run < options->runs; run++) {
        rc = run_memory(&table, options, err);
        if (rc == 0 && !options->no_disk)
            rc = run_disk(&table, options, err);
    }
    for (size_t i = 0; rc == 0 && i < sizeof table / sizeof *all; i++) {
        if (all[i].value.count > 0)
            print(context, &all[i]);
    }
    return rc;
}
