/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's clock: never back, on one thread or between two; near CLOCK_MONOTONIC; and, by moving the line under it, what it does after
 * a jump. The file is included, so that the line can be moved. */
#include "tests/support/unit.h"

#include <unistd.h>

#include "drivers/clock/tsc.c"

static void the_first_use_takes_two_milliseconds_at_most(void **state)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 5; i++) { /* the best of some: the core may be taken from us in any one of them */
        struct machine_clock other = {.clock = {.ops = &system_ops}};
        uint64_t before = system_ns(CLOCK_MONOTONIC);
#if defined(__x86_64__)
        calibrate(&other);
#endif
        best = mr_min_u64(best, system_ns(CLOCK_MONOTONIC) - before);
        assert_non_null(other.clock.ops);
    }
    assert_true(best <= 2 * NS_PER_MS);
}

static void it_never_goes_back_and_stays_near_the_kernels(void **state)
{
    struct mr_clock *clock = mr_clock_machine();
    uint64_t last = mr_clock_now_ns(clock), end = last + 150 * (uint64_t)NS_PER_MS, best = UINT64_MAX;
    while (last < end) {
        uint64_t now = mr_clock_now_ns(clock);
        assert_true(now >= last);
        last = now;
    }
    for (int i = 0; i < 100; i++) {
        uint64_t before = system_ns(CLOCK_MONOTONIC), now = mr_clock_now_ns(clock), after = system_ns(CLOCK_MONOTONIC);
        uint64_t off = now < before ? before - now : now > after ? now - after : 0;
        best = mr_min_u64(best, off);
    }
    assert_true(best < 20000); /* 20 us */
}

static _Atomic uint64_t latest;
static _Atomic uint32_t is_over;

static void *watch(void *argument)
{
    struct mr_clock *clock = argument;
    uint64_t went_back = 0;
    while (mr_load_relaxed(&is_over) == 0) {
        uint64_t seen = mr_load_acquire(&latest), now = mr_clock_now_ns(clock);
        went_back = mr_max_u64(went_back, now < seen ? seen - now : 0);
        while (seen < now && !mr_compare_exchange(&latest, &seen, now))
            ;
    }
    return (void *)(uintptr_t)went_back;
}

static void what_one_thread_has_seen_no_other_sees_later_as_earlier(void **state)
{
    pthread_t thread[2];
    void *went_back[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, watch, mr_clock_machine()), 0);
    usleep(150000);
    mr_store_relaxed(&is_over, 1);
    for (int i = 0; i < 2; i++) {
        pthread_join(thread[i], &went_back[i]);
        assert_true((uintptr_t)went_back[i] <= 100); /* ns: cores' counters may differ by some ticks */
    }
}

static void the_wall_is_unix_time_in_milliseconds(void **state)
{
    struct mr_clock *clock = mr_clock_machine();
    uint64_t before = system_ns(CLOCK_REALTIME) / NS_PER_MS, wall = mr_clock_wall_ms(clock), after = system_ns(CLOCK_REALTIME) / NS_PER_MS;
    assert_true(wall + 1 >= before && wall <= after);
}

#if defined(__x86_64__)

/* A clock of our own, calibrated, with its look due now. */
static void make_due(struct machine_clock *machine)
{
    calibrate(machine);
    mr_store_relaxed(&machine->line.look_tsc, 0);
}

static void far_behind_it_steps_to_the_kernels_time(void **state)
{
    struct machine_clock machine = {.clock = {.ops = &system_ops}};
    make_due(&machine);
    mr_store_relaxed(&machine.line.base_ns, mr_load_relaxed(&machine.line.base_ns) - 5 * (uint64_t)NS_PER_S);
    uint64_t before = system_ns(CLOCK_MONOTONIC), now = mr_clock_now_ns(&machine.clock), after = system_ns(CLOCK_MONOTONIC);
    assert_true(now + 20000 >= before && now <= after + 20000);
}

static void far_ahead_it_runs_at_half_speed_and_not_back(void **state)
{
    struct machine_clock machine = {.clock = {.ops = &system_ops}};
    make_due(&machine);
    uint64_t ahead = system_ns(CLOCK_MONOTONIC) + 5 * (uint64_t)NS_PER_S;
    uint64_t true_slope = mr_load_relaxed(&machine.line.slope);
    mr_store_relaxed(&machine.line.base_ns, ahead);
    uint64_t now = mr_clock_now_ns(&machine.clock);
    assert_true(now >= ahead);
    uint64_t slope = mr_load_relaxed(&machine.line.slope);
    assert_true(slope > true_slope * 45 / 100 && slope < true_slope * 55 / 100);
}

static void drift_is_made_up_for_by_leaning(void **state)
{
    struct machine_clock machine = {.clock = {.ops = &system_ops}};
    make_due(&machine);
    uint64_t true_slope = mr_load_relaxed(&machine.line.slope), base_ns = mr_load_relaxed(&machine.line.base_ns);
    mr_store_relaxed(&machine.line.base_ns, base_ns - 100000); /* 100 us behind: 1 % of the first interval of 10 ms */
    uint64_t before = on_line(mr_load_relaxed(&machine.line.base_tsc), base_ns - 100000, true_slope, read_tsc());
    assert_true(mr_clock_now_ns(&machine.clock) >= before);
    uint64_t slope = mr_load_relaxed(&machine.line.slope);
    assert_true(slope > true_slope + true_slope / 200 && slope < true_slope + true_slope / 50);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_use_takes_two_milliseconds_at_most),
        cmocka_unit_test(it_never_goes_back_and_stays_near_the_kernels),
        cmocka_unit_test(what_one_thread_has_seen_no_other_sees_later_as_earlier),
        cmocka_unit_test(the_wall_is_unix_time_in_milliseconds),
#if defined(__x86_64__)
        cmocka_unit_test(far_behind_it_steps_to_the_kernels_time),
        cmocka_unit_test(far_ahead_it_runs_at_half_speed_and_not_back),
        cmocka_unit_test(drift_is_made_up_for_by_leaning),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
