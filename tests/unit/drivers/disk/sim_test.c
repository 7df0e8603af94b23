/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated disk as a program sees it while the power stays on, and the faults it can be told to have. Crashes: sim_crash_test.c. */
#include "tests/support/unit.h"

#include <errno.h>
#include <string.h>

#include "drivers/disk/sim.h"
#include "shm/base/bits.h"

static _Alignas(MR_BLOCK_BYTES) uint8_t block_a[MR_BLOCK_BYTES];
static _Alignas(MR_BLOCK_BYTES) uint8_t block_b[MR_BLOCK_BYTES];
static uint8_t got[2 * MR_BLOCK_BYTES];

static struct mr_sim_disk_machine *machine;
static struct mr_disk *disk;

static int set_up(void **state)
{
    memset(block_a, 'a', sizeof block_a);
    memset(block_b, 'b', sizeof block_b);
    machine = mr_sim_disk_machine_open(NULL);
    disk = mr_sim_disk_open(machine);
    return 0;
}

static int tear_down(void **state)
{
    mr_disk_release(disk);
    mr_sim_disk_machine_close(machine);
    return 0;
}

static int create(const char *path)
{
    int file = mr_disk_open(disk, path, MR_DISK_CREATE | MR_DISK_DIRECT, NULL);
    assert_true(file >= 0);
    return file;
}

static struct mr_disk_write write_of(int file, uint64_t tag, uint64_t position, const void *buffer)
{
    return (struct mr_disk_write){
        .tag = tag, .file = file, .bytes = MR_BLOCK_BYTES, .position = position, .buffer = buffer, .flags = MR_DISK_DURABLE};
}

/** Submit one, deliver it. @return its result. */
static int32_t write_now(int file, uint64_t position, const void *buffer)
{
    struct mr_disk_write write = write_of(file, 1, position, buffer);
    struct mr_disk_completion done = {.result = 1};
    assert_int_equal(mr_disk_submit(disk, &write, 1), 1);
    assert_int_equal(mr_disk_poll(disk, &done, 1), 1);
    return done.result;
}

static void a_write_is_seen_when_its_completion_is_delivered(void **state)
{
    int file = create("/f");
    struct mr_disk_write writes[] = {write_of(file, 7, 0, block_a), write_of(file, 8, MR_BLOCK_BYTES, block_b)};
    struct mr_disk_completion done[4];
    assert_int_equal(mr_disk_submit(disk, writes, 2), 2);
    assert_int_equal(mr_sim_disk_in_flight(machine), 2);
    assert_int_equal(mr_disk_size(disk, file), 0);
    assert_int_equal(mr_disk_poll(disk, done, 4), 2);
    assert_int_equal(done[0].tag + done[1].tag, 15);
    assert_int_equal(done[0].result, 0);
    assert_int_equal(mr_disk_poll(disk, done, 4), 0);
    assert_int_equal(mr_disk_read(disk, file, got, sizeof got, 0), sizeof got);
    assert_memory_equal(got, block_a, MR_BLOCK_BYTES);
    assert_memory_equal(got + MR_BLOCK_BYTES, block_b, MR_BLOCK_BYTES);
    assert_int_equal(mr_disk_close(disk, file), 0);
    assert_int_equal(mr_disk_close(disk, file), -EBADF);
}

static void submit_takes_no_more_than_the_depth(void **state)
{
    struct mr_sim_disk_options options;
    mr_sim_disk_options_init(&options);
    options.depth = 2;
    struct mr_sim_disk_machine *small = mr_sim_disk_machine_open(&options);
    struct mr_disk *handle = mr_sim_disk_open(small);
    int file = mr_disk_open(handle, "/f", MR_DISK_CREATE, NULL);
    struct mr_disk_write writes[] = {write_of(file, 0, 0, block_a), write_of(file, 1, 4096, block_a), write_of(file, 2, 8192, block_a)};
    struct mr_disk_completion done[4];
    assert_int_equal(mr_disk_submit(handle, writes, 3), 2);
    assert_int_equal(mr_disk_submit(handle, writes + 2, 1), 0);
    assert_int_equal(mr_disk_poll(handle, done, 1), 1);
    assert_int_equal(mr_disk_submit(handle, writes + 2, 1), 1);
    mr_disk_release(handle); /* waits for what is in flight */
    assert_int_equal(mr_sim_disk_size_path(small, "/f"), 3 * MR_BLOCK_BYTES);
    mr_sim_disk_machine_close(small);
}

static void completions_come_late_and_in_another_order_as_the_seed_says(void **state)
{
    bool was_reordered = false, was_late = false;
    for (uint64_t seed = 0; seed < 8; seed++) {
        uint64_t order[2][8];
        for (int run = 0; run < 2; run++) {
            struct mr_sim_disk_options options;
            mr_sim_disk_options_init(&options);
            options.seed = seed;
            options.delay_polls_max = 3;
            struct mr_sim_disk_machine *m = mr_sim_disk_machine_open(&options);
            struct mr_disk *d = mr_sim_disk_open(m);
            int file = mr_disk_open(d, "/f", MR_DISK_CREATE, NULL);
            for (uint64_t i = 0; i < 8; i++) {
                struct mr_disk_write write = write_of(file, i, i * MR_BLOCK_BYTES, block_a);
                assert_int_equal(mr_disk_submit(d, &write, 1), 1);
            }
            uint32_t count = 0, polls = 0;
            struct mr_disk_completion done[8];
            while (count < 8) {
                uint32_t some = mr_disk_poll(d, done, 8);
                for (uint32_t i = 0; i < some; i++)
                    order[run][count++] = done[i].tag;
                polls++;
                assert_true(polls <= 4);
            }
            was_late |= polls > 1;
            for (uint64_t i = 0; i < 8; i++)
                was_reordered |= order[run][i] != i;
            mr_sim_disk_machine_close(m); /* frees the handle too */
        }
        assert_memory_equal(order[0], order[1], sizeof order[0]);
    }
    assert_true(was_late);
    assert_true(was_reordered);
}

static void nothing_is_delivered_while_held(void **state)
{
    struct mr_disk_write write = write_of(create("/f"), 1, 0, block_a);
    struct mr_disk_completion done;
    mr_sim_disk_hold(machine, true);
    assert_int_equal(mr_disk_submit(disk, &write, 1), 1);
    for (int i = 0; i < 10; i++)
        assert_int_equal(mr_disk_poll(disk, &done, 1), 0);
    mr_sim_disk_hold(machine, false);
    assert_int_equal(mr_disk_poll(disk, &done, 1), 1);
}

static void handles_of_one_machine_share_open_files(void **state)
{
    int file = create("/f");
    struct mr_disk *other = mr_sim_disk_open(machine);
    struct mr_disk_write write = write_of(file, 1, 0, block_a);
    struct mr_disk_completion done;
    assert_int_equal(mr_disk_submit(other, &write, 1), 1);
    assert_int_equal(mr_disk_poll(disk, &done, 1), 0); /* a completion goes to who submitted */
    assert_int_equal(mr_disk_poll(other, &done, 1), 1);
    assert_int_equal(mr_disk_size(disk, file), MR_BLOCK_BYTES);
    mr_disk_release(other);
    assert_int_equal(mr_disk_size(disk, file), MR_BLOCK_BYTES); /* the file stays open */
}

static void a_preallocated_file_reads_as_zeros_and_takes_space(void **state)
{
    mr_sim_disk_set_capacity(machine, (uint64_t)65 << 20);
    int file = create("/f");
    assert_int_equal(mr_disk_allocate(disk, file, 0, (uint64_t)64 << 20), 0);
    assert_int_equal(mr_disk_size(disk, file), 64 << 20);
    assert_int_equal(mr_disk_free_bytes(disk, "/"), 1 << 20);
    memset(got, 1, sizeof got);
    assert_int_equal(mr_disk_read(disk, file, got, sizeof got, (64 << 20) - 4096), 4096); /* short only at the end */
    for (int i = 0; i < 4096; i++)
        assert_int_equal(got[i], 0);
    int other = create("/g");
    assert_int_equal(mr_disk_allocate(disk, other, 0, 2 << 20), -ENOSPC);
    assert_int_equal(mr_disk_unlink(disk, "/f"), 0);
    assert_int_equal(mr_disk_allocate(disk, other, 0, 2 << 20), -ENOSPC); /* still open */
    assert_int_equal(mr_disk_close(disk, file), 0);
    assert_int_equal(mr_disk_allocate(disk, other, 0, 2 << 20), 0);
    assert_int_equal(mr_disk_truncate(disk, other, 4096), 0);
    assert_int_equal(mr_disk_free_bytes(disk, "/"), (65 << 20) - 4096);
}

static void a_write_without_room_changes_nothing(void **state)
{
    mr_sim_disk_set_capacity(machine, 2 * MR_BLOCK_BYTES);
    int file = create("/f");
    assert_int_equal(mr_disk_write(disk, file, block_b, MR_BLOCK_BYTES, 0), MR_BLOCK_BYTES);
    assert_int_equal(mr_disk_write(disk, file, block_b, MR_BLOCK_BYTES - 1, MR_BLOCK_BYTES), MR_BLOCK_BYTES - 1);
    assert_int_equal(write_now(file, 2 * MR_BLOCK_BYTES, block_a), -ENOSPC);
    assert_int_equal(mr_disk_write(disk, file, block_b, 1, 3 * MR_BLOCK_BYTES), -ENOSPC);
    assert_int_equal(mr_disk_size(disk, file), 2 * MR_BLOCK_BYTES - 1);
}

static void a_truncated_file_grows_again_with_zeros(void **state)
{
    int file = create("/f");
    assert_int_equal(mr_disk_write(disk, file, block_a, MR_BLOCK_BYTES, 0), MR_BLOCK_BYTES);
    assert_int_equal(mr_disk_truncate(disk, file, 100), 0);
    assert_int_equal(mr_disk_write(disk, file, block_b, 10, 1000), 10);
    assert_int_equal(mr_disk_read(disk, file, got, sizeof got, 0), 1010);
    assert_int_equal(got[99], 'a');
    for (int i = 100; i < 1000; i++)
        assert_int_equal(got[i], 0);
    assert_int_equal(got[1000], 'b');
}

static int count_name(void *context, const char *name, bool is_directory)
{
    int *seen = context;
    seen[0]++;
    seen[1] += is_directory;
    return strcmp(name, "stop") == 0 ? -7 : 0;
}

static void names_behave_as_on_a_file_system(void **state)
{
    int seen[2] = {0};
    assert_int_equal(mr_disk_make_directory(disk, "/d"), 0);
    assert_int_equal(mr_disk_make_directory(disk, "/d"), -EEXIST);
    assert_int_equal(mr_disk_make_directory(disk, "/none/d"), -ENOENT);
    assert_int_equal(mr_disk_make_directory(disk, "/d/e"), 0);
    int file = create("d//./f");
    assert_int_equal(mr_disk_open(disk, "/d/f", MR_DISK_CREATE | MR_DISK_EXCLUSIVE, NULL), -EEXIST);
    assert_int_equal(mr_disk_open(disk, "/d/g", 0, NULL), -ENOENT);
    assert_int_equal(mr_disk_open(disk, "/d", 0, NULL), -EISDIR);
    assert_int_equal(mr_disk_open(disk, "/d/f/g", MR_DISK_CREATE, NULL), -ENOTDIR);
    assert_int_equal(mr_disk_open(disk, "/d/../f", MR_DISK_CREATE, NULL), -EINVAL);
    assert_int_equal(mr_disk_list(disk, "/d", count_name, seen), 0);
    assert_int_equal(seen[0], 2);
    assert_int_equal(seen[1], 1);
    assert_int_equal(mr_disk_list(disk, "/x", count_name, seen), -ENOENT);
    assert_int_equal(mr_disk_remove_directory(disk, "/d"), -ENOTEMPTY);
    assert_int_equal(mr_disk_unlink(disk, "/d/e"), -EISDIR);
    assert_int_equal(mr_disk_remove_directory(disk, "/d/f"), -ENOTDIR);
    assert_int_equal(mr_disk_rename(disk, "/d", "/d/e/d"), -EINVAL);
    assert_int_equal(mr_disk_rename(disk, "/d/f", "/d/e"), -EISDIR);
    create("/stop");
    assert_int_equal(mr_disk_write(disk, file, "x", 1, 0), 1);
    assert_int_equal(mr_disk_rename(disk, "/d/f", "/stop"), 0); /* replaces */
    assert_int_equal(mr_sim_disk_size_path(machine, "/stop"), 1);
    assert_int_equal(mr_sim_disk_size_path(machine, "/d/f"), -ENOENT);
    assert_int_equal(mr_disk_remove_directory(disk, "/d/e"), 0);
    assert_int_equal(mr_disk_remove_directory(disk, "/d"), 0);
    assert_int_equal(mr_disk_list(disk, "/", count_name, seen), -7);
    assert_int_equal(mr_disk_unlink(disk, "/stop"), 0);
    assert_int_equal(mr_disk_read(disk, file, got, 8, 0), 1); /* unlinked and open */
}

static void read_only_files_refuse_writes(void **state)
{
    create("/f");
    int file = mr_disk_open(disk, "/f", MR_DISK_READ_ONLY, NULL);
    assert_int_equal(mr_disk_write(disk, file, "x", 1, 0), -EBADF);
    assert_int_equal(mr_disk_truncate(disk, file, 0), -EBADF);
    assert_int_equal(write_now(file, 0, block_a), -EBADF);
    assert_false(mr_disk_is_direct(disk, file));
    assert_true(mr_disk_is_direct(disk, create("/f")));
}

static void the_nth_operation_fails_once_or_for_ever(void **state)
{
    int file = create("/f");
    mr_sim_disk_fail(machine, MR_SIM_DISK_BURST_WRITE, 2, ENOSPC, false);
    assert_int_equal(write_now(file, 0, block_a), 0);
    assert_int_equal(write_now(file, 0, block_b), -ENOSPC);
    assert_int_equal(mr_disk_read(disk, file, got, MR_BLOCK_BYTES, 0), MR_BLOCK_BYTES);
    assert_memory_equal(got, block_a, MR_BLOCK_BYTES);
    assert_int_equal(write_now(file, 0, block_a), 0);
    mr_sim_disk_fail(machine, MR_SIM_DISK_SYNC, 3, EIO, true);
    assert_int_equal(mr_disk_sync(disk, file), 0);
    assert_int_equal(mr_disk_sync(disk, file), 0);
    assert_int_equal(mr_disk_sync(disk, file), -EIO);
    assert_int_equal(mr_disk_sync(disk, file), -EIO);
    mr_sim_disk_fail(machine, MR_SIM_DISK_SYNC, 0, 0, false);
    assert_int_equal(mr_disk_sync(disk, file), 0);
    mr_sim_disk_fail(machine, MR_SIM_DISK_READ, 1, EIO, false);
    assert_int_equal(mr_disk_read(disk, file, got, 1, 0), -EIO);
    assert_int_equal(mr_disk_read(disk, file, got, 1, 0), 1);
    mr_sim_disk_fail(machine, MR_SIM_DISK_NAME, 1, EIO, false);
    assert_int_equal(mr_disk_open(disk, "/new", MR_DISK_CREATE, NULL), -EIO);
    assert_int_equal(mr_sim_disk_size_path(machine, "/new"), -ENOENT);
}

static void a_write_that_fails_with_eio_leaves_old_new_or_garbage(void **state)
{
    int old = 0, new = 0, garbage = 0;
    int file = create("/f");
    for (int round = 0; round < 64; round++) {
        const uint8_t *was = round % 2 == 0 ? block_a : block_b, *is = round % 2 == 0 ? block_b : block_a;
        assert_int_equal(write_now(file, 0, was), 0);
        mr_sim_disk_fail(machine, MR_SIM_DISK_BURST_WRITE, 1, EIO, false);
        assert_int_equal(write_now(file, 0, is), -EIO);
        assert_int_equal(mr_disk_read(disk, file, got, MR_BLOCK_BYTES, 0), MR_BLOCK_BYTES);
        for (int s = 0; s < 8; s++) {
            if (memcmp(got + s * 512, was, 512) == 0)
                old++;
            else if (memcmp(got + s * 512, is, 512) == 0)
                new++;
            else
                garbage++;
        }
    }
    assert_true(old > 20 && new > 20 && garbage > 5);
}

static void a_misdirected_write_lands_elsewhere(void **state)
{
    int file = create("/f");
    assert_int_equal(mr_disk_allocate(disk, file, 0, 4 * MR_BLOCK_BYTES), 0);
    mr_sim_disk_misdirect(machine, 1, 2 * MR_BLOCK_BYTES);
    assert_int_equal(write_now(file, 0, block_a), 0);
    assert_int_equal(mr_disk_read(disk, file, got, 1, 0), 1);
    assert_int_equal(got[0], 0);
    assert_int_equal(mr_disk_read(disk, file, got, MR_BLOCK_BYTES, 2 * MR_BLOCK_BYTES), MR_BLOCK_BYTES);
    assert_memory_equal(got, block_a, MR_BLOCK_BYTES);
}

static void a_flipped_bit_shows_in_one_byte(void **state)
{
    int file = create("/f");
    assert_int_equal(mr_disk_write(disk, file, block_a, MR_BLOCK_BYTES, 0), MR_BLOCK_BYTES);
    assert_int_equal(mr_sim_disk_flip_bit(machine, "/f", 77, 3), 0);
    assert_int_equal(mr_sim_disk_flip_bit(machine, "/f", MR_BLOCK_BYTES, 3), -ERANGE);
    assert_int_equal(mr_sim_disk_flip_bit(machine, "/g", 0, 3), -ENOENT);
    assert_int_equal(mr_disk_read(disk, file, got, MR_BLOCK_BYTES, 0), MR_BLOCK_BYTES);
    assert_int_equal(got[77], 'a' ^ 8);
    got[77] = 'a';
    assert_memory_equal(got, block_a, MR_BLOCK_BYTES);
}

static int append_path(void *context, const char *path, bool is_directory, uint64_t bytes)
{
    strcat(context, path);
    strcat(context, is_directory ? "/ " : " ");
    return 0;
}

static void walk_and_digest_show_every_file(void **state)
{
    char paths[200] = "";
    assert_int_equal(mr_disk_make_directory(disk, "/d"), 0);
    create("/d/y");
    int file = create("/d/x");
    create("/c");
    assert_int_equal(mr_sim_disk_walk(machine, append_path, paths), 0);
    assert_string_equal(paths, "/c /d/ /d/x /d/y ");
    uint32_t before = mr_sim_disk_digest(machine);
    assert_int_equal(mr_disk_write(disk, file, "x", 1, 0), 1);
    assert_int_not_equal(mr_sim_disk_digest(machine), before);
    assert_int_equal(mr_disk_truncate(disk, file, 0), 0);
    assert_int_equal(mr_sim_disk_digest(machine), before);
    assert_int_equal(mr_disk_rename(disk, "/c", "/e"), 0);
    assert_int_not_equal(mr_sim_disk_digest(machine), before);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_write_is_seen_when_its_completion_is_delivered),
        CASE(submit_takes_no_more_than_the_depth),
        CASE(completions_come_late_and_in_another_order_as_the_seed_says),
        CASE(nothing_is_delivered_while_held),
        CASE(handles_of_one_machine_share_open_files),
        CASE(a_preallocated_file_reads_as_zeros_and_takes_space),
        CASE(a_write_without_room_changes_nothing),
        CASE(a_truncated_file_grows_again_with_zeros),
        CASE(names_behave_as_on_a_file_system),
        CASE(read_only_files_refuse_writes),
        CASE(the_nth_operation_fails_once_or_for_ever),
        CASE(a_write_that_fails_with_eio_leaves_old_new_or_garbage),
        CASE(a_misdirected_write_lands_elsewhere),
        CASE(a_flipped_bit_shows_in_one_byte),
        CASE(walk_and_digest_show_every_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
