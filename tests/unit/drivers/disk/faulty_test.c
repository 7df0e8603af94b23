/* SPDX-License-Identifier: Apache-2.0 */
/* The fault rules around a simulated disk: which operation fails, what reaches the file, and what a bad rule is told. */
#include "tests/support/unit.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "drivers/disk/faulty.h"
#include "drivers/disk/sim.h"
#include "shm/base/bits.h"

static _Alignas(MR_BLOCK_BYTES) uint8_t block[MR_BLOCK_BYTES];
static struct mr_sim_disk_machine *machine;
static struct mr_disk *disk;
static int file;

static void start(const char *rules, uint32_t inner_depth)
{
    struct mr_sim_disk_options options;
    struct millrace_error err;
    mr_sim_disk_options_init(&options);
    options.depth = inner_depth;
    machine = mr_sim_disk_machine_open(&options);
    memset(block, 'a', sizeof block);
    int rc = mr_disk_faulty_open(&disk, mr_sim_disk_open(machine), rules, &err);
    if (rc != 0)
        print_error("%s\n", err.text);
    assert_int_equal(rc, 0);
    file = mr_disk_open(disk, "/f", MR_DISK_CREATE, NULL);
}

static void stop(void)
{
    mr_disk_release(disk);
    mr_sim_disk_machine_close(machine);
}

/** Submit `count` writes of a block each, as the queue takes them, and collect all. @param results by tag */
static void write_blocks(uint32_t count, int32_t *results)
{
    struct mr_disk_write writes[300];
    uint32_t sent = 0, collected = 0;
    for (uint32_t i = 0; i < count; i++) {
        writes[i] = (struct mr_disk_write){.tag = i, .file = file, .bytes = MR_BLOCK_BYTES, .position = (uint64_t)i * MR_BLOCK_BYTES, .buffer = block};
        results[i] = 1;
    }
    for (int idle = 0; collected < count && idle < 5000;) {
        struct mr_disk_completion done[7];
        sent += mr_disk_submit(disk, writes + sent, count - sent);
        uint32_t some = mr_disk_poll(disk, done, 7);
        for (uint32_t i = 0; i < some; i++) {
            assert_int_equal(results[done[i].tag], 1); /* each once */
            results[done[i].tag] = done[i].result;
        }
        collected += some;
        if (some == 0) {
            idle++;
            usleep(100);
        }
    }
    assert_int_equal(collected, count);
}

static void the_rule_meets_exactly_the_nth_write_however_they_are_batched(void **state)
{
    for (uint32_t depth = 1; depth <= 300; depth = depth * 3 + 1) {
        int32_t results[300];
        start("write:17:EIO,write:65:ENOSPC,write:131+:EROFS", depth);
        write_blocks(200, results);
        for (int32_t i = 0; i < 200; i++)
            assert_int_equal(results[i], i == 16 ? -EIO : i == 64 ? -ENOSPC : i >= 130 ? -EROFS : 0);
        uint8_t byte = 1;
        assert_int_equal(mr_sim_disk_read_path(machine, "/f", &byte, 1, 16 * MR_BLOCK_BYTES), 1);
        assert_int_equal(byte, 0); /* a failed write is not done */
        assert_int_equal(mr_sim_disk_size_path(machine, "/f"), 130 * MR_BLOCK_BYTES);
        stop();
    }
}

static void a_torn_write_does_its_first_sectors_only(void **state)
{
    int32_t result;
    start("write:1:torn=3", 8);
    assert_int_equal(mr_disk_allocate(disk, file, 0, MR_BLOCK_BYTES), 0);
    write_blocks(1, &result);
    assert_int_equal(result, -EIO);
    uint8_t got[MR_BLOCK_BYTES];
    assert_int_equal(mr_sim_disk_read_path(machine, "/f", got, sizeof got, 0), sizeof got);
    assert_memory_equal(got, block, 3 * 512);
    assert_int_equal(got[3 * 512], 0);
    stop();
}

static void a_slow_disk_holds_its_completions_and_wakes_when_they_are_due(void **state)
{
    start("slow:30ms", 8);
    struct mr_disk_write write = {.tag = 5, .file = file, .bytes = MR_BLOCK_BYTES, .buffer = block};
    struct mr_disk_completion done;
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    assert_int_equal(mr_disk_submit(disk, &write, 1), 1);
    struct pollfd wait = {.fd = mr_disk_wait_fd(disk), .events = POLLIN};
    while (mr_disk_poll(disk, &done, 1) == 0) {
        uint64_t ticks;
        assert_int_equal(poll(&wait, 1, 1000), 1);
        assert_int_equal(read(wait.fd, &ticks, sizeof ticks), 8);
    }
    clock_gettime(CLOCK_MONOTONIC, &after);
    int64_t took_ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
    assert_true(took_ms >= 29);
    assert_int_equal(done.tag, 5);
    assert_int_equal(done.result, 0);
    usleep(3000);
    assert_int_equal(poll(&wait, 1, 0), 0); /* idle: no ticks */
    stop();
}

static void cold_operations_count_by_kind(void **state)
{
    start("sync:2:EIO,read:1+:EIO,allocate:1:ENOSPC,name:2:EROFS,dirsync:1:EIO,cold:1:EDQUOT,truncate:1:EIO,open:2:EMFILE", 8);
    struct millrace_error err;
    char byte;
    assert_int_equal(mr_disk_sync(disk, file), 0);
    assert_int_equal(mr_disk_sync(disk, file), -EIO);
    assert_int_equal(mr_disk_sync(disk, file), 0);
    assert_int_equal(mr_disk_read(disk, file, &byte, 1, 0), -EIO);
    assert_int_equal(mr_disk_read(disk, file, &byte, 1, 0), -EIO);
    assert_int_equal(mr_disk_allocate(disk, file, 0, 1), -ENOSPC);
    assert_int_equal(mr_disk_allocate(disk, file, 0, 1), 0);
    assert_int_equal(mr_disk_make_directory(disk, "/d"), 0);
    assert_int_equal(mr_disk_unlink(disk, "/f"), -EROFS);
    assert_int_equal(mr_disk_rename(disk, "/f", "/g"), 0);
    assert_int_equal(mr_disk_sync_directory(disk, "/"), -EIO);
    assert_int_equal(mr_disk_write(disk, file, "x", 1, 0), -EDQUOT);
    assert_int_equal(mr_disk_truncate(disk, file, 0), -EIO);
    assert_int_equal(mr_disk_open(disk, "/g", 0, &err), -EMFILE); /* the first open was start()'s */
    assert_non_null(strstr(err.text, "MR_FAULTS"));
    assert_true(mr_disk_open(disk, "/g", 0, &err) >= 0);
    stop();
}

static void bad_rules_are_told_what_is_wrong(void **state)
{
    static const struct {
        const char *rules, *says;
    } cases[] = {
        {"", "''"},
        {"write:17", "'write:17' is not OPERATION:COUNT:FAULT"},
        {"write:1:EIO,", "''"},
        {"wirte:1:EIO", "'wirte' is none of write sync"},
        {"write:0:EIO", "count '0'"},
        {"write:-1:EIO", "count '-1'"},
        {"write:1-:EIO", "count '1-'"},
        {"write:99999999999999999999:EIO", "count '99999999999999999999'"},
        {"write:1:EOI", "'EOI' is none of EIO ENOSPC"},
        {"write:1:torn=", "torn= needs a number of sectors"},
        {"write:1:torn=9999", "from 0 to 2048"},
        {"sync:1:torn=1", "are for write"},
        {"write:1:slow=20", "slow= needs a time such as 50ms"},
        {"slow:20", "a time such as slow:20ms"},
        {"slow:4000s", "up to an hour"},
        {"write:1:EIO,sync:1:EIO,write:0000000000000000000000000000000000000000000000000000000000000001:EIO", "longer than 63"},
        {"slow:1s,slow:1s,slow:1s,slow:1s,slow:1s,slow:1s,slow:1s,slow:1s,slow:1s,slow:1s,slow:1s,slow:1s,slow:1s,slow:1s,slow:1s,slow:1s,slow:1s",
         "more than 16"},
    };
    machine = mr_sim_disk_machine_open(NULL);
    struct mr_disk *inner = mr_sim_disk_open(machine);
    for (uint32_t i = 0; i < MR_COUNT_OF(cases); i++) {
        struct millrace_error err;
        assert_int_equal(mr_disk_faulty_open(&disk, inner, cases[i].rules, &err), -EINVAL);
        if (strstr(err.text, cases[i].says) == NULL || strncmp(err.text, "MR_FAULTS: ", 11) != 0)
            fail_msg("for '%s' the message is: %s", cases[i].rules, err.text);
        assert_null(disk);
    }
    mr_disk_release(inner); /* still ours */
    mr_sim_disk_machine_close(machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rule_meets_exactly_the_nth_write_however_they_are_batched),
        cmocka_unit_test(a_torn_write_does_its_first_sectors_only),
        cmocka_unit_test(a_slow_disk_holds_its_completions_and_wakes_when_they_are_due),
        cmocka_unit_test(cold_operations_count_by_kind),
        cmocka_unit_test(bad_rules_are_told_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
