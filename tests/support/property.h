/* SPDX-License-Identifier: Apache-2.0 */
/* What every property test begins with: a seed that is said, so that a failure can be run again, and a condition that ends the run. */
#ifndef MR_TESTS_SUPPORT_PROPERTY_H
#define MR_TESTS_SUPPORT_PROPERTY_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define must(condition) ((condition) ? (void)0 : property_failed(__FILE__, __LINE__, #condition))

static uint64_t property_seed_said;

/** MR_SEED when it is set, else a new one; printed. */
static inline uint64_t property_seed(void)
{
    const char *given = getenv("MR_SEED");

    property_seed_said = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    printf("MR_SEED=%llu\n", (unsigned long long)property_seed_said);
    fflush(stdout);
    return property_seed_said;
}

static inline void property_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s\nMR_SEED=%llu replays it\n", file, line, what, (unsigned long long)property_seed_said);
    abort();
}

#endif
