/* SPDX-License-Identifier: Apache-2.0 */
/* A feed with its readers: one thread publishes in an open loop, another polls the sessions of all readers by turns. Latency counts from the
 * time a record was due, so that a stall is told by all records that it held up. */
#include "bench/scale/feed.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define IN_FLIGHT   (1u << 20) /* records whose due times are remembered until they are acked */
#define POLL_MAX    256u
#define NAP_NS      50000
#define PATIENCE_NS 20000000000ull /* for the last record to be read, and for an ack */

struct reader {
    struct millrace_client *client;
    struct millrace_consumer *consumer;
    uint64_t next[64];
    uint64_t received;
};

static struct {
    const struct feed_options *options;
    uint64_t begin_ns, sent, acked, received_least;
    _Atomic bool published; /* all of it, and acked */
    struct mr_histogram ack, read;
    uint64_t *due_ns; /* by record mod IN_FLIGHT */
} run;

static void nap(uint64_t ns)
{
    struct timespec pause = {.tv_nsec = (long)ns};
    nanosleep(&pause, NULL);
}

/* Records go round the partitions: record k is the (k / partitions)-th of partition k mod partitions. */
static uint64_t collect(struct millrace_producer *producer)
{
    struct millrace_ack acks[64];
    uint64_t now_ns = 0, count = 0, partitions = run.options->partitions;
    int got = millrace_producer_poll_acks(producer, acks, 64);

    if (got < 0)
        feed_fail("acks: %s", strerror(-got));
    for (int i = 0; i < got; i++) {
        if (acks[i].error != 0)
            feed_fail("a record was refused: %s", strerror(-acks[i].error));
        now_ns = now_ns != 0 ? now_ns : feed_now_ns();
        for (uint64_t k = 0; k < acks[i].count; k++) {
            uint64_t due_ns = run.due_ns[((acks[i].first_sequence + k) * partitions + (uint64_t)acks[i].partition) % IN_FLIGHT];
            mr_histogram_record(&run.ack, now_ns > due_ns ? now_ns - due_ns : 0);
        }
        count += acks[i].count;
    }
    run.acked += count;
    return count;
}

static bool publish(struct millrace_producer *producer, uint64_t due_ns)
{
    struct millrace_record_options how;
    struct millrace_slot slot;
    uint32_t partition = (uint32_t)(run.sent % run.options->partitions);

    millrace_record_options_init(&how);
    how.partition = (int32_t)partition;
    if (run.sent - run.acked >= IN_FLIGHT)
        return false;
    int rc = millrace_producer_claim(producer, run.options->value_bytes, &how, &slot);
    if (rc == -EAGAIN)
        return false;
    if (rc != 0) {
        feed_fail("claim: %s", strerror(-rc));
        return false;
    }
    memset(slot.value, 0x5a, slot.value_bytes);
    feed_value_write(slot.value, run.sent / run.options->partitions, due_ns, partition);
    run.due_ns[run.sent % IN_FLIGHT] = due_ns;
    if (millrace_producer_commit(producer, &slot, 1) != 1)
        feed_fail("commit failed");
    run.sent++;
    return true;
}

static void *publisher(void *context)
{
    const struct feed_options *options = run.options;
    struct millrace_client *client = feed_attach(options, "feed-publisher");
    struct millrace_producer *producer = NULL;
    struct millrace_error err;

    (void)context;
    if (client == NULL || millrace_producer_open(&producer, client, options->topic, NULL, &err) != 0) {
        if (client != NULL)
            feed_fail("%s", err.text);
        return NULL;
    }
    run.begin_ns = feed_now_ns();
    uint64_t end_ns = run.begin_ns + (uint64_t)(options->seconds * 1e9);
    while (!feed_stop) {
        uint64_t now_ns = feed_now_ns();
        uint64_t due_ns = options->rate == 0 ? now_ns : run.begin_ns + (uint64_t)((double)run.sent * 1e9 / (double)options->rate);
        if (due_ns >= end_ns)
            break;
        bool done = now_ns >= due_ns && publish(producer, due_ns);
        if (collect(producer) == 0 && !done) {
            if (due_ns > now_ns + NAP_NS)
                nap(NAP_NS / 2);
            else
                sched_yield();
        }
    }
    for (uint64_t last_ns = feed_now_ns(); run.acked < run.sent && !feed_stop;) {
        if (collect(producer) > 0)
            last_ns = feed_now_ns();
        else if (feed_now_ns() - last_ns > PATIENCE_NS)
            feed_fail("%llu records were not acknowledged", (unsigned long long)(run.sent - run.acked));
        else
            sched_yield();
    }
    run.published = true;
    millrace_detach(client);
    return NULL;
}

static bool open_reader(struct reader *reader)
{
    struct millrace_error err;

    reader->client = feed_attach(run.options, "feed-reader");
    if (reader->client == NULL)
        return false;
    if (millrace_consumer_open(&reader->consumer, reader->client, run.options->topic, NULL, &err) != 0) {
        feed_fail("%s", err.text);
        return false;
    }
    return true;
}

static bool read_some(struct reader *reader)
{
    struct millrace_record records[POLL_MAX];
    struct feed_value value;
    int count = millrace_consumer_poll(reader->consumer, records, POLL_MAX, 0);

    if (count < 0)
        feed_fail("poll: %s", strerror(-count));
    if (count <= 0)
        return false;
    uint64_t now_ns = feed_now_ns();
    for (int i = 0; i < count; i++) {
        uint64_t *next = &reader->next[records[i].partition];
        if (!feed_value_read(&records[i], &value) || value.sequence != *next)
            feed_fail("partition %d: record %llu where %llu was due", records[i].partition, (unsigned long long)value.sequence,
                      (unsigned long long)*next);
        (*next)++;
        mr_histogram_record(&run.read, now_ns > value.due_ns ? now_ns - value.due_ns : 0);
    }
    reader->received += (uint64_t)count;
    return true;
}

void feed_steady(const struct feed_options *options)
{
    pthread_t thread;
    struct reader *readers = calloc(options->readers + 1, sizeof *readers);

    run.options = options;
    run.due_ns = malloc(IN_FLIGHT * sizeof *run.due_ns);
    if (readers == NULL || run.due_ns == NULL || options->partitions > 64) {
        feed_fail("steady: no memory, or more than 64 partitions");
        return;
    }
    for (uint32_t i = 0; i < options->readers; i++)
        if (!open_reader(&readers[i]))
            return;
    if (pthread_create(&thread, NULL, publisher, NULL) != 0) {
        feed_fail("no thread");
        return;
    }
    for (uint64_t last_ns = feed_now_ns(); !feed_stop;) {
        bool any = false;
        uint64_t least = UINT64_MAX;
        for (uint32_t i = 0; i < options->readers; i++) {
            any |= read_some(&readers[i]);
            least = readers[i].received < least ? readers[i].received : least;
        }
        run.received_least = options->readers > 0 ? least : 0;
        if (run.published && (options->readers == 0 || least >= run.sent))
            break;
        if (any)
            last_ns = feed_now_ns();
        else if (run.published && feed_now_ns() - last_ns > PATIENCE_NS)
            feed_fail("a reader got %llu of %llu records", (unsigned long long)least, (unsigned long long)run.sent);
        else
            nap(NAP_NS);
    }
    pthread_join(thread, NULL);
    double seconds = (double)(feed_now_ns() - run.begin_ns) / 1e9;
    printf("{\"role\":\"steady\",\"sent\":%llu,\"acked\":%llu,\"received_least\":%llu,\"readers\":%u,\"records_per_s\":%.0f",
           (unsigned long long)run.sent, (unsigned long long)run.acked, (unsigned long long)run.received_least, options->readers,
           (double)run.sent / seconds);
    feed_print_latency("ack", &run.ack);
    feed_print_latency("read", &run.read);
    printf("}\n");
    for (uint32_t i = 0; i < options->readers; i++)
        millrace_detach(readers[i].client);
    free(readers);
    free(run.due_ns);
}
