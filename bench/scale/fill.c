/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes into every partition, a window of partitions at a time, each window's records going round its partitions. */
#include "bench/scale/feed.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define WINDOW 64u

static uint64_t acked;

static void collect(struct millrace_producer *producer)
{
    struct millrace_ack acks[256];
    int got = millrace_producer_poll_acks(producer, acks, 256);

    if (got < 0)
        feed_fail("acks: %s", strerror(-got));
    for (int i = 0; i < got; i++) {
        if (acks[i].error != 0)
            feed_fail("partition %d: a record was refused: %s", acks[i].partition, strerror(-acks[i].error));
        acked += acks[i].count;
    }
}

void feed_fill(const struct feed_options *options)
{
    struct millrace_client *client = feed_attach(options, "feed-fill");
    struct millrace_producer *producer = NULL;
    struct millrace_producer_options how;
    struct millrace_error err;
    uint8_t *value = calloc(1, options->value_bytes);
    uint64_t each = (options->count + options->value_bytes - 1) / options->value_bytes, sent = 0, begin_ns = feed_now_ns();

    millrace_producer_options_init(&how);
    how.ring_bytes = 4u << 20;
    if (value == NULL || client == NULL || millrace_producer_open(&producer, client, options->topic, &how, &err) != 0) {
        if (client != NULL)
            feed_fail("%s", err.text);
        free(value);
        return;
    }
    for (uint32_t first = 0; first < options->partitions && !feed_stop; first += WINDOW)
        for (uint64_t k = 0; k < each && !feed_stop; k++)
            for (uint32_t p = first; p < options->partitions && p < first + WINDOW && !feed_stop;) {
                feed_value_write(value, k, 0, p);
                struct millrace_record record = {.value = value, .value_bytes = options->value_bytes, .partition = (int32_t)p, .timestamp_ms = -1};
                int rc = millrace_producer_publish(producer, &record, 1);
                if (rc == 1) {
                    sent++;
                    p++;
                } else if (rc != -EAGAIN) {
                    feed_fail("publish: %s", strerror(-rc));
                } else {
                    collect(producer);
                    sched_yield();
                }
            }
    for (uint64_t last_ns = feed_now_ns(); acked < sent && !feed_stop;) {
        uint64_t before = acked;
        collect(producer);
        if (acked > before)
            last_ns = feed_now_ns();
        else if (feed_now_ns() - last_ns > 60000000000ull)
            feed_fail("%llu records were not acknowledged", (unsigned long long)(sent - acked));
        else
            sched_yield();
    }
    printf("{\"role\":\"fill\",\"partitions\":%u,\"records\":%llu,\"acked\":%llu,\"seconds\":%.2f}\n", options->partitions, (unsigned long long)sent,
           (unsigned long long)acked, (double)(feed_now_ns() - begin_ns) / 1e9);
    millrace_detach(client);
    free(value);
}
