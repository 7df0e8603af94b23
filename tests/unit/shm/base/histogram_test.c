/* SPDX-License-Identifier: Apache-2.0 */
/* A percentile is never below what was recorded and at most 1/64 above it, for every u64; merging is recording into one. */
#include "shm/base/histogram.h"
#include "tests/support/unit.h"

#include "shm/base/random.h"

#include <stdlib.h>
#include <string.h>

static struct mr_histogram one, other, both;

static int reset_all(void **state)
{
    mr_histogram_reset(&one);
    mr_histogram_reset(&other);
    mr_histogram_reset(&both);
    return 0;
}

static void bucket_ends_are_within_one_64th_of_every_value(void **state)
{
    uint64_t seed = test_seed();
    struct mr_random random;

    mr_random_init(&random, seed, 1);
    for (uint32_t i = 0; i < 200000; i++) {
        uint64_t value = mr_random_next(&random) >> mr_random_below(&random, 64);
        uint64_t end = mr_histogram_bucket_end(mr_histogram_index(value));
        assert_true(end >= value);
        assert_true(end - value <= value / 64);
        assert_int_equal(mr_histogram_index(end), mr_histogram_index(value));
        if (end != UINT64_MAX)
            assert_int_equal(mr_histogram_index(end + 1), mr_histogram_index(value) + 1);
    }
    assert_int_equal(mr_histogram_index(UINT64_MAX), MR_HISTOGRAM_BUCKETS - 1);
    assert_int_equal(mr_histogram_bucket_end(MR_HISTOGRAM_BUCKETS - 1), UINT64_MAX);
    for (uint64_t value = 0; value < 128; value++)
        assert_int_equal(mr_histogram_bucket_end(mr_histogram_index(value)), value);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void percentiles_match_a_sorted_array(void **state)
{
    static uint64_t value[5000];
    struct mr_random random;

    mr_random_init(&random, test_seed(), 2);
    for (uint32_t i = 0; i < 5000; i++) {
        value[i] = mr_random_below(&random, 1ull << (1 + mr_random_below(&random, 40)));
        mr_histogram_record(&one, value[i]);
    }
    qsort(value, 5000, sizeof value[0], compare_u64);
    for (uint32_t percent = 0; percent <= 100; percent++) {
        uint32_t rank = percent * 5000 / 100;
        uint64_t exact = value[rank == 0 ? 0 : rank - 1];
        uint64_t got = mr_histogram_percentile(&one, percent);
        assert_true(got >= exact);
        assert_true(got - exact <= exact / 64);
    }
    assert_int_equal(mr_histogram_percentile(&one, 100), value[4999]);
    assert_int_equal(mr_histogram_min(&one), value[0]);
}

static void empty_has_zeros_and_says_so(void **state)
{
    char text[128];

    assert_int_equal(mr_histogram_percentile(&one, 50), 0);
    assert_int_equal(mr_histogram_min(&one), 0);
    assert_string_equal(mr_histogram_summary(&one, text, sizeof text), "no observations");
}

static void merging_equals_recording_into_one(void **state)
{
    for (uint64_t i = 1; i < 1000; i++) {
        mr_histogram_record(i % 3 == 0 ? &one : &other, i * i);
        mr_histogram_record(&both, i * i);
    }
    mr_histogram_merge(&one, &other);
    assert_memory_equal(&one, &both, sizeof one);
}

static void durations_print_three_digits_in_the_right_unit(void **state)
{
    static const struct {
        uint64_t ns;
        const char *text;
    } expected[] = {{0, "0 ns"},         {999, "999 ns"},         {1000, "1.00 us"},       {1240, "1.24 us"},       {99949, "99.9 us"},
                    {530000, "530 us"},  {999600, "1.00 ms"},     {3020000, "3.02 ms"},    {1500000000, "1.50 s"},  {120000000000, "120 s"}};
    char text[32];

    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        assert_string_equal(mr_duration_text(expected[i].ns, text, sizeof text), expected[i].text);
}

static void summary_names_the_percentiles(void **state)
{
    char text[128];

    for (uint64_t i = 1; i <= 1000; i++)
        mr_histogram_record(&one, i);
    mr_histogram_summary(&one, text, sizeof text);
    assert_string_equal(text, "p50 503 ns  p90 903 ns  p99 991 ns  p99.9 999 ns  max 1.00 us");
}

static void dump_is_a_monotone_distribution_that_ends_at_one(void **state)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);

    for (uint64_t i = 1; i <= 10000; i++)
        mr_histogram_record(&one, i * 100);
    assert_int_equal(mr_histogram_dump(&one, out), 0);
    fclose(out);
    assert_non_null(strstr(text, "Value     Percentile TotalCount 1/(1-Percentile)\n\n"));
    double value, percentile = 0, last_value = 0, last_percentile = 0;
    unsigned long long total = 0;
    uint32_t lines = 0;
    for (char *line = strstr(text, "\n\n") + 2; line[0] != '#'; line = strchr(line, '\n') + 1, lines++) {
        assert_int_equal(sscanf(line, "%lf %lf %llu", &value, &percentile, &total), 3);
        assert_true(value > last_value && percentile > last_percentile);
        last_value = value;
        last_percentile = percentile;
    }
    assert_true(lines > 20);
    assert_true(percentile == 1.0);
    assert_int_equal(total, 10000);
    assert_true(value == 1000.0); /* microseconds */
    assert_non_null(strstr(text, "#[Max     =     1000.000, Total count    =        10000]"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(bucket_ends_are_within_one_64th_of_every_value, reset_all),
        cmocka_unit_test_setup(percentiles_match_a_sorted_array, reset_all),
        cmocka_unit_test_setup(empty_has_zeros_and_says_so, reset_all),
        cmocka_unit_test_setup(merging_equals_recording_into_one, reset_all),
        cmocka_unit_test_setup(durations_print_three_digits_in_the_right_unit, reset_all),
        cmocka_unit_test_setup(summary_names_the_percentiles, reset_all),
        cmocka_unit_test_setup(dump_is_a_monotone_distribution_that_ends_at_one, reset_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
