/* SPDX-License-Identifier: Apache-2.0 */
/* Round trip: publish, be sequenced, be visible, be read, all in one thread, as a program that waits for its own record. */
#include "bench/workloads/bed.h"
#include "bench/workloads/pairing.h"

#include <errno.h>

#include "shm/base/atomics.h"
#include "shm/base/bits.h"

#define SIZE       64u
#define POLLS      16u /* between two looks at the clock: each look makes a poll later */
#define WARM_UP    2000u
#define WAIT_MS    100 /* how long a client that does not spin sleeps in poll */
#define SILENCE_NS (10 * 1000000000ull)

static void doze(uint64_t ns)
{
    struct timespec pause = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    nanosleep(&pause, NULL); /* a signal ends it early: the run is over anyway */
}

/* @param latency NULL: a warm-up.  One at a time, or as the rate says. Record k is due at start + k * interval; that is where its latency begins. */
static int run(struct mr_bench_bed *bed, uint64_t records_max, uint64_t duration_ns, struct mr_histogram *latency, struct millrace_error *err)
{
    const struct mr_workload_options *options = bed->options;
    struct mr_bench_sender *sender = &bed->sender;
    struct mr_bench_reader *reader = &bed->reader;
    bool open_loop = options->rate != 0, spins = options->node.idle == MILLRACE_IDLE_BUSY;
    double interval_ns = open_loop ? 1e9 / (double)options->rate : 0;
    uint64_t start = mr_measure_now_ns(), now = start, end = start + duration_ns, sent_ns = start, heard_ns = start;

    for (;;) {
        bool more = sender->sent < records_max && now < end;
        uint64_t due_ns = open_loop ? start + (uint64_t)((double)sender->sent * interval_ns) : now;
        if (more && (open_loop ? now >= due_ns && due_ns < end : reader->received == sender->sent)) {
            if (options->pause_ns != 0 && latency != NULL)
                doze(options->pause_ns);
            sent_ns = open_loop ? now : mr_measure_now_ns(); /* what was done since `now` is not the record's */
            if (!mr_bench_send(sender, 1))
                break;
        }
        bool wait = !spins && reader->received < sender->sent && (!open_loop || due_ns > now + WAIT_MS * 1000000ull);
        uint64_t first = reader->received;
        uint32_t count = mr_bench_read(reader, wait ? WAIT_MS : 0);
        for (uint32_t n = 0; count == 0 && n < POLLS && reader->received < sender->sent; n++)
            count = mr_bench_read(reader, 0);
        now = mr_measure_now_ns();
        if (count > 0) {
            heard_ns = now;
            for (uint64_t k = first; k < first + count; k++) {
                uint64_t from_ns = open_loop ? start + (uint64_t)((double)k * interval_ns) : sent_ns;
                if (latency != NULL)
                    mr_histogram_record(latency, now > from_ns ? now - from_ns : 0);
            }
            mr_bench_collect(sender);
            if ((reader->received & 4095) == 0 && mr_bench_stopped(options))
                return -EINTR;
            continue;
        }
        if (reader->received == sender->sent && (!more || (open_loop && due_ns >= end)))
            break;
        if (reader->received < sender->sent && now - heard_ns > SILENCE_NS && now - sent_ns > SILENCE_NS)
            break; /* the verdict below says what is missing */
        if (reader->error != 0)
            break;
        mr_cpu_relax();
    }
    int rc = mr_bench_sender_finish(sender, err);
    return rc != 0 ? rc : mr_bench_reader_verdict(reader, sender->sent, err);
}

int mr_workload_ping(const struct mr_workload_options *options, struct millrace_error *err)
{
    static struct mr_histogram latency, limit, relay;
    static const double percent[] = {50, 90, 99, 99.9, 100};
    struct mr_measure measures[] = {
        {.name = "ping.round_trip.p50", .unit = "ns", .limit_name = "ping-pong p50"},
        {.name = "ping.round_trip.p90", .unit = "ns"},
        {.name = "ping.round_trip.p99", .unit = "ns", .limit_name = "ping-pong p99"},
        {.name = "ping.round_trip.p99_9", .unit = "ns"},
        {.name = "ping.round_trip.max", .unit = "ns"},
    };
    struct mr_measure relay_p50 = {.name = "ping.bare_relay.p50", .unit = "ns", .limit_name = "ping-pong p50"};
    struct mr_bench_bed_options wanted = {.durability = "leader", .partitions = 1, .lanes = 1,
                                          .value_bytes = options->size != 0 ? options->size : SIZE, .ring_bytes = options->ring_bytes};
    struct mr_bench_pairing pairing;
    struct mr_bench_bed bed;

    int rc = mr_bench_bed_open(&bed, options, &wanted, err);
    mr_bench_pairing_init(&pairing, options, options->rate == 0 && options->pause_ns == 0);
    for (size_t k = 0; k < MR_COUNT_OF(measures) && options->pause_ns != 0; k++)
        measures[k].limit_name = NULL; /* what a pause costs is no matter of cache lines */
    while (rc == 0 && mr_bench_pair_begin(&pairing, &rc, err)) {
        mr_histogram_reset(&limit);
        mr_histogram_reset(&relay);
        mr_bench_node_pause(&options->node);
        rc = mr_limit_pingpong(options->cpus, mr_bench_limit_ns(options), &limit, err);
        if (rc == 0 && options->pause_ns == 0)
            rc = mr_limit_relay_latency(options->cpus, mr_bench_limit_ns(options), &relay, err);
        mr_bench_node_resume(&options->node);
        if (rc == 0)
            rc = mr_bench_pair_look(&pairing, err);
        mr_bench_bed_restart(&bed);
        if (rc == 0)
            rc = run(&bed, WARM_UP, 1000000000, NULL, err);
        mr_histogram_reset(&latency);
        mr_bench_bed_restart(&bed);
        mr_bench_cost_begin(&bed);
        if (rc == 0)
            rc = run(&bed, UINT64_MAX, options->duration_ns, &latency, err);
        if (rc == 0)
            rc = mr_bench_pair_end(&pairing, err);
        if (rc != 0)
            break;
        mr_bench_cost_end(&bed, bed.sender.sent);
        for (size_t k = 0; k < MR_COUNT_OF(percent); k++) {
            mr_series_add(&measures[k].value, (double)mr_histogram_percentile(&latency, percent[k]));
            if (measures[k].limit_name != NULL)
                mr_series_add(&measures[k].limit, (double)mr_histogram_percentile(&limit, percent[k]));
        }
        mr_series_add(&relay_p50.value, (double)mr_histogram_percentile(&relay, 50));
        mr_series_add(&relay_p50.limit, (double)mr_histogram_percentile(&limit, 50));
        if (options->latency != NULL)
            mr_histogram_merge(options->latency, &latency);
    }
    for (size_t k = 0; rc == 0 && k < MR_COUNT_OF(measures); k++)
        mr_bench_pair_print(&pairing, &measures[k]);
    if (rc == 0 && options->pause_ns == 0)
        mr_bench_pair_print(&pairing, &relay_p50);
    if (rc == 0)
        mr_bench_cost_print(&bed);
    mr_bench_bed_release(&bed);
    return rc;
}
