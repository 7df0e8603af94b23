/* SPDX-License-Identifier: Apache-2.0 */
/* Publishing as fast as it goes, by one thread or by several, each with its own session. What was acknowledged is read and checked after the
 * clock has stopped. With several producers all share the client's core, as programs on a small host would. */
#include "bench/workloads/bed.h"
#include "bench/workloads/pairing.h"
#include "shm/base/bits.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SIZE           64u
#define BATCH          64u
#define PRODUCERS_MAX  64u
#define LOOK_EVERY     16u /* batches between two looks at the clock */

/* Publish for a while; all of it acknowledged. @param taken_ns until the last ack */
static int publish(struct mr_bench_sender *sender, const struct mr_workload_options *options, uint32_t batch, uint64_t rate,
                   struct mr_histogram *latency, uint64_t *taken_ns, struct millrace_error *err)
{
    uint64_t start = mr_measure_now_ns(), now = start, end = start + options->duration_ns;
    double interval_ns = rate != 0 ? 1e9 / (double)rate : 0;

    for (uint32_t n = 1; now < end && sender->error == 0; n++) {
        if (rate == 0) {
            if (!mr_bench_send(sender, batch))
                break;
            if (n % LOOK_EVERY == 0) {
                mr_bench_collect(sender);
                now = mr_measure_now_ns();
            }
            continue;
        }
        uint64_t due_ns = start + (uint64_t)((double)(sender->sent + batch - 1) * interval_ns); /* when the last of the batch is there */
        if (now >= due_ns && due_ns < end && !mr_bench_send(sender, batch))
            break;
        uint64_t first = sender->acked;
        mr_bench_collect(sender);
        now = mr_measure_now_ns();
        for (uint64_t k = first; k < sender->acked; k++) {
            uint64_t from_ns = start + (uint64_t)((double)k * interval_ns);
            mr_histogram_record(latency, now > from_ns ? now - from_ns : 0);
        }
        if (due_ns >= end && sender->acked == sender->sent)
            break;
    }
    int rc = mr_bench_sender_finish(sender, err);
    *taken_ns = mr_measure_now_ns() - start;
    return rc;
}

static int check(struct mr_bench_bed *bed, uint64_t sent, struct millrace_error *err)
{
    int rc = mr_bench_read_all(&bed->reader, sent, err);
    mr_bench_node_settle(&bed->options->node);
    return rc;
}

static int one_run(struct mr_bench_bed *bed, uint32_t batch, struct mr_histogram *latency, double *per_second, struct millrace_error *err)
{
    uint64_t taken_ns = 1;

    mr_bench_bed_restart(bed);
    mr_bench_cost_begin(bed);
    int rc = publish(&bed->sender, bed->options, batch, bed->options->rate, latency, &taken_ns, err);
    mr_bench_cost_end(bed, bed->sender.sent);
    *per_second = (double)bed->sender.acked * 1e9 / (double)taken_ns;
    return rc;
}

/* ------------------------------------------------------------------------------------------------------------- several producers */

struct crowd;

struct member {
    struct crowd *crowd;
    uint32_t lane;
    pthread_t thread;
    int rc;
    uint64_t sent, end_ns;
    struct millrace_error err;
};

struct crowd {
    const struct mr_workload_options *options;
    const char *topic;
    uint32_t value_bytes, batch, ring_bytes;
    uint64_t key;
    pthread_barrier_t ready;
    struct member member[PRODUCERS_MAX];
};

static void *member_thread(void *argument)
{
    struct member *member = argument;
    struct crowd *crowd = member->crowd;
    struct mr_bench_sender_options options = {.topic = crowd->topic, .value_bytes = crowd->value_bytes, .ring_bytes = crowd->ring_bytes,
                                              .key = crowd->key, .lane = member->lane};
    struct mr_bench_sender sender = {0};
    struct millrace_client *client = NULL;
    uint64_t taken_ns;

    member->rc = mr_measure_pin(crowd->options->cpus.near, &member->err);
    if (member->rc == 0)
        member->rc = mr_bench_attach(&crowd->options->node, &client, &member->err);
    if (member->rc == 0)
        member->rc = mr_bench_sender_open(&sender, client, &options, &member->err);
    pthread_barrier_wait(&crowd->ready);
    if (member->rc == 0)
        member->rc = publish(&sender, crowd->options, crowd->batch, 0, NULL, &taken_ns, &member->err);
    member->end_ns = mr_measure_now_ns();
    member->sent = sender.sent;
    mr_bench_sender_release(&sender);
    millrace_detach(client);
    return NULL;
}

/* All members publish for one duration. @param per_second acknowledged, of all, until the last had its last ack */
static int crowd_run(struct mr_bench_bed *bed, struct crowd *crowd, uint32_t count, uint64_t *all_sent, double *per_second,
                     struct millrace_error *err)
{
    uint64_t sent = 0, end_ns = 0;
    uint32_t started = 0;
    int rc = 0;

    mr_bench_bed_restart(bed);
    crowd->key = bed->sender.key;
    if (pthread_barrier_init(&crowd->ready, NULL, count + 1) != 0)
        return mr_err(err, ENOMEM, "cannot start %u producers", count);
    for (; started < count; started++) {
        struct member *member = &crowd->member[started];
        memset(member, 0, sizeof *member);
        member->crowd = crowd;
        member->lane = started;
        rc = pthread_create(&member->thread, NULL, member_thread, member);
        mr_assert(rc == 0); /* threads that wait at the barrier could not be told to give up */
    }
    pthread_barrier_wait(&crowd->ready);
    uint64_t start = mr_measure_now_ns();
    mr_bench_cost_begin(bed);
    for (uint32_t i = 0; i < started; i++) {
        pthread_join(crowd->member[i].thread, NULL);
        sent += crowd->member[i].sent;
        end_ns = mr_max_u64(end_ns, crowd->member[i].end_ns);
        if (crowd->member[i].rc != 0 && rc == 0)
            rc = mr_err(err, crowd->member[i].err.code, "producer %u: %s", i, crowd->member[i].err.text);
    }
    *per_second = end_ns > start ? (double)sent * 1e9 / (double)(end_ns - start) : 0;
    mr_bench_cost_end(bed, sent);
    pthread_barrier_destroy(&crowd->ready);
    *all_sent = sent;
    return rc;
}

static int fan_in(struct mr_bench_bed *bed, uint32_t batch, struct millrace_error *err)
{
    static struct crowd crowd;
    const struct mr_workload_options *options = bed->options;
    struct mr_measure measure = {.name = "pub.fan_in", .unit = "records/s", .limit_name = "one producer"};
    struct mr_bench_pairing pairing;
    double limit = 0, figure = 0;
    uint64_t sent = 0;
    int rc = 0;

    crowd.options = options;
    crowd.topic = bed->topic;
    crowd.value_bytes = bed->sender.value_bytes;
    crowd.batch = batch;
    crowd.ring_bytes = options->ring_bytes;
    mr_bench_pairing_init(&pairing, options, true);
    while (rc == 0 && mr_bench_pair_begin(&pairing, &rc, err)) {
        rc = crowd_run(bed, &crowd, 1, &sent, &limit, err);
        if (rc == 0)
            rc = mr_bench_pair_look(&pairing, err);
        if (rc == 0)
            rc = check(bed, sent, err);
        if (rc == 0)
            rc = crowd_run(bed, &crowd, options->producers, &sent, &figure, err);
        if (rc == 0)
            rc = mr_bench_pair_end(&pairing, err);
        if (rc == 0)
            rc = check(bed, sent, err);
        mr_series_add(&measure.limit, limit);
        mr_series_add(&measure.value, figure);
    }
    if (rc == 0)
        mr_bench_pair_print(&pairing, &measure);
    return rc;
}

static int alone(struct mr_bench_bed *bed, uint32_t batch, struct millrace_error *err)
{
    static struct mr_histogram latency;
    const struct mr_workload_options *options = bed->options;
    struct mr_measure rate = {.name = "pub.records", .unit = "records/s"}, p50 = {.name = "pub.ack.p50", .unit = "ns"};
    struct mr_measure p99 = {.name = "pub.ack.p99", .unit = "ns"};
    struct mr_bench_pairing pairing;
    char limit_name[32];
    double figure = 0;
    int rc = 0;

    snprintf(limit_name, sizeof limit_name, "bare ring at %u", batch);
    if (options->rate == 0)
        rate.limit_name = limit_name;
    mr_bench_pairing_init(&pairing, options, options->rate == 0);
    while (rc == 0 && mr_bench_pair_begin(&pairing, &rc, err)) {
        mr_histogram_reset(&latency);
        if (options->rate == 0) {
            mr_bench_node_pause(&options->node);
            rc = mr_limit_ring(options->cpus, batch, mr_bench_limit_ns(options), &figure, err);
            mr_bench_node_resume(&options->node);
            mr_series_add(&rate.limit, figure);
        }
        if (rc == 0)
            rc = mr_bench_pair_look(&pairing, err);
        if (rc == 0)
            rc = one_run(bed, batch, &latency, &figure, err);
        if (rc == 0)
            rc = mr_bench_pair_end(&pairing, err);
        if (rc == 0)
            rc = check(bed, bed->sender.sent, err);
        mr_series_add(&rate.value, figure);
        mr_series_add(&p50.value, (double)mr_histogram_percentile(&latency, 50));
        mr_series_add(&p99.value, (double)mr_histogram_percentile(&latency, 99));
        if (options->latency != NULL)
            mr_histogram_merge(options->latency, &latency);
    }
    if (rc != 0)
        return rc;
    mr_bench_pair_print(&pairing, &rate);
    if (options->rate != 0) {
        options->print(options->context, &p50);
        options->print(options->context, &p99);
    }
    return 0;
}

int mr_workload_pub(const struct mr_workload_options *options, struct millrace_error *err)
{
    uint32_t producers = options->producers > 1 ? options->producers : 1, batch = options->batch != 0 ? options->batch : BATCH;
    struct mr_bench_bed_options wanted = {.durability = "leader", .partitions = 1, .lanes = producers,
                                          .value_bytes = options->size != 0 ? options->size : SIZE, .ring_bytes = options->ring_bytes};
    struct mr_bench_bed bed;

    if (producers > PRODUCERS_MAX || (producers > 1 && options->rate != 0))
        return mr_err(err, EINVAL, "%u producers%s: --producers 1 to %u, without --rate", producers, options->rate != 0 ? " at a rate" : "",
                      PRODUCERS_MAX);
    int rc = mr_bench_bed_open(&bed, options, &wanted, err);
    if (rc == 0 && options->rate == 0)
        rc = mr_bench_warm_up(&bed, batch, err);
    if (rc == 0)
        rc = producers > 1 ? fan_in(&bed, batch, err) : alone(&bed, batch, err);
    if (rc == 0)
        mr_bench_cost_print(&bed);
    mr_bench_bed_release(&bed);
    return rc;
}
