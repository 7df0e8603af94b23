/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/unit.h"

#include "drivers/clock/sim.h"

static void time_stands_still_until_it_is_advanced(void **state)
{
    struct mr_sim_clock sim;
    mr_sim_clock_init(&sim, 500, 1700000000000u);
    assert_int_equal(mr_clock_now_ns(&sim.clock), 500);
    assert_int_equal(mr_clock_now_ns(&sim.clock), 500);
    mr_sim_clock_advance(&sim, 2500000);
    assert_int_equal(mr_clock_now_ns(&sim.clock), 2500500);
    assert_int_equal(mr_clock_wall_ms(&sim.clock), 1700000000002u);
}

static void a_step_of_the_wall_leaves_the_monotonic_clock_alone(void **state)
{
    struct mr_sim_clock sim;
    mr_sim_clock_init(&sim, 0, 5000);
    mr_sim_clock_step_wall(&sim, -3000);
    assert_int_equal(mr_clock_wall_ms(&sim.clock), 2000);
    assert_int_equal(mr_clock_now_ns(&sim.clock), 0);
    mr_sim_clock_step_wall(&sim, -9000);
    assert_int_equal(mr_clock_wall_ms(&sim.clock), 0); /* not a huge number */
}

static void advance_to_never_goes_back(void **state)
{
    struct mr_sim_clock sim;
    mr_sim_clock_init(&sim, 1000, 0);
    mr_sim_clock_advance_to(&sim, 900);
    assert_int_equal(mr_clock_now_ns(&sim.clock), 1000);
    mr_sim_clock_advance_to(&sim, 1100);
    assert_int_equal(mr_clock_now_ns(&sim.clock), 1100);
}

static void a_skewed_clock_gains_or_loses(void **state)
{
    struct mr_sim_clock sim;
    mr_sim_clock_init(&sim, 0, 0);
    mr_sim_clock_set_skew(&sim, 200);
    mr_sim_clock_advance(&sim, 1000000000);
    assert_int_equal(mr_clock_now_ns(&sim.clock), 1000200000);
    mr_sim_clock_set_skew(&sim, -200);
    mr_sim_clock_advance(&sim, 1000000000);
    assert_int_equal(mr_clock_now_ns(&sim.clock), 2000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_stands_still_until_it_is_advanced),
        cmocka_unit_test(a_step_of_the_wall_leaves_the_monotonic_clock_alone),
        cmocka_unit_test(advance_to_never_goes_back),
        cmocka_unit_test(a_skewed_clock_gains_or_loses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
