/* SPDX-License-Identifier: Apache-2.0 */
/* What the log knows of producers: sequences, the runs that find duplicates, and for how long. */
#include "tests/support/unit.h"

#include <errno.h>

#include "dataplane/log/journal.h"
#include "shm/base/atomics.h"
#include "shm/batch/batch.h"
#include "tests/unit/dataplane/log/world_steps.h"

static void sequences_wrap_and_duplicates_are_found_in_their_runs(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.partitions = 1;
    struct log_world *w = open_world(&options);
    struct mr_partition *p = w->partition[0].log;
    struct mr_producer *producer, *same;
    int64_t base;
    uint64_t end;

    assert_int_equal(mr_partition_producer(p, 1000, 0, &producer), 0); /* the one that log_world_append() uses: it begins at 2^31 - 16 */
    assert_int_equal(mr_producer_next_sequence(producer), -1);
    assert_int_equal(mr_producer_judge(producer, 12345), MR_SEQUENCE_NEXT);
    append(w, 0, 10, 20);
    append(w, 0, 10, 20);
    assert_int_equal(mr_producer_next_sequence(producer), 4); /* 2^31 - 16 + 20, mod 2^31 */
    assert_int_equal(mr_producer_judge(producer, 4), MR_SEQUENCE_NEXT);
    assert_int_equal(mr_producer_judge(producer, (1ull << 31) + 4), MR_SEQUENCE_NEXT); /* 64 bits at the door */
    assert_int_equal(mr_producer_judge(producer, 5), MR_SEQUENCE_OUT_OF_ORDER);
    assert_int_equal(mr_producer_judge(producer, 3), MR_SEQUENCE_DUPLICATE);
    assert_int_equal(mr_producer_judge(producer, 0x7ffffff0), MR_SEQUENCE_DUPLICATE);
    mr_producer_duplicate(p, producer, 3, &base, &end);
    assert_int_equal(base, 19);
    assert_int_equal(end, 20);
    mr_producer_duplicate(p, producer, 0x7ffffff1, &base, &end);
    assert_int_equal(base, 1);
    mr_producer_duplicate(p, producer, 0x7fffff00, &base, &end); /* older than all that is remembered */
    assert_int_equal(base, -1);
    assert_int_equal(mr_partition_producer(p, 1000, 0, &same), 0);
    assert_ptr_equal(same, producer);
    assert_int_equal(mr_partition_producer(p, 1000, 3, &same), 0);
    assert_int_equal(mr_producer_next_sequence(producer), -1); /* a new epoch begins anew */
    assert_int_equal(mr_partition_producer(p, 1000, 2, &same), -EPERM);
    log_world_close(w);
}

static void append_one(struct mr_partition *p, struct mr_producer *producer, uint64_t sequence)
{
    struct mr_appended appended;
    assert_int_equal(mr_partition_begin(p, producer, sequence, 40), 0);
    assert_true(mr_batch_add_value(mr_partition_writer(p), 1, "x", 1));
    mr_partition_finish(p, &appended);
    assert_int_equal(appended.count, 1);
}

static void runs_are_remembered_64_deep(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    struct log_world *w = open_world(&options);
    struct mr_partition *p = w->partition[0].log;
    struct mr_producer *a, *b;
    int64_t base;
    uint64_t end;

    append(w, 0, 1, 1); /* memory comes; offset 0 */
    assert_int_equal(mr_partition_producer(p, 1, 0, &a), 0);
    assert_int_equal(mr_partition_producer(p, 2, 0, &b), 0);
    for (uint32_t i = 0; i < 100; i++) { /* interleaved, so that no run grows */
        append_one(p, a, i);
        append_one(p, b, i);
    }
    mr_producer_duplicate(p, a, 99, &base, &end);
    assert_int_equal(base, 199);
    mr_producer_duplicate(p, a, 36, &base, &end);
    assert_int_equal(base, 73);
    mr_producer_duplicate(p, a, 35, &base, &end); /* the 65th from the end */
    assert_int_equal(base, -1);
    assert_in_range(end, 72, 73); /* it lies below the oldest run */
    log_world_close(w);
}

static void an_open_batch_counts_for_sequences(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    struct log_world *w = open_world(&options);
    struct mr_partition *p = w->partition[0].log;
    struct mr_producer *producer;
    struct mr_appended appended;
    int64_t base;
    uint64_t end;

    append(w, 0, 1, 1);
    assert_int_equal(mr_partition_producer(p, 7, 0, &producer), 0);
    assert_int_equal(mr_partition_begin(p, producer, 50, 40), 0);
    mr_partition_finish(p, &appended); /* empty: as if it had never been */
    assert_int_equal(appended.count, 0);
    assert_int_equal(mr_producer_next_sequence(producer), -1);
    assert_int_equal(mr_partition_begin(p, producer, 60, 40), 0);
    assert_true(mr_batch_add_value(mr_partition_writer(p), 1, "x", 1));
    assert_int_equal(mr_producer_judge(producer, 61), MR_SEQUENCE_NEXT);
    assert_int_equal(mr_producer_judge(producer, 60), MR_SEQUENCE_DUPLICATE);
    mr_producer_duplicate(p, producer, 60, &base, &end);
    assert_int_equal(base, 1);
    mr_partition_finish(p, &appended);
    assert_int_equal(appended.base_offset, 1);
    assert_null(mr_partition_writer(p));
    log_world_close(w);
}

static void producers_outlive_a_kill_and_a_power_cut(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    struct log_world *w = open_world(&options);
    struct millrace_error err;

    for (uint32_t i = 0; i < 50; i++)
        append(w, 0, 7, 300);
    uint64_t next = w->partition[0].next_sequence & 0x7fffffff;
    log_world_kill(w);
    assert_int_equal(log_world_start(w, &err), 0);
    struct mr_producer *producer;
    assert_int_equal(mr_partition_producer(w->partition[0].log, 1000, 0, &producer), 0);
    assert_int_equal(mr_producer_next_sequence(producer), next);
    assert_true(log_world_settle(w, 1000));
    log_world_power_cut(w);
    assert_int_equal(log_world_start(w, &err), 0);
    assert_int_equal(mr_partition_producer(w->partition[0].log, 1000, 0, &producer), 0);
    assert_int_equal(mr_producer_next_sequence(producer), next);
    log_world_close(w);
}

#define WINDOW_MS 3600000u
#define MINUTE_NS 60000000000ull

static bool is_known(struct log_world *w, int64_t producer_id)
{
    struct mr_producer *producer;
    assert_int_equal(mr_partition_producer(w->partition[0].log, producer_id, 0, &producer), 0);
    bool known = mr_producer_next_sequence(producer) >= 0;
    if (known)
        assert_int_equal(mr_producer_judge(producer, 5), MR_SEQUENCE_DUPLICATE);
    mr_producer_release(producer); /* used: this counts from now on */
    return known;
}

/* One record each of these producers, which then leave. Its timestamp is of 1970: what a client writes there means nothing. */
static void come_and_go(struct log_world *w, int64_t from, int64_t end)
{
    struct mr_producer *producer;
    append(w, 0, 1, 1); /* memory comes */
    for (int64_t id = from; id < end; id++) {
        assert_int_equal(mr_partition_producer(w->partition[0].log, id, 0, &producer), 0);
        append_one(w->partition[0].log, producer, 5);
        mr_producer_release(producer);
        for (uint32_t i = 0; i < 4; i++)
            log_world_step(w);
    }
}

static void pass_minutes(struct log_world *w, uint32_t minutes)
{
    for (uint32_t i = 0; i < minutes; i++) {
        w->now_ns += MINUTE_NS;
        for (uint32_t k = 0; k < 8; k++)
            log_world_step(w);
    }
}

static void producers_are_forgotten_after_the_time_and_not_within(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.producer_expiration_ms = WINDOW_MS;
    options.extent_bytes = 2u << 20;
    options.segment_bytes = 4u << 20;
    struct log_world *w = open_world(&options);
    const struct mr_log_counters *counters = mr_log_counters(w->reactor[0].log);
    struct mr_producer *attached;

    assert_int_equal(mr_partition_producer(w->partition[0].log, 99, 0, &attached), 0);
    append(w, 0, 1, 1);
    append_one(w->partition[0].log, attached, 5);
    come_and_go(w, 100, 400);
    assert_int_equal(counters->producers, 302); /* and the world's own, which is never released */
    pass_minutes(w, 40);
    come_and_go(w, 400, 410);
    pass_minutes(w, 19);
    for (int64_t id = 100; id < 110; id++)
        assert_true(is_known(w, id)); /* in the last minute */
    pass_minutes(w, 7);
    assert_int_equal(counters->producers, 2 + 10 + 10);
    pass_minutes(w, 60);
    assert_int_equal(counters->producers, 2);
    assert_false(is_known(w, 105));
    assert_int_equal(mr_producer_judge(attached, 5), MR_SEQUENCE_DUPLICATE); /* however long it says nothing */
    mr_producer_release(attached);
    pass_minutes(w, 59);
    assert_true(is_known(w, 99));
    log_world_close(w);
}

static void a_start_forgets_nobody_too_soon(void **state)
{
    struct log_world_options options;
    log_world_options_init(&options);
    options.producer_expiration_ms = WINDOW_MS;
    struct log_world *w = open_world(&options);
    struct millrace_error err;

    come_and_go(w, 100, 110);
    pass_minutes(w, 40);
    assert_true(log_world_settle(w, 1000));
    log_world_kill(w);
    assert_int_equal(log_world_start(w, &err), 0); /* from memory: the batches do not tell when they came */
    pass_minutes(w, 40);
    log_world_power_cut(w);
    assert_int_equal(log_world_start(w, &err), 0); /* and from disk */
    pass_minutes(w, 40);
    assert_true(is_known(w, 100));
    append(w, 0, 1, 1);
    assert_true(log_world_stop(w, 10000)); /* with a snapshot, and that tells */
    w->now_ns += 10 * MINUTE_NS;
    assert_int_equal(log_world_start(w, &err), 0);
    pass_minutes(w, 8);
    assert_true(is_known(w, 101));
    append(w, 0, 1, 1);
    assert_true(log_world_stop(w, 10000));
    w->now_ns += 61 * MINUTE_NS;
    assert_int_equal(log_world_start(w, &err), 0);
    pass_minutes(w, 1);
    assert_int_equal(mr_log_counters(w->reactor[0].log)->producers, 2); /* those that were used after the last look before the snapshot */
    pass_minutes(w, 64);
    assert_int_equal(mr_log_counters(w->reactor[0].log)->producers, 0);
    log_world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_wrap_and_duplicates_are_found_in_their_runs),
        cmocka_unit_test(runs_are_remembered_64_deep),
        cmocka_unit_test(an_open_batch_counts_for_sequences),
        cmocka_unit_test(producers_outlive_a_kill_and_a_power_cut),
        cmocka_unit_test(producers_are_forgotten_after_the_time_and_not_within),
        cmocka_unit_test(a_start_forgets_nobody_too_soon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
