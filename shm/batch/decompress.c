/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/batch/decompress.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

/* The functions of a codec library, by the names in its header. A library that lacks one of them counts as not there. */
#define LOADED(name) static __typeof__(name) *fn_##name
LOADED(inflateInit2_);
LOADED(inflate);
LOADED(inflateReset);
LOADED(inflateEnd);
LOADED(snappy_uncompress);
LOADED(snappy_uncompressed_length);
LOADED(LZ4F_createDecompressionContext);
LOADED(LZ4F_freeDecompressionContext);
LOADED(LZ4F_decompress);
LOADED(LZ4F_isError);
LOADED(ZSTD_createDStream);
LOADED(ZSTD_freeDStream);
LOADED(ZSTD_decompressStream);
LOADED(ZSTD_isError);

struct symbol {
    void **function;
    const char *name;
};

static bool is_loaded[MR_BATCH_CODEC_COUNT];

static void load(enum mr_batch_codec codec, const char *library, const struct symbol *symbols, size_t count)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL); /* never closed: it serves until the process ends */

    if (handle == NULL)
        return;
    for (size_t i = 0; i < count; i++) {
        *symbols[i].function = dlsym(handle, symbols[i].name);
        if (*symbols[i].function == NULL)
            return;
    }
    is_loaded[codec] = true;
}

#define SYMBOL(name) {(void **)&fn_##name, #name}

static void load_gzip(void)
{
    static const struct symbol symbols[] = {SYMBOL(inflateInit2_), SYMBOL(inflate), SYMBOL(inflateReset), SYMBOL(inflateEnd)};
    load(MR_BATCH_CODEC_GZIP, "libz.so.1", symbols, MR_COUNT_OF(symbols));
}

static void load_snappy(void)
{
    static const struct symbol symbols[] = {SYMBOL(snappy_uncompress), SYMBOL(snappy_uncompressed_length)};
    load(MR_BATCH_CODEC_SNAPPY, "libsnappy.so.1", symbols, MR_COUNT_OF(symbols));
}

static void load_lz4(void)
{
    static const struct symbol symbols[] = {SYMBOL(LZ4F_createDecompressionContext), SYMBOL(LZ4F_freeDecompressionContext),
                                            SYMBOL(LZ4F_decompress), SYMBOL(LZ4F_isError)};
    load(MR_BATCH_CODEC_LZ4, "liblz4.so.1", symbols, MR_COUNT_OF(symbols));
}

static void load_zstd(void)
{
    static const struct symbol symbols[] = {SYMBOL(ZSTD_createDStream), SYMBOL(ZSTD_freeDStream), SYMBOL(ZSTD_decompressStream),
                                            SYMBOL(ZSTD_isError)};
    load(MR_BATCH_CODEC_ZSTD, "libzstd.so.1", symbols, MR_COUNT_OF(symbols));
}

static bool have(enum mr_batch_codec codec)
{
    static pthread_once_t once[MR_BATCH_CODEC_COUNT] = {PTHREAD_ONCE_INIT, PTHREAD_ONCE_INIT, PTHREAD_ONCE_INIT, PTHREAD_ONCE_INIT,
                                                        PTHREAD_ONCE_INIT};
    static void (*const loader[MR_BATCH_CODEC_COUNT])(void) = {NULL, load_gzip, load_snappy, load_lz4, load_zstd};

    pthread_once(&once[codec], loader[codec]);
    return is_loaded[codec];
}

/* One decoder at work: what is left of the input, and where the output goes. */
struct job {
    const uint8_t *in;
    size_t in_bytes;
    struct mr_batch_decompressed *out;
    size_t limit_bytes;
};

/* Make room for at least `bytes` more of output. */
static int reserve(struct job *job, size_t bytes)
{
    struct mr_batch_decompressed *out = job->out;
    size_t need = out->size_bytes + bytes;

    if (need <= out->capacity_bytes)
        return 0;
    size_t capacity = out->capacity_bytes > 0 ? out->capacity_bytes * 2 : 65536;
    if (capacity > job->limit_bytes + 1) /* one more, so that "exactly the limit" and "more" look different */
        capacity = job->limit_bytes + 1;
    if (capacity < need)
        capacity = need;
    uint8_t *bytes_now = realloc(out->bytes, capacity);
    if (bytes_now == NULL)
        return -ENOMEM;
    out->bytes = bytes_now;
    out->capacity_bytes = capacity;
    return 0;
}

/* One call of a streaming decoder: consume from *in, write at most *out_bytes. @return 1 at the end of a frame, 0, or -EBADMSG */
typedef int stream_step(void *decoder, const uint8_t **in, size_t *in_bytes, uint8_t *out, size_t *out_bytes);

static int run_stream(struct job *job, stream_step *step, void *decoder)
{
    for (;;) { /* bound: every turn moves, and the output is limited */
        int rc = reserve(job, 1);
        if (rc != 0)
            return rc;
        size_t in_before = job->in_bytes;
        size_t produced = job->out->capacity_bytes - job->out->size_bytes;
        rc = step(decoder, &job->in, &job->in_bytes, job->out->bytes + job->out->size_bytes, &produced);
        if (rc < 0)
            return rc;
        job->out->size_bytes += produced;
        if (job->out->size_bytes > job->limit_bytes)
            return -EFBIG;
        if (rc == 1 && job->in_bytes == 0)
            return 0;
        if (rc == 0 && produced == 0 && job->in_bytes == in_before)
            return -EBADMSG; /* the input ends inside a frame */
    }
}

static int step_gzip(void *decoder, const uint8_t **in, size_t *in_bytes, uint8_t *out, size_t *out_bytes)
{
    z_stream *z = decoder;
    size_t in_part = mr_min_u64(*in_bytes, 1u << 30), out_part = mr_min_u64(*out_bytes, 1u << 30); /* zlib counts in 32 bits */

    z->next_in = (Bytef *)(uintptr_t)*in;
    z->avail_in = (uInt)in_part;
    z->next_out = out;
    z->avail_out = (uInt)out_part;
    int rc = fn_inflate(z, Z_NO_FLUSH);
    *in += in_part - z->avail_in;
    *in_bytes -= in_part - z->avail_in;
    *out_bytes = out_part - z->avail_out;
    if (rc == Z_STREAM_END) /* members may follow each other */
        return *in_bytes == 0 || fn_inflateReset(z) == Z_OK ? 1 : -EBADMSG;
    return rc == Z_OK || rc == Z_BUF_ERROR ? 0 : -EBADMSG;
}

static int run_gzip(struct job *job)
{
    z_stream z = {0};

    if (fn_inflateInit2_(&z, 15 + 16, ZLIB_VERSION, (int)sizeof z) != Z_OK) /* 16: gzip framing */
        return -ENOMEM;
    int rc = run_stream(job, step_gzip, &z);
    fn_inflateEnd(&z);
    return rc;
}

static int step_lz4(void *decoder, const uint8_t **in, size_t *in_bytes, uint8_t *out, size_t *out_bytes)
{
    size_t consumed = *in_bytes;
    size_t rc = fn_LZ4F_decompress(decoder, out, out_bytes, *in, &consumed, NULL);

    if (fn_LZ4F_isError(rc))
        return -EBADMSG;
    *in += consumed;
    *in_bytes -= consumed;
    return rc == 0;
}

static int run_lz4(struct job *job)
{
    LZ4F_dctx *decoder;

    if (fn_LZ4F_isError(fn_LZ4F_createDecompressionContext(&decoder, LZ4F_VERSION)))
        return -ENOMEM;
    int rc = run_stream(job, step_lz4, decoder);
    fn_LZ4F_freeDecompressionContext(decoder);
    return rc;
}

static int step_zstd(void *decoder, const uint8_t **in, size_t *in_bytes, uint8_t *out, size_t *out_bytes)
{
    ZSTD_inBuffer from = {*in, *in_bytes, 0};
    ZSTD_outBuffer to = {out, *out_bytes, 0};
    size_t rc = fn_ZSTD_decompressStream(decoder, &to, &from);

    if (fn_ZSTD_isError(rc))
        return -EBADMSG;
    *in += from.pos;
    *in_bytes -= from.pos;
    *out_bytes = to.pos;
    return rc == 0;
}

static int run_zstd(struct job *job)
{
    ZSTD_DStream *decoder = fn_ZSTD_createDStream();

    if (decoder == NULL)
        return -ENOMEM;
    int rc = run_stream(job, step_zstd, decoder);
    fn_ZSTD_freeDStream(decoder);
    return rc;
}

static int snappy_block(struct job *job, const uint8_t *block, size_t block_bytes)
{
    size_t bytes;

    if (fn_snappy_uncompressed_length((const char *)block, block_bytes, &bytes) != SNAPPY_OK)
        return -EBADMSG;
    if (bytes > job->limit_bytes - job->out->size_bytes)
        return -EFBIG;
    int rc = reserve(job, bytes > 0 ? bytes : 1);
    if (rc != 0)
        return rc;
    if (fn_snappy_uncompress((const char *)block, block_bytes, (char *)job->out->bytes + job->out->size_bytes, &bytes) != SNAPPY_OK)
        return -EBADMSG;
    job->out->size_bytes += bytes;
    return 0;
}

/* Two encodings occur: one raw block, and the stream of snappy-java: magic, two versions, then chunks with a length each. */
static int run_snappy(struct job *job)
{
    static const uint8_t magic[8] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};
    int rc = 0;

    if (job->in_bytes < 16 || memcmp(job->in, magic, sizeof magic) != 0)
        return snappy_block(job, job->in, job->in_bytes);
    job->in += 16;
    job->in_bytes -= 16;
    while (rc == 0 && job->in_bytes > 0) {
        if (job->in_bytes < 4)
            return -EBADMSG;
        uint32_t block_bytes = mr_be32_get(job->in);
        if (block_bytes > job->in_bytes - 4)
            return -EBADMSG;
        rc = snappy_block(job, job->in + 4, block_bytes);
        job->in += 4 + (size_t)block_bytes;
        job->in_bytes -= 4 + (size_t)block_bytes;
    }
    return rc;
}

int mr_batch_decompress(const uint8_t *batch, size_t batch_bytes, size_t bytes_max, struct mr_batch_decompressed *out)
{
    out->size_bytes = 0;
    if (mr_batch_check_header(batch, batch_bytes) != MR_BATCH_OK)
        return -EBADMSG;
    enum mr_batch_codec codec = mr_batch_codec(batch);
    if (codec == MR_BATCH_CODEC_NONE || !have(codec))
        return -EOPNOTSUPP;
    struct job job = {batch + MR_BATCH_HEADER_BYTES, (size_t)mr_batch_total_bytes(batch) - MR_BATCH_HEADER_BYTES, out, 0};
    uint64_t by_ratio = mr_max_u64((uint64_t)job.in_bytes * MR_DECOMPRESS_RATIO_MAX, MR_DECOMPRESS_BYTES_MIN);
    job.limit_bytes = mr_min_u64(bytes_max, mr_min_u64(by_ratio, SIZE_MAX / 2));
    switch (codec) {
    case MR_BATCH_CODEC_GZIP:
        return run_gzip(&job);
    case MR_BATCH_CODEC_SNAPPY:
        return run_snappy(&job);
    case MR_BATCH_CODEC_LZ4:
        return run_lz4(&job);
    case MR_BATCH_CODEC_ZSTD:
        return run_zstd(&job);
    default:
        return -EOPNOTSUPP;
    }
}

void mr_batch_decompressed_release(struct mr_batch_decompressed *out)
{
    if (out == NULL)
        return;
    free(out->bytes);
    *out = (struct mr_batch_decompressed){0};
}
