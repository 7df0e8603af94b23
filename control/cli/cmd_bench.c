/* SPDX-License-Identifier: Apache-2.0 */
/* millrace bench: what this node does, beside what this machine can do, measured in the same run. */
#include "control/cli/commands.h"

#include "bench/limits/table.h"
#include "bench/workloads/workloads.h"
#include "shm/base/bits.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RUNS_DEFAULT  5
#define DURATION_NS   (5 * MR_CLI_SECOND_NS)
#define BURST_NS      (MR_CLI_SECOND_NS / 10) /* of a pair: as long as two cores stay what they are, often */
#define PATIENCE_NS   (60 * MR_CLI_SECOND_NS)
#define KEEP_BYTES    (4ull << 30)
#define VALUE_MAX     (64u << 10)
#define STREAM_DEPTH  4

const char mr_cmd_bench_details[] =
    "WORKLOAD is one of\n"
    "  ping     publish a record, read it back: round trip, beside a cache line's way to the other core and back\n"
    "  pub      publish --batch at a time, beside a bare ring; with --producers N, beside one of them\n"
    "  sub      read in place from a hot tail of 1 GiB, beside a bare ring\n"
    "  pubsub   both at once; with --sustained, beside a disk that prepares, writes and deletes such files\n"
    "  disk     durable acks one by one, a durable stream, and 10k records/s over many partitions beside one\n"
    "  limits   what this machine can do: cores, memory, disk; needs no node\n\n"
    "Every record is checked for content and order; status 1 if one was lost. Each figure is the median of --runs runs, with the least and\n"
    "the greatest, and its ratio to the limit measured between the same runs. A limit that spreads by more than 20 % proves nothing: the\n"
    "line says 'too noisy'. With --rate the loop is open, and latency counts from the time a record was due.\n"
    "Two virtual cores may share no cache ('far'), or share one ('near'), or be threads of one core ('siblings'), by turns. ping, pub, sub and\n"
    "pubsub run in bursts and look before, between and after limit and value; only pairs count in which the cores stayed the same. --runs\n"
    "pairs of what --cores asks for are taken, for at most --patience; what else was had on the way has a line of its own.\n"
    "Topics are named millrace-bench-... and stay.\n\n"
    "  millrace bench ping --idle busy\n"
    "  millrace bench pub --batch 1 --duration 1s\n"
    "  millrace bench limits --data /srv --duration 30s --json\n";

struct bench {
    uint64_t runs, duration_ns, size, batch, rate, producers, partitions, ring_bytes, depth, keep_bytes, pause_ns, far_ns, patience_ns;
    const char *cores, *cpus, *data, *idle, *durability, *hdr, *socket_path;
    bool json, sustained, pause_daemon;
    struct mr_limit_cpus core;
    enum mr_cores cores_mode;
    enum millrace_idle idle_kind;
};

static const struct {
    const char *name;
    int (*run)(const struct mr_workload_options *options, struct millrace_error *err);
    bool paired; /* unless at a rate, with pauses or sustained */
} workloads[] = {
    {"ping", mr_workload_ping, true},     {"pub", mr_workload_pub, true},    {"sub", mr_workload_sub, true},
    {"pubsub", mr_workload_pubsub, true}, {"disk", mr_workload_disk, false},
};

static void print(void *context, const struct mr_measure *measure)
{
    const struct bench *bench = context;
    mr_measure_print(measure, bench->json, stdout);
}

static bool stop(void)
{
    return mr_cli_stop_asked() != 0;
}

static void print_head(const struct bench *bench)
{
    char machine[256];

    if (bench->json)
        return;
    printf("machine: %s; commit %s\n", mr_measure_machine(machine, sizeof machine), mr_measure_commit());
    mr_measure_print_head(stdout);
}

static int limits(struct bench *bench)
{
    struct mr_limits_options options = {.cpus = bench->core, .directory = bench->data, .runs = (uint32_t)bench->runs,
                                        .sustained_ns = bench->duration_ns == UINT64_MAX ? DURATION_NS : bench->duration_ns, .keep_bytes = bench->keep_bytes};
    struct millrace_error err = {0};

    print_head(bench);
    if (mr_limits_run(&options, print, bench, &err) != 0)
        return mr_cli_fail("%s", err.text);
    return MR_CLI_DONE;
}

static int dump(const char *path, const struct mr_histogram *latency)
{
    FILE *file = fopen(path, "w");

    if (file == NULL)
        return mr_cli_fail("cannot write --hdr %s: %s", path, strerror(errno));
    int rc = mr_histogram_dump(latency, file);
    if (fclose(file) != 0 || rc != 0)
        return mr_cli_fail("cannot write --hdr %s: %s", path, strerror(EIO));
    return MR_CLI_DONE;
}

static int workload(struct bench *bench, const char *name)
{
    static struct mr_histogram latency;
    struct mr_workload_options options = {
        .node = {.socket_path = bench->socket_path, .idle = bench->idle_kind, .may_pause = bench->pause_daemon},
        .cpus = bench->core, .directory = bench->data, .durability = bench->durability, .size = (uint32_t)bench->size,
        .batch = (uint32_t)bench->batch, .producers = (uint32_t)bench->producers, .partitions = (uint32_t)bench->partitions,
        .ring_bytes = (uint32_t)bench->ring_bytes, .depth = (uint32_t)bench->depth, .rate = bench->rate,
        .pause_ns = bench->pause_ns, .duration_ns = bench->duration_ns,
        .runs = (uint32_t)bench->runs, .cores = bench->cores_mode, .far_ns = bench->far_ns, .patience_ns = bench->patience_ns,
        .sustained = bench->sustained, .keep_bytes = bench->keep_bytes, .latency = &latency,
        .print = print, .context = bench, .stop = stop,
    };
    struct millrace_error err = {0};
    int rc = mr_bench_node_open(&options.node, &err);

    mr_cli_stop_install();
    if (rc == 0)
        print_head(bench);
    for (size_t i = 0; rc == 0 && i < MR_COUNT_OF(workloads); i++) {
        if (strcmp(workloads[i].name, name) != 0)
            continue;
        if (options.duration_ns == UINT64_MAX)
            options.duration_ns = workloads[i].paired && bench->rate == 0 && bench->pause_ns == 0 && !bench->sustained ? BURST_NS : DURATION_NS;
        rc = workloads[i].run(&options, &err);
    }
    if (rc == -EINTR)
        return mr_cli_stop_status();
    if (rc != 0)
        return mr_cli_fail("%s", err.text);
    return bench->hdr != NULL ? dump(bench->hdr, &latency) : MR_CLI_DONE;
}

static bool parse_cpus(const char *text, struct mr_limit_cpus *cpus)
{
    char rest;
    return sscanf(text, "%u,%u%c", &cpus->near, &cpus->far, &rest) == 2 && cpus->near != cpus->far;
}

static bool parse_idle(const char *text, enum millrace_idle *idle)
{
    static const char *const words[] = {[MILLRACE_IDLE_ADAPTIVE] = "adaptive", [MILLRACE_IDLE_BUSY] = "busy", [MILLRACE_IDLE_SLEEP] = "sleep"};

    for (size_t i = 0; i < MR_COUNT_OF(words); i++) {
        if (strcmp(words[i], text) == 0) {
            *idle = (enum millrace_idle)i;
            return true;
        }
    }
    return false;
}

static int check(const struct mr_cli_command *command, struct bench *bench)
{
    if (bench->runs == 0 || bench->runs > MR_MEASURE_RUNS_MAX)
        return mr_cli_usage(command, "--runs %llu: it must be 1 to %d", (unsigned long long)bench->runs, MR_MEASURE_RUNS_MAX);
    if (!parse_cpus(bench->cpus, &bench->core))
        return mr_cli_usage(command, "--cpus %s: it must name two cores, such as 0,1", bench->cpus);
    if (!mr_cores_parse(bench->cores, &bench->cores_mode))
        return mr_cli_usage(command, "--cores %s: it must be far, near, siblings or any", bench->cores);
    if (!parse_idle(bench->idle, &bench->idle_kind))
        return mr_cli_usage(command, "--idle %s: it must be busy, adaptive or sleep", bench->idle);
    if (bench->size != 0 && (bench->size < 16 || bench->size > VALUE_MAX))
        return mr_cli_usage(command, "--size %llu: it must be 16 to %u", (unsigned long long)bench->size, VALUE_MAX);
    if (bench->batch > 1024)
        return mr_cli_usage(command, "--batch %llu: it must be 1 to 1024", (unsigned long long)bench->batch);
    if (bench->depth < 1 || bench->depth > 64)
        return mr_cli_usage(command, "--depth %llu: it must be 1 to 64", (unsigned long long)bench->depth);
    return MR_CLI_GO_ON;
}

int mr_cmd_bench(const struct mr_cli_command *command, int argc, char **argv)
{
    struct bench bench = {.runs = RUNS_DEFAULT, .duration_ns = UINT64_MAX, .patience_ns = PATIENCE_NS, .cores = "any",
                          .cpus = "0,1", .data = ".", .idle = "busy", .depth = STREAM_DEPTH, .keep_bytes = KEEP_BYTES};
    const struct mr_cli_option options[] = {
        {"size", 0, MR_CLI_COUNT, "BYTES", &bench.size, "of a value (default 64; disk's stream 1024)"},
        {"batch", 0, MR_CLI_COUNT, "N", &bench.batch, "records committed together (default 64; disk's stream 16)"},
        {"rate", 'r', MR_CLI_COUNT, "R", &bench.rate, "records a second, open loop (default: as fast as they go)"},
        {"duration", 0, MR_CLI_DURATION, "TIME", &bench.duration_ns, "of each run (default 5s; 100ms where two cores are compared)"},
        {"pause", 0, MR_CLI_DURATION, "TIME", &bench.pause_ns, "ping: idle for so long before each record"},
        {"runs", 0, MR_CLI_COUNT, "N", &bench.runs, "how often each figure is taken (default 5)"},
        {"cpus", 0, MR_CLI_TEXT, "A,B", &bench.cpus, "core of the client, core of the other end (default 0,1)"},
        {"cores", 0, MR_CLI_TEXT, "MODE", &bench.cores, "count pairs of far cores, of near ones, of siblings, or of any (default)"},
        {"patience", 0, MR_CLI_DURATION, "TIME", &bench.patience_ns, "how long such pairs are looked for (default 60s; 0: do not look)"},
        {"far-from", 0, MR_CLI_DURATION, "TIME", &bench.far_ns, "ping-pong p50 from which two cores share no cache (200ns)"},
        {"idle", 0, MR_CLI_TEXT, "HOW", &bench.idle, "how the client waits: busy (default), adaptive or sleep"},
        {"durability", 0, MR_CLI_TEXT, "LEVEL", &bench.durability, "of the topic (default leader; disk for 'disk')"},
        {"producers", 0, MR_CLI_COUNT, "N", &bench.producers, "pub: so many at once, on one partition"},
        {"partitions", 0, MR_CLI_COUNT, "N", &bench.partitions, "disk: of the wide topic (default 1000)"},
        {"sustained", 0, MR_CLI_FLAG, NULL, &bench.sustained, "pubsub: as long as the disk must keep up; see --keep"},
        {"keep", 0, MR_CLI_COUNT, "BYTES", &bench.keep_bytes, "sustained: log.retention.bytes of the node (default 4 GiB)"},
        {"ring", 0, MR_CLI_COUNT, "BYTES", &bench.ring_bytes, "of a session (default 1 MiB; disk 16 MiB)"},
        {"depth", 0, MR_CLI_COUNT, "N", &bench.depth, "writes in flight of the disk's limits (default 4)"},
        {"pause-daemon", 0, MR_CLI_FLAG, NULL, &bench.pause_daemon, "stop a daemon that spins while a limit is measured"},
        {"data", 'd', MR_CLI_TEXT, "DIR", &bench.data, "where the disk's limits make their files (default: here)"},
        {"hdr", 0, MR_CLI_TEXT, "FILE", &bench.hdr, "write latencies as HdrHistogram's percentiles"},
        {"json", 0, MR_CLI_FLAG, NULL, &bench.json, "one object a measure"},
        {"socket", 0, MR_CLI_TEXT, "PATH", &bench.socket_path, "the node's socket (default: MILLRACE_SOCKET, or the local node's)"},
    };
    struct mr_cli_texts words;

    int status = mr_cli_parse(command, options, MR_COUNT_OF(options), argc, argv, &words, 1, 1);
    if (status == MR_CLI_GO_ON)
        status = check(command, &bench);
    if (status != MR_CLI_GO_ON)
        return status;
    if (strcmp(words.text[0], "limits") == 0)
        return limits(&bench);
    for (size_t i = 0; i < MR_COUNT_OF(workloads); i++) {
        if (strcmp(workloads[i].name, words.text[0]) == 0)
            return workload(&bench, words.text[0]);
    }
    return mr_cli_usage(command, "unknown workload '%s': ping, pub, sub, pubsub, disk or limits", words.text[0]);
}
