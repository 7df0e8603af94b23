/* SPDX-License-Identifier: Apache-2.0 */
/* A reader that may be far behind: it checks that no record is missing, doubled or changed, and tells how fast it went. SIGSTOP makes a slow reader
 * of it, SIGCONT one that catches up. Before its line of JSON it says "ready" when it has its place in the topic. */
#include "bench/scale/feed.h"

#include <stdio.h>
#include <stdlib.h>

#define POLL_MAX 1024u

void feed_replay(const struct feed_options *options)
{
    static uint64_t next[FEED_PARTITIONS_MAX];
    static bool known[FEED_PARTITIONS_MAX];
    struct millrace_record records[POLL_MAX];
    struct millrace_consumer *consumer = NULL;
    struct millrace_consumer_options how;
    struct millrace_error err;
    struct feed_value value;
    uint64_t received = 0, bytes = 0, begin_ns = 0, end_ns = 0;
    struct millrace_client *client = feed_attach(options, "feed-replay");

    millrace_consumer_options_init(&how);
    how.start = options->from_begin ? MILLRACE_START_BEGIN : MILLRACE_START_END;
    if (client == NULL || millrace_consumer_open(&consumer, client, options->topic, &how, &err) != 0) {
        if (client != NULL)
            feed_fail("%s", err.text);
        return;
    }
    printf("ready\n");
    fflush(stdout);
    while (!feed_stop && (options->count == 0 || received < options->count)) {
        int count = millrace_consumer_poll(consumer, records, POLL_MAX, 100);
        if (count < 0)
            feed_fail("poll: %s", strerror(-count));
        if (count <= 0)
            continue;
        begin_ns = begin_ns != 0 ? begin_ns : feed_now_ns();
        if (options->count != 0 && received + (uint64_t)count > options->count)
            count = (int)(options->count - received); /* what comes behind is another's */
        for (int i = 0; i < count; i++) {
            int32_t p = records[i].partition;
            bool right = feed_value_read(&records[i], &value) &&
                         (known[p] ? value.sequence == next[p] : !options->wants_all || value.sequence == 0);
            if (!right)
                feed_fail("partition %d, offset %llu: record %llu where %llu was due", p, (unsigned long long)records[i].offset,
                          (unsigned long long)value.sequence, (unsigned long long)next[p]);
            known[p] = true;
            next[p] = value.sequence + 1;
            bytes += records[i].value_bytes;
        }
        received += (uint64_t)count;
        end_ns = feed_now_ns();
    }
    double seconds = (double)(end_ns - begin_ns) / 1e9;
    printf("{\"role\":\"replay\",\"received\":%llu,\"bytes\":%llu,\"seconds\":%.3f,\"bytes_per_s\":%.0f}\n", (unsigned long long)received,
           (unsigned long long)bytes, seconds, seconds > 0 ? (double)bytes / seconds : 0);
    millrace_detach(client);
}
