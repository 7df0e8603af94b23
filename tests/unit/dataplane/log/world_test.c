/* SPDX-License-Identifier: Apache-2.0 */
/* The core in a whole simulated node: appended, made durable, stopped, killed, cut off, and read back. */
#include "tests/support/unit.h"

#include <errno.h>

#include "shm/base/atomics.h"
#include "tests/support/log_world.h"

static void start(struct log_world *w)
{
    struct millrace_error err = {0};
    int rc = log_world_start(w, &err);
    if (rc != 0)
        fail_msg("start: %d: %s", rc, err.text);
}

static void append_some(struct log_world *w, uint32_t rounds, uint32_t count, uint32_t value_bytes)
{
    for (uint32_t i = 0; i < rounds; i++) {
        for (uint32_t p = 0; p < w->options.partitions; p++) {
            int rc = log_world_append(w, p, count, value_bytes);
            assert_true(rc > 0 || rc == -EAGAIN);
        }
        log_world_step(w);
    }
}

static void appended_records_become_durable_and_visible(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    struct log_world *w = log_world_open(&options);
    start(w);
    append_some(w, 20, 3, 100);
    assert_true(log_world_settle(w, 1000));
    uint64_t end = log_world_end(w, 0);
    assert_true(end > 30);
    assert_int_equal(log_world_durable(w, 0), end);
    assert_int_equal(mr_load_relaxed(&w->partition[0].head->visible), end);
    assert_int_equal(log_world_check_memory(w, 0), 0);
    log_world_close(w);
}

static void clean_stop_leaves_whole_files(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.partitions = 5;
    struct log_world *w = log_world_open(&options);
    start(w);
    append_some(w, 300, 3, 300);
    uint64_t end[5], files_end;
    for (uint32_t p = 0; p < 5; p++)
        end[p] = log_world_end(w, p);
    assert_true(end[0] > 500);
    assert_true(log_world_stop(w, 2000));
    for (uint32_t p = 0; p < 5; p++) {
        assert_int_equal(log_world_check_files(w, p, &files_end), 0);
        assert_int_equal(files_end, end[p]);
    }
    start(w);
    for (uint32_t p = 0; p < 5; p++)
        assert_int_equal(log_world_end(w, p), end[p]);
    append_some(w, 50, 3, 300);
    assert_true(log_world_stop(w, 2000));
    for (uint32_t p = 0; p < 5; p++) {
        log_world_check_files(w, p, &files_end);
        assert_true(files_end > end[p]);
    }
    log_world_close(w);
}

static void what_was_durable_outlives_a_power_cut(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.partitions = 6;
    options.reactors = 2;
    options.seed = test_seed();
    struct log_world *w = log_world_open(&options);
    start(w);
    for (uint32_t round = 0; round < 6; round++) {
        uint64_t durable[6];
        append_some(w, 40 + round * 30, 1 + round * 3, 40 + round * 150);
        for (uint32_t p = 0; p < 6; p++)
            durable[p] = log_world_durable(w, p);
        log_world_power_cut(w);
        start(w);
        for (uint32_t p = 0; p < 6; p++) {
            assert_false(w->partition[p].is_offline);
            assert_in_range(log_world_end(w, p), durable[p], UINT64_MAX);
        }
    }
    log_world_close(w);
}

static void everything_outlives_a_kill(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.partitions = 6;
    options.reactors = 2;
    options.seed = test_seed();
    struct log_world *w = log_world_open(&options);
    start(w);
    for (uint32_t round = 0; round < 10; round++) {
        uint64_t end[6];
        append_some(w, 20 + round * 20, 1 + round * 3, 40 + round * 150);
        for (uint32_t p = 0; p < 6; p++)
            end[p] = log_world_end(w, p);
        log_world_kill(w);
        start(w);
        for (uint32_t p = 0; p < 6; p++) {
            assert_true(w->partition[p].was_adopted);
            assert_int_equal(log_world_end(w, p), end[p]);
            log_world_check_memory(w, p);
        }
    }
    append_some(w, 100, 3, 300);
    uint64_t end[6];
    for (uint32_t p = 0; p < 6; p++)
        end[p] = log_world_end(w, p);
    assert_true(log_world_stop(w, 3000));
    for (uint32_t p = 0; p < 6; p++) {
        uint64_t files_end;
        assert_int_equal(log_world_check_files(w, p, &files_end), 0);
        assert_int_equal(files_end, end[p]);
    }
    log_world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appended_records_become_durable_and_visible),
        cmocka_unit_test(clean_stop_leaves_whole_files),
        cmocka_unit_test(what_was_durable_outlives_a_power_cut),
        cmocka_unit_test(everything_outlives_a_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
