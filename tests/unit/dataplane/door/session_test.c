/* SPDX-License-Identifier: Apache-2.0 */
/* libmillrace at a whole node: sessions that live long, and open and close much. */
#include "tests/support/door_world.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "millrace/millrace.h"

#define RECORDS 20u

static struct millrace_client *attach(void)
{
    struct millrace_client *client;
    struct millrace_error err;
    if (millrace_attach(&client, door_world_socket, NULL, &err) != 0)
        fail_msg("%s", err.text);
    return client;
}

static struct millrace_producer *open_producer(struct millrace_client *client, const char *topic, const struct millrace_producer_options *options)
{
    struct millrace_producer *producer;
    struct millrace_error err;
    if (millrace_producer_open(&producer, client, topic, options, &err) != 0)
        fail_msg("%s", err.text);
    return producer;
}

static struct millrace_consumer *open_consumer(struct millrace_client *client, const char *topic, enum millrace_start start)
{
    struct millrace_consumer *consumer;
    struct millrace_consumer_options options;
    struct millrace_error err;
    millrace_consumer_options_init(&options);
    options.start = start;
    if (millrace_consumer_open(&consumer, client, topic, &options, &err) != 0)
        fail_msg("%s", err.text);
    return consumer;
}

static void publish(struct millrace_producer *producer, uint8_t letter, uint32_t bytes)
{
    struct millrace_slot slot;
    int rc = -EAGAIN;
    for (uint32_t i = 0; i < 50000 && rc == -EAGAIN; i++) {
        rc = millrace_producer_claim(producer, bytes, NULL, &slot);
        if (rc == -EAGAIN)
            usleep(100);
    }
    assert_int_equal(rc, 0);
    memset(slot.value, letter, bytes);
    assert_int_equal(millrace_producer_commit(producer, &slot, 1), 1);
}

/* @return records of the topic, all of which begin with this letter; polls until `expected` have come and a little longer */
static uint32_t count_records(struct millrace_client *client, const char *topic, uint8_t letter, uint32_t expected)
{
    struct millrace_consumer *consumer = open_consumer(client, topic, MILLRACE_START_BEGIN);
    struct millrace_record records[64];
    uint32_t count = 0;
    for (uint32_t i = 0; i < 500; i++) {
        int got = millrace_consumer_poll(consumer, records, 64, count < expected ? 20 : 1);
        assert_true(got >= 0);
        for (int k = 0; k < got; k++)
            assert_int_equal(*(const uint8_t *)records[k].value, letter);
        count += (uint32_t)got;
        if (got == 0 && count >= expected)
            break;
    }
    millrace_consumer_close(consumer);
    return count;
}

static void handles_of_a_closed_producer_serve_the_next_one_and_its_frames_do_not(void **state)
{
    struct millrace_client *client = attach();
    struct millrace_error err;
    assert_int_equal(millrace_topic_create(client, "old", 1, "", &err), 0);
    assert_int_equal(millrace_topic_create(client, "new", 1, "millrace.durability=leader", &err), 0);
    for (uint32_t i = 0; i < RECORDS; i++) {
        struct millrace_producer *old = open_producer(client, "old", NULL);
        for (uint32_t k = 0; k < 50; k++)
            publish(old, 'o', 100);
        millrace_producer_close(old); /* none of them acknowledged */
        struct millrace_producer *new = open_producer(client, "new", NULL);
        publish(new, 'n', 100);
        assert_int_equal(millrace_producer_flush(new, 5000), 0);
        struct millrace_ack ack;
        assert_int_equal(millrace_producer_poll_acks(new, &ack, 1), 1);
        assert_int_equal(ack.base_offset, i);
        assert_int_equal(ack.count, 1);
        millrace_producer_close(new);
    }
    assert_int_equal(count_records(client, "new", 'n', RECORDS), RECORDS);
    assert_int_equal(count_records(client, "old", 'o', 50 * RECORDS), 50 * RECORDS);
    millrace_detach(client);
}

static void producers_open_and_close_without_end(void **state)
{
    struct millrace_client *client = attach();
    struct millrace_error err;
    assert_int_equal(millrace_topic_create(client, "broad", 400, "", &err), 0);
    struct millrace_consumer *consumer = open_consumer(client, "broad", MILLRACE_START_END);
    for (uint32_t i = 0; i < 300; i++) { /* 120,000 handles of 65,536 */
        struct millrace_producer *producer = open_producer(client, "broad", NULL);
        publish(producer, 'x', 8);
        millrace_producer_close(producer);
    }
    for (uint32_t i = 0; i < 300; i++) {
        struct millrace_consumer *other = open_consumer(client, i % 2 == 0 ? "broad" : "old", MILLRACE_START_END);
        millrace_consumer_close(other);
    }
    millrace_consumer_close(consumer);
    millrace_detach(client);
}

static int start(void **state)
{
    door_world_start();
    return 0;
}

static int stop(void **state)
{
    return door_world_stop() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handles_of_a_closed_producer_serve_the_next_one_and_its_frames_do_not),
        cmocka_unit_test(producers_open_and_close_without_end),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
