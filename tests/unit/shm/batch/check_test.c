/* SPDX-License-Identifier: Apache-2.0 */
/* Each reason is reached by one precise damage, and no damaged byte or cut passes. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "shm/batch/batch.h"

/* Three records at offset 100: "a"; key "k" value "bb" header h=null; null value. */
static uint32_t make(uint8_t *at, size_t room)
{
    struct mr_batch_writer w;
    struct mr_record_header header = {"h", NULL, 1, -1};
    uint8_t block[8];
    int64_t block_bytes = mr_record_headers_encode(&header, 1, block, sizeof block);

    assert_int_equal(block_bytes, 3);
    mr_batch_open(&w, at, room, -1, -1, -1, 100, 4);
    assert_true(mr_batch_add_value(&w, 10, "a", 1));
    assert_int_equal(mr_batch_add(&w, 11, "k", 1, "bb", 2, block, 3, 1), 0);
    assert_int_equal(mr_batch_add(&w, 12, NULL, -1, NULL, -1, NULL, 0, 0), 0);
    return mr_batch_close(&w);
}

enum { /* positions of records in that batch */
    REC0 = 61, /* 14 0 0 0 1 2 'a' 0 */
    REC1 = 69, /* 24 0 2 2 2 'k' 4 'b' 'b' 2 2 'h' 1 */
    REC2 = 82, /* 12 0 4 4 1 1 0 */
    END = 89,
};

static enum mr_batch_reason with(size_t position, uint8_t byte, unsigned flags)
{
    uint8_t b[128];
    uint32_t bytes = make(b, sizeof b);
    assert_int_equal(bytes, END);
    b[position] = byte;
    if (mr_batch_check_header(b, bytes) == MR_BATCH_OK)
        mr_batch_seal(b);
    return mr_batch_check(b, bytes, flags);
}

static void each_damage_has_its_reason(void **state)
{
    (void)state;
    uint8_t b[128];
    uint32_t bytes = make(b, sizeof b);

    assert_int_equal(bytes, END);
    assert_int_equal(mr_batch_check(b, bytes, 0), MR_BATCH_OK);
    assert_int_equal(mr_batch_check(b, sizeof b, 0), MR_BATCH_OK); /* more bytes behind are another batch's */
    assert_int_equal(mr_batch_check(b, 60, 0), MR_BATCH_BAD_SHORT);
    assert_int_equal(mr_batch_check(b, END - 1, 0), MR_BATCH_BAD_TRUNCATED);
    assert_int_equal(with(11, 48, 0), MR_BATCH_BAD_LENGTH);
    assert_int_equal(with(8, 0x80, 0), MR_BATCH_BAD_LENGTH);
    assert_int_equal(with(8, 0x7f, 0), MR_BATCH_BAD_TRUNCATED);
    assert_int_equal(with(16, 1, 0), MR_BATCH_BAD_MAGIC);
    assert_int_equal(with(21, 1, 0), MR_BATCH_BAD_ATTRIBUTES);
    assert_int_equal(with(22, 5, 0), MR_BATCH_BAD_ATTRIBUTES);
    assert_int_equal(with(22, 0x80, 0), MR_BATCH_BAD_ATTRIBUTES);
    assert_int_equal(with(0, 0x80, 0), MR_BATCH_BAD_OFFSETS);
    assert_int_equal(with(23, 0x80, 0), MR_BATCH_BAD_OFFSETS);
    assert_int_equal(with(57, 0x80, 0), MR_BATCH_BAD_COUNT);
    assert_int_equal(with(60, 4, 0), MR_BATCH_BAD_COUNT); /* four records, three offsets */
    assert_int_equal(with(26, 3, 0), MR_BATCH_BAD_GAP);
    assert_int_equal(with(26, 3, MR_BATCH_CHECK_COMPACTED), MR_BATCH_OK);
    assert_int_equal(with(60, 0, 0), MR_BATCH_BAD_GAP);
    assert_int_equal(with(REC0, 200, 0), MR_BATCH_BAD_RECORD);
    assert_int_equal(with(REC0, 10, 0), MR_BATCH_BAD_RECORD);      /* shorter than any record */
    assert_int_equal(with(REC0, 13, 0), MR_BATCH_BAD_RECORD);      /* negative */
    assert_int_equal(with(REC0 + 4, 3, 0), MR_BATCH_BAD_RECORD);   /* key length -2 */
    assert_int_equal(with(REC0 + 4, 40, 0), MR_BATCH_BAD_RECORD);
    assert_int_equal(with(REC0 + 5, 4, 0), MR_BATCH_BAD_RECORD);   /* value swallows the header count */
    assert_int_equal(with(REC0 + 5, 3, 0), MR_BATCH_BAD_RECORD);   /* value length -2 */
    assert_int_equal(with(REC0 + 7, 2, 0), MR_BATCH_BAD_RECORD);   /* a header, but no bytes for it */
    assert_int_equal(with(REC0 + 7, 1, 0), MR_BATCH_BAD_RECORD);   /* header count -1 */
    assert_int_equal(with(REC0 + 3, 2, 0), MR_BATCH_BAD_OFFSET_DELTA);
    assert_int_equal(with(REC2 + 3, 2, MR_BATCH_CHECK_COMPACTED), MR_BATCH_BAD_OFFSET_DELTA);
    assert_int_equal(with(REC2 + 3, 6, 0), MR_BATCH_BAD_RECORD);   /* beyond the batch's last offset */
    assert_int_equal(with(REC2 + 3, 1, 0), MR_BATCH_BAD_RECORD);   /* offset delta -1 */
    assert_int_equal(with(REC1 + 9, 0, 0), MR_BATCH_BAD_RECORD);   /* no headers, but bytes left */
    assert_int_equal(with(REC1 + 10, 1, 0), MR_BATCH_BAD_HEADERS); /* null header key */
    assert_int_equal(with(REC1 + 12, 2, 0), MR_BATCH_BAD_HEADERS);
    assert_int_equal(with(60, 2, MR_BATCH_CHECK_COMPACTED), MR_BATCH_BAD_END);
    assert_int_equal(with(REC0 + 7, 2, MR_BATCH_CHECK_NO_WALK), MR_BATCH_OK);
    for (int i = 0; i < 256; i++) /* the record's attributes mean nothing */
        assert_int_equal(with(REC0 + 1, (uint8_t)i, 0), MR_BATCH_OK);
}

/* Under the CRC no flipped bit passes; in the four uncovered fields the flips that pass are the sidecar's business. */
static void no_flipped_bit_under_the_crc_passes(void **state)
{
    (void)state;
    uint8_t b[128];
    uint32_t bytes = make(b, sizeof b);

    for (uint32_t bit = MR_BATCH_AT_MAGIC * 8; bit < bytes * 8; bit++) {
        b[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(mr_batch_check(b, bytes, MR_BATCH_CHECK_NO_WALK), MR_BATCH_OK);
        b[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(mr_batch_check(b, bytes, 0), MR_BATCH_OK);
}

static void offsets_at_the_very_end_are_refused(void **state)
{
    (void)state;
    uint8_t b[128];
    uint32_t bytes = make(b, sizeof b);

    mr_batch_stamp(b, INT64_MAX - 3, 0);
    assert_int_equal(mr_batch_check(b, bytes, 0), MR_BATCH_OK);
    mr_batch_stamp(b, INT64_MAX - 2, 0); /* the last record would have the last offset there is, and no next one */
    assert_int_equal(mr_batch_check(b, bytes, 0), MR_BATCH_BAD_OFFSETS);
}

static void compressed_batches_are_checked_without_their_records(void **state)
{
    (void)state;
    assert_int_equal(with(22, MR_BATCH_CODEC_ZSTD, 0), MR_BATCH_OK);
    assert_string_equal(mr_batch_codec_name(MR_BATCH_CODEC_ZSTD), "zstd");
    assert_string_equal(mr_batch_codec_name((enum mr_batch_codec)9), "unknown");
}

static void every_reason_has_its_own_text(void **state)
{
    (void)state;
    for (int i = 0; i < MR_BATCH_REASON_COUNT; i++) {
        assert_non_null(mr_batch_reason_text((enum mr_batch_reason)i));
        for (int k = 0; k < i; k++)
            assert_string_not_equal(mr_batch_reason_text((enum mr_batch_reason)i), mr_batch_reason_text((enum mr_batch_reason)k));
    }
    assert_string_equal(mr_batch_reason_text((enum mr_batch_reason)-1), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_damage_has_its_reason),
        cmocka_unit_test(no_flipped_bit_under_the_crc_passes),
        cmocka_unit_test(offsets_at_the_very_end_are_refused),
        cmocka_unit_test(compressed_batches_are_checked_without_their_records),
        cmocka_unit_test(every_reason_has_its_own_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
