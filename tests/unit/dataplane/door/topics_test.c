/* SPDX-License-Identifier: Apache-2.0 */
/* Topics through the whole node: the control process decides, the store keeps it, the data plane carries it out while programs use them. */
#include "tests/support/door_client.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "millrace/millrace.h"

static struct millrace_error err;
static struct millrace_client *client;

static struct millrace_producer *producer_of(const char *topic)
{
    struct millrace_producer *producer;
    assert_int_equal(millrace_producer_open(&producer, client, topic, NULL, &err), 0);
    return producer;
}

static struct millrace_consumer *reader_of(const char *topic)
{
    struct millrace_consumer_options options;
    struct millrace_consumer *consumer;
    millrace_consumer_options_init(&options);
    options.start = MILLRACE_START_BEGIN;
    assert_int_equal(millrace_consumer_open(&consumer, client, topic, &options, &err), 0);
    return consumer;
}

static void publish(struct millrace_producer *producer, int32_t partition, uint64_t number)
{
    struct millrace_record record = {.value = &number, .value_bytes = sizeof number, .partition = partition};
    assert_int_equal(millrace_producer_publish(producer, &record, 1), 1);
}

/* The ack of what was published last. */
static int ack_of(struct millrace_producer *producer)
{
    struct millrace_ack ack;
    for (uint32_t i = 0; i < 5000; i++) {
        if (millrace_producer_poll_acks(producer, &ack, 1) == 1)
            return ack.error;
        usleep(1000);
    }
    fail_msg("no ack within 5 s");
    return 0;
}

/* Read until `count` records have come. @return sum of their numbers */
static uint64_t read_all(struct millrace_consumer *consumer, uint32_t count)
{
    struct millrace_record records[64];
    uint64_t sum = 0, number;
    for (uint32_t taken = 0; taken < count;) {
        int rc = millrace_consumer_poll(consumer, records, 64, 5000);
        assert_true(rc > 0);
        for (int i = 0; i < rc; i++) {
            memcpy(&number, records[i].value, sizeof number);
            sum += number;
        }
        taken += (uint32_t)rc;
    }
    return sum;
}

static void a_topic_grows_while_it_is_used(void **state)
{
    assert_int_equal(millrace_topic_create(client, "grows", 2, NULL, &err), 0);
    struct millrace_producer *old = producer_of("grows");
    struct millrace_consumer *reader = reader_of("grows");
    publish(old, 0, 1);
    publish(old, 1, 2);
    assert_int_equal(millrace_topic_add_partitions(client, "grows", 2, &err), -EINVAL);
    assert_int_equal(millrace_topic_add_partitions(client, "grows", 1, &err), -EINVAL);
    assert_non_null(strstr(err.text, "cannot be taken away"));
    assert_int_equal(millrace_topic_add_partitions(client, "grows", 3, &err), 0); /* in what the head's last page has left */
    assert_int_equal(millrace_topic_add_partitions(client, "grows", 50, &err), 0);
    publish(old, 1, 3); /* who has it open goes on with what there was */
    assert_int_equal(millrace_producer_flush(old, 5000), 0);
    assert_int_equal(read_all(reader, 3), 6);
    struct millrace_producer *producer = producer_of("grows");
    for (int32_t p = 0; p < 50; p++)
        publish(producer, p, 100);
    assert_int_equal(millrace_producer_flush(producer, 5000), 0);
    struct millrace_consumer *all = reader_of("grows");
    assert_int_equal(read_all(all, 53), 5006);
    assert_int_equal(read_all(reader, 2), 200);
    millrace_producer_close(old);
    millrace_producer_close(producer);
    millrace_consumer_close(reader);
    millrace_consumer_close(all);
}

static void its_configuration_changes_while_it_is_used(void **state)
{
    static char value[3000];
    struct millrace_record record = {.value = value, .value_bytes = sizeof value, .partition = 0};
    char *json;
    assert_int_equal(millrace_topic_create(client, "altered", 1, "max.message.bytes=2048", &err), 0);
    struct millrace_producer *producer = producer_of("altered");
    assert_int_equal(millrace_topic_alter(client, "altered", "no.such.key=1", &err), -EINVAL);
    assert_int_equal(millrace_topic_alter(client, "altered", "retention.bytes", &err), -EINVAL);
    assert_non_null(strstr(err.text, "no retention.bytes of its own"));
    assert_int_equal(millrace_topic_alter(client, "altered", "millrace.durability=leader", &err), -EINVAL);
    assert_int_equal(millrace_topic_alter(client, "missing", "retention.bytes=1GiB", &err), -ENOENT);
    assert_int_equal(millrace_topic_alter(client, "altered", "max.message.bytes=65536\nretention.bytes=1GiB", &err), 0);
    millrace_producer_close(producer); /* it keeps to what it was told when it was opened */
    producer = producer_of("altered");
    assert_int_equal(millrace_producer_publish(producer, &record, 1), 1);
    assert_int_equal(ack_of(producer), 0);
    assert_int_equal(millrace_topic_alter(client, "altered", "retention.bytes", &err), 0);
    assert_int_equal(millrace_topic_list(client, &json, &err), 0);
    assert_non_null(strstr(json, "\"config\": \"max.message.bytes=65536\\n\""));
    free(json);
    millrace_producer_close(producer);
}

static void its_oldest_records_go_when_it_is_trimmed(void **state)
{
    struct millrace_record records[4];
    char *json;
    assert_int_equal(millrace_topic_create(client, "trimmed", 2, NULL, &err), 0);
    struct millrace_producer *producer = producer_of("trimmed");
    for (uint64_t i = 0; i < 100; i++)
        publish(producer, 1, i);
    assert_int_equal(millrace_producer_flush(producer, 5000), 0);
    assert_int_equal(millrace_topic_trim(client, "trimmed", 1, 101, &err), -ERANGE);
    assert_non_null(strstr(err.text, "trimmed-1 ends at offset 100"));
    assert_int_equal(millrace_topic_trim(client, "trimmed", 2, 1, &err), -EINVAL);
    assert_int_equal(millrace_topic_trim(client, "missing", 0, 1, &err), -ENOENT);
    assert_int_equal(millrace_topic_trim(client, "trimmed", 1, 40, &err), 0);
    struct millrace_consumer *consumer = reader_of("trimmed");
    assert_int_equal(millrace_consumer_poll(consumer, records, 4, 5000), 4);
    assert_int_equal(records[0].offset, 40);
    millrace_consumer_close(consumer);
    assert_int_equal(millrace_topic_trim(client, "trimmed", 1, UINT64_MAX, &err), 0);
    assert_int_equal(millrace_topic_trim(client, "trimmed", 1, 10, &err), 0); /* they are gone already */
    assert_int_equal(millrace_topic_trim(client, "trimmed", 0, UINT64_MAX, &err), 0);
    assert_int_equal(millrace_topic_describe(client, "trimmed", &json, &err), 0);
    assert_non_null(strstr(json, "\"log.start\": 100, \"committed\": 100, \"durable\": 100, \"log.end\": 100"));
    free(json);
    assert_int_equal(millrace_topic_describe(client, "missing", &json, &err), -ENOENT);
    publish(producer, 1, 100);
    assert_int_equal(millrace_producer_flush(producer, 5000), 0);
    consumer = reader_of("trimmed");
    assert_int_equal(millrace_consumer_poll(consumer, records, 4, 5000), 1);
    assert_int_equal(records[0].offset, 100);
    millrace_consumer_close(consumer);
    millrace_producer_close(producer);
}

static struct {
    struct millrace_client *client;
    struct millrace_consumer *consumer;
    int rc;
} sleeper;

static void *sleep_for_records(void *argument)
{
    struct millrace_record records[1];
    sleeper.rc = millrace_consumer_poll(sleeper.consumer, records, 1, 10000);
    return argument;
}

static void a_deleted_topic_is_gone_for_those_who_use_it_and_its_name_is_free(void **state)
{
    struct millrace_producer *producer, *again;
    struct millrace_client_options options;
    struct millrace_record records[8];
    pthread_t thread;
    assert_int_equal(millrace_topic_create(client, "gone", 3, "millrace.durability=leader", &err), 0);
    producer = producer_of("gone");
    struct millrace_consumer *consumer = reader_of("gone");
    for (uint32_t i = 0; i < 1000; i++)
        publish(producer, (int32_t)(i % 3), i);
    assert_int_equal(millrace_producer_flush(producer, 5000), 0);
    assert_int_equal(read_all(consumer, 1000), 999 * 500);
    millrace_client_options_init(&options);
    options.idle = MILLRACE_IDLE_SLEEP;
    assert_int_equal(millrace_attach(&sleeper.client, door_world_socket, &options, &err), 0);
    assert_int_equal(millrace_consumer_open(&sleeper.consumer, sleeper.client, "gone", NULL, &err), 0);
    assert_int_equal(pthread_create(&thread, NULL, sleep_for_records, NULL), 0);
    usleep(50000); /* most often it sleeps by now */
    assert_int_equal(millrace_topic_delete(client, "gone", &err), 0);
    pthread_join(thread, NULL);
    assert_int_equal(sleeper.rc, -ENOENT);
    assert_int_equal(millrace_consumer_poll(consumer, records, 8, 0), -ENOENT);
    struct millrace_ack ack;
    while (millrace_producer_poll_acks(producer, &ack, 1) == 1)
        ;
    publish(producer, 1, 7);
    assert_int_equal(ack_of(producer), -ENOENT);
    assert_int_equal(millrace_topic_delete(client, "gone", &err), -ENOENT);
    assert_int_equal(millrace_producer_open(&again, client, "gone", NULL, &err), -ENOENT);
    assert_int_equal(millrace_topic_create(client, "gone", 1, NULL, &err), 0);
    struct millrace_consumer *new_consumer = reader_of("gone");
    again = producer_of("gone");
    publish(again, 0, 42);
    assert_int_equal(millrace_producer_flush(again, 5000), 0);
    assert_int_equal(millrace_consumer_poll(new_consumer, records, 8, 5000), 1);
    assert_int_equal(records[0].offset, 0);
    assert_int_equal(millrace_consumer_poll(consumer, records, 8, 0), -ENOENT); /* the old one stays the old one's */
    millrace_producer_close(producer);
    millrace_producer_close(again);
    millrace_consumer_close(consumer);
    millrace_consumer_close(new_consumer);
    millrace_detach(sleeper.client);
}

static void topics_come_and_go_and_nothing_is_left(void **state)
{
    uint32_t fds = door_world_fds();
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(millrace_topic_create(client, "brief", 1 + i, i % 2 == 0 ? "millrace.durability=leader" : NULL, &err), 0);
        struct millrace_producer *producer = producer_of("brief");
        struct millrace_consumer *consumer = reader_of("brief");
        for (uint32_t n = 0; n < 100; n++)
            publish(producer, (int32_t)(n % (1 + i)), n);
        if (i % 3 != 0) {
            assert_int_equal(millrace_producer_flush(producer, 30000), 0); /* a shared disk may stand still for seconds */
            assert_int_equal(read_all(consumer, 100), 4950);
        }
        assert_int_equal(millrace_topic_delete(client, "brief", &err), 0);
        if (i % 2 == 0)
            assert_int_equal(millrace_topic_create(client, "brief2", 1, NULL, &err), 0);
        millrace_producer_close(producer);
        millrace_consumer_close(consumer);
        if (i % 2 == 0)
            assert_int_equal(millrace_topic_delete(client, "brief2", &err), 0);
    }
    assert_true(door_world_settles(fds));
}

static void what_needs_the_control_process_waits_for_it(void **state)
{
    struct raw_client raw = {0};
    door_world_stop_control();
    raw_attach(&raw);
    int type = 0;
    for (uint32_t i = 0; i < 1000; i++) { /* until the door has seen that it left */
        type = raw_create(&raw, "later", 1, "");
        if (type == MR_MESSAGE_ERROR)
            break;
    }
    assert_int_equal(type, MR_MESSAGE_ERROR);
    assert_int_equal(raw.reply.error.code, EAGAIN);
    assert_non_null(strstr(raw.reply.error.text, "millrace-control is restarting"));
    struct millrace_producer *producer = producer_of("grows"); /* there are ids to spare */
    publish(producer, 0, 1);
    assert_int_equal(ack_of(producer), 0);
    millrace_producer_close(producer);
    door_world_start_control();
    assert_int_equal(raw_create(&raw, "later", 1, ""), MR_MESSAGE_DONE);
    raw_leave(&raw);
}

/* What a client does that has lost the answer: ask again, with the same id. */
static void a_change_that_is_asked_for_again_is_done_once(void **state)
{
    struct mr_message_topic_change change = {.topic = "once", .partition_count = 4};
    struct raw_client raw = {0};
    raw_attach(&raw);
    assert_int_equal(mr_uuid_random(&change.change), 0);
    for (uint32_t i = 0; i < 3; i++) {
        int type = raw_ask(&raw, &change, sizeof change, MR_MESSAGE_TOPIC_CREATE);
        assert_int_equal(type, MR_MESSAGE_DONE);
        if (i == 1) {
            door_world_stop_control();
            door_world_start_control();
        }
    }
    struct mr_message_topic_change other = change;
    assert_int_equal(mr_uuid_random(&other.change), 0);
    assert_int_equal(raw_ask(&raw, &other, sizeof other, MR_MESSAGE_TOPIC_CREATE), MR_MESSAGE_ERROR);
    assert_int_equal(raw.reply.error.code, EEXIST);
    other.partition_count = 9;
    assert_int_equal(raw_ask(&raw, &other, sizeof other, MR_MESSAGE_TOPIC_PARTITIONS), MR_MESSAGE_DONE);
    assert_int_equal(raw_ask(&raw, &other, sizeof other, MR_MESSAGE_TOPIC_PARTITIONS), MR_MESSAGE_DONE);
    raw_leave(&raw);
}

static int start(void **state)
{
    door_world_start();
    return millrace_attach(&client, door_world_socket, NULL, &err);
}

static int stop(void **state)
{
    millrace_detach(client);
    return !door_world_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_topic_grows_while_it_is_used),
        cmocka_unit_test(its_configuration_changes_while_it_is_used),
        cmocka_unit_test(its_oldest_records_go_when_it_is_trimmed),
        cmocka_unit_test(a_deleted_topic_is_gone_for_those_who_use_it_and_its_name_is_free),
        cmocka_unit_test(topics_come_and_go_and_nothing_is_left),
        cmocka_unit_test(what_needs_the_control_process_waits_for_it),
        cmocka_unit_test(a_change_that_is_asked_for_again_is_done_once),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
