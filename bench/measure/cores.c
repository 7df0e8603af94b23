/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/measure/cores.h"

#include "shm/base/assert.h"
#include "shm/base/bits.h"

#include <string.h>

static const char *const names[MR_CORES_COUNT] = {
    [MR_CORES_ANY] = "any", [MR_CORES_FAR] = "far", [MR_CORES_NEAR] = "near", [MR_CORES_SIBLINGS] = "siblings", [MR_CORES_MIXED] = "mixed",
};

enum mr_cores mr_cores_of(uint64_t round_trip_p50_ns, double slowdown, uint64_t far_ns)
{
    if (slowdown >= MR_CORES_SIBLINGS_SLOWDOWN)
        return MR_CORES_SIBLINGS;
    return round_trip_p50_ns < (far_ns != 0 ? far_ns : MR_CORES_FAR_NS) ? MR_CORES_NEAR : MR_CORES_FAR;
}

enum mr_cores mr_cores_agreed(const enum mr_cores looks[MR_CORES_LOOKS])
{
    for (uint32_t i = 1; i < MR_CORES_LOOKS; i++) {
        if (looks[i] != looks[0])
            return MR_CORES_MIXED;
    }
    return looks[0];
}

const char *mr_cores_name(enum mr_cores cores)
{
    return names[cores];
}

bool mr_cores_parse(const char *word, enum mr_cores *cores)
{
    for (uint32_t i = 0; i < MR_CORES_MIXED; i++) {
        if (strcmp(names[i], word) == 0) {
            *cores = (enum mr_cores)i;
            return true;
        }
    }
    return false;
}

static uint32_t had(const struct mr_pairs *pairs)
{
    if (pairs->wanted_mode == MR_CORES_ANY)
        return pairs->count - pairs->counted[MR_CORES_MIXED];
    return pairs->counted[pairs->wanted_mode];
}

bool mr_pairs_more(const struct mr_pairs *pairs, uint64_t now_ns)
{
    return had(pairs) < pairs->wanted && pairs->count < MR_MEASURE_RUNS_MAX && now_ns < pairs->end_ns;
}

bool mr_pairs_of_use(const struct mr_pairs *pairs, enum mr_cores mode)
{
    return pairs->wanted_mode == MR_CORES_ANY || mode == pairs->wanted_mode || pairs->counted[mode] < pairs->wanted;
}

void mr_pairs_add(struct mr_pairs *pairs, enum mr_cores mode)
{
    mr_assert(pairs->count < MR_MEASURE_RUNS_MAX); /* mr_pairs_more() */
    pairs->mode[pairs->count++] = mode;
    pairs->counted[mode]++;
}

bool mr_pairs_select(const struct mr_pairs *pairs, const struct mr_measure *all, enum mr_cores mode, struct mr_measure *one)
{
    *one = *all;
    one->value.count = one->limit.count = 0;
    one->cores = mode;
    one->pairs_wanted = mode == pairs->wanted_mode ? pairs->wanted : 1;
    for (uint32_t i = 0; i < pairs->count; i++) {
        if (pairs->mode[i] != mode)
            continue;
        mr_series_add(&one->value, all->value.value[i]);
        if (i < all->limit.count)
            mr_series_add(&one->limit, all->limit.value[i]);
    }
    return one->value.count > 0 || mode == pairs->wanted_mode;
}
