/* SPDX-License-Identifier: Apache-2.0 */
/* A reader that polls, however slowly, lets go of memory that is wanted and reads on from the file. Nobody is turned out here: were memory kept,
 * the producer would get none. */
#include "tests/support/door_client.h"

static void a_slow_reader_keeps_its_session(void **state)
{
    struct millrace_client *client = door_attach(), *reader = door_attach();
    struct millrace_error err;
    struct millrace_record record;
    uint32_t published = 0;
    assert_int_equal(millrace_topic_create(client, "slow", 1, "millrace.durability=leader", &err), 0);
    struct millrace_producer *producer = open_producer(client, "slow", NULL);
    struct millrace_consumer *consumer = open_consumer(reader, "slow", MILLRACE_START_END);
    for (uint32_t i = 0; i < 100; i++) { /* when it is over, the reader is twice all memory behind */
        publish_numbered(producer, &published, 25);
        assert_int_equal(millrace_consumer_poll(consumer, &record, 1, 30000), 1);
        assert_true(is_record(&record, i));
        usleep(20000);
    }
    millrace_consumer_close(consumer);
    millrace_detach(reader);
    millrace_producer_close(producer);
    millrace_detach(client);
}

static int start(void **state)
{
    door_world_pin_grace_ms = 120000;
    return door_group_start(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_reader_keeps_its_session),
    };
    return cmocka_run_group_tests(tests, start, door_group_stop);
}
