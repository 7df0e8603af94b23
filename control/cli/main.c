/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of Millrace: one table of commands. */
#include "control/cli/commands.h"

#include "shm/base/bits.h"

#include <stdio.h>
#include <string.h>

static const struct mr_cli_command commands[] = {
    {"up", "millrace up", "[--config FILE] [--data DIR] [--set key=value]...", "start a node and keep it running", mr_cmd_up_details, mr_cmd_up},
    {"config", "millrace config", "[--config FILE] [--set key=value]... [--all]", "every value and where it came from", mr_cmd_config_details,
     mr_cmd_config},
    {"log", "millrace log", "verify PATH... | dump SEGMENT", "look into the files of a log, offline", NULL, mr_cmd_log},
    {"bench", "millrace bench", "ping|pub|sub|pubsub|disk|limits [--duration TIME] [--runs N] ...",
     "what this node does, beside what this machine can do", mr_cmd_bench_details, mr_cmd_bench},
    {"topic", "millrace topic", "create NAME | list", "make, list, change and delete topics", NULL, mr_cmd_topic},
    {"produce", "millrace produce", "TOPIC [FILE]", "lines to records", mr_cmd_produce_details, mr_cmd_produce},
    {"consume", "millrace consume", "TOPIC", "records to lines", mr_cmd_consume_details, mr_cmd_consume},
    {"telemetry", "millrace telemetry", "[--rate R] [--topic NAME]", "publish this host's own counters", mr_cmd_telemetry_details, mr_cmd_telemetry},
};

static const char about[] = "Millrace: event streams with Kafka's model, through shared memory.\n"
                            "Start a node with 'millrace up'; everything else finds it by its socket (--socket or MILLRACE_SOCKET).";

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        printf("millrace %s\n", MR_VERSION);
        return MR_CLI_DONE;
    }
    int status = mr_cli_dispatch("millrace", about, commands, MR_COUNT_OF(commands), argc - 1, argv + 1);
    if (fflush(stdout) != 0 && status == MR_CLI_DONE)
        status = MR_CLI_FAILED;
    return status;
}
