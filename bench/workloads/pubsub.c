/* SPDX-License-Identifier: Apache-2.0 */
/* Publishing and reading at the same time, in one thread, as a stage of a pipeline. Sustained, the disk must take it all: the figure is then
 * bytes of log a second, beside the same disk preparing, writing and deleting such files by itself. */
#include "bench/workloads/bed.h"
#include "bench/workloads/pairing.h"

#include <errno.h>

#define SIZE       64u
#define BATCH      64u
#define AHEAD_MAX  (1u << 18) /* records published and not yet read: within the hot tail */
#define LOOK_EVERY 64u

/* What a record takes in the log at least: five one-byte fields, a two-byte offset in its batch, and its length and the value's as varints. */
static uint32_t log_bytes(uint32_t value_bytes)
{
    return 7 + 2 * (value_bytes < 64 ? 1 : value_bytes < 8192 ? 2 : 3) + value_bytes;
}

static int run(struct mr_bench_bed *bed, uint32_t batch, double *per_second, struct millrace_error *err)
{
    const struct mr_workload_options *options = bed->options;
    struct mr_bench_sender *sender = &bed->sender;
    struct mr_bench_reader *reader = &bed->reader;

    mr_bench_bed_restart(bed);
    mr_bench_cost_begin(bed);
    uint64_t start = mr_measure_now_ns(), now = start, end = start + options->duration_ns;
    for (uint32_t n = 1; now < end && sender->error == 0 && reader->error == 0; n++) {
        if (sender->sent - reader->received < AHEAD_MAX)
            (void)mr_bench_send(sender, batch);
        mr_bench_read(reader, 0);
        if (n % LOOK_EVERY == 0) {
            mr_bench_collect(sender);
            now = mr_measure_now_ns();
            if (mr_bench_stopped(options))
                return -EINTR;
        }
    }
    int rc = mr_bench_sender_finish(sender, err);
    if (rc == 0)
        rc = mr_bench_read_all(reader, sender->sent, err);
    uint64_t taken_ns = mr_measure_now_ns() - start;
    mr_bench_cost_end(bed, sender->sent);
    *per_second = (double)reader->received * 1e9 / (double)taken_ns;
    return rc;
}

/* @param relay of the bare relay, unless sustained */
static int limit(const struct mr_workload_options *options, uint32_t batch, double *figure, double *relay, struct millrace_error *err)
{
    mr_bench_node_pause(&options->node);
    int rc;
    if (options->sustained) {
        struct mr_limit_stream stream = mr_limit_stream_sustained(options->depth, options->keep_bytes, options->duration_ns);
        rc = mr_limit_disk_stream(options->directory, &stream, figure, err);
    } else {
        rc = mr_limit_ring(options->cpus, batch, mr_bench_limit_ns(options), figure, err);
        if (rc == 0)
            rc = mr_limit_relay(options->cpus, batch, mr_bench_limit_ns(options), relay, err);
    }
    mr_bench_node_resume(&options->node);
    return rc;
}

int mr_workload_pubsub(const struct mr_workload_options *options, struct millrace_error *err)
{
    struct mr_measure records = {.name = "pubsub.records", .unit = "records/s"}, bytes = {.name = "pubsub.sustained", .unit = "bytes/s"};
    struct mr_measure bare = {.name = "pubsub.bare_relay", .unit = "records/s"};
    uint32_t size = options->size != 0 ? options->size : SIZE, batch = options->batch != 0 ? options->batch : BATCH;
    struct mr_bench_bed_options wanted = {.durability = "leader", .partitions = 1, .lanes = 1, .value_bytes = size,
                                          .ring_bytes = options->ring_bytes};
    struct mr_bench_pairing pairing;
    struct mr_bench_bed bed;
    char limit_name[32];
    double figure = 0, relay = 0;

    snprintf(limit_name, sizeof limit_name, "bare ring at %u", batch);
    if (options->sustained)
        bytes.limit_name = "files prepared, written and deleted";
    else
        records.limit_name = bare.limit_name = limit_name;
    int rc = mr_bench_bed_open(&bed, options, &wanted, err);
    if (rc == 0 && !options->sustained)
        rc = mr_bench_warm_up(&bed, batch, err);
    mr_bench_pairing_init(&pairing, options, !options->sustained);
    while (rc == 0 && mr_bench_pair_begin(&pairing, &rc, err)) {
        rc = limit(options, batch, &figure, &relay, err);
        mr_series_add(options->sustained ? &bytes.limit : &records.limit, figure);
        if (!options->sustained) {
            mr_series_add(&bare.limit, figure);
            mr_series_add(&bare.value, relay);
        }
        if (rc == 0)
            rc = mr_bench_pair_look(&pairing, err);
        if (rc == 0)
            rc = run(&bed, batch, &figure, err);
        if (rc == 0)
            rc = mr_bench_pair_end(&pairing, err);
        mr_series_add(&records.value, figure);
        mr_series_add(&bytes.value, figure * log_bytes(size));
        mr_bench_node_settle(&options->node);
    }
    if (rc == 0) {
        mr_bench_pair_print(&pairing, &records);
        if (options->sustained)
            options->print(options->context, &bytes);
        else
            mr_bench_pair_print(&pairing, &bare);
        mr_bench_cost_print(&bed);
    }
    mr_bench_bed_release(&bed);
    return rc;
}
