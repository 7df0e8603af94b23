/* SPDX-License-Identifier: Apache-2.0 */
/* Two threads on two cores that begin together. */
#ifndef MR_BENCH_LIMITS_PAIR_H
#define MR_BENCH_LIMITS_PAIR_H

#include "bench/limits/limits.h"

/** The far end: runs until what the near end does makes it return. */
typedef void mr_limit_far(void *context);

/** Run `near` here and `far` in a thread of its own, each on its core. @return 0; -EINVAL, -EAGAIN with a message. */
int mr_limit_pair(struct mr_limit_cpus cpus, void (*near)(void *context), mr_limit_far *far, void *context, struct millrace_error *err) MR_MUST_USE;

#endif
