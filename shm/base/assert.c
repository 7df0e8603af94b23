/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/base/assert.h"

#include <stdio.h>
#include <stdlib.h>

void mr_assert_failed(const char *file, int line, const char *condition)
{
    fprintf(stderr, "millrace: %s:%d: assertion failed: %s\n", file, line, condition);
    abort();
}
