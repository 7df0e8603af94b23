/* SPDX-License-Identifier: Apache-2.0 */
/* Knobs of the stand-in for libmillrace (fake_client.c). */
#ifndef MR_TESTS_SUPPORT_FAKE_CLIENT_H
#define MR_TESTS_SUPPORT_FAKE_CLIENT_H

#include "millrace/millrace.h"

#include <stdbool.h>

#define FAKE_PARTITIONS  2
#define FAKE_RECORDS_MAX 4096
#define FAKE_BYTES_MAX   512

struct fake_faults {
    bool no_node;                        /* attach finds none */
    uint32_t fail_every;                 /* the n-th record is refused with ENOSPC, 0: none */
    bool doubled, dropped;               /* acked, but stored twice or not at all */
    uint64_t log_start[FAKE_PARTITIONS]; /* retention has taken what is before */
    char created[256];                   /* what the last change of a topic asked for: "create orders 8 config" */
};

/** An empty log, shared with processes forked later. @return its knobs. */
struct fake_faults *fake_reset(void);

#endif
