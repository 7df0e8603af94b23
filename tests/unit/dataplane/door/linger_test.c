/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions that are over while their process lives: what it reads stays what it is. */
#include "tests/support/door_client.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "millrace/millrace.h"
#include "shm/abi/extent.h"

#define TOPIC_BYTES   (160u << 20) /* over twice of what there is in memory */
#define VALUE_BYTES   60000u
#define EXTENT_BYTES  (2u << 20)

/* So many bytes go through partition 0, so that all memory of before is used again, if it may be. */
static void flood(const char *topic, uint64_t bytes)
{
    static uint8_t value[VALUE_BYTES];
    struct millrace_client *client = door_attach();
    struct millrace_producer *producer;
    struct millrace_error err;
    struct millrace_record record = {.value = value, .value_bytes = sizeof value, .timestamp_ms = -1};
    struct millrace_ack acks[64];
    assert_int_equal(millrace_producer_open(&producer, client, topic, NULL, &err), 0);
    for (uint64_t sent = 0; sent < bytes;) {
        int rc = millrace_producer_publish(producer, &record, 1);
        assert_true(rc == 1 || rc == -EAGAIN);
        sent += rc == 1 ? sizeof value : 0;
        assert_true(millrace_producer_poll_acks(producer, acks, 64) >= 0);
    }
    assert_int_equal(millrace_producer_flush(producer, 60000), 0);
    millrace_detach(client);
}

static void create(const char *topic)
{
    struct millrace_client *client = door_attach();
    struct millrace_error err;
    if (millrace_topic_create(client, topic, 1, "millrace.durability=leader", &err) != 0)
        fail_msg("%s", err.text);
    millrace_detach(client);
}

/* A hugepage extent of the topic that this client pins. @return its header, mapped */
static const struct mr_extent_header *pin_one(struct raw_client *client, const char *topic)
{
    assert_int_equal(raw_open_consumer(client, topic), MR_MESSAGE_CONSUMER_OPENED);
    assert_int_equal(raw_subscribe(client, 0, 0), MR_MESSAGE_SUBSCRIBED);
    assert_true(client->extent_fd >= 0);
    const struct mr_extent_header *extent = mmap(NULL, EXTENT_BYTES, PROT_READ, MAP_SHARED, client->extent_fd, 0);
    assert_true(extent != MAP_FAILED);
    mr_store_relaxed(&client->consumer[0].pins[0], mr_load_relaxed(&extent->sequence));
    mr_fence_seq_cst();
    return extent;
}

/* An extent's memory is the log's again: used anew, or given back. */
static bool is_let_go(int fd, const struct mr_extent_header *extent, uint64_t sequence)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    return st.st_nlink == 0 || mr_load_relaxed(&extent->sequence) != sequence;
}

static bool comes_to_be_let_go(int fd, const struct mr_extent_header *extent, uint64_t sequence)
{
    for (uint32_t i = 0; i < 30000; i++) { /* of a millisecond; less on a machine with nothing else to do */
        if (is_let_go(fd, extent, sequence))
            return true;
        usleep(1000);
    }
    return false;
}

static int poisons(struct raw_client *client)
{
    struct mr_message_header message;
    return raw_ask(client, &message, sizeof message, 99);
}

static int hangs_up(struct raw_client *client)
{
    close(client->socket);
    client->socket = -1;
    return 0;
}

static void pins_count_as_long_as_the_process_lives(void **state)
{
    static struct raw_client client;
    int (*const ends[])(struct raw_client *) = {poisons, hangs_up};
    for (uint32_t i = 0; i < MR_COUNT_OF(ends); i++) {
        const char *topic = i == 0 ? "poisoned" : "hung-up";
        create(topic);
        flood(topic, 16u << 20);
        raw_attach(&client);
        const struct mr_extent_header *extent = pin_one(&client, topic);
        int fd = dup(client.extent_fd);
        uint64_t sequence = mr_load_relaxed(&extent->sequence);
        assert_true(sequence != 0);
        for (uint32_t n = 0; mr_load_relaxed(&extent->sealed_end) == 0; n++) { /* it may have been named before the tail came to it */
            assert_true(n < 64);
            flood(topic, 4u << 20);
        }
        uint32_t crc = extent->header_crc;
        assert_int_equal(ends[i](&client), 0);
        flood(topic, TOPIC_BYTES);
        usleep(300000);
        assert_false(is_let_go(fd, extent, sequence));
        assert_int_equal(extent->header_crc, crc);
        raw_leave(&client); /* it says that it reads no more */
        assert_true(comes_to_be_let_go(fd, extent, sequence));
        munmap((void *)(uintptr_t)extent, EXTENT_BYTES);
        close(fd);
    }
}

static void pins_of_a_process_that_ended_do_not_count(void **state)
{
    static struct raw_client client;
    int told[2], ended[2];
    uint64_t sequence = 0;
    create("died");
    flood("died", 16u << 20);
    assert_int_equal(pipe(told) | pipe(ended), 0);
    raw_attach(&client);
    const struct mr_extent_header *extent = pin_one(&client, "died"); /* to look on; the child pins the same */
    mr_store_relaxed(&client.consumer[0].pins[0], 0);
    int fd = dup(client.extent_fd);
    pid_t reader = fork();
    if (reader == 0) {
        static struct raw_client own;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        raw_attach(&own);
        sequence = mr_load_relaxed(&pin_one(&own, "died")->sequence);
        (void)poisons(&own);
        ssize_t n = write(told[1], &sequence, sizeof sequence);
        n += read(ended[0], &sequence, 1);
        _exit(n == 0);
    }
    assert_int_equal(read(told[0], &sequence, sizeof sequence), sizeof sequence);
    raw_leave(&client);
    assert_int_equal(mr_load_relaxed(&extent->sequence), sequence);
    flood("died", TOPIC_BYTES);
    usleep(300000);
    assert_false(is_let_go(fd, extent, sequence));
    assert_int_equal(write(ended[1], "y", 1), 1);
    waitpid(reader, NULL, 0);
    assert_true(comes_to_be_let_go(fd, extent, sequence));
    munmap((void *)(uintptr_t)extent, EXTENT_BYTES);
    close(fd);
    for (uint32_t i = 0; i < 2; i++) {
        close(told[i]);
        close(ended[i]);
    }
}

static int start(void **state)
{
    door_world_pin_grace_ms = 120000; /* nobody is turned out here, however slow the machine */
    door_world_start();
    return 0;
}

/* One more session lingers when the node stops, and does not keep it. */
static int stop(void **state)
{
    static struct raw_client client;
    raw_attach(&client);
    const struct mr_extent_header *extent = pin_one(&client, "died");
    (void)poisons(&client);
    bool stopped = door_world_stop();
    munmap((void *)(uintptr_t)extent, EXTENT_BYTES);
    client.abandons = true;
    raw_leave(&client);
    return stopped ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pins_count_as_long_as_the_process_lives),
        cmocka_unit_test(pins_of_a_process_that_ended_do_not_count),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
