/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/measure/measure.h"

#include "bench/measure/cores.h"

#include "shm/base/bits.h"
#include "shm/base/json.h"

#include <stdlib.h>
#include <string.h>

void mr_series_add(struct mr_series *series, double value)
{
    if (series->count < MR_MEASURE_RUNS_MAX)
        series->value[series->count++] = value;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct mr_spread mr_series_spread(const struct mr_series *series)
{
    struct mr_spread spread = {0};
    double sorted[MR_MEASURE_RUNS_MAX];
    uint32_t count = series->count;

    if (count == 0)
        return spread;
    memcpy(sorted, series->value, count * sizeof sorted[0]);
    qsort(sorted, count, sizeof sorted[0], by_value);
    spread.min = sorted[0];
    spread.max = sorted[count - 1];
    spread.median = count % 2 == 1 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
    return spread;
}

bool mr_measure_ratio(const struct mr_measure *measure, struct mr_spread *ratio)
{
    struct mr_series pairs = {0};

    memset(ratio, 0, sizeof *ratio);
    if (measure->limit_name == NULL || measure->limit.count == 0 || measure->value.count == 0)
        return false;
    for (uint32_t i = 0; i < measure->value.count && i < measure->limit.count; i++) {
        if (measure->limit.value[i] > 0)
            mr_series_add(&pairs, measure->value.value[i] / measure->limit.value[i]);
    }
    *ratio = mr_series_spread(&pairs);
    struct mr_spread limit = mr_series_spread(&measure->limit);
    if (limit.median > 0) /* median with median: one odd pair must not decide */
        ratio->median = mr_series_spread(&measure->value).median / limit.median;
    return pairs.count > 0;
}

bool mr_measure_too_noisy(const struct mr_measure *measure)
{
    struct mr_spread limit = mr_series_spread(&measure->limit);
    if (measure->cores != MR_CORES_ANY && measure->value.count < measure->pairs_wanted)
        return true;
    return measure->limit.count > 1 && limit.max - limit.min > MR_MEASURE_NOISE * limit.median;
}

/* 64.1 M, 829 M, 1.23 k, 512: three or four digits. */
static const char *short_number(double value, char *out, size_t out_bytes)
{
    static const struct {
        double from;
        const char *suffix;
    } scale[] = {{1e9, " G"}, {1e6, " M"}, {1e4, " k"}, {0, ""}};
    size_t i = 0;

    while (value < scale[i].from && i + 1 < MR_COUNT_OF(scale))
        i++;
    double shown = scale[i].from > 0 ? value / (scale[i].from == 1e4 ? 1e3 : scale[i].from) : value;
    snprintf(out, out_bytes, shown >= 100 ? "%.0f%s" : shown >= 10 ? "%.1f%s" : "%.2f%s", shown, scale[i].suffix);
    return out;
}

void mr_measure_print_head(FILE *out)
{
    fprintf(out, "%-34s %32s  %-16s %s\n", "measure", "median (min .. max)", "unit", "ratio to its limit");
}

/* "ping.round_trip.p50, near" */
static void print_name(const struct mr_measure *measure, FILE *out)
{
    char name[96];

    snprintf(name, sizeof name, "%s%s%s", measure->name, measure->cores != MR_CORES_ANY ? ", " : "",
             measure->cores != MR_CORES_ANY ? mr_cores_name(measure->cores) : "");
    fprintf(out, "%-34s ", name);
}

static void print_text(const struct mr_measure *measure, FILE *out)
{
    char median[32], min[32], max[32], value[112];
    struct mr_spread spread = mr_series_spread(&measure->value), ratio;

    print_name(measure, out);
    if (measure->value.count == 0) {
        fprintf(out, "too noisy: the cores were not %s while it was measured\n", mr_cores_name(measure->cores));
        return;
    }
    snprintf(value, sizeof value, "%s (%s .. %s)", short_number(spread.median, median, sizeof median),
             short_number(spread.min, min, sizeof min), short_number(spread.max, max, sizeof max));
    fprintf(out, "%32s  %-16s", value, measure->unit);
    if (mr_measure_ratio(measure, &ratio)) {
        struct mr_spread limit = mr_series_spread(&measure->limit);
        fprintf(out, " %.2f (%.2f .. %.2f) of %s, %s", ratio.median, ratio.min, ratio.max, measure->limit_name,
                short_number(limit.median, median, sizeof median));
        if (mr_measure_too_noisy(measure))
            fprintf(out, ": too noisy, the limit moved %s .. %s", short_number(limit.min, min, sizeof min),
                    short_number(limit.max, max, sizeof max));
    }
    if (measure->cores != MR_CORES_ANY)
        fprintf(out, "%s%u pair%s", measure->limit_name != NULL ? "; " : " ", measure->value.count, measure->value.count == 1 ? "" : "s");
    fputc('\n', out);
}

static void print_json(const struct mr_measure *measure, FILE *out)
{
    char machine[256];
    struct mr_spread spread = mr_series_spread(&measure->value), limit = mr_series_spread(&measure->limit), ratio;
    bool compared = mr_measure_ratio(measure, &ratio);

    fprintf(out, "{\"name\":\"%s\",\"unit\":\"%s\",", measure->name, measure->unit);
    if (measure->value.count > 0)
        fprintf(out, "\"value\":%.6g,\"min\":%.6g,\"max\":%.6g,", spread.median, spread.min, spread.max);
    else
        fprintf(out, "\"value\":null,\"min\":null,\"max\":null,");
    if (compared)
        fprintf(out, "\"limit\":%.6g,\"limit_min\":%.6g,\"limit_max\":%.6g,\"limit_name\":\"%s\","
                     "\"ratio\":{\"median\":%.4f,\"min\":%.4f,\"max\":%.4f},\"too_noisy\":%s,",
                limit.median, limit.min, limit.max, measure->limit_name, ratio.median, ratio.min, ratio.max,
                mr_measure_too_noisy(measure) ? "true" : "false");
    else
        fprintf(out, "\"limit\":null,\"ratio\":null,");
    if (measure->cores != MR_CORES_ANY)
        fprintf(out, "\"cores\":{\"mode\":\"%s\",\"pairs\":%u,\"wanted\":%u},", mr_cores_name(measure->cores), measure->value.count,
                measure->pairs_wanted);
    else
        fprintf(out, "\"cores\":null,");
    fprintf(out, "\"runs\":%u,\"machine\":", measure->value.count);
    mr_measure_machine(machine, sizeof machine);
    mr_json_write(out, machine, strlen(machine));
    fprintf(out, ",\"commit\":\"%s\"}\n", mr_measure_commit());
}

void mr_measure_print(const struct mr_measure *measure, bool json, FILE *out)
{
    if (json)
        print_json(measure, out);
    else
        print_text(measure, out);
    fflush(out);
}
