/* SPDX-License-Identifier: Apache-2.0 */
/* libmillrace at a whole node: sessions that live long, and open and close much. */
#include "tests/support/door_client.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "millrace/millrace.h"

#define RECORDS 20u

static void publish(struct millrace_producer *producer, uint8_t letter, uint32_t bytes)
{
    struct millrace_slot slot = claim_patiently(producer, bytes);
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
    struct millrace_client *client = door_attach();
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
    struct millrace_client *client = door_attach();
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

/* What it committed stands behind another's open claim, and would be shown when its handles are nobody's. */
static void closing_a_producer_whose_frames_are_not_shown_yet_harms_nobody(void **state)
{
    struct millrace_client *client = door_attach();
    struct millrace_error err;
    struct millrace_slot slot;
    assert_int_equal(millrace_topic_create(client, "hidden", 1, "", &err), 0);
    struct millrace_producer *holds = open_producer(client, "hidden", NULL), *closes = open_producer(client, "hidden", NULL);
    assert_int_equal(millrace_producer_claim(holds, 8, NULL, &slot), 0);
    memset(slot.value, 'x', 8);
    for (uint32_t i = 0; i < 10; i++)
        publish(closes, 'x', 8);
    millrace_producer_close(closes);
    assert_int_equal(millrace_producer_commit(holds, &slot, 1), 1);
    assert_int_equal(millrace_producer_flush(holds, 10000), 0);
    publish(holds, 'x', 8);
    assert_int_equal(millrace_producer_flush(holds, 10000), 0);
    millrace_producer_close(holds);
    millrace_detach(client);
}

/* A ring of 64 KiB is enough for a consumer, and held nothing larger than half of that for ever. */
static void a_producer_gets_the_ring_that_it_needs_whatever_was_opened_before(void **state)
{
    struct millrace_client *client = door_attach();
    struct millrace_producer_options options;
    struct millrace_error err;
    assert_int_equal(millrace_topic_create(client, "large", 1, "", &err), 0);
    struct millrace_consumer *consumer = open_consumer(client, "large", MILLRACE_START_END);
    struct millrace_producer *small = open_producer(client, "large", NULL);
    millrace_producer_options_init(&options);
    options.record_bytes_max = 400000;
    struct millrace_slot slot[4];
    for (uint32_t i = 0; i < RECORDS; i++)
        publish(small, 'x', 60000); /* some of it unacknowledged when the other ring comes */
    struct millrace_producer *large = open_producer(client, "large", &options);
    for (uint32_t i = 0; i < 4; i++) /* four of the largest at a time (DESIGN.md section 6) */
        assert_int_equal(millrace_producer_claim(large, 400000, NULL, &slot[i]), 0);
    for (uint32_t i = 0; i < 4; i++)
        memset(slot[i].value, 'x', 400000);
    assert_int_equal(millrace_producer_commit(large, slot, 4), 4);
    for (uint32_t i = 0; i < RECORDS; i++) {
        publish(small, 'x', 60000);
        publish(large, 'x', 300000);
    }
    assert_int_equal(millrace_producer_flush(small, 10000), 0);
    assert_int_equal(millrace_producer_flush(large, 10000), 0);
    millrace_producer_close(small);
    publish(large, 'x', 400000);
    assert_int_equal(millrace_producer_flush(large, 10000), 0);
    uint32_t count = 0;
    struct millrace_record records[16];
    for (int got = 1; got > 0; count += (uint32_t)got) {
        got = millrace_consumer_poll(consumer, records, 16, 1000); /* it waits by a frame in its own ring, the first one */
        assert_true(got >= 0);
    }
    assert_int_equal(count, 3 * RECORDS + 5);
    millrace_producer_close(large);
    millrace_consumer_close(consumer);
    millrace_detach(client);
}

static void a_ring_that_nothing_open_uses_is_given_back(void **state)
{
    static struct raw_client raw;
    struct mr_message_topic_list list;
    raw_attach(&raw);
    assert_int_equal(raw_open_consumer(&raw, "large"), MR_MESSAGE_CONSUMER_OPENED);
    uint32_t consumer = raw.reply.consumer_opened.consumer;
    uint32_t before = door_world_fds();
    assert_int_equal(raw_open_producer(&raw, "large", MR_DURABILITY_LEADER), MR_MESSAGE_PRODUCER_OPENED);
    assert_true(raw.ring[1].shape.submission_bytes > raw.ring[0].shape.submission_bytes);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(raw_produce(&raw, raw.reply.producer_opened.handle_first, i), 0);
    assert_int_equal(raw_close(&raw, MR_MESSAGE_CLOSE_CONSUMER, consumer), MR_MESSAGE_DONE);
    for (uint32_t i = 0; i < 1000 && raw.rings_gone == 0; i++)
        assert_int_equal(raw_ask(&raw, &list, sizeof list, MR_MESSAGE_TOPIC_LIST), MR_MESSAGE_LIST);
    assert_int_equal(raw.rings_gone, 1);
    assert_true(door_world_settles(before)); /* two of the new ring; two of the old one and the pins are gone */
    assert_int_equal(mr_load_acquire(&raw.ring[0].end.daemon->state), MR_RING_OPEN); /* the session goes on */
    assert_int_equal(raw_open_consumer(&raw, "large"), MR_MESSAGE_CONSUMER_OPENED);
    assert_null(raw.ring[2].memory);
    raw_leave(&raw);
}

#define READERS 24u

struct still_reader {
    struct millrace_client *client;
    struct millrace_consumer *consumer;
    struct millrace_record record;
};

static bool is_one_overwritten(const struct still_reader *readers, uint32_t count)
{
    for (uint32_t r = 0; r < count; r++)
        if (!is_record(&readers[r].record, readers[r].record.offset))
            return true;
    return false;
}

static void readers_that_do_not_poll_cannot_hold_all_memory(void **state)
{
    static struct still_reader readers[READERS];
    struct millrace_client *client = door_attach();
    uint32_t published = 0;
    struct millrace_error err;
    assert_int_equal(millrace_topic_create(client, "held", 1, "millrace.durability=leader", &err), 0);
    struct millrace_producer *producer = open_producer(client, "held", NULL);
    for (uint32_t r = 0; r < READERS; r++) { /* each in an extent of its own, of the 32 that there can be */
        readers[r].client = door_attach();
        readers[r].consumer = open_consumer(readers[r].client, "held", MILLRACE_START_END);
        publish_numbered(producer, &published, 34);
        assert_int_equal(millrace_consumer_poll(readers[r].consumer, &readers[r].record, 1, 5000), 1);
        assert_true(is_record(&readers[r].record, readers[r].record.offset));
    }
    publish_numbered(producer, &published, 2000); /* twice all memory */
    assert_int_equal(millrace_producer_flush(producer, 10000), 0);
    /* Whom it overtakes, and when, is a matter of pace: on a slow machine it takes longer until it has to. */
    for (uint32_t i = 0; i < 20 && !is_one_overwritten(readers, READERS); i++) {
        usleep(200000);
        publish_numbered(producer, &published, 500);
        assert_int_equal(millrace_producer_flush(producer, 10000), 0);
    }

    uint32_t stale = 0, intact = 0;
    for (uint32_t r = 0; r < READERS; r++) {
        uint64_t offset = readers[r].record.offset;
        bool whole = is_record(&readers[r].record, offset);
        struct millrace_record record;
        int rc = millrace_consumer_poll(readers[r].consumer, &record, 1, 5000);
        if (rc == -ESTALE) { /* told, and where to go on is the reader's business */
            stale++;
            assert_int_equal(millrace_consumer_seek_offset(readers[r].consumer, 0, offset), 0);
            offset--;
        } else {
            assert_true(whole); /* what was overwritten is always told */
            assert_int_equal(rc, 1);
            assert_true(is_record(&record, ++offset));
            intact++;
        }
        for (uint32_t i = 0; i < (r % 8 == 0 ? published - (uint32_t)offset - 1 : 50); i++) { /* from the file, and back to memory */
            assert_int_equal(millrace_consumer_poll(readers[r].consumer, &record, 1, 5000), 1);
            assert_true(is_record(&record, ++offset));
        }
        millrace_consumer_close(readers[r].consumer);
        millrace_detach(readers[r].client);
    }
    assert_true(stale > 0 && intact > 0);
    millrace_producer_close(producer);
    millrace_detach(client);
}

static void flush_does_not_wait_for_what_stands_behind_a_claim_of_the_same_client(void **state)
{
    struct millrace_client *client = door_attach();
    struct millrace_producer *first = open_producer(client, "new", NULL), *second = open_producer(client, "new", NULL);
    for (uint32_t i = 0; i < 4; i++) {
        struct millrace_slot slot[2];
        publish(second, 'o', 100); /* before the claims: seen */
        assert_int_equal(millrace_producer_claim(first, 100, NULL, &slot[0]), 0);
        assert_int_equal(millrace_producer_claim(first, 100, NULL, &slot[1]), 0);
        publish(second, 'o', 100);
        publish(second, 'o', 100);
        assert_int_equal(millrace_producer_flush(second, -1), -EDEADLK);
        assert_int_equal(millrace_producer_pending(second), 2);
        assert_int_equal(millrace_producer_flush(first, -1), 0); /* it has nothing pending */
        memset(slot[0].value, 'n', 100);
        memset(slot[1].value, 'n', 100);
        if (i % 2 == 0) {
            assert_int_equal(millrace_producer_commit(first, slot, 1), 1);
            assert_int_equal(millrace_producer_flush(first, 5000), 0);
            assert_int_equal(millrace_producer_flush(second, -1), -EDEADLK);
            assert_int_equal(millrace_producer_commit(first, slot + 1, 1), 1);
            assert_int_equal(millrace_producer_flush(first, 5000), 0);
        } else {
            millrace_producer_abort(first, slot, 2);
        }
        assert_int_equal(millrace_producer_flush(second, 5000), 0);
        assert_int_equal(millrace_producer_pending(second), 0);
    }
    millrace_detach(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handles_of_a_closed_producer_serve_the_next_one_and_its_frames_do_not),
        cmocka_unit_test(producers_open_and_close_without_end),
        cmocka_unit_test(closing_a_producer_whose_frames_are_not_shown_yet_harms_nobody),
        cmocka_unit_test(a_producer_gets_the_ring_that_it_needs_whatever_was_opened_before),
        cmocka_unit_test(a_ring_that_nothing_open_uses_is_given_back),
        cmocka_unit_test(readers_that_do_not_poll_cannot_hold_all_memory),
        cmocka_unit_test(flush_does_not_wait_for_what_stands_behind_a_claim_of_the_same_client),
    };
    return cmocka_run_group_tests(tests, door_group_start, door_group_stop);
}
