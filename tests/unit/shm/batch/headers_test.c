/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "shm/batch/headers.h"

static const struct mr_record_header three[] = {{"trace", "abc", 5, 3}, {"", "", 0, 0}, {"n", NULL, 1, -1}};
static const uint8_t three_bytes[] = {10, 't', 'r', 'a', 'c', 'e', 6, 'a', 'b', 'c', 0, 0, 2, 'n', 1};

static void encodes_and_reads_back_empty_and_null(void **state)
{
    (void)state;
    uint8_t block[32];
    const uint8_t *at = block;
    struct mr_record_header h;

    assert_int_equal(mr_record_headers_bytes(three, 3), sizeof three_bytes);
    assert_int_equal(mr_record_headers_encode(three, 3, block, sizeof three_bytes), sizeof three_bytes);
    assert_memory_equal(block, three_bytes, sizeof three_bytes);
    assert_int_equal(mr_record_headers_encode(three, 3, block, sizeof three_bytes - 1), -ENOSPC);
    assert_int_equal(mr_record_headers_encode(NULL, 0, block, 0), 0);
    assert_int_equal(mr_record_headers_encode(three, 3, block, sizeof block), sizeof three_bytes);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(mr_record_headers_next(&at, block + sizeof three_bytes, &h), 1);
        assert_int_equal(h.key_bytes, three[i].key_bytes);
        assert_int_equal(h.value_bytes, three[i].value_bytes);
        assert_memory_equal(h.key, three[i].key, (size_t)h.key_bytes);
        if (h.value_bytes > 0)
            assert_memory_equal(h.value, three[i].value, (size_t)h.value_bytes);
        assert_true((h.value == NULL) == (three[i].value == NULL));
    }
    assert_int_equal(mr_record_headers_next(&at, block + sizeof three_bytes, &h), 0);
}

static void refuses_headers_that_cannot_be(void **state)
{
    (void)state;
    uint8_t block[32];
    struct mr_record_header null_key = {NULL, "v", -1, 1}, bad_value = {"k", NULL, 1, -2};

    assert_int_equal(mr_record_headers_encode(&null_key, 1, block, sizeof block), -EINVAL);
    assert_int_equal(mr_record_headers_encode(&bad_value, 1, block, sizeof block), -EINVAL);
}

static void a_block_is_good_for_its_exact_count_and_size_only(void **state)
{
    (void)state;
    for (uint32_t count = 0; count < 6; count++)
        assert_int_equal(mr_record_headers_check(three_bytes, sizeof three_bytes, count), count == 3);
    for (size_t bytes = 0; bytes < sizeof three_bytes; bytes++)
        assert_false(mr_record_headers_check(three_bytes, bytes, 3));
    assert_true(mr_record_headers_check(NULL, 0, 0));
    assert_false(mr_record_headers_check(NULL, 0, UINT32_MAX));
    assert_false(mr_record_headers_check((const uint8_t *)"\x01\x00", 2, 1)); /* null key */
    assert_false(mr_record_headers_check((const uint8_t *)"\x00\x03", 2, 1)); /* value length -2 */
    assert_false(mr_record_headers_check((const uint8_t *)"\xfe\xff\xff\xff\x0f\x01", 6, 1)); /* key longer than the block */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodes_and_reads_back_empty_and_null),
        cmocka_unit_test(refuses_headers_that_cannot_be),
        cmocka_unit_test(a_block_is_good_for_its_exact_count_and_size_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
