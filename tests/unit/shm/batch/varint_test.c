/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "shm/batch/varint.h"

static uint32_t bytes_by_counting(uint64_t coded)
{
    uint32_t bytes = 1;
    while (coded >= 128) {
        coded /= 128;
        bytes++;
    }
    return bytes;
}

/* Around every power of two, both signs: where the length changes. */
static void every_length_round_trips_and_is_announced_exactly(void **state)
{
    (void)state;
    for (int bit = 0; bit < 64; bit++) {
        for (int64_t near = -2; near <= 2; near++) {
            int64_t value = (int64_t)((1ull << bit) + (uint64_t)near), got = 0;
            uint64_t coded = mr_zigzag(value);
            uint8_t bytes[16] = {0};
            uint8_t *end = mr_varint_put(bytes, coded);
            assert_int_equal(end - bytes, bytes_by_counting(coded));
            assert_int_equal(mr_varint_bytes(coded), bytes_by_counting(coded));
            assert_ptr_equal(mr_varlong_get(bytes, end, &got), end);
            assert_true(got == value);
            assert_ptr_equal(mr_varlong_get(bytes, bytes + 16, &got), end);
            for (const uint8_t *cut = bytes; cut < end; cut++)
                assert_null(mr_varlong_get(bytes, cut, &got));
            int32_t small = 0;
            if (value >= INT32_MIN && value <= INT32_MAX) {
                assert_ptr_equal(mr_varint_get(bytes, end, &small), end);
                assert_int_equal(small, value);
            } else {
                assert_null(mr_varint_get(bytes, end, &small));
            }
        }
    }
}

static void longer_than_needed_is_read_and_too_long_is_refused(void **state)
{
    (void)state;
    static const uint8_t padded[] = {0x84, 0x80, 0x80, 0x80, 0x00};
    static const uint8_t six[] = {0x84, 0x80, 0x80, 0x80, 0x80, 0x00};
    static const uint8_t wide[] = {0xff, 0xff, 0xff, 0xff, 0x1f};
    static const uint8_t eleven[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00};
    static const uint8_t wide_long[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    int32_t value = 0;
    int64_t value_long = 0;

    assert_ptr_equal(mr_varint_get(padded, padded + sizeof padded, &value), padded + sizeof padded);
    assert_int_equal(value, 2);
    assert_null(mr_varint_get(six, six + sizeof six, &value));
    assert_null(mr_varint_get(wide, wide + sizeof wide, &value));
    assert_ptr_equal(mr_varlong_get(six, six + sizeof six, &value_long), six + sizeof six);
    assert_null(mr_varlong_get(eleven, eleven + sizeof eleven, &value_long));
    assert_null(mr_varlong_get(wide_long, wide_long + sizeof wide_long, &value_long));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_round_trips_and_is_announced_exactly),
        cmocka_unit_test(longer_than_needed_is_read_and_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
