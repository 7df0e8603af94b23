/* SPDX-License-Identifier: Apache-2.0 */
/* Read ticks from the start, in place. cc consume.c $(pkg-config --cflags --libs millrace) -o consume; ./consume ticks 1000 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <millrace/millrace.h>

struct tick {
    uint64_t number;
    uint64_t time_ns;
    double price;
};

int main(int argc, char **argv)
{
    const char *topic = argc > 1 ? argv[1] : "ticks";
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 0) : UINT64_MAX;
    struct millrace_client *client;
    struct millrace_consumer *consumer;
    struct millrace_consumer_options options;
    struct millrace_record records[64];
    struct millrace_error err;
    uint64_t seen = 0;

    millrace_consumer_options_init(&options);
    options.start = MILLRACE_START_BEGIN;
    if (millrace_attach(&client, NULL, NULL, &err) != 0 || millrace_consumer_open(&consumer, client, topic, &options, &err) != 0) {
        fprintf(stderr, "consume: %s\n", err.text);
        return 1;
    }
    while (seen < count) {
        uint32_t want = count - seen < 64 ? (uint32_t)(count - seen) : 64;
        int got = millrace_consumer_poll(consumer, records, want, 10000);
        if (got <= 0) {
            fprintf(stderr, "consume: %s\n", got == 0 ? "nothing came for 10 s" : strerror(-got));
            break;
        }
        for (int i = 0; i < got; i++) {
            struct tick tick;
            if (records[i].value_bytes != sizeof tick)
                continue;
            memcpy(&tick, records[i].value, sizeof tick); /* the log is not aligned */
            printf("%d %llu: %llu %.2f\n", records[i].partition, (unsigned long long)records[i].offset, (unsigned long long)tick.number,
                   tick.price);
        }
        seen += (uint64_t)got;
    }
    millrace_detach(client);
    return seen < count && count != UINT64_MAX;
}
