/* SPDX-License-Identifier: Apache-2.0 */
/* Runs write, byte for byte, what the long way writes; and they stop where it must be taken. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "shm/batch/batch.h"

#define ROOM 400000u

struct pair {
    uint8_t run[ROOM], plain[ROOM];
    struct mr_batch_writer run_writer, plain_writer;
};

static struct pair *new_pair(size_t room)
{
    struct pair *pair = calloc(1, sizeof *pair);
    assert_non_null(pair);
    mr_batch_open(&pair->run_writer, pair->run, room, 7, 1, 3, 100, 2);
    mr_batch_open(&pair->plain_writer, pair->plain, room, 7, 1, 3, 100, 2);
    return pair;
}

/* As many values as a run takes, at most `count`; the same the long way. @return how many */
static uint32_t add_both(struct pair *pair, int64_t timestamp_ms, const uint8_t *value, uint32_t value_bytes, uint32_t count)
{
    struct mr_batch_run run;
    uint32_t added = 0;

    if (!mr_batch_run_begin(&run, &pair->run_writer, timestamp_ms, value_bytes))
        return 0;
    while (added < count && mr_batch_run_add(&run, value + added % 7))
        added++;
    mr_batch_run_end(&run, &pair->run_writer);
    for (uint32_t i = 0; i < added; i++)
        assert_true(mr_batch_add_value(&pair->plain_writer, timestamp_ms, value + i % 7, value_bytes));
    return added;
}

static void assert_same(struct pair *pair)
{
    uint32_t bytes = mr_batch_close(&pair->run_writer);
    assert_int_equal(bytes, mr_batch_close(&pair->plain_writer));
    assert_memory_equal(pair->run, pair->plain, bytes);
    if (bytes > 0)
        assert_int_equal(mr_batch_check(pair->run, bytes, 0), MR_BATCH_OK);
    free(pair);
}

static void writes_what_the_long_way_writes_for_every_size(void **state)
{
    (void)state;
    static uint8_t value[MR_BATCH_RUN_VALUE_BYTES + 8];
    for (size_t i = 0; i < sizeof value; i++)
        value[i] = (uint8_t)(i * 7 + 1);
    for (uint32_t bytes = 0; bytes <= MR_BATCH_RUN_VALUE_BYTES; bytes += bytes < 140 ? 1 : 131) {
        struct pair *pair = new_pair(ROOM);
        assert_int_equal(add_both(pair, 5000, value, bytes, 3), 3);
        assert_int_equal(add_both(pair, 5063, value, bytes, 2), 2); /* the last that a byte of time holds */
        assert_same(pair);
    }
}

static void offsets_get_wider_between_two_runs(void **state)
{
    (void)state;
    static uint8_t value[80];
    struct pair *pair = new_pair(ROOM);
    assert_int_equal(add_both(pair, 1, value, 20, UINT32_MAX), MR_BATCH_RUN_NARROW);
    assert_int_equal(add_both(pair, 1, value, 20, UINT32_MAX), MR_BATCH_RUN_WIDE - MR_BATCH_RUN_NARROW);
    assert_int_equal(add_both(pair, 1, value, 20, UINT32_MAX), 0); /* three bytes: the long way */
    assert_same(pair);
}

static void sizes_may_change_from_run_to_run(void **state)
{
    (void)state;
    static uint8_t value[300];
    struct pair *pair = new_pair(ROOM);
    for (uint32_t i = 0; i < 60; i++)
        assert_int_equal(add_both(pair, 1000 + i % 3, value, i * 4, 1), 1);
    assert_same(pair);
}

/* For every room: what does not fit is not written, not even in part, and nothing behind the room is touched. */
static void stays_within_its_room(void **state)
{
    (void)state;
    static uint8_t value[80];
    for (uint32_t room = 0; room < 500; room++) {
        struct pair *pair = new_pair(room);
        memset(pair->run + room, 0xee, 64);
        add_both(pair, 1, value, 64, UINT32_MAX);
        for (uint32_t i = 0; i < 64; i++)
            assert_int_equal(pair->run[room + i], 0xee);
        uint64_t left = mr_batch_room(&pair->run_writer);
        assert_true(left < 64 + MR_BATCH_RUN_OVERHEAD_BYTES || room < MR_BATCH_HEADER_BYTES);
        assert_same(pair);
    }
}

static void leaves_to_the_long_way_what_it_cannot_write(void **state)
{
    (void)state;
    static uint8_t value[MR_BATCH_RUN_VALUE_BYTES + 1];
    struct pair *pair = new_pair(ROOM);
    struct mr_batch_run run;
    assert_false(mr_batch_run_begin(&run, &pair->run_writer, 0, MR_BATCH_RUN_VALUE_BYTES + 1));
    assert_false(mr_batch_run_begin(&run, &pair->run_writer, 0, UINT32_MAX));
    assert_int_equal(add_both(pair, 1000, value, 1, 1), 1);
    assert_false(mr_batch_run_begin(&run, &pair->run_writer, 1064, 1)); /* two bytes of time */
    assert_false(mr_batch_run_begin(&run, &pair->run_writer, INT64_MIN, 1));
    assert_int_equal(add_both(pair, 990, value, 1, 1), 1); /* time may go back a little */
    assert_same(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_what_the_long_way_writes_for_every_size),
        cmocka_unit_test(offsets_get_wider_between_two_runs),
        cmocka_unit_test(sizes_may_change_from_run_to_run),
        cmocka_unit_test(stays_within_its_room),
        cmocka_unit_test(leaves_to_the_long_way_what_it_cannot_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
