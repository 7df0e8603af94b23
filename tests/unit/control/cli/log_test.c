/* SPDX-License-Identifier: Apache-2.0 */
/* log verify and dump over a data directory made of known batches: what is good, what is damaged, what is not there. */
#include "control/cli/commands.h"
#include "shm/batch/batch.h"
#include "tests/support/run_command.h"
#include "tests/support/segment_image.h"

#include <sys/stat.h>

static struct image image, segment[3];
static char log_path[256], partition[128];

static void put_at(uint64_t base_offset, const char *suffix, const void *bytes, size_t count)
{
    char path[256], name[MR_SEGMENT_NAME_BYTES_MAX];

    mr_segment_name(name, base_offset, suffix);
    snprintf(path, sizeof path, "%s/%s", partition, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    fclose(file);
    if (strcmp(suffix, "log") == 0)
        snprintf(log_path, sizeof log_path, "%s", path);
}

static void put(const char *suffix, const void *bytes, size_t count)
{
    put_at(IMAGE_BASE_OFFSET, suffix, bytes, count);
}

static int make_log(void **state)
{
    if (command_folder_make(state) != 0)
        return 1;
    snprintf(partition, sizeof partition, "%s/data", folder);
    mkdir(partition, 0700);
    snprintf(partition, sizeof partition, "%s/data/t-0", folder);
    mkdir(partition, 0700);
    image_init(&image);
    for (int i = 0; i < 5; i++)
        image_append(&image, 3, 20, 'a');
    put("log", image.log, image.log_end);
    put("sidecar", image.side, image.side_end);
    return 0;
}

static char *data(void)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/data", folder);
    return path;
}

static void good_logs_are_good_by_every_name(void **state)
{
    const char *const paths[] = {data(), partition, log_path};

    for (int i = 0; i < 3; i++) {
        assert_int_equal(RUN(mr_cmd_log, "", "verify", paths[i]), MR_CLI_DONE);
        says("partitions=1 records=15 bytes=");
        says("errors=0");
        assert_non_null(strstr(out, "15 records in 5 batches, 1 segments, offsets 1000 to 1015\n"));
    }
    assert_int_equal(RUN(mr_cmd_log, "", "verify", "-q", data()), MR_CLI_DONE);
    assert_string_equal(out, "");
    assert_int_equal(RUN(mr_cmd_log, "", "verify", "--json", data()), MR_CLI_DONE);
    assert_non_null(strstr(out, "\"records\":15,"));
    assert_int_equal(out[0], '[');
}

static void one_flipped_bit_is_status_1_and_names_file_and_offset(void **state)
{
    image.log[image.position[1] + 70] ^= 4;
    put("log", image.log, image.log_end);
    assert_int_equal(RUN(mr_cmd_log, "", "verify", "-q", data()), MR_CLI_FAILED);
    assert_non_null(strstr(out, "ERROR: "));
    assert_non_null(strstr(out, log_path));
    assert_non_null(strstr(out, "offset 1003: "));
    assert_non_null(strstr(out, "BAD "));
}

static void a_folder_without_a_log_says_what_to_name(void **state)
{
    assert_int_equal(RUN(mr_cmd_log, "", "verify", folder), MR_CLI_FAILED);
    says("name a data directory, a partition's directory or a .log file");
    assert_int_equal(RUN(mr_cmd_log, "", "verify", "/nonexistent"), MR_CLI_FAILED);
    says("cannot read '/nonexistent'");
    assert_int_equal(RUN(mr_cmd_log, "", "verify"), MR_CLI_USAGE);
}

static void dump_prints_a_line_a_batch(void **state)
{
    uint32_t lines = 0;

    assert_int_equal(RUN(mr_cmd_log, "", "dump", log_path, "--from", "1003", "-n", "2"), MR_CLI_DONE);
    for (const char *at = strstr(out, "baseOffset: "); at != NULL; at = strstr(at + 1, "baseOffset: "))
        lines++;
    assert_int_equal(lines, 2);
    assert_non_null(strstr(out, "baseOffset: 1003"));
    assert_int_equal(RUN(mr_cmd_log, "", "dump", log_path, "--values"), MR_CLI_DONE);
    assert_non_null(strstr(out, "aaaaaaaaaaaaaaaaaaaa"));
    assert_int_equal(RUN(mr_cmd_log, "", "dump", log_path, "--from", "x"), MR_CLI_USAGE);
}

static off_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : -1;
}

static void export_cuts_the_tail_and_leaves_what_is_ours(void **state)
{
    char to[160], copy[320], name[MR_SEGMENT_NAME_BYTES_MAX];

    put("log", image.log, IMAGE_LOG_BYTES); /* zeros behind, as preallocated */
    put("snapshot", "not looked at", 13);
    mr_segment_name(name, IMAGE_BASE_OFFSET, "log");
    const char *const paths[] = {data(), partition, log_path};
    for (int i = 0; i < 3; i++) {
        snprintf(to, sizeof to, "%s/copy%d", folder, i);
        assert_int_equal(RUN(mr_cmd_log, "", "export", paths[i], to), MR_CLI_DONE);
        says("partitions=1 segments=1 records=15 bytes=");
        assert_non_null(strstr(out, "15 records, 1 segments, offsets 1000 to 1015\n"));
        snprintf(copy, sizeof copy, "%s%s/%s", to, i == 0 ? "/t-0" : "", name);
        assert_int_equal(size_of(copy), image.log_end);
        snprintf(copy + strlen(copy) - 3, sizeof copy - strlen(copy) + 3, "sidecar");
        assert_int_equal(size_of(copy), -1);
        snprintf(copy + strlen(copy) - 7, sizeof copy - strlen(copy) + 7, "snapshot");
        assert_int_equal(size_of(copy), i < 2 ? 13 : -1);
        assert_int_equal(RUN(mr_cmd_log, "", "verify", to), MR_CLI_DONE);
        says("records=15");
    }
    assert_int_equal(RUN(mr_cmd_log, "", "export", data(), to), MR_CLI_FAILED);
    says("is there already");
    assert_int_equal(RUN(mr_cmd_log, "", "export", "/nonexistent", to), MR_CLI_FAILED);
    says("cannot read '/nonexistent'");
    assert_int_equal(RUN(mr_cmd_log, "", "export", data()), MR_CLI_USAGE);
}

static void export_says_what_is_damaged_and_copies_what_is_before_it(void **state)
{
    char to[160];

    image.log[image.position[2] + 70] ^= 4;
    put("log", image.log, image.log_end);
    snprintf(to, sizeof to, "%s/copy", folder);
    assert_int_equal(RUN(mr_cmd_log, "", "export", partition, to), MR_CLI_FAILED);
    says("offset 1006: ");
    says("records=6");
    says("errors=1");
    assert_int_equal(RUN(mr_cmd_log, "", "verify", to), MR_CLI_DONE);
}

static void export_stops_where_a_segment_is_missing(void **state)
{
    char to[160], path[256], name[MR_SEGMENT_NAME_BYTES_MAX];

    mr_segment_name(name, IMAGE_BASE_OFFSET + 20, "log"); /* the first ends at + 15 */
    snprintf(path, sizeof path, "%s/%s", partition, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    snprintf(to, sizeof to, "%s/copy", folder);
    assert_int_equal(RUN(mr_cmd_log, "", "export", partition, to), MR_CLI_FAILED);
    says("offset 1020: the segment before it ends at another offset");
    says("segments=1 records=15");
}

static void put_segment(uint32_t i, uint64_t log_bytes)
{
    put_at(segment[i].base_offset, "log", segment[i].log, log_bytes);
    put_at(segment[i].base_offset, "sidecar", segment[i].side, segment[i].side_end);
}

/* At 1000, 1015 and 1030, each of five batches of three records; the newest with its zeros. */
static void make_three(void)
{
    for (uint32_t i = 0; i < 3; i++) {
        image_init_at(&segment[i], IMAGE_BASE_OFFSET + 15 * i);
        for (int batch = 0; batch < 5; batch++)
            image_append(&segment[i], 3, 20, 'a');
        put_segment(i, i < 2 ? segment[i].log_end : IMAGE_LOG_BYTES);
    }
}

/* As a daemon holds the data directory; goes with the process, so that only a test's child sees it held. */
static void hold_data_directory(void)
{
    struct flock mine = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[160];

    snprintf(path, sizeof path, "%s/.lock", data());
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_SETLK, &mine), 0);
}

static void export_says_what_is_left_out_behind_a_bad_last_batch(void **state)
{
    char to[160], path[256], name[MR_SEGMENT_NAME_BYTES_MAX];

    make_three();
    snprintf(to, sizeof to, "%s/whole", folder);
    assert_int_equal(RUN(mr_cmd_log, "", "export", partition, to), MR_CLI_DONE);
    says("segments=3 records=45 ");
    says("errors=0 notes=0");
    segment[1].log[segment[1].log_end - 5] ^= 1;
    put_segment(1, segment[1].log_end);
    snprintf(to, sizeof to, "%s/copy", folder);
    assert_int_equal(RUN(mr_cmd_log, "", "export", partition, to), MR_CLI_FAILED);
    says("offset 1027: bad batch crc");
    says("offset 1030: 1 segment from here on not copied: the one before is not good to its end");
    says("segments=2 records=27 ");
    mr_segment_name(name, 1015, "log");
    snprintf(path, sizeof path, "%s/%s", partition, name);
    snprintf(to, sizeof to, "%s/one", folder);
    assert_int_equal(RUN(mr_cmd_log, "", "export", path, to), MR_CLI_FAILED);
    says("offset 1027: bad batch crc");
    says("errors=1");
    assert_int_equal(RUN(mr_cmd_log, "", "verify", path), MR_CLI_FAILED);
}

static void export_notes_a_torn_tail_of_the_newest(void **state)
{
    char to[160];

    make_three();
    segment[2].log[segment[2].log_end - 5] ^= 1;
    put_segment(2, IMAGE_LOG_BYTES);
    snprintf(to, sizeof to, "%s/copy", folder);
    assert_int_equal(RUN(mr_cmd_log, "", "export", partition, to), MR_CLI_DONE);
    says("note: ");
    says("offset 1042: bad batch crc");
    says("segments=3 records=42 ");
    says("errors=0 notes=1");
}

static void export_forgives_what_is_not_closed_only_beside_a_node(void **state)
{
    char to[160];

    make_three();
    put_segment(0, IMAGE_LOG_BYTES); /* rolled, its zeros not cut off yet, as with small segments many */
    snprintf(to, sizeof to, "%s/stopped", folder);
    assert_int_equal(RUN(mr_cmd_log, "", "export", data(), to), MR_CLI_FAILED);
    says("bytes before the file does, though a newer segment follows");
    says("offset 1015: 2 segments from here on not copied");
    hold_data_directory();
    for (int i = 0; i < 2; i++) {
        snprintf(to, sizeof to, "%s/live%d", folder, i);
        assert_int_equal(RUN(mr_cmd_log, "", "export", i == 0 ? data() : partition, to), MR_CLI_DONE);
        says("offset 1015: a running node writes here: the segment is not closed yet");
        says("offset 1015: 2 segments from here on not copied: the one before is not closed yet");
        says("segments=1 records=15 ");
        says("errors=0 notes=2");
    }
}

static void export_goes_on_with_other_partitions_when_one_cannot_be_found(void **state)
{
    char to[160], path[256];

    snprintf(path, sizeof path, "%s/a-0", data());
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/a-0/00000000000000000000.log", data());
    assert_int_equal(symlink("nowhere", path), 0);
    snprintf(to, sizeof to, "%s/copy", folder);
    assert_int_equal(RUN(mr_cmd_log, "", "export", data(), to), MR_CLI_FAILED);
    says("cannot open");
    assert_non_null(strstr(out, "t-0: 15 records"));
    snprintf(path, sizeof path, "%s/a-0", to);
    assert_int_equal(access(path, F_OK), -1);
}

static void export_help_says_what_of_a_running_node_is_copied(void **state)
{
    assert_int_equal(RUN(mr_cmd_log, "", "export", "--help"), MR_CLI_DONE);
    assert_non_null(strstr(out, "records below the log's start"));
    assert_non_null(strstr(out, "may be in the copy before it is acknowledged"));
    assert_non_null(strstr(out, "after a crash start it once before"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(good_logs_are_good_by_every_name, make_log, command_folder_remove),
        cmocka_unit_test_setup_teardown(one_flipped_bit_is_status_1_and_names_file_and_offset, make_log, command_folder_remove),
        cmocka_unit_test_setup_teardown(a_folder_without_a_log_says_what_to_name, make_log, command_folder_remove),
        cmocka_unit_test_setup_teardown(dump_prints_a_line_a_batch, make_log, command_folder_remove),
        cmocka_unit_test_setup_teardown(export_cuts_the_tail_and_leaves_what_is_ours, make_log, command_folder_remove),
        cmocka_unit_test_setup_teardown(export_says_what_is_damaged_and_copies_what_is_before_it, make_log, command_folder_remove),
        cmocka_unit_test_setup_teardown(export_says_what_is_left_out_behind_a_bad_last_batch, make_log, command_folder_remove),
        cmocka_unit_test_setup_teardown(export_notes_a_torn_tail_of_the_newest, make_log, command_folder_remove),
        cmocka_unit_test_setup_teardown(export_forgives_what_is_not_closed_only_beside_a_node, make_log, command_folder_remove),
        cmocka_unit_test_setup_teardown(export_goes_on_with_other_partitions_when_one_cannot_be_found, make_log, command_folder_remove),
        cmocka_unit_test_setup_teardown(export_help_says_what_of_a_running_node_is_copied, make_log, command_folder_remove),
        cmocka_unit_test_setup_teardown(export_stops_where_a_segment_is_missing, make_log, command_folder_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
