/* SPDX-License-Identifier: Apache-2.0 */
/* Which runs are compared, and when it is said that they could not be. */
#include "tests/support/unit.h"

#include "bench/measure/cores.h"

#include <jansson.h>
#include <string.h>

#define FAR MR_CORES_FAR
#define NEAR MR_CORES_NEAR
#define MIX MR_CORES_MIXED

static void a_round_trip_tells_near_from_far_and_a_slowdown_siblings(void **state)
{
    assert_int_equal(mr_cores_of(60, 1, 0), NEAR);
    assert_int_equal(mr_cores_of(199, 1.1, 0), NEAR);
    assert_int_equal(mr_cores_of(200, 1, 0), FAR);
    assert_int_equal(mr_cores_of(430, 1.39, 0), FAR);
    assert_int_equal(mr_cores_of(120, 1, 90), FAR); /* a machine whose cores are nearer */
    assert_int_equal(mr_cores_of(60, 1.4, 0), MR_CORES_SIBLINGS);
    assert_int_equal(mr_cores_of(60, 2, 50), MR_CORES_SIBLINGS);
}

static void looks_that_disagree_are_mixed_wherever_the_odd_one_is(void **state)
{
    for (uint32_t bits = 0; bits < 1u << MR_CORES_LOOKS; bits++) {
        enum mr_cores looks[MR_CORES_LOOKS];
        for (uint32_t i = 0; i < MR_CORES_LOOKS; i++)
            looks[i] = bits >> i & 1 ? FAR : NEAR;
        assert_int_equal(mr_cores_agreed(looks), bits == 0 ? NEAR : bits == (1u << MR_CORES_LOOKS) - 1 ? FAR : MIX);
    }
}

static void only_the_words_of_the_option_are_parsed(void **state)
{
    enum mr_cores cores = MIX;

    assert_true(mr_cores_parse("any", &cores) && cores == MR_CORES_ANY);
    assert_true(mr_cores_parse("far", &cores) && cores == FAR);
    assert_true(mr_cores_parse("near", &cores) && cores == NEAR);
    assert_true(mr_cores_parse("siblings", &cores) && cores == MR_CORES_SIBLINGS);
    assert_false(mr_cores_parse("mixed", &cores));
    assert_false(mr_cores_parse("", &cores));
}

static void pairs_are_taken_until_enough_are_of_the_mode_asked_for(void **state)
{
    struct mr_pairs pairs = {.wanted_mode = FAR, .wanted = 2, .end_ns = 100};
    static const enum mr_cores modes[] = {NEAR, FAR, MIX, NEAR, NEAR, FAR};

    for (uint32_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        assert_true(mr_pairs_more(&pairs, 99));
        mr_pairs_add(&pairs, modes[i]);
    }
    assert_false(mr_pairs_more(&pairs, 99));
}

static void of_any_all_modes_count_and_mixed_does_not(void **state)
{
    struct mr_pairs pairs = {.wanted_mode = MR_CORES_ANY, .wanted = 3, .end_ns = 100};

    mr_pairs_add(&pairs, NEAR);
    mr_pairs_add(&pairs, MIX);
    mr_pairs_add(&pairs, FAR);
    assert_true(mr_pairs_more(&pairs, 0));
    mr_pairs_add(&pairs, NEAR);
    assert_false(mr_pairs_more(&pairs, 0));
}

static void time_and_room_bound_the_search(void **state)
{
    struct mr_pairs pairs = {.wanted_mode = FAR, .wanted = 5, .end_ns = 100};

    assert_false(mr_pairs_more(&pairs, 100));
    for (uint32_t i = 0; i < MR_MEASURE_RUNS_MAX; i++)
        mr_pairs_add(&pairs, MIX);
    assert_false(mr_pairs_more(&pairs, 0));
}

static void a_mode_that_was_had_often_enough_is_waited_out(void **state)
{
    struct mr_pairs pairs = {.wanted_mode = FAR, .wanted = 1, .end_ns = 100};

    assert_true(mr_pairs_of_use(&pairs, NEAR));
    mr_pairs_add(&pairs, NEAR);
    assert_false(mr_pairs_of_use(&pairs, NEAR));
    assert_true(mr_pairs_of_use(&pairs, FAR));
}

static struct mr_measure measured(struct mr_pairs *pairs, enum mr_cores wanted_mode, uint32_t wanted)
{
    struct mr_measure all = {.name = "ping", .unit = "ns", .limit_name = "ping-pong"};
    static const enum mr_cores modes[] = {NEAR, FAR, MIX, NEAR};

    *pairs = (struct mr_pairs){.wanted_mode = wanted_mode, .wanted = wanted, .end_ns = 100};
    for (uint32_t i = 0; i < 4; i++) {
        mr_pairs_add(pairs, modes[i]);
        mr_series_add(&all.value, 10 * (i + 1));
        mr_series_add(&all.limit, i + 1);
    }
    return all;
}

static void value_and_limit_of_a_mode_stay_together(void **state)
{
    struct mr_pairs pairs;
    struct mr_measure all = measured(&pairs, NEAR, 2), one;

    assert_true(mr_pairs_select(&pairs, &all, NEAR, &one));
    assert_int_equal(one.value.count, 2);
    assert_true(one.value.value[0] == 10 && one.limit.value[0] == 1 && one.value.value[1] == 40 && one.limit.value[1] == 4);
    assert_true(mr_pairs_select(&pairs, &all, FAR, &one));
    assert_true(one.value.count == 1 && one.value.value[0] == 20 && one.limit.value[0] == 2);
}

static void too_few_pairs_of_the_mode_asked_for_are_too_noisy(void **state)
{
    struct mr_pairs pairs;
    struct mr_measure all = measured(&pairs, FAR, 1), one;

    assert_true(mr_pairs_select(&pairs, &all, FAR, &one));
    assert_false(mr_measure_too_noisy(&one));
    all = measured(&pairs, FAR, 2);
    assert_true(mr_pairs_select(&pairs, &all, FAR, &one));
    assert_true(mr_measure_too_noisy(&one));
}

static void a_mode_that_was_not_had_is_reported_only_if_it_was_asked_for(void **state)
{
    struct mr_pairs pairs = {.wanted_mode = FAR, .wanted = 2};
    struct mr_measure all = {.name = "ping", .unit = "ns", .limit_name = "ping-pong"}, one;
    char *text = NULL;
    size_t bytes = 0;

    assert_false(mr_pairs_select(&pairs, &all, NEAR, &one));
    assert_true(mr_pairs_select(&pairs, &all, FAR, &one));
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    mr_measure_print(&one, true, out);
    fclose(out);
    json_t *root = json_loads(text, 0, NULL), *cores = json_object_get(root, "cores");
    assert_true(json_is_null(json_object_get(root, "value")));
    assert_string_equal(json_string_value(json_object_get(cores, "mode")), "far");
    assert_int_equal(json_integer_value(json_object_get(cores, "pairs")), 0);
    assert_int_equal(json_integer_value(json_object_get(cores, "wanted")), 2);
    json_decref(root);
    free(text);
    out = open_memstream(&text, &bytes);
    assert_non_null(out);
    mr_measure_print(&one, false, out);
    fclose(out);
    assert_non_null(strstr(text, "too noisy"));
    assert_non_null(strstr(text, "far"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_round_trip_tells_near_from_far_and_a_slowdown_siblings),
        cmocka_unit_test(looks_that_disagree_are_mixed_wherever_the_odd_one_is),
        cmocka_unit_test(only_the_words_of_the_option_are_parsed),
        cmocka_unit_test(pairs_are_taken_until_enough_are_of_the_mode_asked_for),
        cmocka_unit_test(of_any_all_modes_count_and_mixed_does_not),
        cmocka_unit_test(time_and_room_bound_the_search),
        cmocka_unit_test(a_mode_that_was_had_often_enough_is_waited_out),
        cmocka_unit_test(value_and_limit_of_a_mode_stay_together),
        cmocka_unit_test(too_few_pairs_of_the_mode_asked_for_are_too_noisy),
        cmocka_unit_test(a_mode_that_was_not_had_is_reported_only_if_it_was_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
