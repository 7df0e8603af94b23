/* SPDX-License-Identifier: Apache-2.0 */
/* What every cmocka test begins with: its headers in the order it wants, and the seed. */
#ifndef MR_TESTS_SUPPORT_UNIT_H
#define MR_TESTS_SUPPORT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/** The seed of this run: MR_SEED when it is set, else a new one. Printed once, so that a failure can be run again. */
static inline uint64_t test_seed(void)
{
    static uint64_t seed;
    const char *text = getenv("MR_SEED");
    struct timespec now;

    if (seed != 0)
        return seed;
    if (text != NULL) {
        seed = strtoull(text, NULL, 0);
    } else {
        clock_gettime(CLOCK_REALTIME, &now);
        seed = (uint64_t)now.tv_sec * 1000000007u ^ (uint64_t)now.tv_nsec;
    }
    seed = seed == 0 ? 1 : seed;
    printf("MR_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return seed;
}

#endif
