/* SPDX-License-Identifier: Apache-2.0 */
/* Records of every shape through a whole node, read by poll and by copy, in portions and from places that chance picks, against what was
 * published. The number of a record says all of it, where it lies too. */
#include "tests/support/door_client.h"

#include <time.h>

#include "shm/base/random.h"

#define PARTITIONS  2u
#define RECORDS     6000u /* number n is at offset n / PARTITIONS of partition n mod PARTITIONS */
#define OFFSETS     (RECORDS / PARTITIONS)
#define VALUE_MAX   9000u /* above what the bulk loop of a poll takes (shm/batch/iterate.h) */
#define AT_ONCE_MAX 90u

struct shape {
    uint8_t value[VALUE_MAX], key[24], header[8];
    size_t value_bytes, key_bytes;
    bool is_null, has_key, has_header;
    int64_t timestamp_ms; /* -1: when it arrived */
};

static int64_t began_ms; /* before anything was published */

static int64_t wall_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void shape_of(uint64_t number, struct shape *shape)
{
    struct mr_random random;

    mr_random_init(&random, number, 1);
    memset(shape, 0, sizeof *shape);
    uint64_t kind = mr_random_below(&random, 40);
    shape->value_bytes = kind < 30 ? 64 : kind < 36 ? mr_random_below(&random, 200) : kind == 39 ? mr_random_below(&random, VALUE_MAX) : 16;
    shape->is_null = kind == 36;
    if (shape->is_null)
        shape->value_bytes = 0;
    shape->has_key = kind == 35 || kind == 36;
    shape->key_bytes = shape->has_key ? mr_random_below(&random, sizeof shape->key) : 0;
    shape->has_header = kind == 34;
    shape->timestamp_ms = kind == 33 ? -1 : 1700000000000 + (int64_t)(number / 3) - (kind == 32 ? 90000 : 0); /* most rise slowly */
    memset(shape->value, (int)(number % 251), shape->value_bytes);
    memset(shape->key, (int)(number % 13), shape->key_bytes);
    memcpy(shape->header, &number, sizeof number);
}

static void must_be_of_its_time(int64_t timestamp_ms, const struct shape *shape)
{
    if (shape->timestamp_ms >= 0)
        assert_int_equal(timestamp_ms, shape->timestamp_ms);
    else
        assert_in_range(timestamp_ms, began_ms - 1000, wall_ms() + 1000); /* the reactor looks at that clock now and then */
}

static void must_be(const struct millrace_record *record, uint32_t partition, uint64_t offset)
{
    static struct shape shape;
    struct millrace_header header;

    shape_of(offset * PARTITIONS + partition, &shape);
    assert_int_equal(record->offset, offset);
    assert_int_equal(record->value_bytes, shape.value_bytes);
    assert_true((record->value == NULL) == shape.is_null);
    assert_true((record->key == NULL) == !shape.has_key);
    assert_int_equal(record->key_bytes, shape.key_bytes);
    must_be_of_its_time(record->timestamp_ms, &shape);
    assert_null(record->headers);
    if (shape.value_bytes > 0)
        assert_memory_equal(record->value, shape.value, shape.value_bytes);
    if (shape.key_bytes > 0)
        assert_memory_equal(record->key, shape.key, shape.key_bytes);
    assert_int_equal(record->header_count, shape.has_header);
    assert_int_equal(millrace_record_header(record, 0, &header), shape.has_header ? 0 : -ENOENT);
    if (shape.has_header)
        assert_true(header.value_bytes == sizeof shape.header && memcmp(header.value, shape.header, sizeof shape.header) == 0);
}

/* In portions of 1 to 64, by publish, so that batches differ. */
static void publish_all(struct millrace_producer *producer, struct mr_random *random)
{
    static struct shape shape[64];

    for (uint64_t number = 0; number < RECORDS;) {
        struct millrace_record records[64];
        struct millrace_header header[64];
        uint32_t count = 1 + (uint32_t)mr_random_below(random, mr_random_chance(random, 1, 2) ? 64 : 2);
        if (count > RECORDS - number)
            count = (uint32_t)(RECORDS - number);
        for (uint32_t i = 0; i < count; i++) {
            shape_of(number + i, &shape[i]);
            header[i] = (struct millrace_header){.key = "number", .value = shape[i].header, .key_bytes = 6, .value_bytes = sizeof shape[i].header};
            records[i] = (struct millrace_record){.value = shape[i].is_null ? NULL : shape[i].value, .value_bytes = shape[i].value_bytes,
                                                  .key = shape[i].has_key ? shape[i].key : NULL, .key_bytes = shape[i].key_bytes,
                                                  .partition = (int32_t)((number + i) % PARTITIONS), .timestamp_ms = shape[i].timestamp_ms,
                                                  .headers = &header[i],
                                                  .header_count = shape[i].has_header};
        }
        for (uint32_t done = 0, tries = 0; done < count; tries++) {
            int rc = millrace_producer_publish(producer, records + done, count - done);
            assert_true(rc > 0 || rc == -EAGAIN);
            assert_true(tries < 50000);
            done += rc > 0 ? (uint32_t)rc : 0;
            struct millrace_ack acks[16];
            int got = millrace_producer_poll_acks(producer, acks, 16);
            for (int k = 0; k < got; k++)
                assert_int_equal(acks[k].error, 0);
            if (rc == -EAGAIN)
                usleep(100);
        }
        number += count;
    }
    assert_int_equal(millrace_producer_flush(producer, 10000), 0);
}

/* Copy does not wait, and a reader whose extent left the directory just now has to look for its place first. */
static int copy_patiently(struct millrace_consumer *consumer, void *values, size_t bytes, struct millrace_meta *meta, uint32_t max)
{
    int count = millrace_consumer_copy(consumer, values, bytes, meta, max);

    for (uint32_t tries = 0; count == 0 && tries < 50000; tries++) {
        usleep(100);
        count = millrace_consumer_copy(consumer, values, bytes, meta, max);
    }
    return count;
}

/* Copy takes records of one size, and leaves the first of another where it was: here those of the size that is next in the partition. */
static uint32_t copy_some(struct millrace_consumer *consumer, uint64_t *next, uint32_t partition, uint32_t max)
{
    static uint8_t values[AT_ONCE_MAX * VALUE_MAX];
    static struct shape shape;
    struct millrace_meta meta[AT_ONCE_MAX];
    bool other_is_next = false;

    shape_of(next[partition] * PARTITIONS + partition, &shape);
    size_t bytes = shape.value_bytes;
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        shape_of(next[p] * PARTITIONS + p, &shape);
        other_is_next |= next[p] < OFFSETS && shape.value_bytes == bytes + 1;
    }
    if (!other_is_next)
        assert_int_equal(copy_patiently(consumer, values, bytes + 1, NULL, max), -EMSGSIZE);
    int count = copy_patiently(consumer, values, bytes, meta, max);
    assert_in_range(count, 1, max);
    for (int i = 0; i < count; i++) {
        assert_in_range(meta[i].partition, 0, PARTITIONS - 1);
        uint64_t offset = next[meta[i].partition]++;
        shape_of(offset * PARTITIONS + (uint32_t)meta[i].partition, &shape);
        assert_int_equal(meta[i].offset, offset);
        must_be_of_its_time(meta[i].timestamp_ms, &shape);
        assert_int_equal(meta[i].value_bytes, bytes);
        assert_int_equal(shape.value_bytes, bytes);
        assert_memory_equal(values + (size_t)i * bytes, shape.value, bytes);
    }
    return (uint32_t)count;
}

static uint32_t poll_some(struct millrace_consumer *consumer, uint64_t *next, uint32_t max)
{
    struct millrace_record records[AT_ONCE_MAX];
    int count = millrace_consumer_poll(consumer, records, max, 5000);

    assert_in_range(count, 1, max);
    for (int i = 0; i < count; i++) {
        assert_in_range(records[i].partition, 0, PARTITIONS - 1);
        must_be(&records[i], (uint32_t)records[i].partition, next[records[i].partition]++);
    }
    return (uint32_t)count;
}

static void every_shape_is_read_as_it_was_published_from_any_place_in_any_portion(void **state)
{
    struct millrace_client *client = door_attach();
    struct millrace_record record;
    struct millrace_error err;
    struct mr_random random;

    mr_random_init(&random, 4711, 1);
    assert_int_equal(millrace_topic_create(client, "shapes", PARTITIONS, "millrace.durability=leader", &err), 0);
    struct millrace_producer *producer = open_producer(client, "shapes", NULL);
    struct millrace_consumer *consumer = open_consumer(client, "shapes", MILLRACE_START_BEGIN);
    began_ms = wall_ms();
    publish_all(producer, &random);
    uint64_t next[PARTITIONS] = {0};
    uint32_t by_poll = 0, by_copy = 0;
    for (uint32_t rounds = 0; rounds < 100000 && by_poll + by_copy < 5 * RECORDS; rounds++) {
        uint32_t partition = (uint32_t)mr_random_below(&random, PARTITIONS);
        if (next[partition] == OFFSETS || mr_random_chance(&random, 1, 20)) { /* mostly into the middle of a batch */
            next[partition] = mr_random_below(&random, OFFSETS);
            assert_int_equal(millrace_consumer_seek_offset(consumer, (int32_t)partition, next[partition]), 0);
        }
        uint32_t max = 1 + (uint32_t)mr_random_below(&random, mr_random_chance(&random, 1, 3) ? 3 : AT_ONCE_MAX);
        if (mr_random_chance(&random, 1, 4))
            by_copy += copy_some(consumer, next, partition, max);
        else
            by_poll += poll_some(consumer, next, max);
    }
    assert_true(by_poll + by_copy >= 5 * RECORDS && by_copy > RECORDS / 10);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        assert_int_equal(millrace_consumer_seek_offset(consumer, (int32_t)p, OFFSETS), 0);
    assert_int_equal(millrace_consumer_poll(consumer, &record, 1, 0), 0);
    millrace_consumer_close(consumer);
    millrace_producer_close(producer);
    millrace_detach(client);
}

/* Two producers share a ring: what one has open holds up what the other commits, alone or not. */
static void one_commit_shows_what_may_be_shown_and_nothing_else(void **state)
{
    struct millrace_client *client = door_attach();
    struct millrace_record record;
    struct millrace_error err;
    assert_int_equal(millrace_topic_create(client, "ones", 1, "millrace.durability=leader", &err), 0);
    struct millrace_producer *first = open_producer(client, "ones", NULL), *second = open_producer(client, "ones", NULL);
    struct millrace_consumer *consumer = open_consumer(client, "ones", MILLRACE_START_BEGIN);
    struct millrace_slot a = claim_patiently(first, 8), b = claim_patiently(second, 8), c = claim_patiently(first, 8);
    *(char *)a.value = 'a';
    *(char *)b.value = 'b';
    *(char *)c.value = 'c';
    assert_int_equal(millrace_producer_commit(first, &c, 1), -EINVAL); /* not the oldest of its producer */
    assert_int_equal(millrace_producer_commit(first, &b, 1), -EINVAL); /* another's */
    assert_int_equal(millrace_producer_commit(second, &b, 1), 1);
    assert_int_equal(millrace_consumer_poll(consumer, &record, 1, 20), 0);
    assert_int_equal(millrace_producer_commit(first, &a, 1), 1);
    for (const char *at = "ab"; *at != 0; at++) {
        assert_int_equal(millrace_consumer_poll(consumer, &record, 1, 5000), 1);
        assert_int_equal(*(const char *)record.value, *at);
    }
    assert_int_equal(millrace_consumer_poll(consumer, &record, 1, 20), 0);
    assert_int_equal(millrace_producer_commit(first, &a, 1), -EINVAL); /* twice */
    assert_int_equal(millrace_producer_commit(first, &c, 1), 1);
    assert_int_equal(millrace_producer_commit(first, &c, 1), -EINVAL);
    assert_int_equal(millrace_consumer_poll(consumer, &record, 1, 5000), 1);
    assert_int_equal(*(const char *)record.value, 'c');
    assert_int_equal(c.sequence, a.sequence + 1);
    assert_int_equal(millrace_producer_flush(first, 5000), 0);
    assert_int_equal(millrace_producer_flush(second, 5000), 0);
    assert_int_equal(millrace_producer_pending(first), 0);
    millrace_consumer_close(consumer);
    millrace_producer_close(first);
    millrace_producer_close(second);
    millrace_detach(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_is_read_as_it_was_published_from_any_place_in_any_portion),
        cmocka_unit_test(one_commit_shows_what_may_be_shown_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, door_group_start, door_group_stop);
}
