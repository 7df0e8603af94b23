/* SPDX-License-Identifier: Apache-2.0 */
/* The commands, one file each: cmd_<name>.c. */
#ifndef MR_CONTROL_CLI_COMMANDS_H
#define MR_CONTROL_CLI_COMMANDS_H

#include "control/cli/cli.h"

int mr_cmd_up(const struct mr_cli_command *command, int argc, char **argv);
int mr_cmd_config(const struct mr_cli_command *command, int argc, char **argv);
int mr_cmd_topic(const struct mr_cli_command *command, int argc, char **argv);
int mr_cmd_produce(const struct mr_cli_command *command, int argc, char **argv);
int mr_cmd_consume(const struct mr_cli_command *command, int argc, char **argv);
int mr_cmd_telemetry(const struct mr_cli_command *command, int argc, char **argv);
int mr_cmd_bench(const struct mr_cli_command *command, int argc, char **argv);
int mr_cmd_log(const struct mr_cli_command *command, int argc, char **argv);

extern const char mr_cmd_up_details[];
extern const char mr_cmd_bench_details[];
extern const char mr_cmd_config_details[];
extern const char mr_cmd_produce_details[];
extern const char mr_cmd_consume_details[];
extern const char mr_cmd_telemetry_details[];

#endif
