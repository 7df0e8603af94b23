/* SPDX-License-Identifier: Apache-2.0 */
/* What a report says: medians, ratios, and when a limit proves nothing. */
#include "tests/support/unit.h"

#include "bench/measure/measure.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

static struct mr_measure of(const double *value, const double *limit, uint32_t count)
{
    struct mr_measure measure = {.name = "ring", .unit = "records/s", .limit_name = limit != NULL ? "bare ring" : NULL};
    for (uint32_t i = 0; i < count; i++) {
        mr_series_add(&measure.value, value[i]);
        if (limit != NULL)
            mr_series_add(&measure.limit, limit[i]);
    }
    return measure;
}

static void median_is_the_middle_value_or_between_the_two(void **state)
{
    struct mr_measure odd = of((double[]){9, 1, 5}, NULL, 3), even = of((double[]){4, 1, 2, 9}, NULL, 4), none = {0};
    struct mr_spread spread = mr_series_spread(&odd.value);

    assert_true(spread.median == 5 && spread.min == 1 && spread.max == 9);
    assert_true(mr_series_spread(&even.value).median == 3);
    assert_true(mr_series_spread(&none.value).median == 0);
}

static void ratio_is_of_medians_and_its_spread_of_pairs(void **state)
{
    struct mr_measure measure = of((double[]){50, 60, 10}, (double[]){100, 80, 90}, 3), alone = of((double[]){1}, NULL, 1);
    struct mr_spread ratio;

    assert_true(mr_measure_ratio(&measure, &ratio));
    assert_float_equal(ratio.median, 50.0 / 90, 1e-9);
    assert_float_equal(ratio.min, 10.0 / 90, 1e-9);
    assert_float_equal(ratio.max, 60.0 / 80, 1e-9);
    assert_false(mr_measure_ratio(&alone, &ratio));
}

static void a_limit_that_moves_by_more_than_a_fifth_is_too_noisy(void **state)
{
    struct mr_measure calm = of((double[]){1, 1, 1}, (double[]){100, 110, 91}, 3);
    struct mr_measure moved = of((double[]){1, 1, 1}, (double[]){100, 111, 90}, 3);

    assert_false(mr_measure_too_noisy(&calm));
    assert_true(mr_measure_too_noisy(&moved));
}

static void json_has_the_promised_members(void **state)
{
    struct mr_measure measure = of((double[]){50, 60, 40}, (double[]){100, 100, 100}, 3);
    char *text = NULL;
    size_t bytes = 0;

    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    mr_measure_print(&measure, true, out);
    fclose(out);
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "name")), "ring");
    assert_float_equal(json_number_value(json_object_get(root, "value")), 50, 1e-9);
    assert_float_equal(json_number_value(json_object_get(root, "limit")), 100, 1e-9);
    assert_float_equal(json_number_value(json_object_get(json_object_get(root, "ratio"), "max")), 0.6, 1e-9);
    assert_int_equal(json_integer_value(json_object_get(root, "runs")), 3);
    assert_true(strlen(json_string_value(json_object_get(root, "machine"))) > 0);
    assert_true(strlen(json_string_value(json_object_get(root, "commit"))) > 0);
    json_decref(root);
    free(text);
}

static void cpu_time_of_a_process_that_is_not_there_is_zero(void **state)
{
    assert_true(mr_measure_cpu_seconds(0x7ffffff0) == 0);
    assert_true(mr_measure_cpu_seconds((int)getpid()) >= 0);
}

static void a_core_that_is_not_there_names_the_option(void **state)
{
    struct millrace_error err = {0};

    assert_int_equal(mr_measure_pin(100000, &err), -EINVAL);
    assert_non_null(strstr(err.text, "--cpus"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(median_is_the_middle_value_or_between_the_two),
        cmocka_unit_test(ratio_is_of_medians_and_its_spread_of_pairs),
        cmocka_unit_test(a_limit_that_moves_by_more_than_a_fifth_is_too_noisy),
        cmocka_unit_test(json_has_the_promised_members),
        cmocka_unit_test(cpu_time_of_a_process_that_is_not_there_is_zero),
        cmocka_unit_test(a_core_that_is_not_there_names_the_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
