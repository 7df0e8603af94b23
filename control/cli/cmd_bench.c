/* SPDX-License-Identifier: Apache-2.0 */
/* millrace bench: what this node does, beside what this machine can do, measured in the same run. */
#include "control/cli/commands.h"

#include "bench/limits/table.h"
#include "shm/base/bits.h"

#include <stdio.h>
#include <string.h>

#define RUNS_DEFAULT    5
#define DURATION_NS     (5 * MR_CLI_SECOND_NS)
#define KEEP_BYTES      (4ull << 30)

const char mr_cmd_bench_details[] =
    "Each figure is the median of --runs runs, with the least and the greatest, and its ratio to the limit that was measured between the\n"
    "same runs. A limit that spreads by more than 20 % proves nothing: the line says 'too noisy'.\n\n"
    "  millrace bench limits                   what this machine can do: cores, memory, disk\n"
    "  millrace bench limits --data /srv --duration 30s --json\n";

struct bench {
    uint64_t runs, duration_ns;
    const char *cpus, *data;
    bool json;
    struct mr_limit_cpus core;
};

static void print(void *context, const struct mr_measure *measure)
{
    const struct bench *bench = context;
    mr_measure_print(measure, bench->json, stdout);
}

static bool parse_cpus(const char *text, struct mr_limit_cpus *cpus)
{
    char rest;
    return sscanf(text, "%u,%u%c", &cpus->near, &cpus->far, &rest) == 2 && cpus->near != cpus->far;
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
                                        .sustained_ns = bench->duration_ns, .keep_bytes = KEEP_BYTES};
    struct millrace_error err = {0};

    print_head(bench);
    if (mr_limits_run(&options, print, bench, &err) != 0)
        return mr_cli_fail("%s", err.text);
    return MR_CLI_DONE;
}

int mr_cmd_bench(const struct mr_cli_command *command, int argc, char **argv)
{
    struct bench bench = {.runs = RUNS_DEFAULT, .duration_ns = DURATION_NS, .cpus = "0,1", .data = "."};
    const struct mr_cli_option options[] = {
        {"duration", 0, MR_CLI_DURATION, "TIME", &bench.duration_ns, "of each run (default 5s)"},
        {"runs", 0, MR_CLI_COUNT, "N", &bench.runs, "how often each figure is taken (default 5)"},
        {"cpus", 0, MR_CLI_TEXT, "A,B", &bench.cpus, "core of the client, core of the other end (default 0,1)"},
        {"data", 'd', MR_CLI_TEXT, "DIR", &bench.data, "where the disk's limits make their files (default: here)"},
        {"json", 0, MR_CLI_FLAG, NULL, &bench.json, "one object a measure"},
    };
    struct mr_cli_texts words;

    int status = mr_cli_parse(command, options, MR_COUNT_OF(options), argc, argv, &words, 1, 1);
    if (status != MR_CLI_GO_ON)
        return status;
    if (bench.runs == 0 || bench.runs > MR_MEASURE_RUNS_MAX)
        return mr_cli_usage(command, "--runs %llu: it must be 1 to %d", (unsigned long long)bench.runs, MR_MEASURE_RUNS_MAX);
    if (!parse_cpus(bench.cpus, &bench.core))
        return mr_cli_usage(command, "--cpus %s: it must name two cores, such as 0,1", bench.cpus);
    if (strcmp(words.text[0], "limits") == 0)
        return limits(&bench);
    return mr_cli_usage(command, "unknown workload '%s': limits is what there is", words.text[0]);
}
