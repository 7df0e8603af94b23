/* SPDX-License-Identifier: Apache-2.0 */
/* Durable topics: one record at a time, as a program that waits for each; a stream; and a steady rate spread over many partitions beside
 * the same rate on one, which is what group commit is for. */
#include "bench/workloads/bed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/atomics.h"

#define SIZE          64u
#define STREAM_SIZE   1024u
#define STREAM_BATCH  16u
#define PARTITIONS    1000u
#define WIDE_RATE     10000u
#define DEPTH         4u
#define LIMIT_NS      (500 * 1000000ull)
#define STREAM_LIMIT  (512ull << 20)
#define SILENCE_NS    (10 * 1000000000ull)
#define LOOK_EVERY    16u

static void add_latency(const struct mr_workload_options *options, const struct mr_histogram *latency)
{
    if (options->latency != NULL)
        mr_histogram_merge(options->latency, latency);
}

/* --------------------------------------------------------------------------------------------------------------- one at a time */

static int ack_run(struct mr_bench_bed *bed, struct mr_histogram *latency, struct millrace_error *err)
{
    struct mr_bench_sender *sender = &bed->sender;
    uint64_t now = mr_measure_now_ns(), end = now + bed->options->duration_ns;

    mr_bench_bed_restart(bed);
    mr_bench_cost_begin(bed);
    while (now < end && !mr_bench_stopped(bed->options)) {
        uint64_t start = now;
        if (!mr_bench_send(sender, 1))
            break;
        while (mr_bench_collect(sender) == 0 && sender->error == 0) {
            mr_cpu_relax();
            if ((now = mr_measure_now_ns()) - start > SILENCE_NS)
                return mr_err(err, ETIMEDOUT, "a record was not acknowledged within 10 s: look at the node's log");
        }
        now = mr_measure_now_ns();
        mr_histogram_record(latency, now - start);
    }
    mr_bench_cost_end(bed, sender->sent);
    int rc = mr_bench_sender_finish(sender, err);
    return rc != 0 ? rc : mr_bench_read_all(&bed->reader, sender->sent, err);
}

static int ack(const struct mr_workload_options *options, struct millrace_error *err)
{
    static struct mr_histogram latency, limit;
    struct mr_measure p50 = {.name = "disk.ack.p50", .unit = "ns", .limit_name = "O_DIRECT+DSYNC 4 KiB p50"};
    struct mr_measure p99 = {.name = "disk.ack.p99", .unit = "ns", .limit_name = "O_DIRECT+DSYNC 4 KiB p99"};
    struct mr_bench_bed_options wanted = {.durability = "disk", .partitions = 1, .lanes = 1,
                                          .value_bytes = options->size != 0 ? options->size : SIZE, .ring_bytes = options->ring_bytes};
    struct mr_bench_bed bed;

    int rc = mr_bench_bed_open(&bed, options, &wanted, err);
    for (uint32_t i = 0; rc == 0 && i < options->runs; i++) {
        mr_histogram_reset(&limit);
        mr_histogram_reset(&latency);
        mr_bench_node_pause(&options->node);
        rc = mr_limit_disk_commit(options->directory, LIMIT_NS, &limit, err);
        mr_bench_node_resume(&options->node);
        if (rc == 0)
            rc = ack_run(&bed, &latency, err);
        mr_series_add(&p50.value, (double)mr_histogram_percentile(&latency, 50));
        mr_series_add(&p99.value, (double)mr_histogram_percentile(&latency, 99));
        mr_series_add(&p50.limit, (double)mr_histogram_percentile(&limit, 50));
        mr_series_add(&p99.limit, (double)mr_histogram_percentile(&limit, 99));
        add_latency(options, &latency);
        if (rc == 0 && mr_bench_stopped(options))
            rc = -EINTR;
    }
    if (rc == 0) {
        options->print(options->context, &p50);
        options->print(options->context, &p99);
        mr_bench_cost_print(&bed);
    }
    mr_bench_bed_release(&bed);
    return rc;
}

/* -------------------------------------------------------------------------------------------------------------------- a stream */

static int stream_run(struct mr_bench_bed *bed, uint32_t batch, double *bytes_per_second, struct millrace_error *err)
{
    struct mr_bench_sender *sender = &bed->sender;

    mr_bench_bed_restart(bed);
    uint64_t start = mr_measure_now_ns(), now = start;
    for (uint32_t n = 1; now - start < bed->options->duration_ns && mr_bench_send(sender, batch); n++) {
        if (n % LOOK_EVERY == 0) {
            mr_bench_collect(sender);
            now = mr_measure_now_ns();
        }
    }
    int rc = mr_bench_sender_finish(sender, err);
    *bytes_per_second = (double)sender->acked * sender->value_bytes * 1e9 / (double)(mr_measure_now_ns() - start);
    if (rc == 0)
        rc = mr_bench_read_all(&bed->reader, sender->sent, err);
    mr_bench_node_settle(&bed->options->node);
    return rc;
}

static int stream(const struct mr_workload_options *options, struct millrace_error *err)
{
    struct mr_measure rate = {.name = "disk.stream", .unit = "bytes/s", .limit_name = "DSYNC writes of 1 MiB"};
    struct mr_limit_stream files = mr_limit_stream_preallocated(options->depth != 0 ? options->depth : DEPTH, STREAM_LIMIT);
    struct mr_bench_bed_options wanted = {.durability = "disk", .partitions = 1, .lanes = 1,
                                          .value_bytes = options->size != 0 ? options->size : STREAM_SIZE, .ring_bytes = options->ring_bytes};
    struct mr_bench_bed bed;
    double figure = 0;

    int rc = mr_bench_bed_open(&bed, options, &wanted, err);
    for (uint32_t i = 0; rc == 0 && i < options->runs; i++) {
        mr_bench_node_pause(&options->node);
        rc = mr_limit_disk_stream(options->directory, &files, &figure, err);
        mr_bench_node_resume(&options->node);
        mr_series_add(&rate.limit, figure);
        if (rc == 0)
            rc = stream_run(&bed, options->batch != 0 ? options->batch : STREAM_BATCH, &figure, err);
        mr_series_add(&rate.value, figure);
        if (rc == 0 && mr_bench_stopped(options))
            rc = -EINTR;
    }
    if (rc == 0)
        options->print(options->context, &rate);
    mr_bench_bed_release(&bed);
    return rc;
}

/* ------------------------------------------------------------------------------------------------------------- many partitions */

struct spread {
    uint32_t partitions;
    uint64_t *base; /* sequence of the run's first record, by partition */
    uint64_t start_ns;
    double interval_ns;
};

static void note_acks(struct mr_bench_bed *bed, const struct spread *spread, struct mr_histogram *latency)
{
    struct mr_bench_sender *sender = &bed->sender;
    struct millrace_ack acks[64];

    int count = millrace_producer_poll_acks(sender->producer, acks, 64);
    uint64_t now = mr_measure_now_ns();
    if (count < 0 && sender->error == 0)
        sender->error = count;
    for (int i = 0; i < count; i++) {
        if (acks[i].error != 0) {
            sender->error = acks[i].error;
            sender->wrong += acks[i].count;
            continue;
        }
        for (uint64_t n = 0; n < acks[i].count; n++) { /* record k went to partition k mod partitions */
            uint64_t k = (acks[i].first_sequence + n - spread->base[acks[i].partition]) * spread->partitions + (uint32_t)acks[i].partition;
            uint64_t due_ns = spread->start_ns + (uint64_t)((double)k * spread->interval_ns);
            mr_histogram_record(latency, now > due_ns ? now - due_ns : 0);
        }
        sender->acked += acks[i].count;
    }
}

static int spread_run(struct mr_bench_bed *bed, struct spread *spread, struct mr_histogram *latency, struct millrace_error *err)
{
    struct mr_bench_sender *sender = &bed->sender;
    uint64_t sequence, records = (uint64_t)((double)bed->options->duration_ns / spread->interval_ns), heard_ns;

    mr_bench_bed_restart(bed);
    heard_ns = spread->start_ns = mr_measure_now_ns();
    while (sender->acked < records && sender->error == 0) {
        uint64_t now = mr_measure_now_ns(), k = sender->sent;
        if (k < records && now >= spread->start_ns + (uint64_t)((double)k * spread->interval_ns)) {
            uint64_t partition = k % spread->partitions;
            if (!mr_bench_send_to(sender, (int32_t)partition, partition << MR_VALUE_LANE_SHIFT | k / spread->partitions, &sequence)) {
                if (sender->error != -EAGAIN)
                    break;
                sender->error = 0; /* full: it is sent late, and its latency says so */
            } else if (k < spread->partitions) {
                spread->base[partition] = sequence;
            }
        }
        uint64_t acked = sender->acked;
        note_acks(bed, spread, latency);
        if (sender->acked != acked)
            heard_ns = now;
        else if (now - heard_ns > SILENCE_NS)
            return mr_err(err, ETIMEDOUT, "%llu of %llu records were not acknowledged: look at the node's log",
                          (unsigned long long)(sender->sent - sender->acked), (unsigned long long)sender->sent);
    }
    if (sender->error != 0)
        return mr_err(err, -sender->error, "a record was refused: %s; look at the node's log", strerror(-sender->error));
    return mr_bench_read_all(&bed->reader, sender->sent, err);
}

static int spread_one(struct mr_bench_bed *bed, uint32_t partitions, uint64_t rate, struct mr_series *p50, struct millrace_error *err)
{
    static struct mr_histogram latency;
    struct spread spread = {.partitions = partitions, .interval_ns = 1e9 / (double)rate};

    spread.base = calloc(partitions, sizeof spread.base[0]);
    if (spread.base == NULL)
        return mr_err(err, ENOMEM, "no memory for %u partitions", partitions);
    mr_histogram_reset(&latency);
    int rc = spread_run(bed, &spread, &latency, err);
    free(spread.base);
    mr_series_add(p50, (double)mr_histogram_percentile(&latency, 50));
    return rc;
}

static int wide(const struct mr_workload_options *options, struct millrace_error *err)
{
    struct mr_measure p50 = {.name = "disk.partitions.ack.p50", .unit = "ns", .limit_name = "the same on one partition"};
    uint32_t partitions = options->partitions != 0 ? options->partitions : PARTITIONS;
    uint64_t rate = options->rate != 0 ? options->rate : WIDE_RATE;
    struct mr_bench_bed_options one = {.durability = "disk", .partitions = 1, .lanes = 1, .value_bytes = SIZE};
    struct mr_bench_bed_options many = {.durability = "disk", .partitions = partitions, .lanes = partitions, .value_bytes = SIZE};
    struct mr_bench_bed narrow = {0}, broad = {0};

    if (partitions < 2 || partitions > MR_VALUE_LANES_MAX)
        return mr_err(err, EINVAL, "--partitions %u: it must be 2 to %u", partitions, MR_VALUE_LANES_MAX);
    int rc = mr_bench_bed_open(&narrow, options, &one, err);
    if (rc == 0)
        rc = mr_bench_bed_open(&broad, options, &many, err);
    if (rc == 0) { /* files come into being with the first append: not what is measured here */
        struct mr_series unused = {0};
        rc = spread_one(&broad, partitions, rate, &unused, err);
    }
    for (uint32_t i = 0; rc == 0 && i < options->runs; i++) {
        rc = spread_one(&narrow, 1, rate, &p50.limit, err);
        if (rc == 0)
            rc = spread_one(&broad, partitions, rate, &p50.value, err);
        if (rc == 0 && mr_bench_stopped(options))
            rc = -EINTR;
    }
    if (rc == 0)
        options->print(options->context, &p50);
    mr_bench_bed_release(&broad);
    mr_bench_bed_release(&narrow);
    return rc;
}

int mr_workload_disk(const struct mr_workload_options *options, struct millrace_error *err)
{
    int rc = ack(options, err);
    if (rc == 0)
        rc = stream(options, err);
    if (rc == 0)
        rc = wide(options, err);
    return rc;
}
