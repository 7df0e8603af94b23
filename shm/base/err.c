/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int mr_err(struct millrace_error *err, int code, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        err->code = code;
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
    }
    return -code;
}

void mr_err_within(struct millrace_error *err, const char *format, ...)
{
    char before[MILLRACE_ERROR_TEXT_MAX];
    char inner[MILLRACE_ERROR_TEXT_MAX];
    va_list args;

    if (err == NULL)
        return;
    va_start(args, format);
    vsnprintf(before, sizeof before, format, args);
    va_end(args);
    memcpy(inner, err->text, sizeof inner);
    /* The reason matters more than the place: when both do not fit, the place is cut. */
    size_t inner_bytes = strlen(inner);
    size_t room = sizeof err->text - 1;
    size_t before_max = inner_bytes + 2 < room ? room - inner_bytes - 2 : 0;
    snprintf(err->text, sizeof err->text, "%.*s: %s", (int)before_max, before, inner);
}
