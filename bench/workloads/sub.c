/* SPDX-License-Identifier: Apache-2.0 */
/* Reading in place: the same hot tail again and again, from its first record to its last, every record checked. */
#include "bench/workloads/bed.h"

#include <errno.h>


#define SIZE       64u
#define BATCH      64u
#define TAIL_BYTES (1ull << 30)
#define LIMIT_NS   (300 * 1000000ull)
#define AHEAD_MAX  (1u << 20) /* records published and not yet read while the tail is filled */

/* Fill the tail, reading along, so that it is known to be right and pages are mapped. @param first offset of its first record */
static int fill(struct mr_bench_bed *bed, uint32_t batch, uint64_t *first, struct millrace_error *err)
{
    uint64_t records = TAIL_BYTES / bed->sender.value_bytes + 1;

    mr_bench_bed_restart(bed);
    int rc = millrace_consumer_position(bed->reader.consumer, 0, first, NULL, NULL);
    if (rc != 0)
        return mr_err(err, -rc, "the position in topic '%s' is not known", bed->topic);
    while (bed->sender.sent < records && bed->sender.error == 0 && bed->reader.error == 0) {
        if (bed->sender.sent - bed->reader.received < AHEAD_MAX)
            (void)mr_bench_send(&bed->sender, batch);
        mr_bench_read(&bed->reader, 0);
        mr_bench_collect(&bed->sender);
    }
    rc = mr_bench_sender_finish(&bed->sender, err);
    return rc != 0 ? rc : mr_bench_read_all(&bed->reader, bed->sender.sent, err);
}

/* Each pass publishes one more batch first: a tail that is being read is one that is being written; an idle one would leave memory. */
static int run(struct mr_bench_bed *bed, uint64_t first, uint32_t batch, uint64_t *total, double *per_second, struct millrace_error *err)
{
    const struct mr_workload_options *options = bed->options;
    uint64_t start = mr_measure_now_ns(), now = start;
    int rc;

    *total = 0;
    do {
        mr_bench_reader_restart(&bed->reader, bed->sender.key);
        rc = millrace_consumer_seek_offset(bed->reader.consumer, 0, first);
        if (rc != 0)
            return mr_err(err, -rc, "cannot go back to the start of the tail of topic '%s'", bed->topic);
        (void)mr_bench_send(&bed->sender, batch);
        rc = mr_bench_sender_finish(&bed->sender, err);
        if (rc == 0)
            rc = mr_bench_read_all(&bed->reader, bed->sender.sent, err);
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
    struct mr_bench_bed_options wanted = {.workload = "sub", .durability = "leader", .partitions = 1, .lanes = 1,
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
        rc = fill(&bed, batch, &first, err);
    if (rc == 0)
        mr_bench_node_settle(&options->node);
    for (uint32_t i = 0; rc == 0 && i < options->runs; i++) {
        mr_bench_node_pause(&options->node);
        rc = mr_limit_ring(options->cpus, batch, LIMIT_NS, &figure, err);
        mr_bench_node_resume(&options->node);
        mr_series_add(&rate.limit, figure);
        mr_bench_cost_begin(&bed);
        if (rc == 0)
            rc = run(&bed, first, batch, &total, &figure, err);
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
