/* SPDX-License-Identifier: Apache-2.0 */
/* Verify and dump over real files: a good partition has no findings; each damage gives the finding that fits it. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "shm/segment/dump.h"
#include "shm/segment/verify.h"
#include "tests/support/segment_image.h"

static struct image image;
static char directory[64];
static char last_finding[8192];
static bool last_is_error;

static void put_file(const char *name, const void *bytes, size_t count)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

static void remove_file(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    unlink(path);
}

/* The newest segment here has no sidecar, beside one that has: a note each time, which is not what these tests are about. */
static uint32_t bare;

static void note(void *context, const struct mr_verify_finding *f)
{
    (void)context;
    if (strstr(f->reason, "it has no sidecar") != NULL) {
        bare++;
        return;
    }
    snprintf(last_finding, sizeof last_finding, "%s@%llu offset %llu: %s", strrchr(f->path, '/') + 1, (unsigned long long)f->position,
             (unsigned long long)f->offset, f->reason);
    last_is_error = f->is_error;
}

static struct mr_verify_report verify(unsigned flags)
{
    struct mr_verify_report report;
    struct millrace_error err = {0};
    last_finding[0] = 0;
    bare = 0;
    assert_int_equal(mr_verify_partition(directory, flags, note, NULL, &report, &err), 0);
    assert_true(bare <= 2 && report.warnings >= bare);
    report.warnings -= bare;
    return report;
}

/* Segments at 1000 (closed, 5 batches) and at its next offset (newest, 3 batches, zero tail), written from two images. */
static uint64_t second_base;
static char first_log[32], first_side[32], second_log[32];
static uint8_t second[4096];
static uint32_t second_bytes;

static void make(void)
{
    struct mr_batch_writer w;

    image_init(&image);
    for (uint32_t i = 0; i < 5; i++)
        image_append(&image, 2, 30, 'a');
    second_base = image.next_offset;
    mr_segment_name(first_log, IMAGE_BASE_OFFSET, "log");
    mr_segment_name(first_side, IMAGE_BASE_OFFSET, "sidecar");
    mr_segment_name(second_log, second_base, "log");
    put_file(first_log, image.log, image.log_end);
    put_file(first_side, image.side, image.side_end);
    memset(second, 0, sizeof second);
    second_bytes = 0;
    for (uint32_t i = 0; i < 3; i++) {
        mr_batch_open(&w, second + second_bytes, sizeof second - second_bytes, -1, -1, -1, (int64_t)second_base + i, 1);
        assert_true(mr_batch_add_value(&w, 5, "tail", 4));
        second_bytes += mr_batch_close(&w);
    }
    put_file(second_log, second, sizeof second);
}

static void a_good_partition_has_no_findings(void **state)
{
    (void)state;
    make();
    put_file("leader-epoch-checkpoint", "0\n1\n1 1000\n", 11);
    struct mr_verify_report r = verify(0);
    assert_string_equal(last_finding, "");
    assert_int_equal(r.errors + r.warnings, 0);
    assert_int_equal(bare, 1);
    assert_int_equal(r.segments, 2);
    assert_int_equal(r.batches, 8);
    assert_int_equal(r.records, 13);
    assert_int_equal(r.bytes, image.log_end + second_bytes);
    assert_int_equal(r.first_offset, IMAGE_BASE_OFFSET);
    assert_int_equal(r.next_offset, second_base + 3);
}

static void a_flipped_bit_in_a_closed_segment_is_an_error_with_its_place(void **state)
{
    (void)state;
    char want[256];
    make();
    image.log[image.position[2] + 80] ^= 1;
    put_file(first_log, image.log, image.log_end);
    assert_int_equal(verify(0).errors, 1);
    snprintf(want, sizeof want, "%s@%llu offset 1004: bad batch crc, with valid batches behind it (from position %llu, offset 1006)",
             first_log, (unsigned long long)image.position[2], (unsigned long long)image.position[3]);
    assert_string_equal(last_finding, want);
}

static void a_torn_tail_is_a_warning_and_with_data_behind_an_error(void **state)
{
    (void)state;
    make();
    second[second_bytes - 2] ^= 1;
    put_file(second_log, second, sizeof second);
    struct mr_verify_report r = verify(0);
    assert_int_equal(r.errors, 0);
    assert_int_equal(r.warnings, 1);
    assert_false(last_is_error);
    make();
    second[70] ^= 1;
    put_file(second_log, second, sizeof second);
    assert_int_equal(verify(0).errors, 1);
}

static void seams_and_zero_tails_between_segments_are_errors(void **state)
{
    (void)state;
    make();
    put_file(first_log, image.log, image.log_end + 100);
    assert_int_equal(verify(0).errors, 1);
    assert_non_null(strstr(last_finding, "ends 100 bytes before the file does"));
    make();
    remove_file(first_side); /* without a sidecar, one batch less is a clean segment: the seam tells */
    put_file(first_log, image.log, image.position[4]);
    assert_int_equal(verify(0).errors, 1);
    assert_non_null(strstr(last_finding, "the segment before ends at offset 1008"));
    assert_int_equal(verify(MR_VERIFY_COMPACTED).errors, 0);
}

static void damaged_small_files_are_warnings(void **state)
{
    (void)state;
    make();
    put_file("leader-epoch-checkpoint", "nonsense", 8);
    struct mr_verify_report r = verify(0);
    assert_int_equal(r.errors, 0);
    assert_int_equal(r.warnings, 1);
    remove_file("leader-epoch-checkpoint");
    put_file("00000000000000001000.snapshot", "x", 1);
    assert_int_equal(verify(0).warnings, 1);
    remove_file("00000000000000001000.snapshot");
}

static void what_cannot_be_read_is_said_with_its_path(void **state)
{
    (void)state;
    struct mr_verify_report report;
    struct millrace_error err = {0};
    assert_int_equal(mr_verify_partition("/nonexistent/dir", 0, NULL, NULL, &report, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/dir"));
    assert_int_equal(mr_verify_segment("/tmp/x.log", 0, -1, NULL, NULL, &report, &err), -EINVAL);
    assert_int_equal(mr_verify_segment("/nonexistent/00000000000000000000.log", 0, -1, NULL, NULL, &report, &err), -ENOENT);
}

static void dump_prints_batches_and_records(void **state)
{
    (void)state;
    char path[256], *text = NULL;
    size_t text_bytes = 0;
    struct millrace_error err = {0};

    make();
    snprintf(path, sizeof path, "%s/%s", directory, second_log);
    FILE *out = open_memstream(&text, &text_bytes);
    assert_non_null(out);
    assert_int_equal(mr_dump_segment(path, out, MR_DUMP_VALUES, second_base + 1, 1, &err), 0);
    fclose(out);
    assert_int_equal(strncmp(text, "baseOffset: 1011 lastOffset: 1011 count: 1 baseSequence: -1", 59), 0);
    assert_non_null(strstr(text, "compresscodec: none"));
    assert_non_null(strstr(text, "\n| offset: 1011 CreateTime: 5 keySize: -1 valueSize: 4 headers: 0 key: null payload: tail\n"));
    free(text);

    second[second_bytes / 3 + 65] ^= 1;
    put_file(second_log, second, sizeof second);
    out = open_memstream(&text, &text_bytes);
    assert_int_equal(mr_dump_segment(path, out, 0, 0, 0, &err), -EBADMSG);
    fclose(out);
    assert_non_null(strstr(err.text, "run 'millrace log verify'"));
    assert_non_null(strstr(text, "baseOffset: 1010"));
    free(text);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/mr_verify_test.XXXXXX");
    return mkdtemp(directory) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    remove_file(first_log);
    remove_file(first_side);
    remove_file(second_log);
    remove_file("leader-epoch-checkpoint");
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_partition_has_no_findings),
        cmocka_unit_test(a_flipped_bit_in_a_closed_segment_is_an_error_with_its_place),
        cmocka_unit_test(a_torn_tail_is_a_warning_and_with_data_behind_an_error),
        cmocka_unit_test(seams_and_zero_tails_between_segments_are_errors),
        cmocka_unit_test(damaged_small_files_are_warnings),
        cmocka_unit_test(what_cannot_be_read_is_said_with_its_path),
        cmocka_unit_test(dump_prints_batches_and_records),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
