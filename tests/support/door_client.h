/* SPDX-License-Identifier: Apache-2.0 */
/* libmillrace at the node of door_world.h: what its tests begin with, and numbered records that tell whether they are what they were. */
#ifndef MR_TESTS_SUPPORT_DOOR_CLIENT_H
#define MR_TESTS_SUPPORT_DOOR_CLIENT_H

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "millrace/millrace.h"
#include "tests/support/door_world.h"

#define DOOR_VALUE_BYTES 60000u

static inline int door_group_start(void **state)
{
    (void)state;
    door_world_start();
    return 0;
}

static inline int door_group_stop(void **state)
{
    (void)state;
    return door_world_stop() ? 0 : -1;
}

static inline struct millrace_client *door_attach(void)
{
    struct millrace_client *client;
    struct millrace_error err;
    if (millrace_attach(&client, door_world_socket, NULL, &err) != 0)
        fail_msg("%s", err.text);
    return client;
}

static inline struct millrace_producer *open_producer(struct millrace_client *client, const char *topic,
                                                      const struct millrace_producer_options *options)
{
    struct millrace_producer *producer;
    struct millrace_error err;
    if (millrace_producer_open(&producer, client, topic, options, &err) != 0)
        fail_msg("%s", err.text);
    return producer;
}

static inline struct millrace_consumer *open_consumer(struct millrace_client *client, const char *topic, enum millrace_start start)
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

/** Claim space, for about half a minute at most: disks of shared machines stand still for seconds. */
static inline struct millrace_slot claim_patiently(struct millrace_producer *producer, uint32_t bytes)
{
    struct millrace_slot slot;
    int rc = -EAGAIN;
    for (uint32_t i = 0; i < 300000 && rc == -EAGAIN; i++) {
        rc = millrace_producer_claim(producer, bytes, NULL, &slot);
        if (rc == -EAGAIN)
            usleep(100);
    }
    assert_int_equal(rc, 0);
    return slot;
}

/** Publish records that say their offset, the first being *published; nobody stops it. */
static inline void publish_numbered(struct millrace_producer *producer, uint32_t *published, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct millrace_slot slot = claim_patiently(producer, DOOR_VALUE_BYTES);
        memset(slot.value, (int)(*published % 251), DOOR_VALUE_BYTES);
        memcpy(slot.value, published, sizeof *published);
        ++*published;
        assert_int_equal(millrace_producer_commit(producer, &slot, 1), 1);
        struct millrace_ack acks[16];
        int got = millrace_producer_poll_acks(producer, acks, 16);
        assert_true(got >= 0);
        for (int k = 0; k < got; k++)
            assert_int_equal(acks[k].error, 0);
    }
}

/** @return it is the numbered record of this offset */
static inline bool is_record(const struct millrace_record *record, uint64_t offset)
{
    const uint8_t *value = record->value;
    uint32_t number;
    memcpy(&number, value, sizeof number);
    return record->offset == offset && record->value_bytes == DOOR_VALUE_BYTES && number == offset && value[sizeof number] == offset % 251 &&
           memcmp(value + sizeof number, value + sizeof number + 1, DOOR_VALUE_BYTES - sizeof number - 1) == 0;
}

#endif
