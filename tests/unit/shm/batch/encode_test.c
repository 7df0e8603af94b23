/* SPDX-License-Identifier: Apache-2.0 */
/* The writer against bytes written down from the format's description, and its promises W1 and W2. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "shm/batch/batch.h"
#include "tests/support/naive_batch.h"

/* Two records: "hi" at 1000 ms; key "k", null value, header h=v at 1003 ms. The CRC field is filled in from the bitwise CRC. */
static const uint8_t golden[] = {
    0, 0, 0, 0, 0, 0, 0, 5,                          /* base offset */
    0, 0, 0, 70,                                     /* length: 82 - 12 */
    0, 0, 0, 7,                                      /* leader epoch */
    2,                                               /* magic */
    0, 0, 0, 0,                                      /* crc */
    0, 0,                                            /* attributes */
    0, 0, 0, 1,                                      /* last offset delta */
    0, 0, 0, 0, 0, 0, 0x03, 0xe8,                    /* base timestamp 1000 */
    0, 0, 0, 0, 0, 0, 0x03, 0xeb,                    /* max timestamp 1003 */
    0, 0, 0, 0, 0, 0, 0, 0x11,                       /* producer id */
    0, 2,                                            /* producer epoch */
    0, 0, 0, 3,                                      /* base sequence */
    0, 0, 0, 2,                                      /* count */
    16, 0, 0, 0, 1, 4, 'h', 'i', 0,                  /* body 8; delta 0; offset 0; key -1; value 2; no headers */
    22, 0, 6, 2, 2, 'k', 1, 2, 2, 'h', 2, 'v',       /* body 11; delta 3; offset 1; key 1; value -1; one header */
};

static void golden_bytes(uint8_t *bytes)
{
    memcpy(bytes, golden, sizeof golden);
    uint32_t crc = naive_crc32c(golden + 21, sizeof golden - 21);
    for (int i = 0; i < 4; i++)
        bytes[17 + i] = (uint8_t)(crc >> (24 - 8 * i));
}

static void the_bitwise_crc_knows_the_check_value(void **state)
{
    (void)state;
    assert_int_equal(naive_crc32c((const uint8_t *)"123456789", 9), 0xe3069283u);
}

static void writes_the_bytes_of_the_format(void **state)
{
    (void)state;
    uint8_t want[sizeof golden], got[sizeof golden + 8], block[8];
    struct mr_batch_writer w;
    struct mr_record_header header = {"h", "v", 1, 1};

    golden_bytes(want);
    memset(got, 0xee, sizeof got);
    mr_batch_open(&w, got, sizeof got, 0x11, 2, 3, 5, 7);
    assert_int_equal(mr_batch_record_bytes(&w, 1000, -1, 2, 0, 0), 9);
    assert_true(mr_batch_add_value(&w, 1000, "hi", 2));
    int64_t block_bytes = mr_record_headers_encode(&header, 1, block, sizeof block);
    assert_int_equal(block_bytes, 4);
    assert_int_equal(mr_batch_record_bytes(&w, 1003, 1, -1, 4, 1), 12);
    assert_int_equal(mr_batch_add(&w, 1003, "k", 1, NULL, -1, block, 4, 1), 0);
    assert_int_equal(mr_batch_writer_bytes(&w), sizeof golden);
    assert_int_equal(got[0], 0xee); /* W1: nothing there before close */
    assert_int_equal(mr_batch_close(&w), sizeof golden);
    assert_memory_equal(got, want, sizeof golden);
    assert_int_equal(got[sizeof golden], 0xee);
    assert_int_equal(mr_batch_check(got, sizeof golden, 0), MR_BATCH_OK);
}

static void accessors_read_what_the_format_says(void **state)
{
    (void)state;
    uint8_t b[sizeof golden];
    struct mr_batch_header h;

    golden_bytes(b);
    mr_batch_header_read(&h, b);
    assert_int_equal(h.base_offset, 5);
    assert_int_equal(h.length, 70);
    assert_int_equal(h.leader_epoch, 7);
    assert_int_equal(h.magic, 2);
    assert_int_equal(h.crc, naive_crc32c(b + 21, sizeof b - 21));
    assert_int_equal(h.attributes, 0);
    assert_int_equal(h.last_offset_delta, 1);
    assert_int_equal(h.base_timestamp_ms, 1000);
    assert_int_equal(h.max_timestamp_ms, 1003);
    assert_int_equal(h.producer_id, 0x11);
    assert_int_equal(h.producer_epoch, 2);
    assert_int_equal(h.base_sequence, 3);
    assert_int_equal(h.record_count, 2);
    assert_int_equal(mr_batch_total_bytes(b), sizeof b);
    assert_int_equal(mr_batch_last_offset(b), 6);
    assert_int_equal(mr_batch_last_sequence(b), 4);
    mr_be32_put(b + MR_BATCH_AT_BASE_SEQUENCE, INT32_MAX);
    assert_int_equal(mr_batch_last_sequence(b), 0); /* 2147483647 is followed by 0 */
    mr_be32_put(b + MR_BATCH_AT_BASE_SEQUENCE, UINT32_MAX);
    assert_int_equal(mr_batch_last_sequence(b), -1);
}

/* For every room up to enough: the record goes in exactly when its announced size fits, and a refusal changes nothing. */
static void refuses_what_does_not_fit_and_stays_usable(void **state)
{
    (void)state;
    uint8_t value[200], at[512];
    memset(value, 'x', sizeof value);
    for (size_t room = 0; room < 400; room++) {
        struct mr_batch_writer w, before;
        mr_batch_open(&w, at, room, -1, -1, -1, 0, 0);
        bool fits = room >= 61 + 70 && mr_batch_record_bytes(&w, 1, -1, 63, 0, 0) <= mr_batch_room(&w);
        assert_int_equal(fits, room >= 61 + 71); /* 63 + one-byte fields, and two bytes for the length of 69 */
        assert_int_equal(mr_batch_add_value(&w, 1, value, 63), fits);
        if (!fits) {
            assert_int_equal(mr_batch_close(&w), 0);
            continue;
        }
        before = w;
        uint64_t need = mr_batch_record_bytes(&w, 300, 5, 200, 0, 0);
        if (need > mr_batch_room(&w)) {
            assert_int_equal(mr_batch_add(&w, 300, "abcde", 5, value, 200, NULL, 0, 0), -ENOSPC);
            assert_memory_equal(&w, &before, sizeof w);
        } else {
            assert_int_equal(mr_batch_add(&w, 300, "abcde", 5, value, 200, NULL, 0, 0), 0);
            assert_int_equal(w.next - before.next, need);
        }
        uint32_t bytes = mr_batch_close(&w);
        assert_true(bytes <= room);
        assert_int_equal(mr_batch_check(at, bytes, 0), MR_BATCH_OK);
    }
}

static void refuses_hostile_lengths_and_header_blocks(void **state)
{
    (void)state;
    uint8_t at[256];
    struct mr_batch_writer w, before;

    mr_batch_open(&w, at, sizeof at, -1, -1, -1, 0, 0);
    before = w;
    assert_false(mr_batch_add_value(&w, 0, "", UINT32_MAX));
    assert_int_equal(mr_batch_add(&w, 0, NULL, -2, NULL, -1, NULL, 0, 0), -EINVAL);
    assert_int_equal(mr_batch_add(&w, 0, NULL, -1, NULL, INT32_MAX, NULL, UINT32_MAX, UINT32_MAX), -ENOSPC);
    assert_int_equal(mr_batch_add(&w, 0, NULL, -1, NULL, -1, (const uint8_t *)"\x02h", 2, 1), -EBADMSG); /* value missing */
    assert_int_equal(mr_batch_add(&w, 0, NULL, -1, NULL, -1, (const uint8_t *)"\x00\x01", 2, 2), -EBADMSG); /* one, not two */
    assert_int_equal(mr_batch_add(&w, 0, NULL, -1, NULL, -1, NULL, 0, 1), -EBADMSG);
    assert_memory_equal(&w, &before, sizeof w);
}

static void times_may_go_back_and_wrap(void **state)
{
    (void)state;
    static const int64_t times[] = {5, INT64_MIN, INT64_MAX, 0, -1, 5};
    uint8_t at[256];
    struct mr_batch_writer w;
    struct mr_batch_iterator it;
    struct mr_batch_record r;

    mr_batch_open(&w, at, sizeof at, -1, -1, -1, 10, 0);
    for (size_t i = 0; i < MR_COUNT_OF(times); i++)
        assert_true(mr_batch_add_value(&w, times[i], "v", 1));
    uint32_t bytes = mr_batch_close(&w);
    assert_int_equal(mr_batch_max_timestamp(at), INT64_MAX);
    assert_int_equal(mr_batch_iterator_init(&it, at, bytes), 0);
    for (size_t i = 0; i < MR_COUNT_OF(times); i++) {
        assert_int_equal(mr_batch_next(&it, &r), 1);
        assert_true(r.timestamp_ms == times[i]);
        assert_int_equal(r.offset, 10 + (int64_t)i);
    }
    assert_int_equal(mr_batch_next(&it, &r), 0);
}

static void append_time_replaces_every_time_and_keeps_the_crc_right(void **state)
{
    (void)state;
    uint8_t b[sizeof golden];
    struct mr_batch_iterator it;
    struct mr_batch_record r;

    golden_bytes(b);
    mr_batch_set_append_time(b, 777);
    mr_batch_stamp(b, 1000, 9);
    assert_int_equal(mr_batch_check(b, sizeof b, 0), MR_BATCH_OK);
    assert_int_equal(mr_batch_crc(b), naive_crc32c(b + 21, sizeof b - 21));
    assert_int_equal(mr_batch_leader_epoch(b), 9);
    assert_int_equal(mr_batch_iterator_init(&it, b, sizeof b), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mr_batch_next(&it, &r), 1);
        assert_int_equal(r.timestamp_ms, 777);
        assert_int_equal(r.offset, 1000 + i);
    }
}

static void markers_are_control_batches_of_the_known_form(void **state)
{
    (void)state;
    static const uint8_t record[] = {32, 0, 0, 0, 8, 0, 0, 0, 1, 12, 0, 0, 0, 0, 0, 6, 0};
    uint8_t b[MR_BATCH_MARKER_BYTES];
    struct mr_batch_iterator it;
    struct mr_batch_record r;
    int32_t coordinator_epoch;

    mr_batch_write_marker(b, MR_BATCH_MARKER_COMMIT, 50, 99, 3, 6, 40, 2);
    assert_int_equal(mr_batch_attributes(b), 0x30);
    assert_int_equal(mr_batch_base_sequence(b), -1);
    assert_memory_equal(b + 61, record, sizeof record);
    assert_int_equal(mr_batch_check(b, sizeof b, 0), MR_BATCH_OK);
    assert_int_equal(mr_batch_iterator_init(&it, b, sizeof b), 0);
    assert_true(it.is_control);
    assert_int_equal(mr_batch_next(&it, &r), 1);
    assert_int_equal(mr_batch_marker_read(&r, &coordinator_epoch), MR_BATCH_MARKER_COMMIT);
    assert_int_equal(coordinator_epoch, 6);
    r.key_bytes = 3;
    assert_int_equal(mr_batch_marker_read(&r, &coordinator_epoch), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bitwise_crc_knows_the_check_value),
        cmocka_unit_test(writes_the_bytes_of_the_format),
        cmocka_unit_test(accessors_read_what_the_format_says),
        cmocka_unit_test(refuses_what_does_not_fit_and_stays_usable),
        cmocka_unit_test(refuses_hostile_lengths_and_header_blocks),
        cmocka_unit_test(times_may_go_back_and_wrap),
        cmocka_unit_test(append_time_replaces_every_time_and_keeps_the_crc_right),
        cmocka_unit_test(markers_are_control_batches_of_the_known_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
