/* SPDX-License-Identifier: Apache-2.0 */
/* Latencies in nanoseconds, counted in buckets: exact below 128, then 64 buckets to each power of two, so that a reported value is at
 * most 1/64 above the recorded one, over the whole range of u64. The counts are HdrHistogram's, so its plotters read our dumps.
 *
 *   value      0 .. 127        index = value
 *   2^k .. 2^(k+1)-1, k >= 7   shift = k - 6, index = shift * 64 + (value >> shift)       (value >> shift lies in 64 .. 127)
 *
 * One thread records; merge is for after it has stopped. */
#ifndef MR_BASE_HISTOGRAM_H
#define MR_BASE_HISTOGRAM_H

#include "shm/base/assert.h"

#include <stdint.h>
#include <stdio.h>

#define MR_HISTOGRAM_SUB_BITS 6
#define MR_HISTOGRAM_BUCKETS  ((64 - MR_HISTOGRAM_SUB_BITS - 1) * (1 << MR_HISTOGRAM_SUB_BITS) + 2 * (1 << MR_HISTOGRAM_SUB_BITS))

/** 30 KiB; all zero is empty, mr_histogram_reset() or static storage makes one. */
struct mr_histogram {
    uint64_t count;
    uint64_t max_ns; /* exact */
    uint64_t min_complement; /* ~min, so that all zero is empty */
    uint64_t bucket[MR_HISTOGRAM_BUCKETS];
};

/** The bucket of a value. Hot. */
static inline uint32_t mr_histogram_index(uint64_t value_ns)
{
    uint32_t top = 63u - (uint32_t)__builtin_clzll(value_ns | ((2u << MR_HISTOGRAM_SUB_BITS) - 1));
    uint32_t shift = top - MR_HISTOGRAM_SUB_BITS;
    return (shift << MR_HISTOGRAM_SUB_BITS) + (uint32_t)(value_ns >> shift);
}

/** Count `times` observations of one value. Hot: no branch but the two extremes, no division. */
static inline void mr_histogram_record_many(struct mr_histogram *h, uint64_t value_ns, uint64_t times)
{
    h->count += times;
    h->bucket[mr_histogram_index(value_ns)] += times;
    if (value_ns > h->max_ns)
        h->max_ns = value_ns;
    if (~value_ns > h->min_complement)
        h->min_complement = ~value_ns;
}

static inline void mr_histogram_record(struct mr_histogram *h, uint64_t value_ns)
{
    mr_histogram_record_many(h, value_ns, 1);
}

void mr_histogram_reset(struct mr_histogram *h);

/** Add what `from` holds to `into`. */
void mr_histogram_merge(struct mr_histogram *into, const struct mr_histogram *from);

/** The smallest recorded value, 0 when empty. Exact. */
uint64_t mr_histogram_min(const struct mr_histogram *h);

/** Mean of the buckets' middles, 0 when empty. */
double mr_histogram_mean(const struct mr_histogram *h);

/**
 * The value that at least `percent` of the observations do not exceed: the upper end of its bucket, and never more than the maximum.
 * @param percent 0..100; 50 is the median  @return nanoseconds; 0 when empty
 */
uint64_t mr_histogram_percentile(const struct mr_histogram *h, double percent);

/** The largest value that shares a bucket with this index. */
uint64_t mr_histogram_bucket_end(uint32_t index);

/** "530 ns", "1.24 us", "3.02 ms", "1.50 s": three digits. @return out. */
const char *mr_duration_text(uint64_t ns, char *out, size_t out_bytes);

/** "p50 530 ns  p90 ...  p99 ...  p99.9 ...  max ...". @return out. */
const char *mr_histogram_summary(const struct mr_histogram *h, char *out, size_t out_bytes);

/**
 * The percentile distribution in HdrHistogram's text form (values in microseconds), which its plotters take.
 * @return 0; -EIO when writing failed (the stream's error is set).
 */
int mr_histogram_dump(const struct mr_histogram *h, FILE *out) MR_MUST_USE;

#endif
