/* SPDX-License-Identifier: Apache-2.0 */
/* Reading in place: the same hot tail again and again, from its first record to its last, every record checked.
 * A tail is what is still in memory: it is read right after it was written, and one more batch is published before each pass. */
#include "bench/workloads/bed.h"
#include "bench/workloads/pairing.h"

#include <errno.h>

#define SIZE       64u
#define BATCH      64u
#define TAIL_BYTES (1ull << 30) /* values; with what a batch adds, within what a partition keeps in memory */
#define LOOK_EVERY 256u /* polls between two looks at the clock */
#define SILENT_MAX 100000000u /* polls in a row that find nothing: what was acknowledged is there */

struct tail {
    uint64_t first; /* offset of the warm-up's record 0 */
    uint64_t skip;  /* sequence of the tail's first record */
    uint32_t batch;
};

/* One batch more, and back to the start of the tail, which has been read to its end. */
static int pass_begin(struct mr_bench_bed *bed, const struct tail *tail, struct millrace_error *err)
{
    mr_bench_reader_restart(&bed->reader, bed->sender.key);
    bed->reader.next[0] = tail->skip;
    int rc = millrace_consumer_seek_offset(bed->reader.consumer, 0, tail->first + tail->skip);
    if (rc != 0)
        return mr_err(err, -rc, "cannot go back to the start of the tail of topic '%s'", bed->topic);
    (void)mr_bench_send(&bed->sender, tail->batch);
    return mr_bench_sender_finish(&bed->sender, err);
}

static int pass_end(struct mr_bench_bed *bed, const struct tail *tail, struct millrace_error *err)
{
    if (bed->reader.skipped > 0)
        return mr_err(err, ERANGE, "retention removed the tail while it was read: start the node with log.retention.bytes of at least 4 GiB");
    return mr_bench_reader_verdict(&bed->reader, bed->sender.sent - tail->skip, err);
}

/* Read for a while. A run that is shorter than the tail goes on where the one before it stopped. */
static int run(struct mr_bench_bed *bed, const struct tail *tail, uint64_t *total, double *per_second, struct millrace_error *err)
{
    const struct mr_workload_options *options = bed->options;
    uint64_t start = mr_measure_now_ns(), now = start;
    uint32_t silent = 0;
    int rc = 0;

    *total = 0;
    for (uint32_t n = 1; now - start < options->duration_ns; n++) {
        uint32_t count = mr_bench_read(&bed->reader, 0);
        *total += count;
        silent = count == 0 ? silent + 1 : 0;
        if (bed->reader.received + bed->reader.skipped >= bed->sender.sent - tail->skip || bed->reader.error != 0 || silent > SILENT_MAX) {
            rc = pass_end(bed, tail, err);
            if (rc == 0)
                rc = pass_begin(bed, tail, err);
            if (rc != 0)
                return rc;
        }
        if (n % LOOK_EVERY == 0) {
            now = mr_measure_now_ns();
            if (mr_bench_stopped(options))
                return -EINTR;
        }
    }
    *per_second = (double)*total * 1e9 / (double)(now - start);
    return 0;
}

int mr_workload_sub(const struct mr_workload_options *options, struct millrace_error *err)
{
    struct mr_measure rate = {.name = "sub.records", .unit = "records/s"};
    struct mr_bench_bed_options wanted = {.durability = "leader", .partitions = 1, .lanes = 1,
                                          .value_bytes = options->size != 0 ? options->size : SIZE, .ring_bytes = options->ring_bytes};
    uint32_t batch = options->batch != 0 ? options->batch : BATCH;
    struct tail tail = {.batch = batch};
    struct mr_bench_pairing pairing;
    struct mr_bench_bed bed;
    char limit_name[32];
    uint64_t total = 0;
    double figure = 0;

    snprintf(limit_name, sizeof limit_name, "bare ring at %u", batch);
    rate.limit_name = limit_name;
    int rc = mr_bench_bed_open(&bed, options, &wanted, err);
    if (rc == 0)
        rc = millrace_consumer_position(bed.reader.consumer, 0, &tail.first, NULL, NULL);
    if (rc == 0)
        rc = mr_bench_warm_up(&bed, batch, err);
    uint64_t records = TAIL_BYTES / wanted.value_bytes;
    tail.skip = bed.sender.sent > records ? bed.sender.sent - records : 0;
    if (rc == 0)
        rc = pass_begin(&bed, &tail, err);
    mr_bench_pairing_init(&pairing, options, true);
    while (rc == 0 && mr_bench_pair_begin(&pairing, &rc, err)) {
        mr_bench_node_pause(&options->node);
        rc = mr_limit_ring(options->cpus, batch, mr_bench_limit_ns(options), &figure, err);
        mr_bench_node_resume(&options->node);
        mr_series_add(&rate.limit, figure);
        if (rc == 0)
            rc = mr_bench_pair_look(&pairing, err);
        mr_bench_cost_begin(&bed);
        if (rc == 0)
            rc = run(&bed, &tail, &total, &figure, err);
        mr_bench_cost_end(&bed, total);
        mr_series_add(&rate.value, figure);
        if (rc == 0)
            rc = mr_bench_pair_end(&pairing, err);
    }
    if (rc == 0) /* also the part of the tail that was begun last */
        rc = mr_bench_read_all(&bed.reader, bed.sender.sent - tail.skip, err);
    if (rc == 0) {
        mr_bench_pair_print(&pairing, &rate);
        mr_bench_cost_print(&bed);
    }
    mr_bench_bed_release(&bed);
    return rc;
}
