/* SPDX-License-Identifier: Apache-2.0 */
/* The table of desired state: entries come out as they went in; a table that makes no sense is told from one that has not gone on. */
#include "shm/desired/desired.h"
#include "tests/support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/base/atomics.h"

static struct millrace_error err;

static struct mr_desired entry_of(uint64_t number, const char *name, const char *config)
{
    struct mr_desired entry = {.kind = number % 3 == 0 ? MR_DESIRED_GONE : MR_DESIRED_TOPIC, .number = number, .partition_count = (uint32_t)number + 1,
                               .topic_id = {{(uint8_t)number, 1, 2}}};
    snprintf(entry.name, sizeof entry.name, "%s", name);
    snprintf(entry.config, sizeof entry.config, "%s", config);
    return entry;
}

static void entries_come_out_as_they_went_in(void **state)
{
    struct mr_desired_writer writer;
    struct mr_desired_reader reader;
    struct mr_desired entry, again;
    char longest[MR_TOPIC_NAME_MAX + 1], lines[MR_TOPIC_CONFIG_BYTES];
    memset(longest, 'n', sizeof longest - 1);
    memset(lines, 'c', sizeof lines - 1);
    longest[sizeof longest - 1] = lines[sizeof lines - 1] = '\0';
    assert_int_equal(mr_desired_create(&writer, 10, &err), 0);
    assert_int_equal(mr_desired_open(&reader, writer.fd, writer.bytes, &err), 0);
    assert_int_equal(mr_desired_next(&reader, &entry), 0);
    for (uint64_t number = 1; number < 60; number++) {
        again = entry_of(number, number % 2 == 0 ? longest : "t", number % 5 == 0 ? lines : number % 5 == 1 ? "" : "a=b\n");
        assert_int_equal(mr_desired_add(&writer, &again), 0);
        assert_int_equal(mr_desired_next(&reader, &entry), 1);
        assert_int_equal(entry.kind, again.kind);
        assert_int_equal(entry.number, number);
        assert_int_equal(entry.partition_count, again.partition_count);
        assert_true(mr_uuid_equal(&entry.topic_id, &again.topic_id));
        assert_string_equal(entry.name, again.name);
        assert_string_equal(entry.config, again.config);
        assert_int_equal(mr_desired_next(&reader, &entry), 0);
    }
    mr_desired_close(&reader);
    mr_desired_release(&writer);
}

static void a_full_table_says_so_and_keeps_what_it_has(void **state)
{
    struct mr_desired_writer writer;
    struct mr_desired_reader reader;
    struct mr_desired entry = entry_of(1, "name", "key=value\n");
    uint64_t added = 0, read = 0;
    assert_int_equal(mr_desired_create(&writer, 1, &err), 0);
    while (mr_desired_add(&writer, &entry) == 0)
        added++;
    assert_int_equal(mr_desired_add(&writer, &entry), -ENOSPC);
    assert_true(added > 1000);
    assert_int_equal(mr_desired_open(&reader, writer.fd, writer.bytes, &err), 0);
    while (mr_desired_next(&reader, &entry) == 1)
        read++;
    assert_int_equal(read, added);
    mr_desired_close(&reader);
    mr_desired_release(&writer);
}

static void what_is_no_table_is_not_mapped(void **state)
{
    struct mr_desired_writer writer;
    struct mr_desired_reader reader;
    int fd = memfd_create("none", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, 8192), 0);
    assert_int_equal(mr_desired_open(&reader, fd, 8192, &err), -EBADMSG); /* it may shrink under the reader */
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    assert_int_equal(mr_desired_open(&reader, fd, 4096, &err), -EBADMSG); /* not as long as was said */
    assert_int_equal(mr_desired_open(&reader, fd, 8192, &err), -EBADMSG); /* without its magic */
    assert_non_null(strstr(err.text, "another version"));
    assert_int_equal(mr_desired_open(&reader, STDIN_FILENO, 8192, &err), -EBADMSG);
    close(fd);
    assert_int_equal(mr_desired_create(&writer, 1, &err), 0);
    writer.table->version++;
    assert_int_equal(mr_desired_open(&reader, writer.fd, writer.bytes, &err), -EBADMSG);
    mr_desired_release(&writer);
}

/* Every field of the second entry, and the end, gets values that do not fit: none is followed. */
static void an_entry_that_makes_no_sense_is_refused(void **state)
{
    static const uint32_t values[] = {0, 1, 7, 8, 63, 250, 251, 2049, 4096, 0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff};
    static const size_t fields[] = {offsetof(struct mr_desired_entry, bytes), offsetof(struct mr_desired_entry, kind),
                                    offsetof(struct mr_desired_entry, name_bytes), offsetof(struct mr_desired_entry, config_bytes)};
    struct mr_desired entry;
    for (uint32_t f = 0; f < sizeof fields / sizeof fields[0]; f++)
        for (uint32_t v = 0; v < sizeof values / sizeof values[0]; v++) {
            struct mr_desired_writer writer;
            struct mr_desired_reader reader;
            struct mr_desired first = entry_of(1, "first", "a=b\n"), second = entry_of(2, "second", "c=d\n");
            assert_int_equal(mr_desired_create(&writer, 1, &err), 0);
            assert_int_equal(mr_desired_add(&writer, &first), 0);
            uint64_t at = mr_load_relaxed(&writer.table->end_bytes);
            assert_int_equal(mr_desired_add(&writer, &second), 0);
            memcpy((uint8_t *)writer.table + at + fields[f], &values[v], 4);
            assert_int_equal(mr_desired_open(&reader, writer.fd, writer.bytes, &err), 0);
            assert_int_equal(mr_desired_next(&reader, &entry), 1);
            int rc = mr_desired_next(&reader, &entry);
            bool fits = (fields[f] == offsetof(struct mr_desired_entry, kind) && values[v] == 1) ||
                        (fields[f] == offsetof(struct mr_desired_entry, name_bytes) && values[v] == 7) ||
                        (fields[f] == offsetof(struct mr_desired_entry, config_bytes) && (values[v] == 7 || values[v] == 8)); /* the padding is zero */
            if (!fits)
                assert_int_equal(rc, -EBADMSG);
            mr_desired_close(&reader);
            mr_desired_release(&writer);
        }
    struct mr_desired_writer writer;
    struct mr_desired_reader reader;
    assert_int_equal(mr_desired_create(&writer, 1, &err), 0);
    assert_int_equal(mr_desired_open(&reader, writer.fd, writer.bytes, &err), 0);
    const uint64_t ends[] = {0, 8, sizeof(struct mr_desired_header) - 1, sizeof(struct mr_desired_header) + 1, writer.bytes + 8, UINT64_MAX};
    for (uint32_t e = 0; e < sizeof ends / sizeof ends[0]; e++) {
        mr_store_release(&writer.table->end_bytes, ends[e]);
        assert_int_equal(mr_desired_next(&reader, &entry), -EBADMSG);
    }
    mr_desired_close(&reader);
    mr_desired_release(&writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_come_out_as_they_went_in),
        cmocka_unit_test(a_full_table_says_so_and_keeps_what_it_has),
        cmocka_unit_test(what_is_no_table_is_not_mapped),
        cmocka_unit_test(an_entry_that_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
