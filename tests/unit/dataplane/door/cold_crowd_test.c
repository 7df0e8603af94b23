/* SPDX-License-Identifier: Apache-2.0 */
/* A reader of more partitions than it may have files open at a time, most of whose records have left memory, gets all of them in order; and has no more
 * descriptors than that meanwhile. */
#include "tests/support/door_client.h"

#include "shm/base/bits.h"

#define PARTITIONS  150u /* more than twice MR_COLD_READERS_MAX */
#define EACH        12u
#define VALUE_BYTES 9000u /* some slots each: all but the last go when the partition rests */

static void publish_all(struct millrace_producer *producer)
{
    static uint8_t value[VALUE_BYTES];

    for (uint32_t number = 0; number < EACH; number++)
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            struct millrace_record record = {.value = value, .value_bytes = sizeof value, .partition = (int32_t)p, .timestamp_ms = -1};
            int rc = -EAGAIN;
            memcpy(value, &p, sizeof p);
            memcpy(value + sizeof p, &number, sizeof number);
            for (uint32_t tries = 0; rc == -EAGAIN && tries < 300000; tries++) {
                struct millrace_ack acks[64];
                rc = millrace_producer_publish(producer, &record, 1);
                (void)!millrace_producer_poll_acks(producer, acks, 64);
                if (rc == -EAGAIN)
                    usleep(100);
            }
            assert_int_equal(rc, 1);
        }
    assert_int_equal(millrace_producer_flush(producer, 30000), 0);
}

static void a_reader_of_many_cold_partitions_gets_all_and_keeps_to_its_files(void **state)
{
    struct millrace_client *client = door_attach();
    struct millrace_error err;
    static uint32_t next[PARTITIONS];
    uint32_t received = 0, most = 0;

    assert_int_equal(millrace_topic_create(client, "crowd", PARTITIONS, "millrace.durability=leader", &err), 0);
    struct millrace_producer *producer = open_producer(client, "crowd", NULL);
    publish_all(producer);
    usleep(2500000); /* they rest: memory is given back */
    uint32_t before = door_world_fds();
    struct millrace_consumer *consumer = open_consumer(client, "crowd", MILLRACE_START_BEGIN);
    for (uint32_t polls = 0; polls < 20000 && received < PARTITIONS * EACH; polls++) {
        struct millrace_record records[50];
        int count = millrace_consumer_poll(consumer, records, MR_COUNT_OF(records), 100);
        assert_true(count >= 0);
        for (int i = 0; i < count; i++) {
            uint32_t p, number;
            memcpy(&p, records[i].value, sizeof p);
            memcpy(&number, (const uint8_t *)records[i].value + sizeof p, sizeof number);
            assert_int_equal(p, records[i].partition);
            assert_int_equal(number, next[p]);
            assert_int_equal(records[i].offset, number);
            next[p]++;
        }
        received += (uint32_t)count;
        most = door_world_fds() > most ? door_world_fds() : most;
    }
    assert_int_equal(received, PARTITIONS * EACH);
    assert_true(most > before + 20); /* it did read files */
    assert_true(most < before + 2 * 64 + 80); /* the daemon is this process, too */
    millrace_consumer_close(consumer);
    millrace_producer_close(producer);
    millrace_detach(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_reader_of_many_cold_partitions_gets_all_and_keeps_to_its_files)};
    return cmocka_run_group_tests(tests, door_group_start, door_group_stop);
}
