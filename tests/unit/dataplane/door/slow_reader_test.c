/* SPDX-License-Identifier: Apache-2.0 */
/* A reader that polls, however slowly, lets go of memory that is wanted and reads on from the file. Nobody is turned out here: were memory kept,
 * the producer would get on with the few extents that no reader stands in, and who reads its tail would find little of it. */
#include "tests/support/door_client.h"

#include "shm/client/consumer_internal.h"

#define SMALL_BYTES  4000u /* some 470 fill an extent */
#define APART        200u  /* so two readers stand in each extent, the first of them before the half */
#define READERS_MAX  128u
#define EXTENTS_MANY 20u   /* of 31 */
#define TICKS_MAX    100u  /* too few to read an extent from its half on, one record each; some 20 are needed */
#define TICK_NAPS    300u  /* of 100 us and the timer's slack; MR_UNNAMED_NS is ten ticks */
#define NAP_RECORDS  4u    /* at most 5 MB a tick */

static uint32_t published; /* numbers are offsets: one topic */

static void a_slow_reader_keeps_its_session(void **state)
{
    struct millrace_client *client = door_attach(), *reader = door_attach();
    struct millrace_error err;
    struct millrace_record record;
    uint64_t session_id = reader->session_id;
    assert_int_equal(millrace_topic_create(client, "slow", 1, "millrace.durability=leader", &err), 0);
    struct millrace_producer *producer = open_producer(client, "slow", NULL);
    struct millrace_consumer *consumer = open_consumer(reader, "slow", MILLRACE_START_END);
    for (uint32_t i = 0; i < 100; i++) { /* when it is over, the reader is twice all memory behind */
        publish_numbered(producer, &published, 25);
        assert_int_equal(millrace_consumer_poll(consumer, &record, 1, 30000), 1);
        assert_true(is_record(&record, i));
        usleep(20000);
    }
    assert_true(reader->session_id == session_id && reader->state == MR_CLIENT_ATTACHED);
    millrace_consumer_close(consumer);
    millrace_detach(reader);
    millrace_producer_close(producer);
    millrace_detach(client);
}

/* @return false: no space now */
static bool publish_small(struct millrace_producer *producer)
{
    struct millrace_slot slot;
    struct millrace_ack acks[16];
    int got = millrace_producer_poll_acks(producer, acks, 16);

    assert_true(got >= 0);
    for (int k = 0; k < got; k++)
        assert_int_equal(acks[k].error, 0);
    int rc = millrace_producer_claim(producer, SMALL_BYTES, NULL, &slot);
    if (rc == -EAGAIN)
        return false;
    assert_int_equal(rc, 0);
    memset(slot.value, 0, SMALL_BYTES);
    memcpy(slot.value, &published, sizeof published);
    assert_int_equal(millrace_producer_commit(producer, &slot, 1), 1);
    published++;
    return true;
}

/* What there is space for, in one tick. */
static void publish_for_a_tick(struct millrace_producer *producer)
{
    for (uint32_t nap = 0; nap < TICK_NAPS; nap++) {
        for (uint32_t i = 0; i < NAP_RECORDS && publish_small(producer); i++)
            continue;
        usleep(100);
    }
}

static void reads(struct millrace_consumer *consumer, uint32_t number)
{
    struct millrace_record record;

    assert_int_equal(millrace_consumer_poll(consumer, &record, 1, 30000), 1);
    assert_int_equal(record.offset, number);
    assert_memory_equal(record.value, &number, sizeof number);
}

static bool is_pinned(struct millrace_consumer *const *consumer, uint32_t count, uint64_t sequence)
{
    for (uint32_t c = 0; c < count; c++)
        for (uint32_t i = 0; i < MR_PINS_PER_PARTITION; i++)
            if (mr_load_relaxed(&consumer[c]->reader[0].pin[i]) == sequence)
                return true;
    return false;
}

/* Extents of full size behind the tail. @param pinned set to how many of them a reader stands in */
static uint32_t extents(const struct mr_head_partition *head, struct millrace_consumer *const *consumer, uint32_t count, uint32_t *pinned)
{
    uint32_t full = 0;

    *pinned = 0;
    for (uint64_t sequence = mr_load_relaxed(&head->directory_first); sequence < mr_load_relaxed(&head->tail_sequence); sequence++)
        if ((mr_load_relaxed(&head->directory[sequence % MR_HEAD_DIRECTORY_COUNT].file_id) & MR_EXTENT_FILE_SLOT) == 0) {
            full++;
            *pinned += is_pinned(consumer, count, sequence);
        }
    return full;
}

static uint32_t pinned_before(struct millrace_consumer *const *consumer, uint32_t count, uint64_t end)
{
    uint32_t pinned = 0;

    for (uint64_t sequence = 1; sequence < end; sequence++)
        pinned += is_pinned(consumer, count, sequence);
    return pinned;
}

static void slow_readers_that_hold_all_memory_let_go_of_it_while_they_poll(void **state)
{
    static struct millrace_consumer *consumer[READERS_MAX];
    static uint32_t next[READERS_MAX];
    struct millrace_client *client = door_attach(), *reader = door_attach();
    struct millrace_producer *producer = open_producer(client, "slow", NULL);
    uint64_t session_id = reader->session_id;
    uint32_t count = 0, full = 0, kept = UINT32_MAX, pinned;

    consumer[0] = open_consumer(reader, "slow", MILLRACE_START_END);
    const struct mr_head_partition *head = consumer[0]->reader[0].head;
    for (uint32_t ticks = 0; full <= EXTENTS_MANY || ticks < 16; ticks++) { /* all memory, and most of it extents */
        assert_true(ticks < TICKS_MAX);
        publish_for_a_tick(producer);
        full = extents(head, consumer, 1, &pinned);
    }
    assert_int_equal(millrace_producer_flush(producer, 10000), 0);
    for (bool live = true; live; count++) { /* from the end back to the oldest extent */
        assert_true(count < READERS_MAX);
        if (count > 0)
            consumer[count] = open_consumer(reader, "slow", MILLRACE_START_END);
        next[count] = published - (count + 1) * APART;
        assert_int_equal(millrace_consumer_seek_offset(consumer[count], 0, next[count]), 0);
        reads(consumer[count], next[count]++);
        live = consumer[count]->reader[0].state == MR_READER_LIVE;
    }
    extents(head, consumer, count, &pinned);
    assert_true(pinned > EXTENTS_MANY);

    uint64_t tail = mr_load_relaxed(&head->tail_sequence);
    full = 0;
    for (uint32_t ticks = 0; full <= EXTENTS_MANY || kept > 0; ticks++) { /* those have left the directory, and there are as many again */
        if (ticks == TICKS_MAX)
            fail_msg("readers keep %u extents, the log has %u", kept, full);
        publish_for_a_tick(producer);
        for (uint32_t c = 0; c < count; c++)
            reads(consumer[c], next[c]++);
        full = mr_load_relaxed(&head->directory_first) >= tail ? extents(head, consumer, count, &pinned) : 0;
        kept = pinned_before(consumer, count, mr_load_relaxed(&head->directory_first));
    }
    assert_int_equal(millrace_producer_flush(producer, 10000), 0);
    assert_true(reader->session_id == session_id && reader->state == MR_CLIENT_ATTACHED);
    millrace_detach(reader);
    millrace_producer_close(producer);
    millrace_detach(client);
}

static int start(void **state)
{
    door_world_pin_grace_ms = 120000;
    door_world_sets[0] = "log.segment.bytes=1GiB"; /* the last extent of one would be a short one */
    return door_group_start(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_reader_keeps_its_session),
        cmocka_unit_test(slow_readers_that_hold_all_memory_let_go_of_it_while_they_poll),
    };
    return cmocka_run_group_tests(tests, start, door_group_stop);
}
