/* SPDX-License-Identifier: Apache-2.0 */
/* Errors with a message: the lowest layer says what failed and what the user can do, each layer above adds where. */
#ifndef MR_BASE_ERR_H
#define MR_BASE_ERR_H

#include "millrace/error.h"
#include "shm/base/assert.h"

/**
 * Record a failure. @param err may be NULL (then only the code is returned). @param code a positive errno value.
 * @return -code, so that a caller can `return mr_err(err, ENOMEM, "...")`. Cold.
 */
int mr_err(struct millrace_error *err, int code, const char *format, ...) MR_PRINTF(3, 4) MR_COLD;

/** Put "format: " before the text that is there. Keeps the code. */
void mr_err_within(struct millrace_error *err, const char *format, ...) MR_PRINTF(2, 3) MR_COLD;

#endif
