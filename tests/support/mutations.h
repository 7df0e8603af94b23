/* SPDX-License-Identifier: Apache-2.0 */
/* Ways for a client to misbehave, one rule each. They need topics "t" (one partition) and "wide" (40). */
#ifndef MR_TESTS_SUPPORT_MUTATIONS_H
#define MR_TESTS_SUPPORT_MUTATIONS_H

#include "tests/support/raw_client.h"

#define HUNG_UP  0  /* the daemon closed the session */
#define EITHER (-2) /* a race decides: it hangs up, or nothing was wrong when it looked */

struct mutation {
    const char *name;
    int (*act)(void);
    int ends; /* HUNG_UP, EITHER, or the type of the last reply */
    bool slow; /* takes more than some milliseconds */
};

extern const struct mutation mutations[];
extern const uint32_t mutation_count;

/** Who misbehaves: raw_leave() afterwards. */
extern struct raw_client client;

#endif
