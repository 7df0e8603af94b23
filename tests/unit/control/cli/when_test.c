/* SPDX-License-Identifier: Apache-2.0 */
/* Places in a log as users write them. */
#include "control/cli/when.h"
#include "tests/support/unit.h"

#include <errno.h>
#include <string.h>

#define NOW_MS 1700000000000

static struct millrace_error err;

static int64_t time_of(const char *text)
{
    struct mr_when when;

    if (mr_when_parse(&when, text, NOW_MS, &err) != 0 || when.kind != MR_WHEN_TIME)
        fail_msg("%s: %s", text, err.text);
    return when.time_ms;
}

static void words_and_offsets(void **state)
{
    struct mr_when when;

    assert_int_equal(mr_when_parse(&when, "start", NOW_MS, &err), 0);
    assert_int_equal(when.kind, MR_WHEN_START);
    assert_int_equal(mr_when_parse(&when, "end", NOW_MS, &err), 0);
    assert_int_equal(when.kind, MR_WHEN_END);
    assert_int_equal(mr_when_parse(&when, "123456789012", NOW_MS, &err), 0);
    assert_int_equal(when.kind, MR_WHEN_OFFSET);
    assert_int_equal(when.offset, 123456789012);
}

static void times_absolute_relative_and_with_zones(void **state)
{
    setenv("TZ", "UTC-2", 1); /* POSIX: two hours east */
    tzset();
    assert_int_equal(time_of("@1700000000123"), 1700000000123);
    assert_int_equal(time_of("@-1h"), NOW_MS - 3600000);
    assert_int_equal(time_of("@-1.5s"), NOW_MS - 1500);
    assert_int_equal(time_of("@2023-11-14T22:13:20Z"), 1700000000000);
    assert_int_equal(time_of("@2023-11-14T22:13:20.25Z"), 1700000000250);
    assert_int_equal(time_of("@2023-11-14T23:13:20+01:00"), 1700000000000);
    assert_int_equal(time_of("@2023-11-14T17:43:20-0430"), 1700000000000);
    assert_int_equal(time_of("@2023-11-15T00:13:20"), 1700000000000); /* local */
    assert_int_equal(time_of("@2023-11-15 00:13"), 1699999980000);
    assert_int_equal(time_of("@2023-11-15Z"), 1700006400000);
    assert_int_equal(time_of("2023-11-14T22:13:20Z"), 1700000000000); /* nothing else looks like this */
    assert_int_equal(time_of("2023-11-15 00:13"), 1699999980000);
    assert_int_equal(time_of("-10m"), NOW_MS - 600000);
    assert_int_equal(time_of("-1.5s"), NOW_MS - 1500);
    assert_int_equal(time_of("-2d"), NOW_MS - 2 * 86400000);
}

static void anything_else_is_refused_with_what_is_allowed(void **state)
{
    static const char *const bad[] = {"", "-1", "-1.5", "-10x", "2023-02-31", "2023-11-14T25:00Z", "begin", "@", "@-", "@-1x", "@2023-02-31", "@2023-13-01",
                                      "@2023-1-1x", "@2023-11-14T25:00", "@2023-11-14T22:13:20+99:00", "1e3", "@12345678901234567890",
                                      "99999999999999999999", "@2023-11-14T22:13Zx"};
    struct mr_when when;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (mr_when_parse(&when, bad[i], NOW_MS, &err) != -EINVAL)
            fail_msg("'%s' was taken", bad[i]);
        assert_non_null(strstr(err.text, "it must be start, end, an offset, or a time: 2026-01-31T12:00:00Z"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_and_offsets),
        cmocka_unit_test(times_absolute_relative_and_with_zones),
        cmocka_unit_test(anything_else_is_refused_with_what_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
