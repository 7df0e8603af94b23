/* SPDX-License-Identifier: Apache-2.0 */
/* The same promises of disk.h for both drivers that touch a real file system, in a temporary directory: TMPDIR, else /var/tmp (tmpfs,
 * where /tmp often lies, has no O_DIRECT). Where io_uring is refused its half is skipped, and says so. */
#include "tests/support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include "drivers/disk/cold.h"
#include "drivers/disk/disk.h"
#include "shm/base/bits.h"
#include "shm/base/random.h"

#define DEPTH 16u
#define SPACE (4u << 20)

static char root[200];
static struct mr_disk *disk;
static uint8_t *buffer; /* SPACE bytes, aligned */
static uint8_t *got;

static const char *path_of(const char *name)
{
    static char path[2][300];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", root, name);
    return path[turn];
}

static int set_up(bool with_uring)
{
    const char *base = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/var/tmp";
    struct millrace_error err;
    snprintf(root, sizeof root, "%s/mr-disk-XXXXXX", base);
    if (mkdtemp(root) == NULL)
        return -1;
    buffer = aligned_alloc(MR_BLOCK_BYTES, SPACE);
    got = aligned_alloc(MR_BLOCK_BYTES, SPACE);
    struct mr_random random;
    mr_random_init(&random, 1, 1);
    for (uint32_t i = 0; i < SPACE; i += 8) {
        uint64_t noise = mr_random_next(&random);
        memcpy(buffer + i, &noise, sizeof noise);
    }
    int rc = with_uring ? mr_disk_uring_open(&disk, DEPTH, NULL, 0, &err) : mr_disk_threads_open(&disk, DEPTH, 3, &err);
    if (rc != 0)
        printf("no %s here: %s\n", with_uring ? "io_uring" : "threads", err.text);
    return with_uring || rc == 0 ? 0 : -1;
}

static int set_up_uring(void **state)
{
    return set_up(true);
}

static int set_up_threads(void **state)
{
    return set_up(false);
}

static int tear_down(void **state)
{
    char command[300];
    mr_disk_release(disk);
    disk = NULL;
    free(buffer);
    free(got);
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

#define SKIP_WITHOUT_DISK()                                                                                                                \
    do {                                                                                                                                   \
        if (disk == NULL)                                                                                                                  \
            skip();                                                                                                                        \
    } while (0)

static int create(const char *name, uint32_t flags)
{
    struct millrace_error err;
    int file = mr_disk_open(disk, path_of(name), MR_DISK_CREATE | flags, &err);
    if (file < 0)
        print_error("%s\n", err.text);
    assert_true(file >= 0);
    return file;
}

/** Wait on wait_fd, edge-triggered as the face says, and collect until `count` completions have come; each must succeed. */
static void collect(int epoll, uint32_t count, uint8_t *seen)
{
    struct mr_disk_completion done[5];
    while (count > 0) {
        uint32_t some = mr_disk_poll(disk, done, 5);
        for (uint32_t i = 0; i < some; i++) {
            assert_int_equal(done[i].result, 0);
            if (seen != NULL)
                seen[done[i].tag]++;
        }
        count -= some;
        struct epoll_event event;
        if (some == 0) {
            int rc;
            while ((rc = epoll_wait(epoll, &event, 1, 10000)) < 0 && errno == EINTR)
                ;
            assert_int_equal(rc, 1); /* 0: the driver did not wake us */
        }
    }
}

static int open_epoll(void)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, mr_disk_wait_fd(disk), &event), 0);
    return epoll;
}

static void burst_of(uint32_t open_flags, uint32_t write_flags)
{
    int file = create("burst", open_flags), epoll = open_epoll();
    uint8_t seen[256] = {0};
    assert_int_equal(mr_disk_allocate(disk, file, 0, SPACE), 0);
    uint32_t sent = 0, position = 0, out = 0;
    struct mr_disk_write writes[8];
    struct mr_random random;
    mr_random_init(&random, test_seed(), 1);
    while (position < SPACE) {
        uint32_t count = 0;
        for (uint32_t at = position; count < 8 && at < SPACE; count++) {
            uint32_t bytes = (uint32_t)mr_min_u64((1 + mr_random_below(&random, 16)) * MR_BLOCK_BYTES, SPACE - at);
            writes[count] = (struct mr_disk_write){
                .tag = sent + count, .file = file, .bytes = bytes, .position = at, .buffer = buffer + at, .flags = write_flags};
            at += bytes;
        }
        uint32_t taken = mr_disk_submit(disk, writes, count);
        assert_true(taken <= count && out + taken <= DEPTH);
        for (uint32_t i = 0; i < taken; i++)
            position += writes[i].bytes;
        sent += taken;
        out += taken;
        if (out == DEPTH || taken == 0) {
            collect(epoll, out, seen);
            out = 0;
        }
    }
    collect(epoll, out, seen);
    for (uint32_t i = 0; i < sent; i++)
        assert_int_equal(seen[i], 1);
    assert_int_equal(mr_disk_read(disk, file, got, SPACE, 0), SPACE);
    assert_memory_equal(got, buffer, SPACE);
    struct mr_disk_completion done;
    assert_int_equal(mr_disk_poll(disk, &done, 1), 0);
    close(epoll);
    assert_int_equal(mr_disk_close(disk, file), 0);
}

static void bursts_arrive_whole_each_tag_once(void **state)
{
    SKIP_WITHOUT_DISK();
    burst_of(MR_DISK_DIRECT, MR_DISK_DURABLE);
    burst_of(MR_DISK_DIRECT, 0);
    burst_of(0, MR_DISK_DURABLE);
}

static void a_full_queue_takes_no_more(void **state)
{
    SKIP_WITHOUT_DISK();
    int file = create("full", MR_DISK_DIRECT), epoll = open_epoll();
    struct mr_disk_write writes[DEPTH + 4];
    for (uint32_t i = 0; i < DEPTH + 4; i++)
        writes[i] = (struct mr_disk_write){.tag = i, .file = file, .bytes = MR_BLOCK_BYTES, .position = i * MR_BLOCK_BYTES, .buffer = buffer};
    assert_int_equal(mr_disk_submit(disk, writes, DEPTH + 4), DEPTH);
    assert_int_equal(mr_disk_submit(disk, writes, 1), 0); /* nothing was collected */
    collect(epoll, DEPTH, NULL);
    assert_int_equal(mr_disk_submit(disk, writes + DEPTH, 4), 4);
    collect(epoll, 4, NULL);
    close(epoll);
    mr_disk_close(disk, file);
}

static void errors_come_back_under_their_tag(void **state)
{
    SKIP_WITHOUT_DISK();
    create("ro", 0);
    int read_only = mr_disk_open(disk, path_of("ro"), MR_DISK_READ_ONLY, NULL), good = create("good", 0);
    struct mr_disk_write writes[] = {{.tag = 1, .file = read_only, .bytes = MR_BLOCK_BYTES, .buffer = buffer},
                                     {.tag = 2, .file = good, .bytes = MR_BLOCK_BYTES, .buffer = buffer, .flags = MR_DISK_DURABLE}};
    assert_int_equal(mr_disk_submit(disk, writes, 2), 2);
    int32_t results[3] = {1, 1, 1};
    for (uint32_t count = 0; count < 2;) {
        struct mr_disk_completion done;
        if (mr_disk_poll(disk, &done, 1) == 1) {
            results[done.tag] = done.result;
            count++;
        } else {
            usleep(100);
        }
    }
    assert_int_equal(results[1], -EBADF);
    assert_int_equal(results[2], 0);
}

/* RLIMIT_FSIZE makes the kernel write only the part that fits, and then refuse: the driver must send the rest, and report that refusal. */
static void a_short_write_is_continued_not_believed(void **state)
{
    SKIP_WITHOUT_DISK();
    struct rlimit before, limit;
    int file = create("short", 0), epoll = open_epoll();
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 6 * 1024;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    struct mr_disk_write write = {.tag = 1, .file = file, .bytes = 2 * MR_BLOCK_BYTES, .buffer = buffer, .flags = MR_DISK_DURABLE};
    struct mr_disk_completion done = {.result = 1};
    struct epoll_event event;
    assert_int_equal(mr_disk_submit(disk, &write, 1), 1);
    for (int i = 0; i < 100 && mr_disk_poll(disk, &done, 1) == 0; i++)
        epoll_wait(epoll, &event, 1, 100);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(done.result, -EFBIG);
    assert_int_equal(mr_disk_size(disk, file), 6 * 1024);
    close(epoll);
}

static void release_waits_for_writes_in_flight(void **state)
{
    SKIP_WITHOUT_DISK();
    int file = create("late", MR_DISK_DIRECT);
    struct mr_disk_write writes[4];
    for (uint32_t i = 0; i < 4; i++)
        writes[i] = (struct mr_disk_write){.tag = i, .file = file, .bytes = MR_DISK_WRITE_BYTES_MAX, .flags = MR_DISK_DURABLE,
                                           .position = (uint64_t)i * MR_DISK_WRITE_BYTES_MAX, .buffer = buffer + (size_t)i * MR_DISK_WRITE_BYTES_MAX};
    assert_int_equal(mr_disk_submit(disk, writes, 4), 4);
    mr_disk_release(disk);
    disk = NULL;
    assert_int_equal(mr_cold_read(NULL, file, got, SPACE, 0), SPACE); /* the file is still open */
    assert_memory_equal(got, buffer, SPACE);
    close(file);
}

static void *submit_elsewhere(void *argument)
{
    int file = *(int *)argument;
    struct mr_disk_write write = {.tag = 9, .file = file, .bytes = MR_BLOCK_BYTES, .buffer = buffer, .flags = MR_DISK_DURABLE};
    struct mr_disk_completion done = {.result = 1};
    uint32_t taken = mr_disk_submit(disk, &write, 1);
    while (taken == 1 && mr_disk_poll(disk, &done, 1) == 0)
        usleep(100);
    mr_disk_release(disk);
    disk = NULL;
    return done.result == 0 && done.tag == 9 ? argument : NULL;
}

static void the_thread_that_submits_first_owns_the_disk(void **state)
{
    SKIP_WITHOUT_DISK();
    int file = create("elsewhere", MR_DISK_DIRECT);
    pthread_t thread;
    void *result = NULL;
    struct mr_disk_completion done;
    assert_int_equal(mr_disk_poll(disk, &done, 1), 0); /* a poll of an idle disk makes no owner */
    assert_int_equal(pthread_create(&thread, NULL, submit_elsewhere, &file), 0);
    pthread_join(thread, &result);
    assert_ptr_equal(result, &file);
}

static int note_name(void *context, const char *name, bool is_directory)
{
    char *names = context;
    size_t at = strlen(names);
    snprintf(names + at, 100 - at, "%s%s ", name, is_directory ? "/" : "");
    return strcmp(name, "stop") == 0 ? 7 : 0;
}

static void the_cold_half_names_and_sizes(void **state)
{
    SKIP_WITHOUT_DISK();
    char names[100] = "";
    struct millrace_error err;
    assert_int_equal(mr_disk_make_directory(disk, path_of("d")), 0);
    assert_int_equal(mr_disk_make_directory(disk, path_of("d")), -EEXIST);
    int file = create("d/f", 0);
    assert_int_equal(mr_disk_open(disk, path_of("d/f"), MR_DISK_CREATE | MR_DISK_EXCLUSIVE, &err), -EEXIST);
    assert_int_equal(mr_disk_open(disk, path_of("d/none"), 0, &err), -ENOENT);
    assert_non_null(strstr(err.text, "d/none"));
    assert_int_equal(mr_disk_list(disk, path_of("d"), note_name, names), 0);
    assert_string_equal(names, "f ");
    assert_int_equal(mr_disk_list(disk, path_of("none"), note_name, names), -ENOENT);
    assert_int_equal(mr_disk_remove_directory(disk, path_of("d")), -ENOTEMPTY);
    assert_int_equal(mr_disk_sync_directory(disk, path_of("d")), 0);
    assert_int_equal(mr_disk_sync_directory(disk, path_of("none")), -ENOENT);
    assert_int_equal(mr_disk_allocate(disk, file, 100, 10000), 0);
    assert_int_equal(mr_disk_size(disk, file), 10100);
    assert_int_equal(mr_disk_truncate(disk, file, 50), 0);
    assert_int_equal(mr_disk_size(disk, file), 50);
    assert_int_equal(mr_disk_sync(disk, file), 0);
    assert_int_equal(mr_disk_rename(disk, path_of("d/f"), path_of("stop")), 0);
    names[0] = '\0';
    assert_int_equal(mr_disk_list(disk, path_of("d"), note_name, names), 0);
    assert_string_equal(names, "");
    assert_int_equal(mr_disk_remove_directory(disk, path_of("d")), 0);
    assert_int_equal(mr_disk_list(disk, path_of("."), note_name, names), 7); /* what `each` says */
    assert_int_equal(mr_disk_unlink(disk, path_of("stop")), 0);
    assert_int_equal(mr_disk_unlink(disk, path_of("stop")), -ENOENT);
    assert_true(mr_disk_free_bytes(disk, path_of(".")) > 0);
    assert_int_equal(mr_disk_close(disk, file), 0);
    assert_int_equal(mr_disk_size(disk, file), -EBADF);
}

static void any_alignment_works_on_a_direct_file(void **state)
{
    SKIP_WITHOUT_DISK();
    struct mr_random random;
    mr_random_init(&random, test_seed(), 2);
    int file = create("odd", MR_DISK_DIRECT);
    if (!mr_disk_is_direct(disk, file))
        printf("%s takes no O_DIRECT: the direct half is not tested\n", root);
    uint64_t size = 0;
    memset(got, 0, SPACE);
    uint8_t *model = calloc(1, SPACE);
    for (int round = 0; round < 100; round++) {
        uint64_t position = mr_random_below(&random, 20000), bytes = 1 + mr_random_below(&random, 9000), from = mr_random_below(&random, 9000);
        if (round % 3 == 0) {
            position = mr_align_down(position, MR_BLOCK_BYTES);
            bytes = mr_align_up(bytes, MR_BLOCK_BYTES);
            from = 0;
        }
        assert_int_equal(mr_disk_write(disk, file, buffer + from, bytes, position), bytes);
        memcpy(model + position, buffer + from, bytes);
        size = mr_max_u64(size, position + bytes);
        position = mr_random_below(&random, 40000);
        bytes = 1 + mr_random_below(&random, 30000);
        uint64_t expected = position < size ? mr_min_u64(bytes, size - position) : 0;
        assert_int_equal(mr_disk_read(disk, file, got + 3, bytes, position), expected);
        assert_memory_equal(got + 3, model + position, expected);
    }
    assert_int_equal(mr_disk_size(disk, file), size);
    assert_int_equal(mr_disk_read(disk, file, got, SPACE, 0), size); /* aligned, over the end */
    assert_memory_equal(got, model, size);
    free(model);
    mr_disk_close(disk, file);
}

static void zeros_are_written_behind_the_end_only(void **state)
{
    SKIP_WITHOUT_DISK();
    int file = create("zeros", MR_DISK_DIRECT);
    assert_int_equal(mr_disk_write(disk, file, buffer, 5000, 0), 5000);
    assert_int_equal(mr_cold_write_zeros(file, 4096, 200000), 0);
    assert_int_equal(mr_disk_size(disk, file), 204096);
    assert_int_equal(mr_disk_read(disk, file, got, 204096, 0), 204096);
    assert_memory_equal(got, buffer, 5000);
    for (uint32_t i = 5000; i < 204096; i++)
        assert_int_equal(got[i], 0);
    assert_int_equal(mr_cold_write_zeros(file, 0, 100), 0); /* within: nothing to do */
    assert_int_equal(mr_disk_size(disk, file), 204096);
}

static void a_lock_outlives_its_descriptor_as_long_as_the_ring(void **state)
{
    SKIP_WITHOUT_DISK();
    struct mr_disk *holder;
    int mine = open(path_of("lock"), O_CREAT | O_RDWR | O_CLOEXEC, 0600), other = open(path_of("lock"), O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(mine, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(mr_disk_uring_open(&holder, 4, &mine, 1, NULL), 0);
    close(mine);
    assert_int_equal(flock(other, LOCK_EX | LOCK_NB), -1); /* the ring holds it */
    mr_disk_release(holder);
    int rc = -1;
    for (int i = 0; i < 2000 && rc != 0; i++) { /* the kernel takes the ring apart in its own time */
        rc = flock(other, LOCK_EX | LOCK_NB);
        if (rc != 0)
            usleep(1000);
    }
    assert_int_equal(rc, 0);
    close(other);
}

static void bad_sizes_are_refused_with_their_bounds(void **state)
{
    struct mr_disk *none;
    struct millrace_error err;
    assert_int_equal(mr_disk_uring_open(&none, 0, NULL, 0, &err), -EINVAL);
    assert_int_equal(mr_disk_uring_open(&none, 5000, NULL, 0, &err), -EINVAL);
    assert_non_null(strstr(err.text, "1..4096"));
    assert_int_equal(mr_disk_threads_open(&none, 8, 0, &err), -EINVAL);
    assert_int_equal(mr_disk_threads_open(&none, 8, 65, &err), -EINVAL);
    assert_non_null(strstr(err.text, "1..64"));
    assert_null(none);
}

#define BOTH(name) \
    {"uring: " #name, name, set_up_uring, tear_down, NULL}, {"threads: " #name, name, set_up_threads, tear_down, NULL}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(bursts_arrive_whole_each_tag_once),
        BOTH(a_full_queue_takes_no_more),
        BOTH(errors_come_back_under_their_tag),
        BOTH(a_short_write_is_continued_not_believed),
        BOTH(release_waits_for_writes_in_flight),
        BOTH(the_thread_that_submits_first_owns_the_disk),
        BOTH(the_cold_half_names_and_sizes),
        BOTH(any_alignment_works_on_a_direct_file),
        BOTH(zeros_are_written_behind_the_end_only),
        {"uring: a_lock_outlives_its_descriptor_as_long_as_the_ring", a_lock_outlives_its_descriptor_as_long_as_the_ring, set_up_uring, tear_down, NULL},
        cmocka_unit_test(bad_sizes_are_refused_with_their_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
