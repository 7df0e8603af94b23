/* SPDX-License-Identifier: Apache-2.0 */
/* Publish ticks. cc produce.c $(pkg-config --cflags --libs millrace) -o produce; millrace topic create ticks; ./produce ticks 1000 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <millrace/millrace.h>

struct tick {
    uint64_t number;
    uint64_t time_ns;
    double price;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Acks come in order within a partition, many records in one. @return records that failed */
static uint64_t take_acks(struct millrace_producer *producer)
{
    struct millrace_ack acks[64];
    uint64_t failed = 0;
    int count = millrace_producer_poll_acks(producer, acks, 64);
    for (int i = 0; i < count; i++) {
        if (acks[i].error == 0)
            continue;
        failed += acks[i].count;
        fprintf(stderr, "partition %d: %u records from sequence %llu on: %s\n", acks[i].partition, acks[i].count,
                (unsigned long long)acks[i].first_sequence, strerror(-acks[i].error));
    }
    return failed;
}

int main(int argc, char **argv)
{
    const char *topic = argc > 1 ? argv[1] : "ticks";
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 0) : 1000;
    struct millrace_client *client;
    struct millrace_producer *producer;
    struct millrace_error err;
    struct millrace_slot slot;
    uint64_t failed = 0;

    if (millrace_attach(&client, NULL, NULL, &err) != 0 || millrace_producer_open(&producer, client, topic, NULL, &err) != 0) {
        fprintf(stderr, "produce: %s\n", err.text);
        return 1;
    }
    for (uint64_t number = 0; number < count; number++) {
        int rc;
        while ((rc = millrace_producer_claim(producer, sizeof(struct tick), NULL, &slot)) == -EAGAIN)
            failed += take_acks(producer); /* the ring is full until the broker has acknowledged some, or the broker restarts */
        if (rc != 0) {
            fprintf(stderr, "produce: %s\n", strerror(-rc));
            return 1;
        }
        struct tick *tick = slot.value; /* in place: what is written here is what the broker reads */
        *tick = (struct tick){.number = number, .time_ns = now_ns(), .price = 100 + (double)(number % 7)};
        if (millrace_producer_commit(producer, &slot, 1) != 1)
            return 1;
        failed += take_acks(producer);
    }
    int rc = millrace_producer_flush(producer, 10000);
    failed += take_acks(producer);
    if (rc != 0 && rc != -EIO)
        fprintf(stderr, "produce: %llu records are not acknowledged: %s\n", (unsigned long long)millrace_producer_pending(producer),
                strerror(-rc));
    printf("published %llu, failed %llu\n", (unsigned long long)count, (unsigned long long)failed);
    millrace_detach(client);
    return rc != 0 || failed > 0;
}
