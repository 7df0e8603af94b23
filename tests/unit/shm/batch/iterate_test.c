/* SPDX-License-Identifier: Apache-2.0 */
/* The two readings of a record, fast and general, agree on every batch and on every damage. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "shm/batch/batch.h"

static void reads_back_values_of_every_length(void **state)
{
    (void)state;
    uint8_t *at = malloc(1u << 20), value[300];
    struct mr_batch_writer w;
    struct mr_batch_iterator it;
    struct mr_batch_record r;

    assert_non_null(at);
    for (size_t i = 0; i < sizeof value; i++)
        value[i] = (uint8_t)i;
    mr_batch_open(&w, at, 1u << 20, -1, -1, -1, 1000, 0);
    for (uint32_t n = 0; n < 300; n++)
        assert_true(mr_batch_add_value(&w, 5000 + n * 37, value, n));
    uint32_t bytes = mr_batch_close(&w);
    assert_int_equal(mr_batch_iterator_init(&it, at, bytes), 0);
    for (uint32_t n = 0; n < 300; n++) {
        assert_int_equal(mr_batch_next(&it, &r), 1);
        assert_int_equal(r.offset, 1000 + n);
        assert_int_equal(r.timestamp_ms, 5000 + n * 37);
        assert_null(r.key);
        assert_int_equal(r.key_bytes, -1);
        assert_int_equal(r.value_bytes, n);
        assert_memory_equal(r.value, value, n);
        assert_int_equal(r.header_count, 0);
        assert_int_equal(r.header_bytes, 0);
    }
    assert_int_equal(mr_batch_next(&it, &r), 0);
    assert_int_equal(mr_batch_next(&it, &r), 0);
    free(at);
}

static bool same(const struct mr_batch_record *a, const struct mr_batch_record *b)
{
    return a->offset == b->offset && a->timestamp_ms == b->timestamp_ms && a->key == b->key && a->value == b->value &&
           a->headers == b->headers && a->key_bytes == b->key_bytes && a->value_bytes == b->value_bytes &&
           a->header_bytes == b->header_bytes && a->header_count == b->header_count;
}

/* Every byte of the records takes every value, unsealed: the iterator has only its own checks. The batch lies at the end of its allocation,
 * so that the address sanitizer sees any read behind it. */
static void fast_and_general_path_agree_on_any_byte(void **state)
{
    (void)state;
    uint8_t made[256];
    struct mr_batch_writer w;
    uint32_t errors = 0;

    mr_batch_open(&w, made, sizeof made, -1, -1, -1, 7, 0);
    assert_true(mr_batch_add_value(&w, 100, "first", 5));
    assert_int_equal(mr_batch_add(&w, 90, "k", 1, "v", 1, (const uint8_t *)"\x02h\x01", 3, 1), 0);
    assert_int_equal(mr_batch_add(&w, 90, NULL, -1, NULL, -1, NULL, 0, 0), 0);
    assert_true(mr_batch_add_value(&w, 100000, "0123456789", 10));
    uint32_t bytes = mr_batch_close(&w);
    uint8_t *b = malloc(bytes);
    assert_non_null(b);
    memcpy(b, made, bytes);
    for (uint32_t position = 61; position < bytes; position++) {
        for (int byte = 0; byte < 256; byte++) {
            struct mr_batch_iterator fast, general;
            struct mr_batch_record r1, r2;
            int rc1, rc2;
            b[position] = (uint8_t)byte;
            assert_int_equal(mr_batch_iterator_init(&fast, b, bytes), 0);
            assert_int_equal(mr_batch_iterator_init(&general, b, bytes), 0);
            do {
                rc1 = mr_batch_next(&fast, &r1);
                rc2 = mr_batch_next_any(&general, &r2);
                assert_int_equal(rc1, rc2);
                assert_true(rc1 != 1 || same(&r1, &r2));
            } while (rc1 == 1);
            errors += rc1 < 0;
        }
        b[position] = made[position];
    }
    assert_true(errors > 1000);
    free(b);
}

static void refuses_to_begin_with_what_is_no_batch(void **state)
{
    (void)state;
    uint8_t b[128];
    struct mr_batch_writer w;
    struct mr_batch_iterator it;

    mr_batch_open(&w, b, sizeof b, -1, -1, -1, 0, 0);
    assert_true(mr_batch_add_value(&w, 0, "v", 1));
    uint32_t bytes = mr_batch_close(&w);
    assert_int_equal(mr_batch_iterator_init(&it, b, 60), -EBADMSG);
    assert_int_equal(mr_batch_iterator_init(&it, b, bytes - 1), -EBADMSG);
    b[22] = MR_BATCH_CODEC_GZIP;
    assert_int_equal(mr_batch_iterator_init(&it, b, bytes), -EOPNOTSUPP);
    b[16] = 1;
    assert_int_equal(mr_batch_iterator_init(&it, b, bytes), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_back_values_of_every_length),
        cmocka_unit_test(fast_and_general_path_agree_on_any_byte),
        cmocka_unit_test(refuses_to_begin_with_what_is_no_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
