/* SPDX-License-Identifier: Apache-2.0 */
/* Places in a log as users write them: start, end, an offset, or a time. */
#ifndef MR_CONTROL_CLI_WHEN_H
#define MR_CONTROL_CLI_WHEN_H

#include "shm/base/err.h"

#include <stdint.h>

enum mr_when_kind { MR_WHEN_END, MR_WHEN_START, MR_WHEN_OFFSET, MR_WHEN_TIME };

struct mr_when {
    enum mr_when_kind kind;
    uint64_t offset; /* MR_WHEN_OFFSET */
    int64_t time_ms; /* MR_WHEN_TIME: since 1970 */
};

/**
 * start | end | OFFSET | @EPOCH-MS | -10m | 2026-01-31[T12:00[:30[.5]]][Z|+01:00]; a time without a zone is local. What can be nothing but a time
 * needs no @ in front of it: digits alone are an offset, and so is no -1.
 * @param now_ms what -10m counts from
 * @return 0; -EINVAL with a message that says what is allowed
 */
int mr_when_parse(struct mr_when *when, const char *text, int64_t now_ms, struct millrace_error *err) MR_MUST_USE;

#endif
