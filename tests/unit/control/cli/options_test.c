/* SPDX-License-Identifier: Apache-2.0 */
/* Options and words in any order; what is wrong ends with status 2 and names the nearest option. */
#include "control/cli/cli.h"
#include "tests/support/unit.h"

#include <string.h>
#include <unistd.h>

static const struct mr_cli_command command = {"try", "millrace try", "TOPIC [FILE]", "try it", "Details.\n", NULL};
static bool flag;
static const char *name;
static uint64_t rate, wait_ns;
static struct mr_cli_texts sets, words;
static const struct mr_cli_option options[] = {
    {"flag", 'f', MR_CLI_FLAG, NULL, &flag, "a flag"},          {"name", 'n', MR_CLI_TEXT, "NAME", &name, "a name"},
    {"rate", 0, MR_CLI_COUNT, "R", &rate, "records a second"},  {"wait", 'w', MR_CLI_DURATION, "TIME", &wait_ns, "a time"},
    {"set", 's', MR_CLI_TEXTS, "key=value", &sets, "many"},
};
static char said[4096];

static int reset(void **state)
{
    flag = false;
    name = NULL;
    rate = wait_ns = 0;
    sets.count = 0;
    return 0;
}

/* Parse with stdout and stderr into `said`. */
static int parse(const char *const *arguments, int count)
{
    char *argv[16];
    int out = dup(1), err = dup(2), end[2];

    for (int i = 0; i < count; i++)
        argv[i] = (char *)(uintptr_t)arguments[i];
    assert_int_equal(pipe(end), 0);
    fflush(NULL);
    dup2(end[1], 1);
    dup2(end[1], 2);
    int rc = mr_cli_parse(&command, options, 5, count, argv, &words, 1, 2);
    fflush(NULL);
    dup2(out, 1);
    dup2(err, 2);
    close(out);
    close(err);
    close(end[1]);
    ssize_t n = read(end[0], said, sizeof said - 1);
    close(end[0]);
    said[n < 0 ? 0 : n] = '\0';
    return rc;
}

#define PARSE(...) parse((const char *const[]){__VA_ARGS__}, (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))

static void options_and_words_mix(void **state)
{
    assert_int_equal(PARSE("topic", "-f", "--name=x", "--rate", "10k", "-w5ms", "-s", "a=1", "--set", "b=2", "-"), MR_CLI_GO_ON);
    assert_true(flag);
    assert_string_equal(name, "x");
    assert_int_equal(rate, 10000);
    assert_int_equal(wait_ns, 5000000);
    assert_int_equal(sets.count, 2);
    assert_int_equal(words.count, 2);
    assert_string_equal(words.text[1], "-");
    assert_int_equal(PARSE("--", "-f"), MR_CLI_GO_ON);
    assert_string_equal(words.text[0], "-f");
}

static void mistakes_are_status_2_and_say_what_to_do(void **state)
{
    assert_int_equal(PARSE("t", "--nmae", "x"), MR_CLI_USAGE);
    assert_string_equal(said, "millrace try: unknown option '--nmae': did you mean '--name'?; see 'millrace try --help'\n");
    assert_int_equal(PARSE("t", "--rate", "fast"), MR_CLI_USAGE);
    assert_string_equal(said, "millrace try: --rate fast: it must be a number such as 1000, 10k or 1M; see 'millrace try --help'\n");
    assert_int_equal(PARSE("t", "--wait", "-1"), MR_CLI_USAGE);
    assert_int_equal(PARSE("t", "--name"), MR_CLI_USAGE);
    assert_string_equal(said, "millrace try: --name needs NAME; see 'millrace try --help'\n");
    assert_int_equal(PARSE("t", "--flag=1"), MR_CLI_USAGE);
    assert_int_equal(PARSE("t", "-x"), MR_CLI_USAGE);
    assert_int_equal(PARSE("a", "b", "c"), MR_CLI_USAGE);
    assert_string_equal(said, "millrace try: 'c' is one argument too many: millrace try TOPIC [FILE]; see 'millrace try --help'\n");
    assert_int_equal(PARSE("-f"), MR_CLI_USAGE);
    assert_string_equal(said, "millrace try: something is missing: millrace try TOPIC [FILE]; see 'millrace try --help'\n");
}

static void help_lists_every_option(void **state)
{
    assert_int_equal(PARSE("--help"), MR_CLI_DONE);
    assert_non_null(strstr(said, "usage: millrace try TOPIC [FILE]\n"));
    for (int i = 0; i < 5; i++)
        assert_non_null(strstr(said, options[i].doc));
    assert_non_null(strstr(said, "Details.\n"));
}

static void counts_and_durations(void **state)
{
    uint64_t value;

    assert_true(mr_cli_parse_count("1.5M", &value));
    assert_int_equal(value, 1500000);
    assert_true(mr_cli_parse_count("9007199254740993", &value));
    assert_int_equal(value, 9007199254740993);
    assert_false(mr_cli_parse_count("", &value));
    assert_false(mr_cli_parse_count("-5", &value));
    assert_false(mr_cli_parse_count("nan", &value));
    assert_false(mr_cli_parse_count("99999999999999999999999", &value));
    assert_true(mr_cli_parse_duration("2", &value));
    assert_int_equal(value, 2 * MR_CLI_SECOND_NS);
    assert_true(mr_cli_parse_duration("0.5ms", &value));
    assert_int_equal(value, 500000);
    assert_false(mr_cli_parse_duration("5 s", &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(options_and_words_mix, reset),
        cmocka_unit_test_setup(mistakes_are_status_2_and_say_what_to_do, reset),
        cmocka_unit_test_setup(help_lists_every_option, reset),
        cmocka_unit_test_setup(counts_and_durations, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
