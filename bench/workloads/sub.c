/* SPDX-License-Identifier: Apache-2.0 */
/* Reading in place: the same hot tail again and again, from its first record to its last, every record checked.
 * A tail is what is still in memory: it is read right after it was written, and one more batch is published before each pass. */
#include "bench/workloads/bed.h"

#include <errno.h>


#define SIZE       64u
#define BATCH      64u
#define TAIL_BYTES (1ull << 30) /* values; with what a batch adds, within what a partition keeps in memory */
#define LIMIT_NS   (300 * 1000000ull)

/* @param skip sequence of the tail's first record; record 0 of the warm-up is at offset `first` */
static int run(struct mr_bench_bed *bed, uint64_t first, uint64_t skip, uint32_t batch, uint64_t *total, double *per_second, struct millrace_error *err)
{
    const struct mr_workload_options *options = bed->options;
    uint64_t start = mr_measure_now_ns(), now = start;
    int rc;

    *total = 0;
    do {
        mr_bench_reader_restart(&bed->reader, bed->sender.key);
        bed->reader.next[0] = skip;
        rc = millrace_consumer_seek_offset(bed->reader.consumer, 0, first + skip);
        if (rc != 0)
            return mr_err(err, -rc, "cannot go back to the start of the tail of topic '%s'", bed->topic);
        (void)mr_bench_send(&bed->sender, batch);
        rc = mr_bench_sender_finish(&bed->sender, err);
        if (rc == 0)
            rc = mr_bench_read_all(&bed->reader, bed->sender.sent - skip, err);
        if (rc != 0)
            return rc;
        if (bed->reader.skipped > 0)
            return mr_err(err, ERANGE, "retention removed the tail while it was read: start the node with log.retention.bytes of at least 4 GiB");
        *total += bed->reader.received;
        now = mr_measure_now_ns();
        if (mr_bench_stopped(options))
            return -EINTR;
    } while (now - start < options->duration_ns);
    *per_second = (double)*total * 1e9 / (double)(now - start);
    return 0;
}

int mr_workload_sub(const struct mr_workload_options *options, struct millrace_error *err)
{
    struct mr_measure rate = {.name = "sub.records", .unit = "records/s"};
    struct mr_bench_bed_options wanted = {.durability = "leader", .partitions = 1, .lanes = 1,
                                          .value_bytes = options->size != 0 ? options->size : SIZE, .ring_bytes = options->ring_bytes};
    uint32_t batch = options->batch != 0 ? options->batch : BATCH;
    struct mr_bench_bed bed;
    char limit_name[32];
    uint64_t first = 0, total = 0;
    double figure = 0;

    snprintf(limit_name, sizeof limit_name, "bare ring at %u", batch);
    rate.limit_name = limit_name;
    int rc = mr_bench_bed_open(&bed, options, &wanted, err);
    if (rc == 0)
        rc = millrace_consumer_position(bed.reader.consumer, 0, &first, NULL, NULL);
    if (rc == 0)
        rc = mr_bench_warm_up(&bed, batch, err);
    uint64_t tail = TAIL_BYTES / wanted.value_bytes, skip = bed.sender.sent > tail ? bed.sender.sent - tail : 0;
    for (uint32_t i = 0; rc == 0 && i < options->runs; i++) {
        mr_bench_node_pause(&options->node);
        rc = mr_limit_ring(options->cpus, batch, LIMIT_NS, &figure, err);
        mr_bench_node_resume(&options->node);
        mr_series_add(&rate.limit, figure);
        mr_bench_cost_begin(&bed);
        if (rc == 0)
            rc = run(&bed, first, skip, batch, &total, &figure, err);
        mr_bench_cost_end(&bed, total);
        mr_series_add(&rate.value, figure);
    }
    if (rc == 0) {
        options->print(options->context, &rate);
        mr_bench_cost_print(&bed);
    }
    mr_bench_bed_release(&bed);
    return rc;
}
