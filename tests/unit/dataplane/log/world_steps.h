/* SPDX-License-Identifier: Apache-2.0 */
/* Two steps that the tests of the log core begin with. */
#ifndef MR_TESTS_LOG_WORLD_STEPS_H
#define MR_TESTS_LOG_WORLD_STEPS_H

#include <errno.h>

#include "tests/support/log_world.h"
#include "tests/support/unit.h"

static inline struct log_world *open_world(const struct log_world_options *options)
{
    struct log_world *w = log_world_open(options);
    struct millrace_error err = {0};
    int rc = log_world_start(w, &err);
    if (rc != 0)
        fail_msg("start: %d: %s", rc, err.text);
    return w;
}

static inline void append(struct log_world *w, uint32_t partition, uint32_t count, uint32_t value_bytes)
{
    int rc;
    for (uint32_t tries = 0; (rc = log_world_append(w, partition, count, value_bytes)) == -EAGAIN && tries < 1000; tries++)
        log_world_step(w);
    assert_true(rc > 0);
}

#endif
