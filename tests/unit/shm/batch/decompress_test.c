/* SPDX-License-Identifier: Apache-2.0 */
/* Every codec as clients write it gives back the records; bombs, cuts and damages are errors within bounds. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

#include "shm/base/random.h"
#include "shm/batch/decompress.h"

#define ROOM (1u << 20)

static uint8_t plain[ROOM], packed[ROOM + 65536];
static uint32_t plain_bytes;

static void make_plain(uint32_t records)
{
    struct mr_batch_writer w;
    char value[64];
    mr_batch_open(&w, plain, sizeof plain, -1, -1, -1, 500, 0);
    for (uint32_t i = 0; i < records; i++) {
        int n = snprintf(value, sizeof value, "value number %u and some more text", i * 2654435761u);
        assert_true(mr_batch_add_value(&w, 1000 + i, value, (uint32_t)n));
    }
    plain_bytes = mr_batch_close(&w);
}

/* Compress `bytes` at `from` behind a header. @return bytes */
static size_t compress_gzip(const uint8_t *from, size_t bytes, uint8_t *to, size_t room)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)from;
    z.avail_in = (uInt)bytes;
    z.next_out = to;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

static size_t compress_snappy_raw(const uint8_t *from, size_t bytes, uint8_t *to, size_t room)
{
    size_t out = room;
    assert_int_equal(snappy_compress((const char *)from, bytes, (char *)to, &out), SNAPPY_OK);
    return out;
}

static size_t compress_snappy_java(const uint8_t *from, size_t bytes, uint8_t *to, size_t room)
{
    size_t out = 16;
    memcpy(to, "\x82SNAPPY\0\0\0\0\1\0\0\0\1", 16);
    for (size_t at = 0; at < bytes; at += 1000) {
        size_t chunk = compress_snappy_raw(from + at, bytes - at < 1000 ? bytes - at : 1000, to + out + 4, room - out - 4);
        mr_be32_put(to + out, (uint32_t)chunk);
        out += 4 + chunk;
    }
    return out;
}

static size_t compress_lz4(const uint8_t *from, size_t bytes, uint8_t *to, size_t room)
{
    LZ4F_preferences_t preferences = {.frameInfo = {.blockMode = LZ4F_blockIndependent, .contentChecksumFlag = LZ4F_contentChecksumEnabled}};
    size_t out = LZ4F_compressFrame(to, room, from, bytes, &preferences);
    assert_false(LZ4F_isError(out));
    return out;
}

static size_t compress_zstd(const uint8_t *from, size_t bytes, uint8_t *to, size_t room)
{
    size_t out = ZSTD_compress(to, room, from, bytes, 3);
    assert_false(ZSTD_isError(out));
    return out;
}

static const struct codec {
    enum mr_batch_codec codec;
    size_t (*compress)(const uint8_t *from, size_t bytes, uint8_t *to, size_t room);
} codecs[] = {
    {MR_BATCH_CODEC_GZIP, compress_gzip},
    {MR_BATCH_CODEC_SNAPPY, compress_snappy_raw},
    {MR_BATCH_CODEC_SNAPPY, compress_snappy_java},
    {MR_BATCH_CODEC_LZ4, compress_lz4},
    {MR_BATCH_CODEC_ZSTD, compress_zstd},
};

static void finish_packed(enum mr_batch_codec codec, size_t compressed_bytes)
{
    memcpy(packed, plain, MR_BATCH_HEADER_BYTES);
    mr_be32_put(packed + MR_BATCH_AT_LENGTH, (uint32_t)(compressed_bytes + MR_BATCH_HEADER_BYTES - MR_BATCH_LENGTH_OVERHEAD));
    mr_be16_put(packed + MR_BATCH_AT_ATTRIBUTES, (uint16_t)codec);
    mr_batch_seal(packed);
}

static size_t pack(const struct codec *codec)
{
    size_t bytes = codec->compress(plain + MR_BATCH_HEADER_BYTES, plain_bytes - MR_BATCH_HEADER_BYTES, packed + MR_BATCH_HEADER_BYTES,
                                   sizeof packed - MR_BATCH_HEADER_BYTES);
    finish_packed(codec->codec, bytes);
    return bytes + MR_BATCH_HEADER_BYTES;
}

static void each_codec_gives_back_the_records(void **state)
{
    (void)state;
    struct mr_batch_decompressed out = {0};
    for (uint32_t records = 1; records < 10000; records *= 21) {
        make_plain(records);
        for (size_t i = 0; i < MR_COUNT_OF(codecs); i++) {
            size_t bytes = pack(&codecs[i]);
            size_t record_bytes = plain_bytes - MR_BATCH_HEADER_BYTES;
            assert_int_equal(mr_batch_check(packed, bytes, 0), MR_BATCH_OK);
            assert_int_equal(mr_batch_decompress(packed, bytes, ROOM, &out), 0);
            assert_int_equal(out.size_bytes, record_bytes);
            assert_memory_equal(out.bytes, plain + MR_BATCH_HEADER_BYTES, record_bytes);
            assert_int_equal(mr_batch_check_records(packed, out.bytes, out.size_bytes, 0), MR_BATCH_OK);
            assert_int_equal(mr_batch_decompress(packed, bytes, record_bytes, &out), 0); /* exactly the limit */
            assert_int_equal(mr_batch_decompress(packed, bytes, record_bytes - 1, &out), -EFBIG);
        }
    }
    mr_batch_decompressed_release(&out);
    mr_batch_decompressed_release(NULL);
}

static void cut_streams_are_malformed(void **state)
{
    (void)state;
    struct mr_batch_decompressed out = {0};
    make_plain(20);
    for (size_t i = 0; i < MR_COUNT_OF(codecs); i++) {
        size_t bytes = pack(&codecs[i]);
        for (size_t cut = MR_BATCH_HEADER_BYTES; cut < bytes; cut++) {
            finish_packed(codecs[i].codec, cut - MR_BATCH_HEADER_BYTES);
            int rc = mr_batch_decompress(packed, cut, ROOM, &out);
            /* a chunked stream that is cut between chunks is only shorter; the walk of the records notices */
            if (codecs[i].compress == compress_snappy_java && rc == 0)
                assert_int_not_equal(mr_batch_check_records(packed, out.bytes, out.size_bytes, 0), MR_BATCH_OK);
            else
                assert_int_equal(rc, -EBADMSG);
        }
    }
    mr_batch_decompressed_release(&out);
}

static void damaged_streams_end_in_an_error_or_other_bytes(void **state)
{
    (void)state;
    struct mr_batch_decompressed out = {0};
    struct mr_random random;
    mr_random_init(&random, 1, 0);
    make_plain(50);
    for (size_t i = 0; i < MR_COUNT_OF(codecs); i++) {
        for (int round = 0; round < 300; round++) {
            size_t bytes = pack(&codecs[i]);
            packed[MR_BATCH_HEADER_BYTES + mr_random_below(&random, bytes - MR_BATCH_HEADER_BYTES)] = (uint8_t)mr_random_next(&random);
            int rc = mr_batch_decompress(packed, bytes, ROOM, &out);
            assert_true(rc == 0 || rc == -EBADMSG || rc == -EFBIG);
            assert_true(out.size_bytes <= ROOM + 1);
        }
    }
    mr_batch_decompressed_release(&out);
}

static void bombs_are_refused_by_bytes_and_by_ratio(void **state)
{
    (void)state;
    struct mr_batch_decompressed out = {0};
    size_t zeros_bytes = 64u << 20;
    uint8_t *zeros = calloc(1, zeros_bytes);
    make_plain(1);
    assert_non_null(zeros);
    size_t bytes = compress_zstd(zeros, zeros_bytes, packed + MR_BATCH_HEADER_BYTES, ROOM);
    assert_true(zeros_bytes / bytes > MR_DECOMPRESS_RATIO_MAX);
    finish_packed(MR_BATCH_CODEC_ZSTD, bytes);
    assert_int_equal(mr_batch_decompress(packed, bytes + MR_BATCH_HEADER_BYTES, SIZE_MAX, &out), -EFBIG);
    assert_true(out.capacity_bytes <= bytes * MR_DECOMPRESS_RATIO_MAX + 1);
    bytes = compress_gzip(zeros, 8u << 20, packed + MR_BATCH_HEADER_BYTES, ROOM);
    finish_packed(MR_BATCH_CODEC_GZIP, bytes);
    assert_int_equal(mr_batch_decompress(packed, bytes + MR_BATCH_HEADER_BYTES, 1u << 20, &out), -EFBIG);
    free(zeros);
    mr_batch_decompressed_release(&out);
}

static void what_is_not_compressed_is_not_supported(void **state)
{
    (void)state;
    struct mr_batch_decompressed out = {0};
    make_plain(3);
    assert_int_equal(mr_batch_decompress(plain, plain_bytes, ROOM, &out), -EOPNOTSUPP);
    assert_int_equal(mr_batch_decompress(plain, 60, ROOM, &out), -EBADMSG);
    mr_batch_decompressed_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_codec_gives_back_the_records),
        cmocka_unit_test(cut_streams_are_malformed),
        cmocka_unit_test(damaged_streams_end_in_an_error_or_other_bytes),
        cmocka_unit_test(bombs_are_refused_by_bytes_and_by_ratio),
        cmocka_unit_test(what_is_not_compressed_is_not_supported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
