/* SPDX-License-Identifier: Apache-2.0 */
/* The engine over a small table: what each type takes and refuses, precedence, origins, and the exact words of each message. */
#include "shm/base/config.h"
#include "tests/support/unit.h"

#include "shm/base/bits.h"

#include <errno.h>
#include <string.h>

struct target {
    int64_t count, bytes, wait_ms, automatic;
    bool flag;
    uint32_t mode;
    char name[8], place[16];
    struct mr_config_list list;
    struct mr_config_cpus cpus;
};

#define AT(member) .offset = offsetof(struct target, member)

static const char *const modes[] = {"slow", "fast", NULL};
static const char *const places[] = {"auto", "off", NULL};
static const struct mr_config_key keys[] = {
    {.name = "thing.count", .type = MR_CONFIG_INT, .initial = "7", .min = 1, .max = 64, AT(count)},
    {.name = "thing.bytes", .topic_name = "bytes", .type = MR_CONFIG_BYTES, .initial = "2MiB", .min = 4096, .multiple = 4096, .power_of_two = true,
     .none = -1, AT(bytes)},
    {.name = "wait.ms", .type = MR_CONFIG_MS, .initial = "5", .min = 1, .max = 60000, AT(wait_ms)},
    {.name = "maybe", .type = MR_CONFIG_INT, .automatic = true, .initial = "auto", .min = 2, .max = 9, AT(automatic)},
    {.name = "flag", .type = MR_CONFIG_BOOL, .initial = "false", AT(flag)},
    {.name = "mode", .topic_name = "mode", .type = MR_CONFIG_ENUM, .initial = "slow", .words = modes, AT(mode)},
    {.name = "name", .type = MR_CONFIG_STRING, .initial = "", AT(name), .capacity_bytes = 8},
    {.name = "place", .type = MR_CONFIG_STRING, .initial = "auto", .words = places, .path = true, AT(place), .capacity_bytes = 16},
    {.name = "list", .type = MR_CONFIG_LIST, .initial = "a", .min = 1, AT(list)},
    {.name = "cpus", .type = MR_CONFIG_CPUS, .automatic = true, .initial = "auto", AT(cpus)},
};
static const char *const accepted[] = {"1", NULL};
static const struct mr_config_refusal refusals[] = {
    {.name = "mode", .value = "fast", .reason = "it is not in this version"},
    {.name = "replicas", .accepted = accepted, .reason = "one is all there is"},
    {.name = "tls.*", .reason = "no TLS"},
};
static const char *const ignored[] = {"num.threads", "old.*"};
static const struct mr_config_table table = {keys, MR_COUNT_OF(keys), refusals, MR_COUNT_OF(refusals), ignored, MR_COUNT_OF(ignored)};

static struct target target;
static struct mr_config config;
static struct millrace_error err;

static int fresh(void **state)
{
    memset(&err, 0, sizeof err);
    mr_config_init(&config, &table, &target);
    return 0;
}

static void load_ok(const char *text)
{
    int rc = mr_config_load_text(&config, text, "x.properties", &err);

    if (rc != 0)
        fail_msg("%s", err.text);
}

static void load_says(const char *text, const char *message)
{
    fresh(NULL);
    assert_int_equal(mr_config_load_text(&config, text, "x.properties", &err), -EINVAL);
    assert_string_equal(err.text, message);
    assert_int_equal(err.code, EINVAL);
}

static void defaults_are_there(void **state)
{
    assert_int_equal(target.count, 7);
    assert_int_equal(target.bytes, 2 << 20);
    assert_int_equal(target.automatic, 0);
    assert_false(target.flag);
    assert_string_equal(target.list.item[0], "a");
    assert_int_equal(target.cpus.count, 0);
}

static void comments_blanks_and_both_separators(void **state)
{
    load_ok("# comment\n\n ! comment too\n  thing.count =  9 \r\nwait.ms:2s\nname=a b=c\nflag=true");
    assert_int_equal(target.count, 9);
    assert_int_equal(target.wait_ms, 2000);
    assert_string_equal(target.name, "a b=c");
    assert_true(target.flag);
}

static void numbers_take_units_and_keep_their_range(void **state)
{
    load_ok("thing.bytes=64KiB\nmaybe=9");
    assert_int_equal(target.bytes, 65536);
    assert_int_equal(target.automatic, 9);
    fresh(NULL);
    load_ok("thing.bytes=-1");
    assert_int_equal(target.bytes, -1);
    load_says("thing.count=0", "x.properties:1: thing.count=0 is not allowed: it must be 1 to 64");
    load_says("thing.count=65", "x.properties:1: thing.count=65 is not allowed: it must be 1 to 64");
    load_says("thing.count=", "x.properties:1: thing.count= is not allowed: it must be 1 to 64");
    load_says("thing.count=9223372036854775808", "x.properties:1: thing.count=9223372036854775808 is not allowed: it must be 1 to 64");
    load_says("thing.count=7k", "x.properties:1: thing.count=7k is not allowed: it must be 1 to 64");
    load_says("\n\nthing.bytes=12288",
              "x.properties:3: thing.bytes=12288 is not allowed: it must be at least 4096 bytes (64k, 32MiB, 4g also work), "
              "a power of two and multiple of 4096, or -1 for no limit");
    load_says("thing.bytes=9000000t", "x.properties:1: thing.bytes=9000000t is not allowed: it must be at least 4096 bytes "
                                      "(64k, 32MiB, 4g also work), a power of two and multiple of 4096, or -1 for no limit");
    load_says("wait.ms=2h", "x.properties:1: wait.ms=2h is not allowed: it must be 1 to 60000 milliseconds (5ms, 2s also work)");
    load_says("maybe=1", "x.properties:1: maybe=1 is not allowed: it must be 2 to 9, or auto");
}

static void words_and_paths(void **state)
{
    load_ok("place=/dev/huge\nmode=slow");
    assert_string_equal(target.place, "/dev/huge");
    load_says("place=huge", "x.properties:1: place=huge is not allowed: it must be auto, off or an absolute path");
    load_says("place=/0123456789abcdef", "x.properties:1: place=/0123456789abcdef is not allowed: it must be auto, off or an absolute path");
    load_says("mode=quick", "x.properties:1: mode=quick is not allowed: it must be slow or fast");
    load_says("flag=yes", "x.properties:1: flag=yes is not allowed: it must be true or false");
    load_says("name=12345678", "x.properties:1: name=12345678 is not allowed: it must be up to 7 characters");
}

static void lists_and_cpus(void **state)
{
    load_ok("list= /a , b\ncpus=0,4-6");
    assert_int_equal(target.list.count, 2);
    assert_string_equal(target.list.item[0], "/a");
    assert_string_equal(target.list.item[1], "b");
    assert_true(target.cpus.pinned);
    assert_int_equal(target.cpus.count, 4);
    assert_int_equal(target.cpus.cpu[3], 6);
    fresh(NULL);
    load_ok("cpus=3");
    assert_int_equal(target.cpus.count, 3);
    assert_false(target.cpus.pinned);
    load_says("list=a,,b", "x.properties:1: list=a,,b is not allowed: it must be 1 to 16 items separated by commas");
    assert_int_equal(target.list.count, 1); /* a refused value changes nothing */
    static const char *const bad[] = {"cpus=0", "cpus=65", "cpus=1,1", "cpus=4-2", "cpus=0-99", "cpus=a", "cpus=1,", "cpus=-1", "cpus=1;2"};
    for (size_t i = 0; i < MR_COUNT_OF(bad); i++) {
        char message[256];
        snprintf(message, sizeof message, "x.properties:1: %s is not allowed: it must be a count of 1 to 64, or a cpu list without repetition "
                 "such as 0,2 or 4-7, or auto", bad[i]);
        load_says(bad[i], message);
    }
}

static void the_command_line_wins_and_origins_are_remembered(void **state)
{
    char text[64];

    assert_int_equal(mr_config_set_embedded(&config, "wait.ms", "6", &err), 0);
    load_ok("\nthing.count=8\nflag=true");
    assert_int_equal(mr_config_set(&config, "thing.count = 9", &err), 0);
    assert_int_equal(target.count, 9);
    assert_string_equal(config.value[0].text, "9");
    assert_string_equal(mr_config_origin(&config, 0, text, sizeof text), "--set");
    assert_string_equal(mr_config_origin(&config, 1, text, sizeof text), "default");
    assert_string_equal(mr_config_origin(&config, 2, text, sizeof text), "default without --config");
    assert_string_equal(mr_config_origin(&config, 4, text, sizeof text), "x.properties:3");
    assert_int_equal(mr_config_set(&config, "thing.count=99", &err), -EINVAL);
    assert_string_equal(err.text, "--set: thing.count=99 is not allowed: it must be 1 to 64");
    assert_int_equal(mr_config_set(&config, "thing.count", &err), -EINVAL);
    assert_string_equal(err.text, "--set 'thing.count' is not of the form key=value");
}

static void unknown_keys_name_the_nearest(void **state)
{
    load_says("flag=true\nthing.cuont=8", "x.properties:2: unknown key 'thing.cuont' (value '8'): did you mean 'thing.count'?");
    load_says("wait.msec=8", "x.properties:1: unknown key 'wait.msec' (value '8'): did you mean 'wait.ms'?");
    load_says("completely.else=8", "x.properties:1: unknown key 'completely.else' (value '8'): run 'millrace config --all' for every key");
    load_says("just words", "x.properties:1: 'just words' is not of the form key=value (comments begin with # or !)");
    load_says("=5", "x.properties:1: '=5' is not of the form key=value (comments begin with # or !)");
    load_says("flag=true\n#\nflag=false", "x.properties:3: flag is given twice, first at line 1: keep one");
}

static void keys_not_needed_are_collected(void **state)
{
    load_ok("num.threads=8\nold.thing=1\nthing.count=2");
    assert_int_equal(config.ignored_count, 2);
    assert_string_equal(config.ignored, "num.threads, old.thing");
}

static void promises_that_cannot_be_kept_are_refused_with_the_reason(void **state)
{
    load_ok("replicas=1");
    assert_int_equal(config.ignored_count, 0);
    load_says("replicas=3", "x.properties:1: replicas=3 is refused: one is all there is");
    load_says("tls.keystore=/k", "x.properties:1: tls.keystore=/k is refused: no TLS");
    load_says("mode=fast", "x.properties:1: mode=fast is refused: it is not in this version");
}

static void topic_configs_use_their_own_names(void **state)
{
    assert_int_equal(mr_config_set_topic(&table, &target.bytes, offsetof(struct target, bytes), "bytes", "8k", &err), 0);
    assert_int_equal(target.bytes, 8192);
    assert_int_equal(mr_config_set_topic(&table, &target, 0, "byte", "8k", &err), -EINVAL);
    assert_string_equal(err.text, "unknown topic config 'byte' (value '8k'): did you mean 'bytes'?");
    assert_int_equal(mr_config_set_topic(&table, &target, 0, "thing.count", "8", &err), -EINVAL);
    assert_string_equal(err.text, "unknown topic config 'thing.count' (value '8'): known are bytes, mode");
    assert_int_equal(mr_config_set_topic(&table, &target, 0, "bytes", "5", &err), -EINVAL);
    assert_non_null(strstr(err.text, "bytes=5 is not allowed: it must be at least 4096 bytes"));
    assert_int_equal(mr_config_set_topic(&table, &target, 0, "mode", "fast", &err), -EINVAL);
    assert_string_equal(err.text, "mode=fast is refused: it is not in this version");
}

static void nearest_needs_to_be_near(void **state)
{
    static const char *const candidates[] = {"produce", "consume", "up"};

    assert_string_equal(mr_config_nearest("prodcue", candidates, 3), "produce");
    assert_string_equal(mr_config_nearest("comsume", candidates, 3), "consume");
    assert_null(mr_config_nearest("xyz", candidates, 3));
    assert_null(mr_config_nearest("down", candidates, 3));
}

static void hostile_lines_are_refused_not_overrun(void **state)
{
    static char text[20000];

    memset(text, 'a', sizeof text - 1);
    assert_int_equal(mr_config_load_text(&config, text, "x", &err), -EINVAL);
    text[1270] = '\0'; /* a long name that is no longer than a line */
    text[1268] = '=';
    assert_int_equal(mr_config_load_text(&config, text, "x", &err), -EINVAL);
    fresh(NULL);
    memcpy(text, "name=", 5);
    text[1268] = 'a';
    assert_int_equal(mr_config_load_text(&config, text, "x", &err), -EINVAL);
    assert_int_equal(mr_config_set(&config, text, &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(defaults_are_there, fresh),
        cmocka_unit_test_setup(comments_blanks_and_both_separators, fresh),
        cmocka_unit_test_setup(numbers_take_units_and_keep_their_range, fresh),
        cmocka_unit_test_setup(words_and_paths, fresh),
        cmocka_unit_test_setup(lists_and_cpus, fresh),
        cmocka_unit_test_setup(the_command_line_wins_and_origins_are_remembered, fresh),
        cmocka_unit_test_setup(unknown_keys_name_the_nearest, fresh),
        cmocka_unit_test_setup(keys_not_needed_are_collected, fresh),
        cmocka_unit_test_setup(promises_that_cannot_be_kept_are_refused_with_the_reason, fresh),
        cmocka_unit_test_setup(topic_configs_use_their_own_names, fresh),
        cmocka_unit_test_setup(nearest_needs_to_be_near, fresh),
        cmocka_unit_test_setup(hostile_lines_are_refused_not_overrun, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
