/* SPDX-License-Identifier: Apache-2.0 */
/* The two indexes of a segment, against a naive reading of the same points, and what is not one. */
#include "tests/support/unit.h"

#include <errno.h>
#include <string.h>

#include "shm/base/bits.h"
#include "shm/base/random.h"
#include "shm/segment/index.h"

#define POINTS 40u
#define BASE   7000000000ull

static uint32_t draw_points(struct mr_random *random, struct mr_index_point *points)
{
    uint32_t count = (uint32_t)mr_random_below(random, POINTS + 1);
    uint64_t offset = BASE, position = 0, max_offset = BASE;
    int64_t max_ms = INT64_MIN;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t batches = 1 + mr_random_below(random, 5);
        for (uint64_t b = 0; b < batches; b++) {
            int64_t at_ms = 1000 + (int64_t)mr_random_below(random, 300);
            offset += 1 + mr_random_below(random, 10);
            position += 61 + mr_random_below(random, 5000);
            if (at_ms > max_ms) {
                max_ms = at_ms;
                max_offset = offset;
            }
        }
        points[i] = (struct mr_index_point){.last_offset = offset, .position = position, .max_timestamp_ms = max_ms, .max_offset = max_offset};
    }
    return count;
}

static void a_time_is_found_where_a_naive_search_finds_it(void **state)
{
    struct mr_index_point points[POINTS];
    uint8_t bytes[POINTS * MR_TIME_INDEX_ENTRY_BYTES];
    struct mr_random random;

    mr_random_init(&random, 11, 1);
    for (uint32_t round = 0; round < 2000; round++) {
        uint32_t count = draw_points(&random, points);
        size_t size = mr_time_index_encode(points, count, BASE, bytes);
        int64_t time_ms = 990 + (int64_t)mr_random_below(&random, 330);
        const struct mr_index_point *best = NULL;
        struct mr_time_index_hint hint;
        for (uint32_t i = 0; i < count; i++)
            if (points[i].max_timestamp_ms < time_ms && (best == NULL || points[i].max_timestamp_ms > best->max_timestamp_ms))
                best = &points[i];
        int rc = mr_time_index_find(bytes, size, BASE, time_ms, &hint);
        if (count == 0) {
            assert_int_equal(rc, -EBADMSG);
            continue;
        }
        assert_int_equal(rc, best != NULL ? 1 : 0);
        if (best == NULL)
            continue;
        assert_int_equal(hint.offset, best->max_offset);
        assert_int_equal(hint.timestamp_ms, best->max_timestamp_ms);
        assert_int_equal(hint.all_before, points[count - 1].max_timestamp_ms < time_ms);
    }
}

static void entries_are_as_kafka_lays_them_out(void **state)
{
    const struct mr_index_point points[] = {{.last_offset = BASE + 9, .position = 0, .max_timestamp_ms = 5000, .max_offset = BASE + 4},
                                            {.last_offset = BASE + 20, .position = 700, .max_timestamp_ms = 5000, .max_offset = BASE + 4},
                                            {.last_offset = BASE + 21, .position = 900, .max_timestamp_ms = 5001, .max_offset = BASE + 21}};
    uint8_t bytes[64];

    assert_int_equal(mr_index_encode(points, 3, BASE, bytes), 24);
    assert_int_equal(mr_be32_get(bytes + 8), 20);
    assert_int_equal(mr_be32_get(bytes + 12), 700);
    assert_int_equal(mr_time_index_encode(points, 3, BASE, bytes), 24); /* times grow strictly */
    assert_int_equal(mr_be64_get(bytes), 5000);
    assert_int_equal(mr_be32_get(bytes + 8), 4);
    assert_int_equal(mr_be64_get(bytes + 12), 5001);
    assert_int_equal(mr_be32_get(bytes + 20), 21);
}

static void what_does_not_fit_31_bits_is_left_out(void **state)
{
    const struct mr_index_point points[] = {{.last_offset = BASE + 9, .position = 0, .max_timestamp_ms = 1, .max_offset = BASE + 9},
                                            {.last_offset = BASE + 0x80000000ull, .position = 700, .max_timestamp_ms = 2, .max_offset = BASE + 10}};
    uint8_t bytes[64];

    assert_int_equal(mr_index_encode(points, 2, BASE, bytes), MR_INDEX_ENTRY_BYTES);
    assert_int_equal(mr_time_index_encode(points, 2, BASE, bytes), MR_TIME_INDEX_ENTRY_BYTES);
}

static void what_is_no_time_index_is_refused(void **state)
{
    const struct mr_index_point points[] = {{.last_offset = BASE + 9, .max_timestamp_ms = 5000, .max_offset = BASE + 4},
                                            {.last_offset = BASE + 20, .max_timestamp_ms = 6000, .max_offset = BASE + 14}};
    struct mr_time_index_hint hint;
    uint8_t bytes[64], broken[64];
    size_t size = mr_time_index_encode(points, 2, BASE, bytes);

    assert_int_equal(mr_time_index_find(bytes, size, BASE, 5500, &hint), 1);
    assert_int_equal(mr_time_index_find(bytes, 0, BASE, 5500, &hint), -EBADMSG);
    assert_int_equal(mr_time_index_find(bytes, size - 1, BASE, 5500, &hint), -EBADMSG);
    memcpy(broken, bytes, size);
    memcpy(broken + 12, broken, 8); /* times that do not grow */
    assert_int_equal(mr_time_index_find(broken, size, BASE, 5500, &hint), -EBADMSG);
    memcpy(broken, bytes, size);
    memcpy(broken + 20, broken + 8, 4); /* offsets that do not */
    assert_int_equal(mr_time_index_find(broken, size, BASE, 5500, &hint), -EBADMSG);
    memcpy(broken, bytes, size);
    broken[20] |= 0x80; /* a negative one */
    assert_int_equal(mr_time_index_find(broken, size, BASE, 5500, &hint), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_is_found_where_a_naive_search_finds_it),
        cmocka_unit_test(entries_are_as_kafka_lays_them_out),
        cmocka_unit_test(what_does_not_fit_31_bits_is_left_out),
        cmocka_unit_test(what_is_no_time_index_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
