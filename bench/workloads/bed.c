/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/workloads/bed.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define RING_BYTES_MEMORY (1u << 20)
#define RING_BYTES_DISK   (16u << 20)
#define WARM_BYTES        (2ull << 30)
#define WARM_NS           (60 * 1000000000ull)
#define AHEAD_MAX         (1u << 18) /* records published and not yet read */

uint64_t mr_bench_key(void)
{
    static uint64_t count;
    return (mr_measure_now_ns() * 0x9e3779b97f4a7c15u) ^ ((uint64_t)getpid() << 40) ^ ++count;
}

int mr_bench_bed_open(struct mr_bench_bed *bed, const struct mr_workload_options *options, const struct mr_bench_bed_options *wanted,
                      struct millrace_error *err)
{
    const char *durability = options->durability != NULL ? options->durability : wanted->durability;
    struct mr_bench_sender_options sender = {.value_bytes = wanted->value_bytes, .ring_bytes = wanted->ring_bytes};

    memset(bed, 0, sizeof *bed);
    bed->options = options;
    snprintf(bed->topic, sizeof bed->topic, "millrace-bench-%s-%u", durability, wanted->partitions);
    bed->client_cost = (struct mr_measure){.name = "cpu.client", .unit = "CPU-s/M records"};
    bed->daemon_cost = (struct mr_measure){.name = "cpu.daemon", .unit = "CPU-s/M records"};
    if (sender.ring_bytes == 0)
        sender.ring_bytes = strcmp(durability, "disk") == 0 ? RING_BYTES_DISK : RING_BYTES_MEMORY;
    sender.topic = bed->topic;
    int rc = mr_measure_pin(options->cpus.near, err);
    if (rc == 0)
        rc = mr_bench_attach(&options->node, &bed->client, err);
    if (rc == 0)
        rc = mr_bench_topic(bed->client, bed->topic, wanted->partitions, durability, err);
    if (rc == 0)
        rc = mr_bench_sender_open(&bed->sender, bed->client, &sender, err);
    if (rc == 0)
        rc = mr_bench_reader_open(&bed->reader, bed->client, bed->topic, wanted->value_bytes, wanted->lanes, err);
    if (rc != 0)
        mr_err_within(err, "topic '%s'", bed->topic);
    return rc;
}

void mr_bench_bed_release(struct mr_bench_bed *bed)
{
    mr_bench_reader_release(&bed->reader);
    mr_bench_sender_release(&bed->sender);
    millrace_detach(bed->client);
    bed->client = NULL;
}

void mr_bench_bed_restart(struct mr_bench_bed *bed)
{
    uint64_t key = mr_bench_key();
    mr_bench_sender_restart(&bed->sender, key);
    mr_bench_reader_restart(&bed->reader, key);
}

int mr_bench_warm_up(struct mr_bench_bed *bed, uint32_t batch, struct millrace_error *err)
{
    struct mr_bench_sender *sender = &bed->sender;
    uint64_t step = WARM_BYTES / sender->value_bytes, records = step;
    uint64_t end_ns = mr_measure_now_ns() + WARM_NS, memory_bytes = 0;

    mr_bench_bed_restart(bed);
    while (sender->sent < records && sender->error == 0 && bed->reader.error == 0) {
        if (sender->sent - bed->reader.received < AHEAD_MAX)
            (void)mr_bench_send(sender, batch);
        mr_bench_read(&bed->reader, 0);
        mr_bench_collect(sender);
        if (mr_bench_stopped(bed->options))
            return -EINTR;
        if (sender->sent >= records) { /* memory is made more slowly than records are published: go on while it grows */
            uint64_t before = memory_bytes;
            memory_bytes = mr_bench_node_memory(&bed->options->node);
            if (memory_bytes > before && mr_measure_now_ns() < end_ns)
                records += step;
        }
    }
    int rc = mr_bench_sender_finish(sender, err);
    if (rc == 0)
        rc = mr_bench_read_all(&bed->reader, sender->sent, err);
    mr_bench_node_settle(&bed->options->node);
    return rc;
}

void mr_bench_cost_begin(struct mr_bench_bed *bed)
{
    bed->client_cpu = mr_measure_cpu_seconds(0);
    bed->daemon_cpu = bed->options->node.pid > 0 ? mr_measure_cpu_seconds(bed->options->node.pid) : 0;
}

void mr_bench_cost_end(struct mr_bench_bed *bed, uint64_t records)
{
    if (records == 0)
        return;
    mr_series_add(&bed->client_cost.value, (mr_measure_cpu_seconds(0) - bed->client_cpu) * 1e6 / (double)records);
    if (bed->options->node.pid > 0)
        mr_series_add(&bed->daemon_cost.value, (mr_measure_cpu_seconds(bed->options->node.pid) - bed->daemon_cpu) * 1e6 / (double)records);
}

void mr_bench_cost_print(const struct mr_bench_bed *bed)
{
    bed->options->print(bed->options->context, &bed->client_cost);
    if (bed->daemon_cost.value.count > 0)
        bed->options->print(bed->options->context, &bed->daemon_cost);
}
