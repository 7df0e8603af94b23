/* SPDX-License-Identifier: Apache-2.0 */
/* Every int that libmillrace returns is a count, or -errno. Calls that may fail for a reason worth reading also fill one of these. */
#ifndef MILLRACE_ERROR_H
#define MILLRACE_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#define MILLRACE_ERROR_TEXT_MAX 512

/** What failed, with its values, and what to do about it; one line, no trailing newline. Owned by the caller; no allocation. */
struct millrace_error {
    int code;                           /* errno value, 0: nothing failed */
    char text[MILLRACE_ERROR_TEXT_MAX]; /* always terminated; cut when longer */
};

#ifdef __cplusplus
}
#endif
#endif
