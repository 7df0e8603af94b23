/* SPDX-License-Identifier: Apache-2.0 */
/* What all commands of `millrace` share: how a command describes itself, how its options are read, how it says that it failed, and how it
 * is asked to stop. Data goes to stdout, everything else to stderr. One thread. */
#ifndef MR_CONTROL_CLI_H
#define MR_CONTROL_CLI_H

#include "shm/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit statuses. */
#define MR_CLI_DONE        0
#define MR_CLI_FAILED      1
#define MR_CLI_USAGE       2
#define MR_CLI_INTERRUPTED 130
#define MR_CLI_GO_ON       (-1) /* of mr_cli_parse(): nothing to report, run the command */

#define MR_CLI_TEXTS_MAX 64
#define MR_CLI_SECOND_NS 1000000000ull

struct mr_cli_command {
    const char *name;      /* "topic create" below another command is just "create" */
    const char *path;      /* what the user types: "millrace topic create" */
    const char *arguments; /* "NAME [--partitions N] ..." */
    const char *summary;   /* one line */
    const char *details;   /* printed by --help after the options: meaning and examples; may be NULL */
    int (*run)(const struct mr_cli_command *command, int argc, char **argv); /* argv[0] is the first argument. @return exit status */
};

enum mr_cli_kind {
    MR_CLI_FLAG,     /* bool */
    MR_CLI_TEXT,     /* const char * into argv */
    MR_CLI_TEXTS,    /* struct mr_cli_texts, one for each time it is given */
    MR_CLI_COUNT,    /* uint64_t; 1000, 10k, 1M (powers of 1000) */
    MR_CLI_DURATION, /* uint64_t nanoseconds; 5s, 200ms, 1m, 10us; a bare number is seconds */
};

struct mr_cli_texts {
    uint32_t count;
    const char *text[MR_CLI_TEXTS_MAX];
};

struct mr_cli_option {
    const char *name; /* without -- */
    char letter;      /* 0: none */
    enum mr_cli_kind kind;
    const char *argument; /* its name in --help; NULL for a flag */
    void *target;         /* the member that the kind names */
    const char *doc;
};

/**
 * Read options and words in any order; "--" ends the options. --help prints the command's help to stdout.
 * @param words   filled with what is not an option, pointing into argv
 * @param words_min,words_max  how many the command wants; a mistake is said on stderr with the nearest option
 * @return MR_CLI_GO_ON, or the status to exit with
 */
int mr_cli_parse(const struct mr_cli_command *command, const struct mr_cli_option *options, uint32_t option_count, int argc, char **argv,
                 struct mr_cli_texts *words, uint32_t words_min, uint32_t words_max);

/** Find argv[0] among the subcommands and run it; without one, or with --help, list them. @return exit status. */
int mr_cli_dispatch(const char *path, const char *about, const struct mr_cli_command *commands, uint32_t command_count, int argc, char **argv);

/** Text of a kind into its target. @return false when it does not parse. */
bool mr_cli_parse_count(const char *text, uint64_t *count);

/** A partition's number: digits alone. @return false: anything else */
bool mr_cli_parse_partition(const char *text, int32_t *partition) MR_MUST_USE;
bool mr_cli_parse_duration(const char *text, uint64_t *duration_ns);

/** "millrace: ..." on stderr. @return MR_CLI_FAILED or MR_CLI_USAGE. */
int mr_cli_fail(const char *format, ...) MR_PRINTF(1, 2) MR_COLD;
int mr_cli_usage(const struct mr_cli_command *command, const char *format, ...) MR_PRINTF(2, 3) MR_COLD;

/** From now on SIGINT and SIGTERM ask to stop, a second one ends the process at once; SIGPIPE is ignored, so that writes say EPIPE. */
void mr_cli_stop_install(void);

/** 0: go on. SIGINT or SIGTERM: which one asked. */
int mr_cli_stop_asked(void);

/** What to exit with after a clean stop: 130 after SIGINT, 0 after SIGTERM or none. */
int mr_cli_stop_status(void);

/** Whether a failed write to stdout only means that the reader has gone (then end quietly). */
bool mr_cli_stdout_closed(int error_number);

uint64_t mr_cli_now_ns(void);  /* monotonic */
int64_t mr_cli_wall_ms(void);  /* since 1970 */

#endif
