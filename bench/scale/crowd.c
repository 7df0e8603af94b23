/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions that are there and do nothing: each attached, each with a subscription to the whole topic. */
#include "bench/scale/feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

void feed_crowd(const struct feed_options *options)
{
    struct millrace_client **clients = calloc(options->readers, sizeof *clients);
    struct millrace_consumer *consumer;
    struct millrace_error err;
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) { /* some descriptors for each */
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    for (uint32_t i = 0; i < options->readers && !feed_stop && clients != NULL; i++) {
        clients[i] = feed_attach(options, "feed-crowd");
        if (clients[i] != NULL && millrace_consumer_open(&consumer, clients[i], options->topic, NULL, &err) != 0)
            feed_fail("session %u: %s", i, err.text);
    }
    printf("ready\n");
    fflush(stdout);
    while (!feed_stop)
        usleep(50000);
    printf("{\"role\":\"crowd\",\"sessions\":%u}\n", options->readers);
    for (uint32_t i = 0; i < options->readers && clients != NULL; i++)
        if (clients[i] != NULL)
            millrace_detach(clients[i]);
    free(clients);
}
