/* SPDX-License-Identifier: Apache-2.0 */
/* A time is found where the first record stands that is not older, whatever order times have, wherever the record lies: in segments that are closed
 * and have an index, with an index that lies, in the newest, in memory; and after what was before it has been trimmed. */
#include "tests/support/door_client.h"

#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/stat.h>

#include "shm/base/bits.h"
#include "shm/base/random.h"

#define PARTITIONS  2u
#define OFFSETS     2000u
#define VALUE_BYTES 6000u /* three segments of 4 MiB */
#define BEGIN_MS    1700000000000

static int64_t timestamp_ms[PARTITIONS][OFFSETS];
static uint64_t trimmed[PARTITIONS];

static void publish_all(struct millrace_producer *producer, struct mr_random *random)
{
    static uint8_t value[VALUE_BYTES];

    for (uint32_t offset = 0; offset < OFFSETS; offset++)
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            int64_t at = BEGIN_MS + offset * 10 + (int64_t)mr_random_below(random, 30);
            timestamp_ms[p][offset] = mr_random_chance(random, 1, 50) ? at - (int64_t)mr_random_below(random, 9000)
                                      : mr_random_chance(random, 1, 300) ? at + (int64_t)mr_random_below(random, 3000) : at;
            struct millrace_record record = {.value = value, .value_bytes = sizeof value, .partition = (int32_t)p,
                                             .timestamp_ms = timestamp_ms[p][offset]};
            int rc = -EAGAIN;
            for (uint32_t tries = 0; rc == -EAGAIN && tries < 300000; tries++) {
                struct millrace_ack acks[16];
                rc = millrace_producer_publish(producer, &record, 1);
                (void)!millrace_producer_poll_acks(producer, acks, 16);
                if (rc == -EAGAIN)
                    usleep(100);
            }
            assert_int_equal(rc, 1);
        }
    assert_int_equal(millrace_producer_flush(producer, 30000), 0);
}

static uint64_t model(uint32_t p, int64_t time_ms)
{
    uint64_t offset = trimmed[p];
    while (offset < OFFSETS && timestamp_ms[p][offset] < time_ms)
        offset++;
    return offset;
}

static void must_find(struct millrace_consumer *consumer, struct mr_random *random, uint32_t times)
{
    for (uint32_t i = 0; i < times; i++) {
        int64_t time_ms = BEGIN_MS - 2000 + (int64_t)mr_random_below(random, OFFSETS * 10 + 6000);
        int32_t partition = (int32_t)mr_random_below(random, PARTITIONS + 1) - 1;
        struct millrace_record record;
        assert_int_equal(millrace_consumer_seek_time(consumer, partition, time_ms), 0);
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            uint64_t next;
            if (partition >= 0 && (uint32_t)partition != p)
                continue;
            assert_int_equal(millrace_consumer_position(consumer, (int32_t)p, &next, NULL, NULL), 0);
            assert_int_equal(next, model(p, time_ms));
        }
        if (i % 16 != 0 || partition < 0 || model((uint32_t)partition, time_ms) == OFFSETS)
            continue;
        for (uint32_t p = 0; p < PARTITIONS; p++)
            if ((int32_t)p != partition)
                assert_int_equal(millrace_consumer_seek_end(consumer, (int32_t)p), 0);
        assert_int_equal(millrace_consumer_poll(consumer, &record, 1, 5000), 1);
        assert_int_equal(record.offset, model((uint32_t)partition, time_ms));
        assert_int_equal(record.timestamp_ms, timestamp_ms[partition][record.offset]);
    }
}

/* Time indexes of partition 0 of the topic. @param lie move all of their times @return how many there are */
static uint32_t time_indexes(int64_t lie_ms)
{
    char path[256], file_path[600];
    uint8_t bytes[4096];
    uint32_t count = 0;

    snprintf(path, sizeof path, "%s", door_world_socket);
    snprintf(file_path, sizeof file_path, "%s/times-0", dirname(path));
    DIR *directory = opendir(file_path);
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char one[600];
        if (strstr(entry->d_name, ".timeindex") == NULL || strstr(entry->d_name, ".tmp") != NULL)
            continue;
        count++;
        snprintf(one, sizeof one, "%.300s/%.200s", file_path, entry->d_name);
        int fd = open(one, O_RDWR);
        ssize_t size = fd >= 0 ? pread(fd, bytes, sizeof bytes, 0) : -1;
        assert_true(size > 0 && size % 12 == 0);
        for (ssize_t at = 0; at < size && lie_ms != 0; at += 12)
            mr_be64_put(bytes + at, mr_be64_get(bytes + at) + (uint64_t)lie_ms);
        assert_int_equal(lie_ms != 0 ? pwrite(fd, bytes, (size_t)size, 0) : size, size);
        close(fd);
    }
    closedir(directory);
    return count;
}

static void a_time_is_found_wherever_it_lies(void **state)
{
    struct millrace_client *client = door_attach();
    struct millrace_error err;
    struct mr_random random;

    mr_random_init(&random, 5, 1);
    assert_int_equal(millrace_topic_create(client, "times", PARTITIONS, "millrace.durability=leader\nretention.ms=-1", &err), 0);
    struct millrace_producer *producer = open_producer(client, "times", NULL);
    struct millrace_consumer *consumer = open_consumer(client, "times", MILLRACE_START_BEGIN);
    assert_int_equal(millrace_consumer_seek_time(consumer, -1, BEGIN_MS), 0); /* in an empty log */
    assert_int_equal(millrace_consumer_seek_time(consumer, 7, BEGIN_MS), -EINVAL);
    publish_all(producer, &random);
    must_find(consumer, &random, 60);
    for (uint32_t tries = 0; time_indexes(0) < 2 && tries < 300; tries++)
        usleep(100000);
    assert_true(time_indexes(0) >= 2);
    must_find(consumer, &random, 200);
    time_indexes(-4000);
    must_find(consumer, &random, 60);
    time_indexes(8000);
    must_find(consumer, &random, 60);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        trimmed[p] = 900 + p;
        assert_int_equal(millrace_topic_trim(client, "times", p, trimmed[p], &err), 0);
    }
    must_find(consumer, &random, 60);
    millrace_consumer_close(consumer);
    millrace_producer_close(producer);
    millrace_detach(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_time_is_found_wherever_it_lies)};
    return cmocka_run_group_tests(tests, door_group_start, door_group_stop);
}
