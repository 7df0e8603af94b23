/* SPDX-License-Identifier: Apache-2.0 */
/* Every way to stop, with the valid end and what lies behind; cuts; and no flipped bit or cut file that moves the end without notice. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <cmocka.h>

#include "tests/support/segment_image.h"

static struct image image;
static uint8_t buffer[IMAGE_LOG_BYTES + 32768];
static struct mr_segment_scan_result result;

static void make(uint32_t batches)
{
    image_init(&image);
    for (uint32_t i = 0; i < batches; i++) {
        image.epoch = 1 + (int32_t)(i / 3);
        image_append(&image, 1 + i % 4, 20 + i, (uint8_t)i);
    }
}

static enum mr_segment_stop scan(size_t buffer_bytes)
{
    struct mr_segment_scan_options options = image_scan_options(&image, buffer, buffer_bytes);
    return mr_segment_scan(&options, &result);
}

static void assert_stopped(enum mr_segment_stop stop, uint32_t batches, bool behind)
{
    assert_string_equal(mr_segment_stop_text(scan(sizeof buffer)), mr_segment_stop_text(stop));
    assert_int_equal(result.end.position, image.position[batches]);
    assert_int_equal(result.end.next_offset, image.offset[batches]);
    assert_int_equal(result.batch_count, batches);
    assert_int_equal(result.behind, behind);
    assert_false(result.behind_gave_up);
}

static void walks_to_the_zeros_with_any_buffer(void **state)
{
    (void)state;
    make(100);
    for (size_t blocks = 3; blocks < 24; blocks++) {
        assert_int_equal(scan(blocks * 4096), MR_SEGMENT_END_ZEROS);
        assert_true(mr_segment_scan_is_clean(&result));
        assert_int_equal(result.end.position, image.log_end);
        assert_int_equal(result.end.next_offset, image.next_offset);
        assert_int_equal(result.end.side_position, image.side_end);
        assert_int_equal(result.end.chain, image.chain);
        assert_int_equal(result.end.epoch, image.epoch);
        assert_int_equal(result.salt, IMAGE_SALT);
        assert_int_equal(result.batch_count, 100);
        assert_int_equal(result.record_count, image.next_offset - IMAGE_BASE_OFFSET);
        assert_int_equal(result.max_timestamp_ms, 1000 + image.next_offset - 1);
    }
}

static void ends_exactly_where_the_file_does(void **state)
{
    (void)state;
    make(7);
    struct mr_segment_scan_options options = image_scan_options(&image, buffer, sizeof buffer);
    options.log.bytes = image.log_end;
    options.side.bytes = image.side_end;
    assert_int_equal(mr_segment_scan(&options, &result), MR_SEGMENT_END_EXACT);
    assert_true(mr_segment_scan_is_clean(&result));
    options.log.bytes = image.log_end - 1;
    assert_int_equal(mr_segment_scan(&options, &result), MR_SEGMENT_PAST_END);
    assert_int_equal(result.end.position, image.position[6]);
    options.log.bytes = image.position[6] + 20;
    assert_int_equal(mr_segment_scan(&options, &result), MR_SEGMENT_PAST_END);
    options.log.bytes = 0;
    assert_int_equal(mr_segment_scan(&options, &result), MR_SEGMENT_END_EXACT);
    assert_int_equal(result.end.next_offset, IMAGE_BASE_OFFSET);
    assert_int_equal(result.max_timestamp_ms, -1);
}

static void each_damage_has_its_stop(void **state)
{
    (void)state;
    make(9);
    image.log[image.position[4] + 70] ^= 1;
    assert_stopped(MR_SEGMENT_BAD_CRC, 4, true);
    assert_int_equal(result.behind_position, image.position[5]);
    assert_int_equal(result.behind_offset, image.offset[5]);
    assert_int_equal(result.behind_end, image.log_end);

    make(9);
    image.log[image.position[8] + 70] ^= 1; /* the last one: nothing behind, a torn tail perhaps */
    assert_stopped(MR_SEGMENT_BAD_CRC, 8, false);

    make(9);
    image.log[image.position[4] + MR_BATCH_AT_MAGIC] = 1;
    assert_stopped(MR_SEGMENT_BAD_HEADER, 4, true);
    assert_int_equal(result.batch_reason, MR_BATCH_BAD_MAGIC);

    make(9);
    mr_be32_put(image.log + image.position[4] + MR_BATCH_AT_LENGTH, 1u << 30);
    assert_stopped(MR_SEGMENT_PAST_END, 4, true);

    make(9);
    memset(image.log + image.position[4], 0, image.position[5] - image.position[4]); /* a lost write */
    assert_stopped(MR_SEGMENT_END_ZEROS, 4, true);
    assert_false(mr_segment_scan_is_clean(&result));

    make(9);
    mr_batch_stamp(image.log + image.position[4], (int64_t)image.offset[4] + 1, 2); /* under no CRC but the sidecar's */
    assert_stopped(MR_SEGMENT_BAD_SIDECAR, 4, true);

    make(9);
    image.side[64 + 16 * 4 + 12] ^= 1;
    assert_stopped(MR_SEGMENT_BAD_SIDECAR, 4, true);

    make(9);
    memset(image.side + 64 + 16 * 8, 0, 16);
    assert_stopped(MR_SEGMENT_NO_SIDECAR, 8, false);

    make(9);
    image.side[20] ^= 1;
    assert_stopped(MR_SEGMENT_BAD_SIDECAR_HEADER, 0, true);
}

static void without_a_sidecar_offsets_and_epochs_decide(void **state)
{
    (void)state;
    make(9);
    struct mr_segment_scan_options options = image_scan_options(&image, buffer, sizeof buffer);
    options.side.read = NULL;
    assert_int_equal(mr_segment_scan(&options, &result), MR_SEGMENT_END_ZEROS);
    assert_int_equal(result.batch_count, 9);

    mr_batch_stamp(image.log + image.position[4], (int64_t)image.offset[4] + 1, 2);
    assert_int_equal(mr_segment_scan(&options, &result), MR_SEGMENT_GAP);
    assert_int_equal(result.end.position, image.position[4]);
    options.flags |= MR_SEGMENT_SCAN_COMPACTED; /* may jump ahead, and then the next one is below */
    assert_int_equal(mr_segment_scan(&options, &result), MR_SEGMENT_GAP);
    assert_int_equal(result.end.position, image.position[5]);

    mr_batch_stamp(image.log + image.position[4], (int64_t)image.offset[4], 1);
    assert_int_equal(mr_batch_leader_epoch(image.log + image.position[3]), 2);
    assert_int_equal(mr_segment_scan(&options, &result), MR_SEGMENT_EPOCH_BACK);
    assert_int_equal(result.end.position, image.position[4]);

    options.start.epoch = 5;
    assert_int_equal(mr_segment_scan(&options, &result), MR_SEGMENT_EPOCH_BACK);
    assert_int_equal(result.end.position, 0);
}

static void goes_on_from_a_point(void **state)
{
    (void)state;
    make(9);
    struct mr_segment_scan_options options = image_scan_options(&image, buffer, sizeof buffer);
    options.log.bytes = image.position[5];
    assert_int_equal(mr_segment_scan(&options, &result), MR_SEGMENT_END_EXACT);
    options.start = result.end;
    options.log.bytes = IMAGE_LOG_BYTES;
    assert_int_equal(mr_segment_scan(&options, &result), MR_SEGMENT_END_ZEROS);
    assert_int_equal(result.batch_count, 4);
    assert_int_equal(result.end.position, image.log_end);
}

static void says_how_large_a_buffer_it_needs(void **state)
{
    (void)state;
    image_init(&image);
    image_append(&image, 1, 10, 'a');
    image_append(&image, 5, 4000, 'b');
    image_append(&image, 1, 10, 'c');
    assert_int_equal(scan(3 * 4096), MR_SEGMENT_TOO_LARGE);
    assert_int_equal(result.end.position, image.position[1]);
    assert_true(result.need_bytes <= sizeof buffer);
    assert_int_equal(scan(result.need_bytes), MR_SEGMENT_END_ZEROS);
    assert_int_equal(result.batch_count, 3);
}

static void follows_cuts_also_nested_and_repeated(void **state)
{
    (void)state;
    make(10);
    image_cut(&image, 7, true);
    assert_stopped(MR_SEGMENT_END_ZEROS, 7, false);
    image_append(&image, 2, 33, 'x');
    assert_stopped(MR_SEGMENT_END_ZEROS, 8, false);
    image_cut(&image, 8, true); /* at the end: nothing is lost */
    image_append(&image, 1, 5, 'y');
    image_cut(&image, 3, true);
    image_cut(&image, 2, true);
    image_append(&image, 3, 50, 'z');
    image_append(&image, 3, 51, 'z');
    image_cut(&image, 3, true);
    image_append(&image, 3, 51, 'z'); /* the same batch again */
    assert_stopped(MR_SEGMENT_END_ZEROS, 4, false);
    assert_int_equal(result.end.side_position, image.side_end);
    image_cut(&image, 0, true);
    assert_stopped(MR_SEGMENT_END_ZEROS, 0, false);
    image_append(&image, 1, 1, 'q');
    assert_stopped(MR_SEGMENT_END_ZEROS, 1, false);
}

/* The cut is known, the bytes behind it are still the old ones: the sidecar no longer leads to them. */
static void old_batches_behind_a_cut_are_not_in_the_log(void **state)
{
    (void)state;
    make(10);
    image_cut(&image, 7, false);
    assert_int_equal(scan(sizeof buffer), MR_SEGMENT_NO_SIDECAR);
    assert_int_equal(result.end.position, image.position[7]);
    assert_int_equal(result.batch_count, 7);
    image_append(&image, 2, 100, 'x'); /* ends inside the last but one of them: what is there is no header */
    assert_int_equal(scan(sizeof buffer), MR_SEGMENT_PAST_END);
    assert_int_equal(result.batch_count, 8);
    assert_int_equal(result.end.position, image.log_end);
}

static void a_false_cut_or_a_cut_elsewhere_is_noticed(void **state)
{
    (void)state;
    make(10);
    image_cut(&image, 7, true);
    image.side[image.side_end - 4] ^= 1; /* its chain */
    assert_stopped(MR_SEGMENT_END_ZEROS, 7, false); /* entries 7 to 9 are alive then, and their batches are gone */
    assert_int_equal(result.end.side_position, MR_SIDECAR_HEADER_BYTES + 7 * MR_SIDECAR_ENTRY_BYTES);

    make(10);
    struct mr_sidecar_entry cut = mr_sidecar_cut_next(image.chain, (uint32_t)image.position[7] + 1,
                                                      (uint32_t)(image.offset[7] - IMAGE_BASE_OFFSET));
    image_put_entry(&image, &cut);
    assert_int_equal(scan(sizeof buffer), MR_SEGMENT_BAD_SIDECAR);
    assert_int_equal(result.batch_count, 8); /* that cut is beyond batch 7's start, but not at a batch's end */
}

/* D5: no single flipped bit within the log or its sidecar goes unnoticed: the end moves, and never past the damage. */
static void every_flipped_bit_is_noticed(void **state)
{
    (void)state;
    make(6);
    for (uint64_t bit = 0; bit < image.log_end * 8; bit++) {
        image.log[bit / 8] ^= (uint8_t)(1 << bit % 8);
        scan(sizeof buffer);
        assert_true(result.end.position <= bit / 8);
        assert_true(result.end.position < image.log_end && !mr_segment_scan_is_clean(&result));
        image.log[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (uint64_t bit = 0; bit < image.side_end * 8; bit++) {
        image.side[bit / 8] ^= (uint8_t)(1 << bit % 8);
        scan(sizeof buffer);
        assert_true(result.end.position < image.log_end && !mr_segment_scan_is_clean(&result));
        image.side[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(scan(sizeof buffer), MR_SEGMENT_END_ZEROS);
}

/* Record values that are whole batches themselves, as of a program that stores batches: the search behind gives up rather than run on. */
static void embedded_headers_do_not_make_the_search_quadratic(void **state)
{
    (void)state;
    make(2);
    for (uint64_t at = image.log_end; at + 61 < IMAGE_LOG_BYTES; at += 62) {
        memcpy(image.log + at, image.log, 61);
        mr_batch_stamp(image.log + at, (int64_t)image.next_offset + 1, 9);
        mr_be32_put(image.log + at + 8, (uint32_t)(IMAGE_LOG_BYTES - at - 12));
    }
    struct mr_segment_scan_options options = image_scan_options(&image, buffer, sizeof buffer);
    mr_segment_scan(&options, &result);
    assert_false(result.behind);
    assert_int_equal(result.end.position, image.log_end);
}

static int refuse_third(void *context, const struct mr_segment_point *at, const uint8_t *batch)
{
    uint32_t *seen = context;
    assert_int_equal(at->next_offset, mr_batch_base_offset(batch));
    assert_int_equal(at->position, image.position[*seen]);
    return ++*seen == 3 ? -ECANCELED : 0;
}

static void the_callback_sees_each_batch_and_can_stop(void **state)
{
    (void)state;
    uint32_t seen = 0;
    make(9);
    struct mr_segment_scan_options options = image_scan_options(&image, buffer, sizeof buffer);
    options.each = refuse_third;
    options.context = &seen;
    assert_int_equal(mr_segment_scan(&options, &result), MR_SEGMENT_REFUSED);
    assert_int_equal(result.error, -ECANCELED);
    assert_int_equal(result.batch_count, 2);
}

static int64_t failing_read(const struct mr_segment_source *source, uint64_t position, void *bytes, size_t count)
{
    if (position > 8192)
        return -EIO;
    count = mr_min_u64(count, 4096);
    memcpy(bytes, (const uint8_t *)source->context + position, count);
    return (int64_t)count;
}

static void read_errors_are_told_apart_from_damage(void **state)
{
    (void)state;
    make(100);
    struct mr_segment_scan_options options = image_scan_options(&image, buffer, 3 * 4096);
    options.log.read = failing_read;
    assert_int_equal(mr_segment_scan(&options, &result), MR_SEGMENT_READ_FAILED);
    assert_int_equal(result.error, -EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walks_to_the_zeros_with_any_buffer),
        cmocka_unit_test(ends_exactly_where_the_file_does),
        cmocka_unit_test(each_damage_has_its_stop),
        cmocka_unit_test(without_a_sidecar_offsets_and_epochs_decide),
        cmocka_unit_test(goes_on_from_a_point),
        cmocka_unit_test(says_how_large_a_buffer_it_needs),
        cmocka_unit_test(follows_cuts_also_nested_and_repeated),
        cmocka_unit_test(old_batches_behind_a_cut_are_not_in_the_log),
        cmocka_unit_test(a_false_cut_or_a_cut_elsewhere_is_noticed),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(embedded_headers_do_not_make_the_search_quadratic),
        cmocka_unit_test(the_callback_sees_each_batch_and_can_stop),
        cmocka_unit_test(read_errors_are_told_apart_from_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
