/* SPDX-License-Identifier: Apache-2.0 */
/* The load of `bench/run scale`: one program, one role a process, one line of JSON at the end. */
#include "bench/scale/feed.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char usage[] =
    "usage: feed steady|replay|crowd|fill --socket PATH --topic NAME [options]\n\n"
    "  steady   publish at --rate for --seconds, read by --readers sessions; latency of acks and from due to read\n"
    "  replay   read the topic, from its first record with --from-begin, until --count records (0: until SIGTERM); every record checked\n"
    "  crowd    --readers sessions, each with a subscription, that do nothing until SIGTERM\n"
    "  fill     --count bytes to each of --partitions, so that all are under way together\n\n"
    "      --partitions N   of the topic, which is made when it is not there (default 1)\n"
    "      --readers N      sessions that read (default 1)\n"
    "      --size BYTES     of a value (default 64; at least 24)\n"
    "      --rate R         records a second (default: as fast as they go)\n"
    "      --seconds S      how long (default 5)\n"
    "      --count N        see the roles\n"
    "      --durability L   of the topic (default leader)\n"
    "      --from-begin     replay: from the first record there is\n"
    "      --whole          replay: that is sequence 0 of each partition\n";

_Atomic bool feed_stop;
static volatile bool failed;

static void on_signal(int number)
{
    (void)number;
    feed_stop = true;
}

void feed_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    failed = true;
    feed_stop = true;
}

uint64_t feed_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct millrace_client *feed_attach(const struct feed_options *options, const char *name)
{
    struct millrace_client *client = NULL;
    struct millrace_client_options how;
    struct millrace_error err;

    millrace_client_options_init(&how);
    how.name = name;
    if (millrace_attach(&client, options->socket, &how, &err) != 0) {
        feed_fail("%s", err.text);
        return NULL;
    }
    return client;
}

void feed_print_latency(const char *name, const struct mr_histogram *h)
{
    printf(",\"%s\":{\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,\"count\":%llu}", name,
           (double)mr_histogram_percentile(h, 50) / 1e3, (double)mr_histogram_percentile(h, 99) / 1e3, (double)mr_histogram_percentile(h, 99.9) / 1e3,
           (double)mr_histogram_percentile(h, 100) / 1e3, (unsigned long long)h->count);
}

static void make_topic(const struct feed_options *options)
{
    struct millrace_client *client = feed_attach(options, "feed");
    struct millrace_error err;
    char config[64];

    if (client == NULL)
        return;
    snprintf(config, sizeof config, "millrace.durability=%s", options->durability);
    int rc = millrace_topic_create(client, options->topic, options->partitions, config, &err);
    if (rc != 0 && rc != -EEXIST)
        feed_fail("%s", err.text);
    millrace_detach(client);
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"socket", required_argument, NULL, 's'}, {"topic", required_argument, NULL, 't'},   {"partitions", required_argument, NULL, 'p'},
        {"readers", required_argument, NULL, 'n'}, {"size", required_argument, NULL, 'b'},   {"rate", required_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 'd'}, {"count", required_argument, NULL, 'c'},  {"durability", required_argument, NULL, 'u'},
        {"from-begin", no_argument, NULL, 'f'},    {"whole", no_argument, NULL, 'w'},        {NULL, 0, NULL, 0}};
    static const struct {
        const char *name;
        void (*run)(const struct feed_options *options);
    } roles[] = {{"steady", feed_steady}, {"replay", feed_replay}, {"crowd", feed_crowd}, {"fill", feed_fill}};
    struct feed_options options = {.durability = "leader", .partitions = 1, .readers = 1, .value_bytes = 64, .seconds = 5};

    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 's': options.socket = optarg; break;
        case 't': options.topic = optarg; break;
        case 'p': options.partitions = (uint32_t)atol(optarg); break;
        case 'n': options.readers = (uint32_t)atol(optarg); break;
        case 'b': options.value_bytes = (uint32_t)atol(optarg); break;
        case 'r': options.rate = (uint64_t)atoll(optarg); break;
        case 'd': options.seconds = atof(optarg); break;
        case 'c': options.count = (uint64_t)atoll(optarg); break;
        case 'u': options.durability = optarg; break;
        case 'f': options.from_begin = true; break;
        case 'w': options.wants_all = true; break;
        default: return 2;
        }
    }
    if (optind + 1 != argc || options.topic == NULL || options.partitions == 0 || options.partitions > FEED_PARTITIONS_MAX ||
        options.value_bytes < FEED_VALUE_MIN || options.value_bytes > 32768) {
        fputs(usage, stderr);
        return 2;
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    for (uint32_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        if (strcmp(roles[i].name, argv[optind]) != 0)
            continue;
        make_topic(&options);
        if (!failed)
            roles[i].run(&options);
        return failed ? 1 : 0;
    }
    fputs(usage, stderr);
    return 2;
}
