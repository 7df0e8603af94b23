/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/base/histogram.h"

#include "shm/base/bits.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#define SUB_COUNT (1u << MR_HISTOGRAM_SUB_BITS)
#define DUMP_TICKS_PER_HALF 5 /* lines of the dump between 50, 75, 87.5, ... percent, as HdrHistogram's default */

static_assert(MR_HISTOGRAM_BUCKETS == 57 * 64 + 128, "the last value of u64 has shift 57 and sub-bucket 127");

/* Of the bucket: its first value and how many values it holds. */
static uint64_t bucket_start(uint32_t index, uint64_t *width)
{
    uint32_t shift = index < 2 * SUB_COUNT ? 0 : (index >> MR_HISTOGRAM_SUB_BITS) - 1;

    *width = 1ull << shift;
    return (uint64_t)(index - (shift << MR_HISTOGRAM_SUB_BITS)) << shift;
}

uint64_t mr_histogram_bucket_end(uint32_t index)
{
    uint64_t width, start = bucket_start(index, &width);

    return start + (width - 1);
}

void mr_histogram_reset(struct mr_histogram *h)
{
    memset(h, 0, sizeof *h);
}

void mr_histogram_merge(struct mr_histogram *into, const struct mr_histogram *from)
{
    into->count += from->count;
    into->max_ns = mr_max_u64(into->max_ns, from->max_ns);
    into->min_complement = mr_max_u64(into->min_complement, from->min_complement);
    for (uint32_t i = 0; i < MR_HISTOGRAM_BUCKETS; i++)
        into->bucket[i] += from->bucket[i];
}

uint64_t mr_histogram_min(const struct mr_histogram *h)
{
    return h->count == 0 ? 0 : ~h->min_complement;
}

static double bucket_middle(uint32_t index)
{
    uint64_t width, start = bucket_start(index, &width);

    return (double)start + (double)(width - 1) / 2;
}

double mr_histogram_mean(const struct mr_histogram *h)
{
    double sum = 0;

    for (uint32_t i = 0; i < MR_HISTOGRAM_BUCKETS; i++)
        sum += (double)h->bucket[i] * bucket_middle(i);
    return h->count == 0 ? 0 : sum / (double)h->count;
}

static double standard_deviation(const struct mr_histogram *h, double mean)
{
    double sum = 0;

    for (uint32_t i = 0; i < MR_HISTOGRAM_BUCKETS; i++)
        sum += (double)h->bucket[i] * (bucket_middle(i) - mean) * (bucket_middle(i) - mean);
    return h->count == 0 ? 0 : sqrt(sum / (double)h->count);
}

uint64_t mr_histogram_percentile(const struct mr_histogram *h, double percent)
{
    double exact = (double)h->count * percent / 100;
    double wanted = ceil(exact - exact * 1e-12); /* 99.9 % of 1000 is 999, also when 99.9 has no exact double */
    uint64_t rank = wanted < 1 ? 1 : mr_min_u64((uint64_t)wanted, h->count);
    uint64_t seen = 0;

    for (uint32_t i = 0; i < MR_HISTOGRAM_BUCKETS; i++) {
        seen += h->bucket[i];
        if (h->bucket[i] != 0 && seen >= rank)
            return mr_min_u64(mr_histogram_bucket_end(i), h->max_ns);
    }
    return 0;
}

const char *mr_duration_text(uint64_t ns, char *out, size_t out_bytes)
{
    static const struct {
        const char *name;
        double ns;
    } unit[] = {{"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};
    uint32_t i = 0;

    if (ns < 1000) {
        snprintf(out, out_bytes, "%llu ns", (unsigned long long)ns);
        return out;
    }
    /* 999.6 us would print as "1000 us": leave a unit when three digits round up to it. */
    while (i + 1 < MR_COUNT_OF(unit) && (double)ns >= unit[i + 1].ns * 0.9995)
        i++;
    double value = (double)ns / unit[i].ns;
    snprintf(out, out_bytes, "%.*f %s", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, unit[i].name);
    return out;
}

const char *mr_histogram_summary(const struct mr_histogram *h, char *out, size_t out_bytes)
{
    static const double percent[] = {50, 90, 99, 99.9};
    char text[32];
    size_t used = 0;

    if (h->count == 0) {
        snprintf(out, out_bytes, "no observations");
        return out;
    }
    for (uint32_t i = 0; i < MR_COUNT_OF(percent) && used < out_bytes; i++)
        used += (size_t)snprintf(out + used, out_bytes - used, "p%g %s  ", percent[i],
                                 mr_duration_text(mr_histogram_percentile(h, percent[i]), text, sizeof text));
    if (used < out_bytes)
        snprintf(out + used, out_bytes - used, "max %s", mr_duration_text(h->max_ns, text, sizeof text));
    return out;
}

int mr_histogram_dump(const struct mr_histogram *h, FILE *out)
{
    double mean_ns = mr_histogram_mean(h);
    double next = 0; /* percentile that the next line must reach */
    uint64_t seen = 0;

    fprintf(out, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    for (uint32_t i = 0; i < MR_HISTOGRAM_BUCKETS && seen < h->count; i++) {
        if (h->bucket[i] == 0)
            continue;
        seen += h->bucket[i];
        double percent = 100.0 * (double)seen / (double)h->count;
        if (percent < next)
            continue;
        double value_us = (double)mr_min_u64(mr_histogram_bucket_end(i), h->max_ns) / 1000;
        if (seen < h->count)
            fprintf(out, "%12.3f %2.12f %10llu %14.2f\n", value_us, percent / 100, (unsigned long long)seen, 1 / (1 - percent / 100));
        else
            fprintf(out, "%12.3f %2.12f %10llu\n", value_us, 1.0, (unsigned long long)seen);
        /* Half of what is left takes DUMP_TICKS_PER_HALF steps, whatever is left: the tail is as finely drawn as the body. */
        if (percent < 100) {
            double halves = floor(log2(100 / (100 - percent))) + 1;
            next = percent + 100 / (exp2(halves) * DUMP_TICKS_PER_HALF);
        }
    }
    fprintf(out, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n", mean_ns / 1000, standard_deviation(h, mean_ns) / 1000);
    fprintf(out, "#[Max     = %12.3f, Total count    = %12llu]\n", (double)h->max_ns / 1000, (unsigned long long)h->count);
    fprintf(out, "#[Buckets = %12u, SubBuckets     = %12u]\n", 64 - MR_HISTOGRAM_SUB_BITS, 2 * SUB_COUNT);
    return fflush(out) != 0 || ferror(out) ? -EIO : 0;
}
