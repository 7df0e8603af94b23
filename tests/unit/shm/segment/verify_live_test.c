/* SPDX-License-Identifier: Apache-2.0 */
/* A segment is checked while a daemon writes it: what it writes meanwhile comes in here between two reads, or while the check waits. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "shm/segment/verify_internal.h"
#include "tests/support/segment_image.h"

static void (*on_wait)(void);                             /* while the check waits */
static void (*on_read)(uint64_t position, bool is_log);   /* before a read */
static uint32_t waits;
static uint64_t longest; /* the stream of this length is the log's */
static struct mr_segment_source real;
static bool past_cache;

static int led_usleep(useconds_t us)
{
    (void)us;
    waits++;
    if (on_wait != NULL)
        on_wait();
    return 0;
}

static int64_t led_read(const struct mr_segment_source *source, uint64_t position, void *buffer, size_t bytes)
{
    if (on_read != NULL)
        on_read(position, source->bytes == longest);
    return real.read(source, position, buffer, bytes);
}

static struct mr_segment_source led_source_fd(int fd, uint64_t bytes)
{
    past_cache = (fcntl(fd, F_GETFL) & O_DIRECT) != 0;
    real = mr_segment_source_fd(fd, bytes);
    struct mr_segment_source led = real;
    led.read = led_read;
    return led;
}

#define usleep               led_usleep
#define mr_segment_source_fd led_source_fd
#include "shm/segment/verify_segment.c"
#undef usleep
#undef mr_segment_source_fd

static struct image image;
static char directory[64], log_path[128], side_path[128];
static struct mr_verify_report report;
static char finding[512];
static bool finding_is_error;

static void put_part(const char *path, const void *bytes, size_t count, uint64_t position)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, count, (off_t)position), count);
    close(fd);
}

static void put_files(uint64_t side_bytes)
{
    put_part(log_path, image.log, IMAGE_LOG_BYTES, 0);
    put_part(side_path, image.side, side_bytes, 0);
    assert_int_equal(truncate(log_path, IMAGE_LOG_BYTES), 0);
    assert_int_equal(truncate(side_path, (off_t)side_bytes), 0);
    assert_int_equal(truncate(side_path, IMAGE_SIDE_BYTES), 0); /* zeros behind */
    longest = IMAGE_LOG_BYTES;
}

static void put_all(void)
{
    put_files(image.side_end);
}

static void note(void *context, const struct mr_verify_finding *f)
{
    (void)context;
    snprintf(finding, sizeof finding, "%llu: %s", (unsigned long long)f->offset, f->reason);
    finding_is_error = f->is_error;
}

static void check(unsigned flags)
{
    struct millrace_error err = {0};

    finding[0] = 0;
    waits = 0;
    assert_int_equal(mr_verify_segment(log_path, MR_VERIFY_AHEAD | MR_VERIFY_LIVE | flags, -1, note, NULL, &report, &err), 0);
    assert_int_equal(report.errors + report.warnings, finding[0] != 0);
}

/* Batches of about 3 KB, one record each: the sixth begins amid one block and ends in the next. */
static void make(void)
{
    image_init(&image);
    for (uint32_t i = 0; i < 6; i++)
        image_append(&image, 1, 3000, 'a');
    assert_true(mr_align_down(image.position[5], MR_BLOCK_BYTES) < mr_align_down(image.log_end - 1, MR_BLOCK_BYTES));
}

static void a_batch_read_while_it_was_written_is_read_again(void **state)
{
    (void)state;
    static struct image torn;

    make();
    torn = image;
    memset(torn.log + torn.position[2], 'x', 2000); /* batches 4 to 6 are in place already, and all entries */
    struct image whole = image;
    image = torn;
    put_all();
    image = whole;
    on_wait = put_all;
    check(0);
    assert_string_equal(finding, "");
    assert_int_equal(report.batches, 6);
    assert_int_equal(report.records, 6);
    assert_true(report.is_whole && !report.is_open);
    assert_int_equal(waits, 1);
}

static void damage_that_stays_is_an_error(void **state)
{
    (void)state;
    for (uint32_t batch = 2; batch < 6; batch += 3) { /* the sixth has nothing behind it */
        make();
        image.log[image.position[batch] + 100] ^= 1;
        put_all();
        check(0);
        assert_int_equal(report.errors, 1);
        assert_int_equal(report.batches, batch);
        assert_false(report.is_open || report.is_whole);
        assert_non_null(strstr(finding, "bad batch crc"));
    }
}

/* What lay behind the end of the first read comes into place, with its entries, before the second. */
static void write_behind(uint64_t position, bool is_log)
{
    if (is_log && position == 0)
        return;
    put_part(log_path, image.log + image.position[4], image.position[5] - image.position[4], 5u << 20);
}

static void what_is_written_behind_the_end_meanwhile_is_no_damage(void **state)
{
    (void)state;
    make();
    memset(image.log + image.position[3], 0, IMAGE_LOG_BYTES - image.position[3]);
    put_files(MR_SIDECAR_HEADER_BYTES + 3 * MR_SIDECAR_ENTRY_BYTES);
    longest = 8u << 20;
    assert_int_equal(truncate(log_path, (off_t)longest), 0);
    make();
    on_read = write_behind;
    check(0);
    assert_string_equal(finding, "");
    assert_int_equal(report.batches, 3);
    assert_true(report.is_whole);
}

static void the_newest_ends_where_its_sidecar_does(void **state)
{
    (void)state;
    make();
    put_files(MR_SIDECAR_HEADER_BYTES + 2 * MR_SIDECAR_ENTRY_BYTES);
    check(0);
    assert_string_equal(finding, "1002: a running node writes here: what is behind is not in its files yet");
    assert_false(finding_is_error);
    assert_int_equal(report.batches, 2);
    assert_true(report.is_open && !report.is_whole);
    assert_int_equal(waits, 0);
    put_files(0); /* its header, too, is in a journal */
    check(0);
    assert_false(finding_is_error);
    assert_int_equal(report.batches, 0);
    assert_true(report.is_open);
}

static void a_last_block_that_only_a_journal_holds_is_no_damage(void **state)
{
    (void)state;
    uint64_t last_block;

    make();
    last_block = mr_align_down(image.log_end - 1, MR_BLOCK_BYTES);
    memset(image.log + last_block, 0, IMAGE_LOG_BYTES - last_block);
    put_all();
    check(0);
    assert_string_equal(finding, "1005: a running node writes here: what is behind is not in its files yet");
    assert_false(finding_is_error);
    assert_int_equal(report.batches, 5);
    assert_true(report.is_open && !report.is_whole);
    assert_int_equal(truncate(log_path, (off_t)image.position[5] + 100), 0); /* a file that was cut is complete */
    longest = image.position[5] + 100;
    check(0);
    assert_true(finding_is_error);
    assert_false(report.is_open);
}

static void cut_at_last(void)
{
    if (waits == 3)
        assert_int_equal(truncate(log_path, (off_t)image.log_end), 0);
}

static void a_rolled_segment_is_waited_for_until_it_is_closed(void **state)
{
    (void)state;
    make();
    put_all();
    on_wait = cut_at_last;
    check(MR_VERIFY_ROLLED);
    assert_string_equal(finding, "");
    assert_int_equal(report.batches, 6);
    assert_true(report.is_whole);
    put_all();
    on_wait = NULL;
    check(MR_VERIFY_ROLLED);
    assert_string_equal(finding, "1006: a running node writes here: the segment is not closed yet");
    assert_false(finding_is_error);
    assert_true(report.is_open && !report.is_whole);
    assert_true(waits > 10 && waits < 1000);
}

/* Where the file system can; the check itself does as well without. */
static void files_that_are_written_to_are_read_past_the_page_cache(void **state)
{
    (void)state;
    make();
    put_all();
    int fd = open(log_path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (fd < 0)
        skip();
    close(fd);
    check(0);
    assert_true(past_cache);
    assert_int_equal(report.batches, 6);
}

static int set_up(void **state)
{
    (void)state;
    char name[MR_SEGMENT_NAME_BYTES_MAX];

    on_wait = NULL;
    on_read = NULL;
    strcpy(directory, "/tmp/mr_verify_live_test.XXXXXX");
    if (mkdtemp(directory) == NULL)
        return 1;
    mr_segment_name(name, IMAGE_BASE_OFFSET, "log");
    snprintf(log_path, sizeof log_path, "%s/%s", directory, name);
    mr_segment_name(name, IMAGE_BASE_OFFSET, "sidecar");
    snprintf(side_path, sizeof side_path, "%s/%s", directory, name);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(log_path);
    unlink(side_path);
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_batch_read_while_it_was_written_is_read_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_that_stays_is_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_written_behind_the_end_meanwhile_is_no_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_newest_ends_where_its_sidecar_does, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_last_block_that_only_a_journal_holds_is_no_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_that_are_written_to_are_read_past_the_page_cache, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_rolled_segment_is_waited_for_until_it_is_closed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
