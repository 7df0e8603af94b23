/* SPDX-License-Identifier: Apache-2.0 */
/* The sidecar's bytes, with the chain computed bit by bit from its definition. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <cmocka.h>

#include "tests/support/naive_batch.h"
#include "tests/support/segment_image.h"

static void header_has_the_bytes_of_its_table(void **state)
{
    (void)state;
    uint8_t at[64];
    struct mr_sidecar_header header;

    mr_sidecar_header_encode(at, 0x11223344, &image_topic, 9, 0x0102030405060708);
    assert_memory_equal(at, "Mrside01", 8);
    assert_memory_equal(at + 8, "\x01\x00\x00\x00\x44\x33\x22\x11", 8);
    assert_memory_equal(at + 16, image_topic.bytes, 16);
    assert_memory_equal(at + 32, "\x09\x00\x00\x00\x00\x00\x00\x00\x08\x07\x06\x05\x04\x03\x02\x01", 16);
    uint32_t crc = naive_crc32c(at, 60);
    assert_memory_equal(at + 60, &crc, 4);
    assert_int_equal(mr_sidecar_header_check(at, &header), 0);
    assert_int_equal(header.salt, 0x11223344);
    for (int bit = 0; bit < 64 * 8; bit++) {
        at[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(mr_sidecar_header_check(at, &header), -EBADMSG);
        at[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    at[8] = 2;
    crc = naive_crc32c(at, 60);
    memcpy(at + 60, &crc, 4);
    assert_int_equal(mr_sidecar_header_check(at, &header), -ENOTSUP);
}

static uint32_t naive_chain(uint32_t before, uint32_t position, const uint8_t *batch)
{
    uint8_t bytes[69];
    for (int i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(before >> 8 * i);
        bytes[4 + i] = (uint8_t)(position >> 8 * i);
    }
    memcpy(bytes + 8, batch, 61);
    return naive_crc32c(bytes, sizeof bytes);
}

static void chain_runs_through_batches_and_cuts(void **state)
{
    (void)state;
    static struct image image;
    struct mr_sidecar_entry e;
    uint32_t chain = IMAGE_SALT;

    image_init(&image);
    image_append(&image, 2, 10, 'a');
    image_append(&image, 3, 20, 'b');
    for (int i = 0; i < 2; i++) {
        e = mr_sidecar_entry_read(image.side + 64 + 16 * i);
        uint32_t before = chain;
        chain = naive_chain(chain, (uint32_t)image.position[i], image.log + image.position[i]);
        assert_int_equal(e.position, image.position[i]);
        assert_int_equal(e.batch_bytes, image.position[i + 1] - image.position[i]);
        assert_int_equal(e.base_offset_delta, image.offset[i] - IMAGE_BASE_OFFSET);
        assert_int_equal(e.chain, chain);
        assert_true(mr_sidecar_check_entry(&e, before, e.position, image.log + e.position, IMAGE_BASE_OFFSET));
        assert_false(mr_sidecar_check_entry(&e, before + 1, e.position, image.log + e.position, IMAGE_BASE_OFFSET));
        assert_false(mr_sidecar_check_entry(&e, before, e.position + 1, image.log + e.position, IMAGE_BASE_OFFSET));
        assert_false(mr_sidecar_check_entry(&e, before, e.position, image.log + e.position, IMAGE_BASE_OFFSET + 1));
    }
    image_cut(&image, 1, true);
    e = mr_sidecar_entry_read(image.side + 64 + 32);
    uint32_t words[4] = {chain, 0xffffffff, (uint32_t)image.position[1], 2};
    assert_true(mr_sidecar_is_cut(&e));
    assert_int_equal(e.chain, naive_crc32c((const uint8_t *)words, sizeof words));
    assert_true(mr_sidecar_check_cut(&e, chain));
    assert_false(mr_sidecar_check_cut(&e, chain ^ 1));
    e.base_offset_delta++;
    assert_false(mr_sidecar_check_cut(&e, chain));
}

/* The four fields that Kafka's CRC does not cover: any flipped bit of the 61 header bytes breaks the entry. */
static void every_header_bit_is_covered(void **state)
{
    (void)state;
    static struct image image;

    image_init(&image);
    image_append(&image, 2, 10, 'a');
    struct mr_sidecar_entry e = mr_sidecar_entry_read(image.side + 64);
    for (int bit = 0; bit < 61 * 8; bit++) {
        image.log[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(mr_sidecar_check_entry(&e, IMAGE_SALT, 0, image.log, IMAGE_BASE_OFFSET));
        image.log[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(mr_sidecar_check_entry(&e, IMAGE_SALT, 0, image.log, IMAGE_BASE_OFFSET));
}

static void names_round_trip(void **state)
{
    (void)state;
    char name[MR_SEGMENT_NAME_BYTES_MAX];
    uint64_t offset;

    mr_segment_name(name, 42, "log");
    assert_string_equal(name, "00000000000000000042.log");
    assert_true(mr_segment_name_parse(name, "log", &offset));
    assert_int_equal(offset, 42);
    assert_false(mr_segment_name_parse(name, "sidecar", &offset));
    assert_false(mr_segment_name_parse("0000000000000000042.log", "log", &offset));
    assert_false(mr_segment_name_parse("99999999999999999999.log", "log", &offset));
    assert_false(mr_segment_name_parse("00000000000000000042.log.tmp", "log", &offset));
    assert_false(mr_segment_name_parse("", "log", &offset));
    mr_segment_name(name, INT64_MAX, "snapshot");
    assert_string_equal(name, "09223372036854775807.snapshot");
    assert_true(mr_segment_name_parse(name, "snapshot", &offset));
    assert_true(offset == INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_has_the_bytes_of_its_table),
        cmocka_unit_test(chain_runs_through_batches_and_cuts),
        cmocka_unit_test(every_header_bit_is_covered),
        cmocka_unit_test(names_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
