/* SPDX-License-Identifier: Apache-2.0 */
/* One table drives parsing, --help and the suggestions, so that they cannot differ. */
#include "control/cli/cli.h"

#include "shm/base/bits.h"
#include "shm/base/config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMANDS_MAX 32
#define OPTIONS_MAX  32

int mr_cli_fail(const char *format, ...)
{
    va_list args;

    fflush(stdout); /* what was read so far comes before the reason why there is no more */
    fputs("millrace: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return MR_CLI_FAILED;
}

int mr_cli_usage(const struct mr_cli_command *command, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "%s: ", command->path);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "; see '%s --help'\n", command->path);
    return MR_CLI_USAGE;
}

static bool parse_scaled(const char *text, const char *const *units, const uint64_t *factors, size_t unit_count, uint64_t *out)
{
    char *end;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    double number = strtod(text, &end); /* 0.5s and 1.5M are meant as written */
    if (errno != 0 || number < 0)
        return false;
    for (size_t i = 0; i < unit_count; i++) {
        if (strcmp(end, units[i]) != 0)
            continue;
        double value = number * (double)factors[i];
        if (!(value < 1e18))
            return false;
        *out = (uint64_t)(value + 0.5);
        return true;
    }
    return false;
}

bool mr_cli_parse_partition(const char *text, int32_t *partition)
{
    uint64_t number = 0;

    if (text[0] == '\0' || text[strspn(text, "0123456789")] != '\0' || strlen(text) > 10)
        return false;
    number = strtoull(text, NULL, 10);
    *partition = (int32_t)number;
    return number <= INT32_MAX;
}

bool mr_cli_parse_count(const char *text, uint64_t *count)
{
    static const char *const units[] = {"", "k", "K", "m", "M", "g", "G"};
    static const uint64_t factors[] = {1, 1000, 1000, 1000000, 1000000, 1000000000, 1000000000};

    if (text[strspn(text, "0123456789")] == '\0' && strlen(text) < 19 && text[0] != '\0') {
        *count = strtoull(text, NULL, 10); /* exact, where a double is not */
        return true;
    }
    return parse_scaled(text, units, factors, MR_COUNT_OF(units), count);
}

bool mr_cli_parse_duration(const char *text, uint64_t *duration_ns)
{
    static const char *const units[] = {"", "s", "ms", "us", "ns", "m", "h", "d"};
    static const uint64_t factors[] = {MR_CLI_SECOND_NS, MR_CLI_SECOND_NS, 1000000, 1000, 1, 60 * MR_CLI_SECOND_NS, 3600 * MR_CLI_SECOND_NS,
                                       24 * 3600 * MR_CLI_SECOND_NS};

    return parse_scaled(text, units, factors, MR_COUNT_OF(units), duration_ns);
}

static void print_help(const struct mr_cli_command *command, const struct mr_cli_option *options, uint32_t option_count)
{
    printf("usage: %s%s%s\n\n%s\n", command->path, command->arguments[0] != '\0' ? " " : "", command->arguments, command->summary);
    printf("\n");
    for (uint32_t i = 0; i < option_count; i++) {
        char left[64], letter[8] = "    ";
        if (options[i].letter != 0)
            snprintf(letter, sizeof letter, "-%c, ", options[i].letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, options[i].name, options[i].argument != NULL ? " " : "",
                 options[i].argument != NULL ? options[i].argument : "");
        printf("  %-30s %s\n", left, options[i].doc);
    }
    printf("  %-30s %s\n", "-h, --help", "this");
    if (command->details != NULL)
        printf("\n%s", command->details);
}

static int store(const struct mr_cli_command *command, const struct mr_cli_option *option, const char *value)
{
    struct mr_cli_texts *texts = option->target;

    switch (option->kind) {
    case MR_CLI_FLAG:
        *(bool *)option->target = true;
        return MR_CLI_GO_ON;
    case MR_CLI_TEXT:
        *(const char **)option->target = value;
        return MR_CLI_GO_ON;
    case MR_CLI_TEXTS:
        if (texts->count == MR_CLI_TEXTS_MAX)
            return mr_cli_usage(command, "--%s is given more than %d times", option->name, MR_CLI_TEXTS_MAX);
        texts->text[texts->count++] = value;
        return MR_CLI_GO_ON;
    case MR_CLI_COUNT:
        if (!mr_cli_parse_count(value, option->target))
            return mr_cli_usage(command, "--%s %s: it must be a number such as 1000, 10k or 1M", option->name, value);
        return MR_CLI_GO_ON;
    case MR_CLI_DURATION:
        if (!mr_cli_parse_duration(value, option->target))
            return mr_cli_usage(command, "--%s %s: it must be a time such as 5s, 200ms or 1m", option->name, value);
        return MR_CLI_GO_ON;
    }
    return MR_CLI_GO_ON;
}

static int say_unknown_option(const struct mr_cli_command *command, const struct mr_cli_option *options, uint32_t option_count, const char *name)
{
    const char *known[OPTIONS_MAX];
    uint32_t count = 0;

    for (; count < option_count && count < OPTIONS_MAX - 1; count++)
        known[count] = options[count].name;
    known[count++] = "help";
    const char *nearest = mr_config_nearest(name, known, count);
    if (nearest != NULL)
        return mr_cli_usage(command, "unknown option '--%s': did you mean '--%s'?", name, nearest);
    return mr_cli_usage(command, "unknown option '--%s'", name);
}

static const struct mr_cli_option *find_option(const struct mr_cli_option *options, uint32_t option_count, const char *name, size_t bytes)
{
    for (uint32_t i = 0; i < option_count; i++) {
        if (strlen(options[i].name) == bytes && memcmp(options[i].name, name, bytes) == 0)
            return &options[i];
    }
    return NULL;
}

/* One argument that begins with '-'. @return MR_CLI_GO_ON, or a status; *index moves past a value in the next argument. */
static int take_option(const struct mr_cli_command *command, const struct mr_cli_option *options, uint32_t option_count, int argc, char **argv,
                       int *index)
{
    const struct mr_cli_option *option = NULL;
    const char *argument = argv[*index], *value = NULL;
    char shown[64];

    if (argument[1] == '-') {
        const char *name = argument + 2;
        size_t bytes = strcspn(name, "=");
        if (strcmp(name, "help") == 0) {
            print_help(command, options, option_count);
            return MR_CLI_DONE;
        }
        option = find_option(options, option_count, name, bytes);
        if (option == NULL) {
            snprintf(shown, sizeof shown, "%.*s", (int)mr_min_u64(bytes, 60), name);
            return say_unknown_option(command, options, option_count, shown);
        }
        value = name[bytes] == '=' ? name + bytes + 1 : NULL;
    } else {
        if (strcmp(argument, "-h") == 0) {
            print_help(command, options, option_count);
            return MR_CLI_DONE;
        }
        for (uint32_t i = 0; i < option_count && option == NULL; i++)
            option = options[i].letter == argument[1] ? &options[i] : NULL;
        if (option == NULL)
            return mr_cli_usage(command, "unknown option '-%c'", argument[1]);
        value = argument[2] != '\0' ? argument + 2 : NULL;
    }
    if (option->kind == MR_CLI_FLAG) {
        if (value != NULL)
            return mr_cli_usage(command, "--%s takes no value", option->name);
    } else if (value == NULL) {
        if (*index + 1 >= argc)
            return mr_cli_usage(command, "--%s needs %s", option->name, option->argument);
        value = argv[++*index];
    }
    return store(command, option, value);
}

int mr_cli_parse(const struct mr_cli_command *command, const struct mr_cli_option *options, uint32_t option_count, int argc, char **argv,
                 struct mr_cli_texts *words, uint32_t words_min, uint32_t words_max)
{
    bool only_words = false;

    words->count = 0;
    for (int i = 0; i < argc; i++) {
        const char *argument = argv[i];
        if (!only_words && strcmp(argument, "--") == 0) {
            only_words = true;
        } else if (!only_words && argument[0] == '-' && argument[1] != '\0') { /* a bare "-" is a word: stdin */
            int rc = take_option(command, options, option_count, argc, argv, &i);
            if (rc != MR_CLI_GO_ON)
                return rc;
        } else if (words->count == words_max) {
            return mr_cli_usage(command, "'%s' is one argument too many: %s %s", argument, command->path, command->arguments);
        } else {
            words->text[words->count++] = argument;
        }
    }
    if (words->count < words_min)
        return mr_cli_usage(command, "something is missing: %s %s", command->path, command->arguments);
    return MR_CLI_GO_ON;
}

static void print_commands(FILE *out, const char *path, const char *about, const struct mr_cli_command *commands, uint32_t command_count)
{
    fprintf(out, "usage: %s COMMAND ...\n\n%s\n\n", path, about);
    for (uint32_t i = 0; i < command_count; i++)
        fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n'%s COMMAND --help' says more.\n", path);
}

int mr_cli_dispatch(const char *path, const char *about, const struct mr_cli_command *commands, uint32_t command_count, int argc, char **argv)
{
    const char *names[COMMANDS_MAX];

    if (argc == 0) {
        print_commands(stderr, path, about, commands, command_count);
        return MR_CLI_USAGE;
    }
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0 || strcmp(argv[0], "help") == 0) {
        print_commands(stdout, path, about, commands, command_count);
        return MR_CLI_DONE;
    }
    for (uint32_t i = 0; i < command_count; i++) {
        if (strcmp(argv[0], commands[i].name) == 0)
            return commands[i].run(&commands[i], argc - 1, argv + 1);
        if (i < COMMANDS_MAX)
            names[i] = commands[i].name;
    }
    const char *nearest = mr_config_nearest(argv[0], names, command_count < COMMANDS_MAX ? command_count : COMMANDS_MAX);
    if (nearest != NULL)
        fprintf(stderr, "%s: unknown command '%s': did you mean '%s'?\n", path, argv[0], nearest);
    else
        fprintf(stderr, "%s: unknown command '%s'; see '%s --help'\n", path, argv[0], path);
    return MR_CLI_USAGE;
}
