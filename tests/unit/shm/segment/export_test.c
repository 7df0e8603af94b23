/* SPDX-License-Identifier: Apache-2.0 */
/* An export beside things that happen meanwhile: the calls that export.c makes are led through here, where the world changes under it. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "shm/segment/verify.h"
#include "tests/support/segment_image.h"

static uint32_t scandirs, fail_scandir; /* which call fails, from 1; 0: none */

static int led_scandir(const char *path, struct dirent ***entry, int (*filter)(const struct dirent *),
                       int (*order)(const struct dirent **, const struct dirent **))
{
    if (++scandirs != fail_scandir)
        return scandir(path, entry, filter, order);
    errno = ENOMEM;
    return -1;
}

static void (*before_segment)(uint32_t number); /* from 1, of the segments that are checked */
static uint32_t segments_checked;

static int led_verify_segment(const char *path, unsigned flags, int32_t epoch, mr_verify_each *each, void *context, struct mr_verify_report *found,
                              struct millrace_error *err)
{
    segments_checked++;
    if (before_segment != NULL)
        before_segment(segments_checked);
    return mr_verify_segment(path, flags, epoch, each, context, found, err);
}

#define scandir           led_scandir
#define mr_verify_segment led_verify_segment
#include "shm/segment/export.c"
#undef scandir
#undef mr_verify_segment

static struct image image;
static char folder[64], from[80], to[80];
static struct mr_export_report report;
static struct millrace_error error;
static char findings[8192];

static void path_of(char path[256], const char *directory, uint64_t base_offset, const char *suffix)
{
    char name[MR_SEGMENT_NAME_BYTES_MAX];

    mr_segment_name(name, base_offset, suffix);
    snprintf(path, 256, "%s/%s", directory, name);
}

static void put(uint64_t base_offset, const char *suffix, const void *bytes, size_t count)
{
    char path[256];

    path_of(path, from, base_offset, suffix);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

static void note(void *context, const struct mr_verify_finding *f)
{
    size_t used = strlen(findings);

    (void)context;
    snprintf(findings + used, sizeof findings - used, "%s: %s: offset %llu: %s\n", f->is_error ? "ERROR" : "note", strrchr(f->path, '/') + 1,
             (unsigned long long)f->offset, f->reason);
}

static int export_now(void)
{
    findings[0] = 0;
    segments_checked = 0;
    memset(&error, 0, sizeof error);
    return mr_export_partition(from, to, note, NULL, &report, &error);
}

static void a_folder_that_cannot_be_listed_is_an_error_the_second_time_too(void **state)
{
    (void)state;
    for (fail_scandir = 1; fail_scandir <= 2; fail_scandir++) {
        scandirs = 0;
        snprintf(to, sizeof to, "%s/copy%u", folder, fail_scandir);
        assert_int_equal(export_now(), -ENOMEM);
        assert_non_null(strstr(error.text, "cannot read '"));
    }
}

static void put_segment(uint64_t base_offset)
{
    image_init_at(&image, base_offset);
    for (uint32_t i = 0; i < 5; i++)
        image_append(&image, 2, 30, 'a');
    put(base_offset, "log", image.log, image.log_end);
    put(base_offset, "sidecar", image.side, image.side_end);
}

static void delete_segment(uint64_t base_offset)
{
    char path[256];

    path_of(path, from, base_offset, "log");
    unlink(path);
    path_of(path, from, base_offset, "sidecar");
    unlink(path);
}

static bool is_copied(uint64_t base_offset)
{
    char path[256];

    path_of(path, to, base_offset, "log");
    return access(path, F_OK) == 0;
}

static void retention_takes_three(uint32_t number)
{
    if (number != 3)
        return;
    for (uint32_t i = 0; i < 3; i++)
        delete_segment(IMAGE_BASE_OFFSET + 10 * i);
    put_segment(IMAGE_BASE_OFFSET + 50);
}

static void what_retention_has_overtaken_is_discarded_and_the_rest_copied(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 5; i++)
        put_segment(IMAGE_BASE_OFFSET + 10 * i);
    before_segment = retention_takes_three;
    assert_int_equal(export_now(), 0);
    assert_string_equal(findings, "");
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(is_copied(IMAGE_BASE_OFFSET + 10 * i), i >= 3);
    assert_int_equal(report.segments, 3);
    assert_int_equal(report.records, 30);
    assert_int_equal(report.first_offset, IMAGE_BASE_OFFSET + 30);
    assert_int_equal(report.next_offset, IMAGE_BASE_OFFSET + 60);
}

static void a_segment_is_lost(uint32_t number)
{
    if (number == 2)
        delete_segment(IMAGE_BASE_OFFSET + 10);
}

static void topic_goes(uint32_t number)
{
    if (number == 2)
        for (uint32_t i = 0; i < 3; i++)
            delete_segment(IMAGE_BASE_OFFSET + 10 * i);
}

static void flees(uint32_t number)
{
    delete_segment(IMAGE_BASE_OFFSET + 10 * (number - 1));
    put_segment(IMAGE_BASE_OFFSET + 10 * number);
}

static void what_no_retention_explains_or_outruns_the_copy_is_an_error(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        put_segment(IMAGE_BASE_OFFSET + 10 * i);
    before_segment = a_segment_is_lost;
    assert_int_equal(export_now(), -ENOENT);
    assert_true(is_copied(IMAGE_BASE_OFFSET));
    put_segment(IMAGE_BASE_OFFSET + 10);
    snprintf(to, sizeof to, "%s/copy2", folder);
    before_segment = topic_goes;
    assert_int_equal(export_now(), -ENOENT);
    assert_non_null(strstr(error.text, "was deleted while it was copied"));
    assert_int_equal(access(to, F_OK), -1);
    put_segment(IMAGE_BASE_OFFSET);
    snprintf(to, sizeof to, "%s/copy3", folder);
    before_segment = flees;
    assert_int_equal(export_now(), -EAGAIN);
    assert_non_null(strstr(error.text, "log.retention.bytes"));
}

static void a_segment_without_its_sidecar_is_noted(void **state)
{
    char path[256], want[256];

    (void)state;
    put_segment(IMAGE_BASE_OFFSET + 10);
    path_of(path, from, IMAGE_BASE_OFFSET, "sidecar");
    unlink(path);
    assert_int_equal(export_now(), 0);
    snprintf(want, sizeof want, "note: %020u.log: offset %u: it has no sidecar: nothing but their own CRC vouches for its batches\n",
             IMAGE_BASE_OFFSET, IMAGE_BASE_OFFSET);
    assert_string_equal(findings, want);
    assert_int_equal(report.warnings, 1);
    assert_int_equal(report.segments, 2);
}

static void a_leader_epoch_that_goes_back_at_a_seam_is_an_error(void **state)
{
    (void)state;
    put_segment(IMAGE_BASE_OFFSET + 10); /* of epoch 1 */
    image_init_at(&image, IMAGE_BASE_OFFSET + 20);
    image.epoch = 0;
    image_append(&image, 2, 30, 'a');
    put(IMAGE_BASE_OFFSET + 20, "log", image.log, image.log_end);
    put(IMAGE_BASE_OFFSET + 20, "sidecar", image.side, image.side_end);
    assert_int_equal(export_now(), 0);
    assert_non_null(strstr(findings, "offset 1020: leader epoch goes back"));
    assert_int_equal(report.errors, 1);
    assert_int_equal(report.records, 20);
    assert_int_equal(report.next_offset, IMAGE_BASE_OFFSET + 20);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/mr_export_test.XXXXXX");
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(from, sizeof from, "%s/t-0", folder);
    snprintf(to, sizeof to, "%s/copy", folder);
    fail_scandir = 0;
    before_segment = NULL;
    if (mkdir(from, 0700) != 0)
        return 1;
    put_segment(IMAGE_BASE_OFFSET);
    return 0;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_folder_that_cannot_be_listed_is_an_error_the_second_time_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_retention_has_overtaken_is_discarded_and_the_rest_copied, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_no_retention_explains_or_outruns_the_copy_is_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_segment_without_its_sidecar_is_noted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_leader_epoch_that_goes_back_at_a_seam_is_an_error, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
