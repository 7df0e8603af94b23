/* SPDX-License-Identifier: Apache-2.0 */
/* Lines for the operator, on stderr: "millraced: ..." on a terminal, "<4>..." when journald reads (JOURNAL_STREAM), or one JSON object
 * a line. Each line leaves in one write, so that lines of several processes on one pipe do not mix. Cold only: hot code counts, and the
 * cold side logs the first of its kind. */
#ifndef MR_BASE_LOGGING_H
#define MR_BASE_LOGGING_H

#include "shm/base/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MR_LOGGING_LINE_MAX 2048 /* a longer message is cut, with "..." */

/* In the order of the words of millrace.logging.level. */
enum mr_logging_level { MR_LOGGING_ERROR, MR_LOGGING_WARN, MR_LOGGING_INFO, MR_LOGGING_DEBUG };
enum mr_logging_format { MR_LOGGING_TEXT, MR_LOGGING_JSON };

/** Once, before other threads exist. @param program kept, not copied. Before it, level info, text, program "millrace". */
void mr_logging_init(const char *program, enum mr_logging_level level, enum mr_logging_format format);

/** Any thread, at any time. */
void mr_logging_set_level(enum mr_logging_level level);
bool mr_logging_enabled(enum mr_logging_level level);

/** Any thread. The message has no newline and, as errors do, says what happened and what to do. */
void mr_logging_write(enum mr_logging_level level, const char *format, ...) MR_PRINTF(2, 3) MR_COLD;

#define mr_say_error(...) mr_logging_write(MR_LOGGING_ERROR, __VA_ARGS__)
#define mr_say_warn(...)  mr_logging_write(MR_LOGGING_WARN, __VA_ARGS__)
#define mr_say_info(...)  mr_logging_write(MR_LOGGING_INFO, __VA_ARGS__)
#define mr_say_debug(...) mr_logging_write(MR_LOGGING_DEBUG, __VA_ARGS__)

#endif
