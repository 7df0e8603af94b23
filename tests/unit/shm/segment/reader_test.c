/* SPDX-License-Identifier: Apache-2.0 */
/* The cold reader finds every offset, with and without a sidecar and whatever the sidecar says, and never passes the durable end. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support/segment_image.h"

static struct image image;
static _Alignas(4096) uint8_t buffer[IMAGE_LOG_BYTES + 8192];
static struct mr_segment_reader reader;

static void make(uint32_t batches)
{
    image_init(&image);
    for (uint32_t i = 0; i < batches; i++)
        image_append(&image, 1 + i % 5, 30 + i, (uint8_t)i);
}

static void begin(uint64_t durable_end, size_t buffer_bytes)
{
    struct mr_segment_source log = mr_segment_source_memory(image.log, durable_end);
    mr_segment_reader_init(&reader, &log, IMAGE_BASE_OFFSET, buffer, buffer_bytes);
}

static uint32_t batch_of(uint64_t offset)
{
    uint32_t i = 0;
    while (image.offset[i + 1] <= offset)
        i++;
    return i;
}

static void reads_all_batches_in_order_up_to_the_durable_end(void **state)
{
    (void)state;
    const uint8_t *batch;
    uint32_t bytes;

    make(100);
    begin(image.position[40] + 5000, 8192);
    uint32_t whole = 0;
    while (image.position[whole + 1] <= reader.log.bytes)
        whole++;
    for (uint32_t i = 0; i < 100; i++) {
        if (i == whole) {
            assert_int_equal(mr_segment_reader_next(&reader, &batch, &bytes), 0);
            mr_segment_reader_extend(&reader, IMAGE_LOG_BYTES);
        }
        assert_int_equal(mr_segment_reader_next(&reader, &batch, &bytes), 1);
        assert_int_equal(bytes, image.position[i + 1] - image.position[i]);
        assert_memory_equal(batch, image.log + image.position[i], bytes);
    }
    assert_int_equal(mr_segment_reader_next(&reader, &batch, &bytes), 0); /* zeros */
}

static void finds_every_offset(void **state)
{
    (void)state;
    const uint8_t *batch;
    uint32_t bytes;
    make(100);
    struct mr_segment_source side = mr_segment_source_memory(image.side, IMAGE_SIDE_BYTES);
    for (int with_side = 0; with_side < 2; with_side++) {
        begin(IMAGE_LOG_BYTES, 8192);
        for (uint64_t offset = IMAGE_BASE_OFFSET; offset < image.next_offset; offset++) {
            assert_int_equal(mr_segment_reader_find(&reader, with_side ? &side : NULL, offset), 0);
            assert_int_equal(reader.position, image.position[batch_of(offset)]);
            assert_int_equal(mr_segment_reader_next(&reader, &batch, &bytes), 1);
            assert_true((uint64_t)mr_batch_base_offset(batch) <= offset && (uint64_t)mr_batch_last_offset(batch) >= offset);
        }
        assert_int_equal(mr_segment_reader_find(&reader, with_side ? &side : NULL, image.next_offset), -ENOENT);
        assert_int_equal(mr_segment_reader_find(&reader, with_side ? &side : NULL, IMAGE_BASE_OFFSET - 1), -ERANGE);
    }
    begin(image.position[10] + 1, 8192); /* the eleventh batch is not durable */
    assert_int_equal(mr_segment_reader_find(&reader, &side, image.offset[10] - 1), 0);
    assert_int_equal(mr_segment_reader_find(&reader, &side, image.offset[10]), -ENOENT);
}

static void finds_offsets_whatever_the_sidecar_says(void **state)
{
    (void)state;
    struct mr_segment_source side = mr_segment_source_memory(image.side, IMAGE_SIDE_BYTES);
    make(100);
    image_cut(&image, 20, true); /* entries out of order */
    for (uint32_t i = 0; i < 50; i++)
        image_append(&image, 7, 10, 'n');
    for (int round = 0; round < 3; round++) {
        begin(IMAGE_LOG_BYTES, 8192);
        for (uint64_t offset = IMAGE_BASE_OFFSET; offset < image.next_offset; offset += 3) {
            assert_int_equal(mr_segment_reader_find(&reader, &side, offset), 0);
            assert_int_equal(reader.position, image.position[batch_of(offset)]);
        }
        if (round == 0)
            for (size_t i = 64; i < sizeof image.side; i++)
                image.side[i] = (uint8_t)(i * 131 >> 3);
        else
            memset(image.side, 0xff, sizeof image.side);
    }
}

static void compacted_segments_give_the_next_batch(void **state)
{
    (void)state;
    make(10);
    mr_batch_stamp(image.log + image.position[9], (int64_t)image.offset[9] + 50, 1);
    begin(IMAGE_LOG_BYTES, 8192);
    assert_int_equal(mr_segment_reader_find(&reader, NULL, image.offset[9] + 7), 0);
    assert_int_equal(reader.position, image.position[9]);
}

static void damage_is_an_error_and_large_batches_ask_for_a_buffer(void **state)
{
    (void)state;
    const uint8_t *batch;
    uint32_t bytes;

    image_init(&image);
    image_append(&image, 1, 100, 'a');
    image_append(&image, 5, 4000, 'b');
    begin(IMAGE_LOG_BYTES, 8192);
    assert_int_equal(mr_segment_reader_next(&reader, &batch, &bytes), 1);
    assert_int_equal(mr_segment_reader_next(&reader, &batch, &bytes), -EMSGSIZE);
    assert_true(reader.need_bytes <= sizeof buffer);
    mr_segment_reader_set_buffer(&reader, buffer, reader.need_bytes);
    assert_int_equal(mr_segment_reader_next(&reader, &batch, &bytes), 1);
    assert_int_equal(bytes, image.position[2] - image.position[1]);
    image.log[image.position[1] + 1000] ^= 4;
    mr_segment_reader_set_buffer(&reader, buffer, sizeof buffer);
    mr_segment_reader_seek(&reader, image.position[1]);
    assert_int_equal(mr_segment_reader_next(&reader, &batch, &bytes), -EBADMSG);
    image.log[image.position[1] + MR_BATCH_AT_MAGIC] = 0;
    mr_segment_reader_set_buffer(&reader, buffer, sizeof buffer);
    assert_int_equal(mr_segment_reader_next(&reader, &batch, &bytes), -EBADMSG);
}

static void reads_a_file_also_direct(void **state)
{
    (void)state;
    char path[] = "/tmp/mr_reader_test.XXXXXX";
    const uint8_t *batch;
    uint32_t bytes, count;

    make(150);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, image.log, image.log_end), (ssize_t)image.log_end); /* cut: the last block is partial */
    close(fd);
    for (int direct = 0; direct < 2; direct++) {
        fd = open(path, O_RDONLY | (direct ? O_DIRECT : 0));
        if (fd < 0 && direct)
            break; /* tmpfs refuses O_DIRECT */
        assert_true(fd >= 0);
        struct mr_segment_source log = mr_segment_source_fd(fd, image.log_end);
        mr_segment_reader_init(&reader, &log, IMAGE_BASE_OFFSET, buffer, 8192);
        for (count = 0; mr_segment_reader_next(&reader, &batch, &bytes) == 1; count++)
            assert_memory_equal(batch, image.log + image.position[count], bytes);
        assert_int_equal(count, 150);
        close(fd);
    }
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_all_batches_in_order_up_to_the_durable_end),
        cmocka_unit_test(finds_every_offset),
        cmocka_unit_test(finds_offsets_whatever_the_sidecar_says),
        cmocka_unit_test(compacted_segments_give_the_next_batch),
        cmocka_unit_test(damage_is_an_error_and_large_batches_ask_for_a_buffer),
        cmocka_unit_test(reads_a_file_also_direct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
