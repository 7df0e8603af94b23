/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/workloads/pairing.h"

#include <errno.h>
#include <unistd.h>

#define WAIT_US 10000 /* between two looks for a mode; the shortest stays of one are about so long */

void mr_bench_pairing_init(struct mr_bench_pairing *pairing, const struct mr_workload_options *options, bool paired)
{
    *pairing = (struct mr_bench_pairing){.options = options, .looks = paired && options->patience_ns != 0};
    pairing->pairs.wanted = options->runs;
    pairing->pairs.end_ns = UINT64_MAX;
    if (pairing->looks) {
        pairing->pairs.wanted_mode = options->cores;
        pairing->pairs.end_ns = mr_measure_now_ns() + options->patience_ns;
    }
}

int mr_bench_pair_look(struct mr_bench_pairing *pairing, struct millrace_error *err)
{
    const struct mr_workload_options *options = pairing->options;

    if (!pairing->looks)
        return 0;
    mr_bench_node_pause(&options->node);
    int rc = mr_limit_look(options->cpus, options->far_ns, &pairing->look[pairing->looked++], err);
    mr_bench_node_resume(&options->node);
    return rc;
}

bool mr_bench_pair_begin(struct mr_bench_pairing *pairing, int *rc, struct millrace_error *err)
{
    const struct mr_workload_options *options = pairing->options;

    while (mr_pairs_more(&pairing->pairs, mr_measure_now_ns())) {
        if (options->stop != NULL && options->stop()) {
            *rc = -EINTR;
            return false;
        }
        pairing->looked = 0;
        *rc = mr_bench_pair_look(pairing, err);
        if (*rc != 0)
            return false;
        if (!pairing->looks || mr_pairs_of_use(&pairing->pairs, pairing->look[0]))
            return true;
        usleep(WAIT_US);
    }
    return false;
}

int mr_bench_pair_end(struct mr_bench_pairing *pairing, struct millrace_error *err)
{
    int rc = mr_bench_pair_look(pairing, err);
    if (rc == 0)
        mr_pairs_add(&pairing->pairs, pairing->looks ? mr_cores_agreed(pairing->look) : MR_CORES_ANY);
    return rc;
}

void mr_bench_pair_print(const struct mr_bench_pairing *pairing, const struct mr_measure *measure)
{
    const struct mr_workload_options *options = pairing->options;
    struct mr_measure one;

    if (!pairing->looks) {
        options->print(options->context, measure);
        return;
    }
    for (enum mr_cores mode = MR_CORES_FAR; mode <= MR_CORES_SIBLINGS; mode++) {
        if (mr_pairs_select(&pairing->pairs, measure, mode, &one))
            options->print(options->context, &one);
    }
}
