/* SPDX-License-Identifier: Apache-2.0 */
/* W1-W5 of drivers/disk/sim.h: what each crash may leave, and that it does leave each of it sooner or later. Images are clones, cut with
 * many draws; a promise must hold in all of them, a danger must show in some. */
#include "tests/support/unit.h"

#include <errno.h>
#include <string.h>

#include "drivers/disk/sim.h"
#include "shm/base/bits.h"

#define IMAGES 400u

static _Alignas(MR_BLOCK_BYTES) uint8_t block_a[MR_BLOCK_BYTES];
static _Alignas(MR_BLOCK_BYTES) uint8_t block_b[MR_BLOCK_BYTES];
static uint8_t got[4 * MR_BLOCK_BYTES];

static struct mr_sim_disk_machine *machine;
static struct mr_disk *disk;
static struct mr_random draws;

static int set_up(void **state)
{
    struct mr_sim_disk_options options;
    mr_sim_disk_options_init(&options);
    options.seed = test_seed();
    memset(block_a, 'a', sizeof block_a);
    memset(block_b, 'b', sizeof block_b);
    mr_random_init(&draws, options.seed, 1);
    machine = mr_sim_disk_machine_open(&options);
    disk = mr_sim_disk_open(machine);
    return 0;
}

static int tear_down(void **state)
{
    mr_disk_release(disk);
    mr_sim_disk_machine_close(machine);
    return 0;
}

static int create_durable(const char *path)
{
    int file = mr_disk_open(disk, path, MR_DISK_CREATE, NULL);
    assert_true(file >= 0);
    assert_int_equal(mr_disk_sync_directory(disk, "/"), 0);
    return file;
}

static void submit(int file, uint64_t position, const void *buffer, uint32_t flags)
{
    struct mr_disk_write write = {.file = file, .bytes = MR_BLOCK_BYTES, .position = position, .buffer = buffer, .flags = flags};
    assert_int_equal(mr_disk_submit(disk, &write, 1), 1);
}

static void write_now(int file, uint64_t position, const void *buffer, uint32_t flags)
{
    struct mr_disk_completion done;
    submit(file, position, buffer, flags);
    assert_int_equal(mr_disk_poll(disk, &done, 1), 1);
    assert_int_equal(done.result, 0);
}

static struct mr_sim_disk_machine *cut_image(void)
{
    struct mr_sim_disk_machine *image = mr_sim_disk_clone(machine);
    mr_sim_disk_power_cut(image, &draws);
    return image;
}

/** How often the sectors of one block hold a, b, zeros or something else, over many images; `missing` is no such file or no such block. */
struct tally {
    uint32_t a, b, zeros, other, missing;
    uint32_t whole_a, whole_b;
};

static struct tally tally_images(const char *path, uint64_t position)
{
    static const uint8_t zeros[512];
    struct tally tally = {0};
    for (uint32_t i = 0; i < IMAGES; i++) {
        struct mr_sim_disk_machine *image = cut_image();
        int64_t bytes = mr_sim_disk_read_path(image, path, got, MR_BLOCK_BYTES, position);
        mr_sim_disk_machine_close(image);
        if (bytes != MR_BLOCK_BYTES) {
            tally.missing++;
            continue;
        }
        tally.whole_a += memcmp(got, block_a, MR_BLOCK_BYTES) == 0;
        tally.whole_b += memcmp(got, block_b, MR_BLOCK_BYTES) == 0;
        for (int s = 0; s < 8; s++) {
            const uint8_t *sector = got + s * 512;
            if (memcmp(sector, block_a, 512) == 0)
                tally.a++;
            else if (memcmp(sector, block_b, 512) == 0)
                tally.b++;
            else if (memcmp(sector, zeros, 512) == 0)
                tally.zeros++;
            else
                tally.other++;
        }
    }
    return tally;
}

/** Of an event with probability 1/4 to 3/4, IMAGES draws show this many or more: 10 standard deviations below the mean, at least. */
#define SOME (IMAGES / 20)

static void a_delivered_durable_write_survives_every_cut(void **state)
{
    int file = create_durable("/f");
    write_now(file, 0, block_a, MR_DISK_DURABLE);
    assert_int_equal(tally_images("/f", 0).whole_a, IMAGES);
}

static void a_write_in_flight_becomes_old_new_or_garbage_by_sector(void **state)
{
    int file = create_durable("/f");
    write_now(file, 0, block_a, MR_DISK_DURABLE);
    submit(file, 0, block_b, MR_DISK_DURABLE);
    struct tally tally = tally_images("/f", 0);
    assert_int_equal(tally.missing, 0);
    assert_true(tally.whole_a > SOME && tally.whole_b > SOME);    /* wholly before, wholly after */
    assert_true(tally.whole_a + tally.whole_b < IMAGES - SOME);   /* and between */
    assert_true(tally.a > 8 * SOME && tally.b > 8 * SOME && tally.other > SOME && tally.zeros > SOME / 4);
}

static void only_sync_makes_other_writes_durable(void **state)
{
    int file = create_durable("/f");
    write_now(file, 0, block_a, MR_DISK_DURABLE);
    write_now(file, 0, block_b, 0);
    assert_int_equal(mr_disk_write(disk, file, block_b, 100, MR_BLOCK_BYTES), 100);
    assert_true(tally_images("/f", 0).whole_b < IMAGES - SOME);
    assert_int_equal(mr_disk_sync(disk, file), 0);
    assert_int_equal(tally_images("/f", 0).whole_b, IMAGES);
    assert_int_equal(mr_sim_disk_read_durable(machine, "/f", got, 200, MR_BLOCK_BYTES), 100);
    assert_memory_equal(got, block_b, 100);
}

static void the_tear_follows_its_weights(void **state)
{
    int file = create_durable("/f");
    write_now(file, 0, block_a, MR_DISK_DURABLE);
    submit(file, 0, block_b, 0);
    mr_sim_disk_set_tear(machine, 1, 0, 0);
    assert_int_equal(tally_images("/f", 0).whole_a, IMAGES);
    mr_sim_disk_set_tear(machine, 0, 1, 0);
    assert_int_equal(tally_images("/f", 0).whole_b, IMAGES);
    mr_sim_disk_set_tear(machine, 1, 1, 0);
    struct tally tally = tally_images("/f", 0);
    assert_int_equal(tally.other + tally.zeros, 0);
}

static void an_earlier_unsynced_content_may_be_what_stays(void **state)
{
    uint32_t seen_a = 0, seen_zero = 0;
    for (uint32_t round = 0; round < 100; round++) {
        char path[16];
        snprintf(path, sizeof path, "/f%u", round);
        int file = create_durable(path);
        assert_int_equal(mr_disk_allocate(disk, file, 0, MR_BLOCK_BYTES), 0);
        assert_int_equal(mr_disk_sync(disk, file), 0);
        assert_int_equal(mr_disk_write(disk, file, block_a, 512, 0), 512);
        assert_int_equal(mr_disk_write(disk, file, block_b, 512, 0), 512);
        assert_int_equal(mr_sim_disk_read_durable(machine, path, got, 512, 0), 512);
        seen_a += got[0] == 'a';
        seen_zero += got[0] == 0;
    }
    assert_int_equal(seen_a + seen_zero, 100);
    assert_true(seen_a > 10 && seen_zero > 10);
}

static void an_unsynced_size_is_old_or_new(void **state)
{
    int file = create_durable("/f");
    assert_int_equal(mr_disk_write(disk, file, block_a, MR_BLOCK_BYTES, 0), MR_BLOCK_BYTES);
    assert_int_equal(mr_disk_sync(disk, file), 0);
    assert_int_equal(mr_disk_allocate(disk, file, 0, 3 * MR_BLOCK_BYTES), 0);
    uint32_t old = 0;
    for (uint32_t i = 0; i < IMAGES; i++) {
        struct mr_sim_disk_machine *image = cut_image();
        int64_t size = mr_sim_disk_size_path(image, "/f");
        assert_true(size == MR_BLOCK_BYTES || size == 3 * MR_BLOCK_BYTES);
        old += size == MR_BLOCK_BYTES;
        mr_sim_disk_machine_close(image);
    }
    assert_true(old > SOME && old < IMAGES - SOME);
    write_now(file, 0, block_b, MR_DISK_DURABLE); /* within the durable size: says nothing about the new one */
    assert_true(tally_images("/f", 2 * MR_BLOCK_BYTES).missing > SOME);
    write_now(file, MR_BLOCK_BYTES, block_b, MR_DISK_DURABLE); /* past it: the size must come along */
    assert_int_equal(tally_images("/f", MR_BLOCK_BYTES).whole_b, IMAGES);
    assert_int_equal(tally_images("/f", 2 * MR_BLOCK_BYTES).missing, 0);
}

static void what_an_unsynced_truncate_dropped_returns_whole_or_not_at_all(void **state)
{
    int file = create_durable("/f");
    write_now(file, 0, block_a, MR_DISK_DURABLE);
    write_now(file, MR_BLOCK_BYTES, block_a, MR_DISK_DURABLE);
    assert_int_equal(mr_disk_truncate(disk, file, MR_BLOCK_BYTES), 0);
    struct tally tally = tally_images("/f", MR_BLOCK_BYTES);
    assert_int_equal(tally.whole_a + tally.missing, IMAGES);
    assert_true(tally.whole_a > SOME && tally.missing > SOME);
    assert_int_equal(mr_disk_sync(disk, file), 0);
    assert_int_equal(tally_images("/f", MR_BLOCK_BYTES).missing, IMAGES);
    assert_int_equal(mr_disk_allocate(disk, file, 0, 2 * MR_BLOCK_BYTES), 0);
    assert_int_equal(mr_disk_sync(disk, file), 0);
    assert_int_equal(tally_images("/f", MR_BLOCK_BYTES).zeros, 8 * IMAGES); /* and never comes back */
}

/* What is written where a truncate has cut lies in other blocks: with the old size the old content is back, untouched by the new. */
static void new_content_behind_an_unsynced_truncate_never_mixes_with_the_old(void **state)
{
    int file = create_durable("/f");
    write_now(file, 0, block_a, MR_DISK_DURABLE);
    write_now(file, MR_BLOCK_BYTES, block_a, MR_DISK_DURABLE);
    assert_int_equal(mr_disk_truncate(disk, file, MR_BLOCK_BYTES), 0);
    write_now(file, MR_BLOCK_BYTES, block_b, 0);
    uint32_t with_old = 0, with_new = 0;
    for (uint32_t i = 0; i < IMAGES; i++) {
        struct mr_sim_disk_machine *image = cut_image();
        int64_t bytes = mr_sim_disk_read_path(image, "/f", got, MR_BLOCK_BYTES, MR_BLOCK_BYTES);
        mr_sim_disk_machine_close(image);
        for (int s = 0; s < 8 && bytes > 0; s++) {
            bool is_old = memcmp(got + s * 512, block_a, 512) == 0;
            assert_true(!is_old || memcmp(got, block_a, MR_BLOCK_BYTES) == 0);
            with_old += is_old;
            with_new += memcmp(got + s * 512, block_b, 512) == 0;
        }
    }
    assert_true(with_new > SOME);
    assert_true(with_old > SOME || with_old == 0); /* 0: the system had committed the truncate by itself before the write */
    assert_int_equal(mr_disk_read(disk, file, got, MR_BLOCK_BYTES, MR_BLOCK_BYTES), MR_BLOCK_BYTES);
    assert_memory_equal(got, block_b, MR_BLOCK_BYTES);
}

static void a_name_needs_its_directory_synced(void **state)
{
    int file = mr_disk_open(disk, "/f", MR_DISK_CREATE, NULL);
    write_now(file, 0, block_a, MR_DISK_DURABLE);
    assert_int_equal(mr_disk_sync(disk, file), 0);
    uint32_t missing = tally_images("/f", 0).missing;
    assert_true(missing > SOME && missing < IMAGES - SOME);
    assert_int_equal(mr_disk_sync_directory(disk, "/"), 0);
    assert_int_equal(tally_images("/f", 0).whole_a, IMAGES);
}

static void syncing_a_directory_does_not_keep_the_directory(void **state)
{
    assert_int_equal(mr_disk_make_directory(disk, "/d"), 0);
    int file = mr_disk_open(disk, "/d/f", MR_DISK_CREATE, NULL);
    write_now(file, 0, block_a, MR_DISK_DURABLE);
    assert_int_equal(mr_disk_sync_directory(disk, "/d"), 0);
    uint32_t missing = tally_images("/d/f", 0).missing;
    assert_true(missing > SOME && missing < IMAGES - SOME);
    assert_int_equal(mr_disk_sync_directory(disk, "/"), 0);
    assert_int_equal(tally_images("/d/f", 0).whole_a, IMAGES);
}

/* The way every checkpoint is replaced (D8): there is the old or the new under the name, whole, and never neither. */
static void an_unsynced_rename_leaves_either_file(void **state)
{
    write_now(create_durable("/checkpoint"), 0, block_a, MR_DISK_DURABLE);
    write_now(mr_disk_open(disk, "/checkpoint.tmp", MR_DISK_CREATE, NULL), 0, block_b, MR_DISK_DURABLE);
    assert_int_equal(mr_disk_rename(disk, "/checkpoint.tmp", "/checkpoint"), 0);
    struct tally tally = tally_images("/checkpoint", 0);
    assert_int_equal(tally.whole_a + tally.whole_b, IMAGES);
    assert_true(tally.whole_a > SOME && tally.whole_b > SOME);
    tally = tally_images("/checkpoint.tmp", 0); /* created, not renamed */
    assert_true(tally.whole_b > SOME / 4 && tally.missing > SOME);
    assert_int_equal(mr_disk_sync_directory(disk, "/"), 0);
    assert_int_equal(tally_images("/checkpoint", 0).whole_b, IMAGES);
    assert_int_equal(tally_images("/checkpoint.tmp", 0).missing, IMAGES);
}

static void a_file_never_has_two_names(void **state)
{
    uint32_t at_old = 0;
    assert_int_equal(mr_disk_make_directory(disk, "/d"), 0);
    assert_int_equal(mr_disk_sync_directory(disk, "/"), 0);
    write_now(mr_disk_open(disk, "/f", MR_DISK_CREATE, NULL), 0, block_a, MR_DISK_DURABLE);
    assert_int_equal(mr_disk_rename(disk, "/f", "/d/f"), 0);
    for (uint32_t i = 0; i < IMAGES; i++) {
        struct mr_sim_disk_machine *image = cut_image();
        bool is_old = mr_sim_disk_size_path(image, "/f") >= 0, is_new = mr_sim_disk_size_path(image, "/d/f") >= 0;
        mr_sim_disk_machine_close(image);
        assert_false(is_old && is_new);
        at_old += is_old;
    }
    assert_true(at_old > SOME / 4);
    assert_int_equal(mr_disk_sync_directory(disk, "/d"), 0); /* the rename, and with it the creation in the other directory */
    assert_int_equal(tally_images("/d/f", 0).whole_a, IMAGES);
    assert_int_equal(tally_images("/f", 0).missing, IMAGES);
}

static void an_unsynced_unlink_may_leave_the_file(void **state)
{
    int file = create_durable("/f");
    write_now(file, 0, block_a, MR_DISK_DURABLE);
    assert_int_equal(mr_disk_close(disk, file), 0);
    assert_int_equal(mr_disk_unlink(disk, "/f"), 0);
    struct tally tally = tally_images("/f", 0);
    assert_int_equal(tally.whole_a + tally.missing, IMAGES);
    assert_true(tally.whole_a > SOME && tally.missing > SOME);
    file = mr_disk_open(disk, "/f", MR_DISK_CREATE, NULL); /* another file of the same name: there is one, the other or none */
    write_now(file, 0, block_b, MR_DISK_DURABLE);
    tally = tally_images("/f", 0);
    assert_int_equal(tally.whole_a + tally.whole_b + tally.missing, IMAGES);
    assert_true(tally.whole_a > SOME && tally.whole_b > SOME && tally.missing > SOME / 4);
    assert_int_equal(mr_disk_sync_directory(disk, "/"), 0);
    assert_int_equal(tally_images("/f", 0).whole_b, IMAGES);
}

static void a_failed_sync_loses_the_pages_for_good(void **state)
{
    int file = create_durable("/f");
    write_now(file, 0, block_a, MR_DISK_DURABLE);
    assert_int_equal(mr_disk_write(disk, file, block_b, MR_BLOCK_BYTES, 0), MR_BLOCK_BYTES);
    mr_sim_disk_fail(machine, MR_SIM_DISK_SYNC, 1, EIO, false);
    assert_int_equal(mr_disk_sync(disk, file), -EIO);
    assert_int_equal(mr_disk_sync(disk, file), 0); /* the lie of D3 */
    assert_int_equal(mr_disk_read(disk, file, got, MR_BLOCK_BYTES, 0), MR_BLOCK_BYTES);
    assert_memory_equal(got, block_b, MR_BLOCK_BYTES);
    assert_true(tally_images("/f", 0).whole_b < IMAGES - SOME);
    assert_int_equal(mr_disk_write(disk, file, block_b, MR_BLOCK_BYTES, 0), MR_BLOCK_BYTES); /* written anew it counts again */
    assert_int_equal(mr_disk_sync(disk, file), 0);
    assert_int_equal(tally_images("/f", 0).whole_b, IMAGES);
}

static void death_of_the_process_keeps_everything(void **state)
{
    int file = mr_disk_open(disk, "/f", MR_DISK_CREATE, NULL);
    assert_int_equal(mr_disk_write(disk, file, block_a, MR_BLOCK_BYTES, 0), MR_BLOCK_BYTES);
    submit(file, MR_BLOCK_BYTES, block_b, MR_DISK_DURABLE);
    mr_sim_disk_kill(machine);
    struct mr_disk_write write = {.file = file, .bytes = MR_BLOCK_BYTES, .buffer = block_a};
    assert_int_equal(mr_disk_submit(disk, &write, 1), 0); /* the old handle is dead */
    assert_int_equal(mr_disk_size(disk, file), -EIO);
    mr_disk_release(disk);
    disk = mr_sim_disk_open(machine);
    assert_int_equal(mr_disk_size(disk, file), -EBADF); /* and so are its files */
    file = mr_disk_open(disk, "/f", 0, NULL);
    assert_int_equal(mr_disk_read(disk, file, got, sizeof got, 0), 2 * MR_BLOCK_BYTES);
    assert_memory_equal(got, block_a, MR_BLOCK_BYTES);
    assert_memory_equal(got + MR_BLOCK_BYTES, block_b, MR_BLOCK_BYTES);
    assert_true(tally_images("/f", 0).missing > SOME); /* but the page cache is not the disk */
}

static void a_dark_machine_answers_nothing_until_the_cut(void **state)
{
    int file = create_durable("/f");
    mr_sim_disk_cut_after(machine, 2);
    submit(file, 0, block_a, MR_DISK_DURABLE);
    assert_false(mr_sim_disk_is_cut(machine));
    assert_int_equal(mr_disk_sync(disk, file), 0);
    assert_true(mr_sim_disk_is_cut(machine));
    struct mr_disk_completion done;
    assert_int_equal(mr_disk_poll(disk, &done, 1), 0);
    assert_int_equal(mr_disk_sync(disk, file), -EIO);
    assert_int_equal(mr_disk_open(disk, "/f", 0, NULL), -EIO);
    mr_disk_release(disk); /* does not let what is in flight through */
    assert_int_equal(mr_sim_disk_in_flight(machine), 1);
    mr_sim_disk_power_cut(machine, &draws);
    assert_false(mr_sim_disk_is_cut(machine));
    disk = mr_sim_disk_open(machine);
    assert_true(mr_disk_open(disk, "/f", 0, NULL) >= 0);
}

static uint32_t images_seen, images_with_a;

static void take_image(void *context, struct mr_sim_disk_machine *of, enum mr_sim_disk_operation operation)
{
    struct mr_sim_disk_machine *image = mr_sim_disk_clone(of);
    mr_sim_disk_power_cut(image, &draws);
    images_seen++;
    images_with_a += mr_sim_disk_size_path(image, "/f") > 0;
    mr_sim_disk_machine_close(image);
}

static void the_watcher_sees_every_operation(void **state)
{
    images_seen = images_with_a = 0;
    mr_sim_disk_watch(machine, take_image, NULL);
    uint64_t before = mr_sim_disk_operations(machine);
    int file = create_durable("/f"); /* a name, a directory sync */
    write_now(file, 0, block_a, MR_DISK_DURABLE); /* a write, a delivery */
    assert_int_equal(mr_disk_read(disk, file, got, 1, 0), 1); /* does not count */
    assert_int_equal(images_seen, 4);
    assert_int_equal(mr_sim_disk_operations(machine) - before, 4);
    assert_true(images_with_a >= 1 && images_with_a <= 2);
}

static void a_clone_and_its_origin_do_not_touch_each_other(void **state)
{
    int file = create_durable("/f");
    write_now(file, 0, block_a, MR_DISK_DURABLE);
    struct mr_sim_disk_machine *image = cut_image();
    struct mr_disk *other = mr_sim_disk_open(image);
    int theirs = mr_disk_open(other, "/f", 0, NULL);
    assert_int_equal(mr_disk_write(other, theirs, block_b, MR_BLOCK_BYTES, 0), MR_BLOCK_BYTES);
    assert_int_equal(mr_disk_write(disk, file, "xyz", 3, 10), 3);
    assert_int_equal(mr_disk_unlink(other, "/f"), 0);
    assert_int_equal(mr_disk_read(disk, file, got, MR_BLOCK_BYTES, 0), MR_BLOCK_BYTES);
    assert_memory_equal(got, block_a, 10);
    assert_memory_equal(got + 10, "xyz", 3);
    assert_int_equal(mr_disk_read(other, theirs, got, MR_BLOCK_BYTES, 0), MR_BLOCK_BYTES);
    assert_memory_equal(got, block_b, MR_BLOCK_BYTES);
    mr_disk_release(other);
    mr_sim_disk_machine_close(image);
}

/** One random operation. @param file open files, -1: closed */
static void live_step(struct mr_disk *d, struct mr_sim_disk_machine *m, struct mr_random *random, int *file)
{
    uint32_t i = (uint32_t)mr_random_below(random, 4);
    char path[32], other[32];
    struct mr_disk_completion done[8];
    struct mr_disk_write write = {.file = file[i],
                                  .position = mr_random_below(random, 16) * MR_BLOCK_BYTES,
                                  .bytes = MR_BLOCK_BYTES,
                                  .buffer = mr_random_chance(random, 1, 2) ? block_a : block_b,
                                  .flags = mr_random_chance(random, 1, 2) ? MR_DISK_DURABLE : 0};
    snprintf(path, sizeof path, i < 2 ? "/f%u" : "/d/f%u", i);
    snprintf(other, sizeof other, mr_random_chance(random, 1, 2) ? "/g%u" : "/d/f%u", i);
    switch (mr_random_below(random, 14)) {
    case 0:
    case 1:
        if (file[i] < 0)
            file[i] = mr_disk_open(d, path, MR_DISK_CREATE, NULL);
        break;
    case 2:
    case 3:
        mr_disk_submit(d, &write, 1);
        break;
    case 4:
        mr_disk_poll(d, done, 8);
        break;
    case 5:
        mr_disk_write(d, file[i], block_b, 1 + mr_random_below(random, 4000), mr_random_below(random, 50000));
        break;
    case 6:
        mr_disk_truncate(d, file[i], mr_random_below(random, 70000));
        break;
    case 7:
        mr_disk_allocate(d, file[i], mr_random_below(random, 8192), 1 + mr_random_below(random, 40000));
        break;
    case 8:
        if (mr_random_chance(random, 1, 4))
            mr_sim_disk_fail(m, MR_SIM_DISK_SYNC, 1, EIO, false);
        mr_disk_sync(d, file[i]);
        break;
    case 9:
        mr_disk_sync_directory(d, i < 2 ? "/" : "/d");
        break;
    case 10:
        mr_disk_make_directory(d, "/d");
        break;
    case 11:
        mr_disk_rename(d, path, other);
        break;
    case 12:
        mr_disk_unlink(d, mr_random_chance(random, 1, 2) ? path : other);
        break;
    default:
        if (mr_random_chance(random, 1, 4))
            mr_sim_disk_fail(m, MR_SIM_DISK_BURST_WRITE, 1, EIO, false);
    }
}

/** A life of random operations, power cuts and deaths. @return a digest of every state in between. */
static uint32_t live(uint64_t seed)
{
    struct mr_sim_disk_options options;
    struct mr_random random;
    mr_sim_disk_options_init(&options);
    options.seed = seed;
    options.delay_polls_max = 2;
    options.capacity_bytes = 256 * 1024;
    options.kill_drop_percent = 30;
    struct mr_sim_disk_machine *m = mr_sim_disk_machine_open(&options);
    struct mr_disk *d = mr_sim_disk_open(m);
    mr_random_init(&random, seed, 2);
    uint32_t digest = 0;
    int file[4] = {-1, -1, -1, -1};
    for (uint32_t step = 1; step <= 400; step++) {
        live_step(d, m, &random, file);
        if (step % 40 != 0)
            continue;
        if (mr_random_chance(&random, 1, 4)) {
            mr_sim_disk_kill(m);
        } else {
            mr_sim_disk_power_cut(m, &random);
            uint32_t settled = mr_sim_disk_digest(m);
            mr_sim_disk_power_cut(m, &random);
            assert_int_equal(mr_sim_disk_digest(m), settled); /* nothing was left pending */
        }
        digest = digest * 31 + mr_sim_disk_digest(m);
        mr_disk_release(d);
        d = mr_sim_disk_open(m);
        file[0] = file[1] = file[2] = file[3] = -1;
    }
    mr_disk_release(d);
    mr_sim_disk_machine_close(m);
    return digest;
}

static void equal_seeds_live_equal_lives_and_cuts_leave_nothing_pending(void **state)
{
    uint32_t last = 0, changes = 0;
    for (uint64_t seed = test_seed(); seed < test_seed() + 100; seed++) {
        uint32_t digest = live(seed);
        assert_int_equal(live(seed), digest);
        changes += digest != last;
        last = digest;
    }
    assert_true(changes > 95);
}

#define MODEL_BYTES 100000u

/** The file must read as the model says, and, when it was just synced, must do so after any cut. */
static void compare_with_model(const char *path, const uint8_t *model, uint64_t bytes, bool is_synced)
{
    static uint8_t whole[MODEL_BYTES];
    assert_int_equal(mr_sim_disk_read_path(machine, path, whole, sizeof whole, 0), bytes);
    assert_memory_equal(whole, model, bytes);
    if (!is_synced)
        return;
    struct mr_sim_disk_machine *image = cut_image();
    assert_int_equal(mr_sim_disk_read_path(image, path, whole, sizeof whole, 0), bytes);
    assert_memory_equal(whole, model, bytes);
    mr_sim_disk_machine_close(image);
}

static void reads_follow_a_naive_model_and_synced_files_survive(void **state)
{
    static uint8_t model[MODEL_BYTES];
    for (uint32_t round = 0; round < 100; round++) {
        char path[16];
        uint64_t bytes = 0;
        snprintf(path, sizeof path, "/f%u", round);
        int file = create_durable(path);
        memset(model, 0, sizeof model);
        for (uint32_t step = 0; step < 60; step++) {
            uint64_t at = mr_random_below(&draws, 60000), count = 1 + mr_random_below(&draws, MR_BLOCK_BYTES - 1);
            const uint8_t *from = mr_random_chance(&draws, 1, 2) ? block_a : block_b;
            uint64_t operation = mr_random_below(&draws, 6);
            if (operation == 0) {
                assert_int_equal(mr_disk_write(disk, file, from, count, at), count);
                memcpy(model + at, from, count);
                bytes = mr_max_u64(bytes, at + count);
            } else if (operation <= 2) {
                at = mr_align_down(at, MR_BLOCK_BYTES);
                write_now(file, at, from, operation == 1 ? MR_DISK_DURABLE : 0);
                memcpy(model + at, from, MR_BLOCK_BYTES);
                bytes = mr_max_u64(bytes, at + MR_BLOCK_BYTES);
            } else if (operation == 3) {
                assert_int_equal(mr_disk_truncate(disk, file, at), 0);
                memset(model + at, 0, sizeof model - at);
                bytes = at;
            } else if (operation == 4) {
                assert_int_equal(mr_disk_allocate(disk, file, at, count), 0);
                bytes = mr_max_u64(bytes, at + count);
            } else {
                assert_int_equal(mr_disk_sync(disk, file), 0);
            }
            compare_with_model(path, model, bytes, operation == 5);
            if (operation == 1) { /* a durable write is there after any cut, whatever becomes of the rest */
                struct mr_sim_disk_machine *image = cut_image();
                assert_int_equal(mr_sim_disk_read_path(image, path, got, MR_BLOCK_BYTES, at), MR_BLOCK_BYTES);
                assert_memory_equal(got, from, MR_BLOCK_BYTES);
                mr_sim_disk_machine_close(image);
            }
        }
        assert_int_equal(mr_disk_close(disk, file), 0);
        assert_int_equal(mr_disk_unlink(disk, path), 0);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_delivered_durable_write_survives_every_cut),
        CASE(a_write_in_flight_becomes_old_new_or_garbage_by_sector),
        CASE(only_sync_makes_other_writes_durable),
        CASE(the_tear_follows_its_weights),
        CASE(an_earlier_unsynced_content_may_be_what_stays),
        CASE(an_unsynced_size_is_old_or_new),
        CASE(what_an_unsynced_truncate_dropped_returns_whole_or_not_at_all),
        CASE(new_content_behind_an_unsynced_truncate_never_mixes_with_the_old),
        CASE(a_name_needs_its_directory_synced),
        CASE(syncing_a_directory_does_not_keep_the_directory),
        CASE(an_unsynced_rename_leaves_either_file),
        CASE(a_file_never_has_two_names),
        CASE(an_unsynced_unlink_may_leave_the_file),
        CASE(a_failed_sync_loses_the_pages_for_good),
        CASE(death_of_the_process_keeps_everything),
        CASE(a_dark_machine_answers_nothing_until_the_cut),
        CASE(the_watcher_sees_every_operation),
        CASE(a_clone_and_its_origin_do_not_touch_each_other),
        CASE(reads_follow_a_naive_model_and_synced_files_survive),
        CASE(equal_seeds_live_equal_lives_and_cuts_leave_nothing_pending),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
