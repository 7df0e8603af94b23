/* SPDX-License-Identifier: Apache-2.0 */
/* A client that does nothing for a while, at a node whose memory nobody else uses. */
#include "tests/support/door_client.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/client/consumer_internal.h"

static uint32_t published;

/* Some thousands of pushes are more than its socket holds. */
static void a_client_that_pauses_keeps_its_session_and_learns_what_it_missed(void **state)
{
    static struct millrace_consumer *consumer[250];
    struct millrace_client *client = door_attach(), *reader = door_attach();
    struct millrace_error err;
    struct millrace_record record;
    assert_int_equal(millrace_topic_create(client, "paused", 1, "millrace.durability=leader", &err), 0);
    struct millrace_producer *producer = open_producer(client, "paused", NULL);
    published = 0;
    for (uint32_t c = 0; c < MR_COUNT_OF(consumer); c++)
        consumer[c] = open_consumer(reader, "paused", MILLRACE_START_END);
    uint64_t session_id = reader->session_id;
    publish_numbered(producer, &published, 50);
    assert_int_equal(millrace_consumer_poll(consumer[0], &record, 1, 5000), 1);
    publish_numbered(producer, &published, 1500); /* all memory that there may be: 31 extents, told to 250 */
    assert_int_equal(millrace_producer_flush(producer, 10000), 0);
    usleep(100000);
    assert_true(is_record(&record, 0));
    for (uint32_t c = 0; c < MR_COUNT_OF(consumer); c++)
        assert_int_equal(millrace_consumer_seek_end(consumer[c], 0), 0);
    for (uint32_t i = 0; i < 5; i++) {
        uint64_t offset = published;
        publish_numbered(producer, &published, 50); /* across a boundary */
        for (uint32_t c = 0; c < MR_COUNT_OF(consumer); c += i == 0 ? 1 : 50)
            for (uint32_t k = 0; k < (i == 0 ? 1 : 50); k++) {
                if (i > 0 && k == 0)
                    assert_int_equal(millrace_consumer_seek_offset(consumer[c], 0, offset), 0);
                assert_int_equal(millrace_consumer_poll(consumer[c], &record, 1, 5000), 1);
                assert_true(is_record(&record, offset + k));
            }
    }
    assert_true(consumer[0]->reader[0].map_count > 12);
    assert_true(reader->session_id == session_id && reader->state == MR_CLIENT_ATTACHED);
    /* Each knows the files that there are, and no others. */
    for (uint32_t c = 1; c < MR_COUNT_OF(consumer); c++) {
        assert_int_equal(consumer[c]->reader[0].map_count, consumer[0]->reader[0].map_count);
        assert_int_equal(consumer[c]->reader[0].told_left, 0);
    }
    millrace_detach(reader);
    millrace_producer_close(producer);
    millrace_detach(client);
}

/* As after a daemon that let go of the pins while we were amid a poll. */
static void records_read_while_their_memory_was_used_again_are_not_given_out(void **state)
{
    struct millrace_client *client = door_attach();
    struct millrace_error err;
    struct millrace_record record[10];
    static uint8_t values[10][60000];
    uint64_t next;
    assert_int_equal(millrace_topic_create(client, "torn", 1, "millrace.durability=leader", &err), 0);
    struct millrace_producer *producer = open_producer(client, "torn", NULL);
    published = 0;
    publish_numbered(producer, &published, 100);
    assert_int_equal(millrace_producer_flush(producer, 10000), 0);
    struct millrace_consumer *consumer = open_consumer(client, "torn", MILLRACE_START_BEGIN);
    struct mr_reader *reader = &consumer->reader[0];
    for (uint32_t way = 0; way < 2; way++) {
        assert_int_equal(millrace_consumer_seek_start(consumer, 0), 0);
        int got = millrace_consumer_poll(consumer, record, 10, 5000);
        assert_true(got > 0);
        for (uint32_t i = 0; i < MR_PINS_PER_PARTITION; i++)
            reader->held_sequence[i]--;
        if (way == 0)
            assert_int_equal(millrace_consumer_poll(consumer, record, 10, 5000), -ESTALE);
        else
            assert_int_equal(millrace_consumer_copy(consumer, values, 60000, NULL, 10), -ESTALE);
        assert_int_equal(millrace_consumer_position(consumer, 0, &next, NULL, NULL), 0);
        assert_int_equal(next, got);
        assert_int_equal(millrace_consumer_poll(consumer, record, 10, 0), -ESTALE); /* until a seek */
        assert_int_equal(millrace_consumer_seek_offset(consumer, 0, next), 0);
        while (next < 100) {
            got = millrace_consumer_poll(consumer, record, 10, 5000);
            assert_true(got > 0);
            for (int i = 0; i < got; i++)
                assert_true(is_record(&record[i], next++));
        }
    }
    millrace_detach(client);
}

/* A reader in a process that cannot take descriptors: what is in the file it reads from there, then it is told. When it can, it asks. */
static void a_reader_that_cannot_map_reads_the_file_and_tells_what_is_wrong(void **state)
{
    struct millrace_client *client = door_attach();
    struct millrace_error err;
    int told[2], go[2];
    char byte = 0;
    assert_int_equal(millrace_topic_create(client, "unmapped", 1, "millrace.durability=leader", &err), 0);
    struct millrace_producer *producer = open_producer(client, "unmapped", NULL);
    published = 0;
    assert_int_equal(pipe(told) | pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct millrace_client *own = door_attach();
        struct millrace_consumer *consumer = open_consumer(own, "unmapped", MILLRACE_START_BEGIN);
        struct mr_reader *reader = &consumer->reader[0];
        struct millrace_record record;
        struct rlimit files, few;
        uint64_t offset = 0;
        int rc = -1;
        if (getrlimit(RLIMIT_NOFILE, &files) != 0)
            _exit(1);
        few = files;
        few.rlim_cur = (rlim_t)dup(0); /* the next number: none more than that */
        close((int)few.rlim_cur);
        if (setrlimit(RLIMIT_NOFILE, &few) != 0 || write(told[1], "r", 1) != 1 || read(go[0], &byte, 1) != 1)
            _exit(2);
        /* Not even the segment's descriptors: it is told what the matter is. */
        for (uint32_t i = 0; i < 300 && rc != -ENOMEM && rc != -EMFILE; i++) {
            rc = millrace_consumer_poll(consumer, &record, 1, 100);
            if (rc == 1 && !is_record(&record, offset++))
                _exit(3);
        }
        if ((rc != -ENOMEM && rc != -EMFILE) || own->state != MR_CLIENT_ATTACHED)
            _exit(4);
        uint32_t map_count = reader->map_count;
        if (setrlimit(RLIMIT_NOFILE, &files) != 0 || millrace_consumer_seek_offset(consumer, 0, offset) != 0)
            _exit(5);
        for (; offset < 80; offset++)
            if (millrace_consumer_poll(consumer, &record, 1, 20000) != 1 || !is_record(&record, offset))
                _exit(6);
        /* What comes from now on is mapped again, and what was lost was asked for. */
        if (write(told[1], "r", 1) != 1 || read(go[0], &byte, 1) != 1)
            _exit(7);
        for (; offset < 160; offset++)
            if (millrace_consumer_poll(consumer, &record, 1, 20000) != 1 || !is_record(&record, offset))
                _exit(8);
        if (reader->state != MR_READER_LIVE || reader->map_count <= map_count)
            _exit(9);
        _exit(0);
    }
    close(told[1]);
    close(go[0]);
    assert_int_equal(read(told[0], &byte, 1), 1);
    publish_numbered(producer, &published, 80);
    assert_int_equal(millrace_producer_flush(producer, 10000), 0);
    assert_int_equal(write(go[1], "g", 1), 1);
    int status = -1;
    if (read(told[0], &byte, 1) != 1) {
        waitpid(child, &status, 0);
        fail_msg("the reader ended with %d", WEXITSTATUS(status));
    }
    publish_numbered(producer, &published, 80);
    assert_int_equal(millrace_producer_flush(producer, 10000), 0);
    assert_int_equal(write(go[1], "g", 1), 1);
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    close(told[0]);
    close(go[1]);
    millrace_detach(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_read_while_their_memory_was_used_again_are_not_given_out),
        cmocka_unit_test(a_reader_that_cannot_map_reads_the_file_and_tells_what_is_wrong),
        cmocka_unit_test(a_client_that_pauses_keeps_its_session_and_learns_what_it_missed), /* it wants all memory */
    };
    return cmocka_run_group_tests(tests, door_group_start, door_group_stop);
}
