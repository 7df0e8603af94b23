/* SPDX-License-Identifier: Apache-2.0 */
/* What a producer tells of records that a door refuses, loses or never answers. Random orders of all that: producer_property.c. */
#include "tests/support/unit.h"

#include <time.h>

#include "millrace/millrace.h"
#include "tests/support/fake_door.h"

static struct fake_door door;
static struct millrace_client *client;
static struct millrace_producer *producer;
static struct millrace_ack told[64];
static uint32_t told_count;

static int start(void **state)
{
    struct millrace_error err;

    fake_door_start(&door, 1);
    fake_door_run(&door);
    told_count = 0;
    assert_int_equal(millrace_attach(&client, door.path, NULL, &err), 0);
    assert_int_equal(millrace_producer_open(&producer, client, "topic", NULL, &err), 0);
    return 0;
}

static int stop(void **state)
{
    millrace_detach(client);
    fake_door_stop(&door);
    return 0;
}

static void publish(uint32_t count)
{
    uint64_t value = 7;
    struct millrace_record record = {.value = &value, .value_bytes = sizeof value, .timestamp_ms = -1, .partition = 0};
    for (uint32_t i = 0; i < count;) {
        int rc = millrace_producer_publish(producer, &record, 1);
        if (rc == -EAGAIN)
            told_count += (uint32_t)millrace_producer_poll_acks(producer, told + told_count, 64 - told_count);
        else
            assert_int_equal(rc, 1);
        i += rc == 1;
    }
}

static int flush(void)
{
    int rc = millrace_producer_flush(producer, 20000);
    told_count += (uint32_t)millrace_producer_poll_acks(producer, told + told_count, 64 - told_count);
    assert_int_equal(millrace_producer_pending(producer), 0);
    return rc;
}

static uint32_t told_of(int error)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < told_count; i++)
        count += told[i].error == error ? told[i].count : 0;
    return count;
}

/* It stores what was published and dies before it says so. */
static void store_and_die(uint32_t count, uint32_t loses)
{
    uint64_t stored = mr_load_acquire(&door.stored);
    mr_store_relaxed(&door.holds, 1);
    publish(count);
    while (mr_load_acquire(&door.stored) < stored + count)
        sched_yield();
    mr_store_relaxed(&door.loses, loses);
    mr_store_release(&door.dies, 1);
    while (mr_load_acquire(&door.dies) != 0)
        sched_yield();
    mr_store_relaxed(&door.holds, 0);
}

static void records_that_the_log_lost_are_told_once_and_the_next_are_stored(void **state)
{
    publish(20);
    assert_int_equal(flush(), 0);
    store_and_die(5, 12); /* these five, and seven that were acked */
    assert_int_equal(flush(), -EIO);
    assert_int_equal(told_of(0), 25);
    assert_int_equal(told_of(-ESTALE), 7);
    for (uint32_t i = 0; i < told_count; i++)
        if (told[i].error == -ESTALE)
            assert_int_equal(told[i].first_sequence, 13);
    publish(5);
    assert_int_equal(flush(), 0);
    assert_int_equal(told_of(0), 30);
    assert_int_equal(told_of(-ESTALE), 7);
    assert_int_equal(told[told_count - 1].base_offset + told[told_count - 1].count, 13 + 5 + 5);
}

static void a_log_that_lost_only_what_was_not_acked_has_lost_nothing(void **state)
{
    publish(20);
    assert_int_equal(flush(), 0);
    mr_store_relaxed(&door.verdict, MR_COMPLETION_TIMED_OUT); /* the door says that it took them, and has them not */
    publish(10);
    assert_int_equal(flush(), -EIO);
    assert_int_equal(told_of(-ETIMEDOUT), 10);
    mr_store_relaxed(&door.verdict, 0);
    publish(10);
    assert_int_equal(flush(), 0);
    assert_int_equal(told_of(0), 30);
    assert_int_equal(told_of(-ESTALE), 0);
}

static void a_door_that_never_takes_a_record_does_not_get_it_for_ever(void **state)
{
    publish(3);
    assert_int_equal(flush(), 0);
    mr_store_relaxed(&door.verdict, MR_COMPLETION_OUT_OF_ORDER);
    publish(10);
    assert_int_equal(flush(), -EIO); /* after its delivery.timeout.ms, a second */
    assert_int_equal(told_of(-ETIMEDOUT), 10);
    mr_store_relaxed(&door.verdict, 0);
    publish(10);
    assert_int_equal(flush(), 0);
    assert_int_equal(told_of(0), 13);
}

static void a_refusal_is_final_unless_another_door_may_have_stored_the_record(void **state)
{
    store_and_die(4, FAKE_LOSS_MAX); /* so that the next one cannot know them again */
    mr_store_relaxed(&door.verdict, MR_COMPLETION_OFFLINE);
    assert_int_equal(flush(), -EIO);
    assert_int_equal(told_of(-ETIMEDOUT), 4);
    publish(4);
    assert_int_equal(flush(), -EIO);
    assert_int_equal(told_of(-ETIMEDOUT), 4);
    assert_int_equal(told_of(-EIO), 4);
    mr_store_relaxed(&door.verdict, 0);
    publish(4);
    assert_int_equal(flush(), 0);
    assert_int_equal(told_of(0), 4);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void nothing_waits_for_a_door_that_hangs(void **state)
{
    uint64_t value = 7, begin_ms, worst_ms = 0;
    struct millrace_record record = {.value = &value, .value_bytes = sizeof value, .timestamp_ms = -1, .partition = 0};
    publish(5);
    assert_int_equal(flush(), 0);
    mr_store_release(&door.dies, 1);
    while (mr_load_acquire(&door.dies) != 0)
        sched_yield();
    mr_store_relaxed(&door.hangs, 1); /* it has a socket, on which connections wait to be accepted */
    uint32_t published = 0;
    for (uint64_t end_ms = now_ms() + 500; (begin_ms = now_ms()) < end_ms;) {
        published += millrace_producer_publish(producer, &record, 1) == 1; /* until its death is noticed */
        struct millrace_ack ack;
        assert_int_equal(millrace_producer_poll_acks(producer, &ack, 1), 0);
        worst_ms = mr_max_u64(worst_ms, now_ms() - begin_ms);
        usleep(500);
    }
    assert_in_range(worst_ms, 0, 250);
    begin_ms = now_ms();
    assert_int_equal(millrace_producer_flush(producer, 100), published > 0 ? -ETIMEDOUT : 0);
    assert_in_range(now_ms() - begin_ms, 0, 1000);
    mr_store_relaxed(&door.hangs, 0);
    publish(5);
    assert_int_equal(flush(), 0);
    assert_int_equal(told_of(0), 10 + published);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        T(records_that_the_log_lost_are_told_once_and_the_next_are_stored),
        T(a_log_that_lost_only_what_was_not_acked_has_lost_nothing),
        T(a_door_that_never_takes_a_record_does_not_get_it_for_ever),
        T(nothing_waits_for_a_door_that_hangs),
        T(a_refusal_is_final_unless_another_door_may_have_stored_the_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
